"""What cells cost on a device like this rank's: the model of `approx.training.costs`, fed with a probe of 0.3 s."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from functools import cache, cached_property

from hpcsweep.approx import plugins
from hpcsweep.approx.fitting import DTYPES
from hpcsweep.approx.models import checks, classical, equivalent_widths
from hpcsweep.approx.supnorm.certificate import certify
from hpcsweep.approx.supnorm.measurement import HELD_OUT, Measurement, planned
from hpcsweep.approx.supnorm.screening.screen import default_tile
from hpcsweep.approx.supnorm.search.ascent import GRADIENT_COST, GROUP, whole
from hpcsweep.approx.supnorm.search.kinks import PROJECTIONS
from hpcsweep.approx.supnorm.search.refine import AGAIN, STEPS
from hpcsweep.approx.training import pack_key
from hpcsweep.approx.training.costs import costs
from hpcsweep.approx.training.settings import method_of
from hpcsweep.approx.training.strategies import stages
from hpcsweep.cluster import devices
from hpcsweep.config import DATA, Cell
from hpcsweep.study.parsing import Study
from hpcsweep.study.plan import Cost

TOGETHER = 32  # cells of a pack one after another, at most
_PACK_SECONDS = 60.0  # of a pack of more than one
# What measuring takes in calls of torch (for a network, and a box of a proof) and in multiply-adds (to make a point,
# its target value, and its place in the statistics), beside evaluations.
_NETWORK_CALLS, _BOX_CALLS, _POINT = 8_000, 8, 2000
# What a bound of the error by Poisson's equation takes in calls, by dimension and beyond: measured in 1-D to 6-D for
# networks of one and two layers of 16 and 32 neurons; most take half as much to twice as much.
_SOLUTION_CALLS, _FURTHER = {1: 300_000, 2: 1_100_000}, 6_500_000


def is_alone(cell: Cell, kind: str) -> bool:
    """Return whether networks of a cell train alone on such a device: on processors those that the kernels know."""
    return kind == "cpu" and cell.model.name in checks.NAMES


def threads_of(cells: Sequence[Cell], cores: int) -> int:
    """Return with how many of its `cores` a rank trains a pack: one for each network that trains alone.

    A batched program has one core: its bits are promised for that.
    """
    return cores if is_alone(cells[0], "cpu") else 1


class Pricer:
    """Prices the cells of one study: a callable for `plan.make`."""

    def __init__(self, study: Study, device: costs.Device | None = None, cores: int | None = None) -> None:
        """`device`: rates to count with instead of those of this rank's, and one core, or `cores` where given."""
        self.study = study
        self._measures = device is None  # what targets take here; all must agree on what a `device` takes
        if device is not None:
            self.device = device
        if device is not None or cores is not None:
            self._cores = cores or 1
        self._known: dict[Hashable, Cost] = {}  # what a shape costs does not depend on rates, seeds or data

    @cached_property
    def _cores(self) -> int:
        return devices.here().threads

    @cached_property
    def device(self) -> costs.Device:
        """The measured rates of this rank's device."""
        name = devices.here().name
        return costs.probe(DTYPES[self.study.precision], name)

    def __call__(self, cell: Cell) -> Cost:
        """Return the cost of one cell."""
        group: Hashable = pack_key(cell.model, cell.dimension, cell.samples, cell.optimizer, cell.precision)
        if cell.target.name == DATA:  # measured at its own rows
            group = group, cell.target
        if group not in self._known:
            price = self._direct if classical.is_direct(cell.model) else self._trained
            self._known[group] = price(cell, group)
        known, point = self._known[group], self.point_seconds(cell)
        if not point:
            return known
        measurement = self.measurement(cell)
        own = point * _evaluations(measurement)
        shared = point * (_rows(cell) + measurement.total * measurement.tile)
        return dataclasses.replace(known, seconds=known.seconds + own, target_seconds=shared)

    def point_seconds(self, cell: Cell) -> float:
        """Return the seconds that a point takes of a target that is not ours; 0 of ours, which `_POINT` prices."""
        if not (cell.target.code and self._measures):
            return 0.0
        verdict = plugins.examined(cell.target, cell.dimension, self.study.folder, self.study.precision)
        return 0.0 if verdict is None else verdict.seconds

    def _trained(self, cell: Cell, group: Hashable) -> Cost:
        chain, rows, alike = cell.optimizer.chain, _rows(cell), _alike(cell)
        networks = cell.model.stages
        trainings, measuring = stages.trainings(networks), self.measuring_seconds(cell)
        steps = sum(part.steps * alike.flops(part.minibatch(rows) or rows, part) for part in chain)
        flops = float(steps * trainings + self._measuring_flops(cell))
        if is_alone(cell, self.device.kind):
            seconds = trainings * sum(alike.seconds(rows, part, self.device) for part in chain)
            rounds = min(TOGETHER, int(_PACK_SECONDS / (seconds + self._cores * measuring)))
            return Cost(
                group=group,
                flops=flops,
                bytes=alike.data_bytes(rows, cell.precision) * stages.together(networks),
                slots=self._cores * max(1, rounds),
                fixed_seconds=0.0,
                seconds=measuring,
                at_once=self._cores,
                alone_seconds=seconds,
                work_bytes=max(alike.work_bytes(rows, part, cell.precision) for part in chain),
            )
        parts = [alike.batched_seconds(rows, part, self.device) for part in chain]
        size = max(alike.slot_bytes(rows, part, cell.precision) for part in chain)
        return Cost(
            group=group,
            flops=flops,
            bytes=size * stages.together(networks),
            slots=costs.slots(size, self.device.kind),
            fixed_seconds=networks * sum(calls for calls, _ in parts),
            seconds=trainings * sum(each for _, each in parts) + measuring,
            work_bytes=size,  # a pack of one has a free slot
        )

    def _direct(self, cell: Cell, group: Hashable) -> Cost:
        """Return what it costs to fit at once: alone in every pack of at most `TOGETHER` that is measured together."""
        work = classical.operations(cell.model, cell.dimension, cell.samples)
        return Cost(
            group=group,
            flops=work + self._measuring_flops(cell),
            bytes=classical.bytes_of(cell.model, cell.dimension, cell.samples),
            slots=TOGETHER,
            fixed_seconds=0.0,
            seconds=work / 2 * self.device.fma + self.measuring_seconds(cell),
        )

    def _measuring_flops(self, cell: Cell) -> float:
        return 2.0 * sum(self.measurement(cell).counts) * cell.model.stages * _alike(cell).parameters

    def measurement(self, cell: Cell) -> Measurement:
        """Return how the networks of this cell's shape are measured."""
        width = max(_hidden(cell), default=1)
        if cell.target.name == DATA:
            target = plugins.unchecked(cell.target, cell.dimension, self.study.folder)
            count = len(target.held_out)  # type: ignore[attr-defined]
            return Measurement((HELD_OUT,), count, min(count, default_tile(width)), 0, cell.dimension)
        return self._measurement(cell.dimension, width)

    @cache  # noqa: B019  (one pricer for one study)
    def _measurement(self, dimension: int, width: int) -> Measurement:
        return planned(self.study.sup_norm.measured(dimension), dimension, width)

    def pack_seconds(self, cells: Sequence[Cell]) -> float:
        """Return the seconds of measuring a pack on one rank."""
        measurement = self.measurement(cells[0])
        targets = {cell.target: self.point_seconds(cell) for cell in cells}
        shared = sum(targets.values()) * measurement.total * measurement.tile
        own = sum(targets[cell.target] for cell in cells) * _evaluations(measurement)
        return len(cells) * self.measuring_seconds(cells[0]) + shared + own

    def measuring_seconds(self, cell: Cell) -> float:
        """Return the seconds of measuring one network of this cell's shape on one rank, its target apart."""
        measurement, device = self.measurement(cell), self.device
        points = measurement.total * measurement.tile
        alike = dataclasses.replace(_alike(cell), channels=1)
        each = cell.model.stages * alike.evaluation_seconds(GROUP, device) / GROUP
        calls = _NETWORK_CALLS + _BOX_CALLS * _boxes(cell, measurement) + _solution_calls(cell, measurement)
        return (points + _evaluations(measurement)) * each + calls * device.launch + points * _POINT * device.fma


def _evaluations(measurement: Measurement) -> float:
    """Return how many evaluations the search takes."""
    groups = (divmod(count, GROUP) for count in (measurement.starts, int(AGAIN * measurement.starts)))
    climbs = STEPS * sum(many * GROUP + (whole(few) if few else 0) for many, few in groups)
    looked_at = measurement.kinks * (1 + PROJECTIONS * GRADIENT_COST) + 5 * measurement.starts
    return climbs * GRADIENT_COST + looked_at


def _boxes(cell: Cell, measurement: Measurement) -> float:
    """Return how many boxes a proof usually takes: the more, the smaller the error, and so after methods that go on.

    Little more than those at the beginning suffice after Adam, and in up to three dimensions. Measured with smooth
    targets and networks of width 8 to 32.
    """
    if measurement.gap is None:
        return 0.0
    many = 80 if cell.dimension <= 3 else 20 * 3 ** (cell.dimension - 1) * cell.samples
    fine = not classical.is_direct(cell.model) and any(method_of(part).is_fine for part in cell.optimizer.chain)
    if measurement.tentative:  # after Adam 10 of 16 networks took 54,000 to 868,000 boxes, the others at most 16,384
        return min(measurement.boxes, certify.TENTATIVE if fine else 2**17)
    return min(measurement.boxes, many if fine else 64)


def _solution_calls(cell: Cell, measurement: Measurement) -> int:
    """Return how many calls it takes to bound the error of the solution by its equation, 0 where there is none."""
    solves = cell.optimizer.objective.equation != "none"
    if measurement.gap is None or measurement.tentative or not solves:
        return 0
    return _SOLUTION_CALLS.get(cell.dimension, _FURTHER)


def _hidden(cell: Cell) -> list[int]:
    """Return the hidden widths of a perceptron that costs what the cell's network does."""
    return equivalent_widths(cell.model, cell.dimension, cell.parameters)


def _alike(cell: Cell) -> costs.Perceptron:
    """Return a perceptron that costs what the cell's network does."""
    signals, known = cell.optimizer.objective.signals(cell.dimension), cell.model.name in checks.NAMES
    widths = cell.dimension, *_hidden(cell), 1
    return costs.Perceptron(widths, cell.model.activation, signals, general=not known)


def places_of(cell: Cell) -> tuple[int, int, str]:
    """Return samples, data seed and sampling, as `Network` takes them; 0 samples where only the training knew them."""
    objective = cell.optimizer.objective
    return 0 if objective.resample else cell.samples, cell.data_seed, objective.sampling


def _rows(cell: Cell) -> int:
    """Return what is fitted in each step of all: the samples, and points on the boundary where there is an equation."""
    return cell.samples + cell.optimizer.objective.boundary_points(cell.samples, cell.dimension)


def memory_of_rank() -> int:
    """Return the bytes that one rank may fill; a fifth is left for everything else."""
    return int(0.8 * devices.here().memory)
