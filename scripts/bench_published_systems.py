#!/usr/bin/env python
"""Networks against the dynamical systems of a published verifier: decisions at its ε, and brackets, on one CPU thread.

The systems, domains, ReLU networks and ε are those of Mathiesen, Vertovec, Fabiano, Laurenti and Abate, "Certified
neural approximations of nonlinear dynamics" (arXiv 2505.15497, with the authors' code at
github.com/Zinoex/certified-neural-approximations), who take the first six from Abate, Edwards and Giacobbe, "Neural
abstractions" (NeurIPS 2022); with 3x64 neurons and a smaller ε too. The networks are trained here, much shorter than
theirs, so that a large ε may be refuted. Every output is measured alone: is its error at most ε, then at most 1.05 and
0.95 of what was measured, and the bracket with the default certificate; with seven inputs to 10 %, which is asked for.

Prints one JSON line per figure, seconds being of the process; `floor` is the share that is demanded: decisions in 1 s
and brackets in 5 s with up to four inputs, brackets in 20 s with seven. Then a table. --quick takes under 50 s.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import hpcsweep  # before torch: the code path of MKL

# isort: split

import torch
from json_lines import show
from torch import Tensor, nn

LIMITS = {"decision": 1.0, "bracket": 5.0, "bracket of seven inputs": 20.0}  # seconds
STEPS = {True: 200, False: 500}  # of each method of a training, if quick or not
BATCH = 1024
LARGE = (64, 64, 64)  # the hidden layers of the second networks
NEAR = 0.05  # of the measured error: what is close to it
MANY = 7  # inputs, with which nothing is proved unless it is asked for, here after a shorter search
ASKED = {"certificate": 0.1, "uniform": 0, "count": 2**17, "starts": 2**10, "kinks": 2**12}

Axes = Sequence[Tensor]
Dynamics = Callable[[Axes], Sequence[Tensor]]


@dataclass(frozen=True)
class System:
    """One system: its derivatives as functions of the inputs, where, and the network and ε of its authors."""

    name: str
    dynamics: Dynamics
    domain: tuple[tuple[float, float], ...]
    hidden: tuple[int, ...]
    epsilon: float
    small: float | None = None  # ε of the network of 3x64

    def __call__(self, points: Tensor) -> Tensor:
        """Return the derivatives (points, outputs) at points (points, inputs)."""
        return torch.stack(list(self.dynamics(points.unbind(1))), 1)

    @property
    def shape(self) -> str:
        """The hidden layers of the network."""
        alike = len(set(self.hidden)) == 1
        return f"{len(self.hidden)}x{self.hidden[0]}" if alike else "+".join(map(str, self.hidden))

    @property
    def larger(self) -> System:
        """The same with the second network."""
        assert self.small is not None
        return replace(self, hidden=LARGE, epsilon=self.small, small=None)


def water_tank(x: Axes) -> Sequence[Tensor]:
    return (1.5 - x[0].sqrt(),)


def jet_engine(x: Axes) -> Sequence[Tensor]:
    return -x[1] - 1.5 * x[0] ** 2 - 0.5 * x[0] ** 3 - 0.1, 3 * x[0] - x[1]


def steam_governor(x: Axes) -> Sequence[Tensor]:
    swing = x[2] ** 2 * torch.sin(x[0]) * torch.cos(x[0]) - torch.sin(x[0]) - 3 * x[1]
    return x[1], swing, 1 - torch.cos(x[0])


def exponential(x: Axes) -> Sequence[Tensor]:
    return -torch.sin(torch.exp(x[1] ** 3 + 1)) - x[1] ** 2, -x[0]


def non_lipschitz_1(x: Axes) -> Sequence[Tensor]:
    return x[1], x[0].sqrt()


def non_lipschitz_2(x: Axes) -> Sequence[Tensor]:
    return x[0] ** 2 + x[1], (x[0] ** 2) ** (1 / 3) - x[0]


def oscillator(x: Axes) -> Sequence[Tensor]:
    return (-x[0] - 0.5 * x[0] ** 3 + 0.3 * torch.sin(x[0]),)


def van_der_pol(x: Axes) -> Sequence[Tensor]:
    return x[1], (1 - x[0] ** 2) * x[1] - x[0]


def sine(x: Axes) -> Sequence[Tensor]:
    return torch.sin(x[1]), -torch.sin(x[0])


def lorenz(x: Axes) -> Sequence[Tensor]:
    return 10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]


def vortex_3(x: Axes) -> Sequence[Tensor]:
    damping, frequency = 0.005, 0.4  # 0.5 over a Reynolds number of 100, twice a Strouhal number of 0.2
    second = -(frequency**2) * x[0] - damping * x[1] * (x[0] ** 2 + x[2] ** 2)
    return x[1], second, torch.sin(frequency * x[0]) - damping * x[2]


def vortex_4(x: Axes) -> Sequence[Tensor]:
    first, second, third = vortex_3(x)
    stretching = torch.sin(x[0] * x[2]) - 0.5 * x[1] * x[2] ** 2 + 0.2 * torch.cos(0.4 * x[1])
    return first, second, third + 0.3 * x[3], 0.3 * stretching - 0.005 * x[3]


def quadcopter(x: Axes) -> Sequence[Tensor]:
    """Angular accelerations by angular velocities and squared speeds of the rotors; inertia 0.01, 0.01 and 0.02."""
    roll, pitch, yaw = 0.002 * (x[3] - x[5]), 0.002 * (x[4] - x[6]), 0.01 * (x[3] - x[4] + x[5] - x[6])
    return roll / 0.01 + x[1] * x[2], pitch / 0.01 - x[0] * x[2], yaw / 0.02


def spacecraft(x: Axes) -> Sequence[Tensor]:
    """Rates of radius, angle, both velocities and mass; radius in 1000 km, constants as in the code of the authors."""
    radius, outward, across, lost, thrust, angle = 1000 * x[0], 0.01 * x[2], 0.01 * x[3], x[4], x[5], x[6]
    acceleration = thrust / (750 + lost)
    gravity = 3.986e6 / radius**2
    outwards = across**2 / radius - gravity + acceleration * torch.cos(angle)
    sideways = acceleration * torch.sin(angle) - outward * across / radius
    return outward, across / radius, outwards, sideways, -thrust / 40


def cube(radius: float, inputs: int) -> tuple[tuple[float, float], ...]:
    """Return the box [-radius, radius]^inputs."""
    return ((-radius, radius),) * inputs


TURN = (0.0, 2 * math.pi)
CRAFT = ((6.378, 10.0), TURN, (-5.0, 5.0), (-5.0, 5.0), (0.0, 10.0), (0.0, 1.0), TURN)
ABSTRACTIONS = [
    System("water tank", water_tank, ((0.1, 10.0),), (12,), 0.097, 0.002),
    System("jet engine", jet_engine, cube(1, 2), (10, 16), 0.039, 0.012),
    System("steam governor", steam_governor, cube(1, 3), (12,), 0.105, 0.04),
    System("exponential", exponential, cube(1, 2), (14, 14), 0.112, 0.04),
    System("non-Lipschitz 1", non_lipschitz_1, ((0.0, 1.0), (-1.0, 1.0)), (10,), 0.11, 0.03),
    System("non-Lipschitz 2", non_lipschitz_2, cube(1, 2), (12, 10), 0.081, 0.02),
]
LARGER = [
    System("oscillator", oscillator, cube(3, 1), LARGE, 0.003 * (55 - math.sin(3))),
    System("van der Pol", van_der_pol, cube(3, 2), LARGE, 0.21),
    System("Sine2D", sine, cube(2, 2), LARGE, 0.01),
    System("Lorenz", lorenz, ((-30.0, 30.0), (-30.0, 30.0), (0.0, 60.0)), LARGE, 0.6),
    System("vortex 3-D", vortex_3, cube(2, 3), (64, 64), 0.05),
    System("vortex 4-D", vortex_4, (*cube(2, 3), (-1.0, 1.0)), (96, 96), 0.05),
    System("quadcopter", quadcopter, (*cube(1, 3), *((0.0, 10.0),) * 4), (128, 128), 0.15),
    System("spacecraft", spacecraft, CRAFT, (128, 128), 0.01),
]
ALL = [*ABSTRACTIONS, *(system.larger for system in ABSTRACTIONS), *LARGER]
QUICK = [*ABSTRACTIONS, ABSTRACTIONS[0].larger]


def trained(system: System, steps: int) -> nn.Sequential:
    """Return a network of the system's shape: Adam on fresh points, then L-BFGS, for the mean of fourth powers.

    A tenth of the points lie on the boundary, or nearly so.
    """
    torch.manual_seed(len(system.domain))
    low, high = torch.tensor(system.domain).T
    middle, half = (low + high) / 2, (high - low) / 2

    def drawn(count: int) -> tuple[Tensor, Tensor]:
        unit = (2.2 * torch.rand(count, len(low)) - 1.1).clamp(-1, 1)
        return unit, system(middle + half * unit) / scale

    def loss(unit: Tensor, values: Tensor) -> Tensor:
        optimizer.zero_grad()
        mean = (network(unit) - values).pow(4).mean().sqrt()
        mean.backward()
        return mean

    scale = torch.ones(())
    scale = drawn(BATCH)[1].abs().amax()
    widths = [len(low), *system.hidden, system(low[None]).shape[1]]
    layers = [part for sizes in pairwise(widths) for part in (nn.Linear(*sizes), nn.ReLU())]
    network = nn.Sequential(*layers[:-1])
    optimizer: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss(*drawn(BATCH))
        optimizer.step()
        schedule.step()
    line_search = {"line_search_fn": "strong_wolfe", "tolerance_change": 0.0}
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=steps, **line_search)
    optimizer.step(partial(loss, *drawn(4 * BATCH)))
    with torch.no_grad():  # the units of the system, by the first and last layers
        network[0].weight /= half
        network[0].bias -= network[0].weight @ middle
        network[-1].weight *= scale
        network[-1].bias *= scale
    return network


def one_output(network: nn.Sequential, output: int) -> nn.Sequential:
    """Return the network of one output alone."""
    last = nn.Linear(network[-1].in_features, 1)
    with torch.no_grad():
        last.weight[0], last.bias[0] = network[-1].weight[output], network[-1].bias[output]
    return nn.Sequential(*network[:-1], last)


def timed(network: nn.Sequential, system: System, output: int, **options: Any) -> tuple[Any, float]:
    """Return what was measured of an output, and the seconds that it took."""
    begun = time.process_time()
    measured = hpcsweep.measure(
        one_output(network, output), lambda points: system(points)[:, output], system.domain, **options
    )
    return measured, time.process_time() - begun


@dataclass(frozen=True)
class Output:
    """What came out for one output of a system."""

    inputs: int
    decided: bool  # at the ε of the authors, in time
    right: bool  # whether what is 5 % above the error was proved, and what is 5 % below refuted
    closed: bool  # whether the bracket did, in time
    line: str


def measured(system: System, network: nn.Sequential, output: int) -> Output:
    """Decide and measure one output; print its figures."""
    inputs, name = len(system.domain), f"{system.name} {system.shape}, output {output + 1}"
    decision, seconds = timed(network, system, output, below=system.epsilon)
    bracket, until_closed = timed(network, system, output, **(ASKED if inputs >= MANY else {}))
    above, seconds_above = timed(network, system, output, below=bracket.upper * (1 + NEAR))
    under, seconds_under = timed(network, system, output, below=bracket.lower * (1 - NEAR))
    gap = bracket.upper / bracket.lower - 1
    show(f"{name}: decision at ε = {system.epsilon:.4g} ({decision.verdict})", seconds, "s")
    show(f"{name}: bracket", until_closed, "s")
    show(f"{name}: error, from below", bracket.lower, "units of the output")
    show(f"{name}: gap", gap, "upper/lower - 1")
    show(f"{name}: boxes", bracket.boxes, "boxes")
    show(f"{name}: 5 % above the error ({above.verdict})", seconds_above, "s")
    show(f"{name}: 5 % below the error ({under.verdict})", seconds_under, "s")
    limit = LIMITS["bracket of seven inputs" if inputs >= MANY else "bracket"]
    line = (
        f"| {system.name} | {inputs} | {system.shape} | {output + 1} | {system.epsilon:.4g} | {decision.verdict} "
        f"| {seconds:.2f} | {seconds_above:.2f} / {seconds_under:.2f} | {bracket.lower:.4g} "
        f"| {until_closed:.2f} ({bracket.certificate}) | {gap:.1e} | {bracket.boxes} |"
    )
    return Output(
        inputs,
        decision.verdict != "undecided" and seconds <= LIMITS["decision"],
        above.proved and under.refuted,
        bracket.certificate == "closed" and until_closed <= limit,
        line,
    )


def share(values: Sequence[bool]) -> float:
    """Return the share of those that are true, NaN of none."""
    return sum(values) / len(values) if values else math.nan


def main() -> None:
    """Train and measure networks of all systems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first systems, short trainings")
    parser.add_argument("--only", metavar="NAME", help="systems whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [system for system in (QUICK if options.quick else ALL) if (options.only or "") in system.name]
    timed(nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1)), ABSTRACTIONS[0], 0)  # compiles
    found: list[Output] = []
    for system in chosen:
        network = trained(system, STEPS[options.quick])
        outputs = range(network[-1].out_features)
        found += [measured(system, network, output) for output in outputs]
    few, many = ([output for output in found if (output.inputs >= MANY) == seven] for seven in (False, True))
    show("proved or refuted in 1 s at ε, up to four inputs", share([output.decided for output in few]), "share", 1.0)
    show("brackets closed in 5 s, up to four inputs", share([output.closed for output in few]), "share", 1.0)
    show("brackets closed in 20 s, seven inputs", share([output.closed for output in many]), "share", 1.0)
    show("proved 5 % above the error and refuted 5 % below", share([output.right for output in found]), "share", 1.0)
    print("| system | inputs | network | output | ε | decision | s | s at ±5 % | error | bracket, s | gap | boxes |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|", *[output.line for output in found], sep="\n")


if __name__ == "__main__":
    main()
