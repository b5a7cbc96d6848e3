"""Wrong answers to chapter 00's exercises, each with a part of its diagnosis."""

import math

import torch
import torch.nn.functional as F

# 0.1

SCORE = -1.5
FAULT = 1 / (1 + math.exp(1.5))
BILLING_LOSS, FAULT_LOSS = -math.log(1 - FAULT), -math.log(FAULT)

# 0.2


def picked(values, labels):
    return values[range(len(labels)), labels]


def summed(logits, labels):
    return F.cross_entropy(logits, labels, reduction="sum")


def positive(logits, labels):
    return picked(logits.log_softmax(dim=-1), labels).mean()


def down_the_columns(logits, labels):
    return -picked(logits.log_softmax(dim=0), labels).mean()


def in_bits(logits, labels):
    return F.cross_entropy(logits, labels) / math.log(2)


def no_softmax(logits, labels):
    return -picked(logits, labels).mean()


def softmax_twice(logits, labels):
    return F.cross_entropy(logits.softmax(dim=-1), labels)


def one_minus_p(logits, labels):
    return (1 - picked(logits.softmax(dim=-1), labels)).mean()


def log_of_mean(logits, labels):
    return -picked(logits.softmax(dim=-1), labels).mean().log()


def every_pile(logits, labels):
    return -logits.log_softmax(dim=-1).mean()


def one_each(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def naive(logits, labels):
    return -picked(logits.softmax(dim=-1), labels).log().mean()


def naive_exp(logits, labels):
    shares = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    return -picked(shares, labels).log().mean()


def naive_sum(logits, labels):
    total = logits.exp().sum(dim=-1).log()
    return (total - picked(logits, labels)).mean()


def detached(logits, labels):
    return F.cross_entropy(logits.detach(), labels)


def clamped(logits, labels):
    p = picked(logits.softmax(dim=-1), labels)
    return -p.clamp(min=1e-12).log().mean()


# 0.3


def predicted(**wrong):
    """The right predictions, but for those given, in the check's order."""
    right = {
        "shifted": "same",
        "doubled_right": "smaller",
        "doubled_wrong": "larger",
        "half_batch": "larger",
        "two_backwards": "larger",
        "padded": "same",
        "more_tests": "smaller",
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


# 0.4


def slopes(weight, bias, x, labels, reduction="mean"):
    weight = weight.clone().requires_grad_()
    bias = bias.clone().requires_grad_()
    F.cross_entropy(x @ weight + bias, labels, reduction=reduction).backward()
    return weight.grad, bias.grad


def uphill(weight, bias, x, labels, learning_rate):
    down, side = slopes(weight, bias, x, labels)
    return weight + learning_rate * down, bias + learning_rate * side


def of_the_sum(weight, bias, x, labels, learning_rate):
    down, side = slopes(weight, bias, x, labels, "sum")
    return weight - learning_rate * down, bias - learning_rate * side


def bias_left(weight, bias, x, labels, learning_rate):
    down, _ = slopes(weight, bias, x, labels)
    return weight - learning_rate * down, bias


def no_rate(weight, bias, x, labels, learning_rate):
    down, side = slopes(weight, bias, x, labels)
    return weight - down, bias - side


def slopes_alone(weight, bias, x, labels, learning_rate):
    return slopes(weight, bias, x, labels)


def unchanged(weight, bias, x, labels, learning_rate):
    return weight.clone(), bias.clone()


def in_place(weight, bias, x, labels, learning_rate):
    down, side = slopes(weight, bias, x, labels)
    weight -= learning_rate * down
    bias -= learning_rate * side
    return weight, bias


def with_its_record(weight, bias, x, labels, learning_rate):
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    F.cross_entropy(x @ weight + bias, labels).backward()
    return weight - learning_rate * weight.grad, bias - learning_rate * bias.grad


def in_single_precision(weight, x, labels, learning_rate, epochs, size):
    arguments = weight.float(), x.float(), labels, learning_rate, epochs, size
    return loop("after the step")(*arguments)


def other_order(weight, bias, x, labels, learning_rate):
    down, side = slopes(weight, bias, x, labels)
    return bias - learning_rate * side, weight - learning_rate * down


# 0.5


def whole_mean(vectors, mask):
    return vectors.mean(dim=1)


def by_the_length(vectors, mask):
    return (vectors * mask[:, :, None]).mean(dim=1)


def padding_alone(vectors, mask):
    holes = (mask == 0)[:, :, None].float()
    return (vectors * holes).sum(dim=1) / holes.sum(dim=1)


def sums(vectors, mask):
    return (vectors * mask[:, :, None]).sum(dim=1)


def one_for_all(vectors, mask):
    return (vectors * mask[:, :, None]).sum(dim=1) / mask.sum()


def padding_in_sum(vectors, mask):
    return vectors.sum(dim=1) / mask.sum(dim=1, keepdim=True)


def first_ones(vectors, mask):
    pairs = zip(vectors, mask, strict=True)
    rows = [row[: int(real.sum())].mean(dim=0) for row, real in pairs]
    return torch.stack(rows)


def largest(vectors, mask):
    hidden = vectors.masked_fill(mask[:, :, None] == 0, float("-inf"))
    return hidden.amax(dim=1)


def half_precision(vectors, mask):
    weights = mask / mask.sum(dim=1, keepdim=True)
    return (weights[:, None].half() @ vectors.half())[:, 0]


# 0.6


def bootstrap(low, high, statistic=torch.mean, back=True):
    def interval(scores, draws, generator):
        count = len(scores)
        means = []
        drawn = torch.randint(count, (draws, count), generator=generator)
        if not back:
            drawn = torch.arange(count).expand(draws, count)
        means = statistic(scores[drawn].double(), dim=1)
        ends = means.quantile(torch.tensor([low, high], dtype=torch.float64))
        return ends[0].item(), ends[1].item()

    return interval


def over_the_draws(scores, draws, generator):
    count = len(scores)
    drawn = torch.randint(count, (draws, count), generator=generator)
    means = scores[drawn].mean(dim=0)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


def by_formula(scores, draws, generator):
    middle, spread = scores.mean().item(), scores.std(correction=0).item()
    half = 1.96 * spread / math.sqrt(len(scores))
    return middle - half, middle + half


def spread_of_scores(scores, draws, generator):
    middle, spread = scores.mean().item(), scores.std(correction=0).item()
    return middle - 1.96 * spread, middle + 1.96 * spread


def of_the_scores(scores, draws, generator):
    return scores.quantile(0.025).item(), scores.quantile(0.975).item()


def global_numbers(scores, draws, generator):
    drawn = torch.randint(len(scores), (draws, len(scores)))
    means = scores[drawn].mean(dim=1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


def own_generator(scores, draws, generator):
    own = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(scores), (draws, len(scores)), generator=own)
    means = scores[drawn].mean(dim=1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


def draws_fixed(scores, draws, generator):
    drawn = torch.randint(len(scores), (20_000, len(scores)), generator=generator)
    means = scores[drawn].mean(dim=1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


def ends_swapped(scores, draws, generator):
    return bootstrap(0.025, 0.975)(scores, draws, generator)[::-1]


def all_means(scores, draws, generator):
    drawn = torch.randint(len(scores), (draws, len(scores)), generator=generator)
    return scores[drawn].mean(dim=1)


# 0.7


def loop(clear, sign=-1.0):
    def mended_train(weight, x, labels, learning_rate, epochs, size):
        weight = weight.clone().requires_grad_()
        for _ in range(epochs):
            for start in range(0, len(x), size):
                rows = slice(start, start + size)
                F.cross_entropy(x[rows] @ weight, labels[rows]).backward()
                if clear == "before the step":
                    weight.grad.zero_()
                with torch.no_grad():
                    weight += sign * learning_rate * weight.grad
                if clear == "after the step":
                    weight.grad = None
            if clear == "after the epoch":
                weight.grad = None
        return weight.detach()

    return mended_train


def all_at_once(weight, x, labels, learning_rate, epochs, size):
    return loop("after the step")(weight, x, labels, learning_rate, epochs, len(x))


def one_epoch(weight, x, labels, learning_rate, epochs, size):
    return loop("after the step")(
        weight, x, labels, learning_rate, min(epochs, 1), size
    )


def drops_the_last(weight, x, labels, learning_rate, epochs, size):
    whole = len(x) // size * size
    return loop("after the step")(
        weight, x[:whole], labels[:whole], learning_rate, epochs, size
    )


WRONG = {
    "on_paper": [
        ((-2.0, FAULT, BILLING_LOSS, FAULT_LOSS), "The bias is missing"),
        ((0.0, FAULT, BILLING_LOSS, FAULT_LOSS), "How often does *charged* stand"),
        ((4.5, FAULT, BILLING_LOSS, FAULT_LOSS), "weight of *charged* is negative"),
        ((1.0, FAULT, BILLING_LOSS, FAULT_LOSS), "Multiply each count by its weight"),
        ((-2.5, FAULT, BILLING_LOSS, FAULT_LOSS), "Multiply each count by its weight"),
        ((SCORE, 1 - FAULT, BILLING_LOSS, FAULT_LOSS), "the probability of billing"),
        ((SCORE, math.exp(-1.5), BILLING_LOSS, FAULT_LOSS), "divide it by the sum"),
        ((SCORE, FAULT, -BILLING_LOSS, FAULT_LOSS), "No loss is negative"),
        ((SCORE, FAULT, FAULT_LOSS, BILLING_LOSS), "if the other pile is right"),
        ((SCORE, FAULT, BILLING_LOSS / math.log(2), FAULT_LOSS), "This is in bits"),
        ((SCORE, FAULT, BILLING_LOSS, 1 - FAULT), "This is 1 − p"),
    ],
    "cross_entropy": [
        (summed, "the sum over the messages"),
        (positive, "The sign is the wrong way round"),
        (down_the_columns, "runs down the columns"),
        (in_bits, "This is in bits"),
        (no_softmax, "there is no softmax in it"),
        (softmax_twice, "The softmax is taken twice"),
        (one_minus_p, "the mean of 1 − p"),
        (log_of_mean, "the mean of the logarithms"),
        (every_pile, "All piles of a row are counted"),
        (one_each, "A loss for each message came back"),
        (naive, "a probability that is too small becomes 0"),
        (naive_exp, "where rows of logits differ much in size"),
        (naive_sum, "Subtract the largest logit of each row first"),
        (detached, "no gradient reaches the logits"),
        (clamped, "the loss is"),
    ],
    "predictions": [
        (predicted(shifted="larger"), "Multiply e⁵ into every e"),
        (predicted(doubled_right="same"), "Of what is it sure here?"),
        (predicted(doubled_wrong="smaller"), "what does −ln p say to that"),
        (predicted(half_batch="smaller"), "How many batches of 8 are cut"),
        (predicted(two_backwards="same"), "What does `backward` do with slopes"),
        (predicted(padded="smaller"), "What is each padding token multiplied by"),
        (predicted(more_tests="same"), "Think of coins"),
        (predicted(more_tests="less"), "not one of the 3 answers"),
    ],
    "step": [
        (uphill, "This goes up"),
        (of_the_sum, "those of the sum of the losses"),
        (bias_left, "The bias has not moved"),
        (no_rate, "The learning rate is not in it"),
        (slopes_alone, "The slopes came back"),
        (unchanged, "Nothing has moved"),
        (in_place, "must leave what it is given as it was"),
        (other_order, "in the wrong order"),
        (with_its_record, "still carries the record"),
    ],
    "masked_mean": [
        (whole_mean, "Padding counts"),
        (by_the_length, "still in what it is divided by"),
        (padding_alone, "the means of the padding"),
        (sums, "This is the sum"),
        (one_for_all, "the tokens of the whole batch"),
        (padding_in_sum, "The padding is in the sum"),
        (first_ones, "The first vectors of each text are taken"),
        (largest, "the largest of each number"),
        (half_precision, "digits are lost"),
    ],
    "interval": [
        (bootstrap(0.05, 0.95), "5 % are cut off on each side"),
        (bootstrap(0.005, 0.995), "the ends of 99 % of the means"),
        (bootstrap(0.25, 0.75), "the middle half of the means"),
        (bootstrap(0.025, 0.975, back=False), "as if every set held each score once"),
        (
            bootstrap(0.025, 0.975, lambda s, dim: s.median(dim=dim).values),
            "and should be about [",
        ),
        (over_the_draws, "the interval is [2.952, 3.102], and should be about"),
        (by_formula, "This is a formula"),
        (spread_of_scores, "1.96 standard deviations of the *scores*"),
        (of_the_scores, "quantiles of the scores"),
        (global_numbers, "global random numbers"),
        (own_generator, "two generators gave the very same interval"),
        (draws_fixed, "is `draws` how many means are made?"),
        (ends_swapped, "lies above the high one"),
        (all_means, "should return two numbers"),
    ],
    "mended_train": [
        (loop("never"), "the broken loop still"),
        (loop("after the epoch"), "taken away once an epoch"),
        (loop("before the step"), "The weights have not moved"),
        (loop("after the step", sign=1.0), "This goes up"),
        (all_at_once, "One step an epoch on all messages at once"),
        (one_epoch, "This is one epoch"),
        (drops_the_last, "the weight is"),
        (in_single_precision, "in double precision"),
    ],
}
