"""What a pre-trained encoder is worth on BBC News: fine-tuned, frozen under a linear
probe, and beside words that are counted.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import get_linear_schedule_with_warmup

from finetuning.classification import mean_pool
from finetuning.data import load_bbc_news
from finetuning.data.streams import CLS, PADDING, SEPARATOR, corpus
from finetuning.experiments.objectives.encoders import LENGTH, VOCABULARY
from finetuning.runtime import mixed_precision, set_seed
from finetuning.scratch.bert import Bert

# Numbers of labelled articles.
FEW = 50
MANY = 800
EPOCHS = {FEW: 16, MANY: 2}
# Of the encoder, tried on the validation part.
LEARNING_RATES = (3e-4, 1e-3, 3e-3)
# The fresh layer learns so much faster than the encoder, as in chapter 02.
HEAD_FACTOR = 10
WEIGHT_DECAY = 0.01
BATCH = 16
WINDOWS = 2  # of LENGTH tokens each, from the start of an article
# The last training articles, never drawn as labels: the other 1,300 are.
VALIDATION = 327


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
    texts = list(articles["train"]["text"])
    labels = list(articles["train"]["label"])
    return {
        "train": _as_read(texts[:-VALIDATION], labels[:-VALIDATION]),
        "validation": _as_read(texts[-VALIDATION:], labels[-VALIDATION:]),
        "test": _as_read(articles["test"]["text"], articles["test"]["label"]),
    }


def _as_read(texts: Sequence[str], labels: Sequence[int]) -> News:
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
    """

    def __init__(self, encoder: Bert, classes: int = 5) -> None:
        super().__init__()
        width = encoder.configuration.width
        self.encoder = encoder
        self.head = nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, W, T) to (B, C)."""
        hidden = self.encoder(ids.flatten(0, 1), mask.flatten(0, 1))  # (B·W, T, C)
        hidden = hidden.unflatten(0, ids.shape[:2]).flatten(1, 2)  # (B, W·T, C)
        pooled = mean_pool(hidden, mask.flatten(1, 2))  # (B, C)
        return (pooled - self.mean) / self.scale

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, W, T) to logits (B, K)."""
        # Here and not around the whole training: autocast keeps its copies of the
        # weights until it is left.
        with mixed_precision(ids.device):
            return self.head(self.features(ids, mask)).float()


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
    rows = torch.as_tensor(draw(labels, seed))
    train = news()["train"]
    topics = train.labels[rows]
    model = Classifier(encoder).eval()
    if len(set(topics)) < len(model.head.bias):
        raise ValueError(
            f"not every topic is among these {labels} articles: draw more of them"
        )
    vectors = _in_batches(model.features, train.ids[rows], train.mask[rows])  # (N, C)
    model.mean.copy_(vectors.mean(dim=0))
    model.scale.copy_(vectors.std(dim=0) + 1e-6)
    regression = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
    regression.fit(((vectors - model.mean) / model.scale).numpy(), topics)
    model.head.weight.data.copy_(torch.tensor(regression.coef_))
    model.head.bias.data.copy_(torch.tensor(regression.intercept_))
    return model


def fine_tune(
    encoder: Bert, labels: int, seed: int, learning_rate: float
) -> Classifier:
    """Train a copy of the encoder, with a fresh head, on a draw of labelled articles.

    `learning_rate` is the encoder's at its highest. As often through the articles as
    `EPOCHS` says, for another number as for the nearest. Raises as `draw`.
    """
    rows = torch.as_tensor(draw(labels, seed))
    train = news()["train"]
    topics = torch.as_tensor(train.labels)
    set_seed(seed)
    model = Classifier(copy.deepcopy(encoder))
    vectors = _in_batches(model.features, train.ids[rows], train.mask[rows])  # (N, C)
    model.mean.copy_(vectors.mean(dim=0))
    batches = DataLoader(
        TensorDataset(train.ids[rows], train.mask[rows], topics[rows]),
        BATCH,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
    )
    epochs = EPOCHS[min(EPOCHS, key=lambda known: abs(known - labels))]
    _train(model, batches, epochs, learning_rate)
    return model.eval()


def _train(
    model: Classifier, batches: DataLoader, epochs: int, learning_rate: float
) -> None:
    """AdamW; linear warm-up over a tenth of the steps, then linear decay to zero."""
    optimizer = torch.optim.AdamW(parameter_groups(model, learning_rate), fused=True)
    steps = epochs * len(batches)
    schedule = get_linear_schedule_with_warmup(optimizer, -(-steps // 10), steps)
    model.train()
    for _ in range(epochs):
        for ids, mask, labels in batches:
            loss = F.cross_entropy(model(ids, mask), labels)
            optimizer.zero_grad()
            loss.backward()
            # So the head counts more in the norm that is clipped; AdamW itself takes
            # no notice of a gradient's scale. Measured: without it, random weights end
            # 0.06 lower with 800 labels.
            for parameter in model.head.parameters():
                parameter.grad.mul_(HEAD_FACTOR)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def parameter_groups(model: Classifier, learning_rate: float) -> list[dict]:
    """The head learns faster than the encoder; matrices decay, vectors do not."""
    groups = []
    for part, factor in ((model.encoder, 1), (model.head, HEAD_FACTOR)):
        for is_matrix in (True, False):
            parameters = [p for p in part.parameters() if (p.ndim > 1) == is_matrix]
            # Decay is a share of the learning rate, and the same for both parts.
            decay = WEIGHT_DECAY / factor if is_matrix else 0.0
            groups.append(
                {
                    "params": parameters,
                    "lr": factor * learning_rate,
                    "weight_decay": decay,
                }
            )
    return groups


def right(model: Classifier, part: str = "test") -> np.ndarray:
    """Which articles of a part of the news the model puts into their topic, (N,) of
    bool.
    """
    articles = news()[part]
    logits = _in_batches(model, articles.ids, articles.mask)  # (N, K)
    return logits.argmax(dim=1).numpy() == articles.labels


@torch.no_grad()
def _in_batches(
    function: Callable[[Tensor, Tensor], Tensor], ids: Tensor, mask: Tensor
) -> Tensor:
    with mixed_precision(ids.device):
        pairs = zip(ids.split(50), mask.split(50), strict=True)
        return torch.cat([function(*pair).float() for pair in pairs])


def counted_words(labels: int, seed: int, opening: bool = False) -> np.ndarray:
    """TF-IDF and logistic regression, as in chapter 02: which test articles are right.

    It reads the whole article or, with `opening`, only the tokens that the encoders
    read.
    """
    train = news()["train"]
    test = news()["test"]
    rows = draw(labels, seed)
    texts = _openings if opening else _whole_texts
    train_texts = texts(train)
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True),
        LogisticRegression(C=10, class_weight="balanced", max_iter=1000),
    )
    model.fit([train_texts[row] for row in rows], train.labels[rows])
    return model.predict(texts(test)) == test.labels


def _whole_texts(articles: News) -> list[str]:
    return articles.texts


def _openings(articles: News) -> list[str]:
    decode = corpus(VOCABULARY).tokenizer.decode
    return [decode(ids.flatten().tolist()) for ids in articles.ids]
