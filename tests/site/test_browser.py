"""The built site in a real browser: what a reader sees, and that nothing is asked of
any other host.

The last part shows that each of these tests can fail: a page is given a fault on its
way to the browser, and the test's own finding function has to report it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from site_support import (
    NOTEBOOKS,
    PAGES,
    ROOT,
    Visit,
    find_browser,
    require_browser,
    tool,
    visiting,
)

pytest_plugins = ["site_support"]

ALL_PAGES = ["", *PAGES, "search.html"]
NARROW = 375
EXAMPLE = "chapters/04-self-attention.html"


def accessibility_problems(visit: Visit) -> list[str]:
    """Violations that axe-core calls serious or critical, a line for each element.

    It changes the page, so it comes last: of the thousands of coloured words in a
    chapter's code, three of each class stay marked up. The others have the same colours
    on the same ground, and axe is slow.
    """
    visit.page.evaluate(
        """() => {
            const seen = {};
            for (const word of document.querySelectorAll('.bd-article .highlight pre span[class]')) {
                seen[word.className] = (seen[word.className] || 0) + 1;
                if (seen[word.className] > 3 && !word.children.length) word.replaceWith(word.textContent);
            }
            for (const code of document.querySelectorAll('.bd-article .highlight pre')) code.normalize();
        }"""
    )
    # `preload` is off: axe would fetch the style sheets again, and what they import
    # from the wrong folder.
    options = {"preload": False, "resultTypes": ["violations"]}
    found = Axe().run(visit.page, options=options).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def mathematics_problems(visit: Visit) -> list[str]:
    """Formulas that are not set, or that MathJax could not read."""
    return visit.page.evaluate(
        """() => {
            const problems = [];
            for (const formula of document.querySelectorAll('.math'))
                if (!formula.querySelector('mjx-container')) problems.push('not set: ' + formula.textContent);
            for (const error of document.querySelectorAll('mjx-merror, [data-mjx-error]'))
                problems.push('MathJax: ' + (error.getAttribute('data-mjx-error') || error.textContent));
            return problems;
        }"""
    )


def cut_formulas(visit: Visit) -> list[str]:
    """Formulas that are wider than their place and can not be scrolled."""
    return visit.page.evaluate(
        """() => [...document.querySelectorAll('.bd-article .math')].filter(formula => {
            const set = formula.querySelector('mjx-math');
            if (!set || set.getBoundingClientRect().width <= formula.clientWidth + 1) return false;
            const boxes = [formula, formula.querySelector('mjx-container')];
            return !boxes.some(box => getComputedStyle(box).overflowX === 'auto' && box.tabIndex === 0);
        }).map(formula => formula.textContent)"""
    )


def overflow(visit: Visit) -> int:
    """By how many pixels the page is wider than the window."""
    return visit.page.evaluate(
        "document.documentElement.scrollWidth - window.innerWidth"
    )


def figure_problems(visit: Visit) -> list[str]:
    """Figures whose face is not opaque and white, or whose colours the theme changes."""
    return visit.page.evaluate(
        """() => {
            const problems = [];
            for (const image of document.querySelectorAll('.bd-article .cell_output img')) {
                const style = getComputedStyle(image);
                const canvas = document.createElement('canvas');
                canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
                const pen = canvas.getContext('2d');
                pen.drawImage(image, 0, 0);
                const corner = Array.from(pen.getImageData(0, 0, 1, 1).data).join();
                if (corner !== '255,255,255,255') problems.push(image.src + ': corner is ' + corner);
                if (style.filter !== 'none') problems.push(image.src + ': filter ' + style.filter);
                const dark = document.documentElement.dataset.theme === 'dark';
                if (dark && style.backgroundColor !== 'rgb(255, 255, 255)')
                    problems.push(image.src + ': background ' + style.backgroundColor);
                if (Number(style.opacity) !== 1) problems.push(image.src + ': opacity ' + style.opacity);
            }
            return problems;
        }"""
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", ALL_PAGES)
def test_page(page: str, theme: str, browser: object, address: str) -> None:
    """Every page in both themes: it loads alone and in silence, its formulas are set,
    everyone can use it.
    """
    with visiting(browser, address + page, theme=theme) as visit:
        assert visit.page.evaluate("document.documentElement.dataset.theme") == theme
        assert mathematics_problems(visit) == []
        assert figure_problems(visit) == []
        assert accessibility_problems(visit) == []
        assert visit.problems == []


@pytest.mark.parametrize("page", ALL_PAGES)
def test_narrow(page: str, browser: object, address: str) -> None:
    """On a telephone no page scrolls sideways, and what does scroll can be reached from
    the keyboard.
    """
    with visiting(browser, address + page, width=NARROW) as visit:
        assert overflow(visit) <= 0
        assert cut_formulas(visit) == []
        assert accessibility_problems(visit) == []
        assert visit.problems == []


def test_there_is_mathematics(browser: object, address: str) -> None:
    """The chapter on attention has formulas, set by the site's own MathJax."""
    with visiting(browser, address + EXAMPLE) as visit:
        assert visit.page.locator("mjx-container").count() > 3
        assert visit.page.evaluate("MathJax.version") == "3.2.2"


def test_search(browser: object, address: str) -> None:
    """Search as a reader does it, from the keyboard: the word leads to a chapter that
    has it.
    """
    with visiting(browser, address) as visit:
        visit.page.keyboard.press("Control+k")
        visit.page.keyboard.type("softmax")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url("**/search.html?q=softmax*")
        # Results appear one after the other, so it waits for the one that it wants.
        chapter = visit.page.locator(
            f'#search-results ul.search li a[href*="{EXAMPLE}"]'
        ).first
        chapter.wait_for()
        chapter.click()
        visit.page.wait_for_url(f"**/{EXAMPLE}*")
        assert "softmax" in visit.page.locator("article").inner_text().lower()
        assert visit.problems == []


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_notebook_buttons(page: str, browser: object, address: str) -> None:
    """The rocket leads to this notebook in Colab; the download is the notebook as it is
    committed.
    """
    repository = tool.settings(ROOT)["repository"]
    notebook = page.removesuffix(".html") + ".ipynb"
    with visiting(browser, address + page) as visit:
        visit.page.locator(
            "button.dropdown-launch-buttons, .dropdown-launch-buttons > button"
        ).first.click()
        rocket = visit.page.locator('.dropdown-launch-buttons a[href*="colab"]')
        rocket.wait_for()
        place = repository["url"].removeprefix("https://github.com/")
        assert rocket.get_attribute("href") == (
            f"https://colab.research.google.com/github/{place}/blob/{repository['branch']}/{notebook}"
        )
        link = visit.page.locator('.dropdown-download-buttons a[href$=".ipynb"]')
        answer = visit.page.request.get(link.evaluate("link => link.href"))
        assert answer.status == 200
        assert json.loads(answer.body()) == json.loads((ROOT / notebook).read_bytes())
        assert visit.problems == []


@pytest.mark.parametrize(
    "missing", ["nothing", "chapters/no-such-chapter.html", "a/b/c/d/"]
)
def test_not_found(missing: str, browser: object, address: str) -> None:
    """An address without a page shows the book's own 404 page, whole, at any depth."""
    with visiting(browser, address + missing, expect_status=404) as visit:
        assert visit.page.title().startswith("There is no page at this address")
        assert (
            visit.page.locator(".bd-sidebar-primary img").first.evaluate(
                "image => image.naturalWidth"
            )
            > 0
        )
        assert accessibility_problems(visit) == []
        assert visit.problems == []
        visit.page.locator("article a", has_text="first page").click()
        visit.page.wait_for_url("**/book/index.html")
        assert (
            visit.page.locator("h1")
            .first.inner_text()
            .startswith("Fine-Tuning Large Language Models")
        )


def test_search_from_not_found(browser: object, address: str) -> None:
    """The 404 page's search works too: its form has an address from the site's root."""
    with visiting(browser, address + "a/b/c", expect_status=404) as visit:
        visit.page.keyboard.press("Control+k")
        visit.page.keyboard.type("softmax")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url(f"{address}search.html?q=softmax*")
        visit.page.locator("#search-results ul.search li a").first.wait_for()


def test_details_open(browser: object, address: str) -> None:
    """A hint is folded, and opens."""
    with visiting(browser, address + EXAMPLE.replace("chapters", "exercises")) as visit:
        hint = visit.page.locator(
            "article details", has=visit.page.locator("summary", has_text="Hint")
        ).first
        assert hint.get_attribute("open") is None
        hint.locator("summary").click()
        assert hint.get_attribute("open") is not None
        # Its text is Markdown that was rendered, not a block of raw text.
        assert hint.locator("p, ul, ol, pre, div").count() > 0


def test_set_up_is_folded_and_directives_are_hidden(
    browser: object, address: str
) -> None:
    """The site shows a chapter without what only the tools and Colab read."""
    with visiting(browser, address + EXAMPLE) as visit:
        fold = visit.page.locator(
            "article .tag_setup details, article details.hide"
        ).first
        assert fold.get_attribute("open") is None
        assert not re.search(
            r"^#\| ", visit.page.locator("article").inner_text(), re.MULTILINE
        )


def test_theme_switch_is_kept(browser: object, address: str) -> None:
    """A reader who chooses the dark theme keeps it on the next page."""
    with visiting(browser, address) as visit:
        switch = visit.page.locator("button.theme-switch-button:visible").first
        for _ in range(3):
            if visit.page.evaluate("document.documentElement.dataset.mode") == "dark":
                break
            switch.click()
        assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"
        visit.page.goto(address + EXAMPLE)
        assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"


# --- Each of these tests can fail ---


def inject(markup: str):
    """A change of a page: `markup` at the end of its article."""
    return lambda html: html.replace("</article>", markup + "</article>", 1)


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        (
            '<img src="https://elsewhere.example/badge.svg" alt="badge">',
            "request to another host",
        ),
        (
            '<script src="https://elsewhere.example/counter.js"></script>',
            "request to another host",
        ),
        (
            '<style>@import url("https://elsewhere.example/font.css");</style>',
            "request to another host",
        ),
        (
            '<script>fetch("https://elsewhere.example/").catch(() => {})</script>',
            "request to another host",
        ),
        (
            '<script>console.error("something broke")</script>',
            "console error: something broke",
        ),
        ("<script>undefinedFunction()</script>", "script error"),
        ('<img src="missing.png" alt="a figure">', "404"),
    ],
)
def test_faults_are_noticed(
    markup: str, expected: str, browser: object, address: str
) -> None:
    """Whatever a page should not do is among the visit's problems."""
    with visiting(browser, address + EXAMPLE, change=inject(markup)) as visit:
        visit.page.wait_for_timeout(300)
        assert any(expected in problem for problem in visit.problems), visit.problems


def test_accessibility_faults_are_noticed(browser: object, address: str) -> None:
    """An image without a text, a button without a name and pale text are found."""
    markup = (
        '<img src="../_static/card.png"><button></button>'
        '<p style="color: #ccc; background: #fff">Text that is too pale to read.</p>'
    )
    with visiting(
        browser, address + "book/errata.html", change=inject(markup)
    ) as visit:
        found = " ".join(accessibility_problems(visit))
    for rule in ("image-alt", "button-name", "color-contrast"):
        assert rule in found


def test_mathematics_faults_are_noticed(browser: object, address: str) -> None:
    """A formula that MathJax cannot read is found, and so is one that it never saw."""
    bad = '<p><span class="math notranslate nohighlight">\\(\\frac{1}\\left( \\)</span></p>'
    with visiting(browser, address + "book/notation.html", change=inject(bad)) as visit:
        assert any(
            problem.startswith("MathJax:") for problem in mathematics_problems(visit)
        )
    unseen = '<p><span class="math">x + y</span></p>'
    with visiting(
        browser, address + "book/notation.html", change=inject(unseen)
    ) as visit:
        assert mathematics_problems(visit) == ["not set: x + y"]


def test_width_faults_are_noticed(browser: object, address: str) -> None:
    """A block wider than the window is found."""
    wide = '<div style="width: 900px">wide</div>'
    with visiting(
        browser, address + "book/errata.html", width=NARROW, change=inject(wide)
    ) as visit:
        assert overflow(visit) > 300


def test_cut_formulas_are_noticed(browser: object, address: str) -> None:
    """A wide formula in running text is found where the page's own rule for it is taken
    away.
    """
    wide = (
        '<p><span class="math notranslate nohighlight">\\('
        + "a + " * 60
        + "b\\)</span></p>"
    )
    rule = "<style>.bd-article span.math.wide { overflow: hidden; }</style>"
    page = address + "book/notation.html"
    with visiting(browser, page, width=NARROW, change=inject(wide)) as visit:
        assert cut_formulas(visit) == []
        assert overflow(visit) <= 0
    with visiting(browser, page, width=NARROW, change=inject(wide + rule)) as visit:
        assert len(cut_formulas(visit)) == 1


def test_figure_faults_are_noticed(browser: object, address: str) -> None:
    """A transparent figure is found, and one that the theme tints."""
    svg = (
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='9' "
        "height='9'/%3E"
    )
    markup = (
        f'<div class="cell_output"><img src="{svg}" alt="transparent"></div>'
        '<div class="cell_output"><img src="../_static/card.png" alt="tinted" '
        'style="filter: invert(1) !important"></div>'
    )
    with visiting(
        browser, address + "book/errata.html", theme="dark", change=inject(markup)
    ) as visit:
        found = " ".join(figure_problems(visit))
    assert "corner is 0,0,0,0" in found
    assert "filter invert(1)" in found


def test_missing_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a browser the tests are skipped with a sentence; in continuous
    integration they fail.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_browser() is None
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="No Chromium or Chrome was found"):
        require_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="No Chromium or Chrome was found"):
        require_browser()
