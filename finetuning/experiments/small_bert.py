"""Chapter 08's experiment: a BERT of 946,304 parameters learns to fill gaps in State of
the Union messages.

It takes two minutes on one CPU core. The chapter repeats the first steps, draws the
losses and goes on with the weights, which are kept in half precision.
"""

import torch

from finetuning.data.streams import blocks, corpus
from finetuning.experiments.engine import Experiment, Key, Results, Weights
from finetuning.runtime import set_seed
from finetuning.scratch.bert import (
    BertConfiguration,
    MaskedLanguageModel,
    mask_tokens,
)
from finetuning.scratch.bert_pretraining import (
    LENGTH,
    SMALL,
    STAGES,
    pretrain,
    suit_small_width,
)

RATE = 0.3  # the share of tokens that are to be guessed
TEST_ROWS = 500
# Tokens a row, rows a batch, steps: the chapter's.
ROWS = {"6, then 32": STAGES}


def make_model(vocabulary: int) -> MaskedLanguageModel:
    """The chapter's small BERT before any training."""
    set_seed(0)
    model = MaskedLanguageModel(BertConfiguration(vocabulary, **SMALL))
    suit_small_width(model)
    return model


@torch.no_grad()
def held_out_loss(model: MaskedLanguageModel) -> float:
    """The loss in nats of gaps in the first held-out rows, each gap shown as [MASK]."""
    speeches = corpus()
    rows = blocks(speeches.held_out, LENGTH, marks=True)[:TEST_ROWS]
    gaps, answers = mask_tokens(
        rows,
        speeches.vocabulary_size,
        torch.Generator().manual_seed(0),
        shares=(1.0, 0.0),
    )
    return model.loss(gaps, answers).item()


def run(key: Key, kept: Results) -> dict[str, object]:
    """The loss of each step, that on held-out rows, and the weights at the end."""
    torch.set_num_threads(1)
    speeches = corpus()
    model = make_model(speeches.vocabulary_size)
    stages = ROWS[key["rows"]]
    losses = list(pretrain(model, speeches.training, stages, mask_tokens, RATE))
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    return {
        "losses": [round(loss, 4) for loss in losses],
        "held_out_loss": held_out_loss(model),
        "weights": Weights(weights),
    }


EXPERIMENT = Experiment(
    name="small_bert",
    chapter=8,
    settings={"model": SMALL, "stages": ROWS, "rate": RATE, "test_rows": TEST_ROWS},
    keys=[{"rows": rows} for rows in ROWS],
    run=run,
)
