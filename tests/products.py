"""What torch's matrix products do not keep on some processors, whatever path MKL takes: measured, and tests yield.

`MKL_CBWR=AUTO,STRICT` gives a product the same bits wherever its matrices lie. It does not make the columns of one
product alike: on some processors a column is rounded by its place in the matrix. So `Model.apply` promises values to
rounding there; those that are measured come from `hpcsweep.approx.models.compiled`, which keeps them everywhere.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch


def may_differ(differs: bool) -> None:
    """End a test as an expected failure where this processor does not keep what its next assertion needs."""
    if differs:
        pytest.xfail("here a product rounds a value by the column in which it stands")


@cache
def columns_differ() -> bool:
    """Whether a value of a product depends on the column in which it stands."""
    generator = torch.Generator().manual_seed(0)
    weights, signal = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((9, 7), (7, 101)))
    order = torch.arange(101).flip(0)
    return not torch.equal((weights @ signal)[:, order], weights @ signal[:, order].contiguous())
