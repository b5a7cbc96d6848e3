"""Chapter 05's exports against autograd and PyTorch; memory is counted."""

import itertools
import math
from functools import reduce

import pytest
import torch
import torch.nn.functional as F

from finetuning.scratch.attention import (
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
)
from finetuning.scratch.attention_mathematics import (
    SoftmaxState,
    TensorMemory,
    attention_gradients,
    finish_state,
    merge_states,
    softmax_jacobian,
    softmax_state,
    tiled_attention,
    visible_blocks,
)

B, H, T, D, DV = 2, 3, 20, 8, 5

MASKS = {
    "none": None,
    "causal": causal_mask(T),
    "padding": padding_mask(torch.tensor([T, 7]), T)[:, None],
    "one row for all": torch.arange(T)[None] % 3 != 1,
    "whole tiles hidden": torch.arange(T)[None] >= 12,
    "rows that see nothing": causal_mask(T) & (torch.arange(T) >= 6),
    "nothing seen at all": torch.zeros(T, T, dtype=torch.bool),
    "each head its own": torch.rand(
        B, H, T, T, generator=torch.Generator().manual_seed(9)
    )
    > 0.4,
    "added": torch.randn(T, T, generator=torch.Generator().manual_seed(8)),
    "added, with −∞": torch.zeros(T, T).masked_fill(~causal_mask(T), -math.inf),
}


def random(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def inputs(
    dtype: torch.dtype = torch.float64, grad: bool = False
) -> list[torch.Tensor]:
    """Query, key and value, and the gradient that comes back from the loss."""
    shapes = ((B, H, T, D), (B, H, T, D), (B, H, T, DV), (B, H, T, DV))
    tensors = [
        random(*shape, seed=seed, dtype=dtype) for seed, shape in enumerate(shapes)
    ]
    return [x.requires_grad_() for x in tensors[:3]] + tensors[3:] if grad else tensors


def cast(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    return mask.to(dtype) if mask is not None and mask.is_floating_point() else mask


# Softmax


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_jacobian_equals_autograds(scale: float) -> None:
    scores = random(4, 6) * scale
    expected = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda z: z.softmax(dim=-1), row)
            for row in scores
        ]
    )
    torch.testing.assert_close(
        softmax_jacobian(scores.softmax(dim=-1)), expected, atol=1e-12, rtol=0
    )


def test_jacobian_is_a_covariance() -> None:
    jacobian = softmax_jacobian((random(7) * 3).softmax(dim=0))
    torch.testing.assert_close(jacobian, jacobian.mT)
    torch.testing.assert_close(
        jacobian.sum(dim=-1), torch.zeros(7, dtype=torch.float64), atol=1e-14, rtol=0
    )
    assert torch.linalg.eigvalsh(jacobian).min() > -1e-14


# Gradients by formula


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)]
)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_gradients_equal_autograds(
    mask: torch.Tensor | None, dtype: torch.dtype, tolerance: float
) -> None:
    *leaves, upstream = inputs(dtype, grad=True)
    mask = cast(mask, dtype)
    output, _ = scaled_dot_product_attention(*leaves, mask)
    expected = torch.autograd.grad(output, leaves, upstream)
    found = attention_gradients(*(x.detach() for x in leaves), upstream, mask)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def test_gradients_of_the_keys_cancel() -> None:
    _, d_key, _ = attention_gradients(*inputs(), causal_mask(T))
    assert d_key.abs().max() > 0.1
    assert d_key.sum(dim=-2).abs().max() < 1e-12


def test_gradients_refuse_the_masks_that_chapter_04_refuses() -> None:
    with pytest.raises(TypeError, match=r"call \.bool\(\) on it first"):
        attention_gradients(*inputs(), causal_mask(T).int())
    with pytest.raises(ValueError, match="does not broadcast to scores"):
        attention_gradients(*inputs(), causal_mask(T + 1))


@pytest.mark.parametrize(
    ("place", "shape"),
    [
        (0, (B, H, T, D + 1)),
        (1, (B, 1, T, D)),
        (2, (B, H, T - 1, DV)),
        (3, (T, DV)),
        (3, (B, H, T, D)),
    ],
)
def test_gradients_refuse_shapes_that_would_broadcast_in_silence(
    place: int, shape: tuple[int, ...]
) -> None:
    given = inputs()
    given[place] = random(*shape)
    with pytest.raises(ValueError, match="do not fit"):
        attention_gradients(*given)


# States


def states_of(
    scores: torch.Tensor, value: torch.Tensor, cuts: tuple[int, ...]
) -> list[SoftmaxState]:
    edges = list(itertools.pairwise((0, *cuts, scores.size(-1))))
    return [softmax_state(scores[..., a:b], value[..., a:b, :]) for a, b in edges]


@pytest.mark.parametrize("shift", [0.0, -1000.0, 1000.0])
@pytest.mark.parametrize("cuts", [(), (1,), (3, 4, 19), tuple(range(1, T))])
def test_states_merge_to_the_softmax_of_the_whole(
    cuts: tuple[int, ...], shift: float
) -> None:
    scores = (random(B, T, T, seed=3) * 5 + shift).masked_fill(
        ~causal_mask(T), -math.inf
    )
    value = random(B, T, DV, seed=4)
    states = states_of(scores, value, cuts)
    for order in (states, states[::-1]):
        output, log_sum_exp = finish_state(reduce(merge_states, order))
        torch.testing.assert_close(output, scores.softmax(dim=-1) @ value)
        torch.testing.assert_close(log_sum_exp, scores.logsumexp(dim=-1))


def test_merging_is_commutative_and_associative_and_nothing_is_neutral() -> None:
    scores, value = random(T, T, seed=3) * 5, random(T, DV, seed=4)
    a, b, c = states_of(scores, value, (5, 6))
    nothing = SoftmaxState(
        torch.full_like(a.maximum, -math.inf), a.total * 0, a.weighted * 0
    )
    for ours, theirs in [
        (merge_states(a, b), merge_states(b, a)),
        (merge_states(merge_states(a, b), c), merge_states(a, merge_states(b, c))),
        (merge_states(a, nothing), a),
        (merge_states(nothing, nothing), nothing),
    ]:
        for x, y in zip(ours, theirs, strict=True):
            torch.testing.assert_close(x, y)


def test_a_state_that_saw_nothing_is_finished_as_zero() -> None:
    state = softmax_state(torch.full((3, 4), -math.inf), torch.ones(4, 2))
    output, log_sum_exp = finish_state(state)
    assert torch.equal(output, torch.zeros(3, 2))
    assert log_sum_exp.isneginf().all()


def test_scores_that_overflow_an_exponential_are_no_trouble() -> None:
    state = reduce(
        merge_states,
        states_of(torch.tensor([[5000.0, 5000.0, -5000.0]]), torch.eye(3), (1, 2)),
    )
    assert torch.equal(finish_state(state)[0], torch.tensor([[0.5, 0.5, 0.0]]))


# Tiles


@pytest.mark.parametrize("block", [1, 6, 7, 20, 64])
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_tiles_equal_the_plain_form(
    mask: torch.Tensor | None, causal: bool, block: int
) -> None:
    *leaves, upstream = inputs(grad=True)
    mask = cast(mask, torch.float64)
    output, log_sum_exp = tiled_attention(*leaves, mask, causal=causal, block=block)
    whole = mask
    if causal and mask is None:
        whole = causal_mask(T)
    elif causal:
        hidden = torch.zeros(T, T, dtype=torch.float64).masked_fill(
            ~causal_mask(T), -math.inf
        )
        whole = mask & causal_mask(T) if mask.dtype == torch.bool else mask + hidden
    expected, weights = scaled_dot_product_attention(*leaves, whole)
    torch.testing.assert_close(output, expected)
    assert torch.equal(log_sum_exp.isneginf(), weights.sum(dim=-1) == 0)
    assert log_sum_exp.isnan().sum() == 0
    gradients = [torch.autograd.grad(x, leaves, upstream) for x in (output, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, theirs)


def test_tiles_equal_torchs_in_float32() -> None:
    *leaves, upstream = inputs(torch.float32, grad=True)
    ours, _ = tiled_attention(*leaves, causal=True, block=8)
    theirs = F.scaled_dot_product_attention(*leaves, is_causal=True)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    gradients = [torch.autograd.grad(x, leaves, upstream) for x in (ours, theirs)]
    for mine, yours in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, yours, atol=1e-5, rtol=1e-5)


def test_the_log_sum_exp_and_its_gradients() -> None:
    query, key, value, _ = inputs(grad=True)
    _, ours = tiled_attention(query, key, value, block=7)
    theirs = (query @ key.mT / math.sqrt(D)).logsumexp(dim=-1)
    torch.testing.assert_close(ours, theirs)
    gradients = [
        torch.autograd.grad(x.square().sum(), (query, key)) for x in (ours, theirs)
    ]
    for mine, yours in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, yours)


@pytest.mark.parametrize("causal", [False, True])
def test_tiles_agree_with_finite_differences(causal: bool) -> None:
    small = [random(2, 5, 3, seed=i).requires_grad_() for i in range(3)]
    assert torch.autograd.gradcheck(
        lambda *t: tiled_attention(*t, causal=causal, block=2), small
    )


def test_other_numbers_of_queries_and_keys_and_axes_that_broadcast() -> None:
    query = random(B, H, 9, D, seed=1).requires_grad_()
    key, value = (
        random(B, 1, 13, D, seed=seed).requires_grad_() for seed in (2, 3)
    )  # shared by the heads
    ours, log_sum_exp = tiled_attention(query, key, value, block=4)
    theirs, _ = scaled_dot_product_attention(query, key, value)
    assert log_sum_exp.shape == (B, H, 9)
    torch.testing.assert_close(ours, theirs)
    gradients = [
        torch.autograd.grad(x.square().sum(), (query, key, value))
        for x in (ours, theirs)
    ]
    for mine, yours in zip(*gradients, strict=True):
        assert mine.shape == yours.shape
        torch.testing.assert_close(mine, yours)


def test_without_axes_in_front() -> None:
    query, key, value = (
        random(T, D, seed=1),
        random(T, D, seed=2),
        random(T, DV, seed=3),
    )
    torch.testing.assert_close(
        tiled_attention(query, key, value)[0],
        scaled_dot_product_attention(query, key, value)[0],
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    *leaves, upstream = inputs(dtype, grad=True)
    output, log_sum_exp = tiled_attention(*leaves, causal=True, block=3)
    exact, _ = tiled_attention(*(x.detach().float() for x in leaves), causal=True)
    assert output.dtype == dtype
    assert log_sum_exp.dtype == torch.float32
    torch.testing.assert_close(
        output.float(), exact, atol=1e-6, rtol=torch.finfo(dtype).eps / 2 * 1.01
    )
    assert all(x.dtype == dtype for x in torch.autograd.grad(output, leaves, upstream))


def test_autocast_does_not_reach_the_tiles() -> None:
    *leaves, upstream = inputs(torch.float32, grad=True)
    expected, expected_sums = tiled_attention(*leaves, block=6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, log_sum_exp = tiled_attention(*leaves, block=6)
        found = torch.autograd.grad(output, leaves, upstream)
    assert output.dtype == log_sum_exp.dtype == torch.float32
    assert torch.equal(output, expected)
    assert torch.equal(log_sum_exp, expected_sums)
    for ours, theirs in zip(
        found, torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("length", "source"), [(0, T), (T, 0), (0, 0), (1, 1)])
def test_empty_texts_and_single_tokens(length: int, source: int) -> None:
    query, key, value = (
        random(length, D),
        random(source, D, seed=1),
        random(source, DV, seed=2),
    )
    output, log_sum_exp = tiled_attention(query, key, value)
    assert output.shape == (length, DV)
    assert log_sum_exp.shape == (length,)
    torch.testing.assert_close(
        output, scaled_dot_product_attention(query, key, value)[0]
    )


@pytest.mark.parametrize(("length", "block"), [(20, 6), (1, 4), (8, 8), (9, 1)])
def test_causal_visits_no_tile_that_is_hidden_and_every_other_once(
    length: int, block: int
) -> None:
    seen = torch.zeros(length, length, dtype=torch.long)
    for rows, blocks in visible_blocks(length, length, block, causal=True):
        for columns in blocks:
            assert columns.start < rows.stop
            seen[rows, columns] += 1
    assert seen.max() == 1
    assert (seen[causal_mask(length)] == 1).all()
    side = math.ceil(length / block)
    visited = sum(
        len(blocks) for _, blocks in visible_blocks(length, length, block, causal=True)
    )
    assert visited == side * (side + 1) // 2


def test_no_second_derivatives_are_claimed() -> None:
    *leaves, upstream = inputs(grad=True)
    output, _ = tiled_attention(*leaves)
    (gradient, *_) = torch.autograd.grad(
        output, leaves, upstream.requires_grad_(), create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"block": 0}, r"block is the side of a tile, at least 1, and this one is 0"),
        ({"query": random(B, H, T, D + 1)}, r"queries have 9 numbers and keys 8"),
        ({"value": random(B, H, T - 1, DV)}, r"20 keys have 19 values"),
        (
            {"query": random(B, H, 4, D), "causal": True},
            r"as many queries as keys, and there are 4 and 20",
        ),
        ({"mask": random(T, T).requires_grad_()}, r"the mask wants a gradient"),
        ({"mask": causal_mask(T + 1)}, r"does not broadcast to scores"),
        ({"query": random(D)}, r"for a single query, pass q\[None\]"),
    ],
)
def test_bad_input_gets_one_clear_sentence(change: dict, words: str) -> None:
    query, key, value, _ = inputs()
    with pytest.raises(ValueError, match=words):
        tiled_attention(**({"query": query, "key": key, "value": value} | change))


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"must be floating point.*call \.float\(\)"):
        tiled_attention(*(x.long() for x in inputs()[:3]))


def test_masks_of_ones_and_zeros_are_refused() -> None:
    with pytest.raises(TypeError, match=r"call \.bool\(\) on it first"):
        tiled_attention(*inputs()[:3], causal_mask(T).long())


# Memory


def test_memory_counts_what_is_alive_at_once() -> None:
    with TensorMemory() as memory:
        a = torch.ones(1000)
        b = a + 1
        del a
        c = b * 2
        c += 1
        d = c[:10].view(2, 5)
        assert (
            memory.live == 8000
        )  # b and c; views and in-place operations make nothing
        del b, c
        assert memory.live == 4000  # d keeps the memory of c
    assert memory.peak == 8000
    assert d.shape == (2, 5)


def test_memory_does_not_count_what_was_there_before() -> None:
    given = torch.ones(1000)
    with TensorMemory() as memory:
        given.mul_(2)
        kept = given.reshape(10, 100)
    assert memory.peak == memory.live == 0
    assert kept.sum() == 2000


def peak(length: int, tiled: bool, train: bool = False) -> int:
    query, key, value = (torch.zeros(length, 16, requires_grad=train) for _ in range(3))
    with torch.set_grad_enabled(train), TensorMemory() as memory:
        if tiled:
            output, _ = tiled_attention(query, key, value, causal=True, block=32)
        else:
            output, _ = scaled_dot_product_attention(query, key, value)
        if train:
            output.backward(torch.zeros_like(output))
    return memory.peak


def test_tiles_need_the_same_memory_beside_their_result_at_every_length() -> None:
    beside = {
        peak(length, tiled=True) - 4 * length * (16 + 1) for length in (128, 256, 1024)
    }
    assert len(beside) == 1


@pytest.mark.parametrize("train", [False, True])
def test_memory_of_tiles_grows_as_the_length_and_of_the_plain_form_as_its_square(
    train: bool,
) -> None:
    assert peak(1024, tiled=True, train=train) < 2.05 * peak(
        512, tiled=True, train=train
    )
    assert peak(1024, tiled=False, train=train) > 3.8 * peak(
        512, tiled=False, train=train
    )
