"""Chapter 05's task: names, digits, and a head that looks one up."""

import torch

from finetuning.experiments import results
from finetuning.scratch.lookup import Lookup, SmallStart, make_lists, train_lookup


def test_the_answer_is_the_digit_of_the_name_asked_for():
    names, digits, asked, answer = make_lists(50, torch.Generator().manual_seed(0))
    for row in range(50):
        assert len(set(names[row].tolist())) == 16
        place = names[row].tolist().index(asked[row].item())
        assert digits[row, place] == answer[row]


def test_the_division_is_the_only_difference():
    torch.manual_seed(0)
    models = [Lookup(16, divided) for divided in (True, False)]
    models[1].load_state_dict(models[0].state_dict())
    assert models[0].scale == 16**-0.5 and models[1].scale == 1
    models[1].scale = models[0].scale
    *inputs, _ = make_lists(5, torch.Generator().manual_seed(0))
    assert torch.equal(models[0](*inputs), models[1](*inputs))


def test_a_small_start_has_scores_as_small_as_the_divided_head():
    torch.manual_seed(0)
    plain = Lookup(64, False)
    torch.manual_seed(0)
    small = SmallStart(64, False)
    for name in ("query", "key"):
        weights = [getattr(model, name).weight for model in (plain, small)]
        assert torch.allclose(weights[0] * 64**-0.25, weights[1])


def test_a_kept_run_repeats():
    kept = results("lookup").one(kind="divided", D=8, rate=0.01, steps=250, seed=0)
    assert abs(train_lookup(8, True, 0.01, 0) - kept["share"]) < 0.05


def test_training_leaves_small_numbers_as_they_are():
    train_lookup(8, True, 0.01, 0, steps=1)
    assert torch.tensor(1e-39) > 0
