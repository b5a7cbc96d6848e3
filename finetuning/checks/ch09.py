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

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

from finetuning.checks.core import (
    CheckFailed,
    as_number,
    as_numbers,
    call,
    check,
    describe,
    fail,
    passed,
    random_tensor,
    written,
)
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


def _same(one: Tensor, other: Tensor, tolerance: float = 1e-4) -> bool:
    return one.shape == other.shape and torch.allclose(
        one, other, rtol=tolerance, atol=tolerance
    )


def _refuses(function: Callable, *arguments: Any, when: str) -> None:
    """Fail unless the learner's function raises ValueError."""
    try:
        function(*arguments)
    except ValueError:
        return
    except Exception as error:
        fail(
            f"{when}, `{function.__name__}` should raise a ValueError, and raises "
            f"{type(error).__name__}."
        )
    fail(
        f"{when}, `{function.__name__}` should raise a ValueError that says so, "
        "and gives a result."
    )


# 9.1

_SIZES = {"hidden": 16, "max_length": 32}
_CACHES = (  # configuration, rows, tokens, bytes for each number
    (LlamaConfiguration(50, 48, 2, heads=6, key_value_heads=3, **_SIZES), 5, 7, 4),
    (LlamaConfiguration(40, 120, 3, heads=10, key_value_heads=2, **_SIZES), 7, 11, 2),
    (LlamaConfiguration(30, 50, 4, heads=5, key_value_heads=1, **_SIZES), 3, 13, 4),
)
_ALONE = (
    LlamaConfiguration(30, 50, 4, heads=5, key_value_heads=None, **_SIZES),
    3,
    13,
    4,
)


def _true_cache(
    configuration: LlamaConfiguration, rows: int, tokens: int, bytes_per_number: int
) -> int:
    """Measured: a model of this shape reads so many tokens; its cache is counted."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model, cache = Llama(configuration), KeyValueCache(configuration.layers)
        model.hidden(torch.zeros(rows, tokens, dtype=torch.long), cache)
    return bytes_per_number * sum(part.numel() for pair in cache.own for part in pair)


def _factors(
    configuration: LlamaConfiguration, rows: int, tokens: int, bytes_per_number: int
) -> dict[str, float]:
    """By how much each mistake multiplies the bytes."""
    heads, layers = configuration.heads, configuration.layers
    groups = configuration.key_value_heads or heads
    head_width = configuration.width // heads
    return {
        "a token leaves keys and values, two tensors of the same size": 1 / 2,
        "the query heads are counted, or D is taken for C / G, which comes to the "
        "same. Only keys and values are kept: fewer heads, and each as wide as a "
        "query head, C / H": heads / groups,
        "each layer has keys and values of its own": 1 / layers,
        "each row of the batch has its own text, and so its own keys and values": (
            1 / rows
        ),
        "the tokens are missing": 1 / tokens,
        "this counts numbers. How many bytes does each take?": 1 / bytes_per_number,
        "a head of keys holds D numbers for each token, and here it holds one": (
            1 / head_width
        ),
        "each head is counted with the whole width C; heads divide it": heads,
        "queries are counted too, and nobody asks them again": (
            (heads + 2 * groups) / (2 * groups)
        ),
        "this is in bits, or bytes are counted as if there were eight times as many": 8,
        "this is in kilobytes; say bytes": 1 / 1000,
        "this is in megabytes; say bytes": 1e-6,
        "this is in kibibytes; say bytes": 1 / 1024,
        "this is in mebibytes; say bytes": 1 / 1024**2,
        "this is in gigabytes; say bytes": 1e-9,
        "this is in gibibytes; say bytes": 1 / 1024**3,
        "the longest text that the model can read is counted, not the tokens "
        "that there are": configuration.max_length / tokens,
        "keys and values grow with the tokens, not with their square, as scores "
        "do": tokens,
    }


def _judge_cache(answers: list[float], truths: list[int]) -> None:
    ratios = [answer / truth for answer, truth in zip(answers, truths, strict=True)]
    if len(set(answers)) == 1:
        fail("the bytes are the same whatever the arguments are.")
    factors = [_factors(*case) for case in _CACHES]
    for size in (1, 2):
        for names in itertools.combinations(factors[0], size):
            products = [math.prod(one[name] for name in names) for one in factors]
            if all(
                math.isclose(a, b, rel_tol=1e-6)
                for a, b in zip(products, ratios, strict=True)
            ):
                fail(f"{'; and '.join(names)}{'' if names[-1].endswith('?') else '.'}")
    configuration, rows, tokens, bytes_per_number = _CACHES[0]
    fail(
        f"{rows} rows of {tokens} tokens, {configuration.layers} layers, width "
        f"{configuration.width}, {configuration.heads} query heads on "
        f"{configuration.key_value_heads} of keys, {bytes_per_number} bytes a number: "
        f"you say {answers[0]:,.0f}, and a cache that was filled holds {truths[0]:,} "
        "bytes. Which tensors does it keep, and of what shape?"
    )


@check
def cache_bytes(
    cache_bytes: Callable[[LlamaConfiguration, int, int, int], int],
) -> None:
    """9.1: the bytes for four shapes, against caches that models have filled."""
    answers = [
        as_number(call(cache_bytes, *case), "the number of bytes") for case in _CACHES
    ]
    truths = [_true_cache(*case) for case in _CACHES]
    if any(
        not math.isclose(a, b, rel_tol=1e-9)
        for a, b in zip(answers, truths, strict=True)
    ):
        _judge_cache(answers, truths)
    try:
        alone = as_number(call(cache_bytes, *_ALONE), "the number of bytes")
    except CheckFailed:
        alone = math.nan
    truth = _true_cache(*_ALONE)
    if not math.isclose(alone, truth, rel_tol=1e-9):
        said = (
            "it stops"
            if math.isnan(alone)
            else f"you say {alone:,.0f} bytes, and there are {truth:,}"
        )
        fail(
            f"where `key_value_heads` is None, {said}. None means: as many heads of "
            "keys as there are query heads."
        )
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
    said_of = dict(zip(_DICE, answers, strict=True))
    for name, said in said_of.items():
        written(said, f"`{name}`")
    for name, said in said_of.items():
        if not isinstance(said, str) or said not in ("falls", "stays"):
            fail(f'`{name}` should be "falls" or "stays", and is {describe(said)}.')
        true, question = _DICE[name]
        if said != true:
            fail(f'you say that with `{name}` the loss "{said}". {question}')
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
    said_of = dict(
        zip(_TOKENS, (shifted, not_shifted, shifted_twice, backwards), strict=True)
    )
    for name, said in said_of.items():
        written(said, f"`{name}_writes`")
    for name, said in said_of.items():
        true, question = _TOKENS[name]
        said = as_number(said, f"`{name}_writes`")
        if said != true:
            fail(f"`{name}_writes`: you say {said:g} after 3, 4, 5. {question}")
    passed("what each of the four writes after 3, 4, 5")


# 9.3


def _pooled(weight: Tensor, heads: int, groups: int, how: str) -> Tensor:
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
    }[how]().reshape(groups * width, *weight.shape[1:])


_POOLED = {
    "sum": (
        "the heads of a group are added. Divide by how many they are: scores should "
        "stay as large as they were."
    ),
    "root": (
        "the sum of a group is divided by the root of how many they are; a mean "
        "divides by the number."
    ),
    "first": (
        "this is the first head of each group. The others have a say too: take the "
        "mean."
    ),
    "last": (
        "this is the last head of each group. The others have a say too: take the mean."
    ),
    "largest": (
        "this is the largest number of each group of heads; a mean is asked for."
    ),
    "strided": (
        "heads far apart are averaged. Neighbours share: query head h asks key head h "
        "// (H / G), so with six heads and two groups 0, 1, 2 belong together."
    ),
    "rows": (
        "neighbouring rows are averaged, which belong to one head. A head is D rows, "
        "one after the other; average row d of one head with row d of the next."
    ),
    "interleaved": (
        "rows are cut as if the head changed with every row. D rows in a run make a "
        "head."
    ),
    "all": (
        "all heads are averaged into one, and that is repeated. Each group has a mean "
        "of its own."
    ),
}


@check
def pool_heads(pool_heads: Callable[[Tensor, int, int], Tensor]) -> None:
    """9.3: matrices and a bias in several shapes, against means over neighbours."""
    cases = (
        (random_tensor(24, 5), 6, 2),
        (random_tensor(40, 3, seed=1), 4, 2),
        (random_tensor(18), 6, 3),
    )
    for weight, heads, groups in (*cases, (random_tensor(12, 4, seed=2), 3, 1)):
        passed_in = weight.clone()
        result = call(pool_heads, passed_in, heads, groups)
        rows = groups * len(weight) // heads
        what = (
            f"the result for a weight {tuple(weight.shape)}, {heads} heads and "
            f"{groups} groups"
        )
        if tuple(getattr(result, "shape", ())) == tuple(weight.shape):
            fail(
                f"{what} is as large as the weight. There should be {groups} "
                f"heads: {rows} rows."
            )
        result = as_numbers(result, (rows, *weight.shape[1:]), what)
        if not torch.equal(passed_in, weight):
            fail("the weight that was passed in has been changed. Return a new tensor.")
        if _same(result, _pooled(weight, heads, groups, "right")):
            continue
        for how, diagnosis in _POOLED.items():
            if _same(result, _pooled(weight, heads, groups, how)):
                fail(diagnosis)
        fail(
            f"{what} is not the mean of each group's heads. Cut the rows into "
            "(groups, heads in a group, D) and average over the axis in the middle."
        )
    weight = random_tensor(12, 4)
    unchanged = as_numbers(
        call(pool_heads, weight, 3, 3), (12, 4), "the result with a group for each head"
    )
    if not torch.equal(unchanged, weight):
        fail(
            "with as many groups as heads there is nothing to average, and the "
            "weight should come back."
        )
    result = call(pool_heads, weight.double(), 3, 1)
    if not isinstance(result, Tensor):
        fail(
            "the numbers are right, and the result is of type "
            f"{type(result).__name__}: return a tensor."
        )
    if result.dtype != torch.float64:
        fail(f"a float64 weight gives {result.dtype}: keep its dtype.")
    _refuses(
        pool_heads, weight, 6, 4, when="4 groups cannot share 6 heads evenly; there"
    )
    passed("each group's head is the mean of its neighbours, for matrices and a bias")
    passed("what was passed in is as it was, and groups that do not fit are refused")


# 9.4

_PENALISED = (  # logits (B, V), tokens (B, T)
    (
        torch.tensor([[2.0, 1.0, -1.0, 0.5, -3.0], [-2.0, 4.0, 3.0, -0.5, 1.0]]),
        torch.tensor([[0, 2], [1, 3]]),
    ),
    (
        torch.tensor([[2.0, 1.0, -1.0, 0.5, -3.0], [-2.0, 4.0, 3.0, -0.5, 1.0]]),
        torch.tensor([[0, 2, 0, 0, 2], [3, 3, 1, 1, 4]]),
    ),
    (torch.tensor([[-math.inf, 1.5, -2.0, 0.0]]), torch.tensor([[0, 2, 3, 1, 2, 2]])),
)


def _penalised(logits: Tensor, tokens: Tensor, penalty: float, how: str) -> Tensor:
    """What is made of the logits, rightly or wrongly."""
    counts = torch.zeros_like(logits, dtype=torch.long).scatter_add(
        1, tokens, torch.ones_like(tokens)
    )
    seen = counts > 0
    last = torch.zeros_like(seen).scatter(1, tokens[:, -1:], True)
    softer = torch.where(logits > 0, logits / penalty, logits * penalty)
    harder = torch.where(logits > 0, logits * penalty, logits / penalty)
    powers = penalty ** counts.float()
    return {
        "right": lambda: torch.where(seen, softer, logits),
        "divided": lambda: torch.where(seen, logits / penalty, logits),
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
    }[how]()


_PENALTIES = {
    "divided": (
        "a negative logit is divided too, which brings it nearer to zero: the token "
        "gets likelier for having been there. What must be done to a negative number, "
        "so that it falls?"
    ),
    "negative left": (
        "a negative logit stays as it is. Its token was there too: what makes a "
        "negative number fall?"
    ),
    "each time": (
        "a token that was there several times is penalised several times. Once is "
        "enough. (A Python `set` of tensors leaves none out, one of numbers does: "
        "`.tolist()`.)"
    ),
    "multiplied": (
        "a positive logit is multiplied, which makes it larger: the token gets "
        "likelier."
    ),
    "upside down": (
        "positive and negative have changed places: every token that was there gets "
        "likelier."
    ),
    "others": "the tokens that were not there are penalised.",
    "all": "every token is penalised, whether it was there or not.",
    "any row": (
        "a token that was there in one row is penalised in the others. Each row has "
        "its own text."
    ),
    "last": (
        "only the last token of each row is penalised. All that were there should be."
    ),
    "subtracted": (
        "the penalty is subtracted. With a penalty of 1 the logits should stay as they "
        "are."
    ),
    "logarithm": (
        "the penalty's logarithm is subtracted. That would be a sound rule; asked for "
        "is the one that divides or multiplies."
    ),
    "magnitude": (
        "a share of the logit's size is subtracted: for positive ones, that is not the "
        "division."
    ),
    "never": (
        "tokens that were there are forbidden. They should become less likely only."
    ),
    "log-probabilities": (
        "these are log-probabilities. It may be the better rule (see below), but what "
        "is asked for works on the logits as they come."
    ),
    "probabilities": "these are probabilities; logits are asked for.",
    "nothing": "nothing is changed. Is the result of the operation kept?",
}


@check
def mended_penalty(mended_penalty: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """9.4: logits of both signs, repeated tokens, against transformers' processor."""
    for logits, tokens in _PENALISED:
        for penalty in (1.5, 2.0):
            copies = logits.clone(), tokens.clone()
            result = call(mended_penalty, *copies, penalty)
            result = as_numbers(result, logits.shape, "the result")
            if not torch.equal(copies[1], tokens):
                fail(
                    "`tokens` has been changed. Whoever passed it in writes on from it."
                )
            expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, logits.clone())
            if result.isnan().any():
                fail(
                    "the result contains NaN. One of the logits is −inf: what is "
                    "−inf times 0, or −inf + inf?"
                )
            if not _same(result, expected):
                for how, diagnosis in _PENALTIES.items():
                    if _same(result, _penalised(logits, tokens, penalty, how)):
                        fail(diagnosis)
                row, token = (
                    (result - expected)
                    .nan_to_num(0.0)
                    .abs()
                    .gt(1e-4)
                    .nonzero()[0]
                    .tolist()
                )
                fail(
                    f"with penalty {penalty}, token {token} of row {row} has the "
                    f"logit {logits[row, token]:.2f}, was there "
                    f"{int((tokens[row] == token).sum())} times, and gets "
                    f"{result[row, token]:.2f} instead of {expected[row, token]:.2f}."
                )
            if not torch.equal(copies[0], logits):
                fail(
                    "the numbers are right, and the logits that were passed in have "
                    "been changed. Whoever needs them next, for a loss or another "
                    "draw, has the wrong ones: return a new tensor."
                )
    logits, tokens = _PENALISED[0]
    same = as_numbers(
        call(mended_penalty, logits.clone(), tokens, 1.0), logits.shape, "the result"
    )
    if not _same(same, logits):
        fail("a penalty of 1 should change nothing.")
    passed(
        "as transformers does it: positive logits divided, negative ones "
        "multiplied, each once"
    )
    passed("and the logits that were passed in are what they were")


# 9.5


class _Reader:
    """A small language model whose logits depend on all it reads; it counts calls."""

    def __init__(self, most: int) -> None:
        self.most, self.calls = most, 0
        self.table, self.head = (
            random_tensor(12, 8, seed=1),
            random_tensor(8, 12, seed=2),
        )

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
            fail(
                "100 windows were read and there is no end. Does every round "
                "move the window and count on?"
            )
        past = torch.arange(length)[:, None] - torch.arange(length)
        decay = (0.9 ** past.clamp(min=0)) * (past >= 0)  # (T, T)
        return torch.tanh(decay @ self.table[ids]) @ self.head


def _windowed(ids: Tensor, window: int, stride: int, how: str = "right") -> Tensor:
    """The losses, with the book-keeping done rightly or wrongly."""
    reader, losses, done, start = _Reader(10**9), [], 1, 0
    while done < len(ids):
        end = min(start + window, len(ids))
        begin = max(0, end - window) if how == "drawn back" else start
        if how == "fresh":
            begin = max(0, done - 1)
        piece = ids[begin:end]
        logits, targets = reader(piece[None])[0, :-1], piece[1:]
        if how == "unshifted":
            logits, targets = reader(piece[None])[0], piece
        elif how == "two ahead":
            logits, targets = (
                F.pad(reader(piece[None])[0, :-1], (0, 0, 1, 0))[:-1],
                piece[1:],
            )
        loss = F.cross_entropy(logits, targets, reduction="none")
        new = end - done
        if how == "all":
            losses.append(loss)
        elif how == "first part":
            losses.append(loss[:new])
        elif new:
            losses.append(loss[-new:])
        done, start = end, start + stride
    return torch.cat(losses)


_WINDOWED = {
    "first part": (
        "the tokens that count in a window are the last ones, which are new and have "
        "read the most before them. These are the first ones."
    ),
    "unshifted": (
        "row t of the logits is compared with token t. It is about token t + 1."
    ),
    "two ahead": (
        "row t of the logits is compared with token t + 2. It is about token t + 1."
    ),
    "fresh": (
        "each new token is predicted from new ones alone. The window reaches back "
        "further than that: it holds `window` tokens, of which the last `stride` are "
        "new."
    ),
    "drawn back": (
        "the last window is drawn back until it is full. It should begin where the "
        "others say: window k at k · stride."
    ),
}


def _judge_losses(result: Any, ids: Tensor, window: int, stride: int) -> None:
    expected = _windowed(ids, window, stride)
    every, count = (
        _windowed(ids, window, stride, "all"),
        tuple(getattr(result, "shape", (None,))),
    )
    where = f"for {len(ids)} tokens, window {window} and stride {stride}"
    if count == () or isinstance(result, float):
        fail(
            "this is one number. Return the loss of each token but the first; a "
            "mean can be taken later."
        )
    if isinstance(result, (list, tuple)):
        fail(
            f"the result is a {type(result).__name__}. Return one tensor, (T − "
            "1,): `torch.cat` joins pieces."
        )
    if count == tuple(every.shape) and count != tuple(expected.shape):
        fail(
            f"{where}, {count[0]} losses came back, and {len(ids) - 1} are due: what "
            "several windows read is counted several times."
        )
    if count == (len(ids),):
        fail(
            f"{where}, there is a loss for every token. Nothing is said about the "
            f"first: {len(ids) - 1} are due."
        )
    if len(count) == 1 and count[0] is not None and count[0] < len(ids) - 1:
        fail(
            f"{where}, {count[0]} losses came back, and {len(ids) - 1} are due. Which "
            "tokens are left out: those at the beginning, where all of the first "
            "window is new, those at the end, where a window is not full, or one at "
            "the seam between two windows?"
        )
    if len(count) == 1 and count[0] is not None and count[0] > len(ids) - 1:
        fail(
            f"{where}, {count[0]} losses came back, and {len(ids) - 1} are due: some "
            "are counted twice. A window in the middle brings `stride` new ones. How "
            "many does the last bring, which may be short?"
        )
    result = as_numbers(result, expected.shape, f"the result {where}")
    if _same(result, expected):
        return
    for factor, sentence in (
        (-1, "these are log-probabilities; a loss has the other sign."),
        (1 / math.log(2), "these are bits; nats are asked for."),
    ):
        if _same(result, factor * expected):
            fail(sentence)
    if _same(result, _windowed(ids, window, 1)):
        fail(
            "the windows move by one token, whatever `stride` says: here they "
            f"should move by {stride}."
        )
    for how, diagnosis in _WINDOWED.items():
        if _same(result, _windowed(ids, window, stride, how)):
            fail(diagnosis)
    place = int((result - expected).abs().gt(1e-4).nonzero()[0]) + 1
    first = 0 if place < window else math.ceil((place - window + 1) / stride) * stride
    fail(
        f"{where}, the loss of token {place} is {result[place - 1]:.3f} and should be "
        f"{expected[place - 1]:.3f}. The first window that reads it begins at token "
        f"{first}, so it is predicted from {place - first} "
        f"token{'s' if place - first > 1 else ''}."
    )


@check
def strided_losses(
    strided_losses: Callable[[Callable[[Tensor], Tensor], Tensor, int, int], Tensor],
) -> None:
    """9.5: each token's loss for lengths, windows and strides; how much was read."""
    for length, window, stride in (
        (23, 8, 3),
        (23, 8, 7),
        (22, 8, 4),
        (24, 8, 4),
        (12, 8, 1),
        (6, 8, 3),
        (8, 8, 5),
    ):
        ids = torch.randint(
            12, (length,), generator=torch.Generator().manual_seed(length)
        )
        reader = _Reader(window)
        with torch.no_grad():
            result = call(strided_losses, reader, ids.clone(), window, stride)
        _judge_losses(result, ids, window, stride)
        needed = 1 + max(0, math.ceil((length - window) / stride))
        if reader.calls > needed:
            fail(
                f"the losses are right, and {reader.calls} windows were read, where "
                f"{needed} hold all {length} tokens: stop as soon as every token has "
                "been counted."
            )
    _refuses(
        strided_losses,
        _Reader(8),
        torch.arange(12).repeat(2),
        8,
        8,
        when="with a stride as long as the window, the first token of a window has "
        "nothing before it; there",
    )
    passed(
        "every token but the first is counted once, with what its window holds "
        "before it"
    )
    passed("no window is longer than it may be, and none is read in vain")


# 9.6


def _gpt2(seed: int) -> GPT2:
    """A small GPT-2 whose random weights tell all places and tokens apart."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = GPT2(GPT2Configuration(20, 16, 2, 2, 16, dropout=0.0)).eval()
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(12)
    return model


def _left_padded(
    lengths: tuple[int, ...], padding: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Ids (B, T) and a tokenizer's mask (B, T) of ones and zeros, padded left."""
    longest = max(lengths)
    ids = torch.randint(
        1, 20, (len(lengths), longest), generator=torch.Generator().manual_seed(seed)
    )
    real = (torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]).long()
    return torch.where(real == 1, ids, padding), real


@torch.no_grad()
def _next(
    model: GPT2, ids: Tensor, real: Tensor, positions: str, seen: str, column: str
) -> Tensor:
    """Logits (B, V) of the next token, rightly or wrongly."""
    length, real = ids.size(1), real.bool()
    counted = real.cumsum(dim=1)
    where = {
        "right": (counted - 1).clamp(min=0),
        "columns": torch.arange(length).expand_as(counted),
        "one late": counted,
        "backwards": real.sum(dim=1, keepdim=True) - counted,
    }[positions]
    visible = real[:, None, None, :] | torch.eye(length, dtype=torch.bool)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    allowed = {
        "right": visible & causal,
        "padding seen": causal[None, None],
        "future seen": visible,
        "upside down": (
            (~real[:, None, None, :] & causal) | torch.eye(length, dtype=torch.bool)
        ),
    }[seen]
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, -math.inf)
    x = model.embedding(ids) + model.positions.table.weight[where]
    for layer in model.layers:
        x = layer(x, mask)
    logits = model.norm(x) @ model.embedding.weight.T
    last = {
        "right": torch.full_like(ids[:, 0], length - 1),
        "first": torch.zeros_like(ids[:, 0]),
        "length": real.sum(dim=1) - 1,
    }[column]
    return logits[torch.arange(len(ids)), last]


_NEXT = (  # positions, what is seen, the column that is read; the diagnosis
    (
        "columns",
        "right",
        "right",
        "positions are those of the columns, so a short text begins in the middle of "
        "the table. Its first token has position 0, wherever it stands: count the "
        "ones of `real`.",
    ),
    (
        "right",
        "padding seen",
        "right",
        "positions are right, and the padding is looked at: its keys need −inf.",
    ),
    (
        "columns",
        "padding seen",
        "right",
        "this is a pass without any regard to padding: it is looked at, and "
        "positions count it.",
    ),
    (
        "one late",
        "right",
        "right",
        "positions are all one too large: a text's first token has position 0.",
    ),
    ("backwards", "right", "right", "positions are counted from the end."),
    (
        "right",
        "right",
        "length",
        "the logits are read at the column that is the text's length. Texts end in the "
        "last column: that is what padding on the left is for.",
    ),
    (
        "columns",
        "right",
        "length",
        "the logits are read at the column that is the text's length. Texts end in "
        "the last column: that is what padding on the left is for.",
    ),
    (
        "right",
        "right",
        "first",
        "the logits are read at the first column. Texts end in the last.",
    ),
    (
        "right",
        "future seen",
        "right",
        "the causal mask is lost: in the first layer each token looks at those "
        "after it, and the second layer's last token looks at what came of that.",
    ),
    (
        "columns",
        "future seen",
        "right",
        "the causal mask is lost, and positions count the padding.",
    ),
    (
        "right",
        "upside down",
        "right",
        "the mask is upside down: texts are hidden, and padding is looked at.",
    ),
    (
        "columns",
        "upside down",
        "right",
        "the mask is upside down: texts are hidden, and padding is looked at.",
    ),
)


@check
def mended_next_logits(
    mended_next_logits: Callable[[GPT2, Tensor, Tensor], Tensor],
) -> None:
    """9.6: the next token's logits in a padded batch, against each text alone."""
    for number, lengths in enumerate(((5, 5), (7, 3, 5), (2, 9, 1), (4,))):
        model = _gpt2(number)
        ids, real = _left_padded(lengths, padding=0, seed=number)
        passes = []
        handle = model.layers[0].register_forward_hook(
            lambda *arguments, passes=passes: passes.append(1)
        )
        with torch.no_grad():
            result = call(mended_next_logits, model, ids.clone(), real.clone())
            handle.remove()
            alone = [
                model(row[kept.bool()][None])[0, -1]
                for row, kept in zip(ids, real, strict=True)
            ]
        what = f"the result for texts of {', '.join(map(str, lengths))} tokens"
        if tuple(getattr(result, "shape", ())) == (*ids.shape, 20):
            fail(
                f"{what} holds logits after every token, (B, T, V). Only the next "
                "token's are asked for: (B, V)."
            )
        result = as_numbers(result, (len(lengths), 20), what)
        if result.isnan().any():
            rows = result.isnan().any(dim=1).nonzero()[:, 0].tolist()
            fail(
                f"{what} has NaN in row {rows[0]}. A padding token that sees nothing "
                "at all has a row of −inf, and softmax makes NaN of it; in the next "
                "layer its weight of 0 times NaN is NaN. Let each token see itself "
                "at least."
            )
        if not _same(result, torch.stack(alone)):
            for positions, seen, column, diagnosis in _NEXT:
                if _same(result, _next(model, ids, real, positions, seen, column)):
                    fail(diagnosis)
            row = int(
                (result - torch.stack(alone)).abs().amax(dim=1).gt(1e-4).nonzero()[0]
            )
            if real.all():
                fail(
                    f"{what}, none of them padded, differs from what each gets alone, "
                    "so padding is not at fault. What does the chapter's model do "
                    "that is missing here: the positions, the causal mask, the norm "
                    "after the last layer, the embedding's matrix?"
                )
            fail(
                f"{what}: row {row}, of {lengths[row]} tokens, has other logits than "
                "that text alone. Compare the vectors after the embedding first, "
                "then after each layer: where do they part?"
            )
        if len(passes) > 1:
            fail(
                f"the logits are right, and the layers were run {len(passes)} times. "
                "Let the whole batch go through at once: that is what it is for."
            )
        if real.all():
            continue
        other = torch.where(real == 1, ids, 17)
        with torch.no_grad():
            again = as_numbers(
                call(mended_next_logits, model, other, real), result.shape, what
            )
        if not _same(again, result):
            fail(
                "another padding token gives other logits. Go by `real`, not by "
                "the id 0: it may be a word."
            )
    passed(
        "each text of a padded batch gets the logits that it gets alone, and in "
        "one pass"
    )
    passed("whichever token fills up the batch")


# 9.7

_CUBIC, _QUINTIC = (1.5, -0.5, 0.0), (3.4445, -4.7750, 2.0315)


def _pushed(matrices: Tensor, steps: int, how: str = "right") -> Tensor:
    """Singular values after so many steps, by the decomposition, right or wrong."""
    left, values, right = torch.linalg.svd(
        matrices.double(), full_matrices=False
    )  # values: (…, K)
    length = values.square().sum(dim=-1, keepdim=True).sqrt()
    scale = {
        "unscaled": torch.ones_like(length),
        "largest": values[..., :1],
        "whole stack": values.square().sum().sqrt().expand_as(length),
        "largest number": matrices.double().abs().amax(dim=(-2, -1))[..., None],
        "trace": values.sum(dim=-1, keepdim=True),
        "squared length": length.square(),
    }.get(how, length)
    values = values / scale.clamp(min=1e-30)
    a, b, c = {
        "quintic": _QUINTIC,
        "signs": (1.5, 0.5, 0.0),
        "swapped": (0.5, 1.5, 0.0),
        "no half": (1.5, -1.5, 0.0),
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


_PUSHED = {
    "limit": (
        "these are singular values of exactly one, the limit. After so few steps they "
        "are not there yet: iterate, without a decomposition."
    ),
    "unscaled": (
        "the matrix is not divided by its norm first. The iteration holds for singular "
        "values below √3 only; what lies above runs away."
    ),
    "largest": (
        "the matrix is divided by its largest singular value. That would do, but needs "
        "a decomposition; divide by the Frobenius norm, the root of the sum of all "
        "squares."
    ),
    "whole stack": (
        "a stack is divided by one norm for all. Each matrix has its own: "
        "`norm(dim=(-2, -1), keepdim=True)`."
    ),
    "largest number": (
        "the matrix is divided by its largest number; its singular values may still be "
        "larger than √3. Divide by the Frobenius norm."
    ),
    "squared length": (
        "the matrix is divided by the square of its norm. The root is missing."
    ),
    "quintic": (
        "these are Muon's numbers, with the fifth power. Asked for are 1.5 and −0.5, "
        "which converge."
    ),
    "signs": "the cube is added; it should be taken away.",
    "swapped": "1.5 and −0.5 have changed places, or the cube has the wrong sign.",
    "no half": "the cube has the factor 1.5, and should have 0.5.",
    "one less": "this is one step too few.",
    "one more": "this is one step too many.",
    "five": "there are five steps, whatever `steps` says.",
    "length again": (
        "the result has its old norm again. What is asked for has singular values near "
        "one."
    ),
}


def _elementwise(matrices: Tensor, steps: int) -> Tensor:
    x = matrices.double() / matrices.double().norm(dim=(-2, -1), keepdim=True)
    for _ in range(steps):
        x = 1.5 * x - 0.5 * x**3
    return x


@check
def polar(polar: Callable[[Tensor, int], Tensor]) -> None:
    """9.7: singular values after some steps, for wide, tall, several, zero matrices."""
    stack = random_tensor(3, 4, 6, seed=3) * torch.tensor([1.0, 30.0, 0.01]).view(
        3, 1, 1
    )
    cases = [
        (random_tensor(4, 4, seed=4) * 10, 1),
        (random_tensor(3, 5), 3),
        (random_tensor(6, 3, seed=1) * 20, 4),
    ]
    for matrices, steps in (
        *cases,
        (stack, 7),
        (random_tensor(2, 2, 5, 3, seed=5), 2),
        (random_tensor(3, 8, seed=6), 25),
    ):
        copy = matrices.clone()
        result = call(polar, copy, steps)
        what = f"the result for {tuple(matrices.shape)} and {steps} steps"
        if (
            tuple(getattr(result, "shape", ()))
            == tuple(matrices.mT.shape)
            != tuple(matrices.shape)
        ):
            fail(
                f"{what} has the shape {tuple(result.shape)}: it was turned, and "
                "must be turned back."
            )
        result = as_numbers(result, matrices.shape, what, torch.float64)
        if not torch.equal(copy, matrices):
            fail(
                "the matrix that was passed in has been changed. In an "
                "optimiser, that is the momentum."
            )
        if _same(result, _pushed(matrices, steps)):
            continue
        for how, diagnosis in _PUSHED.items():
            if _same(result, _pushed(matrices, steps, how)):
                fail(diagnosis)
        if _same(result, _elementwise(matrices, steps)):
            fail(
                "each number is cubed by itself. The cube of a matrix that acts on "
                "its singular values is X Xᵀ X, two matrix products."
            )
        if result.isnan().any() or result.isinf().any():
            fail(
                f"{what} runs away to infinity or NaN. Is the matrix divided by "
                "its norm first?"
            )
        found = torch.linalg.svdvals(result).flatten()[:3].tolist()
        true = torch.linalg.svdvals(_pushed(matrices, steps)).flatten()[:3].tolist()
        fail(
            f"{what} has the singular values {', '.join(f'{x:.3f}' for x in found)} "
            f"…, and should have {', '.join(f'{x:.3f}' for x in true)} …. With one "
            "number in place of the matrix a step is 1.5 s − 0.5 s³."
        )
    zero = as_numbers(
        call(polar, torch.zeros(2, 3), 3), (2, 3), "the result for a matrix of zeros"
    )
    if not torch.equal(zero, torch.zeros(2, 3)):
        fail(
            "a matrix of zeros should stay zero, and its norm is what you divide "
            "by: 0 / 0 is NaN."
        )
    stack = torch.stack([random_tensor(2, 3), torch.zeros(2, 3)])
    both = as_numbers(
        call(polar, stack.clone(), 3),
        stack.shape,
        "the result for a stack with a matrix of zeros",
    )
    if (
        not _same(both[0], _pushed(stack[:1], 3)[0].float())
        or both[1].any()
        or both.isnan().any()
    ):
        fail(
            "one matrix of a stack is zero, and comes back as something else, or "
            "spoils the other."
        )
    half = call(polar, random_tensor(3, 5).bfloat16(), 2)
    if getattr(half, "dtype", None) != torch.bfloat16:
        fail(
            "a bfloat16 matrix gives "
            f"{getattr(half, 'dtype', type(half).__name__)}: keep its dtype."
        )
    passed(
        "singular values after 1 to 25 steps: wide, tall and stacked matrices, "
        "each by its own norm"
    )
    passed("a matrix of zeros stays what it is")
