"""Checks of chapter 20's exercises.

- `read_stream`: text and ending out of a stream that is cut anywhere (exercise 20.1)
- `by_hand`: waiting times and rates of two servers, worked out beforehand (exercise
  20.2)
- `fitted`: a chat without its oldest turns (exercise 20.3)
- `load_report`: what a load test says (exercise 20.4)
- `key_owner`: a key check that lets no stranger in (exercise 20.5)
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import check, expect_refusal, passed
from finetuning.checks.predictions import Guess, numbers_by_name, predicted_numbers
from finetuning.checks.task import Case, Mistake, Task

__all__ = ["by_hand", "fitted", "key_owner", "load_report", "read_stream"]


# 20.1


def _decoded(parts: Sequence[bytes]) -> str:
    return b"".join(parts).decode()


def _read(
    parts: Sequence[bytes],
    decode: Callable[[Sequence[bytes]], str] = _decoded,
    lines: Callable[[str], list[str]] = lambda text: re.split(r"\r?\n", text),
    last_reason: bool = False,
    none_as_text: bool = False,
    stripped: bool = False,
    ends_before_its_text: bool = False,
) -> tuple[str, str | None]:
    """Text and ending, but for the mistake that is asked for."""
    text, reason = "", None
    for line in lines(decode(parts)):
        if not line.startswith("data:"):
            continue
        payload = line.removeprefix("data:").strip()
        if payload == "[DONE]":
            break
        choices = json.loads(payload)["choices"]
        found = choices[0].get("finish_reason") if choices else None
        reason = found if last_reason else found or reason
        if not choices or (ends_before_its_text and found):
            continue
        piece = choices[0]["delta"].get("content")
        if none_as_text:
            piece = str(piece)
        text += (piece or "").strip() if stripped else piece or ""
    return text, reason


def _event(content: str | None = None, reason: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    choice = {"delta": delta, "index": 0, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode()


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _stream_cases() -> list[Case]:
    begin = b'data: {"choices": [{"delta": {"role": "assistant"}, "index": 0}]}\n\n'
    usage = b'data: {"choices": [], "usage": {"completion_tokens": 4}}\n\n'
    null = (
        b'data: {"choices": [{"delta": {"content": null}, "index": 0, '
        b'"finish_reason": null}]}\n\n'
    )
    done = b"data: [DONE]\n\n"
    hello = [begin, _event("Hello"), _event(" there"), _event(None, "stop")]
    accents = begin + _event("Grüße aus ") + _event("東京 😀") + _event(None, "length")
    separator = begin + _event("one\u2028two") + _event(" and\x85three", "stop")
    return [
        Case("for an event in each part", (hello,)),
        Case("for all events in one part", ([b"".join(hello)],)),
        Case("for parts of seven bytes", (_cut(b"".join(hello), 7),)),
        Case("for parts of one byte with letters of several", (_cut(accents, 1),)),
        Case("for parts of five bytes with letters of several", (_cut(accents, 5),)),
        Case("for parts of three bytes with letters of several", (_cut(accents, 3),)),
        Case("where a [DONE] comes last", ([*hello, done],)),
        Case("where counts come after the ending", ([*hello, usage, done],)),
        Case(
            "where counts come after another ending",
            ([begin, _event("Yes"), _event(None, "length"), usage],),
        ),
        Case(
            "where an event has content that is null",
            ([begin, null, _event("Yes."), null, _event(None, "stop")],),
        ),
        Case(
            "where the server says now and then that it is alive",
            ([b": ping\n\n", begin, b": ping\n\n", *hello[1:]],),
        ),
        Case(
            "where lines end with a carriage return",
            ([b"".join(hello).replace(b"\n", b"\r\n")],),
        ),
        Case("where a text holds other signs that end lines", ([separator],)),
        Case(
            "where a text holds a line break and the word data:",
            ([begin, _event("a\n\ndata: b"), _event("\n"), _event(None, "stop")],),
        ),
        Case(
            "where the last piece and the ending come together",
            ([begin, _event("Good"), _event(" night.", "stop")],),
        ),
        Case("for a stream that is cut off", ([begin, _event("And then")],)),
        Case("for an empty answer", ([begin, _event(None, "stop"), done],)),
    ]


_STREAM = Task(
    lambda parts: _read(parts),
    _stream_cases,
    [
        Mistake(
            "Each part is decoded by itself, and a letter of several bytes that is cut "
            "becomes a sign of damage: put the bytes together first.",
            lambda parts: _read(
                parts, lambda each: "".join(p.decode(errors="replace") for p in each)
            ),
        ),
        Mistake(
            "Each part is decoded by itself, and letters of several bytes that are cut "
            "are lost: put the bytes together first.",
            lambda parts: _read(
                parts, lambda each: "".join(p.decode(errors="ignore") for p in each)
            ),
        ),
        Mistake(
            "The ending was said, and then forgotten: an event after it has none of "
            "its own.",
            lambda parts: _read(parts, last_reason=True),
        ),
        Mistake(
            "An event without content has become a word of the text.",
            lambda parts: _read(parts, none_as_text=True),
        ),
        Mistake(
            "Spaces and line breaks at the edges of a piece belong to the text.",
            lambda parts: _read(parts, stripped=True),
        ),
    ],
    compare=lambda found, expected, case: difference(
        tuple(found) if isinstance(found, list) else found,
        expected,
        ("the text", "the ending"),
    ),
)


@check
def read_stream(answer: Callable) -> None:
    """`read_stream(parts)`, a list of bytes -> (text, why it ended or None)."""
    _STREAM.check(answer)
    passed("the text is whole, wherever the network cut it")
    passed("comments, counts, null and [DONE] are no part of it")
    passed("and the ending is the one that was said")


# 20.2

_TRUE = {
    "third's first token": 3.2,
    "mean wait": 2.5,
    "tokens a second": 44 / 5.6,
    "answers a minute": 60 / 1.4,
    "batched: last token": 2.3,
    "batched: tokens a second": 44 / 2.3,
}
_QUESTIONS = {
    "third's first token": "How long does one whole answer take, how many are before "
    "the third, and what comes before its own first token?",
    "mean wait": "How long do the first, second, third and fourth wait? Each waits for "
    "whole answers and for its own prompt.",
    "tokens a second": "How many tokens are made in all, and when is the last of them "
    "there?",
    "answers a minute": "How long is the server busy with one answer?",
    "batched: last token": "How many steps follow the one that gives the first tokens?",
    "batched: tokens a second": "How many tokens are made in all, and when is the last "
    "of them there?",
}
_GUESSES = {
    "third's first token": [
        Guess(1.2, "Do the two before it only read their prompts?"),
        Guess(2.8, "That is when its turn comes. And its own prompt?"),
        Guess(4.2, "That is when it has ended. And when does it begin?"),
        Guess(0.4, "That is what it takes alone. Who is before it?"),
    ],
    "mean wait": [
        Guess(0.4, "That is the first caller's wait. And the others'?"),
        Guess(1.0, "Do those before only read their prompts?"),
        Guess(2.1, "That is when their turns come. And their own prompts?"),
        Guess(3.5, "That is the mean of when they end."),
    ],
    "tokens a second": [
        Guess(44 / 1.4, "Do four answers fit into the time of one?"),
        Guess(11 / 5.6, "Whose tokens are these?"),
        Guess(10.0, "So fast do they come once they flow. And the prompts?"),
        Guess(40 / 5.6, "Is the first token not one of the eleven?"),
    ],
    "answers a minute": [
        Guess(150.0, "Is an answer done with its first token?"),
        Guess(60.0, "Is the reading of the prompt no work?"),
    ],
    "batched: last token": [
        Guess(0.8 + 11 * 0.15, "Is the first token not one of the eleven?"),
        Guess(0.8 + 44 * 0.15, "How many tokens does one step give?"),
        Guess(1.5, "And the prompts?"),
    ],
    "batched: tokens a second": [
        Guess(11 / 2.3, "Whose tokens are these?"),
        Guess(4 / 0.15, "So fast do they come once they flow. And the prompts?"),
    ],
}


@check
def by_hand(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "third's first token", "mean wait", "tokens a second",
    "answers a minute", "batched: last token", "batched: tokens a second".
    """
    predicted_numbers(
        numbers_by_name(predicted, _TRUE),
        _TRUE,
        _QUESTIONS,
        relative=0.004,
        guesses=_GUESSES,
        sentence="“{name}” is not {said:g}.",
    )
    passed("all six are right")


# 20.3

Messages = list[dict[str, str]]


def _words(messages: Messages) -> int:
    """The price of a chat: three, and for each message four and its words."""
    return 3 + sum(4 + len(message["content"].split()) for message in messages)


def _letters(messages: Messages) -> int:
    """Another: its letters, and thirty for a system prompt if there is none."""
    hidden = 0 if messages and messages[0]["role"] == "system" else 30
    return hidden + sum(len(message["content"]) for message in messages)


def _fitted(
    messages: Messages,
    count: Callable[[Messages], int],
    limit: int,
    keep_system: bool = True,
    drop: Callable[[Messages], Messages] = lambda rest: rest[2:],
    singly: bool = False,
    strict: bool = False,
) -> Messages:
    """The chat, but for the mistake that is asked for."""
    has_system = keep_system and messages[0]["role"] == "system"
    head, rest = messages[:has_system], messages[has_system:]

    def cost(chat: Messages) -> int:
        return sum(count([each]) for each in chat) if singly else count(chat)

    while cost(head + rest) + strict > limit:
        if len(rest) < 2:
            raise ValueError("the last message alone is too long")
        rest = drop(rest)
    return head + rest


def _chat(turns: int, system: bool = False, words: int = 5) -> Messages:
    chat = [{"role": "system", "content": "Answer in one line."}] if system else []
    for turn in range(turns):
        asked = " ".join([f"question{turn}"] * (words + turn % 3))
        chat.append({"role": "user", "content": asked})
        if turn < turns - 1:
            told = " ".join([f"answer{turn}"] * (words - turn % 2))
            chat.append({"role": "assistant", "content": told})
    return chat


def _fitted_cases() -> list[Case]:
    def case(what: str, chat: Messages, limit: int, count: Callable = _words) -> Case:
        return Case(what, (chat, count, limit))

    four, with_system = _chat(4), _chat(4, system=True)
    return [
        case("for a chat that fits", four, 500),
        case("for one that fits to the token", four, _words(four)),
        case("for one that is a token too long", four, _words(four) - 1),
        case("for half of the room", four, _words(four) // 2),
        case("for a chat with a system message", with_system, 60),
        case(
            "for one with a system message and little room",
            with_system,
            _words(with_system[:1] + with_system[-1:]),
        ),
        case("for nine turns", _chat(9, words=3), 40),
        case("for nine turns and a system message", _chat(9, True, 3), 55),
        case("where letters are counted", _chat(5), 170, _letters),
        case(
            "where letters are counted, with a system message",
            _chat(5, True),
            150,
            _letters,
        ),
        case("for a single message", _chat(1), _words(_chat(1))),
        case("for two turns without room for both", _chat(2), _words(_chat(1)) + 3),
    ]


_FITTED = Task(
    lambda messages, count, limit: _fitted(messages, count, limit),
    _fitted_cases,
    [
        Mistake(
            "The system message went with the oldest turns. It holds for the whole "
            "chat: keep it.",
            lambda messages, count, limit: _fitted(
                messages, count, limit, keep_system=False
            ),
        ),
        Mistake(
            "Messages were dropped one at a time, so that a chat begins with an answer "
            "to a question that is gone: drop both.",
            lambda messages, count, limit: _fitted(
                messages, count, limit, drop=lambda rest: rest[1:]
            ),
        ),
        Mistake(
            "The newest turns were dropped, and with them the question that is to be "
            "answered.",
            lambda messages, count, limit: _fitted(
                messages, count, limit, drop=lambda rest: rest[:-2]
            ),
        ),
        Mistake(
            "All turns but the last were dropped at once: stop as soon as the chat "
            "fits.",
            lambda messages, count, limit: _fitted(
                messages, count, limit, drop=lambda rest: rest[-1:]
            ),
        ),
        Mistake(
            "The messages were counted one by one and added up. The whole costs "
            "something else: count the chat.",
            lambda messages, count, limit: _fitted(messages, count, limit, singly=True),
        ),
        Mistake(
            "A chat that has exactly `limit` tokens fits.",
            lambda messages, count, limit: _fitted(messages, count, limit, strict=True),
        ),
    ],
    result="the chat",
)


@check
def fitted(answer: Callable) -> None:
    """`fitted(messages, count, limit)` -> the messages that are left."""
    _FITTED.check(answer)
    for chat, when in (
        (_chat(1), "With a single message that is longer than the limit"),
        (_chat(3, system=True), "With a last message that leaves no room"),
    ):
        short = _words([each for each in chat if each["role"] == "system"] + chat[-1:])
        expect_refusal(answer, chat, _words, short - 1, when=when)
    passed("the oldest turns go, question and answer together, and no more than needed")
    passed("the system message and the last question stay")
    passed("what cannot fit is refused")


# 20.4

Requests = Sequence[Mapping[str, float]]


def _report(requests: Requests) -> dict[str, float]:
    waits = [each["first"] - each["sent"] for each in requests]
    begun = min(each["sent"] for each in requests)
    ended = max(each["ended"] for each in requests)
    paces = [
        (each["ended"] - each["first"]) / (each["tokens"] - 1)
        for each in requests
        if each["tokens"] > 1
    ]
    return {
        "first token": float(np.median(waits)),
        "first token, 95 of 100": float(np.percentile(waits, 95)),
        "tokens a second": sum(each["tokens"] for each in requests) / (ended - begun),
        "seconds a token": float(np.mean(paces)),
    }


def _with(name: str, value: Callable[[Requests], float]) -> Callable:
    def answer(requests: Requests) -> dict[str, float]:
        return _report(requests) | {name: float(value(requests))}

    return answer


def _tokens(requests: Requests) -> float:
    return sum(each["tokens"] for each in requests)


def _begun(requests: Requests) -> float:
    return min(each["sent"] for each in requests)


def _several(requests: Requests) -> Requests:
    return [each for each in requests if each["tokens"] > 1]


def _requests(
    seed: int, count: int, gap: float, start: float = 0.0, short: bool = False
) -> list[dict[str, float]]:
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        sent = start + gap * number + 0.1 * generator.random()
        first = sent + 0.2 + generator.exponential(1.5)
        tokens = int(generator.integers(2, 40))
        if short and number % 3 == 0:
            tokens = 1
        ended = first + 0.05 * (tokens - 1) * (1 + generator.random())
        found.append(
            {"sent": sent, "first": first, "ended": float(ended), "tokens": tokens}
        )
    return found


def _report_cases() -> list[Case]:
    one_token = ("Some answers have a single token here, and no pace.",)
    return [
        Case("for four that are sent together", (_requests(1, 4, 0.0),)),
        Case("for twenty, one after another", (_requests(2, 20, 3.0),)),
        Case("for a clock that does not begin at 0", (_requests(3, 9, 0.4, 1e3),)),
        Case("for fifty that overlap", (_requests(4, 50, 0.2),)),
        Case("for a single request", (_requests(5, 1, 0.0),)),
        Case(
            "where some answers have one token",
            (_requests(6, 12, 0.5, short=True),),
            facts=one_token,
        ),
        Case(
            "where some answers of many have one token",
            (_requests(7, 31, 0.1, 5.0, short=True),),
            facts=one_token,
        ),
        Case("where the first sent is the last to end", (_late_first(),)),
    ]


def _late_first() -> list[dict[str, float]]:
    found = _requests(8, 6, 0.3)
    found[0]["ended"] = max(each["ended"] for each in found) + 7.0
    return found


_REPORT = Task(
    _report,
    _report_cases,
    [
        Mistake(
            "“tokens a second” divides by the sum of all durations. Answers overlap: "
            "the time is from the first that was sent to the last that ended.",
            _with(
                "tokens a second",
                lambda requests: (
                    _tokens(requests)
                    / sum(each["ended"] - each["sent"] for each in requests)
                ),
            ),
        ),
        Mistake(
            "“tokens a second” is a mean over the answers of each one's own speed. "
            "Asked is what the server makes for all of them together.",
            _with(
                "tokens a second",
                lambda requests: np.mean(
                    [
                        each["tokens"] / (each["ended"] - each["sent"])
                        for each in requests
                    ]
                ),
            ),
        ),
        Mistake(
            "“tokens a second” takes the time to the end as if the clock had begun "
            "at 0.",
            _with(
                "tokens a second",
                lambda requests: (
                    _tokens(requests) / max(each["ended"] for each in requests)
                ),
            ),
        ),
        Mistake(
            "“first token” is a mean; one slow answer pulls it up. Asked is the "
            "median.",
            _with(
                "first token",
                lambda requests: np.mean(
                    [each["first"] - each["sent"] for each in requests]
                ),
            ),
        ),
        Mistake(
            "“first token” counts from when the first of all was sent; each waits from "
            "when it was sent itself.",
            _with(
                "first token",
                lambda requests: np.median(
                    [each["first"] - _begun(requests) for each in requests]
                ),
            ),
        ),
        Mistake(
            "“first token, 95 of 100” is the slowest of all.",
            _with(
                "first token, 95 of 100",
                lambda requests: max(each["first"] - each["sent"] for each in requests),
            ),
        ),
        Mistake(
            "“seconds a token” divides by all tokens. The first came at `first`: after "
            "it there is one fewer.",
            _with(
                "seconds a token",
                lambda requests: np.mean(
                    [
                        (each["ended"] - each["first"]) / each["tokens"]
                        for each in _several(requests)
                    ]
                ),
            ),
        ),
        Mistake(
            "“seconds a token” counts the wait for the first token as well.",
            _with(
                "seconds a token",
                lambda requests: np.mean(
                    [
                        (each["ended"] - each["sent"]) / (each["tokens"] - 1)
                        for each in _several(requests)
                    ]
                ),
            ),
        ),
    ],
    compare=lambda found, expected, case: difference(
        found, expected, "the report", Tolerance(1e-6, 1e-9)
    ),
    tolerance=Tolerance(1e-6, 1e-9),
)


@check
def load_report(answer: Callable) -> None:
    """`load_report(requests)` -> a dictionary of four numbers."""
    _REPORT.check(answer)
    passed("waits are each one's own, and the rate is the server's")
    passed("answers of a single token count, and have no pace")


# 20.5

_KEYS = {"k-Ann-7f": "ann", "k-Ben-91": "ben", "k-Ann-7f-old": "ann's old key"}


def _owner(
    header: str | None,
    keys: Mapping[str, str],
    scheme: Callable[[str], bool] = lambda name: name.lower() == "bearer",
    same: Callable[[str, str], bool] = lambda given, key: given == key,
) -> str:
    """The owner, but for the mistake that is asked for."""
    name, _, given = (header or "").strip().partition(" ")
    if not scheme(name):
        return ""
    found = [owner for key, owner in keys.items() if same(given.strip(), key)]
    return found[0] if found else ""


def _as_it_was(header: str, keys: Mapping[str, str]) -> str:
    given = header.removeprefix("Bearer").strip().lower()
    return next(
        (owner for key, owner in keys.items() if key.lower().startswith(given)), ""
    )


def _owner_cases() -> list[Case]:
    headers = (
        "Bearer k-Ann-7f",
        "Bearer k-Ben-91",
        "Bearer k-Ann-7f-old",
        "bearer k-Ben-91",
        "BEARER k-Ann-7f",
        "  Bearer   k-Ben-91 ",
        "Bearer",
        "Bearer ",
        "",
        None,
        "Bearer k-",
        "Bearer k-Ann",
        "Bearer k-ann-7f",
        "Bearer K-BEN-91",
        "Basic k-Ann-7f",
        "Token k-Ben-91",
        "k-Ben-91",
        "Bearer k-Ben-91x",
        "Bearer x-k-Ben-91",
        "Bearer k-Ben-91 k-Ann-7f",
        "Bearer clé-€",
    )
    return [
        *(
            Case("without a header" if each is None else f"for {each!r}", (each, _KEYS))
            for each in headers
        ),
        Case("where no keys are given out", ("Bearer k-Ann-7f", {})),
    ]


_OWNER = Task(
    lambda header, keys: _owner(header, keys),
    _owner_cases,
    [
        Mistake(
            "Nothing is mended yet. Begin with a header that is the word Bearer alone: "
            "what is left of it, and what begins with that?",
            _as_it_was,
        ),
        Mistake(
            "The beginning of a key is enough, and the empty one is the beginning of "
            "all.",
            lambda header, keys: _owner(
                header, keys, same=lambda given, key: key.startswith(given)
            ),
        ),
        Mistake(
            "It is enough that a key occurs somewhere in what is given.",
            lambda header, keys: _owner(
                header, keys, same=lambda given, key: key in given
            ),
        ),
        Mistake(
            "Small and capital letters of a key are not told apart: only the word "
            "Bearer may be written either way.",
            lambda header, keys: _owner(
                header, keys, same=lambda given, key: given.lower() == key.lower()
            ),
        ),
        Mistake(
            "A key is let in under any scheme; only Bearer was agreed on.",
            lambda header, keys: _owner(header, keys, scheme=lambda name: True),
        ),
        Mistake(
            "`bearer` and `BEARER` are the same word as `Bearer`: schemes may be "
            "written either way.",
            lambda header, keys: _owner(
                header, keys, scheme=lambda name: name == "Bearer"
            ),
        ),
    ],
    result="the owner",
)


@check
def key_owner(answer: Callable) -> None:
    """`key_owner(header, keys)` -> the owner, or "" for a stranger."""
    _OWNER.check(answer)
    passed("each key opens for its owner, with the scheme written either way")
    passed("no key, parts of one, other schemes and other letters do not")
