"""Building and serving where something is missing: no network, no room, no such port.

A build that cannot be finished leaves the site that was there, and says why in one
sentence.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path

import pytest
from site_support import tool
from small_book import write_small_book

from finetuning import resources


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small book, built once, in a folder that git knows nothing of."""
    folder = tmp_path_factory.mktemp("small") / "book"
    write_small_book(folder)
    tool.build(folder)
    return folder


def contents(site: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in site.rglob("*") if file.is_file()}


def fails(book: Path) -> str:
    """Build the book, which must fail and leave the site. Returns the sentence."""
    site = book / "_build" / "html"
    before = contents(site)
    with pytest.raises(tool.SiteError) as error:
        tool.build(book)
    assert contents(site) == before
    assert not site.with_name("html.new").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No resource can be fetched."""

    def fetch(name: str) -> Path:
        raise resources.ResourceError(f"{name} cannot be fetched: no network.")

    monkeypatch.setattr(resources, "fetch", fetch)


def test_a_built_site_is_built_again_without_a_network(
    book: Path, offline: None
) -> None:
    """MathJax is there, even where the cache was emptied."""
    tool.build(book)


def test_without_a_network_a_missing_mathjax_is_one_sentence(
    book: Path, offline: None
) -> None:
    made_from = book / "_build" / "assets" / "mathjax" / "made-from.txt"
    pin = made_from.read_text()
    made_from.write_text("an older one")
    assert fails(book) == "mathjax cannot be fetched: no network."
    made_from.write_text(pin)


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no full disk"
)
def test_a_disk_that_gets_full_while_pages_are_written(book: Path) -> None:
    page = book / "_build" / "work" / "_build" / "html" / "book" / "guide.html"
    page.unlink()
    page.symlink_to("/dev/full")
    with (book / "book" / "guide.md").open("a") as guide:
        guide.write("\nOne more sentence.\n")
    assert os.strerror(errno.ENOSPC) in fails(book)
    site = tool.build(book)
    assert "One more sentence." in (site / "book" / "guide.html").read_text()


def no_room(source: Path, target: Path) -> None:
    """What shutil.copytree does where the disk gets full: one error of many."""
    Path(target).mkdir()
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
    raise shutil.Error([(source, target, str(error))])


def test_a_disk_that_gets_full_while_the_site_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "html"
    site.mkdir()
    (site / "index.html").write_text("as it was")
    monkeypatch.setattr(shutil, "copytree", no_room)
    with pytest.raises(OSError):
        tool.publish(tmp_path / "pages", site)
    assert contents(tmp_path) == {site / "index.html": b"as it was"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(errno.EACCES, "no", "x"), "no"),
        (OSError(errno.EROFS, "no", "x"), "no"),
        (shutil.Error([("a", "b", f"[28] {os.strerror(28)}: 'b'")]), os.strerror(28)),
        (shutil.Error([("a", "b", "x" * 999)]), "it was not said why"),
    ],
)
def test_what_the_system_says_is_in_the_sentence(
    book: Path, error: OSError, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place_assets(root: Path) -> None:
        raise error

    monkeypatch.setattr(tool, "place_assets", place_assets)
    place = book / "_build"
    assert fails(book).startswith(f"The site cannot be written into {place}: {reason}.")


def test_an_empty_page_is_noticed(book: Path) -> None:
    page = book / "_build" / "html" / "book" / "guide.html"
    text = page.read_text()
    page.write_text("")
    assert "book/guide.html is empty" in tool.check(book, page.parent.parent)
    page.write_text(text)


@pytest.mark.parametrize("port", ["0", "65536", "70000", "-1", "text", "80.5", ""])
def test_a_port_that_does_not_exist_is_one_sentence(
    port: str,
    book: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tool, "ROOT", book)
    assert tool.main(["serve", f"--port={port}"]) == 1
    said = capsys.readouterr().err
    assert said == f"A port is a number from 1 to 65535, not {port!r}.\n"


def test_a_port_that_is_taken_is_one_sentence(book: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(tool.SiteError) as error:
            tool.serve(book, str(port))
    assert f"Port {port} cannot be used: " in str(error.value)
    assert os.strerror(errno.EADDRINUSE) in str(error.value)
