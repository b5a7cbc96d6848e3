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


def test_what_is_found_of_each_label_adds_up_to_the_share_right(desk):
    _, printed, _ = desk
    best = re.search(r"^(.+), on the same (\d+) tickets:", printed, re.MULTILINE)
    share = float(re.search(rf"{best[1]} +(0\.\d\d|1\.00) of", printed)[1])
    found = re.findall(r"  of '(\w+)': (\d+) of (\d+) found", printed)
    assert [label for label, _, _ in found] == ["billing", "fault"]
    assert sum(int(of) for _, _, of in found) == int(best[2])
    # Of 40 messages about money a quarter, of 60 about faults a quarter: give or
    # take a group.
    assert [int(of) for _, _, of in found] == pytest.approx([10, 15], abs=3)
    right = sum(int(number) for _, number, _ in found)
    assert right / int(best[2]) == pytest.approx(share, abs=0.005)


def test_a_threshold_keeps_fewer_the_higher_it_is(desk):
    _, printed, _ = desk
    lines = re.findall(r"  probability (0\.\d) or more: (\d+) kept, (.*)\n", printed)
    assert [threshold for threshold, _, _ in lines] == ["0.5", "0.7", "0.9"]
    kept = [int(number) for _, number, _ in lines]
    # Of two labels one has a probability of a half or more.
    assert kept[0] == int(re.search(r"on the same (\d+) tickets", printed)[1])
    assert kept == sorted(kept, reverse=True)
    for number, (_, _, share) in zip(kept, lines, strict=True):
        expected = r"[01]\.\d\d of them right" if number else "none to judge"
        assert re.fullmatch(expected, share)


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
