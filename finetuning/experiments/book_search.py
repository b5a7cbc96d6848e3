"""Chapter 19's second experiment: which passage of the book answers a question, by
words, by vectors, and by both, for passages of several lengths.

Everything is about the snapshot of the book, and the questions that were written for
it. The vectors of the passages that the chapter searches are kept. All runs together
take about twenty minutes on one CPU core, each four minutes at most.
"""

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from finetuning.classification import embed
from finetuning.data import book
from finetuning.data.book import BookQuestion
from finetuning.experiments.engine import Experiment, Key, Results, Weights, results
from finetuning.models import load_encoder
from finetuning.scratch.question_answering import (
    BM25,
    Passage,
    first_right,
    fused,
    passages,
    threshold_for,
)

NAME = "book_search"
MODEL = "all-MiniLM-L6-v2"
# Of a passage, so that none of the lengths is cut: the most that the model reads. Its
# makers cut at 256, and it was trained on at most 128.
MAX_TOKENS = 512
WORDS = (60, 120, 240)
CHOSEN = 120  # of the passages that the chapter searches
SYSTEMS = ("BM25", "MiniLM", "both")


@functools.cache
def shelf(words: int = CHOSEN) -> tuple[Passage, ...]:
    """The passages of the snapshot."""
    return tuple(passages(book.snapshot(), words))


def texts(words: int = CHOSEN, headed: bool = True) -> list[str]:
    """What is searched: passages, with the headings above them or without."""
    return [each.headed if headed else each.text for each in shelf(words)]


def right(question: BookQuestion, words: int = CHOSEN) -> np.ndarray:
    """Which passages hold words that answer a question, (N,) of bool.

    An answer that a cut has parted belongs to the side that has more of it.
    """
    found = []
    for each in shelf(words):
        found.append(any(_in(phrase, each.text) for phrase in question.answers))
    return np.array(found)


def _in(phrase: str, text: str) -> bool:
    """Whether a phrase, or the larger part of one that a cut has parted, is there."""
    text = " ".join(text.split())
    parts = phrase.split()
    if phrase in text:
        return True
    return any(
        text.startswith(" ".join(parts[lost:]))
        or text.endswith(" ".join(parts[:-lost]))
        for lost in range(1, len(parts) // 2 + 1)
    )


def vectors_of(strings: Sequence[str]) -> np.ndarray:
    """Vectors of length 1, (N, C)."""
    return embed(*_encoder(), list(strings), MAX_TOKENS)


@functools.cache
def _encoder() -> tuple:
    return load_encoder(MODEL)


@functools.cache
def kept_vectors() -> np.ndarray:
    """The vectors of the chapter's passages, (N, C), as they were kept."""
    tensors = results(NAME).one(part="vectors")["vectors"].load()
    return tensors["passages"].float().numpy()


def found(question: str) -> np.ndarray:
    """The places of the chapter's passages, by words and vectors together, best first.

    Needs the kept vectors.
    """
    (own,) = vectors_of([question])
    scores = fused(_index().scores(question), kept_vectors() @ own)
    return np.argsort(-scores, kind="stable")


@functools.cache
def _index() -> BM25:
    return BM25(texts())


def all_scores(
    questions: Sequence[str], shelf_vectors: np.ndarray, strings: Sequence[str]
) -> dict[str, list[np.ndarray]]:
    """By system, the scores of all passages for each question."""
    index = BM25(strings)
    words = [index.scores(question) for question in questions]
    vectors = list(vectors_of(questions) @ shelf_vectors.T)
    both = [fused(one, other) for one, other in zip(words, vectors, strict=True)]
    return {"BM25": words, "MiniLM": vectors, "both": both}


def run(key: Key, kept: Results) -> dict[str, object]:
    """Ranks of the first passage that answers, by system; or the vectors."""
    if key["part"] == "vectors":
        return {
            "vectors": Weights(
                {"passages": torch.tensor(vectors_of(texts())).to(torch.float16)}
            )
        }
    strings = texts(key["words"], key["headed"])
    shelf_vectors = vectors_of(strings)
    questions = book.answerable()
    scores = all_scores([each.question for each in questions], shelf_vectors, strings)
    others = all_scores(
        [each.question for each in book.unanswerable()], shelf_vectors, strings
    )
    marks = [right(each, key["words"]) for each in questions]
    return {
        "passages": len(strings),
        "mean words": round(float(np.mean([len(each.split()) for each in strings])), 1),
        "ranks": {
            system: [
                int(first_right(own, mark))
                for own, mark in zip(scores[system], marks, strict=True)
            ]
            for system in SYSTEMS
        },
        # of the ten nearest passages: how sure may one be that one of them answers?
        "cosines": [nearest(own) for own in scores["MiniLM"]],
        "unanswerable": [nearest(own) for own in others["MiniLM"]],
    }


def nearest(scores: np.ndarray, count: int = 10) -> list[float]:
    """The highest scores, rounded, from the highest down."""
    return np.sort(scores)[::-1][:count].round(4).tolist()


def limits(kept: Results, shown: int = 3, risk: float = 0.5) -> tuple[float, float]:
    """Two cosines of the nearest passage. Below the first lies no question that the
    book answers. From the second on, of the questions that are answered with `shown`
    passages at most a share of `risk` is answered by none.

    Raises ExperimentError while the chapter's run is missing.
    """
    run = kept.one(part="ranks", words=CHOSEN, headed=True)
    highest = [each[0] for each in (*run["cosines"], *run["unanswerable"])]
    right = [rank <= shown for rank in run["ranks"]["both"]]
    right += [False] * len(run["unanswerable"])
    lowest = min(each[0] for each in run["cosines"])
    return lowest, threshold_for(highest, right, risk)


def digests() -> dict[str, str]:
    """What tells this snapshot and these questions from others."""
    files = {"text": book.SNAPSHOT, "questions": book.QUESTIONS}
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        for name, file in files.items()
    }


EXPERIMENT = Experiment(
    name=NAME,
    chapter=19,
    settings={"model": MODEL, "max_tokens": MAX_TOKENS, **digests()},
    keys=[
        {"part": "vectors"},
        *(
            {"part": "ranks", "words": words, "headed": headed}
            for words in (CHOSEN, *(each for each in WORDS if each != CHOSEN))
            for headed in (True, False)
        ),
    ],
    run=run,
)
