"""Chapter 12's second experiment: what a step of each way of tuning costs, in memory
and in processor time.

Memory is predicted by counting the bytes of tensors: weights, the optimiser's averages,
and the most that a forward and a backward pass hold at once, which is gradients, what
the forward pass saves for the backward pass, and what a layer makes for a moment. Then
it is measured as the peak of a fresh process. A run takes from seconds to two minutes
on one CPU core. Linux alone lets a process set back the mark of its peak, so these runs
need Linux.
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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
# Pairs of steps and of forward passes that take turns, with the method and without.
TURNS = 20
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


class Alive(TorchDispatchMode):
    """Inside this block, counts the bytes of the tensors that are there at once.

    `most` is the largest count so far. Tensors of before the block do not count.
    """

    def __init__(self, before: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.sizes = {place(tensor): 0 for tensor in before}
        self.now = 0
        self.most = 0

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and place(tensor) not in self.sizes:
                self.sizes[place(tensor)] = tensor.untyped_storage().nbytes()
                self.now += self.sizes[place(tensor)]
                self.most = max(self.most, self.now)
                storage = tensor.untyped_storage()
                weakref.finalize(storage, self._gone, place(tensor))
        return made

    def _gone(self, where: int) -> None:
        self.now -= self.sizes.pop(where)


def place(tensor: torch.Tensor) -> int:
    """Where the block of memory is noted that a tensor, or a view, is of."""
    return tensor.untyped_storage()._cdata


def most_held(model: nn.Module, ids: torch.Tensor) -> int:
    """The most bytes that a forward and a backward pass hold at once, beside the model:
    gradients, what is saved, and what is made for a moment.
    """
    model.zero_grad()
    with Alive([ids, *model.parameters(), *model.buffers()]) as alive:
        loss, logits = model(ids)
        del logits
        loss.backward()
    model.zero_grad()
    return alive.most


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
        "gradients": size(trained),
        "optimizer": 2 * size(trained),
        "activations": saved_bytes(model, ids),
        "trained": sum(weight.numel() for weight in trained),
    }
    held = most_held(model, ids)
    result["predicted"] = result["weights"] + result["optimizer"] + held
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    optimizer = adamw(model)
    for _ in range(STEPS):
        step(model, optimizer, ids)
    result["peak"] = resident("VmHWM") - before
    if (key["batch"], key["tokens"]) == TABLE:
        full = build(key["model"], "full")
        optimizers = {each: adamw(each) for each in (full, model)}
        slow, fast = in_turns(
            lambda each: step(each, optimizers[each], ids), list(optimizers)
        )
        result["seconds a step"] = round(min(fast), 4)
        result["step"] = round(float(np.median(fast) / np.median(slow)), 3)
        result["inference"] = inference_cost(model.model, ids)
    return result


def in_turns(
    function: Callable[[nn.Module], Any], models: list[nn.Module]
) -> list[list[float]]:
    """Seconds of processor time that a function of each of several models takes.

    They take turns, so that a machine that is busy for a while slows all of them; the
    first turn, which warms the caches, does not count.
    """
    seconds = [[] for _ in models]
    for _ in range(TURNS + 1):
        for model, times in zip(models, seconds, strict=True):
            start = time.process_time()
            function(model)
            times.append(time.process_time() - start)
    return [times[1:] for times in seconds]


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
    models = [classifier("head only", seed=0)[0].eval(), merged.eval()]
    plain, tuned = in_turns(lambda each: each(ids, torch.ones_like(ids)), models)
    return round(float(np.median(tuned) / np.median(plain)), 3)


def run(key: Key, kept: Results) -> dict[str, float]:
    """Measure in a fresh process: bytes, `step` (processor time of a training step over
    that of full fine-tuning) and `inference` (of a forward pass after merging, over
    that of the model before it was tuned).

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
        "turns": TURNS,
        "seconds": "the fastest step",
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
