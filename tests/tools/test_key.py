"""The key of a notebook changes with everything that its outputs depend on, and with
nothing else.
"""

import ast
import sys
from multiprocessing import get_context

import key
import pytest
import samples
from key import (
    changed_since,
    results_read,
    run_key,
    tree_hash,
    verification_key,
    whole,
)
from nbformat.v4 import new_output
from notebooks import ROOT, read
from samples import code, notebook, printed, text
from used_code import closure, imports, used_code

FILES = {
    "finetuning/__init__.py": '"""The package."""\n',
    "finetuning/models.py": (
        '"""Models."""\n'
        "import numpy as np\n"
        "from finetuning import resources\n\n\n"
        "def load(name='tiny-model'):\n"
        '    """A model."""\n'
        "    from finetuning.late import helper\n\n"
        "    return np.zeros(2), resources.fetch(name), helper\n"
    ),
    "finetuning/late.py": (
        "import math\n\nSIZE = 1\nOTHER = 2\n\n\n"
        "def helper():\n    return SIZE\n\n\n"
        "def alone():\n    return OTHER\n"
    ),
    "finetuning/unused.py": "VALUE = 1\n",
    "finetuning/resources/__init__.py": "def fetch(name):\n    return name\n",
    "finetuning/resources/resources.txt": (
        "# tiny-model: one of ours\ntiny==1.0 --hash=sha256:aa\n"
        "# another: which nobody here uses\nother==1.0 --hash=sha256:bb\n"
    ),
    "finetuning/checks/__init__.py": "def __getattr__(name):\n    ...\n",
    "finetuning/checks/ch04.py": "def good(x):\n    return x\n",
    "finetuning/checks/ch05.py": "def good(x):\n    return x\n",
    "finetuning/metrics/__init__.py": "def path(name):\n    return name\n",
    "finetuning/metrics/f1/f1.py": "def score():\n    return 1\n",
    "finetuning/experiments/__init__.py": "def results(name):\n    return name\n",
    "finetuning/experiments/results/widths.json": '{"runs": [1]}\n',
    "finetuning/experiments/results/depths.json": '{"runs": [1]}\n',
    "requirements.txt": "# pins\nnumpy==2.4.6\npytest==9.2.0\n",
    "tests/nbval_tolerance.py": "TOLERANCE = 1e-3\n",
}


@pytest.fixture
def root(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def book_notebook():
    return notebook(
        text("title", "# 04 · X"),
        code("setup", "%pip install -q x", tags=["setup"]),
        code(
            "imports",
            "from finetuning import checks, metrics\n"
            "from finetuning.experiments import results\n"
            "from finetuning.models import load  # a remark",
        ),
        code(
            "run",
            "%time load()\nprint(results('widths'), metrics.path('f1'))",
            printed("0.5\n"),
            nbval_tolerance=0.01,
        ),
        code("check", "checks.ch04.good(load)", printed("✓ good\n")),
    )


def edit(name, old, new):
    """A change of a file."""

    def change(root, content):
        before = (root / name).read_text()
        assert old in before
        (root / name).write_text(before.replace(old, new))

    return change


def edit_cell(cell_id, **fields):
    """A change of a cell's fields."""

    def change(root, content):
        next(cell for cell in content.cells if cell.id == cell_id).update(fields)

    return change


def picture(data):
    return new_output("display_data", data={"image/png": data})


# What is changed, and the part of the recorded key that must change with it; "" where
# only the key of the verification must.
CHANGES = {
    "cell": (edit_cell("check", source="checks.ch04.good(1)"), "code"),
    "digit": (edit_cell("run", outputs=[printed("0.6\n")]), "outputs"),
    "picture": (edit_cell("run", outputs=[picture("AAAA")]), "outputs"),
    "tags": (edit_cell("run", metadata={"tags": ["nbval-ignore-output"]}), ""),
    "tolerance": (edit_cell("run", metadata={"nbval_tolerance": 0.02}), ""),
    "module": (edit("finetuning/models.py", "zeros", "ones"), "modules"),
    "late-module": (edit("finetuning/late.py", "SIZE\n\n", "-SIZE\n\n"), "modules"),
    "constant": (edit("finetuning/late.py", "SIZE = 1", "SIZE = 3"), "modules"),
    "run-on-import": (
        edit("finetuning/late.py", "math\n", "math\nmath.pi = 3\n"),
        "modules",
    ),
    "check-module": (edit("finetuning/checks/ch04.py", "x)", "x, y=1)"), "modules"),
    "package": (edit("finetuning/checks/__init__.py", "...", "pass"), "modules"),
    "metric": (edit("finetuning/metrics/f1/f1.py", "1", "2"), "modules"),
    "resource": (
        edit("finetuning/resources/resources.txt", "sha256:aa", "sha256:ab"),
        "resources",
    ),
    "result": (
        edit("finetuning/experiments/results/widths.json", "1", "2"),
        "results",
    ),
    "imported-pin": (edit("requirements.txt", "2.4.6", "2.4.7"), "packages"),
    "other-pin": (edit("requirements.txt", "9.2.0", "9.2.1"), ""),
    "comparison": (edit("tests/nbval_tolerance.py", "1e-3", "1e-2"), ""),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_outputs_depend_on_changes_the_key(root, name):
    change, part = CHANGES[name]
    content = book_notebook()
    recorded = run_key(content, root)
    verified = verification_key(content, root)
    assert changed_since(recorded, content, root) == []
    change(root, content)
    assert changed_since(recorded, content, root) == ([part] if part else [])
    assert verification_key(content, root) != verified


NOTHING = {
    "markdown": edit_cell("title", source="# 04 · Y"),
    "set-up": edit_cell("setup", source="%pip install -q y"),
    "comment": edit("finetuning/models.py", "    from", "    # why\n    from"),
    "docstring": edit("finetuning/models.py", "A model.", "One model."),
    "module-docstring": edit("finetuning/models.py", "Models.", "All models."),
    "layout": edit("finetuning/late.py", "def helper():\n", "def helper():\n\n"),
    "other-module": edit("finetuning/unused.py", "1", "2"),
    "other-function": edit("finetuning/late.py", "return OTHER", "return -OTHER"),
    "other-constant": edit("finetuning/late.py", "OTHER = 2", "OTHER = 3"),
    "new-function": edit(
        "finetuning/late.py", "def alone", "def new():\n    ...\n\n\ndef alone"
    ),
    "new-import": edit("finetuning/late.py", "import math", "import math\nimport time"),
    "other-checks": edit("finetuning/checks/ch05.py", "x)", "y)"),
    "other-resource": edit("finetuning/resources/resources.txt", "bb", "bc"),
    "other-result": edit("finetuning/experiments/results/depths.json", "1", "2"),
    "pin-comment": edit("requirements.txt", "# pins", "# exact pins"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_outputs_do_not_depend_on_leaves_the_key(root, name):
    content = book_notebook()
    recorded = run_key(content, root)
    verified = verification_key(content, root)
    NOTHING[name](root, content)
    assert changed_since(recorded, content, root) == []
    assert verification_key(content, root) == verified


def test_the_processor_changes_only_the_key_of_the_verification(root, monkeypatch):
    content = book_notebook()
    recorded = run_key(content, root)
    keys = {verification_key(content, root)}
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "OTHER")
    keys.add(verification_key(content, root))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    keys.add(verification_key(content, root))
    monkeypatch.setattr("platform.python_version_tuple", lambda: ("3", "99", "0"))
    keys.add(verification_key(content, root))
    assert len(keys) == 4
    assert run_key(content, root) == recorded


def test_the_environment_of_the_run_changes_the_key(root, monkeypatch):
    content = book_notebook()
    recorded = run_key(content, root)
    monkeypatch.setattr(key, "ENVIRONMENT", {"OMP_NUM_THREADS": "2"})
    assert changed_since(recorded, content, root) == ["environment"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b", {"a.b"}),
        ("def f():\n    from a import b", {"a", "a.b"}),
        ("from a import b as c\nc.d.e", {"a", "a.b", "a.b.d", "a.b.d.e"}),
        ("import a.b\na.b.c", {"a.b", "a.b.c"}),
        ("import a.b as x\nx.c", {"a.b", "a.b.c"}),
        ("from a import b\nf(b)", {"a", "a.b", "a.b.*"}),
    ],
)
def test_imports_are_found(source, expected):
    assert imports(source) == expected


MODULES = {
    "__init__": "",
    "core": "TABLE = {}\ndef entry(f):\n    TABLE[f.__name__] = f\n    return f\n",
    "entries": (
        "from finetuning.core import entry\n"
        "@entry\ndef one():\n    return 1\n"
        "def two():\n    return 2\n"
    ),
    "bridge": (
        "from finetuning.core import TABLE as shared\nfrom finetuning import entries\n"
    ),
    "loop": (
        "from finetuning import loop\n"
        "def a():\n    return loop.b()\n"
        "def b():\n    return a()\n"
    ),
}


@pytest.mark.parametrize(
    ("source", "used"),
    [
        # What a decorator of ours may have kept counts, and no other function.
        ("from finetuning.entries import nothing", {"core": "entry", "entries": "one"}),
        ("from finetuning import entries\nentries.two()", {"entries": "two"}),
        ("import finetuning.entries as e\nprint(e)", {"entries": "two"}),
        ("from finetuning.bridge import shared", {"core": "TABLE", "entries": "one"}),
        ("from finetuning.loop import a", {"loop": "def b"}),
    ],
)
def test_definitions_that_are_used_count(tmp_path, source, used):
    (tmp_path / "finetuning").mkdir()
    for name, content in MODULES.items():
        (tmp_path / f"finetuning/{name}.py").write_text(content)
    counted = used_code(source, tmp_path)
    for name, words in used.items():
        assert words in counted[f"finetuning/{name}.py"]
    two_is_used = used == {"entries": "two"}
    assert ("two" in counted.get("finetuning/entries.py", "")) == two_is_used


def test_results_that_are_read_are_found():
    source = "from e import results\nresults('a').select()\ne.results('b')\nother('c')"
    assert results_read(whole(source)) == {"a", "b"}


def test_constants_of_one_value_and_several_types_differ():
    sources = ["1", "True", "1.0", "'1'", "b'1'", "None", "..."]
    assert len({tree_hash(source) for source in sources}) == len(sources)


def test_only_a_docstring_does_not_count():
    assert tree_hash('def f():\n    "a"\n    "b"') == tree_hash(
        'def f():\n    "c"\n    "b"'
    )
    assert tree_hash('def f():\n    1\n    "a"') != tree_hash(
        'def f():\n    1\n    "b"'
    )


IMPORTING = [
    "chapters/10-electra.ipynb",
    "chapters/11-fine-tuning-a-classifier.ipynb",
    "solutions/09-gpt.ipynb",
]


def load(imports):
    """The files of ours that import statements really load."""
    for name in list(sys.modules):
        if name.split(".")[0] == "finetuning":
            del sys.modules[name]
    exec(imports, {"__name__": "notebook"})
    ours = [name for name in sys.modules if name.split(".")[0] == "finetuning"]
    files = [sys.modules[name].__file__ for name in ours]
    return [file for file in files if file]


@pytest.fixture(scope="module")
def loaded():
    """What the imports of some notebooks really load, each in a process of its own that
    begins with the libraries loaded here, which take seconds.
    """
    programs = []
    for name in IMPORTING:
        lines = [
            ast.unparse(node)
            for node in ast.parse(key.cells_source(read(ROOT / name))).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        programs.append("\n".join(lines))
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        files = pool.map(load, programs, chunksize=1)
    return dict(zip(IMPORTING, files, strict=True))


@pytest.mark.parametrize("name", IMPORTING)
def test_no_module_that_is_really_imported_is_missed(name, loaded):
    found = set(loaded[name])
    source = key.cells_source(read(ROOT / name))
    static = {str(ROOT / path) for path in closure(source)}
    assert len(found) > 5
    assert found <= static


def test_a_book_without_a_package_has_keys_too(tmp_path):
    root = samples.book(tmp_path)
    content = samples.chapter(root)
    assert run_key(content, root) == run_key(content, root)
