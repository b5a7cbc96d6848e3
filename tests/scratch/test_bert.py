"""Chapter 08's BERT against transformers': states, loss, gradients, masks, errors."""

import copy
import math

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertModel

from finetuning.scratch.bert import (
    Bert,
    BertConfiguration,
    BertEmbeddings,
    MaskedLanguageModel,
    initialise,
    load_transformers_weights,
    mask_tokens,
)
from finetuning.scratch.layers import parameter_counts

B, T, C, V = 3, 11, 24, 40
SIZES = BertConfiguration(
    V, width=C, layers=3, heads=4, hidden=36, max_length=16, dropout=0.1, pooler=True
)
MASK = torch.arange(T) < torch.tensor([[T], [4], [7]])
SEGMENTS = (torch.arange(T) > 2).long().expand(B, T)


def ids(seed: int = 0, lowest: int = 4, shape: tuple[int, ...] = (B, T)) -> Tensor:
    return torch.randint(
        lowest, V, shape, generator=torch.Generator().manual_seed(seed)
    )


def library_configuration(**changes: object) -> BertConfig:
    settings = {
        "vocab_size": V,
        "hidden_size": C,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 36,
        "max_position_embeddings": 16,
        "attn_implementation": "eager",
    }
    return BertConfig(**settings | changes)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Norms and biases too: at one and zero a wrong one can hide."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


def twins(
    head: bool = False, **changes: object
) -> tuple[torch.nn.Module, torch.nn.Module]:
    theirs = randomised(
        (BertForMaskedLM if head else BertModel)(library_configuration(**changes))
    )
    ours = MaskedLanguageModel(without_pooler()) if head else Bert(SIZES)
    load_transformers_weights(ours, theirs.state_dict())
    return ours.eval(), theirs


def without_pooler(**changes: object) -> BertConfiguration:
    return BertConfiguration(**vars(SIZES) | {"pooler": False} | changes)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("in_segments", [False, True])
def test_hidden_states_equal_the_librarys(
    implementation: str, padded: bool, in_segments: bool
) -> None:
    ours, theirs = twins(attn_implementation=implementation)
    mask, segments = MASK if padded else None, SEGMENTS if in_segments else None
    with torch.no_grad():
        states = ours(ids(), mask, segments, return_hidden_states=True)
        output = theirs(ids(), mask, segments, output_hidden_states=True)
    real = MASK if padded else torch.ones(B, T, dtype=torch.bool)
    assert len(states) == len(output.hidden_states) == 4
    for ours_state, their_state in zip(states, output.hidden_states, strict=True):
        torch.testing.assert_close(
            ours_state[real], their_state[real], atol=1e-5, rtol=1e-5
        )
    torch.testing.assert_close(
        ours.pool(states[-1]), output.pooler_output, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(ours(ids(), mask, segments), states[-1])


def test_masked_language_model_equals_the_librarys_in_logits_loss_and_gradients() -> (
    None
):
    ours, theirs = twins(head=True)
    shown, labels = mask_tokens(
        ids().masked_fill(~MASK, 0), V, torch.Generator().manual_seed(0), rate=0.5
    )
    output = theirs(shown, MASK.long(), SEGMENTS, labels=labels)
    loss = ours.loss(shown, labels, MASK.long(), SEGMENTS)
    torch.testing.assert_close(
        ours(shown, MASK, SEGMENTS)[MASK], output.logits[MASK], atol=1e-4, rtol=1e-5
    )
    torch.testing.assert_close(loss, output.loss)
    loss.backward()
    output.loss.backward()
    gradients = MaskedLanguageModel(without_pooler())
    load_transformers_weights(
        gradients, {name: weight.grad for name, weight in theirs.named_parameters()}
    )
    for weight, gradient in zip(ours.parameters(), gradients.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, gradient.detach(), atol=1e-5, rtol=1e-4)


def test_ids_of_any_integers() -> None:
    model = MaskedLanguageModel(without_pooler()).eval()
    short = mask_tokens(ids().int(), V, torch.Generator().manual_seed(0))
    long = mask_tokens(ids(), V, torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.loss(*short), model.loss(*long))


@pytest.mark.parametrize("kind", [torch.bool, torch.long, torch.float])
def test_padding_changes_nothing(kind: torch.dtype) -> None:
    ours, _ = twins()
    with torch.no_grad():
        together = ours(ids(), MASK.to(kind), SEGMENTS)
        alone = ours(ids()[1:2, :4], segments=SEGMENTS[1:2, :4])
        refilled = ours(torch.where(MASK, ids(), ids(seed=1)), MASK, SEGMENTS)
    torch.testing.assert_close(together[1, :4], alone[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[MASK], refilled[MASK], atol=1e-5, rtol=1e-5)


def test_every_token_sees_every_token() -> None:
    ours, _ = twins()
    changed = ids().clone()
    changed[:, -1] = (changed[:, -1] - 3) % (V - 4) + 4
    with torch.no_grad():
        moved = (ours(changed) - ours(ids())).abs().amax(dim=-1)
    assert (moved > 1e-4).all()


def test_parameters_are_those_of_the_formula() -> None:
    for configuration in (SIZES, without_pooler()):
        counted = sum(
            parameter.numel() for parameter in Bert(configuration).parameters()
        )
        assert counted == sum(parameter_counts(configuration.shape()).values())
    assert (
        sum(parameter_counts(BertConfiguration(30522, pooler=True).shape()).values())
        == 109_482_240
    )


def test_start_and_dropout() -> None:
    torch.manual_seed(0)
    model = MaskedLanguageModel(
        BertConfiguration(2000, width=64, layers=1, heads=4, hidden=128, max_length=64)
    )
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == (1 if name.endswith("weight") else 0)).all()
        elif parameter.dim() == 2 and parameter.numel() > 1000:
            assert abs(parameter.std().item() - 0.02) < 0.002, name
        elif parameter.dim() == 1:
            assert (parameter == 0).all(), name
    # At the start all words are about equally likely.
    shown = torch.randint(4, 2000, (4, 20), generator=torch.Generator().manual_seed(0))
    assert abs(model.eval().loss(shown, shown) - math.log(2000)) < 0.2
    assert torch.equal(model(shown), model(shown))
    model.train()
    assert not torch.equal(model(shown), model(shown))
    initialise(model, std=0.5)
    assert abs(model.transform.weight.std().item() - 0.5) < 0.03


def test_embeddings_of_another_width_and_eps() -> None:
    assert BertEmbeddings(SIZES, width=8)(ids()).shape == (B, T, 8)
    ours, theirs = twins()
    other = Bert(BertConfiguration(**vars(SIZES) | {"eps": 1e-2})).eval()
    load_transformers_weights(other, theirs.state_dict())
    with torch.no_grad():
        assert (other(ids()) - ours(ids())).abs().max() > 1e-3


def test_loading_is_strict() -> None:
    _, theirs = twins()
    weights = theirs.state_dict()
    ours = MaskedLanguageModel(without_pooler())
    with pytest.raises(ValueError, match=r"lacks 58 weights"):
        load_transformers_weights(ours, weights)
    with pytest.raises(ValueError, match=r"\(40, 24\).*\(41, 24\)"):
        load_transformers_weights(Bert(without_pooler(vocabulary=V + 1)), weights)
    with pytest.raises(ValueError, match="lacks 16 weights"):
        load_transformers_weights(Bert(without_pooler(layers=4)), weights)
    assert load_transformers_weights(Bert(without_pooler()), weights) == [
        "pooler.dense.weight",
        "pooler.dense.bias",
    ]
    broken = copy.deepcopy(weights)
    del broken["embeddings.LayerNorm.bias"]
    with pytest.raises(ValueError, match=r"lacks 1 weights .*embeddings\.norm\.bias"):
        load_transformers_weights(Bert(SIZES), broken)


def test_a_failed_load_leaves_the_model_as_it_was() -> None:
    _, theirs = twins()
    weights = dict(theirs.state_dict())
    del weights["pooler.dense.bias"]
    ours = Bert(SIZES)
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(ValueError):
        load_transformers_weights(ours, weights)
    assert all(
        torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items()
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": 5},
        {"width": 0},
        {"layers": 0},
        {"vocabulary": 0},
        {"max_length": 0},
        {"segments": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
    ],
)
def test_impossible_sizes(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        without_pooler(**changes)


def test_wrong_inputs() -> None:
    model = Bert(without_pooler())
    with pytest.raises(ValueError, match="id 40 is outside the vocabulary of 40"):
        model(torch.tensor([[4, 40]]))
    with pytest.raises(TypeError, match="ids are integers"):
        model(torch.rand(1, 4))
    with pytest.raises(ValueError, match="0 to 15 were learnt"):
        model(ids(shape=(1, 17)))
    for segments in (
        SEGMENTS + 1,
        SEGMENTS - 1,
        SEGMENTS[:, :3],
        SEGMENTS[0],
        SEGMENTS.float(),
    ):
        with pytest.raises(ValueError, match="segments are whole numbers from 0 to 1"):
            model(ids(), segments=segments)
    for mask in (MASK[:, :5], MASK[0], MASK[:, None]):
        with pytest.raises(ValueError, match="the mask has the shape"):
            model(ids(), mask)
    # A mask to be added to the scores, 0 where one may look, would otherwise be read as
    # its opposite.
    for mask in (
        torch.zeros(B, T).masked_fill(~MASK, -math.inf),
        2 * MASK.long(),
        MASK.float() - 0.5,
    ):
        with pytest.raises(
            ValueError, match="must be 1 at real tokens and 0 at padding"
        ):
            model(ids(), mask)
    with pytest.raises(ValueError, match="no pooler"):
        model.pool(torch.zeros(1, 2, C))
    masked = MaskedLanguageModel(without_pooler())
    with pytest.raises(ValueError, match="nothing to guess"):
        masked.loss(ids(), torch.full((B, T), -100))
    with pytest.raises(ValueError, match=r"labels \(3, 4\) and ids \(3, 11\) differ"):
        masked.loss(ids(), ids()[:, :4])
    with pytest.raises(ValueError, match="id 40 is outside"):
        masked.loss(ids(), torch.full((B, T), V))
    with pytest.raises(TypeError, match="ids are integers"):
        masked.loss(ids(), ids().float())


def test_what_is_empty_or_hidden_whole() -> None:
    model = Bert(SIZES).eval()
    nothing = torch.zeros(0, T, dtype=torch.long)
    assert model(nothing).shape == model(nothing, nothing).shape == (0, T, C)
    assert mask_tokens(nothing, V)[0].shape == (0, T)
    states = model(ids(), MASK * torch.tensor([[True], [True], [False]]), SEGMENTS > 0)
    assert states.isfinite().all()
    torch.testing.assert_close(states[:2], model(ids(), MASK, SEGMENTS)[:2])


def test_what_is_masked() -> None:
    plain = ids(lowest=0, shape=(400, 100))
    special = torch.isin(plain, torch.tensor([0, 1, 2, 3]))
    shown, labels = mask_tokens(plain, V, torch.Generator().manual_seed(0), rate=0.3)
    chosen = labels != -100
    assert torch.equal(labels[chosen], plain[chosen]) and torch.equal(
        shown[~chosen], plain[~chosen]
    )
    assert not chosen[special].any()
    ordinary = (~special).sum().item()
    assert abs(chosen.sum() / ordinary - 0.3) < 4 * math.sqrt(0.21 / ordinary)
    n = chosen.sum().item()
    kept, masked = (
        (shown == plain)[chosen].float().mean(),
        (shown == 3)[chosen].float().mean(),
    )
    assert abs(masked - 0.8) < 4 * math.sqrt(0.16 / n) and abs(
        kept - 0.1 - 0.1 / 36
    ) < 4 * math.sqrt(0.09 / n)
    replaced = chosen & (shown != 3) & (shown != plain)
    assert shown[replaced].min() == 4 and shown[replaced].max() == V - 1
    again = mask_tokens(plain, V, torch.Generator().manual_seed(0), rate=0.3)
    assert torch.equal(again[0], shown) and torch.equal(again[1], labels)


def test_masking_at_the_edges() -> None:
    generator = torch.Generator().manual_seed(0)
    plain = ids()
    shown, labels = mask_tokens(plain, V, generator, rate=0.0)
    assert torch.equal(shown, plain) and (labels == -100).all()
    shown, labels = mask_tokens(plain, V, generator, rate=1.0, shares=(1.0, 0.0))
    assert (shown == 3).all() and torch.equal(labels, plain)
    shown, _ = mask_tokens(plain, V, generator, rate=1.0, shares=(0.0, 0.0))
    assert torch.equal(shown, plain)
    shown, labels = mask_tokens(
        plain, V, generator, rate=1.0, shares=(1.0, 0.0), mask=7, special=range(30)
    )
    assert ((labels == -100) == (plain < 30)).all() and (shown[plain >= 30] == 7).all()
    for arguments in (
        {"rate": 1.5},
        {"rate": -0.1},
        {"shares": (0.9, 0.2)},
        {"shares": (-0.1, 0.2)},
    ):
        with pytest.raises(ValueError, match="each must lie in 0 to 1"):
            mask_tokens(plain, V, generator, **arguments)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        mask_tokens(plain, 10, generator)
    for arguments in ({"special": range(V)}, {"mask": V}, {"mask": -1}):
        with pytest.raises(ValueError, match="leaves nothing to hide, or no mask"):
            mask_tokens(plain, V, generator, **arguments)
    shown, labels = mask_tokens(plain, V, generator, rate=1.0, special=())
    assert torch.equal(labels, plain)
    assert torch.equal(plain, ids())  # not changed in place
