"""Rows of HDF5 datasets, read and written in large pieces, however they are scattered.

HDF5 takes a tenth of a millisecond for every call. Rows that lie close together are therefore read with what lies
between them, and written as one piece.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import h5py
import numpy as np

PIECE = 2**25  # bytes read or written at once, about
GAP = 2**16  # bytes that are read, or written again, rather than beginning another piece
AT_ONCE = 64  # files that are open at the same time

Part = tuple[h5py.Dataset, np.ndarray, np.ndarray]  # rows `origin` of a dataset, to be rows `target` (ascending)
Segments = tuple[h5py.Dataset, np.ndarray, np.ndarray, np.ndarray]  # likewise their first entries, and their lengths


def pieces(data: h5py.Dataset) -> Iterator[slice]:
    """Yield the rows of a dataset in slices of about `PIECE` bytes."""
    step = max(1, PIECE // max(1, _row_bytes(data)))
    return (slice(start, min(start + step, len(data))) for start in range(0, len(data), step))


def gathered(data: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Return rows of a dataset, in any order: (rows, ...)."""
    order = np.argsort(rows, kind="stable")
    ascending, size = rows[order], _row_bytes(data)
    window = ascending * size // PIECE
    edges = np.flatnonzero((np.diff(ascending) * size > GAP) | (np.diff(window) > 0)) + 1
    values = np.empty((len(rows), *data.shape[1:]), data.dtype)
    for start, stop in itertools.pairwise([0, *edges.tolist(), len(rows)] if len(rows) else []):
        first, last = ascending[start], ascending[stop - 1]
        values[order[start:stop]] = data[first : last + 1][ascending[start:stop] - first]
    return values


def copy(new: h5py.Dataset, parts: Sequence[Part]) -> None:
    """Copy rows into a dataset, which may have longer rows; its other rows stay what they are."""
    for rows in pieces(new):
        within = [np.searchsorted(target, [rows.start, rows.stop]) for _, _, target in parts]
        _fill(
            new,
            [
                (old, origin[first:last], target[first:last])
                for (old, origin, target), (first, last) in zip(parts, within, strict=True)
                if first < last
            ],
        )


def copy_segments(new: h5py.Dataset, parts: Sequence[Segments]) -> None:
    """Copy segments of a flat dataset into another one."""
    for entries in pieces(new):
        chosen = []
        for old, origin, target, lengths in parts:
            first, last = np.searchsorted(target, [entries.start, entries.stop])  # by where they begin
            if first < last:
                within = slice(first, last)
                chosen.append((old, spread(origin[within], lengths[within]), spread(target[within], lengths[within])))
        _fill(new, chosen)


def spread(first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the numbers of all entries of segments, one after the other: (sum of lengths,)."""
    return np.repeat(first - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())


def _fill(new: h5py.Dataset, parts: Sequence[Part]) -> None:
    """Copy rows that lie close together."""
    targets = [target for _, _, target in parts if len(target)]
    if not targets:
        return
    start, stop = min(target[0] for target in targets), max(target[-1] for target in targets) + 1
    block, written = new[start:stop], np.zeros(stop - start, bool)
    for old, origin, target in parts:
        width = tuple(slice(0, size) for size in old.shape[1:])
        block[(target - start, *width)] = gathered(old, origin)
        written[target - start] = True
    # What lies far between stays a hole in the file.
    rows = np.flatnonzero(written)
    edges = np.flatnonzero(np.diff(rows) * _row_bytes(new) > GAP) + 1
    for run in np.split(rows, edges):
        new[start + run[0] : start + run[-1] + 1] = block[run[0] : run[-1] + 1]


def _row_bytes(data: h5py.Dataset) -> int:
    return data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64))
