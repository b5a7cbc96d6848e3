"""Rebuild what is derived: python tools/derive.py [--check] [NB…]

- the set-up cell of every notebook in chapters/ and solutions/ (derivation/set_up.py;
  the repository's address stands in _config.yml, the version in pyproject.toml, the
  extras in book/chapters.yml);
- finetuning/scratch/NAME.py from cells marked `#| export` (derivation/scratch.py);
- exercises/NN-*.ipynb from solutions/NN-*.ipynb (derivation/blanks.py);
- _toc.yml and the tables of chapters in README.md, book/index.md and book/guide.md from
  book/chapters.yml (derivation/lists.py).
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from contents import SOURCE, Chapter, ChaptersError, Contents, read_contents
from derivation import Problems
from derivation.blanks import blank
from derivation.lists import list_files
from derivation.scratch import module_names, scratch_init, scratch_module
from derivation.set_up import setup_cell, with_setup
from notebooks import (
    ROOT,
    Finding,
    NotebookError,
    NotebookNode,
    Place,
    dumps,
    nbformat,
    read,
    write_text,
)


@dataclass
class Derived:
    """What should be there: text by path from the root, derived files that should be
    gone, and what cannot be derived; and the notebooks as they were read.
    """

    files: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
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
    try:
        contents = read_contents(root)
    except ChaptersError as error:
        derived.problems.append(str(error))
        return derived
    exported: dict[str, str] = {}
    for path in notebooks_in(root, "chapters", "solutions"):
        name = path.relative_to(root).as_posix()
        chosen = only is None or name in only
        try:
            chapter = contents.of(path.stem)
            setup = setup_cell(chapter.extras, root)
            derived.sources[name] = path.read_text(encoding="utf-8")
            notebook = with_setup(read(path, root), name, setup)
            if name.startswith("chapters/"):
                files = chapter_files(notebook, name, chapter, exported)
            else:
                files = solution_files(notebook, name)
        except (NotebookError, ChaptersError, Problems) as problem:
            if chosen:
                derived.problems.append(str(problem))
            continue
        if chosen:
            derived.files |= files
    if only is None:
        derived.problems += chapters_without_notebook(contents, root)
        try:
            derived.files |= list_files(contents, root)
        except Problems as problem:
            derived.problems.append(str(problem))
        # A notebook that has a problem keeps what was derived from it.
        if not derived.problems:
            derived.files["finetuning/scratch/__init__.py"] = scratch_init(exported)
            derived.stale = stale_files(root, derived.files)
    return derived


def notebooks_in(root: Path, *folders: str) -> list[Path]:
    return [
        path for folder in folders for path in sorted((root / folder).glob("*.ipynb"))
    ]


def chapters_without_notebook(contents: Contents, root: Path) -> list[str]:
    names = [f"chapters/{chapter.stem}.ipynb" for chapter in contents.written]
    return [
        f"{name}: is not there, and {SOURCE} has its slug."
        for name in names
        if not (root / name).exists()
    ]


def chapter_files(
    notebook: NotebookNode, name: str, chapter: Chapter, exported: dict[str, str]
) -> dict[str, str]:
    """A chapter and the modules that it exports to.

    Parameters
    ----------
    exported: the chapter that exports to each module; this chapter's are added.

    Raises
    ------
    Problems: if an export is broken, another chapter exports to the same module, or
        book/chapters.yml says something else.
    """
    files = {name: dumps(notebook)}
    modules = module_names(notebook, name)
    if modules != list(chapter.modules):
        sentence = (
            f"exports to [{', '.join(modules)}]; {SOURCE} says "
            f"[{', '.join(chapter.modules)}]."
        )
        raise Problems(Finding(Place(name), sentence))
    title = notebook.cells[0].source.partition("\n")[0]
    if title != f"# {chapter.label}":
        sentence = f"the title is not `# {chapter.label}`, as {SOURCE} has it."
        raise Problems(Finding(Place(name), sentence))
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


def first_difference(name: str, present: str | None, expected: str) -> str:
    """Where a file first differs from what it should be, in one line."""
    if present is None:
        return f"{name}: is missing."
    if name.endswith(".ipynb"):
        try:
            old = nbformat.v4.reads(present)
            new = nbformat.v4.reads(expected)
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
    return f"{name}, line {first_differing_line(present, expected)}: differs."


def first_differing_line(present: str, expected: str) -> int:
    left = present.split("\n")
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
        present = path.read_text(encoding="utf-8") if path.exists() else None
        if present != text:
            sentences[name] = first_difference(name, present, text)
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
    changed = write(ROOT, derived, changes)
    for name in changed:
        print(
            f"{name}: was changed meanwhile, by a run perhaps, and stays as it is: "
            "derive again.",
            file=sys.stderr,
        )
    return int(bool(derived.problems or changed))


def write(root: Path, derived: Derived, names: Iterable[str]) -> list[str]:
    """Write or remove these derived files; those that another process has changed since
    they were read are left alone and returned.
    """
    changed = []
    for name in names:
        path = root / name
        if name in derived.stale:
            path.unlink()
            print(f"{name}: removed")
            continue
        source = derived.sources.get(name)
        if source is not None and path.read_text(encoding="utf-8") != source:
            changed.append(name)
            continue
        write_text(path, derived.files[name])
        print(f"{name}: written")
    return changed


if __name__ == "__main__":
    sys.exit(main())
