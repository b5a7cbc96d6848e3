"""The key of a notebook: a hash of everything that its outputs depend on.

`run_key` is the part that says "these outputs belong to this code": `make run` records
it in book/status.json, and lint compares it, on any machine. `verification_key` adds
what the comparison by nbval depends on, this processor too: the tests do not execute a
notebook again that passed under the same key on this checkout
(tests/verified_notebooks.py).

Of our own modules count the definitions that a notebook uses (used_code.py), as syntax
trees without docstrings: neither a comment nor a new function changes a key.
"""

import ast
import functools
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from notebooks import ENVIRONMENT, ROOT, NotebookNode, tags
from syntax import without_magics
from used_code import PACKAGE, Module, dotted, modules_of, parse

RESULTS = Path("finetuning/experiments/results")
RESOURCES = Path("finetuning/resources/resources.txt")
# Fields of a syntax tree that say nothing, or that not every version of Python has.
SKIPPED_FIELDS = {"ctx", "kind", "type_comment", "type_params"}
# By these a processor can be made to look like another one (tools/matrix.py).
PROCESSOR_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "FINETUNING_BFLOAT16",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)


def digest(value: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return text_digest(json.dumps(value, sort_keys=True))


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# Syntax trees


def tree_hash(source: str) -> str:
    """The hash of Python code as a syntax tree without docstrings, the same in every
    version of Python.
    """
    return tree_hash_of(whole(source))


def tree_hash_of(module: Module) -> str:
    """The hash of those statements of a module that are used, as code of their own."""
    body = [module.statements[place] for place in sorted(module.used)]
    trees = [tree_text(module.source, place) for place in sorted(module.used)]
    if ast.get_docstring(ast.Module(body)) is not None:
        del trees[0]
    fields = f'{{"body": [{", ".join(trees)}]}}' if body else "{}"
    return text_digest(f'["Module", {fields}]')


def whole(source: str) -> Module:
    """Code of which every statement counts."""
    module = Module(source)
    module.used.update(range(len(module.statements)))
    return module


@functools.cache
def tree_text(source: str, place: int) -> str:
    """A statement's syntax tree as JSON."""
    return json.dumps(_plain(parse(source).body[place]), sort_keys=True)


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(child) for child in node]
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = {
        name: _plain(value)
        for name, value in ast.iter_fields(node)
        if name not in SKIPPED_FIELDS and value is not None and value != []
    }
    with_docstring = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if isinstance(node, with_docstring) and ast.get_docstring(node) is not None:
        fields["body"] = fields["body"][1:]
    return [type(node).__name__, fields]


def constants(module: Module) -> set[str]:
    """The strings that stand in what is used of a module."""
    return set().union(*(part.strings for part in module.parts()))


def results_read(module: Module) -> set[str]:
    """The experiments whose kept results that reads: `results("objectives")`."""
    return {
        node.args[0].value
        for part in module.parts()
        for node in part.calls
        if (dotted(node.func) or "").rpartition(".")[2] == "results"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


# What stands in files


def resource_pins(root: Path = ROOT) -> dict[str, str]:
    """For each resource the line that pins it, below the comment that names it."""
    pins = {}
    name = None
    for line in _lines(root / RESOURCES):
        comment = re.match(r"# (\S+): ", line)
        if comment:
            name = comment[1]
        elif line and not line.startswith("#") and name:
            pins[name] = line
    return pins


def requirement_pins(root: Path = ROOT) -> dict[str, str]:
    """For each package of requirements.txt, by its canonical name, its version."""
    pairs = [
        line.split(" #")[0].strip().split("==")
        for line in _lines(root / "requirements.txt")
        if "==" in line and not line.startswith("#")
    ]
    return {_canonical(name): version for name, version in pairs}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def distributions_of(names: Iterable[str]) -> set[str]:
    """The packages, by their canonical names, that imported names come from."""
    return {
        _canonical(distribution)
        for module in {name.split(".")[0] for name in names}
        for distribution in _distributions().get(module, [])
    }


# The key


def cells_source(notebook: NotebookNode) -> str:
    """The code of all cells as one; without those that do not parse, as a lesson about
    errors may not. The set-up cell, which does nothing where the book is installed,
    does not count.
    """
    sources = []
    for cell in code_cells(notebook):
        source = without_magics(cell.source)
        try:
            ast.parse(source)
        except SyntaxError:
            continue
        sources.append(source)
    return "\n".join(sources)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "setup" not in tags(cell)
    ]


def inputs(notebook: NotebookNode, root: Path = ROOT) -> dict[str, str]:
    """A hash for each kind of thing that a run of the notebook depends on; the same on
    every machine.
    """
    own = whole(cells_source(notebook))
    modules = modules_of(own.source, root)
    everything = [own, *modules.values()]
    # The package that fetches names all resources; what uses them names its own.
    users = [own] + [
        module
        for path, module in modules.items()
        if not path.startswith(f"{PACKAGE}/resources/")
    ]
    named = set().union(*map(constants, users))
    resources = {
        name: pin for name, pin in resource_pins(root).items() if name in named
    }
    results = {
        name: _lines(root / RESULTS / f"{name}.json")
        for name in set().union(*map(results_read, everything))
    }
    needed = set().union(*(module.needs() for module in everything))
    imported = distributions_of(needed)
    packages = {
        name: pin for name, pin in requirement_pins(root).items() if name in imported
    }
    trees = {path: tree_hash_of(module) for path, module in modules.items()}
    return {
        "code": digest([cell.source for cell in code_cells(notebook)]),
        "modules": digest(trees),
        "resources": digest(resources),
        "results": digest(results),
        "packages": digest(packages),
        "environment": digest(ENVIRONMENT),
    }


def run_key(notebook: NotebookNode, root: Path = ROOT) -> dict[str, str]:
    """What `make run` records of a notebook: its outputs, pictures too, and what they
    depend on.
    """
    outputs = [cell.outputs for cell in code_cells(notebook)]
    return {"outputs": digest(outputs)} | inputs(notebook, root)


def changed_since(
    recorded: dict[str, str], notebook: NotebookNode, root: Path = ROOT
) -> list[str]:
    """The parts of a notebook's key that are not as they were when it was run."""
    now = run_key(notebook, root)
    return [part for part in now if recorded.get(part) != now[part]]


def verification_key(notebook: NotebookNode, root: Path = ROOT) -> str:
    """The key under which a notebook that passed nbval need not be executed again."""
    from torch.backends import cpu  # slow to import, and only needed here

    own_code = [Path(__file__), root / "tests" / "nbval_tolerance.py"]
    everything = {
        "run": run_key(notebook, root),
        "marks": [
            [cell.id, tags(cell), cell.metadata.get("nbval_tolerance")]
            for cell in notebook.cells
            if cell.cell_type == "code"
        ],
        "packages": requirement_pins(root),
        "comparison": [tree_hash(path.read_text("utf-8")) for path in own_code],
        "python": platform.python_version_tuple()[:2],
        "machine": [platform.system(), platform.machine(), cpu.get_cpu_capability()],
        "processor": {name: os.environ.get(name) for name in PROCESSOR_VARIABLES},
    }
    return digest(everything)
