"""Multi-stage fits: networks trained one after another, each on what is left by the sum of those before it.

Wang and Lai, "Multi-stage neural networks: function approximator of machine precision" (arXiv 2307.08934); Michaud,
Liu and Tegmark, "Precision machine learning" (Entropy 25:175, 2023), who call it boosting. A later stage learns the
residual divided by its largest absolute value on the samples, which becomes its amplitude in the sum
(`hpcsweep.approx.models.Sum`); divided by its mean absolute value, as Michaud does, it ended 1.6 to 6 times higher on
his teacher and, where samples were scarce, was rejected more often. Residuals oscillate, so its first layer begins at a
higher frequency: several factors are tried, the candidates of all cells in one call.

Every stage lowers the loss on the samples, but not always the error between them: it may gain a decade at the one and
lose two at the other. So a stage is accepted only if the largest error on held-out points falls. Those are no samples,
but the target is evaluated there: a sum of networks has seen more values of it than it has samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.models import Sum, compiled
from hpcsweep.approx.training import loop
from hpcsweep.approx.training.record import joined
from hpcsweep.approx.training.settings import Trained
from hpcsweep.approx.training.strategies.journal import UNSAVED, Checkpoints, Journal
from hpcsweep.config import OptimizerConfig

FACTORS = (0.25, 0.5, 1.0)  # of the residual's frequency: where the candidates of a stage begin
_ASKED, _AT_ONCE = 512, 32  # points whose nearest neighbours are looked for, and how many of them at once


def together(stage: int) -> int:
    """Return how many networks train side by side for one cell in a stage, 1 the first."""
    return 1 if stage == 1 else len(FACTORS)


def trainings(stages: int) -> int:
    """Return how many networks are trained for one sum of `stages`."""
    return sum(map(together, range(1, stages + 1)))


def held_out(samples: int) -> int:
    """Return how many held-out points judge the stages of a fit to so many samples: 4 for each, in [4096, 65536].

    Between two samples, where the error hides, several must lie.
    """
    return min(max(4 * samples, 4096), 65536)


@dataclass(frozen=True)
class Data:
    """Values of the targets of some cells: places (cells, points, dimension), values (cells, points), both float64."""

    places: Tensor
    values: Tensor


@torch.no_grad()
def train(
    models: Sequence[Sum],
    parameters: Tensor,
    samples: Data,
    held_out: Data,
    settings: Sequence[OptimizerConfig],
    seeds: Sequence[int],
    weight_seeds: Sequence[int],
    stop: Callable[[], bool] = loop.never,
    checkpoints: Checkpoints = UNSAVED,
) -> Trained:
    """Train sums of networks of one shape, each cell as if it were alone.

    The first stage is the training of a plain network, with the same bits; the others follow one by one, all cells side
    by side. A rejected stage changes nothing but the message; the next one begins anew, from other initial weights.

    Parameters
    ----------
    models : one for each cell, of equal shape
    parameters : (cells, parameters), initial as from `Sum.init`; their dtype and device are those of the training.
        Residuals and the sums themselves are always evaluated in float64
    samples : what is fitted
    held_out : held-out points, by which stages are accepted
    settings : one for each cell, as in `training.train`, and the same for every stage. The loss tolerance is that of
        the sum; its seconds are shared by the stages, and those of a stage by its candidates
    seeds : of the minibatches, one for each cell; stages count on from it
    weight_seeds : from which the initial weights of later stages come (streams of their own, beyond 64 bits)
    stop : asked now and then; once it says True, all cells end as "interrupted"
    checkpoints : how to save; the states of a `Journal`, to go on from with the same other arguments

    Returns
    -------
    Trained : `parameters` in float64. A cell is "diverged" if its first stage was: then there is no other. It is "out
        of budget" if any stage in the sum was. `loss` and `mean_square` are those of the sum, `steps` counts the steps
        of the stages in it. Its history is theirs, one after the other, as losses of the sum, thinned out evenly to 64
        entries; step 0 of a later stage, the old sum spoilt by an untrained network, is left out
    """
    networks, shares = [model.network for model in models], [_adapted(one, 1 / models[0].stages) for one in settings]
    first = parameters[:, : networks[0].parameters]
    journal = Journal(stop, checkpoints)
    trained = journal.train(networks, first, samples.places, samples.values, shares, seeds)
    growth = _Growth(models, trained, samples, held_out, shares, seeds, weight_seeds, parameters.dtype)
    for stage in range(1, models[0].stages):
        growth.add(stage, journal)
    return replace(trained, parameters=growth.parameters)


def _adapted(settings: OptimizerConfig, share: float = 1.0, scale: float = 1.0) -> OptimizerConfig:
    """Return settings with a share of the seconds, for values divided by `scale`; of a chain all its parts too."""
    seconds = None if settings.seconds is None else settings.seconds * share
    parts = tuple(_adapted(part, share, scale) for part in settings.parts)
    return replace(settings, seconds=seconds, loss_tolerance=settings.loss_tolerance / scale**2, parts=parts)


class _Growth:
    """Sums while they grow: `parameters` (cells, parameters) float64, and `trained`, which is kept up to date."""

    def __init__(
        self,
        models: Sequence[Sum],
        trained: Trained,
        samples: Data,
        held_out: Data,
        settings: Sequence[OptimizerConfig],
        seeds: Sequence[int],
        weight_seeds: Sequence[int],
        dtype: torch.dtype,
    ) -> None:
        self.models, self.trained, self.samples, self.held_out = models, trained, samples, held_out
        self._settings, self._seeds, self._weight_seeds, self._dtype = settings, seeds, weight_seeds, dtype
        first = trained.parameters.double()
        self.parameters = first.new_zeros(len(models), models[0].parameters)
        self.parameters[:, : first.shape[1]] = first
        self._maxima = [self._held_out_maximum(cell, row) for cell, row in enumerate(self.parameters)]

    def add(self, stage: int, journal: Journal) -> None:
        """Train the candidates for a stage of all cells that are still in order, and choose among them."""
        cells = [i for i, outcome in enumerate(self.trained.outcome) if outcome in ("done", "out of budget")]
        if not cells:
            return
        residuals = torch.stack([self._errors(cell, self.parameters[cell], self.samples) for cell in cells])
        scales = residuals.abs().amax(dim=1)  # (cells,)
        scales = torch.where(scales > 0, scales, 1.0)
        scaled = residuals / scales.unsqueeze(1)  # (cells, samples)
        starts = torch.cat([self._starts(cell, stage, row) for cell, row in zip(cells, scaled, strict=True)])
        rows = [cell for cell in cells for _ in FACTORS]
        candidates = journal.train(
            [self.models[cell].network for cell in rows],
            starts,
            self.samples.places[rows],
            scaled.repeat_interleave(len(FACTORS), dim=0),
            [
                _adapted(self._settings[cell], 1 / len(FACTORS), float(scale))
                for cell, scale in zip(rows, scales.repeat_interleave(len(FACTORS)), strict=True)
            ],
            [self._seeds[cell] + number for cell in cells for number in _numbers(stage)],
        )
        for position, cell in enumerate(cells):
            own = range(position * len(FACTORS), (position + 1) * len(FACTORS))
            self.trained.seconds[cell] += candidates.seconds[own].sum()
            self._choose(cell, stage, float(scales[position]), candidates, own)

    def _starts(self, cell: int, stage: int, residual: Tensor) -> Tensor:
        """Return the initial parameters (candidates, network.parameters) of a stage for a residual (samples,)."""
        network = self.models[cell].network
        # The data, their order and the first stage use the lowest 64 bits of such seeds.
        starts = network.init([self._weight_seeds[cell] + (number << 64) for number in _numbers(stage)], self._dtype)
        starts = starts.to(residual.device)
        frequency_layers = [network.frequency_layer(start) for start in starts]
        if frequency_layers[0] is not None:
            wanted = frequency(network.standardised(self.samples.places[cell]), residual)
            for frequency_layer, factor in zip(frequency_layers, FACTORS, strict=True):
                assert frequency_layer is not None  # all are of one network
                frequency_layer.mul_(max(1.0, factor * wanted))
        return starts

    def _choose(self, cell: int, stage: int, scale: float, candidates: Trained, own: range) -> None:
        """Accept the best candidate of a cell, one of rows `own`, or none."""
        if any(candidates.outcome[row] == "interrupted" for row in own):
            self.trained.outcome[cell] = "interrupted"
            self.trained.message[cell] = f"Stopped in stage {stage + 1} of {self.models[cell].stages}."
            return
        sums = [self._with(cell, stage, scale, candidates.parameters[row]) for row in own]
        maxima = [self._held_out_maximum(cell, one) for one in sums]
        best = int(np.argmin(maxima))
        if not maxima[best] < self._maxima[cell]:  # also where one is NaN
            self._say(cell, _rejection(stage, maxima[best], self._maxima[cell]))
            return
        self.parameters[cell], self._maxima[cell] = sums[best], maxima[best]
        self._note(cell, scale, candidates, own[best])

    def _with(self, cell: int, stage: int, scale: float, candidate: Tensor) -> Tensor:
        """Return the sum of a cell (parameters,) with a candidate (network.parameters,) in it."""
        grown = self.parameters[cell].clone()
        self.models[cell].networks(grown)[stage] = candidate.double()
        self.models[cell].amplitudes(grown)[stage - 1] = scale
        return grown

    def _errors(self, cell: int, parameters: Tensor, data: Data) -> Tensor:
        """Return target minus sum at the points of a cell, (points,)."""
        return data.values[cell] - compiled.values(self.models[cell], parameters, data.places[cell])

    def _held_out_maximum(self, cell: int, parameters: Tensor) -> float:
        return float(self._errors(cell, parameters, self.held_out).abs().amax())

    def _note(self, cell: int, scale: float, candidates: Trained, row: int) -> None:
        """Write an accepted stage into the outcome, the loss and the history of the sum."""
        trained = self.trained
        if candidates.outcome[row] == "out of budget":
            trained.outcome[cell] = "out of budget"
            self._say(cell, candidates.message[row])
        trained.loss[cell] = candidates.loss[row] * scale**2  # every loss is of second degree
        trained.mean_square[cell] = float(self._errors(cell, self.parameters[cell], self.samples).square().mean())
        old, done = (trained.history_step[cell], trained.history_loss[cell]), int(trained.steps[cell])
        new = candidates.history_step[row], candidates.history_loss[row] * scale**2
        trained.history_step[cell], trained.history_loss[cell] = joined(old, new, done)
        trained.steps[cell] += candidates.steps[row]

    def _say(self, cell: int, sentence: str) -> None:
        self.trained.message[cell] = f"{self.trained.message[cell]} {sentence}".strip()


def _numbers(stage: int) -> range:
    """Return the numbers of the candidates of a later stage, 1 and up; 0 is the first stage."""
    start = 1 + (stage - 1) * len(FACTORS)
    return range(start, start + len(FACTORS))


def _rejection(stage: int, new: float, old: float) -> str:
    return f"Stage {stage + 1} was rejected: the held-out maximum would have gone from {old:.1e} to {new:.1e}."


def frequency(places: Tensor, values: Tensor) -> float:
    """Estimate the dominant angular frequency of a function from its values (points,) at places (points, dimension).

    In one dimension from the changes of sign between neighbours: a wave sin(w x) has w / pi of them per length. In more
    they would be too few to count, so that differences between nearest neighbours say it: w^2 is the mean square of the
    gradient over that of the function, which for a Gaussian process is the same (Rice 1944). What the samples do not
    resolve is not seen.
    """
    if places.shape[1] > 1:
        return _steepness(places, values)
    order = places[:, 0].argsort(stable=True)
    ordered, length = values[order], float(places[order[-1], 0] - places[order[0], 0])
    crossings = int((ordered[1:] * ordered[:-1] < 0).sum())
    return math.pi * crossings / length if length > 0 else 0.0


def _steepness(places: Tensor, values: Tensor) -> float:
    """Return the root mean square of the gradient over that of the function, by differences to nearest neighbours."""
    distances, changes = places.new_zeros(()), places.new_zeros(())  # sums of squares
    asked = places[:_ASKED]
    for start in range(0, len(asked), _AT_ONCE):  # a block at a time, for its distances to all points take memory
        some = asked[start : start + _AT_ONCE]
        apart = torch.cdist(some, places, compute_mode="donot_use_mm_for_euclid_dist")  # (block, points)
        own = torch.arange(start, start + len(some), device=places.device)
        apart[own - start, own] = math.inf
        nearest = apart.min(dim=1)
        distances += nearest.values.square().sum()
        changes += (values[own] - values[nearest.indices]).square().sum()
    # The difference to a neighbour in any direction meets one of the gradient's `dimension` parts.
    square = places.shape[1] * float(changes / distances / values[:_ASKED].square().mean())
    return math.sqrt(square) if 0 < square < math.inf else 0.0
