"""The state of an optimizer as a list of tensors: to save it, to restore it, to take some slots out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.training.engine import Layout


def leaves(state: Any) -> list[Any]:
    """Return the tensors and numbers in nested dataclasses, lists and tuples, in a fixed order."""
    if is_dataclass(state) and not isinstance(state, type):
        return [leaf for field in fields(state) for leaf in leaves(getattr(state, field.name))]
    if isinstance(state, list | tuple):
        return [leaf for part in state for leaf in leaves(part)]
    return [state]


def restored(state: Any, saved: Sequence[Any]) -> Any:
    """Return a state of the same structure with other leaves, which are copied; `state` may be changed."""
    return _restored(state, iter(saved))


def _restored(state: Any, saved: Iterator[Any]) -> Any:
    if is_dataclass(state) and not isinstance(state, type):
        for field in fields(state):
            object.__setattr__(state, field.name, _restored(getattr(state, field.name), saved))
        return state
    if isinstance(state, list | tuple):
        return type(state)([_restored(part, saved) for part in state])
    leaf = next(saved)
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.clone().to(state) if isinstance(state, Tensor) else leaf.clone()


def taken(old: Any, new: Any, slots: Tensor, before: Layout, after: Layout) -> Any | None:
    """Return the state of some slots, None if a tensor tells not where its slots are.

    Parameters
    ----------
    old : the state of all slots, laid out as `before`
    new : a state of as many slots as are taken, from `init`, laid out as `after`; its structure is used
    slots : (taken,) int64
    """
    parts = []
    for large, small in zip(leaves(old), leaves(new), strict=True):
        part = _leaf(large, small, slots, before, after) if isinstance(large, Tensor) else large
        if isinstance(large, Tensor) and part is None:
            return None
        parts.append(part)
    return restored(new, parts)


def _leaf(large: Tensor, small: Tensor, slots: Tensor, before: Layout, after: Layout) -> Tensor | None:
    if large.shape == small.shape:  # no slots in it
        return large
    if large.ndim == 1 and large.numel() == before.slots * before.parameters and before.parameters > 1:
        flat = torch.empty_like(small)
        after.fill(flat, before.rows(large)[slots.to(large.device)])
        return flat
    axes = [axis for axis, size in enumerate(large.shape) if size == before.slots and small.shape[axis] == after.slots]
    if large.ndim != small.ndim or len(axes) != 1:
        return None
    return large.index_select(axes[0], slots.to(large.device))
