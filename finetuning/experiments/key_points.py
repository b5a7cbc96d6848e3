"""Chapter 17's third experiment: which three sentences of an article MiniLM's vectors
choose, and which three points SmolLM2 writes when it is asked for them.

SmolLM2 is also given articles with their sentences in another order. Kept are places of
sentences and what was measured of the points, since points quote and the articles may
not be passed on. All runs together take about twenty minutes on one CPU core.
"""

import functools
import hashlib
import re
from collections.abc import Sequence

import numpy as np

from finetuning.classification import embed
from finetuning.data import summaries
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.experiments.headlines import whole_words
from finetuning.models import load_causal_lm, load_encoder
from finetuning.scratch.summarization import (
    common_words,
    most_central,
    sentences,
    share_found,
    unsupported,
)
from finetuning.tuning import BASE, write

ENCODER = "all-MiniLM-L6-v2"
ARTICLE_WORDS = 350
COUNT = 3
NOVELTIES = (0.0, 0.25, 0.5, 1.0)
PARTS = {"train": 60, "test": 300}
REQUEST = (
    "Write the three most important points of this text, one sentence each:\n\n{text}"
)
MAX_TOKENS = 80
POINT_WORDS = 20  # of each point so many are read
EACH = 50
WRITTEN = 100
ORDERS = ("as written", "shuffled")


@functools.cache
def articles(part: str) -> list[tuple[str, list[str]]]:
    """Headline and sentences of articles, cut to `ARTICLE_WORDS` words."""
    rows = []
    for pair in summaries.news(part, 0, PARTS[part]):
        kept: list[str] = []
        for sentence in sentences(pair.whole):
            if sum(len(each.split()) for each in [*kept, sentence]) > ARTICLE_WORDS:
                break
            kept.append(sentence)
        rows.append((pair.line, kept))
    return rows


def shuffled(own: list[str]) -> list[str]:
    """The sentences in another order, always the same."""
    return sorted(own, key=lambda text: hashlib.sha256(text.encode()).digest())


def points_of(written: str) -> list[str]:
    """The points of what a model wrote: its sentences, without the number or mark of a
    list in front of them and without a line that ends in a colon.
    """
    lines = [re.sub(r"^\s*[-*•]\s+", "", line) for line in written.splitlines()]
    text = "\n\n".join(line for line in lines if not line.rstrip().endswith(":"))
    # A number ends a sentence for `sentences`, which is right in prose and not here.
    return sentences(re.sub(r"(?m)(^|(?<=[.!?])\s+)\d[.)]\s+", r"\1", text))


def recall(points: Sequence[str], headline: str) -> float:
    """The share of a headline's words that the first points have, each cut short."""
    cut = [" ".join(point.split()[:POINT_WORDS]) for point in points[:COUNT]]
    return share_found(" ".join(cut), headline)


def central(part: str) -> dict[str, list[list[int]]]:
    """By novelty, the places of the sentences chosen of each article."""
    encoder, tokenizer = load_encoder(ENCODER)
    texts = [own for _, own in articles(part)]
    vectors = embed(encoder, tokenizer, [each for own in texts for each in own])
    ends = np.cumsum([len(own) for own in texts])
    parts = np.split(vectors, ends[:-1])  # (N, C) of each article
    return {
        str(novelty): [most_central(own, COUNT, novelty) for own in parts]
        for novelty in NOVELTIES
    }


def run(key: Key, kept: Results) -> dict[str, object]:
    """The places chosen, or what is measured of the points that are written."""
    if key["by"] == "MiniLM":
        return {"chosen": central(key["part"])}
    model, tokenizer = load_causal_lm(BASE)
    rows = articles("test")[key["from"] : key["from"] + EACH]
    given = [shuffled(own) if key["order"] == "shuffled" else own for _, own in rows]
    texts = [" ".join(own) for own in given]
    prompts = [REQUEST.format(text=text) for text in texts]
    written = write(model, tokenizer, prompts, max_tokens=MAX_TOKENS, batch_size=10)
    whole = [whole_words(tokenizer, text, MAX_TOKENS) for text in written]
    points = [points_of(text)[:COUNT] for text in whole]
    common = common_words(pair.whole for pair in summaries.news("train"))
    return {
        "recall": [
            round(recall(each, headline), 4)
            for each, (headline, _) in zip(points, rows, strict=True)
        ],
        "made_up": [
            [name for point in each for name in unsupported(point, text, common)]
            for each, text in zip(points, texts, strict=True)
        ],
        "words": [len(text.split()) for text in written],
        "points": [len(each) for each in points],
        "counted": [
            sum(min(len(point.split()), POINT_WORDS) for point in each)
            for each in points
        ],
        "first": points[0],
    }


EXPERIMENT = Experiment(
    name="key_points",
    chapter=17,
    settings={
        "encoder": ENCODER,
        "model": BASE,
        "article words": ARTICLE_WORDS,
        "count": COUNT,
        "novelties": NOVELTIES,
        "parts": PARTS,
        "request": REQUEST,
        "tokens": MAX_TOKENS,
        "words of a point": POINT_WORDS,
    },
    keys=[
        *({"by": "MiniLM", "part": part} for part in PARTS),
        *(
            {"by": "SmolLM2", "order": order, "from": first}
            for order in ORDERS
            for first in range(0, WRITTEN, EACH)
        ),
    ],
    run=run,
)
