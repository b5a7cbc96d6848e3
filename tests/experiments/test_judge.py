"""Chapter 16's judge: both orders of each pair, the likelihood of a headline, and
nothing of the articles is kept.
"""

import math

import numpy as np
import pytest
import torch

from finetuning.experiments import judge, results
from finetuning.models import load_causal_lm, load_tokenizer
from finetuning.scratch.instruction import render

LETTERS = {"part": "question", "rival": "other", "wording": "letters"}


@pytest.fixture(scope="module")
def smollm2():
    return load_causal_lm(judge.MODEL)


class SameLogits:
    """A model that gives every token the logits of a list, wherever it stands."""

    device = "cpu"

    def __init__(self, logits):
        self.row = torch.tensor(logits, dtype=torch.float32)

    def __call__(self, input_ids, attention_mask, logits_to_keep):
        self.input_ids = input_ids
        logits = self.row.expand(*input_ids.shape, -1)[:, -logits_to_keep:]
        return type("Output", (), {"logits": logits})


def test_pairs_are_of_one_topic_and_two_articles():
    found = judge.pairs(40)
    assert len(found) == 40
    for opening, own, other in found:
        assert len(opening.split()) == judge.OPENING_WORDS
        assert own != other
    assert len({opening for opening, _, _ in found}) == 40


@pytest.mark.parametrize("wording", judge.WORDINGS)
def test_a_question_holds_the_opening_and_both_headlines_in_order(wording):
    question, answers = judge.WORDINGS[wording]
    asked = question.format(opening="OPEN", first="ONE", second="TWO")
    assert asked.index("OPEN") < asked.index("ONE") < asked.index("TWO")
    assert len(answers) == 2
    assert "TWO" in asked[asked.index(answers[1] + ":") :]


def test_any_question_with_two_answers_can_be_asked():
    tokenizer = load_tokenizer(judge.MODEL)
    logits = np.zeros(len(tokenizer))
    yes, no = (tokenizer(word)["input_ids"][0] for word in ("yes", "no"))
    logits[yes], logits[no] = 1.0, 2.0
    model = SameLogits(logits)
    found, share = judge.chosen(model, tokenizer, "Is it late?", ("yes", "no"))
    assert found == pytest.approx(1 / (1 + math.e), rel=1e-5)
    assert 0 < share < 0.01
    assert "Is it late?<|im_end|>" in tokenizer.decode(model.input_ids[0])


@pytest.mark.parametrize("wording", judge.WORDINGS)
def test_the_probability_is_that_of_the_two_answers_alone(wording):
    tokenizer = load_tokenizer(judge.MODEL)
    logits = np.zeros(len(tokenizer))
    first, second = (
        tokenizer(answer, add_special_tokens=False)["input_ids"]
        for answer in judge.WORDINGS[wording][1]
    )
    assert len(first) == len(second) == 1
    logits[first[0]] = 4.0
    logits[second[0]] = 3.0
    model = SameLogits(logits)
    chosen, share = judge.first_chosen(model, tokenizer, "O", "1st", "2nd", wording)
    both = np.exp([4.0, 3.0])
    assert chosen == pytest.approx(both[0] / both.sum(), rel=1e-5)
    whole = both.sum() + len(tokenizer) - 2
    assert share == pytest.approx(both.sum() / whole, rel=1e-4)  # float32
    # the assistant's turn has begun, and nothing of it is written
    assert tokenizer.decode(model.input_ids[0]).endswith("<|im_start|>assistant\n")


def test_the_likelihood_counts_the_tokens_of_the_headline_alone(smollm2):
    model, tokenizer = smollm2
    opening, own, _ = judge.pairs(1)[0]
    found, tokens = judge.log_likelihood(model, tokenizer, opening, own)
    chat = [{"role": "user", "content": judge.REQUEST.format(opening=opening)}]
    prompt = render(tokenizer, chat, answer_next=True)
    before, ids = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (prompt, prompt + own)
    )
    assert ids[: len(before)] == before
    assert tokenizer.decode(ids[len(before) :]) == own
    labels = torch.tensor([[-100] * len(before) + ids[len(before) :]])
    with torch.no_grad():
        loss = model(input_ids=torch.tensor([ids]), labels=labels).loss.item()
    assert tokens == len(ids) - len(before)
    assert found == pytest.approx(-loss * tokens, rel=1e-4)


def test_headlines_begin_with_a_token_of_their_own():
    """A prompt's tokens stay as they are, whichever headline follows."""
    tokenizer = load_tokenizer(judge.MODEL)
    chat = [{"role": "user", "content": judge.REQUEST.format(opening="It rains.")}]
    prompt = render(tokenizer, chat, answer_next=True)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    for _, own, other in judge.pairs():
        for headline in (own, other, own + judge.PADDING):
            whole = tokenizer(prompt + headline, add_special_tokens=False)["input_ids"]
            assert whole[: len(ids)] == ids


def test_what_is_kept_is_what_the_model_says(smollm2):
    model, tokenizer = smollm2
    place = 7
    opening, own, other = judge.pairs(place + 1)[place]
    kept = results("judge").one(**LETTERS)["first"][place]
    found = [
        judge.first_chosen(model, tokenizer, opening, first, second)[0]
        for first, second in ((own, other), (other, own))
    ]
    assert found == pytest.approx(kept, abs=0.01)
    likelihood = results("judge").one(part="likelihood")
    for column, headline in enumerate((own, other, own + judge.PADDING)):
        value, tokens = judge.log_likelihood(model, tokenizer, opening, headline)
        assert value == pytest.approx(likelihood["sums"][place][column], abs=0.05)
        assert tokens == likelihood["tokens"][place][column]


@pytest.mark.parametrize("key", judge.EXPERIMENT.keys)
def test_every_run_is_kept(key):
    run = results("judge").one(**key)
    if key["part"] == "likelihood":
        sums = np.array(run["sums"])
        tokens = np.array(run["tokens"])
        assert sums.shape == tokens.shape == (judge.PAIRS, 3)
        assert (sums < 0).all()
        # the padded headline begins with the plain one
        assert (tokens[:, 2] > tokens[:, 0]).all()
        assert (sums[:, 2] < sums[:, 0]).all()
    else:
        first = np.array(run["first"])
        assert first.shape == (judge.PAIRS, 2)
        assert ((first > 0) & (first < 1)).all()
        assert 0 < run["share"] < 1


def test_no_text_of_an_article_is_kept():
    kept = str([run.result for run in results("judge")])
    assert not any(own in kept for _, own, _ in judge.pairs())
