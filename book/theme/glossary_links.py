"""In a chapter, the first use of each term of the glossary leads to its entry there.

A small Sphinx extension (`_config.yml` loads it). The notebooks hold no such links, and
so stay as readable in Colab as they are; a term that is new in the glossary is linked
everywhere with the next build. What the entry says shows when the pointer rests on it.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

GLOSSARY = "book/glossary"
CHAPTERS = "chapters/"

# A term is not looked for where it stands in these: they are links already, no prose,
# or a heading, which is short and seldom a sentence.
NO_PROSE = (
    nodes.FixedTextElement,
    nodes.literal,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.reference,
    nodes.thead,
    nodes.title,
)

# These words mean something else as well: half *precision*, to *lead* by a point. They
# are linked only where the text stresses them, as it does where it brings the term in.
EVERYDAY = {
    "advantage",
    "bit",
    "key",
    "lead",
    "merge",
    "moment",
    "precision",
    "query",
    "rank",
    "recall",
    "smoothing",
    "value",
}

LONGEST = 240
"""How many characters of an entry the pointer shows, at most."""


@dataclass(frozen=True)
class Entry:
    """A term of the glossary.

    Parameters
    ----------
    term: as the glossary has it.
    anchor: of its entry on the glossary's page.
    meaning: the entry's text, shortened; nothing where it begins with a formula.
    number: of the entry; synonyms share one.
    """

    term: str
    anchor: str
    meaning: str
    number: int

    @functools.cached_property
    def pattern(self) -> re.Pattern:
        """The term in running text, singular or plural: *token*, *Tokens*; a name with
        capitals as it is.
        """
        words = [re.escape(word) for word in self.term.split()]
        first = words[0]
        if self.term == self.term.lower() and first[0].isalpha():
            words[0] = f"[{first[0]}{first[0].upper()}]{first[1:]}"
        term = r"\s+".join(words)
        return re.compile(rf"(?<![\w-]){term}(?:s|es)?(?![\w-])")


def entries(glossary: nodes.document) -> Iterator[Entry]:
    """The terms of the glossary's page, one after the other."""
    for number, item in enumerate(glossary.findall(nodes.definition_list_item)):
        [definition] = item.findall(nodes.definition)
        meaning = shortened(plain(definition))
        for term in item.findall(nodes.term):
            yield Entry(term.astext(), term["ids"][0], meaning, number)


# Stands for a formula, which the pointer cannot show.
FORMULA = "\N{OBJECT REPLACEMENT CHARACTER}"


def plain(definition: nodes.definition) -> str:
    """An entry's text up to its first sentence with a formula, without the Chinese term
    before it and the citations in it.
    """
    definition = definition.deepcopy()
    for formula in list(definition.findall(nodes.math)):
        formula.parent.replace(formula, nodes.Text(FORMULA))
    for citation in list(definition.findall(addnodes.pending_xref)):
        if citation["refdomain"] == "cite":
            citation.parent.remove(citation)
    text = " ".join(definition.astext().split()).partition(" · ")[2]
    sentences = re.split(r"(?<=\.) ", re.sub(r" (?=[.,;:])", "", text))
    return " ".join(itertools.takewhile(lambda one: FORMULA not in one, sentences))


def shortened(text: str) -> str:
    """As many whole sentences as may be shown, or the first words of a long one."""
    if len(text) <= LONGEST:
        return text
    end = text.rfind(". ", 0, LONGEST)
    return text[: end + 1] if end > 0 else text[:LONGEST].rsplit(" ", 1)[0] + " …"


def link_terms(document: nodes.document, terms: list[Entry], address: str) -> None:
    """Put a link at the first use of each term; `address` is that of the glossary."""
    longest_first = sorted(terms, key=lambda entry: -len(entry.term))
    left = {entry.term: entry for entry in longest_first}
    for text in list(document.findall(nodes.Text)):
        if left and is_prose(text):
            stressed = isinstance(text.parent, (nodes.strong, nodes.emphasis))
            parts = list(linked(text, left, address, stressed))
            if len(parts) > 1:
                text.parent.replace(text, parts)


def is_prose(text: nodes.Text) -> bool:
    """Whether a term in this text may be linked."""
    node = text.parent
    while node is not None:
        if isinstance(node, NO_PROSE):
            return False
        node = node.parent
    return True


def linked(
    text: nodes.Text, left: dict[str, Entry], address: str, stressed: bool
) -> Iterator[nodes.Node]:
    """A text in parts, with a link for each term that is left; those are taken out."""
    rest = text.astext()
    while found := first_use(
        rest, [one for one in left.values() if stressed or one.term not in EVERYDAY]
    ):
        match, entry = found
        # Synonyms stand for one entry, and one link is enough.
        for term in [term for term, one in left.items() if one.number == entry.number]:
            del left[term]
        yield nodes.Text(rest[: match.start()])
        yield nodes.reference(
            "",
            match.group(),
            internal=True,
            refuri=f"{address}#{entry.anchor}",
            reftitle=entry.meaning or entry.term,
            classes=["term"],
        )
        rest = rest[match.end() :]
    yield nodes.Text(rest)


def first_use(text: str, left: list[Entry]) -> tuple[re.Match, Entry] | None:
    """The first term in a text: of those that begin at one place, the first that is
    left, which is the longest.
    """
    matches = [(entry.pattern.search(text), entry) for entry in left]
    found = [(match, entry) for match, entry in matches if match]
    return min(found, key=lambda pair: pair[0].start(), default=None)


def note_glossary(app: Sphinx, document: nodes.document) -> None:
    """A chapter is built again when the glossary changes."""
    if app.env.docname.startswith(CHAPTERS):
        app.env.note_dependency(app.env.doc2path(GLOSSARY))


def link_chapter(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Link the terms of one page, if it is a chapter."""
    if docname.startswith(CHAPTERS) and GLOSSARY in app.env.found_docs:
        address = app.builder.get_relative_uri(docname, GLOSSARY)
        link_terms(document, list(entries(app.env.get_doctree(GLOSSARY))), address)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the above with Sphinx."""
    app.connect("doctree-read", note_glossary)
    app.connect("doctree-resolved", link_chapter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
