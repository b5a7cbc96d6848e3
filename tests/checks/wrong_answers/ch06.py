"""Wrong answers to chapter 06's exercises, each with a part of its diagnosis."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from finetuning.scratch.layers import TransformerShape

# 6.1


def columns_numbered(attention_mask):
    return torch.arange(attention_mask.size(1)).expand_as(attention_mask)


def counted_from_one(attention_mask):
    return attention_mask.cumsum(dim=1)


def minus_one_on_padding(attention_mask):
    return attention_mask.cumsum(dim=1) - 1


def down_the_batch(attention_mask):
    return (attention_mask.cumsum(dim=0) - 1).clamp(min=0)


def as_fractions(attention_mask):
    return (attention_mask.float().cumsum(dim=1) - 1).clamp(min=0)


def for_left_padding_only(attention_mask):
    padding = (attention_mask == 0).sum(dim=1, keepdim=True)
    return (torch.arange(attention_mask.size(1)) - padding).clamp(min=0)


def counter_not_reset(attention_mask):
    counted = attention_mask.flatten().cumsum(dim=0).view_as(attention_mask) - 1
    return counted % attention_mask.size(1)


def padding_past_the_end(attention_mask):
    return (attention_mask.cumsum(dim=1) - 1).masked_fill(
        attention_mask == 0, attention_mask.size(1)
    )


def counted_from_the_end(attention_mask):
    return (attention_mask.flip(1).cumsum(dim=1) - 1).clamp(min=0).flip(1)


def one_row_for_all(attention_mask):
    return torch.arange(attention_mask.size(1))


def counted_in_place(attention_mask):
    attention_mask[:] = attention_mask.cumsum(dim=1) - 1
    return attention_mask.clamp_(min=0)


def padding_in_front_only(attention_mask):
    first = attention_mask.argmax(dim=1, keepdim=True)
    return (torch.arange(attention_mask.size(1)) - first).clamp(min=0)


def tokens_and_holes(attention_mask):
    """Right but where padding lies between tokens."""
    real = attention_mask.sum(dim=1, keepdim=True)
    columns = torch.arange(attention_mask.size(1))
    front = attention_mask[:, :1] == 0
    moved = columns - (attention_mask.size(1) - real) * front
    return moved.clamp(0, attention_mask.size(1) - 1)


def five_places(attention_mask):
    """A length written in."""
    return (attention_mask.cumsum(dim=1) - 1).clamp(0, 4)


def row_by_row_of_three(attention_mask):
    positions = torch.zeros_like(attention_mask)
    for row in range(3):
        positions[row] = (attention_mask[row].cumsum(0) - 1).clamp(min=0)
    return positions


def a_hundred_for_padding(attention_mask):
    positions = attention_mask.cumsum(dim=1) - 1
    return positions.masked_fill(attention_mask == 0, 100)


# 6.2


def predicted(**wrong):
    """The right predictions, but for those given, in the check's order."""
    right = {
        "relu_input": "tenfold",
        "gelu_input": "different",
        "swiglu_up": "same",
        "swiglu_gate": "different",
        "layer_norm_gain": "different",
        "stream": "tenfold",
        "rotary_moved": "same",
        "rotary_key_bias": "different",
        "alibi_columns": "same",
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


# 6.3


def norm_over(*axes):
    """LayerNorm whose statistics run over these axes."""

    def norm(x, weight, bias, eps=1e-5):
        axis = [a for a in axes if -x.dim() <= a < x.dim()]
        centred = x - x.mean(dim=axis, keepdim=True)
        return (
            centred
            / (centred.square().mean(dim=axis, keepdim=True) + eps).sqrt()
            * weight
            + bias
        )

    return norm


def all_but_the_first(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[1:], eps=eps) * weight + bias


def whole_tensor(x, weight, bias, eps=1e-5):
    return (x - x.mean()) / (x.var(correction=0) + eps).sqrt() * weight + bias


def fixed_for_three_axes(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=2, keepdim=True)
    return (
        centred / (centred.square().mean(dim=2, keepdim=True) + eps).sqrt() * weight
        + bias
    )


def rms_only(x, weight, bias, eps=1e-5):
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight + bias


def by_std(x, weight, bias, eps=1e-5):
    return (x - x.mean(dim=-1, keepdim=True)) / (
        x.std(dim=-1, keepdim=True) + eps
    ) * weight + bias


def by_var(x, weight, bias, eps=1e-5):
    return (x - x.mean(dim=-1, keepdim=True)) / (
        x.var(dim=-1, keepdim=True) + eps
    ).sqrt() * weight + bias


def eps_outside(x, weight, bias, eps=1e-5):
    spread = x.std(dim=-1, correction=0, keepdim=True)
    return (x - x.mean(dim=-1, keepdim=True)) / (spread + eps) * weight + bias


def root_forgotten(x, weight, bias, eps=1e-5):
    variance = x.var(dim=-1, correction=0, keepdim=True)
    return (x - x.mean(dim=-1, keepdim=True)) / (variance + eps) * weight + bias


def eps_fixed(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], weight, bias)


def bias_before_weight(x, weight, bias, eps=1e-5):
    return (F.layer_norm(x, x.shape[-1:], eps=eps) + bias) * weight


def no_affine(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], eps=eps)


def statistics_detached(x, weight, bias, eps=1e-5):
    mean = x.mean(dim=-1, keepdim=True).detach()
    variance = x.var(dim=-1, correction=0, keepdim=True).detach()
    return (x - mean) / (variance + eps).sqrt() * weight + bias


def mean_and_variance(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def centred_for_the_variance_only(x, weight, bias, eps=1e-5):
    return x / (x.var(dim=-1, correction=0, keepdim=True) + eps).sqrt() * weight + bias


def length_one(x, weight, bias, eps=1e-5):
    return F.normalize(x - x.mean(dim=-1, keepdim=True), dim=-1) * weight + bias


def as_numpy(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps).detach().numpy()


def centred_in_place(x, weight, bias, eps=1e-5):
    x -= x.mean(dim=-1, keepdim=True)
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight + bias


def half_of_eight(x, weight, bias, eps=1e-5):
    """A width written in."""
    centred = x - x.sum(dim=-1, keepdim=True) / 8
    variance = centred.square().sum(dim=-1, keepdim=True) / 8
    return centred / (variance + eps).sqrt() * weight + bias


def in_half_precision(x, weight, bias, eps=1e-5):
    half = [part.bfloat16() for part in (x, weight, bias)]
    return F.layer_norm(half[0], x.shape[-1:], *half[1:], eps)


def in_single(x, weight, bias, eps=1e-5):
    single = [part.float() for part in (x, weight, bias)]
    return F.layer_norm(single[0], x.shape[-1:], *single[1:], eps)


def eps_twice(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True) + eps
    return centred / (variance + eps).sqrt() * weight + bias


def batches_flattened(x, weight, bias, eps=1e-5):
    batch, length, width = x.shape
    rows = x.reshape(batch * length, width)
    return norm_over(1)(rows, weight, bias, eps).reshape(x.shape)


def no_eps(x, weight, bias, eps=1e-5):
    return norm_over(-1)(x, weight, bias, 0.0)


def places_swapped(x, weight, bias, eps=1e-5):
    return norm_over(-1)(x, bias, weight, eps)


def averaged_deviation(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.abs().mean(dim=-1, keepdim=True) + eps) * weight + bias


def bias_changed(x, weight, bias, eps=1e-5):
    result = F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    bias += 1.0
    return result


# 6.4


def shape_like(gpt2=(), bert=(), llama=()):
    """The right `shape_of`, but for these fields; a function computes one."""

    def shape_of(config):
        fields = {
            "layers": config.num_hidden_layers,
            "width": config.hidden_size,
            "heads": config.num_attention_heads,
            "vocabulary": config.vocab_size,
            "head": "tied" if config.tie_word_embeddings else "untied",
        }
        if config.model_type == "gpt2":
            fields |= {
                "hidden": config.n_inner or 4 * config.n_embd,
                "positions": config.n_positions,
            }
            wrong = dict(gpt2)
        elif config.model_type == "bert":
            fields |= {
                "hidden": config.intermediate_size,
                "positions": config.max_position_embeddings,
                "segments": config.type_vocab_size,
                "head": "pooler",
            }
            wrong = dict(bert)
        else:
            fields |= {
                "hidden": config.intermediate_size,
                "key_value_heads": config.num_key_value_heads,
            }
            fields |= {"gated": True, "bias": False}
            wrong = dict(llama)
        fields |= {
            name: value(config) if callable(value) else value
            for name, value in wrong.items()
        }
        return TransformerShape(**fields)

    return shape_of


def sizes_as_dictionary(config):
    return {"layers": config.num_hidden_layers, "width": config.hidden_size}


def none_for_hidden(config):
    return TransformerShape(
        12, 768, 12, config.n_inner, config.vocab_size, positions=config.n_positions
    )


def tables_swapped(config):
    shape = shape_like()(config)
    if config.model_type != "bert":
        return shape
    return shape_like(
        bert={"positions": config.type_vocab_size, "segments": shape.positions}
    )(config)


def segments_among_positions(config):
    total = getattr(config, "type_vocab_size", 0)
    shape = shape_like()(config)
    return shape_like(bert={"positions": shape.positions + total, "segments": 0})(
        config
    )


def config_changed(config):
    config.n_inner = getattr(config, "n_inner", None) or 4 * config.hidden_size
    return shape_like()(config)


# 6.5


def folded(linear, weight, bias):
    new = nn.Linear(linear.in_features, linear.out_features, bias=bias is not None)
    with torch.no_grad():
        new.weight.copy_(weight)
        if bias is not None:
            new.bias.copy_(bias)
    return new


def sum_of(*parts):
    parts = [part for part in parts if part is not None]
    return sum(parts) if parts else None


def gain_on_the_rows(linear, gain, bias):
    passed = None if bias is None else linear.weight @ bias
    scaled = linear.weight * (
        gain[:, None] if linear.in_features == linear.out_features else gain
    )
    return folded(linear, scaled, sum_of(linear.bias, passed))


def gain_on_the_rows_always(linear, gain, bias):
    return folded(linear, gain[:, None] * linear.weight, linear.bias)


def gain_forgotten(linear, gain, bias):
    passed = None if bias is None else linear.weight @ bias
    return folded(linear, linear.weight, sum_of(linear.bias, passed))


def gain_divided_out(linear, gain, bias):
    passed = None if bias is None else linear.weight @ bias
    return folded(linear, linear.weight / gain, sum_of(linear.bias, passed))


def norm_bias_forgotten(linear, gain, bias):
    return folded(linear, linear.weight * gain, linear.bias)


def norm_bias_as_it_is(linear, gain, bias):
    fits = bias is not None and len(bias) == linear.out_features
    passed = bias if fits else None if bias is None else linear.weight @ bias
    return folded(linear, linear.weight * gain, sum_of(linear.bias, passed))


def norm_bias_through_the_new_weight(linear, gain, bias):
    passed = None if bias is None else (linear.weight * gain) @ bias
    return folded(linear, linear.weight * gain, sum_of(linear.bias, passed))


def own_bias_lost(linear, gain, bias):
    return folded(
        linear, linear.weight * gain, None if bias is None else linear.weight @ bias
    )


def no_bias_where_there_was_none(linear, gain, bias):
    if linear.bias is None:
        return folded(linear, linear.weight * gain, None)
    passed = None if bias is None else linear.weight @ bias
    return folded(linear, linear.weight * gain, sum_of(linear.bias, passed))


def folded_in_place(linear, gain, bias):
    with torch.no_grad():
        if bias is not None and linear.bias is not None:
            linear.bias += linear.weight @ bias
        linear.weight *= gain
    return linear


def folded_twice(linear, gain, bias):
    passed = None if bias is None else linear.weight @ bias
    return folded(linear, linear.weight * gain * gain, sum_of(linear.bias, passed))


def weight_only(linear, gain, bias):
    return linear.weight * gain


def axes_swapped(linear, gain, bias):
    new = nn.Linear(linear.out_features, linear.in_features)
    with torch.no_grad():
        new.weight.copy_((linear.weight * gain).mT)
    return new


def shared_bias(linear, gain, bias):
    new = folded(linear, linear.weight * gain, None)
    if linear.bias is None and bias is None:
        return new
    if bias is None:
        new.bias = linear.bias
        return new
    return folded(
        linear, linear.weight * gain, sum_of(linear.bias, linear.weight @ bias)
    )


def gain_in_place(linear, gain, bias):
    passed = None if bias is None else linear.weight @ bias
    gain *= 1.5
    return folded(linear, linear.weight * gain / 1.5, sum_of(linear.bias, passed))


def gain_by_diagonal(linear, gain, bias):
    passed = None if bias is None else linear.weight @ bias
    return folded(linear, torch.diag(gain) @ linear.weight, sum_of(linear.bias, passed))


def through_the_transpose(linear, gain, bias):
    passed = None if bias is None else linear.weight.mT @ bias
    return folded(linear, linear.weight * gain, sum_of(linear.bias, passed))


def square_root_of_gain(linear, gain, bias):
    passed = None if bias is None else linear.weight @ bias
    return folded(linear, linear.weight * gain.abs(), sum_of(linear.bias, passed))


def biases_subtracted(linear, gain, bias):
    passed = None if bias is None else -(linear.weight @ bias)
    return folded(linear, linear.weight * gain, sum_of(linear.bias, passed))


def none_forgotten(linear, gain, bias):
    return folded(
        linear, linear.weight * gain, sum_of(linear.bias, linear.weight @ bias)
    )


def own_bias_forgotten_to_be_none(linear, gain, bias):
    passed = 0 if bias is None else linear.weight @ bias
    return folded(linear, linear.weight * gain, linear.bias + passed)


def both_lost(linear, gain, bias):
    return folded(linear, linear.weight * gain, None)


def twice_and_own_lost(linear, gain, bias):
    passed = None if bias is None else (linear.weight * gain) @ bias
    return folded(linear, linear.weight * gain, passed)


# 6.6


def shrinking(factor, attention=True, feed_forward=True):
    """`shrink_outputs` with a factor computed from the depth and a layer's number."""

    def shrink_outputs(layers):
        with torch.no_grad():
            for number, layer in enumerate(layers):
                if attention:
                    layer.attention.output.weight *= factor(len(layers), number)
                if feed_forward:
                    layer.feed_forward.down.weight *= factor(len(layers), number)

    return shrink_outputs


def every_matrix(layers):
    with torch.no_grad():
        for parameter in layers.parameters():
            if parameter.dim() == 2:
                parameter *= (2 * len(layers)) ** -0.5


def drawn_anew(layers):
    for layer in layers:
        for linear in (layer.attention.output, layer.feed_forward.down):
            nn.init.normal_(
                linear.weight, std=(linear.in_features * 2 * len(layers)) ** -0.5
            )


def a_copy_changed(layers):
    for layer in layers:
        for linear in (layer.attention.output, layer.feed_forward.down):
            linear.weight.detach().clone().mul_((2 * len(layers)) ** -0.5)


def gradient_in_the_way(layers):
    for layer in layers:
        layer.attention.output.weight *= (2 * len(layers)) ** -0.5


def one_more_layer(layers):
    layers.append(copy.deepcopy(layers[0]))


def first_matrix(layers):
    with torch.no_grad():
        for layer in layers:
            layer.attention.output.weight *= (2 * len(layers)) ** -0.5
            layer.feed_forward.up.weight *= (2 * len(layers)) ** -0.5


def other_parameters(layers):
    """Right numbers, but in new parameters."""
    factor = (2 * len(layers)) ** -0.5
    for layer in layers:
        for linear in (layer.attention.output, layer.feed_forward.down):
            linear.weight = nn.Parameter(linear.weight.detach() * factor)


def other_maps(layers):
    factor = (2 * len(layers)) ** -0.5
    with torch.no_grad():
        for layer in layers:
            new = copy.deepcopy(layer.attention.output)
            new.weight *= factor
            layer.attention.output = new
            layer.feed_forward.down.weight *= factor


def no_more_gradients(layers):
    for layer in layers:
        for linear in (layer.attention.output, layer.feed_forward.down):
            linear.weight.requires_grad_(False).mul_((2 * len(layers)) ** -0.5)


def two_layers_only(layers):
    with torch.no_grad():
        for layer in layers[:2]:
            layer.attention.output.weight *= (2 * len(layers)) ** -0.5
            layer.feed_forward.down.weight *= (2 * len(layers)) ** -0.5


def left_in_eval(layers):
    layers.eval()
    shrinking(lambda depth, number: (2 * depth) ** -0.5)(layers)


def drawn_globally(layers):
    torch.rand(1)
    shrinking(lambda depth, number: (2 * depth) ** -0.5)(layers)


def unlike_sublayers(layers):
    with torch.no_grad():
        for layer in layers:
            layer.attention.output.weight *= (2 * len(layers)) ** -0.5
            layer.feed_forward.down.weight *= len(layers) ** -0.5


def divided_where_it_was_multiplied(layers):
    with torch.no_grad():
        for layer in layers:
            layer.attention.output.weight /= (2 * len(layers)) ** -0.5
            layer.feed_forward.down.weight /= (2 * len(layers)) ** -0.5


# 6.7


def wrong_direction(weight, heads):
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def as_one_head(weight, heads):
    return weight.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)


def nothing_moved(weight, heads):
    return weight.unflatten(0, (heads, -1, 2)).flatten(0, 2)


def transposed_and_back(weight, heads):
    return (
        weight.unflatten(0, (heads, -1, 2))
        .transpose(1, 2)
        .transpose(1, 2)
        .flatten(0, 2)
    )


def odd_ones_first(weight, heads):
    return weight.unflatten(0, (heads, -1, 2)).flip(2).transpose(1, 2).flatten(0, 2)


def columns_moved(weight, heads):
    if weight.dim() == 1:
        return weight
    return torch.cat([weight[:, 0::2], weight[:, 1::2]], dim=1)


def reshaped_only(weight, heads):
    rows, inputs = weight.shape
    return (
        weight.view(heads, rows // heads // 2, 2, inputs)
        .transpose(1, 2)
        .reshape(rows, inputs)
    )


def second_half_reversed(weight, heads):
    rows = weight.unflatten(0, (heads, -1))
    return torch.cat([rows[:, 0::2], rows[:, 1::2].flip(1)], dim=1).flatten(0, 1)


def head_axis_last(weight, heads):
    return weight.unflatten(0, (-1, 2, heads)).transpose(0, 2).flatten(0, 2)


def heads_kept_apart(weight, heads):
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(1, 2)


def heads_of_eight(weight, heads):
    return weight.unflatten(0, (-1, 4, 2)).transpose(1, 2).flatten(0, 2)


def width_six(weight, heads):
    """The example of the hint written in."""
    order = torch.tensor([0, 2, 4, 1, 3, 5])
    rows = torch.arange(len(weight)).unflatten(0, (heads, -1))
    if rows.size(1) != 6:
        return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
    return weight[rows[:, order].flatten()]


def moved_in_place(weight, heads):
    weight[:] = weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
    return weight


def rows_and_columns(weight, heads):
    return weight.mT.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2).mT


def pairs_added(weight, heads):
    pairs = weight.unflatten(0, (heads, -1, 2))
    return torch.cat([pairs.sum(2), pairs[:, :, 0] - pairs[:, :, 1]], 1).flatten(0, 1)


def only_the_weight(weight, heads):
    if weight.dim() == 1:
        return weight
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def whole_numbers_as_floats(weight, heads):
    moved = weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
    return moved if weight.is_floating_point() else moved.float()


def in_floats(weight, heads):
    return weight.float().unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def weight_in_float32(weight, heads):
    if not weight.is_floating_point():
        return in_floats(weight, heads).long()
    return in_floats(weight, heads)


def pairs_in_another_order(weight, heads):
    return weight.unflatten(0, (heads, -1, 2)).flip(1).transpose(1, 2).flatten(0, 2)


WRONG = {
    "padded_positions": [
        (columns_numbered, "Padding is counted"),
        (counted_from_one, "the first token gets 1"),
        (minus_one_on_padding, "padding gets the position -1"),
        (down_the_batch, "runs down the batch"),
        (as_fractions, "it should hold whole numbers"),
        (for_left_padding_only, "wherever it stands"),
        (counter_not_reset, "gets [3, 4, 0, 1, 2] at its tokens"),
        (padding_past_the_end, "padding gets the position 5"),
        (counted_from_the_end, "counted from the end"),
        (one_row_for_all, "should be (3, 5)"),
        (counted_in_place, "must leave what it is given as it was"),
        (padding_in_front_only, "there may be some between"),
        (tokens_and_holes, "gets [0, 0, 2] at its tokens"),
        (five_places, "gets [0, 1, 2, 3, 4, 4, 4] at its tokens"),
        (row_by_row_of_three, "for 4 texts of 7 places"),
        (a_hundred_for_padding, "padding gets the position 100"),
        (lambda attention_mask: None, "returned None"),
        (lambda attention_mask: attention_mask.bool(), "it should hold numbers"),
    ],
    "predictions": [
        (predicted(relu_input="different"), "a positive and for a negative"),
        (predicted(gelu_input="tenfold"), "bends smoothly near 0"),
        (predicted(swiglu_up="different"), "pass through a product"),
        (predicted(swiglu_gate="same"), "pass through silu first"),
        (predicted(layer_norm_gain="same"), "do to the norm's bias"),
        (predicted(stream="same"), "in general, `stream`"),
        (predicted(stream="different"), "What then happens to the sum"),
        (predicted(rotary_moved="different"), "What becomes of t − s"),
        (predicted(rotary_key_bias="same"), "the angle of each key's position"),
        (predicted(alibi_columns="different"), "the same for all the keys"),
        (predicted(relu_input="x10"), "not one of the 3 answers"),
        (predicted(relu_input=None), "not one of the 3 answers"),
        (predicted(stream=10), "not one of the 3 answers"),
    ],
    "mended_norm": [
        (norm_over(1), "run over the tokens of a text as well"),
        (norm_over(-2), "run over the tokens of a text as well"),
        (norm_over(1, 2), "when one counts from the end"),
        (all_but_the_first, "run over the tokens of a text as well"),
        (whole_tensor, "run over the tokens of a text as well"),
        (norm_over(0), "run over the first axis"),
        (fixed_for_three_axes, "however many stand before it"),
        (rms_only, "this is RMSNorm"),
        (by_std, "divided by C − 1"),
        (by_var, "divided by C − 1"),
        (eps_outside, "inside the root"),
        (root_forgotten, "not by its root"),
        (eps_fixed, "eps has no effect"),
        (no_eps, "eps is missing"),
        (places_swapped, "have changed places"),
        (bias_before_weight, "it comes last"),
        (no_affine, "Weight and bias are not used"),
        (statistics_detached, "and the gradient of `x` is"),
        (centred_for_the_variance_only, "and not for the result"),
        (length_one, "the mean of their squares"),
        (as_numpy, "no gradient reaches the arguments"),
        (torch.no_grad()(mean_and_variance), "no gradient reaches the arguments"),
        (centred_in_place, "must leave what it is given as it was"),
        (bias_changed, "`bias` was"),
        (half_of_eight, "It is right for"),
        (in_half_precision, "digits are lost"),
        (in_single, "digits are lost"),
        (eps_twice, "the result is"),
        (averaged_deviation, "for x of shape (3, 5, 8), the result is"),
        (batches_flattened, "stopped with ValueError at `batch, length"),
    ],
    "shape_of": [
        (shape_like(gpt2={"positions": 0}), "beside the one of tokens"),
        (
            shape_like(gpt2={"hidden": lambda config: 4 * config.n_embd}),
            "with n_inner=100, `hidden` is 192",
        ),
        (shape_like(gpt2={"head": "tied"}), "`tied` stands for a head"),
        (
            shape_like(gpt2={"bias": False}),
            "Have this model's linear maps and norms biases",
        ),
        (shape_like(bert={"segments": 0}), "or 2 vectors of width 768"),
        (shape_like(bert={"head": "tied"}), "for BERT-base, head"),
        (shape_like(bert={"outer_norms": 0}), "beside the two of each layer"),
        (shape_like(gpt2={"positions": 1024}), "for a small GPT-2, embeddings"),
        (shape_like(bert={"segments": 2}), "or 1 vector of width 48"),
        (shape_like(gpt2={"heads": 8}), "`heads` is 8"),
        (
            shape_like(llama={"bias": True}),
            "Have this model's linear maps and norms biases",
        ),
        (shape_like(llama={"gated": False}), "How many matrices"),
        (shape_like(llama={"key_value_heads": None}), "heads share"),
        (
            shape_like(llama={"positions": 2048}),
            "2,048 vectors of width 576",
        ),
        (shape_like(llama={"head": "tied"}), "for a Llama whose head is not tied"),
        (sizes_as_dictionary, "should be a TransformerShape"),
        (none_for_hidden, "for GPT-2 small, `none_for_hidden` stopped with TypeError"),
        (
            shape_like(gpt2={"hidden": lambda config: config.n_inner}),
            "where that is None, it is four times",
        ),
        (tables_swapped, "all counts are right, and `positions`"),
        (segments_among_positions, "all counts are right, and `positions`"),
        (config_changed, "must leave what it is given as it was"),
    ],
    "fold": [
        (gain_on_the_rows, "It belongs to the inputs"),
        (gain_on_the_rows_always, "stopped with RuntimeError"),
        (gain_by_diagonal, "It belongs to the inputs"),
        (gain_forgotten, "The gain is not in the new weight"),
        (gain_divided_out, "has to be multiplied in"),
        (norm_bias_forgotten, "The norm's bias is lost"),
        (norm_bias_as_it_is, "what has the map made of it"),
        (norm_bias_through_the_new_weight, "multiplied by the gain as well"),
        (through_the_transpose, "stopped with RuntimeError"),
        (own_bias_lost, "own bias is lost"),
        (both_lost, "And so is the linear map's own"),
        (twice_and_own_lost, "And the linear map's own bias is lost"),
        (no_bias_where_there_was_none, "where the linear map has none of its own"),
        (folded_twice, "into the new weight twice"),
        (folded_in_place, "has changed"),
        (gain_in_place, "`gain` was"),
        (shared_bias, "shares numbers with its bias"),
        (weight_only, "should be an nn.Linear"),
        (axes_swapped, "(outputs, inputs)"),
        (square_root_of_gain, "where a gain is 0, another negative"),
        (biases_subtracted, "It is right for 6 numbers to 4, without"),
        (none_forgotten, "stopped with TypeError"),
        (own_bias_forgotten_to_be_none, "stopped with TypeError"),
        (lambda linear, gain, bias: linear, "as it was"),
        (lambda linear, gain, bias: copy.deepcopy(linear), "the new map's output"),
        (lambda linear, gain, bias: None, "returned None"),
    ],
    "growth": [
        (("constant", "constant", "exponential"), "`pre_norm` does not give 'const"),
        (("exponential", "constant", "exponential"), "again and again"),
        (("linear", "linear", "exponential"), "What variance does it leave behind"),
        (("linear", "constant", "linear"), "By which factor"),
        (("linear", "constant", "doubling"), "not one of the 3 answers"),
        (("linear", None, "exponential"), "not one of the 3 answers"),
    ],
    "shrink_outputs": [
        (shrinking(lambda depth, number: depth**-0.5), "how often does a layer add"),
        (
            shrinking(lambda depth, number: 1 / (2 * depth)),
            "a factor squared on the variance",
        ),
        (shrinking(lambda depth, number: 1 / depth), "a layer adds more than once"),
        (
            shrinking(lambda depth, number: (2 * (number + 1)) ** -0.5),
            "in the first and by",
        ),
        (shrinking(lambda depth, number: (2 * depth) ** 0.5), "became larger"),
        (divided_where_it_was_multiplied, "became larger"),
        (shrinking(lambda depth, number: 0.5**0.5), "as for every depth"),
        (shrinking(lambda depth, number: 12**-0.5), "as for every depth"),
        (shrinking(lambda depth, number: 0.3), "as for every depth"),
        (shrinking(lambda depth, number: 0.9**depth), "bring 3.39 in all"),
        (shrinking(lambda depth, number: -((2 * depth) ** -0.5)), "keep their sign"),
        (
            shrinking(lambda depth, number: (2 * depth + 1) ** -0.5),
            "need not be shared out",
        ),
        (
            shrinking(lambda depth, number: (2 * depth) ** -0.5, feed_forward=False),
            "is what it was",
        ),
        (every_matrix, "has changed too"),
        (first_matrix, "`feed_forward.up` has changed too"),
        (one_more_layer, "other parameters than before"),
        (drawn_anew, "no multiple of what it was"),
        (a_copy_changed, "is to become smaller."),
        (gradient_in_the_way, "stopped with RuntimeError"),
        (other_parameters, "is another parameter than before"),
        (other_maps, "is another parameter than before"),
        (no_more_gradients, "no longer takes gradients"),
        (two_layers_only, "in the first and by 1.000 in layer 2"),
        (unlike_sublayers, "multiplied by different factors"),
        (left_in_eval, "`train()` or `eval()`"),
        (drawn_globally, "the random numbers of everybody"),
    ],
    "mended_to_halves": [
        (wrong_direction, "The rows move the wrong way"),
        (as_one_head, "as if there were one head"),
        (nothing_moved, "where they were"),
        (transposed_and_back, "where they were"),
        (odd_ones_first, "turns every pair the other way"),
        (columns_moved, "The numbers within a row have changed places"),
        (reshaped_only, "stopped with ValueError"),
        (second_half_reversed, "runs backwards"),
        (head_axis_last, "stood in turn"),
        (heads_kept_apart, "it should be (18, 7)"),
        (heads_of_eight, "stopped with RuntimeError at `return weight"),
        (width_six, "`apply_rotary` turns these two together"),
        (moved_in_place, "must leave what it is given as it was"),
        (rows_and_columns, "stopped with"),
        (pairs_added, "rows that the weight did not have"),
        (only_the_weight, "for a bias of 3 heads"),
        (in_floats, "digits are lost"),
        (whole_numbers_as_floats, "it should hold whole numbers"),
        (weight_in_float32, "digits are lost"),
        (pairs_in_another_order, "as pair 0 of head 0"),
    ],
}
