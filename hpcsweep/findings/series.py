"""Which cells make one line of a figure, and what the line is called.

A line joins cells that differ only in what runs along it (parameters or samples) and in the replicate. Two cells are on
different lines if they differ in a *factor*: the optimizer, the family of models, the number of hidden layers, or a
further axis of the study that these do not already determine.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray

from hpcsweep.config import DATA, IMPLIED
from hpcsweep.findings.dataset import further_axes, is_measured
from hpcsweep.store import layout

if TYPE_CHECKING:
    from pandas import DataFrame, Series

LAYERED = ("mlp", "residual")  # models whose only nonlinear functions are their activations
RESULTS = (
    *("status", "sup_lower", "sup_upper", "sup_uniform", "uniform_volume", "certificate", "boundary", "message"),
    *("sample_distance", "l2_error", "train_rmse", "steps", "train_seconds", "eval_seconds", "predicted_seconds"),
    "solution_upper",
)


@dataclass(frozen=True)
class Line:
    """What a line is called, and the two numbers by which it is drawn: equal factors have equal numbers."""

    label: str
    first: int  # of the first factor: the optimizer, if that varies
    rest: int  # of the other factors together


@dataclass(frozen=True)
class Table:
    """All cells as rows, and the lines that they make.

    `cells` has the coordinates that people use, `RESULTS`, and what is worked out from them: `measured` (bool),
    `ratio` (sup-norm over L2 error, NaN where that is 0), `family` (text), `size` (the parameters by which networks are
    larger than others, 0 for what interpolates its samples), `flops` (6 x parameters x batch x steps taken: a proxy,
    which leaves out line searches and products with matrices), `nonlinearity` (the activation of built-in networks, ""
    for others), `noise` (of the samples), `data` (bool: whether the target is data in a file) and `line` (an index of
    `lines`).
    """

    cells: DataFrame
    lines: list[Line]
    further: list[str]  # columns of `cells`: the further axes of the study
    smoothness: dict[str, float] = field(default_factory=dict)  # of targets, as far as the store says it


def table(dataset: xarray.Dataset) -> Table:
    """Return the cells of a dataset with their lines, in the order of the study."""
    further = further_axes(dataset)
    cells = dataset[[*layout.NAMED, *further, *(name for name in RESULTS if name in dataset)]].to_dataframe()
    cells = cells.assign(**{name: np.nan for name in RESULTS if name not in cells})  # older stores lack some
    cells["measured"] = is_measured(dataset)
    cells["ratio"] = cells["sup_lower"] / cells["l2_error"].where(cells["l2_error"] > 0)
    choices = [json.loads(text) for text in dataset["choice_text"].values]
    models = dataset["model_id"].values
    cells["family"] = _families(choices, dataset["choice_label"].values, models)
    # What interpolates its samples has as many nodes: each such approximant is the largest for its samples.
    cells["size"] = cells["parameters"].where(["nodes" not in choices[i] for i in models], 0)
    cells["nonlinearity"] = [choices[i].get("activation", "") if choices[i]["name"] in LAYERED else "" for i in models]
    cells["noise"] = [choices[i].get("noise", IMPLIED["noise"]) for i in dataset["optimizer_id"].values]
    cells["data"] = [choices[i]["name"] == DATA for i in dataset["target_id"].values]
    cells["flops"] = _flops(cells, choices, dataset["optimizer_id"].values)
    factors = _factors(cells, further)
    cells["line"] = _numbers(cells, factors)
    return Table(cells, _lines(cells, factors), further, _smoothness(dataset))


def telling(cells: DataFrame, further: list[str]) -> list[str]:
    """Return those of the further axes that vary between cells of one model and one training method."""
    kinds = cells.groupby(["family", "optimizer"], sort=False)
    return [name for name in further if kinds[name].nunique(dropna=False).max() > 1]


def _smoothness(dataset: xarray.Dataset) -> dict[str, float]:
    """Return the smoothness of targets: the least that their cells say; older stores say nothing."""
    if "smoothness" not in dataset:
        return {}
    said = dataset["smoothness"].to_series().groupby(dataset["target"].values, sort=False).min().dropna()
    return {str(target): float(n) for target, n in said.items()}


def largest(cells: DataFrame, column: str, within: list[str]) -> DataFrame:
    """Return the cells with the largest value of `column` among those that agree in the columns `within`.

    Cells that are not measured count, so that a figure of an unfinished study does not compare unlike with unlike.
    """
    return cells[cells[column] == cells.groupby(within, dropna=False)[column].transform("max")]


def _families(choices: list[dict[str, Any]], labels: np.ndarray, models: np.ndarray) -> np.ndarray:
    """Return the label of each cell's model, (cells,), or its bare name where labels only tell the hidden widths."""
    alike: dict[str, list[int]] = {}  # models that differ in their hidden widths alone
    for i in np.unique(models).tolist():
        alike.setdefault(json.dumps({**choices[i], "hidden": None}, sort_keys=True), []).append(i)
    family = np.empty(len(choices), dtype=object)
    for numbers in alike.values():
        for i in numbers:
            family[i] = labels[i] if len({labels[n] for n in numbers}) == 1 else choices[i]["name"]
    return family[models]


def _flops(cells: DataFrame, choices: list[dict[str, Any]], optimizers: np.ndarray) -> Series:
    """Return 6 x parameters x batch x steps, (cells,): one forward and one backward pass for each sample of a batch."""
    batches = np.array([choices[i].get("batch") or math.inf for i in optimizers])
    return 6.0 * cells["parameters"] * np.minimum(batches, cells["samples"].astype(float)) * cells["steps"]


def _factors(cells: DataFrame, further: list[str]) -> list[str]:
    """Return the columns that tell lines apart, each one not determined by those before it."""
    factors: list[str] = []
    for name in ("optimizer", "family", "depth", *further):
        # A batch that is a share of the samples is a count in the store: it tells cells apart only at equal samples.
        known = [*factors, "samples"] if name == "batch" else factors
        if _numbers(cells, [*known, name]).max(initial=0) > _numbers(cells, known).max(initial=0):
            factors.append(name)
            if name == "batch":
                cells["batch"] = _batches(cells)
    return factors


def _batches(cells: DataFrame) -> Series:
    """Return the batch as a count or, where it goes with the samples, as a share of them; NaN is the full batch."""
    rank = cells.groupby("samples")["batch"].rank("dense")
    if cells["batch"].nunique() <= rank.nunique():
        return cells["batch"]
    # Counts are rounded up from shares, so that shares differ a little between sample counts; their ranks do not.
    return (cells["batch"] / cells["samples"]).groupby(rank).transform("median")


def _numbers(cells: DataFrame, columns: list[str]) -> np.ndarray:
    """Return the number, (cells,) in order of appearance, of each row's combination of values in `columns`."""
    if not columns:
        return np.zeros(len(cells), dtype=np.int64)
    return cells.groupby(columns, sort=False, dropna=False).ngroup().to_numpy()


def _lines(cells: DataFrame, factors: list[str]) -> list[Line]:
    """Name the lines; where there is but one, by its model and optimizer."""
    numbered = cells.assign(first=_numbers(cells, factors[:1]), rest=_numbers(cells, factors[1:]))
    rows = numbered.drop_duplicates("line").sort_values("line")
    shown = factors or ["family", "optimizer"]
    labels = [", ".join(map(setting, shown, values)) for values in rows[shown].itertuples(index=False, name=None)]
    return [Line(*line) for line in zip(labels, rows["first"].tolist(), rows["rest"].tolist(), strict=True)]


def setting(name: str, value: object) -> str:
    """Say one setting: a text speaks for itself, a number needs its name, and NaN means unset."""
    if isinstance(value, str):
        return value or f"{name} unset"
    number = float(value)  # type: ignore[arg-type]
    if name == "depth":
        return f"{number:g} hidden layer{'' if number == 1 else 's'}"
    if name == "batch":
        return "full batch" if np.isnan(number) else f"batch {number:.2g} n" if number < 1 else f"batch {number:g}"
    return f"{name.replace('_', ' ')} {'unset' if np.isnan(number) else format(number, 'g')}"


def network(model: str, depth: int, width: int) -> str:
    """Say a network: the label of its model and, if it has hidden layers, their number and the widest."""
    return f"{model}, depth {depth}, width {width}" if depth else model


def activations(cells: DataFrame) -> str:
    """Say the activations of the networks among these cells; empty where there are none."""
    names = [str(name) for name in cells["nonlinearity"].unique() if name]
    return f"Activation: {' or '.join(names)}." if names else ""


def coordinates(cell: xarray.Dataset) -> SimpleNamespace:
    """Return the coordinates `layout.NAMED` of a cell, a dataset without the dimension `cell`, as attributes."""
    return SimpleNamespace(**{name: cell[name].item() for name in layout.NAMED})


def described(cell: Any) -> str:
    """Describe a cell, without its target, by its `coordinates` or its row of `Table.cells`."""
    what = f"{network(cell.model, cell.depth, cell.width)}, {cell.samples:,} samples, {cell.optimizer}"
    return f"{what}, replicate {cell.replicate}"
