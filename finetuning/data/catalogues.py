"""Strings of real software in two languages: chapter 18's data.

Django's message catalogues to train on and to test, whole catalogues apart, and those
of JupyterLab, another product. `book/data-cards.md` says more.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from finetuning import resources
from finetuning.data.corpora import load_interface_strings

# Which of Django's catalogues are whose. All others are trained on.
PARTS = {
    "validation": ("contrib/admindocs/django",),
    "test": ("contrib/admin/django", "contrib/admin/djangojs"),
}
TRAIN = "train"
JUPYTERLAB = "jupyterlab"
ALL = (TRAIN, *PARTS, JUPYTERLAB)
LANGUAGES = {"fr": "French", "zh": "Chinese"}
LONGEST = 120  # characters, of a string and of its translation
REQUEST = "Translate this text of a program from {source} into {target}."

_DJANGO = {"fr": "fr", "zh": "zh_Hans"}
_NUMBERED = re.compile(r"%\d+")  # JupyterLab's placeholders
_PACKS = {"fr": "jupyterlab-french", "zh": "jupyterlab-chinese"}


@dataclass(frozen=True)
class Entry:
    """A string of a catalogue and its translation.

    `request` is what asks for the translation.
    """

    catalogue: str
    source: str
    target: str
    request: str

    @property
    def prompt(self) -> list[dict[str, str]]:
        """What a model is asked: the request, then the bare string."""
        return [
            {"role": "system", "content": self.request},
            {"role": "user", "content": self.source},
        ]

    @property
    def chat(self) -> list[dict[str, str]]:
        """The prompt and the translation as messages."""
        return [*self.prompt, {"role": "assistant", "content": self.target}]


def entries(part: str, language: str = "fr") -> list[Entry]:
    """Strings of a part, each once, in a shuffled order that never changes.

    "train", "validation" and "test" are different catalogues of Django; "jupyterlab" is
    JupyterLab with its extensions. What is longer than `LONGEST` characters or has
    several lines is left out. A string is in one part only, whatever its capitals: the
    first of these that has it. The language is "fr" or "zh".

    Raises ValueError for another part or language, and ResourceError if the catalogues
    cannot be fetched.
    """
    if part not in ALL:
        names = ", ".join(ALL)
        raise ValueError(f"there is no part {part!r}; there are {names}")
    if language not in LANGUAGES:
        names = ", ".join(LANGUAGES)
        raise ValueError(f"there is no language {language!r} here; there are {names}")
    return list(_parts(language)[part])


def left_out(part: str, language: str = "fr") -> int:
    """How many strings of a part an earlier part has: they are left out."""
    there = {_plain(source) for _, source, _ in _rows(part, language)}
    return len(there) - len(entries(part, language))


def turned(pairs: Sequence[Entry], language: str = "fr") -> list[Entry]:
    """The same pairs the other way round, into English."""
    request = REQUEST.format(source=LANGUAGES[language], target="English")
    return [
        dataclasses.replace(
            pair, source=pair.target, target=pair.source, request=request
        )
        for pair in pairs
    ]


@functools.cache
def _parts(language: str) -> Mapping[str, list[Entry]]:
    request = REQUEST.format(source="English", target=LANGUAGES[language])
    parts: dict[str, list[Entry]] = {}
    seen: set[str] = set()
    for part in ALL:
        parts[part] = []
        for catalogue, source, target in _rows(part, language):
            if _plain(source) not in seen:
                seen.add(_plain(source))
                parts[part].append(Entry(catalogue, source, target, request))
        parts[part].sort(key=lambda entry: _order(entry.source))
    return parts


@functools.cache
def _rows(part: str, language: str) -> list[tuple[str, str, str]]:
    """Catalogue, string and translation of what is one short line and not blank."""
    if part == JUPYTERLAB:
        rows = list(_jupyterlab(language))
    else:
        others = {name for names in PARTS.values() for name in names}
        strings = load_interface_strings(_DJANGO[language])
        rows = [
            (row["catalogue"], row["source"], row["target"])
            for row in strings
            if row["catalogue"] in PARTS.get(part, ())
            or (part == TRAIN and row["catalogue"] not in others)
        ]
    stripped = [
        (catalogue, source.strip(), target.strip())
        for catalogue, source, target in rows
    ]
    return [row for row in stripped if all(_one_short_line(text) for text in row[1:])]


def _one_short_line(text: str) -> bool:
    return 0 < len(text) <= LONGEST and "\n" not in text


def _jupyterlab(language: str) -> Iterator[tuple[str, str, str]]:
    """From the packs' JSON: a key is a string, perhaps after a context and "\\x04", and
    its value the forms of its translation. Of a plural entry the key is the singular,
    and the first form goes with it. Pairs whose placeholders differ are left out.
    """
    folder = resources.fetch(_PACKS[language])
    for path in sorted(folder.rglob("LC_MESSAGES/*.json")):
        for key, forms in json.loads(path.read_text("utf-8")).items():
            if not key:  # the header
                continue
            source = key.split("\x04")[-1]
            if _numbered(source) == _numbered(forms[0]):
                yield path.stem, source, forms[0]


def _numbered(text: str) -> list[str]:
    return sorted(_NUMBERED.findall(text))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _order(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
