"""What a recipe says of input that it cannot use."""


class RecipeError(ValueError):
    """What is wrong with a reader's files or settings, in one sentence.

    `shared` says of several processes that each of them has met it.
    """

    shared = False


def places(numbers: list[int], unit: str = "line", most: int = 3) -> str:
    """ "line 4", "lines 4 and 9", "lines 4, 9, 12 and 30 more"."""
    shown = [str(number) for number in numbers[:most]]
    if len(numbers) > most:
        shown.append(f"{len(numbers) - most:,} more")
    if len(shown) == 1:
        return f"{unit} {shown[0]}"
    return f"{unit}s {', '.join(shown[:-1])} and {shown[-1]}"


def listed(names: list[str], most: int = 8) -> str:
    """Names in quotation marks, the first few of them."""
    shown = [repr(name) for name in names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most:,} more")
    return ", ".join(shown)
