"""Chapter 13's loop and trl's trainer, on a random Llama with SmolLM2's tokenizer."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetuning.data import instructions
from finetuning.experiments import results, trl_parity
from finetuning.models import load_tokenizer
from finetuning.tuning import Settings

SETTINGS = Settings(steps=20, learning_rate=1e-2, batch_size=2, max_norm=0.05, warmup=0)


def small():
    tokenizer = load_tokenizer("SmolLM2-135M-Instruct")
    torch.manual_seed(0)
    configuration = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.1,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(configuration), tokenizer


def agrees(result, settings):
    assert result["same labels"]
    assert result["losses"] == pytest.approx(result["losses of trl"], abs=2e-5)
    assert min(result["norms"]) > settings.max_norm, "clipping is at work in every step"
    assert len(result["rates of trl"]) == settings.steps
    assert min(result["rates of trl"]) > 0
    assert result["weights apart"] < 1e-2 * result["weights moved"]


def test_twenty_steps_are_the_same():
    chats = [each.chat for each in instructions.training_set()[:40]]
    agrees(trl_parity.compare(small, chats, SETTINGS), SETTINGS)


def test_smollm2s_kept_steps_agree():
    agrees(results("trl_parity").one(trainer="trl"), trl_parity.SETTINGS)
