"""Chapter 06's exports against PyTorch and transformers, and their errors."""

import copy
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.activations import ACT2FN
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import (
    LlamaMLP,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)

from finetuning.scratch.attention import (
    causal_mask,
    multi_head_attention,
    scaled_dot_product_attention,
)
from finetuning.scratch.layers import (
    FeedForward,
    GatedFeedForward,
    LayerNorm,
    LearnedPositions,
    Residual,
    RMSNorm,
    TransformerShape,
    alibi_bias,
    alibi_slopes,
    apply_rotary,
    forward_flops,
    gelu,
    parameter_counts,
    rotary_angles,
    silu,
    sinusoidal_positions,
)

B, H, T, D, C = 2, 3, 7, 16, 24


def random(*shape: int, seed: int = 0, requires_grad: bool = False) -> torch.Tensor:
    tensor = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return tensor.requires_grad_(requires_grad)


def assert_same(
    ours: nn.Module, theirs: nn.Module, x: torch.Tensor, renamed: dict[str, str]
) -> None:
    """Same outputs, same gradients of all parameters (`renamed`: ours to theirs)."""
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    results = [
        module(value) for module, value in zip((ours, theirs), inputs, strict=True)
    ]
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    for result in results:
        result.backward(random(*result.shape, seed=9))
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-5, rtol=1e-5)
    their_parameters = dict(theirs.named_parameters())
    names = [name for name, _ in ours.named_parameters()]
    assert sorted(renamed.get(name, name) for name in names) == sorted(their_parameters)
    for name, parameter in ours.named_parameters():
        theirs_grad = their_parameters[renamed.get(name, name)].grad
        torch.testing.assert_close(parameter.grad, theirs_grad, atol=1e-5, rtol=1e-5)


# Positions added to the words


def test_sinusoidal_positions_are_the_papers_formula() -> None:
    positions = sinusoidal_positions(50, 8)
    assert positions.shape == (50, 8)
    assert positions.dtype == torch.float32
    for t in (0, 1, 49):
        for i in range(4):
            angle = t / 10_000 ** (2 * i / 8)
            assert positions[t, 2 * i].item() == pytest.approx(
                math.sin(angle), abs=1e-6
            )
            assert positions[t, 2 * i + 1].item() == pytest.approx(
                math.cos(angle), abs=1e-6
            )


def test_sinusoidal_positions_are_exact_far_out() -> None:
    far = sinusoidal_positions(100_001, 4)[-1]
    assert far[0].item() == pytest.approx(math.sin(100_000), abs=1e-6)
    assert sinusoidal_positions(0, 4).shape == (0, 4)


def test_another_base_turns_slower() -> None:
    assert sinusoidal_positions(2, 4, base=100.0)[1, 2].item() == pytest.approx(
        math.sin(0.1), abs=1e-6
    )


@settings(deadline=None, max_examples=30)
@given(first=st.integers(0, 300), second=st.integers(0, 300), shift=st.integers(0, 200))
def test_sinusoidal_dot_products_depend_on_distance_alone(
    first: int, second: int, shift: int
) -> None:
    positions = sinusoidal_positions(501, 32)
    here = positions[first] @ positions[second]
    there = positions[first + shift] @ positions[second + shift]
    assert here.item() == pytest.approx(there.item(), abs=1e-4)


@pytest.mark.parametrize("width", [0, 3, -2])
def test_sinusoidal_width_must_be_even(width: int) -> None:
    with pytest.raises(ValueError, match=rf"the width must be even, and it is {width}"):
        sinusoidal_positions(5, width)


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a text cannot have -1 positions"):
        sinusoidal_positions(-1, 4)


def test_learned_positions_are_an_embedding_added() -> None:
    layer, x = LearnedPositions(10, C), random(B, T, C)
    torch.testing.assert_close(layer(x), x + layer.table(torch.arange(T)))
    torch.testing.assert_close(
        layer(x, offset=3), x + layer.table(torch.arange(3, 3 + T))
    )
    torch.testing.assert_close(
        layer(random(T, C)), random(T, C) + layer.table.weight[:T]
    )
    layer(x, offset=3).sum().backward()
    assert (layer.table.weight.grad[:3] == 0).all()
    assert (layer.table.weight.grad[3:] == B).all()


def test_learned_positions_in_pieces_are_the_whole() -> None:
    layer, x = LearnedPositions(10, C), random(B, T, C)
    pieces = torch.cat([layer(x[:, :4]), layer(x[:, 4:], offset=4)], dim=1)
    torch.testing.assert_close(pieces, layer(x))


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (4, "positions 4 to 10 are asked for, and 0 to 9 were learnt"),
        (-1, "positions -1 to 5 are asked for, and 0 to 9 were learnt"),
    ],
)
def test_positions_outside_the_table_are_refused(offset: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearnedPositions(10, C)(random(B, T, C), offset=offset)


def test_learned_positions_refuse_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="x has 8 numbers a token, the positions 24"):
        LearnedPositions(10, C)(random(B, T, 8))
    with pytest.raises(
        ValueError, match="a table of 0 positions of width 24 has nothing in it"
    ):
        LearnedPositions(0, C)


# RoPE


def llama_rotary(base: float) -> LlamaRotaryEmbedding:
    rope = {"rope_type": "default", "rope_theta": base}
    config = LlamaConfig(hidden_size=H * D, num_attention_heads=H, rope_parameters=rope)
    return LlamaRotaryEmbedding(config)


@pytest.mark.parametrize("base", [10_000.0, 100_000.0])
@pytest.mark.parametrize("start", [0, 5, 8000])
def test_rotary_equals_transformers_in_outputs_and_gradients(
    base: float, start: int
) -> None:
    positions = torch.arange(start, start + T)
    query, key = (
        random(B, H, T, D, requires_grad=True),
        random(B, H, T, D, seed=1, requires_grad=True),
    )
    cos, sin = rotary_angles(positions, D, base)
    ours = (apply_rotary(query, cos, sin), apply_rotary(key, cos, sin))
    their_cos, their_sin = llama_rotary(base)(query, positions[None])
    theirs = apply_rotary_pos_emb(query, key, their_cos, their_sin)
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, yours, atol=1e-5, rtol=1e-5)
    upstream = random(B, H, T, D, seed=2)
    gradients = [
        torch.autograd.grad(pair, (query, key), (upstream, upstream))
        for pair in (ours, theirs)
    ]
    for mine, yours in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, yours, atol=1e-5, rtol=1e-5)


def test_rotary_positions_may_differ_in_a_batch() -> None:
    positions = torch.stack([torch.arange(T), torch.arange(T) + 4])  # (B, T)
    x = random(B, H, T, D)
    cos, sin = rotary_angles(positions, D)
    assert cos.shape == sin.shape == (B, T, D)
    together = apply_rotary(x, cos[:, None], sin[:, None])
    for row in range(B):
        torch.testing.assert_close(
            together[row], apply_rotary(x[row], *rotary_angles(positions[row], D))
        )


@settings(deadline=None, max_examples=30)
@given(
    query_at=st.integers(0, 60), key_at=st.integers(0, 60), shift=st.integers(0, 100)
)
def test_rotary_scores_depend_on_distance_alone(
    query_at: int, key_at: int, shift: int
) -> None:
    query, key = random(1, D), random(1, D, seed=1)

    def score(t: int, s: int) -> float:
        turned = [
            apply_rotary(x, *rotary_angles(torch.tensor([p]), D))
            for x, p in ((query, t), (key, s))
        ]
        return (turned[0] @ turned[1].mT).item() / math.sqrt(D)

    assert score(query_at, key_at) == pytest.approx(
        score(query_at + shift, key_at + shift), abs=2e-5
    )


def test_rotary_keeps_lengths_and_leaves_position_0_alone() -> None:
    x = random(B, H, T, D)
    turned = apply_rotary(x, *rotary_angles(torch.arange(T), D))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[..., 0, :], x[..., 0, :])
    assert not torch.allclose(turned[..., 1, :], x[..., 1, :])


def test_rotary_turns_number_i_with_number_i_plus_half() -> None:
    cos, sin = rotary_angles(torch.tensor([1]), 4)
    assert torch.equal(cos[:, :2], cos[:, 2:])
    one = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[math.cos(1), 0.0, math.sin(1), 0.0]])
    torch.testing.assert_close(apply_rotary(one, cos, sin), expected)


def test_rotary_with_a_cache_is_rotary_of_the_whole() -> None:
    query, key, value = (random(B, H, T, D, seed=seed) for seed in range(3))
    angles = rotary_angles(torch.arange(T), D)
    whole, _ = scaled_dot_product_attention(
        apply_rotary(query, *angles), apply_rotary(key, *angles), value, causal_mask(T)
    )
    last_query = apply_rotary(
        query[..., -1:, :], *rotary_angles(torch.tensor([T - 1]), D)
    )
    last, _ = scaled_dot_product_attention(
        last_query, apply_rotary(key, *angles), value
    )
    torch.testing.assert_close(last, whole[..., -1:, :])


def test_rotary_angles_are_float32_and_the_result_has_the_dtype_of_x() -> None:
    cos, sin = rotary_angles(torch.arange(T), D)
    assert cos.dtype == sin.dtype == torch.float32
    x = random(T, D).to(torch.bfloat16)
    turned = apply_rotary(x, cos, sin)
    assert turned.dtype == torch.bfloat16
    # transformers also brings the angles to the dtype of x first, so this is equal to
    # the bit.
    their_cos, their_sin = llama_rotary(10_000.0)(x[None], torch.arange(T)[None])
    theirs, _ = apply_rotary_pos_emb(x[None, None], x[None, None], their_cos, their_sin)
    assert torch.equal(turned, theirs[0, 0])


@pytest.mark.parametrize("head_width", [7, 0, -2])
def test_rotary_needs_an_even_head_width(head_width: int) -> None:
    with pytest.raises(
        ValueError, match=rf"the head width must be even, not {head_width}"
    ):
        rotary_angles(torch.arange(T), head_width)


@pytest.mark.parametrize(("tokens", "width"), [(1, D), (T + 1, D), (T, D // 2)])
def test_rotary_refuses_angles_of_other_tokens(tokens: int, width: int) -> None:
    # (1, D) would broadcast: every token turned as if it stood in one place.
    with pytest.raises(
        ValueError, match=r"7 tokens of 16 numbers need angles for \(T, D\)"
    ):
        apply_rotary(random(B, H, T, D), *rotary_angles(torch.arange(tokens), width))


# ALiBi


@pytest.mark.parametrize("heads", range(1, 40))
def test_slopes_are_those_of_bloom(heads: int) -> None:
    theirs = build_alibi_tensor(torch.ones(1, T), heads, torch.float32)[:, 0, 1]
    torch.testing.assert_close(alibi_slopes(heads), theirs, rtol=1e-6, atol=0)


def test_slopes_by_hand() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-n for n in range(1, 9)]
    assert alibi_slopes(2).tolist() == [2.0**-4, 2.0**-8]
    assert alibi_slopes(3).tolist() == [2.0**-4, 2.0**-8, 2.0**-2]


def test_bias_is_minus_slope_times_distance() -> None:
    bias = alibi_bias(8, 3)
    assert bias[0].tolist() == [[0.0, -0.5, -1.0], [-0.5, 0.0, -0.5], [-1.0, -0.5, 0.0]]
    torch.testing.assert_close(bias[3], bias[0] / 8)


def test_causal_weights_are_those_of_bloom() -> None:
    query, key, value = (random(B, 12, T, D, seed=seed) for seed in range(3))
    hidden = ~causal_mask(T)
    theirs = build_alibi_tensor(
        torch.ones(1, T), 12, torch.float32
    )  # (H, 1, S): without the query's place
    results = [
        scaled_dot_product_attention(
            query, key, value, bias.expand(12, T, T).masked_fill(hidden, -math.inf)
        )
        for bias in (alibi_bias(12, T), theirs)
    ]
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-5, rtol=1e-5)


def test_bias_for_the_last_tokens_is_the_last_rows() -> None:
    assert torch.equal(alibi_bias(4, 2, 9), alibi_bias(4, 9)[:, -2:])
    with pytest.raises(
        ValueError, match="9 targets cannot be the last of 2 source positions"
    ):
        alibi_bias(4, 9, 2)


def test_bias_serves_multi_head_attention_with_one_axis_more() -> None:
    x, bias = random(4, T, C), alibi_bias(4, T)  # as many sentences as heads
    together, _ = multi_head_attention(x, x, x, 4, bias[None])
    for row in range(4):
        alone, _ = multi_head_attention(
            x[row : row + 1], x[row : row + 1], x[row : row + 1], 4, bias[None]
        )
        torch.testing.assert_close(together[row : row + 1], alone)


@pytest.mark.parametrize("heads", [0, -3])
def test_alibi_needs_a_head(heads: int) -> None:
    with pytest.raises(ValueError, match=rf"at least one head, not {heads}"):
        alibi_slopes(heads)
    with pytest.raises(ValueError, match=rf"at least one head, not {heads}"):
        alibi_bias(heads, T)


# Activations and feed-forward

VALUES = torch.linspace(-12, 12, 4001)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (gelu, F.gelu),
        (lambda x: gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
        (gelu, ACT2FN["gelu"]),
        (lambda x: gelu(x, "tanh"), ACT2FN["gelu_new"]),
        (silu, F.silu),
    ],
    ids=["gelu", "gelu tanh", "BERT's gelu", "GPT-2's gelu", "silu"],
)
def test_activations_equal_the_libraries(ours, theirs) -> None:
    inputs = [VALUES.clone().requires_grad_() for _ in range(2)]
    results = [ours(inputs[0]), theirs(inputs[1])]
    torch.testing.assert_close(*results, atol=2e-6, rtol=1e-5)
    for result in results:
        result.sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-5, rtol=1e-5)


def test_an_unknown_approximation_is_refused() -> None:
    with pytest.raises(
        ValueError, match='approximate is "none" or "tanh", not \'sigmoid\''
    ):
        gelu(VALUES, "sigmoid")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("activation", "theirs"),
    [
        ("relu", nn.ReLU()),
        ("gelu", nn.GELU()),
        ("gelu_tanh", nn.GELU("tanh")),
        ("silu", nn.SiLU()),
    ],
)
def test_feed_forward_equals_torch(
    activation: str, theirs: nn.Module, bias: bool
) -> None:
    torch.manual_seed(0)
    ours = FeedForward(C, 4 * C, activation, bias=bias)
    sequential = nn.Sequential(
        nn.Linear(C, 4 * C, bias=bias), theirs, nn.Linear(4 * C, C, bias=bias)
    )
    sequential[0].load_state_dict(ours.up.state_dict())
    sequential[2].load_state_dict(ours.down.state_dict())
    kinds = ("weight", "bias")
    renamed = {
        f"{mine}.{kind}": f"{at}.{kind}"
        for mine, at in (("up", 0), ("down", 2))
        for kind in kinds
    }
    assert_same(ours, sequential, random(B, T, C), renamed)


@pytest.mark.parametrize("bias", [True, False])
def test_gated_feed_forward_equals_llamas(bias: bool) -> None:
    torch.manual_seed(0)
    ours = GatedFeedForward(C, 64, bias=bias)
    theirs = LlamaMLP(
        LlamaConfig(
            hidden_size=C, num_attention_heads=2, intermediate_size=64, mlp_bias=bias
        )
    )
    renamed = {name: name.replace(".", "_proj.") for name, _ in ours.named_parameters()}
    theirs.load_state_dict(
        {renamed[name]: weight for name, weight in ours.state_dict().items()}
    )
    assert_same(ours, theirs, random(B, T, C), renamed)


def test_feed_forward_treats_each_token_alone() -> None:
    for layer in (FeedForward(C, 8), GatedFeedForward(C, 8)):
        x = random(B, T, C)
        torch.testing.assert_close(layer(x)[1, 3], layer(x[1, 3]))


def test_feed_forward_drops_only_in_training() -> None:
    torch.manual_seed(0)
    layer, x = FeedForward(C, 64, dropout=0.5), random(B, T, C)
    plain = copy.deepcopy(layer).eval()
    assert not torch.allclose(layer.train()(x), plain(x))
    assert torch.equal(layer.eval()(x), plain(x))


def test_feed_forward_refuses_what_it_cannot_be() -> None:
    with pytest.raises(
        ValueError, match="no activation 'swish'; there are relu, gelu, gelu_tanh, silu"
    ):
        FeedForward(C, 8, "swish")
    for kind in (FeedForward, GatedFeedForward):
        with pytest.raises(
            ValueError, match="a feed-forward of width 24 and 0 hidden numbers is empty"
        ):
            kind(C, 0)


# Norms and residuals


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LayerNorm(C), nn.LayerNorm(C)),
        (LayerNorm(C, eps=1e-12), nn.LayerNorm(C, eps=1e-12)),
        (LayerNorm(C, bias=False), nn.LayerNorm(C, bias=False)),
        (RMSNorm(C), nn.RMSNorm(C, eps=1e-6)),
        (RMSNorm(C), LlamaRMSNorm(C)),
        (RMSNorm(C, eps=1e-5), LlamaRMSNorm(C, eps=1e-5)),
    ],
    ids=[
        "LayerNorm",
        "LayerNorm 1e-12",
        "LayerNorm without bias",
        "RMSNorm",
        "Llama",
        "Llama 1e-5",
    ],
)
def test_norms_equal_the_libraries(
    ours: nn.Module, theirs: nn.Module, scale: float
) -> None:
    ours, theirs = copy.deepcopy(ours), copy.deepcopy(theirs)
    with torch.no_grad():
        for number, parameter in enumerate(theirs.parameters()):
            parameter.copy_(random(C, seed=number))
    ours.load_state_dict(theirs.state_dict())
    # A gradient is as much larger as the values are smaller: compare them at the scale
    # of the result.
    inputs = [(random(B, T, C, seed=5) * scale).requires_grad_() for _ in range(2)]
    results = [
        module(value) for module, value in zip((ours, theirs), inputs, strict=True)
    ]
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    for result in results:
        result.backward(random(B, T, C, seed=6))
    torch.testing.assert_close(
        inputs[0].grad * scale, inputs[1].grad * scale, atol=1e-5, rtol=1e-5
    )
    for mine, yours in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, yours.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "norm", [LayerNorm(4), RMSNorm(4)], ids=["LayerNorm", "RMSNorm"]
)
def test_norm_gradients_agree_with_finite_differences(norm: nn.Module) -> None:
    x = random(3, 4).double().requires_grad_()
    norm = copy.deepcopy(norm).double()
    assert norm(x).dtype == torch.float64
    assert torch.autograd.gradcheck(norm, x)


@settings(deadline=None, max_examples=30)
@given(
    x=st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=8),
    scale=st.floats(0.5, 100),
    shift=st.floats(-100, 100),
)
def test_what_the_norms_do_not_see(x: list[float], scale: float, shift: float) -> None:
    tokens = torch.tensor(x, dtype=torch.float64)
    if tokens.std() < 0.1:
        return
    layer_norm, rms_norm = LayerNorm(8, eps=0.0).double(), RMSNorm(8, eps=0.0).double()
    torch.testing.assert_close(layer_norm(tokens * scale + shift), layer_norm(tokens))
    torch.testing.assert_close(rms_norm(tokens * scale), rms_norm(tokens))
    centred = tokens - tokens.mean()
    torch.testing.assert_close(layer_norm(tokens), rms_norm(centred))


def test_norms_see_one_token_at_a_time() -> None:
    for norm in (LayerNorm(C), RMSNorm(C)):
        x = random(B, T, C)
        torch.testing.assert_close(norm(x)[1, 2], norm(x[1, 2]))
        assert torch.equal(norm(torch.zeros(T, C)), torch.zeros(T, C))


def test_norms_are_computed_in_float32() -> None:
    x = torch.full((2, C), 300.0, dtype=torch.float16)
    x[:, ::2] = -300.0
    for norm in (LayerNorm(C), RMSNorm(C)):
        result = norm(x)
        assert result.dtype == torch.float16
        torch.testing.assert_close(
            result.float(), x.float() / 300, atol=1e-3, rtol=1e-3
        )


def test_in_bfloat16_rms_norm_is_llamas_to_the_bit() -> None:
    ours, theirs = RMSNorm(C).to(torch.bfloat16), LlamaRMSNorm(C).to(torch.bfloat16)
    with torch.no_grad():
        theirs.weight.copy_(random(C))
    ours.load_state_dict(theirs.state_dict())
    x = random(1000, C, seed=1).to(torch.bfloat16)
    assert torch.equal(ours(x), theirs(x))


def test_in_bfloat16_layer_norm_is_torchs_within_a_step() -> None:
    x = random(1000, C).to(torch.bfloat16)
    ours, theirs = LayerNorm(C).to(torch.bfloat16), nn.LayerNorm(C).to(torch.bfloat16)
    torch.testing.assert_close(
        ours(x).float(), theirs(x).float(), rtol=1.01 / 128, atol=1e-6
    )


def test_norms_name_a_wrong_width() -> None:
    for norm in (LayerNorm(C), RMSNorm(C)):
        with pytest.raises(ValueError, match="x has 1 numbers a token, this norm 24"):
            norm(random(B, T, 1))  # would broadcast


def test_residual_adds_and_norms_in_both_orders() -> None:
    x, sublayer = random(B, T, C), FeedForward(C, 8)
    post, pre = Residual(C), Residual(C, norm_first=True)
    torch.testing.assert_close(post(x, sublayer), F.layer_norm(x + sublayer(x), (C,)))
    torch.testing.assert_close(pre(x, sublayer), x + sublayer(F.layer_norm(x, (C,))))
    bare = Residual(C, norm=nn.Identity())
    torch.testing.assert_close(bare(x, sublayer), x + sublayer(x))
    assert isinstance(Residual(C, norm_first=True, norm=RMSNorm(C)).norm, RMSNorm)


@pytest.mark.parametrize("norm_first", [True, False])
def test_residual_and_feed_forward_are_the_second_half_of_torchs_layer(
    norm_first: bool,
) -> None:
    theirs = nn.TransformerEncoderLayer(
        C, H, 64, dropout=0.0, batch_first=True, norm_first=norm_first
    )
    feed_forward, residual = FeedForward(C, 64), Residual(C, norm_first=norm_first)
    feed_forward.up.load_state_dict(theirs.linear1.state_dict())
    feed_forward.down.load_state_dict(theirs.linear2.state_dict())
    residual.norm.load_state_dict(theirs.norm2.state_dict())
    x = random(B, T, C)

    def half(tokens: torch.Tensor) -> torch.Tensor:
        return theirs.linear2(F.relu(theirs.linear1(tokens)))

    expected = x + half(theirs.norm2(x)) if norm_first else theirs.norm2(x + half(x))
    torch.testing.assert_close(
        residual(x, feed_forward), expected, atol=1e-5, rtol=1e-5
    )


def test_residual_drops_the_sublayers_result_only() -> None:
    torch.manual_seed(0)
    residual, x = Residual(C, dropout=0.5, norm_first=True), random(B, T, C)
    change = residual(x, torch.ones_like) - x
    assert {round(value, 4) for value in change.unique().tolist()} == {0.0, 2.0}
    torch.testing.assert_close(
        residual.eval()(x, torch.ones_like) - x, torch.ones_like(x)
    )


# The bill

LLAMA = TransformerShape(3, 48, 6, 80, 100, key_value_heads=2, gated=True, bias=False)
BERT = TransformerShape(3, 48, 6, 80, 100, positions=32, segments=2, head="pooler")
GPT2 = TransformerShape(3, 48, 6, 192, 100, positions=32)


def model_of(shape: TransformerShape) -> nn.Module:
    """A model of transformers with these sizes."""
    common = {"vocab_size": shape.vocabulary, "attn_implementation": "eager"}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if shape.gated:
        return LlamaForCausalLM(
            LlamaConfig(
                **common,
                **special,
                hidden_size=shape.width,
                intermediate_size=shape.hidden,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                num_key_value_heads=shape.key_value_heads,
                tie_word_embeddings=shape.head == "tied",
            )
        )
    if shape.segments:
        return BertModel(
            BertConfig(
                **common,
                hidden_size=shape.width,
                intermediate_size=shape.hidden,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                max_position_embeddings=shape.positions,
            ),
            add_pooling_layer=shape.head == "pooler",
        )
    return GPT2LMHeadModel(
        GPT2Config(
            **common,
            **special,
            n_embd=shape.width,
            n_inner=shape.hidden,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_positions=shape.positions,
        )
    )


SHAPES = {
    "Llama": LLAMA,
    "Llama, untied": dataclasses.replace(LLAMA, head="untied"),
    "Llama, no grouping": dataclasses.replace(LLAMA, key_value_heads=6),
    "BERT": BERT,
    "BERT without pooler": dataclasses.replace(BERT, head="none"),
    "GPT-2": GPT2,
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_parameters_are_those_of_transformers(shape: TransformerShape) -> None:
    assert sum(parameter_counts(shape).values()) == model_of(shape).num_parameters()


@pytest.mark.parametrize("length", [1, 5, 32])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_flops_are_those_that_torch_counts(
    shape: TransformerShape, length: int
) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model_of(shape)(torch.ones(1, length, dtype=torch.long))
    # Some versions of transformers make RoPE's angles by a matrix product: D FLOPs a
    # token.
    angles = shape.width // shape.heads * length if shape.gated else 0
    assert counter.get_total_flops() - sum(forward_flops(shape, length).values()) in (
        0,
        angles,
    )


def test_flops_with_a_cache_and_with_few_predictions() -> None:
    model = model_of(LLAMA)
    ids = torch.ones(1, 9, dtype=torch.long)
    with torch.no_grad():
        cache = model(ids[:, :7], use_cache=True).past_key_values
        with FlopCounterMode(display=False) as counter:
            model(ids[:, 7:], past_key_values=cache, logits_to_keep=1)
    expected = sum(forward_flops(LLAMA, 2, source_length=9, predicted=1).values())
    assert counter.get_total_flops() - expected in (0, 2 * 8)


@settings(deadline=None, max_examples=50)
@given(length=st.integers(1, 5000), more=st.integers(0, 5000))
def test_only_the_scores_grow_with_what_is_looked_at(length: int, more: int) -> None:
    short, long = (
        forward_flops(LLAMA, length),
        forward_flops(LLAMA, length, length + more),
    )
    assert long["attention scores"] * length == short["attention scores"] * (
        length + more
    )
    assert {**long, "attention scores": 0} == {**short, "attention scores": 0}


def test_the_two_real_models() -> None:
    smollm = TransformerShape(
        30, 576, 9, 1536, 49152, key_value_heads=3, gated=True, bias=False
    )
    minilm = TransformerShape(
        6, 384, 12, 1536, 30522, positions=512, segments=2, head="pooler"
    )
    assert sum(parameter_counts(smollm).values()) == 134_515_008
    assert sum(parameter_counts(minilm).values()) == 22_713_216
    assert smollm.key_value_width == 192
    assert minilm.key_value_width == 384


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 0}, "layers must be at least 1, and it is 0"),
        ({"vocabulary": -5}, "vocabulary must be at least 1, and it is -5"),
        ({"key_value_heads": 0}, "key_value_heads must be at least 1, and it is 0"),
        ({"positions": -1}, "positions cannot be negative, and it is -1"),
        ({"heads": 5}, "a width of 48 cannot be divided among 5 heads"),
        ({"key_value_heads": 4}, "6 heads cannot share 4 keys and values evenly"),
        ({"head": "shared"}, "head is one of tied, untied, pooler, none, not 'shared'"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(LLAMA, **changes)


@pytest.mark.parametrize("name", ["layers", "hidden", "positions"])
@pytest.mark.parametrize("size", [None, 48.0, "48"])
def test_a_size_that_is_no_integer_is_refused_by_name(name: str, size: object) -> None:
    kind = type(size).__name__
    with pytest.raises(
        TypeError, match=f"{name} must be an integer, .* of type {kind}"
    ):
        dataclasses.replace(LLAMA, **{name: size})


@pytest.mark.parametrize("sizes", [(0,), (-1,), (5, 4), (5, 5, 6), (5, 5, -1)])
def test_impossible_lengths_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"tokens, .* positions to look at, .* to predict"
    ):
        forward_flops(LLAMA, *sizes)
