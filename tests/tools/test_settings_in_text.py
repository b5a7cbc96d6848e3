"""Settings that a chapter's text gives are those of the code."""

from notebooks import ROOT, read

from finetuning.experiments import classifiers, label_efficiency


def text_of(name):
    """The Markdown of a chapter."""
    (path,) = (ROOT / "chapters").glob(f"{name}-*.ipynb")
    cells = read(path).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def listed(numbers):
    """Numbers as a sentence lists them."""
    *most, last = [f"{number:,}" for number in numbers]
    return f"{', '.join(most)} and {last}"


def test_chapter_02_says_the_passes_of_each_budget():
    tuned = label_efficiency.EPOCHS["fine-tuned"]
    random = label_efficiency.EPOCHS["random"]
    assert (
        f"Fine-tuning makes {listed(tuned.values())} passes with {listed(tuned)} "
        f"labels, random weights {listed(random.values())}."
    ) in text_of("02")


def test_chapter_11_says_the_settings_of_each_method():
    words, frozen = (
        ", ".join(str(setting) for setting in classifiers.SETTINGS[method])
        for method in ("counted words", "frozen")
    )
    rates = ", ".join(
        f"{rate:.0e}".replace("e-0", "e-")
        for rate in classifiers.SETTINGS["all layers"]
    )
    assert (
        f"the regression's $C$ (words: {words}; frozen: {frozen}), or the peak "
        f"learning rate ({rates})"
    ) in text_of("11")
