"""Right but unusual answers to chapter 12's exercises: none may be refused."""

import re

import torch
import torch.nn.functional as F
from torch import nn

# 12.1


def by_regular_expression(model, endings, rank):
    pattern = re.compile(rf"(.*\.)?({'|'.join(map(re.escape, endings))})")
    sizes = [
        sum(layer.weight.shape)
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and pattern.fullmatch(name)
    ]
    return rank * sum(sizes)


def by_parts(model, endings, rank):
    total = torch.tensor(0)
    for name, layer in model.named_modules():
        parts = name.split(".")
        for end in endings:
            tail = end.split(".")
            if isinstance(layer, nn.Linear) and parts[-len(tail) :] == tail:
                total += rank * (layer.in_features + layer.out_features)
                break
    return int(total)


# 12.2

PREDICTED = {
    "trained": 460_800,
    "scale": 2,
    "full": 2152.240128,
    "lora": 545.4328,
    "file": 1.8432,
    "bits": 4.5,
}

# 12.3


def scales_in_a(first, second):
    A = torch.cat([first[0] * first[2], second[0] * second[2]])
    return A, torch.cat([first[1], second[1]], dim=1)


def filled(first, second):
    ranks = len(first[0]), len(second[0])
    A = first[0].new_zeros(sum(ranks), first[0].size(1))
    B = first[1].new_zeros(first[1].size(0), sum(ranks))
    A[: ranks[0]] = first[0]
    A[ranks[0] :] = second[0]
    B[:, : ranks[0]] = first[1] * first[2]
    B[:, ranks[0] :] = second[1] * second[2]
    return [A, B]


# 12.4


def root_in_both(change, rank):
    U, S, V = torch.linalg.svd(change)
    root = S[:rank].sqrt()
    return root[:, None] * V[:rank], U[:, :rank] * root


def by_eigenvectors(change, rank):
    _, vectors = torch.linalg.eigh(change.double().T @ change.double())
    A = vectors[:, -rank:].T
    return A.to(change.dtype), (change.double() @ A.T).to(change.dtype)


# 12.5


def in_a_loop(weight, block_size):
    back = []
    for block in weight.flatten().split(block_size):
        low, high = block.min(), block.max()
        step = (high - low) / 15
        back.append(block if step == 0 else ((block - low) / step).round() * step + low)
    return torch.cat(back).reshape(weight.shape)


def nearest_of_sixteen(weight, block_size):
    blocks = weight.double().reshape(-1, block_size)
    low, high = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
    levels = low + (high - low) * torch.arange(16) / 15
    place = (blocks[:, :, None] - levels[:, None]).abs().argmin(-1)
    return levels.gather(1, place).reshape(weight.shape).to(weight.dtype)


# 12.6


class KeepsTheChange(nn.Module):
    """One weight, made at each call."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base
        for parameter in base.parameters():
            parameter.requires_grad = False
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features) / rank)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))
        self.factor = alpha / rank
        self.on = True

    def forward(self, x):
        weight = self.base.weight
        if self.on:
            weight = weight + self.factor * (self.lora_B @ self.lora_A)
        return F.linear(x, weight, self.base.bias)

    def merge(self):
        if self.on:
            self.on = False
            change = self.factor * (self.lora_B @ self.lora_A)
            self.base.weight.data = self.base.weight.data + change.detach()
        return self


RIGHT = {
    "adapter_size": [by_regular_expression, by_parts],
    "bill": [PREDICTED, PREDICTED | {"full": 2152, "lora": 545.4}],
    "two_in_one": [scales_in_a, filled],
    "best_change": [root_in_both, by_eigenvectors],
    "with_a_minimum": [in_a_loop, nearest_of_sixteen],
    "mended_layer": [KeepsTheChange],
}
