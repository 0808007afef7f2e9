"""What becomes of cells: divergence, tolerances, budgets, interruptions, histories; wrong arguments and settings."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsweep.approx import models
from hpcsweep.approx.training import pack_key, train
from hpcsweep.approx.training.record import checkpoints
from hpcsweep.config import OptimizerConfig
from tests.approx.packs import Cells, equal, history, numpy_minibatches

WAYS = ("alone", "batched")


@pytest.mark.parametrize("batch", [None, 10])
def test_diverging_cells_do_not_touch_the_others(batch: int | None) -> None:
    cells = Cells([9, 5], 2, 25, 7)
    chosen = [OptimizerConfig(steps=120, batch=batch, learning_rate=1e-2)] * 7
    clean = cells.train(chosen)
    cells.values[3, 4] = torch.nan
    chosen[5] = replace(chosen[5], learning_rate=1e200)
    cells.points[6, 2, 1] = torch.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spoilt = cells.train(chosen)
    assert equal(clean, spoilt, [0, 1, 2, 4], [0, 1, 2, 4])
    assert [spoilt.outcome[i] for i in (3, 5, 6)] == ["diverged"] * 3
    assert torch.isfinite(spoilt.parameters).all()
    assert spoilt.steps[5] == 1 and torch.equal(spoilt.parameters[5], cells.parameters[5])
    assert spoilt.message[5] == "The loss was inf at step 1." and math.isfinite(spoilt.loss[5])
    assert np.isnan(spoilt.loss[3])
    if batch is None:
        assert spoilt.steps[3] == 0 and spoilt.message[3] == "The loss was nan at step 0."
    else:  # the first minibatch with the sample
        drawn = (numpy_minibatches(cells.seeds[3], 120, 10, 25) == 4).any(axis=1)
        assert spoilt.steps[3] == drawn.argmax() > 0
    assert equal(spoilt, cells.train(chosen, [3, 5]), [3, 5])


def test_a_sample_that_no_minibatch_has_drawn_may_spoil_the_final_loss() -> None:
    cells = Cells([5], 1, 1000, 2)
    drawn = numpy_minibatches(cells.seeds[1], 4, 5, 1000)
    unseen = next(sample for sample in range(1000) if sample not in drawn)
    cells.values[1, unseen] = torch.nan
    trained = cells.train(OptimizerConfig(steps=3, batch=5))
    assert trained.outcome == ["done", "diverged"] and np.isnan(trained.loss[1])
    assert trained.message == ["", "The loss on all samples was nan at step 3."]


def test_a_diverged_cell_keeps_its_best_checkpoint() -> None:
    cells = Cells([8], 1, 30, 2)
    chosen = OptimizerConfig(steps=400, learning_rate=1e-2, schedule="exponential", final_learning_rate=1e250)
    trained = cells.train(chosen)
    assert trained.outcome == ["diverged"] * 2
    for cell in range(2):
        steps, losses = history(trained, cell)
        assert steps[-1] == trained.steps[cell] and not np.isfinite(losses[-1])
        assert trained.loss[cell] == np.min(losses[:-1])
        assert trained.loss[cell] < losses[0]


@given(steps=st.integers(0, 300_000))
@settings(max_examples=100, deadline=None)
def test_checkpoints(steps: int) -> None:
    noted = checkpoints(steps)
    assert noted[0] == 0 and noted[-1] == steps and len(noted) <= 64
    assert (np.diff(noted) > 0).all()
    if steps <= 20:
        assert noted.tolist() == list(range(steps + 1))


def test_history() -> None:
    cells = Cells([8], 2, 30, 3)
    trained = cells.train(OptimizerConfig(steps=200))
    noted = checkpoints(200)
    for cell in range(3):
        assert trained.history_step[cell].tolist() == [*noted, *[-1] * (64 - len(noted))]
        assert np.isnan(trained.history_loss[cell][len(noted) :]).all()
        for place, parameters in ((0, cells.parameters[cell]), (len(noted) - 1, trained.parameters[cell])):
            assert trained.history_loss[cell][place] == pytest.approx(cells.loss(cell, parameters)[0], rel=1e-12)
        assert trained.loss[cell] == trained.history_loss[cell][len(noted) - 1]
    # A checkpoint is what a shorter training ends with.
    assert np.array_equal(cells.train(OptimizerConfig(steps=7)).loss, trained.history_loss[:, 7])


def test_loss_tolerance_stops_at_the_first_step_within_it() -> None:
    cells = Cells([12], 1, 30, 6)
    plain = [OptimizerConfig(steps=300, learning_rate=1e-2)] * 6
    free = cells.train(plain)
    assert 101 not in checkpoints(300)  # where everything is looked at anyway
    tolerance = float(cells.train(replace(plain[0], steps=101)).loss[[2, 4]].max())
    tolerant = [replace(plain[0], loss_tolerance=tolerance if cell in (2, 4) else 0.0) for cell in range(6)]
    trained = cells.train(tolerant)
    assert equal(free, trained, [0, 1, 3, 5], [0, 1, 3, 5])
    for cell in (2, 4):
        stop = int(trained.steps[cell])
        assert 0 < stop < 300 and trained.outcome[cell] == "done"
        assert trained.message[cell] == f"Within the loss tolerance at step {stop}."
        shorter = cells.train(replace(plain[0], steps=stop), [cell])
        assert torch.equal(shorter.parameters[0], trained.parameters[cell])
        assert trained.loss[cell] == shorter.loss[0] <= tolerance
        assert cells.train(replace(plain[0], steps=stop - 1), [cell]).loss[0] > tolerance
        noted = trained.history_step[cell]
        assert noted.max() == stop and trained.history_loss[cell][noted.argmax()] == trained.loss[cell]
        assert equal(trained, cells.train(tolerant, [cell]), [cell])


def test_loss_tolerance_with_minibatches_means_all_samples() -> None:
    cells = Cells([12], 1, 30, 6)
    plain = OptimizerConfig(steps=500, batch=8, learning_rate=1e-2, keep="last")
    free = cells.train(plain)
    factors = [0.0, 1.2, 2.0, 3.0, 5.0, 10.0]  # of the final loss
    trained = cells.train([replace(plain, loss_tolerance=free.loss[i] * factor) for i, factor in enumerate(factors)])
    assert equal(free, trained, [0], [0])
    for cell in range(1, 6):
        stop = int(trained.steps[cell])
        assert 0 < stop < 500 and stop % 4 == 0  # 4 steps draw 30 samples
        assert trained.loss[cell] <= free.loss[cell] * factors[cell]
        assert torch.equal(cells.train(replace(plain, steps=stop), [cell]).parameters[0], trained.parameters[cell])


@pytest.mark.parametrize("name", ["adam", "soap", "ssbroyden", "levenberg_marquardt"])
def test_a_budget_of_seconds_ends_with_the_weights_of_that_step(name: str) -> None:
    cells, chosen = Cells([20, 20], 1, 200, 3), OptimizerConfig(name, steps=10**8, seconds=0.03, keep="last")
    trained = cells.train(chosen)
    assert trained.outcome == ["out of budget"] * 3 and trained.seconds.max() < 1
    for cell, stop in enumerate(trained.steps.tolist()):
        assert 0 < stop < 10**6 and trained.message[cell] == f"Stopped at step {stop} of 100000000."
        shorter = cells.train(replace(chosen, steps=stop, seconds=None), [cell])
        assert torch.equal(shorter.parameters[0], trained.parameters[cell]) and shorter.loss[0] == trained.loss[cell]


def test_report() -> None:
    told: list[float] = []
    cells = Cells([64, 64], 2, 100, 11)
    trained = cells.train(OptimizerConfig(steps=10**6, seconds=0.05), report=told.append)
    assert told == sorted(told) and told[0] >= 0 and told[-1] <= 1
    assert 1 <= len(told) <= 2 + 4 * trained.seconds.sum()


def test_no_steps() -> None:
    cells = Cells([4], 1, 10, 2)
    trained = cells.train(OptimizerConfig(steps=0))
    assert trained.outcome == ["done"] * 2 and torch.equal(trained.parameters, cells.parameters)
    assert trained.history_step[:, :2].tolist() == [[0, -1]] * 2


@pytest.mark.parametrize("batch", [None, 6])
def test_float32_stays_float32(batch: int | None) -> None:
    cells = Cells([8], 2, 30, 3, "relu", standardise=True)
    double = cells.train(OptimizerConfig(steps=20, batch=batch))
    cells.parameters = cells.parameters.float()
    single = cells.train(OptimizerConfig(steps=20, batch=batch))
    assert single.parameters.dtype == torch.float32
    torch.testing.assert_close(single.parameters.double(), double.parameters, rtol=1e-3, atol=1e-5)
    assert single.loss.dtype == np.float64


def test_a_batch_of_all_samples_is_the_full_batch() -> None:
    cells = Cells([5], 1, 20, 2)
    assert equal(cells.train(OptimizerConfig(steps=30)), cells.train(OptimizerConfig(steps=30, batch=20)), [0, 1])


@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_a_model_per_cell_has_its_own_domain(name: str) -> None:
    cells, choice = Cells([5, 5], 1, 20, 3, name=name), {"name": name, "hidden": [5, 5], "standardise": True}
    made = [models.make(choice, 1, [(-1.0, 2.0 + cell)]) for cell in range(3)]
    data = cells.parameters, cells.points, cells.values, [OptimizerConfig(steps=30)] * 3, cells.seeds
    trained = train(made, *data)
    for cell in range(3):
        alone = train(made[cell], *(part[cell : cell + 1] for part in data))
        assert equal(alone, trained, [0], [cell])


def test_arguments_that_do_not_fit() -> None:
    cells = Cells([5], 1, 20, 2)
    chosen = [OptimizerConfig(steps=3)] * 2
    good = [cells.model, cells.parameters, cells.points, cells.values, chosen, cells.seeds]
    spoilt = {
        1: cells.parameters[:, 1:],
        2: cells.points[:, 1:],
        3: cells.values[:1],
        4: [chosen[0], replace(chosen[0], steps=4)],
        5: [1],
        0: [cells.model, models.MLP({"hidden": [5], "activation": "sin"}, 1, [(0.0, 1.0)])],
    }
    for place, wrong in spoilt.items():
        with pytest.raises(ValueError, match=r"must|fit|needs|may differ"):
            train(*(wrong if i == place else one for i, one in enumerate(good)))  # type: ignore[arg-type]


def test_pack_key() -> None:
    model = models.resolve({"hidden": [5]})
    base = OptimizerConfig(steps=10, batch=50)

    def key(chosen: OptimizerConfig = base, samples: int = 20, precision: str = "float64", **other: object) -> tuple:
        return pack_key(replace(model, **other), 2, samples, chosen, precision)

    assert hash(key()) == hash(key())
    for same in (
        key(replace(base, learning_rate=0.1, loss_tolerance=0.1)),
        key(replace(base, batch=None)),
        key(initialisation="he"),
    ):
        assert same == key()
    for other in (
        key(replace(base, steps=11)),
        key(replace(base, batch=5)),
        key(replace(base, schedule="cosine")),
        key(replace(base, seconds=1.0)),
        key(samples=30),
        key(precision="float32"),
        key(hidden=(5, 5)),
        key(activation="sin"),
    ):
        assert other != key()
