"""The recipe on two processes of this machine, started as a reader would start them.

torchrun and `accelerate launch` really run. Without dropout two processes end with the
weights of one; with it they draw other numbers, and what they get right is compared.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from small import arguments, choose, messages, save_encoder
from test_resume import EVERY, Watched, forked, steps

from finetuning.recipes import classify, kept, language, processes
from finetuning.recipes.command import main
from finetuning.recipes.errors import RecipeError
from finetuning.recipes.settings import parse
from finetuning.statistics import paired_bootstrap

RECIPES = Path(__file__).parents[2] / "recipes"
CONFIGURATIONS = sorted((RECIPES / "accelerate").glob("*.yaml"))
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE = [
    *("-m", "accelerate.commands.launch"),
    *("--config_file", str(RECIPES / "accelerate" / "cpu.yaml")),
    *("--main_process_port", "0"),
]
# finetune.py, as if the tuned encoder had been chosen: its weights are compared.
PROGRAM = f"""\
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from small import choose
from finetuning.recipes import kept
from finetuning.recipes.command import main
if __name__ == "__main__":
    choose(kept.TUNED)
    sys.exit(main())
"""


def started(folder: Path, launcher: list[str], *given: str) -> str:
    """What a run by a launcher prints."""
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, *launcher, str(program), *given],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def right(folder: Path) -> np.ndarray:
    with (folder / kept.PREDICTIONS).open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    return np.array([row["label"] == row["predicted"] for row in rows], dtype=float)


def tuned_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the encoder and of the head."""
    encoder = load_file(folder / kept.ENCODER / "model.safetensors")
    return encoder | load_file(folder / kept.WEIGHTS)


def test_two_processes_end_with_the_weights_of_one(tmp_path):
    model = save_encoder(tmp_path / "model", dropout=0.0)
    # Five rows more than batches: the last is of another size.
    messages(105).to_csv(tmp_path / "train.csv", index=False)

    def alone() -> int:
        choose(kept.TUNED)
        return main(arguments(tmp_path, model, output="one"))

    assert forked(alone) == 0
    two = started(tmp_path, TORCHRUN, *arguments(tmp_path, model, output="two"))
    assert two.count("begins: 2 process(es) on cpu") == 1
    assert two.count("kept in") == 1
    first, second = (tuned_weights(tmp_path / name) for name in ("one", "two"))
    start = load_file(model / "model.safetensors")
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert (weight - second[name]).abs().max() < 1e-4, name
    moved = max((first[name] - start[name]).abs().max() for name in start)
    assert moved > 1e-3  # ten times what is allowed


def test_with_dropout_two_processes_are_as_good_as_one(tmp_path):
    """And they go on with what one process has begun."""
    model = save_encoder(tmp_path / "model")
    whole = arguments(tmp_path, model, output="one")
    begun = arguments(tmp_path, model, output="two")

    def killed() -> int:
        choose(kept.TUNED)
        Watched(tmp_path / "log", kill_at=60).watch()
        return main(begun)

    def undisturbed() -> int:
        choose(kept.TUNED)
        return main(whole)

    assert forked(killed) is None
    assert steps(tmp_path / "log")[-1] > EVERY
    assert forked(undisturbed) == 0
    two = started(tmp_path, ACCELERATE, *begun, "--resume")
    assert "goes on: 2 process(es) on cpu" in two
    gap = paired_bootstrap(right(tmp_path / "one"), right(tmp_path / "two"))
    assert gap.low <= 0 <= gap.high


def test_a_launcher_that_is_not_understood_is_said(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="2 processes were launched and accelerate"):
        processes.refuse_unseen(1)


def test_sharding_that_would_not_happen_is_said(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RecipeError, match="accelerate shards a model on GPUs alone"):
        processes.start()


def test_sharding_where_nobody_has_tried_it_is_said(tmp_path):
    sharded = SimpleNamespace(distributed_type=DistributedType.FSDP)
    given = arguments(tmp_path, tmp_path, "--method", "lora")
    with pytest.raises(RecipeError, match="FSDP is for --task sft and dpo"):
        classify.run(parse(given), None, None, sharded)
    with pytest.raises(RecipeError, match="FSDP is for --method full"):
        language.refuse_sharded_adapter(parse(given), sharded)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_accelerate_knows_each_configuration(path):
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(path))
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert found.distributed_type == written["distributed_type"]
    assert found.num_processes == written["num_processes"]
    readme = (RECIPES / "README.md").read_text(encoding="utf-8")
    assert f"recipes/accelerate/{path.name}" in readme


def test_batches_are_those_of_one_process():
    from finetuning.recipes.training import Plan, batch_rows

    plan = Plan(2, 1e-3, 8, 3, 0, Path())
    epochs = [
        [batch_rows(20, plan, 3 * epoch + step) for step in range(3)]
        for epoch in range(2)
    ]
    for epoch in epochs:
        assert sorted(row for rows in epoch for row in rows) == list(range(20))
    assert epochs[0] != epochs[1]
