"""Chapter 20's load test, on a stand-in that is no model; and what is kept of it."""

import json
import os
import time
from collections import Counter

import openai
import psutil
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from finetuning.experiments import results, serving_load
from finetuning.experiments.serving_load import asked, burst, tokens_a_second
from finetuning.serving import serve_app

PAUSE = 0.05


def chunk(text="", usage=None):
    choice = {"index": 0, "text": text, "finish_reason": None}
    event = {"id": "x", "object": "text_completion", "created": 0, "model": "small"}
    event |= {"choices": [choice], "usage": usage}
    return f"data: {json.dumps(event)}\n\n"


@pytest.fixture
def stand_in():
    """The client of a server that waits, says a few words, and remembers prompts."""
    prompts = []
    app = FastAPI()

    @app.post("/v1/completions")
    async def complete(request: Request):
        body = await request.json()
        prompts.append(body["prompt"])

        def pieces():
            time.sleep(4 * PAUSE)
            yield chunk()
            for _ in range(body["max_tokens"]):
                yield chunk("word ")
                time.sleep(PAUSE)
            used = {"prompt_tokens": 1, "completion_tokens": body["max_tokens"]}
            yield chunk(usage=used | {"total_tokens": 1 + body["max_tokens"]})

        return StreamingResponse(pieces(), media_type="text/event-stream")

    with serve_app(app) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        yield client, prompts


def test_a_burst_asks_at_once_and_measures_each(stand_in):
    client, prompts = stand_in
    found = burst(client, "small", 3, tokens=4, salt=" now")
    assert len(found) == len(set(prompts)) == 3
    assert all("now" in prompt for prompt in prompts)
    for each in found:
        assert each["tokens"] == 4
        assert each["sent"] < PAUSE * 4
        # An empty piece is no token.
        assert each["first"] - each["sent"] >= 4 * PAUSE
        assert each["ended"] - each["first"] >= 3 * PAUSE
    assert [each["first"] for each in found] == sorted(e["first"] for e in found)
    assert max(each["sent"] for each in found) < min(e["ended"] for e in found)


def test_a_burst_that_fails_says_so(stand_in):
    client, _ = stand_in
    with pytest.raises(openai.NotFoundError):
        burst(client.with_options(base_url=f"{client.base_url}v2"), "small", 2)


def test_all_tokens_count_and_the_time_until_the_last():
    answers = [{"tokens": 6, "ended": 2.0}, {"tokens": 10, "ended": 4.0}]
    assert tokens_a_second(answers) == 4


def test_memory_is_that_of_the_process():
    known = psutil.Process().memory_info().rss / 1e6
    assert serving_load.resident_memory(os.getpid()) == pytest.approx(known, rel=0.05)


def test_each_kind_is_asked_equally_often():
    kinds = Counter(each.kind for each in asked())
    assert len(kinds) == 6 and set(kinds.values()) == {8}


def test_every_answer_of_a_load_has_all_its_tokens():
    """A text that ends early would look like a fast server."""
    for run in results("serving_load").select(part="load"):
        assert run["tokens"] == [serving_load.TOKENS]
        assert 0 < run["first token"] <= run["slowest first token"]


def test_what_is_said_to_be_obeyed_is():
    questions = asked()
    for run in results("serving_load").select(part="precision"):
        assert len(run["answers"]) == len(questions) == serving_load.ASKED
        obeyed = [
            question.obeyed_by(answer)
            for question, answer in zip(questions, run["answers"], strict=True)
        ]
        assert run["obeyed"] == "".join("1" if each else "0" for each in obeyed)
