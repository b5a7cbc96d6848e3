"""Chapter 03's exports: `tokenizers`' merges and ids, round trips, errors.

The random corpora are tiny and of few letters on purpose: ties between pairs, and pairs
that overlap, are frequent there and rare in real text.
"""

import json
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import ByteLevel as ByteLevelProcessor

from finetuning.data import (
    load_bbc_news,
    load_interface_strings,
    load_state_of_the_union,
)
from finetuning.models import load_tokenizer
from finetuning.scratch.bpe import (
    DIGITS_PATTERN,
    GPT2_PATTERN,
    BytePairTokenizer,
    bert_words,
    byte_symbols,
    check_text,
    from_symbols,
    learn_merges,
    merge_pair,
    merge_word,
    number_tokens,
    split_special,
    split_words,
    to_symbols,
    train_bpe,
    wordpiece,
)


def examples(number: int) -> settings:
    """So many examples, the same in each run; how long one takes does not matter."""
    return settings(max_examples=number, deadline=None, derandomize=True)


# Everything that Python's strings can hold and UTF-8 can write: emoji, combining and
# control signs, unassigned code points.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))

# Libraries know different versions of Unicode. Parity is asked for on characters that
# all of them know.
NEWER = "😀👩‍👧🇫🇷☕️🤷🏽‍♀️𝔘"
OLD = st.characters(exclude_categories=["Cn", "Co", "Cs"]).filter(
    lambda sign: unicodedata.ucd_3_2_0.category(sign) != "Cn"
)
KNOWN = OLD | st.sampled_from(NEWER)
KNOWN_TEXT = st.text(KNOWN | st.sampled_from("aaeennstt  ''\n12é中的.,"), max_size=60)

# A few signs only, and a few that meet GPT-2's pattern in different ways.
SIGNS = ["a", "aa", "aaa", "b", "ab", "ba", " ", "  ", "\n", "'s", "1", "!", "é", "中"]
SMALL_TEXT = st.lists(st.sampled_from(SIGNS), max_size=25).map("".join)
CORPUS = st.lists(SMALL_TEXT, min_size=1, max_size=4)


def library_bpe(
    texts: list[str], size: int, special: tuple[str, ...] = (), digits: bool = False
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if digits:
        cut = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), cut]
        )
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = ByteLevelProcessor(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[
            AddedToken(token, special=True, normalized=False) for token in special
        ],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def library_merges(tokenizer: Tokenizer) -> list[tuple[bytes, bytes]]:
    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(from_symbols(left), from_symbols(right)) for left, right in pairs]


@cache
def speeches() -> tuple[list[str], list[str]]:
    """Messages to learn from, and messages held out."""
    texts = list(load_state_of_the_union()["text"])
    return texts[1::10], texts[5::10]


@cache
def trained() -> tuple[BytePairTokenizer, Tokenizer]:
    """Ours and the library's, of the same million characters."""
    training, _ = speeches()
    return train_bpe(training, 4096), library_bpe(training, 4096)


@cache
def smollm2() -> tuple[BytePairTokenizer, Tokenizer]:
    theirs = load_tokenizer("SmolLM2-135M-Instruct").backend_tokenizer
    state = json.loads(theirs.to_str())
    symbols = byte_symbols()
    ours = BytePairTokenizer(
        [
            (from_symbols(left), from_symbols(right))
            for left, right in state["model"]["merges"]
        ],
        [token["content"] for token in state["added_tokens"]],
        (DIGITS_PATTERN, GPT2_PATTERN),
        [byte for byte in range(256) if symbols[byte] in state["model"]["vocab"]],
    )
    return ours, theirs


@cache
def minilm() -> Tokenizer:
    theirs = load_tokenizer("all-MiniLM-L6-v2").backend_tokenizer
    theirs.no_padding()
    theirs.no_truncation()
    return theirs


# Training


@pytest.mark.parametrize("digits", [False, True], ids=["GPT-2's cut", "digits apart"])
@given(corpus=CORPUS, extra=st.integers(0, 60))
@examples(200)
@example(corpus=["aaa"], extra=5)
@example(corpus=["aaaaaaaaaaa aaaaa aaa"], extra=20)
@example(corpus=["abab baba"], extra=9)
@example(corpus=[""], extra=3)
def test_merges_and_ids_are_the_library_s_on_tiny_corpora(
    corpus: list[str], extra: int, digits: bool
) -> None:
    patterns = (DIGITS_PATTERN, GPT2_PATTERN) if digits else (GPT2_PATTERN,)
    ours = train_bpe(corpus, 256 + extra, patterns=patterns)
    theirs = library_bpe(corpus, 256 + extra, digits=digits)
    assert ours.merges == library_merges(theirs)
    assert [to_symbols(token) for token in ours.tokens] == [
        theirs.id_to_token(number) for number in range(theirs.get_vocab_size())
    ]
    for text in [*corpus, "aaaa aaaaaa", "abaab 11"]:
        assert ours.encode(text) == theirs.encode(text).ids


def test_merges_and_ids_are_the_library_s_on_real_text() -> None:
    ours, theirs = trained()
    assert len(ours) == 4096
    assert ours.merges == library_merges(theirs)
    for text in speeches()[1]:
        assert ours.encode(text) == theirs.encode(text).ids


def test_special_tokens_come_first_as_in_the_library() -> None:
    special = ("<|endoftext|>", "<|pad|>")
    texts = ["ten tenants"] * 3
    ours, theirs = train_bpe(texts, 270, special), library_bpe(texts, 270, special)
    assert ours.special_tokens == {"<|endoftext|>": 0, "<|pad|>": 1}
    assert ours.merges == library_merges(theirs)
    assert ours.encode("<|pad|>ten<|endoftext|> ten", allow_special=True) == (
        theirs.encode("<|pad|>ten<|endoftext|> ten").ids
    )


def test_the_first_merges_are_those_done_on_paper() -> None:
    tokenizer = train_bpe(["ten tenants lent ten tents"], 260)
    assert [left + right for left, right in tokenizer.merges] == [
        b"en",
        b"ten",
        b" ten",
        b"ts",
    ]
    assert len(tokenizer.encode("ten tenants lent ten tents")) == 12
    pieces = [tokenizer.decode([number]) for number in tokenizer.encode("attentive")]
    assert pieces == ["a", "t", "ten", "t", "i", "v", "e"]


def test_a_small_vocabulary_is_the_start_of_a_large_one() -> None:
    counts = {
        word.encode(): count
        for word, count in Counter(split_words(speeches()[0][0])).items()
    }
    assert learn_merges(counts, 400) == learn_merges(counts, 700)[:144]


def test_training_ends_where_no_pair_is_left() -> None:
    tokenizer = train_bpe(["ab"], 5000)
    assert len(tokenizer) == 257
    assert tokenizer.encode("abab") == [256, 256]
    assert len(train_bpe([], 300)) == len(train_bpe(["a", "b"], 300)) == 256


def test_texts_may_come_one_by_one() -> None:
    assert (
        train_bpe((text for text in ["ten", "tent"]), 258).merges
        == train_bpe(["ten", "tent"], 258).merges
    )


# Encoding and decoding


@given(text=ANY_TEXT)
@examples(600)
@example(text="")
@example(text="e\u0301\u0323\u200d")
@example(text="👩\u200d👩\u200d👧\ufe0f")
@example(text="\u0000\u001d\u007f\u0085\u2028\ufeff\U0010ffff")
@example(text="   \n \t\r\n  ")
@example(text="<|endoftext|>")
def test_decoding_undoes_encoding_on_any_text(text: str) -> None:
    ours, _ = trained()
    ids = ours.encode(text)
    assert ours.decode(ids, errors="strict") == text
    assert ours.decode_bytes(ids) == text.encode()
    assert "".join(split_words(text)) == text
    assert "".join(split_words(text, (DIGITS_PATTERN, GPT2_PATTERN))) == text


@given(text=KNOWN_TEXT)
@examples(500)
@example(text="IT'S don't 'll ''s")
@example(text="a\u180eb\u0085c\u00a0d\x1ce")
def test_ids_are_the_library_s_on_any_known_text(text: str) -> None:
    ours, theirs = trained()
    assert ours.encode(text) == theirs.encode(text).ids
    assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text).ids)


@given(text=KNOWN_TEXT)
@examples(200)
@example(text="in 1790,  7 x ½ ² ٣ 三")
def test_smollm2_s_ids(text: str) -> None:
    ours, theirs = smollm2()
    if {bytes([byte]) for byte in text.encode()} <= ours.vocabulary.keys():
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
    else:
        with pytest.raises(ValueError, match="has no token in this vocabulary"):
            ours.encode(text)


def test_smollm2_s_ids_on_real_texts() -> None:
    ours, theirs = smollm2()
    assert [to_symbols(token) for token in ours.tokens[17:]] == [
        theirs.id_to_token(number) for number in range(17, 49152)
    ]
    texts = list(load_bbc_news()["text"][:100]) + list(
        load_interface_strings("zh_Hans")["target"]
    )
    for text in texts:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


@given(ids=st.lists(st.integers(0, 4095), max_size=12))
@examples(500)
def test_any_ids_decode_as_in_the_library(ids: list[int]) -> None:
    ours, theirs = trained()
    assert ours.decode(ids) == theirs.decode(ids)
    assert ours.decode_bytes(ids) == b"".join(ours.tokens[number] for number in ids)


def test_half_a_character() -> None:
    ours, _ = trained()
    ids = ours.encode("中")
    assert len(ids) == 3
    assert ours.decode(ids) == "中"
    assert ours.decode(ids[:2]) == "�"
    with pytest.raises(UnicodeDecodeError):
        ours.decode(ids[:2], errors="strict")


def test_special_tokens_are_text_unless_allowed() -> None:
    tokenizer = BytePairTokenizer([], ["<a>", "<a>b", "("])
    assert tokenizer.encode("<a>b") == [
        tokenizer.vocabulary[bytes([byte])] for byte in b"<a>b"
    ]
    assert tokenizer.encode("<a>b<a>(", allow_special=True) == [
        1,
        0,
        2,
    ]  # the longer name first
    for allowed in (True, False):
        ids = tokenizer.encode("x<a> (b<a>b", allow_special=allowed)
        assert tokenizer.decode(ids) == "x<a> (b<a>b"
    assert split_special("a|b|", ["|"]) == ["a", "|", "b", "|", ""]
    assert split_special("a|b", []) == ["a|b"]


@given(st.lists(st.sampled_from("ab"), max_size=12), st.sampled_from(["aa", "ab"]))
@examples(200)
def test_merging_goes_from_left_to_right_and_uses_nothing_twice(
    word: list[str], pair: str
) -> None:
    merged = merge_pair(word, tuple(pair), pair)
    assert "".join(merged) == "".join(word)
    assert merged == regex.findall(f"{pair}|.", "".join(word))


@given(CORPUS, st.lists(st.sampled_from("ab"), max_size=30))
@examples(200)
def test_the_heap_does_what_merge_after_merge_does(
    corpus: list[str], word: list[str]
) -> None:
    tokenizer = train_bpe(corpus, 290)
    tokens = [letter.encode() for letter in word]
    for pair in tokenizer.merges:
        tokens = merge_pair(tokens, pair, b"".join(pair))
    ids = merge_word(
        [tokenizer.vocabulary[letter.encode()] for letter in word], tokenizer.table
    )
    assert [tokenizer.tokens[number] for number in ids] == tokens


def test_merges_from_elsewhere_go_by_rank_not_by_length_or_place() -> None:
    tokenizer = BytePairTokenizer([(b"b", b"c"), (b"a", b"b"), (b"a", b"bc")])
    assert [tokenizer.tokens[number] for number in tokenizer.encode("abcab")] == [
        b"abc",
        b"ab",
    ]
    assert [tokenizer.tokens[number] for number in tokenizer.encode("abab")] == [
        b"ab",
        b"ab",
    ]
    late = [(b"a", b"b"), (b"b", b"c"), (b"a", b"bc"), (b"abc", b"d"), (b"ab", b"c")]
    numbers = {
        token: n
        for n, token in enumerate(["a", "b", "c", "d", "ab", "bc", "abc", "abcd"])
    }
    theirs = Tokenizer(
        models.BPE(vocab=numbers, merges=[(a.decode(), b.decode()) for a, b in late])
    )
    assert theirs.encode("abcd").tokens == [
        "abcd"
    ]  # abc is made by the last merge; then abc + d is due
    ours = BytePairTokenizer(late)
    assert [ours.tokens[number] for number in ours.encode("abcd")] == [b"abcd"]
    swapped = BytePairTokenizer(
        [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"bc")]
    )
    assert len(swapped) == 259  # abc is made twice and has one number
    assert [swapped.tokens[number] for number in swapped.encode("abc")] == [b"abc"]


def test_stand_ins_for_bytes_are_the_library_s() -> None:
    symbols = byte_symbols()
    assert sorted(symbols.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert list(symbols.values()) == sorted(symbols.values())
    assert to_symbols(b" ten\n") == "ĠtenĊ"
    assert from_symbols(to_symbols(bytes(range(256)))) == bytes(range(256))


# Errors


def test_bad_training_settings() -> None:
    with pytest.raises(
        ValueError,
        match="no room for 256 bytes and 1 special tokens; ask for 257 or more",
    ):
        train_bpe(["text"], 256, ["<pad>"])
    with pytest.raises(TypeError, match="single string; put it into a list"):
        train_bpe("text", 300)
    with pytest.raises(
        ValueError, match="special tokens must be different and not empty"
    ):
        train_bpe(["text"], 300, ["<pad>", "<pad>"])
    with pytest.raises(
        ValueError, match="special tokens must be different and not empty"
    ):
        train_bpe(["text"], 300, [""])
    with pytest.raises(TypeError, match="this is of type bytes"):
        train_bpe([b"text"], 300)
    with pytest.raises(
        TypeError,
        match="special_tokens is a single string, '<pad>'; put it into a list",
    ):
        train_bpe(["text"], 300, "<pad>")
    with pytest.raises(
        TypeError, match="patterns is a single string; put it into a tuple"
    ):
        train_bpe(["text"], 300, patterns=GPT2_PATTERN)
    with pytest.raises(ValueError, match=r"position 1 .*surrogate"):
        train_bpe(["fine", "a\udc00"], 300)


@pytest.mark.parametrize("text", [b"bytes", None, 3, ["a"]])
def test_what_is_no_text(text: object) -> None:
    with pytest.raises(TypeError, match="a text is a str"):
        trained()[0].encode(text)


@pytest.mark.parametrize(("text", "position"), [("\ud83d", 0), ("ab\ude00c", 2)])
def test_half_a_surrogate_pair(text: str, position: int) -> None:
    with pytest.raises(
        ValueError, match=rf"position {position} .*half of a surrogate pair"
    ) as raised:
        trained()[0].encode(text)
    assert "surrogatepass" in str(raised.value)
    mended = "\ud83d\ude00".encode("utf-16", "surrogatepass").decode(
        "utf-16", "replace"
    )
    assert mended == "😀"  # what the message recommends does mend a pair
    check_text(mended)


@pytest.mark.parametrize("number", [-1, 4096, 10**9])
def test_an_id_outside_the_vocabulary(number: int) -> None:
    with pytest.raises(
        ValueError, match=rf"there is no token {number}: the ids go from 0 to 4095"
    ):
        trained()[0].decode([5, number])


def test_merges_that_need_what_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"merge 1, .*needs a token that no merge before it makes"
    ):
        BytePairTokenizer([(b"a", b"b"), (b"a", b"bc")])
    with pytest.raises(ValueError, match="merge 0"):
        number_tokens([(b"a", b"b")], (), range(ord("b")))


def test_a_byte_without_a_token() -> None:
    tokenizer = BytePairTokenizer([], alphabet=b"abc")
    assert tokenizer.encode("abc") == [0, 1, 2]
    with pytest.raises(ValueError, match=r"the byte b'd' of 'ad' has no token"):
        tokenizer.encode("ad")


def test_patterns_that_lose_text() -> None:
    with pytest.raises(ValueError, match="these patterns lose part of the text"):
        split_words("a b", (r"\w+",))
    with pytest.raises(ValueError, match="capturing group"):
        split_words("a b", (r"(\w)\w*|\s",))


def test_a_sign_that_stands_for_no_byte() -> None:
    with pytest.raises(ValueError, match=r"\['中'\] in 'a中' stand for no byte"):
        from_symbols("a中")


# WordPiece


@cache
def minilm_pieces() -> set[str]:
    return set(minilm().get_vocab())


def our_minilm(text: str) -> list[str]:
    return [
        piece for word in bert_words(text) for piece in wordpiece(word, minilm_pieces())
    ]


def test_minilm_s_pieces_on_real_texts() -> None:
    texts = list(load_bbc_news()["text"][:200]) + list(
        load_interface_strings("zh_Hans")["target"]
    )
    texts += list(load_interface_strings("fr")["target"]) + list(
        load_interface_strings("vi")["target"]
    )
    for text in texts:
        assert (
            our_minilm(text) == minilm().encode(text, add_special_tokens=False).tokens
        )


# The library's tables for BERT are those of Unicode 8 or so; all that was known in
# version 3.2 is in both.
@given(text=st.text(OLD))
@examples(300)
@example(text="Crème BRÛLÉE ǅ İ ΣΣ 東京\u3000x\u00adx\u200bx\tx\ufffdx")
@example(text="$5+3=8 ^_^ `a` ~b~ |c| <d>")
@example(text="ß ﬁ Å ḍ̇")
def test_minilm_s_pieces_on_any_text_known_long_enough(text: str) -> None:
    assert our_minilm(text) == minilm().encode(text, add_special_tokens=False).tokens


def test_wordpiece_is_greedy_and_gives_up_on_whole_words() -> None:
    vocabulary = {"ten", "tena", "##ant", "##ants", "##t", "##s"}
    assert wordpiece("tents", vocabulary) == ["ten", "##t", "##s"]
    assert (
        wordpiece("tenant", vocabulary) == wordpiece("tenants", vocabulary) == ["[UNK]"]
    )
    assert wordpiece("xten", vocabulary, unknown="?") == ["?"]
    assert wordpiece("", vocabulary) == []
    assert wordpiece("t" * 100, {"t", "##t"}) == ["t"] + ["##t"] * 99
    assert wordpiece("t" * 101, {"t", "##t"}) == ["[UNK]"]


# Speed


REPETITIONS = 3


def seconds_of_each(call) -> Iterator[float]:
    """The processor time of each of some calls: other programs do not count in it."""
    for _ in range(REPETITIONS):
        start = time.process_time()
        call()
        yield time.process_time() - start


def seconds(call) -> float:
    """The least processor time of some calls."""
    return min(seconds_of_each(call))


def takes_less(call, bound: float) -> bool:
    """Whether the least processor time of some calls is below a bound: no more calls
    than show it.
    """
    return any(each < bound for each in seconds_of_each(call))


@pytest.mark.parametrize("kind", ["speeches", "no word twice", "one long word"])
def test_encoding_takes_less_than_twenty_times_the_library_s_time(
    kind: str, monkeypatch
) -> None:
    """The book's promise: one thread, an empty cache. Measured: 0.4 to 7 times."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    ours, theirs = trained()
    text = {
        "speeches": "".join(speeches()[1])[:1_000_000],
        "no word twice": "".join(
            f" {chr(97 + n % 26)}{n * 7919 % 1_000_003:x}q" for n in range(100_000)
        ),
        "one long word": "".join("etaoinshrdlu"[n * n % 12] for n in range(100_000)),
    }[kind]

    def encode() -> None:
        ours.cache.clear()
        ours.encode(text)

    assert takes_less(encode, 20 * seconds(lambda: theirs.encode(text)))


def test_a_long_word_does_not_take_time_by_the_square_of_its_length() -> None:
    ours, _ = trained()
    letters = ("etaoinshrdlu" * 40_000)[::7]

    def encode(number: int) -> None:
        ours.cache.clear()
        ours.encode(letters[:number])

    # 16 times the letters; the square would be 256 times.
    bound = 16 * 6 * seconds(lambda: encode(4_000))
    assert takes_less(lambda: encode(64_000), bound)


def test_training_counts_each_word_once() -> None:
    """A thousand times the text, the same words: the same merges, in no more time."""
    counts = {
        word.encode(): count
        for word, count in Counter(split_words(speeches()[0][0])).items()
    }
    many = {word: 1000 * count for word, count in counts.items()}
    assert learn_merges(many, 600) == learn_merges(counts, 600)
    bound = 5 * seconds(lambda: learn_merges(counts, 600))
    assert takes_less(lambda: learn_merges(many, 600), bound)
