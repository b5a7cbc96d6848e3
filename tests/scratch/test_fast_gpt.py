"""Chapter 09's fast recipe: its parts do what they say, and Muon is torch's."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from finetuning.scratch.fast_gpt import (
    FastGPT,
    Muon,
    Recipe,
    blocks_of,
    encoded,
    nats_per_character,
    orthogonalised,
    shape_of_the_rate,
    shifted,
    train_fast,
)

SMALL = Recipe(
    width=32,
    layers=2,
    heads=2,
    hidden=64,
    context=16,
    batch=4,
    half=False,
    zero_outputs=True,
)
PLAIN = replace(
    SMALL,
    shift=0,
    positions="learned",
    norm="layer",
    activation="gelu",
    zero_outputs=False,
    fused=True,
    optimiser="adamw",
)
V = 20


@pytest.fixture(params=[SMALL, PLAIN], ids=["fast", "plain"])
def model(request):
    torch.manual_seed(0)
    model = FastGPT(V, request.param)
    with torch.no_grad():  # outputs that start at zero would hide every mistake
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_at_the_start_every_character_is_equally_likely():
    ids = torch.randint(0, V, (2, 16))
    logits = FastGPT(V, SMALL)(ids)
    assert logits.shape == (2, 16, V)
    assert not logits.any()


def test_a_later_character_changes_nothing_before_it(model):
    ids = torch.randint(0, V, (2, 16))
    changed = ids.clone()
    changed[:, 10] = (changed[:, 10] + 1) % V
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert (before[:, 10:] - after[:, 10:]).abs().amax(dim=(0, 2)).min() > 1e-4


def test_a_shorter_text_is_read_as_the_beginning_of_a_longer_one(model):
    ids = torch.randint(0, V, (2, 16))
    for length in (1, 2, 7):
        torch.testing.assert_close(model(ids[:, :length]), model(ids)[:, :length])


def test_fused_attention_is_the_same_attention():
    torch.manual_seed(0)
    model = FastGPT(V, SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    fused = FastGPT(V, replace(SMALL, fused=True))
    fused.load_state_dict(model.state_dict())
    ids = torch.randint(0, V, (2, 16))
    torch.testing.assert_close(fused(ids), model(ids), atol=1e-5, rtol=1e-4)


def test_too_long_a_text_is_refused(model):
    with pytest.raises(ValueError, match="17 tokens are more than the context of 16"):
        model(torch.zeros(1, 17, dtype=torch.long))


def test_a_shift_mixes_what_came_before():
    x = torch.arange(1.0, 5.0).view(1, 4, 1)
    mixed = shifted(x, torch.tensor([[0.5], [0.1]]))
    torch.testing.assert_close(mixed.flatten(), torch.tensor([1.0, 2.5, 4.1, 5.7]))


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 24), (3, 16, 8)])
def test_singular_values_end_up_near_one_and_directions_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalised(matrices)
    values = torch.linalg.svdvals(result)
    assert values.max() < 1.3
    assert values.median() > 0.6
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inside = left.mT @ result @ right.mT
    torch.testing.assert_close(
        inside, torch.diag_embed(inside.diagonal(dim1=-2, dim2=-1)), atol=1e-4, rtol=0.0
    )


@pytest.mark.parametrize("shape", [(24, 16), (16, 24)])
def test_muon_goes_where_torchs_goes(shape):
    torch.manual_seed(0)
    mine, theirs = (nn.Parameter(torch.zeros(shape)) for _ in range(2))
    ours = Muon([mine], half=True)
    library = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.0)
    for _ in range(10):
        mine.grad = torch.randn(shape)
        theirs.grad = mine.grad.clone()
        ours.step(0.02)
        library.step()
    assert (
        mine - theirs
    ).norm() < 0.05 * mine.norm()  # torch's sums are rounded to bfloat16 elsewhere


def test_the_rate_goes_up_stays_and_falls_to_zero():
    recipe = replace(SMALL, warm_up=0.1, cool_down=0.5)
    shares = [
        shape_of_the_rate(done, recipe) for done in (0.05, 0.1, 0.3, 0.5, 0.75, 1.0)
    ]
    assert shares == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.5, 0.0])


@pytest.mark.parametrize("in_order", [True, False])
def test_blocks_are_pieces_of_the_text(in_order):
    text = torch.arange(200)
    pieces = blocks_of(
        text, replace(SMALL, in_order=in_order), torch.Generator().manual_seed(0)
    )
    for _, block in zip(range(10), pieces, strict=False):
        assert block.shape == (4, 17)
        assert (block.diff(dim=1) == 1).all()


def test_every_character_counts_once_in_the_measure(model):
    before, ids = torch.randint(0, V, (30,)), torch.randint(0, V, (45,))
    wanted, text = 0.0, torch.cat([before[-16:], ids])
    with torch.inference_mode():
        for place in range(
            16, len(text)
        ):  # with stride 1 each character has the whole context before it
            logits = model(text[None, place - 16 : place])[0, -1]
            wanted += F.cross_entropy(logits, text[place]).item()
    assert nats_per_character(model, before, ids, stride=1) == pytest.approx(
        wanted / 45, rel=1e-5
    )
    for stride in (
        4,
        16,
        None,
    ):  # with less before it, another number, but near: no character twice or never
        assert nats_per_character(model, before, ids, stride) == pytest.approx(
            wanted / 45, rel=0.1
        )


@pytest.mark.parametrize("recipe", [SMALL, PLAIN], ids=["fast", "plain"])
def test_training_learns_a_text_that_repeats(recipe):
    torch.manual_seed(0)
    text = torch.arange(V).repeat(40)
    model = FastGPT(V, recipe)
    losses = train_fast(model, text, lambda step: step / 60)
    assert len(losses) == 60
    assert losses[0] == pytest.approx(math.log(V), abs=0.2)
    assert losses[-1] < 0.5


def test_a_text_becomes_places_in_its_alphabet():
    assert encoded("abba", "ab").tolist() == [0, 1, 1, 0]
    with pytest.raises(ValueError, match="'cz' did not occur in training"):
        encoded("abcz", "ab")


def test_a_text_too_short_to_train_on_is_refused():
    with pytest.raises(
        ValueError, match=r"a text of 32 characters is too short.*at least 33"
    ):
        train_fast(
            FastGPT(V, SMALL), torch.zeros(32, dtype=torch.long), lambda step: step
        )


@pytest.mark.parametrize(("before", "after"), [(0, 40), (40, 0), (5, 11)])
def test_too_little_to_measure_is_refused(model, before, after):
    with pytest.raises(ValueError, match=rf"{after} to measure are too few"):
        nats_per_character(
            model,
            torch.zeros(before, dtype=torch.long),
            torch.zeros(after, dtype=torch.long),
        )
