"""Chapter 08's experiment: its first steps repeat, and its kept weights are its own."""

from itertools import islice

import pytest
import torch

from finetuning.data.streams import corpus
from finetuning.experiments import results
from finetuning.experiments.small_bert import (
    RATE,
    ROWS,
    held_out_loss,
    make_model,
    run,
)
from finetuning.scratch.bert import mask_tokens
from finetuning.scratch.bert_pretraining import STAGES, pretrain


def test_the_first_steps_are_the_kept_ones():
    speeches = corpus()
    model = make_model(speeches.vocabulary_size)
    steps = pretrain(model, speeches.training, STAGES, mask_tokens, RATE)
    losses = results("small_bert").one(rows="6, then 32")["losses"]
    assert list(islice(steps, 3)) == pytest.approx(losses[:3], abs=1e-3)
    assert len(losses) == 1900


def test_the_kept_weights_have_the_kept_loss():
    kept = results("small_bert").one(rows="6, then 32")
    model = make_model(corpus().vocabulary_size)
    before = held_out_loss(model)
    model.load_state_dict(kept["weights"].load())
    assert held_out_loss(model) == pytest.approx(kept["held_out_loss"], abs=0.01)
    assert before > kept["held_out_loss"] + 2


def test_the_learning_rate_rises_and_falls_to_zero_over_all_stages():
    model = make_model(300)
    stream = torch.randint(4, 300, (500,), generator=torch.Generator().manual_seed(0))
    stages = [(6, 5, 3), (8, 4, 2)]
    seen = []

    def corrupt(ids, vocabulary, generator, rate):
        seen.append((tuple(ids.shape), vocabulary, rate))
        return mask_tokens(ids, vocabulary, generator, rate)

    before = model.bias.detach().clone()
    moves = []
    for _ in pretrain(model, stream, stages, corrupt, rate=0.5, warmup=2):
        after = model.bias.detach().clone()
        moves.append((after - before).abs().max().item())
        before = after
    assert seen == [((5, 6), 300, 0.5)] * 3 + [((4, 8), 300, 0.5)] * 2
    # AdamW's first steps are as long as the rate: half of the peak, then the peak.
    assert moves[0] == pytest.approx(0.6e-3, rel=0.01)
    assert moves[1] > moves[0] and moves[-1] < moves[1]


def test_a_short_run_says_what_the_kept_one_says(monkeypatch):
    key = {"rows": "6, then 32"}
    monkeypatch.setitem(ROWS, key["rows"], [(6, 4, 201), (32, 4, 1)])
    result = run(key, results("small_bert"))
    kept = results("small_bert").one(**key).result
    assert set(result) == set(kept)
    assert len(result["losses"]) == 202
    weights = kept["weights"].load()
    for name, tensor in result["weights"].tensors.items():
        assert tensor.dtype == weights[name].dtype == torch.float16
        assert tensor.shape == weights[name].shape


def test_a_training_shorter_than_its_warm_up_is_refused():
    model = make_model(300)
    steps = pretrain(model, torch.arange(4, 300), [(6, 5, 3)], mask_tokens, warmup=3)
    with pytest.raises(ValueError, match="3 steps"):
        next(steps)
