"""A small vector language: Python functions that write machine code for lanes of numbers, as templates do in C++.

numba compiles loops well but leaves their vectorisation to LLVM, which is either forbidden to change the order of a sum
(and then two to four times slower) or free to choose it (and then every processor has bits of its own). Here the order
is ours. A *kernel* is a Python function that runs once, when it is compiled, and whose arithmetic writes one
instruction at a time:

    @kernel
    def dot(code: Code, left: Array, right: Array, count: Index) -> Number:
        total = code.variable(code.vector(0.0))
        with code.loop(count, step=code.lanes) as i:
            total.set(fma(left.vector(i), right.vector(i), total.get()))
        return total.get().sum()

Values are `Number` (one, or a vector of `lanes`: 64 bytes, so 8 of float64, 16 of float32), `Index` and `Array`. The
operators + - * / are one correctly rounded instruction each and never contracted; `fma` is the fused one; `sum` adds
the lanes of a vector pairwise, neighbours first. So the bits of a kernel are those of this text, whether the processor
has vectors of 64 bytes (AVX-512) or does them in halves (AVX2). Arrays are not checked for bounds; their lengths are
multiples of the lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils

BYTES: Final = 64  # of a vector
INT, _LANE = ir.IntType(64), ir.IntType(32)


@dataclass(frozen=True)
class Precision:
    """A floating-point type: of a number, of the integer with its bits, and how many make a vector."""

    real: Any
    word: Any
    suffix: str

    @property
    def lanes(self) -> int:
        """Numbers of a vector."""
        return BYTES * 8 // self.word.width

    @property
    def vector(self) -> Any:
        """The type of a vector."""
        return ir.VectorType(self.real, self.lanes)


DOUBLE: Final = Precision(ir.DoubleType(), ir.IntType(64), "f64")
SINGLE: Final = Precision(ir.FloatType(), ir.IntType(32), "f32")


class Writer:
    """What values are written into, in one precision; `builder.Code` adds loops and conditions."""

    def __init__(self, builder: Any, precision: Precision) -> None:
        self.builder, self.precision, self.lanes = builder, precision, precision.lanes

    def integer(self, number: Index | int) -> Any:
        """Return the value of an integer."""
        return number.value if isinstance(number, Index) else ir.Constant(INT, number)

    def index(self, number: int) -> Index:
        """Return a constant integer."""
        return Index(self, self.integer(number))

    def call(self, name: str, *values: Any) -> Any:
        """Write an instruction of LLVM that has a name, such as "fma"."""
        kind = values[0].type
        lanes = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
        signature = ir.FunctionType(kind, [kind] * len(values))
        name = f"llvm.{name}.{lanes}{self.precision.suffix}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), values)


class Index:
    """An integer of a kernel."""

    def __init__(self, code: Writer, value: Any) -> None:
        self.code, self.value = code, value

    def _with(self, operation: str, other: Index | int) -> Index:
        return Index(self.code, getattr(self.code.builder, operation)(self.value, self.code.integer(other)))

    def __add__(self, other: Index | int) -> Index:
        return self._with("add", other)

    def __sub__(self, other: Index | int) -> Index:
        return self._with("sub", other)

    def __mul__(self, other: Index | int) -> Index:
        return self._with("mul", other)

    def rounded_down(self, multiple: Index | int) -> Index:
        """Return the largest multiple that is not larger; not for negative numbers."""
        return self._with("sdiv", multiple) * multiple

    def rounded_up(self, multiple: Index | int) -> Index:
        """Return the least multiple that is not smaller."""
        return (self + multiple - 1).rounded_down(multiple)

    def __lt__(self, other: Index | int) -> Any:
        """Return the condition for `Code.when` and `least`."""
        return self.code.builder.icmp_signed("<", self.value, self.code.integer(other))

    def is_(self, other: Index | int) -> Any:
        """Return whether both are equal, as a condition."""
        return self.code.builder.icmp_signed("==", self.value, self.code.integer(other))

    def least(self, other: Index | int) -> Index:
        """Return the smaller one."""
        return self.where(self < other, other)

    def where(self, condition: Any, other: Index | int) -> Index:
        """Return this integer where the condition holds, else the other."""
        return Index(self.code, self.code.builder.select(condition, self.value, self.code.integer(other)))

    def of(self, code: Writer) -> Number:
        """Return it as a number of some precision."""
        return Number(code, code.builder.sitofp(self.value, code.precision.real))


class Number:
    """A floating-point number of a kernel, or a vector of them."""

    def __init__(self, code: Writer, value: Any) -> None:
        self.code, self.value = code, value

    @property
    def _words(self) -> Any:
        word = self.code.precision.word
        return ir.VectorType(word, self.value.type.count) if self.is_vector else word

    @property
    def is_vector(self) -> bool:
        """Whether it has lanes."""
        return isinstance(self.value.type, ir.VectorType)

    def like(self, number: Number | float) -> Any:
        """Return the value of a number of this type; of a float the constant, in all lanes."""
        if isinstance(number, Number):
            return number.value
        kind = self.value.type
        return ir.Constant(kind, [float(number)] * kind.count if self.is_vector else float(number))

    def _with(self, operation: str, left: Number | float, right: Number | float) -> Number:
        write = getattr(self.code.builder, operation)
        return Number(self.code, write(self.like(left), self.like(right)))

    def __add__(self, other: Number | float) -> Number:
        return self._with("fadd", self, other)

    def __radd__(self, other: float) -> Number:
        return self._with("fadd", other, self)

    def __sub__(self, other: Number | float) -> Number:
        return self._with("fsub", self, other)

    def __rsub__(self, other: float) -> Number:
        return self._with("fsub", other, self)

    def __mul__(self, other: Number | float) -> Number:
        return self._with("fmul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Number | float) -> Number:
        return self._with("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Number:
        return self._with("fdiv", other, self)

    def __neg__(self) -> Number:
        return Number(self.code, self.code.builder.fneg(self.value))

    def __gt__(self, other: Number | float) -> Any:
        """Return the mask for `select`, false where either is NaN."""
        return self.code.builder.fcmp_ordered(">", self.value, self.like(other))

    def __lt__(self, other: Number | float) -> Any:
        return self.code.builder.fcmp_ordered("<", self.value, self.like(other))

    # The bits, as integers: for signs and powers of two.
    def bits(self) -> Any:
        """Return the same bits as an integer, or a vector of integers."""
        return self.code.builder.bitcast(self.value, self._words)

    def word(self, integer: int) -> Any:
        """Return a constant for arithmetic with `bits`."""
        return ir.Constant(self._words, [integer] * self.value.type.count if self.is_vector else integer)

    def of_bits(self, bits: Any) -> Number:
        """Return the number of this type with these bits."""
        return Number(self.code, self.code.builder.bitcast(bits, self.value.type))

    def sign(self) -> Any:
        """Return the bits of the sign alone."""
        return self.code.builder.and_(self.bits(), self.word(-(2 ** (self.code.precision.word.width - 1))))

    def flipped(self, signs: Any) -> Number:
        """Return the number with its sign changed where `signs` (see `sign`) has it."""
        return self.of_bits(self.code.builder.xor(self.bits(), signs))

    def __abs__(self) -> Number:
        return Number(self.code, self.code.call("fabs", self.value))

    def sqrt(self) -> Number:
        """Return the correctly rounded square root."""
        return Number(self.code, self.code.call("sqrt", self.value))

    def shuffled(self, other: Number, places: Sequence[int]) -> Number:
        """Return the vector of these places of both, the other's counted on."""
        mask = ir.Constant(ir.VectorType(_LANE, len(places)), list(places))
        return Number(self.code, self.code.builder.shuffle_vector(self.value, other.value, mask))

    def sum(self) -> Number:
        """Return the sum of the lanes: of neighbours, of neighbouring pairs, and so on."""
        total = self
        while total.value.type.count > 2:
            count = total.value.type.count
            total = total.shuffled(total, range(0, count, 2)) + total.shuffled(total, range(1, count, 2))
        return total.lane(0) + total.lane(1)

    def lane(self, place: int) -> Number:
        """Return one number of a vector."""
        return Number(self.code, self.code.builder.extract_element(self.value, ir.Constant(_LANE, place)))

    def spread(self) -> Number:
        """Return a vector with this number in all lanes."""
        kind = self.code.precision.vector
        nothing = ir.Constant(kind, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(_LANE, kind.count), [0] * kind.count)
        first = self.code.builder.insert_element(nothing, self.value, ir.Constant(_LANE, 0))
        return Number(self.code, self.code.builder.shuffle_vector(first, nothing, zeros))


def fma(left: Number | float, right: Number | float, addend: Number | float) -> Number:
    """Return left * right + addend, rounded once."""
    number = next(one for one in (left, right, addend) if isinstance(one, Number))
    return Number(number.code, number.code.call("fma", number.like(left), number.like(right), number.like(addend)))


def select(mask: Any, yes: Number | float, no: Number | float) -> Number:
    """Return `yes` where the mask of a comparison is true, else `no`."""
    number = yes if isinstance(yes, Number) else no
    assert isinstance(number, Number)
    return Number(number.code, number.code.builder.select(mask, number.like(yes), number.like(no)))


class Array:
    """An array of a kernel, or what is left of it from some place on."""

    def __init__(self, code: Writer, pointer: Any) -> None:
        self.code, self.pointer = code, pointer

    def __add__(self, start: Index | int) -> Array:
        return Array(self.code, self.code.builder.gep(self.pointer, [self.code.integer(start)]))

    def vector(self, at: Index | int = 0) -> Number:
        """Return the vector that begins at a place."""
        kind = self.code.precision.vector
        where = self.code.builder.bitcast((self + at).pointer, kind.as_pointer())
        return Number(self.code, self.code.builder.load(where, align=self.code.precision.word.width // 8))

    def number(self, at: Index | int = 0) -> Number:
        """Return the number at a place."""
        return Number(self.code, self.code.builder.load((self + at).pointer))

    def put(self, value: Number, at: Index | int = 0) -> None:
        """Write a number or a vector from a place on."""
        where = self.code.builder.bitcast((self + at).pointer, value.value.type.as_pointer())
        self.code.builder.store(value.value, where, align=self.code.precision.word.width // 8)


class Integers:
    """An array of integers that a kernel reads."""

    def __init__(self, code: Writer, pointer: Any) -> None:
        self.code, self.pointer = code, pointer

    def __getitem__(self, place: Index | int) -> Index:
        at = self.code.builder.gep(self.pointer, [self.code.integer(place)])
        return Index(self.code, self.code.builder.load(at))


class Matrix:
    """A matrix of a kernel, whose rows lie `row` apart from `start` on; callers give an array, a place in it, `row`."""

    def __init__(self, array: Array, at: Index, row: Index) -> None:
        self.start, self.row = array + at, row
