"""Rebuild what is derived: python tools/derive.py [--check] [NB…]

- the set-up cell of every notebook in chapters/ and solutions/ (derivation/set_up.py;
  the repository's address stands in _config.yml, the version in pyproject.toml);
- finetuning/scratch/NAME.py from cells marked `#| export` (derivation/scratch.py);
- exercises/NN-*.ipynb from solutions/NN-*.ipynb (derivation/blanks.py).
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from derivation import Problems
from derivation.blanks import blank
from derivation.scratch import module_names, scratch_init, scratch_module
from derivation.set_up import setup_cell, with_setup
from nbformat import NotebookNode
from notebooks import ROOT, Finding, NotebookError, Place, dumps, read, write_text


@dataclass
class Derived:
    """What should be there: text by path from the root, derived files that should be
    gone, and what cannot be derived.
    """

    files: dict[str, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def derive(root: Path = ROOT, only: list[str] | None = None) -> Derived:
    """Everything derived, as it should be. What cannot be derived is a problem; the
    rest goes on.

    Parameters
    ----------
    only: paths from the root of the notebooks to look at; all where None.
    """
    derived = Derived()
    setup = setup_cell(root)
    exported: dict[str, str] = {}
    for path in notebooks_in(root, "chapters", "solutions"):
        name = path.relative_to(root).as_posix()
        wanted = only is None or name in only
        try:
            notebook = with_setup(read(path, root), name, setup)
            if name.startswith("chapters/"):
                files = chapter_files(notebook, name, exported)
            else:
                files = solution_files(notebook, name)
        except (NotebookError, Problems) as problem:
            if wanted:
                derived.problems.append(str(problem))
            continue
        if wanted:
            derived.files |= files
    if only is None:
        derived.files["finetuning/scratch/__init__.py"] = scratch_init(exported)
        # A notebook that has a problem keeps what was derived from it.
        if not derived.problems:
            derived.stale = stale_files(root, derived.files)
    return derived


def notebooks_in(root: Path, *folders: str) -> list[Path]:
    return [
        path for folder in folders for path in sorted((root / folder).glob("*.ipynb"))
    ]


def chapter_files(
    notebook: NotebookNode, name: str, exported: dict[str, str]
) -> dict[str, str]:
    """A chapter and the modules that it exports to.

    Parameters
    ----------
    exported: the chapter that exports to each module; this chapter's are added.

    Raises
    ------
    Problems: if an export is broken, or another chapter exports to the same module.
    """
    files = {name: dumps(notebook)}
    modules = module_names(notebook, name)
    for module in modules:
        if module in exported:
            sentence = f"exports to `{module}`, as {exported[module]} does."
            raise Problems(Finding(Place(name), sentence))
    for module in modules:
        exported[module] = name
        files[f"finetuning/scratch/{module}.py"] = scratch_module(
            notebook, name, module, default=modules[0]
        )
    return files


def solution_files(notebook: NotebookNode, name: str) -> dict[str, str]:
    """A notebook of solutions and the exercises that are left of it.

    Raises
    ------
    Problems: if its answers cannot be taken out.
    """
    exercises = name.replace("solutions/", "exercises/", 1)
    return {name: dumps(notebook), exercises: dumps(blank(notebook, name))}


def stale_files(root: Path, files: dict[str, str]) -> list[str]:
    """Files of the derived kinds that nothing is left for."""
    present = [
        *(root / "exercises").glob("*.ipynb"),
        *(root / "finetuning/scratch").glob("*.py"),
    ]
    names = sorted(path.relative_to(root).as_posix() for path in present)
    return [name for name in names if name not in files]


def first_difference(name: str, there: str | None, expected: str) -> str:
    """Where a file first differs from what it should be, in one line."""
    if there is None:
        return f"{name}: is missing."
    if name.endswith(".ipynb"):
        try:
            old, new = nbformat.v4.reads(there), nbformat.v4.reads(expected)
        except Exception:  # not even a notebook
            return f"{name}: is not a notebook."
        for number, (left, right) in enumerate(
            zip(old.cells, new.cells, strict=False), start=1
        ):
            place = Place(name, right.id, number)
            if left.get("id") != right.id:
                return f"{place}: another cell stands here, '{left.get('id')}'."
            if left.source != right.source:
                line = first_differing_line(left.source, right.source)
                return f"{Place(name, right.id, number, line)}: the text differs."
            if left != right:
                return f"{place}: the outputs or the metadata differ."
        if len(old.cells) != len(new.cells):
            return (
                f"{name}: has {len(old.cells)} cells and should have {len(new.cells)}."
            )
    return f"{name}, line {first_differing_line(there, expected)}: differs."


def first_differing_line(there: str, expected: str) -> int:
    left = there.split("\n")
    right = expected.split("\n")
    for number, (old, new) in enumerate(zip(left, right, strict=False), start=1):
        if old != new:
            return number
    return min(len(left), len(right)) + 1


def differences(root: Path, derived: Derived) -> dict[str, str]:
    """The files that are not as they should be, each with where it first differs."""
    sentences = {}
    for name, text in derived.files.items():
        path = root / name
        there = path.read_text(encoding="utf-8") if path.exists() else None
        if there != text:
            sentences[name] = first_difference(name, there, text)
    for name in derived.stale:
        sentences[name] = f"{name}: nothing is left that it is derived from."
    return sentences


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Rebuild what is derived from notebooks."
    )
    parser.add_argument(
        "--check", action="store_true", help="compare only, write nothing"
    )
    parser.add_argument(
        "notebooks", nargs="*", metavar="NB", help="only these (paths from the root)"
    )
    arguments = parser.parse_args()
    derived = derive(ROOT, arguments.notebooks or None)
    for problem in derived.problems:
        print(problem, file=sys.stderr)
    changes = differences(ROOT, derived)
    if arguments.check:
        for sentence in changes.values():
            print(sentence, file=sys.stderr)
        if changes:
            print("Run `make derive` and commit what it changes.", file=sys.stderr)
        return int(bool(changes or derived.problems))
    for name in changes:
        if name in derived.stale:
            (ROOT / name).unlink()
            print(f"{name}: removed")
        else:
            write_text(ROOT / name, derived.files[name])
            print(f"{name}: written")
    return int(bool(derived.problems))


if __name__ == "__main__":
    sys.exit(main())
