"""Domains and samples, checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcsweep.errors import PluginError

Domain = tuple[tuple[float, float], ...]


def places_of(samples: Any, dimension: int) -> Tensor | None:
    """Return samples, whatever array they are, as (samples, dimension) float64; None where there are none.

    Raises
    ------
    PluginError : if they are no such numbers, or not finite
    """
    if samples is None:
        return None
    try:
        array = torch.as_tensor(samples if isinstance(samples, Tensor) else np.asarray(samples), device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise _no_samples(dimension, f"{type(samples).__name__} ({error})") from error
    if array.is_complex() or array.ndim != 2 or array.shape[1] != dimension:
        raise _no_samples(dimension, f"{array.dtype} {tuple(array.shape)}")
    places = array.to(torch.float64)
    if not places.isfinite().all():
        raise _no_samples(dimension, f"{int((~places.isfinite()).any(1).sum())} with NaN or infinite coordinates")
    return places


def _no_samples(dimension: int, got: str) -> PluginError:
    return PluginError(f"the samples must be (samples, {dimension}), finite real numbers, one per axis, not {got}.")


def domain_of(text: str | Sequence[Sequence[float]], dimension: int | None = None) -> Domain:
    """Return ((low, high), ...) from "-1,1 0,2", or from pairs; one pair stands for all of `dimension` axes.

    Raises
    ------
    PluginError : for anything else, and if the number of pairs is not `dimension`
    """
    try:
        pairs = [re.split(r"[,:]", part) for part in text.split()] if isinstance(text, str) else [list(p) for p in text]
        domain = tuple((float(low), float(high)) for low, high in pairs)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f'the domain must be "low,high" for each axis, separated by blanks, such as "-1,1 0,2", not {text!r}.'
        ) from error
    if len(domain) == 1 and dimension is not None:
        domain *= dimension
    for axis, (low, high) in enumerate(domain):
        if not (np.isfinite([low, high]).all() and low < high):
            raise PluginError(f"axis {axis} of the domain must have finite ends with low < high, not ({low}, {high}).")
        if not np.isfinite(high - low):
            raise PluginError(f"axis {axis} of the domain, ({low}, {high}), is wider than the largest float64 number.")
    if not domain or dimension not in (None, len(domain)):
        raise PluginError(f"the domain has {len(domain)} axes where {dimension} inputs are expected.")
    return domain
