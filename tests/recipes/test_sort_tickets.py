"""The script that the guide shows, run on two small tables."""

import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from finetuning.data.messages import PILES, load_messages

SCRIPT = Path(__file__).parents[2] / "recipes" / "sort_tickets.py"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with tables of a support desk's messages, sorted by the script."""
    folder = tmp_path_factory.mktemp("desk")
    texts, labels = load_messages("train")
    piles = [PILES[label] for label in labels]
    table = pandas.DataFrame({"text": texts, "label": piles})
    # What tables have in life: a row without a label, and one without a text.
    table.loc[len(table)] = ["Which of your plans is the best one?", None]
    table.loc[len(table)] = [None, "fault"]
    table.to_csv(folder / "tickets.csv", index=False)
    texts, labels = load_messages("test")
    pandas.DataFrame({"id": range(40), "text": texts[:40]}).to_csv(
        folder / "new.csv", index=False
    )
    printed = subprocess.run(
        [sys.executable, SCRIPT],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return pandas.read_csv(folder / "sorted.csv"), printed, labels[:40]


def test_both_methods_are_measured_on_tickets_that_were_held_back(desk):
    _, printed, _ = desk
    held_back = r"{} +0\.\d\d of (\d+) right \[0\.\d\d, [01]\.\d\d\]"
    counted = re.search(held_back.format("counted words"), printed)
    frozen = re.search(held_back.format("frozen features"), printed)
    assert re.match(r"always 'fault': 0\.[4-8]\d\n", printed)
    # A quarter of the hundred, give or take a group of near-duplicates.
    assert 20 <= int(counted[1]) == int(frozen[1]) <= 30


def test_most_new_tickets_get_their_pile(desk):
    written, _, labels = desk
    assert sorted(written["id"]) == list(range(40))
    right = written["label"] == [PILES[labels[row]] for row in written["id"]]
    assert right.mean() > 0.85


def test_the_least_sure_stand_first(desk):
    written, _, _ = desk
    assert written["probability"].is_monotonic_increasing
    assert written["probability"].between(0.5, 1).all()
