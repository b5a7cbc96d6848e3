"""Wrong answers to chapter 07's exercises, each with a part of its diagnosis."""

import heapq
import math

import torch
import torch.nn.functional as F

from finetuning.scratch.attention import merge_heads, split_heads
from finetuning.scratch.layers import sinusoidal_positions

# 7.1

MEMORY = [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def matrices(**wrong):
    """The right matrices, but for those given, in the check's order."""
    right = {
        "source_to_memory": MEMORY,
        "source_to_output": [[1, 1, 1, 0]] * 3,
        "target_to_memory": [[0, 0, 0]] * 4,
        "target_to_output": [[1, 0, 0], [1, 1, 0], [1, 1, 1]],
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


def shown(**wrong):
    """The right sets, but for those that are given."""
    right = {
        "no_causal_mask": {"target_to_output"},
        "causal_encoder": {"source_to_memory"},
        "encoder_sees_padding": {"source_to_memory", "source_to_output"},
        "cross_sees_padding": {"source_to_output"},
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


# 7.2


def counted(
    embeddings=1,
    attention_maps=4,
    attention_bias=1,
    feed_forward_bias=1,
    norms=(2, 3),
    norm_vectors=2,
    final_norms=0,
    attentions=(1, 2),
    per_head=False,
    output_bias=0,
    hidden_of_width=False,
    every_layer=True,
):
    """A count with mistakes: those that are given."""

    def parameters(vocabulary, width, heads, hidden, layers):
        hidden = 4 * width if hidden_of_width else hidden
        attention = (
            attention_maps
            * (width * width + attention_bias * width)
            * (heads if per_head else 1)
        )
        feed_forward = 2 * width * hidden + feed_forward_bias * (hidden + width)
        norm = norm_vectors * width
        stacks = sum(
            count * attention + feed_forward + many * norm
            for count, many in zip(attentions, norms, strict=True)
        )
        layers = layers if every_layer else 1
        ends = (
            embeddings * vocabulary * width
            + output_bias * vocabulary
            + final_norms * norm
        )
        return ends + layers * stacks

    return parameters


def encoder_twice(vocabulary, width, heads, hidden, layers):
    layer = (
        4 * (width * width + width) + 2 * width * hidden + hidden + width + 4 * width
    )
    return vocabulary * width + 2 * layers * layer


def base_written_in(vocabulary, width, heads, hidden, layers):
    return 63_082_496


def two_mistakes(vocabulary, width, heads, hidden, layers):
    right = counted()(vocabulary, width, heads, hidden, layers)
    return right + 2 * vocabulary * width + 4 * width


def six_layers(vocabulary, width, heads, hidden, layers):
    return counted()(vocabulary, width, heads, hidden, 6)


def cross_attention_in_the_encoder(vocabulary, width, heads, hidden, layers):
    return counted(attentions=(2, 2))(vocabulary, width, heads, hidden, layers)


# 7.3

PADDING = 0


def losses(model, batches, **how):
    for source, inputs, labels in batches:
        logits = model(source, inputs)
        yield F.cross_entropy(logits.flatten(0, 1), labels.flatten(), **how), labels


def still_broken(model, batches):
    total = 0.0
    for loss, _ in losses(model, batches):
        (loss / len(batches)).backward()
        total += loss.item() / len(batches)
    return total


def padding_counts(model, batches):
    tokens = sum(labels.numel() for *_, labels in batches)
    total = 0.0
    for loss, _ in losses(model, batches, reduction="sum"):
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


def mean_of_means(model, batches):
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING):
        (loss / len(batches)).backward()
        total += loss.item() / len(batches)
    return total


def summed_means(model, batches):
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING):
        loss.backward()
        total += loss.item()
    return total


def weighted_by_sentences(model, batches):
    sentences = sum(len(labels) for *_, labels in batches)
    total = 0.0
    for loss, labels in losses(model, batches, ignore_index=PADDING):
        (loss * len(labels) / sentences).backward()
        total += loss.item() * len(labels) / sentences
    return total


def divided_by_places(model, batches):
    places = sum(labels.numel() for *_, labels in batches)
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        (loss / places).backward()
        total += loss.item() / places
    return total


def divided_by_sentences(model, batches):
    sentences = sum(len(labels) for *_, labels in batches)
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        (loss / sentences).backward()
        total += loss.item() / sentences
    return total


def only_summed(model, batches):
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        loss.backward()
        total += loss.item()
    return total


def set_to_zero_between(model, batches):
    tokens = sum(int((labels != PADDING).sum()) for *_, labels in batches)
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        model.zero_grad()
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


def all_graphs_at_once(model, batches):
    tokens = sum(int((labels != PADDING).sum()) for *_, labels in batches)
    loss = (
        sum(
            loss
            for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum")
        )
        / tokens
    )
    loss.backward()
    return loss.item()


def means_weighted_by_tokens(model, batches):
    """Right, but for a batch that is nothing but padding: 0/0 times 0."""
    tokens = sum(int((labels != PADDING).sum()) for *_, labels in batches)
    total = 0.0
    for loss, labels in losses(model, batches, ignore_index=PADDING):
        share = (labels != PADDING).sum() / tokens
        (loss * share).backward()
        total += (loss * share).item()
    return total


def last_loss_returned(model, batches):
    tokens = sum(int((labels != PADDING).sum()) for *_, labels in batches)
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        (loss / tokens).backward()
    return (loss / tokens).item()


def sentences_alike(model, batches):
    sentences = sum(len(labels) for *_, labels in batches)
    total = 0.0
    for source, inputs, labels in batches:
        each = F.cross_entropy(
            model(source, inputs).transpose(1, 2),
            labels,
            ignore_index=PADDING,
            reduction="none",
        )
        loss = (each.sum(dim=1) / (labels != PADDING).sum(dim=1)).sum() / sentences
        loss.backward()
        total += loss.item()
    return total


def shifted_again(model, batches):
    tokens = sum(int((labels[:, 1:] != PADDING).sum()) for *_, labels in batches)
    batches = [
        (source, inputs[:, :-1], labels[:, 1:]) for source, inputs, labels in batches
    ]
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


def batches_joined(model, batches):
    def joined(parts):
        longest = max(part.size(1) for part in parts)
        return torch.cat([F.pad(part, (0, longest - part.size(1))) for part in parts])

    return padding_left_out(
        model, [tuple(joined(parts) for parts in zip(*batches, strict=True))]
    )


def padding_left_out(model, batches):
    """Right."""
    tokens = sum(int((labels != PADDING).sum()) for *_, labels in batches)
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


def step_taken(model, batches):
    loss = padding_left_out(model, batches)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return loss


def backward_forgotten(model, batches):
    tokens = sum(int((labels != PADDING).sum()) for *_, labels in batches)
    return (
        sum(
            loss.item()
            for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum")
        )
        / tokens
    )


def right_padding_only(model, batches):
    """Counts the labels up to the first padding."""
    tokens = 0
    parts = []
    for source, inputs, labels in batches:
        real = (labels == PADDING).long().cumsum(dim=1) == 0
        tokens += int(real.sum())
        parts.append((source, inputs, labels.masked_fill(~real, PADDING)))
    total = 0.0
    for loss, _ in losses(model, parts, ignore_index=PADDING, reduction="sum"):
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


def padded_sources_count(model, batches):
    tokens = sum(int((source != PADDING).sum()) for source, *_ in batches)
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


def labels_changed(model, batches):
    for _, _, labels in batches:
        labels[labels == PADDING] = -100
    tokens = sum(int((labels != -100).sum()) for *_, labels in batches)
    total = 0.0
    for loss, _ in losses(model, batches, reduction="sum"):
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


def left_in_eval(model, batches):
    model.eval()
    return padding_left_out(model, batches)


def sentence_by_sentence(model, batches):
    rows = [
        tuple(part[row : row + 1] for part in batch)
        for batch in batches
        for row in range(len(batch[0]))
    ]
    return padding_left_out(model, rows)


def loss_not_divided(model, batches):
    tokens = sum(int((labels != PADDING).sum()) for *_, labels in batches)
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        (loss / tokens).backward()
        total += loss.item()
    return total


def mean_of_means_returned(model, batches):
    tokens = sum(int((labels != PADDING).sum()) for *_, labels in batches)
    total = 0.0
    for loss, labels in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        (loss / tokens).backward()
        total += loss.item() / int((labels != PADDING).sum().clamp(min=1))
    return total / len(batches)


def backward_too_early(model, batches):
    tokens = sum(int((labels != PADDING).sum()) for *_, labels in batches)
    total = 0.0
    for loss, _ in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        loss.backward()
        total += loss.item() / tokens
    return total


def divided_by_tokens_so_far(model, batches):
    total, tokens = 0.0, 0
    for loss, labels in losses(model, batches, ignore_index=PADDING, reduction="sum"):
        tokens += int((labels != PADDING).sum())
        (loss / max(tokens, 1)).backward()
        total += loss.item() / max(tokens, 1)
    return total


def nothing_returned(model, batches):
    padding_left_out(model, batches)


def first_two_batches(model, batches):
    return padding_left_out(model, batches[:2])


def gradient_doubled(model, batches):
    loss = padding_left_out(model, batches)
    for parameter in model.parameters():
        parameter.grad *= 2
    return loss


# 7.4


def absolute_threshold(logits, min_p):
    return logits.masked_fill(logits.softmax(dim=-1) < min_p, -math.inf)


def one_largest_for_all(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < min_p * probabilities.max(), -math.inf)


def factor_on_logits(logits, min_p):
    return logits.masked_fill(
        logits < min_p * logits.amax(dim=-1, keepdim=True), -math.inf
    )


def wrong_way_round(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(
        probabilities >= min_p * probabilities.amax(dim=-1, keepdim=True), -math.inf
    )


def set_to_zero(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(
        probabilities < min_p * probabilities.amax(dim=-1, keepdim=True), 0.0
    )


def in_place(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    logits[probabilities < min_p * probabilities.amax(dim=-1, keepdim=True)] = -math.inf
    return logits


def probabilities_returned(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    kept = torch.where(
        probabilities < min_p * probabilities.amax(dim=-1, keepdim=True),
        -math.inf,
        probabilities,
    )
    return kept


def top_p_instead(logits, min_p):
    ordered, places = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = torch.zeros_like(logits, dtype=torch.bool).scatter(
        -1, places, before < 1 - min_p
    )
    return logits.masked_fill(~kept, -math.inf)


def exponential_alone(logits, min_p):
    probabilities = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    threshold = min_p * probabilities.amax(dim=-1, keepdim=True)
    return torch.where(probabilities >= threshold, logits, -math.inf)


def log_probabilities_returned(logits, min_p):
    scores = logits.log_softmax(dim=-1)
    return scores.masked_fill(
        scores < scores.amax(dim=-1, keepdim=True) + math.log(max(min_p, 1e-30)),
        -math.inf,
    )


def softmax_over_rows(logits, min_p):
    probabilities = logits.softmax(dim=0)
    return logits.masked_fill(
        probabilities < min_p * probabilities.amax(dim=0, keepdim=True), -math.inf
    )


def at_least_forgotten(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    kept = probabilities > min_p * probabilities.amax(dim=-1, keepdim=True)
    return torch.where(kept, logits, -math.inf)


def a_billion_below(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(
        probabilities < min_p * probabilities.amax(dim=-1, keepdim=True), -1e9
    )


def mask_returned(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    return probabilities >= min_p * probabilities.amax(dim=-1, keepdim=True)


def renormalised(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    probabilities[probabilities < min_p * probabilities.amax(-1, keepdim=True)] = 0
    return probabilities / probabilities.sum(dim=-1, keepdim=True)


def below_the_largest(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    threshold = probabilities.amax(dim=-1, keepdim=True) - min_p
    return logits.masked_fill(probabilities < threshold, -math.inf)


def one_minus(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    threshold = (1 - min_p) * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probabilities < threshold, -math.inf)


def only_two_axes(logits, min_p):
    rows = []
    for row in logits.view(-1, logits.shape[-1]):
        shares = row.softmax(0)
        rows.append(row.masked_fill(shares < min_p * shares.max(), -math.inf))
    return torch.stack(rows)


def forty_tokens(logits, min_p):
    shares = logits.softmax(dim=-1)
    largest = shares[..., :12].amax(dim=-1, keepdim=True)
    return logits.masked_fill(shares < min_p * largest, -math.inf)


def filtered_comes_back(logits, min_p):
    finite = logits.masked_fill(logits == -math.inf, 0.0)
    shares = finite.softmax(dim=-1)
    return finite.masked_fill(shares < min_p * shares.amax(-1, keepdim=True), -math.inf)


def logarithm_added(logits, min_p):
    largest = logits.amax(dim=-1, keepdim=True)
    return logits.masked_fill(logits < largest + min_p, -math.inf)


def in_float32(logits, min_p):
    logits = logits.float()
    shares = logits.softmax(dim=-1)
    return logits.masked_fill(shares < min_p * shares.amax(-1, keepdim=True), -math.inf)


def largest_subtracted(logits, min_p):
    logits = logits - logits.amax(dim=-1, keepdim=True)
    return logits.masked_fill(logits.exp() < min_p, -math.inf)


def smallest(logits, min_p):
    shares = logits.softmax(dim=-1)
    return logits.masked_fill(shares < min_p / logits.size(-1), -math.inf)


# 7.5


def log_probabilities(next_logits, tokens):
    return next_logits(torch.tensor([tokens]))[0].log_softmax(dim=-1)


def logits_as_they_are(next_logits, tokens):
    return next_logits(torch.tensor([tokens]))[0]


def greedy_sentence(next_logits, start, end, max_length):
    tokens, score = [], 0.0
    while len(tokens) < max_length and end not in tokens:
        scores = log_probabilities(next_logits, [start, *tokens])
        tokens.append(int(scores.argmax()))
        score += float(scores.max())
    return tokens, score


def beam_of_two(next_logits, start, end, max_length):
    alive, done = [(0.0, [])], []
    for _ in range(max_length):
        longer = [
            (score + more, [*tokens, token])
            for score, tokens in alive
            for token, more in enumerate(
                log_probabilities(next_logits, [start, *tokens]).tolist()
            )
        ]
        longer = sorted(longer, reverse=True)[:4]
        done += [pair for pair in longer if pair[1][-1] == end]
        alive = [pair for pair in longer if pair[1][-1] != end][:2]
    score, tokens = max(done)
    return tokens, score


def everything(
    next_logits,
    start,
    end,
    max_length,
    key=lambda score, tokens: score,
    scores=log_probabilities,
):
    """Try every sentence there is."""
    best, best_key = None, -math.inf
    open_ = [(0.0, [])]
    while open_:
        score, tokens = open_.pop()
        for token, more in enumerate(scores(next_logits, [start, *tokens]).tolist()):
            if more == -math.inf:
                continue
            longer = (score + more, [*tokens, token])
            if token == end:
                if key(*longer) > best_key:
                    best, best_key = longer, key(*longer)
            elif len(tokens) + 1 < max_length:
                open_.append(longer)
    return best[1], best[0]


def largest_sum_of_logits(next_logits, start, end, max_length):
    return everything(next_logits, start, end, max_length, scores=logits_as_they_are)


def best_per_token(next_logits, start, end, max_length):
    return everything(
        next_logits, start, end, max_length, lambda score, tokens: score / len(tokens)
    )


def best_first(
    stop_when_found=False, allowed=0, prefix_counts=False, returned=lambda t, s: (t, s)
):
    """The right search, with mistakes."""

    def most_likely(next_logits, start, end, max_length):
        heap = [(0.0, [])]
        while heap:
            cost, tokens = heapq.heappop(heap)
            if tokens and tokens[-1] == end:
                return returned(tokens, -cost)
            if len(tokens) == max_length + allowed:
                if prefix_counts:
                    return returned(tokens, -cost)
                continue
            logits = next_logits(torch.tensor([[start, *tokens]]))[0]
            for token, more in enumerate(logits.log_softmax(dim=-1).tolist()):
                if more == -math.inf:
                    continue
                if token == end and stop_when_found:
                    return returned([*tokens, end], more - cost)
                heapq.heappush(heap, (cost - more, [*tokens, token]))
        return None

    return most_likely


def start_returned(next_logits, start, end, max_length):
    tokens, score = best_first()(next_logits, start, end, max_length)
    return [start, *tokens], score


def start_forgotten(next_logits, start, end, max_length):
    return best_first()(
        lambda tokens: next_logits(tokens[:, 1:]), start, end, max_length
    )


def one_row_forgotten(next_logits, start, end, max_length):
    return best_first()(
        lambda tokens: next_logits(tokens[0])[None], start, end, max_length
    )


def end_written_in(next_logits, start, end, max_length):
    return best_first()(next_logits, 0, 1, max_length)


def four_tokens_only(next_logits, start, end, max_length):
    return best_first()(next_logits, start, end, min(max_length, 4))


def beam_of(width):
    def most_likely(next_logits, start, end, max_length):
        alive, done = [(0.0, [])], []
        for _ in range(max_length):
            longer = [
                (score + more, [*tokens, token])
                for score, tokens in alive
                for token, more in enumerate(
                    log_probabilities(next_logits, [start, *tokens]).tolist()
                )
            ]
            longer = sorted(longer, reverse=True)[: 2 * width]
            done += [pair for pair in longer if pair[1][-1] == end]
            alive = [pair for pair in longer if pair[1][-1] != end][:width]
        score, tokens = max(done)
        return tokens, score

    return most_likely


def in_bits(tokens, score):
    return tokens, score / math.log(2)


def end_not_scored(next_logits, start, end, max_length):
    tokens, score = best_first()(next_logits, start, end, max_length)
    last = log_probabilities(next_logits, [start, *tokens[:-1]])[end]
    return tokens, score - float(last)


def longer_one(next_logits, start, end, max_length):
    """The second best."""
    _, score = best_first()(next_logits, start, end, max_length)
    return [token for token in range(2, 4) if token != end] + [end], score


# 7.6


def extended(mask, offset=True, keep=True, local=False, new_first=False):
    """The mended function, with another mask (past, new) or another mistake."""

    def extend(model, tokens, cache):
        if local:
            cache = list(cache)
        past = 0 if cache[0] is None else cache[0][0].size(1)
        new, width = tokens.size(1), model.embedding.embedding_dim
        begin = past if offset else 0
        x = model.embedding(tokens) + sinusoidal_positions(begin + new, width)[begin:]
        for number, layer in enumerate(model.layers):
            new_key, new_value = key, value = layer.key(x), layer.value(x)
            if cache[number] is not None:
                order = -1 if new_first else 1
                key = torch.cat([cache[number][0], key][::order], dim=1)
                value = torch.cat([cache[number][1], value][::order], dim=1)
            cache[number] = (key, value) if keep else (new_key, new_value)
            query, keys, values = (
                split_heads(t, layer.heads) for t in (layer.query(x), key, value)
            )
            found = F.scaled_dot_product_attention(
                query, keys, values, attn_mask=mask(past, new)
            )
            x = x + layer.output(merge_heads(found))
        return model.output(x)

    return extend


def ones(past, new):
    return torch.ones(new, past + new, dtype=torch.bool)


def top_left(past, new):
    return ones(past, new).tril()


def top_left_for_several(past, new):
    return top_left(past, new) if new > 1 else None


def none_once_begun(past, new):
    return None if past else top_left(past, new)


def new_alone(past, new):
    return ones(past, new).tril(past) & (torch.arange(past + new) >= past)


def right_window(past, new):
    return ones(past, new).tril(past)


def whole_text_again(model, tokens, cache):
    """Keeps the tokens beside the cache, and runs everything again each time."""
    seen = tokens if cache[0] is None else torch.cat([model.seen, tokens], dim=1)
    model.seen = seen
    x = model.embedding(seen) + sinusoidal_positions(
        seen.size(1), model.embedding.embedding_dim
    )
    for number, layer in enumerate(model.layers):
        cache[number] = (layer.key(x), layer.value(x))
        query, key, value = (
            split_heads(t, layer.heads) for t in (layer.query(x), *cache[number])
        )
        x = x + layer.output(
            merge_heads(
                F.scaled_dot_product_attention(query, key, value, is_causal=True)
            )
        )
    return model.output(x)[:, -tokens.size(1) :]


def first_two_layers(model, tokens, cache):
    """The number of layers written in."""
    past = 0 if cache[0] is None else cache[0][0].size(1)
    new, width = tokens.size(1), model.embedding.embedding_dim
    x = model.embedding(tokens) + sinusoidal_positions(past + new, width)[past:]
    for number, layer in enumerate(model.layers[:2]):
        key, value = layer.key(x), layer.value(x)
        if cache[number] is not None:
            key = torch.cat([cache[number][0], key], 1)
            value = torch.cat([cache[number][1], value], 1)
        cache[number] = (key, value)
        parts = (split_heads(t, layer.heads) for t in (layer.query(x), key, value))
        mask = right_window(past, new)
        found = F.scaled_dot_product_attention(*parts, attn_mask=mask)
        x = x + layer.output(merge_heads(found))
    return model.output(x)


def values_first(model, tokens, cache):
    pairs = [None if pair is None else pair[::-1] for pair in cache]
    result = extended(right_window)(model, tokens, pairs)
    cache[:] = [pair[::-1] for pair in pairs]
    return result


def heads_in_the_cache(model, tokens, cache):
    pairs = [None if pair is None else tuple(map(merge_heads, pair)) for pair in cache]
    result = extended(right_window)(model, tokens, pairs)
    heads = model.layers[0].heads
    cache[:] = [tuple(split_heads(part, heads) for part in pair) for pair in pairs]
    return result


def last_logits_alone(model, tokens, cache):
    return extended(right_window)(model, tokens, cache)[:, -1:]


def left_in_train(model, tokens, cache):
    model.eval()
    return extended(right_window)(model, tokens, cache)


def two_heads(model, tokens, cache):
    before = [layer.heads for layer in model.layers]
    for layer in model.layers:
        layer.heads = 2
    try:
        return extended(right_window)(model, tokens, cache)
    finally:
        for layer, heads in zip(model.layers, before, strict=True):
            layer.heads = heads


def old_alone(past, new):
    if not past:
        return top_left(past, new)
    return ones(past, new) & (torch.arange(past + new) < past)


def all_new(past, new):
    return ones(past, new) & (torch.arange(past + new) >= past)


# 7.7


def chosen(accept, otherwise, one_number=False):
    """Keep a token with probability `accept(p, q)`; else draw from `otherwise`."""

    def speculative_choice(drafted, target, draft, generator):
        p, q = (t.gather(1, drafted[:, None])[:, 0] for t in (target, draft))
        random = torch.rand(1 if one_number else len(drafted), generator=generator)
        kept = random < accept(p, q)
        rest = torch.where(kept[:, None], target, otherwise(target, draft))
        other = torch.multinomial(rest, 1, generator=generator)[:, 0]
        return torch.where(kept, drafted, other)

    return speculative_choice


def ratio(p, q):
    return p / q


def missing(target, draft):
    return (target - draft).clamp(min=0)


def always_kept(drafted, target, draft, generator):
    return drafted.clone()


def never_kept(drafted, target, draft, generator):
    return torch.multinomial(target, 1, generator=generator)[:, 0]


def target_without_the_rejected(drafted, target, draft, generator):
    p, q = (t.gather(1, drafted[:, None])[:, 0] for t in (target, draft))
    kept = torch.rand(len(drafted), generator=generator) < p / q
    others = torch.multinomial(
        target.scatter(1, drafted[:, None], 0.0), 1, generator=generator
    )[:, 0]
    return torch.where(kept, drafted, others)


def most_probable(drafted, target, draft, generator):
    return target.argmax(dim=-1)


def most_probable_of_the_missing(drafted, target, draft, generator):
    p, q = (t.gather(1, drafted[:, None])[:, 0] for t in (target, draft))
    kept = torch.rand(len(drafted), generator=generator) < p / q
    return torch.where(kept, drafted, missing(target, draft).argmax(dim=-1))


def empty_rows(drafted, target, draft, generator):
    """What is missing is drawn for every row, also where nothing is missing."""
    p, q = (t.gather(1, drafted[:, None])[:, 0] for t in (target, draft))
    kept = torch.rand(len(drafted), generator=generator) < p / q
    other = torch.multinomial(missing(target, draft), 1, generator=generator)[:, 0]
    return torch.where(kept, drafted, other)


def generator_forgotten(drafted, target, draft, generator):
    return chosen(ratio, missing)(drafted, target, draft, None)


def draft_changed(drafted, target, draft, generator):
    result = chosen(ratio, missing)(drafted, target, draft, generator)
    target -= draft
    return result


def first_row_for_all(drafted, target, draft, generator):
    return chosen(ratio, missing)(
        drafted, target[:1].expand_as(target), draft[:1].expand_as(draft), generator
    )


def half_the_random_numbers(drafted, target, draft, generator):
    """Every random number is used for two rows."""
    p, q = (t.gather(1, drafted[:, None])[:, 0] for t in (target, draft))
    half = torch.rand((len(drafted) + 1) // 2, generator=generator)
    kept = half.repeat_interleave(2)[: len(drafted)] < p / q
    rest = torch.where(kept[:, None], target, missing(target, draft))
    other = torch.multinomial(rest, 1, generator=generator)[:, 0]
    return torch.where(kept, drafted, other)


def mirrored_random_numbers(drafted, target, draft, generator):
    p, q = (t.gather(1, drafted[:, None])[:, 0] for t in (target, draft))
    half = torch.rand((len(drafted) + 1) // 2, generator=generator)
    kept = torch.cat([half, 1 - half])[: len(drafted)] < p / q
    rest = torch.where(kept[:, None], target, missing(target, draft))
    other = torch.multinomial(rest, 1, generator=generator)[:, 0]
    return torch.where(kept, drafted, other)


def same_number_twice(drafted, target, draft, generator):
    """The number that rejects a token chooses the next one as well."""
    p, q = (t.gather(1, drafted[:, None])[:, 0] for t in (target, draft))
    random = torch.rand(len(drafted), generator=generator)
    kept = random < p / q
    rest = missing(target, draft)
    places = (rest.cumsum(dim=1) / rest.sum(dim=1, keepdim=True)) <= random[:, None]
    other = places.sum(dim=1).clamp(max=target.size(1) - 1)
    return torch.where(kept, drafted, other)


def five_tokens(drafted, target, draft, generator):
    return chosen(ratio, missing)(
        drafted.clamp(max=4), target[:, :5], draft[:, :5], generator
    )


def seed_of_its_own(drafted, target, draft, generator):
    return chosen(ratio, missing)(
        drafted, target, draft, torch.Generator().manual_seed(0)
    )


def drafted_overwritten(drafted, target, draft, generator):
    drafted[:] = chosen(ratio, missing)(drafted, target, draft, generator)
    return drafted


def numbers_with_commas(drafted, target, draft, generator):
    return chosen(ratio, missing)(drafted, target, draft, generator).float()


def a_column(drafted, target, draft, generator):
    return chosen(ratio, missing)(drafted, target, draft, generator)[:, None]


def best_of_the_target(drafted, target, draft, generator):
    p, q = (t.gather(1, drafted[:, None])[:, 0] for t in (target, draft))
    kept = torch.rand(len(drafted), generator=generator) < p / q
    return torch.where(kept, drafted, target.argmax(dim=-1))


def coin(drafted, target, draft, generator):
    return chosen(lambda p, q: torch.full_like(p, 0.5), missing)(
        drafted, target, draft, generator
    )


WRONG = {
    "reach": [
        (
            matrices(source_to_memory=[[1, 1, 1, 0]] * 4),
            "from whose vector come its query",
        ),
        (
            matrices(source_to_memory=[*MEMORY[:3], [0, 0, 0, 0]]),
            "row from looking at real tokens",
        ),
        (
            matrices(source_to_memory=[*MEMORY[:3], [0, 0, 0, 1]]),
            "row from looking at real tokens",
        ),
        (matrices(source_to_memory=[[1, 1, 1, 1]] * 4), "Which mask keeps others"),
        (
            matrices(
                source_to_memory=[
                    [1, 0, 0, 0],
                    [1, 1, 0, 0],
                    [1, 1, 1, 0],
                    [1, 1, 1, 1],
                ]
            ),
            "Does the encoder need a causal mask?",
        ),
        (matrices(source_to_output=[[1, 1, 1, 1]] * 3), "Which mask keeps others"),
        (
            matrices(source_to_output=[[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]),
            "may not see before it speaks",
        ),
        (
            matrices(source_to_output=[[1, 1, 1]] * 3 + [[0, 0, 0]]),
            "Rows and columns have changed places",
        ),
        (matrices(target_to_memory=[[1, 1, 1]] * 4), "When is the memory computed"),
        (
            matrices(target_to_output=[[0, 0, 0], [1, 0, 0], [1, 1, 0]]),
            "Is input t itself among",
        ),
        (matrices(target_to_output=[[1, 1, 1]] * 3), "What keeps a row"),
        (
            matrices(target_to_output=[[1, 1, 1], [0, 1, 1], [0, 0, 1]]),
            "have changed places",
        ),
        (
            matrices(target_to_output=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
            "everything it has said so far",
        ),
        (
            matrices(target_to_output=[[0.5, 0, 0], [0.5, 0.5, 0], [1, 1, 1]]),
            "0 and 1 alone",
        ),
    ],
    "bugs": [
        (
            shown(no_causal_mask={"target_to_memory", "target_to_output"}),
            "The encoder never sees the target",
        ),
        (shown(no_causal_mask=set()), "all ones without a causal mask"),
        (
            shown(causal_encoder={"source_to_memory", "source_to_output"}),
            "that not one of these rows has seen",
        ),
        (shown(causal_encoder=set()), "leaves `source_to_memory` as it is"),
        (
            shown(encoder_sees_padding={"source_to_memory"}),
            "does cross-attention's mask help against it",
        ),
        (
            shown(encoder_sees_padding="source_to_output"),
            "gets into other rows of the memory",
        ),
        (
            shown(cross_sees_padding={"source_to_memory", "source_to_output"}),
            "comes after the encoder",
        ),
        (shown(cross_sees_padding=set()), "the padding's row of the memory"),
        (
            shown(cross_sees_padding={"target_to_output"}),
            "touches the other input only",
        ),
        (shown(no_causal_mask={"target"}), "the four names are"),
    ],
    "parameters": [
        (counted(embeddings=2), "counted twice"),
        (counted(embeddings=3), "counted three times"),
        (counted(attention_maps=3), "the one after the heads included"),
        (counted(attention_bias=0), "as many as the biases of all attention maps"),
        (
            counted(attention_bias=0, feed_forward_bias=0),
            "All biases of the linear maps",
        ),
        (counted(norms=(2, 2)), "hat is 2 · C for each layer: one normalisation"),
        (counted(norms=(0, 0)), "The normalisations are missing"),
        (counted(norm_vectors=1), "has a gain and a bias"),
        (counted(final_norms=2), "after each stack"),
        (counted(attentions=(1, 1)), "One of three attentions is missing"),
        (encoder_twice, "Cross-attention and its normalisation are missing"),
        (counted(per_head=True), "heads divide the width"),
        (counted(output_bias=1), "comes without one"),
        (counted(hidden_of_width=True), "an argument of its own"),
        (counted(every_layer=False), "one layer of each stack"),
        (counted(embeddings=3, final_norms=2), "the count is 208 too high"),
        (two_mistakes, "the count is 208 too high"),
        (base_written_in, "the count is 63,080,428 too high"),
        (six_layers, "It is right for V = 37000"),
        (cross_attention_in_the_encoder, "the count is 288 too high"),
        (lambda *shape: counted()(*shape) + 1, "too high"),
    ],
    "mended_backward": [
        (still_broken, "Padding counts: places"),
        (padding_counts, "Padding counts: places"),
        (mean_of_means, "mean of the batches' means"),
        (summed_means, "are added up"),
        (weighted_by_sentences, "weighted by how many sentences"),
        (divided_by_places, "still counted in what the sum is divided by"),
        (divided_by_sentences, "number of sentences, and not of tokens"),
        (only_summed, "This is the sum over the tokens"),
        (set_to_zero_between, "Only the last batch's gradient is left"),
        (all_graphs_at_once, "held in memory at once"),
        (means_weighted_by_tokens, "divides zero by zero"),
        (right_padding_only, "padding on the left"),
        (padded_sources_count, "the loss is 2.879"),
        (labels_changed, "must leave what it is given as it was"),
        (left_in_eval, "in `eval()` mode"),
        (sentence_by_sentence, "once for each is asked for"),
        (loss_not_divided, "still to be divided by the number of tokens"),
        (mean_of_means_returned, "is the mean of the batches' means"),
        (backward_too_early, "before it is divided"),
        (divided_by_tokens_so_far, "It is right for one batch of sentences"),
        (nothing_returned, "returned None"),
        (first_two_batches, "for six sentences in three batches, the loss"),
        (gradient_doubled, "the gradient is -0.1895"),
        (last_loss_returned, "only the last batch is in the loss"),
        (sentences_alike, "mean of the sentences' means"),
        (shifted_again, "one place off"),
        (batches_joined, "they were joined"),
        (step_taken, "the parameters have changed"),
        (backward_forgotten, "none was sent back"),
    ],
    "filter_min_p": [
        (absolute_threshold, "The threshold is `min_p` itself"),
        (one_largest_for_all, "over all rows at once"),
        (factor_on_logits, "`min_p` times the largest logit"),
        (wrong_way_round, "What should stay is filtered out"),
        (set_to_zero, "a logit of 0 is a probability"),
        (in_place, "must leave what it is given as it was"),
        (probabilities_returned, "These are probabilities"),
        (renormalised, "These are probabilities"),
        (below_the_largest, "lies `min_p` below"),
        (one_minus, "1 − `min_p` times"),
        (only_two_axes, "it should be (5,)"),
        (forty_tokens, "of the largest probability stays"),
        (filtered_comes_back, "has come back"),
        (logarithm_added, "is gone (at"),
        (in_float32, "digits are lost"),
        (largest_subtracted, "of the logits that stay, one"),
        (smallest, "stays, with a logit of"),
        (top_p_instead, "This is top-p"),
        (exponential_alone, "`exp` alone overflows or underflows"),
        (log_probabilities_returned, "These are log-probabilities"),
        (mask_returned, "it should hold numbers"),
        (softmax_over_rows, "The softmax runs over the first axis"),
        (at_least_forgotten, "at least means that it stays"),
        (a_billion_below, "no infinity"),
    ],
    "most_likely": [
        (greedy_sentence, "This is the greedy sentence"),
        (beam_of_two, "a beam search of width 2"),
        (beam_of(3), "a beam search of width 3"),
        (beam_of(5), "the least probable first word"),
        (beam_of(10), "the least probable first word"),
        (end_written_in, "do not begin with the start token"),
        (four_tokens_only, "times as probable"),
        (end_not_scored, "own log-probability is missing"),
        (best_first(returned=in_bits), "the logarithm to base 2"),
        (longer_one, "times as probable"),
        (everything, "took 121 of 121 prefixes"),
        (best_per_token, "This is the best per token"),
        (best_first(stop_when_found=True), "This is the empty sentence"),
        (best_first(allowed=1), "yours may have one more"),
        (best_first(prefix_counts=True), "and is none"),
        (largest_sum_of_logits, "largest sum of logits"),
        (
            best_first(returned=lambda tokens, score: (tokens[:-1], score)),
            "The end token is missing",
        ),
        (
            best_first(returned=lambda tokens, score: (tokens, -score)),
            "Its sign is wrong",
        ),
        (
            best_first(returned=lambda tokens, score: (tokens, math.exp(score))),
            "This is the probability",
        ),
        (
            best_first(returned=lambda tokens, score: (tokens, score / len(tokens))),
            "It was divided by the length",
        ),
        (
            best_first(returned=lambda tokens, score: tokens),
            "2 things should come back",
        ),
        (best_first(allowed=-1), "yours are one too short"),
        (start_returned, "begins with the start token"),
        (start_forgotten, "do not begin with the start token"),
        (one_row_forgotten, "tensor of shape (B, T)"),
    ],
    "mended_extend": [
        (extended(top_left), "aligned at its first row and column"),
        (extended(top_left_for_several), "One token at a time is right now"),
        (extended(lambda past, new: None), "There is no mask at all"),
        (extended(none_once_begun), "In later ones there is no mask"),
        (extended(new_alone), "nothing of what is in the cache"),
        (
            extended(lambda past, new: ones(past, new).tril(past + 1)),
            "one place too many",
        ),
        (
            extended(lambda past, new: ones(past, new).tril(max(past - 1, 0))),
            "one place too few",
        ),
        (extended(lambda past, new: ~right_window(past, new)), "upside down"),
        (extended(right_window, new_first=True), "not in the order of the text"),
        (extended(right_window, offset=False), "Positions begin at 0 in every piece."),
        (first_two_layers, "The model has 3 layers"),
        (values_first, "`cache`[0][0] is"),
        (heads_in_the_cache, "those of all tokens so far"),
        (last_logits_alone, "for 7 new tokens after 0 has shape"),
        (left_in_train, "was in `train()` mode"),
        (two_heads, "for 3 layers"),
        (extended(old_alone), "neither each other nor themselves"),
        (extended(all_new), "see all new ones"),
        (
            extended(lambda past, new: right_window(past, new).triu(past - 1)),
            "fed all at once, a logit is",
        ),
        (
            extended(top_left, offset=False),
            "Positions begin at 0 in every piece; and the mask",
        ),
        (extended(right_window, keep=False), "those of all tokens so far"),
        (extended(right_window, local=True), "is still None"),
        (whole_text_again, "old ones are computed again"),
    ],
    "speculative_choice": [
        (always_kept, "always kept"),
        (half_the_random_numbers, "depend on each other"),
        (mirrored_random_numbers, "depend on each other"),
        (same_number_twice, "comes out"),
        (five_tokens, "of the drafted tokens are kept"),
        (seed_of_its_own, "another seed of `generator`"),
        (drafted_overwritten, "`drafted` was"),
        (numbers_with_commas, "it should hold token ids"),
        (a_column, "it should be (200,)"),
        (best_of_the_target, "most probable token. It should be drawn"),
        (coin, "half of the time"),
        (never_kept, "is never kept"),
        (
            chosen(ratio, lambda target, draft: target),
            "what is missing is `target` minus `draft`",
        ),
        (chosen(ratio, lambda target, draft: draft), "you draw from the draft again"),
        (
            chosen(lambda p, q: q / p, lambda target, draft: target),
            "The ratio is upside down",
        ),
        (
            chosen(lambda p, q: p, lambda target, draft: target),
            "whatever the draft said",
        ),
        (
            chosen(lambda p, q: (p >= q).float(), lambda target, draft: target),
            "which probability is larger",
        ),
        (
            chosen(ratio, lambda target, draft: (target - draft).abs()),
            "differ in either direction",
        ),
        (
            chosen(ratio, lambda target, draft: (draft - target).clamp(min=0)),
            "too many already",
        ),
        (
            chosen(ratio, missing, one_number=True),
            "one random number decides for all rows",
        ),
        (target_without_the_rejected, "without the rejected token"),
        (most_probable, "always the target's most probable token"),
        (most_probable_of_the_missing, "It should be drawn"),
        (empty_rows, "a row that is no distribution"),
        (generator_forgotten, "Pass `generator` to every random function"),
        (draft_changed, "`target` was"),
        (first_row_for_all, "comes out"),
    ],
}
