"""Products of models in double-double, and functions of one variable of them.

Let |.| be the sum of the sizes of coefficients, which are real numbers known to lie in double-doubles. With the models
p + [-r, r] and q + [-s, s], what the product p q has beyond the order is at most the sum of |p_i| |q_j| over degrees
i + j above the order; the remainder is that, and |p| s + |q| r + r s.

For a function g of u + p + e, with the real constant u, the polynomial p without constant, |p| <= h, and |e| <= r,

    g(u + p + e) = sum_(m <= k) g_m p^m + g_(k+1) p^(k+1) + g^(k+2)(there) p^(k+2) / (k+2)! + g'(somewhere) e,

where both places are within h + r of u, and the g_m are the coefficients at u, enclosed (`series`). The remainder has
|g_(k+1)| h^(k+1) + M h^(k+2) with a bound M of |g^(k+2)| / (k+2)!, a bound of |g'| times r, and what Horner's scheme
cuts off: S_m = g_m + p S_(m+1) is cut at degree k - m, since it will be multiplied by p^m, and its error is at most h
times that of S_(m+1), and what is cut off now. A power of a linear p is a sum of monomials times multinomial
coefficients, and nothing is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import add, multiply
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, exact
from hpcsweep.approx.supnorm.certificate.enclosure.precise.model import Model, each, each_row, rows, sizes, stacked, up
from hpcsweep.approx.supnorm.certificate.enclosure.precise.series import EXPANSIONS
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series import SERIES


@lru_cache(64)
def _targets(table: Monomials) -> list[Tensor]:
    """Return for each monomial which monomials its products with 1, t_1, ... are, as far as they are in the table."""
    number = {tuple(a): n for n, a in enumerate(table.exponents.tolist())}
    products = [[tuple(row) for row in (a + table.exponents).tolist()] for a in table.exponents]
    return [torch.tensor([number[b] for b in row if b in number]) for row in products]


@lru_cache(64)
def _multinomials(table: Monomials) -> Tensor:
    """Return |a|! / (a_1! ... a_d!) for each monomial, whole numbers."""
    counts = [math.factorial(sum(a)) // math.prod(map(math.factorial, a)) for a in table.exponents.tolist()]
    return torch.tensor(counts, dtype=torch.float64)


def _roundings(table: Monomials) -> int:
    """Bound the roundings of each factor or summand that a remainder is made of, as for float64 models.

    A norm has one for each coefficient and two for its size; a step of Horner's scheme those of two norms, one for each
    pair of degrees, and 6.
    """
    count, order = table.counts[-1], table.order
    return (order + 1) * (2 * (count + 2) + (order + 1) ** 2 + 8) + 32


def _norms(table: Monomials, polynomial: DoubleDouble) -> Tensor:
    """Return the sums of the sizes of all coefficients of degree 0, 1, ...: (degrees, boxes, *features)."""
    size, count = sizes(polynomial), len(polynomial)
    first = table.degrees[: table.degree(count) + 2].tolist()
    return torch.stack([size[start:stop].sum(0) for start, stop in pairwise(first)])


def _beyond(left: Tensor, right: Tensor, order: int) -> Tensor:
    """Return a bound of what a product has beyond `order`, from the norms of both factors."""
    total = torch.zeros_like(left[0] * right[0])
    for i, size in enumerate(left):
        for other in right[max(order + 1 - i, 0) :]:
            total.addcmul_(size, other)
    return total


def _multiplied(table: Monomials, order: int, left: DoubleDouble, right: DoubleDouble, skipped: int) -> DoubleDouble:
    """Return the product up to a degree, without that of the first `skipped` coefficients of `left`."""
    shape = (table.counts[order], *torch.broadcast_shapes(left.shape[1:], right.shape[1:]))
    total = exact(torch.zeros(shape, dtype=torch.float64))
    for row in range(skipped, len(left)):
        degree = int(table.exponents[row].sum())
        count = min(len(right), table.counts[order - degree]) if degree <= order else 0
        if not count:
            break
        reached = _targets(table)[row][:count]
        term = multiply(rows(left, slice(row, row + 1)), rows(right, slice(0, count)))
        added = add(rows(total, reached), term)
        for part, values in ((total.leading, added.leading), (total.trailing, added.trailing)):
            part[reached] = values
        total.radius[reached] = added.radius
    return total


def product(table: Monomials, left: Model, right: Model) -> Model:
    """Return left * right."""
    order = min(table.order, table.degree(len(left.coefficients)) + table.degree(len(right.coefficients)))
    first, second = _norms(table, left.coefficients), _norms(table, right.coefficients)
    radius = _beyond(first, second, order)
    p, q = first.sum(0), second.sum(0)
    radius = radius + p * right.radius + q * left.radius + left.radius * right.radius
    return Model(_multiplied(table, order, left.coefficients, right.coefficients, 0), up(radius, _roundings(table)))


def compose(table: Monomials, name: str, model: Model) -> Model:
    """Return g(model) for a function g of `series.EXPANSIONS`."""
    degree, beyond = table.degree(len(model.coefficients)), SERIES[name].beyond
    order = table.order if degree else 0
    constant = each(model.coefficients, lambda part: part[0])
    norms = _norms(table, model.coefficients)
    norms[0] = 0.0
    reach = norms.sum(0)
    radii = up(constant.trailing.abs() + constant.radius + reach + model.radius, _roundings(table))
    *outer, last = EXPANSIONS[name](constant, order + 2)
    if degree <= 1:
        coefficients, lost = _of_linear(table, order, model.coefficients, outer), torch.zeros_like(reach)
    else:
        coefficients, lost = _horner(table, order, model.coefficients, norms, outer)
    tail = sizes(last).addcmul_(beyond(order + 2, constant.leading, radii), reach)
    for _ in range(order + 1):
        tail.mul_(reach)
    slope = sizes(outer[1] if order else last).addcmul_(beyond(2, constant.leading, radii), radii, value=2.0)
    slope = torch.minimum(slope, beyond(1, constant.leading, radii))
    return Model(coefficients, up(tail.add_(lost).addcmul_(slope, model.radius), _roundings(table)))


def _horner(
    table: Monomials, order: int, inner: DoubleDouble, norms: Tensor, outer: Sequence[DoubleDouble]
) -> tuple[DoubleDouble, Tensor]:
    """Return sum_m outer_m p^m up to `order`, p = inner without its constant, and what is cut off; see above.

    `norms`: those of p by degree.
    """
    total, lost, reach = each_row([outer[order]]), torch.zeros_like(norms[0]), norms.sum(0)
    for m in reversed(range(order)):
        lost = lost.mul_(reach).add_(_beyond(norms, _norms(table, total), order - m))
        above = rows(_multiplied(table, order - m, inner, total, 1), slice(1, None))
        total = stacked([each_row([outer[m]]), above])
    return total, lost


def _of_linear(table: Monomials, order: int, inner: DoubleDouble, outer: Sequence[DoubleDouble]) -> DoubleDouble:
    """Return sum_m outer_m p^m with a linear p."""
    power, parts = exact(torch.ones_like(inner.leading[:1])), [each_row([outer[0]])]
    for m in range(1, order + 1):
        first, last = table.degrees[m : m + 2].tolist()
        parents = torch.from_numpy(table.parents[first:last] - table.degrees[m - 1])
        power = multiply(rows(power, parents), rows(inner, torch.from_numpy(1 + table.axes[first:last])))
        counts = _multinomials(table)[first:last].reshape(-1, *[1] * (inner.ndim - 1))
        weight = multiply(each_row([outer[m]]), exact(counts)) if table.dimension > 1 else each_row([outer[m]])
        parts.append(multiply(power, weight))
    return stacked(parts)
