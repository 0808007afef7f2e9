"""What cells cost on a device like this rank's: the model of `approx.training.costs`, fed with a probe of 0.3 s."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache, cached_property
from typing import Any

from hpcsweep.approx.fit import DTYPES
from hpcsweep.approx.meter.search import newton
from hpcsweep.approx.meter.search.ascent import GRADIENT_COST, GROUP
from hpcsweep.approx.meter.search.kinks import PROJECTIONS
from hpcsweep.approx.meter.search.refine import AGAIN, STEPS
from hpcsweep.approx.meter.tasks import Measurement, planned
from hpcsweep.approx.models import classical, hidden_like, stages_of
from hpcsweep.approx.training import Lesson, costs, lesson_from, lessons, pack_key, stages
from hpcsweep.approx.training.settings import Settings, settings_from
from hpcsweep.cells import Cell
from hpcsweep.cluster import devices
from hpcsweep.plan import Cost
from hpcsweep.study import Study

WAVES = 4  # of cells in a pack, at most
_EACH_SIGNAL = 4  # times what a model of values only takes: derivatives go through several passes at each activation
TOGETHER = 32  # cells in a pack that are fitted one by one


def settings_of(cell: Cell) -> Settings:
    """Return the training settings of a cell."""
    return settings_from(cell.optimizer, lessons.NAMES)


def lesson_of(cell: Cell) -> Lesson:
    """Return what a cell learns from."""
    return lesson_from(cell.optimizer)


def threads_of(cells: Sequence[Cell]) -> int:
    """Return with how many of its processor cores this rank should train a pack."""
    if classical.is_direct(cells[0].model):
        return 1
    cell, chain = cells[0], settings_of(cells[0]).chain
    hidden = hidden_like(cell.model, cell.dimension, cell.parameters)
    rows = _rows(cell)
    batch = min(part.minibatch(rows) or rows for part in chain)
    shape = hidden, cell.dimension, batch
    slots = min(costs.slots(*shape, cell.precision, "cpu", part.optimizer, _general(cell)) for part in chain)
    return costs.threads(*shape, min(slots, len(cells)), devices.threads())


def _waves(settings: Settings) -> int:
    """Return how many times as many cells as slots a pack may have: cells that stop early make room for others."""
    early = any(part.loss_tolerance > 0 or part.gradient_tolerance > 0 for part in settings.chain)
    limited = any(part.seconds is not None for part in settings.chain)
    return WAVES if early and not limited else 1


class Pricer:
    """Prices the cells of one study: a callable for `plan.make`."""

    def __init__(self, study: Study, device: costs.Device | None = None) -> None:
        """`device`: rates to count with instead of those of this rank's."""
        self.study = study
        if device is not None:
            self.device = device
        self._known: dict[Hashable, Cost] = {}  # what a shape costs does not depend on rates, seeds or data

    @cached_property
    def device(self) -> costs.Device:
        """The measured rates of this rank's device."""
        name = devices.here().name
        return costs.probe(DTYPES[self.study.precision], name)

    def __call__(self, cell: Cell) -> Cost:
        """Return the cost of one cell."""
        settings = settings_of(cell)
        group = pack_key(cell.model, cell.dimension, cell.samples, settings, cell.precision, lesson_of(cell))
        shape = (group, _waves(settings))
        if shape not in self._known:
            self._known[shape] = self._cost(cell, settings, group)
        return self._known[shape]

    def _cost(self, cell: Cell, settings: Settings, group: Hashable) -> Cost:
        if classical.is_direct(cell.model):
            return self._direct_cost(cell, group)
        slots = min(self._slots(cell, part) for part in settings.chain) * _waves(settings)
        few, many = self._training_seconds(cell, settings, 2), self._training_seconds(cell, settings, max(slots, 4))
        each = (many - few) / (max(slots, 4) - 2)
        networks, points = stages_of(cell.model), sum(self.measurement(cell).counts)
        measuring = points * networks * costs.evaluation_flops(_hidden(cell), cell.dimension)
        training = sum(self._flops(cell, part) for part in settings.chain) * stages.trainings(networks)
        return Cost(
            group=group,
            flops=float(training + measuring),
            bytes=max(self._bytes(cell, part) for part in settings.chain) * stages.together(networks),
            slots=slots,
            fixed_seconds=max(0.0, few - 2 * each),
            seconds=each + self.measuring_seconds(cell),
        )

    def _direct_cost(self, cell: Cell, group: Hashable) -> Cost:
        """Return what it costs to fit at once: alone in every pack of at most `TOGETHER` that is measured together."""
        work = classical.operations(cell.model, cell.dimension, cell.samples)
        points = sum(self.measurement(cell).counts)
        return Cost(
            group=group,
            flops=work + points * costs.evaluation_flops(_hidden(cell), cell.dimension),
            bytes=classical.bytes_of(cell.model, cell.dimension, cell.samples),
            slots=TOGETHER,
            fixed_seconds=0.0,
            seconds=work / self.device.wide.flops + self.measuring_seconds(cell),
        )

    def _slots(self, cell: Cell, part: Settings) -> int:
        batch, hidden = part.minibatch(_rows(cell)) or _rows(cell), _hidden(cell)
        shape = hidden, cell.dimension, batch, cell.precision, self.device.kind
        return costs.slots(*shape, part.optimizer, _general(cell))

    def _flops(self, cell: Cell, part: Settings) -> int:
        batch, signals = part.minibatch(_rows(cell)) or _rows(cell), lesson_of(cell).signals(cell.dimension)
        return signals * part.steps * costs.flops_per_step(_hidden(cell), cell.dimension, batch, part.optimizer)

    def _bytes(self, cell: Cell, part: Settings) -> int:
        shape = _hidden(cell), cell.dimension, _rows(cell)
        return costs.bytes_per_cell(*shape, part.batch, cell.precision, part.optimizer, _general(cell))

    def _training_seconds(self, cell: Cell, settings: Settings, cells: int) -> float:
        """Return the seconds of a pack of so many cells, all parts of their chain and all stages of their model."""
        counts = [cells * stages.together(stage) for stage in range(1, stages_of(cell.model) + 1)]
        return sum(self._part_seconds(cell, part, count) for part in settings.chain for count in counts)

    def _part_seconds(self, cell: Cell, part: Settings, cells: int) -> float:
        shape: tuple[Any, ...] = (_hidden(cell), cell.dimension, _rows(cell), part.steps, self.device)
        return costs.seconds(*shape, cells, _activation(cell), part.batch, part.optimizer, _general(cell))

    def measurement(self, cell: Cell) -> Measurement:
        """Return how the networks of this cell's shape are measured."""
        return self._measurement(cell.dimension, max(_hidden(cell), default=1))

    @cache  # noqa: B019  (one pricer for one study)
    def _measurement(self, dimension: int, width: int) -> Measurement:
        return planned(self.study.sup_norm.resolved(dimension), dimension, width)

    def measuring_seconds(self, cell: Cell) -> float:
        """Return the seconds of measuring one network of this cell's shape on one rank."""
        shape = cell.dimension, tuple(_hidden(cell)), _activation(cell)
        return self._measuring_seconds(*shape, stages_of(cell.model))

    @cache  # noqa: B019
    def _measuring_seconds(self, dimension: int, hidden: tuple[int, ...], activation: str, networks: int) -> float:
        measurement = self._measurement(dimension, max(hidden, default=1))
        points = measurement.total * measurement.tile
        screened = costs.evaluation_seconds(hidden, dimension, points, self.device, activation, measurement.tile)
        # To make a point and its target value, and to keep the worst, the sums and the histogram, was measured to take
        # as long as so many elementwise passes.
        screened = networks * screened + (400 + 20 * dimension) * points * self.device.element
        each = networks * costs.evaluation_seconds(hidden, dimension, GROUP, self.device, activation, GROUP) / GROUP
        return screened + self._searching(measurement, each) + self._proving(measurement, each)

    def _searching(self, measurement: Measurement, each: float) -> float:
        """Return the seconds of a search; an evaluation of error at one point takes `each`."""
        again = -(-int(AGAIN * measurement.starts) // GROUP)
        rounds = STEPS * (-(-measurement.starts // GROUP) + again)
        if measurement.ascent == "newton":  # a Hessian is a gradient for each axis
            rounds += newton.STEPS * (2 + measurement.dimension) * again
        looked_at = measurement.kinks * (1 + PROJECTIONS * GRADIENT_COST) + 5 * measurement.starts
        return rounds * (160 * self.device.launch + GRADIENT_COST * GROUP * each) + looked_at * each

    def _proving(self, measurement: Measurement, each: float) -> float:
        """Return the seconds that a proof usually takes: three times as many boxes for each dimension, from 2-D on."""
        if measurement.gap is None:
            return 0.0
        boxes = min(measurement.boxes, 100 if measurement.dimension == 1 else 1000 * 3 ** (measurement.dimension - 2))
        return 400 * self.device.launch + boxes * (10e-6 + 3 * (measurement.dimension + 4) * each)


def _hidden(cell: Cell) -> list[int]:
    """Return the hidden widths of a perceptron that costs what the cell's network does."""
    return hidden_like(cell.model, cell.dimension, cell.parameters)


def _activation(cell: Cell) -> str:
    return str(cell.model.get("activation", "tanh"))


def places_of(cell: Cell) -> tuple[int, int, str]:
    """Return samples, data seed and sampling, as `Network` takes them; 0 samples where only the training knew them."""
    lesson = lesson_of(cell)
    return 0 if lesson.resample else cell.samples, cell.data_seed, lesson.sampling


def _rows(cell: Cell) -> int:
    """Return what is fitted in each step of all: the samples, and points on the boundary where there is an equation."""
    return cell.samples + lesson_of(cell).boundary_points(cell.samples, cell.dimension)


def _general(cell: Cell) -> int:
    """Return 0 where there is a closed form, else how many signals of a point autograd carries."""
    signals = lesson_of(cell).signals(cell.dimension)
    return _EACH_SIGNAL * signals if signals > 1 else int(cell.model["name"] != "mlp")


def memory_of_rank() -> int:
    """Return the bytes that one rank may fill; a fifth is left for everything else."""
    return int(0.8 * devices.here().memory)
