"""Compiled steps of climbs against those in tensors, which devices take."""

import math

import pytest
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.search import ascent
from hpcsweep.approx.supnorm.search.ascent import ascend
from tests.approx.supnorm.search.planted import random_network


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_both_ways_lead_to_the_same_places(monkeypatch: pytest.MonkeyPatch, dimension: int) -> None:
    network = random_network(dimension, dimension, 16, 16, 1)
    domain = ((-1.0, 1.0),) * (dimension - 1) + ((0.0, 3.0),)
    generator = torch.Generator().manual_seed(dimension)
    low, high = torch.tensor(domain, dtype=torch.float64).T
    starts = low + (high - low) * torch.rand(200, dimension, dtype=torch.float64, generator=generator)
    compiled = ascend(network, starts, domain, steps=6, again=0)
    monkeypatch.setattr(ascent, "_in_loops", ascent._in_tensors)  # as on devices
    tensors = ascend(network, starts, domain, steps=6, again=0)
    torch.testing.assert_close(compiled.values, tensors.values, rtol=1e-9, atol=0)
    torch.testing.assert_close(compiled.places, tensors.places, rtol=0, atol=1e-6)
    assert (compiled.evaluations, compiled.nonfinite) == (tensors.evaluations, tensors.nonfinite) == (200 * 7, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_both_ways_stop_at_what_is_not_finite(monkeypatch: pytest.MonkeyPatch, bad: float) -> None:
    def error(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0.5, torch.full_like(x[:, 0], bad), 1.0 + x[:, 0] - x[:, 1].square())

    generator = torch.Generator().manual_seed(0)
    starts = torch.rand(100, 2, dtype=torch.float64, generator=generator)
    compiled = ascend(error, starts, ((0.0, 1.0), (-1.0, 1.0)), steps=8)
    monkeypatch.setattr(ascent, "_in_loops", ascent._in_tensors)  # as on devices
    tensors = ascend(error, starts, ((0.0, 1.0), (-1.0, 1.0)), steps=8)
    assert torch.equal(compiled.values.isfinite(), tensors.values.isfinite()) and compiled.nonfinite > 0
    assert compiled.nonfinite == tensors.nonfinite
    torch.testing.assert_close(compiled.places, tensors.places, rtol=0, atol=1e-9, equal_nan=True)


def test_gradients_of_transposed_code_are_followed() -> None:
    def error(x: Tensor) -> Tensor:
        return torch.sin(x.T * 3 + 0.7).prod(0) + 0.1 * x.T[0]

    def plain(x: Tensor) -> Tensor:
        return torch.sin(x[:, 0] * 3 + 0.7) * torch.sin(x[:, 1] * 3 + 0.7) + 0.1 * x[:, 0]

    starts = 2.0 * torch.rand(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1.0
    found, expected = (ascend(function, starts, ((-1.0, 1.0),) * 2) for function in (error, plain))
    torch.testing.assert_close(found.values, expected.values, rtol=1e-12, atol=0)
