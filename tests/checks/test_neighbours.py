"""A named mistake is not named where a neighbouring one is made.

Each answer is a solution with one place changed, as a slip of the pen would change it.
"""

import functools

import mutants
import pytest
from notebooks import ROOT, read
from syntax import without_magics

from finetuning.checks import CheckFailed


@functools.cache
def exercise_of(number):
    (path,) = (ROOT / "solutions").glob(f"{int(number.split('.')[0]):02}-*.ipynb")
    found = mutants.exercises(read(path))
    return next(exercise for exercise in found if exercise.number == number)


def told(number, old, new):
    """What the checks of an exercise say of its solution with `new` in place of `old`,
    on one line.
    """
    exercise = exercise_of(number)
    namespace = {"__name__": "exercise"}
    answers = [without_magics(cell.source) for cell in exercise.answers]
    assert sum(answer.count(old) for answer in answers) == 1
    for source in exercise.before:
        exec(source, namespace)
    for answer in answers:
        exec(answer.replace(old, new), namespace)
    with pytest.raises(CheckFailed) as failed:
        for source in exercise.checks:
            exec(source, namespace)
    return " ".join(str(failed.value).split())


# exercise, what stands there, what is written in its place, what is said, and what not
NEIGHBOURS = [
    ("0.1", "score = 1 + 2", "score = 2", "Multiply each count", "bias is +0.5"),
    ("0.1", "+ 0.5", "- 0.5", "Multiply each count", "bias is missing"),
    ("0.6", ".mean(dim=1)", ".mean(dim=0)", "the interval is [2.9", "set held"),
    ("0.6", ".mean(dim=1)", ".mean()", "the interval is [3.0", "set held"),
    ("0.7", "weight -= learning_rate * weight.grad", "pass", "not moved", "taken away"),
    ("1.1", "(2 + (2 + 1 / 3) / 7)", "(2 + 1)", "Above the line stands", "plain share"),
    ("1.4", "len(passages) /", "6 /", "is 0, and should be 2", "the logarithm"),
    (
        "2.1",
        "generator=generator) < 0.15",
        "generator=generator) < 2",
        "48,000 of 48,000 of the ordinary ones, and the input was changed at 43,",
        "plain sight",
    ),
    (
        "2.1",
        "generator=generator) < 0.15",
        "generator=generator) < -1",
        "no token has a label",
        "drawn by itself",
    ),
    (
        "2.1",
        ") & ~special",
        ") | ~special",
        "of these, and of the ordinary tokens 48,000 of 48,000",
        "as if it were chosen",
    ),
    (
        "2.1",
        "(fate < 0.8), mask_id",
        "(fate < 0.8), ~mask_id",
        "shown as an id outside the vocabulary of 5000, the first as -104.",
        "random token has",
    ),
    ("2.1", "ids.masked_fill(", "(ids + 1).masked_fill(", "the label at [0, ", "Take"),
    (
        "3.7",
        "token in made_of and token not in needed",
        "False",
        "the result is empty, and 5 merges are needed",
        "can never be made",
    ),
    (
        "4.1",
        "[0.0, 6.0]",
        "[0.0, 0.0]",
        "the query of *mouse* is (0, 0), so that every score is 0",
        "verbs of animals",
    ),
    (
        "4.1",
        "[0.0, 6.0]",
        "[0.0, -6.0]",
        "the query of *mouse* is (0, -6), and the key of *ate* (0, 2)",
        "in its vector",
    ),
    (
        "4.6",
        "self.key = nn.Linear(width, width // heads)",
        "self.key = nn.Linear(width // heads, width)",
        "it should map 8 to 4",
        "All heads share one set",
    ),
    ("5.4", "total * shrink", "total / shrink", "the output", "While a row has seen"),
    (
        "7.2",
        "feed_forward + 2 * norm",
        "feed_forward + norm",
        "one normalisation of an encoder's or a decoder's layer",
        "has three sublayers",
    ),
    (
        "7.2",
        "+ 3 * norm",
        "- 3 * norm",
        "or six normalisations",
        "The biases of the attention maps are missing",
    ),
    ("8.3", "argsort(dim=1)  #", "argsort(dim=0)  #", "ordinary tokens have a", "248"),
    (
        "10.1",
        "(scores - (-uniform.log()).log()).argmax",
        "((-uniform.log()).log() - scores).argmax",
        "id 4 is drawn every time, at 2,000 places and with 31 generators; it should "
        "be in 0% of the draws",
        "whatever the generator",
    ),
    ("10.1", "-torch.inf", "torch.inf", "the shares of the ids are", "never drawn"),
    ("10.1", "logits.float() / temperature", "logits.float()", "not used, or", "Does"),
    (
        "10.4",
        "drawn = sample_replacements(logits, generator)",
        "drawn = logits.argmin(dim=-1)",
        "shown as an id that the guess gives no probability",
        "without a look at the original",
    ),
    (
        "10.4",
        "masked_fill(places, mask_id)",
        "masked_fill(places, ~mask_id)",
        "should have `mask_id`, 17, at every hidden place, and has -18 at",
        "and only there",
    ),
    ("11.7", "schedule.step()", "pass", "and a rate above 0", "must have made"),
    ("11.7", "optimizer.step()", "pass", "the step itself", "must have made"),
]


@pytest.mark.parametrize(
    ("number", "old", "new", "said", "not_said"),
    NEIGHBOURS,
    ids=[f"{number}-{place}" for place, (number, *_) in enumerate(NEIGHBOURS)],
)
def test_a_neighbour_of_a_known_mistake_is_not_taken_for_it(
    number, old, new, said, not_said
):
    message = told(number, old, new)
    assert said in message
    assert not_said not in message
