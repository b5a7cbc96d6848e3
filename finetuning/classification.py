"""Classify texts with a pretrained encoder, or by what a language model would write.

What chapter 2 compares and chapter 11 takes apart: frozen features, fine-tuning, and
few-shot prompting.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
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

    Raises `ValueError` if there is nothing to learn from (no text, no epoch, a text
    without a token), if there is not one label a text, if a label is not a class of the
    model (0 to K − 1), or if `max_length` is more than the model reads.
    """
    encodings = _encode(model.encoder, tokenizer, texts, max_length)
    classes = _class_numbers(labels, len(encodings), model.head.out_features)
    if epochs < 1 or batch_size < 1:
        raise ValueError(
            f"{epochs} epochs in batches of {batch_size}: each must be at least 1"
        )
    device = next(model.parameters()).device
    set_seed(seed)
    targets = torch.as_tensor(classes, device=device)  # (N,)
    optimizer = torch.optim.AdamW(
        [
            {"params": model.encoder.parameters(), "lr": learning_rate},
            {"params": model.head.parameters(), "lr": head_learning_rate},
        ],
        weight_decay=0.01,
        fused=device.type != "mps",
    )
    steps = epochs * -(-len(encodings) // batch_size)
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
        for rows in torch.randperm(len(encodings)).split(batch_size):
            batch = _pad(tokenizer, [encodings[row] for row in rows], device)
            with mixed_precision(device):
                logits = model(**batch)
            loss = nn.functional.cross_entropy(logits.float(), targets[rows.to(device)])
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
    """The most probable class of each text, (N,). The model must be evaluating.

    Raises `TypeError` and `ValueError` as `embed` does.
    """
    encodings = _encode(model.encoder, tokenizer, texts, max_length)
    device = next(model.parameters()).device

    def logits(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(**batch)

    scores = _in_batches(
        logits, model.head.out_features, tokenizer, encodings, device
    )  # (N, K)
    return scores.argmax(dim=1).numpy()


@torch.inference_mode()
def embed(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int = MAX_LENGTH,
) -> np.ndarray:
    """A unit vector a text, (N, C): the encoder's mean output, nothing trained.

    Raises `TypeError` if `texts` is one string or holds anything but strings,
    `ValueError` if a text has no token, or `max_length` is more than the encoder reads.
    """
    encodings = _encode(encoder, tokenizer, texts, max_length)
    device = next(encoder.parameters()).device

    def pooled(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return mean_pool(encoder(**batch).last_hidden_state, batch["attention_mask"])

    width = encoder.config.hidden_size
    vectors = _in_batches(pooled, width, tokenizer, encodings, device)
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

    Raises `ValueError` if a word is not one token, if a prompt has none, or if one is
    longer than the model reads; `TypeError` for one string in the place of several.
    """
    device = next(model.parameters()).device
    queries = _listed(queries, "queries")
    words = _listed(words, "words")
    word_ids = [
        tokenizer(word, add_special_tokens=False)["input_ids"] for word in words
    ]
    if any(len(ids) != 1 for ids in word_ids):
        raise ValueError(f"each of {words} must be one token, and they are {word_ids}")
    columns = [ids[0] for ids in word_ids]
    # Tokenizing prefix and query apart can cut where the tokenizer would not (two line
    # ends are one token at the end of a text, two before a word), so whole prompts are
    # tokenized, and what they share is shared.
    prompts = [
        tokenizer(prefix + query, add_special_tokens=False)["input_ids"]
        for query in queries
    ]
    if not prompts:
        return torch.empty(0, len(words))
    prompt_lengths = [len(ids) for ids in prompts]
    if min(prompt_lengths) == 0:
        raise ValueError("a prompt is empty: there is nothing that a word could follow")
    most = _most_tokens(model, tokenizer)
    if max(prompt_lengths) > most:
        raise ValueError(
            f"a prompt has {max(prompt_lengths)} tokens, and the model reads {most}: "
            "use fewer or shorter examples"
        )
    shared = 0
    if prefix:
        limit = min(prompt_lengths) - 1
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
            ids = [torch.tensor(query_ids[row]) for row in rows]
            padded = pad_sequence(ids, batch_first=True).to(device)  # (B, T)
            lengths = torch.tensor([len(row) for row in ids], device=device)
            places = torch.arange(padded.shape[1], device=device)
            mask = places < lengths[:, None]  # (B, T)
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


def _listed(texts: Sequence[str], name: str = "texts") -> list[str]:
    """A list of strings; `TypeError` for one string, or for what is not a string."""
    if isinstance(texts, str):
        raise TypeError(f"{name} is one string; a list of strings is needed: [{name}]")
    texts = list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{name}[{row}] is {type(text).__name__}, not a string")
    return texts


def _most_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens a model has positions for, by its configuration or tokenizer."""
    most = tokenizer.model_max_length  # huge where the tokenizer does not say
    positions = getattr(model.config, "max_position_embeddings", None)
    return most if positions is None else min(most, positions)


def _encode(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
) -> list[list[int]]:
    """The token ids of each text, cut to `max_length`, special tokens included.

    Raises `TypeError` and `ValueError` as `embed` does.
    """
    texts = _listed(texts)
    most = _most_tokens(encoder, tokenizer)
    # With no room for a token of the text, tokenizers would not cut at all.
    least = tokenizer.num_special_tokens_to_add() + 1
    if not least <= max_length <= most:
        raise ValueError(
            f"max_length is {max_length}; this encoder reads {least} to {most} tokens"
        )
    if not texts:
        return []
    encodings = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    for row, ids in enumerate(encodings):
        if not ids:
            raise ValueError(f"texts[{row}] has no token: there is nothing to read")
    return encodings


def _class_numbers(labels: Sequence[int], texts: int, classes: int) -> np.ndarray:
    """Labels as class numbers, (N,); `ValueError` as `fine_tune` says."""
    numbers = np.asarray(labels)
    if not texts or numbers.shape != (texts,):
        raise ValueError(
            f"one label a text is needed, not labels of shape {numbers.shape} for "
            f"{texts} texts"
        )
    if not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(
            f"labels are class numbers, 0 to {classes - 1}, and not {numbers.dtype}"
        )
    outside = numbers[(numbers < 0) | (numbers >= classes)]
    if len(outside):
        raise ValueError(
            f"label {outside[0]} is no class: the model has {classes}, 0 to "
            f"{classes - 1}"
        )
    return numbers.astype(np.int64)


def _in_batches(
    function: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    width: int,
    tokenizer: PreTrainedTokenizerBase,
    encodings: Sequence[list[int]],
    device: torch.device,
    batch_size: int = 32,
) -> torch.Tensor:
    """`function` of padded batches (B, T) to (B, width), for all texts: (N, width).

    The shortest go first, so that little is padding; results are in the texts' order.
    """
    order = sorted(range(len(encodings)), key=lambda row: len(encodings[row]))
    results = torch.empty(len(encodings), width)
    with mixed_precision(device):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = _pad(tokenizer, [encodings[row] for row in rows], device)
            results[rows] = function(batch).float().cpu()
    return results


def _pad(
    tokenizer: PreTrainedTokenizerBase,
    encodings: Sequence[list[int]],
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """Token ids and mask, (B, T) each, padded on the right.

    On the left, as some tokenizers pad, an encoder with absolute positions would read
    every word in another place.
    """
    batch = tokenizer.pad(
        {"input_ids": list(encodings)}, padding_side="right", return_tensors="pt"
    )
    return {
        "input_ids": batch["input_ids"].to(device),
        "attention_mask": batch["attention_mask"].to(device),
    }
