"""Checks of chapter 02's exercises.

- `masked_lm_corruption`: BERT's 80/10/10 rule, and which places have an answer
  (exercise 2.1)
- `replaced_token_loss`: ELECTRA's labels, and a mean over real tokens only (exercise
  2.2)
- `causal_loss`: the shift by one, and padding left out (exercise 2.3)
- `signal`: how many places of a text teach something, counted beforehand (exercise 2.4)
- `nearest_topic`: classification by the nearest mean vector (exercise 2.5)
- `label_prompt`: a prompt and its answers that fit together token by token (exercise
  2.6)
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from finetuning.checks.core import (
    CheckFailed,
    as_number,
    call,
    check,
    expect_close,
    expect_shape,
    fail,
    passed,
    written,
)
from finetuning.models import load_tokenizer

__all__ = [
    "causal_loss",
    "label_prompt",
    "masked_lm_corruption",
    "nearest_topic",
    "replaced_token_loss",
    "signal",
]

_MASK_ID = 103
_VOCABULARY = 5000
_IGNORED = -100


def _tensors(result: object, count: int, what: str) -> tuple[torch.Tensor, ...]:
    if not isinstance(result, tuple) or len(result) != count:
        fail(
            f"{what} should be a tuple of {count} tensors, and is of type "
            f"{type(result).__name__}."
        )
    for value in result:
        if not isinstance(value, torch.Tensor):
            fail(
                f"{what} should be a tuple of {count} tensors; one of them is a "
                f"{type(value).__name__}."
            )
    return result


def _scalar(value: object) -> torch.Tensor:
    """The learner's loss as a float32 scalar, whatever its precision."""
    expect_shape(value, (), "the loss")
    return torch.as_tensor(value).detach().to(torch.float32)


def _untouched(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> None:
    if not all(torch.equal(old, new) for old, new in zip(before, after, strict=True)):
        fail(
            "what was passed in has changed: the caller still needs it. Write "
            "into a copy (`.clone()`)."
        )


@check
def masked_lm_corruption(corrupt: Callable) -> None:
    """`corrupt(ids, special, mask_id, vocabulary_size, generator)` -> `(inputs,
    labels)`, both (B, T).
    """
    random = torch.Generator().manual_seed(11)
    ids = torch.randint(1000, _VOCABULARY, (128, 256), generator=random)  # (B, T)
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = special[:, -40:] = True
    before = ids.clone()
    result = call(
        corrupt, ids, special, _MASK_ID, _VOCABULARY, torch.Generator().manual_seed(0)
    )
    inputs, labels = _tensors(result, 2, "the answer")
    expect_shape(inputs, ids.shape, "the corrupted input")
    expect_shape(labels, ids.shape, "the labels")
    if not torch.equal(ids, before):
        fail(
            "the ids that were passed in have changed: the caller still needs the "
            "original text. Work on `ids.clone()`."
        )
    passed("shapes are right and the original ids are left alone")

    chosen = labels != _IGNORED
    if chosen[special].any():
        fail(
            "a special token or padding was chosen and has a label. Nobody should "
            "guess [CLS] or padding: the chance of being chosen is 0 where `special` "
            "is true."
        )
    share = chosen[~special].double().mean().item()
    if share > 0.9:
        fail(
            "every token has a label, so the loss would count all places, most of "
            "them in plain sight. Places that were not chosen have the label −100."
        )
    if abs(share - 0.15) > 0.01:
        fail(
            f"{share:.1%} of the ordinary tokens have a label; 15 % should. The "
            "shares 80, 10 and 10 % are of those chosen, not of all tokens."
        )
    by_place = chosen[:, 1:-40].double().mean(dim=0)  # over the 128 texts
    if by_place.min() < 0.01 or by_place.max() > 0.4:
        fail(
            "the same places are chosen in all texts. Each ordinary token has "
            "its own chance of 15 %."
        )
    wrong = labels[chosen] != before[chosen]
    if wrong.any():
        if (labels[chosen] == _MASK_ID).any():
            fail(
                "some labels are the id of [MASK]: they were read from the input after "
                "it was corrupted. The answer is the token that stood there before."
            )
        fail(
            "some labels are not the original tokens. Take them from `ids`, "
            "before anything is replaced."
        )
    passed(
        "15 % of the ordinary tokens are to be guessed, and the labels are the "
        "original ones"
    )

    if (inputs != before)[~chosen].any():
        fail(
            "the input was changed at places that have no label: such a place "
            "teaches a false text."
        )
    masked = (inputs[chosen] == _MASK_ID).double().mean().item()
    kept = (inputs[chosen] == before[chosen]).double().mean().item()
    if masked > 0.98:
        fail(
            "all chosen tokens became [MASK]; 80 % should, 10 % a random token, and "
            "10 % stay as they are. Draw a second time for what happens to a chosen "
            "token: the first draw is below 0.15 there."
        )
    if abs(masked - 0.8) > 0.03 or abs(kept - 0.1) > 0.02:
        fail(
            f"of the chosen tokens {masked:.1%} became [MASK] and {kept:.1%} stayed as "
            "they are; it should be 80 % and 10 %. If you draw twice in a row, the "
            "second draw is a share of what the first left: half of the remaining 20 %."
        )
    swapped = inputs[chosen & (inputs != _MASK_ID) & (inputs != before)]
    if swapped.min() < 0 or swapped.max() >= _VOCABULARY:
        fail(
            f"a random token has the id {swapped.max().item()}, outside the "
            f"vocabulary of {_VOCABULARY}: draw below `vocabulary_size`."
        )
    if swapped.unique().numel() < 0.5 * swapped.numel():
        fail(
            "the random tokens are not drawn from the whole vocabulary, each place "
            f"on its own: {swapped.numel()} places got only "
            f"{swapped.unique().numel()} different tokens."
        )
    if abs(swapped.double().mean().item() - _VOCABULARY / 2) > 0.12 * _VOCABULARY / 2:
        fail(
            "the random tokens are not drawn evenly from the whole vocabulary: their "
            f"mean is {swapped.double().mean().item():.0f}, about {_VOCABULARY // 2} "
            "is expected."
        )
    passed(
        "of those, 80 % are masked, 10 % random and 10 % unchanged; nothing else "
        "is touched"
    )

    again, _ = call(
        corrupt, ids, special, _MASK_ID, _VOCABULARY, torch.Generator().manual_seed(0)
    )
    other, _ = call(
        corrupt, ids, special, _MASK_ID, _VOCABULARY, torch.Generator().manual_seed(1)
    )
    if not torch.equal(inputs, again):
        fail(
            "the same generator state gave two different results: pass "
            "`generator` to every random draw."
        )
    if torch.equal(inputs, other):
        fail(
            "two different generators gave the same result: pass `generator` to "
            "every random draw."
        )
    passed("all randomness comes from the generator")


@check
def replaced_token_loss(loss: Callable) -> None:
    """`loss(logits, original, corrupted, chosen, attention_mask)` -> scalar; all
    arguments (B, T).
    """
    random = torch.Generator().manual_seed(3)
    original = torch.randint(100, 200, (3, 8), generator=random)  # (B, T)
    chosen = torch.rand(3, 8, generator=random) < 0.4
    corrupted = torch.where(
        chosen, torch.randint(200, 300, (3, 8), generator=random), original
    )
    logits = torch.randn(3, 8, generator=random)
    full = torch.ones_like(original)

    def reference(
        logits: torch.Tensor, corrupted: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        target = (corrupted != original).float()
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (each * mask).sum() / mask.sum()

    before = [value.clone() for value in (logits, original, corrupted, chosen, full)]
    try:
        value = call(loss, logits, original, corrupted, chosen, full)
    except CheckFailed as error:
        if (
            "Subtraction" in str(error)
            or "result type" in str(error)
            or "Bool" in str(error)
        ):
            reason = str(error).removeprefix("Not yet: ")
            fail(
                f"{reason} A comparison gives true and false: `.float()` makes 1 "
                "and 0 of them."
            )
        raise
    value = _scalar(value)
    _untouched(before, (logits, original, corrupted, chosen, full))
    expected = reference(logits, corrupted, full)
    if torch.allclose(value, reference(-logits, corrupted, full), atol=1e-5):
        fail("the labels are the wrong way round: 1 means replaced, 0 means original.")
    if torch.allclose(value, expected * full.sum(), rtol=1e-4):
        fail(
            "this is the sum of the losses; the loss is their mean over the real "
            "tokens."
        )
    each = F.binary_cross_entropy_with_logits(
        logits, (corrupted != original).float(), reduction="none"
    )
    if torch.allclose(value, each[full].mean(), atol=1e-5):
        fail(
            "`attention_mask` holds the integers 0 and 1, which as an index are "
            "rows. Use `.bool()`."
        )
    hint = (
        "Logits go through the logistic function first, and every real token counts, "
        "chosen or not."
    )
    expect_close(value, expected, "the loss of an unpadded batch", hint)
    passed("one loss for every token, 1 for replaced and 0 for original")

    lucky = corrupted.clone()
    lucky[chosen] = torch.where(
        torch.arange(chosen.sum()) % 2 == 0, original[chosen], lucky[chosen]
    )
    value = _scalar(call(loss, logits, original, lucky, chosen, full))
    if torch.allclose(value, reference(logits, corrupted, full), atol=1e-5):
        fail(
            "a token that the generator drew exactly as it was counts as replaced. "
            "Nobody can tell it from the original: the label compares the tokens, it "
            "does not ask where the generator was at work."
        )
    expect_close(
        value,
        reference(logits, lucky, full),
        "the loss where the generator hit the original",
    )
    passed("a token that the generator got right is labelled original")

    mask = full.clone()
    mask[0, 5:] = 0
    mask[2, 3:] = 0
    value = _scalar(call(loss, logits, original, lucky, chosen, mask))
    padded = logits.masked_fill(mask == 0, 7.0)
    if not torch.allclose(
        value, _scalar(call(loss, padded, original, lucky, chosen, mask)), atol=1e-5
    ):
        fail(
            "the loss depends on the logits of padding. Padding is no token: "
            "leave it out of the sum."
        )
    hint = "Divide by the number of real tokens, not by that of all places."
    expect_close(
        value, reference(logits, lucky, mask), "the loss of a padded batch", hint
    )
    passed("padding changes nothing")


@check
def causal_loss(loss: Callable) -> None:
    """`loss(logits, ids, attention_mask)` -> scalar, from (B, T, V), (B, T), (B, T)."""
    random = torch.Generator().manual_seed(5)
    batch, length, vocabulary = 2, 7, 11
    logits = torch.randn(batch, length, vocabulary, generator=random)
    ids = torch.randint(vocabulary, (batch, length), generator=random)
    full = torch.ones_like(ids)

    def reference(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

    before = [value.clone() for value in (logits, ids, full)]
    value = _scalar(call(loss, logits, ids, full))
    _untouched(before, (logits, ids, full))
    expected = reference(logits, ids)
    suspects = {
        F.cross_entropy(logits.flatten(0, 1), ids.flatten()): (
            "each position is asked for its own token, which it can see. Position t "
            "must be asked for token t + 1."
        ),
        F.cross_entropy(logits[:, 1:].flatten(0, 1), ids[:, :-1].flatten()): (
            "the shift goes the wrong way: each position is asked for the token before "
            "it. Position t must be asked for token t + 1."
        ),
        F.cross_entropy(logits.flatten(0, 1), ids.roll(-1, dims=1).flatten()): (
            "the last position is asked for the first token: `roll` goes round in a "
            "circle. Nothing follows the last token."
        ),
        F.cross_entropy(
            logits[:, :-2].flatten(0, 1), ids[:, 2:].flatten()
        ): "the labels are shifted twice: position t is asked for token t + 2.",
        expected * (length - 1) / length: (
            "the sum is right, but it is divided by all places; T − 1 of T have an "
            "answer."
        ),
    }
    for suspect, diagnosis in suspects.items():
        if torch.allclose(value, suspect, atol=1e-5):
            fail(diagnosis)
    no_zeros = F.cross_entropy(
        logits[:, :-1].flatten(0, 1),
        ids[:, 1:].masked_fill(ids[:, 1:] == 0, _IGNORED).flatten(),
    )
    if torch.allclose(value, no_zeros, atol=1e-5):
        fail(
            "token id 0 is an ordinary token here, and was left out. Only "
            "`attention_mask` knows padding."
        )
    expect_close(
        value, expected, "the loss of an unpadded batch", "Compare with −log p by hand."
    )
    passed("position t is asked for token t + 1, and the last one for nothing")

    # One batch of two texts of unequal length must give the mean over both texts'
    # places.
    short = 4
    expected = torch.stack(
        [
            *_losses(logits[0], ids[0]),
            *_losses(logits[1, :short], ids[1, :short]),
        ]
    ).mean()
    mask = full.clone()
    mask[1, short:] = 0
    padded = torch.where(mask.bool(), ids, 0)
    before = [value.clone() for value in (logits, padded, mask)]
    value = _scalar(call(loss, logits, padded, mask))
    _untouched(before, (logits, padded, mask))
    if torch.allclose(value, reference(logits, padded), atol=1e-5):
        fail(
            "padding is counted: the model is asked to predict it. Places whose next "
            "token is padding have no answer (label −100)."
        )
    each = [
        torch.stack(_losses(logits[0], ids[0])),
        torch.stack(_losses(logits[1, :short], ids[1, :short])),
    ]
    if torch.allclose(
        value, torch.stack([row.mean() for row in each]).mean(), atol=1e-5
    ):
        fail(
            "this is the mean of each text's mean, so a place in a short text weighs "
            "more than one in a long text. The loss is the mean over all places."
        )
    real = torch.cat(each).sum()
    if torch.allclose(value, real / mask.sum(), atol=1e-5) or torch.allclose(
        value, real / (batch * (length - 1)), atol=1e-5
    ):
        fail(
            "padding is left out of the sum but not of the count. Divide by the "
            "places that have an answer."
        )
    by_input = F.cross_entropy(
        logits[:, :-1].flatten(0, 1),
        padded[:, 1:].masked_fill(mask[:, :-1] == 0, _IGNORED).flatten(),
    )
    if torch.allclose(value, by_input, atol=1e-5):
        fail(
            "the last token of a padded text is asked for padding: the mask was "
            "asked about the place itself only. The next token must be real too."
        )
    expect_close(value, expected, "the loss of a batch padded on the right")
    passed("padding on the right changes nothing")

    offset = length - short
    left_mask, left_ids, left_logits = mask.clone(), padded.clone(), logits.clone()
    left_mask[1] = mask[1].flip(0)
    left_ids[1, offset:], left_ids[1, :offset] = ids[1, :short], 0
    left_logits[1, offset:] = logits[1, :short]
    value = _scalar(call(loss, left_logits, left_ids, left_mask))
    hint = (
        "A padding position must not be asked for the first token of the text "
        "either: it has read nothing."
    )
    expect_close(value, expected, "the loss of a batch padded on the left", hint)
    passed("padding on the left changes nothing")


def _losses(logits: torch.Tensor, ids: torch.Tensor) -> list[torch.Tensor]:
    return list(F.cross_entropy(logits[:-1], ids[1:], reduction="none"))


@check
def signal(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "causal", "masked", "shown as [MASK]", "shown unchanged",
    "replaced detection", "labelled replaced".
    """
    written(predicted, "the prediction")
    words, special, right = 62, 2, 0.4
    expected = {
        "causal": words + special - 1,
        "masked": 0.15 * words,
        "shown as [MASK]": 0.8 * 0.15 * words,
        "shown unchanged": 0.1 * 0.15 * words,
        "replaced detection": words + special,
        "labelled replaced": (1 - right) * 0.15 * words,
    }
    slips = {
        ("causal", 64): (
            "the last token has no successor, so one place less has an answer."
        ),
        ("causal", 62): (
            "[CLS] and [SEP] are tokens of the text here: the first has a successor, "
            "the last is one."
        ),
        ("causal", 61): "[CLS] and [SEP] count as tokens of the text here: 64 tokens.",
        ("causal", 95): "padding has no answer in any objective.",
        ("masked", 0.15 * 64): (
            "[CLS] and [SEP] are never chosen, so it is 15 % of the 62 ordinary tokens."
        ),
        ("masked", 0.15 * 96): (
            "padding is never chosen, so it is 15 % of the 62 ordinary tokens."
        ),
        ("shown as [MASK]", 0.8 * 62): (
            "80 % of those *chosen* become [MASK], and only 15 % are chosen."
        ),
        ("shown unchanged", 0.1 * 62): (
            "10 % of those *chosen* stay as they are, and only 15 % are chosen."
        ),
        ("shown unchanged", 0.85 * 62): (
            "this counts the tokens that were not chosen. The question is about places "
            "that have a label and show their own answer."
        ),
        ("shown unchanged", 0.1 * 0.8 * 0.15 * 62): (
            "10 % of those *chosen* stay, not of those masked."
        ),
        ("replaced detection", 62): (
            "[CLS] and [SEP] count here: the discriminator answers at all 64 tokens."
        ),
        ("replaced detection", 96): "padding has no answer in any objective.",
        ("replaced detection", 0.15 * 62): (
            "the discriminator answers at every real token, not only where the "
            "generator was at work; that is its whole point."
        ),
        ("labelled replaced", 0.15 * 62): (
            "where the generator draws the original token, the label is original: 40 % "
            "of the gaps."
        ),
        ("labelled replaced", 0.4 * 0.15 * 62): (
            "40 % is how often the generator is right; replaced are the other 60 %."
        ),
    }
    if not isinstance(predicted, Mapping) or set(predicted) != set(expected):
        fail(
            "the prediction should be a dictionary with the keys "
            f"{', '.join(expected)}."
        )
    for name, value in expected.items():
        answer = as_number(predicted[name], f"“{name}”")
        for (key, slip), diagnosis in slips.items():
            if key == name and abs(answer - slip) < 1e-6:
                fail(f"“{name}”: {diagnosis}")
        expect_close(
            answer,
            value,
            f"“{name}”",
            "Count the kinds of tokens on paper first.",
            tolerance=1e-6,
        )
    passed("all six counts are right")


@check
def nearest_topic(classify: Callable) -> None:
    """`classify(features, labels, queries)` -> labels (M,), from arrays (N, C), (N,)
    and (M, C).
    """
    # Topic 3 is common and its vectors are long; topic 7 is rare. Numbers of topics
    # need not be 0, 1, 2.
    features = np.array(
        [[4.0, 0.2], [5.0, 0.0], [6.0, -0.2], [4.0, 0.0], [0.0, 1.0], [0.2, 0.9]]
    )
    labels = np.array([3, 3, 3, 3, 7, 7])
    queries = np.array([[1.0, 0.1], [0.7, 0.8], [0.1, 3.0], [10.0, 11.0]])
    before = features.copy(), queries.copy()
    answer = call(classify, features, labels, queries)
    answer = np.asarray(answer)
    expect_shape(answer, (4,), "the answer")
    if not np.isin(answer, labels).all():
        fail(
            f"the answer holds {sorted(set(answer.tolist()) - {3, 7})}, which no "
            "labelled article has. `argmax` gives a place among the topics; turn it "
            "into the topic's own number."
        )
    if not (np.array_equal(features, before[0]) and np.array_equal(queries, before[1])):
        fail(
            "the arrays that were passed in have changed. Divide into a new "
            "array, not in place (`/=`)."
        )
    if answer.tolist() == [3, 3, 7, 3]:
        fail(
            "long vectors win: a query in the direction of topic 7 goes to topic 3, "
            "whose vectors are longer or more. Compare directions: give means and "
            "queries length 1 before the dot product."
        )
    if answer.tolist() == [7, 7, 7, 3] or answer.tolist() == [7, 7, 7, 7]:
        fail(
            "short queries go to the topic with short vectors: this compares "
            "distances, which depend on lengths. Compare directions: give means and "
            "queries length 1."
        )
    expect_close(answer, [3, 7, 7, 7], "the topic of the nearest mean")
    passed("directions decide, and the answers are topics")

    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 16))
    labels = random.integers(4, size=60) * 2 + 1
    features = centres[(labels - 1) // 2] + 1.5 * random.normal(size=(60, 16))
    queries = centres[random.integers(4, size=40)] + 1.5 * random.normal(size=(40, 16))
    means = np.stack(
        [features[labels == topic].mean(axis=0) for topic in np.unique(labels)]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    expected = np.unique(labels)[(queries @ means.T).argmax(axis=1)]
    answer = np.asarray(call(classify, features, labels, queries))
    single = features / np.linalg.norm(features, axis=1, keepdims=True)
    if np.array_equal(
        answer, labels[(queries @ single.T).argmax(axis=1)]
    ) and not np.array_equal(answer, expected):
        fail(
            "this is the topic of the nearest article. One mean for each topic "
            "is less easily fooled."
        )
    expect_close(answer, expected, "the topic of the nearest mean among four topics")
    order = random.permutation(60)
    shuffled = np.asarray(call(classify, features[order], labels[order], queries))
    expect_close(shuffled, expected, "the answer after shuffling the labelled articles")
    passed("four topics in any order are told apart by their means")


@check
def label_prompt(build: Callable) -> None:
    """`build(article, topics)` -> `(prompt, words)`: a text, and an answer a topic."""
    tokenizer = load_tokenizer("SmolLM2-135M-Instruct")

    def tokens(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    topics = ["business", "entertainment", "politics", "sport", "tech"]
    for article in (
        "Shares rise in London",
        "Cup final ends 2-1",
        "A film about nothing.",
    ):
        result = call(build, article, topics)
        if (
            not isinstance(result, tuple)
            or len(result) != 2
            or not isinstance(result[0], str)
        ):
            fail(
                "the answer should be a tuple: the prompt, a text, and the list "
                "of words."
            )
        prompt, words = result
        if (
            not isinstance(words, Sequence)
            or isinstance(words, str)
            or len(words) != len(topics)
        ):
            fail(
                f"there should be one word for each of the {len(topics)} topics, "
                "in a list."
            )
        if not all(isinstance(word, str) for word in words):
            fail(
                "the words should be texts, such as the tokenizer takes, and not "
                "ids of tokens."
            )
        if [word.strip() for word in words] != topics:
            fail(
                f"the words are {[word.strip() for word in words]}; in that order the "
                "third score would not be that of the third topic. Keep the topics' "
                "order and names."
            )
        if article not in prompt:
            fail(
                "the article does not stand in the prompt, so the answer cannot "
                "depend on it."
            )
        for word in words:
            if prompt[-1:].isspace() and word[:1].isspace():
                fail(
                    f"{prompt[-8:] + word!r} has two spaces: one in the prompt "
                    "and one in the word."
                )
            if len(tokens(word)) != 1:
                pieces = [tokenizer.decode([token]) for token in tokens(word)]
                fail(
                    f"{word!r} is {len(pieces)} tokens "
                    f"({' + '.join(map(repr, pieces))}), so the score of the first is "
                    "the score of something else. The word with its space in front "
                    "is one token."
                )
            if tokens(prompt + word) != tokens(prompt) + tokens(word):
                fail(
                    f"prompt and {word!r} together are not the tokens of the prompt "
                    "and then those of the word. The model would be asked for a "
                    "token that never follows there. Where does the space belong?"
                )
        if prompt[-1:].isspace():
            fail(
                "the prompt ends in white space, which belongs to the next "
                "token. End it at the colon."
            )
    passed(
        "every answer is one token, and prompt and answer meet where the tokenizer cuts"
    )
    if "topic" not in prompt.lower():
        fail(
            "the prompt does not ask for the topic any more. Keep the end of the "
            "broken one."
        )
    passed("the prompt holds the article and asks for its topic")
