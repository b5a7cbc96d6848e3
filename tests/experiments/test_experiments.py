"""Every experiment: what is kept is complete, was made by the module as it stands, and
says how; and what can be computed again in a second comes out again.
"""

import json

import numpy as np
import pytest

from finetuning.data.number_words import split_numbers
from finetuning.experiments import KeptWeights, engine, from_bits, results
from finetuning.experiments.engine import load, names
from finetuning.scratch.fast_gpt import FastGPT, Recipe


def test_there_are_results_of_each_experiment_and_of_no_other():
    files = (engine.HERE / "results").glob("*.json")
    assert sorted(file.stem for file in files) == sorted(names())


@pytest.mark.parametrize("name", names())
def test_what_is_kept_is_what_the_module_makes(name):
    experiment = load(name)
    kept = results(name)
    assert experiment.name == kept.experiment == name
    assert kept.settings == json.loads(json.dumps(experiment.settings))
    keys = sorted(json.dumps(run.key) for run in kept)
    assert keys == sorted(json.dumps(key) for key in experiment.keys)
    assert len(set(keys)) == len(keys)
    for run in kept:
        assert run.result and not run.key.keys() & run.result.keys()


@pytest.mark.parametrize("name", names())
def test_every_run_says_how_it_was_made(name):
    for run in results(name):
        made = run.provenance
        assert set(made) == {"command", "date", "versions", "machine", "seconds"}
        # Runs of before the engine was written have their script's name.
        assert made["command"] in (
            f"python -m finetuning.experiments {name}",
            f"python recipes/{name}.py",
        )
        assert "torch" in made["versions"] and made["machine"]["threads"] == 1
        assert made["seconds"] >= 0


@pytest.mark.parametrize("name", names())
def test_a_file_is_what_the_engine_writes(name):
    path = engine.results_file(name)
    assert path.read_text(encoding="utf-8") == engine.as_text(results(name))


def test_weights_are_those_of_the_kept_runs():
    """Each file belongs to a run, is what the run left, and is small."""
    folder = engine.HERE / "results"
    kept = [
        value
        for name in names()
        for run in results(name)
        for value in run.result.values()
        if isinstance(value, KeptWeights)
    ]
    files = folder.glob("*/*.safetensors")
    assert {weights.file for weights in kept} == {
        file.relative_to(folder).as_posix() for file in files
    }
    for weights in kept:
        assert weights.load()
        assert (folder / weights.file).stat().st_size <= 3_000_000


@pytest.mark.parametrize(
    ("name", "key", "bits"),
    [
        (
            "label_efficiency",
            {"method": "tf-idf", "labels": 20, "seed": 0},
            lambda run: run["right"],
        ),
        (
            "objectives",
            {"method": "TF-IDF, opening", "budget": 0, "seed": 0},
            lambda run: run["labels"]["50"]["right"][0],
        ),
    ],
)
def test_counting_words_gives_the_kept_result_again(name, key, bits):
    kept = results(name)
    again = engine.Run(key, json.loads(json.dumps(load(name).run(key, kept))), {})
    # A few articles may lie so near the boundary that another linear algebra library
    # decides otherwise.
    same = from_bits(bits(again)) == from_bits(bits(kept.one(**key)))
    assert np.mean(same) > 0.99


def test_the_models_of_the_fast_gpt_have_the_kept_sizes():
    """Its runs train for half a minute, and by the clock: they repeat in no second."""
    sizes = {}
    for run in results("fast_gpt"):
        model = FastGPT(96, Recipe(**run["recipe"]))
        count = sum(parameter.numel() for parameter in model.parameters())
        sizes[run["name"]] = run["parameters"] - count
    assert len(sizes) == 24
    # The kept models differ from these by as many characters of the alphabet.
    assert len(set(sizes.values())) == 1


def test_shares_of_translated_numbers_are_those_of_the_wrong_ones():
    splits = split_numbers()
    for run in results("number_translation"):
        for to in ("Chinese", "English"):
            result = run[to]
            wrong = round((1 - result["right"]) * len(splits.test))
            assert len(result["wrong"]) == min(wrong, 20)
            assert set(result["wrong"]) <= set(splits.test)
            assert 0 <= result["longer"] <= 1
