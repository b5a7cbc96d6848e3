"""Tests that have passed are left out while no file changes that they depend on; a test
that depends on another file says so.
"""

import os
import re
import time
from types import SimpleNamespace

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebooks import dumps, write_text
from samples import copy_suite, run_pytest
from verified_tests import (
    Reads,
    RepositoryFiles,
    VerifiedTests,
    pytest_configure,
    source_of,
)

ROWS = """
always: [conftest.py]
rows:
  - tests: [tests/small/test_named.py]
    reads: [data/*.txt, "!data/other.txt"]
"""
READER = """
import pathlib

def test_read():
    assert pathlib.Path("data/{name}.txt").read_text() == "{content}"
"""
NAMED = "tests/small/test_named.py"
UNNAMED = "tests/small/test_unnamed.py"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A test in a row, and one in none."""
    monkeypatch.delenv("ALL", raising=False)
    copy_suite(tmp_path)
    for folder in ("data", "tests/small"):
        (tmp_path / folder).mkdir()
    for name in ("one", "other"):
        (tmp_path / f"data/{name}.txt").write_text("1")
    (tmp_path / "tests/reads.yml").write_text(ROWS)
    (tmp_path / NAMED).write_text(READER.format(name="one", content="1"))
    (tmp_path / UNNAMED).write_text(READER.format(name="other", content="1"))
    return tmp_path


def run(project, *arguments):
    """The project's tests, as `make test` runs them; how many passed and failed."""
    # What was written just now is to be older than the run.
    moment = time.time() - 1
    for path in project.rglob("*"):
        os.utime(path, (moment, moment))
    done = run_pytest(project, "-n", "1", "--remember", *arguments)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    failed = re.search(r"(\d+) (?:failed|error)", done.stdout)
    return done.stdout, int(passed[1]), int(failed[1]) if failed else 0


def left_out(project):
    return VerifiedTests(project, Reads(project)).skipped


def test_what_has_passed_is_left_out_until_a_file_of_its_row_changes(
    project, monkeypatch
):
    (project / "data/other.txt").write_text("2")
    said, *counts = run(project)
    assert counts == [1, 1]
    assert left_out(project) == [NAMED]
    (project / "data/other.txt").write_text("1")  # its row leaves it out
    said, *counts = run(project)
    assert counts == [1, 0]
    assert "Of 2 groups of tests 1 have passed before" in said
    assert left_out(project) == [NAMED, UNNAMED]

    (project / "README.md").write_text("")  # in no row
    assert left_out(project) == [NAMED]
    (project / "README.md").unlink()
    for name in ("data/one.txt", "conftest.py"):
        before = (project / name).read_text()
        (project / name).write_text("2")
        assert left_out(project) == []
        (project / name).write_text(before)
    assert left_out(project) == [NAMED, UNNAMED]
    monkeypatch.setenv("ALL", "1")
    assert left_out(project) == []


def test_a_file_that_no_row_holds_is_named(project):
    (project / "tests/module.py").write_text("")
    (project / NAMED).write_text(
        READER.format(name="other", content="1")
        + "\ndef test_import():\n    import module\n"
    )
    said, *counts = run(project, NAMED)
    assert counts == [2, 2]
    for name in ("data/other.txt", "tests/module.py"):
        assert f"opens {name}, which its row in tests/reads.yml does not hold" in said
    assert left_out(project) == []


def test_a_compiled_module_stands_for_its_source():
    compiled = "tests/__pycache__/module.cpython-311.pyc"
    assert source_of(compiled) == source_of(f"{compiled}.1403") == "tests/module.py"


def test_nothing_is_kept_where_a_file_changed_meanwhile(project):
    text = (project / NAMED).read_text()
    writing = "    pathlib.Path('data/one.txt').write_text('1')\n"
    (project / NAMED).write_text(text + writing)
    assert run(project, NAMED)[1:] == (1, 0)
    assert left_out(project) == []


@pytest.mark.parametrize(
    "part",
    [
        {"option": {"keyword": "read"}},
        {"option": {"markexpr": "slow"}},
        {"option": {"dist": "no"}},
        {"args": [f"{NAMED}::test_read"]},
    ],
)
def test_a_part_of_a_file_is_never_remembered(tmp_path, part):
    option = {"remember": True, "keyword": "", "markexpr": "", "dist": "load"}
    config = SimpleNamespace(
        rootpath=tmp_path,
        args=part.get("args", ["tests"]),
        option=SimpleNamespace(**option | part.get("option", {})),
    )
    with pytest.raises(pytest.UsageError, match="with whole files only"):
        pytest_configure(config)


def test_of_a_notebook_the_code_may_count_alone(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/reads.yml").write_text(
        "rows: [{tests: [code], reads: [code of *.ipynb]}, "
        "{tests: [all], reads: ['*.ipynb']}]"
    )

    def keys(text, code):
        cells = [new_markdown_cell(text, id="text"), new_code_cell(code, id="code")]
        write_text(tmp_path / "01.ipynb", dumps(new_notebook(cells=cells)))
        files = RepositoryFiles(tmp_path, Reads(tmp_path))
        return files.key("code"), files.key("all")

    first, text, code = keys("a", "x = 1"), keys("b", "x = 1"), keys("b", "x = 2")
    assert first[0] == text[0] != code[0]
    assert len({first[1], text[1], code[1]}) == 3
