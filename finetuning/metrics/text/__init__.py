"""Metric scripts of texts for `evaluate.load`, so that it works without a hub.

`evaluate.load(text.path("sacrebleu"))` runs the script beside this file, which asks the
library. They stand apart from the others because they need the extra `metrics`.
"""

from pathlib import Path

NAMES = ("chrf", "rouge", "sacrebleu", "squad")


def path(name: str) -> str:
    """The folder to give to `evaluate.load`; `ValueError` for an unknown name."""
    if name not in NAMES:
        raise ValueError(
            f"There is no metric of texts named {name!r}; there are {', '.join(NAMES)}."
        )
    return str(Path(__file__).parent / name)
