"""A book of two pages and a notebook with this book's settings, to build and break."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

from PIL import Image
from site_support import ROOT

SOUND_PAGE = """# A small book

See the [chapter](../chapters/04-small.ipynb#one), the [guide](guide.md) and
{cite:p}`vaswani2017attention`.

```{claims} chapters/04-small.ipynb
one is one
```

```{stated} chapters/04-small.ipynb
:claim: one is one
Of 100 there are {of-100}`chapters/04-small.ipynb > cell > no > share`.
```

```{printed} chapters/04-small.ipynb cell
share
```

```{chapter-figure} chapters/04-small.ipynb figure
What a *dot* looks like.
```

```{bibliography}
```
"""

PRINTED = "✓ one is one\nyes, a share of 0.5\nno, a share of 0.93\n"


def dot() -> str:
    """A small white picture, as a notebook holds it."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def small_notebook(stream: str, text: str) -> dict:
    """A notebook of a cell that printed `text` and one that drew a figure."""
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
    drawing = {
        **cell,
        "id": "figure",
        "metadata": {"mystnb": {"image": {"alt": "A white dot."}}},
        "outputs": [
            {
                "output_type": "display_data",
                "data": {"image/png": dot(), "text/plain": ["a figure"]},
                "metadata": {},
            }
        ],
        "source": "draw()",
    }
    return {
        "cells": [
            title,
            {**cell, "source": "#| export\nclaim('one is one', 1 == 1)"},
            drawing,
        ],
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
    notebook = small_notebook("stdout", PRINTED)
    (book / "chapters" / "04-small.ipynb").write_text(json.dumps(notebook))
    (book / "book" / "index.md").write_text(SOUND_PAGE)
