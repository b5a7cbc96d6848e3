"""Right but unusual answers to chapter 04's exercises: none may be refused."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

W_QUERY = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 6.0], [6.0, 0.0]])
W_KEY = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, -2.0], [0.0, 0.0]])


def window_by_loops(length, window):
    mask = torch.zeros(length, length, dtype=torch.bool)
    for row in range(length):
        for column in range(max(row - window + 1, 0), row + 1):
            mask[row, column] = True
    return mask


def window_by_triangles(length, window):
    ones = torch.ones(length, length, dtype=torch.bool)
    return ones.tril() & ~ones.tril(-window)


def window_by_numpy(length, window):
    rows, columns = np.indices((length, length))
    return torch.from_numpy((rows >= columns) & (rows - columns < window))


def head_by_head(x, heads):
    parts = x.chunk(heads, dim=-1)
    return torch.cat(
        [F.scaled_dot_product_attention(p, p, p, is_causal=True) for p in parts], -1
    )


def by_einsum(x, heads):
    batch, length, width = x.shape
    parts = x.view(batch, length, heads, -1)
    scores = torch.einsum("bthd,bshd->bhts", parts, parts)
    scores = scores / math.sqrt(width // heads)
    future = torch.ones(length, length).triu(1).bool()
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    return torch.einsum("bhts,bshd->bthd", weights, parts).flatten(2)


def in_float64(x, heads):
    return head_by_head(x.double(), heads)


def with_clamp(weights):
    return torch.exp(-(weights * weights.clamp(min=1e-12).log()).sum(-1))


def with_xlogy(weights):
    return (-torch.special.xlogy(weights, weights)).sum(dim=-1).exp()


def base_two(weights):
    safe = torch.where(weights > 0, weights, 1.0)
    return torch.exp2(-(weights * safe.log2()).sum(-1))


def with_distributions(weights):
    shares = torch.distributions.Categorical(probs=weights, validate_args=False)
    entropy = torch.special.entr(shares.probs).sum(-1)
    return entropy.exp()


class CopiedKeys(nn.Module):
    """Keys and values repeated for every head, projections in another order."""

    def __init__(self, width, heads):
        super().__init__()
        self.output = nn.Linear(width, width)
        self.value = nn.Linear(width, width // heads)
        self.key = nn.Linear(width, width // heads)
        self.query = nn.Linear(width, width)
        self.number_of_heads = heads

    def forward(self, x, mask=None):
        batch, length, width = x.shape
        query = self.query(x).view(batch, length, self.number_of_heads, -1)
        key, value = (
            part(x)
            .repeat_interleave(self.number_of_heads, 0)
            .view(batch, self.number_of_heads, length, -1)
            for part in (self.key, self.value)
        )
        found = F.scaled_dot_product_attention(query.transpose(1, 2), key, value, mask)
        return self.output(found.transpose(1, 2).reshape(batch, length, width))


class HeadByHead(nn.Module):
    """A loop over the heads."""

    def __init__(self, width, heads):
        super().__init__()
        self.size = width // heads
        self.query, self.output = (nn.Linear(width, width) for _ in range(2))
        self.key, self.value = (nn.Linear(width, self.size) for _ in range(2))

    def forward(self, x, mask=None):
        key, value = self.key(x), self.value(x)
        found = []
        for query in self.query(x).split(self.size, dim=-1):
            scores = query @ key.mT / self.size**0.5
            if mask is not None:
                scores = scores.masked_fill(mask.logical_not(), -1e9)
            found.append(scores.softmax(-1) @ value)
        return self.output(torch.cat(found, -1))


class WithEinsum(HeadByHead):
    """No transpose at all."""

    def forward(self, x, mask=None):
        query = self.query(x).unflatten(-1, (-1, self.size))
        scores = torch.einsum("bthd,bsd->bhts", query, self.key(x)) * self.size**-0.5
        if mask is not None:
            scores = scores + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        weights = scores.softmax(-1)
        return self.output(
            torch.einsum("bhts,bsd->bthd", weights, self.value(x)).flatten(2)
        )


def additive(query, key, attention_mask, heads):
    query, key = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key))
    hidden = 1 - attention_mask[:, None, None].to(query.dtype)
    hidden = hidden * torch.finfo(query.dtype).min
    return (query @ key.mT / query.size(-1) ** 0.5 + hidden).softmax(-1)


def identity_as_values(query, key, attention_mask, heads):
    batch, length, _ = query.shape
    query, key = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key))
    values = torch.eye(length, dtype=query.dtype).expand(batch, heads, -1, -1)
    mask = attention_mask.bool().view(batch, 1, 1, length)
    return F.scaled_dot_product_attention(query, key, values, mask)


def text_by_text(query, key, attention_mask, heads):
    found = []
    for q, k, real in zip(query, key, attention_mask, strict=True):
        of_heads = []
        for a, b in zip(q.chunk(heads, -1), k.chunk(heads, -1), strict=True):
            scores = a @ b.T / math.sqrt(a.size(-1))
            scores[:, real == 0] = -math.inf
            of_heads.append(scores.softmax(-1))
        found.append(torch.stack(of_heads))
    return torch.stack(found)


def exponentials(query, key, attention_mask, heads):
    query, key = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key))
    scores = (query @ key.mT / query.size(-1) ** 0.5).double()
    raised = (scores - scores.amax(-1, keepdim=True)).exp()
    raised = raised * attention_mask[:, None, None]
    return (raised / raised.sum(-1, keepdim=True)).to(query.dtype)


RIGHT = {
    "matrices": [
        (W_QUERY.double(), W_KEY.double()),
        (W_QUERY * 3, W_KEY * 2),
        (W_QUERY.clone().requires_grad_(), nn.Parameter(W_KEY.clone())),
        (W_QUERY.numpy(), W_KEY.numpy()),
    ],
    "predictions": [("mean", "different", "same", "different", "shifted", "same")],
    "sliding_window_mask": [window_by_loops, window_by_triangles, window_by_numpy],
    "mended_attention": [head_by_head, by_einsum, in_float64],
    "effective_tokens": [with_clamp, with_xlogy, base_two, with_distributions],
    "multi_query_attention": [CopiedKeys, HeadByHead, WithEinsum],
    "model_weights": [additive, identity_as_values, text_by_text],
}
