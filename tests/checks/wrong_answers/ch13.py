"""Wrong answers to chapter 13's exercises, each with a part of its diagnosis."""

import torch

# 13.1


def _starts(ids, header):
    return [
        place + len(header)
        for place in range(len(ids))
        if ids[place : place + len(header)] == header
    ]


def _filled(ids, spans):
    labels = [-100] * len(ids)
    for start, stop in spans:
        labels[start:stop] = ids[start:stop]
    return labels


def _end_after(ids, start, end):
    return next((n for n in range(start, len(ids)) if ids[n] == end), len(ids))


def without_the_end(ids, header, end):
    starts = _starts(ids, header)
    return _filled(ids, [(start, _end_after(ids, start, end)) for start in starts])


def header_as_well(ids, header, end):
    return _filled(
        ids,
        [
            (start - len(header), _end_after(ids, start, end) + 1)
            for start in _starts(ids, header)
        ],
    )


def the_first_only(ids, header, end):
    starts = _starts(ids, header)[:1]
    return _filled(ids, [(start, _end_after(ids, start, end) + 1) for start in starts])


def the_last_only(ids, header, end):
    starts = _starts(ids, header)[-1:]
    return _filled(ids, [(start, _end_after(ids, start, end) + 1) for start in starts])


def to_the_end_of_the_chat(ids, header, end):
    return _filled(ids, [(start, len(ids)) for start in _starts(ids, header)])


def everything(ids, header, end):
    return list(ids)


def needs_an_end(ids, header, end):
    spans = []
    for start in _starts(ids, header):
        spans.append((start, ids.index(end, start) + 1))
    return _filled(ids, spans)


def ones_and_zeros(ids, header, end):
    starts = _starts(ids, header)
    labels = _filled(
        ids, [(start, _end_after(ids, start, end) + 1) for start in starts]
    )
    return [int(label != -100) for label in labels]


# 13.2


def _numbers(lengths):
    lengths = torch.tensor(lengths)
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths)


def running_positions(lengths):
    chat = _numbers(lengths)
    mask = (chat[:, None] == chat[None, :]).tril()
    return torch.arange(len(chat)), mask


def _positions(lengths):
    return torch.cat([torch.arange(n) for n in lengths])


def sees_the_future(lengths):
    chat = _numbers(lengths)
    return _positions(lengths), chat[:, None] == chat[None, :]


def one_text(lengths):
    total = sum(lengths)
    return _positions(lengths), torch.ones(total, total, dtype=torch.bool).tril()


def not_itself(lengths):
    chat = _numbers(lengths)
    return _positions(lengths), (chat[:, None] == chat[None, :]).tril(-1)


def transposed(lengths):
    chat = _numbers(lengths)
    return _positions(lengths), (chat[:, None] == chat[None, :]).triu()


def ones_for_truth(lengths):
    chat = _numbers(lengths)
    return _positions(lengths), (chat[:, None] == chat[None, :]).tril().float()


# 13.4


def _places(written, end):
    return (written == end).int().argmax(dim=1), (written == end).any(dim=1)


def end_counted(written, end):
    places, ended = _places(written, end)
    lengths = torch.where(ended, places + 1, written.size(1))
    return ended.float().mean().item(), lengths.float().mean().item()


def argmax_of_nothing(written, end):
    places, ended = _places(written, end)
    return ended.float().mean().item(), places.float().mean().item()


def the_ended_only(written, end):
    places, ended = _places(written, end)
    return ended.float().mean().item(), places[ended].float().mean().item()


def the_last_end(written, end):
    places = written.size(1) - 1 - (written.flip(1) == end).int().argmax(dim=1)
    ended = (written == end).any(dim=1)
    lengths = torch.where(ended, places, written.size(1))
    return ended.float().mean().item(), lengths.float().mean().item()


def by_the_last_column(written, end):
    return (written[:, -1] == end).float().mean().item(), float(written.size(1))


# 13.5


def _batch(rows, pad_id, labels):
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [pad_id] * (longest - len(ids)) for ids, _ in rows])
    masks = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows]
    return {
        "input_ids": ids,
        "attention_mask": torch.tensor(masks),
        "labels": torch.tensor(labels),
    }


def _padded(rows, value=-100, shift=False):
    longest = max(len(ids) for ids, _ in rows)
    return [
        ([*labels[1:], -100] if shift else labels) + [value] * (longest - len(labels))
        for _, labels in rows
    ]


def left_as_it_was(rows, pad_id):
    batch = _batch(rows, pad_id, _padded(rows, shift=True))
    batch["labels"][batch["labels"] == pad_id] = -100
    return batch | {"attention_mask": (batch["input_ids"] != pad_id).long()}


def still_shifted(rows, pad_id):
    return _batch(rows, pad_id, _padded(rows, shift=True))


def mask_still_by_id(rows, pad_id):
    batch = _batch(rows, pad_id, _padded(rows))
    return batch | {"attention_mask": (batch["input_ids"] != pad_id).long()}


def labels_still_by_id(rows, pad_id):
    batch = _batch(rows, pad_id, _padded(rows))
    batch["labels"][batch["labels"] == pad_id] = -100
    return batch


def mask_and_labels_by_id(rows, pad_id):
    batch = labels_still_by_id(rows, pad_id)
    return batch | {"attention_mask": (batch["input_ids"] != pad_id).long()}


def shifted_and_mask_by_id(rows, pad_id):
    batch = still_shifted(rows, pad_id)
    return batch | {"attention_mask": (batch["input_ids"] != pad_id).long()}


def shifted_and_labels_by_id(rows, pad_id):
    batch = still_shifted(rows, pad_id)
    batch["labels"][batch["labels"] == pad_id] = -100
    return batch


def padding_trained(rows, pad_id):
    return _batch(rows, pad_id, _padded(rows, value=pad_id))


def prompts_trained(rows, pad_id):
    return _batch(rows, pad_id, _padded([(ids, ids) for ids, _ in rows]))


def rows_changed(rows, pad_id):
    batch = _batch(rows, pad_id, _padded(rows))
    longest = batch["input_ids"].shape[1]
    for ids, labels in rows:
        labels.extend([-100] * (longest - len(labels)))
        ids.extend([pad_id] * (longest - len(ids)))
    return batch


RIGHT = {
    "tokens": 53,
    "trained": 7,
    "predictions": 52,
    "loss": 0.8797,
    "padding": 21 / 106,
    "packed pairs": 1959,
}

WRONG = {
    "labels_from_ids": [
        (without_the_end, "The end of the turn is not trained"),
        (header_as_well, "The header is trained as well"),
        (the_first_only, "Only the first answer is trained"),
        (the_last_only, "Only the last answer is trained"),
        (to_the_end_of_the_chat, "Everything after a header is trained"),
        (everything, "Everything is trained"),
        (needs_an_end, "ValueError"),
        (ones_and_zeros, "the list of labels"),
    ],
    "packed": [
        (running_positions, "The positions run on"),
        (sees_the_future, "A token sees those of its chat that come after it"),
        (one_text, "the causal mask of one text"),
        (not_itself, "No token sees itself"),
        (transposed, "Rows and columns have changed places"),
        (ones_for_truth, "torch.float32"),
    ],
    "bookkeeping": [
        (RIGHT | {"tokens": 38}, "These are the words alone"),
        (RIGHT | {"tokens": 43}, "every message its five tokens"),
        (RIGHT | {"trained": 6}, "Will this model ever stop"),
        (RIGHT | {"trained": 8}, "line break after its turn's end"),
        (RIGHT | {"predictions": 53}, "Which position predicts the first token"),
        (RIGHT | {"loss": 2.0794}, "the loss of the answer alone"),
        (RIGHT | {"padding": 21 / 53}, "How many cells has the batch"),
        (RIGHT | {"packed pairs": 3655}, "Does the second chat see the first"),
        (RIGHT | {"packed pairs": 3833}, "see what comes after it"),
        (RIGHT | {"packed pairs": 100}, "What may the first token of the second"),
    ],
    "endings": [
        (end_counted, "The end is counted with the answer"),
        (argmax_of_nothing, "A row that never ended counts as empty"),
        (the_ended_only, "leaves out the rows that never ended"),
        (the_last_end, "The last `end` of a row"),
        (by_the_last_column, "the mean is 5"),
    ],
    "collate": [
        (left_as_it_was, "All three mistakes are still there"),
        (still_shifted, "The labels are shifted by one"),
        (mask_still_by_id, "The mask is zero at the ends of turns"),
        (labels_still_by_id, "The ends of answers are not trained"),
        (mask_and_labels_by_id, "Two mistakes are left. The ends"),
        (shifted_and_mask_by_id, "Two mistakes are left. The labels"),
        (shifted_and_labels_by_id, "Two mistakes are left, in the labels"),
        (padding_trained, "padding is trained"),
        (prompts_trained, "The labels are the ids"),
        (rows_changed, "before the call"),
    ],
}
