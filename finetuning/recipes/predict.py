"""What the recipe has kept, loaded and used.

    classifier = load_classifier("sorted")
    classifier.predict(["Where is my invoice?"])

`python -m finetuning.recipes.predict FOLDER TABLE LABELLED` does it for a table.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from finetuning.recipes import files, kept, linear, measuring
from finetuning.recipes.columns import read_texts
from finetuning.recipes.errors import RecipeError
from finetuning.recipes.linear import Counter, Linear
from finetuning.recipes.tables import read_table


class Prediction(NamedTuple):
    """The most probable class of a text, and how probable."""

    label: str
    probability: float


class Classifier:
    """Texts to classes. `labels` are the classes, in the order of probabilities."""

    def __init__(
        self,
        labels: Sequence[str],
        temperature: float,
        scores: Callable[[Sequence[str]], np.ndarray],
    ) -> None:
        self.labels = list(labels)
        self._temperature = temperature
        self._scores = scores

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """(N, K), each row's sum is 1.

        Raises TypeError for one string, or for anything else than strings.
        """
        if isinstance(texts, str):
            raise TypeError("texts are a list: write [text] for a single one")
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a text is a string")
        if not len(texts):
            return np.empty((0, len(self.labels)))
        return measuring.probabilities(self._scores(list(texts)), self._temperature)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """The class of each text. Raises TypeError as `probabilities`."""
        return [
            Prediction(self.labels[int(shares.argmax())], float(shares.max()))
            for shares in self.probabilities(texts)
        ]


def load_classifier(folder: str | Path) -> Classifier:
    """The classifier in an output folder.

    Raises RecipeError if there is none, or its files are damaged.
    """
    folder = Path(folder).expanduser()
    try:
        recipe = json.loads((folder / kept.RECIPE).read_text(encoding="utf-8"))
        if recipe.get("task") != "classification":
            raise RecipeError(f"{folder} holds no classifier, but {recipe.get('task')}")
        arrays = load_file(folder / kept.WEIGHTS)
        classifier = Linear(arrays["weights"], arrays["bias"])
        if recipe["kind"] == kept.COUNTED:
            words = json.loads((folder / kept.VOCABULARY).read_text(encoding="utf-8"))
            counter = Counter.load(recipe["reader"], words, arrays["rarity"])
            return Classifier(
                recipe["labels"],
                recipe["temperature"],
                lambda texts: classifier.scores(counter(texts)),
            )
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise RecipeError(f"there is no {name} in {folder}") from None
    except (SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise RecipeError(f"the classifier in {folder} is damaged ({error})") from None
    vectors = _reader(folder, recipe)
    return Classifier(
        recipe["labels"],
        recipe["temperature"],
        lambda texts: classifier.scores(vectors(texts)),
    )


def load_language_model(folder: str | Path):
    """The tuned model in an output folder and its tokenizer, in evaluation mode.

    Raises RecipeError if there is none.
    """
    from finetuning.models import load_causal_lm
    from finetuning.tuning import TuningError, load_adapter

    folder = Path(folder).expanduser()
    try:
        recipe = json.loads((folder / kept.RECIPE).read_text(encoding="utf-8"))
        if recipe["task"] == "classification":
            raise RecipeError(f"{folder} holds a classifier, and no language model")
        if recipe["method"] == "full":
            return load_causal_lm(folder / kept.MODEL)
        return load_adapter(folder / kept.ADAPTER, base=recipe["model"])
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise RecipeError(f"there is no {name} in {folder}") from None
    except TuningError as error:
        raise RecipeError(str(error)) from None


def _reader(
    folder: Path, recipe: dict[str, object]
) -> Callable[[Sequence[str]], linear.Features]:
    """Texts to an encoder's vectors, of length 1 where they were so in training."""
    # Only here: counted words need no torch.
    from finetuning.models import load_encoder
    from finetuning.recipes.encoder import means

    encoder, tokenizer = load_encoder(folder / kept.ENCODER)

    def vectors(texts: Sequence[str]) -> np.ndarray:
        return means(
            encoder,
            tokenizer,
            texts,
            recipe["max_length"],
            unit=recipe["kind"] == kept.FROZEN,
        )

    return vectors


def main(arguments: Sequence[str] | None = None) -> int:
    """Label a table: its columns, and `predicted` and `probability` beside them."""
    parser = argparse.ArgumentParser(
        prog="python -m finetuning.recipes.predict",
        description="Labels the texts of a table with a classifier that was kept.",
    )
    parser.add_argument("folder", type=Path, help="what finetune.py has written")
    parser.add_argument("table", type=Path, help="CSV, JSONL or Parquet")
    parser.add_argument("labelled", type=Path, help="the CSV file to write")
    parser.add_argument("--text-column", default="text", metavar="NAME")
    given = parser.parse_args(arguments)
    try:
        if given.labelled.exists():
            raise RecipeError(f"{given.labelled} exists: name another file")
        table = read_table(given.table)
        texts = read_texts(table, given.text_column, "--text-column")
        found = load_classifier(given.folder).predict(texts)
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    columns = dict(table.columns)
    columns["predicted"] = [each.label for each in found]
    columns["probability"] = [f"{each.probability:.4f}" for each in found]
    rows = list(zip(*columns.values(), strict=True))
    files.write_table(given.labelled, list(columns), rows)
    print(f"{len(rows):,} texts in {given.labelled}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
