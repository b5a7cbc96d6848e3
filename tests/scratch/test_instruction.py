"""Chapter 13's exports: chats as ids and labels, batches, loss and step."""

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from finetuning.models import load_tokenizer
from finetuning.scratch.instruction import (
    IGNORED,
    MARKED_TEMPLATE,
    Encoded,
    answer_spans,
    chat_loss,
    collate,
    encode_chat,
    rate_share,
    render,
    train_step,
)

TWO_TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello there."},
    {"role": "user", "content": "Say <|im_end|> now"},
    {"role": "assistant", "content": "I will not.\n\nEver. "},
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("SmolLM2-135M-Instruct")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.3,
        )
    )


def test_the_answers_are_found_in_the_text(tokenizer):
    text = render(tokenizer, TWO_TURNS)
    answers = [text[start:end] for start, end in answer_spans(tokenizer, TWO_TURNS)]
    assert answers == [
        "Hello there.<|im_end|>",
        "I will not.\n\nEver. <|im_end|>",
    ]


def test_the_trained_tokens_are_those_between_marks_in_the_template(tokenizer):
    encoded = encode_chat(tokenizer, TWO_TURNS)
    theirs = tokenizer.apply_chat_template(
        TWO_TURNS,
        chat_template=MARKED_TEMPLATE,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    assert encoded.ids == theirs["input_ids"]
    trained = [int(label != IGNORED) for label in encoded.labels]
    assert trained == theirs["assistant_masks"]
    assert sum(trained) > 0


@pytest.mark.parametrize("answer_next", [False, True])
def test_the_template_with_marks_writes_the_same_text(tokenizer, answer_next):
    for chat in (TWO_TURNS, [{"role": "system", "content": ""}, *TWO_TURNS[:1]]):
        marked = tokenizer.apply_chat_template(
            chat,
            chat_template=MARKED_TEMPLATE,
            tokenize=False,
            add_generation_prompt=answer_next,
        )
        assert marked == render(tokenizer, chat, answer_next)


def test_each_trained_label_is_its_own_token(tokenizer):
    encoded = encode_chat(tokenizer, TWO_TURNS)
    for token, label in zip(encoded.ids, encoded.labels, strict=True):
        assert label in (token, IGNORED)
    assert encoded.labels.count(tokenizer.eos_token_id) == 2
    everything = encode_chat(tokenizer, TWO_TURNS, "everything")
    assert everything.labels == everything.ids == encoded.ids


@pytest.mark.parametrize(
    ("chat", "options", "sentence"),
    [
        (TWO_TURNS[:1], {}, "no answer to learn from"),
        (TWO_TURNS[1:2], {}, "cannot begin with an answer"),
        ([{"role": "user"}], {}, "'role' and 'content'"),
        (["Hi"], {}, "'role' and 'content'"),
        ([{"role": "user", "content": None}], {}, "'role' and 'content'"),
        (
            [TWO_TURNS[0], {"role": "assistant", "content": "  I will."}],
            {},
            "strip white space from the answer",
        ),
        (TWO_TURNS, {"train_on": "answer"}, "'answers' or 'everything', not 'answer'"),
        (TWO_TURNS, {"max_tokens": 20}, r"a chat has \d+ tokens and 20 are allowed"),
    ],
)
def test_what_cannot_be_encoded_is_said(tokenizer, chat, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        encode_chat(tokenizer, chat, **options)


def test_a_tokenizer_without_a_template_is_refused():
    tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    with pytest.raises(ValueError, match="has no chat template"):
        render(tokenizer, TWO_TURNS)


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer):
    tokenizer = load_tokenizer("SmolLM2-135M-Instruct")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] if loop.last else '…' }};{% endfor %}"
    )
    with pytest.raises(ValueError, match="otherwise once others follow"):
        encode_chat(tokenizer, TWO_TURNS)


def test_a_batch_is_padded_by_place_and_not_by_id():
    rows = [Encoded([5, 2], [IGNORED, 2]), Encoded([5, 6, 7, 2], [5, 6, 7, 2])]
    batch = collate(rows, pad_id=2)
    assert batch["input_ids"].tolist() == [[5, 2, 2, 2], [5, 6, 7, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [
        [IGNORED, 2, IGNORED, IGNORED],
        [5, 6, 7, 2],
    ]


def test_the_loss_is_the_librarys(model):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(50, (3, 9), generator=generator)
    labels = ids.clone()
    labels[:, :4] = IGNORED
    labels[1, 6:] = IGNORED
    mask = torch.ones_like(ids)
    ours = chat_loss(
        model, {"input_ids": ids, "attention_mask": mask, "labels": labels}
    )
    theirs = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    assert torch.allclose(ours, theirs, atol=1e-6)
    logits = model(input_ids=ids).logits
    by_hand = [
        F.cross_entropy(logits[row, place - 1], labels[row, place])
        for row in range(3)
        for place in range(1, 9)
        if labels[row, place] != IGNORED
    ]
    assert torch.allclose(ours, torch.stack(by_hand).mean(), atol=1e-6)


def test_nothing_to_train_is_an_error_and_not_a_loss_of_nan(model):
    ids = torch.tensor([[1, 2, 3]])
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.tensor([[1, IGNORED, IGNORED]]),
    }
    with pytest.raises(ValueError, match="no token of this batch has a label"):
        chat_loss(model, batch)


def test_a_step_clips_the_whole_gradient(model):
    ids = torch.arange(12).reshape(2, 6)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss, norm = train_step(model, batch, optimizer, max_norm=0.1)
    assert norm > 0.1  # otherwise nothing was clipped
    moved = sum(
        (old - new).square().sum().item()
        for old, new in zip(before, model.parameters(), strict=True)
    )
    assert moved**0.5 == pytest.approx(0.5 * 0.1, rel=1e-4)
    assert train_step(model, batch, optimizer)[0] < loss


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (20, 0), (20, 2), (7, 6)])
def test_the_rate_is_never_zero_and_highest_after_the_warm_up(steps, warmup):
    shares = [rate_share(step, steps, warmup) for step in range(steps)]
    assert min(shares) > 0
    assert max(shares) == shares[warmup] == 1
    assert shares[:warmup] == sorted(shares[:warmup])
    assert shares[warmup:] == sorted(shares[warmup:], reverse=True)
