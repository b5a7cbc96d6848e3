"""Right but unusual answers to chapter 09's exercises: none may be refused."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def by_shapes(configuration, rows, tokens, bytes_per_number):
    """Tensors without memory are counted."""
    groups = configuration.key_value_heads
    groups = configuration.heads if groups is None else groups
    head_width = configuration.width // configuration.heads
    shape = (rows, groups, tokens, head_width)
    kept = [
        torch.empty(shape, device="meta")
        for _ in range(configuration.layers)
        for _ in ("key", "value")
    ]
    return sum(part.numel() for part in kept) * bytes_per_number


def as_a_float(configuration, rows, tokens, bytes_per_number):
    share = (configuration.key_value_heads or configuration.heads) / configuration.heads
    each = 2.0 * configuration.layers * configuration.width * share
    return round(each * rows * tokens * bytes_per_number)


def of_numpy(*arguments):
    return np.int64(by_shapes(*arguments))


def head_by_head(weight, heads, groups):
    if groups > heads or heads % groups:
        raise ValueError("no")
    each = weight.chunk(heads)
    shared = heads // groups
    return torch.cat(
        [
            sum(each[start : start + shared]) / shared
            for start in range(0, heads, shared)
        ]
    ).to(weight.dtype)


def by_a_matrix(weight, heads, groups):
    if heads % groups != 0:
        raise ValueError("no")
    shared = heads // groups
    mix = torch.eye(groups).double().repeat_interleave(shared, dim=1) / shared
    flat = weight.double().reshape(heads, -1)
    pooled = mix @ flat
    return pooled.reshape(groups * (len(weight) // heads), *weight.shape[1:]).to(
        weight.dtype
    )


def by_strides(weight, heads, groups):
    shared, left = divmod(heads, groups)
    if left or not shared:
        raise ValueError("no")
    width = weight.shape[0] // heads
    parts = weight.view(heads, width, -1)
    total = torch.stack([parts[n::shared] for n in range(shared)]).mean(0)
    return total.reshape((groups * width, *weight.shape[1:]))


def by_a_mask(logits, tokens, penalty):
    seen = F.one_hot(tokens, logits.size(1)).any(dim=1)
    lower = torch.minimum(logits / penalty, logits * penalty)
    return torch.where(seen, lower, logits)


def row_by_row(logits, tokens, penalty):
    found = logits.clone()
    for row, seen in zip(found, tokens.tolist(), strict=True):
        for token in set(seen):
            row[token] = (
                row[token] * penalty if row[token] < 0 else row[token] / penalty
            )
    return found


def by_powers(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool)
    seen[torch.arange(len(tokens))[:, None], tokens] = True
    return logits * (penalty ** -(logits.sign() * seen))


def from_all_windows(model, ids, window, stride):
    """Every token is looked up in the first window that holds it."""
    if stride >= window:
        raise ValueError("no")
    kept = {}
    for start in range(0, len(ids), stride):
        if len(kept) == len(ids) - 1:
            break
        piece = ids[start : start + window]
        scores = model(piece[None]).log_softmax(dim=-1)[0]
        for place in range(1, len(piece)):
            kept.setdefault(start + place, -scores[place - 1, piece[place]])
    return torch.stack([kept[place] for place in range(1, len(ids))])


def full_windows_together(model, ids, window, stride):
    """All full windows in one batch, and a last one that is not."""
    if not stride < window:
        raise ValueError("no")

    def losses(rows):
        scores = model(rows)[:, :-1].transpose(1, 2)
        return F.cross_entropy(scores, rows[:, 1:], reduction="none")

    if len(ids) <= window:
        return losses(ids[None])[0]
    full = losses(ids.unfold(0, window, stride))
    parts = [full[0], full[1:, window - 1 - stride :].flatten()]
    read = window + (len(full) - 1) * stride
    if read < len(ids):
        parts.append(losses(ids[None, len(full) * stride :])[0, read - len(ids) :])
    return torch.cat(parts)


def into_a_vector(model, ids, window, stride):
    if window <= stride:
        raise ValueError("no")
    found = torch.full((len(ids) - 1,), math.nan, dtype=torch.float64)
    start = 0
    while found.isnan().any():
        piece = ids[start : start + window]
        scores = model(piece.unsqueeze(0)).squeeze(0).double().log_softmax(-1)
        for n in range(1, len(piece)):
            if found[start + n - 1].isnan():
                found[start + n - 1] = -scores[n - 1][piece[n]]
        start += stride
    return found


@torch.no_grad()
def with_a_finite_mask(model, ids, real):
    real = real.bool()
    where = real.int().cumsum(-1).sub(1).clamp_min(0).long()
    x = model.embedding.weight[ids] + model.positions.table.weight[where]
    causal = torch.ones(ids.size(1), ids.size(1)).tril().bool()
    mask = torch.where(real[:, None, None, :] & causal, 0.0, -1e9)
    for layer in model.layers:
        x = layer(x, mask)
    return model.norm(x[:, -1]) @ model.embedding.weight.T


@torch.no_grad()
def rolled_to_the_left(model, ids, real):
    """Texts are moved to the first column, where the model needs no mask."""
    lengths = real.sum(dim=1)
    place = torch.arange(ids.size(1)) + (ids.size(1) - lengths)[:, None]
    logits = model(ids.gather(1, place.clamp(max=ids.size(1) - 1)))
    return logits[torch.arange(len(ids)), lengths - 1]


def with_gradients(model, ids, real):
    order = (1 - real).argsort(dim=1, stable=True)
    moved = ids.gather(1, order)
    return model(moved).gather(
        1,
        (real.sum(dim=1) - 1)[:, None, None].expand(
            -1, -1, model.embedding.num_embeddings
        ),
    )[:, 0]


def the_other_product(matrices, steps):
    length = matrices.square().sum(dim=(-2, -1), keepdim=True).sqrt()
    x = torch.where(length > 0, matrices / length, 0.0).to(matrices.dtype)
    for _ in range(steps):
        x = x @ (1.5 * torch.eye(x.size(-1), dtype=x.dtype) - 0.5 * x.mT @ x)
    return x


def in_double(matrices, steps):
    x = F.normalize(matrices.double().flatten(-2), dim=-1).view(matrices.shape)
    for _ in range(steps):
        x = (3 * x - torch.einsum("...ij,...kj,...kl->...il", x, x, x)) / 2
    return x.to(matrices.dtype)


def smaller_side(matrices, steps):
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-20)
    for _ in range(steps):
        x = torch.lerp(x, (x @ x.mT) @ x, -0.5)
    return x.mT if tall else x


RIGHT = {
    "cache_bytes": [by_shapes, as_a_float, of_numpy],
    "dice": [
        ("stays", "falls", "stays", "falls", "falls"),
        tuple(map(np.str_, ("stays", "falls", "stays", "falls", "falls"))),
        tuple("falls" if falls else "stays" for falls in (0, 1, 0, 1, 1)),
    ],
    "first_token": [
        (6, 5, 7, 4),
        (6.0, 5.0, 7.0, 4.0),
        tuple(torch.tensor([6, 5, 7, 4])),
    ],
    "pool_heads": [head_by_head, by_a_matrix, by_strides],
    "mended_penalty": [by_a_mask, row_by_row, by_powers],
    "strided_losses": [from_all_windows, full_windows_together, into_a_vector],
    "mended_next_logits": [with_a_finite_mask, rolled_to_the_left, with_gradients],
    "polar": [the_other_product, in_double, smaller_side],
}
