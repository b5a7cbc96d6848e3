"""What the recipe says of a file that it cannot learn from: one sentence each, and no
folder. All in one process, and without torch.
"""

import codecs
import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from finetuning.recipes.errors import RecipeError
from finetuning.recipes.labelled import load_labelled
from finetuning.recipes.settings import parse
from finetuning.recipes.tables import read_table

WORDS = ("alder", "birch", "cedar", "damson", "elder", "fir", "gorse", "hazel")


def rows(count: int = 40) -> list[dict[str, str]]:
    """Texts of two classes that have nothing in common."""
    return [
        {
            "id": f"a{number}",
            "text": f"{WORDS[number % 8]} number {number}, {number * number}",
            "label": "spam" if number % 2 else "ham",
        }
        for number in range(count)
    ]


def write(path: Path, table: list[dict]) -> Path:
    """A table in the format of the file's suffix."""
    frame = pandas.DataFrame(table)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in table), "utf-8")
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        frame.to_csv(path, index=False, sep=separator)
    return path


def load(train: Path, *options: str):
    output = train.parent / "output"
    given = ["--task", "classification", "--train", str(train), "--output", str(output)]
    return load_labelled(parse([*given, *options]))


def refusal(train: Path, *options: str) -> str:
    """The sentence; and nothing may have been written."""
    before = sorted(train.parent.iterdir()) if train.parent.exists() else []
    with pytest.raises(RecipeError) as refused:
        load(train, *options)
    after = sorted(train.parent.iterdir()) if train.parent.exists() else []
    assert after == before
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def changed(tmp_path: Path, column: str, values: dict[int, object], suffix=".jsonl"):
    table = rows()
    for row, value in values.items():
        table[row][column] = value
    return write(tmp_path / f"table{suffix}", table)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".CSV"])
def test_each_format_is_read_alike(tmp_path, suffix):
    found = load(write(tmp_path / f"table{suffix}", rows()))
    assert found.texts == [row["text"] for row in rows()]
    assert [found.names[label] for label in found.labels] == [
        row["label"] for row in rows()
    ]
    assert found.notes == []
    first = {".parquet": 1, ".jsonl": 1}.get(suffix, 2)
    assert found.places[:2] == [first, first + 1]


def test_strings_stay_what_they_are(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("code,text\nNA,007\nnull,1e3\nTrue,2024-01-01\n", "utf-8")
    assert read_table(path).columns == {
        "code": ["NA", "null", "True"],
        "text": ["007", "1e3", "2024-01-01"],
    }


def test_a_name_with_brackets_is_a_name(tmp_path):
    assert len(read_table(write(tmp_path / "a[1].csv", rows()))) == 40


def test_quoted_lines_are_counted(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('text,label\n"one\ntwo\nthree",a\n\nfour,b\n', "utf-8")
    table = read_table(path)
    assert table.columns["text"] == ["one\ntwo\nthree", "four"]
    assert table.numbers == [2, 6]


def test_another_line_end_inside_a_text_is_none(tmp_path):
    path = tmp_path / "table.jsonl"
    path.write_text('{"text": "one\u2028two"}\n', "utf-8")
    assert read_table(path).columns["text"] == ["one\u2028two"]


def test_a_byte_order_mark_is_left_out_and_said(tmp_path):
    path = write(tmp_path / "table.csv", rows())
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    found = load(path)
    assert found.notes == ["table.csv begins with a byte-order mark, left out"]
    assert list(read_table(path).columns) == ["id", "text", "label"]


def test_a_missing_file(tmp_path):
    said = refusal(tmp_path / "nothing.csv")
    assert said == f"there is no file {tmp_path / 'nothing.csv'}"


def test_a_folder(tmp_path):
    (tmp_path / "table.csv").mkdir()
    assert "is a folder: name the file in it" in refusal(tmp_path / "table.csv")


def test_another_kind_of_file(tmp_path):
    path = tmp_path / "table.xlsx"
    path.write_bytes(b"PK")
    assert "no table that is read here: give a file that ends in .csv" in refusal(path)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_text(content)
    assert refusal(path) == "table.csv is empty"


def test_a_header_alone(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("text,label\n")
    assert refusal(path) == "table.csv has no row below its header"


def test_a_wrong_column_is_answered_with_those_there_are(tmp_path):
    path = write(tmp_path / "table.csv", rows())
    assert refusal(path, "--text-column", "body") == (
        "table.csv has no column 'body'; it has 'id', 'text', 'label' (choose with "
        "--text-column)"
    )
    assert "(choose with --label-column)" in refusal(path, "--label-column", "topic")


def test_a_table_of_semicolons(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("text;label\none;a\n")
    assert "'text;label', which looks like several" in refusal(path)


def test_a_column_twice(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("text,text,label\n1,2,3\n")
    assert "more than one column 'text'" in refusal(path)


def test_one_class_only(tmp_path):
    path = changed(tmp_path, "label", dict.fromkeys(range(40), "ham"))
    assert "all 40 labels in column 'label'" in refusal(path)
    assert "'ham': there is nothing to tell apart" in refusal(path)


def test_a_test_label_that_no_training_text_has(tmp_path):
    train = write(tmp_path / "train.csv", rows())
    test = [row | {"text": f"other {row['text']}"} for row in rows(4)]
    test[2]["label"] = "egg"
    said = refusal(train, "--test", str(write(tmp_path / "test.csv", test)))
    assert said == (
        "test.csv has labels that no training text has: 'egg' in line 4; training has "
        "'ham', 'spam'"
    )


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("cp1252", "line 4 has the byte 0xe9; save it as UTF-8"),
        ("utf-16", "is in UTF-16: save it as UTF-8"),
        ("utf-16-le", "has a zero byte in line 1, as UTF-16 has"),
        ("utf-32", "is in UTF-32: save it as UTF-8"),
    ],
)
def test_another_encoding(tmp_path, encoding, said):
    path = tmp_path / "table.csv"
    text = "text,label\none,a\ntwo,b\ncaf\xe9,a\n"
    if encoding == "utf-16-le":
        text = text.replace("\xe9", "e")
    path.write_bytes(text.encode(encoding))
    assert said in refusal(path)


def test_the_line_of_a_wrong_byte_behind_a_mark(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(codecs.BOM_UTF8 + b"text,label\n\xe9,a\n")
    assert "line 2 has the byte 0xe9" in refusal(path)


def test_a_line_with_a_field_too_many(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('text,label\n"one,\ntwo",a\nthree, four,b\n')
    assert "line 4 of table.csv has 3 fields and the header has 2" in refusal(path)


@pytest.mark.parametrize("broken", ['"never closed,a', 'a "b" ,c\n"d"e,f'])
def test_a_quotation_mark_out_of_place(tmp_path, broken):
    path = tmp_path / "table.csv"
    path.write_text(f"text,label\none,a\n{broken}\nfour,b\nfive,a\n")
    said = refusal(path)
    line = 3 if broken.startswith('"') else 4
    assert f"the record that begins in line {line} of table.csv cannot be read" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "one", "label"', "line 3 of table.jsonl is not JSON (Expecting"),
        ("[1]", "line 3 of table.jsonl is not a JSON object"),
    ],
)
def test_a_broken_line_of_json(tmp_path, line, said):
    path = write(tmp_path / "table.jsonl", rows(2))
    path.write_text(path.read_text() + line + "\n")
    assert said in refusal(path)


def test_one_list_of_json(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(rows(), indent=1))
    assert load(path).texts == [row["text"] for row in rows()]
    path.write_text(json.dumps([*rows(), 3]))
    assert refusal(path) == "item 41 of table.json is not a JSON object"
    path.write_text("[\n{},\n{]")
    assert "line 3 of table.json is not JSON (Expecting" in refusal(path)


def test_a_damaged_parquet_file(tmp_path):
    path = write(tmp_path / "table.parquet", rows())
    path.write_bytes(path.read_bytes()[:-20])
    assert "table.parquet cannot be read as Parquet (" in refusal(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize("value", [None, float("nan"), "", "  "])
def test_missing_values_are_counted_and_named(tmp_path, suffix, column, value):
    if value != value and suffix == ".parquet":
        value = None  # pandas writes both alike
    path = changed(tmp_path, column, {4: value, 9: value}, suffix)
    said = refusal(path)
    first = 6 if suffix == ".csv" else 5
    unit = "rows" if suffix == ".parquet" else "lines"
    assert said.startswith("2 of 40 ")
    assert f"({unit} {first} and {first + 5})" in said


def test_texts_that_are_numbers(tmp_path):
    path = changed(tmp_path, "text", {3: 12})
    assert "holds no texts: line 4 is 12" in refusal(path)


@pytest.mark.parametrize("name", ["a{}", "sport/{}", "{}", "2024-01-01T{}", "6f{}-ab"])
def test_identifiers_given_as_text(tmp_path, name):
    path = changed(tmp_path, "id", {row: name.format(row) for row in range(40)}, ".csv")
    said = refusal(path, "--text-column", "id")
    assert "column 'id' of table.csv looks like identifiers" in said
    assert "other columns are 'text', 'label'" in said


def test_chinese_texts_are_no_identifiers(tmp_path):
    texts = {row: f"第{row}条消息" for row in range(40)}
    assert load(changed(tmp_path, "text", texts)).texts[3] == "第3条消息"


def test_labels_that_are_floats(tmp_path):
    whole = changed(tmp_path, "label", {row: float(row % 3) for row in range(40)})
    assert "are '0.0', '1.0', '2.0', as whole numbers become" in refusal(whole)
    # As pandas writes a column of whole numbers with a gap.
    gaps = changed(tmp_path, "label", {row: row % 2 for row in range(40)}, ".csv")
    frame = pandas.read_csv(gaps)
    frame["label"] = frame["label"].astype(float)
    frame.to_csv(gaps, index=False)
    assert "as whole numbers become where one is missing" in refusal(gaps)
    half = changed(tmp_path, "label", {row: row % 4 / 2 for row in range(40)}, ".csv")
    assert "predicting a number (regression) is not done here" in refusal(half)


def test_whole_numbers_are_labels(tmp_path):
    for suffix in (".csv", ".jsonl", ".parquet"):
        labels = {row: row % 3 for row in range(40)}
        assert load(changed(tmp_path, "label", labels, suffix)).names == ["0", "1", "2"]


def test_versions_are_labels(tmp_path):
    labels = {row: ["1.5", "2.0", "beta"][row % 3] for row in range(40)}
    assert load(changed(tmp_path, "label", labels)).names == ["1.5", "2.0", "beta"]


def test_several_labels_a_text(tmp_path):
    path = changed(tmp_path, "label", {5: ["ham", "spam"]})
    assert "the label in line 6 of table.jsonl is ['ham', 'spam']" in refusal(path)


def test_a_label_for_each_text(tmp_path):
    path = write(tmp_path / "table.csv", rows())
    said = refusal(path, "--label-column", "id")
    assert "holds 40 different values in 40 rows, which are no classes" in said


def test_blanks_around_labels_are_no_classes(tmp_path):
    path = changed(tmp_path, "label", {1: "spam ", 2: " ham"}, ".csv")
    assert load(path).names == ["ham", "spam"]


def test_capitals_are_said(tmp_path):
    found = load(changed(tmp_path, "label", {row: "Ham" for row in range(0, 40, 4)}))
    assert found.names == ["Ham", "ham", "spam"]
    assert "labels 'Ham', 'ham' differ in nothing but capitals" in found.notes[0]


def test_half_a_character(tmp_path):
    path = write(tmp_path / "table.jsonl", rows())
    path.write_text(path.read_text().replace("birch number 1,", "\\ud83d"))
    assert "line 2 of table.jsonl has half a character" in refusal(path)


def test_a_class_too_small_for_three_parts(tmp_path):
    path = changed(tmp_path, "label", dict.fromkeys(range(1, 34, 2), "ham"))
    parts = vars(load(path).parts).values()
    assert [len({35, 37, 39} & set(part)) for part in parts] == [1, 1, 1]
    path = changed(tmp_path, "label", dict.fromkeys(range(1, 36, 2), "ham"))
    said = refusal(path)
    assert "class 'spam' has 2 texts that differ, too few to be in 3 parts" in said


def test_texts_with_one_signature_count_as_one(tmp_path):
    signature = "with kind regards from all of us at the northern office of the club"
    path = changed(tmp_path, "text", {row: f"{row} {signature}" for row in range(40)})
    assert "cut signatures and templates" in refusal(path)


def test_copies_and_contradictions_are_counted(tmp_path):
    texts = dict.fromkeys((0, 2, 4), "the very same words stand here again and again")
    texts |= dict.fromkeys((6, 7), "this is ham to one person and spam to another")
    notes = load(changed(tmp_path, "text", texts)).notes
    assert notes[0].startswith("3 of 40 texts are exact copies of others")
    assert notes[1].startswith("1 texts stand there with more than one label")


def test_test_texts_that_training_has(tmp_path):
    train = write(tmp_path / "train.csv", rows())
    test = [row | {"text": f"what only the test has {row['id']}"} for row in rows(6)]
    test[1]["text"] = rows()[1]["text"]
    found = load(train, "--test", str(write(tmp_path / "test.csv", test)))
    assert found.known == [41]
    assert found.notes == [
        "1 of 6 test texts share much of their wording with training texts, so the "
        "test is in part one of memory"
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "regression"], "--task regression is not done here; done are"),
        (["--task", "entities"], "parts of texts and numbers are not"),
        (["--epochs", "0"], "--epochs is a whole number from 1 on"),
        (["--epochs", "two"], "argument --epochs: invalid int value: 'two'"),
        (["--learning-rate", "-1"], "--learning-rate is a number above 0"),
        (["--learning-rate", "nan"], "--learning-rate is a number above 0"),
        (["--test-fraction", "1"], "--test-fraction is a share above 0, and 0.5"),
        (["--test", "a.csv", "--test-fraction", "0.2"], "--test or --test-fraction"),
        (["--method", "prefix"], "--method is one of full, lora, qlora"),
        (["--method", "qlora"], "--method qlora is for sft and dpo"),
        (["--seed", "-1"], "--seed is a whole number from 0 on"),
        (["--output", ""], "--output is the name of a folder that is not there yet"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_settings_that_make_no_run(options, said):
    given = ["--task", "classification", "--train", "a.csv", "--output", "b"]
    with pytest.raises(RecipeError) as refused:
        parse([*given, *options])
    assert said in str(refused.value)


def test_tables_are_refused_without_torch():
    program = (
        "import sys\n"
        "from finetuning.recipes import labelled, settings, workplace\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
