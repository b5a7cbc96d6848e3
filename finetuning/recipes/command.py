"""The command behind `recipes/finetune.py`.

Exit code 0: the output is there. 2: the input cannot be used, and stderr has one
sentence that says why. 130: it was stopped from the keyboard.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from finetuning.recipes.errors import RecipeError
from finetuning.recipes.labelled import load_labelled
from finetuning.recipes.pairs import load_pairs
from finetuning.recipes.settings import Settings, parse
from finetuning.recipes.workplace import Workplace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe."""
    try:
        return _run(parse(arguments))
    except RecipeError as error:
        # Of several processes that say the same the first speaks.
        rank = os.environ.get("RANK", "0")
        if rank == "0":
            print(f"error: {error}", file=sys.stderr)
        elif not error.shared:
            print(f"error in process {rank}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: the same command with --resume goes on", file=sys.stderr)
        return 130


def _run(settings: Settings) -> int:
    """Raises RecipeError for input that cannot be used."""
    place = Workplace(settings.output)
    try:
        place.refuse(settings.resume)
        if place.is_finished():
            place.clear()
            print(f"{place.output} is finished already")
            return 0
        data, record, run = _task(settings)
    except RecipeError as error:
        error.shared = True  # every process has found it
        raise
    # Torch comes only now: what is wrong with a file was said before.
    from finetuning.recipes import processes

    accelerator = processes.start()
    try:
        goes_on = processes.from_main(accelerator, lambda: place.open(record))
        if accelerator.is_main_process:
            how = "goes on" if goes_on else "begins"
            print(
                f"{settings.task} {how}: {accelerator.num_processes} process(es) on "
                f"{accelerator.device.type}",
                flush=True,
            )
        run(settings, data, place, accelerator)
    except RecipeError:
        if accelerator.is_main_process and place.is_open() and place.is_bare():
            place.clear()
        raise
    finally:
        place.close()
        accelerator.end_training()
    return 0


def _task(
    settings: Settings,
) -> tuple[object, dict[str, object], Callable[..., None]]:
    """The task's data, what identifies the run, and what runs it.

    Raises RecipeError for data that cannot be learnt from.
    """
    if settings.task == "classification":
        data = load_labelled(settings)
    else:
        data = load_pairs(settings)
    module = {"classification": "classify"}.get(settings.task, settings.task)

    def run(*everything: object) -> None:
        task = importlib.import_module(f"finetuning.recipes.{module}")
        task.run(*everything)

    return data, settings.record() | {"data": data.sources}, run
