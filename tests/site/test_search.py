"""Search as a reader meets it: excerpts hold the word and no markup, and a site that
was opened from disk can be searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from site_support import Visit, visiting

pytest_plugins = ["site_support"]

MARKUP = re.compile(r"\\\(|\\[a-z]+\{")


def excerpt_problems(visit: Visit) -> list[str]:
    """Results whose excerpt is missing, does not hold a word of the query, or shows the
    source of a formula.
    """
    visit.page.wait_for_selector("#search-results p.search-summary:not(:empty)")
    visit.page.wait_for_load_state("networkidle")
    results = visit.page.eval_on_selector_all(
        "#search-results ul.search > li",
        """results => results.map(result => ({
            page: result.querySelector('a').href,
            text: (result.querySelector('p.context') || result).textContent,
            marked: result.querySelectorAll('p.context .highlighted').length,
        }))""",
    )
    assert results
    problems = []
    for result in results:
        if not result["marked"]:
            problems.append(f"without the word: {result['page']} {result['text']}")
        if MARKUP.search(result["text"]):
            problems.append(f"with markup: {result['page']} {result['text']}")
    return problems


@pytest.mark.parametrize(
    "query", ["softmax", "tokenizers", "attention mask", "calibration", "perplexity"]
)
def test_excerpts_hold_the_word(query: str, browser: object, address: str) -> None:
    with visiting(browser, f"{address}search.html?q={query}") as visit:
        assert excerpt_problems(visit) == []
        assert visit.problems == []


def test_excerpts_without_the_word_are_noticed(browser: object, address: str) -> None:
    """They are there where Sphinx makes them."""

    def without_script(html: str) -> str:
        changed = re.sub(r"<script[^>]*/search\.js[^>]*></script>", "", html)
        assert changed != html
        return changed

    page = f"{address}search.html?q=tokenizers"
    with visiting(browser, page, change=without_script) as visit:
        found = " ".join(excerpt_problems(visit))
    assert "without the word" in found


@pytest.fixture(scope="module")
def searched(browser: object, address: str) -> Iterator[Visit]:
    """The search page after a search, opened once for all that it is asked."""
    with visiting(browser, f"{address}search.html?q=Softmax") as visit:
        yield visit


@pytest.mark.parametrize(
    ("article", "excerpt"),
    [
        # The word itself, and not the longer one that stands before it.
        ("<p>A masked_softmax.</p><p>Then a softmax.</p>", "Then a softmax."),
        # The word in another form comes before a longer word.
        ("<p>A masked_softmax.</p><p>Two softmaxes.</p>", "Two softmaxes."),
        # Prose before code and headings.
        (
            "<h2>softmax</h2><pre>softmax(x)</pre><p>Take the softmax.</p>",
            "Take the softmax.",
        ),
        ("<pre>x.softmax(\n    dim=-1)</pre>", "x.softmax( dim=-1)"),
        # A formula that is only letters and signs is shown, another is not.
        (
            r'<p>With <span class="math">\(T = 2\)</span> the softmax of '
            r'<span class="math">\(\frac{s}{T}\)</span>.</p>',
            "With T = 2 the softmax of … .",
        ),
        (
            r'<p>Its softmax is <span class="math">\(e^{s + c}\)</span>.</p>',
            "Its softmax is … .",
        ),
        # A word that stands in a formula alone has no excerpt.
        (r'<p>It is <span class="math">\(\mathrm{softmax}(s)\)</span>.</p>', ""),
        # The start and the end of a long text are left out, at words.
        (
            f"<p>{'before ' * 40}softmax {'after ' * 40}</p>",
            f"… {'before ' * 11}softmax {'after ' * 26}…",
        ),
        # Markup in a text stays text.
        ("<p>Not &lt;b&gt;softmax&lt;/b&gt;.</p>", "Not <b>softmax</b>."),
    ],
)
def test_excerpt(article: str, excerpt: str, searched: Visit) -> None:
    """What is chosen from a page."""
    html = f'<main><p>softmax in the menu</p><article class="bd-article">{article}'
    made = searched.page.evaluate(
        "html => Search.makeSearchSummary(html, new Set(['softmax']), '').textContent",
        html,
    )
    assert made == excerpt


def test_excerpt_of_a_glossary_entry(searched: Visit) -> None:
    """A result that leads to a term shows its definition."""
    html = (
        '<article class="bd-article"><dl><dt>logit</dt><dd>A softmax makes'
        ' probabilities of it.</dd><dt id="term-softmax">softmax</dt><dd>Shares that'
        " sum to one.</dd></dl></article>"
    )
    made = searched.page.evaluate(
        "html => Search.makeSearchSummary(html, new Set(['softmax']),"
        " '#term-softmax').textContent",
        html,
    )
    assert made == "softmax: Shares that sum to one."


def test_search_from_disk(browser: object, built_site) -> None:
    """Where a page may not read another, search finds pages, and says what it lacks."""
    context = browser.new_context()
    problems = []
    page = context.new_page()
    page.on("console", lambda said: said.type == "error" and problems.append(said.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((built_site / "search.html").as_uri() + "?q=softmax")
    page.locator('#search-results li a[href*="04-self-attention"]').first.wait_for()
    assert "make serve" in page.locator(".from-disk").inner_text()
    assert problems == []
    context.close()


def test_nothing_is_said_of_a_disk_on_a_server(browser: object, address: str) -> None:
    with visiting(browser, f"{address}search.html?q=softmax") as visit:
        visit.page.locator("#search-results p.context").first.wait_for()
        assert visit.page.locator(".from-disk").count() == 0
