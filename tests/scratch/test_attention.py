"""Chapter 04's exports against PyTorch: outputs, gradients, masks and errors."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from finetuning.scratch.attention import (
    MultiHeadAttention,
    causal_mask,
    check_mask,
    masked_softmax,
    merge_heads,
    multi_head_attention,
    padding_mask,
    scaled_dot_product_attention,
    split_heads,
)

B, T, S, C, H = 2, 5, 7, 12, 3
LENGTHS = torch.tensor([S, 3])


def random(*shape: int, seed: int = 0, requires_grad: bool = False) -> torch.Tensor:
    tensor = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return tensor.requires_grad_(requires_grad)


def twin_of(ours: MultiHeadAttention, dropout: float = 0.0) -> nn.MultiheadAttention:
    """PyTorch's layer with copied weights."""
    bias = ours.query.bias is not None
    theirs = nn.MultiheadAttention(
        ours.width, ours.heads, dropout=dropout, bias=bias, batch_first=True
    )
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        if bias:
            theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    return theirs


MASKS = {
    "none": None,
    "causal": torch.ones(T, S, dtype=torch.bool).tril(),
    "padding": padding_mask(LENGTHS, S),
    "both": torch.ones(T, S, dtype=torch.bool).tril() & padding_mask(LENGTHS, S),
    "added": random(T, S, seed=9),
    "added infinity": torch.zeros(T, S).masked_fill(
        ~torch.ones(T, S, dtype=torch.bool).tril(), -torch.inf
    ),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_function_equals_torch_in_outputs_and_gradients(
    mask: torch.Tensor | None,
) -> None:
    tensors = [
        random(B, n, 4, seed=i, requires_grad=True) for i, n in enumerate((T, S, S))
    ]
    ours, weights = scaled_dot_product_attention(*tensors, mask)
    theirs = F.scaled_dot_product_attention(*tensors, attn_mask=mask)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(B, T))
    upstream = random(B, T, 4, seed=5)
    gradients = [
        torch.autograd.grad(result, tensors, upstream) for result in (ours, theirs)
    ]
    for mine, yours in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, yours, atol=1e-5, rtol=1e-5)


def test_values_may_have_another_width() -> None:
    output, weights = scaled_dot_product_attention(
        random(T, 4), random(S, 4), random(S, 9)
    )
    assert output.shape == (T, 9)
    assert weights.shape == (T, S)


def test_gradients_agree_with_finite_differences() -> None:
    tensors = [random(3, 2, seed=i).double().requires_grad_() for i in range(3)]
    assert torch.autograd.gradcheck(
        lambda *t: scaled_dot_product_attention(*t, causal_mask(3))[0], tensors
    )


@pytest.mark.parametrize("kind", ["boolean", "added"])
def test_a_row_that_sees_nothing_is_zero_and_has_finite_gradients(kind: str) -> None:
    mask = torch.ones(T, S, dtype=torch.bool)
    mask[:2] = False
    if kind == "added":
        mask = torch.zeros(T, S).masked_fill(~mask, -torch.inf)
    tensors = [
        random(n, 4, seed=i, requires_grad=True) for i, n in enumerate((T, S, S))
    ]
    with torch.autograd.set_detect_anomaly(True):
        output, weights = scaled_dot_product_attention(*tensors, mask)
        output[2:].square().sum().backward()
    assert (output[:2] == 0).all()
    assert (weights[:2] == 0).all()
    assert all(tensor.grad.isfinite().all() for tensor in tensors)
    assert (tensors[0].grad[:2] == 0).all()


def test_masked_softmax_without_a_mask_is_softmax() -> None:
    torch.testing.assert_close(
        masked_softmax(random(T, S)), random(T, S).softmax(dim=-1)
    )


def test_an_added_mask_keeps_the_dtype_of_the_scores() -> None:
    query = random(T, 4).to(torch.bfloat16)
    output, weights = scaled_dot_product_attention(
        query, query, query, torch.zeros(T, T)
    )
    assert output.dtype == weights.dtype == torch.bfloat16


def test_masks_say_true_where_one_may_look() -> None:
    assert causal_mask(3).tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    mask = padding_mask(torch.tensor([2, 0, 3]), 3)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[[True, True, False]], [[False] * 3], [[True] * 3]]


def test_dropout_acts_on_the_output_and_not_on_the_weights_returned() -> None:
    tensors = [random(200, 8, seed=i) for i in range(3)]
    torch.manual_seed(0)
    output, weights = scaled_dot_product_attention(*tensors, dropout=0.5)
    plain, plain_weights = scaled_dot_product_attention(*tensors)
    torch.testing.assert_close(weights, plain_weights)
    assert not torch.allclose(output, plain)
    # Dropout scales up what remains: on average the output is the plain one.
    assert abs(output.mean() - plain.mean()) < 0.05


def test_heads_are_slices_of_each_token() -> None:
    x = torch.arange(B * T * C).reshape(B, T, C)
    heads = split_heads(x, H)
    assert heads.shape == (B, H, T, C // H)
    for head in range(H):
        assert torch.equal(heads[:, head], x[..., head * 4 : head * 4 + 4])
    assert torch.equal(merge_heads(heads), x)


CASES = {
    "unmasked": (None, {}),
    "causal": (
        torch.ones(T, S, dtype=torch.bool).tril(),
        {"attn_mask": ~torch.ones(T, S, dtype=torch.bool).tril()},
    ),
    "padding": (
        padding_mask(LENGTHS, S),
        {"key_padding_mask": ~padding_mask(LENGTHS, S)[:, 0]},
    ),
    "added": (random(T, S, seed=3), {"attn_mask": random(T, S, seed=3)}),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("crossed", [True, False], ids=["cross", "self"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_layer_equals_torch(case: tuple, crossed: bool, bias: bool) -> None:
    mask, their_masks = case
    torch.manual_seed(0)
    layer = MultiHeadAttention(C, H, bias=bias)
    theirs = twin_of(layer)
    x = random(B, T, C, seed=1) if crossed else random(B, S, C, seed=1)
    source = random(B, S, C, seed=2) if crossed else x
    if (
        not crossed and mask is not None and mask.shape[-2] == T
    ):  # these masks have T rows; self-attention has S
        mask = mask.new_ones(S, S) if mask.dtype == torch.bool else random(S, S, seed=3)
        mask = mask.tril() if mask.dtype == torch.bool else mask
        their_masks = {"attn_mask": ~mask if mask.dtype == torch.bool else mask}
    ours, weights = layer(x, source if crossed else None, mask, return_weights=True)
    expected, their_weights = theirs(
        x, source, source, average_attn_weights=False, **their_masks
    )
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights, their_weights, atol=1e-5, rtol=1e-5)

    upstream = random(*ours.shape, seed=4)
    ours.backward(upstream)
    expected.backward(upstream)
    gradient = torch.cat(
        [part.weight.grad for part in (layer.query, layer.key, layer.value)]
    )
    torch.testing.assert_close(
        gradient, theirs.in_proj_weight.grad, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        layer.output.weight.grad, theirs.out_proj.weight.grad, atol=1e-5, rtol=1e-5
    )


def test_layer_returns_weights_only_on_request() -> None:
    layer, x = MultiHeadAttention(C, H), random(B, T, C)
    assert layer(x).shape == (B, T, C)
    output, weights = layer(x, return_weights=True)
    assert weights.shape == (B, H, T, T)
    torch.testing.assert_close(output, layer(x))


def test_each_sentence_gets_its_own_mask_even_where_batch_and_heads_are_equal() -> None:
    # (B, T, S) with B = H would broadcast to (1, H, T, S) and mask heads instead of
    # sentences.
    layer, x = MultiHeadAttention(C, H), random(H, T, C)
    mask = padding_mask(torch.tensor([1, 3, 5]), T)
    together = layer(x, mask=mask.expand(H, T, T))
    for sentence in range(H):
        alone = layer(x[sentence : sentence + 1], mask=mask[sentence : sentence + 1])
        torch.testing.assert_close(
            together[sentence : sentence + 1], alone, atol=1e-6, rtol=1e-5
        )


def test_a_mask_may_differ_from_head_to_head() -> None:
    layer, x = MultiHeadAttention(C, H), random(B, T, C)
    mask = torch.ones(B, H, T, T, dtype=torch.bool)
    mask[:, 1] = causal_mask(T)
    _, weights = layer(x, mask=mask, return_weights=True)
    assert (weights[:, 1].triu(1) == 0).all()
    assert (weights[:, 0].triu(1) != 0).any()


def test_causal_layer_does_not_see_the_future() -> None:
    layer, x = MultiHeadAttention(C, H), random(B, T, C)
    before = layer(x, mask=causal_mask(T))
    changed = x.clone()
    changed[:, 3] += 1.0
    after = layer(changed, mask=causal_mask(T))
    assert torch.equal(before[:, :3], after[:, :3])
    assert ((before - after)[:, 3:].abs().amax(dim=-1) > 1e-6).all()


def test_padding_changes_nothing() -> None:
    layer, x = MultiHeadAttention(C, H), random(1, 3, C)
    padded = torch.cat([x, random(1, 4, C, seed=8)], dim=1)
    together = layer(padded, mask=padding_mask(torch.tensor([3]), 7))
    torch.testing.assert_close(together[:, :3], layer(x), atol=1e-6, rtol=1e-5)


def test_dropout_only_in_training() -> None:
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(C, H, dropout=0.5), random(B, T, C)
    plain = copy.deepcopy(layer).eval()
    assert not torch.allclose(layer.train()(x), plain(x))
    assert torch.equal(layer.eval()(x), plain(x))


@pytest.mark.parametrize(("width", "heads"), [(10, 3), (8, 0), (8, -2), (4, 8)])
def test_heads_must_divide_the_width(width: int, heads: int) -> None:
    with pytest.raises(
        ValueError, match=rf"{width}.*cannot be divided among {heads} heads"
    ):
        MultiHeadAttention(width, heads)
    with pytest.raises(
        ValueError, match=rf"{width}.*cannot be divided among {heads} heads"
    ):
        split_heads(random(B, T, width), heads)


def test_wrong_last_dimensions_are_named() -> None:
    layer = MultiHeadAttention(C, H)
    with pytest.raises(ValueError, match=r"x has 8 numbers a token, this layer 12"):
        layer(random(B, T, 8))
    with pytest.raises(
        ValueError, match=r"source has 8 numbers a token, this layer 12"
    ):
        layer(random(B, T, C), random(B, S, 8))
    with pytest.raises(ValueError, match=r"queries have 4 numbers and keys 6"):
        scaled_dot_product_attention(random(T, 4), random(S, 6), random(S, 4))
    with pytest.raises(ValueError, match=r"7 keys have 6 values"):
        scaled_dot_product_attention(random(T, 4), random(S, 4), random(6, 4))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_masks_of_ones_and_zeros_are_refused(dtype: torch.dtype) -> None:
    mask = causal_mask(T).to(dtype)
    for call in (
        lambda: scaled_dot_product_attention(
            random(T, 4), random(T, 4), random(T, 4), mask
        ),
        lambda: MultiHeadAttention(C, H)(random(B, T, C), mask=mask),
    ):
        with pytest.raises(TypeError, match=r"call \.bool\(\) on it first"):
            call()


@pytest.mark.parametrize("shape", [(T, S + 1), (S, T), (B + 1, T, S), (1, B, T, S)])
def test_masks_of_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="does not broadcast to scores"):
        check_mask(torch.ones(shape, dtype=torch.bool), torch.Size((B, T, S)))


@pytest.mark.parametrize(
    "shape", [(T, S), (1, S), (T, 1), (B, T, S), (B, 1, S), (B, 1, 1), (S,)]
)
def test_masks_that_broadcast_are_taken(shape: tuple[int, ...]) -> None:
    check_mask(torch.ones(shape, dtype=torch.bool), torch.Size((B, T, S)))


def test_multi_head_function_is_the_layer_without_its_maps() -> None:
    x = random(B, T, C)
    output, weights = multi_head_attention(x, x, x, heads=1)
    expected, expected_weights = scaled_dot_product_attention(x, x, x)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(weights[:, 0], expected_weights)
