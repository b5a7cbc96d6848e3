"""What chapter 09's small, fast GPT learns of a text in a given time on two threads.

    python bench/char_gpt.py --text FILE --seconds N [--seed S]

The first 90 % of the file are to train on, the last 10 % to validate; the vocabulary is
the characters of the first part. The N seconds begin with the process: starting Python,
importing PyTorch and reading the file are in them, the validation is not. One line of
JSON comes out:

- `val_loss`: nats a character over the whole validation part, each character once, seen
  with the 96 to 127 characters before it (`nats_per_character` of chapter 09);
- `parameters`, at most a million;
- `tokens_per_second`: characters trained on, in a second of the training loop;
- `steps`, and `train_seconds`, from the start of the process to the end of the
  training.

A character that only the validation part has cannot be known; it is counted as the one
spare entry of the vocabulary, and a line on stderr says so. Without --text it reads
State of the Union speeches, and without --seconds it takes 90: as `make bench` does.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from finetuning.runtime import bfloat16_is_fast, set_seed
from finetuning.scratch.fast_gpt import (
    FastGPT,
    Recipe,
    encoded,
    nats_per_character,
    train_fast,
)

THREADS = 2
# more than chapter 09's on one thread: 16 leave the second one idle for part of a step
BATCH = 24
MOST_PARAMETERS = 1_000_000


def read(path: Path | None) -> tuple[str, str]:
    """A text's parts to train and to validate on; SystemExit for a bad file."""
    if path is None:
        # Here, because its imports take seconds too.
        from finetuning.data.streams import characters

        return characters()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SystemExit(
            f"{path} cannot be read ({error.strerror}): name a text file after --text"
        ) from None
    except UnicodeDecodeError:
        raise SystemExit(
            f"{path} is not text in UTF-8: convert it, or name another file"
        ) from None
    least = math.ceil((2 * Recipe().context + 1) / 0.9) + 1
    if len(text) < least:
        raise SystemExit(
            f"{path} has {len(text)} characters, and it takes at least {least} to "
            "train and to validate: name a longer text"
        )
    cut = int(0.9 * len(text))
    return text[:cut], text[cut:]


def build(alphabet: str) -> FastGPT:
    """The recipe's model: a spare entry in its vocabulary, layers as they fit."""
    recipe = replace(Recipe(), batch=BATCH, half=bfloat16_is_fast())
    for layers in range(recipe.layers, 0, -1):
        model = FastGPT(len(alphabet) + 1, replace(recipe, layers=layers))
        if sum(each.numel() for each in model.parameters()) <= MOST_PARAMETERS:
            return model
    raise SystemExit(
        f"the text has {len(alphabet)} different characters, too many for a model of "
        f"{MOST_PARAMETERS:,} parameters: take a text in an alphabet, or tokens "
        "instead of characters (chapter 03)"
    )


def validation_ids(text: str, alphabet: str) -> torch.Tensor:
    """The text as places in the alphabet; stderr says what becomes the spare one."""
    unseen = set(text) - set(alphabet)
    if unseen:
        count = sum(character in unseen for character in text)
        print(
            f"{count} of the {len(text)} characters to validate on ({sorted(unseen)}) "
            "did not occur in training: the model cannot know them, and each counts "
            "as the spare entry of its vocabulary",
            file=sys.stderr,
        )
    place = {character: number for number, character in enumerate(alphabet)}
    return torch.tensor([place.get(character, len(alphabet)) for character in text])


def process_seconds() -> float:
    """Seconds since this process began, before Python was there to look at a clock."""
    return time.time() - psutil.Process().create_time()


def main(
    words: Sequence[str] | None = None, clock: Callable[[], float] = process_seconds
) -> None:
    """Train as the words of a command line say, and print the line of JSON.

    Parameters
    ----------
    clock: the seconds since the process began.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, help="a text file in UTF-8")
    parser.add_argument(
        "--seconds", type=float, default=90.0, help="from the start of this process"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    torch.set_num_threads(THREADS)
    training, validation = read(arguments.text)
    alphabet = "".join(sorted(set(training)))
    set_seed(arguments.seed)
    model, ids = build(alphabet), encoded(training, alphabet)

    began = clock()
    budget = arguments.seconds - began

    def done(step: int) -> float:
        """The share of the time that is over after one more step of usual length."""
        spent = clock() - began
        return spent * (1 + 1 / max(step, 1)) / budget if budget > 0 else 1.0

    losses = train_fast(model, ids, done, arguments.seed)
    ended = clock()
    if not losses:
        raise SystemExit(
            f"{arguments.seconds:g} seconds are over before the first step, "
            f"{began:.1f} of them for setting up: give at least "
            f"{math.ceil(began) + 5}"
        )
    recipe = model.recipe
    result = {
        "val_loss": round(
            nats_per_character(model, ids, validation_ids(validation, alphabet)), 4
        ),
        "parameters": sum(each.numel() for each in model.parameters()),
        "tokens_per_second": round(
            len(losses) * recipe.batch * recipe.context / (ended - began)
        ),
        "steps": len(losses),
        "train_seconds": round(ended, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
