"""SGD, Adam and AdamW against torch.optim; learning rates; Muon and SOAP against the batched engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hpcsweep.approx.kernels.compiling import NUMBER, NUMBERS, entry
from hpcsweep.approx.kernels.updates import first_order
from hpcsweep.approx.kernels.updates.first_order import rate_of
from hpcsweep.approx.training.batched.schedules import learning_rate
from hpcsweep.config import OptimizerConfig
from tests.approx.kernels.cases import NO_MARKS, Case, assert_near, choice, walk
from tests.approx.packs import Cells

PEERS = [
    ("sgd", {}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"momentum": 0.5, "nesterov": False}, torch.optim.SGD, {"momentum": 0.5}),
    ("sgd", {"momentum": 0.0, "nesterov": False}, torch.optim.SGD, {}),
    ("adam", {}, torch.optim.Adam, {}),
    ("adam", {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}, torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-3}),
    ("adamw", {}, torch.optim.AdamW, {"weight_decay": 0.01}),
    ("adamw", {"weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}),
]
SCHEDULES: list[dict[str, Any]] = [
    {},
    {"schedule": "cosine"},
    {"schedule": "cosine", "final_learning_rate": 3e-4},
    {"schedule": "exponential", "final_learning_rate": 1e-5},
]


@entry(NUMBER, NUMBERS)
def _rate(numbers):
    return rate_of(numbers)


def torch_iterates(
    case: Case, settings: OptimizerConfig, family: Any, options: dict[str, Any], steps: int
) -> list[np.ndarray]:
    leaf = case.parameters.clone().requires_grad_()
    optimizer, found = family([leaf], lr=1.0, **options), []
    for step in range(steps + 1):
        found.append(leaf.detach().numpy().copy())
        optimizer.param_groups[0]["lr"] = learning_rate(settings, step)
        loss = (case.model.evaluate(leaf, case.inputs) - case.values).square().mean()
        [leaf.grad] = torch.autograd.grad(loss, leaf)
        optimizer.step()
    return found


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize(("name", "fields", "family", "options"), PEERS, ids=str)
def test_iterates_are_those_of_torch(name: str, fields: Any, family: Any, options: Any, schedule: Any) -> None:
    case = Case.of([7, 5], 2, 150)
    settings = choice(name=name, steps=100, **fields, **schedule)
    expected = torch_iterates(case, settings, family, options, 60)
    for ours, theirs in zip(walk(case.method(settings), 60), expected, strict=True):
        assert_near(ours[: len(theirs)], theirs, 1e-10)


@pytest.mark.parametrize(("name", "fields", "family", "options"), PEERS[::2], ids=str)
def test_single_precision_follows_for_some_steps(name: str, fields: Any, family: Any, options: Any) -> None:
    case = Case.of([7, 5], 2, 150, dtype=np.float32)
    settings = choice(name=name, **fields)
    found = walk(case.method(settings), 10)[-1]
    assert found.dtype == np.float32
    assert_near(found[: len(case.parameters)], torch_iterates(case, settings, family, options, 10)[-1], 1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_learning_rates_are_those_of_the_schedule(schedule: dict[str, Any]) -> None:
    settings = choice(steps=977, **schedule)
    numbers = Case.of([3], 1, 5).method(settings).state.numbers
    for step in [0, 1, 2, 100, 488, 976, 977]:
        numbers[first_order.STEPS] = step
        assert _rate[np.float64](numbers) == pytest.approx(learning_rate(settings, step), rel=1e-13, abs=1e-18)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("muon", {}),
        ("muon", {"nesterov": False, "momentum": 0.8}),
        ("soap", {}),
        ("soap", {"refresh": 1, "beta1": 0.8, "beta2": 0.99}),
        ("soap", {"refresh": 3}),
    ],
    ids=str,
)
@pytest.mark.parametrize("hidden", [[5], [9, 9, 9], [12, 3, 17], [1, 2]], ids=str)
def test_methods_of_matrices_follow_the_batched_engine(
    hidden: list[int], name: str, fields: Any, schedule: Any
) -> None:
    cells = Cells(hidden, 2, 40, 2)
    steps = 20 if fields.get("refresh") == 1 else 50
    settings = choice(name=name, steps=steps, learning_rate=1e-3, keep="last", **fields, **schedule)
    found, expected = cells.train(settings), cells.train(settings, batched=True)
    for ours, theirs in zip(found.parameters, expected.parameters, strict=True):
        assert_near(ours, theirs, 1e-10)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon", "soap"])
def test_what_nothing_feeds_decays_to_zero_and_not_to_subnormal_numbers(name: str) -> None:
    case = Case.of([6, 6], 1, 20, activation="relu")
    settings = choice(name=name, learning_rate=1e-3)
    method = case.method(settings)
    walk(method, 1)
    dead = 12  # the first layer: its neurons never fire again
    method.state.point[:dead:2], method.state.point[1:dead:2] = 0.0, -1.0
    method.advance(NO_MARKS, 0, 10**6, -1.0, 9000)
    sizes = np.abs(method.state.vectors)
    assert not ((sizes > 0) & (sizes < np.finfo(np.float64).tiny)).any()
