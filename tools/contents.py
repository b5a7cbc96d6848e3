"""The chapters of the book, as book/chapters.yml lists them."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path

import yaml
from notebooks import ROOT

SOURCE = Path("book/chapters.yml")
ALWAYS = ("number", "part", "title", "promise")


class ChaptersError(Exception):
    """What is wrong with book/chapters.yml, in one sentence."""


@dataclass(frozen=True)
class Chapter:
    """One record; what the fields mean stands at the top of book/chapters.yml."""

    number: int
    part: str
    title: str
    promise: str
    slug: str | None = None
    question: str | None = None
    modules: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    exercises: bool = True

    @property
    def label(self) -> str:
        """As tables name it: `04 · Self-attention`."""
        return f"{self.number:02d} · {self.title}"

    @property
    def is_written(self) -> bool:
        return self.slug is not None

    @property
    def stem(self) -> str:
        """The name of its notebooks without the ending: `04-self-attention`."""
        return f"{self.number:02d}-{self.slug}"


@dataclass(frozen=True)
class Contents:
    """The chapters, and the pages before and after them by part."""

    before: dict[str, list[str]]
    chapters: tuple[Chapter, ...]
    after: dict[str, list[str]]

    @property
    def written(self) -> list[Chapter]:
        return [chapter for chapter in self.chapters if chapter.is_written]

    def parts(self) -> Iterator[tuple[str, list[Chapter]]]:
        """Each part with its chapters, planned ones too."""
        for part, chapters in groupby(self.chapters, lambda chapter: chapter.part):
            yield part, list(chapters)

    def of(self, stem: str) -> Chapter:
        """The chapter of a notebook.

        Raises
        ------
        ChaptersError: if it has no record.
        """
        for chapter in self.written:
            if chapter.stem == stem:
                return chapter
        raise ChaptersError(
            f"{SOURCE}: no chapter has the number and the slug of {stem}.ipynb."
        )


def read_contents(root: Path = ROOT) -> Contents:
    """The contents of book/chapters.yml.

    Raises
    ------
    ChaptersError: if it cannot be read, or a record is not as it should be.
    """
    try:
        data = yaml.safe_load((root / SOURCE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ChaptersError(f"{SOURCE}: there is no such file.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ChaptersError(f"{SOURCE}{line}: is not valid YAML.") from None
    chapters = tuple(_chapter(record) for record in data["chapters"])
    numbers = [chapter.number for chapter in chapters]
    if numbers != sorted(set(numbers)):
        raise ChaptersError(f"{SOURCE}: the numbers of the chapters do not ascend.")
    return Contents(data["before"], chapters, data["after"])


def _chapter(record: dict[str, object]) -> Chapter:
    name = f"{SOURCE}: chapter {record.get('number', '?')}"
    missing = [field for field in ALWAYS if field not in record]
    if missing:
        raise ChaptersError(f"{name} has no {' and no '.join(missing)}.")
    unknown = record.keys() - {field.name for field in fields(Chapter)}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ChaptersError(f"{name} has {names}, which nothing here knows.")
    if ("slug" in record) != ("question" in record):
        raise ChaptersError(f"{name} needs a slug and a question, or neither.")
    if not isinstance(record.get("exercises", True), bool):
        raise ChaptersError(f"{name}: exercises is true or false.")
    lists = {field: tuple(record.get(field, ())) for field in ("modules", "extras")}
    return Chapter(**(record | lists))
