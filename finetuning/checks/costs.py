"""How much an answer computes, and the largest tensor that it makes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from finetuning.checks.core import call


class Costs(TorchDispatchMode):
    """What was computed: `operations`, numbers of the `largest` tensor and all touched.

    A view makes nothing. `work` is counted in numbers read and written, so that it
    shows a quadratic cost whether it comes as one large matrix product or as many small
    ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.largest, self.work = 0, 0, 0

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        arguments: tuple = (),
        keywords: dict | None = None,
    ) -> Any:
        """Run an operation, and count it."""
        self.operations += 1
        result = function(*arguments, **(keywords or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if not any(
            part.alias_info is not None and not part.alias_info.is_write
            for part in function._schema.returns
        ):
            read = [
                leaf
                for leaf in tree_leaves((arguments, keywords))
                if isinstance(leaf, Tensor)
            ]
            self.work += sum(tensor.numel() for tensor in made + read)
            for tensor in made:
                bytes_each = max(tensor.element_size(), 1)
                numbers = tensor.untyped_storage().nbytes() // bytes_each
                self.largest = max(self.largest, numbers)
        return result


def cost_of(function: Callable, *arguments: Any) -> Costs:
    """The costs of a call of the learner's function."""
    with Costs() as costs:
        call(function, *arguments)
    return costs
