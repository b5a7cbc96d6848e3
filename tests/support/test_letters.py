"""The speeches as letters: `finetuning.data.letters`."""

import pytest

from finetuning.data.letters import LETTERS, Letters, letters
from finetuning.data.streams import SPECIAL


@pytest.fixture(scope="module")
def speeches() -> Letters:
    return letters()


def test_every_letter_occurs_and_no_special_token(speeches: Letters) -> None:
    ids = set(range(len(SPECIAL), speeches.vocabulary_size))
    assert set(speeches.training.unique().tolist()) == ids
    assert set(speeches.held_out.unique().tolist()) <= ids
    assert len(speeches.alphabet) == LETTERS == len(ids)


def test_ids_are_spelled(speeches: Letters) -> None:
    assert "the state of the union" in speeches.spell(speeches.training)


def test_held_out_speeches_are_not_learnt_from(speeches: Letters) -> None:
    text = speeches.spell(speeches.training)
    held_out = speeches.spell(speeches.held_out)
    pieces = [held_out[start : start + 200] for start in range(0, 200_000, 20_000)]
    assert not any(piece in text for piece in pieces)
