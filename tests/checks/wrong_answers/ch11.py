"""Wrong answers to chapter 11's exercises, each with a part of its diagnosis."""

import math
import warnings

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import nn
from transformers import get_linear_schedule_with_warmup

# 11.1


def _batch(rows, pad_id, width=None):
    width = width or max(len(row["input_ids"]) for row in rows)
    padded = [(row["input_ids"] + [pad_id] * width)[:width] for row in rows]
    masks = [([1] * len(row["input_ids"]) + [0] * width)[:width] for row in rows]
    return {
        "input_ids": torch.tensor(padded),
        "attention_mask": torch.tensor(masks),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def mask_from_the_ids(rows, pad_id):
    batch = _batch(rows, pad_id)
    return batch | {"attention_mask": (batch["input_ids"] != pad_id).long()}


def mask_of_ones(rows, pad_id):
    batch = _batch(rows, pad_id)
    return batch | {"attention_mask": torch.ones_like(batch["input_ids"])}


def padded_in_front(rows, pad_id):
    width = max(len(row["input_ids"]) for row in rows)
    padded = [
        [pad_id] * (width - len(row["input_ids"])) + row["input_ids"] for row in rows
    ]
    masks = [
        [0] * (width - len(row["input_ids"])) + [1] * len(row["input_ids"])
        for row in rows
    ]
    return _batch(rows, pad_id) | {
        "input_ids": torch.tensor(padded),
        "attention_mask": torch.tensor(masks),
    }


def padded_with_zero(rows, pad_id):
    return _batch(rows, 0)


def padded_to_a_fixed_width(rows, pad_id):
    return _batch(rows, pad_id, width=64)


def cut_to_the_shortest(rows, pad_id):
    return _batch(rows, pad_id, width=min(len(row["input_ids"]) for row in rows))


def rows_extended_in_place(rows, pad_id):
    batch = _batch(rows, pad_id)
    for row in rows:
        row["input_ids"].extend(
            [pad_id] * (batch["input_ids"].shape[1] - len(row["input_ids"]))
        )
    return batch


def labels_as_floats(rows, pad_id):
    batch = _batch(rows, pad_id)
    return batch | {"labels": batch["labels"].float()}


def mask_left_out(rows, pad_id):
    batch = _batch(rows, pad_id)
    return {"input_ids": batch["input_ids"], "labels": batch["labels"]}


# 11.2


def never_falls(step, peak, warmup_steps, total_steps):
    return peak * min(1.0, step / max(1, warmup_steps))


def no_warm_up(step, peak, warmup_steps, total_steps):
    return peak * (total_steps - step) / total_steps


def one_step_early(step, peak, warmup_steps, total_steps):
    step = step + 1
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (total_steps - step) / (total_steps - warmup_steps)


def decay_measured_from_zero(step, peak, warmup_steps, total_steps):
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (total_steps - step) / total_steps


def divides_by_no_warm_up(step, peak, warmup_steps, total_steps):
    rising = step / warmup_steps
    falling = (total_steps - step) / (total_steps - warmup_steps)
    return peak * max(0.0, min(rising, falling))


def negative_after_the_end(step, peak, warmup_steps, total_steps):
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (total_steps - step) / (total_steps - warmup_steps)


def warm_up_is_not_limited(step, peak, warmup_steps, total_steps):
    return peak * step / warmup_steps


# 11.3


def accuracy(predictions, labels, classes):
    return float((predictions == labels).mean())


def _counts(predictions, labels, k):
    return (
        ((predictions == k) & (labels == k)).sum(),
        (predictions == k).sum(),
        (labels == k).sum(),
    )


def weighted_by_frequency(predictions, labels, classes):
    each = [_counts(predictions, labels, k) for k in range(classes)]
    return float(
        sum(2 * hits / (given + real) * real for hits, given, real in each)
        / len(labels)
    )


def mean_first(predictions, labels, classes):
    each = [_counts(predictions, labels, k) for k in range(classes)]
    precision = np.mean([hits / given for hits, given, _ in each])
    recall = np.mean([hits / real for hits, _, real in each])
    return float(2 * precision * recall / (precision + recall))


def arithmetic_mean(predictions, labels, classes):
    each = [_counts(predictions, labels, k) for k in range(classes)]
    return float(
        np.mean([(hits / given + hits / real) / 2 for hits, given, real in each])
    )


def nan_where_never_predicted(predictions, labels, classes):
    scores = []
    for k in range(classes):
        hits, given, real = (float(count) for count in _counts(predictions, labels, k))
        precision = hits / given if given else math.nan
        scores.append(2 * precision * (hits / real) / (precision + hits / real))
    return float(np.mean(scores))


def classes_predicted_only(predictions, labels, classes):
    each = [_counts(predictions, labels, k) for k in np.unique(predictions)]
    return float(np.mean([2 * hits / (given + real) for hits, given, real in each]))


def classes_of_the_labels(predictions, labels, classes):
    each = [_counts(predictions, labels, k) for k in np.unique(labels)]
    return float(np.mean([2 * hits / (given + real) for hits, given, real in each]))


def classes_that_occur(predictions, labels, classes):
    each = [_counts(predictions, labels, k) for k in range(classes)]
    return float(
        np.mean(
            [2 * hits / (given + real) for hits, given, real in each if given + real]
        )
    )


def nan_where_absent(predictions, labels, classes):
    each = [_counts(predictions, labels, k) for k in range(classes)]
    scores = [
        2 * hits / (given + real) if given + real else math.nan
        for hits, given, real in each
    ]
    return float(np.mean(scores))


def as_the_metric_returns_it(predictions, labels, classes):
    return {"f1": f1_score(labels, predictions, average="macro")}


def as_text(predictions, labels, classes):
    return "0.5"


# 11.4

RIGHT = {
    "steps": 44,
    "warm-up steps": 5,
    "first loss": math.log(20),
    "trained weights": 7700,
    "accuracy": 32 / 33,
    "mean of batches": 0.5,
}


# 11.5


def _modules(model):
    head = [*model.classifier.parameters(), *model.bert.pooler.parameters()]
    layers = [list(layer.parameters()) for layer in model.bert.encoder.layer]
    return head, layers, list(model.bert.embeddings.parameters())


def _groups(parts, learning_rate, decay):
    return [
        {"params": part, "lr": learning_rate * decay**k} for k, part in enumerate(parts)
    ]


def upside_down(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    return _groups([embeddings, *layers, head], learning_rate, decay)


def embeddings_forgotten(model, learning_rate, decay):
    head, layers, _ = _modules(model)
    return _groups([head, *layers[::-1]], learning_rate, decay)


def pooler_forgotten(model, learning_rate, decay):
    _, layers, embeddings = _modules(model)
    return _groups(
        [list(model.classifier.parameters()), *layers[::-1], embeddings],
        learning_rate,
        decay,
    )


def found_by_part_of_the_name(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    groups = [{"params": head, "lr": learning_rate}]
    for k in range(len(layers)):
        params = [p for name, p in model.named_parameters() if f"layer.{k}" in name]
        groups.append(
            {"params": params, "lr": learning_rate * decay ** (len(layers) - k)}
        )
    return [
        *groups,
        {"params": embeddings, "lr": learning_rate * decay ** (len(layers) + 1)},
    ]


def last_layer_with_the_head(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    return _groups(
        [head + layers[-1], *layers[-2::-1], embeddings], learning_rate, decay
    )


def subtracted_not_multiplied(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    parts = [head, *layers[::-1], embeddings]
    step = learning_rate * (1 - decay) / len(parts)
    return [
        {"params": part, "lr": learning_rate - step * k} for k, part in enumerate(parts)
    ]


def embeddings_with_the_first_layer(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    return _groups([head, *layers[:0:-1], layers[0] + embeddings], learning_rate, decay)


def names_instead_of_parameters(model, learning_rate, decay):
    return [
        {"params": [name for name, _ in model.named_parameters()], "lr": learning_rate}
    ]


def made_for_twelve_layers(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    groups = [
        {"params": part, "lr": learning_rate * decay ** (12 - k)}
        for k, part in enumerate(layers)
    ]
    return [
        {"params": head, "lr": learning_rate},
        *groups,
        {"params": embeddings, "lr": learning_rate * decay**13},
    ]


def made_for_six_layers(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    groups = [
        {"params": part, "lr": learning_rate * decay ** (6 - k)}
        for k, part in enumerate(layers)
    ]
    return [
        {"params": head, "lr": learning_rate},
        *groups,
        {"params": embeddings, "lr": learning_rate * decay**7},
    ]


def always_four_fifths(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    return _groups([head, *layers[::-1], embeddings], learning_rate, 0.8)


def counted_from_the_bottom(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    return _groups([head, *layers, embeddings], learning_rate, decay)


# 11.6


def one_standard_error(accuracy, half_width):
    return math.ceil(accuracy * (1 - accuracy) / half_width**2)


def rounded_down(accuracy, half_width):
    return int((1.96 / half_width) ** 2 * accuracy * (1 - accuracy))


def not_rounded(accuracy, half_width):
    return (1.96 / half_width) ** 2 * accuracy * (1 - accuracy)


def whole_width(accuracy, half_width):
    return math.ceil((1.96 / (2 * half_width)) ** 2 * accuracy * (1 - accuracy))


def halved_twice(accuracy, half_width):
    return math.ceil((2 * 1.96 / half_width) ** 2 * accuracy * (1 - accuracy))


def width_not_squared(accuracy, half_width):
    return math.ceil(1.96**2 * accuracy * (1 - accuracy) / half_width)


def always_the_worst_case(accuracy, half_width):
    return math.ceil((1.96 / half_width) ** 2 / 4)


# 11.7


def _loop(zero=True, mode=True, per_step=True, clip_first=True, item=True):
    def train(model, batches, epochs, learning_rate, evaluate):
        optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
        schedule = get_linear_schedule_with_warmup(optimizer, 2, epochs * len(batches))
        losses = []
        model.train()
        for _ in range(epochs):
            if mode:
                model.train()
            for batch in batches:
                loss = model(**batch).loss
                if zero:
                    optimizer.zero_grad()
                loss.backward()
                if clip_first:
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                if not clip_first:
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                if per_step:
                    schedule.step()
                losses.append(loss.item() if item else loss)
            if not per_step:
                schedule.step()
            evaluate(model)
        return losses

    return train


def as_it_was(model, batches, epochs, learning_rate, evaluate):
    return _loop(zero=False, mode=False, per_step=False)(
        model, batches, epochs, learning_rate, evaluate
    )


def zeroed_between_backward_and_step(model, batches, epochs, learning_rate, evaluate):
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, 2, epochs * len(batches))
    losses = []
    for _ in range(epochs):
        model.train()
        for batch in batches:
            loss = model(**batch).loss
            loss.backward()
            optimizer.zero_grad()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        evaluate(model)
    return losses


def schedule_before_the_step(model, batches, epochs, learning_rate, evaluate):
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, 2, epochs * len(batches))
    losses = []
    for _ in range(epochs):
        model.train()
        for batch in batches:
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            with warnings.catch_warnings(
                action="ignore"
            ):  # PyTorch says what the check says
                schedule.step()
            optimizer.step()
            losses.append(loss.item())
        evaluate(model)
    return losses


def losses_added_up(model, batches, epochs, learning_rate, evaluate):
    losses = _loop()(model, batches, epochs, learning_rate, evaluate)
    return [float(total) for total in np.cumsum(losses)]


def without_clipping(model, batches, epochs, learning_rate, evaluate):
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, 2, epochs * len(batches))
    losses = []
    for _ in range(epochs):
        model.train()
        for batch in batches:
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        evaluate(model)
    return losses


def evaluated_once(model, batches, epochs, learning_rate, evaluate):
    losses = _loop()(model, batches, epochs, learning_rate, lambda model: None)
    evaluate(model)
    return losses


WRONG = {
    "collate": [
        (mask_from_the_ids, "a real token that happens to have the padding id"),
        (mask_of_ones, "the mask is one everywhere"),
        (padded_in_front, "padding stands in front"),
        (padded_with_zero, "the tokenizer's is given as `pad_id`"),
        (padded_to_a_fixed_width, "to the longest of this batch and no further"),
        (cut_to_the_shortest, "texts are cut"),
        (rows_extended_in_place, "the rows that were passed in have changed"),
        (labels_as_floats, "labels has the type torch.float32"),
        (mask_left_out, "a dictionary with input_ids, attention_mask and labels"),
    ],
    "schedule": [
        (never_falls, "the rate stays at the peak"),
        (no_warm_up, "there is no warm-up"),
        (one_step_early, "one step early"),
        (decay_measured_from_zero, "the decay is measured from step 0"),
        (divides_by_no_warm_up, "stopped with ZeroDivisionError"),
        (negative_after_the_end, "the optimiser would climb"),
        (warm_up_is_not_limited, "rises above its peak"),
    ],
    "macro_f1": [
        (accuracy, "this is the accuracy"),
        (weighted_by_frequency, "weighted by how often they occur"),
        (mean_first, "F1 comes first, for each class"),
        (arithmetic_mean, "the harmonic mean of precision and recall"),
        (nan_where_never_predicted, "makes everything NaN"),
        (classes_predicted_only, "which rewards ignoring it"),
        (classes_of_the_labels, "predicted but is nobody's label"),
        (classes_that_occur, "occurs nowhere is left out"),
        (nan_where_absent, "neither predicted nor a label gives NaN"),
        (as_the_metric_returns_it, "of type dict. Take the number out of it, by its"),
        (as_text, "should be one number, and is of type str"),
    ],
    "bookkeeping": [
        (RIGHT | {"steps": 40}, "the last one counts as a step too"),
        (RIGHT | {"steps": 42}, "batches do not run over into the next"),
        (RIGHT | {"warm-up steps": 4}, "it is rounded up"),
        (RIGHT | {"first loss": math.log2(20)}, "is in nats: the natural logarithm"),
        (RIGHT | {"first loss": 0.05}, "minus its logarithm"),
        (RIGHT | {"trained weights": 7680}, "has a bias too"),
        (RIGHT | {"trained weights": 7685}, "five biases were the chapter's"),
        (RIGHT | {"trained weights": 7690}, "should be 7700"),
        (RIGHT | {"accuracy": 0.5}, "Of 33 articles 32 are right"),
        (RIGHT | {"mean of batches": 32 / 33}, "however many articles it has"),
        ({"steps": 44}, "a dictionary with the keys"),
    ],
    "layerwise_groups": [
        (upside_down, "the order is upside down"),
        (embeddings_forgotten, "would never be trained; the first is bert.embeddings"),
        (pooler_forgotten, "would never be trained; the first is bert.pooler"),
        (found_by_part_of_the_name, "compare with “layer.1.”"),
        (last_layer_with_the_head, "one step below the head already"),
        (subtracted_not_multiplied, "The decay multiplies"),
        (embeddings_with_the_first_layer, "one step below the first layer"),
        (made_for_twelve_layers, "take their number from the model"),
        (made_for_six_layers, "take their number from the model"),
        (always_four_fifths, "The decay that was passed in is 0.5"),
        (counted_from_the_bottom, "counted from the bottom"),
        (names_instead_of_parameters, "not a parameter of the model"),
    ],
    "items_needed": [
        (one_standard_error, "one standard error on each side"),
        (rounded_down, "a little wider than asked. Round up"),
        (not_rounded, "half an article cannot be tested"),
        (whole_width, "the whole width of the interval"),
        (halved_twice, "halved once more"),
        (width_not_squared, "four times as many"),
        (always_the_worst_case, "the worst case"),
    ],
    "training_loop": [
        (as_it_was, "ran in evaluation mode"),
        (_loop(zero=False), "gradients pile up"),
        (_loop(per_step=False), "the schedule moves once an epoch"),
        (_loop(clip_first=False), "not clipped"),
        (_loop(item=False), "keeps the graph of its step alive"),
        (without_clipping, "clipping is missing"),
        (schedule_before_the_step, "the rate of the next one"),
        (losses_added_up, "append the loss of each batch"),
        (zeroed_between_backward_and_step, "no weight has changed"),
        (evaluated_once, "once after each epoch"),
    ],
}
