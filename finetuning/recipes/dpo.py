"""Direct preference optimisation on chosen and rejected answers, beside the model as it
was.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from finetuning.recipes import files, kept, language, report
from finetuning.recipes.card import language_card
from finetuning.recipes.language import Chats
from finetuning.recipes.pairs import Pairs
from finetuning.recipes.preference import (
    BETA,
    answer_log_probabilities,
    dpo_losses,
    margins,
)
from finetuning.recipes.processes import from_main, spread
from finetuning.recipes.settings import Settings
from finetuning.recipes.training import Job, Plan, train
from finetuning.recipes.workplace import Workplace
from finetuning.runtime import Stopwatch
from finetuning.statistics import bootstrap_interval, paired_bootstrap

REFERENCE = "reference"
PARTS = ("train", "validation", "test")


def run(
    settings: Settings, pairs: Pairs, place: Workplace, accelerator: Accelerator
) -> None:
    """Ask the untuned model, tune, ask again, and write the output.

    Raises RecipeError for what only the model can show.
    """
    language.refuse_sharded_adapter(settings, accelerator)
    model, tokenizer = language.load(settings)
    chats = Chats(tokenizer, pairs, ["chosen", "rejected"], settings.max_length)
    model.to(accelerator.device)
    reference = _reference(model, chats, place, accelerator)
    plan = Plan(
        settings.epochs,
        settings.learning_rate,
        settings.batch_size,
        settings.checkpoint_steps,
        settings.seed,
        place.checkpoints(settings.method),
        f"dpo ({settings.method})",
    )
    job = _job(model, chats, reference, accelerator)
    with Stopwatch() as watch:
        tuned, state = train(job, plan, accelerator)
    policy = _ask(tuned, chats, chats.rows["test"], accelerator)
    weights = language.whole_weights(tuned, settings)
    if accelerator.is_main_process:
        bare = accelerator.unwrap_model(tuned)
        made = _figures(settings, pairs, chats, policy, reference) | {
            "first_loss": round(state.first_loss, 4),
            "validation_losses": [round(loss, 4) for loss in state.history],
            "epoch": state.best_epoch,
            "seconds": {"tuning": round(watch.seconds, 1)},
            "processes": accelerator.num_processes,
            "device": accelerator.device.type,
        }

        def write(folder: Path) -> None:
            language.write(folder, bare, tokenizer, settings, weights)
            _write(folder, settings, pairs, chats, policy, reference, made)

        place.finish(write)
        print(sentence(made))
        print(f"kept in {place.output}")
    accelerator.wait_for_everyone()


def _ask(
    model: nn.Module, chats: Chats, rows: Sequence[int], accelerator: Accelerator
) -> torch.Tensor:
    """Log-probabilities of the chosen and the rejected answers, (N, 2)."""
    model.eval()

    def of(some: Sequence[int]) -> torch.Tensor:
        with torch.no_grad(), accelerator.autocast():
            found = [
                answer_log_probabilities(
                    model, chats.batch(chats.encoded[row], accelerator.device)
                )
                for row in some
            ]
        return torch.stack(found).float().cpu()

    return spread(accelerator, rows, of)


def _reference(
    model: nn.Module, chats: Chats, place: Workplace, accelerator: Accelerator
) -> dict[int, list[float]]:
    """What the untuned model gives each pair, by row.

    It is asked once, so that no second model is needed; and kept, so that a run that
    goes on compares with the same numbers.
    """
    rows = [row for part in PARTS for row in chats.rows[part]]
    if not from_main(accelerator, lambda: place.has_stage(REFERENCE)):
        asked = _ask(model, chats, rows, accelerator).tolist()
        if accelerator.is_main_process:
            place.stage(
                REFERENCE, lambda folder: files.write_json(folder / "said.json", asked)
            )
    path = place.stage_folder(REFERENCE) / "said.json"
    said = from_main(accelerator, lambda: json.loads(path.read_text(encoding="utf-8")))
    return dict(zip(rows, said, strict=True))


def _job(
    model: nn.Module,
    chats: Chats,
    reference: dict[int, list[float]],
    accelerator: Accelerator,
) -> Job:
    train_rows = chats.rows["train"]

    def summed_loss(model: nn.Module, rows: list[int]) -> torch.Tensor:
        chosen = [train_rows[row] for row in rows]
        encoded = [chats.encoded[row] for row in chosen]
        flat = [each for pair in encoded for each in pair]
        batch = chats.batch(flat, accelerator.device)
        policy = answer_log_probabilities(model, batch).view(-1, 2)
        known = torch.tensor([reference[row] for row in chosen], device=policy.device)
        return dpo_losses(policy, known).sum()

    def validation_loss(model: nn.Module) -> float:
        rows = chats.rows["validation"]
        policy = _ask(model, chats, rows, accelerator)
        known = torch.tensor([reference[row] for row in rows])
        return dpo_losses(policy, known).mean().item()

    weights = [1.0] * len(train_rows)
    return Job(model, weights, summed_loss, validation_loss, language.groups(model))


def _figures(
    settings: Settings,
    pairs: Pairs,
    chats: Chats,
    policy: torch.Tensor,
    reference: dict[int, list[float]],
) -> dict[str, object]:
    """How often the chosen answer is the likelier one, tuned and untuned; and how often
    tuning has moved the two apart.
    """
    rows = chats.rows["test"]
    known = torch.tensor([reference[row] for row in rows])
    lengths = torch.tensor(
        [[chats.trained_tokens(row, answer) for answer in (0, 1)] for row in rows]
    )
    tuned, untuned = (
        ((said / lengths)[:, 0] > (said / lengths)[:, 1]).double().tolist()
        for said in (policy, known)
    )
    moved = (margins(policy, known) > 0).double().tolist()
    ahead = paired_bootstrap(tuned, untuned)
    per_token = ((policy - known) / lengths).mean(dim=0).tolist()
    return {
        "task": settings.task,
        "accuracy": round(float(np.mean(tuned)), 4),
        "accuracy_interval": report.ends(bootstrap_interval(tuned)),
        "baseline": {
            "model": settings.model,
            "accuracy": round(float(np.mean(untuned)), 4),
            "accuracy_interval": report.ends(bootstrap_interval(untuned)),
        },
        "ahead_of_baseline": {
            "accuracy": round(ahead.mean, 4),
            "interval": report.ends(ahead),
        },
        "loss": round(dpo_losses(policy, known).mean().item(), 4),
        "moved_apart": round(float(np.mean(moved)), 4),
        "moved_apart_interval": report.ends(bootstrap_interval(moved)),
        "nats_a_token": {
            "chosen": round(per_token[0], 4),
            "rejected": round(per_token[1], 4),
        },
        "beta": BETA,
    } | report.of_language(settings, pairs, chats)


def sentence(made: dict[str, object]) -> str:
    """What came out, in a few lines."""
    gap = made["ahead_of_baseline"]
    change = made["nats_a_token"]
    return (
        f"The chosen answer of a test pair is the likelier one, by token, in "
        f"{made['accuracy']:.3f} of them, untuned in "
        f"{made['baseline']['accuracy']:.3f}: "
        f"{gap['accuracy']:+.3f} {report.interval(gap['interval'])}. Held-out loss "
        f"{made['loss']:.3f}, untuned 0.693. A token of a chosen answer changed by "
        f"{change['chosen']:+.3f} nats, of a rejected one by {change['rejected']:+.3f}."
    )


def _write(
    folder: Path,
    settings: Settings,
    pairs: Pairs,
    chats: Chats,
    policy: torch.Tensor,
    reference: dict[int, list[float]],
    made: dict[str, object],
) -> None:
    recipe = {"task": "dpo", "model": settings.model, "method": settings.method}
    files.write_json(folder / kept.RECIPE, recipe)
    files.write_json(folder / kept.METRICS, made)
    rows = chats.rows["test"]
    known = torch.tensor([reference[row] for row in rows])
    shifts = margins(policy, known).tolist()
    files.write_table(
        folder / kept.PREDICTIONS,
        ["place", "prompt", "chosen", "rejected", "moved apart by"],
        [
            [
                pairs.places[row],
                *(pairs.columns[name][row] for name in pairs.columns),
                f"{shift:.4f}",
            ]
            for row, shift in zip(rows, shifts, strict=True)
        ],
    )
    files.write_text(folder / kept.CARD, language_card(settings, made, sentence(made)))
