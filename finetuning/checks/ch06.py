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

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

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


def _unchanged(function: Callable, *arguments: object) -> object:
    """`call` with copies of the tensors; fail where the answer writes into one."""
    copies = [a.clone() if isinstance(a, Tensor) else a for a in arguments]
    result = call(function, *copies)
    for before, after in zip(arguments, copies, strict=True):
        if isinstance(before, Tensor) and not torch.equal(before, after):
            fail(
                "your function writes into the tensor that it was given. Others still "
                "need that one: make a new tensor (`x = x - …` instead of `x -= …`)."
            )
    return result


# 6.1

_MASKS = (  # by where their padding lies
    ("on the left", torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])),
    ("nowhere", torch.ones(2, 4, dtype=torch.long)),
    (
        "on the right",
        torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]),
    ),
    ("on both sides", torch.tensor([[0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]])),
)


@check
def padded_positions(padded_positions: Callable[[Tensor], Tensor]) -> None:
    """6.1: tokens counted from 0, padding on any side, at a position that exists."""
    for side, mask in _MASKS:
        length = mask.size(1)
        result = _unchanged(padded_positions, mask)
        what = f"the result for a mask {tuple(mask.shape)}"
        expect_shape(result, mask.shape, what)
        result = torch.as_tensor(result)
        if (
            result.dtype == torch.bool
            or result.is_floating_point()
            or result.is_complex()
        ):
            fail(
                f"{what} has the dtype {result.dtype}. Positions choose rows of a "
                "table: make them integers."
            )
        real = mask.bool()
        counted = mask.cumsum(dim=1) - 1
        if side == "on the left" and torch.equal(
            result[real], torch.arange(length).expand_as(mask)[real]
        ):
            fail(
                "padding is counted: in a text with two paddings on the left, the "
                "first token gets position 2. It should get 0."
            )
        if torch.equal(result[real], (counted + 1)[real]):
            fail(
                "the first token of every text gets position 1. Positions are "
                "counted from 0."
            )
        if torch.equal(result[real], mask.cumsum(dim=0)[real] - 1) and mask.size(0) > 1:
            fail(
                "the sum runs down the batch, over texts; it must run along each "
                "text, and there the axis of the tokens is the last."
            )
        for text, wanted in enumerate(counted):
            got = result[text][real[text]].tolist()
            if got == wanted[real[text]].tolist():
                continue
            hint = (
                "Its tokens should be counted in the order in which they are read."
                if len(got) > 1 and got == sorted(set(got), reverse=True)
                else "Its tokens should be counted from 0, without gaps."
            )
            fail(
                f"with padding {side}, a text with the mask {mask[text].tolist()} "
                f"gets {got}. {hint}"
            )
        if (result < 0).any() or (result >= length).any():
            value = int(result[(result < 0) | (result >= length)][0])
            fail(
                f"padding gets the position {value}, and a text of length {length} "
                f"has the positions 0 to {length - 1}. A table of learnt positions "
                "has no such row; any that exists will do."
            )
    passed(
        "tokens are counted from 0, with padding on the left, on the right, on "
        "both sides and nowhere"
    )
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
    for change, said in said_of.items():
        written(said, f"`{change}`")
    words = ("same", "tenfold", "different")
    for change, (before, after) in _changed().items():
        true = "different"
        if torch.allclose(after, before, rtol=1e-4, atol=1e-4):
            true = "same"
        elif torch.allclose(after, 10 * before, rtol=1e-4, atol=1e-4):
            true = "tenfold"
        said = said_of[change]
        if not isinstance(said, str) or said not in words:
            fail(
                f"{describe(said)} is not one of the three answers; they are 'same', "
                "'tenfold' and 'different'."
            )
        if said != true:
            fail(f"in general, `{change}` does not give {said!r}. {_CHANGES[change]}")
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


@check
def mended_norm(mended_norm: Callable[..., Tensor]) -> None:
    """6.3: tokens do not read each other; outputs and gradients equal PyTorch's."""
    weight, bias = 1 + 0.5 * random_tensor(8, seed=1), random_tensor(8, seed=2)
    x = 2 * random_tensor(3, 5, 8, seed=3) + 1
    result = _norm(mended_norm, x, weight, bias)
    for text, token in ((0, 4), (1, 0), (2, 2)):
        other = x.clone()
        other[text, token] = random_tensor(8, seed=4)
        moved = (_norm(mended_norm, other, weight, bias) - result).abs().amax(
            dim=-1
        ) > 1e-5
        moved[text, token] = False
        if moved[text].any():
            elsewhere = int(moved[text].nonzero()[0])
            fail(
                f"in a batch (B, T, C), changing token {token} of a text changed the "
                f"result at token {elsewhere}: the statistics still run over tokens. "
                "Which axis do they have to run over, and what is its number when "
                "one counts from the end?"
            )
        if moved.any():
            fail(
                "changing a token of one text changed the result in another: the "
                "statistics run over the batch. Every token is normalised by its own "
                "numbers."
            )
    cases = (
        x,
        0.01 * random_tensor(2, 4, 8, seed=5),
        random_tensor(8, seed=6),
        random_tensor(5, 8, seed=7),
        random_tensor(2, 3, 4, 8),
    )
    for x in cases:
        for eps in (1e-5, 0.1):
            result = _norm(mended_norm, x, weight, bias, eps)
            expected = F.layer_norm(x, (8,), weight, bias, eps)
            if torch.allclose(result, expected, rtol=1e-4, atol=1e-5):
                continue
            for diagnosis, wrong in _norms_gone_wrong(x, weight, bias, eps):
                if torch.allclose(result, wrong, rtol=1e-4, atol=1e-5):
                    fail(diagnosis)
            what = f"for x of shape {tuple(x.shape)} and eps = {eps:g}, the result"
            expect_close(
                result,
                expected,
                what,
                "Compare mean, variance, eps, weight and bias one by one.",
            )
    _norm_gradients(mended_norm, random_tensor(2, 3, 8, seed=8), weight, bias)
    passed("changing a token changes the result at that token only")
    passed(
        "equal to nn.LayerNorm for (C), (T, C), (B, T, C) and (B, H, T, C), for "
        "small numbers and another eps"
    )
    passed("its gradients are those of nn.LayerNorm")


def _norm(
    norm: Callable, x: Tensor, weight: Tensor, bias: Tensor, eps: float | None = None
) -> Tensor:
    try:
        result = _unchanged(norm, x, weight, bias, *([] if eps is None else [eps]))
    except CheckFailed as failed:
        if "IndexError" in str(failed):
            fail(
                f"for x of shape {tuple(x.shape)} there is no axis of the number that "
                "you use. The axis of a token's numbers is the last, however many "
                "stand before it."
            )
        raise
    return as_numbers(
        result, tuple(x.shape), f"the result for x of shape {tuple(x.shape)}"
    )


def _norms_gone_wrong(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Iterator[tuple[str, Tensor]]:
    """What known mistakes give, each with its diagnosis."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    normal = centred / (variance + eps).sqrt()
    unbiased = variance * 8 / 7
    yield (
        "the mean is not taken off: this is RMSNorm. LayerNorm takes it off first.",
        x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight + bias,
    )
    correction = (
        "the variance is divided by C − 1, as `var` and `std` do unless they are "
        "told `correction=0`; LayerNorm divides by C."
    )
    yield correction, centred / (unbiased + eps).sqrt() * weight + bias
    yield correction, centred / (unbiased.sqrt() + eps) * weight + bias
    yield (
        "eps is added to the standard deviation. It belongs inside the root, to the "
        "variance; for numbers as small as these that is a difference.",
        centred / (variance.sqrt() + eps) * weight + bias,
    )
    yield (
        "the result is divided by the variance and not by its root.",
        centred / (variance + eps) * weight + bias,
    )
    yield (
        "the mean is taken off, and the result is not divided by anything: the "
        "variance has to become 1.",
        centred * weight + bias,
    )
    yield (
        "the mean is taken off for the variance, and not for the result.",
        x / (variance + eps).sqrt() * weight + bias,
    )
    yield (
        "the numbers of a token are divided by the root of the sum of their squares; "
        "it must be the root of the mean of their squares.",
        F.normalize(centred, dim=-1) * weight + bias,
    )
    yield "weight and bias have changed places.", normal * bias + weight
    yield "weight and bias are not used.", normal
    yield "the bias is not added.", normal * weight
    yield "the weight is not used.", normal + bias
    yield (
        "the bias is added before the weight multiplies; it comes last.",
        (normal + bias) * weight,
    )
    yield (
        "eps has no effect. It is added to the variance, and here it is not the "
        "usual 1e-5.",
        F.layer_norm(x, (8,), weight, bias, 1e-5),
    )
    yield "eps is missing.", centred / variance.sqrt() * weight + bias


def _norm_gradients(norm: Callable, x: Tensor, weight: Tensor, bias: Tensor) -> None:
    ours = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
    theirs = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
    result = call(norm, *ours)
    if not isinstance(result, Tensor):
        fail(
            f"the result is of type {type(result).__name__}, and no gradient can pass "
            "through that. Stay with PyTorch's functions, which give tensors."
        )
    if not result.requires_grad:
        fail(
            "no gradient passes through the result: was it detached, or computed "
            "under `no_grad`?"
        )
    upstream = random_tensor(*x.shape, seed=9)
    result.backward(upstream.to(result.dtype))
    F.layer_norm(theirs[0], (8,), theirs[1], theirs[2]).backward(upstream)
    for name, mine, yours in zip(("x", "weight", "bias"), ours, theirs, strict=True):
        if mine.grad is None:
            fail(f"no gradient reaches {name}: is it used, and not detached?")
        hint = (
            "Mean and variance depend on x too: they must not be detached."
            if name == "x"
            else ""
        )
        expect_close(
            mine.grad, yours.grad, f"the gradient of {name}", hint, tolerance=1e-4
        )


# 6.4


@check
def shape_of(shape_of: Callable[[object], TransformerShape]) -> None:
    """6.4: sizes and, part by part, parameters of models of three families."""
    for name, model in _models():
        shape = _called(shape_of, name, model.config)
        if not isinstance(shape, TransformerShape):
            fail(
                f"for {name} the result should be a TransformerShape, and is of "
                f"type {type(shape).__name__}."
            )
        _compare_sizes(name, shape, model.config)
        counts, real = parameter_counts(shape), _parts(model)
        for part, number in real.items():
            if counts[part] != number:
                excess = counts[part] - number
                fail(
                    f"for {name}, {part} should have {number:,} parameters, and your "
                    f"shape gives {counts[part]:,}. "
                    f"{_why_another_count(part, excess, shape, model.config)}"
                )
    passed(
        "GPT-2, BERT and Llama, small and full size: every part has the model's "
        "number of parameters"
    )
    passed(
        "with tied and untied heads, an inner width that was set, and shared "
        "keys and values"
    )


def _called(shape_of: Callable, name: str, config: object) -> object:
    """The learner's shape; a size that is None is said, which a comparison of sizes
    would stop at.
    """

    def shape_or_size(config: object) -> object:
        try:
            return shape_of(config)
        except TypeError as error:
            unset = getattr(config, "n_inner", 0) is None
            if not (unset and "NoneType" in str(error)):
                raise
            fail(
                f"for {name} a size such as `hidden` is None. GPT-2's configuration "
                "says `n_inner`; where that is None, it is four times the width."
            )

    shape_or_size.__name__ = getattr(shape_of, "__name__", "shape_of")
    return call(shape_or_size, config)


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


def _compare_sizes(name: str, shape: TransformerShape, config: object) -> None:
    """Fail where a plain size is not the configuration's."""
    gpt2 = config.model_type == "gpt2"
    hidden = (config.n_inner or 4 * config.n_embd) if gpt2 else config.intermediate_size
    sizes = {
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "heads": config.num_attention_heads,
        "vocabulary": config.vocab_size,
        "hidden": hidden,
    }
    for size, number in sizes.items():
        if getattr(shape, size) != number:
            hint = (
                " GPT-2's configuration says `n_inner`; where that is None, it "
                "is four times the width."
                if gpt2 and size == "hidden"
                else ""
            )
            fail(
                f"for {name}, `{size}` is {describe(getattr(shape, size))}, and not "
                f"the model's.{hint}"
            )


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
        question = (
            "Does RoPE have a table of positions that was learnt?"
            if config.model_type == "llama"
            else "Which tables, beside the one of tokens, does this model add up for "
            "each token?"
        )
        return f"That is {amount}, or {vectors}. {question}"
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


@check
def fold(fold: Callable[[nn.Linear, Tensor, Tensor | None], nn.Linear]) -> None:
    """6.5: the new map gives for plain numbers what the old gave after the norm."""
    for inputs, outputs, linear_bias, norm_bias in (
        (6, 4, True, True),
        (5, 5, True, True),
        (6, 9, False, True),
        (6, 4, True, False),
        (5, 5, False, False),
    ):
        linear = _linear(inputs, outputs, linear_bias)
        before = {
            name: tensor.detach().clone() for name, tensor in linear.named_parameters()
        }
        gain = 1 + 0.5 * random_tensor(inputs, seed=2)
        bias = random_tensor(inputs, seed=3) if norm_bias else None
        new = _unchanged(fold, linear, gain, bias)
        if any(
            not torch.equal(tensor, before[name])
            for name, tensor in linear.named_parameters()
        ):
            fail(
                "the linear map that was given has changed. Make a new `nn.Linear` "
                "and leave the old one as it is: its matrix may be in use elsewhere."
            )
        if not isinstance(new, nn.Linear):
            fail(
                "the result should be an nn.Linear, and is of type "
                f"{type(new).__name__}."
            )
        if new is linear:
            fail("the result is the linear map that was given, as it was.")
        if new.weight.shape != linear.weight.shape:
            fail(
                f"the new weight has shape {tuple(new.weight.shape)}, and the old "
                f"{tuple(linear.weight.shape)}. nn.Linear takes (inputs, outputs) and "
                "keeps a weight of (outputs, inputs)."
            )
        normal = random_tensor(3, 7, inputs, seed=4)
        expected = F.linear(
            normal * gain + (0 if bias is None else bias),
            before["weight"],
            before.get("bias"),
        )
        result = call(new, normal.to(new.weight.dtype))
        what = (
            f"with{'' if norm_bias else 'out'} a bias in the norm and "
            f"with{'' if linear_bias else 'out'} one in the linear map"
        )
        result = as_numbers(result, (3, 7, outputs), f"{what}, the output")
        if torch.allclose(result, expected, rtol=1e-4, atol=1e-5):
            continue
        for diagnosis, weight, constant in _folds_gone_wrong(before, gain, bias):
            if torch.allclose(
                result, F.linear(normal, weight, constant), rtol=1e-4, atol=1e-5
            ):
                fail(diagnosis)
        expect_close(
            result,
            expected,
            f"{what}, the output",
            "Multiply out W(n · gain + bias) + b: what multiplies n, and what is "
            "constant?",
        )
    passed(
        "the new map gives for plain numbers what the old one gave after gain and bias"
    )
    passed(
        "with and without a norm's bias, and with and without one of its own; "
        "the old map is untouched"
    )


def _linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    with torch.random.fork_rng():  # the learner's random numbers are left alone
        linear = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        linear.weight.copy_(random_tensor(outputs, inputs, seed=5))
        if bias:
            linear.bias.copy_(random_tensor(outputs, seed=6))
    return linear


def _folds_gone_wrong(
    before: dict[str, Tensor], gain: Tensor, bias: Tensor | None
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Known mistakes: a diagnosis, the weight and the bias that they give."""
    weight, own = before["weight"], before.get("bias")
    square = weight.size(0) == weight.size(1)
    scaled, zero = weight * gain, torch.zeros(weight.size(0))
    moved = zero if bias is None else weight @ bias
    right = (zero if own is None else own) + moved
    yield "the gain is divided out; it has to be multiplied in.", weight / gain, right
    if square:
        yield (
            "the gain multiplies the rows of the weight, which are its outputs. It "
            "belongs to the inputs: column c of the weight (outputs, inputs) meets "
            "number c of the norm.",
            weight * gain[:, None],
            right,
        )
    yield "the gain is not in the new weight.", weight, right
    yield "the gain is multiplied into the new weight twice.", scaled * gain, right
    if own is not None:
        yield "the linear map's own bias is lost.", scaled, moved
    if bias is None:
        return
    missing = (
        "the norm's bias is lost: it passes through the linear map too, as a constant."
    )
    yield missing, scaled, own
    yield missing + " And so is the linear map's own.", scaled, None
    twice = (
        "the norm's bias is multiplied by the gain as well, on its way through the "
        "new weight. It is added after the gain."
    )
    yield twice, scaled, (zero if own is None else own) + scaled @ bias
    yield twice + " And the linear map's own bias is lost.", scaled, scaled @ bias
    if square:
        yield (
            "the norm's bias is added as it is, after the linear map. It was added "
            "before: what has the map made of it?",
            scaled,
            (zero if own is None else own) + bias,
        )
        yield (
            "the norm's bias goes through the transposed weight: for each "
            "output, sum over the inputs.",
            scaled,
            (zero if own is None else own) + weight.mT @ bias,
        )


# 6.6

_GROWTHS = ("constant", "linear", "exponential")


@check
def growth(pre_norm: str, post_norm: str, no_norm: str) -> None:
    """6.6: how the stream's variance grows with depth, measured on random sublayers."""
    answers = {"pre_norm": pre_norm, "post_norm": post_norm, "no_norm": no_norm}
    for name, said in answers.items():
        written(said, f"`{name}`")
    questions = {
        "pre_norm": (
            "A sublayer reads the stream through a norm, so what it adds has the same "
            "size at every depth. What becomes of a sum to which the same is added "
            "again and again?"
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
    for name, said in answers.items():
        if not isinstance(said, str) or said not in _GROWTHS:
            fail(
                f"{describe(said)} is not one of the three answers; they are "
                "'constant', 'linear' and 'exponential'."
            )
        at_20, at_40 = _variance(name, 20), _variance(name, 40)
        true = (
            "constant"
            if at_40 < 1.3 * at_20
            else "linear"
            if at_40 < 3 * at_20
            else "exponential"
        )
        if said != true:
            fail(
                f"`{name}` is not {said!r}: with random sublayers the variance is "
                f"{at_20:,.3g} after 20 of them and {at_40:,.3g} after 40. "
                f"{questions[name]}"
            )
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


@check
def shrink_outputs(shrink_outputs: Callable[[nn.ModuleList], object]) -> None:
    """6.6: which matrices have shrunk, by which factor, and nothing else."""

    @functools.wraps(shrink_outputs if callable(shrink_outputs) else passed)
    def run(layers: nn.ModuleList) -> bool:
        shrink_outputs(layers)
        return True  # a function that works in place need not return anything

    written(shrink_outputs, "the answer")
    for depth in (6, 2, 1):
        with torch.random.fork_rng():  # the learner's random numbers are left alone
            torch.manual_seed(0)
            layers = nn.ModuleList(_Layer(12, 2) for _ in range(depth))
        before = {
            name: tensor.detach().clone() for name, tensor in layers.named_parameters()
        }
        call(run if callable(shrink_outputs) else shrink_outputs, layers)
        if {name for name, _ in layers.named_parameters()} != before.keys():
            fail(
                "the layers have other parameters than before. Change the "
                "numbers of those that are there."
            )
        factors: dict[str, list[float]] = {
            "attention.output": [],
            "feed_forward.down": [],
        }
        for name, tensor in layers.named_parameters():
            old, new = before[name], tensor.detach()
            part = name.split(".", 1)[1].removesuffix(".weight")
            if part not in factors:
                if not torch.equal(old, new):
                    fail(
                        f"`{part}` has changed too. Only what is added to the stream "
                        "should become smaller: the last matrix of each of the two "
                        "sublayers."
                    )
                continue
            factor = float((old * new).sum() / old.square().sum())
            if not torch.allclose(new, factor * old, atol=1e-6):
                fail(
                    f"`{part}.weight` is no multiple of what it was. Multiply the "
                    "numbers that are there, all by the same factor."
                )
            factors[part].append(factor)
        _compare_factors(factors, depth)
    passed("the last matrices of both sublayers, and nothing else, are smaller")
    passed(
        "by a factor that makes 12, 4 and 2 additions bring as much variance as "
        "the embeddings did"
    )


def _compare_factors(factors: dict[str, list[float]], depth: int) -> None:
    """Fail unless the factors make 2 L additions sum to a variance of one."""

    def is_near(a: float, b: float) -> bool:
        return math.isclose(a, b, rel_tol=1e-3)

    for part, values in factors.items():
        if all(is_near(value, 1.0) for value in values):
            fail(
                f"with {depth} layers, `{part}.weight` is what it was. Is it "
                "changed in place?"
            )
        if not all(is_near(value, values[0]) for value in values):
            fail(
                f"with {depth} layers, `{part}.weight` is multiplied by "
                f"{values[0]:.3f} in the first and by {values[-1]:.3f} in the last. "
                "Every sublayer should bring the same share."
            )
    if not is_near(factors["attention.output"][0], factors["feed_forward.down"][0]):
        fail(
            "the two sublayers of a layer are multiplied by different factors. "
            "Both add to the same stream."
        )
    factor = factors["attention.output"][0]
    if factor < 0:
        fail(
            f"with {depth} layers, the factor is {factor:.3f}. The numbers should "
            "become smaller, and keep their sign."
        )
    if is_near(factor, (2 * depth) ** -0.5):
        return
    if depth > 1:  # for a single layer, some of these factors are equal
        known = {
            depth**-0.5: (
                "The square of it is one in the number of layers; how often does a "
                "layer add to the stream?"
            ),
            1 / (2 * depth): (
                "With it the sum has a variance of 1/(2L): a factor on the numbers is "
                "a factor squared on the variance."
            ),
            1 / depth: (
                "A factor on the numbers is a factor squared on the variance, and a "
                "layer adds more than once."
            ),
            (2 * depth) ** 0.5: "The numbers became larger.",
            (2 * depth + 1)
            ** -0.5: "The embeddings' own variance need not be shared out.",
        }
        for value, diagnosis in known.items():
            if is_near(factor, value):
                fail(f"with {depth} layers, the factor is {factor:.3f}. {diagnosis}")
    if depth == 1 and is_near(factor, 0.5):
        fail(
            "with 1 layer, the factor is 0.500, and two additions of variance 1 "
            "become two of 0.25: together half of what the embeddings brought. A "
            "factor on the numbers is a factor squared on the variance."
        )
    total = 2 * depth * factor**2
    fail(
        f"with {depth} layers, the factor is {factor:.3f}: {2 * depth} additions of "
        f"variance 1 then bring {total:.2f} in all, and should bring 1."
    )


# 6.7


@check
def mended_to_halves(mended_to_halves: Callable[[Tensor, int], Tensor]) -> None:
    """6.7: rows keep their numbers, pairs stay together, scores stay equal."""
    for heads, head_width, inputs in (
        (3, 6, 7),
        (2, 8, 16),
        (1, 8, 5),
        (1, 2, 3),
        (2, 4, 8),
        (2, 64, 32),
    ):
        rows = heads * head_width
        what = f"for {heads} head{'s' if heads > 1 else ''} of {head_width} numbers"
        weight = random_tensor(rows, inputs, seed=heads)
        result = _unchanged(mended_to_halves, weight, heads)
        result = as_numbers(result, (rows, inputs), f"{what}, the result")
        _compare_rows(result, weight, heads, what)
        bias = random_tensor(rows, seed=7)
        try:
            moved = _unchanged(mended_to_halves, bias, heads)
        except CheckFailed as failed:
            if "stopped with" in str(failed):
                fail(
                    f"{str(failed).removeprefix('Not yet: ')} A bias (H·D) has the "
                    "same rows as its weight, and no columns."
                )
            raise
        moved = as_numbers(moved, (rows,), f"{what}, the result for a bias")
        expect_close(
            moved,
            bias[_order(heads, head_width)],
            f"{what}, the result for a bias",
            "It moves as rows do.",
        )
    x, positions = random_tensor(7, 12, seed=8), torch.arange(7) + 3
    for query_heads, key_heads, head_width in ((4, 2, 8), (3, 1, 64)):
        query = random_tensor(query_heads * head_width, 12, seed=9)
        key = random_tensor(key_heads * head_width, 12, seed=10)
        theirs = _scores(x, query, key, query_heads, key_heads, positions, _neighbours)
        query = as_numbers(
            call(mended_to_halves, query, query_heads),
            tuple(query.shape),
            "the queries' weight",
        )
        key = as_numbers(
            call(mended_to_halves, key, key_heads), tuple(key.shape), "the keys' weight"
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


def _order(heads: int, head_width: int) -> Tensor:
    """The old row for each new one: of every head the even ones, then the odd ones."""
    rows = torch.arange(heads * head_width).view(heads, head_width)
    return torch.cat([rows[:, 0::2], rows[:, 1::2]], dim=1).flatten()


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


def _compare_rows(result: Tensor, weight: Tensor, heads: int, what: str) -> None:
    """Fail, with the mistake's name, unless the rows stand in the new order."""
    rows = len(weight)
    head_width = rows // heads
    wanted = _order(heads, head_width)
    if torch.allclose(result, weight[wanted], atol=1e-6):
        return
    same = (result[:, None] - weight).abs().amax(dim=-1) < 1e-6  # (new, old)
    if not (same.any(dim=0).all() and same.any(dim=1).all()):
        if torch.allclose(result.sum(dim=-1), weight.sum(dim=-1), atol=1e-4):
            fail(
                f"{what}, the numbers within a row have changed places. A row makes "
                "one number of the query; the columns are what it is made of, and "
                "stay where they are."
            )
        fail(
            f"{what}, the result has rows that the weight did not have. A row is kept "
            "whole: only the first axis is cut and put in another order."
        )
    order = same.float().argmax(dim=1)
    diagnoses = {
        "the rows are where they were: a transpose is missing, or it was undone.": (
            torch.arange(rows)
        ),
        "the rows move the wrong way: number i and i + D/2 become neighbours. Here "
        "neighbours, 2i and 2i + 1, must be taken apart. (With four numbers both "
        "ways are the same.)": wanted.argsort(),
        "the pairs are taken apart over the whole width, as if there were one "
        "head: numbers of different heads come together. Cut the rows into "
        "heads first.": _order(1, rows),
        "the second number of each pair stands in the first half, and the first in "
        "the second. That turns every pair the other way.": (
            torch.arange(rows).view(heads, -1, 2).flip(2).transpose(1, 2).flatten()
        ),
    }
    for diagnosis, wrong in diagnoses.items():
        if torch.equal(order, wrong):
            fail(f"{what}, {diagnosis}")
    first, second = order[0].item(), order[head_width // 2].item()
    fail(
        f"{what}, rows 0 and {head_width // 2} of the result were rows {first} and "
        f"{second}. RoPE turns rows i and i + D/2 of a head together, so these two "
        "must have been the neighbours 2i and 2i + 1 of that head."
    )
