"""Chapter 09's kept table: complete, made by the recipe as it stands, and taken up
where it stopped.
"""

import json
from dataclasses import asdict, replace
from importlib.resources import files

import pytest
from recipe_support import load_recipe


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("fast_gpt")


@pytest.fixture(scope="module")
def kept():
    return json.loads(
        (files("finetuning.experiments") / "results" / "fast_gpt.json").read_text(
            encoding="utf-8"
        )
    )


def test_it_says_how_it_was_made(recipe, kept):
    assert set(kept) == {"runs", "command", "date", "seconds", "versions", "machine"}
    assert kept["command"] == "python recipes/fast_gpt.py"
    assert kept["seconds"] == recipe.SECONDS and kept["machine"]["threads"] == 1


def test_every_line_is_there_for_every_seed_with_its_recipe(recipe, kept):
    found = {(run["name"], run["seed"]): run["recipe"] for run in kept["runs"]}
    assert len(found) == len(kept["runs"])
    assert found == {
        (name, seed): asdict(recipe.recipes()[name]) for name, seed in recipe.planned()
    }
    assert all(0.8 < run["loss"] < 4.0 and run["steps"] > 20 for run in kept["runs"])


def test_the_line_that_was_kept_is_the_recipe_of_the_chapter(recipe):
    lines = recipe.recipes()
    assert lines[next(iter(recipe.TRIED))] == recipe.Recipe()
    rungs = [lines[name] for name in recipe.LADDER]
    assert all(rungs[i] != rungs[i + 1] for i in range(len(rungs) - 1))
    assert all(lines[name] != rungs[-1] for name in recipe.TRIED)


def test_a_stopped_recipe_goes_on(recipe, monkeypatch, tmp_path):
    output = tmp_path / "kept.json"
    names = [
        next(iter(recipe.LADDER)),
        list(recipe.LADDER)[-1],
        next(iter(recipe.TRIED)),
    ]
    monkeypatch.setattr(
        recipe, "recipes", lambda: {name: recipe.Recipe(batch=4) for name in names}
    )
    calls = []

    def run(recipe, seed):
        calls.append(seed)
        return {
            "loss": 1.5,
            "training_loss": 1.4,
            "steps": 100,
            "speed": 2e4,
            "parameters": 10,
        }

    monkeypatch.setattr(recipe, "run", run)
    monkeypatch.setattr(recipe, "SEEDS", 2)

    def main(*arguments):
        monkeypatch.setattr(
            "sys.argv", ["fast_gpt.py", "--output", str(output), *arguments]
        )
        recipe.main()
        return [
            (each["name"], each["seed"])
            for each in json.loads(output.read_text())["runs"]
        ]

    assert main("--most", "1") == [(names[0], 0)]
    assert main("--most", "3") == [(name, 0) for name in names] + [(names[0], 1)]
    assert len(main()) == 6 and len(calls) == 6  # nothing is done twice
    assert list(tmp_path.iterdir()) == [output]
    monkeypatch.setattr(
        recipe, "recipes", lambda: {name: recipe.Recipe(batch=8) for name in names}
    )
    before = output.read_text()
    with pytest.raises(SystemExit, match="with another recipe than this file's"):
        main()
    assert output.read_text() == before


def test_a_run_learns_something(recipe):
    small = replace(
        recipe.Recipe(), width=32, hidden=64, heads=2, layers=1, context=32, batch=8
    )
    result = recipe.run(small, seed=0, seconds=2.0, most=20_000)
    assert (
        result["loss"] < 3.2 and result["steps"] > 5 and result["parameters"] < 40_000
    )
