"""Servers that start, end and leave nothing behind: mostly with Python's own little web
server in the place of `transformers serve`, and once with that.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import httpx
import openai
import psutil
import pytest
import torch
from fastapi import FastAPI
from transformers import LlamaConfig, LlamaForCausalLM

from finetuning.models import load_tokenizer
from finetuning.serving import ServingError, check_port, running, serve, serve_app
from finetuning.tuning import write

LONGEST = 64
STAND_IN = ["http.server", "0", "--bind", "127.0.0.1"]


@contextlib.contextmanager
def stand_in(folder, program=STAND_IN, timeout=20, grace=5):
    with running(
        program, working_folder=folder, environment={}, timeout=timeout, grace=grace
    ) as started:
        yield started


def module(folder, text):
    """A module in a folder, and what has to be in the environment to find it."""
    (folder / "deaf.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


def fetch(address):
    with urllib.request.urlopen(address, timeout=5) as answer:
        return answer.status


def is_gone(process, seconds=5.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(process) or (
            psutil.Process(process).status() == psutil.STATUS_ZOMBIE
        ):
            return True
        time.sleep(0.02)
    return False


def test_it_answers_inside_the_block_and_is_gone_after_it(tmp_path):
    with stand_in(tmp_path) as (process, address, log_file):
        assert fetch(address) == 200
        assert "Serving HTTP" in log_file.read_text()
    assert process.returncode is not None
    with pytest.raises(urllib.error.URLError):
        fetch(address)
    assert not log_file.exists()


def test_twenty_starts_leave_no_process_behind(tmp_path):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    for _ in range(20):
        with stand_in(tmp_path) as (process, address, _):
            assert fetch(address) == 200
        assert process.returncode is not None
    left = {child.pid for child in psutil.Process().children(recursive=True)}
    assert left <= before


def test_two_starts_at_once_get_two_ports(tmp_path):
    with stand_in(tmp_path) as (_, one, _), stand_in(tmp_path) as (_, other, _):
        assert one != other
        assert fetch(one) == fetch(other) == 200


def test_an_error_inside_the_block_ends_the_server(tmp_path):
    with pytest.raises(KeyError), stand_in(tmp_path) as (process, _, _):
        raise KeyError
    assert process.returncode is not None


def test_a_server_that_does_not_end_when_asked_is_killed(tmp_path):
    deaf = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('http://127.0.0.1:1', flush=True)\n"
        "time.sleep(60)\n"
    )
    with running(
        ["deaf"],
        working_folder=tmp_path,
        environment=module(tmp_path, deaf),
        timeout=20,
        grace=0.3,
    ) as (process, _, _):
        pass
    assert process.returncode == -signal.SIGKILL


def test_one_that_ends_by_itself_is_told_with_its_last_line(tmp_path):
    with (
        pytest.raises(ServingError, match="last line: no such thing"),
        running(
            ["deaf"],
            working_folder=tmp_path,
            environment=module(tmp_path, "raise SystemExit('no such thing')\n"),
            timeout=20,
        ),
    ):
        pass


def test_one_that_is_never_up_is_ended(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    with (
        pytest.raises(ServingError, match=r"not up after 0\.5 s"),
        running(
            ["deaf"],
            working_folder=tmp_path,
            environment=module(tmp_path, "import time\ntime.sleep(60)\n"),
            timeout=0.5,
        ),
    ):
        pass
    assert set(psutil.Process().children(recursive=True)) <= before


def test_it_ends_where_the_starting_process_is_killed(tmp_path):
    """As when a kernel is restarted: nobody leaves the block."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from finetuning.serving import running\n"
        f"with running({STAND_IN!r}, working_folder=Path(sys.argv[1]), "
        "environment={}, timeout=20) as (process, _, _):\n"
        "    print(process.pid, flush=True)\n"
        "    input()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    server = int(starter.stdout.readline())
    assert psutil.pid_exists(server)
    starter.kill()
    starter.communicate()
    assert is_gone(server)


def test_it_does_not_hear_what_interrupts_the_starting_process(tmp_path):
    with stand_in(tmp_path) as (process, address, _):
        assert os.getpgid(process.pid) != os.getpgid(0)
        assert fetch(address) == 200


def test_a_port_that_is_taken_is_refused_before_a_model_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServingError, match=f"port {port} cannot be had"):
            check_port(port)
        with (
            pytest.raises(ServingError, match="take another, or 0"),
            serve(tmp_path, port=port),
        ):
            pass


def test_a_port_that_is_no_port_is_refused():
    with pytest.raises(ServingError, match="port 70000 cannot be had"):
        check_port(70000)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ServingError, match=r"config\.json is missing"), serve(tmp_path):
        pass


def test_an_application_is_served_from_a_thread():
    app = FastAPI()
    app.get("/")(lambda: "here")
    threads = threading.active_count()
    with serve_app(app) as address:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        assert httpx.get(address).json() == "here"
    assert threading.active_count() == threads
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"  # uvicorn's own way to end
)
def test_an_application_that_does_not_start_is_told():
    def fail(app):
        raise RuntimeError

    app = FastAPI(lifespan=fail)
    with pytest.raises(ServingError, match="could not be started"), serve_app(app):
        pass


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """A random Llama of two layers with SmolLM2's tokenizer, as a folder."""
    folder = tmp_path_factory.mktemp("served") / "small"
    tokenizer = load_tokenizer("SmolLM2-135M-Instruct")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=LONGEST,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()
    model.generation_config.do_sample = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model, tokenizer


def test_transformers_serve_starts_answers_as_generate_does_and_ends(small_model):
    folder, model, tokenizer = small_model
    with serve(folder) as server:
        assert server.model == folder.name
        client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
        question = [{"role": "user", "content": "Say hello."}]
        answer = client.chat.completions.create(
            model=server.model, messages=question, max_tokens=6, temperature=0
        )
        # What the chapter says and does not show: nobody refuses what is too long.
        long = [{"role": "user", "content": "gate " * LONGEST}]
        too_long = client.chat.completions.create(
            model=server.model, messages=long, max_tokens=2, temperature=0
        )
        assert client.models.list().data == []
        assert "Request received" in server.log()
        assert str(folder.parent) not in server.log()
    assert too_long.usage.prompt_tokens > LONGEST
    assert too_long.usage.completion_tokens == 2
    assert answer.usage.completion_tokens == 6
    assert [answer.choices[0].message.content] == write(
        model, tokenizer, [question], max_tokens=6
    )
    assert server.process.returncode is not None
