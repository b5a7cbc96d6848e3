"""Chapter 07's experiment: its schedule, and a short run that repeats."""

import pytest
import torch

from finetuning.data.number_words import Vocabulary, split_numbers
from finetuning.experiments.number_translation import (
    STEPS,
    WARM_UP,
    learning_rate,
    make_model,
    train_and_test,
)


def test_the_schedule_is_the_chapters():
    rates = [
        learning_rate(step, STEPS, warm=True, descent=True)
        for step in range(1, STEPS + 1)
    ]
    assert max(rates) == rates[WARM_UP - 1] == pytest.approx(1 / 160)
    assert rates[-1] < 1e-5
    flat = [
        learning_rate(step, STEPS, warm=False, descent=False) for step in (1, WARM_UP)
    ]
    assert flat == [pytest.approx(1 / 160)] * 2


def test_a_short_run_repeats():
    splits = split_numbers(digits=3, training=50, least=10, held_out=5, longer=5)
    first, second = (train_and_test(splits, 0, steps=3) for _ in range(2))
    assert first == second and 0 < first["loss"] < 1
    assert train_and_test(splits, 0, steps=3, scaled=False)["loss"] != first["loss"]


def test_only_the_scale_of_the_embedding_differs():
    models = []
    draws = []
    for scaled in (True, False):
        torch.manual_seed(0)
        models.append(make_model(Vocabulary(), 0.0, False, scaled))
        draws.append(torch.rand(1))
    first, second = (model.state_dict() for model in models)
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert draws[0] == draws[1]  # dropout will be the same
    ids = torch.tensor([[5, 7]])
    scaled, unscaled = (model.embedding(ids) for model in models)
    rows = first["embedding.table.weight"][ids]  # (1, T, C)
    torch.testing.assert_close(scaled - unscaled, 7 * rows)  # √64 − 1
