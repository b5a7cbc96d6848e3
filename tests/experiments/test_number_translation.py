"""Chapter 07's kept experiment: complete, consistent with its recipe, and a run of it
that learns.
"""

import json
from importlib.resources import files

import pytest
import torch
from recipe_support import load_recipe

from finetuning.data.number_words import split_numbers

KEPT = json.loads(
    (files("finetuning.experiments") / "results" / "number_translation.json").read_text(
        encoding="utf-8"
    )
)


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("number_translation")


def test_it_says_how_it_was_made():
    assert set(KEPT) == {"runs", "command", "date", "versions", "machine"}
    assert KEPT["command"] == "python recipes/number_translation.py"


def test_each_run_of_the_recipe_is_there_once(recipe):
    keys = [(run["variant"], run["seed"]) for run in KEPT["runs"]]
    assert len(keys) == len(set(keys))
    assert set(keys) == {
        (name, seed)
        for name, (_, seeds) in recipe.VARIANTS.items()
        for seed in range(seeds)
    }


def test_shares_are_those_of_the_wrong_numbers():
    splits = split_numbers()
    for run in KEPT["runs"]:
        for to in ("Chinese", "English"):
            result = run[to]
            wrong = round((1 - result["right"]) * len(splits.test))
            assert len(result["wrong"]) == min(wrong, 20)
            assert set(result["wrong"]) <= set(splits.test)
            assert 0 <= result["longer"] <= 1


def test_the_schedule_is_the_chapters(recipe):
    rates = [
        recipe.learning_rate(step, recipe.STEPS, warm=True, descent=True)
        for step in range(1, recipe.STEPS + 1)
    ]
    assert max(rates) == rates[recipe.WARMUP - 1] == pytest.approx(1 / 160)
    assert rates[-1] < 1e-5
    flat = [
        recipe.learning_rate(step, recipe.STEPS, warm=False, descent=False)
        for step in (1, recipe.WARMUP)
    ]
    assert flat == [pytest.approx(1 / 160)] * 2


def test_a_short_run_repeats(recipe, monkeypatch):
    splits = split_numbers(digits=3, training=50, least=10, held_out=5, longer=5)
    monkeypatch.setattr(recipe, "split_numbers", lambda: splits)
    first, second = (recipe.run(0, steps=3) for _ in range(2))
    assert first["loss"] == second["loss"]
    assert first["Chinese"] == second["Chinese"]
    assert recipe.run(0, steps=3, scaled=False)["loss"] != first["loss"]
    assert torch.isfinite(torch.tensor(first["loss"]))
