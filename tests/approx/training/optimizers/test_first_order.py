"""First-order optimizers, trained alone and batched: against torch.optim and a naive twin. All: that losses fall."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.kernels.updates.soap import SHIFT
from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.batched.schedules import learning_rate
from hpcsweep.approx.training.optimizers.muon import orthogonal
from hpcsweep.approx.training.optimizers.soap import turned
from hpcsweep.config import OptimizerConfig
from tests.approx.packs import DOUBLE, RATES, Cells, Race, history

FINAL = {"final_learning_rate": 1e-4}
CASES: list[tuple[list[int], str, dict[str, Any]]] = [
    ([7, 12, 5], "tanh", {}),
    ([6], "relu", {"schedule": "cosine"}),
    ([1, 2], "gelu", {"schedule": "cosine", **FINAL}),
    ([9, 9, 9], "tanh", {"schedule": "exponential", **FINAL}),
    ([], "tanh", {}),
]

Twin = Callable[[list[Tensor]], Any]  # from the matrices of the layers to an optimizer as of torch


def twin(cells: Cells, row: int, chosen: OptimizerConfig, make: Twin) -> tuple[Tensor, list[float]]:
    """Train one cell by autograd; return its flat parameters and the losses before each step and after the last."""
    matrices = [block.clone().requires_grad_() for block in cells.model.layers(cells.parameters[row])]
    optimizer, losses = make(matrices), []
    for step in range(chosen.steps + 1):
        loss, gradient = cells.loss(row, torch.cat([matrix.flatten() for matrix in matrices]))
        losses.append(loss)
        if step < chosen.steps:
            for matrix, slope in zip(matrices, cells.model.layers(gradient), strict=True):
                matrix.grad = slope
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(chosen, step)
            optimizer.step()
    return torch.cat([matrix.detach().flatten() for matrix in matrices]), losses


class TorchMuon:
    """torch.optim.Muon on the matrices between hidden layers, torch.optim.Adam on the others."""

    def __init__(self, matrices: list[Tensor], **chosen: Any) -> None:
        self.parts: list[torch.optim.Optimizer] = [torch.optim.Adam([matrices[0], *matrices[1:][-1:]])]
        if len(matrices) > 2:
            self.parts += [torch.optim.Muon(matrices[1:-1], 1, 0.0, adjust_lr_fn="match_rms_adamw", **chosen)]
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        for part in self.parts:
            part.step()


class NaiveSOAP:
    """One network in numpy: moments in the original coordinates, rotated back and forth in every step."""

    def __init__(self, matrices: list[Tensor], decay: tuple[float, float] = (0.95, 0.95), refresh: int = 10) -> None:
        self.matrices, self.decay, self.refresh, self.count = matrices, decay, refresh, 0
        self.param_groups = [{"lr": 0.0}]
        self.state = [
            [np.zeros(m.shape), np.zeros(m.shape), *[np.zeros((k, k)) for k in m.shape], *[np.eye(k) for k in m.shape]]
            for m in matrices
        ]

    def step(self) -> None:
        self.count += 1
        one, two = self.decay
        for matrix, state in zip(self.matrices, self.state, strict=True):
            gradient = matrix.grad.numpy()
            mean, square, left, right, first, last = state
            left = two * left + (1 - two) * gradient @ gradient.T
            right = two * right + (1 - two) * gradient.T @ gradient
            if (self.count - 1) % self.refresh == 0:
                first, last = (
                    np.linalg.qr((c / np.trace(c) + SHIFT / len(c) * np.eye(len(c))) @ q)[0]
                    for c, q in ((left, first), (right, last))
                )
            mean = one * mean + (1 - one) * gradient
            square = two * square + (1 - two) * (first.T @ gradient @ last) ** 2
            quotient = first.T @ mean @ last / (1 - one**self.count)
            quotient /= np.sqrt(square / (1 - two**self.count)) + 1e-8
            matrix.data -= self.param_groups[0]["lr"] * torch.from_numpy(first @ quotient @ last.T)
            state[:] = mean, square, left, right, first, last


@pytest.mark.parametrize(("hidden", "activation", "schedule"), CASES, ids=str)
@pytest.mark.parametrize(
    ("name", "fields", "make"),
    [
        ("sgd", {}, partial(torch.optim.SGD, momentum=0.9, nesterov=True)),
        ("sgd", {"momentum": 0.8, "nesterov": False}, partial(torch.optim.SGD, momentum=0.8)),
        ("sgd", {"momentum": 0.0, "nesterov": False}, torch.optim.SGD),
        ("adam", {}, torch.optim.Adam),
        ("adam", {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}, partial(torch.optim.Adam, betas=(0.5, 0.9), eps=1e-3)),
        ("adamw", {}, torch.optim.AdamW),
        ("adamw", {"weight_decay": 0.3}, partial(torch.optim.AdamW, weight_decay=0.3)),
        ("muon", {}, TorchMuon),
        ("muon", {"nesterov": False, "momentum": 0.8}, partial(TorchMuon, nesterov=False, momentum=0.8)),
        ("soap", {}, NaiveSOAP),
        ("soap", {"refresh": 3, "beta1": 0.8, "beta2": 0.99}, partial(NaiveSOAP, decay=(0.8, 0.99), refresh=3)),
    ],
    ids=str,
)
def test_trainings_are_those_of_a_twin(
    hidden: list[int],
    activation: str,
    schedule: Mapping[str, Any],
    name: str,
    fields: Mapping[str, Any],
    make: Twin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)  # in which torch's Muon iterates otherwise
    cells = Cells(hidden, 2, 40, 3, activation, standardise=activation == "gelu")
    common = {"steps": 60, "keep": "last", "options": fields, **schedule}
    chosen = [OptimizerConfig(name, learning_rate=rate, **common) for rate in RATES]
    expected = [twin(cells, row, chosen[row], make) for row in range(3)]
    tolerance = 1e-7 if name == "soap" else 1e-9  # rotations add to what rounding does
    for batched in (False, True):
        trained = cells.train(chosen, batched=batched)
        for row, (parameters, losses) in enumerate(expected):
            assert (trained.parameters[row] - parameters).abs().max() < tolerance * parameters.abs().max()
            steps, noted = history(trained, row)
            np.testing.assert_allclose(noted, np.array(losses)[steps], rtol=tolerance)
            assert trained.loss[row] == pytest.approx(losses[-1], rel=tolerance)


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        ({}, partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)),
        ({"schedule": "cosine", **FINAL}, partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=90, eta_min=1e-4)),
        ({"schedule": "exponential", **FINAL}, partial(torch.optim.lr_scheduler.ExponentialLR, gamma=1e-2 ** (1 / 90))),
    ],
)
def test_learning_rates_are_those_of_torch(schedule: Mapping[str, Any], make: Callable[..., Any]) -> None:
    chosen = OptimizerConfig(steps=90, learning_rate=1e-2, **schedule)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-2)
    scheduler = make(optimizer)
    for step in range(91):
        assert learning_rate(chosen, step) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
@pytest.mark.parametrize("name", optimizers.NAMES)
def test_loss_falls_in_both_precisions(name: str, dtype: torch.dtype) -> None:
    losses, _, weights = Race(optimizers.make(name, {}), Cells([16, 16], 1, 50, 4), range(4), dtype).run(200)
    assert weights.dtype == dtype
    fallen = losses[-1] / losses[0]
    assert (fallen < 0.5).all() and (optimizers.needs(name).rate or fallen.median() < 1e-3)


def test_orthogonal_factor() -> None:
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((5, 9), (9, 5), (6, 6)):
        matrices = torch.randn(4, rows, columns, generator=generator, dtype=DOUBLE)
        matrices[3] = 0
        for scale in (1.0, 1e-100, 1e100):
            factor = orthogonal(matrices * scale)
            left, _, right = torch.linalg.svd(matrices, full_matrices=False)
            inner = left.transpose(1, 2) @ factor @ right.transpose(1, 2)  # diagonal, if the singular vectors are kept
            values = inner.diagonal(dim1=1, dim2=2)
            assert (inner[:3] - torch.diag_embed(values)[:3]).abs().max() < 1e-9
            assert (values[:3] > 0.3).all() and (values[:3] < 1.3).all()
            assert (factor[3] == 0).all()


def test_bases_become_eigenvectors() -> None:
    generator = torch.Generator().manual_seed(1)
    start = torch.eye(5, dtype=DOUBLE).repeat(3, 1, 1)
    axes = torch.linalg.qr(torch.randn(3, 5, 5, generator=generator, dtype=DOUBLE)).Q
    covariances = axes @ torch.diag_embed(torch.tensor([3.0, 1.0, 0.3, 0.1, 0.0], dtype=DOUBLE)) @ axes.transpose(1, 2)
    covariances[1, 2, 3] = math.inf
    bases = start
    for _ in range(60):
        bases = turned(covariances, bases)
    for slot in (0, 2):
        inner = bases[slot].T @ covariances[slot] @ bases[slot]
        torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-12, rtol=0)
        torch.testing.assert_close(bases[slot].T @ bases[slot], start[0])
    torch.testing.assert_close(bases[1].abs(), start[1])


def test_defaults_stand_in_for_missing_settings() -> None:
    assert optimizers.make("muon", {"momentum": None, "nesterov": False}) == optimizers.make(
        "muon", {"nesterov": False}
    )
    assert optimizers.make("adamw", {"weight_decay": 0.5, "momentum": 3}).weight_decay == 0.5  # type: ignore[attr-defined]
    assert optimizers.make("soap", {}).refresh == 10  # type: ignore[attr-defined]
