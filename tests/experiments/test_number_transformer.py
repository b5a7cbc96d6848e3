"""Chapter 07's model: its training repeats, and the kept weights translate."""

import pytest

from finetuning.data.number_words import Vocabulary, batches, examples, split_numbers
from finetuning.experiments import Weights, results
from finetuning.experiments.number_transformer import HALF_TAUGHT, train_until
from finetuning.experiments.number_translation import (
    BATCH,
    DROPOUT,
    LANGUAGES,
    SMOOTHING,
    STEPS,
    learning_rate,
    make_model,
    wrong_numbers,
)
from finetuning.runtime import set_seed
from finetuning.scratch.transformer import train


def test_a_shorter_run_is_the_beginning_of_a_longer_one():
    splits = split_numbers(digits=3, training=50, least=10, held_out=5, longer=5)
    short, long = (train_until(splits, steps, probed_every=2) for steps in (2, 4))
    assert long["losses"][:2] == short["losses"]
    assert long["progress"][:1] == short["progress"] and len(long["progress"]) == 2
    assert isinstance(long["weights"], Weights)


def test_the_kept_runs_are_one_training():
    half, whole = (
        results("number_transformer").one(steps=steps) for steps in (HALF_TAUGHT, STEPS)
    )
    assert len(half["losses"]) == HALF_TAUGHT and len(whole["losses"]) == STEPS
    assert whole["losses"][:HALF_TAUGHT] == half["losses"]
    assert whole["progress"][: len(half["progress"])] == half["progress"]


def test_its_first_steps_repeat():
    vocabulary = Vocabulary()
    numbers = split_numbers().training
    pairs = [pair for to in LANGUAGES for pair in examples(numbers, vocabulary, to)]
    set_seed(0)
    losses = train(
        make_model(vocabulary, DROPOUT, norm_first=False, scaled=True),
        batches(pairs, BATCH, 10, 0),
        lambda step: learning_rate(step, STEPS, warm=True, descent=True),
        SMOOTHING,
    )
    kept = results("number_transformer").one(steps=STEPS)["losses"]
    assert losses == pytest.approx(kept[:10], abs=1e-3)


def test_the_kept_weights_translate():
    vocabulary = Vocabulary()
    model = make_model(vocabulary, DROPOUT, norm_first=False, scaled=True).eval()
    numbers = split_numbers().test[::10]
    wrong = {}
    for steps in (HALF_TAUGHT, STEPS):
        kept = results("number_transformer").one(steps=steps)
        model.load_state_dict(kept["weights"].load())
        wrong[steps] = [
            number
            for to in LANGUAGES
            for number in wrong_numbers(model, numbers, vocabulary, to)
        ]
    assert 40 < len(wrong[HALF_TAUGHT]) < 160  # of 200
    assert wrong[STEPS] == []
