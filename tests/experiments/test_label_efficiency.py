"""Chapter 02's kept experiment: complete, consistent with itself, and repeatable where
that is cheap.
"""

import json
from importlib.resources import files

import numpy as np
import pytest
from recipe_support import load_recipe
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from finetuning.data import load_bbc_news

KEPT = json.loads(
    (files("finetuning.experiments") / "results" / "label_efficiency.json").read_text(
        encoding="utf-8"
    )
)


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("label_efficiency")


def test_it_says_how_it_was_made():
    assert set(KEPT) == {"runs", "command", "date", "versions", "machine"}
    assert KEPT["command"] == "python recipes/label_efficiency.py"


def test_each_run_is_there_once_and_its_accuracy_is_that_of_its_articles(recipe):
    keys = []
    for run in KEPT["runs"]:
        keys.append(
            (run["method"], run.get("labels"), run.get("correction"), run["seed"])
        )
        assert set(run["right"]) <= {"0", "1"}
        assert len(run["right"]) == (500 if "labels" in run else recipe.PROMPT_TEST)
        assert run["accuracy"] == pytest.approx(
            np.mean([bit == "1" for bit in run["right"]])
        )
    assert len(keys) == len(set(keys))
    for method, draws in recipe.DRAWS.items():
        expected = {
            (labels, seed) for labels, count in draws.items() for seed in range(count)
        }
        assert {
            (labels, seed) for name, labels, _, seed in keys if name == method
        } == expected


def test_counting_words_gives_the_kept_result_again(recipe):
    articles = load_bbc_news(split=True)
    labels = np.array(articles["train"]["label"])
    rows = recipe.draw(len(labels), 20, 0)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    words = vectorizer.fit_transform(
        [articles["train"][int(row)]["text"] for row in rows]
    )
    model = LogisticRegression(C=10, class_weight="balanced", max_iter=1000).fit(
        words, labels[rows]
    )
    right = model.predict(vectorizer.transform(articles["test"]["text"])) == np.array(
        articles["test"]["label"]
    )
    kept = next(
        run
        for run in KEPT["runs"]
        if (run["method"], run.get("labels"), run["seed"]) == ("tf-idf", 20, 0)
    )
    # A few articles may lie so near the boundary that another linear algebra library
    # decides otherwise.
    assert np.mean(right == (np.array(list(kept["right"])) == "1")) > 0.99
