"""Chapter 20's gateway: what it lets through, refuses and writes down, in front of a
stand-in that answers as a model's server does.
"""

import asyncio
import dataclasses
import json
import threading
import time

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from finetuning.scratch.gateway import Limits, gateway, key_name, refusal
from finetuning.serving import serve_app

KEYS = {"first-key": "ann", "second-key": "ben"}
LIMITS = Limits(prompt_tokens=10, answer_tokens=8)


def words(messages):
    """A token a word; ValueError for what is no message, as `render` has it."""
    if not all(isinstance(each.get("content"), str) for each in messages):
        raise ValueError
    return sum(len(each["content"].split()) for each in messages)


def asked(content="one two three", **changes):
    request = {
        "model": "small",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 4,
    }
    return request | changes


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (asked(), None),
        (asked("a b c d e f g h i j", stream=True, temperature=0.5), None),
        (asked(max_tokens=8, stop=["."], seed=1, top_p=0.9), None),
        (asked("a b c d e f g h i j k"), "11 tokens; 10 are allowed"),
        (asked(max_tokens=9), "from 1 to 8"),
        (asked(max_tokens=0), "from 1 to 8"),
        (asked(max_tokens=True), "from 1 to 8"),
        (asked(max_tokens="4"), "from 1 to 8"),
        ({"model": "small", "messages": [{"role": "user"}]}, "from 1 to 8"),
        (asked(logit_bias={"2": 1.0}), "not allowed here: logit_bias"),
        (asked(generation_config="{}", n=2), "generation_config, n"),
        (asked(messages=[]), "not empty"),
        (asked(messages="hello"), "not empty"),
        (asked(messages=None), "not empty"),
        (asked(content=None), "a role and a content"),
        (asked(content=[{"type": "image_url"}]), "a role and a content"),
        ([asked()], "a JSON object"),
        (None, "a JSON object"),
    ],
)
def test_what_may_not_reach_the_server_is_named(body, why):
    found = refusal(body, LIMITS, words)
    assert (found is None) if why is None else why in found


def test_what_is_no_list_of_messages_is_refused_whatever_counting_raises():
    def count(messages):
        raise TypeError

    assert "a role and a content" in refusal(asked(), LIMITS, count)


def test_limits_are_as_narrow_as_the_page_says():
    assert not dataclasses.asdict(Limits())["fields"] & {
        "logit_bias",
        "chat_template_kwargs",
        "generation_config",
        "tools",
    }


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("first-key", "ann"),
        ("second-key", "ben"),
        ("", None),
        ("first", None),
        ("first-key ", None),
        ("First-Key", None),
        ("clé-€", None),
    ],
)
def test_a_key_is_somebodys_only_letter_by_letter(key, name):
    assert key_name(key, KEYS) == name
    assert key_name(key, {}) is None


class StandIn:
    """A server of pieces that come slowly; it knows what it was asked, and whether
    whoever asked is still there.
    """

    def __init__(self):
        self.asked = []
        self.gone = threading.Event()
        self.app = FastAPI()

        @self.app.post("/v1/chat/completions")
        async def chat(request: Request):
            body = await request.json()
            self.asked.append(body)
            if body["model"] != "small":
                return JSONResponse({"detail": "another model"}, 400)
            if not body.get("stream"):
                return {"choices": [{"message": {"content": "whole"}}]}
            return StreamingResponse(self.pieces(), media_type="text/event-stream")

    async def pieces(self):
        try:
            for number in range(50):
                yield f"data: {number}\n\n".encode()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            self.gone.set()
            raise


@pytest.fixture
def front():
    """The address of a gateway, its stand-in, and its log."""
    behind = StandIn()
    log = []
    with serve_app(behind.app) as upstream:
        app = gateway(f"{upstream}/v1", KEYS, LIMITS, words, log.append)
        with serve_app(app) as address:
            yield address, behind, log


def knock(address, key="first-key", path="/v1/chat/completions", **changes):
    headers = {} if key is None else {"Authorization": f"Bearer {key}".strip()}
    return httpx.post(address + path, json=asked(**changes), headers=headers)


def test_a_known_caller_gets_what_the_server_says(front):
    address, behind, log = front
    found = knock(address)
    assert found.json() == {"choices": [{"message": {"content": "whole"}}]}
    assert behind.asked == [asked()]
    assert log[0].keys() == {"who", "status", "seconds", "prompt tokens"}
    assert (log[0]["who"], log[0]["status"]) == ("ann", 200)
    assert log[0]["prompt tokens"] == 3


@pytest.mark.parametrize("key", [None, "", "first", "third-key"])
def test_a_stranger_reaches_nothing(front, key):
    address, behind, log = front
    found = knock(address, key)
    assert found.status_code == 401
    assert "valid key" in found.json()["error"]["message"]
    assert behind.asked == []
    assert log[0]["who"] is None and log[0]["status"] == 401


def test_another_scheme_is_a_strangers(front):
    found = httpx.post(
        front[0] + "/v1/chat/completions",
        json=asked(),
        headers={"Authorization": "Basic first-key"},
    )
    assert found.status_code == 401


def test_what_is_not_allowed_reaches_nothing(front):
    address, behind, log = front
    assert knock(address, logit_bias={"2": 1.0}).status_code == 400
    assert knock(address, max_tokens=5000).status_code == 400
    assert behind.asked == []
    assert [record["status"] for record in log] == [400, 400]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]"])
def test_what_is_no_request_is_refused(front, content):
    found = httpx.post(
        front[0] + "/v1/chat/completions",
        content=content,
        headers={"Authorization": "Bearer first-key"},
    )
    assert found.status_code == 400
    assert found.json()["error"]["message"] == "a request is a JSON object"


@pytest.mark.parametrize(
    "path", ["/load_model", "/reset", "/v1/models", "/docs", "/openapi.json", "/health"]
)
def test_there_is_one_path_and_no_other(front, path):
    assert knock(front[0], path=path).status_code == 404
    assert httpx.get(front[0] + path).status_code == 404


def test_errors_of_the_server_come_through(front):
    address, _, log = front
    found = knock(address, model="another")
    assert found.status_code == 400
    assert found.json() == {"detail": "another model"}
    assert log[0]["status"] == 400


def test_a_stream_comes_piece_by_piece(front):
    address = front[0]
    times = []
    with httpx.stream(
        "POST",
        f"{address}/v1/chat/completions",
        json=asked(stream=True),
        headers={"Authorization": "Bearer first-key"},
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for piece in answer.iter_raw():
            times.append(time.monotonic())
            if piece.startswith(b"data: 9\n"):
                break
    assert len(times) >= 5
    assert times[-1] - times[0] > 0.2


def test_a_caller_who_goes_ends_the_servers_work(front):
    address, behind, _ = front
    with httpx.stream(
        "POST",
        f"{address}/v1/chat/completions",
        json=asked(stream=True),
        headers={"Authorization": "Bearer first-key"},
    ) as answer:
        next(answer.iter_raw())
    assert behind.gone.wait(5)


def test_neither_texts_nor_keys_are_written_down(front):
    address, _, log = front
    knock(address, content="secret words")
    knock(address, content="secret words", logit_bias={})
    knock(address, key="wrong-key", content="secret words")
    written = json.dumps(log)
    assert len(log) == 3
    assert "secret" not in written and "key" not in written
