"""What chapter 19 exports: spans, refusals, a search."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetuning.data.book import Piece
from finetuning.data.documentation import Question
from finetuning.models import load_encoder, load_tokenizer
from finetuning.scratch.question_answering import (
    BM25,
    best_span,
    collate,
    cut,
    encode,
    find_answers,
    first_right,
    fused,
    holds,
    is_quoted,
    judged,
    passages,
    quotation,
    risk_coverage,
    threshold_for,
    token_span,
)

PASSAGE = "tol : float, default=0.001\nStop when a step gains less than this."


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("all-MiniLM-L6-v2")


def question(text, *answers):
    start = PASSAGE.index(answers[0]) if answers else None
    return Question("x", PASSAGE, text, answers, start, "made up")


def test_offsets_are_of_the_passage_alone(tokenizer):
    row = encode(tokenizer, "What is tol?", PASSAGE)
    tokens = tokenizer.convert_ids_to_tokens(row.ids["input_ids"])
    own = [place for place, offset in enumerate(row.offsets) if offset is not None]
    assert tokens[own[0] - 1] == tokens[own[-1] + 1] == "[SEP]"
    assert row.offsets[own[0]][0] == 0 and row.offsets[own[-1]][1] == len(PASSAGE)
    assert len(row.offsets) == len(tokens)


def test_the_passage_is_cut_and_not_the_question(tokenizer):
    row = encode(tokenizer, "What is tol?", PASSAGE * 20, max_length=40)
    assert len(row.offsets) == 40
    assert row.offsets[1] is None and row.offsets[10] is not None


@given(st.data())
def test_a_span_of_tokens_is_found_again(data):
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=12))
    offsets = [None]
    at = 0
    for length in lengths:
        offsets.append((at, at + length))
        at += length + data.draw(st.integers(0, 2))
    first = data.draw(st.integers(1, len(lengths)))
    last = data.draw(st.integers(first, len(lengths)))
    start, end = offsets[first][0], offsets[last][1]
    assert token_span(offsets, start, end) == (first, last)


def test_a_token_that_is_touched_comes_whole():
    offsets = [None, (0, 3), (4, 9), None]
    assert token_span(offsets, 1, 5) == (1, 2)
    assert token_span(offsets, 5, 6) == (2, 2)
    assert token_span(offsets, 3, 4) is None  # between two tokens
    assert token_span(offsets, 6, 12) is None  # cut off
    assert token_span([None, None], 0, 3) is None


@given(st.integers(2, 9), st.integers(1, 9), st.integers(0, 10_000))
def test_the_best_span_is_the_best_of_all(size, longest, seed):
    generator = torch.Generator().manual_seed(seed)
    begins, ends = torch.randn(2, size, generator=generator)
    offsets = [None] + [(3 * n, 3 * n + 2) for n in range(size - 1)]
    first, last, margin = best_span(begins, ends, offsets, longest)
    pairs = [
        (one, other)
        for one in range(1, size)
        for other in range(one, min(size, one + longest))
    ]
    assert (first, last) in pairs
    best = max(float(begins[one] + ends[other]) for one, other in pairs)
    assert margin == pytest.approx(best - float(begins[0] + ends[0]), abs=1e-5)


def test_labels_are_tokens_of_the_answer_or_the_mark(tokenizer):
    questions = [question("When?", "a step gains less than this"), question("Who?")]
    rows = [encode(tokenizer, each.question, each.passage) for each in questions]
    batch = collate(tokenizer, rows, questions)
    first, last = batch["start_positions"][0], batch["end_positions"][0]
    ids = batch["input_ids"][0, first : last + 1]
    assert tokenizer.decode(ids) == "a step gains less than this"
    assert batch["start_positions"][1] == batch["end_positions"][1] == 0
    assert batch["input_ids"].shape == batch["attention_mask"].shape


def test_an_answer_that_is_cut_off_is_no_answer(tokenizer):
    whole = question("When?", "a step gains less than this")
    row = encode(tokenizer, whole.question, whole.passage, max_length=16)
    batch = collate(tokenizer, [row], [whole])
    assert batch["start_positions"].tolist() == [0]


def test_answers_do_not_depend_on_their_neighbours():
    torch.manual_seed(0)
    model, tokenizer = load_encoder("all-MiniLM-L6-v2", head="question-answering")
    pairs = [("When does it stop?", PASSAGE), ("What?", "b : int\nOne word or two.")]
    together = find_answers(model, tokenizer, pairs)
    alone = [find_answers(model, tokenizer, [pair])[0] for pair in pairs]
    for (text, margin), (other, same) in zip(together, alone, strict=True):
        assert text == other and text in PASSAGE + pairs[1][1]
        assert margin == pytest.approx(same, abs=1e-3)


def test_marks():
    asked = question("When?", "a step gains less than this", "less than this")
    assert judged("Less than this.", asked) == (1.0, 1.0)
    assert judged("less than that", asked)[1] == pytest.approx(2 / 3)
    assert judged(None, asked) == (0.0, 0.0)
    assert judged(None, question("Who?")) == (1.0, 1.0)
    assert judged("me", question("Who?")) == (0.0, 0.0)


def test_risk_and_coverage():
    coverage, risk = risk_coverage([0.1, 0.9, 0.5, 0.7], [1, 1, 0, 0.5])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == [0.0, 0.25, 0.5, 0.375]


def test_a_threshold_is_the_lowest_that_keeps_the_risk():
    sure, right = [0.9, 0.8, 0.6, 0.3], [1, 0, 1, 1]
    assert threshold_for(sure, right, 0.25) == 0.3
    assert threshold_for(sure, right, 0.0) == 0.9
    assert threshold_for([0.5, 0.4], [0, 0], 0.5) == math.inf


def test_a_text_is_cut_between_sentences():
    text = "One two three. Four five six.\nSeven eight."
    assert cut(text, 6) == ["One two three. Four five six.", "Seven eight."]
    assert cut(text, 1) == ["One two three.", "Four five six.", "Seven eight."]
    assert " ".join(cut(text, 4)) == text.replace("\n", " ")


def test_passages_keep_to_their_section():
    pieces = [
        Piece("01-a", "01 · A", "One", "one", "x", "First."),
        Piece("01-a", "01 · A", "One", "one", "y", "Second."),
        Piece("01-a", "01 · A", "Two", "two", "z", "Third."),
    ]
    found = passages(pieces, 10)
    assert [each.text for each in found] == ["First. Second.", "Third."]
    assert found[1].place == "chapters/01-a.ipynb#two"
    assert found[1].headed == "01 · A. Two. Third."


def test_bm25_by_hand():
    index = BM25(["a mask hides", "a mask for padding", "a loss falls"])
    assert index.weight("padding") == pytest.approx(math.log(1 + 2.5 / 1.5))
    assert index.weight("nowhere") > index.weight("padding")
    scores = index.scores("Padding?")
    assert scores[1] > 0 and scores[0] == scores[2] == 0
    assert BM25(["x", "y"]).scores("").tolist() == [0, 0]


def test_bm25_likes_rare_words_repetition_and_short_texts():
    index = BM25(["b", "b b", "b c c c c c c", "a c", "d", "d"])
    scores = index.scores("b")
    assert scores[1] > scores[0] > scores[2]
    assert scores[1] < 2 * scores[0]
    assert index.weight("a") > index.weight("b")


def test_ranks():
    scores = np.array([0.2, 0.9, 0.5])
    assert first_right(scores, np.array([True, False, False])) == 3
    assert first_right(scores, np.array([True, True, False])) == 1
    assert first_right(scores, np.zeros(3, dtype=bool)) == math.inf


def test_fusion_wants_both():
    one = np.array([3.0, 2.0, 1.0])
    other = np.array([1.0, 3.0, 2.0])
    assert fused(one, other).argmax() == 1
    assert fused(one).argsort().tolist() == one.argsort().tolist()
    assert fused(one * 100, other).tolist() == fused(one, other).tolist()


def test_quotations():
    text = "A weight says how much is taken of a value, not what the value holds."
    assert quotation('The text says "how much is taken of a value".') == (
        "how much is taken of a value"
    )
    assert quotation(" plain ") == "plain"
    assert is_quoted("How much is taken of a value", text)
    assert not is_quoted("how much is given of a value", text)
    assert not is_quoted("a value", text)  # too short to prove anything
    assert not is_quoted("weight says how muc", text)
    assert is_quoted('He said "how much is taken of a value', text)  # not closed
    other = 'A "weight" says how "much" is taken.'
    assert is_quoted(other, f"Before. {other} Behind.")  # marks of its own
    assert not is_quoted("", text)


def test_holding_half_of_the_words():
    assert holds("the score of a value", ["a value"])
    assert holds("only value here", ["a value"])
    assert not holds("nothing of it", ["a value", "scores count"])
    assert not holds("", ["a value"])
