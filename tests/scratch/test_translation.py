"""What chapter 18 exports: placeholders survive whatever a model wants to write."""

import functools
from collections import Counter

import pytest
import torch
from babel.messages import pofile

from finetuning import resources
from finetuning.models import load_tokenizer
from finetuning.scratch.instruction import render
from finetuning.scratch.translation import (
    KeepPlaceholders,
    Memory,
    allowed_ids,
    fill_catalogue,
    framed,
    kinds_of,
    mask_terms,
    next_ids,
    pending,
    placeholders,
    restore_terms,
    survived,
    tokenizations,
)

ROOM = 24


@functools.cache
def tokenizer():
    return load_tokenizer("SmolLM2-135M-Instruct")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Save", {}),
        ("%(count)s of %(total)d", {"%(count)s": 1, "%(total)d": 1}),
        ("{} and {} and {name}", {"{}": 2, "{name}": 1}),
        ("%s%% %r", {"%s": 1, "%%": 1, "%r": 1}),
        ("%1 of %12", {"%1": 1, "%12": 1}),
        ("100 % sure, {no placeholder}", {}),
    ],
)
def test_placeholders(text, expected):
    assert placeholders(text) == Counter(expected)


def test_survived_counts_and_does_not_order():
    assert survived("%(a)s of {b}", "{b} : %(a)s")
    assert not survived("{} and {}", "{} et")
    assert not survived("Save", "%s")


def test_a_memory_returns_the_nearest():
    memory = Memory(["Change password", "Delete user"], ["Modifier", "Supprimer"])
    places, cosines = memory.nearest(["Delete users", "CHANGE PASSWORD", "xyz"])
    assert places[:2].tolist() == [1, 0]
    assert cosines[1] == pytest.approx(1) and cosines[2] == 0
    assert memory.translate(["Delete users"]) == ["Supprimer"]
    assert memory.cosines(["xyz", "Delete user"]).shape == (2, 2)


def test_below_the_least_cosine_a_memory_copies():
    memory = Memory(["Change password", "Delete user"], ["Modifier", "Supprimer"])
    texts = ["Delete users", "delete user", "xyz"]
    (cosine,) = memory.nearest(texts[:1])[1]
    assert 0.5 < cosine < 1
    assert memory.translate(texts, cosine - 0.01) == ["Supprimer", "Supprimer", "xyz"]
    assert memory.translate(texts, cosine + 0.01) == [texts[0], "Supprimer", "xyz"]
    assert memory.translate(texts, 1.01) == texts


def test_tokenizations_are_the_placeholder():
    for name in ("%(name)s", "{}", "%1", "%s", "{obj}", "%(ct_id)s"):
        for ids in tokenizations(tokenizer(), name):
            assert tokenizer().decode(ids).strip() == name


TOKENS = {"A": [(1, 2), (3, 2)], "B": [(1, 4, 5)]}


def test_what_is_pending():
    wanted = Counter({"A": 1, "B": 1})
    assert pending([], wanted, TOKENS) == (wanted, [], "")
    half = pending([9, 1], wanted, TOKENS)
    assert half.begun == [("A", (2,)), ("B", (4, 5))] and half.missing == wanted
    done = pending([9, 1, 2], wanted, TOKENS)
    assert done == (Counter("B"), [], "A")
    assert pending([9, 1, 2, 7], wanted, TOKENS).last == ""
    assert not pending([1, 4, 5, 8, 3, 2], wanted, TOKENS).missing


def test_next_ids_leave_room_for_the_rest():
    wanted = Counter({"A": 1, "B": 1})
    free = pending([], wanted, TOKENS)
    assert next_ids(free, TOKENS, 6) == ({1, 3}, True)
    assert next_ids(free, TOKENS, 5) == ({1, 3}, False)
    assert next_ids(pending([1], wanted, TOKENS), TOKENS, 9) == ({2, 4}, False)
    assert next_ids(pending([1, 2], wanted, TOKENS), TOKENS, 3) == ({1}, False)
    long = {"A": [(1, 2), (3, 2, 2)]}
    assert next_ids(pending([], Counter("A"), long), long, 2) == ({1}, False)


def chat(text):
    return [{"role": "user", "content": text}]


TEXTS = [
    "Save",
    "%(count)s of %(total)s",
    "{} and {} and {name}",
    "%s%% of %1 and %12",
    "Deleted %(t1)s %(name)s “{object}”.",
]


@pytest.mark.parametrize("seed", range(6))
def test_every_text_survives_a_model_that_writes_at_random(seed):
    """In a batch, padded on the left, two rows a prompt as with beams."""
    chats = [chat(text) for text in TEXTS]
    keep = KeepPlaceholders(tokenizer(), chats, ROOM)
    generator = torch.Generator().manual_seed(seed)
    prompts = [
        tokenizer()(render(tokenizer(), each, answer_next=True))["input_ids"]
        for each in chats
        for _ in range(2)
    ]
    longest = max(map(len, prompts))
    end = tokenizer().eos_token_id
    rows = torch.tensor([[end] * (longest - len(p)) + p for p in prompts])
    for _ in range(ROOM):
        scores = torch.randn(len(rows), len(tokenizer()), generator=generator)
        # tokens that would break a text, and an end, are what it likes best
        scores[:, ~keep.kinds.plain] += 3
        scores[:, end] += seed
        scores = keep(rows, scores)
        rows = torch.cat([rows, scores.argmax(dim=-1, keepdim=True)], dim=1)
    for row, text in zip(
        rows[:, longest:].tolist(), [t for t in TEXTS for _ in range(2)], strict=True
    ):
        written = row[: row.index(end)] if end in row else row
        output = tokenizer().decode(written)
        assert survived(text, output), output
        assert "\n" not in output


def test_nothing_may_follow_a_placeholder_that_changes_it():
    wanted = placeholders("Cell %1")
    tokens = {"%1": tokenizations(tokenizer(), "%1")}
    kinds = kinds_of(tokenizer())
    ids = tokens["%1"][0]
    (two,) = tokenizer()("2")["input_ids"]

    def allowed(written, limit=ROOM):
        return allowed_ids(written, wanted, tokens, kinds, limit)

    assert allowed([])[two] and not allowed(ids)[two]
    assert not allowed([])[kinds.end] and allowed(ids)[kinds.end]
    assert allowed([*ids, kinds.end]).all(), "what follows an end is padding"
    assert allowed([], len(ids)).sum() == len({each[0] for each in tokens["%1"]})


def test_a_line_break_is_no_plain_text():
    kinds = kinds_of(tokenizer())
    for text in ("\n", "\n\n", "a\nb"):
        ids = tokenizer()(text, add_special_tokens=False)["input_ids"]
        assert not kinds.plain[ids].all()
    assert kinds.plain[tokenizer()(" Save\u2026")["input_ids"]].all()


def test_too_little_room_and_a_foreign_row_are_refused():
    with pytest.raises(ValueError, match="3 tokens are too few"):
        KeepPlaceholders(tokenizer(), [chat("%(count)s of %(total)s")], 3)
    keep = KeepPlaceholders(tokenizer(), [chat("Save")], ROOM)
    with pytest.raises(ValueError, match="does not begin with one of the prompts"):
        keep(torch.tensor([[5, 6, 7]]), torch.zeros(1, len(tokenizer())))


GLOSSARY = {"kernel": "noyau", "kernels": "noyaux", "code cell": "cellule de code"}


def test_terms_are_masked_and_restored():
    text, masked = mask_terms("Kernel of the code cell, kernels %(kernel)s", GLOSSARY)
    assert text == "%(t1)s of the %(t2)s, %(t3)s %(kernel)s"
    assert list(masked.items()) == [
        ("%(t1)s", "Noyau"),
        ("%(t2)s", "cellule de code"),
        ("%(t3)s", "noyaux"),
    ]
    restored = restore_terms("%(t3)s de la %(t2)s, %(t1)s %(kernel)s", masked)
    assert restored == "noyaux de la cellule de code, Noyau %(kernel)s"
    assert mask_terms("Kernelling", GLOSSARY) == ("Kernelling", {})


def test_a_mask_is_no_placeholder_of_the_text():
    text, masked = mask_terms("%(t1)s: kernel, kernels, %(t3)s", GLOSSARY)
    assert text == "%(t1)s: %(t2)s, %(t4)s, %(t3)s"
    assert masked == {"%(t2)s": "noyau", "%(t4)s": "noyaux"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [("Save", "Sichern"), ("Save\n", "Sichern\n"), ("\n Save ", "\n Sichern ")],
)
def test_white_space_around_a_source_is_kept(source, expected):
    assert framed(source, " Sichern\n") == expected


HEAD = (
    'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n'
    '"Plural-Forms: nplurals={}; plural={};\\n"\n'
)
BODY = """
# a person's remark
#: shop.py:3
msgid "Save"
msgstr "Sichern"

#, fuzzy
msgid "Open"
msgstr "Öffnen?"

msgid "Delete %(name)s"
msgstr ""

msgctxt "menu"
msgid "Close"
msgstr ""

msgid "%d file"
msgid_plural "%d files"
msgstr[0] ""
{}
#~ msgid "Old"
#~ msgstr "Alt"
"""


def _upper(sources):
    """A translation that loses the placeholder of names."""
    return [text.replace("%(name)s", "").replace("e", "E") for text in sources]


def _catalogue(tmp_path, plurals=2):
    rest = "".join(f'msgstr[{n}] ""\n' for n in range(1, plurals))
    rule = "n > 1" if plurals == 2 else "0"
    path = tmp_path / "given.po"
    path.write_text(HEAD.format(plurals, rule) + BODY.format(rest), "utf-8")
    return path


def _entries(path):
    with path.open("rb") as file:
        catalogue = pofile.read_po(file)
    return {(each.context, each.id): each for each in catalogue if each.id}, catalogue


def test_a_catalogue_is_filled_and_no_other_line_is_touched(tmp_path):
    given = _catalogue(tmp_path)
    made = tmp_path / "made.po"
    before = given.read_text("utf-8")
    filled = fill_catalogue(given, made, _upper)
    assert filled == (2, 2, ["Delete %(name)s"])
    assert given.read_text("utf-8") == before
    expected = before.replace(
        'msgctxt "menu"\nmsgid "Close"\nmsgstr ""',
        '#, fuzzy\nmsgctxt "menu"\nmsgid "Close"\nmsgstr "ClosE"',
    ).replace(
        'msgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] ""\nmsgstr[1] ""',
        '#, fuzzy\nmsgid "%d file"\nmsgid_plural "%d files"\n'
        'msgstr[0] "%d filE"\nmsgstr[1] "%d filEs"',
    )
    assert made.read_text("utf-8") == expected
    entries, _ = _entries(made)
    assert entries["menu", "Close"].fuzzy and not entries[None, "Save"].fuzzy


def test_a_flag_is_added_to_those_there_are(tmp_path):
    given = tmp_path / "given.po"
    given.write_text('#, python-format\nmsgid ""\n"a \\"%s\\""\nmsgstr ""\n', "utf-8")
    made = tmp_path / "made.po"
    fill_catalogue(given, made, lambda sources: [f"{sources[0]}\n\\"])
    entries, _ = _entries(made)
    message = entries[None, 'a "%s"']
    assert message.string == 'a "%s"\n\\'
    assert message.flags == {"python-format", "fuzzy"}


@pytest.mark.parametrize(
    "flags", ["#, fuzzy\n", "#, python-format, fuzzy\n", "#, c-format\n#, fuzzy\n"]
)
def test_an_entry_that_is_fuzzy_is_marked_once(tmp_path, flags):
    given = tmp_path / "given.po"
    given.write_text(f'{flags}msgid "a"\nmsgstr ""\n', "utf-8")
    made = tmp_path / "made.po"
    fill_catalogue(given, made, lambda sources: ["b"])
    assert made.read_text("utf-8") == f'{flags}msgid "a"\nmsgstr "b"\n'


def test_of_two_lines_of_flags_one_is_marked(tmp_path):
    given = tmp_path / "given.po"
    given.write_text('#, c-format\n#, no-wrap\nmsgid "a"\nmsgstr ""\n', "utf-8")
    made = tmp_path / "made.po"
    fill_catalogue(given, made, lambda sources: ["b"])
    expected = '#, c-format, fuzzy\n#, no-wrap\nmsgid "a"\nmsgstr "b"\n'
    assert made.read_text("utf-8") == expected


@pytest.mark.parametrize("gap", ["\r\n\r\n", "\n \t\n", "\n\n\n\n", "\r\n\n"])
def test_whatever_empty_lines_are_between_entries_stay(tmp_path, gap):
    newline = "\r\n" if gap.startswith("\r") else "\n"
    entries = ['msgid ""\nmsgstr ""\n"X: y\\n"', 'msgid "a"\nmsgstr "A"']
    entries += ['# b\nmsgid "b"\nmsgstr ""', 'msgid "c\\n"\nmsgstr ""']
    text = gap.join(each.replace("\n", newline) for each in entries) + newline
    given = tmp_path / "given.po"
    given.write_bytes(text.encode())
    made = tmp_path / "made.po"
    filled = fill_catalogue(given, made, lambda sources: [s.upper() for s in sources])
    assert filled == (1, 2, [])
    expected = text.replace(
        f'msgid "b"{newline}msgstr ""', f'#, fuzzy{newline}msgid "b"{newline}msgstr "B"'
    ).replace(
        f'msgid "c\\n"{newline}msgstr ""',
        f'#, fuzzy{newline}msgid "c\\n"{newline}msgstr "C\\n"',
    )
    assert made.read_bytes().decode() == expected


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_entries_that_are_not_apart_are_refused(tmp_path, newline):
    """A header is one: its lines must not be taken for an entry's."""
    given = tmp_path / "given.po"
    text = 'msgid ""\nmsgstr ""\n"X: y\\n"\nmsgid "a"\nmsgstr ""\n'
    given.write_bytes(text.replace("\n", newline).encode())
    with pytest.raises(ValueError, match="an empty line between the entries"):
        fill_catalogue(given, tmp_path / "made.po", _upper)


@pytest.mark.parametrize(("plurals", "expected"), [(1, ("%d filEs",)), (3, ("",) * 3)])
def test_other_numbers_of_plural_forms(tmp_path, plurals, expected):
    given = _catalogue(tmp_path, plurals)
    made = tmp_path / "made.po"
    filled = fill_catalogue(given, made, _upper)
    entries, _ = _entries(made)
    string = entries[None, ("%d file", "%d files")].string
    assert string == expected
    assert ("%d file" in filled.left) == (plurals == 3)


def test_nothing_is_overwritten(tmp_path):
    given = _catalogue(tmp_path)
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        fill_catalogue(given, given, _upper)


def test_a_translator_that_loses_a_text_is_refused(tmp_path):
    with pytest.raises(ValueError):
        fill_catalogue(
            _catalogue(tmp_path), tmp_path / "made.po", lambda sources: sources[1:]
        )
    assert not (tmp_path / "made.po").exists()


def test_django_in_french_survives_the_way(tmp_path):
    """Every translation that was there is there, and every blank is filled."""
    folder = resources.fetch("django-catalogues")
    given = folder / "contrib/admin/locale/fr/LC_MESSAGES/django.po"
    before, catalogue = _entries(given)
    blanked = tmp_path / "blanked.po"
    names = list(before)[::7]
    for name in names:
        message = before[name]
        message.string = ("", "") if message.pluralizable else ""
    with blanked.open("wb") as file:
        pofile.write_po(file, catalogue)
    made = tmp_path / "made.po"
    filled = fill_catalogue(blanked, made, lambda sources: sources)
    assert (filled.filled, filled.left) == (len(names), [])
    after, _ = _entries(made)
    assert after.keys() == before.keys()
    for name, message in before.items():
        if name in names:
            assert after[name].string == message.id and after[name].fuzzy
        else:
            assert after[name].string == message.string
            assert after[name].user_comments == message.user_comments
