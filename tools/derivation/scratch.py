"""finetuning/scratch: what chapters define in cells marked `#| export`.

`#| default_exp NAME` says the chapter's module, in one cell; `#| export` at the top of
a cell sends it there, `#| export OTHER` to another module.
"""

import ast
import re

from notebooks import Finding, NotebookNode, Place, numbered
from syntax import defined_names

from derivation import GENERATED, Problems

DIRECTIVE = re.compile(r"^\s*#\s*\|\s*(?P<name>\w+)\s*(?P<value>.*?)\s*$")
MODULE_NAME = re.compile(r"[a-z][a-z0-9_]*")


def directives(cell: NotebookNode) -> dict[str, str]:
    """The `#| name value` lines at the top of a code cell."""
    values = {}
    for line in cell.source.split("\n") if cell.cell_type == "code" else ():
        match = DIRECTIVE.match(line)
        if match:
            values[match["name"]] = match["value"]
        elif line.strip():
            break
    return values


def module_names(notebook: NotebookNode, name: str) -> list[str]:
    """The modules a chapter exports to, that of `#| default_exp` first; none where it
    exports nothing.

    Raises
    ------
    Problems: if cells are exported with no module named, to a bad name, or do not
        parse.
    """
    findings: list[Finding] = []
    defaults: list[str] = []
    others: list[str] = []
    exported = False
    for number, cell in numbered(notebook):
        values = directives(cell)
        findings += directive_problems(cell, values, Place(name, cell.id, number))
        if "default_exp" in values:
            defaults.append(values["default_exp"])
        if values.get("export"):
            others.append(values["export"])
        elif "export" in values:
            exported = True
    if len(defaults) > 1:
        findings.append(Finding(Place(name), "says `#| default_exp` more than once."))
    if (exported or others) and not defaults:
        sentence = "has cells marked `#| export` and no `#| default_exp`."
        findings.append(Finding(Place(name), sentence))
    if defaults and not exported:
        sentence = "says `#| default_exp` and exports nothing to it."
        findings.append(Finding(Place(name), sentence))
    if findings:
        raise Problems(*findings)
    return list(dict.fromkeys([*defaults, *others]))


def directive_problems(
    cell: NotebookNode, values: dict[str, str], place: Place
) -> list[Finding]:
    """What is wrong with one cell's directives, or with the code that it exports."""
    findings = []
    for directive in ("default_exp", "export"):
        module = values.get(directive)
        if module and not MODULE_NAME.fullmatch(module):
            findings.append(Finding(place, f"`{module}` is not a module's name."))
    for other in values.keys() - {"default_exp", "export"}:
        findings.append(Finding(place, f"`#| {other}` is not used in this book."))
    if "export" not in values:
        return findings
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        sentence = f"the exported cell does not parse: {error.msg}."
        return [*findings, Finding(place.at_line(error.lineno), sentence)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            sentence = "an exported cell imports by full names (finetuning.scratch.…)."
            findings.append(Finding(place.at_line(node.lineno), sentence))
    return findings


def exported_cells(notebook: NotebookNode, module: str, default: str) -> list[str]:
    """The sources of the cells that go to `module`, without their directives."""
    sources = []
    for cell in notebook.cells:
        values = directives(cell)
        if "export" in values and (values["export"] or default) == module:
            lines = cell.source.split("\n")
            kept = [line for line in lines if not DIRECTIVE.match(line)]
            sources.append("\n".join(kept).strip("\n"))
    return sources


def scratch_module(notebook: NotebookNode, path: str, module: str, default: str) -> str:
    """The text of finetuning/scratch/MODULE.py.

    Parameters
    ----------
    path: the chapter's, from the root.
    default: the chapter's module, to which `#| export` alone sends a cell.
    """
    sources = exported_cells(notebook, module, default)
    names = defined_names(ast.parse("\n".join(sources)))
    public = "".join(f'    "{name}",\n' for name in names if not name.startswith("_"))
    title = notebook.cells[0].source.split("\n")[0].lstrip("# ").replace(" · ", ", ", 1)
    head = (
        f"# {GENERATED} {path}: edit that file.\n"
        f'"""What chapter {title} defines and later chapters import."""\n\n'
        f"__all__ = [\n{public}]"
    )
    return "\n\n\n".join([head, *sources]) + "\n"


def scratch_init(modules: dict[str, str]) -> str:
    """The text of finetuning/scratch/__init__.py.

    Parameters
    ----------
    modules: for each module the path of the chapter that exports to it.
    """
    lines = [f"- {module}: {name}" for module, name in sorted(modules.items())]
    listed = "\n".join(lines or ["No chapter exports anything yet."])
    return (
        f"# {GENERATED} cells marked `#| export` in chapters/*.ipynb: edit those.\n"
        '"""What chapters define and later chapters import, module by module.\n\n'
        f'{listed}\n"""\n'
    )
