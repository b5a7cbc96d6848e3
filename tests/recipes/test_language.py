"""sft and dpo by the recipe, on a small model; the loss of dpo against trl's."""

import csv
import json
import math
import tempfile
import warnings
from pathlib import Path

import pandas
import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM
from trl import DPOConfig, DPOTrainer

from finetuning.models import load_causal_lm, load_tokenizer
from finetuning.recipes import kept, language, training
from finetuning.recipes.command import main
from finetuning.recipes.pairs import load_pairs
from finetuning.recipes.predict import load_classifier, load_language_model
from finetuning.recipes.preference import (
    answer_log_probabilities,
    dpo_losses,
    margins,
)
from finetuning.recipes.settings import parse
from finetuning.scratch.instruction import IGNORED
from finetuning.tuning import write

TREES = (
    *("alder", "birch", "cedar", "damson", "elder", "fir", "gorse", "hazel", "ivy"),
    *("juniper", "kapok", "larch", "maple", "nutmeg", "oak", "pine", "quince"),
    *("rowan", "spruce", "teak", "ulmo", "viburnum", "willow", "yew"),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A small Llama of random weights with SmolLM2's tokenizer; as SmolLM2's, its first
    and its last matrix are one.
    """
    tokenizer = load_tokenizer("SmolLM2-135M-Instruct")
    torch.manual_seed(0)
    configuration = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(configuration).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_pairs(folder: Path) -> Path:
    path = folder / "pairs.jsonl"
    rows = [
        {
            "prompt": f"Say {tree}.",
            "answer": f"{tree}!",
            "chosen": f"{tree}!",
            "rejected": f"No {tree}.",
        }
        for tree in TREES
    ]
    pandas.DataFrame(rows).to_json(path, orient="records", lines=True)
    return path


def arguments(folder: Path, base: Path, task: str, *more: str, output="out"):
    return [
        *("--task", task, "--model", str(base), "--train", str(write_pairs(folder))),
        *("--output", str(folder / output), "--epochs", "2", "--batch-size", "4"),
        *("--learning-rate", "1e-2", "--checkpoint-steps", "3", *more),
    ]


def metrics(folder: Path) -> dict:
    return json.loads((folder / kept.METRICS).read_text(encoding="utf-8"))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / kept.PREDICTIONS).open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


# The loss of dpo


def test_the_loss_by_hand():
    policy = torch.tensor([[-10.0, -12.0], [-10.0, -8.0]])
    reference = torch.tensor([[-11.0, -11.0], [-10.0, -8.0]])
    assert margins(policy, reference).tolist() == [2.0, 0.0]
    first, second = dpo_losses(policy, reference, beta=0.5).tolist()
    assert first == pytest.approx(math.log(1 + math.exp(-1)))
    assert second == pytest.approx(math.log(2))


def test_the_loss_is_that_of_trl(base):
    """On a batch of trl's own, the policy having moved away from the reference."""
    model, tokenizer = load_causal_lm(base)
    reference = load_causal_lm(base)[0]
    data = [
        {
            "prompt": [{"role": "user", "content": f"Say {tree}."}],
            "chosen": [{"role": "assistant", "content": f"{tree}!"}],
            "rejected": [{"role": "assistant", "content": f"No, not {tree}."}],
        }
        for tree in TREES[:4]
    ]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = DPOTrainer(
            model=model,
            ref_model=reference,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(data),
            args=DPOConfig(
                output_dir=folder,
                beta=0.1,
                per_device_train_batch_size=4,
                bf16=False,
                use_cpu=not torch.cuda.is_available(),
                gradient_checkpointing=False,
                report_to="none",
            ),
        )
        batch = next(iter(trainer.get_train_dataloader()))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in trainer.model.parameters():
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(0.1 * noise.to(weight.device))
            theirs = trainer.compute_loss(trainer.model.eval(), dict(batch)).item()
    mask = batch["completion_mask"].bool()
    ours = {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "labels": batch["input_ids"].masked_fill(~mask, IGNORED),
    }
    with torch.no_grad():
        # trl puts all chosen answers first, then all rejected ones.
        policy, known = (
            answer_log_probabilities(each, ours).view(2, -1).T
            for each in (trainer.model, trainer.ref_model)
        )
        loss = dpo_losses(policy, known, beta=0.1).mean().item()
    assert abs(loss - math.log(2)) > 0.05  # it has moved
    assert loss == pytest.approx(theirs, abs=1e-5)


# Whole runs


@pytest.fixture(scope="module", params=["sft lora", "sft full", "dpo lora", "dpo full"])
def made(request, base, tmp_path_factory):
    task, method = request.param.split()
    folder = tmp_path_factory.mktemp("run")
    given = arguments(folder, base, task, "--method", method)
    assert main(given) == 0
    return folder / "out", task, method, given


def test_what_is_kept_is_what_was_measured(made, base):
    folder, task, _, given = made
    model, tokenizer = load_language_model(folder)
    if task == "sft":
        said = write(model, tokenizer, [row["prompt"] for row in rows(folder)])
        longest = [row["written"] for row in rows(folder)]
        assert all(
            whole.startswith(cut) for whole, cut in zip(said, longest, strict=True)
        )
        return
    settings = parse(given)
    pairs = load_pairs(settings)
    chats = language.Chats(tokenizer, pairs, ["chosen", "rejected"], 512)
    untuned = load_causal_lm(base)[0].to(model.device)
    for place, row in zip(pairs.parts.test, rows(folder), strict=True):
        batch = chats.batch(chats.encoded[place], model.device)
        with torch.no_grad():
            policy, known = (
                answer_log_probabilities(each, batch)[None] for each in (model, untuned)
            )
        shift = margins(policy, known).item()
        assert shift == pytest.approx(float(row["moved apart by"]), abs=2e-3)


def test_it_has_learnt_and_says_what_it_was_before(made):
    folder, task, _, _ = made
    found = metrics(folder)
    assert len(found["validation_losses"]) == 2
    assert found["baseline"]["model"] == found["settings"]["model"]
    assert found["pairs"]["test"] == len(rows(folder)) == 5
    if task == "sft":
        assert found["loss"] < found["baseline"]["loss"]
        assert found["loss_less_baseline"]["interval"][1] < 0
        assert {"accuracy", "token_f1", "chrf", "chrf_interval"} <= set(found)
    else:
        # The model that is asked first is the reference, so the loss begins at ln 2.
        assert found["first_loss"] == pytest.approx(math.log(2), abs=1e-3)
        assert found["loss"] < math.log(2)
        assert found["moved_apart"] > 0.5


def test_only_text_and_tensors_are_kept(made):
    folder, _, method, _ = made
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in names} <= {
        *(".safetensors", ".json", ".jinja", ".csv", ".md")
    }
    where = kept.MODEL if method == "full" else kept.ADAPTER
    assert (folder / where).is_dir()
    card = (folder / kept.CARD).read_text(encoding="utf-8")
    assert metrics(folder)["data"]["train"]["sha256"] in card


def test_it_is_no_classifier(made):
    from finetuning.recipes.errors import RecipeError

    with pytest.raises(RecipeError, match="holds no classifier, but"):
        load_classifier(made[0])


class Stopped(BaseException):
    pass


def test_stopped_and_gone_on_with(made, base, tmp_path, monkeypatch):
    folder, task, method, _ = made
    step = training._step

    def stopping(job, plan, model, optimizer, accelerator, number):
        if number == 5:
            raise Stopped
        return step(job, plan, model, optimizer, accelerator, number)

    given = arguments(tmp_path, base, task, "--method", method)
    monkeypatch.setattr(training, "_step", stopping)
    with pytest.raises(Stopped):
        main(given)
    monkeypatch.setattr(training, "_step", step)
    assert main([*given, "--resume"]) == 0
    again, before = metrics(tmp_path / "out"), metrics(folder)
    for name in ("seconds", "data"):
        del again[name], before[name]
    assert again == before
    assert rows(tmp_path / "out") == rows(folder)


# Refusals


def refused(given: list[str], capsys) -> str:
    capsys.readouterr()
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_equal_answers_are_refused(tmp_path, base, capsys):
    given = arguments(tmp_path, base, "dpo", "--rejected-column", "chosen")
    said = refused(given, capsys)
    assert "are the same in lines 1, 2, 3 and 21 more of pairs.jsonl" in said
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_column_that_is_not_there(tmp_path, base, capsys):
    given = arguments(tmp_path, base, "sft", "--label-column", "reply")
    assert "no column 'reply'; it has 'prompt', 'answer'" in refused(given, capsys)


def test_too_few_pairs(tmp_path, base, capsys):
    given = arguments(tmp_path, base, "sft")
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(f"{line}\n" for line in path.read_text().split("\n")[:9]))
    assert "has 9 pairs that differ, and 10 are the least" in refused(given, capsys)


def test_pairs_that_are_too_long(tmp_path, base, capsys):
    given = arguments(tmp_path, base, "sft", "--max-length", "20")
    assert "24 of 24 pairs have more than 20 tokens" in refused(given, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_long_pairs_are_left_out_and_counted(tmp_path, base):
    given = arguments(tmp_path, base, "sft")
    path = tmp_path / "pairs.jsonl"
    rows = pandas.read_json(path, lines=True)
    rows.loc[3, "prompt"] = "Say it again. " * 200
    rows.to_json(path, orient="records", lines=True)
    chats = language.Chats(
        load_tokenizer(base), load_pairs(parse(given)), ["answer"], 512
    )
    assert chats.long == 1


def test_a_model_without_a_template(tmp_path, base, capsys):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = None
    plain = tmp_path / "plain"
    load_causal_lm(base)[0].save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    assert "has no chat template" in refused(arguments(tmp_path, plain, "sft"), capsys)


def test_qlora_without_its_package(tmp_path, base, capsys, monkeypatch):
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    given = arguments(tmp_path, base, "sft", "--method", "qlora")
    assert "pip install bitsandbytes" in refused(given, capsys)
