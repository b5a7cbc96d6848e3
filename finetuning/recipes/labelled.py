"""Texts and labels from a reader's files, checked and cut into parts.

Nothing here needs torch, so what is wrong with a file is said at once.
"""

from dataclasses import dataclass

import numpy as np

from finetuning.data import near_duplicate_groups
from finetuning.recipes.columns import (
    notes_on_labels,
    read_labels,
    read_test_labels,
    read_texts,
)
from finetuning.recipes.settings import Settings
from finetuning.recipes.splitting import Parts, repeats, three_parts
from finetuning.recipes.tables import Table, read_table

VALIDATION = 0.2  # of what is not held back for the test


@dataclass(frozen=True)
class Labelled:
    """All texts, those of a test file last, and their labels as numbers of `names`.

    `places` are the lines (or rows) that texts have in their file. `known` are those of
    a test file that share much of their wording with a text of the training file.
    """

    texts: list[str]
    labels: np.ndarray
    names: list[str]
    places: list[int]
    parts: Parts
    known: list[int]
    notes: list[str]
    sources: dict[str, dict[str, object]]


def load_labelled(settings: Settings) -> Labelled:
    """The files that the settings name.

    Raises RecipeError for all that cannot be learnt from.
    """
    table = read_table(settings.train)
    texts = read_texts(table, settings.text_column, "--text-column")
    labels = read_labels(table, settings.label_column, "--label-column")
    notes = [*table.notes, *notes_on_labels(labels), *repeats(texts, labels)]
    sources = {"train": source(table)}
    places = list(table.numbers)
    learnt = len(texts)
    if settings.test is not None:
        table = read_table(settings.test)
        texts += read_texts(table, settings.text_column, "--text-column")
        labels += read_test_labels(
            table, settings.label_column, "--label-column", labels
        )
        notes += table.notes
        sources["test"] = source(table)
        places += table.numbers
    groups = near_duplicate_groups(texts)
    parts = three_parts(
        groups[:learnt],
        labels[:learnt],
        test=0.0 if settings.test else settings.test_fraction,
        validation=VALIDATION,
        seed=settings.seed,
    )
    known: list[int] = []
    if settings.test is not None:
        parts = Parts(parts.train, parts.validation, list(range(learnt, len(texts))))
        of_training = set(groups[:learnt])
        known = [row for row in parts.test if groups[row] in of_training]
    if known:
        notes.append(
            f"{len(known):,} of {len(parts.test):,} test texts share much of their "
            "wording with training texts, so the test is in part one of memory"
        )
    names = sorted(set(labels))
    numbers = {name: number for number, name in enumerate(names)}
    return Labelled(
        texts,
        np.array([numbers[label] for label in labels]),
        names,
        places,
        parts,
        known,
        notes,
        sources,
    )


def source(table: Table) -> dict[str, object]:
    """A file as metrics and card name it: no path of this machine."""
    return {"file": table.name, "rows": len(table), "sha256": table.sha256}
