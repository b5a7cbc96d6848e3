"""Chapter 19's third experiment: SmolLM2 answers questions about the book, out of its
own head, from the passage that the search found, and from the one that answers.

Kept are its answers. All runs together take 50 minutes on one CPU core, each four
minutes at most.
"""

import numpy as np

from finetuning.data import book
from finetuning.experiments import book_search
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.models import load_causal_lm
from finetuning.scratch.question_answering import SENTENCE
from finetuning.tuning import BASE, write

NAME = "book_answers"
EACH = 32  # questions of a run
ANSWERED = 120  # answerable questions that are asked, and
REFUSED = 64  # unanswerable ones
MAX_TOKENS = 96  # nearly every sentence of the book has fewer
BATCH = 8
# How it is asked. "text" is the passage.
PLAIN = "Answer the question in one sentence.\n\nQuestion: {question}"
FROM_TEXT = (
    "Answer the question in one sentence, from the text alone. If the text does not "
    "answer it, write: I do not know.\n\nText: {text}\n\nQuestion: {question}"
)
REQUESTS = {"alone": PLAIN, "from the text": FROM_TEXT, "copying": SENTENCE}
SYSTEMS = (
    {"request": "alone"},
    {"request": "from the text", "passage": "found"},
    {"request": "from the text", "passage": "right"},
    {"request": "copying", "passage": "found"},
)
TOLD = SYSTEMS[1]  # to say that it does not know: it alone gets what nothing answers


def asked(kind: str) -> list[book.BookQuestion]:
    """The questions of a kind, every chapter's among them: a fixed order."""
    if kind == "unanswerable":
        return book.unanswerable()[:REFUSED]
    rows = book.answerable()
    places = np.linspace(0, len(rows) - 1, ANSWERED).round().astype(int)
    return [rows[place] for place in places]


def passage_for(question: book.BookQuestion, which: str) -> str:
    """The text of the passage that the search puts first, or of one that answers."""
    order = book_search.found(question.question)
    if which == "right":
        mark = book_search.right(question)
        order = [place for place in order if mark[place]]
    return book_search.shelf()[int(order[0])].text


def run(key: Key, kept: Results) -> dict[str, object]:
    """The answers of a system to some of the questions."""
    model, tokenizer = load_causal_lm(BASE)
    rows = asked(key["questions"])[key["from"] : key["from"] + EACH]
    prompts = []
    for each in rows:
        fields = {"question": each.question}
        if "passage" in key:
            fields["text"] = passage_for(each, key["passage"])
        prompts.append(REQUESTS[key["request"]].format(**fields))
    answers = write(model, tokenizer, prompts, max_tokens=MAX_TOKENS, batch_size=BATCH)
    return {"answers": answers}


EXPERIMENT = Experiment(
    name=NAME,
    chapter=19,
    settings={
        "model": BASE,
        "tokens": MAX_TOKENS,
        "requests": REQUESTS,
        "passages": book_search.CHOSEN,
        **book_search.digests(),
    },
    keys=[
        {"questions": questions, **system, "from": first}
        for questions, count, systems in (
            ("answerable", ANSWERED, SYSTEMS),
            ("unanswerable", REFUSED, [TOLD]),
        )
        for system in systems
        for first in range(0, count, EACH)
    ],
    run=run,
)


def answers_of(kept: Results, questions: str, **system: str) -> list[str]:
    """A system's answers to all questions of a kind, in their order."""
    runs = kept.select(questions=questions, **system)
    if "passage" not in system:
        runs = [each for each in runs if "passage" not in each.key]
    ordered = sorted(runs, key=lambda each: each["from"])
    return [answer for each in ordered for answer in each["answers"]]
