"""Chapter 11's exports: parameter groups, training, prediction, calibration."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from finetuning.scratch.fine_tuning import (
    MeanPooledBert,
    expected_calibration_error,
    parameter_groups,
    predict_logits,
    train_classifier,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=3,
        initializer_range=0.3,
    )
    return BertForSequenceClassification(config).eval()


class Rows(list):
    """Rows as a `datasets.Dataset` gives them: by number a row, by name a column."""

    def __getitem__(self, key):
        return (
            [row[key] for row in self]
            if isinstance(key, str)
            else super().__getitem__(key)
        )


@pytest.fixture
def rows():
    """Texts whose class is the one of three tokens that they are made of."""
    random = np.random.default_rng(0)
    return Rows(
        {
            "input_ids": torch.tensor([1, *[10 + 5 * int(k)] * int(length), 2]),
            "labels": torch.tensor(int(k)),
        }
        for k, length in zip(
            random.integers(0, 3, 24), random.integers(2, 9, 24), strict=True
        )
    )


def collate(rows):
    ids = nn.utils.rnn.pad_sequence(
        [row["input_ids"] for row in rows], batch_first=True
    )
    labels = torch.stack([row["labels"] for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}


def batches_of(rows):
    return [collate(rows[start : start + 8]) for start in range(0, len(rows), 8)]


def test_every_trained_parameter_is_in_one_group_and_vectors_do_not_decay(model):
    model.bert.embeddings.requires_grad_(False)
    decayed, spared = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [
        names[id(parameter)]
        for group in (decayed, spared)
        for parameter in group["params"]
    ]
    assert sorted(found) == sorted(
        name for name, p in model.named_parameters() if p.requires_grad
    )
    kinds = {names[id(parameter)].rsplit(".", 1)[1] for parameter in decayed["params"]}
    assert kinds == {"weight"}
    assert not any(
        "LayerNorm" in names[id(parameter)] for parameter in decayed["params"]
    )


def test_training_learns_and_returns_a_plain_number_for_each_step(model, rows):
    torch.manual_seed(0)
    losses = train_classifier(model, batches_of(rows), epochs=10, learning_rate=0.01)
    assert len(losses) == 30
    assert all(isinstance(loss, float) for loss in losses)
    assert np.mean(losses[-3:]) < 0.2 < np.mean(losses[:3])


def test_every_epoch_trains_in_training_mode_whatever_the_evaluation_leaves(
    model, rows
):
    modes = []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    seen = []

    def evaluate(model):
        seen.append(len(modes))
        model.eval()

    train_classifier(model, batches_of(rows), 3, 1e-3, after_epoch=evaluate)
    assert modes == [True] * 9
    assert seen == [3, 6, 9]


def test_the_first_step_has_rate_zero_and_frozen_weights_stay(model, rows):
    model.bert.embeddings.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_classifier(
        model, batches_of(rows)[:1], epochs=1, learning_rate=0.1, warmup_share=1.0
    )
    assert all(
        torch.equal(before[name], value) for name, value in model.state_dict().items()
    )
    train_classifier(model, batches_of(rows), epochs=2, learning_rate=0.1)
    changed = {
        name
        for name, value in model.state_dict().items()
        if not torch.equal(before[name], value)
    }
    assert "classifier.weight" in changed
    assert not any("embeddings" in name for name in changed)


def test_scores_come_in_the_order_of_the_rows_and_do_not_depend_on_the_batch(
    model, rows
):
    alone = torch.cat([predict_logits(model, Rows([row]), collate) for row in rows])
    for size in (1, 5, 24):
        torch.testing.assert_close(
            predict_logits(model, rows, collate, batch_size=size), alone
        )
    assert alone.unique(dim=0).shape[0] > 6  # or a wrong order would not show


@pytest.mark.parametrize("training", [True, False])
def test_prediction_runs_without_dropout_and_leaves_the_mode_as_it_was(
    model, rows, training
):
    model.train(training)
    assert torch.equal(
        predict_logits(model, rows, collate), predict_logits(model, rows, collate)
    )
    assert model.training is training


def test_calibration_error_by_its_definition():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.4] * 4, size=300)
    labels = random.integers(0, 4, 300)
    confidence, right = (
        probabilities.max(axis=1),
        probabilities.argmax(axis=1) == labels,
    )
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence > low) & (confidence <= low + 0.1)
        if inside.any():
            expected += inside.mean() * abs(
                confidence[inside].mean() - right[inside].mean()
            )
    found = expected_calibration_error(
        torch.tensor(probabilities), torch.tensor(labels)
    )
    assert found == pytest.approx(expected, abs=1e-9)


def test_calibration_error_of_the_extremes():
    sure = torch.eye(3)[torch.tensor([0, 1, 2, 0])]
    assert expected_calibration_error(sure, torch.tensor([0, 1, 2, 0])) == 0
    assert expected_calibration_error(sure, torch.tensor([1, 2, 0, 1])) == 1
    assert expected_calibration_error(sure, torch.tensor([0, 1, 0, 1])) == 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_calibration_error_of_many_items_in_half_precision(dtype):
    torch.manual_seed(0)
    probabilities, labels = (
        torch.randn(20_000, 5).softmax(dim=1),
        torch.randint(5, (20_000,)),
    )
    exact = expected_calibration_error(probabilities, labels)
    assert expected_calibration_error(probabilities.to(dtype), labels) == pytest.approx(
        exact, abs=0.005
    )


# The head on the mean


@pytest.fixture
def mean_pooled(model):
    torch.manual_seed(0)
    return MeanPooledBert(model.config).eval()


def test_logits_are_those_of_the_mean_of_the_real_tokens(mean_pooled, rows):
    batch = collate(rows[:5])
    logits = mean_pooled(**batch).logits
    for row, scores in zip(rows[:5], logits, strict=True):
        hidden = mean_pooled.bert(row["input_ids"][None]).last_hidden_state[0]
        expected = mean_pooled.classifier(hidden.mean(dim=0))
        assert torch.allclose(scores, expected, atol=1e-5)


def test_its_loss_is_the_cross_entropy_and_without_labels_there_is_none(
    mean_pooled, rows
):
    batch = collate(rows[:5])
    output = mean_pooled(**batch)
    expected = nn.functional.cross_entropy(output.logits, batch["labels"])
    assert torch.equal(output.loss, expected)
    assert mean_pooled(batch["input_ids"]).loss is None


def test_without_a_mask_every_token_is_text(mean_pooled):
    ids = torch.tensor([[1, 10, 2, 0, 0]])
    ones = mean_pooled(ids, attention_mask=torch.ones_like(ids)).logits
    assert torch.equal(mean_pooled(ids).logits, ones)


def test_it_is_saved_and_loaded_as_it_was(mean_pooled, rows, tmp_path):
    mean_pooled.save_pretrained(tmp_path)
    again = MeanPooledBert.from_pretrained(tmp_path).eval()
    batch = collate(rows[:5])
    assert torch.equal(again(**batch).logits, mean_pooled(**batch).logits)


def test_training_stops_where_after_epoch_says_so(mean_pooled, rows):
    seen = []

    def after_epoch(model):
        seen.append(model)
        return len(seen) == 2

    batches = batches_of(rows)
    losses = train_classifier(mean_pooled, batches, 5, 1e-3, after_epoch=after_epoch)
    assert len(seen) == 2
    assert len(losses) == 2 * len(batches)
