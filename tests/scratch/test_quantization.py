"""Rounded weights: equal to bitsandbytes', code by code."""

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from finetuning.scratch.lora import LoRALinear, add_lora
from finetuning.scratch.quantization import (
    NF4,
    NF4Linear,
    dequantize_absmax,
    dequantize_nf4,
    nf4_code_book,
    quantize_absmax,
    quantize_nf4,
)


def weights(*shape, seed=0, scale=0.02):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator)


@pytest.mark.parametrize("block_size", [64, 128, 256])
@pytest.mark.parametrize("shape", [(64, 64), (3, 512), (192, 576), (1, 256)])
@pytest.mark.parametrize("scale", [1e-4, 0.02, 30.0])
def test_nf4_is_bitsandbytes(shape, block_size, scale):
    weight = weights(*shape, seed=shape[0], scale=scale)
    if weight.numel() % block_size:
        with pytest.raises(ValueError, match="blocks of"):
            quantize_nf4(weight, block_size)
        return
    packed, absmax = quantize_nf4(weight, block_size)
    theirs, state = bnb.quantize_4bit(
        weight, blocksize=block_size, quant_type="nf4", compress_statistics=False
    )
    assert torch.equal(packed, theirs.flatten())
    assert torch.equal(absmax, state.absmax.flatten())
    back = dequantize_nf4(packed, absmax, shape)
    if shape[-1] % block_size:
        return  # a block over several rows comes back wrong from bitsandbytes 0.50.2
    their_back = bnb.dequantize_4bit(theirs, state)
    torch.testing.assert_close(back, their_back, rtol=1e-6, atol=0)


def test_the_code_book_is_bitsandbytes():
    state = bnb.quantize_4bit(weights(64, 64), quant_type="nf4")[1]
    torch.testing.assert_close(NF4, state.code.float(), rtol=1e-6, atol=0)
    assert torch.equal(NF4, nf4_code_book())
    assert NF4[7] == 0
    assert NF4[[0, 15]].tolist() == [-1, 1]
    assert (NF4.diff() > 0).all()


@pytest.mark.parametrize("shape", [(5, 64), (64, 48), (7, 7)])
def test_int8_is_bitsandbytes(shape):
    weight = weights(*shape, seed=2)
    codes, absmax = quantize_absmax(weight)
    theirs, scales, _ = bnb.int8_vectorwise_quant(weight.half().float())
    codes, absmax = quantize_absmax(weight.half().float())
    assert torch.equal(codes, theirs)
    torch.testing.assert_close(absmax.flatten(), scales, rtol=1e-6, atol=0)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.integers(1, 5),
    blocks=st.integers(1, 4),
    size=st.sampled_from([2, 4, 6, 16, 64]),
    seed=st.integers(0, 99),
)
def test_every_weight_goes_to_its_nearest_level(rows, blocks, size, seed):
    weight = weights(rows, blocks * size, seed=seed)
    packed, absmax = quantize_nf4(weight, size)
    assert packed.dtype == torch.uint8
    assert packed.shape == (weight.numel() // 2,)
    back = dequantize_nf4(packed, absmax, weight.shape)
    each = absmax.repeat_interleave(size).view_as(weight)
    distances = (weight[..., None] - each[..., None] * NF4).abs()
    error = (back - weight).abs()
    torch.testing.assert_close(error, distances.amin(-1), rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=50)
@given(
    bits=st.integers(2, 8),
    rows=st.integers(1, 4),
    size=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_absmax_is_half_a_step_off_at_most(bits, rows, size, seed):
    weight = weights(rows, size, seed=seed)
    codes, absmax = quantize_absmax(weight, bits)
    largest = 2 ** (bits - 1) - 1
    assert codes.abs().max() <= largest
    back = dequantize_absmax(codes, absmax, bits)
    assert ((back - weight).abs() <= 0.501 * absmax / largest).all()


def test_zeros_stay_zero():
    zeros = torch.zeros(2, 64)
    assert torch.equal(dequantize_nf4(*quantize_nf4(zeros), zeros.shape), zeros)
    assert torch.equal(dequantize_absmax(*quantize_absmax(zeros)), zeros)


def test_blocks_of_odd_size_are_refused():
    with pytest.raises(ValueError, match="odd"):
        quantize_nf4(torch.ones(2, 9), 9)


@pytest.mark.parametrize("bias", [True, False])
def test_the_packed_layer_is_the_linear_layer_of_its_weight(bias):
    linear = nn.Linear(64, 24, bias)
    packed = NF4Linear(linear)
    x = weights(2, 3, 64, scale=1.0).requires_grad_()
    twin = x.detach().clone().requires_grad_()
    out = packed(x)
    right = nn.functional.linear(twin, packed.weight, linear.bias)
    torch.testing.assert_close(out, right)
    out.square().sum().backward()
    right.square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    assert not list(packed.parameters())
    held = sum(buffer.nbytes for buffer in packed.buffers())
    assert held == 64 * 24 / 2 + 64 * 24 / 64 * 4 + bias * 24 * 4


def test_the_backward_pass_keeps_no_unpacked_weight():
    packed = NF4Linear(nn.Linear(256, 128, bias=False))
    kept = []
    x = torch.ones(1, 256, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        packed(x)
    assert sum(kept) < 256 * 128 / 10


def test_lora_on_four_bits_learns():
    torch.manual_seed(0)
    model = nn.Sequential(NF4Linear(nn.Linear(64, 32)), nn.ReLU(), nn.Linear(32, 2))
    add_lora(model, ["0"], rank=4, alpha=4)
    assert isinstance(model[0], LoRALinear)
    packed = model[0].base.packed.clone()
    x = torch.randn(16, 64)
    y = (x[:, 0] > 0).long()
    optimizer = torch.optim.Adam(model[0].parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert torch.equal(packed, model[0].base.packed)
