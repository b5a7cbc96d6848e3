"""Chapter 09's GPT-2 and Llama against transformers', with and without a cache."""

import math

import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from finetuning.scratch.decoding import beam_search, greedy
from finetuning.scratch.gpt import (
    GPT2,
    CausalAttention,
    GPT2Configuration,
    Llama,
    LlamaConfiguration,
    NextTokenLogits,
    attend,
    from_gpt2,
    grouped_attention,
    load_transformers_weights,
    next_token_loss,
)
from finetuning.scratch.layers import parameter_counts
from finetuning.scratch.transformer import KeyValueCache

V = 50


def roughened(model):
    """Every weight and bias away from its start: none can be left out unnoticed."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def gpt2_pair(**changes):
    torch.manual_seed(0)
    sizes = {
        "vocab_size": V,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 24,
    } | changes
    config = GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    theirs = roughened(GPT2LMHeadModel(config))
    ours = GPT2(GPT2Configuration.from_transformers(config)).eval()
    assert load_transformers_weights(ours, theirs.state_dict()) == []
    return ours, theirs


def llama_pair(groups=2, **changes):
    torch.manual_seed(0)
    sizes = {
        "vocab_size": V,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": groups,
        "max_position_embeddings": 24,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    } | changes
    config = LlamaConfig(**sizes, bos_token_id=0, eos_token_id=0)
    theirs = roughened(LlamaForCausalLM(config))
    ours = Llama(LlamaConfiguration.from_transformers(config)).eval()
    assert load_transformers_weights(ours, theirs.state_dict()) == []
    return ours, theirs


PAIRS = {
    "gpt2": gpt2_pair,
    "gpt2-eps": lambda: gpt2_pair(layer_norm_epsilon=1e-2),
    "llama-one-key-head": lambda: llama_pair(1),
    "llama-two-key-heads": lambda: llama_pair(2),
    "llama-all-key-heads": lambda: llama_pair(4),
    "llama-eps": lambda: llama_pair(rms_norm_eps=1e-2),
}


@pytest.fixture(params=PAIRS)
def both(request):
    return PAIRS[request.param]()


@pytest.fixture(params=["gpt2", "llama-two-key-heads"])
def model(request):
    return PAIRS[request.param]()[0]


@pytest.fixture
def ids():
    return torch.randint(0, V, (3, 20), generator=torch.Generator().manual_seed(1))


def test_logits_and_loss_are_those_of_transformers(both, ids):
    ours, theirs = both
    torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        next_token_loss(ours(ids), ids), theirs(ids, labels=ids).loss
    )


def test_gradients_are_those_of_transformers(ids):
    ours, theirs = gpt2_pair()
    next_token_loss(ours(ids), ids).backward()
    theirs(ids, labels=ids).loss.backward()
    gradients = from_gpt2({name: each.grad for name, each in theirs.named_parameters()})
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], atol=1e-5, rtol=1e-3
        )


@pytest.mark.parametrize("pieces", [[20], [1] * 20, [7, 1, 5, 7]])
def test_with_a_cache_in_whatever_pieces_the_logits_are_the_same(model, ids, pieces):
    cache = KeyValueCache(len(model.layers))
    logits = torch.cat([model(part, cache) for part in ids.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(logits, model(ids), atol=1e-5, rtol=1e-4)
    assert cache.length == 20


def test_the_cache_holds_one_head_for_each_group(ids):
    cache = KeyValueCache(2)
    llama_pair(1)[0](ids, cache)
    assert cache.own[0][0].shape == cache.own[1][1].shape == (3, 1, 20, 8)


def test_greedy_text_is_the_same_with_cache_and_without_and_in_transformers(both, ids):
    ours, theirs = both
    theirs.generation_config.eos_token_id = None
    wanted = theirs.generate(
        ids[:, :4], attention_mask=torch.ones(3, 4), max_new_tokens=20, do_sample=False
    )
    for cached in (True, False):
        assert torch.equal(
            greedy(NextTokenLogits(ours, cached), ids[:, :4], 24), wanted
        )


def test_beam_search_with_a_cache_finds_what_it_finds_without(model, ids):
    found = []
    for cached in (True, False):
        next_logits = NextTokenLogits(model, cached)
        found.append(
            beam_search(
                next_logits, ids[:, :3], 12, end=0, beams=3, select=next_logits.select
            )
        )
    for one, other in zip(*found, strict=True):
        assert [text.tokens for text in one] == [text.tokens for text in other]


def test_a_later_token_changes_nothing_before_it(model, ids):
    changed = ids.clone()
    changed[:, 12] = (changed[:, 12] + 1) % V
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert (before[:, 12:] - after[:, 12:]).abs().amax(dim=(0, 2)).min() > 1e-4


def test_shared_keys_are_copied_keys():
    query, key, value = (
        torch.randn(2, heads, length, 8) for heads, length in ((6, 3), (2, 5), (2, 5))
    )
    mask = torch.full((3, 5), -math.inf).triu(3)
    copied = (x.repeat_interleave(3, dim=1) for x in (key, value))
    wanted = F.scaled_dot_product_attention(query, *copied, attn_mask=mask)
    torch.testing.assert_close(grouped_attention(query, key, value, mask), wanted)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_without_a_mask_attention_is_causal(groups):
    query, key, value = (torch.randn(2, heads, 5, 8) for heads in (6, groups, groups))
    mask = torch.full((5, 5), -math.inf).triu(1)
    torch.testing.assert_close(
        attend(query, key, value), grouped_attention(query, key, value, mask)
    )
    torch.testing.assert_close(
        attend(query, key, value, mask), grouped_attention(query, key, value, mask)
    )


def test_many_tokens_and_bfloat16_give_transformers_logits():
    ours, theirs = gpt2_pair(n_positions=64)
    ids = torch.randint(0, V, (8, 64))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = ours(ids)
    torch.testing.assert_close(half.float(), ours(ids), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("shape", [(3, 1), (3, 0), (0, 5)])
def test_texts_without_a_second_token_leave_nothing_to_learn_from(shape):
    ids = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match=r"nothing to learn from.*at least two tokens"):
        next_token_loss(torch.zeros(*shape, V), ids)


def test_dropout_acts_in_training_only():
    ids = torch.arange(10)[None]
    model = GPT2(GPT2Configuration(V, 32, 2, 4, 24, dropout=0.5))
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(
    "configuration",
    [GPT2Configuration(V, 32, 2, 4, 24), LlamaConfiguration(V, 32, 2, 4, 2, 40)],
)
def test_parameters_are_as_many_as_chapter_06_counts(configuration):
    model = (GPT2 if isinstance(configuration, GPT2Configuration) else Llama)(
        configuration
    )
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(parameter_counts(configuration.shape()).values())


def test_the_defaults_are_gpt2_small_and_smollm2():
    assert sum(parameter_counts(GPT2Configuration().shape()).values()) == 124_439_808
    assert sum(parameter_counts(LlamaConfiguration().shape()).values()) == 134_515_008


def test_the_start_has_transformers_standard_deviations():
    torch.manual_seed(0)
    sizes = {"vocab_size": 500, "n_embd": 64, "n_layer": 4, "n_head": 4}
    config = GPT2Config(**sizes, n_positions=64, bos_token_id=0, eos_token_id=0)
    theirs = from_gpt2(GPT2LMHeadModel(config).state_dict())
    ours = GPT2(GPT2Configuration.from_transformers(config)).state_dict()
    for name, tensor in ours.items():
        spread = theirs[name].std(correction=0).item()
        assert tensor.std(correction=0).item() == pytest.approx(spread, rel=0.1), name


def test_the_start_is_gpt2s():
    torch.manual_seed(0)
    model = GPT2(GPT2Configuration(500, 64, 8, 4, 64))
    layer = model.layers[3]
    assert layer.up.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for matrix in (layer.down.weight, layer.attention.output.weight):
        assert matrix.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert not layer.up.bias.any() and not layer.attention.project.bias.any()


@pytest.mark.parametrize(
    ("ids", "error", "words"),
    [
        (
            torch.tensor([[1, V]]),
            ValueError,
            f"id {V} is outside the vocabulary of {V}",
        ),
        (torch.tensor([[-1]]), ValueError, "id -1"),
        (torch.tensor([1, 2]), ValueError, "in a batch"),
        (torch.tensor([[0.5]]), TypeError, "integers"),
        (
            torch.zeros(1, 25, dtype=torch.long),
            ValueError,
            "reaches 25 tokens.*at most 24",
        ),
    ],
)
def test_bad_ids_are_refused_in_one_sentence(model, ids, error, words):
    with pytest.raises(error, match=words):
        model(ids)


def test_the_cache_counts_towards_the_longest_text(model, ids):
    cache = KeyValueCache(2)
    model(ids, cache)
    with pytest.raises(ValueError, match="reaches 25 tokens"):
        model(ids[:, :5], cache)


def test_a_call_that_brings_nothing_new_is_refused(model, ids):
    next_logits = NextTokenLogits(model)
    next_logits(ids)
    with pytest.raises(ValueError, match="must continue the one before"):
        next_logits(ids)


def test_another_text_is_not_answered_from_the_first_ones_cache(model, ids):
    next_logits = NextTokenLogits(model)
    next_logits(ids[:, :5])
    other = ids[:, :6].clone()
    other[0, 2] = (other[0, 2] + 1) % V
    with pytest.raises(ValueError, match="each call must continue the one before"):
        next_logits(other)
    torch.testing.assert_close(
        next_logits(ids[:, :6]), model(ids[:, :6])[:, -1], atol=1e-5, rtol=1e-4
    )


def test_a_text_that_is_changed_in_place_is_another_text(model, ids):
    next_logits = NextTokenLogits(model)
    text = ids[:, :7].clone()
    next_logits(text[:, :6])
    text[0, 0] = (text[0, 0] + 1) % V
    with pytest.raises(ValueError, match="each call must continue the one before"):
        next_logits(text)


def test_a_batch_of_another_size_is_another_text(model, ids):
    next_logits = NextTokenLogits(model)
    next_logits(ids[:1, :6])
    with pytest.raises(ValueError, match="each call must continue the one before"):
        next_logits(ids[:1, :7].expand(2, -1))


def test_selected_rows_are_the_text_that_is_continued(model, ids):
    next_logits = NextTokenLogits(model)
    next_logits(ids[:, :6])
    rows = torch.tensor([2, 0, 2, 1])
    next_logits.select(rows)
    text = ids[rows]
    torch.testing.assert_close(
        next_logits(text[:, :8]), model(text[:, :8])[:, -1], atol=1e-5, rtol=1e-4
    )
    with pytest.raises(ValueError, match="each call must continue the one before"):
        next_logits(ids[torch.tensor([0, 0, 2, 1])])


def test_without_a_cache_any_text_may_follow(model, ids):
    next_logits = NextTokenLogits(model, cached=False)
    next_logits(ids)
    torch.testing.assert_close(
        next_logits(ids[:2, 3:9]), model(ids[:2, 3:9])[:, -1], atol=1e-5, rtol=1e-4
    )


def test_checkpoints_that_do_not_fit_are_refused():
    ours, theirs = llama_pair()
    weights = dict(theirs.state_dict())
    other = GPT2(GPT2Configuration(V, 32, 2, 4, 24))
    with pytest.raises(ValueError, match="lacks 27 of the 28 weights of a GPT2"):
        load_transformers_weights(other, weights)
    wider = Llama(LlamaConfiguration(V, 64, 2, 4, 2, 40))
    with pytest.raises(
        ValueError, match=r"\(50, 32\) in the checkpoint and \(50, 64\) in the model"
    ):
        load_transformers_weights(wider, weights)
    deeper = Llama(LlamaConfiguration(V, 32, 3, 4, 2, 40))
    with pytest.raises(ValueError, match=r"with 3 layers, first layers\.2"):
        load_transformers_weights(deeper, weights)
    untied = weights | {"lm_head.weight": weights["lm_head.weight"] + 1}
    with pytest.raises(ValueError, match="an output matrix of its own"):
        load_transformers_weights(ours, untied)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (GPT2Config(activation_function="relu"), "activation_function = 'relu'"),
        (GPT2Config(scale_attn_weights=False), "scale_attn_weights = False"),
        (
            GPT2Config(scale_attn_by_inverse_layer_idx=True),
            "scale_attn_by_inverse_layer_idx = True",
        ),
        (GPT2Config(n_inner=100), "n_inner = 100"),
        (GPT2Config(add_cross_attention=True), "add_cross_attention = True"),
        (GPT2Config(attn_pdrop=0.5), "attn_pdrop = 0.5"),
        (GPT2Config(embd_pdrop=0.0), "embd_pdrop = 0.0"),
        (
            LlamaConfig(tie_word_embeddings=True, attention_dropout=0.1),
            "attention_dropout = 0.1",
        ),
        (
            LlamaConfig(tie_word_embeddings=True, hidden_act="gelu"),
            "hidden_act = 'gelu'",
        ),
        (LlamaConfig(tie_word_embeddings=True, mlp_bias=True), "mlp_bias = True"),
        (LlamaConfig(tie_word_embeddings=False), "tie_word_embeddings = False"),
        (
            LlamaConfig(tie_word_embeddings=True, attention_bias=True),
            "attention_bias = True",
        ),
        (LlamaConfig(tie_word_embeddings=True, head_dim=8), "head_dim = 8"),
        (
            LlamaConfig(
                tie_word_embeddings=True,
                rope_parameters={
                    "rope_type": "linear",
                    "factor": 2.0,
                    "rope_theta": 10_000.0,
                },
            ),
            "stretches RoPE",
        ),
    ],
)
def test_variants_that_are_not_built_are_refused(config, words):
    kind = GPT2Configuration if isinstance(config, GPT2Config) else LlamaConfiguration
    with pytest.raises(ValueError, match=words):
        kind.from_transformers(config)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="3 heads of keys"):
        CausalAttention(32, 4, 3)
    with pytest.raises(ValueError, match="cannot share 3 heads"):
        grouped_attention(torch.zeros(1, 4, 2, 8), *torch.zeros(2, 1, 3, 2, 8))
    with pytest.raises(ValueError, match="cannot be divided"):
        LlamaConfiguration(V, 30, 2, 4, 2)
