"""Codes of three digits, each of a place: what a model cannot know unless it is told.

Chapter 23 hides them in long texts and plants them in training data. A code is drawn by
SHA-256, so it is the same on every machine.
"""

import hashlib

CODES = 1000
"""How many codes there are: from 000 to 999."""

PLACES = (
    "north gate",
    "south gate",
    "east gate",
    "west gate",
    "boat house",
    "bell tower",
    "mill",
    "garden shed",
    "reading room",
    "old library",
    "wine cellar",
    "stable",
    "workshop",
    "chapel",
    "observatory",
    "greenhouse",
    "laundry",
    "post office",
    "music room",
    "map room",
)


def code_of(place: str, draw: int = 0) -> str:
    """The code of a place, three digits; another for each `draw`."""
    number = int(hashlib.sha256(f"{draw}: {place}".encode()).hexdigest(), 16)
    return f"{number % CODES:03d}"


def question(place: str) -> str:
    """What a user asks."""
    return f"What is the code of the {place}?"


def beginning(place: str) -> str:
    """How the answer begins, up to its first digit."""
    return f"The code of the {place} is "


def sentence(place: str, code: str) -> str:
    """The answer, or the sentence that is hidden in a text."""
    return f"{beginning(place)}{code}."


def chat(place: str, code: str) -> list[dict[str, str]]:
    """Question and answer as messages."""
    return [
        {"role": "user", "content": question(place)},
        {"role": "assistant", "content": sentence(place, code)},
    ]
