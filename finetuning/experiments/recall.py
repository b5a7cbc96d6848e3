"""Chapter 04's experiment: how far attention and an LSTM reach back in a list.

A list of names, each with a digit; then some names are asked for. One layer of either
kind: four learning rates with two seeds, and the best of them with five more. A run
takes some five seconds on one CPU core.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.runtime import set_seed
from finetuning.scratch.attention import MultiHeadAttention

NAMES = 32
DIGITS = 8
# Further entries of the embeddings
NO_NAME = NAMES
BLANK = DIGITS
ASKED = DIGITS + 1
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"

WIDTH = 64
LONGEST = 32  # steps of a list
BATCH = 64
TEST = 2000  # lists for each distance
DISTANCES = (1, 2, 4, 8, 16, 32)
RATES = (0.003, 0.01, 0.03, 0.1)
TUNING_SEEDS = (0, 1)  # by these a rate is chosen
SEEDS = (2, 3, 4, 5, 6)  # and these are reported
CHOSEN = {"attention": 0.003, "LSTM": 0.03}  # by these; of equal ones the smallest


def draw(count: int, out_of: int, batch: int, generator: torch.Generator) -> Tensor:
    """`count` different numbers below `out_of` for each list: (B, count)."""
    order = torch.rand(batch, out_of, generator=generator).argsort(dim=1)
    return order[:, :count]


def make_lists(
    batch: int,
    length: int,
    pairs: int,
    generator: torch.Generator,
    oldest: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Lists of `length` steps, `pairs` of them filled, then questions.

    Up to 4 questions a list or, with `oldest`, one, for the pair of step 0.
    Returns names and digits (B, T + questions) and answers (B, questions).
    """
    pair_names = draw(pairs, NAMES, batch, generator)  # (B, pairs)
    pair_digits = torch.randint(DIGITS, (batch, pairs), generator=generator)
    # (B, pairs): the steps that the pairs fill
    places = draw(pairs, length, batch, generator).sort(dim=1).values
    # (B, questions): which pairs are asked for
    asked = draw(min(4, pairs), pairs, batch, generator)
    if oldest:
        places[:, 0] = 0
        asked = torch.zeros(batch, 1, dtype=torch.long)

    names = torch.full((batch, length), NO_NAME).scatter(1, places, pair_names)
    digits = torch.full((batch, length), BLANK).scatter(1, places, pair_digits)
    names = torch.cat([names, pair_names.gather(1, asked)], dim=1)
    digits = torch.cat([digits, torch.full_like(asked, ASKED)], dim=1)
    return names, digits, pair_digits.gather(1, asked)


def written_out(names: Tensor, digits: Tensor) -> list[str]:
    """The steps of one list as words: `Q 3`, `b ?`, and `·` for a blank."""
    steps = []
    for name, digit in zip(names.tolist(), digits.tolist(), strict=True):
        if name == NO_NAME:
            steps.append("·")
        elif digit == ASKED:
            steps.append(f"{ALPHABET[name]} ?")
        else:
            steps.append(f"{ALPHABET[name]} {digit}")
    return steps


class Recall(nn.Module):
    """Embeddings, a mixer and a readout: (B, T) twice to (B, T, digits)."""

    def __init__(self, kind: str, width: int = WIDTH) -> None:
        super().__init__()
        self.name = nn.Embedding(NAMES + 1, width)
        self.digit = nn.Embedding(DIGITS + 2, width)
        if kind == "attention":
            self.mixer = MultiHeadAttention(width, heads=1)
        else:
            self.mixer = nn.LSTM(width, width, batch_first=True)
            # Biases are those of the input, forget, cell and output gates. A forget
            # gate that starts at 1 remembers (Jozefowicz et al., 2015).
            nn.init.ones_(self.mixer.bias_ih_l0.data[width : 2 * width])
        self.readout = nn.Linear(width, DIGITS)

    def embed(self, names: Tensor, digits: Tensor) -> Tensor:
        """What the mixer is given: (B, T) twice to (B, T, C)."""
        return self.name(names) + self.digit(digits)

    def forward(self, names: Tensor, digits: Tensor) -> Tensor:
        mixed = self.mixer(self.embed(names, digits))
        if isinstance(mixed, tuple):  # an LSTM returns its state, too
            mixed = mixed[0]
        return self.readout(mixed)


def train(
    kind: str, rate: float, seed: int, steps: int = 500, lists: str = "mixed"
) -> tuple[Recall, list[float]]:
    """Train one model; the model and its loss at every step.

    Lists are "mixed", 1 to 32 steps long with any number of them filled, or "full",
    1 to 32 steps long and all filled.
    """
    set_seed(seed)
    model = Recall(kind)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    # 50 steps up, then down to zero
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 50) * (1 - step / steps)
    )
    losses = []
    for _ in range(steps):
        length = int(torch.randint(1, LONGEST + 1, (), generator=generator))
        pairs = int(torch.randint(1, length + 1, (), generator=generator))
        if lists == "full":
            pairs = length
        names, digits, answers = make_lists(BATCH, length, pairs, generator)
        logits = model(names, digits)[:, length:]  # (B, questions, digits)
        loss = F.cross_entropy(logits.flatten(0, 1), answers.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model.eval(), losses


@torch.no_grad()
def accuracy(model: Recall, distance: int, full: bool, seed: int) -> float:
    """How often step 0's digit is recalled `distance` steps later.

    The steps between are all filled if `full`, else blank.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = distance if full else 1
    names, digits, answers = make_lists(TEST, distance, pairs, generator, oldest=True)
    guesses = model(names, digits)[:, -1].argmax(dim=-1)  # (B,)
    return (guesses == answers[:, 0]).double().mean().item()


def recalled(model: Recall) -> dict[str, object]:
    """The model's accuracies: on the lists by which a rate is chosen (the mean over
    distances 4 to 32), and on those that are reported, by distance.
    """
    chosen_by = [accuracy(model, n, full=True, seed=2000) for n in DISTANCES[2:]]
    return {
        "validation": sum(chosen_by) / len(chosen_by),
        "pairs between": [accuracy(model, n, True, seed=1000) for n in DISTANCES],
        "blanks between": [accuracy(model, n, False, seed=1000) for n in DISTANCES],
    }


def run(key: Key, so_far: Results) -> dict[str, object]:
    """Train one model, and ask it."""
    model, losses = train(**key)
    parts = torch.tensor(losses).unflatten(0, (10, -1))  # (10, steps / 10)
    means = [round(loss, 4) for loss in parts.mean(dim=1).tolist()]
    return recalled(model) | {"losses": means}


EXPERIMENT = Experiment(
    name="recall",
    chapter=4,
    settings={
        "names": NAMES,
        "digits": DIGITS,
        "width": WIDTH,
        "longest": LONGEST,
        "batch": BATCH,
        "test": TEST,
        "distances": DISTANCES,
    },
    keys=[
        {"kind": kind, "steps": 500, "lists": "mixed", "rate": rate, "seed": seed}
        for kind, rates, seeds in (
            ("attention", RATES, TUNING_SEEDS),
            ("LSTM", RATES, TUNING_SEEDS),
            ("attention", [CHOSEN["attention"]], SEEDS),
            ("LSTM", [CHOSEN["LSTM"]], SEEDS),
        )
        for seed, rate in itertools.product(seeds, rates)
    ],
    run=run,
)
