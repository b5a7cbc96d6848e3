"""Wrong answers to chapter 10's exercises, each with a part of its diagnosis."""

import copy
import dataclasses

import torch
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from finetuning.scratch.layers import forward_flops


def nothing(*arguments, **keywords):
    return None


# 10.1


def gumbel(shape, generator, dtype=torch.float32):
    return -(-torch.rand(shape, generator=generator, dtype=dtype).log()).log()


def drawing(
    noise=gumbel,
    scale=lambda logits, temperature: logits / temperature,
    take_out="all",
    low=False,
    seed=None,
    probabilities=False,
    one_noise=False,
    result=lambda ids, scores: ids,
):
    """The right function, but for the mistakes that are asked for."""

    def draw(logits, generator, temperature=1.0, forbidden=None):
        if seed is not None:
            generator = (
                None if seed == "global" else torch.Generator().manual_seed(seed)
            )
        scores = scale(logits if low else logits.float(), temperature)
        if forbidden is not None and take_out == "all":
            scores = scores.scatter(-1, forbidden.unsqueeze(-1), -torch.inf)
        if forbidden is not None and take_out == "zero":
            scores = scores.scatter(-1, forbidden.unsqueeze(-1), 0.0)
        if forbidden is not None and take_out == "lower":
            scores = scores - 5 * nn.functional.one_hot(forbidden, scores.size(-1))
        if forbidden is not None and take_out == "everywhere":
            scores = scores.index_fill(-1, forbidden.unique(), -torch.inf)
        if probabilities:
            scores = scores.softmax(dim=-1)

        def once():
            shape = scores.shape[-1:] if one_noise else scores.shape
            return (scores + noise(shape, generator, scores.dtype)).argmax(dim=-1)

        ids = once()
        if forbidden is not None and take_out == "again":
            ids = torch.where(ids == forbidden, once(), ids)
        if forbidden is not None and take_out == "next":
            ids = torch.where(ids == forbidden, (ids + 1) % scores.size(-1), ids)
        return result(ids, scores)

    return draw


def in_place(logits, generator, temperature=1.0, forbidden=None):
    logits /= temperature
    return drawing()(logits, generator, 1.0, forbidden)


def logits_written_for_forbidden(logits, generator, temperature=1.0, forbidden=None):
    if forbidden is not None:
        logits = logits.contiguous().scatter_(-1, forbidden.unsqueeze(-1), -torch.inf)
    return drawing()(logits, generator, temperature)


def argmax_of_logits(logits, generator, temperature=1.0, forbidden=None):
    return (logits / temperature).argmax(dim=-1)


def two_dimensions_only(logits, generator, temperature=1.0, forbidden=None):
    return torch.multinomial(
        (logits.float() / temperature).softmax(dim=-1), 1, generator=generator
    )[..., 0]


# 10.2


def predicted(**wrong):
    """The right predictions, but for those given, in the check's order."""
    right = {
        "drawn_share": 1 / 8,
        "drawn_calm": 1 / 10,
        "drawn_gale": 3 / 20,
        "greedy_share": 1 / 10,
        "greedy_calm": 1 / 6,
        "greedy_gale": 0.0,
        "wrong_share": 1 / 5,
        "wrong_calm": 1 / 7,
        "wrong_gale": 1 / 4,
        "best_accuracy": 7 / 8,
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


# 10.3


def area(
    counted=lambda scores, labels: (
        scores[labels != -100],
        labels[labels != -100].bool(),
    ),
    ties=0.5,
    change=lambda value: value,
    refuse=True,
):
    """The right function, by comparing all pairs, but for given mistakes."""

    def auc(scores, labels):
        scores, labels = counted(scores, labels)
        ones, zeros = scores[labels].flatten()[:, None], scores[~labels].flatten()
        if refuse and not (len(ones) and len(zeros)):
            raise ValueError("no pairs")
        wins = (ones > zeros).double().mean() + ties * (ones == zeros).double().mean()
        return change(wins.item())

    return auc


def ranking(subtract=True, first=1, mean=True):
    def auc(scores, labels):
        scores, labels = scores[labels != -100], labels[labels != -100].bool()
        ones, zeros = int(labels.sum()), int((~labels).sum())
        if not ones or not zeros:
            raise ValueError("no pairs")
        _, place, count = scores.unique(return_inverse=True, return_counts=True)
        ranks = (count.cumsum(0).double() - (count.double() - 1) / 2)[place] - 1 + first
        if not mean:
            ranks = scores.argsort(stable=True).argsort().double() + first
        return (
            (ranks[labels].sum() - subtract * ones * (ones + 1) / 2) / (ones * zeros)
        ).item()

    return auc


def ranks_of_ties(method):
    """Ties get the lowest or the highest of their ranks, or ranks without gaps."""

    def auc(scores, labels):
        scores, labels = scores[labels != -100], labels[labels != -100].bool()
        ones, zeros = int(labels.sum()), int((~labels).sum())
        if not ones or not zeros:
            raise ValueError("no pairs")
        ranks = torch.from_numpy(rankdata(scores.double().numpy(), method)).double()
        return ((ranks[labels].sum() - ones * (ones + 1) / 2) / (ones * zeros)).item()

    return auc


def subtracts_the_others(scores, labels):
    scores, labels = scores[labels != -100], labels[labels != -100].bool()
    ones, zeros = int(labels.sum()), int((~labels).sum())
    ranks = torch.from_numpy(rankdata(scores.double().numpy()))
    return ((ranks[labels].sum() - zeros * (zeros + 1) / 2) / (ones * zeros)).item()


def accuracy(scores, labels):
    kept = labels != -100
    return ((scores[kept] > 0) == labels[kept].bool()).double().mean()


def cut_at_a_half(scores, labels):
    kept = labels != -100
    return roc_auc_score(labels[kept].long(), (scores[kept] > 0.5).long())


def precision(scores, labels):
    kept = labels != -100
    return average_precision_score(
        labels[kept].long(), scores[kept].double().clamp(-1e300, 1e300)
    )


def zero_for_one_kind(scores, labels):
    kept = labels[labels != -100]
    return 0.5 if len(kept.unique()) < 2 else area()(scores, labels)


def library(scores, labels):
    return roc_auc_score(labels[labels != -100], scores[labels != -100])


def asserts(scores, labels):
    assert len(labels[labels != -100].unique()) == 2
    return area()(scores, labels)


def by_row(scores, labels):
    return torch.tensor([area()(scores, labels)] * 2)


# 10.4


def corrupting(
    free=lambda ids, mask, special: (
        mask.bool() & ~torch.isin(ids, torch.tensor(special))
    ),
    hides=lambda draws, rate: draws < rate,
    shown=lambda ids, places, mask_id: ids.masked_fill(places, mask_id),
    pick=lambda logits, generator: torch.multinomial(
        logits.softmax(dim=-1), 1, generator=generator
    ).squeeze(1),
    labels=lambda ids, corrupted, places, mask: (
        (corrupted != ids).long().masked_fill(mask == 0, -100)
    ),
    base=lambda ids, places, mask_id: ids,
    seed=None,
    in_place=False,
    result=lambda corrupted, labels: (corrupted, labels),
):
    """The right function, but for the mistakes that are asked for."""

    def corrupt(ids, mask, guess, special, mask_id, generator, rate=0.15):
        if seed is not None:
            generator = (
                None if seed == "global" else torch.Generator().manual_seed(seed)
            )
        draws = torch.rand(ids.shape, generator=generator)
        places = hides(draws, rate) & free(ids, mask, special)
        logits = guess(shown(ids, places, mask_id), places)
        drawn = pick(logits, generator)
        if in_place:
            ids[places] = drawn
            return ids, places.long().masked_fill(mask == 0, -100)
        corrupted = base(ids, places, mask_id).masked_scatter(places, drawn)
        return result(corrupted, labels(ids, corrupted, places, mask))

    return corrupt


def broken_as_given(ids, mask, guess, special, mask_id, generator, rate=0.15):
    places = torch.rand(ids.shape, generator=generator) < rate
    logits = guess(ids.masked_fill(places, mask_id), places)
    return ids.masked_scatter(places, logits.argmax(dim=-1)), places.long()


def never_the_original(ids, mask, guess, special, mask_id, generator, rate=0.15):
    def others(text, places):
        return guess(text, places).scatter(-1, ids[places].unsqueeze(-1), -torch.inf)

    return corrupting()(ids, mask, others, special, mask_id, generator, rate)


def guess_for_each_row(ids, mask, guess, special, mask_id, generator, rate=0.15):
    def again(shown, places):
        for _ in ids:
            logits = guess(shown, places)
        return logits

    return corrupting()(ids, mask, again, special, mask_id, generator, rate)


def places_as_numbers(ids, mask, guess, special, mask_id, generator, rate=0.15):
    return corrupting()(
        ids,
        mask,
        lambda text, places: guess(text, places.long()),
        special,
        mask_id,
        generator,
        rate,
    )


# 10.5


def costing(
    factor=3,
    project=lambda width, embedding: width != embedding,
    places=lambda length, predicted: predicted,
    transform=True,
    inner=lambda width, embedding: embedding,
    lookup=False,
    detection=lambda length, predicted, width: length * 2 * (width * width + width),
    generator_factor=None,
    generator_head=True,
    generator_body=True,
    ignore_generator=False,
):
    """The right count, but for the mistakes that are asked for."""

    def flops(shape, embedding, length, predicted, generator=None):
        def body(part):
            found = sum(forward_flops(part, length).values())
            found += length * 2 * part.vocabulary * embedding * lookup
            return found + length * 2 * embedding * part.width * project(
                part.width, embedding
            )

        def words(part):
            table = inner(part.width, embedding) * part.vocabulary
            return (
                places(length, predicted)
                * 2
                * (part.width * embedding * transform + table)
            )

        if generator is None or ignore_generator:
            return factor * (body(shape) + words(shape))
        second = generator_body * body(generator) + generator_head * words(generator)
        found = factor * (body(shape) + detection(length, predicted, shape.width))
        return found + (generator_factor or factor) * second

    return flops


def second_masked_model(shape, embedding, length, predicted, generator=None):
    """Both models predict words."""
    one = costing()
    found = one(shape, embedding, length, predicted)
    return found + one(generator, embedding, length, predicted) if generator else found


def words_too(shape, embedding, length, predicted, generator=None):
    """The discriminator detects, and predicts words beside it."""
    found = costing()(shape, embedding, length, predicted, generator)
    head = 3 * predicted * 2 * (shape.width * embedding + embedding * shape.vocabulary)
    return found + head if generator else found


def width_for_embedding(shape, embedding, length, predicted, generator=None):
    """Every part with embeddings as wide as itself."""
    found = costing()(shape, shape.width, length, predicted, generator)
    if generator is None:
        return found
    mixed = costing(generator_body=False, generator_head=False)
    found = mixed(shape, shape.width, length, predicted, generator)
    return found + costing()(generator, generator.width, length, predicted)


def by_part(shape, embedding, length, predicted, generator=None):
    return {"all": costing()(shape, embedding, length, predicted, generator)}


# 10.6

TABLES = ("words.weight", "segments.weight", "positions.table.weight")


def set_table(embeddings, name, value):
    holder, _, last = name.rpartition(".")
    setattr(embeddings.get_submodule(holder), last, value)


def preparing(
    share=lambda theirs, ours, name: set_table(ours, name, theirs.get_parameter(name)),
    names=TABLES,
    parameters=lambda *models: nn.ModuleList(models).parameters(),
    before=False,
    make=lambda parameters, rate: torch.optim.Adam(parameters, lr=rate),
    more=lambda generator, discriminator: None,
):
    """The right function, but for the mistakes that are asked for."""

    def prepare(generator, discriminator, head, learning_rate):
        chosen = list(parameters(generator, discriminator, head))
        for name in names:
            share(generator.bert.embeddings, discriminator.embeddings, name)
        more(generator, discriminator)
        if not before:
            chosen = list(parameters(generator, discriminator, head))
        return make(chosen, learning_rate)

    return prepare


def same_memory(theirs, ours, name):
    ours.get_parameter(name).data = theirs.get_parameter(name).data


def new_parameter(theirs, ours, name):
    set_table(ours, name, nn.Parameter(theirs.get_parameter(name).data))


def copied(theirs, ours, name):
    ours.get_parameter(name).data.copy_(theirs.get_parameter(name).data)


def plain_tensor(theirs, ours, name):
    holder, _, last = name.rpartition(".")
    delattr(ours.get_submodule(holder), last)
    setattr(ours.get_submodule(holder), last, theirs.get_parameter(name).detach())


def frozen(theirs, ours, name):
    set_table(ours, name, theirs.get_parameter(name).requires_grad_(False))


def drawn_anew(theirs, ours, name):
    set_table(ours, name, theirs.get_parameter(name))
    nn.init.normal_(theirs.get_parameter(name), std=0.02)


def deep_copy(generator, discriminator, head, learning_rate):
    discriminator.embeddings = copy.deepcopy(generator.bert.embeddings)
    return preparing(names=())(generator, discriminator, head, learning_rate)


def lists(*models):
    return [parameter for model in models for parameter in model.parameters()]


def all_layers(generator, discriminator):
    discriminator.encoder.layers[0] = generator.bert.encoder.layers[0]


def initialised(generator, discriminator):
    nn.init.zeros_(discriminator.encoder.layers[1].attention.query.weight)


def groups(generator, discriminator, head, learning_rate):
    preparing()(generator, discriminator, head, learning_rate)
    return torch.optim.Adam(
        [{"params": model.parameters()} for model in (generator, discriminator, head)]
    )


def models_back(generator, discriminator, head, learning_rate):
    preparing()(generator, discriminator, head, learning_rate)
    return generator, discriminator


# More of each, of the kinds that a single example does not show


def noise_for_the_last_axes(logits, generator, temperature=1.0, forbidden=None):
    """The same noise for every row of a batch: right on average."""
    scores = logits.float() / temperature
    if forbidden is not None:
        scores = scores.scatter(-1, forbidden.unsqueeze(-1), -torch.inf)
    return (scores + gumbel(scores.shape[-2:], generator)).argmax(dim=-1)


def without_a_maximum(logits, generator, temperature=1.0, forbidden=None):
    """Exponentials of the logits themselves, which overflow."""
    shares = (logits.float() / temperature).exp()
    if forbidden is not None:
        shares = shares.scatter(-1, forbidden.unsqueeze(-1), 0.0)
    times = -torch.rand(shares.shape, generator=generator).log() / shares
    return times.argmin(dim=-1)


def forbidden_never_cooled(logits, generator, temperature=1.0, forbidden=None):
    right = drawing()
    if forbidden is None:
        return right(logits, generator, temperature)
    return right(logits, generator, 1.0, forbidden)


def best_of_the_others(logits, generator, temperature=1.0, forbidden=None):
    ids = drawing()(logits, generator, temperature)
    if forbidden is None:
        return ids
    others = logits.scatter(-1, forbidden.unsqueeze(-1), -torch.inf)
    return torch.where(ids == forbidden, others.argmax(dim=-1), ids)


def all_minus_one_hundred_counted(scores, labels):
    """Compares rows of different sizes by their flat numbers: −100 as a third kind."""
    kept = labels >= 0 if labels.dtype != torch.bool else labels | True
    return area()(scores[kept], labels[kept].long()) * float(kept.double().mean())


def in_single_precision(scores, labels):
    return area()(scores.float(), labels)


def with_minimum_of_infinities(scores, labels):
    return area()(scores.clamp(-5, 5), labels)


def as_a_tensor(scores, labels):
    return torch.tensor(area()(scores, labels))


def writes_into_the_labels(scores, labels):
    scores[labels == -100] = -torch.inf
    return area()(scores, labels)


def fixed_number_a_row(ids, mask, guess, special, mask_id, generator, rate=0.15):
    """Right on average: the same number of tokens in every row."""
    free = mask.bool() & ~torch.isin(ids, torch.tensor(special))
    order = torch.rand(ids.shape, generator=generator).masked_fill(~free, 2.0)
    rank = order.argsort(dim=1).argsort(dim=1)
    extra = torch.rand((len(ids), 1), generator=generator)
    places = (rank < rate * free.sum(dim=1, keepdim=True) + extra - 1) & free
    return finished(ids, mask, guess, mask_id, generator, places)


def same_places_in_every_row(ids, mask, guess, special, mask_id, generator, rate=0.15):
    free = mask.bool() & ~torch.isin(ids, torch.tensor(special))
    places = (torch.rand(ids.size(1), generator=generator) < rate) & free
    return finished(ids, mask, guess, mask_id, generator, places)


def finished(ids, mask, guess, mask_id, generator, places):
    logits = guess(ids.masked_fill(places, mask_id), places)
    drawn = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]
    text = ids.masked_scatter(places, drawn)
    return text, (text != ids).long().masked_fill(mask == 0, -100)


def guesses_in_columns(ids, mask, guess, special, mask_id, generator, rate=0.15):
    """The draws are put in column by column."""
    free = mask.bool() & ~torch.isin(ids, torch.tensor(special))
    places = (torch.rand(ids.shape, generator=generator) < rate) & free
    logits = guess(ids.masked_fill(places, mask_id), places)
    drawn = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]
    text = ids.T.contiguous().masked_scatter(places.T, drawn).T
    return text, (text != ids).long().masked_fill(mask == 0, -100)


def padding_by_its_id(ids, mask, guess, special, mask_id, generator, rate=0.15):
    return corrupting()(
        ids, (ids != 0).long(), guess, special, mask_id, generator, rate
    )


def special_written_in(ids, mask, guess, special, mask_id, generator, rate=0.15):
    return corrupting()(ids, mask, guess, [0, 1, 2, 17], mask_id, generator, rate)


def feed_forward_four_wide(shape, embedding, length, predicted, generator=None):
    parts = [
        part and dataclasses.replace(part, hidden=4 * part.width)
        for part in (shape, generator)
    ]
    return costing()(parts[0], embedding, length, predicted, parts[1])


def plain_attention_only(shape, embedding, length, predicted, generator=None):
    parts = [
        part and dataclasses.replace(part, key_value_heads=None, gated=False)
        for part in (shape, generator)
    ]
    return costing()(parts[0], embedding, length, predicted, parts[1])


def one_thousand_words(shape, embedding, length, predicted, generator=None):
    parts = [
        part and dataclasses.replace(part, vocabulary=1000)
        for part in (shape, generator)
    ]
    return costing()(parts[0], embedding, length, predicted, parts[1])


def switched_to_evaluation(generator, discriminator, head, learning_rate):
    generator.eval()
    return preparing()(generator, discriminator, head, learning_rate)


def with_draws(generator, discriminator, head, learning_rate):
    torch.rand(3)
    return preparing()(generator, discriminator, head, learning_rate)


WRONG = {
    "draw": [
        (noise_for_the_last_axes, "depend on each other"),
        (without_a_maximum, "from logits [100.5, 99.5, 100.0, 101.0]"),
        (forbidden_never_cooled, "no effect where an id is forbidden"),
        (best_of_the_others, "the most probable other one was taken"),
        (argmax_of_logits, "the argmax of the logits"),
        (
            drawing(result=lambda ids, scores: torch.zeros_like(ids)),
            "whatever the logits",
        ),
        (drawing(one_noise=True), "Each place needs noise of its own"),
        (
            drawing(noise=lambda shape, g, dtype: torch.randn(shape, generator=g)),
            "The noise looks normal",
        ),
        (
            drawing(noise=lambda shape, g, dtype: torch.rand(shape, generator=g)),
            "The noise looks uniform",
        ),
        (drawing(noise=lambda shape, g, dtype: -gumbel(shape, g)), "the wrong sign"),
        (
            drawing(
                noise=lambda shape, g, dtype: -torch.rand(shape, generator=g).log()
            ),
            "One logarithm is missing",
        ),
        (drawing(probabilities=True), "added to probabilities"),
        (
            drawing(scale=lambda logits, temperature: logits),
            "`temperature` has no effect",
        ),
        (
            drawing(scale=lambda logits, temperature: logits * temperature),
            "the wrong way round",
        ),
        (
            drawing(scale=lambda logits, temperature: torch.zeros_like(logits)),
            "−∞ is no barrier",
        ),
        (drawing(take_out="no"), "Is the argument `forbidden` used?"),
        (drawing(take_out="again"), "A second draw may hit it again"),
        (drawing(take_out="zero"), "which one has no chance at all"),
        (drawing(take_out="lower"), "has the probability 0"),
        (
            drawing(noise=lambda shape, g, dtype: gumbel((*shape[:-1], 1), g)),
            "one noise for all words",
        ),
        (drawing(take_out="next"), "a fixed neighbour was taken"),
        (drawing(take_out="everywhere"), "are never drawn either"),
        (drawing(low=True), "In which dtype is your noise"),
        (drawing(seed="global"), "All chance is to come from `generator`"),
        (drawing(seed=0), "do not seed it anew"),
        (drawing(result=lambda ids, scores: ids.float()), "should be integers"),
        (
            drawing(
                result=lambda ids, scores: nn.functional.one_hot(ids, scores.size(-1))
            ),
            "One id for each",
        ),
        (drawing(result=lambda ids, scores: ids.unsqueeze(-1)), "has shape"),
        (in_place, "`logits` was"),
        (logits_written_for_forbidden, "`logits` was"),
        (two_dimensions_only, "stopped with RuntimeError"),
        (nothing, "returned None"),
    ],
    "ways_to_guess": [
        (predicted(drawn_share=0.1258), "its chance of being drawn"),
        (predicted(greedy_gale=-0.1), "no such number can come out"),
        (predicted(best_accuracy=0.8), "some guesses hit"),
        (predicted(drawn_share=0.1), "its chance of being drawn"),
        (predicted(drawn_share=0.2), "the share that is hidden"),
        (predicted(drawn_share=12.5), "No share is above 1"),
        (predicted(drawn_calm=0.2), "half of these were calm before"),
        (predicted(drawn_calm=0.3), "which drawing does not change"),
        (predicted(drawn_gale=0.0375), "Divide by how often gale is read"),
        (predicted(greedy_share=0.2), "the guess is right"),
        (predicted(greedy_calm=0.1), "in 6 of 10 places"),
        (predicted(greedy_calm=0.2), "more often than that"),
        (predicted(greedy_gale=0.1), "How could a word become gale"),
        (predicted(wrong_share=0.125), "may hit the original"),
        (predicted(drawn_share=0.075), "where the guess hits"),
        (predicted(wrong_calm=0.1), "the others grow"),
        (predicted(wrong_calm=2 / 15), "which is not 1/2 any more"),
        (
            predicted(wrong_calm=2 / 15, wrong_gale=4 / 15),
            "Both shares of all words are divided",
        ),
        (predicted(wrong_calm=1 / 15), "Divide by how often calm is read"),
        (predicted(wrong_calm=0.3), "which is not 1/2 any more"),
        (predicted(wrong_gale=4 / 15), "which is not 1/4 any more"),
        (predicted(wrong_gale=1 / 15), "Divide by how often gale is read"),
        (predicted(wrong_gale=0.2), "out of 1/2"),
        (predicted(best_accuracy=0.9), "ever more probably replaced than not"),
        (predicted(best_accuracy="7/8"), "should be one number"),
        (predicted(wrong_share=None), "should be one number"),
        (predicted(greedy_gale=False), "should be a number"),
    ],
    "auc": [
        (all_minus_one_hundred_counted, "for shape (40, 50), where 40 %"),
        (in_single_precision, "The order of the scores is in their last digits"),
        (with_minimum_of_infinities, "for 3,000 tokens with ties, the AUC is"),
        (as_a_tensor, "a `float` is asked for"),
        (writes_into_the_labels, "`scores` was"),
        (area(ties=0.0), "Ties count nothing"),
        (area(ties=1.0), "Ties count as won"),
        (area(change=lambda value: 1 - value), "the wrong way round"),
        (area(change=lambda value: 100 * value), "That is in percent"),
        (
            area(counted=lambda scores, labels: (scores, labels == 1)),
            "with −100 as originals",
        ),
        (
            area(counted=lambda scores, labels: (scores, labels.bool())),
            "with −100 as replaced",
        ),
        (area(change=lambda value: None), "returned None"),
        (area(refuse=False), "Raise a ValueError"),
        (ranking(mean=False), "They should get their mean"),
        (ranking(subtract=False), "are not subtracted"),
        (ranking(first=0), "count from 0"),
        (ranks_of_ties("min"), "the lowest of their ranks"),
        (ranks_of_ties("max"), "the highest of their ranks"),
        (ranks_of_ties("dense"), "Ties take one rank together"),
        (subtracts_the_others, "of the original ones"),
        (accuracy, "That is the accuracy"),
        (cut_at_a_half, "are cut in two"),
        (precision, "the average precision"),
        (zero_for_one_kind, "Raise a ValueError"),
        (asserts, "AssertionError was raised"),
        (library, "stopped with ValueError"),
        (by_row, "should be one number"),
    ],
    "mended_corrupt": [
        (fixed_number_a_row, "the count scatters less"),
        (same_places_in_every_row, "ordinary real tokens hidden at rate 0.15"),
        (guesses_in_columns, "Row n of the logits belongs to hidden place n"),
        (padding_by_its_id, "said by `mask`, not by their ids"),
        (special_written_in, "is hidden and guessed"),
        (broken_as_given, "[CLS] or [SEP], is hidden"),
        (
            corrupting(free=lambda ids, mask, special: mask.bool()),
            "[CLS] or [SEP], is hidden",
        ),
        (
            corrupting(
                free=lambda ids, mask, special: ~torch.isin(ids, torch.tensor(special))
            ),
            "said by `mask`, not by their ids",
        ),
        (
            corrupting(
                free=lambda ids, mask, special: (
                    ~torch.isin(ids, torch.tensor(special[1:]))
                )
            ),
            "Which places may be chosen at all",
        ),
        (
            corrupting(hides=lambda draws, rate: draws < 0.15),
            "Is the argument `rate` used?",
        ),
        (
            corrupting(hides=lambda draws, rate: draws > rate),
            "Those that should stay are hidden",
        ),
        (corrupting(shown=lambda ids, places, mask_id: ids), "It reads the answer"),
        (
            corrupting(shown=lambda ids, places, mask_id: ids.masked_fill(places, 3)),
            "should have `mask_id`, 17, at every hidden place",
        ),
        (
            corrupting(
                shown=lambda ids, places, mask_id: torch.full_like(ids, mask_id)
            ),
            "differs from the original at a place that is not hidden",
        ),
        (
            corrupting(pick=lambda logits, generator: logits.argmax(dim=-1)),
            "the most probable",
        ),
        (
            corrupting(
                pick=lambda logits, generator: torch.randint(
                    3, 8, logits.shape[:1], generator=generator
                )
            ),
            "Draw each from the softmax",
        ),
        (
            corrupting(
                pick=lambda logits, generator: torch.full(logits.shape[:1], 17),
            ),
            "is shown the mask's id",
        ),
        (
            corrupting(
                labels=lambda ids, corrupted, places, mask: places.long().masked_fill(
                    mask == 0, -100
                )
            ),
            "where the guess hits the original, the label says replaced",
        ),
        (
            corrupting(
                labels=lambda ids, corrupted, places, mask: (corrupted != ids).long()
            ),
            "label 0, original",
        ),
        (
            corrupting(
                labels=lambda ids, corrupted, places, mask: (
                    (corrupted == ids).long().masked_fill(mask == 0, -100)
                )
            ),
            "the wrong way round",
        ),
        (
            corrupting(
                labels=lambda ids, corrupted, places, mask: (
                    (corrupted != ids).long().masked_fill(~places, -100)
                )
            ),
            "The discriminator judges all of them",
        ),
        (
            corrupting(
                labels=lambda ids, corrupted, places, mask: (
                    (corrupted != ids)
                    .long()
                    .masked_fill((mask == 0) | (places & (corrupted == ids)), -100)
                )
            ),
            "That token counts, as an original",
        ),
        (
            corrupting(
                labels=lambda ids, corrupted, places, mask: (
                    (corrupted != ids)
                    .long()
                    .masked_fill(
                        (mask == 0) | torch.isin(ids, torch.tensor([0, 1, 2, 17])), -100
                    )
                )
            ),
            "[CLS] and [SEP] do not count",
        ),
        (
            corrupting(
                labels=lambda ids, corrupted, places, mask: torch.where(
                    corrupted != ids, ids, -100
                )
            ),
            "There are three",
        ),
        (corrupting(in_place=True), "`ids` was"),
        (never_the_original, "without a look at the original"),
        (
            corrupting(result=lambda corrupted, labels: (labels, corrupted)),
            "The text comes first",
        ),
        (
            corrupting(result=lambda corrupted, labels: (corrupted, labels == 1)),
            "no room for −100",
        ),
        (corrupting(seed="global"), "All chance is to come from `generator`"),
        (corrupting(seed=0), "do not seed it anew"),
        (
            corrupting(result=lambda corrupted, labels: corrupted),
            "the text and the labels are needed",
        ),
        (
            corrupting(result=lambda corrupted, labels: (corrupted, labels, labels)),
            "what came back is: 3 things",
        ),
        (guess_for_each_row, "Once for the whole batch"),
        (places_as_numbers, "a tensor (B, T) of booleans"),
        (nothing, "returned None"),
    ],
    "pretraining_flops": [
        (feed_forward_four_wide, "how wide it is, the shape says"),
        (plain_attention_only, "for width 24, no generator"),
        (one_thousand_words, "for width 8, no generator"),
        (costing(factor=1), "That is one forward pass"),
        (costing(factor=2), "It takes two: 3 in all"),
        (costing(factor=1.5), "yours seem to count 1"),
        (
            costing(project=lambda width, embedding: False),
            "is missing where the widths differ",
        ),
        (costing(project=lambda width, embedding: True), "Where the widths are equal"),
        (
            costing(places=lambda length, predicted: length),
            "Only the hidden ones are predicted",
        ),
        (costing(transform=False), "the matrix from C to E is missing"),
        (
            costing(inner=lambda width, embedding: width),
            "word vectors of width E, not C",
        ),
        (costing(lookup=True), "no matrix product"),
        (
            costing(detection=lambda length, predicted, width: 0),
            "The discriminator's head is missing",
        ),
        (
            costing(detection=lambda length, predicted, width: length * 2 * width),
            "the matrix from C to C is missing",
        ),
        (
            costing(
                detection=lambda length, predicted, width: length * 2 * width * width
            ),
            "the output, C to 1, is missing",
        ),
        (
            costing(
                detection=lambda length, predicted, width: (
                    predicted * 2 * (width * width + width)
                )
            ),
            "judges every token",
        ),
        (second_masked_model, "The discriminator predicts no words"),
        (costing(generator_factor=1), "The generator learns too"),
        (costing(generator_head=False), "The generator's head is missing"),
        (costing(generator_body=False), "The generator's encoder is missing"),
        (
            costing(generator_body=False, generator_head=False),
            "The generator is missing",
        ),
        (costing(ignore_generator=True), "Is the argument `generator` used?"),
        (costing(factor=4), "the number of FLOPs is"),
        (
            lambda shape, *rest: costing()(shape, *rest) / rest[1],
            "the cost of one token",
        ),
        (words_too, "The discriminator predicts no words"),
        (width_for_embedding, "Is the argument `embedding` used?"),
        (by_part, "the number of FLOPs should be one number"),
        (nothing, "returned None"),
    ],
    "mended_prepare": [
        (
            preparing(
                make=lambda parameters, rate: torch.optim.AdamW(parameters, lr=rate)
            ),
            "this is AdamW",
        ),
        (
            preparing(
                make=lambda parameters, rate: torch.optim.Adam(
                    parameters, lr=rate, weight_decay=0.01
                )
            ),
            "weight_decay = 0.01",
        ),
        (switched_to_evaluation, "the generator is in another mode"),
        (with_draws, "moves the random numbers of everybody"),
        (preparing(share=same_memory), "at the same place in memory"),
        (preparing(share=new_parameter), "at the same place in memory"),
        (preparing(share=copied), "equal now, and two copies"),
        (deep_copy, "equal now, and two copies"),
        (preparing(share=plain_tensor), "is not a parameter any more"),
        (preparing(names=()), "the tables of words are not shared"),
        (preparing(names=TABLES[:1]), "the tables of segments are not shared"),
        (preparing(names=TABLES[:2]), "the tables of positions are not shared"),
        (preparing(share=frozen), "is shared, and frozen"),
        (preparing(share=drawn_anew), "has new numbers"),
        (preparing(more=all_layers), "Only the embeddings are to be shared"),
        (preparing(more=initialised), "has other numbers than before"),
        (preparing(parameters=lists), "is in the optimiser 2 times"),
        (
            preparing(
                parameters=lambda generator, discriminator, head: lists(
                    discriminator, head
                )
            ),
            "of the generator is not in the optimiser",
        ),
        (
            preparing(
                parameters=lambda *models: nn.ModuleList(models[:2]).parameters()
            ),
            "of the head is not in the optimiser",
        ),
        (preparing(before=True), "a parameter that no model has any more"),
        (
            preparing(
                make=lambda parameters, rate: torch.optim.SGD(parameters, lr=rate)
            ),
            "Adam is asked for",
        ),
        (
            preparing(
                make=lambda parameters, rate: torch.optim.Adam(parameters, lr=5e-4)
            ),
            "the optimiser has the rate ",
        ),
        (
            preparing(
                make=lambda parameters, rate: torch.optim.Adam(
                    parameters, lr=rate, eps=0.1
                )
            ),
            "What does yours do otherwise?",
        ),
        (
            preparing(make=lambda parameters, rate: torch.optim.Adam(parameters)),
            "the optimiser has the rate ",
        ),
        (groups, "stopped with ValueError"),
        (models_back, "an optimiser is needed"),
        (nothing, "returned None"),
    ],
}
