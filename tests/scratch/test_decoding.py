"""Ways of writing: by hand, against every possible text, and transformers'."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from finetuning.scratch.decoding import (
    Hypothesis,
    beam_search,
    check_prompt,
    continue_with,
    filter_top_k,
    filter_top_p,
    greedy,
    sample,
)

START, A, B, C, END = range(5)
# After the start A looks best (0.6), but B leads to the likeliest text: B C, 0.4 × 0.9
# = 0.36.
TABLE = torch.zeros(5, 5)
TABLE[START, [A, B]] = torch.tensor([0.6, 0.4])
TABLE[A, [A, C, END]] = torch.tensor([0.3, 0.3, 0.4])
TABLE[B, [C, END]] = torch.tensor([0.9, 0.1])
TABLE[C, END] = TABLE[END, END] = 1.0
PROMPT = torch.tensor([[START]])


def table_model(tokens: Tensor) -> Tensor:
    return TABLE[tokens[:, -1]].log()


def random_table(vocabulary: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Logits that depend on the last two tokens, with strong opinions."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(vocabulary, vocabulary, vocabulary, generator=generator)
    return lambda tokens: logits[
        tokens[:, -2] if tokens.size(1) > 1 else tokens[:, -1], tokens[:, -1]
    ]


def every_text(
    model: Callable[[Tensor], Tensor], prompt: list[int], longest: int, end: int
) -> list[Hypothesis]:
    """All texts of up to `longest` tokens, ended or cut, with log-probabilities."""
    found, open_texts = [], [Hypothesis([], 0.0)]
    while open_texts:
        text = open_texts.pop()
        logs = model(torch.tensor([prompt + text.tokens])).log_softmax(dim=-1)[0]
        for token, log in enumerate(logs.tolist()):
            longer = Hypothesis([*text.tokens, token], text.score + log)
            done = token == end or len(longer.tokens) == longest
            (found if done else open_texts).append(longer)
    return found


# Greedy


def test_greedy_takes_the_likeliest_token_each_time() -> None:
    assert greedy(table_model, PROMPT, max_length=10, end=END).tolist() == [
        [START, A, END]
    ]


def test_rows_that_ended_are_filled_with_the_end() -> None:
    prompts = torch.tensor([[START], [B], [END]])
    assert greedy(table_model, prompts, max_length=10, end=END).tolist() == [
        [START, A, END],
        [B, C, END],
        [END, END, END],
    ]


def test_writing_stops_at_the_maximum() -> None:
    assert greedy(
        lambda tokens: TABLE[:1].expand(len(tokens), -1), PROMPT, max_length=4
    ).tolist() == [[0, 1, 1, 1]]
    assert greedy(table_model, PROMPT, max_length=2, end=END).tolist() == [[START, A]]


def test_the_model_is_asked_only_as_often_as_needed() -> None:
    asked = []
    greedy(
        lambda tokens: asked.append(tokens.shape) or table_model(tokens),
        PROMPT,
        max_length=10,
        end=END,
    )
    assert asked == [(1, 1), (1, 2)]


def test_any_rule_can_choose() -> None:
    rare = continue_with(
        lambda logits: logits.masked_fill(logits.isinf(), 9).argmin(dim=-1),
        table_model,
        PROMPT,
        4,
    )
    assert rare[0, :2].tolist() == [START, B]


# Beams


def test_two_beams_find_what_greedy_search_misses() -> None:
    one, two = (
        beam_search(table_model, PROMPT, 10, END, beams=beams)[0] for beams in (1, 2)
    )
    assert one[0].tokens == [A, END]
    assert math.exp(one[0].score) == pytest.approx(0.24, abs=1e-6)
    assert two[0].tokens == [B, C, END]
    assert math.exp(two[0].score) == pytest.approx(0.36, abs=1e-6)


def test_one_beam_is_greedy_search() -> None:
    for seed in range(20):
        model = random_table(6, seed)
        written = greedy(model, torch.tensor([[0, 1]]), max_length=9, end=5)[
            0, 2:
        ].tolist()
        assert (
            beam_search(model, torch.tensor([[0, 1]]), 9, end=5, beams=1)[0][0].tokens
            == written
        )


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
def test_beams_enough_find_the_best_of_every_text(length_penalty: float) -> None:
    for seed in range(5):
        model, prompt = random_table(4, seed), [0, 1]
        texts = [
            Hypothesis(tokens, score / len(tokens) ** length_penalty)
            for tokens, score in every_text(model, prompt, longest=4, end=3)
        ]
        best = sorted(texts, key=lambda text: -text.score)
        found = beam_search(
            model,
            torch.tensor([prompt]),
            6,
            3,
            beams=200,
            length_penalty=length_penalty,
        )[0]
        assert [text.tokens for text in found[:20]] == [
            text.tokens for text in best[:20]
        ]
        assert [text.score for text in found[:20]] == pytest.approx(
            [text.score for text in best[:20]], abs=1e-4
        )


def test_scores_are_log_probabilities_divided_by_length() -> None:
    model = random_table(6, 3)
    for penalty in (0.0, 0.5, 1.0):
        for tokens, score in beam_search(
            model, torch.tensor([[0, 1]]), 8, 5, beams=3, length_penalty=penalty
        )[0]:
            logs = [
                model(torch.tensor([[0, 1, *tokens[:place]]]))
                .log_softmax(dim=-1)[0, token]
                .item()
                for place, token in enumerate(tokens)
            ]
            assert score == pytest.approx(sum(logs) / len(tokens) ** penalty, abs=1e-4)


def test_a_batch_is_searched_row_by_row() -> None:
    model = random_table(6, 7)
    prompts = torch.tensor([[0, 1], [2, 3], [4, 4], [1, 0]])
    together = beam_search(model, prompts, 9, 5, beams=3)
    for row, prompt in enumerate(prompts):
        alone = beam_search(model, prompt[None], 9, 5, beams=3)[0]
        assert [text.tokens for text in alone] == [
            text.tokens for text in together[row]
        ]


def test_select_hears_which_rows_go_on() -> None:
    """A model that remembers its rows' texts and checks those it is asked about."""
    model, remembered = random_table(6, 11), []

    def checked(tokens: Tensor) -> Tensor:
        if remembered:
            assert torch.equal(tokens[:, :-1], remembered[-1])
        remembered.append(tokens)
        return model(tokens)

    def select(rows: Tensor) -> None:
        remembered[-1] = remembered[-1][rows]

    prompts = torch.tensor([[0, 1], [2, 3]])
    assert beam_search(checked, prompts, 9, 5, beams=3, select=select) == beam_search(
        model, prompts, 9, 5, beams=3
    )
    assert len(remembered) > 2


def test_impossible_tokens_are_never_written() -> None:
    for texts in beam_search(table_model, PROMPT.expand(2, -1), 10, END, beams=8):
        assert len(texts) > 3
        for tokens, score in texts:
            steps = zip([START, *tokens], tokens, strict=False)
            assert math.exp(score) == pytest.approx(
                math.prod(TABLE[a, b].item() for a, b in steps), abs=1e-5
            )
            assert score > -math.inf


@pytest.mark.parametrize("beams", [2, 4, 7])
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.5])
def test_beams_equal_those_of_transformers(beams: int, length_penalty: float) -> None:
    settings = {
        "n_positions": 20,
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 2,
        "initializer_range": 0.7,
    }
    for seed in range(3):
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=12, bos_token_id=0, eos_token_id=11, pad_token_id=11, **settings
        )
        model = GPT2LMHeadModel(config).eval()
        prompts = torch.randint(0, 11, (5, 3))
        with torch.no_grad():
            theirs = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_length=12,
                num_beams=beams,
                num_return_sequences=beams,
                do_sample=False,
                length_penalty=length_penalty,
                early_stopping="never",
                return_dict_in_generate=True,
                output_scores=True,
            )
            ours = beam_search(
                lambda tokens, model=model: model(tokens).logits[:, -1],
                prompts,
                12,
                end=11,
                beams=beams,
                length_penalty=length_penalty,
            )
        flat = [text for texts in ours for text in texts]
        assert len(flat) == 5 * beams
        for row, (tokens, score) in enumerate(flat):
            assert theirs.sequences[row, 3 : 3 + len(tokens)].tolist() == tokens
            assert score == pytest.approx(theirs.sequences_scores[row].item(), abs=1e-4)


def test_greedy_equals_that_of_transformers() -> None:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=12,
        n_positions=20,
        n_embd=16,
        n_layer=1,
        n_head=2,
        initializer_range=0.7,
        bos_token_id=0,
        eos_token_id=11,
        pad_token_id=11,
    )
    model, prompts = GPT2LMHeadModel(config).eval(), torch.randint(0, 11, (8, 3))
    with torch.no_grad():
        theirs = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_length=15,
            do_sample=False,
        )
        ours = greedy(lambda tokens: model(tokens).logits[:, -1], prompts, 15, end=11)
    assert torch.equal(ours, theirs)


# Filters and sampling

FOUR = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def kept(logits: Tensor) -> list[bool]:
    return logits.isfinite().tolist()


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
def test_top_k_keeps_the_k_largest(k: int) -> None:
    order = torch.tensor([2, 0, 3, 1])
    assert kept(filter_top_k(FOUR, k)) == [place < k for place in range(4)]
    assert kept(filter_top_k(FOUR[order], k)) == [place < k for place in order.tolist()]


def test_top_k_keeps_equals_of_the_last() -> None:
    assert kept(filter_top_k(torch.tensor([1.0, 2.0, 1.0, 0.0]), 2)) == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("p", "count"),
    [
        (1e-9, 1),
        (0.49, 1),
        (0.51, 2),
        (0.79, 2),
        (0.81, 3),
        (0.94, 3),
        (0.96, 4),
        (1.0, 4),
    ],
)
def test_top_p_keeps_the_token_that_crosses_the_line(p: float, count: int) -> None:
    order = torch.tensor([2, 0, 3, 1])
    assert kept(filter_top_p(FOUR, p)) == [place < count for place in range(4)]
    assert kept(filter_top_p(FOUR[order], p)) == [
        place < count for place in order.tolist()
    ]


def test_filters_work_on_every_row_and_leave_the_rest_alone() -> None:
    logits = torch.randn(3, 5, 9, generator=torch.Generator().manual_seed(0))
    for narrow in (lambda x: filter_top_k(x, 4), lambda x: filter_top_p(x, 0.7)):
        found = narrow(logits)
        assert torch.equal(found[found.isfinite()], logits[found.isfinite()])
        assert found.isneginf().any(dim=-1).all()
        assert torch.equal(found[1, 2], narrow(logits[1, 2]))


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_filters_equal_those_of_transformers(scale: float) -> None:
    logits = scale * torch.randn(300, 40, generator=torch.Generator().manual_seed(1))
    for k in (1, 7, 40, 99):
        assert torch.equal(filter_top_k(logits, k), TopKLogitsWarper(k)(None, logits))
    for p in (0.05, 0.3, 0.9, 0.99):
        assert torch.equal(filter_top_p(logits, p), TopPLogitsWarper(p)(None, logits))


def drawn_shares(count: int = 20_000, **settings: object) -> list[float]:
    def one_token(tokens: Tensor) -> Tensor:
        return FOUR.expand(len(tokens), -1)

    start = torch.zeros(count, 1, dtype=torch.long)
    drawn = sample(
        one_token,
        start,
        max_length=2,
        generator=torch.Generator().manual_seed(0),
        **settings,
    )
    return (torch.bincount(drawn[:, 1], minlength=4) / count).tolist()


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5}, [0.685, 0.247, 0.062, 0.007]),
        ({"temperature": 2.0}, [0.379, 0.294, 0.208, 0.120]),
        ({"top_k": 2}, [0.625, 0.375, 0.0, 0.0]),
        ({"top_p": 0.7}, [0.625, 0.375, 0.0, 0.0]),
        (
            {"top_k": 3, "top_p": 0.83},
            [0.625, 0.375, 0.0, 0.0],
        ),  # of three, the first two have 0.842
        (
            {"temperature": 2.0, "top_p": 0.6},
            [0.563, 0.437, 0.0, 0.0],
        ),  # 0.379 + 0.294 = 0.673
    ],
)
def test_draws_follow_the_shares(settings: dict, shares: list[float]) -> None:
    assert drawn_shares(**settings) == pytest.approx(shares, abs=0.012)


def test_temperature_is_that_of_transformers() -> None:
    theirs = TemperatureLogitsWarper(0.7)(None, FOUR[None]).softmax(dim=-1)[0].tolist()
    assert drawn_shares(temperature=0.7) == pytest.approx(theirs, abs=0.012)


def test_a_generator_repeats_the_draws() -> None:
    start = torch.zeros(5, 1, dtype=torch.long)
    texts = [
        sample(
            table_model, start, 8, END, generator=torch.Generator().manual_seed(seed)
        ).tolist()
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_nearly_no_temperature_is_greedy() -> None:
    cold = sample(table_model, PROMPT, 8, END, temperature=1e-3)
    assert torch.equal(cold, greedy(table_model, PROMPT, 8, END))
    assert torch.equal(sample(table_model, PROMPT, 8, END, top_k=1), cold)


# Errors


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperatures_are_above_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"a temperature is above 0.*use greedy"):
        sample(table_model, PROMPT, 8, temperature=temperature)


@pytest.mark.parametrize("k", [0, -3])
def test_top_k_is_at_least_one(k: int) -> None:
    for call in (
        lambda: filter_top_k(FOUR, k),
        lambda: sample(table_model, PROMPT, 8, top_k=k),
    ):
        with pytest.raises(ValueError, match=rf"k cannot be {k}"):
            call()


@pytest.mark.parametrize("p", [0.0, -0.1, 1.1, math.nan])
def test_top_p_is_a_probability(p: float) -> None:
    for call in (
        lambda: filter_top_p(FOUR, p),
        lambda: sample(table_model, PROMPT, 8, top_p=p),
    ):
        with pytest.raises(ValueError, match="above 0 and up to 1"):
            call()


@pytest.mark.parametrize(
    "write", [greedy, sample, lambda *arguments: beam_search(*arguments, end=END)]
)
def test_prompts_have_a_beginning_and_room(write: Callable) -> None:
    with pytest.raises(ValueError, match=r"at least one token.*\(1, 0\)"):
        write(table_model, torch.zeros(1, 0, dtype=torch.long), 8)
    with pytest.raises(ValueError, match=r"at least one token.*\(3,\)"):
        write(table_model, torch.tensor([0, 1, 2]), 8)
    for length in (8, 9):
        with pytest.raises(
            ValueError, match=f"has {length} tokens and the maximum is 8"
        ):
            write(table_model, torch.zeros(1, length, dtype=torch.long), 8)
    check_prompt(torch.zeros(1, 7, dtype=torch.long), 8)


@pytest.mark.parametrize("settings", [{"beams": 0}, {"length_penalty": -0.5}])
def test_beams_and_penalty_are_checked(settings: dict) -> None:
    with pytest.raises(ValueError, match="beams start at 1 and length_penalty at 0"):
        beam_search(table_model, PROMPT, 8, END, **settings)
