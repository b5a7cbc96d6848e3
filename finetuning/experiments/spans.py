"""Chapter 19's first experiment: MiniLM learns where in a passage an answer stands.

It learns from questions that a rule made about NumPy and SciPy, and is tried on
scikit-learn, with questions of the rule and with questions written by hand.

LoRA on all linear layers and a new head, four learning rates with three seeds each;
the rate is chosen by questions about functions of the training libraries that are not
trained on. All runs together take an hour on one CPU core, each five minutes at most.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from finetuning.data import documentation
from finetuning.data.documentation import Question
from finetuning.experiments.engine import (
    Experiment,
    ExperimentError,
    Key,
    Results,
    Run,
    Weights,
)
from finetuning.models import load_encoder
from finetuning.runtime import set_seed
from finetuning.scratch.instruction import rate_share
from finetuning.scratch.lora import adapter_tensors, add_lora
from finetuning.scratch.question_answering import (
    MAX_LENGTH,
    collate,
    encode,
    find_answers,
    judged,
)

NAME = "spans"
MODEL = "all-MiniLM-L6-v2"
STEPS = 150
BATCH = 16
WARMUP = 15
RANK = 16
RATES = (3e-4, 1e-3, 3e-3, 9e-3)
SEEDS = (0, 1, 2)
TRAINING = 1500
VALIDATION = 150
TEST = 300
# The layers of the encoder, and the head, which is new and trained whole.
LAYERS = ["query", "key", "value", "dense"]
HEAD = "qa_outputs"


def fresh(seed: int) -> tuple[nn.Module, object]:
    """MiniLM with LoRA layers and a new head, both drawn by the seed; its tokenizer."""
    set_seed(seed)
    model, tokenizer = load_encoder(MODEL, head="question-answering")
    add_lora(model, LAYERS, rank=RANK, alpha=RANK, also_train=[HEAD])
    return model, tokenizer


def trained(
    rate: float, seed: int, only: int | None = None
) -> tuple[nn.Module, object, list[float]]:
    """The model after `STEPS` steps, or `only` so many, its tokenizer, its losses.

    Each question is seen once before any comes again, in an order of the seed.
    """
    model, tokenizer = fresh(seed)
    questions = documentation.made("train", 0, TRAINING)
    generator = torch.Generator().manual_seed(seed)
    passes = -(-STEPS * BATCH // TRAINING)
    order = [
        row
        for _ in range(passes)
        for row in torch.randperm(TRAINING, generator=generator).tolist()
    ]
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    losses = []
    model.train()
    for step in range(STEPS if only is None else only):
        taken = [questions[row] for row in order[step * BATCH : (step + 1) * BATCH]]
        rows = [encode(tokenizer, each.question, each.passage) for each in taken]
        batch = collate(tokenizer, rows, taken)
        optimizer.param_groups[0]["lr"] = rate * rate_share(step, STEPS, WARMUP)
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), tokenizer, losses


def load_tuned(seed: int = 0) -> tuple[nn.Module, object]:
    """The model of the best rate that the book ships, and its tokenizer.

    Raises ExperimentError while it is not there.
    """
    from finetuning.experiments.engine import results

    kept = results(NAME)
    run = kept.one(part="weights", seed=seed)
    model, tokenizer = fresh(seed)
    tensors = run["weights"].load()
    own = adapter_tensors(model)
    if own.keys() != tensors.keys():
        raise ExperimentError(f"the kept weights do not fit {MODEL}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor.float())
    return model.eval(), tokenizer


def scored(model: nn.Module, tokenizer, questions: Sequence[Question]) -> dict:
    """What a model finds for each question: spans, margins, and how right they are,
    whatever the margin: exact match and F1 of the answered, 0 of the others.
    """
    pairs = [(each.question, each.passage) for each in questions]
    found = find_answers(model, tokenizer, pairs)
    marks = [
        judged(text, question)
        for (text, _), question in zip(found, questions, strict=True)
    ]
    return {
        "answers": [text for text, _ in found],
        "margins": [round(margin, 3) for _, margin in found],
        "exact": [exact for exact, _ in marks],
        "f1": [round(f1, 4) for _, f1 in marks],
    }


def validation() -> list[Question]:
    """Questions that decide on the rate: of functions that are not trained on."""
    return documentation.made("validation", 0, VALIDATION)


def test() -> list[Question]:
    """Questions of the rule about another library."""
    return documentation.made("test", 0, TEST)


def kept_test(kept: Results) -> tuple[list[int], list[Question]]:
    """The test's questions that the installed libraries still make, each with its place
    in what was kept: other versions of scikit-learn document other things.
    """
    there = kept.one(part="test")
    rows = documentation.made("test")[::-1]  # of equal questions the first counts
    here = {(each.question, each.answers): each for each in rows}
    found = [
        (place, here[question, tuple(answers)])
        for place, (question, answers) in enumerate(
            zip(there["questions"], there["answers"], strict=True)
        )
        if (question, tuple(answers)) in here
    ]
    return [place for place, _ in found], [each for _, each in found]


def run(key: Key, kept: Results) -> dict[str, object]:
    """Train once; or what the test is; or the weights that the book ships."""
    if key["part"] == "test":
        return {
            "questions": [each.question for each in test()],
            "kinds": [each.kind for each in test()],
            "answers": [list(each.answers) for each in test()],
            "by rule": [
                documentation.by_rule(each.passage, each.question) for each in test()
            ],
        }
    if key["part"] == "weights":
        model, tokenizer, losses = trained(best_rate(kept), key["seed"])
        first = kept.one(part="tune", rate=best_rate(kept), seed=key["seed"])
        return {
            "same losses": bool(np.allclose(losses, first["losses"], atol=1e-3)),
            "weights": Weights(
                {
                    name: each.detach().to(torch.bfloat16)
                    for name, each in adapter_tensors(model).items()
                }
            ),
        }
    model, tokenizer, losses = trained(key["rate"], key["seed"])
    deciding = scored(model, tokenizer, validation())
    rule = scored(model, tokenizer, test())
    return {
        "losses": [round(loss, 5) for loss in losses],
        # what it would learn to be right about, the refusals included
        "validation": round(with_refusals(deciding, validation()), 4),
        "validation_f1": float(
            np.mean(
                [
                    f1
                    for f1, each in zip(deciding["f1"], validation(), strict=True)
                    if each.answers
                ]
            )
        ),
        "made": {name: rule[name] for name in ("margins", "exact", "f1")},
        "written": scored(model, tokenizer, documentation.written()),
    }


def with_refusals(scores: dict, questions: Sequence[Question]) -> float:
    """Mean F1 if it refuses where the margin is not above 0."""
    marks = [
        (f1 if question.answers else 0.0) if margin > 0 else float(not question.answers)
        for f1, margin, question in zip(
            scores["f1"], scores["margins"], questions, strict=True
        )
    ]
    return float(np.mean(marks))


def best_rate(kept: Results) -> float:
    """The rate with the highest mean validation score over the seeds.

    Raises ExperimentError while a run that trains is missing.
    """
    runs = kept.select(part="tune")
    if len(runs) < len(RATES) * len(SEEDS):
        raise ExperimentError("the runs that train come first")
    return max(RATES, key=lambda rate: _mean(runs.select(rate=rate)))


def _mean(runs: Sequence[Run]) -> float:
    return float(np.mean([run["validation"] for run in runs]))


# The lexical baseline: the part of the passage that shares most words


def units(passage: str, cut: str) -> list[str]:
    """A passage in lines or in parts of lines, each as it stands there."""
    pattern = {
        "line": r"\n",
        "sentence": r"\n|(?<=[.!?])\s+(?=[A-Z'\"(])",
        "clause": r"\n|(?<=[.;:,])\s+| : ",
    }[cut]
    return [part for part in re.split(pattern, passage) if part.strip()]


CUTS = ("line", "sentence", "clause")


EXPERIMENT = Experiment(
    name=NAME,
    chapter=19,
    settings={
        "model": MODEL,
        "steps": STEPS,
        "batch": BATCH,
        "training": TRAINING,
        "warm-up": WARMUP,
        "rank": RANK,
        "layers": LAYERS,
        "max_length": MAX_LENGTH,
        "validation": VALIDATION,
        "test": TEST,
    },
    keys=[
        {"part": "test"},
        *(
            {"part": "tune", "rate": rate, "seed": seed}
            for seed in SEEDS
            for rate in RATES
        ),
        {"part": "weights", "seed": SEEDS[0]},
    ],
    run=run,
)
