"""Methods with a line search: against naive twins of one network, and to the last bit against themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.training.engine import Engine, Layout
from hpcsweep.approx.training.optimizers.bfgs import BFGS, SSBFGS, SSBroyden
from hpcsweep.approx.training.optimizers.lbfgs import LBFGS
from hpcsweep.approx.training.optimizers.optimizer import Optimizer
from hpcsweep.approx.training.state import leaves
from tests.approx.twins import broyden, dense_twin, limited_twin, scaled, unscaled

DOUBLE = torch.float64
METHODS = (BFGS(), SSBFGS(), SSBroyden(), LBFGS(), LBFGS(memory=3))
NAMES = ("bfgs", "ssbfgs", "ssbroyden", "lbfgs", "lbfgs of 3")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Bits are promised for one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Problem:
    """Networks to fit to a smooth function, and a plain loop over ticks."""

    def __init__(self, hidden: list[int], dimension: int, samples: int, networks: int) -> None:
        self.model = models.MLP({"hidden": hidden}, dimension, [(-1.0, 1.0)] * dimension)
        self.weights = self.model.init(range(7, 7 + networks), DOUBLE)
        generator = torch.Generator().manual_seed(samples)
        self.points = torch.rand(networks, samples, dimension, generator=generator, dtype=DOUBLE) * 2 - 1
        self.values = torch.cos(2 * self.points.sum(-1)) + self.points[..., 0]

    def engine(self, networks: Sequence[int], dtype: torch.dtype = DOUBLE) -> Engine:
        """Return an engine with those networks in its slots."""
        chosen = list(networks)
        layout = Layout(self.model.widths, len(chosen))
        engine = Engine(
            layout, "tanh", self.values.shape[1], torch.empty(layout.slots * layout.parameters, dtype=dtype)
        )
        layout.fill(engine.weights, self.weights[chosen].to(dtype))
        engine.feed(self.points[chosen].to(dtype), self.values[chosen].to(dtype))
        return engine

    def run(self, method: Optimizer, networks: Sequence[int], ticks: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (ticks, slots), which ticks brought an iterate (ticks, slots), and the last iterates."""
        engine = self.engine(networks)
        return run(method, engine, method.init(engine), ticks)

    def loss(self, network: int) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        """Return loss and gradient of one network by torch.autograd."""

        def value(weights: np.ndarray) -> tuple[float, np.ndarray]:
            leaf = torch.from_numpy(weights).requires_grad_()
            loss = (self.model.apply(leaf, self.points[network]) - self.values[network]).square().mean()
            return loss.item(), torch.autograd.grad(loss, leaf)[0].numpy()

        return value


def run(method: Optimizer, engine: Engine, state: object, ticks: int) -> tuple[Tensor, Tensor, Tensor]:
    losses = engine.weights.new_empty((ticks, engine.layout.slots))
    rates = torch.ones_like(engine.weights)
    advanced = torch.stack([method.step(engine, state, tick, rates, losses[tick]) for tick in range(ticks)])
    return losses, advanced, engine.layout.rows(method.iterate(engine, state))


@pytest.mark.parametrize(
    ("method", "family"), list(zip(METHODS, (unscaled, scaled, broyden, 50, 3), strict=True)), ids=NAMES
)
def test_first_iterates_are_those_of_a_naive_twin(method: Optimizer, family: Callable | int) -> None:
    problem = Problem([6], 2, 30, 4)
    losses, advanced, _ = problem.run(method, range(4), 60)
    for network in range(4):
        twin = limited_twin if isinstance(family, int) else dense_twin
        expected = twin(problem.loss(network), problem.weights[network].numpy(), 30, family)
        ticks = torch.cat([torch.tensor([0]), advanced[:, network].nonzero()[:, 0] + 1])[:30]
        found = losses[ticks, network].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("method", METHODS[:4], ids=NAMES[:4])
def test_as_good_as_scipy(method: Optimizer) -> None:
    problem = Problem([4], 1, 20, 3)
    _, _, weights = problem.run(method, range(3), 700)
    for network in range(3):
        function, start = problem.loss(network), problem.weights[network].numpy()
        reached = minimize(function, start, jac=True, method="BFGS").fun  # SciPy stops where components are < 1e-5
        assert function(weights[network].numpy())[0] <= 1.01 * reached


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_bits_do_not_depend_on_companions(method: Optimizer) -> None:
    problem = Problem([9, 5], 2, 37, 17)
    together = problem.run(method, range(17), 120)
    order = np.random.default_rng(0).permutation(17).tolist()
    for networks in (order, [11, 4], [16, 3, 0], [5, 4, 3, 2, 1, 0]):
        for part, whole in zip(problem.run(method, networks, 120), together, strict=True):
            axis = 0 if whole is together[2] else 1
            assert torch.equal(part, whole.index_select(axis, torch.tensor(networks)))


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_refilled_slot_has_the_bits_of_a_new_one(method: Optimizer) -> None:
    problem = Problem([9, 5], 2, 37, 7)
    expected, alone = problem.run(method, [6, 4], 100), problem.run(method, range(6), 150)
    engine = problem.engine(range(6))
    state = method.init(engine)
    run(method, engine, state, 50)
    for leaf in leaves(state):
        if isinstance(leaf, Tensor):  # whatever is left of the old cell, it must not matter
            leaf.select(leaf.shape.index(6), 2).fill_(math.nan if leaf.is_floating_point() else 1)
    rows = engine.layout.rows(engine.weights)
    rows[2] = problem.weights[6]
    engine.layout.fill(engine.weights, rows)
    engine.points[2], engine.values[2, 0] = problem.points[6].T, problem.values[6]
    method.forget(engine, state, 2)
    for leaf, new in zip(leaves(state), leaves(method.init(engine)), strict=True):
        if isinstance(leaf, Tensor):
            axis = leaf.shape.index(6)
            assert torch.equal(leaf.select(axis, 2), new.select(axis, 2))
    refilled = run(method, engine, state, 100)
    assert torch.equal(refilled[0][:, 2], expected[0][:, 0])
    assert torch.equal(refilled[2][2], expected[2][0])
    others = [0, 1, 3, 4, 5]
    assert torch.equal(refilled[0][:, others], alone[0][50:, others])


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e200])
@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_poisoned_slot_does_not_touch_the_others(method: Optimizer, poison: float) -> None:
    problem, others = Problem([7], 2, 20, 6), [0, 1, 3, 4, 5]
    clean = problem.run(method, range(6), 40)
    for spoilt in (problem.weights, problem.points, problem.values):
        kept = spoilt[2].clone()
        spoilt[2] = poison
        losses, advanced, weights = problem.run(method, range(6), 40)
        spoilt[2] = kept
        assert not losses[:, 2].isfinite().all() or poison == 1e200
        assert torch.equal(losses[:, others], clean[0][:, others])
        assert torch.equal(advanced[:, others], clean[1][:, others])
        assert torch.equal(weights[others], clean[2][others])


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_slot_poisoned_on_the_way_does_not_touch_the_others(method: Optimizer) -> None:
    problem, others = Problem([7], 2, 20, 6), [0, 1, 3, 4, 5]
    clean = problem.run(method, range(6), 90)
    engine = problem.engine(range(6))
    state = method.init(engine)
    run(method, engine, state, 30)
    engine.values[2] = math.nan
    run(method, engine, state, 30)
    state.walk.gradient[2] = state.walk.direction[2] = math.inf
    losses, _, weights = run(method, engine, state, 30)
    assert torch.equal(losses[:, others], clean[0][60:, others])
    assert torch.equal(weights[others], clean[2][others])


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_trial_that_is_not_finite_is_bracketed_away(method: Optimizer) -> None:
    problem = Problem([7], 2, 20, 3)
    engine = problem.engine(range(3))
    state = method.init(engine)
    before, *_ = run(method, engine, state, 30)
    engine.values[2] = math.nan
    during, advanced, _ = run(method, engine, state, 1)
    engine.values[2, 0] = problem.values[2]
    after, *_ = run(method, engine, state, 20)
    assert not advanced[:, 2].any() and not state.blank[2]  # nor has it forgotten anything
    assert during[0, 2] == after[0, 2] <= before[-1, 2]
    assert after[-1, 2] < 0.9 * after[0, 2]


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_settled_at_the_end(method: Optimizer) -> None:
    problem = Problem([], 1, 20, 4)  # a straight line: a quadratic, whose minimum is reached to the last bit
    problem.values[3] = 0
    problem.weights[3] = 0
    engine = problem.engine(range(4))
    state = method.init(engine)
    run(method, engine, state, 1)
    assert method.settled(engine, state).tolist() == [False, False, False, True]  # its gradient is zero
    run(method, engine, state, 300)
    assert method.settled(engine, state).all()
    losses, advanced, weights = run(method, engine, state, 10)
    assert not advanced.any() and torch.equal(losses, losses[:1].expand(10, 4))
    for network in range(4):
        design = torch.cat([problem.points[network], torch.ones(20, 1, dtype=DOUBLE)], 1)
        best = torch.linalg.lstsq(design, problem.values[network].unsqueeze(1), driver="gels").solution[:, 0]
        torch.testing.assert_close(weights[network], best, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_losses_are_those_of_the_iterates_and_fall(method: Optimizer) -> None:
    problem = Problem([7], 2, 20, 3)
    losses, advanced, _ = problem.run(method, range(3), 80)
    assert 1 < 80 * 3 / advanced.sum() < 1.6
    for network in range(3):
        for (before, after), moved in zip(pairwise(losses[:, network].tolist()), advanced[:, network], strict=False):
            assert after < before * (1 + 1e-9) if moved else after == before


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_float32_stays_float32_and_descends(method: Optimizer) -> None:
    engine = Problem([7], 2, 20, 3).engine(range(3), torch.float32)
    losses, _, weights = run(method, engine, method.init(engine), 200)
    assert weights.dtype == torch.float32
    assert (losses[-1] < 1e-3 * losses[0]).all()
