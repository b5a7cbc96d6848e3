"""Writing so that a kill at any moment leaves nothing half-made.

A folder is written under a name that ends in `.part` and renamed once its files are on
the disk, which a file system does in one step. It is renamed back before it is removed.
So a folder without `.part` is whole. This is the only module of the recipe that writes.
"""

import contextlib
import csv
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetuning.recipes.errors import RecipeError

if TYPE_CHECKING:
    import torch

PART = ".part"


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` when the block is through.

    What the name held before is gone then. Raises RecipeError if the disk is full.
    """
    part = folder.with_name(folder.name + PART)
    with room_on_disk(folder.parent):
        remove(part)
        part.mkdir(parents=True)
        yield part
        for path in sorted(part.rglob("*")):
            sync(path)
        sync(part)
        remove(folder)
        rename(part, folder)
        sync(folder.parent)


@contextlib.contextmanager
def room_on_disk(folder: Path) -> Iterator[None]:
    """A full disk becomes a sentence. Raises RecipeError for it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RecipeError(
            f"the disk that holds {folder} is full: make room and go on with --resume"
        ) from None


def write_text(path: Path, text: str) -> None:
    """Line ends as they are in `text`, on every system."""
    path.write_bytes(text.encode("utf-8"))


def write_whole(path: Path, text: str) -> None:
    """A file that is the old one or the new one, and nothing between."""
    part = path.with_name(path.name + PART)
    write_text(part, text)
    sync(part)
    part.replace(path)
    sync(path.parent)


def as_json(value: object) -> str:
    return f"{json.dumps(value, indent=1, ensure_ascii=False)}\n"


def write_json(path: Path, value: object) -> None:
    write_text(path, as_json(value))


def write_tensors(path: Path, tensors: Mapping[str, "torch.Tensor"]) -> None:
    """Tensors by name, as safetensors."""
    # Only here: tables are read, and refused, without torch.
    from safetensors.torch import save_file

    save_file(dict(tensors), path, metadata={"format": "pt"})


def write_table(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """A CSV file, as `tables` reads one."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def rename(path: Path, to: Path) -> None:
    path.rename(to)


def remove(folder: Path) -> None:
    """A folder, if there is one; first its name, so that a kill leaves a `.part`."""
    if not folder.exists():
        return
    if folder.is_file():  # half of one that `write_whole` was writing
        folder.unlink()
        return
    if not folder.name.endswith(PART):
        waste = folder.with_name(f"{folder.name}.old{PART}")
        remove(waste)
        rename(folder, waste)
        folder = waste
    shutil.rmtree(folder)


def sweep(folder: Path) -> None:
    """Remove what kills have left in a folder."""
    for path in sorted(folder.glob(f"*{PART}")):
        remove(path)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync this
            raise
    finally:
        os.close(handle)
