"""Numbers of 50 digits that run torch code: the truth that enclosures must contain."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import torch

mp.mp.dps = 50


def _mp(value: Any) -> Any:
    """Return numbers as arrays of exact mpf; conditions stay conditions."""
    if isinstance(value, Exact):
        return value.values
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return array if array.dtype == bool else np.vectorize(lambda x: mp.mpf(float(x)), otypes=[object])(array)


def _positive(x: mp.mpf) -> mp.mpf:
    return x if x > 0 else mp.mpf(0)


def _gelu(x: mp.mpf, approximate: str = "none") -> mp.mpf:
    if approximate == "tanh":
        return x * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3))) / 2
    return x * (1 + mp.erf(x / mp.sqrt(2))) / 2


UNARY: dict[str, Callable[..., mp.mpf]] = {
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "tanh": mp.tanh,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": lambda x: mp.log(1 + x),
    "sqrt": mp.sqrt,
    "rsqrt": lambda x: 1 / mp.sqrt(x),
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
    "abs": abs,
    "neg": operator.neg,
    "arctan": mp.atan,
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "erf": mp.erf,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "relu": _positive,
    "gelu": _gelu,
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "softplus": lambda x: x if x > 20 else mp.log(1 + mp.exp(x)),
    "log_sigmoid": lambda x: -mp.log(1 + mp.exp(-x)),
    "leaky_relu": lambda x, negative_slope: x if x > 0 else mp.mpf(negative_slope) * x,
    "elu": lambda x, alpha: x if x > 0 else mp.mpf(alpha) * (mp.exp(x) - 1),
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": lambda x, power: np.vectorize(lambda y: mp.power(y, mp.mpf(float(power))), otypes=[object])(x),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "lt": lambda x, y: np.less(x, y).astype(bool),
    "le": lambda x, y: np.less_equal(x, y).astype(bool),
    "gt": lambda x, y: np.greater(x, y).astype(bool),
    "ge": lambda x, y: np.greater_equal(x, y).astype(bool),
}


class Exact:
    """(points, *features) of mpf, with the operations of a tensor that targets and the test's expressions use."""

    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def ndim(self) -> int:
        return self.values.ndim

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return cls.apply(function.__name__, *args, **(kwargs or {}))

    @classmethod
    def apply(cls, name: str, *args: Any, **kwargs: Any) -> Any:
        if name in UNARY:
            kwargs.pop("inplace", None)
            function = np.vectorize(lambda x: UNARY[name](x, **kwargs), otypes=[object])
            return cls(function(args[0].values))
        if name in BINARY:
            result = BINARY[name](*(_mp(part) for part in args))
            return torch.from_numpy(result) if result.dtype == bool else cls(result)
        return getattr(cls, f"_{name}")(*args, **kwargs)

    def _linear(self, weight: Any, bias: Any = None) -> Exact:
        product = self.values @ _mp(weight).T
        return Exact(product if bias is None else product + _mp(bias))

    def _matmul(self, matrix: Any) -> Exact:
        return Exact(self.values @ _mp(matrix))

    def _where(condition: Any, one: Any, other: Any) -> Exact:
        return Exact(np.where(_mp(condition), _mp(one), _mp(other)))

    def _sum(self, dim: int) -> Exact:
        return Exact(self.values.sum(axis=dim))

    def _mean(self, dim: int) -> Exact:
        return Exact(self.values.sum(axis=dim) / self.shape[dim])

    def _prod(self, dim: int) -> Exact:
        return Exact(self.values.prod(axis=dim))

    def _amax(self, dim: int) -> Exact:
        return Exact(self.values.max(axis=dim))

    def _linalg_vector_norm(self, dim: int) -> Exact:
        return Exact.apply("sqrt", Exact((self.values * self.values).sum(axis=dim)))

    def _clamp(self, min: float, max: float) -> Exact:
        return Exact(np.minimum(np.maximum(self.values, mp.mpf(min)), mp.mpf(max)))

    def _stack(parts: Any, dim: int) -> Exact:
        return Exact(np.stack([_mp(part) for part in parts], axis=dim))

    def _cat(parts: Any, dim: int) -> Exact:
        return Exact(np.concatenate([_mp(part) for part in parts], axis=dim))

    def _ones_like(self) -> Exact:
        return Exact(np.full(self.shape, mp.mpf(1), dtype=object))

    def _zeros_like(self) -> Exact:
        return Exact(np.full(self.shape, mp.mpf(0), dtype=object))

    def __getitem__(self, index: Any) -> Exact:
        return Exact(self.values[index])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: Exact.apply(name, self, *args, **kwargs)

    def __neg__(self) -> Exact:
        return Exact(-self.values)

    def __add__(self, other: Any) -> Exact:
        return Exact.apply("add", self, other)

    def __sub__(self, other: Any) -> Exact:
        return Exact.apply("sub", self, other)

    def __rsub__(self, other: Any) -> Exact:
        return Exact.apply("sub", other, self)

    def __mul__(self, other: Any) -> Exact:
        return Exact.apply("mul", self, other)

    def __truediv__(self, other: Any) -> Exact:
        return Exact.apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Exact:
        return Exact.apply("div", other, self)

    def __pow__(self, power: Any) -> Exact:
        return Exact.apply("pow", self, power)

    def __ge__(self, other: Any) -> Any:
        return Exact.apply("ge", self, other)

    def __gt__(self, other: Any) -> Any:
        return Exact.apply("gt", self, other)

    def __le__(self, other: Any) -> Any:
        return Exact.apply("le", self, other)

    def __lt__(self, other: Any) -> Any:
        return Exact.apply("lt", self, other)

    __radd__, __rmul__ = __add__, __mul__
