"""Cholesky's factorisation against numpy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcsweep.approx.kernels.compiling import INTEGER, VECTOR, entry
from hpcsweep.approx.kernels.updates.cholesky import factorise, solve
from tests.approx.kernels.cases import assert_near

Floats = np.ndarray[Any, Any]
PRECISIONS = (np.float64, np.float32)


@entry(INTEGER, INTEGER, INTEGER, VECTOR, INTEGER, VECTOR, VECTOR, INTEGER)
def _solve(size, lanes, matrix, at, inverse, vector, vector_at):
    sound = factorise(size, lanes, matrix, at, inverse, 0)
    if sound:
        solve(size, lanes, matrix, at, inverse, 0, vector, vector_at)
    return int(sound)


def solved(matrix: Floats, right: Floats) -> tuple[int, Floats, Floats]:
    """Return whether a matrix is positive definite, its factor, and the solution; numbers before them stay."""
    size, dtype = len(right), right.dtype
    lanes = 64 // dtype.itemsize
    room, vector = np.append(np.full(3, 7, dtype), matrix.astype(dtype)), np.append(np.full(5, 7, dtype), right)
    sound = _solve[dtype](size, lanes, room, 3, np.zeros(size * lanes, dtype), vector, 5)
    assert (room[:3] == 7).all() and (vector[:5] == 7).all()
    return sound, room[3:].reshape(size, size), vector[5:]


def definite(size: int, dtype: Any) -> Floats:
    factor = np.random.default_rng(size).normal(size=(size, size))
    return (factor @ factor.T / size + np.eye(size)).astype(dtype)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("vectors", [1, 2, 3, 5, 9])
def test_factors_and_solutions(vectors: int, dtype: Any) -> None:
    size = vectors * 64 // np.dtype(dtype).itemsize
    matrix, right = definite(size, dtype), np.random.default_rng(1).normal(size=size).astype(dtype)
    spoilt = np.tril(matrix) + np.triu(np.full_like(matrix, 1e3), 64)  # what stands above does not count
    sound, factor, solution = solved(spoilt, right)
    assert sound
    tolerance = 1e-12 if dtype is np.float64 else 1e-4
    assert_near(np.tril(factor), np.linalg.cholesky(matrix.astype(float)), tolerance)
    assert_near(solution, np.linalg.solve(matrix.astype(float), right.astype(float)), tolerance)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("place", [0, 1, 9, 17, 31])
@pytest.mark.parametrize("pivot", [-1.0, 0.0, np.nan, np.inf])
def test_other_matrices_are_refused(pivot: float, place: int, dtype: Any) -> None:
    matrix, right = definite(32, dtype), np.ones(32, dtype=dtype)
    matrix[place, place] = pivot
    sound, _, untouched = solved(matrix, right)
    assert not sound and np.array_equal(untouched, right)


def test_bad_conditions_are_solved_as_well_as_by_lapack() -> None:
    spectrum, basis = np.geomspace(1e-10, 1, 40), np.linalg.qr(definite(40, np.float64))[0]
    matrix = (basis * spectrum) @ basis.T
    matrix = (matrix + matrix.T) / 2
    right = matrix @ np.ones(40)
    sound, _, solution = solved(matrix, right)
    error, theirs = (np.abs(x - 1).max() for x in (solution, np.linalg.solve(matrix, right)))
    assert sound and error <= 10 * theirs + 1e-8
