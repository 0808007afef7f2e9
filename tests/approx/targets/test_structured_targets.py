"""Targets with a structure: which variables meet, along how many directions they vary, at what frequency."""

from __future__ import annotations

import itertools

import pytest
import torch

from hpcsweep.approx.targets import REGISTRY
from hpcsweep.errors import PluginError
from tests.approx.targets.test_targets import gradients, spread


@pytest.mark.parametrize(("dimension", "m"), [(4, 1), (4, 2), (5, 2), (3, 3)])
def test_waves_of_few_variables_are_a_sum_over_groups(dimension: int, m: int) -> None:
    target, points = (
        REGISTRY["random_waves"](dimension, variables=m, frequency=3, seed=2),
        torch.rand(40, dimension).double(),
    )
    points.requires_grad_(True)
    (slopes,) = torch.autograd.grad(target(points).sum(), points, create_graph=True)
    mixed = [torch.autograd.grad(slopes[:, axis].sum(), points, retain_graph=True)[0] for axis in range(dimension)]
    for one, other in itertools.combinations(range(dimension), 2):
        together = any(
            min(s, dimension - m) <= one and other < min(s, dimension - m) + m for s in range(0, dimension, m)
        )
        assert bool((mixed[one][:, other] != 0).any()) == together
    assert all(bool((slopes[:, axis] != 0).any()) for axis in range(dimension))


@pytest.mark.parametrize("plane", [1, 2, 3])
def test_waves_in_a_plane_vary_in_so_many_directions(plane: int) -> None:
    target = REGISTRY["random_waves"](4, plane=plane, seed=3)
    spectrum = torch.linalg.svdvals(gradients(target, spread(target, 200)))
    assert int((spectrum > 1e-10 * spectrum[0]).sum()) == plane
    assert (gradients(target, spread(target, 200)).abs().amax(dim=0) > 0.1).all()  # and no direction is a variable


def test_waves_have_one_spectrum_whatever_their_structure() -> None:
    for chosen in ({}, {"variables": 1}, {"variables": 2}, {"plane": 2}):
        rates = REGISTRY["random_waves"](4, frequency=5, **chosen).network.layers[0][0]
        assert torch.linalg.vector_norm(rates, dim=1).tolist() == pytest.approx([5.0] * 64)
    for wrong in ({"variables": 5}, {"plane": 5}, {"variables": 2, "plane": 2}):
        with pytest.raises(PluginError, match="variables"):
            REGISTRY["random_waves"](4, **wrong)
