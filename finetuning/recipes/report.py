"""What came out: all figures, and a few lines for the terminal."""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch

from finetuning.recipes import measuring
from finetuning.recipes.labelled import Labelled
from finetuning.recipes.language import Chats
from finetuning.recipes.method import Method
from finetuning.recipes.pairs import Pairs
from finetuning.recipes.settings import Settings
from finetuning.scratch.fine_tuning import expected_calibration_error
from finetuning.scratch.text_metrics import accuracy, macro_f1
from finetuning.statistics import Interval

PACKAGES = ("finetuning", "torch", "transformers", "accelerate", "peft", "scikit-learn")


def versions() -> dict[str, str]:
    """Of the packages that results depend on."""
    return {name: version(name) for name in PACKAGES}


def compare(
    settings: Settings,
    data: Labelled,
    methods: Sequence[Method],
    max_length: int,
    cut: int,
) -> dict[str, object]:
    """All figures, for metrics.json. `methods` go from cheap to dear.

    The one with the highest macro-F1 on the validation part is chosen; of equals the
    one with the lower loss there, each divided by its temperature.
    """
    decided = data.labels[data.parts.validation]
    labels = data.labels[data.parts.test]
    figures = {
        method.name: _figures(method, decided, labels, data.names) for method in methods
    }
    best = max(methods, key=lambda each: _merit(figures[each.name]["validation"]))
    baseline = methods[0]
    said = {method.name: method.scores["test"].argmax(axis=1) for method in methods}
    temperature = figures[best.name]["temperature"]
    shares = {
        part: measuring.probabilities(scores, temperature)
        for part, scores in best.scores.items()
    }
    commonest = int(np.bincount(data.labels[data.parts.train]).argmax())
    made = {
        "task": settings.task,
        **measuring.scores(said[best.name], labels),
        "chosen": best.name,
        "baseline": {"method": baseline.name} | figures[baseline.name]["test"],
        "ahead_of_baseline": measuring.difference(
            said[best.name], said[baseline.name], labels
        ),
        "ahead_of_others": {
            method.name: measuring.difference(
                said[best.name], said[method.name], labels
            )
            for method in methods
            if method is not best
        },
        "most_frequent_class": {
            "label": data.names[commonest],
            "accuracy": round(float((labels == commonest).mean()), 4),
        },
        "per_class": measuring.per_class(said[best.name], labels, data.names),
        "calibration": _calibration(best.scores["test"], labels, temperature),
        "thresholds": {
            "validation": measuring.threshold_table(shares["validation"], decided),
            "test": measuring.threshold_table(shares["test"], labels),
        },
        "methods": figures,
        "texts": {part: len(rows) for part, rows in vars(data.parts).items()}
        | {
            "max_length": max_length,
            "cut": cut,
            "known_from_training": len(data.known),
        },
        "notes": list(data.notes),
        "data": data.sources,
        "settings": settings.record(),
        "versions": versions(),
        "seconds": {method.name: round(method.seconds, 1) for method in methods},
    }
    if cut:
        made["notes"].append(
            f"{cut:,} of {len(data.texts):,} texts are longer than the {max_length} "
            "tokens that the encoder reads of each; counted words read all"
        )
    if data.known:
        known = set(data.known)
        new = [place for place, row in enumerate(data.parts.test) if row not in known]
        made["without_known_texts"] = (
            measuring.scores(said[best.name][new], labels[new]) if new else None
        )
    return made


def _merit(validation: dict[str, float]) -> tuple[float, float]:
    """The larger, the better."""
    return validation["macro_f1"], -validation["calibrated_loss"]


def _figures(
    method: Method, decided: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> dict[str, object]:
    """Of one method: its settings, what decided, and what the test says."""
    scores = method.scores
    temperature = measuring.fit_temperature(scores["validation"], decided)
    predicted = scores["validation"].argmax(axis=1)
    said = scores["test"].argmax(axis=1)
    per_class = measuring.per_class(said, labels, names)
    return {
        "settings": method.settings,
        "temperature": round(temperature, 4),
        "validation": {
            "loss": round(measuring.log_loss(scores["validation"], decided), 4),
            "calibrated_loss": round(
                measuring.log_loss(scores["validation"] / temperature, decided), 4
            ),
            "accuracy": round(accuracy(predicted, decided), 4),
            "macro_f1": round(macro_f1(predicted, decided), 4),
        },
        "test": measuring.scores(said, labels)
        | {"recall": {name: each["recall"] for name, each in per_class.items()}},
    }


def _calibration(
    scores: np.ndarray, labels: np.ndarray, temperature: float
) -> dict[str, float]:
    """How far probabilities are from the share right, before and after dividing."""
    targets = torch.from_numpy(labels)

    def error(number: float) -> float:
        shares = torch.from_numpy(measuring.probabilities(scores, number))
        return round(expected_calibration_error(shares, targets), 4)

    return {
        "temperature": temperature,
        "error_before": error(1.0),
        "error_after": error(temperature),
        "loss_before": round(measuring.log_loss(scores, labels), 4),
        "loss_after": round(measuring.log_loss(scores / temperature, labels), 4),
    }


def of_language(settings: Settings, pairs: Pairs, chats: Chats) -> dict[str, object]:
    """What metrics of a language model say of data, settings and versions."""
    notes = list(pairs.notes)
    if chats.long:
        notes.append(
            f"{chats.long:,} of {len(pairs):,} pairs have more than "
            f"{settings.max_length} tokens and are left out: an answer that is cut "
            "teaches the model not to end"
        )
    return {
        "pairs": {name: len(rows) for name, rows in chats.rows.items()}
        | {"left_out": chats.long, "known_from_training": len(pairs.known)},
        "notes": notes,
        "data": pairs.sources,
        "settings": settings.record(),
        "versions": versions(),
    }


def ends(found: Interval) -> list[float]:
    """Of an interval, for JSON."""
    return [round(found.low, 4), round(found.high, 4)]


def interval(ends: Sequence[float] | None) -> str:
    """ "[0.912, 0.950]", or why there is none."""
    if ends is None:
        return "(one text: no interval)"
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def verdict(made: dict[str, object]) -> str:
    """Which method was chosen, and by how much it is ahead."""
    baseline = made["baseline"]["method"]
    if made["chosen"] == baseline:
        others = "; ".join(
            f"less that of the {name}, {gap['accuracy']:+.3f} "
            f"{interval(gap['interval'])}"
            for name, gap in made["ahead_of_others"].items()
        )
        return (
            f"The baseline won: the validation part chose {baseline}. Its share right "
            f"of the test part, {others}."
        )
    gap = made["ahead_of_baseline"]
    sentence = (
        f"The validation part chose the {made['chosen']}. Its share right of the test "
        f"part, less that of the baseline ({baseline}), is {gap['accuracy']:+.3f} "
        f"{interval(gap['interval'])}"
    )
    if gap["interval"] is None:
        return f"{sentence}."
    low, high = gap["interval"]
    if high < 0:
        return f"{sentence}: on these texts the baseline is better."
    if low <= 0:
        return f"{sentence}: these texts do not tell the two apart."
    return f"{sentence}."


def in_words(made: dict[str, object]) -> str:
    """What a reader sees at the end."""
    lines = [verdict(made), ""]
    lines.append(f"{'':18s}{'accuracy':24s}{'macro-F1':24s}seconds")
    for name, figures in made["methods"].items():
        test = figures["test"]
        right = f"{test['accuracy']:.3f} {interval(test['accuracy_interval'])}"
        mean = f"{test['macro_f1']:.3f} {interval(test['macro_f1_interval'])}"
        lines.append(f"{name:18s}{right:24s}{mean:24s}{made['seconds'][name]:7.1f}")
    floor = made["most_frequent_class"]
    lines.append(f"always {floor['label']!r}: {floor['accuracy']:.3f}")
    return "\n".join(lines)
