"""Checks of chapter 18's exercises.

- `fuzzy_match`: the nearest string by words that must be edited (exercise 18.1)
- `by_hand`: tokens, scores and forms worked out beforehand (exercise 18.2)
- `allowed_pieces`: what may be written next (exercise 18.3)
- `broken_characters`: characters that lie in several tokens (exercise 18.4)
- `repaired`: placeholders that were renamed, put right (exercise 18.5)
- `in_order`: translations in batches, without its three faults (exercise 18.6)
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from finetuning.checks.cases import listed
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import as_number, check, fail, passed, written
from finetuning.checks.predictions import Guess, predicted_numbers
from finetuning.checks.task import Case, Mistake, Task

__all__ = [
    "allowed_pieces",
    "broken_characters",
    "by_hand",
    "fuzzy_match",
    "in_order",
    "repaired",
]

# 18.1


def _distance(first: Sequence, second: Sequence, change: int = 1) -> int:
    """The fewest insertions and deletions, 1 each, and changes."""
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, start=1):
        above, row = row, [i]
        for j, other in enumerate(second, start=1):
            same = above[j - 1] + (0 if one == other else change)
            row.append(min(same, above[j] + 1, row[j - 1] + 1))
    return row[-1]


def _score(first: Sequence, second: Sequence, change: int = 1) -> float:
    longer = max(len(first), len(second))
    return 1 - _distance(first, second, change) / longer


def _match(
    source: str,
    memory: Sequence[str],
    score: Callable[[str, str], float],
    last: bool = False,
) -> tuple[int, float]:
    scores = [score(source, each) for each in memory]
    best = max(scores)
    places = [place for place, each in enumerate(scores) if each == best]
    return (places[-1] if last else places[0]), best


def _by_words(source: str, other: str) -> float:
    return _score(source.split(), other.split())


def _fuzzy_match(source: str, memory: Sequence[str]) -> tuple[int, float]:
    return _match(source, memory, _by_words)


def _first_words(source: str, other: str) -> float:
    pairs = zip(source.split(), other.split(), strict=False)
    same = sum(one == two for one, two in pairs)
    return same / max(len(source.split()), len(other.split()))


def _fuzzy_cases() -> list[Case]:
    memory = [
        "Delete the selected files",
        "Delete all the selected files now",
        "Save the file",
        "Select a file to delete",
        "Open",
    ]
    return [
        Case("for a string that is there", ("Save the file", memory)),
        Case("for one word more", ("Delete all the selected files", memory)),
        Case("for a word in front", ("Please Save the file", memory)),
        Case("for another word", ("Select a folder to delete", memory)),
        Case("for words in another order", ("files selected the Delete", memory)),
        Case("for a string with nothing in common", ("Bonjour", memory)),
        Case("for one word", ("Open", memory)),
        Case("where two are equally near", ("Save it", ["Save all", "Save it all"])),
        Case("where three are equally near", ("a b", ["a c", "d b", "a e"])),
        Case("where the second is nearer", ("a b c d", ["x a b", "a b c d e"])),
        Case("for spaces that differ", ("Save  the file", ["Save the file"])),
        Case("for capitals that differ", ("save the file", memory)),
        Case(
            "for long strings",
            ("the quick brown fox jumps", ["quick the brown jumps fox", "the brown"]),
        ),
    ]


_FUZZY = Task(
    _fuzzy_match,
    _fuzzy_cases,
    [
        Mistake(
            "Characters were counted, and not words.",
            lambda source, memory: _match(source, memory, _score),
        ),
        Mistake(
            "The distance was divided by the words of `source`, and should be by "
            "the larger number of words of the two.",
            lambda source, memory: _match(
                source,
                memory,
                lambda a, b: 1 - _distance(a.split(), b.split()) / len(a.split()),
            ),
        ),
        Mistake(
            "Of several that are equally near this takes the last.",
            lambda source, memory: _match(source, memory, _by_words, last=True),
        ),
        Mistake(
            "A word in the place of another counts twice here, as a deletion and an "
            "insertion. It is one edit.",
            lambda source, memory: _match(
                source, memory, lambda a, b: _score(a.split(), b.split(), 2)
            ),
        ),
        Mistake(
            "Words were compared place by place. One word more in front moves all "
            "others, and is one edit.",
            lambda source, memory: _match(source, memory, _first_words),
        ),
        Mistake(
            "The second number is the distance, and should be 1 − distance / words.",
            lambda source, memory: (
                _fuzzy_match(source, memory)[0],
                _distance(
                    source.split(), memory[_fuzzy_match(source, memory)[0]].split()
                ),
            ),
        ),
    ],
    result=("the place", "the score"),
    tolerance=Tolerance(1e-6, 1e-9),
)


@check
def fuzzy_match(answer: Callable) -> None:
    """`fuzzy_match(source, memory)` -> place and score of the nearest."""
    _FUZZY.check(answer)
    passed("place and score are right for thirteen strings, ties included")


# 18.2

_QUESTIONS = {
    "plain tokens": "How many tokens do the two placeholders need together, and how "
    "many of the twelve are left?",
    "13a tokens": "Where would 13a cut? It knows spaces, and the punctuation of ASCII.",
    "zh tokens": "Each Chinese character is a token. And the two punctuation marks?",
    "survival": "Of which strings is it a share? Those without a placeholder have none "
    "to lose.",
    "forms in Chinese": "How many plural forms has a language without a plural?",
}
_TRUE = {
    "plain tokens": 7,
    "13a tokens": 1,
    "zh tokens": 10,
    "survival": 3 / 4,
    "forms in Chinese": 1,
}
_GUESSES = {
    "plain tokens": [
        Guess(12, "Would the placeholders still come through?"),
        Guess(8, "That leaves room for the first placeholder alone."),
        Guess(11, "That leaves room for the second placeholder alone."),
        Guess(5, "That is what the placeholders need. What is left?"),
        Guess(6, "The end may also be cut off. Is one more possible?"),
    ],
    "13a tokens": [
        Guess(2, "Are the full-width comma and stop in ASCII?"),
        Guess(3, "Are the full-width comma and stop in ASCII?"),
        Guess(4, "Are the full-width comma and stop in ASCII?"),
        Guess(10, "That is the number of characters. Does 13a cut between them?"),
    ],
    "zh tokens": [
        Guess(8, "The two punctuation marks are tokens as well."),
        Guess(1, "That is what 13a makes of it."),
        Guess(4, "Those are clauses and punctuation. And each character?"),
    ],
    "survival": [
        Guess(190 / 200, "160 strings have no placeholder. Do they survive anything?"),
        Guess(30 / 200, "Of 200 strings, most have nothing to lose."),
        Guess(1 / 4, "That is the share that broke."),
        Guess(160 / 200, "That is the share without a placeholder."),
    ],
    "forms in Chinese": [
        Guess(2, "That is English or French. Does Chinese have a plural?"),
        Guess(0, "The string has to be translated all the same."),
        Guess(3, "That is Polish or Russian."),
    ],
}


@check
def by_hand(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "plain tokens", "13a tokens", "zh tokens", "survival",
    "forms in Chinese".
    """
    written(predicted, "the prediction")
    if not isinstance(predicted, Mapping) or set(predicted) != set(_QUESTIONS):
        names = listed(f"“{name}”" for name in _QUESTIONS)
        fail(f"the prediction should be a dictionary with the keys {names}.")
    for name in _QUESTIONS:
        as_number(predicted[name], f"“{name}”")
    predicted_numbers(
        {name: predicted[name] for name in _TRUE},
        _TRUE,
        _QUESTIONS,
        relative=0.0,
        absolute=0.002,
        guesses=_GUESSES,
        sentence="“{name}” is not {said:g}.",
    )
    passed("all five are right")


# 18.3

_END = "<end>"


def _special(piece: str) -> bool:
    return piece[0] in "%{"


def _allowed(
    vocabulary: Sequence[str],
    output: Sequence[str],
    wanted: Mapping[str, int],
    limit: int,
    again: bool = False,
    once: bool = False,
    end: bool = False,
    foreign: bool = False,
    spare: int = 0,
) -> list[str]:
    missing = Counter(wanted)
    missing.subtract(piece for piece in output if _special(piece))
    missing = +missing
    if again:
        missing = Counter(wanted)
    if once:
        missing = Counter({name: 1 for name in wanted if name not in output})
    room = limit - len(output)
    found = []
    for piece in vocabulary:
        if piece == _END:
            right = end or not missing
        elif _special(piece):
            right = piece in missing or (foreign and room > missing.total())
        else:
            right = room > missing.total() - spare
        if right:
            found.append(piece)
    return found


def _which(found: object, expected: list[str], case: Case) -> str | None:
    """Which tokens are allowed and should not be, or the other way round."""
    if not isinstance(found, (list, tuple, set)):
        return difference(found, expected, "what is allowed")
    more = [piece for piece in found if piece not in expected]
    if more:
        return f"{more[0]!r} is allowed, and should not be."
    less = [piece for piece in expected if piece not in found]
    if less:
        return f"{less[0]!r} is not allowed, and should be."
    return None


def _allowed_cases() -> list[Case]:
    vocabulary = ["Delete", "%(name)s", "of", "{}", "%s", _END, "files", "{name}"]
    two = {"%(name)s": 1, "{}": 1}
    return [
        Case("at the start", (vocabulary, [], two, 8)),
        Case("after a word", (vocabulary, ["Delete"], two, 8)),
        Case("after a placeholder", (vocabulary, ["of", "{}"], two, 8)),
        Case("after both placeholders", (vocabulary, ["{}", "%(name)s"], two, 8)),
        Case("where the room is just enough", (vocabulary, ["of"] * 4, two, 6)),
        Case("where one token is to spare", (vocabulary, ["of"] * 3, two, 6)),
        Case("where one placeholder just fits", (vocabulary, ["{}", "of"], two, 3)),
        Case("where no placeholder is wanted", (vocabulary, ["files"], {}, 5)),
        Case("where nothing is wanted or written", (vocabulary, [], {}, 2)),
        Case("where one is wanted twice", (vocabulary, ["%s", "of"], {"%s": 2}, 9)),
        Case("where one is wanted three times", (vocabulary, ["%s"], {"%s": 3}, 9)),
        Case("where twice just fits", (vocabulary, ["of"], {"%s": 2, "{}": 1}, 4)),
        Case("where all three are written", (vocabulary, ["%s"] * 3, {"%s": 3}, 9)),
        Case(
            "for a vocabulary without an end", (["a", "{}", "b"], ["a"], {"{}": 1}, 4)
        ),
        Case("where the limit is one", (vocabulary, [], {"{name}": 1}, 1)),
        Case("where one no longer fits", (vocabulary, ["of"] * 5, two, 6)),
        Case("where two no longer fit", (vocabulary, ["of"], {"%s": 3}, 2)),
    ]


_ALLOWED = Task(
    _allowed,
    _allowed_cases,
    [
        Mistake(
            "A placeholder that is written already is still counted as missing.",
            lambda v, o, w, limit: _allowed(v, o, w, limit, again=True),
        ),
        Mistake(
            "A placeholder that is wanted twice counts as done after the first.",
            lambda v, o, w, limit: _allowed(v, o, w, limit, once=True),
        ),
        Mistake(
            "The end is allowed while a placeholder is missing.",
            lambda v, o, w, limit: _allowed(v, o, w, limit, end=True),
        ),
        Mistake(
            "A placeholder that the source does not have is allowed like a word.",
            lambda v, o, w, limit: _allowed(v, o, w, limit, foreign=True),
        ),
        Mistake(
            "A word is allowed where the tokens that are left just suffice for what is "
            "missing: one more than that is needed.",
            lambda v, o, w, limit: _allowed(v, o, w, limit, spare=1),
        ),
        Mistake(
            "A word is allowed although the missing placeholders then no longer fit: "
            "compare what is left with how many are missing.",
            lambda v, o, w, limit: _allowed(v, o, w, 10**6),
        ),
    ],
    compare=_which,
)


@check
def allowed_pieces(answer: Callable) -> None:
    """`allowed_pieces(vocabulary, output, wanted, limit)` -> what may follow."""
    _ALLOWED.check(answer)
    passed("right with and without placeholders, and where the room is short")


# 18.4


def _broken(text: str, tokens: Sequence[bytes]) -> int:
    return sum(_cut(text, tokens))


def _cut(text: str, tokens: Sequence[bytes]) -> list[bool]:
    """For each character whether a token ends inside of it."""
    edges = set(accumulate(map(len, tokens)))
    found = []
    place = 0
    for character in text:
        inside = range(place + 1, place + len(character.encode()))
        found.append(any(edge in edges for edge in inside))
        place += len(character.encode())
    return found


def _undecodable(text: str, tokens: Sequence[bytes]) -> int:
    return sum("�" in token.decode(errors="replace") for token in tokens)


def _long_ones(text: str, tokens: Sequence[bytes]) -> int:
    return sum(len(character.encode()) > 1 for character in text)


def _broken_cases() -> list[Case]:
    def bytewise(text: str) -> tuple[str, list[bytes]]:
        return text, [bytes([byte]) for byte in text.encode()]

    file = "文件".encode()
    return [
        Case("for plain English", ("Save file", [b"Save", b" file"])),
        Case("for English byte by byte", bytewise("Save")),
        Case("for Chinese byte by byte", bytewise("文件")),
        Case(
            "for one whole and one in two pieces",
            ("文件", [file[:3], file[3:5], file[5:]]),
        ),
        Case("for both in one token", ("文件", [file])),
        Case("for a token that ends in the next", ("文件", [file[:4], file[4:]])),
        Case("for a token of two halves", ("文件", [file[:2], file[2:4], file[4:]])),
        Case("for an accent in two pieces", ("né", [b"n", b"\xc3", b"\xa9"])),
        Case("for an accent in one", ("né", [b"n", b"\xc3\xa9"])),
        Case("for four bytes", ("a😀", [b"a", b"\xf0\x9f", b"\x98", b"\x80"])),
        Case("for four bytes whole", ("a😀", [b"a", b"\xf0\x9f\x98\x80"])),
        Case(
            "for a mixture",
            (
                "打开 x",
                ["打".encode(), *("开".encode()[i : i + 1] for i in range(3)), b" x"],
            ),
        ),
        Case("for an empty text", ("", [])),
    ]


_BROKEN = Task(
    _broken,
    _broken_cases,
    [
        Mistake(
            "Tokens were counted that cannot be read alone. It is characters that are "
            "asked for: one may lie in three tokens.",
            _undecodable,
        ),
        Mistake(
            "All characters of more than one byte were counted. One that lies in one "
            "token is whole.",
            _long_ones,
        ),
        Mistake(
            "This is the number of tokens that were too many, and one character can "
            "have two too many.",
            lambda text, tokens: max(len(tokens) - len(text), 0),
        ),
        Mistake(
            "These are the characters that are whole.",
            lambda text, tokens: len(text) - _broken(text, tokens),
        ),
        Mistake(
            "This is a share, and a number is asked for.",
            lambda text, tokens: _broken(text, tokens) / max(len(text), 1),
        ),
    ],
    result="the number of broken characters",
)


@check
def broken_characters(answer: Callable) -> None:
    """`broken_characters(text, tokens)` -> how many lie in several tokens."""
    _BROKEN.check(answer)
    passed("right for one to four bytes a character, and for tokens across characters")


# 18.5

_PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[sdr%]|%\d+|\{\w*\}")


def _without(names: Sequence[str], others: Iterable[str]) -> list[str]:
    """Those names, in order, that the others do not account for."""
    left = Counter(others)
    rest = []
    for name in names:
        if left[name] > 0:
            left[name] -= 1
        else:
            rest.append(name)
    return rest


def _put(output: str, names: Sequence[str]) -> str:
    """The output with these placeholders in the place of its own."""
    waiting = iter(names)
    return _PLACEHOLDER.sub(lambda _: next(waiting), output)


def _repaired(source: str, output: str, backwards: bool = False) -> str:
    wanted = _PLACEHOLDER.findall(source)
    found = _PLACEHOLDER.findall(output)
    if len(wanted) != len(found):
        return ""
    left = Counter(wanted)
    kept = []
    for name in found:
        kept.append(left[name] > 0)
        left[name] -= 1
    missing = _without(
        wanted, [name for name, own in zip(found, kept, strict=True) if own]
    )
    if backwards:
        missing.reverse()
    waiting = iter(missing)
    return _put(
        output,
        [name if own else next(waiting) for name, own in zip(found, kept, strict=True)],
    )


def _by_place(source: str, output: str) -> str:
    wanted = _PLACEHOLDER.findall(source)
    if len(wanted) != len(_PLACEHOLDER.findall(output)):
        return ""
    return _put(output, wanted)


def _by_replace(source: str, output: str) -> str:
    """Each foreign name replaced wherever it stands, twice written ones left."""
    wanted = _PLACEHOLDER.findall(source)
    found = _PLACEHOLDER.findall(output)
    if len(wanted) != len(found):
        return ""
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    for name, right in zip(extra, missing, strict=False):
        output = output.replace(name, right)
    return output


def _repaired_cases() -> list[Case]:
    one = "Delete %(name)s?"
    two = "%(count)s files of %(user)s"
    reordered = (
        "Places change in a translation: the output has them in an order of "
        "its own, rightly.",
    )
    return [
        Case("for a name that was translated", (one, "Supprimer %(nom)s ?")),
        Case("for a right one", (one, "Supprimer %(name)s ?")),
        Case("where none is wanted", ("Save", "Enregistrer")),
        Case("where one is lost", (one, "Supprimer ?")),
        Case("where one is made up", ("Save", "Enregistrer %s")),
        Case("where one is there twice", (one, "%(name)s %(name)s")),
        Case(
            "for two in another order",
            (two, "fichiers de %(user)s : %(count)s"),
            facts=reordered,
        ),
        Case(
            "for one of two",
            (two, "de %(user)s : %(nombre)s"),
            facts=reordered,
        ),
        Case("for both of two", (two, "%(nombre)s fichiers de %(utilisateur)s")),
        Case("for one that stands for both", (two, "%(count)s de %(count)s")),
        Case("for the other for both", (two, "%(user)s et %(user)s")),
        Case("for {} and {name}", ("{} of {name}", "{nom} : {}"), facts=reordered),
        Case("for the same twice", ("{} and {}", "{a} et {a}")),
        Case("for three, two of them foreign", ("%1 %2 %3", "%3 %7 %8")),
        Case(
            "for three in a circle", ("%s, {a}, {b}", "{b}, %s, {c}"), facts=reordered
        ),
    ]


_REPAIRED = Task(
    _repaired,
    _repaired_cases,
    [
        Mistake(
            "All placeholders were replaced place by place. One that belongs stays "
            "where it is, wherever the translation has put it.",
            _by_place,
        ),
        Mistake(
            "The missing ones were put in from the last to the first.",
            lambda source, output: _repaired(source, output, backwards=True),
        ),
        Mistake(
            "Where the numbers differ nothing can be put right, and an empty string is "
            "to come back.",
            lambda source, output: _repaired(source, output) or output,
        ),
        Mistake(
            "A placeholder that the source has, but not so often, is foreign from the "
            "second time on: count them.",
            _by_replace,
        ),
        Mistake(
            "Nothing was repaired: what is not whole was thrown away.",
            lambda source, output: (
                output
                if Counter(_PLACEHOLDER.findall(source))
                == Counter(_PLACEHOLDER.findall(output))
                else ""
            ),
        ),
    ],
    compare=lambda found, expected, case: difference(found, expected, "the text"),
)


@check
def repaired(answer: Callable) -> None:
    """`repaired(source, output)` -> the output with its placeholders put right."""
    _REPAIRED.check(answer)
    passed("right for one to three placeholders, foreign, doubled and moved ones")


# 18.6


def _translations(batch: Sequence[str]) -> list[str]:
    """What a batch gives here: each text, and how far it was padded."""
    longest = max(map(len, batch))
    return [f"{text.upper()} ({longest})" for text in batch]


def _in_order(
    texts: Sequence[str],
    translate: Callable,
    size: int,
    back: bool = True,
    sort: bool = True,
    twice: bool = True,
    last: bool = True,
) -> list[str]:
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    if not sort:
        order = list(range(len(texts)))
    if not twice:
        order = [place for place in order if texts.index(texts[place]) == place]
    found: dict[int, str] = {}
    end = len(order) if last else len(order) - size + 1
    for start in range(0, end, size):
        places = order[start : start + size]
        lines = translate([texts[place] for place in places])
        found |= dict(zip(places, lines, strict=True))
    if not back:
        return list(found.values())
    return [found[place] for place in sorted(found)]


def _order_cases() -> list[Case]:
    strings = ["Select all", "Save", "Delete the file", "Open", "Close", "Undo it"]
    return [
        Case("for six strings in twos", (strings, _translations, 2)),
        Case("for six strings in fours", (strings, _translations, 4)),
        Case("for one batch", (strings, _translations, 9)),
        Case("one at a time", (strings, _translations, 1)),
        Case("for strings in order of length", (["a", "bb", "ccc"], _translations, 2)),
        Case("for the reverse", (["ccc", "bb", "a"], _translations, 2)),
        Case(
            "for a string that comes twice", (["bb", "a", "bb", "c"], _translations, 2)
        ),
        Case(
            "for one that comes three times", (["b", "aa", "b", "b"], _translations, 3)
        ),
        Case("for equal lengths", (["dd", "cc", "bbb", "aa"], _translations, 3)),
        Case("for one string", (["Save"], _translations, 4)),
        Case("for none", ([], _translations, 4)),
    ]


_ORDER = Task(
    _in_order,
    _order_cases,
    [
        Mistake(
            "The translations come in the order of their lengths, and should come in "
            "the order of `texts`.",
            lambda t, translate, size: _in_order(t, translate, size, back=False),
        ),
        Mistake(
            "A text that comes twice is translated once: one translation is missing.",
            lambda t, translate, size: _in_order(t, translate, size, twice=False),
        ),
        Mistake(
            "The last batch is left out where it is not full.",
            lambda t, translate, size: _in_order(t, translate, size, last=False),
        ),
        Mistake(
            "The batches hold the texts as they come. Sort them by length first: the "
            "numbers in brackets show how far each text was padded.",
            lambda t, translate, size: _in_order(t, translate, size, sort=False),
        ),
        Mistake(
            "All faults are still there.",
            lambda t, translate, size: _in_order(
                t, translate, size, back=False, twice=False, last=False
            ),
        ),
    ],
    compare=lambda found, expected, case: difference(
        found, expected, "the list of translations"
    ),
)


@check
def in_order(answer: Callable) -> None:
    """`mended_batches(texts, translate, size)` -> a translation for each text."""
    _ORDER.check(answer)
    passed("each text has its translation, in the order of the texts")
    passed("texts of like length go together, and the last batch is not lost")
