"""Right but unusual answers to chapter 05's exercises: none may be refused."""

import math

import torch
import torch.nn.functional as F

PREDICTED = (1 / 3, math.sqrt(0.5), math.sqrt(2), math.sqrt(3), 0.125, 0)


def row_by_row(scores, tokens):
    """Halving in plain Python, one row after the other."""

    def count(row, temperature):
        highest = max(row)
        raised = [math.exp((z - highest) / temperature) for z in row]
        total = sum(raised)
        shares = [e / total for e in raised if e > 0]
        return math.exp(-sum(p * math.log(p) for p in shares))

    found = []
    for row in scores.reshape(-1, scores.size(-1)).tolist():
        finite = [z for z in row if z > -math.inf]
        spread = max(finite) - min(finite)
        low, high = math.log(spread) - 8, math.log(spread) + 8
        for _ in range(40):
            middle = (low + high) / 2
            if count(row, math.exp(middle)) < tokens:
                low = middle
            else:
                high = middle
        found.append(math.exp(low))
    return torch.tensor(found, dtype=scores.dtype).reshape(scores.shape[:-1])


def by_inverse_temperature(scores, tokens):
    scores = scores.double()
    scores = scores - scores.amax(-1, keepdim=True)
    unit = scores.masked_fill(scores.isinf(), 0.0).abs().amax(-1, keepdim=True)
    low, high = torch.full_like(unit, -30.0), torch.full_like(unit, 30.0)
    for _ in range(80):
        middle = (low + high) / 2
        weights = F.softmax(scores / unit * middle.exp(), dim=-1)
        entropy = -(weights * weights.clamp_min(1e-300).log()).sum(-1, keepdim=True)
        many = entropy > math.log(tokens)
        low, high = torch.where(many, middle, low), torch.where(many, high, middle)
    return (unit / middle.exp()).squeeze(-1)


def grown_interval(scores, tokens):
    """An interval that is doubled until it holds the answer."""

    def count(temperature):
        weights = (scores.double() / temperature[..., None]).softmax(-1)
        return torch.special.entr(weights).sum(-1).exp()

    low = torch.ones(scores.shape[:-1], dtype=torch.float64)
    high = low.clone()
    while (count(low) > tokens).any():
        low = torch.where(count(low) > tokens, low / 2, low)
    while (count(high) < tokens).any():
        high = torch.where(count(high) < tokens, high * 2, high)
    for _ in range(60):
        middle = (low * high).sqrt()
        few = count(middle) < tokens
        low, high = torch.where(few, middle, low), torch.where(few, high, middle)
    return high


def by_sigmoid(output, log_sum, other_output, other_log_sum):
    both_blind = log_sum.isneginf() & other_log_sum.isneginf()
    gap = (log_sum - other_log_sum).masked_fill(both_blind, 0.0)
    share = torch.sigmoid(gap)[..., None]
    return (
        share * output + (1 - share) * other_output,
        torch.logaddexp(log_sum, other_log_sum),
    )


def by_stack(output, log_sum, other_output, other_log_sum):
    sums = torch.stack([log_sum, other_log_sum])
    shares = sums.softmax(0).nan_to_num(0.0)
    outputs = torch.stack([output, other_output])
    return (shares.unsqueeze(-1) * outputs).sum(0), sums.logsumexp(0)


def by_maximum(output, log_sum, other_output, other_log_sum):
    highest = torch.maximum(log_sum, other_log_sum)
    safe = torch.where(highest == -math.inf, torch.zeros_like(highest), highest)
    first, second = (log_sum - safe).exp(), (other_log_sum - safe).exp()
    total = first + second
    divided = total.clamp(min=1e-30)
    mixed = first[..., None] * output + second[..., None] * other_output
    return [mixed / divided[..., None], total.log() + safe]


def query_by_query(query, key, value, mask=None, block=4):
    rows = []
    for t, q in enumerate(query):
        maximum, total = query.new_tensor(-math.inf), query.new_tensor(0.0)
        weighted = value.new_zeros(value.size(-1))
        for start in range(0, len(key), block):
            k, v = key[start : start + block], value[start : start + block]
            if mask is not None:
                seen = mask[t, start : start + block]
                k, v = k[seen], v[seen]
            if not len(k):
                continue
            scores = k @ q / math.sqrt(len(q))
            highest = torch.maximum(maximum, scores.max())
            shrink = (maximum - highest).exp()
            weights = (scores - highest).exp()
            total = total * shrink + weights.sum()
            weighted = weighted * shrink + weights @ v
            maximum = highest
        nothing = weighted + 0 * (q.sum() + key.sum() + value.sum())
        rows.append(weighted / total if total > 0 else nothing)
    return torch.stack(rows)


def by_log_sums(query, key, value, mask=None, block=4):
    """Each block's attention and log-sum-exp, merged as in 5.3."""
    log_sum = query.new_full((len(query),), -math.inf)
    output = query.new_zeros(len(query), value.size(-1))
    for start in range(0, len(key), block):
        here = slice(start, start + block)
        scores = query @ key[here].T / math.sqrt(query.size(-1))
        if mask is not None:
            scores = scores.masked_fill(~mask[:, here], -1e30)
            seen = mask[:, here].any(-1)
        else:
            seen = torch.ones(len(query), dtype=torch.bool)
        own = scores.logsumexp(-1)
        weights = scores.softmax(-1) @ value[here]
        before = torch.where(log_sum.isneginf(), own, log_sum)
        share = torch.where(log_sum.isneginf(), 1.0, torch.sigmoid(own - before))
        share = torch.where(seen, share, 0.0)[:, None]
        output = output * (1 - share) + weights * share
        log_sum = torch.where(seen, torch.logaddexp(log_sum, own), log_sum)
    return output


def with_lists(query, key, value, mask=None, block=4):
    """Blocks by `split`, a finite maximum from the first visible block on."""
    masks = [None] * len(key) if mask is None else mask.split(block, -1)
    maximum = torch.full((len(query), 1), -math.inf, dtype=query.dtype)
    total = torch.zeros_like(maximum)
    weighted = torch.zeros(len(query), value.size(-1), dtype=query.dtype)
    for k, v, m in zip(key.split(block), value.split(block), masks, strict=False):
        scores = query @ k.mT * query.size(-1) ** -0.5
        scores = scores if m is None else torch.where(m, scores, -math.inf)
        highest = torch.maximum(maximum, scores.max(-1, keepdim=True).values)
        base = torch.where(highest.isinf(), 0.0, highest)
        shrink = torch.exp(maximum - base)
        weights = torch.exp(scores - base)
        total = total.mul(shrink).add(weights.sum(-1, keepdim=True))
        weighted = weighted.mul(shrink).add(weights.matmul(v))
        maximum = highest
    return torch.where(total == 0, 0.0, weighted / torch.where(total == 0, 1.0, total))


def with_a_column(scores, sink):
    column = sink.expand(*scores.shape[:-1], 1)
    return torch.cat([column, scores], dim=-1).softmax(-1)[..., 1:]


def by_log_sum(scores, sink):
    total = torch.logaddexp(scores.logsumexp(-1, keepdim=True), sink)
    return torch.exp(scores - total)


def by_sigmoid_of_sum(scores, sink):
    log_sum = scores.logsumexp(-1, keepdim=True)
    inside = (scores - log_sum.masked_fill(log_sum.isneginf(), 0.0)).exp()
    return inside * torch.sigmoid(log_sum - sink)


def backward_by_jacobian(weights, upstream):
    flat, gradient = (t.reshape(-1, t.size(-1)) for t in (weights, upstream))
    of_scores, of_sink = [], 0.0
    for w, g in zip(flat, gradient, strict=True):
        of_scores.append((torch.diag(w) - torch.outer(w, w)) @ g)
        of_sink = of_sink - (1 - w.sum()) * (w @ g)
    return torch.stack(of_scores).reshape(weights.shape), of_sink


def backward_by_einsum(weights, upstream):
    mixed = torch.einsum("...s,...s->...", weights, upstream)
    of_sink = ((weights.sum(-1) - 1) * mixed).sum()
    return weights * upstream - weights * mixed.unsqueeze(-1), of_sink


def backward_as_list(weights, upstream):
    product = weights * upstream
    total = product.sum(-1, keepdim=True)
    of_scores = torch.addcmul(product, weights, total, value=-1)
    return [of_scores, -(of_scores.sum())]


def by_einsum(query, key, value, causal=False):
    query, key = F.elu(query) + 1, F.elu(key) + 1
    if not causal:
        memory = torch.einsum("...sd,...sv->...dv", key, value)
        total = torch.einsum("...td,...d->...t", query, key.sum(-2))
        return torch.einsum("...td,...dv->...tv", query, memory) / total[..., None]
    memory = torch.einsum("...sd,...sv->...sdv", key, value).cumsum(-3)
    total = torch.einsum("...td,...td->...t", query, key.cumsum(-2))
    return torch.einsum("...td,...tdv->...tv", query, memory) / total[..., None]


def token_by_token(query, key, value, causal=False):
    query, key = (torch.where(x > 0, x + 1, x.exp()) for x in (query, key))
    if not causal:
        memory = key.transpose(-1, -2) @ value
        return query @ memory / (query @ key.sum(-2)[..., None])
    memory, seen, rows = 0.0, 0.0, []
    for t in range(key.size(-2)):
        memory = memory + key[..., t, :, None] * value[..., t, None, :]
        seen = seen + key[..., t, :]
        found = (query[..., t, None, :] @ memory)[..., 0, :]
        rows.append(found / (query[..., t, :] * seen).sum(-1, keepdim=True))
    return torch.stack(rows, dim=-2)


def ones_beside_the_values(query, key, value, causal=False):
    """The total as one more column of the values; in float64."""
    query, key = F.elu(query.double()) + 1, F.elu(key.double()) + 1
    value = F.pad(value.double(), (0, 1), value=1.0)
    if causal:
        outer = (key.unsqueeze(-1) * value.unsqueeze(-2)).cumsum(-3)
        both = (query.unsqueeze(-2) @ outer).squeeze(-2)
    else:
        both = query @ (key.mT @ value)
    return both[..., :-1] / both[..., -1:]


def with_sdpa(query, key, value, window, block=64):
    outputs, length = [], query.size(-2)
    for start in range(0, length, block):
        stop, first = min(start + block, length), max(start - window + 1, 0)
        back = torch.arange(start, stop)[:, None] - torch.arange(first, stop)
        mask = (back >= 0) & (back < window)
        parts = (
            query[..., start:stop, :],
            key[..., first:stop, :],
            value[..., first:stop, :],
        )
        parts = [p[None] if p.dim() == 2 else p for p in parts]
        found = F.scaled_dot_product_attention(*parts, attn_mask=mask)
        outputs.append(found[0] if query.dim() == 2 else found)
    return torch.cat(outputs, -2)


def by_split(query, key, value, window, block=64):
    outputs, start = [], 0
    for part in query.split(block, dim=-2):
        stop = start + part.size(-2)
        first = max(0, start - (window - 1))
        scores = part @ key[..., first:stop, :].mT * query.size(-1) ** -0.5
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool)
        seen = seen.tril(start - first).triu(start - first - window + 1)
        scores = torch.where(seen, scores, float("-inf"))
        outputs.append(torch.softmax(scores, -1) @ value[..., first:stop, :])
        start = stop
    return torch.cat(outputs, dim=-2)


def written_into(query, key, value, window, block=64):
    """Results written into a tensor made before, with −1e9 for what is hidden."""
    output = query.new_empty(*query.shape[:-1], value.size(-1))
    for start in range(0, query.size(-2), block):
        rows = torch.arange(start, min(start + block, query.size(-2)))
        columns = torch.arange(max(start - window + 1, 0), int(rows[-1]) + 1)
        back = rows[:, None] - columns
        scores = query[..., rows, :] @ key[..., columns, :].mT
        scores = scores / math.sqrt(query.size(-1))
        scores = scores.masked_fill((back < 0) | (back > window - 1), -1e9)
        output[..., rows, :] = scores.softmax(-1) @ value[..., columns, :]
    return output


RIGHT = {
    "predictions": [
        PREDICTED,
        tuple(torch.tensor(value) for value in PREDICTED),
        (0.333, 0.71, 1.41, 1.73, 0.125, 0.0),
    ],
    "temperature_for": [row_by_row, by_inverse_temperature, grown_interval],
    "merge": [by_sigmoid, by_stack, by_maximum],
    "mended_attention": [query_by_query, by_log_sums, with_lists],
    "sink_softmax": [
        (with_a_column, backward_by_jacobian),
        (by_log_sum, backward_by_einsum),
        (by_sigmoid_of_sum, backward_as_list),
    ],
    "linear_attention": [
        (by_einsum, 64),
        (token_by_token, 64.0),
        (ones_beside_the_values, torch.tensor(64)),
    ],
    "sliding_window_attention": [with_sdpa, by_split, written_into],
}
