"""Time and memory of each notebook's last run, the slowest first, and its limit.

    python bench/notebooks.py

Runs nothing: the figures are those that `make run` keeps in book/status.json.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from notebooks import TIME_LIMITS  # noqa: E402


def main() -> None:
    """Print one line a notebook and the sum."""
    source = ROOT / "book" / "status.json"
    runs = json.loads(source.read_text()) if source.exists() else {}
    if not runs:
        print("no notebook has been run yet: make run NB=…")
        return
    print(f"{'notebook':<55} {'seconds':>8} {'of limit':>9} {'peak MB':>8}")
    for name, run in sorted(runs.items(), key=lambda item: -item[1]["seconds"]):
        share = run["seconds"] / TIME_LIMITS[name.split("/")[0]]
        print(
            f"{name:<55} {run['seconds']:>8.1f} {share:>9.0%} {run['memory_mb']:>8.0f}"
        )
    print(
        f"{'all of them, one after the other':<55} "
        f"{sum(run['seconds'] for run in runs.values()):>8.1f}"
    )


if __name__ == "__main__":
    main()
