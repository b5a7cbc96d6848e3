"""Chapter 10's ELECTRA against transformers' and by hand; gradients; refusals."""

import math

import pytest
import torch
from torch import Tensor
from transformers import (
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraModel,
)

from finetuning.scratch.bert import (
    Bert,
    BertConfiguration,
    load_transformers_weights,
    mask_tokens,
)
from finetuning.scratch.electra import (
    ELECTRA_NAMES,
    Discriminator,
    Electra,
    ElectraPretraining,
    Generator,
    hidden_places,
    letter_pair,
    replace_tokens,
    replaced_token_loss,
    sample_replacements,
    train_pair,
)

B, T, C, V = 3, 11, 24, 40
SIZES = BertConfiguration(
    V, width=C, layers=2, heads=4, hidden=36, max_length=16, dropout=0.0
)
SMALL = BertConfiguration(
    V, width=12, layers=1, heads=2, hidden=20, max_length=16, dropout=0.0
)
MASK = torch.arange(T) < torch.tensor([[T], [4], [7]])
SEGMENTS = (torch.arange(T) > 2).long().expand(B, T)
KINDS = {
    ElectraForMaskedLM: Generator,
    ElectraForPreTraining: Discriminator,
    ElectraModel: Electra,
}


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(seed: int = 0) -> Tensor:
    return torch.randint(4, V, (B, T), generator=random(seed)).masked_fill(~MASK, 0)


def gaps(rate: float = 0.3) -> tuple[Tensor, Tensor]:
    return mask_tokens(texts(), V, random(1), rate=rate, shares=(1.0, 0.0))


def twins(kind: type, embedding: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Ours and theirs with the same weights; random norms and biases hide nothing."""
    torch.manual_seed(embedding)
    theirs = kind(
        ElectraConfig(
            vocab_size=V,
            embedding_size=embedding,
            hidden_size=C,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=36,
            max_position_embeddings=16,
        )
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = KINDS[kind](SIZES, embedding).eval()
    load_transformers_weights(ours, theirs.state_dict(), ELECTRA_NAMES)
    return ours, theirs


def pair(**changes: object) -> ElectraPretraining:
    torch.manual_seed(0)
    return ElectraPretraining(SIZES, SMALL, **changes)


@pytest.mark.parametrize("embedding", [8, C, 32])
@pytest.mark.parametrize("padded", [True, False])
def test_body_equals_transformers(embedding, padded):
    ours, theirs = twins(ElectraModel, embedding)
    mask = MASK if padded else torch.ones_like(MASK)
    with torch.no_grad():
        states = ours(
            texts(), mask if padded else None, SEGMENTS, return_hidden_states=True
        )
        expected = theirs(
            texts(),
            attention_mask=mask.long(),
            token_type_ids=SEGMENTS,
            output_hidden_states=True,
        ).hidden_states
    assert len(states) == len(expected) == 3
    for mine, library in zip(states, expected, strict=True):
        assert torch.allclose(mine[mask], library[mask], atol=1e-5)


@pytest.mark.parametrize("embedding", [8, C])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("kind", [ElectraForMaskedLM, ElectraForPreTraining])
def test_heads_and_losses_equal_transformers(kind, embedding, padded):
    ours, theirs = twins(kind, embedding)
    shown, labels = gaps()
    if kind is ElectraForPreTraining:
        labels = torch.rand(B, T, generator=random(2)) < 0.3
    mask = MASK if padded else None
    output = theirs(
        shown,
        attention_mask=None if mask is None else mask.long(),
        token_type_ids=SEGMENTS,
        labels=labels.long(),
    )
    loss = ours.loss(shown, labels, mask, SEGMENTS)
    assert torch.allclose(
        ours(shown, mask, SEGMENTS)[MASK], output.logits[MASK], atol=1e-5
    )
    assert abs(loss - output.loss) < 1e-5
    loss.backward()
    output.loss.backward()
    for name, theirs_name in (
        ("words", "word_embeddings"),
        ("positions.table", "position_embeddings"),
    ):
        mine = ours.get_parameter(f"electra.embeddings.{name}.weight").grad
        expected = theirs.get_parameter(f"electra.embeddings.{theirs_name}.weight").grad
        # transformers holds the vector of [PAD], row 0, still where it is read: see
        # `padding_idx`.
        assert torch.allclose(mine[1:], expected[1:], atol=1e-5)


def test_parameters_are_as_many_as_transformers():
    for kind in KINDS:
        for embedding in (8, C):
            ours, theirs = twins(kind, embedding)
            numbers = [
                sum(weight.numel() for weight in model.parameters())
                for model in (ours, theirs)
            ]
            assert numbers[0] == numbers[1], kind


def test_padding_changes_nothing_at_real_tokens():
    ours, _ = twins(ElectraForPreTraining, 8)
    with torch.no_grad():
        padded, alone = ours(texts(), MASK)[1, :4], ours(texts()[1:2, :4])[0]
    assert torch.allclose(padded, alone, atol=1e-5)


def test_generator_makes_the_logits_of_the_places_it_is_asked_at():
    generator = pair().generator.eval()
    shown, labels = gaps()
    places = hidden_places(shown, labels)
    some = generator(shown, MASK, places=places)
    assert some.shape == (int(places.sum()), V)
    assert torch.allclose(some, generator(shown, MASK)[places], atol=1e-6)


def test_sentence_by_hand():
    original = torch.tensor(
        [[1, 4, 5, 7, 8, 9, 10, 2]]
    )  # [CLS] the river rose and it fell [SEP]
    places = torch.tensor([[0, 0, 1, 1, 0, 0, 1, 0]]).bool()
    corrupted, replaced = replace_tokens(
        original, places, torch.tensor([6, 7, 11])
    )  # road, rose, sank
    assert corrupted.tolist() == [[1, 4, 6, 7, 8, 9, 11, 2]]
    assert replaced.tolist() == [[False, False, True, False, False, False, True, False]]
    says = torch.tensor(
        [[1 / 2, 1 / 2, 1 / 2, 3 / 4, 1 / 2, 1 / 2, 1 / 4, 1 / 2]]
    ).logit()
    assert abs(replaced_token_loss(says, replaced) - 10 / 8 * math.log(2)) < 1e-6
    assert abs(replaced_token_loss(says, replaced, places) - 5 / 3 * math.log(2)) < 1e-6
    without_ends = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 0]])
    assert (
        abs(replaced_token_loss(says, replaced, without_ends) - 8 / 6 * math.log(2))
        < 1e-6
    )


def test_draws_follow_the_logits_and_the_seed():
    logits = torch.tensor([[0.1, 0.2, 0.7]]).log().expand(30_000, -1)
    draws = sample_replacements(logits, random(0))
    assert torch.equal(draws, sample_replacements(logits, random(0)))
    assert not torch.equal(draws, sample_replacements(logits, random(1)))
    shares = torch.bincount(draws, minlength=3) / len(draws)
    assert torch.allclose(shares, torch.tensor([0.1, 0.2, 0.7]), atol=0.012)
    assert not sample_replacements(logits.requires_grad_(), random(0)).requires_grad
    certain = torch.full((2, 4), -1e4)
    certain[0, 2] = certain[1, 0] = 0.0
    assert sample_replacements(certain.bfloat16(), random(0)).tolist() == [2, 0]


def test_step_adds_up_and_reads_what_it_says():
    shown, labels = gaps()
    model = pair(weight=7.0).eval()
    step = model(shown, labels, MASK, random=random(3))
    assert torch.allclose(step.total, step.generator + 7 * step.discriminator)
    assert abs(step.generator - model.generator.loss(shown, labels, MASK)) < 1e-6
    assert (
        abs(
            step.discriminator
            - model.discriminator.loss(step.corrupted, step.replaced, MASK)
        )
        < 1e-6
    )
    assert torch.allclose(
        step.logits, model.discriminator(step.corrupted, MASK), atol=1e-6
    )
    assert torch.equal(step.replaced, step.corrupted != texts())
    assert not step.replaced[labels == -100].any()
    assert torch.equal(step.corrupted[labels == -100], texts()[labels == -100])
    again = model(shown, labels, MASK, random=random(3))
    assert torch.equal(step.corrupted, again.corrupted)
    assert not torch.equal(
        step.corrupted, model(shown, labels, MASK, random=random(4)).corrupted
    )


def test_only_hidden_counts_the_hidden_places():
    shown, labels = gaps()
    model = pair().eval()
    everywhere = model(shown, labels, MASK, random=random(3))
    hidden = model(shown, labels, MASK, random=random(3), only_hidden=True)
    assert torch.equal(everywhere.corrupted, hidden.corrupted)
    expected = replaced_token_loss(
        everywhere.logits, everywhere.replaced, labels != -100
    )
    assert abs(hidden.discriminator - expected) < 1e-6
    assert abs(hidden.discriminator - everywhere.discriminator) > 1e-5
    gradient = [
        torch.autograd.grad(step.discriminator, step.logits)[0].abs() > 0
        for step in (everywhere, hidden)
    ]
    assert torch.equal(gradient[0], MASK)
    assert torch.equal(gradient[1], labels != -100)


def test_a_generator_that_is_always_right_replaces_nothing():
    shown, labels = gaps()
    model = pair().eval()
    places = hidden_places(shown, labels)
    right = torch.full((int(places.sum()), V), -1e4)
    right[torch.arange(len(right)), labels[places]] = 0.0
    corrupted, replaced = replace_tokens(
        texts(), places, sample_replacements(right, random())
    )
    assert torch.equal(corrupted, texts())
    assert not replaced.any()
    assert model.discriminator.loss(corrupted, replaced, MASK) > 0


def test_gradients_do_not_pass_through_the_draw():
    shown, labels = gaps()
    model = pair()
    step = model(shown, labels, MASK, random=random(3))
    step.discriminator.backward(retain_graph=True)
    reached = {
        name for name, weight in model.named_parameters() if weight.grad is not None
    }
    assert not any(name.startswith("generator.") for name in reached)
    assert "discriminator.output.weight" in reached
    assert "discriminator.electra.embeddings.words.weight" in reached
    rows = model.discriminator.electra.embeddings.words.weight.grad.abs().sum(dim=1) > 0
    assert set(rows.nonzero()[:, 0].tolist()) <= set(step.corrupted.unique().tolist())
    model.zero_grad()
    step.generator.backward()
    reached = {
        name for name, weight in model.named_parameters() if weight.grad is not None
    }
    assert all(
        name.startswith("generator.") or ".embeddings." in name for name in reached
    )
    assert (
        model.generator.electra.embeddings.words.weight.grad.abs().sum(dim=1) > 0
    ).all()


def test_embeddings_are_shared_and_their_start_is_kept():
    torch.manual_seed(0)
    model = ElectraPretraining(SIZES, SMALL, embedding_width=8)
    ours, theirs = model.generator.electra, model.discriminator.electra
    assert ours.embeddings is theirs.embeddings
    assert ours.embeddings.words.weight.shape == (V, 8)
    assert ours.embeddings_project.weight.shape == (12, 8)
    assert theirs.embeddings_project.weight.shape == (C, 8)
    torch.manual_seed(0)
    alone = Discriminator(SIZES, 8)  # drawn first, and not drawn again by the generator
    assert torch.equal(
        alone.electra.embeddings.words.weight, theirs.embeddings.words.weight
    )
    assert 0.015 < theirs.embeddings.words.weight.std() < 0.025
    names = [name for name, _ in model.named_parameters()]
    assert sum("words" in name for name in names) == 1


def test_as_wide_as_the_model_it_is_bert():
    electra, bert = Electra(SIZES).eval(), Bert(SIZES).eval()
    assert electra.embeddings_project is None
    bert.load_state_dict(electra.state_dict())
    assert torch.equal(electra(texts(), MASK, SEGMENTS), bert(texts(), MASK, SEGMENTS))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (
            lambda: pair()(torch.tensor([[1, 5, 2]]), torch.full((1, 3), -100)),
            "no place is hidden",
        ),
        (
            lambda: pair()(torch.tensor([[1, 3, 2]]), torch.full((1, 2), 5)),
            "one label a token",
        ),
        (
            lambda: pair()(torch.tensor([[1, 3, 99]]), torch.tensor([[-100, 5, -100]])),
            "id 99 is outside",
        ),
        (lambda: Discriminator(SIZES)(torch.tensor([[V]])), f"id {V} is outside"),
        (
            lambda: Generator(SIZES)(torch.zeros(1, 17, dtype=torch.long)),
            "positions 0 to 16",
        ),
        (
            lambda: replace_tokens(texts(), MASK, torch.tensor([5])),
            "1 draws for 22 places",
        ),
        (lambda: replace_tokens(texts(), MASK[:2], torch.full((15,), 5)), "of ids"),
        (
            lambda: replaced_token_loss(torch.zeros(2, 3), torch.zeros(2, 4)),
            "answers has the shape",
        ),
        (
            lambda: replaced_token_loss(
                torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(3)
            ),
            "counted has",
        ),
        (
            lambda: replaced_token_loss(
                torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)
            ),
            "no token counts",
        ),
        (lambda: Electra(SMALL, 12, Electra(SIZES).embeddings), "cannot be shared"),
        (
            lambda: load_transformers_weights(
                Discriminator(SIZES, 12),
                twins(ElectraForPreTraining, 8)[1].state_dict(),
                ELECTRA_NAMES,
            ),
            "checkpoint's configuration",
        ),
        (
            lambda: load_transformers_weights(
                Discriminator(SIZES, 8),
                twins(ElectraForMaskedLM, 8)[1].state_dict(),
                ELECTRA_NAMES,
            ),
            "shape|lacks",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


def test_a_label_outside_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match=f"id {V} is outside"):
        pair()(torch.tensor([[1, 3, 2]]), torch.tensor([[-100, V, -100]]))


# The pair of letters


def letters_of(rows: int) -> Tensor:
    return torch.randint(4, 20, (rows * 192 * 6,), generator=random(3))


def test_the_first_steps_of_a_training_are_those_of_the_whole() -> None:
    stream = letters_of(8)
    whole, begun = letter_pair(20, 6), letter_pair(20, 6)
    log = train_pair(whole, stream, steps=6, warmup=2)
    first = train_pair(begun, stream, steps=6, warmup=2, stop=3)
    assert first.shape == (3, 3)
    assert torch.equal(first, log[:3])
    assert not torch.equal(
        whole.discriminator.output.weight, begun.discriminator.output.weight
    )


def test_another_seed_is_another_pair() -> None:
    first, again, other = (letter_pair(20, 6, seed) for seed in (0, 0, 1))
    name = "discriminator.output.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_named_parameters_are_all_there_is_of_a_pair() -> None:
    """What an experiment keeps brings the pair back."""
    pair = letter_pair(20, 6)
    train_pair(pair, letters_of(4), steps=3, warmup=1)
    back = letter_pair(20, 6, seed=1)
    with torch.no_grad():
        for name, weight in back.named_parameters():
            weight.copy_(dict(pair.named_parameters())[name])
    for name, tensor in pair.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
