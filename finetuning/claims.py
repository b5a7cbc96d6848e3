"""Sentences that are bound to a run: a claim is printed where it holds and raises where it does not."""


class ClaimError(AssertionError):
    """A sentence of the book that this run does not bear out."""


def claim(sentence: str, holds: bool) -> None:
    """Print `sentence` with a tick, or raise where it does not hold.

    Parameters
    ----------
    sentence: what is claimed, as a reader would say it.
    holds: the comparison that decides it: a bool, or an array or tensor with one element.

    Raises
    ------
    ClaimError: if `holds` is false.
    TypeError: if `holds` is not one truth value (a list of comparisons, say, which would always be true).
    """
    if not hasattr(holds, "__bool__"):
        kind = type(holds).__name__
        raise TypeError(
            f"a claim needs one truth value, not {kind}: reduce it with all() first"
        )
    if not bool(holds):
        raise ClaimError(f"does not hold in this run: {sentence}")
    print(f"✓ {sentence}")
