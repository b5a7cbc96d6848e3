"""What the site needs beyond Jupyter Book's settings: a small Sphinx extension
(`_config.yml` loads it).

- Notebooks are shown without the comment lines that only the tools read (`#| export`),
  and with the set-up cell folded. The notebooks themselves, and the ones that a reader
  downloads, stay as they are.
- Every page gets a description and the tags that a shared link is drawn from (Open
  Graph, Twitter).
- What a page under book/ shows of a chapter comes out of the notebook itself, as it was
  last run: `{claims}` shows sentences that `claim(...)` printed, `{stated}` such a
  sentence below plain words for it, `{printed}` other lines of a cell's output,
  `{chapter-figure}` its figure, and `{of-100}` a share that it printed.
- A chapter links to a word of the glossary as to a heading of it:
  `../book/glossary.md#term-tensor`.
- `{zh}` marks Chinese text as Chinese, for screen readers and fonts; `{repository}` is
  the repository's address, which stands in _config.yml alone.
- The site's first page stands at the site's root, 404.html works from any depth, and
  there is a sitemap.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from bs4 import BeautifulSoup
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

CARD = "_static/card.png"
"""The picture of a shared link, drawn by card.py; below `html_baseurl`."""

NOT_FOUND = "book/404"
"""The page that becomes 404.html at the site's root."""

logger = logging.getLogger(__name__)

DIRECTIVE_LINE = re.compile(r"^#\| ?(?:export|default_exp|hide)\b.*\n?", re.MULTILINE)


def read_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change what Sphinx reads, not the files: tidy a notebook, put the repository's
    address into a page.
    """
    if app.env.doc2path(docname, base=False).endswith(".ipynb"):
        source[0] = json.dumps(_tidied(json.loads(source[0])))
    else:
        address = app.config.html_theme_options["repository_url"].rstrip("/")
        source[0] = source[0].replace("{repository}", address)


def terms_are_targets(app: Sphinx, doctree: nodes.document) -> None:
    """Let ordinary links of Markdown lead to the terms of a page's glossaries; MyST
    knows headings alone.
    """
    page = app.env.metadata[app.env.docname]
    targets = {
        name: (None, name, term.astext())
        for term in doctree.findall(nodes.term)
        for name in term["ids"]
    }
    if targets:
        page["myst_slugs"] = {**page.get("myst_slugs", {}), **targets}


def _tidied(notebook: dict[str, Any]) -> dict[str, Any]:
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            text = "".join(cell["source"])
            visible = DIRECTIVE_LINE.sub("", text)
            if text.strip() and not visible.strip():
                continue  # nothing but directives: `#| default_exp attention`
            cell["source"] = visible
            if "setup" in cell["metadata"].get("tags", []):
                cell["metadata"]["tags"] = [*cell["metadata"]["tags"], "hide-input"]
                words = {
                    "code_prompt_show": "Set-up for Colab",
                    "code_prompt_hide": "Set-up for Colab",
                }
                cell["metadata"]["mystnb"] = {
                    **words,
                    **cell["metadata"].get("mystnb", {}),
                }
        cells.append(cell)
    return {**notebook, "cells": cells}


class Claims(SphinxDirective):
    """Sentences that a notebook's claims printed when it was last run, each with its
    tick.

    The argument is the notebook's path from the repository's root; the content, a line
    each, is a part of a sentence to show. A line that no claim contains is a warning,
    and so an error of the build: the page cannot go on quoting what a chapter no longer
    asserts.
    """

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"class": directives.class_option}

    def run(self) -> list[nodes.Node]:
        return claims_shown(self, self.content)


def claims_shown(directive: SphinxDirective, parts: Iterable[str]) -> list[nodes.Node]:
    """The claims of the notebook that is the directive's argument, as a list: for each
    part the first sentence that contains it.
    """
    name = directive.arguments[0]
    shown, problems = lines_with(
        directive,
        parts,
        claims_in(noted(directive, name)),
        f"no claim in {name} contains",
    )
    items = nodes.bullet_list(classes=["claims"])
    items += [nodes.list_item("", nodes.paragraph("", sentence)) for sentence in shown]
    return [items, *problems] if shown else problems


def lines_with(
    directive: SphinxDirective, parts: Iterable[str], lines: list[str], missing: str
) -> tuple[list[str], list[nodes.Node]]:
    """For each part the first of the lines that contains it, and a warning for each
    part that none contains.
    """
    shown: list[str] = []
    problems: list[nodes.Node] = []
    for part in (part.strip() for part in parts if part.strip()):
        line = next((line for line in lines if part in line), None)
        if line is None:
            problems.append(warned(directive, f"{missing}: {part}"))
        else:
            shown.append(line)
    return shown, problems


def claims_in(path: Path) -> list[str]:
    """The sentences after a ✓ in the committed outputs of a notebook, in order, without
    the tick; those that go over several lines in one.
    """
    sentences = []
    for cell in cells_of(path):
        for output in cell.get("outputs", []):
            if output.get("name") == "stdout":
                sentences += claims_of("".join(output["text"]))
    return sentences


# The line below a claim, with its number and bound (`finetuning.claims`).
MEASURED = re.compile(r"^  \S+ [<>≤≥] ")


def claims_of(text: str) -> list[str]:
    """The sentences of one output."""
    sentences: list[str] = []
    open_sentence = False
    for line in text.splitlines():
        if line.startswith("✓"):
            sentences.append(line[1:].strip())
            open_sentence = True
        elif open_sentence and line.startswith("  ") and not MEASURED.match(line):
            sentences[-1] += f" {line.strip()}"
        else:
            open_sentence = False
    return sentences


class Stated(SphinxDirective):
    """A result in plain words, and below them the claims that assert it.

    The argument is the notebook's path; the option `claim` has a part of each claim,
    with ` | ` between two, which `{claims}` looks for; the content is the plain words.
    """

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"claim": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        box = nodes.container(classes=["stated"])
        self.state.nested_parse(self.content, self.content_offset, box)
        parts = self.options.get("claim", "").split(" | ")
        if not any(parts):
            return [warned(self, f"{self.arguments[0]}: no `claim` to look for")]
        box += claims_shown(self, parts)
        return [box]


class Printed(SphinxDirective):
    """Lines that a cell printed when it was last run.

    The arguments are the notebook's path and the cell's id; the content is a part of
    each line to show, a line each. Where there is no such cell or line, that is a
    warning, and so an error of the build.
    """

    required_arguments = 2
    has_content = True

    def run(self) -> list[nodes.Node]:
        name, cell = self.arguments
        shown, problems = lines_with(
            self,
            self.content,
            printed_by(noted(self, name), cell).splitlines(),
            f"no line that cell {cell} of {name} printed has",
        )
        text = "\n".join(shown)
        block = nodes.literal_block(text, text, language="none", classes=["printed"])
        return [block, *problems] if shown else problems


class ChapterFigure(SphinxDirective):
    """The figure that a cell drew when it was last run, with the alternative text that
    the cell has for it, and a link to the chapter.

    The arguments are the notebook's path and the cell's id; the content is the caption,
    one paragraph. What is missing is a warning, and so an error of the build.
    """

    required_arguments = 2
    has_content = True

    def run(self) -> list[nodes.Node]:
        name, cell_id = self.arguments
        path = noted(self, name)
        cell = cell_of(path, cell_id)
        picture = picture_of(cell)
        image = cell["metadata"].get("mystnb", {}).get("image", {}) if cell else {}
        caption = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, caption)
        if picture is None or not image.get("alt"):
            what = "figure" if picture is None else "alternative text for the figure"
            return [warned(self, f"no {what} in cell {cell_id} of {name}")]
        if [type(child) for child in caption.children] != [nodes.paragraph]:
            text = f"the caption of cell {cell_id} of {name} is not one paragraph"
            return [warned(self, text)]
        # Sphinx copies it from here into the site, as it does with those of the pages.
        file = (
            Path(self.env.doctreedir).parent / "figures" / f"{path.stem}-{cell_id}.png"
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture)
        place = Path(os.path.relpath(file, self.env.srcdir)).as_posix()
        link = addnodes.pending_xref(
            "",
            nodes.inline("", title_of(path)),
            refdomain="std",
            reftype="doc",
            reftarget="/" + name.removesuffix(".ipynb"),
            refdoc=self.env.docname,
            refexplicit=True,
            refwarn=True,
        )
        words = [*caption.children[0].children, nodes.Text(" From chapter "), link]
        return [
            nodes.figure(
                "",
                nodes.image(uri=f"/{place}", alt=image["alt"]),
                # A legend, not a caption: Sphinx would number it.
                nodes.legend("", nodes.paragraph("", "", *words, nodes.Text("."))),
                classes=["chapter-figure"],
            )
        ]


class OfHundred(SphinxRole):
    """`{of-100}`: a share between 0 and 1 that a cell printed, as so many of a hundred.

    Its text is the notebook's path, the cell's id, and words of the output, each after
    the one before, with ` > ` between them: the share is the first decimal number after
    the last. Where it is not found, that is a warning, and so an error of the build.
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name, cell, *marks = (part.strip() for part in self.text.split(" > "))
        share = share_in(printed_by(noted(self, name), cell), marks)
        if share is None:
            text = f"no share in cell {cell} of {name} after: {' > '.join(marks)}"
            logger.warning(text, location=self.get_location())
            return [], []
        return [nodes.Text(f"{share * 100:.0f}")], []


def noted(user: SphinxDirective | SphinxRole, name: str) -> Path:
    """A notebook's path; the page is built again when the notebook changes."""
    path = Path(user.env.srcdir, name)
    user.env.note_dependency(str(path))
    return path


def warned(directive: SphinxDirective, text: str) -> nodes.Node:
    """A warning where the directive stands: an error of the build."""
    return directive.state_machine.reporter.warning(text, line=directive.lineno)


def cells_of(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook; none if there is no such file."""
    if not path.exists():
        return []
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def cell_of(path: Path, cell_id: str) -> dict[str, Any] | None:
    """The cell of a notebook with this id."""
    return next((cell for cell in cells_of(path) if cell["id"] == cell_id), None)


def printed_by(path: Path, cell_id: str) -> str:
    """What a cell printed; nothing if there is no such cell."""
    outputs = (cell_of(path, cell_id) or {}).get("outputs", [])
    return "".join(
        "".join(output["text"]) for output in outputs if output.get("name") == "stdout"
    )


def picture_of(cell: dict[str, Any] | None) -> bytes | None:
    """The first picture among a cell's outputs."""
    for output in (cell or {}).get("outputs", []):
        if "image/png" in output.get("data", {}):
            return base64.b64decode("".join(output["data"]["image/png"]))
    return None


def title_of(path: Path) -> str:
    """A notebook's title: its first heading."""
    first = "".join(cells_of(path)[0]["source"])
    return first.splitlines()[0].removeprefix("# ")


def share_in(text: str, marks: list[str]) -> float | None:
    """The first decimal number after these words, each found after the one before."""
    place = 0
    for mark in marks:
        found = text.find(mark, place)
        if found < 0:
            return None
        place = found + len(mark)
    number = re.search(r"\b[01]\.\d+", text[place:])
    return float(number.group()) if number else None


def chinese(
    name: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Any,
    options: Any = None,
    content: Any = None,
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The role `{zh}`: its text, marked as Chinese."""
    before, after = '<span lang="zh-Hans">', "</span>"
    return [
        nodes.raw("", before, format="html"),
        nodes.Text(text),
        nodes.raw("", after, format="html"),
    ], []


def add_page_tags(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Describe the page for search engines and for whoever shares its link."""
    if pagename == "search":
        app.add_js_file("search.js", loading_method="defer")
    # Thebe is off. Its script would do nothing but name a foreign server on every page.
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "THEBE" not in str(getattr(script, "attributes", {}).get("body", ""))
        and "thebe" not in str(getattr(script, "filename", ""))
    ]
    # GitHub draws a notebook as a notebook; the theme's link asks it for the bare JSON.
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if "url" in button:
                button["url"] = button["url"].replace(".ipynb?plain=1", ".ipynb")
    if doctree is None:
        return
    base = app.config.html_baseurl
    address = (
        base if pagename == app.config.root_doc else urljoin(base, pagename + ".html")
    )
    context["pageurl"] = (
        address  # the canonical address: the first page's is the site's own
    )
    title = app.env.titles[pagename].astext()
    text = (
        (context.get("meta") or {}).get("description")
        or about_exercises(app, pagename)
        or describe(doctree)
    )
    is_root = pagename == app.config.root_doc
    tags = {
        "name": {
            "description": text,
            "twitter:card": "summary_large_image",
            "twitter:title": title,
            "twitter:description": text,
            "twitter:image": urljoin(base, CARD),
        },
        "property": {
            "og:title": title,
            "og:description": text,
            "og:type": "website" if is_root else "article",
            "og:url": address,
            "og:site_name": app.config.html_title,
            "og:image": urljoin(base, CARD),
            "og:image:width": "1200",
            "og:image:height": "630",
            "og:image:alt": f"{app.config.html_title}: from attention to alignment",
        },
    }
    if pagename == NOT_FOUND:
        tags["name"]["robots"] = "noindex"
    context["metatags"] = context.get("metatags", "") + "".join(
        f'<meta {kind}="{name}" content="{escape(value)}" />\n'
        for kind, group in tags.items()
        for name, value in group.items()
    )


def about_exercises(app: Sphinx, pagename: str) -> str | None:
    """What a page of exercises or solutions is, which begins with links and not prose;
    else None.
    """
    part, _, name = pagename.partition("/")
    chapter = app.env.titles.get(f"chapters/{name}")
    if chapter is None or part not in ("exercises", "solutions"):
        return None
    if part == "exercises":
        return (
            f"Exercises for {chapter.astext()}, each with a check that says what is "
            "wrong with an answer."
        )
    return (
        f"Solutions of the exercises for {chapter.astext()}, with an explanation of "
        "each."
    )


def describe(doctree: nodes.document, limit: int = 200) -> str:
    """The page's first paragraph of prose, cut after a word."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        linked = sum(len(link.astext()) for link in paragraph.findall(nodes.reference))
        if len(text) >= 40 and linked < len(text) / 2:
            return text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " …"
    return doctree.astext()[:limit]


def finish_site(app: Sphinx, exception: Exception | None) -> None:
    """Write what stands at the site's root: its first page, 404.html, sitemap.xml."""
    if exception is not None or app.builder.name != "html":
        return
    site = Path(app.outdir)
    base = app.config.html_baseurl
    # Served by the host for any missing address, at any depth: only links from the
    # host's root work there.
    relocate(site / f"{NOT_FOUND}.html", site / "404.html", urlsplit(base).path)
    relocate(site / f"{app.config.root_doc}.html", site / "index.html", "./")
    pages = sorted(app.env.found_docs - {NOT_FOUND, app.config.root_doc})
    addresses = [base, *(urljoin(base, page + ".html") for page in pages)]
    entries = "\n".join(
        f"  <url><loc>{escape(address)}</loc></url>" for address in addresses
    )
    (site / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}\n</urlset>\n',
        encoding="utf-8",
    )
    # GitHub Pages would otherwise leave out folders whose name starts with an
    # underscore.
    (site / ".nojekyll").touch()


def relocate(page: Path, target: Path, root: str) -> None:
    """Copy a page from the site's folder book/ to `target`, its links written from
    `root`.
    """
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    for name in ("href", "src", "action", "data-content_root"):
        for tag in soup.find_all(attrs={name: True}):
            if (
                not tag[name].startswith(("#", "data:", "mailto:"))
                and not urlsplit(tag[name]).scheme
            ):
                there = re.sub(r"^(\./)+", "", urljoin("/book/", tag[name]).lstrip("/"))
                tag[name] = root + there
    target.write_text(str(soup), encoding="utf-8")


def keep_not_found_page(app: Sphinx, config: Any) -> None:
    """Build the 404 page although it is, rightly, in no table of contents."""
    config.exclude_patterns = [
        one for one in config.exclude_patterns if one != f"{NOT_FOUND}.md"
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the above with Sphinx."""
    app.add_directive("claims", Claims)
    app.add_directive("stated", Stated)
    app.add_directive("printed", Printed)
    app.add_directive("chapter-figure", ChapterFigure)
    app.add_role("of-100", OfHundred())
    app.add_role("zh", chinese)
    app.connect("config-inited", keep_not_found_page, priority=990)
    app.connect("source-read", read_source)
    app.connect("doctree-read", terms_are_targets)
    # After the theme, which adds the scripts that are taken out here.
    app.connect("html-page-context", add_page_tags, priority=900)
    app.connect("build-finished", finish_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
