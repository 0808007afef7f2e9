"""Products and sums over vectors against numpy: odd sizes, transposes, offsets; and that tiles change no bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcsweep.approx.kernels import matrices
from hpcsweep.approx.kernels.compiling import INTEGER, NOTHING, NUMBER, VECTOR, entry
from hpcsweep.approx.kernels.updates.first_order import clear_tiny
from tests.approx.kernels.cases import TOLERANCE, assert_near

Floats = np.ndarray[Any, Any]
PRECISIONS = (np.float64, np.float32)
PLACE = VECTOR, INTEGER, INTEGER  # an array, where in it, the distance of rows
ROWS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 31)


@entry(NOTHING, *[INTEGER] * 3, *PLACE, INTEGER, *PLACE, *PLACE, *PLACE)
def _product(rows, inner, columns, left, at, row, column, bias, bias_at, bias_row, right, right_at, right_row, out,
             out_at, out_row):  # fmt: skip
    matrices.product(rows, inner, columns, left, at, row, column, bias, bias_at, bias_row, right, right_at, right_row,
                     out, out_at, out_row)  # fmt: skip


@entry(NOTHING, *[INTEGER] * 3, NUMBER, *PLACE, *PLACE, *PLACE)
def _outer(rows, columns, length, factor, left, at, row, right, right_at, right_row, out, out_at, out_row):
    matrices.add_outer(rows, columns, length, factor, left, at, row, right, right_at, right_row, out, out_at, out_row)


@entry(NOTHING, *[INTEGER] * 5, VECTOR, *[INTEGER] * 4, *PLACE)
def _gram(first, columns, outputs, inner, stride, work, d, a, e, b, out, out_at, out_row):
    matrices.add_gram(first, columns, outputs, inner, stride, work, d, a, e, b, out, out_at, out_row)


@entry(NOTHING, *[INTEGER] * 5, VECTOR, INTEGER, INTEGER, *PLACE)
def _rows(rows, inner, columns, channels, stride, work, left, right, out, out_at, out_row):
    matrices.multiply_rows(
        rows, inner, columns, channels, work, left, stride, work, right, stride, out, out_at, out_row
    )


@entry(NUMBER, INTEGER, INTEGER, NUMBER, VECTOR, VECTOR)
def _sums(what, count, factor, one, other):
    if what == 0:
        return matrices.dot(count, one, 8, other, 16)
    if what == 1:
        return matrices.norm1(count, one, 8)
    if what == 2:
        matrices.add_multiple(count, factor, one, 8, other, 16)
    elif what == 3:
        matrices.write_multiple(count, factor, one, 8, other, 16)
    elif what == 4:
        matrices.fill(count, factor, other, 16)
    elif what == 5:
        matrices.copy(count, one, 8, other, 16)
    else:
        clear_tiny(count, factor, other, 16)
    return 0.0


def normal(seed: int, *shape: int, dtype: Any = np.float64) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def multiplied(left: Floats, right: Floats, bias: Floats, transposed: bool) -> Floats:
    """Return bias + left @ right, all matrices a little way into their arrays; nothing else may be written."""
    (rows, inner), columns, dtype = left.shape, right.shape[1], left.dtype
    stored = np.ascontiguousarray(left.T if transposed else left)
    row, column = (1, rows) if transposed else (inner, 1)
    out = np.full((rows + 1, columns + 32), 7, dtype=dtype)
    wide = np.concatenate([right, np.full((inner, 16), np.nan, dtype)], 1)
    arrays = np.append(np.full(3, np.nan, dtype), stored), np.append(np.full(2, np.nan, dtype), np.repeat(bias, 2))
    signals = np.append(np.full(5, np.nan, dtype), wide)
    _product[dtype](rows, inner, columns, arrays[0], 3, row, column, arrays[1], 2, 2, signals, 5, columns + 16,
                    out.reshape(-1), 16, columns + 32)  # fmt: skip
    assert (out[:rows, :16] == 7).all() and (out[:rows, 16 + columns :] == 7).all() and (out[rows] == 7).all()
    return out[:rows, 16 : 16 + columns]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("rows", ROWS)
def test_products(rows: int, dtype: Any) -> None:
    for inner, vectors, transposed in ((0, 1, False), (1, 2, True), (3, 3, False), (8, 5, True), (70, 11, False)):
        columns = vectors * 64 // np.dtype(dtype).itemsize
        left, right, bias = (
            normal(k, *size, dtype=dtype) for k, size in enumerate(((rows, inner), (inner, columns), (rows,)))
        )
        found = multiplied(left, right, bias, transposed)
        exact = left.astype(float) @ right.astype(float) + bias[:, None].astype(float)
        assert_near(found, exact, TOLERANCE[np.dtype(dtype)])
        alone = [multiplied(left[i : i + 1], right, bias[i : i + 1], transposed)[0] for i in range(rows)]
        assert np.array_equal(found, alone)  # whatever the tile


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("rows", ROWS)
def test_outer_products(rows: int, dtype: Any) -> None:
    for columns, vectors, factor in ((1, 1, 1.0), (2, 3, -1.0), (3, 0, 1.0), (5, 2, 0.25), (33, 5, 2.0)):
        length = vectors * 64 // np.dtype(dtype).itemsize
        left, right = normal(1, rows, length + 5, dtype=dtype), normal(2, columns, length + 3, dtype=dtype)
        out = normal(3, rows + 1, columns + 2, dtype=dtype)
        exact = out.astype(float)
        exact[:rows, 1 : 1 + columns] += factor * left[:, 2 : 2 + length].astype(float) @ right[:, 1 : 1 + length].T
        _outer[dtype](rows, columns, length, factor, left.reshape(-1), 2, length + 5, right.reshape(-1), 1, length + 3,
                      out.reshape(-1), 1, columns + 2)  # fmt: skip
        assert_near(out, exact, TOLERANCE[np.dtype(dtype)])


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_entries_of_outer_products_are_one_sum_each_whatever_the_tile(dtype: Any) -> None:
    left, right, out = (normal(k, 13, 48, dtype=dtype) for k in range(3))
    alone = out.copy()
    _outer[dtype](13, 13, 48, 0.3, left.reshape(-1), 0, 48, right.reshape(-1), 0, 48, out.reshape(-1), 0, 48)
    for i in range(13):
        for k in range(13):
            _outer[dtype](1, 1, 48, 0.3, left[i], 0, 48, right[k], 0, 48, alone[i, k:], 0, 48)
    assert np.array_equal(out, alone)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(("outputs", "inner"), [(1, 1), (1, 9), (5, 2), (16, 17)])
def test_products_of_jacobians(outputs: int, inner: int, dtype: Any) -> None:
    columns, stride = 48, 80
    work, out = normal(4, 2 * (outputs + inner), stride, dtype=dtype), normal(5, columns + 1, columns, dtype=dtype)
    d, a, e, b = np.split(work.astype(float)[:, :columns], np.cumsum([outputs, inner, outputs]))
    exact = out.astype(float)
    exact[16:24] += (d.T @ e)[16:24] * (a.T @ b)[16:24]
    starts = np.array([0, outputs, outputs + inner, 2 * outputs + inner]) * stride
    _gram[dtype](16, columns, outputs, inner, stride, work.reshape(-1), *starts, out.reshape(-1), 0, columns)
    assert_near(out, exact, TOLERANCE[np.dtype(dtype)])


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_products_of_rows(channels: int, dtype: Any) -> None:
    rows, inner, columns = 3, 5, 32
    stride = channels * columns + 16
    work, out = normal(6, rows + inner, stride, dtype=dtype), np.zeros((rows * inner, columns + 8), dtype=dtype)
    _rows[dtype](
        rows, inner, columns, channels, stride, work.reshape(-1), 0, rows * stride, out.reshape(-1), 8, columns + 8
    )
    parts = work.astype(float)[:, : channels * columns].reshape(-1, channels, columns)
    exact = np.einsum("ics,kcs->iks", parts[:rows], parts[rows:]).reshape(-1, columns)
    assert_near(out[:, 8:], exact, TOLERANCE[np.dtype(dtype)])
    assert not out[:, :8].any()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("count", [0, 16, 48, 160])
def test_sums_over_vectors(count: int, dtype: Any) -> None:
    one, other, tolerance = (
        normal(1, count + 24, dtype=dtype),
        normal(2, count + 24, dtype=dtype),
        TOLERANCE[np.dtype(dtype)],
    )
    x, y = one[8 : 8 + count].astype(float), other[16 : 16 + count].astype(float)
    assert abs(_sums[dtype](0, count, 0.0, one, other) - x @ y) <= tolerance * (np.abs(x) @ np.abs(y))
    assert_near(_sums[dtype](1, count, 0.0, one, other), np.abs(x).sum(), tolerance)
    kept = np.where(np.abs(y) < 0.3, 0, y)
    for what, expected in {2: y + 0.3 * x, 3: 0.3 * x, 4: np.full(count, 0.3), 5: x, 6: kept}.items():
        out = other.copy()
        _sums[dtype](what, count, 0.3, one, out)
        assert_near(out[16 : 16 + count], expected, tolerance)
        assert np.array_equal(out[:16], other[:16]) and np.array_equal(out[16 + count :], other[16 + count :])
