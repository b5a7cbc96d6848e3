"""Wrong answers to chapter 20's exercises, each with a part of its diagnosis."""

from finetuning.scratch.serving import running_mean


def without_the_number(x):
    return running_mean(x)


def of_the_whole(x):
    return x.mean()


def shifted(x):
    return running_mean(x) + 0.5


# TODO: at least three a check, each of a kind that a learner really makes.
MISTAKES = [
    (without_the_number, "this is the running mean alone"),
    (of_the_whole, "has shape ()"),
    (shifted, "the result is"),
]
WRONG = {f"exercise_{number}": list(MISTAKES) for number in range(1, 6)}
