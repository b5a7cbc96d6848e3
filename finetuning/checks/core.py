"""What all checks are made of: one exception with a diagnosis, and comparisons."""

import contextlib
import dis
import functools
import inspect
import linecache
import reprlib
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import torch

from finetuning.printing import printable, say, wrapped


class CheckFailed(AssertionError):
    """An answer that is not right yet. Its message is a diagnosis in plain words.

    In a notebook only that message is shown: a learner needs to know what is wrong with
    the answer, and the stack would show nothing but the inside of the check.
    """

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this method before it formats a stack of its
        # own.
        return [printable(f"✗ {self}")]


def passed(message: str) -> None:
    """Tell the learner what has been verified."""
    say(wrapped(f"✓ {message}"))


def fail(message: str) -> NoReturn:
    """End the check with a diagnosis."""
    # "from None": what led here inside the check is no business of the learner's.
    raise CheckFailed(f"Not yet: {message}") from None


# What the learner's function returned last, as a sentence: `check` ends with it.
_returned = ""


def check(function: Callable) -> Callable:
    """A check that ends in a diagnosis whatever kind of answer it is given.

    A check knows the mistakes that it looks for. An answer of a kind that nobody
    thought of (a dict for a number, a list for a tensor) may stop it anywhere, and then
    the learner reads what kind that was, and not the inside of the check. The error
    itself stays the cause of the `CheckFailed`.
    """

    @functools.wraps(function)
    def checked(*answers: Any, **named: Any) -> None:
        global _returned
        kinds = dict.fromkeys(map(describe, [*answers, *named.values()]))
        _returned = f"the answer is {', '.join(kinds)}"
        try:
            function(*answers, **named)
        except CheckFailed:
            raise
        except Exception as error:
            raise CheckFailed(
                f"Not yet: {_returned}, and the check cannot use that "
                f"({type(error).__name__}: {error}). Is it of the kind that the "
                "exercise asks for?"
            ) from error

    return checked


def written(value: Any, what: str) -> Any:
    """Return `value`, or fail where it still is the `...` of the blank exercise."""
    if value is Ellipsis:
        fail(
            f"{what} is not written yet. Replace its `...`, run that cell, then "
            "run this check again."
        )
    return value


_LIBRARIES = (sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]))


@dataclass(frozen=True)
class Crash:
    """What a learner's function raised, and at which of the learner's lines."""

    error: Exception
    line: str

    def __str__(self) -> str:
        """What Python says about it, on one line; at its end "…" where it is long."""
        text = str(self.error).split("Exception raised from ")[0]  # PyTorch's own stack
        text = " ".join(text.split())
        if len(text) <= 300:
            return text
        return f"{text[:300].rsplit(' ', 1)[0].rstrip(' ,;:.')} …"


def call(function: Callable, *arguments: Any, **keywords: Any) -> Any:
    """Run the learner's function; what it raises becomes a diagnosis.

    Raises
    ------
    CheckFailed: if the function is not written yet, cannot be called so, raises, or
        returns nothing.
    """
    result = outcome(function, *arguments, **keywords)
    if isinstance(result, Crash):
        fail(crashed(function, result, arguments, keywords))
    if result is None:
        fail(f"`{name_of(function)}` returned None, and no result.")
    return result


def outcome(function: Callable, *arguments: Any, **keywords: Any) -> Any:
    """What the learner's function returns, or the `Crash` that it ended in.

    Raises
    ------
    CheckFailed: if the function is not written yet, or is no function.
    """
    written(function, "the answer")
    if not callable(function):
        fail(
            "a function or class is needed here, and this is of type "
            f"{type(function).__name__}."
        )
    try:
        result = function(*arguments, **keywords)
    except CheckFailed:
        raise
    except Exception as error:
        if is_stub(error):
            fail(
                f"`{name_of(function)}` is not written yet. Replace its `raise "
                "NotImplementedError` with your answer, run that cell, then run this "
                "check again."
            )
        return Crash(error, learners_line(error))
    global _returned
    _returned = f"`{name_of(function)}` returned {describe(result)}"
    return result


def expect_refusal(function: Callable, *arguments: Any, when: str) -> None:
    """Fail unless the learner's function raises a ValueError.

    Parameters
    ----------
    when: what is special about the call, as it begins a sentence.
    """
    result = outcome(function, *arguments)
    if isinstance(result, Crash) and isinstance(result.error, ValueError):
        return
    did = "gives a result"
    if isinstance(result, Crash):
        did = f"raises {type(result.error).__name__}"
        did += f" at {result.line}" if result.line else ""
    fail(f"{when}, `{name_of(function)}` should raise a ValueError, and {did}.")


def is_stub(error: Exception) -> bool:
    """Whether this is the blank's own `raise NotImplementedError`.

    PyTorch raises the same error, with a message, for what it cannot compute.
    """
    bare = type(error) is NotImplementedError and not error.args
    return bare and raised_by_hand(error)


def raised_by_hand(error: Exception) -> bool:
    """Whether a `raise` of the learner's made an error, and not what was called."""
    frames = _frames(error)
    if not frames:
        return False
    frame, _, instruction = frames[-1]
    raised = frame.f_code.co_code[instruction] == dis.opmap["RAISE_VARARGS"]
    return raised and not _in_library(frame.f_code.co_filename)


def learners_line(error: Exception) -> str:
    """The last line of the learner's own code on the way to an error, or ""."""
    for frame, number, _ in reversed(_frames(error)):
        file = frame.f_code.co_filename
        if not _in_library(file):
            text = linecache.getline(file, number, frame.f_globals).strip()
            return f"`{text}`" if text else f"line {number}"
    return ""


def crashed(
    function: Callable, crash: Crash, arguments: Sequence, keywords: Mapping
) -> str:
    """The sentence about a call that raised: with what, where, and what Python says."""
    kind = type(crash.error).__name__
    told = getattr(crash.error, _CALL, None) or _Call.of(function, arguments, keywords)
    if not crash.line and not told.possible:
        says = f"{kind}: {crash}".removesuffix(": ")
        return f"`{told.name}` cannot be called with ({told.given}). " + _says(says)
    place = f" at {crash.line}" if crash.line else ""
    stopped = f"`{told.name}` stopped with {kind}{place}, called with ({told.given})."
    return f"{stopped} {_says(str(crash))}".rstrip()


def _says(text: str) -> str:
    """Python's own words as a sentence, with one sign at its end; or nothing."""
    if not text:
        return ""
    return f"Python says: {text}" + ("" if text[-1] in ".!?…" else ".")


_CALL = "_call_by_the_check"


@dataclass(frozen=True)
class _Call:
    """A call of the learner's function in words; whether its signature allows it."""

    name: str
    given: str
    possible: bool

    @classmethod
    def of(cls, function: Callable, arguments: Sequence, keywords: Mapping) -> "_Call":
        """The call with these arguments."""
        given = ", ".join(
            f"{name} = {describe(value)}"
            for name, value in named_arguments(function, arguments, keywords).items()
        )
        return cls(name_of(function), given, _takes(function, arguments, keywords))


@contextlib.contextmanager
def told_as(function: Callable, *arguments: Any, **keywords: Any) -> Iterator[None]:
    """What raises inside is told as a crash of this very call.

    For a check that calls the learner's function inside a function of its own: what
    that one was called with is no business of the learner's.
    """
    call = _Call.of(function, arguments, keywords)
    try:
        yield
    except Exception as error:
        setattr(error, _CALL, call)
        raise


def _takes(function: Callable, arguments: Sequence, keywords: Mapping) -> bool:
    """Whether a function's signature, where it has one, allows a call."""
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError:
        return False
    except ValueError:  # built in, and tells nothing
        pass
    return True


def name_of(function: Callable) -> str:
    """A function's name as the learner wrote it."""
    return getattr(function, "__name__", type(function).__name__)


def named_arguments(
    function: Callable, arguments: Sequence, keywords: Mapping
) -> dict[str, Any]:
    """The arguments of a call by the names that the function gives them."""
    try:
        bound = inspect.signature(function).bind(*arguments, **keywords)
        named = dict(bound.arguments)
    except (TypeError, ValueError):
        named = {}
    if len(named) != len(arguments) + len(keywords):  # it takes *args, say
        named = {f"argument {n}": value for n, value in enumerate(arguments, 1)}
        named |= keywords
    return named


def _frames(error: Exception) -> list[tuple[FrameType, int, int]]:
    """Frame, line and instruction of each step from the check to the error."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame, trace.tb_lineno, trace.tb_lasti))
        trace = trace.tb_next
    return frames


def _in_library(file: str) -> bool:
    installed = "site-packages" in file or "dist-packages" in file
    return installed or file.startswith((*_LIBRARIES, "<frozen"))


def expect_shape(value: Any, shape: Sequence[int], what: str) -> None:
    """Fail unless `value` is a tensor (or array) of this shape."""
    written(value, what)
    if not hasattr(value, "shape"):
        fail(
            f"{what} should be a tensor of shape {tuple(shape)}, and is of type "
            f"{type(value).__name__.lstrip('_')}."
        )
    if tuple(value.shape) != tuple(shape):
        fail(f"{what} has shape {tuple(value.shape)}; it should be {tuple(shape)}.")


def expect_close(
    value: Any, expected: Any, what: str, hint: str = "", tolerance: float = 1e-5
) -> None:
    """Fail unless `value` equals `expected`, element by element, within `tolerance`.

    Parameters
    ----------
    what: what is compared, as the subject of a sentence.
    hint: the diagnosis: what a difference here usually comes from.
    """
    written(value, what)
    try:
        value, expected = _as_array(value), _as_array(expected)
    except (TypeError, ValueError):
        fail(
            f"{what} should be made of numbers, and is of type {type(value).__name__}."
        )
    expect_shape(value, expected.shape, what)
    if np.isnan(value).any() and not np.isnan(expected).any():
        fail(f"{what} contains NaN. {hint}".rstrip())
    if not np.allclose(value, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
        difference = np.abs(value - expected)
        place = np.unravel_index(np.nanargmax(difference), difference.shape)
        where = f" at {[int(index) for index in place]}" if place else ""
        fail(
            f"{what} is {value[place]:.4f}{where}, and should be "
            f"{expected[place]:.4f}. {hint}".rstrip()
        )


def as_number(value: Any, what: str) -> float:
    """The learner's number as a float, also from a tensor or array of one element.

    Raises
    ------
    CheckFailed: if it is anything else; text is, too, whatever it says.
    """
    written(value, what)
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        hint = ""
        if isinstance(value, Mapping) and len(value) == 1:
            hint = f" Take the number out of it, by its key {next(iter(value))!r}."
        fail(
            f"{what} should be one number, and is of type {type(value).__name__}.{hint}"
        )


def random_tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal random numbers, the same for a seed; the learner's generator stays put."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def as_numbers(
    value: Any, shape: Sequence[int], what: str, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """The learner's result, of whatever precision or library, as a tensor of `dtype`.

    Raises
    ------
    CheckFailed: if it is not of this shape, or not made of numbers.
    """
    expect_shape(value, shape, what)
    try:
        return torch.as_tensor(value).detach().to(dtype)
    except (TypeError, ValueError, RuntimeError):
        fail(
            f"{what} should be made of numbers, and is of type {type(value).__name__}."
        )


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().to(torch.float64).numpy()
    return np.asarray(value, dtype=np.float64)


def describe(value: Any) -> str:
    """A value in a few words: its shape, its own text where that is short, its kind."""
    if isinstance(value, torch.Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        dtype = "" if kind == "float32" else f" ({kind})"
        return f"a tensor of shape {tuple(value.shape)}{dtype}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        if name.startswith(("_", "<")):  # the check's own, or without a name
            return "a model" if isinstance(value, torch.nn.Module) else "a function"
        return f"`{name}`"
    text = reprlib.repr(value)
    if len(text) <= 40 and not text.startswith("<") and "\n" not in text:
        return text
    name = type(value).__name__
    kind = f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
    if isinstance(value, Mapping):
        return f"{kind} with the keys {reprlib.repr(list(value))[1:-1]}"
    return f"{kind} of {len(value)}" if isinstance(value, (list, tuple, set)) else kind
