"""Greedy layer-wise training: against the same trainings written out one by one; bits, outcomes, histories, budgets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx import models
from hpcsweep.approx.fitting import fit
from hpcsweep.approx.training import Trained, train
from hpcsweep.approx.training.strategies import layerwise
from hpcsweep.config import Cell, Objective, OptimizerConfig
from tests.approx import cells
from tests.approx.packs import equal

DOUBLE = torch.float64
QUICK = OptimizerConfig(steps=200, learning_rate=1e-2)


class Towers:
    """Some cells to train layer by layer, each on a domain of its own."""

    def __init__(self, hidden: tuple[int, ...] = (6, 5, 4), cells: int = 9, **choice: object) -> None:
        full = {"hidden": hidden, "standardise": True, **choice}
        self.models = [models.MLP(full, 2, [(0.0, 1.0 + cell % 3), (-1.0, 1.0)]) for cell in range(cells)]
        self.parameters = torch.cat([model.init([cell], DOUBLE) for cell, model in enumerate(self.models)])
        generator = torch.Generator().manual_seed(2)
        self.points = torch.rand(cells, 40, 2, generator=generator, dtype=DOUBLE)
        self.values = torch.sin(5 * self.points.sum(2))

    def train(self, chosen: OptimizerConfig, steps: int, rows: list[int] | None = None, **other: object) -> Trained:
        rows = list(range(len(self.models))) if rows is None else rows
        data = self.parameters[rows], self.points[rows], self.values[rows], [chosen] * len(rows), steps
        seeds = [7 * row for row in rows]
        return layerwise.train([self.models[row] for row in rows], *data, seeds, rows, **other)


def shallow(tower: models.MLP, inputs: int, width: int) -> models.MLP:
    return models.MLP({**tower.config, "hidden": [width], "standardise": False}, inputs, [(-1.0, 1.0)] * inputs)


def written_out(towers: Towers, cell: int, chosen: OptimizerConfig, steps: int) -> Tensor:
    """Train one tower (with three hidden layers of tanh) as a person would, and return its parameters."""
    tower, row = towers.models[cell], towers.parameters[cell].clone()
    first, second, third, last = tower.layers(row)
    seen, values = tower.standardised(towers.points[cell]), towers.values[cell][None]
    alone = replace(chosen, steps=steps)
    for number, layer in enumerate((first, second, third), 1):
        network = shallow(tower, seen.shape[1], len(layer))
        [start] = network.init([cell + (number << 64)], DOUBLE)
        network.layers(start)[0].copy_(layer)
        if number == 3:
            network.layers(start)[1].copy_(last)
        [learned] = train(network, start[None], seen[None], values, [alone], [7 * cell + number]).parameters
        layer.copy_(network.layers(learned)[0])
        if number == 3:
            last.copy_(network.layers(learned)[1])
        seen = torch.tanh(torch.addmm(layer[:, -1:], layer[:, :-1], seen.T)).T
    rest = replace(chosen, steps=chosen.steps - 3 * steps)
    return train(tower, row[None], towers.points[cell][None], values, [rest], [7 * cell]).parameters[0]


@pytest.mark.parametrize("chosen", [QUICK, OptimizerConfig(steps=200, learning_rate=1e-2, batch=10, keep="last")])
def test_it_is_what_a_person_would_do_by_hand(chosen: OptimizerConfig) -> None:
    towers = Towers()
    trained = towers.train(chosen, 40)
    assert trained.outcome == ["done"] * 9 and trained.steps.tolist() == [200] * 9
    for cell in (0, 4):
        assert torch.equal(trained.parameters[cell], written_out(towers, cell, chosen, 40))
        errors = towers.models[cell].apply(trained.parameters[cell], towers.points[cell]) - towers.values[cell]
        assert math.isclose(trained.mean_square[cell], float(errors.square().mean()), rel_tol=1e-10)


@pytest.mark.parametrize("optimizer", ["adam", "ssbroyden", "levenberg_marquardt"])
def test_bits_do_not_depend_on_the_companions(optimizer: str) -> None:
    towers, chosen = Towers(), OptimizerConfig(optimizer, steps=40, learning_rate=1e-2)
    everyone = towers.train(chosen, 8)
    for rows in ([4], [8, 0, 4], [3, 2]):
        assert equal(everyone, towers.train(chosen, 8, rows), rows)


def test_history_counts_on_through_the_layers() -> None:
    trained = Towers(cells=2).train(QUICK, 40)
    for steps, losses in zip(trained.history_step, trained.history_loss, strict=True):
        used = steps >= 0
        assert used.sum() <= 64 and steps[used][0] == 0 and steps[used][-1] == 200
        assert (np.diff(steps[used]) > 0).all() and np.isfinite(losses[used]).all()
        assert ((steps[used] > 40) & (steps[used] < 120)).sum() > 5


def test_a_cell_that_diverges_in_a_layer_ends_there_and_leaves_the_others_alone() -> None:
    towers = Towers()
    clean = towers.train(QUICK, 40)
    towers.values[2, 3] = math.nan
    spoilt = towers.train(QUICK, 40)
    assert spoilt.outcome[2] == "diverged" and spoilt.message[2].startswith("In hidden layer 1 alone: The loss was nan")
    others = [cell for cell in range(9) if cell != 2]
    assert equal(clean, spoilt, others, others)


def test_a_stop_interrupts_all() -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(0)
        return len(asked) > 3

    trained = Towers(cells=3).train(OptimizerConfig(steps=10**6, learning_rate=1e-3), 10, stop=stop)
    assert trained.outcome == ["interrupted"] * 3


def test_seconds_are_shared_in_proportion_to_the_steps() -> None:
    trained = Towers((4, 4), 2).train(OptimizerConfig(steps=10**7, learning_rate=1e-3, seconds=0.5), 25 * 10**5)
    assert trained.outcome == ["out of budget"] * 2
    assert 0.9 < trained.seconds.sum() < 1.7  # 2 cells with 0.5 s each


def test_a_problem_is_trained_so() -> None:
    def learner(layers: int) -> Cell:
        method = replace(QUICK, objective=Objective(layerwise=layers))
        return cells.cell({"name": "exp_cos"}, {"hidden": [5, 4]}, 50, method, dimension=2)

    [plain], [greedy] = fit([learner(0)]), fit([learner(30)])
    assert plain.steps == greedy.steps == 200 and plain.outcome == greedy.outcome == "done"
    assert plain.history_loss[0] != greedy.history_loss[0] and not np.array_equal(plain.parameters, greedy.parameters)
