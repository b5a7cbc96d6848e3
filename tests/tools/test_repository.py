"""What must be true of the repository as a whole: versions, pins, layout, and what may
not be in it.

Each gate is a function over `{path: text}` that returns what it found, so that it can
be shown to fail.
"""

import itertools
import json
import re
import subprocess
import tomllib
from datetime import date
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from contents import read_contents
from notebooks import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from tree_files import ignored_patterns, tree_files, walk
from verified_tests import SITE, Reads, RepositoryFiles, groups

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PYPROJECT["project"]["version"]
DECLARED = [
    *PYPROJECT["project"]["dependencies"],
    *itertools.chain(*PYPROJECT["project"]["optional-dependencies"].values()),
]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
PINS = [
    Requirement(line.split(" #")[0])
    for line in (ROOT / "requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
CONTENTS = read_contents(ROOT)


def readable(path: Path) -> str:
    """The text of a file. Pictures and weights have none, and the letters that stand
    for pictures in a notebook mean none.
    """
    if path.suffix in {".png", ".ico", ".woff2", ".safetensors"}:
        return ""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                for kind in [
                    kind for kind in output.get("data", {}) if kind.startswith("image/")
                ]:
                    del output["data"][kind]
        text = json.dumps(notebook, ensure_ascii=False)
    return text


FILES = tree_files(ROOT)
TEXTS = {name: readable(ROOT / name) for name in FILES}


# Versions and the address


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == VERSION == citation["preferred-citation"]["version"]
    newest = re.search(
        r"^## \[(.+?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert newest[1] == VERSION
    assert date.fromisoformat(newest[2]) == citation["date-released"]
    assert citation["preferred-citation"]["year"] == citation["date-released"].year
    assert metadata.version("finetuning") == VERSION


def test_set_up_cells_ask_for_this_version():
    notebooks = [name for name in FILES if name.endswith(".ipynb")]
    assert notebooks
    for name in notebooks:
        assert f"{CONFIG['repository']['url']}@v{VERSION}" in TEXTS[name], name


def test_citation_is_complete():
    """The keys that version 1.2.0 of the format asks for, and its values of `type`."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["type"] in {"software", "dataset"}
    assert citation["preferred-citation"]["type"] == "book"
    assert {"title", "authors"} <= set(citation["preferred-citation"])
    for author in citation["authors"] + citation["preferred-citation"]["authors"]:
        assert set(author) == {"name"}
    assert citation["title"] == citation["preferred-citation"]["title"]
    assert citation["title"].startswith(CONFIG["title"])
    assert set(citation["license"]) == {"Apache-2.0", "CC-BY-4.0"}


def with_address(texts: dict[str, str]) -> list[str]:
    """Files that hold the repository's address."""
    return [name for name, text in texts.items() if CONFIG["repository"]["url"] in text]


def test_the_address_stands_once():
    """In `_config.yml`; everywhere else it is derived, which is to say in notebooks."""
    assert [name for name in with_address(TEXTS) if not name.endswith(".ipynb")] == [
        "_config.yml"
    ]
    assert with_address({"page.md": f"see {CONFIG['repository']['url']}/issues"}) == [
        "page.md"
    ]


def test_the_readme_names_the_site():
    """In its first lines; the site's address there is the one it is built for."""
    address = CONFIG["html"]["baseurl"]
    readme = TEXTS["README.md"]
    assert address in readme.split("\n\n")[1]
    host = address.split("/")[2]
    assert readme.count(host) == readme.count(address)


def test_the_readme_warns_before_the_long_test():
    """`make test` comes after what a reader wants, and with its duration."""
    readme = TEXTS["README.md"]
    assert "make test" not in readme[: readme.index("## What is written")]
    assert re.search(r"^\| `make test` \| \d+ minutes", readme, re.MULTILINE)


# Pins


def bad_pins(pins: list[Requirement]) -> list[str]:
    """A sentence for each pin that is not exact, or that no package index can serve."""
    wrong = []
    for pin in pins:
        exact = re.fullmatch(r"==([^*]+)", str(pin.specifier))
        if not exact:
            wrong.append(f"{pin}: not pinned to one version")
        elif Version(exact[1]).local:
            wrong.append(
                f"{pin}: a local version, which the package index does not have"
            )
    return wrong


def missing_pins(pins: list[Requirement]) -> set[str]:
    """What the pinned packages require, here and now, that is not pinned itself."""
    pinned = {canonicalize_name(pin.name) for pin in pins}
    missing = set()
    seen: set[tuple[str, frozenset]] = set()
    waiting = [(canonicalize_name(pin.name), frozenset(pin.extras)) for pin in pins]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            environments = [
                default_environment() | {"extra": extra} for extra in extras | {""}
            ]
            if needed.marker and not any(
                needed.marker.evaluate(each) for each in environments
            ):
                continue
            child = canonicalize_name(needed.name)
            if child not in pinned:
                missing.add(f"{child} (asked for by {name})")
            else:
                waiting.append((child, frozenset(needed.extras)))
    return missing


def test_pins_are_exact_and_whole():
    assert bad_pins(PINS) == []
    assert missing_pins(PINS) == set()
    names = [canonicalize_name(pin.name) for pin in PINS]
    assert len(names) == len(set(names)), "pinned twice"
    for text in DECLARED:
        assert canonicalize_name(Requirement(text).name) in names, f"{text} has no pin"


def test_pins_are_what_is_installed():
    for pin in PINS:
        installed = metadata.version(pin.name)
        assert pin.specifier.contains(Version(installed).public), (
            f"{pin}, but {installed} is installed"
        )


def test_pins_lie_in_the_packages_ranges():
    """The committed outputs must come from versions that the package admits."""
    pinned = {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in PINS
    }
    for text in DECLARED:
        requirement = Requirement(text)
        assert requirement.specifier.contains(
            pinned[canonicalize_name(requirement.name)]
        ), text


@pytest.mark.parametrize(
    "line", ["numpy>=2", "numpy", "numpy==2.*", "torch==2.13.0+cpu"]
)
def test_a_loose_pin_is_noticed(line):
    assert bad_pins([Requirement(line)])


def test_a_forgotten_pin_is_noticed():
    assert missing_pins([Requirement("gguf==0.19.0")]) >= {"pyyaml (asked for by gguf)"}


# What may not be in the tree


# put together here, so that this file does not trip over itself
HOME = "(?:root|work|home|Users)"
MACHINE = re.compile(
    rf"(?<![\w.}}>~-])/{HOME}/|[A-Z]:\\Users\\\w+|\b[\w.-]+\.internal\b"
)
SECRETS = re.compile(
    r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{36}|github_pat_\w{30,}|hf_[A-Za-z]{34}|sk-[\w-]{32,}|xox[abp]-\w{10,})\b"
    r"|-----BEGIN [A-Z ]*PRIVATE" + " KEY-----"
)
UNFINISHED = re.compile(r"\b(?:TO" + "DO|FIX" + "ME|XX" + r"X)\b")
# Which registry packages come from is for each machine's own pip settings to say.
REGISTRY = re.compile(
    r"\b(?:(?:test\.)?py"
    + r"pi\.org|files\.python"
    + r"hosted\.org|download\.py"
    + r"torch\.org)\b"
)
BY_PLACE = {
    "machine path": MACHINE,
    "secret": SECRETS,
    "unfinished": UNFINISHED,
    "registry": REGISTRY,
}
# Weights, corpora and archives: they come from packages, never from the repository.
NOT_OURS = re.compile(
    r"\.(?:safetensors|gguf|bin|pt|pth|ckpt|onnx|h5|npz?|pkl|pickle|parquet|arrow|csv|tsv|jsonl|whl|zip|gz|tgz|xz|so)$"
)
CHECKPOINTS = re.compile(
    r"(?:^|/)(?:\.ipynb_checkpoints|__pycache__|\.DS_Store)(?:/|$)"
)


def found(pattern: re.Pattern, texts: dict[str, str]) -> list[str]:
    """Where a pattern occurs: `path: what`."""
    return [
        f"{name}: {match.group()}"
        for name, text in texts.items()
        for match in pattern.finditer(text)
    ]


@pytest.mark.parametrize("what", BY_PLACE)
def test_nothing_of_this_kind(what):
    # The lint's own tests hold examples of what it must notice.
    texts = {
        name: text for name, text in TEXTS.items() if name != "tests/tools/test_lint.py"
    }
    assert found(BY_PLACE[what], texts) == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("machine path", "File " + "/ro" + "ot/.cache/x.py"),
        ("machine path", '"/ho' + 'me/ada/book"'),
        ("machine path", "C:" + r"\Users\ada"),
        ("secret", "token = hf" + "_" + "a" * 34),
        ("secret", "-----BEGIN RSA PRIVATE" + " KEY-----"),
        ("unfinished", "TO" + "DO-MEASURE"),
        ("unfinished", "# FIX" + "ME later"),
        ("registry", "--index-url https://download.py" + "torch.org/whl/cpu"),
    ],
)
def test_and_each_kind_is_noticed(what, text):
    assert found(BY_PLACE[what], {"file": text})


# What imports nbformat, and what keeps it from building grammars for more than a second
# (tools/notebooks.py). The tools' imports stand in the order of the alphabet.
NBFORMAT = re.compile(
    r"^(?:from|import) (?:jupytext|nbclient|nbformat)\b", re.MULTILINE
)
BEFORE_IT = re.compile(r"^(?:from|import) (?:key|notebooks)\b", re.MULTILINE)


def early_imports_of_nbformat(texts: dict[str, str]) -> list[str]:
    """Tools that import nbformat before tools/notebooks.py."""
    return [
        name
        for name, text in texts.items()
        if name.startswith("tools/") and name.endswith(".py")
        if (early := NBFORMAT.search(text)) and name != "tools/notebooks.py"
        if not BEFORE_IT.search(text, endpos=early.start())
    ]


def test_no_tool_waits_for_grammars():
    assert early_imports_of_nbformat(TEXTS) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "from nbformat import NotebookNode\nfrom notebooks import ROOT\n",
            ["tools/x.py"],
        ),
        ("import jupytext\nfrom contents import SOURCE\n", ["tools/x.py"]),
        ("from key import inputs\nfrom nbclient import NotebookClient\n", []),
        ("from notebooks import NotebookNode, nbformat\n", []),
    ],
)
def test_a_tool_that_waits_for_grammars_is_noticed(text, expected):
    assert early_imports_of_nbformat({"tools/x.py": f'"""X."""\n{text}'}) == expected


# Weights that an experiment of the book trained; tests/experiments holds each to a run.
OUR_WEIGHTS = re.compile(
    r"^finetuning/(experiments/results/\w+/[\w.-]+|adapters/\w+/adapter_model)"
    r"\.safetensors$"
)


def test_no_file_is_large():
    assert {
        name: size
        for name in FILES
        if (size := (ROOT / name).stat().st_size) > 1_000_000
        and not OUR_WEIGHTS.search(name)
    } == {}


def test_no_weights_no_data_no_leftovers():
    assert [
        name
        for name in FILES
        if (NOT_OURS.search(name) and not OUR_WEIGHTS.search(name))
        or CHECKPOINTS.search(name)
    ] == []
    for name in ("a/model.safetensors", "bbc.csv"):
        assert NOT_OURS.search(name) and not OUR_WEIGHTS.search(name)
    for name in ("chapters/.ipynb_checkpoints/x.ipynb", "finetuning/__pycache__/a.pyc"):
        assert CHECKPOINTS.search(name)


# Layout and commands


def test_an_unpacked_release_has_the_same_files(tmp_path):
    """As git lists them, and as they are found where there is no repository."""
    ignored = (".venv/a.py", "_build/x", "a/__pycache__/x.pyc", "b.egg-info/x", "c.pyc")
    kept = (".gitignore", "a/b/c.py", "d.py", "a/_build/kept")
    for name in (*ignored, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / ".gitignore").write_text(TEXTS[".gitignore"])
    assert tree_files(tmp_path) == sorted(kept)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert tree_files(tmp_path) == sorted(kept)
    walked = {
        name
        for name in walk(ROOT, ignored_patterns(ROOT))
        if name != ".git" and not name.startswith(".git/")
    }
    assert walked == set(FILES)


def test_a_gitignore_that_is_not_understood_is_said(tmp_path):
    (tmp_path / ".gitignore").write_text("a/b\n")
    with pytest.raises(ValueError, match="`a/b` is not of a form known here"):
        tree_files(tmp_path)


ALWAYS_THERE = [
    ".ci/run",
    ".gitignore",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "LICENSE-CC-BY-4.0",
    "Makefile",
    "NOTICE",
    "README.md",
    "_config.yml",
    "_toc.yml",
    "bench/README.md",
    "book/chapters.yml",
    "finetuning/metrics/__init__.py",
    "finetuning/resources/resources.txt",
    "finetuning/scratch/__init__.py",
    "pyproject.toml",
    "requirements.txt",
    "tests/colab/README.md",
]


def test_layout():
    assert set(ALWAYS_THERE) <= set(FILES)
    # A chapter with exercises is four more things; none is forgotten.
    for name in CHAPTERS:
        number = name.split("-")[0]
        more = {
            f"solutions/{name}.ipynb",
            f"exercises/{name}.ipynb",
            f"finetuning/checks/ch{number}.py",
            f"tests/checks/wrong_answers/ch{number}.py",
        }
        expected = more if CONTENTS.of(name).exercises else set()
        assert more & set(FILES) == expected


@pytest.mark.parametrize(
    "page", [name for name in ALWAYS_THERE if name.endswith(".md")]
)
def test_links_inside_the_repository_lead_somewhere(page):
    """Of pages that the site does not have; its own are checked where it is built."""
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", TEXTS[page]):
        assert ((ROOT / page).parent / target).exists(), target


def test_licences_are_whole():
    """Both texts to their last section, word for word as long as the official ones."""
    apache = TEXTS["LICENSE"]
    creative_commons = TEXTS["LICENSE-CC-BY-4.0"]
    assert "Version 2.0, January 2004" in apache
    assert "END OF TERMS AND CONDITIONS" in apache
    assert creative_commons.startswith("Attribution 4.0 International")
    assert "Section 8 -- Interpretation." in creative_commons
    assert len(apache.split()) > 1500 < len(creative_commons.split())


def undescribed(makefile: str) -> set[str]:
    """Targets without a line of help, those that name files left out."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    return targets - set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))


def test_every_command_is_listed_and_described():
    makefile = TEXTS["Makefile"]
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert undescribed(makefile) == set()
    assert undescribed("all: a\n\trun\nhelp: ## list\n") == {"all"}
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()
    assert set(phony) == targets
    listed = subprocess.check_output(
        ["make", "--no-print-directory"], cwd=ROOT, text=True
    )
    assert set(re.findall(r"^  make ([a-z-]+)", listed, re.MULTILINE)) == targets


def test_contributors_find_every_command():
    commands = set(
        re.findall(r"`make ([a-z-]+)", TEXTS["CONTRIBUTING.md"] + TEXTS["README.md"])
    )
    targets = set(re.findall(r"^([a-z-]+):.*## ", TEXTS["Makefile"], re.MULTILINE))
    assert commands == targets - {"help"}


def test_ci_runs_everything():
    assert "make test" in TEXTS[".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111, ".ci/run is not executable"


def test_every_entry_of_reads_yml_names_something():
    reads = Reads(ROOT)
    names = RepositoryFiles(ROOT, reads).names
    known = groups(ROOT)
    for row in reads.rows:
        for tests in row["tests"]:
            assert any(reads.row(group) is row for group in known), tests
    for group in known:
        for entry in reads.of(group) or []:
            if entry.pattern.pattern.startswith(SITE):  # built or not
                continue
            assert any(map(entry.pattern.fullmatch, names)), (group, entry.pattern)
