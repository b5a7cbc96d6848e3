"""Wrong answers to chapter 09's exercises, each with a part of its diagnosis."""

import math

import numpy as np
import torch
import torch.nn.functional as F

# 9.1


def counted(
    kinds=2,
    layers=True,
    heads="key",
    width="head",
    rows=True,
    numbers=False,
    factor=1,
    power=1,
):
    """The bytes of a cache, with mistakes: those that are given."""

    def cache_bytes(configuration, rows_, tokens, bytes_per_number):
        groups = configuration.key_value_heads or configuration.heads
        head_width = configuration.width // configuration.heads
        total = kinds * (configuration.layers if layers else 1)
        total *= {"key": groups, "query": configuration.heads, "one": 1}[heads]
        total *= {"head": head_width, "model": configuration.width, "one": 1}[width]
        total *= (
            (rows_ if rows else 1)
            * tokens**power
            * (1 if numbers else bytes_per_number)
        )
        return total * factor

    return cache_bytes


def none_forgotten(configuration, rows, tokens, bytes_per_number):
    head_width = configuration.width // configuration.heads
    return (
        2
        * configuration.layers
        * configuration.key_value_heads
        * head_width
        * rows
        * tokens
        * bytes_per_number
    )


def none_is_one_head(configuration, rows, tokens, bytes_per_number):
    head_width = configuration.width // configuration.heads
    groups = configuration.key_value_heads or 1
    return (
        2
        * configuration.layers
        * groups
        * head_width
        * rows
        * tokens
        * bytes_per_number
    )


def queries_too(configuration, rows, tokens, bytes_per_number):
    heads = configuration.heads + 2 * configuration.key_value_heads
    head_width = configuration.width // configuration.heads
    return configuration.layers * heads * head_width * rows * tokens * bytes_per_number


def without_a_return(*arguments):
    counted()(*arguments)


def as_text(*arguments):
    return f"{counted()(*arguments) / 1e6:.1f} MB"


def the_longest(configuration, rows, tokens, bytes_per_number):
    return counted()(configuration, rows, configuration.max_length, bytes_per_number)


def keys_as_wide_as_a_group(configuration, rows, tokens, bytes_per_number):
    """Each head of keys takes its share of the width, C / G."""
    groups = configuration.key_value_heads or configuration.heads
    numbers = groups * (configuration.width // groups)
    return 2 * configuration.layers * numbers * rows * tokens * bytes_per_number


def in_bytes_of_two(configuration, rows, tokens, bytes_per_number):
    return counted()(configuration, rows, tokens, 2)


def for_small_caches(*arguments):
    """Counted in whole megabytes and multiplied back."""
    return counted()(*arguments) // 1_000_000 * 1_000_000


# 9.2


def on_dice(**wrong):
    """The right words, but for those given, in the check's order."""
    right = {
        "shifted": "stays",
        "not_shifted": "falls",
        "shifted_twice": "stays",
        "backwards": "falls",
        "no_mask": "falls",
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


def first(**wrong):
    right = {"shifted": 6, "not_shifted": 5, "shifted_twice": 7, "backwards": 4}
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


# 9.3


def pooled(cut, axis, how=torch.mean):
    """Cut the rows into three axes and reduce one of them."""

    def pool_heads(weight, heads, groups):
        if heads % groups:
            raise ValueError("no")
        sizes = {"G": groups, "K": heads // groups, "D": len(weight) // heads}
        parts = weight.unflatten(0, [sizes[letter] for letter in cut])
        return how(parts, dim=axis).reshape(groups * sizes["D"], *weight.shape[1:])

    return pool_heads


def first_of_each(weight, heads, groups):
    if heads % groups:
        raise ValueError("no")
    return weight.unflatten(0, (groups, heads // groups, -1))[:, 0].flatten(0, 1)


def heads_in_turn(weight, heads, groups):
    """As if row r belonged to head r % H."""
    parts = weight.unflatten(0, (-1, groups, heads // groups)).mean(dim=2)
    return parts.transpose(0, 1).flatten(0, 1)


def copies_kept(weight, heads, groups):
    means = weight.unflatten(0, (groups, heads // groups, -1)).mean(dim=1, keepdim=True)
    return means.expand(-1, heads // groups, *means.shape[2:]).reshape(weight.shape)


def three_axes(weight, heads, groups):
    return weight.unflatten(0, (groups, heads // groups, -1)).mean(dim=1)


def pooled_in_place(weight, heads, groups):
    parts = weight.view(groups, heads // groups, -1, *weight.shape[1:])
    parts[:, 0] = parts.mean(dim=1)
    return parts[:, 0].flatten(0, 1).clone()


def whatever_the_groups(weight, heads, groups):
    width = len(weight) // heads
    shared = heads // groups
    return (
        weight[: groups * shared * width]
        .unflatten(0, (groups, shared, width))
        .mean(dim=1)
        .flatten(0, 1)
    )


def always_float32(weight, heads, groups):
    if heads % groups:
        raise ValueError("no")
    return (
        weight.float()
        .unflatten(0, (groups, heads // groups, -1))
        .mean(dim=1)
        .flatten(0, 1)
    )


def one_for_all(weight, heads, groups):
    mean = weight.unflatten(0, (heads, -1)).mean(dim=0)
    return torch.cat([mean] * groups)


def pooled_matrix_only(weight, heads, groups):
    rows, columns = weight.shape
    return (
        weight.view(groups, heads // groups, rows // heads, columns)
        .mean(1)
        .flatten(0, 1)
    )


def asserted(weight, heads, groups):
    assert heads % groups == 0
    return weight.unflatten(0, (groups, heads // groups, -1)).mean(dim=1).flatten(0, 1)


def of_two_dimensions(weight, heads, groups):
    if heads % groups:
        raise ValueError("no")
    parts = weight.reshape(groups, heads // groups, -1, weight.shape[-1])
    return parts.mean(dim=1).reshape(-1, weight.shape[-1])


def of_heads_of_four(weight, heads, groups):
    if heads % groups:
        raise ValueError("no")
    return weight.unflatten(0, (groups, -1, 4)).mean(dim=1).flatten(0, 1)


def refused_where_equal(weight, heads, groups):
    if heads % groups or heads == groups:
        raise ValueError("nothing to pool")
    return weight.unflatten(0, (groups, heads // groups, -1)).mean(dim=1).flatten(0, 1)


def divided_in_place(weight, heads, groups):
    if heads % groups:
        raise ValueError("no")
    weight /= heads // groups
    return weight.unflatten(0, (groups, heads // groups, -1)).sum(dim=1).flatten(0, 1)


def an_array(weight, heads, groups):
    if heads % groups:
        raise ValueError
    return (
        weight.unflatten(0, (groups, heads // groups, -1))
        .mean(dim=1)
        .flatten(0, 1)
        .numpy()
    )


# 9.4


def still_broken(logits, tokens, penalty):
    for row, seen in zip(logits, tokens, strict=True):
        for token in seen:
            row[token] /= penalty
    return logits


def divided_once(logits, tokens, penalty):
    return logits.scatter(1, tokens, logits.gather(1, tokens) / penalty)


def each_time(logits, tokens, penalty):
    logits = logits.clone()
    for row, seen in zip(logits, tokens, strict=True):
        for token in seen:
            row[token] = (
                row[token] / penalty if row[token] > 0 else row[token] * penalty
            )
    return logits


def in_place(logits, tokens, penalty):
    seen = logits.gather(1, tokens)
    return logits.scatter_(
        1, tokens, torch.where(seen > 0, seen / penalty, seen * penalty)
    )


def result_lost(logits, tokens, penalty):
    seen = logits.gather(1, tokens)
    logits.scatter(1, tokens, torch.where(seen > 0, seen / penalty, seen * penalty))
    return logits


def upside_down(logits, tokens, penalty):
    seen = logits.gather(1, tokens)
    return logits.scatter(
        1, tokens, torch.where(seen < 0, seen / penalty, seen * penalty)
    )


def of_any_row(logits, tokens, penalty):
    logits = logits.clone()
    seen = logits[:, tokens.unique()]
    logits[:, tokens.unique()] = torch.where(seen > 0, seen / penalty, seen * penalty)
    return logits


def everything(logits, tokens, penalty):
    return torch.where(logits > 0, logits / penalty, logits * penalty)


def subtracted(logits, tokens, penalty):
    return logits.scatter(1, tokens, logits.gather(1, tokens) - penalty)


def by_its_logarithm(logits, tokens, penalty):
    return logits.scatter(1, tokens, logits.gather(1, tokens) - math.log(penalty))


def forbidden(logits, tokens, penalty):
    return logits.scatter(1, tokens, -math.inf)


def normalised_first(logits, tokens, penalty):
    logits = logits.log_softmax(dim=-1)
    return logits.scatter(1, tokens, logits.gather(1, tokens) * penalty)


def the_last_alone(logits, tokens, penalty):
    seen = logits.gather(1, tokens[:, -1:])
    return logits.scatter(
        1, tokens[:, -1:], torch.where(seen > 0, seen / penalty, seen * penalty)
    )


def by_multiplied_masks(logits, tokens, penalty):
    seen = torch.zeros_like(logits).scatter(1, tokens, 1.0)
    lower = torch.where(logits > 0, logits / penalty, logits * penalty)
    return seen * lower + (1 - seen) * logits


def only_the_seen_ones(logits, tokens, penalty):
    seen = logits.gather(1, tokens)
    return torch.where(seen > 0, seen / penalty, seen * penalty)


def negatives_left(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, tokens, True)
    return torch.where(seen & (logits > 0), logits / penalty, logits)


def a_set_of_tensors(logits, tokens, penalty):
    """A set in which equal tensors are different members."""
    changed = logits.clone()
    for row, seen in zip(changed, tokens, strict=True):
        for token in set(seen):
            row[token] = (
                row[token] / penalty if row[token] > 0 else row[token] * penalty
            )
    return changed


def by_the_sign_of_all(logits, tokens, penalty):
    """One sign for a whole row."""
    seen = logits.gather(1, tokens)
    positive = seen.sum(dim=1, keepdim=True) > 0
    return logits.scatter(
        1, tokens, torch.where(positive, seen / penalty, seen * penalty)
    )


def one_row_only(logits, tokens, penalty):
    logits = logits.clone()
    for token in tokens[0].unique():
        z = logits[0, token]
        logits[0, token] = z / penalty if z > 0 else z * penalty
    return logits


def in_single_precision(logits, tokens, penalty):
    logits = logits.float()
    seen = logits.gather(1, tokens)
    lower = torch.where(seen > 0, seen / penalty, seen * penalty)
    return logits.scatter(1, tokens, lower)


def tokens_sorted_in_place(logits, tokens, penalty):
    tokens.copy_(tokens.sort(dim=1).values)
    seen = logits.gather(1, tokens)
    lower = torch.where(seen > 0, seen / penalty, seen * penalty)
    return logits.scatter(1, tokens, lower)


# 9.5


def windows(
    counted="last",
    shift=1,
    tail=True,
    move=None,
    sign=1,
    unit=1.0,
    fresh=False,
    returned=torch.cat,
    refuses=True,
    read_on=False,
    drawn_back=False,
):
    """The right book-keeping, with mistakes: those that are given."""

    def strided_losses(model, ids, window, stride):
        if refuses and not 0 < stride < window:
            raise ValueError("no")
        losses, start, done = [], 0, 1
        while start < len(ids) - 1 if read_on else done < len(ids):
            end = min(start + window, len(ids))
            if not tail and start + window > len(ids):
                break
            begin = done - 1 if fresh else max(0, end - window) if drawn_back else start
            piece = ids[begin:end]
            logits = model(piece[None])[0]
            loss = F.cross_entropy(
                logits[: len(piece) - shift], piece[shift:], reduction="none"
            )
            new = end - done
            if counted == "all":
                losses.append(loss)
            elif counted == "first":
                losses.append(loss[:new])
            elif new > 0:
                losses.append(loss[-new:])
            start, done = start + (move or stride), end
        return returned([sign * unit * loss for loss in losses])

    return strided_losses


def all_at_once(model, ids, window, stride):
    return F.cross_entropy(model(ids[None])[0, :-1], ids[1:], reduction="none")


def seams_lost(model, ids, window, stride):
    """Windows that do not overlap, whatever the stride says."""
    losses = []
    for piece in ids.split(window):
        losses.append(
            F.cross_entropy(model(piece[None])[0, :-1], piece[1:], reduction="none")
        )
    return torch.cat(losses)


def never_moves(model, ids, window, stride):
    losses, start, done = [], 0, 1
    while done < len(ids):
        piece = ids[start : start + window]
        losses.append(
            F.cross_entropy(model(piece[None])[0, :-1], piece[1:], reduction="none")
        )
        done = start + len(piece)
    return torch.cat(losses)


def no_batch_axis(model, ids, window, stride):
    return F.cross_entropy(model(ids[:window])[:-1], ids[1:window], reduction="none")


def the_mean(losses):
    return torch.cat(losses).mean()


def with_a_zero(losses):
    return torch.cat([torch.zeros(1), *losses])


def pieces_of(model, ids, window, stride):
    if stride >= window:
        raise ValueError
    starts = range(0, max(1, len(ids) - window + stride), stride)
    pieces = [ids[start : start + window] for start in starts]
    return [
        F.cross_entropy(model(each[None])[0, :-1], each[1:], reduction="none")
        for each in pieces
    ]


def the_last_stride_of_each(model, ids, window, stride):
    """As many from each window after the first, the short last one too."""
    first, *others = pieces_of(model, ids, window, stride)
    return torch.cat([first, *(losses[-stride:] for losses in others)])


def first_window_too(model, ids, window, stride):
    return torch.cat(
        [losses[-stride:] for losses in pieces_of(model, ids, window, stride)]
    )


def refuses_short_texts(model, ids, window, stride):
    if stride >= window or window >= len(ids):
        raise ValueError("no")
    return windows()(model, ids, window, stride)


def refuses_only_a_longer_stride(model, ids, window, stride):
    if stride > window:
        raise ValueError("no")
    return windows(refuses=False)(model, ids, window, stride)


def refuses_while_reading(model, ids, window, stride):
    """A stride is looked at where a second window is needed."""
    if len(ids) > window and stride >= window:
        raise ValueError("no")
    return windows(refuses=False)(model, ids, window, stride)


def one_window_too_many(model, ids, window, stride):
    losses = windows()(model, ids, window, stride)
    model(ids[-1:][None])
    return losses


# 9.6


def passed_through(
    positions="right",
    padding="right",
    causal=True,
    column=-1,
    finite=False,
    by_id=False,
    norm=True,
):
    """A pass over a padded batch, with mistakes: those that are given."""

    def mended_next_logits(model, ids, real):
        length = ids.size(1)
        if by_id:
            real = (ids != 0).long()
        counted = real.cumsum(dim=1)
        where = {
            "right": (counted - 1).clamp(min=0),
            "columns": torch.arange(length).expand_as(ids),
            "one late": counted,
            "negative": counted - 1,
            "backwards": real.sum(dim=1, keepdim=True) - counted,
        }[positions]
        itself = torch.eye(length, dtype=torch.bool)
        hidden = (real == 0)[:, None, None, :]
        hidden = {
            "right": hidden & ~itself,
            "itself too": hidden,
            "seen": torch.zeros_like(hidden),
            "upside down": ~hidden & ~itself,
        }[padding]
        if causal:
            hidden = hidden | torch.ones(length, length, dtype=torch.bool).triu(1)
        mask = torch.zeros(hidden.shape).masked_fill(
            hidden, -1e9 if finite else -math.inf
        )
        x = model.embedding(ids) + model.positions.table(where)
        for layer in model.layers:
            x = layer(x, mask)
        logits = (model.norm(x) if norm else x) @ model.embedding.weight.T
        if column == "length":
            return logits[torch.arange(len(ids)), real.sum(dim=1) - 1]
        return logits if column is None else logits[:, column]

    return mended_next_logits


def the_models_own(model, ids, real):
    return model(ids)[:, -1]


def one_at_a_time(model, ids, real):
    return torch.cat(
        [
            model(row[kept == 1][None])[:, -1]
            for row, kept in zip(ids, real, strict=True)
        ]
    )


def padding_set_to_zero(model, ids, real):
    """Vectors of padding are zero at the entrance, and nothing hides them."""
    positions = (real.cumsum(dim=1) - 1).clamp(min=0)
    x = (model.embedding(ids) + model.positions.table(positions)) * real[..., None]
    mask = torch.full((ids.size(1), ids.size(1)), -math.inf).triu(1)
    for layer in model.layers:
        x = layer(x, mask)
    return model.norm(x)[:, -1] @ model.embedding.weight.T


def two_layers(model, ids, real):
    """A number of layers written in."""
    positions = (real.cumsum(dim=1) - 1).clamp(min=0)
    x = model.embedding(ids) + model.positions.table(positions)
    hidden = (real == 0)[:, None, None, :] | torch.ones(x.size(1), x.size(1)).triu(
        1
    ).bool()
    mask = torch.zeros(hidden.shape).masked_fill(hidden, -1e9)
    for layer in model.layers[:2]:
        x = layer(x, mask)
    return model.norm(x)[:, -1] @ model.embedding.weight.T


def evaluates_first(model, ids, real):
    return passed_through()(model.eval(), ids, real)


def sets_padding_to_zero(model, ids, real):
    ids *= real
    return passed_through()(model, ids, real)


# 9.7


def pushed(
    norm="each",
    a=1.5,
    b=-0.5,
    steps=lambda n: n,
    cube="matrix",
    turned=False,
    last=lambda x, y: y,
):
    """The iteration, with mistakes: those that are given."""

    def polar(matrices, count):
        lengths = matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
        x = (
            matrices
            / {
                "each": lengths,
                "none": 1.0,
                "all": matrices.norm().clamp(min=1e-12),
                "square": lengths**2,
                "largest": torch.linalg.matrix_norm(
                    matrices.float(), ord=2, keepdim=True
                ).clamp(min=1e-12),
                "largest number": matrices.abs()
                .amax(dim=(-2, -1), keepdim=True)
                .clamp(min=1e-12),
                "not clamped": matrices.norm(dim=(-2, -1), keepdim=True),
            }[norm]
        )
        tall = turned and x.size(-2) > x.size(-1)
        x = x.mT if tall else x
        for _ in range(steps(count)):
            x = a * x + b * (x**3 if cube == "numbers" else x @ x.mT @ x)
        return last(matrices, x)

    return polar


def by_decomposition(matrices, steps):
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    return left @ right


def in_place_normalised(matrices, steps):
    matrices /= matrices.norm(dim=(-2, -1), keepdim=True)
    x = matrices
    for _ in range(steps):
        x = 1.5 * x - 0.5 * x @ x.mT @ x
    return x


def zeros_alone(matrices, steps):
    """Looks for zeros in the whole stack only."""
    return (
        matrices if not matrices.any() else pushed(norm="not clamped")(matrices, steps)
    )


def muons(matrices, steps):
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def always_single(matrices, steps):
    return pushed()(matrices.float(), steps)


def plain_transpose(matrices, steps):
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    for _ in range(steps):
        x = 1.5 * x - 0.5 * x @ x.transpose(0, 1) @ x
    return x


def for_wide_ones(matrices, steps):
    """The other product of the two, which fits square matrices only."""
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    for _ in range(steps):
        x = 1.5 * x - 0.5 * (x.mT @ x) @ x
    return x


def bounded_too_high(matrices, steps):
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-2)
    for _ in range(steps):
        x = 1.5 * x - 0.5 * x @ x.mT @ x
    return x


def at_least_one_step(matrices, steps):
    return pushed()(matrices, max(steps, 1))


def momentum_divided(matrices, steps):
    matrices /= matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    return pushed()(matrices, steps)


WRONG = {
    "cache_bytes": [
        (counted(kinds=1), "keys and values, two tensors"),
        (counted(heads="query"), "The query heads are counted"),
        (
            counted(heads="query", kinds=1),
            "two tensors of the same size; and the query heads",
        ),
        (counted(layers=False), "Each layer has keys and values"),
        (counted(rows=False), "Each row of the batch"),
        (counted(numbers=True), "This counts numbers, and each takes some bytes"),
        (counted(width="one"), "holds D numbers for each token"),
        (counted(width="model"), "with the whole width C"),
        (counted(factor=8), "This is in bits"),
        (counted(factor=1e-6), "This is in megabytes; say bytes"),
        (counted(factor=1 / 1024**2), "This is in mebibytes; say bytes"),
        (counted(factor=1e-9), "This is in gigabytes; say bytes"),
        (counted(factor=1 / 1024**3), "This is in gibibytes; say bytes"),
        (the_longest, "The longest text that the model can read is counted"),
        (keys_as_wide_as_a_group, "D is taken for C / G"),
        (counted(power=2), "not with their square"),
        (queries_too, "Queries are counted too"),
        (none_forgotten, "None for `key_value_heads` means"),
        (none_is_one_head, "as many heads of keys as there are query heads"),
        (in_bytes_of_two, "10 query heads, key_value_heads=2 and 2 bytes"),
        (for_small_caches, "the number of bytes is 0, and should be"),
        (without_a_return, "returned None"),
        (as_text, "should be one number, and is '0.0 MB' (type str)"),
        (lambda *arguments: 1_073_741_824, "is 1,073,741,824, and should be"),
        (
            lambda c, rows, tokens, size: rows + tokens + size,
            "the number of bytes is 16, and should be",
        ),
        (1_073_741_824, "a function or class is needed here"),
    ],
    "dice": [
        (
            on_dice(shifted="falls"),
            "`shifted_on_dice` does not give 'falls'. The next number is drawn",
        ),
        (on_dice(not_shifted="stays"), "token t is what the model has just read"),
        (
            on_dice(shifted_twice="falls"),
            "Is that among the tokens that position t has seen?",
        ),
        (on_dice(backwards="stays"), "May position t look at it?"),
        (
            on_dice(no_mask="stays"),
            "what may position t look at, if nothing is masked?",
        ),
        (
            on_dice(no_mask=0.0),
            "`no_mask_on_dice` is 0.0, which is not one of the 2 answers",
        ),
        (on_dice(shifted=None), "is None, which is not one of the 2 answers"),
        (
            on_dice(backwards=np.array([1, 2])),
            "`backwards_on_dice` is an array of shape (2,)",
        ),
        (("falls",) * 5, "`shifted_on_dice` does not give 'falls'"),
    ],
    "first_token": [
        (
            first(shifted=5),
            "`shifted_writes` is not 5, after 3, 4, 5. Its labels are right",
        ),
        (first(not_shifted=6), "for saying, after each token, that token"),
        (first(shifted_twice=6), "What comes two after 5?"),
        (first(backwards=6), "What came before 5?"),
        (first(backwards=3), "What came before 5?"),
        (first(shifted="six"), "should be one number, and is of type str"),
        (first(not_shifted=None), "should be one number, and is of type NoneType"),
        (first(not_shifted=[5, 5, 5]), "should be one number, and is of type list"),
    ],
    "pool_heads": [
        (pooled("GKD", 1, torch.sum), "The heads of a group are added"),
        (first_of_each, "This is the first head of each group"),
        (pooled("KGD", 0), "Heads far apart are averaged"),
        (pooled("GDK", 2), "Neighbouring rows are averaged"),
        (heads_in_turn, "as if the head changed with every row"),
        (pooled("GKD", 1, torch.amax), "This is the largest number"),
        (one_for_all, "All heads are averaged into one"),
        (copies_kept, "has shape (24, 5); it should be (8, 5)"),
        (three_axes, "has shape (2, 4, 5); it should be (8, 5)"),
        (pooled_in_place, "before the call, and is"),
        (
            whatever_the_groups,
            "should raise a ValueError, and gives a result",
        ),
        (asserted, "should raise a ValueError, and raises AssertionError"),
        (always_float32, "it should be that of what was given, torch.float64"),
        (pooled_matrix_only, "`pooled_matrix_only` stopped with ValueError"),
        (
            lambda weight, heads, groups: weight.numpy().reshape(groups, -1).mean(1),
            "has shape (2,)",
        ),
        (of_two_dimensions, "for a weight (18,)"),
        (of_heads_of_four, "for a weight (40, 3)"),
        (refused_where_equal, "4 heads and 4 groups, `refused_where_equal` stopped"),
        (divided_in_place, "before the call, and is"),
        (an_array, "of type ndarray: return a tensor"),
        (lambda weight, heads, groups: None, "returned None"),
        (lambda weight, heads, groups: 3, "should be a tensor of shape"),
    ],
    "mended_penalty": [
        (
            still_broken,
            "As in the function above, a negative logit is divided too",
        ),
        (divided_once, "What must be done to a negative number"),
        (each_time, "is penalised several times. Once is enough"),
        (a_set_of_tensors, "set` of tensors leaves none out"),
        (negatives_left, "A negative logit stays as it is"),
        (in_place, "`logits` was 2 at [0, 0] before the call"),
        (result_lost, "Nothing is changed: the logits come back as they went in."),
        (upside_down, "Positive and negative have changed places"),
        (of_any_row, "is penalised in the others. Each row has its own text"),
        (everything, "Every token is penalised"),
        (subtracted, "The penalty is subtracted"),
        (by_its_logarithm, "The penalty's logarithm is subtracted"),
        (forbidden, "Tokens that were there are forbidden"),
        (normalised_first, "These are log-probabilities"),
        (the_last_alone, "Only the last token of each row"),
        (by_multiplied_masks, "One of the logits is −∞: what is −∞ times 0?"),
        (by_the_sign_of_all, "with logits of both signs"),
        (one_row_only, "with logits of both signs, the result is"),
        (in_single_precision, "it should be that of what was given, torch.float64"),
        (tokens_sorted_in_place, "`tokens` was 2 at [0, 1] before the call"),
        (only_the_seen_ones, "has shape (2, 2); it should be (2, 5)"),
        (lambda logits, tokens, penalty: None, "returned None"),
        (
            lambda logits, tokens, penalty: logits + 1,
            "with logits of both signs, the result is 3 at [0, 0]",
        ),
        (
            lambda logits, tokens, penalty: logits.tolist(),
            "and is a list of 2 (type list)",
        ),
    ],
    "strided_losses": [
        (windows(counted="all"), "What several windows read is counted several times"),
        (windows(counted="first"), "These are the first ones"),
        (windows(shift=0), "compared with token t. It is about token t + 1"),
        (windows(tail=False), "The tokens at the end are left out"),
        (
            the_last_stride_of_each,
            "The last window may bring fewer than `stride` new ones",
        ),
        (
            first_window_too,
            "In the first window all tokens but one are new",
        ),
        (windows(move=1), "The windows move by one token"),
        (windows(sign=-1), "These are log-probabilities; a loss"),
        (windows(unit=1 / math.log(2)), "These are bits; nats are asked for"),
        (windows(fresh=True), "is predicted from new ones alone"),
        (windows(drawn_back=True), "The last window is drawn back"),
        (
            windows(returned=the_mean),
            "This is one number, the mean. Return the loss of each",
        ),
        (
            windows(returned=lambda losses: float(torch.cat(losses).mean())),
            "This is one number, the mean",
        ),
        (windows(returned=list), "Return one tensor, (T − 1,)"),
        (windows(returned=with_a_zero), "There is a number for every token"),
        (windows(read_on=True), "stop as soon as every token has been counted"),
        (windows(refuses=False), "should raise a ValueError, and gives a result"),
        (refuses_short_texts, "stopped with ValueError"),
        (refuses_only_a_longer_stride, "with a stride of 8 and a window of 8"),
        (refuses_while_reading, "should raise a ValueError, and gives a result"),
        (one_window_too_many, "stop as soon as every token has been counted"),
        (all_at_once, "was given 23 tokens at once, and a window holds 8"),
        (seams_lost, "The windows do not overlap, whatever `stride` says"),
        (never_moves, "more than 100 windows were read"),
        (no_batch_axis, "`model` takes a batch (B, T)"),
        (lambda model, ids, window, stride: None, "returned None"),
    ],
    "mended_next_logits": [
        (passed_through(positions="columns"), "Positions are those of the columns"),
        (
            passed_through(padding="itself too"),
            "Softmax makes NaN of a row that is all −∞",
        ),
        (
            passed_through(padding="itself too", positions="columns"),
            "Softmax makes NaN of a row that is all −∞",
        ),
        (
            passed_through(padding="seen"),
            "Positions are right, and the padding is looked at",
        ),
        (
            passed_through(padding="seen", positions="columns"),
            "without any regard to padding",
        ),
        (the_models_own, "without any regard to padding"),
        (passed_through(positions="one late"), "Positions are all one too large"),
        (passed_through(positions="backwards"), "Positions are counted from the end"),
        (passed_through(positions="negative"), "stopped with IndexError"),
        (passed_through(padding="upside down"), "The mask is upside down"),
        (passed_through(causal=False), "The causal mask is lost: in the first layer"),
        (
            passed_through(causal=False, padding="seen"),
            "The causal mask is lost, and padding is looked at",
        ),
        (passed_through(column="length"), "at the column that is the text's length"),
        (passed_through(column=0), "The logits are read at the first column"),
        (passed_through(column=None), "These are logits after every token"),
        (passed_through(by_id=True), "Go by `real`, not by the id 0"),
        (one_at_a_time, "the layers were run 2 times"),
        (two_layers, "and 3 layers"),
        (evaluates_first, "was in `train()` mode before the call"),
        (sets_padding_to_zero, "`ids` was 17 at [1, 0] before the call"),
        (padding_set_to_zero, "With padding it is wrong, and only then"),
        (
            passed_through(norm=False),
            "The norm after the last layer is missing",
        ),
        (lambda model, ids, real: None, "returned None"),
    ],
    "polar": [
        (pushed(norm="none"), "is not divided by its norm first"),
        (pushed(norm="all"), "A stack is divided by one norm for all"),
        (pushed(norm="square"), "the square of its norm"),
        (pushed(norm="largest"), "is divided by its largest singular value"),
        (pushed(norm="largest number"), "is divided by its largest number"),
        (pushed(norm="not clamped"), "0 / 0 is NaN"),
        (zeros_alone, "one matrix of a stack is zero"),
        (pushed(b=0.5), "The cube is added"),
        (pushed(b=-1.5), "the result is -0.2724"),
        (pushed(steps=lambda n: n - 1), "This is one step too few"),
        (pushed(steps=lambda n: n + 1), "This is one step too many"),
        (pushed(steps=lambda n: 5), "There are five steps"),
        (pushed(cube="numbers"), "Each number is cubed by itself"),
        (pushed(turned=True), "It was turned, and must be turned back"),
        (
            pushed(last=lambda m, x: x * m.norm(dim=(-2, -1), keepdim=True)),
            "has its old norm again",
        ),
        (by_decomposition, "the limit. After so few steps"),
        (muons, "These are Muon's numbers"),
        (in_place_normalised, "0 / 0 is NaN"),
        (always_single, "it should be that of what was given, torch.float64"),
        (for_wide_ones, "the result is -0.3174"),
        (bounded_too_high, "for (7, 2) of torch.float32"),
        (at_least_one_step, "and 0 steps"),
        (momentum_divided, "`matrices` was"),
        (plain_transpose, "`plain_transpose` stopped with"),
        (lambda matrices, steps: None, "returned None"),
    ],
}
