"""The book's own text, and questions about it, written by hand: the second half of
chapter 19's data.

The chapters' Markdown is read piece by piece, each with the heading that it stands
under. A snapshot of all chapters but 19 and 24 comes with the package, so that results
do not change with every comma; `python -m finetuning.data.book` writes it anew from the
notebooks of a checkout. `book/data-cards.md` says more.
"""

import functools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
SNAPSHOT = HERE / "book_text.json"
QUESTIONS = HERE / "book_questions.txt"
LEFT_OUT = ("19", "24")  # numbers of chapters that are not in the snapshot
# What a section of such a heading holds stands elsewhere, too, or is no text.
NO_SECTION = ("Summary", "Further reading")


@dataclass(frozen=True)
class Piece:
    """A Markdown cell, or the part of one under a heading, as plain text.

    `chapter` is the notebook's stem, `cell` the id of its cell.
    """

    chapter: str
    title: str
    heading: str
    anchor: str
    cell: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands, as a link from the repository's root."""
        return f"chapters/{self.chapter}.ipynb#{self.anchor}"


def plain(markdown: str) -> str:
    """Markdown as a reader sees it: no marks, no addresses, no displayed formulas.

    A paragraph is one line. Formulas inside a line and `code` stay as they are.
    """
    text = re.sub(r"<!--.*?-->|</?\w+[^>]*>", "", markdown, flags=re.DOTALL)
    text = re.sub(r"(?ms)^\s*(```|~~~).*?^\s*\1\s*$", "", text)
    text = re.sub(r"(?s)\$\$.*?\$\$", "…", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)\s]*\)", r"\1", text)
    text = re.sub(r"(?m)^\s*\|[\s|:-]+\|\s*$\n?", "", text)
    text = re.sub(r"\*\*(\S(?:.*?\S)?)\*\*", r"\1", text)
    text = re.sub(r"(?<![\w*\\])\*(\S(?:[^*\n]*\S)?)\*(?!\*)", r"\1", text)
    text = re.sub(r"(?m)^\s*(?:>|[-*]|\d+\.)\s+", "", text)
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return "\n".join(line for line in lines if line)


def anchor_of(heading: str) -> str:
    """The anchor of a heading, as the site and GitHub make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _unfinished(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Z0-9 ]*|@[A-Z-]+@", text))


def _pieces_of(notebook: Path) -> Iterator[Piece]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    title = heading = ""
    for cell in cells:
        if cell["cell_type"] != "markdown":
            continue
        source = "".join(cell["source"])
        # A heading begins a line outside of code; code in Markdown is indented or
        # fenced, and no fence of the book holds a line that begins with "## ".
        for part in re.split(r"(?m)^(?=#{1,4} )", source):
            match = re.match(r"(#{1,4}) +(.+)\n?", part)
            if match:
                part = part[match.end() :]
                if match[1] == "#":
                    title = heading = plain(match[2])
                    continue
                heading = plain(match[2])
            text = re.sub(r" ?@[A-Z-]+@", "", plain(part))
            wanted = heading and not heading.startswith(NO_SECTION)
            if not wanted or not text or _unfinished(text):
                continue
            if text.startswith("Exercises: "):
                continue
            yield Piece(
                notebook.stem, title, heading, anchor_of(heading), cell["id"], text
            )


def read(folder: str | Path = "chapters", left_out: Sequence[str] = ()) -> list[Piece]:
    """The text of all chapters of a folder, in their order.

    Left out are the openings of chapters, their summaries and their references, and
    chapters by number.

    Raises FileNotFoundError if there is no chapter in the folder.
    """
    notebooks = sorted(Path(folder).glob("[0-9][0-9]-*.ipynb"))
    if not notebooks:
        raise FileNotFoundError(f"there is no chapter in {Path(folder).resolve()}")
    return [
        piece
        for notebook in notebooks
        if notebook.stem[:2] not in left_out
        for piece in _pieces_of(notebook)
    ]


@functools.cache
def _snapshot() -> tuple[Piece, ...]:
    rows = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    return tuple(Piece(**row) for row in rows)


def snapshot() -> list[Piece]:
    """The text of the book as it was when its questions were written."""
    return list(_snapshot())


# Questions


@dataclass(frozen=True)
class BookQuestion:
    """A question, and the words of the book that answer it.

    Every phrase of `answers` stands in the book word for word; with none, the book
    does not answer. `after` is the question that was asked before, of a follow-up.
    `marked_late` is True if some of its phrases were marked after a look at what the
    search had found.
    """

    question: str
    answers: tuple[str, ...] = ()
    after: str | None = None
    marked_late: bool = False

    def answered_by(self, text: str) -> bool:
        """Whether a text holds one of the phrases."""
        return any(phrase in text for phrase in self.answers)

    def headings(self) -> set[str]:
        """The headings of the snapshot under which it is answered."""
        return {piece.heading for piece in _snapshot() if self.answered_by(piece.text)}


@functools.cache
def _questions() -> tuple[BookQuestion, ...]:
    found: list[dict] = []
    last = None
    for line in QUESTIONS.read_text(encoding="utf-8").splitlines():
        mark, _, text = line.partition(" ")
        if mark == "Q":
            last = text
            found.append({"question": text, "answers": []})
        elif mark == "F":
            found.append({"question": text, "answers": [], "after": last})
        elif mark == "A":
            found[-1]["answers"].append(text)
        elif mark == "A+":
            found[-1]["answers"].append(text)
            found[-1]["marked_late"] = True
        elif mark == "U":
            found.append({"question": text, "answers": []})
        elif line.strip() and mark != "#":
            raise ValueError(f"a line of {QUESTIONS.name} begins with {mark!r}")
    return tuple(
        BookQuestion(**row | {"answers": tuple(row["answers"])}) for row in found
    )


def answerable() -> list[BookQuestion]:
    """Questions that the book answers."""
    return [each for each in _questions() if each.answers and not each.after]


def unanswerable() -> list[BookQuestion]:
    """Questions on the book's subject that it does not answer."""
    return [each for each in _questions() if not each.answers]


def follow_ups() -> list[BookQuestion]:
    """Questions that can be understood only after another one."""
    return [each for each in _questions() if each.after]


def content_words(text: str) -> set[str]:
    """The words of a text that say what it is about, cut to their first five letters,
    so that *merge* and *merging* are one.
    """
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {word[:5] for word in words if word not in STOP_WORDS}


_STOP = (
    "a about after all also an and any are as at be because been before between both "
    "but by can cannot could did do does else ever every far for from get gets give "
    "given gives go goes good had has have how i if in into is it its itself just let "
    "long made make makes many may me mean means more most much must my need needs no "
    "not nothing of on one only or other others our out over own s should so some such "
    "t than that the their them then there these they this those to too two under up "
    "use used uses was way we were what when where which who whom whose why will with "
    "without would you your"
)
STOP_WORDS = frozenset(_STOP.split())


def shares_no_word(question: BookQuestion) -> bool:
    """Whether no content word of a question stands in a heading that answers it."""
    own = content_words(question.question)
    return not any(own & content_words(heading) for heading in question.headings())


def main() -> None:
    """Write the snapshot from the notebooks below the current folder."""
    pieces = read("chapters", LEFT_OUT)
    rows = ",\n".join(json.dumps(asdict(piece), ensure_ascii=False) for piece in pieces)
    SNAPSHOT.write_text(f"[\n{rows}\n]\n", encoding="utf-8")
    sys.stdout.write(f"{len(pieces)} pieces are kept in {SNAPSHOT}\n")


if __name__ == "__main__":
    main()
