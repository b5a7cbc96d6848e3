"""Chapter 12's first experiment: what each method trains and where it starts, draws,
and a tiny run that comes out again.
"""

import numpy as np
import pytest
import torch

from finetuning.classification import fine_tune, predict
from finetuning.experiments import tuning_methods
from finetuning.experiments.engine import Results, from_bits, results
from finetuning.experiments.tuning_methods import (
    BEYOND,
    LABELS,
    METHODS,
    RATES,
    SEEDS,
    Adapter,
    classifier,
    draw,
    sentences,
)

PREPENDING = ("prompt tuning", "prefix tuning")
TEXTS = ["it will go on.", "the negotiation on this subject is still depending here."]


def logits(method: str, texts: list[str]) -> torch.Tensor:
    model, tokenizer = classifier(method, seed=0)
    model.eval()
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(batch["input_ids"], batch["attention_mask"])


def trained(method: str) -> int:
    model, _ = classifier(method, seed=0)
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_but_two_start_from_the_same_outputs(method):
    apart = (logits(method, TEXTS) - logits("head only", TEXTS)).abs().max()
    if method in PREPENDING:
        assert apart > 0.01
    else:
        assert apart < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_padding_changes_nothing(method):
    together = logits(method, TEXTS)
    alone = torch.cat([logits(method, [text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_parameters_are_as_many_as_the_papers_count():
    width, wide, layers, head = 384, 1536, 6, 385 * 2
    assert trained("head only") == head
    assert trained("prompt tuning") == head + 8 * width
    assert trained("prefix tuning") == head + 8 * width * 2 * layers
    assert trained("IA³") == head + layers * (2 * width + wide)
    assert trained("adapter") == head + layers * 2 * (2 * width * 16 + 16 + width)
    rank_one = layers * (4 * 2 * width + 2 * (width + wide))
    for rank in (1, 4, 8, 16, 64):
        assert trained(f"LoRA r = {rank}") == head + rank * rank_one
    outputs = layers * (5 * width + wide)
    assert trained("DoRA r = 4") == head + 4 * rank_one + outputs
    # Biases of the layers, of their norms, and of the embeddings' norm.
    assert trained("BitFit") == head + outputs + (2 * layers + 1) * width


def test_a_fresh_adapter_is_the_identity_and_can_leave_it():
    adapter = Adapter(8, 2)
    hidden = torch.randn(3, 8)
    assert torch.equal(adapter(hidden), hidden)
    adapter(hidden).pow(2).sum().backward()
    assert adapter.up.weight.grad.abs().max() > 0


def test_a_seeds_draw_has_as_many_of_each_order():
    _, orders = sentences("train")
    draws = [draw(seed) for seed in range(SEEDS)]
    for rows in draws:
        assert len(set(rows)) == LABELS
        assert np.bincount(orders[rows]).tolist() == [LABELS // 2] * 2
    assert len(set(draws[0]) & set(draws[1])) < LABELS / 2


@pytest.fixture
def tiny(monkeypatch):
    """Runs of two batches, tested on few sentences."""
    monkeypatch.setattr(tuning_methods, "LABELS", 8)
    monkeypatch.setattr(tuning_methods, "BATCH", 8)
    monkeypatch.setattr(tuning_methods, "EPOCHS", 2)

    def few(part):
        texts, orders = sentences(part)
        return texts[:24], orders[:24]

    monkeypatch.setattr(tuning_methods, "sentences", few)


@pytest.mark.parametrize("method", ["full", "prefix tuning", "LoRA r = 4"])
def test_the_same_key_gives_the_same_run(tiny, method):
    key = {"method": method, "rate": 1e-2, "seed": 1}
    kept = Results("tuning_methods", {})
    first, again = (tuning_methods.run(key, kept) for _ in range(2))
    assert first == again
    assert len(first["losses"]) == 2
    for part in ("validation", "test"):
        right = from_bits(first[f"{part} right"])
        assert len(right) == 24 and first[part] == pytest.approx(right.mean())


def test_another_seed_gives_another_run(tiny):
    kept = Results("tuning_methods", {})
    losses = [
        tuning_methods.run({"method": "head only", "rate": 0.1, "seed": seed}, kept)[
            "losses"
        ]
        for seed in (0, 1)
    ]
    assert losses[0] != losses[1]


def test_a_run_that_diverges_is_kept(tiny):
    run = tuning_methods.run(
        {"method": "full", "rate": float("inf"), "seed": 0},
        Results("tuning_methods", {}),
    )
    assert run["losses"][-1] is None
    assert run["test"] == pytest.approx(0.5, abs=0.2)


def test_only_what_a_method_trains_moves(tiny):
    texts, orders = tuning_methods.sentences("train")
    model, tokenizer = classifier("BitFit", seed=0)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    fine_tune(model, tokenizer, texts[:8], orders[:8], epochs=1, learning_rate=0.01)
    predict(model, tokenizer, texts[:2])
    for name, weight in model.named_parameters():
        moved = not torch.equal(weight, before[name])
        # A key's bias adds the same to all scores of a row, which softmax ignores.
        if not name.endswith("key.bias"):
            assert moved == (name.endswith("bias") or name.startswith("head")), name


def test_every_method_has_every_rate_and_seed_and_says_what_was_right():
    kept = results("tuning_methods")
    for method in METHODS:
        tried = kept.select(method=method)
        assert len(tried) == SEEDS * (len(RATES) + len(BEYOND.get(method, ())))
        assert len(set(tried.values("trained"))) == 1
    for run in kept:
        for part in ("validation", "test"):
            right = from_bits(run[f"{part} right"])
            assert len(right) == len(sentences(part)[1])
            assert run[part] == pytest.approx(right.mean())


def test_no_methods_best_rate_lies_on_the_edge_of_what_was_tried():
    kept = results("tuning_methods")
    for method in METHODS:
        rates = tuning_methods.rates(method)
        means = [
            np.mean(kept.select(method=method, rate=rate).values("validation"))
            for rate in rates
        ]
        assert 0 < int(np.argmax(means)) < len(rates) - 1, method
