"""`pytest --remember` does not run again a group of tests that has passed; loaded by
the conftest.py at the root. `make test` asks for it.

A group (tests/sharing.py) that has passed whole leaves a file in .verified, named by
its key: a hash of the files that it depends on, which tests/reads.yml names. While a
test runs, the files that it opens are watched: one that its row does not hold makes it
fail. With `ALL=1`, and on a fresh checkout, everything runs.
"""

import functools
import hashlib
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from key import PROCESSOR_VARIABLES
from notebooks import read
from sharing import SPLIT_BY_CHAPTER, group_of
from tree_files import tree_files
from verified_notebooks import Verified

READS = "tests/reads.yml"
SITE = "_build/html"


# Rows


@dataclass(frozen=True)
class Files:
    """Some of the files: those that a pattern names, and what of them counts."""

    pattern: re.Pattern
    excluded: bool = False
    code_only: bool = False


@functools.cache
def expression(pattern: str) -> re.Pattern:
    """`*` stands for any name, `**` for any folders, too."""
    parts = re.split(r"(\*\*|\*)", pattern)
    replaced = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(replaced.get(part, re.escape(part)) for part in parts))


def files(text: str, chapter: str) -> Files:
    """What one entry of a row names."""
    excluded = text.startswith("!")
    text = text.removeprefix("!").replace("{chapter}", chapter)
    code_only = text.startswith("code of ")
    text = text.removeprefix("code of ")
    if text.startswith("built "):
        text = f"{SITE}/{text.removeprefix('built ')}"
    return Files(expression(text), excluded, code_only)


EVERY_FILE = files("**", "")


class Reads:
    """What each group of tests depends on, by tests/reads.yml."""

    def __init__(self, root: Path) -> None:
        path = root / READS
        text = path.read_text(encoding="utf-8") if path.exists() else "{}"
        content = yaml.safe_load(text)
        self.always = content.get("always", [])
        self.rows = content.get("rows", [])

    @functools.cache  # noqa: B019 -- one object a run
    def of(self, group: str) -> list[Files] | None:
        """The files that count for a group; None where all do."""
        row = self.row(group)
        if row is None:
            return None
        path, _, chapter = group.partition(" ")
        texts = [*self.always, path, *row["reads"]]
        return [files(text, chapter) for text in texts]

    def row(self, group: str) -> dict[str, list[str]] | None:
        """The first row that names the group."""
        for row in self.rows:
            if any(expression(name).fullmatch(group) for name in row["tests"]):
                return row
        return None

    def holds(self, group: str, name: str) -> Files | None:
        """The entry of the group's row that holds a file, or None."""
        entries = self.of(group)
        if entries is None:  # the built site is made of all the others
            return None if name.startswith(SITE) else EVERY_FILE
        last = None
        for entry in entries:
            if entry.pattern.fullmatch(name):
                last = entry
        return None if last is None or last.excluded else last


# Keys


class RepositoryFiles:
    """The files as they are now, and the keys of groups of tests by them."""

    def __init__(self, root: Path, reads: Reads) -> None:
        self.root = root
        self.reads = reads
        site = root / SITE
        built = [path for path in site.rglob("*") if path.is_file()]
        self.names = tree_files(root)
        self.names += sorted(path.relative_to(root).as_posix() for path in built)

    def key(self, group: str) -> str:
        """A hash of the files that a group depends on."""
        variables = [os.environ.get(name, "") for name in PROCESSOR_VARIABLES]
        lines = [group, platform.python_version(), platform.machine(), *variables]
        for name in self.names:
            entry = self.reads.holds(group, name)
            if entry:
                lines.append(f"{name} {self.digest(name, entry.code_only)}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    @functools.cache  # noqa: B019 -- one object a run
    def digest(self, name: str, code_only: bool) -> str:
        """The hash of one file, or of the code cells of a notebook."""
        path = self.root / name
        content = path.read_bytes()
        if code_only:
            cells = read(path, self.root).cells
            code = [cell.source for cell in cells if cell.cell_type == "code"]
            content = "\0".join(code).encode()
        return hashlib.sha256(content).hexdigest()

    def changed_since(self, moment: float, group: str) -> bool:
        """Whether one of these files was changed or is gone."""
        counted = [name for name in self.names if self.reads.holds(group, name)]
        paths = [self.root / name for name in counted]
        return any(not path.exists() or path.stat().st_mtime > moment for path in paths)


# What a test opens


class Watch:
    """Notes the sources below `root` that are opened while a group's tests run."""

    def __init__(self, root: Path, reads: Reads) -> None:
        self.root = str(root) + os.sep
        self.sources = set(tree_files(root))
        self.reads = reads
        self.group: str | None = None
        self.seen: set[tuple[str, str]] = set()
        self.unnamed: list[str] = []
        sys.addaudithook(self.heard)

    def heard(self, event: str, arguments: tuple) -> None:
        """What Python calls for each event; of `open`, the path is the first argument,
        a path or the number of an open file.
        """
        if event != "open" or self.group is None or not isinstance(arguments[0], str):
            return
        path = os.path.abspath(arguments[0])
        if not path.startswith(self.root) or (self.group, path) in self.seen:
            return
        self.seen.add((self.group, path))
        name = source_of(path.removeprefix(self.root).replace(os.sep, "/"))
        if name in self.sources and not self.reads.holds(self.group, name):
            self.unnamed.append(name)


def source_of(name: str) -> str:
    """The module that a compiled one in __pycache__ comes from."""
    return re.sub(r"__pycache__/([^/.]+)\.[^/]*\.pyc.*$", r"\1.py", name)


# The plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--remember",
        action="store_true",
        help="leave out tests that have passed and whose files are still the same",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.remember:
        return
    root, reads = config.rootpath, Reads(config.rootpath)
    if hasattr(config, "workerinput"):
        passed = config.workerinput["verified_tests"]
        config.pluginmanager.register(Worker(root, reads, passed))
        return
    part = config.option.keyword or config.option.markexpr or "::" in str(config.args)
    if part or config.option.dist == "no":
        raise pytest.UsageError("--remember goes with -n, and with whole files only")
    config.pluginmanager.register(VerifiedTests(root, reads))


class Worker:
    """In each process: leaves out what has passed, and watches what tests open."""

    def __init__(self, root: Path, reads: Reads, passed: list[str]) -> None:
        self.root = root
        self.passed = set(passed)
        self.watch = Watch(root, reads)

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """A file that is one group need not be loaded."""
        if collection_path.is_relative_to(self.root):
            name = collection_path.relative_to(self.root).as_posix()
            if name in self.passed and name not in SPLIT_BY_CHAPTER:
                return True
        return None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if group_of(item.nodeid) not in self.passed]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        if item.nodeid.startswith("tests/"):
            self.watch.group = group_of(item.nodeid)
        try:
            return (yield)
        finally:
            self.watch.group = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        result = yield
        names = sorted(set(self.watch.unnamed))
        self.watch.unnamed.clear()
        if names:
            pytest.fail(
                f"This test opens {', '.join(names)}, which its row in {READS} does "
                "not hold: add it there.",
                pytrace=False,
            )
        return result


class VerifiedTests(Verified):
    """In the process that leads: which groups have passed, and which pass now."""

    def __init__(self, root: Path, reads: Reads) -> None:
        self.started = time.time()
        self.files = RepositoryFiles(root, reads)
        keys = {group: self.files.key(group) for group in groups(root)}
        super().__init__(root, keys, "verified_tests")
        self.waiting: dict[str, set[str]] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Each process collects the same tests."""
        if not self.waiting:
            for nodeid in ids:
                self.waiting.setdefault(group_of(nodeid), set()).add(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep that a group has passed with its last test: an interrupted run has not
        run in vain.
        """
        group = group_of(report.nodeid)
        if not report.passed:
            self.failed.add(group)
        if report.when != "teardown" or group not in self.keys:
            return
        self.waiting[group].discard(report.nodeid)
        complete = not self.waiting[group] and group not in self.failed
        # Which contents of a file that was changed meanwhile they have seen nobody
        # knows.
        if complete and not self.files.changed_since(self.started, group):
            self.remember(group)

    def pytest_terminal_summary(self, terminalreporter) -> None:
        if self.skipped:
            terminalreporter.write_line(
                f"Of {len(self.keys)} groups of tests {len(self.skipped)} have passed "
                "before, with no file changed that they depend on, and were not run "
                "(ALL=1 runs them)"
            )


def groups(root: Path) -> list[str]:
    """The groups that there may be, by the names of files and chapters."""
    names = []
    chapters, solved = (
        sorted(path.name[:2] for path in (root / folder).glob("*.ipynb"))
        for folder in ("chapters", "solutions")
    )
    for path in sorted((root / "tests").glob("*/test_*.py")):
        name = path.relative_to(root).as_posix()
        names.append(name)
        if name in SPLIT_BY_CHAPTER:
            # Checks are those of chapters with exercises.
            numbers = solved if name.startswith("tests/checks/") else chapters
            names += [f"{name} {number}" for number in numbers]
    return names
