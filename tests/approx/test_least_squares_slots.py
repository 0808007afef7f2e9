"""Whether a slot of the least-squares optimizers depends on the others: not in a single bit, on one thread of a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from hpcsweep.approx.training.engine import Engine, Layout
from hpcsweep.approx.training.optimizers.least_squares import LeastSquares
from hpcsweep.approx.training.optimizers.levenberg_marquardt import LevenbergMarquardt
from hpcsweep.approx.training.optimizers.optimizer import Optimizer
from hpcsweep.approx.training.optimizers.variable_projection import VariableProjection
from tests.approx.test_engine import DOUBLE, pack
from tests.approx.test_levenberg_marquardt import iterate_once, smooth

FAMILY = [LevenbergMarquardt(), VariableProjection(), LeastSquares()]
SHAPES = [([5], 1, 30, "tanh"), ([9, 8], 2, 20, "sin"), ([7, 6, 5], 3, 25, "silu"), ([31], 2, 29, "relu")]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def race(
    optimizer: Optimizer, shape: tuple, rows: Sequence[int], poison: int | None = None, refill: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the losses (30, slots) and last weights of cells `rows` out of 17; a row of -1 is a free slot.

    One slot may be spoilt at the start and once more after 5 steps. In another cell 16 may sit for the first 5 steps;
    all then do 30 more, and these are returned.
    """
    hidden, dimension, samples, activation = shape
    _, whole, parameters, *_ = pack(hidden, dimension, samples, 17, 9, activation)
    smooth(whole)
    layout = Layout(whole.layout.widths, len(rows))
    engine = Engine(layout, activation, samples, torch.empty(len(rows) * layout.parameters, dtype=DOUBLE))

    def put(slot: int, cell: int) -> None:
        chosen = layout.rows(engine.weights)
        chosen[slot] = parameters[cell]
        layout.fill(engine.weights, chosen)
        engine.points[slot], engine.values[slot] = whole.points[cell], whole.values[cell]

    for slot, cell in enumerate(rows):
        put(slot, 16 if slot == refill else cell)
        if cell < 0:
            engine.silence(slot)
    if poison is not None:
        layout.blocks(engine.weights)[-1][poison] = torch.nan
    state = optimizer.init(engine)
    early = torch.stack([iterate_once(optimizer, engine, state) for _ in range(5)])
    if poison is not None:
        layout.blocks(engine.weights)[0][poison] = 1e200
        engine.points[poison, 0, 0] = torch.nan
    if refill is not None:
        put(refill, rows[refill])
        optimizer.forget(engine, state, refill)
    late = torch.stack([iterate_once(optimizer, engine, state) for _ in range(25 if refill is None else 30)])
    return late if refill is not None else torch.cat([early, late]), layout.rows(engine.weights)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("optimizer", FAMILY, ids=lambda optimizer: type(optimizer).__name__)
def test_the_bits_of_a_slot_do_not_depend_on_the_others(optimizer: Optimizer, shape: tuple) -> None:
    everyone = list(range(17))
    losses, weights = race(optimizer, shape, everyone)
    assert torch.isfinite(weights).all()
    backwards = race(optimizer, shape, everyone[::-1])
    assert torch.equal(backwards[0].flip(1), losses) and torch.equal(backwards[1].flip(0), weights)
    few = race(optimizer, shape, [3, 11, 5, 0, 8, 2])
    assert torch.equal(few[1], weights[[3, 11, 5, 0, 8, 2]])
    for cell in (4, 13):
        alone = race(optimizer, shape, [cell, -1])
        assert torch.equal(alone[0][:, 0], losses[:, cell]) and torch.equal(alone[1][0], weights[cell])
    spoilt = race(optimizer, shape, everyone, poison=6)
    others = [cell for cell in everyone if cell != 6]
    assert torch.equal(spoilt[0][:, others], losses[:, others]) and torch.equal(spoilt[1][others], weights[others])
    assert not torch.isfinite(spoilt[0][-1, 6])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("optimizer", FAMILY, ids=lambda optimizer: type(optimizer).__name__)
def test_a_refilled_slot_is_as_good_as_new(optimizer: Optimizer, shape: tuple) -> None:
    late, late_weights = race(optimizer, shape, [0, 7, 2], refill=1)
    early, early_weights = race(optimizer, shape, [0, 7, 2])
    assert torch.equal(late[:, 1], early[:, 1]) and torch.equal(late_weights[1], early_weights[1])
