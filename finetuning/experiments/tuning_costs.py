"""Chapter 12's second experiment: what a step of each way of tuning costs, in memory
and in processor time.

Memory is predicted from what a step must hold (weights, gradients, the optimiser's
averages, and what the forward pass saves for the backward pass), then measured as the
peak of a fresh process. A run takes from seconds to a minute on one CPU core. Linux
alone lets a process set back the mark of its peak, so these runs need Linux.
"""

import copy
import gc
import itertools
import json
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import peft
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from finetuning.experiments.engine import Experiment, ExperimentError, Key, Results
from finetuning.experiments.tuning_methods import (
    CONFIGURATIONS,
    METHODS,
    MODEL,
    classifier,
)
from finetuning.models import load_causal_lm
from finetuning.runtime import set_seed

LANGUAGE_MODEL = "SmolLM2-135M-Instruct"
# The shape of a batch of the first experiment, for all methods: texts, tokens.
TABLE = (16, 16)
# Few tokens, and so many that what the forward pass saves is most of the memory.
SHAPES = {MODEL: ((4, 16), (64, 128)), LANGUAGE_MODEL: ((1, 16), (8, 128))}
COMPARED = ("full", "LoRA r = 8", "head only")
STEPS = 4
FORWARDS = 20
RATE = 1e-5
# Large blocks are given back to the system as soon as they are free. Otherwise the C
# library keeps some, and the peak of a process is not what its tensors took.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


class LanguageModel(nn.Module):
    """A causal model and its loss on its own input, (B, T) ids to a number and the
    logits.
    """

    def __init__(self, method: str) -> None:
        super().__init__()
        self.model = load_causal_lm(LANGUAGE_MODEL)[0]
        if method == "head only":
            # The head is the embedding's matrix, so the last norm stands in for it.
            self.model.requires_grad_(False)
            self.model.model.norm.requires_grad_(True)
        elif method != "full":
            rank = CONFIGURATIONS[method].r
            configuration = peft.LoraConfig(
                r=rank, lora_alpha=rank, target_modules="all-linear"
            )
            self.model = peft.get_peft_model(self.model, configuration)

    def twice(self) -> int:
        """Bytes of the gradient that comes in two pieces: that of the one matrix that
        reads tokens and writes them.
        """
        matrix = self.model.get_input_embeddings().weight
        return size([matrix]) if matrix.requires_grad else 0

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.model(input_ids=ids, use_cache=False).logits  # (B, T, V)
        following = torch.cat([ids[:, 1:], ids.new_full((len(ids), 1), -100)], dim=1)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten())
        return loss, logits


class Classifier(nn.Module):
    """The first experiment's model and its loss, (B, T) ids to a number and the
    logits.
    """

    def __init__(self, method: str) -> None:
        super().__init__()
        self.model = classifier(method, seed=0)[0]

    def twice(self) -> int:
        return 0

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.model(ids, torch.ones_like(ids))
        classes = torch.arange(len(ids)) % logits.size(1)
        return nn.functional.cross_entropy(logits, classes), logits


def build(model: str, method: str) -> nn.Module:
    kind = Classifier if model == MODEL else LanguageModel
    built = kind(method).train()
    for weight in built.parameters():  # not the pages of a file, which come and go
        weight.data = weight.data.clone()
    return built


def size(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of all tensors together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Held:
    """A tensor that a graph holds, for as long as it does."""

    def __init__(self, tensor: torch.Tensor) -> None:
        # A node that held its own result itself would never be freed.
        self.tensor = tensor.detach()


def saved_bytes(model: nn.Module, ids: torch.Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights left out; and
    those of the logits, which are still there when the loss is computed.
    """
    weights = {
        weight.untyped_storage().data_ptr()
        for weight in itertools.chain(model.parameters(), model.buffers())
    }
    held = weakref.WeakSet()

    def pack(tensor: torch.Tensor) -> Held:
        each = Held(tensor)
        held.add(each)
        return each

    with saved_tensors_hooks(pack, lambda each: each.tensor):
        passed = model(ids)  # the loss keeps its graph
    # What parts of the pass held that the loss does not depend on is gone by now.
    logits = passed[1]
    storages = [each.tensor.untyped_storage() for each in held]
    storages.append(logits.untyped_storage())
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return sum(size for place, size in sizes.items() if place not in weights)


def resident(field: str = "VmRSS") -> int:
    """Bytes of memory that this process has, or had at most ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields[field].split()[0]) * 1024


def step(model: nn.Module, optimizer: torch.optim.Optimizer, ids: torch.Tensor) -> None:
    loss, logits = model(ids)
    del logits
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.optim.AdamW(trained, lr=RATE, fused=True)


def measure(key: Key) -> dict[str, float]:
    """A run, in the process that it is measured in: memory in bytes, processor time in
    seconds.
    """
    torch.set_num_threads(1)
    set_seed(0)
    # What libraries load and set aside at their first use is not the method's: another
    # model of the same kind takes a step, and goes.
    first = build(key["model"], "full")
    step(first, adamw(first), torch.full((1, 8), 1000))
    del first
    gc.collect()
    before = resident()
    model = build(key["model"], key["method"])
    ids = torch.randint(1000, 20_000, (key["batch"], key["tokens"]))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    result = {
        "weights": size(model.parameters()),
        "gradients": size(trained) + model.twice(),
        "optimizer": 2 * size(trained),
        "activations": saved_bytes(model, ids),
        "trained": sum(weight.numel() for weight in trained),
    }
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    optimizer = adamw(model)
    seconds = []
    for _ in range(STEPS):
        start = time.process_time()
        step(model, optimizer, ids)
        seconds.append(time.process_time() - start)
    result["peak"] = resident("VmHWM") - before
    # The first step has no averages to read yet, and warms the caches.
    result["seconds a step"] = round(float(np.median(seconds[1:])), 4)
    # The gradients grow as what was saved is freed.
    result["predicted"] = (
        result["weights"]
        + result["optimizer"]
        + max(result["gradients"], result["activations"])
    )
    if (key["batch"], key["tokens"]) == TABLE:
        result["inference"] = inference_cost(model.model, ids)
    return result


@torch.inference_mode()
def inference_cost(model: nn.Module, ids: torch.Tensor) -> float:
    """Processor time of a forward pass after merging, over that of the model before it
    was tuned.
    """
    merged = copy.deepcopy(model)
    if isinstance(merged.encoder, peft.PeftModel) and hasattr(
        merged.encoder.base_model, "merge_and_unload"
    ):
        merged.encoder = merged.encoder.merge_and_unload()
    models = (classifier("head only", seed=0)[0].eval(), merged.eval())
    seconds = ([], [])
    for _ in range(FORWARDS):
        for each, times in zip(models, seconds, strict=True):
            start = time.process_time()
            each(ids, torch.ones_like(ids))
            times.append(time.process_time() - start)
    plain, tuned = (float(np.median(times[1:])) for times in seconds)
    return round(tuned / plain, 3)


def run(key: Key, kept: Results) -> dict[str, float]:
    """Measure in a fresh process.

    Raises ExperimentError if it fails, as on another system than Linux.
    """
    made = subprocess.run(
        [sys.executable, "-m", "finetuning.experiments.tuning_costs", json.dumps(key)],
        env=os.environ | ALLOCATOR | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise ExperimentError(f"{key} could not be measured: {made.stderr[-500:]}")
    return json.loads(made.stdout.splitlines()[-1])


EXPERIMENT = Experiment(
    name="tuning_costs",
    chapter=12,
    settings={
        "steps": STEPS,
        "forward passes": FORWARDS,
        "optimizer": "AdamW, fused",
        "dtype": "float32",
        "allocator": ALLOCATOR,
        "before": "a step of the whole model on 8 tokens",
    },
    keys=[
        *(
            {"model": MODEL, "method": method, "batch": TABLE[0], "tokens": TABLE[1]}
            for method in METHODS
        ),
        *(
            {"model": model, "method": method, "batch": batch, "tokens": tokens}
            for model, shapes in SHAPES.items()
            for batch, tokens in shapes
            for method in COMPARED
        ),
    ],
    run=run,
)

if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
