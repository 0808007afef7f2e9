"""Teachers: the weights of the published programmes, to the bit, whatever else draws random numbers."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hpcsweep.approx.targets import REGISTRY
from tests.approx.targets.test_targets import gradients, spread


def plain_berner_teacher(seed: int, dimension: int) -> torch.nn.Sequential:
    """As the paper describes it, with the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = [dimension, 32, 32, 32, 32, 1]
        linears = [torch.nn.Linear(widths[k], widths[k + 1]) for k in range(5)]
        for linear in linears:
            with torch.no_grad():
                linear.weight.uniform_(-0.5, 0.5)
                linear.bias.uniform_(-0.5, 0.5)
    relus = [torch.nn.ReLU() for _ in range(4)]
    modules = [module for pair in zip(linears, relus, strict=False) for module in pair]
    return torch.nn.Sequential(*modules, linears[-1]).double()


@pytest.mark.parametrize("dimension", [1, 3])
@pytest.mark.parametrize("seed", [0, 1, 39])
def test_berner_teacher_is_bit_exact(seed: int, dimension: int) -> None:
    target = REGISTRY["berner_teacher"](dimension, index=seed)
    points = spread(target, 1000)
    with torch.no_grad():
        assert torch.equal(target(points), plain_berner_teacher(seed, dimension)(points)[:, 0])


def test_michaud_teacher_is_bit_exact() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        linears = [torch.nn.Linear(*widths, dtype=torch.float64) for widths in ((1, 3), (3, 3), (3, 1))]
    plain = torch.nn.Sequential(linears[0], torch.nn.Tanh(), linears[1], torch.nn.Tanh(), linears[2])
    target = REGISTRY["michaud_teacher"](1, seed=7)
    with torch.no_grad():
        assert torch.equal(target(spread(target, 1000)), plain(spread(target, 1000))[:, 0])


@pytest.mark.parametrize("name", ["berner_teacher", "michaud_teacher"])
def test_teachers_neither_disturb_nor_depend_on_global_state(name: str) -> None:
    expected = REGISTRY[name](2)(torch.ones(1, 2, dtype=torch.float64))
    torch.rand(3)
    before = torch.get_rng_state()
    with torch.device("meta"), torch.inference_mode():
        target = REGISTRY[name](2)
        assert target(torch.ones(1, 2, dtype=torch.float32, device="cpu")).dtype == torch.float32
    assert torch.equal(torch.get_rng_state(), before)
    # what was made and cast under inference mode serves differentiation too
    for dtype in (torch.float32, torch.float64):
        assert gradients(target, torch.ones(1, 2, dtype=dtype)).shape == (1, 2)
    assert torch.equal(target(torch.ones(1, 2, dtype=torch.float64)), expected)


def test_teachers_differ_by_seed_and_shape() -> None:
    kind, points = REGISTRY["berner_teacher"], torch.zeros(1, 1, dtype=torch.float64)
    choices = ({}, {"index": 1}, {"hidden": [8]}, {"hidden": (8, 8)})
    assert len({float(kind(1, **choice)(points)) for choice in choices}) == 4


def test_teachers_made_in_several_threads_are_the_same() -> None:
    """They pass through torch's global generator, so that drawing must be one at a time."""
    points = torch.linspace(-0.5, 0.5, 9, dtype=torch.float64).reshape(-1, 1)

    def value(index: int) -> list[float]:
        return REGISTRY["berner_teacher"](1, index=index)(points).tolist()

    expected = [value(index) for index in range(40)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that a missing lock shows
    try:
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(value, range(40))) == expected
    finally:
        sys.setswitchinterval(interval)
