"""Networks seen from within -> where they bend: points on the zero sets of neurons, and all breakpoints of a line.

A thin slab that no point set hits is the work of one or two neurons; a point moved onto the zero set of a neuron lands
in it however thin it is. For a smooth activation that is the middle of its transition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.points.counter import random_bits
from hpcsweep.approx.supnorm.points.pointset import Domain
from hpcsweep.approx.supnorm.search.climbers import Box
from hpcsweep.approx.supnorm.search.starts import spread

PROJECTIONS = 2  # Newton steps of each point, at most the cost of as many gradients of the networks
_NEURONS = -(3 << 32)  # where the hash that chooses them begins
_TILE = 4096  # points at a time
_NEAR = 2.0**-49  # breakpoints nearer than this, relative to the ends of the line, are one


def kink_points(terms: Sequence[Dense], count: int, seed: int, domain: Domain) -> Tensor:
    """Return points on, or near, the zero sets of random neurons of all hidden layers of all networks.

    Each begins at a point of its own, spread over the domain, and does two Newton steps along the gradient of its
    neuron. On a ReLU network of one variable all breakpoints, and the middles between them, come first.

    Returns
    -------
    Tensor: (count, dimension) float64, within the domain; (0, dimension) where no network has a hidden layer.
    """
    layers = [(term, layer) for term in terms for layer in range(len(term.weights) - 1)]
    if not layers or count < 1:
        return torch.empty(0, len(domain), dtype=torch.float64)
    exact = _on_the_line(terms, domain)[:count]
    count -= len(exact)
    device = terms[0].weights[0].device
    owners, neurons = _chosen(tuple(len(term.biases[layer]) for term, layer in layers), count, seed)
    places = spread(domain, count, seed)[:count].to(device)
    for owner, (term, layer) in enumerate(layers):
        for rows in (owners == owner).nonzero()[:, 0].split(_TILE):
            box = Box.of(domain, places.device)
            places[rows] = project(term, layer, neurons[rows].to(device), places[rows], box)
    return torch.cat([exact.to(device), places])


def project(dense: Dense, layer: int, neurons: Tensor, places: Tensor, box: Box) -> Tensor:
    """Move places (places, dimension) towards the zero set of one neuron of a hidden layer each: neurons (places,).

    Newton's step for one equation goes along its gradient, here in half sides of the box. It stays in the box, and
    the next one leaves alone what is held at a bound.
    """
    for _ in range(PROJECTIONS):
        values, gradient = _with_gradient(dense, layer, neurons, places)
        values = _residual(dense.activation, values)[:, None]
        slopes = gradient * box.half
        slopes = torch.where(box.free(places, -values * slopes), slopes, 0.0)
        square = slopes.square().sum(1, keepdim=True)
        steps = torch.where(square > 0, values / square * slopes, 0.0)
        places = box.clamp(places - box.half * torch.where(steps.isfinite(), steps, 0.0))
    return places


def _with_gradient(dense: Dense, layer: int, neurons: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return what enters one neuron each at places (places, dimension), (places,), and its gradients."""
    if layer == 0:
        rows = dense.weights[0][neurons]
        entering = next(dense.preactivations(places)).gather(1, neurons[:, None])[:, 0]
        return entering, rows if dense.factor is None else rows * dense.factor
    with torch.enable_grad():
        variable = places.detach().clone().requires_grad_()
        entering = next(islice(dense.preactivations(variable), layer, None))  # (places, neurons of the layer)
        values = entering.gather(1, neurons[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(values.sum(), variable)
    return values.detach(), gradient


def breakpoints(dense: Dense, low: float, high: float) -> tuple[Tensor, int]:
    """Return where a ReLU network of one variable bends between `low` and `high`, and its number of linear pieces.

    Layer by layer: what enters a layer is linear between the breakpoints of those before it, so that its zeros follow
    from its values there. Exact up to rounding; points within 2e-15 of the line's size are one, and where the slope
    is the same on both sides, up to rounding, nothing bends.

    Returns
    -------
    Tensor, int: sorted, float64, (breakpoints,), strictly between the ends; the number of pieces is one more, or -1
        where NaN or overflow leave it unknown: then the points are all that may be breakpoints.

    Raises
    ------
    ValueError: if the network has another activation or more than one input.
    """
    if dense.activation != "relu" or dense.dimension != 1:
        raise ValueError("only ReLU networks of one variable are piecewise linear on a line")
    line = dense.biases[0].new_tensor([low, high])
    for layer in range(len(dense.weights) - 1):
        entering = next(islice(dense.preactivations(line[:, None]), layer, None))  # (points, neurons)
        left, right = entering[:-1], entering[1:]
        piece, neuron = (left.sign() * right.sign() < 0).nonzero(as_tuple=True)
        share = left[piece, neuron] / (left[piece, neuron] - right[piece, neuron])
        line = _distinct(torch.cat([line, line[piece] + share * (line[piece + 1] - line[piece])]))
    slopes, noise = _slopes(dense, line[:-1] / 2 + line[1:] / 2)
    bends = ~(slopes.diff().abs() <= noise[:-1] + noise[1:]) | ~noise[1:].isfinite()
    known = bool((slopes.abs() + noise).isfinite().all())
    return line[1:-1][bends], int(bends.sum()) + 1 if known else -1


def _on_the_line(terms: Sequence[Dense], domain: Domain) -> Tensor:
    """Return all breakpoints and the middles between them, (points, 1); none where there is no exact line."""
    if len(domain) != 1 or any(term.activation != "relu" for term in terms):
        return torch.empty(0, len(domain), dtype=torch.float64)
    bends = [breakpoints(term, *domain[0])[0] for term in terms]
    line = torch.cat([*bends, bends[0].new_tensor(domain[0])]).sort().values
    return torch.cat([line, line[:-1] / 2 + line[1:] / 2])[:, None]


@lru_cache(16)
def _chosen(widths: tuple[int, ...], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return a random neuron for each of `count` points: numbers of the layer and within it, (count,) each."""
    ends = torch.tensor(widths).cumsum(0)
    drawn = random_bits(seed, _NEURONS - torch.arange(count), 1)[:, 0] % ends[-1]
    owners = torch.searchsorted(ends, drawn, right=True)
    return owners, drawn - (ends - torch.tensor(widths))[owners]


def _residual(activation: str, values: Tensor) -> Tensor:
    """Return how far what enters an activation is from the middle of the nearest transition; a sine has many."""
    return values - math.pi * torch.round(values / math.pi) if activation == "sin" else values


def _distinct(line: Tensor) -> Tensor:
    """Sort points (points,); of those that rounding alone sets apart keep one, and both ends."""
    line = line.sort().values
    near = _NEAR * float(line[[0, -1]].abs().max())
    inner = line[1:-1]
    keep = (inner - line[:-2] > near) & (line[-1] - inner > near)
    return torch.cat([line[:1], inner[keep], line[-1:]])


def _slopes(dense: Dense, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivative of a ReLU network at places (places,), and how large its rounding errors can be."""
    rate = places.new_ones(len(places), 1) if dense.factor is None else dense.factor.expand(len(places), 1)
    size, terms = rate.abs(), 0
    for weight, entering in zip(dense.weights, dense.preactivations(places[:, None]), strict=True):
        last = weight is dense.weights[-1]
        alive = torch.ones_like(entering) if last else (entering > 0).to(entering)
        rate, size = (rate @ weight.T) * alive, (size @ weight.abs().T) * alive
        terms += weight.shape[1] + 2
    scale = abs(dense.amplitude)
    return dense.amplitude * rate[:, 0], scale * size[:, 0] * terms * 2.0**-53
