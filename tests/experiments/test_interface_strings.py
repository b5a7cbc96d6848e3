"""Chapter 18's experiments: parts that are apart, the rate that is the best, an adapter
that is that of the kept run, and placeholders that survive.
"""

import pytest

from finetuning.data.catalogues import JUPYTERLAB
from finetuning.experiments import back_translation, headlines, results
from finetuning.experiments import interface_strings as strings
from finetuning.scratch.translation import placeholders, survived
from finetuning.tuning import CARD, SHIPPED, card, loss_figures, recipe


def test_parts_are_apart():
    parts = [
        strings.training(),
        strings.validation(),
        strings.test(),
        strings.test(JUPYTERLAB),
    ]
    assert [len(part) for part in parts] == [480, 61, 169, strings.JUPYTERLAB]
    trained = {each.source.casefold() for each in parts[0]}
    for part in parts[1:]:
        assert not trained & {each.source.casefold() for each in part}


def test_every_training_pair_is_seen_once():
    assert len(strings.chats()) == strings.TRAINING


def test_strings_that_are_held_have_a_placeholder_and_those_with_terms_none():
    assert len(strings.held(JUPYTERLAB)) == strings.HELD
    assert len(strings.held()) >= 40
    for part in strings.PARTS:
        assert all(placeholders(each.source) for each in strings.held(part))
    assert len(strings.with_terms()) == strings.TERMS
    for each in strings.with_terms():
        assert strings.terms_in(each.source) and not placeholders(each.source)


def test_a_request_for_terms_names_those_of_the_string():
    entry = next(each for each in strings.with_terms() if "ernel" in each.source)
    system, user = strings.asked_for_terms(entry)
    assert "kernel" in system["content"] and "noyau" in system["content"]
    assert "branche" not in system["content"] or "ranch" in entry.source
    assert user["content"] == entry.source


def test_hidden_terms_are_placeholders():
    rows = strings.with_terms()
    chats, targets = strings.hidden_terms(rows)
    for each, chat, own in zip(rows, chats, targets, strict=True):
        assert len(own) == len(strings.terms_in(each.source)) >= 1
        assert placeholders(chat[-1]["content"]).total() == len(own)


def test_few_shot_prompts_begin_with_the_request_and_three_pairs():
    (prompt,) = strings.prompts(strings.test()[:1], few_shot=True)
    roles = ["system", *["user", "assistant"] * 3, "user"]
    assert [message["role"] for message in prompt] == roles
    assert prompt[-1]["content"] == strings.test()[0].source


def test_the_rate_of_the_recipe_is_the_best_of_four():
    kept = results(strings.NAME)
    tuned = kept.select(part="tune")
    assert len(tuned) == len(strings.RATES) * len(strings.SEEDS) == 12
    for run in tuned:
        assert len(run["losses"]) == strings.SETTINGS.steps
        assert len(run["validation_losses"]) == len(strings.validation())
    assert headlines.best_rate(kept) == strings.SETTINGS.learning_rate
    assert recipe(strings.NAME) is strings.RECIPE


def test_every_system_translated_every_string():
    kept = results(strings.NAME)
    for part in strings.PARTS:
        for system in strings.SYSTEMS:
            run = kept.one(part="write", of=part, **system)
            assert len(run["lines"]) == len(strings.test(part))
    assert len(kept.one(part="beam")["lines"]) == len(strings.test())


@pytest.mark.parametrize("part", strings.PARTS)
@pytest.mark.parametrize("system", ["zero-shot", "tuned"])
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
    tested = {each.source for each in strings.test(JUPYTERLAB)}
    tested |= {each.target for each in strings.test(JUPYTERLAB)}
    assert not tested & {each.source for each in added}


def test_a_mixture_is_half_of_each():
    kept = results(back_translation.NAME)
    for english in back_translation.ENGLISH:
        pairs = back_translation.pairs(english, kept)
        assert len(pairs) == strings.TRAINING
        assert pairs[:240] == strings.training()[:240]
        added = back_translation.monolingual()
        assert [each.target for each in pairs[240:]] == [each.target for each in added]
    assert all(each.source for each in pairs)


def test_the_mixtures_were_tuned_at_the_best_rate():
    kept = results(back_translation.NAME)
    assert kept.settings["learning rate"] == strings.SETTINGS.learning_rate
    for part in strings.PARTS:
        assert len(kept.select(part="test", of=part)) == 6
