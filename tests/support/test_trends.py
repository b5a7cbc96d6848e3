"""Chapter 23's data: cited numbers with sources, codes and capitals."""

import re

import pytest
from notebooks import ROOT

from finetuning.data import capitals, codes, trends

CITED = [
    *trends.SCALING_LAWS,
    *trends.MIXTURES,
    *trends.TRAININGS,
    trends.TEXT_STOCK,
    trends.COST_GROWTH,
    trends.PROMPT_ENERGY,
]


def test_every_number_names_a_source_of_the_bibliography_and_a_place_in_it():
    text = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE))
    assert [row.name for row in CITED if row.source not in keys] == []
    assert all(row.where for row in CITED)


@pytest.mark.parametrize("law", trends.SCALING_LAWS, ids=lambda law: law.source)
def test_the_best_size_has_the_lowest_loss_of_a_budget(law):
    budget = 1e23
    best = law.best_parameters(budget)

    def loss(parameters):
        return law.loss(parameters, budget / 6 / parameters)

    assert loss(best) < min(loss(1.05 * best), loss(best / 1.05))
    assert law.floor < loss(best)


def test_the_second_fit_advises_what_was_built():
    """Besiroglu et al. say so of their fit, and of the first that it does not."""
    first, second = (law.best_parameters(5.76e23) for law in trends.SCALING_LAWS)
    assert 6e10 < second < 8e10
    assert first < 4e10


def test_llamas_energy_and_carbon_are_the_arithmetic_that_its_authors_give():
    rows = [row for row in trends.TRAININGS if row.source == "touvron2023llama"]
    assert len(rows) == 4
    for row in rows:
        energy = row.gpu_hours * trends.WATTS * trends.OVERHEAD / 1e6
        assert row.megawatt_hours == pytest.approx(energy, rel=0.02)
        carbon = energy * trends.KILOGRAMS_A_KILOWATT_HOUR
        assert row.tonnes == pytest.approx(carbon, rel=0.02)


def test_no_run_reached_more_than_its_peak():
    for row in trends.TRAININGS:
        operations = 6 * row.parameters * row.tokens
        assert 0.2 < operations / (row.gpu_hours * 3600 * row.peak) < 0.6


def test_of_a_mixture_a_part_is_used():
    assert all(0 < row.active < row.total for row in trends.MIXTURES)


def test_codes_have_three_digits_and_change_with_the_draw():
    found = {
        draw: [codes.code_of(place, draw) for place in codes.PLACES] for draw in (0, 1)
    }
    assert all(re.fullmatch(r"\d{3}", code) for row in found.values() for code in row)
    assert found[0] != found[1]
    assert len(set(found[0])) == len(set(codes.PLACES)) == len(codes.PLACES) == 20
    assert codes.sentence("mill", "427") == "The code of the mill is 427."
    assert codes.sentence("mill", "427").startswith(codes.beginning("mill"))


def test_every_country_has_four_different_cities_to_choose_from():
    for country, city in capitals.CAPITALS.items():
        found = capitals.choices(country)
        assert len(set(found)) == capitals.CHOICES
        assert city in found
    for country in capitals.INVENTED:
        assert len(set(capitals.choices(country))) == capitals.CHOICES
    assert len(capitals.CAPITALS) == len(set(capitals.CAPITALS.values())) == 100
    assert not set(capitals.INVENTED) & set(capitals.CAPITALS)


def test_the_capital_stands_at_every_place_about_equally_often():
    places = [
        capitals.choices(country).index(city)
        for country, city in capitals.CAPITALS.items()
    ]
    assert min(places.count(place) for place in range(capitals.CHOICES)) >= 15
