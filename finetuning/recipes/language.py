"""A causal language model that is tuned on chats: loaded, encoded, and kept."""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path

import peft
import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
)
from transformers import (
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from finetuning import tuning
from finetuning.models import load_causal_lm
from finetuning.recipes import kept
from finetuning.recipes.errors import RecipeError
from finetuning.recipes.pairs import Pairs
from finetuning.recipes.processes import is_sharded
from finetuning.recipes.settings import Settings
from finetuning.scratch.instruction import IGNORED, Encoded, collate, encode_chat


def load(settings: Settings) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that is to be tuned, with its adapter if the method has one.

    Raises RecipeError if there is no such model, or it has no chat template.
    """
    options = {}
    if settings.method == "qlora":
        if importlib.util.find_spec("bitsandbytes") is None:
            raise RecipeError(
                "--method qlora needs a package that is missing here: pip install "
                "bitsandbytes"
            )
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16
            if torch.cuda.is_available()
            and torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32,
        )
    try:
        model, tokenizer = load_causal_lm(settings.model, **options)
    except (RuntimeError, ValueError, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise RecipeError(f"--model {settings.model}: {first}") from error
    if not tokenizer.chat_template:
        raise RecipeError(
            f"--model {settings.model} has no chat template: take one that was tuned "
            "on chats (its name often ends in Instruct)"
        )
    if settings.method != "full":
        # Rank and scale are those of chapter 13.
        model = tuning.add_adapter(model, tuning.Settings(steps=1, seed=settings.seed))
    # A preference compares two readings of a text, which chance must not tell apart;
    # and today's language models are trained without dropout anyway.
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model, tokenizer


def refuse_sharded_adapter(settings: Settings, accelerator: Accelerator) -> None:
    """Raise RecipeError for an adapter under FSDP, which nobody has tried here."""
    if settings.method != "full" and is_sharded(accelerator):
        raise RecipeError(
            "FSDP is for --method full: an adapter leaves the model whole on each GPU "
            "(take recipes/accelerate/gpu.yaml, or --method qlora)"
        )


class Chats:
    """Pairs as token ids. `rows` are those that fit, by part."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Pairs,
        answers: Sequence[str],
        max_length: int,
    ) -> None:
        self._pad_id = tokenizer.pad_token_id or 0
        self.encoded: dict[int, list[Encoded]] = {}
        # A chat that is cut would teach the model not to end.
        self.long = 0
        for row in range(len(pairs)):
            chats = [pairs.chat(row, answer) for answer in answers]
            try:
                encoded = [encode_chat(tokenizer, chat) for chat in chats]
            except ValueError as error:
                raise RecipeError(
                    f"the pair in line {pairs.places[row]} cannot be trained on: "
                    f"{error}"
                ) from error
            if max(len(each.ids) for each in encoded) > max_length:
                self.long += 1
            else:
                self.encoded[row] = encoded
        self.rows = {
            name: [row for row in rows if row in self.encoded]
            for name, rows in vars(pairs.parts).items()
        }
        if min(map(len, self.rows.values())) < 2:
            raise RecipeError(
                f"{self.long:,} of {len(pairs):,} pairs have more than {max_length} "
                "tokens, and without them a part has none, or one: raise --max-length, "
                "or shorten them"
            )

    def batch(self, encoded: Sequence[Encoded], device: torch.device) -> dict:
        """`input_ids`, `attention_mask` and `labels`, (B, T) each."""
        batch = collate(encoded, self._pad_id)
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def trained_tokens(self, row: int, answer: int = 0) -> int:
        """How many tokens of an answer have a label."""
        return sum(label != IGNORED for label in self.encoded[row][answer].labels[1:])


def groups(model: PreTrainedModel) -> list[dict[str, object]]:
    """For the optimizer: what is trained, without weight decay, as in chapter 13."""
    trained = [each for each in model.parameters() if each.requires_grad]
    return [{"params": trained, "weight_decay": 0.0}]


def whole_weights(model: nn.Module, settings: Settings) -> dict[str, torch.Tensor]:
    """Of a model tuned whole its weights, for the first process; of others nothing.

    Every process must call it: each may hold a part.
    """
    if settings.method != "full":
        return {}
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(model, options=options)


def write(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Settings,
    weights: dict[str, torch.Tensor],
) -> None:
    """The adapter as peft writes it, or the whole model; safetensors both."""
    if isinstance(model, peft.PeftModel):
        # By this name others find the base model, and not by a folder of this machine.
        model.peft_config["default"].base_model_name_or_path = settings.model
        with warnings.catch_warnings():
            # peft would look on the hub whether the vocabulary has grown.
            warnings.simplefilter("ignore", UserWarning)
            model.save_pretrained(folder / kept.ADAPTER, save_embedding_layers=False)
            (folder / kept.ADAPTER / "README.md").unlink(missing_ok=True)
        tokenizer.save_pretrained(folder / kept.ADAPTER)
    else:
        model.save_pretrained(folder / kept.MODEL, state_dict=weights)
        tokenizer.save_pretrained(folder / kept.MODEL)
