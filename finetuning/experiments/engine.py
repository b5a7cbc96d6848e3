"""Makes the runs of an experiment, keeps them, and reads what is kept.

A module of this package that defines `EXPERIMENT` is an experiment. Its results are one
JSON file, a line a run, written whole after every run; an interrupted experiment goes
on where it stopped. Weights of a small model that a run trained stand beside it, as
safetensors.
"""

import argparse
import datetime
import hashlib
import importlib
import json
import os
import pkgutil
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

if TYPE_CHECKING:
    from torch import Tensor

    from finetuning.statistics import Interval

HERE = Path(__file__).parent
# Modules of this package that are no experiments.
MACHINERY = ("__main__", "engine")
# Libraries whose versions a run's provenance states, where the run imported them.
LIBRARIES = ("numpy", "peft", "sklearn", "torch", "transformers", "trl")

Key = Mapping[str, Any]


class ExperimentError(Exception):
    """What is wrong with a command or with a file of results, in one sentence."""


@dataclass(frozen=True)
class Weights:
    """What a run returns to have the weights of a small model kept: its tensors by
    their names. They are kept as they are, in their own dtype.
    """

    tensors: Mapping[str, "Tensor"]


@dataclass(frozen=True)
class KeptWeights:
    """Weights in a file beside the results, `file` as seen from `folder`."""

    folder: Path
    file: str
    sha256: str

    def load(self) -> dict[str, "Tensor"]:
        """The tensors by their names.

        Raises ExperimentError if the file is missing, or is not the one that was kept.
        """
        from safetensors.torch import load  # not needed to read results

        path = self.folder / self.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ExperimentError(
                f"{path} cannot be read ({error.strerror}): bring it back from git"
            ) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ExperimentError(
                f"{path} is not the file that was kept: bring it back from git"
            )
        return load(data)


@dataclass(frozen=True)
class Run:
    """One run: its key, its results, and how they came about.

    `run["loss"]` is an entry of the results or of the key, whose names differ.
    """

    key: Key
    result: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.result[name] if name in self.result else self.key[name]


@dataclass(frozen=True)
class Results(Sequence[Run]):
    """The kept runs of an experiment, or some of them, in the order in which they were
    made.
    """

    experiment: str
    settings: Mapping[str, Any]
    runs: tuple[Run, ...] = ()

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, place):  # an index or a slice
        return self.runs[place]

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def select(self, **key: object) -> "Results":
        """The runs whose keys have all of these entries; perhaps none."""
        runs = tuple(run for run in self.runs if key.items() <= run.key.items())
        return Results(self.experiment, self.settings, runs)

    def one(self, **key: object) -> Run:
        """The only run whose key has all of these entries.

        Raises ExperimentError if there is none, or more than one.
        """
        runs = self.select(**key)
        if len(runs) != 1:
            raise ExperimentError(
                f"{len(runs)} kept runs of {self.experiment} have {_words(key)}, and "
                "one is wanted"
            )
        return runs[0]

    def values(self, name: str) -> list[Any]:
        """An entry of each run's key or results: `values("loss")`."""
        return [run[name] for run in self.runs]

    def interval(self, name: str, confidence: float = 0.95) -> "Interval":
        """Mean over the runs of a number in their results, with Student's interval.

        Raises ValueError if there are fewer than two runs.
        """
        from finetuning.statistics import mean_interval  # scipy takes a second

        return mean_interval(self.values(name), confidence)


@dataclass(frozen=True)
class Experiment:
    """An experiment: what a module of this package defines as `EXPERIMENT`.

    `chapter` is the number of the chapter that it belongs to. `settings` are what all
    results depend on, as JSON can hold it: results of other settings are refused.
    `keys` are the runs in their order, each named by what tells it from the others.
    `run` makes one of them, given its key and the results so far, and returns what is
    to be kept: numbers, strings, lists and dicts of them, and `Weights`.
    """

    name: str
    chapter: int
    settings: Mapping[str, Any]
    keys: Sequence[Key]
    run: Callable[[Key, Results], Mapping[str, Any]]


def results(name: str) -> Results:
    """The kept results of an experiment.

    Raises ExperimentError if there is no such experiment, nothing is kept of it, or the
    file is damaged.
    """
    _check_name(name)
    return read(results_file(name))


def results_file(name: str) -> Path:
    """Where the results of an experiment are kept."""
    return HERE / "results" / f"{name}.json"


def names() -> list[str]:
    """The names of all experiments, without importing one."""
    modules = [module.name for module in pkgutil.iter_modules([str(HERE)])]
    return [name for name in modules if name not in MACHINERY]


def load(name: str) -> Experiment:
    """The experiment of that name. Raises ExperimentError if there is none."""
    _check_name(name)
    return importlib.import_module(f"finetuning.experiments.{name}").EXPERIMENT


def _check_name(name: str) -> None:
    if name not in names():
        raise ExperimentError(
            f"there is no experiment {name!r}; there are {', '.join(names())}"
        )


def to_bits(right: Sequence[bool] | np.ndarray) -> str:
    """Which items were right, (N,) of bool, as a string of N characters 0 and 1."""
    return "".join("1" if each else "0" for each in right)


def from_bits(bits: str) -> np.ndarray:
    """Which items were right, (N,) of bool, from a string of 0 and 1.

    Raises ValueError if there is another character in it.
    """
    if set(bits) - {"0", "1"}:
        raise ValueError(f"a string of 0 and 1 is wanted, not {bits[:40]!r}")
    return np.array(list(bits), dtype="U1") == "1"


# The file


def read(path: Path) -> Results:
    """The results in a file that this module wrote.

    Raises ExperimentError if there is no such file, or it is damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        runs = tuple(_as_read(path.parent, **run) for run in data["runs"])
        kept = Results(data["experiment"], data["settings"], runs)
        keys = {_text(run.key) for run in runs}
    except FileNotFoundError:
        raise ExperimentError(
            f"nothing is kept in {path} yet: run {_command(path.stem)}"
        ) from None
    except OSError as error:
        raise ExperimentError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ExperimentError(
            f"{path} is damaged, or holds something else than results "
            f"({error}): nothing was changed; move it away, or bring it back from git"
        ) from error
    if len(keys) < len(runs):
        raise ExperimentError(f"{path} holds a run twice: take one of them out")
    return kept


def _as_read(
    folder: Path,
    key: Key,
    result: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Run:
    def value(each: Any) -> Any:
        if isinstance(each, dict) and each.keys() == {"file", "sha256"}:
            return KeptWeights(folder, **each)
        return each

    result = {name: value(each) for name, each in result.items()}
    return Run(key, result, provenance)


def as_text(kept: Results) -> str:
    """The text of a file of results: JSON, a line a run."""
    head = {
        "made by": _command(kept.experiment),
        "experiment": kept.experiment,
        "settings": kept.settings,
    }
    lines = [_text(vars(run)) for run in kept]
    return (
        json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
        + ',\n "runs": [\n  '
        + ",\n  ".join(lines)
        + "\n ]\n}\n"
    )


def _command(name: str) -> str:
    return f"python -m finetuning.experiments {name}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> object:
    if isinstance(value, KeptWeights):
        return {"file": value.file, "sha256": value.sha256}
    if isinstance(value, Weights):
        return "weights that could not be kept"
    return value.tolist()  # numbers of NumPy and torch


def _as_kept(value: Any) -> Any:
    """A value as it comes back from a file: tuples are lists, for example."""
    return json.loads(_text(value))


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file at one stroke: an interruption leaves the old content or the new.

    Two processes that write at once do not disturb each other: one content stays.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=".part"
    )
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# Making runs


def machine() -> dict[str, object]:
    """What the time and the last digits of a result depend on, without the name of a
    host.
    """
    import torch  # not needed to read results

    from finetuning.runtime import bfloat16_is_fast, pick_device

    return {
        "device": str(pick_device()),
        "architecture": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16": bfloat16_is_fast(),
    }


def provenance(name: str, seconds: float) -> dict[str, object]:
    """How a run came about that has just been made."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        if library in sys.modules:
            versions[library] = str(sys.modules[library].__version__)
    return {
        "command": _command(name),
        "date": datetime.date.today().isoformat(),
        "versions": versions,
        "machine": machine(),
        "seconds": round(seconds, 1),
    }


def make_runs(
    experiment: Experiment, output: Path, keys: Sequence[Key], most: int | None = None
) -> None:
    """Make those of the runs `keys` that are not in `output` yet, at most `most` of
    them, and keep each as soon as it is there.

    Raises ExperimentError if the file holds other results, is damaged, or cannot be
    written; what is in it stays as it was.
    """
    kept = _kept(experiment, output)
    _check_writable(output)
    made = 0
    for key in keys:
        kept = _kept(experiment, output)  # another process may have added to it
        if made == most or _has(kept, key):
            continue
        start = time.perf_counter()
        result = experiment.run(key, kept)
        seconds = time.perf_counter() - start
        made_by = provenance(experiment.name, seconds)
        kept = _keep(experiment, output, key, result, made_by)
        run = next(run for run in kept if _text(run.key) == _text(key))
        made += 1
        print(f"{_words(key)}: {_numbers(run.result)} {seconds:.0f} s", flush=True)
    print(f"{len(kept)} of {len(experiment.keys)} runs are kept in {output}")


def _kept(experiment: Experiment, output: Path) -> Results:
    """What is in the file so far, if it belongs to the experiment as it is."""
    settings = _as_kept(experiment.settings)
    if not output.exists():
        return Results(experiment.name, settings)
    kept = read(output)
    if kept.experiment != experiment.name:
        raise ExperimentError(
            f"{output} holds results of {kept.experiment}, not of {experiment.name}: "
            "name another file with --output"
        )
    every = sorted(settings.keys() | kept.settings.keys())
    other = [name for name in every if kept.settings.get(name) != settings.get(name)]
    keys = {_text(key) for key in experiment.keys}
    other += [_words(run.key) for run in kept if _text(run.key) not in keys]
    if other:
        raise ExperimentError(
            f"{output} was made with other settings ({'; '.join(other)}), and results "
            "must not be mixed: move it away, or name another file with --output"
        )
    return kept


def _has(kept: Results, key: Key) -> bool:
    return any(_text(run.key) == _text(key) for run in kept)


def _check_writable(output: Path) -> None:
    """So that nobody learns after an hour that the first run cannot be kept."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        raise ExperimentError(
            f"results cannot be kept in {output.parent} ({error.strerror}): name "
            "another file with --output"
        ) from error


def _keep(
    experiment: Experiment,
    output: Path,
    key: Key,
    result: Mapping[str, Any],
    made_by: Mapping[str, Any],
) -> Results:
    run = {"key": key, "result": dict(result), "provenance": made_by}
    try:
        with FileLock(output.with_name(f".{output.name}.lock")):
            kept = _kept(experiment, output)
            if not _has(kept, key):
                for name, value in result.items():
                    if isinstance(value, Weights):
                        file = f"{output.stem}/{_file_stem(key)}-{name}.safetensors"
                        run["result"][name] = _keep_weights(value, output.parent, file)
                new = _as_read(output.parent, **_as_kept(run))
                kept = Results(kept.experiment, kept.settings, (*kept.runs, new))
                write_whole(output, as_text(kept))
    except OSError as error:
        print(_text(run))
        raise ExperimentError(
            f"{output} cannot be written ({error.strerror}): what it held is still "
            "there, and the run that is missing in it is the line above"
        ) from error
    return kept


def _keep_weights(weights: Weights, folder: Path, file: str) -> KeptWeights:
    from safetensors.torch import save  # not needed to read results

    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in weights.tensors.items()
    }
    data = save(tensors)
    write_whole(folder / file, data)
    return KeptWeights(folder, file, hashlib.sha256(data).hexdigest())


def _file_stem(key: Key) -> str:
    """A key as the name of a file: `seed-0-labels-50`."""
    words = "-".join(f"{name}-{value}" for name, value in key.items())
    return re.sub(r"[^\w.-]+", "-", words).strip("-").lower()


def _words(key: Key) -> str:
    """What tells a run from the others, for a reader: without whole tables of it."""
    return ", ".join(
        f"{name}={value!r}"
        for name, value in key.items()
        if not isinstance(value, Mapping)
    )


def _numbers(result: Mapping[str, Any]) -> str:
    """The numbers on a result's first level, for a look."""
    return " ".join(
        f"{name} {value:.4g}"
        for name, value in result.items()
        if isinstance(value, int | float)
    )


def _chosen(experiment: Experiment, only: Sequence[str]) -> list[Key]:
    """The keys that have all of the entries NAME=VALUE."""
    keys = list(experiment.keys)
    for condition in only:
        name, _, text = condition.partition("=")
        values = {_text(key[name]): key[name] for key in experiment.keys if name in key}
        if not values:
            there = dict.fromkeys(name for key in experiment.keys for name in key)
            raise ExperimentError(
                f"--only takes NAME=VALUE, and no run of {experiment.name} has a "
                f"{name!r}: the names are {', '.join(there)}"
            )
        keys = [key for key in keys if name in key and _is(key[name], text)]
        if not keys:
            raise ExperimentError(
                f"no run of {experiment.name} has {' and '.join(only)}: the values of "
                f"{name} are {', '.join(values)}"
            )
    return keys


def _is(value: object, text: str) -> bool:
    """Whether a value is what somebody typed: `1e12`, or `masked LM`."""
    try:
        return value == text or value == json.loads(text)
    except ValueError:
        return False


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("there are no fewer than 0 runs")
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m finetuning.experiments NAME`: make the runs that are not kept yet."""
    parser = argparse.ArgumentParser(
        prog="python -m finetuning.experiments",
        description="Makes the runs of an experiment that are not kept yet. It can be "
        "stopped at any time, and goes on where it stopped.",
        epilog=f"Experiments: {', '.join(names())}.",
    )
    parser.add_argument("name", metavar="NAME", help="which experiment")
    parser.add_argument(
        "--most", type=_whole, metavar="N", help="stop after this many runs"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="only the runs whose keys have all of these entries",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="keep the results here, and not where the book reads them",
    )
    given = parser.parse_args(arguments)
    import torch  # not needed to read results

    torch.set_num_threads(1)  # the last digits depend on it, and processor time is time
    try:
        experiment = load(given.name)
        keys = _chosen(experiment, given.only)
        output = given.output or results_file(given.name)
        make_runs(experiment, output, keys, given.most)
    except ExperimentError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        print("stopped: the same command goes on with the run that was not finished")
        raise SystemExit(130) from None
