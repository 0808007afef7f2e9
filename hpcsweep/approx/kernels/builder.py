"""What a kernel writes into: loops, conditions, variables and constants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from llvmlite import ir
from numba.core import cgutils

from hpcsweep.approx.kernels.vectors import DOUBLE, INT, Index, Number, Writer

V = TypeVar("V", Number, Index)


class Variable(Generic[V]):
    """What changes in a loop."""

    def __init__(self, value: V) -> None:
        self._code = value.code
        self._kind: type[V] = type(value)
        self._place = cgutils.alloca_once(value.code.builder, value.value.type)
        self.set(value)

    def set(self, value: V) -> None:
        """Give it another value."""
        self._code.builder.store(value.value, self._place)

    def get(self) -> V:
        """Return its value."""
        return self._kind(self._code, self._code.builder.load(self._place))


class Code(Writer):
    """What a kernel writes."""

    @property
    def double(self) -> Code:
        """The same code, in float64."""
        return Code(self.builder, DOUBLE)

    def vector(self, number: float) -> Number:
        """Return a constant in all lanes."""
        return Number(self, ir.Constant(self.precision.vector, [float(number)] * self.lanes))

    def number(self, number: float) -> Number:
        """Return a constant."""
        return Number(self, ir.Constant(self.precision.real, float(number)))

    def variable(self, value: V) -> Variable[V]:
        """Return a variable that begins with a value."""
        return Variable(value)

    @contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        """Do what is written inside only where a condition holds."""
        with self.builder.if_then(condition):
            yield

    @contextmanager
    def loop(self, stop: Index, step: Index | int = 1, start: Index | int = 0) -> Iterator[Index]:
        """Repeat what is written inside for start, start + step, ... below `stop`."""
        first, each = self.integer(start), self.integer(step)
        with cgutils.for_range_slice(self.builder, first, stop.value, each, intp=INT) as (place, _):
            yield Index(self, place)

    def blocks(self, stop: Index, sizes: Sequence[int]) -> Iterator[tuple[Index, int]]:
        """Cut 0 ... stop - 1 into blocks, as many as fit of each size in turn; what follows is written for each."""
        start: Index = Index(self, self.integer(0))
        for size in sizes:
            end = start + (stop - start).rounded_down(size)
            with self.loop(end, size, start) as place:
                yield place, size
            start = end
