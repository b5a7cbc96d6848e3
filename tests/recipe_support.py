"""Recipes as modules: they are scripts, and no package."""

import importlib.util
from types import ModuleType

from notebooks import ROOT


def load_recipe(name: str) -> ModuleType:
    """The script `recipes/NAME.py`, run as a module but not as a program."""
    specification = importlib.util.spec_from_file_location(
        "recipe", ROOT / f"recipes/{name}.py"
    )
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
