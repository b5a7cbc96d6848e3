"""Chapter 13's experiments: what is shipped is what was made, and what is kept agrees
with itself.
"""

import numpy as np
import pytest

from finetuning.data import instructions
from finetuning.experiments import from_bits, instruction_tuning, results
from finetuning.experiments import loss_on_answers as first
from finetuning.tuning import CARD, SHIPPED, card, loss_figures, recipe

NAME = instruction_tuning.NAME


@pytest.fixture(scope="module")
def tuned():
    return results(NAME).one(part="tune")


def test_the_shipped_adapter_is_that_of_the_kept_run(tuned):
    assert tuned["adapter"] == instruction_tuning.digest()
    assert len(tuned["losses"]) == instruction_tuning.SETTINGS.steps


def test_its_card_is_made_from_its_recipe_and_losses(tuned):
    text = (SHIPPED / NAME / CARD).read_text(encoding="utf-8")
    assert text == card(recipe(NAME), loss_figures(tuned["losses"]))


def test_answers_are_judged_by_the_rules_as_they_stand():
    sets = {
        "held-out kinds": instructions.test_set(),
        "trained kinds": instructions.familiar_set(),
    }
    assert len(sets["held-out kinds"]) >= 200
    answered = [run for run in results(NAME) if run["part"] in sets]
    assert len(answered) == 6
    for run in answered:
        asked = sets[run["part"]]
        obeyed = from_bits(run["obeyed"])
        assert len(obeyed) == len(run["answers"]) == len(asked)
        assert run["share"] == pytest.approx(obeyed.mean())
        again = [
            each.obeyed_by(answer)
            for each, answer in zip(asked, run["answers"], strict=True)
        ]
        # A docstring may read otherwise in another version of its library.
        assert np.mean(np.array(again) == obeyed) > 0.95


def test_kept_answers_are_about_the_prompts_of_the_digests():
    """Where the prompts are those of the runs, every answer is judged as it was."""
    sets = {
        "held-out kinds": instructions.test_set(),
        "trained kinds": instructions.familiar_set(),
    }
    assert instruction_tuning.ASKED.keys() == sets.keys()
    for part, asked in sets.items():
        same = instruction_tuning.ASKED[part]
        assert instruction_tuning.digest_of(asked[::-1]) != same
        if instruction_tuning.digest_of(asked) != same:
            continue  # another version of a library, whose docstrings read otherwise
        for run in results(NAME).select(part=part):
            again = [
                each.obeyed_by(answer)
                for each, answer in zip(asked, run["answers"], strict=True)
            ]
            assert again == from_bits(run["obeyed"]).tolist()


def test_prompts_of_the_four_systems():
    asked = ["Say yes."]
    assert instruction_tuning.prompts("instruct", asked) == asked
    assert instruction_tuning.prompts("tuned", asked) == asked
    assert instruction_tuning.prompts("plain", asked) == ["Say yes.\n"]
    (chat,) = instruction_tuning.prompts("prompted", asked)
    roles = [message["role"] for message in chat]
    assert roles == ["system", *["user", "assistant"] * 3, "user"]
    assert chat[-1]["content"] == "Say yes."


@pytest.mark.parametrize("rate", first.RATES)
@pytest.mark.parametrize("seed", first.SEEDS)
def test_both_ways_of_a_rate_and_seed_were_measured_alike(rate, seed):
    """The first losses differ, since they are of other tokens."""
    kept = results("loss_on_answers").select(learning_rate=rate, seed=seed)
    pair = [kept.one(train_on=way) for way in first.TRAIN_ON]
    for run in pair:
        assert len(run["losses"]) == first.SETTINGS.steps
        assert len(run["answer_losses"]) == first.EACH * len(instructions.KINDS)
        assert run["answer_loss"] == pytest.approx(
            np.mean(run["answer_losses"]), abs=1e-3
        )
        assert len(from_bits(run["obeyed"])) == first.ANSWERED
        assert run["share"] == pytest.approx(from_bits(run["obeyed"]).mean())
    assert pair[0]["losses"][0] != pair[1]["losses"][0]


@pytest.mark.parametrize("way", first.TRAIN_ON)
def test_a_seed_begins_alike_at_every_rate(way):
    """The adapter starts as no change, so the first loss does not know the rate."""
    for seed in first.SEEDS:
        kept = results("loss_on_answers").select(seed=seed, train_on=way)
        begun = {run["losses"][0] for run in kept}
        assert len(kept.runs) == len(first.RATES)
        assert len(begun) == 1
