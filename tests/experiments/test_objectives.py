"""Chapter 10's experiment: FLOPs counted as torch counts them, equal starts, and what
is kept of it.
"""

import functools
import json

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from finetuning.data.streams import batches, blocks, corpus
from finetuning.experiments import ExperimentError, from_bits, objectives, results
from finetuning.experiments.engine import Results, Run
from finetuning.experiments.objectives import CONTROL, news
from finetuning.experiments.objectives.encoders import (
    LENGTH,
    VOCABULARY,
    CausalBert,
    configuration,
    random_encoder,
)
from finetuning.experiments.objectives.news import FEW, MANY
from finetuning.experiments.objectives.pretraining import (
    BEST_PEAK,
    CHAPTER_FLOPS,
    MASKING_RATE,
    MODELS,
    OBJECTIVES,
    STAGES,
    ReplacedTokenDetection,
    held_out,
    learning_rate_share,
    pretrain,
    step_flops,
)
from finetuning.scratch.layers import parameter_counts


@functools.cache
def short_run(objective: str, seed: int = 0):
    """Half a dozen steps: hardly more than the least budget that is accepted."""
    with pytest.raises(ValueError, match="give at least") as error:
        pretrain(objective, 1.0)
    least = float(str(error.value).split()[-1])
    return pretrain(objective, 1.05 * least, seed), 1.05 * least


def first_batch(length: int, rows: int) -> torch.Tensor:
    return next(
        batches(blocks(corpus(VOCABULARY).training, length, marks=True), rows, 0)
    )


# What is counted


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("length", "rows"), [(8, 6), (LENGTH, 3)])
def test_flops_are_those_that_torch_counts(objective, length, rows):
    model = MODELS[objective](0).train()
    with FlopCounterMode(display=False) as counter:
        loss, numbers = model(
            first_batch(length, rows), torch.Generator().manual_seed(0)
        )
        loss.backward()
    parts = step_flops(objective, length, rows, numbers["places"])
    assert sum(parts.values()) == counter.get_total_flops()


def test_flops_of_the_parts():
    for objective in OBJECTIVES:
        assert step_flops(objective)["encoder"] == step_flops("masked LM")["encoder"]
    assert step_flops("causal LM")["head"] > 6 * step_flops("masked LM")["head"]
    assert set(step_flops("replaced tokens")) == {
        "encoder",
        "head",
        "generator",
        "generator's head",
    }
    assert step_flops("replaced tokens") == step_flops("replaced tokens, 15 %")
    # without `places`, those of the mean
    mean = round(MASKING_RATE * 24 * (LENGTH - 2))
    assert step_flops("masked LM") == step_flops("masked LM", LENGTH, 24, mean)


def test_unknown_objective():
    for call in (step_flops, lambda name: pretrain(name, CHAPTER_FLOPS)):
        with pytest.raises(
            ValueError,
            match="there is no objective 'next sentence'; there are masked LM, ",
        ):
            call("next sentence")


@pytest.mark.parametrize("flops", [0, -1.0, float("nan"), 1e10])
def test_a_budget_that_is_too_small(flops):
    with pytest.raises(
        ValueError,
        match="does not pay for a step of causal LM in each stage: give at least",
    ):
        pretrain("causal LM", flops)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_least_budget_that_is_accepted_is_enough_and_is_not_exceeded(objective):
    pretrained, budget = short_run(objective)
    longest = max(
        sum(step_flops(objective, length, rows).values()) for _, length, rows in STAGES
    )
    # What is left does not pay for another step.
    assert budget - 3 * longest < pretrained.flops <= budget
    assert pretrained.steps >= 2 and pretrained.tokens == pretrained.steps * 768


# What is equal


def test_all_objectives_start_from_the_same_encoder():
    start = random_encoder(3).state_dict()
    for objective in OBJECTIVES:
        encoder = MODELS[objective](3).encoder()
        weights = encoder.state_dict()
        assert list(weights) == list(start)
        assert all(torch.equal(weights[name], start[name]) for name in start)
        assert isinstance(encoder, CausalBert) == (objective == "causal LM")
    other = random_encoder(4).state_dict()
    words = "embeddings.words.weight"
    assert not torch.equal(other[words], start[words])
    count = sum(parameter.numel() for parameter in random_encoder(0).parameters())
    assert count == sum(parameter_counts(configuration().shape()).values())


def test_only_the_causal_encoder_is_blind_to_what_follows():
    ids = first_batch(LENGTH, 2)
    changed = ids.clone()
    changed[:, 20] = 7
    for causal in (False, True):
        encoder = random_encoder(0, causal)
        with torch.no_grad():
            difference = (encoder(ids) - encoder(changed)).abs().amax(dim=(0, 2))
        same = difference < 1e-5  # (T,)
        assert same[:20].all() == causal and not same[20:].any()


@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing(causal):
    model = news.Classifier(random_encoder(0, causal)).eval()
    ids = first_batch(LENGTH, 2)[:, None]  # (B, 1, T)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, 0, 25:] = False
    with torch.no_grad():
        padded = model.features(ids, mask)
        short = model.features(ids[:1, :, :25], mask[:1, :, :25])
        more = model.features(
            torch.cat([ids, ids * 0], 1), torch.cat([mask, mask & False], 1)
        )
    torch.testing.assert_close(padded[:1], short, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded, more, atol=1e-5, rtol=1e-5)


def test_the_fifteen_per_cent_are_the_hidden_places():
    ids = first_batch(LENGTH, 24)
    models = [ReplacedTokenDetection(0, only) for only in (False, True)]
    losses = [model(ids, torch.Generator().manual_seed(5)) for model in models]
    everywhere, hidden = (numbers["loss"] for _, numbers in losses)
    assert losses[0][1]["generator loss"] == losses[1][1]["generator loss"]
    assert everywhere != hidden
    losses[1][0].backward()
    assert models[1].model.discriminator.output.weight.grad.abs().sum() > 0


def test_the_same_seed_gives_the_same_run_and_another_one_does_not():
    first, budget = short_run("replaced tokens")
    again = pretrain("replaced tokens", budget)
    other = pretrain("replaced tokens", budget, seed=1)
    assert first.log == again.log and first.log != other.log
    assert held_out(first, rows=50) == held_out(again, rows=50)
    weights = again.encoder.state_dict()
    assert all(
        torch.equal(tensor, weights[name])
        for name, tensor in first.encoder.state_dict().items()
    )


def test_it_learns_how_often_tokens_occur():
    pretrained = pretrain("causal LM", 1.5e11)
    loss = held_out(pretrained, rows=100)["loss"]
    assert loss < 7.3 < np.log(VOCABULARY) - 0.9
    assert pretrained.log["loss"][-1] < pretrained.log["loss"][0] - 0.8


def test_held_out_numbers_of_replaced_tokens_belong_together():
    seen = held_out(short_run("replaced tokens")[0])
    share = seen["replaced"]
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert seen["loss of the base rate"] == pytest.approx(entropy)
    assert seen["total"] == pytest.approx(
        seen["generator loss"] + 50 * seen["loss"], rel=1e-3
    )
    assert 0.1 < share < 0.16 and 0 <= seen["recall"] <= 1 and 0.3 < seen["auc"] <= 1


def test_the_rate_goes_up_then_down_to_zero():
    shares = [learning_rate_share(spent) for spent in (0, 0.025, 0.05, 0.5, 1.0)]
    assert 0 < shares[0] < 0.1 and shares[0] < shares[1] < shares[2] <= 1
    assert shares[3] == pytest.approx(0.5 / 0.95) and shares[4] == 0


# BBC News


def test_no_article_is_in_two_parts_and_none_of_the_validation_part_gets_a_label():
    parts = news.news()
    assert {part: len(articles.labels) for part, articles in parts.items()} == {
        "train": 1300,
        "validation": 327,
        "test": 500,
    }
    texts = [text for part in parts.values() for text in part.texts]
    assert len(set(texts)) == len(texts)
    for seed in range(3):
        few, many = news.draw(FEW, seed), news.draw(MANY, seed)
        assert len(set(many.tolist())) == MANY and many.max() < 1300
        assert few.tolist() == many[:FEW].tolist()
    assert news.draw(FEW, 0).tolist() != news.draw(FEW, 1).tolist()


def test_the_encoders_read_the_beginning_of_an_article():
    test = news.news()["test"]
    tokenizer = corpus(VOCABULARY).tokenizer
    shown = "".join(tokenizer.decode(ids.tolist()) for ids in test.ids[0])
    assert " ".join(test.texts[0].split()).startswith(shown) and len(shown) > 100
    assert ((test.ids != 0) == test.mask).all() and test.mask[:, 0, 0].all()


@pytest.mark.parametrize("labels", [0, -1, 1301])
def test_labels_that_there_are_not(labels):
    with pytest.raises(ValueError, match="1 to 1300 can be drawn"):
        news.draw(labels, 0)


def test_fine_tuning_trains_a_copy(monkeypatch):
    monkeypatch.setattr(news, "EPOCHS", {20: 20})
    encoder = random_encoder(0)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    model = news.fine_tune(encoder, 20, 0, 1e-3)
    weights = encoder.state_dict()
    assert all(torch.equal(weights[name], before[name]) for name in before)
    words = "embeddings.words.weight"
    assert not torch.equal(model.encoder.state_dict()[words], before[words])
    rows = news.draw(20, 0)
    train = news.news()["train"]
    with torch.no_grad():
        guesses = model(train.ids[rows], train.mask[rows]).argmax(dim=1).numpy()
    assert (guesses == train.labels[rows]).mean() > 0.8


def test_the_head_learns_faster_and_every_weight_is_trained_once():
    model = news.Classifier(random_encoder(0))
    groups = news.parameter_groups(model, 1e-3)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups)
    assert rates.keys() == {id(p) for p in model.parameters()}
    assert rates[id(model.head.weight)] == rates[id(model.head.bias)] == 1e-2
    assert {rates[id(p)] for p in model.encoder.parameters()} == {1e-3}
    for group in groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


def test_a_probe_leaves_the_encoder_alone_and_reads_standardised_means():
    encoder = random_encoder(0)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    model = news.probe(encoder, MANY, 0)
    weights = encoder.state_dict()
    assert all(torch.equal(weights[name], before[name]) for name in before)
    rows = news.draw(MANY, 0)
    train = news.news()["train"]
    with torch.no_grad():
        vectors = model.features(train.ids[rows], train.mask[rows])
    assert vectors.mean(dim=0).abs().max() < 1e-3
    assert (vectors.std(dim=0) - 1).abs().max() < 1e-2
    right = news.right(model)
    assert right.shape == (500,) and right.dtype == bool
    assert right.mean() > 0.35  # chance is 0.2, the largest topic 0.23


def test_a_draw_without_a_topic():
    with pytest.raises(ValueError, match="not every topic is among these 4 articles"):
        news.probe(random_encoder(0), 4, 0)


def test_the_opening_is_worth_less_than_the_article():
    whole, opening = (
        news.counted_words(MANY, 0, opening).mean() for opening in (False, True)
    )
    assert whole > 0.95 and 0.8 < opening < whole


# The runs


def trials(objective: str, losses: dict[float, dict[str, float]]) -> Results:
    runs = [
        Run({"tried": objective, "peak": peak}, {"held out": loss}, {})
        for peak, loss in losses.items()
    ]
    return Results("objectives", {}, tuple(runs))


def test_a_run_is_pretrained_with_the_best_rate_and_tried_on_the_news(monkeypatch):
    monkeypatch.setattr(news, "FEW", 30)
    monkeypatch.setattr(news, "MANY", 40)
    monkeypatch.setattr(news, "EPOCHS", {30: 1})
    monkeypatch.setattr(news, "LEARNING_RATES", (6e-4,))
    monkeypatch.setattr(objectives, "DRAWS", 1)
    kept = trials("causal LM", {peak: {"loss": 1 / peak} for peak in objectives.PEAKS})
    budget = short_run("causal LM")[1]
    key = {"method": "causal LM", "budget": budget, "seed": 0}
    result = json.loads(json.dumps(objectives.run(key, kept)))
    assert result["peak"] == max(objectives.PEAKS) and result["flops"] <= budget
    assert len(result["log"]["loss"]) == result["steps"]
    assert set(result["labels"]) == {"30", "40"}
    for labelled in result["labels"].values():
        assert labelled["rate"] == 6e-4 and list(labelled["validation"]) == ["0.0006"]
        for kind in ("right", "probe"):
            assert [len(from_bits(bits)) for bits in labelled[kind]] == [500]


def test_the_best_learning_rate_is_the_one_that_guesses_tokens_best():
    peaks = objectives.PEAKS
    kept = trials("causal LM", {peak: {"loss": abs(peak - 8e-4)} for peak in peaks})
    assert objectives.best_peak(kept, "causal LM") == 8e-4
    # The discriminator's loss is lowest where the generator is worst.
    losses = {peak: {"loss": peak, "generator loss": 1 - peak} for peak in peaks}
    kept = trials("replaced tokens", losses)
    assert objectives.best_peak(kept, "replaced tokens") == max(peaks)
    with pytest.raises(
        ExperimentError, match='first make the runs with --only "tried='
    ):
        objectives.best_peak(kept, "masked LM")


def test_tables_pair_what_belongs_together():
    def run(method, budget, seed, *right):
        key = {"method": method, "budget": budget, "seed": seed}
        return Run(key, {"labels": {"50": {"right": list(right)}, "800": {}}}, {})

    kept = Results(
        "objectives",
        {},
        (
            run("masked LM", 1.0, 0, "1100", "1111"),
            run("masked LM", 1.0, 1, "1000", "1000"),
            run("masked LM", 2.0, 0, "0000", "0000"),
            run(CONTROL, 0, 1, "0000", "0000"),
            run(CONTROL, 0, 0, "1000", "1111"),
            run("causal LM", 1.0, 0, "1111"),
        ),
    )
    table = objectives.table(kept, 1.0)
    # One seed has no interval.
    assert set(table) == {("masked LM", 50), (CONTROL, 50)}
    assert table["masked LM", 50].mean == pytest.approx((0.75 + 0.25) / 2)
    ahead = objectives.ahead(kept, 1.0, "masked LM", CONTROL, 50)
    assert ahead.mean == pytest.approx((0.125 + 0.25) / 2)
    with pytest.raises(ValueError, match="at least two"):
        objectives.ahead(kept, 1.0, "masked LM", "causal LM", 50)


# What is kept


def test_kept_runs_are_complete_and_within_their_budget():
    for run in results("objectives"):
        if "tried" in run.key:
            continue
        if run["budget"]:
            assert 0.995 * run["budget"] < run["flops"] <= run["budget"]
            assert run["peak"] == BEST_PEAK[run["method"]]
            assert len(run["log"]["loss"]) == 40
            assert run["tokens"] == 768 * run["steps"]
        counted = run["method"] in objectives.COUNTS
        for labels in (FEW, MANY):
            labelled = run["labels"][str(labels)]
            for kind in ("right",) if counted else ("right", "probe"):
                draws = [from_bits(bits) for bits in labelled[kind]]
                assert [len(right) for right in draws] == [500] * objectives.DRAWS
            if not counted:
                validation = {
                    float(rate): share for rate, share in labelled["validation"].items()
                }
                assert set(validation) == set(news.LEARNING_RATES)
                assert validation[labelled["rate"]] == max(validation.values())


def test_the_chapters_learning_rates_are_the_best_that_were_tried():
    kept = results("objectives")
    best = {name: objectives.best_peak(kept, name) for name in OBJECTIVES}
    assert best == BEST_PEAK


def test_every_method_has_an_interval():
    kept = results("objectives")
    for budget in objectives.BUDGETS:
        methods = {method for method, _ in objectives.table(kept, budget)}
        assert methods == {*OBJECTIVES, CONTROL, *objectives.COUNTS}
        frozen = {method for method, _ in objectives.table(kept, budget, "probe")}
        assert frozen == {*OBJECTIVES, CONTROL}
    assert objectives.BUDGETS == (CHAPTER_FLOPS, 10 * CHAPTER_FLOPS)
