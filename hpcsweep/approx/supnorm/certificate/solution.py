"""Upper bounds of the error of a network that solves Poisson's equation, proved without the solution.

Let -Laplace u = f in an open box and u = g on its boundary, with f continuous and u twice continuously differentiable
inside and continuous up to the boundary. For every function e with the smoothness of u, the maximum principle says

    sup |e| <= max of |e| on the boundary + (L^2 / 8) sup |Laplace e|

with the shortest side L of the box: with F = sup |Laplace e| and the barrier F x (L - x) / 2 between the two faces at
this distance, barrier + max |e| +- e is superharmonic, and not negative on the boundary (Gilbarg and Trudinger,
Elliptic Partial Differential Equations of Second Order, 2nd ed., Theorems 3.1 and 3.7).

Of the error e = u - v of a network v both terms are known without u: Laplace e = -f - Laplace v, and e = g - v on the
boundary. But that is a poor bound, because residuals oscillate. So a correction w is fitted to both, a sum of waves and
of the network's last hidden neurons, and the principle is applied to what is left:

    sup |u - v| <= sup |w| + max of |u - v - w| on the boundary + (L^2 / 8) sup |Laplace (u - v - w)|.

That holds for every w; a good one makes the last two terms small and the bound close. Each of the three suprema is
proved by branch and bound, as closely as it matters to the sum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep import sampling
from hpcsweep.approx.supnorm import points
from hpcsweep.approx.supnorm.certificate import certify
from hpcsweep.approx.supnorm.certificate.branching import WHOLE, Boxes, grid
from hpcsweep.approx.supnorm.certificate.enclosure.affine import NoEnclosure, apply
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import doubted
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, Domain, Function
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import exact
from hpcsweep.approx.supnorm.certificate.enclosure.jets.jets import jet, laplacian
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.certificate.methods import Methods
from hpcsweep.approx.supnorm.dense import Dense

_WAVES = (0, 64, 256, 512)  # of corrections that are tried, a sine and a cosine each
_FEW = 6  # dimensions with waves enough
_PERIOD = 1.5  # of the longest wave, in sides of the domain: opposite faces are not forced to have equal values
_POINTS = 6  # inside the domain for each number that is fitted, and a quarter as many on its boundary
_CUT, _IDLE = 1e-13, 1e-6  # shares of the largest singular value, and norm of a column, below which others say nothing
_LEFT = 0.05  # share of the height of a correction up to which it does not matter what is left
_GAP, _LOOSE = 0.02, 0.25  # to which the height, and what is left, are proved
_SEEN, _HELD_OUT = 1024, 1  # points at which suprema are seen before they are proved, and the seed of them


@dataclass(frozen=True, eq=False)
class Correction:
    """w: other weights of the last layer of a network, and waves.

    Parameters
    ----------
    network: v
    neurons: the same network with these weights in its last layer
    waves: a network of one hidden layer of sines
    """

    network: Dense
    neurons: Dense
    waves: Dense

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values (points,) at points (points, dimension)."""
        return self.neurons(points) + self.waves(points)

    def of_waves(self) -> tuple[Dense, float]:
        """Return the Laplacian of the waves, as a network, and a bound of its distance to that."""
        rates, heights = self.waves.weights
        sizes = rates.square().sum(1)
        # a square each, their sum, a product: d + 1 roundings of each height; more than that many in adding them up
        slack = float((heights.abs() * sizes).sum()) * gamma(len(rates) + 2 * rates.shape[1] + 8)
        return replace(self.waves, weights=(rates, -heights * sizes)), slack

    def without_waves(self, solution: Function) -> Callable[[Any], Any]:
        """Return u - v - w but for the waves, as a function that runs on jets of points."""
        both = (self.network.weights[-1] + self.neurons.weights[-1])[0]  # one rounding each
        bias = (self.network.biases[-1] + self.neurons.biases[-1])[0]  # no derivatives

        def error(points: Any) -> Any:
            return solution(points) - (doubted(hidden(self.network, points) * both, 1).sum(1) + bias)

        return error


def upper_bound(solution: Function, network: Dense, domain: Domain, boxes: int) -> float:
    """Return a proved upper bound of sup |solution - network| on a box, infinite where none is found.

    Of the solution only its Laplacian in the box is used, and its values on the boundary.

    Parameters
    ----------
    solution: (points, dimension) -> (points,), of torch operations that have rules; twice continuously differentiable.
    boxes: of each of the three proofs, at most.

    Raises
    ------
    NoEnclosure: where an operation of either has no rule, or no derivatives; of a stage of a sum.
    """
    if network.amplitude != 1.0:
        raise NoEnclosure("the Laplacian of a network with an amplitude")
    dimension, constant = len(domain), barrier(domain)
    correction, size = _best(solution, network, domain, constant)
    waves, slack = correction.of_waves()
    parts = (correction.neurons, correction.waves)
    inside, edge = _seen(((-1.0, 1.0),) * dimension)

    def on_edge(points: Tensor) -> Tensor:
        return network(points) + correction(points)

    height = Difference(_zero, correction, domain, parts)
    mismatch = Difference(solution, on_edge, domain, (network, *parts))
    residual = Difference(laplacian(correction.without_waves(solution)), waves, domain, (waves,))
    everything, slightly = grid(dimension, 2 if 2**dimension <= boxes else 1), _LEFT * size
    total = _supremum(height, everything, inside, 0.0, _GAP, boxes)
    total += _supremum(mismatch, _faces(dimension), edge, slightly, _LOOSE, boxes)
    more = max(0, 5 - dimension)  # of second derivatives that cancel, Taylor models of higher orders pay
    rest = _supremum(residual, everything, inside, slightly / constant, _LOOSE, boxes, more)
    total += constant * (rest + slack)
    return total * (1 + gamma(8))


def barrier(domain: Domain) -> float:
    """Return L^2 / 8 of the shortest side L, rounded up, and never to 0."""
    side = min(high - low for low, high in domain)
    return side * side / 8 * (1 + gamma(4)) + TINY


def _zero(points: Any) -> Any:
    return points[:, 0] * 0.0


def _supremum(
    difference: Difference, boxes: Boxes, points: Tensor, enough: float, gap: float, permitted: int, more: int = 0
) -> float:
    """Return an upper bound of |difference| on boxes: (1 + gap) times the supremum, or `enough`, if that is more.

    `points`: unit points (points, dimension) of these boxes, at which a supremum is seen. `more`: see `Methods`.
    """
    errors = difference.errors(points)
    best = int(errors.argmax())
    where = tuple(difference.places(points[best : best + 1])[0].tolist())
    # the level of a pool: not the lower bound that it is elsewhere, and of what is proved it says nothing
    pool = certify.Pool(boxes, 0.0, 0.0, 0.0, max(float(errors[best]), enough), where)
    return certify.advance(difference, pool, gap, permitted, methods=Methods(difference, more)).bracket.upper


def _faces(dimension: int) -> Boxes:
    """Return the faces of the unit cube as boxes of no width."""
    low, high = np.full((2 * dimension, dimension), -1.0), np.full((2 * dimension, dimension), 1.0)
    axes = np.arange(dimension)
    high[2 * axes, axes], low[2 * axes + 1, axes] = -1.0, 1.0
    return Boxes(low, high, np.full((2 * dimension, 2), np.inf), np.full(2 * dimension, WHOLE, dtype=np.int8))


def _seen(domain: Domain) -> tuple[Tensor, Tensor]:
    """Return points of a box, and of its boundary, (points, dimension) each."""
    return (
        torch.from_numpy(sampling.samples(_HELD_OUT, _SEEN, domain)),
        torch.from_numpy(sampling.boundary(_HELD_OUT, _SEEN, domain, False)),
    )


def _best(solution: Function, network: Dense, domain: Domain, constant: float) -> tuple[Correction, float]:
    """Return the best of several corrections, and about what bound it will give."""
    inside, edge = _seen(domain)
    best, least = None, math.inf
    for count in _WAVES if len(domain) <= _FEW else _WAVES[:1]:
        correction = fitted(solution, network, domain, count) if count else _nothing(network)
        height = float(torch.cat([correction(inside), correction(edge)]).abs().max())
        waves, slack = correction.of_waves()
        residual = laplacian(correction.without_waves(solution))(inside) - waves(inside)
        mismatch = solution(edge) - network(edge) - correction(edge)
        left = float(mismatch.abs().max()) + constant * (float(residual.abs().max()) + slack)
        if best is None or height + left < least:
            best, least = correction, height + left
        if left <= _LEFT * height or not math.isfinite(left):
            break
    assert best is not None
    return best, least


def _nothing(network: Dense) -> Correction:
    """Return the correction 0."""
    return _correction(network, torch.zeros(1, network.dimension).double(), torch.zeros(1), torch.zeros(1))


def _correction(network: Dense, rates: Tensor, phases: Tensor, heights: Tensor) -> Correction:
    """Return the waves (heights, dimension), (heights,) with their heights, then those of the neurons and of 1."""
    own = heights.new_zeros(network.weights[-1].shape[1] + 1)
    own[: len(heights) - len(phases)] = heights[len(phases) :]
    last, bias = own[None, :-1].contiguous().double(), own[-1:].double()
    neurons = replace(network, weights=(*network.weights[:-1], last), biases=(*network.biases[:-1], bias))
    waves = heights[None, : len(phases)].contiguous().double()
    return Correction(network, neurons, Dense((rates, waves), (phases.double(), torch.zeros(1).double()), "sin"))


def fitted(solution: Function, network: Dense, domain: Domain, count: int) -> Correction:
    """Return the correction with so many waves that leaves the least squares of residual and values on the boundary."""
    dimension, width = len(domain), network.weights[-1].shape[1]
    rates, phases = _waves(domain, count)
    number = _POINTS * (2 * count + width)
    unit = ((0.0, 1.0),) * dimension
    shares = points.make("sobol", dimension, number, 0, unit)(0, number)
    inside = _clustered(shares, domain)
    edge = _clustered(torch.from_numpy(sampling.boundary(0, number // 4, unit, False)), domain)
    sizes, constant = rates.square().sum(1), barrier(domain)
    bent = hidden(network, jet(exact(inside))).laplacian.leading
    curved = torch.cat([torch.sin(inside @ rates.T + phases) * -sizes, bent, torch.zeros(number, 1).double()], 1)
    values = hidden(network, exact(edge)).leading
    valued = torch.cat([torch.sin(edge @ rates.T + phases), values, torch.ones(len(edge), 1).double()], 1)
    matrix = torch.cat([curved * constant, valued])
    error = _nothing(network).without_waves(solution)
    right = torch.cat([laplacian(error)(inside) * constant, error(exact(edge)).leading])
    if not bool(matrix.isfinite().all() and right.isfinite().all()):  # LAPACK takes no others
        return _nothing(network)
    norms = matrix.norm(dim=0)
    idle = norms <= _IDLE * norms.max()
    matrix = (matrix / norms).masked_fill(idle, 0.0)
    found = torch.linalg.lstsq(matrix, right[:, None], rcond=_CUT, driver="gelsd").solution[:, 0]
    return _correction(network, rates, phases, (found / norms).masked_fill(idle, 0.0))


def hidden(network: Dense, points: Any) -> Any:
    """Return what the last hidden layer gives, (points, width), of enclosed points or jets."""
    signal = network.standardised(points)
    for weight, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        signal = apply(network.activation, apply("linear", signal, weight, bias))
    return signal


def _waves(domain: Domain, count: int) -> tuple[Tensor, Tensor]:
    """Return rates (2 count, dimension) and phases (2 count,) of the `count` longest waves, sines and then cosines."""
    dimension, reach = len(domain), 1
    while (2 * reach + 1) ** dimension < 8 * count:
        reach += 1
    whole = itertools.product(range(-reach, reach + 1), repeat=dimension)
    lattice = sorted((n for n in whole if n > (0,) * dimension), key=lambda n: (sum(k * k for k in n), n))[:count]
    low, high = torch.tensor([tuple(side) for side in domain], dtype=torch.float64).T
    rates = torch.tensor(lattice, dtype=torch.float64) * (2 * math.pi / _PERIOD) / (high - low)
    phases = -(rates @ ((low + high) / 2))
    return torch.cat([rates, rates]), torch.cat([phases, phases + math.pi / 2])


def _clustered(shares: Tensor, domain: Domain) -> Tensor:
    """Return points of a box that are closer to each other at its faces, as those of Chebyshev; (points, dimension)."""
    low, high = torch.tensor([tuple(side) for side in domain], dtype=torch.float64).T
    return torch.clamp(low + (high - low) * torch.sin(shares * (math.pi / 2)).square(), low, high)
