"""First-order optimizers: against torch.optim and naive twins of one network. All: that losses fall."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.optimizers.muon import orthogonal
from hpcsweep.approx.training.optimizers.soap import SHIFT, turned
from tests.approx.packs import DOUBLE, RATES, Cells, Race

SHAPES = ([7, 12, 5], [6], [])

Twin = Callable[[list[Tensor], float], Any]


def twin(cells: Cells, row: int, steps: int, make: Twin) -> tuple[Tensor, list[float]]:
    """Train one cell by autograd; return its flat parameters and the losses before each step."""
    matrices = [block.clone().requires_grad_() for block in cells.model.layers(cells.parameters[row])]
    optimizer, losses = make(matrices, RATES[row % 3]), []
    for _ in range(steps):
        signal = cells.points[row].T
        for matrix in matrices[:-1]:
            signal = torch.tanh(matrix[:, :-1] @ signal + matrix[:, -1:])
        values = (matrices[-1][:, :-1] @ signal + matrices[-1][:, -1:])[0]
        loss = (values - cells.values[row]).square().mean()
        for matrix, slope in zip(matrices, torch.autograd.grad(loss, matrices), strict=True):
            matrix.grad = slope
        optimizer.step()
        losses.append(loss.item())
    return torch.cat([matrix.detach().flatten() for matrix in matrices]), losses


def torch_sgd(**chosen: Any) -> Twin:
    return lambda matrices, rate: torch.optim.SGD(matrices, lr=rate, **chosen)


def torch_adamw(**chosen: Any) -> Twin:
    return lambda matrices, rate: torch.optim.AdamW(matrices, lr=rate, **chosen)


class TorchMuon:
    """torch.optim.Muon on the matrices between hidden layers, torch.optim.Adam on the others."""

    def __init__(self, matrices: list[Tensor], rate: float, **chosen: Any) -> None:
        outer = [matrices[0], *matrices[1:][-1:]]
        self.parts: list[torch.optim.Optimizer] = [torch.optim.Adam(outer, lr=rate)]
        if len(matrices) > 2:
            muon = torch.optim.Muon(matrices[1:-1], rate, 0.0, adjust_lr_fn="match_rms_adamw", **chosen)
            self.parts.append(muon)

    def step(self) -> None:
        for part in self.parts:
            part.step()


class NaiveSOAP:
    """One network in numpy: moments in the original coordinates, rotated back and forth in every step."""

    def __init__(self, matrices: list[Tensor], rate: float) -> None:
        self.matrices, self.rate, self.count = matrices, rate, 0
        self.state = [
            [np.zeros(m.shape), np.zeros(m.shape), *[np.zeros((k, k)) for k in m.shape], *[np.eye(k) for k in m.shape]]
            for m in matrices
        ]

    def step(self) -> None:
        self.count += 1
        for matrix, state in zip(self.matrices, self.state, strict=True):
            gradient = matrix.grad.numpy()
            mean, square, left, right, first, last = state
            left, right = 0.95 * left + 0.05 * gradient @ gradient.T, 0.95 * right + 0.05 * gradient.T @ gradient
            if self.count % 10 == 1:
                first, last = (
                    np.linalg.qr((c / np.trace(c) + SHIFT / len(c) * np.eye(len(c))) @ q)[0]
                    for c, q in ((left, first), (right, last))
                )
            mean = 0.95 * mean + 0.05 * gradient
            square = 0.95 * square + 0.05 * (first.T @ gradient @ last) ** 2
            bias = 1 - 0.95**self.count
            step = (first.T @ mean @ last / bias) / (np.sqrt(square / bias) + 1e-8)
            matrix.data -= self.rate * torch.from_numpy(first @ step @ last.T)
            state[:] = mean, square, left, right, first, last


@pytest.mark.parametrize("hidden", SHAPES)
@pytest.mark.parametrize(
    ("name", "chosen", "make"),
    [
        ("sgd", {}, torch_sgd(momentum=0.9, nesterov=True)),
        ("sgd", {"momentum": 0.8, "nesterov": False}, torch_sgd(momentum=0.8)),
        ("sgd", {"momentum": 0.0, "nesterov": False}, torch_sgd()),
        ("adamw", {}, torch_adamw()),
        (
            "adamw",
            {"weight_decay": 0.3, "beta1": 0.8, "epsilon": 1e-3},
            torch_adamw(weight_decay=0.3, betas=(0.8, 0.999), eps=1e-3),
        ),
        ("muon", {}, TorchMuon),
        ("muon", {"nesterov": False, "momentum": 0.8}, lambda m, r: TorchMuon(m, r, nesterov=False, momentum=0.8)),
        ("soap", {}, NaiveSOAP),
    ],
)
def test_path_is_that_of_a_twin(
    hidden: list[int], name: str, chosen: Mapping[str, object], make: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)  # in which torch's Muon iterates otherwise
    cells = Cells(hidden, 2, 40, 3)
    losses, _, weights = Race(optimizers.make(name, chosen), cells, range(3)).run(60)
    for row in range(3):
        parameters, expected = twin(cells, row, 60, make)
        assert (weights[row] - parameters).abs().max() < 1e-9 * parameters.abs().max()
        np.testing.assert_allclose(losses[:, row], expected, rtol=1e-9)


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
