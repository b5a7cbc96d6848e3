"""Predictions: each answered with a question that leads on, never with the number."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetuning.checks.cases import listed
from finetuning.checks.core import as_number, describe, fail, written


@dataclass(frozen=True)
class Guess:
    """A number that a known thought leads to, and the question that leads on.

    `alone` is off where other thoughts lead to the number as well: the question is then
    asked only if another of the numbers shows the same thought.
    """

    value: float
    question: str
    alone: bool = True


def numbers_by_name(said: Any, names: Iterable[str]) -> dict[str, float]:
    """The numbers of a prediction, in the order of `names`.

    Fails unless it is a dictionary of numbers with these keys and no others.
    """
    names = list(names)
    written(said, "the prediction")
    if not isinstance(said, Mapping) or set(said) != set(names):
        keys = listed(f"“{name}”" for name in names)
        fail(f"the prediction should be a dictionary with the keys {keys}.")
    return {name: as_number(said[name], f"“{name}”") for name in names}


def predicted_words(
    said: Mapping[str, Any],
    true: Mapping[str, str],
    questions: Mapping[str, str],
    choices: Sequence[str],
    general: str = "in general, ",
) -> None:
    """Fail at the first prediction that is not one of the words, or not the true one.

    Parameters
    ----------
    said, true, questions: by the name of the prediction.
    """
    for name, word in said.items():
        written(word, f"`{name}`")
    for name, word in said.items():
        if not isinstance(word, str) or word not in choices:
            quoted = listed(map(repr, choices))
            fail(
                f"`{name}` is {describe(word)}, which is not one of the "
                f"{len(choices)} answers; they are {quoted}."
            )
    for name, word in said.items():
        if word != true[name]:
            fail(f"{general}`{name}` does not give {word!r}. {questions[name]}")


def predicted_numbers(
    said: Mapping[str, Any],
    true: Mapping[str, float],
    questions: Mapping[str, str],
    relative: float = 0.03,
    absolute: float = 0.0,
    guesses: Mapping[str, Sequence[Guess]] | None = None,
    sentence: str = "`{name}` is not {said:.4g}.",
    at_least: float = -math.inf,
) -> None:
    """Fail at the first number that is too far from the true one.

    A guess is named only where the number lies near it and near no other guess, and far
    from the true number; the message never holds the true number.

    Parameters
    ----------
    relative, absolute: how near is near enough; the larger of the two holds.
    sentence: says of `{name}` that `{said}` is wrong.
    at_least: below this a number is impossible.
    """
    numbers = {name: as_number(value, f"`{name}`") for name, value in said.items()}

    def near(name: str, value: float) -> bool:
        return abs(numbers[name] - value) <= max(relative * abs(value), absolute)

    thoughts = {
        name: {
            guess
            for guess in (guesses or {}).get(name, ())
            if near(name, guess.value) and not near_each_other(guess.value, true[name])
        }
        for name in numbers
    }
    shown = Counter(
        question
        for found in thoughts.values()
        for question in {guess.question for guess in found}
    )
    for name, number in numbers.items():
        if near(name, true[name]):
            continue
        if not math.isfinite(number) or number < at_least:
            fail(f"`{name}` is {number}, and no such number can come out here.")
        known = {
            guess.question
            for guess in thoughts[name]
            if guess.alone or shown[guess.question] > 1
        }
        question = known.pop() if len(known) == 1 else questions[name]
        fail(f"{sentence.format(name=name, said=number)} {question}")


def near_each_other(one: float, other: float) -> bool:
    """Whether two numbers are too alike for a guess to be told from the truth."""
    return abs(one - other) <= 1e-3 * max(abs(one), abs(other))
