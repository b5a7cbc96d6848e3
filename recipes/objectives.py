"""Chapter 10's experiment in full: four objectives, one encoder, equal FLOPs, ten times
those of the chapter.

    python recipes/objectives.py

Every objective is pre-trained with three seeds on the chapter's budget and on ten times
that, and fine-tuned on BBC News; so is the encoder with random weights, and words are
counted. One thread of a CPU core with fast bfloat16 needs about 45 minutes. It writes
`finetuning/experiments/results/objectives.json` after every run, so that an interrupted
one can be taken up again (`--most 3` stops after three runs); chapter 10 draws its
table from it.
"""

import argparse
import datetime
import json
from pathlib import Path

import numpy as np
import sklearn
import torch
import transformers

from finetuning.experiments import objectives
from finetuning.experiments.objectives import (
    CHAPTER_FLOPS,
    CONTROL,
    DRAWS,
    FEW,
    FINE_TUNING_RATES,
    MANY,
    OBJECTIVES,
    PEAKS,
    RECIPE_FLOPS,
)
from finetuning.runtime import Stopwatch, bfloat16_is_fast, machine, write_whole

SEEDS = 3
BUDGETS = (CHAPTER_FLOPS, RECIPE_FLOPS)
COUNTS = {
    "TF-IDF": False,
    "TF-IDF, opening": True,
}  # whole articles, and what the encoders read


def bits(right: np.ndarray) -> str:
    return "".join("01"[int(value)] for value in right)


def tasks() -> list[dict[str, object]]:
    """All runs in their order: learning rates first, then the controls, then the
    budgets seed by seed.
    """
    rates = [
        {"tried": objective, "peak": peak} for objective in OBJECTIVES for peak in PEAKS
    ]
    controls = [
        {"method": method, "budget": 0, "seed": seed}
        for seed in range(SEEDS)
        for method in (*COUNTS, CONTROL)
    ]
    runs = [
        {"method": objective, "budget": budget, "seed": seed}
        for seed in range(SEEDS)
        for budget in BUDGETS
        for objective in OBJECTIVES
    ]
    return rates + controls + runs


def on_news(encoder: torch.nn.Module, seed: int) -> dict[str, dict[str, object]]:
    """Fine-tuned with the rate that is best on the validation part for the seed's first
    draw; and frozen.
    """
    draws = range(DRAWS * seed, DRAWS * seed + DRAWS)
    results = {}
    for labels in (FEW, MANY):
        models = {
            rate: objectives.fine_tune(encoder, labels, draws[0], rate)
            for rate in FINE_TUNING_RATES
        }
        validation = {
            str(rate): round(float(objectives.right(model, "validation").mean()), 4)
            for rate, model in models.items()
        }
        best = max(models, key=lambda rate: validation[str(rate)])
        more = [objectives.fine_tune(encoder, labels, each, best) for each in draws[1:]]
        results[str(labels)] = {
            "rate": best,
            "validation": validation,
            "right": [bits(objectives.right(model)) for model in (models[best], *more)],
            "probe": [
                bits(objectives.right(objectives.probe(encoder, labels, each)))
                for each in draws
            ],
        }
    return results


def pretrained(
    objective: str, budget: float, seed: int, peak: float | None = None
) -> tuple[torch.nn.Module, dict]:
    """An encoder, and what there is to say of its pre-training."""
    found = objectives.pretrain(objective, budget, seed, peak)
    return found.encoder, {
        "flops": found.flops,
        "steps": found.steps,
        "tokens": found.tokens,
        "pre-training seconds": round(found.seconds, 1),
        "held out": {
            name: round(value, 4) for name, value in objectives.held_out(found).items()
        },
        "log": found.log,
    }


def best_peak(tried: list[dict], objective: str) -> float:
    """The learning rate with the lowest loss in guessing tokens of held-out speeches.

    For replaced-token detection it is the generator's. The discriminator's would not
    do: it is lowest where the fakes are so bad that all see them.
    """
    losses = {
        each["peak"]: each["held out"].get("generator loss", each["held out"]["loss"])
        for each in tried
        if each["tried"] == objective
    }
    return min(losses, key=losses.__getitem__)


def run(task: dict[str, object], tried: list[dict]) -> dict[str, object]:
    """Do one of `tasks`; what is to be kept of it. `tried` are the results of those on
    learning rates.
    """
    if "tried" in task:
        return pretrained(task["tried"], CHAPTER_FLOPS, 0, task["peak"])[1]
    method, budget, seed = task["method"], task["budget"], task["seed"]
    if method in COUNTS:
        draws = range(DRAWS * seed, DRAWS * seed + DRAWS)
        count = objectives.counting_words
        return {
            "labels": {
                str(labels): {
                    "right": [
                        bits(count(labels, each, COUNTS[method])) for each in draws
                    ]
                }
                for labels in (FEW, MANY)
            }
        }
    if method == CONTROL:
        return {"labels": on_news(objectives.random_encoder(seed), seed)}
    peak = best_peak(tried, method)
    encoder, said = pretrained(method, budget, seed, peak)
    return {"peak": peak} | said | {"labels": on_news(encoder, seed)}


def write(path: Path, kept: dict) -> None:
    """A line a run, at one stroke."""
    head = json.dumps(
        {name: value for name, value in kept.items() if name not in ("tried", "runs")},
        indent=1,
    )
    lists = [
        f' "{name}": [\n'
        + ",\n".join("  " + json.dumps(each, ensure_ascii=False) for each in kept[name])
        + "\n ]"
        for name in ("tried", "runs")
    ]
    write_whole(path, head[:-2] + ",\n" + ",\n".join(lists) + "\n}\n")


def main(arguments: list[str] | None = None) -> None:
    """Run what is not kept yet, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=objectives.KEPT)
    parser.add_argument(
        "--most", type=int, default=1000, help="stop after this many runs"
    )
    parser.add_argument("--seed", type=int, help="only the runs with this seed")
    given = parser.parse_args(arguments)
    if given.output.exists():
        try:
            kept = objectives.kept(given.output)
        except ValueError as error:
            parser.error(str(error))
    else:
        kept = {"settings": objectives.settings(), "tried": [], "runs": []}
    there = [{name: each[name] for name in ("tried", "peak")} for each in kept["tried"]]
    there += [
        {name: each[name] for name in ("method", "budget", "seed")}
        for each in kept["runs"]
    ]
    wanted = [
        task
        for task in tasks()
        if given.seed is None or task.get("seed", given.seed) == given.seed
    ]
    for task in [task for task in wanted if task not in there][: given.most]:
        with Stopwatch() as watch:
            result = run(task, kept["tried"])
        made = {
            "seconds": round(watch.seconds, 1),
            "command": "python recipes/objectives.py",
            "date": datetime.date.today().isoformat(),
            "versions": {
                module.__name__: module.__version__
                for module in (torch, transformers, sklearn, np)
            },
            "machine": {"device": "cpu", **machine(), "bfloat16": bfloat16_is_fast()},
        }
        kept["tried" if "tried" in task else "runs"].append(task | result | made)
        write(given.output, kept)
        shown = {
            name: value
            for name, value in result.items()
            if name not in ("log", "labels")
        }
        for labels, each in result.get("labels", {}).items():
            shown[labels] = {
                kind: [round(draw.count("1") / len(draw), 3) for draw in each[kind]]
                for kind in ("right", "probe")
                if kind in each
            } | {name: each[name] for name in ("rate", "validation") if name in each}
        print(task, shown, f"{watch.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
