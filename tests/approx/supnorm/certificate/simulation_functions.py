"""Test functions of public collections, in the code that people write for them.

Surjanovic and Bingham, Virtual Library of Simulation Experiments (2013); Genz's families; dynamics of control problems.
Each with its domain, the same for all axes, and its dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

pi = math.pi
COLLECTION: dict[str, tuple[Callable[[Any], Any], int, tuple[float, float]]] = {}


def used(dimension: int, low: float, high: float) -> Callable[..., Any]:
    def enter(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        COLLECTION[function.__name__] = function, dimension, (low, high)
        return function

    return enter


@used(3, -32, 32)
def ackley(x: Any) -> Any:
    d = x.shape[1]
    waves = torch.exp(torch.cos(2 * pi * x).sum(1) / d)
    return -20 * torch.exp(-0.2 * torch.sqrt((x**2).sum(1) / d)) - waves + 20 + math.e


@used(3, -5.12, 5.12)
def rastrigin(x: Any) -> Any:
    return 10 * x.shape[-1] + torch.sum(x**2 - 10 * torch.cos(2 * pi * x), dim=-1)


@used(3, -600, 600)
def griewank(x: Any) -> Any:
    i = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)
    return (x**2).sum(axis=1) / 4000 - torch.prod(torch.cos(x / torch.sqrt(i)), dim=1) + 1


@used(3, -10, 10)
def levy(x: Any) -> Any:
    w = 1 + (x - 1) / 4
    middle = ((w[:, :-1] - 1) ** 2 * (1 + 10 * torch.sin(pi * w[:, :-1] + 1) ** 2)).sum(1)
    return torch.sin(pi * w[:, 0]) ** 2 + middle + (w[:, -1] - 1) ** 2 * (1 + torch.sin(2 * pi * w[:, -1]) ** 2)


@used(3, 0, pi)
def michalewicz(x: Any) -> Any:
    return -torch.sum(torch.sin(x) * torch.sin(torch.arange(1, 4) * x**2 / pi) ** 20, dim=1)


@used(2, -5, 15)
def branin(x: Any) -> Any:
    a, b = x.T
    return (b - 5.1 / (4 * pi**2) * a**2 + 5 / pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * pi)) * torch.cos(a) + 10


@used(3, 0, 1)
def hartmann(x: Any) -> Any:
    rates = torch.tensor([[3.0, 10, 30], [0.1, 10, 35]])
    places = 1e-4 * torch.tensor([[3689.0, 1170, 2673], [4699, 4387, 7470]])
    return -(torch.tensor([1, 1.2]) * torch.exp(-(rates * (x[:, None, :] - places) ** 2).sum(-1))).sum(-1)


@used(3, 0, 1)
def hartmann_in_loops(x: Any) -> Any:
    out = torch.zeros(x.shape[0], dtype=x.dtype)
    for weight, rates in ((1.0, (3.0, 10, 30)), (1.2, (0.1, 10, 35))):
        inner = 0
        for j in range(3):
            inner += rates[j] * (x[:, j] - 0.1 * j) ** 2
        out -= weight * torch.exp(-inner)
    return out


@used(8, 1, 2)
def borehole(x: Any) -> Any:
    rw, r, tu, hu, tl, hl, length, kw = (x + torch.arange(8) % 3).T
    ratio = torch.log((r + 5) / rw)
    return 2 * pi * tu * (hu - hl) / (ratio * (1 + 2 * length * tu / (ratio * rw**2 * kw) + tu / tl))


@used(3, -pi, pi)
def ishigami(x: Any) -> Any:
    return torch.sin(x[:, 0]) + 7 * torch.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * torch.sin(x[:, 0])


@used(3, 0, 1)
def sobol_g(x: Any) -> Any:
    a = (torch.arange(1, x.shape[1] + 1) - 2) / 2
    return torch.prod((torch.abs(4 * x - 2) + a) / (1 + a), dim=1)


@used(5, 0, 1)
def friedman(x: Any) -> Any:
    return 10 * torch.sin(pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]


@used(6, 0.5, 1.2)
def otl_circuit(x: Any) -> Any:
    rb1, rb2, rf, rc1, rc2, beta = (x[:, i] for i in range(6))
    gain = beta * (rc2 + 9)
    vb1 = 12 * rb2 / (rb1 + rb2)
    return ((vb1 + 0.74) * gain + 11.35 * rf) / (gain + rf) + 0.74 * rf * gain / ((gain + rf) * rc1)


@used(7, 1, 2)
def piston(x: Any) -> Any:
    mass, surface, v0, k, p0, ta, t0 = torch.unbind(x, dim=1)
    a = p0 * surface + 19.62 * mass - k * v0 / surface
    v = surface / (2 * k) * (torch.sqrt(a**2 + 4 * k * p0 * v0 * ta / t0) - a)
    return 2 * pi * torch.sqrt(mass / (k + surface**2 * p0 * v0 * ta / (t0 * v**2)))


@used(10, 1, 2)
def wing_weight(x: Any) -> Any:
    sw, wfw, a, angle, q, taper, tc, nz, wdg, wp = x.t()
    c = torch.cos(angle * pi / 180)
    wing = 0.036 * sw**0.758 * wfw**0.0035 * (a / c**2) ** 0.6 * q**0.006 * taper**0.04
    return wing * (100 * tc / c) ** -0.3 * (nz * wdg) ** 0.49 + sw * wp


@used(3, -3, 3)
def rotated_hyper_ellipsoid(x: Any) -> Any:
    return torch.cumsum(x**2, dim=1).sum(1)


@used(3, -1, 1)
def sum_of_powers(x: Any) -> Any:
    return (torch.abs(x) ** torch.arange(2, 5)).sum(1)


@used(2, -10, 10)
def cross_in_tray(x: Any) -> Any:
    hump = torch.exp(torch.abs(100 - torch.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2) / pi) - 100)
    return -1e-4 * (torch.abs(torch.sin(x[:, 0]) * torch.sin(x[:, 1]) * hump) + 1) ** 0.1


@used(2, -10, 10)
def holder_table(x: Any) -> Any:
    return -torch.abs(torch.sin(x[:, 0]) * torch.cos(x[:, 1]) * torch.exp(torch.abs(1 - x.norm(dim=1) / pi)))


@used(2, -5.12, 5.12)
def drop_wave(x: Any) -> Any:
    r = torch.linalg.norm(x, dim=1)
    return -(1 + torch.cos(12 * r)) / (0.5 * r**2 + 2)


@used(8, 0, 1)
def robot_arm(x: Any) -> Any:
    angles, lengths = torch.cumsum(2 * pi * x[:, :4], dim=1), x[:, 4:]
    return torch.hypot((lengths * torch.cos(angles)).sum(1), (lengths * torch.sin(angles)).sum(1) + 1)


@used(2, -2, 2)
def van_der_pol(x: Any) -> Any:
    p, v = x[..., 0], x[..., 1]
    return torch.stack([v, (1 - p**2) * v - p])[1]


@used(4, -2, 2)
def cart_pole(x: Any) -> Any:
    _, v, angle, w = x.T
    s, c = torch.sin(angle), torch.cos(angle)
    push = (v + 0.05 * w**2 * s) / 1.1
    acceleration = (9.8 * s - c * push) / (0.5 * (4 / 3 - 0.1 * c**2 / 1.1))
    return torch.stack((v, push - 0.05 * acceleration * c / 1.1, w, acceleration)).T[:, 3]


@used(2, 0.1, 1)
def water_tank(x: Any) -> Any:
    return 1.5 - torch.sqrt(x[:, 0]) + x[:, 1] ** 1.5


@used(2, -1, 1)
def radial_basis(x: Any) -> Any:
    centers = torch.linspace(-1, 1, 10, dtype=x.dtype).view(5, 2)
    return torch.exp(-(torch.cdist(x, centers) ** 2)).sum(1)


@used(2, -1, 1)
def legendre(x: Any) -> Any:
    t = x[:, 0]
    values = [torch.ones_like(t), t]
    for n in range(1, 6):
        values.append(((2 * n + 1) * t * values[-1] - n * values[-2]) / (n + 1))
    return torch.stack(values, dim=-1) @ torch.arange(7.0).double()


@used(2, -1, 1)
def gaussian_mixture(x: Any) -> Any:
    apart = x.unsqueeze(1) - torch.tensor([[0.3, 0.2], [-0.5, 0.1]]).unsqueeze(0)
    return torch.logsumexp(-5 * torch.einsum("bki,bki->bk", apart, apart), dim=1)
