"""The set-up cell must not move a package that Colab has preinstalled.

Offline: the package's requirements are walked against Colab's own lists
(`tests/colab/`). Where Colab has the package, its version must satisfy whoever asks for
it. Where Colab lacks it, it will be added, and then its own requirements count too;
they are read from the version installed here. The weekly workflow asks pip's resolver
the same question with a network (`tools/colab_resolve.py`).
"""

import ast
import json
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import colab_resolve

ROOT = Path(__file__).resolve().parents[2]
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


def imports_of(folder: str) -> set[str]:
    """Top-level modules that the Python files in `folder` import, this package left
    out.
    """
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - {"finetuning"}


def imports_of_notebooks() -> set[str]:
    """Top-level modules that the notebooks import."""
    found = set()
    for path in sorted(ROOT.glob("chapters/*.ipynb")) + sorted(
        ROOT.glob("solutions/*.ipynb")
    ):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] != "code":
                continue
            lines = [
                line
                for line in "".join(cell["source"]).splitlines()
                if line[:1] not in "%!"
            ]
            for line in lines:
                words = line.replace(",", " ").split()
                if line.startswith("import "):
                    found |= {
                        part.split()[0].split(".")[0]
                        for part in line[len("import ") :].split(",")
                    }
                elif line.startswith("from ") and "import" in words:
                    found.add(words[1].split(".")[0])
    return found - {"finetuning"}


def test_what_is_imported_is_required_and_the_other_way_round():
    """Each imported module belongs to a declared requirement, and each requirement is
    imported.
    """
    provided = metadata.packages_distributions()
    imported = imports_of("finetuning") | imports_of_notebooks()
    used = set()
    for module in imported - set(sys.stdlib_module_names) - {"google", "IPython"}:
        assert module in provided, (
            f"{module} is imported, and nothing installed provides it"
        )
        used |= {colab_resolve.canonical(name) for name in provided[module]}
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
