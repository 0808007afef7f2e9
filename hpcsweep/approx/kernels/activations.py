"""The activations in the vector language: values, slopes and, of the smooth ones, three derivatives.

Values are right to 1.3 ulp (tanh, sin), 2.4 (gelu) and 2.5 (silu; 2.8 in float32), of negative numbers too, until they
are below the normal numbers: nothing cancels. Slopes are right to 2.5 ulp of 1 (that of tanh is 1 - tanh^2, so far out
its relative error is large), second and third derivatives to 6. At minus infinity gelu and silu are -0, their limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hpcsweep.approx.kernels import elementary_functions
from hpcsweep.approx.kernels.elementary_functions import (
    constants,
    exp_of_sum,
    largest,
    least,
    polynomial,
    power_of_two,
    sincos,
    tail_ratio,
)
from hpcsweep.approx.kernels.vectors import Number, fma, select

_FAR: Final = 40.0  # from here on the normal density is 0
_NEAR: Final = 0.75  # see Constants.normal


@dataclass(frozen=True)
class Activation:
    """An activation, as functions that write code; `derivatives` gives the value and the first three of them."""

    name: str
    value: Callable[[Number], Number]
    value_and_slope: Callable[[Number], tuple[Number, Number]]
    derivatives: Callable[[Number], tuple[Number, Number, Number, Number]] | None = None


def _relu(z: Number) -> Number:
    return largest(z, 0.0)


def _relu_and_slope(z: Number) -> tuple[Number, Number]:
    value = _relu(z)
    return value, select(z > 0.0, 1.0, value)  # so that NaN stays


def _tanh_and_slope(z: Number) -> tuple[Number, Number]:
    value = elementary_functions.tanh(z)
    return value, fma(-value, value, 1.0)


def _tanh_derivatives(z: Number) -> tuple[Number, Number, Number, Number]:
    value, slope = _tanh_and_slope(z)
    return value, slope, -2.0 * value * slope, slope * fma(6.0 * value, value, -2.0)


def _sin_derivatives(z: Number) -> tuple[Number, Number, Number, Number]:
    sine, cosine = sincos(z)
    return sine, cosine, -sine, -cosine


def _gelu(z: Number) -> Number:
    return _normal(z)[1]


def _gelu_and_slope(z: Number) -> tuple[Number, Number]:
    total, value, density = _normal(z)
    return value, fma(_bounded(z), density, total)


def _gelu_derivatives(z: Number) -> tuple[Number, Number, Number, Number]:
    total, value, density = _normal(z)
    z = _bounded(z)
    square = z * z
    return value, fma(z, density, total), density * (2.0 - square), density * (z * (square - 4.0))


def _bounded(z: Number) -> Number:
    """Return z or, where the normal density is 0 anyway, a bound: so that nothing is infinity times 0."""
    return least(largest(z, -_FAR), _FAR)


def _silu(z: Number) -> Number:
    return _logistic(z)[2]


def _silu_and_slope(z: Number) -> tuple[Number, Number]:
    share, other, value = _logistic(z)
    return value, fma(_finite(value), other, share)


def _silu_derivatives(z: Number) -> tuple[Number, Number, Number, Number]:
    share, other, value = _logistic(z)
    weighted = _finite(value) * other
    product, skew = share * other, other - share
    return (
        value,
        weighted + share,
        fma(weighted, skew, 2.0 * product),
        fma(weighted, fma(skew, skew, -2.0 * product), 3.0 * product * skew),
    )


def _finite(value: Number) -> Number:
    """Return the value or, where the slope is 1 anyway, a bound: infinity times 0 would be NaN."""
    return least(value, _FAR * _FAR)


def _normal(z: Number) -> tuple[Number, Number, Number]:
    """Return the normal distribution function F(z), z F(z) and the density.

    Near 0 F is a polynomial; else quotient and products are taken in two parts.
    """
    known = constants(z)
    a = least(abs(z), known.tail_end)
    square = a * a
    density = exp_of_sum(largest(-0.5 * square, known.exp_ends[0]), -0.5 * fma(a, a, -square), known.density)
    over, below = tail_ratio(a)
    inverse = 1.0 / below
    ratio = over * inverse
    below_rest = polynomial(a, known.tail) + fma(a, over, -below)
    rest = fma(-ratio, below_rest, fma(-ratio, below, over)) * inverse
    product = a * ratio
    product_rest = fma(a, rest, fma(a, ratio, -product))
    tail = fma(ratio, density, rest * density)
    far = select(z < 0.0, tail, 1.0 - tail)
    total = select(a < _NEAR, fma(z, polynomial(square, known.normal), 0.5), far)
    weighted = fma(product, density, product_rest * density)
    return total, select(z < -_NEAR, -weighted, z * total), density


def _logistic(z: Number) -> tuple[Number, Number, Number]:
    """Return s = 1 / (1 + exp(-z)), 1 - s and z s.

    With |z| = k log(2) + 2 r and u = tanh(r), s at |z| is (1 + u) / (1 + t + u (1 - t)) with t = 2^-k.
    """
    known, build = constants(z), z.code.builder
    high, low = known.log2
    end = known.exp_ends[0] - 8.0  # z s is 0 below
    y = 0.5 * least(abs(z), -end)
    rounded = fma(y, -2.0 / high, known.rounder)
    k = rounded - known.rounder
    r = fma(k, low / 2.0, fma(k, high / 2.0, y))
    square = r * r
    u = fma(r * square, polynomial(square, known.tanh), r)
    half = fma(k, 0.5, known.rounder)
    one, two = power_of_two(z, half.bits()), power_of_two(z, build.sub(rounded.bits(), half.bits()))
    t = one * two
    below = fma(u, 1.0 - t, 1.0 + t)
    inverse = 1.0 / below
    negative = z < 0.0
    signed = select(negative, -u, u)
    ratio = (1.0 + signed) * inverse
    ratio = fma(fma(-ratio, below, 1.0) + signed, inverse, ratio)
    other = (1.0 - signed) * inverse
    weighted = largest(z, end) * ratio
    return (
        select(negative, ratio * t, ratio),
        select(negative, other, other * t),
        select(negative, weighted * one * two, weighted),
    )


ACTIVATIONS: Final[Mapping[str, Activation]] = MappingProxyType(
    {
        one.name: one
        for one in (
            Activation("relu", _relu, _relu_and_slope),
            Activation("tanh", elementary_functions.tanh, _tanh_and_slope, _tanh_derivatives),
            Activation("sin", elementary_functions.sin, sincos, _sin_derivatives),
            Activation("gelu", _gelu, _gelu_and_slope, _gelu_derivatives),
            Activation("silu", _silu, _silu_and_slope, _silu_derivatives),
        )
    }
)
