"""The script that the guide shows, run on two small tables."""

import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from finetuning.data.messages import PILES, load_messages

SCRIPT = Path(__file__).parents[2] / "recipes" / "sort_tickets.py"


def run_in(folder):
    """What the script does with the tables of a folder."""
    return subprocess.run(
        [sys.executable, SCRIPT], cwd=folder, capture_output=True, text=True
    )


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
    run = run_in(folder)
    run.check_returncode()
    return pandas.read_csv(folder / "sorted.csv"), run.stdout, labels[:40]


def lines_of_methods(printed):
    """Share right, number of tickets and C of each method, as printed."""
    line = r"^{} +([01]\.\d\d) of (\d+) right, C = (\d+)(, an end of its grid)?$"
    found = {
        name: re.search(line.format(name), printed, re.MULTILINE)
        for name in ("counted words", "frozen features")
    }
    return {
        name: (float(match[1]), int(match[2]), int(match[3]), match[4])
        for name, match in found.items()
    }


def held_back(printed):
    """The method that sorts, and how many tickets were held back to report."""
    found = re.search(
        r"^(.+), on (\d+) tickets that were held back:", printed, re.MULTILINE
    )
    return found[1], int(found[2])


def test_both_methods_are_measured_on_the_tickets_that_choose(desk):
    _, printed, _ = desk
    methods = lines_of_methods(printed)
    assert re.match(r"always 'fault': 0\.[4-8]\d\n", printed)
    for share, number, C, edge in methods.values():
        # Three quarters of the hundred, give or take a group of near-duplicates.
        assert 70 <= number <= 80
        assert share > 0.7
        assert (edge is not None) == (C in (1, 100_000))
    best, _ = held_back(printed)
    assert methods[best][0] == max(share for share, *_ in methods.values())


def test_the_tickets_held_back_are_others(desk):
    _, printed, _ = desk
    _, number = held_back(printed)
    assert {
        number + learnt for _, learnt, *_ in lines_of_methods(printed).values()
    } == {100}
    assert re.search(
        r"^  [01]\.\d\d right \[[01]\.\d\d, [01]\.\d\d\]$", printed, re.MULTILINE
    )


def test_most_new_tickets_get_their_pile(desk):
    written, _, labels = desk
    assert sorted(written["id"]) == list(range(40))
    right = written["label"] == [PILES[labels[row]] for row in written["id"]]
    assert right.mean() > 0.85


def test_the_least_sure_stand_first(desk):
    written, _, _ = desk
    assert written["probability"].is_monotonic_increasing
    assert written["probability"].between(0.5, 1).all()


def test_what_is_found_and_put_there_adds_up_to_the_share_right(desk):
    _, printed, _ = desk
    _, number = held_back(printed)
    share = float(re.search(r"^  ([01]\.\d\d) right", printed, re.MULTILINE)[1])
    line = r"  '(\w+)': (\d+) of (\d+) found; of (\d+) put there (\d+) right"
    labels = re.findall(line, printed)
    assert [label for label, *_ in labels] == ["billing", "fault"]
    found, of, put, right = (
        [int(numbers[place]) for numbers in labels] for place in range(1, 5)
    )
    assert found == right
    assert sum(of) == sum(put) == number
    # Of 40 messages about money a quarter, of 60 about faults a quarter: give or
    # take a group.
    assert of == pytest.approx([10, 15], abs=3)
    assert sum(found) / number == pytest.approx(share, abs=0.005)


def test_the_threshold_leaves_the_doubtful_ones_to_a_person(desk):
    written, printed, _ = desk
    _, number = held_back(printed)
    line = r"  probability ([01]\.\d\d) or more: (\d+) kept, (\d+) of them right"
    threshold, kept, right = re.search(line, printed).groups()
    assert int(right) <= int(kept) <= number
    end = re.search(r"(\d+) texts by (.+), (\d+) for a person\n$", printed)
    assert int(end[1]) == 40
    assert end[2] == held_back(printed)[0]
    doubtful = written["person"].tolist()
    assert int(end[3]) == sum(doubtful)
    assert doubtful == sorted(doubtful, reverse=True)  # they stand first
    # Printed with two decimals, so one text may lie between.
    below = (written["probability"] < float(threshold)).sum()
    assert sum(doubtful) == pytest.approx(below, abs=1)


@pytest.mark.parametrize(
    ("piles", "said"),
    [
        ([None] * 20, "{}"),
        (["fault"] * 20, "{'fault': 20}"),
        (["fault"] * 17 + ["billing"] * 3, "{'billing': 3, 'fault': 17}"),
    ],
)
def test_a_file_too_small_to_split_is_refused_in_a_sentence(tmp_path, piles, said):
    texts = [f"{word} " * 6 for word in "abcdefghijklmnopqrst"]
    table = pandas.DataFrame({"text": texts, "label": piles})
    table.to_csv(tmp_path / "tickets.csv", index=False)
    run = run_in(tmp_path)
    assert run.returncode == 1
    assert run.stderr.startswith("tickets.csv needs two labels or more and four")
    assert f"and has {said}. Tickets that share wording" in run.stderr
    assert not (tmp_path / "sorted.csv").exists()


def test_tickets_with_one_signature_are_refused_and_the_reason_is_named(tmp_path):
    signature = "With kind regards from all of us at the northern office of the club"
    texts, labels = load_messages("train")
    texts = [f"{text} {signature}" for text in texts]
    table = pandas.DataFrame({"text": texts, "label": labels})
    table.to_csv(tmp_path / "tickets.csv", index=False)
    run = run_in(tmp_path)
    assert run.returncode == 1
    assert "and has {'0': 1, '1': 1}. Tickets that share wording" in run.stderr
    assert run.stderr.endswith(
        "count as one: cut signatures and templates, then try again.\n"
    )
