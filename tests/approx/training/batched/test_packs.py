"""Packs: of any size, saved and taken up again to the last bit; chains; what is kept; when cells stop."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.batched import monitor
from hpcsweep.approx.training.costs import costs
from hpcsweep.approx.training.operations.engine import Engine
from hpcsweep.approx.training.optimizers import cost_units
from hpcsweep.approx.training.optimizers.bfgs import QuasiNewton
from hpcsweep.approx.training.optimizers.optimizer import Number, Optimizer
from hpcsweep.approx.training.optimizers.registry import Registered
from hpcsweep.approx.training.record import checkpoints, judged
from hpcsweep.approx.training.settings import check
from hpcsweep.approx.training.single.methods import Method, Start
from hpcsweep.config import OptimizerConfig
from hpcsweep.errors import StudyError
from tests.approx.packs import Cells, equal, history

WAYS = ("batched",)

RATE = {"learning_rate": 1e-2}
METHODS = {
    "adam": {"steps": 150, **RATE},
    "minibatches": {"steps": 150, "batch": 7, **RATE},
    "momentum": {"name": "sgd", "steps": 150, "schedule": "cosine", **RATE},
    "muon": {"name": "muon", "steps": 100, **RATE},
    "soap": {"name": "soap", "steps": 100, **RATE},
    "lbfgs": {"name": "lbfgs", "steps": 60},
    "ssbroyden": {"name": "ssbroyden", "steps": 60},
    "levenberg_marquardt": {"name": "levenberg_marquardt", "steps": 40},
    "chain": {"name": "adam+ssbroyden", "steps": 60, **RATE},
    "largest error": {"name": "ssbroyden", "steps": 40, "loss": {"p": 8}},
    "gradient": {"name": "bfgs", "steps": 60, "gradient_tolerance": 1e-2},
}


RESIDUAL = ("adam", "minibatches", "soap", "lbfgs", "chain")
CASES = [("mlp", method) for method in METHODS] + [("residual", method) for method in RESIDUAL]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_packs_of_any_size_and_saved_ones_give_the_same_bits(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells with a tolerance that they reach at different steps, and some do not: in one pack, or three by three."""
    cells = Cells([6, 6], 2, 30, 7, name=name)
    free = cells.train(OptimizerConfig(**METHODS[method], keep="last"))
    chosen = OptimizerConfig(**METHODS[method], loss_tolerance=1.2 * float(np.median(free.loss)))
    monkeypatch.setattr(costs, "slots", lambda *_: 7)
    together, states = cells.train(chosen), []
    assert len(set(together.steps.tolist())) > 2, "all left together"
    monkeypatch.setattr(costs, "slots", lambda *_: 3)
    saving = cells.train(chosen, checkpoint=lambda state: states.append(pickle.dumps(state)), checkpoint_seconds=0.0)
    assert equal(together, saving, range(7))
    for place in (0, len(states) // 3, 2 * len(states) // 3, len(states) - 1):
        assert equal(together, cells.train(chosen, resume=pickle.loads(states[place])), range(7))
    order = [6, 1, 5, 0, 3, 2, 4]
    assert equal(together, cells.train(chosen, order), order)
    assert equal(together, cells.train(chosen, [4]), [4])


@pytest.mark.parametrize("seconds", [None, 1e3])
def test_a_state_is_saved_once_before_an_interruption(seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packs that have not begun are not in it, and begin when it is taken up; none is taken for one that ended."""
    monkeypatch.setattr(costs, "slots", lambda *_: 3)
    cells, chosen = Cells([7], 2, 30, 5), OptimizerConfig("ssbroyden", steps=80, seconds=seconds)
    states, asked = [], []
    stopped = cells.train(chosen, stop=lambda: bool(asked.append(0)) or len(asked) > 1, checkpoint=states.append)
    assert stopped.outcome == ["interrupted"] * 5 and 0 < stopped.steps[0] < 80 and stopped.steps[4] == 0
    assert stopped.message[4] == "Stopped at step 0 of 80." and torch.equal(stopped.parameters[4], cells.parameters[4])
    assert len(states) == 1 and len(states[0]["packs"]) == 2
    assert equal(cells.train(chosen), cells.train(chosen, resume=states[0]), range(5))


def test_a_chain_is_one_training_after_the_other() -> None:
    cells = Cells([7], 2, 30, 4)
    first = OptimizerConfig("adam", steps=50, keep="last", **RATE)
    second = OptimizerConfig("ssbroyden", steps=30, keep="last")
    chain = cells.train(OptimizerConfig("adam+ssbroyden", parts=(first, second)))
    alone = cells.train(first)
    cells.parameters = alone.parameters
    after = cells.train(second)
    assert torch.equal(chain.parameters, after.parameters) and np.array_equal(chain.loss, after.loss)
    assert chain.steps.tolist() == [80] * 4
    for cell in range(4):
        losses = dict(zip(*history(chain, cell), strict=True))
        assert list(losses) == checkpoints(80).tolist()
        assert losses[8] == alone.history_loss[cell][8]
        assert losses[80] == after.loss[cell] < alone.loss[cell]


def test_minibatches_go_on_through_a_chain() -> None:
    cells, plain = (
        Cells([7], 2, 30, 3),
        {"batch": 5, "options": {"momentum": 0.0, "nesterov": False}, "keep": "last", **RATE},
    )
    parts = OptimizerConfig("sgd", steps=37, **plain), OptimizerConfig("sgd", steps=43, **plain)
    chain, whole = (
        cells.train(OptimizerConfig("sgd+sgd", parts=parts)),
        cells.train(OptimizerConfig("sgd", steps=80, **plain)),
    )
    assert torch.equal(chain.parameters, whole.parameters)


def test_a_part_that_ends_early_hands_over() -> None:
    cells = Cells([7], 2, 30, 4)
    tolerance = float(np.median(cells.train(OptimizerConfig("adam", steps=60, keep="last", **RATE)).loss))
    first = OptimizerConfig("adam", steps=100, loss_tolerance=tolerance, **RATE)
    chain = cells.train(OptimizerConfig("adam+bfgs", parts=(first, OptimizerConfig("bfgs", steps=20))))
    ends = cells.train(first).steps
    assert (ends < 100).any() and chain.steps.tolist() == (ends + 20).tolist()
    assert chain.outcome == ["done"] * 4


def test_a_cell_that_diverges_in_a_part_has_diverged() -> None:
    cells = Cells([7], 2, 30, 3)
    cells.values[1, 2] = torch.nan
    chosen = OptimizerConfig(**METHODS["chain"])
    chain = cells.train(chosen)
    assert chain.outcome == ["done", "diverged", "done"] and chain.steps[1] == 0
    assert equal(chain, cells.train(chosen, [0, 2]), [0, 2])


@pytest.mark.parametrize("seconds", [None, 0.01])
def test_the_share_of_the_work_done_grows_to_the_end(seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "_REPORT", 0.0)
    monkeypatch.setattr(costs, "slots", lambda *_: 3)
    told: list[float] = []
    part = OptimizerConfig("sgd", steps=100 if seconds is None else 10**6, seconds=seconds, **RATE)
    Cells([7], 2, 30, 7).train(OptimizerConfig("sgd+sgd", parts=(part, part)), report=told.append)
    assert told == sorted(told) and len(told) > 20 and 0 <= told[0] < 0.2
    assert 0.8 < told[-1] <= 1


def test_parts_of_a_chain_by_default() -> None:
    chosen = OptimizerConfig("adam+ssbroyden", steps=70, **RATE)
    assert [(part.name, part.steps) for part in chosen.chain] == [("adam", 300), ("ssbroyden", 70)]
    assert [part.steps for part in OptimizerConfig("sgd+adam", steps=70).chain] == [70, 70]
    with pytest.raises(StudyError, match="must have the settings of adam, bfgs, in order"):
        OptimizerConfig("adam+bfgs", parts=(OptimizerConfig("adam"),))


def test_the_best_parameters_are_kept() -> None:
    cells, wild = Cells([7], 2, 30, 5), OptimizerConfig("adam", steps=200, learning_rate=0.3)
    best, last = cells.train(wild), cells.train(replace(wild, keep="last"))
    assert np.array_equal(best.history_loss, last.history_loss, equal_nan=True)
    least = np.nanmin(best.history_loss, axis=1)
    assert np.array_equal(best.loss, least) and (best.loss < last.loss).any()
    assert last.loss.tolist() == [history(last, cell)[1][-1] for cell in range(5)]
    for trained in (best, last):
        for cell in range(5):
            expected, _ = cells.loss(cell, trained.parameters[cell])
            assert trained.loss[cell] == pytest.approx(expected, rel=1e-12)


def test_with_minibatches_the_best_is_that_on_all_samples() -> None:
    cells = Cells([7], 2, 30, 6)
    wild = OptimizerConfig("adam", steps=200, batch=3, learning_rate=0.1)
    best, last = cells.train(wild), cells.train(replace(wild, keep="last"))
    looked = judged(200, 3, 30)
    assert len(looked) == 2 and set(looked) < set(checkpoints(200)) and looked[-1] < 200
    shorter = [cells.train(replace(wild, steps=int(steps), keep="last")).loss for steps in (*looked, 200)]
    np.testing.assert_array_equal(best.loss, np.min(shorter, axis=0))
    assert (best.loss < last.loss).any() and not (best.loss > last.loss).any()
    assert judged(2000, 100, 10_000).size == 2 and judged(10, 1, 1000).size == 0


def test_a_step_is_what_a_line_search_completes() -> None:
    cells, ticks = Cells([7], 2, 30, 6), []
    tick = QuasiNewton.tick
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QuasiNewton, "tick", lambda *given: ticks.append(1) or tick(*given))
        trained = cells.train(OptimizerConfig("bfgs", steps=40, keep="last"))
    assert trained.steps.tolist() == [40] * 6 and len(ticks) > 41
    for cell in range(6):
        steps, losses = history(trained, cell)
        assert steps.tolist() == checkpoints(40).tolist() and (np.diff(losses) <= 0).all()
    assert np.array_equal(cells.train(OptimizerConfig("bfgs", steps=7)).loss, trained.history_loss[:, 7])


def test_where_nothing_can_be_gained_a_cell_is_done() -> None:
    cells = Cells([7], 2, 30, 3)
    cells.parameters[1], cells.values[1] = 0, 0
    trained = cells.train(OptimizerConfig("bfgs", steps=30))
    assert trained.outcome == ["done"] * 3 and trained.steps[1] == 0 and trained.loss[1] == 0
    assert trained.message == ["", "No further progress was possible after step 0 of 30.", ""]


@final
@dataclass(frozen=True)
class Stubborn(Optimizer):
    """Evaluates and never moves."""

    ticks: ClassVar[list[int]] = []

    def cost(self, widths: cost_units.Widths, samples: int, steps: int) -> cost_units.StepCost:
        return cost_units.StepCost()

    def alone(self, start: Start) -> Method:
        raise AssertionError("it is trained in packs only")

    def init(self, engine: Engine) -> list:
        return []

    def tick(self, engine: Engine, state: list, numbers: Sequence[Number], rates: Tensor, loss: Tensor) -> Tensor:
        engine.descend(loss)
        self.ticks.append(1)
        return torch.zeros_like(loss, dtype=torch.bool)


def test_nothing_runs_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(optimizers.REGISTRY, "stubborn", Registered(Stubborn, {}))
    cells = Cells([7], 2, 30, 2)
    trained = cells.train(OptimizerConfig("stubborn", steps=10))
    assert trained.outcome == ["done"] * 2 and trained.steps.tolist() == [0, 0]
    assert len(Stubborn.ticks) == 301
    assert trained.message[0] == "Given up after 300 evaluations, at step 0 of 10."
    assert torch.equal(trained.parameters, cells.parameters)


def test_a_gradient_tolerance_stops_at_a_checkpoint() -> None:
    cells, chosen = Cells([7], 2, 30, 4), OptimizerConfig("bfgs", steps=150, gradient_tolerance=2e-2, keep="last")
    trained = cells.train([replace(chosen, gradient_tolerance=0.0), chosen, chosen, chosen])

    def slope(cell: int, parameters: Tensor) -> float:
        return float(cells.loss(cell, parameters)[1].abs().max())

    assert trained.steps[0] == 150
    for cell in (1, 2, 3):
        stop, first = int(trained.steps[cell]), slope(cell, cells.parameters[cell])
        assert trained.message[cell] == f"Within the gradient tolerance at step {stop}."
        assert 0 < stop < 150 and slope(cell, trained.parameters[cell]) <= 2e-2 * first
        earlier = int(checkpoints(150)[np.searchsorted(checkpoints(150), stop) - 1])
        before = cells.train(replace(chosen, steps=earlier, gradient_tolerance=0.0), [cell])
        assert slope(cell, before.parameters[0]) > 2e-2 * first


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"name": "bfgs", "batch": 5},
            "bfgs needs all samples in every step, not 5. Set this where it is named: optimizer",
        ),
        ({"name": "levenberg_marquardt", "loss": {"p": 4}}, "minimises only sums of squares"),
        ({"loss": {"p": 3}}, "an even number"),
        ({"loss": "mae"}, "an even number"),
        ({"keep": "first"}, "Allowed: best, last"),
        ({"batch": 5, "gradient_tolerance": 0.1}, "gradient_tolerance needs all samples"),
        ({"name": "adamm"}, "Did you mean 'adam'"),
        ({"schedule": "linear"}, "Allowed: constant, cosine, exponential"),
        ({"schedule": "exponential"}, "needs a positive"),
        ({"final_learning_rate": 1e-5}, "needs the schedule"),
    ],
)
def test_settings_refuse(wrong: dict, sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        check(OptimizerConfig(**wrong))
