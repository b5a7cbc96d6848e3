"""Executing a notebook for commit: what is kept, what is measured, and what is said
when a cell fails.
"""

import errno
import json
import os
import re
import subprocess
import sys

import execute as executing
import pytest
import samples
import status
from execute import LISTED_CELL, Measured, PeakMemory, execute, record, update_measured
from key import run_key
from nbformat.v4 import new_output
from notebooks import (
    ENVIRONMENT,
    NOTEBOOK_METADATA,
    ROOT,
    NotebookError,
    close_enough,
    environment,
    measured_line,
    measured_numbers,
    merge_streams,
    normalise,
    notebook_paths,
    read,
    without_machine,
    write_text,
)
from samples import CHAPTER, code, notebook, text

TITLE = "# 04 · X\n\n<!-- measured -->not yet\n\nMore."


# A cell that keeps the processor busy: what is measured is its time, not the clock's.
WORK = f"""import time
start = time.process_time()
while time.process_time() - start < {LISTED_CELL + 0.1}:
    pass"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return samples.book(tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="module")
def executed(root):
    """One notebook executed, with what a careless editor may have left in it."""
    content = notebook(
        text("title", TITLE),
        code(
            "imports",
            "import os, sys\nprint('a')\nprint('b')",
            samples.printed("old"),
            tags=["x"],
            colab={},
        ),
        code(
            "environment",
            f"print(sys.executable == {sys.executable!r})\n"
            f"{{name: os.environ.get(name) for name in {list(ENVIRONMENT)}}}",
        ),
        code("folder", "os.path.basename(os.getcwd())"),
        code(
            "streams",
            "import time\nfor _ in range(3):\n    print('x', flush=True); "
            "time.sleep(0.05)",
        ),
        code(
            "fails",
            "import pathlib\npathlib.Path('/none').read_text()",
            tags=["raises-exception"],
        ),
        code(
            "check",
            "from finetuning.checks import core\ncore.fail('it is wrong.')",
            tags=["raises-exception"],
        ),
        code("memory", "block = bytearray(200_000_000)\ndel block"),
        code("works", WORK),
    )
    content.metadata.update(
        widgets={},
        kernelspec={"name": "venv", "display_name": "mine", "language": "python"},
    )
    content.cells[1].execution_count = 17
    path = samples.save(root, CHAPTER, content)
    (root / "book/status.json").unlink()
    execute(path, root)
    return read(path, root)


def cell(content, cell_id):
    return next(cell for cell in content.cells if cell.id == cell_id)


def test_every_cell_is_run_and_counted_and_keeps_its_id(executed):
    assert [cell.id for cell in executed.cells][:3] == [
        "title",
        "imports",
        "environment",
    ]
    counts = [
        cell.execution_count for cell in executed.cells if cell.cell_type == "code"
    ]
    assert counts == list(range(1, len(counts) + 1))


def test_metadata_that_changes_from_machine_to_machine_is_gone(executed):
    assert executed.metadata == NOTEBOOK_METADATA
    assert cell(executed, "imports").metadata == {"tags": ["x"]}


def test_it_runs_in_this_interpreter_the_fixed_environment_and_its_own_folder(executed):
    printed, shown = cell(executed, "environment").outputs
    assert printed.text == "True\n"
    assert eval(shown.data["text/plain"]) == ENVIRONMENT
    assert cell(executed, "folder").outputs[0].data["text/plain"] == "'chapters'"


def test_pieces_of_a_stream_are_one_output(executed):
    assert [output.text for output in cell(executed, "streams").outputs] == [
        "x\nx\nx\n"
    ]
    pieces = [
        samples.printed("a"),
        samples.printed("b"),
        new_output("stream", name="stderr", text="c"),
    ]
    assert [output.text for output in merge_streams(pieces)] == ["ab", "c"]


def test_a_stack_trace_names_no_folder_of_this_machine(executed):
    trace = "\n".join(cell(executed, "fails").outputs[0].traceback)
    assert "pathlib.py" in trace
    assert sys.prefix not in trace and sys.base_prefix not in trace
    assert without_machine(f"File {ROOT}/finetuning/x.py:3") == "File finetuning/x.py:3"


def test_a_failed_check_shows_one_sentence_and_no_stack(executed):
    output = cell(executed, "check").outputs[0]
    assert output.traceback == ["✗ Not yet: it is wrong."]


def test_time_and_memory_are_measured_and_stated(executed, root):
    seconds, gigabytes = measured_numbers(executed.cells[0].source)
    assert 0.2 <= gigabytes < 2
    assert executed.cells[0].source.endswith("\n\nMore.")
    run = json.loads((root / "book/status.json").read_text())[CHAPTER]
    assert run["seconds"] >= LISTED_CELL
    assert close_enough(seconds, run["seconds"], slack=1)
    assert 200 < run["memory_mb"] < 2000
    assert run["key"] == run_key(executed, root)
    assert set(run) == {
        "cells",
        "date",
        "key",
        "memory_mb",
        "python",
        "seconds",
        "torch",
        "transformers",
    }


def test_the_seconds_of_long_cells_are_kept(root, executed):
    cells = json.loads((root / "book/status.json").read_text())[CHAPTER]["cells"]
    assert cells["works"] >= LISTED_CELL


def test_the_seconds_of_short_cells_are_not_kept(root):
    content = read(root / CHAPTER)
    cells = {"short": LISTED_CELL - 0.1, "long": LISTED_CELL + 0.1}
    record(CHAPTER, content, Measured(3.0, 300.0, cells), root)
    run = json.loads((root / "book/status.json").read_text())[CHAPTER]
    assert run["cells"] == {"long": LISTED_CELL + 0.1}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\n\nraise ValueError('bad\\nthing')", "line 3: ValueError: bad"),
        (
            "def f():\n    return 1 / 0\n\nf()",
            "line 4: ZeroDivisionError: division by zero",
        ),
        ("x = (", "line 1: SyntaxError: incomplete input"),
        ("import os\nos._exit(1)", "the kernel died"),
    ],
)
def test_a_cell_that_fails_is_said_with_its_place_and_nothing_is_written(
    root, source, expected
):
    path = root / "chapters/05-fails.ipynb"
    path.write_text(
        samples.dumps(
            notebook(text("title", "# 05"), code("good", "1"), code("bad", source))
        )
    )
    before = path.read_bytes()
    with pytest.raises(NotebookError) as error:
        execute(path, root)
    message = str(error.value)
    assert message.startswith("chapters/05-fails.ipynb, cell 'bad' (3)")
    assert expected in message
    assert "\n" not in message
    assert path.read_bytes() == before
    assert [name.name for name in path.parent.iterdir() if name.suffix == ".tmp"] == []


def test_a_cell_that_does_not_end_is_said_with_its_place(root):
    path = root / "chapters/05-hangs.ipynb"
    path.write_text(
        samples.dumps(notebook(code("bad", "import time\ntime.sleep(3600)")))
    )
    with pytest.raises(NotebookError) as error:
        execute(path, root, timeout=2)
    assert str(error.value) == (
        "chapters/05-hangs.ipynb, cell 'bad' (1): did not finish in time."
    )
    path.unlink()


def test_an_exception_that_does_not_come_is_said(root):
    path = root / "chapters/05-calm.ipynb"
    path.write_text(
        samples.dumps(notebook(code("calm", "1", tags=["raises-exception"])))
    )
    with pytest.raises(
        NotebookError,
        match="cell 'calm' \\(1\\): is tagged raises-exception and raised nothing",
    ):
        execute(path, root)
    path.unlink()


def test_a_notebook_that_was_edited_meanwhile_is_not_overwritten(root):
    path = root / "chapters/05-edited.ipynb"
    path.write_text(
        samples.dumps(notebook(code("edits", f"open({path.name!r}, 'a').write(' ')")))
    )
    with pytest.raises(NotebookError, match="was changed while it ran"):
        execute(path, root)
    path.unlink()


def test_a_module_that_was_edited_meanwhile_is_said(root):
    module = root / "finetuning/helper.py"
    module.write_text("VALUE = 1\n")
    source = (
        "if False:\n    from finetuning.helper import VALUE\n"
        f"print(open({str(module)!r}, 'w').write('VALUE = 2'))"
    )
    path = root / "chapters/05-edits.ipynb"
    path.write_text(samples.dumps(notebook(code("edits", source))))
    before = path.read_bytes()
    with pytest.raises(NotebookError, match="what it imports or reads was changed"):
        execute(path, root)
    assert path.read_bytes() == before
    path.unlink()


def test_a_notebook_over_its_limit_is_written_and_fails(root, monkeypatch, capsys):
    path = samples.save(root, "solutions/05-slow.ipynb", notebook(code("one", "1")))
    monkeypatch.setattr(
        executing, "run_cells", lambda *arguments, **keywords: Measured(41.4, 300)
    )
    monkeypatch.setattr(
        executing, "display", lambda name, root_=ROOT: f"solutions/{name.name}"
    )
    monkeypatch.setattr(sys, "argv", ["execute.py", str(path)])
    assert executing.main() == 1
    assert (
        "took 41 s; at most 40 s are allowed (it was written)"
        in capsys.readouterr().err
    )
    path.unlink()


def test_a_full_disk_is_one_sentence_and_the_notebook_is_as_it_was(
    root, monkeypatch, capsys
):
    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    path = samples.save(root, "solutions/05-full.ipynb", notebook(code("one", "1")))
    before = path.read_bytes()
    monkeypatch.setattr(
        executing, "run_cells", lambda *arguments, **keywords: Measured(1.0, 300)
    )
    monkeypatch.setattr(executing, "write_text", full)
    monkeypatch.setattr(sys, "argv", ["execute.py", str(path)])
    assert executing.main() == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "05-full.ipynb: what came out could not be written" in sentence
    assert os.strerror(errno.ENOSPC) in sentence
    assert path.read_bytes() == before
    path.unlink()


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("chapters/04-a.ipynb", ["chapters/04-a.ipynb"]),
        ("my folder/a.ipynb", ["my folder/a.ipynb"]),
        ("a.ipynb b.ipynb", ["a.ipynb", "b.ipynb"]),
        (" my folder/a.ipynb  b.ipynb ", ["my folder/a.ipynb", "b.ipynb"]),
        ("chapters/*.ipynb", ["chapters/04-a.ipynb", "chapters/05-b.ipynb"]),
        ("page.md", ["page.md"]),
    ],
)
def test_what_a_command_names(tmp_path, monkeypatch, argument, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chapters").mkdir()
    for name in ("04-a.ipynb", "05-b.ipynb"):
        (tmp_path / "chapters" / name).touch()
    assert [path.as_posix() for path in notebook_paths([argument])] == expected


@pytest.mark.parametrize(
    "name", ["my folder/a b.ipynb", 'a "quoted" name.ipynb', "$HOME.ipynb"]
)
def test_make_derives_first_and_hands_over_any_name(tmp_path, name):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nfor each; do echo "<$each>"; done\n')
    python.chmod(0o755)
    command = ["make", "-s", "-o", ".venv/ready", "-o", "resources", "run"]
    variables = [f"PYTHON={python}", f"NB={name.replace('$', '$$')}"]
    done = subprocess.run(
        [*command, *variables], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[:-1] == [
        "<tools/derive.py>",
        "<tools/execute.py>",
        f"<{name}>",
        "<tools/status.py>",
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.ipynb", None, "there is no such file."),
        ("page.md", "# x", "not a notebook (its name does not end in .ipynb)."),
        ("broken.ipynb", "{", "line 1: not valid JSON"),
    ],
)
def test_a_wrong_path_is_one_sentence(tmp_path, name, content, expected):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    command = [sys.executable, str(ROOT / "tools/execute.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("seconds", "memory", "expected"),
    [
        (0.2, 90, "about 1 s and 0.1 GB"),
        (7.4, 700, "about 7 s and 0.7 GB"),
        (43, 1240, "about 45 s and 1.2 GB"),
        (138, 1250, "about 140 s and 1.2 GB"),
    ],
)
def test_what_is_measured_is_rounded_as_one_would_say_it(seconds, memory, expected):
    assert expected in measured_line(seconds, memory)


@pytest.mark.parametrize(
    ("seconds", "changes"),
    [(140, False), (120, False), (165, False), (90, True), (200, True)],
)
def test_a_stated_time_stays_while_it_is_about_right(seconds, changes):
    content = notebook(text("title", f"# 04 · X\n\n{measured_line(140, 1200)}"))
    before = content.cells[0].source
    update_measured(content, Measured(seconds, 1200))
    assert (content.cells[0].source != before) == changes


def test_a_cell_that_was_not_run_has_no_number():
    content = notebook(code("one", "1"), code("two", ""))
    content.cells[0].execution_count = None
    normalise(content)
    assert [cell.execution_count for cell in content.cells] == [None, None]


def test_the_environment_drops_what_changes_output(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert "PYTHONWARNINGS" not in environment()
    assert environment()["OMP_NUM_THREADS"] == "1"


def test_memory_of_children_counts():
    child = "block = b'x' * 150_000_000; print('ready', flush=True); input()"
    source = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    memory = PeakMemory(process.pid)
    memory.start()
    assert memory.stop() > 150
    process.communicate(b"\n")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "one")
    monkeypatch.setattr(
        "os.replace", lambda *names: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(OSError, match="full"):
        write_text(path, "two")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


# The status page


def runs_of(root):
    return json.loads((root / "book/status.json").read_text())


def test_the_status_page_has_a_row_for_each_notebook(tmp_path):
    root = samples.book(tmp_path)
    assert status.main([], root) == 0
    page = (root / "book/status.md").read_text()
    assert page.startswith("<!-- Generated by `make status`")
    assert (
        f"| [{CHAPTER}](../{CHAPTER}) | 3 | 0.3 GB | 2026-11-23 | 3.11.7 | 2.13.0 "
        "| 5.23.0 |  |" in page
    )
    assert status.main(["--check"], root) == 0


def test_the_status_page_has_sums_and_the_slowest_cells(tmp_path):
    root = samples.book(tmp_path)
    runs = runs_of(root)
    runs[CHAPTER]["cells"] = {"claim": 2.5}
    runs[samples.SOLUTIONS]["cells"] = {"answer-1": 30.5}
    page = status.page(runs, root=root)
    assert f"| {samples.STEM} | 3 | 3 | 6 |" in page
    assert "| **all** |  |  | **6** |" in page
    slowest = page.index(f"[{samples.SOLUTIONS}](../{samples.SOLUTIONS}) | `answer-1`")
    assert slowest < page.index(f"[{CHAPTER}](../{CHAPTER}) | `claim` | 2.5 |")


def test_the_status_page_marks_what_is_slow_changed_or_not_run(tmp_path):
    root = samples.book(tmp_path)
    runs = runs_of(root)
    runs[CHAPTER]["seconds"] = 121.0
    runs[samples.SOLUTIONS]["key"]["code"] = "other"
    (root / "chapters/05-new.ipynb").write_text(samples.dumps(samples.chapter(root)))
    page = status.page(runs, root=root)
    assert re.search(r"04-self-attention.*over its 120 seconds", page)
    assert re.search(r"solutions/04-self-attention.*changed since: code", page)
    assert re.search(r"05-new.*not run yet", page)
    (root / "book/status.md").write_text("old")
    assert status.main(["--check"], root) == 1
    assert (root / "book/status.md").read_text() == "old"


def test_the_status_page_lists_numbers_that_move_between_processors(tmp_path):
    root = samples.book(tmp_path)
    assert "between processors" not in status.page(runs_of(root), root=root)
    assert "None by more than a tenth" in status.page(runs_of(root), [], root)
    entry = {"notebook": CHAPTER, "cell": "claim", "setting": "avx2", "share": 0.25}
    (root / "book/matrix.json").write_text(json.dumps([entry]))
    assert status.main([], root) == 0
    page = (root / "book/status.md").read_text()
    assert f"| [{CHAPTER}](../{CHAPTER}) | `claim` | avx2 | 25% |" in page
