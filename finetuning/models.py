"""Pretrained models: packaged ones, local folders, or models of the Hugging Face hub.

Models come in float32, on the CPU and in evaluation mode, as `(model, tokenizer)`. A
packaged model is fetched on first use (`finetuning.resources`) and needs no network
afterwards. Any other name goes to the library's own `from_pretrained`, so a reader with
a GPU scales up by changing one string.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from finetuning import resources
from finetuning.gguf import quiet

Loaded = TypeVar("Loaded")

CAUSAL = "a causal language model, which load_causal_lm loads"
ENCODER = "an encoder, which load_encoder loads"
PACKAGED = {"SmolLM2-135M-Instruct": CAUSAL, "all-MiniLM-L6-v2": ENCODER}

HEADS = {
    None: transformers.AutoModel,
    "classification": transformers.AutoModelForSequenceClassification,
    "token-classification": transformers.AutoModelForTokenClassification,
    "question-answering": transformers.AutoModelForQuestionAnswering,
    "masked-lm": transformers.AutoModelForMaskedLM,
}


def load_causal_lm(
    name: str | Path = "SmolLM2-135M-Instruct",
    *,
    pretrained: bool = True,
    **config: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer.

    `pretrained=False` gives the same architecture with random weights, drawn from
    torch's generator: seed it first. Further arguments change the configuration, for
    example `attn_implementation="eager"`.

    Raises `ResourceError` if a packaged name is unknown or cannot be fetched, or if a
    folder's files are damaged; `ValueError` for an encoder.
    """
    _refuse_encoder(name, config)
    model = _load(transformers.AutoModelForCausalLM, name, pretrained, config)
    return model, load_tokenizer(name)


def load_encoder(
    name: str | Path = "all-MiniLM-L6-v2",
    head: str | None = None,
    *,
    pretrained: bool = True,
    **config: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder and its tokenizer, bare (`head=None`) or with a head.

    Heads are "classification" (of whole sequences; say `num_labels`),
    "token-classification", "question-answering" and "masked-lm". A head that the
    checkpoint does not have starts from random weights, drawn from torch's generator:
    seed it first. `pretrained=False` gives the whole architecture random weights.

    Raises `ResourceError` as `load_causal_lm` does; `ValueError` for an unknown head,
    or a packaged causal language model.
    """
    if head not in HEADS:
        raise ValueError(
            f"There is no head named {head!r}; there are "
            f"{', '.join(filter(None, HEADS))}, and None."
        )
    if PACKAGED.get(str(name)) == CAUSAL:
        raise ValueError(f"{name} is {CAUSAL}; it has no use as an encoder here.")
    return _load(HEADS[head], name, pretrained, config), load_tokenizer(name)


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Raises `ResourceError` as `load_causal_lm` does, and if a folder has no vocabulary.
    """
    where = _locate(name)
    tokenizer = _mended(
        name, lambda: AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    )
    # transformers makes a tokenizer of the special tokens alone where a folder has a
    # configuration and no vocabulary: every word is then the same unknown one.
    if Path(where).is_dir() and len(tokenizer) <= len(tokenizer.all_special_ids):
        raise resources.ResourceError(
            f"There is no vocabulary in {where}: save the tokenizer there too, with "
            "its save_pretrained."
        )
    return tokenizer


def _locate(name: str | Path) -> str:
    """The folder of a packaged or local model; a hub's name as it is."""
    if name in PACKAGED:
        return str(resources.fetch(str(name)))
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if isinstance(name, Path) or str(name).count("/") != 1:
        raise resources.ResourceError(
            f"There is no packaged model and no folder named {str(name)!r}; packaged "
            f"are {', '.join(PACKAGED)}, and a model of the hub is written owner/name."
        )
    return str(name)


def _refuse_encoder(name: str | Path, config: dict[str, Any]) -> None:
    """Raise `ValueError` if a packaged model, or that of a folder, is an encoder.

    As a causal language model it would get a head of random weights, and its attention
    would see the words that are to be predicted.
    """
    where = _locate(name)
    if not Path(where).is_dir():
        return  # a model of the hub: what it is, the library says
    settings = _mended(
        name,
        lambda: AutoConfig.from_pretrained(where, trust_remote_code=False, **config),
    )
    two_ways = type(settings) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    if two_ways and not settings.is_decoder and not settings.is_encoder_decoder:
        raise ValueError(f"{name} is {ENCODER}; it cannot predict the next token.")


def _load(
    auto_class: Any, name: str | Path, pretrained: bool, config: dict[str, Any]
) -> PreTrainedModel:
    where = _locate(name)
    options = {
        "dtype": torch.float32,
        "use_safetensors": True,
        "trust_remote_code": False,
    }

    def load() -> PreTrainedModel:
        if not pretrained:
            settings = AutoConfig.from_pretrained(
                where, trust_remote_code=False, **config
            )
            return auto_class.from_config(settings, dtype=torch.float32)
        if name not in PACKAGED:
            return auto_class.from_pretrained(where, **options, **config)
        with quiet():
            model, report = auto_class.from_pretrained(
                where, output_loading_info=True, **options, **config
            )
        _verify_weights(model, report, name, where)
        return model

    try:
        return _mended(name, load).eval()
    except SafetensorError as error:
        raise resources.ResourceError(
            f"The weights in {where} are damaged ({error}): save them, or download "
            "them, again."
        ) from error


def _mended(name: str | Path, load: Callable[[], Loaded]) -> Loaded:
    """What `load` returns; if it fails on damaged files, from files fetched again.

    `fetch` compares sizes only. Of a packaged model whose loading fails the hashes are
    compared, too.
    """
    try:
        return load()
    except Exception as error:
        failure = error
    # Here, outside of the handler, a sentence of `mend` comes without what led to it.
    if name in PACKAGED and resources.mend(str(name)):
        return load()
    raise failure


def _verify_weights(
    model: PreTrainedModel, report: dict[str, Any], name: str | Path, where: str
) -> None:
    """Raise `ResourceError` if a packaged model's body lacks weights.

    `quiet` also hides transformers' report of weights that it did not find. For a new
    head that is expected; anywhere else it would mean a body of random weights.
    """
    has_head = model.base_model is not model
    missing = [
        key
        for key in report["missing_keys"]
        if not has_head or key.startswith(model.base_model_prefix + ".")
    ]
    if missing or report["mismatched_keys"]:
        raise resources.ResourceError(
            f"The cached copy of {name} lacks weights ({', '.join(missing[:3])} …): "
            f"delete {where} and run this again."
        )
