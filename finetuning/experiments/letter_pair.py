"""Chapter 10's first pair, trained to its end: an ELECTRA whose tokens are letters.

One run, of a minute on one CPU core. Kept are the losses of every step, of which the
chapter repeats the first, and the weights at the end.
"""

from finetuning.data.letters import letters
from finetuning.experiments.engine import Experiment, Key, Results, Weights
from finetuning.scratch.electra import letter_pair, train_pair

STEPS = 700
LENGTH = 12  # letters of a row


def run(key: Key, so_far: Results) -> dict[str, object]:
    """Train the pair: for each step both losses and the share replaced, and the weights
    at the end. What the two models share is kept once.
    """
    corpus = letters()
    pair = letter_pair(corpus.vocabulary_size, LENGTH, key["seed"])
    log = train_pair(pair, corpus.training, STEPS, seed=key["seed"])
    return {
        "log": [[round(number, 4) for number in step] for step in log.tolist()],
        "weights": Weights(dict(pair.named_parameters())),
    }


EXPERIMENT = Experiment(
    name="letter_pair",
    chapter=10,
    settings={"steps": STEPS, "length": LENGTH},
    keys=[{"seed": 0}],
    run=run,
)
