"""Tune a model on a table of your own, and measure what it brings.

    python recipes/finetune.py --task classification --train tickets.csv --output sorted

recipes/README.md says more. All of it is in `finetuning.recipes`.
"""

import sys

from finetuning.recipes.command import main

if __name__ == "__main__":
    sys.exit(main())
