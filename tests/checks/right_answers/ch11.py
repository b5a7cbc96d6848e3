"""Right but unusual answers to chapter 11's exercises: none may be refused."""

import math
from collections import UserDict

import numpy as np
import torch
from sklearn.metrics import classification_report, f1_score
from torch import nn

# 11.1


def filled(rows, pad_id):
    """A rectangle of padding, into which the texts are written."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        length = len(row["input_ids"])
        ids[place, :length] = torch.tensor(row["input_ids"])
        mask[place, :length] = 1
    labels = torch.tensor([row["labels"] for row in rows])
    return {"labels": labels, "input_ids": ids, "attention_mask": mask}


def by_lengths(rows, pad_id):
    texts = [torch.tensor(row["input_ids"]) for row in rows]
    lengths = torch.tensor([len(text) for text in texts])
    ids = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=pad_id)
    mask = (torch.arange(ids.size(1)) < lengths[:, None]).to(torch.int64)
    return UserDict(
        input_ids=ids,
        attention_mask=mask,
        labels=torch.as_tensor([row["labels"] for row in rows]),
    )


def from_copies(rows, pad_id):
    rows = [{**row, "input_ids": list(row["input_ids"])} for row in rows]
    masks = [[1] * len(row["input_ids"]) for row in rows]
    while len({len(mask) for mask in masks}) > 1:
        longest = max(map(len, masks))
        for row, mask in zip(rows, masks, strict=True):
            if len(mask) < longest:
                row["input_ids"].append(pad_id)
                mask.append(0)
    return {
        "input_ids": torch.LongTensor([row["input_ids"] for row in rows]),
        "attention_mask": torch.LongTensor(masks),
        "labels": torch.LongTensor([row["labels"] for row in rows]),
    }


# 11.2


def interpolated(step, peak, warmup_steps, total_steps):
    if not warmup_steps:
        return np.interp(step, [0, total_steps], [peak, 0.0])
    return np.interp(step, [0, warmup_steps, total_steps], [0.0, peak, 0.0])


def lower_of_two(step, peak, warmup_steps, total_steps):
    falling = max(total_steps - step, 0) / (total_steps - warmup_steps)
    return min(step / warmup_steps if warmup_steps else 1.0, falling) * peak


def by_subtraction(step, peak, warmup_steps, total_steps):
    if step >= total_steps:
        return 0
    if step <= warmup_steps and warmup_steps > 0:
        return peak / warmup_steps * step
    return peak - peak / (total_steps - warmup_steps) * (step - warmup_steps)


def as_tensor(step, peak, warmup_steps, total_steps):
    return torch.tensor(by_subtraction(step, peak, warmup_steps, total_steps))


# 11.3


def from_the_library(predictions, labels, classes):
    return f1_score(
        labels,
        predictions,
        labels=list(range(classes)),
        average="macro",
        zero_division=0.0,
    )


def from_the_report(predictions, labels, classes):
    report = classification_report(
        labels, predictions, labels=range(classes), output_dict=True, zero_division=0
    )
    return report["macro avg"]["f1-score"]


def by_confusion(predictions, labels, classes):
    table = np.bincount(labels * classes + predictions, minlength=classes**2)
    table = table.reshape(classes, classes)
    hits, total = np.diag(table), table.sum(axis=0) + table.sum(axis=1)
    return (2 * hits / np.maximum(total, 1)).mean()


def by_precision_and_recall(predictions, labels, classes):
    total = 0.0
    for k in range(classes):
        hits = float(np.sum((predictions == k) * (labels == k)))
        if hits:
            precision = hits / float(np.sum(predictions == k))
            recall = hits / float(np.sum(labels == k))
            total += 2 / (1 / precision + 1 / recall)
    return np.float32(total / classes)


# 11.4

PREDICTED = {
    "steps": 44.0,
    "warm-up steps": 5,
    "first loss": 2.996,
    "trained weights": torch.tensor(7700),
    "accuracy": 0.97,
    "mean of batches": np.float64(0.5),
}


# 11.5


def by_names(model, learning_rate, decay):
    layers = len(model.bert.encoder.layer)
    groups = []
    for name, parameter in model.named_parameters():
        depth = 0
        if name.startswith("bert.encoder.layer."):
            depth = layers - int(name.split(".")[3])
        elif name.startswith("bert.embeddings."):
            depth = layers + 1
        groups.append({"params": [parameter], "lr": learning_rate * decay**depth})
    return groups


def with_generators(model, learning_rate, decay):
    """Parameters as they come, the classifier and the pooler in groups of their own."""
    modules = [*reversed(model.bert.encoder.layer), model.bert.embeddings]
    groups = [
        {"params": model.classifier.parameters(), "lr": learning_rate},
        {"params": model.bert.pooler.parameters(), "lr": learning_rate},
    ]
    rate = learning_rate
    for module in modules:
        rate *= decay
        groups.append({"params": module.parameters(), "lr": rate, "weight_decay": 0.0})
    return groups


def one_by_one(model, learning_rate, decay):
    """From the bottom, a tensor a group, the rate as a tensor."""
    layers = list(model.bert.encoder.layer)
    parts = [model.bert.embeddings, *layers]
    groups = []
    for place, part in enumerate(parts):
        rate = torch.tensor(learning_rate * decay ** (len(parts) - place)).double()
        groups += [{"params": p, "lr": float(rate)} for p in part.parameters()]
    below = {id(p) for part in parts for p in part.parameters()}
    head = [p for p in model.parameters() if id(p) not in below]
    return [*groups, {"params": head, "lr": learning_rate}]


# 11.6


def by_root(accuracy, half_width):
    standard_error = half_width / 1.96
    return math.ceil(accuracy * (1 - accuracy) / standard_error**2)


def counted_up(accuracy, half_width):
    """The first number whose interval is narrow enough, by halving."""
    low, high = 0, 10**7
    while high - low > 1:
        middle = (low + high) // 2
        if 1.96 * math.sqrt(accuracy * (1 - accuracy) / middle) <= half_width:
            high = middle
        else:
            low = middle
    return high


def as_numpy(accuracy, half_width):
    return np.ceil(np.square(1.96 / half_width) * (accuracy - accuracy**2))


# 11.7


def written_out(model, batches, epochs, learning_rate, evaluate):
    """Without a schedule or an optimiser: clipped, scaled and subtracted by hand."""
    total, step, losses = epochs * len(batches), 0, []
    for _ in range(epochs):
        model.train()
        for batch in batches:
            loss = model(**batch).loss
            parameters = list(model.parameters())
            gradients = torch.autograd.grad(loss, parameters)
            norm = torch.stack([g.norm() for g in gradients]).norm()
            share = step / 2 if step < 2 else (total - step) / (total - 2)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    clipped = gradient * min(1.0, 1.0 / (norm.item() + 1e-6))
                    parameter -= learning_rate * share * clipped
            step += 1
            losses.append(float(loss.detach()))
        evaluate(model)
    return losses


def cleared_afterwards(model, batches, epochs, learning_rate, evaluate):
    optimizer = torch.optim.SGD(model.parameters(), learning_rate)
    total = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: k / 2 if k < 2 else max(0, (total - k) / (total - 2))
    )
    losses = []
    for epoch in range(epochs):
        for batch in batches:
            model.train()
            loss = model(inputs=batch["inputs"], labels=batch["labels"]).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(model.parameters()), max_norm=1)
            optimizer.step()
            schedule.step()
            model.zero_grad(set_to_none=epoch % 2 == 0)
            losses += [loss.detach().numpy().item()]
        evaluate(model)
    return losses


def all_steps_in_one_loop(model, batches, epochs, learning_rate, evaluate):
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    losses = np.zeros(epochs * len(batches))
    for step in range(len(losses)):
        model.train()
        share = min(step / 2, (len(losses) - step) / (len(losses) - 2))
        optimizer.param_groups[0]["lr"] = learning_rate * share
        optimizer.zero_grad(set_to_none=False)
        loss = model(**batches[step % len(batches)]).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses[step] = loss.item()
        if (step + 1) % len(batches) == 0:
            evaluate(model)
    return losses.tolist()


RIGHT = {
    "collate": [filled, by_lengths, from_copies],
    "schedule": [interpolated, lower_of_two, by_subtraction, as_tensor],
    "macro_f1": [
        from_the_library,
        from_the_report,
        by_confusion,
        by_precision_and_recall,
    ],
    "bookkeeping": [
        PREDICTED,
        PREDICTED | {"first loss": math.log(20), "accuracy": 1 - 1 / 33},
        PREDICTED | {"first loss": 2.9957, "mean of batches": 1 / 2},
    ],
    "layerwise_groups": [by_names, with_generators, one_by_one],
    "items_needed": [by_root, counted_up, as_numpy],
    "training_loop": [written_out, cleared_afterwards, all_steps_in_one_loop],
}
