"""Draw the picture of a shared link to the book: 1200 × 630 pixels, the size that
services expect.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

INK, PAPER, MARK = "#ffffff", "#0b3c5d", "#7cc0f5"
# The same mark as on the favicon: a causal mask, each row attending to itself and to
# what came before.
WEIGHTS = ((1.0,), (0.4, 0.85), (0.25, 0.6, 1.0), (0.35, 0.2, 0.5, 0.9))


def draw(path: Path) -> None:
    """Write the card as a PNG to `path`, whose folder must exist."""
    figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 1200)
    axes.set_ylim(630, 0)
    axes.axis("off")
    for row, weights in enumerate(WEIGHTS):
        for column, weight in enumerate(weights):
            corner = (80 + 76 * column, 165 + 76 * row)
            box = FancyBboxPatch(
                corner, 62, 62, boxstyle="round,pad=0,rounding_size=11"
            )
            box.set(facecolor=MARK, alpha=weight, linewidth=0)
            axes.add_patch(box)
    text = {"color": INK, "family": "DejaVu Sans", "va": "baseline"}
    axes.text(440, 240, "Fine-Tuning", fontsize=52, weight="bold", **text)
    axes.text(440, 312, "Large Language Models", fontsize=35, **text)
    axes.text(
        440, 372, "from attention to alignment", fontsize=25, **{**text, "color": MARK}
    )
    axes.text(440, 452, "A book of executable notebooks.", fontsize=19, **text)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
