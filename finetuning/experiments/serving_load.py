"""Chapter 20's experiment: how long a served model takes, for how many at once, and in
which precision.

Each run starts a server of its own: chapter 13's tuned SmolLM2, on one thread. Times
are those of the machine that made the run; the chapter uses their ratios alone. About a
minute a run on one CPU core.
"""

import atexit
import functools
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from finetuning.data import instructions
from finetuning.experiments.engine import Experiment, Key, Results, to_bits
from finetuning.serving import Server, save_merged, serve

NAME = "serving_load"
ADAPTER = "instruction_tuning"
CLIENTS = (1, 2, 4, 8)
ROUNDS = 3
TOKENS = 24
WAYS = {"one by one": False, "batched": True}
PRECISIONS = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"dtype": "float32", "quantization": "bnb-8bit"},
}
ASKED = 48  # test instructions, the same number of each kind
ANSWER_TOKENS = 48

Times = dict[str, float]


@functools.cache
def folder() -> Path:
    """The tuned model as a folder, written once a process and removed at its end."""
    place = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return save_merged(ADAPTER, Path(place) / ADAPTER)


def client_of(server: Server):
    """The official client for a server; it waits long, and never tries again."""
    import openai  # an extra

    return openai.OpenAI(
        base_url=server.url, api_key="none", timeout=300, max_retries=0
    )


def burst(
    client, model: str, clients: int, tokens: int = TOKENS, salt: str = ""
) -> list[Times]:
    """So many clients ask at once, each for a continuation of `tokens` tokens.

    For each, in seconds since the first was let go: when it `sent`, got its `first`
    token and its last (`ended`); and how many `tokens` it got. In the order in which
    they were answered.
    """
    go = threading.Barrier(clients + 1)
    found: list[Times] = []
    errors: list[Exception] = []

    def ask(number: int) -> None:
        # Prompts of one length that differ, and go on for longer than is asked.
        prompt = f"Part {number} of the history of the world{salt}. In the beginning"
        go.wait()
        sent = time.perf_counter()
        first, counted = None, 0
        try:
            pieces = client.completions.create(
                model=model,
                prompt=prompt,
                max_tokens=tokens,
                temperature=0,
                stream=True,
            )
            for piece in pieces:
                if first is None and piece.choices[0].text:
                    first = time.perf_counter()
                if piece.usage:
                    counted = piece.usage.completion_tokens
        except Exception as error:
            errors.append(error)
            return
        ended = time.perf_counter()
        found.append({"sent": sent, "first": first, "ended": ended, "tokens": counted})

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(clients)]
    for thread in threads:
        thread.start()
    go.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sorted(
        (
            {
                name: value if name == "tokens" else round(value - start, 4)
                for name, value in each.items()
            }
            for each in found
        ),
        key=lambda each: each["first"],
    )


def tokens_a_second(answers: Sequence[Times]) -> float:
    """All tokens of a burst, by the time from its start to its last token."""
    return sum(each["tokens"] for each in answers) / max(
        each["ended"] for each in answers
    )


def asked() -> list[instructions.Instruction]:
    """Test instructions of chapter 13, as many of each kind."""
    found = instructions.test_set()
    kinds = sorted({each.kind for each in found})
    each_kind = ASKED // len(kinds)
    return [
        each
        for kind in kinds
        for each in [one for one in found if one.kind == kind][:each_kind]
    ]


def resident_memory(process: int) -> float:
    """The memory that a process has now, in MB (10⁶ bytes). Linux alone says so."""
    status = Path(f"/proc/{process}/status").read_text()
    kilobytes = next(
        line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")
    )
    return int(kilobytes) * 1024 / 1e6


def run_load(key: Key) -> dict[str, object]:
    """`ROUNDS` bursts after one that warms up."""
    with serve(folder(), continuous_batching=WAYS[key["way"]]) as server:
        client = client_of(server)
        burst(client, server.model, 1, salt=" (first)")
        rounds = [
            burst(client, server.model, key["clients"], salt=f" ({number})")
            for number in range(ROUNDS)
        ]
    firsts = [each["first"] - each["sent"] for answers in rounds for each in answers]
    return {
        "first token": round(statistics.median(firsts), 3),
        "slowest first token": round(max(firsts), 3),
        "tokens a second": round(
            statistics.median(tokens_a_second(answers) for answers in rounds), 2
        ),
        "tokens": sorted({each["tokens"] for answers in rounds for each in answers}),
    }


def run_settings(key: Key) -> dict[str, object]:
    """Whether a server that has answered one request heeds the settings of the next."""
    with serve(folder(), continuous_batching=WAYS[key["way"]]) as server:
        client = client_of(server)

        def answer(**settings) -> str:
            said = client.chat.completions.create(
                model=server.model,
                messages=[
                    {"role": "user", "content": "What is the capital of France?"}
                ],
                **({"max_tokens": 12, "temperature": 0} | settings),
            )
            return said.choices[0].message.content

        return {
            "plain": answer(),
            "stop": answer(stop=["France"]),
            "temperature 5": [answer(temperature=5.0, seed=seed) for seed in range(2)],
            "max_tokens 2": answer(max_tokens=2),
        }


def run_precision(key: Key) -> dict[str, object]:
    """Test instructions, one after another: answers, memory, speed."""
    questions = asked()
    with serve(folder(), **PRECISIONS[key["precision"]]) as server:
        client = client_of(server)
        burst(client, server.model, 1)
        answers, tokens = [], 0
        start = time.perf_counter()
        for question in questions:
            said = client.chat.completions.create(
                model=server.model,
                messages=[{"role": "user", "content": question.prompt}],
                max_tokens=ANSWER_TOKENS,
                temperature=0,
            )
            answers.append(said.choices[0].message.content)
            tokens += said.usage.completion_tokens
        seconds = time.perf_counter() - start
        memory = resident_memory(server.process.pid)
    obeyed = [q.obeyed_by(a) for q, a in zip(questions, answers, strict=True)]
    return {
        "memory in MB": round(memory),
        "tokens a second": round(tokens / seconds, 2),
        "answers": answers,
        "obeyed": to_bits(obeyed),
    }


def run(key: Key, kept: Results) -> dict[str, object]:
    """One of the three parts."""
    parts = {"load": run_load, "settings": run_settings, "precision": run_precision}
    return parts[key["part"]](key)


EXPERIMENT = Experiment(
    name=NAME,
    chapter=20,
    settings={
        "adapter": ADAPTER,
        "tokens of a continuation": TOKENS,
        "rounds": ROUNDS,
        "instructions": ASKED,
        "tokens of an answer": ANSWER_TOKENS,
    },
    keys=[
        *(
            {"part": "load", "way": way, "clients": clients}
            for way in WAYS
            for clients in CLIENTS
        ),
        *({"part": "settings", "way": way} for way in WAYS),
        *({"part": "precision", "precision": name} for name in PRECISIONS),
    ],
    run=run,
)
