"""The lower ends of brackets are below the truth, also where float64 evaluations are rounding errors."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from torch import nn

import hpcsweep
from hpcsweep.approx import models
from hpcsweep.approx.networks import Network
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.targets import REGISTRY
from tests.approx.supnorm.certificate.exact import exactly

FEW = {"count": 2000, "uniform": 0, "starts": 32, "kinks": 64}


def zero(x: torch.Tensor) -> torch.Tensor:
    return 0 * x[:, 0]


def test_a_multiplication_gate_has_its_true_error() -> None:
    """Output weights of 5e9 that cancel: evaluations are off by 1e-6, ten thousand times the error."""
    step, bias = 1e-5, 0.7
    amplitude = float(1 / (4 * mp.mpf(step) ** 2 * mp.diff(mp.tanh, mp.mpf(bias), 2)))
    inner = step * torch.tensor([[1, 1], [-1, -1], [1, -1], [-1, 1]], dtype=torch.float64)
    outer = amplitude * torch.tensor([1, 1, -1, -1], dtype=torch.float64)

    def gate(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ inner.T + bias) @ outer

    with mp.workdps(60):  # the error is largest at a corner
        corner = [
            mp.tanh(sum(map(mp.mpf, row)) + mp.mpf(bias)) * mp.mpf(v)
            for row, v in zip(inner.tolist(), outer.tolist(), strict=True)
        ]
        supremum = abs(mp.fsum(corner) - 1)
    found = hpcsweep.measure(gate, lambda x: x[:, 0] * x[:, 1], [(-1, 1)] * 2, boxes=2000, **FEW)
    assert 0.99 * supremum < found.lower <= supremum < found.upper
    assert found.proved and 1e-8 < found.rounding < 1e-4
    evaluated = (gate(torch.ones(1, 2).double()) - 1).abs().item()
    assert found.screened > 100 * supremum or evaluated > 100 * supremum


def test_a_large_constant_that_cancels_closes_on_the_truth() -> None:
    constant = 1e13
    found = hpcsweep.measure(
        zero, lambda x: ((x[:, 0] + constant) - constant) * (1 + 0 * x[:, 1]), [(0, 0.7003), (0, 1)], uniform=0
    )
    assert found.certificate == "closed" and found.lower <= mp.mpf(0.7003) <= found.upper
    assert found.lower == pytest.approx(0.7003, rel=1e-15)


def test_least_squares_of_many_features_have_their_true_error_at_the_worst_point() -> None:
    generator = np.random.default_rng(0)
    weight, bias = generator.uniform(-3, 3, (200, 1)), generator.uniform(-3, 3, 200)
    x = -np.cos(np.linspace(0, np.pi, 200))
    features = np.tanh(x[:, None] * weight[:, 0] + bias)
    outer = np.linalg.solve(features, np.sin(2 * x))  # nearly dependent: all that is left is rounding
    network = Dense(
        (torch.from_numpy(weight), torch.from_numpy(outer[None])),
        (torch.from_numpy(bias), torch.zeros(1).double()),
        "tanh",
    )
    found = hpcsweep.measure(network, lambda x: torch.sin(2 * x[:, 0]), [(-1, 1)], certificate="off", **FEW)
    with mp.workdps(60):
        place = [mp.mpf(found.where[0])]
        truth = abs(mp.sin(2 * place[0]) - exactly(network, place))
        assert found.lower <= truth and found.lower == pytest.approx(float(truth), rel=1e-9)
    assert found.screened > 1.5 * truth  # which was the lower bound
    assert "rounding errors of float64" in found.message


@pytest.mark.parametrize("function", [torch.tanh, lambda x: torch.log(x + 3), lambda x: torch.exp(torch.sin(9 * x))])
def test_ordinary_errors_move_by_rounding_alone(function: Any) -> None:
    found = hpcsweep.measure(zero, lambda x: function(x[:, 0]), [(-1, 1)], certificate="off", **FEW)
    evaluated = function(torch.tensor(found.where, dtype=torch.float64)).item()
    assert found.proved and found.lower == pytest.approx(abs(evaluated), rel=1e-14) and found.rounding < 1e-14
    assert found.message == ""


def test_residual_networks_are_enclosed_though_affine_forms_have_no_rule() -> None:
    target = REGISTRY["exp_cos"](2)
    model = models.make({"name": "residual", "hidden": [8, 8]}, 2, target.domain)
    network = Network("0" * 32, target, model, model.init([3], torch.float64)[0].numpy())
    assert hpcsweep.measure(network, target, certificate="off", **FEW).proved


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: np.sin(np.asarray(x)[:, 0] * 9), "NumPy"),
        (lambda x: torch.special.bessel_j0(x[:, 0]), "special_bessel_j0"),
    ],
)
def test_what_has_no_rule_is_said_to_be_evaluated(function: Any, reason: str) -> None:
    for certificate in ("off", "auto"):
        found = hpcsweep.measure(zero, function, [(-1, 1)], certificate=certificate, **FEW)
        assert "lower: evaluated in float64" in found.message and found.message.count(reason) == 1
        assert not found.proved and found.rounding < 1e-13 and math.isinf(found.upper)


def test_the_central_part_has_a_proved_end_too() -> None:
    constant = 1e13
    found = hpcsweep.measure(zero, lambda x: (x[:, 0] + constant) - constant, [(0, 0.7003)], central=0.5, **FEW)
    assert 0.5 < found.central_lower <= 0.7003 * 0.75


def test_float32_modules_are_enclosed_with_the_weights_that_they_have() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(2, 8), nn.GELU(), nn.Linear(8, 1))
    assert hpcsweep.measure(network, REGISTRY["exp_cos"](2), **FEW).proved
