"""Random numbers that are a function of their place: a counter-based hash in wrapping int64 arithmetic.

No generator, no state, no order: the number at (seed, index, axis) is the same on every device and every
rank. The bit mixer is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA
2014, fig. 16, with variant 13 of Stafford's mixers), keyed and applied twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 53  # of a float64 significand: a 53-bit integer times 2**-53 is exact

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, 2**64 over the golden ratio, as an int64
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB


def mix(words: Tensor) -> Tensor:
    """Return the SplitMix64 output of each state: int64 of any shape -> int64 of that shape, bijective."""
    words = words + _GOLDEN
    words = (words ^ _shift_right(words, 30)) * _FIRST
    words = (words ^ _shift_right(words, 27)) * _SECOND
    return words ^ _shift_right(words, 31)


def random_bits(seed: int, indices: Tensor, dimension: int) -> Tensor:
    """Return independent integers uniform on [0, 2**53), one per index and axis.

    Parameters
    ----------
    seed: any integer, of which the low 64 bits count.
    indices: int64, (points,). Points have indices from 0 on; negative ones are free for other uses.

    Returns
    -------
    Tensor: int64, (points, dimension), on the device of `indices`.
    """
    start = torch.tensor(_signed(seed), dtype=torch.int64, device=indices.device)
    axes = torch.arange(dimension, dtype=torch.int64, device=indices.device)
    keys = mix(mix(start) + axes)  # (dimension,)
    words = mix(mix(indices)[:, None] ^ keys)  # (points, dimension)
    return _shift_right(words, 64 - BITS)


def _shift_right(words: Tensor, places: int) -> Tensor:
    """Shift right filling with zeros; torch's ``>>`` on int64 would repeat the sign."""
    return (words >> places) & ((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    """Return the int64 with the low 64 bits of `number`."""
    low = number & (2**64 - 1)
    return low - 2**64 if low >= 2**63 else low
