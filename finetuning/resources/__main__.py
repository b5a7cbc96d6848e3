"""`python -m finetuning.resources`: fetch everything; with names, only those."""

import sys

from finetuning.resources.fetching import main

sys.exit(main())
