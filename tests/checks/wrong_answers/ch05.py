"""Wrong answers to chapter 05's exercises, each with a part of its diagnosis."""

import math

import torch
import torch.nn.functional as F

# 5.1


def predicted(**wrong):
    """The right predictions, but for those given, in the check's order."""
    right = {
        "linear_default": 1 / 3,
        "queries_dropped": 1 / math.sqrt(2),
        "two_heads_added": math.sqrt(2),
        "mean_one": math.sqrt(3),
        "normalised": 1 / 8,
        "key_is_query": 0,
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


# 5.2


def tokens_of(scores, temperature):
    weights = (scores / temperature[..., None]).softmax(dim=-1)
    return torch.special.entr(weights).sum(dim=-1).exp()


def searched(scores, reached, wanted, low=-20.0, high=20.0, steps=60):
    """The right search for another goal, or other limits of ln(τ / spread)."""
    scores = scores.double()
    scores = scores - scores.amax(dim=-1, keepdim=True)
    spread = -scores.masked_fill(scores.isneginf(), 0.0).amin(dim=-1)
    low, high = torch.full_like(spread, low), torch.full_like(spread, high)
    for _ in range(steps):
        middle = (low + high) / 2
        too_few = reached(scores, spread * middle.exp()) < wanted
        low, high = (
            torch.where(too_few, middle, low),
            torch.where(too_few, high, middle),
        )
    return spread * low.exp()


def inverse(scores, tokens):
    return 1 / searched(scores, tokens_of, tokens)


def entropy_for_tokens(scores, tokens):
    return searched(scores, lambda z, t: tokens_of(z, t).log(), tokens)


def entropy_in_bits(scores, tokens):
    return searched(scores, lambda z, t: tokens_of(z, t).log2(), tokens)


def two_bases(scores, tokens):
    return searched(scores, lambda z, t: torch.exp2(tokens_of(z, t).log()), tokens)


def inverse_squares(scores, tokens):
    return searched(
        scores, lambda z, t: 1 / (z / t[..., None]).softmax(-1).square().sum(-1), tokens
    )


def one_for_all(scores, tokens):
    if scores.dim() == 1:
        return searched(scores, tokens_of, tokens)
    own = searched(scores, tokens_of, tokens)
    return own.mean().expand(own.shape)


def between_fixed_temperatures(scores, tokens):
    scores = scores.double() - scores.double().amax(dim=-1, keepdim=True)
    low = torch.full(scores.shape[:-1], 1e-3, dtype=torch.float64)
    high = torch.full_like(low, 1e3)
    for _ in range(80):
        middle = (low * high).sqrt()
        too_few = tokens_of(scores, middle) < tokens
        low, high = (
            torch.where(too_few, middle, low),
            torch.where(too_few, high, middle),
        )
    return low


def few_steps(scores, tokens):
    return searched(scores, tokens_of, tokens, steps=7)


def wrong_half(scores, tokens):
    return searched(scores, lambda z, t: -tokens_of(z, t), -tokens)


def naive_softmax(scores, tokens):
    spread = scores.amax(dim=-1) - scores.masked_fill(scores.isneginf(), math.inf).amin(
        dim=-1
    )
    low, high = torch.full_like(spread, -5.0), torch.full_like(spread, 5.0)
    for _ in range(60):
        middle = (low + high) / 2
        raised = (scores / (spread * middle.exp())[..., None]).exp()
        weights = raised / raised.sum(dim=-1, keepdim=True)
        too_few = torch.special.entr(weights).sum(dim=-1).exp() < tokens
        low, high = (
            torch.where(too_few, middle, low),
            torch.where(too_few, high, middle),
        )
    return torch.where(weights.isnan().any(dim=-1), math.nan, spread * low.exp())


def spread_of_hidden(scores, tokens):
    spread = scores.amax(dim=-1) - scores.amin(
        dim=-1
    )  # infinite where a column is hidden
    return spread * (searched(scores, tokens_of, tokens) / spread)


def zero_times_log_zero(scores, tokens):
    def reached(z, temperature):
        weights = (z / temperature[..., None]).softmax(dim=-1)
        return (-(weights * weights.log()).sum(dim=-1)).exp()

    return searched(scores, reached, tokens)


def axis_kept(scores, tokens):
    return searched(scores, tokens_of, tokens)[..., None]


# 5.3


def merged(output, log_sum, other, other_log_sum):
    both = torch.logaddexp(log_sum, other_log_sum)
    finite = both.masked_fill(both.isneginf(), 0.0)
    return (log_sum - finite).exp()[..., None] * output + (
        other_log_sum - finite
    ).exp()[..., None] * other, both


def plain_mean(output, log_sum, other, other_log_sum):
    return (output + other) / 2, torch.logaddexp(log_sum, other_log_sum)


def shares_swapped(output, log_sum, other, other_log_sum):
    return merged(other, log_sum, output, other_log_sum)


def logarithms_as_weights(output, log_sum, other, other_log_sum):
    total = log_sum + other_log_sum
    return (log_sum[..., None] * output + other_log_sum[..., None] * other) / total[
        ..., None
    ], total


def never_divided(output, log_sum, other, other_log_sum):
    found = log_sum.exp()[..., None] * output + other_log_sum.exp()[..., None] * other
    return found, torch.logaddexp(log_sum, other_log_sum)


def log_sums_added(output, log_sum, other, other_log_sum):
    return merged(output, log_sum, other, other_log_sum)[0], log_sum + other_log_sum


def larger_log_sum(output, log_sum, other, other_log_sum):
    return merged(output, log_sum, other, other_log_sum)[0], torch.maximum(
        log_sum, other_log_sum
    )


def lined_up_with_columns(output, log_sum, other, other_log_sum):
    share = torch.sigmoid(log_sum - other_log_sum)
    return share * output + (1 - share) * other, torch.logaddexp(log_sum, other_log_sum)


def exponentials_first(output, log_sum, other, other_log_sum):
    first, second = log_sum.exp(), other_log_sum.exp()
    found = (first[..., None] * output + second[..., None] * other) / (first + second)[
        ..., None
    ]
    return found, (first + second).log()


def blind_in_both(output, log_sum, other, other_log_sum):
    both = torch.logaddexp(log_sum, other_log_sum)
    return (log_sum - both).exp()[..., None] * output + (other_log_sum - both).exp()[
        ..., None
    ] * other, both


def blind_called_zero(output, log_sum, other, other_log_sum):
    found, both = blind_in_both(output, log_sum, other, other_log_sum)
    return found.nan_to_num(), both.nan_to_num(neginf=0.0)


def softmax_over_rows(output, log_sum, other, other_log_sum):
    shares = torch.stack([log_sum, other_log_sum]).softmax(dim=-1)
    found = shares[0][..., None] * output + shares[1][..., None] * other
    return found, torch.logaddexp(log_sum, other_log_sum)


def larger_part_alone(output, log_sum, other, other_log_sum):
    found = torch.where((log_sum > other_log_sum)[..., None], output, other)
    return found, torch.logaddexp(log_sum, other_log_sum)


def wrong_order(output, log_sum, other, other_log_sum):
    return merged(output, log_sum, other, other_log_sum)[::-1]


def output_alone(output, log_sum, other, other_log_sum):
    return merged(output, log_sum, other, other_log_sum)[0]


def total_without_logarithm(output, log_sum, other, other_log_sum):
    found, both = merged(output, log_sum, other, other_log_sum)
    return found, both.exp()


# 5.4


def in_blocks(
    query,
    key,
    value,
    mask=None,
    block=4,
    start=-math.inf,
    rescale=True,
    rescale_total=True,
    scale=True,
    safe=True,
):
    """Attention in blocks, with mistakes."""
    maximum = torch.full((len(query), 1), start)
    total, weighted = (
        torch.zeros(len(query), 1),
        torch.zeros(len(query), value.size(-1)),
    )
    for first in range(0, len(key), block):
        here = slice(first, first + block)
        scores = query @ key[here].mT / (math.sqrt(query.size(-1)) if scale else 1.0)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, here], -math.inf)
        highest = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        subtracted = highest.masked_fill(highest.isneginf(), 0.0) if safe else highest
        shrink, weights = (maximum - subtracted).exp(), (scores - subtracted).exp()
        total = total * shrink if rescale_total else total
        total = total + weights.sum(dim=-1, keepdim=True)
        weighted = (weighted * shrink if rescale else weighted) + weights @ value[here]
        maximum = highest
    return weighted / (total.masked_fill(total == 0, 1.0) if safe else total)


def still_broken(query, key, value, mask=None, block=4):
    return in_blocks(query, key, value, mask, block, start=0.0, rescale=False)


def still_not_rescaled(query, key, value, mask=None, block=4):
    return in_blocks(query, key, value, mask, block, rescale=False)


def still_from_zero(query, key, value, mask=None, block=4):
    return in_blocks(query, key, value, mask, block, start=0.0)


def still_from_far_below(query, key, value, mask=None, block=4):
    return in_blocks(query, key, value, mask, block, start=-1e4)


def total_not_rescaled(query, key, value, mask=None, block=4):
    return in_blocks(query, key, value, mask, block, rescale_total=False)


def maximum_of_each_block(query, key, value, mask=None, block=4):
    """Rescaled, but to the block's own maximum, which may be lower, and −inf."""
    maximum = torch.full((len(query), 1), -math.inf)
    total, weighted = (
        torch.zeros(len(query), 1),
        torch.zeros(len(query), value.size(-1)),
    )
    for first in range(0, len(key), block):
        here = slice(first, first + block)
        scores = query @ key[here].mT / math.sqrt(query.size(-1))
        if mask is not None:
            scores = scores.masked_fill(~mask[:, here], -math.inf)
        highest = scores.amax(dim=-1, keepdim=True)
        subtracted = highest.masked_fill(highest.isneginf(), 0.0)
        shrink, weights = (maximum - subtracted).exp(), (scores - subtracted).exp()
        total = total * shrink + weights.sum(dim=-1, keepdim=True)
        weighted = weighted * shrink + weights @ value[here]
        maximum = highest
    return weighted / total.masked_fill(total == 0, 1.0)


def hidden_block(query, key, value, mask=None, block=4):
    return in_blocks(query, key, value, mask, block, safe=False)


def nan_replaced_at_the_end(query, key, value, mask=None, block=4):
    maximum = torch.full((len(query), 1), -1e30)
    total, weighted = (
        torch.zeros(len(query), 1),
        torch.zeros(len(query), value.size(-1)),
    )
    for first in range(0, len(key), block):
        here = slice(first, first + block)
        scores = query @ key[here].mT / math.sqrt(query.size(-1))
        if mask is not None:
            scores = scores.masked_fill(~mask[:, here], -math.inf)
        highest = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        shrink, weights = (maximum - highest).exp(), (scores - highest).exp()
        total = total * shrink + weights.sum(dim=-1, keepdim=True)
        weighted = weighted * shrink + weights @ value[here]
        maximum = highest
    return (weighted / total).nan_to_num()


def large_negative_for_hidden(query, key, value, mask=None, block=4):
    """−10⁴ for hidden scores: a row that sees nothing looks at everything."""
    scores = query @ key.mT / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e4)
    return scores.softmax(dim=-1) @ value


def block_maximum_alone(query, key, value, mask=None, block=4):
    total, weighted = (
        torch.zeros(len(query), 1),
        torch.zeros(len(query), value.size(-1)),
    )
    for first in range(0, len(key), block):
        here = slice(first, first + block)
        scores = query @ key[here].mT / math.sqrt(query.size(-1))
        if mask is not None:
            scores = scores.masked_fill(~mask[:, here], -math.inf)
        weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        total, weighted = (
            total + weights.sum(dim=-1, keepdim=True),
            weighted + weights @ value[here],
        )
    return weighted / total


def all_at_once(query, key, value, mask=None, block=4):
    scores = query @ key.mT / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    blind = scores.isneginf().all(dim=-1, keepdim=True)
    return (
        scores.masked_fill(blind, 0.0).softmax(dim=-1).masked_fill(blind, 0.0) @ value
    )


def scale_lost(query, key, value, mask=None, block=4):
    return in_blocks(query, key, value, mask, block, scale=False)


def mask_lost(query, key, value, mask=None, block=4):
    return in_blocks(query, key, value, None, block)


def detached(query, key, value, mask=None, block=4):
    return in_blocks(query.detach(), key, value, mask, block)


# 5.5


def right_weights(scores, sink):
    highest = torch.maximum(scores.amax(dim=-1, keepdim=True), sink)
    raised = (scores - highest).exp()
    return raised / ((sink - highest).exp() + raised.sum(dim=-1, keepdim=True))


def right_gradients(weights, upstream):
    mixed = (weights * upstream).sum(dim=-1, keepdim=True)
    return weights * (upstream - mixed), -(
        (1 - weights.sum(dim=-1, keepdim=True)) * mixed
    ).sum()


def ordinary_softmax(scores, sink):
    return scores.softmax(dim=-1)


def sink_not_shifted(scores, sink):
    raised = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return raised / (sink.exp() + raised.sum(dim=-1, keepdim=True))


def always_one(scores, sink):
    return right_weights(scores, torch.tensor(0.0))


def sink_itself(scores, sink):
    raised = scores.exp()
    return raised / (sink + raised.sum(dim=-1, keepdim=True))


def nothing_subtracted(scores, sink):
    raised = scores.exp()
    return raised / (sink.exp() + raised.sum(dim=-1, keepdim=True))


def maximum_of_scores_alone(scores, sink):
    highest = scores.amax(dim=-1, keepdim=True)
    raised = (scores - highest).exp()
    return raised / ((sink - highest).exp() + raised.sum(dim=-1, keepdim=True))


def sink_column_kept(scores, sink):
    return torch.cat([scores, sink.expand(*scores.shape[:-1], 1)], dim=-1).softmax(
        dim=-1
    )


def no_shared_term(weights, upstream):
    return weights * upstream, right_gradients(weights, upstream)[1]


def passed_on(weights, upstream):
    return upstream, right_gradients(weights, upstream)[1]


def shares_of_one(weights, upstream):
    shares = weights / weights.sum(dim=-1, keepdim=True)
    mixed = (shares * upstream).sum(dim=-1, keepdim=True)
    return shares * (upstream - mixed), right_gradients(weights, upstream)[1]


def diagonal_alone(weights, upstream):
    return weights * (1 - weights) * upstream, right_gradients(weights, upstream)[1]


def axis_lost(weights, upstream):
    if weights.dim() != 2 or weights.size(0) != weights.size(1):
        return right_gradients(weights, upstream)
    mixed = (weights * upstream).sum(dim=-1)
    return weights * (upstream - mixed), right_gradients(weights, upstream)[1]


def sign_of_sink(weights, upstream):
    of_scores, of_sink = right_gradients(weights, upstream)
    return of_scores, -of_sink


def sink_for_each_row(weights, upstream):
    mixed = (weights * upstream).sum(dim=-1)
    return right_gradients(weights, upstream)[0], -(1 - weights.sum(dim=-1)) * mixed


def mean_over_rows(weights, upstream):
    mixed = (weights * upstream).sum(dim=-1)
    return right_gradients(weights, upstream)[0], -(
        (1 - weights.sum(dim=-1)) * mixed
    ).mean()


def sink_weight_lost(weights, upstream):
    return right_gradients(weights, upstream)[0], -(weights * upstream).sum()


def the_other_way_round(weights, upstream):
    return right_gradients(weights, upstream)[::-1]


# 5.6


def feature(x):
    return F.elu(x) + 1


def running(query, key, value, causal):
    """Sums of φ(k) vᵀ and φ(k), over all or up to each position, for given features."""
    if not causal:
        return query @ (key.mT @ value), query @ key.sum(dim=-2, keepdim=True).mT
    memory = (key[..., :, None] * value[..., None, :]).cumsum(dim=-3)
    total = (query * key.cumsum(dim=-2)).sum(dim=-1, keepdim=True)
    return (query[..., None, :] @ memory).squeeze(-2), total


def right_linear(query, key, value, causal=False):
    found, total = running(feature(query), feature(key), value, causal)
    return found / total


def not_normalised(query, key, value, causal=False):
    return running(feature(query), feature(key), value, causal)[0]


def without_feature(query, key, value, causal=False):
    found, total = running(query, key, value, causal)
    return found / total


def queries_scaled(query, key, value, causal=False):
    return right_linear(query / math.sqrt(query.size(-1)), key, value, causal)


def looks_ahead(query, key, value, causal=False):
    if not causal:
        return right_linear(query, key, value)
    return right_linear(query.flip(-2), key.flip(-2), value.flip(-2), True).flip(-2)


def sum_over_first_axis(query, key, value, causal=False):
    if not causal:
        return right_linear(query, key, value)
    query, key = feature(query), feature(key)
    memory = (key[..., :, None] * value[..., None, :]).cumsum(dim=0)
    return (query[..., None, :] @ memory).squeeze(-2) / (query * key.cumsum(dim=0)).sum(
        dim=-1, keepdim=True
    )


def without_one(query, key, value, causal=False):
    found, total = running(F.elu(query), F.elu(key), value, causal)
    return found / total


def with_relu(query, key, value, causal=False):
    found, total = running(F.relu(query) + 1e-9, F.relu(key) + 1e-9, value, causal)
    return found / total


def softmax_after_all(query, key, value, causal=False):
    return F.scaled_dot_product_attention(
        query[None], key[None], value[None], is_causal=causal
    )[0]


def never_causal(query, key, value, causal=False):
    return right_linear(query, key, value)


def whole_total(query, key, value, causal=False):
    query, key = feature(query), feature(key)
    return running(query, key, value, causal)[0] / running(query, key, value, False)[1]


def itself_left_out(query, key, value, causal=False):
    if not causal:
        return right_linear(query, key, value)
    query, key = feature(query), feature(key)
    weights = (query @ key.mT).tril(-1)
    return (weights @ value / weights.sum(dim=-1, keepdim=True)).nan_to_num()


def square_matrix(query, key, value, causal=False):
    weights = feature(query) @ feature(key).mT
    weights = weights.tril() if causal else weights
    return weights @ value / weights.sum(dim=-1, keepdim=True)


def summed_anew(query, key, value, causal=False):
    if not causal:
        return right_linear(query, key, value)
    query, key, rows = feature(query), feature(key), []
    for t in range(query.size(-2)):
        seen = key[..., : t + 1, :]
        found = query[..., t, None, :] @ (seen.mT @ value[..., : t + 1, :])
        rows.append(
            found
            / (query[..., t, None, :] * seen.sum(dim=-2, keepdim=True)).sum(
                -1, keepdim=True
            )
        )
    return torch.cat(rows, dim=-2)


# 5.7


def windowed(query, key, value, window, block, first=None, band=None, scale=True):
    """The right blocks; `first` says where a block's keys begin, `band` what stays."""
    outputs = []
    for start in range(0, query.size(-2), block):
        stop = min(start + block, query.size(-2))
        begin = max(start - window + 1, 0) if first is None else first(start)
        scores = query[..., start:stop, :] @ key[..., begin:stop, :].mT
        scores = scores / math.sqrt(query.size(-1)) if scale else scores
        back = torch.arange(start, stop)[:, None] - torch.arange(begin, stop)
        seen = (back >= 0) & (back < window) if band is None else band(back)
        outputs.append(
            scores.masked_fill(~seen, -math.inf).softmax(dim=-1)
            @ value[..., begin:stop, :]
        )
    return torch.cat(outputs, dim=-2)


def own_block_alone(query, key, value, window, block=64):
    return windowed(query, key, value, window, block, first=lambda start: start)


def block_before_alone(query, key, value, window, block=64):
    return windowed(
        query, key, value, window, block, first=lambda start: max(start - block, 0)
    )


def keys_cut_not_masked(query, key, value, window, block=64):
    return windowed(query, key, value, window, block, band=lambda back: back >= 0)


def not_causal_inside(query, key, value, window, block=64):
    return windowed(query, key, value, window, block, band=lambda back: back < window)


def one_too_wide(query, key, value, window, block=64):
    return windowed(query, key, value, window + 1, block)


def one_too_narrow(query, key, value, window, block=64):
    return windowed(query, key, value, max(window - 1, 1), block)


def not_scaled(query, key, value, window, block=64):
    return windowed(query, key, value, window, block, scale=False)


def with_a_mistake(query, key, value, window, block, mistake):
    outputs = []
    for start in range(0, query.size(-2), block):
        stop, first = min(start + block, query.size(-2)), max(start - window + 1, 0)
        scores = (
            query[..., start:stop, :]
            @ key[..., first:stop, :].mT
            / math.sqrt(query.size(-1))
        )
        rows, columns = torch.arange(start, stop), torch.arange(first, stop)
        if mistake == "relative":
            rows, columns = rows - start, columns - first
        back = rows[:, None] - columns
        hidden = (back < 0) | (back >= window)
        if mistake == "after":
            weights = scores.softmax(dim=-1) * ~hidden
        else:
            weights = scores.masked_fill(
                hidden, 0.0 if mistake == "zero" else -math.inf
            ).softmax(dim=-1)
        outputs.append(weights @ value[..., first:stop, :])
    return torch.cat(outputs, dim=-2)


def hidden_by_zero(query, key, value, window, block=64):
    return with_a_mistake(query, key, value, window, block, "zero")


def mask_after_softmax(query, key, value, window, block=64):
    return with_a_mistake(query, key, value, window, block, "after")


def places_for_positions(query, key, value, window, block=64):
    return with_a_mistake(query, key, value, window, block, "relative")


def changed_places(query, key, value, window, block=64):
    return windowed(query, key, value, block, window)


def zeros_in_front(query, key, value, window, block=64):
    key, value = (F.pad(part, (0, 0, window, 0)) for part in (key, value))
    outputs = []
    for start in range(0, query.size(-2), block):
        stop = min(start + block, query.size(-2))
        scores = (
            query[..., start:stop, :]
            @ key[..., start : stop + window, :].mT
            / math.sqrt(query.size(-1))
        )
        back = (
            torch.arange(start, stop)[:, None]
            + window
            - torch.arange(start, stop + window)
        )
        scores = scores.masked_fill((back < 0) | (back >= window), -math.inf)
        outputs.append(scores.softmax(dim=-1) @ value[..., start : stop + window, :])
    return torch.cat(outputs, dim=-2)


def last_block_lost(query, key, value, window, block=64):
    return windowed(query, key, value, window, block)[
        ..., : query.size(-2) // block * block, :
    ]


def mask_of_all(query, key, value, window, block=64):
    back = torch.arange(query.size(-2))[:, None] - torch.arange(query.size(-2))
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=(back >= 0) & (back < window)
    )


def all_keys_for_each_block(query, key, value, window, block=64):
    return windowed(query, key, value, window, block, first=lambda start: 0)


# What no author has to remember: arguments changed, one shift for all rows, `block`


def lowered_in_place(scores, tokens):
    scores -= scores.amax(dim=-1, keepdim=True)
    return searched(scores, tokens_of, tokens)


def one_spread_for_all(scores, tokens):
    """A search whose range follows the largest spread of all rows, and is short."""
    double = scores.double()
    spread = double.amax() - double.masked_fill(double.isinf(), math.inf).amin()
    low = torch.full(scores.shape[:-1], -5.0, dtype=torch.float64)
    high = torch.full_like(low, 5.0)
    for _ in range(60):
        middle = (low + high) / 2
        too_few = tokens_of(double, spread * middle.exp()) < tokens
        low, high = (
            torch.where(too_few, middle, low),
            torch.where(too_few, high, middle),
        )
    return spread * low.exp()


def one_maximum(output, log_sum, other, other_log_sum):
    shift = torch.maximum(log_sum.max(), other_log_sum.max())
    first, second = (log_sum - shift).exp(), (other_log_sum - shift).exp()
    total = first + second
    mixed = first[..., None] * output + second[..., None] * other
    return mixed / total[..., None], total.log() + shift


def mixed_in_place(output, log_sum, other, other_log_sum):
    found = merged(output, log_sum, other, other_log_sum)
    output *= 2
    return found


def block_written_in(query, key, value, mask=None, block=4):
    return in_blocks(query, key, value, mask, 2)


def mask_turned_in_place(query, key, value, mask=None, block=4):
    found = in_blocks(query, key, value, mask, block)
    if mask is not None:
        mask.logical_not_()
    return found


def one_maximum_for_all(scores, sink):
    highest = torch.maximum(scores.max(), sink)
    raised = (scores - highest).exp()
    return raised / ((sink - highest).exp() + raised.sum(dim=-1, keepdim=True))


def lowered_scores(scores, sink):
    found = right_weights(scores, sink)
    scores -= 1
    return found


def upstream_scaled(weights, upstream):
    found = right_gradients(weights, upstream)
    upstream *= 2
    return found


def features_in_place(query, key, value, causal=False):
    query.copy_(feature(query))
    found, total = running(query, feature(key), value, causal)
    return found / total


def in_float32(query, key, value, causal=False):
    return right_linear(query.float(), key.float(), value.float(), causal)


def always_blocks_of_four(query, key, value, window, block=64):
    return windowed(query, key, value, window, 4)


def query_divided_in_place(query, key, value, window, block=64):
    query /= math.sqrt(query.size(-1))
    return windowed(query, key, value, window, block, scale=False)


WRONG = {
    "predictions": [
        (predicted(linear_default=1.0), "drawn evenly from −a to a"),
        (predicted(linear_default=3**-0.5), "And their product?"),
        (predicted(linear_default=1 / 9), "Is that the variance?"),
        (predicted(queries_dropped=0.5), "Is that the variance?"),
        (predicted(queries_dropped=1), "How many of the 64 products"),
        (predicted(two_heads_added=2), "Is that the variance?"),
        (predicted(mean_one=1.0), "the spread without a change"),
        (predicted(mean_one=math.sqrt(2)), "within one row"),
        (predicted(normalised=1.0), "about 8 long"),
        (predicted(normalised=1 / 64), "Is that the variance?"),
        (predicted(key_is_query=8), "8 is the mean of these scores"),
        (predicted(key_is_query=math.sqrt(2)), "of a normal distribution"),
        (predicted(two_heads_added=8 * math.sqrt(2)), "Did you divide by √64?"),
        (predicted(key_is_query="√2"), "should be one number"),
        (predicted(mean_one=math.nan), "no such number"),
    ],
    "temperature_for": [
        (inverse, "a temperature divides them"),
        (entropy_for_tokens, "exponential of the entropy"),
        (entropy_in_bits, "2.5 bits"),
        (two_bases, "different bases"),
        (inverse_squares, "another count of tokens"),
        (one_for_all, "each needs its own"),
        (between_fixed_temperatures, "for scores of ±10⁵, row 0 looks at 1 tokens"),
        (few_steps, "looks at 1.654 tokens"),
        (wrong_half, "That is all of them."),
        (zero_times_log_zero, "That is a single one."),
        (naive_softmax, "does not see what is added"),
        (spread_of_hidden, "spread of a row is that of its finite scores"),
        (axis_kept, "The last axis should be gone"),
        (lowered_in_place, "`scores` was "),
        (one_spread_for_all, "for rows from ±10⁻⁵ to ±10⁵, row 0 looks at"),
    ],
    "merge": [
        (plain_mean, "plain mean of the two outputs"),
        (shares_swapped, "have changed places"),
        (logarithms_as_weights, "used as weights"),
        (never_divided, "never divided by the new total"),
        (log_sums_added, "multiplies what they are logarithms of"),
        (larger_log_sum, "the smaller part is lost"),
        (lined_up_with_columns, "lined up with the columns"),
        (exponentials_first, "exponential of differences only"),
        (blind_in_both, "−inf − (−inf) is NaN"),
        (blind_called_zero, "and should be -inf"),
        (softmax_over_rows, "runs over the rows"),
        (larger_part_alone, "the other has a share"),
        (wrong_order, "in the wrong order"),
        (output_alone, "2 things should come back"),
        (total_without_logarithm, "its logarithm is asked for"),
        (one_maximum, "One maximum is subtracted from all rows"),
        (mixed_in_place, "`output` was "),
    ],
    "mended_attention": [
        (still_broken, "starts at 0, which is no score, and the"),
        (still_not_rescaled, "still measured against the old maximum"),
        (total_not_rescaled, "and the total is not"),
        (maximum_of_each_block, "with a causal mask, the output is 0"),
        (still_from_zero, "The maximum starts at 0"),
        (hidden_block, "While a row has seen nothing"),
        (nan_replaced_at_the_end, "thrown away afterwards"),
        (large_negative_for_hidden, "only beside higher ones"),
        (still_from_far_below, "near −12,000"),
        (block_maximum_alone, "a maximum of its own"),
        (all_at_once, "T × S numbers"),
        (scale_lost, "not divided by √D"),
        (mask_lost, "The mask has no effect"),
        (detached, "no gradient reaches `query`"),
        (block_written_in, "`block` says how many keys"),
        (mask_turned_in_place, "`mask` was "),
    ],
    "sink_softmax": [
        ((ordinary_softmax, right_gradients), "the sink takes nothing"),
        ((sink_not_shifted, right_gradients), "and not from the sink"),
        ((always_one, right_gradients), "exp(sink) is meant"),
        ((sink_itself, right_gradients), "not its exponential"),
        ((nothing_subtracted, right_gradients), "Subtract the largest score first"),
        ((maximum_of_scores_alone, right_gradients), "which maximum is finite?"),
        ((sink_column_kept, right_gradients), "in a last column"),
        ((right_weights, no_shared_term), "all columns of a row share is missing"),
        ((right_weights, passed_on), "passed on as it is"),
        ((right_weights, shares_of_one), "made to sum to one first"),
        ((right_weights, diagonal_alone), "each weight by itself"),
        ((right_weights, axis_lost), "keepdim=True"),
        ((right_weights, sign_of_sink), "Its sign is wrong"),
        ((right_weights, sink_for_each_row), "a number for each row"),
        ((right_weights, mean_over_rows), "It is the mean over the rows"),
        ((right_weights, sink_weight_lost), "is missing as a factor"),
        ((right_weights, the_other_way_round), "in the wrong order"),
        ((one_maximum_for_all, right_gradients), "One maximum is subtracted"),
        ((lowered_scores, right_gradients), "`scores` was "),
        ((right_weights, upstream_scaled), "`upstream` was "),
    ],
    "linear_attention": [
        ((not_normalised, 64), "must sum to one"),
        ((without_feature, 64), "φ was not applied"),
        ((queries_scaled, 64), "no softmax to protect"),
        ((looks_ahead, 64), "causal the wrong way round"),
        ((sum_over_first_axis, 64), "for queries (1, 7, 3)"),
        ((right_linear, "64"), "a count of tokens, should be one number"),
        ((without_one, 64), "The 1 of φ(x)"),
        ((with_relu, 64), "φ is relu here"),
        ((softmax_after_all, 64), "ordinary softmax attention"),
        ((never_causal, 64), "It is not causal"),
        ((whole_total, 64), "the sum over the whole text"),
        ((itself_left_out, 64), "does not see itself"),
        ((square_matrix, 64), "there is a T × T matrix"),
        ((summed_anew, 64), "the next can go on with"),
        ((right_linear, 4096), "That is D²"),
        ((right_linear, 32), "A factor of two"),
        ((right_linear, 1000), "do not cross at 1000 tokens"),
        ((features_in_place, 64), "`query` was "),
        ((in_float32, 64), "digits are lost"),
    ],
    "sliding_window_attention": [
        (own_block_alone, "only its own block"),
        (block_before_alone, "this window reaches further"),
        (keys_cut_not_masked, "and not masked"),
        (not_causal_inside, "not causal inside a block"),
        (one_too_wide, "one too wide"),
        (one_too_narrow, "one too narrow"),
        (not_scaled, "not divided by √D"),
        (hidden_by_zero, "are set to 0"),
        (mask_after_softmax, "after the softmax"),
        (places_for_positions, "inside the cut-out rectangle"),
        (changed_places, "have changed places"),
        (zeros_in_front, "the zeros put before the text"),
        (last_block_lost, "has shape (12, 5)"),
        (mask_of_all, "all T × T scores"),
        (all_keys_for_each_block, "all the text"),
        (always_blocks_of_four, "`block` says how many queries"),
        (query_divided_in_place, "`query` was "),
    ],
}
