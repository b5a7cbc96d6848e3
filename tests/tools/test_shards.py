"""Notebooks in shares for jobs side by side: each once, and none much longer."""

import subprocess
import sys

import pytest
import samples
from notebooks import ROOT, TIME_LIMITS
from shards import pack, seconds


def test_every_notebook_is_in_one_share():
    durations = {f"{number:02}": float(number) for number in range(1, 25)}
    shares = pack(durations, 5)
    assert sorted(name for share in shares for name in share) == sorted(durations)
    totals = [sum(durations[name] for name in share) for share in shares]
    assert max(totals) < 1.05 * sum(totals) / 5


def test_the_longest_stands_alone():
    durations = {"a": 9.0, "b": 3.0, "c": 3.0, "d": 3.0}
    assert pack(durations, 2) == [["a"], ["b", "c", "d"]]
    assert pack({"a": 1.0}, 2) == [["a"], []]


def test_a_notebook_that_never_ran_counts_as_its_limit(tmp_path):
    root = samples.book(tmp_path)
    (root / "solutions/05-new.ipynb").write_text("{}")
    assert seconds(root) == {
        samples.CHAPTER: 3.0,
        samples.SOLUTIONS: 3.0,
        "solutions/05-new.ipynb": TIME_LIMITS["solutions"],
    }


def shards(*words):
    command = [sys.executable, ROOT / "tools" / "shards.py", *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_what_pytest_is_told():
    ignored = []
    for number in (1, 2, 3):
        folders, others = [], set()
        for word in shards(f"{number}/3").stdout.split():
            if word.startswith("--ignore="):
                others.add(word.removeprefix("--ignore="))
            else:
                folders.append(word)
        assert folders == ["chapters", "solutions"]
        ignored.append(others)
    # Each notebook is left out by all shares but one.
    for name in seconds():
        assert sum(name in others for others in ignored) == 2
    assert shards().stdout == "chapters solutions\n"


@pytest.mark.parametrize("word", ["0/3", "4/3", "2", "2/x", ""])
def test_what_is_no_share_is_one_sentence(word):
    done = shards(word)
    assert done.returncode == 2
    assert done.stderr.endswith(f"a share is written as 2/3, not {word!r}\n")
