"""A reader's table, read without guessing.

CSV fields stay the strings that they are: `NA` is no missing value, `007` no number. A
file that is not UTF-8 is refused and not decoded to something else, and a line that
cannot be read is named.
"""

import codecs
import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from finetuning.recipes.errors import RecipeError, listed, places

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet",)
SUFFIXES = (*SEPARATORS, *JSON_LINES, *PARQUET)

WIDE_MARKS = {
    # The mark of UTF-32 begins with that of UTF-16, so it is looked for first.
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
SAVE_AS_UTF8 = "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"


@dataclass(frozen=True)
class Table:
    """A file's columns, as lists of equal length.

    `numbers` are where the rows stand in the file: its lines, of Parquet its rows, of a
    JSON list its items.
    `notes` say what was seen and did no harm. `sha256` is of the whole file.
    """

    name: str
    columns: dict[str, list[object]]
    numbers: list[int]
    sha256: str
    unit: str = "line"
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    def places(self, rows: list[int]) -> str:
        """Where rows stand, in words."""
        return places([self.numbers[row] for row in rows], self.unit)


def read_table(path: str | Path) -> Table:
    """The table in a file: .csv, .tsv, .jsonl (.json, .ndjson) or .parquet.

    JSON is one object a line, or one list of objects.

    Raises RecipeError if there is no such file, if its suffix is another, if it holds
    no row, if it is not UTF-8, or if a line cannot be read.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    content = _content(path)
    if suffix not in SUFFIXES:
        raise RecipeError(
            f"{path.name} is no table that is read here: give a file that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    if not content.strip():
        raise RecipeError(f"{path.name} is empty")
    notes: list[str] = []
    unit = "line"
    if suffix in PARQUET:
        unit = "row"
        columns, numbers = _read_parquet(content, path.name)
    else:
        if content.startswith(codecs.BOM_UTF8):
            notes.append(f"{path.name} begins with a byte-order mark, left out")
        text = decode(content, path.name)
        if suffix in SEPARATORS:
            columns, numbers = _read_separated(text, SEPARATORS[suffix], path.name)
        elif text.lstrip().startswith("["):
            unit = "item"
            columns, numbers = _read_json_list(text, path.name)
        else:
            columns, numbers = _read_json_lines(text, path.name)
    if not numbers:
        raise RecipeError(f"{path.name} has no row below its header")
    digest = hashlib.sha256(content).hexdigest()
    return Table(path.name, columns, numbers, digest, unit, notes)


def _content(path: Path) -> bytes:
    """Raises RecipeError if it cannot be read."""
    if path.is_dir():
        raise RecipeError(f"{path} is a folder: name the file in it")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RecipeError(f"there is no file {path}") from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be read ({error.strerror})") from None


def decode(content: bytes, name: str) -> str:
    """The text of a file in UTF-8, without its byte-order mark.

    Raises RecipeError, with the line, for any other encoding: Windows-1252 and UTF-16
    would come out as text, and as the wrong one.
    """
    for mark, encoding in WIDE_MARKS.items():
        if content.startswith(mark):
            raise RecipeError(f"{name} is in {encoding}: {SAVE_AS_UTF8}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Decoding with a mark counts from behind it.
        start = error.start + len(content) - len(error.object)
        line = content.count(b"\n", 0, start) + 1
        raise RecipeError(
            f"{name} is not in UTF-8: line {line} has the byte "
            f"0x{content[start]:02x}; {SAVE_AS_UTF8}"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise RecipeError(
            f"{name} has a zero byte in line {line}, as UTF-16 has and text has not: "
            f"{SAVE_AS_UTF8}"
        )
    return text


def _read_separated(
    text: str, separator: str, name: str
) -> tuple[dict[str, list[object]], list[int]]:
    csv.field_size_limit(2**31 - 1)  # by default a field of 131,072 is too long
    records = _records(text, separator, name)
    header = next(records, (0, []))[1]
    repeated = sorted({each for each in header if each and header.count(each) > 1})
    if repeated:
        raise RecipeError(
            f"{name} has more than one column {listed(repeated)}: rename them"
        )
    columns: dict[str, list[object]] = {each: [] for each in header}
    numbers = []
    for line, fields in records:
        if len(fields) != len(header):
            raise RecipeError(
                f"line {line} of {name} has {len(fields)} fields and the header has "
                f"{len(header)}: a text that holds the separator, or a line end, must "
                "stand in double quotes"
            )
        for each, value in zip(header, fields, strict=True):
            columns[each].append(value)
        numbers.append(line)
    return columns, numbers


def _records(text: str, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not empty, and the line that it begins in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise RecipeError(
                f"the record that begins in line {line} of {name} cannot be read "
                f"({error}): look for a double quote that is not closed, or that "
                "stands inside a text and is not doubled"
            ) from None
        if fields:
            yield line, fields


def _read_json_lines(text: str, name: str) -> tuple[dict[str, list[object]], list[int]]:
    rows: list[dict[str, object]] = []
    numbers = []
    # Not splitlines: a text may hold other line ends, such as U+2028.
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply")
            raise RecipeError(f"line {line} of {name} is not JSON ({reason})") from None
        if not isinstance(row, dict):
            raise RecipeError(
                f"line {line} of {name} is not a JSON object, as "
                '{"text": "…", "label": "…"} is one'
            )
        rows.append(row)
        numbers.append(line)
    return _by_column(rows), numbers


def _read_json_list(text: str, name: str) -> tuple[dict[str, list[object]], list[int]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecipeError(
            f"line {error.lineno} of {name} is not JSON ({error.msg})"
        ) from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise RecipeError(f"item {number} of {name} is not a JSON object")
    return _by_column(rows), list(range(1, len(rows) + 1))


def _by_column(rows: list[dict[str, object]]) -> dict[str, list[object]]:
    """All names that occur; where a row lacks one, None."""
    names = dict.fromkeys(key for row in rows for key in row)
    return {each: [row.get(each) for row in rows] for each in names}


def _read_parquet(
    content: bytes, name: str
) -> tuple[dict[str, list[object]], list[int]]:
    # Only here: a table of another kind does not need it.
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise RecipeError(f"{name} cannot be read as Parquet ({reason})") from None
    names = table.column_names
    repeated = sorted({each for each in names if names.count(each) > 1})
    if repeated:
        raise RecipeError(
            f"{name} has more than one column {listed(repeated)}: rename them"
        )
    columns = {each: table.column(each).to_pylist() for each in names}
    return columns, list(range(1, table.num_rows + 1))
