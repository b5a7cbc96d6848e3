"""Do the addresses in the book still lead somewhere?

    python tools/links.py [file or folder …]

reads the notebooks, the pages under `book/` and the repository's own Markdown, takes
every web address out of them, and asks each once. It is polite: one request at a time
for a host, with a pause between two; HEAD first, and GET only where HEAD is refused; a
busy server is asked again later. It needs the network, so the weekly workflow runs it
and `make test` does not.

A link counts as broken where the server says that there is no such page, or where no
server answers. A server that refuses robots (401, 403, 429 and the like) proves
nothing: such links are listed, to be looked at by hand. Exit status: 0 no broken link,
1 at least one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = (
    "chapters",
    "solutions",
    "book",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "_config.yml",
)
AGENT = "finetuning-book-link-check/1 (weekly; one request at a time for a host)"
# Up to a character that cannot stand in an address in Markdown, HTML or BibTeX.
ADDRESS = re.compile(r"https?://[^\s<>\"'`{}|\\^\[\]]+")
REFUSED = {401, 402, 403, 405, 406, 418, 429, 451, 999}
# An answer to try again on: the server is busy or ill for the moment.
PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Verdict:
    """What became of one address: `kind` is ok, moved, refused or broken; `detail` says
    how.
    """

    kind: str
    detail: str = ""


def addresses_in(text: str) -> Iterator[str]:
    """The addresses in a piece of Markdown, HTML or BibTeX, without fragment."""
    for match in ADDRESS.finditer(text):
        address = match.group().rstrip(".,;:!?*_")
        # A closing bracket belongs to the sentence unless it was opened inside the
        # address.
        while address.endswith(")") and address.count(")") > address.count("("):
            address = address[:-1].rstrip(".,;:!?*_")
        address = urllib.parse.urldefrag(address).url
        host = urllib.parse.urlsplit(address).hostname or ""
        if (
            "." in host
            and not host.startswith("127.")
            and not host.endswith((".example", "example.com"))
        ):
            yield address


def text_of(path: Path) -> str:
    """The part of a file in which a reader finds links: of a notebook, its Markdown
    cells.
    """
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
    )


def collect(places: Iterable[Path]) -> dict[str, list[str]]:
    """Every address in these files and folders, with the files that it stands in."""
    found: dict[str, list[str]] = defaultdict(list)
    for place in places:
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        for file in files:
            if (
                file.suffix in {".ipynb", ".md", ".bib", ".yml"}
                and ".ipynb_checkpoints" not in file.parts
            ):
                for address in dict.fromkeys(addresses_in(text_of(file))):
                    found[address].append(file.name)
    return dict(found)


def ask(address: str, method: str, timeout: float) -> tuple[int, str]:
    """Status and final address of one request, redirects followed; raises OSError where
    none answers.
    """
    request = urllib.request.Request(
        address, method=method, headers={"User-Agent": AGENT, "Accept": "*/*"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.url
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.url or address
    except http.client.HTTPException as error:
        raise OSError(f"no proper answer: {error}") from error


def check(
    address: str, timeout: float = 20, retries: int = 2, pause: float = 5
) -> Verdict:
    """Ask for an address: HEAD, then GET where HEAD brings no good answer; again after
    `pause` s if ill.
    """
    verdict = Verdict("broken", "never asked")
    for attempt in range(retries + 1):
        if attempt:
            time.sleep(pause * attempt)
        try:
            status, final = ask(address, "HEAD", timeout)
            if status >= 400:
                status, final = ask(address, "GET", timeout)
        except OSError as error:
            verdict = Verdict(
                "broken", f"no answer: {getattr(error, 'reason', None) or error}"
            )
            continue
        if status < 400:
            moved = urllib.parse.urldefrag(final).url.rstrip("/") != address.rstrip("/")
            return Verdict("moved", final) if moved else Verdict("ok", str(status))
        verdict = Verdict("refused" if status in REFUSED else "broken", str(status))
        if status not in PASSING:
            break
    return verdict


def check_all(
    addresses: Iterable[str], hosts_at_once: int = 8, wait: float = 1, **settings: float
) -> dict[str, Verdict]:
    """A verdict for each address: hosts side by side, one host's addresses in turn,
    `wait` s apart.
    """
    by_host: dict[str, list[str]] = defaultdict(list)
    for address in dict.fromkeys(addresses):
        by_host[urllib.parse.urlsplit(address).netloc].append(address)

    def one_host(its_addresses: list[str]) -> dict[str, Verdict]:
        verdicts = {}
        for number, address in enumerate(its_addresses):
            if number:
                time.sleep(wait)
            verdicts[address] = check(address, **settings)
        return verdicts

    with ThreadPoolExecutor(hosts_at_once) as pool:
        return {
            address: v
            for part in pool.map(one_host, by_host.values())
            for address, v in part.items()
        }


def main(arguments: list[str] | None = None) -> int:
    """Check the places named, or the whole book; print what needs a look, the broken
    ones last.
    """
    parser = argparse.ArgumentParser(
        description="Check the external links of the book."
    )
    parser.add_argument(
        "places",
        nargs="*",
        type=Path,
        help="files and folders; without any, the whole book",
    )
    parser.add_argument(
        "--timeout", type=float, default=20, help="seconds to wait for one answer"
    )
    options = parser.parse_args(arguments)
    places = options.places or [
        ROOT / place for place in PLACES if (ROOT / place).exists()
    ]
    found = collect(places)
    verdicts = check_all(found, timeout=options.timeout)
    for kind in ("moved", "refused", "broken"):
        for address, verdict in sorted(verdicts.items()):
            if verdict.kind == kind:
                print(
                    f"{kind}: {address} ({verdict.detail}) in "
                    f"{', '.join(found[address])}"
                )
    kinds = [verdict.kind for verdict in verdicts.values()]
    print(
        ", ".join(
            f"{kinds.count(kind)} {kind}"
            for kind in ("ok", "moved", "refused", "broken")
        )
    )
    return int("broken" in kinds)


if __name__ == "__main__":
    sys.exit(main())
