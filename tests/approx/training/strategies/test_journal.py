"""Procedures of several trainings, stopped anywhere and gone on with: the bits of one that nothing has stopped."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from hpcsweep.approx.fitting import Fitted, fit
from hpcsweep.approx.training import Trained
from hpcsweep.approx.training.batched import monitor
from hpcsweep.approx.training.loop import never
from hpcsweep.approx.training.single import network_training, supervisor
from hpcsweep.approx.training.strategies.journal import UNSAVED, Checkpoints, Journal
from hpcsweep.config import OptimizerConfig
from tests.approx.test_adaptive_sampling import learner
from tests.approx.training.strategies.test_layerwise import Towers
from tests.approx.training.strategies.test_stages import Fits, make

Stop = Callable[[], bool]
Procedure = Callable[[Stop, Checkpoints], Trained | list[Fitted]]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings look up as often as they can."""
    monkeypatch.setattr(supervisor, "_ASKS", 0.0)
    monkeypatch.setattr(monitor, "_PAUSE", 0.005)


def staged(stop: Stop, checkpoints: Checkpoints) -> Trained:
    settings = OptimizerConfig("adam+ssbroyden", steps=50, learning_rate=1e-2)
    return Fits(make(3, (6, 5)), cells=3).train(settings, stop=stop, checkpoints=checkpoints)


def in_layers(stop: Stop, checkpoints: Checkpoints) -> Trained:
    settings = OptimizerConfig(steps=600, learning_rate=1e-2, batch=15)
    return Towers((6, 5), cells=3).train(settings, 150, stop=stop, checkpoints=checkpoints)


def in_rounds(stop: Stop, checkpoints: Checkpoints) -> list[Fitted]:
    return fit([learner(seed, 2) for seed in range(3)], stop=stop, checkpoints=checkpoints)


PROCEDURES = {"stages": staged, "layerwise": in_layers, "resample": in_rounds}  # each of three trainings
KERNELS = ["alone", "batched"]


@pytest.fixture(params=[(name, kind) for name in PROCEDURES for kind in KERNELS], ids="-".join)
def procedure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Procedure:
    name, kind = request.param
    if kind == "batched":
        monkeypatch.setattr(network_training, "shape_of", lambda _: None)
    return PROCEDURES[name]


def values(result: Trained | list[Fitted]) -> list[Any]:
    """All of a result but its times, comparable to the bit."""
    parts = [vars(result)] if isinstance(result, Trained) else [vars(one) for one in result]
    kept = [part[field] for part in parts for field in part if field != "seconds"]
    return [_comparable(value) for value in kept]


def _comparable(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_comparable, value))
    return np.asarray(value).tobytes() if isinstance(value, np.ndarray | torch.Tensor) else value


def outcomes(result: Trained | list[Fitted]) -> Sequence[str]:
    return result.outcome if isinstance(result, Trained) else [one.outcome for one in result]


@pytest.mark.parametrize("name", ["stages", "layerwise"])
def test_seconds_are_those_of_all_parts_and_survive_an_interruption(name: str) -> None:
    saved: list[dict[str, Any]] = []
    whole = PROCEDURES[name](lambda: False, Checkpoints(saved.append, 0.0))
    state = next(one for one in copy.deepcopy(saved) if one["done"])
    first = state["done"][0].seconds
    assert isinstance(whole, Trained) and (whole.seconds > first).all() and (first > 0).all()
    first[:] = [1000, 2000, 3000]
    again = PROCEDURES[name](lambda: False, Checkpoints(saved.append, 0.0, state))
    assert isinstance(again, Trained) and ((again.seconds > first) & (again.seconds < first + 60)).all()


class SavedStates:
    """What was saved last, and all that was."""

    def __init__(self) -> None:
        self.states: list[bytes] = []
        self.kept: list[dict[str, Any]] = []

    def __call__(self, state: dict[str, Any]) -> None:
        self.states.append(pickle.dumps(state))
        self.kept.append(state)

    @property
    def last(self) -> Any:
        return pickle.loads(self.states[-1]) if self.states else None


class Calls:
    """Counts the trainings that journals really call, and those that have come to an end in one way or the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.over = 0, 0
        enter = Journal.enter

        def entered(journal: Journal, training: Callable[[Checkpoints], Any], told: Any) -> Any:
            result = enter(journal, lambda saved: self._count() or training(saved), told)
            self.over += 1
            return result

        monkeypatch.setattr(Journal, "enter", entered)

    def _count(self) -> None:
        self.begun += 1


def test_every_state_goes_on_to_the_same_bits(procedure: Procedure, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first training, in later ones, between them; pickled at once, or kept as it was handed over."""
    whole, checkpoints = values(procedure(never, UNSAVED)), SavedStates()
    assert values(procedure(never, Checkpoints(checkpoints, 0.0))) == whole
    calls = Calls(monkeypatch)
    found = [pickle.loads(state) for state in checkpoints.states]
    places = [(len(state["done"]), state["inner"] is None) for state in found]
    assert {(0, False), (1, True), (1, False), (2, True), (2, False), (3, True)} <= set(places)
    chosen = {places.index(place) for place in set(places)} | set(range(0, len(found), 1 + len(found) // 5))
    for number in sorted(chosen):
        state = checkpoints.kept[number] if number % 2 else found[number]
        calls.begun = 0
        assert values(procedure(never, Checkpoints(resume=state))) == whole
        assert calls.begun == 3 - len(state["done"])  # what is over is not done again


def test_stopped_again_and_again_it_comes_to_the_same_bits(
    procedure: Procedure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many looks, whatever the clock says: trainings look up after every evaluation."""
    monkeypatch.setattr(network_training, "_PAUSE", 0.0)
    monkeypatch.setattr(monitor, "_PAUSE", 0.0)
    whole, checkpoints, chance, stops = values(procedure(never, UNSAVED)), SavedStates(), random.Random(1), 0
    places = set()
    for _ in range(2000):
        asked, most = iter(range(10**9)), chance.choice((2, 5, 12, 30))
        result = procedure(
            lambda asked=asked, most=most: next(asked) >= most, Checkpoints(checkpoints, resume=checkpoints.last)
        )
        if "interrupted" not in outcomes(result):
            break
        stops += 1
        places.add((len(checkpoints.last["done"]), checkpoints.last["inner"] is None))
    assert values(result) == whole and stops > 2, stops
    assert {place[0] for place in places} == {0, 1, 2}


def test_a_stop_between_two_trainings_keeps_those_before(procedure: Procedure, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = values(procedure(never, UNSAVED)), Calls(monkeypatch)
    for wanted in (0, 1, 2):
        checkpoints, calls.over = SavedStates(), 0
        stopped = procedure(lambda wanted=wanted: calls.over >= wanted, Checkpoints(checkpoints, 60.0))
        assert set(outcomes(stopped)) == {"interrupted"} and len(checkpoints.states) == 1
        assert len(checkpoints.last["done"]) == wanted
        calls.begun = 0
        assert values(procedure(never, Checkpoints(checkpoints, resume=checkpoints.last))) == whole
        assert calls.begun == 3 - wanted and len(checkpoints.states) == 1  # nothing is saved before its time


def test_an_immediate_stop_takes_nothing_back(procedure: Procedure) -> None:
    """Of a state that somebody goes on from, and is stopped at once."""
    checkpoints = SavedStates()
    procedure(never, Checkpoints(checkpoints, 0.0))
    before = next(
        state for state in map(pickle.loads, checkpoints.states) if len(state["done"]) == 1 and state["inner"]
    )
    again = SavedStates()
    stopped = procedure(lambda: True, Checkpoints(again, resume=before))
    assert "interrupted" in outcomes(stopped)
    assert values(procedure(never, Checkpoints(resume=again.last))) == values(procedure(never, UNSAVED))
    assert len(again.last["done"]) == 1 and again.last["inner"]


def test_journals_within_journals() -> None:
    """A procedure of two `resample` trainings: the inner journal's states are kept in the outer one."""

    def both(stop: Stop, checkpoints: Checkpoints) -> list[Fitted]:
        journal, found = Journal(stop, checkpoints), []
        for seed in (1, 2):
            replicate = seed + int(found[-1].parameters[0] > 0) if found else seed
            cells = [learner(replicate, 1)]
            found += journal.enter(lambda saved, cells=cells: fit(cells, stop=stop, checkpoints=saved), outcomes)
        return found

    whole, checkpoints = values(both(never, UNSAVED)), SavedStates()
    both(never, Checkpoints(checkpoints, 0.0))
    deep = [state for state in map(pickle.loads, checkpoints.states) if state["inner"] and state["inner"]["done"]]
    assert {len(state["done"]) for state in deep} == {0, 1}
    for state in map(pickle.loads, checkpoints.states[:: 1 + len(checkpoints.states) // 8]):
        assert values(both(never, Checkpoints(resume=state))) == whole
