"""Wrong answers to chapter 02's exercises, each with a part of its diagnosis."""

import math

import numpy as np
import torch
import torch.nn.functional as F

# 2.1


def _choose(ids, special, generator, share=0.15):
    return (torch.rand(ids.shape, generator=generator) < share) & ~special


def _replace(ids, chosen, mask_id, vocabulary_size, generator, masked=0.8, random=0.1):
    inputs, die = ids.clone(), torch.rand(ids.shape, generator=generator)
    inputs[chosen & (die < masked)] = mask_id
    swap = chosen & (die >= masked) & (die < masked + random)
    inputs[swap] = torch.randint(vocabulary_size, ids.shape, generator=generator)[swap]
    return inputs


def labels_are_all_tokens(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    return _replace(ids, chosen, mask_id, vocabulary_size, generator), ids.masked_fill(
        special, -100
    )


def labels_are_the_ids(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    return _replace(ids, chosen, mask_id, vocabulary_size, generator), ids.clone()


def labels_read_after_masking(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return inputs, inputs.masked_fill(~chosen, -100)


def everything_chosen(ids, special, mask_id, vocabulary_size, generator):
    chosen = ~special
    return _replace(ids, chosen, mask_id, vocabulary_size, generator), ids.masked_fill(
        special, -100
    )


def nothing_chosen(ids, special, mask_id, vocabulary_size, generator):
    torch.rand(ids.shape, generator=generator)
    return ids.clone(), torch.full_like(ids, -100)


def another_mask(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, -mask_id - 1, vocabulary_size, generator)
    return inputs, ids.masked_fill(~chosen, -100)


def everything_masked(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    return ids.masked_fill(chosen, mask_id), ids.masked_fill(~chosen, -100)


def special_tokens_chosen(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, torch.zeros_like(special), generator)
    return _replace(ids, chosen, mask_id, vocabulary_size, generator), ids.masked_fill(
        ~chosen, -100
    )


def eighty_percent_of_all(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator, share=0.8)
    return ids.masked_fill(chosen, mask_id), ids.masked_fill(~chosen, -100)


def second_draw_is_a_tenth_of_the_rest(
    ids, special, mask_id, vocabulary_size, generator
):
    chosen = _choose(ids, special, generator)
    masked = chosen & (torch.rand(ids.shape, generator=generator) < 0.8)
    swap = chosen & ~masked & (torch.rand(ids.shape, generator=generator) < 0.1)
    inputs = ids.masked_fill(masked, mask_id)
    inputs[swap] = torch.randint(vocabulary_size, ids.shape, generator=generator)[swap]
    return inputs, ids.masked_fill(~chosen, -100)


def changed_in_place(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    labels = ids.masked_fill(~chosen, -100)
    ids[chosen] = mask_id
    return ids, labels


def one_random_token(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator, random=0.0)
    die = torch.rand(ids.shape, generator=generator)
    swap = chosen & (inputs == ids) & (die < 0.5)
    inputs[swap] = torch.randint(vocabulary_size, (1,), generator=generator)
    return inputs, ids.masked_fill(~chosen, -100)


def generator_forgotten(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, None)
    return _replace(ids, chosen, mask_id, vocabulary_size, None), ids.masked_fill(
        ~chosen, -100
    )


def vocabulary_of_another_model(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    return _replace(ids, chosen, mask_id, 30522, generator), ids.masked_fill(
        ~chosen, -100
    )


def only_the_first_thousand(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    return _replace(ids, chosen, mask_id, 1000, generator), ids.masked_fill(
        ~chosen, -100
    )


def the_first_places_of_every_text(ids, special, mask_id, vocabulary_size, generator):
    chosen = torch.zeros_like(special)
    chosen[:, 1:37] = True
    chosen &= ~special
    return _replace(ids, chosen, mask_id, vocabulary_size, generator), ids.masked_fill(
        ~chosen, -100
    )


def _right_labels(ids, chosen):
    return ids.masked_fill(~chosen, -100)


def whole_texts(ids, special, mask_id, vocabulary_size, generator):
    rows = torch.rand(len(ids), 1, generator=generator) < 0.15
    chosen = rows & ~special
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return inputs, _right_labels(ids, chosen)


def the_same_places(ids, special, mask_id, vocabulary_size, generator):
    chosen = (torch.rand(ids.shape[1], generator=generator) < 0.15) & ~special
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return inputs, _right_labels(ids, chosen)


def a_fixed_number(ids, special, mask_id, vocabulary_size, generator):
    chance = torch.rand(ids.shape, generator=generator).masked_fill(special, 2.0)
    count = (0.15 * (~special).sum(1, keepdim=True)).round().long()
    chosen = chance.argsort(1).argsort(1) < count
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return inputs, _right_labels(ids, chosen)


def pairs_of_tokens(ids, special, mask_id, vocabulary_size, generator):
    half = torch.rand(len(ids), (ids.shape[1] + 1) // 2, generator=generator) < 0.15
    chosen = half.repeat_interleave(2, 1)[:, : ids.shape[1]] & ~special
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return inputs, _right_labels(ids, chosen)


def fate_by_the_place(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    fate = torch.rand(ids.shape[1], generator=generator).expand(ids.shape)
    inputs = ids.masked_fill(chosen & (fate < 0.8), mask_id)
    swap = chosen & (fate >= 0.8) & (fate < 0.9)
    strangers = torch.randint(vocabulary_size, ids.shape, generator=generator)
    return torch.where(swap, strangers, inputs), _right_labels(ids, chosen)


def one_draw_for_both(ids, special, mask_id, vocabulary_size, generator):
    draw = torch.rand(ids.shape, generator=generator)
    chosen = (draw < 0.15) & ~special
    inputs = ids.masked_fill(chosen & (draw < 0.8), mask_id)
    strangers = torch.randint(vocabulary_size, ids.shape, generator=generator)
    swap = chosen & (draw >= 0.8) & (draw < 0.9)
    return torch.where(swap, strangers, inputs), _right_labels(ids, chosen)


def _with_strangers(make):
    def corrupt(ids, special, mask_id, vocabulary_size, generator):
        chosen = _choose(ids, special, generator)
        fate = torch.rand(ids.shape, generator=generator)
        strangers = make(ids, vocabulary_size, generator)
        inputs = ids.masked_fill(chosen & (fate < 0.8), mask_id)
        swap = chosen & (fate >= 0.8) & (fate < 0.9)
        return torch.where(swap, strangers, inputs), _right_labels(ids, chosen)

    return corrupt


next_id = _with_strangers(lambda ids, size, g: (ids + 1) % size)
one_for_the_batch = _with_strangers(
    lambda ids, size, g: torch.randint(size, (1,), generator=g).expand(ids.shape)
)
one_for_each_text = _with_strangers(
    lambda ids, size, g: torch.randint(size, (len(ids), 1), generator=g).expand(
        ids.shape
    )
)
from_the_batch = _with_strangers(
    lambda ids, size, g: ids.flatten()[
        torch.randint(ids.numel(), ids.shape, generator=g)
    ]
)
never_zero = _with_strangers(
    lambda ids, size, g: torch.randint(1, size, ids.shape, generator=g)
)
never_the_last = _with_strangers(
    lambda ids, size, g: torch.randint(size - 1, ids.shape, generator=g)
)
one_too_many = _with_strangers(
    lambda ids, size, g: torch.randint(size + 1, ids.shape, generator=g)
)
numbers_of_numpy = _with_strangers(
    lambda ids, size, g: torch.from_numpy(np.random.randint(0, size, tuple(ids.shape)))
)


def _seeded(make):
    right = _with_strangers(
        lambda ids, size, g: torch.randint(size, ids.shape, generator=g)
    )

    def corrupt(ids, special, mask_id, vocabulary_size, generator):
        return right(ids, special, mask_id, vocabulary_size, make(generator))

    return corrupt


seeded_within = _seeded(lambda g: torch.Generator().manual_seed(0))
seeded_anew = _seeded(lambda g: torch.Generator().manual_seed(g.initial_seed()))


def wrong_order(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return _right_labels(ids, chosen), inputs


def labels_of_zero(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return inputs, ids.masked_fill(~chosen, -1)


def labels_where_masked(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return inputs, ids.masked_fill(inputs != mask_id, -100)


def labels_where_changed(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return inputs, ids.masked_fill(inputs == ids, -100)


def fifth_kept(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator, random=0.0)
    return inputs, _right_labels(ids, chosen)


def special_changed(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    labels = _right_labels(ids, chosen)
    special |= chosen
    return inputs, labels


# 2.2


def where_the_generator_worked(logits, original, corrupted, chosen, attention_mask):
    each = F.binary_cross_entropy_with_logits(logits, chosen.float(), reduction="none")
    return (each * attention_mask).sum() / attention_mask.sum()


def one_means_original(logits, original, corrupted, chosen, attention_mask):
    each = F.binary_cross_entropy_with_logits(
        logits, (corrupted == original).float(), reduction="none"
    )
    return (each * attention_mask).sum() / attention_mask.sum()


def padding_in_the_mean(logits, original, corrupted, chosen, attention_mask):
    return F.binary_cross_entropy_with_logits(logits, (corrupted != original).float())


def padding_in_the_count(logits, original, corrupted, chosen, attention_mask):
    each = F.binary_cross_entropy_with_logits(
        logits, (corrupted != original).float(), reduction="none"
    )
    return (each * attention_mask).mean()


def only_the_chosen(logits, original, corrupted, chosen, attention_mask):
    each = F.binary_cross_entropy_with_logits(
        logits, (corrupted != original).float(), reduction="none"
    )
    return each[chosen].mean()


def summed(logits, original, corrupted, chosen, attention_mask):
    each = F.binary_cross_entropy_with_logits(
        logits, (corrupted != original).float(), reduction="none"
    )
    return (each * attention_mask).sum()


def logits_taken_for_probabilities(logits, original, corrupted, chosen, attention_mask):
    return F.binary_cross_entropy(logits, (corrupted != original).float())


def labels_left_boolean(logits, original, corrupted, chosen, attention_mask):
    return F.binary_cross_entropy_with_logits(logits, corrupted != original)


def indexed_with_integers(logits, original, corrupted, chosen, attention_mask):
    each = F.binary_cross_entropy_with_logits(
        logits, (corrupted != original).float(), reduction="none"
    )
    return each[attention_mask].mean()


def _bce(logits, original, corrupted):
    return F.binary_cross_entropy_with_logits(
        logits, (corrupted != original).to(logits.dtype), reduction="none"
    )


def mean_of_text_means(logits, original, corrupted, chosen, attention_mask):
    each = _bce(logits, original, corrupted)
    rows = [
        row[real > 0].mean() for row, real in zip(each, attention_mask, strict=True)
    ]
    return torch.stack(rows).mean()


def logarithms_of_probabilities(logits, original, corrupted, chosen, attention_mask):
    p = torch.sigmoid(logits)
    label = (corrupted != original).to(p.dtype)
    each = -(label * torch.log(p) + (1 - label) * torch.log(1 - p))
    return each[attention_mask == 1].mean()


def padding_by_its_id(logits, original, corrupted, chosen, attention_mask):
    return _bce(logits, original, corrupted)[original != 0].mean()


def logits_changed(logits, original, corrupted, chosen, attention_mask):
    logits *= attention_mask
    each = _bce(logits, original, corrupted)
    return each[attention_mask.bool()].mean()


def left_as_a_vector(logits, original, corrupted, chosen, attention_mask):
    return _bce(logits, original, corrupted)[attention_mask.bool()]


def eight_places(logits, original, corrupted, chosen, attention_mask):
    each = _bce(logits, original, corrupted) * attention_mask
    return each.sum() / attention_mask[:, :8].sum()


# 2.3


def _masked(labels, attention_mask):
    return labels.masked_fill(attention_mask == 0, -100)


def unshifted(logits, ids, attention_mask):
    return F.cross_entropy(logits.flatten(0, 1), _masked(ids, attention_mask).flatten())


def shifted_backwards(logits, ids, attention_mask):
    return F.cross_entropy(
        logits[:, 1:].flatten(0, 1), _masked(ids, attention_mask)[:, :-1].flatten()
    )


def rolled_with_mask(logits, ids, attention_mask):
    labels = _masked(ids, attention_mask).roll(-1, dims=1)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def padding_counted(logits, ids, attention_mask):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def shifted_twice(logits, ids, attention_mask):
    labels = _masked(ids, attention_mask)[:, 1:]
    return F.cross_entropy(logits[:, :-2].flatten(0, 1), labels[:, 1:].flatten())


def divided_by_all(logits, ids, attention_mask):
    labels = _masked(ids, attention_mask)[:, 1:]
    return (
        F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), reduction="sum")
        / ids.numel()
    )


def mean_of_means(logits, ids, attention_mask):
    labels = _masked(ids, attention_mask)
    rows = [
        F.cross_entropy(row[:-1], label[1:])
        for row, label in zip(logits, labels, strict=True)
    ]
    return torch.stack(rows).mean()


def zeroed_not_left_out(logits, ids, attention_mask):
    each = F.cross_entropy(
        logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    return (each * attention_mask[:, 1:].flatten()).mean()


def first_token_after_padding(logits, ids, attention_mask):
    labels = _masked(ids, attention_mask)[:, 1:]
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())


def zero_taken_for_padding(logits, ids, attention_mask):
    labels = ids[:, 1:].masked_fill(ids[:, 1:] == 0, -100)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())


def masked_by_the_place_itself(logits, ids, attention_mask):
    labels = _masked(ids[:, 1:], attention_mask[:, :-1])
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())


def ids_changed_in_place(logits, ids, attention_mask):
    ids[attention_mask == 0] = -100
    labels = torch.where(attention_mask[:, :-1] == 0, -100, ids[:, 1:])
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())


def summed_up(logits, ids, attention_mask):
    return right_causal(logits, ids, attention_mask, "sum")


def right_causal(logits, ids, attention_mask, reduction="mean"):
    answered = (attention_mask[:, :-1] * attention_mask[:, 1:]).bool()
    labels = ids[:, 1:].masked_fill(~answered, -100)
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels.flatten(), reduction=reduction
    )


def softmax_before(logits, ids, attention_mask):
    return right_causal(logits.softmax(-1), ids, attention_mask)


def logarithm_of_softmax(logits, ids, attention_mask):
    answered = (attention_mask[:, :-1] * attention_mask[:, 1:]).bool()
    p = logits[:, :-1].softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return -p.log()[answered].mean()


def labels_written_into_the_ids(logits, ids, attention_mask):
    loss = right_causal(logits, ids, attention_mask)
    ids[:, 0] = -100
    return loss


def causal_in_float32(logits, ids, attention_mask):
    return right_causal(logits.float(), ids, attention_mask)


def first_text_alone(logits, ids, attention_mask):
    return right_causal(logits[:1], ids[:1], attention_mask[:1])


def padding_on_the_left_cut(logits, ids, attention_mask):
    count = int(attention_mask.sum(1).max())
    return right_causal(logits[:, :count], ids[:, :count], attention_mask[:, :count])


# 2.4

RIGHT = {
    "causal": 63,
    "masked": 9.3,
    "shown as [MASK]": 7.44,
    "shown unchanged": 0.93,
    "replaced detection": 64,
    "labelled replaced": 5.58,
}

# 2.5


def _means(features, labels, unit=True):
    topics = np.unique(labels)
    means = np.stack([features[labels == topic].mean(axis=0) for topic in topics])
    return topics, means / np.linalg.norm(
        means, axis=1, keepdims=True
    ) if unit else means


def place_instead_of_topic(features, labels, queries):
    _, means = _means(features, labels)
    return (queries @ means.T).argmax(axis=1)


def lengths_count(features, labels, queries):
    topics, means = _means(features, labels, unit=False)
    return topics[(queries @ means.T).argmax(axis=1)]


def summed_not_averaged(features, labels, queries):
    topics = np.unique(labels)
    sums = np.stack([features[labels == topic].sum(axis=0) for topic in topics])
    return topics[(queries @ sums.T).argmax(axis=1)]


def distances_without_length_one(features, labels, queries):
    topics, means = _means(features, labels, unit=False)
    return topics[np.linalg.norm(queries[:, None] - means, axis=2).argmin(axis=1)]


def nearest_article(features, labels, queries):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return labels[(queries @ unit.T).argmax(axis=1)]


def divided_in_place(features, labels, queries):
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    topics, means = _means(features, labels)
    return topics[(queries @ means.T).argmax(axis=1)]


def farthest(features, labels, queries):
    topics, means = _means(features, labels)
    return topics[(queries @ means.T).argmin(axis=1)]


def articles_of_length_one(features, labels, queries):
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    topics, means = _means(features, labels)
    return topics[(queries @ means.T).argmax(axis=1)]


def norm_over_topics(features, labels, queries):
    topics, means = _means(features, labels, unit=False)
    means = means / np.linalg.norm(means, axis=0, keepdims=True)
    return topics[(queries @ means.T).argmax(axis=1)]


def queries_changed(features, labels, queries):
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    topics, means = _means(features, labels)
    return topics[(queries @ means.T).argmax(axis=1)]


def common_topics_win(features, labels, queries):
    topics, means = _means(features, labels)
    counts = np.array([(labels == topic).sum() for topic in topics])
    return topics[((queries @ means.T) * counts).argmax(axis=1)]


# 2.6


def space_in_the_prompt(article, topics):
    return f"Article: {article}\nTopic: ", list(topics)


def space_nowhere(article, topics):
    return f"Article: {article}\nTopic:", list(topics)


def space_in_both(article, topics):
    return f"Article: {article}\nTopic: ", [" " + topic for topic in topics]


def words_by_length(article, topics):
    return f"Article: {article}\nTopic:", [
        " " + topic for topic in sorted(topics, key=len)
    ]


def ids_for_words(article, topics):
    return f"Article: {article}\nTopic:", [1, 2, 3, 4, 5]


def article_forgotten(article, topics):
    return "Article: {article}\nTopic:", [" " + topic for topic in topics]


def five_words(article, topics):
    words = [" business", " entertainment", " politics", " sport", " tech"]
    return f"Article: {article}\nTopic:", words


def known_topics(article, topics):
    return f"Article: {article}\nTopic:", [
        " " + topic if topic in ("business", "sport", "tech", "politics") else topic
        for topic in topics
    ]


def topics_sorted(article, topics):
    topics.sort()
    return f"Article: {article}\nTopic:", [" " + topic for topic in topics]


def trailing_space(article, topics):
    return f"Article: {article}\nTopic:", [f" {topic} " for topic in topics]


def first_words(article, topics):
    return f"Article: {article[:20]}\nTopic:", [" " + topic for topic in topics]


def no_question(article, topics):
    return article, [" " + topic for topic in topics]


def words_alone(article, topics):
    return [" " + topic for topic in topics]


def on_a_new_line(article, topics):
    return f"Article: {article}\nTopic:\n", list(topics)


WRONG = {
    "masked_lm_corruption": [
        (labels_are_all_tokens, "every token has a label"),
        (labels_read_after_masking, "read from the input after it was corrupted"),
        (everything_masked, "all chosen tokens became [MASK]"),
        (everything_chosen, "and the input was changed at 43,"),
        (nothing_chosen, "no token has a label"),
        (another_mask, "outside the vocabulary of 5000, the first as -104."),
        (special_tokens_chosen, "a special token or padding has a label"),
        (labels_are_the_ids, "a special token or padding has a label: 9,600 of 9,600"),
        (eighty_percent_of_all, "not of all tokens"),
        (second_draw_is_a_tenth_of_the_rest, "18 % is what a second draw"),
        (changed_in_place, "The caller still needs the original text"),
        (one_random_token, "not drawn from the whole vocabulary"),
        (vocabulary_of_another_model, "outside the vocabulary"),
        (only_the_first_thousand, "outside the vocabulary"),
        (the_first_places_of_every_text, "counted over all texts"),
        (generator_forgotten, "pass `generator` to every random draw"),
        (whole_texts, "Each must be drawn by itself"),
        (the_same_places, "counted over all texts"),
        (a_fixed_number, "counted in each text"),
        (pairs_of_tokens, "counted in each text"),
        (fate_by_the_place, "depend on each other"),
        (one_draw_for_both, "all chosen tokens became [MASK]"),
        (next_id, "depend on each other"),
        (one_for_the_batch, "not drawn from the whole vocabulary"),
        (one_for_each_text, "not drawn from the whole vocabulary"),
        (from_the_batch, "are not drawn evenly"),
        (never_zero, "and number 0 0 times"),
        (never_the_last, "are not drawn evenly"),
        (one_too_many, "outside the vocabulary of 5, the first as 5."),
        (numbers_of_numpy, "pass `generator` to every random draw"),
        (seeded_within, "two different generators gave the same"),
        (seeded_anew, "it draws the very same again"),
        (wrong_order, "in the wrong order"),
        (labels_of_zero, "have the label -1."),
        (labels_where_masked, "ordinary tokens that have a label"),
        (labels_where_changed, "ordinary tokens that have a label"),
        (fifth_kept, "chosen tokens that stayed as they are"),
        (special_changed, "`special` was False"),
    ],
    "replaced_token_loss": [
        (where_the_generator_worked, "the label compares the tokens"),
        (one_means_original, "the wrong way round"),
        (padding_in_the_mean, "Padding is in the mean"),
        (padding_in_the_count, "Divide by the number of real tokens"),
        (only_the_chosen, "Every real token counts, chosen or not"),
        (summed, "This is the sum of the losses"),
        (labels_left_boolean, "`.float()` makes 1 and 0"),
        (indexed_with_integers, "Use `.bool()`"),
        (logits_taken_for_probabilities, "stopped with RuntimeError"),
        (mean_of_text_means, "the mean of each text's mean"),
        (logarithms_of_probabilities, "the logarithm of that is lost"),
        (padding_by_its_id, "the loss is "),
        (logits_changed, "`logits` was"),
        (left_as_a_vector, "the loss has shape"),
        (eight_places, "for 4 texts of 9 tokens"),
    ],
    "causal_loss": [
        (unshifted, "asked for its own token"),
        (shifted_backwards, "The shift goes the wrong way"),
        (rolled_with_mask, "The last position is asked for the first token"),
        (padding_counted, "Padding is counted"),
        (shifted_twice, "The labels are shifted twice"),
        (divided_by_all, "it is divided by all places"),
        (mean_of_means, "the loss is "),
        (zeroed_not_left_out, "the loss is "),
        (zero_taken_for_padding, "Token id 0 is an ordinary token"),
        (masked_by_the_place_itself, "The next token must be real too"),
        (ids_changed_in_place, "`ids` was"),
        (first_token_after_padding, "it has read nothing"),
        (summed_up, "the loss is their mean"),
        (softmax_before, "takes logits, and makes the softmax itself"),
        (logarithm_of_softmax, "its logarithm is lost"),
        (labels_written_into_the_ids, "`ids` was"),
        (causal_in_float32, "digits are lost"),
        (first_text_alone, "the loss is "),
        (padding_on_the_left_cut, "on the left in others"),
    ],
    "signal": [
        (RIGHT | {"causal": 64}, "the last one has no successor"),
        (RIGHT | {"masked": 0.15 * 64}, "[CLS] and [SEP] are never chosen"),
        (RIGHT | {"masked": 9.0}, "Which of the 96 places can be chosen at all"),
        (RIGHT | {"shown as [MASK]": 0.8 * 62}, "80 % are of those *chosen*"),
        (RIGHT | {"shown unchanged": 0.85 * 62}, "tokens that were not chosen"),
        (RIGHT | {"replaced detection": 9.3}, "answers at every real token"),
        (RIGHT | {"replaced detection": 60}, "was this one replaced?"),
        (RIGHT | {"labelled replaced": 9.3}, "the label is original"),
        (RIGHT | {"labelled replaced": 3.72}, "replaced are the others"),
        (RIGHT | {"causal": 61}, "[CLS] and [SEP] count"),
        (RIGHT | {"causal": math.nan}, "no such number"),
        (RIGHT | {"masked": "9.3 or so"}, "should be one number"),
        ({"causal": 63}, "'masked' is missing"),
    ],
    "nearest_topic": [
        (place_instead_of_topic, "turn it into the topic's own number"),
        (lengths_count, "Long vectors win"),
        (summed_not_averaged, "Long vectors win"),
        (distances_without_length_one, "This compares distances"),
        (nearest_article, "the topic of the nearest article"),
        (divided_in_place, "The articles get length 1 before"),
        (farthest, "points away most"),
        (articles_of_length_one, "the mean is of the vectors as they are"),
        (norm_over_topics, "the wrong axis"),
        (queries_changed, "`queries` holds other numbers"),
        (common_topics_win, "the answer is "),
    ],
    "label_prompt": [
        (space_in_the_prompt, "a token that never follows there"),
        (space_nowhere, "so the score of the first is the score of something else"),
        (space_in_both, "has white space twice"),
        (words_by_length, "Keep the topics' order"),
        (ids_for_words, "and not ids"),
        (article_forgotten, "does not stand in the prompt"),
        (five_words, "a list of 3 words"),
        (known_topics, "so the score of the first is the score of something else"),
        (topics_sorted, "`topics` at [0] was 'tech'"),
        (trailing_space, "so the score of the first is the score of something else"),
        (first_words, "does not stand in the prompt"),
        (no_question, "does not ask for the topic"),
        (words_alone, "two things should come back"),
        (on_a_new_line, "so the score of the first is the score of something else"),
    ],
}
