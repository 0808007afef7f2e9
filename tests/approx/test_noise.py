"""Noise in the values at the samples: from the stream of the data, the same for all that are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpcsweep.approx.fitting import fit
from hpcsweep.approx.training_data import TrainingData, data_of
from hpcsweep.config import Cell
from hpcsweep.sampling import noise
from tests.study.test_study import GRID, cells, study

HERE = Path(".")


def learned(cell: Cell) -> TrainingData:
    data = data_of(cell, None, HERE)
    assert isinstance(data, TrainingData)
    return data


def test_values_have_the_noise_of_their_replicate_times_the_level() -> None:
    grid = GRID.replace("[10]", "[10, 40]") + "noise = [0.0, 0.5, 2.0]\nreplicate = 2"
    made = {(cell.samples, cell.optimizer.get("noise", 0.0), cell.replicate): cell for cell in cells(study(grid))}
    for replicate in (0, 1):
        exact, low, high = (learned(made[40, level, replicate]) for level in (0.0, 0.5, 2.0))
        assert all(np.array_equal(exact.places, data.places) for data in (low, high))
        deviates = (low.values - exact.values) / 0.5
        assert np.allclose(deviates, (high.values - exact.values) / 2.0, atol=1e-12) and np.ptp(deviates) > 2
        assert np.array_equal(learned(made[10, 0.5, replicate]).values, low.values[:10])  # nested
        # What is evaluated again after training is the target, which has no noise.
        assert np.array_equal(low.witness[1], exact.witness[1])
    first, second = (learned(made[40, 0.5, replicate]).values for replicate in (0, 1))
    assert not np.isclose(first, second).any()


def test_noise_is_standard_normal_and_independent_of_the_places() -> None:
    deviates = noise(5, 100_000)
    assert abs(deviates.mean()) < 0.01 and abs(deviates.std() - 1) < 0.01
    assert abs(np.mean(np.abs(deviates) < 1.96) - 0.95) < 0.003
    [cell] = cells(study(GRID.replace("[10]", "[4000]") + "noise = 1.0"))
    [exact] = cells(study(GRID.replace("[10]", "[4000]")))
    data = learned(cell)
    assert abs(np.corrcoef(data.places[:, 0], data.values - learned(exact).values)[0, 1]) < 0.05


def test_points_that_decide_about_stages_have_noise_of_their_own() -> None:
    grid = GRID + "stages = 2\nnoise = [0.0, 1.0]"
    exact, noisy = (learned(cell) for cell in cells(study(grid)))
    assert exact.held_out is not None and noisy.held_out is not None
    deviates = noisy.held_out[1] - exact.held_out[1]
    assert len(deviates) and deviates.std() > 0.1
    assert not np.isclose(deviates[:10], (noisy.values - exact.values)[: len(deviates[:10])]).any()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("optimizer", ["adam", "adam+bfgs", "levenberg_marquardt"])
def test_networks_learn_noisy_values(optimizer: str) -> None:
    grid = GRID.replace("[10]", "[200]") + f'optimizer = ["{optimizer}"]\nnoise = [0.0, 0.1]\nwidth = 4'
    exact, noisy = (
        fit([cell])[0] for cell in cells(study(grid, sections="[training]\nsteps = 300\nlearning_rate = 0.01"))
    )
    assert exact.outcome == noisy.outcome == "done"
    expected = np.hypot(exact.train_rmse, 0.1)  # as far as four neurons can follow the noise
    assert 0.8 * expected < noisy.train_rmse < 1.1 * expected


def test_an_interpolant_takes_up_the_noise() -> None:
    grid = GRID.replace("[10]", "[50]") + 'model = ["simplex"]\noptimizer = ["direct"]\nnoise = [0.0, 1.0]'
    exact, noisy = (fit([cell])[0] for cell in cells(study(grid)))
    assert exact.train_rmse < 1e-12 and noisy.train_rmse < 1e-12
    assert exact.parameters is not None and noisy.parameters is not None
    assert np.abs(noisy.parameters - exact.parameters).max() > 0.5
