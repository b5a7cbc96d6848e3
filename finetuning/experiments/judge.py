"""Chapter 16's first experiment: SmolLM2 as a judge of two headlines, in both orders,
and the same model as one that only says how likely each headline is.

The pairs are openings of BBC News articles with their own headline, and that of another
article of the same topic. Only probabilities are kept, none of the texts. About a
second a question on one CPU core.
"""

from collections.abc import Sequence

import torch

from finetuning.data.corpora import load_bbc_news
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import render

NAME = "judge"
MODEL = "SmolLM2-135M-Instruct"
PAIRS = 100
OPENING_WORDS = 24
PADDING = ", according to a report that was published this week"
WORDINGS = {
    "letters": (
        "Here is the beginning of a news article:\n\n{opening}\n\nWhich headline fits "
        "it better?\nA: {first}\nB: {second}\n\nAnswer with A or B only.",
        "AB",
    ),
    "numbers": (
        "Article: {opening}\n\nHeadline 1: {first}\nHeadline 2: {second}\n\nWhich of "
        "the two is the better headline for this article? Reply with the number 1 or "
        "2.",
        "12",
    ),
}
REQUEST = "Write a headline for this news article:\n\n{opening}"


def pairs(count: int = PAIRS) -> list[tuple[str, str, str]]:
    """Openings of test articles, each with its headline and another of its topic."""
    rows = list(load_bbc_news(split=True)["test"])
    found = []
    for place, row in enumerate(rows[:count]):
        after = rows[place + 1 :] + rows[:place]
        other = next(each for each in after if each["label"] == row["label"])
        body = row["text"].partition("\n\n")[2]
        opening = " ".join(body.split()[:OPENING_WORDS])
        found.append((opening, row["title"], other["title"]))
    return found


@torch.no_grad()
def chosen(model, tokenizer, asked: str, answers: Sequence[str]) -> tuple[float, float]:
    """The probability of the first of two answers of one token each, of the two alone;
    and how much probability the two have among all tokens.
    """
    prompt = render(tokenizer, [{"role": "user", "content": asked}], answer_next=True)
    batch = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    logits = model(**batch.to(model.device), logits_to_keep=1).logits[0, -1].float()
    ids = [
        tokenizer(answer, add_special_tokens=False)["input_ids"][0]
        for answer in answers
    ]
    share = logits.softmax(-1)[ids].sum()
    return logits[ids].softmax(-1)[0].item(), share.item()


def first_chosen(
    model, tokenizer, opening: str, first: str, second: str, wording: str = "letters"
) -> tuple[float, float]:
    """The judge's probability that the first headline is better, as `chosen` has it."""
    question, answers = WORDINGS[wording]
    asked = question.format(opening=opening, first=first, second=second)
    return chosen(model, tokenizer, asked, answers)


@torch.no_grad()
def log_likelihood(model, tokenizer, opening: str, headline: str) -> tuple[float, int]:
    """The log-probability in nats of a headline as an answer, and its tokens."""
    chat = [{"role": "user", "content": REQUEST.format(opening=opening)}]
    prompt = render(tokenizer, chat, answer_next=True)
    before = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    batch = tokenizer(prompt + headline, add_special_tokens=False, return_tensors="pt")
    batch = batch.to(model.device)
    targets = batch["input_ids"][0, before:]
    logits = model(**batch, logits_to_keep=len(targets) + 1).logits[0, :-1].float()
    each = logits.log_softmax(-1).gather(-1, targets[:, None])
    return each.sum().item(), len(targets)


def run(key: Key, kept: Results) -> dict[str, object]:
    """Both orders of each pair; or the log-probabilities of its headlines."""
    model, tokenizer = load_causal_lm(MODEL)
    if key["part"] == "likelihood":
        sums, tokens = [], []
        for opening, own, other in pairs():
            found = [
                log_likelihood(model, tokenizer, opening, headline)
                for headline in (own, other, own + PADDING)
            ]
            sums.append([round(each[0], 3) for each in found])
            tokens.append([each[1] for each in found])
        return {"sums": sums, "tokens": tokens}
    firsts, shares = [], []
    for opening, own, other in pairs():
        rival = own + PADDING if key["rival"] == "padded" else other
        found = [
            first_chosen(model, tokenizer, opening, first, second, key["wording"])
            for first, second in ((own, rival), (rival, own))
        ]
        firsts.append([round(each[0], 4) for each in found])
        shares += [each[1] for each in found]
    return {"first": firsts, "share": round(sum(shares) / len(shares), 3)}


EXPERIMENT = Experiment(
    name=NAME,
    chapter=16,
    settings={
        "model": MODEL,
        "pairs": PAIRS,
        "opening words": OPENING_WORDS,
        "padding": PADDING,
        "wordings": WORDINGS,
        "request": REQUEST,
    },
    keys=[
        {"part": "question", "rival": "other", "wording": "letters"},
        {"part": "question", "rival": "padded", "wording": "letters"},
        {"part": "likelihood"},
        {"part": "question", "rival": "other", "wording": "numbers"},
    ],
    run=run,
)
