"""`make ask Q="why divide by the square root of d?"`: what the book says about it.

Searches the notebooks of this checkout as they stand, by words and by vectors
(chapter 19), and prints the passages that are nearest, with a link to each. What it
prints is the book's own text; no model writes. The first question takes a minute,
because every passage is read once; the vectors stay in the cache.
"""

import hashlib
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # this checkout's package, and no other's

WORDS = 120  # of a passage, as in chapter 19
SHOWN = 3
MOST = 400  # characters of a question


class AskError(Exception):
    """What is wrong with a question, in one sentence."""


def checked(question: str) -> str:
    """The question in one line.

    Raises AskError if there is none, it is longer than the search reads, or it is
    written in another script than the book.
    """
    text = " ".join(question.split())
    letters = [each for each in text if each.isalpha()]
    if not letters:
        raise AskError('ask something: make ask Q="why is B zero at the start?"')
    if len(text) > MOST:
        raise AskError(
            f"the question has {len(text)} characters; ask with {MOST} at most"
        )
    latin = sum(each.isascii() for each in letters)
    if latin < len(letters) / 2:
        raise AskError("the book is in English, and so is its search: ask in English")
    return text


def cached_vectors(texts: Sequence[str], file: Path, embed) -> np.ndarray:
    """The vectors of texts, (N, C); only those that the file lacks are made.

    A file that cannot be read is made anew.
    """
    keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    known: dict[str, np.ndarray] = {}
    try:
        with np.load(file, allow_pickle=False) as kept:
            known = dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))
    except (OSError, ValueError, KeyError):
        pass
    missing = [place for place, key in enumerate(keys) if key not in known]
    if missing:
        if len(missing) > 50:
            sys.stderr.write(
                f"reading {len(missing)} passages, which takes a minute or two …\n"
            )
        made = embed([texts[place] for place in missing])
        known |= {
            keys[place]: vector for place, vector in zip(missing, made, strict=True)
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        vectors = np.stack([known[key] for key in keys]).astype(np.float16)
        np.savez(part, keys=np.array(keys), vectors=vectors)
        part.replace(file)
    return np.stack([known[key] for key in keys]).astype(np.float32)


def best_sentences(text: str, question_vector: np.ndarray, embed) -> str:
    """The sentence of a passage that is nearest, with the one behind it."""
    from finetuning.scratch.summarization import sentences

    own = sentences(text)
    place = int((embed(own) @ question_vector).argmax())
    return " ".join(own[place : place + 2])


def answer(question: str, folder: Path, cache: Path) -> str:
    """What is printed about a question.

    Raises AskError as `checked` does.
    """
    question = checked(question)
    from finetuning.data import book
    from finetuning.experiments import book_search, results
    from finetuning.scratch.question_answering import BM25, fused, passages

    embed = book_search.vectors_of
    shelf = passages(book.read(folder), WORDS)
    texts = [each.headed for each in shelf]
    vectors = cached_vectors(texts, cache, embed)
    (own,) = embed([question])
    cosines = vectors @ own
    highest = float(cosines.max())
    near, sure = book_search.limits(results(book_search.NAME), SHOWN)
    if highest < near:
        return "Nothing in the book is near to that question."
    order = np.argsort(-fused(BM25(texts).scores(question), cosines), kind="stable")
    lines = []
    if highest < sure:
        lines.append("The book may not answer that. What comes nearest:\n")
    for place in order[:SHOWN]:
        passage = shelf[place]
        lines.append(f"{passage.title} › {passage.heading}")
        quoted = best_sentences(passage.text, own, embed)
        lines.append(textwrap.indent(textwrap.fill(quoted, 84), "  "))
        lines.append(f"  → {passage.place}\n")
    address = base_address()
    lines.append(f"On the site: {address}{page_of(shelf[order[0]].place)}")
    return "\n".join(lines)


def base_address() -> str:
    """Where the site is, as `_config.yml` says."""
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    return re.search(r"(?m)^\s+baseurl: (\S+)", text)[1]


def page_of(place: str) -> str:
    """A notebook's link as the site has it."""
    return place.replace(".ipynb", ".html")


def main(arguments: Sequence[str]) -> int:
    """The exit status: 2 where there is no question that can be searched for."""
    from finetuning.resources import ResourceError
    from finetuning.resources.cache import cache_folder

    try:
        cache = cache_folder() / "ask" / "vectors.npz"
        print(answer(" ".join(arguments), ROOT / "chapters", cache))
    except AskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ResourceError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
