"""Study -> cells: the grids of a study multiplied out and united.

Each axis value is resolved into a configuration once, and cells refer to configurations by number: a study of 10^6
cells has a few hundred of them. Later layers win: section, then axis, then axis table.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from hpcsweep.config import DATA, WHERE, Config, ModelConfig, Objective, OptimizerConfig, TargetConfig, canonical
from hpcsweep.config.limits import LARGEST, MOST_LISTED
from hpcsweep.errors import StudyError
from hpcsweep.study import chains
from hpcsweep.study.cells import COUNTS, FAMILIES, Cells, Facts, complete
from hpcsweep.study.parsing import Catalogue, Study, explicit, integer, section
from hpcsweep.study.schema import MODEL_AXES, ModelSection, training_section
from hpcsweep.study.subsets import SubsetSection

BLOCK = 2**16  # cells after which it is told how many there are


def expand(study: Study, catalogue: Catalogue, shown: Callable[[int], object] = lambda cells: None) -> Cells:
    """Multiply out the grids of a study, or take their subsets; equal cells fall together, the first one stands.

    `shown` is called again and again with the number of cells so far.
    Raises `StudyError` or `PluginError` for a value that does not exist, naming the grid and the axis.
    """
    table = _Table(study, catalogue, shown)
    for number, (grid, subset) in enumerate(zip(study.grids, study.subsets, strict=True)):
        table.add(grid, subset, f"grid[{number}]")
    return table.cells()


class _Table:
    """The columns while they grow."""

    def __init__(self, study: Study, catalogue: Catalogue, shown: Callable[[int], object]) -> None:
        self.study, self.catalogue, self.shown = study, catalogue, shown
        self.numbers: dict[Config, int] = {}  # of the configurations
        self.columns: dict[str, list[int]] = {name: [] for name in (*(f"{name}_id" for name in FAMILIES), *COUNTS)}
        self.keys: dict[str, None] = {}  # in order
        self.axes: set[str] = set()
        self.training_axes = tuple(training_section(catalogue.options).model_fields)
        self.facts: dict[tuple[Config, int], Facts] = {}

    def add(self, grid: Mapping[str, Sequence[Any]], subset: SubsetSection | None, where: str) -> None:
        """Add the cells of one grid, or of a subset of it."""
        targets = [self._target(value, f"{where}.target") for value in grid["target"]]
        models = {data: list(self._models(grid, where, data)) for data in {target.name == DATA for target in targets}}
        methods = list(self._methods(grid, where))
        replicates = [integer(value, f"{where}.replicate", 0) for value in grid.get("replicate", [0])]
        dimensions = [integer(value, f"{where}.dimension", 1, MOST_LISTED) for value in grid["dimension"]]
        self.axes.update(grid.keys() & {*MODEL_AXES, *self.training_axes} - {"name", "width", "depth", "hidden"})
        settled = functools.cache(OptimizerConfig.settled)
        sized = functools.cache(functools.partial(self._sized, grid["samples"], where))
        compatible = functools.cache(self.catalogue.check_compatible)
        lists = (targets, dimensions, range(len(models[targets[0].name == DATA])), range(len(grid["samples"])), methods)
        rows = None if subset is None else subset.rows(self._in_order(grid), f"{where}.subset")
        for (target, dimension, number, place, method), repetitions in _combined(lists, replicates, rows):
            if (target, dimension) not in self.facts:
                self.facts[target, dimension] = self._facts(target, dimension)
            model = models[target.name == DATA][number]
            complete_model, parameters, samples = sized(model, dimension, place)
            compatible(complete_model, dimension, method.name)
            optimizer = settled(method, samples)
            if optimizer not in self.numbers:
                self.catalogue.training(optimizer)
            if optimizer.objective != Objective() or target.name == DATA:
                self.catalogue.objective(optimizer, target, complete_model, dimension, samples)
            self._rows((target, complete_model, optimizer), (dimension, parameters, samples), repetitions)

    def _in_order(self, grid: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Return the axes of a grid in the order in which they are multiplied out."""
        names = ("target", "dimension", "model", *MODEL_AXES[1:], "samples", "optimizer", *self.training_axes)
        return {name: grid[name] for name in (*names, "replicate") if name in grid}

    def _facts(self, target: TargetConfig, dimension: int) -> Facts:
        points = self.study.sup_norm.resolved(dimension)
        searched = bool(points["starts"] or points["kinks"])
        return Facts(*self.catalogue.target_dimension(target, dimension, self.study.precision, searched))

    def _sized(
        self, counts: Sequence[Any], where: str, model: ModelConfig, dimension: int, place: int
    ) -> tuple[ModelConfig, int, int]:
        """Return the model, complete for one of the `counts` of samples; its parameters; the samples."""
        catalogue = self.catalogue
        samples = _samples(counts[place], lambda: catalogue.parameters(model, dimension), f"{where}.samples")
        sized = catalogue.sized(model, dimension, samples)
        parameters = integer(catalogue.parameters(sized, dimension), f"{where}: the number of parameters", 1)
        return sized, parameters, samples

    def _rows(self, configs: tuple[Config, ...], counts: tuple[int, int, int], replicates: list[int]) -> None:
        """Add one row for each replicate of (target, model, optimizer) and (dimension, parameters, samples)."""
        ids = [self.numbers.setdefault(config, len(self.numbers)) for config in configs]
        (target, model, optimizer), (dimension, _, samples) = (config.canonical() for config in configs), counts
        study = self.study
        head = (
            f'{{"dimension":{dimension},"model":{model},"optimizer":{optimizer},'
            f'"precision":"{study.precision}","replicate":'
        )
        data = configs[0].name == DATA  # errors are measured at their own rows
        points = canonical(None if data else study.sup_norm.resolved(dimension))
        tail = f',"samples":{samples},"seed":{study.seed},"sup_norm":{points},"target":{target}}}'
        for replicate in replicates:
            key = hashlib.blake2b(f"{head}{replicate}{tail}".encode(), digest_size=16).hexdigest()
            if key not in self.keys:
                self.keys[key] = None
                for column, number in zip(self.columns.values(), (*ids, *counts, replicate), strict=True):
                    column.append(number)
                if not len(self.keys) % BLOCK:
                    self.shown(len(self.keys))

    def _target(self, value: Any, where: str) -> TargetConfig:
        """Resolve one value of the axis `target`."""
        fields, label = _named(value, where)
        config = self.catalogue.target(fields)
        if config.name == DATA and "label" not in value:
            shown = {name: field for name, field in fields.items() if name not in ("name", *WHERE)}
            label = f"{config['output']} of {PurePath(config['file']).name}"
            label = _short(label, shown) if shown else label
        return replace(config, label=label)

    def _models(self, grid: Mapping[str, Sequence[Any]], where: str, data: bool) -> Iterator[ModelConfig]:
        """Yield every model of a grid, for data or for functions."""
        axes = [axis for axis in MODEL_AXES[1:] if axis in grid]
        for named in grid.get("model", [self.study.model["name"]]):
            value, label = _named(named, f"{where}.model", self.study.model["name"])
            changes = explicit(ModelSection, value, f"{where}.model")
            for values in itertools.product(*(grid[axis] for axis in axes)):
                layers = [self.study.model, dict(zip(axes, values, strict=True)), changes]
                fields = section(ModelSection, _overlay(layers), where).model_dump()
                width, depth, hidden = (fields.pop(name) for name in ("width", "depth", "hidden"))
                if fields["standardise"] is None:
                    fields["standardise"] = data  # whose domain is what it is
                if fields["initialisation"] != "normal":
                    fields["scale"] = None  # it belongs to the normal initialisation alone
                fields["hidden"] = [width] * depth if hidden is None else hidden
                yield replace(self.catalogue.model(fields), label=label)

    def _methods(self, grid: Mapping[str, Sequence[Any]], where: str) -> Iterator[OptimizerConfig]:
        """Yield every training method of a grid, for any number of samples."""
        axes = [axis for axis in self.training_axes if axis in grid]
        for named in grid.get("optimizer", [OptimizerConfig.name]):
            value, label = _named(named, f"{where}.optimizer")
            parts, changes = chains.split(value, self.catalogue, f"{where}.optimizer")
            for values in itertools.product(*(grid[axis] for axis in axes)):
                axis = dict(zip(axes, values, strict=True))
                yield chains.resolve(self.study, self.catalogue, value["name"], parts, axis, changes, where, label)

    def cells(self) -> Cells:
        """Return the finished columns."""
        columns = {"key": np.array(list(self.keys), dtype="S32")}
        columns |= {name: np.array(values, dtype=np.int64) for name, values in self.columns.items()}
        study, count = self.study, len(self.keys)
        return complete(list(self.numbers), columns, study.precision, study.seed, self.axes, self.facts, count)


def _combined(
    lists: Sequence[Sequence[Any]], replicates: list[int], rows: np.ndarray | None
) -> Iterator[tuple[tuple[Any, ...], list[int]]]:
    """Yield the product of lists, the last fastest, each entry with its replicates; of chosen `rows` only these."""
    if rows is None:
        yield from ((entry, replicates) for entry in itertools.product(*lists))
        return
    entries, last = np.divmod(rows, len(replicates))
    columns = np.unravel_index(entries, [len(values) for values in lists])
    places = zip(*(column.tolist() for column in columns), last.tolist(), strict=True)
    for head, cells in itertools.groupby(places, key=lambda place: place[:-1]):
        entry = tuple(values[place] for values, place in zip(lists, head, strict=True))
        yield entry, [replicates[place[-1]] for place in cells]


def _named(value: Any, where: str, name: str | None = None) -> tuple[dict[str, Any], str]:
    """Split an axis value (a name, or a table with `name` and perhaps `label`) into its fields and its label."""
    if isinstance(value, str):
        return {"name": value}, value
    if not isinstance(value, dict) or not isinstance(value.get("name", name), str):
        raise StudyError(f'{where}: must be a name or a table such as {{ name = "..." }}, not {value!r}.')
    fields = {"name": name, **value}
    label = fields.pop("label", None)
    if label is not None and not isinstance(label, str):
        raise StudyError(f"{where}.label: must be a string, not {label!r}.")
    shown = {key: field for key, field in fields.items() if key not in ("name", "width", "depth")}
    return fields, label or (_short(fields["name"], shown) if shown else fields["name"])


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
