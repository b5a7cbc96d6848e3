"""What notebooks cite is in book/references.bib, and each entry there is complete."""

import re
from collections import Counter

import pytest
from notebooks import ROOT, read
from rules.page import EXECUTED, Page

# With no DOI, and no number at arXiv or in the ACL Anthology: books, reports, pages of
# their authors, and papers of proceedings and journals that give none.
WITHOUT_NUMBER = {
    "gage1994bpe",
    "glorot2010difficulty",
    "goodfellow2016deep",
    "gutmann2010nce",
    "jordan2024muon",
    "jozefowicz2015recurrent",
    "miller2023offbyone",
    "radford2018gpt",
    "radford2019gpt2",
    "srivastava2014dropout",
    "vandermaaten2008tsne",
    "watson1964regression",
}
VENUES = ("booktitle", "journal", "institution", "publisher", "howpublished")
ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", re.IGNORECASE)
DOI = re.compile(r"(?:doi\.org/)?(10\.\d{4,9}/\S+)")
ANTHOLOGY = re.compile(r"aclanthology\.org/([\w.-]+?)/?(?:\.pdf)?$")
# A link to one of these is a citation.
PAPERS = re.compile(
    r"//(?:[\w.]+\.)?(?:arxiv\.org|doi\.org|aclanthology\.org|openreview\.net"
    r"|proceedings\.mlr\.press|jmlr\.org|nips\.cc|neurips\.cc|cdn\.openai\.com"
    r"|dl\.acm\.org|ieee\.org)/"
)


def entries(text):
    """The entries of a bibliography: their kind and their fields, by key."""
    return {
        key: {"kind": kind}
        | dict(re.findall(r"^  (\w+) = \{(.*)\},?$", body, re.MULTILINE))
        for kind, key, body in re.findall(
            r"^@(\w+)\{(\w+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL
        )
    }


def numbers(text):
    """By what a paper is known: its number at arXiv or in the ACL Anthology, its DOI,
    and its address.
    """
    found = {f"arXiv:{number}" for number in ARXIV.findall(text)}
    found |= {f"doi:{doi.lower()}" for doi in DOI.findall(text)}
    anthology = ANTHOLOGY.search(text)
    if anthology:
        found.add(f"acl:{anthology[1].lower()}")
        found.add(f"doi:10.18653/v1/{anthology[1].lower()}")
    address = re.match(r"https://(?:www\.)?(.+?)/?$", text)
    if address:
        found.add(address[1])
    return found


def known(bibliography):
    """Every number and address of a bibliography's entries."""
    return {
        number
        for fields in bibliography.values()
        for field in ("url", "doi")
        for number in numbers(fields.get(field, ""))
    }


def incomplete(bibliography):
    """A sentence for each entry that lacks something, or says two things."""
    for key, fields in bibliography.items():
        missing = [each for each in ("author", "title", "year") if each not in fields]
        if missing:
            yield f"{key} has no {', no '.join(missing)}"
            continue
        if fields.get("kind") != "misc" and not any(each in fields for each in VENUES):
            yield f"{key} does not say where it appeared"
        if fields["year"] not in key:
            yield f"{key} has another year, {fields['year']}"
        own = numbers(fields.get("url", "")) | numbers(fields.get("doi", ""))
        numbered = any(each.startswith(("arXiv:", "doi:", "acl:")) for each in own)
        if numbered == (key in WITHOUT_NUMBER):
            yield f"{key}: give it a number, or else a place in WITHOUT_NUMBER"
        named = re.findall(r"arXiv:(\d{4}\.\d{4,5})", fields.get("journal", ""))
        if any(f"arXiv:{number}" not in own for number in named):
            yield f"{key} names one arXiv number and links to another"


def repeated(bibliography):
    """Titles that two entries have."""
    titles = Counter(
        re.sub(r"\W", "", fields.get("title", "").lower())
        for fields in bibliography.values()
    )
    return [title for title, count in titles.items() if count > 1]


def links(cells):
    """The addresses that the text of some Markdown cells links to."""
    for cell in cells:
        for _, token in cell.pieces():
            if token.type == "link_open":
                yield str(token.attrs["href"])


def uncited(addresses, bibliography):
    """Addresses of papers that a bibliography does not have."""
    there = known(bibliography)
    return [
        address
        for address in addresses
        if PAPERS.search(address) and not numbers(address) & there
    ]


BIBLIOGRAPHY = entries((ROOT / "book/references.bib").read_text(encoding="utf-8"))
NOTEBOOKS = sorted(
    path for folder in EXECUTED for path in (ROOT / folder).glob("*.ipynb")
)
EXAMPLE = {
    "author": "Vaswani, Ashish and others",
    "title": "Attention Is All You Need",
    "booktitle": "Advances in Neural Information Processing Systems",
    "year": "2017",
    "url": "https://arxiv.org/abs/1706.03762",
}


def test_every_entry_is_complete():
    text = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    assert len(BIBLIOGRAPHY) == len(re.findall(r"^@", text, re.MULTILINE))
    assert list(incomplete(BIBLIOGRAPHY)) == []
    assert set(BIBLIOGRAPHY) >= WITHOUT_NUMBER
    assert list(BIBLIOGRAPHY) == sorted(BIBLIOGRAPHY)


def test_no_paper_stands_twice():
    assert repeated(BIBLIOGRAPHY) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_cites_is_there(path):
    page = Page(read(path, ROOT), f"{path.parent.name}/{path.name}", ROOT, 0)
    assert uncited(links(page.markdown), BIBLIOGRAPHY) == []


@pytest.mark.parametrize(
    "address",
    [
        "https://arxiv.org/abs/1706.03763",
        "https://doi.org/10.1000/182",
        "https://aclanthology.org/P16-9999/",
        "https://proceedings.mlr.press/v9/nobody10a.html",
        "https://openreview.net/forum?id=none",
    ],
)
def test_a_paper_that_is_not_there_is_found(address):
    assert uncited([address], BIBLIOGRAPHY) == [address]


def test_a_paper_is_known_by_each_of_its_numbers():
    paper = EXAMPLE | {"doi": "10.18653/v1/P16-1162"}
    addresses = [
        "https://arxiv.org/pdf/1706.03762",
        "https://doi.org/10.18653/V1/P16-1162",
        "https://aclanthology.org/P16-1162/",
        "https://github.com/somebody/something",
    ]
    assert uncited(addresses, {"vaswani2017attention": paper}) == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"author": None}, "has no author"),
        ({"booktitle": None}, "does not say where"),
        ({"year": "2018"}, "has another year"),
        ({"url": None}, "give it a number"),
        ({"url": "https://example.org/paper.pdf"}, "give it a number"),
        ({"journal": "arXiv preprint arXiv:1706.03763"}, "links to another"),
    ],
)
def test_an_incomplete_entry_is_found(fault, expected):
    assert list(incomplete({"vaswani2017attention": EXAMPLE})) == []
    changed = {
        field: value for field, value in (EXAMPLE | fault).items() if value is not None
    }
    sentences = list(incomplete({"vaswani2017attention": changed}))
    assert len(sentences) == 1 and expected in sentences[0]


def test_a_paper_that_stands_twice_is_found():
    assert repeated({"a2017": EXAMPLE, "b2017": EXAMPLE | {"year": "2018"}})
