"""The central box: the same points mapped into it, by a naive twin; the same bits however the work is cut."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsweep
from hpcsweep.approx.supnorm.measurement import Measurement, inner
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.targets import REGISTRY
from tests.approx.supnorm.certificate.errors import measured
from tests.approx.supnorm.test_survey import PLAN, found, networks

CENTRAL = replace(PLAN, central=0.8)
FEW = {"count": 2000, "uniform": 1000, "starts": 32, "kinks": 64, "certificate": "off"}


def test_it_is_measured_by_the_same_points_mapped_into_it() -> None:
    survey = Survey(networks(2), replace(CENTRAL, gap=None))
    assert survey.run()
    domain = ((-1.0, 1.0), (-1.0, 1.0))
    for approximation, one in zip(survey.approximations, found(survey), strict=True):
        error_function = approximation.error_function(Path("."), "cpu")
        own = [kind(0, kind.count)[:] for kind in replace(PLAN, uniform=0).sets(domain)]
        fair, pushed = (0.8 * places for places in own)
        errors = [error_function(places).abs().numpy() for places in (fair, pushed)]
        assert one.central_share == 0.8
        assert one.central_l2 == pytest.approx(np.sqrt((errors[0] ** 2).mean()), rel=1e-9)
        seen = max(values.max() for values in errors)
        inside = max(map(abs, one.where)) <= 0.8
        assert one.central_lower == pytest.approx(one.lower if inside else seen, rel=1e-9)


def test_what_is_known_of_the_whole_domain_is_not_less() -> None:
    without, withal = Survey(networks(), replace(PLAN, gap=None)), Survey(networks(), replace(CENTRAL, gap=None))
    assert without.run() and withal.run()
    for one, other in zip(found(without), found(withal), strict=True):
        assert (one.l1, one.l2, one.quantiles, one.uniform) == (other.l1, other.l2, other.quantiles, other.uniform)
        assert other.lower >= one.lower * (1 - 1e-12)
        assert math.isnan(one.central_share) and math.isnan(one.central_l2) and math.isnan(one.central_lower)
        # 3000 and 3072 points more are screened.
        assert other.points >= one.points + 6072


def test_errors_outside_and_inside_are_told_apart() -> None:
    """|x| beyond 0.8 is ten times as large; the place of the largest error counts for the box that it lies in."""

    def nothing(x: torch.Tensor) -> torch.Tensor:
        return 0 * x[:, 0]

    def steps(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 0].abs() > 0.8, 10.0, 1.0) * x[:, 0]

    def hill(x: torch.Tensor) -> torch.Tensor:
        return torch.exp(-x.square().sum(1))

    edge = hpcsweep.measure(nothing, steps, [(-1, 1)], central=0.8, **FEW)
    assert 10.0 - 4e-15 <= edge.lower <= 10.0
    assert edge.central_lower == pytest.approx(0.8, rel=1e-3) and edge.central_lower <= 0.8
    assert edge.central_l2 == pytest.approx(math.sqrt(0.64 / 3), rel=1e-3)
    peak = hpcsweep.measure(nothing, hill, [(-3, 2)] * 2, central=0.8, **FEW)
    assert peak.central_lower == peak.lower == pytest.approx(1.0, rel=1e-12)


def test_a_nan_inside_is_the_outcome_of_both() -> None:
    def target(points: torch.Tensor) -> torch.Tensor:
        return torch.where(points[:, 0].abs() < 0.3, math.nan, points[:, 0])

    plan = Measurement(("sobol",), 1000, 256, 5, 1, central=0.5)
    one = measured(target, plan)
    assert math.isnan(one.lower) and math.isnan(one.central_lower) and math.isnan(one.central_l2)


def test_a_simplex_baseline() -> None:
    """Piecewise linear interpolation of x^2 between random places, mean square over the central 80 %.

    Its error on an interval of length h is h^5 / 30 in the integral of the square (Michaud, Liu, Tegmark 2023, their
    measure; the integral here is exact, but for the cut of the intervals at the ends of the box).
    """
    places = np.sort(np.concatenate([[-1.0, 1.0], np.random.default_rng(0).uniform(-1, 1, 400)]))

    def lines(x: np.ndarray) -> np.ndarray:
        return np.interp(x[:, 0], places, places**2)

    one = hpcsweep.measure(lines, REGISTRY["square"](1), central=0.8, **FEW | {"count": 2**17})
    gaps = np.diff(places)
    within = gaps[(places[:-1] > -0.8) & (places[1:] < 0.8)]
    assert one.central_l2 == pytest.approx(math.sqrt((within**5).sum() / 30 / 1.6), rel=0.02)
    assert one.central_lower == pytest.approx(within.max() ** 2 / 4, rel=1e-3)
    assert one.central_share == 0.8


@given(
    sides=st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9)), min_size=1, max_size=4),
    share=st.floats(1e-3, 1.0, exclude_max=True),
)
@settings(max_examples=100, deadline=None)
def test_the_box_lies_within_and_has_the_share(sides: list[tuple[float, float]], share: float) -> None:
    domain = tuple((low, low + side) for low, side in sides)
    for (low, high), (left, right) in zip(domain, inner(domain, share), strict=True):
        assert low <= left < right <= high
        rounding = 1e-15 * (abs(low) + abs(high))
        assert right - left == pytest.approx(share * (high - low), abs=4 * rounding, rel=1e-12)
        assert (left - low) == pytest.approx(high - right, abs=4 * rounding, rel=1e-12)
