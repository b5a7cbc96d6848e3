"""Seeds, devices, time and memory: what a run needs that is not its lesson."""

import functools
import os
import random
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import numpy as np
import torch


def set_seed(seed: int = 0) -> None:
    """Seed Python's, NumPy's and torch's generators (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device() -> torch.device:
    """The fastest device there is: CUDA, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


class Stopwatch:
    """Wall-clock time of a block: `with Stopwatch() as watch: …`, then `watch.seconds`.

    Work queued on a GPU is waited for at both ends: the time is that of the work, not
    of its queueing.
    """

    seconds: float

    def __enter__(self) -> Self:
        self._wait()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self._wait()
        self.seconds = time.perf_counter() - self._start

    @staticmethod
    def _wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        elif torch.backends.mps.is_available():
            torch.mps.synchronize()


@functools.cache
def bfloat16_is_fast() -> bool:
    """Whether this CPU multiplies bfloat16 matrices clearly faster than float32 ones:
    measured once.

    A CPU without instructions for bfloat16 emulates them, and is slower with them than
    without. `FINETUNING_BFLOAT16`, "fast" or "slow", answers in place of measuring.

    Raises ValueError if that variable holds anything else.
    """
    forced = os.environ.get("FINETUNING_BFLOAT16")
    if forced is not None:
        if forced not in ("fast", "slow"):
            raise ValueError(f"FINETUNING_BFLOAT16 is fast or slow, not {forced!r}")
        return forced == "fast"
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.ones(1024, 384, dtype=dtype)
        right = torch.ones(384, 1536, dtype=dtype)
        times = []
        for _ in range(6):
            start = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return seconds[torch.bfloat16] < 0.8 * seconds[torch.float32]


def mixed_precision(device: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16 on a GPU that has it; nothing on a CPU.

    Some CPUs multiply bfloat16 fast and some emulate it. Whoever let each take its own
    way would get other numbers on another laptop, so CPUs compute in float32.
    """
    enabled = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MB (10⁶ bytes)."""
    status = Path("/proc/self/status")
    if (
        status.exists()
    ):  # Linux: ru_maxrss would also count what a parent process held before the fork
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    import resource  # Unix only, and needed only here

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
