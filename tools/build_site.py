"""Build the site into _build/html, check it, serve it: `make book` and `make serve` do.

python tools/build_site.py build    build what changed, then check the whole site
python tools/build_site.py check    check a site that is built already
python tools/build_site.py serve    serve it on this machine, at its public path
"""

from __future__ import annotations

import argparse
import errno
import functools
import http.server
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import yaml
from filelock import FileLock
from lxml import html

ROOT = Path(__file__).resolve().parent.parent

# Attributes that make a browser load what they name, by element. A link to elsewhere is
# fine; a load is not.
LOADING = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "input": ("src",),
}
LOADING_LINKS = {
    "stylesheet",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "icon",
    "modulepreload",
    "manifest",
}
STYLE_LOAD = re.compile(
    r"""(?:@import\s+(?:url\()?|url\()\s*["']?\s*((?:https?:)?//[^"')\s]+)""",
    re.IGNORECASE,
)


# Sphinx colours its warnings even where nobody can see it.
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# What the system says of a disk that is full or a folder that is read-only: Sphinx and
# shutil hand on the words alone.
UNWRITABLE = [
    os.strerror(number)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
]


# jupyter-book's command line, without grammars that it does not use and that take
# seconds to build: tools/notebooks.py.
JUPYTER_BOOK = """\
import sys
sys.modules["rfc3987_syntax"] = sys.modules["isoduration"] = None
from jupyter_book.cli.main import main
main()
"""


class SiteError(RuntimeError):
    """The site cannot be built or is not whole. The message says why."""


def build(root: Path = ROOT) -> Path:
    """Build the site of the book in `root` and return its folder. Raises SiteError.

    Only what changed since the last build is built again. A build that warns is no
    build: the site stays as it was, the pages are moved to _build/failed, and what
    Sphinx remembers goes. It would not repeat the warnings of a page that did not
    change, and the second try would pass.
    """
    target = root / "_build"
    work = target / "work"
    try:
        target.mkdir(exist_ok=True)
        with FileLock(target / ".lock"):
            built = build_pages(root, work)
            problems = check(root, built)
            if problems:
                raise SiteError(
                    "\n".join(problems) + "\n\nThe pages were built, but are not whole."
                )
            publish(built, target / "html")
    except OSError as error:
        reason = unwritable(str(error)) or error.strerror or "it was not said why"
        raise SiteError(cannot_write(target, reason)) from error
    return target / "html"


def build_pages(root: Path, work: Path) -> Path:
    """Build the pages below the folder `work` and return theirs. Raises SiteError."""
    missing = [str(page) for page in toc_files(root) if not page.exists()]
    if missing:
        raise SiteError(f"_toc.yml lists files that do not exist: {', '.join(missing)}")
    place_assets(root)
    built = work / "_build" / "html"
    # jupyter-book's own command and not sphinx-build: it turns _config.yml into
    # Sphinx's settings. -W with --keep-going: every warning is shown, and one is
    # enough to fail.
    command = [sys.executable, "-c", JUPYTER_BOOK]
    command += ["build", str(root), "--path-output", str(work)]
    command += ["-W", "-n", "--keep-going", "-q"]
    if theme_changed(root, built):
        command.append("--all")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        said = COLOUR.sub("", done.stderr).strip()
        failed = work.with_name("failed")
        shutil.rmtree(failed, ignore_errors=True)
        if built.exists():
            built.rename(failed)
        shutil.rmtree(work, ignore_errors=True)
        reason = unwritable(said)
        if reason:
            shutil.rmtree(failed, ignore_errors=True)
            raise SiteError(cannot_write(work.parent, reason))
        raise SiteError(
            f"{said}\n\nThe site has errors. The pages as far as they got: {failed}"
        )
    remove_strays(root, built)
    return built


def publish(pages: Path, site: Path) -> None:
    """Put a copy of the pages in the place of the site, whole or not at all."""
    new, old = site.with_name("html.new"), site.with_name("html.old")
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        shutil.copytree(pages, new)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if site.exists():
        site.rename(old)
    new.rename(site)
    shutil.rmtree(old, ignore_errors=True)


def unwritable(said: str) -> str | None:
    """The system's words in an error, where they say that nothing can be written."""
    return next((words for words in UNWRITABLE if words in said), None)


def cannot_write(folder: Path, reason: str) -> str:
    """The sentence for a disk that is full or a folder that is read-only."""
    return (
        f"The site cannot be written into {folder}: {reason}. Make room there or make "
        "it writable, then run the same command again; a site that was there is as it "
        "was."
    )


def theme_changed(root: Path, site: Path) -> bool:
    """Whether a file of the theme is newer than the pages. Sphinx would not notice."""
    built = site / "index.html"
    if not built.exists():
        return False
    return any(
        file.stat().st_mtime > built.stat().st_mtime
        for file in (root / "book" / "theme").rglob("*")
    )


def place_assets(root: Path) -> None:
    """Put what is served but not committed where _config.yml looks for it: MathJax and
    the social card.
    """
    # In a folder of its own: Jupyter Book adds every script below a root folder
    # `_static` to every page, and MathJax is dozens of scripts that load one another.
    assets = root / "_build" / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    from finetuning import resources
    from finetuning.resources.fetching import pins

    place = assets / "mathjax"
    made_from = place / "made-from.txt"
    pin = pins()["django-static-mathjax"].requirement
    # A copy that is there needs neither the cache nor a network.
    if not made_from.exists() or made_from.read_text() != pin:
        try:
            source = resources.fetch("mathjax")
        except resources.ResourceError as error:
            raise SiteError(str(error)) from None
        with tempfile.TemporaryDirectory(dir=assets.parent) as temporary:
            copy = Path(temporary, "mathjax")
            shutil.copytree(source, copy)
            (copy / made_from.name).write_text(pin)
            shutil.rmtree(place, ignore_errors=True)
            copy.rename(place)
    script, card = root / "book" / "theme" / "card.py", assets / "card.png"
    if not card.exists() or card.stat().st_mtime < script.stat().st_mtime:
        runpy.run_path(str(script))["draw"](card)


def settings(root: Path = ROOT) -> dict:
    """What _config.yml says."""
    return yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))


def base_path(root: Path = ROOT) -> str:
    """The path of the site's address: `/finetuning-llms/`."""
    return urlsplit(settings(root)["html"]["baseurl"]).path


def toc_files(root: Path = ROOT) -> list[Path]:
    """The files that _toc.yml lists, in reading order, the first page first."""

    def walk(entry: dict) -> Iterator[str]:
        if "file" in entry:
            yield entry["file"]
        for group in ("parts", "chapters", "sections"):
            for child in entry.get(group, []):
                yield from walk(child)

    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    return [
        next(
            (
                root / f"{name}{suffix}"
                for suffix in (".ipynb", ".md")
                if (root / f"{name}{suffix}").exists()
            ),
            root / name,
        )
        for name in (toc["root"], *walk(toc))
    ]


def pages(root: Path = ROOT) -> list[str]:
    """The pages that the table of contents leads to, as paths below the site's own."""
    return [
        file.relative_to(root).with_suffix(".html").as_posix()
        for file in toc_files(root)
    ]


def remove_strays(root: Path, site: Path) -> None:
    """Take out pages whose source is gone: Sphinx leaves them where they are."""
    known = {*pages(root), "book/404.html"}
    for folder in ("book", "chapters", "exercises", "solutions"):
        for page in (site / folder).glob("**/*.html"):
            if page.relative_to(site).as_posix() not in known:
                page.unlink()


def check(root: Path, site: Path) -> list[str]:
    """Everything that is wrong with a built site, a line each: missing pages, dead
    links, foreign loads.
    """
    expected = [
        *pages(root),
        "index.html",
        "404.html",
        "search.html",
        "sitemap.xml",
        "searchindex.js",
    ]
    expected += [
        f"_static/{name}"
        for name in ("mathjax/es5/tex-mml-chtml.js", "mathjax/LICENSE", "card.png")
    ]
    problems = [
        f"{name} is missing" for name in expected if not (site / name).is_file()
    ]
    base = base_path(root)
    documents = {}
    for page in site.glob("**/*.html"):
        if "_static" in page.relative_to(site).parts:
            continue
        if page.stat().st_size:
            documents[page] = parse(page)
        else:
            problems.append(f"{page.relative_to(site)} is empty")
    anchors = {
        page: set(document.xpath("//@id | //a/@name"))
        for page, document in documents.items()
    }
    for page, document in documents.items():
        name = page.relative_to(site).as_posix()
        problems += [
            f"{name} loads from elsewhere: {address}"
            for address in foreign_loads(document)
        ]
        for address in local_addresses(document):
            problem = _dead(address, name, site, base, anchors)
            if problem:
                problems.append(f"{name}: {problem}")
        if not document.xpath("normalize-space(//head/title)"):
            problems.append(f"{name} has no title")
    for style in site.glob("**/*.css"):
        for address in STYLE_LOAD.findall(
            style.read_text(encoding="utf-8", errors="replace")
        ):
            problems.append(
                f"{style.relative_to(site)} loads from elsewhere: {address}"
            )
    return problems


def parse(page: Path) -> html.HtmlElement:
    """A page of the site as a tree to be asked by XPath."""
    return html.document_fromstring(
        page.read_bytes(), parser=html.HTMLParser(encoding="utf-8")
    )


def foreign_loads(document: html.HtmlElement) -> list[str]:
    """What a browser would load from another host (scripts may load more: see the
    browser tests).
    """
    loads = []
    for element, attributes in LOADING.items():
        for attribute in attributes:
            for addresses in document.xpath(f"//{element}/@{attribute}"):
                parts = addresses.replace(",", " ").split()
                loads += [part for part in parts if _is_foreign(part)]
    for link in document.xpath("//link[@href]"):
        kinds = set(link.get("rel", "").split())
        if LOADING_LINKS & kinds and _is_foreign(link.get("href")):
            loads.append(link.get("href"))
    for style in document.xpath("//@style | //style/text()"):
        loads += STYLE_LOAD.findall(style)
    return loads


def _is_foreign(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https")


def local_addresses(document: html.HtmlElement) -> list[str]:
    """Every address in the page that points into the site."""
    return sorted(
        address
        for address in set(document.xpath("//@href | //@src"))
        if address and not urlsplit(address).scheme and not address.startswith("//")
    )


def _dead(
    address: str, page: str, site: Path, base: str, anchors: dict[Path, set[str]]
) -> str | None:
    """Why a link on `page` leads nowhere, or None."""
    parts = urlsplit(urljoin(f"{base}{page}", address))
    if not parts.path.startswith(base):
        return f"{address} leads out of the site"
    target = site / unquote(parts.path.removeprefix(base))
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return f"{address} leads to nothing"
    # An address that ends in a bare # is a button's; a script makes the search page's
    # anchors.
    if (
        parts.fragment
        and target in anchors
        and unquote(parts.fragment) not in anchors[target]
    ):
        return f"{address} leads to a place that the page does not have"
    return None


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site at its public path, and 404.html for what is not there, as the
    public host does.
    """

    def __init__(self, *args, site: Path, base: str, **kwargs):
        self.site, self.base = site, base
        super().__init__(*args, directory=str(site), **kwargs)

    def translate_path(self, path: str) -> str:
        path = urlsplit(path).path
        if not path.startswith(self.base):
            return str(self.site / "not" / "there")
        return super().translate_path("/" + path.removeprefix(self.base))

    def do_GET(self) -> None:
        if self.base != "/" and urlsplit(self.path).path == "/":
            self.send_response(302)
            self.send_header("Location", self.base)
            self.end_headers()
            return
        super().do_GET()

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        page = self.site / "404.html"
        if code != 404 or not page.exists():
            super().send_error(code, message, explain)
            return
        body = page.read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args) -> None:
        """Say nothing: a reader's terminal is not a log."""


def server(site: Path, base: str, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of the site on this machine alone; port 0 is any free one. The caller
    runs and closes it.
    """
    handler = functools.partial(Handler, site=site, base=base)
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def serve(root: Path, port: str | None = None) -> None:
    """Serve the built site until interrupted: at `port`, or where nobody asked for one
    at 8000 or any that is free. Raises SiteError.
    """
    site = root / "_build" / "html"
    if not (site / "index.html").exists():
        raise SiteError("There is no site yet. `make book` builds it.")
    base = base_path(root)
    if port is not None and not (port.isdecimal() and 1 <= int(port) <= 65535):
        raise SiteError(f"A port is a number from 1 to 65535, not {port!r}.")
    try:
        running = server(site, base, int(port or 8000))
    except OSError as error:
        if port is not None:
            raise SiteError(
                f"Port {port} cannot be used: {error.strerror}. Choose another, or "
                "none, and a free one is taken."
            ) from error
        running = server(site, base, 0)
    with running:
        print(
            f"The book is at http://127.0.0.1:{running.server_port}{base}  "
            "(Ctrl-C to stop)",
            flush=True,
        )
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()


def main(arguments: list[str] | None = None) -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build what changed, then check the whole site")
    commands.add_parser("check", help="check a site that is built already")
    serving = commands.add_parser("serve", help="serve the site on this machine")
    serving.add_argument("--port", help="without it 8000, or any that is free")
    options = parser.parse_args(arguments)
    try:
        if options.command == "build":
            site = build()
            print(f"The site is in {site.relative_to(ROOT)}: {len(pages())} pages.")
            print(
                f"Open {site.relative_to(ROOT) / 'index.html'} in a browser, or "
                "serve it with `make serve`."
            )
        elif options.command == "check":
            problems = check(ROOT, ROOT / "_build" / "html")
            if problems:
                raise SiteError("\n".join(problems))
            print("The site is whole.")
        else:
            serve(ROOT, options.port)
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
