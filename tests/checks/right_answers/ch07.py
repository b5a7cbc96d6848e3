"""Right but unusual answers to chapter 07's exercises: none may be refused."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from finetuning.scratch.attention import merge_heads, split_heads
from finetuning.scratch.layers import sinusoidal_positions

# 7.1

MATRICES = (
    [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
    [[1, 1, 1, 0]] * 3,
    [[0, 0, 0]] * 4,
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]],
)
BUGS = (
    ["target_to_output"],
    "source_to_memory",
    ("source_to_output", "source_to_memory"),
    frozenset({"source_to_output"}),
)

# 7.2


def by_building(vocabulary, width, heads, hidden, layers):
    with torch.device("meta"):
        model = nn.Transformer(width, heads, layers, layers, hidden)
    counted = sum(p.numel() for p in model.parameters())
    return vocabulary * width + counted - 4 * width


def as_a_float(vocabulary, width, heads, hidden, layers):
    maps = 12 * width * (width + 1) + 2 * (2 * width * hidden + hidden + width)
    return float(vocabulary * width + layers * (maps + 10 * width))


def as_a_tensor(vocabulary, width, heads, hidden, layers):
    return torch.tensor(as_a_float(vocabulary, width, heads, hidden, layers)).long()


def multiplied_out(V, C, H, F, L):
    return V * C + L * (12 * C * C + 24 * C + 4 * C * F + 2 * F)


# 7.3

PADDING = 0


def by_the_mask(model, batches):
    total = sum((labels != PADDING).sum() for *_, labels in batches)
    losses = []
    for source, inputs, labels in batches:
        chances = model(source, inputs).log_softmax(dim=-1)
        picked = chances.gather(-1, labels[..., None])[..., 0]
        loss = -(picked * (labels != PADDING)).sum() / total
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def from_the_last(model, batches):
    tokens = sum(labels.count_nonzero().item() for *_, labels in batches)
    loss = 0.0
    for source, inputs, labels in reversed(batches):
        if not labels.any():
            continue
        logits = model(source, inputs).transpose(1, 2)
        mean = F.cross_entropy(logits, labels, ignore_index=PADDING)
        share = labels.count_nonzero().item() / tokens
        (mean * share).backward()
        loss += mean.item() * share
    return loss


def other_labels(model, batches):
    labels_of = [labels.masked_fill(labels == PADDING, -100) for *_, labels in batches]
    tokens = sum(int((labels >= 0).sum()) for labels in labels_of)
    total = 0.0
    for (source, inputs, _), labels in zip(batches, labels_of, strict=True):
        logits = model(source, inputs).flatten(0, 1)
        loss = F.cross_entropy(logits, labels.flatten(), reduction="sum") / tokens
        loss.backward()
        total += float(loss.detach())
    return np.float64(total)


def gradients_divided_afterwards(model, batches):
    """Sums first; what was added is divided at the end."""
    tokens, total = 0, 0.0
    for source, inputs, labels in batches:
        logits = model(source, inputs).flatten(0, 1)
        loss = F.cross_entropy(
            logits, labels.flatten(), ignore_index=PADDING, reduction="sum"
        )
        loss.backward()
        tokens += int((labels != PADDING).sum())
        total += loss.item()
    for parameter in model.parameters():
        parameter.grad /= tokens
    return total / tokens


# 7.4


def in_logits(logits, min_p):
    if min_p == 0:
        return logits.clone()
    threshold = logits.amax(dim=-1, keepdim=True) + math.log(min_p)
    return torch.where(logits >= threshold, logits, -math.inf)


def by_exponentials(logits, min_p):
    shares = (logits - logits.max(dim=-1, keepdim=True).values).exp()
    result = logits.clone()
    result[shares < min_p] = -torch.inf
    return result


def row_by_row(logits, min_p):
    rows = []
    for row in logits.reshape(-1, logits.size(-1)):
        shares = row.softmax(0)
        rows.append(row.masked_fill(~(shares >= min_p * shares.max()), -math.inf))
    return torch.stack(rows).view_as(logits)


def by_numpy(logits, min_p):
    values = logits.numpy()
    shares = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.where(shares >= min_p, values, -np.inf)


# 7.5


def depth_first(next_logits, start, end, max_length):
    """Branch and bound, the most probable continuation first."""
    best = [-math.inf, None]

    def search(tokens, score):
        steps = next_logits(torch.tensor([[start, *tokens]]))[0].log_softmax(-1)
        for token in steps.argsort(descending=True).tolist():
            longer = score + steps[token].item()
            if longer <= best[0]:
                break
            if token == end:
                best[:] = longer, [*tokens, end]
            elif len(tokens) + 1 < max_length:
                search([*tokens, token], longer)

    search([], 0.0)
    return best[1], best[0]


def level_by_level(next_logits, start, end, max_length):
    """All beginnings of a length at once; those that cannot win any more are left."""
    open_, best = [((), 0.0)], (-math.inf, ())
    for length in range(max_length):
        open_ = [pair for pair in open_ if pair[1] > best[0]]
        if not open_:
            break
        rows = torch.tensor([[start, *tokens] for tokens, _ in open_])
        steps = next_logits(rows).log_softmax(-1)
        longer = [
            ((*tokens, token), score + steps[row, token].item())
            for row, (tokens, score) in enumerate(open_)
            for token in range(steps.size(-1))
        ]
        ended = [(score, tokens) for tokens, score in longer if tokens[-1] == end]
        best = max([best, *ended])
        open_ = [
            (tokens, score)
            for tokens, score in longer
            if tokens[-1] != end and score > -math.inf and length + 1 < max_length
        ]
    return torch.tensor(best[1]), torch.tensor(best[0])


def by_a_sorted_list(next_logits, start, end, max_length):
    queue = [(0.0, (start,))]
    while True:
        queue.sort(key=lambda pair: pair[0])
        cost, tokens = queue.pop(0)
        if tokens[-1] == end:
            return tokens[1:], np.float32(-cost)
        if len(tokens) > max_length:
            continue
        steps = F.log_softmax(next_logits(torch.tensor([tokens]))[0].double(), dim=0)
        queue += [
            (cost - step, (*tokens, token))
            for token, step in enumerate(steps.tolist())
            if step > -1e30
        ]


# 7.6


def queries_at_the_end(model, tokens, cache):
    """A square mask of the whole text, of which the last rows are taken."""
    past = 0 if cache[0] is None else cache[0][0].shape[1]
    length = past + tokens.shape[1]
    square = torch.ones(length, length).tril().bool()
    table = sinusoidal_positions(length, model.embedding.embedding_dim)
    x = model.embedding(tokens) + table[past:]
    for number, layer in enumerate(model.layers):
        pair = [layer.key(x), layer.value(x)]
        if past:
            old = cache[number]
            pair = [torch.cat(two, dim=1) for two in zip(old, pair, strict=True)]
        cache[number] = pair
        query, key, value = (
            split_heads(part, layer.heads) for part in (layer.query(x), *pair)
        )
        scores = query @ key.mT / query.size(-1) ** 0.5
        scores = scores.masked_fill(~square[past:], -torch.inf)
        x = x + layer.output(merge_heads(scores.softmax(-1) @ value))
    return model.output(x)


def token_by_token(model, tokens, cache):
    """One new token at a time needs no mask."""
    results = []
    for place in range(tokens.size(1)):
        past = 0 if cache[0] is None else cache[0][0].size(1)
        table = sinusoidal_positions(past + 1, model.embedding.embedding_dim)
        x = model.embedding(tokens[:, place : place + 1]) + table[-1]
        for number, layer in enumerate(model.layers):
            key, value = layer.key(x), layer.value(x)
            if cache[number] is not None:
                key = torch.cat((cache[number][0], key), -2)
                value = torch.cat((cache[number][1], value), -2)
            cache[number] = key, value
            parts = (split_heads(t, layer.heads) for t in (layer.query(x), key, value))
            mixed = F.scaled_dot_product_attention(*parts)
            x = x + layer.output(merge_heads(mixed))
        results.append(model.output(x))
    return torch.cat(results, dim=1)


def added_mask(model, tokens, cache):
    """A mask of 0 and −inf, by positions."""
    new = tokens.size(1)
    old = [pair for pair in cache if pair is not None]
    past = old[0][0].size(1) if old else 0
    table = sinusoidal_positions(past + new, model.embedding.embedding_dim)
    x = model.embedding(tokens) + table[past : past + new]
    future = torch.arange(past + new) > torch.arange(past, past + new)[:, None]
    hidden = torch.zeros(future.shape).masked_fill(future, -math.inf)
    for number, layer in enumerate(model.layers):
        key, value = layer.key(x), layer.value(x)
        if cache[number] is not None:
            key = torch.cat([cache[number][0], key], 1)
            value = torch.cat([cache[number][1], value], 1)
        cache[number] = (key, value)
        parts = (split_heads(t, layer.heads) for t in (layer.query(x), key, value))
        x = x + layer.output(
            merge_heads(F.scaled_dot_product_attention(*parts, attn_mask=hidden))
        )
    return model.output(x)


# 7.7


def one_after_the_other(drafted, target, draft, generator):
    """Row by row, in Python."""
    result = []
    for token, p, q in zip(drafted.tolist(), target, draft, strict=True):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            result.append(token)
        else:
            missing = (p - q).clamp(min=0)
            result.append(int(torch.multinomial(missing, 1, generator=generator)))
    return torch.tensor(result)


def rejected_rows_alone(drafted, target, draft, generator):
    rows = torch.arange(len(drafted))
    chance = (target[rows, drafted] / draft[rows, drafted]).clamp(max=1)
    rejected = torch.bernoulli(1 - chance, generator=generator).bool()
    result = drafted.clone()
    if rejected.any():
        missing = torch.relu(target[rejected] - draft[rejected])
        result[rejected] = torch.multinomial(
            missing / missing.sum(-1, keepdim=True), 1, generator=generator
        ).flatten()
    return result


def by_inverse(drafted, target, draft, generator):
    """What is missing is drawn by its running sum, with a second random number."""
    first, second = torch.rand(2, len(drafted), generator=generator).double()
    p, q = (t.double().gather(1, drafted[:, None])[:, 0] for t in (target, draft))
    missing = (target.double() - draft.double()).clamp(min=0)
    sums = missing.cumsum(dim=1)
    reached = sums > (second * sums[:, -1])[:, None]
    other = reached.int().argmax(dim=1)
    return torch.where(first * q < p, drafted, other).int()


def by_gumbel(drafted, target, draft, generator):
    size = target.shape
    p, q = (t.gather(1, drafted[:, None])[:, 0] for t in (target, draft))
    kept = torch.rand(len(drafted), generator=generator) < p / q
    noise = torch.rand(size, generator=generator).clamp(min=1e-12).log().neg().log()
    other = ((target - draft).clamp(min=0).log() - noise).argmax(dim=1)
    return torch.where(kept, drafted, other)


RIGHT = {
    "reach": [
        MATRICES,
        tuple(torch.tensor(matrix).bool() for matrix in MATRICES),
        tuple(np.array(matrix, dtype=float) for matrix in MATRICES),
        tuple([torch.tensor(row) for row in matrix] for matrix in MATRICES),
    ],
    "bugs": [BUGS],
    "parameters": [by_building, as_a_float, as_a_tensor, multiplied_out],
    "mended_backward": [
        by_the_mask,
        from_the_last,
        other_labels,
        gradients_divided_afterwards,
    ],
    "filter_min_p": [in_logits, by_exponentials, row_by_row, by_numpy],
    "most_likely": [depth_first, level_by_level, by_a_sorted_list],
    "mended_extend": [queries_at_the_end, token_by_token, added_mask],
    "speculative_choice": [
        one_after_the_other,
        rejected_rows_alone,
        by_inverse,
        by_gumbel,
    ],
}
