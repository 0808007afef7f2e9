"""Numbers that differ between the slots of a pack: how many steps each has done, and what follows from it.

All slots of a pack are of one age until a free one is given to a new cell. Then the same arithmetic is done block by
block: the bits of a slot do not tell which of the two ways it went. Ages are lists of Python integers, with one entry
if all slots are of one age, which is what nearly every step meets.

Numbers that follow from ages are lists of as many entries, or `columns`: tensors that a recorded tick can read again
(see `training.graph`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hpcsweep.approx.training.engine import Layout

NEWCOMER = -1

Number = Sequence[float] | Tensor  # one per slot or one for all; or a column (slots, 1, 1) on the device


def newcomers(slots: int) -> Tensor:
    """Return the births (slots,) int64 of slots that have done nothing yet; on the CPU, whatever the device."""
    return torch.full((slots,), NEWCOMER, dtype=torch.int64)


def ages(born: Tensor, count: int) -> list[int]:
    """Return how many steps each slot has done when the pack has done `count`; enters the births of newcomers."""
    births = born.tolist()
    if NEWCOMER in births:
        born.masked_fill_(born == NEWCOMER, count)
        births = born.tolist()
    if births.count(births[0]) == len(births):
        return [count - births[0]]
    return [count - birth for birth in births]


def due(layout: Layout, ages: Sequence[int], period: int) -> list[int]:
    """Return the slots whose age is a multiple of `period`."""
    if len(ages) == 1:
        return list(range(layout.slots)) if ages[0] % period == 0 else []
    return [slot for slot, age in enumerate(ages) if age % period == 0]


def parts(layout: Layout, slots: Sequence[int], buffer: Tensor) -> list[Tensor]:
    """Return the flat buffer itself if `slots` are all slots, else the views of those slots, block by block."""
    if len(slots) == layout.slots:
        return [buffer]
    return [block[slot] for block in layout.blocks(buffer) for slot in slots]


def columns(layout: Layout, numbers: Sequence[Sequence[float]], like: Tensor) -> list[Tensor]:
    """Return numbers as columns (slots, 1, 1)."""
    return [_column(like, one).expand(layout.slots, 1, 1).contiguous() for one in numbers]


def add(layout: Layout, buffer: Tensor, number: Number) -> None:
    """Add to each slot of a flat buffer its number, or the one that there is."""
    if not isinstance(number, Tensor) and len(number) == 1:
        buffer.add_(number[0])
        return
    column = _column(buffer, number)
    for block in layout.blocks(buffer):
        block.add_(column)


def add_product(layout: Layout, buffer: Tensor, factor: Number, left: Tensor, right: Tensor) -> None:
    """Add factor * left * right to a flat buffer, one factor per slot or one for all; may overwrite `left`."""
    if not isinstance(factor, Tensor) and len(factor) == 1:
        buffer.addcmul_(left, right, value=factor[0])
        return
    column = _column(left, factor)
    for block in layout.blocks(left):
        block.mul_(column)  # first factor * left, as addcmul does
    buffer.addcmul_(left, right)


def _column(like: Tensor, number: Number) -> Tensor:
    if isinstance(number, Tensor):
        return number
    return torch.tensor(number, dtype=like.dtype, device=like.device).view(-1, 1, 1)
