"""Right but unusual answers to chapter 08's exercises: none may be refused."""

import numpy as np
import torch

PREDICTED = (True, True, False, True, True, False, True, True, False, False)


def row(first, second, cls, separator):
    ids = (cls, *first, separator, *second, separator)
    return ids, (0,) * (len(first) + 2) + (1,) * (len(second) + 1)


def by_arithmetic(first, second, max_length, cls=101, separator=102):
    """Tuples; the second text gets what is left over."""
    room = max_length - 3
    if room < 0:
        raise ValueError(max_length)
    one = min(len(first), max(room // 2, room - len(second)))
    return row(first[:one], second[: room - one], cls, separator)


def first_gets_more(first, second, max_length, cls=101, separator=102):
    if max_length <= 2:
        raise ValueError("three marks")
    room = max_length - 3
    two = min(len(second), max(room // 2, room - len(first)))
    ids, segments = row(first[: room - two], second[:two], cls, separator)
    return list(ids), list(segments)


def from_the_mean_down(first, second, max_length, cls=101, separator=102):
    """Numbers of numpy; all lengths are tried from the longest."""
    if max_length < 3:
        raise ValueError
    kept = max(len(first), len(second))
    while min(len(first), kept) + min(len(second), kept) > max_length - 3:
        kept -= 1
    left = max_length - 3 - min(len(first), kept) - min(len(second), kept)
    one = kept + 1 if left and len(first) > kept else kept
    two = kept + 1 if left and one == kept else kept
    ids, segments = row(first[:one], second[:two], cls, separator)
    return [*np.array(ids)], [*np.array(segments)]


def row_by_row(ids, vocabulary, special, mask, generator, rate=0.15):
    """Plain Python; a random word is another one than was there."""
    words = [n for n in range(vocabulary) if n not in special]
    shown, labels = ids.tolist(), torch.full_like(ids, -100).tolist()

    def die():
        return torch.rand((), generator=generator).item()

    for number, row in enumerate(ids.tolist()):
        places = [n for n, word in enumerate(row) if word not in special]
        count = min(len(places), max(1, round(rate * len(places))))
        order = torch.randperm(len(places), generator=generator).tolist()
        for place in (places[n] for n in order[:count]):
            labels[number][place] = row[place]
            fate = die()
            if fate < 0.8:
                shown[number][place] = mask
            elif fate < 0.9:
                others = [word for word in words if word != row[place]]
                shown[number][place] = others[int(die() * len(others))]
    return torch.tensor(shown), torch.tensor(labels)


def by_multinomial(ids, vocabulary, special, mask, generator, rate=0.15):
    """A list of two; half up; one draw of three outcomes."""
    ordinary = ~torch.isin(ids, torch.tensor(special))
    chosen = torch.zeros_like(ordinary)
    for row, weights in zip(chosen, ordinary.double(), strict=True):
        many = int(weights.sum())
        if many:
            count = max(1, int(rate * many + 0.5))
            row[torch.multinomial(weights, count, generator=generator)] = True
    shares = torch.tensor([0.8, 0.1, 0.1])
    kind = torch.multinomial(shares, ids.numel(), True, generator=generator)
    kind = kind.view(ids.shape)
    allowed = torch.ones(vocabulary).index_fill(0, torch.tensor(special), 0.0)
    words = torch.multinomial(allowed, ids.numel(), True, generator=generator)
    shown = ids.clone()
    shown[chosen & (kind == 0)] = mask
    shown = torch.where(chosen & (kind == 1), words.view(ids.shape), shown)
    return [shown, ids.masked_fill(~chosen, -100)]


def by_threshold(ids, vocabulary, special, mask, generator, rate=0.15):
    """The draws are compared with the count-th smallest of each row."""
    ordinary = torch.tensor([[n not in special for n in row] for row in ids.tolist()])
    many = ordinary.sum(dim=1, keepdim=True)
    count = torch.maximum((rate * many.double()).round(), torch.ones(1)).long()
    count = torch.minimum(count, many)
    draws = torch.rand(ids.shape, generator=generator, dtype=torch.float64)
    draws[~ordinary] = 9.0
    smallest = draws.sort(dim=1).values.gather(1, (count - 1).clamp(min=0))
    chosen = (draws <= smallest) & ordinary
    die = torch.randint(10, ids.shape, generator=generator)
    words = torch.tensor(sorted(set(range(vocabulary)) - set(special)))
    picks = words[(torch.rand(ids.shape, generator=generator) * len(words)).long()]
    shown = torch.where(chosen & (die < 8), torch.full_like(ids, mask), ids)
    shown = torch.where(chosen & (die == 9), picks, shown)
    return shown, torch.where(chosen, ids, torch.full_like(ids, -100))


def word_by_word(ids, continues, special, rate, generator):
    """Plain Python."""
    chosen = torch.zeros(ids.shape, dtype=torch.bool)
    for number, row in enumerate(ids.tolist()):
        lucky, inside = False, False
        for place, word in enumerate(row):
            if word in special:
                inside = False
                continue
            if not inside or not continues[word]:
                lucky = torch.rand((), generator=generator).item() < rate
            inside = True
            chosen[number, place] = lucky
    return chosen


def by_bernoulli(ids, continues, special, rate, generator):
    word = (~continues[ids]).long().cumsum(dim=1)
    coins = torch.full((len(ids), ids.size(1) + 3), rate).bernoulli(generator=generator)
    chosen = torch.gather(coins, 1, word).bool()
    for number in special:
        chosen = chosen & (ids != number)
    return chosen


def spread_from_the_first(ids, continues, special, rate, generator):
    """A draw for each place; pieces take over that of the place before them."""
    apart = torch.isin(ids, torch.tensor(list(special)))
    chosen = torch.rand(ids.shape, generator=generator, dtype=torch.float64) < rate
    for place in range(1, ids.size(1)):
        goes_on = continues[ids[:, place]] & ~apart[:, place - 1]
        chosen[:, place] = torch.where(goes_on, chosen[:, place - 1], chosen[:, place])
    return chosen & ~apart


@torch.no_grad()
def by_weights(model, ids, mask):
    real = mask.to(torch.float32)
    weights = real / real.sum(dim=1, keepdim=True).clamp(min=1)
    states = model(ids, mask)
    return torch.einsum("bt,btc->bc", weights.to(states), states.nan_to_num(0.0))


def text_by_text(model, ids, mask):
    """With gradients; each row by itself."""
    vectors = []
    for row, real in zip(ids, mask.bool(), strict=True):
        states = model(row[None], real[None])[0][real]
        vectors.append(
            states.mean(dim=0) if len(states) else model(row[None])[0, 0] * 0
        )
    return torch.stack(vectors)


@torch.no_grad()
def by_the_last_of_all_states(model, ids, mask):
    states = model(ids, mask.long(), return_hidden_states=True)[-1]
    sums = torch.where(mask.bool()[..., None], states, torch.zeros(())).sum(-2)
    return sums / mask.long().sum(-1).maximum(torch.tensor(1))[:, None]


@torch.no_grad()
def all_places(model, ids, mask=3, special=(0, 1, 2, 3), continues=None):
    """A copy for every place, special ones too, of which the scores are thrown away."""
    size = len(ids)
    hidden = torch.eye(size, dtype=torch.bool)
    if continues is not None:
        for place in range(size):
            for behind in range(place + 1, size):
                if not continues[ids[behind]]:
                    break
                hidden[place, behind] = True
    rows = torch.where(hidden, mask, ids)
    logits = model(rows, torch.ones_like(rows)).diagonal(dim1=0, dim2=1).T
    scores = logits.double().log_softmax(-1)[torch.arange(size), ids]
    return scores * torch.tensor([float(n not in special) for n in ids.tolist()])


def by_cross_entropy(model, ids, mask=3, special=(0, 1, 2, 3), continues=None):
    """With gradients."""
    numbers = ids.tolist()
    places = [place for place, number in enumerate(numbers) if number not in special]
    if not places:
        return ids * 0.0
    rows = []
    for place in places:
        row, hide = list(numbers), place
        while True:
            row[hide] = mask
            hide += 1
            if continues is None or hide == len(row) or not continues[numbers[hide]]:
                break
        rows.append(row)
    logits = model(torch.tensor(rows))
    scores = torch.zeros(len(ids))
    for number, place in enumerate(places):
        scores[place] = -torch.nn.functional.cross_entropy(
            logits[number, place], ids[place]
        )
    return scores


@torch.no_grad()
def as_an_array(model, ids, mask=3, special=(0, 1, 2, 3), continues=None):
    return all_places(model, ids, mask, special, continues).numpy()


RIGHT = {
    "encode_pair": [by_arithmetic, first_gets_more, from_the_mean_down],
    "gradients": [
        PREDICTED,
        tuple(map(np.bool_, PREDICTED)),
        tuple(value is True for value in PREDICTED),
    ],
    "mended_mask_exactly": [row_by_row, by_multinomial, by_threshold],
    "choose_words": [word_by_word, by_bernoulli, spread_from_the_first],
    "mended_embed": [by_weights, text_by_text, by_the_last_of_all_states],
    "token_scores": [all_places, by_cross_entropy, as_an_array],
}
