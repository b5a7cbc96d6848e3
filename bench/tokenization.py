"""Chapter 03's byte-pair encoding, timed step by step and beside `tokenizers`.

    python bench/tokenization.py

Trains 8,192 tokens on nine in ten of the State of the Union messages and encodes a
million characters of the others; then two texts on which a cache of words is no help.
One thread: a single call of the library's `encode` uses no more, and its training is
told to. Each time is the best of three.
"""

import os
import time
from collections.abc import Callable

os.environ["TOKENIZERS_PARALLELISM"] = (
    "false"  # before the import, for the library's training
)

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from finetuning.data import load_state_of_the_union
from finetuning.scratch.bpe import (
    BytePairTokenizer,
    merge_pair,
    merge_word,
    split_words,
    train_bpe,
    word_ids,
)

VOCABULARY_SIZE = 8192
LETTERS = list("abcdefghijklmnopqrstuvwxyz    ")


def seconds(call: Callable[[], object], repetitions: int = 3) -> float:
    """The best time of a call."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def library_bpe(texts: list[str]) -> Tokenizer:
    """The library's tokenizer with the settings of `train_bpe`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def every_merge(word: str, merges: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The naive encoder: all merges in turn."""
    tokens = [bytes([byte]) for byte in word.encode()]
    for pair in merges:
        tokens = merge_pair(tokens, pair, b"".join(pair))
    return tokens


def encode(tokenizer: BytePairTokenizer, text: str) -> list[int]:
    """With an empty cache."""
    tokenizer.cache.clear()
    return tokenizer.encode(text)


def main() -> None:
    """Print tables of training, of the steps of encoding, and beside the library."""
    speeches = list(load_state_of_the_union()["text"])
    training = [text for number, text in enumerate(speeches) if number % 10 != 5]
    text = "".join(speeches[5::10])[:1_000_000]

    print(
        f"training {VOCABULARY_SIZE} tokens on "
        f"{sum(map(len, training)) / 1e6:.1f} million characters"
    )
    print(
        f"{'ours':>22} {seconds(lambda: train_bpe(training, VOCABULARY_SIZE)):8.2f} s"
    )
    print(f"{'Rust':>22} {seconds(lambda: library_bpe(training)):8.2f} s")
    ours, theirs = train_bpe(training, VOCABULARY_SIZE), library_bpe(training)

    words = split_words(text)
    naive = (
        seconds(lambda: [every_merge(word, ours.merges) for word in words[:200]], 1)
        / 200
    )
    heap = seconds(
        lambda: [
            merge_word(word_ids(word, ours.vocabulary), ours.table) for word in words
        ]
    )
    print(f"\nencoding, microseconds a word of {len(words):,}")
    print(f"{'every merge in turn':>22} {naive * 1e6:8.2f}   (the first 200 words)")
    print(f"{'possible merges only':>22} {heap / len(words) * 1e6:8.2f}")
    print(
        f"{'no word twice':>22} "
        f"{seconds(lambda: encode(ours, text)) / len(words) * 1e6:8.2f}"
    )
    print(
        f"{'Rust':>22} {seconds(lambda: theirs.encode(text)) / len(words) * 1e6:8.2f}"
    )

    random = np.random.default_rng(0)
    texts = {
        "speeches": text,
        "random words": "".join(random.choice(LETTERS, 1_000_000)),
        "one long word": "".join(random.choice(LETTERS[:26], 100_000)),
    }
    print(
        f"\n{'encoding':>22} {'characters':>11} {'ours, s':>8} {'Rust, s':>8} "
        f"{'ratio':>6}"
    )
    for name, sample in texts.items():
        mine, rust = (
            seconds(lambda t=sample: encode(ours, t)),
            seconds(lambda t=sample: theirs.encode(t)),
        )
        print(
            f"{name:>22} {len(sample):>11,} {mine:>8.3f} {rust:>8.3f} "
            f"{mine / rust:>6.1f}"
        )


if __name__ == "__main__":
    main()
