"""Whether a slot depends on the others, for every optimizer: not in a single bit, on one thread of a CPU."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.training import optimizers
from tests.approx.packs import Cells, Race

SHAPES = {
    "tanh": ([9, 5, 5], 3, 37, "tanh"),
    "relu": ([31], 2, 29, "relu"),
    "sin": ([6, 8], 1, 20, "sin"),
    "residual": ([5, 5], 2, 23, "tanh"),  # by autograd
}
CASES = [
    (shape, name)
    for name in optimizers.NAMES
    for shape in SHAPES
    if shape != "residual" or not optimizers.needs(name).features
]


def race(shape: str, name: str, cells: int, rows: list[int]) -> Race:
    hidden, dimension, samples, activation = SHAPES[shape]
    choice = {"name": "residual"} if shape == "residual" else {}
    made = Cells(hidden, dimension, samples, cells, activation, **choice)
    return Race(optimizers.make(name, {}), made, rows)


def same(one: tuple[Tensor, ...], rows: list[int], other: tuple[Tensor, ...], others: list[int]) -> bool:
    """Whether slots of two races have the same losses, steps and iterates."""
    pairs = zip(one, other, (1, 1, 0), strict=True)
    return all(
        torch.equal(a.index_select(axis, torch.tensor(rows)), b.index_select(axis, torch.tensor(others)))
        for a, b, axis in pairs
    )


@pytest.mark.parametrize(("shape", "name"), CASES)
def test_bits_do_not_depend_on_companions(shape: str, name: str) -> None:
    together = race(shape, name, 17, list(range(17))).run(40)
    assert together[2].isfinite().all()
    order = np.random.default_rng(0).permutation(17).tolist()
    for rows in (order, [11, 2], [16, 3, 4], [5, 4, 3, 2, 1, 0], [4, 4]):
        assert same(race(shape, name, 17, rows).run(40), list(range(len(rows))), together, rows)


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e200])
@pytest.mark.parametrize(("shape", "name"), [case for case in CASES if case[0] in ("tanh", "residual")])
def test_a_poisoned_slot_does_not_touch_the_others(shape: str, name: str, poison: float) -> None:
    """From the start, or on the way; whether its weights are spoilt, its points, its values, or what is remembered."""
    ticks, others = 24, [0, 1, 3, 4, 5]
    clean = race(shape, name, 6, list(range(6))).run(ticks)
    for start, what in ((0, "weights"), (0, "values"), (11, "points"), (11, "weights"), (11, "state")):
        spoilt = race(shape, name, 6, list(range(6)))
        early, engine, search = spoilt.run(start), spoilt.engine, getattr(spoilt.state, "search", None)
        tensors = {
            "weights": spoilt.layout.blocks(engine.weights),
            "points": [engine.points],
            "values": [engine.values],
            "state": [search.gradient, search.direction] if search else [],
        }[what]
        for tensor in tensors:
            tensor[2] = poison
        late = spoilt.run(ticks - start)
        whole = torch.cat([early[0], late[0]]), torch.cat([early[1], late[1]]), late[2]
        assert same(whole, others, clean, others)
        assert not tensors or not torch.equal(whole[0][:, 2], clean[0][:, 2])
