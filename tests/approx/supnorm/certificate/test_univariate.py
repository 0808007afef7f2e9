"""Functions of one variable: lines and ranges contain the truth to 50 digits, and no more than they must."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import mpmath as mp
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure import rounding
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.convex import softplus
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.registry import FUNCTIONS, image, power, relax
from tests.approx.supnorm.certificate.exact import UNARY

# exact but for rounding, on any range; gelu and silu have no closed form
LOOSENESS = dict.fromkeys(FUNCTIONS, 1.001) | {"gelu": 2.3, "silu": 2.3}
MODERATE = {"log": (1e-3, 5.0), "sqrt": (0.0, 5.0), "reciprocal": (0.05, 5.0), "arcsin": (-1.0, 1.0)}
VALUES = {
    name: getattr(torch, name, None) or getattr(torch.nn.functional, name) for name in FUNCTIONS if name != "softplus"
} | {"softplus": softplus}
RANGES = 800
DOMAIN = {"log": (0.0, math.inf), "sqrt": (0.0, math.inf), "arcsin": (-1.0, 1.0)}
MAGNITUDES = (0.0, 5e-324, 1e-320, 1e-290, 1e-160, 1e-20, 1e-8, 1e-3, 0.1, 0.5, 1.0, 20.0, 36.7, 709.7, 745.0)
MAGNITUDES += (1e3, 1e10, 1e15, 1e154, 1e300, 1.7e308)  # of any function; then the places where one of ours turns
TURNS = (math.pi / 2, math.pi, 1.5 * math.pi, math.sqrt(2), 0.7517915246935646, 1.278464542761074, 3.4358409935106896)
SATURATED = {  # far out, where 50 digits of the formula would take for ever
    "tanh": mp.sign,
    "erf": mp.sign,
    "sigmoid": lambda x: mp.mpf(x > 0),
    "elu": lambda x: max(x, mp.mpf(-1)),
    **dict.fromkeys(("relu", "gelu", "silu", "softplus"), lambda x: max(x, mp.mpf(0))),
}
CRITICAL: dict[str, Callable[[mp.mpf], list[mp.mpf]]] = {  # where g' = s, up to periods
    "tanh": lambda s: _both(mp.acosh(1 / mp.sqrt(s))),
    "sigmoid": lambda s: _both(2 * mp.acosh(1 / mp.sqrt(4 * s))),
    "erf": lambda s: _both(mp.sqrt(-mp.log(s * mp.sqrt(mp.pi) / 2))),
    "arctan": lambda s: _both(mp.sqrt((1 - s) / s)),
    "arcsinh": lambda s: _both(mp.sqrt(1 - s * s) / s),
    "softsign": lambda s: _both(1 / mp.sqrt(s) - 1),
    "elu": lambda s: [mp.log(s)],
    "arcsin": lambda s: _both(mp.sqrt(1 - 1 / s**2)),
    "sin": lambda s: _both(mp.acos(s)),
    "cos": lambda s: [-mp.asin(s), mp.pi + mp.asin(s)],
    "exp": lambda s: [mp.log(s)],
    "log": lambda s: [1 / s],
    "sqrt": lambda s: [1 / (4 * s * s)],
    "square": lambda s: [s / 2],
    "cosh": lambda s: [mp.asinh(s)],
    "softplus": lambda s: [mp.log(s / (1 - s))],
    "reciprocal": lambda s: _both(1 / mp.sqrt(-s)),
}


# Tightness


def moderate_ranges(name: str, count: int = 400) -> tuple[Tensor, Tensor]:
    """Ranges (count,) of all widths within the domain of a function."""
    generator = torch.Generator().manual_seed(7)
    low, high = MODERATE.get(name, (-6.0, 6.0))
    ends = low + (high - low) * torch.rand(2, count, dtype=torch.float64, generator=generator)
    shrink = 10.0 ** (-3.0 * torch.rand(count, dtype=torch.float64, generator=generator))
    ends[1] = ends[0] + (ends[1] - ends[0]) * shrink
    return ends.amin(0), ends.amax(0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_remainders_and_images_are_tight(name: str) -> None:
    low, high = moderate_ranges(name)
    slope, least, most = relax(name, low, high)
    bottom, top = image(name, low, high)
    x = low + (high - low) * torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    values = VALUES[name](x)
    lowest, highest = (values - slope * x).aminmax(dim=0)
    noise = 1e-13 * (1 + slope.abs() * torch.maximum(low.abs(), high.abs()) + VALUES[name](high).abs())
    assert bool(((least <= lowest + noise) & (highest - noise <= most)).all())
    assert bool((most - least <= LOOSENESS[name] * (highest - lowest) + noise + 1e-4 * (high - low) ** 2).all())
    if name in ("gelu", "silu"):
        assert float(((most - least - 1e-12) / (highest - lowest)).quantile(0.9)) < 1.25
    lowest, highest = values.aminmax(dim=0)
    noise = 1e-13 * (1 + highest.abs() + lowest.abs())
    assert bool(((bottom <= lowest + noise) & (highest - noise <= top)).all())
    assert bool((top - bottom <= highest - lowest + noise + 1e-2 * (high - low)).all())
    allowed = 1.5 if name in ("gelu", "silu") else 1.0  # a remainder is never wider than the constant range
    assert bool((most - least <= allowed * (top - bottom) + 1e-12 * (1 + top.abs() + bottom.abs())).all())


# Ends of domains, poles, infinity


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


# Truth


def test_a_power_whose_slope_nearly_underflows_is_enclosed() -> None:
    low, high = (torch.full((1,), end, dtype=torch.float64) for end in (20.0, 1e240))
    slope, least, most = relax(power(-63.5), low, high)
    assert float(slope) != 0.0
    for place in (mp.mpf(20), mp.mpf(10) ** 2, mp.mpf(10) ** 120, mp.mpf(10) ** 240 / 2):
        assert mp.mpf(float(least)) <= place ** mp.mpf(-63.5) - mp.mpf(float(slope)) * place <= mp.mpf(float(most))


def _both(place: mp.mpf) -> list[mp.mpf]:
    return [place, -place]


def end(generator: random.Random) -> float:
    sign = generator.choice((-1.0, 1.0))
    size = generator.choice((MAGNITUDES, TURNS, (generator.uniform(0, 5), 10.0 ** generator.uniform(-20, 20))))
    return sign * generator.choice(size)


def ranges(name: str) -> Tensor:
    """Return ranges (2, RANGES): points, some units in the last place, every width from 1e-16 on, anything."""
    generator, (bottom, top) = random.Random(name), DOMAIN.get(name, (-math.inf, math.inf))
    pairs = []
    while len(pairs) < RANGES:
        one = min(max(end(generator), bottom), top)
        width = 10.0 ** generator.uniform(-16, 1)
        others = (
            one,
            one + generator.choice((1, 2, 10)) * math.ulp(one),
            one + width,
            one + abs(one) * width,
            end(generator),
        )
        other = min(max(generator.choice(others), bottom), top)
        if math.isfinite(other):
            pairs.append(sorted((one, other)))
    return torch.tensor(pairs, dtype=torch.float64).T.contiguous()


def critical(name: str, slope: float, low: mp.mpf, high: mp.mpf) -> Iterator[mp.mpf]:
    """Yield the places inside a range where the remainder is largest or smallest."""
    try:
        places = CRITICAL[name](mp.mpf(slope)) if name in CRITICAL else []
    except (ZeroDivisionError, ValueError):
        places = []
    for place in places:
        if name in ("sin", "cos"):
            turns = [mp.ceil((low - place) / (2 * mp.pi)), mp.floor((high - place) / (2 * mp.pi))]
            yield from (place + 2 * mp.pi * turn for turn in turns)
        elif isinstance(place, mp.mpf):
            yield place


def truth(name: str, x: mp.mpf) -> mp.mpf | None:
    """Return g(x) in 50 digits; None where it is no number or not worth its digits."""
    if name in ("log", "reciprocal") and x == 0:
        return None
    if name in SATURATED and abs(x) > 1e4:
        return SATURATED[name](x)
    if name == "softplus":
        return mp.log1p(mp.exp(x))
    return None if name in ("sin", "cos") and abs(x) > 1e30 else UNARY[name](x)


def violations(name: str) -> list[str]:
    low, high = ranges(name)
    slope, least, most = (part.tolist() for part in relax(name, low.clone(), high.clone()))
    bottom, top = (part.tolist() for part in image(name, low.clone(), high.clone()))
    found, generator = [], random.Random(1)
    for number, (one, other) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        first, last = mp.mpf(one), mp.mpf(other)
        share = mp.mpf(generator.random())
        places = [
            first,
            last,
            (first + last) / 2,
            first + (last - first) * share,
            *critical(name, slope[number], first, last),
        ]
        for x in places:
            value = truth(name, x) if first <= x <= last else None
            if value is None:
                continue
            remainder = value - mp.mpf(slope[number]) * x
            if not least[number] <= remainder <= most[number] or not bottom[number] <= value <= top[number]:
                found.append(f"{name} on [{one!r}, {other!r}] at {mp.nstr(x, 20)}")
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lines_and_ranges_contain_the_truth(name: str) -> None:
    assert violations(name) == []


def test_without_rounding_terms_the_same_test_fails() -> None:
    with rounding.ignored():
        assert sum(len(violations(name)) for name in ("tanh", "sin", "exp", "gelu", "arcsin")) > 100
