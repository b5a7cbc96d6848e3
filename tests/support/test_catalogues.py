"""Strings of software: parts that are apart, an order that stays, both directions."""

import json
import re

import pytest

from finetuning import resources
from finetuning.data import catalogues
from finetuning.data.catalogues import ALL, Entry, entries
from finetuning.scratch.translation import placeholders, survived


@pytest.mark.parametrize("language", ["fr", "zh"])
def test_no_string_is_in_two_parts_or_twice(language):
    every = [
        " ".join(each.source.casefold().split())
        for part in ALL
        for each in entries(part, language)
    ]
    assert len(set(every)) == len(every)


def test_how_many_there_are():
    counts = {part: len(entries(part)) for part in ALL}
    assert counts == {
        "train": 509,
        "validation": 61,
        "test": 194,
        "jupyterlab": 2912,
    }
    left = {part: catalogues.left_out(part) for part in ALL}
    assert left == {"train": 0, "validation": 0, "test": 55, "jupyterlab": 40}
    assert len(entries("jupyterlab", "zh")) == 2938


def test_parts_are_whole_catalogues():
    found = {part: {each.catalogue for each in entries(part)} for part in ALL}
    assert found["test"] == {"contrib/admin/django", "contrib/admin/djangojs"}
    assert found["validation"] == {"contrib/admindocs/django"}
    assert len(found["train"]) == 10
    assert not found["train"] & (found["test"] | found["validation"])
    assert {"jupyterlab", "jupyterlab_git", "notebook"} <= found["jupyterlab"]


def test_strings_are_one_short_line_and_not_blank():
    for part in ALL:
        for each in entries(part):
            assert each.source == each.source.strip() and each.source
            assert each.target == each.target.strip() and each.target
            assert max(len(each.source), len(each.target)) <= catalogues.LONGEST
            assert "\n" not in each.source + each.target


def test_both_languages_have_the_same_strings():
    french = {each.source for each in entries("jupyterlab")}
    chinese = {each.source for each in entries("jupyterlab", "zh")}
    assert len(french & chinese) > 2850


def test_the_order_is_no_catalogues_and_stays():
    rows = entries("train")
    assert rows == entries("train")
    assert rows is not entries("train")
    assert len({each.catalogue for each in rows[:60]}) >= 4


def test_a_chat_is_the_request_the_string_and_its_translation():
    entry = Entry("shop", "Save", "Enregistrer", "Into French.")
    assert [each["role"] for each in entry.chat] == ["system", "user", "assistant"]
    assert [each["content"] for each in entry.chat] == [
        "Into French.",
        "Save",
        "Enregistrer",
    ]
    assert entry.prompt == entry.chat[:2]


def test_turned_pairs_go_into_english():
    (pair,) = catalogues.turned([Entry("shop", "Save", "Enregistrer", "Into French.")])
    assert (pair.source, pair.target) == ("Enregistrer", "Save")
    assert pair.request.endswith("from French into English.")


@pytest.mark.parametrize("part", ALL)
def test_the_placeholders_of_a_string_are_those_of_its_translation(part):
    for each in entries(part):
        assert survived(each.source, each.target), each


def test_a_plural_entry_gives_the_singular():
    """Its key is the singular; two forms follow."""
    found = {each.source: each.target for each in entries("jupyterlab")}
    packs = resources.fetch("jupyterlab-french").rglob("LC_MESSAGES/*.json")
    plural = {
        key: forms
        for path in packs
        for key, forms in json.loads(path.read_text("utf-8")).items()
        if key and len(forms) == 2
    }
    there = [key for key in plural if found.get(key) == plural[key][0]]
    assert len(there) > 30
    assert not any(
        found.get(key) == forms[1]
        for key, forms in plural.items()
        if forms[0] != forms[1]
    )


def test_a_context_is_no_part_of_a_string():
    assert not any("\x04" in each.source for each in entries("jupyterlab"))


@pytest.mark.parametrize("name", ["jupyterlab-french", "jupyterlab-chinese"])
def test_what_the_packs_hold(name):
    """What the data card says of them."""
    files = sorted(resources.fetch(name).rglob("LC_MESSAGES/*.json"))
    packs = [json.loads(path.read_text("utf-8")) for path in files]
    entries_there = [forms for pack in packs for key, forms in pack.items() if key]
    assert (len(files), len(entries_there)) == (17, 3464)
    assert all(any(forms) for forms in entries_there)


def test_what_the_card_says_of_the_french():
    rows = entries("jupyterlab")
    assert sum(each.source == each.target for each in rows) == 181
    held = sum(bool(placeholders(each.source)) for each in rows)
    assert 10 < len(rows) / held < 12
    commits = [each for each in rows if re.search(r"(?i)\bcommit\b", each.source)]
    kept = [each for each in commits if "commit" in each.target.lower()]
    other = [each for each in commits if "soumission" in each.target.lower()]
    assert (len(commits), len(kept), len(other)) == (45, 25, 10)


def test_what_there_is_not():
    with pytest.raises(ValueError, match="no part 'dev'; there are train, validation"):
        entries("dev")
    with pytest.raises(ValueError, match="no language 'de' here; there are fr, zh"):
        entries("train", "de")
