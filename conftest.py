"""Loaded by every run of pytest, also by `pytest --nbval chapters`, which does not see
tests/conftest.py.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# Flat names, not packages called `tools` and `tests`: such packages are installed by
# others, too.
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests")]

import notebooks  # noqa: E402, F401 -- before nbval, which imports nbformat

pytest_plugins = [
    "nbval.plugin",  # pyproject.toml keeps pytest from loading it before this file
    "nbval_tolerance",
    "sharing",
    "verified_notebooks",
    "verified_tests",
]
