"""Every function of one variable on the ranges where rounding, overflow or underflow bite, against 50 digits."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import mpmath as mp
import pytest
import torch

from hpcsweep.approx.supnorm.certificate.enclosure import rounding
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.registry import FUNCTIONS, image, relax
from tests.approx.supnorm.certificate.digits import UNARY

RANGES = 800
DOMAIN = {"log": (0.0, math.inf), "sqrt": (0.0, math.inf), "arcsin": (-1.0, 1.0)}
MAGNITUDES = (0.0, 5e-324, 1e-320, 1e-290, 1e-160, 1e-20, 1e-8, 1e-3, 0.1, 0.5, 1.0, 20.0, 36.7, 709.7, 745.0)
MAGNITUDES += (1e3, 1e10, 1e15, 1e154, 1e300, 1.7e308)  # of any function; then the places where one of ours turns
TURNS = (math.pi / 2, math.pi, 1.5 * math.pi, math.sqrt(2), 0.7517915246935646, 1.278464542761074, 3.4358409935106896)
SATURATED = {  # far out, where 50 digits of the formula would take for ever
    "tanh": mp.sign,
    "erf": mp.sign,
    "sigmoid": lambda x: mp.mpf(x > 0),
    **dict.fromkeys(("relu", "gelu", "silu", "softplus"), lambda x: max(x, mp.mpf(0))),
}
CRITICAL: dict[str, Callable[[mp.mpf], list[mp.mpf]]] = {  # where g' = s, up to periods
    "tanh": lambda s: _both(mp.acosh(1 / mp.sqrt(s))),
    "sigmoid": lambda s: _both(2 * mp.acosh(1 / mp.sqrt(4 * s))),
    "erf": lambda s: _both(mp.sqrt(-mp.log(s * mp.sqrt(mp.pi) / 2))),
    "arctan": lambda s: _both(mp.sqrt((1 - s) / s)),
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


def _both(place: mp.mpf) -> list[mp.mpf]:
    return [place, -place]


def end(generator: random.Random) -> float:
    sign = generator.choice((-1.0, 1.0))
    size = generator.choice((MAGNITUDES, TURNS, (generator.uniform(0, 5), 10.0 ** generator.uniform(-20, 20))))
    return sign * generator.choice(size)


def ranges(name: str) -> torch.Tensor:
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
    found = []
    for number, (one, other) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        first, last = mp.mpf(one), mp.mpf(other)
        places = [first, last, (first + last) / 2, *critical(name, slope[number], first, last)]
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
