"""The sup-norm error of a network that you have trained yourself.

python examples/measure_network.py
"""

from __future__ import annotations

import math

import hpcsweep  # before torch: MKL and OpenMP are told in time how to compute

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
    """Train, measure, and print what is known of the error."""
    network = trained()
    points = 2 * torch.rand(10_000, 2) - 1
    seen = (network(points)[:, 0] - target(points)).abs().max().item()
    found = hpcsweep.measure(network, target, [(-1, 1), (-1, 1)], certificate=0.05)
    print(f"largest error at 10,000 random points: {seen:.4f}")
    print(f"sup-norm error: between {found.lower:.4f} and {found.upper:.4f}, certificate: {found.certificate}")
    print(f"attained at ({', '.join(f'{coordinate:.4f}' for coordinate in found.where)})")


if __name__ == "__main__":
    main()
