"""Torch code, random networks and points in 50 digits: the truth that enclosures must contain."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np
import torch

from hpcsweep.approx.supnorm.dense import Dense

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
    return x * mp.ncdf(x)


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
    "arcsinh": mp.asinh,
    "softsign": lambda x: x / (1 + abs(x)),
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
    "elu": lambda x, alpha=1.0: x if x > 0 else mp.mpf(alpha) * mp.expm1(x),
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
OTHERS: dict[str, Callable[..., Any]] = {
    "linear": lambda x, weight, bias=0.0: _mp(x) @ _mp(weight).T + _mp(bias),
    "matmul": lambda x, matrix: _mp(x) @ _mp(matrix),
    "where": lambda condition, one, other: np.where(_mp(condition), _mp(one), _mp(other)),
    "sum": lambda x, dim: _mp(x).sum(axis=dim),
    "mean": lambda x, dim: _mp(x).sum(axis=dim) / x.shape[dim],
    "prod": lambda x, dim: _mp(x).prod(axis=dim),
    "amax": lambda x, dim: _mp(x).max(axis=dim),
    "linalg_vector_norm": lambda x, dim: np.vectorize(mp.sqrt, otypes=[object])((_mp(x) * _mp(x)).sum(axis=dim)),
    "clamp": lambda x, min, max: np.minimum(np.maximum(_mp(x), mp.mpf(min)), mp.mpf(max)),
    "stack": lambda parts, dim: np.stack([_mp(part) for part in parts], axis=dim),
    "cat": lambda parts, dim: np.concatenate([_mp(part) for part in parts], axis=dim),
    "ones_like": lambda x: np.full(x.shape, mp.mpf(1), dtype=object),
    "zeros_like": lambda x: np.full(x.shape, mp.mpf(0), dtype=object),
}


def _operator(name: str) -> Callable[..., Any]:
    return lambda *operands: Exact.apply(name, *operands)


def _reflected(name: str) -> Callable[..., Any]:
    return lambda value, other: Exact.apply(name, other, value)


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
        return cls(OTHERS[name](*args, **kwargs))

    def __getitem__(self, index: Any) -> Exact:
        return Exact(self.values[index])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: Exact.apply(name, self, *args, **kwargs)

    __neg__, __add__, __sub__, __mul__ = (_operator(name) for name in ("neg", "add", "sub", "mul"))
    __truediv__, __pow__, __radd__, __rmul__ = (_operator(name) for name in ("div", "pow", "add", "mul"))
    __rsub__, __rtruediv__ = _reflected("sub"), _reflected("div")
    __lt__, __le__, __gt__, __ge__ = (_operator(name) for name in ("lt", "le", "gt", "ge"))


# Networks


def random_network(
    generator: np.random.Generator,
    dimension: int,
    hidden: Sequence[int],
    activation: str,
    scale: float = 1.0,
    amplitude: float = 1.0,
    standardised: bool = False,
) -> Dense:
    """Return a network with normal weights that keep the size of signals, times `scale`."""
    widths = [dimension, *hidden, 1]
    weights = [generator.normal(size=(o, i)) * scale / np.sqrt(i) for i, o in pairwise(widths)]
    biases = [generator.normal(size=o) * scale / 2 for o in widths[1:]]
    constants = torch.from_numpy(generator.normal(size=(2, dimension))) if standardised else (None, None)
    to_torch = [tuple(map(torch.from_numpy, some)) for some in (weights, biases)]
    return Dense(*to_torch, activation, constants[0], constants[1], amplitude)


def exactly(network: Dense, point: Sequence[mp.mpf]) -> mp.mpf:
    """Return the value of a network at a point."""
    signal = np.array(point)
    if network.shift is not None and network.factor is not None:
        signal = (signal - _mp(network.shift)) * _mp(network.factor)
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        signal = _mp(weight) @ signal + _mp(bias)
        if layer + 1 < len(network.weights):
            signal = np.array([UNARY[network.activation](x) for x in signal])
    return mp.mpf(network.amplitude) * signal[0]


def place(unit: Sequence[mp.mpf], domain: Sequence[tuple[float, float]]) -> list[mp.mpf]:
    """Return the point of the domain that a unit point in [-1, 1]^d stands for."""
    return [((1 - u) * mp.mpf(low) + (1 + u) * mp.mpf(high)) / 2 for u, (low, high) in zip(unit, domain, strict=True)]


def corners_and_others(generator: np.random.Generator, dimension: int) -> tuple[np.ndarray, ...]:
    """Unit coordinates of the centre, a corner, and any point of a box."""
    return np.zeros(dimension), generator.choice([-1.0, 1.0], dimension), generator.uniform(-1, 1, dimension)
