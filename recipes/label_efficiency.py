"""Chapter 2's experiment in full: accuracy on BBC News against the number of labels,
several draws of each.

    python recipes/label_efficiency.py

One CPU core needs about half an hour; a GPU a few minutes. It writes
`finetuning/experiments/results/label_efficiency.json` (after every run, so that an
interrupted one can be taken up again), from which chapter 2 draws its figure. Every run
keeps, beside its accuracy, which test articles were right, as a string of 0 and 1, so
that any two methods can be compared article by article.
"""

import argparse
import datetime
import json
from pathlib import Path

import numpy as np
import sklearn
import torch
import transformers
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
from finetuning.models import load_causal_lm, load_encoder
from finetuning.runtime import (
    Stopwatch,
    bfloat16_is_fast,
    machine,
    pick_device,
    set_seed,
    write_whole,
)

KEPT = (
    Path(__file__).parents[1]
    / "finetuning"
    / "experiments"
    / "results"
    / "label_efficiency.json"
)
# Labels: epochs. Random weights need longer: they get more passes and a larger learning
# rate than pretrained ones, so that the control is not merely unfinished.
EPOCHS = {
    "fine-tuned": {20: 10, 50: 6, 100: 5, 400: 3, 1600: 2},
    "fine-tuned-even": {50: 6},
    "random": {20: 20, 50: 20, 100: 10, 400: 5, 1600: 2},
}
BUDGETS = tuple(EPOCHS["fine-tuned"])
DRAWS = {
    "fine-tuned": {20: 5, 50: 5, 100: 5, 400: 3, 1600: 2},
    "fine-tuned-even": {50: 3},
    "random": {20: 3, 50: 3, 100: 2, 400: 1, 1600: 1},
}
# For random weights the best of those tried with 50 labels (3e-4, 1e-3) and with 400
# (1e-4 too): with few steps a large rate does not get off the ground, with many it is
# the better one.
LEARNING_RATE = {
    "fine-tuned": dict.fromkeys(BUDGETS, 1e-4),
    "fine-tuned-even": {50: 1e-4},
    "random": {20: 3e-4, 50: 3e-4, 100: 3e-4, 400: 1e-3, 1600: 1e-3},
}
PROMPT_TEST = (
    200  # the first test articles (their order is shuffled), for the slow causal model
)
TEMPLATES = {
    "topic": "Article: {}\nTopic:",
    "section": "{}\n\nThis BBC News article is from the section:",
    "instruction": "Classify the article as business, entertainment, politics, sport or "
    "tech.\n\n"
    "Article: {}\nTopic:",
}


def draw(pool: int, labels: int, seed: int) -> np.ndarray:
    """Rows of the articles that get a label: a random draw, each smaller one contained
    in the larger.
    """
    return np.random.default_rng(seed).permutation(pool)[:labels]


def opening(tokenizer, text: str, tokens: int = 64) -> str:
    """The first tokens of an article, on one line."""
    return tokenizer.decode(tokenizer(text)["input_ids"][:tokens]).replace("\n", " ")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=KEPT)
    output = parser.parse_args().output
    kept = json.loads(output.read_text()) if output.exists() else {}
    runs = kept.setdefault("runs", [])
    kept["command"] = "python recipes/label_efficiency.py"
    kept["date"] = datetime.date.today().isoformat()
    kept["versions"] = {
        module.__name__: module.__version__
        for module in (torch, transformers, sklearn, np)
    }
    kept["machine"] = {
        "device": str(pick_device()),
        **machine(),
        "bfloat16": bfloat16_is_fast(),
    }

    def done(**key: object) -> bool:
        return any(
            all(run.get(name) == value for name, value in key.items()) for run in runs
        )

    def keep(right: np.ndarray, seconds: float, **key: object) -> None:
        if done(**key):  # kept before an interruption
            return
        bits = "".join("01"[int(value)] for value in right)
        runs.append(
            {
                **key,
                "accuracy": float(np.mean(right)),
                "seconds": round(seconds, 1),
                "right": bits,
            }
        )
        write_whole(output, json.dumps(kept, indent=1) + "\n")
        print(key, round(float(np.mean(right)), 3), f"{seconds:.0f} s", flush=True)

    articles = load_bbc_news(split=True)
    train_texts, train_labels = (
        list(articles["train"]["text"]),
        np.array(articles["train"]["label"]),
    )
    test_texts, test_labels = (
        list(articles["test"]["text"]),
        np.array(articles["test"]["label"]),
    )
    names = articles["train"].features["label"].names

    # Baselines first: words counted, then words read by a frozen encoder.
    encoder, tokenizer = load_encoder("all-MiniLM-L6-v2")
    encoder.to(pick_device())
    for length in (64, 128):
        if done(method=f"frozen-{length}", labels=1600, seed=4):
            continue
        with Stopwatch() as watch:
            features = embed(encoder, tokenizer, train_texts, length)
            test_features = embed(encoder, tokenizer, test_texts, length)
        print("features", length, f"{watch.seconds:.0f} s", flush=True)
        for labels in BUDGETS:
            for seed in range(5):
                rows = draw(len(train_texts), labels, seed)
                classifier = LogisticRegression(
                    C=10, class_weight="balanced", max_iter=1000
                )
                classifier.fit(features[rows], train_labels[rows])
                right = classifier.predict(test_features) == test_labels
                keep(right, 0, method=f"frozen-{length}", labels=labels, seed=seed)
    for labels in BUDGETS:
        for seed in range(5 if labels < 1600 else 2):
            if done(method="tf-idf", labels=labels, seed=seed):
                continue
            rows = draw(len(train_texts), labels, seed)
            with Stopwatch() as watch:
                classifier = make_pipeline(
                    TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
                    LogisticRegression(C=10, class_weight="balanced", max_iter=1000),
                ).fit([train_texts[row] for row in rows], train_labels[rows])
            right = classifier.predict(test_texts) == test_labels
            keep(right, watch.seconds, method="tf-idf", labels=labels, seed=seed)

    def train(method: str, pretrained: bool, even: bool = False) -> None:
        for labels in EPOCHS[method]:
            for seed in range(DRAWS[method][labels]):
                if done(method=method, labels=labels, seed=seed):
                    continue
                rows = draw(len(train_texts), labels, seed)
                if even:
                    order = draw(len(train_texts), len(train_texts), seed)
                    each = labels // len(names)
                    rows = np.concatenate(
                        [
                            order[train_labels[order] == k][:each]
                            for k in range(len(names))
                        ]
                    )
                set_seed(seed)
                encoder, tokenizer = load_encoder(
                    "all-MiniLM-L6-v2", pretrained=pretrained
                )
                model = MeanPooledClassifier(encoder, classes=len(names)).to(
                    pick_device()
                )
                with Stopwatch() as watch:
                    fine_tune(
                        model,
                        tokenizer,
                        [train_texts[row] for row in rows],
                        train_labels[rows],
                        epochs=EPOCHS[method][labels],
                        learning_rate=LEARNING_RATE[method][labels],
                        seed=seed,
                    )
                right = predict(model, tokenizer, test_texts) == test_labels
                keep(right, watch.seconds, method=method, labels=labels, seed=seed)

    train("fine-tuned", pretrained=True)

    model, tokenizer = load_causal_lm("SmolLM2-135M-Instruct")
    model.to(pick_device())
    words = [" " + name for name in names]

    def prompt(method: str, template: str, prefix: str, seed: int) -> None:
        if done(method=method, correction="batch", seed=seed):
            return
        queries = [
            template.format(opening(tokenizer, text))
            for text in test_texts[:PROMPT_TEST]
        ]
        empty = [template.format(filler) for filler in ("N/A", "", "[MASK]")]
        with Stopwatch() as watch:
            scores = next_word_log_probabilities(
                model, tokenizer, prefix, queries, words
            )
        prior = (
            next_word_log_probabilities(model, tokenizer, prefix, empty, words)
            .exp()
            .mean(dim=0)
            .log()
        )
        corrections = {"none": 0, "content-free": prior, "batch": scores.mean(dim=0)}
        for correction, bias in corrections.items():
            right = (scores - bias).argmax(dim=1).numpy() == test_labels[:PROMPT_TEST]
            keep(right, watch.seconds, method=method, correction=correction, seed=seed)

    for name, template in TEMPLATES.items():
        prompt(f"zero-shot-{name}", template, "", 0)
    for seed in range(5):
        # The first article of each topic in the draw, in the order of the draw.
        rows = draw(len(train_texts), len(train_texts), seed)
        topics = train_labels[rows]
        first = sorted(
            int(np.flatnonzero(topics == topic)[0]) for topic in range(len(names))
        )
        shown = [
            TEMPLATES["topic"].format(opening(tokenizer, train_texts[rows[place]]))
            + words[train_labels[rows[place]]]
            for place in first
        ]
        prompt("five-shot", TEMPLATES["topic"], "\n\n".join(shown) + "\n\n", seed)

    train("fine-tuned-even", pretrained=True, even=True)
    train("random", pretrained=False)


if __name__ == "__main__":
    main()
