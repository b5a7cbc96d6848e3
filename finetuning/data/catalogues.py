"""Strings of real software in two languages: chapter 18's data.

Django's message catalogues to train on and to test, whole catalogues apart, and those
of JupyterLab, another product. `book/data-cards.md` says more.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from finetuning import resources
from finetuning.data.corpora import load_interface_strings

# Which of Django's catalogues are whose. All others are trained on.
PARTS = {
    "validation": ("contrib/admindocs/django",),
    "test": ("contrib/admin/django",),
}
TRAIN = "train"
JUPYTERLAB = "jupyterlab"
ALL = (TRAIN, *PARTS, JUPYTERLAB)
LANGUAGES = {"fr": "French", "zh": "Chinese"}
LONGEST = 120  # characters, of a string and of its translation
REQUEST = "Translate this text of a program from {source} into {target}."

_DJANGO = {"fr": "fr", "zh": "zh_Hans"}
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
    JupyterLab with its extensions. What is longer than `LONGEST` characters is left
    out, and what stands in "train" already, but for capitals, is in no other part. The
    language is "fr" or "zh".

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


def in_train(part: str, language: str = "fr") -> int:
    """How many strings of a part were left out because "train" has them."""
    trained = {_plain(entry.source) for entry in entries(TRAIN, language)}
    rows = _rows(part, language)
    return len({_plain(source) for _, source, _ in rows} & trained)


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
    trained: set[str] = set()
    for part in ALL:
        seen = set(trained)
        parts[part] = []
        for catalogue, source, target in _rows(part, language):
            if _plain(source) not in seen:
                seen.add(_plain(source))
                parts[part].append(Entry(catalogue, source, target, request))
        if part == TRAIN:
            trained = seen
        parts[part].sort(key=lambda entry: _order(entry.source))
    return parts


@functools.cache
def _rows(part: str, language: str) -> list[tuple[str, str, str]]:
    """Catalogue, string and translation of all that is short enough and not blank."""
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
    return [
        row
        for row in stripped
        if row[1] and row[2] and max(len(row[1]), len(row[2])) <= LONGEST
    ]


def _jupyterlab(language: str) -> Iterator[tuple[str, str, str]]:
    """From the packs' JSON: a key is a string, perhaps after a context and "\\x04", and
    its value the forms of its translation, of which the last that is given is taken.
    """
    folder = resources.fetch(_PACKS[language])
    for path in sorted(folder.rglob("LC_MESSAGES/*.json")):
        for key, forms in json.loads(path.read_text("utf-8")).items():
            if key:  # the empty one is the header
                given = [form for form in forms if form]
                yield path.stem, key.split("\x04")[-1], given[-1] if given else ""


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _order(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
