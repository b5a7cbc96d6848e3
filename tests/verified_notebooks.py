"""`pytest --nbval` does not execute a notebook again that has passed; loaded by the
conftest.py at the root.

A notebook whose cells have all passed leaves a file in .verified, named by its key
(tools/key.py), which changes with everything that the verdict depends on. Where that
file is there, the notebook is not collected, and the summary says so. A notebook that
is named on the command line is executed, and so is every one with `ALL=1`, which
continuous integration sets on main, weekly and for a release.
"""

import datetime
import os
from collections import Counter
from pathlib import Path

import pytest
from notebooks import NotebookError, read

FOLDER = ".verified"
SKIPPED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.nbval:
        return
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist is told
        config.stash[SKIPPED] = config.workerinput["verified_notebooks"]
    else:
        verified = VerifiedNotebooks(config.rootpath)
        config.stash[SKIPPED] = verified.skipped
        config.pluginmanager.register(verified)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what has passed; pytest does not ask for what a command line names."""
    skipped = config.stash.get(SKIPPED, [])
    if not skipped or not collection_path.is_relative_to(config.rootpath):
        return None
    name = collection_path.relative_to(config.rootpath).as_posix()
    return True if name in skipped else None


def everything_runs() -> bool:
    """Whether the environment asks for every notebook."""
    return os.environ.get("ALL") == "1"


class Verified:
    """What has passed before, by its key, and a place to keep what passes now."""

    def __init__(self, root: Path, keys: dict[str, str], worker_input: str) -> None:
        self.folder = root / FOLDER
        self.keys = keys
        self.worker_input = worker_input
        self.skipped = [
            name
            for name, key in keys.items()
            if (self.folder / key).exists() and not everything_runs()
        ]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node) -> None:
        """Tell a worker of pytest-xdist, so that all of them skip the same."""
        node.workerinput[self.worker_input] = self.skipped

    def remember(self, name: str) -> None:
        self.folder.mkdir(exist_ok=True)
        text = f"{name} passed on {datetime.date.today().isoformat()}\n"
        (self.folder / self.keys[name]).write_text(text, encoding="utf-8")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.skipped:
            session.exitstatus = pytest.ExitCode.OK


class VerifiedNotebooks(Verified):
    """A plugin of pytest that knows which notebooks have passed, and which pass now."""

    def __init__(self, root: Path) -> None:
        from key import verification_key  # needs torch, and only notebooks need it

        keys: dict[str, str] = {}
        self.cells: dict[str, int] = {}
        self.passed: Counter[str] = Counter()
        for folder in ("chapters", "solutions"):
            for path in sorted((root / folder).glob("*.ipynb")):
                name = f"{folder}/{path.name}"
                try:
                    notebook = read(path, root)
                except NotebookError:  # nbval says what is wrong with it
                    continue
                keys[name] = verification_key(notebook, root)
                kinds = Counter(cell.cell_type for cell in notebook.cells)
                self.cells[name] = kinds["code"]
        super().__init__(root, keys, "verified_notebooks")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep that a notebook has passed with its last cell: an interrupted run has
        not run in vain.
        """
        if report.when != "call" or not report.passed:
            return
        name = report.nodeid.partition("::")[0]
        self.passed[name] += 1
        if name in self.complete():
            self.remember(name)

    def complete(self) -> list[str]:
        """The notebooks of which every code cell has passed now."""
        return [
            name for name, cells in self.cells.items() if self.passed[name] == cells > 0
        ]

    def pytest_terminal_summary(self, terminalreporter) -> None:
        write = terminalreporter.write_line
        complete = self.complete()
        if complete:
            write(f"Notebooks executed, every cell as committed: {len(complete)}")
        for name in complete:
            write(f"  {name}")
        if self.skipped:
            write(
                "Notebooks that have passed before, with nothing changed that they "
                f"depend on, and were not executed: {len(self.skipped)} (ALL=1 "
                "executes them)"
            )
        for name in self.skipped:
            write(f"  {name}")
