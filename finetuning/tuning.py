"""Tuning a causal language model with LoRA, writing with it, and keeping its adapter.

    model, tokenizer = load_adapter("instruction_tuning")
    write(model, tokenizer, ["Put this in square brackets: Hello there."])

An adapter is known by the name of the experiment that makes it, which defines a
`RECIPE`. Those trained on data that may be passed on are shipped in
`finetuning/adapters/`; any other is trained into the cache by
`python -m finetuning.tuning NAME`, which also makes a shipped one anew there.

How a chat becomes ids and labels, and what a step is, chapter 13 teaches
(`finetuning.scratch.instruction`). A packaged model, a folder or a name of the hub will
do wherever a model is named, and a GPU is used where there is one.
"""

import argparse
import dataclasses
import importlib
import json
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetuning.models import load_causal_lm
from finetuning.resources.cache import cache_folder
from finetuning.runtime import mixed_precision, pick_device, set_seed
from finetuning.scratch.instruction import (
    Chat,
    Encoded,
    collate,
    encode_chat,
    rate_share,
    render,
    train_step,
)

SHIPPED = Path(__file__).parent / "adapters"
BASE = "SmolLM2-135M-Instruct"
WEIGHTS = "adapter_model.safetensors"
CONFIGURATION = "adapter_config.json"
CARD = "README.md"


class TuningError(Exception):
    """What is wrong with an adapter, a recipe or the data, in one sentence."""


@dataclass(frozen=True)
class Settings:
    """All that a run of tuning depends on besides the model and the chats.

    `warmup` is a share of the steps. `train_on` is "answers" or "everything".
    """

    steps: int
    learning_rate: float = 1e-3
    batch_size: int = 8
    warmup: float = 0.1
    max_norm: float = 1.0
    rank: int = 4
    alpha: int = 8
    max_tokens: int = 96
    train_on: str = "answers"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "rank", "alpha", "max_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is a whole number from 1 on, not {value!r}")
        for name in ("learning_rate", "max_norm"):
            value = getattr(self, name)
            if not (0 < value < math.inf):
                raise ValueError(f"{name} is a number above 0, not {value!r}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share below 1, not {self.warmup!r}")


@dataclass(frozen=True)
class Recipe:
    """How an adapter is made: what its card says, and what trains it again.

    `chats` returns the training data; `data` and `licence` say in words what they are.
    """

    name: str
    chats: Callable[[], Sequence[Chat]]
    data: str
    licence: str
    settings: Settings
    base: str = BASE


# Tuning


def add_adapter(model: PreTrainedModel, settings: Settings) -> peft.PeftModel:
    """The model with a LoRA adapter beside each of its linear layers but the last.

    The adapter starts as no change; its first matrices are drawn by the seed. The model
    is changed in place, on the device that is fastest.

    Raises TuningError if the model has an adapter already.
    """
    if isinstance(model, peft.PeftModel) or hasattr(model, "peft_config"):
        raise TuningError(
            "this model has an adapter already: load the base model afresh"
        )
    set_seed(settings.seed)
    configuration = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return _get_peft_model(model, configuration).to(pick_device())


def _get_peft_model(
    model: PreTrainedModel, configuration: peft.LoraConfig
) -> peft.PeftModel:
    with warnings.catch_warnings():
        # peft still asks for a name that transformers has replaced; and says that the
        # base model goes by another name than in the adapter's file, as it may.
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", ".*base_model_name_or_path", UserWarning)
        return peft.get_peft_model(model, configuration)


def encode_all(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], settings: Settings
) -> list[Encoded]:
    """Each chat as ids and labels.

    Raises TuningError, with its number, for a chat that cannot be trained on.
    """
    rows = []
    for number, chat in enumerate(chats):
        try:
            rows.append(
                encode_chat(tokenizer, chat, settings.train_on, settings.max_tokens)
            )
        except ValueError as error:
            raise TuningError(f"chat {number} cannot be trained on: {error}") from error
    return rows


def batches(rows: Sequence[Encoded], settings: Settings) -> Iterator[list[Encoded]]:
    """`steps` batches, each row once before any comes again, in an order of the seed.

    Raises TuningError if there are fewer rows than a batch has.
    """
    if len(rows) < settings.batch_size:
        raise TuningError(
            f"there are {len(rows)} chats, and a batch takes {settings.batch_size}"
        )
    # Python's own generator: its order is the same on every machine.
    generator = random.Random(settings.seed)
    waiting: list[int] = []
    for _ in range(settings.steps):
        if len(waiting) < settings.batch_size:
            waiting = list(range(len(rows)))
            generator.shuffle(waiting)
        taken = waiting[: settings.batch_size]
        waiting = waiting[settings.batch_size :]
        yield [rows[place] for place in taken]


def tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    chats: Sequence[Chat],
    settings: Settings,
    only: int | None = None,
) -> tuple[peft.PeftModel, list[float]]:
    """Tune a model on chats: the model with its adapter, and the loss of each step.

    AdamW without weight decay, a linear warm-up and decay of the learning rate, and
    gradients clipped to `max_norm`. On one CPU thread the same settings give the same
    losses. The model is left in evaluation mode.

    Parameters
    ----------
    only: stop after so many of the steps; their losses are those of the whole run.

    Raises
    ------
    TuningError: as `add_adapter`, `encode_all` and `batches` do, and if a loss is not
        finite.
    """
    rows = encode_all(tokenizer, chats, settings)
    tuned = add_adapter(model, settings)
    device = next(tuned.parameters()).device
    trained = [each for each in tuned.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.0)
    warmup = math.ceil(settings.warmup * settings.steps)
    losses: list[float] = []
    tuned.train()
    for step, batch in enumerate(batches(rows, settings)):
        if step == only:
            break
        share = rate_share(step, settings.steps, warmup)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * share
        tensors = {
            name: tensor.to(device)
            for name, tensor in collate(batch, _pad_id(tokenizer)).items()
        }
        with mixed_precision(device):
            loss, _ = train_step(tuned, tensors, optimizer, settings.max_norm)
        if not math.isfinite(loss):
            raise TuningError(
                f"the loss of step {step} is {loss}: lower the learning rate, "
                f"{settings.learning_rate:g}"
            )
        losses.append(loss)
    return tuned.eval(), losses


def first_steps(recipe: Recipe, steps: int) -> list[float]:
    """The losses of the first steps of a recipe, made again: a slice of a long run.

    On a CPU they equal those of the whole run that was kept, up to rounding.
    """
    model, tokenizer = load_causal_lm(recipe.base)
    return tune(model, tokenizer, recipe.chats(), recipe.settings, only=steps)[1]


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """What fills a batch. Any id will do: it is masked by its place."""
    return 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id


# Writing


def write(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str | Chat],
    *,
    max_tokens: int = 48,
    temperature: float = 0.0,
    batch_size: int = 16,
    plain: bool = False,
    seed: int = 0,
    **options: Any,
) -> list[str]:
    """What a model writes after each prompt, without the prompt and special tokens.

    Greedy, so that the same prompt gives the same text; with `temperature` it is drawn
    by the seed. Prompts of several lengths go together: each batch is padded on the
    left, and an answer ends where the model ends its turn.

    Parameters
    ----------
    prompts: each a text, which becomes the one message of a user, or a chat.
    max_tokens: of each answer, at most.
    plain: texts are continued as they are, without the chat template.
    options: further ones of the model's `generate`, such as `num_beams`.

    Raises
    ------
    ValueError: for a single string in place of a list, a chat that is to be continued
        plainly, an empty text that is, a limit below 1 or a negative temperature; and
        as `render` does.
    """
    if isinstance(prompts, str):
        raise ValueError("prompts are a list: write [prompt] for a single one")
    if max_tokens < 1 or batch_size < 1:
        raise ValueError("max_tokens and batch_size are whole numbers from 1 on")
    if temperature < 0:
        raise ValueError(f"a temperature is not negative, as {temperature} is")
    rendered = [_rendered(tokenizer, prompt, plain) for prompt in prompts]
    ids = [tokenizer(text, add_special_tokens=plain)["input_ids"] for text in rendered]
    if not all(ids):
        raise ValueError("an empty text cannot be continued")
    # Neighbours of like length: less padding. The answers go back to their places.
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    device = next(model.parameters()).device
    answers = [""] * len(ids)
    was_training = model.training
    model.eval()
    if temperature:
        torch.manual_seed(seed)
    sampling = {"do_sample": False}
    if temperature:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0}
    try:
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            batch = left_padded([ids[place] for place in places], _pad_id(tokenizer))
            with torch.no_grad(), warnings.catch_warnings():
                # of settings for sampling that a model brings along, unused here
                warnings.simplefilter("ignore", UserWarning)
                written = model.generate(
                    **{name: tensor.to(device) for name, tensor in batch.items()},
                    max_new_tokens=max_tokens,
                    pad_token_id=_pad_id(tokenizer),
                    **(sampling | options),
                )
            new = written[:, batch["input_ids"].size(1) :]
            texts = tokenizer.batch_decode(new, skip_special_tokens=True)
            for place, text in zip(places, texts, strict=True):
                answers[place] = text
    finally:
        model.train(was_training)
    return answers


def _rendered(
    tokenizer: PreTrainedTokenizerBase, prompt: str | Chat, plain: bool
) -> str:
    if plain:
        if not isinstance(prompt, str):
            raise ValueError("only a text can be continued plainly, not a chat")
        return prompt
    chat = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return render(tokenizer, chat, answer_next=True)


def left_padded(ids: Sequence[Sequence[int]], pad_id: int) -> dict[str, torch.Tensor]:
    """Prompts as a batch whose last column is each one's last token.

    `input_ids` and `attention_mask`, (B, T) each.
    """
    longest = max(map(len, ids))
    gaps = [longest - len(row) for row in ids]
    return {
        "input_ids": torch.tensor(
            [[pad_id] * gap + list(row) for row, gap in zip(ids, gaps, strict=True)]
        ),
        "attention_mask": torch.tensor(
            [[0] * gap + [1] * (longest - gap) for gap in gaps]
        ),
    }


# Adapters


def save_adapter(
    model: peft.PeftModel,
    folder: str | Path,
    recipe: Recipe,
    figures: Mapping[str, Any],
) -> None:
    """Keep an adapter: its weights in bfloat16, peft's configuration, and a card.

    peft's own `PeftModel.from_pretrained` loads it as well. Raises TuningError if the
    model has no adapter.
    """
    if not isinstance(model, peft.PeftModel):
        raise TuningError("this model has no adapter to keep")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in peft.get_peft_model_state_dict(model).items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    configuration = model.peft_config["default"].to_dict()
    # A folder of this machine is no name by which others could find the base model.
    configuration |= {"base_model_name_or_path": recipe.base, "inference_mode": True}
    configuration["target_modules"] = sorted(configuration["target_modules"])
    text = json.dumps(configuration, indent=1, sort_keys=True, default=str)
    (folder / CONFIGURATION).write_text(f"{text}\n", encoding="utf-8")
    write_card(folder, recipe, figures)


def write_card(folder: str | Path, recipe: Recipe, figures: Mapping[str, Any]) -> None:
    """(Re)write the card of an adapter."""
    (Path(folder) / CARD).write_text(card(recipe, figures), encoding="utf-8")


def card(recipe: Recipe, figures: Mapping[str, Any]) -> str:
    """The card of an adapter: where it comes from, and what it was found to do."""
    settings = dataclasses.asdict(recipe.settings)
    lines = [
        "---",
        f"base_model: {recipe.base}",
        "library_name: peft",
        f"license: {recipe.licence}",
        "---",
        "",
        f"# {recipe.name}",
        "",
        f"A LoRA adapter for {recipe.base}, in bfloat16.",
        "",
        f"**Trained on** {recipe.data}",
        "",
        f"**Licence** {recipe.licence}, as the base model's.",
        "",
        f"**Made by** `python -m finetuning.experiments {recipe.name}`.",
        "",
        "| setting | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in settings.items()),
        "",
        "| figure | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in figures.items()),
    ]
    return "\n".join(lines) + "\n"


def adapter_folder(name: str | Path) -> Path:
    """Where an adapter is: a folder, a shipped one's, or one trained into the cache.

    Raises TuningError if it is nowhere, with the command that trains it.
    """
    name = str(name)
    folders = [Path(name).expanduser(), SHIPPED / name, trained_folder(name)]
    for folder in folders:
        if (folder / CONFIGURATION).is_file():
            return folder
    if folders[0].is_dir():
        raise TuningError(f"there is no {CONFIGURATION} in {folders[0]}")
    shipped = sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIGURATION}"))
    raise TuningError(
        f"there is no adapter {name!r}; shipped are {', '.join(shipped) or 'none'}, "
        "and `python -m finetuning.tuning NAME` trains one of an experiment"
    )


def trained_folder(name: str) -> Path:
    """Where the adapter of an experiment is kept that was trained on this machine."""
    return cache_folder() / "adapters" / name


def load_adapter(
    name: str | Path, base: str | Path | None = None
) -> tuple[peft.PeftModel, PreTrainedTokenizerBase]:
    """A tuned model and its tokenizer, in float32, in evaluation mode.

    Parameters
    ----------
    name: of a shipped or trained adapter, or a folder as peft writes it.
    base: the model that it belongs to; by default the one that it names.

    Raises
    ------
    TuningError: if there is no such adapter, its files are damaged, or it does not fit
        the base model.
    """
    folder = adapter_folder(name)
    try:
        settings = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
        configuration = peft.PeftConfig.from_pretrained(folder)
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise TuningError(f"there is no {WEIGHTS} in {folder}") from error
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise TuningError(
            f"the adapter in {folder} is damaged ({error}): fetch or train it again"
        ) from error
    named = base or settings.get("base_model_name_or_path")
    if not named:
        raise TuningError(f"the adapter in {folder} names no base model: say which")
    model, tokenizer = load_causal_lm(named)
    configuration.inference_mode = True
    try:
        tuned = _get_peft_model(model, configuration)
    except ValueError as error:  # none of the layers that it names
        raise TuningError(
            f"the adapter in {folder} does not fit {named}: {_first_line(error)}"
        ) from error
    wanted = {
        key: tuple(tensor.shape)
        for key, tensor in peft.get_peft_model_state_dict(tuned).items()
    }
    found = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    if wanted != found:
        odd = sorted(key for key in wanted | found if wanted.get(key) != found.get(key))
        raise TuningError(
            f"the adapter in {folder} does not fit {named}: {len(odd)} of its "
            f"matrices differ, the first {odd[0]}, {found.get(odd[0], 'missing')} in "
            f"the file and {wanted.get(odd[0], 'missing')} in the model"
        )
    peft.set_peft_model_state_dict(
        tuned, {name: tensor.float() for name, tensor in weights.items()}
    )
    return tuned.to(pick_device()).eval(), tokenizer


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]


# The command


def recipe(name: str) -> Recipe:
    """The recipe of an experiment. Raises TuningError if it has none."""
    from finetuning.experiments.engine import ExperimentError, load, names

    try:
        load(name)
    except ExperimentError as error:
        raise TuningError(str(error)) from error
    module = importlib.import_module(f"finetuning.experiments.{name}")
    if not hasattr(module, "RECIPE"):
        raise TuningError(
            f"{name} is an experiment that trains no adapter; experiments are "
            f"{', '.join(names())}"
        )
    return module.RECIPE


def train_into(folder: Path, made: Recipe) -> list[float]:
    """Train an adapter by its recipe and keep it; the losses of its steps."""
    model, tokenizer = load_causal_lm(made.base)
    tuned, losses = tune(model, tokenizer, made.chats(), made.settings)
    save_adapter(tuned, folder, made, loss_figures(losses))
    return losses


def loss_figures(losses: Sequence[float]) -> dict[str, str]:
    """What a card says of a run's losses."""
    last = losses[-10:]
    return {
        "loss of the first step": f"{losses[0]:.3f} nats a token",
        "mean loss of the last ten": f"{sum(last) / len(last):.3f} nats a token",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m finetuning.tuning NAME`: train an adapter into the cache."""
    parser = argparse.ArgumentParser(
        prog="python -m finetuning.tuning",
        description="Trains the adapter of an experiment into the cache, where "
        "load_adapter(NAME) finds it if the book does not ship it.",
    )
    parser.add_argument("name", metavar="NAME", help="which experiment's adapter")
    name = parser.parse_args(arguments).name
    torch.set_num_threads(1)  # the last digits depend on it
    try:
        folder = trained_folder(name)
        losses = train_into(folder, recipe(name))
    except TuningError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{len(losses)} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}: {folder}")


if __name__ == "__main__":
    main()
