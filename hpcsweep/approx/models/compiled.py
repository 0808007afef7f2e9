"""Networks on processors as functions of points alone: values, and slopes for climbs, by compiled loops.

The value at a point has the same bits whatever other points are asked for, in whatever order; `Model.apply` promises
that of no processor's products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.evaluation import Frozen
from hpcsweep.approx.kernels.problem import Shape
from hpcsweep.approx.models.layered import Layered
from hpcsweep.approx.models.layers import ACTIVATIONS
from hpcsweep.approx.models.model import Model
from hpcsweep.approx.models.residual import Residual
from hpcsweep.approx.models.sums import Sum

Arrays = tuple[np.ndarray, ...]

_SHARED = 1 << 24  # multiplications of a call: from here on threads pay, where there are several


class Term(NamedTuple):
    """One network of a sum."""

    network: Frozen
    amplitude: float


def term(network: Layered, parameters: Tensor, amplitude: float) -> Term:
    """Return a network of a sum from its flat vector (parameters,), which says the precision."""
    maps = torch.zeros(network.dimension), torch.ones(network.dimension)
    if network.shift is not None and network.factor is not None:
        maps = network.shift, network.factor
    shape = Shape(tuple(network.widths), ACTIVATIONS.index(network.activation), isinstance(network, Residual))
    return Term(Frozen(shape, parameters.contiguous().numpy(), torch.stack(maps).to(parameters).numpy()), amplitude)


@final
class Compiled:
    """A sum of networks as a function of points: (points, dimension) -> (points,), both float64; threads may share it.

    Points are rounded to the precision of the networks, and values made float64 before they are added: in float32,
    errors are those of the network as it would be deployed.

    Parameters
    ----------
    terms: the networks, all of one precision.
    twin: the same function in torch's operations, for points that require gradients and for boxes of a proof.
    """

    def __init__(self, terms: Sequence[Term], twin: Callable[[Any], Any]) -> None:
        self._terms, self._twin = tuple(terms), twin
        self._dtype = terms[0].network.point.dtype
        self._products = sum(len(term.network.point) for term in terms)  # at a point

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points of any number; quickest if they lie in memory axis by axis."""
        if not isinstance(points, Tensor) or (points.requires_grad and torch.is_grad_enabled()):
            return self._twin(points)
        return self._evaluated(points, _values)[0]

    def with_slopes(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and their derivatives by the coordinates (points, dimension)."""
        value, slopes = self._evaluated(points, Frozen.values_and_slopes)
        return value, slopes

    def _evaluated(self, points: Tensor, evaluate: Callable[[Frozen, np.ndarray], Arrays]) -> list[Tensor]:
        source, threads = points.detach().numpy().T, torch.get_num_threads()
        whole = partial(self._sum, evaluate)
        if threads == 1 or self._products * len(points) < _SHARED:
            return [torch.from_numpy(array) for array in whole(source)]
        with ThreadPoolExecutor(threads) as pool:
            parts = pool.map(whole, np.array_split(source, threads, axis=1))
            return [torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True)]

    def _sum(self, evaluate: Callable[[Frozen, np.ndarray], Arrays], source: np.ndarray) -> Arrays:
        source = np.ascontiguousarray(source, dtype=self._dtype)  # once for all terms
        terms = [[_scaled(array, factor) for array in evaluate(network, source)] for network, factor in self._terms]
        return tuple(reduce(np.add, arrays) for arrays in zip(*terms, strict=True))


def _values(network: Frozen, source: np.ndarray) -> Arrays:
    return (network.values(source),)


def _scaled(array: np.ndarray, amplitude: float) -> np.ndarray:
    array = array.astype(np.float64, copy=False)
    return array if amplitude == 1.0 else array * amplitude


def compiled(model: Model, parameters: Tensor) -> Compiled | None:
    """Return a model with its parameters (parameters,) as such a function; None of others, and on devices."""
    if parameters.device.type != "cpu" or not isinstance(model, Layered | Sum):
        return None
    network: Model = model
    rows, amplitudes = parameters[None].detach(), [1.0]
    if isinstance(model, Sum):
        network, rows = model.network, model.networks(rows[0])
        amplitudes += model.amplitudes(parameters).tolist()
    if not isinstance(network, Layered):
        return None
    terms = [
        term(network, row, amplitude)
        for row, amplitude in zip(rows, amplitudes, strict=True)
        if amplitude  # a stage that was not trained, or rejected, has amplitude 0
    ]
    return Compiled(terms, partial(model.apply, parameters))


def values(model: Model, parameters: Tensor, points: Tensor) -> Tensor:
    """Return `model.apply(parameters, points)` without gradients; compiled where that is known, to rounding equal."""
    function = compiled(model, parameters)
    with torch.no_grad():
        return model.apply(parameters, points) if function is None else function(points).to(parameters)
