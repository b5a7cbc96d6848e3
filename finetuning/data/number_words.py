"""Numbers in English and Chinese words: a translation task, generated and exact.

It is not word for word. English counts in steps of a thousand, Chinese in steps of ten
thousand (万), so 25,000 is *twenty five thousand* in one language and 两万五千, two
ten-thousands five thousands, in the other.
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 10**12 - 1

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
]
ONES += [
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = [
    "ten",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
]
THOUSANDS = ["", "thousand", "million", "billion"]

DIGITS = "零一二三四五六七八九"
UNITS = ["", "十", "百", "千"]
MYRIADS = ["", "万", "亿"]

# How the characters are read, for readers and for fonts that have none of them.
READINGS = "líng yī èr sān sì wǔ liù qī bā jiǔ liǎng shí bǎi qiān wàn yì"
PINYIN = dict(zip(DIGITS + "两十百千万亿", READINGS.split(), strict=True))


def _check(number: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(
            f"a number to write in words is an int, not {type(number).__name__}"
        )
    if not 0 <= number <= LARGEST:
        raise ValueError(f"{number} is not between 0 and {LARGEST:,}")


def _english_parts(number: int) -> list[tuple[str, tuple[int, ...]]]:
    """The words of a number, each with the places (powers of ten) that it says."""
    _check(number)
    parts: list[tuple[str, tuple[int, ...]]] = [] if number else [(ONES[0], (0,))]
    for power in range(len(THOUSANDS) - 1, -1, -1):
        group, ones = number // 1000**power % 1000, 3 * power
        hundreds, rest = divmod(group, 100)
        if hundreds:
            parts += [(ONES[hundreds], (ones + 2,)), ("hundred", ())]
        if rest >= 20 or rest == 10:
            parts.append((TENS[rest // 10 - 1], (ones + 1,)))
            rest %= 10
        if rest:
            parts.append((ONES[rest], (ones + 1, ones) if rest > 10 else (ones,)))
        if group and power:
            parts.append((THOUSANDS[power], ()))
    return parts


def english(number: int) -> str:
    """A number in English words, American style: no "and", no hyphen, no comma.

    Raises
    ------
    ValueError: below 0 or above 999,999,999,999. TypeError: for what is not an int.
    """
    return " ".join(word for word, _ in _english_parts(number))


def _chinese_parts(number: int) -> list[tuple[str, tuple[int, ...]]]:
    """The characters of a number, each with the places (powers of ten) that it says."""
    _check(number)
    parts: list[tuple[str, tuple[int, ...]]] = [] if number else [(DIGITS[0], (0,))]
    gap = False
    for power in range(len(MYRIADS) - 1, -1, -1):
        group = number // 10_000**power % 10_000
        for place in range(3, -1, -1):
            digit = group // 10**place % 10
            if digit:
                parts += [(DIGITS[0], ())] if gap else []
                said = (4 * power + place,)
                if place == 1 and digit == 1 and not parts:
                    parts.append((UNITS[1], said))  # a number begins with 十, not 一十
                else:
                    parts += [(DIGITS[digit], said)] + (
                        [(UNITS[place], ())] if place else []
                    )
                gap = False
            elif parts:
                gap = True
        if group and power:
            parts.append((MYRIADS[power], ()))
        if group:
            gap = False  # the zeros that end a group are silent
    if parts[0][0] == "二" and len(parts) > 1 and parts[1][0] in "千万亿":
        parts[0] = ("两", parts[0][1])
    return parts


def chinese(number: int) -> str:
    """A number in Chinese characters, as schools on the mainland teach to read it.

    - Groups of four digits, each followed by its unit: 亿 (10⁸), 万 (10⁴), nothing.
    - One 零 for a gap: zeros inside a group or before its first digit. Zeros that end a
      group are silent.
    - A number that begins with ten begins with 十, not 一十 (十二, 十万); inside, it is
      一十.
    - 两 for a two that is the first character and stands before 千, 万 or 亿; 二
      everywhere else.

    The last two are habits with room for variants (两百, 一万两千); the rules here pick
    one of them.

    Raises
    ------
    ValueError: below 0 or above 999,999,999,999. TypeError: for what is not an int.
    """
    return "".join(character for character, _ in _chinese_parts(number))


def digit_tokens(number: int, language: str) -> dict[int, int]:
    """Which token says which digit of a number in "English" or "Chinese": {place: index
    of the token}.

    Places count from 0, the ones. Zeros have no token. 15 in English is {1: 0, 0: 0}:
    *fifteen* says both.

    Raises
    ------
    ValueError: for another language or a number out of range.
    """
    if language not in ("Chinese", "English"):
        raise ValueError(
            f"numbers are written in Chinese or in English, not in {language}"
        )
    parts = _english_parts(number) if language == "English" else _chinese_parts(number)
    return {place: index for index, (_, places) in enumerate(parts) for place in places}


def value(text: str) -> int | None:
    """The number that words in either language say, None if they say none by the rules
    of this module.
    """
    total = group = digit = 0
    scales = {"hundred": 100, "十": 10, "百": 100, "千": 1000}
    closing = {word: 1000**power for power, word in enumerate(THOUSANDS) if word}
    closing |= {word: 10_000**power for power, word in enumerate(MYRIADS) if word}
    digits = {word: n for n, word in enumerate(ONES)} | {
        word: 10 * n for n, word in enumerate(TENS, start=1)
    }
    digits |= {word: n for n, word in enumerate(DIGITS)} | {"两": 2}
    for word in tokens(text):
        if word in digits:
            digit += digits[word]
        elif word in scales:
            group, digit = group + (digit or 1) * scales[word], 0
        elif word in closing:
            total, group, digit = total + (group + digit) * closing[word], 0, 0
        else:
            return None
    number = total + group + digit
    # Read forgivingly, and then held to the rules: a number is well formed if it is
    # written just so.
    if not text or number > LARGEST or text not in (english(number), chinese(number)):
        return None
    return number


def tokens(text: str) -> list[str]:
    """The tokens of a number in words: English words, or single Chinese characters."""
    return text.split() if text.isascii() else list(text)


class Vocabulary:
    """One vocabulary for both languages, with the marks that a translation needs.

    Attributes
    ----------
    tokens: all of them; the id of a token is its place in this list. padding, start,
    end: ids of the marks that fill up, begin and end a sequence. padding is 0.
    to_english, to_chinese: ids of the marks that say, in front of a source, which
    language is wanted.
    """

    MARKS = ("<pad>", "<s>", "</s>", "<en>", "<zh>")

    def __init__(self) -> None:
        words = [*ONES, *TENS[1:], "hundred", *THOUSANDS[1:]]
        characters = [*DIGITS, "两", *UNITS[1:], *MYRIADS[1:]]
        self.tokens = [*self.MARKS, *words, *characters]
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        self.padding, self.start, self.end, self.to_english, self.to_chinese = range(
            len(self.MARKS)
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The ids of a number in words, without marks.

        Raises
        ------
        ValueError: for a token that is not in the vocabulary, which it names.
        """
        unknown = [token for token in tokens(text) if token not in self._ids]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a number word of this vocabulary")
        return [self._ids[token] for token in tokens(text)]

    def names(self, ids: Iterable[int]) -> list[str]:
        """The token of each id, marks included.

        Raises
        ------
        ValueError: for an id outside the vocabulary, which it names.
        """
        names = []
        for number in map(int, ids):
            if not 0 <= number < len(self):
                last = len(self) - 1
                raise ValueError(
                    f"id {number} is outside the vocabulary of {last + 1} (0 … {last})"
                )
            names.append(self.tokens[number])
        return names

    def decode(self, ids: Iterable[int]) -> str:
        """Words for ids, up to the first end mark and without other marks; Chinese
        without spaces.

        Raises
        ------
        ValueError: for an id outside the vocabulary, which it names.
        """
        words = []
        for token in self.names(ids):
            if token == self.tokens[self.end]:
                break
            if token not in self.MARKS:
                words.append(token)
        return (
            "" if words and not any(word.isascii() for word in words) else " "
        ).join(words)


def draw_numbers(
    digits: int, count: int, generator: random.Random, round_share: float = 0.3
) -> list[int]:
    """Different numbers of exactly `digits` digits, or all there are if there are no
    more than `count`.

    Parameters
    ----------
    round_share: the chance that a digit after the first is set to zero. Numbers that
        people say are rounder than chance makes them, and the rules about zeros are the
        hard part of the task.

    Raises
    ------
    ValueError: if `digits` is not between 1 and 12.
    """
    if not 1 <= digits <= len(str(LARGEST)):
        raise ValueError(
            f"numbers of {digits} digits are not written here, only of 1 to "
            f"{len(str(LARGEST))}"
        )
    first = 0 if digits == 1 else 10 ** (digits - 1)
    if 10**digits - first <= count:
        return list(range(first, 10**digits))
    drawn: dict[int, None] = {}  # in the order of drawing, each number once
    while len(drawn) < count:
        number = generator.randint(first, 10**digits - 1)
        kept = [
            c if i == 0 or generator.random() >= round_share else "0"
            for i, c in enumerate(str(number))
        ]
        drawn[int("".join(kept))] = None
    return list(drawn)


@dataclass(frozen=True)
class Splits:
    """Numbers to learn from, to choose between models with, to test on, and longer
    ones; none is in two.
    """

    training: list[int]
    validation: list[int]
    test: list[int]
    longer: list[int]


def split_numbers(
    digits: int = 7,
    training: int = 4000,
    least: int = 1500,
    held_out: int = 200,
    longer: int = 500,
    seed: int = 0,
) -> Splits:
    """Draw disjoint splits of numbers with 1 to `digits` digits, and `longer` numbers
    of one digit more.

    Parameters
    ----------
    training: how many numbers of each length to learn from; of the lengths that have
        fewer, all that remain.
    least: how often at least a length occurs in training. Lengths with fewer numbers
        repeat them: otherwise the short ones, of which there are few, are learnt worst.
    held_out: how many numbers of each length from three digits up in validation, and as
        many in the test. All
        of one and two digits are for training: they are the words that the rest is made
            of.

    Raises
    ------
    ValueError: if `digits` is not between 3 and 11, or `held_out` takes all numbers of
        three digits.
    """
    if not 3 <= digits < len(str(LARGEST)):
        most = len(str(LARGEST)) - 1
        raise ValueError(
            f"splits are made of numbers of up to 3 to {most} digits, not {digits}"
        )
    if not 0 < held_out < 450:
        raise ValueError(
            f"{held_out} held-out numbers a length: there are 900 of three digits "
            "to divide"
        )
    generator = random.Random(seed)
    splits = Splits([], [], [], draw_numbers(digits + 1, longer, generator))
    for length in range(1, digits + 1):
        kept_out = held_out if length >= 3 else 0
        drawn = draw_numbers(length, training + 2 * kept_out, generator)
        generator.shuffle(drawn)
        splits.validation.extend(drawn[:kept_out])
        splits.test.extend(drawn[kept_out : 2 * kept_out])
        learnt = drawn[2 * kept_out :]
        splits.training.extend(
            itertools.islice(itertools.cycle(learnt), max(least, len(learnt)))
        )
    return splits


class Example(NamedTuple):
    """A source and its translation, as ids: (language mark, words) and (start, words,
    end).
    """

    source: list[int]
    target: list[int]


def examples(numbers: Iterable[int], vocabulary: Vocabulary, to: str) -> list[Example]:
    """Numbers as examples for translation into "Chinese" or "English", from the other
    language.

    Raises
    ------
    ValueError: for another language.
    """
    if to not in ("Chinese", "English"):
        raise ValueError(
            f"numbers are translated to Chinese or to English, not to {to}"
        )
    pairs = []
    for number in numbers:
        if to == "Chinese":
            source, target = english(number), chinese(number)
            mark = vocabulary.to_chinese
        else:
            source, target = chinese(number), english(number)
            mark = vocabulary.to_english
        translation = [vocabulary.start, *vocabulary.encode(target), vocabulary.end]
        pairs.append(Example([mark, *vocabulary.encode(source)], translation))
    return pairs


def padded(rows: Sequence[Sequence[int]], padding: int = 0) -> Tensor:
    """Rows of ids in one tensor (B, T), the shorter ones filled up on the right.

    Raises
    ------
    ValueError: if there is no row.
    """
    if not rows:
        raise ValueError("there is no row to fill up: a batch needs at least one")
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])


def batches(
    pairs: Sequence[Example],
    batch_size: int,
    steps: int,
    seed: int = 0,
    window: int = 50,
) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` random batches (source (B, S), target (B, T)) of examples of similar
    length, in as many passes over `pairs` as it takes.

    Each pass is shuffled, sorted by length within windows of `window` batches, cut into
    batches, and these are shuffled: so little of a batch is padding, and no two passes
    have the same batches.

    Raises
    ------
    ValueError: if there is no example, or `batch_size` or `window` is below 1.
    """
    if not pairs or batch_size < 1 or window < 1:
        raise ValueError(
            f"{len(pairs)} examples in batches of {batch_size}, windows of "
            f"{window}: each must be at least 1"
        )
    generator, waiting = random.Random(seed), []
    for _ in range(steps):
        if not waiting:
            rows = generator.sample(range(len(pairs)), len(pairs))
            size = batch_size * window
            for begin in range(0, len(rows), size):
                part = sorted(
                    rows[begin : begin + size],
                    key=lambda row: sum(map(len, pairs[row])),
                )
                waiting += [
                    part[i : i + batch_size] for i in range(0, len(part), batch_size)
                ]
            generator.shuffle(waiting)
        batch = [pairs[row] for row in waiting.pop()]
        yield (
            padded([example.source for example in batch]),
            padded([example.target for example in batch]),
        )
