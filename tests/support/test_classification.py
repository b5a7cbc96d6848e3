"""Features, fine-tuning and prompts: padding, order, gradients, plain parity."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from finetuning.classification import (
    MeanPooledClassifier,
    embed,
    fine_tune,
    mean_pool,
    next_word_log_probabilities,
    predict,
)
from finetuning.models import load_tokenizer
from finetuning.runtime import set_seed

TEXTS = [
    "goals and cups",
    "votes",
    "a film about shares and the people who buy them",
    "the match",
    "polls open",
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("all-MiniLM-L6-v2")


@pytest.fixture
def encoder():
    set_seed(0)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    return BertModel(config).eval()


def test_padding_is_left_out_of_the_mean():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    assert mean_pool(hidden, torch.tensor([[1, 1, 0]])).tolist() == [[2.0, 3.0]]


def test_a_text_has_the_same_feature_alone_and_in_a_batch(encoder, tokenizer):
    together = embed(encoder, tokenizer, TEXTS)
    alone = np.concatenate([embed(encoder, tokenizer, [text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_no_more_than_max_length_is_read(encoder, tokenizer):
    first, second = embed(
        encoder, tokenizer, ["one two three four", "one two nine ten"], max_length=4
    )
    assert np.allclose(first, second)
    first, second = embed(
        encoder, tokenizer, ["one two three four", "one two nine ten"], max_length=6
    )
    assert not np.allclose(first, second, atol=1e-3)


def test_fine_tuning_fits_repeats_and_ends_in_evaluation_mode(encoder, tokenizer):
    labels = [0, 1, 2, 0, 1]
    state = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    runs = []
    for _ in range(2):
        encoder.load_state_dict(state)
        set_seed(1)
        model = MeanPooledClassifier(encoder, classes=3)
        losses = fine_tune(
            model,
            tokenizer,
            TEXTS,
            labels,
            epochs=30,
            learning_rate=1e-2,
            batch_size=2,
            seed=3,
        )
        runs.append(losses)
    assert len(losses) == 30 * 3
    assert runs[0] == runs[1]
    assert not model.training
    assert predict(model, tokenizer, TEXTS).tolist() == labels
    moved = {
        name
        for name, weight in encoder.state_dict().items()
        if not torch.equal(weight, state[name])
    }
    assert {
        "embeddings.word_embeddings.weight",
        "encoder.layer.0.attention.self.query.weight",
    } <= moved


def test_one_label_a_text_is_asked_for(encoder, tokenizer):
    with pytest.raises(ValueError, match="one label a text"):
        fine_tune(
            MeanPooledClassifier(encoder, 2), tokenizer, ["a", "b"], [0], epochs=1
        )


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 2], "label 2 is no class: the model has 2, 0 to 1"),
        ([-100, -100], "label -100 is no class"),
        ([0.0, 1.0], "labels are class numbers, 0 to 1, and not float64"),
        (["sport", "tech"], "labels are class numbers"),
        ([[0], [1]], r"not labels of shape \(2, 1\) for 2 texts"),
    ],
)
def test_labels_that_are_no_classes(encoder, tokenizer, labels, sentence):
    """Labels of -100 are skipped by the loss: a mean over nothing is NaN."""
    model = MeanPooledClassifier(encoder, 2)
    with pytest.raises(ValueError, match=sentence):
        fine_tune(model, tokenizer, ["a", "b"], labels, epochs=1)


@pytest.mark.parametrize(
    ("texts", "options", "sentence"),
    [
        ([], {}, "one label a text"),
        (["a", "b"], {"epochs": 0}, "0 epochs in batches of 16: each must be at least"),
        (["a", "b"], {"batch_size": 0}, "each must be at least 1"),
    ],
)
def test_nothing_to_learn_from(encoder, tokenizer, texts, options, sentence):
    model = MeanPooledClassifier(encoder, 2)
    labels = [0, 1][: len(texts)]
    with pytest.raises(ValueError, match=sentence):
        fine_tune(model, tokenizer, texts, labels, **({"epochs": 1} | options))


def test_no_text_has_no_vector_and_no_class(encoder, tokenizer):
    assert embed(encoder, tokenizer, []).shape == (0, 16)
    assert predict(MeanPooledClassifier(encoder, 3), tokenizer, []).shape == (0,)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ("goals and cups", r"texts is one string; a list of strings is needed"),
        (["goals", None], r"texts\[1\] is NoneType, not a string"),
    ],
)
def test_what_is_no_list_of_texts(encoder, tokenizer, texts, sentence):
    model = MeanPooledClassifier(encoder, 2)
    for function, read in ((embed, encoder), (predict, model)):
        with pytest.raises(TypeError, match=sentence):
            function(read, tokenizer, texts)
    with pytest.raises(TypeError, match=sentence):
        fine_tune(model, tokenizer, texts, [0, 1], epochs=1)


@pytest.mark.parametrize("max_length", [513, 2, 0, -1])
def test_a_max_length_that_the_encoder_does_not_have(encoder, tokenizer, max_length):
    """Above 512 there is no position; below 3, tokenizers does not cut at all."""
    model = MeanPooledClassifier(encoder, 2)
    said = f"max_length is {max_length}; this encoder reads 3 to 512 tokens"
    for function, read in ((embed, encoder), (predict, model)):
        with pytest.raises(ValueError, match=said):
            function(read, tokenizer, TEXTS, max_length=max_length)
    with pytest.raises(ValueError, match=said):
        fine_tune(model, tokenizer, ["a"], [0], epochs=1, max_length=max_length)
    assert len(embed(encoder, tokenizer, TEXTS, max_length=512)) == len(TEXTS)


def test_a_text_without_a_token_is_refused():
    set_seed(0)
    tokenizer = load_tokenizer("SmolLM2-135M-Instruct")  # which adds none of its own
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    with pytest.raises(ValueError, match=r"texts\[1\] has no token"):
        embed(BertModel(config).eval(), tokenizer, ["goals", ""])


@pytest.fixture
def padding_left(tokenizer):
    side = tokenizer.padding_side
    tokenizer.padding_side = "left"
    yield tokenizer
    tokenizer.padding_side = side


def test_a_tokenizer_that_pads_on_the_left_changes_nothing(encoder, padding_left):
    """BERT counts positions from the left end, padding included."""
    together = embed(encoder, padding_left, TEXTS)
    alone = np.concatenate([embed(encoder, padding_left, [text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-5)
    state = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    losses = []
    for side in ("left", "right"):
        padding_left.padding_side = side
        encoder.load_state_dict(state)
        set_seed(1)
        model = MeanPooledClassifier(encoder, classes=3)
        losses.append(fine_tune(model, padding_left, TEXTS, [0, 1, 2, 0, 1], epochs=2))
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def causal():
    set_seed(0)
    tokenizer = load_tokenizer("SmolLM2-135M-Instruct")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


@pytest.mark.parametrize(
    "prefix", ["", "Article: a cup\nTopic: sport\n\n", "no line end"]
)
def test_shared_prefixes_and_padding_change_no_log_probability(causal, prefix):
    model, tokenizer = causal
    queries = [f"Article: {text}\nTopic:" for text in TEXTS]
    words = [" sport", " politics", " business"]
    fast = next_word_log_probabilities(
        model, tokenizer, prefix, queries, words, batch_size=2, mixed=False
    )
    columns = [tokenizer(word)["input_ids"][0] for word in words]
    with torch.inference_mode():
        for query, row in zip(queries, fast, strict=True):
            ids = tokenizer(prefix + query, return_tensors="pt")["input_ids"]
            plain = model(ids).logits[0, -1].log_softmax(dim=-1)[columns]
            assert torch.allclose(row, plain, atol=1e-4)
    assert fast.std() > 0.01  # the comparison is of numbers that differ


def test_a_word_of_two_tokens_is_refused(causal):
    with pytest.raises(ValueError, match="must be one token"):
        next_word_log_probabilities(*causal, "", ["Topic:"], ["sport"])


def test_prompts_of_a_tokenizer_that_pads_on_the_left(causal):
    model, tokenizer = causal
    queries = [f"Article: {text}\nTopic:" for text in TEXTS]
    scores = []
    for side in ("right", "left"):
        tokenizer.padding_side = side
        scores.append(
            next_word_log_probabilities(model, tokenizer, "", queries, [" sport"])
        )
    tokenizer.padding_side = "right"
    assert torch.equal(scores[0], scores[1])


def test_prompts_that_cannot_be_read(causal):
    model, _ = causal
    words = [" sport", " tech"]
    assert next_word_log_probabilities(*causal, "", [], words).shape == (0, 2)
    with pytest.raises(ValueError, match="a prompt is empty"):
        next_word_log_probabilities(*causal, "", ["Topic:", ""], words)
    with pytest.raises(TypeError, match="queries is one string"):
        next_word_log_probabilities(*causal, "", "Topic:", words)
    with pytest.raises(TypeError, match="words is one string"):
        next_word_log_probabilities(*causal, "", ["Topic:"], " sport")
    most = model.config.max_position_embeddings
    with pytest.raises(
        ValueError, match=f"tokens, and the model reads {most}: use few"
    ):
        next_word_log_probabilities(*causal, " a" * most, ["Topic:"], words)
