"""Checks of chapter 03, tokenization.

- `merges_on_paper(predicted)`: 3.1, tokens and numbers of tokens under seven merges
- `split_digits(split_digits)`: 3.2, digits in groups of three, counted from the right
- `bits_per_byte(bits_per_byte)`: 3.3, losses of tokens turned into bits for each byte
  of text
- `training_example(mended_example)`: 3.4, labels where prompt and answer meet inside a
  token, mended
- `best_segmentation(best_segmentation)`: 3.5, the most probable way to cut a word
- `stream(mended_stream)`: 3.6, a stream of tokens with a stop string, mended
- `needed_merges(needed_merges)`: 3.7, the merges that a set of tokens is made by
"""

import functools
import itertools
import math
import numbers
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetuning.checks.core import (
    CheckFailed,
    as_number,
    call,
    check,
    describe,
    fail,
    passed,
    written,
)

__all__ = [
    "best_segmentation",
    "bits_per_byte",
    "merges_on_paper",
    "needed_merges",
    "split_digits",
    "stream",
    "training_example",
]

Pair = tuple[str, str]


def _strings(value: Any, what: str) -> list[str]:
    """The learner's pieces as a list of strings, whatever sequence they came in."""
    written(value, what)
    if isinstance(value, str):
        fail(f"{what} is one string, {_short(value)}; a list of strings is needed.")
    try:
        pieces = list(value)
    except TypeError:
        fail(f"{what} is of type {type(value).__name__}; a list of strings is needed.")
    for piece in pieces:
        if not isinstance(piece, str):
            fail(f"{what} holds {_short(piece)}, which is no string.")
    return pieces


def _short(value: Any) -> str:
    if not isinstance(value, (str, bytes, list, tuple, dict)):
        return describe(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _joined(pieces: list[str]) -> str:
    """Pieces as one reads them: th|ing|s."""
    text = "|".join(pieces)
    return text if len(text) <= 70 else f"{text[:67]}…"


def _merged(symbols: list[str], pair: Pair) -> list[str]:
    result: list[str] = []
    place = 0
    while place < len(symbols):
        if tuple(symbols[place : place + 2]) == pair:
            result.append("".join(pair))
            place += 2
        else:
            result.append(symbols[place])
            place += 1
    return result


def _encoded(word: str, merges: Iterable[Pair]) -> list[str]:
    """The reference: at each step the pair that was merged first in training."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    symbols = list(word)
    while True:
        found = [pair for pair in itertools.pairwise(symbols) if pair in ranks]
        if not found:
            return symbols
        symbols = _merged(symbols, min(found, key=ranks.__getitem__))


# 3.1

_MERGES: list[Pair] = [
    ("i", "n"),
    ("t", "h"),
    ("in", "g"),
    ("th", "in"),
    ("Ġ", "th"),
    ("Ġth", "ing"),
    ("g", "s"),
]
_TEXTS = {  # cut by the pre-tokenizer
    "things": ["things"],
    "within": ["within"],
    "a thin thing": ["a", "Ġthin", "Ġthing"],
    "thing thing": ["thing", "Ġthing"],
}
_COUNTED = ("naïve", "日本", "thïng 🙂")


def _from_left(word: str) -> list[str]:
    """A mistake: the first pair from the left that can be merged, whatever its rank."""
    symbols = list(word)
    while True:
        places = [
            place
            for place, pair in enumerate(itertools.pairwise(symbols))
            if pair in set(_MERGES)
        ]
        if not places:
            return symbols
        symbols[places[0] : places[0] + 2] = [
            "".join(symbols[places[0] : places[0] + 2])
        ]


def _longest_first(word: str) -> list[str]:
    """A mistake: WordPiece's way, always the longest token that fits."""
    known = {"".join(pair) for pair in _MERGES}
    result = []
    while word:
        length = next(
            size
            for size in range(len(word), 0, -1)
            if size == 1 or word[:size] in known
        )
        result.append(word[:length])
        word = word[length:]
    return result


def _paper_tokens(text: str, value: Any) -> None:
    pieces = _TEXTS[text]
    said = value.split() if isinstance(value, str) and "Ġ" not in text else value
    tokens = [
        token.replace(" ", "Ġ")
        for token in _strings(said, f"the prediction for {text!r}")
    ]
    right = [token for piece in pieces for token in _encoded(piece, _MERGES)]
    if tokens == right:
        return
    known = {"".join(pair) for pair in _MERGES} | set("".join(pieces))
    together = "".join(pieces)
    if not tokens:
        fail(f"for {text!r} you wrote an empty list.")
    if "".join(tokens) != together:
        if "".join(tokens).lstrip("Ġ") == together:
            fail(
                f"in {text!r} no space stands before the first word, so its first "
                "token has no Ġ."
            )
        if "".join(tokens).replace("Ġ", "") == together.replace("Ġ", ""):
            fail(
                f"for {text!r} you wrote {_joined(tokens)}: a space is a byte like "
                "any other, written Ġ, and belongs to the word after it. Is one "
                "missing, or one too many?"
            )
        fail(f"{_joined(tokens)} put together is not {text!r}.")
    for token in tokens:
        if token not in known:
            fail(f"for {text!r} you wrote {_joined(tokens)}; no merge makes {token!r}.")
    for pair in itertools.pairwise(tokens):
        if pair in _MERGES:
            fail(
                f"for {text!r} you wrote {_joined(tokens)}; {pair[0]!r} and "
                f"{pair[1]!r} still stand side by side, and merge "
                f"{_MERGES.index(pair) + 1} joins them."
            )
    wrong_ways = [
        [t for piece in pieces for t in way(piece)]
        for way in (_from_left, _longest_first)
    ]
    if tokens in wrong_ways:
        fail(
            f"for {text!r} you wrote {_joined(tokens)}, which comes out when one "
            "reads from the left, or takes the longest token that fits. Of all the "
            "pairs in the word, which has the lowest number?"
        )
    fail(
        f"for {text!r} you wrote {_joined(tokens)}, which the merges do not make in "
        "this order. Begin with single bytes, and at each step ask of all pairs in "
        "the word: which has the lowest number?"
    )


def _paper_count(text: str, value: Any) -> None:
    what = f"the prediction for {text!r}"
    written(value, what)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        fail(f"{what} should be a number of tokens, and is {_short(value)}.")
    # The merges know nothing but i n t h g s and Ġ: every byte of another sign stays
    # alone.
    as_bytes = text.encode("utf-8").decode("latin-1").replace(" ", "Ġ")
    if value == len(_encoded(as_bytes, _MERGES)):
        return
    if value in (len(text), len(_encoded(text.replace(" ", "Ġ"), _MERGES))):
        fail(
            f"{text!r} does not become {value} tokens: that counts characters, "
            "and a byte is not a character."
        )
    if value == len(as_bytes):
        fail(
            f"{text!r} has {value} bytes, and some of them stand side by side "
            "that a merge joins."
        )
    if value == len(text.encode("utf-16-le")):
        fail(f"{text!r} has {value} bytes in UTF-16; here they are those of UTF-8.")
    fail(
        f"{text!r} does not become {value} tokens. How many bytes has each sign in "
        "UTF-8: a letter of ASCII, one below U+0800, one below U+10000, one above? "
        "Which of the bytes does a merge join?"
    )


@check
def merges_on_paper(predicted: dict[str, Any]) -> None:
    """3.1: four texts cut into tokens, and three counted, against the merges."""
    written(predicted, "`predicted`")
    if not isinstance(predicted, dict):
        fail(
            "`predicted` should be a dictionary, and is of type "
            f"{type(predicted).__name__}."
        )
    missing = [text for text in (*_TEXTS, *_COUNTED) if text not in predicted]
    if missing:
        fail(f"`predicted` says nothing of {missing[0]!r}.")
    for text in _TEXTS:
        _paper_tokens(text, predicted[text])
    for text in _COUNTED:
        _paper_count(text, predicted[text])
    passed("four texts cut into tokens as the seven merges cut them")
    passed("three numbers of tokens, bytes of UTF-8 counted")


# 3.2


def _numbers_and_text(text: str) -> Iterator[str]:
    """Runs of digits, and what stands between them."""
    run = ""
    for sign in text:
        if run and (sign in "0123456789") != (run[-1] in "0123456789"):
            yield run
            run = ""
        run += sign
    if run:
        yield run


def _grouped(text: str, from_right: bool = True, size: int = 3) -> list[str]:
    pieces = []
    for run in _numbers_and_text(text):
        if run[0] not in "0123456789":
            pieces.append(run)
            continue
        first = len(run) % size if from_right else 0
        cuts = [0, *range(first or size, len(run), size), len(run)]
        pieces += [run[start:end] for start, end in itertools.pairwise(cuts)]
    return pieces


def _grouping_mistake(text: str, pieces: list[str], expected: list[str]) -> str:
    """Why these pieces, which give the text, are not the groups of three."""
    if pieces == _grouped(text, from_right=False):
        return (
            "The groups are counted from the left; the incomplete one must be the "
            "first of a number."
        )
    if pieces == _grouped(text, size=1):
        return "Every digit stands alone; groups of three were asked for."
    if pieces == list(_numbers_and_text(text)):
        return "The numbers are whole; groups of three were asked for."
    for piece in pieces:
        kinds = {sign in "0123456789" for sign in piece}
        if len(kinds) == 2:
            return (
                f"{piece!r} holds digits and text; a number begins a piece of its "
                "own, and so does the text after it."
            )
        if kinds == {True} and len(piece) > 3:
            return f"{piece!r} has more than three digits."
    between = [run for run in expected if run[0] not in "0123456789"]
    if [piece for piece in pieces if piece[0] not in "0123456789"] != between:
        return "The text between two numbers should stay one piece."
    return (
        "Each number for itself: its last three digits are a group, then the three "
        "before them, and so on."
    )


@check
def split_digits(split_digits: Callable[[str], list[str]]) -> None:
    """3.2: numbers of every length, several in a text, text without any, no text."""
    texts = (
        "1234567",
        "123456",
        "12",
        "paid 1234567 in 2024",
        "from 1000 to 20000, then 300",
        "no number at all",
        "007x1000000000y5",
        "42",
        "  9  ",
        "",
        "x1y22z333w4444v55555",
        "日本 1234 円",
    )
    for text in texts:
        what = f"the result for {text!r}"
        result = call(split_digits, text)
        if (
            isinstance(result, tuple)
            and len(result) == 2
            and isinstance(result[0], list)
        ):
            fail(f"{what} should be one list of pieces, and is a pair.")
        pieces = _strings(result, what)
        expected = _grouped(text)
        if pieces == expected:
            continue
        if "" in pieces:
            fail(
                f"{what} has an empty piece, {pieces}. (A number with 3, 6 or 9 "
                "digits has no incomplete group.)"
            )
        shown = _joined(pieces) or "empty"
        if "".join(pieces) != text:
            if "".join(reversed(pieces)) == text:
                fail(
                    f"{what} is {shown}: the pieces come in the wrong order, last "
                    "first."
                )
            if "".join(pieces).replace(",", "") == text.replace(",", ""):
                fail(f"{what} is {shown}: no sign may be added, commas neither.")
            if "".join(piece for piece in expected if piece[0].isdigit()) == "".join(
                pieces
            ):
                fail(f"{what} is {shown}: what is no number is gone.")
            if any(
                piece != piece[::-1] and piece[::-1] in expected for piece in pieces
            ):
                fail(
                    f"{what} is {shown}: the digits of a group stand in the wrong "
                    "order."
                )
            fail(
                f"{what} is {shown}; put together, the pieces must give the text again."
            )
        fail(f"{what} is {shown}. {_grouping_mistake(text, pieces, expected)}")
    passed("groups of three from the right, in numbers of one to ten digits")
    passed(
        "put together, the pieces give the text again; what stands between "
        "numbers stays whole"
    )


# 3.3


def _loss_cases() -> list[tuple[str, list[Any], list[str]]]:
    generator = np.random.default_rng(0)
    random = generator.uniform(0.2, 6.0, size=9)
    return [
        (
            "four tokens for '日本語 ok'",
            [torch.tensor([2.0, 4.0, 1.0, 0.5])],
            ["日本語 ok"],
        ),
        ("three tokens for 'thought'", [torch.tensor([3.0, 4.0, 1.0])], ["thought"]),
        (
            "8 bytes of ln 256 nats each",
            [torch.full((8,), math.log(256.0))],
            ["sixpence"],
        ),
        (
            "a long and a short text",
            [torch.tensor(random), torch.tensor([6.5])],
            ["It costs little to be brief, and much to be clear — they say.", "Ñ"],
        ),
        (
            "losses as arrays of NumPy",
            [random.astype(np.float32), random[:2]],
            ["What is a mile?", "Far."],
        ),
    ]


@check
def bits_per_byte(bits_per_byte: Callable[[list[Tensor], list[str]], float]) -> None:
    """3.3: hand-made losses, other alphabets, several texts, any way to cut a text."""
    for name, losses, texts in _loss_cases():
        result = call(
            bits_per_byte,
            [
                loss.clone() if isinstance(loss, Tensor) else loss.copy()
                for loss in losses
            ],
            list(texts),
        )
        what = f"the result for {name}"
        value = as_number(result, what)
        if math.isnan(value):
            fail(f"{what} is NaN.")
        nats = [float(np.asarray(loss, dtype=np.float64).sum()) for loss in losses]
        sizes = [len(text.encode()) for text in texts]
        tokens = [len(loss) for loss in losses]
        characters = [len(text) for text in texts]
        bits = math.log(2)
        right = sum(nats) / bits / sum(sizes)
        if math.isclose(value, right, rel_tol=1e-4):
            continue
        means = [n / bits / s for n, s in zip(nats, sizes, strict=True)]
        mistakes = {
            sum(nats) / bits / sum(tokens): (
                "That is bits per token. A token is of any length; the text's bytes "
                "are not."
            ),
            sum(nats) / sum(sizes): "That is in nats; a bit is ln 2 of them.",
            sum(nats)
            * bits
            / sum(sizes): "You multiply by ln 2. Is a bit more than a nat, or less?",
            sum(nats)
            / bits
            / sum(
                characters
            ): "That is bits per character, and not every character is one byte.",
            sum(nats) / sum(characters): "That is nats per character.",
            sum(nats) / sum(tokens): "That is the mean loss of a token, in nats.",
            math.exp(sum(nats) / sum(tokens)): "That is the perplexity per token.",
            2
            ** (
                sum(nats) / bits / sum(sizes)
            ): "That is a perplexity per byte; leave out the last power.",
            math.exp(sum(nats) / sum(sizes)): "That is a perplexity per byte.",
            sum(means) / len(means): (
                "Each text has the same weight, however short. Add up first, and "
                "divide once."
            ),
            sum(means): (
                "The figures of the texts are added up; the bits are to be divided by "
                "the bytes of all texts."
            ),
            means[0]: "Only the first text counts.",
            means[-1]: "Only the last text counts.",
            sum(nats)
            / bits: "That is the bits of the whole text, not yet divided by its bytes.",
            sum(n / t for n, t in zip(nats, tokens, strict=True))
            / bits
            / sum(
                sizes
            ): "The loss of a text is the sum over its tokens, not their mean.",
            sum(float(loss[1:].sum()) for loss in losses)
            / bits
            / sum(sizes): "The first token of each text is missing.",
            sum(nats)
            / math.log(10)
            / sum(sizes): "That is the logarithm to base 10; a bit has base 2.",
            sum(sizes) / (sum(nats) / bits): "That is bytes per bit, the other way up.",
        }
        for mistake, diagnosis in mistakes.items():
            if math.isclose(value, mistake, rel_tol=1e-4):
                fail(f"for {name} the result is {value:.3f}. {diagnosis}")
        if value < 0:
            fail(
                f"for {name} the result is {value:.3f}. The losses are positive "
                "already, −ln p."
            )
        fail(
            f"for {name} the result is {value:.3f}, and that is not it. All the "
            "losses in bits, divided by the bytes of all the texts in UTF-8."
        )
    passed("8 bits for a model that knows nothing, and right for five sets of losses")
    passed(
        "bytes of UTF-8 are counted, not characters, and long texts weigh more "
        "than short ones"
    )


# 3.4

_EXAMPLES = (
    ("Q: What is the capital of France?\nA: ", "Paris"),
    ("Q: What is the capital of France?\nA:", " Paris, on the Seine"),
    ("The unbeliev", "able mouse"),
    ("The Venezuela", "n river"),
    ("Translate: good night.\n", "\n  Gute Nacht"),
    ("say ", "🙂 日本"),
    ("12 + 30 = ", "42"),
    ("", "No prompt at all"),
    ("The end", ""),
)


@functools.cache
def _tokenizers() -> list[tuple[str, Any]]:
    from tokenizers.processors import TemplateProcessing  # needed here alone

    from finetuning.models import load_tokenizer

    plain = load_tokenizer("SmolLM2-135M-Instruct")
    starts = load_tokenizer(
        "SmolLM2-135M-Instruct"
    )  # another object: changed here and nowhere else
    starts.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A",
        special_tokens=[("<|im_start|>", starts.convert_tokens_to_ids("<|im_start|>"))],
    )
    return [
        ("SmolLM2's tokenizer", plain),
        ("a tokenizer that puts a start token in front", starts),
    ]


def _id_list(value: Any, what: str) -> list[int]:
    written(value, what)
    if hasattr(value, "tolist"):
        value = value.tolist()
    try:
        ids = list(value)
    except TypeError:
        fail(f"{what} should be a list of numbers, and is {_short(value)}.")
    if len(ids) == 1 and isinstance(ids[0], (list, tuple)):  # a batch of one
        ids = list(ids[0])
    ids = [number.item() if hasattr(number, "item") else number for number in ids]
    for number in ids:
        if (
            isinstance(number, bool)
            or not isinstance(number, (int, float))
            or number != int(number)
        ):
            fail(
                f"{what} should be a list of whole numbers, and holds {_short(number)}."
            )
    return [int(number) for number in ids]


def _pair_of_lists(result: Any, what: str) -> tuple[list[int], list[int]]:
    if hasattr(result, "keys"):
        if {"input_ids", "labels"} <= set(result.keys()):
            result = (result["input_ids"], result["labels"])
        else:
            fail(f"{what} should be the two lists `ids, labels`, and is a dictionary.")
    try:
        ids, labels = result
    except (TypeError, ValueError):
        fail(f"{what} should be two lists, `ids, labels`, and is {_short(result)}.")
    return _id_list(ids, f"`ids` of {what}"), _id_list(labels, f"`labels` of {what}")


@check
def training_example(
    mended_example: Callable[[Any, str, str], tuple[list[int], list[int]]],
) -> None:
    """3.4: ids of the whole text; labels just where a token holds some answer."""
    for name, tokenizer in _tokenizers():
        for prompt, answer in _EXAMPLES:
            what = f"the result for {prompt[-12:]!r} + {answer!r}"
            ids, labels = _pair_of_lists(
                call(mended_example, tokenizer, prompt, answer), what
            )
            whole = tokenizer(prompt + answer, return_offsets_mapping=True)
            tokens = tokenizer.convert_ids_to_tokens(whole["input_ids"])
            if ids != whole["input_ids"]:
                _wrong_ids(tokenizer, prompt, answer, ids, f"with {name}, {what}")
            if len(labels) != len(ids):
                fail(
                    f"with {name}, {what} has {len(ids)} ids and {len(labels)} "
                    "labels; each id needs one."
                )
            counted = [end > len(prompt) for _, end in whole["offset_mapping"]]
            expected = [
                number if inside else -100
                for number, inside in zip(ids, counted, strict=True)
            ]
            if labels != expected:
                _wrong_labels(
                    ids,
                    labels,
                    counted,
                    tokens,
                    prompt,
                    answer,
                    f"with {name}, for {prompt[-12:]!r} + {answer!r}",
                )
    passed("the ids are those of the whole text, so the model sees what it always sees")
    passed("every token that holds a part of the answer is in the loss, and no other")
    passed(
        "also where the tokenizer puts a start token in front, with no prompt "
        "and with no answer"
    )


def _wrong_ids(
    tokenizer: Any, prompt: str, answer: str, ids: list[int], where: str
) -> None:
    first, second = tokenizer(prompt)["input_ids"], tokenizer(answer)["input_ids"]
    plain = tokenizer(answer, add_special_tokens=False)["input_ids"]
    if ids in (first + second, first + plain):
        fail(
            f"{where} has the ids of prompt and answer tokenized apart, "
            f"{_joined(tokenizer.convert_ids_to_tokens(ids)[-4:])} at the end. In "
            "text that the model has read, the same signs were cut in another way. "
            "Tokenize them together."
        )
    for number in ids:
        if not 0 <= number < len(tokenizer):
            fail(
                f"{where} has {number} among its ids. The ids come first, the "
                "labels second."
            )
    text = tokenizer.decode(ids, skip_special_tokens=True)
    if text != prompt + answer:
        fail(
            f"{where} reads {_short(text)} when decoded, and not the prompt and "
            "the answer as they are."
        )
    fail(
        f"{where} has other ids than `tokenizer(prompt + answer)`. Is a special token "
        "missing, or one too many?"
    )


def _wrong_labels(
    ids: list[int],
    labels: list[int],
    counted: list[bool],
    tokens: list[str],
    prompt: str,
    answer: str,
    where: str,
) -> None:
    """Say which label is wrong and why."""
    expected = [
        number if inside else -100 for number, inside in zip(ids, counted, strict=True)
    ]
    if any(label != -100 for label in labels) and labels in (
        [*expected[1:], -100],
        [-100, *expected[:-1]],
    ):
        fail(
            f"{where}, the labels stand one place off. A label is the id at its "
            "own place; the model shifts."
        )
    if set(labels) <= {0, 1} and len(ids) > 1:
        fail(
            f"{where}, the labels are zeros and ones. A label is an id, or -100 where "
            "nothing is to be learnt."
        )
    for number, label, inside, token in zip(ids, labels, counted, tokens, strict=True):
        if inside and label == -100:
            fail(
                f"{where}, the label of {token!r} is -100, although it holds a part "
                "of the answer. So the model is never asked for it."
            )
        if not inside and label == 0:
            fail(
                f"{where}, the label of {token!r} is 0, which is an id like any "
                "other; the loss leaves out -100."
            )
        if not inside and label != -100:
            if token.startswith("<|"):
                fail(
                    f"{where}, {token!r} is in the loss, and it stands for no "
                    "part of the answer."
                )
            fail(
                f"{where}, {token!r} is in the loss, and it holds nothing but the "
                "prompt."
            )
        if inside and label != number:
            fail(
                f"{where}, the label of {token!r} is {label}; it should be the "
                "token's own id."
            )
    fail(
        f"{where}, the labels {_short(labels)} are not right."
    )  # not reached: one of the three differs


# 3.5


def _best(text: str, scores: dict[str, float]) -> float:
    """The score of the best segmentation; -inf where there is none."""
    best = [0.0] + [-math.inf] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            if text[start:end] in scores:
                best[end] = max(best[end], best[start] + scores[text[start:end]])
    return best[-1]


def _greedy(text: str, scores: dict[str, float]) -> list[str] | None:
    """A mistake: WordPiece's way."""
    pieces = []
    while text:
        length = next(
            (size for size in range(len(text), 0, -1) if text[:size] in scores), 0
        )
        if not length:
            return None
        pieces.append(text[:length])
        text = text[length:]
    return pieces


_SEGMENTATIONS: list[tuple[str, dict[str, float]]] = [
    ("hat", {"h": -3.0, "a": -2.0, "t": -2.5, "ha": -4.0, "at": -4.0}),
    ("abcd", {"a": -1.0, "ab": -2.0, "bcd": -2.5, "c": -4.0, "d": -4.0, "b": -4.0}),
    (
        "undo",
        {
            "u": -5.0,
            "n": -5.0,
            "d": -5.0,
            "o": -5.0,
            "un": -2.0,
            "do": -2.0,
            "undo": -9.0,
        },
    ),
    ("wxyz", {"w": -1.0, "wx": -2.0, "xyz": -8.0, "y": -1.0, "z": -1.0}),
    ("tent", {"ten": -1.0, "te": -3.0, "nt": -3.0}),
    (
        "abcab",
        {
            "a": -1.0,
            "b": -1.5,
            "c": -1.25,
            "ab": -2.75,
            "bc": -2.5,
            "ca": -2.0,
            "abc": -3.0,
            "cab": -4.0,
        },
    ),
    ("", {"a": -1.0}),
    ("a", {"a": -0.5}),
]


@check
def best_segmentation(
    best_segmentation: Callable[[str, dict[str, float]], list[str]],
) -> None:
    """3.5: small words by hand, dead ends, words that cannot be cut, and the time."""
    for text, scores in _SEGMENTATIONS:
        _segmented(best_segmentation, text, scores)
    impossible = {"a": -1.0, "b": -1.0}
    try:
        result = best_segmentation("abca", dict(impossible))
    except ValueError:
        pass
    except Exception as error:
        fail(
            "for 'abca' and the tokens 'a' and 'b', which cannot make a 'c', your "
            f"function stopped with {type(error).__name__}; it should raise ValueError."
        )
    else:
        fail(
            "for 'abca' and the tokens 'a' and 'b' your function returned "
            f"{_short(result)}. No token holds 'c': it should raise ValueError."
        )
    repeated = {"a": -1.0, "aa": -1.9, "aaa": -2.7}
    for length in (
        6,
        14,
        18,
        22,
        24,
    ):  # with every solution tried, the last takes a hundred thousand times the first
        seconds = math.inf
        for _ in range(2):  # the better of two: the machine may have been busy
            start = time.perf_counter()
            _segmented(best_segmentation, "a" * length, repeated)
            seconds = min(seconds, time.perf_counter() - start)
            if seconds < 0.5:
                break
        if seconds > 0.5:
            fail(
                f"it is right, and takes {seconds:.1f} s for {length} letters, many "
                "times more than for a few less: every way to cut the text is tried. "
                "How the part before a place is best cut does not depend on what "
                "comes after it, so find that out once and keep it."
            )
    generator = np.random.default_rng(0)
    many = {
        "".join(letters): -float(generator.uniform(2, 9))
        for n in (1, 2, 3)
        for letters in _words(n)
    }
    for length in (40, 300):
        _segmented(
            best_segmentation,
            "".join(generator.choice(list("abcd"), size=length)),
            many,
        )
    passed(
        "the best of all segmentations, where the longest token first is not the "
        "best or leads nowhere"
    )
    passed("ValueError where there is none, and an empty list for an empty text")
    passed("300 letters without trying every way to cut them")


def _words(length: int) -> list[str]:
    words = [""]
    for _ in range(length):
        words = [word + letter for word in words for letter in "abcd"]
    return words


def _segmented(function: Callable, text: str, scores: dict[str, float]) -> None:
    what = f"the result for {_short(text)}"
    try:
        result = call(function, text, dict(scores))
    except CheckFailed as failed:
        if "ValueError" in str(failed) and _best(text, scores) > -math.inf:
            fail(
                f"{_short(text)} can be made of the tokens {_short(list(scores))}, "
                "and your function raised ValueError."
            )
        raise
    if (
        isinstance(result, tuple)
        and len(result) == 2
        and not all(isinstance(part, str) for part in result)
    ):
        fail(
            f"{what} should be the list of tokens alone, and is a pair, "
            f"{_short(result)}."
        )
    pieces = _strings(result, what)
    if pieces == [""]:
        fail(f"{what} is ['']: an empty text has no token, not an empty one.")
    shown = _joined(pieces) or "empty"
    if "".join(pieces) != text:
        if "".join(reversed(pieces)) == text and len(pieces) > 1:
            fail(f"{what} is {shown}: the tokens come in the wrong order, last first.")
        fail(f"{what} is {shown}; put together, the tokens must give the text.")
    for piece in pieces:
        if piece not in scores:
            fail(f"{what} is {shown}, and {piece!r} is no token of the vocabulary.")
    total, best = sum(scores[piece] for piece in pieces), _best(text, scores)
    if total > best - 1e-6:
        return
    reason = "Another way to cut it has a larger sum."
    if pieces == _greedy(text, scores):
        reason = (
            "That takes the longest token first, and another way to cut it has a "
            "larger sum."
        )
    elif _fewest(text, scores) == len(pieces):
        reason = (
            "That has the fewest tokens; the largest sum of log-probabilities was "
            "asked for."
        )
    elif len(pieces) == len(text):
        reason = (
            "Every sign stands alone. A sum of negative numbers is larger the closer "
            "it is to 0."
        )
    fail(f"{what} is {shown}, with the sum {total:.2f}. {reason}")


def _fewest(text: str, scores: dict[str, float]) -> int:
    return round(-_best(text, dict.fromkeys(scores, -1.0)))


# 3.6

_STREAMS: list[tuple[str, list[bytes], str]] = [
    ("a text without the stop string", [b"The", b" mouse", b" slept", b"."], "\nUser:"),
    (
        "characters cut between tokens",
        [
            b"na",
            b"\xc3",
            b"\xafve \xe6\x97",
            b"\xa5\xe6\x9c\xac ",
            b"\xf0\x9f",
            b"\x99\x82!",
        ],
        "\nUser:",
    ),
    ("a stop string in one token", [b"Yes.", b"\nUser: no", b" more"], "\nUser:"),
    (
        "a stop string over three tokens",
        [b"Yes", b".\n", b"Us", b"er: And", b" you?"],
        "\nUser:",
    ),
    ("a false start", [b"Yes.\n", b"Us", b"ually", b" not.\nU", b"p\n"], "\nUser:"),
    ("a stop string that begins twice", [b"a", b"a", b"a", b"b", b"c"], "aab"),
    (
        "a stop string that begins again inside itself",
        [b"x\n", b"\n\n", b"END", b" rest"],
        "\n\nEND",
    ),
    (
        "a stop string of characters cut between tokens",
        [b"\xe5\xa5\xbd\xe3\x80", b"\x82\nA", b"B"],
        "。\n",
    ),
    ("bytes that are no UTF-8", [b"a\xff", b"b\xe6\x97", b"c"], "STOP"),
    (
        "a text that holds the sign � itself",
        [b"bad: \xef\xbf\xbd", b" and", b" \xef\xbf", b"\xbd."],
        "STOP",
    ),
    ("a text that ends inside a character", [b"ok ", b"\xf0\x9f\x99"], "STOP"),
    ("a text that ends in the beginning of the stop string", [b"one ST", b"O"], "STOP"),
    ("an empty token", [b"", b"a", b"", b"b"], "STOP"),
    ("no token", [], "STOP"),
    ("the stop string at the beginning", [b"STOP", b"here"], "STOP"),
    ("two stop strings in one token", [b"one STOP two STOP", b" three"], "STOP"),
]


def _certain(tokens: list[bytes], stop: str, ended: bool) -> tuple[str, bool]:
    """The text that is certain after these tokens; whether the stop string was met."""
    whole = b"".join(tokens)
    text = whole.decode("utf-8", errors="replace")
    if not ended:
        # Bytes at the end that may yet become a character: cut them off, at most three.
        for size in range(1, 4):
            if size <= len(whole) and _begins_character(whole[-size:]):
                text = whole[:-size].decode("utf-8", errors="replace")
                break
    if stop in text:
        return text[: text.index(stop)], True
    if not ended:
        held = max(size for size in range(len(stop)) if text.endswith(stop[:size]))
        text = text[: len(text) - held]
    return text, False


def _begins_character(tail: bytes) -> bool:
    """Whether these bytes are the beginning of one character, and no more."""
    try:
        tail.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.start == 0
    return False


@check
def stream(mended_stream: Callable[[Iterable[bytes], str], Iterator[str]]) -> None:
    """3.6: after each token just what is certain; stops, broken bytes, the end."""
    for name, tokens, stop in _STREAMS:
        _streamed(mended_stream, name, tokens, stop)
    passed("characters that are cut between tokens come out whole")
    passed(
        "nothing of a stop string comes out, however it is cut, and nothing behind it"
    )
    passed(
        "all that is certain comes out before the next token is read, and no "
        "token is read after the stop"
    )


def _streamed(function: Callable, name: str, tokens: list[bytes], stop: str) -> None:
    came: list[str] = []
    seen: list[
        str
    ] = []  # what had come before each token was asked for, and at the end

    def feed() -> Iterator[bytes]:
        for token in tokens:
            seen.append("".join(came))
            yield token
        seen.append("".join(came))

    def consume() -> list[str]:
        written(function, "the answer")
        result = function(feed(), stop)
        if result is None or isinstance(result, str):
            return result
        for piece in result:
            if not isinstance(piece, str):
                fail(f"for {name}, a piece is {_short(piece)}, and should be text.")
            came.append(piece)
            if len(came) > 1000:
                fail(f"for {name}, your function yields without end.")
        return came

    consume.__name__ = getattr(function, "__name__", "your function")
    where = f"for {name} ({_short(tokens)}, stop string {stop!r})"
    try:
        result = call(consume)
    except CheckFailed as failed:
        message = (
            str(failed)
            .removeprefix("Not yet: ")
            .replace("called with ()", f"called {where}")
        )
        if "returned None" in message:
            message = (
                f"`{consume.__name__}` returned None; it should yield pieces of text."
            )
        fail(message)
    if isinstance(result, str):
        fail(
            f"{where}, a string came back; yield pieces, so that a reader sees "
            "the text while it is written."
        )
    text = "".join(came)
    expected, stopped = _certain(tokens, stop, ended=True)
    if text != expected:
        _wrong_text(where, text, expected, tokens, stop, stopped)
    needed = len(tokens)
    for count in range(len(tokens) + 1):
        if stopped and _certain(tokens[:count], stop, ended=False)[1]:
            needed = count
            break
    if stopped and len(seen) > needed:
        fail(
            f"{where}, tokens were read after the stop string was complete; each of "
            "them costs the model a step."
        )
    last = min(len(seen), needed if stopped else needed + 1)
    if (
        last > 2
        and not any(seen[1:last])
        and _certain(tokens[: last - 2], stop, ended=False)[0]
    ):
        fail(
            f"{where}, everything came at the end. `yield` what is certain while "
            "you read."
        )
    for count in range(1, last):
        certain, _ = _certain(tokens[:count], stop, ended=False)
        if seen[count] == certain:
            continue
        if len(seen[count]) < len(certain):
            fail(
                f"{where}, after token {count} {_short(seen[count])} had come, and "
                f"{_short(certain)} was certain already. Hold back only what may "
                "still become a character or the stop string."
            )
        fail(
            f"{where}, after token {count} {_short(seen[count])} had come, and only "
            f"{_short(certain)} was certain."
        )


def _wrong_text(
    where: str, text: str, expected: str, tokens: list[bytes], stop: str, stopped: bool
) -> None:
    shown = f"{where}, the text that came is {_short(text)}"
    apart = "".join(token.decode("utf-8", errors="replace") for token in tokens)
    thrown_away = "".join(token.decode("utf-8", errors="ignore") for token in tokens)
    if text == thrown_away and "�" in apart and "�" not in expected:
        fail(
            f"{shown}: the bytes of a character that is cut between tokens are "
            "thrown away."
        )
    if text.count("�") > expected.count("�"):
        if apart.startswith(text[:-1]) or text in apart:
            fail(
                f"{shown}: tokens are decoded one by one. A character may begin "
                "in one and end in the next."
            )
        fail(f"{shown}: a character was decoded before all of its bytes were there.")
    if text.count("�") < expected.count("�"):
        if expected.startswith(text):
            fail(
                f"{shown}: what was held back when the tokens ended never came, "
                "or only in part."
            )
        fail(
            f"{shown}: a � that belongs there is gone. It is a character like any "
            "other, and stands for broken bytes."
        )
    if stopped:
        if stop in text:
            fail(
                f"{shown}: the stop string is in it. It may be spread over "
                "several tokens."
            )
        if text.startswith(expected):
            fail(
                f"{shown}: something of the stop string or of what follows it came "
                f"out, after {_short(expected)}."
            )
    if expected.startswith(text) and not stopped:
        fail(
            f"{shown}: what was held back when the tokens ended never came, or "
            "only in part."
        )
    if expected.startswith(text):
        fail(
            f"{shown}, and {_short(expected)} was to come: something is missing "
            "at the end."
        )
    if len(text) > len(expected):
        fail(
            f"{shown}, and {_short(expected)} was to come: something came twice, "
            "or too much."
        )
    fail(f"{shown}, and {_short(expected)} was to come.")


# 3.7

_VOCABULARY_MERGES: list[Pair] = [
    ("t", "h"),
    ("i", "n"),
    ("e", "r"),
    ("th", "e"),
    ("in", "g"),
    ("a", "n"),
    ("Ġ", "the"),
    ("an", "d"),
    ("th", "ing"),
    ("Ġthe", "r"),
    ("er", "s"),
    ("s", "t"),
    ("Ġ", "and"),
    ("thing", "s"),
    ("st", "r"),
    ("str", "ing"),
]


def _closure(merges: list[Pair], tokens: Iterable[str]) -> list[Pair]:
    made_of = {"".join(pair): pair for pair in merges}
    needed: set[str] = set()
    waiting = list(tokens)
    while waiting:
        token = waiting.pop()
        if token in made_of and token not in needed:
            needed.add(token)
            waiting += made_of[token]
    return [pair for pair in merges if "".join(pair) in needed]


@check
def needed_merges(
    needed_merges: Callable[[list[Pair], Iterable[str]], list[Pair]],
) -> None:
    """3.7: every merge that a token is made by, and no other, in the order of ranks."""
    chain: list[Pair] = [("a" * size, "a") for size in range(1, 60)]
    cases: list[tuple[list[Pair], list[str]]] = [
        (_VOCABULARY_MERGES, ["things"]),
        (_VOCABULARY_MERGES, ["string", "Ġther", "e"]),
        (_VOCABULARY_MERGES, ["Ġand", "the"]),
        (_VOCABULARY_MERGES, ["in", "st"]),
        (_VOCABULARY_MERGES, ["t", "h", "<|im_end|>", "日"]),
        (_VOCABULARY_MERGES, []),
        (_VOCABULARY_MERGES, ["".join(pair) for pair in _VOCABULARY_MERGES]),
        (_VOCABULARY_MERGES, ["ers", "ers", "er"]),
        (chain, ["a" * 50]),
    ]
    for merges, tokens in cases:
        for kind in (list, set):
            given, wanted = list(merges), kind(tokens)
            what = f"the result for the tokens {_short(tokens)}"
            kept = _pairs(call(needed_merges, given, wanted), what)
            if given != merges:
                fail(
                    "the list of merges that your function was given has "
                    "changed; make a new one."
                )
            if set(wanted) != set(tokens):
                fail(
                    "the tokens that your function was given have changed; work "
                    "on a copy."
                )
            _judge_merges(merges, tokens, kept, what)
    passed("every token can still be made, through all the merges that lead to it")
    passed("no merge besides, and all in the order of their ranks")


def _pairs(value: Any, what: str) -> list[Pair]:
    written(value, what)
    try:
        pairs = [tuple(pair) for pair in value]
    except TypeError:
        fail(f"{what} should be a list of merges, and is {_short(value)}.")
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            fail(
                f"{what} should be a list of pairs of tokens, and holds {_short(pair)}."
            )
    return pairs


def _judge_merges(
    merges: list[Pair], tokens: list[str], kept: list[Pair], what: str
) -> None:
    expected = _closure(merges, tokens)
    if kept == expected:
        return
    for pair in kept:
        if pair not in merges:
            fail(f"{what} holds {pair}, which was no merge.")
    if len(set(kept)) < len(kept):
        twice = next(pair for pair in kept if kept.count(pair) > 1)
        fail(f"{what} holds {twice} twice.")
    for pair in expected:
        if pair not in kept:
            token = "".join(pair)
            if token in tokens:
                fail(f"{what} has no merge that makes {token!r}, which is one of them.")
            user = next(other for other in expected if token in other)
            fail(
                f"{what} lacks the merge {pair}. {''.join(user)!r} is made of "
                f"{user[0]!r} and {user[1]!r}, so without {token!r} it can never be "
                "made."
            )
    for pair in kept:
        if pair not in expected:
            fail(
                f"{what} keeps {pair}, and nothing that is wanted is made with "
                f"{''.join(pair)!r}."
            )
    fail(
        f"{what} has the right merges in another order. Their order is their rank, "
        "and an encoder merges the lowest rank first."
    )
