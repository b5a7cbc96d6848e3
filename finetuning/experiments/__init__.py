"""What takes longer than a chapter may: experiments whose results are kept.

`results("objectives").select(method="masked LM", seed=0)` reads them; `python -m
finetuning.experiments NAME` makes them. Importing this package imports no experiment.
"""

from finetuning.experiments.engine import (
    Experiment,
    ExperimentError,
    KeptWeights,
    Results,
    Run,
    Weights,
    from_bits,
    results,
    to_bits,
)

__all__ = [
    "Experiment",
    "ExperimentError",
    "KeptWeights",
    "Results",
    "Run",
    "Weights",
    "from_bits",
    "results",
    "to_bits",
]
