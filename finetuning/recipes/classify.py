"""Sorting texts into classes: three methods, the same labels, one choice.

Counted words are the baseline. An encoder's vectors with a linear classifier, and the
encoder tuned, have to beat them on the validation part; the test part reports.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetuning.recipes import encoder as encoders
from finetuning.recipes import files, kept, linear, measuring, report
from finetuning.recipes.card import card
from finetuning.recipes.errors import RecipeError
from finetuning.recipes.labelled import Labelled
from finetuning.recipes.method import Method
from finetuning.recipes.processes import from_main, is_sharded, on_main
from finetuning.recipes.settings import Settings
from finetuning.recipes.training import Plan, train
from finetuning.recipes.workplace import Workplace
from finetuning.runtime import Stopwatch

VECTORS = "vectors"


@dataclass(frozen=True)
class Reading:
    """A packaged or other encoder, and how much of a text it reads."""

    encoder: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int


def run(
    settings: Settings, data: Labelled, place: Workplace, accelerator: Accelerator
) -> None:
    """Train, choose, measure, and write the output.

    Raises RecipeError for what only training can show.
    """
    if is_sharded(accelerator):
        raise RecipeError(
            "FSDP is for --task sft and dpo: an encoder fits on one GPU (take "
            "recipes/accelerate/gpu.yaml)"
        )
    reading = Reading(*_loaded(settings))
    place.require_room(_bytes_needed(reading.encoder, settings.method))
    cut = encoders.count_cut(reading.tokenizer, data.texts, reading.max_length)
    if accelerator.is_main_process:
        _announce(data, cut)
    counted = on_main(accelerator, lambda: count_words(data))
    frozen = freeze(reading, data, place, accelerator)
    weighed = from_main(
        accelerator, lambda: frozen is not None and frozen.settings["classes_weighed"]
    )
    tuned = tune(settings, reading, data, place, accelerator, weighed)
    if accelerator.is_main_process:
        methods = [counted, frozen, tuned]
        made = report.compare(settings, data, methods, reading.max_length, cut)
        made["processes"] = accelerator.num_processes
        made["device"] = accelerator.device.type
        place.finish(lambda folder: _write(folder, settings, data, methods, made))
        print(report.in_words(made))
        print(f"kept in {place.output}")
    accelerator.wait_for_everyone()


def _loaded(
    settings: Settings,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, int]:
    """Raises RecipeError if there is no such encoder."""
    try:
        return encoders.load(settings.model, settings.max_length)
    except (RuntimeError, ValueError, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise RecipeError(f"--model {settings.model}: {first}") from error


def _announce(data: Labelled, cut: int) -> None:
    """What a reader may want to know before the minutes of training."""
    train, validation, test = map(len, vars(data.parts).values())
    print(
        f"{train:,} texts to learn from, {validation:,} to decide with, {test:,} to "
        f"report on; {len(data.names)} classes"
    )
    for note in data.notes:
        print(f"note: {note}")
    if cut:
        print(f"note: {cut:,} texts are longer than the encoder reads", flush=True)


def _bytes_needed(encoder: PreTrainedModel, method: str) -> int:
    """An estimate of the disk space of a run, at its fullest."""
    weights = sum(parameter.nbytes for parameter in encoder.parameters())
    if method == "lora":
        return 2 * weights
    # Two checkpoints of weights and two moments, the best weights twice, the output.
    return 9 * weights


def _labels(data: Labelled) -> dict[str, np.ndarray]:
    return {name: data.labels[rows] for name, rows in vars(data.parts).items()}


def count_words(data: Labelled) -> Method:
    """TF-IDF with logistic regression.

    Raises RecipeError if there is nothing to count.
    """
    texts = {
        name: [data.texts[row] for row in rows]
        for name, rows in vars(data.parts).items()
    }
    labels = _labels(data)
    with Stopwatch() as watch:
        try:
            found = linear.fit_counted_words(
                texts["train"],
                labels["train"],
                texts["validation"],
                labels["validation"],
            )
        except ValueError as error:
            raise RecipeError(str(error)) from error
        fitted = found.fitted
        test = fitted.linear.scores(found.counter(texts["test"]))

    def write(folder: Path, recipe: dict[str, object]) -> None:
        recipe["reader"] = found.counter.reader
        files.write_json(folder / kept.VOCABULARY, found.counter.vocabulary)
        _write_linear(folder, fitted.linear, rarity=found.counter.rarity)

    return Method(
        kept.COUNTED,
        {"validation": fitted.scores, "test": test},
        {"counted": found.counter.reader} | _chosen(fitted),
        watch.seconds,
        write,
    )


def freeze(
    reading: Reading, data: Labelled, place: Workplace, accelerator: Accelerator
) -> Method | None:
    """Logistic regression on the vectors of an encoder that stays as it is.

    The vectors are kept, so that a run that goes on has them. Only the first process
    gets the method.
    """

    def made() -> bool:
        return place.has_stage(VECTORS)

    with Stopwatch() as watch:
        if not from_main(accelerator, made):
            vectors = encoders.frozen_vectors(
                reading.encoder,
                reading.tokenizer,
                data.texts,
                reading.max_length,
                accelerator,
            )
            if accelerator.is_main_process:
                tensors = {VECTORS: torch.from_numpy(vectors)}
                place.stage(
                    VECTORS,
                    lambda folder: files.write_tensors(folder / kept.WEIGHTS, tensors),
                )
        if not accelerator.is_main_process:
            return None
        vectors = load_file(place.stage_folder(VECTORS) / kept.WEIGHTS)[VECTORS].numpy()
        labels = _labels(data)
        parts = data.parts
        fitted = linear.fit(
            vectors[parts.train],
            labels["train"],
            vectors[parts.validation],
            labels["validation"],
        )

    def write(folder: Path, recipe: dict[str, object]) -> None:
        _write_linear(folder, fitted.linear)
        _write_encoder(folder, reading.encoder, reading.tokenizer)

    return Method(
        kept.FROZEN,
        {
            "validation": fitted.scores,
            "test": fitted.linear.scores(vectors[parts.test]),
        },
        _chosen(fitted),
        watch.seconds,
        write,
    )


def tune(
    settings: Settings,
    reading: Reading,
    data: Labelled,
    place: Workplace,
    accelerator: Accelerator,
    weighed: bool,
) -> Method:
    """The encoder tuned; its epochs are chosen by the validation part."""
    # Loaded afresh: the one that made the vectors is kept as it is.
    fresh = Reading(*_loaded(settings))
    with Stopwatch() as watch:
        texts = encoders.Texts(
            fresh.encoder, fresh.tokenizer, data.texts, fresh.max_length
        )
        model = encoders.classifier(
            fresh.encoder, len(data.names), settings.method, settings.seed
        )
        job = encoders.job(
            model,
            texts,
            data.labels,
            data.parts.train,
            data.parts.validation,
            settings.learning_rate,
            weighed,
            accelerator,
        )
        plan = Plan(
            settings.epochs,
            settings.learning_rate,
            settings.batch_size,
            settings.checkpoint_steps,
            settings.seed,
            place.checkpoints(settings.method),
            f"tuning ({settings.method})",
        )
        wrapped, state = train(job, plan, accelerator)
        scores = {
            name: texts.scores(
                wrapped, getattr(data.parts, name), len(data.names), accelerator
            )
            for name in ("validation", "test")
        }
    model = accelerator.unwrap_model(wrapped)

    def write(folder: Path, recipe: dict[str, object]) -> None:
        head = linear.Linear(
            model.head.weight.detach().float().cpu().numpy(),
            model.head.bias.detach().float().cpu().numpy(),
        )
        _write_linear(folder, head)
        _write_encoder(folder, encoders.merged(model), fresh.tokenizer)

    chosen = {
        "method": settings.method,
        "learning_rate": settings.learning_rate,
        "validation_losses": [round(loss, 4) for loss in state.history],
        "epoch": state.best_epoch,
        "classes_weighed": bool(weighed),
    }
    return Method(kept.TUNED, scores, chosen, watch.seconds, write)


def _chosen(fitted: linear.Fitted) -> dict[str, object]:
    """What was tried and taken of a linear classifier's settings."""
    return {
        "strengths": list(linear.GRID),
        "validation_losses": [round(loss, 4) for loss in fitted.losses],
        "strength": fitted.strength,
        "at_the_edge": fitted.strength in (linear.GRID[0], linear.GRID[-1]),
        "classes_weighed": fitted.weighed,
    }


def _write_linear(
    folder: Path, classifier: linear.Linear, rarity: np.ndarray | None = None
) -> None:
    arrays = {"weights": classifier.weights, "bias": classifier.bias}
    if rarity is not None:
        arrays["rarity"] = rarity
    files.write_tensors(
        folder / kept.WEIGHTS,
        {
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name, array in arrays.items()
        },
    )


def _write_encoder(
    folder: Path, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    encoder.cpu().save_pretrained(folder / kept.ENCODER)
    tokenizer.save_pretrained(folder / kept.ENCODER)


def _write(
    folder: Path,
    settings: Settings,
    data: Labelled,
    methods: list[Method],
    made: dict[str, object],
) -> None:
    """The chosen model, metrics, predictions and card."""
    best = next(method for method in methods if method.name == made["chosen"])
    temperature = made["methods"][best.name]["temperature"]
    recipe = {
        "task": settings.task,
        "kind": best.name,
        "labels": data.names,
        "temperature": temperature,
        "max_length": made["texts"]["max_length"],
        "model": settings.model,
        "versions": made["versions"],
    }
    best.write(folder, recipe)
    files.write_json(folder / kept.RECIPE, recipe)
    files.write_json(folder / kept.METRICS, made)
    shares = measuring.probabilities(best.scores["test"], temperature)
    files.write_table(
        folder / kept.PREDICTIONS,
        ["place", "text", "label", "predicted", "probability"],
        [
            [
                data.places[row],
                data.texts[row],
                data.names[data.labels[row]],
                data.names[int(share.argmax())],
                f"{share.max():.4f}",
            ]
            for row, share in zip(data.parts.test, shares, strict=True)
        ],
    )
    files.write_text(folder / kept.CARD, card(settings, made))
