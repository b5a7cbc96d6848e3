"""What a call must leave as it was: arguments, models, the global random state."""

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finetuning.checks.core import describe


def copied(value: Any, double: bool = False) -> Any:
    """A deep copy of an argument; models are shared, generators start the same.

    Parameters
    ----------
    double: make floating-point tensors float64, for a reference that is exact.
    """
    if isinstance(value, Tensor):
        new = value.detach().clone()
        if double and value.is_floating_point():
            new = new.double()
        return new.requires_grad_(value.requires_grad)
    if isinstance(value, torch.Generator):
        new = torch.Generator(value.device)
        new.set_state(value.get_state())
        return new
    if isinstance(value, nn.Module) or callable(value):
        return value
    if isinstance(value, dict):
        return type(value)((key, copied(each, double)) for key, each in value.items())
    if type(value) in (list, tuple, set):
        return type(value)(copied(each, double) for each in value)
    return copy.deepcopy(value)


class Snapshot:
    """The arguments of a call before it; `change` says what the call did to them."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments
        self.before = {name: _frozen(value) for name, value in arguments.items()}

    def change(self, allowed: tuple[str, ...] = ()) -> str:
        """A sentence about the first argument that was changed, or nothing."""
        for name, value in self.arguments.items():
            change = name not in allowed and _change(self.before[name], value)
            if change:
                return f"`{name}` {change}"
        return ""


def _frozen(value: Any) -> Any:
    """What is needed to see later whether a value was changed."""
    if isinstance(value, Tensor):
        grad = None if value.grad is None else value.grad.clone()
        return value.detach().clone(), value.requires_grad, grad
    if isinstance(value, nn.Module):
        return {
            "mode": [module.training for module in value.modules()],
            "parameters": {
                name: _frozen(each) for name, each in value.named_parameters()
            },
            "buffers": {name: _frozen(each) for name, each in value.named_buffers()},
            "hooks": [
                len(module._forward_hooks) + len(module._forward_pre_hooks)
                for module in value.modules()
            ],
        }
    if isinstance(value, torch.Generator) or callable(value):
        return None
    if isinstance(value, dict):
        return {key: _frozen(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_frozen(each) for each in value]
    return copy.deepcopy(value)


def _change(before: Any, now: Any) -> str:
    """How a value differs from its frozen self, as the end of a sentence."""
    if isinstance(now, Tensor):
        return _tensor_change(*before, now)
    if isinstance(now, nn.Module):
        return _module_change(before, now)
    if isinstance(now, torch.Generator) or callable(now):
        return ""
    if isinstance(now, dict):
        if list(before) != list(now):
            return f"had the keys {[*before]} before the call, and has {[*now]} after."
        pairs = {f"[{key!r}]": (before[key], now[key]) for key in now}
    elif isinstance(now, (list, tuple)):
        if len(before) != len(now):
            return f"had {len(before)} entries before the call, and has {len(now)}."
        pairs = {f"[{n}]": pair for n, pair in enumerate(zip(before, now, strict=True))}
    elif isinstance(now, np.ndarray):
        same = np.array_equal(before, now, equal_nan=now.dtype.kind in "fc")
        return "" if same else "holds other numbers after the call than before."
    else:
        try:
            same = bool(before == now) or type(now).__eq__ is object.__eq__
        except (TypeError, ValueError):
            same = True
        if same:
            return ""
        return f"was {describe(before)} before the call, and is {describe(now)} after."
    for where, (old, new) in pairs.items():
        change = _change(old, new)
        if change:
            return f"at {where} {change}"
    return ""


def _tensor_change(
    before: Tensor, required: bool, grad: Tensor | None, now: Tensor
) -> str:
    if before.shape != now.shape:
        return f"had shape {tuple(before.shape)}, and has {tuple(now.shape)} after."
    after = now.detach()
    differs = (before != after) & ~((before != before) & (after != after))
    if differs.any():
        place = tuple(differs.nonzero()[0].tolist())
        where = f" at {[*place]}" if place else ""
        old, new = (
            str(value) if isinstance(value, bool) else f"{value:.4g}"
            for value in (before[place].item(), after[place].item())
        )
        return f"was {old}{where} before the call, and is {new} after."
    if required != now.requires_grad:
        return "has another `requires_grad` after the call than before."
    if (grad is None) != (now.grad is None) or (
        grad is not None and not torch.equal(grad, now.grad)
    ):
        return "has another gradient, `.grad`, after the call than before."
    return ""


def _module_change(before: dict, now: nn.Module) -> str:
    after = _frozen(now)
    for was, module in zip(before["mode"], now.modules(), strict=False):
        if was != module.training:
            modes = {True: "train", False: "eval"}
            return (
                f"was in `{modes[was]}()` mode before the call, and is in "
                f"`{modes[module.training]}()` mode after."
            )
    if before["hooks"] != after["hooks"]:
        return "still has a hook after the call that it did not have before."
    for kind, current in (
        ("parameters", dict(now.named_parameters())),
        ("buffers", dict(now.named_buffers())),
    ):
        for name, tensor in current.items():
            if name in before[kind]:
                change = _tensor_change(*before[kind][name], tensor)
                if change:
                    return f"has changed: its `{name}` {change}"
    return ""


class GlobalState:
    """What all code shares: random numbers, gradients on or off, the default dtype."""

    def __init__(self) -> None:
        self.torch = torch.get_rng_state()
        self.numpy = np.random.get_state()
        self.python = random.getstate()
        self.gradients = torch.is_grad_enabled()
        self.dtype = torch.get_default_dtype()

    def change(self) -> str:
        """A sentence about what is not as it was, or nothing."""
        numpy = np.random.get_state()
        for name, same in (
            ("torch.rand", torch.equal(self.torch, torch.get_rng_state())),
            (
                "np.random.rand",
                np.array_equal(self.numpy[1], numpy[1]) and self.numpy[2] == numpy[2],
            ),
            ("random.random", self.python == random.getstate()),
        ):
            if not same:
                return (
                    f"it moves the random numbers of everybody: after the call "
                    f"`{name}` gives others than without it. Draw from a generator "
                    "of your own, or not at all."
                )
        if self.gradients != torch.is_grad_enabled():
            return "gradients are switched otherwise after the call than before."
        if self.dtype != torch.get_default_dtype():
            return "PyTorch's default dtype is another after the call than before."
        return ""

    def restore(self) -> None:
        """Put everything back."""
        torch.set_rng_state(self.torch)
        np.random.set_state(self.numpy)
        random.setstate(self.python)
        torch.set_grad_enabled(self.gradients)
        torch.set_default_dtype(self.dtype)


@contextmanager
def own_random_numbers(seed: int = 0) -> Iterator[None]:
    """Seed the global generators, and put them back: for answers that draw."""
    before = GlobalState()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        before.restore()
