"""A check as a table: a reference, cases, known mistakes; the rest is done here.

For every case an answer is called with copies of the arguments. Its result must have
the shape, the kind of dtype and the numbers of the reference's; arguments, models and
the global state must be as before; the same call must give the same again.

A known mistake is named only where the answer gives that mistake's value in two cases
in which it is not the right one, in no case something else, and no other known mistake
explains as much. Otherwise the message says what came out, and nothing is guessed: what
is special about a case is said where all such cases are wrong and all others right.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from finetuning.checks.compare import Tolerance, difference, of_a_kind
from finetuning.checks.core import (
    Crash,
    crashed,
    describe,
    fail,
    name_of,
    named_arguments,
    outcome,
    random_tensor,
    written,
)
from finetuning.checks.state import GlobalState, Snapshot, copied


@dataclass(frozen=True)
class Case:
    """One call of the answer.

    Parameters
    ----------
    what: when this is, as it begins a sentence: "for 3 rows of 5 scores".
    arguments, keywords: of the call; tensors are copied for each.
    facts: what is special about the case; each the same for all cases that have it.
        One is said where no known mistake explains the results, and just the cases
        with this fact are wrong: what is wrong with the answer is not known then.
    gradient: whether gradients of the floating-point tensors are compared as well.
    """

    what: str
    arguments: tuple
    keywords: Mapping[str, Any] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    gradient: bool = False


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: its diagnosis, and a function that makes it.

    Parameters
    ----------
    sentence: the diagnosis, or a function of a case's arguments that gives it.
    answer: called like the answer, with float64 for all floating-point tensors.
    exact: off for mistakes of what float32 can hold: they get the arguments as they
        are.
    """

    sentence: str | Callable[..., str]
    answer: Callable
    exact: bool = True

    def says(self, case: Case) -> str:
        """The diagnosis, for a case."""
        if isinstance(self.sentence, str):
            return self.sentence
        return self.sentence(*case.arguments, **case.keywords)


@dataclass(frozen=True)
class Tried:
    """What came of a case: the answer's result, the right one, and how they differ;
    which argument has changed, and what else.
    """

    case: Case
    result: Any
    expected: Any
    wrong: str
    changed: str
    left_behind: str


@dataclass(frozen=True)
class Task:
    """What an answer must do.

    Parameters
    ----------
    reference: called like the answer, with float64 for all floating-point tensors.
    cases: a function that makes them, so that nothing is made before a check runs.
    mistakes: known wrong answers; every two must differ in a case.
    result: what comes back, as the subject of a sentence; one for each of several.
    tolerance: see `Tolerance`.
    dtype: the dtype that the statement asks for; None: no narrower than the arguments'.
    precise: give reference and mistakes float64; off where a model of float32 is used.
    compare: how found and expected result differ, as a sentence or None, where equality
        of numbers is not what is asked for. Called with them and the case.
    changes: names of the arguments that the answer is to change in place.
    draws: whether the answer may use the global random numbers.
    """

    reference: Callable
    cases: Callable[[], Iterable[Case]]
    mistakes: Sequence[Mistake] = ()
    result: str | tuple[str, ...] = "the result"
    tolerance: Tolerance = Tolerance()  # noqa: RUF009 (frozen)
    dtype: torch.dtype | None = None
    precise: bool = True
    compare: Callable[[Any, Any, Case], str | None] | None = None
    changes: tuple[str, ...] = ()
    draws: bool = False

    def check(self, answer: Callable) -> None:
        """Try an answer on all cases.

        Raises
        ------
        CheckFailed: with a diagnosis, if it is wrong in one of them.
        """
        written(answer, "the answer")
        tried = [self._try(answer, case) for case in self.cases()]
        self._judge(answer, tried)
        for one in tried:
            if one.changed or one.left_behind:
                fail(f"{one.case.what}, {one.changed or one.left_behind}")
        self._again(answer, tried[0])
        for one in tried:
            if one.case.gradient:
                self._gradients(answer, one.case)

    def _try(self, answer: Callable, case: Case) -> Tried:
        """The outcome of a case, and what else the call changed."""
        arguments, keywords = copied((case.arguments, dict(case.keywords)))
        named = self._names(arguments, keywords)
        snapshot, world = Snapshot(named), GlobalState()
        try:
            result = outcome(answer, *arguments, **keywords)
            changed_world = "" if self.draws else world.change()
        finally:
            world.restore()
        change = snapshot.change(self.changes)
        if change:
            change = (
                f"{change} `{name_of(answer)}` must leave what it is given as it was: "
                "whoever called it still needs it. Work on a copy, or write the "
                "operations so that they make a new tensor."
            )
        if changed_world:
            changed_world = f"`{name_of(answer)}` is right, and {changed_world}"
        if self.changes and not isinstance(result, Crash):
            result = {name: named[name] for name in self.changes}
        expected = self._of(self.reference, case)
        if isinstance(expected, Crash):
            raise expected.error  # a defect of the check itself
        wrong = self._wrong(answer, case, result, expected)
        return Tried(case, result, expected, wrong, change, changed_world)

    def _names(self, arguments: tuple, keywords: dict) -> dict[str, Any]:
        return named_arguments(self.reference, arguments, keywords)

    def _of(self, function: Callable, case: Case, exact: bool = True) -> Any:
        """What the reference or a mistake gives for a case."""
        arguments, keywords = copied(
            (case.arguments, dict(case.keywords)), double=self.precise and exact
        )
        arguments, keywords = _leaves_detached((arguments, keywords))
        named = self._names(arguments, keywords)
        try:
            result = function(*arguments, **keywords)
        except Exception as error:  # the mistake crashes, as the answer may
            return Crash(error, "")
        return {name: named[name] for name in self.changes} or result

    def _wrong(self, answer: Callable, case: Case, result: Any, expected: Any) -> str:
        """How a result is wrong, as a sentence, or nothing."""
        if isinstance(result, Crash):
            return crashed(answer, result, case.arguments, case.keywords)
        if result is None and expected is not None:
            fail(f"`{name_of(answer)}` returned None, and no result.")
        if self.compare is not None:
            return self.compare(result, expected, case) or ""
        sentence = difference(
            result, expected, self.result, self.tolerance, _widest(case)
        )
        dtype = getattr(result, "dtype", self.dtype)
        if not sentence and self.dtype is not None and dtype != self.dtype:
            sentence = (
                f"{self.result} has the dtype {dtype}; it should be {self.dtype}."
            )
        if sentence and _swapped(result, expected):
            sentence = (
                "the two results come in the wrong order: first "
                f"{', then '.join(self.result)}."
            )
        return sentence or ""

    def _judge(self, answer: Callable, tried: list[Tried]) -> None:
        """Fail with the best diagnosis that is earned, if a case is wrong."""
        wrong = [one for one in tried if one.wrong]
        if not wrong:
            return
        found = self._known(tried)
        if found is not None:
            mistake, first = found
            fail(f"{first.case.what}, {first.wrong} {mistake.says(first.case)}")
        first = wrong[0]
        if first.changed and not isinstance(first.result, Crash):
            fail(f"{first.case.what}, {first.changed}")
        beside = self._special(first, tried) or self._right_beside(first, tried)
        fail(f"{first.case.what}, {first.wrong}{beside and f' {beside}'}")

    def _special(self, first: Tried, tried: list[Tried]) -> str:
        """What is special about a wrong case, if it tells the wrong from the right.

        Not after a crash or a result of another kind: they say by themselves what is
        wrong, and come of anything.
        """
        if all(one.wrong for one in tried) or not self._of_a_kind(first):
            return ""
        for fact in first.case.facts:
            if all(bool(one.wrong) == (fact in one.case.facts) for one in tried):
                return fact
        return ""

    def _of_a_kind(self, one: Tried) -> bool:
        if isinstance(one.result, Crash):
            return False
        dtype = getattr(one.result, "dtype", self.dtype)
        if self.dtype is not None and dtype != self.dtype:
            return False
        return of_a_kind(one.result, one.expected, _widest(one.case))

    def _right_beside(self, first: Tried, tried: list[Tried]) -> str:
        """Of the cases that are right the one that differs least, as a sentence."""
        right = [one.case for one in tried if not one.wrong]
        if not right:
            return ""
        nearest = min(right, key=lambda case: _apart(case, first.case))
        return f"It is right {nearest.what}."

    def _known(self, tried: list[Tried]) -> tuple[Mistake, Tried] | None:
        """The one known mistake that the answer makes, and a case that shows it."""
        explained = []
        for mistake in self.mistakes:
            shown, alike = self._evidence(mistake, tried)
            if len(shown) >= 2:
                explained.append((alike, mistake, shown[0]))
        if not explained:
            return None
        most = max(alike for alike, _, _ in explained)
        best = {
            mistake.says(first.case): (mistake, first)
            for alike, mistake, first in explained
            if alike == most
        }
        return next(iter(best.values())) if len(best) == 1 else None

    def _evidence(
        self, mistake: Mistake, tried: list[Tried]
    ) -> tuple[list[Tried], int]:
        """Where the answer errs as a mistake does; and in how many cases they agree.

        None where they differ in a case, as long as both are made of finite numbers:
        what overflows need not overflow alike. But where NaN and infinity are all that
        they have in common, they have to come in the same cases.
        """
        shown, alike, elsewhere = [], 0, False
        for one in tried:
            value = self._of(mistake.answer, one.case, mistake.exact)
            same = self._same(one.result, value)
            alike += same
            if same and one.wrong and not self._same(value, one.expected):
                shown.append(one)
            # A crash where the mistake has none hides what else is wrong.
            if isinstance(one.result, Crash) and not shown and _finite(value):
                return [], 0
            # What is nearly alike has lost digits: neither proof nor contradiction.
            if same or self._same(one.result, value, 100.0):
                continue
            if _finite(one.result) and _finite(value):
                return [], 0
            elsewhere |= bool(one.wrong) == self._same(value, one.expected)
        # NaN everywhere is no mistake that gives NaN here and there.
        if elsewhere and not any(_finite(one.result) for one in shown):
            return [], 0
        return shown, alike

    def _same(self, one: Any, other: Any, factor: float = 5.0) -> bool:
        if isinstance(one, Crash) or isinstance(other, Crash):
            return (
                isinstance(one, Crash)
                and isinstance(other, Crash)
                and type(one.error) is type(other.error)
                and sorted(str(one).split()) == sorted(str(other).split())
            )
        return difference(one, other, tolerance=self.tolerance.wider(factor)) is None

    def _again(self, answer: Callable, first: Tried) -> None:
        """The first call once more: nothing may be left over from the calls between."""
        if self.draws:
            return
        again = self._try(answer, first.case)
        if again.wrong:
            fail(
                f"{first.case.what}, {again.wrong} At the first call with the very "
                "same arguments it was right. A result must not depend on the calls "
                "before."
            )

    def _gradients(self, answer: Callable, case: Case) -> None:
        """Compare the gradients of all floating-point arguments with autograd's."""
        found = self._gradients_of(answer, case, double=False)
        if found is None:
            fail(
                f"{case.what}, no gradient reaches the arguments: the result was "
                "detached on its way, or made without PyTorch."
            )
        expected = self._gradients_of(self.reference, case, double=True)
        for name, right in expected.items():
            if found[name] is None:
                fail(
                    f"{case.what}, no gradient reaches `{name}`: something was "
                    "detached on the way."
                )
            if found[name].isnan().any():
                fail(
                    f"{case.what}, the result is right, and the gradient of `{name}` "
                    "is NaN: 0 · ∞ arises on the way back, as behind a NaN or an "
                    "infinity that is thrown away afterwards. See to it that it never "
                    "arises."
                )
            what = f"the gradient of `{name}`"
            wide = Tolerance(1e-3).wider()
            sentence = difference(found[name], right, what, wide)
            if sentence:
                fail(f"{case.what}, the result is right, and {sentence}")

    def _gradients_of(
        self, function: Callable, case: Case, double: bool
    ) -> dict[str, Tensor | None] | None:
        arguments, keywords = copied((case.arguments, dict(case.keywords)), double)
        named = {
            name: value
            for name, value in self._names(arguments, keywords).items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        for value in named.values():
            value.requires_grad_()
        result = outcome(function, *arguments, **keywords)
        if not isinstance(result, Tensor) or not result.requires_grad:
            return None
        upstream = random_tensor(*result.shape, seed=99).to(result.dtype)
        gradients = torch.autograd.grad(
            (result * upstream).sum(), [*named.values()], allow_unused=True
        )
        return dict(zip(named, gradients, strict=True))


def _apart(one: Case, other: Case) -> tuple[float, float]:
    """How much two cases differ: in their arguments first, in their words then."""
    if len(one.arguments) != len(other.arguments) or one.keywords != other.keywords:
        return math.inf, 0.0
    different = 0.0
    for ours, theirs in zip(one.arguments, other.arguments, strict=True):
        if difference(ours, theirs) is not None:
            different += 0.5 if describe(ours) == describe(theirs) else 1.0
    return different, -SequenceMatcher(None, one.what, other.what).ratio()


def _leaves_detached(values: Any) -> Any:
    arguments, keywords = values
    for leaf in tree_leaves((arguments, keywords)):
        if isinstance(leaf, Tensor):
            leaf.requires_grad_(False)
    return arguments, keywords


def _widest(case: Case) -> torch.dtype | None:
    """The most precise floating dtype among the arguments of a case."""
    dtypes = [
        leaf.dtype
        for leaf in tree_leaves((case.arguments, dict(case.keywords)))
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
    return min(dtypes, key=lambda dtype: torch.finfo(dtype).eps, default=None)


def _finite(value: Any) -> bool:
    """Whether a result consists of finite numbers."""
    if isinstance(value, Crash):
        return False
    return all(
        bool(leaf.isfinite().all())
        if isinstance(leaf, Tensor)
        else not isinstance(leaf, float) or math.isfinite(leaf)
        for leaf in tree_leaves(value)
    )


def _swapped(result: Any, expected: Any) -> bool:
    """Whether two results have come in the wrong order, as their shapes tell."""
    if not all(
        isinstance(pair, tuple) and len(pair) == 2 for pair in (result, expected)
    ):
        return False
    shapes = [getattr(part, "shape", None) for part in result]
    right = [getattr(part, "shape", None) for part in expected]
    return right[0] != right[1] and shapes == right[::-1]
