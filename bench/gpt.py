"""The GPT-2 that chapter 09 builds, beside transformers' of the same shape: training and writing.

    python bench/gpt.py

Random weights, float32, no dropout, on the CPU with as many threads as OMP_NUM_THREADS allows. Training is
forward, backward and an AdamW step (torch's, the same on both sides) on random ids, in float32 and under
bfloat16 autocast, where matrix products cost least and the rest shows; writing is greedy, in float32, after
a prompt of 16 tokens, with the key-value cache on both sides and no token that ends it. The two take turns,
so that a machine that slows down slows both; the best of the turns counts.
"""

import time
from collections.abc import Callable

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

from finetuning.scratch.decoding import greedy
from finetuning.scratch.gpt import (
    GPT2,
    GPT2Configuration,
    NextTokenLogits,
    load_transformers_weights,
    next_token_loss,
)

# Vocabulary, width, layers, heads; then batch and length of training, tokens written.
SHAPES = ((65, 128, 4, 4, 12, 64, 112), (1024, 128, 4, 4, 16, 128, 112), (4096, 256, 6, 8, 8, 128, 112))
TURNS = 3


def pair(vocabulary: int, width: int, layers: int, heads: int) -> tuple[GPT2, GPT2LMHeadModel]:
    """Ours and transformers' GPT-2 with the same weights."""
    none = {name: 0.0 for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    config = GPT2Config(
        vocab_size=vocabulary, n_embd=width, n_layer=layers, n_head=heads, n_positions=128, **none
    )
    config.eos_token_id = config.bos_token_id = None
    theirs = GPT2LMHeadModel(config)
    ours = GPT2(GPT2Configuration.from_transformers(config))
    load_transformers_weights(ours, theirs.state_dict())
    return ours, theirs


def training(
    model: torch.nn.Module, loss: Callable[[torch.Tensor], torch.Tensor], ids: torch.Tensor, half: bool
) -> float:
    """Tokens a second over five steps, after one that warms up; `half`: bfloat16 autocast."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for step in range(6):
        if step == 1:
            began = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            value = loss(ids)
        value.backward()
        optimizer.step()
    return 5 * ids.numel() / (time.perf_counter() - began)


def writing(write: Callable[[], torch.Tensor], new: int) -> tuple[float, torch.Tensor]:
    """Tokens a second, and the text."""
    began = time.perf_counter()
    text = write()
    return new / (time.perf_counter() - began), text


def measure(ours: GPT2, theirs: GPT2LMHeadModel, ids: torch.Tensor, new: int) -> list[float]:
    """Tokens a second, ours and theirs in turn: training in float32, training in bfloat16, writing."""
    prompt = ids[:1, :16]
    ours.eval(), theirs.eval()
    with torch.no_grad():
        speed, text = writing(lambda: greedy(NextTokenLogits(ours), prompt, 16 + new), new)
        their_speed, their_text = writing(
            lambda: theirs.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=new,
                do_sample=False,
                use_cache=True,
            ),
            new,
        )
    if not torch.equal(text, their_text):
        raise SystemExit("the two wrote different texts: what is compared is not the same")
    speeds = []
    for half in (False, True):
        speeds.append(training(ours, lambda ids: next_token_loss(ours(ids), ids), ids, half))
        speeds.append(training(theirs, lambda ids: theirs(ids, labels=ids).loss, ids, half))
        load_transformers_weights(ours, theirs.state_dict())  # rounding has led the two apart
    return [*speeds, speed, their_speed]


def main() -> None:
    """Print one line a shape."""
    torch.manual_seed(0)
    transformers.utils.logging.set_verbosity_error()  # it expects GPT-2's own end token
    print(f"{torch.get_num_threads()} thread(s), PyTorch {torch.__version__}; tokens a second")
    columns = "".join(
        f" | {name:>9} {'theirs':>7} {'ratio':>6}" for name in ("training", "in bf16", "writing")
    )
    print(f"{'V':>6} {'C':>4} {'L':>3}{columns}")
    for vocabulary, width, layers, heads, batch, length, new in SHAPES:
        ours, theirs = pair(vocabulary, width, layers, heads)
        ids = torch.randint(0, vocabulary, (batch, length))
        best = [
            max(turns) for turns in zip(*(measure(ours, theirs, ids, new) for _ in range(TURNS)), strict=True)
        ]
        figures = "".join(
            f" | {mine:>9.0f} {other:>7.0f} {mine / other:>6.2f}"
            for mine, other in zip(best[::2], best[1::2], strict=True)
        )
        print(f"{vocabulary:>6} {width:>4} {layers:>3}{figures}", flush=True)


if __name__ == "__main__":
    main()
