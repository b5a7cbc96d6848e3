"""Checks of chapter 04, self-attention.

- `matrices(W_query, W_key)`: 4.1, matrices that make *mouse* look at the verbs, in both
  sentences
- `predictions(queries_times_zero, …, source_shuffled)`: 4.2, six changes to queries,
  keys or values
- `sliding_window_mask(sliding_window_mask)`: 4.3, a causal mask with a window
- `mended_attention(mended_attention)`: 4.4, heads that read across tokens, mended
- `effective_tokens(effective_tokens)`: 4.5, the exponential of a row's entropy
- `multi_query_attention(MultiQueryAttention)`: 4.6, heads that share keys and values
- `model_weights(model_weights)`: 4.7, a model's attention weights of a padded batch
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetuning.checks.core import (
    CheckFailed,
    as_numbers,
    call,
    check,
    describe,
    expect_close,
    expect_shape,
    fail,
    passed,
    random_tensor,
    written,
)
from finetuning.scratch.attention import causal_mask

__all__ = [
    "effective_tokens",
    "matrices",
    "mended_attention",
    "model_weights",
    "multi_query_attention",
    "predictions",
    "sliding_window_mask",
]

_CHANGES = {  # for each prediction that is wrong, a question that leads on
    "queries_times_zero": (
        "What is the dot product of a zero query with any key, and what does a softmax "
        "make of equal scores?"
    ),
    "queries_times_ten": (
        "What does a softmax do when all its scores become ten times as large? Take "
        "(0, 1) and (0, 10)."
    ),
    "added_to_keys": (
        "q · (k + c) is q · k + q · c. Which scores of a row does the second part "
        "change, and by how much? What does the softmax make of that?"
    ),
    "added_to_queries": (
        "(q + c) · k is q · k + c · k. Is the second part the same for every key of a "
        "row?"
    ),
    "added_to_values": (
        "Every value is v + c, and the weights of a row sum to one. What becomes of c?"
    ),
    "source_shuffled": (
        "Each value takes its key along to the new place. Which weight does it get "
        "there, and does a sum depend on the order of its parts?"
    ),
}


def _sentence(first: list[float], last: list[float]) -> Tensor:
    """(T=6, C=4): the chapter's vectors, with the animal and machine of two verbs."""
    return torch.tensor(
        [
            [0.0, 0.0, 0.0, 0.0],
            [1.0, 1.0, 1.0, 0.0],
            [*first, 0.0, 1.0],
            [0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
            [*last, 0.0, 1.0],
        ]
    )


_SENTENCES = {
    "the mouse ate until it slept": _sentence([2.0, 0.0], [2.0, 0.0]),
    "the mouse worked until it broke": _sentence([0.0, 2.0], [0.0, 2.0]),
}


def _weights_of(W_query: Tensor, W_key: Tensor, x: Tensor) -> Tensor:
    return ((x @ W_query) @ (x @ W_key).mT / math.sqrt(2)).softmax(dim=-1)


def _finds(W_query: Tensor, W_key: Tensor) -> bool:
    """Whether 4.1 is solved by these matrices."""
    rows = [_weights_of(W_query, W_key, x) for x in _SENTENCES.values()]
    return all(
        row[1, [2, 5]].min() >= 0.45 and row[[2, 4, 5], 1].min() >= 0.9 for row in rows
    )


def _not_on_the_verbs(
    words: list[str], verb: int, scores: Tensor, mouse: Tensor
) -> str:
    """Why *mouse* does not look at this verb, from its scores and weights (T=6,)."""
    if scores[verb] < scores[0] - 0.1:
        return (
            f"the score of *{words[verb]}* is {scores[verb]:.1f}, below that of a "
            "word that says nothing. One of the numbers in its vector counts with "
            f"the wrong sign: which has *{words[verb]}*?"
        )
    if mouse[4] > 0.2:
        return (
            f"*it* still gets {mouse[4]:.2f}: the key by which the verbs are found "
            "must be small for *it*. What is in the vector of a verb, and not in "
            "that of *it*?"
        )
    if mouse[1] > 0.2:
        return (
            f"*mouse* looks at itself with {mouse[1]:.2f}: it is animal and machine "
            "as well. What is in its vector, and not in that of a verb, and could "
            "count negatively?"
        )
    if int(mouse.argmax()) in (2, 5) and mouse[2].isclose(mouse[5]):
        return "it points at the verbs, but softly. Larger numbers sharpen the softmax."
    return (
        f"its largest weight is {mouse.max():.2f}, on *{words[int(mouse.argmax())]}*. "
        "The key for question 1 must be large for verbs of animals and of machines "
        "alike."
    )


@check
def matrices(W_query: Tensor, W_key: Tensor) -> None:
    """4.1: in both sentences *mouse* finds the verbs, not *it*, and is found itself."""
    for name, matrix in (("W_query", W_query), ("W_key", W_key)):
        expect_shape(matrix, (4, 2), name)
        if not torch.as_tensor(matrix).is_floating_point():
            fail(f"{name} should hold floating-point numbers; write 6.0 instead of 6.")
    W_query, W_key = (
        as_numbers(W_query, (4, 2), "W_query"),
        as_numbers(W_key, (4, 2), "W_key"),
    )
    if not _finds(W_query, W_key) and _finds(W_query.flip(1), W_key):
        fail(
            "the columns of the two matrices do not stand in the same order: "
            "question 0 of `W_query` is multiplied with answer 0 of `W_key`, and "
            "yours has there the answer to the other question."
        )
    for sentence, x in _SENTENCES.items():
        words = sentence.split()
        weights = _weights_of(W_query, W_key, x)
        if not weights.isfinite().all():
            fail(
                "the weights are not numbers (NaN): a matrix holds something that is "
                "no number, or so large a one that the scores overflow. Strengths of "
                "5 to 20 are sharp enough."
            )
        scores = (x[1] @ W_query) @ (x @ W_key).mT
        for verb in (2, 5):
            if weights[1, verb] < 0.45:
                reason = _not_on_the_verbs(words, verb, scores, weights[1])
                fail(
                    f"in '{sentence}', *mouse* gives *{words[verb]}* "
                    f"{weights[1, verb]:.2f} and not 0.45; {reason}"
                )
        for row in (2, 4, 5):
            if weights[row, 1] < 0.9:
                fail(
                    f"in '{sentence}', *{words[row]}* gives *mouse* "
                    f"{weights[row, 1]:.2f} and not 0.9. Question 0 worked in the "
                    "chapter; did your new numbers land in its column?"
                )
    passed("mouse looks at both verbs, and not at it, in both sentences")
    passed("ate, it and slept still look at mouse")


@check
def predictions(
    queries_times_zero: str,
    queries_times_ten: str,
    added_to_keys: str,
    added_to_queries: str,
    added_to_values: str,
    source_shuffled: str,
) -> None:
    """4.2: each prediction against what the change does to random vectors."""
    answers = (
        queries_times_zero,
        queries_times_ten,
        added_to_keys,
        added_to_queries,
        added_to_values,
        source_shuffled,
    )
    said_of = dict(zip(_CHANGES, answers, strict=True))
    for change, said in said_of.items():
        written(said, f"`{change}`")
    query, key, value = (random_tensor(5, 4, seed=seed) for seed in (1, 2, 3))
    vector, order = random_tensor(4, seed=4), torch.tensor([3, 0, 4, 1, 2])

    def output(
        query: Tensor = query, key: Tensor = key, value: Tensor = value
    ) -> Tensor:
        return F.scaled_dot_product_attention(query[None], key[None], value[None])[0]

    after = {
        "queries_times_zero": output(query=query * 0),
        "queries_times_ten": output(query=query * 10),
        "added_to_keys": output(key=key + vector),
        "added_to_queries": output(query=query + vector),
        "added_to_values": output(value=value + vector),
        "source_shuffled": output(key=key[order], value=value[order]),
    }
    before = output()
    words = {
        "same": before,
        "mean": value.mean(dim=0).expand(5, 4),
        "shifted": before + vector,
    }
    for change, result in after.items():
        true = next(
            (
                word
                for word, tensor in words.items()
                if torch.allclose(result, tensor, atol=1e-5)
            ),
            "different",
        )
        said = said_of[change]
        if not isinstance(said, str) or said not in (*words, "different"):
            fail(
                f"{describe(said)} is not one of the four answers; they are 'same', "
                "'mean', 'shifted' and 'different'."
            )
        if said != true:
            fail(f"in general, `{change}` does not give {said!r}. {_CHANGES[change]}")
    passed(
        "all six predictions agree with what happens to random queries, keys and values"
    )


@check
def sliding_window_mask(sliding_window_mask: Callable[[int, int], Tensor]) -> None:
    """4.3: the mask's shape, dtype, causality and width, for several sizes."""
    for length, window in ((6, 3), (5, 1), (4, 9), (1, 1), (7, 2)):
        mask = call(sliding_window_mask, length, window)
        expect_shape(
            mask, (length, length), f"the mask for length {length} and window {window}"
        )
        mask = torch.as_tensor(mask)
        if mask.dtype != torch.bool:
            fail(
                f"the mask has the dtype {mask.dtype}; attention needs booleans, "
                "True where one may look."
            )
        back = torch.arange(length)[:, None] - torch.arange(length)
        expected = (back >= 0) & (back < window)
        if torch.equal(mask, expected):
            continue
        if torch.equal(mask, ~expected):
            fail(
                "True and False are the wrong way round: in this book True means "
                "that a position may be looked at."
            )
        if torch.equal(mask, expected.mT) or (mask & (back < 0)).any():
            row, column = (mask & (back < 0)).nonzero()[0].tolist()
            fail(
                f"position {row} may look at position {column}, which comes after it. "
                "A window on the past must be causal as well."
            )
        if torch.equal(mask, back >= 0):
            fail(
                "this is the causal mask without a window: how far back a "
                "position may look has no limit."
            )
        row, column = (mask != expected).nonzero()[0].tolist()
        if row == column:
            fail(
                f"with length {length} and window {window}, position {row} cannot see "
                "itself. The window counts the position itself."
            )
        fail(
            f"with length {length} and window {window}, position {row} "
            f"{'sees' if mask[row, column] else 'does not see'} position {column}, "
            f"which lies {row - column} before it. The window counts the position "
            f"itself and the {window - 1} before it."
        )
    passed("causal, with the right width, for windows from 1 to longer than the text")


@check
def mended_attention(mended_attention: Callable[[Tensor, int], Tensor]) -> None:
    """4.4: shapes, causality, equality with attention in slices of numbers."""
    for batch, length, width, heads in ((2, 6, 8, 2), (1, 5, 12, 3), (3, 4, 6, 1)):
        x = random_tensor(batch, length, width, seed=length)
        try:
            result = call(mended_attention, x, heads)
        except CheckFailed as failed:
            # The mask (T, T) meets scores (B, T, H, H).
            if str((batch, length, heads, heads)) in str(failed):
                fail(
                    "the scores compare the heads of a token, and not the tokens of "
                    "a head: (B, T, H, D) still needs a transpose, to (B, H, T, D)."
                )
            raise
        what = f"the output for an input {tuple(x.shape)} and {heads} heads"
        result = as_numbers(result, (batch, length, width), what)
        width_of_head = width // heads
        slices = [
            x[..., head * width_of_head : (head + 1) * width_of_head]
            for head in range(heads)
        ]
        unmasked = torch.cat(
            [F.scaled_dot_product_attention(part, part, part) for part in slices], -1
        )
        if torch.allclose(result, unmasked, atol=1e-5):
            fail(
                "the heads are in order, but the causal mask is gone: every "
                "token sees the whole text."
            )
        for changed in range(length):
            other = x.clone()
            other[:, changed] += 1.0
            after = as_numbers(
                call(mended_attention, other, heads), (batch, length, width), what
            )
            moved = (after - result).abs().amax(dim=(0, 2)) > 1e-5
            if moved[:changed].any():
                early = int(moved.nonzero()[0])
                fail(
                    f"with {heads} heads, changing token {changed} changed the output "
                    f"at token {early}, which comes before it. On the way in, cut (B, "
                    "T, C) into (B, T, H, D) and then transpose; on the way back, "
                    "transpose first and join then. Otherwise numbers of different "
                    "tokens change places."
                )
            if not moved[changed + 1 :].all():
                late = changed + 1 + int((~moved[changed + 1 :]).nonzero()[0])
                fail(
                    f"with {heads} heads, changing token {changed} leaves the output "
                    f"at token {late} as it was: token {late} cannot see it, although "
                    "it comes before. `reshape(B, H, T, D)` gives each head a piece "
                    "of the text; it should get a slice of every token's numbers."
                )
        expected = torch.cat(
            [
                F.scaled_dot_product_attention(part, part, part, causal_mask(length))
                for part in slices
            ],
            -1,
        )
        whole = F.scaled_dot_product_attention(x, x, x, causal_mask(length))
        if heads > 1 and torch.allclose(result, whole, atol=1e-5):
            fail("this is one head over the whole width: x was never cut into heads.")
        interleaved = [x[..., head::heads] for head in range(heads)]
        comb = torch.stack(
            [
                F.scaled_dot_product_attention(p, p, p, causal_mask(length))
                for p in interleaved
            ],
            -1,
        )
        if heads > 1 and torch.allclose(result, comb.flatten(-2), atol=1e-5):
            fail(
                "head 0 has the numbers 0, H, 2·H … of each token, and should have "
                "the first D: cut the last axis into (H, D), in this order, and not "
                "into (D, H)."
            )
        expect_close(
            result,
            expected,
            f"with {heads} heads, the output",
            "It is causal, but not attention within each head: compare the scale "
            "(the root of a head's width, D), and whether the heads come back in "
            "their places.",
        )
    passed("changing a token changes nothing before it, and everything after it")
    passed(
        "equal to attention in each head's slice of every token, for 1, 2 and 3 heads"
    )


@check
def effective_tokens(effective_tokens: Callable[[Tensor], Tensor]) -> None:
    """4.5: one-hot and uniform rows, zeros, the logarithm's base, all axes."""
    one_hot = torch.eye(4)
    result = as_numbers(
        call(effective_tokens, one_hot), (4,), "the result for weights of shape (4, 4)"
    )
    if torch.allclose(result, torch.zeros(4), atol=1e-6):
        fail(
            "a row with all its weight on one token gives 0, which is its entropy. "
            "The exponential of the entropy is asked for: 1 token."
        )
    expect_close(
        result,
        torch.ones(4),
        "for a row with all its weight on one token, the result",
        "Weights of exactly 0 must count nothing; is there a 0 · log 0?",
    )
    uniform = torch.full((3, 8), 1 / 8)
    result = call(effective_tokens, uniform)
    if result.shape == (8,):
        fail(
            "weights (3, 8) have three rows and the result has 8 numbers: the sum "
            "runs over the rows; it must run over the last axis, the tokens that are "
            "looked at."
        )
    result = as_numbers(result, (3,), "the result for weights of shape (3, 8)")
    if torch.allclose(result, torch.full((3,), math.log(8.0)), atol=1e-4):
        fail(
            "for 8 equal weights the result is 2.079, which is the entropy. The "
            "exponential of it is still to be taken."
        )
    if torch.allclose(result, torch.full((3,), math.exp(3.0)), atol=1e-3):
        fail(
            "for 8 equal weights the result is 20.1 = e³: the logarithm has base 2 "
            "and the exponential base e. Both must have the same base."
        )
    expect_close(
        result,
        torch.full((3,), 8.0),
        "for 8 equal weights, the result",
        "It should be the number of tokens.",
        tolerance=1e-4,
    )
    result = call(effective_tokens, torch.tensor([[0.5, 0.5, 0.0, 0.0]]))
    result = as_numbers(result, (1,), "the result for weights of shape (1, 4)")
    if not torch.isclose(result, torch.tensor(2.0), atol=1e-4).item():
        fail(
            f"for the row (0.5, 0.5, 0, 0) the result is {float(result):.2f}, and "
            "should be 2. Each weight of 0 counts nothing in the sum, 0 · log 0 = 0; "
            "is a NaN replaced after the sum?"
        )
    many = call(effective_tokens, torch.full((1, 5000), 1 / 5000))
    expect_close(
        many,
        torch.full((1,), 5000.0),
        "for 5,000 equal weights, the result",
        "Small weights count too: if you clamp inside the logarithm, clamp at "
        "far less than 1/5000.",
        tolerance=1e-3,
    )
    weights = random_tensor(2, 3, 5, 7).softmax(dim=-1)
    expected = torch.special.entr(weights).sum(-1).exp()
    result = as_numbers(
        call(effective_tokens, weights),
        (2, 3, 5),
        "the result for weights (2, 3, 5, 7)",
    )
    squares = torch.allclose(result, 1 / weights.square().sum(-1), atol=1e-4)
    expect_close(
        result,
        expected,
        "for random weights (2, 3, 5, 7), the result",
        "This is 1/Σw², another count of the same kind; the exponential of the "
        "entropy is asked for."
        if squares
        else "Each row has a result of its own.",
        tolerance=1e-4,
    )
    passed(
        "1 for a single token, 2 for two of four, 8 and 5,000 for so many equal weights"
    )
    passed("weights of zero count nothing, and small ones count")
    passed("a result for each row, whatever axes come before")


@check
def multi_query_attention(MultiQueryAttention: type[nn.Module]) -> None:
    """4.6: sizes, parity with copied keys and values, masks and gradients."""
    for width, heads in ((8, 2), (12, 3), (6, 1)):
        with torch.random.fork_rng():  # the learner's random numbers are left alone
            torch.manual_seed(0)
            module = call(MultiQueryAttention, width, heads)
        for name in ("query", "key", "value", "output"):
            if not isinstance(getattr(module, name, None), nn.Linear):
                fail(f"the module needs an nn.Linear called `{name}`.")
        head_width = width // heads
        for name, size in (
            ("query", width),
            ("output", width),
            ("key", head_width),
            ("value", head_width),
        ):
            shape = tuple(getattr(module, name).weight.shape)
            if shape != (size, width):
                hint = (
                    " All heads share one set, so it has the width of a single head."
                    if name in ("key", "value")
                    else ""
                )
                fail(
                    f"for width {width} and {heads} heads, `{name}` maps {shape[1]} "
                    f"to {shape[0]} numbers; it should map {width} to {size}.{hint}"
                )
            if getattr(module, name).bias is None:
                fail(f"`{name}` has no bias, and should have one.")
        # B = H in the first round only: there keys (B, S, D) without an axis for the
        # heads would broadcast.
        batch = 2 if heads == 2 else 4
        x = random_tensor(batch, 5, width, seed=heads)
        no_padding = torch.tensor([True, True, True, False, False]).expand(5, 5)
        for mask, what in (
            (None, "without a mask"),
            (causal_mask(5), "with a causal mask"),
            (no_padding, "with a mask that hides the last two tokens"),
        ):
            result = call(module, x) if mask is None else call(module, x, mask)
            expect_shape(
                result,
                (batch, 5, width),
                f"the output {what}, for an input ({batch}, 5, {width})",
            )
            expected = _shared(module, x, heads, mask)
            hint = (
                "Each head has its own queries, and all use the same keys and values."
            )
            if heads > 1:
                for diagnosis, wrong in _shared_wrongly(module, x, heads, mask).items():
                    if torch.allclose(result, wrong, atol=1e-5):
                        hint = diagnosis
                        break
            expect_close(
                result, expected, f"for {heads} heads, the output {what}", hint
            )
        call(module, x).sum().backward()
        for name in ("query", "key", "value", "output"):
            if getattr(module, name).weight.grad is None:
                fail(
                    f"no gradient reaches `{name}`: it is not used, or a result "
                    "was detached."
                )
    passed("one set of keys and values, as wide as one head")
    passed(
        "equal to multi-head attention in which every head has a copy of them, "
        "with and without a mask"
    )
    passed("gradients reach all four projections")


def _shared(
    module: nn.Module,
    x: Tensor,
    heads: int,
    mask: Tensor | None,
    scale: float | None = None,
    mixed: bool = True,
    swapped: bool = False,
    axis: int = 1,
    cut: bool = True,
    joined: bool = True,
) -> Tensor:
    """The reference: PyTorch's attention, keys and values copied for each head.

    The last arguments make mistakes: no `output`, keys for values, keys (B, S, D) lined
    up with the heads (axis 0), heads cut or joined by a `reshape` alone.
    """
    query = module.query(x)
    query = (
        query.unflatten(-1, (heads, -1)).transpose(1, 2)
        if cut
        else query.reshape(len(x), heads, x.size(1), -1)
    )
    key, value = (
        part(x).unsqueeze(axis).expand(len(x), heads, -1, -1)
        for part in (module.key, module.value)
    )
    key, value = (value, key) if swapped else (key, value)
    found = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale
    )
    found = found.transpose(1, 2).flatten(-2) if joined else found.reshape(x.shape)
    return module.output(found) if mixed else found


def _shared_wrongly(
    module: nn.Module, x: Tensor, heads: int, mask: Tensor | None
) -> dict[str, Tensor]:
    """What known mistakes give, by their diagnosis."""
    width, head_width = x.size(-1), x.size(-1) // heads
    reshaped = (
        "swap the axes with `transpose`: a `reshape` alone makes numbers of "
        "different tokens change places."
    )
    wrong = {
        f"The scale is of the model's width, √{width}; it must be of a head's, "
        f"√{head_width}.": {"scale": width**-0.5},
        f"The scores are not divided by √{head_width}, the root of a head's width.": {
            "scale": 1.0
        },
        "The last projection, `output`, is missing.": {"mixed": False},
        "Keys and values have changed places.": {"swapped": True},
        f"When you cut the queries into heads, {reshaped}": {"cut": False},
        f"When you join the heads, {reshaped}": {"joined": False},
        f"When you cut the queries and when you join the heads, {reshaped}": {
            "cut": False,
            "joined": False,
        },
    }
    results = {
        diagnosis: _shared(module, x, heads, mask, **how)
        for diagnosis, how in wrong.items()
    }
    if mask is not None:
        results["The mask has no effect: is it passed on?"] = _shared(
            module, x, heads, None
        )
        results["The mask is upside down: True means may be looked at."] = _shared(
            module, x, heads, ~mask
        )
        results["It is causal whatever the mask says: pass the mask on as it is."] = (
            _shared(module, x, heads, causal_mask(x.size(1)))
        )
    if len(x) == heads:
        results[
            "Keys of shape (B, S, D) line up sentences with heads, which fits by "
            "accident where B = H: they need an axis of their own for the heads, (B, "
            "1, S, D)."
        ] = _shared(module, x, heads, mask, axis=0)
    return results


@check
def model_weights(
    model_weights: Callable[[Tensor, Tensor, Tensor, int], Tensor],
) -> None:
    """4.7: rows that sum to one, padding on either side, equality with a reference."""
    padded_right = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    padded_left = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    for attention_mask, heads, width in (
        (padded_right, 2, 8),
        (padded_left, 3, 12),
        (padded_right, 1, 4),
    ):
        query, key = (
            random_tensor(2, 5, width, seed=1),
            random_tensor(2, 5, width, seed=2),
        )
        result = call(model_weights, query, key, attention_mask, heads)
        what = f"the result for queries (2, 5, {width}) and {heads} heads"
        result = as_numbers(result, (2, heads, 5, 5), what)
        sums = result.sum(dim=-1)
        query_heads, key_heads = (
            t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key)
        )
        scores = query_heads @ key_heads.mT
        hidden = ~attention_mask.bool()[:, None, None, :]
        scaled = scores / math.sqrt(width // heads)
        padding = attention_mask[1] == 0
        on_padding = float(result[1][..., padding].sum(dim=-1).mean())
        if on_padding > 0.999:
            fail(
                "all the weight of the padded sentence is on padding: True and False "
                "are the wrong way round. 1 means a token, and True means may be "
                "looked at."
            )
        if (
            heads == 2
        ):  # = B, so that a mask without an axis for the heads fits by accident
            lined_up = scaled.masked_fill(
                ~attention_mask.bool()[:, None], -math.inf
            ).softmax(dim=-1)
            if torch.allclose(result, lined_up, atol=1e-5):
                fail(
                    "the mask of sentence 1 acts on head 1 of every sentence: (B, 1, "
                    "S) lines up sentences with heads. The mask needs an axis for "
                    "the heads and one for the rows, (B, 1, 1, S)."
                )
        if result.isnan().any():
            fail(
                "there are rows of NaN: a row sees nothing at all. The mask belongs "
                "to the columns: padding may look, nobody may look at it."
            )
        if not torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
            columns = result.sum(dim=-2)
            if torch.allclose(columns[0], torch.ones_like(columns[0]), atol=1e-4):
                fail(
                    "each column sums to one: the softmax runs over the queries; it "
                    "must run over the keys, the last axis."
                )
            row = int((sums[1, 0] - 1).abs().argmax())
            fail(
                f"row {row} of the padded sentence sums to {sums[1, 0, row]:.2f} and "
                "not to 1. A mask acts on the scores, before the softmax, and on "
                "columns, not on rows."
            )
        if on_padding > 1e-6:
            fail(
                f"{on_padding:.2g} of the padded sentence's attention goes to "
                "padding, and should be 0. Is the mask used, and does -inf rather "
                "than the mask's own 0 and 1 reach the scores?"
            )
        expected = scaled.masked_fill(hidden, -math.inf).softmax(dim=-1)
        hint = "Compare how the numbers of a token are divided among the heads."
        for wrong, diagnosis in (
            (
                math.sqrt(width),
                f"The scale is √{width}, of the whole width; it must be "
                f"√{width // heads}, of a head.",
            ),
            (1.0, "The scores are not divided by the root of the head's width."),
        ):
            if torch.allclose(
                result,
                (scores / wrong).masked_fill(hidden, -math.inf).softmax(dim=-1),
                atol=1e-5,
            ):
                hint = diagnosis
        causal = scaled.masked_fill(hidden | ~causal_mask(5), -math.inf).softmax(dim=-1)
        if torch.allclose(result, causal, atol=1e-5):
            hint = (
                "Your weights are causal as well. In this model every token may look "
                "to both sides."
            )
        expect_close(result, expected, f"for {heads} heads, the result", hint)
    passed(
        "rows sum to one over the real tokens, with padding on the right and on "
        "the left"
    )
    passed("equal to a model's weights, for 1, 2 and 3 heads")
