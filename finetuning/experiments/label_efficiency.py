"""Chapter 02's experiment: accuracy on BBC News against the number of labels, several
draws of each.

Counted words, a frozen encoder, a fine-tuned one, one from random weights, and a
prompted language model. All runs together take about half an hour on one CPU core, and
a few minutes on a GPU. Each keeps which test articles were right, so that any two
methods can be compared article by article.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from finetuning.classification import (
    MeanPooledClassifier,
    embed,
    fine_tune,
    next_word_log_probabilities,
    predict,
)
from finetuning.data import load_bbc_news
from finetuning.experiments.engine import Experiment, Key, Results, to_bits
from finetuning.models import load_causal_lm, load_encoder
from finetuning.runtime import pick_device, set_seed

# Labels: epochs. Random weights need longer: they get more passes and a larger learning
# rate than pretrained ones, so that the control is not merely unfinished.
EPOCHS = {
    "fine-tuned": {20: 10, 50: 6, 100: 5, 400: 3, 1600: 2},
    "fine-tuned-even": {50: 6},
    "random": {20: 20, 50: 20, 100: 10, 400: 5, 1600: 2},
}
BUDGETS = tuple(EPOCHS["fine-tuned"])
# Labels: draws.
DRAWS = {
    "frozen-64": dict.fromkeys(BUDGETS, 5),
    "frozen-128": dict.fromkeys(BUDGETS, 5),
    "tf-idf": {20: 5, 50: 5, 100: 5, 400: 5, 1600: 2},
    "fine-tuned": {20: 5, 50: 5, 100: 5, 400: 3, 1600: 2},
    "fine-tuned-even": {50: 3},
    "random": {20: 3, 50: 3, 100: 2, 400: 1, 1600: 1},
}
# For random weights the best of those tried with 50 labels (3e-4, 1e-3) and with 400
# (1e-4 too): with few steps a large rate does not get off the ground, with many it is
# the better one.
LEARNING_RATES = {
    "fine-tuned": dict.fromkeys(BUDGETS, 1e-4),
    "fine-tuned-even": {50: 1e-4},
    "random": {20: 3e-4, 50: 3e-4, 100: 3e-4, 400: 1e-3, 1600: 1e-3},
}
# Of the regression on counted words and on frozen features.
INVERSE_REGULARISATION = 10
# The first test articles (their order is shuffled), for the slow causal model.
PROMPT_TEST = 200
OPENING_TOKENS = 64
FILLERS = ("N/A", "", "[MASK]")
CORRECTIONS = ("none", "content-free", "batch")
TEMPLATES = {
    "topic": "Article: {}\nTopic:",
    "section": "{}\n\nThis BBC News article is from the section:",
    "instruction": "Classify the article as business, entertainment, politics, "
    "sport or tech.\n\nArticle: {}\nTopic:",
}
FIVE_SHOT_DRAWS = 5


@dataclass(frozen=True)
class Articles:
    """BBC News as this experiment reads it: texts, topics (N,) as numbers, and the
    topics' names.
    """

    train_texts: list[str]
    train_topics: np.ndarray
    test_texts: list[str]
    test_topics: np.ndarray
    names: list[str]


@functools.cache
def load_articles() -> Articles:
    """1,627 articles to draw labels from, and 500 to test on."""
    parts = load_bbc_news(split=True)
    return Articles(
        list(parts["train"]["text"]),
        np.array(parts["train"]["label"]),
        list(parts["test"]["text"]),
        np.array(parts["test"]["label"]),
        parts["train"].features["label"].names,
    )


def draw(pool: int, labels: int, seed: int) -> np.ndarray:
    """Rows of the articles that get a label: a random draw, each smaller one contained
    in the larger.
    """
    return np.random.default_rng(seed).permutation(pool)[:labels]


def draw_evenly(topics: np.ndarray, labels: int, seed: int) -> np.ndarray:
    """Rows of as many articles of each topic, the first of them in the draw."""
    order = draw(len(topics), len(topics), seed)
    kinds = np.unique(topics)
    share = labels // len(kinds)
    return np.concatenate([order[topics[order] == kind][:share] for kind in kinds])


def regression() -> LogisticRegression:
    return LogisticRegression(
        C=INVERSE_REGULARISATION, class_weight="balanced", max_iter=1000
    )


def counted_words(labels: int, seed: int) -> np.ndarray:
    """TF-IDF of words and pairs of words: which test articles are right, (500,)."""
    articles = load_articles()
    rows = draw(len(articles.train_texts), labels, seed)
    classifier = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), regression()
    )
    classifier.fit(
        [articles.train_texts[row] for row in rows], articles.train_topics[rows]
    )
    return classifier.predict(articles.test_texts) == articles.test_topics


@functools.cache
def features(length: int) -> tuple[np.ndarray, np.ndarray]:
    """What the pretrained encoder makes of the first `length` tokens of each training
    and each test article: (1627, C) and (500, C).
    """
    articles = load_articles()
    encoder, tokenizer = load_encoder("all-MiniLM-L6-v2")
    encoder.to(pick_device())
    return (
        embed(encoder, tokenizer, articles.train_texts, length),
        embed(encoder, tokenizer, articles.test_texts, length),
    )


def frozen_encoder(length: int, labels: int, seed: int) -> np.ndarray:
    """Logistic regression on the encoder's features: which test articles are right."""
    articles = load_articles()
    train_features, test_features = features(length)
    rows = draw(len(train_features), labels, seed)
    classifier = regression()
    classifier.fit(train_features[rows], articles.train_topics[rows])
    return classifier.predict(test_features) == articles.test_topics


def trained_encoder(method: str, labels: int, seed: int) -> np.ndarray:
    """All weights trained on the draw: which test articles are right."""
    articles = load_articles()
    if method == "fine-tuned-even":
        rows = draw_evenly(articles.train_topics, labels, seed)
    else:
        rows = draw(len(articles.train_texts), labels, seed)
    set_seed(seed)
    encoder, tokenizer = load_encoder("all-MiniLM-L6-v2", pretrained=method != "random")
    model = MeanPooledClassifier(encoder, classes=len(articles.names))
    model.to(pick_device())
    fine_tune(
        model,
        tokenizer,
        [articles.train_texts[row] for row in rows],
        articles.train_topics[rows],
        epochs=EPOCHS[method][labels],
        learning_rate=LEARNING_RATES[method][labels],
        seed=seed,
    )
    return predict(model, tokenizer, articles.test_texts) == articles.test_topics


@functools.cache
def language_model():
    model, tokenizer = load_causal_lm("SmolLM2-135M-Instruct")
    return model.to(pick_device()), tokenizer


def opening(text: str) -> str:
    """The first tokens of an article, on one line."""
    _, tokenizer = language_model()
    ids = tokenizer(text)["input_ids"][:OPENING_TOKENS]
    return tokenizer.decode(ids).replace("\n", " ")


def examples(seed: int) -> str:
    """Five worked examples: the first article of each topic in the draw, in the order
    of the draw.
    """
    articles = load_articles()
    rows = draw(len(articles.train_texts), len(articles.train_texts), seed)
    topics = articles.train_topics[rows]
    _, places = np.unique(topics, return_index=True)
    shown = [
        f"{TEMPLATES['topic'].format(opening(articles.train_texts[row]))} "
        f"{articles.names[articles.train_topics[row]]}"
        for row in rows[np.sort(places)]
    ]
    return "\n\n".join(shown) + "\n\n"


@functools.lru_cache(maxsize=1)
def prompt_scores(method: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """log p of each topic's name after each test article's prompt, (200, 5), and the
    mean log p after prompts without an article, (5,).

    The last ones are remembered, for three corrections read the same scores.
    """
    model, tokenizer = language_model()
    articles = load_articles()
    words = [f" {name}" for name in articles.names]
    prefix = examples(seed) if method == "five-shot" else ""
    template = TEMPLATES.get(method.removeprefix("zero-shot-"), TEMPLATES["topic"])
    queries = [
        template.format(opening(text)) for text in articles.test_texts[:PROMPT_TEST]
    ]
    empty = [template.format(filler) for filler in FILLERS]
    scores = next_word_log_probabilities(model, tokenizer, prefix, queries, words)
    without = next_word_log_probabilities(model, tokenizer, prefix, empty, words)
    return scores, without.exp().mean(dim=0).log()


def prompted(method: str, correction: str, seed: int) -> np.ndarray:
    """The most probable topic after the prompt, less a correction: which test articles
    are right, (200,).
    """
    scores, without_article = prompt_scores(method, seed)
    bias = {
        "none": torch.zeros(scores.size(1)),
        "content-free": without_article,
        "batch": scores.mean(dim=0),
    }[correction]
    topics = load_articles().test_topics[:PROMPT_TEST]
    return (scores - bias).argmax(dim=1).numpy() == topics


def keys() -> list[Key]:
    """All runs in their order: the baselines, the fine-tuned encoder, the prompts, the
    controls.
    """

    def trained(*methods: str) -> list[Key]:
        return [
            {"method": method, "labels": labels, "seed": seed}
            for method in methods
            for labels, draws in DRAWS[method].items()
            for seed in range(draws)
        ]

    prompts = [(f"zero-shot-{name}", 0) for name in TEMPLATES]
    prompts += [("five-shot", seed) for seed in range(FIVE_SHOT_DRAWS)]
    return [
        *trained("frozen-64", "frozen-128", "tf-idf", "fine-tuned"),
        *(
            {"method": method, "correction": correction, "seed": seed}
            for method, seed in prompts
            for correction in CORRECTIONS
        ),
        *trained("fine-tuned-even", "random"),
    ]


def run(key: Key, kept: Results) -> dict[str, object]:
    """One of `keys`: its accuracy on the test articles, and which were right."""
    method = key["method"]
    seed = key["seed"]
    if "correction" in key:
        right = prompted(method, key["correction"], seed)
    elif method == "tf-idf":
        right = counted_words(key["labels"], seed)
    elif method.startswith("frozen-"):
        length = int(method.removeprefix("frozen-"))
        right = frozen_encoder(length, key["labels"], seed)
    else:
        right = trained_encoder(method, key["labels"], seed)
    return {"accuracy": float(np.mean(right)), "right": to_bits(right)}


EXPERIMENT = Experiment(
    name="label_efficiency",
    chapter=2,
    settings={
        "epochs": EPOCHS,
        "learning rates": LEARNING_RATES,
        "inverse regularisation": INVERSE_REGULARISATION,
        "prompts": {
            "templates": TEMPLATES,
            "articles": PROMPT_TEST,
            "tokens": OPENING_TOKENS,
            "fillers": list(FILLERS),
        },
    },
    keys=keys(),
    run=run,
)
