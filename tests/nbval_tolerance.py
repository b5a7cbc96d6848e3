"""How nbval compares a notebook's committed outputs with fresh ones; loaded by the
conftest.py at the root.

nbval compares text character by character, so that a difference in the seventh digit
fails, and leaves pictures out. Here the text around the numbers must be the same, whole
numbers must be the same, and other numbers may differ by a share of their size (1e-3,
or the cell's metadata `nbval_tolerance`). Pictures must be there or not be there as
they were, and of the same kind; their pixels depend on fonts.

nbval also lets pass what must not: a cell committed without having been run,
`raises-exception` with nothing raised, whatever follows a timeout (as expected
failures), a skipped cell. Here each of these fails.
"""

import json
import math
import operator
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import nbval.plugin
import pytest
from notebooks import environment

TOLERANCE = 1e-3
# A chapter takes 120 s at most, but a machine may be busy with other things.
CELL_TIMEOUT = 1800
STARTUP_TIMEOUT = 600
# nbval's own defaults.
NBVAL_CELL_TIMEOUT = 2000
NBVAL_STARTUP_TIMEOUT = 60

# A number with a fraction or an exponent, nan or inf; with its sign unless that is a
# hyphen or a dash. Not part of a word (v1.5), nor of a version or an address (2.13.0,
# 127.0.0.1). Whole numbers are left to the text, which is compared exactly; "3." is a
# number only where a tensor or a list goes on behind it.
NUMBER = re.compile(
    r"""
    [ \t]*  # padding depends on the neighbours' signs and digits
    (?<![\w.])
    (?P<number>
      [-+−]?
      (?: (?:\d+\.\d+ | \.\d+) (?:[eE][-+]?\d+)?
        | \d+[eE][-+]?\d+ (?![\w])
        | \d+\. (?=\s*[,\]\)])
        | (?:nan|inf) (?![\w])
      )
    )
    (?!\d) (?!\.\d)
    [ \t]*
    """,
    re.VERBOSE,
)
HOLE = "‹number›"


def split(text: str) -> tuple[str, list[str]]:
    """The text with a hole for every number that may differ, and those numbers as they
    are written.
    """
    numbers: list[str] = []

    def take(found: re.Match[str]) -> str:
        numbers.append(found["number"])
        return HOLE

    skeleton = re.sub(r"[ \t]+", " ", NUMBER.sub(take, text))
    return "\n".join(line.rstrip() for line in skeleton.rstrip().split("\n")), numbers


# A claim's measured number with its bounds, as `finetuning.claims` prints them.
CLAIM = "✓ "
BOUNDED = re.compile(
    r"^  (?P<number>[-\d.,e+]+|inf)(?P<bounds>(?: (?:and )?[<>≤≥] [-\d.,e+]+)+)$"
)
COMPARISONS = {">": operator.gt, "≥": operator.ge, "<": operator.lt, "≤": operator.le}


def without_measured(text: str) -> str:
    """The text with a hole for each claim's number that lies in the bounds beside it.

    The bounds say how far such a number may move from machine to machine; they stay,
    and so does a number that is outside of them.
    """
    lines, in_claim = [], False
    for line in text.split("\n"):
        found = BOUNDED.match(line) if in_claim else None
        if found and _in_bounds(found["number"], found["bounds"]):
            line = f"  ‹in bounds›{found['bounds']}"
        in_claim = line.startswith(CLAIM) or (in_claim and line.startswith("  "))
        lines.append(line)
    return "\n".join(lines)


def _in_bounds(number: str, bounds: str) -> bool:
    value = _float(number)
    return all(
        COMPARISONS[sign](value, _float(bound))
        for sign, bound in re.findall(r"([<>≤≥]) (\S+)", bounds)
    )


def same_number(committed: str, fresh: str, tolerance: float) -> bool:
    """Whether two numbers, as written, are the same within `tolerance` of the larger
    one's size.
    """
    left, right = (float(text.replace("−", "-")) for text in (committed, fresh))
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    if math.isinf(left) or math.isinf(right):
        return left == right
    if committed.endswith(".") and fresh.endswith("."):  # a tensor of whole numbers
        return left == right
    return abs(left - right) <= tolerance * max(abs(left), abs(right))


def difference(committed: str, fresh: str, tolerance: float = TOLERANCE) -> str | None:
    """What differs between two texts, in one sentence; None where they agree."""
    left, left_numbers = split(without_measured(committed))
    right, right_numbers = split(without_measured(fresh))
    if left != right:
        ours, theirs = left.split("\n"), right.split("\n")
        for number, (old, new) in enumerate(zip(ours, theirs, strict=False), start=1):
            if old != new:
                return (
                    f"line {number}: committed {_line(committed, number)!r}, now "
                    f"{_line(fresh, number)!r}"
                )
        return f"committed {len(ours)} lines, now {len(theirs)}"
    for old, new in zip(left_numbers, right_numbers, strict=True):
        if not same_number(old, new, tolerance):
            return f"committed {old}, now {new}; a share of {tolerance:g} is allowed"
    return None


def drift(committed: str, fresh: str, tolerance: float = TOLERANCE) -> float:
    """How far the numbers of two texts that agree lie apart, as a share of what is
    allowed: of the tolerance, and for a claim of the way to its bound.
    """
    shares = [0.0]
    for old, new in zip(_claims(committed), _claims(fresh), strict=True):
        shares += [
            abs(new[0] - old[0]) / abs(old[0] - bound) if old[0] != bound else math.inf
            for bound in old[1]
            if new[0] != old[0]
        ]
    _, left = split(without_measured(committed))
    _, right = split(without_measured(fresh))
    for old, new in zip(left, right, strict=True):
        first = float(old.replace("−", "-"))
        second = float(new.replace("−", "-"))
        largest = max(abs(first), abs(second))
        if first != second and math.isfinite(largest):
            shares.append(abs(first - second) / (tolerance * largest))
    return max(shares)


def _claims(text: str) -> list[tuple[float, list[float]]]:
    """Each claim's number and bounds."""
    found = []
    for line in text.split("\n"):
        match = BOUNDED.match(line)
        if match and _in_bounds(match["number"], match["bounds"]):
            bounds = re.findall(r"[<>≤≥] (\S+)", match["bounds"])
            found.append((_float(match["number"]), [_float(each) for each in bounds]))
    return found


def _float(text: str) -> float:
    return float(text.replace(",", ""))


def _line(text: str, number: int) -> str:
    return text.rstrip().split("\n")[number - 1]


def parts(output: dict[str, Any]) -> dict[str, str | None]:
    """What is compared of an output, by name; None for a picture, of which only the
    kind is compared.
    """
    if output["output_type"] == "stream":
        return {output["name"]: output["text"]}
    if output["output_type"] == "error":
        return {"error": f"{output['ename']}: {output['evalue']}"}
    found: dict[str, str | None] = {}
    for kind, content in output.get("data", {}).items():
        if kind.startswith("image/"):
            found[kind] = None
        else:
            found[kind] = (
                content
                if isinstance(content, str)
                else json.dumps(content, sort_keys=True)
            )
    return found


def describe(outputs: Iterable[dict[str, Any]]) -> str:
    names = [
        f"{output['output_type']} ({', '.join(sorted(parts(output)))})"
        for output in outputs
    ]
    return ", ".join(names) or "nothing"


class Cell(nbval.plugin.IPyNbCell):
    """A code cell that is run and compared as described at the top of this file."""

    @property
    def number(self) -> int:
        """The cell's place in the notebook, Markdown cells counted, from 1."""
        return 1 + next(
            at for at, cell in enumerate(self.parent.nb.cells) if cell is self.cell
        )

    def raise_cell_error(self, message: str, *arguments: Any, **keywords: Any) -> None:
        where = f"{self.path.name}, cell '{self.cell.get('id', '?')}' ({self.number})"
        super().raise_cell_error(f"{where}: {message}", *arguments, **keywords)

    def repr_failure(self, excinfo: pytest.ExceptionInfo) -> str:
        """File, cell and what is wrong first: pytest's summary shows the first line."""
        error = excinfo.value
        if not isinstance(error, nbval.plugin.NbCellError):
            return super().repr_failure(excinfo)
        return "\n\n".join(
            part for part in (str(error), error.source, error.inner_traceback) if part
        )

    def setup(self) -> None:
        # nbval would mark this cell as expected to fail; it would wait for the busy
        # kernel, cell by cell.
        if self.parent.timed_out:
            self.raise_cell_error("not run: an earlier cell did not finish in time.")

    def runtest(self) -> None:
        marks = self.cell.metadata.get("tags", [])
        if self.options["skip"]:
            self.raise_cell_error(
                "is marked to be skipped; every cell of the book runs."
            )
        if self.cell.source.strip() and self.cell.execution_count is None:
            self.raise_cell_error(
                "is committed without having been run: use `make run NB=…`."
            )
        if any(output.get("name") == "stderr" for output in self.cell.outputs):
            self.raise_cell_error("has output on stderr committed.")
        super().runtest()
        if self.parent.timed_out:  # the cell swallowed the interruption
            self.raise_cell_error("did not finish in time.")
        if any(output.get("name") == "stderr" for output in self.test_outputs):
            self.raise_cell_error("writes to stderr.")
        raised = any(output["output_type"] == "error" for output in self.test_outputs)
        if "raises-exception" in marks and not raised:
            self.raise_cell_error("is tagged raises-exception and raised nothing.")

    def compare_outputs(self, test: list, ref: list, skip_compare: Any = None) -> bool:
        """Compare fresh outputs (`test`) with committed ones (`ref`), in order, and say
        what differs.
        """
        tolerance = self.cell.metadata.get("nbval_tolerance", TOLERANCE)
        self.comparison_traceback = []
        if [sorted(parts(output)) for output in ref] != [
            sorted(parts(output)) for output in test
        ] or [output["output_type"] for output in ref] != [
            output["output_type"] for output in test
        ]:
            self.comparison_traceback.append(
                f"committed: {describe(ref)}\nnow: {describe(test)}"
            )
            for output in test:
                self.comparison_traceback += [
                    text for text in parts(output).values() if text
                ]
            return False
        for number, (committed, fresh) in enumerate(
            zip(ref, test, strict=True), start=1
        ):
            new = parts(fresh)
            for kind, text in parts(committed).items():
                found = (
                    None
                    if text is None
                    else difference(text, new[kind] or "", tolerance)
                )
                if found:
                    self.comparison_traceback.append(
                        f"output {number} ({kind}): {found}"
                    )
                    return False
        return True


def collect(notebook: nbval.plugin.IPyNbFile) -> Iterator[Cell]:
    """nbval's collection of a notebook, with cells of our class.

    nbval's classes name themselves (`super(IPyNbCell, self)`), so that no subclass can
    be put in their place.
    """
    for item in nbval_collect(notebook):
        item.__class__ = Cell
        yield item


nbval_collect = nbval.plugin.IPyNbFile.collect


nbval_setup = nbval.plugin.IPyNbFile.setup


def setup(notebook: nbval.plugin.IPyNbFile) -> None:
    """nbval's start of a notebook's kernel, which inherits the book's environment."""
    with mock.patch.dict(os.environ, environment(), clear=True):
        nbval_setup(notebook)


def pytest_configure(config: pytest.Config) -> None:
    if not (config.option.nbval or config.option.nbval_lax):
        return
    nbval.plugin.IPyNbFile.collect = collect
    nbval.plugin.IPyNbFile.setup = setup
    # Whatever kernels a machine has: the one with the pinned packages.
    config.option.nbval_current_env = True
    if config.option.nbval_cell_timeout == NBVAL_CELL_TIMEOUT:
        config.option.nbval_cell_timeout = CELL_TIMEOUT
    if config.option.nbval_kernel_startup_timeout == NBVAL_STARTUP_TIMEOUT:
        config.option.nbval_kernel_startup_timeout = STARTUP_TIMEOUT
    if getattr(config.option, "numprocesses", None) and config.option.dist not in (
        "load",
        "loadgroup",
        "loadfile",
        "no",
    ):
        raise pytest.UsageError(
            "a notebook's cells share one kernel: leave --dist out, and each notebook "
            "stays in one process (tests/sharing.py)"
        )
