"""Recorded ticks: each does the same operations on the same storages with the same scalars, and doing the recorded
operations again gives the bits of ordinary steps. On a CPU, operation by operation; on a GPU the graph itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.batched.graph import Replay, Tick, cuda_graph, possible
from hpcsweep.approx.training.optimizers.optimizer import Number
from tests.approx.packs import DOUBLE, Cells, Race

NAMES = ("sgd", "adam", "adamw", "muon", "soap")


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


def prepared(name: str, power: int = 2, device: str = "cpu") -> Race:
    """Return an optimizer on networks of its own, always the same ones."""
    return Race(optimizers.make(name, {}), Cells([7, 5], 2, 20, 3), range(3), power=power, device=device)


def replayed(race: Race, record: Callable[[Tick], Tick]) -> Replay:
    return Replay(race.optimizer, race.engine, race.state, race.rates, record)


def compared(plain: Race, recorded: Race, replay: Replay, ticks: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Do the same steps in both ways, each at another rate; yield the losses and the weights."""
    loss, other = (torch.empty(3, dtype=DOUBLE, device=plain.rates.device) for _ in range(2))
    for count in range(ticks):
        plain.rates.fill_(1e-2 / (1 + count))
        recorded.rates.fill_(1e-2 / (1 + count))
        plain.optimizer.step(plain.engine, plain.state, count, plain.rates, loss)
        replay.step(count, other)
        yield loss, other
        yield plain.engine.weights, recorded.engine.weights


@pytest.mark.parametrize("power", [2, 8])
@pytest.mark.parametrize("name", NAMES)
def test_replayed_ticks_give_the_bits_of_ordinary_steps(name: str, power: int) -> None:
    plain, recorded, record = prepared(name, power), prepared(name, power), Recorders()
    pairs = compared(plain, recorded, replayed(recorded, record), 70)  # beyond a sweep of the moments at 64
    assert all(torch.equal(one, other) for one, other in pairs)
    [one] = record.made
    assert len(one.operations) > 20


def described(race: Race, count: int, numbers: Sequence[Number], loss: Tensor) -> list[tuple]:
    """Return the operations of a tick, as told by `Recorder.described`."""
    race.rates.fill_(1e-2 / (1 + count))
    with Recorder() as recorder:
        race.optimizer.tick(race.engine, race.state, numbers, race.rates, loss)
    return recorder.described()


@pytest.mark.parametrize("name", NAMES)
def test_every_tick_is_the_same_operations_on_the_same_storages(name: str) -> None:
    race, loss, told = prepared(name), torch.empty(3, dtype=DOUBLE), []
    numbers = [torch.empty((), dtype=DOUBLE) for _ in race.optimizer.numbers(0)]
    for count in (1, 2, 13, 64 if name != "soap" else 66):  # at 64 moments are swept
        assert race.optimizer.upkeep(race.engine, race.state, count)
        for kept, number in zip(numbers, race.optimizer.numbers(count), strict=True):
            kept.fill_(number)
        told.append(described(race, count, numbers, loss))
    assert all(one == told[0] for one in told[1:])


def test_the_comparison_has_teeth() -> None:
    """A tick with its numbers as scalars is another one each time."""
    race, loss = prepared("adam"), torch.empty(3, dtype=DOUBLE)
    one, other = (described(race, count, race.optimizer.numbers(count), loss) for count in (1, 2))
    assert one != other


def test_what_is_not_recorded() -> None:
    """Ticks in which SOAP turns its bases, whatever has a line search, anything on a CPU."""
    soap, searching = prepared("soap"), prepared("bfgs")
    turning = [count for count in range(21) if not soap.optimizer.upkeep(soap.engine, soap.state, count)]
    assert turning == [0, 10, 20]
    assert not searching.optimizer.upkeep(searching.engine, searching.state, 3)
    assert not possible(soap.engine)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: CUDA graphs")
@pytest.mark.parametrize("name", NAMES)
def test_graphs_give_what_ordinary_steps_give(name: str) -> None:
    plain, recorded = prepared(name, device="cuda"), prepared(name, device="cuda")
    assert possible(recorded.engine)
    for one, other in compared(plain, recorded, replayed(recorded, cuda_graph), 30):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)
