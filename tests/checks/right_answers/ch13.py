"""Right but unusual answers to chapter 13's exercises: none may be refused."""

import math

import torch
from torch import nn

# 13.1


def by_a_state(ids, header, end):
    """Token by token: what has just been read decides."""
    labels = []
    inside = False
    for place, token in enumerate(ids):
        labels.append(token if inside else -100)
        if inside and token == end:
            inside = False
        elif not inside:
            inside = ids[max(0, place + 1 - len(header)) : place + 1] == header
    return labels


def as_a_tuple(ids, header, end):
    return tuple(by_a_state(ids, header, end))


# 13.2


def cell_by_cell(lengths):
    chats = [number for number, length in enumerate(lengths) for _ in range(length)]
    total = len(chats)
    mask = torch.zeros(total, total, dtype=torch.bool)
    for row in range(total):
        for column in range(row + 1):
            mask[row, column] = chats[row] == chats[column]
    positions = [place for length in lengths for place in range(length)]
    return torch.tensor(positions, dtype=torch.int64), mask


def by_blocks(lengths):
    blocks = [torch.ones(length, length).tril() for length in lengths if length]
    positions = torch.cat([torch.arange(length) for length in lengths])
    return positions, torch.block_diag(*blocks).bool()


# 13.4


def row_by_row(written, end):
    lengths = []
    ended = 0
    for row in written.tolist():
        ended += end in row
        lengths.append(row.index(end) if end in row else len(row))
    return ended / len(lengths), sum(lengths) / len(lengths)


def by_cumulated_ends(written, end):
    before = (written == end).cumsum(dim=1) == 0
    return (
        float((~before[:, -1]).double().mean()),
        float(before.sum(dim=1).double().mean()),
    )


# 13.5


def by_pad_sequence(rows, pad_id):
    def together(parts, value):
        return nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)

    ids = [torch.tensor(ids) for ids, _ in rows]
    return {
        "labels": together([torch.tensor(labels) for _, labels in rows], -100),
        "attention_mask": together([torch.ones_like(each) for each in ids], 0),
        "input_ids": together(ids, pad_id),
    }


def filled(rows, pad_id):
    longest = max(len(ids) for ids, _ in rows)
    shape = (len(rows), longest)
    batch = {
        "input_ids": torch.full(shape, pad_id),
        "attention_mask": torch.zeros(shape, dtype=torch.int64),
        "labels": torch.full(shape, -100),
    }
    for place, (ids, labels) in enumerate(rows):
        batch["input_ids"][place, : len(ids)] = torch.tensor(ids)
        batch["attention_mask"][place, : len(ids)] = 1
        batch["labels"][place, : len(labels)] = torch.tensor(labels)
    return batch


RIGHT = {
    "labels_from_ids": [by_a_state, as_a_tuple],
    "packed": [cell_by_cell, by_blocks],
    "bookkeeping": [
        {
            "packed pairs": 1959.0,
            "padding": 0.198,
            "loss": (7 * 3 + 45) * math.log(2) / 52,
            "predictions": 52.0,
            "trained": 7,
            "tokens": 53,
        }
    ],
    "endings": [row_by_row, by_cumulated_ends],
    "collate": [by_pad_sequence, filled],
}
