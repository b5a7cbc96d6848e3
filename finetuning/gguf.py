"""Models in GGUF, llama.cpp's file format, written out as ordinary model folders.

Needs the `gguf` package: everything here lets `ImportError` out where it is missing.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside this block, no progress bars and no report of new heads."""
    logging = transformers.utils.logging
    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
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

    Raises `ImportError` if the `gguf` package is missing.
    """
    with quiet():
        # Said here, because it is saved with the tokenizer: otherwise the folder would
        # depend on HF_HUB_OFFLINE.
        here = {"gguf_file": gguf.name, "local_files_only": True}
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **here)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, **here, dtype=torch.float32
        )
    # save_pretrained refuses a quantised model, and still takes this one for it
    # although its weights are float32.
    marks = {
        "is_quantized": False,
        "hf_quantizer": None,
        "quantization_method": None,
    }
    for mark, value in marks.items():
        if hasattr(model, mark):
            setattr(model, mark, value)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # transformers does not read `tokenizer.ggml.pre`. "smollm" means that every digit
    # stands alone before the byte-level split; without it two spaces before a number
    # become two tokens where the model learnt one.
    if _metadata(gguf, "tokenizer.ggml.pre") == "smollm":
        split = tokenizer.backend_tokenizer.pre_tokenizer
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), split]
        )
    tokenizer.model_max_length = model.config.max_position_embeddings
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _metadata(gguf: Path, key: str) -> Any:
    """The value of one key of a GGUF file's header; None if it has no such key."""
    from gguf import (
        GGUFReader,
    )  # the library, not this module; only conversion needs it

    field = GGUFReader(gguf).fields.get(key)
    return None if field is None else field.contents()
