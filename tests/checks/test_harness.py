"""What the harness does by itself: each kind of escape is caught, no kind misnamed."""

import importlib
import math
import random
import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from notebooks import ROOT
from torch import nn

from finetuning.checks import CheckFailed, core, randomness
from finetuning.checks.cases import LEADING, TEXTS, normal, paddings, scaled_rows
from finetuning.checks.compare import Tolerance, difference, of_a_kind
from finetuning.checks.costs import cost_of
from finetuning.checks.predictions import Guess, predicted_numbers, predicted_words
from finetuning.checks.state import own_random_numbers
from finetuning.checks.task import Case, Mistake, Task


def diagnosis(function, *arguments, **keywords) -> str:
    with pytest.raises(CheckFailed) as failed:
        function(*arguments, **keywords)
    return str(failed.value)


def softmax_cases():
    return [
        *(
            Case(f"for {(*axes, 3, 5)}", (normal(*axes, 3, 5, seed=1),))
            for axes in LEADING
        ),
        Case("for large scores", (normal(2, 4, seed=2) * 300,)),
        Case("for rows far apart", (scaled_rows(normal(4, 7, seed=3), 1.0, 500.0),)),
        Case("for float64", (normal(2, 6, seed=4, dtype=torch.float64),)),
    ]


SOFTMAX = Task(
    lambda scores: scores.softmax(-1),
    softmax_cases,
    [
        Mistake("The softmax runs over the rows.", lambda z: z.softmax(-2)),
        Mistake("The logarithm is still there.", lambda z: z.log_softmax(-1)),
        Mistake(
            "An exponential overflows.",
            lambda z: z.exp() / z.exp().sum(-1, keepdim=True),
            exact=False,
        ),
    ],
)


def changes_its_argument(scores):
    scores -= scores.amax(-1, keepdim=True)
    return scores.softmax(-1)


def one_size(scores):
    return scores.softmax(-1) if scores.shape[-1] == 5 else scores.softmax(-1) * 1.5


def forces_float32(scores):
    return scores.float().softmax(-1)


def one_shift(scores):
    raised = (scores - scores.max()).exp()
    return raised / raised.sum(-1, keepdim=True)


def no_leading_axes(scores):
    return scores.softmax(1)


def draws(scores):
    torch.rand(1)
    return scores.softmax(-1)


def draws_in_numpy(scores):
    np.random.rand()
    return scores.softmax(-1)


def draws_in_python(scores):
    random.random()
    return scores.softmax(-1)


def switches_gradients_off(scores):
    torch.set_grad_enabled(False)
    return scores.softmax(-1)


COUNT = []


def remembers(scores):
    COUNT.append(1)
    return scores.softmax(-1) * (1 if len(COUNT) <= 6 else 2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (changes_its_argument, "`scores` was 0.6614 at [0, 0] before the call"),
        (one_size, "for large scores, the result is 1.5"),
        (forces_float32, "digits are lost"),
        (one_shift, "contains NaN (first at"),
        (no_leading_axes, "for (1, 3, 5), the result is"),
        (draws, "`torch.rand` gives others"),
        (draws_in_numpy, "`np.random.rand` gives others"),
        (draws_in_python, "`random.random` gives others"),
        (switches_gradients_off, "gradients are switched otherwise"),
        (lambda z: z.softmax(-1).int(), "the result is 0 at [0, 0], and should be 0."),
        (lambda z: z.softmax(-1) > 0.5, "it should hold numbers"),
        (lambda z: z.softmax(-1)[..., None], "has shape (3, 5, 1); it should be"),
        (lambda z: None, "returned None"),
        (lambda z: z.softmax(-1).tolist(), "should be a tensor of shape (3, 5)"),
        (remembers, "At the first call with the very same arguments it was right"),
    ],
)
def test_an_escape_of_each_kind_is_caught(answer, words):
    COUNT.clear()
    before = torch.get_rng_state(), torch.is_grad_enabled()
    message = diagnosis(SOFTMAX.check, answer)
    assert words in message
    assert "runs over the rows" not in message
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == torch.is_grad_enabled()


@pytest.mark.parametrize(
    "answer",
    [
        lambda z: z.double().softmax(-1),
        lambda z: (z - z.logsumexp(-1, keepdim=True)).exp(),
        lambda z: z.softmax(-1).numpy(),
        nn.Softmax(dim=-1),
    ],
)
def test_a_right_but_unusual_answer_passes(answer):
    SOFTMAX.check(answer)


# A diagnosis is earned


def test_a_known_mistake_is_named_with_the_case_that_failed():
    message = diagnosis(SOFTMAX.check, lambda z: z.softmax(-2))
    assert message.startswith("Not yet: for (3, 5), the result is ")
    assert message.endswith("The softmax runs over the rows.")
    message = diagnosis(SOFTMAX.check, lambda z: torch.exp(z) / z.exp().sum(-1, True))
    assert message.startswith("Not yet: for large scores, ")
    assert message.endswith("An exponential overflows.")


def test_a_crash_that_comes_first_is_told_and_no_mistake():
    def answer(scores):
        return scores.view(-1, 7) if scores.dim() == 2 else scores.softmax(-2)

    message = diagnosis(SOFTMAX.check, answer)
    assert message.startswith("Not yet: for (3, 5), `answer` stopped with RuntimeErr")
    assert "runs over the rows" not in message


def test_a_coincidence_in_one_case_is_not_named():
    """A mistake in one case, another fault in the rest."""

    def answer(scores):
        return scores.softmax(-2) if scores.dim() == 2 else scores.softmax(-1) + 1

    message = diagnosis(SOFTMAX.check, answer)
    assert "runs over the rows" not in message


def test_what_is_nan_everywhere_is_no_mistake_that_gives_nan_here_and_there():
    """Two cases agree, and in a third the mistake is right where the answer is not."""
    task = Task(
        lambda x: torch.where(x == 0, 1.0, x.sin() / x),
        lambda: [
            Case(f"for {words}", (torch.tensor(x),))
            for words, x in (
                ("a zero", [0.0]),
                ("zeros", [0.0, 0.0]),
                ("one", [1.0]),
                ("two", [2.0]),
            )
        ],
        [Mistake("0 / 0 is NaN.", lambda x: x.sin() / x)],
    )
    message = diagnosis(task.check, lambda x: x.sin() / x)
    assert message.endswith("0 / 0 is NaN.")
    assert "0 / 0" not in diagnosis(task.check, lambda x: x * torch.nan)
    # Nor one that gives it where the answer is right.
    message = diagnosis(task.check, lambda x: x.sin() / x if len(x) == 1 else x + 1)
    assert "0 / 0" not in message


def test_a_mistake_that_two_sentences_explain_is_not_named():
    twice = Task(
        lambda n: n,
        lambda: [Case(f"for {n}", (n,)) for n in (3, 4, 5)],
        [
            Mistake("It is doubled.", lambda n: 2 * n),
            Mistake("Added.", lambda n: n + n),
        ],
    )
    message = diagnosis(twice.check, lambda n: 2 * n)
    assert message == "Not yet: for 3, the result is 6, and should be 3."


def test_two_variants_of_a_mistake_share_a_sentence():
    task = Task(
        lambda n: n,
        lambda: [Case(f"for {n}", (n,)) for n in (3, 4)],
        [Mistake("It is doubled.", lambda n: 2 * n)] * 2,
    )
    assert "It is doubled." in diagnosis(task.check, lambda n: 2 * n)


# What is special about a case

ODD = "The number is odd."
LARGE = "The number is above 4."
NUMBERS = Task(
    lambda n: torch.arange(n),
    lambda: [
        Case(f"for {n}", (n,), facts=(ODD,) * (n % 2) + (LARGE,) * (n > 4))
        for n in (4, 3, 2, 5, 6)
    ],
)


def spoilt(where, spoil=lambda right: right + 1):
    def answer(n):
        right = torch.arange(n)
        return spoil(right) if where(n) else right

    return answer


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (lambda n: n % 2 == 1, ODD),
        (lambda n: n > 4, LARGE),
        (lambda n: n == 3, "It is right for 4."),  # and there is another odd number
        (lambda n: n in (3, 5, 6), "It is right for 4."),  # and an even one is wrong
        (lambda n: True, "and should be 0 (4 of 4 differ)."),
    ],
)
def test_a_fact_is_said_where_it_tells_the_wrong_cases_from_the_right(where, said):
    assert diagnosis(NUMBERS.check, spoilt(where)).endswith(said)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda right: right[:-1],
        lambda right: right.double(),
        lambda right: right.tolist(),
        lambda right: right / "two",
        lambda right: right > 0,
    ],
)
def test_no_fact_is_said_after_a_crash_or_a_result_of_another_kind(spoil):
    message = diagnosis(NUMBERS.check, spoilt(lambda n: n % 2 == 1, spoil))
    assert ODD not in message
    assert message.endswith("It is right for 4.")


def test_of_the_cases_that_are_right_the_nearest_is_said():
    task = Task(
        lambda n, m, words: n * m,
        lambda: [
            Case(f"for {n} times {m}", (n, m, "")) for n in (3, 4, 5) for m in (7, 8, 9)
        ],
    )
    message = diagnosis(task.check, lambda n, m, words: n * m + (n == 4 or m == 7))
    assert message.startswith("Not yet: for 3 times 7, ")
    assert message.endswith("It is right for 3 times 8.")
    message = diagnosis(task.check, lambda n, m, words: n * m + (n == 4))
    assert message.startswith("Not yet: for 4 times 7, ")
    assert message.endswith("It is right for 3 times 7.")


def test_what_is_right_elsewhere_is_said():
    message = diagnosis(SOFTMAX.check, one_size)
    assert "It is right for " in message


def test_an_argument_that_was_changed_comes_before_what_nobody_can_explain():
    def answer(scores):
        return scores.exp_() / 2

    message = diagnosis(SOFTMAX.check, answer)
    assert message.startswith("Not yet: for (3, 5), `scores` was 0.6614 at [0, 0]")


@pytest.mark.parametrize(
    ("found", "expected", "alike"),
    [
        (torch.ones(2), torch.zeros(2), True),
        (torch.ones(2), torch.zeros(3), False),
        (np.ones(2), torch.zeros(2), True),
        (torch.ones(2, dtype=torch.bool), torch.zeros(2), False),
        (2.0, torch.tensor(1.0), True),
        ([1.0], torch.tensor([1.0]), False),
        (torch.tensor(2), 1, True),
        (True, 1, False),
        (np.bool_(True), False, True),
        ("2", 1, False),
        ("one", "two", True),
        ([1, 2], [1, 2, 3], True),
        ((1, 2), (1, 2, 3), False),
        ([1, "two"], [1, 2], False),
        ({"a": 1}, {"a": 2}, True),
        ({"a": 1}, {"b": 2}, False),
        ({"a": torch.ones(2)}, {"a": torch.ones(3)}, False),
        (None, 1, False),
    ],
)
def test_what_is_of_a_kind(found, expected, alike):
    assert of_a_kind(found, expected) == alike


def test_a_narrower_dtype_is_another_kind():
    narrow, wide = torch.ones(2), torch.ones(2, dtype=torch.float64)
    assert of_a_kind(narrow, wide)
    assert not of_a_kind(narrow, wide, floor=torch.float64)


# What raises


def not_implemented_in_torch(scores):
    raise NotImplementedError("Could not run 'aten::op'")


def crashes(scores):
    halves = scores.view(7, 1000)
    return halves


def too_few():
    return 1


def test_only_the_stub_is_not_written_yet():
    def stub(scores):
        raise NotImplementedError

    assert "`stub` is not written yet" in diagnosis(SOFTMAX.check, stub)
    message = diagnosis(SOFTMAX.check, not_implemented_in_torch)
    assert "not written yet" not in message
    assert "stopped with NotImplementedError" in message
    assert "not written yet" in diagnosis(SOFTMAX.check, ...)

    def sparse(scores):
        return torch.nested.nested_tensor([scores]).flip(0).inverse()

    assert "not written yet" not in diagnosis(SOFTMAX.check, sparse)


def test_a_crash_is_told_with_the_learners_line_and_the_arguments():
    message = diagnosis(SOFTMAX.check, crashes)
    assert "stopped with RuntimeError at `halves = scores.view(7, 1000)`" in message
    assert "called with (scores = a tensor of shape (3, 5))" in message
    assert "`too_few` cannot be called with" in diagnosis(SOFTMAX.check, too_few)


def raising(text):
    def answer(*arguments, **keywords):
        raise RuntimeError(text)

    return answer


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("got (int), but expected one of:\n * (Tensor)\n", "one of: * (Tensor)."),
        ("a sentence.", "Python says: a sentence."),
        ("is it?", "Python says: is it?"),
        ("word " * 80, "word word …"),
        ("one two, " + "x" * 400, "Python says: one two …"),
        ("", "called with (arguments = (1,))."),
        ("no\nException raised from f at /a/b.h:3 (most recent call first):", "no."),
    ],
)
def test_what_python_says_comes_whole_and_ends_cleanly(text, says):
    message = diagnosis(core.call, raising(text), 1)
    assert message.endswith(says)
    assert len(message) < 500


class _Inner(nn.Module):
    def forward(self, x):
        return x


def test_a_crash_is_told_by_the_learners_own_call():
    def answer(model, size):
        return size / 0

    def inside(x):
        model = _Inner()
        with core.told_as(answer, model, size=3):
            return answer(model, size=3)

    message = diagnosis(core.call, inside, torch.ones(2))
    assert message == (
        "Not yet: `answer` stopped with ZeroDivisionError at `return size / 0`, called "
        "with (model = a model, size = 3). Python says: division by zero."
    )


def test_a_call_that_the_learners_signature_does_not_allow():
    fold = importlib.import_module("finetuning.checks.ch06").fold
    message = diagnosis(fold, too_few)
    assert "`too_few` cannot be called with (argument 1 = `Linear`, argum" in message
    assert "Python says: TypeError: too_few() takes 0 positional" in message


@pytest.mark.parametrize(
    ("chapter", "name", "given"),
    [
        ("03", "stream", "(tokens = a generator, stop = "),
        (
            "06",
            "fold",
            "(linear = `Linear`, gain = a tensor of shape (6,), bias = a tensor of "
            "shape (6,))",
        ),
        ("07", "mended_backward", "(model = a model, batches = a list of 1)"),
        (
            "07",
            "mended_extend",
            "(model = a model, tokens = a tensor of shape (2, 7) (int64), cache = "
            "[None, None])",
        ),
        (
            "11",
            "training_loop",
            "(model = a model, batches = a list of 5, epochs = 3, learning_rate = 0.1, "
            "evaluate = `evaluate`)",
        ),
    ],
)
def test_no_check_shows_its_own_arguments(chapter, name, given):
    named = given[1:-1].split(", ") if given.endswith(")") else given[1:].split(", ")
    parameters = [part.split(" = ")[0] for part in named if " = " in part]
    scope = {}
    exec(f"def answer({', '.join(parameters)}):\n    return 1 / 0", scope)
    module = importlib.import_module(f"finetuning.checks.ch{chapter}")
    message = diagnosis(getattr(module, name), scope["answer"])
    assert (
        f"`answer` stopped with ZeroDivisionError at line 2, called with {given}"
        in (message)
    )


def test_a_crash_in_one_case_alone_names_that_case():
    def answer(scores):
        return scores.softmax(-1) if scores.dim() < 4 else scores.view(-1, 7)

    assert diagnosis(SOFTMAX.check, answer).startswith("Not yet: for (2, 3, 3, 5), ")


# Models


class Layers(nn.Module):
    def __init__(self, layers=3):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(layers))
        self.register_buffer("count", torch.zeros(()))
        self.eval()


def forward(model, x):
    for layer in model.layers:
        x = layer(x)
    return x


def of_models(layers=(1, 3)):
    def cases():
        with own_random_numbers():
            models = [Layers(number) for number in layers]
        return [
            Case(f"for {len(model.layers)} layers", (model, normal(2, 4)))
            for model in models
        ]

    return Task(forward, cases, precise=False)


def trains(model, x):
    model.train()
    return forward(model, x)


def counts(model, x):
    model.count += 1
    return forward(model, x)


def leaves_gradients(model, x):
    result = forward(model, x)
    result.sum().backward()
    return result.detach()


def leaves_a_hook(model, x):
    model.layers[0].register_forward_hook(lambda *_: None)
    return forward(model, x)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (trains, "was in `eval()` mode before the call, and is in `train()`"),
        (counts, "its `count` was 0 before the call, and is 1 after"),
        (leaves_gradients, "has another gradient, `.grad`"),
        (leaves_a_hook, "still has a hook"),
        (lambda model, x: model.layers[0](x), "for 3 layers, the result is"),
    ],
)
def test_a_model_is_left_as_it_was(answer, words):
    assert words in diagnosis(of_models().check, answer)


def test_models_that_are_used_pass():
    of_models().check(forward)


# Other kinds of results and arguments


def test_lists_and_dicts_may_not_be_changed():
    task = Task(
        lambda words, counts: sorted(words),
        lambda: [Case("for two words", (["b", "a"], {"a": [1]}))],
    )

    def sorts(words, counts):
        words.sort()
        return words

    def adds(words, counts):
        counts["a"].append(2)
        return sorted(words)

    assert "`words` at [0] was 'b' before the call" in diagnosis(task.check, sorts)
    assert "`counts` at ['a'] had 1 entries" in diagnosis(task.check, adds)
    task.check(lambda words, counts: tuple(sorted(words)))


def test_in_place_is_tested_where_it_is_promised():
    def shrinks(weights, by):
        weights *= by

    task = Task(
        shrinks,
        lambda: [Case(f"for {n}", (normal(n, 3), 0.5)) for n in (2, 4)],
        changes=("weights",),
    )
    task.check(shrinks)
    message = diagnosis(task.check, lambda weights, by: weights * by)
    assert "under 'weights'" in message


def test_a_dtype_that_is_asked_for():
    task = Task(
        lambda n: torch.arange(n), lambda: [Case("for 3", (3,))], dtype=torch.int64
    )
    assert "dtype torch.int32" in diagnosis(task.check, lambda n: torch.arange(n).int())


def test_two_results_in_the_wrong_order_are_told_so():
    task = Task(
        lambda x: (x, x.sum(-1)),
        lambda: [Case("for (2, 3)", (normal(2, 3),))],
        result=("the rows", "their sums"),
    )
    assert "first the rows, then their sums" in diagnosis(
        task.check, lambda x: (x.sum(-1), x)
    )
    assert "2 things should come back" in diagnosis(task.check, lambda x: x)


def test_gradients_are_compared_where_asked():
    task = Task(
        lambda x: x.square(), lambda: [Case("for 4", (normal(4),), gradient=True)]
    )
    task.check(lambda x: x * x)
    assert "no gradient reaches the arg" in diagnosis(
        task.check, lambda x: (x * x).detach()
    )
    assert "the gradient of `x`" in diagnosis(task.check, lambda x: x * x.detach())


def test_gradients_are_compared_of_a_single_number():
    task = Task(
        lambda x: x.square().sum(),
        lambda: [Case("for 4", (normal(4),), gradient=True)],
    )
    task.check(lambda x: (x * x).sum())
    assert "the gradient of `x`" in diagnosis(
        task.check, lambda x: (x * x.detach()).sum()
    )


# Comparison


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        (13440, 13441, "is 13,440, and should be 13,441"),
        (0.12345678, 0.12349999, "is 0.123457, and should be 0.1235"),
        (2500.96, 2501, "is 2500.96, and should be 2,501"),
        (10**30, 0.5, "is 1e+30, and should be 0.5"),
        (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 9.0, 9.0]), "2 at [1], and"),
        ("line\r\n", "line\n", r"'line\r\n', and should be 'line\n'"),
        (["a", "b"], ["a"], "has 2 entries, and should have 1"),
        (["a", "b"], ["a", "c"], "entry 1 of the result is 'b'"),
        ({"a": 1}, {"a": 1, "b": 2}, "lacks the key 'b'"),
        ({"a": 1, "b": 3}, {"a": 1, "b": 2}, "under 'b', is 3"),
        ({1, 2}, {1}, "holds 2, and should not"),
        (True, False, "is True, and should be False"),
        ("1", 1, "should be one number"),
        (b"a", "a", "should be text"),
        (torch.tensor(1e-7), torch.tensor(2e-7), "is 1e-07"),
        (torch.tensor([1j]), torch.tensor([1.0]), "should hold real numbers"),
        (torch.tensor([0.5]), torch.tensor([1]), "should hold whole numbers"),
    ],
)
def test_a_difference_is_told_by_the_very_values(found, expected, words):
    tolerance = Tolerance(None, 0.0) if isinstance(found, float) else Tolerance()
    tolerance = Tolerance(1e-5, 0.0) if not isinstance(expected, int) else tolerance
    assert words in difference(found, expected, tolerance=tolerance)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((1, 2), [1, 2]),
        (np.float32(2), 2.0),
        (torch.tensor(True), True),
        (torch.tensor([math.nan, math.inf]), torch.tensor([math.nan, math.inf])),
        (np.array([1, 2]), torch.tensor([1, 2])),
        (None, None),
        ({"a": torch.ones(2)}, {"a": torch.ones(2)}),
    ],
)
def test_what_is_equal_has_no_difference(found, expected):
    assert difference(found, expected) is None


def test_small_rows_count_by_themselves():
    right = torch.tensor([[1e-4, 2e-4], [1e3, 2e3]])
    wrong = right.clone()
    wrong[0, 1] = 1e-4
    assert difference(wrong, right, tolerance=Tolerance(None, 0.0))


# Predictions


def test_a_prediction_is_never_answered_with_the_number():
    def ask(said):
        predicted_numbers(
            {"a": said},
            {"a": 9.3},
            {"a": "What is three times 3.1?"},
            guesses={"a": [Guess(3.1, "Only once?"), Guess(6.2, "Twice?")]},
        )

    assert diagnosis(ask, 9.0).endswith("What is three times 3.1?")
    assert "9.3" not in diagnosis(ask, 9.0)
    assert diagnosis(ask, 3.1).endswith("Only once?")
    assert "no such number" in diagnosis(ask, math.nan)
    ask(9.3)


def test_a_guess_with_other_reasons_is_named_where_two_numbers_show_it():
    def ask(**said):
        predicted_numbers(
            said,
            {"a": 5.0, "b": 7.0},
            {"a": "Count a again.", "b": "Count b again."},
            guesses={
                "a": [Guess(10.0, "Twice?", alone=False)],
                "b": [Guess(14.0, "Twice?", alone=False), Guess(21.0, "Thrice?")],
            },
        )

    assert diagnosis(ask, a=10, b=14).endswith("Twice?")
    assert diagnosis(ask, a=10, b=7).endswith("Count a again.")
    assert diagnosis(ask, a=5, b=14).endswith("Count b again.")
    assert diagnosis(ask, a=5, b=21).endswith("Thrice?")


def test_a_guess_near_another_is_not_named():
    message = diagnosis(
        predicted_numbers,
        {"a": 2.0},
        {"a": 5.0},
        {"a": "Count again."},
        guesses={"a": [Guess(2.0, "Two?"), Guess(2.01, "Two and a bit?")]},
    )
    assert message.endswith("Count again.")


def test_a_word_is_one_of_the_choices():
    ask = ({"a": "more"}, {"a": "less"}, {"a": "Why?"}, ("more", "less"))
    assert diagnosis(predicted_words, *ask).endswith("does not give 'more'. Why?")
    assert "not one of the 2" in diagnosis(predicted_words, {"a": 3}, *ask[1:])


# Randomness


def test_a_share_has_power_and_no_false_alarm():
    assert randomness.power(40_000, 0.15, 0.15) < 1e-8
    assert randomness.power(40_000, 0.15, 0.17) > 0.999
    randomness.expect_share(6_000, 40_000, 0.15, "masked tokens")
    assert randomness.fits(6_000, 40_000, 0.15)
    assert not randomness.fits(6_800, 40_000, 0.15)
    assert "masked tokens: 6,800 of 40,000" in diagnosis(
        randomness.expect_share, 6_800, 40_000, 0.15, "masked tokens"
    )


def test_whole_texts_chosen_are_right_on_average_and_caught():
    generator = np.random.default_rng(0)
    single = generator.binomial(50, 0.15, size=400)
    whole = 50 * generator.binomial(1, 0.15, size=400)
    fixed = np.full(400, 7)
    randomness.expect_binomial(single, 50, 0.15, "masks")
    for counts in (whole, fixed):
        assert "Each must be drawn by itself" in diagnosis(
            randomness.expect_binomial, counts, 50, 0.15, "masks"
        )


def test_a_random_word_that_is_the_next_id_is_caught():
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 20, size=5_000)
    randomness.expect_independent(ids, generator.integers(0, 20, size=5_000), "words")
    assert "depend on each other" in diagnosis(
        randomness.expect_independent, ids, (ids + 1) % 20, "the words"
    )


def test_uneven_draws_are_caught():
    generator = np.random.default_rng(0)
    even = np.bincount(generator.integers(0, 50, 50_000), minlength=50)
    randomness.expect_even(even, "words")
    too_many = np.bincount(generator.integers(0, 49, 50_000), minlength=50)
    assert "number 49" in diagnosis(randomness.expect_even, too_many, "words")


# What cases are made of


def test_padding_is_on_every_side():
    masks = dict(paddings(3, 7))
    assert len(masks) == 4
    assert all(mask.any(dim=1).all() for mask in masks.values())
    right = masks["with padding on the right"]
    assert (right.diff(dim=1) <= 0).all()
    assert (masks["with padding on the left"].diff(dim=1) >= 0).all()
    assert len({tuple(row.tolist()) for row in right}) == 3
    assert "with padding between the tokens" not in dict(paddings(3, 7, between=False))


def test_texts_have_other_digits_scripts_and_line_breaks():
    assert re.search(r"\n", TEXTS["line breaks"])
    assert any(c.isdigit() and not c.isascii() for c in TEXTS["digits"])
    assert all(len(text.encode()) != len(text) for text in [TEXTS["Chinese"]])


def test_an_argument_that_is_ignored_shows_in_the_operations():
    def in_blocks(x, block):
        return torch.cat([part * 2 for part in x.split(block)])

    one, two = (cost_of(in_blocks, torch.ones(64), block) for block in (4, 32))
    assert one.operations != two.operations
    one, two = (cost_of(lambda x, b: x * 2, torch.ones(64), b) for b in (4, 32))
    assert one.operations == two.operations


# Reasons that are not earned


def test_precision_is_blamed_only_where_float32_is_right():
    ch10 = importlib.import_module("finetuning.checks.ch10")
    drawing = importlib.import_module("wrong_answers.ch10").drawing

    def common_alone(logits, generator, temperature=1.0, forbidden=None):
        least = logits.topk(min(8, logits.size(-1))).values[..., -1:]
        kept = logits.masked_fill(logits < least, -torch.inf)
        return drawing()(kept, generator, temperature, forbidden)

    message = diagnosis(ch10.draw, common_alone)
    assert "the 248 rare words" in message
    assert "dtype" not in message
    assert "dtype" in diagnosis(ch10.draw, drawing(low=True))


@pytest.mark.parametrize(
    ("share", "masked", "random", "words", "reason"),
    [
        (0.8, 0.8, 0.1, "have a label", "not of all tokens"),
        (0.2, 0.8, 0.1, "have a label", ""),
        (0.15, 0.8, 0.02, "that stayed as they are", "a second draw"),
        (0.15, 0.8, 0.05, "that stayed as they are", ""),
        (0.15, 0.8, 0.0, "that stayed as they are", ""),
    ],
)
def test_a_share_gets_a_reason_only_where_it_fits(share, masked, random, words, reason):
    ch02 = importlib.import_module("finetuning.checks.ch02")
    wrong = importlib.import_module("wrong_answers.ch02")

    def corrupt(ids, special, mask_id, vocabulary_size, generator):
        chosen = wrong._choose(ids, special, generator, share)
        sizes = mask_id, vocabulary_size, generator, masked, random
        return wrong._replace(ids, chosen, *sizes), ids.masked_fill(~chosen, -100)

    message = diagnosis(ch02.masked_lm_corruption, corrupt)
    assert words in message
    for known in ("not of all tokens", "a second draw"):
        assert (known in message) == (known == reason)


# Every chapter's tables


def tasks():
    for path in sorted((ROOT / "solutions").glob("*.ipynb")):
        number = f"ch{path.stem[:2]}"
        module = importlib.import_module(f"finetuning.checks.{number}")
        for name, value in vars(module).items():
            if isinstance(value, Task):
                yield pytest.param(value, id=f"{number}{name}")


TASKS = list(tasks())


@pytest.mark.parametrize("task", TASKS)
def test_the_reference_of_a_task_passes(task):
    task.check(task.reference)
    words = [case.what for case in task.cases()]
    assert len(set(words)) == len(words) >= 2


class Remembering(Task):
    """A task that asks reference and mistakes once for each case, and not again for
    every answer that it judges.
    """

    def _of(self, function, case, exact=True):
        key = function, case.what, exact
        if self.draws:
            return super()._of(function, case, exact)
        if key not in self.results:
            self.results[key] = super()._of(function, case, exact)
        return self.results[key]


def remembering(task):
    copied = Remembering(**{f.name: getattr(task, f.name) for f in fields(task)})
    object.__setattr__(copied, "results", {})
    return copied


@pytest.mark.parametrize("task", TASKS)
def test_each_known_mistake_gets_its_own_sentence(task):
    task = remembering(task)
    problems = []
    for mistake in task.mistakes:
        try:
            task.check(mistake.answer)
        except CheckFailed as failed:
            sentences = {mistake.says(case) for case in task.cases()}
            if not any(str(failed).endswith(sentence) for sentence in sentences):
                problems.append((min(sentences), str(failed)))
        else:
            problems.append((mistake.sentence, "passes"))
    assert problems == []


def test_a_line_of_the_learner_is_found_below_a_library():
    def key(value):
        return value / 0

    def answer(values):
        return sorted(values, key=key)

    message = diagnosis(core.call, answer, [1, 2])
    assert "at `return value / 0`" in message
