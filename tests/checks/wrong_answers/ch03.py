"""Wrong answers to chapter 03's exercises, each with a part of its diagnosis."""

import codecs
import functools
import math
import re

import numpy as np
import torch

# 3.1


def predicted(**wrong):
    """The right predictions, but for those given, by a text's first letters."""
    right = {
        "things": ["th", "ing", "s"],
        "within": ["w", "i", "thin"],
        "a thin thing": ["a", "Ġ", "thin", "Ġthing"],
        "thing thing": ["th", "ing", "Ġthing"],
        "naïve": 6,
        "日本": 6,
        "thïng 🙂": 10,
    }
    names = {
        "things": "things",
        "within": "within",
        "a_thin": "a thin thing",
        "thing": "thing thing",
    }
    names |= {"naive": "naïve", "japan": "日本", "smile": "thïng 🙂"}
    return right | {names[name]: value for name, value in wrong.items()}


# 3.2


def from_the_left(text):
    return re.findall(r"[0-9]{1,3}|[^0-9]+", text)


def empty_first_group(text):
    pieces = []
    for run in re.findall(r"[0-9]+|[^0-9]+", text):
        if run[0].isdigit():
            first = len(run) % 3
            pieces += [run[:first]] + [
                run[k : k + 3] for k in range(first, len(run), 3)
            ]
        else:
            pieces.append(run)
    return pieces


def numbers_only(text):
    return [
        piece
        for run in re.findall(r"[0-9]+", text)
        for piece in f"{int(run):,}".split(",")
    ]


def as_integers(text):
    pieces = []
    for run in re.findall(r"[0-9]+|[^0-9]+", text):
        pieces += f"{int(run):,}".split(",") if run[0].isdigit() else [run]
    return pieces


def with_commas(text):
    return [re.sub(r"(?<=[0-9])(?=(?:[0-9]{3})+(?![0-9]))", ",", text)] if text else []


def first_groups_last(text):
    pieces = []
    for run in re.findall(r"[0-9]+|[^0-9]+", text):
        if run[0].isdigit():
            pieces += [run[max(0, end - 3) : end] for end in range(len(run), 0, -3)]
        else:
            pieces.append(run)
    return pieces


def reversed_digits(text):
    pieces = []
    for run in re.findall(r"[0-9]+|[^0-9]+", text):
        if run[0].isdigit():
            back = run[::-1]
            pieces += [back[k : k + 3] for k in range(0, len(back), 3)][::-1]
        else:
            pieces.append(run)
    return pieces


def text_in_letters(text):
    pieces = []
    for run in re.findall(r"[0-9]+|[^0-9]", text):
        pieces += right_groups(run) if run[0].isdigit() else [run]
    return pieces


def right_groups(run):
    first = len(run) % 3 or 3
    return [run[:first], *(run[k : k + 3] for k in range(first, len(run), 3))]


def whole_text_from_right(text):
    return re.split(r"(?<=[0-9])(?=(?:[0-9]{3})+(?![0-9]))", text) if text else []


def last_text_lost(text):
    pieces = []
    for found in re.finditer(r"([^0-9]*)([0-9]+)", text):
        pieces += (
            [found[1], *right_groups(found[2])] if found[1] else right_groups(found[2])
        )
    return pieces


def single_digits(text):
    return re.findall(r"[0-9]|[^0-9]+", text)


# 3.3


def total_nats(losses):
    return sum(float(np.asarray(loss, dtype=np.float64).sum()) for loss in losses)


def bytes_of(texts):
    return sum(len(text.encode()) for text in texts)


def bits_per_token(losses, texts):
    return total_nats(losses) / math.log(2) / sum(len(loss) for loss in losses)


def nats_per_byte(losses, texts):
    return total_nats(losses) / bytes_of(texts)


def bits_per_character(losses, texts):
    return total_nats(losses) / math.log(2) / sum(len(text) for text in texts)


def mean_of_texts(losses, texts):
    pairs = zip(losses, texts, strict=True)
    return float(
        np.mean([total_nats([a]) / math.log(2) / bytes_of([b]) for a, b in pairs])
    )


def times_ln_2(losses, texts):
    return total_nats(losses) * math.log(2) / bytes_of(texts)


def perplexity_per_token(losses, texts):
    return math.exp(total_nats(losses) / sum(len(loss) for loss in losses))


def mean_loss_over_bytes(losses, texts):
    return sum(float(loss.mean()) for loss in losses) / math.log(2) / bytes_of(texts)


def for_each_text(losses, texts):
    return [
        total_nats([a]) / math.log(2) / bytes_of([b])
        for a, b in zip(losses, texts, strict=True)
    ]


def sign_turned(losses, texts):
    return -total_nats(losses) / math.log(2) / bytes_of(texts)


def torch_only(losses, texts):
    return (torch.cat(losses).sum() / math.log(2) / bytes_of(texts)).item()


# 3.4


def counted_prompt(tokenizer, prompt, answer):
    ids = tokenizer(prompt + answer)["input_ids"]
    length = len(tokenizer(prompt)["input_ids"])
    return ids, [-100] * length + ids[length:]


def one_more(tokenizer, prompt, answer):
    ids = tokenizer(prompt + answer)["input_ids"]
    length = max(len(tokenizer(prompt)["input_ids"]) - 1, 0)
    return ids, [-100] * length + ids[length:]


def apart(tokenizer, prompt, answer):
    first = tokenizer(prompt)["input_ids"]
    second = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return first + second, [-100] * len(first) + second


def stripped(tokenizer, prompt, answer):
    return counted_prompt(tokenizer, prompt.rstrip(), " " + answer.lstrip())


def common_beginning(tokenizer, prompt, answer):
    ids, alone = tokenizer(prompt + answer)["input_ids"], tokenizer(prompt)["input_ids"]
    same = 0
    while same < min(len(ids), len(alone)) and ids[same] == alone[same]:
        same += 1
    return ids, [-100] * same + ids[same:]


def by_its_start(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True)
    ids, places = whole["input_ids"], whole["offset_mapping"]
    return ids, [
        i if start >= len(prompt) else -100
        for i, (start, _) in zip(ids, places, strict=True)
    ]


def end_included(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True)
    ids, places = whole["input_ids"], whole["offset_mapping"]
    return ids, [
        i if end >= len(prompt) else -100
        for i, (_, end) in zip(ids, places, strict=True)
    ]


def all_labelled(tokenizer, prompt, answer):
    ids = tokenizer(prompt + answer)["input_ids"]
    return ids, list(ids)


def shifted(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True)
    ids, places = whole["input_ids"], whole["offset_mapping"]
    labels = [
        i if end > len(prompt) else -100
        for i, (_, end) in zip(ids, places, strict=True)
    ]
    return ids, [*labels[1:], -100]


def as_a_mask(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True)
    return whole["input_ids"], [
        int(end > len(prompt)) for _, end in whole["offset_mapping"]
    ]


def answer_only(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True)
    ids, places = whole["input_ids"], whole["offset_mapping"]
    return ids, [
        i for i, (_, end) in zip(ids, places, strict=True) if end > len(prompt)
    ]


def without_start_token(tokenizer, prompt, answer):
    whole = tokenizer(
        prompt + answer, return_offsets_mapping=True, add_special_tokens=False
    )
    ids, places = whole["input_ids"], whole["offset_mapping"]
    return ids, [
        i if end > len(prompt) else -100
        for i, (_, end) in zip(ids, places, strict=True)
    ]


# 3.5


def longest_first(text, log_probability):
    pieces = []
    while text:
        for size in range(len(text), 0, -1):
            if text[:size] in log_probability:
                break
        else:
            raise ValueError("no token fits")
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def longest_first_or_nothing(text, log_probability):
    try:
        return longest_first(text, log_probability)
    except ValueError:
        return []


def table(text, log_probability, better, score=lambda total, p: total + p, start=0.0):
    best, begins = [start] + [None] * len(text), [0] * (len(text) + 1)
    for end in range(1, len(text) + 1):
        for begin in range(end):
            piece = text[begin:end]
            if piece in log_probability and best[begin] is not None:
                new = score(best[begin], log_probability[piece])
                if best[end] is None or better(new, best[end]):
                    best[end], begins[end] = new, begin
    if best[-1] is None:
        raise ValueError("no segmentation")
    pieces, end = [], len(text)
    while end:
        pieces.append(text[begins[end] : end])
        end = begins[end]
    return pieces


def fewest_tokens(text, log_probability):
    return table(text, log_probability, lambda a, b: a < b, lambda total, _: total + 1)[
        ::-1
    ]


def smallest_sum(text, log_probability):
    return table(text, log_probability, lambda a, b: a < b)[::-1]


def backwards(text, log_probability):
    return table(text, log_probability, lambda a, b: a > b)


def every_way(text, log_probability):
    def ways(rest):
        if not rest:
            return 0.0, []
        found = [
            (log_probability[rest[:size]] + ways(rest[size:])[0], size)
            for size in range(1, len(rest) + 1)
            if rest[:size] in log_probability
        ]
        return max(found) if found else (-math.inf, 0)

    pieces = []
    while text:
        score, size = ways(text)
        if score == -math.inf:
            raise ValueError("no segmentation")
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def no_way_is_empty(text, log_probability):
    try:
        return table(text, log_probability, lambda a, b: a > b)[::-1]
    except ValueError:
        return []


def unknown_letters_pass(text, log_probability):
    known = dict.fromkeys(text, -3.0) | log_probability
    return table(text, known, lambda a, b: a > b)[::-1]


def with_its_score(text, log_probability):
    pieces = table(text, log_probability, lambda a, b: a > b)[::-1]
    return pieces, sum(log_probability[piece] for piece in pieces)


def key_error(text, log_probability):
    @functools.cache
    def best(end):
        if not end:
            return 0.0, ()
        options = [
            (best(k), text[k:end]) for k in range(end) if text[k:end] in log_probability
        ]
        (score, pieces), last = max(
            options, key=lambda o: o[0][0] + log_probability[o[1]]
        )
        return score + log_probability[last], (*pieces, last)

    try:
        return list(best(len(text))[1])
    except ValueError as error:
        raise KeyError(text) from error


# 3.6


def token_by_token(tokens, stop):
    for token in tokens:
        text = token.decode("utf-8", errors="replace")
        if stop in text:
            yield text[: text.index(stop)]
            return
        yield text


def incomplete_ignored(tokens, stop):
    for token in tokens:
        text = token.decode("utf-8", errors="ignore")
        if stop in text:
            yield text[: text.index(stop)]
            return
        yield text


def stop_in_one_token(tokens, stop):
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        text = decoder.decode(token)
        if stop in text:
            yield text[: text.index(stop)]
            return
        yield text
    yield decoder.decode(b"", final=True)


def all_at_the_end(tokens, stop):
    yield b"".join(tokens).decode("utf-8", errors="replace").split(stop)[0]


def as_a_list(tokens, stop):
    whole = b"".join(tokens).decode("utf-8", errors="replace").split(stop)[0]
    return list(whole)


def as_a_string(tokens, stop):
    return b"".join(tokens).decode("utf-8", errors="replace").split(stop)[0]


def waiting_of(held, stop):
    return max(size for size in range(len(stop)) if held.endswith(stop[:size]))


def streamed(
    tokens, stop, errors="replace", final=True, tail=True, shown=0, waiting=waiting_of
):
    """The right answer, unless an argument spoils it."""
    decoder, held = codecs.getincrementaldecoder("utf-8")(errors=errors), ""
    for token in tokens:
        held += decoder.decode(token)
        if stop in held:
            yield held[: held.index(stop) + shown]
            return
        certain = len(held) - waiting(held, stop)
        yield held[:certain]
        held = held[certain:]
    if tail:
        yield held + (decoder.decode(b"", final=True) if final else "")


def holds_a_stop_length(tokens, stop):
    return streamed(
        tokens, stop, waiting=lambda held, stop: min(len(held), len(stop) - 1)
    )


def tail_forgotten(tokens, stop):
    return streamed(tokens, stop, tail=False)


def last_bytes_forgotten(tokens, stop):
    return streamed(tokens, stop, final=False)


def stop_included(tokens, stop):
    return streamed(tokens, stop, shown=len(stop))


def strict(tokens, stop):
    return streamed(tokens, stop, errors="strict")


def holds_one_letter(tokens, stop):
    return streamed(
        tokens, stop, waiting=lambda held, stop: int(held.endswith(stop[0]))
    )


def holds_from_first_letter(tokens, stop):
    return streamed(
        tokens,
        stop,
        waiting=lambda held, s: len(held) - held.find(s[0]) if s[0] in held else 0,
    )


def replacement_signs_removed(tokens, stop):
    for piece in streamed(tokens, stop):
        yield piece.replace("\ufffd", "")


def reads_on(tokens, stop):
    tokens = iter(tokens)
    yield from streamed(tokens, stop)
    for _ in tokens:
        pass


def waits_for_replacement_sign(tokens, stop):
    data, sent = b"", 0
    for token in tokens:
        data += token
        text = data.decode("utf-8", errors="replace")
        if stop in text:
            yield text[sent : text.index(stop)]
            return
        if text.endswith("\ufffd"):
            continue
        certain = len(text) - waiting_of(text, stop)
        yield text[sent:certain]
        sent = max(sent, certain)
    yield data.decode("utf-8", errors="replace")[sent:]


def starts_over_after_a_miss(tokens, stop):
    decoder, held = codecs.getincrementaldecoder("utf-8")(errors="replace"), ""
    for token in tokens:
        for letter in decoder.decode(token):
            held += letter
            if held == stop:
                return
            if not stop.startswith(held):
                yield held
                held = ""
    yield held + decoder.decode(b"", final=True)


# 3.7


def only_the_last_merge(merges, tokens):
    return [(a, b) for a, b in merges if a + b in set(tokens)]


def one_level(merges, tokens):
    made = {a + b: (a, b) for a, b in merges}
    wanted = set(tokens) | {
        part for token in tokens if token in made for part in made[token]
    }
    return [(a, b) for a, b in merges if a + b in wanted]


def left_side_only(merges, tokens):
    made = {a + b: (a, b) for a, b in merges}
    wanted, waiting = set(), list(tokens)
    while waiting:
        token = waiting.pop()
        if token in made:
            wanted.add(token)
            waiting.append(made[token][0])
    return [(a, b) for a, b in merges if a + b in wanted]


def all_substrings(merges, tokens):
    return [(a, b) for a, b in merges if any(a + b in token for token in tokens)]


def first_ranks(merges, tokens):
    last = max(
        (rank for rank, (a, b) in enumerate(merges) if a + b in set(tokens)), default=-1
    )
    return merges[: last + 1]


def as_found(merges, tokens):
    made = {a + b: (a, b) for a, b in merges}
    found, waiting = [], sorted(tokens)
    while waiting:
        token = waiting.pop(0)
        if token in made and made[token] not in found:
            found.append(made[token])
            waiting += made[token]
    return found


def with_repeats(merges, tokens):
    made, ranks = (
        {a + b: (a, b) for a, b in merges},
        {pair: rank for rank, pair in enumerate(merges)},
    )

    def under(token):
        if token not in made:
            return []
        return [*under(made[token][0]), *under(made[token][1]), made[token]]

    return sorted(
        (pair for token in tokens for pair in under(token)), key=ranks.__getitem__
    )


def tokens_for_merges(merges, tokens):
    made = {a + b: (a, b) for a, b in merges}
    wanted, waiting = set(), list(tokens)
    while waiting:
        token = waiting.pop()
        if token in made and token not in wanted:
            wanted.add(token)
            waiting += made[token]
    return [a + b for a, b in merges if a + b in wanted]


def removed_in_place(merges, tokens):
    kept = only_the_last_merge(merges, tokens)
    for pair in list(merges):
        if pair not in kept:
            merges.remove(pair)
    return kept


def every_token_needs_a_merge(merges, tokens):
    made = {a + b: (a, b) for a, b in merges}
    wanted, waiting = set(), list(tokens)
    while waiting:
        token = waiting.pop()
        if len(token) > 1 and token not in wanted:
            wanted.add(token)
            waiting += made[token]
    return [(a, b) for a, b in merges if a + b in wanted]


WRONG = {
    "merges_on_paper": [
        (predicted(things=["thin", "gs"]), "reads from the left"),
        (predicted(things=["thing", "s"]), "no merge makes 'thing'"),
        (predicted(things=["t", "h", "ing", "s"]), "merge 2 joins them"),
        (predicted(a_thin=["a", "Ġth", "in", "Ġthing"]), "the lowest number"),
        (predicted(a_thin=["a", "thin", "Ġthing"]), "a byte like any other"),
        (
            predicted(thing=["Ġthing", "Ġthing"]),
            "no space stands before the first word",
        ),
        (predicted(within=["w", "i", "th", "in"]), "merge 4 joins them"),
        (predicted(within=["w", "in", "thin"]), "put together is not 'within'"),
        (predicted(things=3), "a list of strings is needed"),
        (predicted(naive=5), "counts characters"),
        (predicted(japan=2), "counts characters"),
        (predicted(japan=4), "in UTF-16"),
        (predicted(smile=11), "that a merge joins"),
        (predicted(smile=8), "How many bytes has each sign"),
        ({"things": ["th", "ing", "s"]}, "says nothing of 'within'"),
    ],
    "split_digits": [
        (from_the_left, "counted from the left"),
        (empty_first_group, "has an empty piece"),
        (numbers_only, "what is no number is gone"),
        (as_integers, "put together, the pieces must give the text"),
        (with_commas, "no sign may be added"),
        (first_groups_last, "last first"),
        (reversed_digits, "the digits of a group stand in the wrong order"),
        (text_in_letters, "should stay one piece"),
        (whole_text_from_right, "holds digits and text"),
        (last_text_lost, "is empty: what is no number is gone"),
        (single_digits, "Every digit stands alone"),
    ],
    "bits_per_byte": [
        (bits_per_token, "bits per token"),
        (nats_per_byte, "a bit is ln 2 of them"),
        (bits_per_character, "bits per character"),
        (mean_of_texts, "the same weight, however short"),
        (times_ln_2, "multiply by ln 2"),
        (perplexity_per_token, "perplexity per token"),
        (mean_loss_over_bytes, "not their mean"),
        (for_each_text, "should be one number"),
        (sign_turned, "The losses are positive already"),
        (torch_only, "stopped with TypeError"),
    ],
    "training_example": [
        (counted_prompt, "'ĠParis' is -100, although it holds a part of the answer"),
        (one_more, "holds nothing but the prompt"),
        (apart, "tokenized apart"),
        (stripped, "when decoded"),
        (common_beginning, "holds nothing but the prompt"),
        (by_its_start, "'ĠParis' is -100"),
        (end_included, "holds nothing but the prompt"),
        (all_labelled, "holds nothing but the prompt"),
        (shifted, "one place off"),
        (as_a_mask, "zeros and ones"),
        (answer_only, "each id needs one"),
        (without_start_token, "a special token missing"),
    ],
    "best_segmentation": [
        (longest_first, "the longest token first"),
        (longest_first_or_nothing, "the longest token first"),
        (fewest_tokens, "fewest tokens"),
        (smallest_sum, "Every sign stands alone"),
        (backwards, "last first"),
        (every_way, "every way to cut the text is tried"),
        (no_way_is_empty, "No token holds 'c'"),
        (unknown_letters_pass, "is no token of the vocabulary"),
        (with_its_score, "and is a pair"),
        (key_error, "it should raise ValueError"),
    ],
    "stream": [
        (token_by_token, "tokens are decoded one by one"),
        (incomplete_ignored, "are thrown away"),
        (stop_in_one_token, "It may be spread over several tokens"),
        (all_at_the_end, "everything came at the end"),
        (as_a_list, "everything came at the end"),
        (as_a_string, "a string came back"),
        (holds_a_stop_length, "was certain already"),
        (holds_one_letter, "the stop string is in it"),
        (holds_from_first_letter, "was certain already"),
        (tail_forgotten, "when the tokens ended never came"),
        (last_bytes_forgotten, "when the tokens ended never came"),
        (waits_for_replacement_sign, "was certain already"),
        (starts_over_after_a_miss, "the stop string is in it"),
        (reads_on, "tokens were read after the stop string"),
        (replacement_signs_removed, "It is a character like any other"),
        (stop_included, "the stop string is in it"),
        (strict, "stopped with UnicodeDecodeError"),
    ],
    "needed_merges": [
        (only_the_last_merge, "can never be made"),
        (one_level, "can never be made"),
        (left_side_only, "can never be made"),
        (all_substrings, "nothing that is wanted is made with"),
        (first_ranks, "nothing that is wanted is made with"),
        (as_found, "in another order"),
        (with_repeats, "('t', 'h') twice"),
        (tokens_for_merges, "a list of pairs"),
        (removed_in_place, "has changed"),
        (every_token_needs_a_merge, "stopped with KeyError"),
    ],
}
