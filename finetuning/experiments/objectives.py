"""Three ways to pre-train one encoder on one budget, and what they are worth on BBC
News.

The controlled experiment of chapter 10. One corpus and one tokenizer
(`finetuning.data.streams`), one encoder with the same first weights, one schedule, one
budget of FLOPs; what differs is the objective. Chapter 10 runs it small,
`recipes/objectives.py` with ten times the budget and several seeds.
"""

import copy
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn
from torch.utils.data import DataLoader

from finetuning.classification import mean_pool
from finetuning.data import load_bbc_news
from finetuning.data.streams import CLS, PADDING, SEPARATOR, batches, blocks, corpus
from finetuning.runtime import Stopwatch, mixed_precision, set_seed
from finetuning.scratch.attention import causal_mask
from finetuning.scratch.bert import (
    Bert,
    BertConfiguration,
    MaskedLanguageModel,
    mask_tokens,
)
from finetuning.scratch.electra import ElectraPretraining
from finetuning.scratch.fine_tuning import train_classifier
from finetuning.scratch.layers import (
    TransformerShape,
    forward_flops,
    sinusoidal_positions,
)
from finetuning.statistics import Interval, mean_interval

OBJECTIVES = ("masked LM", "replaced tokens", "replaced tokens, 15 %", "causal LM")
CONTROL = "random weights"

KEPT = Path(__file__).parent / "results" / "objectives.json"

VOCABULARY, LENGTH = 4096, 32
# Pre-training: share of the budget, tokens a row, rows a batch. Short rows first, for
# there attention finds the neighbours (chapter 08); a batch has 768 tokens throughout.
STAGES = ((0.3, 8, 96), (0.7, LENGTH, 24))
RATE = 0.15  # of tokens hidden, for masked LM and for ELECTRA's generator
WARM_UP = 0.05  # share of the budget
CHAPTER_FLOPS = 1e12
RECIPE_FLOPS = 10 * CHAPTER_FLOPS
PEAKS = (
    2e-4,
    4e-4,
    8e-4,
    1.6e-3,
    3.2e-3,
)  # learning rates tried for each objective, on held-out speeches
# The best of them for each: see "tried" in
# finetuning/experiments/results/objectives.json. Compared is the loss of guessing
# tokens, for ELECTRA the generator's: its discriminator's is lowest where the fakes are
# worst.
PEAK = dict.fromkeys(OBJECTIVES, 8e-4) | {"causal LM": 1.6e-3}

FEW, MANY = 50, 800
EPOCHS = {FEW: 16, MANY: 2}
FINE_TUNING_RATES = (3e-4, 1e-3, 3e-3)
HEAD_FACTOR = 10
WINDOWS = 2  # of LENGTH tokens each, from the start of an article
DRAWS = 3  # of labels for each seed
VALIDATION = (
    327  # the last training articles, never drawn as labels: the other 1,300 are
)


def configuration() -> BertConfiguration:
    """The encoder of every objective: 0.9 million parameters, more than half of them
    the table of words.
    """
    return BertConfiguration(VOCABULARY, 128, 2, 4, 512, max_length=LENGTH, dropout=0.0)


def generator_configuration() -> BertConfiguration:
    """ELECTRA's generator: a quarter of the width, as in ELECTRA-Small (Clark et al.,
    2020, table 6).
    """
    return BertConfiguration(VOCABULARY, 32, 2, 1, 128, max_length=LENGTH, dropout=0.0)


class CausalBert(Bert):
    """A Bert whose tokens see only what is before them: the same weights, the mask of a
    GPT.
    """

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """`mask` (B, T): 1 or True at real tokens. Returns (B, T, C)."""
        x = self.embeddings(ids, segments)
        looks = causal_mask(ids.size(1), ids.device)[None]  # (1, T, T)
        if mask is not None:
            looks = looks & mask.bool()[:, None]  # (B, T, T)
        for layer in self.encoder.layers:
            x = layer(x, looks)
        return x


def random_encoder(seed: int = 0, causal: bool = False) -> Bert:
    """The encoder before any training: the control, and the start of every objective
    with this seed.

    Matrices start at a size that suits a width of 128, and positions as weak sines and
    cosines (chapter 08).
    """
    set_seed(seed)
    encoder = (CausalBert if causal else Bert)(configuration())
    _suit_width(encoder)
    return encoder.eval()


def _with_head(encoder: Bert) -> MaskedLanguageModel:
    model = MaskedLanguageModel(configuration())
    _suit_width(model)
    model.bert = encoder
    return model


class Masked(nn.Module):
    """Masked language modelling."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.model = _with_head(random_encoder(seed))

    def forward(
        self, ids: Tensor, random: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        shown, labels = mask_tokens(ids, VOCABULARY, random, RATE)
        loss = self.model.loss(shown, labels)
        return loss, {"places": int((labels != -100).sum()), "loss": loss.item()}

    def encoder(self) -> Bert:
        return self.model.bert


class Causal(nn.Module):
    """Causal language modelling: the head of masked LM, at every place that has a
    successor.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.model = _with_head(random_encoder(seed, causal=True))

    def forward(
        self, ids: Tensor, random: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        logits = self.model.logits(self.model.bert(ids)[:, :-1])  # (B, T − 1, V)
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        return loss, {"places": ids[:, 1:].numel(), "loss": loss.item()}

    def encoder(self) -> Bert:
        return self.model.bert


class Replaced(nn.Module):
    """Replaced-token detection: the encoder is the discriminator's."""

    def __init__(self, seed: int, only_hidden: bool = False) -> None:
        super().__init__()
        encoder = random_encoder(seed)
        self.model, self.only_hidden = (
            ElectraPretraining(configuration(), generator_configuration()),
            only_hidden,
        )
        _suit_width(self.model)
        self.model.discriminator.electra.load_state_dict(encoder.state_dict())

    def forward(
        self, ids: Tensor, random: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        shown, labels = mask_tokens(ids, VOCABULARY, random, RATE, shares=(1.0, 0.0))
        losses = self.model(shown, labels, random=random, only_hidden=self.only_hidden)
        said = {
            "places": int((labels != -100).sum()),
            "loss": losses.discriminator.item(),
        }
        return losses.total, said | {"generator loss": losses.generator.item()}

    def encoder(self) -> Bert:
        encoder = Bert(configuration())
        encoder.load_state_dict(self.model.discriminator.electra.state_dict())
        return encoder


_GAMES: dict[str, Callable[[int], nn.Module]] = {
    "masked LM": Masked,
    "replaced tokens": Replaced,
    "replaced tokens, 15 %": functools.partial(Replaced, only_hidden=True),
    "causal LM": Causal,
}


def _suit_width(model: nn.Module) -> None:
    """Matrices with variance 1 / (numbers that go in); positions no stronger than
    words.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if isinstance(module, Bert):
            table = module.embeddings.positions.table.weight
            table.data.copy_(0.03 * sinusoidal_positions(*table.shape))


def step_flops(
    objective: str,
    length: int = LENGTH,
    rows: int = STAGES[-1][2],
    places: int | None = None,
) -> dict[str, int]:
    """FLOPs of one training step by part, three times those of the forward pass
    (chapter 06).

    `places` are those with logits over the vocabulary: as many as are hidden (in the
    mean, unless given), or all but the last of each row for causal LM. The
    discriminator answers everywhere: "ELECTRA 15 %" too computes what it does not
    count. Raises ValueError for an unknown objective.
    """
    _check(objective)
    if objective == "causal LM":
        places = rows * (length - 1)
    elif places is None:
        places = round(RATE * rows * (length - 2))
    C = E = configuration().width  # the embeddings are as wide as the encoder
    shape = _shape(configuration(), "none")
    logits = forward_flops(_shape(configuration(), "tied"), 1)["head"]  # of one place
    parts = {"encoder": rows * sum(forward_flops(shape, length).values())}
    if objective.startswith("replaced"):
        small = generator_configuration()
        body = rows * sum(forward_flops(_shape(small, "none"), length).values())
        parts["head"] = rows * length * 2 * (C * C + C)
        parts["generator"] = body + rows * length * 2 * E * small.width
        parts["generator's head"] = places * (2 * small.width * E + logits)
    else:
        parts["head"] = places * (2 * C * C + logits)
    return {name: 3 * flops for name, flops in parts.items()}


def _shape(sizes: BertConfiguration, head: str) -> TransformerShape:
    return TransformerShape(
        sizes.layers,
        sizes.width,
        sizes.heads,
        sizes.hidden,
        sizes.vocabulary,
        head=head,
    )


def _check(objective: str) -> None:
    if objective not in OBJECTIVES:
        raise ValueError(
            f"there is no objective {objective!r}; there are {', '.join(OBJECTIVES)}"
        )


@dataclass
class Pretrained:
    """An encoder and how it came about; `log` has the mean losses in nats of 40 equal
    parts of the steps.
    """

    objective: str
    encoder: Bert
    game: nn.Module  # the encoder with its heads, and ELECTRA's generator
    flops: float
    steps: int
    tokens: int
    seconds: float
    log: dict[str, list[float]] = field(default_factory=dict)


def pretrain(
    objective: str, flops: float, seed: int = 0, peak: float | None = None
) -> Pretrained:
    """Train a fresh encoder on the training speeches until the next step would go over
    the budget.

    AdamW; the rate rises over the first 5 % of the budget to `peak` (the objective's
    best of `PEAKS`, unless given) and falls in a line to zero. Gradients are clipped to
    norm 1. bfloat16 where that is fast.

    Raises ValueError for an unknown objective or a budget that does not pay for a step
    in each stage.
    """
    _check(objective)
    # Twice, for a batch may hide more than the mean; and each stage has only its share.
    least = 2 * max(
        sum(step_flops(objective, length, rows).values()) / share
        for share, length, rows in STAGES
    )
    if not flops >= least:
        raise ValueError(
            f"a budget of {flops:.1e} FLOPs does not pay for a step of {objective} in "
            f"each stage: give at least {least:.1e}"
        )
    peak = PEAK[objective] if peak is None else peak
    game = _GAMES[objective](seed).train()
    optimizer = torch.optim.AdamW(
        game.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    random = torch.Generator().manual_seed(seed)
    stream = corpus(VOCABULARY).training
    spent, tokens, until, said = 0, 0, 0.0, []
    with Stopwatch() as watch:
        for share, length, rows in STAGES:
            until += share
            for ids in batches(blocks(stream, length, marks=True), rows, seed):
                for group in optimizer.param_groups:
                    group["lr"] = peak * _rate_share(spent / flops)
                with mixed_precision(ids.device):
                    loss, numbers = game(ids, random)
                cost = sum(
                    step_flops(objective, length, rows, numbers["places"]).values()
                )
                if spent + cost > until * flops:
                    break
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(game.parameters(), 1.0)
                optimizer.step()
                spent, tokens = spent + cost, tokens + ids.numel()
                said.append(numbers)
    game.eval()
    log = {
        name: _means([each[name] for each in said])
        for name in said[0]
        if name != "places"
    }
    return Pretrained(
        objective,
        game.encoder().eval(),
        game,
        spent,
        len(said),
        tokens,
        watch.seconds,
        log,
    )


def _rate_share(spent: float) -> float:
    """The learning rate as a share of its peak, when this share of the budget is spent."""
    return min(1.0, (spent + 1e-3) / WARM_UP, (1.0 - spent) / (1.0 - WARM_UP))


def _means(numbers: Sequence[float], parts: int = 40) -> list[float]:
    return [
        round(float(part.mean()), 4)
        for part in np.array_split(numbers, min(parts, len(numbers)))
    ]


@torch.no_grad()
def held_out(pretrained: Pretrained, rows: int = 500) -> dict[str, float]:
    """How well the objective is met on held-out speeches; the same rows, gaps and draws
    for equal objectives.

    `loss` in nats, of the objective itself; for replaced-token detection of the
    discriminator, and `total` with the generator's, as it is trained. Also `auc` and
    `recall` (of the replaced tokens, where 5 % of the others are suspected), the share
    `replaced`, the `auc` among the hidden places alone, and the loss of always saying
    that share.
    """
    ids = blocks(corpus(VOCABULARY).held_out, LENGTH, marks=True)
    ids = ids[:: max(1, len(ids) // rows)][:rows]
    random = torch.Generator().manual_seed(0)
    game = pretrained.game.eval()
    if not isinstance(game, Replaced):
        return {"loss": game(ids, random)[1]["loss"]}
    shown, labels = mask_tokens(ids, VOCABULARY, random, RATE, shares=(1.0, 0.0))
    losses = game.model(shown, labels, random=random, only_hidden=game.only_hidden)
    truth, says, hidden = (
        losses.replaced.numpy(),
        losses.logits.float().numpy(),
        (labels != -100).numpy(),
    )
    share = float(truth[hidden].mean() if game.only_hidden else truth.mean())
    return {
        "loss": losses.discriminator.item(),
        "total": losses.total.item(),
        "loss of the base rate": float(
            -(share * np.log(share) + (1 - share) * np.log(1 - share))
        ),
        "generator loss": losses.generator.item(),
        "replaced": float(truth.mean()),
        "auc": float(roc_auc_score(truth.ravel(), says.ravel())),
        "auc, hidden places": float(roc_auc_score(truth[hidden], says[hidden])),
        "recall": float((says[truth] > np.quantile(says[~truth], 0.95)).mean()),
    }


class News(NamedTuple):
    """BBC News as the encoders read it: ids (N, W, T), mask (N, W, T), labels (N,), and
    the texts.
    """

    ids: Tensor
    mask: Tensor
    labels: np.ndarray
    texts: list[str]


@functools.cache
def news() -> Mapping[str, News]:
    """`train` (1,300 articles to draw labels from), `validation` (327) and `test`
    (500).

    Of an article the encoders read its first tokens, in `WINDOWS` rows with their own
    [CLS] and [SEP].
    """
    articles = load_bbc_news(split=True)
    parts = {"test": _read(articles["test"]["text"], articles["test"]["label"])}
    texts, labels = list(articles["train"]["text"]), list(articles["train"]["label"])
    parts["train"] = _read(texts[:-VALIDATION], labels[:-VALIDATION])
    parts["validation"] = _read(texts[-VALIDATION:], labels[-VALIDATION:])
    return parts


def _read(texts: Sequence[str], labels: Sequence[int]) -> News:
    room = LENGTH - 2
    ids = torch.full((len(texts), WINDOWS, LENGTH), PADDING)
    encodings = corpus(VOCABULARY).tokenizer.encode_batch(
        [" ".join(text.split()) for text in texts]
    )
    for row, encoding in enumerate(encodings):
        for window in range(WINDOWS):
            piece = encoding.ids[window * room : (window + 1) * room]
            if piece:
                ids[row, window, : len(piece) + 2] = torch.tensor(
                    [CLS, *piece, SEPARATOR]
                )
    return News(ids, ids != PADDING, np.array(labels), list(texts))


class Classifier(nn.Module):
    """An encoder, the mean of its vectors over the real tokens of all windows, and one
    linear layer.

    The layer reads the means with `mean` taken off and `scale` divided out, (C,) each.
    What it says counts `HEAD_FACTOR` times, so that under Adam it learns that much
    faster than the encoder, as in chapter 02.
    """

    def __init__(self, encoder: Bert, classes: int = 5) -> None:
        super().__init__()
        width = encoder.configuration.width
        self.encoder, self.head = encoder, nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, W, T) to (B, C)."""
        hidden = self.encoder(ids.flatten(0, 1), mask.flatten(0, 1))  # (B·W, T, C)
        pooled = mean_pool(
            hidden.unflatten(0, ids.shape[:2]).flatten(1, 2), mask.flatten(1, 2)
        )
        return (pooled - self.mean) / self.scale

    def forward(
        self, ids: Tensor, mask: Tensor, labels: Tensor | None = None
    ) -> SimpleNamespace:
        # Here and not around the whole training: autocast keeps its copies of the
        # weights until it is left.
        with mixed_precision(ids.device):
            logits = HEAD_FACTOR * self.head(self.features(ids, mask)).float()
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SimpleNamespace(loss=loss, logits=logits)


def draw(labels: int, seed: int) -> np.ndarray:
    """Which training articles get a label; a smaller draw is the beginning of a larger
    one.

    Raises ValueError if there are not so many.
    """
    pool = len(news()["train"].labels)
    if not 1 <= labels <= pool:
        raise ValueError(
            f"there are {pool} articles to label, so 1 to {pool} can be drawn, "
            f"not {labels}"
        )
    return np.random.default_rng(seed).permutation(pool)[:labels]


def probe(encoder: Bert, labels: int, seed: int) -> Classifier:
    """A linear probe: the encoder as it is, and logistic regression on its standardised
    mean vectors.

    Raises as `draw`, and ValueError if a topic is not in the draw.
    """
    rows, train = torch.as_tensor(draw(labels, seed)), news()["train"]
    topics = train.labels[rows]
    model = Classifier(encoder).eval()
    if len(set(topics)) < len(model.head.bias):
        raise ValueError(
            f"not every topic is among these {labels} articles: draw more of them"
        )
    vectors = _outputs(model.features, train.ids[rows], train.mask[rows])  # (N, C)
    model.mean.copy_(vectors.mean(dim=0))
    model.scale.copy_(vectors.std(dim=0) + 1e-6)
    regression = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
    regression.fit(((vectors - model.mean) / model.scale).numpy(), topics)
    model.head.weight.data.copy_(torch.tensor(regression.coef_) / HEAD_FACTOR)
    model.head.bias.data.copy_(torch.tensor(regression.intercept_) / HEAD_FACTOR)
    return model


def fine_tune(
    encoder: Bert, labels: int, seed: int, rate: float, batch_size: int = 16
) -> Classifier:
    """Train a copy of the encoder, with a fresh head, on a draw of labelled articles.

    `rate` is the encoder's at its highest. As often through the articles as `EPOCHS`
    says, for another number as for the nearest. Raises as `draw`.
    """
    rows, train = torch.as_tensor(draw(labels, seed)), news()["train"]
    set_seed(seed)
    model = Classifier(copy.deepcopy(encoder))
    model.mean.copy_(
        _outputs(model.features, train.ids[rows], train.mask[rows]).mean(dim=0)
    )
    topics = torch.as_tensor(train.labels)
    data = [
        {"ids": train.ids[row], "mask": train.mask[row], "labels": topics[row]}
        for row in rows
    ]
    loader = DataLoader(
        data, batch_size, shuffle=True, generator=torch.Generator().manual_seed(seed)
    )
    epochs = EPOCHS[min(EPOCHS, key=lambda each: abs(each - labels))]
    train_classifier(model, loader, epochs, rate)
    return model.eval()


def right(model: Classifier, part: str = "test") -> np.ndarray:
    """Which articles of a part of the news the model puts into their topic, (N,) of
    bool.
    """
    articles = news()[part]
    logits = _outputs(
        lambda ids, mask: model(ids, mask).logits, articles.ids, articles.mask
    )  # (N, K)
    return logits.argmax(dim=1).numpy() == articles.labels


def accuracy_after(encoder: Bert, labels: int, seed: int, rate: float) -> float:
    """Share of the test articles that are right after fine-tuning on `labels` articles
    drawn by `seed`.
    """
    return float(right(fine_tune(encoder, labels, seed, rate)).mean())


@torch.no_grad()
def _outputs(
    function: Callable[[Tensor, Tensor], Tensor], ids: Tensor, mask: Tensor
) -> Tensor:
    with mixed_precision(ids.device):
        pairs = zip(ids.split(50), mask.split(50), strict=True)
        return torch.cat([function(*pair).float() for pair in pairs])


def counting_words(labels: int, seed: int, opening: bool = False) -> np.ndarray:
    """TF-IDF and logistic regression, as in chapter 02: which test articles are right.

    It reads the whole article or, with `opening`, only the tokens that the encoders
    read.
    """
    rows, train, test = draw(labels, seed), news()["train"], news()["test"]
    texts = {"train": train.texts, "test": test.texts}
    if opening:
        decode = corpus(VOCABULARY).tokenizer.decode
        texts = {
            part: [decode(ids.flatten().tolist()) for ids in news()[part].ids]
            for part in texts
        }
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True),
        LogisticRegression(C=10, class_weight="balanced", max_iter=1000),
    )
    model.fit([texts["train"][row] for row in rows], train.labels[rows])
    return model.predict(texts["test"]) == test.labels


def settings() -> dict[str, object]:
    """What the results depend on: the kept file carries it, and other results are not
    mixed in.
    """
    return {
        "encoder": vars(configuration()),
        "generator": vars(generator_configuration()),
        "pre-training": {"stages": STAGES, "hidden": RATE, "warm-up": WARM_UP},
        "budgets": [CHAPTER_FLOPS, RECIPE_FLOPS],
        "peaks": list(PEAKS),
        "fine-tuning": {
            "epochs": {str(labels): epochs for labels, epochs in EPOCHS.items()},
            "rates": list(FINE_TUNING_RATES),
            "windows": WINDOWS,
            "head": HEAD_FACTOR,
        },
    }


def kept(path: Path = KEPT) -> dict:
    """The recipe's results; see `recipes/objectives.py`.

    Raises FileNotFoundError if there are none, and ValueError if they were made with
    other settings.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {path.name} yet: run python recipes/objectives.py"
        )
    found = json.loads(path.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(settings()))  # as they come back from a file
    if found.get("settings") != now:
        other = [
            name for name in now if found.get("settings", {}).get(name) != now[name]
        ]
        raise ValueError(
            f"{path.name} was made with other settings "
            f"({', '.join(other) or 'more of them'}), and results must not be mixed: "
            "move it away, or give another file with --output"
        )
    return found


def kept_run(found: Mapping, method: str, flops: float, seed: int) -> dict | None:
    """The kept run of a method with a budget and a seed, or None."""
    for run in found["runs"]:
        if (run["method"], run["budget"], run["seed"]) == (method, flops, seed):
            return run
    return None


def table(
    found: Mapping, flops: float, kind: str = "right"
) -> dict[tuple[str, int], Interval]:
    """Accuracy on the test articles by method and number of labels, with a 95 %
    interval over the seeds.

    A seed is a pre-training and `DRAWS` draws of labels, whose mean is one number.
    `kind` is "right" (fine-tuned) or "probe". Controls and word counts have a budget of
    0 and are in every table.
    """
    numbers: dict[tuple[str, int], list[float]] = {}
    for run in found["runs"]:
        if run["budget"] in (0, flops):
            for labels, results in run["labels"].items():
                if kind in results:
                    accuracies = [bits.count("1") / len(bits) for bits in results[kind]]
                    numbers.setdefault((run["method"], int(labels)), []).append(
                        float(np.mean(accuracies))
                    )
    return {
        key: mean_interval(values) for key, values in numbers.items() if len(values) > 1
    }


def ahead(
    found: Mapping,
    flops: float,
    first: str,
    second: str,
    labels: int,
    kind: str = "right",
) -> Interval:
    """Accuracy of one method minus another's, with an interval over the seeds, each
    with the same draws.

    Raises ValueError if they have fewer than two seeds in common.
    """
    means: dict[str, dict[int, float]] = {first: {}, second: {}}
    for run in found["runs"]:
        if run["method"] in means and run["budget"] in (0, flops):
            bits = "".join(run["labels"][str(labels)][kind])
            means[run["method"]][run["seed"]] = bits.count("1") / len(bits)
    seeds = means[first].keys() & means[second].keys()
    return mean_interval(
        [means[first][seed] - means[second][seed] for seed in sorted(seeds)]
    )
