"""What a reader says on the command line, and all that a run's result depends on."""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from finetuning.recipes.errors import RecipeError

TASKS = ("classification", "sft", "dpo")
METHODS = ("full", "lora", "qlora")

# What a task takes where the reader says nothing. The rates are those that chapters
# found with these models: chapter 11 for encoders, chapter 13 for adapters.
DEFAULTS: dict[str, dict[str, object]] = {
    "classification": {
        "model": "all-MiniLM-L6-v2",
        "text_column": "text",
        "label_column": "label",
        "method": "full",
        "epochs": 4,
        "learning_rate": 1e-4,
        "batch_size": 16,
        "max_length": 256,
    },
    "sft": {
        "model": "SmolLM2-135M-Instruct",
        "text_column": "prompt",
        "label_column": "answer",
        "method": "lora",
        "epochs": 3,
        "learning_rate": 1e-3,
        "batch_size": 8,
        "max_length": 512,
    },
    "dpo": {
        "model": "SmolLM2-135M-Instruct",
        "text_column": "prompt",
        "label_column": "",
        "method": "lora",
        "epochs": 1,
        "learning_rate": 1e-4,
        "batch_size": 8,
        "max_length": 512,
    },
}
# A whole model is tuned with smaller steps than an adapter that starts from nothing.
FULL_RATE = {"sft": 2e-5, "dpo": 1e-6}


@dataclass(frozen=True)
class Settings:
    """One run. `test` is a file, or None where `test_fraction` is held back."""

    task: str
    model: str
    train: Path
    test: Path | None
    test_fraction: float
    text_column: str
    label_column: str
    chosen_column: str
    rejected_column: str
    method: str
    epochs: int
    learning_rate: float
    batch_size: int
    max_length: int
    checkpoint_steps: int
    seed: int
    output: Path
    resume: bool

    def record(self) -> dict[str, object]:
        """What the result depends on, for JSON: not where it goes, nor the files'
        places (their contents are compared).
        """
        record = dataclasses.asdict(self)
        for name in ("output", "resume", "checkpoint_steps", "train", "test"):
            del record[name]
        return record


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RecipeError(f"{message} (--help lists the options)")


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings that a command line means.

    Raises RecipeError for what it cannot mean.
    """
    given = _parser().parse_args(arguments)
    if given.task not in TASKS:
        raise RecipeError(
            f"--task {given.task} is not done here; done are {', '.join(TASKS)} "
            "(several labels a text, parts of texts and numbers are not)"
        )
    values = DEFAULTS[given.task] | {
        name: value for name, value in vars(given).items() if value is not None
    }
    if values["method"] == "full" and given.learning_rate is None:
        rate = FULL_RATE.get(given.task, values["learning_rate"])
        values["learning_rate"] = rate
    values["test"] = given.test
    if given.test is not None and given.test_fraction is not None:
        raise RecipeError("give --test or --test-fraction, not both")
    values.setdefault("test_fraction", 0.2)
    settings = Settings(**values)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    """Raise RecipeError for a value that makes no run."""
    for name in ("epochs", "batch_size", "max_length", "checkpoint_steps"):
        if getattr(settings, name) < 1:
            raise RecipeError(f"{_option(name)} is a whole number from 1 on")
    if not 0 < settings.learning_rate < math.inf:
        raise RecipeError("--learning-rate is a number above 0")
    if not 0 < settings.test_fraction <= 0.5:
        raise RecipeError("--test-fraction is a share above 0, and 0.5 at most")
    if settings.seed < 0:
        raise RecipeError("--seed is a whole number from 0 on")
    if settings.method not in METHODS:
        raise RecipeError(f"--method is one of {', '.join(METHODS)}")
    if settings.task == "classification" and settings.method == "qlora":
        raise RecipeError(
            "--method qlora is for sft and dpo: an encoder is small enough for full "
            "and lora"
        )
    if not str(settings.output).strip() or settings.output == Path():
        raise RecipeError("--output is the name of a folder that is not there yet")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="finetune.py",
        description="Tune a model on a table of your own, and measure what it brings.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--task", required=True, metavar="TASK", help=", ".join(TASKS))
    add("--model", help="a packaged model, a folder, or owner/name of the hub")
    add("--train", required=True, type=Path, metavar="FILE", help="CSV, JSONL, Parquet")
    add("--test", type=Path, metavar="FILE", help="a table to report on")
    add("--test-fraction", type=float, metavar="F", help="held back instead; 0.2")
    add("--text-column", metavar="NAME", help="text; for sft and dpo prompt")
    add("--label-column", metavar="NAME", help="label; for sft answer")
    add("--chosen-column", metavar="NAME", default="chosen", help="for dpo; chosen")
    add("--rejected-column", metavar="NAME", default="rejected", help="for dpo")
    add("--method", metavar="METHOD", help=", ".join(METHODS))
    add("--epochs", type=int, metavar="N", help="at most")
    add("--learning-rate", type=float, metavar="RATE")
    add("--batch-size", type=int, metavar="N", help="of all processes together")
    add("--max-length", type=int, metavar="TOKENS", help="longer texts are cut")
    add("--checkpoint-steps", type=int, metavar="N", default=100, help="100")
    add("--seed", type=int, metavar="N", default=0, help="0")
    add("--output", required=True, type=Path, metavar="DIR", help="not there yet")
    add("--resume", action="store_true", help="go on with a run that was stopped")
    return parser
