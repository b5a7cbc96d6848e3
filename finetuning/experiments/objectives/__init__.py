"""Chapter 10's experiment: four objectives, one encoder, equal FLOPs, and what the
encoders are worth on BBC News.

Every objective is pre-trained with three seeds on the chapter's budget and on ten times
that, and fine-tuned on BBC News; so is the encoder with random weights, and words are
counted. One thread of a CPU core needs about an hour. `encoders` has the encoder,
`pretraining` the objectives, `news` the task; this module has the runs, and the table
that chapter 10 draws.
"""

import numpy as np

from finetuning.experiments.engine import (
    Experiment,
    ExperimentError,
    Key,
    Results,
    from_bits,
    to_bits,
)
from finetuning.experiments.objectives import news
from finetuning.experiments.objectives.encoders import (
    configuration,
    generator_configuration,
    random_encoder,
)
from finetuning.experiments.objectives.pretraining import (
    CHAPTER_FLOPS,
    MASKING_RATE,
    OBJECTIVES,
    PEAKS,
    STAGES,
    TENFOLD_FLOPS,
    WARM_UP,
    Pretrained,
    held_out,
    pretrain,
)
from finetuning.scratch.bert import Bert
from finetuning.statistics import Interval, mean_interval

CONTROL = "random weights"
# Words, counted: of the opening alone?
COUNTS = {"TF-IDF": False, "TF-IDF, opening": True}
BUDGETS = (CHAPTER_FLOPS, TENFOLD_FLOPS)
SEEDS = 3
DRAWS = 3  # of labels for each seed


def keys() -> list[Key]:
    """All runs in their order: learning rates first, then the controls, then the
    budgets seed by seed.
    """
    tried = [
        {"tried": objective, "peak": peak} for objective in OBJECTIVES for peak in PEAKS
    ]
    controls = [
        {"method": method, "budget": 0, "seed": seed}
        for seed in range(SEEDS)
        for method in (*COUNTS, CONTROL)
    ]
    runs = [
        {"method": objective, "budget": budget, "seed": seed}
        for seed in range(SEEDS)
        for budget in BUDGETS
        for objective in OBJECTIVES
    ]
    return tried + controls + runs


def run(key: Key, kept: Results) -> dict[str, object]:
    """One of `keys`. A budget's run needs the kept runs that tried learning rates.

    Raises ExperimentError if they are missing.
    """
    if "tried" in key:
        return summary(pretrain(key["tried"], CHAPTER_FLOPS, 0, key["peak"]))
    method = key["method"]
    seed = key["seed"]
    if method in COUNTS:
        return {"labels": count_words(COUNTS[method], seed)}
    if method == CONTROL:
        return {"labels": on_news(random_encoder(seed), seed)}
    peak = best_peak(kept, method)
    pretrained = pretrain(method, key["budget"], seed, peak)
    return {
        "peak": peak,
        **summary(pretrained),
        "labels": on_news(pretrained.encoder, seed),
    }


def summary(pretrained: Pretrained) -> dict[str, object]:
    """What is kept of a pre-training, beside the encoder's worth."""
    return {
        "flops": pretrained.flops,
        "steps": pretrained.steps,
        "tokens": pretrained.tokens,
        "pre-training seconds": round(pretrained.seconds, 1),
        "held out": {
            name: round(value, 4) for name, value in held_out(pretrained).items()
        },
        "log": pretrained.log,
    }


def best_peak(kept: Results, objective: str) -> float:
    """The learning rate with the lowest loss in guessing tokens of held-out speeches.

    For replaced-token detection it is the generator's. The discriminator's would not
    do: it is lowest where the fakes are so bad that all see them. Raises
    ExperimentError if a rate has not been tried.
    """
    losses = {}
    for trial in kept.select(tried=objective):
        seen = trial["held out"]
        losses[trial["peak"]] = seen.get("generator loss", seen["loss"])
    if set(losses) != set(PEAKS):
        raise ExperimentError(
            f"the learning rates of {objective!r} have not all been tried yet: first "
            f'make the runs with --only "tried={objective}"'
        )
    return min(losses, key=losses.__getitem__)


def draws_of(seed: int) -> range:
    """The draws of labels that belong to a seed."""
    return range(DRAWS * seed, DRAWS * seed + DRAWS)


def count_words(opening: bool, seed: int) -> dict[int, dict[str, object]]:
    """By number of labels: which test articles are right, for each draw."""
    return {
        labels: {
            "right": [
                to_bits(news.counted_words(labels, draw, opening))
                for draw in draws_of(seed)
            ]
        }
        for labels in (news.FEW, news.MANY)
    }


def on_news(encoder: Bert, seed: int) -> dict[int, dict[str, object]]:
    """By number of labels: which test articles are right, fine-tuned and frozen.

    Fine-tuned with the learning rate that is best on the validation part for the seed's
    first draw.
    """
    results = {}
    for labels in (news.FEW, news.MANY):
        first, *others = draws_of(seed)
        models = {
            rate: news.fine_tune(encoder, labels, first, rate)
            for rate in news.LEARNING_RATES
        }
        validation = {
            rate: round(float(news.right(model, "validation").mean()), 4)
            for rate, model in models.items()
        }
        best = max(validation, key=validation.__getitem__)
        tuned = [models[best]]
        tuned += [news.fine_tune(encoder, labels, draw, best) for draw in others]
        probes = [news.probe(encoder, labels, draw) for draw in draws_of(seed)]
        results[labels] = {
            "rate": best,
            "validation": validation,
            "right": [to_bits(news.right(model)) for model in tuned],
            "probe": [to_bits(news.right(model)) for model in probes],
        }
    return results


def accuracies(
    kept: Results, method: str, budget: float, labels: int, kind: str = "right"
) -> dict[int, float]:
    """Accuracy on the test articles by seed, the mean over the draws of labels.

    `kind` is "right" (fine-tuned) or "probe". Controls and word counts have a budget of
    0 and belong to every other.
    """
    runs = [*kept.select(method=method, budget=0)]
    runs += kept.select(method=method, budget=budget)
    means = {}
    for run in runs:
        draws = run["labels"][str(labels)].get(kind)
        if draws:
            means[run["seed"]] = float(np.mean([from_bits(bits) for bits in draws]))
    return means


def table(
    kept: Results, budget: float, kind: str = "right"
) -> dict[tuple[str, int], Interval]:
    """Accuracy on the test articles by method and number of labels, with a 95 %
    interval over the seeds.

    A seed is a pre-training and `DRAWS` draws of labels, whose mean is one number. A
    method with fewer than two seeds is left out.
    """
    intervals = {}
    for method in (*COUNTS, CONTROL, *OBJECTIVES):
        for labels in (news.FEW, news.MANY):
            means = accuracies(kept, method, budget, labels, kind)
            if len(means) > 1:
                intervals[method, labels] = mean_interval(list(means.values()))
    return intervals


def ahead(
    kept: Results,
    budget: float,
    first: str,
    second: str,
    labels: int,
    kind: str = "right",
) -> Interval:
    """Accuracy of one method minus another's, with an interval over the seeds, each
    with the same draws.

    Raises ValueError if they have fewer than two seeds in common.
    """
    firsts = accuracies(kept, first, budget, labels, kind)
    seconds = accuracies(kept, second, budget, labels, kind)
    seeds = sorted(firsts.keys() & seconds.keys())
    return mean_interval([firsts[seed] - seconds[seed] for seed in seeds])


EXPERIMENT = Experiment(
    name="objectives",
    chapter=10,
    settings={
        "encoder": vars(configuration()),
        "generator": vars(generator_configuration()),
        "pre-training": {"stages": STAGES, "hidden": MASKING_RATE, "warm-up": WARM_UP},
        "budgets": BUDGETS,
        "peaks": PEAKS,
        "fine-tuning": {
            "epochs": news.EPOCHS,
            "rates": news.LEARNING_RATES,
            "windows": news.WINDOWS,
            "head": news.HEAD_FACTOR,
        },
    },
    keys=keys(),
    run=run,
)
