"""All kinds of models have certificates that close, and enclosures that contain their definitions in 50 digits."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hpcsweep
from hpcsweep.approx import models
from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.models.classical.direct import Direct
from hpcsweep.approx.supnorm.certificate.enclosure import boxes
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import of_order
from hpcsweep.approx.supnorm.verification import proving
from scripts.check_soundness import subject
from scripts.soundness.models import direct
from scripts.soundness.proofs import violations
from scripts.soundness.trees import tree
from tests.approx.supnorm.certificate.errors import line, smooth

QUICK = {"count": 256, "uniform": 0, "starts": 8, "kinks": 0, "boxes": 3000}


def bracket(choice: Mapping[str, Any], dimension: int) -> Any:
    model = models.make(choice, dimension, line(dimension))
    if isinstance(model, Direct):
        places = np.random.default_rng(1).uniform(-1, 1, (choice.get("nodes", 300), dimension))
        parameters = model.solve(places, smooth(torch.from_numpy(places)).numpy())
    else:
        parameters = model.init([1], torch.float64)[0]
    return hpcsweep.measure(lambda x: model.apply(parameters, x), smooth, line(dimension), **QUICK)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_residual_networks_are_proved_by_models(activation: str, dimension: int) -> None:
    found = bracket({"name": "residual", "hidden": [6, 6], "activation": activation}, dimension)
    assert found.certificate == "closed" and found.proved


@pytest.mark.parametrize(
    ("choice", "dimension"),
    [
        *(({"name": "legendre", "order": order}, dimension) for dimension, order in ((1, 10), (2, 10), (3, 8))),
        *(({"name": "spline", "degree": degree, "nodes": 60}, 1) for degree in (1, 3, 5)),
        ({"name": "simplex", "nodes": 60}, 1),
    ],
)
def test_direct_fits_are_proved(choice: Mapping[str, Any], dimension: int) -> None:
    found = bracket(choice, dimension)
    assert found.certificate == "closed" and found.proved and found.boxes < 1500
    assert found.upper <= (1.00001 if dimension < 3 else 1.002) * found.lower


@pytest.mark.parametrize("seed", range(12))
def test_direct_fits_are_what_they_are_defined_to_be(seed: int) -> None:
    generator = random.Random(seed)
    domain = generator.choice([line(1), line(1), line(2), line(3), ((3.0, 3.5),), ((1e4, 1e4 + 1),)])
    fit, target = direct(generator, domain), tree(generator, len(domain), 1)
    assert list(violations(subject(target, fit, domain), generator, Counter())) == []


@pytest.mark.parametrize("first", [False, True])
def test_layers_of_transformers_are_proved(first: bool) -> None:
    torch.manual_seed(0)
    lift, last = nn.Linear(1, 4), nn.Linear(8, 1)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=first, activation="gelu")

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift, self.layer, self.last = lift, layer, last

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.layer(self.lift(x[:, :, None])).flatten(1))[:, 0]

    found = hpcsweep.measure(Encoder().eval(), smooth, line(2), **QUICK, certificate=0.1)
    assert found.certificate == "closed" and found.proved


@pytest.mark.parametrize("choice", [{"name": "spline", "degree": 1, "nodes": 12}, {"name": "simplex", "nodes": 12}])
def test_certificates_of_pieces_are_confirmed_by_balls(choice: Mapping[str, Any]) -> None:
    model = models.make(choice, 1, line(1))
    places = np.random.default_rng(1).uniform(-1, 1, (12, 1))
    parameters = model.solve(places, smooth(torch.from_numpy(places)).numpy())
    found = hpcsweep.measure(lambda x: model.apply(parameters, x), smooth, line(1), **QUICK)
    verdicts = proving.ends(
        lambda x: smooth(x) - model.apply(parameters, x), line(1), found.where, (found.lower, found.upper), 500, 60.0, 0
    )
    assert [verdict.verdict for verdict in verdicts] == [proving.CONFIRMED] * 2


@pytest.mark.parametrize("name", ["arcsin", "arccos", "arcsinh", "softsign"])
def test_functions_without_series_are_composed(name: str) -> None:
    """The remainder falls with the power k + 1 of the radius, as that of lines does not; at the ends lines stay."""
    function = getattr(torch, name, None) or getattr(torch.nn.functional, name)
    radii = []
    for size in (1 / 8, 1 / 32):
        centers = torch.tensor([[0.3], [-0.4]], dtype=torch.float64)
        with of_order(1, 4):
            radii.append(function(boxes(centers, torch.full_like(centers, size), ((-1.0, 1.0),))[:, 0]).radius)
            ends = function(boxes(centers, 1 - centers.abs(), ((-1.0, 1.0),))[:, 0])
        assert bool(ends.radius.isfinite().all())
    assert bool((radii[1] < radii[0] / 500).all())
