"""The sup-norm error of a network that you have trained yourself.

python examples/measure_network.py
"""

from __future__ import annotations

import math

import hpcsweep  # before torch, so that the settings for MKL and OpenMP take effect

import torch  # isort: skip


def target(points: torch.Tensor) -> torch.Tensor:
    """Return sin(pi x) cos(pi y), (points,), at points (points, 2)."""
    return torch.sin(math.pi * points[:, 0]) * torch.cos(math.pi * points[:, 1])


def trained() -> torch.nn.Module:
    """Return a network that was fitted to 400 samples of [-1, 1]^2."""
    torch.manual_seed(0)
    layers = torch.nn.Linear(2, 12), torch.nn.Tanh(), torch.nn.Linear(12, 12), torch.nn.Tanh(), torch.nn.Linear(12, 1)
    network, points = torch.nn.Sequential(*layers), 2 * torch.rand(400, 2) - 1
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(1000):
        optimizer.zero_grad()
        (network(points)[:, 0] - target(points)).square().mean().backward()
        optimizer.step()
    return network


def main() -> None:
    """Train a network, measure its error, and print what is known about it."""
    network = trained()
    points = 2 * torch.rand(10_000, 2) - 1
    largest = (network(points)[:, 0] - target(points)).abs().max().item()
    error = hpcsweep.measure(network, target, [(-1, 1), (-1, 1)], certificate=0.05)
    print(f"largest error at 10,000 random points: {largest:.4f}")
    print(f"sup-norm error: between {error.lower:.4f} and {error.upper:.4f}, certificate: {error.certificate}")
    print(f"lower bound attained at ({', '.join(f'{coordinate:.4f}' for coordinate in error.where)})")


if __name__ == "__main__":
    main()
