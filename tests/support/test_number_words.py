"""Number words: by rule books, back again, split without overlap, in batches."""

import random

import pytest
import torch

from finetuning.data.number_words import (
    DIGITS,
    LARGEST,
    PINYIN,
    Vocabulary,
    batches,
    chinese,
    digit_tokens,
    draw_numbers,
    english,
    examples,
    padded,
    split_numbers,
    tokens,
    value,
)

# Written by hand. The rules for 零 are those of the textbooks: once for a gap, never at
# the end of a group.
BY_HAND = {
    0: ("zero", "零"),
    2: ("two", "二"),
    10: ("ten", "十"),
    12: ("twelve", "十二"),
    20: ("twenty", "二十"),
    99: ("ninety nine", "九十九"),
    100: ("one hundred", "一百"),
    101: ("one hundred one", "一百零一"),
    110: ("one hundred ten", "一百一十"),
    115: ("one hundred fifteen", "一百一十五"),
    200: ("two hundred", "二百"),
    1_001: ("one thousand one", "一千零一"),
    1_010: ("one thousand ten", "一千零一十"),
    2_002: ("two thousand two", "两千零二"),
    2_222: ("two thousand two hundred twenty two", "两千二百二十二"),
    10_000: ("ten thousand", "一万"),
    10_010: ("ten thousand ten", "一万零一十"),
    12_000: ("twelve thousand", "一万二千"),
    25_000: ("twenty five thousand", "两万五千"),
    100_000: ("one hundred thousand", "十万"),
    100_100: ("one hundred thousand one hundred", "十万零一百"),
    105_000: ("one hundred five thousand", "十万五千"),
    250_000: ("two hundred fifty thousand", "二十五万"),
    1_000_000: ("one million", "一百万"),
    2_500_000: ("two million five hundred thousand", "二百五十万"),
    10_050_000: ("ten million fifty thousand", "一千零五万"),
    20_000_000: ("twenty million", "两千万"),
    30_000_400: ("thirty million four hundred", "三千万零四百"),
    100_000_000: ("one hundred million", "一亿"),
    100_000_001: ("one hundred million one", "一亿零一"),
    100_005_000: ("one hundred million five thousand", "一亿零五千"),
    120_002_000: ("one hundred twenty million two thousand", "一亿二千万二千"),
    200_000_000: ("two hundred million", "两亿"),
    1_000_000_000: ("one billion", "十亿"),
    1_010_000_000: ("one billion ten million", "十亿一千万"),
}


def some_numbers(count: int = 300) -> list[int]:
    generator = random.Random(0)
    return [
        number
        for digits in range(1, 13)
        for number in draw_numbers(digits, count, generator)
    ]


@pytest.mark.parametrize("number", BY_HAND)
def test_words_are_those_of_the_rules(number: int) -> None:
    assert (english(number), chinese(number)) == BY_HAND[number]


def test_words_can_be_read_back() -> None:
    for number in some_numbers():
        assert value(english(number)) == value(chinese(number)) == number


NOT_WRITTEN_SO = (
    "five twenty,hundred,one hundred and one,twenty thousand million,cat,one 百,"
)
NOT_WRITTEN_SO += "二十千,一十,二万,两百万,一百一,十万零五千,零零"


@pytest.mark.parametrize("text", NOT_WRITTEN_SO.split(","))
def test_what_is_not_written_by_the_rules_has_no_value(text: str) -> None:
    assert value(text) is None


def test_no_words_have_no_value() -> None:
    assert value("") is None


def test_different_numbers_have_different_words() -> None:
    numbers = set(some_numbers())
    assert (
        len({english(number) for number in numbers})
        == len({chinese(n) for n in numbers})
        == len(numbers)
    )


@pytest.mark.parametrize("write", [english, chinese])
@pytest.mark.parametrize("number", [-1, LARGEST + 1])
def test_numbers_out_of_range_are_refused(write, number: int) -> None:
    with pytest.raises(ValueError, match=r"is not between 0 and 999,999,999,999"):
        write(number)


@pytest.mark.parametrize("write", [english, chinese])
@pytest.mark.parametrize("number", [1.0, "1", True])
def test_what_is_not_an_int_is_refused(write, number: object) -> None:
    with pytest.raises(TypeError, match="is an int, not"):
        write(number)


@pytest.mark.parametrize(
    ("number", "in_english", "in_chinese"),
    [
        (25_000, {4: 0, 3: 1}, {4: 0, 3: 2}),
        (15, {1: 0, 0: 0}, {1: 0, 0: 1}),
        (110, {2: 0, 1: 2}, {2: 0, 1: 2}),
        (1_002, {3: 0, 0: 2}, {3: 0, 0: 3}),
        (0, {0: 0}, {0: 0}),
    ],
)
def test_digits_are_found_in_the_words(
    number: int, in_english: dict, in_chinese: dict
) -> None:
    assert digit_tokens(number, "English") == in_english
    assert digit_tokens(number, "Chinese") == in_chinese


def test_every_digit_that_is_not_zero_has_its_token() -> None:
    for number in some_numbers(100):
        places = {
            place
            for place, digit in enumerate(reversed(str(number)))
            if digit != "0" or number == 0
        }
        for language, text in (
            ("English", english(number)),
            ("Chinese", chinese(number)),
        ):
            found = digit_tokens(number, language)
            assert set(found) == places
            assert max(found.values()) < len(tokens(text))
        for place, index in digit_tokens(number, "Chinese").items():
            digit, character = str(number)[-1 - place], tokens(chinese(number))[index]
            assert character in (DIGITS[int(digit)], {"1": "十", "2": "两"}.get(digit))


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="not in French"):
        digit_tokens(1, "French")
    with pytest.raises(ValueError, match="not to French"):
        examples([1], Vocabulary(), "French")


def test_the_vocabulary_goes_there_and_back() -> None:
    vocabulary = Vocabulary()
    assert len(set(vocabulary.tokens)) == len(vocabulary)
    assert vocabulary.padding == 0
    for number in some_numbers(50):
        for text in (english(number), chinese(number)):
            ids = vocabulary.encode(text)
            assert vocabulary.decode(ids) == text
            assert (
                vocabulary.decode([vocabulary.start, *ids, vocabulary.end, 7, 0])
                == text
            )
    assert all(
        character in PINYIN
        for character in vocabulary.tokens
        if not character.isascii()
    )


def test_unknown_tokens_and_ids_are_named() -> None:
    vocabulary = Vocabulary()
    with pytest.raises(ValueError, match="'and' is not a number word"):
        vocabulary.encode("one hundred and one")
    with pytest.raises(
        ValueError,
        match=rf"id {len(vocabulary)} is outside the vocabulary of {len(vocabulary)}",
    ):
        vocabulary.decode([1, len(vocabulary)])
    with pytest.raises(ValueError, match="id -1 is outside"):
        vocabulary.names([-1])


def test_drawn_numbers_are_different_and_of_the_length_asked_for() -> None:
    drawn = draw_numbers(6, 2000, random.Random(0))
    assert len(set(drawn)) == 2000
    assert all(len(str(number)) == 6 for number in drawn)
    zeros = sum(str(number)[1:].count("0") for number in drawn) / (5 * 2000)
    assert 0.32 < zeros < 0.42  # 0.3, and a tenth of the rest
    assert draw_numbers(1, 10, random.Random(0)) == list(range(10))
    assert draw_numbers(2, 1000, random.Random(0)) == list(range(10, 100))
    with pytest.raises(ValueError, match="numbers of 13 digits"):
        draw_numbers(13, 1, random.Random(0))


def test_splits_do_not_overlap_and_repeat() -> None:
    settings = {
        "digits": 5,
        "training": 300,
        "least": 150,
        "held_out": 50,
        "longer": 40,
    }
    splits = split_numbers(**settings, seed=3)
    parts = [set(part) for part in vars(splits).values()]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert splits == split_numbers(**settings, seed=3)
    assert splits != split_numbers(**settings, seed=4)
    for part in (splits.validation, splits.test):
        assert len(set(part)) == len(part)
        assert [
            sum(len(str(number)) == digits for number in part) for digits in (3, 4, 5)
        ] == [50] * 3
    assert {*range(100)} <= {*splits.training}
    assert {len(str(number)) for number in splits.longer} == {6}


def test_short_numbers_are_repeated_and_long_ones_are_not() -> None:
    training = split_numbers(
        digits=5, training=300, least=150, held_out=50, longer=40
    ).training
    lengths = [len(str(number)) for number in training]
    assert [lengths.count(digits) for digits in range(1, 6)] == [
        150,
        150,
        300,
        300,
        300,
    ]
    counts = {
        digits: [training.count(n) for n in {*training} if len(str(n)) == digits]
        for digits in (1, 2, 4)
    }
    assert set(counts[1]) == {15}
    assert set(counts[2]) == {1, 2}
    assert set(counts[4]) == {1}


def test_splits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="3 to 11 digits, not 2"):
        split_numbers(digits=2)
    with pytest.raises(ValueError, match="900 of three digits"):
        split_numbers(held_out=450)


def test_examples_say_the_language_that_is_wanted() -> None:
    vocabulary = Vocabulary()
    chinese_wanted, english_wanted = (
        examples([25_000], vocabulary, to)[0] for to in ("Chinese", "English")
    )
    assert vocabulary.names(chinese_wanted.source) == [
        "<zh>",
        "twenty",
        "five",
        "thousand",
    ]
    assert vocabulary.names(chinese_wanted.target) == [
        "<s>",
        "两",
        "万",
        "五",
        "千",
        "</s>",
    ]
    assert vocabulary.names(english_wanted.source) == ["<en>", "两", "万", "五", "千"]
    assert vocabulary.names(english_wanted.target) == [
        "<s>",
        "twenty",
        "five",
        "thousand",
        "</s>",
    ]


def test_rows_are_filled_up_on_the_right() -> None:
    rows = padded([[1, 2, 3], [4]])
    assert rows.dtype == torch.long
    assert rows.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert padded([[1], [2, 3]], padding=9).tolist() == [[1, 9], [2, 3]]
    with pytest.raises(ValueError, match="at least one"):
        padded([])


def test_a_pass_of_batches_has_every_example_once() -> None:
    vocabulary = Vocabulary()
    pairs = examples(range(1000, 1250), vocabulary, "Chinese")

    def texts(rows: torch.Tensor) -> list[tuple[int, ...]]:
        return [tuple(i for i in row if i) for row in rows.tolist()]

    one_pass = list(batches(pairs, 32, steps=8, seed=1, window=2))
    assert sorted(text for source, _ in one_pass for text in texts(source)) == sorted(
        tuple(pair.source) for pair in pairs
    )
    for source, target in one_pass:
        for row, written in zip(texts(source), texts(target), strict=True):
            assert (list(row), list(written)) in [
                (pair.source, pair.target) for pair in pairs
            ]
    again = list(batches(pairs, 32, steps=16, seed=1, window=2))
    assert all(
        torch.equal(a[0], b[0]) for a, b in zip(one_pass, again[:8], strict=True)
    )
    assert any(
        not torch.equal(a[0], b[0]) for a, b in zip(again[:8], again[8:], strict=True)
    )


def test_batches_of_similar_length_have_less_padding() -> None:
    vocabulary = Vocabulary()
    pairs = examples(split_numbers().training[::4], vocabulary, "Chinese")

    def share(window: int) -> float:
        rows = [source for source, _ in batches(pairs, 64, steps=30, window=window)]
        return sum((row == 0).sum().item() for row in rows) / sum(
            row.numel() for row in rows
        )

    assert share(50) < share(1) / 2


@pytest.mark.parametrize(("size", "window", "count"), [(0, 1, 5), (4, 0, 5), (4, 1, 0)])
def test_batches_of_nothing_are_refused(size: int, window: int, count: int) -> None:
    pairs = examples(range(count), Vocabulary(), "English")
    with pytest.raises(ValueError, match="each must be at least 1"):
        next(batches(pairs, size, steps=1, window=window))
