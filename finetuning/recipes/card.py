"""The card of a classifier: what it was made of, and what it was found to do."""

from collections.abc import Sequence

from finetuning.recipes import kept
from finetuning.recipes.report import interval, verdict
from finetuning.recipes.settings import Settings

USE = """\
```python
from finetuning.recipes.predict import load_classifier

classifier = load_classifier("this folder")
classifier.predict(["a text"])
```

or `python -m finetuning.recipes.predict FOLDER new.csv labelled.csv`."""


def card(settings: Settings, made: dict[str, object]) -> str:
    """In Markdown, from all figures (`report.compare`)."""
    texts = made["texts"]
    calibration = made["calibration"]
    return "\n\n".join(
        [
            "# A classifier of texts",
            verdict(made),
            f"**Classes** {', '.join(made['per_class'])}.",
            f"**Trained on** {texts['train']:,} texts; {texts['validation']:,} others "
            f"decided, {texts['test']:,} others report. Texts that share much of their "
            "wording are in one part.",
            sources(made),
            "## Figures on the test part",
            _methods(made),
            "Intervals are 95 % bootstraps over the test texts. The linear classifiers "
            "tried six strengths of regularisation each, the tuned encoder one "
            f"learning rate and up to {settings.epochs} epochs.",
            _classes(made),
            "## How sure it is",
            "A probability comes from scores divided by "
            f"{calibration['temperature']:.2f}, which the validation part chose: the "
            f"calibration error went from {calibration['error_before']:.3f} to "
            f"{calibration['error_after']:.3f}.",
            _thresholds(made),
            "Choose a threshold by the table of the validation part in "
            f"`{kept.METRICS}`; this one says what it then brings.",
            "## Notes",
            "\n".join(f"- {note}" for note in made["notes"] or ["none"]),
            "## Use",
            USE,
            "**Not known** is how it does on texts from elsewhere or from another "
            "year, and whether it errs more on texts by some people than by others.",
            "",
        ]
    )


LANGUAGE_USE = """\
```python
from finetuning.recipes.predict import load_language_model
from finetuning.tuning import write

model, tokenizer = load_language_model("this folder")
write(model, tokenizer, ["a prompt"])
```"""


def language_card(settings: Settings, made: dict[str, object], result: str) -> str:
    """Of a tuned language model; `result` says what came out."""
    pairs = made["pairs"]
    kind = "An adapter for" if settings.method != "full" else "A tuned copy of"
    losses = ", ".join(f"{loss:.3f}" for loss in made["validation_losses"])
    return "\n\n".join(
        [
            "# A tuned language model",
            result,
            f"**{kind}** {settings.model}, by {settings.task} ({settings.method}).",
            f"**Trained on** {pairs['train']:,} pairs; {pairs['validation']:,} others "
            f"decided, {pairs['test']:,} others report. Pairs that share much of their "
            "wording are in one part.",
            sources(made),
            f"One learning rate, {settings.learning_rate:g}, was tried. Validation "
            f"loss after each epoch: {losses}; the weights are those of epoch "
            f"{made['epoch']}. Intervals are 95 % bootstraps over the test pairs.",
            "## Notes",
            "\n".join(f"- {note}" for note in made["notes"] or ["none"]),
            "## Use",
            LANGUAGE_USE,
            "**Not known** is what else the model has forgotten or learnt: measure it "
            "on what it has to do, and read what it writes.",
            "",
        ]
    )


def sources(made: dict[str, object]) -> str:
    """The files, each with its hash."""
    return table(
        ("part", "file", "rows", "SHA-256"),
        [
            (part, each["file"], f"{each['rows']:,}", f"`{each['sha256']}`")
            for part, each in made["data"].items()
        ],
    )


def _methods(made: dict[str, object]) -> str:
    rows = []
    for name, figures in made["methods"].items():
        test = figures["test"]
        rows.append(
            (
                name,
                f"{test['accuracy']:.3f} {interval(test['accuracy_interval'])}",
                f"{test['macro_f1']:.3f} {interval(test['macro_f1_interval'])}",
                f"{figures['validation']['macro_f1']:.3f}",
                f"{made['seconds'][name]:.1f}",
            )
        )
    header = ("method", "accuracy", "macro-F1", "macro-F1 that decided", "seconds")
    return table(header, rows)


def _classes(made: dict[str, object]) -> str:
    return table(
        ("class", "texts", "recall", "precision"),
        [
            (name, each["texts"], _share(each["recall"]), _share(each["precision"]))
            for name, each in made["per_class"].items()
        ],
    )


def _thresholds(made: dict[str, object]) -> str:
    return table(
        ("probability at least", "share of texts", "share of those right"),
        [
            (
                f"{row['threshold']:.2f}",
                f"{row['share_kept']:.3f}",
                _share(row["share_right"]),
            )
            for row in made["thresholds"]["test"]
        ],
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; a bar in a cell is no end of it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    )


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.3f}"
