"""`python -m finetuning.experiments NAME` makes the runs that are not kept yet."""

from finetuning.experiments.engine import main

main()
