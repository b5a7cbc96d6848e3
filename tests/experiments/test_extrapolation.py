"""Chapter 06's experiment: a short run repeats, and the kept runs are whole."""

import pytest

from finetuning.experiments import extrapolation, results


def test_the_first_steps_are_the_kept_ones():
    for kind in extrapolation.KINDS:
        kept = results("extrapolation").one(kind=kind, steps=800, seed=0)
        _, losses = extrapolation.trained(kind, 800, 0, stop=5)
        # Another processor may round otherwise.
        assert losses == pytest.approx(kept["losses"][:5], abs=0.005)


def test_learned_positions_end_where_training_did():
    for run in results("extrapolation"):
        ends = run["kind"] == "learned"
        assert len(run["losses"]) == run["steps"]
        assert len(run["by position"]) == (64 if ends else 256)
        assert ("looking back 64" in run.result) != ends


def test_looking_back_makes_no_difference_before_the_sixty_fifth_byte():
    for run in results("extrapolation"):
        if run["kind"] != "learned":
            assert run["by position"][:64] == pytest.approx(
                run["looking back 64"][:64], abs=0.001
            )
