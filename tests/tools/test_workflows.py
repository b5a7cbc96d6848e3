"""The workflows say what they should, their shell does what it says, and the alarm
rings.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from notebooks import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))
}
VERSION = re.search(
    r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
)[1]
TARGETS = set(
    re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
)
# What a job may do beyond reading the code. Everything else stays at `contents: read`.
MAY_WRITE = {
    ("publish", "deploy"): {"pages", "id-token"},
    ("weekly", "alarm"): {"issues"},
    ("weekly", "drill"): {"issues"},
}


def triggers(name: str) -> dict:
    """What starts a workflow. YAML 1.1 reads the bare word `on` as true."""
    return WORKFLOWS[name][True]


def steps(name: str):
    """Each step of a workflow, with its job's name."""
    for job, content in WORKFLOWS[name]["jobs"].items():
        for step in content["steps"]:
            yield job, step


def script(name: str, job: str, needle: str) -> str:
    """The shell of the one step of a job that mentions `needle`."""
    found = [
        step["run"]
        for owner, step in steps(name)
        if owner == job and needle in step.get("run", "")
    ]
    assert len(found) == 1
    return found[0]


def run(
    shell: str, folder: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess:
    """Run a step's shell as the runner does: bash, stopping at the first error."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", shell],
        cwd=folder,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
    )


def test_the_three_workflows_are_there():
    assert set(WORKFLOWS) == {"test", "publish", "weekly"}
    assert set(triggers("test")) == {"pull_request", "push"}
    assert triggers("test")["push"] == {"branches": ["main"]}
    assert triggers("publish") == {"push": {"tags": ["v*"]}}
    assert set(triggers("weekly")) == {"schedule", "workflow_dispatch"}
    assert "fail_on_purpose" in triggers("weekly")["workflow_dispatch"]["inputs"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_least_permissions(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    for job, content in WORKFLOWS[name]["jobs"].items():
        writes = {
            what
            for what, right in content.get("permissions", {}).items()
            if right != "read"
        }
        assert writes == MAY_WRITE.get((name, job), set()), job
        assert content["timeout-minutes"] <= 60, job
    assert "pull_request_target" not in triggers(name)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_and_few(name):
    used = {step["uses"] for _, step in steps(name) if "uses" in step}
    for action in used:
        owner = action.split("/")[0]
        version = action.split("@")[1]
        assert owner == "actions", f"{action}: only GitHub's own actions run here"
        assert re.fullmatch(r"v\d+", version), f"{action}: pinned to a major version"
    for _, step in steps(name):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_is_called_exists(name):
    for _, step in steps(name):
        shell = step.get("run", "")
        for target in re.findall(r"\bmake ([a-z-]+)(?: |$)", shell):
            assert target in TARGETS
        for tool in re.findall(r"\btools/\w+\.py\b", shell):
            assert (ROOT / tool).is_file()


def test_shell_takes_no_text_from_outside():
    """`${{ … }}` inside a script is pasted before bash reads it: a title or branch name
    could be code.
    """
    for name in WORKFLOWS:
        for job, step in steps(name):
            assert "${{" not in step.get("run", ""), (name, job)


def test_pull_requests_run_everything_in_jobs_side_by_side():
    """And what needs no notebook on both Pythons."""
    jobs = WORKFLOWS["test"]["jobs"]
    commands = {job: step["run"] for job, step in steps("test") if "run" in step}
    assert commands == {
        "fast": "make test-fast",
        "notebooks": 'make test-notebooks SHARD="$SHARD"',
    }
    assert jobs["fast"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    shards = jobs["notebooks"]["strategy"]["matrix"]["shard"]
    assert shards == [f"{number}/{len(shards)}" for number in range(1, len(shards) + 1)]
    assert jobs["notebooks"]["env"]["SHARD"] == "${{ matrix.shard }}"


def test_what_passed_on_main_is_executed_there_and_only_read_by_pull_requests():
    everything = WORKFLOWS["test"]["jobs"]["notebooks"]["env"]["ALL"]
    assert everything == "${{ github.event_name == 'push' && '1' || '0' }}"
    caches = {
        step["uses"].split("@")[0]: step
        for _, step in steps("test")
        if step.get("with", {}).get("path") == ".verified"
    }
    assert {name: step["if"] for name, step in caches.items()} == {
        "actions/cache/restore": "github.event_name == 'pull_request'",
        "actions/cache/save": "github.event_name == 'push'",
    }
    read, write = (step["with"] for step in caches.values())
    assert write["key"] == read["restore-keys"] + "${{ github.sha }}"


@pytest.mark.parametrize(("name", "job"), [("weekly", "cold"), ("publish", "test")])
def test_weekly_and_for_a_release_everything_is_executed_on_both_pythons(name, job):
    content = WORKFLOWS[name]["jobs"][job]
    assert content["env"]["ALL"] == "1"
    assert content["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert script(name, job, "make") == "make test"


def test_publishing_tests_and_builds_first():
    """The tag, then the tests, then the site, and nothing of it left out."""
    jobs = WORKFLOWS["publish"]["jobs"]
    needs = {job: content.get("needs") for job, content in jobs.items()}
    assert needs == {"tag": None, "test": "tag", "build": "test", "deploy": "build"}
    assert script("publish", "tag", "GITHUB_REF_NAME")
    assert script("publish", "test", "make") == "make test"
    assert script("publish", "build", "make") == "make book"


@pytest.mark.parametrize(
    ("tag", "fits"),
    [
        (f"v{VERSION}", True),
        (VERSION, False),
        ("v99.0.0", False),
        (f"v{VERSION}.post1", False),
    ],
)
def test_the_tag_must_be_the_version(tag, fits):
    done = run(script("publish", "tag", "GITHUB_REF_NAME"), GITHUB_REF_NAME=tag)
    assert (done.returncode == 0) is fits
    assert (
        fits
        or f"the tag is {tag}, the version in pyproject.toml is {VERSION}"
        in done.stdout
    )


def test_the_weekly_run_is_cold():
    """No cache of any kind: what is fetched once and kept would hide that it has
    vanished.
    """
    for _, step in steps("weekly"):
        assert "cache" not in step.get("uses", "") + str(step.get("with", ""))
    assert WORKFLOWS["weekly"]["jobs"]["cold"]["env"]["PIP_NO_CACHE_DIR"] == "1"
    assert {"cold", "links", "colab", "mutants", "canary"} == set(
        WORKFLOWS["weekly"]["jobs"]["alarm"]["needs"]
    )
    # The drill's schedule is written in three conditions; a slip in one would start the
    # wrong jobs.
    drill = triggers("weekly")["schedule"][1]["cron"]
    for job, content in WORKFLOWS["weekly"]["jobs"].items():
        assert job == "canary" or f"'{drill}'" in content["if"], job


# The alarm, with a `gh` that keeps its issues in a file.
GH = """#!{python}
import json, os, pathlib, sys
store = pathlib.Path(os.environ["ISSUES"])
issues = json.loads(store.read_text())
words, options = [], {{}}
rest = iter(sys.argv[1:])
for word in rest:
    if word.startswith("--"):
        options[word] = next(rest)
    else:
        words.append(word)
assert words[0] == "issue" and options["--repo"] == "someone/book", sys.argv
if os.environ.get("GH_FAILS"):
    sys.exit(4)
action = words[1]
if action == "create":
    issue = {{"number": len(issues) + 1, "title": options["--title"], "state": "OPEN"}}
    issues.append(issue | {{"said": [options["--body"]]}})
    if not os.environ.get("GH_FORGETS"):
        store.write_text(json.dumps(issues))
    print(f"https://github.com/someone/book/issues/{{len(issues)}}")
elif action == "list":
    print(json.dumps([i for i in issues if i["state"] == "OPEN"]))
else:
    nothing = {{"title": "", "state": "NONE", "said": []}}
    issue = dict(enumerate(issues, 1)).get(int(words[2]), nothing)
    if action == "view":
        names = options["--json"].split(",")
        print(json.dumps({{name: issue[name] for name in names}}))
    elif action == "comment":
        issue["said"].append(options["--body"])
    elif action == "close":
        issue["state"] = "CLOSED"
        issue["said"].append(options["--comment"])
    store.write_text(json.dumps(issues))
"""


class Tracker:
    """A GitHub of one file, and the alarm run against it."""

    def __init__(self, folder: Path):
        self.store = folder / "issues.json"
        self.store.write_text("[]")
        program = folder / "gh"
        program.write_text(GH.format(python=sys.executable))
        program.chmod(0o755)
        self.environment = {
            "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ISSUES": str(self.store),
            "GITHUB_REPOSITORY": "someone/book",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_RUN_ID": "17",
        }

    def issues(self) -> list[dict]:
        return json.loads(self.store.read_text())

    def alarm(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "tools" / "alarm.py"), *arguments]
        environment = os.environ | self.environment | environment
        return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def tracker(tmp_path) -> Tracker:
    return Tracker(tmp_path)


def test_a_failed_week_opens_one_issue_and_a_good_one_closes_it(tracker):
    assert (
        tracker.alarm(
            "failure", "cold=failure", "links=success", "canary=skipped"
        ).returncode
        == 0
    )
    (issue,) = tracker.issues()
    assert (issue["title"], issue["state"]) == ("The weekly run failed", "OPEN")
    assert issue["said"] == [
        "Failed: cold.\n\nThe run: https://github.com/someone/book/actions/runs/17"
    ]

    tracker.alarm("failure", "cold=success", "links=failure", "colab=cancelled")
    (issue,) = tracker.issues()
    assert "Failed: links, colab." in issue["said"][1]

    tracker.alarm("success")
    assert tracker.issues()[0]["state"] == "CLOSED"
    tracker.alarm("failure", "cold=failure")
    assert [issue["state"] for issue in tracker.issues()] == ["CLOSED", "OPEN"]


def test_a_good_week_without_an_issue_says_nothing(tracker):
    assert tracker.alarm("success").returncode == 0
    assert tracker.issues() == []


def test_the_drill_opens_reads_and_closes(tracker):
    assert tracker.alarm("drill").returncode == 0
    (issue,) = tracker.issues()
    assert issue["state"] == "CLOSED"
    assert issue["title"].startswith("Drill")


def test_an_alarm_that_does_not_ring_fails(tracker):
    """Neither a refused token nor an issue that never appears may pass for a raised
    alarm.
    """
    for action in ("failure", "success", "drill"):
        refused = tracker.alarm(action, GH_FAILS="1")
        assert refused.returncode == 1
        assert "could not be raised" in refused.stderr
        assert "Traceback" not in refused.stderr
    forgotten = tracker.alarm("drill", GH_FORGETS="1")
    assert forgotten.returncode == 1
    assert "does not ring" in forgotten.stderr


@pytest.mark.parametrize(("failed", "state"), [("true", "OPEN"), ("false", "CLOSED")])
def test_the_workflows_alarm_step(tracker, failed, state):
    """The step's own shell: it splits the results into words and chooses between the
    two.
    """
    tracker.alarm("failure", "cold=failure")
    shell = script("weekly", "alarm", "alarm.py")
    done = run(
        shell,
        **tracker.environment
        | {"FAILED": failed, "RESULTS": "cold=success canary=failure"},
    )
    assert done.returncode == 0, done.stderr
    (issue,) = tracker.issues()
    assert issue["state"] == state
    assert ("Failed: canary." in issue["said"][-1]) is (failed == "true")


def test_the_canary_fails():
    assert run(script("weekly", "canary", "on purpose")).returncode == 1
