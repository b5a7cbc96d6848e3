"""Pages on paper: nothing is cut off at the edge, and a dark page prints light.

Each part ends with a test that shows that it can fail.
"""

from __future__ import annotations

import re

import pytest
from site_support import Visit, visiting

pytest_plugins = ["site_support"]

EXAMPLE = "chapters/04-self-attention.html"
# The width of A4 between Chromium's margins, in CSS pixels.
PAPER = 718
LONG_CODE = (
    '<div class="highlight"><pre>'
    + " ".join(f"argument_{number}=None," for number in range(30))
    + "</pre></div>"
)
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(18, 18, 18)"


def inject(markup: str):
    """A change of a page: `markup` at the end of its article."""
    return lambda html: html.replace("</article>", markup + "</article>", 1)


def cut_on_paper(visit: Visit) -> list[str]:
    """The blocks of code and output whose ends paper would not show."""
    visit.page.emulate_media(media="print")
    return visit.page.evaluate(
        """() => [...document.querySelectorAll('.bd-article pre')]
            .filter(code => code.scrollWidth > code.clientWidth + 1)
            .map(code => code.textContent)"""
    )


def printed_background(visit: Visit) -> str:
    """The background of the page while it is printed."""
    visit.page.evaluate(
        """() => window.addEventListener('beforeprint', () => {
            window.printed = getComputedStyle(document.body).backgroundColor;
        })"""
    )
    visit.page.pdf(print_background=True)
    return visit.page.evaluate("window.printed")


@pytest.mark.parametrize("page", [EXAMPLE, "book/guide.html"])
def test_code_is_wrapped_on_paper(page: str, browser: object, address: str) -> None:
    change = inject(LONG_CODE)
    with visiting(browser, address + page, width=PAPER, change=change) as visit:
        assert cut_on_paper(visit) == []
        assert visit.problems == []


def test_code_that_is_cut_on_paper_is_noticed(browser: object, address: str) -> None:
    rule = "<style>.bd-article pre { white-space: pre !important; }</style>"
    change = inject(LONG_CODE + rule)
    with visiting(browser, address + EXAMPLE, width=PAPER, change=change) as visit:
        assert any("argument_29" in code for code in cut_on_paper(visit))


def test_the_dark_theme_prints_light(browser: object, address: str) -> None:
    """And the screen is dark again afterwards."""
    with visiting(browser, address + EXAMPLE, theme="dark") as visit:
        assert printed_background(visit) == LIGHT
        assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert visit.problems == []


def test_a_page_that_prints_dark_is_noticed(browser: object, address: str) -> None:
    """As it would without the book's own script."""

    def without_script(html: str) -> str:
        changed = re.sub(r"<script[^>]*book\.js[^>]*></script>", "", html)
        assert changed != html
        return changed

    page = address + EXAMPLE
    with visiting(browser, page, theme="dark", change=without_script) as visit:
        assert printed_background(visit) == DARK
