"""Chapter 16's metrics: equal to scikit-learn, sacrebleu and rouge_score on real pairs
of texts and on strings that hypothesis makes; the bootstrap of a corpus; by hand.
"""

import functools
import importlib
import inspect
import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nltk.stem import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh
from sklearn.metrics import accuracy_score, f1_score, log_loss

from finetuning.data.corpora import load_bbc_news, load_interface_strings
from finetuning.scratch import text_metrics as ours

STEMMER = PorterStemmer()
LIBRARY_TOKENISERS = {
    "13a": Tokenizer13a(),
    "zh": TokenizerZh(),
    "char": TokenizerChar(),
}


def _interface_pairs(first: str, second: str) -> list[tuple[str, str]]:
    def strings(language):
        return {
            (row["catalogue"], row["context"], row["source"]): row["target"]
            for row in load_interface_strings(language)
        }

    one, other = strings(first), strings(second)
    return [(one[key], other[key]) for key in one if key in other]


def _docstring_pairs() -> list[tuple[str, str]]:
    """First lines of neighbouring functions, of numpy and scipy."""
    lines = []
    for name in ("numpy", "scipy.stats", "scipy.signal", "scipy.special"):
        module = importlib.import_module(name)
        for attribute in sorted(vars(module)):
            text = inspect.getdoc(vars(module)[attribute])
            if not attribute.startswith("_") and text:
                lines.append(text.strip().split("\n")[0])
    return list(itertools.pairwise(lines))


def _news_pairs() -> list[tuple[str, str]]:
    """The first paragraph of an article, and its headline."""
    return [
        (row["text"].split("\n\n")[1], row["title"])
        for row in load_bbc_news(split=True)["test"]
    ]


@functools.cache
def real_pairs(name: str) -> list[tuple[str, str]]:
    pairs = {
        "Portuguese": lambda: _interface_pairs("pt_BR", "pt"),
        "Chinese": lambda: _interface_pairs("zh_Hant", "zh_Hans"),
        "docstrings": _docstring_pairs,
        "headlines": _news_pairs,
    }[name]()
    assert len(pairs) >= 500
    return pairs


REAL = ("Portuguese", "Chinese", "docstrings", "headlines")

pieces = st.sampled_from(
    [
        *("the", "cat", "Cat", "The", "an", "running", "runs", "generalise"),
        *("don't", "e-mail", "1,000", "1.5", ".5", "3-4", "%(name)s", "..."),
        *("&amp;lt;", "&quot;", "<skipped>", "-\n", "\n", "\t", "", " ", "  "),
        *("设置", "设", "“", "—", "。", "の", "𠮷", "é", "e\u0301", "İ", "ß", "\u2009"),
        *("!", "?", ",", ".", "-", "'", "\\", "[", "]", "~", "\x7f", "\x00"),
    ]
)
texts = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=" \t\n\u3000", max_size=5),
    st.lists(pieces, max_size=14).map(" ".join),
    st.lists(pieces, max_size=14).map("".join),
)
corpora = st.lists(st.tuples(texts, texts), min_size=1, max_size=5)


def check_pair(prediction: str, reference: str) -> None:
    """Every metric of one pair."""
    for name, library in LIBRARY_TOKENISERS.items():
        expected = library(prediction.rstrip()).split()
        assert ours.TOKENISERS[name](prediction) == expected
    score = BLEU(effective_order=True).sentence_score(prediction, [reference]).score
    counts = ours.bleu_counts(prediction, reference)
    assert ours.bleu_of(counts, effective=True) == pytest.approx(score)
    score = CHRF().sentence_score(prediction, [reference]).score
    assert ours.chrf([prediction], [reference]) == pytest.approx(score)
    for stemmed in (False, True):
        scorer = RougeScorer(["rouge1", "rouge2", "rouge3", "rougeL"], stemmed)
        expected = scorer.score(reference, prediction)
        stem = STEMMER.stem if stemmed else None
        for n in (1, 2, 3):
            found = ours.rouge_n(prediction, reference, n, stem)
            assert found == pytest.approx(expected[f"rouge{n}"])
        found = ours.rouge_l(prediction, reference, stem)
        assert found == pytest.approx(expected["rougeL"])
    check_words(prediction, reference)


class Words:
    """Our words of `token_f1`, for rouge_score."""

    def tokenize(self, text: str) -> list[str]:
        return ours.normalise(text).split()


def check_words(prediction: str, reference: str) -> None:
    found = ours.token_f1(prediction, reference)
    if not ours.normalise(prediction) and not ours.normalise(reference):
        assert found == 1.0
        return
    scorer = RougeScorer(["rouge1"], tokenizer=Words())
    expected = scorer.score(reference, prediction)["rouge1"].fmeasure
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", REAL)
def test_every_real_pair(name):
    for prediction, reference in real_pairs(name):
        check_pair(prediction, reference)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("tokeniser", ["13a", "zh", "char"])
def test_bleu_of_real_corpora(name, tokeniser):
    predictions, references = map(list, zip(*real_pairs(name), strict=True))
    for lowercase in (False, True):
        for smooth in ("exp", "none"):
            library = BLEU(lowercase, smooth_method=smooth, tokenize=tokeniser)
            expected = library.corpus_score(predictions, [references]).score
            found = ours.bleu(
                predictions, references, tokeniser, lowercase, smooth == "exp"
            )
            assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", REAL)
def test_chrf_of_real_corpora(name):
    predictions, references = map(list, zip(*real_pairs(name), strict=True))
    expected = CHRF().corpus_score(predictions, [references]).score
    assert ours.chrf(predictions, references) == pytest.approx(expected)
    counts = sum(ours.chrf_counts(*pair) for pair in real_pairs(name))
    for beta in (1, 3):
        expected = CHRF(beta=beta).corpus_score(predictions, [references]).score
        assert ours.chrf_of(counts, beta) == pytest.approx(expected)


@pytest.mark.parametrize("name", REAL)
def test_exact_match_of_real_corpora(name):
    pairs = real_pairs(name)
    predictions, references = (
        [ours.normalise(text) for text in column] for column in zip(*pairs, strict=True)
    )
    found = np.mean([ours.exact_match(*pair) for pair in pairs])
    assert found == pytest.approx(accuracy_score(references, predictions))


@settings(max_examples=300, deadline=None)
@given(texts, texts)
@example("", "")
@example("", "a")
@example("a", "")
@example(" \n ", "a")
@example(".5", "0.5")
@example("the", "a")
def test_every_made_pair(prediction, reference):
    check_pair(prediction, reference)


@settings(max_examples=150, deadline=None)
@given(corpora)
def test_made_corpora(pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    for tokeniser in LIBRARY_TOKENISERS:
        for smooth in ("exp", "none"):
            library = BLEU(smooth_method=smooth, tokenize=tokeniser)
            expected = library.corpus_score(predictions, [references]).score
            found = ours.bleu(
                predictions, references, tokeniser, smooth=smooth == "exp"
            )
            assert found == pytest.approx(expected)
    expected = CHRF().corpus_score(predictions, [references]).score
    assert ours.chrf(predictions, references) == pytest.approx(expected)


labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1)


@settings(max_examples=300, deadline=None)
@given(labels)
@example([(0, 0)])
@example([(0, 1)])
def test_labels_are_scikit_learns(pairs):
    predictions, true = map(list, zip(*pairs, strict=True))
    assert ours.accuracy(predictions, true) == pytest.approx(
        accuracy_score(true, predictions)
    )
    assert ours.macro_f1(predictions, true) == pytest.approx(
        f1_score(true, predictions, average="macro", zero_division=0)
    )


def test_labels_of_real_articles():
    """Topics guessed by the first word of a headline that another article shares."""
    rows = load_bbc_news(split=True)["test"]
    true = rows["label"]
    guesses = [len(title.split()) % 5 for title in rows["title"]]
    names = [rows.features["label"].names[label] for label in true]
    guessed_names = [rows.features["label"].names[label] for label in guesses]
    assert len(true) == 500
    for given_labels, right in ((guesses, true), (guessed_names, names)):
        assert ours.accuracy(given_labels, right) == accuracy_score(right, given_labels)
        assert ours.macro_f1(given_labels, right) == pytest.approx(
            f1_score(right, given_labels, average="macro")
        )


def test_perplexity_is_that_of_scikit_learns_log_loss():
    generator = np.random.default_rng(0)
    chances = generator.dirichlet(np.ones(7), size=600)
    true = generator.integers(7, size=600)
    found = ours.perplexity(np.log(chances[np.arange(600), true]))
    assert found == pytest.approx(math.exp(log_loss(true, chances, labels=range(7))))
    assert ours.perplexity([math.log(1 / 9)] * 4) == pytest.approx(9)


def test_what_counts_as_chinese_is_sacrebleus_for_every_character():
    """Its first range is a slip that has become the standard: U+20000 was meant, so
    rare characters stay together, and dashes and curly quotes are cut off.
    """
    different = [
        code
        for code in range(0x110000)
        if not 0xD800 <= code < 0xE000
        and TokenizerZh._is_chinese_char(chr(code))
        != bool(re.match(f"[{ours._CHINESE}]", chr(code)))
    ]
    assert different == []


def test_by_hand():
    reference = "Enter a valid email address."
    right, wrong = (
        "Please enter an email address that is valid.",
        "Enter a valid web address.",
    )
    assert ours.token_f1(right, reference) == pytest.approx(8 / 11)
    assert ours.token_f1(wrong, reference) == pytest.approx(0.75)
    assert ours.rouge_n(right, reference, 2).f1 == pytest.approx(2 / 11)
    assert ours.rouge_l(right, reference) == pytest.approx((3 / 8, 3 / 5, 6 / 13))
    assert ours.bleu_counts(wrong, reference).tolist() == [6, 6, 5, 6, 3, 5, 1, 4, 0, 3]
    assert ours.exact_match("The  E-mail!", "email")


def test_clipping_and_brevity():
    assert ours.bleu_counts("a a a a", "a b")[2] == 1
    short = ours.bleu_of(ours.bleu_counts("a b c d", "a b c d e f g h"))
    assert short == pytest.approx(100 * math.exp(1 - 8 / 4))


@pytest.mark.parametrize("score", [ours.bleu_of, ours.chrf_of])
def test_the_interval_of_a_corpus(score):
    count = ours.bleu_counts if score is ours.bleu_of else ours.chrf_counts
    pairs = real_pairs("Portuguese")[:300]
    counts = np.array([count(*pair) for pair in pairs])
    interval = ours.corpus_interval(counts, score)
    assert interval.mean == pytest.approx(score(counts.sum(axis=0)))
    assert interval.low < interval.mean < interval.high
    assert interval == ours.corpus_interval(counts, score)
    assert interval != ours.corpus_interval(counts, score, seed=1)
    narrow = ours.corpus_interval(counts, score, confidence=0.5)
    assert interval.low < narrow.low < narrow.high < interval.high


def test_the_width_is_sacrebleus():
    predictions, references = map(list, zip(*real_pairs("Portuguese"), strict=True))
    counts = np.array(
        [ours.bleu_counts(*pair) for pair in zip(predictions, references, strict=True)]
    )
    library = BLEU().corpus_score(predictions, [references], n_bootstrap=1000)
    interval = ours.corpus_interval(counts, ours.bleu_of)
    assert (interval.high - interval.low) / 2 == pytest.approx(library._ci, rel=0.1)


def test_a_difference_is_paired():
    counts = np.array([ours.bleu_counts(*pair) for pair in real_pairs("Portuguese")])
    same = ours.corpus_interval(counts, ours.bleu_of, minus=counts)
    assert same == (0.0, 0.0, 0.0)
    worse = counts.copy()
    worse[:, 2] -= worse[:, 2] > 1  # one word of each is wrong
    gap = ours.corpus_interval(counts, ours.bleu_of, minus=worse)
    alone = ours.corpus_interval(counts, ours.bleu_of)
    assert 0 < gap.low < gap.mean < gap.high
    assert gap.high - gap.low < alone.high - alone.low


def test_a_difference_of_other_items_is_refused():
    counts = np.ones((5, 10), dtype=int)
    with pytest.raises(ValueError, match="same items"):
        ours.corpus_interval(counts, ours.bleu_of, minus=counts[:4])


def test_texts_and_references_must_be_as_many():
    with pytest.raises(ValueError):
        ours.bleu(["a", "b"], ["a"])
    with pytest.raises(ValueError):
        ours.chrf(["a"], ["a", "b"])
