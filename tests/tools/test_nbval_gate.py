"""The comparison of notebooks is itself tried: what must fail does, as it would in
`make test`.
"""

import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval_tolerance import difference, split
from samples import copy_suite, run_pytest
from torch.backends import cpu
from verified_notebooks import VerifiedNotebooks

# A picture of one pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+M8AAAMBAQAY3Y2wAAAAAElF"
    "TkSuQmCC"
)
DRAW = (
    f"from IPython.display import display\ndisplay({{'image/png': '{PNG}', "
    f"'text/plain': 'fig'}}, raw=True)"
)


def text(what):
    return new_output("stream", name="stdout", text=what)


def picture(kind="image/png"):
    return new_output(
        "display_data",
        data={kind: "AAAA" if kind == "image/png" else "<svg/>", "text/plain": "fig"},
    )


def result(what):
    return new_output("execute_result", data={"text/plain": what}, execution_count=1)


def error(name, value):
    return new_output(
        "error", ename=name, evalue=value, traceback=["committed elsewhere"]
    )


# name: (source, committed outputs, metadata, a part of the message; None where the cell
# must pass)
CASES = {
    "same": ("print('loss 0.886')", [text("loss 0.886\n")], {}, None),
    "within": ("print('loss 0.88601')", [text("loss 0.886\n")], {}, None),
    "changed-digit": (
        "print('loss 0.887')",
        [text("loss 0.882\n")],
        {},
        "committed 0.882, now 0.887",
    ),
    "wide": (
        "print('loss 0.887')",
        [text("loss 0.882\n")],
        {"nbval_tolerance": 0.02},
        None,
    ),
    "too-wide": (
        "print('loss 0.95')",
        [text("loss 0.88\n")],
        {"nbval_tolerance": 0.02},
        "a share of 0.02",
    ),
    "changed-integer": (
        "print(1627)",
        [text("1626\n")],
        {},
        "committed '1626', now '1627'",
    ),
    "changed-integer-wide": (
        "print(1627)",
        [text("1626\n")],
        {"nbval_tolerance": 0.1},
        "now '1627'",
    ),
    "changed-word": (
        "print('loss 0.886')",
        [text("gain 0.886\n")],
        {},
        "committed 'gain 0.886'",
    ),
    "not-a-number": ("print(float('nan'))", [text("0.5\n")], {}, "now nan"),
    "extra-line": ("print('a\\nb')", [text("a\n")], {}, "committed 1 lines, now 2"),
    "extra-output": (
        "print('a')\n1",
        [text("a\n")],
        {},
        "now: stream (stdout), execute_result",
    ),
    "lost-output": (
        "print('a')",
        [text("a\n"), result("1")],
        {},
        "now: stream (stdout)",
    ),
    "another-kind": ("print(1)", [result("1")], {}, "committed: execute_result"),
    "picture": (DRAW, [picture()], {}, None),
    "lost-picture": (
        "print('fig')",
        [picture()],
        {},
        "committed: display_data (image/png, text/plain)",
    ),
    "new-picture": (DRAW, [], {}, "committed: nothing"),
    "another-picture": (DRAW, [picture("image/svg+xml")], {}, "image/svg+xml"),
    "exception": (
        "1 / 0",
        [error("ZeroDivisionError", "division by zero")],
        {"tags": ["raises-exception"]},
        None,
    ),
    "another-exception": (
        "1 / 0",
        [error("ValueError", "division by zero")],
        {"tags": ["raises-exception"]},
        "committed 'ValueError",
    ),
    "no-exception": (
        "1",
        [result("1")],
        {"tags": ["raises-exception"]},
        "raised nothing",
    ),
    "no-exception-ignored": (
        "1",
        [result("1")],
        {"tags": ["raises-exception", "nbval-ignore-output"]},
        "raised nothing",
    ),
    "unforeseen-exception": ("1 / 0", [], {}, "division by zero"),
    "stderr": (
        "import sys; print('x', file=sys.stderr)",
        [],
        {"tags": ["nbval-ignore-output"]},
        "to stderr",
    ),
    "committed-stderr": (
        "1;",
        [new_output("stream", name="stderr", text="x")],
        {},
        "on stderr committed",
    ),
    "ignored": (
        "print(0.5)",
        [text("12 s\n")],
        {"tags": ["nbval-ignore-output"]},
        None,
    ),
    "skipped": ("1 / 0", [], {"tags": ["nbval-skip"]}, "marked to be skipped"),
    "environment": (
        "import os, sys\nprint(os.environ['OMP_NUM_THREADS'], "
        f"os.environ['TQDM_DISABLE'], sys.executable == {sys.executable!r})",
        [text("1 1 True\n")],
        {},
        None,
    ),
    "unexecuted": ("print('a')", None, {}, "without having been run"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """What `pytest --nbval` loads, beside a folder of notebooks of our own."""
    root = tmp_path_factory.mktemp("project")
    copy_suite(root)
    # What a key asks of torch, which takes seconds to import.
    (root / "torch").mkdir()
    (root / "torch" / "__init__.py").touch()
    capability = f"cpu.get_cpu_capability = lambda: {cpu.get_cpu_capability()!r}"
    stub = f"from types import SimpleNamespace\ncpu = SimpleNamespace()\n{capability}\n"
    (root / "torch" / "backends.py").write_text(stub)
    cells = []
    for name, (source, outputs, metadata, _) in CASES.items():
        cell = new_code_cell(source, id=name, metadata=metadata, outputs=outputs or [])
        cell.execution_count = None if outputs is None else len(cells) + 1
        cells.append(cell)
    slow = [
        new_code_cell("import time\ntime.sleep(60)", execution_count=1, id="sleeps"),
        new_code_cell("1;", execution_count=2, id="after"),
    ]
    stubborn = [
        new_code_cell(
            "try:\n    import time; time.sleep(60)\nexcept "
            "KeyboardInterrupt:\n    pass",
            execution_count=1,
            id="swallows",
            metadata={"tags": ["nbval-ignore-output"]},
        )
    ]
    (root / "chapters").mkdir()
    for name, content in {"cases": cells, "slow": slow, "stubborn": stubborn}.items():
        nbformat.write(new_notebook(cells=content), root / "chapters" / f"{name}.ipynb")
    return root


def run_nbval(project, *arguments):
    return run_pytest(project, "-p", "no:cacheprovider", "--nbval", *arguments)


def messages(project, *arguments):
    """Run notebooks in which cells fail; returns the messages of all cells, by notebook
    and the cell's place ("" for one that passed), and the finished process.
    """
    report = project / "report.xml"
    done = run_nbval(project, f"--junitxml={report}", "--color=no", *arguments)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    cells = {}
    for item in ElementTree.parse(report).iter("testcase"):
        problems = [
            child.text or ""
            for child in item
            if child.tag in ("failure", "error", "skipped")
        ]
        notebook = item.get("classname").split(".")[1]
        cells[notebook, item.get("name")] = "\n".join(problems)
    return cells, done


@pytest.fixture(scope="module")
def outcomes(project):
    return messages(project, "chapters/cases.ipynb")[0]


@pytest.mark.parametrize("number", range(len(CASES)), ids=CASES)
def test_each_case_fails_or_passes_as_it_must(outcomes, number):
    expected = list(CASES.values())[number][3]
    message = outcomes["cases", f"Cell {number}"]
    if expected is None:
        assert message == ""
    else:
        assert expected in message
        assert f"cell '{list(CASES)[number]}' ({number + 1})" in message


def test_a_timeout_fails_and_so_does_all_that_follows(project):
    """However busy the machine is: these cells need more time than there is."""
    slow = ["chapters/slow.ipynb", "chapters/stubborn.ipynb"]
    cells, done = messages(project, "--nbval-cell-timeout=3", *slow)
    assert "Timeout of 3 seconds" in cells["slow", "Cell 0"]
    assert "an earlier cell did not finish" in cells["slow", "Cell 1"]
    assert "did not finish in time" in cells["stubborn", "Cell 0"]
    assert "xfail" not in done.stdout


def test_every_cell_is_an_item(outcomes):
    assert len(outcomes) == len(CASES)


def test_workers_may_not_share_a_notebook(project):
    done = run_nbval(project, "-n", "2", "--dist", "worksteal", "chapters")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "a notebook's cells share one kernel" in done.stdout + done.stderr


# What has passed is not executed again


def small(*sources):
    """A notebook of cells that print nothing."""
    cells = [
        new_code_cell(source, id=f"cell-{count}", execution_count=count)
        for count, source in enumerate(sources, start=1)
    ]
    return new_notebook(cells=cells)


@pytest.fixture(scope="module")
def verified(project, tmp_path_factory):
    """A project of two notebooks, one of them wrong, after `pytest --nbval`."""
    root = tmp_path_factory.mktemp("verified")
    shutil.copytree(project, root, dirs_exist_ok=True)
    for path in (root / "chapters").glob("*.ipynb"):
        path.unlink()
    nbformat.write(small("x = 1", "y = x"), root / "chapters/01-good.ipynb")
    nbformat.write(small("x = 1", "print(x)"), root / "chapters/02-wrong.ipynb")
    return root, run_nbval(root, "-n", "2", "chapters")


def skipped(root):
    return VerifiedNotebooks(root).skipped


@pytest.fixture
def anywhere(monkeypatch):
    """No run of everything."""
    monkeypatch.delenv("ALL", raising=False)


def test_a_notebook_that_passed_is_remembered_and_one_that_failed_is_not(
    verified, anywhere
):
    root, done = verified
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "every cell as committed: 1\n  chapters/01-good.ipynb\n" in done.stdout
    assert skipped(root) == ["chapters/01-good.ipynb"]


def test_a_notebook_stays_in_one_process_and_the_time_of_its_cells_is_shown(verified):
    """The second cell of each uses what the first has defined."""
    _, done = verified
    assert "NameError" not in done.stdout
    assert re.search(r"^chapters +4 +\d+\.\d$", done.stdout, re.MULTILINE)
    assert "  chapters/01-good.ipynb, cell 'cell-2'" in done.stdout


def test_what_has_passed_is_skipped_and_said(verified, anywhere):
    root, _ = verified
    done = run_nbval(root, "chapters", "--ignore=chapters/02-wrong.ipynb")
    assert done.returncode == 0
    assert (
        "were not executed: 1 (ALL=1 executes them)\n  chapters/01-good" in done.stdout
    )
    assert "no tests ran" in done.stdout


def test_what_the_command_line_names_is_executed(verified, anywhere):
    root, _ = verified
    done = run_nbval(root, "chapters/01-good.ipynb")
    assert done.returncode == 0
    assert "2 passed" in done.stdout


def test_everything_is_executed_where_that_is_asked_for(verified, monkeypatch):
    monkeypatch.setenv("ALL", "1")
    assert skipped(verified[0]) == []


def test_what_has_changed_is_executed_again(verified, anywhere):
    root, _ = verified
    path = root / "chapters/01-good.ipynb"
    before = path.read_text()
    nbformat.write(small("x = 2", "y = x"), path)
    assert skipped(root) == []
    path.write_text(before)
    assert skipped(root) == ["chapters/01-good.ipynb"]


@pytest.mark.parametrize(
    ("committed", "fresh"),
    [
        ("tensor([ 0.1234, -0.0000])", "tensor([0.1234, 0.0000])"),
        ("tensor([1., 2.])", "tensor([1.0000, 2.0000])"),
        ("loss: 1e-05", "loss: 1.0001e-05"),
        ("[nan, inf, 0.5]", "[   nan,    inf, 0.5000001]"),
        ("  mean   std\n  9.999  1.0", "   mean   std\n 10.001  1.0"),
        ("0.886 [0.861, 0.910]", "0.8863 [0.8612, 0.9103]"),
        ("−0.5", "-0.5"),
        ("same\n", "same"),
        ("✓ ahead\n  0.129 > 0.1", "✓ ahead\n  0.151 > 0.1"),
        ("✓ the same\n  4.3e-07 < 1e-05", "✓ the same\n  2e-06 < 1e-05"),
        (
            "✓ a claim in\n  two lines\n  5 ≥ 3 and ≤ 9",
            "✓ a claim in\n  two lines\n  6 ≥ 3 and ≤ 9",
        ),
    ],
)
def test_texts_that_agree(committed, fresh):
    assert difference(committed, fresh) is None
    assert difference(fresh, committed) is None


@pytest.mark.parametrize(
    ("committed", "fresh"),
    [
        ("0.886", "0.889"),
        ("0.000", "0.001"),
        ("0.5", "-0.5"),
        ("1e-05", "2e-05"),
        ("nan", "inf"),
        ("inf", "-inf"),
        ("nan", "0.5"),
        ("tensor([1000.])", "tensor([1001.])"),
        ("Adam took 5.", "Adam took 6."),
        ("step 10000", "step 10001"),
        ("SmolLM2-135M", "SmolLM2-136M"),
        ("torch 2.13.0", "torch 2.13.1"),
        ("127.0.0.1", "127.0.0.2"),
        ("v1.5000", "v1.5001"),
        ("(3, 4)", "(4, 3)"),
        ("a b", "ab"),
        ("a\nb", "a b"),
        ("0.5 0.6", "0.5"),
        ("[1, 2]", "[1, 2, 3]"),
        ("nancy", "inf"),
        ("✓ ahead\n  0.129 > 0.1", "✓ ahead\n  0.129 > 0.12"),
        ("✓ ahead\n  0.129 > 0.1", "✓ ahead\n  0.09 > 0.1"),
        ("✓ ahead\n  0.129 > 0.1", "✓ behind\n  0.129 > 0.1"),
        ("gap\n  0.129 > 0.1", "gap\n  0.151 > 0.1"),
        ("✓ ahead\ngap\n  0.129 > 0.1", "✓ ahead\ngap\n  0.151 > 0.1"),
    ],
)
def test_texts_that_differ(committed, fresh):
    assert difference(committed, fresh)
    assert difference(fresh, committed)


def test_a_text_is_split_into_words_and_numbers():
    assert split("loss  0.5 at step 3, -1e-3 (v1.2)")[1] == ["0.5", "-1e-3"]
