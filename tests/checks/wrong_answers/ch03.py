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
        if run[0] in "0123456789":
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
        if run[0] in "0123456789":
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


def digits_of_every_script(text):
    pieces = []
    for run in re.findall(r"\d+|\D+", text):
        pieces += right_groups(run) if run[0].isdigit() else [run]
    return pieces


def no_line_breaks(text):
    pieces = []
    for run in re.findall(r"[0-9]+|(?:(?![0-9]).)+", text):
        pieces += right_groups(run) if run[0] in "0123456789" else [run]
    return pieces


def white_space_stripped(text):
    runs = (run.strip() for run in re.findall(r"[0-9]+|[^0-9]+", text))
    pieces = []
    for run in runs:
        if run:
            pieces += right_groups(run) if run[0] in "0123456789" else [run]
    return pieces


def at_most_seven_digits(text):
    pieces = []
    for run in re.findall(r"[0-9]+|[^0-9]+", text):
        if run[0] not in "0123456789":
            pieces.append(run)
            continue
        first = len(run) % 3 or 3
        pieces += [run[:first], run[first : first + 3], run[first + 3 :]]
    return [piece for piece in pieces if piece]


def last_number_alone(text):
    found = re.search(r"[0-9]+$", text)
    if not found:
        return [text] if text else []
    before = text[: found.start()]
    return ([before] if before else []) + right_groups(found[0])


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


def bytes_of_utf_16(losses, texts):
    return (
        total_nats(losses) / math.log(2) / sum(len(t.encode("utf-16")) for t in texts)
    )


def rounded(losses, texts):
    return round(total_nats(losses) / math.log(2) / bytes_of(texts), 2)


def losses_changed(losses, texts):
    for loss in losses:
        loss /= math.log(2)
    return sum(float(loss.sum()) for loss in losses) / bytes_of(texts)


def losses_emptied(losses, texts):
    total = 0.0
    while losses:
        total += float(losses.pop().sum())
    return total / math.log(2) / bytes_of(texts)


def longest_text(losses, texts):
    place = max(range(len(texts)), key=lambda n: len(texts[n]))
    return (
        total_nats(losses[place : place + 1]) / math.log(2) / bytes_of([texts[place]])
    )


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


def answer_from_behind(tokenizer, prompt, answer):
    ids = tokenizer(prompt + answer)["input_ids"]
    size = len(tokenizer(answer, add_special_tokens=False)["input_ids"])
    return ids, [-100] * (len(ids) - size) + ids[len(ids) - size :]


def bytes_for_characters(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True)
    size = len(prompt.encode())
    return whole["input_ids"], [
        i if end > size else -100
        for i, (_, end) in zip(whole["input_ids"], whole["offset_mapping"], strict=True)
    ]


def where_the_answer_is_found(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True)
    size = (prompt + answer).find(answer)
    return whole["input_ids"], [
        i if end > size else -100
        for i, (_, end) in zip(whole["input_ids"], whole["offset_mapping"], strict=True)
    ]


def no_special_labels(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer, return_offsets_mapping=True)
    return whole["input_ids"], [
        i if end > len(prompt) and i not in tokenizer.all_special_ids else -100
        for i, (_, end) in zip(whole["input_ids"], whole["offset_mapping"], strict=True)
    ]


def labels_first(tokenizer, prompt, answer):
    ids, labels = counted_prompt(tokenizer, prompt, answer)
    return labels, ids


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


def longest_last(text, log_probability):
    mirrored = {piece[::-1]: score for piece, score in log_probability.items()}
    return [piece[::-1] for piece in longest_first(text[::-1], mirrored)][::-1]


def at_most_four_letters(text, log_probability):
    known = {piece: p for piece, p in log_probability.items() if len(piece) <= 4}
    return table(text, known, lambda a, b: a > b)[::-1]


def not_below_a_thousand(text, log_probability):
    best, begins = [0.0] + [-1000.0] * len(text), [0] * (len(text) + 1)
    for end in range(1, len(text) + 1):
        for start in range(end):
            score = best[start] + log_probability.get(text[start:end], -1000.0)
            if score > best[end]:
                best[end], begins[end] = score, start
    if best[-1] == -1000.0:
        raise ValueError(text)
    pieces, end = [], len(text)
    while end:
        pieces.append(text[begins[end] : end])
        end = begins[end]
    return pieces[::-1]


def probabilities_added(text, log_probability):
    return table(
        text,
        log_probability,
        lambda a, b: a > b,
        lambda total, p: total + math.exp(p),
    )[::-1]


def vocabulary_extended(text, log_probability):
    for letter in text:
        log_probability.setdefault(letter, -1e9)
    pieces = table(text, log_probability, lambda a, b: a > b)[::-1]
    if any(log_probability[piece] == -1e9 for piece in pieces):
        raise ValueError(text)
    return pieces


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


def known_length(tokens, stop):
    def waiting(held, stop):
        return max(size for size in range(6) if held.endswith(stop[:size]))

    return streamed(tokens, stop, waiting=waiting)


def last_stop(tokens, stop):
    decoder, held = codecs.getincrementaldecoder("utf-8")(errors="replace"), ""
    for token in tokens:
        held += decoder.decode(token)
        if stop in held:
            yield held.rpartition(stop)[0]
            return
        certain = len(held) - waiting_of(held, stop)
        yield held[:certain]
        held = held[certain:]
    yield held + decoder.decode(b"", final=True)


def one_token_late(tokens, stop):
    kept = ""
    for piece in streamed(tokens, stop):
        yield kept
        kept = piece
    yield kept


def asks_ahead(tokens, stop):
    tokens = iter(tokens)
    ahead = next(tokens, None)

    def one_ahead():
        nonlocal ahead
        while ahead is not None:
            token, ahead = ahead, next(tokens, None)
            yield token

    return streamed(one_ahead(), stop)


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


def right_side_only(merges, tokens):
    made = {a + b: (a, b) for a, b in merges}
    wanted, waiting = set(), list(tokens)
    while waiting:
        token = waiting.pop()
        if token in made:
            wanted.add(token)
            waiting.append(made[token][1])
    return [(a, b) for a, b in merges if a + b in wanted]


def cut_in_place(merges, tokens):
    made = {a + b: (a, b) for a, b in merges}
    wanted, waiting = set(), list(tokens)
    while waiting:
        token = waiting.pop()
        if token in made and token not in wanted:
            wanted.add(token)
            waiting += made[token]
    merges[:] = [(a, b) for a, b in merges if a + b in wanted]
    return merges


def tokens_emptied(merges, tokens):
    made = {a + b: (a, b) for a, b in merges}
    wanted = set()
    while tokens:
        token = tokens.pop()
        if token in made:
            wanted.add(token)
            (tokens.extend if isinstance(tokens, list) else tokens.update)(made[token])
    return [(a, b) for a, b in merges if a + b in wanted]


def four_levels(merges, tokens):
    made = {a + b: (a, b) for a, b in merges}
    wanted = set(tokens)
    for _ in range(4):
        wanted |= {part for token in wanted for part in made.get(token, ())}
    return [(a, b) for a, b in merges if a + b in wanted]


def unpacked(text, scores):
    first, second = text
    return [first, second]


def always_refused(text, scores):
    raise ValueError("no way to cut it")


def cuts_the_ids_short(tokenizer, prompt, answer):
    whole = tokenizer(prompt + answer)["input_ids"][1:]
    return whole, whole


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
        (empty_first_group, "has no incomplete group in front"),
        (numbers_only, "put together, the pieces must give the text"),
        (as_integers, "put together, the pieces must give the text"),
        (with_commas, "No sign may be added"),
        (first_groups_last, "come last first"),
        (reversed_digits, "put together, the pieces must give the text"),
        (text_in_letters, "should stay one piece"),
        (whole_text_from_right, "Digits and text stand in one piece"),
        (last_text_lost, "put together, the pieces must give the text"),
        (single_digits, "Every digit stands alone"),
        (digits_of_every_script, "those of other scripts"),
        (no_line_breaks, "`.` does not match them"),
        (white_space_stripped, "White space is gone"),
        (at_most_seven_digits, "for '1234567890'"),
        (last_number_alone, "the result is "),
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
        (bytes_of_utf_16, "the result is "),
        (rounded, "the result is "),
        (losses_changed, "`losses` at [0]"),
        (losses_emptied, "`losses` had"),
        (longest_text, "for a long and a short text"),
    ],
    "training_example": [
        (cuts_the_ids_short, "for '… France?\\nA: ' + 'Paris'"),
        (counted_prompt, "The prompt's tokens are counted alone"),
        (one_more, "one token too early"),
        (apart, "tokenized apart"),
        (stripped, "when decoded"),
        (common_beginning, "where the whole and the prompt alone differ"),
        (by_its_start, "only where it begins in the answer"),
        (end_included, "ends where the prompt ends holds no answer"),
        (all_labelled, "the prompt's as well"),
        (shifted, "one place off"),
        (as_a_mask, "zeros and ones"),
        (answer_only, "each id needs one"),
        (without_start_token, "that the tokenizer puts in front is gone"),
        (answer_from_behind, "The answer's tokens are counted alone"),
        (bytes_for_characters, "you count the prompt's bytes"),
        (where_the_answer_is_found, "nothing but the prompt"),
        (no_special_labels, "although it holds a part of the answer"),
        (labels_first, "the ids come first, the labels second"),
    ],
    "best_segmentation": [
        (unpacked, "stopped with ValueError at `first, second = text`"),
        (always_refused, "raised ValueError, and there is a way to cut it"),
        (longest_first, "takes the longest token first"),
        (longest_first_or_nothing, "takes the longest token first"),
        (fewest_tokens, "fewest tokens"),
        (smallest_sum, "the one closest to 0"),
        (backwards, "last first"),
        (every_way, "every way to cut the text is tried"),
        (no_way_is_empty, "not that there is no way"),
        (unknown_letters_pass, "An unknown sign passes"),
        (with_its_score, "and is a pair"),
        (key_error, "stopped with KeyError"),
        (longest_last, "takes the longest token from the end"),
        (at_most_four_letters, "Another way to cut it has a larger sum"),
        (not_below_a_thousand, "for 'xyxyx'"),
        (probabilities_added, "Probabilities are added"),
        (vocabulary_extended, "`log_probability` had the keys"),
    ],
    "stream": [
        (token_by_token, "Tokens are decoded one by one"),
        (incomplete_ignored, "are thrown away"),
        (stop_in_one_token, "It may be spread over several"),
        (all_at_the_end, "Everything comes at the end"),
        (as_a_list, "Everything comes at the end"),
        (as_a_string, "a string came back"),
        (holds_a_stop_length, "whatever they are"),
        (holds_one_letter, "At most one character is held back"),
        (holds_from_first_letter, "it can no longer become the stop string"),
        (tail_forgotten, "when the tokens ended never comes"),
        (last_bytes_forgotten, "when the tokens ended never come:"),
        (waits_for_replacement_sign, "Broken bytes stay broken"),
        (starts_over_after_a_miss, "may begin inside of the false start"),
        (reads_on, "tokens were read after the stop string"),
        (replacement_signs_removed, "It is a character like any other"),
        (stop_included, "The stop string itself comes out"),
        (strict, "stopped with UnicodeDecodeError"),
        (known_length, "for a long stop string over many tokens"),
        (last_stop, "the first one ends it"),
        (one_token_late, "was certain already"),
        (asks_ahead, "was certain already"),
    ],
    "needed_merges": [
        (only_the_last_merge, "its parts must be made, too"),
        (one_level, "one step down, and no further"),
        (left_side_only, "Only the first part of each pair"),
        (right_side_only, "Only the second part of each pair"),
        (all_substrings, "may be made by other merges"),
        (first_ranks, "up to the last one needed"),
        (as_found, "in another order"),
        (with_repeats, "('t', 'h') twice"),
        (tokens_for_merges, "the merges are the pairs"),
        (removed_in_place, "its parts must be made, too"),
        (cut_in_place, "`merges` had 16 entries"),
        (every_token_needs_a_merge, "stopped with KeyError"),
        (tokens_emptied, "`tokens` had 1 entries"),
        (four_levels, "it can never be made"),
    ],
}
