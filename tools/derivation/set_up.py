"""The set-up cell, the first code cell of every notebook."""

import copy
import tomllib
from collections.abc import Sequence
from pathlib import Path

import yaml
from contents import SOURCE, ChaptersError
from notebooks import ROOT, Finding, NotebookNode, Place, numbered, tags

from derivation import Problems

# Colab has the larger part preinstalled: plain `pip install` keeps what already
# satisfies the ranges.
SETUP_CELL = """\
# Installs the book's package where it is missing (on Colab, say).
import importlib.util

if importlib.util.find_spec("finetuning") is None:
    %pip install -q "finetuning{extras} @ git+{repository}@v{version}"
"""


def setup_cell(extras: Sequence[str] = (), root: Path = ROOT) -> str:
    """The text of the set-up cell, with this repository's address and this version.

    Parameters
    ----------
    extras: those of pyproject.toml that the notebook needs besides the package.

    Raises
    ------
    ChaptersError: if there is no such extra.
    """
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    unknown = set(extras) - project["project"].get("optional-dependencies", {}).keys()
    if unknown:
        raise ChaptersError(
            f"{SOURCE}: pyproject.toml has no extra {', '.join(sorted(unknown))}."
        )
    text = SETUP_CELL.format(
        extras=f"[{','.join(extras)}]" if extras else "",
        repository=config["repository"]["url"],
        version=project["project"]["version"],
    )
    return text.rstrip("\n")


def with_setup(notebook: NotebookNode, name: str, text: str) -> NotebookNode:
    """The notebook with this text in the cell tagged `setup`, its first code cell.

    Raises
    ------
    Problems: if no cell, several, or one that is not the first code cell has the tag.
    """
    marked = [
        (number, cell) for number, cell in numbered(notebook) if "setup" in tags(cell)
    ]
    if len(marked) != 1:
        count = "no cell is" if not marked else f"{len(marked)} cells are"
        sentence = f"{count} tagged `setup`; it must be one, the first code cell."
        raise Problems(Finding(Place(name), sentence))
    number, cell = marked[0]
    first = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    if cell is not first:
        place = Place(name, cell.id, number)
        raise Problems(
            Finding(place, "is tagged `setup` and is not the first code cell.")
        )
    notebook = copy.deepcopy(notebook)
    notebook.cells[number - 1].source = text
    return notebook
