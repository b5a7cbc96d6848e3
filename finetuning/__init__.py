"""What the notebooks of *Fine-Tuning Large Language Models* import: data, models,
plots, checks.
"""

from importlib.metadata import version

__version__ = version("finetuning")
