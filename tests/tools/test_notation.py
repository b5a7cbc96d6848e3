"""Equations and the shapes in code use the symbols of book/notation.md, and these are
used.
"""

import re
from collections import defaultdict

import pytest
from notebooks import ROOT, read
from rules.page import EXECUTED, Page

PAGES = [
    Page(read(path, ROOT), f"{folder}/{path.name}", ROOT, 0)
    for folder in EXECUTED
    for path in sorted((ROOT / folder).glob("*.ipynb"))
]
CHAPTERS = [page for page in PAGES if page.kind == "chapters"]
TEXT = (ROOT / "book/notation.md").read_text(encoding="utf-8")
# Words in an equation, and marks for its layout.
WORDS = re.compile(r"\\(?:operatorname|text|mathrm|textbf|begin|end)\{[^}]*\}")
GREEK = (
    "alpha|beta|gamma|delta|(?:var)?epsilon|zeta|eta|(?:var)?theta|kappa|lambda|mu|nu|xi"
    "|pi|(?:var)?rho|sigma|tau|(?:var)?phi|chi|psi|omega"
    "|Gamma|Delta|Theta|Lambda|Phi|Psi|Omega"
)
LETTER = re.compile(rf"\\(?:{GREEK})(?![A-Za-z])|(?<![A-Za-z\\])[A-Za-z]\b")
# In a comment: parentheses around dimensions, (B, T=6, 2 * C); of one, (T=3,) or (V).
SHAPE = re.compile(r"#[^#\n]*?\(((?:[^()\n]+,)[^()\n]*|[A-Z](?:=\d+)?)\)")


def letters(equation):
    """The letters of an equation, those of words left out."""
    plain = re.sub(r"\\[A-Za-z]+", lambda macro: f" {macro[0]} ", equation)
    return set(LETTER.findall(re.sub(r"[_^]", " ", WORDS.sub(" ", plain))))


def rows(text):
    """What stands in the first column of the tables."""
    return re.findall(r"^\| (\$.+?) \|", text, re.MULTILINE)


def explained(text):
    """Every letter of the first column of the tables."""
    equations = [each for row in rows(text) for each in re.findall(r"\$([^$]+)\$", row)]
    return set().union(*map(letters, equations))


def equations(page):
    """The equations of a page's text."""
    for cell in page.markdown:
        for _, token in cell.pieces():
            if token.type.startswith("math"):
                yield token.content


def sizes(text):
    """The letters of the table of sizes."""
    table = text.partition("## Sizes")[2].partition("\n## ")[0]
    return {row.strip("$") for row in rows(table)}


def dimensions(source):
    """The capital letters in comments on shapes."""
    return {
        name
        for shape in SHAPE.findall(source)
        for name in re.findall(r"(?<![\w.])[A-Z](?:_\w)?(?!\w)", shape)
    }


def unknown_dimensions(sources, known):
    """Capital letters in comments on shapes that are no size. Words need no table."""
    return {name for source in sources for name in dimensions(source)} - known


def code(page):
    return [cell.source for _, cell in page.code]


LETTERS = defaultdict(set)
for chapter in CHAPTERS:
    for equation in equations(chapter):
        for one in letters(equation):
            LETTERS[one].add(chapter.number)


def test_a_letter_of_two_chapters_is_explained():
    known = explained(TEXT)
    assert {
        letter: sorted(numbers)
        for letter, numbers in LETTERS.items()
        if len(numbers) > 1 and letter not in known
    } == {}


def test_every_symbol_is_used():
    in_code = {
        name for page in PAGES for each in code(page) for name in dimensions(each)
    }
    assert explained(TEXT) - LETTERS.keys() - in_code == set()


def test_every_name_in_code_is_used():
    table = TEXT.partition("## Sizes")[2].partition("\n## ")[0]
    names = re.findall(r"^\| \$[^|]+\|[^|]+\| `(\w+)` \|", table, re.MULTILINE)
    everything = "\n".join(source for page in PAGES for source in code(page))
    assert len(names) > 8
    assert [name for name in names if not re.search(rf"\b{name}\b", everything)] == []


def test_shapes_in_code_use_the_sizes():
    known = sizes(TEXT)
    assert {
        page.name: names
        for page in PAGES
        if (names := unknown_dimensions(code(page), known))
    } == {}


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        (r"\operatorname{softmax}(Q K^\top)", {"Q", "K"}),
        (r"\mathcal{L}(\theta) = x_t W", {"L", r"\theta", "x", "t", "W"}),
        (r"\text{count}(c)", {"c"}),
        (r"\sqrt{D}\,\gamma", {"D", r"\gamma"}),
    ],
)
def test_letters_of_an_equation(equation, expected):
    assert letters(equation) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = y  # (B, T, C)", set()),
        ("x = y  # (B=2, T=6, 2 * C)", set()),
        ("x = y  # (B, digits): what was read", set()),
        ("x = y  # (T=3,): the mean", set()),
        ("x = y  # (B, Q, C)", {"Q"}),
        ("x = y  # (J)", {"J"}),
        ("x = y  # nothing (as Ada said)", set()),
    ],
)
def test_an_unknown_dimension_is_found(source, expected):
    assert unknown_dimensions([source], {"B", "T", "C"}) == expected


def test_an_unexplained_letter_is_found():
    assert "e" in explained(TEXT)
    assert "e" not in explained(TEXT.replace("| $e$ |", "| $o$ |"))
