"""Checks of chapter 11's exercises.

- `collate`: a batch padded to its longest text, with a mask that knows padding from
  text (exercise 11.1)
- `schedule`: linear warm-up and linear decay, step by step (exercise 11.2)
- `macro_f1`: the mean of the classes' F1, where a class may never be predicted
  (exercise 11.3)
- `bookkeeping`: steps, warm-up, first loss and averages of a run, counted beforehand
  (exercise 11.4)
- `layerwise_groups`: a smaller learning rate for each deeper layer, no parameter lost
  (exercise 11.5)
- `items_needed`: how many test items an interval of a given width takes (exercise 11.6)
- `training_loop`: a loop without the three faults of the broken one (exercise 11.7)
"""

import copy
import itertools
import math
import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    get_linear_schedule_with_warmup,
)

from finetuning.checks.core import (
    as_number,
    call,
    check,
    expect_close,
    expect_shape,
    fail,
    passed,
    written,
)

__all__ = [
    "bookkeeping",
    "collate",
    "items_needed",
    "layerwise_groups",
    "macro_f1",
    "schedule",
    "training_loop",
]


def _tiny_bert(
    layers: int, labels: int = 3, seed: int = 0
) -> BertForSequenceClassification:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            num_labels=labels,
            # far from uniform attention, so that a wrong mask shows
            initializer_range=0.5,
        )
        return BertForSequenceClassification(config).eval()


@check
def collate(collate_function: Callable) -> None:
    """`collate(rows, pad_id)` -> `input_ids` (B, T), `attention_mask` (B, T), `labels`
    (B,), all int64.
    """
    pad = 7
    rows = [
        {
            "input_ids": [1, 12, pad, 14, 2],
            "labels": 2,
        },  # the padding id inside a text, as where pad = eos
        {"input_ids": [1, 21, 22, 23, 24, 25, 26, 2], "labels": 0},
        {"input_ids": [1, 31, 2], "labels": 1},
    ]
    before = copy.deepcopy(rows)
    batch = call(collate_function, rows, pad)
    if not isinstance(batch, Mapping) or set(batch) != {
        "input_ids",
        "attention_mask",
        "labels",
    }:
        fail(
            "the batch should be a dictionary with input_ids, attention_mask and "
            "labels, and no more."
        )
    if rows != before:
        fail(
            "the rows that were passed in have changed. They are the data set: in "
            "the next epoch they would be padded again. Build new lists."
        )
    ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"]
    longest = max(len(row["input_ids"]) for row in rows)
    if getattr(ids, "ndim", 0) == 2 and ids.shape[1] < longest:
        fail(
            f"texts are cut: the longest has {longest} tokens and the batch is "
            f"{ids.shape[1]} wide."
        )
    if getattr(ids, "ndim", 0) == 2 and ids.shape[1] > longest:
        fail(
            f"the batch is {ids.shape[1]} wide, and its longest text has {longest} "
            "tokens. Dynamic padding goes to the longest of this batch and no further."
        )
    expect_shape(ids, (3, longest), "input_ids")
    expect_shape(mask, (3, longest), "attention_mask")
    expect_shape(labels, (3,), "labels")
    for name, value in batch.items():
        if value.dtype != torch.int64:
            fail(
                f"{name} has the type {value.dtype}; ids, masks and labels of "
                "classes are torch.int64."
            )
    passed("shapes and types are right, and the rows are left alone")

    if labels.tolist() != [row["labels"] for row in rows]:
        fail("the labels are not those of the rows, in their order.")
    if mask.all():
        fail(
            "the mask is one everywhere, so the model reads padding as text. It is "
            "one where a token stands and zero where padding does."
        )
    if (1 - mask).sum() and torch.equal(mask, (ids != pad).long()) and mask[0, 2] == 0:
        fail(
            "the mask is zero at a real token that happens to have the padding id. "
            "Where padding and the end of a text are the same token, that loses the "
            "end. Take the mask from the lengths."
        )
    for place, row in enumerate(rows):
        length = len(row["input_ids"])
        if ids[place, :length].tolist() != row["input_ids"]:
            if ids[place, -length:].tolist() == row["input_ids"]:
                fail(
                    "padding stands in front. BERT numbers positions from the left, "
                    "so its texts are padded on the right."
                )
            fail(f"row {place} does not begin with its own tokens.")
        if mask[place].tolist() != [1] * length + [0] * (longest - length):
            fail(
                f"the mask of row {place} is {mask[place].tolist()}; that text "
                f"has {length} tokens."
            )
        if (ids[place, length:] != pad).any():
            wrong = ids[place, -1].item()
            fail(
                f"padding has the id {wrong}; the tokenizer's is given as "
                f"`pad_id`, here {pad}."
            )
    passed("tokens, mask and padding stand where they belong")

    model = _tiny_bert(layers=2)
    with torch.inference_mode():
        together = model(
            batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
        for place, row in enumerate(rows):
            alone = model(torch.tensor([row["input_ids"]])).logits[0]
            expect_close(
                together[place],
                alone,
                f"the score of text {place} in the batch",
                tolerance=1e-4,
            )
    passed("a BERT gives each text the same scores alone and in the batch")


@check
def schedule(learning_rate_at: Callable) -> None:
    """`learning_rate_at(step, peak, warmup_steps, total_steps)` -> the rate of that
    step, counted from 0.
    """
    for peak, warmup, total in ((1e-3, 4, 20), (5e-5, 10, 39), (1.0, 1, 8)):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
        library = get_linear_schedule_with_warmup(optimizer, warmup, total)
        expected = []
        for _ in range(total):
            expected.append(library.get_last_lr()[0] / peak)
            optimizer.step()
            library.step()
        given = [
            call(learning_rate_at, step, peak, warmup, total) for step in range(total)
        ]
        if not all(
            isinstance(rate, (int, float, np.number, torch.Tensor))
            and np.ndim(rate) == 0
            for rate in given
        ):
            fail("a learning rate should be a number.")
        shares = [float(rate) / peak for rate in given]
        _diagnose_schedule(shares, expected, warmup, total)
        expect_close(
            shares,
            expected,
            f"the rate (as a share of the peak) of steps 0 to {total - 1}",
        )
    passed("equal to transformers' linear schedule at every step, for three settings")
    rates = [call(learning_rate_at, step, 2.0, 0, 5) for step in range(5)]
    expect_close(
        rates,
        [2.0, 1.6, 1.2, 0.8, 0.4],
        "the schedule without warm-up",
        "It begins at the peak.",
    )
    passed("without warm-up it begins at the peak")
    beyond = float(call(learning_rate_at, 25, 1e-3, 4, 20))
    if beyond < 0:
        fail(
            "after the last step the rate is negative: the optimiser would "
            "climb. It stays at zero."
        )
    expect_close(beyond, 0.0, "the rate after the last step")
    passed("after the end it stays at zero")


def _diagnose_schedule(
    shares: list[float], expected: list[float], warmup: int, total: int
) -> None:
    if np.allclose(shares, expected):
        return
    if np.allclose(shares[:warmup], expected[:warmup]) and np.allclose(
        shares[warmup:], 1
    ):
        fail(
            "after the warm-up the rate stays at the peak; it should fall in a "
            "straight line to zero."
        )
    if np.allclose(shares, [(total - step) / total for step in range(total)]):
        fail(
            "there is no warm-up: the first step has the full rate, when the new "
            "head is still noise."
        )
    if np.allclose(shares[:-1], expected[1:]):
        fail(
            "this is one step early. Step 0 has the rate 0, step `warmup_steps` "
            "has the peak."
        )
    if np.allclose(shares[:warmup], expected[:warmup]) and np.allclose(
        shares[warmup:], [(total - step) / total for step in range(warmup, total)]
    ):
        fail(
            "the rate jumps where the warm-up ends: the decay is measured from step "
            "0. It starts at the peak, at step `warmup_steps`, and has `total_steps "
            "− warmup_steps` steps to reach zero."
        )
    if max(shares) > 1 + 1e-9:
        fail(f"the rate rises above its peak, to {max(shares):.3f} of it.")


@check
def macro_f1(score: Callable) -> None:
    """`macro_f1(predictions, labels, classes)` -> a number; both arrays (N,), classes 0
    … classes − 1.
    """
    random = np.random.default_rng(0)
    labels = random.choice(4, size=200, p=[0.7, 0.15, 0.1, 0.05])
    predictions = np.where(
        random.random(200) < 0.75, labels, random.integers(0, 4, 200)
    )
    value = as_number(call(score, predictions, labels, 4), "the answer")
    expected = f1_score(labels, predictions, average="macro")
    precision = np.array([(labels[predictions == k] == k).mean() for k in range(4)])
    recall = np.array([(predictions[labels == k] == k).mean() for k in range(4)])
    accuracy = (labels == predictions).mean()
    suspects = {
        accuracy: (
            "this is the accuracy, which is also the micro-averaged F1. Macro: one F1 "
            "for each class, then their plain mean."
        ),
        f1_score(labels, predictions, average="weighted"): (
            "classes are weighted by how often they occur, so the rare ones hardly "
            "count. In the macro average each class counts the same."
        ),
        2 * precision.mean() * recall.mean() / (precision.mean() + recall.mean()): (
            "this averages precision and recall over classes first and combines them "
            "afterwards. F1 comes first, for each class."
        ),
        (precision + recall).mean() / 2: (
            "F1 is the harmonic mean of precision and recall, and this is their "
            "arithmetic mean."
        ),
    }
    for suspect, diagnosis in suspects.items():
        if abs(value - suspect) < 1e-9:
            fail(diagnosis)
    expect_close(
        value, expected, "the macro-F1 of four classes of unequal size", tolerance=1e-9
    )
    passed("equal to scikit-learn's on four classes of unequal size")

    labels, predictions = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 0, 0])
    value = as_number(call(score, predictions, labels, 3), "the answer")
    expected = f1_score(labels, predictions, average="macro", zero_division=0)
    if math.isnan(value):
        fail(
            "a class that is never predicted gives 0/0 and makes everything NaN. "
            "Nothing of it was found: its F1 is 0. Write F1 as 2·TP / (2·TP + FP + FN)."
        )
    present = f1_score(labels, predictions, average="macro", labels=[0, 1])
    if abs(value - present) < 1e-9:
        fail(
            "a class that is never predicted is left out of the mean, which rewards "
            "ignoring it. It counts, with an F1 of 0."
        )
    expect_close(
        value,
        expected,
        "the macro-F1 where one class is never predicted",
        tolerance=1e-9,
    )
    passed("a class that is never predicted counts as 0")

    # class 2 is predicted and never a label, class 3 is neither
    labels, predictions = np.array([0, 0, 1, 1, 1]), np.array([0, 2, 1, 1, 0])
    value = as_number(call(score, predictions, labels, 4), "the answer")
    if math.isnan(value):
        fail(
            "a class that is neither predicted nor a label gives NaN; of "
            "`classes` classes it counts 0."
        )
    for present, diagnosis in (
        (
            [0, 1],
            "a class that is predicted but is nobody's label is left out of the "
            "mean. It counts, with 0.",
        ),
        (
            [0, 1, 2],
            "a class that occurs nowhere is left out of the mean. There are "
            "`classes` classes.",
        ),
    ):
        if (
            abs(value - f1_score(labels, predictions, average="macro", labels=present))
            < 1e-9
        ):
            fail(diagnosis)
    expected = f1_score(
        labels, predictions, average="macro", labels=range(4), zero_division=0
    )
    expect_close(
        value,
        expected,
        "the macro-F1 where one class is no label and one is absent",
        tolerance=1e-9,
    )
    passed("so do a class that is only predicted and one that occurs nowhere")


@check
def bookkeeping(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "steps", "warm-up steps", "first loss", "trained weights",
    "accuracy", "mean of batches".
    """
    written(predicted, "the prediction")
    expected = {
        "steps": 44,
        "warm-up steps": 5,
        "first loss": math.log(20),
        "trained weights": 384 * 20 + 20,
        "accuracy": 32 / 33,
        "mean of batches": 0.5,
    }
    crossing = (
        "each epoch ends with a small batch of its own; batches do not run over into "
        "the next."
    )
    slips = [
        (
            "steps",
            40,
            "330 articles are ten full batches and one of ten: the last one "
            "counts as a step too.",
        ),
        ("steps", 41, crossing),
        ("steps", 42, crossing),
        ("steps", 11, "that is one epoch."),
        ("warm-up steps", 4, "10 % of 44 steps are 4.4, and it is rounded up."),
        (
            "warm-up steps",
            4.4,
            "a step cannot be divided: 10 % of the steps, rounded up.",
        ),
        (
            "first loss",
            math.log(5),
            "five were the chapter's classes; here there are twenty.",
        ),
        (
            "first loss",
            1 / 20,
            "that is the probability of each class; the loss is minus its logarithm.",
        ),
        (
            "first loss",
            math.log2(20),
            "cross-entropy in PyTorch is in nats: the natural logarithm.",
        ),
        (
            "trained weights",
            384 * 20 + 5,
            "five biases were the chapter's; here are twenty classes.",
        ),
        (
            "trained weights",
            384 * 20,
            "the linear layer has a bias too, one number for each class.",
        ),
        (
            "accuracy",
            0.5,
            "that is the mean of the batches' accuracies. Of 33 articles 32 are right.",
        ),
        (
            "mean of batches",
            32 / 33,
            "each batch counts the same here, however many articles it has.",
        ),
    ]
    if not isinstance(predicted, Mapping) or set(predicted) != set(expected):
        fail(
            "the prediction should be a dictionary with the keys "
            f"{', '.join(expected)}."
        )
    for name, value in expected.items():
        answer = as_number(predicted[name], f"“{name}”")
        for key, slip, diagnosis in slips:
            if key == name and abs(answer - slip) < 2e-3:
                fail(f"“{name}”: {diagnosis}")
        tolerance = (
            1e-9 if isinstance(value, int) else 2e-3
        )  # what is counted is counted exactly
        expect_close(
            answer,
            value,
            f"“{name}”",
            "Work it out on paper first.",
            tolerance=tolerance,
        )
    passed("all six predictions are right")


@check
def layerwise_groups(groups: Callable) -> None:
    """`layerwise_groups(model, learning_rate, decay)` -> list of dicts with `params`
    and `lr`.
    """
    _layerwise(groups, layers=12, peak=1e-3, decay=0.8)
    result, peak = _layerwise(groups, layers=3, peak=5e-4, decay=0.5), 5e-4
    passed("every parameter is in exactly one group")
    passed(
        "the head learns at the peak rate, and each layer down multiplies it by "
        "the decay"
    )
    try:
        torch.optim.AdamW(result, lr=peak)
    except (ValueError, TypeError) as error:
        fail(f"AdamW does not take these groups: {error}")
    passed("AdamW takes the groups")


def _layerwise(groups: Callable, layers: int, peak: float, decay: float) -> list:
    """The groups for a model of that many layers, if they are right."""
    model = _tiny_bert(layers)
    result = call(groups, model, peak, decay)
    if not isinstance(result, list) or not all(
        isinstance(group, Mapping) and {"params", "lr"} <= set(group)
        for group in result
    ):
        fail(
            "the answer should be a list of dictionaries, each with `params` and `lr`."
        )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rate, count = {}, dict.fromkeys(names.values(), 0)
    for group in result:
        one = isinstance(group["params"], torch.Tensor)
        for parameter in [group["params"]] if one else group["params"]:
            if id(parameter) not in names:
                fail(
                    "a group holds something that is not a parameter of the "
                    "model (a name, say, or a copy)."
                )
            rate[names[id(parameter)]] = float(group["lr"])
            count[names[id(parameter)]] += 1
    missing = [name for name, times in count.items() if times == 0]
    if missing:
        fail(
            f"{len(missing)} parameters are in no group and would never be trained; "
            f"the first is {missing[0]}."
        )
    twice = [name for name, times in count.items() if times > 1]
    if twice:
        fail(
            f"{twice[0]} is in two groups. If you look for “layer.1” in a name, "
            "layers 10 and 11 answer too: compare with “layer.1.”, dot included, or "
            "go over the modules."
        )

    def depth(name: str) -> int:
        if "encoder.layer." in name:
            return layers - int(name.split("encoder.layer.")[1].split(".")[0])
        return layers + 1 if "embeddings" in name else 0

    expected = {name: peak * decay ** depth(name) for name in rate}
    if math.isclose(
        rate["classifier.weight"], expected["bert.embeddings.word_embeddings.weight"]
    ):
        fail(
            "the order is upside down: the embeddings have the largest rate and "
            "the new head the smallest."
        )
    for name, value in rate.items():
        if not math.isclose(value, expected[name], rel_tol=1e-6):
            below = layers + 1 - depth(name)
            layer = name.split("encoder.layer.")
            kind = (
                f"layer.{layer[1].split('.')[0]}"
                if len(layer) == 2
                else name.removesuffix(".weight")
            )
            hint = ""
            if "embeddings" in name and math.isclose(
                value, peak * decay**layers, rel_tol=1e-6
            ):
                hint = " The embeddings lie one step below the first layer."
            elif "encoder" in name and math.isclose(
                value * decay, expected[name], rel_tol=1e-6
            ):
                hint = " The last layer is one step below the head already."
            elif "pooler" in name:
                hint = " The pooler belongs to the head: it is above all layers."
            elif (
                "encoder" in name
                and 0 < below != depth(name)
                and math.isclose(value, peak * decay**below, rel_tol=1e-6)
            ):
                hint = (
                    " The layers were counted from the bottom: the *last* one is "
                    "next to the head."
                )
            elif any(
                other != layers
                and math.isclose(
                    value, peak * decay ** (depth(name) + other - layers), rel_tol=1e-6
                )
                for other in (6, 12)
            ):
                hint = (
                    f" This model has {layers} layers: take their number from the "
                    "model."
                )
            elif (
                any(
                    math.isclose(value, peak * 0.8**k, rel_tol=1e-6)
                    for k in range(1, 14)
                )
                and decay != 0.8
            ):
                hint = f" The decay that was passed in is {decay}."
            elif "encoder" in name and value > peak * decay ** depth(name):
                hint = " The decay multiplies from layer to layer."
            share, right = value / peak, expected[name] / peak
            fail(
                f"{kind} has the rate {share:.4f} × peak and should have "
                f"{right:.4f} × peak.{hint}"
            )
    return result


@check
def items_needed(needed: Callable) -> None:
    """`items_needed(accuracy, half_width)` -> the smallest whole number of test items,
    at 95 %.
    """
    for share, half_width in ((0.93, 0.01), (0.93, 0.02), (0.5, 0.03), (0.8, 0.005)):
        value = as_number(call(needed, share, half_width), "the answer")
        exact = (1.96 / half_width) ** 2 * share * (1 - share)
        worst = math.ceil((1.96 / half_width) ** 2 / 4)
        expected = math.ceil(exact)
        if not math.isfinite(value):
            fail(f"the answer should be a number of articles, and is {value}.")
        if value != int(value):
            fail(f"half an article cannot be tested: {value} is not a whole number.")
        value = int(value)
        if value == expected:
            continue
        suspects = {
            math.ceil(exact / 1.96**2): (
                "this gives one standard error on each side, which covers two thirds "
                "of the cases. For 95 % it is 1.96 of them."
            ),
            math.ceil(4 * exact): (
                "the half width is already what stands on each side of the result; it "
                "was halved once more."
            ),
            math.ceil(
                exact / 4
            ): "this treats the whole width of the interval as its half.",
            math.floor(
                exact
            ): "rounded down, the interval is a little wider than asked. Round up.",
            math.ceil(exact * half_width): (
                "the width falls with the *root* of the number of items: to halve it "
                "takes four times as many."
            ),
            worst: (
                "this is the number for an accuracy of 0.5, the worst case, whatever "
                "the accuracy."
            ),
        }
        if value in suspects:
            fail(suspects[value])
        expect_close(
            value,
            expected,
            f"the number of items for {share} ± {half_width}",
            tolerance=1e-9,
        )
    passed("right for four accuracies and widths")


class _Probe(nn.Module):
    """A classifier that notes in which mode each forward pass ran."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(6, 3)
        self.modes: list[bool] = []

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> SimpleNamespace:
        self.modes.append(self.training)
        logits = self.layer(inputs)
        return SimpleNamespace(
            loss=nn.functional.cross_entropy(logits, labels), logits=logits
        )


def _probe_batches() -> list[dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(4)
    return [
        {
            "inputs": 3 * torch.randn(4, 6, generator=random),
            "labels": torch.randint(3, (4,), generator=random),
        }
        for _ in range(5)
    ]


def _reference(
    zero: bool, per_step: bool, clip_first: bool, rate_last: bool
) -> tuple[torch.Tensor, list[float]]:
    """Weights and losses after three epochs; each fault is one flag."""
    model, batches, epochs, peak = _Probe(), _probe_batches(), 3, 0.1
    steps = epochs * len(batches)
    optimizer = torch.optim.SGD(model.parameters(), lr=peak)
    warm = get_linear_schedule_with_warmup(optimizer, 2, steps)
    losses = []
    for _ in range(epochs):
        for batch in batches:
            loss = model(**batch).loss
            if zero:
                optimizer.zero_grad()
            loss.backward()
            if clip_first:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if per_step and not rate_last:
                with warnings.catch_warnings(
                    action="ignore"
                ):  # PyTorch's, about this very fault
                    warm.step()
            optimizer.step()
            if not clip_first:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if per_step and rate_last:
                warm.step()
            losses.append(loss.item())
        if not per_step:
            warm.step()
    return model.layer.weight.detach(), losses


@check
def training_loop(train: Callable) -> None:
    """`train(model, batches, epochs, learning_rate, evaluate)` -> list of losses; SGD,
    2 warm-up steps, clipping at norm 1, `evaluate(model)` after each epoch.
    """
    model, batches = _Probe(), _probe_batches()
    evaluations = []

    def evaluate(model: nn.Module) -> None:
        model.eval()  # as anybody's evaluation does, and it does not switch back
        evaluations.append(len(model.modes))

    losses = call(train, model, batches, 3, 0.1, evaluate)
    if not isinstance(losses, list) or len(losses) != 15:
        fail(
            "the answer should be the list of the losses of all 15 steps (three "
            "epochs of five batches)."
        )
    if any(isinstance(loss, torch.Tensor) for loss in losses):
        fail(
            "the list holds tensors, and each keeps the graph of its step alive "
            "(and, wherever no `backward` frees them, the activations too). Keep the "
            "number, `loss.item()`."
        )
    if evaluations != [5, 10, 15]:
        fail(
            "`evaluate` should be called once after each epoch; it was called "
            f"after steps {evaluations}."
        )
    if not all(model.modes):
        fail(
            f"step {model.modes.index(False) + 1} ran in evaluation mode: `evaluate` "
            "switched dropout off and nothing switched it on again. Call "
            "`model.train()` at the start of every epoch."
        )
    passed("every step runs in training mode, and losses are plain numbers")

    weight = model.layer.weight.detach()
    if torch.equal(weight, _Probe().layer.weight):
        fail(
            "no weight has changed: the gradients are gone when the step is taken. "
            "`zero_grad` stands before `backward` or after `step`, not between them."
        )
    faults = {
        "zero": (
            "gradients pile up: each step follows the sum of all gradients so far. "
            "Clear them before each `backward`, or after each `step`."
        ),
        "per_step": (
            "the schedule moves once an epoch, so after three epochs it has barely "
            "warmed up. It counts in steps: call `schedule.step()` after each "
            "`optimizer.step()`."
        ),
        "clip_first": (
            "the steps used gradients that were not clipped: clipping is missing, or "
            "comes after the step and limits nothing. Clip between `backward` and "
            "`step`."
        ),
        "rate_last": (
            "the schedule moves before the optimiser, so every step has the rate of "
            "the next one. Call `schedule.step()` after `optimizer.step()`."
        ),
    }
    for flags in itertools.product((True, False), repeat=4):
        settings = dict(zip(faults, flags, strict=True))
        expected, expected_losses = _reference(**settings)
        if torch.allclose(weight, expected, atol=1e-6):
            for name, right in settings.items():
                if not right:
                    fail(faults[name])
            hint = (
                "The weights are right, so it is the list: append the loss of each "
                "batch, as it is."
            )
            expect_close(
                losses,
                expected_losses,
                "the loss of the 15 steps",
                hint,
                tolerance=1e-4,
            )
            break
    else:
        expected, expected_losses = _reference(True, True, True, True)
        hint = "Keep SGD, the schedule with two warm-up steps, and clipping at norm 1."
        expect_close(losses, expected_losses, "the loss of the 15 steps", hint)
        expect_close(weight, expected, "the weight after training", hint)
    passed("after 15 steps the weights are those of a loop without faults")
