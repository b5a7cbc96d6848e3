"""Prompts with answers, or with a chosen and a rejected one, from a reader's files.

Nothing here needs torch.
"""

from dataclasses import dataclass

from finetuning.data import near_duplicate_groups
from finetuning.recipes.columns import read_texts
from finetuning.recipes.errors import RecipeError
from finetuning.recipes.labelled import VALIDATION, source
from finetuning.recipes.settings import Settings
from finetuning.recipes.splitting import Parts, three_parts
from finetuning.recipes.tables import Table, read_table

FEWEST = 10  # pairs that differ


@dataclass(frozen=True)
class Pairs:
    """`columns` are "prompt" and "answer", or "prompt", "chosen" and "rejected", those
    of a test file last.

    `places`, `parts`, `known`, `notes` and `sources` as in `labelled.Labelled`.
    """

    columns: dict[str, list[str]]
    places: list[int]
    parts: Parts
    known: list[int]
    notes: list[str]
    sources: dict[str, dict[str, object]]

    def __len__(self) -> int:
        return len(self.places)

    def chat(self, row: int, answer: str) -> list[dict[str, str]]:
        """A prompt and the answer of a column, as messages."""
        return [
            {"role": "user", "content": self.columns["prompt"][row]},
            {"role": "assistant", "content": self.columns[answer][row]},
        ]


def load_pairs(settings: Settings) -> Pairs:
    """The files that the settings name.

    Raises RecipeError for all that cannot be learnt from.
    """
    table = read_table(settings.train)
    columns = _columns(table, settings)
    places = list(table.numbers)
    notes = list(table.notes)
    sources = {"train": source(table)}
    learnt = len(places)
    if settings.test is not None:
        table = read_table(settings.test)
        for name, texts in _columns(table, settings).items():
            columns[name] += texts
        places += table.numbers
        notes += table.notes
        sources["test"] = source(table)
    texts = [" ".join(parts) for parts in zip(*columns.values(), strict=True)]
    groups = near_duplicate_groups(texts)
    different = len(set(groups[:learnt]))
    if different < FEWEST:
        raise RecipeError(
            f"{settings.train.name} has {different} pairs that differ, and {FEWEST} "
            "are the least: pairs that share much of their wording count as one"
        )
    parts = three_parts(
        groups[:learnt],
        ["all"] * learnt,
        test=0.0 if settings.test else settings.test_fraction,
        validation=VALIDATION,
        seed=settings.seed,
    )
    known: list[int] = []
    if settings.test is not None:
        parts = Parts(parts.train, parts.validation, list(range(learnt, len(places))))
        of_training = set(groups[:learnt])
        known = [row for row in parts.test if groups[row] in of_training]
    if known:
        notes.append(
            f"{len(known):,} of {len(parts.test):,} test pairs share much of their "
            "wording with training pairs, so the test is in part one of memory"
        )
    return Pairs(columns, places, parts, known, notes, sources)


def _columns(table: Table, settings: Settings) -> dict[str, list[str]]:
    """The columns of the task, without white space at their ends.

    Raises RecipeError as `read_texts`, and for a pair of equal answers.
    """
    prompts = read_texts(table, settings.text_column, "--text-column")
    if settings.task == "sft":
        named = {"answer": (settings.label_column, "--label-column")}
    else:
        named = {
            "chosen": (settings.chosen_column, "--chosen-column"),
            "rejected": (settings.rejected_column, "--rejected-column"),
        }
    columns = {"prompt": prompts}
    for name, (column, option) in named.items():
        columns[name] = read_texts(table, column, option, written_by_people=False)
    # A template may join what stands at the ends with its own marks into one token.
    columns = {
        name: [text.strip() for text in texts] for name, texts in columns.items()
    }
    if settings.task == "dpo":
        equal = [
            row
            for row, pair in enumerate(
                zip(columns["chosen"], columns["rejected"], strict=True)
            )
            if pair[0] == pair[1]
        ]
        if equal:
            raise RecipeError(
                f"the chosen and the rejected answer are the same in "
                f"{table.places(equal)} of {table.name}: take those rows out"
            )
    return columns
