"""What would pip do to a Colab machine when the set-up cell installs the book's package
there?

An environment is imitated for each of Colab's runtimes: for every package in
`tests/colab/` it holds the name and the version, nothing else. Then pip's own resolver
is asked, without installing, what it would add. Adding is fine. Replacing a package
that Colab has is not: another version in a running kernel breaks imports in ways that
no reader can understand.

    python3.13 tools/colab_resolve.py

needs a network and nothing but pip. Use the Python that Colab has (3.13), because
markers and wheels depend on it. Exit status: 0 nothing moves, 1 something moves, 2 pip
found no solution or did not run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
import venv
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTS = {"CPU": "pip-freeze.txt", "GPU": "pip-freeze.gpu.txt"}
COLAB_PYTHON = (3, 13)
# Packages without a wheel on the index: pip builds them.
SOURCE_ONLY = ["rouge_score"]


def canonical(name: str) -> str:
    """A package's name as indexes compare it: lower case, one dash for each run of
    `-_.` (PEP 503).
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def colab_packages(
    folder: Path = ROOT / "tests" / "colab",
) -> dict[str, dict[str, str]]:
    """Colab's runtimes: `{"CPU": {name: version}, "GPU": …}` with canonical names.

    The CPU list names torch by address and so without a version (see
    `tests/colab/README.md`): its release is the GPU list's.
    """
    runtimes = {}
    for runtime, file in LISTS.items():
        pairs = (line.split("==") for line in (folder / file).read_text().split())
        runtimes[runtime] = {canonical(name): version for name, version in pairs}
    runtimes["CPU"].setdefault("torch", runtimes["GPU"]["torch"].split("+")[0])
    return runtimes


def project() -> dict:
    """What pyproject.toml says of the package."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def extras() -> list[str]:
    """The names of the extras: what only some notebooks need."""
    return sorted(project()["optional-dependencies"])


def package_requirements(extras: Iterable[str] = ()) -> list[str]:
    """The requirements that the package declares, and those of some extras of it."""
    declared = project()
    optional = declared["optional-dependencies"]
    return declared["dependencies"] + [
        each for name in extras for each in optional[name]
    ]


def imitate(folder: Path, packages: dict[str, str]) -> Path:
    """An environment in `folder` in which pip finds `packages` installed; returns its
    Python.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for name, release in packages.items():
        info = (
            folder
            / "lib"
            / version
            / "site-packages"
            / f"{name.replace('-', '_')}-{release}.dist-info"
        )
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n"
        )
        (info / "INSTALLER").write_text("imitation\n")
        (info / "RECORD").write_text("")
    return python


def ask_pip(python: Path, requirements: list[str]) -> dict:
    """pip's installation report for `requirements` in the environment of `python`;
    nothing is installed.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--dry-run",
        "--quiet",
    ]
    command += [
        "--disable-pip-version-check",
        "--only-binary=:all:",
        *(f"--no-binary={name}" for name in SOURCE_ONLY),
        "--report",
        "-",
        *requirements,
    ]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(answer.stderr.strip())
    return json.loads(answer.stdout)


def additions(report: dict) -> dict[str, tuple[str, str]]:
    """What a report would install: `{name: (version, address of the file)}`."""
    return {
        canonical(item["metadata"]["name"]): (
            item["metadata"]["version"],
            item["download_info"]["url"],
        )
        for item in report["install"]
    }


def moved(report: dict, packages: dict[str, str]) -> list[str]:
    """A sentence for each package of `packages` that a report would replace."""
    return [
        f"{name} would move from {packages[name]} to {version}"
        for name, (version, _) in additions(report).items()
        if name in packages
    ]


def megabytes(address: str) -> float | None:
    """Size of a file by its HTTP header, in MB (10⁶ bytes); None where the server does
    not say.
    """
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, method="HEAD"), timeout=30
        ) as answer:
            return int(answer.headers["Content-Length"]) / 1e6
    except (OSError, TypeError, ValueError):
        return None


def main() -> int:
    """Ask for each runtime, print what would be added, and say what would move."""
    if sys.version_info[:2] != COLAB_PYTHON:
        print(
            "note: Colab has Python {}.{}; this is {}.{}".format(
                *COLAB_PYTHON, *sys.version_info[:2]
            )
        )
    status = 0
    for runtime, packages in colab_packages().items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                python = imitate(Path(folder), packages)
                report = ask_pip(python, package_requirements(extras()))
            except RuntimeError as error:
                print(f"{runtime}: pip found no way to install the package:\n{error}")
                status = 2
                continue
        print(f"{runtime}: {len(packages)} packages preinstalled; with all extras the")
        print("set-up cell adds")
        for name, (version, address) in sorted(additions(report).items()):
            size = megabytes(address)
            print(
                f"  {name} {version}" + (f", {size:.1f} MB" if size is not None else "")
            )
        for sentence in moved(report, packages):
            print(f"  {sentence}")
            status = max(status, 1)
    return status


if __name__ == "__main__":
    sys.exit(main())
