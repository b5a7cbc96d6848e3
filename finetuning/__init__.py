"""What the book's notebooks import: data, models, plots, checks."""

import logging
from importlib.metadata import version

__version__ = version("finetuning")

# peft and the schedules of transformers load bitsandbytes where it is installed. On a
# processor with bfloat16 it then warns of a kernel that could be downloaded.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
