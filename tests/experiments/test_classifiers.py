"""Chapter 11's comparison: its articles, its early stopping, its kept runs."""

from itertools import combinations

import numpy as np
import pytest
import torch

from finetuning.experiments import classifiers, from_bits, results
from finetuning.experiments.classifiers import chosen, judged, parts_of


def test_each_seed_has_articles_of_its_own_and_all_have_the_same_test():
    ids = [
        {*parts_of(seed)["train"]["id"], *parts_of(seed)["validation"]["id"]}
        for seed in range(classifiers.SEEDS)
    ]
    assert [len(each) for each in ids] == [300] * classifiers.SEEDS
    assert all(not first & second for first, second in combinations(ids, 2))
    tests = [parts_of(seed)["test"]["id"] for seed in range(classifiers.SEEDS)]
    assert all(list(test) == list(tests[0]) for test in tests)
    assert not set(tests[0]) & set.union(*ids)


def test_counting_words_gives_a_kept_run_again():
    kept = results("classifiers")
    run = kept.one(method="counted words", setting=1000, seed=1)
    again = classifiers.run(run.key, kept)
    assert again["right"] == run["right"]
    assert again["validation"]["loss"] == pytest.approx(run["validation"]["loss"])


def test_all_methods_have_tried_equally_many_settings():
    kept = results("classifiers")
    for seed in range(classifiers.SEEDS):
        for method, settings in classifiers.SETTINGS.items():
            runs = kept.select(method=method, seed=seed)
            assert sorted(runs.values("setting")) == sorted(settings)
            assert len(runs) == 4


def test_what_is_kept_of_a_run_belongs_together():
    for run in results("classifiers"):
        right = from_bits(run["right"])
        assert right.mean() == pytest.approx(run["test"]["accuracy"], abs=1e-4)
        assert len(run["sure"]) == len(right) == 500
        if run["epochs"]:
            losses = [epoch["loss"] for epoch in run["epochs"]]
            assert run["validation"] == run["epochs"][int(np.argmin(losses))]
            assert len(losses) <= classifiers.EPOCHS
            assert len(losses) - 1 - int(np.argmin(losses)) <= classifiers.PATIENCE


def test_the_chosen_run_has_the_lowest_validation_loss():
    kept = results("classifiers")
    best = chosen(kept, "all layers", 0)
    losses = [
        run["validation"]["loss"] for run in kept.select(method="all layers", seed=0)
    ]
    assert best["validation"]["loss"] == min(losses)
    assert len(losses) == 4


def test_accuracy_and_loss_of_log_probabilities():
    log_p = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log()
    assert judged(log_p, [0, 0]) == {"accuracy": 0.5, "loss": 1.0397}


def test_two_layers_and_the_head_are_trained():
    model = classifiers.fresh("last two layers", 0)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    layers = {name.split(".")[3] for name in trained if "encoder.layer" in name}
    assert layers == {"4", "5"}
    assert {name for name in trained if "encoder.layer" not in name} == {
        "classifier.weight",
        "classifier.bias",
    }
