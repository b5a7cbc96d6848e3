"""Chapter 09's first experiment: does SmolLM2 learn from the examples in a prompt?

It says of what kind each of forty words is, after no, 1, 4 or 16 examples with their
own labels, random ones or exchanged ones. Six draws of examples. All runs together take
a minute on one CPU core; the chapter makes those of the first draw again.
"""

import functools
import itertools

from transformers import PreTrainedTokenizerBase

from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.models import load_causal_lm
from finetuning.scratch.gpt import (
    Llama,
    LlamaConfiguration,
    load_transformers_weights,
)
from finetuning.scratch.in_context import ASKED, label_scores, prompt_of

MODEL = "SmolLM2-135M-Instruct"
VERSIONS = ("true", "random", "exchanged")
EXAMPLES = (1, 4, 16)
DRAWS = 6


@functools.cache
def language_model() -> tuple[Llama, PreTrainedTokenizerBase]:
    """SmolLM2 in chapter 09's own Llama, and its tokenizer."""
    theirs, tokenizer = load_causal_lm(MODEL)
    model = Llama(LlamaConfiguration.from_transformers(theirs.config)).eval()
    load_transformers_weights(model, theirs.state_dict())
    return model, tokenizer


def run(key: Key, kept: Results) -> dict[str, object]:
    """The kind that each word is said to be of, as a number, and how probable the four
    labels are together, on average.
    """
    model, tokenizer = language_model()
    prompt = prompt_of(key["examples"], key["seed"], key["version"])
    questions = [f"{word}:" for word, _ in ASKED]
    scores = label_scores(model, tokenizer, prompt, questions)  # (N, K)
    return {
        "answers": scores.argmax(dim=-1).tolist(),
        "mass": round(scores.exp().sum(dim=-1).mean().item(), 6),
    }


EXPERIMENT = Experiment(
    name="in_context",
    chapter=9,
    settings={"model": MODEL},
    keys=[
        {"version": "true", "examples": 0, "seed": 0},  # the three are one
        *(
            {"version": version, "examples": examples, "seed": seed}
            for version, examples, seed in itertools.product(
                VERSIONS, EXAMPLES, range(DRAWS)
            )
        ),
    ],
    run=run,
)
