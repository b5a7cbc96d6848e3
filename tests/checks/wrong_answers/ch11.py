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


def _loop(zero=True, mode=True, per_step=True, clip_first=True, item=True, begin=True):
    def train(model, batches, epochs, learning_rate, evaluate):
        optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
        schedule = get_linear_schedule_with_warmup(optimizer, 2, epochs * len(batches))
        losses = []
        if begin:
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


# More of each, of the kinds that a single example does not show


def mask_inverted(rows, pad_id):
    batch = _batch(rows, pad_id)
    return batch | {"attention_mask": 1 - batch["attention_mask"]}


def mask_of_booleans(rows, pad_id):
    batch = _batch(rows, pad_id)
    return batch | {"attention_mask": batch["attention_mask"].bool()}


def ids_of_int32(rows, pad_id):
    batch = _batch(rows, pad_id)
    return batch | {"input_ids": batch["input_ids"].int()}


def labels_of_shape_one(rows, pad_id):
    batch = _batch(rows, pad_id)
    return batch | {"labels": batch["labels"][:, None]}


def sorted_by_length(rows, pad_id):
    return _batch(sorted(rows, key=lambda row: len(row["input_ids"])), pad_id)


def sorted_in_place(rows, pad_id):
    rows.sort(key=lambda row: len(row["input_ids"]))
    return _batch(rows, pad_id)


def width_of_the_first_batch():
    kept = []

    def collate(rows, pad_id):
        kept.append(max(len(row["input_ids"]) for row in rows))
        return _batch(rows, pad_id, width=kept[0])

    return collate


def as_lists(rows, pad_id):
    return {name: value.tolist() for name, value in _batch(rows, pad_id).items()}


def share_of_the_peak(step, peak, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / (total_steps - warmup_steps))


def warm_up_begins_above_zero(step, peak, warmup_steps, total_steps):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * max(0.0, (total_steps - step) / (total_steps - warmup_steps))


def zero_at_the_last_step(step, peak, warmup_steps, total_steps):
    if step < warmup_steps:
        return peak * step / warmup_steps
    left, steps = total_steps - 1 - step, total_steps - 1 - warmup_steps
    return peak * max(0.0, left / steps)


def four_warm_up_steps(step, peak, warmup_steps, total_steps):
    if step < warmup_steps:
        return peak * step / 4
    return peak * max(0.0, (total_steps - step) / (total_steps - warmup_steps))


def cosine(step, peak, warmup_steps, total_steps):
    if step < warmup_steps:
        return peak * step / warmup_steps
    done = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
    return peak * (1 + math.cos(math.pi * done)) / 2


def whole_numbers(step, peak, warmup_steps, total_steps):
    if step < warmup_steps:
        return peak * (step // warmup_steps)
    return peak * max(0.0, (total_steps - step) / (total_steps - warmup_steps))


def as_text_rate(step, peak, warmup_steps, total_steps):
    return "0"


def four_classes(predictions, labels, classes):
    each = [_counts(predictions, labels, k) for k in range(4)]
    return float(np.mean([2 * h / (g + r) if g + r else 0.0 for h, g, r in each]))


def mean_recall(predictions, labels, classes):
    each = [_counts(predictions, labels, k) for k in range(classes)]
    return float(np.mean([hits / real if real else 0.0 for hits, _, real in each]))


def f1_of_class_one(predictions, labels, classes):
    hits, given, real = _counts(predictions, labels, 1)
    return float(2 * hits / (given + real))


def percent(predictions, labels, classes):
    return 100 * f1_score(
        labels, predictions, average="macro", labels=range(classes), zero_division=0
    )


def one_where_absent(predictions, labels, classes):
    return f1_score(
        labels, predictions, average="macro", labels=range(classes), zero_division=1
    )


def labels_sorted(predictions, labels, classes):
    labels.sort()
    return f1_score(labels, predictions, average="macro", labels=range(classes))


def rates_for_frozen_embeddings(model, learning_rate, decay):
    for parameter in model.bert.embeddings.parameters():
        parameter.requires_grad = False
    head, layers, embeddings = _modules(model)
    return _groups([head, *layers[::-1], embeddings], learning_rate, decay)


def two_layers(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    return _groups([head, *layers[:2][::-1], embeddings], learning_rate, decay)


def pooler_with_the_last_layer(model, learning_rate, decay):
    _, layers, embeddings = _modules(model)
    layers[-1] = layers[-1] + list(model.bert.pooler.parameters())
    head = list(model.classifier.parameters())
    return _groups([head, *layers[::-1], embeddings], learning_rate, decay)


def one_rate_for_all_layers(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    rest = [parameter for part in [*layers, embeddings] for parameter in part]
    return _groups([head, rest], learning_rate, decay)


def growing(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    return _groups([head, *layers[::-1], embeddings], learning_rate, 1 / decay)


def a_fixed_peak(model, learning_rate, decay):
    head, layers, embeddings = _modules(model)
    return _groups([head, *layers[::-1], embeddings], 2e-4, decay)


def in_evaluation_mode(model, learning_rate, decay):
    model.train()
    head, layers, embeddings = _modules(model)
    return _groups([head, *layers[::-1], embeddings], learning_rate, decay)


def two_standard_errors(accuracy, half_width):
    return math.ceil((2 / half_width) ** 2 * accuracy * (1 - accuracy))


def to_the_nearest(accuracy, half_width):
    return round((1.96 / half_width) ** 2 * accuracy * (1 - accuracy))


def one_too_many(accuracy, half_width):
    return math.ceil((1.96 / half_width) ** 2 * accuracy * (1 - accuracy)) + 1


def at_most_five_thousand(accuracy, half_width):
    exact = (1.96 / half_width) ** 2 * accuracy * (1 - accuracy)
    return min(math.ceil(exact), 5_000)


def mode_set_after_evaluate(model, batches, epochs, learning_rate, evaluate):
    """Right only where the model comes in training mode."""

    def evaluated(model):
        evaluate(model)
        model.train()

    return _loop(mode=False, begin=False)(
        model, batches, epochs, learning_rate, evaluated
    )


def mode_never_set(model, batches, epochs, learning_rate, evaluate):
    return _loop(mode=False, begin=False)(
        model, batches, epochs, learning_rate, evaluate
    )


def fifteen_steps(model, batches, epochs, learning_rate, evaluate):
    """The number of steps of one example written in."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, 2, 15)
    losses = []
    for _ in range(epochs):
        model.train()
        for batch in batches:
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        evaluate(model)
    return losses


def another_optimiser(model, batches, epochs, learning_rate, evaluate):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, 2, epochs * len(batches))
    losses = []
    for _ in range(epochs):
        model.train()
        for batch in batches:
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        evaluate(model)
    return losses


def last_loss_for_all(model, batches, epochs, learning_rate, evaluate):
    losses = _loop()(model, batches, epochs, learning_rate, evaluate)
    return losses[-1:] * len(losses)


def one_loss_an_epoch(model, batches, epochs, learning_rate, evaluate):
    losses = _loop()(model, batches, epochs, learning_rate, evaluate)
    return losses[len(batches) - 1 :: len(batches)]


def batches_emptied(model, batches, epochs, learning_rate, evaluate):
    losses = _loop()(model, batches, epochs, learning_rate, evaluate)
    batches.clear()
    return losses


WRONG = {
    "collate": [
        (mask_from_the_ids, "a real token that happens to have the padding id"),
        (mask_of_ones, "The mask is one everywhere"),
        (padded_in_front, "Padding stands in front"),
        (padded_with_zero, "the tokenizer's is given as `pad_id`"),
        (padded_to_a_fixed_width, "to the longest of this batch and no further"),
        (cut_to_the_shortest, "no text is cut"),
        (rows_extended_in_place, "`rows` at [0] at ['input_ids'] had 5 entries"),
        (labels_as_floats, "has the dtype torch.float32"),
        (mask_left_out, "lacks the key 'attention_mask'"),
        (mask_inverted, "have changed places"),
        (mask_of_booleans, "has the dtype torch.bool"),
        (ids_of_int32, "`input_ids` has the type torch.int32"),
        (labels_of_shape_one, "has shape (3, 1); it should be (3,)"),
        (sorted_by_length, "under 'input_ids', is 7 at [0, 0]"),
        (sorted_in_place, "had 5 entries before the call"),
        (width_of_the_first_batch(), "no text is cut"),
        (as_lists, "should be a tensor of shape"),
    ],
    "schedule": [
        (never_falls, "the rate stays at the peak"),
        (no_warm_up, "There is no warm-up"),
        (one_step_early, "This is one step early"),
        (decay_measured_from_zero, "the decay is measured from step 0"),
        (divides_by_no_warm_up, "stopped with ZeroDivisionError"),
        (negative_after_the_end, "the optimiser would climb"),
        (warm_up_is_not_limited, "rises above its peak"),
        (share_of_the_peak, "This is the share of the peak"),
        (warm_up_begins_above_zero, "The warm-up is one step early"),
        (zero_at_the_last_step, "reaches zero one step too early"),
        (four_warm_up_steps, "with a warm-up of 10, the rate is"),
        (cosine, "half a cosine"),
        (whole_numbers, "the rate is 0, and should be 0.00025"),
        (as_text_rate, "should be one number"),
    ],
    "macro_f1": [
        (accuracy, "This is the accuracy"),
        (weighted_by_frequency, "weighted by how often they occur"),
        (mean_first, "F1 comes first, for each class"),
        (arithmetic_mean, "the harmonic mean of precision and recall"),
        (nan_where_never_predicted, "makes everything NaN"),
        (classes_predicted_only, "which rewards ignoring it"),
        (classes_of_the_labels, "predicted but is nobody's label"),
        (classes_that_occur, "occurs nowhere is left out"),
        (nan_where_absent, "neither predicted nor a label gives NaN"),
        (as_the_metric_returns_it, "should be one number, and is {'f1'"),
        (as_text, "should be one number, and is '0.5'"),
        (four_classes, "for 90 items of two classes, the macro-F1 is"),
        (mean_recall, "the mean of the classes' recalls"),
        (f1_of_class_one, "for 200 items of four classes of unequal size, the macro"),
        (percent, "for 200 items of four classes of unequal size, the macro"),
        (one_where_absent, "is neither predicted nor a label"),
        (labels_sorted, "`labels` holds other numbers"),
    ],
    "bookkeeping": [
        (RIGHT | {"steps": 40}, "the last one counts as a step too"),
        (RIGHT | {"steps": 42}, "batches do not run over into the next"),
        (RIGHT | {"steps": 41.25}, "batches do not run over into the next"),
        (RIGHT | {"steps": 11}, "That is one epoch"),
        (RIGHT | {"steps": 43}, "How many batches has one epoch"),
        (RIGHT | {"warm-up steps": 4}, "it is rounded up"),
        (RIGHT | {"warm-up steps": 4.4}, "A step cannot be divided"),
        (RIGHT | {"first loss": math.log2(20)}, "is in nats: the natural logarithm"),
        (RIGHT | {"first loss": 0.05}, "minus its logarithm"),
        (RIGHT | {"first loss": -math.log(20)}, "no such number can come out"),
        (RIGHT | {"first loss": 3.2}, "what probability does the right class get"),
        (RIGHT | {"trained weights": 7680}, "That is 384 · 20. Which numbers"),
        (RIGHT | {"trained weights": 7685}, "Five biases were the chapter's"),
        (RIGHT | {"trained weights": 7690}, "Which numbers does such a layer hold?"),
        (RIGHT | {"accuracy": 0.5}, "Of 33 articles 32 are right"),
        (RIGHT | {"accuracy": 3200 / 33}, "not in percent"),
        (RIGHT | {"mean of batches": 32 / 33}, "however many articles it has"),
        (RIGHT | {"mean of batches": 0.4}, "what their plain mean?"),
        (RIGHT | {"accuracy": "32/33"}, "should be one number"),
        (RIGHT | {"steps": math.nan}, "no such number can come out"),
        ({"steps": 44}, "a dictionary with the keys"),
    ],
    "layerwise_groups": [
        (upside_down, "The order is upside down"),
        (embeddings_forgotten, "would never be trained; the first is bert.embeddings"),
        (pooler_forgotten, "would never be trained; the first is bert.pooler"),
        (found_by_part_of_the_name, "compare with “layer.1.”"),
        (last_layer_with_the_head, "one step below the head already"),
        (subtracted_not_multiplied, "the decay multiplies"),
        (embeddings_with_the_first_layer, "they lie one step below it"),
        (made_for_twelve_layers, "take their number from the model"),
        (made_for_six_layers, "take their number from the model"),
        (always_four_fifths, "That is a decay of 0.8, whatever `decay` is"),
        (counted_from_the_bottom, "counted from the bottom"),
        (names_instead_of_parameters, "which is not a parameter of the model"),
        (rates_for_frozen_embeddings, "another `requires_grad`"),
        (two_layers, "parameters are in no group"),
        (pooler_with_the_last_layer, "The pooler has the rate of the last layer"),
        (one_rate_for_all_layers, "All layers have the same rate"),
        (growing, "The rate grows from layer to layer"),
        (a_fixed_peak, "has the rate 1.25e-05, and should have 3.125e-05"),
        (in_evaluation_mode, "is in `train()` mode after"),
    ],
    "items_needed": [
        (one_standard_error, "one standard error on each side"),
        (rounded_down, "a little wider than asked. Round up"),
        (not_rounded, "Half an article cannot be tested"),
        (whole_width, "the whole width of the interval"),
        (halved_twice, "halved once more"),
        (width_not_squared, "four times as many"),
        (always_the_worst_case, "the worst case"),
        (two_standard_errors, "2 standard errors on each side; take 1.96"),
        (to_the_nearest, "Round up, whatever the fraction"),
        (one_too_many, "one more than needed"),
        (at_most_five_thousand, "is 5,000, and should be 24,587"),
    ],
    "training_loop": [
        (as_it_was, "ran in evaluation mode"),
        (_loop(mode=False), "nothing switched it on again"),
        (mode_set_after_evaluate, "The first epoch runs in the mode"),
        (mode_never_set, "Nothing switches the model to training"),
        (_loop(zero=False), "Gradients pile up"),
        (_loop(per_step=False), "The schedule moves once an epoch"),
        (_loop(clip_first=False), "not clipped"),
        (_loop(item=False), "keep the graph of its step alive"),
        (without_clipping, "clipping is missing"),
        (schedule_before_the_step, "the rate of the next one"),
        (losses_added_up, "append the loss of each batch"),
        (last_loss_for_all, "the list of losses[0] is"),
        (one_loss_an_epoch, "the losses of all 15 steps"),
        (zeroed_between_backward_and_step, "No weight has changed"),
        (evaluated_once, "once after each epoch"),
        (fifteen_steps, "the weights after training"),
        (another_optimiser, "the weights after training"),
        (batches_emptied, "`batches` had 5 entries before the call"),
    ],
}
