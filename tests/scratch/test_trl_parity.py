"""Chapter 13's loop and trl's `SFTTrainer` take the same steps: the same chats in the
same order, the same adapter at the start.

trl's own loss never makes all logits at once: it goes through the vocabulary in tiles,
and rounds otherwise than PyTorch's cross-entropy. Given cross-entropy in its place
(`compute_loss_func`), trl ends with the very weights of the loop. With its own it ends
close to them where two layers are tuned; thirty magnify the rounding too much.

trl is no requirement of the package: Colab's `datasets` is too old for the version that
is pinned here, so no notebook imports it.
"""

import functools
import math
import tempfile
import warnings

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from finetuning.data import instructions
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import (
    IGNORED,
    MARKED_TEMPLATE,
    collate,
    encode_chat,
    rate_share,
    train_step,
)
from finetuning.tuning import Settings, add_adapter

SETTINGS = Settings(steps=20, learning_rate=2e-3, batch_size=1, max_norm=0.1, warmup=0)


def cross_entropy(outputs, labels, num_items_in_batch) -> torch.Tensor:
    """PyTorch's loss over the trained tokens, as trl calls it."""
    return (
        F.cross_entropy(
            outputs.logits[:, :-1].flatten(0, 1),
            labels[:, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        / num_items_in_batch
    )


def trained_weights(model) -> dict[str, torch.Tensor]:
    """Copies of the weights that are trained."""
    return {
        name: weight.detach().cpu().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def by_hand(model, tokenizer, chats, settings: Settings) -> tuple[list, list, list]:
    """Chapter 13's loop over the chats in their order: labels, losses and norms."""
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    labels: list[list[int]] = []
    losses: list[float] = []
    norms: list[float] = []
    model.train()
    for step in range(settings.steps):
        first = step * settings.batch_size
        rows = [
            encode_chat(tokenizer, chat)
            for chat in chats[first : first + settings.batch_size]
        ]
        labels += [row.labels for row in rows]
        share = rate_share(step, settings.steps)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * share
        batch = {
            name: tensor.to(model.device)
            for name, tensor in collate(rows, tokenizer.pad_token_id).items()
        }
        loss, norm = train_step(model, batch, optimizer, settings.max_norm)
        losses.append(loss)
        norms.append(norm)
    return labels, losses, norms


def by_trl(
    model, tokenizer, chats, settings: Settings, loss=None
) -> tuple[list, list, list]:
    """The same by trl's `SFTTrainer`: labels, losses and rates. `loss` replaces its
    own.
    """
    tokenizer.chat_template = MARKED_TEMPLATE
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = SFTTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list([{"messages": chat} for chat in chats]),
            compute_loss_func=loss,
            args=SFTConfig(
                output_dir=folder,
                assistant_only_loss=True,
                max_steps=settings.steps,
                per_device_train_batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=0,
                optim="adamw_torch",
                weight_decay=0.0,
                max_grad_norm=settings.max_norm,
                train_sampling_strategy="sequential",
                logging_steps=1,
                bf16=False,
                use_cpu=not torch.cuda.is_available(),
                gradient_checkpointing=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
        )
        labels = [row["labels"] for row in trainer.train_dataset]
        trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return (
        labels,
        [entry["loss"] for entry in log],
        [entry["learning_rate"] for entry in log],
    )


def compare(settings: Settings, loss=None, **config) -> dict[str, object]:
    """Both methods on SmolLM2: what they have in common, and what not."""
    count = settings.steps * settings.batch_size
    chats = [each.chat for each in instructions.training_set()[:count]]
    ends, results = [], []
    start = {}
    for method in (by_hand, functools.partial(by_trl, loss=loss)):
        model, tokenizer = load_causal_lm("SmolLM2-135M-Instruct", **config)
        tuned = add_adapter(model, settings)
        start = trained_weights(tuned)
        results.append(method(tuned, tokenizer, chats, settings))
        ends.append(trained_weights(tuned))
    (labels, losses, norms), (their_labels, their_losses, rates) = results
    ours, theirs = ends
    return {
        "labels": labels,
        "labels of trl": their_labels,
        "losses": losses,
        "losses of trl": their_losses,
        "norms": norms,
        "rates of trl": rates,
        "weights apart": _farthest(ours, theirs),
        "weights moved": _farthest(ours, start),
    }


def _farthest(one: dict, other: dict) -> float:
    """The largest difference of two weights, infinite if their names differ."""
    if one.keys() != other.keys():
        return math.inf
    return max((one[name] - other[name]).abs().max().item() for name in one)


def assert_same_course(result) -> None:
    """The same labels; gradients clipped in every step; no step at rate zero."""
    assert result["labels"] == result["labels of trl"]
    assert min(result["norms"]) > SETTINGS.max_norm
    assert len(result["rates of trl"]) == SETTINGS.steps
    assert min(result["rates of trl"]) > 0
    assert result["weights moved"] > 0.01


def test_twenty_steps_of_smollm2_end_in_the_same_weights():
    result = compare(SETTINGS, loss=cross_entropy)
    assert_same_course(result)
    assert result["losses"] == pytest.approx(result["losses of trl"], abs=1e-5)
    assert result["weights apart"] < 1e-8


def test_trls_own_loss_differs_by_its_rounding():
    result = compare(SETTINGS, num_hidden_layers=2)
    assert_same_course(result)
    assert result["losses"] == pytest.approx(result["losses of trl"], rel=5e-6)
    # Adam divides by the gradient's size, and so magnifies what rounding changes where
    # a gradient is nearly zero.
    assert result["weights apart"] < 0.005 * result["weights moved"]
