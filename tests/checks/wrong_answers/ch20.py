"""Wrong answers to chapter 20's exercises, each with a part of its diagnosis."""

import json

import numpy as np

# 20.1


def _events(text):
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if line.startswith("data:") and "[DONE]" not in line:
            yield json.loads(line.removeprefix("data:"))


def _told(text):
    said, reason = "", None
    for event in _events(text):
        for choice in event["choices"]:
            said += choice["delta"].get("content") or ""
            reason = choice.get("finish_reason") or reason
    return said, reason


def each_part_decoded(parts):
    return _told("".join(part.decode(errors="replace") for part in parts))


def cut_letters_dropped(parts):
    return _told("".join(part.decode("utf-8", "ignore") for part in parts))


def an_event_in_each_part(parts):
    said, reason = "", None
    for part in parts:
        choice = json.loads(part.decode().removeprefix("data:"))["choices"][0]
        said += choice["delta"].get("content") or ""
        reason = choice.get("finish_reason") or reason
    return said, reason


def reason_of_the_last_event(parts):
    said, reason = "", None
    for event in _events(b"".join(parts).decode()):
        reason = None
        for choice in event["choices"]:
            said += choice["delta"].get("content") or ""
            reason = choice.get("finish_reason")
    return said, reason


def nothing_is_a_word(parts):
    said, reason = "", None
    for event in _events(b"".join(parts).decode()):
        for choice in event["choices"]:
            said += str(choice["delta"].get("content"))
            reason = choice.get("finish_reason") or reason
    return said, reason


def pieces_stripped(parts):
    said, reason = "", None
    for event in _events(b"".join(parts).decode()):
        for choice in event["choices"]:
            said += (choice["delta"].get("content") or "").strip()
            reason = choice.get("finish_reason") or reason
    return said, reason


def other_signs_end_lines(parts):
    return _told("\n".join(b"".join(parts).decode().splitlines()))


def the_text_alone(parts):
    return _told(b"".join(parts).decode())[0]


# 20.2

PREDICTED = {
    "third's first token": 3.2,
    "mean wait": 2.5,
    "tokens a second": 44 / 5.6,
    "answers a minute": 60 / 1.4,
    "batched: last token": 2.3,
    "batched: tokens a second": 44 / 2.3,
}


# 20.3


def without_the_system_message(messages, count, limit):
    rest = list(messages)
    while count(rest) > limit:
        if len(rest) < 2:
            raise ValueError
        rest = rest[2:]
    return rest


def _head(messages):
    return [each for each in messages[:1] if each["role"] == "system"]


def one_at_a_time(messages, count, limit):
    head = _head(messages)
    rest = list(messages[len(head) :])
    while count(head + rest) > limit:
        if len(rest) == 1:
            raise ValueError
        del rest[0]
    return head + rest


def the_newest_first(messages, count, limit):
    head = _head(messages)
    rest = list(messages[len(head) :])
    while count(head + rest) > limit:
        if len(rest) < 2:
            raise ValueError
        rest = rest[:-2]
    return head + rest


def all_at_once(messages, count, limit):
    head = _head(messages)
    if count(messages) <= limit:
        return list(messages)
    if count(head + messages[-1:]) > limit:
        raise ValueError
    return head + messages[-1:]


def added_up(messages, count, limit):
    head = _head(messages)
    rest = list(messages[len(head) :])
    while sum(count([each]) for each in head + rest) > limit:
        if len(rest) < 2:
            raise ValueError
        rest = rest[2:]
    return head + rest


def one_too_few(messages, count, limit):
    head = _head(messages)
    rest = list(messages[len(head) :])
    while count(head + rest) >= limit:
        if len(rest) < 2:
            raise ValueError
        rest = rest[2:]
    return head + rest


def refuses_nothing(messages, count, limit):
    head = _head(messages)
    rest = list(messages[len(head) :])
    while count(head + rest) > limit and len(rest) > 1:
        rest = rest[2:]
    return head + rest


def takes_out_of_what_it_is_given(messages, count, limit):
    start = len(_head(messages))
    while count(messages) > limit:
        if len(messages) <= start + 1:
            raise ValueError
        del messages[start : start + 2]
    return messages


# 20.4


def _right(requests):
    waits = [each["first"] - each["sent"] for each in requests]
    span = max(each["ended"] for each in requests) - min(
        each["sent"] for each in requests
    )
    several = [each for each in requests if each["tokens"] > 1]
    return {
        "first token": np.median(waits),
        "first token, 95 of 100": np.percentile(waits, 95),
        "tokens a second": sum(each["tokens"] for each in requests) / span,
        "seconds a token": np.mean(
            [(each["ended"] - each["first"]) / (each["tokens"] - 1) for each in several]
        ),
    }


def _but(name, value):
    def answer(requests):
        return _right(requests) | {name: value(requests)}

    return answer


durations_added = _but(
    "tokens a second",
    lambda requests: (
        sum(each["tokens"] for each in requests)
        / sum(each["ended"] - each["sent"] for each in requests)
    ),
)
mean_speed = _but(
    "tokens a second",
    lambda requests: np.mean(
        [each["tokens"] / (each["ended"] - each["sent"]) for each in requests]
    ),
)
clock_from_zero = _but(
    "tokens a second",
    lambda requests: (
        sum(each["tokens"] for each in requests)
        / max(each["ended"] for each in requests)
    ),
)
mean_wait = _but(
    "first token",
    lambda requests: np.mean([each["first"] - each["sent"] for each in requests]),
)
from_the_first_sent = _but(
    "first token",
    lambda requests: (
        np.median([each["first"] for each in requests])
        - min(each["sent"] for each in requests)
    ),
)
the_slowest = _but(
    "first token, 95 of 100",
    lambda requests: max(each["first"] - each["sent"] for each in requests),
)
first_token_counted = _but(
    "seconds a token",
    lambda requests: np.mean(
        [
            (each["ended"] - each["first"]) / each["tokens"]
            for each in requests
            if each["tokens"] > 1
        ]
    ),
)
wait_counted = _but(
    "seconds a token",
    lambda requests: np.mean(
        [
            (each["ended"] - each["sent"]) / (each["tokens"] - 1)
            for each in requests
            if each["tokens"] > 1
        ]
    ),
)


def divides_by_nothing(requests):
    paces = [
        (each["ended"] - each["first"]) / (each["tokens"] - 1) for each in requests
    ]
    return _right(requests) | {"seconds a token": sum(paces) / len(paces)}


# 20.5


def as_it_was(header, keys):
    given = header.removeprefix("Bearer").strip().lower()
    for key, owner in keys.items():
        if key.lower().startswith(given):
            return owner
    return ""


def _given(header):
    scheme, _, given = (header or "").strip().partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def beginning_is_enough(header, keys):
    given = _given(header)
    if given is None:
        return ""
    return next((owner for key, owner in keys.items() if key.startswith(given)), "")


def anywhere_is_enough(header, keys):
    given = _given(header)
    if given is None:
        return ""
    return next((owner for key, owner in keys.items() if key in given), "")


def small_letters(header, keys):
    given = _given(header)
    if given is None:
        return ""
    return {key.lower(): owner for key, owner in keys.items()}.get(given.lower(), "")


def any_scheme(header, keys):
    _, _, given = (header or "").strip().partition(" ")
    return keys.get(given.strip(), "")


def one_spelling(header, keys):
    scheme, _, given = (header or "").strip().partition(" ")
    return keys.get(given.strip(), "") if scheme == "Bearer" else ""


def a_header_is_always_there(header, keys):
    scheme, _, given = header.strip().partition(" ")
    return keys.get(given.strip(), "") if scheme.lower() == "bearer" else ""


WRONG = {
    "read_stream": [
        (each_part_decoded, "sign of damage"),
        (cut_letters_dropped, "are lost"),
        (an_event_in_each_part, "stopped with"),
        (reason_of_the_last_event, "and then forgotten"),
        (nothing_is_a_word, "become a word"),
        (pieces_stripped, "at the edges of a piece"),
        (other_signs_end_lines, "other signs that end lines"),
        (the_text_alone, "2 things should come back"),
    ],
    "by_hand": [
        (PREDICTED | {"third's first token": 1.2}, "only read their prompts"),
        (PREDICTED | {"third's first token": 4.2}, "when does it begin"),
        (PREDICTED | {"mean wait": 1.0}, "only read their prompts"),
        (PREDICTED | {"tokens a second": 44 / 1.4}, "into the time of one"),
        (PREDICTED | {"answers a minute": 150}, "done with its first token"),
        (PREDICTED | {"batched: last token": 2.45}, "one of the eleven"),
        (PREDICTED | {"batched: tokens a second": 11 / 2.3}, "Whose tokens"),
        (PREDICTED | {"batched: last token": 1.0}, "How many steps follow"),
        ({"mean wait": 2.5}, "a dictionary with the keys"),
    ],
    "fitted": [
        (without_the_system_message, "holds for the whole chat"),
        (one_at_a_time, "one at a time"),
        (the_newest_first, "The newest turns were dropped"),
        (all_at_once, "as soon as the chat fits"),
        (added_up, "counted one by one"),
        (one_too_few, "exactly `limit` tokens fits"),
        (refuses_nothing, "should raise a ValueError"),
        (takes_out_of_what_it_is_given, "must leave what it is given"),
    ],
    "load_report": [
        (durations_added, "sum of all durations"),
        (mean_speed, "each one's own speed"),
        (clock_from_zero, "as if the clock had begun at 0"),
        (mean_wait, "is a mean"),
        (from_the_first_sent, "when the first of all was sent"),
        (the_slowest, "the slowest of all"),
        (first_token_counted, "there is one fewer"),
        (wait_counted, "the wait for the first token as well"),
        (divides_by_nothing, "ZeroDivisionError"),
    ],
    "key_owner": [
        (as_it_was, "Nothing is mended yet"),
        (beginning_is_enough, "beginning of a key is enough"),
        (anywhere_is_enough, "occurs somewhere"),
        (small_letters, "Small and capital letters"),
        (any_scheme, "under any scheme"),
        (one_spelling, "written either way"),
        (a_header_is_always_there, "AttributeError"),
    ],
}
