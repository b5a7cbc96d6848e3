"""Checks of chapter 07, the Transformer.

- `reach(source_to_memory, source_to_output, target_to_memory, target_to_output)`: 7.1,
  who can see whom
- `bugs(no_causal_mask, …, cross_sees_padding)`: 7.1, which of the four matrices shows
  which bug
- `parameters(parameters)`: 7.2, how many numbers the paper's model has
- `mended_backward(mended_backward)`: 7.3, one step cut into several batches
- `filter_min_p(filter_min_p)`: 7.4, tokens that are improbable beside the most probable
  one
- `most_likely(most_likely)`: 7.5, the most probable sentence of all
- `mended_extend(mended_extend)`: 7.6, a cache fed one token or several at a time
- `speculative_choice(speculative_choice)`: 7.7, keep a drafted token or draw another
"""

import functools
import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from finetuning.checks.cases import LEADING, normal, scaled_rows
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import (
    as_number,
    call,
    check,
    describe,
    expect_shape,
    fail,
    name_of,
    outcome,
    passed,
    random_tensor,
    told_as,
    written,
)
from finetuning.checks.randomness import FALSE_ALARM, expect_independent
from finetuning.checks.state import GlobalState, Snapshot
from finetuning.checks.task import Case, Mistake, Task
from finetuning.scratch.attention import (
    MultiHeadAttention,
    causal_mask,
    merge_heads,
    split_heads,
)
from finetuning.scratch.layers import sinusoidal_positions

__all__ = [
    "bugs",
    "filter_min_p",
    "mended_backward",
    "mended_extend",
    "most_likely",
    "parameters",
    "reach",
    "speculative_choice",
]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _tensor(value: Any, what: str) -> Tensor:
    """The learner's result, a list, array or tensor, as a detached tensor."""
    written(value, what)
    try:
        if isinstance(value, (list, tuple)) and any(
            isinstance(row, Tensor) for row in value
        ):
            return torch.stack([torch.as_tensor(row) for row in value]).detach()
        return torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError):
        fail(
            f"{what} should be made of numbers, and is of type {type(value).__name__}."
        )


# 7.1

_SOURCE, _TARGET = 4, 3  # places; the last of the source is padding
_ROWS = {"memory": _SOURCE, "output": _TARGET}
_COLUMNS = {"source": _SOURCE, "target": _TARGET}
_MATRICES = (
    "source_to_memory",
    "source_to_output",
    "target_to_memory",
    "target_to_output",
)


class _TwoStacks:
    """PyTorch's encoder and decoder, two layers each; masks can be forgotten."""

    def __init__(self) -> None:
        sizes = {
            "d_model": 8,
            "nhead": 2,
            "dim_feedforward": 16,
            "dropout": 0.0,
            "batch_first": True,
        }
        self.encoder = [nn.TransformerEncoderLayer(**sizes) for _ in range(2)]
        self.decoder = [nn.TransformerDecoderLayer(**sizes) for _ in range(2)]

    def __call__(
        self,
        source: Tensor,
        target: Tensor,
        no_causal_mask: bool = False,
        causal_encoder: bool = False,
        encoder_sees_padding: bool = False,
        cross_sees_padding: bool = False,
    ) -> dict[str, Tensor]:
        padding = (
            torch.arange(_SOURCE)[None] == _SOURCE - 1
        )  # (1, S), True where hidden, as PyTorch wants it
        memory, output = source, target
        for layer in self.encoder:
            memory = layer(
                memory,
                src_mask=~causal_mask(_SOURCE) if causal_encoder else None,
                src_key_padding_mask=None if encoder_sees_padding else padding,
            )
        for layer in self.decoder:
            output = layer(
                output,
                memory,
                tgt_mask=None if no_causal_mask else ~causal_mask(_TARGET),
                memory_key_padding_mask=None if cross_sees_padding else padding,
            )
        return {"memory": memory[0], "output": output[0]}


def _reach_of(**bug: bool) -> dict[str, Tensor]:
    """The four boolean matrices, measured: what moves when a place's vector changes."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = _TwoStacks()
        inputs = {
            "source": random_tensor(1, _SOURCE, 8, seed=1),
            "target": random_tensor(1, _TARGET, 8, seed=2),
        }
        before = model(**inputs, **bug)
        found = {}
        for changed, watched in itertools.product(_COLUMNS, _ROWS):
            columns = []
            for place in range(_COLUMNS[changed]):
                other = {name: x.clone() for name, x in inputs.items()}
                other[changed][0, place] = random_tensor(8, seed=3 + place)
                after = model(**other, **bug)
                columns.append(
                    (after[watched] - before[watched]).abs().amax(dim=-1) > 1e-6
                )
            found[f"{changed}_to_{watched}"] = torch.stack(columns, dim=1)
    return found


def _why_not(name: str, row: int, column: int) -> str:
    """A question that leads on, for one wrong entry of one matrix."""
    padding = _SOURCE - 1
    if name == "target_to_memory":
        return "When is the memory computed, and what of the target is there by then?"
    if name == "target_to_output":
        if column > row:
            return (
                "In training all target tokens lie there at once. What keeps a row "
                "from reading what it is to say?"
            )
        if column == row:
            return (
                "Row t of the output predicts the token after input t. Is input t "
                "itself among what it may read?"
            )
        return (
            "A translation must go on from everything it has said so far, not only "
            "from the last token."
        )
    if column == padding and row == padding and name == "source_to_memory":
        return (
            "Padding may not be looked at by others. What does its own row start "
            "from, though: from whose vector come its query and its residual?"
        )
    if column == padding:
        return (
            "The last source place is padding. Which mask keeps others from looking "
            "at it?"
        )
    if row == padding and name == "source_to_memory":
        return (
            "A padding mask empties columns. Does it keep the padding's own row from "
            "looking at real tokens?"
        )
    if name == "source_to_memory" and column > row:
        return (
            "The source is there as a whole before anything is said. Does the "
            "encoder need a causal mask?"
        )
    if name == "source_to_memory":
        return "To which places does a token of the encoder look?"
    return (
        "Is there a source token that the decoder may not see before it speaks? The "
        "mask of cross-attention hides padding alone."
    )


@check
def reach(
    source_to_memory: Any,
    source_to_output: Any,
    target_to_memory: Any,
    target_to_output: Any,
) -> None:
    """7.1: four predicted matrices against what moves in an encoder and decoder."""
    answers = (source_to_memory, source_to_output, target_to_memory, target_to_output)
    said_of = dict(zip(_MATRICES, answers, strict=True))
    for name, said in said_of.items():
        written(said, f"`{name}`")
    true_of = _reach_of()
    for name, said in said_of.items():
        changed, watched = name.split("_to_")
        said = _tensor(said, f"`{name}`")
        shape = (_ROWS[watched], _COLUMNS[changed])
        if said.shape != shape:
            turned = (
                " Rows and columns have changed places."
                if tuple(reversed(said.shape)) == shape
                else ""
            )
            fail(
                f"`{name}` has shape {tuple(said.shape)} and should be {shape}: a row "
                f"for each of the {_ROWS[watched]} places of the {watched}, a column "
                f"for each of the {_COLUMNS[changed]} of the {changed}.{turned}"
            )
        if not ((said == 0) | (said == 1)).all():
            fail(
                f"`{name}` may hold 0 and 1 alone: 1 where the row of the "
                f"{watched} moves."
            )
        said = said.bool()
        if torch.equal(said, true_of[name]):
            continue
        if shape[0] == shape[1] and torch.equal(said.mT, true_of[name]):
            fail(
                f"`{name}`: rows and columns have changed places. A row says by whom "
                f"one place of the {watched} is moved; a column, whom one place of "
                f"the {changed} moves."
            )
        row, column = (said != true_of[name]).nonzero()[0].tolist()
        fail(
            f"`{name}`, row {row}, column {column}: you say that changing place "
            f"{column} of the {changed} "
            f"{'moves' if said[row, column] else 'does not move'} row {row} of the "
            f"{watched}. {_why_not(name, row, column)}"
        )
    passed(
        "all four matrices agree with what moves in an encoder and a decoder of "
        "two layers each"
    )


# for each bug: a question for each matrix that may be forgotten or named in vain
_BUGS = {
    "no_causal_mask": {
        "target_to_output": (
            "Which of the four would be all ones without a causal mask?"
        ),
    },
    "causal_encoder": {
        "source_to_memory": (
            "With a causal mask, row 0 of the memory no longer sees source place 2. "
            "Which matrix says so?"
        ),
        "source_to_output": (
            "The decoder reads all real rows of the memory, the last of them too. Is "
            "there a real source token that not one of these rows has seen?"
        ),
    },
    "encoder_sees_padding": {
        "source_to_memory": (
            "The padding now gets into other rows of the memory. Which matrix says so?"
        ),
        "source_to_output": (
            "The padding is in the memory's real rows now. Who reads those, and does "
            "cross-attention's mask help against it?"
        ),
    },
    "cross_sees_padding": {
        "source_to_output": (
            "The decoder now looks at the padding's row of the memory. What has that "
            "row seen of the padding?"
        ),
        "source_to_memory": (
            "Cross-attention comes after the encoder. Can it change what the memory "
            "holds?"
        ),
    },
}


@check
def bugs(
    no_causal_mask: Any,
    causal_encoder: Any,
    encoder_sees_padding: Any,
    cross_sees_padding: Any,
) -> None:
    """7.1: for each of four bugs the matrices that it changes, against what it does."""
    answers = (no_causal_mask, causal_encoder, encoder_sees_padding, cross_sees_padding)
    said_of = dict(zip(_BUGS, answers, strict=True))
    for bug, said in said_of.items():
        written(said, f"`{bug}`")
    healthy = _reach_of()
    for bug, said in said_of.items():
        try:
            said = {said} if isinstance(said, str) else set(said)
        except TypeError:
            fail(
                f"`{bug}` should be a set of names, and is of type "
                f"{type(said).__name__}."
            )
        unknown = sorted(map(str, said - set(_MATRICES)))
        if unknown:
            fail(
                f"`{bug}` names {unknown[0]!r}; the four names are "
                f"{', '.join(_MATRICES)}."
            )
        ill = _reach_of(**{bug: True})
        true = {name for name in _MATRICES if not torch.equal(ill[name], healthy[name])}
        for name in [*sorted(said - true), *sorted(true - said)]:
            effect = (
                f"changes `{name}`" if name in said else f"leaves `{name}` as it is"
            )
            question = _BUGS[bug].get(name)
            if question is None:
                question = (
                    "The encoder never sees the target."
                    if name == "target_to_memory"
                    else "This bug touches the other input only."
                )
            fail(f"you say that `{bug}` {effect}. {question}")
    passed("all four bugs show where you said, and nowhere else")


# 7.2

_SHAPES = (  # V, C, H, F, L
    (11, 8, 2, 30, 1),
    (50, 12, 3, 20, 2),
    (37_000, 512, 8, 2048, 6),
)


@functools.cache
def _true_parameters(
    vocabulary: int, width: int, heads: int, hidden: int, layers: int
) -> int:
    """Counted in PyTorch's own layers, which hold no memory on the device "meta"."""
    one = [
        kind(width, heads, hidden, device="meta")
        for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    ]
    return vocabulary * width + layers * sum(
        p.numel() for layer in one for p in layer.parameters()
    )


def _off_by(V: int, C: int, H: int, F: int, L: int) -> dict[str, int]:
    """How far off each mistake makes the count, by its diagnosis."""
    attention, norm = 4 * (C * C + C), 2 * C
    feed_forward = 2 * C * F + F + C
    encoder, decoder = (
        attention + feed_forward + 2 * norm,
        2 * attention + feed_forward + 3 * norm,
    )
    return {
        "the vocabulary's matrix is counted twice, though it is one, used in "
        "three places": V * C,
        "the vocabulary's matrix is counted three times, though it is one, used "
        "in three places": 2 * V * C,
        "the vocabulary's matrix is missing": -V * C,
        "the output has a bias for each token, and the tied matrix comes without "
        "one": V,
        "that is 12 · C for each layer, as many as the biases of all attention maps "
        "have, or six normalisations": -12 * C * L,
        "the biases of the feed-forward are missing": -2 * (F + C) * L,
        "all biases of the linear maps are missing": -(12 * C + 2 * (F + C)) * L,
        "the normalisations are missing": -5 * norm * L,
        "a normalisation is counted with one vector, and has a gain and a bias": (
            -5 * C * L
        ),
        "that is 2 · C for each layer: one normalisation of an encoder's or a "
        "decoder's layer, or the feed-forward's last bias in both": -norm * L,
        "that is 6 · C for each layer, three of the five normalisations of the two "
        "stacks": -3 * norm * L,
        "there is a normalisation after each stack, which the paper's model does "
        "not have": 2 * norm,
        "one of three attentions is missing: the encoder's layers have one, and the "
        "decoder's two": -attention * L,
        "cross-attention and its normalisation are missing": -(attention + norm) * L,
        "attention has four matrices, the one after the heads included": (
            -3 * (C * C + C) * L
        ),
        "each head is counted with whole matrices; heads divide the width": (
            3 * L * attention * (H - 1)
        ),
        "the maps to queries, keys and values are counted for one head alone": (
            -9 * L * (C + 1) * (C - C // H)
        ),
        "the feed-forward has two matrices": -2 * L * C * F,
        "the decoder is missing": -L * decoder,
        "the encoder is missing": -L * encoder,
        "this is one layer of each stack": (1 - L) * (encoder + decoder),
        "sinusoids are computed, not learnt": 512 * C,
        "the feed-forward's width is an argument of its own, and need not be 4 · C": (
            2 * L * (8 * C * C + 4 * C - 2 * C * F - F)
        ),
    }


def _with(mistake: str) -> Callable[..., int]:
    """The count with one mistake."""

    def parameters(
        vocabulary: int, width: int, heads: int, hidden: int, layers: int
    ) -> int:
        sizes = (vocabulary, width, heads, hidden, layers)
        return _true_parameters(*sizes) + _off_by(*sizes)[mistake]

    return parameters


def _too_many(found: Any, expected: int, case: Case) -> str | None:
    """How far off a count is."""
    number = as_number(found, "the count")
    if number == expected:
        return None
    if not math.isfinite(number):
        return f"the count is {number}, and no such number can come out here."
    excess = number - expected
    return f"the count is {abs(excess):,.12g} too {'high' if excess > 0 else 'low'}."


_PARAMETERS = Task(
    _true_parameters,
    lambda: [
        Case(
            f"for V = {V}, C = {C}, H = {H}, F = {hidden}, L = {L}",
            (V, C, H, hidden, L),
        )
        for V, C, H, hidden, L in _SHAPES
    ],
    [
        Mistake(f"{mistake[0].upper()}{mistake[1:]}.", _with(mistake))
        for mistake in _off_by(*_SHAPES[0])
    ],
    compare=_too_many,
)


@check
def parameters(parameters: Callable[[int, int, int, int, int], int]) -> None:
    """7.2: the count for three shapes against PyTorch's layers."""
    _PARAMETERS.check(parameters)
    passed(
        "equal to PyTorch's layers and one matrix of the vocabulary, for three shapes"
    )


# 7.3

_PADDING = 0


class _Toy(nn.Module):
    """Logits (B, T, V) from source (B, S) and inputs (B, T); whether gradients came."""

    def __init__(self, vocabulary: int = 9, width: int = 4) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.source = nn.Embedding(vocabulary, width)
            self.target = nn.Embedding(vocabulary, width)
            self.output = nn.Linear(width, vocabulary)
        self.calls = self.answered = self.widest = 0
        self.late = False

    def forward(self, source: Tensor, inputs: Tensor) -> Tensor:
        real = (source != _PADDING)[..., None].to(self.output.weight.dtype)
        meant = (self.source(source) * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        logits = self.output(self.target(inputs) + meant[:, None])
        self.widest = max(self.widest, len(inputs))
        if logits.requires_grad:
            self.late |= self.calls > self.answered
            self.calls += 1
            logits.register_hook(self._answer)
        return logits

    def _answer(self, gradient: Tensor) -> None:
        self.answered += 1


_SENTENCES = [  # (source, labels)
    ([3, 4], [5, 6, 2]),
    ([3], [7, 2]),
    ([8, 4, 4], [5, 6, 7, 7, 5, 2]),
    ([6], [2]),
    ([7, 7], [6, 6, 6, 5, 2]),
    ([5, 3, 8], [8, 4, 2]),
]


def _batch(
    sentences: Sequence[tuple[list[int], list[int]]], wider: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Source, decoder inputs and labels, padded right, `wider` places too many."""

    def padded(rows: list[list[int]]) -> Tensor:
        length = max(map(len, rows)) + wider
        return torch.tensor([row + [_PADDING] * (length - len(row)) for row in rows])

    labels = [labels for _, labels in sentences]
    return (
        padded([source for source, _ in sentences]),
        padded([[1, *row[:-1]] for row in labels]),
        padded(labels),
    )


def _moved(batch: tuple[Tensor, ...], shift: int) -> tuple[Tensor, ...]:
    """A batch whose inputs and labels are turned, so that padding stands elsewhere."""
    source, inputs, labels = batch
    return source, inputs.roll(shift, dims=1), labels.roll(shift, dims=1)


def _cuts() -> dict[str, list[tuple[Tensor, Tensor, Tensor]]]:
    """Ways to cut sentences into batches."""
    nothing = _batch([([3], [0]), ([4], [0])])
    return {
        "for one batch without padding": [_batch([_SENTENCES[0], _SENTENCES[5]])],
        "for one batch of sentences of different length": [_batch(_SENTENCES[:3])],
        "for six sentences in three batches": [
            _batch(_SENTENCES[:1]),
            _batch(_SENTENCES[1:3]),
            _batch(_SENTENCES[3:]),
        ],
        "for six sentences in six batches": [_batch([one]) for one in _SENTENCES],
        "for the same, two places wider than needed": [
            _batch([one], wider=2) for one in _SENTENCES
        ],
        "with padding on the left": [
            _moved(_batch(_SENTENCES[1:2], wider=3), 3),
            _moved(_batch([_SENTENCES[4], _SENTENCES[4]], wider=1), 1),
        ],
        "with padding between the tokens": [
            _moved(_batch(_SENTENCES[2:4], wider=1), 3),
            _moved(_batch(_SENTENCES[4:], wider=2), -2),
        ],
        "for two batches, one of which is nothing but padding": [
            _batch(_SENTENCES[:3]),
            nothing,
        ],
        "where the first of three batches is nothing but padding": [
            nothing,
            _batch(_SENTENCES[3:5]),
            _batch(_SENTENCES[:1], wider=1),
        ],
    }


def _stepped(mended_backward: Callable) -> Callable:
    """Loss and gradient, in one vector, of a small model."""
    if not callable(mended_backward):
        return mended_backward

    def stepped(batches: list[tuple[Tensor, Tensor, Tensor]]) -> Any:
        model, before = _Toy(), _Toy()
        with told_as(mended_backward, model, batches):
            loss = mended_backward(model, batches)
        pairs = list(zip(model.parameters(), before.parameters(), strict=True))
        if not all(torch.equal(a, b) for a, b in pairs):
            fail(
                "the parameters have changed. Only their gradients should: the step is "
                "taken elsewhere."
            )
        if not model.training:
            fail("the model is in `eval()` mode after the call; it was in `train()`.")
        gradients = [parameter.grad for parameter in model.parameters()]
        if all(gradient is None for gradient in gradients):
            fail(
                "the parameters have no gradient: none was sent back to the model's "
                "logits."
            )
        if any(gradient is None for gradient in gradients):
            fail("some parameters have no gradient, though the loss depends on them.")
        if loss is None:
            return None
        return loss, torch.cat([gradient.flatten() for gradient in gradients])

    stepped.__name__ = name_of(mended_backward)
    return stepped


def _step(
    batches: Sequence[tuple[Tensor, Tensor, Tensor]], how: str = "right"
) -> tuple[float, Tensor]:
    """The loss of a step and its gradient in one vector; `how` makes mistakes."""
    model = _Toy().double()
    parts, means, counts, places, sizes, sentences = [], [], [], [], [], []
    for source, inputs, labels in batches:
        if how == "shifted":
            inputs, labels = inputs[:, :-1], labels[:, 1:]
        ignored = -100 if how.startswith("padded") else _PADDING
        logits = model(source, inputs).flatten(0, 1)
        options = {"ignore_index": ignored}
        each = F.cross_entropy(logits, labels.flatten(), reduction="none", **options)
        parts.append(each.sum())
        means.append(F.cross_entropy(logits, labels.flatten(), **options))
        each = each.view_as(labels).sum(dim=1)
        real = (labels != _PADDING).sum(dim=1).clamp(min=1)
        sentences.append((each / real).sum())
        counts.append(int((labels != ignored).sum()))
        places.append(labels.numel())
        sizes.append(len(labels))

    def weighted(weights: list[int]) -> Tensor:
        pairs = zip(means, weights, strict=True)
        return sum(mean * weight for mean, weight in pairs) / sum(weights)

    loss = {
        "right": lambda: sum(parts) / max(sum(counts), 1),
        "padded, by token": lambda: sum(parts) / sum(counts),
        "padded, mean of means": lambda: sum(means) / len(means),
        "mean of means": lambda: sum(means) / len(means),
        "sum of means": lambda: sum(means),
        "by tokens": lambda: weighted(counts),
        "by sentence": lambda: weighted(sizes),
        "sum by sentence": lambda: sum(parts) / sum(sizes),
        "each sentence": lambda: sum(sentences) / sum(sizes),
        "shifted": lambda: sum(parts) / max(sum(counts), 1),
        "by place": lambda: sum(parts) / sum(places),
        "sum": lambda: sum(parts),
        "sum by batch": lambda: sum(parts) / len(parts),
        "last": lambda: parts[-1] / max(sum(counts), 1),
        "last alone": lambda: means[-1],
    }[how]()
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    return float(loss.detach()), gradient


_PADDED = (
    "Padding counts: places where the label is `PADDING` add to the loss, and to the "
    "number that it is divided by."
)
_STEPS = {
    "padded, by token": _PADDED,
    "padded, mean of means": _PADDED,
    "mean of means": (
        "This is the mean of the batches' means. A batch with few real tokens counts "
        "as much as one with many, so a token's share depends on how the sentences "
        "were cut."
    ),
    "sum of means": (
        "The means of the batches are added up: with more batches the gradient gets "
        "longer."
    ),
    "by tokens": (
        "The mean over no tokens at all divides zero by zero, and that times zero is "
        "NaN; a sum over no tokens is 0."
    ),
    "by sentence": (
        "The batches' means are weighted by how many sentences each has. Sentences "
        "differ in length; what counts are tokens."
    ),
    "sum by sentence": (
        "The sum over the tokens is divided by the number of sentences, and not of "
        "tokens."
    ),
    "each sentence": (
        "This is the mean of the sentences' means: a token of a short sentence counts "
        "for more than one of a long sentence."
    ),
    "shifted": "The labels are one place off: they had been shifted already.",
    "by place": (
        "Padding no longer adds to the sum, but it is still counted in what the sum is "
        "divided by."
    ),
    "sum": (
        "This is the sum over the tokens. It must be divided by how many there are, or "
        "a longer batch takes a longer step."
    ),
    "sum by batch": (
        "The sum over the tokens is divided by the number of batches, and not of "
        "tokens."
    ),
    "last": "Only the last batch counts.",
    "last alone": "Only the last batch counts.",
}
_PARTLY = {  # of the loss and of the gradient
    ("right", "last"): "The loss is right. Only the last batch's gradient is left.",
    ("last", "right"): (
        "The gradient is right, and only the last batch is in the loss that is "
        "returned."
    ),
    ("last alone", "right"): (
        "The gradient is right, and only the last batch is in the loss that is "
        "returned."
    ),
    ("sum", "right"): (
        "The gradient is right, and the loss that is returned is still to be divided "
        "by the number of tokens."
    ),
    ("mean of means", "right"): (
        "The gradient is right, and the loss that is returned is the mean of the "
        "batches' means."
    ),
    ("right", "sum"): (
        "The loss is right, and `backward` is called before it is divided by the "
        "number of tokens."
    ),
    ("right", "mean of means"): (
        "The loss is right, and the gradient is that of the mean of the batches' means."
    ),
}


def _stepped_as(of_loss: str, of_gradient: str) -> Callable:
    def stepped(batches: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[float, Tensor]:
        return _step(batches, of_loss)[0], _step(batches, of_gradient)[1]

    return stepped


_BACKWARD = Task(
    _step,
    lambda: [Case(what, (batches,)) for what, batches in _cuts().items()],
    [
        *(Mistake(said, _stepped_as(how, how)) for how, said in _STEPS.items()),
        *(Mistake(said, _stepped_as(*how)) for how, said in _PARTLY.items()),
    ],
    result=("the loss", "the gradient"),
    tolerance=Tolerance(1e-4),
)


def _one_at_a_time(mended_backward: Callable) -> None:
    """Fail where more than a batch is in memory, or `backward` runs more often."""
    for cut, batches in _cuts().items():
        model = _Toy()
        call(mended_backward, model, batches)
        if model.widest > max(len(labels) for *_, labels in batches):
            fail(
                f"{cut}, loss and gradient are right, but the model was given more "
                "sentences at a time than the largest batch has: they were joined, and "
                "what does not fit into memory will not."
            )
        if model.late:
            fail(
                f"{cut}, loss and gradient are right, but a batch was computed before "
                "`backward` had run for the one before it: all of them are held in "
                "memory at once, which small batches are meant to avoid. Call "
                "`backward` once for each batch."
            )
        if model.answered > len(batches):
            fail(
                f"{cut}, loss and gradient are right, and `backward` went through the "
                f"model {model.answered} times; the batches were {len(batches)}, and "
                "once for each is asked for."
            )


@check
def mended_backward(mended_backward: Callable[[nn.Module, list], float]) -> None:
    """7.3: loss and gradient for ways to cut six sentences, against a single pass."""
    written(mended_backward, "the answer")
    _BACKWARD.check(_stepped(mended_backward))
    passed("padding counts nothing, however much of it there is")
    passed("loss and gradient are the same however the sentences are cut into batches")
    _one_at_a_time(mended_backward)
    passed("no more than one batch is in memory at a time")


# 7.4


def _parted(filter_min_p: Callable) -> Callable:
    """Which tokens stay, and the logits, with 0 for −inf: both can be compared."""
    if not callable(filter_min_p):
        return filter_min_p

    @functools.wraps(filter_min_p)
    def parted(logits: Tensor, min_p: float) -> Any:
        shape = logits.shape
        result = filter_min_p(logits, min_p)
        if isinstance(result, tuple):  # such a pair as is made here, it is not
            return list(result)
        if isinstance(result, np.ndarray):
            result = torch.as_tensor(result)
        if not isinstance(result, Tensor) or result.shape != shape:
            return result
        if not result.is_floating_point():
            return result
        stays = result != -math.inf
        return stays, torch.where(stays, result, torch.zeros_like(result))

    return parted


def _kept(form: Callable[..., Tensor], other: float = -math.inf) -> Callable:
    """A filter that keeps what `form` says of probabilities, the largest, and min-p."""

    def filter_min_p(logits: Tensor, min_p: float) -> Tensor:
        probabilities = logits.softmax(dim=-1)
        stays = form(probabilities, probabilities.amax(dim=-1, keepdim=True), min_p)
        return torch.where(stays, logits, torch.full_like(logits, other))

    return _parted(filter_min_p)


def _returned(form: Callable[[Tensor], Tensor], other: float = -math.inf) -> Callable:
    """A filter that keeps the right tokens, and returns something else for them."""

    def filter_min_p(logits: Tensor, min_p: float) -> Tensor:
        probabilities = logits.softmax(dim=-1)
        stays = probabilities >= min_p * probabilities.amax(dim=-1, keepdim=True)
        return torch.where(stays, form(logits), torch.full_like(logits, other))

    return _parted(filter_min_p)


def _shares_returned(anew: bool, other: float) -> Callable:
    """Probabilities of what stays, shared out anew or not."""

    def filter_min_p(logits: Tensor, min_p: float) -> Tensor:
        shares = logits.softmax(dim=-1)
        stays = shares >= min_p * shares.amax(dim=-1, keepdim=True)
        if anew:
            shares = shares / (shares * stays).sum(dim=-1, keepdim=True)
        return torch.where(stays, shares, torch.full_like(logits, other))

    return filter_min_p


def _exponentials(logits: Tensor, min_p: float) -> Tensor:
    raised = logits.exp()
    shares = raised / raised.sum(dim=-1, keepdim=True)
    stays = shares >= min_p * shares.amax(dim=-1, keepdim=True)
    return torch.where(stays, logits, torch.full_like(logits, -math.inf))


def _by_rows(logits: Tensor, min_p: float) -> Tensor:
    shares = logits.softmax(dim=0)
    hidden = shares < min_p * shares.amax(dim=0, keepdim=True)
    return logits.masked_fill(hidden, -math.inf)


def _factor_of_logits(logits: Tensor, min_p: float) -> Tensor:
    hidden = logits < min_p * logits.amax(dim=-1, keepdim=True)
    return logits.masked_fill(hidden, -math.inf)


def _nucleus(probabilities: Tensor, p: float) -> Tensor:
    """Top-p: the fewest most probable tokens whose probabilities sum to p or more."""
    ordered, places = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    return torch.zeros_like(probabilities, dtype=torch.bool).scatter(
        -1, places, before < p
    )


def _min_p_cases() -> list[Case]:
    sure, open_ = [0.86, 0.06, 0.04, 0.03, 0.01], [0.24, 0.22, 0.2, 0.18, 0.16]
    rows = torch.tensor([sure, open_]).log()
    hand = torch.tensor([0.44, 0.22, 0.17, 0.12, 0.05]).log()
    already = hand.clone()
    already[0] = -math.inf
    holes = 2 * normal(3, 11, seed=9)
    holes[0, 4] = holes[1, 7] = holes[1, 8] = -math.inf
    random = 3 * normal(2, 3, 40, seed=5)
    ties = torch.tensor([[0.0, 2.0, 1.0, 2.0], [3.0, -1.0, 3.0, 3.0]])
    return [
        Case("for the probabilities 0.44, 0.22, 0.17, 0.12, 0.05", (hand, 0.2)),
        Case("for a sure row and an open one", (rows, 0.1)),
        Case("for the same, all logits 7 higher", (rows + 7, 0.1)),
        Case("for the same, all logits 7 lower", (rows - 7, 0.1)),
        *(
            Case(
                f"for random logits of shape {(*axes, 3, 17)}",
                (2.5 * normal(*axes, 3, 17, seed=6 + len(axes)), 0.07),
            )
            for axes in LEADING
        ),
        Case("for 40 logits in each of (2, 3) rows", (random, 0.05)),
        Case("for logits around 1,000", (random + 1000, 0.05)),
        Case("for logits around −1,000", (random - 1000, 0.05)),
        Case(
            "for rows from flat to sharp",
            (scaled_rows(normal(6, 13, seed=8), 1e-2, 1e2), 0.3),
        ),
        Case("for logits of which one was −inf before", (already, 0.2)),
        Case("for rows with some −inf in them", (holes, 0.15)),
        Case("with a `min_p` of 1", (ties, 1.0)),
        Case("with a `min_p` of 1 for one row", (ties[0], 1.0)),
        Case("with a `min_p` of 0", (random, 0.0)),
        Case("with a `min_p` of 0 where −inf stands", (holes, 0.0)),
        Case("for logits of float64", (2 * normal(4, 9, seed=7).double(), 0.4)),
        Case("for a `min_p` of 0.9", (0.1 * normal(2, 12, seed=12), 0.9)),
    ]


def _stays(found: Any, expected: tuple[Tensor, Tensor], case: Case) -> str | None:
    """The first token that stays or goes wrongly, by its share of the largest."""
    logits, min_p = case.arguments
    if not (isinstance(found, tuple) and len(found) == 2):
        return difference(found, torch.where(*expected, -math.inf))
    stays, values = found
    wrong = stays != expected[0]
    if not wrong.any():
        names = ("which tokens stay", "of the logits that stay, one")
        return difference(found, expected, names, floor=logits.dtype)
    place = tuple(wrong.nonzero()[0].tolist())
    if values.isnan().any():
        first = values.isnan().nonzero()[0].tolist()
        return f"the result contains NaN (first at {first})."
    if logits[place] == -math.inf:
        return (
            f"a token whose logit was −inf has {values[place]:.4g} now (at "
            f"{[*place]}): it was filtered before, and has come back."
        )
    probabilities = logits.double().softmax(dim=-1)
    share = float(probabilities[place] / probabilities.amax(dim=-1)[place[:-1]])
    state = f"stays, with a logit of {values[place]:.4g}" if stays[place] else "is gone"
    return (
        f"where `min_p` is {min_p:g}, a token with {share:.3g} of the largest "
        f"probability {state} (at {[*place]})."
    )


_TOP_P = (
    "This is top-p: it adds probabilities up. Min-p compares each with the largest."
)
_PROBABILITIES = (
    "These are probabilities. A filter returns logits, so that another filter can "
    "follow."
)
_MIN_P = Task(
    _kept(lambda p, largest, min_p: p >= min_p * largest),
    _min_p_cases,
    [
        Mistake(
            "A token with exactly `min_p` times the largest probability is gone; at "
            "least means that it stays.",
            _kept(lambda p, largest, min_p: p > min_p * largest),
        ),
        Mistake(
            "The threshold is `min_p` itself, whatever the model thinks. It should be "
            "a share of the probability of the most probable token.",
            _kept(lambda p, largest, min_p: p >= min_p),
        ),
        Mistake(
            "The largest probability was taken over all rows at once. Each row has a "
            "most probable token of its own.",
            _kept(lambda p, largest, min_p: p >= min_p * p.max()),
        ),
        Mistake(
            "What should stay is filtered out, and the other way round.",
            _kept(lambda p, largest, min_p: p < min_p * largest),
        ),
        Mistake(
            "The threshold lies `min_p` below the largest probability; it should be "
            "`min_p` times the largest.",
            _kept(lambda p, largest, min_p: p >= largest - min_p),
        ),
        Mistake(
            "The threshold is 1 − `min_p` times the largest probability; it should be "
            "`min_p` times.",
            _kept(lambda p, largest, min_p: p >= (1 - min_p) * largest),
        ),
        Mistake(_TOP_P, _kept(lambda p, largest, min_p: _nucleus(p, min_p))),
        Mistake(_TOP_P, _kept(lambda p, largest, min_p: _nucleus(p, 1 - min_p))),
        Mistake(
            "Logits are compared with `min_p` times the largest logit. The rule is "
            "about probabilities; a factor there is something else in logits, which "
            "may be negative.",
            _parted(_factor_of_logits),
        ),
        Mistake(
            "The softmax runs over the first axis; it must run over the tokens, the "
            "last.",
            _parted(_by_rows),
        ),
        Mistake(
            "`exp` alone overflows or underflows; `softmax` subtracts the largest "
            "logit first.",
            _parted(_exponentials),
            exact=False,
        ),
        Mistake(
            "What is filtered is set to 0, and a logit of 0 is a probability like "
            "another: e⁰ = 1. What leaves no probability at all?",
            _returned(lambda logits: logits, 0.0),
        ),
        Mistake(
            "What is filtered is set to −1e9. That is small, and no infinity: whoever "
            "asks which tokens are left will count it.",
            _returned(lambda logits: logits, -1e9),
        ),
        *(
            Mistake(_PROBABILITIES, _parted(_shares_returned(anew, other)))
            for anew in (False, True)
            for other in (-math.inf, 0.0)
        ),
        Mistake(
            "These are log-probabilities. Logits that stay are to be what they were.",
            _returned(lambda logits: logits.log_softmax(dim=-1)),
        ),
    ],
    compare=_stays,
)


@check
def filter_min_p(filter_min_p: Callable[[Tensor, float], Tensor]) -> None:
    """7.4: which logits are left in sure, open, shifted, large and filtered rows."""
    _MIN_P.check(_parted(filter_min_p))
    passed(
        "each row keeps the tokens with at least `min_p` of its own largest probability"
    )
    passed("the same wherever the logits lie, and −inf stays −inf")
    passed("what stays is unchanged, and so are the logits that were passed in")


# 7.5


_MANY = 40  # words, of which nobody can try all sentences


class _Prefixes:
    """A next_logits that depends on the whole prefix, counts and limits its rows."""

    def __init__(
        self,
        vocabulary: int,
        seed: int,
        sharpness: float,
        limit: int,
        end_bias: float = 0.0,
        start: int = 0,
        end: int = 1,
        impossible: float = 0.0,
    ) -> None:
        self.table = sharpness * random_tensor(
            12, vocabulary, vocabulary, seed=seed
        )  # by length and last token
        self.table[..., end] += end_bias
        chance = torch.rand(12, vocabulary, vocabulary, generator=_generator(seed + 1))
        chance[..., end] = 1.0
        self.table[chance < impossible] = -math.inf
        self.table[..., start] = -math.inf
        self.vocabulary, self.limit, self.rows = vocabulary, limit, 0
        self.start, self.end = start, end
        self.found: dict[int, dict[tuple[int, ...], float]] = {}

    def row(self, prefix: Sequence[int]) -> Tensor:
        """Logits (V,) after the start token and `prefix`."""
        tokens = (self.start, *prefix)
        return self.table[(len(tokens) + 3 * sum(tokens)) % 12, tokens[-1]]

    def __call__(self, tokens: Any) -> Tensor:
        if (
            not isinstance(tokens, Tensor)
            or tokens.dim() != 2
            or tokens.is_floating_point()
        ):
            given = f"a {type(tokens).__name__}"
            if isinstance(tokens, Tensor):
                given = f"one of shape {tuple(tokens.shape)} and dtype {tokens.dtype}"
            fail(
                "`next_logits` takes token ids as a tensor of shape (B, T), and "
                f"was given {given}."
            )
        self.rows += len(tokens)
        if self.rows > self.limit:
            fail(
                f"after {self.limit:,} prefixes the search had not ended"
                + (
                    ", and here there are fewer."
                    if self.vocabulary < _MANY
                    else ". There is no need to look at a prefix that is already less "
                    "probable than a whole sentence: what comes after can only lower "
                    "it. Go on from the most probable prefix first."
                )
            )
        rows = tokens.tolist()
        if any(not row or row[0] != self.start for row in rows):
            fail(
                "`next_logits` was given tokens that do not begin with the start token."
            )
        if any(self.end in row for row in rows):
            fail(
                "a sentence that had ended was continued: `next_logits` was given "
                "one with the end token in it."
            )
        return torch.stack([self.row(row[1:]) for row in rows])

    def steps(self, prefix: Sequence[int]) -> list[float]:
        """Log-probabilities (V,) after a prefix."""
        return self.row(prefix).log_softmax(dim=-1).tolist()

    def parts(self, tokens: Sequence[int]) -> list[float]:
        """The log-probability of each token of a sentence."""
        return [self.steps(tokens[:place])[one] for place, one in enumerate(tokens)]

    def logits(self, tokens: Sequence[int]) -> float:
        """The sum of the logits of a sentence's tokens."""
        return sum(
            float(self.row(tokens[:place])[one]) for place, one in enumerate(tokens)
        )

    def sentences(self, max_length: int) -> dict[tuple[int, ...], float]:
        """All sentences of up to `max_length` tokens, with log-probabilities."""
        if max_length in self.found:
            return self.found[max_length]
        found, open_ = {}, [((), 0.0)]
        while open_:
            prefix, score = open_.pop()
            for token, more in enumerate(self.steps(prefix)):
                if more == -math.inf:
                    continue
                if token == self.end:
                    found[(*prefix, token)] = score + more
                elif len(prefix) + 1 < max_length:
                    open_.append(((*prefix, token), score + more))
        self.found[max_length] = found
        return found

    def greedy(self, max_length: int) -> tuple[int, ...]:
        """The most probable token at each step."""
        sentence: tuple[int, ...] = ()
        while len(sentence) < max_length and self.end not in sentence:
            sentence = (*sentence, int(self.row(sentence).argmax()))
        return sentence

    def beam(self, max_length: int, beams: int) -> tuple[int, ...]:
        """The best finished sentence of a plain beam search."""
        alive, done = [((), 0.0)], []
        for _ in range(max_length):
            longer = [
                ((*prefix, token), score + more)
                for prefix, score in alive
                for token, more in enumerate(self.steps(prefix))
                if more > -math.inf
            ]
            longer = sorted(longer, key=lambda pair: -pair[1])[: 2 * beams]
            done += [pair for pair in longer if pair[0][-1] == self.end]
            alive = [pair for pair in longer if pair[0][-1] != self.end][:beams]
        return max(done, key=lambda pair: pair[1])[0] if done else ()

    def open_or_ended(self, max_length: int) -> tuple[int, ...]:
        """The most probable of the sentences and of the beginnings of full length."""
        queue: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        while True:
            cost, tokens = heapq.heappop(queue)
            if len(tokens) == max_length or tokens[-1:] == (self.end,):
                return tokens
            for token, more in enumerate(self.steps(tokens)):
                if more > -math.inf:
                    heapq.heappush(queue, (cost - more, (*tokens, token)))

    def best(self, max_length: int, key: Callable | None = None) -> tuple[int, ...]:
        """The best of all sentences, by their log-probability or another key."""
        found = self.sentences(max_length)
        return max(found, key=key or found.__getitem__)


class _Late(_Prefixes):
    """Of twelve words that may come first the least probable ends well: no beam of
    eleven or fewer finds it.
    """

    def __init__(self) -> None:
        super().__init__(14, 3, 0.1, 200_000, -3.0)
        self.table[1, self.start, self.end] = -math.inf
        self.table[1, self.start, -1] = -0.5

    def row(self, prefix: Sequence[int]) -> Tensor:
        """Logits (V,): the end is certain after the last word."""
        if not prefix:
            return self.table[1, self.start]
        logits = self.table[2, prefix[-1]].clone()
        if tuple(prefix) == (self.vocabulary - 1,):
            logits[self.end] = 6.0
        return logits


def _found(
    choose: Callable[[_Prefixes, int], tuple[int, ...]],
    score: Callable[[_Prefixes, tuple[int, ...]], float] | None = None,
    give: Callable[[_Prefixes, tuple[int, ...]], Sequence[int]] | None = None,
) -> Callable:
    """A search that chooses a sentence, with a score and an answer made of it."""

    def most_likely(
        next_logits: _Prefixes, start: int, end: int, max_length: int
    ) -> tuple[list[int], float]:
        tokens = choose(next_logits, max_length)
        made = sum(next_logits.parts(tokens))
        if score is not None:
            made = score(next_logits, tokens)
        return list(give(next_logits, tokens) if give else tokens), made

    return most_likely


def _best(model: _Prefixes, max_length: int) -> tuple[int, ...]:
    return model.best(max_length)


def _per_token(model: _Prefixes, max_length: int) -> tuple[int, ...]:
    found = model.sentences(max_length)
    return model.best(max_length, lambda tokens: found[tokens] / len(tokens))


def _of_logits(model: _Prefixes, max_length: int) -> tuple[int, ...]:
    return model.best(max_length, model.logits)


def _mean_part(model: _Prefixes, tokens: tuple[int, ...]) -> float:
    return sum(model.parts(tokens)) / len(tokens)


# vocabulary, seed, sharpness, bias of the end token, longest sentences, start, end, and
# the share of tokens that are impossible
_SEARCHES = (
    (4, 42, 1.5, -1.0, (5, 4), 0, 1, 0.0),
    (4, 36, 1.5, -1.5, (5, 3), 3, 2, 0.0),
    (5, 48, 2.0, -1.5, (5, 4), 1, 0, 0.0),
    (5, 37, 2.0, -3.0, (5, 4), 0, 1, 0.15),
    (6, 31, 2.5, -2.0, (5, 4), 2, 5, 0.0),
    (5, 28, 2.0, -3.0, (4, 5), 4, 1, 0.2),
)


def _search_cases() -> list[Case]:
    cases = []
    for number, (V, seed, sharpness, bias, lengths, *rest) in enumerate(_SEARCHES, 1):
        model = _Prefixes(V, seed, sharpness, 200_000, bias, *rest)
        for length in lengths:
            what = (
                f"for model {number}, with {V} tokens, `start` {model.start}, `end` "
                f"{model.end} and `max_length` {length}"
            )
            cases.append(Case(what, (model, model.start, model.end, length)))
    late = _Late()
    what = "where the least probable first word makes the most probable sentence"
    return [*cases, Case(what, (late, late.start, late.end, 3))]


def _searched(most_likely: Callable, asked: list[tuple[int, int]]) -> Callable:
    """The learner's search; `asked` gets how many prefixes it took, and how many are.

    What comes back is made a list of whole numbers and a number.
    """
    if not callable(most_likely):
        return most_likely

    @functools.wraps(most_likely)
    def searched(next_logits: _Prefixes, start: int, end: int, max_length: int) -> Any:
        next_logits.rows = 0
        found = most_likely(next_logits, start, end, max_length)
        if type(next_logits) is _Prefixes:  # in the other one, most look promising
            inner = next_logits.vocabulary - 2
            asked.append((next_logits.rows, sum(inner**n for n in range(max_length))))
        return _as_lists(found)

    return searched


def _as_lists(found: Any) -> Any:
    """Tokens and score as a list and a float, if they can be made so."""
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        return found
    tokens, score = found
    if isinstance(tokens, (Tensor, np.ndarray)):
        tokens = tokens.flatten().tolist()
    if isinstance(score, (Tensor, np.generic, np.ndarray)):
        score = score.item() if score.size == 1 or isinstance(score, Tensor) else score
    try:
        return [int(token) for token in tokens], score
    except (TypeError, ValueError):
        return tokens, score


def _better(found: Any, expected: tuple[list[int], float], case: Case) -> str | None:
    """What is wrong with a sentence or its score: facts about both."""
    model, start, end, max_length = case.arguments
    names = ("the sentence", "its log-probability")
    if not (isinstance(found, tuple) and len(found) == 2):
        return difference(found, expected, names)
    tokens, score = found
    if not isinstance(tokens, list):
        return f"the sentence should be a list of token ids, and is {describe(tokens)}."
    if tokens == expected[0]:
        return difference(score, expected[1], names[1], Tolerance(3e-4))
    said = f"the sentence {tokens}"
    if tokens[:1] == [start]:
        return f"{said} begins with the start token. Return what comes after it."
    if not tokens or tokens[-1] != end:
        return f"{said} has not ended: its last token is not `end`."
    if len(tokens) > max_length:
        return f"{said} has {len(tokens)} tokens, the end included."
    everything = model.sentences(max_length)
    if tuple(tokens) not in everything:
        return f"{said} has a token that the model rules out, with a logit of −inf."
    ratio = math.exp(expected[1] - everything[tuple(tokens)])
    return (
        f"{said} is not the most probable: there is one that is {ratio:.2f} times as "
        "probable."
    )


_LIKELY = Task(
    _found(_best),
    _search_cases,
    [
        Mistake(
            "This is the greedy sentence: each token is the most probable one. Their "
            "product need not be.",
            _found(lambda model, length: model.greedy(length)),
        ),
        *(
            Mistake(
                f"This is what a beam search of width {beams} finds.",
                _found(lambda model, length, b=beams: model.beam(length, b)),
            )
            for beams in (2, 3, 4)
        ),
        *(
            Mistake(
                "This is the best per token, the log-probability divided by the "
                "length; the sum is asked for.",
                _found(_per_token, score),
            )
            for score in (None, _mean_part)
        ),
        *(
            Mistake(
                "This is the sentence with the largest sum of logits. They must become "
                "log-probabilities first.",
                _found(_of_logits, score),
            )
            for score in (None, lambda model, tokens: model.logits(tokens))
        ),
        Mistake(
            "This is the empty sentence, the end and nothing before it; longer ones "
            "may be more probable.",
            _found(lambda model, length: (model.end,)),
        ),
        Mistake(
            "The end counts among the `max_length` tokens, and the start does not: "
            "yours are one too short.",
            _found(lambda model, length: model.best(length - 1)),
        ),
        Mistake(
            "The end counts among the `max_length` tokens: yours may have one more.",
            _found(lambda model, length: model.best(length + 1)),
        ),
        Mistake(
            "A prefix may be more probable than any sentence, and is none.",
            _found(lambda model, length: model.open_or_ended(length)),
        ),
        Mistake(
            "The end token is missing: it is part of the sentence, and of its "
            "probability.",
            _found(_best, give=lambda model, tokens: tokens[:-1]),
        ),
        Mistake(
            "The start is no part of the sentence.",
            _found(_best, give=lambda model, tokens: (model.start, *tokens)),
        ),
        Mistake(
            "The end token's own log-probability is missing in it.",
            _found(_best, lambda model, tokens: sum(model.parts(tokens)[:-1])),
        ),
        Mistake("It was divided by the length.", _found(_best, _mean_part)),
        Mistake(
            "Its sign is wrong: a log-probability is never above 0.",
            _found(_best, lambda model, tokens: -sum(model.parts(tokens))),
        ),
        Mistake(
            "This is the probability; its logarithm is asked for.",
            _found(_best, lambda model, tokens: math.exp(sum(model.parts(tokens)))),
        ),
        Mistake(
            "This is the sum of the logits, which must become log-probabilities first.",
            _found(_best, lambda model, tokens: model.logits(tokens)),
        ),
        Mistake(
            "This is the logarithm to base 2; the natural one is asked for.",
            _found(_best, lambda model, tokens: sum(model.parts(tokens)) / math.log(2)),
        ),
    ],
    tolerance=Tolerance(3e-4),
    compare=_better,
)


@check
def most_likely(most_likely: Callable[..., tuple[list[int], float]]) -> None:
    """7.5: sentence and log-probability against trying all; prefixes are counted."""
    asked: list[tuple[int, int]] = []
    _LIKELY.check(_searched(most_likely, asked))
    for rows, all_rows in asked:
        if all_rows > 100 and rows > all_rows / 2:
            fail(
                f"the sentence is right, and it took {rows:,} of {all_rows:,} prefixes "
                "to find it. There is no need to look at a prefix that is already less "
                "probable than a whole sentence: what comes after can only lower it. "
                "Go on from the most probable prefix first."
            )
    large = _Prefixes(_MANY, 4, 3.0, 20_000)
    sentence, score = _as_lists(call(most_likely, large, large.start, large.end, 9))
    wrong = difference(
        score,
        sum(large.parts(sentence)),
        "with a vocabulary of 40, the log-probability",
        Tolerance(3e-4),
    )
    if wrong:
        fail(wrong)
    passed(
        "the most probable of all sentences that end in time, and its "
        "log-probability, in six small models"
    )
    passed(
        f"without trying all: {large.rows:,} prefixes of a vocabulary of 40, "
        "where there are 38⁸"
    )


# 7.6


class _Decoder(nn.Module):
    """The exercise's decoder: causal attention, sinusoids, nothing else."""

    def __init__(
        self, vocabulary: int = 12, width: int = 8, heads: int = 2, layers: int = 2
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.embedding = nn.Embedding(vocabulary, width)
            self.layers = nn.ModuleList(
                MultiHeadAttention(width, heads) for _ in range(layers)
            )
            self.output = nn.Linear(width, vocabulary)
            for parameter in self.layers.parameters():
                nn.init.normal_(
                    parameter, std=0.7
                )  # attention far from even, so that what is seen matters
        self.projected = 0  # tokens whose keys or values were computed, in all layers
        for layer in self.layers:
            layer.key.register_forward_hook(self._count)
            layer.value.register_forward_hook(self._count)

    def _count(
        self, module: nn.Module, inputs: tuple[Tensor, ...], result: Tensor
    ) -> None:
        self.projected += inputs[0].numel() // inputs[0].size(-1)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + sinusoidal_positions(
            tokens.size(1), self.embedding.embedding_dim
        )
        for attention in self.layers:
            x = x + attention(x, mask=causal_mask(tokens.size(1)))
        return self.output(x)


_Fed = tuple[Tensor, list[tuple[Tensor, Tensor]]]  # logits and cache


def _fed(mended_extend: Callable, projected: list[tuple[str, int, int]]) -> Callable:
    """Logits and cache of a text that is fed in pieces.

    `projected` gets how often keys and values were computed, and how often they should.
    """
    if not callable(mended_extend):
        return mended_extend

    def fed(model: _Decoder, tokens: Tensor, sizes: tuple[int, ...]) -> Any:
        cache: list[Any] = [None] * len(model.layers)
        results, past = [], 0
        model.projected = 0
        with torch.no_grad():
            for piece in tokens.split(list(sizes), dim=1):
                piece = piece.clone()
                before = piece.clone()
                with told_as(mended_extend, model, piece, cache):
                    result = mended_extend(model, piece, cache)
                if result is None:
                    return None
                shape = (*piece.shape, model.output.out_features)
                what = f"the result for {piece.size(1)} new tokens after {past}"
                expect_shape(result, shape, what)
                if not torch.equal(piece, before):
                    fail("the tokens that were given have changed: work on a copy.")
                results.append(_tensor(result, what))
                past += piece.size(1)
                _judge_cache(cache, (len(tokens), past, model.embedding.embedding_dim))
        right = 2 * len(model.layers) * tokens.numel()
        projected.append((_how_fed(sizes), model.projected, right))
        return torch.cat(results, dim=1), cache

    fed.__name__ = name_of(mended_extend)
    return fed


def _how_fed(sizes: tuple[int, ...]) -> str:
    if len(sizes) == 1:
        return "all at once"
    return f"in pieces of {', '.join(map(str, sizes))}"


def _judge_cache(cache: list[Any], shape: tuple[int, int, int]) -> None:
    """Fail unless each layer holds keys and values (B, S, C) of all tokens so far."""
    for number, entry in enumerate(cache):
        if entry is None and cache[0] is not None:
            fail(
                f"`cache[{number}]` is still None after the call, and `cache[0]` is "
                f"not. The model has {len(cache)} layers."
            )
        if entry is None:
            fail(
                f"`cache[{number}]` is still None after the call. The keys and values "
                "belong into the list that was passed in: assign to its places."
            )
        if not isinstance(entry, (tuple, list)) or len(entry) != 2:
            fail(
                f"`cache[{number}]` should be a pair, keys and values, each (B, S, C)."
            )
        for name, part in zip(("keys", "values"), entry, strict=True):
            if getattr(part, "shape", None) != shape:
                found = tuple(getattr(part, "shape", ()))
                fail(
                    f"after {shape[1]} tokens the {name} in `cache[{number}]` have "
                    f"shape {found}, and should have {shape}: those of all tokens so "
                    "far."
                )


def _window(past: int, new: int, how: str) -> Tensor:
    """(T, S) booleans, True where a new token may look; `how` makes mistakes."""
    ones = torch.ones(new, past + new, dtype=torch.bool)
    return {
        "right": lambda: ones.tril(past),
        "top left": lambda: ones.tril(),
        "top left for several": lambda: ones.tril() if new > 1 else ones,
        "none": lambda: ones,
        "none once begun": lambda: ones if past else ones.tril(),
        "new alone": lambda: ones.tril(past) & (torch.arange(past + new) >= past),
        "all new": lambda: torch.ones_like(ones) & (torch.arange(past + new) >= past),
        "old alone": lambda: (
            (torch.arange(past + new) < past) & ones if past else ones.tril()
        ),
        "one ahead": lambda: ones.tril(past + 1),
        "not itself": lambda: ones.tril(max(past - 1, 0)),
        "never itself": lambda: ones.tril(past - 1),
        "upside down": lambda: ~ones.tril(past),
        "future": lambda: ones.triu(past),
    }[how]()


def _extended(
    model: _Decoder,
    tokens: Tensor,
    sizes: tuple[int, ...],
    how: str = "right",
    offset: bool = True,
    front: bool = False,
) -> _Fed:
    """Logits and cache of tokens fed in pieces."""
    results, cache = [], [None] * len(model.layers)
    past = 0
    for piece in tokens.split(list(sizes), dim=1):
        new = piece.size(1)
        begin = past if offset else 0
        positions = sinusoidal_positions(begin + new, model.embedding.embedding_dim)
        x = model.embedding(piece) + positions[begin:]
        for number, layer in enumerate(model.layers):
            key, value = layer.key(x), layer.value(x)
            if cache[number] is not None:
                order = -1 if front else 1
                pairs = zip(cache[number], (key, value), strict=True)
                key, value = (torch.cat(pair[::order], dim=1) for pair in pairs)
            cache[number] = (key, value)
            query, keys, values = (
                split_heads(t, layer.heads) for t in (layer.query(x), key, value)
            )
            mask = _window(past, new, how)
            mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
            x = x + layer.output(merge_heads(mixed))
        past += new
        results.append(model.output(x))
    return torch.cat(results, dim=1), cache


def _whole(model: _Decoder, tokens: Tensor, sizes: tuple[int, ...]) -> _Fed:
    """One pass over the whole text."""
    with torch.no_grad():
        return model(tokens), _extended(model, tokens, (tokens.size(1),))[1]


def _wrongly(how: str, offset: bool = True, front: bool = False) -> Callable:
    def fed(model: _Decoder, tokens: Tensor, sizes: tuple[int, ...]) -> _Fed:
        with torch.no_grad():
            return _extended(model, tokens, sizes, how, offset, front)

    return fed


def _fed_cases() -> list[Case]:
    cases = []
    for (vocabulary, width, heads, layers), (batch, length), cuts in (
        (
            (12, 8, 2, 2),
            (2, 7),
            ((7,), (1,) * 7, (4, 1, 1, 1), (3, 4), (1, 3, 2, 1)),
        ),
        ((7, 12, 3, 3), (3, 6), ((6,), (2, 2, 2), (1, 5))),
        ((9, 6, 1, 1), (1, 9), ((5, 4), (8, 1), (3, 3, 3))),
    ):
        model = _Decoder(vocabulary, width, heads, layers)
        tokens = torch.randint(
            vocabulary, (batch, length), generator=_generator(layers)
        )
        for sizes in cuts:
            what = (
                f"for {layers} layers and tokens {(batch, length)} fed "
                f"{_how_fed(sizes)}"
            )
            cases.append(Case(what, (model, tokens, sizes)))
    return cases


_TOP_LEFT = (
    "the mask is still aligned at its first row and column: new token 0 sees place 0 "
    "alone, as if it were the first of the text. How many places were there before it?"
)
_BEGIN = "Positions begin at 0 in every piece"
_NOT_ITSELF = "Each token sees one place too few: it should see itself as well."
_WINDOWS = {
    "top left": f"{_TOP_LEFT[0].upper()}{_TOP_LEFT[1:]}",
    "top left for several": (
        "One token at a time is right now. With several new ones, the first of them "
        "still sees place 0 alone, as if it were the first of the text."
    ),
    "none": (
        "There is no mask at all: where several tokens come at once, the first of them "
        "sees those after it."
    ),
    "none once begun": (
        "The first piece is right. In later ones there is no mask, so the first of "
        "several new tokens sees those after it."
    ),
    "new alone": "The new tokens see each other and nothing of what is in the cache.",
    "all new": "The new tokens see all new ones and nothing of what is in the cache.",
    "old alone": "The new tokens see what is in the cache, and neither each other nor "
    "themselves.",
    "one ahead": "Each token sees one place too many: the one after it.",
    "not itself": _NOT_ITSELF,
    "never itself": _NOT_ITSELF,
    "upside down": "The mask is upside down: True means may be looked at.",
    "future": "Each token sees what comes after it, and nothing before.",
}
_EXTEND = Task(
    _whole,
    _fed_cases,
    [
        *(Mistake(said, _wrongly(how)) for how, said in _WINDOWS.items()),
        Mistake(f"{_BEGIN}.", _wrongly("right", offset=False)),
        Mistake(f"{_BEGIN}; and {_TOP_LEFT}", _wrongly("top left", offset=False)),
        Mistake(
            "The keys and values in `cache` are not in the order of the text: new ones "
            "go behind the old.",
            _wrongly("right", front=True),
        ),
    ],
    result=("a logit", "`cache`"),
    tolerance=Tolerance(2e-4, 2e-5),
    precise=False,
)


@check
def mended_extend(mended_extend: Callable[[nn.Module, Tensor, list], Tensor]) -> None:
    """7.6: texts in pieces, against the model's forward pass."""
    written(mended_extend, "the answer")
    projected: list[tuple[str, int, int]] = []
    _EXTEND.check(_fed(mended_extend, projected))
    passed(
        "fed all at once, one by one, or in pieces: the logits of one pass over "
        "the whole text"
    )
    for how_fed, times, right in projected:
        if times > right:
            fail(
                f"fed {how_fed}, the logits are right, and keys and values were "
                f"computed {times} times, where {right} are enough: old ones are "
                "computed again."
            )
    passed("every key and value is computed once")


# 7.7

_P = torch.tensor([0.40, 0.25, 0.20, 0.15, 0.00])  # what the target says
_Q = torch.tensor([0.10, 0.35, 0.05, 0.30, 0.20])  # what the draft says
_KINDS = ((_P, _Q), (_P.flip(0), _Q.roll(1)))  # of rows, in turn
_ROUNDS = 15_000


def _normal(x: Tensor) -> Tensor:
    return x / x.sum(dim=-1, keepdim=True)


def _joint(p: Tensor, q: Tensor, how: str) -> Tensor:
    """(V, V): how probable it is that x is drafted and y comes out; with mistakes."""
    p, q = p.double(), q.double()
    ratio = (p / q.clamp(min=1e-12)).clamp(max=1)
    inverse = (q / p.clamp(min=1e-12)).clamp(max=1)
    more = _normal((p - q).clamp(min=0))
    others = _normal(p * (1 - torch.eye(len(p), dtype=p.dtype)))
    accept, otherwise = {
        "right": (ratio, more),
        "always": (torch.ones_like(p), more),
        "never": (torch.zeros_like(p), p),
        "never, what is missing": (torch.zeros_like(p), more),
        "again from p": (ratio, p),
        "again from q": (ratio, q),
        "without it": (ratio, others),
        "inverse": (inverse, more),
        "inverse, from p": (inverse, p),
        "p alone": (p, more),
        "p alone, from p": (p, p),
        "absolute": (ratio, _normal((p - q).abs())),
        "turned": (ratio, _normal((q - p).clamp(min=0))),
        "greedy": (torch.zeros_like(p), (p == p.max()).double()),
        "larger": ((p >= q).double(), more),
        "larger, from p": ((p >= q).double(), p),
        "best of the rest": (ratio, (more == more.max()).double()),
        "best of p": (ratio, (p == p.max()).double()),
        "half": (torch.full_like(p, 0.5), more),
        "uniform": (ratio, torch.full_like(p, 1 / len(p))),
    }[how]
    kept = torch.diag(q * accept)
    return kept + (q * (1 - accept))[:, None] * otherwise.expand(len(p), len(p))


_INVERSE = (
    "The ratio is upside down. A token is kept for sure where the target finds it at "
    "least as probable as the draft does."
)
_ALONE = (
    "A token is kept with the target's probability, whatever the draft said. How often "
    "it was proposed must count too."
)
_LARGER = (
    "A token is kept or not by which probability is larger. Where the target's is "
    "smaller, it should still be kept some of the time."
)
_CHOICES = {
    "always": "Drafted tokens are always kept, so this is the draft's distribution.",
    "never": (
        "The drafted token is never kept: all come from the target. Then the draft "
        "saves nothing."
    ),
    "never, what is missing": (
        "The drafted token is never kept, and what comes out is drawn from what is "
        "missing alone."
    ),
    "again from p": (
        "After a rejection you draw from the target's whole distribution. Tokens of "
        "which the draft has proposed too few are then still too few: what is missing "
        "is `target` minus `draft`, where it is positive."
    ),
    "without it": (
        "After a rejection you draw from the target without the rejected token. Others "
        "that the draft proposes too often are in it still; of those nothing is "
        "missing."
    ),
    "again from q": "After a rejection you draw from the draft again.",
    "inverse": _INVERSE,
    "inverse, from p": (
        f"{_INVERSE} And after a rejection you draw from the target's whole "
        "distribution."
    ),
    "p alone": _ALONE,
    "p alone, from p": (
        f"{_ALONE} And after a rejection you draw from the target's whole distribution."
    ),
    "absolute": (
        "After a rejection tokens are drawn where the two differ in either direction. "
        "Those of which the draft has proposed too many must get nothing."
    ),
    "turned": (
        "After a rejection tokens are drawn where the draft says more than the target, "
        "of which there are too many already."
    ),
    "greedy": "This is always the target's most probable token. It should be a sample.",
    "larger": _LARGER,
    "larger, from p": (
        f"{_LARGER} And after a rejection you draw from the target's whole "
        "distribution."
    ),
    "best of the rest": (
        "After a rejection you take the most probable of what is missing. It should be "
        "drawn."
    ),
    "best of p": (
        "After a rejection you take the target's most probable token. It should be "
        "drawn, and from what is missing."
    ),
    "half": "A token is kept half of the time, whatever the two say of it.",
    "uniform": "After a rejection all tokens are drawn alike.",
}


def _choose(
    speculative_choice: Callable[..., Tensor],
    drafted: Tensor,
    target: Tensor,
    draft: Tensor,
    seed: int,
) -> Tensor:
    """Call the answer with copies, and hold its result to be tokens (N,)."""
    given = {
        "drafted": drafted.clone(),
        "target": target.clone(),
        "draft": draft.clone(),
    }
    snapshot, world = Snapshot(given), GlobalState()
    try:
        result = call(speculative_choice, *given.values(), _generator(seed))
        changed = world.change()
    finally:
        world.restore()
    rows, vocabulary = target.shape
    expect_shape(result, (rows,), f"the result for {rows} drafted tokens")
    result = _tensor(result, "the result")
    if result.is_floating_point() or result.dtype == torch.bool:
        fail(f"the result has the dtype {result.dtype}; it should hold token ids.")
    if not ((result >= 0) & (result < vocabulary)).all():
        fail(f"the result has ids outside the vocabulary of {vocabulary}.")
    change = snapshot.change()
    if change:
        fail(f"{change} Whoever passed it in may still need it.")
    if changed:
        if not changed.startswith("it moves the random numbers"):
            fail(changed)
        fail(
            "global random numbers were drawn. Pass `generator` to every random "
            "function you call: all randomness comes from it."
        )
    return result.long()


def _drawn(probabilities: Tensor, seed: int) -> Tensor:
    return torch.multinomial(probabilities, 1, generator=_generator(seed))[:, 0]


def _fits(counts: Tensor, expected: Tensor, level: float) -> bool:
    """Whether counts may come from these probabilities (a chi-squared test)."""
    expected = expected.flatten() * counts.sum()
    counts = counts.flatten()
    possible = expected > 1e-9
    if counts[~possible].any():
        return False
    part = (counts - expected)[possible].square() / expected[possible]
    return bool(stats.chi2.sf(float(part.sum()), int(possible.sum()) - 1) > level)


@check
def speculative_choice(
    speculative_choice: Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor],
) -> None:
    """7.7: the distribution of what is chosen, and how often the draft is kept."""
    _judge_rows_alike(speculative_choice)
    target, draft = (
        torch.stack([pair[part] for pair in _KINDS]).repeat(_ROUNDS, 1)
        for part in (0, 1)
    )
    drafted = _drawn(draft, seed=5)
    result = _choose(speculative_choice, drafted, target, draft, seed=6)
    _judge_choice(drafted, result)
    _judge_independence(drafted, result)
    _judge_agreement(speculative_choice)
    _judge_one_row(speculative_choice)
    _judge_generator(speculative_choice)
    passed("what comes out is distributed as the target says, row by row")
    passed("and the draft is kept as often as can be: Σ min(p, q) of the time")
    passed("the same seed gives the same tokens")


def _judge_rows_alike(speculative_choice: Callable) -> None:
    """Fail where one random number decides for all rows: drafts of token 1 alone.

    They should be kept 0.25 / 0.35 of the time, for every seed.
    """
    ones, shares = torch.ones(200, dtype=torch.long), []
    for seed in range(20, 32):
        result = _choose(
            speculative_choice, ones, _P.repeat(200, 1), _Q.repeat(200, 1), seed
        )
        shares.append((result == 1).double().mean())
    shares = torch.stack(shares)
    if shares.std() > 0.2:
        if ((shares == 0) | (shares == 1)).all():
            fail(
                "of 200 rows with the same draft, all are kept or none, with one seed "
                "so and with another so: one random number decides for all rows. Draw "
                "one for each."
            )
        fail(
            "of 200 rows with the same draft, between "
            f"{shares.min():.0%} and {shares.max():.0%} are kept, by the seed; each "
            "row should be kept or not by itself."
        )


def _judge_choice(drafted: Tensor, result: Tensor) -> None:
    """Fail unless the chosen tokens come from the target, and keep what they can."""
    tables, wrong = [], ""
    for kind, (p, q) in enumerate(_KINDS):
        ours, size = result[kind::2], len(p)
        pairs = drafted[kind::2] * size + ours
        tables.append(pairs.bincount(minlength=size * size).view(size, size).double())
        wrong = wrong or _why_not_the_target(tables[-1], p, q)
    if not wrong:
        return
    known = {
        sentence
        for how, sentence in _CHOICES.items()
        if all(
            _fits(table, _joint(p, q, how), 1e-6)
            for table, (p, q) in zip(tables, _KINDS, strict=True)
        )
    }
    fail(known.pop() if len(known) == 1 else wrong)


def _why_not_the_target(table: Tensor, p: Tensor, q: Tensor) -> str:
    """What is wrong with counts (V, V) of drafted and chosen tokens, or nothing."""
    chosen, rows = table.sum(dim=0), int(table.sum())
    if not _fits(chosen, p.double(), FALSE_ALARM):
        off = (chosen / rows - p).square() / p.clamp(min=1e-6)
        token = int(off.argmax())
        return (
            f"token {token} has the target probability {p[token]:.2f} and comes out "
            f"{chosen[token]:,.0f} times in {rows:,} rows, {chosen[token] / rows:.4f} "
            "of the time. Add up in how many ways it can "
            "come out: drafted and kept, or drawn after a rejection."
        )
    possible = float(torch.minimum(p, q).double().sum())
    kept = int(table.diagonal().sum())
    if kept < stats.binom.ppf(FALSE_ALARM, rows, possible):
        return (
            "what comes out is distributed as the target says, but the drafted token "
            f"is kept only {kept / rows:.2f} of the time, where {possible:.2f} is "
            "possible: it is thrown away without need."
        )
    return ""


def _judge_independence(drafted: Tensor, result: Tensor) -> None:
    """Fail where a row tells something of another."""
    kept = (drafted == result).long()
    hint = "Draw a random number for each row."
    expect_independent(
        kept[::2], kept[1::2], "the drafts that are kept in neighbouring rows", hint
    )
    for kind in (0, 1):
        asked, ours = drafted[kind::2], result[kind::2]
        kept = (asked == ours).long()
        half = len(kept) // 2
        what = "the drafts that are kept in two rows"
        expect_independent(kept[:-1], kept[1:], f"{what}, one after the other,", hint)
        expect_independent(kept[:half], kept[half : 2 * half], what, hint)
        again = ours[asked != ours]
        what = "the tokens that two rows get after a rejection"
        expect_independent(again[:-1], again[1:], what, hint)


def _mixed_rows() -> Iterator[tuple[Tensor, Tensor]]:
    """Target and draft (N, V), every third row of which agrees in both."""
    for rows, vocabulary, dtype in (
        (90, 7, torch.float32),
        (60, 4, torch.float64),
        (45, 30, torch.float32),
    ):
        target, draft = (
            (2 * normal(rows, vocabulary, seed=seed, dtype=dtype)).softmax(dim=-1)
            for seed in (2, 3)
        )
        target[:, 0] = 0.0
        target = _normal(target)
        draft[::3] = target[::3]
        yield target, draft


def _judge_agreement(speculative_choice: Callable) -> None:
    """Fail where rows that agree are not kept, or stop the others."""
    for target, draft in _mixed_rows():
        drafted = _drawn(draft, seed=3)
        copies = drafted.clone(), target.clone(), draft.clone()
        crash = outcome(speculative_choice, *copies, _generator(4))
        says = str(getattr(crash, "error", ""))
        if any(word in says for word in ("multinomial", "probability tensor")):
            fail(
                "`multinomial` was given a row that is no distribution, all zeros or "
                "NaN, and only now, when target and draft agree in some rows. There "
                "nothing is missing, and no token is rejected; but a row to draw from "
                "is needed for each all the same."
            )
        result = _choose(speculative_choice, drafted, target, draft, seed=4)
        share = float((result == drafted)[::3].double().mean())
        if share < 1:
            fail(
                "in rows where target and draft agree in everything, "
                f"{share:.2f} of the drafted tokens are kept. All should be: with "
                "p = q nothing is to be mended."
            )
        if (result == 0).any():
            fail(
                f"of {len(target)} rows with {target.size(1)} tokens, some get a token "
                "whose target probability is 0."
            )
        sure = target.gather(1, drafted[:, None]) >= draft.gather(1, drafted[:, None])
        if (result != drafted)[sure[:, 0]].any():
            fail(
                f"of {len(target)} rows with {target.size(1)} tokens, one loses its "
                "draft though its target finds it at least as probable as its draft "
                "does."
            )


def _judge_one_row(speculative_choice: Callable) -> None:
    for seed in range(3):
        drafted = torch.tensor([2])
        target, draft = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.5, 0.2, 0.3]])
        result = _choose(speculative_choice, drafted, target, draft, seed)
        if result.item() != 1:
            fail(
                "for a single row, with p = (0.5, 0.5, 0), q = (0.5, 0.2, 0.3) and a "
                f"draft of token 2, token {result.item()} comes out. Of which token is "
                "anything missing?"
            )


def _judge_generator(speculative_choice: Callable) -> None:
    target, draft = _P.repeat(300, 1), _Q.repeat(300, 1)
    drafted = _drawn(draft, seed=5)
    first, again, other = (
        _choose(speculative_choice, drafted, target, draft, seed) for seed in (6, 6, 7)
    )
    if not torch.equal(first, again):
        fail(
            "the same generator seed gives another result: pass `generator` to every "
            "random function you call."
        )
    if torch.equal(first, other):
        fail("another seed of `generator` gives the same result.")
