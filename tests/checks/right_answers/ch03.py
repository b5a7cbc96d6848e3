"""Right but unusual answers to chapter 03's exercises: none may be refused."""

import codecs
import functools
import math
import re

import numpy as np
import torch

# 3.1

TOKENS = {
    "things": ("th", "ing", "s"),
    "within": "w i thin",
    "a thin thing": ["a", " ", "thin", " thing"],
    "thing thing": ["th", "ing", "Ġthing"],
    "naïve": 6.0,
    "日本": np.int64(6),
    "thïng 🙂": torch.tensor(10),
}

AS_TEXT = TOKENS | {
    "things": "th ing s",
    "a thin thing": "a Ġ thin Ġthing",
    "thing thing": "th ing Ġthing",
    "naïve": np.float64(6),
    "another text": ["that", "nobody", "asked", "for"],
}
AS_ARRAYS = {
    text: np.array(tokens) if isinstance(tokens, (list, tuple)) else tokens
    for text, tokens in TOKENS.items()
}

# 3.2


def from_the_end(text):
    pieces = []
    for sign in reversed(text):
        kind = sign in "0123456789"
        if pieces:
            other = pieces[-1][0] in "0123456789"
            if kind == other and not (kind and len(pieces[-1]) == 3):
                pieces[-1] = sign + pieces[-1]
                continue
        pieces.append(sign)
    return pieces[::-1]


def by_look_ahead(text):
    pattern = r"[0-9]{1,3}(?=(?:[0-9]{3})*(?![0-9]))|[^0-9]+"
    return tuple(re.findall(pattern, text))


def turned_round(text):
    pieces = []
    for run in re.findall(r"[0-9]+|[^0-9]+", text):
        if re.fullmatch(r"[0-9]+", run):
            back = re.findall(r"[0-9]{1,3}", run[::-1])
            pieces += [group[::-1] for group in reversed(back)]
        else:
            pieces.append(run)
    return pieces


# 3.3


def in_base_two(losses, texts):
    bits = sum(torch.as_tensor(loss).double().sum() / math.log(2) for loss in losses)
    return bits / len("".join(texts).encode())


def text_by_text(losses, texts):
    sizes = [len(text.encode()) for text in texts]
    each = [
        np.log2(np.exp(1)) * np.asarray(a).sum() / b
        for a, b in zip(losses, sizes, strict=True)
    ]
    return np.average(each, weights=sizes)


def by_loops(losses, texts):
    bits = 0.0
    for loss in losses:
        for nats in loss.tolist():
            bits -= math.log2(math.exp(-nats))
    return torch.tensor(bits / sum(map(len, map(str.encode, texts))))


# 3.4


def with_tensors(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True, return_tensors="pt")
    ids = whole["input_ids"][0]
    inside = whole["offset_mapping"][0, :, 1] > len(prompt)
    return ids, torch.where(inside, ids, -100)


def as_a_dict(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True)
    labels = np.array(whole["input_ids"])
    ends = [end for _, end in whole.pop("offset_mapping")]
    labels[np.array(ends) <= len(prompt)] = -100
    return {"input_ids": whole["input_ids"], "labels": labels}


def by_characters(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer)
    labels = [-100] * len(whole["input_ids"])
    for place, number in enumerate(whole["input_ids"]):
        span = whole.token_to_chars(place)
        if span is not None and span.end > len(prompt):
            labels[place] = number
    return whole["input_ids"], labels


# 3.5


def recursive(text, log_probability):
    @functools.lru_cache(None)
    def best(start):
        if start == len(text):
            return 0.0, None
        found = [
            (log_probability[text[start:end]] + best(end)[0], end)
            for end in range(start + 1, len(text) + 1)
            if text[start:end] in log_probability
        ]
        return max(found, default=(-math.inf, None))

    for start in range(len(text), -1, -1):
        best(start)
    if best(0)[0] == -math.inf:
        raise ValueError(text)
    pieces, start = [], 0
    while start < len(text):
        end = best(start)[1]
        pieces.append(text[start:end])
        start = end
    return pieces


def pieces_kept(text, log_probability):
    best = {0: (0.0, ())}
    longest = max(map(len, log_probability), default=0)
    for end in range(1, len(text) + 1):
        for start in range(max(0, end - longest), end):
            token = text[start:end]
            if start in best and token in log_probability:
                score = best[start][0] + log_probability[token]
                if end not in best or score >= best[end][0]:
                    best[end] = score, (*best[start][1], token)
    if len(text) not in best:
        raise ValueError(f"{text!r} cannot be cut")
    return best[len(text)][1]


def token_by_token(text, log_probability):
    best = [(0.0, [])] + [None] * len(text)
    for start in range(len(text)):
        if best[start] is None:
            continue
        for token, score in log_probability.items():
            end = start + len(token)
            if text.startswith(token, start):
                new = best[start][0] + score
                if best[end] is None or new > best[end][0]:
                    best[end] = (new, [*best[start][1], token])
    if best[-1] is None:
        raise ValueError
    return best[-1][1]


# 3.6


def sign_by_sign(tokens, stop):
    decoder, held = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for token in tokens:
        for sign in decoder.decode(token):
            held += sign
            if held == stop:
                return
            while not stop.startswith(held):
                yield held[0]
                held = held[1:]
    yield from held
    yield decoder.decode(b"", True)


def all_anew(tokens, stop):
    data, sent = b"", 0
    for token in tokens:
        data += token
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
        place = text.find(stop)
        if place >= 0:
            yield text[sent:place]
            return
        end = next(at for at in range(len(text) + 1) if stop.startswith(text[at:]))
        if end > sent:
            yield text[sent:end]
            sent = end
    yield data.decode("utf-8", "replace")[sent:]


class Stream:
    """An iterator that is no generator."""

    def __init__(self, tokens, stop):
        self.parts = all_anew(tokens, stop)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.parts)


# 3.7


def recursive_merges(merges, tokens):
    made_of = {a + b: (a, b) for a, b in merges}
    needed = {}

    def need(token):
        if token in made_of and token not in needed:
            needed[token] = made_of[token]
            for part in made_of[token]:
                need(part)

    for token in tokens:
        need(token)
    return [pair for pair in merges if pair in needed.values()]


def backwards(merges, tokens):
    wanted, kept = set(tokens), []
    for first, second in reversed(merges):
        if first + second in wanted:
            kept.insert(0, [first, second])
            wanted |= {first, second}
    return kept


def until_nothing_is_new(merges, tokens):
    wanted, size = set(tokens), -1
    while size != len(wanted):
        size = len(wanted)
        for pair in merges:
            if "".join(pair) in wanted:
                wanted |= set(pair)
    return tuple(pair for pair in merges if "".join(pair) in wanted)


RIGHT = {
    "merges_on_paper": [TOKENS, AS_TEXT, AS_ARRAYS],
    "split_digits": [from_the_end, by_look_ahead, turned_round],
    "bits_per_byte": [in_base_two, text_by_text, by_loops],
    "training_example": [with_tensors, as_a_dict, by_characters],
    "best_segmentation": [recursive, pieces_kept, token_by_token],
    "stream": [sign_by_sign, all_anew, Stream],
    "needed_merges": [recursive_merges, backwards, until_nothing_is_new],
}
