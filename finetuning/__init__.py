"""What the book's notebooks import: data, models, plots, checks."""

from importlib.metadata import version

__version__ = version("finetuning")
