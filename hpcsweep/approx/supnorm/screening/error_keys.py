"""|error| as integers: the one order in which errors are compared, with NaN on top.

The int64 bit pattern of a float64 >= 0 is in the same order as the number, and with NaN made canonical it stands above
infinity, where no maximum of floats would keep it. The place of an error breaks ties: key descending, index ascending
is a total order, whatever the order of arrival.
"""

from __future__ import annotations

import struct

import numpy as np
from torch import Tensor

INFINITY_KEY = 0x7FF0000000000000
NAN_KEY = 0x7FF8000000000000
CROWD = 2  # times as many points as are kept are sorted at a time: equal keys may be among them
SIGNIFICAND_BITS = 52  # of a float64, stored; the exponent stands above them

# (key, index), the largest key first. Equal errors are kept once, at the first index: of points that are clamped to the
# domain half may be one and the same corner, and would crowd out all others.
Ranked = tuple[tuple[int, int], ...]


def value_of(key: int) -> float:
    """Return the float64 >= 0 with this bit pattern."""
    return struct.unpack("<d", struct.pack("<q", key))[0]


def key_of(value: float) -> int:
    """Return the key of a float64 >= 0, or NaN."""
    return NAN_KEY if value != value else struct.unpack("<q", struct.pack("<d", value))[0]


def canonical(keys: Tensor) -> Tensor:
    """Return keys with one NaN for every NaN; those of absolute values differ in payload."""
    return keys.masked_fill(keys > INFINITY_KEY, NAN_KEY)


def first(ranked: Ranked, count: int) -> Ranked:
    """Return the first `count` of pairs (key, index) by the total order, of equal keys the first pair alone."""
    indices: dict[int, int] = {}
    for key, index in sorted(ranked, key=lambda pair: (-pair[0], pair[1])):
        indices.setdefault(key, index)
    return tuple(indices.items())[:count]


def worst_of(keys: Tensor, start: int, count: int, floor: int) -> np.ndarray:
    """Return all keys of (points,) from `floor` on, and of many the `count` largest different ones at least.

    (2, pairs) int64, keys and indices, which run from `start` on, in their order. `torch.topk` would not say which of
    equal ones it takes.
    """
    if count == 1:
        largest = int(keys.argmax())  # the first of equal ones
        return np.array([[int(keys[largest])], [start + largest]])
    whole = keys.cpu().numpy()
    if floor < 0 and len(whole) > CROWD * count:
        floor = int(np.partition(whole, len(whole) - CROWD * count)[len(whole) - CROWD * count])
        if len(np.unique(whole[whole >= floor])) < count:
            floor = -1
    places = np.flatnonzero(whole >= floor)
    return np.stack([whole[places], places + start])


def ranked(pairs: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` of pairs (2, pairs) of keys and indices by the total order, of equal keys the first."""
    keys, indices = pairs[:, np.lexsort((pairs[1], -pairs[0]))]
    new = np.append(True, keys[1:] != keys[:-1]) if len(keys) else np.empty(0, bool)
    return np.stack([keys[new][:count], indices[new][:count]])
