"""Time and memory of attention by length: plain, in tiles (chapter 05), PyTorch's.

    python bench/tiled_attention.py

One head of width 64, float32, without mask, on the CPU with as many threads as
OMP_NUM_THREADS allows. Time is the best of repeated calls. Memory is what a fresh
process needs at its peak beyond what it held before the first call: unlike
`TensorMemory`, which counts tensors, this also sees what a kernel uses inside, and it
is as coarse as the pages of the operating system. "train" is forward and backward.
"""

import subprocess
import sys
import time

import torch
from torch.nn import functional

from finetuning.runtime import peak_memory_mb
from finetuning.scratch.attention import scaled_dot_product_attention
from finetuning.scratch.attention_mathematics import tiled_attention

HEAD_WIDTH = 64
LENGTHS = (1024, 2048, 4096, 8192)
KINDS = ("plain", "tiled", "fused")


def attention(kind: str, *inputs: torch.Tensor) -> torch.Tensor:
    """The output of one of the three; inputs are query, key and value, (B, H, T, D)."""
    if kind == "plain":
        return scaled_dot_product_attention(*inputs)[0]
    if kind == "tiled":
        return tiled_attention(*inputs)[0]
    return functional.scaled_dot_product_attention(*inputs)


def run(kind: str, length: int, train: bool) -> None:
    """One call, with its backward pass if `train`."""
    inputs = [
        torch.randn(1, 1, length, HEAD_WIDTH, requires_grad=train) for _ in range(3)
    ]
    with torch.set_grad_enabled(train):
        output = attention(kind, *inputs)
        if train:
            output.sum().backward()


def measure(kind: str, length: int, train: bool) -> None:
    """Print ms and MB of one kind at one length; for a process of its own."""
    run(kind, 64, train)  # loads what is loaded once
    before = peak_memory_mb()
    run(kind, length, train)
    memory = peak_memory_mb() - before
    times: list[float] = []
    while len(times) < 3 or sum(times) < 1.0:
        start = time.perf_counter()
        run(kind, length, train)
        times.append(time.perf_counter() - start)
    print(f"{1000 * min(times):.1f} {memory:.1f}")


def main() -> None:
    """Print a line for each length, forward and then with the backward pass."""
    print(
        f"{torch.get_num_threads()} thread(s), PyTorch {torch.__version__}, width "
        f"{HEAD_WIDTH}, float32"
    )
    for train in (False, True):
        names = [f"{kind}, {unit}" for unit in ("ms", "MB") for kind in KINDS]
        print(
            f"\n{'train' if train else 'forward':>7}"
            + "".join(f"{name:>12}" for name in names)
        )
        for length in LENGTHS:
            results = []
            for kind in KINDS:
                command = [sys.executable, __file__, kind, str(length), str(int(train))]
                finished = subprocess.run(
                    command, check=True, capture_output=True, text=True
                )
                results.append(finished.stdout.split())
            print(f"{length:>7}" + "".join(f"{ms:>12}" for ms, _ in results), end="")
            print("".join(f"{megabytes:>12}" for _, megabytes in results), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(sys.argv[1], int(sys.argv[2]), bool(int(sys.argv[3])))
    else:
        main()
