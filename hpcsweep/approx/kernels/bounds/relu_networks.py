"""Linear bounds of ReLU networks on boxes: the passes of `certificate.enclosure.layers`, `BLOCK` boxes at a time.

Forwards, each layer's values become linear functions of the place in the box with a remainder; backwards, from the
output to the inputs, lines replace the activations. The formulas are those of the torch code, which stays as the
specification, and so is the count of roundings, `doubt`: it holds for any order of summation, and here every sum runs
over one layer's neurons in one chain of fused multiplications and additions, with fewer roundings than are counted.
One product is new: the roundings of the sums over a layer of activations with |x| <= size are size times the row sums
of |W|, instead of the product of |W| with a vector that has `size` in all places. A box has the same bits in whatever
company, on all processors.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from hpcsweep.approx.kernels import matrices
from hpcsweep.approx.kernels.bounds import relu_bounds
from hpcsweep.approx.kernels.bounds.relu_bounds import BLOCK
from hpcsweep.approx.kernels.compiling import INTEGERS, NOTHING, VECTOR, entry, inlined
from hpcsweep.approx.kernels.problem import aligned

# Places in `shape`; then the widths from the inputs on, and where each layer's matrix and its neurons' numbers begin.
_LAYERS, _FULL, _WIDEST, _WIDTHS = 0, 1, 2, 3
_BOTH: Final = 2 * BLOCK  # columns of the rows of both sides


class _Network(NamedTuple):
    """A network: see `ReluNetwork`; `errors` holds the doubt of a sum, that of a bound's factor, and underflow."""

    shape: np.ndarray
    weights: np.ndarray
    magnitudes: np.ndarray
    vectors: np.ndarray
    errors: np.ndarray


class _Room(NamedTuple):
    """What a block of boxes needs; columns are boxes, or those of both sides in `rows`, `constants` and `noises`."""

    inputs: np.ndarray
    masses: np.ndarray
    sizes: np.ndarray
    low: np.ndarray
    slopes: np.ndarray
    terms: np.ndarray
    rows: np.ndarray
    constants: np.ndarray
    noises: np.ndarray
    out: np.ndarray


@inlined
def _furnished(shape: np.ndarray, work: np.ndarray) -> _Room:
    """Cut the room out of `work`, see `_room_needed`."""
    d, layers, widest = shape[_WIDTHS], shape[_LAYERS], shape[_WIDEST]
    inputs, work = work[: 3 * d * BLOCK], work[3 * d * BLOCK :]
    masses, work = work[: d * BLOCK], work[d * BLOCK :]
    sizes, work = work[: (layers + 1) * BLOCK], work[(layers + 1) * BLOCK :]
    low, work = work[: layers * widest * BLOCK], work[layers * widest * BLOCK :]
    slopes, work = work[: layers * widest * BLOCK], work[layers * widest * BLOCK :]
    terms, work = work[: 2 * widest * (d + 2) * BLOCK], work[2 * widest * (d + 2) * BLOCK :]
    rows, work = work[: 2 * widest * _BOTH], work[2 * widest * _BOTH :]
    return _Room(
        inputs, masses, sizes, low, slopes, terms, rows, work[:_BOTH], work[_BOTH : 2 * _BOTH], work[2 * _BOTH :]
    )


def _room_needed(dimension: int, layers: int, widest: int) -> int:
    of_boxes = 5 * dimension + 2 + layers + 1 + 2 * layers * widest + 2 * widest * (dimension + 2)
    return of_boxes * BLOCK + 2 * (widest + 1) * _BOTH


@inlined
def _load(source: np.ndarray, start: int, dimension: int, out: np.ndarray) -> None:
    """Copy boxes (boxes, dimension) from `start` on into columns; copies of the last one fill the block."""
    last = len(source) // dimension - 1
    for s in range(BLOCK):
        box = min(start + s, last) * dimension
        for i in range(dimension):
            out[i * BLOCK + s] = source[box + i]


@inlined
def _layer(shape: np.ndarray, layer: int) -> tuple[int, int, int, int, int]:
    """Return the inputs and neurons of a layer, and where its matrix, its numbers and its lines begin."""
    count = shape[_LAYERS]
    begins = _WIDTHS + count + 1 + layer
    here = layer * shape[_WIDEST] * BLOCK
    return shape[_WIDTHS + layer], shape[_WIDTHS + layer + 1], shape[begins], shape[begins + count], here


@inlined
def _back(layers: int, first: int, columns: int, network: _Network, room: _Room) -> int:
    """Take rows of the `layers`-th layer of activations back to the inputs; return where in `rows` they are then.

    first, columns: of `rows` (widest, 2 BLOCK), those that are asked for: of one side, or of both.
    """
    shape, vectors, rows, at = network.shape, network.vectors, room.rows, 0
    other = shape[_WIDEST] * _BOTH
    for layer in range(layers - 1, -1, -1):
        inputs, width, matrix, own, here = _layer(shape, layer)
        for start in range(first, first + columns, BLOCK):
            relu_bounds.substitute(width, start, network.errors[2], vectors[own:], room.sizes[layer * BLOCK :],
                                   room.low[here:], room.slopes[here:], rows[at:],
                                   room.constants, room.noises)  # fmt: skip
        matrices.product(inputs, width, columns, network.weights, matrix, 1, inputs, vectors, len(vectors) - 1, 0,
                         rows, at + first, _BOTH, rows, other - at + first, _BOTH)  # fmt: skip
        at = other - at
    return at


@inlined
def _narrow(layer: int, network: _Network, room: _Room) -> None:
    """Cut the ranges of a hidden layer by those that a backward pass from each of its neurons proves."""
    inputs, width, matrix, own, here = _layer(network.shape, layer)
    for k in range(width):
        bias, size = network.vectors[own + 3 * k], network.vectors[own + 3 * k + 1]
        for s in range(BLOCK):
            room.constants[s], room.constants[BLOCK + s] = bias, -bias
            room.noises[s] = room.noises[BLOCK + s] = size
            for i in range(inputs):
                weight = network.weights[matrix + k * inputs + i]
                room.rows[i * _BOTH + s], room.rows[i * _BOTH + BLOCK + s] = weight, -weight
        at = _back(layer, 0, _BOTH, network, room)
        place = here + k * BLOCK
        relu_bounds.peak(network.shape[_WIDTHS], network.errors[0], network.errors[2], room.inputs, room.masses,
                         room.rows[at:], room.constants, room.noises,
                         room.low[place:], room.slopes[place:])  # fmt: skip


@inlined
def _form(layer: int, at: int, network: _Network, room: _Room) -> None:
    """Write the form of a layer but the first into the other half of `terms`, from that of the activations at `at`."""
    shape, terms, zero = network.shape, room.terms, len(network.vectors) - 1
    inputs, width, matrix, own, here = _layer(shape, layer)
    row = (shape[_WIDTHS] + 2) * BLOCK
    out = shape[_WIDEST] * row - at
    matrices.product(width, inputs, row - BLOCK, network.weights, matrix, inputs, 1, network.vectors, zero, 0,
                     terms, at, row, terms, out, row)  # fmt: skip
    radius = row - BLOCK
    matrices.product(width, inputs, BLOCK, network.magnitudes, matrix, inputs, 1, network.vectors, zero, 0,
                     terms, at + radius, row, terms, out + radius, row)  # fmt: skip
    relu_bounds.ranges(width, shape[_WIDTHS], network.errors[0], network.errors[2], network.vectors[own:],
                       room.sizes[layer * BLOCK :], terms[out:],
                       room.low[here:], room.slopes[here:], room.out)  # fmt: skip


@inlined
def _forward(network: _Network, room: _Room) -> None:
    """Write the lines of all layers, and the sizes of what enters each, the output included."""
    shape, errors, at = network.shape, network.errors, 0
    d, full = shape[_WIDTHS], shape[_FULL]
    relu_bounds.masses(d, errors[1], room.inputs, room.masses, room.sizes)
    relu_bounds.first(shape[_WIDTHS + 1], d, errors[0], errors[2], network.weights, network.vectors, room.inputs,
                      room.masses, room.terms, room.low, room.slopes)  # fmt: skip
    for layer in range(shape[_LAYERS]):
        _, width, _, _, here = _layer(shape, layer)
        if layer:
            _form(layer, at, network, room)
            at = shape[_WIDEST] * (d + 2) * BLOCK - at
            if full:
                _narrow(layer, network, room)
        sizes = room.sizes[(layer + 1) * BLOCK :]
        relu_bounds.bend(width, d, int(layer + 1 < shape[_LAYERS]), errors[1], room.terms[at:], room.low[here:],
                         room.slopes[here:], sizes)  # fmt: skip
        if layer and full:
            for s in range(BLOCK):
                sizes[s] = room.out[s] * (2.0 * (1.0 + errors[1]))


@inlined
def _begin(side: int, output: np.ndarray, network: _Network, room: _Room) -> None:
    """Write the row of the output, negative on the side 0, and what is known of it."""
    sign = 2.0 * side - 1.0
    layers, width = network.shape[_LAYERS], len(output) - 2
    for s in range(side * BLOCK, side * BLOCK + BLOCK):
        for k in range(width):
            room.rows[k * _BOTH + s] = sign * output[k]
        room.constants[s] = sign * output[width]
        room.noises[s] = abs(output[width]) + output[width + 1] * room.sizes[layers * BLOCK + s - side * BLOCK]


@entry(NOTHING, INTEGERS, *[VECTOR] * 6, INTEGERS, *[VECTOR] * 3)
def bounds(
    shape: np.ndarray,
    weights: np.ndarray,
    magnitudes: np.ndarray,
    vectors: np.ndarray,
    errors: np.ndarray,
    output: np.ndarray,
    boxes: np.ndarray,
    sides: np.ndarray,
    work: np.ndarray,
    above: np.ndarray,
    below: np.ndarray,
) -> None:
    """Bound -network on the boxes sides[0] ... sides[1] - 1, and the network on sides[2] ... sides[3] - 1.

    Parameters
    ----------
    boxes: (3, boxes, dimension): centers, reaches and radii.
    above, below: (boxes of the side, 2 + dimension): a value, what its roundings are relative to, and slopes.
    """
    network, room, d = _Network(shape, weights, magnitudes, vectors, errors), _furnished(shape, work), shape[_WIDTHS]
    each = len(boxes) // 3
    for start in range(0, each // d, BLOCK):
        for kind in range(3):
            own = boxes[kind * each : (kind + 1) * each]
            _load(own, start, d, room.inputs[kind * d * BLOCK :])
        _forward(network, room)
        first, stop = 2, 0
        for side in range(2):
            if start < sides[2 * side + 1] and sides[2 * side] < start + BLOCK:
                _begin(side, output, network, room)
                first, stop = min(first, side), side + 1
        if first >= stop:
            continue
        at = _back(shape[_LAYERS], first * BLOCK, (stop - first) * BLOCK, network, room)
        for side in range(first, stop):
            relu_bounds.value(d, side * BLOCK, room.inputs, room.masses, room.rows[at:], room.constants, room.noises,
                              room.out)  # fmt: skip
            out = above if side == 0 else below
            begin, end = sides[2 * side], sides[2 * side + 1]
            for box in range(max(start, begin), min(start + BLOCK, end)):
                for i in range(d + 2):
                    out[(box - begin) * (d + 2) + i] = room.out[i * BLOCK + box - start]


class ReluNetwork:
    """A ReLU network with one output whose bounds are compiled.

    Parameters
    ----------
    weights, biases: of the hidden layers, at least one, (outputs, inputs) and (outputs,) float64 each.
    output, offset: (width,) and a number: those of the output.
    """

    def __init__(self, weights: list[np.ndarray], biases: list[np.ndarray], output: np.ndarray, offset: float) -> None:
        widths = [weights[0].shape[1], *(len(weight) for weight in weights)]
        with np.errstate(over="ignore"):  # what overflows is unbounded
            numbers = [
                np.stack([b, abs(b), abs(w).sum(1)], 1).reshape(-1) for w, b in zip(weights, biases, strict=True)
            ]
            self._output = np.array([*output, offset, abs(output).sum()])
        begins = np.cumsum([[0, 0], *([w.size, n.size] for w, n in zip(weights, numbers, strict=True))], 0)[:-1].T
        self._dimension, widest = widths[0], max(widths)
        self._shape = np.array([len(weights), 0, widest, *widths, *begins.reshape(-1)], dtype=np.int64)
        matrix = np.concatenate([weight.reshape(-1) for weight in weights])
        self._arrays = matrix, abs(matrix), np.concatenate([*numbers, [0.0]])
        self._room = _room_needed(self._dimension, len(weights), widest)

    def bounds(
        self, boxes: np.ndarray, sides: tuple[slice, slice], errors: tuple[float, float, float], full: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of -network on the boxes of the first side, and of the network on those of the second.

        Parameters
        ----------
        boxes: (3, boxes, dimension), centers, reaches and radii of what the network sees.
        errors: bounds of the relative roundings of a sum and of four factors, and of underflow.
        full: bound hidden layers by backward passes, too.

        Returns
        -------
        (boxes of a side, 2 + dimension) each: the value, what its roundings are relative to, and the slopes.
        """
        out = [np.empty((side.stop - side.start, 2 + self._dimension)) for side in sides]
        ends = np.array([end for side in sides for end in (side.start, side.stop)])
        work, shape, flat = aligned(self._room, boxes.dtype, np.empty), self._shape.copy(), boxes.reshape(-1)
        shape[_FULL] = full
        add = bounds[np.float64]
        add(shape, *self._arrays, np.array(errors), self._output, flat, ends, work, *(side.reshape(-1) for side in out))
        return out[0], out[1]
