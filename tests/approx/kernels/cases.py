"""Networks, samples, and what torch says of them: what the tests of the kernels share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import kernel
from hpcsweep.approx.kernels.objective import objective
from hpcsweep.approx.kernels.problem import Problem, Shape, aligned, padded
from hpcsweep.approx.kernels.vectors import Array, Index, Number
from hpcsweep.approx.models import MLP, Residual
from hpcsweep.approx.models.operators import SecondOrder
from hpcsweep.approx.training import streams
from hpcsweep.approx.training.settings import method_of, rates_of
from hpcsweep.approx.training.single import methods, network_training
from hpcsweep.config import OptimizerConfig

Floats = np.ndarray[Any, Any]
DOUBLE = torch.float64
NO_MARKS = np.empty(0, dtype=np.int64)
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-4}


@dataclass(frozen=True)
class Case:
    """A network with its samples, in float64; `dtype` is the precision in which the kernels see them."""

    model: MLP | Residual | SecondOrder
    parameters: Tensor
    inputs: Tensor
    values: Tensor
    dtype: Any

    @staticmethod
    def of(
        hidden: list[int],
        dimension: int,
        samples: int,
        kind: str = "mlp",
        activation: str = "tanh",
        dtype: Any = np.float64,
    ) -> Case:
        """Return a network of a kind ("mlp", "residual", "poisson") with random parameters and samples."""
        domain, choice = [(-1.0, 2.0)] * dimension, {"hidden": hidden, "activation": activation}
        network = (Residual if kind == "residual" else MLP)(choice, dimension, domain)
        model = SecondOrder(network) if kind == "poisson" else network
        generator = torch.Generator().manual_seed(samples + 1000 * len(hidden) + sum(hidden))
        parameters = network.init([samples + sum(hidden)], DOUBLE)[0]
        parameters = parameters + 0.1 * torch.randn(len(parameters), generator=generator, dtype=DOUBLE)
        inputs = torch.randn(samples, model.dimension, generator=generator, dtype=DOUBLE)
        values = torch.sin(2 * inputs.sum(1)) + 0.1 * torch.randn(samples, generator=generator, dtype=DOUBLE)
        one = Case(model, parameters, inputs, values, np.dtype(dtype))
        return one if dtype is np.float64 else one.rounded()

    def rounded(self) -> Case:
        """Return the case whose numbers are those that float32 has."""
        single = {
            name: getattr(self, name).float().double() for name in ("parameters", "inputs", "values")
        }  # so that only the arithmetic differs
        return replace(self, **single)

    @property
    def shape(self) -> Shape:
        shape = network_training.shape_of(self.model)
        assert shape is not None
        return shape

    @property
    def tolerance(self) -> float:
        return TOLERANCE[self.dtype]

    def problem(self, power: int = 2, batch: int | None = None, seed: int = 0, block: int | None = None) -> Problem:
        inputs, values = (one.numpy().astype(self.dtype) for one in (self.inputs, self.values))
        return Problem.of(self.shape, inputs, values, power, batch, int(streams.keys([seed])[0]), block)

    def point(self, parameters: Tensor | None = None) -> Floats:
        """Return parameters as the kernels want them."""
        given = self.parameters if parameters is None else parameters
        point = aligned(padded(len(given), self.dtype), self.dtype)
        point[: len(given)] = given.numpy()
        return point

    def method(self, settings: OptimizerConfig) -> methods.Method:
        """Return a method at the start, on all samples or on minibatches of seed 0."""
        samples = len(self.values)
        batch, block = settings.minibatch(samples), method_of(settings).block(self.shape.parameters, samples)
        problem, start = self.problem(settings.power, batch, block=block), self.point()[: len(self.parameters)].copy()
        return method_of(settings).alone(methods.Start(self.shape, problem, rates_of(settings), start))


def evaluated(case: Case, problem: Problem, parameters: Tensor | None = None, done: int = 0) -> tuple[float, Floats]:
    """Return loss and gradient (parameters,) of the kernels."""
    point = case.point(parameters)
    gradient = np.full_like(point, np.nan)
    loss = objective[case.dtype](point, gradient, *problem.arrays, done)
    count = len(case.parameters)
    assert not gradient[count:].any()
    return loss, gradient[:count].astype(np.float64)


def naive(case: Case, power: int = 2, rows: Tensor | None = None, parameters: Tensor | None = None) -> tuple:
    """Return loss and gradient by torch's autograd, in float64."""
    rows = torch.arange(len(case.values)) if rows is None else rows
    leaf = (case.parameters if parameters is None else parameters).clone().requires_grad_()
    residuals = case.model.evaluate(leaf, case.inputs[rows]) - case.values[rows]
    loss = (residuals**power).mean() ** (2 / power)
    [slope] = torch.autograd.grad(loss, leaf)
    return loss.item(), slope.numpy()


def assert_near(found: Any, expected: Any, tolerance: float) -> None:
    """Check a relative error, of the largest number."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    error = np.abs(found - expected).max(initial=0.0)
    assert error <= tolerance * np.abs(expected).max(initial=1e-300), error / np.abs(expected).max(initial=1e-300)


def choice(**fields: Any) -> OptimizerConfig:
    """Return settings that go on for ever."""
    return OptimizerConfig.of({"name": "adam", "steps": 10**6, "learning_rate": 1e-2, **fields})


def iterates(method: methods.Method, steps: int) -> list[Floats]:
    """Return the iterates 0, 1, ..., steps."""
    points = []
    for step in range(steps + 1):
        status = method.advance(NO_MARKS, 0, step, -1.0, 10**6)
        while method.state.steps < step and status == 0:  # Levenberg-Marquardt pauses
            status = method.advance(NO_MARKS, 0, step, -1.0, 10**6)
        points.append(method.iterate.copy())
    return points


def by_lanes_and_by_numbers(values: Callable[[Number, Number, Number], Sequence[Number]]) -> tuple[Any, Any]:
    """Return two compiled functions of arrays (x, y, z, out); they write `values` of x, y and z, one row after another.

    The first one computes with vectors, the second one number by number.
    """

    @kernel
    def lanes(code: Code, x: Array, y: Array, z: Array, out: Array, count: Index) -> None:
        with code.loop(count, code.lanes) as i:
            for row, value in enumerate(values(x.vector(i), y.vector(i), z.vector(i))):
                out.put(value, count * row + i)

    @kernel
    def numbers(code: Code, x: Array, y: Array, z: Array, out: Array, count: Index) -> None:
        with code.loop(count) as i:
            for row, value in enumerate(values(x.number(i), y.number(i), z.number(i))):
                out.put(value, count * row + i)

    return (
        numba.njit(lambda x, y, z, out: lanes(x, y, z, out, len(x))),
        numba.njit(lambda x, y, z, out: numbers(x, y, z, out, len(x))),
    )


def is_compiled_for_avx512(function: Any) -> bool:
    """Return whether instructions of AVX-512 are in a compiled function."""
    return any("zmm" in text for text in function.inspect_asm().values())
