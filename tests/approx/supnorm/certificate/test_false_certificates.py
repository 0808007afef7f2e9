"""What a certificate says is true: against dense sampling, with bounds that are older and tighter, and beside NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.supnorm import survey as surveys
from hpcsweep.approx.supnorm.approximations import Approximation, ErrorFunction
from hpcsweep.approx.supnorm.certificate.branching import WHOLE, Boxes, bound
from hpcsweep.approx.supnorm.certificate.certify import Pool
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, UpperBound
from hpcsweep.approx.supnorm.measurement import Measurement
from hpcsweep.approx.supnorm.tasks import Proof
from hpcsweep.bracket import Bracket
from tests.approx.supnorm.certificate.errors import line, measured, of, proved, smooth
from tests.approx.supnorm.certificate.exact import random_network

ALONE = Measurement(("sobol",), 64, 64, 0, 1, gap=0.01, boxes=5000)  # the proof is all there is


# Cutting with bounds of two ages


class Tilted:
    """The error 1 everywhere, bounded by 1.5 + u / 2."""

    def upper_bounds(
        self, centers: Tensor, radii: Tensor, above: slice, below: slice, level: float = math.inf
    ) -> tuple[UpperBound, UpperBound]:
        zero = torch.zeros_like(centers[:, 0])
        up, down = UpperBound(1.5 + 0.5 * centers[:, 0], 0.5 * radii, zero), UpperBound(zero - 1.0, 0.0 * radii, zero)
        return (
            UpperBound(up.center[above], up.slopes[above], up.noise[above]),
            UpperBound(down.center[below], down.slopes[below], down.noise[below]),
        )

    def errors(self, centers: Tensor) -> Tensor:
        return torch.full_like(centers[:, 0], 0.5)


@pytest.mark.parametrize("older", [math.inf, 1.6, 1.0])
def test_a_cut_is_that_of_the_new_bound_whatever_is_known_besides(older: float) -> None:
    boxes = Boxes(np.array([[-1.0]]), np.array([[1.0]]), np.array([[older, 0.0]]), np.array([WHOLE], np.int8))
    left = bound(Tilted(), boxes, 0.9).boxes
    assert (left.low, left.high, left.bounds[0, 0]) == (-1.0, 1.0, min(older, 2.0))
    left = bound(Tilted(), boxes, 0.999 * older if older <= 1 else 1.5).boxes
    assert len(left) == 1 and float(left.low[0, 0]) <= (-1.0 if older <= 1 else 0.0)


@pytest.mark.parametrize(("dimension", "activation"), [(1, "sin"), (2, "relu"), (3, "tanh")])
def test_nothing_above_the_level_is_cut_off_beside_older_bounds(dimension: int, activation: str) -> None:
    generator = np.random.default_rng(dimension)
    network = random_network(generator, dimension, [10, 10], activation, scale=2.0)
    difference = of(network, smooth, line(dimension))
    centers = torch.from_numpy(generator.uniform(-0.7, 0.7, (60, dimension)))
    units = generator.uniform(-1, 1, (400, 1, dimension))
    units[:1], units[1:100] = 0.0, np.sign(units[1:100])  # where a round looks too: the center and the corners
    units = torch.from_numpy(units)
    errors = difference.signed((centers + 0.3 * units).view(-1, dimension)).view(400, 60)
    # as tight as they may be: nothing above them was sampled, nor lies between the samples
    truth = np.stack([errors.amax(0), errors.neg().amax(0)], 1) + 1e-9
    low, high = centers.numpy() - 0.3, centers.numpy() + 0.3
    lost = 0
    for box in range(60):
        level = 0.8 * float(truth[box].max())
        one = Boxes(low[[box]], high[[box]], truth[[box]].copy(), np.array([WHOLE], np.int8))
        left = bound(difference, one, level).boxes
        assert len(left) == 1
        points = (centers[box] + 0.3 * units[:, 0])[errors[:, box].abs() > level].numpy()
        lost += int((~((points >= left.low) & (points <= left.high)).all(1)).sum())
    assert lost == 0


def test_certificates_of_sums_of_sines_without_a_lower_bound() -> None:
    generator = np.random.default_rng(0)
    points = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[:, None]
    closed, wrong = 0, []
    for trial in range(120):
        rates, phases, sizes = generator.uniform(20, (420, 170, 80)), generator.uniform(0, 6, 3), generator.random(3)

        def waves(
            x: Tensor, rates: np.ndarray = rates, phases: np.ndarray = phases, sizes: np.ndarray = sizes
        ) -> Tensor:
            return sum(
                size * torch.sin(rate * x[:, 0] + phase) for rate, phase, size in zip(rates, phases, sizes, strict=True)
            )

        pool = proved(Difference(waves, lambda x: 0 * x[:, 0], line(1)), 1, boxes=20_000)
        closed += pool.status == "closed"
        if float(waves(points).abs().max()) > pool.bracket.upper:
            wrong.append(trial)
    assert closed > 110 and wrong == []


# Errors that are no numbers


@pytest.mark.parametrize(
    "target",
    [
        lambda x: torch.sqrt(torch.abs(x[:, 0] - 0.3) - 1e-6),
        lambda x: torch.log(torch.abs(x[:, 0] - 0.3) - 1e-6) * 0.01,
        lambda x: torch.arcsin(x[:, 0] * 1.001),
        lambda x: torch.arccos(1.0 + torch.relu(x[:, 0] - 0.9)),
        lambda x: torch.linalg.vector_norm(torch.sqrt(x - 0.2), dim=1),
        lambda x: torch.where(torch.sin(torch.sqrt(x[:, 0])) < 2.0, 0.5, 1.0) + torch.sqrt(x[:, 0]),
    ],
)
def test_what_is_nan_on_an_open_set_is_never_closed(target: Callable[[Tensor], Tensor]) -> None:
    """Nor is a box wholly outside the domain bounded."""
    pool = proved(Difference(target, lambda x: 0 * x[:, 0], line(1)), 1, lower=0.1, boxes=5000)
    assert pool.status != "closed" and pool.bracket.upper == math.inf


def test_a_comparison_with_what_may_be_nan_is_not_decided() -> None:
    def target(x: Tensor) -> Tensor:
        return torch.where(torch.sin(torch.sqrt(x[:, 0] - 2.0)) < 2.0, 0.25, 1.0)  # NaN < 2 is false: 1

    pool = proved(Difference(target, lambda x: 0 * x[:, 0], line(1)), 1)
    assert pool.bracket.upper >= 1.0
    for compare in (torch.le, torch.lt, torch.ge, torch.gt, lambda x, nan: ~torch.le(x, nan)):
        against = Difference(lambda x, by=compare: torch.where(by(x[:, 0], torch.nan), 0.25, 1.0), smooth, line(1))
        centers = torch.linspace(-0.9, 0.9, 19, dtype=torch.float64)[:, None]
        assert bool((against.bounds(centers, torch.full_like(centers, 0.1)) >= against.errors(centers)).all())


@pytest.mark.parametrize(
    "slab",
    [
        lambda inside, always: 1.0 * (inside == always),
        lambda inside, always: 1.0 - (inside != always) * 1.0,
        lambda inside, always: torch.where(inside == always, 1.0, 0.0),
        lambda inside, always: torch.where(torch.ne(inside, always), 0.0, 1.0),
        lambda inside, always: torch.where(torch.eq(always, inside), 1.0, 0.0),
    ],
)
def test_two_conditions_compared_are_a_condition(slab: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Python would compare the objects, and answer for all boxes what is true of none."""
    found = measured(lambda x: 0.1 * x[:, 0] + slab(torch.abs(x[:, 0] - 0.4321) < 1e-7, x[:, 0] > -2.0), ALONE)
    assert found.upper >= 1.0


@pytest.mark.parametrize(
    ("target", "lower"),
    [(lambda x: torch.sin(x[:, 0]) / x[:, 0], math.nan), (lambda x: 1.0 / torch.square(x[:, 0]), math.inf)],
)
def test_what_only_the_proof_meets_is_told(target: Callable[[Tensor], Tensor], lower: float) -> None:
    """At zero, which is an edge of boxes, and no point of any set."""
    one = measured(target, replace(ALONE, kinds=("uniform",)))
    assert one.screened < math.inf and one.boxes > 0
    assert np.array_equal([one.lower, one.upper], [lower, math.inf], equal_nan=True) and one.where == (0.0,)
    assert one.certificate == "off" and one.nonfinite == 1 and "NaN or infinite" in one.message


# Budgets and devices


@pytest.mark.parametrize("boxes", [10, 64, 65, 1000, 4097])
@pytest.mark.parametrize("first", [100, 2**14])
def test_no_more_boxes_are_done_than_the_budget(boxes: int, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "FIRST", first)
    one = measured(lambda x: torch.sin(40 * x).prod(1), replace(ALONE, dimension=2, gap=1e-9, boxes=boxes))
    assert one.certificate == "budget" and one.boxes == max(boxes, 64) and one.upper < math.inf


def test_pilots_count() -> None:
    difference = of(random_network(np.random.default_rng(1), 3, [8] * 6, "tanh", scale=2.2), smooth, line(3))
    for boxes in (2049, 2200, 2600):
        assert proved(difference, 3, gap=1e-6, boxes=boxes).done == boxes


def test_a_proof_is_made_on_the_cpu_wherever_it_is_asked_for() -> None:
    whole, moved = (
        Proof(_Placed(), ALONE, Bracket(0.0), None, 500).run(Path("."), device) for device in ("cpu", "meta")
    )
    assert isinstance(moved, Pool) and moved.status == "closed" and moved.bracket == whole.bracket


class _Placed(Approximation):
    """Functions with a number on the device."""

    @property
    def group(self) -> str:
        return "placed"

    def error_function(self, folder: Path, device: str) -> ErrorFunction:
        factor = torch.full((), 3.0, dtype=torch.float64, device=device)
        return ErrorFunction(lambda x: torch.sin(factor * x[:, 0]), lambda x: factor * x[:, 0], line(1))
