"""What matrix products do not keep on some processors whatever path MKL takes, measured; tests that rest on it yield.

`MKL_CBWR=AUTO,STRICT` gives a product the same bits wherever its matrices lie. It does not make the columns of one
product alike: on some processors a column is rounded by its place in the matrix, and a bias that is one more column of
the weights otherwise than one that is given to `torch.addmm`. A test calls `may_differ` where it asserts bits that
need this, after everything else; remove this file, and the calls, when values no longer come from MKL's products.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor


def may_differ(differs: bool) -> None:
    """End a test as an expected failure where this processor does not keep what its next assertion needs."""
    if differs:
        pytest.xfail("here a product rounds a value by the column in which it stands, or by where the bias stands")


@cache
def columns_differ() -> bool:
    """Whether a value of a product depends on the column in which it stands."""
    weights, _, signal = _drawn(9, 7, 101, torch.float64)
    order = torch.arange(101).flip(0)
    return not torch.equal((weights @ signal)[:, order], weights @ signal[:, order].contiguous())


def biases_differ(widths: Sequence[int], points: int, dtype: torch.dtype) -> bool:
    """Whether in a layer of a network (inputs, hidden ...) a bias as one more column is added otherwise.

    Layers of more than 256 inputs have no such column: see `screening.evaluator`.
    """
    layers = [(outputs, inputs) for inputs, outputs in pairwise(widths) if inputs <= 256]
    return any(_bias_differs(*layer, points, dtype) for layer in layers)


@cache
def _bias_differs(outputs: int, inputs: int, points: int, dtype: torch.dtype) -> bool:
    weights, bias, signal = _drawn(outputs, inputs, points, dtype)
    one_more = torch.cat((weights, bias), 1) @ torch.cat((signal, torch.ones(1, points, dtype=dtype)))
    return not torch.equal(one_more, torch.addmm(bias, weights, signal))


def _drawn(outputs: int, inputs: int, points: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights (outputs, inputs), a bias (outputs, 1) and a signal (inputs, points)."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((outputs, inputs), (outputs, 1), (inputs, points))
    weights, bias, signal = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    return weights, bias, signal
