"""Each notebook finds on a machine like Colab's what it needs, by its own set-up cell.

The machine is imitated: an environment that has Colab's packages and no others (as
installed here), a `google.colab` that can be imported, an empty working folder, and no
way out to a network. The repository's public address leads, by git's configuration, to
a copy of this working tree with the tag that the set-up cell asks for; in the place of
the package index is a folder with what the package and its extras need beyond Colab's.

The set-up cell is run as it stands, by a real kernel, once for each set of extras that
notebooks name: it is the same everywhere but for these. Then each notebook's imports
are made in a process of their own.
"""

import ast
import functools
import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook
from notebooks import ROOT, read
from packaging.requirements import Requirement
from samples import notebook
from syntax import without_magics
from test_colab_resolution import NOTEBOOKS, RUNTIMES, extras_of, set_up_cell, walk
from tree_files import tree_files

from tools import colab_resolve
from tools.colab_resolve import canonical

ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
VERSION = colab_resolve.project()["version"]
# Nothing listens there: whatever tries to leave the machine is refused at once.
NOWHERE = "http://127.0.0.1:9"

# Run in the notebook's own kernel, after its set-up cell.
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

# Run by the machine's Python: import statements, each of a list in a process of its own
# that begins with what is imported by COMMON.
IMPORTER = """
import json, multiprocessing, sys

def error(statements):
    try:
        exec(statements, {})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""

common, *statements = json.load(sys.stdin)
exec(common)
with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
    print(json.dumps(pool.map(error, statements, chunksize=1)))
"""
# Slow to import, and there after every set-up cell.
COMMON = "import datasets, evaluate, matplotlib.pyplot, sklearn, torch, transformers"


# The machine


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


# What pip builds the package from.
PACKAGE = ("finetuning/", "pyproject.toml", "README.md", "LICENSE", "NOTICE")


def publish(folder: Path, tag: str) -> Path:
    """A repository in `folder` with the package of this working tree as its one commit,
    tagged.
    """
    source = folder / "source"
    for name in (name for name in tree_files(ROOT) if name.startswith(PACKAGE)):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
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


@functools.cache
def installed() -> dict[str, metadata.Distribution]:
    """The packages of this environment by their canonical names."""
    return {canonical(each.name): each for each in metadata.distributions()}


def colab_distributions() -> list[metadata.Distribution]:
    """What is installed here of what Colab has, and what these versions of it need."""
    there = {name for name in installed() if name in RUNTIMES["CPU"]}
    waiting = list(there)
    while waiting:
        for text in installed()[waiting.pop()].requires or []:
            requirement = Requirement(text)
            name = canonical(requirement.name)
            wanted = requirement.marker is None or requirement.marker.evaluate(
                {"extra": ""}
            )
            if wanted and name in installed() and name not in there:
                there.add(name)
                waiting.append(name)
    return [installed()[name] for name in sorted(there)]


def added_packages(extras: Iterable[str] = ()) -> set[str]:
    """What the set-up cell adds to Colab's packages."""
    requirements = colab_resolve.package_requirements(extras)
    return set(walk(requirements, RUNTIMES["CPU"])[0])


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """A folder of wheels in the place of the package index: setuptools, which building
    the package takes, and all that the package and its extras add to Colab's packages.
    """
    folder = tmp_path_factory.mktemp("index")
    for name in {"setuptools", *added_packages(colab_resolve.extras())}:
        pack(installed()[name], folder)
    return folder


def pack(distribution: metadata.Distribution, folder: Path) -> None:
    """Make a wheel of an installed package."""
    name = canonical(distribution.name).replace("-", "_")
    wheel = folder / f"{name}-{distribution.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in distribution.files:
            if ".." not in file.parts and file.suffix != ".pyc":
                archive.write(file.locate(), str(file))


@dataclass
class Machine:
    """An environment like Colab's: `folder` holds what the test puts there."""

    python: Path
    packages: Path
    folder: Path
    environment: dict[str, str]
    kernels: Path

    def entries(self) -> dict[str, tuple[str, int]]:
        """Everything in site-packages, with where it really lies and since when: a
        package that was replaced or installed again shows.
        """
        return {
            path.name: (os.path.realpath(path), path.lstat().st_mtime_ns)
            for path in self.packages.iterdir()
            if path.name != "__pycache__"
        }

    def run(self, *sources: str) -> list[str]:
        """Run these cells in one kernel in `folder`; returns what each printed."""
        specifications = KernelSpecManager(
            kernel_dirs=[str(self.kernels)], ensure_native_kernel=False
        )
        client = NotebookClient(
            new_notebook(cells=[new_code_cell(source) for source in sources]),
            km=AsyncKernelManager(
                kernel_name="colab", kernel_spec_manager=specifications
            ),
            timeout=600,
            resources={"metadata": {"path": str(self.folder)}},
        )
        try:
            client.execute(env=self.environment)
        except CellExecutionError as error:
            said = "".join(map(printed, client.nb.cells))
            what = f"{error.ename}: {error.evalue}"
            raise AssertionError(f"{what}\nThe cells before it said:\n{said}") from None
        return [printed(cell) for cell in client.nb.cells]

    def import_all(self, statements: Sequence[str], common: str = "") -> list[str]:
        """Run import statements in `folder`, each of the list in a process that has
        imported nothing but `common`; returns the errors, "" where there is none.
        """
        done = subprocess.run(
            [self.python, "-c", IMPORTER],
            input=json.dumps([common, *statements]),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def make_machine(place: Path, repository: Path, index: Path) -> Machine:
    """A fresh machine in `place` for which `repository` is what the book's public
    address leads to, and `index` the package index.
    """
    venv.create(place / "python", with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "python" / "lib" / version / "site-packages"
    for distribution in colab_distributions():
        for name in {file.parts[0] for file in distribution.files or []}:
            there = packages / name
            if name not in ("..", "__pycache__") and not there.is_symlink():
                there.symlink_to(distribution.locate_file(name))
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
        "PIP_FIND_LINKS": str(index),
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


# What the set-up cell does to it


@dataclass(frozen=True)
class SetUp:
    """A machine on which a set-up cell has run, and what there was to see."""

    machine: Machine
    extras: frozenset[str]
    before: dict[str, tuple[str, int]]
    after: dict[str, tuple[str, int]]
    after_second_run: dict[str, tuple[str, int]]
    said: str
    said_second: str
    probe: dict

    def problems(self) -> list[str]:
        """What a reader on Colab would suffer from, a sentence each."""
        said, probe, package = self.said.lower(), self.probe, self.machine.packages
        problems = []
        touched = [
            name for name in self.before if self.after.get(name) != self.before[name]
        ]
        if touched:
            problems.append(f"packages that were there are touched: {touched}")
        information = {
            name.removesuffix(".dist-info").rpartition("-")[0]
            for name in set(self.after) - set(self.before)
            if name.endswith(".dist-info")
        }
        expected = {"finetuning", *added_packages(self.extras)}
        if set(map(canonical, information)) != expected:
            problems.append(f"installed: {information}, expected: {expected}")
        if "error" in said or "warning" in said:
            problems.append(f"the set-up cell says: {self.said}")
        if self.said_second or self.after_second_run != self.after:
            problems.append("the set-up cell does something when it is run again")
        if not Path(probe["folder"]).is_relative_to(package):
            problems.append("finetuning comes from elsewhere")
        if probe["version"] != VERSION:
            problems.append(f"version {probe['version']} is installed")
        missing = {
            name.removeprefix("finetuning/")
            for name in tree_files(ROOT)
            if name.startswith("finetuning/")
        } - set(probe["files"])
        if missing:
            problems.append(f"in the repository, not installed: {sorted(missing)}")
        if not (probe["metric"] and probe["resources"]):
            problems.append("the metric scripts or the resources are not found")
        return problems


def set_up(machine: Machine, cell: str) -> SetUp:
    """Run a set-up cell on a machine, twice."""
    before = machine.entries()
    said, _ = machine.run(cell, PROBE)
    after = machine.entries()
    probe = json.loads((machine.folder / "probe.json").read_text())
    (said_second,) = machine.run(cell)
    second = machine.entries()
    return SetUp(
        machine, extras_of(cell), before, after, second, said, said_second, probe
    )


@pytest.fixture(scope="module")
def ready(tmp_path_factory, repository, index) -> Callable[[str], SetUp]:
    """A machine on which a set-up cell has run: one for each that there is."""

    @functools.cache
    def make(cell: str) -> SetUp:
        place = tmp_path_factory.mktemp("machine")
        return set_up(make_machine(place, repository, index), cell)

    return make


def imports(content: nbformat.NotebookNode) -> str:
    """Every import statement of a notebook, and those of the checks that it calls."""
    statements = {}
    for cell in content.cells:
        if cell.cell_type != "code":
            continue
        for node in ast.walk(ast.parse(without_magics(cell.source))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                statements[ast.unparse(node)] = None
            elif (
                isinstance(node, ast.Attribute) and ast.unparse(node.value) == "checks"
            ):
                statements[f"import finetuning.checks.{node.attr}"] = None
    return "\n".join(statements)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 9


@pytest.fixture(scope="module")
def import_errors(ready) -> dict[str, str]:
    """What the imports of each notebook end in, after its set-up cell."""
    contents = {name: read(ROOT / name) for name in NOTEBOOKS}
    errors = {}
    for cell in set(map(set_up_cell, contents.values())):
        statements = {
            name: imports(content)
            for name, content in contents.items()
            if set_up_cell(content) == cell
        }
        results = ready(cell).machine.import_all(list(statements.values()), COMMON)
        errors |= dict(zip(statements, results, strict=True))
    return errors


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_alone_on_colab(name, ready, import_errors):
    """What a notebook imports is there after its set-up cell, and nothing is moved."""
    assert ready(set_up_cell(read(ROOT / name))).problems() == []
    assert import_errors[name] == ""


# Each of these tests can fail


def a_set_up_cell(extras: str = "") -> str:
    cell = set_up_cell(read(ROOT / NOTEBOOKS[0]))
    return cell.replace("finetuning @", f"finetuning{extras} @")


def test_a_package_that_colab_lacks_is_noticed(ready):
    """A notebook that imports trl needs the extra that brings it."""
    content = notebook(new_code_cell("def tune():\n    import trl", id="tune"))
    machine = ready(a_set_up_cell()).machine
    assert machine.import_all([imports(content)]) == [
        "ModuleNotFoundError: No module named 'trl'"
    ]


def test_an_extra_brings_what_it_names(ready):
    """And what it names is not there without it."""
    statements = ["import rouge_score", "import sacrebleu"]
    assert all(ready(a_set_up_cell()).machine.import_all(statements))
    with_extra = ready(a_set_up_cell("[metrics]"))
    assert with_extra.problems() == []
    assert not any(with_extra.machine.import_all(statements))


def test_the_checks_that_an_exercise_calls_are_imported():
    source = "from finetuning import checks\n\nchecks.ch04.attention(attention)"
    assert imports(notebook(new_code_cell(source, id="check"))).splitlines() == [
        "from finetuning import checks",
        "import finetuning.checks.ch04",
    ]


def test_a_tag_that_is_not_there_is_noticed(tmp_path, repository, index):
    cell = a_set_up_cell()
    assert f"v{VERSION}" in cell
    machine = make_machine(tmp_path, repository, index)
    with pytest.raises(AssertionError):
        set_up(machine, cell.replace(f"v{VERSION}", "v9.9.9"))


def test_what_a_set_up_cell_must_not_do_is_noticed(ready):
    """As where it brings a version that Colab does not have."""
    sound = ready(a_set_up_cell())
    gone = {name: at for name, at in sound.after.items() if "packaging" not in name}
    moved = replace(sound, after=gone, after_second_run=gone)
    assert "are touched" in moved.problems()[0]
    more = sound.after | {"trl-1.0.0.dist-info": ("", 0)}
    added = replace(sound, after=more, after_second_run=more)
    assert "installed: " in added.problems()[0] and "trl" in added.problems()[0]
    again = replace(sound, after_second_run=sound.after | {"gguf": ("", 0)})
    assert "run again" in again.problems()[0]
    files = [name for name in sound.probe["files"] if "resources.txt" not in name]
    lost = replace(sound, probe=sound.probe | {"files": files})
    (sentence,) = lost.problems()
    assert sentence == "in the repository, not installed: ['resources/resources.txt']"
    loud = replace(sound, said="ERROR: pip's dependency resolver")
    assert "the set-up cell says" in loud.problems()[0]
