"""One process or several, by accelerate: who writes, who waits, who computes what."""

import datetime
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedType,
    InitProcessGroupKwargs,
    broadcast_object_list,
)

from finetuning.recipes.errors import RecipeError

Item = TypeVar("Item")

UNSHARDED = (
    "the accelerate configuration asks for FSDP, and accelerate shards a model on GPUs "
    "alone: here every process would hold all of it, unsaid (take "
    "recipes/accelerate/cpu.yaml)"
)

# One process counts words and writes while the others wait.
PATIENCE = datetime.timedelta(days=1)


def start() -> Accelerator:
    """This process among those that were launched together, on its device.

    Raises RecipeError if sharding was asked for, or several processes were launched,
    and accelerate would run on without.
    """
    on_cpu = not torch.accelerator.is_available()
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("true", "1")
    if sharded and on_cpu:
        raise RecipeError(UNSHARDED)
    accelerator = Accelerator(
        # Unless it is told so, accelerate does not see several processes on a CPU.
        cpu=on_cpu,
        mixed_precision=_precision(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if sharded and not is_sharded(accelerator):
        raise RecipeError(UNSHARDED)
    refuse_unseen(accelerator.num_processes)
    return accelerator


def refuse_unseen(seen: int) -> None:
    """Raise RecipeError if more processes were launched than see one another."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != seen:
        raise RecipeError(
            f"{launched} processes were launched and accelerate sees {seen}: each "
            "would do all of the work, and write over the others"
        )


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a part of the model."""
    return accelerator.distributed_type == DistributedType.FSDP


def _precision() -> str | None:
    """float32 on a CPU; on a GPU bfloat16, or float16 where it has to emulate that.

    None where the launcher has said.
    """
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        return None
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def from_main(accelerator: Accelerator, compute: Callable[[], Item]) -> Item:
    """What the first process computes, on all of them.

    A RecipeError of the first is raised in all, so that none waits for ever.
    """
    found: list[object] = [None, None]
    if accelerator.is_main_process:
        try:
            found[0] = compute()
        except RecipeError as error:
            found[1] = error
    broadcast_object_list(found)
    if found[1] is not None:
        found[1].shared = True
        raise found[1]
    return found[0]


def on_main(accelerator: Accelerator, compute: Callable[[], Item]) -> Item | None:
    """What the first process computes, on it alone; errors as in `from_main`."""
    results: list[Item] = []
    from_main(accelerator, lambda: results.append(compute()))
    return results[0] if results else None


def spread(
    accelerator: Accelerator,
    items: Sequence[Item],
    compute: Callable[[Sequence[Item]], torch.Tensor],
) -> torch.Tensor:
    """`compute` of all items, (N, W), each process having computed a part of them.

    Every process gets the whole, in the items' order, on the CPU.
    """
    world = accelerator.num_processes
    if world == 1:
        return compute(items)
    each = -(-len(items) // world)
    own = list(items[accelerator.process_index :: world])
    # All gather equally much, and run the model equally often.
    own += [items[0]] * (each - len(own))
    part = compute(own).to(accelerator.device)
    gathered = accelerator.gather(part).cpu()  # (world · each, W), by process
    rows = gathered.reshape(world, each, -1).transpose(0, 1)
    return rows.reshape(world * each, -1)[: len(items)]


def seed_of(*parts: object) -> int:
    """A seed that depends on all of these, and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big")
