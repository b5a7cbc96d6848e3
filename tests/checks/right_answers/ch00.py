"""Right but unusual answers to chapter 00's exercises: none may be refused."""

import math
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FAULT = 1 / (1 + math.exp(1.5))
LOSSES = math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(1.5))


def by_library(logits, labels):
    return nn.CrossEntropyLoss()(logits, labels)


def by_one_hot(logits, labels):
    shares = F.one_hot(labels, logits.size(1)).to(logits.dtype)
    return -(shares * logits.log_softmax(dim=1)).sum() / len(logits)


def by_hand_and_loop(logits, labels):
    losses = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        largest = row.max()
        losses.append((row - largest).exp().sum().log() + largest - row[label])
    return sum(losses) / len(losses)


def by_gather(logits, labels):
    log_p = F.log_softmax(logits, dim=-1)
    return log_p.gather(1, labels.unsqueeze(1)).mean().neg()


def by_optimiser(weight, bias, x, labels, learning_rate):
    weight, bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    optimizer = torch.optim.SGD([weight, bias], lr=learning_rate)
    F.cross_entropy(x @ weight + bias, labels).backward()
    optimizer.step()
    return weight.detach(), bias.detach()


def by_formula(weight, bias, x, labels, learning_rate):
    error = (x @ weight + bias).softmax(dim=-1)
    error[range(len(labels)), labels] -= 1
    error = error * learning_rate / len(labels)
    return [weight - x.T @ error, bias - error.sum(dim=0)]


def by_functional_grad(weight, bias, x, labels, learning_rate):
    def loss(weight, bias):
        return F.cross_entropy(torch.addmm(bias, x, weight), labels)

    slopes = torch.func.grad(loss, argnums=(0, 1))(weight, bias)
    return tuple(
        old - learning_rate * slope
        for old, slope in zip((weight, bias), slopes, strict=True)
    )


def one_text_at_a_time(vectors, mask):
    return torch.stack(
        [own[real.bool()].mean(dim=0) for own, real in zip(vectors, mask, strict=True)]
    )


def by_nan(vectors, mask):
    hidden = vectors.masked_fill(~mask.bool().unsqueeze(-1), torch.nan)
    return hidden.nanmean(dim=1)


def by_product(vectors, mask):
    shares = mask.to(vectors.dtype)
    shares = shares / shares.sum(dim=1, keepdim=True)
    return torch.bmm(shares.unsqueeze(1), vectors).squeeze(1)


def by_einsum(vectors, mask):
    total = torch.einsum("btc,bt->bc", vectors, mask.to(vectors.dtype))
    return total / mask.sum(-1)[:, None]


def by_multinomial(scores, draws, generator):
    count = len(scores)
    weights = torch.ones(draws, count)
    places = weights.multinomial(count, replacement=True, generator=generator)
    ends = scores[places].mean(1).quantile(torch.tensor([0.025, 0.975]))
    return ends


def by_sorting(scores, draws, generator):
    means = []
    for _ in range(draws):
        places = torch.randint(len(scores), (len(scores),), generator=generator)
        means.append(scores[places].sum().item() / len(scores))
    means.sort()
    edge = int(0.025 * draws)
    return [means[edge], means[draws - 1 - edge]]


def by_numpy(scores, draws, generator):
    seed = int(torch.randint(2**31, (1,), generator=generator))
    own = np.random.default_rng(seed)
    means = own.choice(scores.numpy(), (draws, len(scores))).mean(axis=1)
    return tuple(np.percentile(means, [2.5, 97.5]))


def zero_first(weight, x, labels, learning_rate, epochs, size):
    weight = weight.clone().requires_grad_()
    for _ in range(epochs):
        for rows, answers in zip(x.split(size), labels.split(size), strict=True):
            if weight.grad is not None:
                weight.grad.zero_()
            F.cross_entropy(rows @ weight, answers).backward()
            weight.data -= learning_rate * weight.grad
    return weight.detach()


def with_an_optimiser(weight, x, labels, learning_rate, epochs, size):
    weight = nn.Parameter(weight.clone())
    optimizer = torch.optim.SGD([weight], lr=learning_rate)
    for _ in range(epochs):
        for start in range(0, len(x), size):
            optimizer.zero_grad()
            end = start + size
            F.cross_entropy(x[start:end] @ weight, labels[start:end]).backward()
            optimizer.step()
    return weight.data


def without_a_record(weight, x, labels, learning_rate, epochs, size):
    for _ in range(epochs):
        for rows, answers in zip(x.split(size), labels.split(size), strict=True):
            error = (rows @ weight).softmax(-1)
            error = error - F.one_hot(answers, weight.shape[1])
            weight = weight - learning_rate * rows.T @ error / len(rows)
    return weight


RIGHT = {
    "on_paper": [
        (-1.5, 0.182, 0.201, 1.70),
        (Fraction(-3, 2), FAULT, *LOSSES),
        (torch.tensor(-1.5), np.float32(FAULT), torch.tensor([LOSSES[0]]), LOSSES[1]),
    ],
    "cross_entropy": [by_library, by_one_hot, by_hand_and_loop, by_gather],
    "predictions": [
        ("same", "smaller", "larger", "larger", "larger", "same", "smaller")
    ],
    "step": [by_optimiser, by_formula, by_functional_grad],
    "masked_mean": [one_text_at_a_time, by_nan, by_product, by_einsum],
    "interval": [by_multinomial, by_sorting, by_numpy],
    "mended_train": [zero_first, with_an_optimiser, without_a_record],
}
