"""The exercises' checks, one module a chapter: each says what it verified, or what is
wrong.
"""

from finetuning.checks import ch02, ch03, ch04, ch05, ch06, ch07, ch08, ch09, ch10, ch11
from finetuning.checks.core import CheckFailed

__all__ = [
    "CheckFailed",
    "ch02",
    "ch03",
    "ch04",
    "ch05",
    "ch06",
    "ch07",
    "ch08",
    "ch09",
    "ch10",
    "ch11",
]
