"""Numbers of others that chapter 23 draws: each with its source, and the place in it.

`source` is a key of book/references.bib. A number that could not be looked up is not
here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScalingLaw:
    """A fit of the loss in nats a token by parameters N and tokens D:
    floor + a / N^alpha + b / D^beta.
    """

    name: str
    floor: float
    a: float
    alpha: float
    b: float
    beta: float
    source: str
    where: str

    def loss(self, parameters: float, tokens: float) -> float:
        """The loss that the fit predicts, in nats a token of its own data."""
        return self.floor + self.a / parameters**self.alpha + self.b / tokens**self.beta

    def best_parameters(self, compute: float) -> float:
        """The parameters with the lowest loss for so many operations, 6·N·D."""
        ratio = self.alpha * self.a / (self.beta * self.b)
        power = 1 / (self.alpha + self.beta)
        return ratio**power * (compute / 6) ** (self.beta * power)


SCALING_LAWS = (
    ScalingLaw(
        "Hoffmann et al., 2022",
        1.69,
        406.4,
        0.34,
        410.7,
        0.28,
        "hoffmann2022chinchilla",
        "the parametric fit, their third approach",
    ),
    ScalingLaw(
        "Besiroglu et al., 2024",
        1.8172,
        482.01,
        0.3478,
        2085.43,
        0.3658,
        "besiroglu2024chinchilla",
        "the fit of the same form to points read off the figures of the first",
    ),
)


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of an interval, where its source gives one."""

    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    source: str
    where: str


TEXT_STOCK = Estimate(
    "public text written by people",
    300e12,
    100e12,
    1000e12,
    "tokens",
    "villalobos2024data",
    "the authors' summary of results: interval of 90 %, adjusted for quality and for "
    "texts that are read several times",
)
COST_GROWTH = Estimate(
    "growth of the cost of the most expensive training runs",
    2.4,
    2.0,
    2.9,
    "times a year",
    "cottier2024costs",
    "abstract, since 2016: interval of 90 %",
)
PROMPT_ENERGY = Estimate(
    "energy of the median text prompt of Gemini Apps",
    0.24,
    None,
    None,
    "watt-hours",
    "elsworth2025impact",
    "abstract: with idle machines and cooling, without training",
)


@dataclass(frozen=True)
class Mixture:
    """A mixture of experts: all parameters, and those that one token uses."""

    name: str
    year: int
    total: float
    active: float
    source: str
    where: str


MIXTURES = (
    Mixture("Mixtral 8x7B", 2024, 47e9, 13e9, "jiang2024mixtral", "abstract"),
    Mixture("OLMoE-1B-7B", 2024, 6.9e9, 1.3e9, "muennighoff2024olmoe", "table 1"),
    Mixture("DeepSeek-V3", 2024, 671e9, 37e9, "deepseek2024v3", "abstract"),
    Mixture(
        "gpt-oss-120b", 2025, 116.8e9, 5.1e9, "openai2025gptoss", "section 2, table 1"
    ),
)


@dataclass(frozen=True)
class Training:
    """What a training run took.

    Parameters
    ----------
    parameters: that a token uses.
    gpu_hours: of the final run.
    peak: operations a second that a GPU of the kind can make at most, in 16 bits and
        without zeros that are left out.
    megawatt_hours, tonnes: as the source states them; None where it states none. Tonnes
        are of CO₂ equivalent.
    """

    name: str
    parameters: float
    tokens: float
    gpu: str
    gpu_hours: float
    peak: float
    megawatt_hours: float | None
    tonnes: float | None
    source: str
    where: str
    note: str = ""


TRAININGS = (
    Training(
        "LLaMA 7B",
        6.7e9,
        1.0e12,
        "A100",
        82_432,
        312e12,
        36,
        14,
        "touvron2023llama",
        "tables 2 and 15",
    ),
    Training(
        "LLaMA 13B",
        13.0e9,
        1.0e12,
        "A100",
        135_168,
        312e12,
        59,
        23,
        "touvron2023llama",
        "tables 2 and 15",
    ),
    Training(
        "LLaMA 33B",
        32.5e9,
        1.4e12,
        "A100",
        530_432,
        312e12,
        233,
        90,
        "touvron2023llama",
        "tables 2 and 15",
    ),
    Training(
        "LLaMA 65B",
        65.2e9,
        1.4e12,
        "A100",
        1_022_362,
        312e12,
        449,
        173,
        "touvron2023llama",
        "tables 2 and 15",
        "energy is hours times 400 watts times 1.1, carbon energy times 0.385 kg/kWh",
    ),
    Training(
        "BLOOM 176B",
        176e9,
        366e9,
        "A100",
        1_082_990,
        312e12,
        433.196,
        24.7,
        "luccioni2023bloom",
        "table 1 and section 4; tokens: BigScience (2022)",
        "energy was read off the machines, carbon is of that alone, by the French grid",
    ),
    Training(
        "Llama 3.1 405B",
        405e9,
        15.6e12,
        "H100",
        30_840_000,
        989e12,
        None,
        None,
        "grattafiori2024llama3",
        "section 1 for sizes; hours: the model's card",
    ),
)
WATTS = 400
"""That LLaMA's authors count for an A100 (table 15)."""
OVERHEAD = 1.1
"""By which they multiply for cooling and the rest of the building."""
KILOGRAMS_A_KILOWATT_HOUR = 0.385
"""Of CO₂ equivalent: the mean of the United States, as they take it."""
