"""The book's one style of figure: white, colour-blind safe, labelled, no chart junk."""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

# Okabe and Ito's colour-blind safe colours ("Color Universal Design", 2008), as this
# book names them.
PALETTE = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "yellow": "#E69F00",
    "sky": "#56B4E9",
    "red": "#B2182B",
    "grey": "#6B6B6B",
}


def use_style() -> None:
    """Set the style for every figure drawn after this call."""
    mpl.rcParams.update(
        {
            # Opaque faces: a transparent figure has black text on black in a dark
            # theme.
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "savefig.facecolor": "white",
            "savefig.transparent": False,
            "figure.figsize": (7.0, 4.0),
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "savefig.bbox": "tight",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#E3E3E3",
            "axes.axisbelow": True,
            "lines.linewidth": 2.0,
            "legend.frameon": False,
            "image.cmap": "Blues",
            "axes.prop_cycle": mpl.cycler(
                color=[
                    PALETTE[name]
                    for name in ("blue", "orange", "green", "purple", "yellow", "sky")
                ]
            ),
        }
    )


def label_axes(axes: Axes, x: str, y: str, title: str | None = None) -> None:
    """Name both axes (with their units) and, where wanted, the figure."""
    axes.set(xlabel=x, ylabel=y)
    if title:
        axes.set_title(title)


def heat_map(
    matrix: np.ndarray,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str | None = None,
    colour_label: str = "attention weight",
    annotate: bool = True,
    axes: Axes | None = None,
    highest: float | None = None,
) -> Axes:
    """Draw a matrix as a heat map with its numbers in the cells.

    Parameters
    ----------
    matrix: array or tensor of shape (rows, columns).
    row_labels, column_labels: the words beside the rows (queries) and above the columns
        (keys).
    annotate: write each number into its cell, with two decimals.
    axes: where to draw; a new figure where none is given.
    highest: the value of the darkest colour, for pictures that are compared; the
        largest number otherwise.

    Raises
    ------
    ValueError: if the labels do not fit the matrix.
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (len(row_labels), len(column_labels)):
        raise ValueError(
            f"{len(row_labels)} row and {len(column_labels)} column labels do not "
            f"fit {matrix.shape}"
        )
    if axes is None:
        _, axes = plt.subplots(
            figsize=(1.6 + 0.72 * len(column_labels), 1.2 + 0.55 * len(row_labels))
        )
    image = axes.imshow(
        matrix, vmin=min(0.0, np.nanmin(matrix)), vmax=highest, aspect="auto"
    )
    axes.set_xticks(range(len(column_labels)), column_labels)
    axes.set_yticks(range(len(row_labels)), row_labels)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    if annotate:
        middle = (
            np.nanmin(matrix) + (np.nanmax(matrix) if highest is None else highest)
        ) / 2
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if value > middle else "black"
            axes.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                color=colour,
                fontsize=10,
            )
    axes.figure.colorbar(image, ax=axes, label=colour_label, shrink=0.85)
    if title:
        axes.set_title(title, pad=14)
    return axes
