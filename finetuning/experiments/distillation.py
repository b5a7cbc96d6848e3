"""Chapter 23's sixth experiment: a fine-tuned encoder teaches counted words to sort
news.

The teacher is chapter 02's, tuned on fifty labels. Its students see the same fifty
labels and some 1,600 articles without one; each tries four settings, and one is chosen
by the fifty labels. Five draws of labels, some two minutes each on one CPU core.
"""

import functools
import warnings

import numpy as np
import torch
from scipy import sparse
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from finetuning.classification import MeanPooledClassifier, fine_tune
from finetuning.experiments.engine import (
    Experiment,
    Key,
    Results,
    Weights,
    to_bits,
)
from finetuning.experiments.label_efficiency import (
    EPOCHS,
    LEARNING_RATES,
    draw,
    load_articles,
)
from finetuning.models import load_encoder, load_tokenizer
from finetuning.runtime import pick_device, set_seed

NAME = "distillation"
MODEL = "all-MiniLM-L6-v2"
LABELS = 50
SEEDS = 5
TOKENS = 64  # that the teacher reads
STRENGTHS = (1, 10, 100, 1000)  # inverse regularisation of a student
# What a student learns from: temperature of the teacher's probabilities, or nothing.
STUDENTS = {
    "50 labels": None,
    "the teacher's labels": 0.0,
    "its labels, same opening": 0.0,
    "its probabilities": 1.0,
    "its probabilities, T = 2": 2.0,
    "all true labels": None,
}
OPENING = "its labels, same opening"  # reads no more of an article than the teacher


@torch.inference_mode()
def teacher_logits(model, tokenizer, texts: list[str]) -> np.ndarray:
    """The teacher's scores, (N, 5)."""
    device = next(model.parameters()).device
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    scores = np.empty((len(texts), model.head.out_features))
    for start in range(0, len(order), 32):
        places = order[start : start + 32]
        batch = tokenizer(
            [texts[place] for place in places],
            padding=True,
            truncation=True,
            max_length=TOKENS,
            return_tensors="pt",
        ).to(device)
        logits = model(batch["input_ids"], batch["attention_mask"])
        scores[places] = logits.cpu().numpy()
    return scores


def teach(seed: int) -> np.ndarray:
    """Tune the teacher on fifty labels: its scores of all articles, (2127, 5), first
    those to learn from, then those of the test.
    """
    articles = load_articles()
    train, topics = articles.train_texts, articles.train_topics
    rows = draw(len(train), LABELS, seed)
    set_seed(seed)
    encoder, tokenizer = load_encoder(MODEL)
    model = MeanPooledClassifier(encoder, classes=len(set(topics))).to(pick_device())
    fine_tune(
        model,
        tokenizer,
        [train[row] for row in rows],
        topics[rows],
        epochs=EPOCHS["fine-tuned"][LABELS],
        learning_rate=LEARNING_RATES["fine-tuned"][LABELS],
        max_length=TOKENS,
        seed=seed,
    )
    return teacher_logits(model, tokenizer, train + articles.test_texts)


def regression(strength: float) -> LogisticRegression:
    """A student that has learnt nothing yet."""
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)


def fitted(counts, shares: np.ndarray, strength: float) -> LogisticRegression:
    """A regression on counted words (N, words), trained on shares of topics (N, 5).

    A share of a topic is an article of that topic with so much weight.
    """
    rows, labels = np.nonzero(shares > 1e-3)
    weights = shares[rows, labels]
    return regression(strength).fit(counts[rows], labels, sample_weight=weights)


def targets(student: str, scores: np.ndarray, seed: int) -> np.ndarray:
    """The shares of topics, (1627, 5), that a student learns; the fifty are given."""
    topics = load_articles().train_topics
    certain = np.eye(scores.shape[1])
    if student == "all true labels":
        return certain[topics]
    temperature = STUDENTS[student]
    if temperature:
        shares = softmax(scores[: len(topics)] / temperature, axis=1)
    else:
        shares = certain[scores[: len(topics)].argmax(axis=1)]
    rows = draw(len(topics), LABELS, seed)
    shares[rows] = certain[topics[rows]]
    return shares


def openings(texts: list[str]) -> list[str]:
    """What the teacher reads of each text."""
    encoded = load_tokenizer(MODEL)(
        texts, truncation=True, max_length=TOKENS, return_offsets_mapping=True
    )
    ends = [max(end for _, end in row) for row in encoded["offset_mapping"]]
    return [text[:end] for text, end in zip(texts, ends, strict=True)]


@functools.cache
def counted(
    whole: bool = True,
) -> tuple[TfidfVectorizer, sparse.csr_matrix, sparse.csr_matrix]:
    """Words: what counts them, fitted to the articles to learn from, and the counts of
    these and of the test articles; whole, or as far as the teacher reads.
    """
    articles = load_articles()
    parts = [articles.train_texts, articles.test_texts]
    if not whole:
        parts = [openings(texts) for texts in parts]
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    train = vectorizer.fit_transform(parts[0])
    return vectorizer, train, vectorizer.transform(parts[1])


def trained(student: str, scores: np.ndarray, seed: int) -> LogisticRegression:
    """A student, trained with what the teacher says: `scores`, (at least 1627, 5).

    Of the four settings each takes the one that does best on the fifty labels: the one
    that learns from nothing else by five folds of them, the others directly, without
    having been told those labels.
    """
    _, counts, _ = counted(student != OPENING)
    topics = load_articles().train_topics
    rows = draw(len(topics), LABELS, seed)
    if student == "50 labels":

        def by_folds(strength: float) -> float:
            model = regression(strength)
            with warnings.catch_warnings():
                # a fold may have too few articles of a topic
                warnings.simplefilter("ignore", UserWarning)
                return cross_val_score(model, counts[rows], topics[rows], cv=5).mean()

        best = regression(max(STRENGTHS, key=by_folds))
        return best.fit(counts[rows], topics[rows])
    shares = targets(student, scores, seed)
    others = np.setdiff1d(np.arange(len(topics)), rows)

    def by_labels(strength: float) -> float:
        model = fitted(counts[others], shares[others], strength)
        return (model.predict(counts[rows]) == topics[rows]).mean()

    return fitted(counts, shares, max(STRENGTHS, key=by_labels))


def run(key: Key, kept: Results) -> dict[str, object]:
    """Which test articles the teacher and each student get right."""
    seed = key["seed"]
    articles = load_articles()
    topics, truth = articles.train_topics, articles.test_topics
    # As they are kept, so that a student trained from the kept ones is the same.
    scores = teach(seed).astype(np.float16).astype(float)
    right = {"teacher": scores[len(topics) :].argmax(axis=1) == truth}
    for student in STUDENTS:
        model = trained(student, scores, seed)
        _, _, test = counted(student != OPENING)
        right[student] = model.predict(test) == truth
    own = {}
    if seed == 0:  # so that a chapter can train a student without the teacher
        own["scores"] = Weights({"logits": torch.tensor(scores, dtype=torch.float16)})
    return own | {
        "right": {name: to_bits(each) for name, each in right.items()},
        "labels right": float((scores[: len(topics)].argmax(axis=1) == topics).mean()),
    }


EXPERIMENT = Experiment(
    name=NAME,
    chapter=23,
    settings={
        "teacher": MODEL,
        "labels": LABELS,
        "tokens": TOKENS,
        "strengths": STRENGTHS,
        "students": STUDENTS,
    },
    keys=[{"seed": seed} for seed in range(SEEDS)],
    run=run,
)
