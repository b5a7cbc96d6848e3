"""Chapter 06's runs with and without warm-up: whole, and the first steps repeat."""

import pytest

from finetuning.experiments import results, warm_up
from finetuning.scratch.byte_model import ByteModel, xavier


def test_every_run_has_all_its_steps():
    for run in results("warm_up"):
        assert len(run["losses"]) == warm_up.STEPS


def test_with_one_seed_all_runs_of_a_wrapper_begin_with_the_same_loss():
    for wrapper in ("post-norm", "pre-norm"):
        for seed in range(warm_up.SEEDS):
            runs = results("warm_up").select(wrapper=wrapper, seed=seed)
            first = [losses[0] for losses in runs.values("losses")]
            assert first == pytest.approx([first[0]] * len(first), abs=0.005)
            assert 5 < first[0] < 9


def test_xavier_draws_matrices_and_clears_biases():
    model = xavier(ByteModel("sinusoidal", "post-norm", layers=1))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "embedding" not in name:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert 0.9 * bound < parameter.abs().max() <= bound
        elif name.endswith("bias"):
            assert not parameter.any()
