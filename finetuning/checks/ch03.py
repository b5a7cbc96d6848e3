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

import codecs
import functools
import itertools
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetuning.checks.cases import TEXTS
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import (
    as_number,
    call,
    check,
    describe,
    fail,
    passed,
    raised_by_hand,
    told_as,
    written,
)
from finetuning.checks.task import Case, Mistake, Task

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
    if isinstance(value, (bool, list, tuple)):
        fail(f"{what} should be a number of tokens, and is {_short(value)}.")
    value = as_number(value, what)
    # The merges know nothing but i n t h g s and Ġ: every byte of another sign stays
    # alone.
    as_bytes = text.encode("utf-8").decode("latin-1").replace(" ", "Ġ")
    if value == len(_encoded(as_bytes, _MERGES)):
        return
    if value in (len(text), len(_encoded(text.replace(" ", "Ġ"), _MERGES))):
        fail(
            f"{text!r} does not become {value:g} tokens: so many it would be if one "
            "counts characters. How many bytes has each sign in UTF-8?"
        )
    if value == len(as_bytes):
        fail(
            f"{text!r} has {value:g} bytes, and some of them stand side by side "
            "that a merge joins."
        )
    if value == len(text.encode("utf-16-le")):
        fail(f"{text!r} has {value:g} bytes in UTF-16; here they are those of UTF-8.")
    fail(
        f"{text!r} does not become {value:g} tokens. How many bytes has each sign in "
        "UTF-8: a letter of ASCII, one below U+0800, one below U+10000, one above? "
        "Which of the bytes does a merge join?"
    )


@check
def merges_on_paper(predicted: dict[str, Any]) -> None:
    """3.1: four texts cut into tokens, and three counted, against the merges."""
    written(predicted, "`predicted`")
    if not isinstance(predicted, dict):
        fail(
            "`predicted` should be a dictionary from each text to its tokens, or to "
            f"their number, and is {describe(predicted)}."
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


def _cut(
    text: str, group: Callable[[str], list[str]], digits: str = "0-9", other: str = ""
) -> list[str]:
    """Runs of digits, grouped, and what stands between them."""
    pieces = []
    for run in re.findall(f"[{digits}]+|[^{digits}{other}]+", text):
        pieces += group(run) if re.match(f"[{digits}]", run) else [run]
    return pieces


def _threes(run: str) -> list[str]:
    first = len(run) % 3 or 3
    return [run[:first], *(run[at : at + 3] for at in range(first, len(run), 3))]


def _grouped(text: str) -> list[str]:
    return _cut(text, _threes)


def _empty_first(run: str) -> list[str]:
    first = len(run) % 3
    return [run[:first], *(run[at : at + 3] for at in range(first, len(run), 3))]


def _isdigit(text: str) -> list[str]:
    pieces = []
    for is_digit, signs in itertools.groupby(text, str.isdigit):
        run = "".join(signs)
        pieces += _threes(run) if is_digit else [run]
    return pieces


def _before_groups(text: str) -> list[str]:
    """Cut before each group of three: the text in front stays with the first digits."""
    return re.split(r"(?<=[0-9])(?=(?:[0-9]{3})+(?![0-9]))", text) if text else []


def _joined_by_comma(text: str) -> list[str]:
    return _cut(text, lambda run: [",".join(_threes(run))])


_THREES = (
    *(f"{'1234567890123'[:size]}" for size in range(1, 14)),
    "paid 1234567 in 2024",
    "from 1000 to 20000, then 300",
    "no number at all",
    "007x1000000000y5",
    "  9  ",
    "x1y22z333w4444v55555",
    "日本 1234 円",
    "12345\n\n678 9012\n",
    "1,234,567 and 3.14159 and -2000",
    "x²³ ½ ①②③④ 10000²",
    "２０２４年12345円",
    "٣٤٥٦٧ 6789",
    "0000 and 00123456",
    *TEXTS.values(),
)


def _pieces_differ(found: Any, expected: list[str], case: Case) -> str | None:
    """How pieces of a text differ from the right ones."""
    if isinstance(found, str):
        return f"the result is one string, {_short(found)}; a list is asked for."
    if isinstance(found, tuple) and found and isinstance(found[0], list):
        return "the result should be one list of pieces, and is a tuple of lists."
    if not isinstance(found, (list, tuple)):
        return f"the result should be a list of strings, and is {describe(found)}."
    for piece in found:
        if not isinstance(piece, str):
            return f"the result holds {_short(piece)}, which is no string."
    if list(found) == expected:
        return None
    shown = _joined(list(found)) or "empty"
    if "" in found:
        return f"the result has an empty piece, {shown}."
    if "".join(found) != case.arguments[0]:
        return (
            f"the result is {shown}; put together, the pieces must give the text again."
        )
    return f"the result is {shown}: {difference(list(found), expected)}"


_ASCII = (
    "The digits 0-9 are meant; those of other scripts, and signs such as ², are text. "
    "`\\d`, `isdigit` and their like take them all."
)
_SPLIT = Task(
    _grouped,
    lambda: [Case(f"for {text!r}", (text,)) for text in _THREES],
    [
        Mistake(
            "The groups are counted from the left; the incomplete one must be the "
            "first of a number.",
            lambda text: _cut(text, lambda run: re.findall(".{1,3}", run)),
        ),
        Mistake(
            "A number with 3, 6 or 9 digits has no incomplete group in front.",
            lambda text: _cut(text, _empty_first),
        ),
        Mistake(
            "Every digit stands alone; groups of three were asked for.",
            lambda text: _cut(text, list),
        ),
        Mistake(
            "The numbers are whole; groups of three were asked for.",
            lambda text: _cut(text, lambda run: [run]),
        ),
        Mistake(_ASCII, lambda text: _cut(text, _threes, r"\d")),
        Mistake(_ASCII, _isdigit),
        Mistake(
            "The groups of a number come last first.",
            lambda text: _cut(text, lambda run: _threes(run)[::-1]),
        ),
        Mistake(
            "All the pieces come last first.",
            lambda text: _grouped(text)[::-1],
        ),
        Mistake(
            "The digits of a group stand in the wrong order.",
            lambda text: _cut(text, lambda run: [part[::-1] for part in _threes(run)]),
        ),
        Mistake(
            "What stands between two numbers should stay one piece.",
            lambda text: [
                piece
                for part in _grouped(text)
                for piece in ([part] if part[0] in "0123456789" else part)
            ],
        ),
        Mistake(
            "What is no number is gone.",
            lambda text: [
                piece for piece in _grouped(text) if piece[0] in "0123456789"
            ],
        ),
        Mistake(
            "White space is gone, or cuts the text; it is text like any other.",
            lambda text: _cut(text, _threes, other=r"\s"),
        ),
        Mistake(
            "White space is gone, or cuts the text; it is text like any other.",
            lambda text: [piece.strip() for piece in _grouped(text) if piece.strip()],
        ),
        Mistake(
            "Line breaks are gone: in a regular expression `.` does not match them.",
            lambda text: _cut(text, _threes, other=r"\n"),
        ),
        Mistake("No sign may be added, commas neither.", _joined_by_comma),
        Mistake(
            "No sign may be added, commas neither.",
            lambda text: ["".join(_joined_by_comma(text))] if text else [],
        ),
        Mistake(
            "Zeros in front are digits of a number, too: it is cut as it is written.",
            lambda text: _cut(text, lambda run: _threes(str(int(run)))),
        ),
        Mistake(
            "Digits and text stand in one piece; a number begins a piece of its own, "
            "and so does the text after it.",
            _before_groups,
        ),
    ],
    compare=_pieces_differ,
)


@check
def split_digits(split_digits: Callable[[str], list[str]]) -> None:
    """3.2: numbers of every length, several in a text, text without any, no text."""
    _SPLIT.check(split_digits)
    passed("groups of three from the right, in numbers of one to 13 digits")
    passed(
        "put together, the pieces give the text again; what stands between "
        "numbers stays whole"
    )


# 3.3


def _nats(losses: list[Any]) -> list[float]:
    return [float(np.asarray(loss, dtype=np.float64).sum()) for loss in losses]


def _bytes(texts: list[str]) -> list[int]:
    return [len(text.encode()) for text in texts]


def _bits(losses: list[Any], texts: list[str]) -> float:
    return sum(_nats(losses)) / math.log(2) / sum(_bytes(texts))


def _tokens(losses: list[Any]) -> int:
    return sum(map(len, losses))


def _characters(texts: list[str]) -> int:
    return sum(map(len, texts))


def _each(losses: list[Any], texts: list[str]) -> list[float]:
    return [_bits([a], [b]) for a, b in zip(losses, texts, strict=True)]


def _mean_losses(losses: list[Any]) -> float:
    return sum(float(np.asarray(loss, dtype=np.float64).mean()) for loss in losses)


def _loss_cases() -> list[Case]:
    random = np.random.default_rng(0).uniform(0.2, 6.0, size=400)
    long = "It costs little to be brief, and much to be clear — they say."
    cases = [
        Case(
            "for four tokens of '日本語 ok'",
            ([torch.tensor([2.0, 4.0, 1.0, 0.5])], ["日本語 ok"]),
        ),
        Case(
            "for three tokens of 'thought'",
            ([torch.tensor([3.0, 4.0, 1.0])], ["thought"]),
        ),
        Case(
            "for 8 bytes of ln 256 nats each",
            ([torch.full((8,), math.log(256.0))], ["sixpence"]),
        ),
        Case(
            "for a long and a short text",
            ([torch.tensor(random[:9]), torch.tensor([6.5])], [long, "Ñ"]),
        ),
        Case(
            "for losses as arrays of NumPy",
            (
                [random[9:18].astype(np.float32), random[20:22]],
                ["What is a mile?", "Far."],
            ),
        ),
        Case(
            "for a text on two lines, one of one sign, and a longer one",
            (
                [torch.tensor(part) for part in np.split(random[30:72], [20, 21])],
                ["Nothing\r\nnew.", "🙂", f"{long} {long}"],
            ),
        ),
        Case(
            "for losses close to 0",
            ([torch.tensor([1e-4, 2e-5, 3e-4]), torch.tensor([5e-6])], ["abcé", "d"]),
        ),
    ]
    names = [name for name in TEXTS if name != "empty"]
    parts = np.split(random[100:], range(20, 20 * len(names), 20))[: len(names)]
    cases.append(
        Case(
            "for texts in many scripts",
            ([torch.tensor(part) for part in parts], [TEXTS[name] for name in names]),
        )
    )
    return cases


_PERPLEXITY = "That is a perplexity per byte; leave out the last power."
_BITS = Task(
    _bits,
    _loss_cases,
    [
        Mistake(
            "That is bits per token. A token is of any length; the text's bytes are "
            "not.",
            lambda losses, texts: sum(_nats(losses)) / math.log(2) / _tokens(losses),
        ),
        Mistake(
            "That is in nats; a bit is ln 2 of them.",
            lambda losses, texts: _bits(losses, texts) * math.log(2),
        ),
        Mistake(
            "You multiply by ln 2. Is a bit more than a nat, or less?",
            lambda losses, texts: _bits(losses, texts) * math.log(2) ** 2,
        ),
        Mistake(
            "That is bits per character, and not every character is one byte.",
            lambda losses, texts: sum(_nats(losses)) / math.log(2) / _characters(texts),
        ),
        Mistake(
            "That is nats per character.",
            lambda losses, texts: sum(_nats(losses)) / _characters(texts),
        ),
        Mistake(
            "The bytes are those of UTF-16; they should be those of UTF-8.",
            lambda losses, texts: (
                sum(_nats(losses))
                / math.log(2)
                / sum(len(text.encode("utf-16-le")) for text in texts)
            ),
        ),
        Mistake(
            "That is the mean loss of a token, in nats.",
            lambda losses, texts: sum(_nats(losses)) / _tokens(losses),
        ),
        Mistake(
            "That is the perplexity per token.",
            lambda losses, texts: math.exp(sum(_nats(losses)) / _tokens(losses)),
        ),
        Mistake(_PERPLEXITY, lambda losses, texts: 2 ** _bits(losses, texts)),
        Mistake(
            "Each text has the same weight, however short. Add up first, and divide "
            "once.",
            lambda losses, texts: sum(_each(losses, texts)) / len(texts),
        ),
        Mistake(
            "The figures of the texts are added up; the bits are to be divided by the "
            "bytes of all texts.",
            lambda losses, texts: sum(_each(losses, texts)),
        ),
        Mistake(
            "Only the first text counts.",
            lambda losses, texts: _each(losses, texts)[0],
        ),
        Mistake(
            "Only the last text counts.",
            lambda losses, texts: _each(losses, texts)[-1],
        ),
        Mistake(
            "That is the bits of the whole text, not yet divided by its bytes.",
            lambda losses, texts: sum(_nats(losses)) / math.log(2),
        ),
        Mistake(
            "The loss of a text is the sum over its tokens, not their mean.",
            lambda losses, texts: (
                _mean_losses(losses) / math.log(2) / sum(_bytes(texts))
            ),
        ),
        Mistake(
            "The first token of each text is missing.",
            lambda losses, texts: _bits([loss[1:] for loss in losses], texts),
        ),
        Mistake(
            "That is the logarithm to base 10; a bit has base 2.",
            lambda losses, texts: _bits(losses, texts) * math.log(2) / math.log(10),
        ),
        Mistake(
            "That is bytes per bit, the other way up.",
            lambda losses, texts: 1 / _bits(losses, texts),
        ),
        Mistake(
            "The losses are positive already, -ln p.",
            lambda losses, texts: -_bits(losses, texts),
        ),
    ],
    tolerance=Tolerance(1e-4, 0.0),
)


@check
def bits_per_byte(bits_per_byte: Callable[[list[Tensor], list[str]], float]) -> None:
    """3.3: hand-made losses, other alphabets, several texts, any way to cut a text."""
    _BITS.check(bits_per_byte)
    passed("8 bits for a model that knows nothing, and right for eight sets of losses")
    passed(
        "bytes of UTF-8 are counted, not characters, and long texts weigh more "
        "than short ones"
    )


# 3.4

_CHAT = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
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
    ("法国的首都是？答：", "巴黎"),
    ("naïve café, Ångström: ", "é as in café"),
    ("Is this it? It is: ", "it is"),
    (_CHAT, "Me.<|im_end|>\n"),
    ("Go on:   ", "   then"),
    ("cafe", "\u0301 au lait"),
    ("x", "\n"),
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


def _pair_of_lists(result: Any) -> Any:
    """The learner's ids and labels as two lists, from a dict, tensors, a batch."""
    what = "the result"
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


def _as_lists(function: Any) -> Any:
    """The same function, whose result is two lists."""
    if not callable(function):
        return function

    @functools.wraps(function)
    def with_lists(tokenizer: Any, prompt: str, answer: str) -> Any:
        result = function(tokenizer, prompt, answer)
        return None if result is None else _pair_of_lists(result)

    return with_lists


def _example(tokenizer: Any, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    return _labelled_where(lambda start, end, size: end > size)(
        tokenizer, prompt, answer
    )


def _labelled_where(inside: Callable[[int, int, int], bool]) -> Callable:
    """Labels where `inside` says so of a token's start and end and the prompt's end."""

    def example(
        tokenizer: Any, prompt: str, answer: str
    ) -> tuple[list[int], list[int]]:
        whole = tokenizer(prompt + answer, return_offsets_mapping=True)
        ids, places = whole["input_ids"], whole["offset_mapping"]
        labels = [
            number if inside(start, end, len(prompt)) else -100
            for number, (start, end) in zip(ids, places, strict=True)
        ]
        return ids, labels

    return example


def _counted_from(count: Callable[[Any, str, str], int]) -> Callable:
    """Labels from the token with this number on."""

    def example(
        tokenizer: Any, prompt: str, answer: str
    ) -> tuple[list[int], list[int]]:
        ids = tokenizer(prompt + answer)["input_ids"]
        first = max(count(tokenizer, prompt, answer), 0)
        return ids, [-100] * first + ids[first:]

    return example


def _alone(tokenizer: Any, prompt: str, answer: str) -> int:
    return len(tokenizer(prompt)["input_ids"])


def _common(tokenizer: Any, prompt: str, answer: str) -> int:
    pairs = zip(
        tokenizer(prompt)["input_ids"],
        tokenizer(prompt + answer)["input_ids"],
        strict=False,
    )
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _from_behind(tokenizer: Any, prompt: str, answer: str) -> int:
    plain = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return len(tokenizer(prompt + answer)["input_ids"]) - len(plain)


def _apart(plain: bool) -> Callable:
    def example(
        tokenizer: Any, prompt: str, answer: str
    ) -> tuple[list[int], list[int]]:
        first = tokenizer(prompt)["input_ids"]
        second = tokenizer(answer, add_special_tokens=plain)["input_ids"]
        return first + second, [-100] * len(first) + second

    return example


def _changed_labels(change: Callable[[list[int], list[int]], list[int]]) -> Callable:
    """The right ids, and something made of them and of the right labels."""

    def example(
        tokenizer: Any, prompt: str, answer: str
    ) -> tuple[list[int], list[int]]:
        ids, labels = _example(tokenizer, prompt, answer)
        return ids, change(ids, labels)

    return example


def _no_special(tokenizer: Any, prompt: str, answer: str) -> Any:
    whole = tokenizer(
        prompt + answer, return_offsets_mapping=True, add_special_tokens=False
    )
    ids, places = whole["input_ids"], whole["offset_mapping"]
    pairs = zip(ids, places, strict=True)
    return ids, [i if end > len(prompt) else -100 for i, (_, end) in pairs]


def _tail(text: str, most: int = 12) -> str:
    """A text as it is written in code; of a long one the end, with "…" in front."""
    return repr(text if len(text) <= most else f"…{text[-most:]}")


def _example_cases() -> list[Case]:
    return [
        Case(
            f"with {name}, for {_tail(prompt)} + {answer!r}",
            (tokenizer, prompt, answer),
        )
        for name, tokenizer in _tokenizers()
        for prompt, answer in _EXAMPLES
    ]


def _example_differs(found: Any, expected: Any, case: Case) -> str | None:
    """What is wrong with ids or labels, in words about tokens."""
    tokenizer, prompt, answer = case.arguments
    ids, labels = found
    if ids != expected[0]:
        return _wrong_ids(tokenizer, prompt, answer, ids, labels == expected[0])
    if len(labels) != len(ids):
        return f"there are {len(ids)} ids and {len(labels)} labels; each id needs one."
    tokens = tokenizer.convert_ids_to_tokens(ids)
    for token, label, right in zip(tokens, labels, expected[1], strict=True):
        if label == right:
            continue
        if label == -100:
            return (
                f"the label of {token!r} is -100, although it holds a part of the "
                "answer. So the model is never asked for it."
            )
        if right != -100:
            return f"the label of {token!r} is {label}; it should be its own id."
        holds = "nothing but the prompt"
        if token.startswith("<|") and token not in prompt:
            holds = "no part of the answer"
        if token.startswith("<|") and not prompt:
            holds = "no part of the answer"
        return f"{token!r} has the label {label}, and it holds {holds}: −100 is right."
    return None


def _wrong_ids(
    tokenizer: Any, prompt: str, answer: str, ids: list[int], swapped: bool
) -> str:
    if swapped:
        return "the ids come first, the labels second; here they have changed places."
    for number in ids:
        if not 0 <= number < len(tokenizer):
            return f"there is {number} among the ids, which is no id of the tokenizer."
    text = tokenizer.decode(ids)
    whole = tokenizer.decode(tokenizer(prompt + answer)["input_ids"])
    if text != whole:
        return (
            f"the ids read {_tail(text, 50)} when decoded, and not {_tail(whole, 50)}."
        )
    shown = _joined(tokenizer.convert_ids_to_tokens(ids)[-4:])
    return (
        f"the ids are others than those of `tokenizer(prompt + answer)`, with {shown} "
        "at the end."
    )


_EXAMPLE = Task(
    _example,
    _example_cases,
    [
        Mistake(
            "The prompt's tokens are counted alone. In the whole text its last piece "
            "may be one token with the answer's first.",
            _counted_from(_alone),
        ),
        Mistake(
            "The labels begin one token too early, whatever that token holds.",
            _counted_from(lambda *given: _alone(*given) - 1),
        ),
        Mistake(
            "The labels begin where the whole and the prompt alone differ. A token "
            "that differs may yet hold nothing but the prompt.",
            _counted_from(_common),
        ),
        Mistake(
            "The answer's tokens are counted alone. In the whole text its first piece "
            "may be one token with the prompt's last.",
            _counted_from(_from_behind),
        ),
        Mistake(
            "Prompt and answer are tokenized apart. In text that the model has read, "
            "the same signs were cut in another way. Tokenize them together.",
            _apart(plain=False),
        ),
        Mistake(
            "Prompt and answer are tokenized apart. In text that the model has read, "
            "the same signs were cut in another way. Tokenize them together.",
            _apart(plain=True),
        ),
        Mistake(
            "A token counts only where it begins in the answer; one that begins in the "
            "prompt may hold some answer too.",
            _labelled_where(lambda start, end, size: start >= size),
        ),
        Mistake(
            "A token that ends where the prompt ends holds no answer.",
            _labelled_where(lambda start, end, size: end >= size),
        ),
        Mistake(
            "All tokens are in the loss, the prompt's as well.",
            _labelled_where(lambda start, end, size: True),
        ),
        Mistake(
            "The labels stand one place off. A label is the id at its own place; the "
            "model shifts.",
            _changed_labels(lambda ids, labels: [*labels[1:], -100]),
        ),
        Mistake(
            "The labels stand one place off. A label is the id at its own place; the "
            "model shifts.",
            _changed_labels(lambda ids, labels: [-100, *labels[:-1]]),
        ),
        Mistake(
            "The labels are zeros and ones. A label is an id, or -100 where nothing is "
            "to be learnt.",
            _changed_labels(lambda ids, labels: [int(each != -100) for each in labels]),
        ),
        Mistake(
            "0 is an id like any other; the loss leaves out -100.",
            _changed_labels(lambda ids, labels: [max(each, 0) for each in labels]),
        ),
        Mistake(
            "The labels of the prompt are left out of the list.",
            _changed_labels(
                lambda ids, labels: [each for each in labels if each != -100]
            ),
        ),
        Mistake(
            "The special token that the tokenizer puts in front is gone.", _no_special
        ),
        Mistake(
            "Places in the text are counted in characters, and you count the prompt's "
            "bytes.",
            lambda tokenizer, prompt, answer: _labelled_where(
                lambda start, end, size: end > len(prompt.encode())
            )(tokenizer, prompt, answer),
        ),
    ],
    compare=_example_differs,
)


@check
def training_example(
    mended_example: Callable[[Any, str, str], tuple[list[int], list[int]]],
) -> None:
    """3.4: ids of the whole text; labels just where a token holds some answer."""
    written(mended_example, "the answer")
    _EXAMPLE.check(_as_lists(mended_example))
    passed("the ids are those of the whole text, so the model sees what it always sees")
    passed("every token that holds a part of the answer is in the loss, and no other")
    passed(
        "also where the tokenizer puts a start token in front, with no prompt "
        "and with no answer"
    )


# 3.5


def _best(text: str, scores: dict[str, float]) -> float:
    """The score of the best segmentation; -inf where there is none."""
    best = [0.0] + [-math.inf] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            if text[start:end] in scores:
                best[end] = max(best[end], best[start] + scores[text[start:end]])
    return best[-1]


_NONE = "a ValueError"  # stands for it among results


def _or_none(function: Any) -> Any:
    """The same function, whose ValueError is a result: any, where there is no way to
    cut the text, and its own elsewhere.
    """
    if not callable(function):
        return function

    @functools.wraps(function)
    def attempt(text: str, log_probability: dict[str, float]) -> Any:
        try:
            return function(text, log_probability)
        except ValueError as error:
            if raised_by_hand(error) or _best(text, log_probability) == -math.inf:
                return _NONE
            raise

    return attempt


def _ways(text: str, scores: dict[str, float]) -> list[list[str]]:
    """All segmentations of a short text."""
    if not text:
        return [[]]
    return [
        [text[:size], *rest]
        for size in range(1, len(text) + 1)
        if text[:size] in scores
        for rest in _ways(text[size:], scores)
    ]


def _best_by(
    value: Callable[[list[str], dict[str, float]], Any], last: bool = False
) -> Callable:
    """The segmentation that is the best in a sense, the first or last of equals."""

    def segmentation(text: str, log_probability: dict[str, float]) -> Any:
        ways = _ways(text, log_probability)
        if last:
            ways = ways[::-1]
        return max(ways, key=lambda way: value(way, log_probability), default=_NONE)

    return segmentation


def _total(pieces: list[str], scores: dict[str, float]) -> float:
    return sum(scores[piece] for piece in pieces)


def _segmentation(text: str, log_probability: dict[str, float]) -> Any:
    return _best_by(_total)(text, log_probability)


def _greedy(text: str, scores: dict[str, float], dead_end: Any = _NONE) -> Any:
    """WordPiece's way."""
    pieces = []
    while text:
        size = next((n for n in range(len(text), 0, -1) if text[:n] in scores), 0)
        if not size:
            return dead_end
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def _longest_last(text: str, scores: dict[str, float]) -> Any:
    mirrored = {piece[::-1]: score for piece, score in scores.items()}
    found = _greedy(text[::-1], mirrored)
    return found if found == _NONE else [piece[::-1] for piece in found[::-1]]


def _turned(text: str, scores: dict[str, float]) -> Any:
    found = _segmentation(text, scores)
    return found if found == _NONE else found[::-1]


def _unknown_pass(text: str, scores: dict[str, float]) -> Any:
    return _segmentation(text, dict.fromkeys(text, -3.0) | scores)


def _nothing_for_none(text: str, scores: dict[str, float]) -> Any:
    found = _segmentation(text, scores)
    return [] if found == _NONE else found


_SEGMENTATIONS: list[tuple[str, dict[str, float]]] = [
    ("hat", {"h": -3.0, "a": -2.0, "t": -2.5, "ha": -4.0, "at": -4.0}),
    ("abcd", {"a": -1.0, "ab": -2.0, "bcd": -2.5, "c": -4.0, "d": -4.0, "b": -4.0}),
    (
        "undo",
        dict.fromkeys("undo", -5.0) | {"un": -2.0, "do": -2.0, "undo": -9.0},
    ),
    ("wxyz", {"w": -1.0, "wx": -2.0, "xyz": -8.0, "y": -1.0, "z": -1.0}),
    ("tent", {"ten": -1.0, "te": -3.0, "nt": -3.25}),
    (
        "abcab",
        {"a": -1.0, "b": -1.5, "c": -1.25, "ab": -2.75, "bc": -2.5, "ca": -2.0}
        | {"abc": -3.0, "cab": -4.25},
    ),
    ("", {"a": -1.0}),
    ("a", {"a": -0.5}),
    ("ab", {"ab": -3.0}),
    ("sure", {"s": -0.5, "ure": 0.0, "su": -0.75, "re": -0.125}),
    ("xyxyx", {"x": -900.0, "y": -1e-3, "xy": -901.0, "yx": -905.0}),
    ("pqpqp", {"p": -900.0, "q": -1e-3, "pq": -901.0, "qp": -5.0}),
    ("abab", {"aba": -1.0, "ab": -2.0, "bab": -1.0, "b": -9.0}),
    ("line\n夜 🙂", {sign: -3.0 for sign in "line\n夜 🙂"} | {"e\n夜": -4.0}),
    ("aaaaabaaaaab", {"a": -2.0, "aaaaab": -11.0, "b": -2.5, "ab": -5.0, "aa": -3.75}),
    (
        "antidisestab",
        dict.fromkeys("antidsebl", -6.0)
        | {"anti": -3.0, "dis": -2.5, "estab": -9.0}
        | {"antidisestab": -16.0, "est": -4.5, "ab": -3.0, "tid": -4.0},
    ),
    # No way to cut these
    ("abca", {"a": -1.0, "b": -1.0}),
    ("cab", {"a": -1.0, "b": -1.0}),
    ("abc", {"a": -1.0, "b": -1.0, "ab": -1.5}),
    ("abab", {"aba": -1.0, "bab": -1.0, "ba": -2.0}),
    ("aaa", {"aa": -1.0}),
    ("a", {}),
    ("", {}),
]


def _cut_otherwise(found: Any, expected: Any, case: Case) -> str | None:
    """What is wrong with a segmentation; any of the best will do."""
    text, scores = case.arguments
    raised = isinstance(found, str) and found == _NONE
    if raised or expected == _NONE:
        if raised and expected == _NONE:
            return None
        if raised:
            return "your function raised ValueError, and there is a way to cut it."
        return (
            f"your function returned {_short(found)}, and no way to cut the text is "
            "one of tokens alone: it should raise ValueError."
        )
    if isinstance(found, str):
        return f"the result is one string, {_short(found)}; a list is asked for."
    if not isinstance(found, (list, tuple)):
        return f"the result should be a list of tokens, and is {describe(found)}."
    if not all(isinstance(piece, str) for piece in found):
        kind = "a pair" if len(found) == 2 else _short(found)
        return f"the result should be the list of tokens alone, and is {kind}."
    shown = _joined(list(found)) or "empty"
    if list(found) == [""]:
        return "the result is ['']: an empty text has no token, not an empty one."
    if "".join(found) != text:
        return f"the result is {shown}; put together, the tokens must give the text."
    for piece in found:
        if piece not in scores:
            return (
                f"the result is {shown}, and {piece!r} is no token of the vocabulary."
            )
    total = _total(list(found), scores)
    best = _best(text, scores)
    if total > best - 1e-6 * max(1.0, abs(best)):
        return None
    return (
        f"the result is {shown}, with the sum {total:.6g}. Another way to cut it has a "
        "larger sum."
    )


_FEWEST = (
    "That has the fewest tokens; the largest sum of log-probabilities was asked for."
)
_SEGMENTED = Task(
    _segmentation,
    lambda: [
        Case(f"for {text!r} and the tokens {_short(list(scores))}", (text, scores))
        for text, scores in _SEGMENTATIONS
    ],
    [
        Mistake(
            "That takes the longest token first, which need not be the best, and may "
            "lead nowhere.",
            _greedy,
        ),
        Mistake(
            "That takes the longest token first, which need not be the best, and may "
            "lead nowhere.",
            lambda text, scores: _greedy(text, scores, []),
        ),
        Mistake(
            "That takes the longest token from the end, which need not be the best, "
            "and may lead nowhere.",
            _longest_last,
        ),
        Mistake(_FEWEST, _best_by(lambda way, scores: -len(way))),
        Mistake(_FEWEST, _best_by(lambda way, scores: -len(way), last=True)),
        Mistake(
            "That is the smallest sum. Log-probabilities are negative: the best sum is "
            "the one closest to 0.",
            _best_by(lambda way, scores: -_total(way, scores)),
        ),
        Mistake(
            "That is the best mean of a token; the sum was asked for.",
            _best_by(
                lambda way, scores: _total(way, scores) / len(way) if way else 0.0
            ),
        ),
        Mistake(
            "Probabilities are added here. They are to be multiplied, so their "
            "logarithms are added.",
            _best_by(lambda way, scores: sum(math.exp(scores[each]) for each in way)),
        ),
        Mistake("The tokens come in the wrong order, last first.", _turned),
        Mistake(
            "An unknown sign passes as a token of its own. Only the tokens of the "
            "vocabulary may be used.",
            _unknown_pass,
        ),
        Mistake(
            "An empty list says that the text is empty, and not that there is no way.",
            _nothing_for_none,
        ),
    ],
    compare=_cut_otherwise,
)


def _many_tokens() -> dict[str, float]:
    generator = np.random.default_rng(0)
    return {
        "".join(letters): -float(generator.uniform(2, 9))
        for size in (1, 2, 3)
        for letters in itertools.product("abcd", repeat=size)
    }


@check
def best_segmentation(
    best_segmentation: Callable[[str, dict[str, float]], list[str]],
) -> None:
    """3.5: small words by hand, dead ends, words that cannot be cut, and the time."""
    written(best_segmentation, "the answer")
    answer = _or_none(best_segmentation)
    _SEGMENTED.check(answer)
    equal = {"a": -1.0, "aa": -2.0, "b": -1.0, "ab": -2.0, "ba": -2.0}
    _segmented(answer, "abaab", equal)
    repeated = {"a": -1.0, "aa": -1.9, "aaa": -2.7}
    for length in (6, 14, 18, 22, 24):  # every way: the last takes 100,000 times more
        seconds = math.inf
        for _ in range(2):  # the better of two: the machine may have been busy
            start = time.process_time()
            _segmented(answer, "a" * length, repeated)
            seconds = min(seconds, time.process_time() - start)
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
    many = _many_tokens()
    for length in (40, 300):
        _segmented(answer, "".join(generator.choice(list("abcd"), size=length)), many)
    passed(
        "the best of all segmentations, where the longest token first is not the "
        "best or leads nowhere"
    )
    passed("ValueError where there is none, and an empty list for an empty text")
    passed("300 letters without trying every way to cut them")


def _segmented(function: Callable, text: str, scores: dict[str, float]) -> None:
    """Fail where a text, too long for a table, is not cut in one of the best ways."""
    case = Case(f"for {_short(text)}", (text, scores))
    sentence = _cut_otherwise(call(function, text, dict(scores)), [], case)
    if sentence:
        fail(f"{case.what}, {sentence}")


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
    (
        "a long stop string over many tokens",
        [b"Done", b"<", b"|endof", b"text<|endoft", b"ex", b"t|", b">", b"!"],
        "<|endoftext|>",
    ),
    (
        "a long stop string that is never complete",
        [b"Done<|endoft", b"ex", b"t| >", b"<|endoftext|"],
        "<|endoftext|>",
    ),
    ("a stop string of one character", [b"one, tw", b"o\nthree", b"four"], "\n"),
    (
        "other scripts, byte by byte",
        [bytes([byte]) for byte in "चूहे cafe\u0301 👩‍🍳\r\n夜".encode()],
        "夜",
    ),
    (
        "other digits and quotes, two bytes at a time",
        re.findall(rb"(?s)..?", "٢٠٢٤ “½”\n\n２".encode()),
        "\n\n\n",
    ),
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
    ("three line breaks in one token", [b"one", b"\ntwo\nthree\n"], "\n"),
    ("the beginning of a character and no more", ["夜".encode()[:2]], "STOP"),
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


def _decoded(
    tokens: Iterable[bytes],
    stop: str,
    waiting: Callable[[str, str], int] | None = None,
    shown: Callable[[str, str], int] = str.index,
    tail: str = "all",
) -> Iterator[str]:
    """A stream with the decoder of the standard library, and ways to spoil it."""
    decoder, held = codecs.getincrementaldecoder("utf-8")(errors="replace"), ""
    for token in tokens:
        held += decoder.decode(token)
        if stop in held:
            yield held[: shown(held, stop)]
            return
        certain = len(held) - (waiting or _beginning)(held, stop)
        yield held[:certain]
        held = held[certain:]
    if tail != "nothing":
        yield held
    if tail == "all":
        yield decoder.decode(b"", final=True)


def _beginning(held: str, stop: str) -> int:
    """How many characters at the end of a text may become the stop string."""
    return max(size for size in range(len(stop)) if held.endswith(stop[:size]))


def _one_by_one(errors: str) -> Callable:
    def stream(tokens: Iterable[bytes], stop: str) -> Iterator[str]:
        for token in tokens:
            text = token.decode("utf-8", errors=errors)
            if stop in text:
                yield text[: text.index(stop)]
                return
            yield text

    return stream


def _stop_in_one(tokens: Iterable[bytes], stop: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        text = decoder.decode(token)
        if stop in text:
            yield text[: text.index(stop)]
            return
        yield text
    yield decoder.decode(b"", final=True)


def _all_at_once(tokens: Iterable[bytes], stop: str) -> Iterator[str]:
    yield b"".join(tokens).decode("utf-8", errors="replace").split(stop)[0]


def _all_at_the_stop(tokens: Iterable[bytes], stop: str) -> Iterator[str]:
    yield "".join(_decoded(tokens, stop))


def _no_signs(tokens: Iterable[bytes], stop: str) -> Iterator[str]:
    for piece in _decoded(tokens, stop):
        yield piece.replace("\ufffd", "")


def _reading_on(tokens: Iterable[bytes], stop: str) -> Iterator[str]:
    tokens = iter(tokens)
    yield from _decoded(tokens, stop)
    for _ in tokens:
        pass


def _waiting_for_signs(tokens: Iterable[bytes], stop: str) -> Iterator[str]:
    data, sent = b"", 0
    for token in tokens:
        data += token
        text = data.decode("utf-8", errors="replace")
        if stop in text:
            yield text[sent : text.index(stop)]
            return
        if text.endswith("\ufffd"):
            continue
        certain = max(len(text) - _beginning(text, stop), sent)
        yield text[sent:certain]
        sent = certain
    yield data.decode("utf-8", errors="replace")[sent:]


def _starting_over(tokens: Iterable[bytes], stop: str) -> Iterator[str]:
    decoder, held = codecs.getincrementaldecoder("utf-8")(errors="replace"), ""
    for token in tokens:
        for sign in decoder.decode(token):
            held += sign
            if held == stop:
                return
            if not stop.startswith(held):
                yield held
                held = ""
    yield held + decoder.decode(b"", final=True)


def _spoilt(**ways: Any) -> Callable:
    def stream(tokens: Iterable[bytes], stop: str) -> Iterator[str]:
        return _decoded(tokens, stop, **ways)

    return _recorded(stream)


def _recorded(function: Any) -> Any:
    """The same stream, as a list: the text that had come before each token was asked
    for and, as the last, all of it.
    """
    if not callable(function):
        return function

    @functools.wraps(function)
    def record(tokens: list[bytes], stop: str) -> Any:
        came: list[str] = []
        seen: list[str] = []

        def feed() -> Iterator[bytes]:
            for token in tokens:
                seen.append("".join(came))
                yield token
            seen.append("".join(came))

        given = feed(), stop
        with told_as(function, *given):
            result = function(*given)
            if isinstance(result, str) or not hasattr(result, "__iter__"):
                return result
            for piece in result:
                if not isinstance(piece, str):
                    fail(f"a piece is {_short(piece)}, and should be text.")
                came.append(piece)
                if len(came) > 1000:
                    fail("your function yields without end.")
        return [*seen, "".join(came)]

    return record


def _certain_before(tokens: list[bytes], stop: str) -> list[str]:
    """What is certain before each token is asked for, and in the end."""
    seen = []
    for count in range(len(tokens) + 1):
        text, stopped = _certain(tokens[:count], stop, ended=False)
        seen.append(text)
        if stopped:
            return seen
    return [*seen, _certain(tokens, stop, ended=True)[0]]


def _streamed_otherwise(found: Any, expected: Any, case: Case) -> str | None:
    """What is wrong with a stream: its text, or when it came."""
    if isinstance(found, str):
        return (
            "a string came back; yield pieces, so that a reader sees the text while it "
            "is written."
        )
    if not isinstance(found, list):
        return f"pieces of text should come, and there came {describe(found)}."
    if found[-1] != expected[-1]:
        return (
            f"the text that came is {_short(found[-1])}, and {_short(expected[-1])} "
            "was to come."
        )
    if len(found) > len(expected):
        return (
            "tokens were read after the stop string was complete; each of them costs "
            "the model a step."
        )
    for count, (came, certain) in enumerate(zip(found, expected, strict=False)):
        if came == certain:
            continue
        if len(came) < len(certain):
            return (
                f"after token {count} {_short(came)} had come, and {_short(certain)} "
                "was certain already. Hold back only what may still become a "
                "character or the stop string."
            )
        return (
            f"after token {count} {_short(came)} had come, and only {_short(certain)} "
            "was certain."
        )
    return None


_AT_THE_END = "Everything comes at the end. `yield` what is certain while you read."
_STREAM = Task(
    _certain_before,
    lambda: [
        Case(f"for {name} ({_short(tokens)}, stop string {stop!r})", (tokens, stop))
        for name, tokens, stop in _STREAMS
    ],
    [
        Mistake(
            "Tokens are decoded one by one. A character may begin in one and end in "
            "the next.",
            _recorded(_one_by_one("replace")),
        ),
        Mistake(
            "The bytes of a character that is cut between tokens are thrown away.",
            _recorded(_one_by_one("ignore")),
        ),
        Mistake(
            "The stop string is looked for in each token by itself. It may be spread "
            "over several.",
            _recorded(_stop_in_one),
        ),
        Mistake(_AT_THE_END, _recorded(_all_at_once)),
        Mistake(_AT_THE_END, _recorded(_all_at_the_stop)),
        Mistake(
            "As many characters as the stop string needs are held back, whatever they "
            "are.",
            _spoilt(waiting=lambda held, stop: min(len(held), len(stop) - 1)),
        ),
        Mistake(
            "At most one character is held back; more of the stop string may have "
            "come already.",
            _spoilt(waiting=lambda held, stop: int(held.endswith(stop[0]))),
        ),
        Mistake(
            "All is held back from the first letter of the stop string on, also where "
            "it can no longer become the stop string.",
            _spoilt(
                waiting=lambda held, stop: (
                    len(held) - held.find(stop[0]) if stop[0] in held else 0
                )
            ),
        ),
        Mistake(
            "What was held back when the tokens ended never comes.",
            _spoilt(tail="nothing"),
        ),
        Mistake(
            "The bytes that were held back when the tokens ended never come: a "
            "character that was never completed becomes �.",
            _spoilt(tail="text"),
        ),
        Mistake(
            "The stop string itself comes out.",
            _spoilt(shown=lambda held, stop: held.index(stop) + len(stop)),
        ),
        Mistake(
            "What stands before the last stop string comes out; the first one ends it.",
            _spoilt(shown=str.rindex),
        ),
        Mistake(
            "The stop string, and what follows it in its token, comes out.",
            _spoilt(shown=lambda held, stop: len(held)),
        ),
        Mistake(
            "A � that belongs there is gone. It is a character like any other, and "
            "stands for broken bytes.",
            _recorded(_no_signs),
        ),
        Mistake(
            "After the stop string the rest of the tokens is read.",
            _recorded(_reading_on),
        ),
        Mistake(
            "It waits as long as the text ends in �. Broken bytes stay broken, however "
            "long one waits.",
            _recorded(_waiting_for_signs),
        ),
        Mistake(
            "After a false start the search goes on behind it. The stop string may "
            "begin inside of the false start.",
            _recorded(_starting_over),
        ),
    ],
    compare=_streamed_otherwise,
)


@check
def stream(mended_stream: Callable[[Iterable[bytes], str], Iterator[str]]) -> None:
    """3.6: after each token just what is certain; stops, broken bytes, the end."""
    written(mended_stream, "the answer")
    _STREAM.check(_recorded(mended_stream))
    passed("characters that are cut between tokens come out whole")
    passed(
        "nothing of a stop string comes out, however it is cut, and nothing behind it"
    )
    passed(
        "all that is certain comes out before the next token is read, and no "
        "token is read after the stop"
    )


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


_OTHER_MERGES: list[Pair] = [
    ("日", "本"),
    ("e", "\u0301"),
    ("日本", "語"),
    ("🙂", "🙂"),
    ("caf", "e\u0301"),
    ("日本語", "Ċ"),
    ("1", "2"),
    ("12", "3"),
]


def _needed(tokens: Iterable[str], merges: list[Pair], sides: tuple = (0, 1)) -> set:
    """The tokens that must be made on the way to `tokens`."""
    made_of = {"".join(pair): pair for pair in merges}
    needed: set[str] = set()
    waiting = list(tokens)
    while waiting:
        token = waiting.pop()
        if token in made_of and token not in needed:
            needed.add(token)
            waiting += [made_of[token][side] for side in sides]
    return needed


def _closure(merges: list[Pair], tokens: Iterable[str]) -> list[Pair]:
    needed = _needed(tokens, merges)
    return [pair for pair in merges if "".join(pair) in needed]


def _one_side(side: int) -> Callable:
    def closure(merges: list[Pair], tokens: Iterable[str]) -> list[Pair]:
        needed = _needed(tokens, merges, (side,))
        return [pair for pair in merges if "".join(pair) in needed]

    return closure


def _one_level(merges: list[Pair], tokens: Iterable[str]) -> list[Pair]:
    made_of = {"".join(pair): pair for pair in merges}
    parts = {part for token in tokens for part in made_of.get(token, ())}
    wanted = parts | set(tokens)
    return [pair for pair in merges if "".join(pair) in wanted]


def _first_ranks(merges: list[Pair], tokens: Iterable[str]) -> list[Pair]:
    made = ["".join(pair) in set(tokens) for pair in merges]
    return merges[: max((rank + 1 for rank, one in enumerate(made) if one), default=0)]


def _with_repeats(merges: list[Pair], tokens: Iterable[str]) -> list[Pair]:
    made_of = {"".join(pair): pair for pair in merges}

    def under(token: str) -> list[Pair]:
        if token not in made_of:
            return []
        first, second = made_of[token]
        return [*under(first), *under(second), made_of[token]]

    pairs = [pair for token in tokens for pair in under(token)]
    return sorted(pairs, key=merges.index)


def _as_met(merges: list[Pair], tokens: Iterable[str]) -> list[Pair]:
    made_of = {"".join(pair): pair for pair in merges}
    found, waiting = [], list(tokens)
    while waiting:
        token = waiting.pop(0)
        if token in made_of and made_of[token] not in found:
            found.append(made_of[token])
            waiting += made_of[token]
    return found


def _merge_cases() -> list[Case]:
    chain: list[Pair] = [("a" * size, "a") for size in range(1, 60)]
    doubled: list[Pair] = [("b" * 2**n, "b" * 2**n) for n in range(8)]
    every = ["".join(pair) for pair in _VOCABULARY_MERGES]
    cases = []
    for merges, tokens in (
        (_VOCABULARY_MERGES, ["things"]),
        (_VOCABULARY_MERGES, ["string", "Ġther", "e"]),
        (_VOCABULARY_MERGES, ["Ġand", "the"]),
        (_VOCABULARY_MERGES, ["in", "st"]),
        (_VOCABULARY_MERGES, ["t", "h", "<|im_end|>", "日"]),
        (_VOCABULARY_MERGES, []),
        (_VOCABULARY_MERGES, every),
        (_VOCABULARY_MERGES, ["ers", "ers", "er"]),
        (_OTHER_MERGES, ["日本語Ċ", "🙂🙂"]),
        (_OTHER_MERGES, ["cafe\u0301", "12", "123", "ok"]),
        (chain, ["a" * 50]),
        (doubled, ["b" * 128, "b" * 4]),
        ([], ["a", "bc"]),
    ):
        for kind in (list, set):
            what = f"for the tokens {_short(tokens)} in a {kind.__name__}"
            what += f" and {len(merges)} merges"
            cases.append(Case(what, (merges, kind(tokens))))
    return cases


def _merges_differ(found: Any, expected: list[Pair], case: Case) -> str | None:
    """What is wrong with a list of merges."""
    merges, tokens = case.arguments
    if not isinstance(found, (list, tuple)):
        return f"the result should be a list of merges, and is {describe(found)}."
    for pair in found:
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or not all(isinstance(part, str) for part in pair)
        ):
            return (
                "the result should be a list of pairs of tokens, and holds "
                f"{_short(pair)}."
            )
    kept = [tuple(pair) for pair in found]
    if kept == expected:
        return None
    for pair in kept:
        if pair not in merges:
            return f"the result holds {pair}, which was no merge."
        if kept.count(pair) > 1:
            return f"the result holds {pair} twice."
    if not kept:
        return f"the result is empty, and {len(expected)} merges are needed."
    for pair in expected:
        token = "".join(pair)
        if pair in kept:
            continue
        if token in tokens:
            return f"there is no merge that makes {token!r}, which is one of them."
        user = next(other for other in expected if token in other)
        return (
            f"the result lacks the merge {pair}. {''.join(user)!r} is made of "
            f"{user[0]!r} and {user[1]!r}, so without {token!r} it can never be made."
        )
    for pair in kept:
        if pair not in expected:
            return (
                f"the result keeps {pair}, and nothing that is wanted is made with "
                f"{''.join(pair)!r}."
            )
    return (
        "the result has the right merges in another order. Their order is their rank, "
        "and an encoder merges the lowest rank first."
    )


_MERGES_NEEDED = Task(
    _closure,
    _merge_cases,
    [
        Mistake(
            "Only the last merge of each token is there; its parts must be made, too.",
            lambda merges, tokens: [
                pair for pair in merges if "".join(pair) in set(tokens)
            ],
        ),
        Mistake(
            "The parts of a token are followed one step down, and no further.",
            _one_level,
        ),
        Mistake("Only the first part of each pair is followed down.", _one_side(0)),
        Mistake("Only the second part of each pair is followed down.", _one_side(1)),
        Mistake(
            "A merge is kept where its result occurs in a token. The same letters may "
            "be made by other merges.",
            lambda merges, tokens: [
                pair
                for pair in merges
                if any("".join(pair) in token for token in tokens)
            ],
        ),
        Mistake(
            "All merges up to the last one needed are kept, needed or not.",
            _first_ranks,
        ),
        Mistake(
            "A merge that several tokens need is there several times.", _with_repeats
        ),
        Mistake(
            "The merges come as they were met on the way down; they should be in their "
            "old order.",
            _as_met,
        ),
        Mistake(
            "These are the tokens that are made; the merges are the pairs.",
            lambda merges, tokens: ["".join(pair) for pair in _closure(merges, tokens)],
        ),
    ],
    compare=_merges_differ,
)


@check
def needed_merges(
    needed_merges: Callable[[list[Pair], Iterable[str]], list[Pair]],
) -> None:
    """3.7: every merge that a token is made by, and no other, in the order of ranks."""
    _MERGES_NEEDED.check(needed_merges)
    passed("every token can still be made, through all the merges that lead to it")
    passed("no merge besides, and all in the order of their ranks")
