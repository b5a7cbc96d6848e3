"""Chapter 02's exports: how far weights moved, against sums over single weights."""

import math

import pytest
import torch

from finetuning.scratch.weight_distances import (
    KINDS,
    LAYER,
    cosine,
    distance,
    entries,
    step_size,
)

NAMES = (
    "embeddings.word_embeddings.weight",
    "encoder.layer.0.attention.self.query.weight",
    "encoder.layer.0.attention.output.dense.weight",
    "encoder.layer.0.intermediate.dense.weight",
    "encoder.layer.0.output.dense.weight",
    "encoder.layer.1.output.dense.weight",
)


def model(seed):
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(3, 4, generator=generator) for name in NAMES}
    # Vectors (biases, gains of norms) do not count.
    weights["encoder.layer.0.attention.self.query.bias"] = torch.full((3,), 100.0)
    return weights


def test_entries_are_those_of_the_matrices_whose_names_match():
    weights = model(0)
    attention = entries(weights, KINDS["attention"].format(0))
    assert attention.tolist() == [
        entry for name in NAMES[1:3] for entry in weights[name].flatten().tolist()
    ]
    assert len(entries(weights, KINDS["feed-forward"].format(0))) == 24
    assert len(entries(weights, LAYER.format(0))) == 48
    assert len(entries(weights, LAYER.format(1))) == 12
    assert len(entries(weights, "layer")) == 60


def test_no_layer_is_taken_for_another_whose_number_begins_alike():
    weights = {f"encoder.layer.{layer}.output.w": torch.ones(2, 2) for layer in (1, 11)}
    for pattern in (LAYER, KINDS["feed-forward"]):
        assert len(entries(weights, pattern.format(1))) == 4


def test_a_distance_is_in_percent_of_the_norm_of_the_start():
    start = {"layer.0.attention.w": torch.tensor([[3.0, 4.0]])}
    end = {"layer.0.attention.w": torch.tensor([[3.0, 4.5]])}
    assert distance(end, start, start, "layer") == pytest.approx(10)
    assert distance(start, end, start, "layer") == pytest.approx(10)
    assert distance(end, end, start, "layer") == 0


def test_a_step_is_the_root_of_the_mean_square_in_thousandths():
    start = model(0)
    end = {name: weight + 0.002 for name, weight in start.items()}
    assert step_size(end, start, LAYER.format(0)) == pytest.approx(2, rel=1e-3)


def test_the_cosine_is_that_of_the_steps_and_not_of_the_weights():
    start, other = model(0), model(1)
    forth = {name: start[name] + 0.1 * other[name] for name in start}
    back = {name: start[name] - 0.3 * other[name] for name in start}
    assert cosine(forth, forth, start, "layer") == pytest.approx(1, abs=1e-5)
    assert cosine(forth, back, start, "layer") == pytest.approx(-1, abs=1e-5)


def test_steps_without_anything_in_common_end_a_factor_of_root_two_apart():
    start = {"layer.0.w": torch.tensor([[5.0, 5.0]])}
    first = {"layer.0.w": torch.tensor([[6.0, 5.0]])}
    second = {"layer.0.w": torch.tensor([[5.0, 6.0]])}
    assert cosine(first, second, start, "layer") == 0
    apart = distance(first, second, start, "layer")
    assert apart == pytest.approx(math.sqrt(2) * distance(first, start, start, "layer"))
