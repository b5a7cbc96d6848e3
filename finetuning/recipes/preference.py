"""Direct preference optimisation: the loss, and what it is made of.

Source: Rafailov et al., "Direct Preference Optimization: Your Language Model is
Secretly a Reward Model", 2023, equation 7. A test holds it equal to trl's.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from finetuning.scratch.instruction import IGNORED

BETA = 0.1


def answer_log_probabilities(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The log-probability of each answer given its prompt, (B,), in nats.

    `batch` has `input_ids`, `attention_mask` and `labels`, (B, T) each; what has no
    label counts for nothing.
    """
    labels = batch["labels"][:, 1:]  # (B, T − 1): position t predicts t + 1
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
    ).logits[:, :-1]  # (B, T − 1, V)
    each = F.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    return -each.view_as(labels).sum(dim=1)


def margins(policy: Tensor, reference: Tensor) -> Tensor:
    """By how much more than the reference a policy prefers the chosen answers, (B,).

    Both are log-probabilities of chosen and rejected answers, (B, 2).
    """
    gains = policy - reference
    return gains[:, 0] - gains[:, 1]


def dpo_losses(policy: Tensor, reference: Tensor, beta: float = BETA) -> Tensor:
    """The loss of each pair, (B,): ln 2 where the policy is the reference."""
    return -F.logsigmoid(beta * margins(policy, reference))
