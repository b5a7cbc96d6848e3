"""The metric scripts, loaded by `evaluate` itself and compared with scikit-learn."""

import evaluate
import numpy as np
import offline
import pytest
from sklearn.metrics import accuracy_score, f1_score

from finetuning import metrics

REFERENCES = [0, 1, 2, 2, 1, 0, 2, 1, 0, 1]
PREDICTIONS = [0, 2, 2, 2, 1, 0, 1, 1, 1, 1]


@pytest.fixture(scope="module")
def accuracy():
    return evaluate.load(metrics.path("accuracy"))


@pytest.fixture(scope="module")
def f1():
    return evaluate.load(metrics.path("f1"))


def test_names():
    assert metrics.names() == ["accuracy", "f1"]


def test_an_unknown_metric_is_told_what_exists():
    with pytest.raises(
        ValueError, match="no metric named 'bleu'; there are accuracy, f1"
    ):
        metrics.path("bleu")


def test_accuracy_by_hand(accuracy):
    assert accuracy.compute(predictions=[1, 1, 0, 0], references=[1, 0, 0, 0]) == {
        "accuracy": 0.75
    }


def test_accuracy_is_scikit_learns(accuracy):
    expected = accuracy_score(REFERENCES, PREDICTIONS)
    assert accuracy.compute(predictions=PREDICTIONS, references=REFERENCES) == {
        "accuracy": expected
    }
    assert accuracy.compute(
        predictions=PREDICTIONS, references=REFERENCES, normalize=False
    ) == {"accuracy": 7}


def test_f1_by_hand(f1):
    # One true positive, one false positive, no false negative: precision 1/2, recall 1,
    # F1 2/3.
    assert f1.compute(predictions=[1, 1, 0, 0], references=[1, 0, 0, 0])[
        "f1"
    ] == pytest.approx(2 / 3)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_f1_is_scikit_learns(f1, average):
    score = f1.compute(predictions=PREDICTIONS, references=REFERENCES, average=average)
    assert score == {
        "f1": pytest.approx(f1_score(REFERENCES, PREDICTIONS, average=average))
    }
    assert type(score["f1"]) is float


def test_f1_of_each_label(f1):
    scores = f1.compute(predictions=PREDICTIONS, references=REFERENCES, average=None)[
        "f1"
    ]
    assert scores == pytest.approx(
        f1_score(REFERENCES, PREDICTIONS, average=None).tolist()
    )
    assert len(scores) == 3


def test_references_and_predictions_are_not_mixed_up(f1):
    forth = f1.compute(
        predictions=PREDICTIONS, references=REFERENCES, average="weighted"
    )["f1"]
    back = f1.compute(
        predictions=REFERENCES, references=PREDICTIONS, average="weighted"
    )["f1"]
    assert forth != pytest.approx(back)
    assert forth == pytest.approx(f1_score(REFERENCES, PREDICTIONS, average="weighted"))


def test_batches_and_arrays(accuracy):
    for start in range(0, 10, 4):
        part = slice(start, start + 4)
        accuracy.add_batch(
            predictions=np.array(PREDICTIONS[part]),
            references=np.array(REFERENCES[part]),
        )
    assert accuracy.compute() == {"accuracy": 0.7}


def test_combined():
    both = evaluate.combine([metrics.path("accuracy"), metrics.path("f1")])
    assert both.compute(predictions=[1, 1, 0, 0], references=[1, 0, 0, 0]) == {
        "accuracy": 0.75,
        "f1": pytest.approx(2 / 3),
    }


def test_no_network_and_nothing_on_stderr(tmp_path):
    """In a fresh process with an empty cache; Python refuses every connection."""
    script = (
        "import evaluate\n"
        "from finetuning import metrics\n"
        "for name in metrics.names():\n"
        "    print(evaluate.load(metrics.path(name)).compute(predictions=[1, 0], "
        "references=[1, 0]))\n"
    )
    printed, errors = offline.run(script, tmp_path)
    assert (printed, errors) == ("{'accuracy': 1.0}\n{'f1': 1.0}\n", "")
