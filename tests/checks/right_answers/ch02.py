"""Right but unusual answers to chapter 02's exercises: none may be refused."""

from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F

# 2.1


def with_bernoulli(ids, special, mask_id, vocabulary_size, generator):
    chance = torch.full(ids.shape, 0.15).masked_fill(special, 0.0)
    chosen = torch.bernoulli(chance, generator=generator).bool()
    labels = torch.where(chosen, ids, -100)
    masked = (
        chosen & torch.bernoulli(torch.full(ids.shape, 0.8), generator=generator).bool()
    )
    half = torch.bernoulli(torch.full(ids.shape, 0.5), generator=generator).bool()
    inputs = ids.clone()
    inputs[masked] = mask_id
    swap = chosen & ~masked & half
    count = (int(swap.sum()),)
    inputs[swap] = torch.randint(vocabulary_size, count, generator=generator)
    return [inputs, labels]


def token_by_token(ids, special, mask_id, vocabulary_size, generator):
    inputs, labels = ids.clone(), torch.full_like(ids, -100)
    chance = torch.rand(ids.shape, generator=generator)
    for row, column in ((chance < 0.15) & ~special).nonzero().tolist():
        labels[row, column] = ids[row, column]
        fate = torch.rand((), generator=generator).item()
        if fate >= 0.2:
            inputs[row, column] = mask_id
        elif fate >= 0.1:
            inputs[row, column] = torch.randint(
                vocabulary_size, (), generator=generator
            )
    return inputs, labels


def with_multinomial(ids, special, mask_id, vocabulary_size, generator):
    chances = torch.tensor([0.85, 0.12, 0.015, 0.015])
    fate = torch.multinomial(
        chances, ids.numel(), replacement=True, generator=generator
    ).view_as(ids)
    fate = fate.masked_fill(special, 0)
    strangers = torch.randint(0, vocabulary_size, ids.shape, generator=generator)
    inputs = ids * (fate % 3 == 0) + mask_id * (fate == 1) + strangers * (fate == 2)
    return inputs.int(), (ids + 100) * (fate > 0) - 100


# 2.2


def with_softplus(logits, original, corrupted, chosen, attention_mask):
    each = F.softplus(torch.where(corrupted == original, logits, -logits))
    return (each * attention_mask).sum() / attention_mask.sum()


def as_a_number(logits, original, corrupted, chosen, attention_mask):
    labels = (chosen & (corrupted != original)).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(
        logits, labels, weight=attention_mask, reduction="sum"
    )
    return (loss / attention_mask.sum()).item()


def by_loops(logits, original, corrupted, chosen, attention_mask):
    losses = []
    for place in attention_mask.nonzero().tolist():
        row, column = place
        sign = 1 if original[row, column] == corrupted[row, column] else -1
        losses.append(-F.logsigmoid(-sign * logits[row, column]))
    return torch.stack(losses).mean()


# 2.3


def with_gather(logits, ids, attention_mask):
    p = logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    weight = attention_mask[:, :-1] * attention_mask[:, 1:]
    return -(p * weight).sum() / weight.sum()


def text_by_text(logits, ids, attention_mask):
    total, count = 0.0, 0
    for row, tokens, real in zip(logits, ids, attention_mask, strict=True):
        row, tokens = row[real > 0], tokens[real > 0]
        total = total + F.cross_entropy(row[:-1], tokens[1:], reduction="sum")
        count += len(tokens) - 1
    return total / count


def rolled_and_mended(logits, ids, attention_mask):
    labels, real = ids.roll(-1, 1), attention_mask > 0
    following = real.roll(-1, 1)
    following[:, -1] = False
    labels[~(real & following)] = -100
    return F.cross_entropy(logits.transpose(1, 2), labels).item()


# 2.5


def with_sums(features, labels, queries):
    topics, places = np.unique(labels, return_inverse=True)
    sums = np.eye(len(topics))[places].T @ features
    cosine = queries @ sums.T / np.linalg.norm(sums, axis=1)
    return topics[cosine.argmax(axis=1)].tolist()


def by_distance_of_directions(features, labels, queries):
    answers = []
    for query in queries:
        distances = {}
        for topic in dict.fromkeys(labels.tolist()):
            mean = features[labels == topic].mean(0)
            mean = mean / np.linalg.norm(mean)
            distances[topic] = np.linalg.norm(query / np.linalg.norm(query) - mean)
        answers.append(min(distances, key=distances.get))
    return np.array(answers)


def with_torch(features, labels, queries):
    topics = sorted(set(labels.tolist()))
    means = [torch.tensor(features[labels == topic]).mean(0) for topic in topics]
    cosine = F.cosine_similarity(
        torch.tensor(queries)[:, None], torch.stack(means), dim=-1
    )
    return torch.tensor(topics)[cosine.argmax(-1)]


# 2.6


def capitals(article, topics):
    return (
        f"The topics are {', '.join(topics)}.\n{article}\nTopic:",
        tuple(f" {topic}" for topic in topics),
    )


def another_question(article, topics):
    text = " ".join(article.split())
    return f"News: {text}\nThis article is about", [f" {topic}" for topic in topics]


def with_format(article, topics):
    prompt = "".join(("Text: ", article, "\n\nCategory of the text:"))
    return prompt, list(map(" ".__add__, topics))


RIGHT = {
    "masked_lm_corruption": [with_bernoulli, token_by_token, with_multinomial],
    "replaced_token_loss": [with_softplus, as_a_number, by_loops],
    "causal_loss": [with_gather, text_by_text, rolled_and_mended],
    "signal": [
        {
            "causal": 63.0,
            "masked": 9.3,
            "shown as [MASK]": 7.44,
            "shown unchanged": np.float32(0.93),
            "replaced detection": torch.tensor(64),
            "labelled replaced": 5.58,
        },
        {
            "labelled replaced": 5.6,
            "replaced detection": 64,
            "shown unchanged": 0.93,
            "shown as [MASK]": 7.4,
            "masked": 9.3,
            "causal": 63,
        },
        MappingProxyType(
            {
                "causal": 64 - 1,
                "masked": 0.15 * 62,
                "shown as [MASK]": 0.15 * 62 * 0.8,
                "shown unchanged": 0.15 * 62 * (1 - 0.8) / 2,
                "replaced detection": np.array([64.0]),
                "labelled replaced": 0.15 * 62 * 0.6,
            }
        ),
    ],
    "nearest_topic": [with_sums, by_distance_of_directions, with_torch],
    "label_prompt": [capitals, another_question, with_format],
}
