"""Printing that a terminal without UTF-8 survives, in lines that a page can show."""

import sys
import textwrap

WIDTH = 80
"""Columns of a line that a reader sees whole (CONTRIBUTING.md, "Notebooks")."""

_PLAIN = str.maketrans(
    {"✓": "ok:", "✗": "wrong:", "−": "-", "×": "x", "≥": ">=", "≤": "<="}
)


def say(text: str) -> None:
    """Print `text`; signs that standard output cannot encode get plain substitutes."""
    print(printable(text))


def printable(text: str) -> str:
    """`text`, with substitutes for signs that standard output cannot encode."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    return text


def wrapped(text: str) -> str:
    """`text` in lines of at most `WIDTH` columns, all but the first indented by two."""
    return textwrap.fill(
        text,
        WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
