"""One training loop for all tasks, which a kill cannot spoil.

A step's rows and its random numbers depend on the seed and the step alone. So a run
that is killed and goes on from a checkpoint takes the steps that it would have taken,
and several processes take those of one: each computes its share of the batch, and the
loss is divided by the weight of the whole batch.
"""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from tqdm import tqdm

from finetuning.recipes import files
from finetuning.recipes.errors import RecipeError
from finetuning.recipes.processes import seed_of
from finetuning.runtime import set_seed
from finetuning.scratch.instruction import rate_share

WARMUP = 0.1  # share of the steps
MAX_NORM = 1.0
# Epochs without a lower validation loss, and training stops.
PATIENCE = 1
WEIGHTS = "weights.safetensors"
MOMENTS = "moments.safetensors"
STATE = "state.json"


@dataclass(frozen=True)
class Job:
    """What is trained.

    `weights` are of the training rows: what each counts in the loss of its batch.
    `summed_loss` of a model and some rows is the sum of weight times loss.
    `validation_loss` is what epochs are chosen by. `groups` are the optimizer's.
    """

    model: nn.Module
    weights: Sequence[float]
    summed_loss: Callable[[nn.Module, list[int]], torch.Tensor]
    validation_loss: Callable[[nn.Module], float]
    groups: list[dict[str, object]]


@dataclass(frozen=True)
class Plan:
    """How long, how fast, how often kept, and where."""

    epochs: int
    learning_rate: float
    batch_size: int
    checkpoint_steps: int
    seed: int
    folder: Path
    name: str = "training"


@dataclass
class State:
    """How far training has come; `history` has the validation loss of each epoch."""

    step: int = 0
    history: list[float] = field(default_factory=list)
    scaler: dict[str, object] = field(default_factory=dict)
    first_loss: float | None = None

    @property
    def best_epoch(self) -> int:
        """Counted from 1."""
        return self.history.index(min(self.history)) + 1

    def is_through(self, steps: int) -> bool:
        """Whether all steps are taken, or the last epochs brought nothing."""
        late = bool(self.history) and len(self.history) - self.best_epoch >= PATIENCE
        return self.step >= steps or late


def train(job: Job, plan: Plan, accelerator: Accelerator) -> tuple[nn.Module, State]:
    """The model with the weights of its best epoch, and how it came there.

    Goes on from the newest checkpoint in the plan's folder. Raises RecipeError if a
    loss is not finite, or the disk is full.
    """
    optimizer = torch.optim.AdamW(
        job.groups, lr=plan.learning_rate, fused=accelerator.device.type != "mps"
    )
    shares = [group["lr"] / plan.learning_rate for group in optimizer.param_groups]
    model, optimizer = accelerator.prepare(job.model, optimizer)
    epoch_steps = -(-len(job.weights) // plan.batch_size)
    steps = plan.epochs * epoch_steps
    warmup = math.ceil(WARMUP * steps)
    state = _restore(model, optimizer, plan.folder, accelerator)
    bar = tqdm(
        desc=plan.name,
        total=steps,
        initial=state.step,
        unit="step",
        **({} if accelerator.is_main_process else {"disable": True}),
    )
    while not state.is_through(steps):
        model.train()
        rate = plan.learning_rate * rate_share(state.step, steps, warmup)
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = rate * share
        loss = _step(job, plan, model, optimizer, accelerator, state.step)
        if state.first_loss is None:
            state.first_loss = loss
        state.step += 1
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        bar.update()
        ends_epoch = state.step % epoch_steps == 0
        if ends_epoch:
            model.eval()
            state.history.append(_finite(job.validation_loss(model), plan, state.step))
        if ends_epoch or state.step % plan.checkpoint_steps == 0:
            _keep(model, optimizer, plan.folder, accelerator, state, ends_epoch)
    bar.close()
    _load_weights(model, plan.folder / _best(state.best_epoch))
    accelerator.wait_for_everyone()
    return model.eval(), state


def batch_rows(rows: int, plan: Plan, step: int) -> list[int]:
    """The rows of a step: each once an epoch, in an order of the seed and the epoch."""
    epoch_steps = -(-rows // plan.batch_size)
    epoch, place = divmod(step, epoch_steps)
    order = list(range(rows))
    # Python's own generator: its order is the same on every machine.
    random.Random(seed_of(plan.seed, plan.name, "order", epoch)).shuffle(order)
    return order[place * plan.batch_size :][: plan.batch_size]


def _step(
    job: Job,
    plan: Plan,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    step: int,
) -> float:
    """Take one step; this process's estimate of the batch's loss before it."""
    rows = batch_rows(len(job.weights), plan, step)
    rank, world = accelerator.process_index, accelerator.num_processes
    set_seed(seed_of(plan.seed, plan.name, step, rank))
    own = rows[rank::world]
    # With nothing to do, a process still takes part in adding up the gradients.
    loss = job.summed_loss(model, own or rows[:1]) * (1.0 if own else 0.0)
    whole = sum(job.weights[row] for row in rows)
    # Gradients are averaged over the processes, and this loss is one's share of a sum.
    accelerator.backward(loss * world / whole)
    trained = [each for each in model.parameters() if each.requires_grad]
    accelerator.clip_grad_norm_(trained, MAX_NORM)
    optimizer.step()
    optimizer.zero_grad()
    mine = sum(job.weights[row] for row in own) if own else 1.0
    return _finite(loss.item() / mine, plan, step + 1)


def _finite(loss: float, plan: Plan, step: int) -> float:
    """The loss. Raises RecipeError if it is no number."""
    if not math.isfinite(loss):
        raise RecipeError(
            f"the loss is {loss} at step {step}: try a lower --learning-rate, such as "
            f"{plan.learning_rate / 10:g}"
        )
    return loss


# Checkpoints


def _best(epoch: int) -> str:
    return f"best-{epoch:05d}"


def _options(only_main: bool = True) -> StateDictOptions:
    """All of a tensor in one place, however many processes hold parts of it."""
    return StateDictOptions(
        full_state_dict=True, cpu_offload=only_main, ignore_frozen_params=True
    )


def _keep(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    folder: Path,
    accelerator: Accelerator,
    state: State,
    ends_epoch: bool,
) -> None:
    """Write a checkpoint; of an epoch that is the best so far its weights, before.

    The older ones go last. Whenever a kill comes, a checkpoint is whole, and the best
    weights that it speaks of are there.
    """
    weights = get_model_state_dict(model, options=_options())
    bare = getattr(optimizer, "optimizer", optimizer)
    # All processes take part, and the first gets it.
    moments = get_optimizer_state_dict(model, bare, options=_options())
    if accelerator.scaler is not None:
        state.scaler = accelerator.scaler.state_dict()
    if accelerator.is_main_process:
        if ends_epoch and state.best_epoch == len(state.history):
            with files.whole_folder(folder / _best(state.best_epoch)) as part:
                files.write_tensors(part / WEIGHTS, _contiguous(weights))
        with files.whole_folder(folder / f"step-{state.step:09d}") as part:
            files.write_tensors(part / WEIGHTS, _contiguous(weights))
            files.write_tensors(part / MOMENTS, _flat(moments["state"]))
            files.write_json(part / STATE, vars(state))
        _remove_older(folder, state)
    accelerator.wait_for_everyone()


def _remove_older(folder: Path, state: State) -> None:
    needed = {f"step-{state.step:09d}"}
    if state.history:
        needed.add(_best(state.best_epoch))
    for path in sorted(folder.iterdir()):
        if path.name not in needed:
            files.remove(path)


def _restore(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    folder: Path,
    accelerator: Accelerator,
) -> State:
    """Load the newest checkpoint into model and optimizer; a fresh state without."""
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        files.sweep(folder)
    accelerator.wait_for_everyone()
    newest = max(folder.glob("step-*"), default=None)
    if newest is None:
        return State()
    state = State(**json.loads((newest / STATE).read_text(encoding="utf-8")))
    _load_weights(model, newest)
    bare = getattr(optimizer, "optimizer", optimizer)
    options = _options(only_main=False)
    wanted = get_optimizer_state_dict(model, bare, options=options)
    wanted["state"] = _nested(load_file(newest / MOMENTS))
    set_optimizer_state_dict(model, bare, wanted, options=options)
    if accelerator.scaler is not None and state.scaler:
        accelerator.scaler.load_state_dict(state.scaler)
    return state


def _load_weights(model: nn.Module, folder: Path) -> None:
    """The trained weights; those that are not trained are the base model's.

    Raises RecipeError if a name is none of the model's.
    """
    odd = set_model_state_dict(
        model,
        load_file(folder / WEIGHTS),
        options=StateDictOptions(full_state_dict=True, strict=False),
    ).unexpected_keys
    if odd:
        raise RecipeError(f"{folder} is of another model: it has no {odd[0]}")


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As safetensors wants them: none a view of another."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


SEPARATOR = "|"  # between a weight's name and the name of its moment


def _flat(moments: dict[str, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        f"{name}{SEPARATOR}{kind}": tensor.detach().clone()
        for name, kinds in moments.items()
        for kind, tensor in kinds.items()
    }


def _nested(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    moments: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        name, kind = key.rsplit(SEPARATOR, 1)
        moments.setdefault(name, {})[kind] = tensor
    return moments
