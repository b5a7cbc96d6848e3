"""Folders in the cache: where they lie, how one is put there, and whether it is whole.

A folder that was put there holds `manifest.json`, with the size and the SHA-256 of
every file. Sizes are compared whenever a folder is used, which takes milliseconds;
hashes on request. A folder without a manifest, as older versions of the book left
them, is made anew: what hashes to write for it nobody knows, and those of the files
that lie there would vouch for damage.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import platformdirs
from filelock import FileLock

from finetuning.resources.messages import ResourceError, empty_variable, no_home

Made = TypeVar("Made")

MANIFEST = "manifest.json"
VARIABLE = "FINETUNING_CACHE"

# What file managers leave in a folder that somebody looked into.
_BY_THE_SYSTEM = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def cache_folder() -> Path:
    """Where resources are kept: `$FINETUNING_CACHE`, or in the user's cache folder.

    Raises `ResourceError` if the variable is empty, or there is no home folder.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen is not None and not chosen.strip():
        raise ResourceError(empty_variable())
    try:
        if chosen is not None:
            return Path(chosen).expanduser().absolute()
        folder = Path(platformdirs.user_cache_dir("finetuning", False))
    except RuntimeError as error:  # a path with "~", and no home folder to put there
        raise ResourceError(no_home()) from error
    if not folder.is_absolute():  # a "~" that nothing replaced
        raise ResourceError(no_home())
    return folder


@contextlib.contextmanager
def lock(target: Path) -> Iterator[None]:
    """Only one process at a time makes this folder; the cache folder is made first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        yield


def put(target: Path, fill: Callable[[Path, Path], None]) -> None:
    """Make a folder beside `target`, and move it into place whole. Needs the lock.

    `fill` gets the empty folder, and a workspace on the same disk that is removed. What
    was in place stays until then, and is removed then.
    """
    for abandoned in target.parent.glob(f".{target.name}.*.part"):
        # Left by a process that was killed.
        shutil.rmtree(abandoned, ignore_errors=True)
    workspace = Path(
        tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    )
    try:
        content = workspace / "content"
        content.mkdir()
        fill(content, workspace)
        _write_manifest(content)
        if target.exists():
            target.rename(workspace / "replaced")
        content.rename(target)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def inspect(folder: Path, hashes: bool = False) -> tuple[list[str], list[str]]:
    """What is damaged in a folder, in words, and the files that were added to it.

    Both by the folder's manifest; without one nothing vouches for what is there. With
    `hashes` every file is read, otherwise only sizes are compared.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    except (FileNotFoundError, NotADirectoryError):
        return [f"{MANIFEST} is missing"], []
    except (KeyError, TypeError, ValueError):
        return [f"{MANIFEST} cannot be read"], []
    sizes = _sizes(folder)
    damaged = []
    for name, expected in files.items():
        if name not in sizes:
            damaged.append(f"{name} is missing")
        elif sizes[name] != expected["size"]:
            damaged.append(
                f"{name} has {sizes[name]:,} bytes, not {expected['size']:,}"
            )
        elif hashes and _sha256(folder / name) != expected["sha256"]:
            damaged.append(f"{name} does not match its SHA-256")
    return damaged, sorted(sizes.keys() - files.keys() - {MANIFEST})


def keep(
    name: str,
    depends_on: dict[str, object],
    make: Callable[[], Made],
    write: Callable[[Made, Path], None],
    read: Callable[[Path], Made],
) -> Made:
    """What `make` returns, made once and read from the cache folder after that.

    `depends_on` is everything that decides the outcome: another value is another
    folder. A kept folder is compared with its hashes, and what is damaged is made anew.
    Where nothing can be kept (a read-only or full disk), it is made each time.
    """
    recipe = json.dumps(depends_on, sort_keys=True)
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    target = None
    with contextlib.suppress(OSError, ResourceError):
        target = cache_folder() / f"{name}-{digest[:16]}"
        damaged, _ = inspect(target, hashes=True)
        if not damaged:
            return read(target)
    made = make()
    if target is None:
        return made
    with contextlib.suppress(OSError), lock(target):
        # Another process may have put it there, and others read it already.
        if inspect(target, hashes=True)[0]:
            put(target, lambda content, _: write(made, content))
    return made


def _write_manifest(folder: Path) -> None:
    files = {
        name: {"size": size, "sha256": _sha256(folder / name)}
        for name, size in sorted(_sizes(folder).items())
    }
    text = json.dumps({"files": files}, indent=1)
    (folder / MANIFEST).write_text(text, "utf-8")


def _sizes(folder: Path) -> dict[str, int]:
    """The size of each file below a folder, by its path with "/", relative to it."""
    sizes = {}
    waiting = [(str(folder), "")]
    while waiting:
        place, prefix = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append((entry.path, f"{prefix}{entry.name}/"))
                elif entry.name not in _BY_THE_SYSTEM:
                    sizes[prefix + entry.name] = entry.stat().st_size
    return sizes


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
