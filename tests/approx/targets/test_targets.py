"""Targets against plain-Python formulas, published facts and their own stated facts."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from hpcsweep.approx.targets import REGISTRY, Target, check
from hpcsweep.approx.targets.rules import sample
from hpcsweep.errors import PluginError

DIMENSIONS = (1, 2, 3, 4, 8, 16)
EVERY = [(name, d) for name, kind in REGISTRY.items() for d in (kind.dimensions or DIMENSIONS)]
SMOOTH = [(name, d) for name, d in EVERY if REGISTRY[name](d).smoothness == math.inf]
# where it is not [-1, 1]^d
DOMAINS = {
    "berner_sine": (-0.5, 0.5),
    "berner_teacher": (-0.5, 0.5),
    "product": (1.0, 5.0),
    "dot_product": (1.0, 5.0),
    "feynman_field_energy": (1.0, 5.0),
    "feynman_distance": (1.0, 5.0),
    "feynman_isothermal": (1.0, 5.0),
    "feynman_dipole": (1.0, 3.0),
    "franke": (0.0, 1.0),
    "sine_product": (0.0, 1.0),
}


def half(x: Sequence[float]) -> int:
    return math.ceil(len(x) / 2)


def mixed(x: Sequence[float]) -> float:
    above = math.prod(math.cos(16 * x[k - 1] / 2**k) for k in range(half(x) + 1, len(x) + 1))
    return above / math.prod(1 - x[k - 1] / 4**k for k in range(1, half(x) + 1))


def slower(x: Sequence[float]) -> float:
    above = math.prod(1 + 4**k * x[k - 1] ** 2 for k in range(1, half(x) + 1))
    return (above / math.prod(100 + 5 * x[k - 1] for k in range(half(x) + 1, len(x) + 1))) ** (1 / len(x))


def tree(x: Sequence[float]) -> float:
    if len(x) == 1:
        return x[0]
    a, b = tree(x[: half(x)]), tree(x[half(x) :])
    return math.sin(2 * (a * b + (a + b) / 2))


def waves(x: Sequence[float]) -> float:
    generator = np.random.Generator(np.random.Philox(key=0))
    directions, shifts = generator.standard_normal((64, len(x))), generator.uniform(0, 2 * math.pi, 64)
    phases = [4 * math.fsum(w * t for w, t in zip(row, x, strict=True)) / math.hypot(*row) for row in directions]
    return math.fsum(math.sin(phase + shift) for phase, shift in zip(phases, shifts, strict=True)) / 8


# straight from the papers, in plain Python
FORMULAS: dict[str, Callable[[Sequence[float]], float]] = {
    "absolute": lambda x: sum(abs(t) for t in x) / len(x),
    "berner_sine": lambda x: math.log(math.sin(50 * x[0]) + 2) + math.sin(5 * x[0]),
    "dot_product": lambda x: x[0] * x[3] + x[1] * x[4] + x[2] * x[5],
    "exp_cos": lambda x: math.exp(-(1 / (8 * len(x))) * sum(math.cos(t) for t in x)),
    "exp_cos5": lambda x: math.exp(-(2 / len(x)) * sum(math.cos(5 * t) for t in x)),
    "feynman_dipole": lambda x: x[1] / (4 * math.pi * x[0]) * 3 * x[5] / x[2] ** 5 * math.hypot(x[3], x[4]),
    "feynman_distance": lambda x: math.hypot(x[1] - x[0], x[3] - x[2]),
    "feynman_field_energy": lambda x: x[0] * x[1] ** 2 / 2,
    "feynman_grating": lambda x: math.asin(x[0] / (x[2] * x[1])),
    "feynman_isothermal": lambda x: x[0] * x[1] * x[2] * math.log(x[4] / x[3]),
    "franke": lambda x: (
        0.75 * math.exp(-((9 * x[0] - 2) ** 2 + (9 * x[1] - 2) ** 2) / 4)
        + 0.75 * math.exp(-((9 * x[0] + 1) ** 2) / 49 - (9 * x[1] + 1) / 10)
        + 0.5 * math.exp(-((9 * x[0] - 7) ** 2 + (9 * x[1] - 3) ** 2) / 4)
        - 0.2 * math.exp(-((9 * x[0] - 4) ** 2) - (9 * x[1] - 7) ** 2)
    ),
    "halfspace": lambda x: float(math.fsum(x) >= 0),
    "indicator": lambda x: float(max(abs(t) for t in x) <= 0.5),
    "logsin": lambda x: math.log(math.sin(10 * x[0]) + 2) + math.sin(x[0]),
    "mixed_trig_rational": mixed,
    "peak": lambda x: 1 / (1 / 0.98 - math.sin(math.pi * x[0])),
    "product": lambda x: x[0] * x[1],
    "product_tree": tree,
    "random_waves": waves,
    "runge": lambda x: 1 / (1 + 25 * sum(t * t for t in x)),
    "sine": lambda x: sum(math.sin(2 * math.pi * t) for t in x) / len(x),
    "sine_product": lambda x: math.prod(math.sin(math.pi * t) for t in x),
    "slower_decay_rational": slower,
    "square": lambda x: x[0] ** 2,
}


def value(target: Target, *point: float) -> float:
    return float(target(torch.tensor([point], dtype=torch.float64))[0])


def test_every_other_target_than_a_teacher_has_a_formula_here() -> None:
    assert set(REGISTRY) == set(FORMULAS) | {"berner_teacher", "michaud_teacher"}


@pytest.mark.parametrize(("name", "dimension"), EVERY)
def test_keeps_every_rule(name: str, dimension: int) -> None:
    assert check(REGISTRY[name](dimension)) == []


@pytest.mark.parametrize(("name", "dimension"), [(n, d) for n, d in EVERY if n in FORMULAS])
def test_values_are_those_of_the_formula(name: str, dimension: int) -> None:
    target = REGISTRY[name](dimension)
    draw = random.Random(f"{name} {dimension}")
    points = [[draw.uniform(low, high) for low, high in target.domain] for _ in range(50)]
    values = target(torch.tensor(points, dtype=torch.float64)).tolist()
    assert values == pytest.approx([FORMULAS[name](point) for point in points], rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(("name", "dimension"), EVERY)
def test_domain_is_the_published_one(name: str, dimension: int) -> None:
    expected = (DOMAINS.get(name, (-1.0, 1.0)),) * dimension
    if name == "feynman_grating":
        expected = ((1.0, 2.0), (2.0, 5.0), (1.0, 5.0))
    assert REGISTRY[name](dimension).domain == expected


def test_published_facts() -> None:
    # the worst point of the published network for berner_sine, where f is 0.894
    assert value(REGISTRY["berner_sine"](1), 0.1135) == pytest.approx(0.894, abs=5e-4)
    assert value(REGISTRY["peak"](1), 0.5) == pytest.approx(49.0, rel=1e-12)
    assert value(REGISTRY["runge"](3), 0.0, 0.0, 0.0) == 1.0
    assert value(REGISTRY["feynman_distance"](4), 1.0, 4.0, 1.0, 5.0) == 5.0
    assert value(REGISTRY["feynman_grating"](3), 2.0, 2.0, 1.0) == math.pi / 2
    # boundaries belong to the set where the value is 1
    assert [value(REGISTRY["halfspace"](2), 0.5, y) for y in (-0.5, -0.5 - 1e-15)] == [1.0, 0.0]
    assert [value(REGISTRY["indicator"](2), -0.5, y) for y in (0.5, 0.5 + 1e-15)] == [1.0, 0.0]


def test_parameters_reach_the_formula() -> None:
    x = 0.037
    expected = math.log(math.sin(100 * x) + 2) + math.sin(10 * x)
    assert value(REGISTRY["logsin"](1, K=10), x) == pytest.approx(expected, rel=1e-13)
    assert value(REGISTRY["sine"](1, frequency=3), x) == pytest.approx(math.sin(6 * math.pi * x), rel=1e-13)


def gradients(target: Target, points: torch.Tensor) -> torch.Tensor:
    points = points.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(target(points).sum(), points)
    return gradient  # (points, dimension)


def spread(target: Target, count: int, seed: int = 0) -> torch.Tensor:
    box = torch.tensor(target.domain, dtype=torch.float64)
    shares = torch.rand(count, len(box), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return box[:, 0] + (box[:, 1] - box[:, 0]) * shares


SHARP = {"absolute": 3, "berner_sine": 1, "exp_cos": 1, "exp_cos5": 2, "feynman_distance": 4, "logsin": 1}
SHARP |= {"feynman_field_energy": 2, "peak": 1, "product": 2, "runge": 2, "sine": 2, "sine_product": 2, "square": 1}


@pytest.mark.parametrize(("name", "dimension"), EVERY)
def test_gradients_stay_below_the_lipschitz_constant(name: str, dimension: int) -> None:
    target, sharp = REGISTRY[name](dimension), SHARP.get(name) == dimension
    if target.lipschitz is None:
        assert target.smoothness == -1 or name == "feynman_grating"
        return
    slopes = gradients(target, spread(target, 20_000 if sharp else 4096))
    steepest = float(torch.linalg.vector_norm(slopes, dim=1).max())
    assert (0.98 * target.lipschitz if sharp else 0.0) <= steepest <= target.lipschitz


@pytest.mark.parametrize(("name", "dimension"), SMOOTH)
def test_gradients_of_smooth_targets_change_in_proportion_to_the_step(name: str, dimension: int) -> None:
    target = REGISTRY[name](dimension)
    here, there = spread(target, 2000), spread(target, 2000, seed=1)
    still, moved = gradients(target, here), [torch.lerp(here, there, step) for step in (1e-4, 1e-6)]
    large, small = (float((gradients(target, points) - still).abs().max()) for points in moved)
    assert small <= 0.02 * large + 1e-9


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("absolute", (-1e-9,), (1e-9,)), ("feynman_distance", (2 - 1e-9, 2, 3, 3), (2 + 1e-9, 2, 3, 3))],
)
def test_kinked_targets_are_continuous_with_a_jump_of_slope(
    name: str, low: Sequence[float], high: Sequence[float]
) -> None:
    target = REGISTRY[name](len(low))
    both = torch.tensor([low, high], dtype=torch.float64)
    assert target.smoothness == 1
    assert float((target(both)[0] - target(both)[1]).abs()) <= 1e-8
    assert float((gradients(target, both)[0] - gradients(target, both)[1]).abs().max()) >= 1.0


def test_grating_has_no_lipschitz_constant_at_its_corner() -> None:
    target = REGISTRY["feynman_grating"](3)
    slopes = [(math.pi / 2 - value(target, 2.0 - h, 2.0, 1.0)) / h for h in (1e-4, 1e-8, 1e-12)]
    assert slopes[1] > 50 * slopes[0] and slopes[2] > 50 * slopes[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_values_on_a_gpu_are_those_of_the_cpu() -> None:
    before = torch.cuda.get_rng_state()
    for name, dimension in EVERY:
        target = REGISTRY[name](dimension)
        points = spread(target, 500)
        values = target(points.cuda())
        assert values.cpu().tolist() == pytest.approx(target(points).tolist(), rel=1e-11, abs=1e-13)
    assert torch.equal(torch.cuda.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "parameters", "complaint"),
    [
        ("berner_teacher", {"indexx": 1}, "Did you mean 'index'"),
        ("logsin", {"k": 10}, "unknown name 'k'. Allowed: K"),
        ("logsin", {"K": "10"}, "K must be of type finite float, not '10'"),
        ("logsin", {"K": math.inf}, "finite float"),
        ("logsin", {"K": True}, "finite float"),
        ("peak", {"height": 3}, "has no parameters"),
        ("berner_teacher", {"index": 1.0}, "index must be of type int"),
        ("berner_teacher", {"index": -1}, "between 0 and"),
        ("berner_teacher", {"hidden": []}, "not empty"),
        ("berner_teacher", {"hidden": [8, 0]}, "each entry of .*hidden must lie between"),
        ("berner_teacher", {"hidden": 8}, "list of integers"),
    ],
)
def test_wrong_parameters_are_refused(name: str, parameters: dict[str, object], complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        REGISTRY[name](1, **parameters)


@pytest.mark.parametrize(("name", "dimension"), [("square", 2), ("product", 3), ("sine", 0), ("sine", True)])
def test_wrong_dimensions_are_refused(name: str, dimension: object) -> None:
    with pytest.raises(PluginError, match="dimension"):
        REGISTRY[name](dimension)  # type: ignore[arg-type]


def test_equal_choices_are_canonically_equal() -> None:
    assert repr(REGISTRY["logsin"].resolve({"K": 10})) == repr(REGISTRY["logsin"].resolve({"K": 10.0}))
    assert REGISTRY["berner_teacher"].resolve({}) == {"index": 0, "hidden": [32, 32, 32, 32]}


def test_samples_of_the_rules_contain_both_corners() -> None:
    points = sample(REGISTRY["feynman_grating"](3))
    assert points.shape == (256, 3) and points[:2].tolist() == [[1.0, 2.0, 1.0], [2.0, 5.0, 5.0]]
