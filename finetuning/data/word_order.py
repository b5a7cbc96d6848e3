"""Sentences of presidents, in their own order or with the end before the beginning:
chapter 12's data.

A label is known because we made it: every second sentence was cut in two, and the parts
changed places. Which words there are says nothing about it, so an encoder's summary of
what a sentence is about says little.
"""

import functools
import random
import re

from finetuning.data.corpora import load_state_of_the_union

ORDERS = ("own", "turned")
"""The orders; a label is the place of its order."""

SIZES = {"test": 400, "validation": 240, "train": 1000}
"""How many sentences each part has; training sets are drawn from "train"."""

WORDS = range(6, 12)
"""How many words a sentence has."""

_PLAIN = re.compile(r"[A-Z][A-Za-z' -]+[.]")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z])")


def load_word_order(part: str) -> tuple[list[str], list[int]]:
    """The texts of "train", "validation" or "test", and the place of each one's order.

    Sentences of six to eleven words without commas, in small letters, no two alike.
    Those of one speech are all in one part, and half of each part is turned.

    Raises
    ------
    ValueError: if there is no such part.
    ResourceError: if the speeches cannot be fetched.
    """
    if part not in SIZES:
        raise ValueError(f"no part {part!r}; there are {', '.join(SIZES)}")
    texts, labels = zip(*_parts()[part], strict=True)
    return list(texts), list(labels)


@functools.cache
def _parts() -> dict[str, list[tuple[str, int]]]:
    """All sentences by part: the speeches are shuffled and dealt out, then their
    sentences are shuffled, cut and every second one turned.
    """
    # Python promises the same random() on every version, not the same shuffle: a test
    # compares the sentences with a checksum.
    draw = random.Random(0)
    speeches = list(load_state_of_the_union()["text"])
    draw.shuffle(speeches)
    seen: set[str] = set()
    parts = {}
    for place, (part, count) in enumerate(SIZES.items()):
        sentences = []
        for speech in speeches[place :: len(SIZES)]:
            for sentence in _sentences(speech):
                if sentence not in seen:
                    seen.add(sentence)
                    sentences.append(sentence)
        draw.shuffle(sentences)
        parts[part] = [
            (_turned(sentence, draw), 1) if row % 2 else (sentence, 0)
            for row, sentence in enumerate(sentences[:count])
        ]
    return parts


def _sentences(speech: str) -> list[str]:
    """The short plain sentences of a speech, in small letters."""
    found = []
    for paragraph in speech.split("\n"):
        for sentence in _SENTENCE_END.split(paragraph.strip()):
            if _PLAIN.fullmatch(sentence) and len(sentence.split()) in WORDS:
                found.append(sentence.lower())
    return found


def _turned(sentence: str, draw: random.Random) -> str:
    """The sentence with its end before its beginning; each has at least two words."""
    words = sentence.removesuffix(".").split()
    place = draw.randrange(2, len(words) - 1)
    return " ".join(words[place:] + words[:place]) + "."
