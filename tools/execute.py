"""Execute notebooks in the book's environment and keep their outputs: python
tools/execute.py NB [NB…]

A notebook is written only when every cell has run. Time, peak memory, versions and its
key (key.py) go into book/status.json.
"""

import argparse
import datetime
import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil
from filelock import FileLock
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from key import inputs, run_key
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from notebooks import (
    MEASURED,
    ROOT,
    TIME_LIMITS,
    NotebookError,
    NotebookNode,
    Place,
    close_enough,
    display,
    dumps,
    environment,
    measured_line,
    measured_numbers,
    normalise,
    notebook_paths,
    numbered,
    read,
    tags,
    write_text,
)
from traitlets import default

STATUS = Path("book/status.json")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# A cell that takes longer than this hangs.
CELL_TIMEOUT = 1800
# Cells that take less, in seconds, are not listed in book/status.json.
LISTED_CELL = 1.0


class ThisInterpreter(KernelSpecManager):
    """Knows one kernel: the Python that runs this tool, whatever kernelspecs a machine
    has installed.
    """

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return self.kernel_spec_class(resource_dir=RESOURCES, **get_kernel_dict())


class KernelManager(AsyncKernelManager):
    @default("kernel_spec_manager")
    def _this_interpreter(self) -> KernelSpecManager:
        return ThisInterpreter(parent=self)


class PeakMemory(threading.Thread):
    """Samples the resident memory of a process and its children together."""

    def __init__(self, process_id: int, interval: float = 0.2) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(process_id)
        self.interval = interval
        self.done = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self.done.is_set():
            self.sample()
            self.done.wait(self.interval)

    def sample(self) -> None:
        total = 0
        try:
            family = [self.process, *self.process.children(recursive=True)]
        except psutil.Error:
            return
        for process in family:
            try:
                total += process.memory_info().rss
            except psutil.Error:  # it ended meanwhile
                continue
        self.peak = max(self.peak, total, self.high_water())

    def high_water(self) -> int:
        """The kernel's own highest, which Linux counts exactly: samples may miss a
        short peak.
        """
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0
        kilobytes = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(kilobytes[1]) * 1024 if kilobytes else 0

    def stop(self) -> float:
        """The peak in megabytes."""
        self.sample()
        self.done.set()
        self.join()
        return self.peak / 1e6


def processor_seconds(process_id: int) -> float:
    """What a process and its children have computed so far: with one thread on a quiet
    machine the time that passes, and on a busy one not more.
    """
    total = 0.0
    kernel = psutil.Process(process_id)
    for process in (kernel, *kernel.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:  # it ended meanwhile
            continue
        total += times.user + times.system
    ended = kernel.cpu_times()
    return total + ended.children_user + ended.children_system


@dataclass(frozen=True)
class Measured:
    """What a run took, in seconds of the processor; `cells` has those of each code cell
    by its id.
    """

    seconds: float
    memory_mb: float
    cells: dict[str, float] = field(default_factory=dict)


def run_cells(
    notebook: NotebookNode,
    folder: Path,
    *,
    allow_errors: bool = False,
    timeout: float = CELL_TIMEOUT,
    settings: dict[str, str] | None = None,
) -> Measured:
    """Execute the cells in place, in a fresh kernel of this interpreter, working in
    `folder`.

    Raises
    ------
    nbclient's CellExecutionError, CellTimeoutError, DeadKernelError, each with
    `.number`, the cell's place.
    """
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        kernel_manager_class=KernelManager,
        allow_errors=allow_errors,
        record_timing=False,
        coalesce_streams=True,
    )
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    client.reset_execution_trackers()
    # What cells print to stderr comes as output; the rest is the kernel's talk about
    # its own transport.
    cells: dict[str, float] = {}
    with client.setup_kernel(
        cwd=str(folder), env=environment(settings), stderr=subprocess.DEVNULL
    ):
        memory = PeakMemory(client.km.provisioner.pid)
        memory.start()
        started = processor_seconds(client.km.provisioner.pid)
        try:
            for number, cell in numbered(notebook):
                cell_started = processor_seconds(client.km.provisioner.pid)
                try:
                    client.execute_cell(
                        cell, number - 1, execution_count=client.code_cells_executed + 1
                    )
                except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                    error.number = number
                    raise
                if cell.cell_type == "code":
                    now = processor_seconds(client.km.provisioner.pid)
                    cells[cell.id] = now - cell_started
            seconds = processor_seconds(client.km.provisioner.pid) - started
        finally:
            megabytes = memory.stop()
    client.set_widgets_metadata()
    return Measured(seconds, megabytes, cells)


def failure(name: str, notebook: NotebookNode, error: Exception) -> str:
    """One line: file, cell, line, what happened."""
    number = getattr(error, "number", None)
    cell = notebook.cells[number - 1] if number else None
    line = None
    if isinstance(error, CellTimeoutError):
        sentence = "did not finish in time."
    elif isinstance(error, DeadKernelError):
        sentence = "the kernel died (out of memory?)."
    else:
        frames = re.findall(
            r"Cell In\[(\d+)\], line (\d+)", ANSI.sub("", error.traceback)
        )
        here = [int(at) for count, at in frames if int(count) == cell.execution_count]
        line = here[0] if here else None
        sentence = (
            f"{error.ename}: "
            f"{str(error.evalue).splitlines()[0] if error.evalue else ''}"
        ).rstrip()
    return f"{Place(name, cell and cell.id, number, line)}: {sentence}"


def execute(
    path: Path, root: Path = ROOT, *, timeout: float = CELL_TIMEOUT, trace: bool = False
) -> Measured:
    """Execute one notebook and write it back with its outputs, measured and normalised.

    Raises
    ------
    NotebookError: if it cannot be read or a cell fails; then the file is as it was.
    """
    name = display(path, root)
    notebook = read(path, root)
    before = path.read_bytes()
    inputs_before = inputs(notebook, root)
    try:
        measured = run_cells(notebook, path.resolve().parent, timeout=timeout)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        if trace:
            print(getattr(error, "traceback", error), file=sys.stderr)
        raise NotebookError(failure(name, notebook, error)) from None
    for number, cell in numbered(notebook):
        raised = any(
            output.output_type == "error" for output in cell.get("outputs", [])
        )
        if "raises-exception" in tags(cell) and not raised:
            place = Place(name, cell.id, number)
            raise NotebookError(
                f"{place}: is tagged raises-exception and raised nothing."
            )
    normalise(notebook)
    update_measured(notebook, measured)
    if path.read_bytes() != before:
        raise NotebookError(
            f"{name}: was changed while it ran; nothing written, run it again."
        )
    if inputs(notebook, root) != inputs_before:
        raise NotebookError(
            f"{name}: what it imports or reads was changed while it ran; nothing "
            "written, run it again."
        )
    write_text(path, dumps(notebook))
    if path.resolve().parent.parent == root.resolve():
        record(name, notebook, measured, root)
    return measured


def update_measured(notebook: NotebookNode, measured: Measured) -> None:
    """Fill in the first cell's measured sentence; one that is still about right stays
    as it is.
    """
    first = notebook.cells[0]
    if not MEASURED.search(first.source):
        return
    stated = measured_numbers(first.source)
    if (
        stated
        and close_enough(stated[0], measured.seconds, slack=1)
        and close_enough(stated[1], measured.memory_mb / 1000, slack=0.1)
    ):
        return
    sentence = measured_line(measured.seconds, measured.memory_mb)
    first.source = MEASURED.sub(lambda _: sentence, first.source, count=1)


def record(
    name: str, notebook: NotebookNode, measured: Measured, root: Path = ROOT
) -> None:
    """Keep what was measured in book/status.json; two runs may end at once."""
    if Path(name).parent.as_posix() not in TIME_LIMITS:
        return
    path = root / STATUS
    # One lock a checkout, outside of it.
    checkout = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    lock = Path(tempfile.gettempdir()) / f"finetuning-status-{checkout}.lock"
    with FileLock(lock):
        status = json.loads(path.read_text()) if path.exists() else {}
        status[name] = {
            "cells": {
                cell: round(seconds, 1)
                for cell, seconds in measured.cells.items()
                if seconds >= LISTED_CELL
            },
            "date": datetime.date.today().isoformat(),
            "key": run_key(notebook, root),
            "memory_mb": round(measured.memory_mb),
            "python": platform.python_version(),
            "seconds": round(measured.seconds, 1),
            "torch": version("torch"),
            "transformers": version("transformers"),
        }
        status = {key: value for key, value in status.items() if (root / key).exists()}
        write_text(path, json.dumps(status, indent=1, sort_keys=True) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Execute notebooks and keep their outputs."
    )
    parser.add_argument(
        "notebooks",
        nargs="+",
        metavar="NB",
        help="paths, patterns (chapters/*.ipynb), or several in one argument",
    )
    parser.add_argument(
        "--timeout", type=float, default=CELL_TIMEOUT, help="seconds a cell may take"
    )
    parser.add_argument(
        "--traceback",
        action="store_true",
        help="show the whole stack of a failing cell",
    )
    arguments = parser.parse_args()
    failed = False
    for path in notebook_paths(arguments.notebooks):
        try:
            measured = execute(
                path, timeout=arguments.timeout, trace=arguments.traceback
            )
        except NotebookError as error:
            print(error, file=sys.stderr)
            failed = True
            continue
        except OSError as error:
            print(
                f"{display(path)}: what came out could not be written: {error}. Make "
                "room, or make its folder writable, and run it again.",
                file=sys.stderr,
            )
            failed = True
            continue
        name = display(path)
        print(f"{name}: {measured.seconds:.0f} s, {measured.memory_mb:.0f} MB")
        limit = TIME_LIMITS.get(Path(name).parent.as_posix())
        if limit and measured.seconds > limit:
            print(
                f"{name}: took {measured.seconds:.0f} s; at most {limit} s are "
                "allowed (it was written).",
                file=sys.stderr,
            )
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
