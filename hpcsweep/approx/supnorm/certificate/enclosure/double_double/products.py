"""Products of double-doubles with constant matrices, by exact products of matrices of whole numbers.

Rows are cut into slices of `bits` bits below their largest number: whole numbers whose products, in whatever order a
library adds them up, fused or not, are exact (Ozaki, Ogita, Oishi and Rump, Error-free transformations of matrix
multiplication by using fast routines, Numer. Algorithms 59, 2012). Not so by Strassen's method or by float64 that is
emulated: see `rounding`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.double_double import error_free
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import SQUARE, add, cat, result
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.error_free import Pair
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, own
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import UNIT
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import moved

_SLICES = 6
_BLOCK = 1 << 20  # numbers of a matrix that are cut at a time: some 100 MiB of slices
_MOST = 900  # of the exponents by which rows are scaled: far from overflow and underflow


def power_of_two(exponents: Tensor) -> Tensor:
    """Return 2^n exactly for int64 -1022 <= n <= 1023."""
    return ((exponents + 1023) << 52).view(torch.float64)


def product(x: DoubleDouble, weight: Tensor) -> DoubleDouble:
    """Return x W^T, (points, outputs), for x (points, inputs) and a float64 matrix W (outputs, inputs).

    Rows are scaled by powers of two to numbers below 1, and cut: x = sum_p q_p 2^(-p b) + rest, with whole numbers
    |q_p| <= 2^b and |rest| <= 2^(-S b), S = `_SLICES`, b = `bits`; likewise W. A product of slices p and r counts
    2^(-(p + r) b). Those with p + r = t are added up in one product of matrices, of at most S n whole numbers of at
    most 2^(2 b), hence below 2^53 and exact. Left out are p + r > S + 1, fewer than S^2 pairs, and both rests, each at
    most 2^(-S b): fewer than 64 n 2^(-S b), with n inputs.

    The sums T_t 2^(-t b), |T_t 2^(-t b)| <= S n 2^(-(t - 2) b), are added up from the smallest, with errors of
    4 u^2 (|sum| + |T_t 2^(-t b)|) each: of all but the last sum less than 4 u^2 * 4 S n 2^-b, of the last one
    4 u^2 (2 |result| + 4 S n 2^-b): together below 8 u^2 |result| + 256 n 2^-b u^2.
    """
    inputs = weight.shape[1]
    bits = (53 - math.ceil(math.log2(_SLICES * inputs))) // 2
    places, values = _slices(x.leading, x.trailing, bits)
    rows, weights = _slices(weight, torch.zeros_like(weight), bits)
    left, right = torch.cat(values, 1), torch.cat(weights[::-1], 1)
    pair: Pair | None = None
    for count in range(_SLICES, 0, -1):
        exact = left[:, : count * inputs] @ right[:, (_SLICES - count) * inputs :].T  # p + r = count + 1
        term = exact.mul_(2.0 ** (-(count + 1) * bits))
        zero = torch.zeros_like(term)
        pair = (term, zero) if pair is None else error_free.add((term, zero), pair)
    assert pair is not None
    radius = pair[0].abs().mul_(8 * SQUARE).add_(inputs * (256 * 2.0**-bits * SQUARE + 64 * 2.0 ** (-_SLICES * bits)))
    scales = power_of_two(places)[:, None], power_of_two(rows)
    pair, radius = (pair[0] * scales[0] * scales[1], pair[1] * scales[0] * scales[1]), radius * scales[0] * scales[1]
    # an inner product of n positive terms is too small by n + 1 roundings at most
    carried = (x.radius @ weight.abs().T).mul_(1 + 2 * (inputs + 2) * UNIT)
    return result(pair, radius.add_(carried))


def _slices(leading: Tensor, trailing: Tensor, bits: int) -> tuple[Tensor, list[Tensor]]:
    """Return exponents e (rows,) and `_SLICES` whole matrices q_p: row = 2^e (sum_p q_p 2^(-p bits) + rest).

    Scaling is exact. A number minus the nearest whole one is exact; the sum with the trailing part is made again
    without error. What is left is at most 1/2 and the trailing part, together below 1.
    """
    largest = leading.abs().amax(1)
    exponents = torch.frexp(largest).exponent.to(torch.int64).clamp(-_MOST, _MOST)  # largest < 2^exponents
    scale = torch.where(largest < 2.0**_MOST, power_of_two(-exponents), math.nan)[:, None]
    pair = leading * scale, trailing * scale
    slices = []
    for _ in range(_SLICES):
        pair = pair[0] * 2.0**bits, pair[1] * 2.0**bits
        whole = pair[0].round()
        slices.append(whole)
        pair = error_free.two_sum(pair[0] - whole, pair[1])
    return exponents, slices


@own("linear")
def linear(x: DoubleDouble | Tensor, weight: Tensor, bias: Tensor | None = None) -> DoubleDouble:
    """torch.nn.functional.linear with constant weights of any dtype."""
    if isinstance(x, Tensor) or isinstance(weight, DoubleDouble) or isinstance(bias, DoubleDouble):
        raise NoEnclosure("linear with these arguments")
    if weight.ndim != 2 or x.ndim < 2:
        raise NoEnclosure("linear with these arguments")
    outputs, inputs = weight.shape
    if not inputs or not outputs:
        raise NoEnclosure("a sum of nothing")
    parts = [part.reshape(-1, inputs) for part in (x.leading, x.trailing, x.radius)]
    blocks = weight.detach().to(torch.float64).split(max(1, _BLOCK // inputs))
    rows = cat([product(DoubleDouble(*parts), block) for block in blocks], 1)
    values = moved(rows, lambda part, _: part.reshape(*x.shape[:-1], outputs))
    return values if bias is None else add(values, bias)
