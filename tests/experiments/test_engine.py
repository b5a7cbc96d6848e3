"""The engine of the experiments: what is made is kept, once and whole, and nothing else
is mixed in.
"""

import errno
import json
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from finetuning.experiments import engine
from finetuning.experiments.engine import (
    Experiment,
    ExperimentError,
    Results,
    Run,
    Weights,
    from_bits,
    machine,
    read,
    to_bits,
    write_whole,
)

calls = []


def square(key, kept):
    calls.append(dict(key))
    return {"square": key["number"] ** 2, "before": len(kept)}


SQUARES = Experiment(
    name="squares",
    chapter=2,
    settings={"base": 10, "steps": (1, 2), "by labels": {50: 0.1}},
    keys=[
        {"kind": kind, "number": number}
        for kind in ("small one", "large")
        for number in (1, 2.5)
    ],
    run=square,
)


@pytest.fixture
def output(tmp_path):
    calls.clear()
    return tmp_path / "results" / "squares.json"


@pytest.fixture
def main(monkeypatch, output):
    """`python -m finetuning.experiments` with the experiment above as the only one."""

    def main(*arguments, experiment=SQUARES):
        monkeypatch.setattr(engine, "names", lambda: ["squares"])
        monkeypatch.setattr(engine, "load", lambda name: experiment)
        monkeypatch.setattr(engine, "results_file", lambda name: output)
        engine.main(["squares", *arguments])
        return [run.key for run in read(output)]

    return main


def sentence(call, *arguments, **options) -> str:
    with pytest.raises(SystemExit) as error:
        call(*arguments, **options)
    return str(error.value)


# Keeping runs


def test_it_stops_after_the_most_and_goes_on_where_it_stopped(main, output):
    assert main("--most", "1") == SQUARES.keys[:1]
    assert main("--most", "2") == SQUARES.keys[:3]
    assert main() == SQUARES.keys
    assert main() == SQUARES.keys  # nothing is left to do
    assert calls == SQUARES.keys  # and nothing was done twice
    assert read(output).values("before") == [0, 1, 2, 3]  # each run sees those kept
    assert [path.suffix for path in output.parent.iterdir()].count(".part") == 0


def test_no_run_at_all_leaves_no_file(main, output, capsys):
    with pytest.raises(ExperimentError, match="nothing is kept in"):
        main("--most", "0")
    assert not output.exists() and not calls
    assert "0 of 4 runs are kept in" in capsys.readouterr().out


@pytest.mark.parametrize("most", ["-1", "two"])
def test_a_number_of_runs_that_there_is_not(main, most, capsys):
    assert sentence(main, "--most", most) == "2"
    assert "--most" in capsys.readouterr().err


def test_the_file_has_a_line_for_each_run_with_how_it_was_made(main, output):
    main()
    text = output.read_text(encoding="utf-8")
    data = json.loads(text)
    assert [line.strip()[:8] for line in text.splitlines()].count('{"key": ') == 4
    assert data["settings"] == {"base": 10, "steps": [1, 2], "by labels": {"50": 0.1}}
    for run in data["runs"]:
        provenance = run["provenance"]
        assert provenance["command"] == "python -m finetuning.experiments squares"
        assert set(provenance) == {"command", "date", "versions", "machine", "seconds"}
        assert provenance["versions"]["python"] == platform.python_version()
        assert {"numpy", "torch"} <= set(provenance["versions"])


def test_the_machine_is_described_without_its_name():
    assert set(machine()) == {
        "device",
        "architecture",
        "cpu_capability",
        "cores",
        "threads",
        "bfloat16",
    }
    assert platform.node() not in machine().values()


def test_numbers_of_numpy_are_kept_as_numbers(main, output):
    def run(key, kept):
        return {"count": np.int64(3), "share": np.float32(0.5), "all": np.arange(2)}

    main(experiment=replace(SQUARES, run=run))
    assert read(output)[0].result == {"count": 3, "share": 0.5, "all": [0, 1]}


# Weights


def train(key, kept):
    tensors = {"weight": torch.full((2, 3), key["number"]), "bias": torch.zeros(3)}
    return {"loss": 0.5, "model": Weights(tensors)}


TRAININGS = replace(SQUARES, run=train)


def test_weights_stand_beside_the_results(main, output, capsys):
    main(experiment=TRAININGS)
    run = read(output).one(kind="small one", number=2.5)
    assert run["loss"] == 0.5
    assert run["model"].file == "squares/kind-small-one-number-2.5-model.safetensors"
    tensors = run["model"].load()
    assert tensors.keys() == {"weight", "bias"}
    assert torch.equal(tensors["weight"], torch.full((2, 3), 2.5))
    # What is read can be written again, and nothing was left beside it.
    assert engine.as_text(read(output)) == output.read_text(encoding="utf-8")
    assert len(list((output.parent / "squares").iterdir())) == 4
    assert "loss 0.5" in capsys.readouterr().out


def test_weights_that_are_not_those_that_were_kept(main, output):
    main("--most", "1", experiment=TRAININGS)
    weights = read(output)[0]["model"]
    path = output.parent / weights.file
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ExperimentError, match="is not the file that was kept"):
        weights.load()
    path.unlink()
    with pytest.raises(ExperimentError, match=r"cannot be read \(No such file"):
        weights.load()


def test_weights_that_cannot_be_kept_lose_no_number(main, output, monkeypatch, capsys):
    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    message = sentence(main, experiment=TRAININGS)
    assert "cannot be written (No space left on device)" in message
    printed = json.loads(capsys.readouterr().out)
    assert printed["result"] == {
        "loss": 0.5,
        "model": "weights that could not be kept",
    }


# Choosing runs


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["number=2.5"], [1, 3]),
        (["number=1.0"], [0, 2]),
        (["kind=large"], [2, 3]),
        (["kind=small one", "number=1"], [0]),
    ],
)
def test_only_some_runs(main, only, expected):
    assert main("--only", *only) == [SQUARES.keys[place] for place in expected]


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (
            ["kinds=large"],
            "no run of squares has a 'kinds': the names are kind, number",
        ),
        (["large"], "--only takes NAME=VALUE"),
        (["kind=larger"], 'kind=larger: the values of kind are "small one", "large"'),
        (["kind=large", "number=3"], "has kind=large and number=3"),
    ],
)
def test_runs_that_there_are_not(main, output, only, words):
    assert words in sentence(main, "--only", *only)
    assert not output.exists()


def test_an_experiment_that_there_is_not():
    message = sentence(engine.main, ["label-efficiency"])
    assert "there is no experiment 'label-efficiency'; there are " in message
    assert message.endswith(f"{', '.join(engine.names())}")
    with pytest.raises(ExperimentError, match="there is no experiment 'squares'"):
        engine.results("squares")


# Refusing what does not belong


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": SQUARES.settings | {"base": 2}}, r"other settings \(base\)"),
        ({"settings": SQUARES.settings | {"new": 1}}, r"other settings \(new\)"),
        ({"settings": {}}, r"other settings \(base; by labels; steps\)"),
        ({"keys": SQUARES.keys[1:]}, r"\(kind='small one', number=1\), and results"),
        ({"name": "cubes"}, "holds results of squares, not of cubes"),
    ],
)
def test_other_results_are_refused(main, output, change, words):
    main("--most", "2")
    before = output.read_text(encoding="utf-8")
    other = replace(SQUARES, **change)
    with pytest.raises(ExperimentError, match=words):
        engine.make_runs(other, output, other.keys)
    assert output.read_text(encoding="utf-8") == before and len(calls) == 2


def test_an_experiment_may_grow(main, output):
    main()
    more = [*SQUARES.keys, {"kind": "huge", "number": 9}]
    assert main(experiment=replace(SQUARES, keys=more)) == more
    assert len(calls) == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"runs": 3}',
        '{"experiment": "squares", "settings": {}, "runs": [{"key": {}}]}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_is_left_alone(main, output, text):
    output.parent.mkdir()
    before = text if isinstance(text, bytes) else text.encode()
    output.write_bytes(before)
    assert "squares.json is damaged, or holds something else" in sentence(main)
    assert output.read_bytes() == before and not calls


def test_a_run_that_is_there_twice(main, output):
    main("--most", "1")
    kept = read(output)
    write_whole(output, engine.as_text(replace(kept, runs=kept.runs * 2)))
    assert "holds a run twice" in sentence(main)


def test_a_folder_in_place_of_the_file(main, output):
    output.mkdir(parents=True)
    assert "cannot be read: Is a directory" in sentence(main)


# Losing nothing


def test_an_interrupted_run_leaves_those_before_it(main, output, capsys):
    main("--most", "1")
    before = output.read_text(encoding="utf-8")

    def interrupted(key, kept):
        raise KeyboardInterrupt

    assert sentence(main, experiment=replace(SQUARES, run=interrupted)) == "130"
    assert "the same command goes on" in capsys.readouterr().out
    assert output.read_text(encoding="utf-8") == before


def test_a_file_is_written_whole_or_not_at_all(output, monkeypatch):
    write_whole(output, "old")
    write_whole(output, "äñ")
    assert output.read_text(encoding="utf-8") == "äñ"
    monkeypatch.setattr("os.replace", lambda *paths: 1 / 0)  # at the last moment
    with pytest.raises(ZeroDivisionError):
        write_whole(output, "half")
    assert output.read_text(encoding="utf-8") == "äñ"
    assert list(output.parent.iterdir()) == [output]


def test_a_full_disk_loses_nothing(main, output, monkeypatch, capsys):
    main("--most", "1")
    before = output.read_text(encoding="utf-8")
    capsys.readouterr()

    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    message = sentence(main)
    assert "squares.json cannot be written (No space left on device)" in message
    assert output.read_text(encoding="utf-8") == before
    # What has been computed can be read.
    printed = json.loads(capsys.readouterr().out)
    assert printed["key"] == SQUARES.keys[1] and printed["result"]["square"] == 6.25


def test_a_place_where_nothing_can_be_kept_is_noticed_before_the_first_run(
    main, tmp_path
):
    (tmp_path / "file").write_text("no folder")
    message = sentence(main, "--output", str(tmp_path / "file" / "squares.json"))
    assert "results cannot be kept in" in message and "--output" in message
    assert not calls


SCRIPT = """
import sys
from pathlib import Path
from finetuning.experiments import engine
keys = [{"number": number} for number in range(12)]
engine.machine = dict  # its libraries take seconds to import
experiment = engine.Experiment("squares", 2, {}, keys, lambda key, kept: {})
engine.make_runs(experiment, Path(sys.argv[1]), keys[int(sys.argv[2])::2])
"""


def test_two_processes_keep_their_runs_in_one_file(output):
    commands = [[sys.executable, "-c", SCRIPT, output, half] for half in ("0", "1")]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(600) for process in processes] == [0, 0]
    assert sorted(read(output).values("number")) == list(range(12))


def test_a_run_that_another_process_was_quicker_with_is_kept_once(main, output):
    def twice(key, kept):
        if not output.exists():
            engine.make_runs(SQUARES, output, [key])
        return {"square": None}

    assert main("--most", "1", experiment=replace(SQUARES, run=twice)) == [
        SQUARES.keys[0]
    ]
    assert read(output).values("square") == [1]


# Reading


KEPT = Results(
    "squares",
    {},
    tuple(
        Run({"method": method, "seed": seed}, {"loss": loss, "bits": "110"}, {})
        for method, seed, loss in [("a", 0, 0.88), ("b", 0, 5.0), ("a", 1, 0.90)]
    ),
)


def test_runs_are_selected_by_their_keys():
    assert len(KEPT) == 3 and KEPT[1]["method"] == "b" and KEPT[-1]["loss"] == 0.90
    assert KEPT.select(method="a").values("seed") == [0, 1]
    assert KEPT.select(method="a").select(seed=1).values("loss") == [0.90]
    assert not KEPT.select(labels=50) and not KEPT.select(method="c")
    assert KEPT.one(method="b")["loss"] == 5.0
    with pytest.raises(KeyError):
        KEPT[0]["accuracy"]


@pytest.mark.parametrize(("key", "count"), [({"seed": 0}, 2), ({"seed": 7}, 0)])
def test_one_run_is_one(key, count):
    with pytest.raises(
        ExperimentError, match=f"{count} kept runs of squares have seed="
    ):
        KEPT.one(**key)


def test_an_interval_over_the_runs():
    interval = KEPT.select(method="a").interval("loss")
    assert interval.mean == pytest.approx(0.89)
    assert interval.low < 0.88 and interval.high > 0.90
    with pytest.raises(ValueError, match="at least two"):
        KEPT.select(method="b").interval("loss")


def test_bits_say_which_items_were_right():
    right = np.array([True, False, True])
    assert to_bits(right) == "101" == to_bits([1, 0, 1])
    assert from_bits("101").tolist() == right.tolist() and from_bits("").size == 0
    with pytest.raises(ValueError, match="a string of 0 and 1 is wanted, not '1 0'"):
        from_bits("1 0")


def test_reading_results_imports_no_experiment():
    code = (
        "import sys; from finetuning.experiments import results; "
        "print(len(results('fast_gpt')), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "30 False\n"
