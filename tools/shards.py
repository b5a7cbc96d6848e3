"""A share of the notebooks, for jobs side by side: python tools/shards.py 2/3

prints what `pytest --nbval` is to be told, so that it executes the second of three
shares that take about the same time (book/status.json knows how long each takes).
"""

import argparse
import json
import re
from pathlib import Path

from notebooks import ROOT, TIME_LIMITS


def seconds(root: Path = ROOT) -> dict[str, float]:
    """What each notebook that is executed takes; its limit where it never ran."""
    status = root / "book" / "status.json"
    runs = json.loads(status.read_text(encoding="utf-8")) if status.exists() else {}
    return {
        f"{folder}/{path.name}": runs.get(f"{folder}/{path.name}", {}).get(
            "seconds", limit
        )
        for folder, limit in TIME_LIMITS.items()
        for path in (root / folder).glob("*.ipynb")
    }


def pack(durations: dict[str, float], count: int) -> list[list[str]]:
    """The names in `count` shares: the longest first, each into the shortest share."""
    shares: list[list[str]] = [[] for _ in range(count)]
    totals = [0.0] * count
    for name in sorted(durations, key=lambda name: (-durations[name], name)):
        shortest = totals.index(min(totals))
        shares[shortest].append(name)
        totals[shortest] += durations[name]
    return shares


def share(text: str) -> tuple[int, int]:
    """`2/3` as (2, 3)."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"a share is written as 2/3, not {text!r}")
    return int(match[1]), int(match[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("share", type=share, nargs="?", default="1/1")
    number, count = parser.parse_args().share
    durations = seconds()
    # The others are ignored, and these not named: pytest executes a notebook that is
    # named although it has passed before (tests/verified_notebooks.py).
    others = set(durations) - set(pack(durations, count)[number - 1])
    print(*TIME_LIMITS, *(f"--ignore={name}" for name in sorted(others)))


if __name__ == "__main__":
    main()
