"""An encoder with a linear layer on the mean of its token vectors, tuned on a table.

The mean, and not the pooler that many encoders bring along untrained: chapter 11
measured what that costs.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import peft
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetuning.classification import (
    MeanPooledClassifier,
    _encode,
    _in_batches,
    _most_tokens,
    _pad,
    embed,
    mean_pool,
)
from finetuning.models import load_encoder
from finetuning.recipes.measuring import log_loss
from finetuning.recipes.processes import seed_of, spread
from finetuning.recipes.training import Job
from finetuning.runtime import set_seed
from finetuning.scratch.fine_tuning import parameter_groups

WEIGHT_DECAY = 0.01
# The head starts from random weights, the encoder from good ones: as `fine_tune`.
HEAD_FACTOR = 100.0
LORA_RANK = 8
LORA_ALPHA = 16
# Adapters start from nothing as well.
LORA_FACTOR = 10.0


def load(name: str, most: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, int]:
    """An encoder, its tokenizer, and how many tokens of a text it will read."""
    encoder, tokenizer = load_encoder(name)
    return encoder, tokenizer, min(most, _most_tokens(encoder, tokenizer))


def count_cut(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int
) -> int:
    """How many texts have more tokens than are read."""
    # To one token more, and no further: a text may be a book.
    encodings = tokenizer(list(texts), truncation=True, max_length=max_length + 1)
    return sum(len(ids) > max_length for ids in encodings["input_ids"])


def frozen_vectors(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    accelerator: Accelerator,
) -> np.ndarray:
    """The encoder's means, of length 1, (N, C), each process reading its share."""
    encoder.to(accelerator.device)

    def vectors(some: Sequence[str]) -> torch.Tensor:
        return torch.from_numpy(embed(encoder, tokenizer, some, max_length))

    return spread(accelerator, texts, vectors).numpy()


@torch.inference_mode()
def means(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    *,
    unit: bool,
) -> np.ndarray:
    """The mean of a text's token vectors, (N, C): of length 1, or as it is."""
    if unit:
        return embed(encoder, tokenizer, texts, max_length)
    encodings = _encode(encoder, tokenizer, texts, max_length)
    device = next(encoder.parameters()).device

    def pooled(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return mean_pool(encoder(**batch).last_hidden_state, batch["attention_mask"])

    width = encoder.config.hidden_size
    return _in_batches(pooled, width, tokenizer, encodings, device).numpy()


def classifier(
    encoder: PreTrainedModel, classes: int, method: str, seed: int
) -> MeanPooledClassifier:
    """The encoder with a new head; with "lora" it gets adapters and is frozen."""
    set_seed(seed_of(seed, "head"))
    if method == "lora":
        configuration = peft.LoraConfig(
            r=LORA_RANK,
            lora_alpha=LORA_ALPHA,
            target_modules="all-linear",
            task_type="FEATURE_EXTRACTION",
        )
        with warnings.catch_warnings():
            # peft still asks for a name that transformers has replaced.
            warnings.filterwarnings("ignore", category=FutureWarning)
            encoder = peft.get_peft_model(encoder, configuration)
    for name, parameter in encoder.named_parameters():
        # Nothing reads the pooler, so it gets no gradient, for which several processes
        # would wait.
        if "pooler." in name:
            parameter.requires_grad_(False)
    return MeanPooledClassifier(encoder, classes)


def merged(model: MeanPooledClassifier) -> PreTrainedModel:
    """The encoder, with its adapters, if it has any, added to its matrices."""
    if isinstance(model.encoder, peft.PeftModel):
        return model.encoder.merge_and_unload()
    return model.encoder


class Texts:
    """Texts as token ids, and what a model says of them."""

    def __init__(
        self,
        encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        max_length: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._encodings = _encode(encoder, tokenizer, texts, max_length)

    def __len__(self) -> int:
        return len(self._encodings)

    def batch(self, rows: Sequence[int], device: torch.device) -> dict:
        """Ids and mask, (B, T) each."""
        return _pad(self._tokenizer, [self._encodings[row] for row in rows], device)

    def scores(
        self,
        model: nn.Module,
        rows: Sequence[int],
        classes: int,
        accelerator: Accelerator,
    ) -> np.ndarray:
        """Of some rows, (N, K), on every process."""

        def of(some: Sequence[int]) -> torch.Tensor:
            encodings = [self._encodings[row] for row in some]
            with torch.no_grad():
                return _in_batches(
                    lambda batch: model(**batch),
                    classes,
                    self._tokenizer,
                    encodings,
                    accelerator.device,
                )

        return spread(accelerator, list(rows), of).numpy()


def job(
    model: MeanPooledClassifier,
    texts: Texts,
    labels: np.ndarray,
    train: Sequence[int],
    validation: Sequence[int],
    learning_rate: float,
    weighed: bool,
    accelerator: Accelerator,
) -> Job:
    """What `train` of the recipe needs to tune this model.

    With `weighed` a rare class counts as much as a common one.
    """
    classes = model.head.out_features
    counts = np.bincount(labels[train], minlength=classes)
    of_class = len(train) / (classes * counts) if weighed else np.ones(classes)
    weights = of_class[labels[train]]

    def summed_loss(model: nn.Module, rows: list[int]) -> torch.Tensor:
        batch = texts.batch([train[row] for row in rows], accelerator.device)
        targets = torch.tensor(
            [int(labels[train[row]]) for row in rows], device=accelerator.device
        )
        each = nn.functional.cross_entropy(
            model(**batch).float(), targets, reduction="none"
        )  # (B,)
        own = torch.tensor([weights[row] for row in rows], dtype=each.dtype)
        return (each * own.to(each.device)).sum()

    def validation_loss(model: nn.Module) -> float:
        scores = texts.scores(model, validation, classes, accelerator)
        return log_loss(scores, labels[validation])

    body = parameter_groups(model.encoder, WEIGHT_DECAY)
    head = parameter_groups(model.head, WEIGHT_DECAY)
    factor = LORA_FACTOR if isinstance(model.encoder, peft.PeftModel) else 1.0
    for group in body:
        group["lr"] = factor * learning_rate
    for group in head:
        group["lr"] = HEAD_FACTOR * learning_rate
    return Job(model, weights.tolist(), summed_loss, validation_loss, body + head)
