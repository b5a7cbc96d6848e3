"""Drawings: what chapters will draw, drawn; nothing overlaps or leaves the canvas."""

import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from finetuning.drawings import (
    WIDEST,
    Box,
    arrow,
    box,
    bracket,
    canvas,
    label,
    legend,
    matrix,
    text_width,
    token_row,
)
from finetuning.plots import use_style

HEADS = ("blue", "orange", "green")


def split_heads():
    """A matrix (T, C) is cut into H heads (T, D)."""
    axes = canvas(10, 6)
    colours = [colour for colour in HEADS for _ in range(4)]
    x = matrix(axes, 2.6, 3.8, 4, 12, "T", "C = 12", cell=0.4, colour=colours)
    for number, colour in enumerate(HEADS):
        start = x.x + 1.6 * number
        head = matrix(axes, 1 + 3.2 * number, 0.8, 4, 4, "T", cell=0.4, colour=colour)
        bracket(axes, (head.x, head.y), (head.right[0], head.y), "D = 4", "below")
        arrow(axes, (start + 0.8, x.y - 0.1), (head.top[0], head.top[1] + 0.1))
    label(axes, x.right[0] + 0.4, 2.95, "H = 3 heads", align="left")
    return axes


def two_masks():
    """A causal mask and a padding mask, side by side."""
    axes = canvas(12, 6.2)
    causal = np.tri(5, dtype=bool)
    padding = np.array([[True, True, True, False, False]] * 5)
    for x, mask, name in ((1.3, causal, "causal mask"), (7.5, padding, "padding mask")):
        place = matrix(
            axes,
            x,
            0.9,
            5,
            5,
            "query position",
            "key position",
            cell=0.8,
            shades=mask,
            numbers=mask.astype(int),
        )
        label(axes, place.centre[0], 5.9, name)
    bracket(axes, (9.9, 0.9), (11.5, 0.9), "padding", side="below")
    return axes


def query_key_value_flow():
    """From x to the output of one head."""
    axes = canvas(12, 6)
    x = matrix(axes, 0.7, 1.85, 4, 3, "T", "C", cell=0.4, colour="grey")
    query = box(axes, 3.1, 4.8, 1.7, 0.9, "query", "blue")
    key = box(axes, 3.1, 2.2, 1.7, 0.9, "key", "orange")
    value = box(axes, 3.1, 0.3, 1.7, 0.9, "value", "green")
    for part in (query, key, value):
        arrow(axes, x.right, part.left, through=[(2.5, 2.65), (2.5, part.left[1])])
    scores = box(axes, 5.4, 3.25, 2.1, 1.4, "scores\n$QK^T/\\sqrt{D}$", "white")
    weights = box(axes, 9.7, 3.5, 1.8, 0.9, "weights", "sky")
    output = box(axes, 9.7, 0.3, 1.8, 0.9, "output", "purple")
    arrow(axes, query.right, scores.top, through=[(scores.top[0], 5.25)])
    arrow(axes, key.right, scores.bottom, through=[(scores.top[0], 2.65)])
    arrow(axes, scores.right, weights.left, "softmax")
    arrow(axes, weights.bottom, output.top, "times")
    arrow(axes, value.right, output.left, "(T × D)")
    return axes


def encoder_layer():
    """A pre-norm encoder layer, with its two residual connections."""
    axes = canvas(8.6, 9.4)
    y, below = 1.2, (4, 0.1)
    for sublayer, colour in (("self-attention", "blue"), ("feed-forward", "orange")):
        norm = box(axes, 2.2, y, 3.6, 0.8, "LayerNorm", "grey")
        work = box(axes, 2.2, y + 1.3, 3.6, 0.8, sublayer, colour)
        add = box(axes, 3.7, y + 2.6, 0.6, 0.6, "+", "white")
        arrow(axes, below, norm.bottom)
        arrow(axes, norm.top, work.bottom)
        arrow(axes, work.top, add.bottom)
        fork = 4, norm.bottom[1] - 0.6
        arrow(axes, fork, add.right, through=[(6.4, fork[1]), (6.4, add.right[1])])
        label(axes, 6.6, work.left[1], "residual", align="left")
        below, y = add.top, y + 4.2
    arrow(axes, below, (4, 9.4))
    label(axes, 3.7, 0.3, "x (T × C)", align="right")
    return axes


def lora():
    """A frozen matrix, and beside it the two thin ones that are trained."""
    axes = canvas(12, 5.3)
    frozen = matrix(axes, 0.8, 0.9, 8, 8, "C", "C", cell=0.4, colour="grey")
    b = matrix(axes, 6, 0.9, 8, 2, "C", "r", cell=0.4, colour="orange")
    a = matrix(axes, 8.2, 2.1, 2, 8, "r", "C", cell=0.4, colour="orange")
    label(axes, 4.7, frozen.centre[1], "+")
    label(axes, 7.3, frozen.centre[1], "×")
    label(axes, frozen.centre[0], 5, "W, frozen")
    label(axes, b.centre[0], 5, "B")
    label(axes, a.centre[0], 3.8, "A")
    bracket(axes, (b.x, b.y), (a.right[0], b.y), "trained", side="below")
    return axes


CHAT = ["<user>", "capital", "of", "France", "?", "<reply>"]
REPLY = ["Paris", ".", "<end>"]
STATES = {"trained": "orange", "ignored": "grey"}


def trained_tokens():
    """Which tokens of a conversation the loss counts."""
    axes = canvas(8.3, 3.6)
    token_row(axes, 0.4, 2.7, CHAT, ["ignored"] * 6, STATES)
    places = token_row(axes, 0.4, 1.7, REPLY, ["trained"] * 3, STATES)
    start, end = (0.4, 1.7), (places[-1].right[0], 1.7)
    bracket(axes, start, end, "the loss counts these", side="below")
    legend(axes, 0.4, 0.2, STATES)
    return axes


DRAWINGS = (
    split_heads,
    two_masks,
    query_key_value_flow,
    encoder_layer,
    lora,
    trained_tokens,
)
PHONE = 340  # pixels of a figure on a screen of 375


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        use_style()
        yield
    plt.close("all")


def extents(axes):
    """Where each text of a drawing lies, in pixels."""
    axes.figure.canvas.draw()
    return {text: text.get_window_extent() for text in axes.texts if text.get_text()}


def overlapping(axes):
    """The pairs of texts of a drawing that cover each other."""
    return [
        (one.get_text(), other.get_text())
        for (one, first), (other, second) in itertools.combinations(
            extents(axes).items(), 2
        )
        if first.overlaps(second)
    ]


def outside(axes):
    """The texts of a drawing that leave its canvas."""
    paper = axes.get_window_extent()
    return [
        text.get_text()
        for text, place in extents(axes).items()
        if not (paper.containsx(place.x0) and paper.containsx(place.x1))
        or not (paper.containsy(place.y0) and paper.containsy(place.y1))
    ]


def picture(axes):
    """The pixels of a drawing as a page shows them, (height, width, 4)."""
    file = io.BytesIO()
    axes.figure.savefig(file, format="png")
    file.seek(0)
    return plt.imread(file)


def colours_of(axes):
    return [to_hex(patch.get_facecolor()) for patch in axes.patches]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_no_text_covers_another_or_leaves_the_canvas(draw):
    axes = draw()
    assert overlapping(axes) == []
    assert outside(axes) == []


@pytest.mark.parametrize("draw", DRAWINGS)
def test_letters_are_nine_pixels_high_on_a_telephone(draw):
    axes = draw()
    scale = min(1, PHONE / picture(axes).shape[1])
    heights = [
        text.get_fontsize() / 72 * axes.figure.dpi * scale for text in axes.texts
    ]
    assert min(heights) >= 9


@pytest.mark.parametrize("draw", DRAWINGS)
def test_the_paper_is_white_and_opaque(draw):
    pixels = picture(draw())
    assert (pixels[..., 3] == 1).all()
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge == 1).all()


def test_a_text_that_covers_another_is_found():
    axes = canvas(4, 2)
    label(axes, 1, 1, "one")
    label(axes, 1.2, 1.1, "two")
    label(axes, 4, 1, "three")
    assert overlapping(axes) == [("one", "two")]
    assert outside(axes) == ["three"]


def test_masks_are_dark_where_one_may_look():
    cells = colours_of(two_masks())
    causal, padding = np.reshape(cells[:25], (5, 5)), np.reshape(cells[25:50], (5, 5))
    assert ((causal != "#ffffff") == np.tri(5, dtype=bool)).all()
    assert ((padding != "#ffffff") == [True, True, True, False, False]).all()
    assert len(set(cells)) == 2


def test_numbers_stand_in_their_cells_row_by_row():
    axes = canvas(6, 4)
    place = matrix(axes, 1, 1, 2, 3, numbers=[[1, 0.5, True], [4, "x", 0]])
    assert place == Box(1, 1, 1.5, 1.0)
    assert [(text.get_text(), text.get_position()) for text in axes.texts] == [
        ("1", (1.25, 1.75)),
        ("0.50", (1.75, 1.75)),
        ("1", (2.25, 1.75)),
        ("4", (1.25, 1.25)),
        ("x", (1.75, 1.25)),
        ("0", (2.25, 1.25)),
    ]


def test_columns_have_the_colours_of_their_heads():
    cells = np.reshape(colours_of(split_heads())[:48], (4, 12))
    assert (cells == cells[0]).all()
    assert [len(set(cells[0, head : head + 4])) for head in (0, 4, 8)] == [1, 1, 1]
    assert len(set(cells[0])) == 3


def test_a_box_knows_the_middles_of_its_sides():
    place = box(canvas(6, 4), 1, 2, 3, 1, "text")
    assert (place.left, place.right) == ((1, 2.5), (4, 2.5))
    assert (place.bottom, place.top) == ((2.5, 2), (2.5, 3))
    assert place.centre == (2.5, 2.5)


def test_an_arrow_ends_where_it_should_with_a_head():
    axes = canvas(6, 4)
    arrow(axes, (1, 1), (4, 3), "way", through=[(4, 1)])
    (drawn,) = axes.patches
    corners = drawn.get_path().vertices
    assert corners[0] == pytest.approx((1, 1))
    assert np.abs(corners - (4, 3)).max(axis=1).min() < 0.05  # the tip
    assert corners[:, 0].max() < 4.2
    assert axes.texts[0].get_position()[1] > 1


def test_tokens_stand_in_a_row_without_touching():
    axes = canvas(12, 3)
    places = token_row(axes, 0.5, 1, CHAT, ["ignored"] * 6, STATES)
    for one, other in itertools.pairwise(places):
        assert 0 < other.x - one.right[0] < 0.2
    for token, place in zip(CHAT, places, strict=True):
        assert text_width(token) < place.width
    assert overlapping(axes) == []


def test_states_differ_in_colour_and_in_line():
    axes = canvas(6, 2)
    states = dict.fromkeys(("first", "second", "third"), "blue")
    token_row(axes, 0.2, 0.5, "abc", list(states), states)
    assert [patch.get_linestyle() for patch in axes.patches] == ["-", "--", ":"]
    legend(axes, 0.2, 1.4, states)
    assert [patch.get_linestyle() for patch in axes.patches[3:]] == ["-", "--", ":"]
    assert [text.get_text() for text in axes.texts[3:]] == list(states)


@pytest.mark.parametrize(
    ("side", "span", "inside"),
    [
        ("above", ((1, 1), (3, 1)), lambda x, y: y > 1),
        ("below", ((1, 1), (3, 1)), lambda x, y: y < 1),
        ("left", ((2, 1), (2, 3)), lambda x, y: x < 2),
        ("right", ((2, 1), (2, 3)), lambda x, y: x > 2),
    ],
)
def test_a_bracket_lies_on_its_side_of_the_span(side, span, inside):
    axes = canvas(6, 4)
    bracket(axes, *span, "text", side)
    (line,) = axes.lines
    assert all(inside(x, y) for x, y in zip(*line.get_data(), strict=True))
    assert inside(*axes.texts[0].get_position())
    assert overlapping(axes) == []


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: canvas(WIDEST + 1, 2), "too small for a telephone"),
        (lambda: box(canvas(6, 2), 0, 0, 1, 1, "a long text"), "units wide, its box 1"),
        (lambda: box(canvas(6, 2), 5, 0, 2, 1, "x"), "leaves the canvas"),
        (lambda: box(canvas(6, 2), -1, 0, 2, 1, "x"), "leaves the canvas"),
        (lambda: matrix(canvas(6, 2), 0, 0, 9, 2), "leaves the canvas"),
        (lambda: box(canvas(6, 2), 0, 0, 2, 1, "x", "pink"), "no colour 'pink'"),
        (lambda: matrix(canvas(6, 2), 0, 0, 2, 2, shades=np.eye(3)), "do not fit"),
        (lambda: matrix(canvas(6, 2), 0, 0, 2, 2, colour=["blue"]), "2 columns"),
        (
            lambda: token_row(canvas(6, 2), 0, 0, ["a"], ["b"], STATES),
            "no colour for the state 'b'",
        ),
        (
            lambda: token_row(
                canvas(2, 2), 0, 0, ["long"] * 3, ["ignored"] * 3, STATES
            ),
            "the token 'long' reaches",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
