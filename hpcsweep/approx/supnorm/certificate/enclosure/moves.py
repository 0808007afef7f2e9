"""Whatever only moves numbers: transposed, reshaped, rolled, stacked, also to where the boxes are not the first axis.

What such an operation does is read off: torch itself does it to the numbers' places, and the places that come out say
which entry of which box each number is. An operation that mixes boxes shows itself there.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import RULES, NoEnclosure, apply, rule
from hpcsweep.approx.supnorm.certificate.enclosure.axes import MOVES, QUICK, Inner, Turned, is_seen, seen, shown
from hpcsweep.approx.supnorm.certificate.enclosure.conditions import Mask
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import exact_form, moved, refuse_rows


def move(name: str, *args: Any, **kwargs: Any) -> Any:
    """Do what only moves numbers, to values on boxes in `args`, or in a sequence there, and constants beside them."""
    if any(isinstance(part, torch.dtype) for part in (*args, *kwargs.values())):
        raise NoEnclosure(f"{name} as another type")
    operands = [part for part in args if is_seen(part)]
    sequence = next((part for part in args if isinstance(part, Sequence) and any(map(is_seen, part))), None)
    if sequence is not None:
        if name == "__getitem__":
            raise NoEnclosure("an index that depends on the points")
        operands = _joined(sequence)
        args = tuple(operands if part is sequence else part for part in args)
    pairs = [seen(operand) for operand in operands]
    if len(pairs) > 1 and (name == "__getitem__" or any(isinstance(inner, Mask) for inner, _ in pairs)):
        raise NoEnclosure(f"{name} of conditions, or by values that depend on the points")
    sizes = [math.prod(inner.shape[1:]) for inner, _ in pairs]
    boxes = max(2, pairs[0][0].shape[0])  # of one box alone nothing tells which axis is that of the boxes
    places = iter(_places(pairs, sizes, boxes))
    numbered = [next(places) if is_seen(part) else [*places] if part is operands else part for part in args]
    result = _function(name, numbered[0])(*numbered, **kwargs)
    parts = result if isinstance(result, tuple | list) else (result,)
    gathered = tuple(_gathered(name, pairs, part, boxes, sum(sizes)) for part in parts)
    return gathered if isinstance(result, tuple | list) else gathered[0]


def _function(name: str, first: Any) -> Callable[..., Any]:
    if name in ("T", "mT"):
        return lambda tensor: getattr(tensor, name)
    own = getattr(torch.Tensor, name, None)
    return own if isinstance(first, Tensor) and own is not None else getattr(torch, name)


def _places(pairs: Sequence[tuple[Inner, int]], sizes: Sequence[int], boxes: int) -> Iterator[Tensor]:
    """Yield a number for each entry of each value, seen as the values are: the box times all entries, and the entry."""
    total, offset = sum(sizes), 0
    for (inner, at), size in zip(pairs, sizes, strict=True):
        entries = torch.arange(offset, offset + size) + total * torch.arange(boxes)[:, None]
        offset += size
        yield entries.view(boxes, *inner.shape[1:]).movedim(0, at)


def _gathered(name: str, pairs: Sequence[tuple[Inner, int]], places: Any, boxes: int, total: int) -> Any:
    """Return the values at such places, seen with the boxes along the axis that the places tell."""
    for at in range(places.ndim if isinstance(places, Tensor) else 0):
        if places.shape[at] == boxes:
            entries = places.select(at, 0)
            rows = torch.arange(boxes).view(-1, *[1] * (places.ndim - 1 - at)) * total
            if bool((entries < total).all()) and torch.equal(places, entries.unsqueeze(at) + rows):
                return shown(_picked([inner for inner, _ in pairs], entries), at)
    raise NoEnclosure(f"{name} across the points of a batch")


def _picked(inners: Sequence[Inner], entries: Tensor) -> Inner:
    first = inners[0]
    if isinstance(first, Mask):
        always, sometimes = (part.reshape(len(part), -1)[:, entries] for part in (first.always, first.sometimes))
        return Mask(always, sometimes, first.dimension)
    forms: list[Any] = list(inners)
    if len(forms) > 1:
        flat = [moved(form, lambda part, at: part.reshape(*part.shape[: at + 1], -1)) for form in forms]
        return moved(apply("cat", flat, 1), lambda part, at: part[..., entries])
    return moved(first, lambda part, at: part.reshape(*part.shape[: at + 1], -1)[..., entries])


def _joined(parts: Sequence[Any]) -> list[Any]:
    """Return values on boxes and constants beside them as values on boxes alone, seen alike."""
    like, at = seen(next(part for part in parts if is_seen(part)))
    if isinstance(like, Mask):
        raise NoEnclosure("conditions joined")
    joined: list[Any] = []
    for part in parts:
        if is_seen(part):
            joined.append(part)
            continue
        values = torch.as_tensor(part, dtype=torch.float64, device=like.device)
        if values.ndim <= at or values.shape[at] != len(like):
            raise NoEnclosure("values and a constant of another number of points joined")
        values = values.movedim(at, 0)
        refuse_rows(values)
        joined.append(shown(exact_form(values, like), at))
    return joined


def _moving(name: str, quick: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return the rule of a move: the quick one where the boxes come first and stay there."""

    def moving(*args: Any, **kwargs: Any) -> Any:
        inside = [part for operand in args for part in (operand if isinstance(operand, Sequence) else (operand,))]
        result = None
        if quick is not None and not any(isinstance(part, Turned) for part in inside):
            with contextlib.suppress(NoEnclosure, TypeError):
                result = quick(*args, **kwargs)
        result = move(name, *args, **kwargs) if result is None else result
        for part in (*inside, *(result if isinstance(result, tuple) else (result,))):
            if is_seen(part):
                seen(part)[0].viewed = True
        return result

    return moving


@rule("slice")
def part(form: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """form[..., start:end:step, ...] as programs have it."""
    index = [slice(None)] * form.ndim
    index[dim] = slice(start, end, step)
    return apply("__getitem__", form, tuple(index))


# Not by `rule`: other arithmetics than that of forms move what they have likewise.
RULES.update({name: _moving(name, None) for name in MOVES} | {name: _moving(name, RULES[name]) for name in QUICK})
