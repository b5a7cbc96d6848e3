"""What the tests of the site share: the built site, a server of it, and a browser that
notices everything.

PYTEST_DONT_REWRITE: this is a plugin without assertions, which the test modules import
as well.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import build_site as tool
import pytest
from notebooks import ROOT

PAGES = tool.pages(ROOT)
NOTEBOOKS = [
    page for page in PAGES if page.startswith(("chapters/", "exercises/", "solutions/"))
]

# Without what a browser does on its own account: updates, synchronisation, first-run
# pages.
BROWSER_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No other host is ever reached, whatever a page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
HEIGHT = 900
# Milliseconds to wait for anything, on a machine however busy.
PATIENCE = 600_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def built_site() -> Path:
    """The folder of the built site. `make test` builds it first, since two processes
    must not.
    """
    site = ROOT / "_build" / "html"
    if not (site / "index.html").is_file():
        pytest.fail(
            "There is no site in _build/html: run `make book` first.", pytrace=False
        )
    return site


@contextmanager
def serving(site: Path, base: str) -> Iterator[str]:
    """The address of a server of `site`, at the path that it has in public."""
    server = tool.server(site, base)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{base}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def address(built_site: Path) -> Iterator[str]:
    """The address of the site's first page, below `/finetuning-llms/` as in public."""
    with serving(built_site, tool.base_path(ROOT)) as found:
        yield found


def find_browser() -> str | None:
    """The path of a Chromium or Chrome on this machine."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def require_browser() -> str:
    """That path. Without a browser the test is skipped; in continuous integration it
    fails.
    """
    path = find_browser()
    if path is None:
        sentence = (
            "No Chromium or Chrome was found: install one to test the site in a "
            "browser."
        )
        if os.environ.get("CI"):
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A running Chromium."""
    path = require_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield running
        running.close()


@dataclass
class Visit:
    """A page that is open in the browser, and what went wrong since it was."""

    page: object
    name: str = ""
    shown: tuple[str, int] | None = None
    problems: list[str] = field(default_factory=list)

    def show(self, theme: str, width: int) -> None:
        """Show the page in this theme to a window of this width, if it is not so."""
        if self.shown == (theme, width):
            return
        self.shown = theme, width
        self.page.emulate_media(color_scheme=theme)
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        self.page.wait_for_function(
            "theme => document.documentElement.dataset.theme === theme", arg=theme
        )
        self.settle()

    def settle(self) -> None:
        """Wait until everything is loaded and the mathematics is set."""
        self.page.wait_for_load_state("load")
        self.page.evaluate(
            "() => window.MathJax && window.MathJax.startup && "
            "window.MathJax.startup.promise"
        )
        # Two frames: what book.js does after the mathematics is on the screen then,
        # too. A button takes a while to change its colours with the theme: not here.
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => "
            "requestAnimationFrame(done)))"
        )
        self.page.evaluate(
            "() => document.getAnimations()"
            ".filter(each => each instanceof CSSTransition)"
            ".forEach(each => each.finish())"
        )


@contextmanager
def visiting(
    browser: object,
    url: str,
    *,
    theme: str = "light",
    width: int = 1280,
    name: str = "",
    change: Callable[[str], str] | None = None,
    expect_status: int = 200,
) -> Iterator[Visit]:
    """Open `url` in a page that remembers no other. A request to any other host finds
    none and is noted as a problem.

    `change` edits the page's HTML on its way to the browser: how the tests show that
    they would notice. `name` is kept in the visit.
    """
    origin = urlsplit(url).netloc
    # One profile for all: what each page loads, it loads once. Only what a page can
    # keep there is taken out after each.
    context = browser.contexts[0] if browser.contexts else browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": HEIGHT})
    visit = Visit(page, name, (theme, width))

    def asked(request: object) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != origin:
            visit.problems.append(f"request to another host: {request.url}")

    def edit(route: object) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=change(answer.text()))

    def answered(response: object) -> None:
        if response.status >= 400 and response.url != url:
            visit.problems.append(f"{response.status}: {response.url}")

    def said(message: object) -> None:
        # Chromium also reports the page's own status here; that is checked below.
        if message.type == "error" and not (
            expect_status >= 400 and "status of 404" in message.text
        ):
            visit.problems.append(f"console error: {message.text}")

    try:
        if change is not None:
            page.route(re.compile(f"^{re.escape(url)}$"), edit)
        page.on("request", asked)
        page.on("response", answered)
        page.on("console", said)
        page.on(
            "pageerror", lambda error: visit.problems.append(f"script error: {error}")
        )
        answer = page.goto(url)
        if answer.status != expect_status:
            visit.problems.append(f"{url} answered {answer.status}")
        visit.settle()
        yield visit
    finally:
        page.evaluate("localStorage.clear()")
        page.close()
        context.clear_cookies()
