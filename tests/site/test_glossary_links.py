"""In a chapter the first use of a term leads to the glossary: once, and only there."""

import sys
from pathlib import Path

import pytest
from docutils.core import publish_doctree
from site_support import ROOT, tool

sys.path.append(str(ROOT / "book" / "theme"))

import glossary_links

pytest_plugins = ["site_support"]

GLOSSARY = {
    ("token",): "标记 · A piece of text.",
    ("byte-level tokenizer", "BBPE"): "字节级 · Its smallest tokens are bytes.",
    ("recall",): "召回率 · The share that is found.",
    ("BERT",): "BERT · An encoder.",
}


def entries():
    """The entries of a small glossary, as Sphinx would read it."""
    items = glossary_links.nodes.definition_list()
    for terms, meaning in GLOSSARY.items():
        item = glossary_links.nodes.definition_list_item()
        for term in terms:
            anchor = f"term-{term.replace(' ', '-')}"
            item += glossary_links.nodes.term("", term, ids=[anchor])
        paragraph = glossary_links.nodes.paragraph("", meaning)
        item += glossary_links.nodes.definition("", paragraph)
        items += item
    return list(glossary_links.entries(items))


def links(text):
    """The words that became links in a text, and where they lead."""
    document = publish_doctree(text)
    glossary_links.link_terms(document, entries(), "g.html")
    return [
        (link.astext(), link["refuri"])
        for link in document.findall(glossary_links.nodes.reference)
        if "term" in link["classes"]
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tokens are cut; a token is a piece.", ["Tokens"]),
        (
            "A byte-level\ntokenizer, or BBPE, has tokens.",
            ["byte-level\ntokenizer", "tokens"],
        ),
        ("BERT is no bert; Berts are none.", ["BERT"]),
        ("A tokenizer, a sub-token, token_id and tokened.", []),
        ("``token`` and `token <elsewhere.html>`__ are no prose.", []),
        ("The model recalls; recall it.", []),
        ("This is **recall**, the share.", ["recall"]),
    ],
)
def test_first_use_alone_is_linked(text, words):
    assert [word for word, _ in links(text)] == words


def test_a_heading_is_no_prose():
    text = "token\n=====\n\nA heading, and here a token.\n\nb\n=\n\nEnd."
    assert links(text) == [("token", "g.html#term-token")]


def test_the_pointer_shows_what_the_entry_says():
    assert [entry.meaning for entry in entries()] == [
        "A piece of text.",
        "Its smallest tokens are bytes.",
        "Its smallest tokens are bytes.",
        "The share that is found.",
        "An encoder.",
    ]


def test_the_pointer_shows_no_formula():
    nodes = glossary_links.nodes
    formula = nodes.math("", "e^x")
    paragraph = nodes.paragraph(
        "", "软 · Sums to one. It is ", formula, nodes.Text(".")
    )
    assert glossary_links.plain(nodes.definition("", paragraph)) == "Sums to one."


def test_a_long_entry_ends_after_a_sentence_or_a_word():
    sentence = "A short one. " + "word " * 60
    assert glossary_links.shortened(sentence) == "A short one."
    cut = glossary_links.shortened("word " * 60)
    assert cut.endswith("word …")
    assert len(cut) <= glossary_links.LONGEST + 2


def test_every_chapter_explains_its_terms(built_site: Path):
    for page in sorted((built_site / "chapters").glob("*.html")):
        found = tool.parse(page).xpath("//article//a[contains(@class, 'term')]")
        addresses = [link.get("href") for link in found]
        assert len(found) >= 10, page.name
        assert len(set(addresses)) == len(addresses), page.name
        assert all(link.get("title") for link in found), page.name
