"""Cutting a table into parts that have nothing in common.

Texts that share much of their wording are one group, by `near_duplicate_groups` of
`finetuning.data`, and a group is on one side. Each class has its share in each part.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from finetuning.recipes.errors import RecipeError, listed


@dataclass(frozen=True)
class Parts:
    """Rows to learn from, to decide with, and to report on.

    `test` are rows of the same table, or none where there is a test file.
    """

    train: list[int]
    validation: list[int]
    test: list[int]


def three_parts(
    groups: Sequence[int],
    labels: Sequence[str],
    *,
    test: float,
    validation: float,
    seed: int,
) -> Parts:
    """Shuffled rows: a share `test`, a share `validation` of the rest, and the others.

    With `test=0` there is no test part. Raises RecipeError, with the class, if one is
    not in every part: it has too few groups, or too large ones.
    """
    rows = list(range(len(labels)))
    held_back: list[int] = []
    if test:
        rows, held_back = _cut(rows, groups, labels, test, f"{seed}/test")
    train, decide = _cut(rows, groups, labels, validation, f"{seed}/validation")
    parts = Parts(train, decide, held_back)
    needed = [train, decide] + ([held_back] if test else [])
    lacking = [
        label
        for label in sorted(set(labels))
        if any(all(labels[row] != label for row in part) for part in needed)
    ]
    if lacking:
        pairs = set(zip(groups, labels, strict=True))
        different = sum(label == lacking[0] for _, label in pairs)
        raise RecipeError(
            f"class {listed(lacking[:1])} has {different} texts that differ, too few "
            f"to be in {len(needed)} parts with a fair share: texts that share much "
            "of their wording count as one (cut signatures and templates, or add texts)"
        )
    return parts


def _cut(
    rows: Sequence[int],
    groups: Sequence[int],
    labels: Sequence[str],
    share: float,
    name: str,
) -> tuple[list[int], list[int]]:
    """Rows without, and with, about `share` of each class; groups stay whole.

    A class gives at least one row. The order is a hash of its name and the row, and not
    of a generator, whose draws another version of its library may change.
    """

    def draw(row: int) -> bytes:
        return hashlib.sha256(f"{name}/{row}".encode()).digest()

    members: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        members[groups[row]].append(row)
    counts = Counter(labels[row] for row in rows)
    room = Counter(
        {label: max(1, round(share * count)) for label, count in counts.items()}
    )
    taken: set[int] = set()
    for group in sorted(members, key=lambda group: draw(members[group][0])):
        wanted = Counter(labels[row] for row in members[group])
        if all(room[label] >= count for label, count in wanted.items()):
            room.subtract(wanted)
            taken.update(members[group])
    order = sorted(rows, key=draw)
    return (
        [row for row in order if row not in taken],
        [row for row in order if row in taken],
    )


def repeats(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Notes on texts that stand in a table more than once, or with two labels."""
    of_text: defaultdict[str, set[str]] = defaultdict(set)
    for text, label in zip(texts, labels, strict=True):
        of_text[text.strip()].add(label)
    notes = []
    again = len(texts) - len(of_text)
    if again:
        notes.append(
            f"{again:,} of {len(texts):,} texts are exact copies of others; copies "
            "stay in one part"
        )
    contradictory = sum(len(labels) > 1 for labels in of_text.values())
    if contradictory:
        notes.append(
            f"{contradictory:,} texts stand there with more than one label, and one "
            "of the two must be wrong"
        )
    return notes
