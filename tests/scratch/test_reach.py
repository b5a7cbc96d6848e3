"""Chapter 04's `reach` finds every layer that sees too much or too little."""

import pytest
import torch
from torch import nn

from finetuning.scratch.attention import MultiHeadAttention, causal_mask, padding_mask
from finetuning.scratch.reach import reach

B, T, C, H = 2, 5, 12, 3
X = torch.randn(B, T, C, generator=torch.Generator().manual_seed(3))
EVERYONE = torch.ones(T, T, dtype=torch.bool)
NOBODY_ELSE = torch.eye(T, dtype=torch.bool)


class PreNorm(nn.Module):
    """x + attention(norm(x)), under a mask or under none."""

    def __init__(self, mask: torch.Tensor | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(C)
        self.attention = MultiHeadAttention(C, H)
        self.mask = mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.attention(self.norm(x), mask=self.mask)


def torch_pre_norm() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(C, H, 16, norm_first=True, batch_first=True)
    return layer.eval()


@pytest.mark.parametrize("layer", [PreNorm(None), torch_pre_norm()])
def test_a_pre_norm_layer_without_a_mask_is_found(layer: nn.Module) -> None:
    assert torch.equal(reach(layer, X), EVERYONE)


def test_what_one_is_added_to_would_not_get_past_the_norm() -> None:
    """Why the push is random: a constant leaves the other tokens where they were."""
    layer = PreNorm(None)
    for s in range(T):
        changed = X.clone()
        changed[:, s] += 1.0
        moved = (layer(changed) - layer(X)).abs().amax(dim=(0, 2)) > 1e-5
        assert torch.equal(moved, NOBODY_ELSE[s])


def test_a_causal_layer_sees_the_past_and_all_of_it() -> None:
    assert torch.equal(reach(PreNorm(causal_mask(T)), X), causal_mask(T))


def test_a_mask_upside_down_and_one_that_hides_too_much_are_found() -> None:
    upside_down = ~causal_mask(T) | NOBODY_ELSE
    assert torch.equal(reach(PreNorm(upside_down), X), upside_down)
    assert torch.equal(reach(PreNorm(NOBODY_ELSE), X), NOBODY_ELSE)


def test_one_sentence_of_the_batch_is_enough_to_be_seen() -> None:
    """Column 4 is hidden from the second sentence only."""
    layer = PreNorm(padding_mask(torch.tensor([T, T - 1]), T))
    assert torch.equal(reach(layer, X), EVERYONE)
    alone = PreNorm(padding_mask(torch.tensor([T - 1]), T))
    assert reach(alone, X[:1])[:, -1].tolist() == [False] * (T - 1) + [True]


@pytest.mark.parametrize("shape", [(T, C), (1, T, C), (B, 2, T, C)])
def test_any_number_of_axes_before_the_tokens(shape: tuple[int, ...]) -> None:
    """The running sum of the tokens is causal, their sum is not."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    before = x.clone()
    assert torch.equal(reach(lambda x: x.cumsum(dim=-2), x), causal_mask(T))
    sums = reach(lambda x: x.sum(dim=-2, keepdim=True).expand_as(x), x)
    assert torch.equal(sums, EVERYONE)
    assert torch.equal(x, before)


def test_it_draws_from_a_generator_of_its_own() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    reach(lambda x: x, X)
    assert torch.equal(torch.rand(3), expected)
