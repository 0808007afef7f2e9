"""The loop around a network that trains alone: its ends, as the batched engine tells them."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hpcsweep.approx.training import Trained, optimizers, train
from hpcsweep.approx.training.batched import pack
from hpcsweep.approx.training.single import network_training
from hpcsweep.approx.training.single.supervisor import Supervisor
from hpcsweep.config import OptimizerConfig
from tests.approx.kernels.cases import Case
from tests.approx.packs import Cells, equal

BATCHES = ("sgd", "adam", "adamw", "muon", "soap")


def both(cells: Cells, chosen: Any, **other: Any) -> tuple[Trained, Trained]:
    """Train alone and in the batched engine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflows
        return cells.train(chosen, **other), cells.train(chosen, batched=True, **other)


def assert_alike(found: Trained, expected: Trained, tolerance: float = 1e-6) -> None:
    """Check that two trainings have the same ends, and losses that differ by rounding."""
    assert found.outcome == expected.outcome and found.message == expected.message
    assert np.array_equal(found.steps, expected.steps) and np.array_equal(found.history_step, expected.history_step)
    for field in ("loss", "mean_square", "history_loss"):
        ours, theirs = getattr(found, field), getattr(expected, field)
        assert np.allclose(ours, theirs, rtol=tolerance, atol=1e-16, equal_nan=True), field
    assert found.parameters.dtype == expected.parameters.dtype
    assert torch.allclose(found.parameters, expected.parameters, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("name", optimizers.NAMES)
def test_few_steps(name: str, steps: int, dtype: Any) -> None:
    cells = Cells([6], 1, 30, 2)
    cells.parameters = cells.parameters.to(dtype)
    for keep in ("best", "last"):
        found, expected = both(cells, OptimizerConfig(name, steps=steps, keep=keep))
        if name in ("least_squares", "variable_projection") and dtype == torch.float32:  # on the verge of its digits
            assert found.steps.tolist() == expected.steps.tolist() and found.message == expected.message
        else:
            assert_alike(found, expected, 1e-6 if dtype == torch.float64 else 1e-3)


@pytest.mark.parametrize("batch", [None, 7])
@pytest.mark.parametrize("name", BATCHES)
def test_a_tolerance_that_is_met_at_the_start(name: str, batch: int | None) -> None:
    found, expected = both(Cells([6], 1, 30, 2), OptimizerConfig(name, batch=batch, loss_tolerance=1e9))
    assert_alike(found, expected)
    assert found.steps.tolist() == [0, 0] and found.message == ["Within the loss tolerance at step 0."] * 2


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_tolerances_end_both_at_the_same_step(name: str) -> None:
    cells = Cells([6], 1, 30, 3)
    history = cells.train(OptimizerConfig(name, steps=15)).history_loss[:, 1:16]
    tolerance = 1.01 * float(np.max(history[:, 0 if name == "least_squares" else 7]))
    assert_alike(*both(cells, OptimizerConfig(name, steps=15, loss_tolerance=tolerance, keep="last")))


@pytest.mark.parametrize("name", ["sgd", "adam", "bfgs", "lbfgs", "levenberg_marquardt", "variable_projection"])
def test_gradient_tolerances(name: str) -> None:
    for tolerance in (2.0, 0.5, 0.1):
        chosen = OptimizerConfig(name, steps=20, learning_rate=1e-2, gradient_tolerance=tolerance)
        assert_alike(*both(Cells([6], 1, 30, 3), chosen))


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("fields", [{}, {"loss_tolerance": 0.6}, {"loss": {"p": 8}}], ids=str)
def test_minibatches(name: str, keep: str, fields: dict[str, Any]) -> None:
    cells = Cells([6], 1, 30, 3)
    for batch in (1, 7, 29, 30, 100):
        assert_alike(*both(cells, OptimizerConfig(name, steps=60, batch=batch, keep=keep, **fields)))


@pytest.mark.parametrize("name", ["adam", "bfgs", "levenberg_marquardt"])
@pytest.mark.parametrize("kind", ["residual", "poisson"])
def test_other_models(kind: str, name: str) -> None:
    cases = [Case.of([6, 6], 2, samples, kind) for samples in (150, 150)]
    data = (torch.stack([getattr(case, field) for case in cases]) for field in ("parameters", "inputs", "values"))
    arguments = cases[0].model, *data, [OptimizerConfig(name, steps=5)] * 2, [1, 2]
    assert_alike(train(*arguments), train(*arguments, batched=True))


@pytest.mark.parametrize("name", optimizers.NAMES)
@pytest.mark.parametrize(("samples", "value"), [(1, None), (2, None), (20, 0.0), (20, 3.0)])
def test_hardly_any_samples_and_constant_values(name: str, samples: int, value: float | None) -> None:
    cells = Cells([4], 1, samples, 2)
    if value is not None:
        cells.values[:] = value
    found, expected = both(cells, OptimizerConfig(name, steps=6, learning_rate=1e-3))
    assert found.outcome == expected.outcome == ["done"] * 2
    assert np.allclose(found.loss, expected.loss, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [None, 8])
@pytest.mark.parametrize("name", BATCHES)
def test_divergence_is_seen_at_the_same_step(name: str, batch: int | None, dtype: Any) -> None:
    cells = Cells([6, 5], 1, 30, 5 if name == "sgd" else 3, "relu")
    cells.parameters = cells.parameters.to(dtype)
    rates = [1e-3, 1e160, 1e200] if dtype == torch.float64 else [1e-3, 1e25, 1e30]
    if name == "sgd":  # else squares of gradients overflow first: torch's Adam then stands still, ours says so
        rates += [1e12, 1e40] if dtype == torch.float64 else [1e2, 1e6]
    chosen = [OptimizerConfig(name, steps=40, batch=batch, learning_rate=rate) for rate in rates]
    found, expected = both(cells, chosen)
    assert found.outcome == expected.outcome and "diverged" in found.outcome and found.outcome[0] == "done"
    assert found.steps.tolist() == expected.steps.tolist() and torch.isfinite(found.parameters).all()
    ours, theirs = ([one.replace("nan", "inf") for one in told.message] for told in (found, expected))
    assert ours == theirs  # whether infinities meet depends on the order of sums


@pytest.mark.parametrize("name", optimizers.NAMES)
@pytest.mark.parametrize("loss", ["mse", {"p": 4}])
@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_a_sample_that_is_not_finite(name: str, loss: Any, spoilt: float) -> None:
    if loss != "mse" and optimizers.needs(name).squares:
        return
    cells = Cells([6], 1, 30, 2)
    cells.values[1, 5] = spoilt
    found, expected = both(cells, OptimizerConfig(name, steps=5, loss=loss))
    assert found.outcome == expected.outcome == ["done", "diverged"] and found.message == expected.message
    assert torch.equal(found.parameters[1], cells.parameters[1])


CHAINS: list[dict[str, Any]] = [
    {"name": "adam+bfgs", "steps": 12},
    {"name": "adam+bfgs", "steps": 12, "keep": "last"},
    {"name": "sgd+adam+lbfgs", "steps": 9, "loss_tolerance": 0.5},
    {"name": "adam+levenberg_marquardt", "steps": 5, "gradient_tolerance": 0.6},
    {"name": "muon+soap", "steps": 20, "batch": 11},
    {"name": "muon+soap", "steps": 20, "batch": 11, "keep": "last", "loss_tolerance": 0.7},
    {"name": "adam+ssbroyden", "steps": 0},
]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_chains(chain: dict[str, Any]) -> None:
    whole = OptimizerConfig(**chain, learning_rate=1e-2)
    parts = tuple(replace(part, steps=chain["steps"]) for part in whole.parts)
    assert_alike(*both(Cells([6, 5], 1, 30, 3), OptimizerConfig(**chain, learning_rate=1e-2, parts=parts)))


def test_a_divergence_ends_a_chain() -> None:
    parts = OptimizerConfig("sgd", steps=30, learning_rate=1e30), OptimizerConfig("bfgs", steps=30)
    assert_alike(*both(Cells([6], 1, 30, 2, "relu"), OptimizerConfig("sgd+bfgs", parts=parts)))


@pytest.mark.parametrize("name", ["adam", "bfgs", "levenberg_marquardt"])
def test_no_further_progress(name: str) -> None:
    cells = Cells([3], 1, 20, 2)
    cells.parameters.zero_()
    cells.values.zero_()
    assert_alike(*both(cells, OptimizerConfig(name, steps=60)))


def test_a_budget_of_a_part_hands_over() -> None:
    chosen = OptimizerConfig("sgd+adamw", steps=10**8, seconds=0.03)
    trained = Cells([6], 1, 30, 1).train(chosen)
    assert trained.outcome == ["out of budget"] and 0.06 <= trained.seconds[0] < 1.0


def test_seconds_are_a_network_s_own_through_all_interruptions() -> None:
    cells, chosen, states = Cells([20, 20], 1, 200, 2), OptimizerConfig(steps=3000), list[Any]()
    quick = replace(chosen, loss_tolerance=1e9)  # met at once
    trained = cells.train([quick, chosen])
    assert trained.steps.tolist() == [0, 3000] and 0 < trained.seconds[0] < trained.seconds[1]
    asked = iter(range(100))
    stopped = cells.train(chosen, [0], stop=lambda: next(asked) > 1, checkpoint=states.append)
    assert stopped.outcome == ["interrupted"] and stopped.seconds[0] > 0
    states[-1]["networks"][0]["record"]["seconds"][0] += 1000
    whole = cells.train(chosen, [0], resume=states[-1])
    assert whole.steps[0] == 3000 and 1000 + stopped.seconds[0] < whole.seconds[0] < 1060


def test_an_interruption_before_the_first_step() -> None:
    cells = Cells([6], 1, 30, 3)
    saved: list[Any] = []
    trained = cells.train(OptimizerConfig(steps=50), stop=lambda: True, checkpoint=saved.append)
    assert trained.outcome == ["interrupted"] * 3 and trained.steps.tolist() == [0] * 3
    assert trained.message == ["Stopped at step 0 of 50."] * 3 and torch.equal(trained.parameters, cells.parameters)
    for state in saved:
        assert equal(
            cells.train(OptimizerConfig(steps=50)), cells.train(OptimizerConfig(steps=50), resume=state), range(3)
        )


def test_an_interruption_of_what_has_just_been_taken_up_again_loses_nothing() -> None:
    cells, chosen, saved, asked = Cells([6], 1, 30, 3), OptimizerConfig(steps=10**6), [], []
    first = cells.train(chosen, stop=lambda: bool(asked.append(0)) or len(asked) > 4, checkpoint=saved.append)
    again = cells.train(chosen, stop=lambda: True, resume=saved[-1])
    assert first.steps[0] > 0 and equal(first, again, range(3))


@pytest.mark.parametrize(("hidden", "samples"), [([4], 10), ([40, 40], 3000)])
def test_stopping_comes_soon_whatever_a_step_takes(hidden: list[int], samples: int) -> None:
    cells, asked = Cells(hidden, 1, samples, 1), [time.perf_counter()]

    def stop() -> bool:
        asked.append(time.perf_counter())
        return asked[-1] - asked[0] > 0.4

    cells.train(OptimizerConfig(steps=10**9), stop=stop)
    assert max(np.diff(asked)) < 0.3 and time.perf_counter() - asked[-1] < 0.3


@pytest.mark.parametrize("name", ["bfgs", "lbfgs"])
def test_a_search_without_end_is_given_up_after_so_many_evaluations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (network_training, pack):
        monkeypatch.setattr(module, "patience", lambda steps: 30)
    found, expected = both(Cells([6], 1, 30, 2), OptimizerConfig(name, steps=500))
    assert_alike(found, expected)
    assert all(one.startswith("Given up after 30 evaluations, at step ") for one in found.message)


def test_a_mistake_in_one_network_is_raised() -> None:
    for count in (1, 2):
        torch.set_num_threads(count)
        supervisor, done = Supervisor(3, lambda: False, None, None, 1.0), []

        def job(number: int, done: list[int] = done) -> None:
            done.append(1 // number)

        with pytest.raises(ZeroDivisionError):
            supervisor.run([lambda number=number: job(number) for number in (1, 0, 1)], count)
        assert torch.get_num_threads() == count and 1 <= len(done) <= count


def test_a_mistake_stops_the_others_and_is_raised_at_once() -> None:
    supervisor, done = Supervisor(8, lambda: False, None, None, 1.0), []

    def job(number: int) -> None:
        if number == 0:
            raise ZeroDivisionError
        while not supervisor.verdict(0.0, None):
            time.sleep(0.01)
        done.append(number)

    with pytest.raises(ZeroDivisionError):
        supervisor.run([lambda number=number: job(number) for number in range(8)], 2)
    assert len(done) <= 4  # those that had begun before it was seen


@pytest.mark.parametrize("threads", [1, 2])
def test_what_has_ended_is_saved_when_others_are_stopped(threads: int) -> None:
    cells, states, looks = Cells([6], 1, 30, 12), [], []
    stop = lambda: bool(looks.append(0)) or len(looks) > 6  # noqa: E731
    torch.set_num_threads(threads)
    chosen = OptimizerConfig("bfgs", steps=40)
    found = cells.train(chosen, stop=stop, checkpoint=states.append, checkpoint_seconds=1e9)
    ended = [cell for cell, outcome in enumerate(found.outcome) if outcome == "done"]
    assert len(states) <= 1 and ("interrupted" not in found.outcome or set(ended) <= set(states[0]["networks"]))


def test_a_state_of_the_other_engine_begins_anew() -> None:
    cells, states, chosen = Cells([6], 1, 30, 2), [], OptimizerConfig(steps=60)
    cells.train(chosen, batched=True, checkpoint=states.append, checkpoint_seconds=0.0)
    assert equal(cells.train(chosen), cells.train(chosen, resume=states[-1]), [0, 1])
