"""Where an answer's result first differs from what it should be, as a sentence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetuning.checks.core import describe

# How much two results may differ, of their size, by the narrower of their dtypes.
_RELATIVE = {torch.float64: 1e-8, torch.float32: 1e-4}
_HALF = 2e-2


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may lie from what they should be.

    Parameters
    ----------
    relative: of the number; None for what its dtype can hold after some arithmetic.
    absolute: of the largest number of the result, for what cancels; 0.0 where each
        number counts by itself, however small it is beside the others.
    factor: makes both wider; to recognise a mistake need not be as strict.
    """

    relative: float | None = None
    absolute: float | None = None
    factor: float = 1.0

    def wider(self, factor: float = 5.0) -> "Tolerance":
        """The same, so many times as wide."""
        return replace(self, factor=self.factor * factor)

    def of(self, dtype: torch.dtype, expected: Tensor) -> Tensor:
        """The largest difference allowed, for each number."""
        relative = self.relative
        if relative is None:
            relative = _RELATIVE.get(dtype, _HALF)
        finite = expected[expected.isfinite()]
        largest = float(finite.abs().max()) if finite.numel() else 0.0
        absolute = relative / 10 if self.absolute is None else self.absolute
        allowed = relative * expected.abs().nan_to_num(0.0, 0.0, 0.0)
        smallest = torch.finfo(dtype).tiny if dtype.is_floating_point else 0.0
        return self.factor * (allowed + absolute * min(largest, 1.0) + smallest)


def difference(
    found: Any,
    expected: Any,
    what: str | Sequence[str] = "the result",
    tolerance: Tolerance = Tolerance(),
    floor: torch.dtype | None = None,
) -> str | None:
    """How `found` first differs from `expected`, as a sentence, or None.

    Tensors, arrays and numbers may come from any library, lists may be tuples; truth
    values, whole numbers and text must be equal.

    Parameters
    ----------
    what: what is compared, as the subject of a sentence; one for each part of a tuple.
    floor: the narrowest floating dtype that is good enough.
    """
    if isinstance(expected, (Tensor, np.ndarray)):
        expected = torch.as_tensor(expected).detach()
        return _tensors(found, expected, what, tolerance, floor)
    if isinstance(expected, bool) or expected is None:
        same = type(found) is type(expected) and found == expected
        if expected is not None and _elements(found) == 1:
            same = bool(found) == expected
        return None if same else _is(what, describe(found), describe(expected))
    if isinstance(expected, Number):
        return _numbers(found, expected, what, tolerance)
    if isinstance(expected, (str, bytes)):
        return _texts(found, expected, what)
    if isinstance(expected, Mapping):
        return _mappings(found, expected, what, tolerance, floor)
    if isinstance(expected, (list, tuple)):
        return _sequences(found, expected, what, tolerance, floor)
    if isinstance(expected, (set, frozenset)) and isinstance(found, (set, frozenset)):
        for more, sentence in (
            (found - expected, "holds {}, and should not"),
            (expected - found, "lacks {}"),
        ):
            if more:
                thing = sorted(more, key=repr)[0]
                return f"{what} {sentence.format(describe(thing))}."
        return None
    if type(found) is type(expected) and found == expected:
        return None
    return _is(what, describe(found), describe(expected))


def of_a_kind(found: Any, expected: Any, floor: torch.dtype | None = None) -> bool:
    """Whether a result is of the right type, shape and kind of dtype, whatever its
    numbers or words.
    """
    if isinstance(expected, (Tensor, np.ndarray)):
        expected = torch.as_tensor(expected)
        if isinstance(found, (Number, np.generic)) and expected.dim() == 0:
            found = torch.as_tensor(found)
        if not isinstance(found, (Tensor, np.ndarray)):
            return False
        try:
            found = torch.as_tensor(found)
        except (TypeError, ValueError):
            return False
        alike = found.shape == expected.shape
        return alike and not _wrong_kind(found.dtype, expected.dtype, floor)
    if isinstance(expected, bool):
        return isinstance(found, (bool, np.bool_)) or _elements(found) == 1
    if isinstance(expected, Number):
        single = _elements(found) == 1
        return single or (isinstance(found, Number) and not isinstance(found, bool))
    if isinstance(expected, Mapping):
        return (
            isinstance(found, Mapping)
            and found.keys() == expected.keys()
            and all(of_a_kind(found[key], expected[key], floor) for key in expected)
        )
    if isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)):
            return False
        if isinstance(expected, tuple) and len(found) != len(expected):
            return False
        pairs = zip(found, expected, strict=False)
        return all(of_a_kind(one, other, floor) for one, other in pairs)
    return isinstance(found, type(expected))


def _is(what: str, found: str, expected: str, where: str = "", more: str = "") -> str:
    return f"{what} is {found}{where}, and should be {expected}{more}."


def _tensors(
    found: Any,
    expected: Tensor,
    what: str,
    tolerance: Tolerance,
    floor: torch.dtype | None,
) -> str | None:
    if isinstance(found, (Number, np.generic)) and expected.dim() == 0:
        found = torch.as_tensor(found)
    if not isinstance(found, (Tensor, np.ndarray)):
        shape = tuple(expected.shape)
        return (
            f"{what} should be a tensor of shape {shape}, and is {describe(found)} "
            f"(type {type(found).__name__})."
        )
    try:
        found = torch.as_tensor(found).detach()
    except (TypeError, ValueError):
        return f"{what} should be made of numbers, and is {describe(found)}."
    if found.shape != expected.shape:
        return (
            f"{what} has shape {tuple(found.shape)}; it should be "
            f"{tuple(expected.shape)}."
        )
    wrong_kind = _wrong_kind(found.dtype, expected.dtype, floor)
    if wrong_kind:
        return f"{what} {wrong_kind}"
    if found.device.type != "cpu":
        return f"{what} lies on {found.device}; it should be where the arguments are."
    return _first_place(found, expected, what, tolerance)


def _wrong_kind(
    found: torch.dtype, expected: torch.dtype, floor: torch.dtype | None
) -> str:
    """What is wrong with a dtype, or nothing."""
    names = {torch.bool: "booleans"}
    if (found == torch.bool) != (expected == torch.bool):
        needed = names.get(expected, "numbers")
        return f"has the dtype {found}; it should hold {needed}."
    if found.is_complex and not expected.is_complex:
        return f"has the dtype {found}; it should hold real numbers."
    if found.is_floating_point and not (
        expected.is_floating_point or expected.is_complex
    ):
        return f"has the dtype {found}; it should hold whole numbers ({expected})."
    if not (floor and found.is_floating_point):
        return ""
    if torch.finfo(found).eps > torch.finfo(floor).eps:
        return (
            f"has the dtype {found} although it was made from {floor}: digits are lost "
            "on the way."
        )
    return ""


def _first_place(
    found: Tensor, expected: Tensor, what: str, tolerance: Tolerance
) -> str | None:
    """The sentence about the first number that is too far off."""
    if not (found.is_floating_point() or expected.is_floating_point()):
        wrong = found != expected
    else:
        dtype = found.dtype if found.is_floating_point() else torch.float32
        found, expected = found.double(), expected.double()
        allowed = tolerance.of(dtype, expected)
        off = (found - expected).abs() > allowed
        wrong = off | (found.isnan() != expected.isnan())
        wrong |= (found.isinf() | expected.isinf()) & (found != expected)
        wrong &= ~(found.isnan() & expected.isnan())
    if not wrong.any():
        return None
    if found.isnan().any() and not expected.isnan().any():
        place = tuple(found.isnan().nonzero()[0].tolist())
        where = f" (first at {[*place]})" if place else ""
        right = _written(expected[place].item())
        return f"{what} contains NaN{where}, where it should be {right}."
    place = tuple(wrong.nonzero()[0].tolist())
    where = f" at {[*place]}" if place else ""
    ours, theirs = _apart(found[place].item(), expected[place].item())
    many = f" ({int(wrong.sum())} of {wrong.numel()} differ)" if wrong.dim() else ""
    return _is(what, ours, theirs, where, many) + _pattern(found, expected, wrong)


def _pattern(found: Tensor, expected: Tensor, wrong: Tensor) -> str:
    """Whether all numbers are off in one simple way: a fact about this very case."""
    if found.numel() < 3 or found.dtype == torch.bool or not wrong.all():
        return ""
    found, expected = found.double(), expected.double()
    if not (found.isfinite().all() and expected.isfinite().all()):
        return ""
    # Of equal numbers anything is a factor.
    varies = expected.max() - expected.min() > 1e-3 * expected.abs().max()
    if varies and expected.abs().min() > 1e-6:
        ratio = found / expected
        if (ratio - ratio.mean()).abs().max() < 1e-4 * ratio.mean().abs():
            return f" Each number is {float(ratio.mean()):.4g} times what it should be."
    return ""


def _apart(found: Any, expected: Any) -> tuple[str, str]:
    """Both numbers, with so many digits that they look different."""
    if isinstance(found, bool) or isinstance(expected, bool):
        return str(found), str(expected)
    if isinstance(found, int) and isinstance(expected, int):
        return f"{found:,}", f"{expected:,}"
    for digits in (4, 6, 9, 17):
        ours, theirs = _written(found, digits), _written(expected, digits)
        if ours.replace(",", "") != theirs.replace(",", ""):
            return ours, theirs
    return repr(found), repr(expected)


def _written(number: Any, digits: int = 4) -> str:
    """A number as one would write it: 0.25, 13,440, 1.2e-07."""
    if isinstance(number, (bool, complex)):
        return str(number)
    if isinstance(number, int) or (math.isfinite(number) and number == int(number)):
        return f"{int(number):,}" if abs(number) < 1e15 else f"{number:.4g}"
    return f"{number:.{digits}g}"


def _elements(value: Any) -> int | None:
    """How many numbers a tensor, an array or a number of numpy holds."""
    if isinstance(value, Tensor):
        return value.numel()
    return value.size if isinstance(value, (np.ndarray, np.generic)) else None


def _numbers(
    found: Any, expected: Number, what: str, tolerance: Tolerance
) -> str | None:
    if _elements(found) == 1:
        found = found.item()
    if isinstance(found, bool) or not isinstance(found, Number):
        return (
            f"{what} should be one number, and is {describe(found)} "
            f"(type {type(found).__name__})."
        )
    if isinstance(expected, int) and found == expected:
        return None
    try:
        pair = [  # by way of floats: a whole number may be too long for a tensor
            torch.tensor(float(each), dtype=torch.float64) for each in (found, expected)
        ]
    except (TypeError, OverflowError, RuntimeError):
        return f"{what} should be one number, and is {describe(found)}."
    if isinstance(expected, int):
        return _is(what, *_apart(found, expected))
    return _first_place(*pair, what, tolerance)


def _texts(found: Any, expected: str | bytes, what: str) -> str | None:
    if type(found) is not type(expected):
        kind = "text" if isinstance(expected, str) else "bytes"
        return (
            f"{what} should be {kind}, and is {describe(found)} (type "
            f"{type(found).__name__})."
        )
    if found == expected:
        return None
    place = next(
        (n for n, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
        min(len(found), len(expected)),
    )
    start = max(place - 10, 0)
    ours, theirs = (
        repr(text[start : place + 20]) + ("…" if place + 20 < len(text) else "")
        for text in (found, expected)
    )
    where = f" from place {start} on" if start else ""
    return f"{what} is {ours}{where}, and should be {theirs}."


def _mappings(
    found: Any,
    expected: Mapping,
    what: str,
    tolerance: Tolerance,
    floor: torch.dtype | None,
) -> str | None:
    if not isinstance(found, Mapping):
        return f"{what} should be a dict, and is {describe(found)}."
    for more, less, sentence in (
        (expected, found, "lacks the key"),
        (found, expected, "has a key too many,"),
    ):
        for key in more:
            if key not in less:
                return f"{what} {sentence} {describe(key)}."
    for key, value in expected.items():
        part = f"{what}, under {describe(key)},"
        different = difference(found[key], value, part, tolerance, floor)
        if different:
            return different
    return None


def _sequences(
    found: Any,
    expected: Sequence,
    what: str | Sequence[str],
    tolerance: Tolerance,
    floor: torch.dtype | None,
) -> str | None:
    whole = what if isinstance(what, str) else "the result"
    if not isinstance(found, (list, tuple)):
        kind = describe(found)
        if isinstance(what, str):
            kinds = "list" if isinstance(expected, list) else "tuple"
            return f"{whole} should be a {kinds} of {len(expected)}, and is {kind}."
        names = " and ".join(what)
        return f"{len(expected)} things should come back, {names}, and one did: {kind}."
    if isinstance(what, str):
        names = [f"{what}[{n}]" for n in range(len(expected))]
        if what == "the result":
            names = [f"entry {n} of the result" for n in range(len(expected))]
    else:
        names = list(what)
        if len(found) != len(expected):
            return (
                f"{len(expected)} things should come back, {' and '.join(what)}, and "
                f"{len(found)} did."
            )
    for name, ours, theirs in zip(names, found, expected, strict=False):
        different = difference(ours, theirs, name, tolerance, floor)
        if different:
            return different
    if len(found) != len(expected):
        return (
            f"{whole} has {len(found)} entries, and should have {len(expected)}: "
            f"{describe(list(found))} for {describe(list(expected))}."
        )
    return None
