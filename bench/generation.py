"""What chapter 07's key–value cache saves when writing, by model and length.

    python bench/generation.py

Encoder–decoders with random weights, one source of 24 tokens, a vocabulary of 500,
float32, on the CPU with as many threads as OMP_NUM_THREADS allows; the best of three
runs. Beside the time stands the factor by which the cache cuts the arithmetic of the
decoder, counted by PyTorch.
"""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from finetuning.scratch.decoding import greedy
from finetuning.scratch.transformer import CachedNextLogits, NextLogits, Transformer

SIZES = ((64, 2), (128, 4), (256, 4), (512, 6))  # width, layers
LENGTHS = (16, 64, 256)
SOURCE, VOCABULARY = 24, 500


def seconds_and_flops(
    kind: type[NextLogits], model: Transformer, source: torch.Tensor, length: int
) -> list[float]:
    """The best time of three and the decoder's FLOPs, for `length` further tokens."""
    start = torch.ones(1, 1, dtype=torch.long)
    times = []
    for _ in range(3):
        next_logits = kind(model, source)
        began = time.perf_counter()
        greedy(next_logits, start, max_length=length + 1)
        times.append(time.perf_counter() - began)
    next_logits = kind(model, source)
    with FlopCounterMode(display=False) as counter:
        greedy(next_logits, start, max_length=length + 1)
    return [min(times), counter.get_total_flops()]


def main() -> None:
    """Print one line a model and length."""
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} thread(s), PyTorch {torch.__version__}")
    print(
        f"{'width':>6} {'layers':>7} {'tokens':>7} {'plain, s':>9} "
        f"{'cache, s':>9} {'faster':>7} {'fewer FLOPs':>12}"
    )
    source = torch.randint(1, VOCABULARY, (1, SOURCE))
    for width, layers in SIZES:
        model = Transformer(
            VOCABULARY, width, width // 32, 4 * width, layers, max_length=300
        ).eval()
        for length in LENGTHS:
            plain, cached = (
                seconds_and_flops(kind, model, source, length)
                for kind in (NextLogits, CachedNextLogits)
            )
            print(
                f"{width:>6} {layers:>7} {length:>7} {plain[0]:>9.3f} "
                f"{cached[0]:>9.3f} {plain[0] / cached[0]:>7.1f} "
                f"{plain[1] / cached[1]:>12.1f}"
            )


if __name__ == "__main__":
    main()
