"""Functions of one variable: remainders contain the truth, and no more than they must."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsweep.approx.supnorm.certificate.enclosure import relax
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.convex import softplus
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.registry import FUNCTIONS, image
from tests.approx.supnorm.certificate.digits import UNARY

# exact but for rounding, on any range; gelu and silu have no closed form
LOOSENESS = dict.fromkeys(FUNCTIONS, 1.001) | {"gelu": 2.3, "silu": 2.3}
DOMAIN = {"log": (1e-3, 5.0), "sqrt": (0.0, 5.0), "reciprocal": (0.05, 5.0), "arcsin": (-1.0, 1.0)}
VALUES = {
    name: getattr(torch, name, None) or getattr(torch.nn.functional, name) for name in FUNCTIONS if name != "softplus"
} | {"softplus": softplus}


def ranges(name: str, count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranges (count,) of all widths within the domain of a function."""
    generator = torch.Generator().manual_seed(7)
    low, high = DOMAIN.get(name, (-6.0, 6.0))
    ends = low + (high - low) * torch.rand(2, count, dtype=torch.float64, generator=generator)
    shrink = 10.0 ** (-3.0 * torch.rand(count, dtype=torch.float64, generator=generator))
    ends[1] = ends[0] + (ends[1] - ends[0]) * shrink
    return ends.amin(0), ends.amax(0)


def sampled(name: str, low: torch.Tensor, high: torch.Tensor, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    shares = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    x = low + (high - low) * shares
    remainder = VALUES[name](x) - slope * x
    return remainder.amin(0), remainder.amax(0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_remainders_are_tight(name: str) -> None:
    low, high = ranges(name)
    slope, least, most = relax(name, low, high)
    lowest, highest = sampled(name, low, high, slope)
    noise = 1e-13 * (1 + slope.abs() * torch.maximum(low.abs(), high.abs()) + VALUES[name](high).abs())
    assert bool(((least <= lowest + noise) & (highest - noise <= most)).all())
    assert bool((most - least <= LOOSENESS[name] * (highest - lowest) + noise + 1e-4 * (high - low) ** 2).all())


@pytest.mark.parametrize("name", ("gelu", "silu"))
def test_remainders_without_closed_form_are_nearly_tight(name: str) -> None:
    low, high = ranges(name)
    slope, least, most = relax(name, low, high)
    lowest, highest = sampled(name, low, high, slope)
    assert float(((most - least - 1e-12) / (highest - lowest)).quantile(0.9)) < 1.25


@pytest.mark.parametrize("name", FUNCTIONS)
def test_images_are_tight(name: str) -> None:
    low, high = ranges(name)
    least, most = image(name, low, high)
    lowest, highest = sampled(name, low, high, torch.zeros_like(low))
    noise = 1e-13 * (1 + highest.abs() + lowest.abs())
    assert bool(((least <= lowest + noise) & (highest - noise <= most)).all())
    assert bool((most - least <= highest - lowest + noise + 1e-2 * (high - low)).all())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_remainders_are_never_wider_than_the_constant_range(name: str) -> None:
    low, high = ranges(name)
    _, least, most = relax(name, low, high)
    bottom, top = image(name, low, high)
    slack = 1e-12 * (1 + top.abs() + bottom.abs())
    allowed = 1.5 if name in ("gelu", "silu") else 1.0
    assert bool((most - least <= allowed * (top - bottom) + slack).all())


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_remainders_contain_the_truth_to_the_last_digit(name: str, data: st.DataObject) -> None:
    bottom, top = DOMAIN.get(name, (-40.0, 40.0))
    one = data.draw(st.floats(bottom, top))
    width = data.draw(st.sampled_from((0.0, 1e-15, 1e-12, 1e-8, 1e-3, 0.3, 2.0, 9.0)))
    other = min(max(one + width, bottom), top)
    share = data.draw(st.floats(0, 1))
    slope, least, most = (float(part) for part in relax(name, *torch.tensor([[one], [other]], dtype=torch.float64)))
    for x in (mp.mpf(one), mp.mpf(other), one + (mp.mpf(other) - one) * share):
        truth = mp.log(1 + mp.exp(x)) if name == "softplus" else UNARY[name](x)
        assert least <= truth - slope * x <= most
        assert float(image(name, *torch.tensor([[one], [other]], dtype=torch.float64))[0]) <= truth


@pytest.mark.parametrize("name", FUNCTIONS)
def test_infinite_ranges_give_no_nan(name: str) -> None:
    low = torch.tensor([-math.inf, -math.inf, 1.0, -1.0, 0.0, -1e308, 0.5], dtype=torch.float64)
    high = torch.tensor([math.inf, 1.0, math.inf, math.inf, 0.0, 1e308, 0.5], dtype=torch.float64)
    slope, least, most = relax(name, low, high)
    assert bool(slope.isfinite().all()) and not bool((least.isnan() | most.isnan()).any())
    assert bool((least <= most).all())
    value = float(VALUES[name](torch.tensor(0.5, dtype=torch.float64)))
    remainder = value - 0.5 * slope
    assert bool(((least <= remainder) & (remainder <= most))[[0, 1, 3, 5, 6]].all())


def test_poles_and_ends_of_domains_are_unbounded_not_nan() -> None:
    low, high = (torch.tensor([end], dtype=torch.float64) for end in (-1.0, 2.0))
    assert image("reciprocal", low, high) == (-math.inf, math.inf)
    assert [float(part) for part in relax("reciprocal", low, high)] == [0.0, -math.inf, math.inf]
    slope, least, most = relax("log", torch.zeros_like(low), high)
    assert (float(slope), float(least)) == (0.0, -math.inf) and math.log(2) <= float(most) < math.log(2) + 1e-12


OUTSIDE = {
    "log": [(-1.0, 2.0), (-2.0, -1.0), (-1e-6, 2.0), (-5.0, 1e8), (-5.0, math.inf), (-math.inf, math.inf)],
    "sqrt": [(-1.0, 2.0), (-2.0, -1.0), (-1e-6, 2.0), (-1e-30, 1e-30), (-1e-30, -1e-31), (-math.inf, 1.0)],
    "arcsin": [(-1.1, 0.0), (0.0, 1.1), (1.1, 2.0), (-2.0, -1.1), (-9.0, 9.0), (0.5, 1 + 1e-8), (-math.inf, math.inf)],
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_ranges_that_leave_a_domain_are_unbounded(name: str) -> None:
    low, high = torch.tensor(OUTSIDE[name], dtype=torch.float64).T
    slope, least, most = relax(name, low, high)
    for ends in ((least, most), image(name, low, high)):
        assert bool((ends[0] == -math.inf).all() and (ends[1] == math.inf).all())
    assert not bool(slope.any())


def test_ranges_that_leave_a_domain_by_rounding_are_cut_off() -> None:
    for name, ends in {
        "sqrt": [(-1e-15, 2.0), (-1e-290, 0.0), (-1e-25, 1e-15)],
        "arcsin": [(-1.0 - 1e-15, 1.0 + 1e-15), (1.0, 1.0 + 1e-15), (1.0 + 1e-16, 1.0 + 1e-15)],
    }.items():
        low, high = torch.tensor(ends, dtype=torch.float64).T
        inside = low.clamp(0.0 if name == "sqrt" else -1.0), high.clamp(max=2.0 if name == "sqrt" else 1.0)
        values = torch.stack([getattr(torch, name)(end) for end in inside])
        least, most = image(name, low, high)
        assert bool(((least <= values) & (values <= most)).all())
        assert bool((most - least <= values.amax(0) - values.amin(0) + 1e-12).all())
        slope, least, most = relax(name, low, high)
        assert bool((slope + most - least).isfinite().all())


def test_arcsin_near_zero_keeps_its_digits() -> None:
    """Its slope there is almost 1, and arccos of almost 1 has lost half of them."""
    slope, least, _ = (float(part[0]) for part in relax("arcsin", *torch.tensor([[0.0], [1e-3]], dtype=torch.float64)))
    place = mp.sqrt(1 - 1 / mp.mpf(slope) ** 2)
    assert least <= mp.asin(place) - slope * place <= least + 1e-13
