"""Affine forms: layers against single boxes, tightness, what runs on them, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, NoEnclosure, boxes
from hpcsweep.approx.targets import REGISTRY

CUBE = ((-1.0, 1.0),) * 2
Function = Callable[[Any], Any]
functional = torch.nn.functional


def some_boxes(dimension: int, radius: float, count: int = 64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centers = (2 * torch.rand(count, dimension, dtype=torch.float64, generator=generator) - 1) * (1 - radius)
    return centers, torch.full_like(centers, radius)


def some_form(features: int, dimension: int = 2, count: int = 5) -> AffineForm:
    generator = torch.Generator().manual_seed(3)
    terms = torch.randn(1 + dimension, count, features, dtype=torch.float64, generator=generator)
    return AffineForm(terms, torch.rand(count, features, dtype=torch.float64, generator=generator))


def same(one: AffineForm, other: AffineForm) -> bool:
    return torch.equal(one.terms, other.terms) and torch.equal(one.radius, other.radius)


def contained(function: Function, domain: tuple[tuple[float, float], ...], radius: float) -> tuple[Any, AffineForm]:
    """The form of a function, and whether 40 points of each box lie in its range."""
    centers, radii = some_boxes(len(domain), radius)
    low, high = torch.tensor(domain, dtype=torch.float64).T
    form = function(boxes(centers, radii, domain))
    least, most = form.range()
    generator, inside = torch.Generator().manual_seed(5), True
    for k in range(40):
        e = 2 * torch.rand(centers.shape, dtype=torch.float64, generator=generator) - 1
        u = centers + radii * (e.sign() if k % 2 else e)
        values = function(torch.clamp((low + high) / 2 + (high - low) / 2 * u, low, high))
        slack = 1e-11 * (1 + values.abs())
        inside &= bool(((least - slack <= values) & (values <= most + slack)).all())
    return inside, form


def test_a_form_looks_like_a_tensor_of_values() -> None:
    form = boxes(*some_boxes(3, 0.1), domain=((0.0, 1.0),) * 3)
    assert (form.shape, form.ndim, len(form), form.dtype) == ((64, 3), 2, 64, torch.float64)
    assert form.slopes.shape == (3, 64, 3) and form.center.shape == form.radius.shape == (64, 3)
    assert form[:, 1].shape == (64,) and form[:, :2].shape == (64, 2) and form[..., 0].shape == (64,)
    assert form.sum(dim=1).shape == (64,) and form.unsqueeze(-1).shape == (64, 3, 1)


def test_boxes_cover_the_domain_and_little_more() -> None:
    domain = ((0.1, 0.7), (-3.0, 5.0))
    low, high = boxes(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64), domain).range()
    ends = torch.tensor(domain, dtype=torch.float64).T
    assert bool((low <= ends[0]).all() and (high >= ends[1]).all())
    torch.testing.assert_close(torch.cat([low, high]), ends, rtol=1e-14, atol=1e-14)


def test_linear_is_a_matrix_product_of_every_part() -> None:
    form = some_form(features=6)
    weight, bias = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    result = form.linear(weight, bias)
    terms = torch.einsum("oi,tbi->tbo", weight, form.terms)
    terms[0] += bias
    torch.testing.assert_close(result.terms, terms, rtol=1e-13, atol=1e-13)
    radius = torch.einsum("oi,bi->bo", weight.abs(), form.radius)
    torch.testing.assert_close(result.radius, radius, rtol=1e-12, atol=1e-12)


def test_float32_weights_are_upcast_exactly() -> None:
    form, layer = some_form(features=4), torch.nn.Linear(4, 3)
    assert same(layer(form), form.linear(layer.weight.detach().double(), layer.bias.detach().double()))
    assert same(form @ layer.weight.T, form.linear(layer.weight.detach().double(), None))


@pytest.mark.parametrize("name", [name for name, kind in REGISTRY.items() if kind.smoothness == math.inf])
def test_smooth_targets_are_enclosed_to_second_order(name: str) -> None:
    kind = REGISTRY[name]
    target = kind((kind.dimensions or (2,))[0])
    remainders = []
    for radius in (2.0**-8, 2.0**-9):
        centers, radii = some_boxes(target.dimension, radius, seed=2)
        remainders.append(float(target(boxes(centers, radii, target.domain)).radius.sum()))
    assert 3.6 < remainders[0] / remainders[1] < 4.4


def test_point_enclosures_are_narrow() -> None:
    for kind in REGISTRY.values():
        target = kind((kind.dimensions or (2,))[0])
        low, high = target(boxes(*some_boxes(target.dimension, 0.0), target.domain)).range()
        assert bool((high - low <= 1e-11 * (1 + high.abs())).all()), kind


@pytest.mark.parametrize(
    "activation", ["Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "Softplus", "LeakyReLU", "ELU", "Hardtanh", "ReLU6"]
)
def test_modules_run_on_forms(activation: str) -> None:
    torch.manual_seed(0)
    act = getattr(torch.nn, activation)()
    network = torch.nn.Sequential(
        torch.nn.Linear(2, 8), act, torch.nn.Linear(8, 8), act, torch.nn.Linear(8, 1)
    ).double()
    with torch.no_grad():
        inside, form = contained(lambda x: network(x).squeeze(-1), CUBE, 0.05)
    assert inside and float(form.radius.mean()) < 0.05


def test_softplus_is_that_of_torch_beyond_its_threshold() -> None:
    point = torch.tensor([[25.0], [20.0], [-3.0]], dtype=torch.float64)
    form = functional.softplus(boxes(point / 32, torch.zeros_like(point), ((-32.0, 32.0),)))
    low, high = form.range()
    exact = torch.tensor([[25.0], [20.000000002061154], [0.04858735157374206]], dtype=torch.float64)
    assert bool(((low <= exact) & (exact <= high)).all()) and float((high - low).max()) < 3e-9


def test_constants_join_the_boxes_in_float64() -> None:
    form = some_form(features=2)
    assert torch.tensor(0.1).to(form).dtype == torch.float64
    assert same(form * torch.tensor(0.1), form * float(torch.tensor(0.1)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float16, torch.float64, None])
def test_constants_of_a_dtype_are_what_it_makes_of_them(dtype: torch.dtype | None) -> None:
    def function(x: Any) -> Any:
        ones = torch.ones_like(x[:, 0], dtype=dtype) + torch.zeros_like(x[:, 0], dtype=dtype)
        return 0 * x[:, 0] + torch.full_like(x[:, 0], 0.7, dtype=dtype) * 3 + ones

    centers, radii = some_boxes(1, 0.1)
    low, high = function(boxes(centers, radii, CUBE[:1])).range()
    value = function(centers)
    assert bool(((low <= value) & (value <= high) & (high - low < 1e-12)).all())


def test_norms_are_those_of_torch() -> None:
    def matrices(x: Any) -> Any:
        return torch.stack([x, torch.sin(x) + 2.0], dim=1)

    norms = [
        lambda x: torch.linalg.vector_norm(matrices(x), dim=(1, 2)),
        lambda x: torch.linalg.norm(matrices(x), dim=(1, 2)),
        lambda x: torch.linalg.norm(matrices(x), dim=1)[:, 0],
        lambda x: torch.linalg.norm(matrices(x), 2, dim=2)[:, 1],
    ]
    for norm in norms:
        inside, form = contained(norm, CUBE, 1e-3)
        assert inside and float((form.range()[1] - form.range()[0]).max()) < 0.1


def test_products_know_their_signs_and_squares() -> None:
    x = boxes(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64), ((1.0, 5.0),))[:, 0]
    assert same(x * x, torch.square(x)) and same(x**2, torch.square(x))
    low, high = ((x - 3.0) * (x - 3.0).clone()).range()
    assert -1e-13 < float(high) - 4.0 < 1e-13 and -4.0 - 1e-13 < float(low) <= 0.0
    y = boxes(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64), ((1.0, 5.0),) * 2)
    low, high = (1.0 / (y[:, 0] * y[:, 1])).range()  # the affine form alone would reach zero
    assert 0.04 - 1e-9 < float(low) <= 0.04 and 1.0 <= float(high) < 1.0 + 1e-9


def test_division_by_zero_is_infinite_not_nan() -> None:
    x = boxes(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64), ((-1.0, 1.0),))[:, 0]
    for form in (1.0 / x, x / x, torch.log(x), torch.exp(1.0 / x), torch.tanh(x * 1e308 * 1e308), x / 0.0):
        low, high = form.range()
        assert not bool((low.isnan() | high.isnan()).any()) and float(low) <= float(high)
    assert (1.0 / x).range() == (-math.inf, math.inf)


def test_jumps_are_enclosed_piecewise() -> None:
    centers = torch.tensor([[-0.5], [0.0], [0.5], [0.1]], dtype=torch.float64)
    x = boxes(centers, torch.full_like(centers, 0.1), ((-1.0, 1.0),))[:, 0]
    step = torch.where(x > 0.0, torch.ones_like(x), torch.zeros_like(x))
    torch.testing.assert_close(torch.stack(step.range()), torch.tensor([[0.0, 0, 1, 0], [0, 1, 1, 1]]).double())
    both = torch.where((x > -0.2) & ~(x >= 0.3), x, 2.0)
    low, high = both.range()
    torch.testing.assert_close(low, torch.tensor([2.0, -0.1, 2.0, 0.0], dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(high, torch.tensor([2.0, 0.1, 2.0, 0.2], dtype=torch.float64), atol=1e-12, rtol=0)
    assert torch.equal((x < 0.0).always, torch.tensor([True, False, False, False]))
    assert torch.equal((x >= 0.0).sometimes, torch.tensor([False, True, True, True]))


def test_a_larger_unknown_never_becomes_a_smaller_bound() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        form = some_form(features=3)
        form.terms[0, 0, 1] = bad
        results = [form.sum(dim=1), torch.tanh(form)[:, 1], form[:, 1] * 0.0, form.amax(dim=1), abs(form)[:, 1]]
        results += [torch.relu(form).linear(torch.zeros(1, 3).double(), None)[:, 0], -form[:, 1] + 1.0]
        for result in results:
            high = result.range()[1][0]
            assert float(high) == math.inf or (result is results[1] and float(high) >= 1.0)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("digamma", torch.digamma),
        ("sigmoid_", lambda x: x.sigmoid_()),
        ("relu_", torch.relu_),
        ("relu_, on values that other names may share", lambda x: functional.relu(x, inplace=True)),
        ("add_, on values that other names may share", lambda x: x.__iadd__(1.0)),
        ("norm of order 0.5", lambda x: torch.linalg.vector_norm(x, 0.5, dim=1)),
        ("exponent", lambda x: x**64.5),
        ("exponent", lambda x: x ** (1 + 1e-9)),
        ("exponents", lambda x: x[:, 0] ** torch.tensor([2.0, 3.0])),
        ("base", lambda x: (-2.0) ** x),
        ("softmax", functional.softmax),
        ("positions", lambda x: torch.max(x, 1).indices.float()),
        ("round", lambda x: torch.round(x, decimals=2)),
        ("numpy", lambda x: x.numpy()),
        ("item", lambda x: x.item()),
        ("float", float),
        ("float", math.sin),
        ("bool", lambda x: 1.0 if x else 0.0),
        ("bool", lambda x: 1.0 if x[:, 0] > 0 else 0.0),
        ("bool", lambda x: max(x[:, 0], x[:, 1])),
        ("iter", list),
        ("array", np.asarray),
        ("setitem", lambda x: x.__setitem__(0, 1.0)),
        ("points", lambda x: x[0]),
        ("points", lambda x: x[:, 0][..., 0]),
        ("points", lambda x: x.sum()),
        ("points", lambda x: x.sum(dim=0)),
        ("together", lambda x: x[:, 0] + x[:, :1]),
        ("together", lambda x: x[:, 0] + x),
        ("where", lambda x: torch.where(x[:, 0] > 0.0, x, -x)),
        ("matrix norm", lambda x: torch.linalg.norm(torch.stack([x, x], 1), 2, dim=(1, 2))),
        ("matrix norm", lambda x: torch.linalg.norm(torch.stack([x, x], 1), "nuc", dim=(1, 2))),
        ("matrix_norm", lambda x: torch.linalg.matrix_norm(torch.stack([x, x], 1))),
        ("complex", lambda x: x * torch.tensor(1j)),
        ("conditions", lambda x: (x > 0.0) & (x[:, 0] > 0.0)),
        ("to(torch.float32)", lambda x: x.to(torch.float32)),
        ("float", lambda x: x.float()),
        ("data", lambda x: x.data),
    ],
)
def test_what_has_no_rule_is_refused_by_name(name: str, use: Function) -> None:
    x = boxes(*some_boxes(2, 0.1, count=2), CUBE)
    with pytest.raises(NoEnclosure) as refused:
        use(x)
    assert name in refused.value.operation or name in str(refused.value)
