"""The columns of a table that a task needs, checked before anything is trained."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from finetuning.recipes.errors import RecipeError, listed
from finetuning.recipes.tables import Table

# What Python writes for a missing number. `NA` and `null` may be texts.
WRITTEN_NAN = ("nan", "NaN")
FRACTION = re.compile(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?")
NUMBER = re.compile(r"[-+]?\d+")
IDENTIFIER = re.compile(r"[A-Za-z0-9._:/#+-]*\d[A-Za-z0-9._:/#+-]*")


def column(table: Table, name: str, option: str) -> list[object]:
    """The values of a column; `option` is where a reader says which.

    Raises RecipeError, with the columns that there are, if there is none of the name.
    """
    if name in table.columns:
        return table.columns[name]
    there = [each for each in table.columns if each]
    hint = ""
    if len(there) == 1 and any(mark in there[0] for mark in ";\t|"):
        hint = (
            ", which looks like several: a .csv is separated by commas, a .tsv by tabs"
        )
    raise RecipeError(
        f"{table.name} has no column {name!r}; it has {listed(there)}{hint} (choose "
        f"with {option})"
    )


def read_texts(
    table: Table, name: str, option: str, *, written_by_people: bool = True
) -> list[str]:
    """The texts of a column.

    Raises RecipeError if there is no such column, if a value is missing, empty or no
    text; and, of what people write, if the column holds identifiers.
    """
    values = column(table, name, option)
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        raise RecipeError(
            f"{len(missing):,} of {len(values):,} values in column {name!r} of "
            f"{table.name} are missing or empty ({table.places(missing)}): fill them, "
            "or take those rows out"
        )
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise RecipeError(
                f"column {name!r} of {table.name} holds no texts: {table.places([row])}"
                f" is {value!r} (choose another column with {option})"
            )
        _refuse_half_character(table, name, row, value)
    if written_by_people and _are_identifiers(values):
        others = [each for each in table.columns if each and each != name]
        raise RecipeError(
            f"column {name!r} of {table.name} looks like identifiers "
            f"({listed(values, 3)}) and not like texts; other columns are "
            f"{listed(others)} (choose with {option})"
        )
    return list(values)


def read_labels(table: Table, name: str, option: str) -> list[str]:
    """The labels of a column, as strings without blanks around them.

    Raises RecipeError if there is no such column, if a label is missing, if labels are
    numbers with a decimal point or lists, if they are all the same, or if there are
    more than one for two texts.
    """
    labels = _label_strings(table, name, option)
    classes = sorted(set(labels))
    if len(classes) == 1:
        raise RecipeError(
            f"all {len(labels):,} labels in column {name!r} of {table.name} are "
            f"{classes[0]!r}: there is nothing to tell apart"
        )
    if len(classes) > 2 and 2 * len(classes) > len(labels):
        raise RecipeError(
            f"column {name!r} of {table.name} holds {len(classes):,} different values "
            f"in {len(labels):,} rows, which are no classes (choose another column "
            f"with {option})"
        )
    return labels


def read_test_labels(
    table: Table, name: str, option: str, known: Sequence[str]
) -> list[str]:
    """The labels of a test file.

    Raises RecipeError as `read_labels` does for single labels, and for one that no
    training text has. A test file of one class is allowed.
    """
    labels = _label_strings(table, name, option)
    unseen = Counter(label for label in labels if label not in set(known))
    if unseen:
        first = [row for row, label in enumerate(labels) if label in unseen]
        raise RecipeError(
            f"{table.name} has labels that no training text has: "
            f"{listed(sorted(unseen))} in {table.places(first)}; training has "
            f"{listed(sorted(set(known)))}"
        )
    return labels


def notes_on_labels(labels: Sequence[str]) -> list[str]:
    """What looks odd about labels, and may be meant."""
    spellings: dict[str, set[str]] = {}
    for label in set(labels):
        spellings.setdefault(label.casefold(), set()).add(label)
    return [
        f"labels {listed(sorted(several))} differ in nothing but capitals and are "
        "taken for different classes"
        for several in spellings.values()
        if len(several) > 1
    ]


def is_missing(value: object) -> bool:
    """Whether a value is none: null, NaN, white space, or how Python writes NaN."""
    if isinstance(value, str):
        return not value.strip() or value in WRITTEN_NAN
    return value is None or (isinstance(value, float) and math.isnan(value))


def _label_strings(table: Table, name: str, option: str) -> list[str]:
    values = column(table, name, option)
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        raise RecipeError(
            f"{len(missing):,} of {len(values):,} labels in column {name!r} of "
            f"{table.name} are missing ({table.places(missing)}): fill them, or take "
            "those rows out"
        )
    for row, value in enumerate(values):
        if isinstance(value, (list, tuple, dict)):
            raise RecipeError(
                f"the label in {table.places([row])} of {table.name} is {value!r}: "
                "several labels a text (or parts of a text) are not learnt here, only "
                "one label a text"
            )
        if isinstance(value, str):
            _refuse_half_character(table, name, row, value)
    labels = [_as_string(value) for value in values]
    _refuse_floats(table, name, labels)
    return labels


def _as_string(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).strip()


def _refuse_floats(table: Table, name: str, labels: Sequence[str]) -> None:
    """Raise RecipeError if all labels are numbers, some with a decimal point."""
    different = sorted(set(labels))
    fractions = [label for label in different if FRACTION.fullmatch(label)]
    if not fractions or not all(
        FRACTION.fullmatch(label) or NUMBER.fullmatch(label) for label in different
    ):
        return
    if all(float(label).is_integer() for label in different):
        raise RecipeError(
            f"labels in column {name!r} of {table.name} are {listed(different, 4)}, "
            "as whole numbers become where one is missing: write them as whole "
            "numbers, or as names"
        )
    raise RecipeError(
        f"labels in column {name!r} of {table.name} are numbers with fractions "
        f"({listed(fractions, 3)}), and predicting a number (regression) is not done "
        "here; if they are names of classes, put a letter before each"
    )


def _refuse_half_character(table: Table, name: str, row: int, value: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise RecipeError(
            f"{table.places([row])} of {table.name} has half a character in column "
            f"{name!r} (a \\ud… that stands alone): write the file anew"
        ) from None


def _are_identifiers(values: Sequence[str]) -> bool:
    """Whether nearly all values are one piece with a digit in it, and all differ."""
    if len(set(values)) < len(values):
        return False
    pieces = sum(IDENTIFIER.fullmatch(value.strip()) is not None for value in values)
    return pieces >= 0.95 * len(values)
