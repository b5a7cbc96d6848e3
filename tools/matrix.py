"""Run the notebooks as other processors would: python tools/matrix.py [NB…]

A processor with AVX-512 and one without add in another order, two threads in another
than one. What the book prints and claims must survive that. Each notebook is executed
under every setting and compared with its committed outputs exactly as the tests
compare. Written to book/matrix.json, and shown on the status page: the cells whose
numbers move by more than a tenth of what they may.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from notebooks import (
    ROOT,
    NotebookError,
    NotebookNode,
    Place,
    display,
    dumps,
    notebook_paths,
    numbered,
    read,
    tags,
    write_text,
)

RESULTS = Path("book/matrix.json")
# A number that moves by a larger share of its tolerance than this is listed.
NOTABLE = 0.1

# What a processor is made to look like: to PyTorch, oneDNN, MKL and OpenBLAS.
PROCESSORS = {
    "default": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "OPENBLAS_CORETYPE": "SkylakeX",
    },
}
THREADS = ("1", "2")
BFLOAT16 = ("slow", "fast")


def settings(has_avx512: bool) -> dict[str, dict[str, str]]:
    """Environments by name.

    Every processor with every number of threads; bfloat16 alternates, so that each
    processor and each number of threads meets it both fast and slow.
    """
    processors = [name for name in PROCESSORS if has_avx512 or name != "avx512"]
    chosen = {}
    for number, (processor, threads) in enumerate(
        itertools.product(processors, THREADS)
    ):
        bfloat16 = BFLOAT16[(number + number // len(THREADS)) % 2]
        name = f"{processor}, {threads} threads, bfloat16 {bfloat16}"
        chosen[name.replace("1 threads", "1 thread")] = PROCESSORS[processor] | {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            # Threads that wait sleep: spinning, they would slow each other down.
            "OMP_WAIT_POLICY": "PASSIVE",
            "FINETUNING_BFLOAT16": bfloat16,
        }
    return chosen


@dataclass(frozen=True)
class Cell:
    """How one cell came out under one setting."""

    notebook: str
    cell: str
    number: int
    setting: str
    problem: str | None  # what the tests would say, where they would fail
    share: float  # of what its numbers may move, how much they did


def compare(committed: NotebookNode, fresh: NotebookNode) -> Iterator[tuple]:
    """Number, id, problem and share for each code cell that is compared."""
    for (number, old), (_, new) in zip(
        numbered(committed), numbered(fresh), strict=True
    ):
        if old.cell_type != "code":
            continue
        problem, share = compare_outputs(
            old.outputs,
            new.outputs,
            old.metadata.get("nbval_tolerance"),
            ignored="nbval-ignore-output" in tags(old),
            may_raise="raises-exception" in tags(old),
        )
        yield number, old.id, problem, share


def compare_outputs(
    committed: list[NotebookNode],
    fresh: list[NotebookNode],
    tolerance: float | None,
    *,
    ignored: bool,
    may_raise: bool,
) -> tuple[str | None, float]:
    """What the tests would say of fresh outputs, and the share of the tolerance that
    their numbers moved by.
    """
    from nbval_tolerance import TOLERANCE, describe, difference, drift, parts

    tolerance = TOLERANCE if tolerance is None else tolerance
    if not may_raise:
        for output in fresh:
            if output.output_type == "error":
                return f"{output.ename}: {str(output.evalue).splitlines()[0]}", 0.0
    if ignored:
        return None, 0.0
    kinds = [(output.output_type, sorted(parts(output))) for output in committed]
    if kinds != [(output.output_type, sorted(parts(output))) for output in fresh]:
        return f"committed: {describe(committed)}; now: {describe(fresh)}", 0.0
    share = 0.0
    for old, new in zip(committed, fresh, strict=True):
        texts = parts(new)
        for kind, text in parts(old).items():
            if text is None:
                continue
            problem = difference(text, texts[kind] or "", tolerance)
            if problem:
                return problem, 0.0
            share = max(share, drift(text, texts[kind] or "", tolerance))
    return None, share


def run(name: str, setting: str, environment: dict[str, str], root: Path) -> list[Cell]:
    """Execute one notebook under one setting; the executed copy stays below _build."""
    from execute import CellTimeoutError, DeadKernelError, run_cells

    path = root / name
    committed = read(path, root)
    fresh = read(path, root)
    try:
        run_cells(fresh, path.parent, allow_errors=True, settings=environment)
    except (CellTimeoutError, DeadKernelError) as error:
        number = error.number
        what = type(error).__name__
        cell = committed.cells[number - 1].id
        return [Cell(name, cell, number, setting, f"did not finish ({what})", 0.0)]
    copy = root / "_build" / "matrix" / setting.replace(", ", "-") / name
    write_text(copy, dumps(fresh))
    return [
        Cell(name, cell, number, setting, problem, share)
        for number, cell, problem, share in compare(committed, fresh)
    ]


def report(cells: list[Cell]) -> list[str]:
    """A line for each cell that the tests would refuse under some setting."""
    return [
        f"{place}: {cell.setting}: {cell.problem}"
        for cell in cells
        if cell.problem
        for place in [Place(cell.notebook, cell.cell, cell.number)]
    ]


def moving(cells: list[Cell]) -> list[dict[str, object]]:
    """The cells whose numbers move notably, with the setting that moves it most."""
    most: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        key = (cell.notebook, cell.cell)
        if cell.share > max(NOTABLE, most[key].share if key in most else 0.0):
            most[key] = cell
    kept = ("notebook", "cell", "setting", "share")
    return [
        {name: asdict(cell)[name] for name in kept}
        | {"share": round(min(cell.share, 1.0), 2)}
        for _, cell in sorted(most.items())
    ]


def keep(cells: list[Cell], names: list[str], root: Path) -> None:
    """Put what was measured into book/matrix.json; other notebooks' entries stay."""
    path = root / RESULTS
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    others = [
        entry
        for entry in kept
        if entry["notebook"] not in names and (root / entry["notebook"]).exists()
    ]
    entries = sorted(
        others + moving(cells), key=lambda entry: (entry["notebook"], entry["cell"])
    )
    write_text(path, json.dumps(entries, indent=1) + "\n")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(
        description="Run the notebooks as other processors would, and compare."
    )
    parser.add_argument("notebooks", nargs="*", metavar="NB")
    parser.add_argument(
        "--setting", action="append", help="only settings whose name holds this"
    )
    parser.add_argument("--workers", type=int, default=2, help="notebooks at a time")
    options = parser.parse_args(arguments)
    from torch.backends import cpu  # slow, and the processes that it starts need none

    all_settings = settings("AVX512" in cpu.get_cpu_capability())
    chosen = {
        name: environment
        for name, environment in all_settings.items()
        if not options.setting or any(part in name for part in options.setting)
    }
    if not chosen:
        parser.error(f"no such setting; there are: {'; '.join(all_settings)}")
    names = [display(path, root) for path in notebook_paths(options.notebooks)] or [
        f"{folder}/{path.name}"
        for folder in ("chapters", "solutions")
        for path in sorted((root / folder).glob("*.ipynb"))
    ]
    try:
        for name in names:
            read(root / name, root)
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 2
    cells: list[Cell] = []
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        waiting = {
            (name, setting): pool.submit(run, name, setting, environment, root)
            for name in names
            for setting, environment in chosen.items()
        }
        for (name, setting), future in waiting.items():
            outcome = future.result()
            wrong = report(outcome)
            print(f"{name}: {setting}: {len(wrong)} cells differ", flush=True)
            for line in wrong:
                print(f"  {line}")
            cells += outcome
    if chosen == all_settings:
        keep(cells, names, root)
    wrong = report(cells)
    print(f"{len(waiting)} runs, {len(wrong)} cells differ from what is committed.")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.path.append(str(ROOT / "tests"))
    sys.exit(main())
