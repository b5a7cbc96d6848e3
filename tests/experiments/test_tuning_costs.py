"""Chapter 12's second experiment: bytes that can be counted by hand, and predictions
that the measured peaks bear out.
"""

import pytest
import torch
from torch import nn

from finetuning.experiments import results
from finetuning.experiments.tuning_costs import most_held, saved_bytes, size


class Layers(nn.Module):
    """Two linear layers with a GELU, to a loss and logits as the experiment's."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.first = nn.Linear(32, 64).requires_grad_(not frozen)
        self.second = nn.Linear(64, 8)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.second(nn.functional.gelu(self.first(ids)))
        return logits.sum(), logits


def test_what_a_small_network_saves_is_counted_exactly():
    rows = torch.randn(5, 32)
    # The input, what goes into the GELU and comes out of it, and the logits.
    assert saved_bytes(Layers(frozen=False), rows) == 4 * 5 * (32 + 64 + 64 + 8)
    # Below the frozen layer nothing asks for a gradient.
    assert saved_bytes(Layers(frozen=True), rows) == 4 * 5 * (64 + 8)


@pytest.mark.parametrize("count", [saved_bytes, most_held])
def test_counting_leaves_no_graph_behind(count):
    model = Layers(frozen=False)
    count(model, torch.randn(5, 32))
    assert all(weight.grad is None for weight in model.parameters())


class Chain(nn.Module):
    """A layer, then one of `width` outputs, then a head of 3."""

    def __init__(self, width: int, frozen: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, width))
        self.layers.requires_grad_(not frozen)
        self.head = nn.Linear(width, 3)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.head(self.layers(ids))
        return logits.sum(), logits


@pytest.mark.parametrize("width", [16, 48])
def test_what_is_there_for_a_moment_counts(width):
    rows = torch.randn(5, 32)
    # The first layer's outputs go when the second has read them.
    assert most_held(Chain(width, frozen=True), rows) == 4 * 5 * (64 + width)


def test_gradients_are_held_to_the_end():
    model = Chain(48, frozen=False)
    gradients = size(model.parameters())
    held = most_held(model, torch.randn(2, 32))
    # Beside them, when the last one is made, what comes down to the first layer.
    assert gradients < held <= gradients + 4 * 2 * (64 + 64 + 48) + 8


def test_size_is_in_bytes():
    assert size([torch.zeros(3, 4), torch.zeros(2, dtype=torch.bfloat16)]) == 52


def test_predicted_peaks_are_within_a_tenth_of_the_measured_ones():
    for run in results("tuning_costs"):
        assert run["predicted"] == pytest.approx(run["peak"], rel=0.1), run.key


def test_the_parts_of_a_prediction_belong_together():
    for run in results("tuning_costs"):
        assert run["optimizer"] == 8 * run["trained"]
        held = run["predicted"] - run["weights"] - run["optimizer"]
        # The gradients grow as what was saved is freed.
        assert held >= max(run["gradients"], run["activations"])
