"""LoRA and its relatives: as peft computes them, and as it writes them to files."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from finetuning.scratch.lora import (
    BEYOND,
    DoRALinear,
    IA3Linear,
    LoRALinear,
    add_lora,
    fits,
    load_adapter,
    lora_layers,
    merge,
    replace_linears,
    save_adapter,
    unmerge,
)
from finetuning.scratch.quantization import NF4Linear

IDS = torch.tensor([[3, 7, 1, 9, 4], [2, 2, 8, 5, 6]])  # (B=2, T=5)


def bert():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=8,
        num_labels=3,
        initializer_range=0.3,
    )
    return BertForSequenceClassification(config).eval()


def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        eos_token_id=1,
        bos_token_id=0,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


CASES = [
    (bert, ["query", "value"], 4, 8.0),
    (bert, r".*\.layer\.1\..*dense", 3, 0.5),
    (bert, ["query"], 1, 3.0),
    (llama, r".*_proj", 5, 16.0),
    (llama, ["self_attn.k_proj", "down_proj"], 2, 2.0),
    (llama, ["lm_head", "q_proj"], 8, 4.0),
]


def logits(model):
    return model(input_ids=IDS).logits


def shaken(model):
    """Random numbers in all that is trained: B is zero at first."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data += 0.1 * noise
    return model


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("make", "pattern", "rank", "alpha"), CASES)
@pytest.mark.parametrize("stabilized", [False, True])
def test_equal_to_peft(make, pattern, rank, alpha, stabilized, tmp_path):
    ours = make()
    start = logits(ours)
    names = add_lora(ours, pattern, rank, alpha, rank_stabilized=stabilized)
    torch.testing.assert_close(logits(ours), start, rtol=0, atol=0)
    shaken(ours)
    assert (logits(ours) - start).abs().max() > 1e-2
    save_adapter(ours, tmp_path)
    theirs = PeftModel.from_pretrained(make(), tmp_path, is_trainable=True).eval()
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-5)
    logits(ours).square().mean().backward()
    logits(theirs).square().mean().backward()
    assert len(trained(ours)) == 2 * len(names)
    for name in trained(ours):
        twin = theirs.get_parameter(f"base_model.model.{name}.default.weight")
        gradient = ours.get_parameter(name).grad
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, twin.grad, rtol=0, atol=1e-5)
    frozen = [p for p in ours.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen)


@pytest.mark.parametrize(("make", "pattern", "rank", "alpha"), CASES)
def test_reads_what_peft_wrote(make, pattern, rank, alpha, tmp_path):
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=pattern,
        init_lora_weights=False,
        use_rslora=rank > 3,
        modules_to_save=["classifier"] if make is bert else None,
    )
    theirs = shaken(get_peft_model(make(), config)).eval()
    theirs.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    ours = make()
    load_adapter(ours, tmp_path / "theirs")
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-5)
    ending = ("lora_A", "lora_B")
    others = {name for name in trained(ours) if not name.endswith(ending)}
    whole = {"classifier.weight", "classifier.bias"}
    assert others == (whole if make is bert else set())
    save_adapter(ours, tmp_path / "ours")
    again = PeftModel.from_pretrained(make(), tmp_path / "ours").eval()
    torch.testing.assert_close(logits(again), logits(theirs), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("make", "pattern", "rank", "alpha"), CASES)
def test_merge_and_unmerge(make, pattern, rank, alpha):
    ours = make()
    before = {name: p.clone() for name, p in ours.named_parameters()}
    add_lora(ours, pattern, rank, alpha)
    shaken(ours)
    apart = logits(ours)
    for _ in range(2):  # a second time changes nothing
        merge(ours)
        torch.testing.assert_close(logits(ours), apart, rtol=1e-4, atol=1e-5)
    for _ in range(2):
        unmerge(ours)
        torch.testing.assert_close(logits(ours), apart, rtol=1e-4, atol=1e-5)
    for name, layer in lora_layers(ours).items():
        difference = layer.base.weight - before[f"{name}.weight"]
        assert difference.abs().max() < 1e-6


@settings(deadline=None, max_examples=40)
@given(
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 9),
    rank=st.integers(1, 7),
    alpha=st.floats(0.1, 30.0),
    leading=st.lists(st.integers(1, 3), max_size=3),
    bias=st.booleans(),
)
def test_formula_for_any_shape(inputs, outputs, rank, alpha, leading, bias):
    base = nn.Linear(inputs, outputs, bias)
    layer = LoRALinear(base, rank, alpha)
    x = torch.randn(*leading, inputs)
    assert torch.equal(layer(x), base(x))
    shaken(layer)
    right = base(x) + alpha / rank * x @ layer.lora_A.T @ layer.lora_B.T
    torch.testing.assert_close(layer(x), right, rtol=1e-4, atol=1e-4)
    merge(layer)
    torch.testing.assert_close(layer(x), right, rtol=1e-4, atol=1e-4)


def test_dropout_acts_on_the_adapter_alone():
    layer = shaken(LoRALinear(nn.Linear(6, 5), 2, 2.0, dropout=1.0))
    x = torch.randn(3, 6)
    assert torch.equal(layer.train()(x), layer.base(x))
    assert not torch.equal(layer.eval()(x), layer.base(x))


def test_keeps_the_dtype():
    layer = LoRALinear(nn.Linear(6, 5).bfloat16(), 2, 2.0)
    assert layer(torch.ones(2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_training_moves_only_the_adapter():
    ours = bert()
    add_lora(ours, ["query"], 2, 2.0, also_train=["classifier"])
    before = {name: p.clone() for name, p in ours.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in ours.parameters() if p.requires_grad])
    for _ in range(2):
        ours(input_ids=IDS, labels=torch.tensor([0, 2])).loss.backward()
        optimizer.step()
    moved = {n for n, p in ours.named_parameters() if not torch.equal(p, before[n])}
    assert moved == trained(ours)
    assert {"classifier.weight", "classifier.bias"} < moved


def relative(ours, theirs, twins):
    """Gives both the same random numbers, and compares outputs and gradients."""
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-5)
    shaken(ours)
    pairs = []
    for name in trained(ours):
        where, _, last = name.rpartition(".")
        twin = theirs.get_parameter(f"base_model.model.{where}.{twins[last]}")
        own = ours.get_parameter(name)
        twin.data = own.data.view_as(twin).clone()
        pairs.append((own, twin))
    assert len(pairs) == len([p for p in theirs.parameters() if p.requires_grad])
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-4, atol=1e-5)
    logits(ours).square().mean().backward()
    logits(theirs).square().mean().backward()
    for own, twin in pairs:
        grad = twin.grad.view_as(own)
        torch.testing.assert_close(own.grad, grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("make", "pattern", "rank", "alpha"), CASES[:5])
def test_dora_is_pefts(make, pattern, rank, alpha):
    ours = make().requires_grad_(False)
    replace_linears(ours, pattern, lambda layer: DoRALinear(layer, rank, alpha))
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern, use_dora=True)
    theirs = get_peft_model(make(), config).eval()
    kept = {
        "lora_A": "lora_A.default.weight",
        "lora_B": "lora_B.default.weight",
        "magnitude": "lora_magnitude_vector.default.weight",
    }
    # A is random on both sides, and B is zero
    relative(ours, theirs, kept)
    apart = logits(ours)
    merge(ours)
    torch.testing.assert_close(logits(ours), apart, rtol=1e-4, atol=1e-4)
    with pytest.raises(RuntimeError, match="cannot be unmerged"):
        unmerge(ours)


def test_ia3_is_pefts():
    ours = bert().requires_grad_(False)
    replace_linears(ours, ["key", "value"], IA3Linear)
    down = r".*\d\.output\.dense"
    replace_linears(ours, down, lambda layer: IA3Linear(layer, on_input=True))
    config = IA3Config(
        target_modules=rf".*(key|value)|{down}", feedforward_modules=down
    )
    relative(ours, get_peft_model(bert(), config).eval(), {"factor": "ia3_l.default"})


@pytest.mark.parametrize(
    ("name", "pattern", "answer"),
    [
        ("a.query", ["query"], True),
        ("a.subquery", ["query"], False),
        ("query", ["query"], True),
        ("a.query.base", ["query"], False),
        ("b.a.query", ["a.query"], True),
        ("a.query", ".*query", True),
        ("a.query.base", ".*query", False),
    ],
)
def test_names_fit_as_pefts(name, pattern, answer):
    assert fits(name, pattern) is answer


def test_refusals():
    model = bert()
    with pytest.raises(ValueError, match="no linear layer"):
        add_lora(model, ["q_proj"], 2, 2.0)
    add_lora(model, ["query"], 2, 2.0)
    with pytest.raises(ValueError, match="already"):
        add_lora(model, ["value"], 2, 2.0)


def test_files_that_do_not_fit_are_refused(tmp_path):
    model = bert()
    add_lora(model, ["query"], 2, 2.0)
    save_adapter(model, tmp_path)
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text())

    def loading(match, **changes):
        file.write_text(json.dumps(config | changes))
        other = bert()
        before = {name: p.requires_grad for name, p in other.named_parameters()}
        with pytest.raises(ValueError, match=match):
            load_adapter(other, tmp_path)
        after = {name: p.requires_grad for name, p in other.named_parameters()}
        assert after == before

    assert {"use_dora", "alora_invocation_tokens"} < set(BEYOND)
    loading("not plain LoRA", peft_type="IA3")
    loading("not plain LoRA", bias="all")
    for name in BEYOND:
        loading("not plain LoRA", **{name: [5, 6]})
    loading("in the file", r=3)
    loading("None here", target_modules=["value"])
    loading("None in the file", target_modules=["query", "value"])


def test_only_plain_lora_is_saved(tmp_path):
    def saving(model, match):
        with pytest.raises(ValueError, match=match):
            save_adapter(model, tmp_path / "adapter")
        assert not (tmp_path / "adapter").exists()

    def dora(layer):
        return DoRALinear(layer, 2, 2.0)

    saving(bert(), "only layers of plain LoRA")
    for make in (dora, IA3Linear):
        model = bert().requires_grad_(False)
        replace_linears(model, ["query"], make)
        saving(model, "only layers of plain LoRA")
    replace_linears(model, ["value"], lambda layer: LoRALinear(layer, 2, 2.0))
    saving(model, "query' is trained, but not as a whole")
    model = bert().requires_grad_(False)
    replace_linears(model, ["query"], lambda layer: LoRALinear(layer, 2, 2.0))
    replace_linears(model, ["value"], dora)
    saving(model, "only layers of plain LoRA")
    model = bert().requires_grad_(False)
    replace_linears(model, ["query"], lambda layer: LoRALinear(layer, 2, 2.0))
    replace_linears(model, ["value"], lambda layer: LoRALinear(layer, 3, 2.0))
    saving(model, "one rank and one scale")


def test_rounded_weights_are_not_merged():
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 16))
    model[1] = NF4Linear(model[1])
    add_lora(model, ["0", "1"], 2, 2.0)
    shaken(model)
    before = model[0].base.weight.clone()
    with pytest.raises(ValueError, match="rounded weights"):
        merge(model)
    assert torch.equal(model[0].base.weight, before)
    assert not model[0].merged
