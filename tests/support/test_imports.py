"""How the package's modules import one another (no circle, lazy imports included), and
what importing them says.
"""

import ast
import importlib.util
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "finetuning"


def import_graph(package: Path) -> dict[str, set[str]]:
    """The modules of a package, and which of them each one imports anywhere in its
    text, inside functions too.

    What Python imports by itself, the packages around a module, does not count.
    """
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        files[".".join(parts)] = path
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    imported.add(submodule if submodule in files else node.module)
        graph[module] = (imported & set(files)) - {module}
    return graph


def test_no_circle():
    graph = import_graph(PACKAGE)
    assert "finetuning.gguf" in graph["finetuning.resources.fetching"], "a lazy import"
    assert not graph["finetuning.gguf"], "gguf.py imports nothing of ours"
    TopologicalSorter(graph).prepare()


def test_a_circle_would_be_found(tmp_path):
    package = tmp_path / "finetuning"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text("from finetuning import resources\n")
    (package / "resources.py").write_text(
        "def convert():\n    from finetuning.models import convert_gguf\n"
    )
    with pytest.raises(CycleError) as circle:
        TopologicalSorter(import_graph(package)).prepare()
    assert set(circle.value.args[1]) == {"finetuning.models", "finetuning.resources"}


def test_our_module_gguf_does_not_hide_the_library():
    library = Path(importlib.util.find_spec("gguf").origin)
    assert (PACKAGE / "gguf.py").is_file()
    assert not library.is_relative_to(PACKAGE)


QUIET = """
import logging
import {module}
import bitsandbytes, peft
logging.getLogger("bitsandbytes.backends.cpu.ops").warning("a kernel is missing")
"""


@pytest.mark.parametrize(
    "module", ["finetuning", "finetuning.scratch.fine_tuning", "finetuning.checks.ch11"]
)
def test_after_an_import_of_ours_bitsandbytes_is_quiet(module):
    """Its warning as the package is loaded comes on some processors only, so the same
    logger is asked to warn here.
    """
    command = [sys.executable, "-W", "ignore", "-c", QUIET.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
