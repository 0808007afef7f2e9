"""Series whose coefficients are products, so that their errors are relative: exp, sin, cos, cosh, powers, log."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.rounding import ELEMENTARY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series.expansion import (
    Expandable,
    Series,
    far,
    near,
    power,
    up,
)


def _exp(places: Tensor, count: int) -> Series:
    value = torch.exp(places)
    return Series([value * (1 / math.factorial(m)) for m in range(count)], gamma(ELEMENTARY + 3))


def _exp_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    high = (places + radii).add_(places.abs().add_(radii), alpha=gamma(4))
    return up(high.exp_().mul_(1 / math.factorial(n)))


def _waves(first: int) -> Callable[[Tensor, int], Series]:
    """Return the series of sin (0) or cos (1): sin, cos, -sin, -cos, ... by the factorials."""

    def expand(places: Tensor, count: int) -> Series:
        parts = torch.sin(places), torch.cos(places)
        signs = (1.0, 1.0, -1.0, -1.0)
        turns = range(first, first + count)
        coefficients = [
            parts[turn % 2] * (signs[turn % 4] / math.factorial(m)) for m, turn in enumerate(turns)
        ]  # fmt: skip
        return Series(coefficients, gamma(ELEMENTARY + 3))

    return expand


def _waves_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return up(torch.full_like(places, 1 / math.factorial(n)))


def _cosh(places: Tensor, count: int) -> Series:
    parts = torch.cosh(places), torch.sinh(places)
    return Series([parts[m % 2] * (1 / math.factorial(m)) for m in range(count)], gamma(ELEMENTARY + 3))


def _cosh_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return up(far(places, radii).cosh_().mul_(1 / math.factorial(n)))


def _reciprocal(places: Tensor, count: int) -> Series:
    inverse = 1.0 / places
    coefficients = [inverse]
    for _ in range(1, count):
        coefficients.append(-coefficients[-1] * inverse)
    return Series(coefficients, gamma(2 * count))


def _reciprocal_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return up(power(near(places, radii).reciprocal_(), n + 1))


def _log(places: Tensor, count: int) -> Series:
    inverse = 1.0 / places
    coefficients, inverse_power = [torch.log(places)], inverse
    for m in range(1, count):
        coefficients.append(inverse_power / m)
        inverse_power = -inverse_power * inverse
    return Series(coefficients, gamma(2 * count + ELEMENTARY))


def _positive(places: Tensor, radii: Tensor) -> Tensor:
    """Return a lower bound of x within radii about positive places; 0 where it is not positive."""
    return torch.where(places > 0.0, near(places, radii), 0.0)


def _log_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return up(power(_positive(places, radii).reciprocal_(), n).div_(n))


def _sqrt(places: Tensor, count: int) -> Series:
    inverse = 1.0 / places
    coefficients = [torch.sqrt(places)]
    for m in range(1, count):
        coefficients.append(coefficients[-1] * inverse * ((1.5 - m) / m))
    return Series(coefficients, gamma(5 * count + ELEMENTARY))


def _sqrt_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    binomial = abs(math.prod((1.5 - m) / m for m in range(1, n + 1)))
    low = _positive(places, radii)
    # of large powers and a small root: as powers of 1 / sqrt(x), without 0 times infinity
    return up(power(torch.rsqrt(low), 2 * n - 1).mul_(binomial * (1 + gamma(4 * n))))


PRODUCTS = {
    "exp": Expandable(_exp, _exp_beyond),
    "sin": Expandable(_waves(0), _waves_beyond),
    "cos": Expandable(_waves(1), _waves_beyond),
    "cosh": Expandable(_cosh, _cosh_beyond),
    "reciprocal": Expandable(_reciprocal, _reciprocal_beyond),
    "log": Expandable(_log, _log_beyond),
    "sqrt": Expandable(_sqrt, _sqrt_beyond),
}
