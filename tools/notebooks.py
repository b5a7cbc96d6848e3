"""What the tools and the notebook tests share: the environment, reading, writing, and
messages.
"""

import glob
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# With these packages, where they are there, jsonschema, which nbformat imports, builds
# grammars of addresses and dates, a second and more. Notebooks are held to none of
# them. The tools import this module before any that imports nbformat.
for grammar in ("rfc3987_syntax", "isoduration"):
    sys.modules.setdefault(grammar, None)

import nbformat  # noqa: E402
from nbformat import NotebookNode  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

# Notebooks are executed for commit and compared in tests in exactly this environment.
ENVIRONMENT = {
    # committed outputs are the CPU's, also where there is a GPU
    "CUDA_VISIBLE_DEVICES": "",
    # libraries that ask for the terminal's width get the same answer everywhere
    "COLUMNS": "80",
    "HF_HUB_OFFLINE": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}
# What a shell may hold that changes what a cell prints.
UNWANTED = ("PYTHONWARNINGS", "PYTHONSTARTUP", "FORCE_COLOR", "CLICOLOR_FORCE")

# How long a notebook may take with one thread, in seconds, by its folder.
TIME_LIMITS = {"chapters": 120, "solutions": 40}

NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}
KEPT_NOTEBOOK_METADATA = ("derived_from",)
KEPT_CELL_METADATA = ("tags", "mystnb", "nbval_tolerance")

MEASURED = re.compile(r"<!-- measured -->[^\n]*")


class NotebookError(Exception):
    """A notebook that cannot be used; its message says which, where and why in one
    line.
    """


@dataclass(frozen=True)
class Place:
    """Where in a notebook: printed as `chapters/04-….ipynb, cell 'scores' (12), line
    3`.
    """

    file: str
    cell: str | None = None
    number: int | None = None
    line: int | None = None

    def __str__(self) -> str:
        text = self.file
        if self.number is not None:
            text += (
                f", cell '{self.cell}' ({self.number})"
                if self.cell
                else f", cell {self.number}"
            )
        return text if self.line is None else f"{text}, line {self.line}"

    def at_line(self, line: int | None) -> "Place":
        """The same cell, at one of its lines."""
        return replace(self, line=line)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where."""

    place: Place
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"


def environment(settings: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment with everything fixed that changes what a notebook
    prints; `settings` go before what is fixed.
    """
    kept = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    return kept | ENVIRONMENT | (settings or {})


def display(path: Path | str, root: Path = ROOT) -> str:
    """A path as messages show it: from the repository's root where it lies in it."""
    path = Path(path)
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path.as_posix()


def notebook_paths(arguments: Sequence[str]) -> list[Path]:
    """The notebooks that a command names: paths, which may hold spaces, several of them
    in one argument, or patterns like `chapters/*.ipynb`.
    """
    paths = []
    for argument in arguments:
        names = re.findall(r"\S.*?\.ipynb(?=\s|$)", argument) or [argument]
        for name in names:
            paths += sorted(glob.glob(name)) or [name]
    return [Path(path) for path in paths]


def read(path: Path | str, root: Path = ROOT) -> NotebookNode:
    """Read a notebook of format 4.5 or later, every cell with an id of its own.

    Raises
    ------
    NotebookError: if there is no such file, or it is not such a notebook.
    """
    path, name = Path(path), display(path, root)
    if path.suffix != ".ipynb":
        raise NotebookError(
            f"{name}: not a notebook (its name does not end in .ipynb)."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotebookError(f"{name}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookError(f"{name}: cannot be read ({error}).") from None
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise NotebookError(
            f"{name}, line {error.lineno}: not valid JSON ({error.msg})."
        ) from None
    if (
        not isinstance(raw, dict)
        or not isinstance(raw.get("cells"), list)
        or raw.get("nbformat") != 4
    ):
        raise NotebookError(f"{name}: not a notebook of format 4.")
    if raw.get("nbformat_minor", 0) < 5:
        raise NotebookError(
            f"{name}: format 4.{raw.get('nbformat_minor', 0)}; cell ids need 4.5 "
            "or later."
        )
    seen: dict[str, int] = {}
    for number, cell in enumerate(raw["cells"], start=1):
        cell_id = cell.get("id") if isinstance(cell, dict) else None
        if not isinstance(cell_id, str):
            raise NotebookError(f"{name}, cell {number}: has no id.")
        if cell_id in seen:
            raise NotebookError(
                f"{name}, cell '{cell_id}' ({number}): cell {seen[cell_id]} has "
                "the same id."
            )
        seen[cell_id] = number
    notebook = nbformat.v4.reads(text)
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise NotebookError(f"{name}: not a valid notebook ({reason}).") from None
    return notebook


def dumps(notebook: NotebookNode) -> str:
    """The text of a notebook file."""
    return nbformat.v4.writes(notebook).rstrip("\n") + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: others never see half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
    )
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.get("metadata", {}).get("tags", []))


def numbered(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """Cells with their place in the notebook, counted from 1."""
    return enumerate(notebook.cells, start=1)


def normalise(notebook: NotebookNode) -> None:
    """Leave in a notebook only what the book needs: no timing, no widget state, no
    version noise.
    """
    kept = {
        key: notebook.metadata[key]
        for key in KEPT_NOTEBOOK_METADATA
        if key in notebook.metadata
    }
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA | kept)
    notebook.nbformat_minor = 5
    count = 0
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {
                key: cell.metadata[key]
                for key in KEPT_CELL_METADATA
                if key in cell.metadata
            }
        )
        if cell.cell_type != "code":
            continue
        if cell.execution_count is not None and cell.source.strip():
            count += 1
            cell.execution_count = count
        else:
            cell.execution_count = None
        cell.outputs = merge_streams(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            if output.output_type == "error":
                output.traceback = [without_machine(line) for line in output.traceback]


def merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of the same stream: where they break depends on the
    machine's speed.
    """
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if (
            last
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            merged.append(output)
    return merged


def without_machine(text: str) -> str:
    """Take this machine's folders out of a stack trace (nbval does not compare stack
    traces).
    """
    home = str(Path.home())
    folders = [
        str(Path(folder))
        for folder in (*sys.path, sys.prefix, ROOT)
        if len(Path(folder).parts) > 2
    ]
    for folder in sorted(set(folders), key=len, reverse=True):
        text = text.replace(folder + os.sep, "")
        if folder.startswith(home + os.sep):
            text = text.replace("~" + folder[len(home) :] + os.sep, "")
    return text


def measured_line(seconds: float, memory_mb: float) -> str:
    """The sentence of a chapter's first cell: rounded as one would say it."""
    step = 1 if seconds < 10 else 5 if seconds < 60 else 10
    shown = max(1, round(seconds / step) * step)
    return (
        f"<!-- measured -->On two CPU cores, one thread: about {shown} s and "
        f"{max(0.1, memory_mb / 1000):.1f} GB of memory."
    )


def measured_numbers(text: str) -> tuple[float, float] | None:
    """Seconds and gigabytes that the measured sentence in `text` states, None where it
    states none.
    """
    stated = re.search(r"<!-- measured -->.*?about ([\d.]+) s and ([\d.]+) GB", text)
    return (float(stated[1]), float(stated[2])) if stated else None


def close_enough(
    stated: float, measured: float, share: float = 0.25, slack: float = 0.0
) -> bool:
    return abs(stated - measured) <= share * max(stated, measured) + slack
