"""Torch code on balls: arrays of power series, in one variable s, whose coefficients are real numbers with a radius.

A number is a series of one coefficient. What a function gives for x + h s has its Taylor coefficients along h: exactly
those at a point x, and where x is a box, balls that contain those at all points of the box. `flint.ctx.cap` says how
many coefficients are kept, `flint.ctx.prec` with how many bits.

Where a function has a kink within a ball, the first coefficient is a ball of all slopes, and those beyond are NaN,
which FLINT compares with nothing; where it jumps, the first one is NaN too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from flint import arb, arb_series, ctx
from torch import Tensor

_LONG = 64  # coefficients of a constant, of which all but the first are known to be 0
_NAN = arb("nan")

# Whether `where` gives balls that contain both sides, coefficient by coefficient, whatever its condition.
both_sides: ContextVar[bool] = ContextVar("both_sides", default=False)


class NoBalls(Exception):
    """An operation that has no ball arithmetic; `str` of it is its name, or what it raised."""


class Balls:
    """An array of series, for code that is written for tensors: views share memory, as those of tensors do."""

    dtype, device, requires_grad = torch.float64, torch.device("cpu"), False
    __array_ufunc__ = None  # an array of NumPy before an operator leaves it to us

    def __init__(self, array: Any) -> None:
        """`array`: of objects, or one object."""
        if not isinstance(array, np.ndarray):
            array, one = np.empty((), object), array
            array[()] = one
        self.array: np.ndarray = array
        self.shape, self.ndim = torch.Size(array.shape), array.ndim

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = {name: value for name, value in (kwargs or {}).items() if name != "inplace" or value}
        return _operation(function.__name__)(*args, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what NumPy and others ask for
            raise AttributeError(name)
        return functools.partial(_operation(name), self)

    def __bool__(self) -> bool:
        raise NoBalls("if")

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, key: Any) -> Balls:
        return Balls(self.array[_index(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.array[_index(key)] = array_of(value)

    @property
    def T(self) -> Balls:
        """The transpose."""
        return Balls(self.array.T)


def array_of(value: Any) -> np.ndarray:
    """Return the array of balls, or of a tensor or number, which are exact."""
    if isinstance(value, Balls):
        return value.array
    if isinstance(value, Tensor):
        return _constant(value, value._version)
    return Balls(_SERIES(np.asarray(value))).array


@functools.lru_cache(maxsize=256)
def _constant(tensor: Tensor, version: int) -> np.ndarray:
    """Return a tensor as balls; made once for frozen layers."""
    return Balls(_SERIES(tensor.detach().cpu().numpy())).array


_SERIES = np.frompyfunc(lambda number: arb_series([number], _LONG), 1, 1)


def _index(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_index, key))
    return key.numpy() if isinstance(key, Tensor) else key


def _operation(name: str) -> Callable[..., Any]:
    if name in _OPERATIONS:
        return _OPERATIONS[name]
    if name.endswith("_") and name[:-1] in _OPERATIONS:
        return lambda target, *args, **kwargs: _in_place(target, _OPERATIONS[name[:-1]], *args, **kwargs)
    raise NoBalls(name)


def _in_place(target: Balls, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Balls:
    target.array[...] = operation(target, *args, **kwargs).array
    return target


def _each(function: Callable[..., Any], arguments: int = 1) -> Callable[..., Balls]:
    """Return an operation that acts on each element, and takes numbers and tensors beside balls."""
    ufunc = np.frompyfunc(function, arguments, 1)
    return lambda *values: Balls(ufunc(*map(array_of, values)))


def _mixed(value: arb, *sides: arb_series) -> arb_series:
    """Return a function that has a kink here and is one of these on either side; without any, one that jumps."""
    slope = functools.reduce(arb.union, [side[1] for side in sides]) if sides else _NAN
    return arb_series([value, slope, *[_NAN] * ctx.cap][: ctx.cap])


def _larger(one: arb_series, other: arb_series) -> arb_series:
    if one[0] > other[0]:
        return one
    return other if one[0] < other[0] else _mixed(one[0].max(other[0]), one, other)


def _chosen(condition: bool | None, one: arb_series, other: arb_series) -> arb_series:
    if both_sides.get():
        return arb_series([one[order].union(other[order]) for order in range(ctx.cap)])
    if condition is None:
        return _mixed(one[0].union(other[0]))
    return one if condition else other


def _greater(one: arb_series, other: arb_series) -> bool | None:
    return True if one[0] > other[0] else False if one[0] <= other[0] else None


def _at_least(one: arb_series, other: arb_series) -> bool | None:
    return True if one[0] >= other[0] else False if one[0] < other[0] else None


def _equal(one: arb_series, other: arb_series) -> bool | None:
    return True if one[0] == other[0] else None if one[0].overlaps(other[0]) else False


def _quotient(one: arb_series, other: arb_series) -> arb_series:
    return arb_series([_NAN] * ctx.cap) if other[0].contains(0) else one / other


def _power(base: arb_series, exponent: arb_series) -> arb_series:
    """Whole powers by products, since FLINT has none of a ball around 0; others where the base is positive."""
    number = float(exponent[0])
    if len(exponent.coeffs()) > 1 or not exponent[0].is_exact():
        raise NoBalls("pow of a variable exponent")
    if number != int(number):
        return base.sqrt() if number == 0.5 else (base.log() * exponent).exp()
    product = functools.reduce(lambda power, _: power * base, range(abs(int(number))), arb_series([1], _LONG))
    return product if number >= 0 else _quotient(arb_series([1], _LONG), product)


def tanh(series: arb_series) -> arb_series:
    """By y' = (1 - y^2) z', coefficient by coefficient: k y_k = sum_j j z_j (1 - y^2)_(k - j)."""
    z = series.coeffs() or [arb(0)]
    y: list[Any] = [z[0].tanh()]
    slope: list[Any] = [1 - y[0] * y[0]]
    for k in range(1, ctx.cap if len(z) > 1 else 1):
        y.append(sum(j * z[j] * slope[k - j] for j in range(1, min(k, len(z) - 1) + 1)) / k)
        slope.append(-sum(y[j] * y[k - j] for j in range(k + 1)))
    return arb_series(y, _LONG if len(z) == 1 else ctx.cap)


def sigmoid(series: arb_series) -> arb_series:
    """1 / (1 + exp(-z))."""
    return (tanh(series / 2) + 1) / 2


def _gelu(values: Balls, approximate: str = "none") -> Balls:
    """z (1 + erf(z / sqrt 2)) / 2."""
    if approximate != "none":
        raise NoBalls("gelu by tanh")
    return values * (1 + Balls(values.array / arb(2).sqrt()).erf()) / 2


def relu(series: arb_series) -> arb_series:
    """max(z, 0)."""
    return _larger(series, arb_series([0], _LONG))


def _absolute(series: arb_series) -> arb_series:
    return _mixed(abs(series[0]), series, -series) if series[0].contains(0) else _larger(series, -series)


def _reduced(ufunc: Any) -> Callable[..., Balls]:
    def reduced(values: Balls, dim: Any = None, keepdim: bool = False) -> Balls:
        return Balls(ufunc.reduce(values.array, axis=tuple(dim) if isinstance(dim, list) else dim, keepdims=keepdim))

    return reduced


def _clamped(values: Any, min: Any = None, max: Any = None) -> Balls:
    low = values if min is None else Balls(_MAXIMUM(array_of(values), array_of(min)))
    return low if max is None else Balls(_MINIMUM(array_of(low), array_of(max)))


def _joined(join: Callable[..., Any]) -> Callable[..., Balls]:
    return lambda parts, dim=0: Balls(join([array_of(part) for part in parts], axis=dim))


def _shaped(values: Balls, *shape: Any) -> Balls:
    return Balls(values.array.reshape(shape[0] if isinstance(shape[0], Sequence) else shape))


def _parts(values: Balls, size: int, dim: int = 0) -> list[Balls]:
    return [Balls(part) for part in np.split(values.array, range(size, values.shape[dim], size), axis=dim)]


def _converted(values: Any, *ways: Any) -> Any:
    if any(isinstance(way, torch.dtype) and way != torch.float64 for way in ways):
        raise NoBalls("to another precision")
    return values


def _affine(values: Any, weight: Any, bias: Any = None) -> Balls:
    product = np.matmul(array_of(values), array_of(weight).T)
    return Balls(product if bias is None else product + array_of(bias))


def _is_condition(value: Any) -> bool:
    if isinstance(value, Balls):
        return not any(isinstance(entry, arb_series) for entry in value.array.flat)
    return isinstance(value, Tensor) and value.dtype == torch.bool


def _where(condition: Any, one: Any, other: Any) -> Balls:
    if not _is_condition(condition):  # the method, which has the values first
        condition, one = one, condition
    decided = condition.array if isinstance(condition, Balls) else condition.numpy().astype(object)
    return Balls(np.frompyfunc(_chosen, 3, 1)(decided, array_of(one), array_of(other)))


def _filled(number: float) -> Callable[..., Balls]:
    return lambda values: Balls(array_of(np.full(values.shape, number)))


_MAXIMUM = np.frompyfunc(_larger, 2, 1)
_MINIMUM = np.frompyfunc(lambda one, other: -_larger(-one, -other), 2, 1)
_ARITHMETIC = {
    **{"add": lambda one, other: one + other, "sub": lambda one, other: one - other, "truediv": _quotient},
    **{"mul": lambda one, other: one * other, "pow": _power},
    **{"gt": _greater, "ge": _at_least, "eq": _equal},
    **{"lt": lambda one, other: _greater(other, one), "le": lambda one, other: _at_least(other, one)},
}
_ELEMENTWISE = {
    **{name: getattr(arb_series, name) for name in ("sin", "cos", "tan", "exp", "erf", "log", "sqrt", "rsqrt")},
    **{f"{before}{name}": getattr(arb_series, f"a{name}") for before in ("a", "arc") for name in ("sin", "cos", "tan")},
    **{"tanh": tanh, "sigmoid": sigmoid, "relu": relu, "silu": lambda x: x * sigmoid(x)},
    **{"neg": lambda x: -x, "square": lambda x: x * x, "abs": _absolute, "absolute": _absolute},
    "reciprocal": lambda x: _quotient(arb_series([1], _LONG), x),
}
_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: _each(function) for name, function in _ELEMENTWISE.items()},
    **{name: _each(function, 2) for name, function in {**_ARITHMETIC, "div": _quotient}.items()},
    **{"true_divide": _each(_quotient, 2), "maximum": _each(_larger, 2), "clamp": _clamped, "where": _where},
    **{"minimum": lambda one, other: Balls(_MINIMUM(array_of(one), array_of(other)))},
    **{"sum": _reduced(np.add), "prod": _reduced(np.multiply), "amax": _reduced(_MAXIMUM), "amin": _reduced(_MINIMUM)},
    **{"stack": _joined(np.stack), "cat": _joined(np.concatenate), "reshape": _shaped, "view": _shaped},
    **{"unsqueeze": lambda x, dim: Balls(np.expand_dims(x.array, dim)), "split": _parts},
    **{"squeeze": lambda x, dim=None: Balls(np.squeeze(x.array, dim))},
    **{"matmul": lambda one, other: Balls(np.matmul(array_of(one), array_of(other))), "linear": _affine},
    **{"addmm": lambda bias, one, other: Balls(np.matmul(array_of(one), array_of(other)) + array_of(bias))},
    **{"ones_like": _filled(1.0), "zeros_like": _filled(0.0)},
    **{"to": _converted, "detach": _converted, "contiguous": _converted, "double": _converted},
    **{"clone": lambda x: Balls(x.array.copy()), "gelu": _gelu},
}


def _add_operators() -> None:
    """Give `Balls` the operators of tensors; where a number or tensor stands before it, the same the other way."""
    for name in (*_ARITHMETIC, "matmul", "neg", "abs"):
        setattr(Balls, f"__{name}__", lambda one, *other, do=_OPERATIONS[name]: do(one, *other))
        if name in ("add", "sub", "mul", "truediv", "pow", "matmul"):
            setattr(Balls, f"__r{name}__", lambda one, other, do=_OPERATIONS[name]: do(other, one))
            setattr(Balls, f"__i{name}__", functools.partialmethod(_in_place, _OPERATIONS[name]))


_add_operators()
