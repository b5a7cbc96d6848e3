"""Chapter 09's GPT-2 beside transformers' of the same shape: training and writing.

    python bench/gpt.py

Same random weights, no dropout, on the CPU with as many threads as OMP_NUM_THREADS
allows. Training is forward, backward and a step of AdamW (torch's, with its defaults,
on both sides) on the same random ids, in float32 and under bfloat16 autocast; after the
last step the two losses must agree. Writing is greedy, in float32, after a prompt of 16
tokens, with the key-value cache on both sides and no token that ends it; the two texts
must be the same. The two take turns, step by step, so that a machine that slows down
slows both. The ratio is that of the medians; above 1, ours is faster. The first shape
is that of nanoGPT's example for a laptop, the next two have longer contexts.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

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

STEPS = 12  # timed steps of training a shape, after three that warm up
TEXTS = 5  # texts that each writes
PROMPT, NEW = 16, 112


@dataclass(frozen=True)
class Shape:
    """A model's vocabulary, width, layers and heads; its texts and their tokens."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    batch: int
    context: int


SHAPES = (
    Shape(65, 128, 4, 4, 12, 64),
    Shape(65, 128, 4, 4, 12, 128),
    Shape(65, 128, 4, 4, 12, 256),
    Shape(1024, 128, 4, 4, 16, 128),
    Shape(4096, 256, 6, 8, 8, 128),
)


def pair(shape: Shape) -> tuple[GPT2, GPT2LMHeadModel]:
    """Ours and transformers' GPT-2 with the same weights."""
    config = GPT2Config(
        vocab_size=shape.vocabulary,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_positions=256,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    config.eos_token_id = config.bos_token_id = None
    theirs = GPT2LMHeadModel(config)
    ours = GPT2(GPT2Configuration.from_transformers(config))
    load_transformers_weights(ours, theirs.state_dict())
    return ours, theirs


def in_turns(
    calls: list[Callable[[], object]], turns: int, warm_up: int
) -> list[float]:
    """The median seconds of each of the calls, which take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(warm_up + turns):
        for call, spent in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            if turn >= warm_up:
                spent.append(time.perf_counter() - began)
    return [statistics.median(spent) for spent in times]


def training(shape: Shape, half: bool) -> list[float]:
    """Tokens a second, ours and theirs; `half`: bfloat16 autocast."""
    ours, theirs = pair(shape)
    ids = torch.randint(0, shape.vocabulary, (shape.batch, shape.context))
    losses = (
        (ours.train(), lambda: next_token_loss(ours(ids), ids)),
        (theirs.train(), lambda: theirs(ids, labels=ids).loss),
    )
    last: list[float] = [0.0, 0.0]

    def trainer(place: int) -> Callable[[], None]:
        model, loss = losses[place]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                value = loss()
            value.backward()
            optimizer.step()
            last[place] = value.item()

        return step

    seconds = in_turns([trainer(0), trainer(1)], STEPS, warm_up=3)
    if abs(last[0] - last[1]) > (1e-2 if half else 1e-4):
        raise SystemExit(f"the two losses are {last}: what is compared is not the same")
    return [ids.numel() / each for each in seconds]


def writing(shape: Shape) -> list[float]:
    """Tokens a second, ours and theirs."""
    ours, theirs = (model.eval() for model in pair(shape))
    prompt = torch.randint(0, shape.vocabulary, (1, PROMPT))
    texts: list[torch.Tensor] = []

    def write() -> None:
        texts.append(greedy(NextTokenLogits(ours), prompt, PROMPT + NEW))

    def their_write() -> None:
        mask = torch.ones_like(prompt)
        texts.append(
            theirs.generate(
                prompt, attention_mask=mask, max_new_tokens=NEW, do_sample=False
            )
        )

    seconds = in_turns([write, their_write], TEXTS, warm_up=1)
    if any(not torch.equal(text, texts[0]) for text in texts):
        raise SystemExit(
            "the two wrote different texts: what is compared is not the same"
        )
    return [NEW / each for each in seconds]


def main() -> None:
    """Print one line a shape."""
    transformers.utils.logging.set_verbosity_error()  # it expects GPT-2's own end token
    print(
        f"{torch.get_num_threads()} thread(s), "
        f"{torch.backends.cpu.get_cpu_capability()}, PyTorch {torch.__version__}, "
        f"transformers {transformers.__version__}; tokens a second, ours and theirs"
    )
    print(f"{'V':>5} {'C':>4} {'L':>2} {'H':>2} {'B':>3} {'T':>4}", end="")
    print(
        *(
            f" | {name:^21}"
            for name in ("training, float32", "training, bfloat16", "writing")
        ),
        sep="",
    )
    for shape in SHAPES:
        print(
            f"{shape.vocabulary:>5} {shape.width:>4} {shape.layers:>2} "
            f"{shape.heads:>2} {shape.batch:>3} {shape.context:>4}",
            end="",
        )
        for measure in (
            partial(training, half=False),
            partial(training, half=True),
            writing,
        ):
            torch.manual_seed(0)
            mine, other = measure(shape)
            print(
                f" | {mine:>7.0f} {other:>7.0f} {mine / other:>5.2f}",
                end="",
                flush=True,
            )
        print(flush=True)


if __name__ == "__main__":
    main()
