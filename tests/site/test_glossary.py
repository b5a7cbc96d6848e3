"""Each entry of the glossary has its parts, and the chapter it names uses the term."""

import functools
import re
import sys
from dataclasses import dataclass

import pytest
from notebooks import ROOT, read
from rules.page import Page

sys.path.append(str(ROOT / "book" / "theme"))

from glossary_links import EVERYDAY, Entry

ENTRY = re.compile(
    r"  \{zh\}`(?P<chinese>[^`]+)` "
    r"\(\[(?:exercises )?(?P<number>\d\d)\]\(\.\./(?P<page>[\w/-]+)\.ipynb\)"
    r"(?:, (?P<word>\*[^*]+\*|`[^`]+`))?\) · "
    r"(?P<meaning>.+)"
)
FEWEST = 150
MOST_SENTENCES = 2


@dataclass(frozen=True)
class Line:
    """An entry as glossary.md has it.

    Parameters
    ----------
    page: where its term is first used, from the root and without the ending.
    word: what that page says for it, with its marks; nothing where it says the term.
    """

    terms: tuple[str, ...]
    chinese: str
    number: str
    page: str
    word: str
    meaning: str


def entries(text):
    """The entries of a glossary's text.

    Raises ValueError for one that lacks a part.
    """
    body = text.partition("```{glossary}\n")[2].partition("\n```")[0]
    found = []
    for block in body.split("\n\n"):
        *terms, line = block.split("\n")
        match = ENTRY.fullmatch(line)
        if not match or not terms or any(term.startswith(" ") for term in terms):
            raise ValueError(f"an entry lacks a part: {block}")
        parts = match.groupdict(default="")
        found.append(Line(terms=tuple(terms), **parts))
    return found


TEXT = (ROOT / "book/glossary.md").read_text(encoding="utf-8")
ENTRIES = entries(TEXT)
CHAPTERS = sorted(
    f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.ipynb")
)


@functools.cache
def prose(page):
    """What a page says outside of code, mathematics and HTML."""
    name = f"{page}.ipynb"
    cells = Page(read(ROOT / name, ROOT), name, ROOT, 0).markdown
    return "\n\n".join("\n".join(text for _, text in cell.prose()) for cell in cells)


def uses(page, word):
    """Whether a page has a term, or a word with its marks: *of text* or `of code`."""
    if word.startswith("`"):
        sources = (cell.source for cell in read(ROOT / f"{page}.ipynb", ROOT).cells)
        return word.strip("`") in "\n".join(sources)
    return bool(Entry(word.strip("*"), "", "", 0).pattern.search(prose(page)))


def wrong_places(lines):
    """A sentence for each entry whose page does not use it, or is not the first."""
    for line in lines:
        words = [line.word] if line.word else line.terms
        if not any(uses(line.page, word) for word in words):
            yield f"{line.terms[0]}: {line.page} does not use it"
        if line.word or EVERYDAY.intersection(line.terms):
            continue
        earlier = [page for page in CHAPTERS if page < line.page]
        if line.page.startswith("exercises"):
            earlier = CHAPTERS
        for page in earlier:
            if any(uses(page, term) for term in line.terms):
                yield f"{line.terms[0]}: {page} uses it before {line.page}"
                break


def test_there_are_enough_terms_each_once_and_in_order():
    terms = [term.lower() for line in ENTRIES for term in line.terms]
    assert len(terms) >= FEWEST
    assert len(set(terms)) == len(terms)
    firsts = [line.terms[0].lower().replace("–", "-") for line in ENTRIES]
    assert firsts == sorted(firsts)


def test_every_meaning_is_one_sentence_or_two():
    # The stop of a number or an abbreviation ends none.
    assert {
        line.terms[0]: line.meaning
        for line in ENTRIES
        if not line.meaning.endswith(".")
        or len(re.findall(r"[.?!](?= [A-Z{$`*]|$)", line.meaning)) > MOST_SENTENCES
    } == {}


def test_every_link_leads_to_the_chapter_that_it_names():
    for line in ENTRIES:
        assert (ROOT / f"{line.page}.ipynb").is_file(), line.page
        assert line.page.partition("/")[2].startswith(f"{line.number}-"), line.terms


def test_the_named_chapter_is_the_first_that_uses_the_term():
    assert list(wrong_places(ENTRIES)) == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"terms": ("flibbertigibbet",)}, "does not use it"),
        ({"word": "*flibbertigibbet*"}, "does not use it"),
        ({"word": "`flibbertigibbet`"}, "does not use it"),
        ({"page": CHAPTERS[9]}, f"{CHAPTERS[4]} uses it before"),
    ],
)
def test_a_wrong_place_is_found(fault, expected):
    right = {
        "terms": ("self-attention",),
        "chinese": "自注意力",
        "number": "04",
        "page": CHAPTERS[4],
        "word": "",
        "meaning": "Attention to oneself.",
    }
    assert list(wrong_places([Line(**right)])) == []
    [sentence] = wrong_places([Line(**(right | fault))])
    assert expected in sentence


@pytest.mark.parametrize(
    "line",
    [
        "  {zh}`词` · Without a chapter.",
        "  ([03](../chapters/03-tokenization.ipynb)) · Without Chinese.",
        "  {zh}`词` ([03](../chapters/03-tokenization.ipynb)) ·",
    ],
)
def test_a_missing_part_is_found(line):
    with pytest.raises(ValueError, match="lacks a part"):
        entries(f"```{{glossary}}\ntoken\n{line}\n```\n")
