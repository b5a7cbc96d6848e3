"""Chapter 10's experiment: FLOPs counted as torch counts them, equal starts, and what
is kept of it.
"""

import json

import numpy as np
import pytest
import torch
from recipe_support import load_recipe
from torch.utils.flop_counter import FlopCounterMode

from finetuning.data.streams import batches, blocks, corpus
from finetuning.experiments import objectives
from finetuning.experiments.objectives import (
    CHAPTER_FLOPS,
    CONTROL,
    FEW,
    LENGTH,
    MANY,
    OBJECTIVES,
    PEAKS,
    STAGES,
    VALIDATION,
    VOCABULARY,
    CausalBert,
    step_flops,
)
from finetuning.scratch.layers import parameter_counts

TINY = 6e10  # FLOPs: a dozen steps


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("objectives")


@pytest.fixture(scope="module")
def kept():
    return objectives.kept()


def first_batch(length: int, rows: int) -> torch.Tensor:
    return next(
        batches(blocks(corpus(VOCABULARY).training, length, marks=True), rows, 0)
    )


# What is counted


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("length", "rows"), [stage[1:] for stage in STAGES])
def test_flops_are_those_that_torch_counts(objective, length, rows):
    game = objectives._GAMES[objective](0).train()
    with FlopCounterMode(display=False) as counter:
        loss, numbers = game(
            first_batch(length, rows), torch.Generator().manual_seed(0)
        )
        loss.backward()
    assert (
        sum(step_flops(objective, length, rows, numbers["places"]).values())
        == counter.get_total_flops()
    )


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
    mean = round(objectives.RATE * 24 * (LENGTH - 2))
    assert step_flops("masked LM") == step_flops("masked LM", LENGTH, 24, mean)


def test_unknown_objective():
    for call in (step_flops, lambda name: objectives.pretrain(name, TINY)):
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
        objectives.pretrain("causal LM", flops)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_least_budget_that_is_accepted_is_enough_and_none_is_exceeded(objective):
    with pytest.raises(ValueError) as error:
        objectives.pretrain(objective, 1.0)
    least = float(str(error.value).split()[-1]) * 1.05
    for flops in (least, TINY):
        found = objectives.pretrain(objective, flops)
        longest = max(
            sum(step_flops(objective, length, rows).values())
            for _, length, rows in STAGES
        )
        assert 0 < found.flops <= flops
        assert (
            found.flops > flops - 3 * longest
        )  # what is left does not pay for another step
        assert found.tokens == found.steps * 768


# What is equal


def test_all_objectives_start_from_the_same_encoder():
    start = objectives.random_encoder(3).state_dict()
    for objective in OBJECTIVES:
        encoder = objectives._GAMES[objective](3).encoder()
        weights = encoder.state_dict()
        assert list(weights) == list(start)
        assert all(torch.equal(weights[name], start[name]) for name in start)
        assert isinstance(encoder, CausalBert) == (objective == "causal LM")
    other = objectives.random_encoder(4).state_dict()
    assert not torch.equal(
        other["embeddings.words.weight"], start["embeddings.words.weight"]
    )
    count = sum(
        parameter.numel() for parameter in objectives.random_encoder(0).parameters()
    )
    assert count == sum(parameter_counts(objectives.configuration().shape()).values())


def test_only_the_causal_encoder_is_blind_to_what_follows():
    ids = first_batch(LENGTH, 2)
    changed = ids.clone()
    changed[:, 20] = 7
    for causal in (False, True):
        encoder = objectives.random_encoder(0, causal)
        with torch.no_grad():
            same = (encoder(ids) - encoder(changed)).abs().amax(
                dim=(0, 2)
            ) < 1e-5  # (T,)
        assert same[:20].all() == causal and not same[20:].any()


@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing(causal):
    encoder = objectives.random_encoder(0, causal)
    model = objectives.Classifier(encoder).eval()
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
    games = [objectives.Replaced(0, only) for only in (False, True)]
    losses = [game(ids, torch.Generator().manual_seed(5)) for game in games]
    everywhere, hidden = (numbers["loss"] for _, numbers in losses)
    assert losses[0][1]["generator loss"] == losses[1][1]["generator loss"]
    assert everywhere != hidden
    losses[1][0].backward()
    assert games[1].model.discriminator.output.weight.grad.abs().sum() > 0


def test_the_same_seed_gives_the_same_run_and_another_one_does_not():
    first, again, other = (
        objectives.pretrain("replaced tokens", TINY, seed) for seed in (0, 0, 1)
    )
    assert first.log == again.log and first.log != other.log
    assert objectives.held_out(first) == objectives.held_out(again)
    weights = again.encoder.state_dict()
    assert all(
        torch.equal(tensor, weights[name])
        for name, tensor in first.encoder.state_dict().items()
    )


@pytest.mark.parametrize("objective", ["masked LM", "causal LM"])
def test_it_learns_how_often_tokens_occur(objective):
    found = objectives.pretrain(objective, 2e11)
    assert objectives.held_out(found)["loss"] < 7.3 < np.log(VOCABULARY) - 0.9
    assert found.log["loss"][-1] < found.log["loss"][0] - 0.8


def test_held_out_numbers_of_replaced_tokens_belong_together():
    found = objectives.held_out(objectives.pretrain("replaced tokens", TINY))
    share = found["replaced"]
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert found["loss of the base rate"] == pytest.approx(entropy)
    assert found["total"] == pytest.approx(
        found["generator loss"] + 50 * found["loss"], rel=1e-3
    )
    assert 0.1 < share < 0.15 and 0 <= found["recall"] <= 1 and 0.3 < found["auc"] <= 1


def test_the_rate_goes_up_then_down_to_zero():
    shares = [objectives._rate_share(spent) for spent in (0, 0.025, 0.05, 0.5, 1.0)]
    assert 0 < shares[0] < 0.1 and shares[0] < shares[1] < shares[2] <= 1
    assert shares[3] == pytest.approx(0.5 / 0.95) and shares[4] == 0


# BBC News


def test_no_article_is_in_two_parts_and_none_of_the_validation_part_gets_a_label():
    parts = objectives.news()
    assert [len(parts[part].labels) for part in ("train", "validation", "test")] == [
        1300,
        VALIDATION,
        500,
    ]
    texts = [text for part in parts.values() for text in part.texts]
    assert len(set(texts)) == len(texts)
    for seed in range(3):
        few, many = objectives.draw(FEW, seed), objectives.draw(MANY, seed)
        assert len(set(many.tolist())) == MANY and many.max() < 1300
        assert few.tolist() == many[:FEW].tolist()
    assert objectives.draw(FEW, 0).tolist() != objectives.draw(FEW, 1).tolist()


def test_the_encoders_read_the_beginning_of_an_article():
    test = objectives.news()["test"]
    tokenizer = corpus(VOCABULARY).tokenizer
    shown = "".join(tokenizer.decode(ids.tolist()) for ids in test.ids[0])
    assert " ".join(test.texts[0].split()).startswith(shown) and len(shown) > 100
    assert ((test.ids != 0) == test.mask).all() and test.mask[:, 0, 0].all()


@pytest.mark.parametrize("labels", [0, -1, 1301])
def test_labels_that_there_are_not(labels):
    with pytest.raises(ValueError, match="1 to 1300 can be drawn"):
        objectives.draw(labels, 0)


def test_fine_tuning_trains_a_copy(monkeypatch):
    monkeypatch.setattr(objectives, "EPOCHS", {20: 20})
    encoder = objectives.random_encoder(0)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    model = objectives.fine_tune(encoder, 20, 0, 1e-3)
    assert all(
        torch.equal(tensor, before[name])
        for name, tensor in encoder.state_dict().items()
    )
    assert not torch.equal(
        model.encoder.embeddings.words.weight, encoder.embeddings.words.weight
    )
    right = objectives.right(model)
    assert right.shape == (500,) and right.dtype == bool
    rows, train = objectives.draw(20, 0), objectives.news()["train"]
    with torch.no_grad():
        fitted = model(train.ids[rows], train.mask[rows]).logits.argmax(dim=1).numpy()
    assert (fitted == train.labels[rows]).mean() > 0.8
    assert objectives.accuracy_after(encoder, 20, 0, 1e-3) == pytest.approx(
        right.mean()
    )


def test_a_probe_leaves_the_encoder_alone_and_reads_standardised_means():
    encoder = objectives.random_encoder(0)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    model = objectives.probe(encoder, MANY, 0)
    assert all(
        torch.equal(tensor, before[name])
        for name, tensor in encoder.state_dict().items()
    )
    rows, train = objectives.draw(MANY, 0), objectives.news()["train"]
    with torch.no_grad():
        vectors = model.features(train.ids[rows], train.mask[rows])
    # not zero and one exactly: standardised in bfloat16, looked at in float32
    assert (
        vectors.mean(dim=0).abs().max() < 0.2
        and (vectors.std(dim=0) - 1).abs().max() < 0.05
    )
    assert (
        objectives.right(model).mean() > 0.35
    )  # chance is 0.2, the largest topic 0.23


def test_a_draw_without_a_topic():
    with pytest.raises(ValueError, match="not every topic is among these 4 articles"):
        objectives.probe(objectives.random_encoder(0), 4, 0)


def test_the_opening_is_worth_less_than_the_article():
    whole, opening = (
        objectives.counting_words(MANY, 0, opening).mean() for opening in (False, True)
    )
    assert whole > 0.95 and 0.8 < opening < whole


# The recipe


@pytest.fixture
def small(recipe, monkeypatch, tmp_path):
    """The recipe with three short runs."""
    monkeypatch.setattr(recipe, "CHAPTER_FLOPS", TINY)
    monkeypatch.setattr(recipe, "FINE_TUNING_RATES", (6e-4,))
    monkeypatch.setattr(recipe, "FEW", 30)
    monkeypatch.setattr(recipe, "MANY", 40)
    monkeypatch.setattr(objectives, "EPOCHS", {30: 1})
    jobs = [
        {"tried": "causal LM", "peak": 8e-4},
        {"method": "TF-IDF", "budget": 0, "seed": 0},
        {"method": "causal LM", "budget": TINY, "seed": 0},
    ]
    monkeypatch.setattr(recipe, "tasks", lambda: jobs)
    return tmp_path / "kept" / "objectives.json"


def test_a_run_is_kept_and_the_next_call_goes_on(recipe, small, monkeypatch):
    output = ["--output", str(small)]
    recipe.main([*output, "--most", "0"])
    assert not small.exists()
    recipe.main([*output, "--most", "1"])
    first = small.read_text(encoding="utf-8")
    assert len(json.loads(first)["tried"]) == 1 and not json.loads(first)["runs"]

    def broken(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "run", broken)
        with pytest.raises(KeyboardInterrupt):
            recipe.main(output)
    assert (
        small.read_text(encoding="utf-8") == first
    )  # nothing is lost, and nothing half written
    recipe.main(output)
    found = objectives.kept(small)
    assert [each["tried"] for each in found["tried"]] == ["causal LM"]
    assert [each["method"] for each in found["runs"]] == ["TF-IDF", "causal LM"]
    assert json.loads(first)["tried"] == found["tried"]
    run = found["runs"][1]
    assert run["peak"] == 8e-4 and run["flops"] <= TINY and run["log"]["loss"]
    assert (
        set(run["labels"]) == {"30", "40"}
        and len(run["labels"]["30"]["right"]) == objectives.DRAWS
    )
    assert {"command", "versions", "machine", "seconds", "date"} <= set(run)
    assert not small.with_suffix(".part").exists()
    recipe.main([*output, "--seed", "1"])
    recipe.main(output)  # nothing left to do
    assert objectives.kept(small) == found


def test_results_of_other_settings_are_refused(recipe, small, capsys):
    recipe.main(["--output", str(small), "--most", "1"])
    found = json.loads(small.read_text(encoding="utf-8"))
    found["settings"]["peaks"] = [1.0]
    small.write_text(json.dumps(found), encoding="utf-8")
    before = small.read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        recipe.main(["--output", str(small)])
    assert (
        "objectives.json was made with other settings (peaks), and results"
        in capsys.readouterr().err
    )
    assert small.read_text(encoding="utf-8") == before


def test_no_kept_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run python recipes/objectives\.py"):
        objectives.kept(tmp_path / "objectives.json")


def test_the_best_learning_rate_is_the_one_that_guesses_tokens_best(recipe):
    tried = [
        {"tried": "causal LM", "peak": 1e-3, "held out": {"loss": 6.0}},
        {"tried": "causal LM", "peak": 2e-3, "held out": {"loss": 5.0}},
        {
            "tried": "replaced tokens",
            "peak": 1e-3,
            "held out": {"loss": 0.3, "generator loss": 7.0},
        },
        {
            "tried": "replaced tokens",
            "peak": 2e-3,
            "held out": {"loss": 0.4, "generator loss": 6.0},
        },
    ]
    assert [
        recipe.best_peak(tried, name) for name in ("causal LM", "replaced tokens")
    ] == [2e-3, 2e-3]


def test_tables_pair_what_belongs_together():
    def run(method, budget, seed, *right):
        return {
            "method": method,
            "budget": budget,
            "seed": seed,
            "labels": {"50": {"right": list(right)}},
        }

    found = {
        "runs": [
            run("a", 1.0, 0, "1100", "1111"),
            run("a", 1.0, 1, "1000", "1000"),
            run("a", 2.0, 0, "0000", "0000"),
            run("b", 0, 1, "0000", "0000"),
            run("b", 0, 0, "1000", "1111"),
            run("c", 1.0, 0, "1111"),
        ]
    }
    table = objectives.table(found, 1.0)
    assert set(table) == {("a", 50), ("b", 50)}  # one seed has no interval
    assert table["a", 50].mean == pytest.approx((0.75 + 0.25) / 2)
    assert objectives.ahead(found, 1.0, "a", "b", 50).mean == pytest.approx(
        (0.125 + 0.25) / 2
    )
    with pytest.raises(ValueError, match="at least two"):
        objectives.ahead(found, 1.0, "a", "c", 50)
    assert objectives.kept_run(found, "b", 0, 1)["seed"] == 1
    assert objectives.kept_run(found, "b", 0, 2) is None


# What is kept


def test_every_run_of_the_recipe_is_kept_once(recipe, kept):
    tried = [(each["tried"], each["peak"]) for each in kept["tried"]]
    assert sorted(tried) == sorted(
        (objective, peak) for objective in OBJECTIVES for peak in PEAKS
    )
    keys = [(run["method"], run["budget"], run["seed"]) for run in kept["runs"]]
    wanted = [tuple(task.values()) for task in recipe.tasks() if "method" in task]
    assert sorted(keys) == sorted(wanted)
    for each in kept["tried"] + kept["runs"]:
        assert each["command"] == "python recipes/objectives.py"
        assert set(each["machine"]) == {
            "device",
            "architecture",
            "cpu_capability",
            "cores",
            "threads",
            "bfloat16",
        }
        assert {"torch", "numpy"} <= set(each["versions"]) and each["seconds"] > 0


def test_kept_runs_are_complete_and_within_their_budget(recipe, kept):
    for run in kept["runs"]:
        if run["budget"]:
            assert 0.995 * run["budget"] < run["flops"] <= run["budget"]
            assert (
                run["peak"] == objectives.PEAK[run["method"]]
                and len(run["log"]["loss"]) == 40
            )
            assert run["tokens"] == 768 * run["steps"]
        for labels in (FEW, MANY):
            results = run["labels"][str(labels)]
            for kind in (
                ("right",) if run["method"] in recipe.COUNTS else ("right", "probe")
            ):
                assert len(results[kind]) == objectives.DRAWS
                assert all(
                    len(bits) == 500 and set(bits) <= {"0", "1"}
                    for bits in results[kind]
                )
            if run["method"] not in recipe.COUNTS:
                validation = {
                    float(rate): share for rate, share in results["validation"].items()
                }
                assert set(validation) == set(objectives.FINE_TUNING_RATES)
                assert validation[results["rate"]] == max(validation.values())


def test_the_chapters_learning_rates_are_the_best_that_were_tried(recipe, kept):
    best = {
        objective: recipe.best_peak(kept["tried"], objective)
        for objective in OBJECTIVES
    }
    assert best == objectives.PEAK


def test_every_method_has_an_interval(recipe, kept):
    for budget in recipe.BUDGETS:
        methods = {method for method, _ in objectives.table(kept, budget)}
        assert methods == {*OBJECTIVES, CONTROL, *recipe.COUNTS}
        assert {method for method, _ in objectives.table(kept, budget, "probe")} == {
            *OBJECTIVES,
            CONTROL,
        }
    assert recipe.BUDGETS == (CHAPTER_FLOPS, 10 * CHAPTER_FLOPS)


def test_counting_words_gives_the_kept_result_again(kept):
    run = objectives.kept_run(kept, "TF-IDF, opening", 0, 0)
    right = objectives.counting_words(FEW, 0, opening=True)
    # A few articles may lie so near the boundary that another linear algebra library
    # decides otherwise.
    assert (
        np.mean(right == (np.array(list(run["labels"][str(FEW)]["right"][0])) == "1"))
        > 0.99
    )
