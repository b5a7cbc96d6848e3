"""Chapter 23's exports: TODO: what they are, in a few words."""

import torch

from finetuning.scratch.trends_and_challenges import running_mean


def test_each_mean_is_of_what_came_before():
    """TODO: equal to the library's, on shapes that the chapter does not show."""
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))  # (B, T)
    expected = torch.stack([x[:, : t + 1].mean(-1) for t in range(5)], dim=-1)
    assert torch.allclose(running_mean(x), expected, atol=1e-6)
