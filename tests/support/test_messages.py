"""Chapter 00's messages: two piles, three parts that share nothing, always alike."""

import subprocess
import sys

import pytest

from finetuning.data.messages import PILES, SIZES, load_messages


def matters() -> list[list[str]]:
    """The hand-written sentences of each pile, as the module holds them."""
    from finetuning.data import messages

    return [block.strip().split("\n") for block in (messages._BILLING, messages._FAULT)]


@pytest.mark.parametrize("part", SIZES)
def test_each_part_has_two_of_billing_for_three_of_fault(part: str) -> None:
    texts, labels = load_messages(part)
    assert len(texts) == len(labels) == SIZES[part]
    assert labels.count(0) * 3 == labels.count(1) * 2
    assert set(labels) == set(range(len(PILES)))
    # Mixed: no part begins with all of a pile.
    assert len(set(labels[:20])) == 2


def test_every_written_sentence_is_used_once_and_with_its_label() -> None:
    parts = [load_messages(part) for part in SIZES]
    everything = [
        (text, label)
        for texts, labels in parts
        for text, label in zip(texts, labels, strict=True)
    ]
    for label, sentences in enumerate(matters()):
        assert len(set(sentences)) == len(sentences)
        for sentence in sentences:
            holders = [own for text, own in everything if sentence in text]
            assert holders == [label], sentence
    assert len(everything) == sum(map(len, matters()))


def test_another_process_gets_the_same() -> None:
    code = (
        "from finetuning.data.messages import load_messages\n"
        "print(load_messages('test'))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(load_messages("test"))


def test_what_comes_back_is_the_callers_own() -> None:
    texts, labels = load_messages("train")
    texts.clear()
    labels.clear()
    assert len(load_messages("train")[0]) == SIZES["train"]


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ValueError, match="validation"):
        load_messages("dev")
