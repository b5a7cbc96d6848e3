"""The set-up cell must not move a package that Colab has preinstalled.

Offline: the package's requirements are walked against Colab's own lists
(`tests/colab/`). Where Colab has the package, its version must satisfy whoever asks for
it. Where Colab lacks it, it will be added, and then its own requirements count too;
they are read from the version installed here. The weekly workflow asks pip's resolver
the same question with a network (`tools/colab_resolve.py`).
"""

import functools
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from key import cells_source
from nbformat.v4 import new_code_cell
from notebooks import ROOT, read, tags
from packaging.requirements import Requirement
from samples import notebook
from used_code import closure, imports

from tools import colab_resolve

NOTEBOOKS = [
    path.relative_to(ROOT).as_posix()
    for folder in ("chapters", "solutions", "exercises")
    for path in sorted((ROOT / folder).glob("*.ipynb"))
]
# What markers see on Colab.
COLAB = {
    "python_version": "3.13",
    "python_full_version": "3.13.5",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
RUNTIMES = colab_resolve.colab_packages()


def walk(
    requirements: list[str], preinstalled: dict[str, str]
) -> tuple[dict[str, str], list[str]]:
    """What would be added to `preinstalled` for `requirements`, and a sentence for what
    would move.

    Returns `({name: version installed here}, [sentence, …])`.
    """
    added: dict[str, str] = {}
    moves: list[str] = []
    waiting = [("finetuning", text, frozenset([""])) for text in requirements]
    seen = set()
    while waiting:
        asker, text, extras = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker and not any(
            requirement.marker.evaluate(COLAB | {"extra": e}) for e in extras
        ):
            continue
        name = colab_resolve.canonical(requirement.name)
        if name in preinstalled:
            version = preinstalled[name]
            if not requirement.specifier.contains(version, prereleases=True):
                moves.append(
                    f"{name}: Colab has {version}, {asker} asks for "
                    f"{requirement.specifier}"
                )
        else:
            version = added[name] = metadata.version(name)
            if not requirement.specifier.contains(version, prereleases=True):
                moves.append(
                    f"{name}: pinned at {version}, {asker} asks for "
                    f"{requirement.specifier}"
                )
        # A package that Colab has brings nothing new, except through an extra that is
        # asked for.
        wanted = frozenset(requirement.extras) | (
            frozenset() if name in preinstalled else {""}
        )
        if (name, wanted) not in seen and wanted:
            seen.add((name, wanted))
            waiting += [
                (name, child, wanted) for child in metadata.requires(name) or []
            ]
    return added, moves


def unpacked(name: str) -> float:
    """What an installed package takes on disk, in MB; a download is smaller."""
    files = [file.locate() for file in metadata.files(name) or []]
    return sum(Path(file).stat().st_size for file in files if Path(file).exists()) / 1e6


@pytest.mark.parametrize("extra", ["", *colab_resolve.extras()])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_set_up_moves_nothing(runtime, extra, capsys):
    """The set-up cell, without an extra and with each."""
    extras = [extra] if extra else []
    added, moves = walk(colab_resolve.package_requirements(extras), RUNTIMES[runtime])
    with capsys.disabled():
        sizes = [
            f"{name} {version} ({unpacked(name):.1f} MB)"
            for name, version in sorted(added.items())
        ]
        what = f"finetuning[{extra}]" if extra else "finetuning"
        print(f"\nColab {runtime}: {what} adds", ", ".join(sizes))
    assert not moves, "\n".join(moves)
    # More than a handful would make the cell slow on every fresh Colab machine.
    most = 8 if extra else 4
    assert len(added) <= most, f"the set-up cell would add {sorted(added)}"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("requirement", "sentence"),
    [
        ("numpy>=2.4", "numpy: Colab has 2.1.3, finetuning asks for >=2.4"),
        ("torch<2.11", "torch: Colab has 2.11.0"),
        # The second step of the walk: trl is not on Colab, and what it asks for has to
        # hold there too.
        ("trl", "trl asks for"),
    ],
)
def test_the_walk_can_fail(runtime, requirement, sentence):
    preinstalled = dict(RUNTIMES[runtime])
    if requirement == "trl":
        preinstalled.pop("trl", None)
        preinstalled["transformers"] = "1.0"
    _, moves = walk([requirement], preinstalled)
    assert any(sentence in move for move in moves), moves


def test_an_extra_is_followed():
    """`fsspec[http]` on a machine that has fsspec but no aiohttp must be seen to add
    aiohttp.
    """
    preinstalled = {name: v for name, v in RUNTIMES["CPU"].items() if name != "aiohttp"}
    added, _ = walk(["fsspec[http]"], preinstalled)
    assert "aiohttp" in added
    assert "aiohttp" not in walk(["fsspec"], preinstalled)[0]


def test_lists_are_whole():
    """Both lists hold what the book stands on, and torch for the CPU runtime."""
    for runtime, packages in RUNTIMES.items():
        assert len(packages) > 600, runtime
        assert {
            "torch",
            "transformers",
            "datasets",
            "accelerate",
            "numpy",
            "pip",
        } <= set(packages), runtime


def set_up_cell(content: nbformat.NotebookNode) -> str:
    """The first code cell of a notebook, which must be the set-up cell."""
    first = next(cell for cell in content.cells if cell.cell_type == "code")
    assert "setup" in tags(first), "the first code cell is not the set-up cell"
    return first.source


def extras_of(cell: str) -> frozenset[str]:
    """The extras that a set-up cell asks for."""
    (line,) = [line for line in cell.splitlines() if "%pip install" in line]
    return frozenset(Requirement(line.split('"')[1]).extras)


@functools.cache
def provided() -> Mapping[str, list[str]]:
    """The packages that each top-level module comes from."""
    return metadata.packages_distributions()


def own_code(content: nbformat.NotebookNode, root: Path = ROOT) -> list[str]:
    """A notebook's code, and that of each module of ours that it leads to: the checks
    of its chapter too, where it calls them.
    """
    cells = cells_source(content)
    return [cells, *closure(cells, root).values()]


def imported_packages(sources: list[str]) -> set[str]:
    """The packages, by their canonical names, that code imports, in functions too."""
    modules = {name.split(".")[0] for source in sources for name in imports(source)}
    packages = set()
    for module in modules - set(sys.stdlib_module_names) - {"finetuning", "google"}:
        assert module in provided(), f"nothing installed provides {module}"
        packages |= {colab_resolve.canonical(name) for name in provided()[module]}
    return packages


def missing_on_colab(content: nbformat.NotebookNode, root: Path = ROOT) -> set[str]:
    """What a notebook needs, itself or by our modules, and one of Colab's runtimes
    lacks after its set-up cell.
    """
    requirements = colab_resolve.package_requirements(extras_of(set_up_cell(content)))
    needed = imported_packages(own_code(content, root))
    missing = set()
    for packages in RUNTIMES.values():
        added, _ = walk(requirements, packages)
        missing |= needed - set(packages) - set(added)
    return missing


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_needs_no_more_than_its_set_up_cell_brings(name):
    """What is missing is to be an extra of pyproject.toml, named in the chapter's
    record in book/chapters.yml.
    """
    assert missing_on_colab(read(ROOT / name)) == set()


def set_up_by(extras: str = "") -> nbformat.NotebookNode:
    source = f'%pip install -q "finetuning{extras} @ git+https://host/book@v1"'
    return new_code_cell(source, id="setup", metadata={"tags": ["setup"]})


def test_what_colab_lacks_is_noticed():
    plain = new_code_cell("def tune():\n    import trl", id="tune")
    assert missing_on_colab(notebook(set_up_by(), plain)) == {"trl"}
    score = new_code_cell("import rouge_score, sacrebleu", id="score")
    assert missing_on_colab(notebook(set_up_by(), score)) == {
        "rouge-score",
        "sacrebleu",
    }
    assert missing_on_colab(notebook(set_up_by("[metrics]"), score)) == set()


def test_what_a_module_of_checks_needs_is_noticed(tmp_path):
    checks = tmp_path / "finetuning" / "checks"
    checks.mkdir(parents=True)
    (checks / "__init__.py").write_text("")
    (checks / "ch99.py").write_text("def check(f):\n    import trl")
    calling = new_code_cell(
        "from finetuning import checks\nchecks.ch99.check(1)", id="check"
    )
    assert missing_on_colab(notebook(set_up_by(), calling), tmp_path) == {"trl"}


def test_what_is_imported_is_required_and_the_other_way_round():
    """Each imported module belongs to a declared requirement, and each requirement is
    imported.
    """
    modules = [path.read_text() for path in (ROOT / "finetuning").rglob("*.py")]
    cells = [cells_source(read(ROOT / name)) for name in NOTEBOOKS]
    used = imported_packages([*modules, *cells]) - {"ipython"}
    declared, with_extras = (
        {
            colab_resolve.canonical(Requirement(text).name)
            for text in colab_resolve.package_requirements(extras)
        }
        for extras in ([], colab_resolve.extras())
    )
    assert used <= with_extras, (
        f"imported but not required in pyproject.toml: {sorted(used - with_extras)}"
    )
    # transformers imports these by itself, to read SmolLM2, to read and write weights,
    # and in its Trainer.
    by_transformers = {"gguf", "safetensors", "accelerate"}
    assert declared - used <= by_transformers, (
        f"required, never imported: {sorted(declared - used)}"
    )


def test_a_report_that_moves_something_is_noticed():
    report = {
        "install": [
            {
                "metadata": {"name": "Numpy", "version": "2.4.6"},
                "download_info": {"url": "https://host/numpy.whl"},
            },
            {
                "metadata": {"name": "gguf", "version": "0.19.0"},
                "download_info": {"url": "https://host/gguf.whl"},
            },
        ]
    }
    assert colab_resolve.moved(report, RUNTIMES["CPU"]) == [
        "numpy would move from 2.1.3 to 2.4.6"
    ]
    assert set(colab_resolve.additions(report)) == {"numpy", "gguf"}


def test_pip_sees_the_imitated_packages(tmp_path):
    """Without an index pip can answer for what is preinstalled, and only for that."""
    packages = {"numpy": "2.1.3", "torch": "2.11.0+cu128"}
    python = colab_resolve.imitate(tmp_path / "colab", packages)
    report = colab_resolve.ask_pip(python, ["--no-index", "numpy>=2.0", "torch>=2.6"])
    assert colab_resolve.moved(report, packages) == [] == report["install"]
    with pytest.raises(RuntimeError, match="numpy"):
        colab_resolve.ask_pip(python, ["--no-index", "numpy>=2.4"])
