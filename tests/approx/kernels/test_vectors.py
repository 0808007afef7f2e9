"""The vector language against numpy and exact fractions: each operator rounds once, in every lane and alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest

from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.compiling import kernel
from hpcsweep.approx.kernels.vectors import Array, Index, Integers, Number, fma, select
from tests.approx.kernels.cases import by_lanes_and_by_numbers, is_compiled_for_avx512
from tests.forks import without_avx512

Floats = np.ndarray[Any, Any]
PRECISIONS = (np.float64, np.float32)
LANES = {np.float64: 8, np.float32: 16}
# What is written, and what numpy says; x y + z is rounded twice.
OPERATORS: dict[str, tuple[Callable[..., Number], Callable[..., Floats]]] = {
    "x + y": (lambda x, y, z: x + y, lambda x, y, z: x + y),
    "x - y": (lambda x, y, z: x - y, lambda x, y, z: x - y),
    "x * y": (lambda x, y, z: x * y, lambda x, y, z: x * y),
    "x / y": (lambda x, y, z: x / y, lambda x, y, z: x / y),
    "1.5 + x": (lambda x, y, z: 1.5 + x, lambda x, y, z: x.dtype.type(1.5) + x),
    "1.5 - x": (lambda x, y, z: 1.5 - x, lambda x, y, z: x.dtype.type(1.5) - x),
    "0.1 * x": (lambda x, y, z: 0.1 * x, lambda x, y, z: x.dtype.type(0.1) * x),
    "3 / x": (lambda x, y, z: 3.0 / x, lambda x, y, z: x.dtype.type(3.0) / x),
    "x / 3": (lambda x, y, z: x / 3.0, lambda x, y, z: x / x.dtype.type(3.0)),
    "x y + z": (lambda x, y, z: x * y + z, lambda x, y, z: x * y + z),
    "x y - z": (lambda x, y, z: x * y - z, lambda x, y, z: x * y - z),
    "-x": (lambda x, y, z: -x, lambda x, y, z: -x),
    "|x|": (lambda x, y, z: abs(x), lambda x, y, z: np.abs(x)),
    "sqrt": (lambda x, y, z: abs(x).sqrt(), lambda x, y, z: np.sqrt(np.abs(x))),
    "x > y": (lambda x, y, z: select(x > y, x, z), lambda x, y, z: np.where(x > y, x, z)),
    "x < y": (lambda x, y, z: select(x < y, 2.0, z), lambda x, y, z: np.where(x < y, x.dtype.type(2), z)),
    "sign": (lambda x, y, z: x.flipped(y.sign()), lambda x, y, z: np.where(np.signbit(y), -x, x)),
    "bits": (lambda x, y, z: x.of_bits(x.bits()), lambda x, y, z: x),
}


by_lanes, by_numbers = by_lanes_and_by_numbers(
    lambda *numbers: [*(written(*numbers) for written, _ in OPERATORS.values()), fma(*numbers)]
)


@kernel
def _whole(code: Code, x: Array, out: Array) -> None:
    vector = x.vector()
    out.put(vector.sum())
    out.put(vector.lane(3), 1)
    out.put(vector.lane(2).spread(), code.lanes)
    out.put(vector.shuffled(-vector, range(1, 2 * code.lanes, 2)), 2 * code.lanes)


@kernel
def _cover(code: Code, out: Array, count: Index, first: Index, step: Index) -> None:
    for place, size in code.blocks(count, (16, 4, 1)):
        with code.loop(code.index(size)) as j:
            out.put(out.number(place + j) + float(size), place + j)
    with code.loop(count, step, first) as i:
        out.put(out.number(count + i) + 1.0, count + i)


@kernel
def _integers(code: Code, given: Integers, out: Array) -> None:
    a, b = given[0], given[1]
    largest = code.variable(code.index(0))
    with code.loop(a) as i, code.when(i < b):
        largest.set(i)
    results = [a + b, a - b, a * b, a.rounded_down(b), a.rounded_up(8), a.least(b), largest.get()]
    for place, result in enumerate([*results, a.where(b.is_(3), 77)]):
        out.put(result.of(code), place)


@kernel
def _scaled(code: Code, x: Array, factor: Number) -> Number:
    return x.number() * factor


@numba.njit
def whole(x: Floats, out: Floats) -> None:
    _whole(x, out)


@numba.njit
def cover(out: Floats, count: int, first: int, step: int) -> None:
    _cover(out, count, first, step)


@numba.njit
def integers(given: Floats, out: Floats) -> None:
    _integers(given, out)


@numba.njit
def scaled(x: Floats, factor: float) -> float:
    return _scaled(x, factor)


def _operands(kind: Any) -> list[Floats]:
    """Return three arrays: numbers of many sizes, near cancellation, and every pair of special ones."""
    rng = np.random.default_rng(11)
    size = 4096
    x, y = (rng.normal(size=size) * 2.0 ** rng.integers(-30, 30, size) for _ in range(2))
    z = np.where(rng.random(size) < 0.5, -x * y * (1 + rng.normal(size=size) * 1e-7), rng.normal(size=size))
    info = np.finfo(kind)
    special = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, info.tiny, info.smallest_subnormal, info.max], kind)
    pairs = np.array(np.meshgrid(special, special)).reshape(2, -1)
    third = np.resize(special[::-3], pairs.shape[1])
    pad = -(size + pairs.shape[1]) % 16
    return [
        np.concatenate([one.astype(kind), two, np.ones(pad, kind)])
        for one, two in ((x, pairs[0]), (y, pairs[1]), (z, third))
    ]


def _written(kind: Any, call: Callable[..., None] = by_lanes) -> dict[str, Floats]:
    x, y, z = _operands(kind)
    out = np.empty((len(OPERATORS) + 1, len(x)), kind)
    call(x, y, z, out.reshape(-1))
    return dict(zip([*OPERATORS, "fma"], out, strict=True))


def _same(one: Floats, other: Floats, name: str) -> None:
    """Assert the same bits, but for those of NaN."""
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other, err_msg=name)
    known = ~np.isnan(one)
    assert (np.signbit(one) == np.signbit(other))[known].all(), name


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("call", [by_lanes, by_numbers])
def test_operators_round_once_as_numpy_does(kind: Any, call: Callable[..., None]) -> None:
    written = _written(kind, call)
    with np.errstate(all="ignore"):
        for name, (_, expected) in OPERATORS.items():
            _same(written[name], expected(*_operands(kind)).astype(kind), name)


def _rounded(exact: Fraction, kind: Any) -> Any:
    """Return the nearest number, for those that are not too small or large for full precision."""
    if not exact:
        return kind(0)
    exponent = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    exponent -= abs(exact) < Fraction(2) ** exponent
    unit = Fraction(2) ** (exponent - np.finfo(kind).nmant)
    return kind(float(round(exact / unit) * unit))


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("call", [by_lanes, by_numbers])
def test_fma_rounds_the_exact_result_once(kind: Any, call: Callable[..., None]) -> None:
    operands, found, twice = _operands(kind), _written(kind, call)["fma"], 0
    for x, y, z, one in list(zip(*operands, found, strict=True))[:4096]:
        assert one == _rounded(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)), kind)
        twice += one != x * y + z
    assert twice > 1000  # else this would not tell it from two roundings


@pytest.mark.parametrize("kind", PRECISIONS)
def test_lanes_of_a_vector(kind: Any) -> None:
    lanes = LANES[kind]
    for seed in range(50):
        padded = np.random.default_rng(seed).normal(size=lanes + 1).astype(kind)
        x, out = padded[1:], np.zeros(3 * lanes, kind)  # not aligned to a vector
        whole(x, out)
        total = x
        while len(total) > 1:
            total = total[0::2] + total[1::2]
        assert out[0] == total[0]
        assert out[1] == x[3]
        assert (out[lanes : 2 * lanes] == x[2]).all()
        assert (out[2 * lanes :] == np.concatenate([x, -x])[1::2]).all()


@pytest.mark.parametrize("kind", PRECISIONS)
def test_loads_and_stores_need_no_alignment(kind: Any) -> None:
    expected = _written(kind)["x y + z"]
    for shift in range(1, LANES[kind]):
        x, y, z = (np.concatenate([np.zeros(shift, kind), one])[shift:] for one in _operands(kind))
        out = np.empty(shift + (len(OPERATORS) + 1) * len(x), kind)[shift:]
        by_lanes(x, y, z, out)
        _same(out.reshape(-1, len(x))[[*OPERATORS].index("x y + z")], expected, str(shift))


def test_blocks_and_loops_cover_each_place_once() -> None:
    for count in range(70):
        for first, step in ((0, 1), (3, 2), (count, 5)):
            out = np.zeros(2 * count + 1)
            cover(out, count, first, step)
            assert out[-1] == 0
            sizes = [16.0] * (count // 16 * 16) + [4.0] * (count % 16 // 4 * 4) + [1.0] * (count % 4)
            assert out[:count].tolist() == sizes
            assert np.flatnonzero(out[count : 2 * count]).tolist() == list(range(first, count, step))
            assert out[count:].max() <= 1


def test_integers() -> None:
    for a, b in ((0, 3), (7, 3), (8, 5), (64, 9), (3, 64)):
        out = np.zeros(8)
        integers(np.array([a, b]), out)
        assert out.tolist() == [
            a + b, a - b, a * b, a // b * b, -(-a // 8) * 8, min(a, b), max(min(a, b) - 1, 0), a if b == 3 else 77,
        ]  # fmt: skip


def test_a_number_goes_in_and_out_in_the_precision_of_the_array() -> None:
    assert scaled(np.array([3.0]), 0.1) == 3.0 * 0.1
    assert scaled(np.array([3.0], np.float32), 0.1) == float(np.float32(3) * np.float32(0.1))


def digest() -> str:
    """Return a hash of the bits of all operators and sums, and whether instructions of AVX-512 made them."""
    known = hashlib.sha256()
    for kind in PRECISIONS:
        for row in _written(kind).values():
            known.update(np.where(np.isnan(row), kind(0), row).tobytes())
        out = np.zeros(3 * LANES[kind], kind)
        whole(_operands(kind)[0][: LANES[kind]], out)
        known.update(out.tobytes())
    return f"{known.hexdigest()} {'zmm' if is_compiled_for_avx512(by_lanes) else 'ymm'}"


def test_the_bits_are_those_of_a_processor_without_avx512() -> None:
    assert without_avx512(__file__) == f"{digest().split()[0]} ymm"
