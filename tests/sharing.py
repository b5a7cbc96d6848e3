"""How the processes of pytest-xdist share the tests, and what each kind of them takes;
loaded by the conftest.py at the root.

What belongs together stays in one process: the cells of a notebook, which share a
kernel, and the tests of a file, which share what is slow to load; of two long files the
tests of a chapter. Groups that took longest when they last ran here come first: else
one process would work alone at the end. For notebooks that never ran here,
book/status.json knows the time.

At the end a table shows the seconds of each kind of test, and the slowest tests and
cells. They are those of a clock: on a busy machine they are more.
"""

import json
import os
import re
from collections import Counter

import psutil
import pytest

# Two processes with one thread each are faster than one with two; a third fills the
# time in which others wait for a browser or a kernel. Beyond four, the longest notebook
# decides.
MOST_WORKERS = 4
MORE_THAN_CORES = 1
# What a process has loaded, and a notebook's kernel.
BYTES_A_WORKER = 4e9
# Where pytest's cache keeps the seconds of each group, and what one takes of which
# nothing is known.
SECONDS_OF_GROUPS = "sharing/seconds"
UNKNOWN_SECONDS = 60.0
SLOWEST = 20

SPLIT_BY_CHAPTER = (
    "tests/checks/test_checks.py",
    "tests/checks/test_harness.py",
    "tests/site/test_browser.py",
)
CHAPTER = re.compile(r"\[(?:ch|chapters/|exercises/|solutions/)?(?P<number>\d\d)[-_]")


def group_of(nodeid: str) -> str:
    """The group of a test: its file, and in long files its chapter."""
    path, _, test = nodeid.partition("::")
    chapter = CHAPTER.search(test)
    if path in SPLIT_BY_CHAPTER and chapter:
        return f"{path} {chapter['number']}"
    return path


# Processes


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means: a process for each core and one more, as far as there is
    memory.
    """
    return workers(os.cpu_count() or 1, psutil.virtual_memory().total)


def workers(cores: int, memory: int) -> int:
    """How many processes share the tests on a machine with so much memory, in bytes."""
    return max(
        1, min(cores + MORE_THAN_CORES, int(memory / BYTES_A_WORKER), MOST_WORKERS)
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Share by groups, unless `--dist` asks for something else.

    The groups are read off the tests' names. The marks that pytest-xdist 3.8 reads for
    `--dist loadgroup` do nothing: it writes them where pytest 9.2 does not look.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    if config.getvalue("dist") not in ("load", "loadgroup"):
        return None
    config.option.loadscopereorder = False  # else by the number of their tests
    return ByGroup(config, log)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Sort, and send each test's kind, and a cell's id, along with its report."""
    for item in items:
        item.user_properties.append(("kind", kind_of(item)))
        if hasattr(item, "cell"):
            item.user_properties.append(("cell", item.cell.get("id", "?")))
    if hasattr(config, "workerinput"):
        seconds = known_seconds(config)
        items.sort(
            key=lambda item: -seconds.get(group_of(item.nodeid), UNKNOWN_SECONDS)
        )


def known_seconds(config: pytest.Config) -> dict[str, float]:
    """What each group took when it last ran."""
    path = config.rootpath / "book" / "status.json"
    status = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    committed = {name: run["seconds"] for name, run in status.items()}
    return committed | kept_seconds(config)


def kept_seconds(config: pytest.Config) -> dict[str, float]:
    cache = getattr(config, "cache", None)
    return cache.get(SECONDS_OF_GROUPS, {}) if cache else {}


# The table


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "dist", "no") != "no":
        config.pluginmanager.register(Timings(config))


def kind_of(item: pytest.Item) -> str:
    """What the table counts a test as."""
    folder, _, file = item.nodeid.partition("::")[0].rpartition("/")
    if "browser" in getattr(item, "fixturenames", []):
        return "browser"
    if folder == "tests/checks" and "wrong_answer" in item.name:
        return "wrong answers"
    if folder == "tests/checks" and "blank" in item.name:
        return "blanks"
    if file == "test_nbval_gate.py":
        return "comparison"
    units = ("tests/scratch", "tests/support")
    return "units" if folder in units else folder.removeprefix("tests/")


class Timings:
    """Adds up what each test takes, with its setup and teardown."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.tests: Counter[str] = Counter()
        self.kinds: dict[str, str] = {}
        self.groups: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name, properties = report.nodeid, dict(report.user_properties)
        if "cell" in properties:
            name = f"{name.partition('::')[0]}, cell '{properties['cell']}'"
        self.tests[name] += report.duration
        self.kinds[name] = properties["kind"]
        self.groups[group_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        cache = getattr(self.config, "cache", None)
        if cache:
            new = {group: round(value, 1) for group, value in self.groups.items()}
            cache.set(SECONDS_OF_GROUPS, kept_seconds(self.config) | new)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        terminalreporter.section("seconds")
        for line in self.table():
            terminalreporter.write_line(line)

    def table(self) -> list[str]:
        """Kinds and slowest tests, the longest first."""
        seconds: Counter[str] = Counter()
        for name, value in self.tests.items():
            seconds[self.kinds[name]] += value
        counts = Counter(self.kinds.values())
        lines = [f"{'kind':15}{'tests':>7}{'seconds':>9}"]
        for kind, value in seconds.most_common():
            lines.append(f"{kind:15}{counts[kind]:7}{value:9.1f}")
        lines.append(f"{'all':15}{sum(counts.values()):7}{sum(seconds.values()):9.1f}")
        lines += ["", f"the {SLOWEST} slowest tests and cells"]
        for name, value in self.tests.most_common(SLOWEST):
            lines.append(f"{value:7.1f}  {name}")
        return lines
