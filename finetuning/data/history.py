"""Language models from the Transformer to this book's own, with the sources of numbers.

Each number stands in the paper that `source` names, at the place that `where` says.
`tokens` is the total that a model read in training, repetitions counted. A paper that
counts words, sentences or gigabytes, only what the corpus holds, or only batches and
steps, gives no such total, and `note` says what it gives.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LanguageModel:
    """A row of the history.

    Parameters
    ----------
    year: of the model's publication, which may lie before its paper's.
    kind: "encoder", "decoder", or "encoder–decoder".
    parameters, tokens: how many; None where the source gives no total.
    source: key in book/references.bib.
    where: the place in the source.
    note: what else one must know to read the numbers.
    """

    name: str
    year: int
    kind: str
    parameters: float
    tokens: float | None
    source: str
    where: str
    note: str = ""


HISTORY = (
    LanguageModel(
        "Transformer",
        2017,
        "encoder–decoder",
        213e6,
        None,
        "vaswani2017attention",
        "table 3, the big model",
        "a translator; counts sentence pairs, 4.5 million for German",
    ),
    LanguageModel(
        "GPT",
        2018,
        "decoder",
        117e6,
        None,
        "radford2019gpt2",
        "table 2 and the start of section 3",
        "its own paper counts no parameters, and tokens by batch alone; OpenAI has "
        "called the counts of this source wrong, but for GPT 117 million holds",
    ),
    LanguageModel(
        "BERT",
        2018,
        "encoder",
        340e6,
        None,
        "devlin2019bert",
        "section 3, the large model",
        "counts words, 3.3 billion, read about 40 times, and batches and steps",
    ),
    LanguageModel(
        "GPT-2",
        2019,
        "decoder",
        1542e6,
        None,
        "radford2019gpt2",
        "table 2; called wrong since",
        "counts gigabytes, 40 of text; OpenAI's repository of the model calls the "
        "paper's counts of parameters wrong: by its sizes it has 1,558 million",
    ),
    LanguageModel(
        "ELECTRA",
        2020,
        "encoder",
        335e6,
        None,
        "clark2020electra",
        "table 2, the large model",
        "its corpus has 33 billion tokens, and it gives batches and steps; it counts "
        "BERT's large model at 335 million, too",
    ),
    LanguageModel("GPT-3", 2020, "decoder", 175e9, 300e9, "brown2020gpt3", "table 2.1"),
    LanguageModel(
        "Chinchilla",
        2022,
        "decoder",
        70e9,
        1.4e12,
        "hoffmann2022chinchilla",
        "section 4",
    ),
    LanguageModel(
        "LLaMA",
        2023,
        "decoder",
        65e9,
        1.4e12,
        "touvron2023llama",
        "section 2, the largest model",
    ),
    LanguageModel(
        "Llama 3",
        2024,
        "decoder",
        405e9,
        15.6e12,
        "grattafiori2024llama3",
        "section 1, the largest model",
    ),
    LanguageModel(
        "SmolLM2 1.7B",
        2024,
        "decoder",
        1.7e9,
        11e12,
        "allal2025smollm2",
        "abstract",
        "the paper is of 4 February 2025",
    ),
    LanguageModel(
        "SmolLM2 135M",
        2024,
        "decoder",
        135e6,
        2e12,
        "allal2025smollm2",
        "section 6",
        "the model that this book runs",
    ),
)
"""The models, oldest first."""
