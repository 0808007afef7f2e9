"""Quasi-Newton methods: a dense inverse Hessian in one pass an iterate, or its latest updates only.

Time goes into passes over the matrix, which is larger than a cache. So an update waits for the next pass, which applies
it to a lower triangle and forms the products with two vectors, y and g, at once; and the matrix is scaled by a number
beside it. The methods are those of `hpcsweep.approx.training.optimizers.bfgs` and `lbfgs`.
"""

from __future__ import annotations

import math
from typing import Final

from numpy import ndarray

from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import entry, inlined, kernel
from hpcsweep.approx.kernels.iteration import PROPOSE, TAKE
from hpcsweep.approx.kernels.matrices import add_multiple, copy, dot, fill, write_multiple
from hpcsweep.approx.kernels.updates import line_search
from hpcsweep.approx.kernels.updates.first_order import exponential, logarithm
from hpcsweep.approx.kernels.updates.line_search import (
    ACCEPTED,
    BLANK,
    FAILED,
    FAILURES,
    FIRST,
    FLAT,
    PATIENCE,
    READY,
    STEP,
    VECTORS,
    begin,
    observe,
    steepest,
    write_trial,
)
from hpcsweep.approx.kernels.vectors import Array, Index, fma

KIND, SCALE, PARAMETERS, MEMORY, WRITTEN = range(line_search.END, line_search.END + 5)  # the last two of L-BFGS
END: Final = line_search.END + 5
BFGS, SSBFGS, SSBROYDEN, LBFGS = range(4)  # kinds
DENSE: Final = VECTORS + 6  # vectors before the matrix

_ROWS = 4
_LARGEST_LOGARITHM = 40.0  # of the scale


@kernel
def _pass_rows(code: Code, count: Index, row: Index, state: Array, change_at: Index, gradient_at: Index) -> None:
    """Of four rows of the lower triangle: H += u a' + v b', and their parts of Hy and Hg.

    The vectors from Hy on are Hy, Hg, u, v, a, b, then the matrix. Vectors that hold numbers of the diagonal count as
    parts of rows; those before them, for the columns of H above the diagonal, as well.
    """
    hy, hg, u, v, a, b = (state + count * (VECTORS + place) for place in range(6))
    y, g = state + change_at, state + gradient_at
    lines = [state + (count * DENSE + (row + r) * count) for r in range(_ROWS)]
    by_row = [[one.number(row + r).spread() for r in range(_ROWS)] for one in (y, g, u, v)]
    sums = [[code.variable(code.vector(0.0)) for _ in range(_ROWS)] for _ in range(2)]

    def visit(j: Index, below: bool) -> None:
        yj, gj, aj, bj = (one.vector(j) for one in (y, g, a, b))
        above = [hy.vector(j), hg.vector(j)] if below else []
        for r, line in enumerate(lines):
            entry_ = fma(by_row[3][r], bj, fma(by_row[2][r], aj, line.vector(j)))
            line.put(entry_, j)
            sums[0][r].set(fma(entry_, yj, sums[0][r].get()))
            sums[1][r].set(fma(entry_, gj, sums[1][r].get()))
            above = [fma(entry_, by_row[i][r], one) for i, one in enumerate(above)]
        for out, one in zip((hy, hg), above, strict=False):
            out.put(one, j)

    diagonal = row.rounded_down(code.lanes)
    with code.loop(diagonal, code.lanes) as j:
        visit(j, True)
    visit(diagonal, False)
    for out, parts in zip((hy, hg), sums, strict=True):
        for r, total in enumerate(parts):
            total_at = out + (row + r)
            total_at.put(total_at.number() + total.get().sum())


@inlined
def _vector(count: int, place: int) -> int:
    """Return where one of the six vectors from Hy on begins."""
    return (VECTORS + place) * count


@inlined
def _reset(numbers: ndarray, vectors: ndarray, count: int) -> None:
    """Let the inverse Hessian be the identity; L-BFGS forgets all pairs."""
    if numbers[KIND] != LBFGS:
        fill(len(vectors) - VECTORS * count, 0.0, vectors, VECTORS * count)
        for i in range(count):
            vectors[DENSE * count + i * count + i] = 1.0
    numbers[SCALE], numbers[BLANK], numbers[WRITTEN] = 1.0, 1.0, 0.0
    steepest(numbers, vectors, count)


@inlined
def _family(kind: float, b: float, h: float, parameters: float) -> tuple[float, float]:
    """Return the scaling tau and the member phi of Broyden's family (1 is BFGS), from b = s'Bs / s'y, h = y'Hy / s'y.

    Al-Baali's choices; `a` vanishes where the step is an eigenvector of what is known.
    """
    if kind == BFGS:
        return 1.0, 1.0
    largest = min(1.0, 1.0 / b)
    if kind == SSBFGS:
        return largest, 1.0
    a = max(h * b - 1.0, 1e-300)
    rho = min(1.0, h * (1.0 - math.sqrt(a / (1.0 + a))))
    theta = max((rho - 1.0) / a, min(1.0 / rho, (1.0 - b) / b))
    sigma = 1.0 + a * theta
    root = exponential(logarithm(abs(sigma)) / (1.0 - max(parameters, 2.0)))
    tau = largest * min(root, 1.0 / theta) if theta > 0.0 else min(largest * root, sigma)
    return tau, (1.0 - theta) / sigma


@inlined
def _update(numbers: ndarray, vectors: ndarray, count: int) -> None:
    """Take in step and change of the last iterate; set the direction.

    The update is (H - Hy y'H / y'Hy + phi y'Hy v v') / tau + s s' / s'y with v = s / s'y - Hy / y'Hy: of rank two, and
    so is what it adds to Hg.
    """
    g, d, s, y = count, 2 * count, 3 * count, 4 * count
    hy, hg = _vector(count, 0), _vector(count, 1)
    fill(2 * count, 0.0, vectors, hy)
    for row in range(0, count, _ROWS):
        _pass_rows(count, row, vectors, y, g)
    squares, curvature, changes = (
        dot(count, vectors, s, vectors, s),
        dot(count, vectors, s, vectors, y),
        dot(count, vectors, y, vectors, y),
    )
    if not curvature > FLAT * math.sqrt(squares * changes):
        fill(4 * count, 0.0, vectors, _vector(count, 2))
        write_multiple(count, -numbers[SCALE], vectors, hg, vectors, d)
        return
    slope, first = dot(count, vectors, s, vectors, g), numbers[BLANK] > 0.0
    if first:
        numbers[SCALE], numbers[BLANK] = curvature / changes, 0.0
    scale = numbers[SCALE]
    seen, across = scale * dot(count, vectors, y, vectors, hy), scale * dot(count, vectors, g, vectors, hy)
    expected = squares / scale if first else -numbers[STEP] * (slope - curvature)  # s'Bs, as Bs = -step g before it
    tau, phi = _family(numbers[KIND], expected / curvature, seen / curvature, numbers[PARAMETERS])
    if not (math.isfinite(tau) and tau > 0.0 and math.isfinite(phi)):
        tau, phi = 1.0, 1.0
    on_step, mixed = phi * seen / (tau * curvature * curvature) + 1.0 / curvature, -phi / (tau * curvature)
    on_image = (phi - 1.0) / (tau * seen)
    write_multiple(count, -(on_step * slope + mixed * across), vectors, s, vectors, d)
    add_multiple(count, -(mixed * slope + on_image * across) * scale, vectors, hy, vectors, d)
    add_multiple(count, -scale / tau, vectors, hg, vectors, d)
    scale /= tau
    mixed, on_image = mixed * numbers[SCALE] / scale, on_image * numbers[SCALE] * numbers[SCALE] / scale
    _wait(vectors, count, on_step / scale, mixed, on_image)
    _rescale(numbers, vectors, count, scale)


@inlined
def _wait(vectors: ndarray, count: int, on_step: float, mixed: float, on_image: float) -> None:
    """Write down the update on_step s s' + mixed (s h' + h s') + on_image h h', h = Hy, for the next pass."""
    s, hy = 3 * count, _vector(count, 0)
    copy(count, vectors, s, vectors, _vector(count, 2))
    copy(count, vectors, hy, vectors, _vector(count, 3))
    write_multiple(count, on_step, vectors, s, vectors, _vector(count, 4))
    add_multiple(count, mixed, vectors, hy, vectors, _vector(count, 4))
    write_multiple(count, mixed, vectors, s, vectors, _vector(count, 5))
    add_multiple(count, on_image, vectors, hy, vectors, _vector(count, 5))


@inlined
def _rescale(numbers: ndarray, vectors: ndarray, count: int, scale: float) -> None:
    """Set the scale; multiply it into the matrix where it leaves the range of good arithmetic."""
    if abs(logarithm(scale)) > _LARGEST_LOGARITHM:
        write_multiple(count * count, scale, vectors, DENSE * count, vectors, DENSE * count)
        write_multiple(2 * count, scale, vectors, _vector(count, 4), vectors, _vector(count, 4))
        scale = 1.0
    numbers[SCALE] = scale


@inlined
def _remember(numbers: ndarray, vectors: ndarray, count: int) -> None:
    """Write step and change into the ring of L-BFGS, if there is enough curvature; set the direction."""
    memory, s, y = int(numbers[MEMORY]), 3 * count, 4 * count
    steps, changes = VECTORS * count, (VECTORS + memory) * count
    curvature, squares = dot(count, vectors, s, vectors, y), dot(count, vectors, y, vectors, y)
    if curvature > FLAT * math.sqrt(dot(count, vectors, s, vectors, s) * squares):
        slot = int(numbers[WRITTEN]) % memory
        copy(count, vectors, s, vectors, steps + slot * count)
        copy(count, vectors, y, vectors, changes + slot * count)
        vectors[changes + memory * count + slot] = curvature
        numbers[WRITTEN], numbers[SCALE], numbers[BLANK] = numbers[WRITTEN] + 1.0, curvature / squares, 0.0
    _two_loops(numbers, vectors, count)


@inlined
def _two_loops(numbers: ndarray, vectors: ndarray, count: int) -> None:
    """Let the direction be minus the product of the remembered inverse Hessian with the gradient.

    Nocedal and Wright, algorithm 7.4.
    """
    memory, d = int(numbers[MEMORY]), 2 * count
    steps, changes = VECTORS * count, (VECTORS + memory) * count
    curvatures, written = changes + memory * count, int(numbers[WRITTEN])
    write_multiple(count, -1.0, vectors, count, vectors, d)
    for back in range(min(written, memory)):
        slot = (written - 1 - back) % memory
        share = dot(count, vectors, steps + slot * count, vectors, d) / vectors[curvatures + slot]
        vectors[curvatures + memory + slot] = share
        add_multiple(count, -share, vectors, changes + slot * count, vectors, d)
    write_multiple(count, numbers[SCALE], vectors, d, vectors, d)
    for back in range(min(written, memory) - 1, -1, -1):
        slot = (written - 1 - back) % memory
        other = dot(count, vectors, changes + slot * count, vectors, d) / vectors[curvatures + slot]
        share = vectors[curvatures + memory + slot] - other
        add_multiple(count, share, vectors, steps + slot * count, vectors, d)


@entry(*TAKE)
def take(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, loss: float, shape: ndarray) -> int:
    """Take in a trial."""
    verdict, count = observe(numbers, vectors, point, gradient, loss), len(point)
    if verdict == FAILED and numbers[FAILURES] >= PATIENCE and numbers[BLANK] == 0.0:
        _reset(numbers, vectors, count)
    elif verdict == ACCEPTED and numbers[KIND] == LBFGS:
        _remember(numbers, vectors, count)
    elif verdict == ACCEPTED:
        _update(numbers, vectors, count)
    return int(verdict in (FIRST, ACCEPTED))


@entry(*PROPOSE)
def propose(numbers: ndarray, vectors: ndarray, point: ndarray, gradient: ndarray, shape: ndarray) -> int:
    """Write the next trial; return 1 without a gradient, and where searches failed after a reset as well."""
    count = len(point)
    if numbers[READY] > 0.0:
        slope = dot(count, vectors, 2 * count, vectors, count)
        if not slope < 0.0:
            _reset(numbers, vectors, count)
            slope = dot(count, vectors, 2 * count, vectors, count)
        if slope == 0.0 or numbers[FAILURES] >= 2 * PATIENCE:
            return 1
        begin(numbers, vectors, count, slope)
    write_trial(count, numbers[STEP], vectors, point)
    return 0
