"""A small book that keeps every rule, for the tests of the tools; each test breaks one
thing in it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from derivation.blanks import blank
from derivation.lists import BEGIN, END, PAGES
from derivation.set_up import setup_cell
from key import run_key
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from notebooks import NOTEBOOK_METADATA, ROOT, dumps

STEM = "04-self-attention"
CHAPTER, SOLUTIONS, EXERCISES = (
    f"{folder}/{STEM}.ipynb" for folder in ("chapters", "solutions", "exercises")
)

# What every run of pytest loads, by the conftest.py at the root.
SUITE = (
    ".gitignore",
    "conftest.py",
    "pyproject.toml",
    "requirements.txt",
    "tests/nbval_tolerance.py",
    "tests/sharing.py",
    "tests/tree_files.py",
    "tests/verified_notebooks.py",
    "tests/verified_tests.py",
    "tools/key.py",
    "tools/notebooks.py",
    "tools/syntax.py",
    "tools/used_code.py",
)

CONFIG = "repository:\n  url: https://example.org/book\n"
PROJECT = '[project]\nname = "finetuning"\nversion = "1.2.3"\n'

CHAPTERS = """\
before:
  Start: [guide]
after: {}
chapters:
  - number: 4
    part: Part II
    title: Self-attention
    promise: attention by hand
    slug: self-attention
    question: What is it?
    modules: [attention]
  - number: 5
    part: Part II
    title: Planned
    promise: more of it
"""

OPENING = """\
# 04 · Self-attention

Words that look at each other. Nothing is learnt yet.

**What you will be able to do**

- compute $a < b$ and `<b>` by hand

**Builds on** [nothing](https://example.org/before).

<!-- measured -->On two CPU cores, one thread: about 3 s and 0.3 GB of memory."""

CLOSING = f"""\
## Summary

It works.

## Further reading

- [A paper](https://example.org/1) and [another](https://example.org/2)

Exercises: [04](../exercises/{STEM}.ipynb)
Solutions: [04](../solutions/{STEM}.ipynb)"""


def copy_suite(root: Path) -> None:
    """Put into a folder what pytest runs tests with as it does in this repository."""
    for name in SUITE:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)


def run_pytest(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run pytest there, without the installed plugins that nothing there needs: they
    take seconds to load.
    """
    command = [sys.executable, "-m", "pytest", "-p", "xdist.plugin", *arguments]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True
    )


def notebook(*cells: NotebookNode) -> NotebookNode:
    """A notebook of these cells, its code cells numbered as if they had been run."""
    count = 0
    for cell in cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
    content = {
        "cells": list(cells),
        "metadata": NOTEBOOK_METADATA,
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return nbformat.from_dict(content)


def code(
    cell_id: str, source: str, *outputs: NotebookNode, **metadata: object
) -> NotebookNode:
    return new_code_cell(source, id=cell_id, outputs=list(outputs), metadata=metadata)


def text(cell_id: str, source: str, *tags: str) -> NotebookNode:
    return new_markdown_cell(
        source, id=cell_id, metadata={"tags": list(tags)} if tags else {}
    )


def printed(what: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=what)


def drawn() -> NotebookNode:
    return new_output(
        "display_data",
        data={"image/png": "AAAA", "text/plain": "<Figure size 640x480>"},
    )


def set_up(root: Path) -> NotebookNode:
    return code("setup", setup_cell(root=root), tags=["setup"])


def chapter(root: Path) -> NotebookNode:
    alternative = {
        "image": {"alt": "River looks at bank, and bank looks at both of them alike."}
    }
    return notebook(
        text("title", OPENING),
        set_up(root),
        code("module", "#| default_exp attention"),
        code(
            "mix",
            '#| export\ndef mix(words):\n    """Words (T, C)."""\n    return words',
        ),
        code("figure", "plt.plot(mix([1]))\nplt.show()", drawn(), mystnb=alternative),
        code("claim", 'claim("it works", True)', printed("✓ it works\n")),
        text("wrong", "## What goes wrong\n\nThe axis."),
        code(
            "time",
            "with Stopwatch() as watch:\n    mix([1])",
            tags=["nbval-ignore-output"],
        ),
        text("closing", CLOSING),
    )


def exercise(
    number: int, kind: str = "", answer: str | None = None
) -> list[NotebookNode]:
    name = f"answer_{number}"
    body = (
        "### BEGIN SOLUTION\n    doubled = x + x\n    return doubled\n    ### END "
        "SOLUTION"
    )
    answer = answer or f"def {name}(x):\n    {body}"
    return [
        text(
            f"exercise-{number}",
            f"## Exercise 4.{number} · Double{kind}\n\nDouble it.\n\n"
            "<details><summary>Hint</summary>\n\nAdd.\n\n</details>",
        ),
        code(f"answer-{number}", answer),
        code(f"check-{number}", f"checks.ch04.double({name})", printed("✓ doubled\n")),
        text(f"why-{number}", "Adding twice is doubling.", "solution-only"),
    ]


def solutions(root: Path) -> NotebookNode:
    cells = [
        cell
        for number in range(1, 6)
        for cell in exercise(number, " (break-it)" if number == 5 else "")
    ]
    return notebook(
        text(
            "title",
            "# 04 · Self-attention: solutions\n\nOf [chapter "
            f"4](../chapters/{STEM}.ipynb).",
        ),
        text(
            "about",
            f"Try the [exercises](../exercises/{STEM}.ipynb) first.",
            "solution-only",
        ),
        text(
            "about-blank",
            f"<!--\nThe [solutions](../solutions/{STEM}.ipynb).\n-->",
            "exercise-only",
        ),
        set_up(root),
        *cells,
    )


def book(root: Path) -> Path:
    """Write the small book into a folder: settings, one chapter, its solutions, its
    exercises, its status.
    """
    (root / "_config.yml").write_text(CONFIG)
    (root / "pyproject.toml").write_text(PROJECT)
    for folder in ("chapters", "solutions", "exercises", "book", "finetuning/scratch"):
        (root / folder).mkdir(parents=True)
    (root / "book/chapters.yml").write_text(CHAPTERS)
    for page in PAGES:
        (root / page).write_text(f"# Page\n\n{BEGIN}\nstale\n{END}\n\nThe end.\n")
    save(root, CHAPTER, chapter(root))
    save(root, SOLUTIONS, solutions(root))
    save(root, EXERCISES, blank(solutions(root), SOLUTIONS))
    return root


def save(root: Path, name: str, content: NotebookNode) -> Path:
    """Write a notebook, and for one that is executed the status of a run of exactly
    this code.
    """
    path = root / name
    path.write_text(dumps(content), encoding="utf-8")
    if name == EXERCISES:
        return path
    status = root / "book/status.json"
    runs = json.loads(status.read_text()) if status.exists() else {}
    runs[name] = {
        "cells": {"claim": 2.5},
        "date": "2026-11-23",
        "key": run_key(content, root),
        "memory_mb": 300,
        "python": "3.11.7",
        "seconds": 3.0,
        "torch": "2.13.0",
        "transformers": "5.23.0",
    }
    status.write_text(json.dumps(runs))
    return path
