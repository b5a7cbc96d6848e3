"""Checks of chapter 06, components.

- `padded_positions(padded_positions)`: 6.1, positions that count tokens and not padding
- `predictions(relu_input, …, alibi_columns)`: 6.2, nine changes to the parts of a
  Transformer
- `mended_norm(mended_norm)`: 6.3, a LayerNorm that reads ahead, mended
- `shape_of(shape_of)`: 6.4, a model's parameters from its configuration
- `fold(fold)`: 6.5, a norm's gain and bias inside the linear map behind it
- `growth(pre_norm, post_norm, no_norm)`: 6.6, how the residual stream grows with depth
- `shrink_outputs(shrink_outputs)`: 6.6, last matrices that keep it from growing
- `mended_to_halves(mended_to_halves)`: 6.7, projections from one pairing of RoPE to the
  other, mended
"""

import copy
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetuning.checks.cases import normal, paddings, scaled_rows
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import (
    as_numbers,
    call,
    check,
    describe,
    expect_close,
    fail,
    name_of,
    passed,
    random_tensor,
    told_as,
    written,
)
from finetuning.checks.predictions import predicted_words
from finetuning.checks.state import GlobalState, Snapshot, own_random_numbers
from finetuning.checks.task import Case, Mistake, Task
from finetuning.scratch.attention import MultiHeadAttention, causal_mask
from finetuning.scratch.layers import (
    FeedForward,
    Residual,
    TransformerShape,
    parameter_counts,
)

__all__ = [
    "fold",
    "growth",
    "mended_norm",
    "mended_to_halves",
    "padded_positions",
    "predictions",
    "shape_of",
    "shrink_outputs",
]


# 6.1


def _at_tokens(positions: Any, attention_mask: Tensor) -> Any:
    """Positions with 0 at padding, where anything may stand."""
    if isinstance(positions, np.ndarray):
        positions = torch.as_tensor(positions)
    if not isinstance(positions, Tensor) or positions.shape != attention_mask.shape:
        return positions
    return positions.masked_fill(attention_mask == 0, 0)


def _tokens_of(answer: Callable) -> Callable:
    """An answer whose results are compared at the tokens alone."""
    if not callable(answer):
        return answer

    @functools.wraps(answer)
    def positions(attention_mask: Tensor) -> Any:
        mask = attention_mask.clone()
        return _at_tokens(answer(attention_mask), mask)

    return positions


def _positions(attention_mask: Tensor) -> Tensor:
    return (attention_mask.cumsum(dim=1) - 1).clamp(min=0)


def _columns(attention_mask: Tensor) -> Tensor:
    return torch.arange(attention_mask.size(1)).expand_as(attention_mask)


def _mask_cases() -> list[Case]:
    cases = [
        Case(f"for {batch} texts of {length} places {words}", (mask,))
        for batch, length in ((3, 5), (4, 7), (2, 9), (5, 5))
        for words, mask in paddings(batch, length)
    ]
    rows = {
        "for one text of 6 places": [[0, 0, 1, 1, 0, 1]],
        "for texts of one place": [[1], [1], [1]],
        "where a text is nothing but padding": [[0, 1, 1], [0, 0, 0]],
        "for 4 texts with padding on both sides": [
            [0, 1, 1, 1, 0, 0],
            [0, 0, 0, 0, 1, 1],
            [1, 0, 0, 1, 1, 0],
            [0, 0, 1, 0, 0, 0],
        ],
    }
    return cases + [Case(what, (torch.tensor(mask),)) for what, mask in rows.items()]


def _counted(found: Any, expected: Tensor, case: Case) -> str | None:
    """How positions at tokens are wrong, shown by one text of the case."""
    sentence = difference(found, expected)
    if not sentence or "differ)" not in sentence:
        return sentence
    (mask,) = case.arguments
    text = int((torch.as_tensor(found) != expected).nonzero()[0, 0])
    got = found[text][mask[text] == 1].tolist()
    return f"a text with the mask {mask[text].tolist()} gets {got} at its tokens."


_POSITIONS = Task(
    _tokens_of(_positions),
    _mask_cases,
    [
        Mistake(sentence, _tokens_of(wrong))
        for sentence, wrong in (
            (
                "Padding is counted: these are the numbers of the columns.",
                _columns,
            ),
            (
                "Positions are counted from 0, and the first token gets 1 here.",
                lambda attention_mask: attention_mask.cumsum(dim=1),
            ),
            (
                "The sum runs down the batch, over texts; it must run along each text.",
                lambda attention_mask: attention_mask.cumsum(dim=0) - 1,
            ),
            (
                "The sum goes on from one text to the next; each begins at 0.",
                lambda attention_mask: (
                    attention_mask.flatten().cumsum(dim=0).view_as(attention_mask) - 1
                ),
            ),
            (
                "All padding of the text is subtracted, wherever it stands. What "
                "counts is how many tokens stand before.",
                lambda attention_mask: (
                    _columns(attention_mask)
                    - (attention_mask == 0).sum(dim=1, keepdim=True)
                ).clamp(min=0),
            ),
            (
                "Only the padding in front of the first token is left out; there may "
                "be some between the tokens.",
                lambda attention_mask: (
                    _columns(attention_mask)
                    - attention_mask.argmax(dim=1, keepdim=True)
                ),
            ),
            (
                "They are counted from the end; the token that is read first gets 0.",
                lambda attention_mask: attention_mask.flip(1).cumsum(dim=1).flip(1) - 1,
            ),
        )
    ],
    compare=_counted,
)


def _exists(found: Any, expected: Tensor, case: Case) -> str | None:
    """Whether padding has a position that there is not."""
    (mask,) = case.arguments
    found = torch.as_tensor(found)[mask == 0]
    length = mask.size(1)
    outside = found[(found < 0) | (found >= length)]
    if not outside.numel():
        return None
    return (
        f"padding gets the position {int(outside[0])}, and a text of length {length} "
        f"has the positions 0 to {length - 1}. A table of learnt positions has no such "
        "row; any that exists will do."
    )


_PADDING = Task(
    _positions,
    _mask_cases,
    compare=_exists,
)


@check
def padded_positions(padded_positions: Callable[[Tensor], Tensor]) -> None:
    """6.1: tokens counted from 0, padding on any side, at a position that exists."""
    _POSITIONS.check(_tokens_of(padded_positions))
    passed(
        "tokens are counted from 0, with padding on the left, on the right, on "
        "both sides and nowhere"
    )
    _PADDING.check(padded_positions)
    passed("padding gets positions that exist")


# 6.2

_CHANGES = {  # for each prediction that is wrong, a question that leads on
    "relu_input": (
        "What is max(0, 10 · a), for a positive and for a negative a? And are there "
        "biases that would stay as they were?"
    ),
    "gelu_input": (
        "GELU bends smoothly near 0 and looks like ReLU far from it. Is gelu(10 · a) "
        "ten times gelu(a)? Try a = 1 and a = −1."
    ),
    "swiglu_up": (
        "down(silu(gate(x)) · up(x)): what is done to `up`'s numbers before `down` "
        "gets them? Can a factor pass through a product?"
    ),
    "swiglu_gate": (
        "down(silu(gate(x)) · up(x)): the factor has to pass through silu first. Is "
        "silu(10 · a) ten times silu(a)?"
    ),
    "layer_norm_gain": (
        "W(n · gain + bias): the factor of the gain is taken back by the linear map. "
        "What does the linear map do to the norm's bias?"
    ),
    "stream": (
        "Every sublayer reads the stream through a norm. What does a sublayer see of a "
        "factor of ten, and what does it add? What then happens to the sum?"
    ),
    "rotary_moved": (
        "The score of positions t and s is turned by (t − s) times an angle. What "
        "becomes of t − s?"
    ),
    "rotary_key_bias": (
        "Unturned, q · c is the same for every key of a row, and a softmax does not "
        "notice. Is it still, when c is turned by the angle of each key's position?"
    ),
    "alibi_columns": (
        "−m(t − s) is m · s − m · t. Which of the two is the same for all the keys of "
        "a row?"
    ),
}


@check
def predictions(
    relu_input: str,
    gelu_input: str,
    swiglu_up: str,
    swiglu_gate: str,
    layer_norm_gain: str,
    stream: str,
    rotary_moved: str,
    rotary_key_bias: str,
    alibi_columns: str,
) -> None:
    """6.2: each prediction against what the change does to random parts."""
    answers = (
        relu_input,
        gelu_input,
        swiglu_up,
        swiglu_gate,
        layer_norm_gain,
        stream,
        rotary_moved,
        rotary_key_bias,
        alibi_columns,
    )
    said_of = dict(zip(_CHANGES, answers, strict=True))
    true = {}
    for change, (before, after) in _changed().items():
        true[change] = "different"
        if torch.allclose(after, before, rtol=1e-4, atol=1e-4):
            true[change] = "same"
        elif torch.allclose(after, 10 * before, rtol=1e-4, atol=1e-4):
            true[change] = "tenfold"
    predicted_words(said_of, true, _CHANGES, ("same", "tenfold", "different"))
    passed("all nine predictions agree with what happens in parts with random weights")


def _changed() -> dict[str, tuple[Tensor, Tensor]]:
    """Output before and after each change of 6.2, in float64."""
    x = random_tensor(6, 8, seed=1).double()
    up, gate, down = (random_tensor(8, 8, seed=seed).double() for seed in (2, 3, 4))
    gain, bias, linear_bias = (
        random_tensor(8, seed=seed).double() for seed in (5, 6, 7)
    )
    query, key, value = (random_tensor(6, 8, seed=seed).double() for seed in (8, 9, 10))
    causal, distance = causal_mask(6), torch.arange(6)[:, None] - torch.arange(6)

    def swiglu(gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        return (F.silu(x @ gate) * (x @ up)) @ down

    def normed(gain: Tensor, weight: Tensor) -> Tensor:
        return F.layer_norm(x, (8,), gain, bias) @ weight + linear_bias

    def stack(factor: float) -> Tensor:
        stream = factor * x
        for weight in (up, gate):
            stream = stream + torch.relu(
                F.rms_norm(stream, (8,), eps=1e-12) @ weight
            ) @ (factor * down)
        return stream

    def rotary(moved: int = 0, added: float = 0.0) -> Tensor:
        positions = torch.arange(6) + moved
        scores = (
            _halves(query, positions)
            @ _halves(key + added * bias, positions).mT
            / math.sqrt(8)
        )
        return scores.softmax(dim=-1) @ value

    def alibi(bias: Tensor) -> Tensor:
        scores = query @ key.mT / math.sqrt(8) + bias
        return scores.masked_fill(~causal, -math.inf).softmax(dim=-1) @ value

    return {
        "relu_input": (torch.relu(x @ up) @ down, torch.relu(10 * x @ up) @ down),
        "gelu_input": (F.gelu(x @ up) @ down, F.gelu(10 * x @ up) @ down),
        "swiglu_up": (swiglu(gate, up, down), swiglu(gate, 10 * up, down / 10)),
        "swiglu_gate": (swiglu(gate, up, down), swiglu(10 * gate, up, down / 10)),
        "layer_norm_gain": (normed(gain, up), normed(10 * gain, up / 10)),
        "stream": (stack(1.0), stack(10.0)),
        "rotary_moved": (rotary(), rotary(moved=10)),
        "rotary_key_bias": (rotary(), rotary(added=1.0)),
        "alibi_columns": (
            alibi(-0.25 * distance),
            alibi(0.25 * torch.arange(6).expand(6, 6)),
        ),
    }


def _halves(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """RoPE with i and i + D/2 as a pair: x (…, T, D) turned at positions (T,)."""
    first, second = x.chunk(2, dim=-1)
    turned = _turned(torch.complex(first, second), positions, base)
    return torch.cat([turned.real, turned.imag], dim=-1)


def _neighbours(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """RoPE with number 2i and 2i + 1 as a pair, as in the paper."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(_turned(pairs, positions, base)).flatten(-2)


def _turned(pairs: Tensor, positions: Tensor, base: float) -> Tensor:
    rates = base ** (
        -torch.arange(pairs.size(-1), dtype=torch.float64) / pairs.size(-1)
    )
    angles = positions[:, None] * rates
    return pairs * torch.polar(torch.ones_like(angles), angles).to(pairs.dtype)


# 6.3


def _by_token(formula: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A norm from a token's numbers less their mean, and their variance."""

    def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        return formula(x, centred, variance, weight, bias, eps)

    return norm


def _over(*axes: int) -> Callable[..., Tensor]:
    """A norm whose statistics run over these axes; over all, without one."""

    def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
        axis = axes or tuple(range(x.dim()))
        centred = x - x.mean(dim=axis, keepdim=True)
        variance = centred.square().mean(dim=axis, keepdim=True)
        return centred / (variance + eps).sqrt() * weight + bias

    return norm


def _over_all_but_the_first(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> Tensor:
    return F.layer_norm(x, x.shape[1:], eps=eps) * weight + bias


def _unbiased(variance: Tensor, x: Tensor) -> Tensor:
    return variance * x.size(-1) / (x.size(-1) - 1)


def _norm_cases() -> list[Case]:
    cases = []
    for number, (shape, dtype, scale, eps) in enumerate(
        (
            ((3, 5, 8), torch.float32, 2.0, None),
            ((5, 8), torch.float32, 1.0, None),
            ((8,), torch.float32, 1.0, None),
            ((2, 3, 4, 8), torch.float32, 1.0, None),
            ((2, 6, 6), torch.float32, 0.5, None),
            ((1, 7, 5), torch.float32, 1.0, None),
            ((2, 4, 12), torch.float32, 0.01, None),
            ((4, 1, 9), torch.float32, 0.01, None),
            ((3, 4, 10), torch.float32, 0.3, 0.1),
            ((6, 3), torch.float32, 1.0, 0.02),
            ((2, 5, 7), torch.float64, 1.0, 1e-8),
        )
    ):
        x = normal(*shape, seed=number, scale=scale, dtype=dtype) + scale / 2
        width = shape[-1]
        weight = 1 + 0.5 * normal(width, seed=50 + number, dtype=dtype)
        bias = normal(width, seed=80 + number, dtype=dtype)
        what = f"for x of shape {shape}"
        if dtype == torch.float64:
            what += " (float64)"
        if scale == 0.01:
            what += " with numbers of about 0.01"
        if eps is not None:
            what += f" and eps = {eps:g}"
        arguments = (x, weight, bias) + (() if eps is None else (eps,))
        cases.append(Case(what, arguments, gradient=number in (0, 2, 8)))
    rows = scaled_rows(normal(2, 6, 11, seed=30), 1e-2, 1e2)
    weight, bias = 1 + 0.5 * normal(11, seed=31), normal(11, seed=32)
    named = {"eps": 1e-3}
    return [
        *cases,
        Case("for tokens from small to large", (rows, weight, bias)),
        Case("with `eps` as a keyword", (rows, weight, bias), named),
    ]


_TOKENS = (
    "Mean and variance run over the tokens of a text as well. Which axis is that of a "
    "token's own numbers, and what is its number when one counts from the end?"
)
_CORRECTION = (
    "The variance is divided by C − 1, as `var` and `std` do unless they are told "
    "`correction=0`; LayerNorm divides by C."
)
_NORM = Task(
    lambda x, weight, bias, eps=1e-5: F.layer_norm(x, x.shape[-1:], weight, bias, eps),
    _norm_cases,
    [
        Mistake(_TOKENS, _over(1)),
        Mistake(_TOKENS, _over(-2)),
        Mistake(_TOKENS, _over(1, 2)),
        Mistake(_TOKENS, _over(-2, -1)),
        Mistake(_TOKENS, _over()),
        Mistake(_TOKENS, _over_all_but_the_first),
        Mistake(
            "Mean and variance run over the first axis, so that texts of a batch read "
            "each other. Every token is normalised by its own numbers.",
            _over(0),
        ),
        Mistake(
            "The axis of a token's numbers is the last, however many stand before it; "
            "it is 2 only for (B, T, C).",
            _over(2),
        ),
        *(
            Mistake(sentence, _by_token(formula))
            for sentence, formula in (
                (
                    "The mean is not taken off: this is RMSNorm. LayerNorm takes it "
                    "off first.",
                    lambda x, c, v, weight, bias, eps: (
                        x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
                        + bias
                    ),
                ),
                (
                    _CORRECTION,
                    lambda x, c, v, weight, bias, eps: (
                        c / (_unbiased(v, x) + eps).sqrt() * weight + bias
                    ),
                ),
                (
                    _CORRECTION,
                    lambda x, c, v, weight, bias, eps: (
                        c / (_unbiased(v, x).sqrt() + eps) * weight + bias
                    ),
                ),
                (
                    "eps is added to the standard deviation. It belongs inside the "
                    "root, to the variance; for small numbers that is a difference.",
                    lambda x, c, v, weight, bias, eps: (
                        c / (v.sqrt() + eps) * weight + bias
                    ),
                ),
                (
                    "The result is divided by the variance and not by its root.",
                    lambda x, c, v, weight, bias, eps: c / (v + eps) * weight + bias,
                ),
                (
                    "The mean is taken off, and the result is not divided by anything: "
                    "the variance has to become 1.",
                    lambda x, c, v, weight, bias, eps: c * weight + bias,
                ),
                (
                    "The mean is taken off for the variance, and not for the result.",
                    lambda x, c, v, weight, bias, eps: (
                        x / (v + eps).sqrt() * weight + bias
                    ),
                ),
                (
                    "The numbers of a token are divided by the root of the sum of "
                    "their squares; it must be the root of the mean of their squares.",
                    lambda x, c, v, weight, bias, eps: (
                        F.normalize(c, dim=-1) * weight + bias
                    ),
                ),
                (
                    "Weight and bias have changed places.",
                    lambda x, c, v, weight, bias, eps: (
                        c / (v + eps).sqrt() * bias + weight
                    ),
                ),
                (
                    "Weight and bias are not used.",
                    lambda x, c, v, weight, bias, eps: c / (v + eps).sqrt(),
                ),
                (
                    "The bias is not added.",
                    lambda x, c, v, weight, bias, eps: c / (v + eps).sqrt() * weight,
                ),
                (
                    "The weight is not used.",
                    lambda x, c, v, weight, bias, eps: c / (v + eps).sqrt() + bias,
                ),
                (
                    "The bias is added before the weight multiplies; it comes last.",
                    lambda x, c, v, weight, bias, eps: (
                        (c / (v + eps).sqrt() + bias) * weight
                    ),
                ),
                (
                    "eps has no effect: it is 1e-5, whatever is asked for.",
                    lambda x, c, v, weight, bias, eps: (
                        c / (v + 1e-5).sqrt() * weight + bias
                    ),
                ),
                (
                    "eps is missing.",
                    lambda x, c, v, weight, bias, eps: c / v.sqrt() * weight + bias,
                ),
            )
        ),
    ],
)


@check
def mended_norm(mended_norm: Callable[..., Tensor]) -> None:
    """6.3: tokens do not read each other; outputs and gradients equal PyTorch's."""
    _NORM.check(mended_norm)
    passed("changing a token changes the result at that token only")
    passed(
        "equal to nn.LayerNorm for (C), (T, C), (B, T, C) and (B, H, T, C), for "
        "small numbers and another eps"
    )
    passed("its gradients are those of nn.LayerNorm")


# 6.4


def _true_shape(config: Any) -> TransformerShape:
    sizes = {
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "heads": config.num_attention_heads,
        "vocabulary": config.vocab_size,
        "head": "tied" if config.tie_word_embeddings else "untied",
    }
    if config.model_type == "gpt2":
        sizes["hidden"] = config.n_inner or 4 * config.n_embd
        sizes["positions"] = config.n_positions
    elif config.model_type == "bert":
        sizes["hidden"] = config.intermediate_size
        sizes["positions"] = config.max_position_embeddings
        sizes["segments"] = config.type_vocab_size
        sizes["head"] = "pooler"
    else:
        sizes["hidden"] = config.intermediate_size
        sizes["key_value_heads"] = config.num_key_value_heads
        sizes |= {"gated": True, "bias": False}
    return TransformerShape(**sizes)


@functools.cache
def _real_models() -> dict[str, tuple[Any, dict[str, int]]]:
    """For each case its configuration, and the parameters of the model's parts."""
    return {f"for {name}": (model.config, _parts(model)) for name, model in _models()}


def _unlike(found: Any, expected: TransformerShape, case: Case) -> str | None:
    """How a shape is not the model's: a plain size, a part's count, a field."""
    config, real = _real_models()[case.what]
    if not isinstance(found, TransformerShape):
        return (
            f"the result should be a TransformerShape, and is {describe(found)} (type "
            f"{type(found).__name__})."
        )
    for size in ("layers", "width", "heads", "vocabulary", "hidden"):
        if getattr(found, size) != getattr(expected, size):
            said = describe(getattr(found, size))
            hint = (
                " GPT-2's configuration says `n_inner`; where that is None, it is four "
                "times the width."
                if config.model_type == "gpt2" and size == "hidden"
                else ""
            )
            return f"`{size}` is {said}, and not the model's.{hint}"
    counts = parameter_counts(found)
    for part, number in real.items():
        if counts[part] != number:
            why = _why_another_count(part, counts[part] - number, found, config)
            return (
                f"{part} should have {number:,} parameters, and your shape gives "
                f"{counts[part]:,}. {why}"
            )
    found = replace(found, key_value_heads=found.key_value_heads or found.heads)
    expected = replace(
        expected, key_value_heads=expected.key_value_heads or expected.heads
    )
    for field, value in vars(expected).items():
        if getattr(found, field) != value:
            return (
                f"all counts are right, and `{field}` is "
                f"{describe(getattr(found, field))}, which is not the model's."
            )
    return None


_SHAPE = Task(
    _true_shape,
    lambda: [Case(what, (config,)) for what, (config, _) in _real_models().items()],
    [
        Mistake(
            "GPT-2's configuration says `n_inner`; where that is None, it is four "
            "times the width.",
            lambda config: replace(
                _true_shape(config),
                hidden=getattr(config, "n_inner", _true_shape(config).hidden),
            ),
        )
    ],
    compare=_unlike,
)


@check
def shape_of(shape_of: Callable[[object], TransformerShape]) -> None:
    """6.4: sizes and, part by part, parameters of models of three families."""
    _SHAPE.check(shape_of)
    passed(
        "GPT-2, BERT and Llama, small and full size: every part has the model's "
        "number of parameters"
    )
    passed(
        "with tied and untied heads, an inner width that was set, and shared "
        "keys and values"
    )


def _models() -> Iterator[tuple[str, nn.Module]]:
    """Models of three families on the "meta" device: shapes without numbers."""
    from transformers import (
        BertConfig,
        BertModel,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
    )

    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    gpt2 = {
        "vocab_size": 90,
        "n_positions": 40,
        "n_embd": 48,
        "n_layer": 3,
        "n_head": 4,
    } | ids
    bert = {
        "vocab_size": 90,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    } | ids
    llama = {
        "vocab_size": 90,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
    } | ids
    smollm2 = {
        "vocab_size": 49152,
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
    }
    cases = (
        ("GPT-2 small", GPT2LMHeadModel, GPT2Config()),
        ("a small GPT-2", GPT2LMHeadModel, GPT2Config(**gpt2)),
        ("a GPT-2 with n_inner=100", GPT2LMHeadModel, GPT2Config(n_inner=100, **gpt2)),
        (
            "a GPT-2 whose head is not tied",
            GPT2LMHeadModel,
            GPT2Config(tie_word_embeddings=False, **gpt2),
        ),
        ("BERT-base", BertModel, BertConfig()),
        (
            "a small BERT",
            BertModel,
            BertConfig(
                intermediate_size=100,
                max_position_embeddings=40,
                type_vocab_size=3,
                **bert,
            ),
        ),
        (
            "SmolLM2-135M",
            LlamaForCausalLM,
            LlamaConfig(
                num_key_value_heads=3,
                intermediate_size=1536,
                tie_word_embeddings=True,
                **smollm2,
            ),
        ),
        (
            "a Llama whose head is not tied",
            LlamaForCausalLM,
            LlamaConfig(
                intermediate_size=100,
                num_key_value_heads=2,
                tie_word_embeddings=False,
                **llama,
            ),
        ),
        (
            "a Llama with a set of keys and values for every head",
            LlamaForCausalLM,
            LlamaConfig(intermediate_size=100, tie_word_embeddings=True, **llama),
        ),
    )
    for name, model_class, config in cases:
        with torch.device("meta"), torch.random.fork_rng():
            model = model_class(config)
        yield name, model


def _parts(model: nn.Module) -> dict[str, int]:
    """How many parameters of a transformers model lie in each part."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        low = name.lower()
        if "norm" in low or ".ln_" in low:
            part = "norms"
        elif "lm_head" in low or "pooler" in low:
            part = "head"
        elif any(table in low for table in ("wte", "wpe", "embed")):
            part = "embeddings"
        else:
            part = (
                "attention" if "attn" in low or ".attention." in low else "feed-forward"
            )
        counts[part] += parameter.numel()
    return {
        part: counts[part]
        for part in ("embeddings", "attention", "feed-forward", "norms", "head")
    }


def _vectors(number: float) -> str:
    return "1 vector" if number == 1 else f"{number:,.0f} vectors"


def _why_another_count(
    part: str, excess: int, shape: TransformerShape, config: object
) -> str:
    """A question that leads from a wrong number of parameters to its reason."""
    amount = f"{abs(excess):,} too {'many' if excess > 0 else 'few'}"
    width = shape.width
    if part == "embeddings":
        vectors = f"{_vectors(abs(excess) / width)} of width {width}"
        return (
            f"That is {amount}, or {vectors}. Which tables, beside the one of tokens, "
            "does this model add up for each token, if any?"
        )
    if part == "head" and shape.head == "tied":
        return (
            f"That is {amount}. `tied` stands for a head that uses the embedding's "
            "matrix once more. What does this model have?"
        )
    if part == "head":
        return (
            f"That is {amount}. Does this model's head have a matrix of its own, and "
            "which? For GPT-2 and Llama `config.tie_word_embeddings` says it; for "
            "BERT, the exercise does."
        )
    if (
        parameter_counts(replace(shape, bias=not shape.bias))[part]
        == parameter_counts(shape)[part] - excess
    ):
        return f"That is {amount}. Have this model's linear maps and norms biases?"
    if part == "attention":
        return (
            f"That is {amount}. How many sets of keys and values do this model's "
            "heads share?"
        )
    if part == "feed-forward":
        return (
            f"That is {amount}. How many matrices has this model's feed-forward, and "
            "have they biases?"
        )
    return (
        f"That is {amount}, with {width} numbers in a gain. How many norms are there "
        "beside the two of each layer?"
    )


# 6.5


def _linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    with own_random_numbers():
        linear = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        linear.weight.copy_(random_tensor(outputs, inputs, seed=5))
        if bias:
            linear.bias.copy_(random_tensor(outputs, seed=6))
    return linear


def _used(fold: Callable) -> Callable:
    """The learner's new map, held to be one, and given plain numbers x."""
    if not callable(fold):
        return fold

    def folded(
        linear: nn.Linear, gain: Tensor, bias: Tensor | None, x: Tensor
    ) -> Tensor:
        mine = copy.deepcopy(linear)
        snapshot = Snapshot({"linear": mine})
        with told_as(fold, mine, gain, bias):
            new = fold(mine, gain, bias)
        change = snapshot.change()
        if change:
            fail(
                f"{change} Make a new `nn.Linear` and leave the old one as it is: its "
                "matrix may be in use elsewhere."
            )
        if new is None:
            return None
        if not isinstance(new, nn.Linear):
            fail(f"the result should be an nn.Linear, and is {describe(new)}.")
        if new is mine:
            fail("the result is the linear map that was given, as it was.")
        if new.weight.shape != mine.weight.shape:
            fail(
                f"the new weight has shape {tuple(new.weight.shape)}, and the old "
                f"{tuple(mine.weight.shape)}. nn.Linear takes (inputs, outputs) and "
                "keeps a weight of (outputs, inputs)."
            )
        given = {"its weight": mine.weight, "its bias": mine.bias, "the gain": gain}
        for name, tensor in (given | {"the norm's bias": bias}).items():
            for part in (new.weight, new.bias):
                if _share(part, tensor):
                    fail(
                        f"the new map shares numbers with {name}, which was given: "
                        "whoever changes one changes the other. Copy them."
                    )
        with torch.no_grad():
            return new(x.to(new.weight.dtype)).to(x.dtype)

    folded.__name__ = name_of(fold)
    return folded


def _share(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two tensors hold their numbers in the same place."""
    if one is None or other is None:
        return False
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _as(form: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    """What a map gives whose weight and constant `form` makes of W, b, g and β."""

    def folded(
        linear: nn.Linear, gain: Tensor, bias: Tensor | None, x: Tensor
    ) -> Tensor:
        weight = linear.weight.detach().to(x.dtype)
        zero = torch.zeros(weight.size(0), dtype=x.dtype)
        own = zero if linear.bias is None else linear.bias.detach().to(x.dtype)
        norms = torch.zeros_like(gain) if bias is None else bias
        new, constant = form(weight, own, gain, norms, linear.bias is not None)
        return x @ new.mT + constant

    return folded


def _fold_cases() -> list[Case]:
    cases = []
    for number, (inputs, outputs, own, norms) in enumerate(
        (
            (6, 4, True, True),
            (5, 5, True, True),
            (7, 7, True, True),
            (7, 7, False, True),
            (6, 4, True, False),
            (4, 9, False, True),
            (5, 5, False, False),
            (3, 1, True, True),
        )
    ):
        what = (
            f"for {inputs} numbers to {outputs}, with{'' if norms else 'out'} a bias "
            f"in the norm and with{'' if own else 'out'} one in the linear map"
        )
        gain = 1 + 0.5 * normal(inputs, seed=10 + number)
        bias = normal(inputs, seed=30 + number) if norms else None
        x = normal(*(3, 7)[: number % 3], inputs, seed=50 + number)
        arguments = (_linear(inputs, outputs, own), gain, bias, x)
        cases.append(Case(what, arguments))
    gain = torch.tensor([0.05, 20.0, -3.0, 0.0, 1.0])
    bias, x = normal(5, seed=70), normal(4, 5, seed=71)
    what = "where a gain is 0, another negative and a third 20"
    return [*cases, Case(what, (_linear(5, 6, True), gain, bias, x))]


_LOST = "The norm's bias is lost: it passes through the linear map too, as a constant."
_TWICE = (
    "The norm's bias is multiplied by the gain as well, on its way through the new "
    "weight. It is added after the gain."
)
_FOLD = Task(
    _as(lambda W, b, g, beta, has: (W * g, b + W @ beta)),
    _fold_cases,
    [
        Mistake(sentence, _as(form))
        for sentence, form in (
            (
                "The gain is divided out; it has to be multiplied in.",
                lambda W, b, g, beta, has: (W / g, b + W @ beta),
            ),
            (
                "The gain multiplies the rows of the weight, which are its outputs. It "
                "belongs to the inputs: column c of the weight (outputs, inputs) meets "
                "number c of the norm.",
                lambda W, b, g, beta, has: (W * g[:, None], b + W @ beta),
            ),
            (
                "The gain multiplies the rows of the weight, which are its outputs. It "
                "belongs to the inputs: column c of the weight (outputs, inputs) meets "
                "number c of the norm.",
                lambda W, b, g, beta, has: (
                    W * (g[:, None] if len(W) == len(g) else g),
                    b + W @ beta,
                ),
            ),
            (
                "The gain is not in the new weight.",
                lambda W, b, g, beta, has: (W, b + W @ beta),
            ),
            (
                "The gain is multiplied into the new weight twice.",
                lambda W, b, g, beta, has: (W * g * g, b + W @ beta),
            ),
            (
                "The linear map's own bias is lost.",
                lambda W, b, g, beta, has: (W * g, W @ beta),
            ),
            (_LOST, lambda W, b, g, beta, has: (W * g, b)),
            (
                f"{_LOST} And so is the linear map's own.",
                lambda W, b, g, beta, has: (W * g, 0 * b),
            ),
            (
                "The norm's bias is lost where the linear map has none of its own.",
                lambda W, b, g, beta, has: (W * g, b + has * (W @ beta)),
            ),
            (_TWICE, lambda W, b, g, beta, has: (W * g, b + (W * g) @ beta)),
            (
                f"{_TWICE} And the linear map's own bias is lost.",
                lambda W, b, g, beta, has: (W * g, (W * g) @ beta),
            ),
            (
                "The norm's bias is added as it is, after the linear map. It was added "
                "before: what has the map made of it?",
                lambda W, b, g, beta, has: (W * g, b + beta),
            ),
            (
                "The norm's bias is added as it is, after the linear map. It was added "
                "before: what has the map made of it?",
                lambda W, b, g, beta, has: (
                    W * g,
                    b + (beta if len(b) == len(beta) else W @ beta),
                ),
            ),
            (
                "The norm's bias goes through the transposed weight: for each output, "
                "sum over the inputs.",
                lambda W, b, g, beta, has: (W * g, b + W.mT @ beta),
            ),
        )
    ],
    result="the new map's output",
    draws=True,
)


@check
def fold(fold: Callable[[nn.Linear, Tensor, Tensor | None], nn.Linear]) -> None:
    """6.5: the new map gives for plain numbers what the old gave after the norm."""
    written(fold, "the answer")
    _FOLD.check(_used(fold))
    passed(
        "the new map gives for plain numbers what the old one gave after gain and bias"
    )
    passed(
        "with and without a norm's bias, and with and without one of its own; "
        "the old map is untouched"
    )


# 6.6

_GROWTHS = ("constant", "linear", "exponential")
_ARRANGEMENTS = {  # for each prediction that is wrong, a question that leads on
    "pre_norm": (
        "A sublayer reads the stream through a norm, so what it adds has the same size "
        "at every depth. What becomes of a sum to which the same is added again and "
        "again?"
    ),
    "post_norm": (
        "The norm is the last thing that happens in a layer. What variance does it "
        "leave behind?"
    ),
    "no_norm": (
        "Without a norm, what a sublayer adds is as large as what it reads, and it "
        "reads the whole stream. By which factor does each sublayer multiply the "
        "variance?"
    ),
}


@check
def growth(pre_norm: str, post_norm: str, no_norm: str) -> None:
    """6.6: how the stream's variance grows with depth, measured on random sublayers."""
    said_of = {"pre_norm": pre_norm, "post_norm": post_norm, "no_norm": no_norm}
    true = {}
    for name in _ARRANGEMENTS:
        at_20, at_40 = _variance(name, 20), _variance(name, 40)
        true[name] = "exponential"
        if at_40 < 1.3 * at_20:
            true[name] = "constant"
        elif at_40 < 3 * at_20:
            true[name] = "linear"
    predicted_words(said_of, true, _ARRANGEMENTS, _GROWTHS, "with random sublayers, ")
    passed(
        "the variance after 20 and after 40 random sublayers grows as you said, "
        "in all three"
    )


def _variance(arrangement: str, sublayers: int) -> float:
    stream = random_tensor(64, 64, seed=1)
    for number in range(sublayers):
        weight = random_tensor(64, 64, seed=2 + number) / 8
        if arrangement == "pre_norm":
            stream = stream + F.layer_norm(stream, (64,)) @ weight
        elif arrangement == "post_norm":
            stream = F.layer_norm(stream + stream @ weight, (64,))
        else:
            stream = stream + stream @ weight
    return float(stream.var())


class _Layer(nn.Module):
    """Exercise 6.6's layer: pre-norm, without biases, (B, T, C) to (B, T, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, bias=False)
        self.feed_forward = FeedForward(width, 4 * width, "gelu", bias=False)
        self.residuals = nn.ModuleList(
            Residual(width, norm_first=True) for _ in range(2)
        )


_LAST = ("attention.output", "feed_forward.down")
_DEPTHS = (6, 2, 1, 3, 5)
_FACTORS: tuple[tuple[str, Callable[[int], float]], ...] = (
    (
        "The square of it is one in the number of layers; how often does a layer add "
        "to the stream?",
        lambda depth: depth**-0.5,
    ),
    (
        "With it the sum has a variance of 1/(2L): a factor on the numbers is a factor "
        "squared on the variance.",
        lambda depth: 1 / (2 * depth),
    ),
    (
        "A factor on the numbers is a factor squared on the variance, and a layer adds "
        "more than once.",
        lambda depth: 1 / depth,
    ),
    ("The numbers became larger.", lambda depth: (2 * depth) ** 0.5),
    (
        "The embeddings' own variance need not be shared out.",
        lambda depth: (2 * depth + 1) ** -0.5,
    ),
)


@check
def shrink_outputs(shrink_outputs: Callable[[nn.ModuleList], object]) -> None:
    """6.6: which matrices have shrunk, by which factor, and nothing else."""
    written(shrink_outputs, "the answer")
    factors = [(depth, _shrunk(shrink_outputs, depth)) for depth in _DEPTHS]
    _compare_factors(factors)
    passed("the last matrices of both sublayers, and nothing else, are smaller")
    passed(
        "by a factor that makes 12, 4 and 2 additions bring as much variance as "
        "the embeddings did"
    )


def _shrunk(shrink_outputs: Callable, depth: int) -> float:
    """The factor by which all last matrices of so many layers are multiplied."""
    with own_random_numbers():
        layers = nn.ModuleList(_Layer(2 * depth + 6, 2) for _ in range(depth))
    before = copy.deepcopy(layers)
    same = dict(layers.named_parameters())
    world = GlobalState()
    try:
        _in_place(shrink_outputs, layers)
        changed = world.change()
    finally:
        world.restore()
    now = dict(layers.named_parameters())
    if now.keys() != same.keys():
        fail(
            "the layers have other parameters than before. Change the numbers of those "
            "that are there."
        )
    for name, parameter in now.items():
        if parameter is not same[name]:
            fail(
                f"`{_part(name)}.weight` is another parameter than before. *In place* "
                "means to change the numbers of the one that is there: an optimizer, "
                "say, may hold on to it."
            )
    found = {part: [] for part in _LAST}
    for name, old in before.named_parameters():
        part, new = _part(name), now[name].detach()
        if part in _LAST:
            found[part].append(_multiple(f"{part}.weight", old.detach(), new))
        elif not torch.equal(old, new):
            fail(
                f"`{part}` has changed too. Only what is added to the stream should "
                "become smaller: the last matrix of each of the two sublayers."
            )
    frozen = [name for name in now if not now[name].requires_grad]
    if frozen:
        fail(f"`{_part(frozen[0])}.weight` no longer takes gradients.")
    if changed:
        fail(f"`{name_of(shrink_outputs)}` changes more than the layers: {changed}")
    if [module.training for module in layers.modules()] != [
        module.training for module in before.modules()
    ]:
        fail("the layers' mode, `train()` or `eval()`, is another than before.")
    return _one_factor(found, depth)


def _part(name: str) -> str:
    return name.split(".", 1)[1].removesuffix(".weight")


def _in_place(shrink_outputs: Callable, layers: nn.ModuleList) -> None:
    """Call the answer, which need not return anything."""

    @functools.wraps(shrink_outputs if callable(shrink_outputs) else passed)
    def run(layers: nn.ModuleList) -> bool:
        shrink_outputs(layers)
        return True

    call(run if callable(shrink_outputs) else shrink_outputs, layers)


def _multiple(name: str, old: Tensor, new: Tensor) -> float:
    """The factor between two matrices; fail if the one is no multiple of the other."""
    if new.shape != old.shape:
        fail(f"`{name}` has shape {tuple(new.shape)} now, and had {tuple(old.shape)}.")
    factor = float((old * new).sum() / old.square().sum())
    if not torch.allclose(new, factor * old, atol=1e-6):
        fail(
            f"`{name}` is no multiple of what it was. Multiply the numbers that are "
            "there, all by the same factor."
        )
    return factor


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4)


def _one_factor(found: dict[str, list[float]], depth: int) -> float:
    """The factor that all matrices have in common; fail if there is none."""
    for part, values in found.items():
        if depth > 1 and all(_near(value, 1.0) for value in values):
            fail(
                f"with {depth} layers, `{part}.weight` is what it was, as with a "
                "factor of 1. The last matrix of each sublayer is to become smaller."
            )
        for number, value in enumerate(values):
            if not _near(value, values[0]):
                fail(
                    f"with {depth} layers, `{part}.weight` is multiplied by "
                    f"{values[0]:.3f} in the first and by {value:.3f} in layer "
                    f"{number}. Every sublayer should bring the same share."
                )
    attention, feed_forward = (values[0] for values in found.values())
    if not _near(attention, feed_forward):
        fail(
            f"with {depth} layers, the two sublayers of a layer are multiplied by "
            "different factors. Both add to the same stream."
        )
    return attention


def _compare_factors(factors: list[tuple[int, float]]) -> None:
    """Fail unless the factors make 2 L additions sum to a variance of one."""
    wrong = [pair for pair in factors if not _near(pair[1], (2 * pair[0]) ** -0.5)]
    if not wrong:
        return
    depth, factor = wrong[0]
    said = f"with {depth} layers, the factor is {factor:.3f}"
    for diagnosis, formula in _FACTORS:
        if all(_near(found, formula(depth)) for depth, found in factors):
            fail(f"{said}. {diagnosis}")
    if all(_near(found, factor) for _, found in factors):
        fail(f"{said}, as for every depth. How many additions are there?")
    if factor < 0:
        fail(f"{said}. The numbers should become smaller, and keep their sign.")
    total = 2 * depth * factor**2
    fail(
        f"{said}: {2 * depth} additions of variance 1 then bring {total:.2f} in all, "
        "and should bring 1."
    )


# 6.7


def _order(heads: int, head_width: int) -> Tensor:
    """The old row for each new one: of every head the even ones, then the odd ones."""
    rows = torch.arange(heads * head_width).view(heads, head_width)
    return torch.cat([rows[:, 0::2], rows[:, 1::2]], dim=1).flatten()


def _cut(weight: Tensor, heads: int, *sizes: int) -> Tensor:
    return weight.unflatten(0, (heads, *sizes))


def _rows_cases() -> list[Case]:
    cases = []
    for heads, head_width, inputs, dtype in (
        (3, 6, 7, torch.float32),
        (2, 8, 16, torch.float32),
        (1, 10, 5, torch.float32),
        (4, 12, 6, torch.float64),
        (5, 2, 3, torch.float32),
        (2, 4, 8, torch.float32),
        (2, 64, 32, torch.float32),
    ):
        what = f"{heads} head{'s' if heads > 1 else ''} of {head_width} numbers"
        rows = heads * head_width
        weight = normal(rows, inputs, seed=heads, dtype=dtype)
        bias = normal(rows, seed=7 + heads, dtype=dtype)
        facts = ("A bias (H·D) has the same rows as its weight, and no columns.",)
        cases += [
            Case(f"for {what}", (weight, heads)),
            Case(f"for a bias of {what}", (bias, heads), facts=facts),
        ]
    numbers = torch.arange(24)
    return [*cases, Case("for the whole numbers 0 to 23, 3 heads", (numbers, 3))]


def _moved(found: Any, expected: Tensor, case: Case) -> str | None:
    """How rows are out of order, as a sentence about a pair of them."""
    weight, heads = case.arguments
    floor = weight.dtype if weight.is_floating_point() else None
    sentence = difference(found, expected, tolerance=Tolerance(1e-6), floor=floor)
    if not sentence or "differ)" not in sentence:
        return sentence
    rows = torch.as_tensor(found).reshape(len(weight), -1)
    same = (rows[:, None] == weight.reshape(len(weight), -1)).all(dim=-1)
    if not (same.any(dim=0).all() and same.any(dim=1).all()):
        return (
            "the result has rows that the weight did not have. A row is kept whole: "
            "only the first axis is cut and put in another order."
        )
    order = _cut(same.int().argmax(dim=1), heads, 2, -1)  # (H, 2, D/2)
    right = _cut(_order(heads, len(weight) // heads), heads, 2, -1)
    place = (order != right).any(dim=1).nonzero()[0]
    head, first = place.tolist()
    start, half = head * order[0].numel(), order.size(-1)
    one, other = order[head, :, first].tolist()
    return (
        f"rows {start + first} and {start + first + half} of the result were rows "
        f"{one} and {other}. `apply_rotary` turns these two together, as pair {first} "
        f"of head {head}."
    )


_HALVES = Task(
    lambda weight, heads: weight[_order(heads, len(weight) // heads)],
    _rows_cases,
    [
        Mistake(
            "The rows are where they were: a transpose is missing, or it was undone.",
            lambda weight, heads: weight,
        ),
        Mistake(
            "The rows move the wrong way: number i and i + D/2 become neighbours. Here "
            "neighbours, 2i and 2i + 1, must be taken apart. (With four numbers both "
            "ways are the same.)",
            lambda weight, heads: (
                _cut(weight, heads, 2, -1).transpose(1, 2).flatten(0, 2)
            ),
        ),
        Mistake(
            "The pairs are taken apart over the whole width, as if there were one "
            "head: numbers of different heads come together. Cut the rows into heads "
            "first.",
            lambda weight, heads: weight[_order(1, len(weight))],
        ),
        Mistake(
            "The second number of each pair stands in the first half, and the first in "
            "the second. That turns every pair the other way.",
            lambda weight, heads: (
                _cut(weight, heads, -1, 2).flip(2).transpose(1, 2).flatten(0, 2)
            ),
        ),
        Mistake(
            "The numbers within a row have changed places. A row makes one number of "
            "the query; the columns are what it is made of, and stay where they are.",
            lambda weight, heads: (
                weight
                if weight.dim() == 1
                else torch.cat([weight[:, 0::2], weight[:, 1::2]], dim=1)
            ),
        ),
        Mistake(
            "The second half runs backwards: number i belongs to i + D/2.",
            lambda weight, heads: torch.cat(
                [
                    _cut(weight, heads, -1)[:, 0::2],
                    _cut(weight, heads, -1)[:, 1::2].flip(1),
                ],
                dim=1,
            ).flatten(0, 1),
        ),
        Mistake(
            "The rows are cut as if numbers of different heads stood in turn: the "
            "first axis is (H, D), in this order, and not (D, H).",
            lambda weight, heads: (
                weight.unflatten(0, (-1, 2, heads)).transpose(0, 2).flatten(0, 2)
            ),
        ),
    ],
    compare=_moved,
)


@check
def mended_to_halves(mended_to_halves: Callable[[Tensor, int], Tensor]) -> None:
    """6.7: rows keep their numbers, pairs stay together, scores stay equal."""
    _HALVES.check(mended_to_halves)
    x, positions = random_tensor(7, 12, seed=8), torch.arange(7) + 3
    for query_heads, key_heads, head_width in ((4, 2, 8), (3, 1, 64)):
        query = random_tensor(query_heads * head_width, 12, seed=9)
        key = random_tensor(key_heads * head_width, 12, seed=10)
        theirs = _scores(x, query, key, query_heads, key_heads, positions, _neighbours)
        query, key = (
            as_numbers(call(mended_to_halves, part, heads), part.shape, "the weight")
            for part, heads in ((query, query_heads), (key, key_heads))
        )
        ours = _scores(x, query, key, query_heads, key_heads, positions, _halves)
        expect_close(ours, theirs, "after the move, a score", "", tolerance=1e-3)
    passed(
        "neighbours become number i and i + D/2 of the same head, for head "
        "widths from 2 to 64"
    )
    passed(
        "all scores stay what they were, also where heads share keys; biases "
        "move with their rows"
    )


def _scores(
    x: Tensor,
    query: Tensor,
    key: Tensor,
    query_heads: int,
    key_heads: int,
    positions: Tensor,
    turn: Callable,
) -> Tensor:
    """(H, T, T): with fewer key heads, each serves the same number of query heads."""
    queries = (x @ query.mT).unflatten(-1, (query_heads, -1)).transpose(0, 1)
    keys = (x @ key.mT).unflatten(-1, (key_heads, -1)).transpose(0, 1)
    keys = keys.repeat_interleave(query_heads // key_heads, dim=0)
    return (
        turn(queries, positions)
        @ turn(keys, positions).mT
        / math.sqrt(query.size(0) / query_heads)
    )
