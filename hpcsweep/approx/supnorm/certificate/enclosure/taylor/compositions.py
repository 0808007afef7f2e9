"""Products of Taylor models, and functions of one variable of them, with rigorous remainders.

Let |.| of a polynomial be the sum of the absolute values of its coefficients, which bounds it on |t_i| <= 1.

**Products.** With models p + [-r, r] and q + [-s, s], p q is computed up to the order. What is cut off is at most the
sum of |p_i| |q_j| over degrees i + j above the order, where p_i is the part of degree i. A coefficient is a sum of n
products of coefficients, n <= `most_pairs`, and errs by gamma(n) times the sum of their absolute values, in any order
of summation (`rounding`). Each pair of coefficients of p and q contributes to one coefficient alone, so that all
roundings together are at most gamma(n) |p| |q|. The remainder is that, and |p| s + |q| r + r s.

**Functions.** Let the argument be u + p + e with the constant u, which is a float64 and exact, the polynomial p without
constant, |p| <= h, and |e| <= r. With the coefficients g_m of g at u,

    g(u + p + e) = g(u + p) + g'(somewhere) e = sum_(m <= k) g_m p^m + g_(k+1) p^(k+1) + g^(k+2)(there) p^(k+2) / (k+2)!
                   + g'(somewhere) e,

where both places are within h + r of u. So four parts make the remainder: (1) |g_(k+1)| h^(k+1) + M h^(k+2) with a
bound M of |g^(k+2)| / (k+2)!; (2) a bound of |g'| times r; (3) for the errors of the computed coefficients, the sum of
their bounds times h^m; (4) what Horner's scheme loses. Its sums S_m = g_m + p S_(m+1) are cut at degree k - m, since
they will be multiplied by p^m, which has no lower degrees. The error of S_m is at most h times that of S_(m+1), and
what is cut off, and gamma(n) |S_(m+1)| h of roundings: as for products, with n below `most_pairs`; g_m itself is
written as it is. All these numbers are computed beside (`kernels.polynomials.compose`). Where p is linear, the
multinomial theorem has the coefficients of p^m: as products of 3 m + 1 factors, and g_m, which err by gamma(3 m + 2)
of themselves, the sum of the absolute values being h^m.

The bounds are sums of products of numbers that are not negative, so that their own roundings are a factor, which
`_own_roundings` counts. An underflow is at most 1e-300 in any operation. `TINY` in each step covers those of the step,
and is added before a later factor above 1 can enlarge them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels import polynomials
from hpcsweep.approx.kernels.bounds import remainders
from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series import SERIES, Series

_POOR = 0.1  # a remainder of more than so much of the reach of a function may be worse than that of straight lines
_REAL = np.float64


def _flat(values: Tensor) -> np.ndarray:
    return values.detach().contiguous().numpy().reshape(-1)


def _own_roundings(table: Monomials) -> int:
    """Bound the roundings of each factor or summand that a bound of a remainder is made of.

    A norm has one for each coefficient; a step of Horner's scheme that of a norm, one for each pair of degrees, and 6.
    """
    count, order = table.counts[-1], table.order
    return (order + 1) * (2 * count + (order + 1) ** 2 + 8) + 32


def product(table: Monomials, left: AffineForm, right: AffineForm) -> AffineForm:
    """Return left * right for features of one shape."""
    order = min(table.order, table.degree(len(left.terms)) + table.degree(len(right.terms)))
    columns, rows = left.radius.numel(), table.counts[order]
    out, lost = np.empty(rows * columns), np.empty(columns)
    degrees, sizes = table.degrees[: order + 2], (len(left.terms), len(right.terms), rows, columns)
    multiply = polynomials.multiply[_REAL]
    multiply(order, *sizes, degrees, table.starts, table.pairs, _flat(left.terms), _flat(right.terms), out, lost)
    first, second = (form.center.abs() + form.reach() for form in (left, right))
    radius = torch.from_numpy(lost).view(left.shape)
    radius.addcmul_(first, second, value=gamma(table.most_pairs + 1))
    radius.addcmul_(first + left.radius, right.radius).addcmul_(second, left.radius)
    radius.mul_(1 + gamma(_own_roundings(table))).add_(TINY)
    return AffineForm(torch.from_numpy(out).view(rows, *left.shape), radius)


def compose(table: Monomials, name: str, form: AffineForm, straight: Callable[[AffineForm], AffineForm]) -> AffineForm:
    """Return g(form) for a function g of `series.SERIES`, without a known range.

    Parameters
    ----------
    straight: g on affine forms, for the entries of a form (entries,) on which that may be better
    """
    rule, degree = SERIES[name], table.degree(len(form.terms))
    order = table.order if degree else 0
    reach = form.reach()
    radii = reach + form.radius  # to one rounding, which the rules count
    series = rule.expand(form.center, order + 2)
    coefficients = torch.stack(series.coefficients)
    terms, lost = _composed(table, order, degree, form, coefficients[:-1])
    beyond = rule.bounds((order + 2, 2, 1), form.center, radii)
    linear = gamma(3 * order + 2) if degree == 1 and order else 0.0
    radius = _remainder(order, linear, gamma(_own_roundings(table)), series, coefficients, beyond, reach, form, lost)
    poor = ~(radius > 0.0)  # also what is not a number
    result = AffineForm(terms, radius.abs_())
    return _straightened(form, result, poor, straight) if poor.any() else result


def _composed(table: Monomials, order: int, degree: int, form: AffineForm, outer: Tensor) -> tuple[Tensor, Tensor]:
    """Return the terms of sum_m outer_m p^m, and bounds of what Horner's scheme loses, (boxes, *features)."""
    if order == 0:
        return outer, torch.zeros_like(form.radius)
    columns, rows = form.radius.numel(), table.counts[order]
    out, lost = np.empty(rows * columns), np.zeros(columns)
    sizes, given = (order, len(form.terms), columns), (_flat(form.terms), _flat(outer))
    if degree == 1:
        linear = polynomials.compose_linear[_REAL]
        linear(*sizes, table.degrees, table.parents, table.axes, table.ratios, *given, out)
    else:
        doubts = gamma(table.most_pairs), TINY
        polynomials.compose[_REAL](*sizes, *doubts, table.degrees, table.starts, table.pairs, *given, out, lost)
    return torch.from_numpy(out).view(rows, *form.shape), torch.from_numpy(lost).view(form.shape)


def _remainder(
    order: int,
    linear: float,
    own: float,
    series: Series,
    coefficients: Tensor,
    beyond: Sequence[Tensor],
    reach: Tensor,
    form: AffineForm,
    lost: Tensor,
) -> Tensor:
    """Return remainders, of the shape of the form; negative or NaN where straight lines may have smaller ones."""
    absolute = np.array(series.absolute) if series.absolute else np.zeros(order + 2)
    scale = torch.as_tensor(series.scale, dtype=torch.float64).expand(form.shape)
    numbers = series.relative, linear, gamma(4), own, TINY, _POOR
    first, *others = (_flat(part) for part in (coefficients, scale, *beyond, reach, form.radius, lost))
    out = np.empty(form.radius.numel())
    bound: Callable[..., None] = remainders.bound[_REAL]
    bound(order, len(out), *numbers, first, absolute, *others, out)
    return torch.from_numpy(out).view(form.shape)


def _straightened(
    form: AffineForm, result: AffineForm, poor: Tensor, straight: Callable[[AffineForm], AffineForm]
) -> AffineForm:
    """Replace poor entries by those of straight lines where these have the smaller remainders."""
    places = poor.flatten().nonzero()[:, 0]
    known = None
    if form.known is not None:
        known = form.known[0].flatten()[places], form.known[1].flatten()[places]
    part = AffineForm(form.terms.flatten(1)[:, places], form.radius.flatten()[places], known)
    lines = straight(part)
    better = ~(result.radius.flatten()[places] <= lines.radius)
    places = places[better]
    terms, radius = result.terms.flatten(1), result.radius.flatten()
    terms[:, places] = 0.0
    terms[: len(lines.terms), places] = lines.terms[:, better]
    radius[places] = lines.radius[better]
    return AffineForm(terms.view_as(result.terms), radius.view_as(result.radius))
