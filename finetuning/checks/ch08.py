"""Checks of chapter 08, BERT.

- `encode_pair(encode_pair)`: 8.1, two texts in one row that may not be longer than a
  limit
- `gradients(river_vector, …, key_bias)`: 8.2, what one hidden word sends a gradient to
- `mended_mask_exactly(mended_mask_exactly)`: 8.3, so many tokens of each text hidden,
  mended
- `choose_words(choose_words)`: 8.4, whole words chosen to be guessed
- `mended_embed(mended_embed)`: 8.5, vectors of texts that do not depend on their
  neighbours, mended
- `token_scores(token_scores)`: 8.6, pseudo-log-likelihood, token by token
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

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
    written,
)
from finetuning.scratch.bert import (
    Bert,
    BertConfiguration,
    MaskedLanguageModel,
    initialise,
)

__all__ = [
    "choose_words",
    "encode_pair",
    "gradients",
    "mended_embed",
    "mended_mask_exactly",
    "token_scores",
]


def _unchanged(function: Callable, *arguments: Any, **keywords: Any) -> Any:
    """`call` with copies of tensors, lists; fail where the answer writes into one."""
    copies = [
        a.clone() if isinstance(a, Tensor) else list(a) if isinstance(a, list) else a
        for a in arguments
    ]
    result = call(function, *copies, **keywords)
    for before, after in zip(arguments, copies, strict=True):
        same = (
            torch.equal(before, after)
            if isinstance(before, Tensor)
            else before == after
        )
        if isinstance(before, Tensor | list) and not same:
            fail(
                "your function writes into the "
                f"{'tensor' if isinstance(before, Tensor) else 'list'} that it was "
                "given. Others still need it: work on a copy."
            )
    return result


def _two(result: Any, what: str) -> tuple[Any, Any]:
    """The two parts of a result. Fails where there are not two."""
    written(result, "the answer")
    if not isinstance(result, tuple | list) or len(result) != 2:
        fail(
            f"{what} are needed, one behind the other, and what came back is of "
            f"type {type(result).__name__}."
        )
    return written(result[0], "the first of the two results"), written(
        result[1], "the second of the two results"
    )


# 8.1


@check
def encode_pair(encode_pair: Callable[..., tuple[list[int], list[int]]]) -> None:
    """8.1: marks and segments in their places, the longer text cut until all fits."""
    for sizes in ((3, 2), (1, 4), (0, 2), (3, 0)):
        first, second = _texts(*sizes)
        got = _row(encode_pair, first, second, 20)
        _compare_pair(*got, first, second)
    passed(
        "a pair that fits keeps all its tokens, with three marks, and segments 0 and 1"
    )
    cases = (
        ((4, 4), 11),
        ((2, 9), 8),
        ((9, 2), 8),
        ((9, 9), 13),
        ((30, 5), 16),
        ((6, 9), 12),
        ((9, 6), 12),
        ((8, 8), 12),
        ((0, 9), 6),
        ((8, 8), 3),
        ((1, 40), 4),
        ((700, 600), 512),
    )
    for sizes, limit in cases:
        first, second = _texts(*sizes)
        ids, segments = _row(encode_pair, first, second, limit)
        _compare_cut(ids, segments, first, second, limit)
    passed(
        "a pair that does not fit is cut to the limit, at the ends, the longer "
        "text first"
    )
    for limit in (2, 0):
        try:
            encode_pair(*_texts(3, 3), limit)
        except ValueError:
            continue
        except Exception as error:
            fail(
                f"with max_length={limit} a ValueError is needed, and what was raised "
                f"is {type(error).__name__}."
            )
        fail(
            f"with max_length={limit} the three marks have no room, and your function "
            "returned something all the same. Raise a ValueError."
        )
    passed("a limit without room for the marks is refused")


def _texts(first: int, second: int) -> tuple[list[int], list[int]]:
    return list(range(1000, 1000 + first)), list(range(3000, 3000 + second))


def _row(
    function: Callable, first: list[int], second: list[int], limit: int
) -> tuple[list[int], list[int]]:
    """The learner's row as two lists, with marks other than the defaults."""
    parts = _two(
        _unchanged(function, first, second, limit, 7, 8), "the ids and the segments"
    )
    try:
        ids, segments = ([int(number) for number in part] for part in parts)
    except (TypeError, ValueError):
        fail("the ids and the segments should be lists of integers.")
    if 101 in ids or 102 in ids:
        fail(
            "called with cls=7 and separator=8, the row still has 101 or 102 in "
            "it. Use the arguments."
        )
    return ids, segments


def _compare_pair(
    ids: list[int], segments: list[int], first: list[int], second: list[int]
) -> None:
    """Fail unless a pair that fits is as it should be."""
    wanted = [7, *first, 8, *second, 8]
    known = {
        "the second [SEP] is missing: each text ends with one.": [
            7,
            *first,
            8,
            *second,
        ],
        "there is a [CLS] before the second text. The row has only one, at its "
        "beginning.": [
            7,
            *first,
            8,
            7,
            *second,
            8,
        ],
        "nothing stands between the two texts. A [SEP] belongs there.": [
            7,
            *first,
            *second,
            8,
        ],
        "the [CLS] at the beginning is missing.": [*first, 8, *second, 8],
        "the second text comes first.": [7, *second, 8, *first, 8],
    }
    what = (
        f"for texts of {len(first)} and {len(second)} tokens and room for all of them,"
    )
    if ids != wanted:
        for diagnosis, wrong in known.items():
            if ids == wrong:
                fail(f"{what} {diagnosis}")
        shown = ["[CLS]" if i == 7 else "[SEP]" if i == 8 else i for i in ids]
        fail(
            f"{what} the row is {shown}. It should be [CLS], the first text, "
            "[SEP], the second, [SEP]."
        )
    _compare_segments(segments, len(first), len(second), what)


def _compare_segments(segments: list[int], first: int, second: int, what: str) -> None:
    wanted = [0] * (first + 2) + [1] * (second + 1)
    known = {
        "the [SEP] behind the first text has the segment 1. It closes the first "
        "text and belongs to it.": [0] * (first + 1) + [1] * (second + 2),
        "the last [SEP] has the segment 0. It belongs to the second text.": (
            [0] * (first + 2) + [1] * second + [0]
        ),
        "the segments are 1 and 2. They choose rows of a table with two rows, 0 "
        "and 1.": [1] * (first + 2) + [2] * (second + 1),
        "the segments of the first text are 1 and those of the second 0.": (
            [1] * (first + 2) + [0] * (second + 1)
        ),
        "all segments are 0.": [0] * (first + second + 3),
    }
    if segments == wanted:
        return
    if len(segments) != len(wanted):
        fail(
            f"{what} there are {len(segments)} segments for {len(wanted)} tokens. "
            "Marks have segments too."
        )
    for diagnosis, wrong in known.items():
        if segments == wrong:
            fail(f"{what} {diagnosis}")
    fail(f"{what} the segments are {segments}, and should be {wanted}.")


def _compare_cut(
    ids: list[int], segments: list[int], first: list[int], second: list[int], limit: int
) -> None:
    """Fail unless the row is cut rightly; an odd token may go to either text."""
    what = f"for texts of {len(first)} and {len(second)} tokens and max_length={limit},"
    if len(ids) > limit:
        hint = " Do the three marks count?" if len(ids) == limit + 3 else ""
        fail(f"{what} the row has {len(ids)} ids.{hint}")
    if ids.count(8) != 2 or ids[0] != 7 or ids[-1] != 8:
        fail(
            f"{what} a mark was cut off. Cut the texts, and put the marks around "
            "what is left of them."
        )
    middle = ids.index(8)
    kept = ids[1:middle], ids[middle + 1 : -1]
    for text, part in zip((first, second), kept, strict=True):
        if part == text[: len(part)]:
            continue
        if part == text[len(text) - len(part) :]:
            fail(
                f"{what} a text lost its first tokens. It should lose those at its end."
            )
        fail(f"{what} what is left of a text are not its first tokens, in their order.")
    one, two = map(len, kept)
    if one + two < min(limit - 3, len(first) + len(second)):
        fail(
            f"{what} {one} and {two} tokens are kept, and there is room for "
            f"{limit - 3}. Is the room of the shorter text given to the longer one?"
        )
    room = limit - 3
    low, high = sorted((len(first), len(second)))
    if low + high <= room:
        fair = {(len(first), len(second))}
    else:
        short = min(low, room // 2)
        options = {(short, room - short), (room - short, short)}
        fair = {(a, b) for a, b in options if a <= len(first) and b <= len(second)}
        if low > room // 2 or len(first) == len(second):
            pass
        elif len(first) < len(second):
            fair = {(short, room - short)}
        else:
            fair = {(room - short, short)}
    if (one, two) not in fair:
        hint = "The longer one should lose tokens until both are equally long."
        if one == min(len(first), room) or two == min(len(second), room):
            hint = "One text is cut for the other's sake, whichever is longer. " + hint
        fail(f"{what} {one} and {two} tokens are kept. {hint}")
    _compare_segments(segments, one, two, what)


# 8.2

_QUESTIONS = {  # for each prediction that is wrong, a question that leads on
    "river_vector": (
        "Place 3 reads all real places through attention. Is *river* at one of them?"
    ),
    "boat_vector": (
        "The logits are products of the state with the word vectors, and the softmax "
        "divides by a sum over all of them. Is *boat* in that sum?"
    ),
    "boat_vector_untied": (
        "With a table of its own at the end, where would the word vector of a word be "
        "used that is not in the text?"
    ),
    "boat_bias": (
        "Every logit has a bias, and the softmax divides by a sum over all logits. Is "
        "*boat* in it?"
    ),
    "padding_vector": (
        "Padding cannot be seen at the entrance. But where else are the word vectors "
        "used, and for which words?"
    ),
    "padding_position": (
        "Which real place could have read something of place 9, with this mask?"
    ),
    "second_segment": "*it* and *fell* belong to segment 1. Does place 3 read them?",
    "river_first_state": "Does place 3 read place 2 in the first layer?",
    "river_last_state": (
        "After the last layer, what still reads the state at place 2? Is a label there?"
    ),
    "key_bias": (
        "A bias of the keys adds q · c to every score of a row. Does the softmax "
        "notice?"
    ),
}


@check
def gradients(
    river_vector: bool,
    boat_vector: bool,
    boat_vector_untied: bool,
    boat_bias: bool,
    padding_vector: bool,
    padding_position: bool,
    second_segment: bool,
    river_first_state: bool,
    river_last_state: bool,
    key_bias: bool,
) -> None:
    """8.2: each prediction against the gradients in a small random BERT."""
    answers = (
        river_vector,
        boat_vector,
        boat_vector_untied,
        boat_bias,
        padding_vector,
        padding_position,
        second_segment,
        river_first_state,
        river_last_state,
        key_bias,
    )
    said_of = dict(zip(_QUESTIONS, answers, strict=True))
    for name, said in said_of.items():
        written(said, f"`{name}`")
    for name, said in said_of.items():
        if not isinstance(said, bool):
            fail(
                f"`{name}` is {describe(said)}, and there are two answers: True and "
                "False, without quotes."
            )
    for name, largest in _gradients().items():
        true = largest > 1e-10
        if said_of[name] != true:
            fail(
                f"`{name}`: the gradient is {'not ' if true else ''}zero. "
                f"{_QUESTIONS[name]}"
            )
    passed(
        "all ten predictions agree with the gradients in a small BERT with "
        "random weights"
    )


def _gradients() -> dict[str, float]:
    """The largest gradient of each thing in 8.2, in float64."""
    the, river, rose, it, fell, boat = range(4, 10)
    ids = torch.tensor([[1, the, river, 3, 2, it, fell, 2, 0, 0]])
    segments = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1, 0, 0]])
    mask = torch.tensor([[1] * 8 + [0] * 2])
    labels = torch.full_like(ids, -100)
    labels[0, 3] = rose
    model = _random_model(12, 10).double()
    bert = model.bert
    first = bert.embeddings(ids, segments)
    first.retain_grad()
    states = bert.encoder(first, mask)
    states[-1].retain_grad()

    def loss(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    loss(model.logits(states[-1])).backward()
    words, positions = (
        bert.embeddings.words.weight,
        bert.embeddings.positions.table.weight,
    )
    found = {
        "river_vector": words.grad[river],
        "boat_vector": words.grad[boat],
        "boat_bias": model.bias.grad[boat],
        "padding_vector": words.grad[0],
        "padding_position": positions.grad[9],
        "second_segment": bert.embeddings.segments.weight.grad[1],
        "river_first_state": first.grad[0, 2],
        "river_last_state": states[-1].grad[0, 2],
        "key_bias": bert.encoder.layers[-1].attention.key.bias.grad,
    }
    largest = {name: float(gradient.abs().max()) for name, gradient in found.items()}
    words.grad = None
    table = words.detach().clone()
    hidden = model.norm(F.gelu(model.transform(bert(ids, mask, segments))))
    loss(hidden @ table.T + model.bias).backward()
    return largest | {"boat_vector_untied": float(words.grad[boat].abs().max())}


def _random_model(vocabulary: int, length: int, seed: int = 0) -> MaskedLanguageModel:
    """A small model, evaluating, with weights large enough for its parts to matter."""
    sizes = BertConfiguration(
        vocabulary,
        width=16,
        layers=2,
        heads=2,
        hidden=32,
        max_length=length,
        dropout=0.0,
    )
    with torch.random.fork_rng():  # the learner's random numbers are left alone
        torch.manual_seed(seed)
        model = MaskedLanguageModel(sizes)
        initialise(model, std=0.4)
    return model.eval()


# 8.3


@check
def mended_mask_exactly(
    mended_mask_exactly: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    """8.3: how many of each text, never special tokens, labels, three shares."""
    for vocabulary, special, mask in ((50, [0, 1, 2, 3, 17], 3), (40, [5, 38, 39], 38)):
        ordinary_ids = [number for number in range(vocabulary) if number not in special]
        for rate in (0.15, 0.5):
            ids = _ragged(ordinary_ids, special, (7, 12, 20, 27, 3, 1, 0))
            results = [
                _hide(mended_mask_exactly, ids, vocabulary, special, mask, seed, rate)
                for seed in range(3)
            ]
            counts = [(labels != -100).sum(dim=1).tolist() for _, labels in results]
            if counts[0] != counts[1] or counts[1] != counts[2]:
                fail(
                    "another generator, another number of tokens to be guessed in "
                    "the same text. The number is fixed by the text; only which "
                    "tokens they are is left to chance."
                )
            for shown, labels in results:
                _compare_chosen(ids, shown, labels, special, rate)
    passed(
        "of each text the right number of tokens is to be guessed, at least one, "
        "and nothing special"
    )
    passed(
        "labels are the original ids there and −100 elsewhere; all other tokens "
        "are shown as they are"
    )
    vocabulary, special, mask = 50, [0, 1, 2, 3, 17], 3
    ids = _ragged(
        [number for number in range(50) if number not in special],
        special,
        (40,) * 3000,
        length=42,
    )
    shown, labels = _hide(mended_mask_exactly, ids, vocabulary, special, mask, 7, 0.15)
    _compare_shares(ids, shown, labels, special, mask)
    _compare_draws(mended_mask_exactly, ids[:50], vocabulary, special, mask)
    passed(
        "80 of 100 are shown as [MASK], 10 as another ordinary word, 10 as they "
        "are; every place has its turn"
    )
    passed("all chance comes from the generator")


def _ragged(
    ordinary: list[int], special: list[int], counts: Sequence[int], length: int = 40
) -> Tensor:
    """Rows of so many ordinary ids between two special ones, padded either side."""
    generator = torch.Generator().manual_seed(len(counts))
    rows = []
    for number, count in enumerate(counts):
        words = torch.tensor(ordinary)[
            torch.randint(len(ordinary), (count,), generator=generator)
        ].tolist()
        text = [special[-1], *words, special[1]]
        padding = [special[0]] * (length - len(text))
        rows.append(padding + text if number % 3 == 2 else text + padding)
    return torch.tensor(rows)


def _hide(
    function: Callable,
    ids: Tensor,
    vocabulary: int,
    special: list[int],
    mask: int,
    seed: int,
    rate: float,
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    result = _unchanged(function, ids, vocabulary, special, mask, generator, rate)
    shown, labels = _two(result, "what is shown and the labels")
    for part, what in ((shown, "what is shown"), (labels, "the labels")):
        expect_shape(part, ids.shape, what)
        if (
            not isinstance(part, Tensor)
            or part.is_floating_point()
            or part.dtype == torch.bool
        ):
            fail(f"{what} should be a tensor of ids, integers.")
    return shown.long(), labels.long()


def _compare_chosen(
    ids: Tensor, shown: Tensor, labels: Tensor, special: list[int], rate: float
) -> None:
    chosen, ordinary = labels != -100, ~torch.isin(ids, torch.tensor(special))
    if not torch.equal(labels[chosen], ids[chosen]):
        if torch.equal(labels[chosen], shown[chosen]):
            fail(
                "the labels are what is shown, [MASK] and all. They should be "
                "the original ids."
            )
        fail(
            "where a label is not −100, it should be the original id, and one is "
            "something else."
        )
    if (chosen & ~ordinary).any():
        row = int((chosen & ~ordinary).any(dim=1).nonzero()[0])
        fail(
            f"in a text with {int(ordinary[row].sum())} ordinary tokens and "
            f"{int((~ordinary[row]).sum())} special ones, a special token is to be "
            "guessed. Which places may be chosen at all? And is everything in "
            "`special` left out?"
        )
    moved = (shown != ids) & ~chosen
    if moved.any():
        fail(
            "a token that is not to be guessed is shown as something else. The loss "
            "never looks there, and the text is spoilt."
        )
    got = chosen.sum(dim=1).tolist()
    available = ordinary.sum(dim=1).tolist()
    for count, size in zip(got, available, strict=True):
        wanted = min(size, max(1, round(rate * size)))
        if count == wanted or (
            abs(rate * size % 1 - 0.5) < 1e-6 and count in (wanted, wanted + 1)
        ):
            continue
        what = (
            f"of a text with {size} ordinary tokens, in a row of {ids.size(1)} and at "
            f"rate {rate:g}, the number to be guessed is {count}"
        )
        if count == 0:
            fail(f"{what}. There should be at least one.")
        if count == min(size, round(rate * ids.size(1))):
            fail(
                f"{what}. That is counted from the length of the row. Count what "
                "may be chosen."
            )
        if count == min(size, math.floor(rate * size)):
            fail(f"{what}: rounded down. Round to the nearest number.")
        if count == min(size, math.ceil(rate * size)):
            fail(f"{what}: rounded up. Round to the nearest number.")
        if count == min(size, round(0.15 * size)):
            fail(f"{what}. Is the argument `rate` used?")
        fail(f"{what}, and should be {wanted}. Count for each text.")


def _compare_shares(
    ids: Tensor, shown: Tensor, labels: Tensor, special: list[int], mask: int
) -> None:
    chosen = labels != -100
    hidden, same = shown == mask, shown == ids
    other = chosen & ~hidden & ~same
    if torch.isin(shown[other], torch.tensor(special)).any():
        fail(
            "now and then a special token is put in the place of a word. The words "
            "to put there should be drawn from the ordinary ids alone, and `special` "
            "says which are not."
        )
    shares = [
        float(part[chosen].float().mean()) for part in (hidden, other, same & ~hidden)
    ]
    text = ", ".join(f"{share:.2f}" for share in shares)
    what = (
        "of the tokens to be guessed, the shares shown as [MASK], as another word "
        f"and as they are: {text}."
    )
    if any(
        abs(share - wanted) > 0.02
        for share, wanted in zip(shares, (0.8, 0.1, 0.1), strict=True)
    ):
        hint = "They should be 0.80, 0.10 and 0.10."
        if abs(shares[0] - 0.8) < 0.02 and shares[1] < 0.04:
            hint += (
                " The second throw only counts where the first has not won, and so "
                "most of its tenth is lost."
            )
        if shares[0] > 0.98:
            hint += " All of them show [MASK]."
        fail(f"{what} {hint}")
    if len(shown[other].unique()) < 40:
        fail(
            f"of 45 ordinary words only {len(shown[other].unique())} are ever put in "
            "another's place. Draw a new word for each token, from all of them."
        )
    for offset, columns in ((0, slice(1, 41)), (2, slice(1, 41))):
        rows = chosen[offset::3].float()[:, columns]
        by_place = rows.mean(dim=0)
        if (by_place - 0.15).abs().max() > 0.06:
            place = int((by_place - 0.15).abs().argmax())
            fail(
                f"of texts of 40 tokens, token {place} is to be guessed in "
                f"{by_place[place]:.0%} of cases. All tokens should have the same "
                "chance, 15 %."
            )
    if torch.equal(chosen[0], chosen[3]) and torch.equal(chosen[3], chosen[6]):
        fail("the same places are chosen in every text. Draw for each text anew.")


def _compare_draws(
    function: Callable, ids: Tensor, vocabulary: int, special: list[int], mask: int
) -> None:
    """Fail unless equal generators give the same, and the next call something else."""
    again = [_hide(function, ids, vocabulary, special, mask, 5, 0.15) for _ in range(2)]
    if not all(torch.equal(a, b) for a, b in zip(*again, strict=True)):
        fail(
            "two calls with a generator of the same seed differ. Give "
            "`generator` to every draw."
        )
    generator = torch.Generator().manual_seed(5)
    both = [call(function, ids, vocabulary, special, mask, generator) for _ in range(2)]
    if torch.equal(both[0][1], both[1][1]):
        fail(
            "two calls in a row choose the same tokens. Draw from `generator`, "
            "and do not seed it anew."
        )


# 8.4

_WORD_SPECIAL = [0, 1, 2, 3]


@check
def choose_words(choose_words: Callable[..., Tensor]) -> None:
    """8.4: whole words, equally likely and independent, never special tokens."""
    for vocabulary, special in ((40, _WORD_SPECIAL), (30, [7, 28, 29])):
        ids, continues = _pieces(vocabulary, special, 40)
        for rate in (0.0, 1.0, 0.5):
            chosen = _chosen(choose_words, ids, continues, special, rate, 1)
            _compare_words(chosen, ids, continues, special, rate)
    passed(
        "all pieces of a word are chosen, or none; special tokens never; a "
        "cut-off word by itself"
    )
    ids, continues = _pieces(40, _WORD_SPECIAL, 4000)
    chosen = _chosen(choose_words, ids, continues, _WORD_SPECIAL, 0.15, 2)
    _compare_words(chosen, ids, continues, _WORD_SPECIAL, 0.15)
    _compare_chances(chosen, ids, continues)
    passed(
        "words of one, two and three pieces have the same chance, independently "
        "of their neighbours"
    )
    few = ids[:200]
    again = [
        _chosen(choose_words, few, continues, _WORD_SPECIAL, 0.15, 5) for _ in range(2)
    ]
    if not torch.equal(*again):
        fail(
            "two calls with a generator of the same seed differ. Give "
            "`generator` to every draw."
        )
    generator = torch.Generator().manual_seed(5)
    both = [
        call(choose_words, few, continues, _WORD_SPECIAL, 0.15, generator)
        for _ in range(2)
    ]
    if torch.equal(*(torch.as_tensor(part) for part in both)):
        fail(
            "two calls in a row choose the same words. Draw from `generator`, "
            "and do not seed it anew."
        )
    passed("all chance comes from the generator")


def _pieces(vocabulary: int, special: list[int], rows: int) -> tuple[Tensor, Tensor]:
    """Rows [CLS] … [SEP] … [SEP], padded, of words of one to three pieces."""
    continues = torch.zeros(vocabulary, dtype=torch.bool)
    continues[vocabulary // 2 : vocabulary - 2] = True
    starts = [n for n in range(vocabulary) if not continues[n] and n not in special]
    rest = [n for n in range(vocabulary) if continues[n] and n not in special]
    generator = torch.Generator().manual_seed(rows)

    def pick(numbers: list[int]) -> int:
        return numbers[int(torch.randint(len(numbers), (), generator=generator))]

    made = []
    for number in range(rows):
        row = [special[1]]
        if number % 2:  # a block that begins in the middle of a word
            row += [pick(rest), pick(rest)]
        while len(row) < 22:
            row += [pick(starts)] + [
                pick(rest)
                for _ in range(int(torch.randint(3, (), generator=generator)))
            ]
            if len(row) > 9 and special[2] not in row:
                row.append(special[2])
                if number % 3 == 0:
                    row.append(pick(rest))
        row = [*row[:24], special[2]]
        made.append(row + [special[0]] * (27 - len(row)))
    return torch.tensor(made), continues


def _chosen(
    function: Callable,
    ids: Tensor,
    continues: Tensor,
    special: list[int],
    rate: float,
    seed: int,
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    result = _unchanged(function, ids, continues, special, rate, generator)
    if isinstance(result, tuple):
        fail("the choice alone is needed, (B, T), and several things came back.")
    expect_shape(result, ids.shape, "the choice")
    if not isinstance(result, Tensor) or result.dtype != torch.bool:
        fail(
            f"the choice has the dtype {getattr(result, 'dtype', None)}; it "
            "should be a tensor of booleans."
        )
    return result


def _words_of(
    ids: Tensor, continues: Tensor, special: list[int]
) -> Iterator[tuple[int, int, int]]:
    """Row, first place and end of each word."""
    starts = ~continues[ids] | torch.isin(ids, torch.tensor(special))
    ordinary = ~torch.isin(ids, torch.tensor(special))
    for row, (begins, real) in enumerate(
        zip(starts.tolist(), ordinary.tolist(), strict=True)
    ):
        first = None
        for place in range(len(begins) + 1):
            inside = place < len(begins) and real[place]
            new = inside and (begins[place] or not real[place - 1])
            if first is not None and (not inside or new):
                yield row, first, place
                first = None
            if new:
                first = place


def _compare_words(
    chosen: Tensor, ids: Tensor, continues: Tensor, special: list[int], rate: float
) -> None:
    apart = torch.isin(ids, torch.tensor(special))
    if (chosen & apart).any():
        row, place = (chosen & apart).nonzero()[0].tolist()
        follows = place + 1 < ids.size(1) and bool(continues[ids[row, place + 1]])
        hint = (
            "The pieces behind it are a word of their own."
            if follows
            else "Ids in `special` never are."
        )
        fail(f"a special token is to be guessed, at place {place} of a text. {hint}")
    listed = chosen.tolist()
    lonely = []
    for row, first, end in _words_of(ids, continues, special):
        parts = listed[row][first:end]
        if any(parts) and not all(parts):
            hint = "A word is chosen as a whole, or not."
            if parts[0] and not any(parts[1:]):
                hint += " The pieces behind the first go with it."
            fail(
                f"of a word of {end - first} pieces, the number chosen is "
                f"{sum(parts)}. {hint}"
            )
        if apart[row, first - 1] and continues[ids[row, first]]:
            lonely.append(any(parts))
        if rate == 0 and any(parts):
            fail(
                "at rate 0 a word is chosen. Is it compared with `rate`, and the "
                "right way round?"
            )
        if rate == 1 and not all(parts) and not continues[ids[row, first]]:
            fail("at rate 1 a word is left out. Every word should be chosen then.")
    if rate == 1 and not all(lonely):
        fail(
            "pieces right behind a special token are never chosen. A block may begin "
            "in the middle of a word; what is there of it is a word of its own."
        )


def _compare_chances(chosen: Tensor, ids: Tensor, continues: Tensor) -> None:
    """Fail unless all words are chosen with probability 0.15, independently."""
    listed, by_size, by_row = chosen.tolist(), {1: [], 2: [], 3: []}, {}
    for row, first, end in _words_of(ids, continues, _WORD_SPECIAL):
        by_size.setdefault(end - first, []).append(listed[row][first])
        by_row.setdefault(row, []).append(listed[row][first])
    rows = list(by_row.values())
    across = [
        a and b for one, two in pairwise(rows) for a, b in zip(one, two, strict=False)
    ]
    if sum(across) / len(across) > 2 * (sum(map(sum, rows)) / sum(map(len, rows))) ** 2:
        fail(
            "the words with the same number are chosen in one text and the next: "
            "draw for each text anew."
        )
    shares = {size: sum(got) / len(got) for size, got in by_size.items() if size < 4}
    text = ", ".join(f"{share:.2f}" for share in shares.values())
    what = (
        "at rate 0.15, of words of one, two and three pieces these shares are "
        f"chosen: {text}."
    )
    if any(abs(share - 0.15) > 0.015 for share in shares.values()):
        hint = "They should be equal."
        if abs(shares[2] - (1 - 0.85**2)) < 0.02:
            hint = (
                "A longer word has several chances: any of its pieces will do. Draw "
                "once a word."
            )
        elif abs(shares[2] - 0.15**2) < 0.01:
            hint = (
                "A longer word is chosen only where each of its pieces is. Draw once "
                "a word."
            )
        elif max(shares.values()) - min(shares.values()) < 0.03:
            hint = (
                "They should be 0.15: is `rate` used, and are words chosen where the "
                "draw is below it?"
            )
        fail(f"{what} {hint}")
    pairs = [a and b for got in by_row.values() for a, b in pairwise(got)]
    both = sum(pairs) / len(pairs)
    if abs(both - 0.0225) > 0.005:
        fail(
            f"two neighbouring words are both chosen in {both:.3f} of the cases; "
            "independently it would be 0.15 · 0.15 = 0.022. Does each word have a "
            "draw of its own?"
        )
    numbers = [sum(got[place] for got in rows) / len(rows) for place in range(5)]
    if max(numbers) > 0.2 or min(numbers) < 0.1:
        fail(
            "of the first five words of a text these shares are chosen: "
            f"{[round(n, 2) for n in numbers]}."
        )


# 8.5


@check
def mended_embed(mended_embed: Callable[..., Tensor]) -> None:
    """8.5: a text's vector is a mean, and the same whatever stands beside it."""
    model = _random_model(30, 24).bert
    generator = torch.Generator().manual_seed(3)
    lengths = (9, 4, 1, 20)
    texts = [torch.randint(4, 30, (length,), generator=generator) for length in lengths]
    for rows, width in (
        ((0,), 9),
        ((0, 1, 2), 9),
        ((0, 1, 2, 3), 20),
        ((1, 2), 24),
        ((3, 1), 22),
    ):
        for kind in (torch.long, torch.bool, torch.float32):
            mask = torch.stack([torch.arange(width) < lengths[row] for row in rows]).to(
                kind
            )
            for filler in (0, 13):
                ids = torch.full((len(rows), width), filler)
                for place, row in enumerate(rows):
                    ids[place, : lengths[row]] = texts[row]
                result = _embedded(mended_embed, model, ids, mask)
                _compare_vectors(result, model, ids, mask, [texts[row] for row in rows])
    passed(
        "each text has the vector that it has alone, beside short texts and long "
        "ones, with any padding"
    )
    passed("it is the mean of its states, neither a sum nor of length 1")
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]])
    result = _embedded(mended_embed, model, torch.full((2, 4), 5), mask)
    if result[1].isnan().any():
        fail(
            "a text of padding only gives NaN. Zero times NaN is NaN, and so is zero "
            "divided by zero: put zeros in the place of the states of padding, and "
            "divide by at least 1."
        )
    expect_close(result[1], torch.zeros(16), "the vector of a text of padding only")
    passed("a text of padding only gets zeros")


def _embedded(function: Callable, model: Bert, ids: Tensor, mask: Tensor) -> Tensor:
    result = _unchanged(function, model, ids, mask)
    return as_numbers(
        result, (len(ids), 16), f"the result for ids of shape {tuple(ids.shape)}"
    )


@torch.no_grad()
def _compare_vectors(
    result: Tensor, model: Bert, ids: Tensor, mask: Tensor, texts: list[Tensor]
) -> None:
    expected = torch.stack([model(text[None])[0].mean(dim=0) for text in texts])
    if torch.allclose(result, expected, atol=1e-4):
        return
    real = mask.bool().unsqueeze(-1)
    deaf, right = model(ids), model(ids, mask.bool())
    count = real.sum(dim=1)
    padded = not bool(real.all())
    known: list[tuple[str, Tensor]] = [
        (
            "the vectors have length 1. The mean itself is asked for.",
            F.normalize(expected, dim=-1),
        ),
        (
            "the states are added up and not divided. A mean is asked for.",
            right.masked_fill(~real, 0).sum(dim=1),
        ),
        (
            "this is the state of the first token. A mean over all is asked for.",
            right[:, 0],
        ),
        (
            "this is the largest of each number over the tokens. A mean is asked for.",
            right.amax(dim=1),
        ),
    ]
    if padded:
        known += [
            (
                "the mean is right, but what it is taken of is not: the model itself "
                "reads padding. Attention mixes places too.",
                deaf.masked_fill(~real, 0).sum(dim=1) / count,
            ),
            (
                "padding is set to zero, and then counted: three numbers and two "
                "zeros have another mean than the three.",
                right.masked_fill(~real, 0).mean(dim=1),
            ),
            (
                "both faults are still there: the model reads padding, and the "
                "zeros are counted.",
                deaf.masked_fill(~real, 0).mean(dim=1),
            ),
            ("the states of padding are in the mean.", right.mean(dim=1)),
            ("padding is read by the model, and is in the mean too.", deaf.mean(dim=1)),
            (
                "the sum is divided by all real tokens of the batch. Each text "
                "has a number of its own.",
                right.masked_fill(~real, 0).sum(dim=1) / count.sum(),
            ),
        ]
    for diagnosis, wrong in known:
        if torch.allclose(result, wrong, atol=1e-4):
            fail(diagnosis)
    alone = (result - expected).abs().amax(dim=-1) > 1e-4
    hint = "A text's vector should be what it is when the text is read alone."
    expect_close(
        result,
        expected,
        f"with padding, the vector of text {int(alone.nonzero()[0])}",
        hint,
        1e-4,
    )


# 8.6


class _Recorder(nn.Module):
    """A model that counts how often it is asked."""

    def __init__(self, model: MaskedLanguageModel) -> None:
        super().__init__()
        self.model, self.calls = model, 0

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None
    ) -> Tensor:
        self.calls += 1
        return self.model(ids, mask, segments)


@check
def token_scores(token_scores: Callable[..., Tensor]) -> None:
    """8.6: parity with hiding tokens one by one, special tokens, words, one batch."""
    continues = torch.zeros(30, dtype=torch.bool)
    continues[20:] = True
    recorder = _Recorder(_random_model(30, 16))
    texts = (
        torch.tensor([1, 5, 4, 14, 6, 2]),
        torch.tensor([1, 5, 22, 9, 24, 25, 6, 28, 2, 7, 21, 2]),
        torch.tensor([1, 21, 8, 23, 2]),
        torch.tensor([8, 23, 26, 27]),
        torch.tensor([1, 11, 2]),
    )
    settings = ((3, (0, 1, 2, 3)), (4, (0, 1, 2, 3, 4)))
    for marks in (None, continues):
        for ids in texts:
            for mask, special in settings:
                result = _scored(token_scores, recorder, ids, mask, special, marks)
                _compare_scores(result, recorder.model, ids, mask, special, marks)
        if marks is None:
            passed(
                "each token has its log-probability with all others in sight, "
                "special tokens have 0"
            )
    passed(
        "with `continues`, the rest of the word is hidden along with a piece, "
        "and nothing else"
    )
    recorder.calls = 0
    _scored(token_scores, recorder, texts[1], 3, (0, 1, 2, 3), continues)
    if recorder.calls > 1:
        fail(
            f"for one text the model is asked {recorder.calls} times. Put all "
            "versions of the text into one batch."
        )
    result = _scored(
        token_scores, recorder, torch.tensor([1, 2, 2]), 3, (0, 1, 2, 3), None
    )
    expect_close(
        result, torch.zeros(3), "for a text of special tokens only, the result"
    )
    passed("the model is asked once a text")


def _scored(
    function: Callable,
    model: nn.Module,
    ids: Tensor,
    mask: int,
    special: tuple[int, ...],
    continues: Tensor | None,
) -> Tensor:
    try:
        result = _unchanged(function, model, ids, mask, special, continues)
    except CheckFailed as failed:
        if "IndexError" in str(failed) and continues is not None:
            fail(
                f"{str(failed).removeprefix('Not yet: ')}. Does the search for the "
                "end of a word run past the end of the text?"
            )
        raise
    if isinstance(result, float) or getattr(result, "shape", None) == ():
        fail(
            "one number came back. The score of each token is asked for, (T); "
            "their sum is for later."
        )
    what = f"the result for a text of {len(ids)} ids"
    ordinary = sum(number not in special for number in ids.tolist())
    if getattr(result, "shape", None) == (ordinary,) and ordinary != len(ids):
        fail(
            f"{what} has {ordinary} scores. Special tokens have a place in it "
            "too, with 0."
        )
    return as_numbers(result, (len(ids),), what)


@torch.no_grad()
def _reference(
    model: nn.Module,
    ids: Tensor,
    hidden: Callable[[int], list[int]],
    special: tuple[int, ...],
    mask: int,
) -> Tensor:
    """The score of each ordinary token when the places `hidden(place)` show `mask`."""
    scores = torch.zeros(len(ids))
    for place, number in enumerate(ids.tolist()):
        if number not in special:
            row = ids.clone()
            row[hidden(place)] = mask
            scores[place] = model(row[None])[0, place].log_softmax(dim=-1)[number]
    return scores


@torch.no_grad()
def _compare_scores(
    result: Tensor,
    model: nn.Module,
    ids: Tensor,
    mask: int,
    special: tuple[int, ...],
    continues: Tensor | None,
) -> None:
    size = len(ids)
    ordinary = [place for place in range(size) if int(ids[place]) not in special]

    def end(place: int) -> int:
        place += 1
        while continues is not None and place < size and continues[ids[place]]:
            place += 1
        return place

    def start(place: int) -> int:
        while (
            place
            and continues is not None
            and continues[ids[place]]
            and place - 1 in ordinary
        ):
            place -= 1
        return place

    def by(hidden: Callable[[int], list[int]]) -> Tensor:
        return _reference(model, ids, hidden, special, mask)

    wanted = by(lambda place: list(range(place, end(place))))
    if torch.allclose(result, wanted, atol=1e-4):
        return
    special_places = torch.tensor([place not in ordinary for place in range(size)])
    if result[special_places].abs().max() > 1e-6 if special_places.any() else False:
        fail(
            "a special token has a score. Those in `special` are not to be "
            "guessed: theirs is 0."
        )
    logits = torch.zeros(size)
    for place in ordinary:
        row = ids.clone()
        row[place : end(place)] = mask
        logits[place] = model(row[None])[0, place, ids[place]]
    probabilities = wanted.exp().masked_fill(special_places, 0)
    known = [
        (
            "the token itself is in sight when it is guessed. Hide it.",
            by(lambda place: []),
        ),
        (
            "all tokens are hidden at once. Each should be guessed with all "
            "others in sight.",
            by(lambda place: list(ordinary)),
        ),
        (
            "the sign is turned round: these are losses. A log-probability is at "
            "most 0.",
            -wanted,
        ),
        ("these are probabilities. Their logarithms are asked for.", probabilities),
        ("these are logits: the softmax is missing.", logits),
        (
            "these are logarithms to the base 2. Nats are asked for.",
            wanted / math.log(2),
        ),
        (
            "the mask that you put is 3, and here it was to be another. Use the "
            "argument `mask`.",
            _reference(
                model, ids, lambda place: list(range(place, end(place))), special, 3
            ),
        ),
    ]
    if continues is not None:
        known += [
            (
                "`continues` has no effect: only the token itself is hidden.",
                by(lambda place: [place]),
            ),
            (
                "the whole word is hidden, the pieces before the token too. Only "
                "what stands behind it in the word should be.",
                by(lambda place: list(range(start(place), end(place)))),
            ),
            (
                "all that stands behind the token is hidden. Only the rest of "
                "its word should be.",
                by(lambda place: [p for p in ordinary if p >= place]),
            ),
            (
                "all that stands behind the token is hidden, with the marks. Only "
                "the rest of its word should be.",
                by(lambda place: list(range(place, size))),
            ),
            (
                "of the rest of the word, only the next piece is hidden. A word "
                "may have more.",
                by(lambda place: list(range(place, min(end(place), place + 2)))),
            ),
            (
                "the pieces before the token are hidden, and those behind it are in "
                "sight. It should be the other way round.",
                by(lambda place: list(range(start(place), place + 1))),
            ),
        ]
    else:
        known += [
            (
                "all that stands behind the token is hidden. Without "
                "`continues`, only the token itself is.",
                by(lambda place: [p for p in ordinary if p >= place]),
            ),
        ]
    for diagnosis, wrong in known:
        if torch.allclose(result, wrong, atol=1e-4) and not torch.allclose(
            wrong, wanted, atol=1e-3
        ):
            fail(diagnosis)
    expect_close(
        result,
        wanted,
        "for the ids "
        f"{ids.tolist()}{' with `continues`' if continues is not None else ''}, a "
        "score",
        "Is each copy's score read at the place that is hidden in it?",
        1e-4,
    )
