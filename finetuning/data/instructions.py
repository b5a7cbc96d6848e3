"""Instructions whose answers a rule can check: chapter 13's data.

Each asks for a short text to be given back in a certain form. The texts are sentences
of State of the Union messages and interface strings of Django for training, and
docstrings and later messages for the test; what is asked for, the right answer and the
rule that checks an answer are made by the code below. `book/data-cards.md` says more.
"""

import functools
import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from finetuning.data.corpora import (
    load_interface_strings,
    load_state_of_the_union,
    near_duplicate_groups,
)

Rule = tuple[str, object]

TRAINING_SOURCES = ("interface strings", "messages to 1980")
TEST_SOURCES = ("docstrings", "messages from 2001")
MODULES = ("numpy", "scipy.stats", "scipy.signal", "sklearn.metrics", "torch")
WORDS = (3, 9)  # the fewest and the most of a text


@dataclass(frozen=True)
class Instruction:
    """A prompt, an answer that obeys it, and the rules that tell whether one does."""

    kind: str
    source: str
    prompt: str
    answer: str
    rules: tuple[Rule, ...]

    @property
    def chat(self) -> list[dict[str, str]]:
        """The instruction and its answer as messages."""
        return [
            {"role": "user", "content": self.prompt},
            {"role": "assistant", "content": self.answer},
        ]

    def obeyed_by(self, answer: str) -> bool:
        """Whether an answer keeps every rule; white space around it does not count."""
        return obeys(answer, self.rules)


def obeys(answer: str, rules: Iterable[Rule]) -> bool:
    """Whether an answer keeps every rule.

    Raises ValueError for a rule of another name than those of `CHECKS`.
    """
    answer = answer.strip()
    for name, value in rules:
        if name not in CHECKS:
            raise ValueError(
                f"there is no rule {name!r}; there are {', '.join(CHECKS)}"
            )
        if not CHECKS[name](answer, value):
            return False
    return True


def _is_object(answer: str, fields: dict[str, object]) -> bool:
    """Whether an answer is a JSON object with exactly these fields."""
    try:
        return json.loads(answer) == fields
    except ValueError:
        return False


CHECKS: dict[str, Callable[[str, object], bool]] = {
    "is": lambda answer, text: answer == text,
    "begins with": lambda answer, text: answer.startswith(text),
    "ends with": lambda answer, text: answer.endswith(text),
    "contains": lambda answer, text: text.lower() in answer.lower(),
    "words at most": lambda answer, most: 1 <= len(answer.split()) <= most,
    "JSON": _is_object,
}


# Kinds: each makes (what is asked for, the answer, the rules) of a text. `pick` chooses
# one of several by the text itself, so that nothing is drawn by chance.

Made = tuple[str, str, tuple[Rule, ...]]


def pick(text: str, choices: Sequence, salt: str = "") -> object:
    """One of the choices, always the same for a text."""
    digest = hashlib.sha256(f"{salt}/{text}".encode()).digest()
    return choices[int.from_bytes(digest[:4], "big") % len(choices)]


def _same(asked: str, answer: str) -> Made:
    return asked, answer, (("is", answer),)


def _three_words(text: str) -> list[str]:
    """Three different words of a text, the longest, in their order."""
    words = list(dict.fromkeys(re.findall(r"[A-Za-z]+", text)))
    longest = sorted(words, key=lambda word: (-len(word), word))[:3]
    return [word for word in words if word in longest]


def _items(text: str, asked: str, form: Callable[[int, str], str]) -> Made:
    words = _three_words(text)
    lines = [form(number, word) for number, word in enumerate(words, start=1)]
    return _same(f"{asked} {', '.join(words)}", "\n".join(lines))


def _quotes(text: str) -> Made:
    return _same(f"Put this in double quotes: {text}", f'"{text}"')


def _capitals(text: str) -> Made:
    return _same(f"Write this in capital letters: {text}", text.upper())


def _opening(text: str) -> Made:
    word = pick(text, ("Note:", "Warning:", "Remember:", "Hint:"))
    rules = (("begins with", word), ("contains", text))
    return f'Repeat this, but begin with "{word}" {text}', f"{word} {text}", rules


def _closing(text: str) -> Made:
    word = pick(text, ("Over.", "Done.", "The end.", "Stop."))
    rules = (("ends with", word), ("contains", text))
    return f'Repeat this, and end with "{word}" {text}', f"{text} {word}", rules


def _json(text: str) -> Made:
    key = pick(text, ("text", "message", "content", "line"))
    fields = {key: text}
    asked = f'Answer in JSON with the key "{key}": {text}'
    return asked, json.dumps(fields, ensure_ascii=False), (("JSON", fields),)


def _first_words(text: str) -> Made:
    count = pick(text, (1, 2, 3))
    number = {1: "word", 2: "two words", 3: "three words"}[count]
    answer = " ".join(text.split()[:count])
    return _same(f"Write only the first {number} of this: {text}", answer)


def _dashes(text: str) -> Made:
    return _items(
        text,
        "Make a list, one line each, with a dash before each:",
        lambda number, word: f"- {word}",
    )


def _last_word(text: str) -> Made:
    return _same(f"Write only the last word of this: {text}", text.split()[-1])


def _small_letters(text: str) -> Made:
    return _same(f"Write this in small letters: {text}", text.lower())


def _brackets(text: str) -> Made:
    return _same(f"Put this in square brackets: {text}", f"[{text}]")


def _two_keys(text: str) -> Made:
    first, *_, last = text.split()
    fields = {"first": first, "last": last}
    asked = f'Answer in JSON, with its "first" and its "last" word: {text}'
    return asked, json.dumps(fields, ensure_ascii=False), (("JSON", fields),)


def _numbers(text: str) -> Made:
    return _items(
        text,
        "Make a list, one line each, numbered 1., 2., 3.:",
        lambda number, word: f"{number}. {word}",
    )


def _at_most(text: str) -> Made:
    most = pick(text, (3, 4, 5))
    answer = " ".join(text.split()[:most])
    return (
        f"Say this in at most {most} words: {text}",
        answer,
        (("words at most", most),),
    )


def _both_ends(text: str) -> Made:
    first = pick(text, ("Note:", "Warning:"))
    last = pick(text, ("Over.", "Done."), "last")
    rules = (("begins with", first), ("contains", text), ("ends with", last))
    asked = f'Repeat this, but begin with "{first}" and end with "{last}" {text}'
    return asked, f"{first} {text} {last}", rules


KINDS: dict[str, Callable[[str], Made]] = {
    "double quotes": _quotes,
    "capital letters": _capitals,
    "an opening": _opening,
    "a closing": _closing,
    "JSON": _json,
    "first words": _first_words,
    "dashes": _dashes,
    "last word": _last_word,
}
HELD_OUT_KINDS: dict[str, Callable[[str], Made]] = {
    "small letters": _small_letters,
    "square brackets": _brackets,
    "JSON, two keys": _two_keys,
    "numbers": _numbers,
    "at most n words": _at_most,
    "opening and closing": _both_ends,
}


# Texts


def fits(text: str) -> bool:
    """Whether a text is of the wanted length, plain, and has three words to list."""
    fewest, most = WORDS
    plain = re.fullmatch(r"[A-Z][A-Za-z0-9 ,.:;!?()/'-]+", text)
    if not plain or not fewest <= len(text.split()) <= most:
        return False
    return len(_three_words(text)) == 3


def messages(first: int, last: int) -> Iterator[str]:
    """Sentences of State of the Union messages of these years."""
    for speech in load_state_of_the_union():
        if first <= speech["year"] <= last:
            yield from re.split(r"(?<=[.!?])\s+", speech["text"])


def interface_strings() -> list[str]:
    """The English strings of Django's catalogues."""
    return list(load_interface_strings("fr")["source"])


def docstrings(modules: Sequence[str] = MODULES) -> Iterator[str]:
    """The first lines of the docstrings of public functions, module by module."""
    for name in modules:
        module = importlib.import_module(name)
        for attribute in sorted(vars(module)):
            value = vars(module)[attribute]
            if attribute.startswith("_") or not callable(value):
                continue
            text = inspect.getdoc(value)
            if text and not inspect.ismodule(value):
                yield text.strip().split("\n")[0]


_READERS: dict[str, Callable[[], Iterable[str]]] = {
    "interface strings": interface_strings,
    "messages to 1980": lambda: messages(1790, 1980),
    "docstrings": docstrings,
    "messages from 2001": lambda: messages(2001, 2025),
}
# So many candidates of each source are compared with one another for near-duplicates.
CANDIDATES = 450


def _order(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


@functools.cache
def texts() -> dict[str, list[str]]:
    """The texts of each source, in a shuffled order that never changes.

    No two have the same letters or share much of their wording, whatever their source:
    of such texts the first is kept, and the test sources come last.
    """
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    for source in (*TRAINING_SOURCES, *TEST_SOURCES):
        own = dict.fromkeys(" ".join(text.split()) for text in _READERS[source]())
        for text in sorted(filter(fits, own), key=_order)[:CANDIDATES]:
            if _letters(text) not in seen:
                seen.add(_letters(text))
                found.append((source, text))
    groups = near_duplicate_groups([text for _, text in found])
    kept: dict[str, list[str]] = {source: [] for source in _READERS}
    taken: set[int] = set()
    for (source, text), group in zip(found, groups, strict=True):
        if group not in taken:
            taken.add(group)
            kept[source].append(text)
    return kept


def make(kind: str, source: str, text: str) -> Instruction:
    """The instruction of a kind about a text."""
    prompt, answer, rules = (KINDS | HELD_OUT_KINDS)[kind](text)
    return Instruction(kind, source, prompt, answer, rules)


def _instructions(
    kinds: Iterable[str], sources: Sequence[str], each: int, start: int
) -> list[Instruction]:
    """`each` instructions of each kind, each about a text of its own, the kinds in
    turn: any first rows are a fair sample.
    """
    kinds = list(kinds)
    pool = sorted(
        ((source, text) for source in sources for text in texts()[source]),
        key=lambda pair: _order(pair[1]),
    )
    rows = pool[start : start + each * len(kinds)]
    if len(rows) < each * len(kinds):
        raise ValueError(
            f"there are {len(pool)} texts, too few for {each} instructions of "
            f"{len(kinds)} kinds"
        )
    return [
        make(kinds[place % len(kinds)], source, text)
        for place, (source, text) in enumerate(rows)
    ]


def training_set(each: int = 60) -> list[Instruction]:
    """`each` instructions of each of the eight kinds, from the training sources."""
    return _instructions(KINDS, TRAINING_SOURCES, each, 0)


def test_set(each: int = 34) -> list[Instruction]:
    """`each` instructions of each of the six held-out kinds, from the test sources."""
    return _instructions(HELD_OUT_KINDS, TEST_SOURCES, each, 0)


def familiar_set(each: int = 8) -> list[Instruction]:
    """`each` instructions of each of the training kinds, from the test sources, about
    other texts than `test_set`'s (of up to 36 each).
    """
    return _instructions(KINDS, TEST_SOURCES, each, 36 * len(HELD_OUT_KINDS))
