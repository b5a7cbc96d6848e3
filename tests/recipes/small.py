"""A small encoder and small tables: a whole run of the recipe takes a second."""

from pathlib import Path

import pandas
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from finetuning.data.messages import PILES, load_messages
from finetuning.recipes import report

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def messages(count: int) -> pandas.DataFrame:
    """Messages to a support desk, and the pile of each."""
    texts, labels = [], []
    for part in ("train", "validation", "test"):
        some, piles = load_messages(part)
        texts += some
        labels += [PILES[pile] for pile in piles]
    return pandas.DataFrame({"text": texts[:count], "label": labels[:count]})


def save_encoder(folder: Path, dropout: float = 0.1) -> Path:
    """A BERT of random weights that knows the messages' words."""
    words = sorted({word for text in messages(260)["text"] for word in text.split()})
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    ).save_pretrained(folder)
    return folder


def arguments(folder: Path, model: Path, *more: str, output: str = "out") -> list[str]:
    """A command line for a table of 100 messages, which it writes."""
    train = folder / "train.csv"
    if not train.exists():
        messages(100).to_csv(train, index=False)
    return [
        *("--task", "classification", "--model", str(model), "--train", str(train)),
        *("--output", str(folder / output), "--epochs", "2", "--batch-size", "8"),
        *("--learning-rate", "1e-3", "--checkpoint-steps", "3", *more),
    ]


def choose(kind: str) -> None:
    """From now on the recipe keeps this kind of classifier, however good it is.

    Which one a table of a hundred messages would choose is chance.
    """
    compare = report.compare

    def as_if(*everything: object) -> dict[str, object]:
        return compare(*everything) | {"chosen": kind}

    report.compare = as_if
