"""Loading models: what comes out, in silence and offline; GGUF converted."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from finetuning import gguf as conversion
from finetuning import models, resources
from finetuning.gguf import convert_gguf
from finetuning.models import load_causal_lm, load_encoder, load_tokenizer
from finetuning.resources import ResourceError, fetch, fetching
from finetuning.runtime import set_seed


@pytest.fixture(scope="module")
def smollm2():
    return load_causal_lm("SmolLM2-135M-Instruct")


@pytest.fixture(scope="module")
def minilm():
    return load_encoder("all-MiniLM-L6-v2")


def parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_smollm2_is_what_it_says(smollm2):
    model, tokenizer = smollm2
    assert type(model).__name__ == "LlamaForCausalLM"
    assert parameters(model) == 134_515_008
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert not model.training
    assert len(tokenizer) == model.config.vocab_size == 49_152
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 8192
    assert not getattr(model, "is_quantized", False) and not hasattr(
        model.config, "quantization_config"
    )


@torch.no_grad()
def test_smollm2_knows_english(smollm2):
    """Random weights give ln 49152 = 10.8 nats a token; a trained model far less."""
    model, tokenizer = smollm2
    batch = tokenizer(
        "The capital of France is Paris, and the capital of Italy is Rome.",
        return_tensors="pt",
    )
    output = model(**batch, labels=batch["input_ids"])
    assert torch.isfinite(output.logits).all()
    assert output.loss < 3


def test_smollm2_answers_in_its_chat_template(smollm2):
    model, tokenizer = smollm2
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, tokenize=False
    )
    assert (
        "<|im_start|>user\nWhat is the capital of "
        "France?<|im_end|>\n<|im_start|>assistant\n" in prompt
    )
    batch = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt"
    )
    answer = model.generate(**batch, max_new_tokens=20, do_sample=False)[
        0, batch["input_ids"].shape[1] :
    ]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id, (
        "the answer ends where the template says that answers end"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Plain words.",
        "  two  spaces, 1,234.56 and\ttabs\n\n",
        "Zürich 北京 🙂 e\u0301",
        "",
        "<|im_start|>user",
    ],
)
def test_smollm2_tokenizer_round_trip(smollm2, text):
    _, tokenizer = smollm2
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_smollm2_tokenizer_splits_digits_as_it_was_trained(smollm2):
    """Digits are cut first, spaces after: llama.cpp's "smollm" pre-tokenizer."""
    _, tokenizer = smollm2
    assert tokenizer.tokenize("In 2024") == ["In", "Ġ", "2", "0", "2", "4"]
    assert tokenizer.tokenize("x  = 10") == ["x", "Ġ", "Ġ=", "Ġ", "1", "0"]
    assert tokenizer.tokenize("a  1") == ["a", "ĠĠ", "1"]


def test_minilm_is_what_it_says(minilm):
    model, tokenizer = minilm
    assert type(model).__name__ == "BertModel"
    assert parameters(model) == 22_713_216
    assert {parameter.dtype for parameter in model.parameters()} == {
        torch.float32
    } and not model.training
    assert tokenizer.model_max_length == 512
    assert tokenizer("Hello, world!")["input_ids"] == [
        101,
        7592,
        1010,
        2088,
        999,
        102,
    ], "no padding nobody asked for"
    assert len(tokenizer("word " * 300)["input_ids"]) == 302, (
        "no truncation nobody asked for"
    )


@torch.no_grad()
def test_minilm_places_like_by_like(minilm):
    model, tokenizer = minilm
    sentences = [
        "A cat sits on the mat.",
        "A kitten rests on a rug.",
        "The central bank raised interest rates.",
    ]
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    hidden = model(**batch).last_hidden_state  # (B, T, C)
    mask = batch["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(dim=1) / mask.sum(
        dim=1
    )  # (B, C), the pooling that it was trained with
    close, far = (
        cosine_similarity(mean[0], mean[1], dim=0),
        cosine_similarity(mean[0], mean[2], dim=0),
    )
    assert close > 0.4 and far < 0.2


@torch.no_grad()
def test_parity_with_the_librarys_own_loading(smollm2, minilm):
    for (model, tokenizer), name, auto_class in (
        (smollm2, "SmolLM2-135M-Instruct", AutoModelForCausalLM),
        (minilm, "all-MiniLM-L6-v2", AutoModel),
    ):
        theirs = auto_class.from_pretrained(fetch(name)).eval()
        batch = AutoTokenizer.from_pretrained(fetch(name))(
            ["One sentence."], return_tensors="pt"
        )
        assert batch["input_ids"].equal(
            tokenizer(["One sentence."], return_tensors="pt")["input_ids"]
        )
        assert torch.equal(model(**batch)[0], theirs(**batch)[0])


@pytest.mark.parametrize(
    ("head", "type_name", "shape"),
    [
        ("classification", "BertForSequenceClassification", (2, 5)),
        ("token-classification", "BertForTokenClassification", (2, 7, 5)),
        ("question-answering", "BertForQuestionAnswering", (2, 7)),
        ("masked-lm", "BertForMaskedLM", (2, 7, 30_522)),
    ],
)
def test_heads(minilm, head, type_name, shape):
    body, _ = minilm
    model, tokenizer = load_encoder(
        "all-MiniLM-L6-v2", head=head, num_labels=5 if "class" in head else 2
    )
    assert type(model).__name__ == type_name and not model.training
    batch = tokenizer(
        ["Hello there, world!", "Good morning, world!"], return_tensors="pt"
    )
    assert model(**batch)[0].shape == shape
    theirs, ours = body.state_dict(), model.base_model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours), (
        "the body is the pretrained one"
    )


def test_an_unknown_head_is_told_what_exists():
    with pytest.raises(
        ValueError, match="no head named 'regression'; there are classification"
    ):
        load_encoder(head="regression")


def test_configuration_reaches_the_model():
    names = {0: "business", 1: "sport"}
    model, _ = load_encoder(
        head="classification", num_labels=2, id2label=names, hidden_dropout_prob=0.3
    )
    assert model.config.id2label == names and model.config.hidden_dropout_prob == 0.3
    model, _ = load_encoder(attn_implementation="eager")
    assert model.config._attn_implementation == "eager"


def test_random_weights_have_the_same_architecture(minilm):
    pretrained, _ = minilm
    set_seed(0)
    first, tokenizer = load_encoder(pretrained=False)
    set_seed(0)
    again, _ = load_encoder(pretrained=False)
    assert not first.training and first.dtype == torch.float32
    assert {name: value.shape for name, value in first.state_dict().items()} == {
        name: value.shape for name, value in pretrained.state_dict().items()
    }
    word = "embeddings.word_embeddings.weight"
    assert torch.equal(first.state_dict()[word], again.state_dict()[word])
    assert not torch.allclose(first.state_dict()[word], pretrained.state_dict()[word])
    assert tokenizer("Hello")["input_ids"] == [101, 7592, 102]


def test_random_causal_lm(smollm2):
    model, _ = load_causal_lm(pretrained=False, num_hidden_layers=2)
    assert (
        type(model) is type(smollm2[0])
        and model.config.num_hidden_layers == 2
        and not model.training
    )


def test_a_seed_fixes_the_new_head():
    heads = []
    for seed in (0, 0, 1):
        set_seed(seed)
        heads.append(
            load_encoder(head="classification", num_labels=3)[0].classifier.weight
        )
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize(
    "name", ["gpt9", "/no/such/folder", Path("some/folder"), "a/b/c"]
)
@pytest.mark.parametrize("load", [load_causal_lm, load_encoder, load_tokenizer])
def test_an_unknown_name_is_told_what_exists(load, name):
    with pytest.raises(
        ResourceError,
        match=r"packaged are SmolLM2-135M-Instruct, all-MiniLM-L6-v2, and",
    ):
        load(name)


def test_a_hub_name_goes_to_the_librarys_own_loader(monkeypatch):
    """The string alone changes; it is loaded with the library's `from_pretrained`."""
    asked = []

    class Loaded:
        def eval(self):
            return self

    def from_pretrained(name, **options):
        asked.append((name, options))
        return Loaded()

    monkeypatch.setattr(
        transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained
    )
    monkeypatch.setattr(models.AutoTokenizer, "from_pretrained", from_pretrained)
    load_causal_lm("Qwen/Qwen3-0.6B")
    assert [name for name, _ in asked] == ["Qwen/Qwen3-0.6B"] * 2
    assert all(options["trust_remote_code"] is False for _, options in asked)
    assert asked[0][1]["use_safetensors"] is True


def test_remote_code_cannot_be_switched_on():
    with pytest.raises(TypeError, match="trust_remote_code"):
        load_causal_lm("Qwen/Qwen3-0.6B", trust_remote_code=True)


def test_a_pickled_model_is_refused(tmp_path, minilm):
    model, _ = minilm
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_encoder(tmp_path)


def test_a_model_saved_by_the_reader_loads_by_its_folder(tmp_path):
    set_seed(0)
    model, tokenizer = load_encoder(head="classification", num_labels=3)
    (
        model.save_pretrained(tmp_path / "mine"),
        tokenizer.save_pretrained(tmp_path / "mine"),
    )
    again, _ = load_encoder(str(tmp_path / "mine"), head="classification")
    assert again.num_labels == 3 and torch.equal(
        again.classifier.weight, model.classifier.weight
    )


def test_a_body_without_its_weights_is_not_passed_over_in_silence(
    tmp_path, monkeypatch
):
    for file in fetch("all-MiniLM-L6-v2").glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(fetch("all-MiniLM-L6-v2") / "model.safetensors")
    del weights["encoder.layer.3.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(resources, "fetch", lambda name: tmp_path)
    for head in (None, "classification"):
        with pytest.raises(
            ResourceError,
            match=r"lacks weights \(.*encoder\.layer\.3\.output\.dense\.weight",
        ):
            load_encoder(head=head)


@pytest.mark.parametrize(
    "load",
    [load_causal_lm, load_encoder, partial(load_tokenizer, "all-MiniLM-L6-v2")],
)
def test_no_place_for_a_model_is_one_sentence(load, monkeypatch, tmp_path):
    monkeypatch.setenv("FINETUNING_CACHE", "")
    with pytest.raises(ResourceError, match="FINETUNING_CACHE is set but empty"):
        load()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINETUNING_CACHE", str(tmp_path / "file"))
    with pytest.raises(ResourceError, match=r"cannot be kept in .* is a file\)"):
        load()


@pytest.mark.parametrize("pretrained", [True, False])
def test_an_encoder_is_no_causal_lm(pretrained, tmp_path):
    """It would get a random head, and attention that sees what it is to predict."""
    with pytest.raises(ValueError, match="MiniLM-L6-v2 is an encoder, which load_enc"):
        load_causal_lm("all-MiniLM-L6-v2", pretrained=pretrained)
    BertConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is an encoder.*predict the next token"):
        load_causal_lm(tmp_path, pretrained=pretrained)


@pytest.mark.parametrize("head", [None, "classification"])
def test_a_causal_lm_is_no_encoder(head):
    with pytest.raises(
        ValueError, match="is a causal language model, which load_causal_lm loads"
    ):
        load_encoder("SmolLM2-135M-Instruct", head=head)


def test_a_decoder_of_an_encoders_family_is_a_causal_lm(tmp_path, minilm):
    """A BERT that was made a decoder, as its configuration says, may predict."""
    config = BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        is_decoder=True,
    )
    BertLMHeadModel(config).save_pretrained(tmp_path)
    minilm[1].save_pretrained(tmp_path)
    assert type(load_causal_lm(tmp_path)[0]) is BertLMHeadModel


@pytest.fixture
def own_copy(tmp_path, monkeypatch):
    """MiniLM in a cache of its own, whose index is a copy of the folder."""
    original = fetch("all-MiniLM-L6-v2")

    def fill(resource, pin, content, workspace):
        for path in original.rglob("*"):
            if path.is_file() and path.name != "manifest.json":
                copy = content / path.relative_to(original)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)

    monkeypatch.setattr(fetching, "_fill", fill)
    monkeypatch.setenv("FINETUNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    return fetch("all-MiniLM-L6-v2")


def offline(monkeypatch):
    def refuse(*arguments):
        raise ResourceError("The package index cannot be reached.")

    monkeypatch.setattr(fetching, "_fill", refuse)


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 30_000_000)


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()


def zeros_for_a_header(folder: Path) -> None:
    """The size stays, so nothing is seen until the library stumbles."""
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(bytes(4096))


def zeros_for_a_vocabulary(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES = [truncated, no_tokenizer, zeros_for_a_header, zeros_for_a_vocabulary]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_fetched_again(own_copy, damage, minilm):
    damage(own_copy)
    model, tokenizer = load_encoder()
    theirs, their_tokenizer = minilm
    assert tokenizer("Hello, world!") == their_tokenizer("Hello, world!")
    weight = "encoder.layer.5.output.dense.weight"
    assert torch.equal(model.state_dict()[weight], theirs.state_dict()[weight])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_without_an_index_is_one_sentence(
    own_copy, damage, monkeypatch
):
    damage(own_copy)
    offline(monkeypatch)
    with pytest.raises(ResourceError) as refusal:
        load_encoder()
    sentence = str(refusal.value)
    assert sentence.startswith(f"The copy of all-MiniLM-L6-v2 in {own_copy} is damaged")
    assert ("tokenizer.json" in sentence) or ("model.safetensors" in sentence)
    assert sentence.endswith(
        "not be fetched again: The package index cannot be reached."
    )


def test_zeros_among_the_weights_are_found_by_hash(own_copy, capsys):
    """The header is whole and the size is right: nothing but a hash can tell."""
    with (own_copy / "model.safetensors").open("r+b") as file:
        file.seek(10_000_000)
        file.write(bytes(30_000_000))
    load_encoder()
    assert fetching.main(["all-MiniLM-L6-v2"]) == 0
    mended = "was damaged and is mended: model.safetensors does not match its SHA-256"
    assert mended in capsys.readouterr().out
    assert fetching.main(["all-MiniLM-L6-v2"]) == 0
    assert "mended" not in capsys.readouterr().out


def test_damaged_weights_of_a_readers_own_folder(own_copy, tmp_path):
    shutil.copytree(own_copy, tmp_path / "mine")
    truncated(tmp_path / "mine")
    with pytest.raises(ResourceError, match=r"mine are damaged .*: save them, or"):
        load_encoder(tmp_path / "mine")


def test_a_folder_without_a_vocabulary_is_said(own_copy, tmp_path):
    """transformers makes a tokenizer of the five special tokens, in silence."""
    shutil.copytree(own_copy, tmp_path / "mine")
    no_tokenizer(tmp_path / "mine")
    with pytest.raises(ResourceError, match=r"There is no vocabulary in .*mine: save"):
        load_tokenizer(tmp_path / "mine")


def test_loading_leaves_the_librarys_settings_alone():
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_encoder(head="classification", num_labels=5)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_loading_is_silent_and_needs_no_network():
    """In a reader's process: progress bars allowed, every connection refused."""
    script = (
        "import socket, subprocess\n"
        "def refuse(*arguments, **options): raise AssertionError('a connection was "
        "tried')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = "
        "subprocess.run = refuse\n"
        "from finetuning.models import load_causal_lm, load_encoder\n"
        "load_causal_lm(); load_encoder(); load_encoder(head='classification', "
        "num_labels=5)\n"
        "load_encoder(head='classification', num_labels=5, pretrained=False)\n"
        "print('done')\n"
    )
    fetch("SmolLM2-135M-Instruct"), fetch("all-MiniLM-L6-v2")
    quiet = {"HF_HUB_OFFLINE", "TQDM_DISABLE", "TRANSFORMERS_VERBOSITY"}
    environment = {key: value for key, value in os.environ.items() if key not in quiet}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_loading_from_the_cache_converts_nothing(monkeypatch):
    """Conversion from GGUF takes fifteen seconds, loading the folder about one."""
    fetch("SmolLM2-135M-Instruct")

    def refuse(*arguments, **options):
        raise AssertionError("GGUF was converted or read")

    monkeypatch.setattr(conversion, "convert_gguf", refuse)
    monkeypatch.setattr(gguf, "GGUFReader", refuse)
    load_causal_lm("SmolLM2-135M-Instruct")


def write_gguf(path: Path, pre: str) -> None:
    """A random two-layer Llama, quantised as SmolLM2's file: Q4_1, embeddings Q8_0."""
    generator = np.random.default_rng(0)
    width, inner, heads, shared_heads, layers = 64, 128, 4, 2, 2
    letters = bytes_to_unicode()
    words = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        *letters.values(),
        "ĠĠ",
        "Ġa",
    ]
    words += [f"<unused{number}>" for number in range(-len(words) % 32)]
    kinds = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(words) - 3)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared_heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges(["Ġ Ġ", "Ġ a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(
        "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}"
    )

    def add(
        name: str, *shape: int, kind: gguf.GGMLQuantizationType | None = None
    ) -> None:
        values = generator.normal(0, 0.3, shape).astype(np.float32)
        if kind is None:
            writer.add_tensor(name, np.abs(values) + 0.5)
        else:
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)

    q4, q8 = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0
    add("token_embd.weight", len(words), width, kind=q8)
    add("output_norm.weight", width)
    for layer in range(layers):
        block = f"blk.{layer}"
        add(f"{block}.attn_norm.weight", width)
        add(f"{block}.ffn_norm.weight", width)
        add(f"{block}.attn_q.weight", width, width, kind=q4)
        add(f"{block}.attn_k.weight", width * shared_heads // heads, width, kind=q4)
        add(f"{block}.attn_v.weight", width * shared_heads // heads, width, kind=q4)
        add(f"{block}.attn_output.weight", width, width, kind=q4)
        add(f"{block}.ffn_gate.weight", inner, width, kind=q4)
        add(f"{block}.ffn_up.weight", inner, width, kind=q4)
        add(f"{block}.ffn_down.weight", width, inner, kind=q4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def test_conversion_from_gguf_changes_no_logit(tmp_path):
    write_gguf(tmp_path / "tiny.gguf", pre="smollm")
    direct = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="tiny.gguf", dtype=torch.float32
    ).eval()
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "converted")
    model, tokenizer = load_causal_lm(tmp_path / "converted")
    tokens = tokenizer("a  b a 12", return_tensors="pt")["input_ids"]
    logits = model(tokens).logits
    assert torch.equal(logits, direct(tokens).logits)
    assert logits.std() > 0.1, "all-zero weights would agree as well"
    assert (
        json.loads((tmp_path / "converted" / "config.json").read_text()).get(
            "quantization_config"
        )
        is None
    )
    assert "<|im_end|>" in tokenizer.chat_template
    assert tokenizer.model_max_length == 256


def test_conversion_takes_the_pre_tokenizer_that_the_file_names(tmp_path):
    pieces = {}
    for pre in ("smollm", "gpt-2"):
        write_gguf(tmp_path / f"{pre}.gguf", pre=pre)
        convert_gguf(tmp_path / f"{pre}.gguf", tmp_path / pre)
        pieces[pre] = load_tokenizer(tmp_path / pre).tokenize("a  12")
    assert pieces == {
        "smollm": ["a", "ĠĠ", "1", "2"],
        "gpt-2": ["a", "Ġ", "Ġ", "1", "2"],
    }


def test_conversion_without_gguf_lets_the_import_error_out(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise ImportError("Please install gguf")

    monkeypatch.setattr(conversion.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(ImportError, match="gguf"):
        convert_gguf(tmp_path / "model.gguf", tmp_path)
