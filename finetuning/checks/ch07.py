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

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetuning.checks.core import (
    CheckFailed,
    as_number,
    call,
    check,
    expect_shape,
    fail,
    passed,
    random_tensor,
    written,
)
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
    if name == "source_to_memory":
        return (
            "The source is there as a whole before anything is said. Does the "
            "encoder need a causal mask?"
        )
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

_SHAPES = (
    (11, 8, 2, 32, 1),
    (50, 12, 3, 20, 2),
    (37_000, 512, 8, 2048, 6),
)  # V, C, H, F, L


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


def _mistakes(V: int, C: int, H: int, F: int, L: int) -> dict[str, int]:
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
        "the biases of the attention maps are missing": -12 * C * L,
        "the biases of the feed-forward are missing": -2 * (F + C) * L,
        "all biases of the linear maps are missing": -(12 * C + 2 * (F + C)) * L,
        "the normalisations are missing": -5 * norm * L,
        "a normalisation is counted with one vector, and has a gain and a bias": (
            -5 * C * L
        ),
        "a layer of the decoder has three sublayers, so three normalisations": (
            -norm * L
        ),
        "there is one normalisation for each layer, and should be one for each "
        "sublayer": -3 * norm * L,
        "there is a normalisation after each stack, which the paper's model does "
        "not have": 2 * norm,
        "cross-attention is missing": -attention * L,
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


@check
def parameters(parameters: Callable[[int, int, int, int, int], int]) -> None:
    """7.2: the count for three shapes against PyTorch's layers."""
    counts = [as_number(call(parameters, *shape), "the count") for shape in _SHAPES]
    off = [
        counted - _true_parameters(*shape)
        for counted, shape in zip(counts, _SHAPES, strict=True)
    ]
    if any(off):
        if len(set(counts)) == 1:
            fail(
                "the count is the same whatever the arguments are. It should be "
                "made of them."
            )
        known = [_mistakes(*shape) for shape in _SHAPES]
        for size in (1, 2):
            for names in itertools.combinations(known[0], size):
                if all(
                    math.isclose(
                        sum(one[name] for name in names), difference, abs_tol=0.5
                    )
                    for one, difference in zip(known, off, strict=True)
                ):
                    fail(f"{'; and '.join(names)}.")
        shape, difference = next((s, d) for s, d in zip(_SHAPES, off, strict=True) if d)
        V, C, H, hidden, L = shape
        fail(
            f"for V = {V}, C = {C}, H = {H}, F = {hidden}, L = {L} your count is "
            f"{abs(difference):,.0f} too {'high' if difference > 0 else 'low'}. "
            "Divide that by L and look for a part of this size. Does the count agree "
            "with PyTorch's `nn.TransformerEncoderLayer` alone?"
        )
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
        real = (source != _PADDING)[..., None].float()
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


def _step(
    batches: Sequence[tuple[Tensor, Tensor, Tensor]], how: str = "right"
) -> tuple[float, Tensor]:
    """The loss of a step and its gradient in one vector; `how` makes mistakes."""
    model = _Toy()
    parts, counts, places, sizes, sentences = [], [], [], [], []
    for source, inputs, labels in batches:
        if how == "shifted":
            inputs, labels = inputs[:, :-1], labels[:, 1:]
        ignored = -100 if how.startswith("padded") else _PADDING
        logits = model(source, inputs).flatten(0, 1)
        each = F.cross_entropy(
            logits, labels.flatten(), ignore_index=ignored, reduction="none"
        )
        parts.append(each.sum())
        sentences.append(
            (
                each.view_as(labels).sum(dim=1)
                / (labels != _PADDING).sum(dim=1).clamp(min=1)
            ).sum()
        )
        counts.append(int((labels != ignored).sum()))
        places.append(labels.numel())
        sizes.append(len(labels))
    means = [part / max(count, 1) for part, count in zip(parts, counts, strict=True)]
    loss = {
        "right": lambda: sum(parts) / max(sum(counts), 1),
        "padded, by token": lambda: sum(parts) / sum(counts),
        "padded, mean of means": lambda: sum(means) / len(means),
        "mean of means": lambda: sum(means) / len(means),
        "sum of means": lambda: sum(means),
        "by sentence": lambda: (
            sum(m * s for m, s in zip(means, sizes, strict=True)) / sum(sizes)
        ),
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
    return float(loss.detach()), torch.cat(
        [p.grad.flatten() for p in model.parameters()]
    )


_STEPS = {
    "padded, by token": (
        "padding counts: places where the label is `PADDING` add to the loss, and to "
        "the number that it is divided by."
    ),
    "padded, mean of means": (
        "padding counts: places where the label is `PADDING` add to the loss, and to "
        "the number that it is divided by."
    ),
    "mean of means": (
        "this is the mean of the batches' means. A batch with few real tokens counts "
        "as much as one with many, so a token's share depends on how the sentences "
        "were cut."
    ),
    "sum of means": (
        "the means of the batches are added up: with more batches the gradient gets "
        "longer."
    ),
    "by sentence": (
        "the batches' means are weighted by how many sentences each has. Sentences "
        "differ in length; what counts are tokens."
    ),
    "sum by sentence": (
        "the sum over the tokens is divided by the number of sentences, and not of "
        "tokens."
    ),
    "each sentence": (
        "this is the mean of the sentences' means: a token of a short sentence counts "
        "for more than one of a long sentence."
    ),
    "shifted": "the labels are one place off: they had been shifted already.",
    "by place": (
        "padding no longer adds to the sum, but it is still counted in what the sum is "
        "divided by."
    ),
    "sum": (
        "this is the sum over the tokens. It must be divided by how many there are, or "
        "a longer batch takes a longer step."
    ),
    "sum by batch": (
        "the sum over the tokens is divided by the number of batches, and not of "
        "tokens."
    ),
    "last": (
        "only the last batch's gradient is left: it is set to zero between the batches."
    ),
    "last alone": "only the last batch counts.",
}


@check
def mended_backward(mended_backward: Callable[[nn.Module, list], float]) -> None:
    """7.3: loss and gradient for ways to cut six sentences, against a single pass."""
    cuts = {
        "one batch without padding": [_batch([_SENTENCES[0], _SENTENCES[5]])],
        "one batch of sentences of different length": [_batch(_SENTENCES[:3])],
        "six sentences in three batches": [
            _batch(_SENTENCES[:1]),
            _batch(_SENTENCES[1:3]),
            _batch(_SENTENCES[3:]),
        ],
        "six sentences in six batches": [_batch([sentence]) for sentence in _SENTENCES],
        "the same, two places wider than needed": [
            _batch([sentence], wider=2) for sentence in _SENTENCES
        ],
        "two batches, one of which is nothing but padding": [
            _batch(_SENTENCES[:3]),
            _batch([([3], [0]), ([4], [0])]),
        ],
    }
    for cut, batches in cuts.items():
        model = _Toy()
        copies = [tuple(x.clone() for x in batch) for batch in batches]
        loss = as_number(
            call(mended_backward, model, copies), "what is returned, the loss,"
        )
        gradients = [parameter.grad for parameter in model.parameters()]
        if any(
            not torch.equal(a, b)
            for a, b in zip(model.parameters(), _Toy().parameters(), strict=True)
        ):
            fail(
                "the parameters have changed. Only their gradients should: the "
                "step is taken elsewhere."
            )
        if all(gradient is None for gradient in gradients):
            fail(
                "the parameters have no gradient: is `backward` called, and does the "
                "loss still hang on the model's logits?"
            )
        if any(gradient is None for gradient in gradients):
            fail(
                "some parameters have no gradient: a result was detached on the "
                "way to the loss."
            )
        gradient = torch.cat([gradient.flatten() for gradient in gradients])
        if not math.isfinite(loss) or not gradient.isfinite().all():
            fail(
                f"for {cut}, the loss or its gradient is not a number (NaN). A mean "
                "over no tokens at all divides zero by zero; a sum does not."
            )
        true_loss, true_gradient = _step(batches)
        right_loss = math.isclose(loss, true_loss, rel_tol=1e-4, abs_tol=1e-5)
        right_gradient = torch.allclose(gradient, true_gradient, rtol=1e-3, atol=1e-5)
        if right_loss and right_gradient:
            if model.widest > max(len(labels) for *_, labels in batches):
                fail(
                    f"for {cut}, loss and gradient are right, but the model was given "
                    "more sentences at a time than the largest batch has: they were "
                    "joined, and what does not fit into memory will not."
                )
            if model.late:
                fail(
                    f"for {cut}, loss and gradient are right, but a batch was "
                    "computed before `backward` had run for the one before it: all "
                    "of them are held in memory at once, which small batches are "
                    "meant to avoid. Call `backward` once for each batch."
                )
            continue
        for how, diagnosis in _STEPS.items():
            wrong_loss, wrong_gradient = _step(batches, how)
            if not right_gradient and torch.allclose(
                gradient, wrong_gradient, rtol=1e-3, atol=1e-5
            ):
                fail(f"for {cut}, {diagnosis}")
            if right_gradient and math.isclose(
                loss, wrong_loss, rel_tol=1e-4, abs_tol=1e-5
            ):
                diagnosis = (
                    "only the last batch is in it."
                    if how.startswith("last")
                    else diagnosis
                )
                fail(
                    f"for {cut}, the gradient is right, and the loss that is "
                    f"returned is not: {diagnosis}"
                )
        if right_gradient:
            fail(
                f"for {cut}, the gradient is right, and the loss that is returned is "
                f"{loss:.4f}, not {true_loss:.4f}."
            )
        ratio = float(gradient @ true_gradient / true_gradient.square().sum())
        if torch.allclose(gradient, ratio * true_gradient, rtol=1e-3, atol=1e-5):
            fail(
                f"for {cut}, the gradient points the right way and is {ratio:.2f} "
                "times as long as it should be. By what is the sum over the tokens "
                "divided?"
            )
        fail(
            f"for {cut}, the gradient is not that of the mean over all real target "
            "tokens. Which places count, and by how many is their sum divided?"
        )
    passed("padding counts nothing, however much of it there is")
    passed("loss and gradient are the same however the sentences are cut into batches")
    passed("no more than one batch is in memory at a time")


# 7.4


def _kept(probabilities: Tensor, min_p: float, how: str = "right") -> Tensor:
    """Which tokens stay, booleans of the same shape; `how` makes mistakes."""
    largest = probabilities.amax(dim=-1, keepdim=True)
    return {
        "right": lambda: probabilities >= min_p * largest,
        "strict": lambda: probabilities > min_p * largest,
        "absolute": lambda: probabilities >= min_p,
        "one for all": lambda: probabilities >= min_p * probabilities.max(),
        "wrong way round": lambda: probabilities < min_p * largest,
        "difference": lambda: probabilities >= largest - min_p,
        "complement": lambda: probabilities >= (1 - min_p) * largest,
        "mass": lambda: _nucleus(probabilities, min_p),
        "complement of mass": lambda: _nucleus(probabilities, 1 - min_p),
    }[how]()


def _nucleus(probabilities: Tensor, p: float) -> Tensor:
    """Top-p: the fewest most probable tokens whose probabilities sum to p or more."""
    ordered, places = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    return torch.zeros_like(probabilities, dtype=torch.bool).scatter(
        -1, places, before < p
    )


_MIN_P = {
    "strict": (
        "a token with exactly `min_p` times the largest probability is gone; at least "
        "means that it stays."
    ),
    "absolute": (
        "the threshold is `min_p` itself, whatever the model thinks. It should be a "
        "share of the probability of the most probable token."
    ),
    "one for all": (
        "the largest probability was taken over all rows at once. Each row has a most "
        "probable token of its own."
    ),
    "wrong way round": "what should stay is filtered out, and the other way round.",
    "difference": (
        "the threshold lies `min_p` below the largest probability; it should be "
        "`min_p` times the largest."
    ),
    "complement": (
        "the threshold is 1 − `min_p` times the largest probability; it should be "
        "`min_p` times."
    ),
    "mass": (
        "this is top-p: it adds probabilities up. Min-p compares each with the largest."
    ),
    "complement of mass": (
        "this is top-p: it adds probabilities up. Min-p compares each with the largest."
    ),
}


def _min_p_cases() -> dict[str, tuple[Tensor, float]]:
    sure, open_ = [0.86, 0.06, 0.04, 0.03, 0.01], [0.24, 0.22, 0.2, 0.18, 0.16]
    hand = torch.tensor([0.44, 0.22, 0.17, 0.12, 0.05]).log()
    random = 3 * random_tensor(2, 3, 40, seed=5)
    already = hand.clone()
    already[0] = -math.inf
    return {
        "the probabilities 0.44, 0.22, 0.17, 0.12, 0.05": (hand, 0.2),
        "a sure row and an open one": (torch.tensor([sure, open_]).log(), 0.1),
        "the same, all logits 7 higher": (torch.tensor([sure, open_]).log() + 7, 0.1),
        "the same, all logits 7 lower": (torch.tensor([sure, open_]).log() - 7, 0.1),
        "random logits of shape (2, 3, 40)": (random, 0.05),
        "logits around 1,000": (random + 1000, 0.05),
        "logits of which one was −inf before": (already, 0.2),
        "a `min_p` of 1": (torch.tensor([0.0, 2.0, 1.0, 2.0]), 1.0),
        "a `min_p` of 0": (random, 0.0),
    }


@check
def filter_min_p(filter_min_p: Callable[[Tensor, float], Tensor]) -> None:
    """7.4: which logits are left in sure, open, shifted, large and filtered rows."""
    cases, kept_in = _min_p_cases(), {}
    for case, (logits, min_p) in cases.items():
        given = logits.clone()
        result = call(filter_min_p, given, min_p)
        what = f"the result for {case}"
        expect_shape(result, logits.shape, what)
        result = _tensor(result, what)
        if not torch.equal(given, logits):
            fail(
                "the logits that were passed in have changed. A filter returns new "
                "ones: whoever reads the model's logits afterwards, for a "
                "log-probability say, must find them whole."
            )
        if result.dtype == torch.bool:
            fail("this is a mask of booleans; the filtered logits are asked for.")
        result, probabilities = result.double(), logits.double().softmax(dim=-1)
        if result.isnan().any():
            fail(
                f"for {case} there is a NaN. Probabilities come from `softmax`, which "
                "subtracts the largest logit first; `exp` alone overflows, and −inf "
                "− (−inf) is not a number."
            )
        kept = kept_in[case] = result > -math.inf
        expected = _kept(probabilities, min_p) & (logits > -math.inf)
        rest = torch.where(expected, probabilities, 0.0)
        stayed = torch.where(kept, result, 0.0)
        for scaled in (rest, rest / rest.sum(dim=-1, keepdim=True)):
            if min_p > 0 and torch.allclose(stayed, scaled, atol=1e-6):
                fail(
                    "these are probabilities. A filter returns logits, so that "
                    "another filter can follow."
                )
        filtered = result[~expected & (logits > -math.inf)]
        if kept.all() and filtered.numel():
            if (filtered == 0).all():
                fail(
                    "what is filtered is set to 0, and a logit of 0 is a probability "
                    "like another: e⁰ = 1. What leaves no probability at all?"
                )
            if (filtered < -1e4).all():
                fail(
                    f"what is filtered is set to {float(filtered[0]):.3g}. That is "
                    "small, and no infinity: whoever asks which tokens are left will "
                    "count it."
                )
        if torch.equal(kept, expected) and not torch.allclose(
            result[kept], logits.double()[kept], atol=1e-4
        ):
            fail(
                f"for {case}, logits that stay have changed. They should be what "
                "they were."
            )
    _judge_kept(cases, kept_in)
    passed(
        "each row keeps the tokens with at least `min_p` of its own largest probability"
    )
    passed("the same wherever the logits lie, and −inf stays −inf")
    passed("what stays is unchanged, and so are the logits that were passed in")


def _judge_kept(
    cases: dict[str, tuple[Tensor, float]], kept_in: dict[str, Tensor]
) -> None:
    """Fail unless the right tokens stay in all cases."""

    def agrees(how: str) -> bool:
        return all(
            torch.equal(
                kept_in[case],
                _kept(logits.double().softmax(dim=-1), min_p, how)
                & (logits > -math.inf),
            )
            for case, (logits, min_p) in cases.items()
        )

    if agrees("right"):
        return
    for how, diagnosis in _MIN_P.items():
        if agrees(how):
            fail(diagnosis)
    for case, (logits, min_p) in cases.items():
        kept, probabilities = kept_in[case], logits.double().softmax(dim=-1)
        where = case if "`min_p`" in case else f"{case} and `min_p` {min_p}"
        wrong = kept != (_kept(probabilities, min_p) & (logits > -math.inf))
        if not wrong.any():
            continue
        if torch.equal(kept, logits >= min_p * logits.amax(dim=-1, keepdim=True)):
            fail(
                f"for {case}, logits are compared with `min_p` times the largest "
                "logit. The rule is about probabilities; a factor there is something "
                "else in logits, which may be negative."
            )
        if logits.dim() > 1:
            across = logits.double().softmax(dim=0)
            for largest in (across.amax(dim=0, keepdim=True), across.max()):
                if torch.equal(kept, across >= min_p * largest):
                    fail(
                        f"for {where}, the softmax runs over the rows; it must run "
                        "over the tokens, the last axis."
                    )
        if not kept.any(dim=-1).all():
            hint = (
                " Does `exp` overflow? `softmax` does not." if "1,000" in case else ""
            )
            fail(
                f"for {where}, a row has no token left; the most probable one "
                f"stays always.{hint}"
            )
        place = tuple(wrong.nonzero()[0].tolist())
        if logits[place] == -math.inf:
            fail(
                "a token that was filtered before, with a logit of −inf, has come back."
            )
        share = float(probabilities[place] / probabilities.amax(dim=-1)[place[:-1]])
        fail(
            f"for {where}, a token with {share:.3f} of the largest probability "
            f"{'stays' if kept[place] else 'is gone'}."
        )


# 7.5

_START, _END = 0, 1


class _Prefixes:
    """A next_logits that depends on the whole prefix, counts and limits its rows."""

    def __init__(
        self,
        vocabulary: int,
        seed: int,
        sharpness: float,
        limit: int,
        end_bias: float = 0.0,
    ) -> None:
        self.table = sharpness * random_tensor(
            12, vocabulary, vocabulary, seed=seed
        )  # by length and last token
        self.table[..., _END] += end_bias
        self.table[..., _START] = -math.inf
        self.vocabulary, self.limit, self.rows = vocabulary, limit, 0

    def row(self, prefix: tuple[int, ...]) -> Tensor:
        """Logits (V,) after the start token and `prefix`."""
        tokens = (_START, *prefix)
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
                f"after {self.limit:,} prefixes the search had not ended. There is no "
                "need to look at a prefix that is already less probable than a whole "
                "sentence: what comes after can only lower it. Go on from the most "
                "probable prefix first."
            )
        rows = tokens.tolist()
        if any(not row or row[0] != _START for row in rows):
            fail(
                "`next_logits` was given tokens that do not begin with the start token."
            )
        if any(_END in row for row in rows):
            fail(
                "a sentence that had ended was continued: `next_logits` was given "
                "one with the end token in it."
            )
        return torch.stack([self.row(tuple(row[1:])) for row in rows])

    def log_probability(self, sentence: Sequence[int]) -> float:
        """Of a whole sentence, end token included."""
        return sum(
            float(self.row(tuple(sentence[:place])).log_softmax(dim=-1)[token])
            for place, token in enumerate(sentence)
        )

    def sentences(self, max_length: int) -> dict[tuple[int, ...], float]:
        """All sentences of up to `max_length` tokens, with log-probabilities."""
        found, open_ = {}, [((), 0.0)]
        while open_:
            prefix, score = open_.pop()
            for token, more in enumerate(self.row(prefix).log_softmax(dim=-1).tolist()):
                if more == -math.inf:
                    continue
                if token == _END:
                    found[(*prefix, _END)] = score + more
                elif len(prefix) + 1 < max_length:
                    open_.append(((*prefix, token), score + more))
        return found

    def greedy(self, max_length: int) -> tuple[int, ...]:
        sentence: tuple[int, ...] = ()
        while len(sentence) < max_length and _END not in sentence:
            sentence = (*sentence, int(self.row(sentence).argmax()))
        return sentence

    def beam(self, max_length: int, beams: int) -> tuple[int, ...]:
        """The best finished sentence of a plain beam search."""
        alive, done = [((), 0.0)], []
        for _ in range(max_length):
            longer = [
                ((*prefix, token), score + more)
                for prefix, score in alive
                for token, more in enumerate(
                    self.row(prefix).log_softmax(dim=-1).tolist()
                )
                if more > -math.inf
            ]
            longer = sorted(longer, key=lambda pair: -pair[1])[: 2 * beams]
            done += [pair for pair in longer if pair[0][-1] == _END]
            alive = [pair for pair in longer if pair[0][-1] != _END][:beams]
        return max(done, key=lambda pair: pair[1])[0] if done else ()


# vocabulary, seed, sharpness, bias of the end token, longest sentence
_SEARCHES = (
    (4, 101, 1.5, -1.0, 5),
    (4, 41, 1.5, -1.0, 5),
    (5, 55, 2.0, -1.5, 6),
    (6, 6, 2.0, -2.0, 6),
    (6, 34, 2.5, -1.0, 6),
    (5, 88, 2.0, -4.0, 4),
)


@check
def most_likely(most_likely: Callable[..., tuple[list[int], float]]) -> None:
    """7.5: sentence and log-probability against trying all; prefixes are counted."""
    for vocabulary, seed, sharpness, end_bias, max_length in _SEARCHES:
        model = _Prefixes(vocabulary, seed, sharpness, 200_000, end_bias)
        found = call(most_likely, model, _START, _END, max_length)
        sentence, score = _sentence_and_score(found)
        everything = model.sentences(max_length)
        best = max(everything, key=everything.__getitem__)
        _judge_sentence(model, sentence, max_length, best, everything)
        if not math.isclose(score, everything[best], abs_tol=1e-3):
            _judge_score(model, sentence, score, everything[best])
        tried = sum((vocabulary - 2) ** length for length in range(max_length))
        if tried > 100 and model.rows > tried / 2:
            fail(
                f"the sentence is right, and it took {model.rows:,} of {tried:,} "
                "prefixes to find it. There is no need to look at a prefix that is "
                "already less probable than a whole sentence: what comes after can "
                "only lower it. Go on from the most probable prefix first."
            )
    large = _Prefixes(40, 4, 3.0, 20_000)
    sentence, score = _sentence_and_score(call(most_likely, large, _START, _END, 9))
    if not math.isclose(score, large.log_probability(sentence), abs_tol=1e-3):
        _judge_score(large, sentence, score, large.log_probability(sentence))
    passed(
        "the most probable of all sentences that end in time, and its "
        "log-probability, in six small models"
    )
    passed(
        f"without trying all: {large.rows:,} prefixes of a vocabulary of 40, "
        "where there are 38⁸"
    )


def _sentence_and_score(found: Any) -> tuple[tuple[int, ...], float]:
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        fail(
            "two things are to be returned, the tokens and their log-probability; "
            f"this is a {type(found).__name__}."
        )
    tokens, score = found
    if isinstance(tokens, Tensor):
        tokens = tokens.flatten().tolist()
    try:
        sentence = tuple(int(token) for token in tokens)
    except (TypeError, ValueError):
        fail(
            "the first thing returned should be a list of token ids, and is of "
            f"type {type(tokens).__name__}."
        )
    return sentence, as_number(score, "the log-probability")


def _judge_sentence(
    model: _Prefixes,
    sentence: tuple[int, ...],
    max_length: int,
    best: tuple[int, ...],
    everything: dict[tuple[int, ...], float],
) -> None:
    """Fail unless `sentence` is the best of all."""
    if sentence == best:
        return
    if sentence[:1] == (_START,):
        fail("the sentence begins with the start token. Return what comes after it.")
    greedy = model.greedy(max_length)
    if sentence == greedy:
        end = "" if sentence[-1] == _END else ", and it has not even ended"
        fail(
            f"this is the greedy sentence{end}. Each token is the most probable one; "
            "their product need not be."
        )
    if not sentence or sentence[-1] != _END:
        if (*sentence, _END) == best:
            fail(
                "the end token is missing: it is part of the sentence, and of "
                "its probability."
            )
        fail(
            "what is returned has not ended: its last token is not `end`. A prefix "
            "may be more probable than any sentence, and is none."
        )
    if len(sentence) > max_length:
        fail(
            f"the sentence has {len(sentence)} tokens, the end included, and only "
            f"{max_length} are allowed."
        )
    if sentence not in everything:
        fail(
            "this sentence has a token that the model rules out, with a logit of −inf."
        )
    more = (
        "There is one that is "
        f"{math.exp(everything[best] - everything[sentence]):.2f} times as probable."
    )
    if sentence == (_END,):
        fail(
            f"this is the empty sentence. {more} The first that ends need not be "
            "the best."
        )
    averaged = max(everything, key=lambda tokens: everything[tokens] / len(tokens))
    if sentence == averaged:
        fail(
            "this is the best per token, the log-probability divided by the length; "
            f"the sum is asked for. {more}"
        )
    shorter = {
        tokens: score
        for tokens, score in everything.items()
        if len(tokens) < max_length
    }
    if sentence == max(shorter, key=shorter.__getitem__):
        fail(
            f"this is the best of at most {max_length - 1} tokens, and {max_length} "
            f"are allowed: the end counts, the start does not. {more}"
        )
    for beams in (2, 3, 4):
        if sentence == model.beam(max_length, beams):
            fail(f"this is what a beam search of width {beams} finds. {more}")
    raw = {
        tokens: sum(
            float(model.row(tokens[:place])[token])
            for place, token in enumerate(tokens)
        )
        for tokens in everything
    }
    if sentence == max(raw, key=raw.__getitem__):
        fail(
            "this is the sentence with the largest sum of logits. They must become "
            f"log-probabilities first. {more}"
        )
    fail(
        f"this is not the most probable sentence. {more} The first that ends need not "
        "be the best: one that is still open may be more probable, and end well."
    )


def _judge_score(
    model: _Prefixes, sentence: tuple[int, ...], score: float, true: float
) -> None:
    """Fail: the sentence is right and its score is not."""
    steps = [
        float(model.row(sentence[:place]).log_softmax(dim=-1)[token])
        for place, token in enumerate(sentence)
    ]
    reason = "It is the sum of the log-probabilities of all its tokens."
    if math.isclose(score, sum(steps[:-1]), abs_tol=1e-3):
        reason = "The end token's own log-probability is missing in it."
    elif math.isclose(score, true / len(sentence), abs_tol=1e-3):
        reason = "It was divided by the length."
    elif math.isclose(score, -true, abs_tol=1e-3):
        reason = "Its sign is wrong: a log-probability is never above 0."
    elif math.isclose(score, math.exp(true), abs_tol=1e-3):
        reason = "This is the probability; its logarithm is asked for."
    elif math.isclose(
        score,
        sum(float(model.row(sentence[:i])[token]) for i, token in enumerate(sentence)),
        abs_tol=1e-3,
    ):
        reason = (
            "This is the sum of the logits, which must become log-probabilities first."
        )
    fail(
        f"the sentence is right, and its log-probability is {true:.4f}, not "
        f"{score:.4f}. {reason}"
    )


# 7.6


class _Decoder(nn.Module):
    """The exercise's decoder: causal attention, two layers, sinusoids, nothing else."""

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
        self.projected = 0
        self.layers[0].key.register_forward_hook(self._count)

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


def _window(past: int, new: int, how: str) -> Tensor:
    """(T, S) booleans, True where a new token may look; `how` makes mistakes."""
    ones = torch.ones(new, past + new, dtype=torch.bool)
    return {
        "right": lambda: ones.tril(past),
        "top left": lambda: ones.tril(),
        "top left for several": lambda: ones.tril() if new > 1 else ones,
        "none": lambda: ones,
        "none once begun": lambda: ones if past else ones.tril(),
        "new alone": lambda: (
            ones.tril(past).triu(0) & (torch.arange(past + new) >= past)
        ),
        "one ahead": lambda: ones.tril(past + 1),
        "not itself": lambda: ones.tril(max(past - 1, 0)),
        "upside down": lambda: ~ones.tril(past),
        "future": lambda: ones.triu(past),
    }[how]()


def _extended(
    model: _Decoder, pieces: Sequence[Tensor], how: str = "right", offset: bool = True
) -> Tensor:
    """Logits (B, T, V) of tokens fed in pieces."""
    results, cache = [], [None] * len(model.layers)
    past = 0
    for tokens in pieces:
        new = tokens.size(1)
        begin = past if offset else 0
        x = (
            model.embedding(tokens)
            + sinusoidal_positions(begin + new, model.embedding.embedding_dim)[begin:]
        )
        for number, layer in enumerate(model.layers):
            key, value = layer.key(x), layer.value(x)
            if cache[number] is not None:
                key, value = (
                    torch.cat(pair, dim=1)
                    for pair in zip(cache[number], (key, value), strict=True)
                )
            cache[number] = (key, value)
            query, keys, values = (
                split_heads(t, layer.heads) for t in (layer.query(x), key, value)
            )
            mask = _window(past, new, how)
            x = x + layer.output(
                merge_heads(
                    F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
                )
            )
        past += new
        results.append(model.output(x))
    return torch.cat(results, dim=1)


_WINDOWS = {
    "top left": (
        "the mask is still aligned at its first row and column: new token 0 sees place "
        "0 alone, as if it were the first of the text. How many places were there "
        "before it?"
    ),
    "top left for several": (
        "one token at a time is right now. With several new ones, the first of them "
        "still sees place 0 alone, as if it were the first of the text."
    ),
    "none": (
        "there is no mask at all: where several tokens come at once, the first of them "
        "sees those after it."
    ),
    "none once begun": (
        "the first piece is right. In later ones there is no mask, so the first of "
        "several new tokens sees those after it."
    ),
    "new alone": "the new tokens see each other and nothing of what is in the cache.",
    "one ahead": "each token sees one place too many: the one after it.",
    "not itself": "each token sees one place too few: it should see itself as well.",
    "upside down": "the mask is upside down: True means may be looked at.",
    "future": "each token sees what comes after it, and nothing before.",
}


@check
def mended_extend(mended_extend: Callable[[nn.Module, Tensor, list], Tensor]) -> None:
    """7.6: seven tokens of two texts in pieces, against the model's forward pass."""
    tokens = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [2, 7, 1, 8, 2, 8, 1]])  # (B=2, T=7)
    for sizes in ((7,), (1,) * 7, (4, 1, 1, 1), (3, 4), (1, 3, 2, 1)):
        one_by_one = sizes not in ((7,), (1,) * 7)  # was right, if we are here
        model = _Decoder()
        how_fed = (
            "all at once"
            if len(sizes) == 1
            else f"in pieces of {', '.join(map(str, sizes))}"
        )
        pieces = tokens.split(list(sizes), dim=1)
        cache: list[Any] = [None] * len(model.layers)
        results, past = [], 0
        with torch.no_grad():
            for piece in pieces:
                result = call(mended_extend, model, piece.clone(), cache)
                shape = (2, piece.size(1), 12)
                what = f"the result for {piece.size(1)} new tokens after {past}"
                expect_shape(result, shape, what)
                results.append(_tensor(result, what).float())
                past += piece.size(1)
                _judge_cache(cache, past, how_fed)
                _judge_order(cache[0][0], model, tokens[:, :past])
            projected = model.projected
            result, expected = torch.cat(results, dim=1), model(tokens)
            if result.isnan().any():
                fail(f"fed {how_fed}, there are NaN: a token sees nothing at all.")
            if torch.allclose(result, expected, atol=1e-4):
                if projected > 2 * tokens.size(1):
                    fail(
                        f"fed {how_fed}, the logits are right, and keys were computed "
                        f"for {projected // 2} tokens, where there are "
                        f"{tokens.size(1)}: old ones are computed again."
                    )
                continue
            for offset, how in itertools.product((True, False), ("right", *_WINDOWS)):
                if one_by_one and how == "top left":
                    continue
                if torch.allclose(
                    result, _extended(model, pieces, how, offset), atol=1e-4
                ):
                    shifted = "" if offset else "positions begin at 0 in every piece"
                    reasons = [
                        reason for reason in (shifted, _WINDOWS.get(how, "")) if reason
                    ]
                    reason = "; and ".join(reasons)
                    fail(
                        f"fed {how_fed}, "
                        f"{reason}{'' if reason.endswith(('.', '?')) else '.'}"
                    )
            off = (result - expected).abs().amax(dim=(0, 2)) > 1e-4
            fail(
                f"fed {how_fed}, the logits at position {int(off.nonzero()[0])} are "
                "the first that differ from a pass over the whole text. For each new "
                "token, say which places it may see, and draw that mask, (T, S), for "
                "2 new tokens after 3 old ones."
            )
    passed(
        "fed all at once, one by one, or in pieces: the logits of one pass over "
        "the whole text"
    )
    passed("every key and value is computed once")


def _judge_cache(cache: list[Any], past: int, how_fed: str) -> None:
    """Fail unless each layer holds keys and values (B, S, C) of all tokens so far."""
    for number, entry in enumerate(cache):
        if entry is None:
            fail(
                f"`cache[{number}]` is still None: the keys and values never got into "
                "the list that was passed in. Assign to its places; a new list is "
                "lost when the function returns."
            )
        if not isinstance(entry, (tuple, list)) or len(entry) != 2:
            fail(
                f"`cache[{number}]` should be a pair, keys and values, each (B, S, C)."
            )
        for name, part in zip(("keys", "values"), entry, strict=True):
            if getattr(part, "shape", None) != (2, past, 8):
                shape = tuple(getattr(part, "shape", ()))
                fail(
                    f"fed {how_fed}, after {past} tokens the {name} in "
                    f"`cache[{number}]` have shape {shape}, and should have (2, "
                    f"{past}, 8): those of all tokens so far."
                )


def _judge_order(keys: Tensor, model: _Decoder, tokens: Tensor) -> None:
    """Fail where the first layer's keys are right, but not in the text's order."""
    positions = sinusoidal_positions(tokens.size(1), model.embedding.embedding_dim)
    key = model.layers[
        0
    ].key  # its weights, not the module, which counts what goes through it
    expected = F.linear(model.embedding(tokens) + positions, key.weight, key.bias)
    if torch.allclose(keys, expected, atol=1e-5):
        return
    if torch.allclose(keys.sort(dim=1).values, expected.sort(dim=1).values, atol=1e-5):
        fail(
            "the keys in `cache[0]` are not in the order of the text: new ones "
            "go behind the old."
        )


# 7.7

_P = torch.tensor(
    [0.40, 0.25, 0.20, 0.15, 0.00]
)  # what the target says, in the first test
_Q = torch.tensor([0.10, 0.35, 0.05, 0.30, 0.20])  # what the draft says
_ROUNDS = 60_000


def _outcome(p: Tensor, q: Tensor, how: str) -> tuple[Tensor, float]:
    """What a choice gives in the long run: distribution (V,), how often it is kept."""

    def normal(x: Tensor) -> Tensor:
        return x / x.sum()

    ratio = (p / q.clamp(min=1e-12)).clamp(max=1)
    inverse = (q / p.clamp(min=1e-12)).clamp(max=1)
    more = normal((p - q).clamp(min=0))
    accept, otherwise = {
        "right": (ratio, more),
        "always": (torch.ones_like(p), more),
        "never": (torch.zeros_like(p), p),
        "again from p": (ratio, p),
        "again from q": (ratio, q),
        "without it": (ratio, p),
        "inverse": (inverse, more),
        "inverse, from p": (inverse, p),
        "p alone": (p, more),
        "p alone, from p": (p, p),
        "absolute": (ratio, normal((p - q).abs())),
        "turned": (ratio, normal((q - p).clamp(min=0))),
        "greedy": (
            (torch.arange(len(p)) == p.argmax()).float(),
            normal(torch.where(p == p.max(), 1.0, 0.0)),
        ),
        "larger": ((p >= q).float(), more),
        "larger, from p": ((p >= q).float(), p),
        "best of the rest": (ratio, normal((more == more.max()).float())),
    }[how]
    if (
        how == "without it"
    ):  # p without the rejected token, which differs from row to row
        others = p * (1 - torch.eye(len(p)))
        result = q * accept + (q * (1 - accept)) @ (
            others / others.sum(dim=-1, keepdim=True)
        )
        return result, float((q * accept).sum())
    kept = q * accept
    rate = float(kept.sum())
    result = kept + (1 - rate) * otherwise
    # A draw after a rejection may bring the same token back.
    return result, rate + float((q * (1 - accept) * otherwise).sum())


_CHOICES = {
    "always": "drafted tokens are always kept, so this is the draft's distribution.",
    "again from p": (
        "after a rejection you draw from the target's whole distribution. Tokens of "
        "which the draft has proposed too few are then still too few: what is missing "
        "is `target` minus `draft`, where it is positive."
    ),
    "without it": (
        "after a rejection you draw from the target without the rejected token. Others "
        "that the draft proposes too often are in it still; of those nothing is "
        "missing."
    ),
    "again from q": "after a rejection you draw from the draft again.",
    "inverse": (
        "the ratio is upside down. A token is kept for sure where the target finds it "
        "at least as probable as the draft does."
    ),
    "inverse, from p": (
        "the ratio is upside down, and after a rejection you draw from the target's "
        "whole distribution."
    ),
    "p alone": (
        "a token is kept with the target's probability. How often it was proposed must "
        "count too."
    ),
    "p alone, from p": (
        "a token is kept with the target's probability, whatever the draft said, and "
        "after a rejection you draw from the target's whole distribution."
    ),
    "absolute": (
        "after a rejection tokens are drawn where the two differ in either direction. "
        "Those of which the draft has proposed too many must get nothing."
    ),
    "turned": (
        "after a rejection tokens are drawn where the draft says more than the target, "
        "of which there are too many already."
    ),
    "greedy": "this is always the target's most probable token. It should be a sample.",
    "larger": (
        "a token is kept or not by which probability is larger. Where the target's is "
        "smaller, it should still be kept some of the time."
    ),
    "larger, from p": (
        "a token is kept or not by which probability is larger. Where the target's is "
        "smaller, it should still be kept some of the time."
    ),
    "best of the rest": (
        "after a rejection you take the most probable of what is missing. It should be "
        "drawn."
    ),
}


def _choose(
    speculative_choice: Callable[..., Tensor],
    drafted: Tensor,
    target: Tensor,
    draft: Tensor,
    seed: int,
) -> Tensor:
    """Call the answer with copies, and hold its result to be tokens (N,)."""
    copies = drafted.clone(), target.clone(), draft.clone()
    try:
        result = call(speculative_choice, *copies, _generator(seed))
    except CheckFailed as failed:
        if "multinomial" in str(failed) or "probability tensor" in str(failed):
            fail(
                "`multinomial` was given a row that is no distribution: all zeros, "
                "or NaN. In some rows nothing is missing, as where target and draft "
                "agree. No token is rejected there, but a row to draw from is needed "
                "for each all the same."
            )
        raise
    rows, vocabulary = target.shape
    expect_shape(result, (rows,), f"the result for {rows} drafted tokens")
    result = _tensor(result, "the result")
    if result.is_floating_point() or result.dtype == torch.bool:
        fail(f"the result has the dtype {result.dtype}; it should hold token ids.")
    if not ((result >= 0) & (result < vocabulary)).all():
        fail(f"the result has ids outside the vocabulary of {vocabulary}.")
    for name, copy, original in zip(
        ("drafted", "target", "draft"), copies, (drafted, target, draft), strict=True
    ):
        if not torch.equal(copy, original):
            fail(
                f"`{name}` was changed in place. Whoever passed it in may still "
                "need it."
            )
    return result.long()


def _drawn(probabilities: Tensor, seed: int) -> Tensor:
    return torch.multinomial(probabilities, 1, generator=_generator(seed))[:, 0]


@check
def speculative_choice(
    speculative_choice: Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor],
) -> None:
    """7.7: the distribution of what is chosen, and how often the draft is kept."""
    same = random_tensor(200, 6, seed=2).softmax(dim=-1)
    drafted = _drawn(same, seed=3)
    result = _choose(speculative_choice, drafted, same, same, seed=4)
    if not torch.equal(result, drafted):
        share = float((result == drafted).float().mean())
        fail(
            f"where target and draft agree in everything, {share:.2f} of the drafted "
            "tokens are kept. All should be: with p = q nothing is to be mended."
        )
    # Only drafts of token 1, which should be kept 0.25 / 0.35 of the time, for several
    # seeds.
    ones, shares = torch.ones(400, dtype=torch.long), []
    for seed in range(20, 32):
        result = _choose(
            speculative_choice, ones, _P.repeat(400, 1), _Q.repeat(400, 1), seed
        )
        shares.append((result == 1).double().mean())
    if torch.stack(shares).std() > 0.2:
        fail(
            "of 400 rows with the same draft, all are kept or none, with one seed so "
            "and with another so: one random number decides for all rows. Draw one "
            "for each."
        )
    # Two kinds of rows in turn, so that a row's own probabilities must be used.
    target = torch.stack([_P, _P.flip(0)]).repeat(_ROUNDS, 1)
    draft = torch.stack([_Q, _Q.roll(1)]).repeat(_ROUNDS, 1)
    drafted = _drawn(draft, seed=5)
    result = _choose(speculative_choice, drafted, target, draft, seed=6)
    for kind in (0, 1):
        _judge_choice(result[kind::2], drafted[kind::2], target[kind], draft[kind])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        again = _choose(speculative_choice, drafted, target, draft, seed=6)
        torch.manual_seed(1)
        once_more = _choose(speculative_choice, drafted, target, draft, seed=6)
    if not (torch.equal(result, again) and torch.equal(again, once_more)):
        fail(
            "the same generator seed gives another result: pass `generator` to every "
            "random function you call."
        )
    if torch.equal(result, _choose(speculative_choice, drafted, target, draft, seed=7)):
        fail("another seed of `generator` gives the same result: is it used?")
    passed("what comes out is distributed as the target says, row by row")
    passed("and the draft is kept as often as can be: Σ min(p, q) of the time")
    passed("the same seed gives the same tokens")


def _judge_choice(result: Tensor, drafted: Tensor, p: Tensor, q: Tensor) -> None:
    """Fail unless the chosen tokens come from the target, and keep what they can."""
    frequency = result.bincount(minlength=len(p)).double() / len(result)
    kept = float((result == drafted).double().mean())
    slack = 5 / math.sqrt(
        len(result)
    )  # more than five standard deviations, for shares up to a half

    def near(how: str) -> bool:
        distribution, rate = _outcome(p, q, how)
        return (
            bool((frequency - distribution).abs().max() < slack)
            and abs(kept - rate) < slack
        )

    if near("right"):
        return
    for how, diagnosis in _CHOICES.items():
        if near(how):
            fail(diagnosis)
    if (frequency - p).abs().max() < slack:
        fail(
            "what comes out is distributed as the target says, but the drafted token "
            f"is kept only {kept:.2f} of the time, where "
            f"{float(torch.minimum(p, q).sum()):.2f} is possible: it is thrown away "
            "without need."
        )
    token = int((frequency - p.double()).abs().argmax())
    fail(
        f"token {token} has the target probability {p[token]:.2f} and comes out "
        f"{frequency[token]:.2f} of the time. Add up in how many ways it can come "
        "out: drafted and kept, or drawn after a rejection."
    )
