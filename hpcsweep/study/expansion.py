"""Study -> cells: the grids of a study multiplied out and united.

Each axis value is resolved into a *choice* (a complete, canonical set of fields) once, and cells refer to choices by
number: a study of 10^6 cells has a few hundred choices. Later layers win: section, then axis, then axis table.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hpcsweep.errors import StudyError
from hpcsweep.study import chains
from hpcsweep.study.cells import Cells, Choice, Facts, canonical, complete
from hpcsweep.study.parsing import Catalogue, Study, explicit, integer, section
from hpcsweep.study.schema import LARGEST, LESSON, MODEL_AXES, TRAINING_AXES, ModelSection


def expand(study: Study, catalogue: Catalogue) -> Cells:
    """Multiply out the grids of a study; equal cells fall together, the first one stands.

    Raises `StudyError` or `PluginError` for a value that does not exist, naming the grid and the axis.
    """
    table = _Table(study, catalogue)
    for number, grid in enumerate(study.grids):
        table.add(grid, f"grid[{number}]")
    return table.cells()


class _Table:
    """The columns while they grow."""

    def __init__(self, study: Study, catalogue: Catalogue) -> None:
        self.study, self.catalogue = study, catalogue
        self.choices: dict[str, int] = {}
        self.labels: list[str] = []
        self.rows: dict[str, tuple[Any, ...]] = {}  # key -> the row
        self.axes: set[str] = set()
        self.facts: dict[tuple[str, int], Facts] = {}

    def add(self, grid: Mapping[str, Sequence[Any]], where: str) -> None:
        """Add the cells of one grid."""
        targets = [self._target(value, f"{where}.target") for value in grid["target"]]
        models = list(self._models(grid, where))
        optimizers = list(self._optimizers(grid, where))
        replicates = [integer(value, f"{where}.replicate", 0) for value in grid.get("replicate", [0])]
        dimensions = [integer(value, f"{where}.dimension", 1) for value in grid["dimension"]]
        self.axes.update(grid.keys() & {*MODEL_AXES, *TRAINING_AXES} - {"name", "width", "depth", "hidden"})
        for target, dimension in itertools.product(targets, dimensions):
            facts = self.catalogue.target_dimension(json.loads(target[0]), dimension)
            self.facts[target[0], dimension] = Facts(*facts)
            for model in models:
                names = {fields["name"] for fields, _ in optimizers}
                for sized, parameters, samples in self._sized(model, dimension, grid["samples"], names, where):
                    for fields, label in optimizers:
                        optimizer = (self._settled(fields, samples), label)
                        if fields.keys() & set(LESSON):
                            method, aim, network = (json.loads(text) for text, _ in (optimizer, target, sized))
                            self.catalogue.objective(method, aim, network, dimension, samples)
                        self._rows((target, sized, optimizer), (dimension, parameters, samples), replicates)

    def _sized(
        self, model: tuple[str, str], dimension: int, counts: Sequence[Any], optimizers: set[str], where: str
    ) -> Iterator[tuple[tuple[str, str], int, int]]:
        """Yield for each of the `counts` of samples: the model, complete, with its label; its parameters; the samples.

        Raises `StudyError` where the model does not suit the optimizers of these names.
        """
        resolved, catalogue, suited = json.loads(model[0]), self.catalogue, ""
        for value in counts:
            samples = _samples(value, lambda: catalogue.parameters(resolved, dimension), f"{where}.samples")
            sized = catalogue.sized(resolved, dimension, samples)
            text = canonical(sized)
            if text != suited:
                for name in optimizers:
                    catalogue.check_compatible(sized, dimension, name)
            suited = text
            yield (text, model[1]), catalogue.parameters(sized, dimension), samples

    def _rows(self, choices: tuple[tuple[str, str], ...], counts: tuple[int, int, int], replicates: list[int]) -> None:
        """Add one row for each replicate of (target, model, optimizer) and (dimension, parameters, samples)."""
        ids = tuple(self._number(*choice) for choice in choices)
        (target, model, optimizer), (dimension, _, samples) = (text for text, _ in choices), counts
        study = self.study
        head = (
            f'{{"dimension":{dimension},"model":{model},"optimizer":{optimizer},'
            f'"precision":"{study.precision}","replicate":'
        )
        points = self._points(dimension)
        tail = f',"samples":{samples},"seed":{study.seed},"sup_norm":{points},"target":{target}}}'
        for replicate in replicates:
            key = hashlib.blake2b(f"{head}{replicate}{tail}".encode(), digest_size=16).hexdigest()
            self.rows.setdefault(key, (*ids, *counts, replicate))

    def _points(self, dimension: int) -> str:
        """Return the canonical text of how cells of this dimension are measured."""
        return canonical(self.study.sup_norm.resolved(dimension))

    def _number(self, text: str, label: str) -> int:
        """Return the number of a choice, new or known."""
        if text not in self.choices:
            self.choices[text] = len(self.labels)
            self.labels.append(label)
        return self.choices[text]

    def _target(self, value: Any, where: str) -> tuple[str, str]:
        """Resolve one value of the axis `target` into (canonical text, label)."""
        choice, label = _named(value, where)
        return canonical(self.catalogue.target(choice)), label

    def _models(self, grid: Mapping[str, Sequence[Any]], where: str) -> Iterator[tuple[str, str]]:
        """Yield every resolved model of a grid as (canonical text, label)."""
        axes = [axis for axis in MODEL_AXES[1:] if axis in grid]
        for named in grid.get("model", [self.study.model["name"]]):
            choice, label = _named(named, f"{where}.model", self.study.model["name"])
            changes = explicit(ModelSection, choice, f"{where}.model")
            for values in itertools.product(*(grid[axis] for axis in axes)):
                layers = [self.study.model, dict(zip(axes, values, strict=True)), changes]
                fields = section(ModelSection, _overlay(layers), where).model_dump()
                width, depth, hidden = (fields.pop(name) for name in ("width", "depth", "hidden"))
                if fields["initialisation"] != "normal":
                    fields["scale"] = None  # it belongs to the normal initialisation alone
                yield (
                    canonical(
                        self.catalogue.model({**fields, "hidden": [width] * depth if hidden is None else hidden})
                    ),
                    label,
                )

    def _optimizers(self, grid: Mapping[str, Sequence[Any]], where: str) -> Iterator[tuple[Choice, str]]:
        """Yield every resolved training method of a grid as (fields, label)."""
        axes = [axis for axis in TRAINING_AXES if axis in grid]
        for named in grid.get("optimizer", ["adam"]):
            choice, label = _named(named, f"{where}.optimizer")
            parts, changes = chains.split(choice, self.catalogue, f"{where}.optimizer")
            for values in itertools.product(*(grid[axis] for axis in axes)):
                axis = dict(zip(axes, values, strict=True))
                yield chains.resolve(self.study, choice["name"], parts, axis, changes, where), label

    def _settled(self, method: Choice, samples: int) -> str:
        """Return the canonical text of a method for so many samples, once it is known to be possible."""
        text = chains.settle(method, samples)
        if text not in self.choices:
            self.catalogue.training(json.loads(text))
        return text

    def cells(self) -> Cells:
        """Return the finished columns."""
        names = ("target_id", "model_id", "optimizer_id", "dimension", "parameters", "samples", "replicate")
        columns = {"key": np.array(list(self.rows), dtype="S32")}
        values = np.array(list(self.rows.values()), dtype=np.int64).reshape(-1, len(names))
        columns |= {name: values[:, i].copy() for i, name in enumerate(names)}
        study = self.study
        return complete(list(self.choices), self.labels, columns, study.precision, study.seed, self.axes, self.facts)


def _named(value: Any, where: str, name: str | None = None) -> tuple[Choice, str]:
    """Split an axis value (a name, or a table with `name` and perhaps `label`) into its choice and its label."""
    if isinstance(value, str):
        return {"name": value}, value
    if not isinstance(value, dict) or not isinstance(value.get("name", name), str):
        raise StudyError(f'{where}: must be a name or a table such as {{ name = "..." }}, not {value!r}.')
    choice = {"name": name, **value}
    label = choice.pop("label", None)
    if label is not None and not isinstance(label, str):
        raise StudyError(f"{where}.label: must be a string, not {label!r}.")
    shown = {key: field for key, field in choice.items() if key not in ("name", "width", "depth")}
    return choice, label or (_short(choice["name"], shown) if shown else choice["name"])


def _short(name: str, value: Any) -> str:
    """Return how a label shows a field: batch=5, hidden=8-8, adam(steps=20)."""
    if isinstance(value, dict):
        return f"{name}({', '.join(_short(key, field) for key, field in value.items())})"
    return f"{name}={'-'.join(map(str, value)) if isinstance(value, list) else value}"


def _samples(value: Any, parameters: Callable[[], int], where: str) -> int:
    """Return a sample count: as given, or per trainable parameter of the network (rounded up)."""
    if not isinstance(value, dict):
        return integer(value, where, 1)
    ratio = value.get("per_parameter")
    if set(value) != {"per_parameter"} or not (type(ratio) is int or type(ratio) is float) or not 0 < ratio < LARGEST:
        raise StudyError(f"{where}: must be a count or {{ per_parameter = positive number }}, not {value!r}.")
    return integer(math.ceil(ratio * parameters()), where, 1)


def _overlay(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Lay model fields over each other; a later width or depth replaces an earlier list of hidden widths."""
    fields: dict[str, Any] = {}
    for layer in layers:
        if ("width" in layer or "depth" in layer) and "hidden" not in layer:
            fields.pop("hidden", None)
        fields |= layer
    return fields
