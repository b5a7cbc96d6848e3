"""bench/char_gpt.py on small texts: what it prints, that it keeps to its time, and what
it refuses.

Its clock is one that goes on by a fixed time whenever it is looked at: how much of the
budget is over does not depend on how busy the machine is.
"""

import importlib.util
import itertools
import json
import math
import subprocess
import sys

import pytest
import torch
from notebooks import ROOT

TEXT = "To learn is to change; to change is to have learnt. " * 100
SCRIPT = ROOT / "bench" / "char_gpt.py"


def load():
    specification = importlib.util.spec_from_file_location("char_gpt", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


char_gpt = load()


@pytest.fixture(autouse=True)
def same_threads(monkeypatch) -> None:
    """The benchmark takes two threads; here it leaves them as they are."""
    monkeypatch.setattr(char_gpt, "THREADS", torch.get_num_threads())


def run(tmp_path, text=TEXT, seconds="12", encoding="utf-8", tick=2.0):
    """Run it in this process; each look at the clock takes `tick` seconds."""
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode(encoding))
    clock = itertools.count(tick, tick).__next__
    char_gpt.main(["--text", str(path), "--seconds", seconds], clock)


def refusal(tmp_path, *arguments, **keywords):
    """What it says when it refuses: one sentence."""
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, *arguments, **keywords)
    assert len(str(stopped.value).splitlines()) == 1
    return str(stopped.value)


def test_one_line_of_json_in_time(tmp_path, capsys):
    run(tmp_path)
    said = capsys.readouterr()
    assert said.out.count("\n") == 1 and not said.err
    result = json.loads(said.out)
    assert set(result) == {
        "val_loss",
        "parameters",
        "tokens_per_second",
        "steps",
        "train_seconds",
    }
    # What no model at all would have.
    assert 0 < result["val_loss"] < math.log(17)
    assert 0 < result["parameters"] <= 1_000_000
    # Set up at 2 seconds; steps begin at 4, 6 and 8; the next would end after 12.
    assert (result["steps"], result["train_seconds"]) == (3, 12)
    tokens = 3 * char_gpt.BATCH * char_gpt.Recipe().context
    assert result["tokens_per_second"] == round(tokens / 10)


def test_a_character_that_only_the_last_part_has_is_counted_and_said(tmp_path, capsys):
    run(tmp_path, TEXT + "ß")
    said = capsys.readouterr()
    assert (
        "1 of the 521 characters to validate on (['ß']) did not occur in training"
        in said.err
    )
    assert len(said.err.strip().splitlines()) == 1
    assert 0 < json.loads(said.out)["val_loss"] < 20


def test_many_characters_get_a_smaller_model():
    alphabet = "".join(map(chr, range(0x4E00, 0x4E00 + 2500)))
    model = char_gpt.build(alphabet)
    assert sum(each.numel() for each in model.parameters()) <= 1_000_000
    assert model.recipe.layers < char_gpt.Recipe().layers


@pytest.mark.parametrize(
    ("text", "seconds", "sentence"),
    [
        ("", "10", "has 0 characters, and it takes at least"),
        ("To learn.", "10", "has 9 characters, and it takes at least"),
        (TEXT, "0.01", "0.01 seconds are over before the first step, 2.0 of them"),
        (TEXT, "-3", "-3 seconds are over before the first step"),
        (
            "".join(map(chr, range(0x4E00, 0x4E00 + 6000))) * 2,
            "30",
            "too many for a model of 1,000,000",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, text, seconds, sentence):
    assert sentence in refusal(tmp_path, text, seconds)


def test_what_is_not_text(tmp_path):
    said = refusal(tmp_path, "naïve " * 200, encoding="latin-1")
    assert "is not text in UTF-8" in said


def test_the_process_has_a_clock_that_began_with_it():
    before = char_gpt.process_seconds()
    assert 0 < before <= char_gpt.process_seconds()


def test_a_file_that_is_not_there():
    """As a command: one line, no traceback, nothing on stdout."""
    command = [sys.executable, SCRIPT, "--text", "no-such-file.txt", "--seconds", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == (
        "no-such-file.txt cannot be read (No such file or directory): name a text file "
        "after --text\n"
    )
