"""What a method of sorting texts hands over to be compared and kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Method:
    """What one method says of the validation and test parts, and how it is kept.

    `scores` are logits, (N, K) each. `settings` say what was tried and chosen.
    """

    name: str
    scores: dict[str, np.ndarray]
    settings: dict[str, object]
    seconds: float
    write: Callable[[Path, dict[str, object]], None]
