"""Hold notebooks to the book's rules: python tools/lint.py [NB…], by default all of
them.

Prints a line for each thing that is wrong, `file, cell 'id' (n), line m: what`, and
exits with 1 where there is one. Each rule is a function of a `Page`, in one of the
modules of rules/; what it is for stands in its docstring.
"""

import argparse
import sys
from pathlib import Path

import rules.anatomy
import rules.code
import rules.files
import rules.markdown
import rules.outputs  # noqa: F401 - each registers its rules
from notebooks import ROOT, Finding, NotebookError, display, read
from rules.page import EVERYWHERE, RULES, Page


def lint(path: Path, root: Path = ROOT) -> list[Finding]:
    """Everything that is wrong with one notebook.

    Raises
    ------
    NotebookError: if it cannot be read as a notebook at all.
    """
    page = Page(read(path, root), display(path, root), root, path.stat().st_size)
    return [
        finding
        for function, kinds in RULES
        if page.kind in kinds or (page.kind not in EVERYWHERE and kinds == EVERYWHERE)
        for finding in function(page)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold notebooks to the book's rules.")
    parser.add_argument(
        "notebooks",
        nargs="*",
        type=Path,
        metavar="NB",
        help="default: all of the book's",
    )
    arguments = parser.parse_args()
    paths = arguments.notebooks or [
        path
        for folder in EVERYWHERE
        for path in sorted((ROOT / folder).glob("*.ipynb"))
    ]
    failed = False
    for path in paths:
        try:
            findings = lint(path)
        except NotebookError as error:
            findings = [error]
        for finding in findings:
            print(finding, file=sys.stderr)
        failed = failed or bool(findings)
    if not failed:
        print(f"{len(paths)} notebooks keep the rules.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
