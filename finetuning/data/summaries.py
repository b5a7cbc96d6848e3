"""Texts that have a line which says what they are about: chapter 17's data.

BBC News articles have headlines, and the descriptions of functions have summary lines.
Both are cut to their first words, which is where such a line comes from.
`book/data-cards.md` says more.
"""

import functools
import hashlib
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from finetuning.data.corpora import load_bbc_news, near_duplicate_groups

OPENING_WORDS = 60
HEADLINE = "Write a headline for this news article:\n\n{text}"
SUMMARY_LINE = "Write a one-line summary of this documentation of {name}:\n\n{text}"
LINE_WORDS = (4, 14)  # the fewest and the most of a summary line
FEWEST_WORDS = 12  # of a description

# Where functions are documented. The test library is none of those trained on.
TRAINING_MODULES = (
    *("numpy", "numpy.fft", "numpy.linalg", "numpy.ma", "numpy.polynomial"),
    *("numpy.random", "scipy.cluster.hierarchy", "scipy.fft", "scipy.integrate"),
    *("scipy.interpolate", "scipy.linalg", "scipy.ndimage", "scipy.optimize"),
    *("scipy.signal", "scipy.sparse", "scipy.spatial", "scipy.special"),
    *("scipy.stats", "torch", "torch.nn", "torch.optim"),
)
TEST_MODULES = tuple(
    f"sklearn.{name}"
    for name in (
        *("calibration", "cluster", "compose", "covariance", "cross_decomposition"),
        *("datasets", "decomposition", "discriminant_analysis", "ensemble"),
        *("feature_extraction.text", "feature_selection", "gaussian_process"),
        *("impute", "inspection", "isotonic", "kernel_approximation", "linear_model"),
        *("manifold", "metrics", "metrics.pairwise", "mixture", "model_selection"),
        *("multiclass", "naive_bayes", "neighbors", "neural_network", "pipeline"),
        *("preprocessing", "random_projection", "svm", "tree", "utils"),
    )
)


@dataclass(frozen=True)
class Pair:
    """A text and its line; `name` is whose they are, `request` what asks for the line.

    `text` is the opening that a model sees, and `whole` all that there is.
    """

    name: str
    text: str
    line: str
    whole: str
    request: str

    @property
    def prompt(self) -> str:
        """What a model is asked."""
        return self.request.format(name=self.name, text=self.text)

    @property
    def chat(self) -> list[dict[str, str]]:
        """The request and the line as messages."""
        return [
            {"role": "user", "content": self.prompt},
            {"role": "assistant", "content": self.line},
        ]


def opening(text: str, words: int = OPENING_WORDS) -> str:
    """The first words of a text, in one line."""
    return " ".join(text.split()[:words])


def news(part: str, first: int = 0, count: int | None = None) -> list[Pair]:
    """Articles without their headlines, and the headlines.

    `part` is "train" or "test", as `load_bbc_news` splits: what shares much of its text
    is in one of them.
    """
    rows = _articles()[part]
    last = len(rows) if count is None else first + count
    pairs = []
    for row in rows[first:last]:
        body = row["text"].partition("\n\n")[2]
        pairs.append(Pair(row["id"], opening(body), row["title"], body, HEADLINE))
    return pairs


@functools.cache
def _articles() -> Mapping[str, list[dict[str, str]]]:
    return {name: list(part) for name, part in load_bbc_news(split=True).items()}


def documented(module: str) -> Iterator[tuple[str, str]]:
    """The module's own public functions and classes, each with its docstring."""
    contents = vars(importlib.import_module(module))
    for name, value in sorted(contents.items()):
        # compiled functions do not say where they come from
        own = getattr(value, "__module__", None) or module
        if callable(value) and own.startswith(module) and not name.startswith("_"):
            text = inspect.getdoc(value)
            if text:
                yield f"{module}.{name}", text


def description(docstring: str) -> tuple[str, str]:
    """The summary line of a docstring, and the description below it as plain text.

    Sections (Parameters, Returns …), directives and mark-up are left out. Either is
    empty where there is none.
    """
    line, _, rest = docstring.strip().partition("\n\n")
    rest = re.split(r"(?m)^\w[^\n]*\n[-=]{3,} *$|^\w+:$|^\.\. |^>>> |^ *==+", rest)[0]
    rest = re.sub(r":\w+:`~?([^`<]*?)( ?<[^>]*>)?`", r"\1", rest)
    rest = re.sub(r" ?\[\d+\]_|`+|\*\*?", "", rest)
    rest = re.sub(r"Read more in the [^.]*\.", "", rest)
    return " ".join(line.split()), " ".join(rest.split())


def _pairs(modules: Sequence[str]) -> Iterator[Pair]:
    fewest, most = LINE_WORDS
    for module in modules:
        for name, docstring in documented(module):
            line, whole = description(docstring)
            plain = re.fullmatch(r"[A-Z][a-z]*[A-Za-z0-9 ,'()/-]+\.", line)
            if not plain or not fewest <= len(line.split()) <= most:
                continue
            if len(whole.split()) >= FEWEST_WORDS:
                yield Pair(name, opening(whole), line, whole, SUMMARY_LINE)


@functools.cache
def _docstrings() -> Mapping[str, list[Pair]]:
    """Both parts in a shuffled order that never changes; of pairs that share a line, or
    much of their text, the first is kept, and the test part comes last.
    """
    distinct: list[tuple[str, Pair]] = []
    lines: set[str] = set()
    for part, modules in (("train", TRAINING_MODULES), ("test", TEST_MODULES)):
        for pair in sorted(_pairs(modules), key=lambda pair: _order(pair.name)):
            if pair.line.lower() not in lines:
                lines.add(pair.line.lower())
                distinct.append((part, pair))
    # Like what a model sees, or like the whole of it.
    seen = near_duplicate_groups([f"{pair.line} {pair.text}" for _, pair in distinct])
    whole = near_duplicate_groups([pair.whole for _, pair in distinct])
    kept: dict[str, list[Pair]] = {"train": [], "test": []}
    taken: set[tuple[str, int]] = set()
    for (part, pair), *groups in zip(distinct, seen, whole, strict=True):
        own = {("seen", groups[0]), ("whole", groups[1])}
        if not own & taken:
            kept[part].append(pair)
        taken |= own
    return kept


def _order(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def docstrings(part: str, first: int = 0, count: int | None = None) -> list[Pair]:
    """Descriptions of functions and classes, and their summary lines.

    "train": of NumPy, SciPy and PyTorch; "test": of scikit-learn. They are read from
    the installed libraries, and so depend a little on their versions.
    """
    rows = _docstrings()[part]
    last = len(rows) if count is None else first + count
    return rows[first:last]


def apart(pairs: Sequence[Pair], others: Sequence[Pair]) -> list[Pair]:
    """Those of the pairs whose text shares little with that of any of the others."""
    groups = near_duplicate_groups([each.whole for each in [*others, *pairs]])
    taken = set(groups[: len(others)])
    rest = groups[len(others) :]
    return [pair for pair, group in zip(pairs, rest, strict=True) if group not in taken]
