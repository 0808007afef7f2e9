"""Training: minibatches against naive numpy, and the bits of a cell whatever its companions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hpcsweep.approx import models
from hpcsweep.approx.training import streams
from hpcsweep.config import OptimizerConfig
from tests.approx.packs import Cells, equal, history, numpy_minibatches

WAYS = ("alone", "batched")

COSINE = {"schedule": "cosine", "final_learning_rate": 1e-4}


def test_minibatches_against_naive_numpy() -> None:
    """One hidden layer of tanh, Adam as in the paper's Algorithm 1, every sum written out."""
    steps, batch, rate = 100, 7, 3e-3
    cells = Cells([6], 2, 50, 3)
    trained = cells.train(OptimizerConfig(steps=steps, batch=batch, learning_rate=rate))
    for cell in range(3):
        theta = cells.parameters[cell].numpy().copy()
        points, values = cells.points[cell].numpy(), cells.values[cell].numpy()
        first, second, losses = np.zeros_like(theta), np.zeros_like(theta), []
        for step, rows in enumerate(numpy_minibatches(cells.seeds[cell], steps, batch, 50)):
            inner, outer = theta[:18].reshape(6, 3), theta[18:]
            hidden = np.tanh(points[rows] @ inner[:, :2].T + inner[:, 2])  # (batch, 6)
            residual = hidden @ outer[:6] + outer[6] - values[rows]
            losses.append(np.mean(residual**2))
            delta = (residual[:, None] * outer[:6]) * (1 - hidden**2) * 2 / batch
            inner_slope = np.concatenate([delta.T @ points[rows], delta.sum(0)[:, None]], axis=1)
            slope = np.concatenate([inner_slope.ravel(), 2 / batch * hidden.T @ residual, [2 * residual.mean()]])
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            corrected = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            theta -= rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        np.testing.assert_allclose(trained.parameters[cell].numpy(), theta, rtol=1e-10, atol=1e-12)
        noted, expected = history(trained, cell)
        np.testing.assert_allclose(expected[:-1], np.array(losses)[noted[:-1]], rtol=1e-9)


def test_streams_are_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    numbers = streams.integers(torch.tensor([1234567]), 0, 4, 1 << 31)  # the state of the reference, not a seed
    assert numbers.tolist() == [[number >> 33 for number in published]]
    keys = streams.keys([0, 1, 2**63, 2**64 + 1, -1])
    assert keys[1] == keys[3] and len(keys.unique()) == 4
    together = streams.integers(keys, 0, 1000, 37)
    assert torch.equal(together[2:3, 300:400], streams.integers(keys[2:3], 300, 100, 37))
    assert together.min() == 0 and together.max() == 36
    counts = torch.bincount(streams.integers(keys[:1], 0, 37_000, 37)[0]).double()
    assert ((counts - 1000).square() / 1000).sum() < 80  # chi-squared of 36 degrees of freedom: 36 +- 8.5


@pytest.mark.parametrize("batch", [None, 10, 1])
@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_bits_do_not_depend_on_companions(activation: str, batch: int | None) -> None:
    cells = Cells([17, 5], 3, 37, 17, activation)
    schedule = COSINE if activation == "tanh" else {}
    rates = (1e-2, 3e-3, 1e-2)
    chosen = [OptimizerConfig(steps=150, batch=batch, learning_rate=rates[cell % 3], **schedule) for cell in range(17)]
    together = cells.train(chosen)
    order = np.random.default_rng(0).permutation(17)
    assert equal(together, cells.train(chosen, order), order)
    for rows in ([11], [0], [16, 3], [5, 4, 3, 2, 1, 0]):
        assert equal(together, cells.train(chosen, rows), rows)


def test_bits_of_a_single_cell_with_a_single_sample() -> None:
    """Where a product of one slot rounds differently from a product of two."""
    cells = Cells([40, 40], 2, 1, 3)
    together = cells.train(OptimizerConfig(steps=20))
    for cell in range(3):
        assert equal(together, cells.train(OptimizerConfig(steps=20), [cell]), [cell])
