"""Signals and derivatives of one network, with its samples in the lanes.

`point` holds the parameters, block (outputs, inputs + 1) after block as in the store. Signals are matrices in `work`,
with a row for each neuron and one of ones, which meets the biases; samples are columns, a *block* of them at a time.
Networks are perceptrons, or residual: h <- h + a(W h + b) between two linear layers.

Where an equation is learned (`hpcsweep.approx.models.operators`) each signal has d + 2 *channels* side by side: the
value, its d slopes by the inputs, and sum_j c_j of its second derivatives. Only the first meets the biases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hpcsweep.approx.kernels import layers, matrices
from hpcsweep.approx.kernels.builder import Code, Variable
from hpcsweep.approx.kernels.compiling import kernel
from hpcsweep.approx.kernels.problem import ACTIVATION, BLOCK, CHANNELS, LAYERS, LONGEST, PARAMETERS, SKIP, WIDTHS, ZERO
from hpcsweep.approx.kernels.vectors import Array, Index, Integers, Matrix


class Rooms:
    """Where matrices lie in the `work` of a problem, from its description."""

    def __init__(self, code: Code, shape: Integers) -> None:
        self._code, self._shape = code, shape
        self.channels, self.block, self.layers, self.zero = shape[CHANNELS], shape[BLOCK], shape[LAYERS], shape[ZERO]
        self.stride = self.channels * self.block  # of the rows of a matrix
        self.size = (shape[LONGEST] + 1) * self.stride

    def signals(self, layer: Index | int) -> Index:
        """Return where the inputs of a layer lie."""
        return self.size * layer

    def kept(self, layer: Index | int) -> Index:
        """Return where a layer leaves what its backward pass needs: slopes of activations, or what entered these."""
        return self.size * (self.layers + layer)

    def deltas(self, number: int = 0) -> Index:
        """Return where one of the three matrices of the backward pass lies; the outputs are the first row of them."""
        return self.size * (self.layers * 2 - 1 + number)

    def further(self, row: int = 0) -> Index:
        """Return where the values of the samples of a block lie (row 0), and factors of an equation."""
        return self.deltas(3) + self.block * row

    @property
    def residuals(self) -> Index:
        """Where the residuals of all samples lie, for losses that couple them."""
        return self.further(1) + self.block * (self._shape[WIDTHS] + 1).where(self.is_equation, 0)

    @property
    def is_equation(self) -> Any:
        """Whether there is more than one channel, as a condition."""
        return self._code.index(1) < self.channels

    def after(self, delta: Index) -> Index:
        """Return the matrix of the backward pass after this one, in turn."""
        return self.deltas(0).where(delta.is_(self.deltas(2)), delta + self.size)


class Layer:
    """One layer of a network: its sizes and where its parameters begin."""

    def __init__(self, shape: Integers, number: Index, start: Index) -> None:
        self.number, self.start = number, start
        self.inputs, self.outputs = shape[number + WIDTHS], shape[number + (WIDTHS + 1)]
        self.row = self.inputs + 1  # distance of the rows of its block
        last = shape[LAYERS] - 1
        builder = number.code.builder
        inner = builder.or_(number.code.index(0) < number, shape[SKIP].is_(0))
        self.is_bent = builder.and_(number < last, inner)  # by an activation
        self.is_around = builder.and_(self.is_bent, shape[SKIP].is_(1))  # its inputs are added to what leaves it


def upwards(code: Code, shape: Integers) -> Iterator[Layer]:
    """Write what follows for each layer from the first on."""
    start = code.variable(code.index(0))
    with code.loop(shape[LAYERS]) as number:
        layer = Layer(shape, number, start.get())
        yield layer
        start.set(layer.start + layer.outputs * layer.row)


def downwards(code: Code, shape: Integers) -> Iterator[Layer]:
    """Write what follows for each layer from the last on."""
    start = code.variable(shape[PARAMETERS])
    with code.loop(shape[LAYERS]) as above:
        number = shape[LAYERS] - 1 - above
        start.set(start.get() - shape[number + (WIDTHS + 1)] * (shape[number + WIDTHS] + 1))
        yield Layer(shape, number, start.get())


@kernel
def forward(code: Code, point: Array, shape: Integers, work: Array, columns: Index) -> None:
    """Compute the signals of a block from those of the first layer, and its outputs.

    `columns` are samples, a multiple of the lanes.
    """
    room = Rooms(code, shape)
    slopes = room.channels - 2
    for layer in upwards(code, shape):
        signals = room.signals(layer.number)
        out = room.signals(layer.number + 1).where(layer.number < room.layers - 1, room.deltas())
        left = point, layer.start, layer.row, 1
        matrices.product.write(code, layer.outputs, layer.inputs, columns, *left, point, layer.start + layer.inputs,
                               layer.row, work, signals, room.stride, work, out, room.stride)  # fmt: skip
        with code.when(room.is_equation):
            wide = (room.channels - 1) * columns
            matrices.product.write(code, layer.outputs, layer.inputs, wide, *left, work, room.zero, 0, work,
                                   signals + columns, room.stride, work, out + columns, room.stride)  # fmt: skip
        with code.when(layer.is_bent):
            where = room.stride, work, out, room.kept(layer.number)
            with code.when(room.channels.is_(1)):
                layers.bend.write(code, shape[ACTIVATION], layer.outputs, columns, *where)
            with code.when(room.is_equation):
                layers.bend_channels.write(code, shape[ACTIVATION], layer.outputs, columns, slopes, room.stride,
                                           room.block, *where[1:], room.further(1))  # fmt: skip
        with code.when(layer.is_around):
            matrices.add.write(code, layer.outputs, columns, room.stride, work, signals, out)
    with code.when(room.is_equation):
        layers.combine_channels.write(code, columns, slopes, room.block, work, room.deltas(), room.further(1))


def _pulled(code: Code, shape: Integers, room: Rooms, work: Array, columns: Index, layer: Layer, now: Index) -> Index:
    """Take derivatives by what leaves a layer to those by what enters its activation; return where these are."""
    pulled = room.after(now).where(layer.is_around, now)
    with code.when(layer.is_bent):
        kept = room.kept(layer.number)
        with code.when(room.channels.is_(1)):
            matrices.multiply.write(code, layer.outputs, columns, room.stride, work, now, kept, pulled)
        with code.when(room.is_equation):
            layers.pull_channels.write(code, shape[ACTIVATION], layer.outputs, columns, room.channels - 2, room.stride,
                                       room.block, work, now, kept, room.further(1))  # fmt: skip
    return pulled


def _descend(
    code: Code,
    point: Array,
    room: Rooms,
    work: Array,
    columns: Index,
    layer: Layer,
    pulled: Index,
    now: Variable[Index],
) -> None:
    """Take derivatives through the weights of a layer, to those by its inputs, which are the next `now`."""
    below = room.after(pulled)
    matrices.product.write(code, layer.inputs, layer.outputs, room.channels * columns, point, layer.start, 1, layer.row,
                           work, room.zero, 0, work, pulled, room.stride, work, below, room.stride)  # fmt: skip
    with code.when(layer.is_around):
        matrices.add.write(code, layer.inputs, columns, room.stride, work, now.get(), below)
    now.set(below)


@kernel
def add_gradient(code: Code, point: Array, gradient: Array, shape: Integers, work: Array, columns: Index) -> None:
    """Add what a block gives to the gradient, from derivatives by its outputs."""
    room = Rooms(code, shape)
    now = code.variable(room.deltas())
    for layer in downwards(code, shape):
        pulled = _pulled(code, shape, room, work, columns, layer, now.get())
        left, right = (work, pulled, room.stride), (work, room.signals(layer.number), room.stride)
        matrices.add_outer.write(code, layer.outputs, layer.row, room.channels * columns, 1.0, *left, *right, gradient,
                                 layer.start, layer.row)  # fmt: skip
        with code.when(code.index(0) < layer.number):
            _descend(code, point, room, work, columns, layer, pulled, now)


@kernel
def write_jacobian(
    code: Code, point: Array, shape: Integers, work: Array, columns: Index, out: Matrix, gram: Matrix
) -> None:
    """Write the derivatives of the outputs of a block by each parameter, a row each, from derivatives by its outputs.

    Where `gram.row` is not 0 their products, summed over parameters, are added to a lower triangle.
    """
    room = Rooms(code, shape)
    now = code.variable(room.deltas())
    for layer in downwards(code, shape):
        pulled, signals = _pulled(code, shape, room, work, columns, layer, now.get()), room.signals(layer.number)
        left, right = (work, pulled, room.stride), (work, signals, room.stride)
        rows = out.start, layer.start * out.row, out.row
        matrices.multiply_rows.write(code, layer.outputs, layer.row, columns, room.channels, *left, *right, *rows)
        with code.when(code.index(0) < gram.row):
            _add_gram(code, room, work, columns, layer, pulled, signals, gram)
        with code.when(code.index(0) < layer.number):
            _descend(code, point, room, work, columns, layer, pulled, now)


def _add_gram(
    code: Code, room: Rooms, work: Array, columns: Index, layer: Layer, delta: Index, signals: Index, gram: Matrix
) -> None:
    """Add what a layer gives to products of Jacobians."""
    with code.loop(room.channels) as left, code.loop(room.channels) as right, code.loop(columns, 8) as first:
        wide = columns.least((first + 8).rounded_up(code.lanes))
        one, other = left * columns, right * columns
        matrices.add_gram.write(code, first, wide, layer.outputs, layer.row, room.stride, work, delta + one,
                                signals + one, delta + other, signals + other, gram.start, 0, gram.row)  # fmt: skip


def by_inputs(code: Code, point: Array, shape: Integers, work: Array, columns: Index) -> Index:
    """Compute the derivatives by the inputs from those by the outputs; return where they are."""
    room = Rooms(code, shape)
    now = code.variable(room.deltas())
    for layer in downwards(code, shape):
        pulled = _pulled(code, shape, room, work, columns, layer, now.get())
        _descend(code, point, room, work, columns, layer, pulled, now)
    return now.get()
