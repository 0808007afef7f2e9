"""Random numbers by counting: number j of a stream is a hash of (seed, j), so that every row is its own stream.

The hash is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): integer
arithmetic only, hence the same bits on every device, whatever the companions of a row and however many numbers are
made at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def _signed(number: int) -> int:
    """Return the 64-bit integer of the same bits that torch can hold: it has int64 but no arithmetic on uint64."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


_FIRST, _SECOND, _STRIDE = map(_signed, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15))


def _shift(numbers: Tensor, bits: int) -> Tensor:
    """Return the logical shift to the right; >> alone would keep the sign."""
    return (numbers >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(numbers: Tensor) -> Tensor:
    """Return the finalizer of splitmix64 of int64 numbers; overwrites its argument."""
    numbers.bitwise_xor_(_shift(numbers, 30)).mul_(_FIRST)
    numbers.bitwise_xor_(_shift(numbers, 27)).mul_(_SECOND)
    return numbers.bitwise_xor_(_shift(numbers, 31))


def keys(seeds: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Return the stream keys (rows,) int64 of seeds; of a seed the lowest 64 bits count."""
    return _mix(torch.tensor([_signed(int(seed)) for seed in seeds], dtype=torch.int64, device=device))


def integers(streams: Tensor, start: int | Tensor, count: int, below: int) -> Tensor:
    """Return numbers start ... start + count - 1 of each stream as integers in [0, below): (rows, count) int64.

    `streams` (rows,) come from `keys`; `start` is one for all or (rows, 1); `below` is at most 2^31. The
    multiplication of 31 bits is biased by less than below / 2^31.
    """
    counters = start + torch.arange(1, count + 1, dtype=torch.int64, device=streams.device)
    bits = _mix(streams[:, None] + counters * _STRIDE)  # (rows, count)
    return _shift(bits, 33).mul_(below).bitwise_right_shift_(31)
