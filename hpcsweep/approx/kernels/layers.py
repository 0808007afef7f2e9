"""What happens to signals between the products: activations, their derivatives, residuals and losses.

Matrices have one row for each neuron, `stride` apart, and lie in `work`; samples are columns.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from hpcsweep.approx.kernels.activations import ACTIVATIONS, Activation
from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import Kernel, kernel
from hpcsweep.approx.kernels.vectors import Array, Index, Number, fma


def _by_activation(smooth: bool) -> Callable[[Callable[..., None]], Kernel[None]]:
    """Return a decorator that makes a kernel of a function (code, activation, ...).

    The kernel takes the number of the activation and calls one of several kernels, each written for one activation: all
    of them, or those that are `smooth`.
    """
    known = {number: one for number, one in enumerate(ACTIVATIONS.values()) if one.derivatives or not smooth}

    def decorate(function: Callable[..., None]) -> Kernel[None]:
        signature = inspect.signature(function)
        code, activation, *others = signature.parameters.values()
        without, numbered = ([code, *others], [code, activation.replace(annotation="Index"), *others])
        kernels = {}
        for number, one in known.items():

            def special(code: Code, *arguments: Array | Index, one: Activation = one) -> None:
                function(code, one, *arguments)

            kernels[number] = _described(
                special, signature.replace(parameters=without), f"{function.__name__}_{one.name}"
            )

        def chosen(code: Code, activation: Index, *arguments: Array | Index) -> None:
            for number, one in kernels.items():
                with code.when(activation.is_(number)):
                    one.write(code, *arguments)

        return _described(chosen, signature.replace(parameters=numbered), function.__name__)

    return decorate


def _described(function: Callable[..., None], signature: inspect.Signature, name: str) -> Kernel[None]:
    """Make a kernel of a function that shall have another signature and name."""
    function.__signature__, function.__qualname__ = signature, name  # type: ignore[attr-defined]
    return kernel(function)


@_by_activation(smooth=False)
def bend(
    code: Code, activation: Activation, rows: Index, columns: Index, stride: Index, work: Array, at: Index, out: Index
) -> None:
    """Pass a matrix through an activation, in place; write its derivatives at `out`."""
    with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
        entries = work + (i * stride + s)
        value, slope = activation.value_and_slope(entries.vector(at))
        entries.put(value, at)
        entries.put(slope, out)


@_by_activation(smooth=False)
def bend_values(
    code: Code, activation: Activation, rows: Index, columns: Index, stride: Index, work: Array, at: Index
) -> None:
    """Pass a matrix through an activation, in place."""
    with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
        entries = work + (at + i * stride + s)
        entries.put(activation.value(entries.vector()))


@_by_activation(smooth=True)
def bend_channels(
    code: Code,
    activation: Activation,
    rows: Index,
    columns: Index,
    slopes: Index,
    stride: Index,
    block: Index,
    work: Array,
    at: Index,
    kept_at: Index,
    factors_at: Index,
) -> None:
    """Pass value, slopes and curvature through a smooth activation, in place; what entered stays at `kept_at`."""
    last = (slopes + 1) * columns
    with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
        entries, factors = work + (i * stride + s), work + (factors_at + s)
        entering, curved = entries.vector(at), (entries + at).vector(last)
        entries.put(entering, kept_at)
        (entries + kept_at).put(curved, last)
        value, first, second, _ = activation.derivatives(entering)  # type: ignore[misc]
        entries.put(value, at)
        squares = code.variable(code.vector(0.0))
        with code.loop(slopes) as j:
            channel = entries + (j + 1) * columns
            slope = channel.vector(at)
            channel.put(slope, kept_at)
            channel.put(first * slope, at)
            squares.set(fma(factors.vector(j * block) * slope, slope, squares.get()))
        (entries + at).put(fma(second, squares.get(), first * curved), last)


@_by_activation(smooth=True)
def pull_channels(
    code: Code,
    activation: Activation,
    rows: Index,
    columns: Index,
    slopes: Index,
    stride: Index,
    block: Index,
    work: Array,
    at: Index,
    kept_at: Index,
    factors_at: Index,
) -> None:
    """Turn the derivatives by what left a smooth activation into those by what entered it, in place."""
    last = (slopes + 1) * columns
    with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
        entries, factors = work + (i * stride + s), work + (factors_at + s)
        curved, above = (entries + kept_at).vector(last), (entries + at).vector(last)
        _, first, second, third = activation.derivatives(entries.vector(kept_at))  # type: ignore[misc]
        squares, total = code.variable(code.vector(0.0)), code.variable(code.vector(0.0))
        with code.loop(slopes) as j:
            channel, factor = entries + (j + 1) * columns, factors.vector(j * block)
            slope, delta = channel.vector(kept_at), channel.vector(at)
            squares.set(fma(factor * slope, slope, squares.get()))
            total.set(fma(delta, slope, total.get()))
            channel.put(fma(2.0 * above * second, factor * slope, delta * first), at)
        by_value = fma(third, squares.get(), second * curved)
        entries.put(fma(above, by_value, fma(second, total.get(), entries.vector(at) * first)), at)
        (entries + at).put(above * first, last)


@kernel
def combine_channels(
    code: Code, columns: Index, slopes: Index, block: Index, work: Array, at: Index, factors_at: Index
) -> None:
    """Replace the value of a network by what an equation asks of it: its value times a factor, plus its curvature."""
    with code.loop(columns, code.lanes) as s:
        entries, factor = work + (at + s), (work + (factors_at + s)).vector(slopes * block)
        entries.put(fma(factor, entries.vector(), entries.vector((slopes + 1) * columns)))


@kernel
def spread_channels(
    code: Code, columns: Index, slopes: Index, block: Index, work: Array, at: Index, factors_at: Index
) -> None:
    """Hand a derivative by that to the channels."""
    with code.loop(columns, code.lanes) as s:
        entries, factor = work + (at + s), (work + (factors_at + s)).vector(slopes * block)
        delta = entries.vector()
        with code.loop(slopes) as j:
            entries.put(code.vector(0.0), (j + 1) * columns)
        entries.put(delta, (slopes + 1) * columns)
        entries.put(factor * delta)


@kernel
def subtract(code: Code, columns: Index, work: Array, at: Index, values_at: Index) -> None:
    """Make residuals of outputs."""
    with code.loop(columns, code.lanes) as s:
        entries = work + (at + s)
        entries.put(entries.vector() - (work + values_at).vector(s))


@kernel
def squares(code: Code, columns: Index, work: Array, at: Index) -> Number:
    """Return the sum of squares."""
    total = code.variable(code.vector(0.0))
    with code.loop(columns, code.lanes) as s:
        terms = (work + at).vector(s)
        total.set(fma(terms, terms, total.get()))
    return total.get().sum()


@kernel
def scale(code: Code, columns: Index, factor: Number, work: Array, at: Index) -> None:
    """Multiply by a number."""
    with code.loop(columns, code.lanes) as s:
        entries = work + (at + s)
        entries.put(entries.vector() * factor.spread())
