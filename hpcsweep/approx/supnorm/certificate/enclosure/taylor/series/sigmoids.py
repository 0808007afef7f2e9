"""Series of tanh, by (m + 1) y_(m+1) = [m = 0] - sum_i y_i y_(m-i), and of what is made of it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.bounds.remainders import tanh_coefficients
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import ELEMENTARY
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series.expansion import (
    SECOND,
    Expandable,
    Scaled,
    Series,
    gated,
    near,
    roundings,
    up,
)
from hpcsweep.approx.supnorm.certificate.enclosure.univariate.convex import softplus as softplus_value

# The largest |(tanh)^(n) / (1 - tanh^2)| / n!, rounded up; index n - 1. As polynomials of tanh they are p_1 = 1,
# p_(n+1) = ((1 - y^2) p_n)'; a test finds their maxima on [-1, 1].
_TANH = (
    *(1.0, 1.0, 0.6666667, 0.3333334, 0.1333334, 0.0806649),
    *(0.0539683, 0.0323831, 0.0218696, 0.0131249, 0.0088633, 0.0053338),
)


def _tanh_bounds(count: int) -> list[float]:
    return [1.0, *_TANH][:count]


def _tanh_errors(count: int) -> list[float]:
    """Return the errors of the coefficients of tanh, in roundings."""
    bounds, errors = _tanh_bounds(count), [float(ELEMENTARY)]
    for m in range(count - 1):
        passed = sum(2 * errors[i] * bounds[m - i] for i in range(m + 1))
        rounded = (m + 4) * sum(bounds[i] * bounds[m - i] for i in range(m + 1))
        errors.append(SECOND * (passed + rounded) / (m + 1) + bounds[m + 1])
    return errors


def _tanh_coefficients(places: Tensor, count: int) -> list[Tensor]:
    y = places.new_empty(count, *places.shape)
    torch.tanh(places, out=y[0])
    tanh_coefficients[np.float64](count, places.numel(), y.numpy().reshape(-1))
    return list(y)


def _tanh(places: Tensor, count: int) -> Series:
    return Series(_tanh_coefficients(places, count), 0.0, roundings(_tanh_errors(count)))


def _steepness(places: Tensor, radii: Tensor) -> Tensor:
    """Return a bound of 1 - tanh^2."""
    return near(places, radii).cosh_().square_().reciprocal_()


def _tanh_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return up(_steepness(places, radii).mul_(_TANH[n - 1]))


def _sigmoid_coefficients(places: Tensor, count: int) -> list[Tensor]:
    """Return those of (1 + tanh(x / 2)) / 2."""
    half = _tanh_coefficients(0.5 * places, count)
    return [0.5 + 0.5 * half[0], *(half[m] * 0.5 ** (m + 1) for m in range(1, count))]


def _sigmoid_bounds(count: int) -> list[float]:
    return [1.0, *(_TANH[m - 1] * 0.5 ** (m + 1) for m in range(1, count))]


def _sigmoid_errors(count: int) -> list[float]:
    return [error * 0.5 ** (m + 1) + (m == 0) for m, error in enumerate(_tanh_errors(count))]


def _sigmoid(places: Tensor, count: int) -> Series:
    return Series(_sigmoid_coefficients(places, count), 0.0, roundings(_sigmoid_errors(count)))


def _sigmoid_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    return _tanh_beyond(n, 0.5 * places, 0.5 * radii).mul_(0.5 ** (n + 1))


def _softplus(places: Tensor, count: int) -> Series:
    """g' is the sigmoid. The value is log1p(exp(-|x|)) + max(x, 0): 2 * 4 ulp of at most log 2, and a sum."""
    slopes = _sigmoid_coefficients(places, count - 1)
    errors = _sigmoid_errors(count - 1)
    bounds = _sigmoid_bounds(count - 1)
    coefficients = [softplus_value(places), *(slopes[m - 1] / m for m in range(1, count))]
    absolute = [2.0 * ELEMENTARY, *(errors[m - 1] / m + bounds[m - 1] for m in range(1, count))]
    return Series(coefficients, 0.0, roundings(absolute), places.abs().add_(1.0))


def _softplus_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    if n == 1:
        return torch.ones_like(places)
    return _sigmoid_beyond(n - 1, places, radii).div_(n)


def _silu(places: Tensor, count: int) -> Series:
    return gated(places, _sigmoid_coefficients(places, count), _sigmoid_bounds(count), _sigmoid_errors(count))


def _silu_beyond(n: int, places: Tensor, radii: Tensor) -> Tensor:
    """|x| / cosh(x / 2)^2 is at most 0.9, and at most 4 |x| exp(-|x|) <= (8 / e) exp(-|x| / 2)."""
    if n == 1:
        return torch.full_like(places, 1.1)
    tail = near(places, radii).mul_(-0.5).exp_().mul_(8 / math.e).clamp_(max=0.9)
    return up(tail.mul_(_TANH[n - 1] * 0.5 ** (n + 1)).add_(_sigmoid_beyond(n - 1, places, radii)))


SIGMOIDS = {
    "tanh": Scaled(_tanh, _tanh_beyond, _steepness, _TANH),
    "sigmoid": Expandable(_sigmoid, _sigmoid_beyond),
    "softplus": Expandable(_softplus, _softplus_beyond),
    "silu": Expandable(_silu, _silu_beyond),
}
