"""Chapter 04's experiment: lists that ask what they should, and results of them."""

import pytest
import torch

from finetuning.experiments import recall, results


def lists(**changes):
    settings = {"batch": 50, "length": 9, "pairs": 5} | changes
    return recall.make_lists(**settings, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("oldest", [False, True])
def test_each_question_has_its_answer_in_the_list(oldest):
    names, digits, answers = lists(oldest=oldest)
    questions = 1 if oldest else 4
    assert names.shape == digits.shape == (50, 9 + questions)
    assert (digits[:, 9:] == recall.ASKED).all()
    for row in range(50):
        listed = names[row, :9].tolist()
        filled = [name for name in listed if name != recall.NO_NAME]
        assert len(filled) == len(set(filled)) == 5
        for name, answer in zip(names[row, 9:], answers[row], strict=True):
            assert digits[row, listed.index(name)] == answer < recall.DIGITS
        if oldest:
            assert listed[0] == names[row, 9]


def test_blank_steps_have_neither_name_nor_digit():
    names, digits, _ = lists()
    blank = names == recall.NO_NAME
    assert torch.equal(blank, digits == recall.BLANK)
    assert (blank.sum(dim=1) == 4).all()


def test_a_list_can_be_read():
    names = torch.tensor([16, recall.NO_NAME, 27, 27])
    digits = torch.tensor([3, recall.BLANK, 7, recall.ASKED])
    assert recall.written_out(names, digits) == ["Q 3", "·", "b 7", "b ?"]


@pytest.mark.parametrize("kind", ["attention", "LSTM"])
def test_the_models_differ_in_the_middle_only(kind):
    model = recall.Recall(kind)
    names, digits, _ = lists()
    assert model(names, digits).shape == (50, 13, recall.DIGITS)
    middle = sum(p.numel() for p in model.mixer.parameters())
    assert middle == {"attention": 16_640, "LSTM": 33_280}[kind]


def test_who_always_says_the_answer_is_right():
    class Knows(torch.nn.Module):
        def forward(self, names, digits):
            first = names[:, :1] == names
            asked = torch.where(first & (digits < 8), digits, 0).amax(dim=1)
            logits = torch.nn.functional.one_hot(asked, recall.DIGITS)
            return logits[:, None].expand(-1, names.size(1), -1)

    for full in (True, False):
        assert recall.accuracy(Knows(), 8, full, seed=1) == 1


def test_a_training_is_repeated_to_the_last_bit_and_learns_from_the_lists_named():
    _, first = recall.train("attention", 0.01, seed=1, steps=5)
    _, again = recall.train("attention", 0.01, seed=1, steps=5)
    _, full = recall.train("attention", 0.01, seed=1, steps=5, lists="full")
    assert first == again != full


@pytest.mark.parametrize("kind", ["attention", "LSTM"])
def test_each_side_was_tuned_over_all_rates_and_has_the_best_of_them(kind):
    assert not set(recall.TUNING_SEEDS) & set(recall.SEEDS)
    runs = results("recall").select(kind=kind)
    tuned = {
        rate: sum(
            runs.one(rate=rate, seed=seed)["validation"] for seed in recall.TUNING_SEEDS
        )
        for rate in recall.RATES
    }
    assert max(tuned, key=tuned.get) == recall.CHOSEN[kind]
    reported = [run for run in runs if run["seed"] in recall.SEEDS]
    assert {run["rate"] for run in reported} == {recall.CHOSEN[kind]}
    assert len(reported) == len(recall.SEEDS)
