"""What methods have in common that solve for the last layer of one network.

Random features and variable projection (`optimizers.least_squares`, `optimizers.variable_projection`). Decompositions
are LAPACK's, by torch, whose threads are under control.
"""

from __future__ import annotations

import numpy as np

from hpcsweep.approx.kernels import iteration
from hpcsweep.approx.kernels.residuals import COLUMNS, places, residuals
from hpcsweep.approx.training.single.methods import Start, Stepwise


class LastLayerMethod(Stepwise):
    """What they have in common: the last layer, its inputs, and values."""

    def __init__(self, start: Start, numbers: int = iteration.OWN) -> None:
        super().__init__(start, numbers)
        network, problem = start.network, start.problem
        self._width = network.widths[-2] + 1
        self._last = slice(network.parameters - self._width, network.parameters)
        self._residuals = residuals[start.dtype]
        self._at = places(network.parameters, problem.samples, start.lanes)
        self._out = np.zeros(int(self._at[COLUMNS]), dtype=start.dtype)
        self._values = problem.values

    def _evaluate(self) -> float:
        return self._loss(self.state.point)

    def _loss(self, point: np.ndarray) -> float:
        """Return the mean square, and leave the inputs of the last layer in the work."""
        return self._residuals(point, self._out, 0, *self.problem.arrays)

    def _features(self, point: np.ndarray) -> np.ndarray:
        """Return the inputs of the last layer (width, samples), ones last."""
        self._loss(point)
        return self.problem.signals(len(self.network.widths) - 2, self._width).copy()
