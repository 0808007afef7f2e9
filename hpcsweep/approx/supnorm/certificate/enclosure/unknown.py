"""Values of which nothing is known, for operations without a rule, so that what does not use them is enclosed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as trees

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure
from hpcsweep.approx.supnorm.certificate.enclosure.axes import is_seen, seen, shown
from hpcsweep.approx.supnorm.certificate.enclosure.conditions import Mask
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble
from hpcsweep.approx.supnorm.certificate.enclosure.rules import substituted

_PLACES = (Tensor, ""), (torch, ""), (torch.nn.functional, ""), (torch.special, "special_"), (torch.linalg, "linalg_")


@contextmanager
def tolerated() -> Iterator[list[NoEnclosure]]:
    """Let operations without a rule give unknown values, and yield the list in which they are noted."""
    missing: list[NoEnclosure] = []

    def substitute(refusal: NoEnclosure, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        try:
            with substituted(None):
                result = _unknown(name, args, kwargs)
        except Exception as error:
            raise refusal from error
        missing.append(refusal)
        return result

    with substituted(substitute):
        yield missing


def _unknown(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what torch gives, in shape, with nothing known of its values. Raises whatever torch does."""
    if name.endswith("_") or kwargs.get("inplace") or kwargs.get("out") is not None:
        raise NoEnclosure(name)  # it would change what others see
    like = next(seen(part)[0] for part in trees.tree_leaves((args, kwargs)) if is_seen(part))
    operands, keywords = trees.tree_map(_example, (list(args), dict(kwargs)))
    functions = (getattr(place, name.removeprefix(prefix), None) for place, prefix in _PLACES)
    result = next(filter(None, functions))(*operands, **keywords)
    if isinstance(like, DoubleDouble):
        dimension = Mask.POINTS
    else:
        dimension = like.dimension if isinstance(like, Mask) else len(like.slopes)
    if not all(isinstance(part, Tensor) and not part.is_complex() for part in trees.tree_leaves(result)):
        raise NoEnclosure(name)
    return trees.tree_map(lambda part: _nothing(part, like.shape[0], dimension), result)


def _example(value: Any) -> Any:
    if not is_seen(value):
        return value
    return torch.full(value.shape, 0.5, dtype=torch.bool if isinstance(seen(value)[0], Mask) else torch.float64)


def _nothing(result: Tensor, boxes: int, dimension: int) -> Any:
    """Return unknown values of a shape; wherever the axis of the boxes is, all of them are unknown."""
    at = list(result.shape).index(boxes)
    features = result.movedim(at, 0)
    if result.dtype == torch.bool:
        return shown(Mask(torch.zeros_like(features), torch.ones_like(features), dimension), at)
    if dimension == Mask.POINTS:
        zeros = torch.zeros_like(features, dtype=torch.float64)
        return shown(DoubleDouble(zeros, zeros, zeros + math.inf), at)
    terms = torch.zeros(1 + dimension, *features.shape, dtype=torch.float64)
    return shown(AffineForm(terms, torch.full(features.shape, math.inf, dtype=torch.float64)), at)
