"""Questions about parameters, and where in the documentation the answer stands: the
first half of chapter 19's data.

A rule makes questions and spans of what NumPy, SciPy and scikit-learn say of their
parameters in the form of numpydoc. Beside them are questions, written by hand, about
passages of scikit-learn's, which are kept in a file. `book/data-cards.md` says more.
"""

import functools
import hashlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetuning.data.corpora import near_duplicate_groups
from finetuning.data.summaries import TEST_MODULES, TRAINING_MODULES, documented

MODULES = {
    "train": tuple(name for name in TRAINING_MODULES if not name.startswith("torch")),
    "test": TEST_MODULES,
}
ENTRY_WORDS = 34  # at most of a description
WINDOW_WORDS = 50  # about, of a passage: with a question it fits into 160 tokens
ANSWER_WORDS = 22  # at most
VALIDATION_SHARE = 8  # one function in so many of the training libraries
WRITTEN = Path(__file__).parent / "documentation_questions.json"

# How a rule asks. The first wordings of a kind are those of training; the rest, after
# the bar, are asked in the test alone.
WORDINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": (
        (
            "What is the default of {name}?",
            "What does {name} default to?",
            "Which value has {name} if it is not given?",
            "What value does {name} take by default?",
        ),
        (
            "If I leave {name} out, which value is used?",
            "What will {name} be unless I set it?",
        ),
    ),
    "type": (
        (
            "What type is {name}?",
            "Of what type must {name} be?",
            "What kind of object is {name}?",
            "What can be passed as {name}?",
        ),
        ("What do I have to give for {name}?", "Which type does {name} expect?"),
    ),
    "meaning": (
        (
            "What is {name}?",
            "What does {name} do?",
            "What does {name} mean?",
            "What is {name} for?",
        ),
        ("Can you explain {name}?", "What does {name} control?"),
    ),
    "values": (
        (
            "Which values can {name} take?",
            "What are the choices for {name}?",
            "Which options does {name} have?",
        ),
        ("What can {name} be set to?", "Between what does {name} choose?"),
    ),
    "name": (
        (
            "Which parameter is it: {text}",
            "What is it called: {text}",
            "Which argument do I need: {text}",
            "By what can I say it: {text}",
        ),
        ("How do I set it: {text}", "Which option stands for it: {text}"),
    ),
}


@dataclass(frozen=True)
class Entry:
    """What is said of a parameter: its name, its type, and the beginning of its
    description, in plain text.
    """

    name: str
    type: str
    description: str

    @property
    def text(self) -> str:
        """The entry as it stands in a passage."""
        return f"{self.name} : {self.type}\n{self.description}"


@dataclass(frozen=True)
class Question:
    """A question about a passage, and the answers that are right, each a span of it.

    The first answer is the one to learn; where there is none, the passage does not
    answer. `source` is whose documentation it is.
    """

    source: str
    passage: str
    question: str
    answers: tuple[str, ...]
    start: int | None  # of the first answer, in characters of the passage
    kind: str

    @property
    def answerable(self) -> bool:
        """Whether the passage answers."""
        return bool(self.answers)


# Reading numpydoc


def plain(text: str) -> str:
    """A description in one line, up to its first list, directive or example."""
    text = re.split(r"(?m)^\s*(?:\.\. |[-*] |>>> |\d+[.)] |=====|\+--)", text)[0]
    text = re.sub(r":[\w:]+:`~?\.?([^`<]*?)(?: ?<[^>]*>)?`", r"\1", text)
    text = re.sub(r" ?\[\d+\]_|`+|(?<!\w)\*\*?(?=\w)|(?<=\w)\*\*?(?!\w)", "", text)
    text = re.sub(
        r"(?:Read more in|See also) [^.]*\.(?=\s|$)|\(?[Ss]ee :[^.]*\.", "", text
    )
    return " ".join(text.split())


def entries(docstring: str) -> list[Entry]:
    """The parameters of a numpydoc docstring, each with a type and a description."""
    match = re.search(
        r"(?ms)^(?:Other )?Parameters\n-{5,}\n(.*?)(?=^\S[^\n]*\n-{3,}\s*$|\Z)",
        docstring,
    )
    if not match:
        return []
    found = []
    blocks = re.split(r"(?m)^(?=\S)", match[1])
    for block in blocks:
        head, _, body = block.partition("\n")
        named = re.fullmatch(r"([A-Za-z_]\w*)\s*:\s*(\S.*?)\.?", head.strip())
        if not named:
            continue
        description = plain(inspect.cleandoc(body))
        if len(description.split()) > ENTRY_WORDS:
            description = _first_sentences(description)
        if 3 <= len(description.split()) <= ENTRY_WORDS:
            type_ = " ".join(named[2].replace("`", "").split())
            found.append(Entry(named[1], type_, description))
    return found


_END = re.compile(r"(?<=[.!?])(?<!i\.e\.)(?<!e\.g\.)(?<!etc\.)\s+(?=[A-Z'\"(])")


def _first_sentences(text: str) -> str:
    kept: list[str] = []
    for sentence in _END.split(text):
        if sum(len(each.split()) for each in [*kept, sentence]) > ENTRY_WORDS:
            break
        kept.append(sentence)
    return " ".join(kept)


def windows(found: Sequence[Entry]) -> list[list[Entry]]:
    """Neighbouring entries that together have about `WINDOW_WORDS` words."""
    cut: list[list[Entry]] = []
    words = WINDOW_WORDS
    for entry in found:
        own = len(entry.text.split())
        if words + own > WINDOW_WORDS:
            cut.append([])
            words = 0
        cut[-1].append(entry)
        words += own
    return cut


# The rule: what an entry says of itself


def default_of(entry: Entry) -> str | None:
    """The value of a parameter that is not given, as the entry states it."""
    match = re.search(r"\bdefault(?:\s*[=:]\s*|\s+(?:is\s+)?)(.+)$", entry.type)
    if match:
        return match[1].strip(" .)")
    match = re.search(
        r"\b[Dd]efault(?:s to| is| value is|:)\s+"
        r"('[^']+'|\"[^\"]+\"|[^\s,;()]+?(?:\([^()]*\))?)(?=[.,;)]?(?:\s|$))",
        entry.description,
    )
    if match and match[1].lower() not in ("the", "a", "an", "to", "that", "all"):
        return match[1]
    return None


def states_default(entry: Entry) -> bool:
    """Whether an entry says what holds without it, in a form that is read or not."""
    words = r"\bdefault|\b[Ii]f (?:None|not (?:given|provided))\b"
    return default_of(entry) is not None or bool(re.search(words, entry.text))


def type_of(entry: Entry) -> str | None:
    """The type without what is said of optional or default."""
    text = re.split(r",?\s*\(?\b(?:optional|default)\b", entry.type)[0].strip(" ,.(")
    return text if text and not text.startswith("{") else None


def values_of(entry: Entry) -> str | None:
    """The listed choices, braces included."""
    match = re.match(r"\{[^{}]+\}", entry.type)
    return match[0] if match else None


def meaning_of(entry: Entry) -> str:
    """The first sentence of the description."""
    return _END.split(entry.description)[0]


RULES = {
    "default": default_of,
    "type": type_of,
    "values": values_of,
    "meaning": meaning_of,
    "name": lambda entry: entry.name,
}


def span_of(passage: str, entry: Entry, kind: str) -> tuple[str, int] | None:
    """The answer of a kind about an entry, and its place in the passage."""
    answer = RULES[kind](entry)
    if not answer or len(answer.split()) > ANSWER_WORDS:
        return None
    first = passage.index(entry.text)
    # Of a default behind an equal value: the last one in the type's own line.
    inside = entry.text
    head = len(entry.name) + 3
    if kind == "name":
        place = 0
    elif kind == "meaning":
        place = inside.index(answer, head + len(entry.type))
    elif kind == "default" and answer in entry.type:
        place = head + entry.type.rindex(answer)
    elif kind == "default":
        end = re.search(r"\b[Dd]efault", entry.description).end()
        place = head + len(entry.type) + 1 + entry.description.index(answer, end)
    else:
        place = inside.index(answer, head)
    return answer, first + place


def asked(kind: str, entry: Entry, new: bool, number: int) -> str:
    """A question of a kind about an entry, in a wording of training or a new one."""
    wordings = WORDINGS[kind][int(new)]
    text = meaning_of(entry)
    text = text[0].lower() + text[1:].rstrip(".") + "?"
    return wordings[number % len(wordings)].format(name=entry.name, text=text)


# Gaps: a part of a sentence with a hole in it. Every second question has the word that
# asks in the place of the hole, the others have it in front, where people put it.

GAP_WORDS = ("what", "which", "how")  # of training
NEW_GAP_WORDS = ("what exactly", "where")  # of the test
_SMALL = (
    "as at by for from if in into is less of on only than to used using when whether "
    "with be between are after before over under until where"
)
_BEFORE_GAP = frozenset(_SMALL.split())


def gap_of(sentence: str, salt: int) -> tuple[str, str, str, str] | None:
    """Of a sentence what stands before a gap, the answer, what stands behind it, and
    the sentence again; None where nothing can be left out.

    The answer is what follows a small word, up to the next one or a comma. How many
    words stay on either side of it, the salt decides.
    """
    words = sentence.rstrip(".").split()
    ends = [
        place
        for place, word in enumerate(words)
        if place >= 3 and word.lower() in _BEFORE_GAP and place + 1 < len(words)
    ]
    if len(words) < 8 or not ends:
        return None
    first = ends[salt % len(ends)] + 1
    last = first
    while (
        last + 1 < len(words)
        and last - first < 6
        and words[last + 1].lower() not in _BEFORE_GAP
        and not words[last].endswith((",", ";", ":"))
    ):
        last += 1
    answer = " ".join(words[first : last + 1])
    if answer.endswith((",", ";", ":")):
        return None
    before = words[max(0, first - 3 - salt % 5) : first]
    after = words[last + 1 : last + 3 + salt % 4]
    return " ".join(before), answer, " ".join(after), " ".join(words)


def _gap_question(
    source: str, passage: str, entry: Entry, new: bool, salt: int
) -> Question | None:
    own = [each for each in _END.split(entry.description) if len(each.split()) >= 8]
    made = gap_of(own[salt % len(own)], salt) if own else None
    if made is None:
        return None
    before, answer, after, sentence = made
    if passage.count(sentence) != 1 or sentence.count(answer) != 1:
        return None
    names = NEW_GAP_WORDS if new else GAP_WORDS
    name = names[salt % len(names)]
    asks = f"{before} {name} {after}".strip() + "?"
    if salt // len(names) % 2:
        asks = f"{name.capitalize()} {before} {after}".strip() + "?"
    start = passage.index(sentence) + sentence.index(answer)
    question = Question(source, passage, asks, (answer,), start, "gap")
    return question if by_gap(passage, asks) == answer else None


def by_gap(passage: str, question: str) -> str | None:
    """What fills the gap of such a question, by its neighbours, or None."""
    text = question.rstrip("?")
    for name in sorted((*GAP_WORDS, *NEW_GAP_WORDS), key=len, reverse=True):
        before, found, after = text.partition(f" {name}")
        if found and (not after or after.startswith(" ")):
            filled = _filled(passage, before.split(), after.split())
            if filled:
                return filled
        if text.startswith(f"{name.capitalize()} "):
            words = text.split()[len(name.split()) :]
            for place in range(3, len(words) + 1):
                filled = _filled(passage, words[:place], words[place:])
                if filled:
                    return filled
    return None


def _filled(passage: str, before: Sequence[str], after: Sequence[str]) -> str | None:
    """What stands in a line of the passage between these words; None if nothing."""
    left = re.escape(" ".join(before))
    inside = r"(\S+(?: \S+){0,6}?)"
    end = r"(?=\.(?:\s|$)|$)"
    if after:
        end = rf" {re.escape(' '.join(after))}(?![\w-])"
    match = re.search(rf"(?<![\w-]){left} {inside}{end}", passage, re.MULTILINE)
    return match[1] if match else None


# The sets


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _passages(part: str) -> Iterator[tuple[str, list[Entry]]]:
    for module in MODULES[part]:
        for name, docstring in documented(module):
            for window in windows(entries(docstring)):
                if len({entry.name for entry in window}) == len(window):
                    yield name, window


@functools.cache
def _windows() -> Mapping[str, list[tuple[str, list[Entry]]]]:
    """Passages in a shuffled order that never changes, near-duplicates apart: of those
    that share much of their wording the first is kept, the test's last.
    """
    found = []
    seen: set[str] = set()
    for part in MODULES:
        own = sorted(
            _passages(part), key=lambda pair: _digest(pair[0] + pair[1][0].name)
        )
        for name, window in own:
            text = "\n".join(entry.text for entry in window)
            if text not in seen:
                seen.add(text)
                found.append((part, name, window, text))
    groups = near_duplicate_groups([text for *_, text in found])
    kept: dict[str, list] = {"train": [], "validation": [], "test": []}
    taken: set[int] = set()
    for (part, name, window, _), group in zip(found, groups, strict=True):
        if group in taken:
            continue
        taken.add(group)
        if part == "train" and _digest(name) % VALIDATION_SHARE == 0:
            part = "validation"
        kept[part].append((name, window))
    return kept


def passages(part: str) -> list[str]:
    """The texts of all passages of a part."""
    return ["\n".join(entry.text for entry in window) for _, window in _windows()[part]]


KINDS = tuple(WORDINGS)  # of questions about a parameter; beside them there are gaps


@functools.cache
def _made(part: str) -> list[Question]:
    rows = _windows()[part]
    new = part == "test"
    answered: list[Question] = []
    gaps: list[Question] = []
    seen: set[tuple[str, ...]] = set()
    refused: list[Question] = []
    for number, (name, window) in enumerate(rows):
        passage = "\n".join(entry.text for entry in window)
        own = _digest(passage)
        for turn, entry in enumerate(window):
            gap = _gap_question(name, passage, entry, new, own + turn)
            if gap is not None:
                gaps.append(gap)
            # The rare kinds wherever there is one, and one of the others in turn.
            others = ("type", "meaning", "name")
            for kind in ("default", "values", others[(own + turn) % 3]):
                span = span_of(passage, entry, kind)
                key = (kind, entry.name, span[0] if span else "")
                if span is None or key in seen:
                    continue
                seen.add(key)
                asks = asked(kind, entry, new, own + turn)
                answered.append(
                    Question(name, passage, asks, (span[0],), span[1], kind)
                )
        # One question that is not answered here: a value that is not stated, or of a
        # parameter, or a sentence, that another passage has. What is asked and how it
        # is worded are drawn from different digits of the digest: a wording must not
        # tell whether there is an answer.
        silent = [entry for entry in window if not states_default(entry)]
        place = (number + 1 + own % (len(rows) - 1)) % len(rows)
        other_name, other = rows[place]
        strange = [
            entry
            for entry in other
            if not re.search(rf"\b{re.escape(entry.name)}\b", passage)
        ]
        drawn = own // 8
        if silent and own % 8 == 0:
            asks = asked("default", silent[drawn % len(silent)], new, drawn)
            refused.append(Question(name, passage, asks, (), None, "no default"))
        elif strange and own % 2:
            kind = KINDS[drawn % len(KINDS)]
            drawn = own // 64
            asks = asked(kind, strange[drawn % len(strange)], new, drawn)
            refused.append(Question(name, passage, asks, (), None, "another passage"))
        elif strange:
            text = "\n".join(entry.text for entry in other)
            entry = strange[drawn % len(strange)]
            gap = _gap_question(other_name, text, entry, new, drawn)
            if gap is not None and by_gap(passage, gap.question) is None:
                refused.append(
                    Question(name, passage, gap.question, (), None, "another passage")
                )
    # A parameter that is answered, a gap that is, and one question that is not.
    for each in (answered, gaps, refused):
        each.sort(key=lambda question: _digest(question.passage + question.question))
    return [
        question
        for three in zip(answered, gaps, refused, strict=False)
        for question in three
    ]


def made(part: str, first: int = 0, count: int | None = None) -> list[Question]:
    """Questions that a rule made; of any three in a row two are answered.

    "train" and "validation" are about NumPy and SciPy, no function in both; "test" is
    about scikit-learn, in wordings that training has not. They are read from the
    installed libraries, and so depend a little on their versions.
    """
    rows = _made(part)
    last = len(rows) if count is None else first + count
    return rows[first:last]


@functools.cache
def _written() -> list[Question]:
    kept = json.loads(WRITTEN.read_text(encoding="utf-8"))
    rows = []
    for passage in kept:
        for item in passage["questions"]:
            answers = tuple(item["answers"])
            start = passage["text"].index(answers[0]) if answers else None
            rows.append(
                Question(
                    passage["source"],
                    passage["text"],
                    item["question"],
                    answers,
                    start,
                    "written" if answers else "written, no answer",
                )
            )
    return rows


def written() -> list[Question]:
    """Questions written by hand about passages of scikit-learn's documentation, as
    it was in version 1.9; some of them the passage does not answer.
    """
    return list(_written())


# The rule as a system: what it can do with a question that it did not make


_ASKS = {
    "default": r"\bdefaults?\b|\bnot given\b|\bleave\b|\bunless\b|\bomit",
    "values": r"\bvalues can\b|\bchoices\b|\boptions\b|\bchoose\b|\bset to\b",
    "type": r"\btype\b|\bkind of object\b|\bpassed\b|\bgive for\b|\bexpect\b",
}


def by_rule(passage: str, question: str) -> str | None:
    """The answer of the rule that made the labels, or None where it has none.

    It knows the form of the passage, finds a parameter's name in the question, and
    takes a few words for a kind.
    """
    own = [
        Entry(match[1], match[2], match[3])
        for match in re.finditer(r"(?m)^(\w+) : (.+)\n(.+)$", passage)
    ]
    head, colon, tail = question.partition(": ")
    if colon:
        for entry in own:
            text = meaning_of(entry).rstrip(".").lower()
            if tail.rstrip("?").lower() == text:
                return entry.name
        return None
    gap = by_gap(passage, question)
    if gap is not None:
        return gap
    words = set(re.findall(r"\w+", head))
    named = [entry for entry in own if entry.name in words]
    if not named:
        return None
    entry = max(named, key=lambda each: len(each.name))
    for kind, pattern in _ASKS.items():
        if re.search(pattern, question):
            return RULES[kind](entry)
    return meaning_of(entry)
