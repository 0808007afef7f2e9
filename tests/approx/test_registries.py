"""One class for each optimizer and each activation: names, facts and prices are those that the class tells."""

from __future__ import annotations

import dataclasses
import inspect
import math
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from hpcsweep.approx.kernels.activations import ACTIVATIONS as CODE
from hpcsweep.approx.models import activations
from hpcsweep.approx.models.activations import ACTIVATIONS, Activation, registry
from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.optimizers.adam import Adam
from hpcsweep.approx.training.optimizers.lbfgs import LBFGS
from hpcsweep.approx.training.optimizers.registry import Registered, register
from hpcsweep.config.limits import Share
from hpcsweep.errors import StudyError
from tests.study import test_study as studies

GRID = torch.linspace(-30, 30, 60_001, dtype=torch.float64)


def classes(package: ModuleType, base: type) -> Iterator[type]:
    """Yield the classes below `base` that the files of a package define."""
    for found in pkgutil.iter_modules(package.__path__):
        module = import_module(f"{package.__name__}.{found.name}")
        for _, one in inspect.getmembers(module, inspect.isclass):
            if issubclass(one, base) and one is not base and one.__module__ == module.__name__:
                yield one


def test_every_file_of_an_optimizer_is_registered() -> None:
    known = {one.family for one in optimizers.REGISTRY.values()}
    assert known == set(classes(optimizers, optimizers.Optimizer))


@pytest.mark.parametrize("name", ["adam", optimizers.DIRECT, "adam+bfgs"])
def test_a_name_stands_for_one_optimizer(name: str) -> None:
    with pytest.raises(ValueError, match="the name is taken, or has a plus sign"):
        register(name)
    assert optimizers.REGISTRY["adam"].family is Adam


def test_what_a_name_decides_is_no_field_of_it() -> None:
    assert "weight_decay" not in optimizers.defaults("adam") and optimizers.defaults("adamw")["weight_decay"] == 0.01
    assert optimizers.defaults("bfgs") == {} and optimizers.make("ssbfgs", {}).family == "ssbfgs"  # type: ignore[attr-defined]
    assert optimizers.make("adam", {"weight_decay": 0.5}) == Adam(weight_decay=0.0)


def test_a_study_knows_a_setting_by_the_class_of_its_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True)
    class Zestful(Adam):
        zest: Share = 0.25

    monkeypatch.setitem(optimizers.REGISTRY, "zestful", Registered(Zestful, {}))
    optimizers.options.cache_clear()
    try:
        text = studies.study(
            studies.GRID + 'optimizer = ["zestful", "adam"]\nzest = [0.5, 0.75]', sections="[training]\nzest = 0.1"
        )
        assert [cell.optimizer.get("zest") for cell in studies.cells(text)] == [0.5, 0.75, None]
        assert (
            studies.cells(studies.study(studies.GRID + 'optimizer = ["zestful"]')).cell(0).optimizer.options["zest"]
            == 0.25
        )
        with pytest.raises(StudyError, match=r"training.zestful.zest: must be less than 1, not 1.5"):
            studies.cells(studies.study(studies.GRID, sections="[training.zestful]\nzest = 1.5"))
    finally:
        optimizers.options.cache_clear()


def test_the_price_is_that_of_the_settings() -> None:
    widths, few, many = (
        (2, 16, 16, 1),
        optimizers.make("lbfgs", {"memory": 10}),
        optimizers.make("lbfgs", {"memory": 1000}),
    )
    assert many == LBFGS(memory=1000)
    assert many.cost(widths, 50, 5000).products > 50 * few.cost(widths, 50, 5000).products
    assert many.cost(widths, 50, 5000).held > 50 * few.cost(widths, 50, 5000).held
    assert many.cost(widths, 50, 10).products == few.cost(widths, 50, 10).products, "the memory is not filled"


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_what_a_method_needs_says_what_it_can_train(name: str) -> None:
    needs = optimizers.needs(name)
    assert needs.rate or needs.all_samples, "without a learning rate there is a search, on all samples"
    assert needs.all_samples or not needs.squares
    assert (needs.unmet((2, 8, 1)) == "") == (name not in ("least_squares", "variable_projection"))
    assert (needs.unmet(()) == "the weight matrices") == (name in ("muon", "soap"))
    assert dataclasses.is_dataclass(optimizers.REGISTRY[name].family)


def test_activations_are_numbered_as_compiled_code_does() -> None:
    assert list(ACTIVATIONS) == list(CODE)
    assert {type(one) for one in ACTIVATIONS.values()} == set(classes(activations, Activation))
    smooth = [name for name, one in ACTIVATIONS.items() if one.derivatives(GRID) is not None]
    assert smooth == [name for name, one in CODE.items() if one.derivatives is not None]


def test_an_activation_has_both_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("relu", "mish"):
        with pytest.raises(ValueError, match="the name is taken, or has no kernel code"):
            registry.register(name)
    monkeypatch.delitem(registry.REGISTRY, "gelu")
    with pytest.raises(ValueError, match="kernel code without an activation: gelu"):
        registry.ordered()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_proofs_rely_on_is_true(name: str) -> None:
    """Of all forms of an activation the value is one; its bounds hold on a fine grid, and are not idle."""
    one, leaf = ACTIVATIONS[name], GRID.clone().requires_grad_()
    value = one.apply(leaf * 1.0)
    [slope] = torch.autograd.grad(value.sum(), leaf)
    assert (value.abs() <= one.offset + one.steepness * GRID.abs() + 1e-12).all()
    assert slope.abs().max() <= one.steepness
    out = torch.empty_like(GRID)
    one.value(GRID, out)
    assert torch.allclose(out, value, rtol=1e-14, atol=1e-14)
    bend = one.derivatives(GRID)
    for found, wanted in zip(bend or (), (value, slope, _curvature(one)), strict=False):
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)
    if one.facts is not None:
        assert torch.allclose(one.facts.value(GRID), value, rtol=1e-12, atol=1e-13)
    if isinstance(one.facts, activations.SelfGatedFunction):
        _check_self_gated(one.facts, value.detach(), one)


def _curvature(one: Activation) -> Tensor:
    leaf = GRID.clone().requires_grad_()
    [slope] = torch.autograd.grad(one.apply(leaf * 1.0).sum(), leaf, create_graph=True)
    return torch.autograd.grad(slope.sum(), leaf)[0] if slope.requires_grad else torch.zeros_like(GRID)


def _check_self_gated(facts: activations.SelfGatedFunction, value: Tensor, one: Activation) -> None:
    below, curved = GRID.clamp(min=0) - value, _curvature(one)
    assert torch.allclose(facts.curvature(GRID), curved, rtol=1e-9, atol=1e-12)
    assert math.isclose(float(below.max()), facts.depth, rel_tol=1e-6) and below.max() <= facts.depth
    assert math.isclose(float(GRID[below.argmax()].abs()), facts.deepest, abs_tol=1e-3)
    assert math.isclose(float(curved.min()), facts.trough, rel_tol=1e-6) and curved.min() >= facts.trough
    assert math.isclose(float(GRID[curved.argmin()].abs()), facts.turning, abs_tol=1e-3)


@pytest.mark.parametrize(
    ("part", "expected"),
    [(one.module(), name) for name, one in ACTIVATIONS.items() if one.module is not None]
    + [(part, None) for part in (nn.GELU(approximate="tanh"), nn.ReLU6(), nn.Sigmoid())],
)
def test_modules_of_torch_are_recognised(part: nn.Module, expected: str | None) -> None:
    assert [name for name, one in ACTIVATIONS.items() if one.is_module(part)] == ([expected] if expected else [])
