"""Chapter 07's model: the Transformer that translates number words, trained once and
kept with its weights, half taught and at the end.

The runs take half a minute and two minutes on one CPU core.
"""

from finetuning.data.number_words import (
    Splits,
    Vocabulary,
    batches,
    examples,
    split_numbers,
)
from finetuning.experiments.engine import Experiment, Key, Results, Weights
from finetuning.experiments.number_translation import (
    BATCH,
    DESCENT,
    DROPOUT,
    HEADS,
    HIDDEN,
    LANGUAGES,
    LAYERS,
    SMOOTHING,
    STEPS,
    WARM_UP,
    WIDTH,
    learning_rate,
    make_model,
    wrong_numbers,
)
from finetuning.runtime import set_seed
from finetuning.scratch.transformer import train

SEED = 0
# The steps after which the model is kept, each time from the same training.
HALF_TAUGHT = 500
# The model translates every tenth validation number after every so many steps.
PROBED_EVERY = 250


def train_until(
    splits: Splits, steps: int, *, probed_every: int = PROBED_EVERY
) -> dict[str, object]:
    """The first `steps` steps of the chapter's training.

    Keeps each step's loss, the share of the probed numbers right every so many steps,
    both directions together, and the weights at the end.
    """
    vocabulary = Vocabulary()
    pairs = [
        pair for to in LANGUAGES for pair in examples(splits.training, vocabulary, to)
    ]
    probe = splits.validation[::10]
    progress: list[tuple[int, float]] = []
    set_seed(SEED)
    model = make_model(vocabulary, DROPOUT, norm_first=False, scaled=True)

    def after_step(step: int) -> None:
        if step % probed_every == 0:
            model.eval()
            asked = len(LANGUAGES) * len(probe)
            wrong = sum(
                len(wrong_numbers(model, probe, vocabulary, to)) for to in LANGUAGES
            )
            progress.append((step, (asked - wrong) / asked))

    losses = train(
        model,
        batches(pairs, BATCH, steps, SEED),
        lambda step: learning_rate(step, STEPS, warm=True, descent=True),
        SMOOTHING,
        after_step=after_step,
    )
    return {
        "losses": [round(loss, 4) for loss in losses],
        "progress": progress,
        "weights": Weights(model.state_dict()),
    }


def run(key: Key, kept: Results) -> dict[str, object]:
    """One of the runs: see `train_until`."""
    return train_until(split_numbers(), key["steps"])


EXPERIMENT = Experiment(
    name="number_transformer",
    chapter=7,
    settings={
        "width": WIDTH,
        "heads": HEADS,
        "hidden": HIDDEN,
        "layers": LAYERS,
        "dropout": DROPOUT,
        "label smoothing": SMOOTHING,
        "batch": BATCH,
        "schedule": STEPS,
        "warm-up": WARM_UP,
        "descent": DESCENT,
        "seed": SEED,
    },
    keys=[{"steps": HALF_TAUGHT}, {"steps": STEPS}],
    run=run,
)
