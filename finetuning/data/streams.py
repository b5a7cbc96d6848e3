"""The corpus of the book's small pre-training runs: token ids, blocks, batches.

State of the Union messages, split by year, under a byte-level BPE tokenizer trained on
the training part. The same for BERT, GPT and ELECTRA, so that their chapters can be
compared.
"""

import functools
import hashlib
import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from finetuning import resources
from finetuning.data import load_state_of_the_union

PADDING = 0
CLS = 1
SEPARATOR = 2
MASK = 3
SPECIAL = (PADDING, CLS, SEPARATOR, MASK)
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")

# Goes up whenever this module, or how the speeches are read, makes another corpus of
# the same settings: kept ones are then not read any more.
REVISION = 1


@dataclass(frozen=True)
class Corpus:
    """Two streams of token ids, each speech ended by [SEP], and their tokenizer."""

    tokenizer: Tokenizer
    training: Tensor  # (N,)
    held_out: Tensor  # (M,): of years that neither model nor tokenizer sees in training
    held_out_years: tuple[int, ...]
    held_out_characters: int  # for bits per character

    @property
    def vocabulary_size(self) -> int:
        return self.tokenizer.get_vocab_size()


@functools.lru_cache(maxsize=2)
def corpus(
    vocabulary_size: int = 4096, held_out_years: int = 20, seed: int = 0
) -> Corpus:
    """State of the Union messages as token ids, `held_out_years` years of them apart.

    All speeches of a year are on the same side: a president often sent a written
    message and gave a spoken one. The years are drawn by `seed` and are the same on
    every machine. White space becomes single spaces.

    Made once, in about six seconds, and kept in the cache folder: later calls read it
    in a fraction of a second, and a second call in one process is free.

    Raises `ValueError` if the vocabulary cannot hold the 256 bytes and the four special
    tokens, or if no year would be left on one of the sides; `ResourceError` if the
    speeches cannot be fetched.
    """
    if vocabulary_size < 256 + len(SPECIAL):
        raise ValueError(
            f"the bytes and the special tokens are {256 + len(SPECIAL)} tokens "
            f"already; a vocabulary of {vocabulary_size} cannot hold them"
        )
    return resources.keep(
        "state-of-the-union-streams",
        {
            # Its name changes with the package, and with what is taken out of it.
            "speeches": resources.fetch("state-of-the-union").name,
            "vocabulary_size": vocabulary_size,
            "held_out_years": held_out_years,
            "seed": seed,
            "tokenizers": tokenizers.__version__,
            "revision": REVISION,
        },
        make=lambda: _make(vocabulary_size, held_out_years, seed),
        write=_write,
        read=_read,
    )


def _make(vocabulary_size: int, held_out_years: int, seed: int) -> Corpus:
    training_texts, held_out_texts, held_out = _texts(held_out_years, seed)
    tokenizer = train_tokenizer(training_texts, vocabulary_size)
    return Corpus(
        tokenizer,
        _stream(tokenizer, training_texts),
        _stream(tokenizer, held_out_texts),
        held_out,
        sum(map(len, held_out_texts)),
    )


def _write(corpus: Corpus, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(corpus.tokenizer.to_str(), "utf-8")
    np.save(folder / "training.npy", corpus.training.numpy())
    np.save(folder / "held_out.npy", corpus.held_out.numpy())
    numbers = {
        "held_out_years": corpus.held_out_years,
        "held_out_characters": corpus.held_out_characters,
    }
    (folder / "numbers.json").write_text(json.dumps(numbers), "utf-8")


def _read(folder: Path) -> Corpus:
    numbers = json.loads((folder / "numbers.json").read_text("utf-8"))
    return Corpus(
        Tokenizer.from_file(str(folder / "tokenizer.json")),
        torch.from_numpy(np.load(folder / "training.npy", allow_pickle=False)),
        torch.from_numpy(np.load(folder / "held_out.npy", allow_pickle=False)),
        tuple(numbers["held_out_years"]),
        numbers["held_out_characters"],
    )


def characters(training: int = 1_000_000, held_out: int = 110_000) -> tuple[str, str]:
    """Speeches as plain characters: `training` to learn from, and `held_out` others.

    The newest speeches come first; those held out are of the years that `corpus` holds
    out. What is not printable ASCII becomes a space, and white space a single one.
    Raises ValueError if the speeches are not that long.
    """
    training_texts, held_out_texts, _ = _texts(20, 0)
    return _plain(training_texts, training), _plain(held_out_texts, held_out)


def _plain(speeches: list[str], count: int) -> str:
    """The first `count` printable ASCII characters of speeches, the newest first."""
    plain = []
    for speech in reversed(speeches):
        printable = [each if each in string.printable else " " for each in speech]
        plain.append(" ".join("".join(printable).split()))
    text = " ".join(plain)
    if not 0 < count <= len(text):
        raise ValueError(
            f"{count} characters are asked for, and there are 1 to {len(text)}"
        )
    return text[:count]


def train_tokenizer(texts: list[str], vocabulary_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer with [PAD], [CLS], [SEP] and [MASK] as ids 0 to 3.

    [MASK] takes the space before it along, so "is [MASK]." is *is*, the gap, and the
    stop. No mark is added to a text by itself.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[
            AddedToken(token, lstrip=token == "[MASK]") for token in SPECIAL_TOKENS
        ],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def blocks(stream: Tensor, length: int, marks: bool = False) -> Tensor:
    """A stream (N,) cut into rows of `length` T tokens; what is left over at the end is
    dropped.

    With `marks`, a row is [CLS], T − 2 tokens of the stream, [SEP]. Raises ValueError
    if the stream is shorter than one row, or a row has no room.
    """
    room = length - 2 if marks else length
    if room < 1 or len(stream) < room:
        raise ValueError(
            f"a stream of {len(stream)} tokens does not fill a row with room for {room}"
        )
    rows = stream[: len(stream) // room * room].view(-1, room)
    if not marks:
        return rows
    begin = torch.full((len(rows), 1), CLS)
    end = torch.full((len(rows), 1), SEPARATOR)
    return torch.cat([begin, rows, end], dim=1)


def batches(rows: Tensor, batch_size: int, seed: int = 0) -> Iterator[Tensor]:
    """Batches (B, T) of rows (N, T) without end, each pass in an order of its own.

    `seed` draws the orders. A pass leaves out the up to B − 1 rows that do not fill a
    batch. Raises ValueError if the rows do not fill one.
    """
    if not 1 <= batch_size <= len(rows):
        raise ValueError(f"{len(rows)} rows do not make a batch of {batch_size}")
    return _shuffled(rows, batch_size, seed)


def _shuffled(rows: Tensor, batch_size: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator)
        for start in range(0, len(rows) - batch_size + 1, batch_size):
            yield rows[order[start : start + batch_size]]


def _texts(
    held_out_years: int, seed: int
) -> tuple[list[str], list[str], tuple[int, ...]]:
    """The speeches to train on, those of the years held out, and these years."""
    speeches = load_state_of_the_union()
    years = sorted(
        set(speeches["year"]),
        key=lambda year: hashlib.sha256(f"{seed}/{year}".encode()).digest(),
    )
    if not 0 < held_out_years < len(years):
        raise ValueError(
            f"of {len(years)} years, 1 to {len(years) - 1} can be held out, not "
            f"{held_out_years}"
        )
    held_out = set(years[:held_out_years])
    training_texts = []
    held_out_texts = []
    for year, text in zip(speeches["year"], speeches["text"], strict=True):
        text = " ".join(text.split())
        if year in held_out:
            held_out_texts.append(text)
        else:
            training_texts.append(text)
    return training_texts, held_out_texts, tuple(sorted(held_out))


def _stream(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    ids: list[int] = []
    for encoding in tokenizer.encode_batch(texts):
        ids += [*encoding.ids, SEPARATOR]
    return torch.tensor(ids)
