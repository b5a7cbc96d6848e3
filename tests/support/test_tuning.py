"""Tuning, writing and adapters, on a random Llama of two layers with SmolLM2's
tokenizer.
"""

import dataclasses
import json

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from finetuning import tuning
from finetuning.models import load_causal_lm, load_tokenizer
from finetuning.tuning import (
    Recipe,
    Settings,
    TuningError,
    adapter_folder,
    add_adapter,
    batches,
    card,
    encode_all,
    first_steps,
    load_adapter,
    save_adapter,
    tune,
    write,
)

SETTINGS = Settings(steps=6, learning_rate=1e-2, batch_size=3)


def chat(question: str, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]


WORDS = ("one", "two", "three", "four", "five")
CHATS = [chat(f"Say {word}.", f"{word}!") for word in WORDS]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("SmolLM2-135M-Instruct")


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer):
    """The folder of a small base model."""
    torch.manual_seed(0)
    configuration = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(configuration).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def model(base):
    return load_causal_lm(base)[0]


@pytest.fixture
def recipe(base):
    return Recipe("small", lambda: CHATS, "five words.", "mit", SETTINGS, str(base))


def logits(model, tokenizer):
    ids = tokenizer("The same text for both.", return_tensors="pt")
    with torch.inference_mode():
        return model(**ids.to(model.device)).logits.cpu()


# Tuning


def test_an_adapter_changes_nothing_before_it_is_tuned(base, model, tokenizer):
    before = logits(model, tokenizer)
    tuned = add_adapter(model, SETTINGS)
    assert torch.allclose(logits(tuned, tokenizer), before, atol=1e-6)
    trained = {name for name, each in tuned.named_parameters() if each.requires_grad}
    assert all("lora_" in name for name in trained)
    kinds = {name.split(".")[-4] for name in trained}
    assert kinds == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }
    with pytest.raises(TuningError, match="has an adapter already"):
        add_adapter(tuned, SETTINGS)


def test_tuning_learns_and_repeats_itself(base, tokenizer):
    runs = [tune(load_causal_lm(base)[0], tokenizer, CHATS, SETTINGS) for _ in "ab"]
    (first, losses), (second, again) = runs
    assert losses == again
    assert len(losses) == 6 and losses[-1] < losses[0]
    assert torch.equal(logits(first, tokenizer), logits(second, tokenizer))
    assert not first.training


def test_another_seed_is_another_run(base, tokenizer):
    other = dataclasses.replace(SETTINGS, seed=1)
    losses = [tune(load_causal_lm(base)[0], tokenizer, CHATS, SETTINGS)[1]]
    losses += [tune(load_causal_lm(base)[0], tokenizer, CHATS, other)[1]]
    assert losses[0] != losses[1]


def test_tuning_leaves_the_base_weights_as_they_were(base, model, tokenizer):
    tuned, _ = tune(model, tokenizer, CHATS, SETTINGS)
    before = load_causal_lm(base)[0].state_dict()
    after = tuned.unload().state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].cpu(), after[name].cpu()) for name in before)


def test_first_steps_are_those_of_the_whole_run(base, model, tokenizer, recipe):
    _, losses = tune(model, tokenizer, CHATS, SETTINGS)
    assert first_steps(recipe, 2) == pytest.approx(losses[:2], abs=1e-6)


def test_the_rate_rises_then_falls_and_gradients_are_clipped(
    base, model, tokenizer, monkeypatch
):
    seen = []

    def step(model, batch, optimizer, max_norm):
        seen.append((optimizer.param_groups[0]["lr"], max_norm))
        return 1.0, 1.0

    monkeypatch.setattr(tuning, "train_step", step)
    tune(model, tokenizer, CHATS, dataclasses.replace(SETTINGS, warmup=0.3))
    rates = [rate / SETTINGS.learning_rate for rate, _ in seen]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 3 / 4, 2 / 4, 1 / 4])
    assert {norm for _, norm in seen} == {1.0}


def test_each_chat_comes_once_before_any_comes_again(tokenizer):
    rows = encode_all(tokenizer, CHATS, SETTINGS)
    settings = Settings(steps=4, batch_size=2)
    order = [row for batch in batches(rows, settings) for row in batch]
    assert len({tuple(row.ids) for row in order[:4]}) == 4
    assert len({tuple(row.ids) for row in order[4:]}) == 4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps is a whole number from 1 on, not 0"),
        ({"steps": 2.0}, "steps is a whole number"),
        ({"learning_rate": 0.0}, "learning_rate is a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is a number above 0"),
        ({"warmup": 1.0}, "warmup is a share below 1"),
        ({"batch_size": -1}, "batch_size is a whole number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(SETTINGS, **change)


def test_what_cannot_be_trained_on_is_named(model, tokenizer):
    with pytest.raises(TuningError, match="there are 2 chats, and a batch takes 3"):
        tune(model, tokenizer, CHATS[:2], SETTINGS)
    bad = [*CHATS, chat("Talk.", "word " * 200)]
    with pytest.raises(TuningError, match=r"chat 5 .* tokens and 96 are allowed"):
        tune(model, tokenizer, bad, SETTINGS)
    with pytest.raises(TuningError, match=r"chat 0 .* no answer"):
        tune(model, tokenizer, [CHATS[0][:1]], SETTINGS)
    with pytest.raises(TuningError, match=r"chat 0 .* 'role' and 'content'"):
        tune(model, tokenizer, ["Say one."], SETTINGS)


def test_a_run_that_diverges_ends_with_its_step(model, tokenizer, monkeypatch):
    monkeypatch.setattr(tuning, "train_step", lambda *arguments: (float("nan"), 1.0))
    with pytest.raises(TuningError, match="loss of step 0 is nan: lower the learning"):
        tune(model, tokenizer, CHATS, SETTINGS)


# Writing

PROMPTS = ["Hi.", "Tell me of the long way to the sea, and back again.", "Why so?"]


def test_a_batch_writes_what_each_prompt_alone_does(model, tokenizer):
    together = write(model, tokenizer, PROMPTS, max_tokens=12)
    alone = [write(model, tokenizer, [each], max_tokens=12)[0] for each in PROMPTS]
    small = write(model, tokenizer, PROMPTS, max_tokens=12, batch_size=2)
    assert together == alone == small
    assert len(set(together)) == 3 and all(together)


def test_padding_on_the_left_leaves_the_logits_as_they_were(model, tokenizer):
    ids = [tokenizer(text)["input_ids"] for text in PROMPTS]
    batch = tuning.left_padded(ids, tokenizer.pad_token_id)
    positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        together = model(**batch, position_ids=positions).logits[:, -1]
        for row, alone in zip(together, ids, strict=True):
            expected = model(input_ids=torch.tensor([alone])).logits[0, -1]
            assert torch.allclose(row, expected, atol=1e-4)


def test_writing_ends_with_the_turn(model, tokenizer):
    """The last layer is set so that, after this text, the end of the turn is
    likeliest; without it the model writes on.
    """
    assert write(model, tokenizer, ["x"], max_tokens=5, plain=True) != [""]
    ids = tokenizer("x", return_tensors="pt")["input_ids"].to(model.device)
    with torch.no_grad():
        hidden = model.model(ids).last_hidden_state[0, -1]
        model.lm_head.weight[tokenizer.eos_token_id] = 10 * hidden
    assert write(model, tokenizer, ["x"], max_tokens=5, plain=True) == [""]


def test_a_chat_and_a_text_are_the_same_question(model, tokenizer):
    asked = [[{"role": "user", "content": PROMPTS[0]}]]
    assert write(model, tokenizer, asked, max_tokens=6) == write(
        model, tokenizer, PROMPTS[:1], max_tokens=6
    )
    plain = write(model, tokenizer, PROMPTS[:1], max_tokens=6, plain=True)
    assert plain != write(model, tokenizer, PROMPTS[:1], max_tokens=6)


def test_a_temperature_draws_by_the_seed(model, tokenizer):
    def drawn(seed):
        return write(
            model, tokenizer, PROMPTS, max_tokens=8, temperature=1.0, seed=seed
        )

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_further_options_reach_the_model(model, tokenizer):
    end = tokenizer.eos_token_id
    sooner = write(
        model, tokenizer, PROMPTS, max_tokens=8, sequence_bias=[[[end], 1e4]]
    )
    assert sooner == ["", "", ""]
    assert write(model, tokenizer, PROMPTS, max_tokens=8, num_beams=3)


def test_writing_leaves_the_mode_as_it_was_and_takes_no_prompts(model, tokenizer):
    model.train()
    assert write(model, tokenizer, []) == []
    write(model, tokenizer, ["Hi."], max_tokens=1)
    assert model.training


@pytest.mark.parametrize(
    ("prompts", "options", "sentence"),
    [
        ("Hi.", {}, "prompts are a list"),
        (["Hi."], {"max_tokens": 0}, "max_tokens and batch_size"),
        (["Hi."], {"temperature": -1.0}, "a temperature is not negative"),
        ([CHATS[0][:1]], {"plain": True}, "not a chat"),
        ([""], {"plain": True}, "an empty text cannot be continued"),
        ([[{"role": "user"}]], {}, "'role' and 'content'"),
    ],
)
def test_what_cannot_be_written_is_said(model, tokenizer, prompts, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        write(model, tokenizer, prompts, **options)


# Adapters


@pytest.fixture
def kept(base, model, tokenizer, recipe, tmp_path):
    """A tuned model and the folder where its adapter is kept."""
    tuned, losses = tune(model, tokenizer, CHATS, SETTINGS)
    folder = tmp_path / "adapter"
    save_adapter(tuned, folder, recipe, tuning.loss_figures(losses))
    return tuned, folder


def test_an_adapter_comes_back_rounded_to_bfloat16(base, tokenizer, kept):
    tuned, folder = kept
    loaded, _ = load_adapter(folder)
    ours = peft.get_peft_model_state_dict(tuned)
    for name, tensor in peft.get_peft_model_state_dict(loaded).items():
        assert torch.equal(tensor, ours[name].to(torch.bfloat16).float())
        assert tensor.dtype == torch.float32
    assert not loaded.training
    changed = (
        (logits(loaded, tokenizer) - logits(load_causal_lm(base)[0], tokenizer))
        .abs()
        .max()
    )
    difference = (logits(loaded, tokenizer) - logits(tuned, tokenizer)).abs().max()
    assert difference < 0.02 * changed


def test_peft_loads_what_is_kept(base, tokenizer, kept):
    _, folder = kept
    theirs = peft.PeftModel.from_pretrained(load_causal_lm(base)[0], folder).eval()
    ours, _ = load_adapter(folder)
    assert torch.allclose(logits(theirs, tokenizer), logits(ours, tokenizer), atol=1e-6)


def test_the_files_are_small_plain_and_explained(base, kept):
    _, folder = kept
    assert {file.name for file in folder.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "README.md",
    }
    weights = load_file(folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    text = (folder / "README.md").read_text()
    for words in ("five words.", "license: mit", "| steps | 6 |", "nats a token"):
        assert words in text


def test_a_base_may_be_named(base, kept):
    _, folder = kept
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"base_model_name_or_path": None}))
    with pytest.raises(TuningError, match="names no base model"):
        load_adapter(folder)
    assert load_adapter(folder, base)


def test_an_adapter_that_does_not_fit_is_refused(tmp_path, tokenizer, kept):
    _, folder = kept
    torch.manual_seed(0)
    other = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(other).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(TuningError, match=r"does not fit .*other: \d+ of its matrices"):
        load_adapter(folder, tmp_path / "other")


def test_a_matrix_that_is_missing_is_named(kept):
    _, folder = kept
    weights = load_file(folder / "adapter_model.safetensors")
    name = sorted(weights)[0]
    del weights[name]
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(TuningError, match=f"1 of its matrices.*{name}, missing in"):
        load_adapter(folder)


def test_damaged_files_are_one_sentence(kept):
    _, folder = kept
    (folder / "adapter_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(TuningError, match="is damaged"):
        load_adapter(folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(TuningError, match=r"there is no adapter_model\.safetensors"):
        load_adapter(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(TuningError, match="is damaged"):
        load_adapter(folder)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(TuningError, match=r"there is no adapter_config\.json"):
        load_adapter(folder)


def test_an_adapter_that_is_nowhere_is_said_with_the_command():
    with pytest.raises(TuningError, match=r"no adapter 'nothing'; .*finetuning.tuning"):
        load_adapter("nothing")


def test_a_model_without_an_adapter_is_not_kept(model, recipe, tmp_path):
    with pytest.raises(TuningError, match="no adapter to keep"):
        save_adapter(model, tmp_path, recipe, {})


# The command


def test_the_command_trains_into_the_cache(monkeypatch, tmp_path, recipe, capsys):
    monkeypatch.setenv("FINETUNING_CACHE", str(tmp_path))
    monkeypatch.setattr(tuning, "recipe", lambda name: recipe)
    threads = torch.get_num_threads()
    tuning.main(["small"])
    torch.set_num_threads(threads)
    assert "6 steps, loss" in capsys.readouterr().out
    assert adapter_folder("small") == tmp_path / "adapters" / "small"
    assert load_adapter("small")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing", "there is no experiment 'nothing'"),
        ("recall", "recall is an experiment that trains no adapter"),
    ],
)
def test_the_command_says_what_it_cannot_train(name, sentence, capsys):
    with pytest.raises(SystemExit, match=sentence):
        tuning.main([name])


def test_a_shipped_adapter_has_its_recipe_card_and_size():
    folders = [file.parent for file in tuning.SHIPPED.glob("*/adapter_config.json")]
    for folder in folders:
        made = tuning.recipe(folder.name)
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert text.startswith(card(made, {}).rsplit("| figure | |", 1)[0])
        assert made.licence in ("apache-2.0", "mit", "bsd-3-clause")
        assert (folder / "adapter_model.safetensors").stat().st_size < 3_000_000
