"""Chapter 04's attention, timed beside PyTorch's own as the sequence grows.

    python bench/attention.py

One head, causal, width 64, float32, on the CPU with as many threads as OMP_NUM_THREADS
allows; the median of repeated calls. Ours writes down the whole matrix of weights, (T,
T), and returns it. PyTorch's fused kernel, which it uses for inputs of four axes, works
through the matrix in blocks.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from finetuning.scratch.attention import causal_mask, scaled_dot_product_attention

HEAD_WIDTH = 64
LENGTHS = (64, 128, 256, 512, 1024, 2048)


def milliseconds(
    call: Callable[..., object],
    *arguments: torch.Tensor,
    budget: float = 1.0,
    **settings: bool,
) -> float:
    """Median time of a call in ms: as often as `budget` seconds allow, but 3 times."""
    call(*arguments, **settings)  # the first call pays for memory and caches
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        start = time.perf_counter()
        call(*arguments, **settings)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    """Print one line a sequence length."""
    torch.manual_seed(0)
    print(
        f"{torch.get_num_threads()} thread(s), PyTorch {torch.__version__}, width "
        f"{HEAD_WIDTH}, causal"
    )
    print(f"{'T':>6} {'ours, ms':>10} {'PyTorch, ms':>12} {'ratio':>7}")
    for length in LENGTHS:
        inputs = torch.randn(
            3, 1, 1, length, HEAD_WIDTH
        ).unbind()  # query, key, value: (B=1, H=1, T, D)
        with torch.inference_mode():
            ours = milliseconds(
                scaled_dot_product_attention, *inputs, causal_mask(length)
            )
            theirs = milliseconds(
                functional.scaled_dot_product_attention, *inputs, is_causal=True
            )
        print(f"{length:>6} {ours:>10.2f} {theirs:>12.2f} {ours / theirs:>7.1f}")


if __name__ == "__main__":
    main()
