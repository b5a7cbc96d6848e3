"""Wrong answers to chapter 12's exercises, each with a part of its diagnosis."""

import math

import torch
from torch import nn

# 12.1


def _size(model, endings, rank, numbers, fits=None):
    fits = fits or (lambda name, end: f".{name}".endswith(f".{end}"))
    return sum(
        numbers(layer, rank)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and any(fits(name, end) for end in endings)
    )


def _both(layer, rank):
    return rank * (layer.in_features + layer.out_features)


def as_large_as_the_weight(model, endings, rank):
    return _size(model, endings, rank, lambda layer, r: r * layer.weight.numel())


def only_a(model, endings, rank):
    return _size(model, endings, rank, lambda layer, r: r * layer.in_features)


def only_b(model, endings, rank):
    return _size(model, endings, rank, lambda layer, r: r * layer.out_features)


def all_square(model, endings, rank):
    return _size(model, endings, rank, lambda layer, r: 2 * r * layer.in_features)


def the_frozen_weights(model, endings, rank):
    return _size(model, endings, rank, lambda layer, r: layer.weight.numel())


def without_the_dot(model, endings, rank):
    return _size(model, endings, rank, _both, lambda name, end: name.endswith(end))


def anywhere_in_the_name(model, endings, rank):
    return _size(model, endings, rank, _both, lambda name, end: end in name)


def last_part_only(model, endings, rank):
    return _size(
        model, endings, rank, _both, lambda name, end: name.split(".")[-1] == end
    )


def exact_names(model, endings, rank):
    return _size(model, endings, rank, _both, lambda name, end: name == end)


def all_modules_of_that_name(model, endings, rank):
    return sum(
        rank * (module.in_features + module.out_features)
        for name, module in model.named_modules()
        if any(f".{name}".endswith(f".{end}") for end in endings)
    )


def with_adapters_left_on(model, endings, rank):
    model.requires_grad_(False)
    return _size(model, endings, rank, _both)


# 12.2

RIGHT = {
    "trained": 460_800,
    "scale": 2.0,
    "full": 2152.24,
    "lora": 545.433,
    "file": 1.8432,
    "bits": 4.5,
}

# 12.3


def scales_forgotten(first, second):
    return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]], dim=1)


def scales_in_both(first, second):
    A = torch.cat([first[2] * first[0], second[2] * second[0]])
    return A, torch.cat([first[2] * first[1], second[2] * second[1]], dim=1)


def in_float32(first, second):
    A = torch.cat([first[0], second[0]])
    B = torch.cat([first[2] * first[1], second[2] * second[1]], dim=1)
    return A.float(), B.float()


def second_scale_forgotten(first, second):
    A = torch.cat([first[0], second[0]])
    return A, torch.cat([first[2] * first[1], second[1]], dim=1)


def first_scale_for_both(first, second):
    A = torch.cat([first[0], second[0]])
    return A, first[2] * torch.cat([first[1], second[1]], dim=1)


def added(first, second):
    return first[0] + second[0], first[2] * first[1] + second[2] * second[1]


def averaged(first, second):
    A = torch.cat([first[0], second[0]])
    return A, torch.cat([first[2] * first[1], second[2] * second[1]], dim=1) / 2


def b_first(first, second):
    A = torch.cat([first[0], second[0]])
    return torch.cat([first[2] * first[1], second[2] * second[1]], dim=1), A


def the_product(first, second):
    return first[2] * first[1] @ first[0] + second[2] * second[1] @ second[0]


def scaled_in_place(first, second):
    first[1].mul_(first[2])
    second[1].mul_(second[2])
    return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]], dim=1)


def halves_swapped(first, second):
    A = torch.cat([second[0], first[0]])
    return A, torch.cat([first[2] * first[1], second[2] * second[1]], dim=1)


# 12.4


def _svd(change, rank, power):
    U, S, V = torch.linalg.svd(change, full_matrices=False)
    return V[:rank], U[:, :rank] * S[:rank] ** power


def values_forgotten(change, rank):
    return _svd(change, rank, 0)


def values_twice(change, rank):
    return _svd(change, rank, 2)


def root_of_the_values(change, rank):
    return _svd(change, rank, 0.5)


def smallest_values(change, rank):
    U, S, V = torch.linalg.svd(change, full_matrices=False)
    kept = slice(len(S) - rank, None)
    return V[kept], U[:, kept] * S[kept]


def first_rows(change, rank):
    return change[:rank], torch.eye(change.size(0))[:, :rank]


def v_transposed(change, rank):
    U, S, V = torch.linalg.svd(change, full_matrices=False)
    return V.T[:rank], U[:, :rank] * S[:rank]


def all_of_it(change, rank):
    U, S, V = torch.linalg.svd(change, full_matrices=False)
    return V, U * S


# 12.5


def _minimum(weight, block_size, steps=15, rounded=torch.round):
    blocks = weight.reshape(-1, block_size)
    low = blocks.amin(dim=1, keepdim=True)
    scale = ((blocks.amax(dim=1, keepdim=True) - low) / steps).clamp_min(1e-30)
    return (rounded((blocks - low) / scale) * scale + low).reshape(weight.shape)


def sixteen_steps(weight, block_size):
    blocks = weight.reshape(-1, block_size)
    low = blocks.amin(dim=1, keepdim=True)
    scale = ((blocks.amax(dim=1, keepdim=True) - low) / 16).clamp_min(1e-30)
    codes = ((blocks - low) / scale).round()
    return (codes * scale + low).reshape(weight.shape)


def rounded_down(weight, block_size):
    return _minimum(weight, block_size, rounded=torch.floor)


def absmax(weight, block_size):
    blocks = weight.reshape(-1, block_size)
    scale = blocks.abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / 7
    return ((blocks / scale).round() * scale).reshape(weight.shape)


def one_block(weight, block_size):
    return _minimum(weight, weight.numel())


def nan_where_equal(weight, block_size):
    blocks = weight.reshape(-1, block_size)
    low = blocks.amin(dim=1, keepdim=True)
    scale = (blocks.amax(dim=1, keepdim=True) - low) / 15
    return (((blocks - low) / scale).round() * scale + low).reshape(weight.shape)


def left_as_blocks(weight, block_size):
    return _minimum(weight, block_size).reshape(-1, block_size)


def seven_bits(weight, block_size):
    return _minimum(weight, block_size, steps=127)


def rounded_in_place(weight, block_size):
    weight.copy_(_minimum(weight, block_size))
    return weight


# 12.6


class Layer(nn.Module):
    """The right layer, with a place for each fault."""

    divide, freeze, flag, zero, random_a = True, True, True, True, True

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base.requires_grad_(False) if self.freeze else base
        self.scale = alpha / rank if self.divide else alpha
        A = torch.zeros(rank, base.in_features)
        B = torch.zeros(base.out_features, rank)
        if self.random_a:
            nn.init.kaiming_uniform_(A, a=math.sqrt(5))
        if not self.zero:
            nn.init.normal_(B)
        self.lora_A = nn.Parameter(A)
        self.lora_B = nn.Parameter(B)
        self.merged = False

    def forward(self, x):
        if self.merged:
            return self.base(x)
        return self.base(x) + self.scale * (x @ self.lora_A.T @ self.lora_B.T)

    @torch.no_grad()
    def merge(self):
        if not self.merged:
            self.base.weight += self.scale * self.lora_B @ self.lora_A
            self.merged = self.flag


class NoRank(Layer):
    divide = False


class NotFrozen(Layer):
    freeze = False


class NoFlag(Layer):
    flag = False


class RandomB(Layer):
    zero = False


class BothZero(Layer):
    random_a = False


class MergesTwice(Layer):
    @torch.no_grad()
    def merge(self):
        self.base.weight += self.scale * self.lora_B @ self.lora_A
        self.merged = True


class OnlyPretends(Layer):
    def merge(self):
        pass


class DividedByTheRoot(Layer):
    def __init__(self, base, rank, alpha):
        super().__init__(base, rank, alpha)
        self.scale = alpha / math.sqrt(rank)


class AllFrozen(Layer):
    def __init__(self, base, rank, alpha):
        super().__init__(base, rank, alpha)
        self.requires_grad_(False)


class AsItWas(Layer):
    divide, freeze, flag = False, False, False


WRONG = {
    "adapter_size": [
        (as_large_as_the_weight, "r for each weight of the layer"),
        (only_a, "That is A alone"),
        (only_b, "That is B alone"),
        (all_square, "takes every layer for a square one"),
        (the_frozen_weights, "counts the frozen weights"),
        (without_the_dot, "was counted for “query”"),
        (anywhere_in_the_name, "only contains what is asked for"),
        (last_part_only, "an ending may have several parts"),
        (exact_names, "Only layers of exactly that name"),
        (all_modules_of_that_name, "stopped with AttributeError"),
        (with_adapters_left_on, "another `requires_grad`"),
    ],
    "bill": [
        (RIGHT | {"trained": 552_960}, "is not square"),
        (RIGHT | {"trained": 15_360}, "there are thirty"),
        (RIGHT | {"trained": 460_000_000}, "how many layers are there"),
        (RIGHT | {"scale": 16}, "α is divided by the rank"),
        (RIGHT | {"scale": 5.657}, "The root is rsLoRA's"),
        (RIGHT | {"full": 538.06}, "the weights alone"),
        (RIGHT | {"full": 1614.18}, "two means for each weight"),
        (RIGHT | {"lora": 7.3728}, "lie in memory, too"),
        (RIGHT | {"lora": 2159.6}, "Frozen weights have no gradient"),
        (RIGHT | {"file": 0.4608}, "each has four bytes"),
        (RIGHT | {"file": 7.3728}, "are not saved"),
        (RIGHT | {"bits": 4.25}, "blocks of 64"),
        (RIGHT | {"bits": 4}, "Each block has a scale"),
        (RIGHT | {"bits": -1}, "no such number can come out"),
        ({"trained": 460_800}, "a dictionary with the keys"),
    ],
    "two_in_one": [
        (scales_forgotten, "The scales are missing"),
        (scales_in_both, "Each scale counts twice"),
        (second_scale_forgotten, "The second adapter's scale is missing"),
        (first_scale_for_both, "that of the first adapter for both"),
        (added, "A has shape (3, 7); it should be (6, 7)"),
        (averaged, "the mean of the two changes"),
        (b_first, "A has shape"),
        (the_product, "should return A and B"),
        (scaled_in_place, "before the call, and is"),
        (halves_swapped, "the product of your B and A is"),
        (in_float32, "in double precision"),
    ],
    "best_change": [
        (values_forgotten, "The singular values are missing"),
        (values_twice, "count twice"),
        (root_of_the_values, "Only the root of the singular values"),
        (smallest_values, "the smallest singular values"),
        (first_rows, "the product of your B and A is"),
        (v_transposed, "A has shape"),
        (all_of_it, "A has shape"),
    ],
    "with_a_minimum": [
        (sixteen_steps, "the weights is"),
        (rounded_down, "The codes are rounded down"),
        (absmax, "That is absmax"),
        (one_block, "serve the whole matrix"),
        (nan_where_equal, "They come back as they are"),
        (left_as_blocks, "the weights has shape"),
        (seven_bits, "the weights is"),
        (rounded_in_place, "before the call, and is"),
    ],
    "mended_layer": [
        (AsItWas, "The layer below is not frozen"),
        (NotFrozen, "The layer below is not frozen"),
        (NoRank, "α is divided by the rank"),
        (NoFlag, "the call adds it again"),
        (MergesTwice, "The second merge has added it again"),
        (RandomB, "BA should be zero at the start"),
        (BothZero, "A and B are both zero"),
        (OnlyPretends, "has not changed `base.weight`"),
        (DividedByTheRoot, "that is rsLoRA's scale"),
        (AllFrozen, "nothing is trained"),
    ],
}
