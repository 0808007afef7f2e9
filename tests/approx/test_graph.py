"""Recorded ticks: each does the same operations on the same storages with the same scalars, and doing the recorded
operations again gives the bits of ordinary steps. On a CPU, operation by operation; on a GPU the graph itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from hpcsweep.approx.training import losses, optimizers
from hpcsweep.approx.training.engine import Engine, Layout
from hpcsweep.approx.training.graph import Replay, Replayable, cuda_graph, possible

DOUBLE = torch.float64
NAMES = ("sgd", "adam", "adamw", "muon", "soap")
WIDTHS, SAMPLES, SLOTS = (2, 7, 5, 1), 20, 3


class Recorder(TorchDispatchMode):
    """Writes down the operations that are done, with their arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple, dict, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    def described(self) -> list[tuple]:
        """Return names, scalars, and tensors by their storage, shape and strides.

        A storage that was there before is named by its address, one that is made on the way by its number.
        """
        names: dict[int, object] = {}

        def one(thing: object, made: bool) -> object:
            if not isinstance(thing, Tensor):
                return thing
            place = thing.untyped_storage().data_ptr()
            name = names.setdefault(place, len(names) if made else f"at {place}")
            return name, tuple(thing.shape), thing.stride(), thing.storage_offset()

        def each(tree: object, made: bool) -> str:
            return str(tree_map(lambda thing: one(thing, made), tree))

        return [
            (str(func), each(args, False), each(kwargs, False), each(result, True))
            for func, args, kwargs, result in self.operations
        ]

    def again(self) -> None:
        """Do the recorded operations once more; what they made is made anew."""
        anew: dict[int, Tensor] = {}
        for func, args, kwargs, result in self.operations:
            there = tree_map(lambda thing: anew.get(id(thing), thing), (args, kwargs))
            found = func(*there[0], **there[1])
            if isinstance(result, Tensor):
                anew[id(result)] = found
            elif isinstance(result, tuple | list):
                anew.update({id(old): new for old, new in zip(result, found, strict=True)})


class Recorders:
    """Records a tick in place of `cuda_graph`, and keeps the recorder."""

    def __init__(self) -> None:
        self.made: list[Recorder] = []

    def __call__(self, tick: Callable[[], None]) -> Callable[[], None]:
        recorder = Recorder()
        with recorder:
            tick()
        self.made.append(recorder)
        return recorder.again


class Race:
    """An optimizer on networks of its own, always the same ones."""

    def __init__(self, name: str, power: int = 2, device: str = "cpu") -> None:
        generator = torch.Generator().manual_seed(0)
        layout = Layout(WIDTHS, SLOTS)
        weights = torch.randn(SLOTS * layout.parameters, generator=generator, dtype=DOUBLE).to(device)
        self.engine = Engine(layout, "tanh", SAMPLES, weights, losses.make(power))
        points = torch.rand((SLOTS, SAMPLES, 2), generator=generator, dtype=DOUBLE)
        self.engine.feed(points, torch.sin(3 * points.sum(2)))
        self.optimizer = optimizers.make(name, {})
        self.state = self.optimizer.init(self.engine)
        self.rates, self.loss = torch.empty_like(weights), weights.new_empty(SLOTS)

    def before(self, count: int) -> None:
        """Another rate in every step; a slot begins anew at the 21st: from then on ages differ."""
        self.rates.fill_(1e-2 / (1 + count))
        if count == 21:
            self.optimizer.forget(self.engine, self.state, 1)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("power", [2, 8])
@pytest.mark.parametrize("name", NAMES)
def test_replayed_ticks_give_the_bits_of_ordinary_steps(name: str, power: int) -> None:
    plain, recorded, record = Race(name, power), Race(name, power), Recorders()
    replay = Replay(recorded.optimizer, recorded.engine, recorded.state, recorded.rates, record)
    for count in range(70):  # beyond a sweep of the moments at 64
        plain.before(count)
        recorded.before(count)
        plain.optimizer.step(plain.engine, plain.state, count, plain.rates, plain.loss)
        replay.step(count, recorded.loss)
        assert torch.equal(plain.loss, recorded.loss), count
        assert torch.equal(plain.engine.weights, recorded.engine.weights), count
    [one] = record.made
    assert len(one.operations) > 20


@contextmanager
def recorded_tick(race: Race, columns: list[Tensor], count: int) -> Iterator[Recorder]:
    """Record the tick of that count, with its numbers in these columns."""
    assert isinstance(race.optimizer, Replayable)
    race.before(count)
    assert race.optimizer.upkeep(race.engine, race.state, count)
    for column, numbers in zip(columns, race.optimizer.numbers(race.state, count), strict=True):
        column.copy_(torch.tensor(numbers, dtype=DOUBLE).view(-1, 1, 1))
    recorder = Recorder()
    with recorder:
        race.optimizer.tick(race.engine, race.state, columns, race.rates, race.loss)
    yield recorder


@pytest.mark.parametrize("name", NAMES)
def test_every_tick_is_the_same_operations_on_the_same_storages(name: str) -> None:
    race = Race(name)
    assert isinstance(race.optimizer, Replayable)
    columns = [torch.empty((SLOTS, 1, 1), dtype=DOUBLE) for _ in race.optimizer.numbers(race.state, 0)]
    told = []
    for count in (1, 2, 13, 21, 22, 64 if name != "soap" else 66):  # at 64 moments are swept
        if count == 21:  # from here on ages differ; SOAP turns the bases of the new one
            race.before(count)
            race.optimizer.step(race.engine, race.state, count, race.rates, race.loss)
            continue
        with recorded_tick(race, columns, count) as recorder:
            told.append(recorder.described())
    assert len(told) == 5
    assert all(one == told[0] for one in told[1:])


def test_the_comparison_has_teeth() -> None:
    """A step with its numbers as scalars is another one each time."""
    race, told = Race("adam"), []
    for count in (1, 2):
        recorder = Recorder()
        race.before(count)
        with recorder:
            race.optimizer.step(race.engine, race.state, count, race.rates, race.loss)
        told.append(recorder.described())
    assert told[0] != told[1]


def test_soap_turns_its_bases_in_ordinary_ticks() -> None:
    race = Race("soap")
    assert isinstance(race.optimizer, Replayable)
    replayable = [race.optimizer.upkeep(race.engine, race.state, count) for count in range(21)]
    assert [count for count, one in enumerate(replayable) if not one] == [0, 10, 20]


def test_only_closed_forms_on_a_gpu_are_recorded() -> None:
    assert not possible(Race("adam").optimizer, Race("adam").engine)
    assert not isinstance(optimizers.make("bfgs", {}), Replayable)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: CUDA graphs")
@pytest.mark.parametrize("name", NAMES)
def test_graphs_give_what_ordinary_steps_give(name: str) -> None:
    plain, recorded = Race(name, device="cuda"), Race(name, device="cuda")
    assert possible(recorded.optimizer, recorded.engine)
    replay = Replay(recorded.optimizer, recorded.engine, recorded.state, recorded.rates, cuda_graph)
    for count in range(30):
        plain.before(count)
        recorded.before(count)
        plain.optimizer.step(plain.engine, plain.state, count, plain.rates, plain.loss)
        replay.step(count, recorded.loss)
    torch.testing.assert_close(recorded.engine.weights, plain.engine.weights, rtol=1e-9, atol=1e-12)
