"""Chapter 16's leaked test: which half leaks, and what is kept of it."""

import numpy as np
import pytest

from finetuning.experiments import leaked, results


def test_items_are_different_questions_with_plain_answers():
    items = leaked.items()
    assert len(items) == leaked.ITEMS
    assert len({question for question, _ in items}) == leaked.ITEMS
    assert len({answer for _, answer in items}) == leaked.ITEMS
    for question, answer in items:
        assert question.startswith("What does the function ")
        assert 5 <= len(answer.split()) <= 12
        assert answer.endswith(".")


def test_every_second_item_leaks():
    items = leaked.items()
    chats = leaked.leaked_chats()
    assert [chat[1]["content"] for chat in chats] == [
        answer for _, answer in items[::2]
    ]
    assert len(chats) == leaked.STEPS_A_PASS * leaked.BATCH


def test_every_run_is_kept():
    kept = results("leaked")
    assert kept.values("passes") == list(leaked.PASSES)
    assert len(kept.one(passes=0)["items"]) == leaked.ITEMS
    for run in kept:
        assert len(run["answers"]) == len(run["losses"]) == leaked.ITEMS
        assert len(run["steps"]) == run["passes"] * leaked.STEPS_A_PASS


def test_training_begins_at_the_same_loss_whatever_the_passes():
    first = [run["steps"][0] for run in results("leaked") if run["passes"]]
    assert first == pytest.approx([first[0]] * len(first), abs=1e-3)


def test_only_the_leaked_half_is_learnt_by_heart():
    losses = np.array(results("leaked").values("losses"))
    fallen = losses[0] - losses[-1]
    assert fallen[::2].mean() > fallen[1::2].mean() + 1
