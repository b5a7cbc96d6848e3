"""The set-up: it makes what does not fit, leaves alone what does, and says in one
sentence what it cannot do.

Most tests give it a Python whose `venv` and `pip` only write down that they were
called; the last part makes real environments.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from notebooks import ROOT

PYPROJECT = """\
[build-system]
requires = []

[project]
name = "finetuning"
dependencies = ["numpy"]

[tool.ruff]
line-length = 88
"""

# `python -m venv` of a fake Python: an environment whose pip writes down its arguments.
# Files beside `calls` change that: pip waits while there is a file `wait`, fails with
# the words in `fail`, and is the real one where there is a file `real`.
FAKE_PYTHON = """\
#!/bin/sh
case "$*" in
*_base_executable*) echo "$0" ;;
"-m venv .venv")
    echo "venv" >>"{calls}"
    mkdir -p .venv/bin
    cp "{pip}" .venv/bin/python
    ln -sf python .venv/bin/python3.11
    echo "#!$(pwd -P)/.venv/bin/python" >.venv/bin/pip
    ;;
*) exec "{real}" "$@" ;;
esac
"""
FAKE_PIP = """\
#!/bin/sh
case "$*" in
*_base_executable*) echo "{python}" ;;
"-m pip --version") ;;
"-m pip install"*)
    echo "$*" >>"{calls}"
    while [ -e "{calls}.wait" ]; do sleep 0.05; done
    if [ -e "{calls}.fail" ]; then cat "{calls}.fail"; exit 1; fi
    if [ -e "{calls}.real" ]; then exec "{real}" "$@"; fi
    ;;
*) exec "{real}" "$@" ;;
esac
"""


class Project:
    """A folder with the set-up script, and a Python that only pretends to install."""

    def __init__(self, folder: Path, bin: Path):
        self.folder = folder
        self.calls = bin / "calls"
        (folder / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "setup.sh", folder / "tools")
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "requirements.txt").write_text("numpy==2.0\n")
        (folder / "pyproject.toml").write_text(PYPROJECT)
        names = {name: bin / name for name in ("calls", "python", "pip")}
        for name, text in (("python", FAKE_PYTHON), ("pip", FAKE_PIP)):
            (bin / name).write_text(text.format(real=sys.executable, **names))
            (bin / name).chmod(0o755)
        self.environment = os.environ | {"PYTHON_FOR_VENV": str(bin / "python")}

    def start(self, folder: Path | None = None, **environment: str):
        return subprocess.Popen(
            ["sh", "tools/setup.sh"],
            cwd=folder or self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def set_up(self, folder: Path | None = None, **environment: str) -> list[str]:
        """Run the set-up, which must succeed. Returns what it called: `venv`, `pip`."""
        self.calls.unlink(missing_ok=True)
        process = self.start(folder, **environment)
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
        return self.called()

    def fail(self, **environment: str) -> str:
        """Run the set-up, which must stop. Returns its one sentence."""
        process = self.start(**environment)
        stdout, stderr = process.communicate()
        assert process.returncode == 1
        assert "Traceback" not in stderr + stdout
        (sentence,) = stderr.strip().splitlines()
        return sentence

    def called(self) -> list[str]:
        if not self.calls.exists():
            return []
        return [
            "venv" if line == "venv" else "pip"
            for line in self.calls.read_text().splitlines()
        ]

    def switch(self, name: str) -> Path:
        """A file that changes what the fake pip does: `wait`, `fail` or `real`."""
        return Path(f"{self.calls}.{name}")


NOTHING: list[str] = []
UPDATED = ["pip", "pip"]
ANEW = ["venv", "pip", "pip"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "bin").mkdir()
    return Project(tmp_path / "book", tmp_path / "bin")


@pytest.fixture
def ready(project: Project) -> Project:
    """A project that is set up."""
    assert project.set_up() == ANEW
    return project


def wait_for(condition, seconds: float = 600) -> None:
    """Until `condition()` holds; fails where it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- What fits stays ---


def test_a_second_set_up_does_nothing(ready):
    assert ready.set_up() == NOTHING


def test_make_asks_the_set_up_every_time(ready):
    """`make` goes by what .venv/ready holds and not by its date."""
    command = ["make", "setup"]
    options = {"cwd": ready.folder, "env": ready.environment, "check": True}
    ready.calls.unlink()
    subprocess.run(command, **options)
    assert ready.called() == NOTHING
    with (ready.folder / "requirements.txt").open("a") as file:
        file.write("scipy==1.0\n")
    os.utime(ready.folder / "requirements.txt", (0, 0))
    subprocess.run(command, **options)
    assert ready.called() == UPDATED


def test_newer_dates_and_settings_of_other_tools_install_nothing(ready):
    for name in ("requirements.txt", "pyproject.toml", "tools/setup.sh"):
        (ready.folder / name).touch()
    text = PYPROJECT.replace("line-length = 88", "line-length = 100")
    (ready.folder / "pyproject.toml").write_text(text)
    assert ready.set_up() == NOTHING


# --- What does not fit is made to ---


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "numpy==2.0\nscipy==1.0\n"),
        ("pyproject.toml", PYPROJECT.replace('"numpy"', '"numpy", "scipy"')),
    ],
)
def test_a_newer_release_over_an_older_one_is_installed(ready, name, text):
    """Whatever its date: an archive sets the dates of what it unpacks."""
    (ready.folder / name).write_text(text)
    os.utime(ready.folder / name, (0, 0))
    assert ready.set_up() == UPDATED
    assert ready.set_up() == NOTHING


def test_a_moved_folder_is_made_anew(ready, tmp_path):
    moved = ready.folder.rename(tmp_path / "moved")
    assert ready.set_up(moved) == ANEW
    assert ready.set_up(moved) == NOTHING


def test_a_copied_folder_is_made_anew_and_the_first_one_stays(ready, tmp_path):
    copy = shutil.copytree(ready.folder, tmp_path / "copy")
    assert ready.set_up(copy) == ANEW
    assert ready.set_up(copy) == NOTHING
    assert ready.set_up() == NOTHING


def test_a_copy_of_an_older_version_is_made_anew(ready, tmp_path):
    """Earlier versions marked .venv with an empty file."""
    (ready.folder / ".venv" / "ready").write_text("")
    copy = shutil.copytree(ready.folder, tmp_path / "copy")
    assert ready.set_up(copy) == ANEW
    assert ready.set_up() == UPDATED


def test_a_python_that_is_gone_is_replaced(ready):
    python = ready.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/such/python3.11")
    assert ready.set_up() == ANEW


@pytest.mark.parametrize("keeps_mark", [True, False])
def test_an_older_python_is_replaced(ready, keeps_mark):
    """As an editor makes it, over the old .venv or in its place."""
    if not keeps_mark:
        shutil.rmtree(ready.folder / ".venv")
    python = ready.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(
        '#!/bin/sh\ncase "$*" in *print*) echo "python: /usr 3 9";; *) exit 1;; esac\n'
    )
    python.chmod(0o755)
    assert ready.set_up() == ANEW


def test_an_environment_without_pip_is_replaced(ready):
    """As some tools make it."""
    (ready.folder / ".venv" / "bin" / "pip").unlink()
    (ready.folder / ".venv" / "ready").unlink()
    assert ready.set_up() == ANEW


def test_an_activated_environment_can_be_made_anew(ready):
    """Although the first Python on the path is the one in it."""
    (ready.folder / ".venv" / "bin" / "pip").unlink()
    (ready.folder / ".venv" / "ready").unlink()
    path = f"{ready.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    assert ready.set_up(PATH=path, PYTHON_FOR_VENV="") == ANEW


def test_an_interrupted_set_up_is_continued(project):
    project.switch("wait").touch()
    interrupted = project.start()
    wait_for(lambda: project.called() == ["venv", "pip"])
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.communicate()
    project.switch("wait").unlink()
    assert project.set_up() == UPDATED
    assert project.set_up() == NOTHING


def test_an_environment_interrupted_while_it_was_made_is_made_anew(project):
    (project.folder / ".venv" / "bin").mkdir(parents=True)
    assert project.set_up() == ANEW


def test_an_update_that_failed_is_tried_again(ready):
    (ready.folder / "requirements.txt").write_text("numpy==2.1\n")
    ready.switch("fail").write_text("ERROR: something new\n")
    ready.fail()
    assert not (ready.folder / ".venv" / "ready").exists()
    ready.switch("fail").unlink()
    assert ready.set_up() == UPDATED


def test_two_at_once_make_one_environment(project):
    """The second waits, and then finds all done."""
    project.switch("wait").touch()
    first = project.start()
    wait_for(lambda: project.called() == ["venv", "pip"])
    second = project.start()
    assert "Waiting for it" in second.stdout.readline()
    project.switch("wait").unlink()
    for process in (first, second):
        process.communicate()
        assert process.returncode == 0
    assert project.called() == ANEW
    assert project.set_up() == NOTHING


# --- What it says when it stops ---


def test_without_python_it_says_which_is_needed_and_removes_nothing(project, tmp_path):
    # A PATH with a shell's tools, and with Pythons that are too old.
    tools = tmp_path / "path"
    tools.mkdir()
    for name in ("sh", "dirname", "cat", "awk"):
        (tools / name).symlink_to(shutil.which(name))
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    (project.folder / ".venv").mkdir()
    (project.folder / ".venv" / "mine").touch()
    sentence = project.fail(PATH=str(tools), PYTHON_FOR_VENV="")
    assert "no Python 3.11 or newer was found" in sentence
    assert (project.folder / ".venv" / "mine").exists()


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
    project.switch("fail").write_text(pip_says + "\n")
    assert sentence in project.fail()
    assert not (project.folder / ".venv" / "ready").exists()


def test_without_a_network_it_says_so_and_leaves_no_mark_of_success(project):
    (project.folder / "requirements.txt").write_text("a-package-that-is-nowhere==1.0\n")
    project.switch("real").touch()
    sentence = project.fail(
        PIP_CONFIG_FILE=os.devnull,
        PIP_RETRIES="1",
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
    )
    assert "could not reach its package index" in sentence
    assert not (project.folder / ".venv" / "ready").exists()


def test_a_folder_that_cannot_be_written_to_is_one_sentence(project):
    # Root may write everywhere. Nobody can write into a folder as if it were a file.
    (project.folder / ".venv.lock").mkdir()
    assert "cannot be written to" in project.fail()
    assert project.called() == NOTHING


# --- With real environments ---

# A build backend that needs no other package: its editable install is a path in a file.
BACKEND = """\
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "finetuning-1-py3-none-any.whl"
    about = "Metadata-Version: 2.1\\nName: finetuning\\nVersion: 1\\n"
    kind = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("finetuning.pth", HERE)
        wheel.writestr("finetuning-1.dist-info/METADATA", about)
        wheel.writestr("finetuning-1.dist-info/WHEEL", kind)
        wheel.writestr("finetuning-1.dist-info/RECORD", "")
    return name

import os
HERE = os.path.dirname(os.path.abspath(__file__))
"""


@pytest.fixture
def real(project, tmp_path):
    """A project in a folder with a space, whose environment is a real one."""
    project.folder = project.folder.rename(tmp_path / "my book")
    project.environment["PYTHON_FOR_VENV"] = sys.executable
    (project.folder / "requirements.txt").write_text("")
    (project.folder / "backend.py").write_text(BACKEND)
    (project.folder / "finetuning").mkdir()
    (project.folder / "finetuning" / "__init__.py").touch()
    (project.folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
        'backend-path = ["."]\n[project]\nname = "finetuning"\nversion = "1"\n'
    )
    return project


def imported_from(folder: Path) -> Path:
    """The folder whose `finetuning` the environment in `folder` imports."""
    command = "import finetuning; print(finetuning.__path__[0])"
    run = subprocess.run(
        [folder / ".venv" / "bin" / "python", "-c", command],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(run.stdout.strip()).parent


def test_a_copy_runs_its_own_code(real, tmp_path):
    real.set_up()
    mark = real.folder / ".venv" / "ready"
    made = mark.stat().st_mtime_ns
    copy = shutil.copytree(real.folder, tmp_path / "copy", symlinks=True)
    assert imported_from(copy) == real.folder, "so it was before the set-up"
    real.set_up(copy)
    assert imported_from(copy) == copy
    assert imported_from(real.folder) == real.folder
    real.set_up()
    assert mark.stat().st_mtime_ns == made
