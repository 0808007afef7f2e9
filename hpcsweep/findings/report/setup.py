"""What a study trained, in words: networks, samples and training methods, from the choices that a store keeps."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray

from hpcsweep.config import DATA
from hpcsweep.findings.dataset import is_measured
from hpcsweep.findings.report.noise import NOISE
from hpcsweep.findings.tables import Rows, text

Config = Mapping[str, Any]
SAMPLED = {"uniform": "independent and uniform over the domain", "grid": "on a regular grid"}
ROWS = "drawn from the rows of the data that are not held out"
MOST = 12  # networks or methods with a row of their own
OMITTED = {"name", "parts", "gradient_tolerance", "keep", "scale", "initialisation", "beta1", "beta2", "epsilon"}
USED = {"steps", "learning_rate", "final_learning_rate", "schedule", "batch", "loss", "activation", "hidden", "seconds"}


def setup(dataset: xarray.Dataset) -> Rows:
    """Return the table of networks, samples, training methods and replicates."""
    targets, optimizers = (
        [json.loads(dataset["choice_text"].values[i]) for i in np.unique(dataset[f"{family}_id"].values)]
        for family in ("target", "optimizer")
    )
    drawn = {str(choice.get("sampling", "uniform")) for choice in optimizers}
    data = [target["name"] == DATA for target in targets]
    ways = [] if all(data) else [SAMPLED.get(name, name) for name in sorted(drawn)]
    how = " or ".join([*ways, *([ROWS] if any(data) else [])])
    counts = _listed(np.unique(dataset["samples"].values).astype(int).tolist())
    planned, measured = _repeated(dataset)
    replicates = max(planned)
    own = "initial weights and samples" if "uniform" in drawn else "initial weights"
    anew = f", each with its own {own}" if replicates > 1 else ""
    return Rows(
        ["aspect", "setting"],
        [
            *_kinds(dataset, "model", "model", _network),
            ["samples", f"{counts}, {how}, {_noise(optimizers)}"],
            *_kinds(dataset, "optimizer", "training", _training),
            ["replicates", f"{_listed(sorted(planned))} per setting{anew}{_measured(planned, measured)}"],
        ],
    )


def _noise(optimizers: list[Config]) -> str:
    """Say how much noise there is in the values at the samples."""
    levels = sorted({float(choice.get(NOISE, 0.0)) for choice in optimizers})
    noisy = [level for level in levels if level]
    parts = ["without noise"] if 0.0 in levels else []
    parts += [f"with Gaussian noise of standard deviation {_listed(noisy)} in their values"] if noisy else []
    return " or ".join(parts)


def _repeated(dataset: xarray.Dataset) -> tuple[Counter[int], Counter[int]]:
    """Return how many settings there are with each number of replicates, planned and measured."""
    setting = ["target_id", "dimension", "model_id", "samples", "optimizer_id"]
    cells = dataset[setting].to_dataframe()[setting].assign(measured=is_measured(dataset))
    measured = cells.groupby(setting)["measured"].agg(["size", "sum"])
    return Counter(measured["size"].tolist()), Counter(measured["sum"].tolist())


def _measured(planned: Counter[int], measured: Counter[int]) -> str:
    """Say how many replicates are measured, where they are not all or none."""
    if measured == planned or not any(measured):
        return ""
    counts = (f"{replicates} in {measured[replicates]:,}" for replicates in sorted(measured, reverse=True))
    return f"; measured: {', '.join(counts)} of {measured.total():,} settings"


def _kinds(dataset: xarray.Dataset, family: str, title: str, describe: Any) -> Iterator[list[str]]:
    """Yield a row for each label of a family of choices, with what its choices are."""
    labels, texts = dataset["choice_label"].values, dataset["choice_text"].values
    kinds: dict[str, list[Config]] = {}
    for i in dict.fromkeys(dataset[f"{family}_id"].values.tolist()):
        kinds.setdefault(str(labels[i]), []).append(json.loads(texts[i]))
    for label, choices in list(kinds.items())[:MOST]:
        yield [f"{title} “{label}”", describe(choices)]
    if len(kinds) > MOST:
        yield [title, f"and {len(kinds) - MOST} more"]


def _network(choices: list[Config]) -> str:
    """Describe networks that differ in hidden widths."""
    activations = dict.fromkeys(choice["activation"] for choice in choices if "activation" in choice)
    parts = [f"{' or '.join(activations)} activation"] if activations else []
    shapes = list(dict.fromkeys(tuple(choice.get("hidden") or ()) for choice in choices))
    depths = sorted({len(shape) for shape in shapes})
    widths = sorted({max(shape) for shape in shapes if shape})
    if widths:
        layers = f"{_listed(depths)} hidden layer{'' if depths == [1] else 's'}"
        uneven = any(len(set(shape)) > 1 for shape in shapes)
        parts.append(f"{layers} of width {'at most ' if uneven else ''}{_listed(widths)}")
    further = dict.fromkeys(field for choice in choices for field in _further(choice))
    return ", ".join([*parts, *further]) or "no hidden layers"


def _listed(numbers: Sequence[float]) -> str:
    """List a few numbers."""
    *first, last = (f"{number:,}" if isinstance(number, int) else text(number) for number in numbers)
    return f"{', '.join(first)} or {last}" if first else last


def _training(choices: list[Config]) -> str:
    """Describe the training methods of one label, three different ones at most."""
    methods = list(dict.fromkeys(map(_method, choices)))
    return "; or ".join(methods[:3]) + (f"; and {len(methods) - 3} more" if len(methods) > 3 else "")


def _method(choice: Config) -> str:
    if "steps" not in choice:
        return "fitted directly"
    parts = [_part(part) for part in choice.get("parts") or [choice]]
    batch = "full batch" if choice.get("batch") is None else f"batches of {choice['batch']:,}"
    loss = {"mse": "mean squared error"}.get(str(choice.get("loss")), f"loss {choice.get('loss')}")
    return ", ".join([", then ".join(parts), batch, loss, *_further(choice)])


def _part(choice: Config) -> str:
    """Describe one method: name, steps, learning rate."""
    words = f"{choice['name']} for {choice['steps']:,} steps"
    words += f" or {text(choice['seconds'])} seconds" if choice.get("seconds") else ""
    if choice.get("learning_rate") is not None:
        last = choice.get("final_learning_rate")
        words += f" at learning rate {text(choice['learning_rate'])}"
        words += f" to {text(last)}" if last is not None else ""
        words += f" ({choice['schedule']})" if choice.get("schedule") not in (None, "constant") else ""
    return words


def _further(choice: Config) -> Iterator[str]:
    """Yield the names and values of the other fields that are set."""
    for name, value in choice.items():
        if name not in OMITTED | USED | {"sampling", NOISE} and value not in (None, False, 0, 0.0):
            yield name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}"
