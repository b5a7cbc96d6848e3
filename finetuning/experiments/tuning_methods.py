"""Chapter 12's experiment: every way of tuning an encoder, at equal tuning effort.

The task is to tell a sentence in its own order from one whose end stands before its
beginning (`finetuning.data.word_order`). A frozen encoder that was trained to say what
sentences are about knows little of it.

Every method gets the same rates, seeds, passes, batches and schedule. The head is
trained in every run, at a rate of its own that is the same for all; with the head
alone, `rate` is the head's. A run takes about twenty seconds on one CPU core, and keeps
which validation and test sentences were right, so that any two methods can be compared
sentence by sentence.
"""

import functools
import itertools

import numpy as np
import peft
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from finetuning.classification import (
    MeanPooledClassifier,
    fine_tune,
    mean_pool,
    predict,
)
from finetuning.data.word_order import ORDERS, load_word_order
from finetuning.experiments.engine import Experiment, Key, Results, to_bits
from finetuning.experiments.label_efficiency import draw_evenly
from finetuning.models import load_encoder
from finetuning.runtime import pick_device, set_seed

MODEL = "all-MiniLM-L6-v2"
RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
# Rates beyond the grid, of methods that are best at its edge.
BEYOND: dict[str, tuple[float, ...]] = {
    "prompt tuning": (0.3, 1.0),
    "prefix tuning": (0.3, 1.0),
    "IA³": (0.3, 1.0),
}
SEEDS = 3
LABELS = 200
EPOCHS = 5
BATCH = 16
MAX_LENGTH = 32
HEAD_RATE = 1e-2

VIRTUAL_TOKENS = 8
BOTTLENECK = 16
LINEAR = r"encoder\.layer\.\d+\..*(query|key|value|dense)"
FEEDFORWARD = r"encoder\.layer\.\d+\.output\.dense"
KEY_AND_VALUE = r"encoder\.layer\.\d+\.attention\.self\.(key|value)"
LORA_RANKS = (1, 4, 8, 16, 64)

CONFIGURATIONS: dict[str, peft.PeftConfig] = {
    "prompt tuning": peft.PromptTuningConfig(
        task_type="FEATURE_EXTRACTION",
        num_virtual_tokens=VIRTUAL_TOKENS,
        prompt_tuning_init="SAMPLE_VOCAB",
    ),
    "prefix tuning": peft.PrefixTuningConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=VIRTUAL_TOKENS
    ),
    "IA³": peft.IA3Config(
        target_modules=f"({KEY_AND_VALUE}|{FEEDFORWARD})",
        feedforward_modules=FEEDFORWARD,
    ),
    "DoRA r = 4": peft.LoraConfig(
        r=4, lora_alpha=4, target_modules=LINEAR, use_dora=True
    ),
    **{
        f"LoRA r = {rank}": peft.LoraConfig(
            r=rank, lora_alpha=rank, target_modules=LINEAR
        )
        for rank in LORA_RANKS
    },
}
"""What the `peft` library does; the others are in `tuned_encoder`."""

METHODS = (
    "full",
    "head only",
    "BitFit",
    "prompt tuning",
    "prefix tuning",
    "IA³",
    "adapter",
    *(f"LoRA r = {rank}" for rank in LORA_RANKS),
    "DoRA r = 4",
)


class Adapter(nn.Module):
    """A bottleneck beside the identity, which it is at the start: (…, C) to (…, C).

    Source: Houlsby et al., 2019, section 2.1.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.up(nn.functional.gelu(self.down(hidden)))


class LastTokensClassifier(MeanPooledClassifier):
    """`MeanPooledClassifier` that reads the text's vectors alone where the encoder puts
    those of a prompt before them.
    """

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state[:, -input_ids.size(1) :]  # (B, T, C)
        return self.head(mean_pool(hidden, attention_mask))


def tuned_encoder(method: str) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """The pretrained encoder, of which what `method` trains, and only that, asks for a
    gradient; new weights are drawn from torch's generator.
    """
    encoder, tokenizer = load_encoder(
        MODEL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    encoder.pooler = None  # the mean is taken in its place
    if method in CONFIGURATIONS:
        return peft.get_peft_model(encoder, CONFIGURATIONS[method]), tokenizer
    for name, weight in encoder.named_parameters():
        weight.requires_grad = method == "full" or (
            method == "BitFit" and name.endswith("bias")
        )
    if method == "adapter":
        width = encoder.config.hidden_size
        for layer in encoder.encoder.layer:
            for part in (layer.attention.output, layer.output):
                part.dense = nn.Sequential(part.dense, Adapter(width, BOTTLENECK))
    return encoder, tokenizer


def classifier(
    method: str, seed: int
) -> tuple[MeanPooledClassifier, PreTrainedTokenizerBase]:
    """The model of a run before its training; the head is the same for all methods."""
    set_seed(seed)
    head = nn.Linear(load_encoder(MODEL)[0].config.hidden_size, len(ORDERS))
    encoder, tokenizer = tuned_encoder(method)
    model = LastTokensClassifier(encoder, len(ORDERS))
    model.head = head
    return model.to(pick_device()), tokenizer


@functools.cache
def sentences(part: str) -> tuple[list[str], np.ndarray]:
    """Texts of "train", "validation" or "test", and their orders as numbers, (N,)."""
    texts, orders = load_word_order(part)
    return texts, np.array(orders)


def draw(seed: int) -> np.ndarray:
    """Rows of the training sentences that a seed's runs get: as many of each order."""
    _, orders = sentences("train")
    return draw_evenly(orders, LABELS, seed)


def rates(method: str) -> tuple[float, ...]:
    """Rates that were tried with a method, smallest first."""
    return tuple(sorted((*RATES, *BEYOND.get(method, ()))))


def run(key: Key, kept: Results) -> dict[str, object]:
    """Tune once: what is right then, the mean loss of each pass (None where it is no
    number), and how many parameters were trained, the head's included.
    """
    texts, orders = sentences("train")
    rows = draw(key["seed"])
    model, tokenizer = classifier(key["method"], key["seed"])
    losses = fine_tune(
        model,
        tokenizer,
        [texts[row] for row in rows],
        orders[rows],
        epochs=EPOCHS,
        learning_rate=key["rate"],
        head_learning_rate=key["rate"] if key["method"] == "head only" else HEAD_RATE,
        batch_size=BATCH,
        max_length=MAX_LENGTH,
        seed=key["seed"],
    )
    result = {}
    for part in ("validation", "test"):
        texts, orders = sentences(part)
        right = predict(model, tokenizer, texts, MAX_LENGTH) == orders
        result[part] = float(np.mean(right))
        result[f"{part} right"] = to_bits(right)
    passes = np.array(losses).reshape(EPOCHS, -1).mean(axis=1)
    result["losses"] = [
        round(float(loss), 3) if np.isfinite(loss) else None for loss in passes
    ]
    result["trained"] = sum(
        weight.numel() for weight in model.parameters() if weight.requires_grad
    )
    return result


EXPERIMENT = Experiment(
    name="tuning_methods",
    chapter=12,
    settings={
        "model": MODEL,
        "labels": LABELS,
        "epochs": EPOCHS,
        "batch": BATCH,
        "max length": MAX_LENGTH,
        "dropout": 0,
        "optimizer": "AdamW, weight decay 0.01, gradients clipped to norm 1",
        "schedule": "linear warm-up over a tenth of the steps, linear decay to 0",
        "head rate": HEAD_RATE,
        "virtual tokens": VIRTUAL_TOKENS,
        "prompt": "starts as tokens drawn from the vocabulary",
        "bottleneck": BOTTLENECK,
        "LoRA": "alpha = r, all linear layers, no dropout",
    },
    keys=[
        *(
            {"method": method, "rate": rate, "seed": seed}
            for seed, rate, method in itertools.product(range(SEEDS), RATES, METHODS)
        ),
        *(
            {"method": method, "rate": rate, "seed": seed}
            for method, others in BEYOND.items()
            for rate in others
            for seed in range(SEEDS)
        ),
    ],
    run=run,
)
