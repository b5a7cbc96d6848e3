"""bench/char_gpt.py on small texts: what it prints, that it keeps to its time, and what
it refuses.
"""

import json
import math
import subprocess
import sys

import pytest
from notebooks import ROOT

TEXT = "To learn is to change; to change is to have learnt. " * 100


def run(tmp_path, text=TEXT, seconds="20", encoding="utf-8"):
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode(encoding))
    command = [
        sys.executable,
        "bench/char_gpt.py",
        "--text",
        str(path),
        "--seconds",
        seconds,
    ]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def one_sentence(done):
    """What it says when it refuses: one line, no traceback, nothing on stdout."""
    assert done.returncode != 0 and not done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_one_line_of_json_in_time(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) == 1
    result = json.loads(done.stdout)
    assert set(result) == {
        "val_loss",
        "parameters",
        "tokens_per_second",
        "steps",
        "train_seconds",
    }
    assert (
        0 < result["val_loss"] < math.log(17)
    )  # what no model at all would have, however slow the machine
    assert 0 < result["parameters"] <= 1_000_000
    assert result["steps"] >= 1 and result["tokens_per_second"] > 0
    assert result["train_seconds"] <= 22  # a step may be in progress
    assert not done.stderr


def test_a_character_that_only_the_last_part_has_is_counted_and_said(tmp_path):
    done = run(tmp_path, TEXT + "ß")
    assert done.returncode == 0
    assert (
        "1 of the 521 characters to validate on (['ß']) did not occur in training"
        in done.stderr
    )
    assert len(done.stderr.strip().splitlines()) == 1
    assert 0 < json.loads(done.stdout)["val_loss"] < 20


def test_many_characters_get_a_smaller_model(tmp_path):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 2500))) * 3
    result = json.loads(run(tmp_path, text).stdout)
    assert result["parameters"] <= 1_000_000


@pytest.mark.parametrize(
    ("text", "seconds", "sentence"),
    [
        ("", "10", "has 0 characters, and it takes at least"),
        ("To learn.", "10", "has 9 characters, and it takes at least"),
        (TEXT, "0.01", "0.01 seconds are over before the first step"),
        (TEXT, "-3", "-3 seconds are over before the first step"),
        (
            "".join(map(chr, range(0x4E00, 0x4E00 + 6000))) * 2,
            "30",
            "too many for a model of 1,000,000",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, text, seconds, sentence):
    assert sentence in one_sentence(run(tmp_path, text, seconds))


def test_what_is_not_text(tmp_path):
    assert "is not text in UTF-8" in one_sentence(
        run(tmp_path, "naïve " * 200, encoding="latin-1")
    )


def test_a_file_that_is_not_there():
    command = [
        sys.executable,
        "bench/char_gpt.py",
        "--text",
        "no-such-file.txt",
        "--seconds",
        "10",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (
        "no-such-file.txt cannot be read (No such file or directory)"
        in one_sentence(done)
    )
