"""Classification by the recipe: its parts, and whole runs on small tables."""

import csv
import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from small import arguments, choose, messages, save_encoder

from finetuning.data.messages import PILES
from finetuning.recipes import files, kept, linear, measuring, predict, report
from finetuning.recipes.card import table
from finetuning.recipes.command import main
from finetuning.recipes.errors import RecipeError
from finetuning.recipes.linear import GRID, Counter
from finetuning.recipes.predict import load_classifier

SAFE = {".safetensors", ".json", ".csv", ".md"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"))


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / kept.PREDICTIONS).open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def metrics(folder: Path) -> dict:
    return json.loads((folder / kept.METRICS).read_text(encoding="utf-8"))


# Parts


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_those_of_scikit_learn(classes):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 5)).astype(np.float32)
    labels = np.arange(60) % classes
    features[np.arange(60), labels] += 1
    fitted = linear.fit(features[:40], labels[:40], features[40:], labels[40:])
    theirs = LogisticRegression(C=fitted.strength, max_iter=1000)
    theirs.fit(features[:40], labels[:40])
    np.testing.assert_allclose(
        softmax(fitted.scores, axis=1),
        theirs.predict_proba(features[40:]),
        atol=1e-5,
    )
    assert fitted.losses[GRID.index(fitted.strength)] == min(fitted.losses)


@pytest.mark.parametrize("reader", linear.READERS)
def test_counted_words_come_back_from_numbers_and_names(reader):
    texts = list(messages(100)["text"])
    counter = Counter(reader)
    counter.fit(texts[:80])
    again = Counter.load(reader, counter.vocabulary, counter.rarity)
    difference = counter(texts[80:]) - again(texts[80:])
    assert abs(difference).max() < 1e-6
    assert counter(texts[80:]).nnz > 100


def test_words_of_one_letter_and_pairs_are_counted():
    counter = Counter("words")
    counter.fit(["u r 2 late", "call 4 me"])
    assert {"u", "2", "u r", "4 me"} <= set(counter.vocabulary)
    plain = TfidfVectorizer().fit(["u r 2 late"])
    assert "u" not in plain.get_feature_names_out()


def test_texts_without_words_are_counted_by_their_pieces():
    labels = np.array([0, 1] * 4)
    found = linear.fit_counted_words(["!!", "??"] * 4, labels, ["!!", "??"], [0, 1])
    assert found.counter.reader == "pieces of words"


def test_rare_classes_weigh_more_only_where_it_helps():
    generator = np.random.default_rng(0)

    def draw(common: int, rare: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.array([0] * common + [1] * rare)
        return 0.7 * labels[:, None] + generator.normal(size=(len(labels), 1)), labels

    overlap = linear.fit(*draw(300, 100), *draw(300, 100))
    assert overlap.weighed
    plain = linear.fit(*draw(100, 90), *draw(100, 90))
    assert not plain.weighed


def test_the_temperature_makes_up_for_certainty():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 3))
    shares = softmax(logits, axis=1)
    labels = np.array([generator.choice(3, p=share) for share in shares])
    assert measuring.fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)
    assert measuring.fit_temperature(logits / 2, labels) == pytest.approx(0.5, rel=0.1)


def test_thresholds_by_hand():
    shares = np.array([[0.95, 0.05], [0.8, 0.2], [0.35, 0.65], [0.45, 0.55]])
    rows = measuring.threshold_table(shares, np.array([0, 1, 1, 0]))
    by_threshold = {row["threshold"]: row for row in rows}
    assert by_threshold[0.0]["share_right"] == 0.5
    assert by_threshold[0.6] == {
        "threshold": 0.6,
        "share_kept": 0.75,
        "share_right": 0.6667,
    }
    assert by_threshold[0.99]["share_right"] is None


def test_classes_by_hand():
    figures = measuring.per_class(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), "abc")
    assert figures["a"] == {"texts": 1, "recall": 1.0, "precision": 0.5, "f1": 0.6667}
    assert figures["b"] == {"texts": 3, "recall": 0.6667, "precision": 1.0, "f1": 0.8}
    assert figures["c"]["recall"] is figures["c"]["precision"] is None


def test_macro_f1_has_an_interval_around_it():
    generator = np.random.default_rng(0)
    labels = generator.integers(3, size=200)
    said = np.where(generator.random(200) < 0.8, labels, 0)
    found = measuring.scores(said, labels)
    low, high = found["macro_f1_interval"]
    assert low < found["macro_f1"] < high
    assert 0.05 < high - low < 0.2


def test_a_bar_in_a_class_does_not_end_a_cell():
    assert table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |"


# Whole runs


@pytest.fixture(scope="module", params=[kept.COUNTED, kept.FROZEN, kept.TUNED])
def made(request, tmp_path_factory, encoder):
    """An output of each kind."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "compare", report.compare)
        choose(request.param)
        assert main(arguments(folder, encoder)) == 0
    return folder / "out"


def test_what_is_kept_predicts_what_it_predicted(made):
    rows = lines(made)
    classifier = load_classifier(made)
    found = classifier.predict([row["text"] for row in rows])
    assert [each.label for each in found] == [row["predicted"] for row in rows]
    np.testing.assert_allclose(
        [each.probability for each in found],
        [float(row["probability"]) for row in rows],
        atol=2e-4,
    )
    shares = classifier.probabilities(["The invoice is wrong.", "It crashes."])
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert classifier.predict([]) == []


def test_only_text_and_tensors_are_kept(made):
    names = {path.name for path in made.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in names} <= SAFE
    assert not made.with_name("out.unfinished").exists()
    assert {kept.RECIPE, kept.METRICS, kept.PREDICTIONS, kept.CARD} <= names


def test_metrics_agree_with_the_predictions(made):
    rows = lines(made)
    found = metrics(made)
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert found["texts"] == {
        "train": 64,
        "validation": 16,
        "test": 20,
        "max_length": 64,
        "cut": 0,
        "known_from_training": 0,
    }
    assert len(rows) == 20
    kind = found["chosen"]
    assert found["methods"][kind]["test"]["accuracy"] == pytest.approx(right)
    assert set(found["methods"]) == set(found["seconds"])
    assert found["baseline"]["method"] == kept.COUNTED
    # The place of a text is its line in the file.
    written = (made.parent / "train.csv").read_text(encoding="utf-8").splitlines()
    assert all(row["text"] in written[int(row["place"]) - 1] for row in rows)


def test_the_card_names_the_file_by_its_hash(made):
    card = (made / kept.CARD).read_text(encoding="utf-8")
    assert f"`{metrics(made)['data']['train']['sha256']}`" in card
    assert "| tuned encoder |" in card
    assert str(made.parent) not in card


def test_lora_is_merged(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(report, "compare", report.compare)
    choose(kept.TUNED)
    assert main(arguments(tmp_path, encoder, "--method", "lora")) == 0
    rows = lines(tmp_path / "out")
    found = load_classifier(tmp_path / "out").predict([row["text"] for row in rows])
    assert [each.label for each in found] == [row["predicted"] for row in rows]
    weights = (tmp_path / "out" / kept.ENCODER / "model.safetensors").read_bytes()
    assert b"lora" not in weights[:20000]


def test_a_test_file_is_reported_on_with_and_without_known_texts(tmp_path, encoder):
    words = ("invoice", "crash")
    table = messages(5)
    for row in range(30):
        text = f"case {row} of {row * row}: {words[row % 2]} again"
        table.loc[len(table)] = [text, PILES[row % 2]]
    table.to_csv(tmp_path / "test.csv", index=False)
    given = arguments(tmp_path, encoder, "--test", str(tmp_path / "test.csv"))
    assert main(given) == 0
    found = metrics(tmp_path / "out")
    assert found["texts"]["test"] == 35
    assert found["texts"]["known_from_training"] == 5
    new = [row["label"] == row["predicted"] for row in lines(tmp_path / "out")[5:]]
    assert found["without_known_texts"]["accuracy"] == pytest.approx(
        np.mean(new), abs=1e-4
    )
    assert any("one of memory" in note for note in found["notes"])
    assert found["data"]["test"]["rows"] == 35


def test_long_texts_are_counted(tmp_path, encoder):
    table = messages(100)
    table.loc[3, "text"] = "invoice " * 90
    table.to_csv(tmp_path / "train.csv", index=False)
    assert main(arguments(tmp_path, encoder)) == 0
    found = metrics(tmp_path / "out")
    assert found["texts"]["cut"] == 1
    assert "1 of 100 texts are longer than the 64 tokens" in found["notes"][-1]


def test_the_baseline_is_named_first_where_it_wins(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(report, "compare", report.compare)
    choose(kept.COUNTED)
    assert main(arguments(tmp_path, encoder)) == 0
    card = (tmp_path / "out" / kept.CARD).read_text(encoding="utf-8")
    assert card.split("\n\n")[1].startswith("The baseline won: ")


def test_of_equals_the_one_with_the_lower_loss_is_chosen():
    better = {"macro_f1": 0.9, "calibrated_loss": 0.2}
    equal = {"macro_f1": 0.9, "calibrated_loss": 0.3}
    worse = {"macro_f1": 0.8, "calibrated_loss": 0.1}
    assert max([worse, equal, better], key=report._merit) is better


def test_what_is_chosen_is_the_best_of_the_validation_part(tmp_path, encoder):
    assert main(arguments(tmp_path, encoder)) == 0
    found = metrics(tmp_path / "out")
    decided = {
        name: figures["validation"]["macro_f1"]
        for name, figures in found["methods"].items()
    }
    assert decided[found["chosen"]] == max(decided.values())
    assert found["accuracy"] == found["methods"][found["chosen"]]["test"]["accuracy"]


# Refusals


def refused(given: list[str], capsys) -> str:
    """The sentence on stderr, exit code 2."""
    capsys.readouterr()
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_a_mistyped_model_leaves_no_folder(tmp_path, capsys):
    said = refused(arguments(tmp_path, Path("MiniLM")), capsys)
    assert "There is no packaged model and no folder named 'MiniLM'" in said
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


def test_an_output_that_is_there_is_refused(tmp_path, encoder, capsys):
    (tmp_path / "out").mkdir()
    assert "exists: give another --output" in refused(
        arguments(tmp_path, encoder), capsys
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "train.csv"]


def test_a_wrong_command_is_one_sentence(tmp_path, capsys):
    assert "the following arguments are required" in refused(["--task", "sft"], capsys)


def test_too_small_a_disk_is_said_before_anything_is_trained(
    tmp_path, encoder, capsys, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    said = refused(arguments(tmp_path, encoder), capsys)
    assert "of disk at its fullest, and 0.0 GB are free" in said
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


def test_a_disk_that_becomes_full_can_be_gone_on_with(
    tmp_path, encoder, capsys, monkeypatch
):
    write = files.write_tensors

    def full(path, tensors):
        if "step-" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, tensors)

    monkeypatch.setattr(files, "write_tensors", full)
    said = refused(arguments(tmp_path, encoder), capsys)
    assert "is full: make room and go on with --resume" in said
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(files, "write_tensors", write)
    assert main(arguments(tmp_path, encoder, "--resume")) == 0


def test_a_rate_that_breaks_training_is_said(tmp_path, encoder, capsys):
    given = arguments(tmp_path, encoder, "--learning-rate", "1e30")
    assert "try a lower --learning-rate, such as 1e+29" in refused(given, capsys)


def test_a_folder_that_is_no_output(tmp_path):
    with pytest.raises(RecipeError, match=r"there is no recipe\.json in"):
        load_classifier(tmp_path)


def test_a_damaged_output(tmp_path, made):
    shutil.copytree(made, tmp_path / "out")
    weights = tmp_path / "out" / kept.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(RecipeError, match="is damaged"):
        load_classifier(tmp_path / "out")


def test_texts_are_a_list_of_strings(made):
    classifier = load_classifier(made)
    with pytest.raises(TypeError, match="texts are a list"):
        classifier.predict("one text")
    with pytest.raises(TypeError, match="a text is a string"):
        classifier.predict([1])


def test_a_table_is_labelled(tmp_path, made, capsys):
    messages(10).to_json(tmp_path / "new.jsonl", orient="records", lines=True)
    given = [str(made), str(tmp_path / "new.jsonl"), str(tmp_path / "new.csv")]
    assert predict.main(given) == 0
    with (tmp_path / "new.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["text", "label", "predicted", "probability"]
    assert {row["predicted"] for row in rows} <= {"billing", "fault"}
    assert predict.main(given) == 2
    assert "exists: name another file" in capsys.readouterr().err
