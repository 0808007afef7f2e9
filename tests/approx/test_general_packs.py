"""Packs of models without a closed form: refilled, shrunk, saved and taken up again; minibatches; many domains."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from hpcsweep.approx import models
from hpcsweep.approx.training import Settings, costs, train
from hpcsweep.errors import StudyError
from tests.approx.packs import DOUBLE, Cells, equal
from tests.approx.test_packs import stopping

METHODS = ("adam", "minibatches", "soap", "lbfgs", "levenberg_marquardt", "chain")


def residual(cells: int, samples: int = 20) -> Cells:
    """Return cells whose networks are residual ones."""
    made = Cells([5, 5], 2, samples, cells)
    made.model = models.make({"name": "residual", "hidden": [4, 4]}, 2, [(-1.0, 2.0)] * 2)
    made.parameters = made.model.init(range(100, 100 + cells), DOUBLE)
    return made


@pytest.mark.parametrize("method", METHODS)
def test_refilled_shrunk_and_saved_packs_give_the_same_bits(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = residual(6)
    chosen = stopping(cells, method)
    together = cells.train(chosen)
    assert len(set(together.steps.tolist())) > 2, "nothing was refilled between two ends"
    monkeypatch.setattr(costs, "slots", lambda *_: 3)
    states: list[bytes] = []
    saving = cells.train(chosen, checkpoint=lambda state: states.append(pickle.dumps(state)), checkpoint_seconds=0.0)
    assert equal(together, saving, range(6))
    assert equal(together, cells.train(chosen, resume=pickle.loads(states[len(states) // 2])), range(6))
    order = [5, 1, 0, 3]
    assert equal(together, cells.train(chosen, order), order)
    assert equal(together, cells.train(chosen, [4]), [4])


def test_a_training_is_that_of_the_closed_form() -> None:
    """A perceptron in disguise; few steps, because trainings are chaotic."""

    class Disguise(models.Model):
        dimension, parameters = 2, 13
        hidden = models.MLP({"hidden": [3]}, 2, [(-1.0, 2.0)] * 2)

        def init(self, seeds: range, dtype: torch.dtype) -> torch.Tensor:
            return self.hidden.init(seeds, dtype)

        def apply(self, parameters: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
            return self.hidden.apply(parameters, points)

    cells = Cells([3], 2, 20, 5)
    chosen = Settings(steps=60, batch=7, learning_rate=1e-2, schedule="cosine")
    closed = cells.train(chosen)
    cells.model = Disguise()
    general = cells.train(chosen)
    torch.testing.assert_close(general.parameters, closed.parameters, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(general.loss, closed.loss, rtol=1e-9)
    with pytest.raises(StudyError, match="'soap' needs the matrices of layers, which model 'Disguise'"):
        cells.train(Settings("soap", steps=3))


def test_a_diverging_cell_leaves_the_others_their_bits() -> None:
    cells, chosen = residual(5), Settings("adam+ssbroyden", steps=30)
    clean = cells.train(chosen)
    cells.values[2, 3] = torch.nan
    spoilt = cells.train(chosen)
    assert spoilt.outcome[2] == "diverged" and equal(clean, spoilt, [0, 1, 3, 4], [0, 1, 3, 4])


def test_cells_of_several_domains_share_a_pack() -> None:
    cells, choice = residual(4), {"name": "residual", "hidden": [4, 4], "standardise": True}
    each = [models.make(choice, 2, [(-1.0, 1.0 + cell)] * 2) for cell in range(4)]
    data, chosen = (cells.parameters, cells.points, cells.values), [Settings(steps=30)] * 4
    together = train(each, *data, chosen, range(4))
    alone = train(each[2], *(tensor[2:3] for tensor in data), chosen[:1], [2])
    assert equal(together, alone, [2])
    with pytest.raises(ValueError, match="equal shapes"):
        train([*each[:3], models.make({"hidden": [4]}, 2, [(0.0, 1.0)] * 2)], *data, chosen, range(4))
