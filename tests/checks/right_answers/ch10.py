"""Right but unusual answers to chapter 10's exercises: none may be refused."""

import numpy as np
import torch
from scipy.stats import mannwhitneyu, rankdata
from sklearn.metrics import roc_auc_score
from torch import nn

from finetuning.scratch.layers import forward_flops

# 10.1


def by_multinomial(logits, generator, temperature=1.0, forbidden=None):
    scores = logits.double() / temperature
    if forbidden is not None:
        hidden = nn.functional.one_hot(forbidden, scores.size(-1)).bool()
        scores = scores.masked_fill(hidden, -torch.inf)
    shares = scores.softmax(dim=-1).reshape(-1, scores.size(-1))
    drawn = torch.multinomial(shares, 1, generator=generator)
    return drawn.reshape(logits.shape[:-1])


def by_waiting_times(logits, generator, temperature=1.0, forbidden=None):
    scores = logits.float() / temperature
    waits = torch.empty(scores.shape).exponential_(generator=generator).log() - scores
    if forbidden is not None:
        waits.scatter_(-1, forbidden[..., None], torch.inf)
    return waits.argmin(-1)


def by_cumulated_shares(logits, generator, temperature=1.0, forbidden=None):
    """One uniform number for a place, looked up among the cumulated probabilities."""
    scores = logits.double() / temperature
    if forbidden is not None:
        scores = scores.scatter(-1, forbidden[..., None], -torch.inf)
    edges = scores.softmax(-1).cumsum(-1)
    uniform = torch.rand(
        (*scores.shape[:-1], 1), generator=generator, dtype=torch.float64
    )
    return (edges <= uniform * edges[..., -1:]).sum(-1).int()


def sum_in_bfloat16(logits, generator, temperature=1.0, forbidden=None):
    """The noise in float32, the sum in the dtype of the logits."""
    scores = logits / temperature
    noise = -(-torch.rand(scores.shape, generator=generator).log()).log()
    scores = scores + noise.to(scores.dtype)
    if forbidden is not None:
        scores = scores.scatter(-1, forbidden[..., None], -torch.inf)
    return scores.max(dim=-1).indices


# 10.2

PREDICTED = (0.125, 0.1, 0.15, 0.1, 0.167, 0, 0.2, 0.143, 0.25, 0.875)


# 10.3


def by_pairs(scores, labels):
    kept = labels != -100
    ones = scores[kept & (labels == 1)][:, None]
    zeros = scores[kept & (labels == 0)][None]
    if ones.numel() == 0 or zeros.numel() == 0:
        raise ValueError("no pairs")
    wins = (ones > zeros).double() + (ones == zeros).double() / 2
    return wins.mean().item()


def by_scipy(scores, labels):
    scores, labels = scores.double().numpy().ravel(), labels.numpy().ravel()
    scores, labels = scores[labels != -100], labels[labels != -100].astype(bool)
    if labels.all() or not labels.any():
        raise ValueError("no pairs")
    result = mannwhitneyu(scores[labels], scores[~labels], method="asymptotic")
    return float(result.statistic) / (labels.sum() * (~labels).sum())


def by_rankdata(scores, labels):
    kept = (labels != -100).flatten()
    scores, labels = scores.flatten()[kept], labels.flatten()[kept].bool()
    positives, negatives = labels.sum().item(), (~labels).sum().item()
    if 0 in (positives, negatives):
        raise ValueError("no pairs")
    ranks = rankdata(scores.numpy())
    total = ranks[labels.numpy()].sum()
    return (total - positives * (positives + 1) / 2) / (positives * negatives)


def by_the_library(scores, labels):
    kept = labels != -100
    scores, labels = scores[kept].double(), labels[kept].long()
    if len(labels.unique()) != 2:
        raise ValueError("no pairs")
    _, order = scores.unique(return_inverse=True)  # ranks: infinities are none
    return roc_auc_score(labels, order)


# 10.4


def in_numpy_loops(ids, mask, guess, special, mask_id, generator, rate=0.15):
    """Place by place, chance from the generator, the guess by the Gumbel trick."""
    chance = torch.rand(ids.shape, generator=generator)
    places = torch.zeros(ids.shape, dtype=torch.bool)
    for row in range(ids.size(0)):
        for column in range(ids.size(1)):
            free = mask[row, column] == 1 and ids[row, column].item() not in special
            places[row, column] = bool(free and chance[row, column] < rate)
    shown = ids.clone()
    shown[places] = mask_id
    logits = guess(shown, places).double()
    noise = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    shown[places] = (logits - (-noise.log()).log()).argmax(-1)
    labels = torch.where(shown == ids, 0, 1)
    labels[mask == 0] = -100
    return shown, labels


def by_bernoulli(ids, mask, guess, special, mask_id, generator, rate=0.15):
    chances = torch.full(ids.shape, rate) * mask
    for each in special:
        chances = chances.masked_fill(ids == each, 0.0)
    places = torch.bernoulli(chances, generator=generator) == 1
    logits = guess(shown=torch.where(places, mask_id, ids), places=places)
    text = ids.clone()
    shares = logits.softmax(-1)
    text[places] = torch.multinomial(shares, 1, generator=generator).squeeze(1)
    labels = (text != ids).float()
    return [text, labels.where(mask.bool(), torch.tensor(-100.0))]


def draws_for_all_places(ids, mask, guess, special, mask_id, generator, rate=0.15):
    """Small integers for text and labels; the guess before anything is decided."""
    special = torch.tensor(special)
    ordinary = (ids.unsqueeze(-1) != special).all(-1) & (mask != 0)
    places = ordinary & (torch.rand(ids.shape, generator=generator) >= 1 - rate)
    logits = guess(ids * ~places + mask_id * places, places)
    text = ids.int().masked_scatter(
        places, torch.multinomial(logits.exp(), 1, generator=generator)[:, 0].int()
    )
    labels = text.ne(ids).short()
    labels[~mask.bool()] = -100
    return text, labels


# 10.5


def with_linear_layers(shape, embedding, length, predicted, generator=None):
    """A list of all matrices: how many rows go through, inputs, outputs."""

    def encoder(part):
        parts = forward_sum(part, length)
        if embedding != part.width:
            parts += products([(length, embedding, part.width)])
        return parts

    def head(part):
        return products(
            [
                (predicted, part.width, embedding),
                (predicted, embedding, part.vocabulary),
            ]
        )

    total = encoder(shape)
    if generator is None:
        return float(3 * (total + head(shape)))
    total += products([(length, shape.width, shape.width), (length, shape.width, 1)])
    return (total + encoder(generator) + head(generator)) * 3.0


def products(matrices):
    return sum(2 * rows * before * after for rows, before, after in matrices)


def forward_sum(part, length):
    return sum(forward_flops(part, length).values())


def written_out(shape, embedding, length, predicted, generator=None):
    """Without `forward_flops`."""

    def one(part):
        C, T = part.width, length
        matrices = 3 if part.gated else 2
        found = part.layers * (
            2 * T * C * (2 * C + 2 * part.key_value_width)
            + 4 * T * T * C
            + 2 * matrices * T * C * part.hidden
        )
        return found + (2 * T * C * embedding if embedding != C else 0)

    def named(part):
        return 2 * predicted * embedding * (part.width + part.vocabulary)

    if generator is not None:
        square = 2 * length * shape.width * (shape.width + 1)
        return 3 * one(shape) + 3 * square + 3 * one(generator) + 3 * named(generator)
    return 3 * one(shape) + 3 * named(shape)


def as_numpy(shape, embedding, length, predicted, generator=None):
    return np.int64(with_linear_layers(shape, embedding, length, predicted, generator))


# 10.6


def the_other_way_round(generator, discriminator, head, learning_rate):
    """The discriminator's tables go to the generator."""
    theirs, ours = generator.bert.embeddings, discriminator.embeddings
    theirs.words.weight = ours.words.weight
    theirs.segments.weight = ours.segments.weight
    theirs.positions.table.weight = ours.positions.table.weight
    unique = {
        id(parameter): parameter
        for model in (generator, discriminator, head)
        for parameter in model.parameters()
    }
    return torch.optim.Adam(unique.values(), lr=learning_rate)


def whole_module(generator, discriminator, head, learning_rate):
    """The norm is shared as well."""
    discriminator.embeddings = generator.bert.embeddings
    parameters = dict.fromkeys(
        [*generator.parameters(), *discriminator.parameters(), *head.parameters()]
    )
    return torch.optim.Adam(list(parameters), learning_rate)


def in_groups(generator, discriminator, head, learning_rate):
    theirs, ours = generator.bert.embeddings, discriminator.embeddings
    ours.words, ours.segments = theirs.words, theirs.segments
    ours.positions = theirs.positions
    shared = {id(parameter) for parameter in theirs.parameters()}
    rest = [p for p in discriminator.parameters() if id(p) not in shared]
    groups = [
        {"params": list(generator.parameters())},
        {"params": rest, "lr": learning_rate},
        {"params": list(head.parameters())},
    ]
    return torch.optim.Adam(groups, lr=learning_rate)


RIGHT = {
    "draw": [by_multinomial, by_waiting_times, by_cumulated_shares, sum_in_bfloat16],
    "ways_to_guess": [
        PREDICTED,
        tuple(np.float64(said) for said in PREDICTED),
        (1 / 8, 0.1, 0.15, 0.1, 1 / 6, 0.0, 1 / 5, torch.tensor(1 / 7), 0.25, 7 / 8),
    ],
    "auc": [by_pairs, by_scipy, by_rankdata, by_the_library],
    "mended_corrupt": [in_numpy_loops, by_bernoulli, draws_for_all_places],
    "pretraining_flops": [with_linear_layers, written_out, as_numpy],
    "mended_prepare": [the_other_way_round, whole_module, in_groups],
}
