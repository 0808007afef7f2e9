"""exp, log, tanh, sin and cos in the vector language: branch-free, so that lanes and numbers have the same bits.

Each is a reduction of the argument, which fused multiply-adds make exact or nearly so (as in Cody and Waite, Software
Manual for the Elementary Functions, 1980), and one polynomial. The polynomials interpolate at the Chebyshev points of
the reduced interval (mpmath, 60 digits), which is within a factor of two of the best; their coefficients are then
rounded. The lowest come first. In float32 the same formulas run with constants of its own.

Errors are in units in the last place (ulp) of the result, the worst seen at some 10^7 places in float64, and not
larger in float32 unless it says so. NaN stays NaN, signed zeros are kept, results below the normal numbers are right
to one of the last places that they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpcsweep.approx.kernels.vectors import DOUBLE, Number, fma, select


@dataclass(frozen=True)
class Constants:
    """What the functions need to know about a precision.

    Constants of several parts are sums of numbers of that precision, largest first.
    """

    digits: int  # of the fraction of a number
    bias: int  # of its exponent
    log2: tuple[float, float]
    half_pi: tuple[float, float, float]
    tanh_end: tuple[float, float]  # from here on tanh is 1; with larger k, 2^k + 1 is not exact
    exp_ends: tuple[float, float]  # outside exp is 0 or infinite
    tanh: tuple[float, ...]  # (tanh(r) / r - 1) / z, z = r^2, |r| <= log(2) / 4
    exp: tuple[float, ...]  # (exp(r) - 1 - r) / r^2, |r| <= log(2) / 2
    sin: tuple[float, ...]  # (sin(r) / r - 1) / z, |r| <= pi / 4
    cos: tuple[float, ...]  # (cos(r) - 1 + z / 2) / z^2
    log: tuple[float, ...]  # (2 artanh(s) / s - 2) / s^2, |s| <= 0.1716
    normal: tuple[float, ...]  # (F(z) - 1/2) / z, in z^2 <= 0.75^2, F the normal distribution function
    tail: tuple[float, ...]  # R(a) = f(a) / F(-a) - a, 0 <= a <= tail_end, f the normal density: this ...
    tail_over: tuple[float, ...]  # ... over this
    tail_end: float  # from here on f and F(-a) are 0
    density: tuple[float, float]  # f(0)

    @property
    def rounder(self) -> float:
        """A number so large that adding it rounds to an integer, which then is in the lowest bits."""
        return 1.5 * 2.0**self.digits


_DOUBLE: Final = Constants(
    digits=52,
    bias=1023,
    log2=(0.6931471805599453, 2.3190468138462996e-17),
    half_pi=(1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    tanh_end=(19.1, 52.0),
    exp_ends=(-746.0, 710.0),
    tanh=(
        -0.3333333333333328, 0.13333333333212694, -0.05396825349922659, 0.021869421785639467,
        -0.008858934482081027, 0.003463892713266909,
    ),
    exp=(
        0.5000000000000001, 0.16666666666666669, 0.04166666666662413, 0.008333333333330062, 0.0013888888917213717,
        0.00019841269863053618, 2.4801521295954376e-05, 2.7557268459997064e-06, 2.7620088445409746e-07,
        2.510038549551032e-08,
    ),
    sin=(
        -0.16666666666666666, 0.008333333333330946, -0.00019841269836754969, 2.7557316100683003e-06,
        -2.5051131455424085e-08, 1.591810123004639e-10,
    ),
    cos=(
        0.041666666666666664, -0.0013888888888887395, 2.4801587298763433e-05, -2.755731727056031e-07,
        2.087614602468733e-09, -1.1382614868413877e-11,
    ),
    log=(
        0.666666666666667, 0.3999999999989931, 0.28571428626063405, 0.22222211120446472, 0.1818289017047407,
        0.15331686864286195, 0.14616878964530466,
    ),
    normal=(
        0.39894228040143265, -0.06649038006690419, 0.009973557009976547, -0.001187328214396983,
        0.00011543467768540948, -9.444605057900199e-06, 6.658139159575583e-07, -4.09503995224161e-08,
        2.0057131453651613e-09,
    ),
    tail=(
        0.7978845608028654, 0.9852686125495835, 0.6223152356693301, 0.25515069157028974, 0.07374013518783713,
        0.015460855072692075, 0.0023450050580963535, 0.00024835172439407956, 1.6750084809964445e-05,
        5.542478287738105e-07,
    ),
    tail_over=(
        1.0, 1.690280657674256, 1.4131405144757085, 0.7564181493238107, 0.2846062674725078, 0.07832960963569167,
        0.01595423437834328, 0.002378505190454257, 0.0002494602207517865, 1.6750084802062193e-05,
        5.54247828813928e-07,
    ),
    tail_end=39.0,
    density=(0.3989422804014327, -2.49232720227773e-17),
)  # fmt: skip
_SINGLE: Final = Constants(
    digits=23,
    bias=127,
    log2=(0.6931471824645996, -1.904654299957768e-09),
    half_pi=(1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    tanh_end=(9.05, 23.0),
    exp_ends=(-104.0, 89.0),
    tanh=(-0.3333333432674408, 0.13333328068256378, -0.0539584755897522, 0.021345870569348335),
    exp=(0.5, 0.16666576266288757, 0.04166653752326965, 0.0083632105961442, 0.0013927945401519537),
    sin=(-0.166666641831398, 0.008332747966051102, -0.000195878412341699),
    cos=(0.0416666641831398, -0.001388830249197781, 2.454789137118496e-05),
    log=(0.6666666865348816, 0.4000012278556824, 0.28550806641578674, 0.23330830037593842),
    normal=(
        0.3989422917366028, -0.0664902999997139, 0.009972360916435719, -0.0011813188903033733, 0.00010297051630914211,
    ),
    tail=(0.7978845834732056, 0.48736265301704407, 0.15788733959197998, 0.02764037996530533, 0.0022315436508506536),
    tail_over=(
        1.0, 1.0662480592727661, 0.5468634366989136, 0.16200412809848785, 0.027657004073262215, 0.002231197664514184,
    ),
    tail_end=14.5,
    density=(0.3989422917366028, -1.1335170135851058e-08),
)  # fmt: skip
_ROOT_HALF: Final = 0.7071067811865476


def constants(x: Number) -> Constants:
    return _DOUBLE if x.code.precision is DOUBLE else _SINGLE


def polynomial(x: Number, lowest: Sequence[float]) -> Number:
    """Return lowest[0] + lowest[1] x + ..., by Horner's rule."""
    total = fma(x, lowest[-1], lowest[-2])
    for coefficient in lowest[-3::-1]:
        total = fma(x, total, coefficient)
    return total


def least(x: Number, bound: float) -> Number:
    """Return the smaller one; NaN stays."""
    return select(x > bound, bound, x)


def largest(x: Number, bound: float) -> Number:
    """Return the larger one; NaN stays."""
    return select(x < bound, bound, x)


def power_of_two(like: Number, bits: Any) -> Number:
    """Return 2^k where the lowest bits are the integer k; the others are lost."""
    known, build = constants(like), like.code.builder
    return like.of_bits(build.shl(build.add(bits, like.word(known.bias)), like.word(known.digits)))


def tanh(x: Number) -> Number:
    """Return the hyperbolic tangent, to 1.27 ulp.

    With 2 |x| = k log(2) + 2 r, t = 2^k and u = tanh(r) it is (t - 1 + u (t + 1)) / (t + 1 + u (t - 1)), and u for
    |x| <= 0.17. The quotient is one step of Newton's from exact: the step takes u in two parts, r and the rest of it,
    so that only the rounding of the remainder's two parts, and the last one, count.
    """
    known, build = constants(x), x.code.builder
    y = least(abs(x), known.tanh_end[0])
    high, low = known.log2
    origin = known.rounder + known.bias
    rounded = least(fma(y, 2.0 / high, origin), origin + known.tanh_end[1])
    k = rounded - origin
    r = fma(k, -high / 2.0, y)
    z = r * r
    rest = fma(r * z, polynomial(z, known.tanh), k * (-low / 2.0))
    u = rest + r
    t = y.of_bits(build.shl(rounded.bits(), y.word(known.digits)))
    below, above = t - 1.0, t + 1.0
    inverse = 1.0 / fma(u, below, above)
    v = fma(u, above, below) * inverse
    constant, slope = fma(-v, above, below), fma(-v, below, above)
    remainder = fma(rest, slope, fma(r, slope, constant))
    return fma(remainder, inverse, v).flipped(x.sign())


def exp(x: Number) -> Number:
    """Return the exponential, to 1.07 ulp; inf from 709.78 on (88.72 in float32), 0 below -745.13 (-103.97)."""
    known = constants(x)
    return exp_of_sum(largest(least(x, known.exp_ends[1]), known.exp_ends[0]))


def exp_of_sum(x: Number, rest: Number | None = None, factor: tuple[float, float] = (1.0, 0.0)) -> Number:
    """Return the exponential of a sum times a number in two parts.

    `x` is in `exp_ends`, `rest` at most an ulp of it.
    """
    known, build = constants(x), x.code.builder
    high, low = known.log2
    rounded = fma(x, 1.0 / high, known.rounder)
    k = rounded - known.rounder
    r = fma(k, -high, x)
    r = fma(k, -low, r) if rest is None else r + fma(k, -low, rest)
    v = fma(r * r, polynomial(r, known.exp), r)
    v = v + 1.0 if factor == (1.0, 0.0) else fma(v, factor[0], factor[1]) + factor[0]
    half = fma(k, 0.5, known.rounder)  # two factors, so that neither overflows
    other = build.sub(rounded.bits(), half.bits())
    return v * power_of_two(x, half.bits()) * power_of_two(x, other)


def log(x: Number) -> Number:
    """Return the natural logarithm, to 0.83 ulp: -inf of 0, NaN below.

    As in FDLIBM (Sun Microsystems, 1993): with x = 2^k (1 + f) and s = f / (2 + f), log(1 + f) = 2 artanh(s).
    """
    known, build = constants(x), x.code.builder
    tiny = x < 2.0 ** (1 - known.bias)
    y = select(tiny, x * 2.0 ** (known.digits + 2), x)
    shift, zero = y.word(known.digits), y.word(known.bias << known.digits)
    fraction = build.bitcast(y.like(_ROOT_HALF), shift.type)  # the least one
    exponent = build.lshr(build.add(build.sub(y.bits(), fraction), zero), shift)
    m = y.of_bits(build.sub(y.bits(), build.sub(build.shl(exponent, shift), zero)))
    unit = 2.0**known.digits
    k = y.of_bits(build.or_(exponent, build.bitcast(y.like(unit), shift.type))) - (unit + known.bias)
    k = select(tiny, k - (known.digits + 2.0), k)
    f = m - 1.0
    s = f / (f + 2.0)
    half = 0.5 * f * f
    z = s * s
    high, low = known.log2
    rest = fma(s, fma(z, polynomial(z, known.log), half), k * low)
    total = fma(k, high, f - (half - rest))
    total = select(x < float("inf"), total, x)
    return select(x > 0.0, total, select(x < 0.0, float("nan"), x - float("inf")))


def sincos(x: Number) -> tuple[Number, Number]:
    """Return sine and cosine, to 0.95 ulp for |x| <= 1e5.

    To |x| = 2^49 (2^20 in float32) the error is at most 3 ulp of 1: pi / 2 in three parts reaches that far. Beyond,
    where neighbouring numbers are 0.1 and more apart, they are 0 and 1; of infinity NaN.
    """
    known, build = constants(x), x.code.builder
    y = abs(x)
    y = select(y > 2.0 ** (known.digits - 3), x - x, y)
    first, second, third = known.half_pi
    rounded = fma(y, 1.0 / first, known.rounder)
    k = rounded - known.rounder
    start = fma(k, -first, y)
    step = k * second
    r = start - step
    rest = ((start - r) - step) - fma(k, third, fma(k, second, -step))
    z = r * r
    odd = r + fma(r * z, polynomial(z, known.sin), rest)
    half = 0.5 * z
    high = 1.0 - half
    even = high + (((1.0 - high) - half) + fma(z * z, polynomial(z, known.cos), -(r * rest)))
    quarter, one = rounded.bits(), y.word(1)
    swap = build.icmp_unsigned("!=", build.and_(quarter, one), y.word(0))
    sine, cosine = select(swap, even, odd), select(swap, odd, even)
    of_sine = build.xor(_second_bit(y, quarter), x.sign())
    return sine.flipped(of_sine), cosine.flipped(_second_bit(y, build.add(quarter, one)))


def _second_bit(x: Number, bits: Any) -> Any:
    """Return the second lowest bit where the sign is."""
    build = x.code.builder
    return build.shl(build.and_(bits, x.word(2)), x.word(x.code.precision.word.width - 2))


def sin(x: Number) -> Number:
    """Return the sine."""
    return sincos(x)[0]


def cos(x: Number) -> Number:
    """Return the cosine."""
    return sincos(x)[1]


def tail_ratio(a: Number) -> tuple[Number, Number]:
    """Return two numbers whose quotient is F(-a) / f(a), of the normal distribution.

    It is 1 / (a + R(a)) with R rational: where a is large, R is small and its errors hardly count.
    """
    over = polynomial(a, constants(a).tail_over)
    return over, fma(a, over, polynomial(a, constants(a).tail))
