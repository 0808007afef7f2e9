"""Values of a frozen network at points and their slopes by the inputs: block after block, with a point in each lane.

So what comes out for a point has the same bits in whatever company, order and number points are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from hpcsweep.approx.kernels import layers, matrices, network
from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import INTEGERS, NOTHING, VECTOR, entry, kernel
from hpcsweep.approx.kernels.network import Rooms, upwards
from hpcsweep.approx.kernels.problem import (
    ACTIVATION,
    BLOCK,
    CHANNELS,
    LANES,
    LAYERS,
    LONGEST,
    PARAMETERS,
    SKIP,
    WIDTHS,
    ZERO,
    Shape,
    aligned,
    lanes,
)
from hpcsweep.approx.kernels.vectors import Array, Index, Integers

_ROW: Final = 768  # bytes of a neuron's signals in a block: whole tiles of a product; 576 to 960 are as fast


@kernel
def _load(
    code: Code,
    shape: Integers,
    source: Array,
    points: Index,
    constants: Array,
    work: Array,
    stride: Index,
    start: Index,
    columns: Index,
) -> None:
    """Put the standardised inputs of a block into the work; copies of its first point fill the last vector."""
    inputs, whole = shape[WIDTHS], (points - start).least(columns).rounded_down(code.lanes)
    with code.loop(inputs) as k:
        shift, factor = constants.number(k), constants.number(inputs + k)
        row, out = source + k * points, work + k * stride
        with code.loop(whole, code.lanes) as s:
            out.put((row.vector(start + s) - shift.spread()) * factor.spread(), s)
        with code.loop(columns, start=whole) as s:
            out.put((row.number((start + s).where(start + s < points, start)) - shift) * factor, s)


@kernel
def _values_of_block(code: Code, point: Array, shape: Integers, work: Array, columns: Index) -> Index:
    """Compute the outputs of a block, its signals in two matrices in turn; return where they are."""
    stride = shape[BLOCK]
    now = code.variable(code.index(0))
    for layer in upwards(code, shape):
        below = now.get()
        above = (stride * shape[LONGEST]).where(below.is_(0), 0)
        left, bias = (point, layer.start, layer.row, 1), (point, layer.start + layer.inputs, layer.row)
        matrices.product.write(code, layer.outputs, layer.inputs, columns, *left, *bias, work, below, stride, work,
                               above, stride)  # fmt: skip
        with code.when(layer.is_bent):
            layers.bend_values.write(code, shape[ACTIVATION], layer.outputs, columns, stride, work, above)
        with code.when(layer.is_around):
            matrices.add.write(code, layer.outputs, columns, stride, work, below, above)
        now.set(above)
    return now.get()


@kernel
def _slopes_of_block(code: Code, point: Array, shape: Integers, work: Array, columns: Index) -> Index:
    """Compute the derivatives of the outputs of a block, which are there, by its inputs; return where they are."""
    with code.loop(columns, code.lanes) as s:
        (work + Rooms(code, shape).deltas()).put(code.vector(1.0), s)
    return network.by_inputs(code, point, shape, work, columns)


@entry(NOTHING, VECTOR, INTEGERS, VECTOR, VECTOR, VECTOR, VECTOR)
def values(
    point: np.ndarray, shape: np.ndarray, source: np.ndarray, constants: np.ndarray, work: np.ndarray, out: np.ndarray
) -> None:
    """Write the values (points,) at points that lie axis by axis in `source`; `constants` are shifts, then factors."""
    points, block = len(out), shape[BLOCK]
    for start in range(0, points, block):
        real = min(points - start, block)
        columns = -(-real // shape[LANES]) * shape[LANES]
        _load(shape, source, points, constants, work, block, start, columns)
        outputs = _values_of_block(point, shape, work, columns)
        for s in range(real):
            out[start + s] = work[outputs + s]


@entry(NOTHING, VECTOR, INTEGERS, VECTOR, VECTOR, VECTOR, VECTOR, VECTOR)
def values_and_slopes(
    point: np.ndarray,
    shape: np.ndarray,
    source: np.ndarray,
    constants: np.ndarray,
    work: np.ndarray,
    out: np.ndarray,
    slopes: np.ndarray,
) -> None:
    """Write the values, and the slopes (points, inputs) row by row."""
    points, block, inputs = len(out), shape[BLOCK], shape[WIDTHS]
    outputs = (2 * shape[LAYERS] - 1) * (shape[LONGEST] + 1) * block  # as `Rooms.deltas` says
    for start in range(0, points, block):
        real = min(points - start, block)
        columns = -(-real // shape[LANES]) * shape[LANES]
        _load(shape, source, points, constants, work, block, start, columns)
        network.forward(point, shape, work, columns)
        for s in range(real):
            out[start + s] = work[outputs + s]
        derivatives = _slopes_of_block(point, shape, work, columns)
        for s in range(real):
            for k in range(inputs):
                slopes[(start + s) * inputs + k] = work[derivatives + k * block + s] * constants[inputs + k]


@dataclass(frozen=True, eq=False)
class Frozen:
    """A network with its parameters, as a function of points; threads may share it.

    Attributes
    ----------
    network : its shape, of no equation
    point : (parameters,), which say the precision
    constants : (2, inputs) of the same, the shift and the factor of the input map x -> (x - shift) * factor
    """

    network: Shape
    point: np.ndarray
    constants: np.ndarray

    def values(self, points: np.ndarray) -> np.ndarray:
        """Return the values (points,) at points (inputs, points), rows of one axis each, in the network's precision."""
        out = np.empty(points.shape[1], dtype=self.point.dtype)
        work = self._work(2 * max(self.network.widths))
        values[out.dtype](*self._arguments(points), work, out)
        return out

    def values_and_slopes(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the values (points,) and their derivatives by the inputs (points, inputs), likewise."""
        out = np.empty(points.shape[1], dtype=self.point.dtype)
        slopes = np.empty(points.T.shape, dtype=out.dtype)
        work = self._work(self._rows_of_slopes)
        values_and_slopes[out.dtype](*self._arguments(points), work, out, slopes.reshape(-1))
        return out, slopes

    def _arguments(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        source = np.ascontiguousarray(points, dtype=self.point.dtype)
        return self.point, self._shape, source.reshape(-1), self.constants.reshape(-1)

    @cached_property
    def _block(self) -> int:
        return _ROW // self.point.dtype.itemsize

    @property
    def _rows_of_slopes(self) -> int:
        """Rows of a block that slopes take."""
        return 2 * len(self.network.widths) * (max(self.network.widths) + 1)

    @cached_property
    def _shape(self) -> np.ndarray:
        widths = self.network.widths
        shape = np.zeros(WIDTHS + len(widths), dtype=np.int64)
        shape[[BLOCK, LANES, CHANNELS, LAYERS]] = self._block, lanes(self.point.dtype), 1, len(widths) - 1
        shape[[SKIP, ACTIVATION, LONGEST]] = self.network.skip, self.network.activation, max(widths)
        shape[[PARAMETERS, ZERO]] = self.network.parameters, self._rows_of_slopes * self._block
        shape[WIDTHS:] = widths
        return shape

    def _work(self, rows: int) -> np.ndarray:
        """Return room for so many rows of a block, from where a vector may begin, and a zero behind them."""
        work = aligned(rows * self._block + 1, self.point.dtype, np.empty)
        work[-1] = 0.0
        return work
