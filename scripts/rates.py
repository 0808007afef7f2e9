"""What the core can do at most: fused multiplications and additions in registers, and our tanh in the cache."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import numpy as np

from hpcsweep.approx.kernels import elementary_functions
from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import INTEGER, NOTHING, VECTOR, entry, kernel
from hpcsweep.approx.kernels.problem import aligned, lanes
from hpcsweep.approx.kernels.vectors import Array, Index, fma

_CHAINS = 12  # independent ones: more than an instruction takes cycles, on two units


@kernel
def _chains(code: Code, data: Array, count: Index) -> None:
    """Multiply and add, in registers."""
    totals = [code.variable(data.vector(code.lanes * k)) for k in range(_CHAINS)]
    factor = data.vector(code.lanes * _CHAINS)
    with code.loop(count):
        for total in totals:
            total.set(fma(factor, total.get(), factor))
    for k, total in enumerate(totals):
        data.put(total.get(), code.lanes * k)


@kernel
def _tanh(code: Code, data: Array, out: Array, count: Index) -> None:
    """Write tanh of a vector."""
    with code.loop(count, code.lanes) as i:
        out.put(elementary_functions.tanh(data.vector(i)), i)


@entry(NOTHING, VECTOR, INTEGER)
def _multiply(data, count):
    _chains(data, count)


@entry(NOTHING, VECTOR, VECTOR)
def _bend(data, out):
    _tanh(data, out, len(data))


def _best(run: Callable[[], object]) -> float:
    times = []
    for _ in range(10):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    return min(times[1:])


@functools.cache
def fused_rate(dtype: np.dtype) -> float:
    """Return fused multiplications and additions per second, of numbers."""
    data, count = aligned((_CHAINS + 1) * lanes(dtype), dtype), 1_000_000
    data[:] = 0.5
    return _CHAINS * lanes(dtype) * count / _best(lambda: _multiply[dtype](data, count))


@functools.cache
def tanh_seconds(dtype: np.dtype) -> float:
    """Return the seconds of one tanh."""
    data, out = aligned(4096, dtype), aligned(4096, dtype)
    data[:] = np.linspace(-3, 3, 4096)

    def run() -> None:
        for _ in range(100):
            _bend[dtype](data, out)

    return _best(run) / 100 / 4096
