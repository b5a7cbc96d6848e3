"""Wrong answers to chapter 02's exercises, each with a part of its diagnosis."""

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


def labels_read_after_masking(ids, special, mask_id, vocabulary_size, generator):
    chosen = _choose(ids, special, generator)
    inputs = _replace(ids, chosen, mask_id, vocabulary_size, generator)
    return inputs, inputs.masked_fill(~chosen, -100)


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
    chosen[:, 1:33] = True
    return _replace(ids, chosen, mask_id, vocabulary_size, generator), ids.masked_fill(
        ~chosen, -100
    )


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


WRONG = {
    "masked_lm_corruption": [
        (labels_are_all_tokens, "every token has a label"),
        (labels_read_after_masking, "read from the input after it was corrupted"),
        (everything_masked, "all chosen tokens became [MASK]"),
        (special_tokens_chosen, "a special token or padding was chosen"),
        (eighty_percent_of_all, "not of all tokens"),
        (
            second_draw_is_a_tenth_of_the_rest,
            "the second draw is a share of what the first",
        ),
        (changed_in_place, "the caller still needs the original text"),
        (one_random_token, "not drawn from the whole vocabulary"),
        (vocabulary_of_another_model, "outside the vocabulary"),
        (only_the_first_thousand, "not drawn evenly"),
        (the_first_places_of_every_text, "the same places are chosen"),
        (generator_forgotten, "pass `generator` to every random draw"),
    ],
    "replaced_token_loss": [
        (where_the_generator_worked, "the label compares the tokens"),
        (one_means_original, "the wrong way round"),
        (padding_in_the_mean, "depends on the logits of padding"),
        (padding_in_the_count, "Divide by the number of real tokens"),
        (only_the_chosen, "every real token counts, chosen or not"),
        (summed, "this is the sum of the losses"),
        (labels_left_boolean, "`.float()` makes 1 and 0"),
        (indexed_with_integers, "Use `.bool()`"),
        (logits_taken_for_probabilities, "stopped with RuntimeError"),
    ],
    "causal_loss": [
        (unshifted, "asked for its own token"),
        (shifted_backwards, "the shift goes the wrong way"),
        (rolled_with_mask, "the last position is asked for the first token"),
        (padding_counted, "padding is counted"),
        (shifted_twice, "the labels are shifted twice"),
        (divided_by_all, "it is divided by all places"),
        (mean_of_means, "the mean of each text's mean"),
        (zeroed_not_left_out, "but not of the count"),
        (zero_taken_for_padding, "token id 0 is an ordinary token"),
        (masked_by_the_place_itself, "The next token must be real too"),
        (ids_changed_in_place, "what was passed in has changed"),
        (first_token_after_padding, "it has read nothing"),
    ],
    "signal": [
        (RIGHT | {"causal": 64}, "the last token has no successor"),
        (RIGHT | {"masked": 0.15 * 64}, "[CLS] and [SEP] are never chosen"),
        (RIGHT | {"shown as [MASK]": 0.8 * 62}, "80 % of those *chosen*"),
        (RIGHT | {"shown unchanged": 0.85 * 62}, "tokens that were not chosen"),
        (RIGHT | {"replaced detection": 9.3}, "answers at every real token"),
        (RIGHT | {"labelled replaced": 9.3}, "the label is original"),
        (RIGHT | {"labelled replaced": 3.72}, "replaced are the other 60 %"),
        (RIGHT | {"causal": 61}, "[CLS] and [SEP] count"),
        (RIGHT | {"masked": "9.3 or so"}, "should be one number"),
        ({"causal": 63}, "a dictionary with the keys"),
    ],
    "nearest_topic": [
        (place_instead_of_topic, "turn it into the topic's own number"),
        (lengths_count, "long vectors win"),
        (summed_not_averaged, "long vectors win"),
        (distances_without_length_one, "this compares distances"),
        (nearest_article, "the topic of the nearest article"),
        (divided_in_place, "not in place"),
    ],
    "label_prompt": [
        (space_in_the_prompt, "a token that never follows there"),
        (space_nowhere, "so the score of the first is the score of something else"),
        (space_in_both, "has two spaces"),
        (words_by_length, "Keep the topics' order"),
        (ids_for_words, "not ids of tokens"),
        (article_forgotten, "does not stand in the prompt"),
    ],
}
