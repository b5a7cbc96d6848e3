"""Boxes, arrows, matrices, token rows and brackets: drawings in the style of the plots.

    axes = canvas(12, 4)
    x = matrix(axes, 1, 0.5, 4, 3, "T", "C")
    query = box(axes, 6, 1, 2, 1, "$W_Q$")
    arrow(axes, x.right, query.left)

Everything is placed by its lower left corner, in units of half an inch: a line of text
is a third of a unit high. A canvas is at most 12 units wide, so that its letters are
still 9 pixels high where a telephone shows it 340 pixels wide.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from numpy.typing import ArrayLike

from finetuning.plots import PALETTE

WIDEST = 12
"""Units that a canvas may be wide."""

_INCHES = 0.5  # of a unit
_POINTS = 12  # of the letters
_LINE = _POINTS * 1.2 / (72 * _INCHES)  # the height of a line of text, in units
_GAP = 0.15  # between a thing and the text beside it
_EDGE = "#333333"

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle on a canvas, and the middles of its sides, where arrows end."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> Point:
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self) -> Point:
        return self.x + self.width / 2, self.y + self.height

    @property
    def bottom(self) -> Point:
        return self.x + self.width / 2, self.y

    @property
    def centre(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2


def canvas(width: float, height: float) -> Axes:
    """A new figure: white axes without ticks, from (0, 0) to (width, height) in units.

    Raises
    ------
    ValueError: if it is wider than `WIDEST`.
    """
    if width > WIDEST:
        raise ValueError(
            f"a canvas {width:g} units wide has letters too small for a telephone: "
            f"use at most {WIDEST}, and more rows"
        )
    figure = plt.figure(
        figsize=(width * _INCHES, height * _INCHES), facecolor="white", layout="none"
    )
    axes = figure.add_axes((0, 0, 1, 1), facecolor="white", aspect="equal")
    axes.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return axes


def box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    text: str = "",
    colour: str = "blue",
) -> Box:
    """Draw a box with a text in its middle.

    Parameters
    ----------
    colour: a name in `plots.PALETTE` (a light tint fills the box), or "white".

    Raises
    ------
    ValueError: if the text is wider than the box, or the box leaves the canvas.
    """
    place = _placed(axes, Box(x, y, width, height), f"the box {text!r}")
    if text_width(text) > width:
        raise ValueError(
            f"{text!r} is {text_width(text):.1f} units wide, its box {width:g}"
        )
    _rectangle(axes, place, _tint(colour, 0.3), _edge(colour))
    label(axes, *place.centre, text)
    return place


def label(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    align: str = "center",
    turned: bool = False,
) -> None:
    """Write a text whose middle is at y; `align` says what of it is at x.

    Parameters
    ----------
    align: "left", "center" or "right".
    turned: from bottom to top instead of from left to right.
    """
    axes.text(
        x,
        y,
        text,
        ha=align,
        va="center",
        rotation=90 if turned else 0,
        fontsize=_POINTS,
        color="black",
    )


def arrow(
    axes: Axes,
    start: Point,
    end: Point,
    text: str = "",
    through: Sequence[Point] = (),
    colour: str = "grey",
) -> None:
    """Draw an arrow from a point to another, straight or by way of other points.

    Parameters
    ----------
    text: written over the middle of the arrow's longest piece.
    through: the corners of the way, in order.
    """
    # Rounded: a level line whose ends differ in the last digit is drawn with a step.
    way = [(round(x, 6), round(y, 6)) for x, y in (start, *through, end)]
    axes.add_patch(
        FancyArrowPatch(
            path=Path(way),
            arrowstyle="-|>",
            mutation_scale=14,
            linewidth=1.6,
            color=_edge(colour),
            joinstyle="miter",
            shrinkA=0,
            shrinkB=0,
        )
    )
    if text:
        (x0, y0), (x1, y1) = max(
            itertools.pairwise(way), key=lambda piece: math.dist(*piece)
        )
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        if abs(x1 - x0) < abs(y1 - y0):
            label(axes, x + _GAP, y, text, align="left")
        else:
            label(axes, x, y + _GAP + _LINE / 2, text)


def matrix(
    axes: Axes,
    x: float,
    y: float,
    rows: int,
    columns: int,
    row_name: str = "",
    column_name: str = "",
    cell: float = 0.5,
    colour: str | Sequence[str] = "blue",
    shades: ArrayLike | None = None,
    numbers: ArrayLike | None = None,
) -> Box:
    """Draw a grid of square cells, its first row at the top.

    Parameters
    ----------
    rows, columns: how many cells.
    row_name, column_name: what the axes are, and how long, such as "T" or "T = 4": left
        of the rows, and above the columns.
    cell: the side of a cell.
    colour: a name in `plots.PALETTE`, or one for each column.
    shades: (rows, columns), how dark each cell is, from 0 (white) to 1; booleans will
        do. All cells have the same tint where it is not given.
    numbers: (rows, columns), what stands in the cells: numbers (two decimals for
        floats) or strings.

    Raises
    ------
    ValueError: if `shades`, `numbers` or `colour` do not fit, or the canvas is left.
    """
    place = _placed(axes, Box(x, y, columns * cell, rows * cell), "the matrix")
    colours = [colour] * columns if isinstance(colour, str) else list(colour)
    if len(colours) != columns:
        raise ValueError(f"{len(colours)} colours do not fit {columns} columns")
    for name, values in (("shades", shades), ("numbers", numbers)):
        if values is not None and np.shape(values) != (rows, columns):
            raise ValueError(
                f"{name} {np.shape(values)} do not fit cells ({rows}, {columns})"
            )
    for row in range(rows):
        for column in range(columns):
            spot = Box(x + column * cell, y + (rows - 1 - row) * cell, cell, cell)
            depth = 0.3 if shades is None else 0.6 * float(shades[row][column])
            _rectangle(axes, spot, _tint(colours[column], depth), _EDGE, linewidth=0.8)
            if numbers is not None:
                label(axes, *spot.centre, _written(numbers[row][column]))
    if row_name:
        turned = len(row_name) > 2
        offset = _GAP + (_LINE if turned else text_width(row_name)) / 2
        label(axes, x - offset, place.left[1], row_name, turned=turned)
    if column_name:
        label(axes, place.top[0], place.top[1] + _GAP + _LINE / 2, column_name)
    return place


def token_row(
    axes: Axes,
    x: float,
    y: float,
    tokens: Sequence[str],
    states: Sequence[str],
    colours: Mapping[str, str],
) -> list[Box]:
    """Draw a row of boxes, each as wide as its token, and return their places.

    Parameters
    ----------
    states: the state of each token, such as "trained" or "ignored".
    colours: the colour of each state. Lines tell them apart as well: solid for the
        first, dashed for the second, dotted for the third. `legend` explains both.

    Raises
    ------
    ValueError: if tokens and states differ in number, or the row leaves the canvas.
    """
    places = []
    for token, state in zip(tokens, states, strict=True):
        width = text_width(token) + 2 * _GAP
        place = Box(x, y, width, _LINE + 2 * _GAP)
        places.append(_placed(axes, place, f"the token {token!r}"))
        _state(axes, place, state, colours)
        label(axes, *place.centre, token)
        x += width + _GAP / 2
    return places


def legend(axes: Axes, x: float, y: float, colours: Mapping[str, str]) -> None:
    """Say what the colours and lines of `token_row` mean, in a row from (x, y)."""
    for state in colours:
        swatch = Box(x, y, _LINE, _LINE)
        _state(axes, swatch, state, colours)
        label(axes, x + _LINE + _GAP, swatch.centre[1], state, align="left")
        x += _LINE + text_width(state) + 4 * _GAP


def bracket(
    axes: Axes, start: Point, end: Point, text: str, side: str = "above"
) -> None:
    """Draw a bracket along a span, with a text on its far side.

    Parameters
    ----------
    start, end: the ends of the span, at the same height, or one over the other.
    side: the side of the span on which the bracket lies: "above" or "below" a level
        span, "left" or "right" of an upright one.
    """
    across, up = {
        "above": (0, 1),
        "below": (0, -1),
        "left": (-1, 0),
        "right": (1, 0),
    }[side]
    near, far = _GAP / 2, 1.5 * _GAP
    corners = [
        (px + across * depth, py + up * depth)
        for (px, py), depth in ((start, near), (start, far), (end, far), (end, near))
    ]
    axes.plot(*zip(*corners, strict=True), color=_EDGE, linewidth=1.6)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if up:
        lines = text.count("\n") + 1
        label(axes, x, y + up * (far + _GAP + lines * _LINE / 2), text)
    else:
        align = "right" if side == "left" else "left"
        label(axes, x + across * (far + _GAP), y, text, align=align)


def text_width(text: str) -> float:
    """How wide the longest line of a text is, in units."""
    points = [
        TextPath((0, 0), line, size=_POINTS).get_extents().x1
        for line in text.split("\n")
        if line.strip()
    ]
    return max(points, default=0.0) / (72 * _INCHES)


def _placed(axes: Axes, place: Box, what: str) -> Box:
    """`place`, if it lies on the canvas."""
    (_, right), (_, top) = axes.get_xlim(), axes.get_ylim()
    ends = place.x + place.width, place.y + place.height
    if min(place.x, place.y) < 0 or ends[0] > right + 1e-9 or ends[1] > top + 1e-9:
        raise ValueError(
            f"{what} reaches from ({place.x:.2f}, {place.y:.2f}) to ({ends[0]:.2f}, "
            f"{ends[1]:.2f}) and leaves the canvas, which is {right:g} × {top:g}"
        )
    return place


def _state(axes: Axes, place: Box, state: str, colours: Mapping[str, str]) -> None:
    """A box in the colour and the line of a state."""
    if state not in colours:
        raise ValueError(
            f"no colour for the state {state!r}; there are {list(colours)}"
        )
    line = ("-", "--", ":")[list(colours).index(state) % 3]
    colour = colours[state]
    _rectangle(axes, place, _tint(colour, 0.3), _edge(colour), linestyle=line)


def _rectangle(
    axes: Axes,
    place: Box,
    face: tuple[float, float, float],
    edge: str,
    linewidth: float = 1.6,
    linestyle: str = "-",
) -> None:
    axes.add_patch(
        Rectangle(
            (place.x, place.y),
            place.width,
            place.height,
            facecolor=face,
            edgecolor=edge,
            linewidth=linewidth,
            linestyle=linestyle,
        )
    )


def _edge(colour: str) -> str:
    return _EDGE if colour == "white" else _hex(colour)


def _tint(colour: str, depth: float) -> tuple[float, float, float]:
    """White with so much of the colour in it, from 0 to 1."""
    red, green, blue = (1 - depth * (1 - part) for part in to_rgb(_hex(colour)))
    return red, green, blue


def _hex(colour: str) -> str:
    if colour == "white":
        return "#FFFFFF"
    if colour not in PALETTE:
        raise ValueError(f"no colour {colour!r}; there are {', '.join(PALETTE)}, white")
    return PALETTE[colour]


def _written(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    return f"{value:.2f}" if isinstance(value, (float, np.floating)) else str(value)
