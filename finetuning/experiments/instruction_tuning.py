"""Chapter 13's second experiment: SmolLM2 tuned on 480 instructions of eight kinds, and
what it does with six other kinds, beside the same model that was only prompted.

The run "tune" makes the adapter that the book ships, in a quarter of an hour to half
an hour on one CPU core, and keeps its losses. The others answer the test instructions,
or measure what became of a task that has nothing to do with them. The chapter replays
the first steps.
"""

import functools
import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from finetuning.data import instructions
from finetuning.data.corpora import load_bbc_news
from finetuning.experiments.engine import (
    Experiment,
    ExperimentError,
    Key,
    Results,
    to_bits,
)
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import render
from finetuning.tuning import (
    BASE,
    SHIPPED,
    WEIGHTS,
    Recipe,
    Settings,
    load_adapter,
    loss_figures,
    save_adapter,
    tune,
    write,
)

NAME = "instruction_tuning"
EACH = 60  # training instructions of a kind
SETTINGS = Settings(steps=50, learning_rate=2e-3)
MAX_TOKENS = 40  # of an answer; the longest right one has fewer
SYSTEMS = ("plain", "instruct", "prompted", "tuned")
# What is prompted instead of trained: a system message, and a right answer to the first
# training instructions of three kinds.
ORDER = "Do exactly what the user asks. Give only the result, and not a word more."
SHOWN = ("double quotes", "JSON", "dashes")
# Of the prompts that the kept answers answer: some are about docstrings, which other
# versions of the libraries may write otherwise. Taken after the runs, with the versions
# that they were made with; every kept answer is judged as in its run.
ASKED = {
    "held-out kinds": "83dfd34c0d6e82b87f9123add50517b3",
    "trained kinds": "ef597fda6b3c051f779c9fff33badc86",
}
HEADLINES = 100
OPENINGS = 40
OPENING_TOKENS = 64


def chats() -> list[list[dict[str, str]]]:
    """The training chats."""
    return [each.chat for each in instructions.training_set(EACH)]


RECIPE = Recipe(
    name=NAME,
    chats=chats,
    data="400 of 480 instructions of eight kinds (fifty batches of eight), made by "
    "`finetuning.data.instructions` about sentences of State of the Union messages of "
    "1790 to 1980 (public domain) and English interface strings of Django "
    "(BSD-3-Clause).",
    licence="apache-2.0",
    settings=SETTINGS,
)


@functools.lru_cache(maxsize=1)
def system_model(tuned: bool) -> tuple:
    """The tuned model or the one it comes from, with its tokenizer."""
    return load_adapter(NAME) if tuned else load_causal_lm(BASE)


def prompts(system: str, asked: Sequence[str]) -> list:
    """What a system is given for each instruction."""
    if system == "plain":
        return [f"{prompt}\n" for prompt in asked]
    if system != "prompted":
        return list(asked)
    examples = []
    training = instructions.training_set(EACH)
    for kind in SHOWN:
        examples += next(each for each in training if each.kind == kind).chat
    first = [{"role": "system", "content": ORDER}, *examples]
    return [[*first, {"role": "user", "content": prompt}] for prompt in asked]


def answers(system: str, asked: Sequence[instructions.Instruction]) -> list[str]:
    """What a system answers. Of plain text what comes after an empty line is cut off:
    without a turn's end it never stops.
    """
    model, tokenizer = system_model(system == "tuned")
    given = prompts(system, [each.prompt for each in asked])
    plain = system == "plain"
    written = write(
        model, tokenizer, given, max_tokens=MAX_TOKENS, batch_size=34, plain=plain
    )
    return [text.strip().split("\n\n")[0] if plain else text for text in written]


@torch.no_grad()
def topics_right(model, tokenizer) -> list[bool]:
    """Whether the likeliest of five topics' first tokens is that of the right one."""
    test = load_bbc_news(split=True)["test"]
    names = test.features["label"].names
    firsts = [
        tokenizer(name, add_special_tokens=False)["input_ids"][0] for name in names
    ]
    right = []
    for row in test.select(range(HEADLINES)):
        asked = (
            f"Is this headline about {', '.join(names[:-1])} or {names[-1]}? "
            f"Answer with one word: {row['title']}"
        )
        text = render(tokenizer, [{"role": "user", "content": asked}], answer_next=True)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        logits = model(**ids.to(model.device), logits_to_keep=1).logits[0, -1]
        right.append(logits[firsts].argmax().item() == row["label"])
    return right


@torch.no_grad()
def opening_losses(model, tokenizer) -> list[float]:
    """The loss in nats a token of the openings of news articles, as plain text."""
    test = load_bbc_news(split=True)["test"]
    losses = []
    for row in test.select(range(OPENINGS)):
        ids = tokenizer(row["text"], return_tensors="pt")["input_ids"]
        ids = ids[:, :OPENING_TOKENS].to(model.device)
        logits = model(input_ids=ids, use_cache=False).logits
        losses.append(F.cross_entropy(logits[0, :-1].float(), ids[0, 1:]).item())
    return losses


def run(key: Key, kept: Results) -> dict[str, object]:
    """Tune and ship the adapter; or answers and which obey; or the unrelated task."""
    if key["part"] == "tune":
        model, tokenizer = load_causal_lm(RECIPE.base)
        tuned, losses = tune(model, tokenizer, chats(), SETTINGS)
        save_adapter(tuned, SHIPPED / NAME, RECIPE, loss_figures(losses))
        return {"losses": [round(loss, 5) for loss in losses], "adapter": digest()}
    if key["system"] == "tuned":
        made = [
            each for each in kept if each.key == {"part": "tune", "system": "tuned"}
        ]
        if not made or made[0]["adapter"] != digest():
            raise ExperimentError(
                f"the adapter in {SHIPPED / NAME} is not that of the run that tunes"
            )
    if key["part"] == "unrelated":
        model, tokenizer = system_model(key["system"] == "tuned")
        return {
            "right": to_bits(topics_right(model, tokenizer)),
            "losses": [round(loss, 4) for loss in opening_losses(model, tokenizer)],
        }
    trained_kinds = key["part"] == "trained kinds"
    asked = instructions.familiar_set() if trained_kinds else instructions.test_set()
    given = answers(key["system"], asked)
    obeyed = [each.obeyed_by(answer) for each, answer in zip(asked, given, strict=True)]
    return {
        "share": sum(obeyed) / len(obeyed),
        "obeyed": to_bits(obeyed),
        "answers": given,
    }


def digest_of(asked: Sequence[instructions.Instruction]) -> str:
    """The first half of the SHA-256 of the prompts of instructions, one a line."""
    lines = "\n".join(each.prompt for each in asked)
    return hashlib.sha256(lines.encode()).hexdigest()[:32]


def digest() -> str:
    """SHA-256 of the shipped adapter's weights; nothing where there are none."""
    file = SHIPPED / NAME / WEIGHTS
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


EXPERIMENT = Experiment(
    name=NAME,
    chapter=13,
    settings={
        "model": BASE,
        "tuning": vars(SETTINGS),
        "each kind": EACH,
        "kinds": list(instructions.KINDS),
        "held-out kinds": list(instructions.HELD_OUT_KINDS),
        "answer tokens": MAX_TOKENS,
        "order": ORDER,
        "shown": SHOWN,
        "headlines": HEADLINES,
        "openings": [OPENINGS, OPENING_TOKENS],
    },
    keys=[
        {"part": "tune", "system": "tuned"},
        {"part": "held-out kinds", "system": "tuned"},
        {"part": "held-out kinds", "system": "instruct"},
        {"part": "held-out kinds", "system": "prompted"},
        {"part": "held-out kinds", "system": "plain"},
        *({"part": "trained kinds", "system": s} for s in ("instruct", "tuned")),
        *({"part": "unrelated", "system": s} for s in ("instruct", "tuned")),
    ],
    run=run,
)
