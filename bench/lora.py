"""Chapter 12's LoRA beside peft's: seconds and peak memory of a training step.

    python bench/lora.py

The same pretrained model, layers, rank, α and batch on both sides; forward, backward
and a step of AdamW on what is trained, in float32, on the CPU with as many threads as
OMP_NUM_THREADS allows. Theirs starts from our adapter's file, and the last losses must
agree. The two take turns, step by step, so that a machine that slows down slows both;
seconds are medians. Memory is that of a fresh process for each side: its peak in two
steps, less what it held before the first one. Below 1, ours is faster, or smaller.
"""

import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import nn

from finetuning.models import load_causal_lm, load_encoder
from finetuning.runtime import peak_memory_mb, set_seed
from finetuning.scratch.lora import add_lora, save_adapter

STEPS, WARM_UP = 8, 2
RANK = 8


@dataclass(frozen=True)
class Setting:
    """A model, the layers that get an adapter, and the batch."""

    name: str
    pattern: str
    batch: int
    length: int


SETTINGS = (
    Setting("MiniLM", r".*encoder\.layer.*(query|value)", 16, 64),
    Setting("MiniLM", r".*encoder\.layer.*(query|key|value|dense)", 16, 64),
    Setting("MiniLM", r".*encoder\.layer.*(query|key|value|dense)", 16, 128),
    Setting("SmolLM2", r".*_proj", 1, 96),
)


def pretrained(setting: Setting) -> nn.Module:
    """The model, without dropout."""
    if setting.name == "SmolLM2":
        return load_causal_lm()[0]
    set_seed(0)  # of the new head
    return load_encoder(
        head="classification",
        num_labels=5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )[0]


def tuned(setting: Setting, side: str) -> nn.Module:
    """The model with adapters: ours, or peft's from our file."""
    model = pretrained(setting)
    set_seed(1)
    add_lora(model, setting.pattern, rank=RANK, alpha=RANK)
    if side == "ours":
        return model.train()
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(model, folder)
        del model
        theirs = PeftModel.from_pretrained(
            pretrained(setting), folder, is_trainable=True
        )
    return theirs.train()


def stepper(setting: Setting, side: str) -> Callable[[], float]:
    """A function that makes a training step and returns its loss."""
    model = tuned(setting, side)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    generator = torch.Generator().manual_seed(2)
    shape = (setting.batch, setting.length)
    ids = torch.randint(1000, 20_000, shape, generator=generator)
    labels = ids
    if setting.name == "MiniLM":
        labels = torch.randint(5, (setting.batch,), generator=generator)

    def step() -> float:
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def seconds(setting: Setting) -> list[float]:
    """The median seconds of a step, ours and theirs."""
    steps = [stepper(setting, side) for side in ("ours", "theirs")]
    times: list[list[float]] = [[], []]
    losses = [0.0, 0.0]
    for turn in range(WARM_UP + STEPS):
        for place, step in enumerate(steps):
            began = time.perf_counter()
            losses[place] = step()
            if turn >= WARM_UP:
                times[place].append(time.perf_counter() - began)
    if abs(losses[0] - losses[1]) > 1e-4:
        raise SystemExit(f"the losses are {losses}: what is compared is not the same")
    return [statistics.median(each) for each in times]


def peaks(place: int) -> list[float]:
    """The peak megabytes of two steps, ours and theirs, each in a fresh process."""
    found = []
    for side in ("ours", "theirs"):
        command = [sys.executable, __file__, "--peak", side, str(place)]
        output = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(float(output.stdout.split()[-1]))
    return found


def own_peak(side: str, place: int) -> float:
    """The peak megabytes of two steps of this process, less what it held before."""
    step = stepper(SETTINGS[place], side)
    before = resident_mb()
    step()
    step()
    return peak_memory_mb() - before


def resident_mb() -> float:
    """The memory that this process holds now; its peak so far where it is not known."""
    try:
        with open("/proc/self/status", encoding="utf-8") as status:
            fields = dict(line.split(":", 1) for line in status)
    except OSError:
        return peak_memory_mb()
    return int(fields["VmRSS"].split()[0]) * 1024 / 1e6


def main() -> None:
    """Print one line a setting."""
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--peak"]:
        print(own_peak(sys.argv[2], int(sys.argv[3])))
        return
    print(
        f"{torch.get_num_threads()} thread(s), "
        f"{torch.backends.cpu.get_cpu_capability()}, PyTorch {torch.__version__}; "
        "ours, theirs, ratio"
    )
    for place, setting in enumerate(SETTINGS):
        fast, slow = seconds(setting)
        small, large = peaks(place)
        print(
            f"{setting.name:8} {setting.batch:3} × {setting.length:3}"
            f" | {fast:6.3f} s {slow:6.3f} s {fast / slow:5.2f}"
            f" | {small:6.0f} MB {large:6.0f} MB {small / large:5.2f}"
            f" | {setting.pattern}",
            flush=True,
        )


if __name__ == "__main__":
    main()
