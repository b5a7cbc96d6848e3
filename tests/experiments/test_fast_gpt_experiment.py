"""Chapter 09's experiment: its lines are changes of one recipe, and a run learns."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

from finetuning.data import load_state_of_the_union
from finetuning.experiments import fast_gpt, results
from finetuning.scratch.fast_gpt import Recipe


def test_the_line_that_was_kept_is_the_recipe_of_the_chapter():
    lines = fast_gpt.recipes()
    assert lines[next(iter(fast_gpt.TRIED))] == Recipe()
    rungs = [lines[name] for name in fast_gpt.LADDER]
    assert all(rungs[i] != rungs[i + 1] for i in range(len(rungs) - 1))
    assert all(lines[name] != rungs[-1] for name in fast_gpt.TRIED)


def test_kept_runs_learned_something():
    assert all(
        0.8 < run["loss"] < 4.0 and run["steps"] > 20 for run in results("fast_gpt")
    )


def test_a_run_learns_something(monkeypatch):
    ticks = itertools.count()
    clock = SimpleNamespace(process_time=lambda: next(ticks))  # a second a step
    monkeypatch.setattr(fast_gpt, "time", clock)
    small = replace(
        Recipe(), width=32, hidden=64, heads=2, layers=1, context=32, batch=8
    )
    speech = load_state_of_the_union()["text"][0]
    result = fast_gpt.train_and_measure(small, speech, speech[:2000], seconds=100)
    assert result["loss"] < 3.2 and result["steps"] == 99
    assert result["parameters"] < 40_000
