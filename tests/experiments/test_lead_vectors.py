"""Chapter 11's kept vectors: one an article, and the first come out again."""

import torch

from finetuning.data import load_bbc_news
from finetuning.experiments import lead_vectors, results


def test_the_first_vectors_repeat():
    kept = results("lead_vectors").one()["vectors"].load()["vectors"].float()
    again = lead_vectors.vectors(lead_vectors.leads(8))
    assert torch.allclose(kept[:8], again, atol=1e-3)


def test_there_is_a_vector_for_each_article_left_over():
    run = results("lead_vectors").one()
    kept = run["vectors"].load()["vectors"].float()
    articles = len(load_bbc_news(split=True)["train"])
    assert len(kept) == run["articles"] == articles - lead_vectors.FIRST
    assert torch.allclose(kept.norm(dim=1), torch.ones(len(kept)), atol=2e-3)
