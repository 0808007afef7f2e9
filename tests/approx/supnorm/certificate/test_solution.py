"""Bounds of errors of solutions that need no solution, against errors in 50 digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.models.operators import TWICE_DIFFERENTIABLE
from hpcsweep.approx.supnorm.certificate import solution
from hpcsweep.approx.supnorm.certificate.branching import Boxes, grid
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, Function, network
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import exact
from hpcsweep.approx.supnorm.certificate.enclosure.jets.jets import laplacian
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import ignored
from hpcsweep.approx.supnorm.certificate.solution import barrier, hidden, upper_bound
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.sampling import boundary, samples
from tests.approx.supnorm.certificate.exact import exactly, random_network

Domain = tuple[tuple[float, float], ...]
DOMAINS: dict[int, Domain] = {1: ((-1.0, 2.0),), 2: ((0.0, 1.0), (-1.0, 0.5)), 3: ((0.0, 1.0),) * 3}


def bump(x: Any) -> Any:
    return torch.exp(-(x * x).sum(dim=1)) + torch.sin(2.0 * x[:, 0])


def exact_bump(*point: mp.mpf) -> mp.mpf:
    return mp.exp(-mp.fsum(x * x for x in point)) + mp.sin(2 * point[0])


def trained(dimension: int, activation: str, width: int = 8, depth: int = 1) -> Dense:
    """Return a network whose last layer fits the bump on some points."""
    start = random_network(np.random.default_rng(width), dimension, [width] * depth, activation, scale=1.5)
    points = torch.from_numpy(samples(0, 40 * width, DOMAINS[dimension]))
    values = hidden(start, exact(points)).leading
    rows = torch.cat([values, torch.ones(len(points), 1).double()], 1)
    last = torch.linalg.lstsq(rows, bump(points)[:, None]).solution[:, 0]
    return replace(start, weights=(*start.weights[:-1], last[None, :-1]), biases=(*start.biases[:-1], last[-1:]))


def truth(dense: Dense, function: Callable[..., Any], formula: Callable[..., mp.mpf], domain: Domain) -> mp.mpf:
    """Return the largest error of many points and of some close to the worst of them, in 50 digits."""
    points = torch.from_numpy(np.concatenate([samples(5, 4000, domain), boundary(6, 2000, domain, False)]))
    low, high = torch.tensor(domain, dtype=torch.float64).T
    for scale in (0.05, 0.005):
        errors = (function(points) - dense(points)).abs()
        worst = points[errors.argmax()]
        near = worst + scale * (high - low) * (torch.from_numpy(samples(7, 500, ((-1.0, 1.0),) * len(domain))))
        points = torch.cat([worst[None], torch.clamp(near, low, high)])
    worst = points[(function(points) - dense(points)).abs().argmax()]
    place = [mp.mpf(x) for x in worst.tolist()]
    return abs(formula(*place) - exactly(dense, place))


@pytest.mark.parametrize("activation", TWICE_DIFFERENTIABLE)
@pytest.mark.parametrize("dimension", [1, 2])
def test_errors_are_bounded_closely(dimension: int, activation: str) -> None:
    dense, domain = trained(dimension, activation), DOMAINS[dimension]
    upper = upper_bound(bump, dense, domain, 4000)
    error = truth(dense, bump, exact_bump, domain)
    assert error <= upper <= 1.2 * error


@pytest.mark.parametrize(("dimension", "depth"), [(3, 1), (2, 2)])
def test_errors_of_deep_networks_and_in_three_dimensions(dimension: int, depth: int) -> None:
    dense, domain = trained(dimension, "tanh", depth=depth), DOMAINS[dimension]
    upper = upper_bound(bump, dense, domain, 1000)
    error = truth(dense, bump, exact_bump, domain)
    assert error <= upper <= 10 * error


def code(dense: Dense) -> Function:
    """Return a network as code that runs on everything."""
    return lambda x: dense(x) if isinstance(x, Tensor) else network(dense, x)


def without_correction(monkeypatch: pytest.MonkeyPatch, dense: Dense, error: Function, domain: Domain) -> float:
    """Return the bound of a network whose error is known, without anything fitted to it."""
    monkeypatch.setattr(solution, "_WAVES", (0,))
    return upper_bound(lambda x: code(dense)(x) + error(x), dense, domain, 2000)


def test_errors_on_the_boundary_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error 3 x + y has no Laplacian, and is 4 at a corner."""
    upper = without_correction(monkeypatch, trained(2, "tanh"), lambda x: 3.0 * x[:, 0] + x[:, 1], ((0.0, 1.0),) * 2)
    assert 4.0 <= upper <= 5.5


@pytest.mark.parametrize("end", [1.0, 3.0])
def test_the_bound_without_correction_is_sharp(end: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error 5 x (L - x), which is 0 on the boundary of [0, L] and has the Laplacian -10, is 5 L^2 / 4 at most."""
    upper = without_correction(
        monkeypatch, trained(1, "tanh"), lambda x: 5.0 * x[:, 0] * (end - x[:, 0]), ((0.0, end),)
    )
    assert 5 * end**2 / 4 <= upper <= 1.4 * 5 * end**2 / 4


def test_the_barrier() -> None:
    for domain in (((0.0, 1.0), (2.0, 5.0)), ((-0.1, 0.2),) * 2, ((1e-3, 1.0),)):
        side = min(mp.mpf(high) - mp.mpf(low) for low, high in domain)
        assert side**2 / 8 <= barrier(domain) <= side**2 / 8 * (1 + mp.mpf(10) ** -14)


class Blind(Difference):
    """A difference that is not seen to exceed anything."""

    def errors(self, centers: Tensor) -> Tensor:
        return torch.zeros_like(centers[:, 0])


SUPREMA: dict[str, tuple[Function, Boxes, float]] = {  # the error, where, and its supremum on [0, 1]^2
    "residual": (laplacian(lambda x: torch.sin(2.0 * x[:, 0])), grid(2, 2), 4.0),
    "boundary": (lambda x: torch.sin(2.0 * x[:, 0]) + x[:, 1], solution._faces(2), 2.0),
}


@pytest.mark.parametrize("name", SUPREMA)
def test_less_than_the_truth_is_never_proved(name: str) -> None:
    """Of what is tried to be proved, 1e-6 less is not, and 1e-6 more is."""
    error, where, supremum = SUPREMA[name]
    difference = Blind(error, lambda x: x[:, 0] * 0.0, ((0.0, 1.0),) * 2)
    for share, expected in ((1 - 1e-6, False), (1 + 1e-6, True)):
        tried = share * supremum
        proved = solution._supremum(difference, where, torch.zeros(1, 2).double(), tried, 0.0, 20_000)
        assert proved >= supremum and (proved <= tried) == expected


def test_bounds_need_their_rounding_terms() -> None:
    """Of a network that is the solution but for its last bit, nearly all of a bound is roundings."""
    dense = trained(2, "sin")
    off = replace(dense, biases=(*dense.biases[:-1], dense.biases[-1] * (1 + 2.0**-50)))

    def bound() -> float:
        return upper_bound(code(off), dense, DOMAINS[2], 500)

    with ignored():
        without = bound()
    assert float((off.biases[-1] - dense.biases[-1]).abs()) <= bound()
    assert without < bound()


@pytest.mark.parametrize("kind", ["network", "solution"])
def test_kinks_are_refused(kind: str) -> None:
    dense = trained(2, "relu" if kind == "network" else "tanh")
    with pytest.raises(NoEnclosure):
        upper_bound(bump if kind == "network" else lambda x: x.abs().sum(1), dense, DOMAINS[2], 100)


def test_stages_of_sums_are_refused() -> None:
    with pytest.raises(NoEnclosure, match="amplitude"):
        upper_bound(bump, replace(trained(2, "tanh"), amplitude=3.0), DOMAINS[2], 100)


def test_nothing_is_fitted_where_a_residual_is_no_number() -> None:
    """LAPACK ends with an error where it is given NaN."""
    correction = solution.fitted(lambda x: torch.log(x[:, 0] - 0.5), trained(1, "tanh"), DOMAINS[1], 64)
    assert not correction(torch.rand(5, 1).double()).any()


def test_a_domain_whose_barrier_is_no_float() -> None:
    assert barrier(((0.0, 1e-170), (0.0, 1.0))) > 0.0
    assert upper_bound(bump, trained(2, "tanh"), ((0.0, 1e-170), (0.0, 1.0)), 100) > 0.0


def test_many_dimensions_have_few_boxes() -> None:
    """Halved along each of 40 axes, a box has 10^12 parts."""
    dense, domain = random_network(np.random.default_rng(0), 40, [4], "tanh", scale=0.1), ((0.0, 0.1),) * 40
    upper = upper_bound(bump, dense, domain, 200)
    points = torch.from_numpy(samples(0, 1000, domain))
    assert float((bump(points) - dense(points)).abs().max()) <= upper < np.inf
