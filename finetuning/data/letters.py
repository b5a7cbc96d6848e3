"""The speeches as letters: the corpus of chapter 10's smallest ELECTRA, where a token
is a letter.
"""

import functools
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from finetuning.data.streams import SPECIAL, corpus

LETTERS = 44  # the most frequent ones; what else there is, is left out
TRAINING_TOKENS = 600_000  # of the speeches' tokens, from the start


@dataclass(frozen=True)
class Letters:
    """Two streams of letters as ids, and the letters, whose ids follow on those of the
    special tokens.
    """

    alphabet: str
    training: Tensor  # (N,)
    held_out: Tensor  # (M,): of years that are not in the training part

    @property
    def vocabulary_size(self) -> int:
        return len(SPECIAL) + len(self.alphabet)

    def spell(self, ids: Tensor) -> str:
        """The letters of ids (T,) that are no special tokens."""
        return "".join(self.alphabet[token - len(SPECIAL)] for token in ids.tolist())


@functools.cache
def letters() -> Letters:
    """State of the Union messages in small letters, with the held-out years of
    `finetuning.data.streams`.
    """
    speeches = corpus()
    training, held_out = (
        speeches.tokenizer.decode(part.tolist()).lower()
        for part in (speeches.training[:TRAINING_TOKENS], speeches.held_out)
    )
    common = Counter(training).most_common(LETTERS)
    alphabet = "".join(sorted(letter for letter, _ in common))
    number = {letter: len(SPECIAL) + place for place, letter in enumerate(alphabet)}
    return Letters(
        alphabet,
        torch.tensor([number[letter] for letter in training if letter in number]),
        torch.tensor([number[letter] for letter in held_out if letter in number]),
    )
