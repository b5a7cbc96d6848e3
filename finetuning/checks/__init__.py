"""The exercises' checks, one module a chapter: each says what holds, or what is wrong.

`checks.ch04` is imported when it is first asked for: an exercise waits for its own
chapter's checks, and needs its own chapter's libraries, alone.
"""

import importlib
import pkgutil
from typing import Any

_CHAPTERS = sorted(
    module.name
    for module in pkgutil.iter_modules(__path__)
    if module.name.startswith("ch")
)

__all__ = ["CheckFailed", *_CHAPTERS]


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name in _CHAPTERS:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "CheckFailed":
        return importlib.import_module(f"{__name__}.core").CheckFailed
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}"
    )


def __dir__() -> list[str]:
    """What can be asked for, and what every module has."""
    return sorted({*__all__, *globals()})
