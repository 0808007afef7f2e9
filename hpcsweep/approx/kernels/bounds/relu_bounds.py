"""Lines in the place of ReLU on boxes, a box in each lane: what `relu_networks` does layer after layer.

A form of a layer, `terms`, has for each neuron the center, the slopes and the radius, `BLOCK` boxes each. An array
`vectors` has three numbers for each neuron: the bias, its absolute value, the sum of the absolute values of its row of
the matrix. A value that overflows makes the slope of its line, and with it the bound, NaN, for no comparison here
replaces a NaN in a range.
"""

from __future__ import annotations

from typing import Final

from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import kernel
from hpcsweep.approx.kernels.vectors import Array, Index, Number, fma, select

BLOCK: Final = 24  # boxes: the three vectors in a row of a tile of a product
_BIAS, _SIZE, _SUM, _EACH = 0, 1, 2, 3  # places in `vectors`
_LEAST: Final = 2.0**-1074  # a length to divide by where there is none


def _vectors(code: Code) -> range:
    return range(0, BLOCK, code.lanes)


@kernel
def masses(code: Code, dimension: Index, more: Number, inputs: Array, masses: Array, sizes: Array) -> None:
    """Write bounds of the coordinates, and the largest of them: (1 + more) (|center| + |reach| + radius)."""
    for s in _vectors(code):
        largest = code.variable(code.vector(0.0))
        with code.loop(dimension) as i:
            row = inputs + i * BLOCK
            center, reach, radius = (row.vector(dimension * (part * BLOCK) + s) for part in range(3))
            mass = (abs(center) + abs(reach) + radius) * (1.0 + more).spread()
            masses.put(mass, i * BLOCK + s)
            largest.set(select(largest.get() > mass, largest.get(), mass))
        sizes.put(largest.get(), s)


@kernel
def first(
    code: Code,
    width: Index,
    dimension: Index,
    doubt: Number,
    tiny: Number,
    weights: Array,
    vectors: Array,
    inputs: Array,
    masses: Array,
    terms: Array,
    low: Array,
    high: Array,
) -> None:
    """Write the form of the first layer, and its ranges."""
    error = doubt.spread()
    with code.loop(width) as k:
        row, own = weights + k * dimension, vectors + k * _EACH
        out = terms + k * (dimension + 2) * BLOCK
        for s in _vectors(code):
            center = code.variable(own.number(_BIAS).spread())
            radius = code.variable(fma(own.number(_SIZE).spread(), error, tiny.spread()))
            reaches = code.variable(code.vector(0.0))
            with code.loop(dimension) as i:
                weight, at = row.number(i).spread(), i * BLOCK + s
                reach = inputs.vector(dimension * BLOCK + at)
                center.set(fma(weight, inputs.vector(at), center.get()))
                slope = weight * reach
                out.put(slope, at + BLOCK)
                reaches.set(reaches.get() + abs(slope))
                uncertain = fma(masses.vector(at), error, inputs.vector(dimension * (2 * BLOCK) + at))
                radius.set(fma(abs(weight), uncertain, radius.get()))
            spread = radius.get() + reaches.get()
            out.put(center.get(), s)
            out.put(radius.get(), dimension * BLOCK + BLOCK + s)
            low.put(center.get() - spread, k * BLOCK + s)
            high.put(center.get() + spread, k * BLOCK + s)


@kernel
def ranges(
    code: Code,
    width: Index,
    dimension: Index,
    doubt: Number,
    tiny: Number,
    vectors: Array,
    sizes: Array,
    terms: Array,
    low: Array,
    high: Array,
    mass: Array,
) -> None:
    """Complete the form of a layer, of which the matrix products are there; write its ranges, and the largest |end|."""
    for s in _vectors(code):
        size = sizes.vector(s) * doubt.spread()
        largest = code.variable(code.vector(0.0))
        with code.loop(width) as k:
            own, out = vectors + k * _EACH, terms + k * (dimension + 2) * BLOCK
            center = out.vector(s) + own.number(_BIAS).spread()
            out.put(center, s)
            added = fma(own.number(_SUM).spread(), size, fma(own.number(_SIZE).spread(), doubt.spread(), tiny.spread()))
            radius = out.vector(dimension * BLOCK + BLOCK + s) + added
            out.put(radius, dimension * BLOCK + BLOCK + s)
            spread = code.variable(radius)
            with code.loop(dimension + 1, start=1) as i:
                spread.set(spread.get() + abs(out.vector(i * BLOCK + s)))
            first, last = center - spread.get(), center + spread.get()
            low.put(first, k * BLOCK + s)
            high.put(last, k * BLOCK + s)
            end = select(last > -first, last, -first)
            largest.set(select(largest.get() > end, largest.get(), end))
        mass.put(largest.get(), s)


@kernel
def bend(
    code: Code,
    width: Index,
    dimension: Index,
    advanced: Index,
    more: Number,
    terms: Array,
    low: Array,
    slopes: Array,
    sizes: Array,
) -> None:
    """Put chords in the place of activations: replace the upper ends in `slopes` by their slopes, `low` by 0 if larger.

    Where the form is to be `advanced` (1, or 0), it becomes that of the activations. `sizes`: 2 (1 + more) times the
    largest upper end.
    """
    for s in _vectors(code):
        largest = code.variable(code.vector(0.0))
        with code.loop(width) as k:
            out, at = terms + k * (dimension + 2) * BLOCK, k * BLOCK + s
            first, last = low.vector(at), slopes.vector(at)
            first, last = select(first > 0.0, 0.0, first), select(last < 0.0, 0.0, last)
            largest.set(select(largest.get() > last, largest.get(), last))
            length = last - first
            slope = last / select(length < _LEAST, _LEAST, length) + (
                length - length
            )  # NaN: of a length that overflows
            low.put(first, at)
            slopes.put(slope, at)
            with code.when(advanced.is_(1)):
                half = slope * first * -0.5
                out.put(fma(out.vector(s), slope, half), s)
                with code.loop(dimension + 1, start=1) as i:
                    out.put(out.vector(i * BLOCK + s) * slope, i * BLOCK + s)
                place = dimension * BLOCK + BLOCK + s
                out.put(fma(out.vector(place), slope, half), place)
        sizes.put(largest.get() * (2.0 * (1.0 + more)).spread(), s)


@kernel
def substitute(
    code: Code,
    width: Index,
    start: Index,
    tiny: Number,
    vectors: Array,
    sizes: Array,
    low: Array,
    slopes: Array,
    rows: Array,
    constants: Array,
    noises: Array,
) -> None:
    """Put lines in the place of activations in rows (width, 2 BLOCK), from column `start` on in steps of BLOCK."""
    for s in _vectors(code):
        offset, biases, sums, sizes_of = (code.variable(code.vector(0.0)) for _ in range(4))
        with code.loop(width) as k:
            own, row, slope = vectors + k * _EACH, rows + (k * (2 * BLOCK) + start), slopes.vector(k * BLOCK + s)
            before = row.vector(s)
            rising = select(before < 0.0, 0.0, before)
            above = rising * slope
            after = fma(before - rising, select(slope > 0.5, code.vector(1.0), 0.0), above)
            row.put(after, s)
            offset.set(fma(above, low.vector(k * BLOCK + s), offset.get()))
            biases.set(fma(after, own.number(_BIAS).spread(), biases.get()))
            sums.set(fma(abs(after), own.number(_SUM).spread(), sums.get()))
            sizes_of.set(fma(abs(after), own.number(_SIZE).spread(), sizes_of.get()))
        size, at = sizes.vector(s), start + s
        constants.put(constants.vector(at) - offset.get() + biases.get(), at)
        noises.put(noises.vector(at) + fma(sums.get() + tiny.spread(), size, sizes_of.get()), at)


@kernel
def peak(
    code: Code,
    dimension: Index,
    doubt: Number,
    tiny: Number,
    inputs: Array,
    masses: Array,
    rows: Array,
    constants: Array,
    noises: Array,
    low: Array,
    high: Array,
) -> None:
    """Cut a range by what rows for the neuron, and for its negative, prove: see `Layers.peak`."""
    for side in range(2):
        for s in _vectors(code):
            at = side * BLOCK + s
            constant = constants.vector(at)
            value, noise = code.variable(code.vector(0.0)), code.variable(noises.vector(at) + abs(constant))
            spread = code.variable(code.vector(0.0))
            with code.loop(dimension) as i:
                own, place = rows.vector(i * (2 * BLOCK) + at), i * BLOCK + s
                reach, radius = (inputs.vector(dimension * (part * BLOCK) + place) for part in (1, 2))
                value.set(fma(own, inputs.vector(place), value.get()))
                spread.set(fma(abs(own), abs(reach) + radius, spread.get()))
                noise.set(fma(abs(own), masses.vector(place), noise.get()))
            top = value.get() + constant + spread.get() + fma(noise.get(), doubt.spread(), tiny.spread())
            if side:
                low.put(select(-top > low.vector(s), -top, low.vector(s)), s)
            else:
                high.put(select(top < high.vector(s), top, high.vector(s)), s)


@kernel
def value(
    code: Code,
    dimension: Index,
    start: Index,
    inputs: Array,
    masses: Array,
    rows: Array,
    constants: Array,
    noises: Array,
    out: Array,
) -> None:
    """Write what a row adds to an upper bound: the value, what its roundings are relative to, and the slopes."""
    for s in _vectors(code):
        at = start + s
        constant = constants.vector(at)
        value, doubtful = code.variable(code.vector(0.0)), code.variable(code.vector(0.0))
        noise = code.variable(code.vector(0.0))
        with code.loop(dimension) as i:
            row, place = rows.vector(i * (2 * BLOCK) + at), i * BLOCK + s
            value.set(fma(row, inputs.vector(place), value.get()))
            doubtful.set(fma(abs(row), inputs.vector(dimension * (2 * BLOCK) + place), doubtful.get()))
            noise.set(fma(abs(row), masses.vector(place), noise.get()))
            out.put(row * inputs.vector(dimension * BLOCK + place), (i + 2) * BLOCK + s)
        out.put(value.get() + constant + doubtful.get(), s)
        out.put(noise.get() + noises.vector(at) + abs(constant), s + BLOCK)
