"""Checks of chapter 02's exercises.

- `masked_lm_corruption`: BERT's 80/10/10 rule, and which places have an answer
  (exercise 2.1)
- `replaced_token_loss`: ELECTRA's labels, and a mean over real tokens only (exercise
  2.2)
- `causal_loss`: the shift by one, and padding left out (exercise 2.3)
- `signal`: how many places of a text teach something, counted beforehand (exercise 2.4)
- `nearest_topic`: classification by the nearest mean vector (exercise 2.5)
- `label_prompt`: a prompt and its answers that fit together token by token (exercise
  2.6)
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from finetuning.checks.cases import listed, normal, paddings
from finetuning.checks.compare import difference
from finetuning.checks.core import (
    call,
    check,
    describe,
    expect_shape,
    fail,
    passed,
    written,
)
from finetuning.checks.predictions import Guess, predicted_numbers
from finetuning.checks.randomness import (
    expect_binomial,
    expect_even,
    expect_independent,
    expect_share,
    fits,
)
from finetuning.checks.state import GlobalState, Snapshot
from finetuning.checks.task import Case, Mistake, Task
from finetuning.models import load_tokenizer

__all__ = [
    "causal_loss",
    "label_prompt",
    "masked_lm_corruption",
    "nearest_topic",
    "replaced_token_loss",
    "signal",
]

_IGNORED = -100

# 2.1


@dataclass(frozen=True)
class _Batch:
    """What is to be corrupted."""

    ids: Tensor  # (B, T)
    special: Tensor  # (B, T)
    mask_id: int
    vocabulary: int


def _large_batch() -> _Batch:
    """(240, 240): in each row, and at each place, 40 special tokens."""
    random = torch.Generator().manual_seed(11)
    ids = torch.randint(1000, 5000, (240, 240), generator=random)
    places = torch.arange(240)
    special = (places + 7 * places[:, None]) % 240 < 40
    return _Batch(ids, special, 103, 5000)


def _few_tokens(*shape: int, special: float = 0.15) -> _Batch:
    """A batch of ids below 5, so that each random token comes often."""
    random = torch.Generator().manual_seed(12)
    ids = torch.randint(5, shape, generator=random)
    return _Batch(ids, torch.rand(shape, generator=random) < special, 2, 5)


def _corrupted(
    corrupt: Callable, batch: _Batch, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The answer's two results for a batch, and nothing else changed by the call."""
    ids, special = batch.ids.clone(), batch.special.clone()
    snapshot, world = Snapshot({"ids": ids, "special": special}), GlobalState()
    try:
        result = call(corrupt, ids, special, batch.mask_id, batch.vocabulary, generator)
        changed = world.change()
    finally:
        world.restore()
    inputs, labels = _two_of_ids(result, tuple(ids.shape))
    change = snapshot.change()
    if change:
        fail(
            f"{change} The caller still needs the original text: work on a copy, or "
            "write the operations so that they make a new tensor."
        )
    if changed:
        fail(f"{changed} Here: pass `generator` to every random draw.")
    return inputs, labels


def _two_of_ids(result: Any, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        fail(
            "two things should come back, the corrupted input and the labels, and "
            f"there came {describe(result)}."
        )
    for value, what in zip(result, ("the corrupted input", "the labels"), strict=True):
        if not isinstance(value, (Tensor, np.ndarray)):
            fail(f"{what} should be a tensor, and is {describe(value)}.")
        expect_shape(value, shape, what)
        dtype = torch.as_tensor(value).dtype
        if dtype == torch.bool or dtype.is_floating_point or dtype.is_complex:
            fail(f"{what} should hold ids, whole numbers, and has the dtype {dtype}.")
    inputs, labels = map(torch.as_tensor, result)
    if (inputs == _IGNORED).any() and not (labels == _IGNORED).any():
        fail(
            "the two results come in the wrong order: first the corrupted input, then "
            "the labels."
        )
    return inputs, labels


def _judge_labels(batch: _Batch, inputs: Tensor, labels: Tensor) -> Tensor:
    """Fail where labels are wrong; else which places were chosen (B, T)."""
    chosen, ordinary = labels != _IGNORED, ~batch.special
    there = labels[batch.special].unique()
    if chosen[batch.special].any():
        if there.numel() == 1 and (there < 0 or (batch.ids != there).all()):
            fail(
                f"places that nobody should guess have the label {there.item()}. The "
                "loss leaves out -100, and no other."
            )
        fail(
            "a special token or padding has a label: "
            f"{_how_many(chosen[batch.special])} of these, and of the ordinary tokens "
            f"{_how_many(chosen[ordinary])}. Those of `special` should never have one, "
            "and of the others 15 %."
        )
    many = ordinary.sum() > 1000
    if many and chosen[ordinary].double().mean() > 0.9:
        changed = (inputs != batch.ids)[ordinary]
        fail(
            f"every token has a label: {_how_many(chosen[ordinary])} of the ordinary "
            f"ones, and the input was changed at {_how_many(changed)}. 15 % of them "
            "should be chosen, and all other places have the label -100."
        )
    if many and not chosen.any():
        fail("no token has a label; 15 % of the ordinary ones should.")
    return chosen


def _how_many(chosen: Tensor) -> str:
    return f"{int(chosen.sum()):,} of {chosen.numel():,}"


def _judge_places(
    batch: _Batch, inputs: Tensor, labels: Tensor, chosen: Tensor
) -> None:
    wrong = labels[chosen] != batch.ids[chosen]
    if wrong.any():
        if (labels[chosen][wrong] == inputs[chosen][wrong]).all():
            fail(
                "some labels are what the corrupted input shows: they were read from "
                "the input after it was corrupted. The answer is the token that stood "
                "there before."
            )
        place = tuple((chosen & (labels != batch.ids)).nonzero()[0].tolist())
        fail(
            f"the label at {[*place]} is {labels[place].item()}, and the original "
            f"token there is {batch.ids[place].item()}: a label is the original token."
        )
    changed = inputs != batch.ids
    if changed[~chosen].any():
        fail(
            "the input was changed at places that have no label: such a place "
            "teaches a false text."
        )
    strange = (inputs < 0) | (inputs >= batch.vocabulary)
    strange &= changed & (inputs != batch.mask_id)
    if strange.any():
        fail(
            f"{_how_many(strange[chosen])} tokens to be guessed are shown as an id "
            f"outside the vocabulary of {batch.vocabulary}, the first as "
            f"{inputs[strange][0].item()}. Shown are [MASK] (here "
            f"{batch.mask_id}), random ids below {batch.vocabulary} and the original."
        )


def _judge_choice(batch: _Batch, chosen: Tensor) -> None:
    """Whether each ordinary token had its own chance of 15 % (the large batch)."""
    ordinary = ~batch.special
    share = chosen[ordinary].double().mean().item()
    if not 0 < share < 1:
        share = 0.15
    for dimension, what in (
        (0, "the places that are chosen, counted over all texts"),
        (1, "the places that are chosen, counted in each text"),
    ):
        expect_binomial(
            chosen.sum(dim=dimension).tolist(),
            int(ordinary.sum(dim=dimension)[0]),
            share,
            what,
        )
    for dimension, what in (
        (1, "whether a token and the next one are chosen"),
        (0, "whether the same place is chosen in one text and the next"),
    ):
        both = ordinary.narrow(dimension, 0, 239) & ordinary.narrow(dimension, 1, 239)
        expect_independent(
            chosen.narrow(dimension, 0, 239)[both],
            chosen.narrow(dimension, 1, 239)[both],
            what,
            "Each is to be chosen on its own.",
        )
    expect_independent(
        chosen[ordinary],
        batch.ids[ordinary] % 8,
        "whether a token is chosen and which token it is",
    )
    hits, trials = int(chosen.sum()), int(ordinary.sum())
    hint = ""
    if any(fits(hits, trials, share) for share in (0.8, 0.95)):
        hint = "The shares 80, 10 and 10 % are of those chosen, not of all tokens."
    expect_share(hits, trials, 0.15, "ordinary tokens that have a label", hint)


def _judge_fates(batch: _Batch, inputs: Tensor, chosen: Tensor) -> None:
    """Whether 80 % are masked, 10 % random, 10 % left, each by itself."""
    known = chosen & (batch.ids != batch.mask_id)
    count, random = int(known.sum()), 0.1 / batch.vocabulary
    masked = known & (inputs == batch.mask_id)
    kept = known & (inputs == batch.ids)
    if masked.sum() == count:
        fail(
            "all chosen tokens became [MASK]; 80 % of them should, 10 % become a "
            "random token, and 10 % stay as they are."
        )
    fate = masked.long() + 2 * kept.long()  # 0: random
    rows, places = (torch.arange(size) for size in chosen.shape)
    what = "what becomes of a chosen token and"
    expect_independent(
        fate[known],
        (places * 8 // len(places)).expand_as(chosen)[known],
        f"{what} its place",
    )
    expect_independent(
        fate[known],
        (rows * 8 // len(rows))[:, None].expand_as(chosen)[known],
        f"{what} its text",
    )
    expect_independent(fate[known], batch.ids[known] % 8, f"{what} which token it is")
    in_turn = fate[known]
    expect_independent(in_turn[1:], in_turn[:-1], f"{what} that of the one before")
    expect_share(
        int(masked.sum()),
        count,
        0.8 + random,
        "chosen tokens that became [MASK]",
        "It should be 80 % of them.",
    )
    hits, hint = int(kept.sum()), "It should be 10 %."
    if abs(hits / count - (0.18 + 0.2 * random)) < 0.007:  # and far from 20 %
        hint += (
            " 18 % is what a second draw with a chance of a tenth leaves of the 20 % "
            "that the first one left."
        )
    what = "chosen tokens that stayed as they are"
    expect_share(hits, count, 0.1 + random, what, hint)


def _judge_strangers(batch: _Batch, inputs: Tensor, chosen: Tensor) -> None:
    """Whether random tokens come from the whole vocabulary, each by itself."""
    new = chosen & (inputs != batch.mask_id) & (inputs != batch.ids)
    strangers = inputs[new]
    if batch.vocabulary < 100:
        counts = torch.bincount(strangers, minlength=batch.vocabulary)
        tokens = [n for n in range(batch.vocabulary) if n != batch.mask_id]
        expect_even(
            counts[tokens].tolist(),
            f"the random tokens of a vocabulary of {batch.vocabulary} are not drawn "
            "evenly",
            f"(Counted are the ids {listed(map(str, tokens))}, in this order.)",
        )
        return
    if strangers.unique().numel() < 0.8 * strangers.numel():
        fail(
            "the random tokens are not drawn from the whole vocabulary, each place "
            f"on its own: {strangers.numel()} places got only "
            f"{strangers.unique().numel()} different tokens."
        )
    for shift, what in ((0, "and the original one"), (1, "and the one before")):
        other = batch.ids[new] if shift == 0 else strangers.roll(1)
        expect_independent(
            strangers * 6 // batch.vocabulary,
            other * 6 // batch.vocabulary,
            f"a random token {what}",
        )
        expect_independent(strangers % 6, other % 6, f"a random token {what}")
    expect_even(
        torch.bincount(strangers * 20 // batch.vocabulary, minlength=20).tolist(),
        "the random tokens, by twentieths of the vocabulary, are not drawn evenly",
    )


def _judge_generator(corrupt: Callable) -> None:
    batch = _few_tokens(40, 50)

    def inputs(generator: torch.Generator) -> Tensor:
        return _corrupted(corrupt, batch, generator)[0]

    one = torch.Generator().manual_seed(0)
    first, second = inputs(one), inputs(one)
    if not torch.equal(first, inputs(torch.Generator().manual_seed(0))):
        fail(
            "the same generator state gave two different results: pass "
            "`generator` to every random draw."
        )
    if torch.equal(first, inputs(torch.Generator().manual_seed(1))):
        fail(
            "two different generators gave the same result: pass `generator` to "
            "every random draw."
        )
    if torch.equal(first, second):
        fail(
            "called twice with one generator, it draws the very same again, so all "
            "batches are alike. Do not seed it anew."
        )


@check
def masked_lm_corruption(corrupt: Callable) -> None:
    """`corrupt(ids, special, mask_id, vocabulary_size, generator)` -> `(inputs,
    labels)`, both (B, T).
    """
    large, few = _large_batch(), _few_tokens(400, 90)
    batches = (
        large,
        few,
        _few_tokens(1, 9, special=1.0),
        _few_tokens(7, 1, special=0.0),
        _few_tokens(1, 1, special=0.0),
    )
    results = [
        _corrupted(corrupt, batch, torch.Generator().manual_seed(seed))
        for seed, batch in enumerate(batches)
    ]
    passed("shapes are right and the original ids are left alone")
    chosen = []
    for batch, result in zip(batches, results, strict=True):
        chosen.append(_judge_labels(batch, *result))
        if batch is large:
            _judge_choice(large, chosen[0])
    for batch, (inputs, labels), places in zip(batches, results, chosen, strict=True):
        _judge_places(batch, inputs, labels, places)
    passed(
        "15 % of the ordinary tokens are to be guessed, and the labels are the "
        "original ones"
    )
    for batch, (inputs, _), places in zip(batches[:2], results, chosen, strict=False):
        _judge_fates(batch, inputs, places)
        _judge_strangers(batch, inputs, places)
    passed(
        "of those, 80 % are masked, 10 % random and 10 % unchanged; nothing else "
        "is touched"
    )
    _judge_generator(corrupt)
    passed("all randomness comes from the generator")


# 2.2 and 2.3


def _same_loss(found: Any, expected: Any, case: Case) -> str | None:
    """How a loss differs; a plain number is as good as a tensor."""
    dtype = case.arguments[0].dtype
    if isinstance(found, float):
        found = torch.tensor(found, dtype=dtype)
    return difference(found, expected, "the loss", floor=dtype)


def _replaced(original: Tensor, corrupted: Tensor, chosen: Tensor) -> Tensor:
    return corrupted != original


def _over_real(each: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
    return each[mask.bool()].mean()


def _detector(label: Callable = _replaced, mean: Callable = _over_real) -> Callable:
    """ELECTRA's loss, with ways to label the tokens and to take the mean."""

    def loss(
        logits: Tensor,
        original: Tensor,
        corrupted: Tensor,
        chosen: Tensor,
        attention_mask: Tensor,
    ) -> Tensor:
        labels = label(original, corrupted, chosen).to(logits.dtype)
        each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return mean(each, attention_mask, chosen)

    return loss


def _logarithm_of(probability: Callable) -> Callable:
    """The loss by way of probabilities, which float32 rounds to 0 and 1."""

    def loss(
        logits: Tensor,
        original: Tensor,
        corrupted: Tensor,
        chosen: Tensor,
        mask: Tensor,
    ) -> Tensor:
        labels = (corrupted != original).to(logits.dtype)
        return probability(logits.sigmoid(), labels)[mask.bool()].mean()

    return loss


def _by_hand(p: Tensor, labels: Tensor) -> Tensor:
    return -(labels * p.log() + (1 - labels) * (1 - p).log())


def _chosen_by_hand(p: Tensor, labels: Tensor) -> Tensor:
    return -torch.where(labels > 0, p, 1 - p).log()


def _clamped(p: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy(p, labels, reduction="none")


def _boolean_labels(
    logits: Tensor, original: Tensor, corrupted: Tensor, chosen: Tensor, mask: Tensor
) -> Tensor:
    labels = corrupted != original
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return each[mask.bool()].mean()


def _detector_cases() -> list[Case]:
    cases = []
    # Float32 alone: labels made by `.float()` are as good as any.
    for seed, (batch, length, scale) in enumerate(
        ((3, 8, 1.0), (2, 5, 2.0), (1, 7, 0.3), (5, 5, 3.0), (4, 9, 25.0))
    ):
        random = torch.Generator().manual_seed(seed)
        original = torch.randint(4, (batch, length), generator=random)
        chosen = torch.rand(batch, length, generator=random) < 0.6
        chosen[0, :2] = True
        drawn = torch.randint(4, (batch, length), generator=random)
        drawn[0, :2] = original[0, :2]  # a lucky draw, and one that is none
        drawn[0, 1] += 1
        corrupted = torch.where(chosen, drawn, original)
        logits = normal(batch, length, seed=seed) * scale
        masks = dict(paddings(batch, length))
        if batch == 1:
            masks = {
                "with padding on the left": (torch.arange(length) > 2)[None].long()
            }
        for padding, mask in masks.items():
            if seed % 2:
                mask = mask.float()
            what = f"for {batch} texts of {length} tokens {padding}"
            cases.append(Case(what, (logits, original, corrupted, chosen, mask)))
    return cases


_ROUNDED = (
    "A large logit becomes a probability of exactly 0 or 1, and the logarithm of that "
    "is lost. Take the loss from the logits themselves."
)
_DETECTED = Task(
    _detector(),
    _detector_cases,
    [
        Mistake(
            "A token that the generator drew exactly as it was counts as replaced. "
            "Nobody can tell it from the original: the label compares the tokens, it "
            "does not ask where the generator was at work.",
            _detector(lambda original, corrupted, chosen: chosen),
        ),
        Mistake(
            "The labels are the wrong way round: 1 means replaced, 0 means original.",
            _detector(lambda original, corrupted, chosen: corrupted == original),
        ),
        Mistake(
            "The labels are the wrong way round: 1 means replaced, 0 means original.",
            _detector(lambda original, corrupted, chosen: ~chosen),
        ),
        Mistake(
            "This is the sum of the losses; the loss is their mean over the real "
            "tokens.",
            _detector(mean=lambda each, mask, chosen: each[mask.bool()].sum()),
        ),
        Mistake(
            "Padding is in the mean. It is no token: leave it out of the sum, and of "
            "the count.",
            _detector(mean=lambda each, mask, chosen: each.mean()),
        ),
        Mistake(
            "Padding is left out of the sum and not of the count. Divide by the number "
            "of real tokens, not by that of all places.",
            _detector(mean=lambda each, mask, chosen: (each * mask).mean()),
        ),
        Mistake(
            "Only the places where the generator was at work count here. Every real "
            "token counts, chosen or not.",
            _detector(mean=lambda each, mask, chosen: each[chosen].mean()),
        ),
        Mistake(
            "Only the places where the generator was at work count here. Every real "
            "token counts, chosen or not.",
            _detector(
                mean=lambda each, mask, chosen: each[chosen & mask.bool()].mean()
            ),
        ),
        Mistake(
            "This is the mean of each text's mean, so a token of a short text weighs "
            "more than one of a long text.",
            _detector(
                mean=lambda each, mask, chosen: (
                    (each * mask).sum(-1) / mask.sum(-1)
                ).mean()
            ),
        ),
        Mistake(
            "`attention_mask` holds the numbers 0 and 1, which as an index are "
            "rows. Use `.bool()`.",
            _detector(mean=lambda each, mask, chosen: each[mask].mean()),
        ),
        Mistake(_ROUNDED, _logarithm_of(_by_hand), exact=False),
        Mistake(_ROUNDED, _logarithm_of(_chosen_by_hand), exact=False),
        Mistake(_ROUNDED, _logarithm_of(_clamped), exact=False),
        Mistake(
            "A comparison gives true and false: `.float()` makes 1 and 0 of them.",
            _boolean_labels,
            exact=False,
        ),
    ],
    compare=_same_loss,
)


@check
def replaced_token_loss(loss: Callable) -> None:
    """`loss(logits, original, corrupted, chosen, attention_mask)` -> scalar; all
    arguments (B, T).
    """
    _DETECTED.check(loss)
    passed("one loss for every token, 1 for replaced and 0 for original")
    passed("a token that the generator got right is labelled original")
    passed("padding changes nothing")


def _answered(mask: Tensor) -> Tensor:
    """(B, T-1): here and next are real."""
    return mask[:, :-1].bool() & mask[:, 1:].bool()


def _asked(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction=reduction)


def _causal(
    logits: Tensor, ids: Tensor, attention_mask: Tensor, reduction: str = "mean"
) -> Tensor:
    labels = ids[:, 1:].masked_fill(~_answered(attention_mask), _IGNORED)
    return _asked(logits[:, :-1], labels, reduction)


def _hidden(ids: Tensor, mask: Tensor) -> Tensor:
    return ids.masked_fill(mask == 0, _IGNORED)


def _text_by_text(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    rows = [
        _causal(logits[row : row + 1], ids[row : row + 1], mask[row : row + 1])
        for row in range(len(ids))
    ]
    return torch.stack(rows).mean()


def _divided_by(count: Callable[[Tensor], Any]) -> Callable:
    """The sum of the right losses, divided by another number of places."""

    def loss(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        return _causal(logits, ids, mask, "sum") / count(mask)

    return loss


def _of_probabilities(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    labels = ids[:, 1:].masked_fill(~_answered(mask), _IGNORED)
    logarithms = logits[:, :-1].softmax(-1).log()
    return F.nll_loss(logarithms.flatten(0, 1), labels.flatten())


def _no_zeros(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    return _causal(logits, ids.masked_fill(ids == 0, _IGNORED), mask)


def _causal_cases() -> list[Case]:
    cases = []
    for seed, (batch, length, vocabulary, dtype, scale) in enumerate(
        (
            (2, 7, 11, torch.float32, 1.0),
            (3, 5, 4, torch.float64, 1.0),
            (1, 6, 3, torch.float32, 2.0),
            (4, 4, 4, torch.float32, 1.0),
            (3, 8, 5, torch.float32, 80.0),
            (2, 2, 6, torch.float32, 1.0),
        )
    ):
        random = torch.Generator().manual_seed(seed)
        ids = torch.randint(vocabulary, (batch, length), generator=random)
        ids[0, :2] = torch.tensor([1, 0])
        logits = normal(batch, length, vocabulary, seed=seed, dtype=dtype) * scale
        masks = dict(paddings(batch, length, between=False))
        both = masks["with padding on the right"].clone()
        both[: batch // 2] = both[: batch // 2].flip(1)
        both[0, 0] = 0
        if batch == 1:
            masks = {"with padding on the left": both}
        elif length > 2:
            masks["with padding on the right in some, and on the left in others"] = both
        for padding, mask in masks.items():
            filled = ids if seed % 2 else torch.where(mask.bool(), ids, 0)
            if seed == 3:
                mask = mask.float()
            what = f"for {batch} texts of {length} tokens {padding}"
            cases.append(Case(what, (logits, filled, mask)))
    return cases


_OWN = (
    "Each position is asked for its own token, which it can see. Position t must be "
    "asked for token t + 1."
)
_BACK = (
    "The shift goes the wrong way: each position is asked for the token before it. "
    "Position t must be asked for token t + 1."
)
_CIRCLE = (
    "The last position is asked for the first token: `roll` goes round in a circle. "
    "Nothing follows the last token."
)
_TWICE = "The labels are shifted twice: position t is asked for token t + 2."
_COUNT = (
    "Padding is left out of the sum but not of the count. Divide by the places that "
    "have an answer."
)
_CAUSAL = Task(
    _causal,
    _causal_cases,
    [
        Mistake(_OWN, lambda logits, ids, mask: _asked(logits, ids)),
        Mistake(_OWN, lambda logits, ids, mask: _asked(logits, _hidden(ids, mask))),
        Mistake(_BACK, lambda logits, ids, mask: _asked(logits[:, 1:], ids[:, :-1])),
        Mistake(
            _BACK,
            lambda logits, ids, mask: _asked(logits[:, 1:], _hidden(ids, mask)[:, :-1]),
        ),
        Mistake(
            _BACK,
            lambda logits, ids, mask: _asked(
                logits[:, 1:], ids[:, :-1].masked_fill(~_answered(mask), _IGNORED)
            ),
        ),
        Mistake(
            _CIRCLE, lambda logits, ids, mask: _asked(logits, ids.roll(-1, dims=1))
        ),
        Mistake(
            _CIRCLE,
            lambda logits, ids, mask: _asked(
                logits, _hidden(ids, mask).roll(-1, dims=1)
            ),
        ),
        Mistake(
            _CIRCLE,
            lambda logits, ids, mask: _asked(
                logits,
                _hidden(_hidden(ids, mask).roll(-1, dims=1), mask),
            ),
        ),
        Mistake(_TWICE, lambda logits, ids, mask: _asked(logits[:, :-2], ids[:, 2:])),
        Mistake(
            _TWICE,
            lambda logits, ids, mask: _asked(logits[:, :-2], _hidden(ids, mask)[:, 2:]),
        ),
        Mistake(
            "The sum is right, but it is divided by all places, and not by those that "
            "have an answer.",
            _divided_by(Tensor.numel),
        ),
        Mistake(
            "The sum is right, but it is divided by all places, and not by those that "
            "have an answer.",
            lambda logits, ids, mask: (
                _asked(logits[:, :-1], _hidden(ids, mask)[:, 1:], "sum") / ids.numel()
            ),
        ),
        Mistake(_COUNT, _divided_by(lambda mask: mask.sum())),
        Mistake(_COUNT, _divided_by(lambda mask: mask[:, 1:].numel())),
        Mistake(_COUNT, _divided_by(lambda mask: mask[:, 1:].sum())),
        Mistake(_COUNT, _divided_by(lambda mask: mask[:, :-1].sum())),
        Mistake(
            "This is the sum over all places; the loss is their mean.",
            _divided_by(lambda mask: 1),
        ),
        Mistake(
            "Token id 0 is an ordinary token here, and was left out. Only "
            "`attention_mask` knows padding.",
            _no_zeros,
        ),
        Mistake(
            "Token id 0 is an ordinary token here, and was left out. Only "
            "`attention_mask` knows padding.",
            lambda logits, ids, mask: _asked(
                logits[:, :-1], ids[:, 1:].masked_fill(ids[:, 1:] == 0, _IGNORED)
            ),
        ),
        Mistake(
            "Padding is counted: the model is asked to predict it. Places whose next "
            "token is padding have no answer (label -100).",
            lambda logits, ids, mask: _asked(logits[:, :-1], ids[:, 1:]),
        ),
        Mistake(
            "This is the mean of each text's mean, so a place in a short text weighs "
            "more than one in a long text. The loss is the mean over all places.",
            _text_by_text,
        ),
        Mistake(
            "The last token of a padded text is asked for padding: the mask was "
            "asked about the place itself only. The next token must be real too.",
            lambda logits, ids, mask: _asked(
                logits[:, :-1], _hidden(ids[:, 1:], mask[:, :-1])
            ),
        ),
        Mistake(
            "A place of padding is asked for the first token of the text: it has read "
            "nothing. Here and next must both be real.",
            lambda logits, ids, mask: _asked(logits[:, :-1], _hidden(ids, mask)[:, 1:]),
        ),
        Mistake(
            "`cross_entropy` takes logits, and makes the softmax itself.",
            lambda logits, ids, mask: _causal(logits.softmax(-1), ids, mask),
        ),
        Mistake(
            "A small probability becomes exactly 0, and its logarithm is lost: take "
            "log-softmax or cross-entropy of the logits.",
            _of_probabilities,
            exact=False,
        ),
    ],
    compare=_same_loss,
)


@check
def causal_loss(loss: Callable) -> None:
    """`loss(logits, ids, attention_mask)` -> scalar, from (B, T, V), (B, T), (B, T)."""
    _CAUSAL.check(loss)
    passed("position t is asked for token t + 1, and the last one for nothing")
    passed("padding on the right changes nothing")
    passed("padding on the left changes nothing")


# 2.4

_WORDS, _SPECIAL, _PLACES, _RIGHT = 62, 2, 96, 0.4
_COUNTS = {
    "causal": _WORDS + _SPECIAL - 1,
    "masked": 0.15 * _WORDS,
    "shown as [MASK]": 0.8 * 0.15 * _WORDS,
    "shown unchanged": 0.1 * 0.15 * _WORDS,
    "replaced detection": _WORDS + _SPECIAL,
    "labelled replaced": (1 - _RIGHT) * 0.15 * _WORDS,
}
_QUESTIONS = {
    "causal": "Which tokens of the text have a next one, [CLS] and [SEP] included?",
    "masked": "Which of the 96 places can be chosen at all, and what share of them is?",
    "shown as [MASK]": "How many are chosen, and what share of those is masked?",
    "shown unchanged": "How many are chosen, and what share of those is left alone?",
    "replaced detection": "At which tokens can one ask: was this one replaced?",
    "labelled replaced": (
        "At how many places is the generator at work, and how often does it draw "
        "another token than the one that stood there?"
    ),
}
_PADDED = "Padding has no answer in any objective."
_OF_CHOSEN = "are of those *chosen*, and only 15 % of the ordinary tokens are chosen."
_GUESSES = {
    "causal": [
        Guess(64, "The text has 64 tokens, and the last one has no successor."),
        Guess(
            62,
            "[CLS] and [SEP] are tokens of the text here: the first has a successor, "
            "the last is one.",
        ),
        Guess(61, "[CLS] and [SEP] count as tokens of the text here: 64 tokens."),
        Guess(95, _PADDED),
        Guess(96, _PADDED),
    ],
    "masked": [
        Guess(
            0.15 * 64,
            "[CLS] and [SEP] are never chosen: 15 % of which tokens is it?",
        ),
        Guess(0.15 * 96, "Padding is never chosen: 15 % of which tokens is it?"),
        Guess(
            0.8 * 0.15 * 62,
            "The loss counts at every chosen place, and not only where [MASK] stands.",
        ),
    ],
    "shown as [MASK]": [
        Guess(0.8 * 62, f"The 80 % {_OF_CHOSEN}"),
        Guess(0.8 * 64, f"The 80 % {_OF_CHOSEN}"),
        Guess(0.15 * 62, "Not all that are chosen become [MASK]."),
    ],
    "shown unchanged": [
        Guess(0.1 * 62, f"The 10 % {_OF_CHOSEN}"),
        Guess(
            0.85 * 62,
            "This counts the tokens that were not chosen. The question is about places "
            "that have a label and show their own answer.",
        ),
        Guess(
            0.1 * 0.8 * 0.15 * 62, "10 % of those *chosen* stay, not of those masked."
        ),
        Guess(0.2 * 0.15 * 62, "Half of what is not masked becomes a random token."),
    ],
    "replaced detection": [
        Guess(
            62,
            "[CLS] and [SEP] count here: the discriminator answers there as well.",
        ),
        Guess(96, _PADDED),
        Guess(
            0.15 * 62,
            "The discriminator answers at every real token, not only where the "
            "generator was at work; that is its whole point.",
        ),
    ],
    "labelled replaced": [
        Guess(
            0.15 * 62,
            "Where the generator draws the original token, the label is original.",
        ),
        Guess(
            0.4 * 0.15 * 62,
            "40 % is how often the generator is right; replaced are the others.",
        ),
        Guess(0.6 * 62, "The generator is at work at the chosen places only."),
    ],
}


@check
def signal(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "causal", "masked", "shown as [MASK]", "shown unchanged",
    "replaced detection", "labelled replaced".
    """
    written(predicted, "the prediction")
    if not isinstance(predicted, Mapping) or set(predicted) != set(_COUNTS):
        keys = predicted if isinstance(predicted, Mapping) else _COUNTS
        lacks = [f"; {key!r} is missing" for key in _COUNTS if key not in keys]
        fail(
            f"the prediction should be a dictionary with the keys {', '.join(_COUNTS)}"
            f"{''.join(lacks[:1])}."
        )
    said = {name: predicted[name] for name in _COUNTS}
    predicted_numbers(
        said, _COUNTS, _QUESTIONS, relative=0.006, guesses=_GUESSES, at_least=0.0
    )
    passed("all six counts are right")


# 2.5


def _unit(vectors: np.ndarray, axis: int = -1) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=axis, keepdims=True)


def _means(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The topics (K,) and the mean vectors of their articles (K, C)."""
    topics = np.unique(labels)
    rows = [features[labels == topic].mean(axis=0) for topic in topics]
    return topics, np.stack(rows)


def _nearest(
    features: np.ndarray, labels: np.ndarray, queries: np.ndarray
) -> np.ndarray:
    topics, means = _means(features.astype(np.float64), labels)
    return topics[(queries @ _unit(means).T).argmax(axis=1)]


def _by_scores(score: Callable) -> Callable:
    """The topic with the largest score, of mean vectors and queries."""

    def classify(
        features: np.ndarray, labels: np.ndarray, queries: np.ndarray
    ) -> np.ndarray:
        topics, means = _means(features, labels)
        return topics[score(means, queries).argmax(axis=1)]

    return classify


def _nearness(means: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return -np.linalg.norm(queries[:, None] - means, axis=2)


def _by_article(unit: bool) -> Callable:
    def classify(
        features: np.ndarray, labels: np.ndarray, queries: np.ndarray
    ) -> np.ndarray:
        if unit:
            return labels[(queries @ _unit(features).T).argmax(axis=1)]
        return labels[_nearness(features, queries).argmax(axis=1)]

    return classify


def _sums(features: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
    topics = np.unique(labels)
    sums = np.stack([features[labels == topic].sum(axis=0) for topic in topics])
    return topics[(queries @ sums.T).argmax(axis=1)]


def _places(
    features: np.ndarray, labels: np.ndarray, queries: np.ndarray
) -> np.ndarray:
    _, means = _means(features, labels)
    return (queries @ _unit(means).T).argmax(axis=1)


def _topic_cases() -> list[Case]:
    # Topic 3 is common and its vectors are long; topic 7 is rare.
    features = np.array(
        [[4.0, 0.2], [5.0, 0.0], [6.0, -0.2], [4.0, 0.0], [0.0, 1.0], [0.2, 0.9]]
    )
    labels = np.array([3, 3, 3, 3, 7, 7])
    queries = np.array([[1.0, 0.1], [0.7, 0.8], [0.1, 3.0], [10.0, 11.0], [-3.0, 0.5]])
    cases = [
        Case(
            "for six articles with long and short vectors", (features, labels, queries)
        )
    ]
    for seed, (kinds, width, count, asked, dtype, kind) in enumerate(
        (
            ([0, 1, 2, 4, 5], 16, 60, 40, np.float64, np.int64),
            ([1, 3, 5, 7], 6, 31, 25, np.float32, np.int64),
            ([9, 2, 30], 3, 17, 20, np.float64, np.int32),
            ([5, 4, 8, 6, 20, 11], 4, 6, 30, np.float32, np.int64),
            ([0, 1], 5, 9, 1, np.float64, np.int64),
            ([12], 4, 3, 5, np.float64, np.int64),
        )
    ):
        random = np.random.default_rng(seed)
        labels = np.array([*kinds, *random.choice(kinds, count - len(kinds))], kind)
        labels = random.permutation(labels)
        centres = {
            topic: random.normal(size=width) * random.uniform(0.5, 8) for topic in kinds
        }
        features = np.stack([centres[topic] for topic in labels])
        features = features + 1.5 * random.normal(size=features.shape)
        features = (features * np.exp(random.normal(size=(count, 1)))).astype(dtype)
        queries = random.normal(size=(40 * asked, width))
        queries *= np.exp(1.5 * random.normal(size=(len(queries), 1)))
        _, means = _means(features.astype(np.float64), labels)
        cosines = np.sort(_unit(queries) @ _unit(means).T, axis=1)
        clear = np.ones(len(queries), bool)
        if len(kinds) > 1:
            clear = cosines[:, -1] - cosines[:, -2] > 0.03
        queries = queries[clear][:asked].astype(dtype)
        what = f"for {count} articles of {len(kinds)} topics, {width} numbers each"
        cases.append(Case(what, (features, labels, queries)))
    return cases


def _same_topics(found: Any, expected: Any, case: Case) -> str | None:
    if isinstance(found, (list, tuple)) and found:
        try:
            found = np.array(found)
        except ValueError:
            return f"the answer is {describe(found)}, which is no row of numbers."
    sentence = difference(found, expected, "the answer")
    if sentence and " differ)" in sentence:
        strange = set(np.asarray(found).ravel().tolist()) - set(
            case.arguments[1].tolist()
        )
        if strange:
            return f"{sentence} No labelled article has the number {min(strange)}."
    return sentence


_LONG = (
    "Long vectors win: a query goes to a topic in whose direction it does not point "
    "most nearly. Compare directions: give the means length 1 before the dot product."
)
_DISTANCE = (
    "This compares distances, which depend on lengths. Compare directions: give means "
    "and queries length 1."
)
_NEAREST = Task(
    _nearest,
    _topic_cases,
    [
        Mistake(
            "`argmax` gives a place among the topics; turn it into the topic's own "
            "number.",
            _places,
        ),
        Mistake(_LONG, _by_scores(lambda means, queries: queries @ means.T)),
        Mistake(_LONG, _by_scores(lambda means, queries: _unit(queries) @ means.T)),
        Mistake(_LONG, _sums),
        Mistake(_DISTANCE, _by_scores(_nearness)),
        Mistake(
            _DISTANCE,
            _by_scores(lambda means, queries: _nearness(means, _unit(queries))),
        ),
        Mistake(
            "This is the topic of the nearest article. One mean for each topic "
            "is less easily fooled.",
            _by_article(unit=True),
        ),
        Mistake(
            "This is the topic of the nearest article. One mean for each topic "
            "is less easily fooled.",
            _by_article(unit=False),
        ),
        Mistake(
            "The articles get length 1 before their mean is taken; the mean is of the "
            "vectors as they are.",
            lambda features, labels, queries: _nearest(
                _unit(features), labels, queries
            ),
        ),
        Mistake(
            "This is the topic that points away most: the largest cosine is the "
            "nearest direction.",
            _by_scores(lambda means, queries: -queries @ _unit(means).T),
        ),
        Mistake(
            "The length of a vector is a sum over its own numbers: the norm runs over "
            "the wrong axis.",
            _by_scores(lambda means, queries: queries @ _unit(means, axis=0).T),
        ),
    ],
    compare=_same_topics,
)


@check
def nearest_topic(classify: Callable) -> None:
    """`classify(features, labels, queries)` -> labels (M,), from arrays (N, C), (N,)
    and (M, C).
    """
    _NEAREST.check(classify)
    passed("directions decide, and the answers are topics")
    passed("one to six topics in any order are told apart by their means")


# 2.6

_TOPICS = ["business", "entertainment", "politics", "sport", "tech"]
_ARTICLES = (
    ("Shares rise in London", _TOPICS),
    ("Cup final ends 2-1", ["tech", "sport", "business"]),
    ("A film about nothing.", ["science", "music"]),
    ("Up by 100 % {so they say} - \\ and no more", [*_TOPICS[::-1], "health"]),
    ("Naïve café 日本, 🙂\nin two lines", ["history", "weather", "sport"]),
    ("", ["food"]),
)
_ASKED = ("topic", "subject", "category", "about", "section", "theme")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _prompt(article: str, topics: list[str]) -> tuple[str, list[str]]:
    return f"Article: {article}\nTopic:", [f" {topic}" for topic in topics]


def _meeting(found: Any, expected: Any, case: Case) -> str | None:
    """What is wrong with a prompt and its words, as tokens show it."""
    article, topics = case.arguments
    if (
        not isinstance(found, (tuple, list))
        or len(found) != 2
        or not isinstance(found[0], str)
    ):
        return (
            "two things should come back, the prompt, a text, and the list of words; "
            f"there came {describe(found)}."
        )
    prompt, words = found
    if (
        not isinstance(words, Sequence)
        or isinstance(words, str)
        or len(words) != len(topics)
    ):
        return f"there should be a list of {len(topics)} words, one for each topic."
    if not all(isinstance(word, str) for word in words):
        return "the words should be texts, such as the tokenizer takes, and not ids."
    names = [word.strip() for word in words]
    if [name.lower() for name in names] != topics:
        return (
            f"the words are {names}, for the topics {topics}: the score of each must "
            "be that of the topic at its place. Keep the topics' order and names."
        )
    if _one_line(article) not in _one_line(prompt):
        return (
            "the article does not stand in the prompt, so the answer cannot "
            "depend on it."
        )
    for word in words:
        sentence = _joint(prompt, word)
        if sentence:
            return sentence
    if not any(word in prompt.replace(article, "").lower() for word in _ASKED):
        return "the prompt does not ask for the topic. Keep the end of the broken one."
    return None


@functools.cache
def _tokenizer() -> Any:
    return load_tokenizer("SmolLM2-135M-Instruct")


def _joint(prompt: str, word: str) -> str:
    """What is wrong where a prompt and a word meet, or nothing."""
    tokenizer = _tokenizer()

    def tokens(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    if prompt[-1:].isspace() and word[:1].isspace():
        return (
            f"{prompt[-8:] + word!r} has white space twice: in the prompt and in the "
            "word."
        )
    if len(tokens(word)) != 1:
        pieces = [tokenizer.decode([token]) for token in tokens(word)]
        return (
            f"{word!r} is {len(pieces)} tokens ({' + '.join(map(repr, pieces))}), so "
            "the score of the first is the score of something else. Which way to write "
            "the word is one token?"
        )
    if tokens(prompt + word) != tokens(prompt) + tokens(word):
        sentence = (
            f"prompt and {word!r} together are not the tokens of the prompt "
            "and then those of the word. The model would be asked for a "
            "token that never follows there."
        )
        plain, spaced = prompt.rstrip(" "), f" {word.strip()}"
        if tokens(plain + spaced) == tokens(plain) + tokens(spaced):
            sentence += " Where does the space belong?"
        return sentence
    return ""


_MEETING = Task(
    _prompt,
    lambda: [
        Case(f"for the article {article!r} and {len(topics)} topics", (article, topics))
        for article, topics in _ARTICLES
    ],
    compare=_meeting,
)


@check
def label_prompt(build: Callable) -> None:
    """`build(article, topics)` -> `(prompt, words)`: a text, and an answer a topic."""
    _MEETING.check(build)
    passed(
        "every answer is one token, and prompt and answer meet where the tokenizer cuts"
    )
    passed("the prompt holds the article and asks for its topic")
