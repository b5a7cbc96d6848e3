"""Chapter 18's experiments: parts that are apart, prompts, rate and seeds chosen on the
validation strings, an adapter that is that of the kept run, placeholders that survive.
"""

import dataclasses

import numpy as np
import pytest

from finetuning.data.catalogues import JUPYTERLAB
from finetuning.experiments import back_translation, headlines, results
from finetuning.experiments import interface_strings as strings
from finetuning.experiments.engine import ExperimentError, Results, Run
from finetuning.scratch.translation import Memory, placeholders, survived
from finetuning.tuning import CARD, SHIPPED, card, loss_figures, recipe


def test_parts_are_apart():
    parts = [
        strings.training(),
        strings.validation(),
        strings.test(),
        strings.test(JUPYTERLAB),
    ]
    assert [len(part) for part in parts] == [480, 61, 194, strings.JUPYTERLAB]
    sources = [each.source.casefold() for part in parts for each in part]
    assert len(set(sources)) == len(sources)


def test_of_the_other_product_nothing_is_left_as_it_was():
    for core in (True, False):
        rows = strings.other_product(core)
        assert {each.catalogue == "jupyterlab" for each in rows} == {core}
        assert all(each.source != each.target for each in rows)


def test_every_training_pair_is_seen_once():
    assert len(strings.chats()) == strings.TRAINING


def test_strings_that_are_held_have_a_placeholder_and_those_with_terms_none():
    assert len(strings.held(JUPYTERLAB)) == strings.HELD
    assert len(strings.held()) == len(strings.held_places()) == 58
    for part in strings.PARTS:
        assert all(placeholders(each.source) for each in strings.held(part))
    assert len(strings.with_terms()) == strings.TERMS
    for each in strings.with_terms():
        assert strings.terms_in(each.source) and not placeholders(each.source)
    tested = {each.source for each in strings.test(JUPYTERLAB)}
    assert not tested & {each.source for each in strings.with_terms()}


def test_a_request_for_terms_names_those_of_the_string():
    entry = next(each for each in strings.with_terms() if "ernel" in each.source)
    system, user = strings.asked_for_terms(entry)
    assert "kernel" in system["content"] and "noyau" in system["content"]
    assert "serveur" not in system["content"] or "erver" in entry.source
    assert user["content"] == entry.source


@pytest.mark.parametrize("asked", [False, True])
def test_few_shot_prompts_show_terms_that_were_obeyed(asked):
    entry = strings.with_terms()[0]
    (prompt,) = strings.shown_terms([entry], asked)
    assert len(prompt) == 8
    for user, answer in zip(prompt[1:7:2], prompt[2:7:2], strict=True):
        request, _, text = user["content"].rpartition("\n")
        assert (request == strings.use_terms(text)) is asked
        for term in strings.terms_in(text):
            assert strings.GLOSSARY[term] in answer["content"].lower()
    assert prompt[-1]["content"].endswith(entry.source)
    assert (prompt[-1]["content"] != entry.source) is asked


def test_masked_terms_are_placeholders():
    rows = strings.with_terms()
    chats, terms = strings.masked_terms(rows)
    for each, chat, own in zip(rows, chats, terms, strict=True):
        assert len(own) == len(strings.terms_in(each.source)) >= 1
        assert placeholders(chat[-1]["content"]) == dict.fromkeys(own, 1)


@pytest.mark.parametrize("system", ["few-shot", "nearest"])
def test_pairs_are_shown_after_the_request(system):
    (prompt,) = strings.prompts(strings.test()[:1], system)
    roles = ["system", *["user", "assistant"] * 3, "user"]
    assert [message["role"] for message in prompt] == roles
    assert prompt[-1]["content"] == strings.test()[0].source
    pairs = {each.source: each.target for each in strings.training()}
    for user, answer in zip(prompt[1:7:2], prompt[2:7:2], strict=True):
        assert pairs[user["content"]] == answer["content"]


def test_draws_of_three_are_apart_and_the_nearest_comes_last():
    rows = strings.test()[:5]
    draws = [strings.prompts(rows, "few-shot", draw)[0][1:7] for draw in range(3)]
    assert len({message["content"] for draw in draws for message in draw[::2]}) == 9
    memory = Memory([each.source for each in strings.training()], [""] * 480)
    for entry, prompt in zip(rows, strings.prompts(rows, "nearest"), strict=True):
        (place,), _ = memory.nearest([entry.source])
        (cosines,) = memory.cosines([entry.source])
        last = [each.source for each in strings.training()].index(prompt[5]["content"])
        assert cosines[last] == cosines[place]


def test_the_second_request_stands_in_the_turn():
    entry = dataclasses.replace(strings.test()[0], source="of {obj}")
    assert strings.prompts([entry], "zero-shot", 0) == [entry.prompt]
    assert strings.prompts([entry], "zero-shot", 1) == [
        [{"role": "user", "content": "Translate into French: of {obj}"}]
    ]


@pytest.mark.parametrize(
    ("text", "expected"), [("", ""), ("\n Un \ndeux", "Un"), ("Un", "Un")]
)
def test_of_an_answer_the_first_line_counts(text, expected):
    assert strings.first_line(text) == expected


def _kept(runs):
    made = tuple(Run(key, result, {}) for key, result in runs)
    return Results(strings.NAME, {}, made)


def test_the_prompt_that_does_best_on_the_validation_strings_is_taken():
    right = [f"\n{each.target}\nand more" for each in strings.validation()]
    wrong = ["x" for _ in right]
    keys = [{"part": "prompt", "system": "few-shot", "number": n} for n in range(3)]
    lines = [wrong, right, wrong]
    runs = [(key, {"lines": own}) for key, own in zip(keys, lines, strict=True)]
    assert strings.best_prompt(_kept(runs), "few-shot") == 1
    assert strings.best_prompt(_kept([]), "nearest") == 0
    with pytest.raises(ExperimentError, match="come first"):
        strings.best_prompt(_kept(runs[:2]), "few-shot")


def test_the_rate_is_the_better_of_two_by_all_seeds():
    def run(key, better):
        loss = key["seed"] + (0.5 if key["rate"] == better else 1)
        return key, {"validation": loss}

    for rate in strings.FINALISTS:
        runs = [run(key, rate) for key in strings.TUNINGS]
        assert strings.best_rate(_kept(runs)) == rate
    with pytest.raises(ExperimentError, match="come first"):
        strings.best_rate(_kept(runs[:-1]))


def test_the_rate_of_the_recipe_is_the_best_of_four():
    kept = results(strings.NAME)
    tuned = kept.select(part="tune")
    assert len(tuned) == len(strings.TUNINGS) == 8
    for run in tuned:
        assert len(run["losses"]) == strings.SETTINGS.steps
        assert len(run["validation_losses"]) == len(strings.validation())
    first = {run["rate"]: run["validation"] for run in tuned.select(seed=0)}
    assert set(sorted(first, key=first.get)[:2]) == set(strings.FINALISTS)
    assert strings.best_rate(kept) == strings.SETTINGS.learning_rate
    assert recipe(strings.NAME) is strings.RECIPE


def test_every_system_translated_every_string():
    kept = results(strings.NAME)
    for part in strings.PARTS:
        for system in strings.SYSTEMS:
            run = kept.one(part="write", of=part, **system)
            assert len(run["lines"]) == len(strings.test(part))
    assert len(kept.one(part="beam")["lines"]) == len(strings.test())


@pytest.mark.parametrize(
    ("part", "system"),
    [("test", "zero-shot"), ("test", "tuned"), (JUPYTERLAB, "tuned")],
)
def test_what_is_kept_by_force_survived(part, system):
    run = results(strings.NAME).one(part="held", of=part, system=system, way="kept")
    rows = strings.held(part)
    assert len(run["lines"]) == len(rows)
    for each, line in zip(rows, run["lines"], strict=True):
        assert survived(each.source, line)


def test_the_shipped_adapter_is_that_of_the_kept_run():
    kept = results(strings.NAME)
    folder = SHIPPED / strings.NAME
    best = kept.one(part="tune", rate=strings.SETTINGS.learning_rate, seed=0)
    shipped = kept.one(part="ship")["adapter"]
    assert headlines.digest(folder) == best["adapter"] == shipped
    text = (folder / CARD).read_text(encoding="utf-8")
    assert text == card(strings.RECIPE, loss_figures(best["losses"]))


def test_monolingual_strings_are_no_test_strings():
    added = back_translation.monolingual()
    assert len(added) == 240 == len(strings.training()) // 2
    rows = strings.test(JUPYTERLAB)
    assert not {each.source for each in rows} & {each.source for each in added}
    assert not {each.target for each in rows} & {each.target for each in added}
    memory = Memory([each.source for each in added], [each.target for each in added])
    cosines = memory.nearest([each.source for each in rows])[1]
    assert np.mean(cosines >= 0.7) < 0.05


def test_a_mixture_is_half_of_each():
    kept = results(back_translation.NAME)
    for english in back_translation.ENGLISH:
        pairs = back_translation.pairs(english, kept)
        assert len(pairs) == strings.TRAINING
        assert pairs[:240] == strings.training()[:240]
        added = back_translation.monolingual()
        assert [each.target for each in pairs[240:]] == [each.target for each in added]
        same = [each.source == each.target for each in pairs[240:]]
        assert all(same) if english == "copied" else np.mean(same) < 0.2
        assert all(each.source for each in pairs)


def test_the_mixtures_were_tuned_at_the_best_rate():
    kept = results(back_translation.NAME)
    rate = kept.settings["learning rate, chosen for Django alone"]
    assert rate == strings.SETTINGS.learning_rate
    assert len(kept.select(part="test", of=JUPYTERLAB)) == 7
    assert len(kept.select(part="test", of="test")) == 2
