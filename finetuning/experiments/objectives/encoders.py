"""The one encoder of all objectives: its sizes, its first weights, and a causal mask
for it.
"""

import torch.nn as nn
from torch import Tensor

from finetuning.runtime import set_seed
from finetuning.scratch.attention import causal_mask
from finetuning.scratch.bert import Bert, BertConfiguration
from finetuning.scratch.layers import sinusoidal_positions

VOCABULARY = 4096
LENGTH = 32
# How strong positions are beside words at first (chapter 08).
POSITION_SCALE = 0.03


def configuration() -> BertConfiguration:
    """The encoder of every objective: 0.9 million parameters, more than half of them
    the table of words.
    """
    return BertConfiguration(VOCABULARY, 128, 2, 4, 512, max_length=LENGTH, dropout=0.0)


def generator_configuration() -> BertConfiguration:
    """ELECTRA's generator: a quarter of the width, as in ELECTRA-Small (Clark et al.,
    2020, table 6).
    """
    return BertConfiguration(VOCABULARY, 32, 2, 1, 128, max_length=LENGTH, dropout=0.0)


class CausalBert(Bert):
    """A Bert whose tokens see only what is before them: the same weights, the mask of a
    GPT.
    """

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """`mask` (B, T): 1 or True at real tokens. Returns (B, T, C)."""
        x = self.embeddings(ids, segments)  # (B, T, C)
        allowed = causal_mask(ids.size(1), ids.device)[None]  # (1, T, T)
        if mask is not None:
            allowed = allowed & mask.bool()[:, None]  # (B, T, T)
        for layer in self.encoder.layers:
            x = layer(x, allowed)
        return x


def random_encoder(seed: int = 0, causal: bool = False) -> Bert:
    """The encoder before any training: the control, and the start of every objective
    with this seed.
    """
    set_seed(seed)
    kind = CausalBert if causal else Bert
    encoder = kind(configuration())
    suit_width(encoder)
    return encoder.eval()


def suit_width(model: nn.Module) -> None:
    """First weights that suit a width of 128, in place (chapter 08).

    Matrices have variance 1 / (numbers that go in); positions are weak sines and
    cosines.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if isinstance(module, Bert):
            table = module.embeddings.positions.table.weight
            table.data.copy_(POSITION_SCALE * sinusoidal_positions(*table.shape))
