"""A chapter builds on earlier ones: no code of a chapter imports what a later one
defines, directly or not.
"""

from pathlib import Path

import pytest
from contents import read_contents
from key import cells_source
from notebooks import ROOT, read
from used_code import closure

from finetuning.experiments.engine import load, names

CHAPTERS = read_contents().written
# The chapter that defines a module, by the module's path.
DEFINED_IN = {
    f"finetuning/scratch/{module}.py": chapter.number
    for chapter in CHAPTERS
    for module in chapter.modules
}


def code_of_chapters() -> dict[str, int]:
    """The chapter of every file with a chapter's code, by the file's path."""
    files = dict(DEFINED_IN)
    for chapter in CHAPTERS:
        files[f"chapters/{chapter.stem}.ipynb"] = chapter.number
        if chapter.exercises:
            files[f"solutions/{chapter.stem}.ipynb"] = chapter.number
            files[f"finetuning/checks/ch{chapter.number:02d}.py"] = chapter.number
    for name in names():
        experiment = Path("finetuning/experiments") / name
        package = sorted((ROOT / experiment).glob("*.py"))
        for module in package or [ROOT / experiment.with_suffix(".py")]:
            files[module.relative_to(ROOT).as_posix()] = load(name).chapter
    return files


def source(path: Path) -> str:
    if path.suffix == ".ipynb":
        return cells_source(read(path))
    return path.read_text(encoding="utf-8")


def later_modules(code: str, chapter: int) -> list[str]:
    """Modules of later chapters that this code of a chapter imports."""
    return sorted(
        module for module in closure(code) if DEFINED_IN.get(module, 0) > chapter
    )


@pytest.mark.parametrize(("file", "chapter"), sorted(code_of_chapters().items()))
def test_it_imports_nothing_of_a_later_chapter(file, chapter):
    assert later_modules(source(ROOT / file), chapter) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from finetuning.scratch.electra import Electra", []),
        (
            "from finetuning.scratch import fine_tuning",
            ["finetuning/scratch/fine_tuning.py"],
        ),
        (
            "def late():\n    import finetuning.scratch.fine_tuning as later",
            ["finetuning/scratch/fine_tuning.py"],
        ),
    ],
)
def test_a_later_module_is_noticed(code, expected):
    assert later_modules(code, 10) == expected


def test_a_later_module_behind_another_is_noticed():
    # Chapter 09's experiment needs chapter 09's own modules, which chapter 08 lacks.
    through = later_modules("from finetuning.experiments import fast_gpt", 8)
    assert through == ["finetuning/scratch/fast_gpt.py"]


def test_every_module_of_scratch_belongs_to_a_chapter():
    modules = (ROOT / "finetuning" / "scratch").glob("[!_]*.py")
    assert {path.relative_to(ROOT).as_posix() for path in modules} == set(DEFINED_IN)
