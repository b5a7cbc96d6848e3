"""Chapter 23's third experiment: a code, or five, in a long text, asked for at its end.

The texts are messages of presidents, cut to between 256 and 4,096 tokens; the sentence
with the code stands at their beginning, at their end or between. Some sixteen minutes
on one CPU core.
"""

import copy
import functools
import re
import warnings
from collections.abc import Sequence

import torch

from finetuning.data import load_state_of_the_union
from finetuning.data.codes import PLACES, beginning, code_of, question, sentence
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import render
from finetuning.scratch.summarization import sentences

NAME = "needle"
MODEL = "SmolLM2-135M-Instruct"
LENGTHS = (0, 256, 512, 1024, 2048, 4096)  # tokens of the text around the codes
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
TEXTS = {1: 3, 5: 4}  # how many texts of each length, by how many codes they hide
FIRST_YEAR = 1946  # of a message for each text, and of every fourth year after it
MAX_TOKENS = 5


@functools.cache
def messages() -> list[list[str]]:
    """The sentences of a message for each text, long enough for the longest."""
    years = [FIRST_YEAR + 4 * number for number in range(max(TEXTS.values()))]
    rows = list(load_state_of_the_union())
    texts = [
        max((row["text"] for row in rows if row["year"] == year), key=len)
        for year in years
    ]
    return [sentences(text) for text in texts]


def haystack(
    own: Sequence[str], tokenizer, tokens: int, needles: dict[float, str]
) -> str:
    """The first sentences of a text, up to so many tokens, with the needles between
    them, each where this share of the tokens lies before it.
    """
    kept: list[tuple[float, str]] = []
    used = 0
    for text in own:
        size = len(tokenizer(f"{text} ", add_special_tokens=False)["input_ids"])
        if used + size > tokens:
            break
        kept.append((used, text))
        used += size
    # A needle stands before the first sentence that begins at its place or after it.
    placed = [(depth * used, 0, needle) for depth, needle in needles.items()]
    whole = sorted(placed + [(start, 1, text) for start, text in kept])
    return " ".join(text for _, _, text in whole)


@torch.no_grad()
def ask(model, tokenizer, text: str, places: Sequence[str]) -> list[str]:
    """The code that is written as that of each place, after the text; "" for none.

    What the prompts have in common is read once.
    """
    prompts = []
    for place in places:
        asked = [{"role": "user", "content": f"{text}\n\n{question(place)}"}]
        prompt = render(tokenizer, asked, answer_next=True) + beginning(place)
        prompts.append(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    shared = next(
        (
            place
            for place, tokens in enumerate(zip(*prompts, strict=False))
            if len(set(tokens)) > 1
        ),
        min(map(len, prompts)) - 1,
    )
    device = next(model.parameters()).device
    common = torch.tensor([prompts[0][:shared]], device=device)
    cache = model(common, use_cache=True, logits_to_keep=1).past_key_values
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt], device=device)
        with warnings.catch_warnings():
            # of settings for sampling that the model brings along, unused here
            warnings.simplefilter("ignore", UserWarning)
            written = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                past_key_values=copy.deepcopy(cache),  # it grows with the answer
                max_new_tokens=MAX_TOKENS,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        code = re.match(r"\d+", tokenizer.decode(written[0, ids.size(1) :]))
        found.append(code.group() if code else "")
    return found


def hidden(codes: int, text: int) -> list[tuple[str, str, float]]:
    """Places, their codes and depths: one code at five depths, or five at once.

    Each text has codes of its own; of five, no place stands at the same depth in two
    texts.
    """
    if codes == 1:
        places = [PLACES[5 * text + number] for number in range(len(DEPTHS))]
    else:
        places = [PLACES[(number + text) % codes] for number in range(codes)]
    return [
        (place, code_of(place, 10 + text), depth)
        for place, depth in zip(places, DEPTHS, strict=True)
    ]


def run(key: Key, kept: Results) -> dict[str, object]:
    """What is answered about each code of a text."""
    model, tokenizer = load_causal_lm(MODEL)
    own = messages()[key["text"]]
    rows = hidden(key["codes"], key["text"])
    groups = [rows] if key["codes"] > 1 else [[row] for row in rows]
    said = []
    for group in groups:
        needles = {depth: sentence(place, code) for place, code, depth in group}
        text = haystack(own, tokenizer, key["tokens"], needles)
        said += ask(model, tokenizer, text, [place for place, _, _ in group])
    return {
        "hidden": [list(row) for row in rows],
        "said": said,
        "right": sum(
            answer == code for answer, (_, code, _) in zip(said, rows, strict=True)
        ),
    }


EXPERIMENT = Experiment(
    name=NAME,
    chapter=23,
    settings={
        "model": MODEL,
        "depths": DEPTHS,
        "first year": FIRST_YEAR,
        "tokens": MAX_TOKENS,
        "question": question("X"),
        "needle": sentence("X", "000"),
    },
    keys=[
        {"codes": codes, "tokens": tokens, "text": text}
        for codes, texts in TEXTS.items()
        for tokens in LENGTHS
        for text in range(texts)
    ],
    run=run,
)
