"""Instructions and their rules: every right answer obeys, nothing leaks, nothing is
drawn by chance.
"""

import json

import pytest

from finetuning.data import instructions
from finetuning.data.corpora import near_duplicate_groups
from finetuning.data.instructions import HELD_OUT_KINDS, KINDS, obeys


@pytest.fixture(scope="module")
def sets():
    return {
        "training": instructions.training_set(),
        "test": instructions.test_set(),
        "familiar": instructions.familiar_set(),
    }


def test_every_right_answer_obeys_its_rules_and_the_prompt_does_not(sets):
    for rows in sets.values():
        for each in rows:
            assert each.obeyed_by(each.answer)
            assert each.obeyed_by(f" {each.answer}\n")
            assert not each.obeyed_by(each.prompt)
            assert not each.obeyed_by("")


def test_sizes_and_kinds(sets):
    for name, kinds, each in (
        ("training", KINDS, 60),
        ("test", HELD_OUT_KINDS, 34),
        ("familiar", KINDS, 8),
    ):
        counts = {kind: 0 for kind in kinds}
        for row in sets[name]:
            counts[row.kind] += 1
        assert set(counts.values()) == {each}
    assert not KINDS.keys() & HELD_OUT_KINDS.keys()
    assert len(sets["test"]) >= 200


def test_sources_are_apart_and_no_text_comes_twice(sets):
    sources = {name: {row.source for row in rows} for name, rows in sets.items()}
    assert sources["training"] == set(instructions.TRAINING_SOURCES)
    assert sources["test"] == sources["familiar"] == set(instructions.TEST_SOURCES)
    texts = [text for own in instructions.texts().values() for text in own]
    letters = [instructions._letters(text) for text in texts]
    assert len(set(letters)) == len(letters)
    assert len(set(near_duplicate_groups(texts))) == len(texts)
    prompts = [row.prompt for rows in sets.values() for row in rows]
    assert len(set(prompts)) == len(prompts)


def test_the_first_rows_are_a_fair_sample(sets):
    assert [row.kind for row in sets["training"][:8]] == list(KINDS)


@pytest.mark.parametrize("kind", [*KINDS, *HELD_OUT_KINDS])
def test_a_kind_is_the_same_whenever_it_is_made(kind):
    text = "He said: wait for the long, cold winter."
    first, second = (instructions.make(kind, "here", text) for _ in "ab")
    assert first == second
    assert first.obeyed_by(first.answer)


@pytest.mark.parametrize(
    ("rules", "right", "wrong"),
    [
        ([("is", "[Hi.]")], ["[Hi.]", "\n[Hi.] "], ["Hi.", "[hi.]", "[Hi.] Done"]),
        ([("begins with", "Note:")], ["Note: a"], ["A note: a", "note: a"]),
        ([("ends with", "Over.")], ["a Over."], ["Over. a", "a over."]),
        ([("contains", "Red fox")], ["a red fox!"], ["a red, fox", ""]),
        ([("words at most", 2)], ["one", "one two"], ["", "one two three"]),
        (
            [("JSON", {"a": "x"})],
            ['{"a": "x"}', '{ "a" : "x" }'],
            ["{'a': 'x'}", '{"a": "y"}', '{"a": "x", "b": 1}', '"x"', "Sure: {}"],
        ),
        ([("begins with", "A"), ("ends with", "z")], ["A to z"], ["A to y", "B to z"]),
    ],
)
def test_rules_tell_right_from_wrong(rules, right, wrong):
    assert all(obeys(answer, rules) for answer in right)
    assert not any(obeys(answer, rules) for answer in wrong)


def test_a_rule_of_another_name_is_refused():
    with pytest.raises(ValueError, match="there is no rule 'rhymes'; there are is,"):
        obeys("a", [("rhymes", "b")])


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="too few for 500 instructions of 8 kinds"):
        instructions.training_set(500)


def test_chats_can_be_kept_as_json(sets):
    chat = sets["training"][0].chat
    assert json.loads(json.dumps(chat)) == chat
    assert [message["role"] for message in chat] == ["user", "assistant"]
