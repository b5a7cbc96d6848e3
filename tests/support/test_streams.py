"""The small pre-training runs' corpus: nothing lost or shared, always the same."""

import itertools

import pytest
import torch

from finetuning.data import load_state_of_the_union
from finetuning.data import streams as pretraining
from finetuning.data.streams import (
    CLS,
    MASK,
    PADDING,
    SEPARATOR,
    batches,
    blocks,
    characters,
    corpus,
    train_tokenizer,
)

TEXTS = ["The state of the union is strong.", "The union is at peace."] * 3


@pytest.fixture(scope="module")
def small() -> pretraining.Corpus:
    return corpus(vocabulary_size=512)


def test_special_tokens_and_the_gap() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    assert [
        tokenizer.token_to_id(token) for token in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
    ] == [0, 1, 2, 3]
    assert (PADDING, CLS, SEPARATOR, MASK) == (0, 1, 2, 3)
    whole = tokenizer.encode("The union is strong.").ids
    gap = tokenizer.encode("The union is [MASK].").ids
    assert gap[: gap.index(MASK)] == tokenizer.encode("The union is").ids and gap[
        -2:
    ] == [MASK, whole[-1]]
    assert tokenizer.decode(whole) == "The union is strong."


def test_nothing_is_lost_or_shared(small: pretraining.Corpus) -> None:
    speeches = load_state_of_the_union()
    expected: dict[bool, list[str]] = {True: [], False: []}
    for year, text in zip(speeches["year"], speeches["text"], strict=True):
        expected[year in small.held_out_years].append(" ".join(text.split()))
    for held_out, stream in ((True, small.held_out), (False, small.training)):
        texts, here = [], []
        for token in stream.tolist():
            here.append(token)
            if token == SEPARATOR:
                texts.append(small.tokenizer.decode(here[:-1]))
                here = []
        assert here == [] and texts == expected[held_out]
    assert small.held_out_characters == sum(map(len, expected[True]))
    assert len(small.held_out_years) == 20 and small.vocabulary_size == 512
    assert max(small.training.max(), small.held_out.max()) < 512
    assert not torch.isin(small.training, torch.tensor([PADDING, CLS, MASK])).any()


def test_same_again(small: pretraining.Corpus) -> None:
    assert corpus(vocabulary_size=512) is small
    corpus.cache_clear()
    again = corpus(vocabulary_size=512)
    assert again is not small and torch.equal(again.training, small.training)
    assert again.held_out_years == small.held_out_years


@pytest.mark.parametrize("arguments", [(259,), (512, 0), (512, 500)])
def test_impossible_corpora(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        corpus(*arguments)


def test_blocks() -> None:
    stream = torch.arange(10, 21)
    assert torch.equal(blocks(stream, 5), torch.arange(10, 20).view(2, 5))
    marked = blocks(stream, 5, marks=True)
    assert marked.tolist()[0] == [CLS, 10, 11, 12, SEPARATOR] and marked.shape == (3, 5)
    assert blocks(stream, 11).shape == (1, 11)
    for length, marks in ((12, False), (0, False), (2, True), (14, True)):
        with pytest.raises(ValueError, match="does not fill"):
            blocks(stream, length, marks)


def test_batches_go_through_everything_and_repeat_by_seed() -> None:
    rows = torch.arange(14).view(7, 2)
    first, other = (
        list(itertools.islice(batches(rows, 3, seed), 4)) for seed in (0, 1)
    )
    again = list(itertools.islice(batches(rows, 3, 0), 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    for start in (0, 2):  # two batches a pass, no row twice in one
        assert (
            len(
                {
                    tuple(row)
                    for batch in first[start : start + 2]
                    for row in batch.tolist()
                }
            )
            == 6
        )
    assert torch.equal(
        torch.cat(list(itertools.islice(batches(rows, 7, 3), 1))).sort(0).values, rows
    )
    for size in (0, 8):
        with pytest.raises(ValueError, match="do not make a batch"):
            batches(rows, size)


def test_characters_of_both_sides_are_of_other_years() -> None:
    training, held_out = characters(20_000, 10_000)
    assert len(training) == 20_000 and len(held_out) == 10_000
    assert all(each.isascii() and each.isprintable() for each in training + held_out)
    speeches = load_state_of_the_union()
    years = set(corpus().held_out_years)
    for text, held in ((training, False), (held_out, True)):
        newest = next(
            speech["text"]
            for speech in list(speeches)[::-1]
            if (speech["year"] in years) == held
        )
        assert text[:100] == " ".join(newest.split())[:100]


@pytest.mark.parametrize("arguments", [(0, 10), (10, 10**9)])
def test_more_characters_than_there_are(arguments: tuple[int, int]) -> None:
    with pytest.raises(
        ValueError, match="characters are asked for, and there are 1 to"
    ):
        characters(*arguments)
