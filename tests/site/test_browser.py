"""The built site in a real browser: what a reader sees, and that nothing is asked of
any other host.

The last part shows that each of these tests can fail: a page is given a fault on its
way to the browser, and the test's own finding function has to report it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
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
# What can only be seen on a narrow screen, of axe-core's rules: whatever scrolls there
# can be reached from the keyboard, and nothing else can be that should not.
RULES_WHEN_NARROW = [
    "aria-hidden-focus",
    "nested-interactive",
    "scrollable-region-focusable",
    "tabindex",
]
# Pages that are tried by all rules on a narrow screen: what is around the text, the
# menus of a telephone among it, is the same on the others.
ALL_RULES_WHEN_NARROW = ["", EXAMPLE, "search.html"]
CONTRAST = "color-contrast"
# Of texts and words that are alike, axe-core is to measure the contrast of so many.
ALIKE = 3


@pytest.fixture(
    scope="module",
    params=ALL_PAGES,
    ids=lambda page: page or "/",
)
def opened(
    request: pytest.FixtureRequest, browser: object, address: str
) -> Iterator[Visit]:
    """Each page in turn, opened once for all the tests of it; these come in an order
    that changes its width twice and its theme once.
    """
    url, name = address + request.param, request.param
    with visiting(browser, url, width=NARROW, name=name) as visit:
        yield visit


def accessibility_problems(visit: Visit, rules: list[str] | None = None) -> list[str]:
    """Violations that axe-core calls serious or critical, a line for each element; by
    some of its rules, or by all.

    It changes the page, so it comes last: of what is alike, some is left.
    """
    page = visit.page
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    page.evaluate(THIN, ALIKE)
    if rules is None or CONTRAST in rules:
        page.evaluate(SAMPLE, ALIKE)
    # `preload` is off: axe would fetch the style sheets again, and what they import
    # from the wrong folder. One run for all rules: in each, axe works out anew where
    # everything lies on the page.
    options = {"preload": False, "resultTypes": ["violations"]}
    if rules is not None:
        options["runOnly"] = rules
    violations = page.evaluate(
        "options => axe.run(document, options).then(results => results.violations)",
        options,
    )
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:120]}"
        for one in violations
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


# Takes the mark-up of all but so many words of each class and style out of a page's
# code, all but so many of the buttons that copy it, and what MathJax has put into all
# but so many formulas: axe takes seconds for these thousands of elements, which are
# alike. Formulas that a telephone may cut off stay; an empty one keeps its place and
# its size.
THIN = """alike => {
    if (window.thinned) return;
    window.thinned = true;
    const seen = {};
    const spare = (...kind) => (seen[kind] = (seen[kind] || 0) + 1) > alike;
    for (const block of document.querySelectorAll('.bd-article .highlight pre')) {
        const parts = [''];
        for (const node of block.childNodes) {
            const word = node.localName === 'span' && !node.children.length;
            const text = node.nodeType === Node.TEXT_NODE
                || word && spare(node.className, node.getAttribute('style'));
            if (text) parts[parts.length - 1] += node.textContent;
            else parts.push(node, '');
        }
        block.replaceChildren(...parts.filter(part => part !== ''));
    }
    for (const button of document.querySelectorAll('.bd-article button.copybtn'))
        if (spare(button.localName, button.className)) button.remove();
    const sizes = new Map();
    for (const formula of document.querySelectorAll('.bd-article mjx-container')) {
        const place = formula.parentElement.parentElement.localName;
        const box = formula.getBoundingClientRect();
        if (box.width < 320 && spare(formula.cloneNode(false).outerHTML, place))
            sizes.set(formula, box);
    }
    for (const [formula, box] of sizes) {
        const space = document.createElement('span');
        space.style.display = 'inline-block';
        space.style.width = box.width + 'px';
        space.style.height = box.height + 'px';
        formula.replaceChildren(space);
    }
}"""

# Marks what of a page axe is to look at for contrast: of all texts that are alike in
# whatever it depends on - the element and the one that it stands in, colours, size, and
# all that lies behind - so many.
SAMPLE = """alike => {
    const grounds = new Map([[null, '']]);
    const ground = element => {
        if (!grounds.has(element)) {
            const style = getComputedStyle(element);
            const own = [style.backgroundColor, style.backgroundImage, style.opacity,
                style.filter, style.mixBlendMode].join();
            const nothing = 'rgba(0, 0, 0, 0),none,1,none,normal';
            grounds.set(element,
                ground(element.parentElement) + (own === nothing ? '' : '|' + own));
        }
        return grounds.get(element);
    };
    const kind = element => `${element.localName}.${element.className}`;
    const seen = {};
    for (const element of document.body.querySelectorAll('*')) {
        element.removeAttribute('data-sample');
        const texts = [...element.childNodes].filter(node => node.nodeType === 3);
        if (!texts.some(text => text.data.trim())) continue;
        if (!element.checkVisibility({ visibilityProperty: true })) continue;
        const style = getComputedStyle(element);
        const looks = [kind(element), kind(element.parentElement), style.color,
            style.fontSize, style.fontWeight, style.textShadow, ground(element)].join();
        seen[looks] = (seen[looks] || 0) + 1;
        if (seen[looks] <= alike) element.setAttribute('data-sample', '');
    }
    axe.configure({ rules: [{ id: 'color-contrast', selector: '[data-sample]' }] });
}"""


def mathematics_problems(visit: Visit) -> list[str]:
    """Formulas that are not set, or that MathJax could not read."""
    return visit.page.evaluate(
        """() => {
            const problems = [];
            for (const formula of document.querySelectorAll('.math'))
                if (!formula.querySelector('mjx-container'))
                    problems.push('not set: ' + formula.textContent);
            const wrong = 'mjx-merror, [data-mjx-error]';
            for (const error of document.querySelectorAll(wrong)) {
                const said = error.getAttribute('data-mjx-error');
                problems.push('MathJax: ' + (said || error.textContent));
            }
            return problems;
        }"""
    )


def cut_formulas(visit: Visit) -> list[str]:
    """Formulas that are wider than their place and can not be scrolled."""
    return visit.page.evaluate(
        """() => [...document.querySelectorAll('.bd-article .math')].filter(formula => {
            const set = formula.querySelector('mjx-math');
            if (!set) return false;
            const width = set.getBoundingClientRect().width;
            if (width <= formula.clientWidth + 1) return false;
            const boxes = [formula, formula.querySelector('mjx-container')];
            return !boxes.some(box =>
                getComputedStyle(box).overflowX === 'auto' && box.tabIndex === 0);
        }).map(formula => formula.textContent)"""
    )


# For a box and what may be cut off in it: the longest line of code or text in it.
LONGEST_LINE = """
    const longest = box => box.textContent.split('\\n')
        .reduce((one, other) => other.length > one.length ? other : one, '').trim();
"""


def sideways(visit: Visit, boxes: str) -> list[str]:
    """The boxes, by a selector, in which something lies beyond the right edge: by how
    many pixels, and the longest line. What is folded is unfolded for it.
    """
    return visit.page.evaluate(
        """boxes => {"""
        + LONGEST_LINE
        + """
            const closed = 'article details:not([open])';
            const folded = [...document.querySelectorAll(closed)];
            folded.forEach(each => { each.open = true; });
            const problems = [];
            for (const box of document.querySelectorAll(boxes)) {
                const hidden = box.scrollWidth - box.clientWidth;
                if (box.clientWidth && hidden > 1)
                    problems.push(`${hidden} pixels of <${box.localName}>: `
                        + longest(box).slice(0, 120));
            }
            folded.forEach(each => { each.open = false; });
            return problems;
        }""",
        boxes,
    )


def unmarked_cuts(visit: Visit) -> list[str]:
    """Code that goes on beyond its box and does not show it, or cannot be scrolled."""
    return visit.page.evaluate(
        """() => {"""
        + LONGEST_LINE
        + """
            return [...document.querySelectorAll('.bd-article .highlight > pre')]
                .filter(code => code.scrollWidth > code.clientWidth + 1)
                .filter(code => {
                    const fade = getComputedStyle(code.parentNode, '::after');
                    return fade.content === 'none'
                        || !fade.backgroundImage.includes('gradient')
                        || getComputedStyle(code).overflowX !== 'auto';
                })
                .map(longest);
        }"""
    )


def overflow(visit: Visit) -> int:
    """By how many pixels the page is wider than the window."""
    return visit.page.evaluate(
        "document.documentElement.scrollWidth - window.innerWidth"
    )


def figure_problems(visit: Visit) -> list[str]:
    """Figures whose face is not opaque and white, or whose colours a theme changes."""
    return visit.page.evaluate(
        """() => {
            const problems = [];
            const figures =
                '.bd-article :is(.cell_output, .chapter-figure) img';
            const dark = document.documentElement.dataset.theme === 'dark';
            for (const image of document.querySelectorAll(figures)) {
                const style = getComputedStyle(image);
                const canvas = document.createElement('canvas');
                canvas.width = image.naturalWidth;
                canvas.height = image.naturalHeight;
                const pen = canvas.getContext('2d');
                pen.drawImage(image, 0, 0);
                const corner = Array.from(pen.getImageData(0, 0, 1, 1).data).join();
                const ground = style.backgroundColor;
                const faults = {
                    corner: corner !== '255,255,255,255' && corner,
                    filter: style.filter !== 'none' && style.filter,
                    ground: dark && ground !== 'rgb(255, 255, 255)' && ground,
                    opacity: Number(style.opacity) !== 1 && style.opacity,
                };
                for (const [what, value] of Object.entries(faults))
                    if (value) problems.push(`${image.src}: ${what} is ${value}`);
            }
            return problems;
        }"""
    )


# Cells' boxes: code, outputs, and what scrolls in these, such as tables.
CODE = ".bd-article .cell_input pre"
OUTPUT = ".bd-article .cell_output, .bd-article .cell_output *:not(mjx-container *)"


def test_outputs_fit_a_telephone(opened: Visit) -> None:
    """On a narrow screen no output scrolls sideways; code does, and shows where it is
    cut off.
    """
    opened.show("light", NARROW)
    assert sideways(opened, OUTPUT) == []
    assert unmarked_cuts(opened) == []


def test_narrow(opened: Visit) -> None:
    """On a telephone the page does not scroll sideways, and every formula that is cut
    off does.
    """
    opened.show("light", NARROW)
    assert overflow(opened) <= 0
    assert cut_formulas(opened) == []
    assert opened.problems == []


def test_code_and_outputs_fit(opened: Visit) -> None:
    """Where the window has 1,280 pixels and both side columns are shown, no code cell
    and no output scrolls sideways.
    """
    opened.show("light", 1280)
    for column in (".bd-sidebar-primary", ".bd-sidebar-secondary"):
        if opened.name in NOTEBOOKS:
            assert opened.page.locator(column).is_visible()
    assert sideways(opened, f"{CODE}, {OUTPUT}") == []


def test_notebook_buttons(opened: Visit) -> None:
    """The rocket leads to this notebook in Colab; the download is the notebook as it is
    committed. A page that is no notebook has no rocket.
    """
    opened.show("light", 1280)
    rocket = opened.page.locator('.dropdown-launch-buttons a[href*="colab"]')
    if opened.name not in NOTEBOOKS:
        assert rocket.count() == 0
        return
    repository = tool.settings(ROOT)["repository"]
    notebook = opened.name.removesuffix(".html") + ".ipynb"
    button = opened.page.locator(
        "button.dropdown-launch-buttons, .dropdown-launch-buttons > button"
    ).first
    button.click()
    rocket.wait_for()
    place = repository["url"].removeprefix("https://github.com/")
    assert rocket.get_attribute("href") == (
        f"https://colab.research.google.com/github/{place}/blob/{repository['branch']}/{notebook}"
    )
    button.click()
    opened.page.mouse.move(0, 0)
    rocket.wait_for(state="hidden")
    link = opened.page.locator('.dropdown-download-buttons a[href$=".ipynb"]')
    answer = opened.page.request.get(link.evaluate("link => link.href"))
    assert answer.status == 200
    assert json.loads(answer.body()) == json.loads((ROOT / notebook).read_bytes())
    assert opened.problems == []


def test_page(opened: Visit) -> None:
    """The page loads alone and in silence, has its formulas, and all can use it."""
    opened.show("light", 1280)
    assert mathematics_problems(opened) == []
    assert figure_problems(opened) == []
    assert accessibility_problems(opened) == []
    assert opened.problems == []


def test_dark(opened: Visit) -> None:
    """In the dark theme figures stay as they are, and everything can be read."""
    opened.show("dark", 1280)
    assert figure_problems(opened) == []
    assert accessibility_problems(opened, ["color-contrast"]) == []
    assert opened.problems == []


def test_all_can_use_it_on_a_telephone(opened: Visit) -> None:
    """What scrolls on a narrow screen can be reached from the keyboard."""
    opened.show("light", NARROW)
    everything = opened.name in ALL_RULES_WHEN_NARROW
    rules = None if everything else RULES_WHEN_NARROW
    assert accessibility_problems(opened, rules) == []
    assert opened.problems == []


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


def wait_for_problem(visit: Visit, expected: str) -> None:
    """Wait until the visit has such a problem, but not for ever."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if any(expected in problem for problem in visit.problems):
            return
        visit.page.wait_for_timeout(20)


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
    with visiting(
        browser, address + "book/errata.html", change=inject(markup)
    ) as visit:
        wait_for_problem(visit, expected)
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


WORD = '<span class="n">word</span>'
PALE = "color: #ccc; background: #fff"


# Texts of which there are many, each with one that is paler.
PALER = [
    ("<p>A text.</p>", f'<p style="{PALE}">A text.</p>'),
    ("<p>A <b>bold</b> text.</p>", f'<p>A <b style="{PALE}">bold</b> text.</p>'),
    ("<p>More text.</p>", f'<div style="{PALE}"><p>More text.</p></div>'),
    ("<p>Another text.</p>", '<p style="opacity: 0.3">Another text.</p>'),
    (WORD, f'<span class="n" style="{PALE}">word</span>'),
]


def among_many(chosen: int) -> str:
    """Each of these texts many times; for `chosen` 1, each time one that is paler."""
    blocks = ["\n".join([one[0]] * 9 + [one[chosen]] + [one[0]] * 9) for one in PALER]
    code = f'<div class="highlight"><pre>{blocks.pop()}</pre></div>'
    return "".join([*blocks, code])


def test_a_pale_text_among_many_is_noticed(browser: object, address: str) -> None:
    """Of texts that are alike only some are looked at, but of those that are not, all
    are.
    """
    page = address + "book/errata.html"
    with visiting(browser, page, change=inject(among_many(0))) as visit:
        assert accessibility_problems(visit, [CONTRAST]) == []
    with visiting(browser, page, change=inject(among_many(1))) as visit:
        found = accessibility_problems(visit, [CONTRAST])
        assert len(found) == len(PALER), found


def test_mathematics_faults_are_noticed(browser: object, address: str) -> None:
    """A formula that MathJax cannot read is found, and so is one that it never saw."""
    math = '<span class="math notranslate nohighlight">'
    bad = f"<p>{math}\\(\\frac{{1}}\\left( \\)</span></p>"
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


LINE = "x = " + "1 + " * 24
LONG_CELL = (
    '<div class="cell"><div class="cell_input"><div class="highlight"><pre>'
    f"y = 1\n{LINE}</pre></div></div>"
    '<details><summary>Output</summary><div class="cell_output"><div class="output">'
    f"<pre>{LINE}</pre></div></div></details></div>"
)


def test_a_line_of_100_columns_is_noticed(browser: object, address: str) -> None:
    """In code; an output of that width is wrapped, and noticed where it is not, folded
    as it is.
    """
    page = address + "book/errata.html"
    with visiting(browser, page, change=inject(LONG_CELL)) as visit:
        (problem,) = sideways(visit, f"{CODE}, {OUTPUT}")
        assert problem.endswith(f"pixels of <pre>: {LINE.strip()}")
    rule = "<style>.bd-article .cell_output pre { white-space: pre !important }</style>"
    with visiting(browser, page, change=inject(LONG_CELL + rule)) as visit:
        assert len(sideways(visit, CODE)) == 1
        assert any(
            problem.endswith(LINE.strip()) for problem in sideways(visit, OUTPUT)
        )


@pytest.mark.parametrize(
    "rule",
    [
        "::after { content: none !important }",
        "::after { background: none !important }",
        " > pre { overflow: hidden !important }",
    ],
)
def test_a_cut_that_does_not_show_is_noticed(
    rule: str, browser: object, address: str
) -> None:
    page = address + "book/errata.html"
    with visiting(browser, page, width=NARROW, change=inject(LONG_CELL)) as visit:
        assert unmarked_cuts(visit) == []
    style = f"<style>.bd-article .highlight.cut{rule}</style>"
    change = inject(LONG_CELL + style)
    with visiting(browser, page, width=NARROW, change=change) as visit:
        assert unmarked_cuts(visit) == [LINE.strip()]


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
    assert "filter is invert(1)" in found


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
