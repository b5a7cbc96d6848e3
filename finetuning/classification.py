"""Classify texts with a pretrained encoder, or by what a language model would write.

What chapter 2 compares and chapter 11 takes apart: frozen features, fine-tuning, and
few-shot prompting.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetuning.runtime import mixed_precision, set_seed

MAX_LENGTH = 64
"""Tokens an encoder reads of each article: the title and the first sentence or two."""


def mean_pool(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The mean of a text's token vectors, no padding: (B, T, C), (B, T) to (B, C).

    It is how all-MiniLM-L6-v2 was trained to sum up a text (Reimers and Gurevych, 2019,
    section 3).
    """
    mask = attention_mask[..., None].to(hidden.dtype)  # (B, T, 1)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


class MeanPooledClassifier(nn.Module):
    """Encoder, mean of its token vectors, linear layer: (B, T) ids to (B, K) logits."""

    def __init__(self, encoder: PreTrainedModel, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, classes)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        return self.head(mean_pool(hidden, attention_mask))


def fine_tune(
    model: MeanPooledClassifier,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    epochs: int,
    learning_rate: float = 1e-4,
    head_learning_rate: float = 1e-2,
    batch_size: int = 16,
    max_length: int = MAX_LENGTH,
    seed: int = 0,
) -> list[float]:
    """Train all weights of `model` on labelled texts, in place; each step's loss.

    AdamW, a linear warm-up over the first tenth of the steps, then linear decay to
    zero; gradients clipped to norm 1. The head, which starts from random weights, has a
    larger learning rate than the encoder. The model is left in evaluation mode, and on
    its device.

    Raises `ValueError` if there is not one label a text, or no text.
    """
    if len(texts) != len(labels) or not len(texts):
        raise ValueError(
            f"one label a text is needed, not {len(labels)} labels for "
            f"{len(texts)} texts"
        )
    device = next(model.parameters()).device
    set_seed(seed)
    encodings = tokenizer(list(texts), truncation=True, max_length=max_length)[
        "input_ids"
    ]
    labels = torch.as_tensor(np.asarray(labels), device=device)
    optimizer = torch.optim.AdamW(
        [
            {"params": model.encoder.parameters(), "lr": learning_rate},
            {"params": model.head.parameters(), "lr": head_learning_rate},
        ],
        weight_decay=0.01,
        fused=device.type != "mps",
    )
    steps = epochs * -(-len(texts) // batch_size)
    warm_up = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warm_up, (steps - step) / max(1, steps - warm_up)
        ),
    )
    losses = []
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(texts)).split(batch_size):
            batch = _pad(tokenizer, [encodings[row] for row in rows], device)
            with mixed_precision(device):
                logits = model(**batch)
            loss = nn.functional.cross_entropy(logits.float(), labels[rows.to(device)])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    model.eval()
    return losses


@torch.inference_mode()
def predict(
    model: MeanPooledClassifier,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int = MAX_LENGTH,
) -> np.ndarray:
    """The most probable class of each text, (N,). The model must be evaluating."""
    logits = _in_batches(
        lambda batch: model(**batch), model, tokenizer, texts, max_length
    )  # (N, K)
    return logits.argmax(dim=1).numpy()


@torch.inference_mode()
def embed(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int = MAX_LENGTH,
) -> np.ndarray:
    """A unit vector a text, (N, C): the encoder's mean output, nothing trained."""

    def pooled(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return mean_pool(encoder(**batch).last_hidden_state, batch["attention_mask"])

    vectors = _in_batches(pooled, encoder, tokenizer, texts, max_length)
    return nn.functional.normalize(vectors, dim=1).numpy()


@torch.inference_mode()
def next_word_log_probabilities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prefix: str,
    queries: Sequence[str],
    words: Sequence[str],
    *,
    batch_size: int = 20,
    mixed: bool = True,
) -> torch.Tensor:
    """log p(word | prefix + query) for each query and word, shape (N, K).

    The model reads the prefix (the worked examples) once: its keys and values are kept
    and shared by all queries. Queries of similar length go through together, padded on
    the right, where a causal model cannot look. Source of the method: Brown et al.,
    2020, section 2.4.

    Raises `ValueError` if a word is not one token.
    """
    device = next(model.parameters()).device
    word_ids = [
        tokenizer(word, add_special_tokens=False)["input_ids"] for word in words
    ]
    if any(len(ids) != 1 for ids in word_ids):
        raise ValueError(
            f"each of {list(words)} must be one token, and they are {word_ids}"
        )
    columns = [ids[0] for ids in word_ids]
    # Tokenizing prefix and query apart can cut where the tokenizer would not (two line
    # ends are one token at the end of a text, two before a word), so whole prompts are
    # tokenized, and what they share is shared.
    prompts = [
        tokenizer(prefix + query, add_special_tokens=False)["input_ids"]
        for query in queries
    ]
    shared = 0
    if prefix:
        limit = min(len(ids) for ids in prompts) - 1
        while shared < limit and len({ids[shared] for ids in prompts}) == 1:
            shared += 1
    prefix_ids = torch.tensor([prompts[0][:shared]], device=device)  # (1, S)
    query_ids = [ids[shared:] for ids in prompts]
    order = sorted(range(len(queries)), key=lambda row: len(query_ids[row]))
    scores = torch.empty(len(queries), len(words))
    precision = (
        mixed_precision(device) if mixed else torch.autocast(device.type, enabled=False)
    )
    with precision:
        cache = model(prefix_ids, use_cache=True).past_key_values if shared else None
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            lengths = torch.tensor([len(query_ids[row]) for row in rows], device=device)
            width = int(lengths.max())
            padded = torch.zeros(len(rows), width, dtype=torch.long, device=device)
            for place, row in enumerate(rows):
                padded[place, : lengths[place]] = torch.tensor(query_ids[row])
            mask = torch.arange(width, device=device) < lengths[:, None]  # (B, T)
            past = None
            if cache is not None:
                past = copy.deepcopy(
                    cache
                )  # the model appends to the cache it is given
                past.batch_repeat_interleave(len(rows))
                mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)
            hidden = model.model(
                padded,
                attention_mask=mask.long(),
                past_key_values=past,
                use_cache=past is not None,
            ).last_hidden_state
            last = hidden[torch.arange(len(rows), device=device), lengths - 1]  # (B, C)
            scores[rows] = (
                model.lm_head(last).float().log_softmax(dim=1)[:, columns].cpu()
            )
    return scores


def _in_batches(
    function, model, tokenizer, texts, max_length, batch_size: int = 32
) -> torch.Tensor:
    """`function` of padded batches of texts, shortest first, back in texts' order."""
    device = next(model.parameters()).device
    encodings = tokenizer(list(texts), truncation=True, max_length=max_length)[
        "input_ids"
    ]
    order = sorted(range(len(texts)), key=lambda row: len(encodings[row]))
    results: list[torch.Tensor | None] = [None] * len(texts)
    with mixed_precision(device):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            output = (
                function(_pad(tokenizer, [encodings[row] for row in rows], device))
                .float()
                .cpu()
            )
            for row, result in zip(rows, output, strict=True):
                results[row] = result
    return torch.stack(results)


def _pad(
    tokenizer: PreTrainedTokenizerBase,
    encodings: Sequence[list[int]],
    device: torch.device,
) -> dict[str, torch.Tensor]:
    batch = tokenizer.pad({"input_ids": list(encodings)}, return_tensors="pt")
    return {
        "input_ids": batch["input_ids"].to(device),
        "attention_mask": batch["attention_mask"].to(device),
    }
