"""Checksums of rows and of the constant part of a file: every flipped bit shows, whatever the layout of the work."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from hpcsweep.store import checksums

COLUMNS = {
    "status": np.array([2, 3, 0], np.int8),
    "sup_lower": np.array([0.1, np.nan, 0.0]),
    "message": np.array([b"of 13 letters", b"", b"x"], "S13"),
    "history": np.arange(15, dtype=np.float64).reshape(3, 5),
    "count": np.array([[-1], [7], [2**40]]),
}
MASK = 2**64 - 1
FIRST_MULTIPLIERS = [14838485339895358409, 967428280490925421, 2975767541247616885]
FIRST_CHECKSUM = 18423959424312863333


def naive(columns: dict[str, np.ndarray], row: int) -> int:
    """The checksum of one row by its definition, in the integers of Python."""
    total = int(checksums.START)
    for name, values in columns.items():
        octets = np.ascontiguousarray(values[row]).tobytes()
        octets += bytes(-len(octets) % 8)
        for place, factor in zip(range(0, len(octets), 8), checksums._multipliers(name, len(octets) // 8), strict=True):
            word = int.from_bytes(octets[place : place + 8], "little")
            total += (word ^ word >> 32) * int(factor)
    return total & MASK


def test_the_checksum_is_its_definition() -> None:
    assert checksums.rows(COLUMNS).tolist() == [naive(COLUMNS, row) for row in range(3)]
    turned = dict(reversed(COLUMNS.items()))
    assert np.array_equal(checksums.rows(COLUMNS), checksums.rows(turned)), "the order of columns does not matter"


def test_multipliers_stay_what_they_are() -> None:
    """Stores keep checksums: these numbers must never change."""
    assert checksums._multipliers("sup_lower", 3).tolist() == FIRST_MULTIPLIERS
    assert int(checksums.rows(COLUMNS)[0]) == FIRST_CHECKSUM


@pytest.mark.parametrize("name", COLUMNS)
def test_every_flipped_bit_changes_the_checksum_of_its_row_alone(name: str) -> None:
    before = checksums.rows(COLUMNS)
    width = COLUMNS[name].nbytes // 3
    for row in range(3):
        for bit in range(8 * width):
            damaged = np.ascontiguousarray(COLUMNS[name]).copy()
            octets = damaged.reshape(-1).view(np.uint8)
            octets[row * width + bit // 8] ^= 1 << bit % 8
            after = checksums.rows({**COLUMNS, name: damaged})
            assert (after != before).tolist() == [other == row for other in range(3)]


def test_blocks_and_long_rows_give_the_same_sums() -> None:
    values = np.random.default_rng(1).random((3000, 97))
    whole = checksums.contribution("x", values)
    assert np.array_equal(whole, np.concatenate([checksums.contribution("x", part) for part in np.split(values, 6)]))
    assert checksums.contribution("x", values[:0]).shape == (0,) and checksums.rows({}).shape == (0,)
    long = np.random.default_rng(2).random((2, 2**17))
    assert checksums.contribution("x", long).tolist() == [
        naive({"x": long}, row) - int(checksums.START) & MASK for row in range(2)
    ]


def test_rows_of_fill_values_that_are_zeroed_show() -> None:
    """Pages of NaN, or of one and the same number, become zeros: no two words may cancel."""
    chance = random.Random(3)
    for fill in (np.nan, -0.0, -1.0, 2.0**-1022):
        full = np.full((200, 64), fill)
        damaged = full.copy()
        for row in range(200):
            damaged[row, sorted(chance.sample(range(64), chance.randrange(1, 64)))] = 0.0
        assert not (checksums.contribution("y", full) == checksums.contribution("y", damaged)).any()
    assert int(checksums.rows({"z": np.zeros((1, 9))})[0]) != 0


def test_the_constant_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = bytearray(random.Random(4).randbytes(500))
    changing = [(300, 50), (20, 30), (480, 20)]
    path.write_bytes(content)
    before = checksums.constant(path, changing)
    assert len(before) == 32
    for place in range(500):
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        inside = any(offset <= place < offset + size for offset, size in changing)
        assert (checksums.constant(path, changing) == before) == inside, place
    path.write_bytes(content)
    assert checksums.constant(path, [*changing, (0, 0), (490, 0)]) == before, "empty ranges say nothing"
    path.write_bytes(content[:-1])
    assert checksums.constant(path, changing) != before, "a shorter file"
