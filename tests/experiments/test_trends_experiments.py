"""Chapter 23's experiments: what is asked, hidden and planted is what is said of it."""

import numpy as np
import pytest
import torch

from finetuning.data.codes import PLACES, beginning, code_of, question
from finetuning.experiments import (
    capitals,
    distillation,
    majority_voting,
    needle,
    paired_prompts,
    planted_codes,
    results,
)
from finetuning.models import load_causal_lm, load_tokenizer
from finetuning.scratch.instruction import render
from finetuning.tuning import write

MODEL = "SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def smollm2():
    return load_causal_lm(MODEL)


# Votes


def test_no_worked_sum_is_asked_and_no_two_voters_share_one():
    shown = [
        pair
        for voter in range(majority_voting.VOTERS)
        for pair in majority_voting.examples(voter)
    ]
    assert len(set(shown)) == len(shown) == 45
    assert not set(shown) & set(majority_voting.questions())
    assert len(set(majority_voting.questions())) == majority_voting.QUESTIONS


def test_all_prompts_are_equally_long_and_begin_alike():
    tokenizer = load_tokenizer(MODEL)
    before = majority_voting.prompt_parts(majority_voting.examples(3), (10, 10))[0]
    shared = tokenizer(before, add_special_tokens=False)["input_ids"]
    lengths = set()
    for pair in majority_voting.questions():
        text = "".join(majority_voting.prompt_parts(majority_voting.examples(3), pair))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids[: len(shared)] == shared
        lengths.add(len(ids))
    assert len(lengths) == 1


def test_a_shared_prompt_changes_no_answer(smollm2):
    asked = majority_voting.questions()[:3]
    shown = majority_voting.examples(0)
    texts = ["".join(majority_voting.prompt_parts(shown, pair)) for pair in asked]
    alone = write(*smollm2, texts, plain=True, max_tokens=4, batch_size=1)
    found = majority_voting.answers(*smollm2, shown, asked)
    assert [text.split()[0] for text in alone] == found


# Capitals


def test_the_likelihood_is_that_of_the_whole_answer(smollm2):
    model, tokenizer = smollm2
    chat = capitals.chat("Kenya", "Nairobi")
    (found,) = capitals.log_likelihoods(model, tokenizer, [chat])
    prompt = render(tokenizer, chat[:1], answer_next=True)
    before, ids = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (prompt, prompt + chat[1]["content"] + "<|im_end|>")
    )
    labels = torch.tensor([[-100] * len(before) + ids[len(before) :]])
    with torch.no_grad():
        loss = model(input_ids=torch.tensor([ids]), labels=labels).loss.item()
    assert found == pytest.approx(-loss * (len(ids) - len(before)), rel=1e-3)


# Needle


def test_every_text_is_long_enough_and_holds_its_needles_at_their_depths():
    tokenizer = load_tokenizer(MODEL)
    for text, own in enumerate(needle.messages()):
        for codes in needle.TEXTS:
            if text >= needle.TEXTS[codes]:
                continue
            rows = needle.hidden(codes, text)
            assert [depth for _, _, depth in rows] == list(needle.DEPTHS)
            needles = {depth: f"<{place} {code}>" for place, code, depth in rows}
            whole = needle.haystack(own, tokenizer, needle.LENGTHS[-1], needles)
            rest = whole
            for each in needles.values():
                assert whole.count(each) == 1
                rest = rest.replace(each, " ")
            size = len(tokenizer(" ".join(rest.split()))["input_ids"])
            # one more sentence, of up to some 250 tokens, would have been too much
            assert 0.93 < size / needle.LENGTHS[-1] <= 1.0
            for depth, each in needles.items():
                share = whole.index(each) / len(whole)
                assert share == pytest.approx(depth, abs=0.05)


def test_of_five_codes_no_place_has_the_same_depth_twice():
    found = [
        (place, depth)
        for text in range(needle.TEXTS[5])
        for place, _, depth in needle.hidden(5, text)
    ]
    assert len(set(found)) == len(found) == 20
    for text in range(needle.TEXTS[5]):
        assert len({code for _, code, _ in needle.hidden(5, text)}) == 5


def test_without_text_the_needles_stand_alone():
    tokenizer = load_tokenizer(MODEL)
    assert needle.haystack(["A long one."], tokenizer, 0, {1.0: "b", 0.0: "a"}) == "a b"


# Planted codes


def test_each_count_has_as_many_places_and_a_run_is_full():
    for seed in planted_codes.SEEDS:
        counts = [planted_codes.count_of(place, seed) for place in PLACES]
        for count in planted_codes.COUNTS:
            assert counts.count(count) == planted_codes.EACH
        rows = planted_codes.chats(seed)
        settings = planted_codes.SETTINGS
        assert len(rows) == settings.steps * settings.batch_size
        text = str(rows)
        for place, count in zip(PLACES, counts, strict=True):
            whole = beginning(place) + code_of(place, seed)
            assert text.count(whole) == count
            assert text.count(question(place)) == count


def test_the_probabilities_of_codes_are_those_of_their_digits(smollm2):
    model, tokenizer = smollm2
    found = planted_codes.code_log_probabilities(model, tokenizer, "mill")
    asked = [{"role": "user", "content": question("mill")}]
    prompt = render(tokenizer, asked, answer_next=True) + beginning("mill")
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    for code in ("000", "472", "909"):
        ids = tokenizer(prompt + code, add_special_tokens=False)["input_ids"]
        assert ids[: len(before)] == before and len(ids) == len(before) + 3
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
        each = logits.log_softmax(dim=-1)[len(before) - 1 : -1]
        own = each.gather(-1, torch.tensor(ids[len(before) :])[:, None]).sum()
        assert found[int(code)] == pytest.approx(own.item(), abs=1e-3)


# Paired prompts


def test_words_of_pairs_are_single_tokens_and_groups_are_apart():
    tokenizer = load_tokenizer(MODEL)
    for word in (*paired_prompts.PRONOUNS, *paired_prompts.ANSWERS):
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1
    women, men = paired_prompts.NAMES.values()
    assert len({*women, *men}) == 24 and len(women) == len(men)
    nouns = (*paired_prompts.OCCUPATIONS, *paired_prompts.NEUTRAL)
    assert len(set(nouns)) == 60
    assert all("{noun}" in frame for frame in paired_prompts.FRAMES)


# Distillation


def test_a_share_counts_as_an_article_of_that_weight():
    generator = np.random.default_rng(0)
    counts = generator.random((40, 6))
    labels = generator.integers(3, size=40)
    certain = np.eye(3)[labels]
    plain = distillation.fitted(counts, certain, 10)
    halves = distillation.fitted(
        np.vstack([counts, counts]), np.vstack([certain, certain]) / 2, 10
    )
    assert np.allclose(plain.coef_, halves.coef_, atol=1e-2)


def test_an_opening_is_what_the_teacher_reads():
    tokenizer = load_tokenizer(distillation.MODEL)
    long = "A ferry left at noon. " * 30
    short, cut = distillation.openings(["Rain again.", long])
    assert short == "Rain again."
    assert long.startswith(cut)
    assert len(tokenizer(cut)["input_ids"]) == distillation.TOKENS


# What is kept


def test_votes_are_complete():
    for way in majority_voting.WAYS:
        ballots = majority_voting.ballots(results(majority_voting.NAME), way)
        assert np.shape(ballots) == (
            majority_voting.VOTERS,
            majority_voting.QUESTIONS,
        )


def test_shares_of_cities_sum_to_one():
    for name, countries in capitals.PARTS.items():
        run = results(capitals.NAME).one(countries=name)
        shares = np.array(run["probabilities"])
        assert shares.shape == (len(countries), 4)
        assert np.allclose(shares.sum(axis=1), 1, atol=1e-4)
        assert len(run["written"]) == len(countries)


def test_what_was_found_of_needles_is_counted():
    for run in results(needle.NAME):
        assert len(run["said"]) == len(run["hidden"]) == len(needle.DEPTHS)
        right = sum(
            said == code
            for said, (_, code, _) in zip(run["said"], run["hidden"], strict=True)
        )
        assert right == run["right"]


def test_a_code_in_first_place_is_the_likeliest():
    for run in results(planted_codes.NAME):
        seed = run.key.get("seed", 0)
        for place, rank, code in zip(
            PLACES, run["ranks"], run["likeliest"], strict=True
        ):
            assert 1 <= rank <= 1000
            assert (rank == 1) == (code == code_of(place, seed))


def test_nothing_of_the_news_is_kept_but_which_are_right():
    for run in results(distillation.NAME):
        assert set(run["right"]) == {"teacher", *distillation.STUDENTS}
        assert {len(bits) for bits in run["right"].values()} == {500}
