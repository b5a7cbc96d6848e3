"""Chapter 07's Transformer: parity with torch's, masks, cache, training, errors."""

import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetuning.scratch.attention import causal_mask, padding_mask
from finetuning.scratch.decoding import beam_search, greedy
from finetuning.scratch.transformer import (
    CachedNextLogits,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    KeyValueCache,
    NextLogits,
    TokenEmbedding,
    Transformer,
    check_ids,
    decode_with_cache,
    noam_schedule,
    smoothed_cross_entropy,
    smoothing_floor,
    train,
)

B, T, S, C, H, HIDDEN, V = 3, 5, 7, 12, 3, 20, 11
SOURCE_MASK = padding_mask(torch.tensor([S, 3, 5]), S)
TARGET_MASK = causal_mask(T) & padding_mask(torch.tensor([4, T, 2]), T)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(1, V, shape, generator=torch.Generator().manual_seed(seed))


def small(seed: int = 0, **settings: object) -> Transformer:
    torch.manual_seed(seed)
    settings = {
        "width": C,
        "heads": H,
        "hidden": HIDDEN,
        "layers": 2,
        "max_length": 16,
    } | settings
    return Transformer(V, **settings).eval()


def randomised(module: nn.Module) -> nn.Module:
    """Norms too: with scale one and shift zero a wrong norm can hide."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module


def twin(
    ours: Encoder | Decoder, norm_first: bool
) -> tuple[nn.Module, list[tuple[list[Tensor], Tensor]]]:
    """PyTorch's stack with our weights, and which of its tensors is which of ours."""
    settings = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first}
    decodes = isinstance(ours, Decoder)
    layer_kind = nn.TransformerDecoderLayer if decodes else nn.TransformerEncoderLayer
    layer = layer_kind(C, H, HIDDEN, **settings)
    norm = nn.LayerNorm(C) if norm_first else None
    if decodes:
        theirs = nn.TransformerDecoder(layer, len(ours.layers), norm)
    else:
        theirs = nn.TransformerEncoder(
            layer, len(ours.layers), norm, enable_nested_tensor=False
        )
    plain = [(ours.norm, theirs.norm)] if norm_first else []
    pairs = []
    for mine, yours in zip(ours.layers, theirs.layers, strict=True):
        attentions = (
            [(mine.self_attention, yours.self_attn)]
            if decodes
            else [(mine.attention, yours.self_attn)]
        )
        if decodes:
            attentions.append((mine.cross_attention, yours.multihead_attn))
        for attention, other in attentions:
            parts = attention.query, attention.key, attention.value
            pairs += [([part.weight for part in parts], other.in_proj_weight)]
            pairs += [([part.bias for part in parts], other.in_proj_bias)]
            plain.append((attention.output, other.out_proj))
        plain += [
            (mine.feed_forward.up, yours.linear1),
            (mine.feed_forward.down, yours.linear2),
        ]
        plain += [
            (r.norm, getattr(yours, f"norm{n}"))
            for n, r in enumerate(mine.residuals, start=1)
        ]
    for a, b in plain:
        pairs += [([a.weight], b.weight), ([a.bias], b.bias)]
    with torch.no_grad():
        for mine, yours in pairs:
            yours.copy_(torch.cat(mine))
    assert len(pairs) == len(list(theirs.parameters()))
    return theirs, pairs


@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
@pytest.mark.parametrize("masked", [False, True], ids=["open", "masked"])
def test_encoder_and_decoder_equal_torch_in_outputs_and_gradients(
    norm_first: bool, masked: bool
) -> None:
    encoder = randomised(Encoder(2, C, H, HIDDEN, 0.0, norm_first))
    decoder = randomised(Decoder(2, C, H, HIDDEN, 0.0, norm_first))
    (their_encoder, first), (their_decoder, second) = (
        twin(encoder, norm_first),
        twin(decoder, norm_first),
    )
    x, y = random(B, S, C, seed=2), random(B, T, C, seed=3)
    source_mask, target_mask = (SOURCE_MASK, TARGET_MASK) if masked else (None, None)
    hidden = ~SOURCE_MASK[:, 0] if masked else None

    ours, weights = decoder(y, encoder(x, source_mask), target_mask, source_mask)
    memory = their_encoder(x, src_key_padding_mask=hidden)
    per_head = ~TARGET_MASK.repeat_interleave(H, dim=0) if masked else None
    theirs = their_decoder(y, memory, tgt_mask=per_head, memory_key_padding_mask=hidden)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert weights.shape == (2, B, H, T, S)

    upstream = random(B, T, C, seed=4) / 10
    ours.backward(upstream)
    theirs.backward(upstream)
    for mine, yours in first + second:
        torch.testing.assert_close(
            torch.cat([p.grad for p in mine]), yours.grad, atol=1e-5, rtol=1e-4
        )


def test_layers_are_the_stack_of_one() -> None:
    x, y = random(B, S, C, seed=2), random(B, T, C, seed=3)
    encoder, decoder = Encoder(1, C, H, HIDDEN).eval(), Decoder(1, C, H, HIDDEN).eval()
    assert isinstance(encoder.layers[0], EncoderLayer)
    assert isinstance(decoder.layers[0], DecoderLayer)
    assert torch.equal(encoder(x, SOURCE_MASK), encoder.layers[0](x, SOURCE_MASK))
    out, weights = decoder(y, x, TARGET_MASK, SOURCE_MASK)
    alone, alone_weights = decoder.layers[0](y, x, TARGET_MASK, SOURCE_MASK)
    assert torch.equal(out, alone)
    assert torch.equal(weights[0], alone_weights)


def test_the_future_is_hidden_and_the_past_is_not() -> None:
    model, source, target = small(), ids(1, S), ids(1, T, seed=1)
    before = model(source, target)
    for place in range(T):
        other = target.clone()
        other[0, place] = target[0, place] % (V - 1) + 1
        moved = (model(source, other) - before).abs().amax(dim=-1)[0] > 1e-6
        assert moved.tolist() == [position >= place for position in range(T)]
    for place in range(S):
        other = source.clone()
        other[0, place] = source[0, place] % (V - 1) + 1
        assert ((model(other, target) - before).abs().amax(dim=-1) > 1e-6).all()


def test_padding_changes_nothing() -> None:
    model, source, target = small(), ids(1, S), ids(1, T, seed=1)
    alone = model(source, target)
    padded = model(F.pad(source, (0, 4)), F.pad(target, (0, 3)))
    torch.testing.assert_close(padded[:, :T], alone, atol=1e-5, rtol=1e-5)


def test_weights_on_memory_sum_to_one_and_leave_padding_out() -> None:
    model = small()
    source = F.pad(ids(2, 4), (0, 3))
    memory, mask = model.encode(source)
    assert memory.shape == (2, 7, C)
    assert mask.tolist() == [[[True] * 4 + [False] * 3]] * 2
    logits, weights = model.decode(ids(2, T), memory, mask)
    assert logits.shape == (2, T, V)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, H, T))
    assert (weights[..., 4:] == 0).all()


def test_one_matrix_embeds_and_makes_logits() -> None:
    model = small()
    assert sum(parameter.shape == (V, C) for parameter in model.parameters()) == 1
    x = random(2, 3, C)
    torch.testing.assert_close(
        model.embedding.logits(x), F.linear(x, model.embedding.table.weight)
    )


def test_embedding_is_scaled_and_counts_positions_from_the_offset() -> None:
    embedding = TokenEmbedding(V, C, max_length=9, dropout=0.0)
    whole = embedding(ids(2, 6))
    torch.testing.assert_close(embedding(ids(2, 6)[:, 2:], offset=2), whole[:, 2:])
    torch.testing.assert_close(
        whole - embedding.positions[:6],
        math.sqrt(C) * embedding.table.weight[ids(2, 6)],
        atol=1e-6,
        rtol=1e-5,
    )
    assert "positions" not in embedding.state_dict()


def test_dropout_only_in_training() -> None:
    model = small(dropout=0.5)
    assert torch.equal(model(ids(1, S), ids(1, T)), model(ids(1, S), ids(1, T)))
    model.train()
    assert not torch.equal(model(ids(1, S), ids(1, T)), model(ids(1, S), ids(1, T)))


# Errors


@pytest.mark.parametrize("kind", [EncoderLayer, DecoderLayer])
def test_heads_must_divide_the_width(kind: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="12 cannot be divided among 5 heads"):
        kind(12, 5, 24)
    with pytest.raises(ValueError, match="12 cannot be divided among 5 heads"):
        Transformer(V, width=12, heads=5)


@pytest.mark.parametrize("wrong", [-1, V, 10**6])
def test_an_id_outside_the_vocabulary_is_named(wrong: int) -> None:
    model, bad = small(), torch.tensor([[1, 2, wrong]])
    for call in (
        lambda: model(bad, ids(1, T)),
        lambda: model(ids(1, T), bad),
        lambda: check_ids(bad, V),
    ):
        with pytest.raises(
            ValueError,
            match=rf"id {wrong} is outside the vocabulary of {V}.* 0 to {V - 1}",
        ):
            call()


def test_what_are_no_ids_is_refused() -> None:
    with pytest.raises(TypeError, match="ids are integers"):
        check_ids(torch.ones(1, 2), V)
    with pytest.raises(TypeError, match=r"ids are integers.*torch\.bool"):
        check_ids(torch.ones(1, 2, dtype=torch.bool), V)
    with pytest.raises(ValueError, match=r"\(B, T\).*\(3,\).*ids\[None\]"):
        check_ids(torch.tensor([1, 2, 3]), V)


def test_a_sequence_over_the_maximum_is_refused_with_both_numbers() -> None:
    model = small(max_length=8)
    assert model(ids(1, 8), ids(1, 8)).shape == (1, 8, V)
    for source, target in ((9, 3), (3, 9)):
        with pytest.raises(ValueError, match="reaches 9 tokens, and the maximum is 8"):
            model(ids(1, source), ids(1, target))
    with pytest.raises(ValueError, match="reaches 9 tokens"):
        model.embedding(ids(1, 2), offset=7)


def test_masks_of_wrong_dtype_or_shape_are_refused() -> None:
    encoder, decoder, x = (
        Encoder(1, C, H, HIDDEN),
        Decoder(1, C, H, HIDDEN),
        random(B, S, C),
    )
    with pytest.raises(TypeError, match=r"call \.bool\(\) on it first"):
        encoder(x, SOURCE_MASK.long())
    with pytest.raises(ValueError, match="does not broadcast"):
        encoder(x, SOURCE_MASK[..., 1:])
    with pytest.raises(ValueError, match="does not broadcast"):
        decoder(x, x, causal_mask(S + 1))
    with pytest.raises(TypeError, match=r"call \.bool\(\) on it first"):
        decoder(x, x, causal_mask(S), SOURCE_MASK.int())


# The parts of training


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_equals_torch_in_value_and_gradient(smoothing: float) -> None:
    logits, targets = random(B, T, V).requires_grad_(), ids(B, T)
    targets[0, 3:] = 0
    ours = smoothed_cross_entropy(logits, targets, smoothing, ignored=0)
    theirs = F.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=0,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    assert (gradients[0][0, 3:] == 0).all()


def test_the_floor_is_the_least_that_the_loss_can_be() -> None:
    for vocabulary, smoothing in itertools.product((2, 4, 53), (0.0, 0.1, 0.3)):
        floor = smoothing_floor(vocabulary, smoothing)
        shares = torch.full((vocabulary,), smoothing / vocabulary)
        shares[0] += 1 - smoothing
        at = smoothed_cross_entropy(
            shares.clamp(min=1e-30).log()[None], torch.tensor([0]), smoothing
        )
        assert at.item() == pytest.approx(floor, abs=1e-5)
        for seed in range(5):
            other = (
                shares.clamp(min=1e-30).log() + 0.1 * random(vocabulary, seed=seed)
            )[None]
            assert (
                smoothed_cross_entropy(other, torch.tensor([0]), smoothing).item()
                >= floor - 1e-6
            )
    assert smoothing_floor(53, 0.0) == 0.0


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_smoothing_that_is_no_share_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="from 0 to below 1"):
        smoothed_cross_entropy(random(2, V), ids(2), smoothing)


@pytest.mark.parametrize("shape", [(2, 3), (0, 3)], ids=["all ignored", "no rows"])
def test_a_loss_of_no_target_is_refused(shape: tuple[int, int]) -> None:
    targets = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match=r"targets counts .*nothing to learn from"):
        smoothed_cross_entropy(random(*shape, V), targets, 0.1, ignored=0)


def test_the_schedule_climbs_peaks_and_falls() -> None:
    assert noam_schedule(4000, 512, 4000) == pytest.approx((512 * 4000) ** -0.5)
    rates = [noam_schedule(step, 64, 100) for step in range(1, 1000)]
    assert rates.index(max(rates)) == 99
    assert rates[49] == pytest.approx(max(rates) / 2)
    assert rates[399] == pytest.approx(max(rates) / 2)
    for step, warmup in ((0, 10), (1, 0)):
        with pytest.raises(ValueError, match="counted from 1"):
            noam_schedule(step, 64, warmup)


def test_training_shifts_by_one_ignores_padding_and_reports() -> None:
    model = small(dropout=0.0)
    source, target = ids(2, S), F.pad(ids(2, T, seed=1), (0, 2))
    expected = F.cross_entropy(
        model(source, target[:, :-1]).flatten(0, 1),
        target[:, 1:].flatten(),
        ignore_index=0,
        label_smoothing=0.1,
    ).item()
    rates, steps = [], []
    before = copy.deepcopy(model.state_dict())
    losses = train(
        model,
        [(source, target)] * 30,
        lambda step: rates.append(step) or 0.01,
        after_step=steps.append,
    )
    assert losses[0] == pytest.approx(expected, abs=1e-5)
    assert losses[-1] < losses[0] - 0.5
    assert rates == steps == list(range(1, 31))
    assert model.training
    assert any(
        not torch.equal(before[name], value)
        for name, value in model.state_dict().items()
    )


def test_training_uses_the_learning_rate_of_the_step() -> None:
    model = small(dropout=0.0)
    before = copy.deepcopy(model.state_dict())
    train(model, [(ids(2, S), ids(2, T))], lambda step: 0.0)
    assert all(
        torch.equal(before[name], value) for name, value in model.state_dict().items()
    )


def test_training_on_nothing_is_refused_and_changes_nothing() -> None:
    model = small(dropout=0.0)
    before = copy.deepcopy(model.state_dict())
    only_padding = torch.zeros(2, T, dtype=torch.long)
    only_start = ids(2, 1)
    for batches, message in (
        ([], "there is no batch, so there is nothing to learn from"),
        ([(ids(2, S), only_padding)], "none of the 8 targets counts"),
        ([(ids(2, S), only_start)], "none of the 0 targets counts"),
    ):
        with pytest.raises(ValueError, match=message):
            train(model, batches, lambda step: 0.01)
    assert all(
        torch.equal(before[name], value) for name, value in model.state_dict().items()
    )


# The cache


@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
@pytest.mark.parametrize("pieces", [[1] * 8, [8], [3, 1, 4], [1, 7]])
def test_the_cache_changes_no_logit(pieces: list[int], norm_first: bool) -> None:
    model = randomised(small(norm_first=norm_first))
    source, target = F.pad(ids(B, S), (0, 2)), ids(B, 8, seed=1)
    memory, mask = model.encode(source)
    whole, _ = model.decode(target, memory, mask)
    cache, found = KeyValueCache(2), []
    for piece in target.split(pieces, dim=1):
        found.append(decode_with_cache(model, piece, memory, mask, cache))
    torch.testing.assert_close(torch.cat(found, dim=1), whole, atol=1e-4, rtol=1e-4)
    assert cache.length == 8
    assert cache.own[0][0].shape == (B, 8, C)
    assert cache.source[1][1].shape == (B, S + 2, C)


def test_the_memory_is_read_once() -> None:
    model = small()
    memory, mask = model.encode(ids(1, S))
    cache = KeyValueCache(2)
    first = decode_with_cache(model, ids(1, 1), memory, mask, cache)
    kept = [pair[0] for pair in cache.source]
    decode_with_cache(model, ids(1, 1), memory, mask, cache)
    assert all(pair[0] is key for pair, key in zip(cache.source, kept, strict=True))
    assert first.shape == (1, 1, V)


def test_a_cache_selects_rows() -> None:
    cache = KeyValueCache(1)
    assert cache.length == 0
    cache.select(torch.tensor([0]))  # nothing there yet
    key, value = random(3, 2, 4), random(3, 2, 4, seed=1)
    cache.extend(0, key, value)
    rows = torch.tensor([2, 2, 0, 1])
    cache.select(rows)
    assert torch.equal(cache.own[0][0], key[rows])
    longer, _ = cache.extend(0, random(4, 1, 4), random(4, 1, 4))
    assert longer.shape == (4, 3, 4)
    assert cache.length == 3


@pytest.mark.parametrize("kind", [NextLogits, CachedNextLogits])
def test_next_logits_are_the_last_row(kind: type[NextLogits]) -> None:
    model = randomised(small())
    source, target = F.pad(ids(B, S), (0, 2)), ids(B, 6, seed=1)
    whole = model(source, target)
    next_logits = kind(model, source)
    for length in range(1, 7):
        torch.testing.assert_close(
            next_logits(target[:, :length]), whole[:, length - 1], atol=1e-4, rtol=1e-4
        )


def test_greedy_and_beams_are_the_same_with_and_without_the_cache() -> None:
    model = randomised(small())
    source, start = ids(6, S), torch.ones(6, 1, dtype=torch.long)
    plain, cached = (
        greedy(kind(model, source), start, 12, end=2)
        for kind in (NextLogits, CachedNextLogits)
    )
    assert torch.equal(plain, cached)
    texts = []
    for kind in (NextLogits, CachedNextLogits):
        next_logits = kind(model, source)
        found = beam_search(
            next_logits, start, 12, end=2, beams=3, select=next_logits.select
        )
        texts.append([[text.tokens for text in row] for row in found])
    assert texts[0] == texts[1]
    alone = []
    for row in range(6):
        next_logits = CachedNextLogits(model, source[row : row + 1])
        alone += beam_search(
            next_logits, start[:1], 12, end=2, beams=3, select=next_logits.select
        )
    assert [[text.tokens for text in row] for row in alone] == texts[1]


def test_a_cache_of_another_text_is_refused() -> None:
    next_logits = CachedNextLogits(small(), ids(1, S))
    next_logits(ids(1, 3))
    with pytest.raises(ValueError, match="3 tokens were given and 3 are in the cache"):
        next_logits(ids(1, 3))
    other = torch.cat([ids(1, 3).roll(1, dims=1), ids(1, 1)], dim=1)
    assert not torch.equal(other[:, :3], ids(1, 3))
    with pytest.raises(ValueError, match="each call must continue the one before"):
        next_logits(other)


def test_a_text_that_is_changed_in_place_is_another_text() -> None:
    next_logits = CachedNextLogits(small(), ids(1, S))
    text = ids(1, 3)
    next_logits(text)
    text[0, 0] = text[0, 0] % (V - 1) + 1
    with pytest.raises(ValueError, match="each call must continue the one before"):
        next_logits(torch.cat([text, ids(1, 1)], dim=1))


def test_a_batch_of_another_size_is_another_text() -> None:
    next_logits = CachedNextLogits(small(), ids(1, S))
    next_logits(ids(1, 3))
    with pytest.raises(ValueError, match="each call must continue the one before"):
        next_logits(F.pad(ids(1, 3), (0, 1), value=2).expand(2, -1))
