"""Processes of pytest-xdist share the tests by groups, the longest first, and say where
the time went.
"""

import json
from types import SimpleNamespace

import pytest
from samples import copy_suite, run_pytest
from sharing import Timings, group_of, kind_of, workers

GB = 1e9
FIRST = """
import os, pathlib, pytest

@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_first(name):
    with pathlib.Path("order.txt").open("a") as file:
        file.write(f"{name} {os.environ['PYTEST_XDIST_WORKER']}\\n")
"""
SECOND = FIRST.replace('["one", "two", "three"]', '["four", "five"]')


@pytest.mark.parametrize(
    ("cores", "memory", "expected"),
    [(1, 64, 2), (2, 16, 3), (8, 16, 4), (16, 256, 4), (8, 8, 2), (4, 3, 1)],
)
def test_a_process_for_each_core_and_one_as_far_as_there_is_memory(
    cores, memory, expected
):
    assert workers(cores, memory * GB) == expected


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    copy_suite(root)
    (root / "tests/test_first.py").write_text(FIRST)
    (root / "tests/test_second.py").write_text(SECOND)
    return root


def run(project, processes):
    """Run the project's tests; returns their names with their processes, in the order
    in which they ended, and what pytest said.
    """
    (project / "order.txt").write_text("")
    done = run_pytest(project, "-n", str(processes))
    assert done.returncode == 0, done.stdout + done.stderr
    order = (project / "order.txt").read_text().splitlines()
    return [tuple(line.split()) for line in order], done.stdout


def test_a_group_stays_in_one_process(project):
    order, said = run(project, 2)
    process = dict(order)
    assert len(order) == 5
    assert process["one"] == process["two"] == process["three"]
    assert process["four"] == process["five"] != process["one"]
    assert "the 20 slowest tests and cells" in said


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (1, 9, ["four", "five", "one", "two", "three"]),
        (9, 1, ["one", "two", "three", "four", "five"]),
    ],
)
def test_the_longest_group_comes_first(project, first, second, expected):
    """As it was in the last run, here one that is made up."""
    kept = project / ".pytest_cache/v/sharing/seconds"
    kept.parent.mkdir(parents=True, exist_ok=True)
    files = {"tests/test_first.py": first, "tests/test_second.py": second}
    kept.write_text(json.dumps(files))
    order, _ = run(project, 1)
    assert [name for name, _ in order] == expected
    assert set(json.loads(kept.read_text())) == set(files)


CHECKS, BROWSER = "tests/checks/test_checks.py", "tests/site/test_browser.py"


@pytest.mark.parametrize(
    ("test", "group"),
    [
        ("chapters/04-x.ipynb::Cell 1", "chapters/04-x.ipynb"),
        (f"{CHECKS}::test_a_wrong_answer[ch04-bugs-3]", f"{CHECKS} 04"),
        (f"{CHECKS}::test_no_answer_can_be_read[04-x]", f"{CHECKS} 04"),
        (f"{CHECKS}::test_calls", CHECKS),
        (f"{BROWSER}::test_page[exercises/04-x.html]", f"{BROWSER} 04"),
        (f"{BROWSER}::test_page[book/guide.html]", BROWSER),
        (
            "tests/colab/test_colab.py::test[chapters/04-x.ipynb]",
            "tests/colab/test_colab.py",
        ),
    ],
)
def test_groups(test, group):
    assert group_of(test) == group


def item(nodeid, *fixtures):
    name = nodeid.rpartition("::")[2]
    return SimpleNamespace(nodeid=nodeid, name=name, fixturenames=fixtures)


@pytest.mark.parametrize(
    ("test", "kind"),
    [
        (item("chapters/04-x.ipynb::ipynb::Cell 1"), "chapters"),
        (item("tests/checks/test_checks.py::test_a_wrong_answer[1]"), "wrong answers"),
        (item("tests/checks/test_checks.py::test_on_the_blank[04]"), "blanks"),
        (item("tests/site/test_site.py::test_site_is_whole"), "site"),
        (item("tests/site/test_print.py::test_code", "browser"), "browser"),
        (item("tests/scratch/test_gpt.py::test_gpt"), "units"),
    ],
)
def test_kinds(test, kind):
    assert kind_of(test) == kind


def test_the_table_adds_up():
    timings = Timings(None)
    for name, kind, duration in (
        ("tests/a.py::test_a", "units", 1.0),
        ("tests/a.py::test_a", "units", 0.5),
        ("chapters/x.ipynb::Cell 0", "chapters", 4.0),
    ):
        properties = [("kind", kind)] + [("cell", "loss")] * (kind == "chapters")
        report = SimpleNamespace(
            nodeid=name, duration=duration, user_properties=properties
        )
        timings.pytest_runtest_logreport(report)
    table = [line.split() for line in timings.table()]
    assert table[1:4] == [
        ["chapters", "1", "4.0"],
        ["units", "1", "1.5"],
        ["all", "2", "5.5"],
    ]
    assert timings.table()[-2] == "    4.0  chapters/x.ipynb, cell 'loss'"
