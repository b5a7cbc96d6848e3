"""Supervised fine-tuning on prompts and answers (chapter 13), beside the model as it
was: held-out loss, and what both write.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedTokenizerBase

from finetuning import tuning
from finetuning.recipes import files, kept, language, report
from finetuning.recipes.card import language_card
from finetuning.recipes.language import Chats
from finetuning.recipes.pairs import Pairs
from finetuning.recipes.processes import from_main, is_sharded, spread
from finetuning.recipes.settings import Settings
from finetuning.recipes.training import Job, Plan, train
from finetuning.recipes.workplace import Workplace
from finetuning.runtime import Stopwatch
from finetuning.scratch.instruction import chat_loss
from finetuning.scratch.text_metrics import (
    chrf_counts,
    chrf_of,
    corpus_interval,
    exact_match,
    token_f1,
)
from finetuning.statistics import bootstrap_interval, paired_bootstrap

BEFORE = "before"
MOST_WRITTEN = 200  # test prompts that are answered


def run(
    settings: Settings, pairs: Pairs, place: Workplace, accelerator: Accelerator
) -> None:
    """Measure, tune, measure again, and write the output.

    Raises RecipeError for what only the model can show.
    """
    language.refuse_sharded_adapter(settings, accelerator)
    model, tokenizer = language.load(settings)
    chats = Chats(tokenizer, pairs, ["answer"], settings.max_length)
    model.to(accelerator.device)
    before = _before(model, tokenizer, pairs, chats, place, accelerator)
    plan = Plan(
        settings.epochs,
        settings.learning_rate,
        settings.batch_size,
        settings.checkpoint_steps,
        settings.seed,
        place.checkpoints(settings.method),
        f"sft ({settings.method})",
    )
    with Stopwatch() as watch:
        tuned, state = train(_job(model, chats, accelerator), plan, accelerator)
    after = {"losses": _losses(tuned, chats, "test", accelerator)}
    weights = language.whole_weights(tuned, settings)
    if accelerator.is_main_process:
        bare = accelerator.unwrap_model(tuned)
        after["answers"] = _answers(bare, tokenizer, pairs, chats, accelerator)
        made = _figures(settings, pairs, chats, before, after) | {
            "validation_losses": [round(loss, 4) for loss in state.history],
            "epoch": state.best_epoch,
            "seconds": {"tuning": round(watch.seconds, 1)},
            "processes": accelerator.num_processes,
            "device": accelerator.device.type,
        }

        def write(folder: Path) -> None:
            language.write(folder, bare, tokenizer, settings, weights)
            _write(folder, settings, pairs, chats, before, after, made)

        place.finish(write)
        print(sentence(made))
        print(f"kept in {place.output}")
    accelerator.wait_for_everyone()


def _job(model: nn.Module, chats: Chats, accelerator: Accelerator) -> Job:
    train_rows = chats.rows["train"]

    def summed_loss(model: nn.Module, rows: list[int]) -> torch.Tensor:
        chosen = [train_rows[row] for row in rows]
        encoded = [chats.encoded[row][0] for row in chosen]
        tokens = sum(chats.trained_tokens(row) for row in chosen)
        return chat_loss(model, chats.batch(encoded, accelerator.device)) * tokens

    def validation_loss(model: nn.Module) -> float:
        losses = _losses(model, chats, "validation", accelerator)
        return _per_token(losses, chats, "validation")

    weights = [float(chats.trained_tokens(row)) for row in train_rows]
    return Job(model, weights, summed_loss, validation_loss, language.groups(model))


def _losses(
    model: nn.Module, chats: Chats, part: str, accelerator: Accelerator
) -> list[float]:
    """Of each row of a part: mean nats a token of the answer."""
    model.eval()

    def of(rows: Sequence[int]) -> torch.Tensor:
        with torch.no_grad(), accelerator.autocast():
            losses = [
                chat_loss(model, chats.batch(chats.encoded[row], accelerator.device))
                for row in rows
            ]
        return torch.stack(losses).float().cpu()[:, None]

    return spread(accelerator, chats.rows[part], of)[:, 0].tolist()


def _per_token(losses: Sequence[float], chats: Chats, part: str) -> float:
    """The mean over all tokens of all rows."""
    tokens = [chats.trained_tokens(row) for row in chats.rows[part]]
    return float(np.average(losses, weights=tokens))


def _before(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Pairs,
    chats: Chats,
    place: Workplace,
    accelerator: Accelerator,
) -> dict[str, list]:
    """What the model says untuned; kept, so that a run that goes on has it."""
    if not from_main(accelerator, lambda: place.has_stage(BEFORE)):
        found = {"losses": _losses(model, chats, "test", accelerator)}
        if accelerator.is_main_process:
            found["answers"] = _answers(model, tokenizer, pairs, chats, accelerator)
            place.stage(
                BEFORE, lambda folder: files.write_json(folder / "said.json", found)
            )
    folder = place.stage_folder(BEFORE)
    return from_main(
        accelerator,
        lambda: json.loads((folder / "said.json").read_text(encoding="utf-8")),
    )


def _answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Pairs,
    chats: Chats,
    accelerator: Accelerator,
) -> list[str]:
    """What the model writes after the first test prompts; none if it is sharded."""
    if is_sharded(accelerator):
        return []
    longest = max(chats.trained_tokens(row) for row in chats.rows["train"])
    rows = chats.rows["test"][:MOST_WRITTEN]
    prompts = [pairs.columns["prompt"][row] for row in rows]
    return tuning.write(model, tokenizer, prompts, max_tokens=longest)


def _figures(
    settings: Settings, pairs: Pairs, chats: Chats, before: dict, after: dict
) -> dict[str, object]:
    """Held-out loss and answers, tuned and untuned, each with an interval."""
    gap = paired_bootstrap(after["losses"], before["losses"])
    made: dict[str, object] = {
        "task": settings.task,
        "loss": round(_per_token(after["losses"], chats, "test"), 4),
        "baseline": {
            "model": settings.model,
            "loss": round(_per_token(before["losses"], chats, "test"), 4),
        },
        "loss_less_baseline": {
            "mean_of_pairs": round(gap.mean, 4),
            "interval": report.ends(gap),
        },
    }
    references = [pairs.columns["answer"][row] for row in chats.rows["test"]]
    if after["answers"]:
        references = references[: len(after["answers"])]
        tuned = _scores(after["answers"], references)
        untuned = _scores(before["answers"], references)
        made |= tuned[0]
        made["baseline"] |= untuned[0]
        ahead = paired_bootstrap(tuned[1], untuned[1])
        made["token_f1_ahead_of_baseline"] = {
            "mean": round(ahead.mean, 4),
            "interval": report.ends(ahead),
        }
    made |= report.of_language(settings, pairs, chats)
    return made


def _scores(
    answers: Sequence[str], references: Sequence[str]
) -> tuple[dict[str, object], list[float]]:
    """Exact match, token F1 and chrF, and each answer's F1 (chapter 16)."""
    both = list(zip(answers, references, strict=True))
    equal = [float(exact_match(*pair)) for pair in both]
    shared = [token_f1(*pair) for pair in both]
    counts = np.array([chrf_counts(*pair) for pair in both])
    return {
        "accuracy": round(float(np.mean(equal)), 4),
        "accuracy_interval": report.ends(bootstrap_interval(equal)),
        "token_f1": round(float(np.mean(shared)), 4),
        "token_f1_interval": report.ends(bootstrap_interval(shared)),
        "chrf": round(float(chrf_of(counts.sum(axis=0))), 2),
        "chrf_interval": report.ends(corpus_interval(counts, chrf_of)),
    }, shared


def sentence(made: dict[str, object]) -> str:
    """What came out, in a few lines."""
    gap = made["loss_less_baseline"]
    text = (
        f"Held-out loss {made['loss']:.3f} nats a token, untuned "
        f"{made['baseline']['loss']:.3f}; the difference a pair is "
        f"{gap['mean_of_pairs']:+.3f} {report.interval(gap['interval'])}."
    )
    if "token_f1" not in made:
        return f"{text} A sharded model writes no answers here."
    ahead = made["token_f1_ahead_of_baseline"]
    return (
        f"{text} Of the answers {made['accuracy']:.3f} equal the one in the table, "
        f"untuned {made['baseline']['accuracy']:.3f}; F1 of their words "
        f"{made['token_f1']:.3f}, untuned {made['baseline']['token_f1']:.3f}, "
        f"difference {ahead['mean']:+.3f} {report.interval(ahead['interval'])}."
    )


def _write(
    folder: Path,
    settings: Settings,
    pairs: Pairs,
    chats: Chats,
    before: dict,
    after: dict,
    made: dict[str, object],
) -> None:
    recipe = {"task": "sft", "model": settings.model, "method": settings.method}
    files.write_json(folder / kept.RECIPE, recipe)
    files.write_json(folder / kept.METRICS, made)
    rows = chats.rows["test"]
    answers = after["answers"] or [""] * len(rows)
    untuned = before["answers"] or [""] * len(rows)
    files.write_table(
        folder / kept.PREDICTIONS,
        ["place", "prompt", "answer", "written", "written untuned"],
        [
            [
                pairs.places[row],
                pairs.columns["prompt"][row],
                pairs.columns["answer"][row],
                *said,
            ]
            for row, *said in zip(rows, answers, untuned, strict=False)
        ],
    )
    files.write_text(folder / kept.CARD, language_card(settings, made, sentence(made)))
