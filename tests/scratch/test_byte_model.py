"""Chapter 06's model of bytes: what it may see, how it is trained and tested."""

import pytest
import torch

from finetuning.runtime import set_seed
from finetuning.scratch.byte_model import (
    WRAPPERS,
    ByteModel,
    as_bytes,
    draw_windows,
    loss_by_position,
    next_byte_loss,
    train,
)

KINDS = ("none", "learned", "sinusoidal", "RoPE", "ALiBi")
TEXT = as_bytes(["the mouse ate until it slept, it slept until the mouse ate. "] * 20)


def test_bytes_are_those_of_the_texts_with_an_empty_line_between():
    assert bytes(as_bytes(["é", "b"]).tolist()).decode() == "é\n\nb"


def test_windows_are_stretches_of_the_text():
    windows = draw_windows(torch.arange(50), 9, 5, torch.Generator().manual_seed(0))
    assert windows.shape == (9, 6)
    assert (windows.diff(dim=1) == 1).all()
    assert len(windows[:, 0].unique()) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_sees_a_later_one_and_with_a_window_none_too_far_back(kind):
    set_seed(0)
    model = ByteModel(kind)
    ids = TEXT[None, :20]
    changed = ids.clone()
    changed[0, 10] = 0
    for window, last in ((None, 19), (3, 14)):  # two layers look back twice
        moved = (model(changed, window) - model(ids, window)).abs().amax(dim=2)[0]
        assert moved[:10].max() == 0
        assert moved[10] > 0
        assert moved[last + 1 :].sum() == 0 or window is None
        assert moved[last] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_who_can_tell_the_order_of_the_bytes_before(kind):
    set_seed(0)
    model = ByteModel(kind, layers=1)
    ids = torch.tensor([[1, 2, 3, 4], [2, 1, 3, 4]])
    first, second = model(ids)[:, -1]
    assert torch.allclose(first, second, atol=1e-6) == (kind == "none")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper_gives_logits_and_gradients(wrapper):
    model = ByteModel(wrapper=wrapper)
    next_byte_loss(model, TEXT[None, :30]).mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_training_that_stops_early_is_the_beginning_of_the_whole():
    def losses(stop):
        set_seed(0)
        model = ByteModel("RoPE")
        return train(model, TEXT, 0, 0.01, 12, 4, 4, 16, clip=1.0, stop=stop)

    whole = losses(None)
    assert len(whole) == 12 and losses(5) == whole[:5]
    assert whole[-1] < whole[0]


def test_losses_by_position_are_of_the_same_stretches_each_time():
    set_seed(0)
    model = ByteModel("none")
    first = loss_by_position(model, TEXT, length=40)
    assert first.shape == (40,) and not model.training
    assert torch.equal(first, loss_by_position(model, TEXT, length=40))
    windowed = loss_by_position(model, TEXT, length=40, window=5)
    assert torch.equal(first[:5], windowed[:5]) and not torch.equal(first, windowed)
