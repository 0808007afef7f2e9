"""Values together with their gradients and Laplacians: what torch code says of differential equations.

A `Jet` is a function of the place in d variables as its value u, its d first derivatives, and the sum of its second
derivatives. Code written for points runs on jets as it runs on forms, so that one forward pass has all of them:

    Laplace (u v) = u Laplace v + v Laplace u + 2 sum_i u_i v_i,
    Laplace g(u) = g'(u) Laplace u + g''(u) sum_i u_i^2

(the forward Laplacian: Li et al., arXiv 2307.08214, section 3). The parts of a jet are affine forms, Taylor models or
double-doubles, whose arithmetic encloses each of them with all roundings. A rule that only calls other rules is a
formula, which holds on jets too; where a function has kinks, or no derivatives here, `NoEnclosure` is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure, apply, constant
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import doubted
from hpcsweep.approx.supnorm.certificate.enclosure.axes import KINDS
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble, exact
from hpcsweep.approx.supnorm.certificate.enclosure.jets.derivatives import DERIVATIVES, Part, Second
from hpcsweep.approx.supnorm.certificate.enclosure.numbers import Numbers
from hpcsweep.approx.supnorm.certificate.enclosure.rules import ARITHMETICS, Rule
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import exact_form, moved, shared
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import present


@final
class Jet(Numbers):
    """A function with its first derivatives and its Laplacian, all with the boxes or points first, and of one shape.

    Only `+=` and its like change a jet, as they change a tensor.

    Parameters
    ----------
    value: the function itself
    slopes: its derivative by each variable
    laplacian: the sum of its second derivatives by the same variable

    Attributes
    ----------
    viewed: whether another name may stand for the same numbers, as a view of a tensor does.
    """

    __slots__ = ("laplacian", "slopes", "value", "viewed")

    def __init__(self, value: Part, slopes: Sequence[Part], laplacian: Part) -> None:
        self.value, self.slopes, self.laplacian = value, tuple(slopes), laplacian
        self.viewed = False

    @property
    def _values(self) -> Part:
        return self.value

    def each(self, function: Callable[[Part], Part]) -> Jet:
        """Apply a linear operation, which is the same of a function and of its derivatives."""
        return Jet(function(self.value), [*map(function, self.slopes)], function(self.laplacian))


def jet(points: AffineForm | DoubleDouble) -> Jet:
    """Return the coordinates themselves, (boxes, dimension), as a jet: their gradients are unit vectors."""
    like = AffineForm(points.terms[:1], points.radius) if present() and isinstance(points, AffineForm) else points
    rows = torch.eye(points.shape[1], dtype=torch.float64, device=points.device)
    units = [exact_form(row.expand(points.shape).contiguous(), like) for row in rows]
    coordinates = Jet(points, units, exact_form(torch.zeros_like(units[0].radius), like))
    coordinates.viewed = True
    return coordinates


def laplacian(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the Laplacian of a function (points, dimension) -> (points,): of points as float64, else enclosed.

    Raises
    ------
    NoEnclosure: where a function has kinks, or no derivatives here
    """

    def second(points: Any) -> Any:
        enclosed = exact(points) if isinstance(points, Tensor) else points
        values = function(jet(enclosed))
        if not isinstance(values, Jet):
            if not isinstance(values, Tensor):
                raise NoEnclosure(f"derivatives of {type(values).__name__}")
            return points[:, 0] * 0.0  # a constant
        return values.laplacian.leading if isinstance(points, Tensor) else values.laplacian

    return second


OWN: dict[str, Rule] = {}  # in place of rules, by the first name of each
ARITHMETICS[Jet] = OWN
KINDS.append(Jet)


def _own(name: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        OWN[name] = function
        return function

    return register


@_own("add")
def add(left: Any, right: Any, *, alpha: float = 1) -> Jet:
    """Of a constant, the derivatives are zero."""
    if alpha != 1:
        raise NoEnclosure("add with alpha")
    if not isinstance(left, Jet):
        left, right = right, left
    if isinstance(right, Jet):
        return Jet(
            left.value + right.value,
            [own + other for own, other in zip(left.slopes, right.slopes, strict=True)],
            left.laplacian + right.laplacian,
        )
    value = left.value + right
    if value.shape == left.shape:
        return Jet(value, left.slopes, left.laplacian)
    zeros = torch.zeros_like(constant(right, left))  # broadcast
    return Jet(value, [slope + zeros for slope in left.slopes], left.laplacian + zeros)


@_own("neg")
def negate(values: Jet) -> Jet:
    """Exact."""
    return values.each(lambda part: -part)


@_own("sub")
def subtract(left: Any, right: Any, *, alpha: float = 1) -> Jet:
    """left + (-right), of a constant as float64: the negative of an integer may be none of its type."""
    return add(left, negate(right) if isinstance(right, Jet) else -constant(right, left), alpha=alpha)


OWN["rsub"] = lambda left, right: subtract(right, left)


@_own("mul")
def multiply(left: Any, right: Any) -> Jet:
    """The rule of Leibniz."""
    if not isinstance(left, Jet):
        left, right = right, left
    if not isinstance(right, Jet):
        return left.each(lambda part: part * right)
    if left is right:
        return square(left)
    slopes = [left.value * b + right.value * a for a, b in zip(left.slopes, right.slopes, strict=True)]
    crossed = _added([a * b for a, b in zip(left.slopes, right.slopes, strict=True)])
    second = left.value * right.laplacian + right.value * left.laplacian + crossed * 2.0
    return Jet(left.value * right.value, slopes, second)


@_own("square")
def square(values: Jet) -> Jet:
    """u^2."""
    return _composed(values, (values.value * values.value, values.value * 2.0, 2.0))


@_own("div")
def divide(left: Any, right: Any, *, rounding_mode: None = None) -> Jet:
    """left times 1 / right."""
    if rounding_mode is not None:
        raise NoEnclosure("div with rounding_mode")
    if isinstance(right, Jet):
        return multiply(left, apply("reciprocal", right))
    return left.each(lambda part: part / right)


@_own("univariate")
def composed(name: Any, values: Jet) -> Jet:
    """g(u) for a function g that has derivatives here."""
    if not isinstance(name, str) or name not in DERIVATIVES:
        raise NoEnclosure(f"derivatives of {name}" if isinstance(name, str) else "derivatives of such a power")
    return _composed(values, DERIVATIVES[name](values.value))


def _composed(values: Jet, outer: Second) -> Jet:
    """Return g(u) from g, g' and g'' at u."""
    value, first, second = outer
    squares = _added([slope * slope for slope in values.slopes])
    return Jet(value, [first * slope for slope in values.slopes], first * values.laplacian + squares * second)


def _added(parts: Sequence[Part]) -> Part:
    total, *others = parts
    for part in others:
        total = total + part
    return total


@_own("linear")
def linear(values: Jet, weight: Tensor, bias: Tensor | None = None) -> Jet:
    """The bias has no derivatives."""
    derivatives = values.each(lambda part: apply("linear", part, weight))
    return Jet(apply("linear", values.value, weight, bias), derivatives.slopes, derivatives.laplacian)


@_own("cat")
def cat(parts: Sequence[Any], dim: int = 0) -> Jet:
    """Several one after the other along a feature axis."""
    like = next(part for part in parts if isinstance(part, Jet))
    whole = [part if isinstance(part, Jet) else _constant(shared(part, like), like) for part in parts]
    columns = zip(*((part.value, *part.slopes, part.laplacian) for part in whole), strict=True)
    value, *slopes, second = (apply("cat", list(column), dim) for column in columns)
    return Jet(value, slopes, second)


@_own("exact_form")
def _constant(values: Tensor, like: Jet) -> Jet:
    number, zero = exact_form(values, like.value), exact_form(torch.zeros_like(values), like.value)
    return Jet(number, [zero] * len(like.slopes), zero)


def _refused(name: str) -> Rule:
    def refuse(*_: Any, **__: Any) -> Jet:
        raise NoEnclosure(f"derivatives of {name}")

    return refuse


OWN["sum"] = lambda values, *args, **options: values.each(lambda part: apply("sum", part, *args, **options))
OWN["moved"] = lambda values, move: values.each(lambda part: moved(part, move))
OWN["doubted"] = lambda values, roundings: values.each(lambda part: doubted(part, roundings))  # of a constant factor
OWN["within"] = lambda values, *_: values
OWN["full_like"] = lambda values, *args, **options: apply("full_like", values.value, *args, **options)
# What errs by numbers that depend on the place errs in its derivatives by nobody knows what; choices have kinks.
OWN.update({name: _refused(name) for name in ("loosened", "root", "softplus", "ge", "gt", "eq", "where", "atan2")})
