"""Right but unusual answers to chapter 06's exercises: none may be refused."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from finetuning.scratch.layers import TransformerShape

# 6.1


def by_a_loop(attention_mask):
    positions = torch.zeros_like(attention_mask)
    for text, row in enumerate(attention_mask.tolist()):
        count = 0
        for place, real in enumerate(row):
            positions[text, place] = count
            count += real
    return positions.clamp(max=attention_mask.size(1) - 1)


def by_numpy(attention_mask):
    return np.maximum(attention_mask.numpy().cumsum(axis=1) - 1, 0)


def by_triangle(attention_mask):
    length = attention_mask.size(1)
    before = torch.ones(length, length, dtype=torch.int64).tril(-1)
    return attention_mask @ before.T


def in_int32(attention_mask):
    counted = attention_mask.cumsum(dim=-1, dtype=torch.int32) - 1
    return counted * attention_mask.int()


def as_transformers_does(attention_mask):
    positions = attention_mask.long().cumsum(-1) - 1
    positions.masked_fill_(attention_mask == 0, 1)
    return positions


def tokens_before(attention_mask):
    return attention_mask.cumsum(dim=1) - attention_mask


# 6.3


def by_var_mean(x, weight, bias, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps) * weight + bias


def by_group_norm(x, weight, bias, eps=1e-5):
    rows = x.reshape(-1, x.size(-1))
    return F.group_norm(rows, 1, weight, bias, eps).reshape(x.shape)


def by_moments(x, weight, bias, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    square = x.square().mean(-1, keepdim=True)
    spread = (square - mean.square()).clamp(min=0) + eps
    return torch.addcmul(bias, (x - mean) / spread.sqrt(), weight)


def token_by_token(x, weight, bias, eps=1e-5):
    rows = [
        (row - row.mean()) / (row.var(correction=0) + eps) ** 0.5 * weight + bias
        for row in x.reshape(-1, x.size(-1))
    ]
    return torch.stack(rows).view_as(x)


def in_double(x, weight, bias, eps=1e-5):
    return F.layer_norm(x.double(), weight.shape, weight.double(), bias.double(), eps)


# 6.4


def by_get(config):
    fields = config.to_dict()
    kind = fields["model_type"]
    width = config.hidden_size
    inner = fields.get("intermediate_size", fields.get("n_inner"))
    return TransformerShape(
        config.num_hidden_layers,
        width,
        config.num_attention_heads,
        4 * width if inner is None else inner,
        config.vocab_size,
        fields.get("num_key_value_heads", config.num_attention_heads),
        kind == "llama",
        kind != "llama",
        {"gpt2": config.max_position_embeddings, "llama": 0}.get(
            kind, config.max_position_embeddings
        ),
        fields.get("type_vocab_size", 0),
        1,
        "pooler"
        if kind == "bert"
        else "tied"
        if config.tie_word_embeddings
        else "untied",
    )


class Shape(TransformerShape):
    """A subclass with nothing of its own."""


def as_a_subclass(config):
    return Shape(**vars(by_get(config)))


def shared_heads_where_they_differ(config):
    shape = vars(by_get(config)).copy()
    if shape["key_value_heads"] == shape["heads"]:
        shape["key_value_heads"] = None
    return TransformerShape(**shape)


# 6.5


def by_parameters(linear, gain, bias):
    new = nn.Linear(linear.in_features, linear.out_features)
    constant = torch.zeros(linear.out_features)
    if linear.bias is not None:
        constant += linear.bias.detach()
    if bias is not None:
        constant += (linear.weight.detach() * bias).sum(dim=1)
    new.weight = nn.Parameter(linear.weight.detach() @ torch.diag(gain))
    new.bias = nn.Parameter(constant)
    return new


def from_a_copy(linear, gain, bias):
    new = copy.deepcopy(linear)
    with torch.no_grad():
        if bias is not None:
            passed = linear.weight @ bias
            if new.bias is None:
                new.bias = nn.Parameter(passed)
            else:
                new.bias += passed
        new.weight *= gain
    return new


def by_trying(linear, gain, bias):
    """Columns found by giving unit vectors to the old map."""
    new = nn.Linear(linear.in_features, linear.out_features)
    shift = torch.zeros(linear.in_features) if bias is None else bias
    with torch.no_grad():
        constant = linear(shift)
        columns = linear(torch.diag(gain) + shift) - constant
        new.weight.copy_(columns.T)
        new.bias.copy_(constant)
    return new


def in_double_precision(linear, gain, bias):
    new = by_parameters(linear, gain, bias)
    return new.double()


# 6.6


def by_data(layers):
    for layer in layers:
        layer.attention.output.weight.data /= math.sqrt(2 * len(layers))
        layer.feed_forward.down.weight.data /= math.sqrt(2 * len(layers))


@torch.no_grad()
def by_mul(layers):
    matrices = [
        parameter
        for name, parameter in layers.named_parameters()
        if name.endswith(("attention.output.weight", "feed_forward.down.weight"))
    ]
    for matrix in matrices:
        matrix.mul_(len(matrices) ** -0.5)
    return layers


def by_copy(layers):
    with torch.no_grad():
        for layer in layers:
            for linear in (layer.attention.output, layer.feed_forward.down):
                linear.weight.copy_(linear.weight / (2 * len(layers)) ** 0.5)


def other_storage(layers):
    for layer in layers:
        for linear in (layer.attention.output, layer.feed_forward.down):
            linear.weight.data = linear.weight.data * (0.5 / len(layers)) ** 0.5


# 6.7


def by_slices(weight, heads):
    parts = [torch.cat([head[0::2], head[1::2]]) for head in weight.chunk(heads)]
    return torch.cat(parts)


def by_indices(weight, heads):
    width = len(weight) // heads
    order = [
        head * width + row
        for head in range(heads)
        for start in (0, 1)
        for row in range(start, width, 2)
    ]
    return weight[order]


def by_permutation_matrix(weight, heads):
    if not weight.is_floating_point():
        return by_indices(weight, heads)
    order = by_indices(torch.arange(len(weight)), heads)
    return torch.eye(len(weight), dtype=weight.dtype)[order] @ weight


def by_einops_like_reshape(weight, heads):
    rest = weight.shape[1:]
    pairs = weight.reshape(heads, -1, 2, *rest)
    return pairs.swapaxes(1, 2).reshape(weight.shape)


RIGHT = {
    "padded_positions": [
        by_a_loop,
        by_numpy,
        by_triangle,
        in_int32,
        as_transformers_does,
        tokens_before,
    ],
    "predictions": [
        (
            "tenfold",
            "different",
            "same",
            "different",
            "different",
            "tenfold",
            "same",
            "different",
            "same",
        )
    ],
    "mended_norm": [by_var_mean, by_group_norm, by_moments, token_by_token, in_double],
    "shape_of": [by_get, as_a_subclass, shared_heads_where_they_differ],
    "fold": [by_parameters, from_a_copy, by_trying, in_double_precision],
    "growth": [("linear", "constant", "exponential")],
    "shrink_outputs": [by_data, by_mul, by_copy, other_storage],
    "mended_to_halves": [
        by_slices,
        by_indices,
        by_permutation_matrix,
        by_einops_like_reshape,
    ],
}
