"""Checksums of rows, and of everything in a file that never changes after it was laid out.

The checksum of a row is a sum over its columns, so that it can be computed column by column, for a million rows at the
speed of memory. Each 64-bit word w of a column is mixed, (w xor w >> 32), multiplied by an odd number that depends on
the column and on the place of the word, and added modulo 2^64. Any change within one word changes the sum; of changes
in several words one in about 2^64 goes unnoticed. They protect against accidents, not against an adversary.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

START = np.uint64(0x6A09E667F3BCC909)  # of a row of zeros, which a page that was never written must not pass for
_BLOCK = 2**19  # bytes of values mixed at a time, which stay in the cache
_PIECE = 2**24  # bytes of a file read at a time


def rows(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the checksum of each row of some columns of values (rows, ...): (rows,) uint64.

    The order of the columns does not matter; their names, types and widths do.
    """
    total: np.ndarray | None = None
    for name, values in columns.items():
        summand = contribution(name, values)
        total = summand + START if total is None else total + summand
    return np.empty(0, np.uint64) if total is None else total


def contribution(name: str, values: np.ndarray) -> np.ndarray:
    """Return what a column of values (rows, ...) adds to the checksums of its rows: (rows,) uint64."""
    words = _words(np.asarray(values))
    multipliers = _multipliers(name, words.shape[1])
    sums = np.empty(len(words), np.uint64)
    step = max(1, _BLOCK // max(1, 8 * words.shape[1]))
    for start in range(0, len(words), step):
        block = words[start : start + step]
        mixed = block >> np.uint64(32)
        mixed ^= block
        mixed *= multipliers
        sums[start : start + step] = mixed.sum(axis=1, dtype=np.uint64)
    return sums


def _words(values: np.ndarray) -> np.ndarray:
    """Return values (rows, ...) as words (rows, words), the last one of a row filled with zero bytes."""
    width = values.dtype.itemsize * int(np.prod(values.shape[1:], dtype=np.int64))
    octets = np.ascontiguousarray(values).reshape(-1).view(np.uint8).reshape(len(values), width)
    if width % 8:
        filled = np.zeros((len(values), width + -width % 8), np.uint8)
        filled[:, :width] = octets
        octets = filled
    return octets.view("<u8")


@functools.lru_cache(maxsize=1024)
def _multipliers(name: str, count: int) -> np.ndarray:
    """Return odd 64-bit numbers that depend on a name: those of splitmix64 (Steele, Lea and Flood, 2014)."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    numbers = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (numbers ^ (numbers >> np.uint64(31))) | np.uint64(1)


def constant(opened: Path | int, changing: Iterable[tuple[int, int]]) -> bytes:
    """Return a digest, as 32 letters, of a file without the bytes of the ranges (offset, size) that may change.

    `opened`: its path, or a descriptor of it, which stays open: another file may have its name by now.
    It covers the metadata of HDF5, which has no checksum of its own for much of what it says. Raises `OSError`.
    """
    digest, position = hashlib.blake2b(digest_size=16), 0
    with open(opened, "rb", buffering=0, closefd=not isinstance(opened, int)) as file:
        end = os.fstat(file.fileno()).st_size
        for offset, size in [*sorted(part for part in changing if part[1]), (end, 0)]:  # empty ones lie nowhere
            _digest(digest, file.fileno(), position, offset)
            digest.update(offset.to_bytes(8, "little"))
            position = max(position, offset + size)
    return digest.hexdigest().encode()


def _digest(digest: hashlib.blake2b, descriptor: int, start: int, stop: int) -> None:
    """Add the bytes from `start` to `stop` of a file to a digest."""
    while start < stop and (piece := os.pread(descriptor, min(_PIECE, stop - start), start)):
        digest.update(piece)
        start += len(piece)
