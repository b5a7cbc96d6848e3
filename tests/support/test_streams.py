"""The small pre-training runs' corpus: nothing lost or shared, always the same."""

import itertools
from pathlib import Path

import pytest
import torch

from finetuning.data import load_state_of_the_union, streams
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
from finetuning.resources import cache, fetch

TEXTS = ["The state of the union is strong.", "The union is at peace."] * 3


@pytest.fixture(scope="module")
def speeches() -> streams.Corpus:
    return corpus()


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


def test_nothing_is_lost_or_shared(speeches: streams.Corpus) -> None:
    texts_of = load_state_of_the_union()
    expected: dict[bool, list[str]] = {True: [], False: []}
    for year, text in zip(texts_of["year"], texts_of["text"], strict=True):
        expected[year in speeches.held_out_years].append(" ".join(text.split()))
    for held_out, stream in ((True, speeches.held_out), (False, speeches.training)):
        texts, here = [], []
        for token in stream.tolist():
            here.append(token)
            if token == SEPARATOR:
                texts.append(speeches.tokenizer.decode(here[:-1]))
                here = []
        assert here == [] and texts == expected[held_out]
    assert speeches.held_out_characters == sum(map(len, expected[True]))
    assert len(speeches.held_out_years) == 20 and speeches.vocabulary_size == 4096
    assert max(speeches.training.max(), speeches.held_out.max()) < 4096
    assert not torch.isin(speeches.training, torch.tensor([PADDING, CLS, MASK])).any()


def same(one: streams.Corpus, other: streams.Corpus) -> bool:
    """Equal to the last bit, the tokenizer's rules included."""
    return (
        one.tokenizer.to_str() == other.tokenizer.to_str()
        and one.training.dtype == other.training.dtype
        and torch.equal(one.training, other.training)
        and torch.equal(one.held_out, other.held_out)
        and one.held_out_years == other.held_out_years
        and one.held_out_characters == other.held_out_characters
    )


def test_once_a_process(speeches: streams.Corpus) -> None:
    assert corpus() is speeches


def test_what_is_kept_is_what_would_be_made(speeches: streams.Corpus) -> None:
    """In the cache that everybody uses: it fails where this module has changed and
    `REVISION` has not. Of the training stream a tenth is made anew.
    """
    training_texts, held_out_texts, _ = streams._texts(20, 0)
    tokenizer = train_tokenizer(training_texts, 4096)
    assert tokenizer.to_str() == speeches.tokenizer.to_str()
    held_out = streams._stream(tokenizer, held_out_texts)
    begin = streams._stream(tokenizer, training_texts[:20])
    assert torch.equal(held_out, speeches.held_out)
    assert torch.equal(begin, speeches.training[: len(begin)])
    assert begin.dtype == speeches.training.dtype


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A corpus of six sentences in a cache of its own, and how often it was made."""
    made: list[int] = []

    def texts(held_out_years: int, seed: int):
        made.append(seed)
        return TEXTS[:4], TEXTS[4:], (1790, 1791)

    folder = fetch("state-of-the-union")
    monkeypatch.setattr(streams.resources, "fetch", lambda name: folder)
    monkeypatch.setenv("FINETUNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(streams, "_texts", texts)
    corpus.cache_clear()
    yield made
    corpus.cache_clear()


def again(**settings: int) -> streams.Corpus:
    """What another process would get."""
    corpus.cache_clear()
    return corpus(**({"vocabulary_size": 262} | settings))


def kept(tmp_path: Path) -> list[Path]:
    return sorted(
        path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"
    )


def test_kept_once_and_read_after_that(toy, tmp_path) -> None:
    first = again()
    assert toy == [0] and len(kept(tmp_path)) == 1
    assert same(first, again()) and toy == [0]
    (folder,) = kept(tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        "held_out.npy",
        "manifest.json",
        "numbers.json",
        "tokenizer.json",
        "training.npy",
    }


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "training.npy", "held_out.npy", "numbers.json"]
)
def test_a_damaged_one_is_made_anew(toy, tmp_path, name) -> None:
    first = again()
    (folder,) = kept(tmp_path)
    (folder / name).write_bytes(bytes((folder / name).stat().st_size))
    assert same(first, again()) and toy == [0, 0]
    assert same(first, again()) and toy == [0, 0], "mended in its place"
    assert kept(tmp_path) == [folder]


def test_every_setting_has_a_folder_of_its_own(toy, tmp_path, monkeypatch) -> None:
    again()
    again(seed=1)
    again(held_out_years=19)
    again(vocabulary_size=263)
    monkeypatch.setattr(streams, "REVISION", streams.REVISION + 1)
    again()
    monkeypatch.setattr(streams.tokenizers, "__version__", "0.0")
    again()
    monkeypatch.setattr(streams.resources, "fetch", lambda name: Path("other-1.0"))
    again()
    assert len(kept(tmp_path)) == len(toy) == 7


@pytest.mark.parametrize("trouble", ["full", "read-only", "file"])
def test_where_nothing_can_be_kept_it_is_made_each_time(
    toy, tmp_path, monkeypatch, trouble
) -> None:
    def refuse(*arguments, **options):
        raise OSError(28 if trouble == "full" else 30, "refused")

    if trouble == "full":
        monkeypatch.setattr(streams.np, "save", refuse)
    elif trouble == "read-only":
        monkeypatch.setattr(cache, "FileLock", refuse)
    else:
        (tmp_path / "cache").write_text("in the way")
    assert same(again(), again()) and len(toy) == 2
    if trouble == "full":
        assert kept(tmp_path) == [], "something half-made was left"


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
