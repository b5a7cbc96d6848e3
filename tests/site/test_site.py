"""The built site as files: complete, whole, self-contained, and honest about what the
book holds.

Most of the finding is done by tools/build_site.py's own `check`, which `make book` runs
too; the last part shows that it finds what it should, and that a build with an error is
no build.
"""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest
from lxml.html import HtmlElement
from PIL import Image
from site_support import NOTEBOOKS, PAGES, ROOT, serving, tool
from small_book import SOUND_PAGE, small_notebook, write_small_book

pytest_plugins = ["site_support"]

BASE = tool.settings(ROOT)["html"]["baseurl"]


def read(site: Path, page: str) -> HtmlElement:
    return tool.parse(site / page)


def words(element: HtmlElement) -> str:
    """The text of an element, with one space wherever there is any."""
    return " ".join(element.text_content().split())


def only(elements: list[HtmlElement]) -> HtmlElement:
    """The one element that there must be."""
    (element,) = elements
    return element


def test_site_is_whole(built_site: Path) -> None:
    """Every page of the contents is there, every link leads somewhere, nothing is
    loaded from elsewhere.
    """
    assert tool.check(ROOT, built_site) == []


def test_site_is_of_these_sources(built_site: Path) -> None:
    """The site was built from what is in the tree now, and not from something older."""
    stale = [
        str(source.relative_to(ROOT))
        for source in tool.toc_files(ROOT)
        if (built_site / "_sources" / source.relative_to(ROOT)).read_bytes()
        != source.read_bytes()
    ]
    assert stale == [], "run `make book`"


@pytest.mark.parametrize("page", ["index.html", "book/verified.html"])
def test_page_quotes_claims_that_were_printed(page: str, built_site: Path) -> None:
    """Each sentence that a page shows as asserted is in a committed output, behind a ✓;
    a long one goes over several lines there.
    """
    lists = read(built_site, page).find_class("claims")
    shown = [words(item) for claims in lists for item in claims.xpath("li")]
    assert len(shown) >= 3
    outputs = "\n".join(
        "".join(output["text"])
        for path in (ROOT / "chapters").glob("*.ipynb")
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    )
    plain = " ".join(re.sub(r"[‘’“”'\"]", "", outputs).split())
    for sentence in shown:
        assert f"✓ {re.sub(r'[‘’“”]', '', sentence)}" in plain


def test_first_page_shows_what_chapters_drew_and_printed(built_site: Path) -> None:
    """Its figures are committed outputs, with the alternative text of their cells and a
    caption that leads to the chapter; the lines it shows were printed.
    """
    pictures = {}
    outputs = ""
    for path in (ROOT / "chapters").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            image = cell["metadata"].get("mystnb", {}).get("image", {})
            for output in cell.get("outputs", []):
                outputs += "".join(output.get("text", ""))
                if "image/png" in output.get("data", {}):
                    data = "".join(output["data"]["image/png"])
                    pictures[base64.b64decode(data)] = image["alt"], path.stem
    document = read(built_site, "index.html")
    figures = document.find_class("chapter-figure")
    assert len(figures) == 3
    for figure in figures:
        image = only(figure.xpath(".//img"))
        alt, chapter = pictures[(built_site / image.get("src")).read_bytes()]
        assert image.get("alt") == alt
        caption = only(figure.xpath(".//figcaption"))
        assert any(chapter in link for link in caption.xpath(".//a/@href"))
    printed = words(only(document.find_class("printed")).xpath(".//pre")[0])
    assert len(printed) > 80 and printed in " ".join(outputs.split())


@pytest.mark.parametrize("page", ["index.html", *PAGES])
def test_shared_link(page: str, built_site: Path) -> None:
    """A page has a description, one canonical address, and what a shared link to it is
    drawn from.
    """
    head = read(built_site, page).head

    def meta(name: str) -> str:
        return only(head.xpath(f"meta[@name='{name}' or @property='{name}']/@content"))

    address = BASE if page in ("index.html", "book/index.html") else urljoin(BASE, page)
    canonical = only(head.xpath("link[@rel='canonical']/@href"))
    assert canonical == meta("og:url") == address
    assert 40 <= len(meta("description")) <= 220
    assert meta("og:description") == meta("twitter:description") == meta("description")
    assert meta("og:title") == meta("twitter:title") != ""
    assert meta("twitter:card") == "summary_large_image"
    assert meta("og:image") == meta("twitter:image")
    assert meta("og:image:alt")
    card = Image.open(built_site / meta("og:image").removeprefix(BASE))
    assert (
        (str(card.width), str(card.height))
        == (meta("og:image:width"), meta("og:image:height"))
        == ("1200", "630")
    )


def test_descriptions_differ(built_site: Path) -> None:
    """No two pages have the same title or the same description."""
    heads = [read(built_site, page).head for page in PAGES]
    for what in ("title/text()", "meta[@name='description']/@content"):
        values = [only(head.xpath(what)) for head in heads]
        repeated = sorted({value for value in values if values.count(value) > 1})
        assert repeated == []


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_notebook_page(page: str, built_site: Path) -> None:
    """A notebook's page offers Colab, download, source and issues; the tools' lines are
    hidden.
    """
    document = read(built_site, page)
    repository = tool.settings(ROOT)["repository"]
    notebook = page.removesuffix(".html") + ".ipynb"
    links = set(document.xpath("//a/@href"))
    place = repository["url"].removeprefix("https://github.com/")
    assert (
        f"https://colab.research.google.com/github/{place}/blob/{repository['branch']}/{notebook}"
        in links
    )
    assert f"../_sources/{notebook}" in links
    assert repository["url"] in links
    assert f"{repository['url']}/blob/{repository['branch']}/{notebook}" in links
    assert any(
        link.startswith(f"{repository['url']}/issues/new?")
        and page.removesuffix(".html") in link
        for link in links
    )
    article = only(document.xpath("//article"))
    assert not re.search(r"^#\| ", article.text_content(), re.MULTILINE)
    assert only(document.find_class("tag_setup")).xpath(".//details")


@pytest.mark.parametrize("page", [page for page in PAGES if page not in NOTEBOOKS])
def test_other_pages_offer_no_launch(page: str, built_site: Path) -> None:
    assert read(built_site, page).xpath("//a[contains(@href, 'colab.research')]") == []


@pytest.mark.parametrize("page", ["index.html", "404.html", "search.html", *PAGES])
def test_every_page(page: str, built_site: Path) -> None:
    """Favicon, language, licences, and no trace of a foreign server or of Jupyter
    Book's own defaults.
    """
    text = (built_site / page).read_text(encoding="utf-8")
    document = read(built_site, page)
    icon = only(document.head.xpath("link[@rel='icon']/@href"))
    # The 404 page's links start at the host's root.
    icon_file = icon.removeprefix(tool.base_path(ROOT))
    assert (built_site / page).parent.joinpath(icon_file).is_file() or (
        built_site / icon_file
    ).is_file()
    assert document.get("lang") == "en"
    footer = words(only(document.find_class("bd-footer-content")))
    assert "CC BY 4.0" in footer and "Apache-2.0" in footer and "2026" in footer
    for trace in ("2023", "Jupyter Book community"):
        assert trace not in footer
    for host in (
        "unpkg.com",
        "jsdelivr.net",
        "cdnjs.cloudflare.com",
        "googleapis.com",
        "gstatic.com",
        "mybinder.org",
    ):
        assert host not in text


def test_mathematics_is_served_by_the_site(built_site: Path) -> None:
    """Pages with formulas load the site's own MathJax, which is there with its fonts
    and its licence.

    None of its many other scripts is on a page by itself (Jupyter Book adds what it
    finds in a root `_static`).
    """
    scripts = read(built_site, "book/notation.html").xpath("//script/@src")
    script = only([address for address in scripts if "mathjax" in address])
    assert script.startswith("../_static/mathjax/es5/tex-mml-chtml.js")
    folder = built_site / "_static" / "mathjax"
    assert len(list((folder / "es5/output/chtml/fonts/woff-v2").glob("*.woff"))) == 23
    assert "Apache License" in (folder / "LICENSE").read_text()


def test_not_found_page(built_site: Path) -> None:
    """404.html works from any depth: its addresses start at the host's root, and search
    engines skip it.
    """
    document = read(built_site, "404.html")
    addresses = tool.local_addresses(document)
    assert addresses
    rooted = (tool.base_path(ROOT), "#", "data:")
    relative = [address for address in addresses if not address.startswith(rooted)]
    assert relative == []
    assert document.get("data-content_root") == tool.base_path(ROOT)
    assert only(document.xpath("//meta[@name='robots']/@content")) == "noindex"
    index = (built_site / "searchindex.js").read_text(encoding="utf-8")
    assert "mistyp" not in index and "mistyped" not in index


def test_site_map_for_search_engines(built_site: Path) -> None:
    tree = ElementTree.parse(built_site / "sitemap.xml")
    found = {
        node.text
        for node in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")
    }
    assert found == {BASE} | {
        urljoin(BASE, page) for page in PAGES if page != "book/index.html"
    }


def test_glossary(built_site: Path) -> None:
    """At least sixty terms, each with a Chinese term that is marked as Chinese, and a
    definition.
    """
    glossary = read(built_site, "book/glossary.html").find_class("glossary")
    definitions = [each for part in glossary for each in part.xpath("dd")]
    assert len(definitions) >= 60
    for definition in definitions:
        term = words(definition.xpath("preceding-sibling::dt[1]")[0])
        chinese = definition.xpath(".//span[@lang='zh-Hans']")
        assert chinese and words(chinese[0]), term
        assert len(words(definition)) > 30, term


def test_references_are_used_and_linked(built_site: Path) -> None:
    """Every entry of references.bib is on the references page, its year in its name."""
    entries = re.findall(
        r"@\w+\{(\w+),(.*?)\n\}",
        (ROOT / "book" / "references.bib").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    citations = read(built_site, "book/references.html").find_class("citation")
    assert len(citations) == len(entries) >= 20
    page = " ".join(words(citation) for citation in citations)
    for key, fields in entries:
        year = re.search(r"year = \{(\d{4})\}", fields)[1]
        assert year in key and year in page, key


def test_server(built_site: Path) -> None:
    """`make serve` shows the site at its public path, and its 404 page for what is not
    there.
    """
    with serving(built_site, tool.base_path(ROOT)) as address:
        with urllib.request.urlopen(address) as answer:
            assert answer.status == 200
        host = address.removesuffix(tool.base_path(ROOT))
        with urllib.request.urlopen(host + "/") as answer:
            assert answer.url == address
        for missing in (
            f"{address}no/such/page",
            f"{host}/elsewhere/",
            f"{address}../../etc/passwd",
        ):
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(missing)
            assert error.value.code == 404
            assert "There is no page at this address" in error.value.read().decode()


# --- Each of these checks can fail ---


@pytest.fixture(scope="module")
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small book, built once. A test that breaks it mends it again."""
    book = tmp_path_factory.mktemp("small") / "book"
    write_small_book(book)
    tool.build(book)
    return book


@pytest.fixture
def small_site(small_book: Path) -> Path:
    return small_book / "_build" / "html"


@contextmanager
def changed(file: Path, text: str) -> Iterator[None]:
    """A file with another text for a while."""
    before = file.read_bytes()
    file.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        file.write_bytes(before)


def inject(page: Path, markup: str) -> AbstractContextManager[None]:
    """A page with some markup at the end of its article, for a while."""
    text = page.read_text(encoding="utf-8")
    assert "</article>" in text
    return changed(page, text.replace("</article>", markup + "</article>"))


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        (
            '<img src="https://elsewhere.example/badge.svg" alt="">',
            "loads from elsewhere: https://elsewhere.example/badge.svg",
        ),
        (
            '<script src="//elsewhere.example/a.js"></script>',
            "loads from elsewhere: //elsewhere.example/a.js",
        ),
        (
            '<link rel="stylesheet" href="https://elsewhere.example/a.css">',
            "loads from elsewhere",
        ),
        ('<iframe src="https://elsewhere.example/"></iframe>', "loads from elsewhere"),
        (
            '<img srcset="https://elsewhere.example/a.png 2x" alt="">',
            "loads from elsewhere",
        ),
        (
            '<p style="background: url(https://elsewhere.example/a.png)"></p>',
            "loads from elsewhere",
        ),
        (
            '<style>@import "https://elsewhere.example/a.css";</style>',
            "loads from elsewhere",
        ),
        ('<a href="no-such-page.html">x</a>', "no-such-page.html leads to nothing"),
        (
            '<a href="guide.html#no-such-place">x</a>',
            "leads to a place that the page does not have",
        ),
        ('<a href="../../outside.html">x</a>', "leads out of the site"),
        (
            '<img src="no-such-picture.png" alt="">',
            "no-such-picture.png leads to nothing",
        ),
    ],
)
def test_check_finds_faults(
    markup: str, expected: str, small_book: Path, small_site: Path
) -> None:
    assert tool.check(small_book, small_site) == []
    with inject(small_site / "book" / "guide.html", markup):
        problem = only(tool.check(small_book, small_site))
    assert problem.startswith("book/guide.html") and expected in problem


def test_check_accepts_links_to_elsewhere(small_book: Path, small_site: Path) -> None:
    """A link is no load: following it is the reader's choice."""
    link = '<a href="https://elsewhere.example/">x</a>'
    with inject(small_site / "book" / "guide.html", link):
        assert tool.check(small_book, small_site) == []


def test_check_finds_missing_files_and_foreign_styles(
    small_book: Path, small_site: Path
) -> None:
    script = small_site / "_static" / "mathjax" / "es5" / "tex-mml-chtml.js"
    script.rename(script.with_suffix(".away"))
    style = small_site / "_static" / "book.css"
    foreign = '@import url("https://elsewhere.example/font.css");'
    with changed(style, style.read_text() + foreign):
        problems = tool.check(small_book, small_site)
    script.with_suffix(".away").rename(script)
    assert sorted(problems) == [
        "_static/book.css loads from elsewhere: https://elsewhere.example/font.css",
        "_static/mathjax/es5/tex-mml-chtml.js is missing",
    ]


def test_check_finds_a_page_that_is_missing_and_a_page_without_a_title(
    small_book: Path, small_site: Path
) -> None:
    search = small_site / "search.html"
    untitled = re.sub(r"<title>.*?</title>", "", search.read_text(), flags=re.DOTALL)
    chapter = small_site / "chapters" / "04-small.html"
    chapter.rename(chapter.with_suffix(".away"))
    with changed(search, untitled):
        problems = tool.check(small_book, small_site)
    chapter.with_suffix(".away").rename(chapter)
    assert "chapters/04-small.html is missing" in problems
    assert "search.html has no title" in problems


def test_build_fails_on_warnings(small_book: Path, small_site: Path) -> None:
    """A sound book builds. With faults it does not, each is named, and a second try
    fails like the first.
    """
    first = read(small_site, "index.html")
    assert [words(claims) for claims in first.find_class("claims")] == 2 * [
        "one is one"
    ]
    stated = words(only(first.find_class("stated")))
    assert stated == "Of 100 there are 93. one is one"
    lines = words(only(first.find_class("printed")))
    assert lines == "yes, a share of 0.5"
    figure = only(first.find_class("chapter-figure"))
    image = only(figure.xpath(".//img"))
    assert image.get("alt") == "A white dot."
    assert Image.open(small_site / image.get("src")).size == (40, 30)
    caption = only(figure.xpath(".//figcaption"))
    assert "What a dot looks like. From chapter 04 · Small." in words(caption)
    assert only(caption.xpath(".//a[contains(@href, 'chapters/')]/@href")) == (
        "./chapters/04-small.html"
    )
    chapter = only(read(small_site, "chapters/04-small.html").xpath("//article"))
    assert "export" not in words(chapter)

    faults = (
        "\n[broken](no-such-page.md) [place](guide.md#no-such-place)\n"
        "\n{cite:p}`nobody1900` {term}`no such term`\n"
        "\n```{claims} chapters/04-small.ipynb\none is two\n```\n"
        "\n```{stated} chapters/04-small.ipynb\n:claim: one is three\nIt is.\n```\n"
        "\n```{stated} chapters/04-small.ipynb\nIt is.\n```\n"
        "\n```{printed} chapters/04-small.ipynb cell\nno such line\n```\n"
        "\n```{printed} chapters/04-small.ipynb gone\nshare\n```\n"
        "\n```{chapter-figure} chapters/04-small.ipynb cell\nWords.\n```\n"
        "\n```{chapter-figure} chapters/04-small.ipynb gone\nWords.\n```\n"
        "\n```{chapter-figure} chapters/no.ipynb figure\nWords.\n```\n"
        "\n```{chapter-figure} chapters/04-small.ipynb figure\n- Words.\n```\n"
        "\n{of-100}`chapters/04-small.ipynb > cell > maybe`\n"
    )
    old = small_notebook("stderr", "Warning: old\n")
    bare = {**old["cells"][-1], "id": "bare", "metadata": {}}
    faults += "\n```{chapter-figure} chapters/04-small.ipynb bare\nWords.\n```\n"
    warning = json.dumps({**old, "cells": [*old["cells"], bare]})
    with (
        changed(small_book / "book" / "index.md", SOUND_PAGE + faults),
        changed(small_book / "chapters" / "04-small.ipynb", warning),
    ):
        for _ in range(2):
            with pytest.raises(tool.SiteError) as error:
                tool.build(small_book)
            for fault in (
                "no-such-page.md",
                "no-such-place",
                "nobody1900",
                "no such term",
                "one is two",
                "one is three",
                "no `claim` to look for",
                "no line that cell cell of chapters/04-small.ipynb printed has: no",
                "no line that cell gone of chapters/04-small.ipynb printed has: share",
                "no figure in cell cell of chapters/04-small.ipynb",
                "no figure in cell gone of chapters/04-small.ipynb",
                "no figure in cell figure of chapters/no.ipynb",
                "the caption of cell figure of chapters/04-small.ipynb is not one",
                "no share in cell cell of chapters/04-small.ipynb after: maybe",
                "no alternative text for the figure in cell bare",
                "stderr",
            ):
                assert fault in str(error.value)
            # The site that was there stays as it was.
            assert read(small_site, "index.html").find_class("claims")
            assert "is two" not in (small_site / "index.html").read_text()
    assert tool.build(small_book) == small_site


def test_pages_that_are_gone_are_taken_out(small_book: Path, small_site: Path) -> None:
    """A page whose source was removed does not stay on the site.

    It is the last test of this book: the page stays away.
    """
    chapter = small_site / "chapters" / "04-small.html"
    assert chapter.exists()
    toc = small_book / "_toc.yml"
    shorter = toc.read_text().replace("- file: chapters/04-small\n", "")
    page = "# A small book\n\n```{bibliography}\n:all:\n```\n"
    with changed(toc, shorter), changed(small_book / "book" / "index.md", page):
        tool.build(small_book)
    assert not chapter.exists()


def test_build_names_files_that_do_not_exist(tmp_path: Path) -> None:
    """A table of contents that is ahead of the files is one sentence."""
    write_small_book(tmp_path / "small")
    (tmp_path / "small" / "book" / "guide.md").unlink()
    with pytest.raises(
        tool.SiteError, match=r"_toc\.yml lists files that do not exist: .*book/guide"
    ):
        tool.build(tmp_path / "small")


def test_a_changed_style_reaches_the_site(tmp_path: Path) -> None:
    """Sphinx alone would not copy it: no page is newer than the last build."""
    style, page = (
        tmp_path / "book" / "theme" / "book.css",
        tmp_path / "html" / "index.html",
    )
    for file in (style, page):
        file.parent.mkdir(parents=True)
        file.touch()
    os.utime(style, (1, 1))
    assert not tool.theme_changed(tmp_path, page.parent)
    os.utime(page, (0, 0))
    assert tool.theme_changed(tmp_path, page.parent)
