"""A run that is killed at any moment, and goes on, ends where it would have ended.

The process is really killed (SIGKILL), each time in another place: at a step, or inside
a writing, which then has half a file. Processes are forked, so that torch is imported
once. Continuous integration kills at twenty moments, `make test` elsewhere at three.
"""

import contextlib
import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from small import arguments, save_encoder

from finetuning.recipes import files, training
from finetuning.recipes.command import main
from finetuning.recipes.training import Job, Plan, train

EVERY = 3  # steps of a checkpoint, as `small.arguments` has it
MOMENTS = 20 if os.environ.get("CI") else 3


def forked(work: Callable[[], int]) -> int | None:
    """The exit code of a process that does some work; None if it was killed."""
    child = os.fork()
    if child == 0:
        code = 70
        with contextlib.suppress(BaseException):
            code = work()
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    return os.WEXITSTATUS(status)


class Watched:
    """A run whose events are counted and written down, and that is killed at one."""

    def __init__(self, log: Path, kill_at: int | None = None) -> None:
        self.log = log
        self.kill_at = kill_at
        self.count = 0

    def event(self, name: str, half: Callable[[], object] = lambda: None) -> None:
        """Note it; at the event of the kill do half of it, and no more."""
        with self.log.open("a") as log:
            log.write(f"{name}\n")
        if self.count == self.kill_at:
            half()
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def watch(self) -> None:
        """Put this in the way of each step and each change to the disk."""
        step, rename, remove = training._step, files.rename, files.remove
        tensors, text, sync = files.write_tensors, files.write_text, files.sync

        def watched_step(job, plan, model, optimizer, accelerator, number):
            self.event(f"step {number}")
            return step(job, plan, model, optimizer, accelerator, number)

        def watched_tensors(path, content):
            def half() -> None:
                tensors(path, content)
                os.truncate(path, path.stat().st_size // 2)

            self.event(f"tensors {path}", half)
            tensors(path, content)

        def watched_text(path, content):
            half = content[: len(content) // 2]
            self.event(f"text {path}", lambda: text(path, half))
            text(path, content)

        def watched_rename(path, to):
            self.event(f"rename {to}")
            rename(path, to)

        def watched_remove(folder):
            if folder.exists():
                # One file of it is gone already.
                first = next((p for p in folder.rglob("*") if p.is_file()), None)
                waste = folder.name.endswith(files.PART)
                self.event(
                    f"remove {folder}", first.unlink if first and waste else lambda: 0
                )
            remove(folder)

        def watched_sync(path):
            self.event(f"sync {path}")
            sync(path)

        training._step = watched_step
        files.rename, files.remove, files.sync = (
            watched_rename,
            watched_remove,
            watched_sync,
        )
        files.write_tensors, files.write_text = watched_tensors, watched_text


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def steps(log: Path) -> list[int]:
    return [int(line.split()[1]) for line in lines(log) if line.startswith("step ")]


def outcome(output: Path) -> tuple[dict, list, dict]:
    """All of an output but the seconds."""
    metrics = json.loads((output / "metrics.json").read_text())
    del metrics["seconds"]
    with (output / "predictions.csv").open(newline="") as table:
        predictions = list(csv.reader(table))
    others = {
        path.name: path.read_bytes()
        for path in output.iterdir()
        if path.is_file() and path.suffix in (".safetensors", ".json")
    }
    del others["metrics.json"]
    return metrics, predictions, others


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run without a kill: its folder, its encoder, and its events."""
    folder = tmp_path_factory.mktemp("undisturbed")
    model = save_encoder(folder / "model")
    log = folder / "log"

    def work() -> int:
        Watched(log).watch()
        return main(arguments(folder, model))

    assert forked(work) == 0
    return folder, model, lines(log)


def moments(events: list[str]) -> list[int]:
    """Where to kill: some in the writing of checkpoints, the others all over."""
    inside = [
        place
        for place, event in enumerate(events)
        if "checkpoints" in event and not event.startswith("step")
    ]
    if MOMENTS == 3:
        tensors = [place for place in inside if events[place].startswith("tensors")]
        at_step = [
            place for place, event in enumerate(events) if event == f"step {EVERY + 1}"
        ]
        return [tensors[len(tensors) // 2], at_step[0], len(events) - 3]
    five = inside[:: len(inside) // 5][:5]
    rest = [
        round(number * (len(events) - 1) / (MOMENTS - 6))
        for number in range(MOMENTS - 5)
    ]
    return five + rest


@pytest.mark.parametrize("number", range(MOMENTS))
def test_killed_and_gone_on_with(tmp_path, undisturbed, number):
    folder, model, events = undisturbed
    moment = moments(events)[number]
    (tmp_path / "train.csv").write_bytes((folder / "train.csv").read_bytes())
    killed, after = tmp_path / "killed", tmp_path / "after"

    def first() -> int:
        Watched(killed, moment).watch()
        return main(arguments(tmp_path, model))

    def second() -> int:
        Watched(after).watch()
        return main(arguments(tmp_path, model, "--resume"))

    assert forked(first) is None, f"not killed at {events[moment]}"
    assert forked(second) == 0, f"killed at {events[moment]}"
    assert outcome(tmp_path / "out") == outcome(folder / "out")
    assert not (tmp_path / "out.unfinished").exists()
    # What was done after the last checkpoint is done again, and no more.
    repeated = set(steps(killed)) & set(steps(after))
    assert len(repeated) <= EVERY
    assert sorted(set(steps(killed)) | set(steps(after))) == sorted(
        set(steps(folder / "log"))
    )


def test_resume_of_what_is_finished_changes_nothing(undisturbed, capsys):
    folder, model, _ = undisturbed
    before = outcome(folder / "out")
    assert main(arguments(folder, model, "--resume")) == 0
    assert "is finished already" in capsys.readouterr().out
    assert outcome(folder / "out") == before


def test_stopped_from_the_keyboard(tmp_path, undisturbed, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    _, model, _ = undisturbed
    monkeypatch.setattr(training, "_step", interrupted)
    assert main(arguments(tmp_path, model)) == 130
    assert "the same command with --resume goes on" in capsys.readouterr().err
    assert (tmp_path / "out.unfinished" / "stages").is_dir()


class Stopped(Exception):
    pass


def lines_to_fit(folder: Path, stop_at: int | None) -> dict[str, torch.Tensor]:
    """A small network's weights after training, perhaps stopped at a step."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
    )
    inputs = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    targets = inputs.sum(dim=1, keepdim=True)
    count = 0

    def summed_loss(model, rows):
        nonlocal count
        if count == stop_at:
            raise Stopped
        count += 1
        return ((model(inputs[rows]) - targets[rows]) ** 2).sum()

    def validation_loss(model):
        with torch.no_grad():
            return ((model(inputs) - targets) ** 2).mean().item()

    groups = [{"params": list(model.parameters()), "weight_decay": 0.01}]
    job = Job(model, [1.0] * 20, summed_loss, validation_loss, groups)
    plan = Plan(3, 1e-2, 8, 2, 0, folder)
    trained, _ = train(job, plan, Accelerator(cpu=True))
    return {name: weight.clone() for name, weight in trained.state_dict().items()}


@pytest.mark.parametrize("stop_at", range(9))
def test_stopped_at_any_step_the_weights_are_the_same_bits(tmp_path, stop_at):
    whole = lines_to_fit(tmp_path / "whole", None)
    with pytest.raises(Stopped):
        lines_to_fit(tmp_path / "stopped", stop_at)
    again = lines_to_fit(tmp_path / "stopped", None)
    for name, weight in whole.items():
        assert torch.equal(weight, again[name]), name
