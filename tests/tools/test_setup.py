"""The set-up: what it says when it cannot be done, and that a second run does nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "setup.sh"


@pytest.fixture
def project(tmp_path):
    """A folder with the set-up script and one requirement that exists nowhere."""
    (tmp_path / "tools").mkdir()
    shutil.copy(SCRIPT, tmp_path / "tools")
    (tmp_path / "requirements.txt").write_text("a-package-that-does-not-exist==1.0\n")
    return tmp_path


def set_up(project: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["sh", "tools/setup.sh"],
        cwd=project,
        env=os.environ
        | {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1"}
        | environment,
        capture_output=True,
        text=True,
    )


def said(result: subprocess.CompletedProcess) -> str:
    """The one sentence on stderr of a set-up that stopped."""
    assert result.returncode == 1
    assert "Traceback" not in result.stderr + result.stdout
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def fake_environment(project: Path, pip_says: str) -> None:
    """A .venv whose pip fails with these words."""
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *--version) exit 0;; esac\necho "{pip_says}"\nexit 1\n'
    )
    python.chmod(0o755)


def test_without_python_it_says_which_is_needed(project, tmp_path_factory):
    # A PATH with a shell's tools, and with Pythons that are too old.
    tools = tmp_path_factory.mktemp("bin")
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(shutil.which(name))
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    assert "no Python 3.11 or newer was found" in said(set_up(project, PATH=str(tools)))


def test_without_a_network_it_says_so_and_leaves_no_mark_of_success(project):
    sentence = said(
        set_up(
            project,
            PIP_INDEX_URL="http://127.0.0.1:9/simple",
            PYTHON_FOR_VENV=sys.executable,
        )
    )
    assert "could not reach its package index" in sentence
    assert not (project / ".venv" / "ready").exists()


@pytest.mark.parametrize(
    ("pip_says", "sentence"),
    [
        (
            "ERROR: Could not install packages: [Errno 28] No space left on device",
            "the disk is full",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
            "does not have the hash that is expected",
        ),
        ("[Errno 13] Permission denied: x", "cannot be written to"),
        (
            "ERROR: No matching distribution found for torch==2.13.0",
            "distribution found for torch==2.13.0",
        ),
        ("ERROR: something new", "Its last words: ERROR: something new"),
    ],
)
def test_each_failure_of_pip_is_one_sentence(project, pip_says, sentence):
    fake_environment(project, pip_says)
    assert sentence in said(set_up(project, PYTHON_FOR_VENV=sys.executable))
    assert not (project / ".venv" / "ready").exists()


def test_a_second_make_installs_nothing():
    result = subprocess.run(
        ["make", "-n", "setup"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0
    assert "setup.sh" not in result.stdout


def test_a_changed_pin_installs_again():
    # `make -W FILE` pretends that FILE has just changed.
    command = ["make", "-n", "-W", "requirements.txt", "setup"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "setup.sh" in result.stdout
