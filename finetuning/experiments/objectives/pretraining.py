"""Four objectives that pre-train the encoder on one budget of FLOPs.

One corpus and one tokenizer (`finetuning.data.streams`), one encoder with the same
first weights, one schedule; what differs is the objective.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from finetuning.data.streams import batches, blocks, corpus
from finetuning.experiments.objectives.encoders import (
    LENGTH,
    VOCABULARY,
    configuration,
    generator_configuration,
    random_encoder,
    suit_width,
)
from finetuning.runtime import Stopwatch, mixed_precision
from finetuning.scratch.bert import (
    Bert,
    BertConfiguration,
    MaskedLanguageModel,
    mask_tokens,
)
from finetuning.scratch.electra import ElectraPretraining
from finetuning.scratch.layers import TransformerShape, forward_flops

OBJECTIVES = ("masked LM", "replaced tokens", "replaced tokens, 15 %", "causal LM")

# Share of the budget, tokens a row, rows a batch. Short rows first, for there attention
# finds the neighbours (chapter 08); a batch has 768 tokens throughout.
STAGES = ((0.3, 8, 96), (0.7, LENGTH, 24))
MASKING_RATE = 0.15  # for masked LM and for ELECTRA's generator
WARM_UP = 0.05  # share of the budget
CHAPTER_FLOPS = 1e12
TENFOLD_FLOPS = 10 * CHAPTER_FLOPS
# Peak learning rates tried for each objective, on held-out speeches.
PEAKS = (2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3)
# The best of them for each, as the kept runs say. Compared is the loss of guessing
# tokens, for ELECTRA the generator's: its discriminator's is lowest where the fakes are
# worst.
BEST_PEAK = dict.fromkeys(OBJECTIVES, 8e-4) | {"causal LM": 1.6e-3}
LOG_PARTS = 40


def _with_head(encoder: Bert) -> MaskedLanguageModel:
    model = MaskedLanguageModel(configuration())
    suit_width(model)
    model.bert = encoder
    return model


class MaskedLM(nn.Module):
    """Masked language modelling."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.model = _with_head(random_encoder(seed))

    def forward(
        self, ids: Tensor, random: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss on a batch (B, T), and numbers for the log: its value in nats, and
        at how many places tokens were guessed.
        """
        masked, labels = mask_tokens(ids, VOCABULARY, random, MASKING_RATE)
        loss = self.model.loss(masked, labels)
        return loss, {"places": int((labels != -100).sum()), "loss": loss.item()}

    def encoder(self) -> Bert:
        return self.model.bert


class CausalLM(nn.Module):
    """Causal language modelling: the head of masked LM, at every place that has a
    successor.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.model = _with_head(random_encoder(seed, causal=True))

    def forward(
        self, ids: Tensor, random: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """As `MaskedLM.forward`."""
        logits = self.model.logits(self.model.bert(ids)[:, :-1])  # (B, T − 1, V)
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        return loss, {"places": ids[:, 1:].numel(), "loss": loss.item()}

    def encoder(self) -> Bert:
        return self.model.bert


class ReplacedTokenDetection(nn.Module):
    """ELECTRA's objective: the encoder is the discriminator's.

    With `only_hidden` the discriminator is asked at the hidden places alone ("ELECTRA
    15 %").
    """

    def __init__(self, seed: int, only_hidden: bool = False) -> None:
        super().__init__()
        encoder = random_encoder(seed)
        self.model = ElectraPretraining(configuration(), generator_configuration())
        self.only_hidden = only_hidden
        suit_width(self.model)
        self.model.discriminator.electra.load_state_dict(encoder.state_dict())

    def forward(
        self, ids: Tensor, random: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """As `MaskedLM.forward`; the number for the log is the discriminator's loss."""
        masked, labels = mask_tokens(
            ids, VOCABULARY, random, MASKING_RATE, shares=(1.0, 0.0)
        )
        losses = self.model(masked, labels, random=random, only_hidden=self.only_hidden)
        return losses.total, {
            "places": int((labels != -100).sum()),
            "loss": losses.discriminator.item(),
            "generator loss": losses.generator.item(),
        }

    def encoder(self) -> Bert:
        encoder = Bert(configuration())
        encoder.load_state_dict(self.model.discriminator.electra.state_dict())
        return encoder


# What is trained for each objective, made from a seed.
MODELS: dict[str, Callable[[int], nn.Module]] = {
    "masked LM": MaskedLM,
    "replaced tokens": ReplacedTokenDetection,
    "replaced tokens, 15 %": functools.partial(
        ReplacedTokenDetection, only_hidden=True
    ),
    "causal LM": CausalLM,
}


def step_flops(
    objective: str,
    length: int = LENGTH,
    rows: int = STAGES[-1][2],
    places: int | None = None,
) -> dict[str, int]:
    """FLOPs of one training step by part, three times those of the forward pass
    (chapter 06).

    `places` are those with logits over the vocabulary: as many as are hidden (in the
    mean, unless given), or all but the last of each row for causal LM. The
    discriminator answers everywhere: "ELECTRA 15 %" too computes what it does not
    count. Raises ValueError for an unknown objective.
    """
    _check(objective)
    if objective == "causal LM":
        places = rows * (length - 1)
    elif places is None:
        places = round(MASKING_RATE * rows * (length - 2))
    width = configuration().width  # the embeddings are as wide
    logits = forward_flops(_shape(configuration(), "tied"), 1)["head"]  # of one place
    encoder = forward_flops(_shape(configuration(), "none"), length)
    parts = {"encoder": rows * sum(encoder.values())}
    if objective.startswith("replaced"):
        small = generator_configuration()
        generator = forward_flops(_shape(small, "none"), length)
        narrowing = length * 2 * width * small.width
        parts["head"] = rows * length * 2 * (width * width + width)
        parts["generator"] = rows * (sum(generator.values()) + narrowing)
        parts["generator's head"] = places * (2 * small.width * width + logits)
    else:
        parts["head"] = places * (2 * width * width + logits)
    return {name: 3 * flops for name, flops in parts.items()}


def _shape(sizes: BertConfiguration, head: str) -> TransformerShape:
    return TransformerShape(
        sizes.layers,
        sizes.width,
        sizes.heads,
        sizes.hidden,
        sizes.vocabulary,
        head=head,
    )


def _check(objective: str) -> None:
    if objective not in OBJECTIVES:
        raise ValueError(
            f"there is no objective {objective!r}; there are {', '.join(OBJECTIVES)}"
        )


@dataclass
class Pretrained:
    """An encoder and how it came about; `log` has the mean losses in nats of 40 equal
    parts of the steps.
    """

    objective: str
    encoder: Bert
    model: nn.Module  # the encoder with its heads, and ELECTRA's generator
    flops: float
    steps: int
    tokens: int
    seconds: float
    log: dict[str, list[float]] = field(default_factory=dict)


def pretrain(
    objective: str, flops: float, seed: int = 0, peak: float | None = None
) -> Pretrained:
    """Train a fresh encoder on the training speeches until the next step would go over
    the budget.

    AdamW; the learning rate rises over the first 5 % of the budget to `peak` (the
    objective's best of `PEAKS`, unless given) and falls in a line to zero. Gradients
    are clipped to norm 1.

    Raises ValueError for an unknown objective or a budget that does not pay for a step
    in each stage.
    """
    _check_budget(objective, flops)
    peak = BEST_PEAK[objective] if peak is None else peak
    model = MODELS[objective](seed).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    random = torch.Generator().manual_seed(seed)
    stream = corpus(VOCABULARY).training
    flops_spent = 0
    tokens = 0
    stage_end = 0.0  # as a share of the budget
    steps: list[dict[str, float]] = []
    with Stopwatch() as watch:
        for share, length, rows in STAGES:
            stage_end += share
            for ids in batches(blocks(stream, length, marks=True), rows, seed):
                for group in optimizer.param_groups:
                    group["lr"] = peak * learning_rate_share(flops_spent / flops)
                with mixed_precision(ids.device):
                    loss, numbers = model(ids, random)
                cost = step_flops(objective, length, rows, numbers["places"])
                step_cost = sum(cost.values())
                if flops_spent + step_cost > stage_end * flops:
                    break
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                flops_spent += step_cost
                tokens += ids.numel()
                steps.append(numbers)
    model.eval()
    names = [name for name in steps[0] if name != "places"]
    log = {name: _means([step[name] for step in steps]) for name in names}
    return Pretrained(
        objective,
        model.encoder().eval(),
        model,
        flops_spent,
        len(steps),
        tokens,
        watch.seconds,
        log,
    )


def _check_budget(objective: str, flops: float) -> None:
    _check(objective)
    # Twice, for a batch may hide more than the mean; and each stage has only its share.
    least = 2 * max(
        sum(step_flops(objective, length, rows).values()) / share
        for share, length, rows in STAGES
    )
    if not flops >= least:
        raise ValueError(
            f"a budget of {flops:.1e} FLOPs does not pay for a step of {objective} in "
            f"each stage: give at least {least:.1e}"
        )


def learning_rate_share(spent: float) -> float:
    """The learning rate as a share of its peak, when `spent` of the budget (0 to 1) is
    spent.
    """
    return min(1.0, (spent + 1e-3) / WARM_UP, (1.0 - spent) / (1.0 - WARM_UP))


def _means(losses: Sequence[float]) -> list[float]:
    parts = np.array_split(losses, min(LOG_PARTS, len(losses)))
    return [round(float(part.mean()), 4) for part in parts]


@torch.no_grad()
def held_out(pretrained: Pretrained, rows: int = 500) -> dict[str, float]:
    """How well the objective is met on held-out speeches; the same rows, gaps and draws
    for equal objectives.

    `loss` in nats, of the objective itself; for replaced-token detection of the
    discriminator, and `total` with the generator's, as it is trained. Also `auc` and
    `recall` (of the replaced tokens, where 5 % of the others are suspected), the share
    `replaced`, the `auc` among the hidden places alone, and the loss of always saying
    that share.
    """
    ids = blocks(corpus(VOCABULARY).held_out, LENGTH, marks=True)
    ids = ids[:: max(1, len(ids) // rows)][:rows]
    random = torch.Generator().manual_seed(0)
    model = pretrained.model.eval()
    if isinstance(model, ReplacedTokenDetection):
        return _held_out_detection(model, ids, random)
    return {"loss": model(ids, random)[1]["loss"]}


def _held_out_detection(
    model: ReplacedTokenDetection, ids: Tensor, random: torch.Generator
) -> dict[str, float]:
    masked, labels = mask_tokens(
        ids, VOCABULARY, random, MASKING_RATE, shares=(1.0, 0.0)
    )
    losses = model.model(masked, labels, random=random, only_hidden=model.only_hidden)
    replaced = losses.replaced.numpy()
    logits = losses.logits.float().numpy()
    hidden = (labels != -100).numpy()
    share = float(replaced[hidden].mean() if model.only_hidden else replaced.mean())
    suspected = logits > np.quantile(logits[~replaced], 0.95)
    return {
        "loss": losses.discriminator.item(),
        "total": losses.total.item(),
        "loss of the base rate": float(
            -(share * np.log(share) + (1 - share) * np.log(1 - share))
        ),
        "generator loss": losses.generator.item(),
        "replaced": float(replaced.mean()),
        "auc": float(roc_auc_score(replaced.ravel(), logits.ravel())),
        "auc, hidden places": float(roc_auc_score(replaced[hidden], logits[hidden])),
        "recall": float(suspected[replaced].mean()),
    }
