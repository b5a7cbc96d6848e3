"""Wrong answers to chapter 04's exercises, each with a part of its diagnosis."""

import math

import torch
from torch import nn

from finetuning.scratch.attention import (
    causal_mask,
    masked_softmax,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)

# 4.1

W_QUERY = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 6.0], [6.0, 0.0]])


def key_matrix(
    animal: float, machine: float, names: float, asks: float
) -> torch.Tensor:
    return torch.tensor([[0.0, animal], [0.0, machine], [1.0, names], [0.0, asks]])


# 4.2


def predicted(**wrong):
    """The right predictions, but for those given, in the check's order."""
    right = {
        "queries_times_zero": "mean",
        "queries_times_ten": "different",
        "added_to_keys": "same",
        "added_to_queries": "different",
        "added_to_values": "shifted",
        "source_shuffled": "same",
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


# 4.3


def looks_both_ways(length, window):
    back = torch.arange(length)[:, None] - torch.arange(length)
    return back.abs() < window


def one_too_many(length, window):
    back = torch.arange(length)[:, None] - torch.arange(length)
    return (back >= 0) & (back <= window)


def one_too_few(length, window):
    back = torch.arange(length)[:, None] - torch.arange(length)
    return (back >= 0) & (back < max(window - 1, 1))


def upside_down(length, window):
    back = torch.arange(length)[:, None] - torch.arange(length)
    return ~((back >= 0) & (back < window))


def itself_left_out(length, window):
    back = torch.arange(length)[:, None] - torch.arange(length)
    return (back > 0) & (back <= window)


def in_blocks(length, window):
    block = torch.arange(length) // window
    return (block[:, None] == block) & causal_mask(length)


def window_forgotten(length, window):
    return causal_mask(length)


def window_as_ones(length, window):
    return torch.ones(length, length).tril().triu(1 - window)


def rows_for_columns(length, window):
    back = torch.arange(length) - torch.arange(length)[:, None]
    return (back >= 0) & (back < window)


# 4.4


def still_reshaped(x, heads):
    batch, length, width = x.shape
    per_head = x.reshape(batch, heads, length, width // heads)
    found, _ = scaled_dot_product_attention(
        per_head, per_head, per_head, causal_mask(length)
    )
    return found.reshape(batch, length, width)


def merged_without_transpose(x, heads):
    batch, length, width = x.shape
    per_head = x.reshape(batch, length, heads, width // heads).transpose(1, 2)
    found, _ = scaled_dot_product_attention(
        per_head, per_head, per_head, causal_mask(length)
    )
    return found.reshape(batch, length, width)


def cut_into_combs(x, heads):
    batch, length, width = x.shape
    per_head = x.reshape(batch, length, width // heads, heads).permute(0, 3, 1, 2)
    found, _ = scaled_dot_product_attention(
        per_head, per_head, per_head, causal_mask(length)
    )
    return found.permute(0, 2, 3, 1).reshape(batch, length, width)


def mask_lost(x, heads):
    per_head = split_heads(x, heads)
    return merge_heads(scaled_dot_product_attention(per_head, per_head, per_head)[0])


def scaled_by_whole_width(x, heads):
    per_head = split_heads(x, heads)
    smaller = per_head / math.sqrt(heads)
    return merge_heads(
        scaled_dot_product_attention(
            smaller, per_head, per_head, causal_mask(x.size(1))
        )[0]
    )


def cut_without_transpose(x, heads):
    batch, length, width = x.shape
    per_head = x.reshape(batch, length, heads, width // heads)
    found, _ = scaled_dot_product_attention(
        per_head, per_head, per_head, causal_mask(length)
    )
    return found.reshape(batch, length, width)


def one_head_for_all(x, heads):
    return scaled_dot_product_attention(x, x, x, causal_mask(x.size(1)))[0]


# 4.5


def zero_times_log_zero(weights):
    return (-(weights * weights.log()).sum(dim=-1)).exp()


def nan_called_one(weights):
    return (-(weights * weights.log()).sum(dim=-1)).exp().nan_to_num(1.0)


def nan_called_zero(weights):
    return (-(weights * weights.log()).sum(dim=-1)).nan_to_num().exp()


def inverse_of_squares(weights):
    return 1 / weights.square().sum(dim=-1)


def clamped_too_high(weights):
    return (-(weights * weights.clamp(min=1e-3).log()).sum(dim=-1)).exp()


def divided_by_their_sum(weights):
    shares = torch.distributions.Categorical(probs=weights, validate_args=False)
    return torch.special.entr(shares.probs).sum(-1).exp()


def entropy_only(weights):
    return torch.special.entr(weights).sum(dim=-1) + 0.0


def bits_and_e(weights):
    return (torch.special.entr(weights) / math.log(2)).sum(dim=-1).exp()


def over_the_rows(weights):
    return torch.special.entr(weights).sum(dim=-2).exp()


def one_number_for_all(weights):
    return torch.special.entr(weights).sum(dim=-1).exp().mean()


# 4.6


class SetForEachHead(nn.Module):
    """Ordinary multi-head attention: every map as wide as the model."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(self, x, mask=None):
        parts = [
            split_heads(part(x), self.heads)
            for part in (self.query, self.key, self.value)
        ]
        return self.output(merge_heads(scaled_dot_product_attention(*parts, mask)[0]))


def texts_for_heads(x, heads):
    """With as many texts as heads, nobody can tell the two axes apart."""
    parts = split_heads(x, heads)
    found, _ = scaled_dot_product_attention(parts, parts, parts, causal_mask(x.size(1)))
    return found.transpose(0, 1).reshape(x.shape)


class SharedKeys(nn.Module):
    """The right maps; subclasses make a mistake in how they use them."""

    def __init__(self, width, heads):
        super().__init__()
        self.width, self.heads = width, heads
        self.query, self.output = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = (
            nn.Linear(width, width // heads),
            nn.Linear(width, width // heads),
        )

    def parts(self, x):
        return (
            split_heads(self.query(x), self.heads),
            self.key(x).unsqueeze(1),
            self.value(x).unsqueeze(1),
        )


class ScaledByWidth(SharedKeys):
    def forward(self, x, mask=None):
        query, key, value = self.parts(x)
        query = query / math.sqrt(self.heads)
        return self.output(
            merge_heads(scaled_dot_product_attention(query, key, value, mask)[0])
        )


class Float32(SharedKeys):
    def forward(self, x, mask=None):
        found = scaled_dot_product_attention(*self.parts(x), mask)[0]
        return self.output(merge_heads(found)).float()


class MaskForgotten(SharedKeys):
    def forward(self, x, mask=None):
        return self.output(merge_heads(scaled_dot_product_attention(*self.parts(x))[0]))


class AlwaysCausal(SharedKeys):
    def forward(self, x, mask=None):
        mask = None if mask is None else causal_mask(x.size(1))
        return self.output(
            merge_heads(scaled_dot_product_attention(*self.parts(x), mask)[0])
        )


class MaskUpsideDown(SharedKeys):
    def forward(self, x, mask=None):
        mask = None if mask is None else ~mask
        return self.output(
            merge_heads(scaled_dot_product_attention(*self.parts(x), mask)[0])
        )


class OutputForgotten(SharedKeys):
    def forward(self, x, mask=None):
        return merge_heads(scaled_dot_product_attention(*self.parts(x), mask)[0])


class HeadsNotMerged(SharedKeys):
    def forward(self, x, mask=None):
        found = scaled_dot_product_attention(*self.parts(x), mask)[0]
        return self.output(found.reshape(x.shape))


class QueriesReshaped(SharedKeys):
    def forward(self, x, mask=None):
        _, key, value = self.parts(x)
        query = self.query(x).reshape(len(x), self.heads, x.size(1), -1)
        return self.output(
            merge_heads(scaled_dot_product_attention(query, key, value, mask)[0])
        )


class NoAxisForHeads(SharedKeys):
    def forward(self, x, mask=None):
        query, _, _ = self.parts(x)
        found = scaled_dot_product_attention(query, self.key(x), self.value(x), mask)[0]
        return self.output(merge_heads(found))


class NotScaled(SharedKeys):
    def forward(self, x, mask=None):
        query, key, value = self.parts(x)
        query = query * math.sqrt(self.width // self.heads)
        return self.output(
            merge_heads(scaled_dot_product_attention(query, key, value, mask)[0])
        )


class KeysForValues(SharedKeys):
    def forward(self, x, mask=None):
        query, key, value = self.parts(x)
        return self.output(
            merge_heads(scaled_dot_product_attention(query, value, key, mask)[0])
        )


class KeysDetached(SharedKeys):
    def forward(self, x, mask=None):
        query, key, value = self.parts(x)
        return self.output(
            merge_heads(
                scaled_dot_product_attention(query, key.detach(), value, mask)[0]
            )
        )


# 4.7


def scores_of(query, key, heads):
    query, key = split_heads(query, heads), split_heads(key, heads)
    return query @ key.mT / math.sqrt(query.size(-1))


def mask_ignored(query, key, attention_mask, heads):
    return scores_of(query, key, heads).softmax(dim=-1)


def mask_of_ones_added(query, key, attention_mask, heads):
    return (scores_of(query, key, heads) + attention_mask[:, None, None, :]).softmax(
        dim=-1
    )


def mask_after_softmax(query, key, attention_mask, heads):
    return (
        scores_of(query, key, heads).softmax(dim=-1) * attention_mask[:, None, None, :]
    )


def mask_on_rows(query, key, attention_mask, heads):
    hidden = attention_mask[:, None, :, None] == 0
    return scores_of(query, key, heads).masked_fill(hidden, -math.inf).softmax(dim=-1)


def mask_turned_round(query, key, attention_mask, heads):
    hidden = attention_mask.bool()[:, None, None, :]
    # The first sentence has no padding: hide nothing there, so that no row is empty.
    hidden = hidden & ~hidden.all(dim=-1, keepdim=True)
    return scores_of(query, key, heads).masked_fill(hidden, -math.inf).softmax(dim=-1)


def mask_turned_round_for_ours(query, key, attention_mask, heads):
    return masked_softmax(
        scores_of(query, key, heads), attention_mask[:, None, None, :] == 0
    )


def mask_over_heads(query, key, attention_mask, heads):
    return masked_softmax(scores_of(query, key, heads), attention_mask.bool()[:, None])


def causal_too(query, key, attention_mask, heads):
    mask = attention_mask.bool()[:, None, None, :] & causal_mask(query.size(1))
    return masked_softmax(scores_of(query, key, heads), mask)


def softmax_over_queries(query, key, attention_mask, heads):
    hidden = attention_mask[:, None, None, :] == 0
    return scores_of(query, key, heads).masked_fill(hidden, -1e9).softmax(dim=-2)


def width_of_the_model(query, key, attention_mask, heads):
    hidden = attention_mask[:, None, None, :] == 0
    return (
        (scores_of(query, key, heads) / math.sqrt(heads))
        .masked_fill(hidden, -math.inf)
        .softmax(dim=-1)
    )


def not_scaled(query, key, attention_mask, heads):
    hidden = attention_mask[:, None, None, :] == 0
    scores = scores_of(query, key, heads) * math.sqrt(query.size(-1) // heads)
    return scores.masked_fill(hidden, -math.inf).softmax(dim=-1)


# What no author has to remember: arguments changed, one size, one shift, one dtype


def half_masked(length, window):
    """The right mask for windows up to 4, which is written in."""
    back = torch.arange(length)[:, None] - torch.arange(length)
    return (back >= 0) & (back < min(window, 4))


def two_heads_written_in(x, heads):
    per_head = split_heads(x, 2 if heads > 1 else 1)
    return merge_heads(
        scaled_dot_product_attention(
            per_head, per_head, per_head, causal_mask(x.size(1))
        )[0]
    )


def scaled_in_place(x, heads):
    per_head = split_heads(x, heads)
    found, _ = scaled_dot_product_attention(
        per_head, per_head, per_head, causal_mask(x.size(1))
    )
    x /= math.sqrt(heads)
    return merge_heads(found)


def clamped_in_place(weights):
    weights.clamp_(min=1e-12)
    return (-(weights * weights.log()).sum(dim=-1)).exp()


def in_float32(weights):
    return torch.special.entr(weights.float()).sum(dim=-1).exp()


def axis_counted_from_the_front(weights):
    return torch.special.entr(weights).sum(dim=1).exp()


class HeadsOfTheClass(SharedKeys):
    """The number of heads kept in the class: the module made last decides for all."""

    def __init__(self, width, heads):
        super().__init__(width, heads)
        type(self).number = heads

    def forward(self, x, mask=None):
        query = split_heads(self.query(x), self.number)
        found = scaled_dot_product_attention(
            query, self.key(x).unsqueeze(1), self.value(x).unsqueeze(1), mask
        )
        return self.output(merge_heads(found[0]))


class InputNormalised(SharedKeys):
    """Right, and the input is another afterwards."""

    def forward(self, x, mask=None):
        found = scaled_dot_product_attention(*self.parts(x), mask)[0]
        result = self.output(merge_heads(found))
        x -= x.mean()
        return result


def mask_filled_in_place(query, key, attention_mask, heads):
    found = masked_softmax(
        scores_of(query, key, heads), attention_mask.bool()[:, None, None]
    )
    attention_mask -= 1
    return found


def query_scaled_in_place(query, key, attention_mask, heads):
    query /= math.sqrt(query.size(-1) // heads)
    scores = split_heads(query, heads) @ split_heads(key, heads).mT
    return masked_softmax(scores, attention_mask.bool()[:, None, None])


def number_of_tokens_alone(query, key, attention_mask, heads):
    """Right for padding on the right alone: the first n columns are seen."""
    real = attention_mask.sum(dim=1)
    mask = torch.arange(key.size(1)) < real[:, None]
    return masked_softmax(scores_of(query, key, heads), mask[:, None, None])


def shifted_by_what_is_hidden(query, key, attention_mask, heads):
    query, key = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key))
    scores = (query @ key.mT / query.size(-1) ** 0.5).double()
    raised = (scores - scores.amax(-1, keepdim=True)).exp()
    raised = raised * attention_mask[:, None, None]
    return (raised / raised.sum(-1, keepdim=True)).to(query.dtype)


WRONG = {
    "matrices": [
        ((W_QUERY, key_matrix(0, 0, 0, 1)), "*it* still gets"),
        ((W_QUERY, key_matrix(1, 0, 0, 0)), "in 'the mouse worked until it broke'"),
        ((W_QUERY, key_matrix(1, 1, 0, 0)), "*mouse* looks at itself"),
        ((W_QUERY.flip(1), key_matrix(1, 1, -2, 0)), "do not stand in the same order"),
        ((W_QUERY, key_matrix(1, 1, -2, 0).flip(1)), "do not stand in the same order"),
        (
            (W_QUERY, key_matrix(1, -1, 0, 0)),
            "Which number of the two has the wrong sign?",
        ),
        ((W_QUERY * math.nan, key_matrix(1, 1, -2, 0)), "the scores overflow"),
        ((torch.full((4, 2), 1e30), torch.full((4, 2), 1e30)), "the scores overflow"),
        ((W_QUERY / 6, key_matrix(1, 1, -2, 0)), "it points at the verbs, but softly"),
        ((W_QUERY.mT, key_matrix(1, 1, -2, 0)), "shape (2, 4)"),
        (
            (W_QUERY + torch.eye(4, 2).flip(1).roll(1, 0), key_matrix(1, 1, -2, 0)),
            "column 0 of both matrices, finds it.",
        ),
        (
            (W_QUERY - torch.eye(4, 2).roll(3, 0), key_matrix(1, 1, -2, 0)),
            "column 0 of both matrices, does not either.",
        ),
    ],
    "predictions": [
        (predicted(added_to_keys="different"), "Which scores of a row"),
        (predicted(added_to_queries="same"), "the same for every key"),
        (predicted(queries_times_ten="same"), "in general, `queries_times_ten`"),
        (predicted(added_to_values="different"), "What becomes of c?"),
        (predicted(source_shuffled="different"), "order of its parts"),
        (predicted(queries_times_zero="uniform"), "not one of the 4 answers"),
        (predicted(queries_times_zero="same"), "make of equal scores"),
    ],
    "sliding_window_mask": [
        (looks_both_ways, "yours looks to both sides"),
        (one_too_many, "yours is one too wide"),
        (one_too_few, "yours is one too narrow"),
        (itself_left_out, "itself belongs to its window"),
        (in_blocks, "cut into pieces here"),
        (upside_down, "wrong way round"),
        (window_forgotten, "without a window"),
        (window_as_ones, "it should hold booleans"),
        (rows_for_columns, "Rows and columns have changed"),
        (half_masked, "with length 8 and window 7, position 4 does not see"),
    ],
    "mended_attention": [
        (still_reshaped, "a piece of the text"),
        (merged_without_transpose, "change places"),
        (cut_into_combs, "and not into (D, H)"),
        (mask_lost, "the causal mask is gone"),
        (texts_for_heads, "for an input (3, 6, 8) and 2 heads, the output is"),
        (scaled_by_whole_width, "of the whole width"),
        (one_head_for_all, "never cut into heads"),
        (cut_without_transpose, "still needs a transpose"),
        (two_heads_written_in, "for an input (1, 5, 12) and 3 heads, "),
        (scaled_in_place, "`x` was "),
    ],
    "effective_tokens": [
        (zero_times_log_zero, "0 · log 0"),
        (nan_called_one, "for the rows (½, ½, 0, 0)"),
        (nan_called_zero, "replaced after the sum"),
        (inverse_of_squares, "another count"),
        (clamped_too_high, "for 5,000 equal weights, the result is 1000"),
        (divided_by_their_sum, "for the rows (0, 0, 0)"),
        (entropy_only, "exponential"),
        (bits_and_e, "same base"),
        (over_the_rows, "The sum runs over the rows"),
        (one_number_for_all, "shape (); it should be (3,)"),
        (clamped_in_place, "`weights` was 0 at "),
        (in_float32, "digits are lost"),
        (axis_counted_from_the_front, "for weights of shape (1, 5, 7), "),
    ],
    "multi_query_attention": [
        (SetForEachHead, "All heads share one set"),
        (Float32, "dtype torch.float32 although it was made from torch.float64"),
        (ScaledByWidth, "it must be of a head's"),
        (MaskForgotten, "The mask has no effect"),
        (AlwaysCausal, "causal whatever the mask says"),
        (MaskUpsideDown, "upside down"),
        (OutputForgotten, "The last projection, `output`, is missing"),
        (HeadsNotMerged, "When you join the heads"),
        (QueriesReshaped, "When you cut the queries into heads"),
        (NoAxisForHeads, "line up sentences with heads"),
        (NotScaled, "not divided by"),
        (KeysForValues, "have changed places"),
        (KeysDetached, "no gradient reaches `key`"),
        (HeadsOfTheClass, "for an input (2, 5, 8), 2 heads, without a mask"),
        (InputNormalised, "`x` was "),
    ],
    "model_weights": [
        (shifted_by_what_is_hidden, "contains NaN"),
        (mask_ignored, "the mask has no effect"),
        (mask_of_ones_added, "are added to the scores"),
        (mask_after_softmax, "before the softmax"),
        (mask_on_rows, "The mask hides rows"),
        (mask_turned_round, "wrong way round"),
        (mask_turned_round_for_ours, "wrong way round"),
        (mask_over_heads, "lines up sentences with heads"),
        (causal_too, "causal as well"),
        (softmax_over_queries, "Each column sums to one"),
        (width_of_the_model, "of the whole width"),
        (not_scaled, "not divided"),
        (mask_filled_in_place, "`attention_mask` was "),
        (query_scaled_in_place, "`query` was "),
        (number_of_tokens_alone, "with padding on the left, the result is"),
    ],
}
