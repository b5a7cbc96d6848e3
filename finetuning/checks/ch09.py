"""Checks of chapter 09, GPT.

- `cache_bytes(cache_bytes)`: 9.1, the memory that keys and values take
- `dice(shifted, …, no_mask)`: 9.2, which losses fall on a text that nobody can foretell
- `first_token(shifted, …, backwards)`: 9.2, what a model trained with each of them
  writes
- `pool_heads(pool_heads)`: 9.3, many heads of keys made few
- `mended_penalty(mended_penalty)`: 9.4, a penalty on tokens that were there before,
  mended
- `strided_losses(strided_losses)`: 9.5, a long text read through windows that overlap
- `mended_next_logits(mended_next_logits)`: 9.6, texts of several lengths continued
  together, mended
- `polar(polar)`: 9.7, singular values pushed to one without computing them
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

from finetuning.checks.cases import LEADING, normal, scaled_rows
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import (
    call,
    check,
    expect_refusal,
    fail,
    passed,
    random_tensor,
)
from finetuning.checks.predictions import predicted_numbers, predicted_words
from finetuning.checks.state import own_random_numbers
from finetuning.checks.task import Case, Mistake, Task
from finetuning.scratch.gpt import GPT2, GPT2Configuration, Llama, LlamaConfiguration
from finetuning.scratch.transformer import KeyValueCache

__all__ = [
    "cache_bytes",
    "dice",
    "first_token",
    "mended_next_logits",
    "mended_penalty",
    "polar",
    "pool_heads",
    "strided_losses",
]


def _kept(what: str) -> Callable[..., str | None]:
    """Compare numbers, and the dtype with that of the first argument."""

    def compare(found: Any, expected: Tensor, case: Case) -> str | None:
        sentence = difference(found, expected, what)
        dtype = case.arguments[0].dtype
        if not sentence and not isinstance(found, Tensor):
            sentence = (
                f"{what} is right, and of type {type(found).__name__}: return a tensor."
            )
        if not sentence and found.dtype != dtype:
            sentence = (
                f"{what} has the dtype {found.dtype}; it should be that of what was "
                f"given, {dtype}."
            )
        return sentence

    return compare


# 9.1

_SIZES = {"hidden": 16, "max_length": 32}
_CACHES = (  # configuration, rows, tokens, bytes for each number; models fill them
    (LlamaConfiguration(50, 48, 2, heads=6, key_value_heads=3, **_SIZES), 5, 7, 4),
    (LlamaConfiguration(40, 120, 3, heads=10, key_value_heads=2, **_SIZES), 7, 11, 2),
    (LlamaConfiguration(30, 50, 4, heads=5, key_value_heads=1, **_SIZES), 3, 13, 4),
    (LlamaConfiguration(30, 70, 4, heads=7, key_value_heads=None, **_SIZES), 3, 13, 4),
)
_LARGE = (
    (LlamaConfiguration(90, 512, 24, heads=8, key_value_heads=4), 17, 1900, 2),
    (LlamaConfiguration(90, 264, 1, heads=11, key_value_heads=None), 1, 1, 1),
    (LlamaConfiguration(90, 2048, 22, heads=32, key_value_heads=4), 1, 8192, 8),
)


def _true_cache(
    configuration: LlamaConfiguration, rows: int, tokens: int, bytes_per_number: int
) -> int:
    """Measured: a model of this shape reads so many tokens; its cache is counted."""
    with own_random_numbers(), torch.no_grad():
        model, cache = Llama(configuration), KeyValueCache(configuration.layers)
        model.hidden(torch.zeros(rows, tokens, dtype=torch.long), cache)
    return bytes_per_number * sum(part.numel() for pair in cache.own for part in pair)


def _cache_with(*factors: Callable[..., float]) -> Callable[..., float]:
    """The bytes, times each factor of the configuration, rows, tokens and bytes."""

    def cache_bytes(
        configuration: LlamaConfiguration,
        rows: int,
        tokens: int,
        bytes_per_number: int,
    ) -> float:
        groups = configuration.key_value_heads or configuration.heads
        head_width = configuration.width // configuration.heads
        bytes_ = 2 * configuration.layers * groups * head_width * rows * tokens
        sizes = (configuration, rows, tokens, bytes_per_number)
        wrong = math.prod(factor(*sizes) for factor in factors)
        total = bytes_ * bytes_per_number
        return total * wrong if factors else total

    return cache_bytes


_true_bytes = _cache_with()


def _groups(configuration: LlamaConfiguration) -> int:
    return configuration.key_value_heads or configuration.heads


_FACTORS: dict[str, Callable[..., float]] = {  # by how much each mistake multiplies
    "a token leaves keys and values, two tensors of the same size": (
        lambda c, rows, tokens, size: 1 / 2
    ),
    "the query heads are counted, or D is taken for C / G, which comes to the same. "
    "Only keys and values are kept: fewer heads, and each as wide as a query head, "
    "C / H": lambda c, rows, tokens, size: c.heads / _groups(c),
    "each layer has keys and values of its own": (
        lambda c, rows, tokens, size: 1 / c.layers
    ),
    "each row of the batch has its own text, and so its own keys and values": (
        lambda c, rows, tokens, size: 1 / rows
    ),
    "the tokens are missing": lambda c, rows, tokens, size: 1 / tokens,
    "this counts numbers, and each takes some bytes": (
        lambda c, rows, tokens, size: 1 / size
    ),
    "a head of keys holds D numbers for each token, and here it holds one": (
        lambda c, rows, tokens, size: c.heads / c.width
    ),
    "each head is counted with the whole width C; heads divide it": (
        lambda c, rows, tokens, size: c.heads
    ),
    "queries are counted too, and nobody asks them again": (
        lambda c, rows, tokens, size: (c.heads + 2 * _groups(c)) / (2 * _groups(c))
    ),
    "the longest text that the model can read is counted, not the tokens that there "
    "are": lambda c, rows, tokens, size: c.max_length / tokens,
    "keys and values grow with the tokens, not with their square, as scores do": (
        lambda c, rows, tokens, size: tokens
    ),
    "this is in bits, or bytes are counted as if there were eight times as many": (
        lambda c, rows, tokens, size: 8
    ),
    **{
        f"this is in {unit}; say bytes": lambda c, rows, tokens, size, n=n: 1 / n
        for unit, n in (
            ("kilobytes", 10**3),
            ("megabytes", 10**6),
            ("gigabytes", 10**9),
            ("kibibytes", 2**10),
            ("mebibytes", 2**20),
            ("gibibytes", 2**30),
        )
    },
}


def _one_head_for_none(
    configuration: LlamaConfiguration, rows: int, tokens: int, bytes_per_number: int
) -> float:
    right = _true_bytes(configuration, rows, tokens, bytes_per_number)
    if configuration.key_value_heads is None:
        return right // configuration.heads
    return right


def _none_multiplied(
    configuration: LlamaConfiguration, rows: int, tokens: int, bytes_per_number: int
) -> float:
    head_width = configuration.width // configuration.heads
    numbers = 2 * configuration.layers * configuration.key_value_heads * head_width
    return numbers * rows * tokens * bytes_per_number


_NONE = (
    "None for `key_value_heads` means: as many heads of keys as there are query heads."
)
_BYTES = Task(
    _true_bytes,
    lambda: [
        Case(
            f"for {rows} rows of {tokens:,} tokens, {c.layers} layers, width "
            f"{c.width}, {c.heads} query heads, key_value_heads={c.key_value_heads} "
            f"and {size} bytes a number",
            (c, rows, tokens, size),
        )
        for c, rows, tokens, size in (*_CACHES, *_LARGE)
    ],
    [
        *(
            Mistake(f"{what[0].upper()}{what[1:]}.", _cache_with(factor))
            for what, factor in _FACTORS.items()
        ),
        *(
            Mistake(
                f"Two things: {one}; and {other}.",
                _cache_with(_FACTORS[one], _FACTORS[other]),
            )
            for one, other in itertools.combinations(list(_FACTORS)[:6], 2)
        ),
        Mistake(_NONE, _one_head_for_none),
        Mistake(_NONE, _none_multiplied),
    ],
    result="the number of bytes",
)


@check
def cache_bytes(
    cache_bytes: Callable[[LlamaConfiguration, int, int, int], int],
) -> None:
    """9.1: the bytes for four shapes, against caches that models have filled."""
    _BYTES.check(cache_bytes)
    for case in _CACHES:
        said, held = call(cache_bytes, *case), _true_cache(*case)
        if difference(said, held):
            fail(f"you say {said} bytes, and a cache that was filled holds {held}.")
    passed("the bytes of four caches, as counted in models that filled them")


# 9.2

_DICE = {  # falls or stays, and a question for whoever says the other
    "shifted": (
        "stays",
        "The next number is drawn after everything that the model sees. What "
        "could tell it?",
    ),
    "not_shifted": (
        "falls",
        "Row t of the logits is compared with token t, and token t is what the "
        "model has just read.",
    ),
    "shifted_twice": (
        "stays",
        "Row t is compared with token t + 2. Is that among the tokens that "
        "position t has seen?",
    ),
    "backwards": (
        "falls",
        "Row t is compared with token t − 1. May position t look at it?",
    ),
    "no_mask": (
        "falls",
        "The labels are right. But what may position t look at, if nothing is masked?",
    ),
}


@check
def dice(
    shifted: Any, not_shifted: Any, shifted_twice: Any, backwards: Any, no_mask: Any
) -> None:
    """9.2: for five ways to train, whether the loss falls below ln 10."""
    answers = (shifted, not_shifted, shifted_twice, backwards, no_mask)
    predicted_words(
        {f"{name}_on_dice": said for name, said in zip(_DICE, answers, strict=True)},
        {f"{name}_on_dice": true for name, (true, _) in _DICE.items()},
        {f"{name}_on_dice": question for name, (_, question) in _DICE.items()},
        ("falls", "stays"),
        general="",
    )
    passed("which losses fall on dice, and which do not")


_TOKENS = {  # after 3, 4, 5; and a question that leads on
    "shifted": (6, "Its labels are right, so it learns to count."),
    "not_shifted": (5, "It was rewarded for saying, after each token, that token."),
    "shifted_twice": (
        7,
        "After token t it was rewarded for token t + 2. What comes two after 5?",
    ),
    "backwards": (
        4,
        "After token t it was rewarded for token t − 1. What came before 5?",
    ),
}


@check
def first_token(
    shifted: Any, not_shifted: Any, shifted_twice: Any, backwards: Any
) -> None:
    """9.2: the token that each model writes after 3, 4, 5."""
    answers = (shifted, not_shifted, shifted_twice, backwards)
    predicted_numbers(
        {f"{name}_writes": said for name, said in zip(_TOKENS, answers, strict=True)},
        {f"{name}_writes": true for name, (true, _) in _TOKENS.items()},
        {f"{name}_writes": question for name, (_, question) in _TOKENS.items()},
        relative=0.0,
        sentence="`{name}` is not {said:g}, after 3, 4, 5.",
    )
    passed("what each of the four writes after 3, 4, 5")


# 9.3


def _pooled(weight: Tensor, heads: int, groups: int, how: str = "right") -> Tensor:
    """Few heads of many, rightly or wrongly."""
    width, shared = len(weight) // heads, heads // groups
    neighbours = weight.unflatten(0, (groups, shared, width))
    return {
        "right": lambda: neighbours.mean(dim=1),
        "sum": lambda: neighbours.sum(dim=1),
        "first": lambda: neighbours[:, 0],
        "last": lambda: neighbours[:, -1],
        "strided": lambda: weight.unflatten(0, (shared, groups, width)).mean(dim=0),
        "rows": lambda: weight.unflatten(0, (groups * width, shared)).mean(dim=1),
        "interleaved": lambda: (
            weight.unflatten(0, (width, groups, shared)).mean(dim=2).transpose(0, 1)
        ),
        "all": lambda: neighbours.mean(dim=(0, 1))[None].expand(
            groups, *neighbours.shape[2:]
        ),
        "root": lambda: neighbours.sum(dim=1) / math.sqrt(shared),
        "largest": lambda: neighbours.amax(dim=1),
        "median": lambda: neighbours.median(dim=1).values,
    }[how]().reshape(groups * width, *weight.shape[1:])


_POOLED = {
    "sum": (
        "The heads of a group are added. Divide by how many they are: scores should "
        "stay as large as they were."
    ),
    "root": (
        "The sum of a group is divided by the root of how many they are; a mean "
        "divides by the number."
    ),
    "first": (
        "This is the first head of each group. The others have a say too: take the "
        "mean."
    ),
    "last": (
        "This is the last head of each group. The others have a say too: take the mean."
    ),
    "largest": (
        "This is the largest number of each group of heads; a mean is asked for."
    ),
    "median": "This is the median of each group of heads; a mean is asked for.",
    "strided": (
        "Heads far apart are averaged. Neighbours share: query head h asks key head h "
        "// (H / G), so with six heads and two groups 0, 1, 2 belong together."
    ),
    "rows": (
        "Neighbouring rows are averaged, which belong to one head. A head is D rows, "
        "one after the other; average row d of one head with row d of the next."
    ),
    "interleaved": (
        "Rows are cut as if the head changed with every row. D rows in a run make a "
        "head."
    ),
    "all": (
        "All heads are averaged into one, and that is repeated. Each group has a mean "
        "of its own."
    ),
}


def _pooling_cases() -> list[Case]:
    cases = []
    for shape, heads, groups, dtype in (
        ((24, 5), 6, 2, torch.float32),
        ((40, 3), 4, 2, torch.float32),
        ((18,), 6, 3, torch.float32),
        ((12, 4), 3, 1, torch.float32),
        ((45, 45), 9, 3, torch.float64),
        ((24,), 8, 2, torch.float64),
        ((32, 7), 8, 2, torch.bfloat16),
        ((12, 6), 4, 4, torch.float32),
        ((6, 1), 6, 3, torch.float32),
        ((16,), 1, 1, torch.float16),
    ):
        weight = normal(*shape, seed=heads)
        what = f"for a weight {shape} of {dtype}, {heads} heads and {groups} groups"
        cases.append(Case(what, (weight.to(dtype), heads, groups)))
    weight = scaled_rows(normal(20, 3, seed=6), 1e-2, 1e2)
    cases.append(Case("for rows from small to large", (weight, 4, 2)))
    return cases


_POOLING = Task(
    _pooled,
    _pooling_cases,
    [
        Mistake(sentence, functools.partial(_pooled, how=how))
        for how, sentence in _POOLED.items()
    ],
    compare=_kept("the result"),
)


@check
def pool_heads(pool_heads: Callable[[Tensor, int, int], Tensor]) -> None:
    """9.3: matrices and a bias in several shapes, against means over neighbours."""
    _POOLING.check(pool_heads)
    for heads, groups in ((6, 4), (4, 6), (12, 5), (3, 2)):
        expect_refusal(
            pool_heads,
            normal(12, 4),
            heads,
            groups,
            when=f"{groups} groups cannot share {heads} heads evenly; there",
        )
    passed("each group's head is the mean of its neighbours, for matrices and a bias")
    passed("what was passed in is as it was, and groups that do not fit are refused")


# 9.4


def _as_transformers(logits: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    return RepetitionPenaltyLogitsProcessor(float(penalty))(tokens, logits.clone())


def _penalised(logits: Tensor, tokens: Tensor, penalty: float, how: str) -> Tensor:
    """What is made of the logits, wrongly."""
    counts = torch.zeros_like(logits, dtype=torch.long).scatter_add(
        1, tokens, torch.ones_like(tokens)
    )
    seen = counts > 0
    last = torch.zeros_like(seen).scatter(1, tokens[:, -1:], True)
    softer = torch.where(logits > 0, logits / penalty, logits * penalty)
    harder = torch.where(logits > 0, logits * penalty, logits / penalty)
    powers = penalty ** counts.double()
    return {
        "right": lambda: torch.where(seen, softer, logits),
        "divided": lambda: torch.where(seen, logits / penalty, logits),
        "divided each time": lambda: logits / powers,
        "negative left": lambda: torch.where(
            seen & (logits > 0), logits / penalty, logits
        ),
        "each time": lambda: torch.where(logits > 0, logits / powers, logits * powers),
        "multiplied": lambda: torch.where(seen, logits * penalty, logits),
        "upside down": lambda: torch.where(seen, harder, logits),
        "others": lambda: torch.where(seen, logits, softer),
        "all": lambda: softer,
        "any row": lambda: torch.where(seen.any(dim=0, keepdim=True), softer, logits),
        "last": lambda: torch.where(last, softer, logits),
        "subtracted": lambda: torch.where(seen, logits - penalty, logits),
        "logarithm": lambda: torch.where(seen, logits - math.log(penalty), logits),
        "never": lambda: logits.masked_fill(seen, -math.inf),
        "log-probabilities": lambda: torch.where(
            seen, logits.log_softmax(dim=-1) * penalty, logits.log_softmax(dim=-1)
        ),
        "probabilities": lambda: _penalised(logits, tokens, penalty, "right").softmax(
            dim=-1
        ),
        "magnitude": lambda: torch.where(
            seen, logits - logits.abs() * (penalty - 1), logits
        ),
        "nothing": lambda: logits,
        "by product": lambda: seen * softer + ~seen * logits,
    }[how]()


_NEGATIVE = (
    "A negative logit is divided too, which brings it nearer to zero: the token gets "
    "likelier for having been there. What must be done to a negative number, so that "
    "it falls?"
)
_PENALTIES = {
    "divided": _NEGATIVE,
    "divided each time": (
        "As in the function above, a negative logit is divided too, which brings it "
        "nearer to zero; and a token is penalised as often as it was there."
    ),
    "negative left": (
        "A negative logit stays as it is. Its token was there too: what makes a "
        "negative number fall?"
    ),
    "each time": (
        "A token that was there several times is penalised several times. Once is "
        "enough. (A Python `set` of tensors leaves none out, one of numbers does: "
        "`.tolist()`.)"
    ),
    "multiplied": (
        "A positive logit is multiplied, which makes it larger: the token gets "
        "likelier."
    ),
    "upside down": (
        "Positive and negative have changed places: every token that was there gets "
        "likelier."
    ),
    "others": "The tokens that were not there are penalised.",
    "all": "Every token is penalised, whether it was there or not.",
    "any row": (
        "A token that was there in one row is penalised in the others. Each row has "
        "its own text."
    ),
    "last": (
        "Only the last token of each row is penalised. All that were there should be."
    ),
    "subtracted": (
        "The penalty is subtracted. With a penalty of 1 the logits should stay as they "
        "are."
    ),
    "logarithm": (
        "The penalty's logarithm is subtracted. That would be a sound rule; asked for "
        "is the one that divides or multiplies."
    ),
    "magnitude": (
        "A share of the logit's size is subtracted: for positive ones, that is not the "
        "division."
    ),
    "never": (
        "Tokens that were there are forbidden. They should become less likely only."
    ),
    "log-probabilities": (
        "These are log-probabilities. It may be the better rule (see below), but what "
        "is asked for works on the logits as they come."
    ),
    "probabilities": "These are probabilities; logits are asked for.",
    "nothing": "Nothing is changed: the logits come back as they went in.",
    "by product": "One of the logits is −∞: what is −∞ times 0?",
}


def _penalty_cases() -> list[Case]:
    signs = torch.tensor([[2.0, 1.0, -1.0, 0.5, -3.0], [-2.0, 4.0, 3.0, -0.5, 1.0]])
    once, often = torch.tensor([[0, 2], [1, 3]]), torch.tensor([[0, 2, 0], [3, 3, 1]])
    forbidden = torch.tensor([[-math.inf, 1.5, -2.0, 0.0], [3.0, -math.inf, -1.0, 2.0]])
    tokens = torch.tensor([[0, 2, 3, 1, 2, 2], [1, 1, 1, 0, 0, 0]])
    cases = [
        Case("with logits of both signs", (signs, once, 1.5)),
        Case("where tokens were there several times", (signs, often, 2.0)),
        Case("with logits of −∞", (forbidden, tokens, 1.5)),
        Case("with logits of −∞ and penalty=1.2", (forbidden[1:], tokens[1:, 1:], 1.2)),
        Case("with a penalty of 1", (signs, once, 1.0)),
        Case("with the whole number 3 as penalty", (signs, often, 3)),
    ]
    for batch, words, length, size, dtype in (
        (1, 9, 1, 1.0, torch.float32),
        (3, 7, 12, 30.0, torch.float32),
        (4, 50, 5, 3.0, torch.float64),
        (2, 6, 6, 1e-3, torch.float32),
    ):
        logits = normal(batch, words, seed=words, scale=size, dtype=dtype)
        generator = torch.Generator().manual_seed(words)
        tokens = torch.randint(words, (batch, length), generator=generator)
        what = f"for logits {(batch, words)} of {dtype} around {size:g} and {length}"
        cases.append(Case(f"{what} tokens a row", (logits, tokens, 1.3)))
    rows = scaled_rows(normal(5, 8, seed=9), 1e-2, 1e2)
    tokens = torch.randint(8, (5, 4), generator=torch.Generator().manual_seed(1))
    return [*cases, Case("for rows from small to large", (rows, tokens, 1.7))]


_PENALTY = Task(
    _as_transformers,
    _penalty_cases,
    [
        Mistake(sentence, functools.partial(_penalised, how=how))
        for how, sentence in _PENALTIES.items()
    ],
    compare=_kept("the result"),
)


@check
def mended_penalty(mended_penalty: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """9.4: logits of both signs, repeated tokens, against transformers' processor."""
    _PENALTY.check(mended_penalty)
    passed(
        "as transformers does it: positive logits divided, negative ones "
        "multiplied, each once"
    )
    passed("and the logits that were passed in are what they were")


# 9.5


class _Reader:
    """A small language model whose logits depend on all it reads; it counts calls."""

    def __init__(self, most: int, vocabulary: int = 12) -> None:
        self.most, self.calls = most, 0
        self.table = random_tensor(vocabulary, 8, seed=1)
        self.head = random_tensor(8, vocabulary, seed=2)

    def __call__(self, ids: Tensor) -> Tensor:
        if not isinstance(ids, Tensor) or ids.dim() != 2:
            fail(
                "`model` takes a batch (B, T), and got "
                f"{tuple(getattr(ids, 'shape', ()))}: `ids[None]`."
            )
        length = ids.size(1)
        if length > self.most:
            fail(
                f"`model` was given {length} tokens at once, and a window holds "
                f"{self.most}."
            )
        self.calls += len(ids)
        if self.calls > 100:
            fail("more than 100 windows were read; fewer hold all tokens.")
        return self.read(ids)

    def read(self, ids: Tensor) -> Tensor:
        """The logits, without a limit and uncounted."""
        past = torch.arange(ids.size(1))[:, None] - torch.arange(ids.size(1))
        decay = (0.9 ** past.clamp(min=0)) * (past >= 0)  # (T, T)
        return torch.tanh(decay @ self.table[ids]) @ self.head


def _pieces(
    model: _Reader,
    ids: Tensor,
    window: int,
    stride: int,
    begin: Callable[[int, int, int], int],
    ahead: int,
) -> list[tuple[Tensor, int, bool]]:
    """Of each window the losses, how many are new, and whether it is full."""
    found, done, start = [], 1, 0
    while done < len(ids):
        end = min(start + window, len(ids))
        piece = ids[begin(start, end, done) : end]
        logits = F.pad(model.read(piece[None])[0], (0, 0, ahead, 0))
        first = 0 if ahead == 0 else 1
        losses = F.cross_entropy(
            logits[first : len(piece)] if ahead else logits,
            piece[first:],
            reduction="none",
        )
        found.append((losses, end - done, end == start + window))
        done, start = end, start + stride
    return found


def _windowed(
    model: _Reader,
    ids: Tensor,
    window: int,
    stride: int,
    how: str = "right",
) -> Any:
    """The losses, with the book-keeping done rightly or wrongly."""
    begin = {
        "drawn back": lambda start, end, done: max(0, end - window),
        "fresh": lambda start, end, done: max(0, done - 1),
    }.get(how, lambda start, end, done: start)
    ahead = {"unshifted": 0, "two ahead": 2}.get(how, 1)
    move = {"by one": 1, "touching": window}.get(how, stride)
    found = _pieces(model, ids, window, move, begin, ahead)
    take = {
        "all": lambda losses, new, full: losses,
        "first part": lambda losses, new, full: losses[:new],
        "full ones": lambda losses, new, full: losses[-new:] if full else losses[:0],
        "last stride": lambda losses, new, full: losses[-stride:],
        "touching": lambda losses, new, full: losses,
    }.get(how, lambda losses, new, full: losses[-new:])
    parts = [take(*each) for each in found]
    if how == "last stride, but for the first":
        parts = [found[0][0], *(losses[-stride:] for losses, _, _ in found[1:])]
    losses = torch.cat(parts)
    return {
        "a list": lambda: parts,
        "a mean": losses.mean,
        "a sum": losses.sum,
        "a zero": lambda: F.pad(losses, (1, 0)),
        "sign": lambda: -losses,
        "bits": lambda: losses / math.log(2),
        "probabilities": lambda: (-losses).exp(),
    }.get(how, lambda: losses)()


_WINDOWED = {
    "first part": (
        "The tokens that count in a window are the last ones, which are new and have "
        "read the most before them. These are the first ones."
    ),
    "unshifted": (
        "Row t of the logits is compared with token t. It is about token t + 1."
    ),
    "two ahead": (
        "Row t of the logits is compared with token t + 2. It is about token t + 1."
    ),
    "fresh": (
        "Each new token is predicted from new ones alone. The window reaches back "
        "further than that: it holds `window` tokens, of which the last `stride` are "
        "new."
    ),
    "drawn back": (
        "The last window is drawn back until it is full. It should begin where the "
        "others say: window k at k · stride."
    ),
    "all": "What several windows read is counted several times.",
    "full ones": (
        "The tokens at the end are left out, where a window is not full. A window "
        "holds `window` tokens or as many as there are."
    ),
    "last stride": (
        "Of each window the last `stride` are taken. In the first window all tokens "
        "but one are new."
    ),
    "last stride, but for the first": (
        "The last window may bring fewer than `stride` new ones."
    ),
    "by one": "The windows move by one token, whatever `stride` says.",
    "touching": (
        "The windows do not overlap, whatever `stride` says, and the first token of "
        "each is left out."
    ),
    "a list": "Return one tensor, (T − 1,): `torch.cat` joins pieces.",
    "a mean": (
        "This is one number, the mean. Return the loss of each token but the first; a "
        "mean can be taken later."
    ),
    "a sum": (
        "This is one number, the sum. Return the loss of each token but the first; a "
        "mean can be taken later."
    ),
    "a zero": "There is a number for every token. Nothing is said about the first.",
    "sign": "These are log-probabilities; a loss has the other sign.",
    "bits": "These are bits; nats are asked for.",
    "probabilities": "These are probabilities; a loss is −log p.",
}


def _window_cases() -> list[Case]:
    cases = []
    for length, window, stride, words in (
        (23, 8, 3, 12),
        (23, 8, 7, 12),
        (22, 8, 4, 12),
        (24, 8, 4, 20),
        (12, 8, 1, 12),
        (6, 8, 3, 12),
        (8, 8, 5, 12),
        (9, 8, 5, 20),
        (2, 5, 2, 12),
        (7, 2, 1, 12),
        (41, 13, 6, 30),
        (17, 13, 12, 12),
    ):
        ids = torch.randint(
            words, (length,), generator=torch.Generator().manual_seed(length)
        )
        what = f"for {length} tokens, window {window} and stride {stride}"
        arguments = (_Reader(window, words), ids, window, stride)
        cases.append(Case(what, arguments))
    return cases


_WINDOWS = Task(
    _windowed,
    _window_cases,
    [
        Mistake(sentence, functools.partial(_windowed, how=how))
        for how, sentence in _WINDOWED.items()
    ],
    tolerance=Tolerance(1e-4),
)


@check
def strided_losses(
    strided_losses: Callable[[Callable[[Tensor], Tensor], Tensor, int, int], Tensor],
) -> None:
    """9.5: each token's loss for lengths, windows and strides; how much was read."""
    _WINDOWS.check(strided_losses)
    for case in _window_cases():
        model, ids, window, stride = case.arguments
        call(strided_losses, model, ids, window, stride)
        needed = 1 + max(0, math.ceil((len(ids) - window) / stride))
        if model.calls > needed:
            fail(
                f"{case.what}, the losses are right, and {model.calls} windows were "
                f"read, where {needed} hold all tokens: stop as soon as every token "
                "has been counted."
            )
    for length, window, stride in ((24, 8, 8), (24, 8, 11), (5, 8, 8), (6, 1, 1)):
        expect_refusal(
            strided_losses,
            _Reader(window),
            torch.arange(length) % 12,
            window,
            stride,
            when=f"with a stride of {stride} and a window of {window} the first token "
            "of a window has nothing before it; there",
        )
    passed(
        "every token but the first is counted once, with what its window holds "
        "before it"
    )
    passed("no window is longer than it may be, and none is read in vain")


# 9.6


def _gpt2(seed: int, vocabulary: int = 20, **sizes: int) -> GPT2:
    """A small GPT-2 whose random weights tell all places and tokens apart."""
    sizes = {"width": 16, "layers": 2, "heads": 2, "max_length": 16} | sizes
    with own_random_numbers(seed), torch.no_grad():
        model = GPT2(GPT2Configuration(vocabulary, dropout=0.0, **sizes)).eval()
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(12)
    return model


def _left_padded(
    lengths: tuple[int, ...], vocabulary: int, padding: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Ids (B, T) and a tokenizer's mask (B, T) of ones and zeros, padded left."""
    longest, generator = max(lengths), torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (len(lengths), longest), generator=generator)
    real = (torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]).long()
    return torch.where(real == 1, ids, padding), real


@torch.no_grad()
def _each_alone(model: GPT2, ids: Tensor, real: Tensor) -> Tensor:
    return torch.stack(
        [
            model(row[kept.bool()][None])[0, -1]
            for row, kept in zip(ids, real, strict=True)
        ]
    )


@torch.no_grad()
def _next(
    model: GPT2,
    ids: Tensor,
    real: Tensor,
    positions: str = "right",
    seen: str = "right",
    column: str = "right",
    norm: bool = True,
    by_id: bool = False,
) -> Tensor:
    """Logits (B, V) of the next token, rightly or wrongly."""
    length, real = ids.size(1), (ids != 0) if by_id else real.bool()
    counted = real.cumsum(dim=1)
    where = {
        "right": (counted - 1).clamp(min=0),
        "columns": torch.arange(length).expand_as(counted),
        "one late": counted,
        "backwards": real.sum(dim=1, keepdim=True) - counted,
        "none": torch.zeros_like(counted),
    }[positions]
    itself = torch.eye(length, dtype=torch.bool)
    visible = real[:, None, None, :] | itself
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    allowed = {
        "right": visible & causal,
        "nothing": real[:, None, None, :] & causal,
        "padding seen": causal[None, None],
        "future seen": visible,
        "upside down": (~real[:, None, None, :] & causal) | itself,
        "all": torch.ones_like(visible),
    }[seen]
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, -math.inf)
    x = model.embedding(ids) + model.positions.table.weight[where]
    for layer in model.layers:
        x = layer(x, mask)
    logits = (model.norm(x) if norm else x) @ model.embedding.weight.T
    last = {
        "right": torch.full_like(ids[:, 0], length - 1),
        "first": torch.zeros_like(ids[:, 0]),
        "length": real.sum(dim=1) - 1,
    }.get(column)
    return logits if last is None else logits[torch.arange(len(ids)), last]


_NAN = (
    "Softmax makes NaN of a row that is all −∞, or that holds +∞; in the next layer a "
    "weight of 0 times NaN is NaN. No score may be +∞, and each token must see itself "
    "at least, padding too."
)
_AT_LENGTH = (
    "The logits are read at the column that is the text's length. Texts end in the "
    "last column: that is what padding on the left is for."
)
_UPSIDE_DOWN = "The mask is upside down: texts are hidden, and padding is looked at."
_NEXT = (  # a diagnosis, and what is wrong
    (
        "Positions are those of the columns, so a short text begins in the middle of "
        "the table. Its first token has position 0, wherever it stands: count the "
        "ones of `real`.",
        {"positions": "columns"},
    ),
    (
        "Positions are right, and the padding is looked at: its keys need −∞.",
        {"seen": "padding seen"},
    ),
    (
        "This is a pass without any regard to padding: it is looked at, and "
        "positions count it.",
        {"positions": "columns", "seen": "padding seen"},
    ),
    (
        "Positions are all one too large: a text's first token has position 0.",
        {"positions": "one late"},
    ),
    ("Positions are counted from the end.", {"positions": "backwards"}),
    ("All tokens have the position 0.", {"positions": "none"}),
    (_AT_LENGTH, {"column": "length"}),
    (_AT_LENGTH, {"positions": "columns", "column": "length"}),
    (
        "The logits are read at the first column. Texts end in the last.",
        {"column": "first"},
    ),
    (
        "These are logits after every token, (B, T, V). Only the next token's are "
        "asked for: (B, V).",
        {"column": "all"},
    ),
    (
        "The causal mask is lost: in the first layer each token looks at those "
        "after it, and the second layer's last token looks at what came of that.",
        {"seen": "future seen"},
    ),
    (
        "The causal mask is lost, and positions count the padding.",
        {"positions": "columns", "seen": "future seen"},
    ),
    (
        "The causal mask is lost, and padding is looked at.",
        {"seen": "all"},
    ),
    (_UPSIDE_DOWN, {"seen": "upside down"}),
    (_UPSIDE_DOWN, {"positions": "columns", "seen": "upside down"}),
    ("The norm after the last layer is missing.", {"norm": False}),
    ("Go by `real`, not by the id 0: it may be a word.", {"by_id": True}),
    (_NAN, {"seen": "nothing"}),
    (_NAN, {"seen": "nothing", "positions": "columns"}),
)


def _left_cases() -> list[Case]:
    cases = []
    models = (
        _gpt2(0),
        _gpt2(1, 31, width=12, layers=3, heads=3, max_length=20),
        _gpt2(2, 15, layers=1).train(),
    )
    for lengths, number, padding in (
        ((5, 5), 0, 0),
        ((7, 3, 5), 0, 0),
        ((7, 3, 5), 0, 17),
        ((2, 9, 1), 1, 30),
        ((4,), 1, 0),
        ((16, 2, 8), 0, 3),
        ((3, 6), 2, 0),
        ((1, 20, 19, 4, 4), 1, 7),
    ):
        model = models[number]
        words = model.embedding.num_embeddings
        ids, real = _left_padded(lengths, words, padding, sum(lengths))
        texts = f"for texts of {', '.join(map(str, lengths))} tokens"
        facts = () if real.all() else ("With padding it is wrong, and only then.",)
        kinds = f"{texts}, filled up with the id {padding}, and {len(model.layers)} "
        cases.append(Case(f"{kinds}layers", (model, ids, real), facts=facts))
    return cases


_LEFT = Task(
    _each_alone,
    _left_cases,
    [
        Mistake(sentence, functools.partial(_next, **ways), exact=False)
        for sentence, ways in _NEXT
    ],
    tolerance=Tolerance(1e-3),
    precise=False,
)


@check
def mended_next_logits(
    mended_next_logits: Callable[[GPT2, Tensor, Tensor], Tensor],
) -> None:
    """9.6: the next token's logits in a padded batch, against each text alone."""
    _LEFT.check(mended_next_logits)
    for case in _left_cases():
        model, passes = case.arguments[0], []
        model.layers[0].register_forward_hook(
            lambda *arguments, passes=passes: passes.append(1)
        )
        call(mended_next_logits, *case.arguments)
        if len(passes) > 1:
            fail(
                f"{case.what}, the logits are right, and the layers were run "
                f"{len(passes)} times. Let the whole batch go through at once: that is "
                "what it is for."
            )
    passed(
        "each text of a padded batch gets the logits that it gets alone, and in "
        "one pass"
    )
    passed("whichever token fills up the batch")


# 9.7

_CUBIC, _QUINTIC = (1.5, -0.5, 0.0), (3.4445, -4.7750, 2.0315)


def _iterated(matrices: Tensor, steps: int) -> Tensor:
    """What is asked for."""
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-30)
    for _ in range(steps):
        x = 1.5 * x - 0.5 * (x @ x.mT) @ x
    return x


def _pushed(matrices: Tensor, steps: int, how: str) -> Tensor:
    """Singular values after so many steps, by the decomposition, wrongly."""
    left, values, right = torch.linalg.svd(
        matrices, full_matrices=False
    )  # values: (…, K)
    length = values.square().sum(dim=-1, keepdim=True).sqrt()
    scale = {
        "unscaled": torch.ones_like(length),
        "largest": values[..., :1],
        "whole stack": values.square().sum().sqrt().expand_as(length),
        "largest number": matrices.abs().amax(dim=(-2, -1))[..., None],
        "squared length": length.square(),
    }.get(how, length)
    values = values / scale.clamp(min=1e-30)
    a, b, c = {
        "quintic": _QUINTIC,
        "signs": (1.5, 0.5, 0.0),
        "swapped": (0.5, 1.5, 0.0),
    }.get(how, _CUBIC)
    for _ in range(
        {"one less": steps - 1, "one more": steps + 1, "five": 5}.get(how, steps)
    ):
        values = a * values + b * values**3 + c * values**5
    if how == "limit":
        values = torch.ones_like(values)
    if how == "length again":
        values = values * length
    return (left * values[..., None, :]) @ right


def _elementwise(matrices: Tensor, steps: int) -> Tensor:
    x = _iterated(matrices, 0)
    for _ in range(steps):
        x = 1.5 * x - 0.5 * x**3
    return x


def _turned(matrices: Tensor, steps: int) -> Tensor:
    found = _iterated(matrices, steps)
    return found.mT if found.size(-2) > found.size(-1) else found


def _not_clamped(matrices: Tensor, steps: int) -> Tensor:
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True)
    return _iterated(x, steps)


_PUSHED = {
    "limit": (
        "These are singular values of exactly one, the limit. After so few steps they "
        "are not there yet: iterate, without a decomposition."
    ),
    "unscaled": (
        "The matrix is not divided by its norm first. The iteration holds for singular "
        "values below √3 only; what lies above runs away."
    ),
    "largest": (
        "The matrix is divided by its largest singular value. That would do, but needs "
        "a decomposition; divide by the Frobenius norm, the root of the sum of all "
        "squares."
    ),
    "whole stack": (
        "A stack is divided by one norm for all. Each matrix has its own: "
        "`norm(dim=(-2, -1), keepdim=True)`."
    ),
    "largest number": (
        "The matrix is divided by its largest number; its singular values may still be "
        "larger than √3. Divide by the Frobenius norm."
    ),
    "squared length": (
        "The matrix is divided by the square of its norm. The root is missing."
    ),
    "quintic": (
        "These are Muon's numbers, with the fifth power. Asked for are 1.5 and −0.5, "
        "which converge."
    ),
    "signs": "The cube is added; it should be taken away.",
    "swapped": "1.5 and −0.5 have changed places, or the cube has the wrong sign.",
    "one less": "This is one step too few.",
    "one more": "This is one step too many.",
    "five": "There are five steps, whatever `steps` says.",
    "length again": (
        "The result has its old norm again. What is asked for has singular values near "
        "one."
    ),
}


def _polar_cases() -> list[Case]:
    spread = torch.tensor([1.0, 30.0, 0.01]).view(3, 1, 1)
    cases = [
        (normal(4, 4, seed=4) * 10, 1),
        (normal(3, 5), 3),
        (normal(6, 3, seed=1) * 20, 4),
        (normal(7, 2, seed=2) * 1e-4, 2),
        (normal(1, 5, seed=7), 1),
        (normal(5, 1, seed=8), 6),
        (normal(3, 4, 6, seed=3) * spread, 7),
        (normal(4, 6, 3, seed=9)[:3] * spread.flip(0) * 1e3, 2),
        (normal(3, 8, seed=6, dtype=torch.float64), 25),
        (normal(4, 3, seed=6), 0),
        (normal(6, 4, seed=5, dtype=torch.float64), 12),
        (normal(3, 5, seed=5, dtype=torch.bfloat16), 2),
        *((normal(*axes, 5, 3, seed=5) * 3, 2) for axes in LEADING),
    ]
    cases = [
        Case(
            f"for {tuple(matrices.shape)} of {matrices.dtype}, around "
            f"{matrices.float().abs().mean():.2g}, and {steps} steps",
            (matrices, steps),
        )
        for matrices, steps in cases
    ]
    stack = torch.stack([normal(2, 3), torch.zeros(2, 3)])
    return [
        *cases,
        Case("for a matrix of zeros", (torch.zeros(2, 3), 3)),
        Case("where one matrix of a stack is zero", (stack, 3)),
        Case("where two of a stack are", (torch.cat([stack, stack])[:, None], 2)),
    ]


_POLAR = Task(
    _iterated,
    _polar_cases,
    [
        *(
            Mistake(sentence, functools.partial(_pushed, how=how))
            for how, sentence in _PUSHED.items()
        ),
        Mistake(
            "Each number is cubed by itself. The cube of a matrix that acts on its "
            "singular values is X Xᵀ X, two matrix products.",
            _elementwise,
        ),
        Mistake("It was turned, and must be turned back.", _turned),
        Mistake(
            "The norm of a matrix of zeros is what you divide by: 0 / 0 is NaN.",
            _not_clamped,
        ),
    ],
    compare=_kept("the result"),
)


@check
def polar(polar: Callable[[Tensor, int], Tensor]) -> None:
    """9.7: singular values after some steps, for wide, tall, several, zero matrices."""
    _POLAR.check(polar)
    passed(
        "singular values after 1 to 25 steps: wide, tall and stacked matrices, "
        "each by its own norm"
    )
    passed("a matrix of zeros stays what it is")
