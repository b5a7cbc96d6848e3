"""Notebooks under other processors' settings: what differs and what moves is found."""

import json

import nbformat
import pytest
from matrix import compare_outputs, main, moving, report, run, settings
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval_tolerance import drift


def stream(text):
    return [new_output("stream", name="stdout", text=text)]


def notebook(root, *cells):
    """A notebook in chapters/ of a folder, each cell with its committed output."""
    (root / "chapters").mkdir(exist_ok=True)
    content = [
        new_code_cell(source, id=name, execution_count=number, outputs=stream(output))
        for number, (name, source, output) in enumerate(cells, start=1)
    ]
    nbformat.write(new_notebook(cells=content), root / "chapters" / "01-a.ipynb")
    return "chapters/01-a.ipynb"


def test_every_processor_meets_every_number_of_threads_and_both_kinds_of_bfloat16():
    for has_avx512 in (False, True):
        chosen = settings(has_avx512)
        seen = [
            (
                environment.get("ATEN_CPU_CAPABILITY"),
                environment["OMP_NUM_THREADS"],
                environment["FINETUNING_BFLOAT16"],
            )
            for environment in chosen.values()
        ]
        processors = {None, "avx2", "avx512"} if has_avx512 else {None, "avx2"}
        assert {(row[0], row[1]) for row in seen} == {
            (processor, threads) for processor in processors for threads in "12"
        }
        assert {(row[0], row[2]) for row in seen} == {
            (processor, kind) for processor in processors for kind in ("slow", "fast")
        }
        assert {row[1:] for row in seen} == {
            (threads, kind) for threads in "12" for kind in ("slow", "fast")
        }
        assert len(seen) == len(chosen) == 2 * len(processors)


def test_a_setting_reaches_the_kernel_and_what_differs_is_found(tmp_path):
    name = notebook(
        tmp_path,
        ("same", "print(0.5)", "0.5\n"),
        ("other", "import os; print(os.environ['OMP_NUM_THREADS'])", "1\n"),
        ("raises", "1 / 0", "x\n"),
    )
    cells = run(name, "two", {"OMP_NUM_THREADS": "2"}, tmp_path)
    assert report(cells) == [
        "chapters/01-a.ipynb, cell 'other' (2): two: line 1: committed '1', now '2'",
        "chapters/01-a.ipynb, cell 'raises' (3): two: ZeroDivisionError: division by "
        "zero",
    ]
    assert (tmp_path / "_build" / "matrix" / "two" / name).is_file()


def test_all_of_it(tmp_path, capsys):
    moves = "import os; print(0.5 + 0.0001 * int(os.environ['OMP_NUM_THREADS']))"
    name = notebook(tmp_path, ("moves", moves, "0.5001\n"))
    assert main([str(tmp_path / name)], tmp_path) == 0
    assert "0 cells differ" in capsys.readouterr().out
    entries = json.loads((tmp_path / "book" / "matrix.json").read_text())
    assert [entry["cell"] for entry in entries] == ["moves"]
    assert entries[0]["share"] == pytest.approx(0.2)
    assert "2 threads" in entries[0]["setting"]


def test_one_setting_alone_keeps_nothing_and_fails_where_a_cell_differs(tmp_path):
    name = notebook(tmp_path, ("differs", "print(1)", "2\n"))
    assert main([str(tmp_path / name), "--setting", "default, 1"], tmp_path) == 1
    assert not (tmp_path / "book").exists()


def test_an_unknown_setting_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--setting", "mmx"], tmp_path)
    assert "no such setting; there are: default, 1 thread" in capsys.readouterr().err


def test_what_the_tests_ignore_is_ignored_and_an_exception_is_not():
    now = stream("12 s\n")
    assert compare_outputs(
        stream("9 s\n"), now, None, ignored=True, may_raise=False
    ) == (None, 0.0)
    error = [new_output("error", ename="ValueError", evalue="no", traceback=[])]
    problem, _ = compare_outputs(now, error, None, ignored=True, may_raise=False)
    assert problem == "ValueError: no"
    problem, _ = compare_outputs(now, now + now, None, ignored=False, may_raise=False)
    assert problem.startswith("committed: stream (stdout); now: stream (stdout), str")


@pytest.mark.parametrize(
    ("committed", "fresh", "share"),
    [
        ("0.5", "0.5", 0.0),
        ("0.5000", "0.5001", 0.2),
        ("0.5 1.0", "0.5 1.0005", 0.5),
        ("✓ ahead\n  0.2 > 0.1", "✓ ahead\n  0.25 > 0.1", 0.5),
        ("✓ ahead\n  0.2 > 0.1", "✓ ahead\n  0.2 > 0.1", 0.0),
        ("✓ so\n  5 ≥ 5", "✓ so\n  6 ≥ 5", float("inf")),
        ("nan inf", "nan inf", 0.0),
    ],
)
def test_how_far_numbers_move(committed, fresh, share):
    assert drift(committed, fresh) == pytest.approx(share, rel=0.01)


def test_only_the_setting_that_moves_a_cell_most_is_kept(tmp_path):
    name = notebook(tmp_path, ("a", "print(1.0)", "1.0\n"))
    cells = run(name, "one", {}, tmp_path)
    cells = [
        type(cells[0])(**(vars(cells[0]) | {"setting": setting, "share": share}))
        for setting, share in (("one", 0.05), ("two", 0.4), ("three", 0.2))
    ]
    assert [(entry["setting"], entry["share"]) for entry in moving(cells)] == [
        ("two", 0.4)
    ]
    assert moving(cells[:1]) == []
