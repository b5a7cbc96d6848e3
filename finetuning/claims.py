"""Claims bound to a run: printed where they hold, an error where they do not."""

from typing import Any

from finetuning.printing import say, wrapped


class ClaimError(AssertionError):
    """A sentence of the book that this run does not bear out."""


def claim(
    sentence: str,
    measured: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> None:
    """Print `sentence` with a tick, or raise where it does not hold.

    With a bound, the measured number and the bound stand in the line below:

        ✓ with 50 labels MiniLM beats TF-IDF by ten points
          0.129 > 0.1

    Parameters
    ----------
    sentence: what is claimed, as a reader would say it.
    measured: a number, where there is a bound; without one, the comparison that
        decides: one truth value. Arrays and tensors must have one element.
    above, at_least: what the number must exceed, or must reach.
    below, at_most: what it must stay under, or must not exceed.

    Raises
    ------
    ClaimError: if the sentence does not hold; a number that is not one (NaN) is in no
        bounds.
    TypeError: if `measured` is not one number or, without bounds, not one truth value
        (a number or a list would be true whatever was measured).
    """
    bounds = [
        (sign, bound)
        for sign, bound in (
            (">", above),
            ("≥", at_least),
            ("<", below),
            ("≤", at_most),
        )
        if bound is not None
    ]
    if not bounds:
        if not _truth(measured):
            raise ClaimError(f"does not hold in this run: {sentence}")
        say(wrapped(f"✓ {sentence}"))
        return
    number = _number(measured)
    comparison = " and ".join(f"{sign} {_shown(bound)}" for sign, bound in bounds)
    if not all(_holds(number, sign, bound) for sign, bound in bounds):
        raise ClaimError(
            f"does not hold in this run: {sentence} "
            f"(measured {_shown(number)}, needed {comparison})"
        )
    say(f"{wrapped(f'✓ {sentence}')}\n  {_shown(number)} {comparison}")


def _holds(number: float, sign: str, bound: float) -> bool:
    return {
        ">": number > bound,
        "≥": number >= bound,
        "<": number < bound,
        "≤": number <= bound,
    }[sign]


def _shown(number: float) -> str:
    """Three digits, and all of a whole number's."""
    return f"{number:,}" if isinstance(number, int) else f"{number:.3g}"


def _item(value: Any) -> Any:
    """The element of an array or tensor that has one; anything else as it is."""
    if not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except (ValueError, RuntimeError):
        raise TypeError(
            f"a claim is about one value, not {tuple(value.shape)}: reduce it with "
            "all(), max() or mean() first"
        ) from None


def _truth(value: Any) -> bool:
    """One truth value: Python's, NumPy's, or a tensor's."""
    value = _item(value)
    if not isinstance(value, bool):
        kind = type(value).__name__
        raise TypeError(
            f"a claim needs one truth value, not {kind}: compare it, or say in which "
            "bounds it must lie (above, at_least, below, at_most)"
        )
    return value


def _number(value: Any) -> float:
    """One number, whole or not: Python's, NumPy's, or a tensor's."""
    value = _item(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = type(value).__name__
        raise TypeError(f"a claim with a bound needs one number, not {kind}")
    return value
