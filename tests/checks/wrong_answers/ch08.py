"""Wrong answers to chapter 08's exercises, each with a part of its diagnosis."""

import torch
import torch.nn.functional as F

# 8.1


def row(first, second, cls, separator):
    head, tail = [cls, *first, separator], [*second, separator]
    return head + tail, [0] * len(head) + [1] * len(tail)


def cut(first, second, room):
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return first, second


def row_cut_at_the_end(first, second, max_length, cls=101, separator=102):
    ids, segments = row(first, second, cls, separator)
    return ids[:max_length], segments[:max_length]


def half_each(first, second, max_length, cls=101, separator=102):
    room = (max_length - 3) // 2
    return row(first[:room], second[:room], cls, separator)


def only_the_second_is_cut(first, second, max_length, cls=101, separator=102):
    first = first[: max_length - 3]
    return row(first, second[: max_length - 3 - len(first)], cls, separator)


def marks_not_counted(first, second, max_length, cls=101, separator=102):
    return row(*cut(first, second, max_length), cls, separator)


def cut_at_the_start(first, second, max_length, cls=101, separator=102):
    one, two = cut(first[::-1], second[::-1], max_length - 3)
    return row(one[::-1], two[::-1], cls, separator)


def second_cls(first, second, max_length, cls=101, separator=102):
    first, second = cut(first, second, max_length - 4)
    head, tail = [cls, *first, separator], [cls, *second, separator]
    return head + tail, [0] * len(head) + [1] * len(tail)


def separator_in_the_second_segment(first, second, max_length, cls=101, separator=102):
    first, second = cut(first, second, max_length - 3)
    ids, _ = row(first, second, cls, separator)
    return ids, [0] * (1 + len(first)) + [1] * (2 + len(second))


def segments_of_words_only(first, second, max_length, cls=101, separator=102):
    first, second = cut(first, second, max_length - 3)
    return row(first, second, cls, separator)[0], [0] * len(first) + [1] * len(second)


def last_mark_missing(first, second, max_length, cls=101, separator=102):
    first, second = cut(first, second, max_length - 3)
    ids, segments = row(first, second, cls, separator)
    return ids[:-1], segments[:-1]


def own_marks(first, second, max_length, cls=101, separator=102):
    return row(*cut(first, second, max_length - 3), 101, 102)


def popped_in_place(first, second, max_length, cls=101, separator=102):
    while len(first) + len(second) > max_length - 3:
        max(first, second, key=len).pop()
    return row(first, second, cls, separator)


def no_error(first, second, max_length, cls=101, separator=102):
    return row(*cut(first, second, max(0, max_length - 3)), cls, separator)


def pops_from_nothing(first, second, max_length, cls=101, separator=102):
    return row(*cut(first, second, max_length - 3), cls, separator)


def in_proportion(first, second, max_length, cls=101, separator=102):
    room, total = max_length - 3, max(len(first) + len(second), 1)
    if total > room:
        keep = round(room * len(first) / total)
        first, second = first[:keep], second[: room - keep]
    return row(first, second, cls, separator)


def one_longer_kept(first, second, max_length, cls=101, separator=102):
    return row(*cut(first, second, max_length - 4), cls, separator)


def refuses_the_marks_alone(first, second, max_length, cls=101, separator=102):
    if max_length <= 3:
        raise ValueError("no room for a text")
    return row(*cut(first, second, max_length - 3), cls, separator)


def refuses_below_two(first, second, max_length, cls=101, separator=102):
    if max_length < 2:
        raise ValueError("no room for the marks")
    return row(*cut(first, second, max(max_length - 3, 0)), cls, separator)


def other_errors(first, second, max_length, cls=101, separator=102):
    assert max_length >= 3
    return row(*cut(first, second, max_length - 3), cls, separator)


def the_shorter_pays(first, second, max_length, cls=101, separator=102):
    first, second = list(first), list(second)
    while len(first) + len(second) > max_length - 3:
        (first if 0 < len(first) <= len(second) or not second else second).pop()
    return row(first, second, cls, separator)


def ids_alone(first, second, max_length, cls=101, separator=102):
    return row(*cut(first, second, max_length - 3), cls, separator)[0]


# 8.2


def predicted(**wrong):
    """The right predictions, but for those given, in the check's order."""
    right = {
        "river_vector": True,
        "boat_vector": True,
        "boat_vector_untied": False,
        "boat_bias": True,
        "padding_vector": True,
        "padding_position": False,
        "second_segment": True,
        "river_first_state": True,
        "river_last_state": False,
        "key_bias": False,
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


# 8.3


def uniform(ids, generator):
    return torch.rand(ids.shape, generator=generator)


def masking(
    count=lambda rate, available, length: (rate * available).round().clamp(min=1),
    apart=lambda ids, special: torch.isin(ids, torch.tensor(special)),
    two_throws=False,
    hidden_share=0.8,
    words_from_all=False,
    label_of_shown=False,
    in_place=False,
    fixed_order=False,
    seed=None,
    one_word=False,
    own_rate=None,
    spoil=False,
):
    """The right function, but for the mistakes that are asked for."""

    def mask_exactly(ids, vocabulary, special, mask, generator, rate=0.15):
        if seed is not None:
            generator = (
                None if seed == "global" else torch.Generator().manual_seed(seed)
            )
        rate = own_rate or rate
        ordinary = ~apart(ids, special)
        available = ordinary.sum(dim=1, keepdim=True)
        wanted = count(rate, available, ids.size(1)).minimum(available)
        scores = (
            -torch.arange(ids.size(1)).expand(ids.shape).float()
            if fixed_order
            else uniform(ids, generator)
        )
        scores = scores.masked_fill(~ordinary, -1e9)
        chosen = scores.argsort(dim=1, descending=True).argsort(dim=1) < wanted
        fate = uniform(ids, generator)
        hidden = chosen & (fate < hidden_share)
        other = chosen & ~hidden & (fate >= 0.8) & (fate < 0.9)
        if two_throws:
            other = chosen & ~hidden & (uniform(ids, generator) < 0.1)
        allowed = torch.arange(vocabulary)
        if not words_from_all:
            allowed = allowed[~torch.isin(allowed, torch.tensor(special))]
        size = (1,) if one_word else ids.shape
        words = allowed[torch.randint(len(allowed), size, generator=generator)]
        shown = ids if in_place else ids.clone()
        shown[hidden] = mask
        shown = torch.where(other, words, shown)
        if spoil:
            shown = torch.where(uniform(ids, generator) < 0.05, words, shown)
        return shown, (shown if label_of_shown else ids).masked_fill(~chosen, -100)

    return mask_exactly


def broken_as_given(ids, vocabulary, special, mask, generator, rate=0.15):
    count = max(1, round(rate * ids.size(1)))
    highest = uniform(ids, generator).topk(count, dim=1).indices
    chosen = torch.zeros_like(ids, dtype=torch.bool).scatter(1, highest, True)
    hidden = chosen & (uniform(ids, generator) < 0.8)
    random = chosen & (uniform(ids, generator) < 0.1) & ~hidden
    words = torch.randint(vocabulary, ids.shape, generator=generator)
    shown = torch.where(random, words, ids.masked_fill(hidden, mask))
    return shown, ids.masked_fill(~chosen, -100)


def coins(ids, vocabulary, special, mask, generator, rate=0.15):
    chosen = (uniform(ids, generator) < rate) & ~torch.isin(ids, torch.tensor(special))
    return ids.masked_fill(chosen, mask), ids.masked_fill(~chosen, -100)


def some_other_way(choose=None, fate=None, pick=None):
    """The right function, with another way to choose, to throw, or to pick words."""

    def mask_exactly(ids, vocabulary, special, mask, generator, rate=0.15):
        ordinary = ~torch.isin(ids, torch.tensor(special))
        available = ordinary.sum(dim=1, keepdim=True)
        wanted = (rate * available).round().clamp(min=1).minimum(available)
        scores = uniform(ids, generator).masked_fill(~ordinary, 2.0)
        rank = scores.argsort(dim=1).argsort(dim=1)
        chosen = rank < wanted
        if choose:
            chosen = choose(ordinary, wanted, generator)
        throw = uniform(ids, generator)
        if fate:
            throw = fate(throw, rank, wanted)
        words = torch.tensor([n for n in range(vocabulary) if n not in special])
        numbers = torch.randint(len(words), ids.shape, generator=generator)
        picks = words[pick(numbers, ids, words) if pick else numbers]
        shown = torch.where(chosen & (throw < 0.8), mask, ids)
        shown = torch.where(chosen & (throw >= 0.9), picks, shown)
        return shown, torch.where(chosen, ids, -100)

    return mask_exactly


def a_run_of_tokens(ordinary, wanted, generator):
    """Neighbours, from a random place on."""
    number = ordinary.cumsum(dim=1) - 1
    available = ordinary.sum(dim=1, keepdim=True).clamp(min=1)
    start = (torch.rand(len(ordinary), 1, generator=generator) * available).long()
    return ordinary & ((number - start) % available < wanted)


def one_ranking_for_all(ordinary, wanted, generator):
    draws = torch.rand(1, ordinary.size(1), generator=generator).expand(ordinary.shape)
    scores = draws.masked_fill(~ordinary, 2.0)
    return scores.argsort(dim=1).argsort(dim=1) < wanted


def shown_alone(ids, vocabulary, special, mask, generator, rate=0.15):
    return masking()(ids, vocabulary, special, mask, generator, rate)[0]


# 8.4


def by_id(ids, continues, special, rate, generator):
    """One draw for each id of the vocabulary: twice there, twice chosen."""
    starts = ~continues[ids]
    place = torch.where(starts, torch.arange(ids.size(1)), 0).cummax(dim=1).values
    draws = torch.rand(len(continues), generator=generator)
    return (draws[ids.gather(1, place)] < rate) & ~torch.isin(
        ids, torch.tensor(special)
    )


def one_draw_a_text(ids, continues, special, rate, generator):
    draws = torch.rand(len(ids), 1, generator=generator).expand(ids.shape)
    return (draws < rate) & ~torch.isin(ids, torch.tensor(special))


def a_fixed_number_of_words(ids, continues, special, rate, generator):
    """So many words of each text as the rate says, rounded."""
    word = (~continues[ids]).cumsum(dim=1)
    apart = torch.isin(ids, torch.tensor(special))
    chosen = torch.zeros_like(apart)
    for row, numbers, marks in zip(chosen, word, apart, strict=True):
        words = numbers[~marks].unique()
        order = torch.randperm(len(words), generator=generator)
        taken = words[order[: round(rate * len(words))]]
        row |= torch.isin(numbers, taken) & ~marks
    return chosen


def over_the_marks(ids, continues, special, rate, generator):
    """A special token starts nothing: pieces behind it go with the word before it."""
    apart = torch.isin(ids, torch.tensor(special))
    word = (~continues[ids] & ~apart).cumsum(dim=1)
    draws = torch.rand(len(ids), ids.size(1) + 1, generator=generator)
    return (draws.gather(1, word) < rate) & ~apart


def sizes_of_the_first_call():
    width = []

    def choose(ids, continues, special, rate, generator):
        width.append(ids.size(1))
        draws = torch.rand(len(ids), width[0] + 1, generator=generator)
        return words_by_the_running_sum(ids, continues, special, rate, generator, draws)

    return choose


def words_by_the_running_sum(ids, continues, special, rate, generator, draws):
    word = (~continues[ids]).cumsum(dim=1)
    return (draws.gather(1, word) < rate) & ~torch.isin(ids, torch.tensor(special))


def each_piece(ids, continues, special, rate, generator):
    return (uniform(ids, generator) < rate) & ~torch.isin(ids, torch.tensor(special))


def first_pieces_only(ids, continues, special, rate, generator):
    return each_piece(ids, continues, special, rate, generator) & ~continues[ids]


def special_too(ids, continues, special, rate, generator):
    draws = torch.rand(len(ids), ids.size(1) + 1, generator=generator)
    return draws.gather(1, (~continues[ids]).cumsum(dim=1)) < rate


def by_any(ids, continues, special, rate, generator):
    """A word is chosen where one of its pieces would have been."""
    word = (~continues[ids]).cumsum(dim=1)
    chosen = each_piece(ids, continues, special, rate, generator).long()
    votes = torch.zeros(len(ids), ids.size(1) + 1, dtype=torch.long).scatter_add(
        1, word, chosen
    )
    return (votes.gather(1, word) > 0) & ~torch.isin(ids, torch.tensor(special))


def by_all(ids, continues, special, rate, generator):
    """A word is chosen where all of its pieces would have been."""
    word = (~continues[ids]).cumsum(dim=1)
    missed = (uniform(ids, generator) >= rate).long()
    votes = torch.zeros(len(ids), ids.size(1) + 1, dtype=torch.long).scatter_add(
        1, word, missed
    )
    return (votes.gather(1, word) == 0) & ~torch.isin(ids, torch.tensor(special))


def same_in_every_text(ids, continues, special, rate, generator):
    draws = torch.rand(1, ids.size(1) + 1, generator=generator).expand(len(ids), -1)
    return words_by_the_running_sum(ids, continues, special, rate, generator, draws)


def wrong_way_round(ids, continues, special, rate, generator):
    draws = torch.rand(len(ids), ids.size(1) + 1, generator=generator)
    return words_by_the_running_sum(ids, continues, special, 1 - rate, generator, draws)


def above_the_rate(ids, continues, special, rate, generator):
    chosen = words_by_the_running_sum(
        ids,
        continues,
        special,
        rate,
        generator,
        torch.rand(len(ids), ids.size(1) + 1, generator=generator),
    )
    return ~chosen & ~torch.isin(ids, torch.tensor(special))


def loose_pieces_left_out(ids, continues, special, rate, generator):
    apart = torch.isin(ids, torch.tensor(special))
    loose = torch.zeros_like(apart)
    for place in range(1, ids.size(1)):
        loose[:, place] = continues[ids[:, place]] & (
            apart[:, place - 1] | loose[:, place - 1]
        )
    draws = torch.rand(len(ids), ids.size(1) + 1, generator=generator)
    return (
        words_by_the_running_sum(ids, continues, special, rate, generator, draws)
        & ~loose
    )


def rate_fixed(ids, continues, special, rate, generator):
    draws = torch.rand(len(ids), ids.size(1) + 1, generator=generator)
    return words_by_the_running_sum(ids, continues, special, 0.15, generator, draws)


def as_integers(ids, continues, special, rate, generator):
    draws = torch.rand(len(ids), ids.size(1) + 1, generator=generator)
    return words_by_the_running_sum(
        ids, continues, special, rate, generator, draws
    ).long()


def torchs_own_chance(ids, continues, special, rate, generator):
    draws = torch.rand(len(ids), ids.size(1) + 1)
    return words_by_the_running_sum(ids, continues, special, rate, generator, draws)


def seeded_anew(ids, continues, special, rate, generator):
    draws = torch.rand(
        len(ids), ids.size(1) + 1, generator=torch.Generator().manual_seed(0)
    )
    return words_by_the_running_sum(ids, continues, special, rate, generator, draws)


def one_draw_too_few(ids, continues, special, rate, generator):
    draws = torch.rand(len(ids), 5, generator=generator)
    return words_by_the_running_sum(ids, continues, special, rate, generator, draws)


# 8.5


def embedding(model_sees=True, pooled="mean", normal=False):
    """The right function, but for the mistakes that are asked for."""

    def embed(model, ids, mask):
        real = mask.bool().unsqueeze(-1)
        states = model(ids, mask) if model_sees else model(ids)
        kept = states.masked_fill(~real, 0.0)
        vectors = {
            "mean": lambda: kept.sum(dim=1) / real.sum(dim=1).clamp(min=1),
            "zeros counted": lambda: kept.mean(dim=1),
            "all": lambda: states.mean(dim=1),
            "sum": lambda: kept.sum(dim=1),
            "first": lambda: states[:, 0],
            "largest": lambda: states.amax(dim=1),
            "batch": lambda: kept.sum(dim=1) / real.sum(),
            "no clamp": lambda: kept.sum(dim=1) / real.sum(dim=1),
            "tokens": lambda: kept,
            "over texts": lambda: kept.sum(dim=0) / real.sum(dim=0).clamp(min=1),
        }[pooled]()
        return F.normalize(vectors, dim=-1) if normal else vectors

    return torch.no_grad()(embed)


def evaluates(model, ids, mask):
    return embedding()(model.eval(), ids, mask)


def for_this_padding(model, ids, mask):
    """Right for padding on the right: the first tokens of each text."""
    count = mask.bool().sum(dim=1)
    states = model(ids, mask)
    return torch.stack(
        [
            row[:n].mean(dim=0) if n else row[0] * 0
            for row, n in zip(states, count.tolist(), strict=True)
        ]
    ).detach()


def zero_by_product(model, ids, mask):
    """A mask that is subtracted from: booleans have no minus."""
    states = model(ids, mask) * (1 - (1 - mask.unsqueeze(-1)))
    return (states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)).detach()


def mask_in_place(model, ids, mask):
    ids *= mask.long()
    return embedding()(model, ids, mask)


# 8.6


def scoring(
    hidden=None,
    after=lambda logits: logits.log_softmax(dim=-1),
    sign=1.0,
    own_mask=None,
    own_special=None,
    short=False,
    total=False,
    one_at_a_time=False,
    read_at=0,
    in_place=False,
):
    """The right function, but for given mistakes; `hidden` gives the places to hide."""

    def rest_of_word(ids, place, continues, ordinary):
        end = place + 1
        while continues is not None and end < len(ids) and continues[ids[end]]:
            end += 1
        return list(range(place, end))

    @torch.no_grad()
    def token_scores(model, ids, mask=3, special=(0, 1, 2, 3), continues=None):
        mask, special = (
            own_mask or mask,
            special if own_special is None else own_special,
        )
        places = [place for place in range(len(ids)) if int(ids[place]) not in special]
        targets = ids.clone()
        scores = torch.zeros(len(ids))
        rows = [ids if in_place else ids.clone() for _ in places]
        for number, place in zip(rows, places, strict=True):
            number[(hidden or rest_of_word)(ids, place, continues, places)] = mask
        if rows:
            if one_at_a_time:
                logits = torch.cat([model(number[None]) for number in rows])
            else:
                logits = model(torch.stack(rows))
            for number, place in enumerate(places):
                at = min(place + read_at, len(ids) - 1)
                scores[place] = sign * after(logits[number, at])[targets[place]]
        if short:
            return scores[places]
        return scores.sum() if total else scores

    return token_scores


def whole_word(ids, place, continues, ordinary):
    first = place
    while continues is not None and continues[ids[first]] and first - 1 in ordinary:
        first -= 1
    end = place + 1
    while continues is not None and end < len(ids) and continues[ids[end]]:
        end += 1
    return list(range(first, end))


def pieces_before(ids, place, continues, ordinary):
    first = place
    while continues is not None and continues[ids[first]] and first - 1 in ordinary:
        first -= 1
    return list(range(first, place + 1))


def next_piece_only(ids, place, continues, ordinary):
    more = continues is not None and place + 1 < len(ids) and continues[ids[place + 1]]
    return [place, place + 1] if more else [place]


def all_behind(ids, place, continues, ordinary):
    return [p for p in ordinary if p >= place]


def all_behind_with_words_only(ids, place, continues, ordinary):
    return [place] if continues is None else all_behind(ids, place, continues, ordinary)


def past_the_end(ids, place, continues, ordinary):
    end = place + 1
    while continues is not None and continues[ids[end]]:
        end += 1
    return list(range(place, end))


def two_layers_of_marks(model, ids, mask=3, special=(0, 1, 2, 3), continues=None):
    """The first and the last token are marks, whatever `special` says."""
    scores = scoring()(model, ids, mask, special, continues)
    scores[0] = scores[-1] = 0
    return scores


def evaluates_first(model, ids, mask=3, special=(0, 1, 2, 3), continues=None):
    return scoring()(model.eval(), ids, mask, special, continues)


def tied_to_the_vocabulary(model, ids, mask=3, special=(0, 1, 2, 3), continues=None):
    if continues is not None:
        continues = torch.arange(len(continues)) >= 20
    return scoring()(model, ids, mask, special, continues)


def nothing(*arguments):
    return None


WRONG = {
    "encode_pair": [
        (row_cut_at_the_end, "A mark was cut off"),
        (half_each, "gets half of the room"),
        (only_the_second_is_cut, "The second text is cut for the first"),
        (marks_not_counted, "Do the three marks count?"),
        (cut_at_the_start, "A text lost its first tokens"),
        (second_cls, "There is a [CLS] before the second text"),
        (separator_in_the_second_segment, "It closes the first text"),
        (segments_of_words_only, "Marks have segments too"),
        (last_mark_missing, "The last [SEP] is missing"),
        (own_marks, "use `cls` and `separator`"),
        (popped_in_place, "had 9 entries before the call"),
        (no_error, "should raise a ValueError, and gives a result"),
        (pops_from_nothing, "should raise a ValueError, and raises IndexError"),
        (in_proportion, "for texts of 2 and 9 tokens and max_length=8"),
        (one_longer_kept, "One token more has room"),
        (refuses_the_marks_alone, "stopped with ValueError"),
        (refuses_below_two, "with max_length=2 the three marks have no room; there"),
        (other_errors, "should raise a ValueError, and raises AssertionError"),
        (the_shorter_pays, "for texts of 2 and 9 tokens and max_length=8"),
        (ids_alone, "2 things should come back, the ids and the segments"),
        (nothing, "returned None"),
    ],
    "gradients": [
        (predicted(river_vector=False), "Is *river* at one of them"),
        (predicted(boat_vector=False), "Is *boat* in that sum"),
        (predicted(boat_vector_untied=True), "table of its own at the end"),
        (predicted(boat_bias=False), "Every logit has a bias"),
        (predicted(padding_vector=False), "where else are the word vectors used"),
        (predicted(padding_position=True), "Which real place could have read"),
        (predicted(second_segment=False), "belong to segment 1"),
        (predicted(river_first_state=False), "in the first layer"),
        (predicted(river_last_state=True), "After the last layer"),
        (predicted(key_bias=True), "Does the softmax notice"),
        (predicted(key_bias="False"), "without quotes"),
        (predicted(boat_bias=None), "there are two answers"),
    ],
    "mended_mask_exactly": [
        (broken_as_given, "is one of `special`, which are never chosen"),
        (
            masking(apart=lambda ids, special: ids == special[0]),
            "the id 17 has a label and is one of `special`",
        ),
        (
            masking(
                count=lambda rate, available, length: torch.full_like(
                    available, max(1, round(rate * length))
                )
            ),
            "counted from the length of the row",
        ),
        (
            masking(count=lambda rate, available, length: (rate * available).round()),
            "There should be at least one",
        ),
        (
            masking(
                count=lambda rate, available, length: (
                    (rate * available).floor().clamp(min=1)
                )
            ),
            "rounded down",
        ),
        (
            masking(count=lambda rate, available, length: (rate * available).ceil()),
            "rounded up",
        ),
        (coins, "is fixed by the text"),
        (masking(own_rate=0.15), "Is the argument `rate` used?"),
        (masking(two_throws=True), "The second throw only counts"),
        (masking(hidden_share=1.0), "All of them show [MASK]"),
        (masking(words_from_all=True), "is put in the place of a word"),
        (masking(one_word=True), "Draw a new word for each token"),
        (masking(fixed_order=True), "two calls in a row choose the same tokens"),
        (masking(label_of_shown=True), "A label is the original id"),
        (masking(in_place=True), "`ids` was 11"),
        (masking(spoil=True), "the text is spoilt"),
        (masking(seed="global"), "Give `generator` to every draw"),
        (masking(seed=0), "do not seed it anew"),
        (some_other_way(choose=a_run_of_tokens), "both to be guessed"),
        (some_other_way(choose=one_ranking_for_all), "Draw for each text anew"),
        (
            some_other_way(
                fate=lambda throw, rank, wanted: (
                    0.9 * (rank >= (0.8 * wanted).round()) + 0.1 * (throw > 0.5)
                )
            ),
            "shown as [MASK]",
        ),
        (
            some_other_way(fate=lambda throw, rank, wanted: throw[:, :1] + 0 * throw),
            "Each must be drawn by itself",
        ),
        (
            some_other_way(fate=lambda throw, rank, wanted: throw[:1] + 0 * throw),
            "how a token is shown and its place depend on each other",
        ),
        (
            some_other_way(
                pick=lambda numbers, ids, words: (
                    (torch.searchsorted(words, ids) + 1) % len(words)
                )
            ),
            "lies behind the one that was there",
        ),
        (
            some_other_way(
                pick=lambda numbers, ids, words: numbers.clamp(max=len(words) - 2)
            ),
            "the words put in another's place",
        ),
        (
            some_other_way(
                pick=lambda numbers, ids, words: numbers[:, :1].expand(ids.shape)
            ),
            "two words put into the same text depend on each other",
        ),
        (shown_alone, "2 things should come back, what is shown and the labels"),
    ],
    "choose_words": [
        (each_piece, "A word is chosen as a whole"),
        (first_pieces_only, "the choice is [True, False"),
        (special_too, "the special id 1 is chosen"),
        (by_any, "any of its pieces will do"),
        (by_all, "only where each of its pieces is"),
        (same_in_every_text, "in one text and the next"),
        (wrong_way_round, "where its draw is *below* `rate`"),
        (above_the_rate, "where its draw is *below* `rate`"),
        (loose_pieces_left_out, "Pieces right behind a special token are left out"),
        (rate_fixed, "at rate 0.0 for a text of words"),
        (as_integers, "it should hold booleans"),
        (torchs_own_chance, "Give `generator` to every draw"),
        (seeded_anew, "do not seed it anew"),
        (by_id, "that are chosen"),
        (one_draw_a_text, "a word's choice and its neighbour's depend"),
        (a_fixed_number_of_words, "to have a draw of its own"),
        (over_the_marks, "pieces behind a special token and of the word before it"),
        (sizes_of_the_first_call(), "stopped with RuntimeError at `return"),
        (one_draw_too_few, "stopped with RuntimeError"),
        (nothing, "returned None"),
    ],
    "mended_embed": [
        (embedding(model_sees=False), "the model itself reads padding"),
        (embedding(pooled="zeros counted"), "and then counted"),
        (
            embedding(model_sees=False, pooled="zeros counted"),
            "Both faults are still there",
        ),
        (embedding(pooled="all"), "The states of padding are in the mean"),
        (embedding(model_sees=False, pooled="all"), "and is in the mean too"),
        (embedding(pooled="sum"), "not divided"),
        (embedding(pooled="first"), "the state of the first token"),
        (embedding(pooled="largest"), "the largest of each number"),
        (embedding(pooled="batch"), "a number of its own"),
        (embedding(normal=True), "The mean itself is asked for"),
        (
            embedding(model_sees=False, pooled="zeros counted", normal=True),
            "and the model still reads padding",
        ),
        (embedding(pooled="no clamp"), "divide by at least 1"),
        (embedding(pooled="tokens"), "it should be (3, 16)"),
        (embedding(pooled="over texts"), "it should be (3, 16)"),
        (evaluates, "was in `train()` mode before the call"),
        (for_this_padding, "with padding on the left"),
        (zero_by_product, "stopped with RuntimeError at"),
        (mask_in_place, "`ids` was 13 at [1, 7] before the call"),
    ],
    "token_scores": [
        (scoring(hidden=lambda *arguments: []), "in sight when it is guessed"),
        (
            scoring(hidden=lambda ids, place, continues, ordinary: ordinary),
            "hidden at once",
        ),
        (
            scoring(hidden=lambda ids, place, continues, ordinary: [place]),
            "`continues` has no effect",
        ),
        (scoring(hidden=whole_word), "The whole word is hidden"),
        (scoring(hidden=pieces_before), "the other way round"),
        (scoring(hidden=next_piece_only), "A word may have more"),
        (scoring(hidden=all_behind), "without `continues` only the token itself"),
        (scoring(hidden=all_behind_with_words_only), "Only the rest of its word"),
        (scoring(hidden=past_the_end), "stopped with IndexError at `while"),
        (scoring(after=lambda logits: logits), "the softmax is missing"),
        (
            scoring(after=lambda logits: logits.softmax(dim=-1)),
            "These are probabilities",
        ),
        (scoring(sign=-1.0), "these are losses"),
        (scoring(after=lambda logits: logits.softmax(dim=-1).log2()), "to the base 2"),
        (scoring(own_mask=3), "whatever `mask` says"),
        (scoring(own_special=()), "The tokens in `special` have a score too"),
        (scoring(own_special=(0, 1, 2, 3)), "whatever `special` says"),
        (two_layers_of_marks, "for the ids [8, 23, 26, 27]"),
        (evaluates_first, "was in `train()` mode before the call"),
        (tied_to_the_vocabulary, "with other `continues`"),
        (scoring(short=True), "have a place in it too"),
        (scoring(total=True), "one number came back"),
        (scoring(one_at_a_time=True), "into one batch"),
        (scoring(read_at=1), "read one place beside the one"),
        (scoring(in_place=True), "All tokens are hidden at once"),
        (nothing, "returned None"),
    ],
}
