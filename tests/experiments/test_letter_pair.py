"""Chapter 10's letter pair: what is kept is a run of the chapter's own loop."""

import torch

from finetuning.data.letters import letters
from finetuning.experiments import results
from finetuning.experiments.letter_pair import LENGTH, STEPS
from finetuning.scratch.electra import letter_pair, train_pair


def test_the_first_steps_repeat():
    corpus = letters()
    pair = letter_pair(corpus.vocabulary_size, LENGTH)
    log = train_pair(pair, corpus.training, STEPS, stop=3)
    kept = results("letter_pair").one(seed=0)["log"]
    assert len(kept) == STEPS
    assert torch.allclose(log, torch.tensor(kept[:3]), atol=2e-3)


def test_the_kept_weights_are_a_whole_pair():
    pair = letter_pair(letters().vocabulary_size, LENGTH, seed=1)
    weights = results("letter_pair").one(seed=0)["weights"].load()
    shapes = {name: weight.shape for name, weight in pair.named_parameters()}
    assert {name: weight.shape for name, weight in weights.items()} == shapes
    assert all(torch.isfinite(weight).all() for weight in weights.values())
