"""What happens to signals between the products: activations, their derivatives, residuals and losses.

Matrices have one row for each neuron, `stride` apart, and lie in `work`; samples are columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcsweep.approx.kernels.activations import ACTIVATIONS, Activation
from hpcsweep.approx.kernels.code import Code, Variable
from hpcsweep.approx.kernels.compiling import kernel
from hpcsweep.approx.kernels.vectors import Array, Index, Number, fma, select


def _bend(name: str, activation: Activation) -> Any:
    def bend(code: Code, rows: Index, columns: Index, stride: Index, work: Array, at: Index, slopes_at: Index) -> None:
        with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
            place = work + (i * stride + s)
            value, slope = activation.value_and_slope(place.vector(at))
            place.put(value, at)
            place.put(slope, slopes_at)

    return _named(bend, f"bend_{name}")


def _bend_values(name: str, activation: Activation) -> Any:
    def bend(code: Code, rows: Index, columns: Index, stride: Index, work: Array, at: Index) -> None:
        with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
            place = work + (at + i * stride + s)
            place.put(activation.value(place.vector()))

    return _named(bend, f"bend_values_{name}")


def _named(function: Callable[..., None], name: str) -> Any:
    function.__qualname__ = name
    return kernel(function)


def _bend_channels(name: str, activation: Activation) -> Any:
    def bend(
        code: Code,
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
        """Pass value, slopes and curvature through an activation; what entered stays at `kept_at`."""
        last = (slopes + 1) * columns
        with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
            place, factors = work + (i * stride + s), work + (factors_at + s)
            entering, curved = place.vector(at), (place + at).vector(last)
            place.put(entering, kept_at)
            (place + kept_at).put(curved, last)
            value, first, second, _ = activation.derivatives(entering)  # type: ignore[misc]
            place.put(value, at)
            squares = code.variable(code.vector(0.0))
            with code.loop(slopes) as j:
                channel = place + (j + 1) * columns
                slope = channel.vector(at)
                channel.put(slope, kept_at)
                channel.put(first * slope, at)
                squares.set(fma(factors.vector(j * block) * slope, slope, squares.get()))
            (place + at).put(fma(second, squares.get(), first * curved), last)

    return _named(bend, f"bend_channels_{name}")


def _pull_channels(name: str, activation: Activation) -> Any:
    def pull(
        code: Code,
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
        """Turn the derivatives by what left an activation into those by what entered it."""
        last = (slopes + 1) * columns
        with code.loop(rows) as i, code.loop(columns, code.lanes) as s:
            place, factors = work + (i * stride + s), work + (factors_at + s)
            curved, above = (place + kept_at).vector(last), (place + at).vector(last)
            _, first, second, third = activation.derivatives(place.vector(kept_at))  # type: ignore[misc]
            squares, total = code.variable(code.vector(0.0)), code.variable(code.vector(0.0))
            with code.loop(slopes) as j:
                channel, factor = place + (j + 1) * columns, factors.vector(j * block)
                slope, delta = channel.vector(kept_at), channel.vector(at)
                squares.set(fma(factor * slope, slope, squares.get()))
                total.set(fma(delta, slope, total.get()))
                channel.put(fma(2.0 * above * second, factor * slope, delta * first), at)
            by_value = fma(third, squares.get(), second * curved)
            place.put(fma(above, by_value, fma(second, total.get(), place.vector(at) * first)), at)
            (place + at).put(above * first, last)

    return _named(pull, f"pull_channels_{name}")


_BENDS = [_bend(name, one) for name, one in ACTIVATIONS.items()]
_BENDS_OF_VALUES = [_bend_values(name, one) for name, one in ACTIVATIONS.items()]
_SMOOTH = [(place, *one) for place, one in enumerate(ACTIVATIONS.items()) if one[1].derivatives is not None]
_BENDS_OF_CHANNELS = {place: _bend_channels(name, one) for place, name, one in _SMOOTH}
_PULLS_OF_CHANNELS = {place: _pull_channels(name, one) for place, name, one in _SMOOTH}


@kernel
def bend(
    code: Code,
    activation: Index,
    rows: Index,
    columns: Index,
    stride: Index,
    work: Array,
    at: Index,
    slopes_at: Index,
) -> None:
    """Pass a matrix through an activation, in place; write its derivatives elsewhere."""
    for place, one in enumerate(_BENDS):
        with code.when(activation.is_(place)):
            one.write(code, rows, columns, stride, work, at, slopes_at)


@kernel
def bend_values(
    code: Code, activation: Index, rows: Index, columns: Index, stride: Index, work: Array, at: Index
) -> None:
    """Pass a matrix through an activation, in place."""
    for place, one in enumerate(_BENDS_OF_VALUES):
        with code.when(activation.is_(place)):
            one.write(code, rows, columns, stride, work, at)


@kernel
def bend_channels(
    code: Code,
    activation: Index,
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
    for place, one in _BENDS_OF_CHANNELS.items():
        with code.when(activation.is_(place)):
            one.write(code, rows, columns, slopes, stride, block, work, at, kept_at, factors_at)


@kernel
def pull_channels(
    code: Code,
    activation: Index,
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
    for place, one in _PULLS_OF_CHANNELS.items():
        with code.when(activation.is_(place)):
            one.write(code, rows, columns, slopes, stride, block, work, at, kept_at, factors_at)


@kernel
def combine_channels(
    code: Code, columns: Index, slopes: Index, block: Index, work: Array, at: Index, factors_at: Index
) -> None:
    """Replace the value of a network by what an equation asks of it: its value times a factor, plus its curvature."""
    with code.loop(columns, code.lanes) as s:
        place, factor = work + (at + s), (work + (factors_at + s)).vector(slopes * block)
        place.put(fma(factor, place.vector(), place.vector((slopes + 1) * columns)))


@kernel
def spread_channels(
    code: Code, columns: Index, slopes: Index, block: Index, work: Array, at: Index, factors_at: Index
) -> None:
    """Hand a derivative by that to the channels."""
    with code.loop(columns, code.lanes) as s:
        place, factor = work + (at + s), (work + (factors_at + s)).vector(slopes * block)
        delta = place.vector()
        with code.loop(slopes) as j:
            place.put(code.vector(0.0), (j + 1) * columns)
        place.put(delta, (slopes + 1) * columns)
        place.put(factor * delta)


@kernel
def subtract(code: Code, columns: Index, work: Array, at: Index, values_at: Index) -> None:
    """Make residuals of outputs."""
    with code.loop(columns, code.lanes) as s:
        place = work + (at + s)
        place.put(place.vector() - (work + values_at).vector(s))


@kernel
def squares(code: Code, columns: Index, work: Array, at: Index) -> Number:
    """Return the sum of squares."""
    total = code.variable(code.vector(0.0))
    with code.loop(columns, code.lanes) as s:
        some = (work + at).vector(s)
        total.set(fma(some, some, total.get()))
    return total.get().sum()


@kernel
def scale(code: Code, columns: Index, factor: Number, work: Array, at: Index) -> None:
    """Multiply by a number."""
    with code.loop(columns, code.lanes) as s:
        place = work + (at + s)
        place.put(place.vector() * factor.spread())


@kernel
def largest(code: Code, columns: Index, work: Array, at: Index) -> Number:
    """Return the largest absolute value; NaN is passed over."""
    most = code.variable(code.vector(0.0))
    with code.loop(columns, code.lanes) as s:
        most.set(_larger(abs((work + at).vector(s)), most))
    found = most.get()
    top = Variable(found.lane(0))
    for place in range(1, code.lanes):
        top.set(_larger(found.lane(place), top))
    return top.get()


def _larger(some: Number, most: Variable) -> Number:
    return select(some > most.get(), some, most.get())
