"""What cells cost on a device like this rank's: the model of `approx.training.costs`, fed with a probe of 0.3 s."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

from hpcsweep import grid
from hpcsweep.approx.fit import DTYPES
from hpcsweep.approx.meter.measure import Measurement
from hpcsweep.approx.meter.screen import default_tile
from hpcsweep.approx.training import costs, pack_key
from hpcsweep.approx.training.settings import Settings
from hpcsweep.cells import Cell
from hpcsweep.cluster import devices
from hpcsweep.plan import Cost
from hpcsweep.study import Study

SETTINGS = tuple(Settings.__dataclass_fields__)


def settings_of(cell: Cell) -> Settings:
    """Return the training settings of a cell."""
    chosen = {key: value for key, value in cell.optimizer.items() if key in SETTINGS}
    return Settings(optimizer=cell.optimizer["name"], **chosen)


class Pricer:
    """Prices the cells of one study: a callable for `plan.make`."""

    def __init__(self, study: Study) -> None:
        self.study = study

    @cached_property
    def device(self) -> costs.Device:
        """The measured rates of this rank's device."""
        name = devices.here().name
        return costs.probe(DTYPES[self.study.precision], name)

    def __call__(self, cell: Cell) -> Cost:
        """Return the cost of one cell."""
        settings, hidden = settings_of(cell), cell.model["hidden"]
        batch = settings.minibatch(cell.samples) or cell.samples
        group = pack_key(cell.model, cell.dimension, cell.samples, settings, cell.precision)
        slots = costs.slots(hidden, cell.dimension, batch, cell.precision, self.device.kind)
        few, many = self._training_seconds(cell, settings, 2), self._training_seconds(cell, settings, max(slots, 4))
        each = (many - few) / (max(slots, 4) - 2)
        points = sum(self.measurement(cell).counts)
        flops = costs.flops_per_step(hidden, cell.dimension, batch) * settings.steps
        return Cost(
            group=group,
            flops=float(flops + points * costs.evaluation_flops(hidden, cell.dimension)),
            bytes=costs.bytes_per_cell(hidden, cell.dimension, cell.samples, settings.batch, cell.precision),
            slots=slots,
            fixed_seconds=max(0.0, few - 2 * each),
            seconds=each + self.measuring_seconds(cell),
        )

    def _training_seconds(self, cell: Cell, settings: Settings, cells: int) -> float:
        shape: tuple[Any, ...] = (cell.model["hidden"], cell.dimension, cell.samples, settings.steps, self.device)
        return costs.seconds(*shape, cells, cell.model["activation"], settings.batch)

    def measurement(self, cell: Cell) -> Measurement:
        """Return how the networks of this cell's shape are measured."""
        return self._measurement(cell.dimension, max(cell.model["hidden"], default=1))

    @cache  # noqa: B019  (one pricer for one study)
    def _measurement(self, dimension: int, width: int) -> Measurement:
        chosen = grid.points_of(self.study, dimension)
        tile = chosen.pop("tile") or default_tile(width)
        return Measurement(dimension=dimension, tile=tile, **chosen)

    def measuring_seconds(self, cell: Cell) -> float:
        """Return the seconds of measuring one network of this cell's shape on one rank."""
        return self._measuring_seconds(cell.dimension, tuple(cell.model["hidden"]), cell.model["activation"])

    @cache  # noqa: B019
    def _measuring_seconds(self, dimension: int, hidden: tuple[int, ...], activation: str) -> float:
        measurement = self._measurement(dimension, max(hidden, default=1))
        points = measurement.total * measurement.tile
        network = costs.evaluation_seconds(hidden, dimension, points, self.device, activation, measurement.tile)
        # Making a point and its target value takes about ten passes over its coordinates.
        return network + 10 * dimension * points * self.device.element


def memory_of_rank() -> int:
    """Return the bytes that one rank may fill; a fifth is left for everything else."""
    return int(0.8 * devices.here().memory)
