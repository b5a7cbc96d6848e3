"""Starting and stopping `transformers serve` on this machine.

    save_merged("instruction_tuning", folder)
    with serve(folder) as server:
        client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
        client.chat.completions.create(model=server.model, messages=…)

The server listens on loopback alone, on a port that the system picks, and has no
network. It ends with the block; where the starting process ends without leaving the
block (a kernel that is restarted, say), the server notices and ends, too.
"""

import contextlib
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
CHECK_EVERY = 0.05  # seconds


class ServingError(Exception):
    """Why a server did not start, in one sentence."""


@dataclass(frozen=True)
class Server:
    """A server that is up: its address, and the name that requests must give it."""

    url: str
    model: str
    process: subprocess.Popen
    log_file: Path

    def log(self) -> str:
        """What the server has written so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def serve(
    folder: str | Path,
    *,
    port: int = 0,
    dtype: str = "auto",
    quantization: str | None = None,
    continuous_batching: bool = False,
    timeout: float = 180,
) -> Iterator[Server]:
    """Serve the model in a folder until the block ends.

    The model goes by the folder's own name. It is loaded when the block begins, which
    takes some seconds.

    Parameters
    ----------
    port: 0 lets the system pick a free one, so that two servers never want the same.
    dtype: "auto" is that of the saved weights; or "float32", "bfloat16".
    quantization: "bnb-8bit" or "bnb-4bit".
    continuous_batching: make tokens of several requests in one pass, with a cache of
        32 × 256 tokens.
    timeout: seconds to wait for the server to be up.

    Raises
    ------
    ServingError: if there is no model in the folder, the port is taken, or the server
        ends or does not answer in time.
    """
    folder = Path(folder).expanduser().resolve()
    if not (folder / "config.json").is_file():
        raise ServingError(f"there is no model in {folder}: config.json is missing")
    if port:
        check_port(port)
    options = ["--host", HOST, "--port", str(port), "--device", "cpu"]
    options += ["--dtype", dtype]
    if quantization:
        options += ["--quantization", quantization]
    if continuous_batching:
        # Without bounds its cache takes most of a machine's memory.
        options += ["--continuous-batching", "--cb-num-blocks", "32"]
        options += ["--cb-max-batch-tokens", "64"]
    with tempfile.TemporaryDirectory() as empty:
        environment = {
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            # Listing the models of a cache that does not exist is an error there.
            "HF_HUB_CACHE": empty,
        }
        with running(
            ["transformers.cli.transformers", "serve", folder.name, *options],
            # Where the folder is seen by its name, requests and logs hold no path.
            working_folder=folder.parent,
            environment=environment,
            timeout=timeout,
        ) as (process, address, log_file):
            yield Server(f"{address}/v1", folder.name, process, log_file)


@contextlib.contextmanager
def running(
    program: Sequence[str],
    *,
    working_folder: Path,
    environment: dict[str, str],
    timeout: float,
    grace: float = 5,
) -> Iterator[tuple[subprocess.Popen, str, Path]]:
    """Run a Python module that serves, from when it says its address until the block
    ends: the process, the address and the file of its log.

    It is asked to end, and killed if it has not done so after `grace` seconds.

    Raises
    ------
    ServingError: if it ends before it says an address, or takes longer than `timeout`.
    """
    with tempfile.TemporaryDirectory() as place:
        log_file = Path(place) / "log.txt"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", "finetuning.serving", *program],
                cwd=working_folder,
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # An interrupted cell interrupts the cell, and not the server.
                start_new_session=True,
            )
        try:
            yield process, _wait_for_address(process, log_file, timeout), log_file
        finally:
            stop(process, grace)


def _wait_for_address(process: subprocess.Popen, log_file: Path, timeout: float) -> str:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        text = log_file.read_text(encoding="utf-8", errors="replace")
        found = re.search(rf"http://{HOST}:[0-9]+", text)
        if ended:
            last = next(
                (line for line in reversed(text.splitlines()) if line.strip()), ""
            )
            raise ServingError(f"the server ended by itself; its last line: {last}")
        if found:
            return found.group()
        time.sleep(CHECK_EVERY)
    raise ServingError(f"the server was not up after {timeout:g} s")


def stop(process: subprocess.Popen, grace: float = 5) -> None:
    """Ask a process to end; kill it if it has not done so after `grace` seconds."""
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        # A server waits for its requests, and one whose client has gone may take long.
        process.kill()
        process.wait()
    process.stdin.close()


def check_port(port: int) -> None:
    """Raise ServingError if another program listens on a port of this machine.

    The server itself would find out only after it has loaded the model.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ServingError(
                f"port {port} cannot be had ({why}): take another, or 0"
            ) from error


@contextlib.contextmanager
def serve_app(app: Any) -> Iterator[str]:
    """Serve an ASGI application, such as FastAPI's, on loopback from a thread of this
    process until the block ends: its address.
    """
    import uvicorn  # an extra, which `serve` needs in the other process alone

    configuration = uvicorn.Config(
        app, host=HOST, port=0, log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(configuration)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise ServingError("the application could not be started")
        time.sleep(CHECK_EVERY)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        thread.join()


def save_merged(adapter: str | Path, folder: str | Path) -> Path:
    """Write a tuned model, its adapter merged, as a folder that can be served.

    The folder's generation settings sample, from all tokens, unless a request says
    `temperature=0`: without them, a server answers greedily whatever temperature it is
    asked for.

    Raises TuningError as `finetuning.tuning.load_adapter` does.
    """
    from finetuning.tuning import load_adapter  # torch takes seconds to import

    tuned, tokenizer = load_adapter(adapter)
    merged = tuned.merge_and_unload().cpu()
    merged.generation_config.do_sample = True
    merged.generation_config.top_k = 0
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def main() -> None:
    """`python -m finetuning.serving MODULE …`: run a module as a program that ends when
    the process that started it does.
    """

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written: this returns when the other end closes
        os._exit(-signal.SIGTERM % 256)

    threading.Thread(target=watch, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
