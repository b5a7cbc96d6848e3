"""The folder of a run that is not finished, and how it becomes the output.

    OUTPUT.unfinished/
        lock                    held while a process works here
        run.json                settings, and the files' SHA-256
        stages/NAME/            what is done
        checkpoints/NAME/       where training can go on
        output/                 being put together, then renamed to OUTPUT

What is atomic here is a rename (`files`). A run that goes on finds each thing whole or
not at all.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from finetuning.recipes import files
from finetuning.recipes.errors import RecipeError

RUN = "run.json"
RESULT = "metrics.json"


class Workplace:
    """Where a run keeps what it has done until it is through."""

    def __init__(self, output: Path) -> None:
        self.output = output.expanduser()
        self.folder = self.output.with_name(f"{self.output.name}.unfinished")
        self._lock = FileLock(self.folder / "lock")

    def refuse(self, resume: bool) -> None:
        """Raise RecipeError if this output cannot be begun, or gone on with.

        Nothing is written.
        """
        if self.output.exists() and not (resume and self.is_finished()):
            raise RecipeError(
                f"{self.output} exists: give another --output, or move it away"
            )
        if self.folder.exists() and not resume and (self.folder / RUN).exists():
            raise RecipeError(
                f"{self.folder} holds a run that was stopped: go on with --resume, or "
                "remove it to begin again"
            )
        for parent in self.output.absolute().parents:
            if parent.exists():
                if not parent.is_dir():
                    raise RecipeError(f"{parent} is a file, so no folder fits below it")
                break

    def is_finished(self) -> bool:
        """Whether the output is there, and a recipe's."""
        return (self.output / RESULT).is_file()

    def open(self, record: dict[str, object]) -> bool:
        """Begin, or go on; whether there is something to go on with.

        Raises RecipeError if another process is at work here, or if what is here was
        made with other settings or files.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RecipeError(
                f"another process is at work in {self.folder}: wait for it, or stop it"
            ) from None
        except OSError as error:
            raise RecipeError(
                f"{self.folder} cannot be written to ({error.strerror})"
            ) from None
        for folder in (self.folder, self._stages, self._checkpoints):
            files.sweep(folder)
        kept = self.folder / RUN
        if not kept.exists():
            with files.room_on_disk(self.folder):
                files.write_whole(kept, files.as_json(record))
            return False
        before = json.loads(kept.read_text(encoding="utf-8"))
        # As JSON has it, where a tuple is a list.
        now = json.loads(json.dumps(record))
        other = [name for name in now if before.get(name) != now[name]]
        if other:
            differ = "; ".join(
                f"{name} was {before.get(name)!r} and is {now[name]!r}"
                for name in other
            )
            raise RecipeError(
                f"{self.folder} was begun otherwise ({differ}): begin again with "
                "another --output"
            )
        return True

    @property
    def _stages(self) -> Path:
        return self.folder / "stages"

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def stage(self, name: str, write: Callable[[Path], None]) -> Path:
        """The folder of a stage; made by `write` if it is not there."""
        folder = self.stage_folder(name)
        if not folder.exists():
            with files.whole_folder(folder) as part:
                write(part)
        return folder

    def stage_folder(self, name: str) -> Path:
        """Where a stage is, or will be."""
        return self._stages / name

    def has_stage(self, name: str) -> bool:
        """Whether it is done."""
        return self.stage_folder(name).exists()

    def is_bare(self) -> bool:
        """Whether nothing has been done that is worth going on with."""
        return not any(self._stages.glob("*")) and not any(
            self._checkpoints.glob("*/step-*")
        )

    def require_room(self, needed: int) -> None:
        """Raise RecipeError if fewer bytes than that are free."""
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise RecipeError(
                f"the run needs about {needed / 1e9:.1f} GB of disk at its fullest, "
                f"and {free / 1e9:.1f} GB are free where {self.output} is to be"
            )

    def checkpoints(self, name: str) -> Path:
        """Where the checkpoints of one training go."""
        return self._checkpoints / name

    def finish(self, write: Callable[[Path], None]) -> None:
        """Write the output, give it its name, and remove what led to it."""
        made = self.folder / "output"
        with files.whole_folder(made) as part:
            write(part)
        files.rename(made, self.output)
        self.close()
        self.clear()

    def clear(self) -> None:
        """Remove what led to an output that is there."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def is_open(self) -> bool:
        """Whether this process is the one at work here."""
        return self._lock.is_locked

    def close(self) -> None:
        """Let another process work here."""
        self._lock.release()
