"""Each notebook, alone on a machine like Colab's, installs what it needs by its own
set-up cell.

The machine is imitated: an environment that has every package of this one except the
book's, a `google.colab` that can be imported, an empty working folder with nothing but
the notebook, and no way out to a network. The repository's public address leads, by
git's configuration, to a copy of this working tree with the tag that the set-up cell
asks for. The cell is run as it stands, by a real kernel.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("chapters", "solutions", "exercises")
NOTEBOOKS = sorted(
    str(path.relative_to(ROOT))
    for name in FOLDERS
    for path in (ROOT / name).glob("*.ipynb")
)
ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# Nothing listens there: whatever tries to leave the machine is refused at once.
NOWHERE = "http://127.0.0.1:9"

# Run in the notebook's own kernel, after its cells.
PROBE = """
import importlib.metadata, json, pathlib
import finetuning, finetuning.metrics, finetuning.resources
folder = pathlib.Path(finetuning.__file__).parent
json.dump({
    "folder": str(folder),
    "files": [str(path.relative_to(folder)) for path in folder.rglob("*")],
    "version": importlib.metadata.version("finetuning"),
    "resources": list(finetuning.resources.names()),
    "metric": pathlib.Path(finetuning.metrics.path("accuracy")).exists(),
}, open("probe.json", "w"))
"""


def git(*arguments: str, at: Path) -> str:
    """A git command in `at`, out of reach of this machine's git settings."""
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    for name in ("AUTHOR", "COMMITTER"):
        environment |= {
            f"GIT_{name}_NAME": "tests",
            f"GIT_{name}_EMAIL": "tests@localhost",
        }
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=at, env=environment, check=True, capture_output=True, text=True
    ).stdout


def files_of_the_tree() -> list[str]:
    """What a commit of the working tree, as it is now, would hold."""
    listed = git(
        "ls-files", "-z", "--cached", "--others", "--exclude-standard", at=ROOT
    ).split("\0")
    return sorted(name for name in set(listed) if name and (ROOT / name).is_file())


def publish(folder: Path, tag: str, changed: dict[str, str] | None = None) -> Path:
    """A repository in `folder` with this working tree as its one commit, tagged;
    `changed` files differ.
    """
    source = folder / "source"
    for name in files_of_the_tree():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    for name, text in (changed or {}).items():
        (source / name).write_text(text)
    git("init", "-q", at=source)
    git("add", "-A", at=source)
    git("commit", "-q", "-m", "working tree", at=source)
    git("tag", tag, at=source)
    bare = folder / "repository.git"
    git("clone", "-q", "--bare", str(source), str(bare), at=folder)
    git(
        "config", "uploadpack.allowFilter", "true", at=bare
    )  # pip clones without file contents first
    return bare


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    return publish(tmp_path_factory.mktemp("published"), f"v{VERSION}")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    """A folder that stands for the package index: the one thing that building the
    package downloads.
    """
    folder = tmp_path_factory.mktemp("index")
    setuptools = metadata.distribution("setuptools")
    with zipfile.ZipFile(
        folder / f"setuptools-{setuptools.version}-py3-none-any.whl", "w"
    ) as wheel:
        for file in setuptools.files:
            if ".." not in file.parts and file.suffix != ".pyc":
                wheel.write(file.locate(), str(file))
    return folder


@dataclass
class Machine:
    """An environment like Colab's: `folder` holds what the test puts there."""

    python: Path
    packages: Path
    folder: Path
    environment: dict[str, str]
    kernels: Path

    def entries(self) -> dict[str, str]:
        """Everything in site-packages, with where it really lies: a replaced package
        shows.
        """
        paths = (path for path in self.packages.iterdir() if path.name != "__pycache__")
        return {path.name: os.path.realpath(path) for path in paths}

    def distributions(self) -> dict[str, str]:
        """What `pip list` shows."""
        command = [self.python, "-m", "pip", "list", "--format=json"]
        listed = subprocess.check_output(command, env=self.environment, cwd=self.folder)
        return {item["name"].lower(): item["version"] for item in json.loads(listed)}

    def run(self, *sources: str) -> nbformat.NotebookNode:
        """Run these cells in one kernel in `folder`; returns the executed notebook,
        with times.
        """
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        specifications = KernelSpecManager(
            kernel_dirs=[str(self.kernels)], ensure_native_kernel=False
        )
        client = NotebookClient(
            nbformat.v4.new_notebook(cells=cells),
            km=AsyncKernelManager(
                kernel_name="colab", kernel_spec_manager=specifications
            ),
            timeout=300,
            resources={"metadata": {"path": str(self.folder)}},
        )
        try:
            return client.execute(env=self.environment)
        except CellExecutionError as error:
            said = "".join(printed(cell) for cell in client.nb.cells)
            what = f"{error.ename}: {error.evalue}"
            raise AssertionError(f"{what}\nThe cells before it said:\n{said}") from None


@pytest.fixture
def machine(tmp_path, repository, wheels) -> Machine:
    return make_machine(tmp_path, repository, wheels)


def make_machine(place: Path, repository: Path, wheels: Path) -> Machine:
    """A fresh machine in `place` for which `repository` is what the book's public
    address leads to.
    """
    venv.create(place / "python", with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "python" / "lib" / version / "site-packages"
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "finetuning" not in entry.name.lower() and entry.name != "__pycache__":
            (packages / entry.name).symlink_to(entry)
    # A kernel on Colab has this module loaded before the first cell.
    stub = place / "stub"
    (stub / "google" / "colab").mkdir(parents=True)
    (stub / "google" / "colab" / "__init__.py").write_text("")
    (stub / "sitecustomize.py").write_text("import google.colab\n")
    python = place / "python" / "bin" / "python"
    kernel = place / "kernels" / "colab"
    kernel.mkdir(parents=True)
    arguments = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specification = {"argv": arguments, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(specification))
    folder = place / "content"
    folder.mkdir()
    kept = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {
        "HOME": str(place),
        "PYTHONPATH": str(stub),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "http_proxy": NOWHERE,
        "https_proxy": NOWHERE,
        "no_proxy": "127.0.0.1,localhost",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{str(repository).removesuffix('.git')}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
    }
    return Machine(python, packages, folder, environment, place / "kernels")


def first_cells(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """The set-up cell and the first cell after it that imports something, as they
    stand.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "setup" in code[0].metadata.get("tags", []), (
        "the first code cell is not the set-up cell"
    )
    importing = [
        cell.source
        for cell in code[1:]
        if any(
            line.startswith(("import ", "from ")) for line in cell.source.splitlines()
        )
    ]
    assert importing, "no cell imports anything"
    return code[0].source, importing[0]


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def seconds(cell: nbformat.NotebookNode) -> float:
    """How long a cell ran, from the times that nbclient keeps."""
    times = cell.metadata.execution
    start, end = times["iopub.execute_input"], times["iopub.status.idle"]
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def set_up(
    machine: Machine, set_up_cell: str, import_cell: str
) -> nbformat.NotebookNode:
    """Run a notebook's first cells on a machine and check everything that must hold
    afterwards.
    """
    assert "finetuning" not in machine.distributions()
    before = machine.entries()
    done = machine.run(set_up_cell, import_cell, PROBE, set_up_cell)

    probe = json.loads((machine.folder / "probe.json").read_text())
    assert Path(probe["folder"]).is_relative_to(machine.packages), (
        "finetuning came from elsewhere"
    )
    assert probe["version"] == VERSION
    # Everything that the repository holds of the package arrives: modules, metric
    # scripts, resources.txt.
    package = [name for name in files_of_the_tree() if name.startswith("finetuning/")]
    missing = {name.removeprefix("finetuning/") for name in package} - set(
        probe["files"]
    )
    assert not missing, f"in the repository, but not installed: {sorted(missing)}"
    assert probe["metric"]
    assert probe["resources"]

    after = machine.entries()
    added = set(after) - set(before)
    assert added == {"finetuning", f"finetuning-{VERSION}.dist-info"}, (
        f"also installed: {added}"
    )
    assert {name: after.get(name) for name in before} == before, (
        "a package that was there has been touched"
    )
    first, second = printed(done.cells[0]), printed(done.cells[3])
    assert "error" not in first.lower() and "warning" not in first.lower(), first
    assert second == "", f"the second run of the set-up cell says: {second}"
    assert seconds(done.cells[3]) < 2, (
        "the second run of the set-up cell does something"
    )
    return done


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 9


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_alone_on_colab(name, machine, repository, capsys):
    notebook = nbformat.read(ROOT / name, as_version=4)
    (machine.folder / Path(name).name).write_bytes((ROOT / name).read_bytes())
    listed = machine.distributions()
    done = set_up(machine, *first_cells(notebook))
    assert machine.distributions() == listed | {"finetuning": VERSION}
    with capsys.disabled():
        cloned = (
            sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())
            / 1e6
        )
        took = [f"{seconds(cell):.1f} s" for cell in done.cells[:2]]
        print(
            f"\n{name}: set-up cell {took[0]}, a clone of at most {cloned:.1f} "
            f"MB; imports {took[1]}"
        )


def a_set_up_cell() -> str:
    assert NOTEBOOKS, "no notebook to take the set-up cell from"
    return first_cells(nbformat.read(ROOT / NOTEBOOKS[0], as_version=4))[0]


def test_a_tag_that_is_not_there_is_noticed(machine):
    cell = a_set_up_cell()
    assert f"v{VERSION}" in cell
    with pytest.raises(AssertionError):
        set_up(machine, cell.replace(f"v{VERSION}", "v9.9.9"), "import json")


def test_missing_package_data_is_noticed(tmp_path, wheels):
    text = (ROOT / "pyproject.toml").read_text()
    assert "resources.txt" in text
    repository = publish(
        tmp_path,
        f"v{VERSION}",
        {"pyproject.toml": text.replace('"resources.txt", ', "")},
    )
    with pytest.raises(AssertionError, match=r"resources\.txt"):
        set_up(
            make_machine(tmp_path, repository, wheels), a_set_up_cell(), "import json"
        )


def test_a_replaced_package_is_noticed(machine):
    """As where the set-up cell brings a version that Colab does not have."""
    victim = next(machine.packages.glob("packaging-*.dist-info"))
    newer = victim.with_name("packaging-99.dist-info")
    replace = f"import pathlib\npathlib.Path({str(victim)!r}).rename({str(newer)!r})"
    with pytest.raises(AssertionError, match=r"also installed|has been touched"):
        set_up(machine, a_set_up_cell(), replace)
