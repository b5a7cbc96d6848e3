"""The link checker against a server on this machine: what is broken is found, what is
not is left alone.
"""

import json
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tools import links

# Seconds to wait for an answer that comes, on a machine however busy.
PATIENCE = 600


class Handler(BaseHTTPRequestHandler):
    """One path a behaviour; the class counts the requests and how many ran at the same
    time.
    """

    requests: ClassVar[Counter] = Counter()
    running = 0
    most_at_once = 0
    over: ClassVar[threading.Event] = threading.Event()

    def answer(self):
        cls = type(self)
        cls.requests[f"{self.command} {self.path}"] += 1
        cls.running += 1
        cls.most_at_once = max(cls.most_at_once, cls.running)
        time.sleep(0.02)  # time for another request, if one is made
        cls.running -= 1
        self.behave()

    do_HEAD = do_GET = answer

    def behave(self):
        name = self.path.strip("/")
        if name == "hang":
            self.over.wait()
        status = {"missing": 404, "moved": 301, "robots": 403, "ill": 503}.get(
            name, 200
        )
        if name == "only-get" and self.command == "HEAD":
            status = 405
        if (
            name == "recovers"
            and self.requests["GET /recovers"] + self.requests["HEAD /recovers"] <= 2
        ):
            status = 503
        self.send_response(status)
        if status == 301:
            self.send_header("Location", "/ok")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def server():
    Handler.requests = Counter()
    Handler.running = 0
    Handler.most_at_once = 0
    Handler.over = threading.Event()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    Handler.over.set()
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize(
    ("path", "kind", "detail"),
    [
        ("ok", "ok", "200"),
        ("missing", "broken", "404"),
        ("moved", "moved", "/ok"),
        ("robots", "refused", "403"),
        ("only-get", "ok", "200"),
        ("ill", "broken", "503"),
        ("recovers", "ok", "200"),
    ],
)
def test_each_kind_of_answer(server, path, kind, detail):
    verdict = links.check(f"{server}/{path}", timeout=PATIENCE, retries=1, pause=0)
    assert verdict.kind == kind
    assert detail in verdict.detail


def test_a_server_that_does_not_answer_is_broken(server):
    verdict = links.check(f"{server}/hang", timeout=0.3, retries=1, pause=0)
    assert verdict.kind == "broken"
    assert "timed out" in verdict.detail


def test_a_missing_page_is_asked_for_once_with_each_method(server):
    links.check(f"{server}/missing", timeout=PATIENCE, retries=3, pause=0)
    assert Handler.requests == {"HEAD /missing": 1, "GET /missing": 1}


def test_no_server_is_broken():
    with socket.socket() as silent:  # holds a port and does not listen
        silent.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        verdict = links.check(address, timeout=PATIENCE, retries=0)
    assert verdict.kind == "broken"
    assert "no answer" in verdict.detail


def test_a_host_gets_one_request_at_a_time(server):
    verdicts = links.check_all(
        [f"{server}/{n}" for n in range(6)], wait=0, timeout=PATIENCE
    )
    assert len(verdicts) == 6
    assert {verdict.kind for verdict in verdicts.values()} == {"ok"}
    assert Handler.most_at_once == 1


def test_what_counts_as_an_address():
    text = (
        "See [a](https://arxiv.org/abs/1706.03762), <https://b.org/x_(y)> and "
        "(https://c.org/z). url = {https://d.org/paper.pdf}, "
        "`http://127.0.0.1:8000/v1` http://localhost:1 https://example.com/ "
        '<a href="https://e.org/#part">e</a> https://e.org/'
    )
    assert list(links.addresses_in(text)) == [
        "https://arxiv.org/abs/1706.03762",
        "https://b.org/x_(y)",
        "https://c.org/z",
        "https://d.org/paper.pdf",
        "https://e.org/",
        "https://e.org/",
    ]


def test_the_exit_status_tells(server, tmp_path, capsys, monkeypatch):
    """A notebook's Markdown is read, its code is not; one broken link is enough to
    fail.
    """
    cells = [
        {"cell_type": "markdown", "source": ["[good](https://good.org/a)"]},
        {"cell_type": "code", "source": ["'https://code.org/'"]},
    ]
    notebook = tmp_path / "notebook.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    here = {
        "https://good.org/a": f"{server}/a",
        "https://bad.org/b": f"{server}/missing",
    }
    real = links.check
    monkeypatch.setattr(
        links, "check", lambda address, **settings: real(here[address], **settings)
    )
    assert links.main([str(tmp_path)]) == 0
    assert "1 ok, 0 moved, 0 refused, 0 broken" in capsys.readouterr().out

    (tmp_path / "page.md").write_text("[bad](https://bad.org/b)")
    assert links.main([str(tmp_path)]) == 1
    assert "broken: https://bad.org/b (404) in page.md" in capsys.readouterr().out
