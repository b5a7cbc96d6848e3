"""A book of two pages and a notebook with this book's settings, to build and break."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from site_support import ROOT

SOUND_PAGE = """# A small book

See the [chapter](../chapters/04-small.ipynb#one), the [guide](guide.md) and
{cite:p}`vaswani2017attention`.

```{claims} chapters/04-small.ipynb
one is one
```

```{bibliography}
```
"""


def small_notebook(stream: str, text: str) -> dict:
    """A notebook of one cell that printed `text`."""
    output = {"output_type": "stream", "name": stream, "text": [text]}
    cell = {
        "cell_type": "code",
        "id": "cell",
        "execution_count": 1,
        "metadata": {},
        "outputs": [output],
    }
    title = {
        "cell_type": "markdown",
        "id": "title",
        "metadata": {},
        "source": "# 04 · Small\n\n## One\n\nOne is one.",
    }
    return {
        "cells": [title, {**cell, "source": "#| export\nclaim('one is one', 1 == 1)"}],
        "metadata": {
            "kernelspec": {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            }
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def write_small_book(book: Path) -> None:
    """A book of two pages and a notebook with this book's settings."""
    (book / "chapters").mkdir(parents=True)
    shutil.copytree(
        ROOT / "book" / "theme",
        book / "book" / "theme",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("_config.yml", "book/references.bib", "book/404.md"):
        shutil.copy(ROOT / name, book / name)
    (book / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: book/guide\n- "
        "file: chapters/04-small\n"
    )
    (book / "book" / "guide.md").write_text(
        "# Guide\n\nA page that says enough about itself to be described.\n"
    )
    notebook = small_notebook("stdout", "✓ one is one\n")
    (book / "chapters" / "04-small.ipynb").write_text(json.dumps(notebook))
    (book / "book" / "index.md").write_text(SOUND_PAGE)
