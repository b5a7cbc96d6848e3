"""Metric scripts for `evaluate.load`, so that it works without a hub.

`evaluate.load("accuracy")` downloads a script;
`evaluate.load(metrics.path("accuracy"))` runs the one beside this file, which asks
scikit-learn.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The metrics there are."""
    return sorted(
        script.stem
        for script in _FOLDER.glob("*/*.py")
        if script.stem == script.parent.name
    )


def path(name: str) -> str:
    """The folder to give to `evaluate.load`; `ValueError` for an unknown name."""
    if name not in names():
        raise ValueError(
            f"There is no metric named {name!r}; there are {', '.join(names())}."
        )
    return str(_FOLDER / name)
