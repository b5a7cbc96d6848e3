"""Tell people, by an issue, that the weekly run failed; and prove now and then that
this works.

    python tools/alarm.py failure  JOB=failure JOB=success …
    python tools/alarm.py success
    python tools/alarm.py drill

`failure` opens an issue that names the failed jobs and links to the run, or adds a
comment where that issue is open already. `success` closes it. `drill` opens an issue of
another title, reads it back and closes it, and fails if it was not there: an alarm that
nobody has ever heard may not ring.

It speaks to GitHub through its own command line, `gh`, which finds its token,
repository and run in the environment of a workflow (GH_TOKEN, GITHUB_REPOSITORY,
GITHUB_SERVER_URL, GITHUB_RUN_ID). Exit status: 0 done, 1 the issue could not be written
or read back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

TITLE = "The weekly run failed"
DRILL = "Drill: this is what a failed weekly run looks like"


def gh(*arguments: str) -> str:
    """Run GitHub's command line on this repository and return what it prints."""
    command = ["gh", *arguments, "--repo", os.environ["GITHUB_REPOSITORY"]]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def run_address() -> str:
    """Where the run that this is part of can be read."""
    return (
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format(
            **os.environ
        )
    )


def open_issue(title: str) -> str | None:
    """The number of the open issue with exactly this title, or None."""
    listed = gh(
        "issue", "list", "--state", "open", "--limit", "200", "--json", "number,title"
    )
    return next(
        (
            str(issue["number"])
            for issue in json.loads(listed)
            if issue["title"] == title
        ),
        None,
    )


def failure(jobs: list[str]) -> None:
    """Open the issue, or comment on it: which of `jobs` (`name=result`) failed, and
    where to read it.
    """
    failed = [
        job.partition("=")[0]
        for job in jobs
        if not job.endswith(("=success", "=skipped"))
    ]
    body = f"Failed: {', '.join(failed) or 'not known'}.\n\nThe run: {run_address()}"
    number = open_issue(TITLE)
    if number:
        gh("issue", "comment", number, "--body", body)
    else:
        gh("issue", "create", "--title", TITLE, "--body", body)


def success() -> None:
    """Close the issue of an earlier failure, if one is open."""
    number = open_issue(TITLE)
    if number:
        gh(
            "issue",
            "close",
            number,
            "--comment",
            f"The weekly run passes again: {run_address()}",
        )


def drill() -> None:
    """Open an issue, find it again, close it; `SystemExit` if it is not there."""
    body = f"Closed by the run that opened it: {run_address()}"
    address = gh("issue", "create", "--title", DRILL, "--body", body)
    number = address.rsplit("/", 1)[-1]
    state = json.loads(gh("issue", "view", number, "--json", "title,state"))
    if state != {"title": DRILL, "state": "OPEN"}:
        raise SystemExit(f"the alarm does not ring: issue {number} reads {state}")
    gh("issue", "close", number, "--comment", "The alarm rings.")


def main(arguments: list[str]) -> int:
    """Do what the first argument names."""
    actions = {
        "failure": lambda: failure(arguments[1:]),
        "success": success,
        "drill": drill,
    }
    if not arguments or arguments[0] not in actions:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        actions[arguments[0]]()
    except subprocess.CalledProcessError as error:
        print(
            f"the alarm could not be raised: gh ended with status {error.returncode}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
