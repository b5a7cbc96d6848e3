"""A chapter is begun from a skeleton that keeps the rules and runs, and nothing in it
is taken for finished.
"""

import importlib.util
import shutil
import sys

import pytest
import samples
from chapter import MARK, ChapterError, main, new_files
from contents import read_contents
from derive import derive
from execute import Measured, record, run_cells, update_measured
from lint import lint
from notebooks import ROOT, dumps, normalise, read, write_text

STEM = "05-new-thing"
BY_HAND = [
    f"chapters/{STEM}.ipynb",
    f"solutions/{STEM}.ipynb",
    "finetuning/checks/ch05.py",
    "tests/checks/wrong_answers/ch05.py",
    "tests/scratch/test_new_thing.py",
    "book/chapters.yml",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The small book, with the real package, and chapter 05 begun and derived in it."""
    root = samples.book(tmp_path_factory.mktemp("book"))
    shutil.copytree(ROOT / "finetuning", root / "finetuning", dirs_exist_ok=True)
    (root / "finetuning/checks/ch05.py").unlink()  # of the book's own chapter 05
    assert main(["5", "new-thing"], root) == 0
    derived = derive(root)
    assert derived.problems == []
    for name, text in derived.files.items():
        write_text(root / name, text)
    return root


def test_at_most_seven_files_are_written_by_hand(root):
    """The seventh is book/references.bib."""
    assert all((root / name).exists() for name in BY_HAND)
    assert len(BY_HAND) + 1 <= 7


def test_nothing_is_taken_for_finished(root):
    for name in BY_HAND:
        assert MARK in (root / name).read_text(), name


def test_the_record_is_complete(root):
    chapter = read_contents(root).of(STEM)
    assert (chapter.number, chapter.title) == (5, "Planned")
    assert chapter.modules == ("new_thing",)
    assert read_contents(root).chapters[0].slug == "self-attention"


@pytest.mark.parametrize("folder", ["chapters", "solutions"])
def test_the_skeleton_runs_and_keeps_the_rules(root, folder):
    name = f"{folder}/{STEM}.ipynb"
    path = root / name
    content = read(path, root)
    alternative = content.cells[0].source
    run_cells(content, path.parent, settings={"PYTHONPATH": str(root)})
    normalise(content)
    measured = Measured(seconds=5.0, memory_mb=300.0)
    update_measured(content, measured)
    assert content.cells[0].source != alternative or folder == "solutions"
    path.write_text(dumps(content))
    record(name, content, measured, root)
    assert [str(finding) for finding in lint(path, root)] == []


def test_the_exercises_of_the_skeleton_keep_the_rules(root):
    path = root / f"exercises/{STEM}.ipynb"
    assert [str(finding) for finding in lint(path, root)] == []


def load(name, path):
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def test_the_checks_of_the_skeleton_diagnose_its_wrong_answers(root):
    module = "finetuning.scratch.new_thing"
    try:
        scratch = load(module, root / "finetuning/scratch/new_thing.py")
        checks = load("new_checks", root / "finetuning/checks/ch05.py")
        wrong = load("new_wrong", root / "tests/checks/wrong_answers/ch05.py").WRONG
        tests = load("new_tests", root / "tests/scratch/test_new_thing.py")
    finally:
        for name in (module, "new_checks", "new_wrong", "new_tests"):
            sys.modules.pop(name, None)
    assert set(wrong) == set(checks.__all__)
    for number, name in enumerate(sorted(wrong), start=1):
        check = getattr(checks, name)
        check(lambda x, number=number: scratch.running_mean(x) + number)
        assert len(wrong[name]) >= 3
        for answer, fragment in wrong[name]:
            with pytest.raises(AssertionError) as failed:
                check(answer)
            assert fragment in str(failed.value)
    tests.test_each_mean_is_of_what_came_before()


@pytest.mark.parametrize(
    ("number", "slug", "expected"),
    [
        (5, "New Thing", "a slug is small letters, digits and dashes"),
        (7, "new-thing", "plans no chapter 7"),
        (4, "new-thing", "chapter 4 is 04-self-attention already"),
        (5, "other", "finetuning/checks/ch05.py is there already; nothing was written"),
    ],
)
def test_what_cannot_be_begun_is_said(tmp_path, number, slug, expected):
    root = samples.book(tmp_path)
    (root / "finetuning/checks").mkdir()
    (root / "finetuning/checks/ch05.py").touch()
    with pytest.raises(ChapterError) as error:
        new_files(number, slug, root)
    assert expected in str(error.value)


def test_the_command_says_why_in_one_line_and_writes_nothing(tmp_path, capsys):
    root = samples.book(tmp_path)
    before = sorted(root.rglob("*"))
    assert main(["7", "new-thing"], root) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(root.rglob("*")) == before
