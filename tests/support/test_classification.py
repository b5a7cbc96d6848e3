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
