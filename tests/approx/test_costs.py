"""Costs: operations and calls as torch counts them, bytes as they lie in memory, seconds as they pass."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, bmm_flop

from hpcsweep.approx import models
from hpcsweep.approx.training import Settings, costs, demands, optimizers, train
from hpcsweep.approx.training.engine import Engine, Layout
from hpcsweep.approx.training.pack import Cells, Pack, Task
from hpcsweep.approx.training.record import Record

DOUBLE = torch.float64
SHAPES = [([], 2), ([8], 1), ([16, 16], 2), ([5, 9, 4], 3)]
VIEWS = ("slice", "split", "select", "view", "transpose", "unsqueeze", "expand", "detach", "as_strided", "t.default")


class Calls(TorchDispatchMode):
    """Counts the operations that compute something."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.count += not any(view in str(function) for view in VIEWS)
        return function(*args, **(kwargs or {}))


def start(hidden: list[int], dimension: int, samples: int, slots: int, batch: int | None, activation: str) -> Pack:
    model = models.MLP({"hidden": hidden, "activation": activation}, dimension, [(-1.0, 1.0)] * dimension)
    cells = Cells(
        model.init(range(slots), DOUBLE),
        torch.rand(slots, samples, dimension, dtype=DOUBLE),
        torch.rand(slots, samples, dtype=DOUBLE),
        [Settings(batch=batch)] * slots,
        range(slots),
    )
    record = Record.blank(cells.parameters)
    return Pack(Task(model, cells), slots, record, range(slots))


def storages(thing: object, seen: dict[int, int], depth: int = 0) -> dict[int, int]:
    """Return address -> bytes of all tensors that an object holds, however deep."""
    if isinstance(thing, Tensor):
        seen[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    elif depth < 8:
        inner: Iterable[object] = thing if isinstance(thing, list | tuple) else getattr(thing, "__dict__", {}).values()
        for one in inner:
            storages(one, seen, depth + 1)
    return seen


def counted(name: str, hidden: list[int], dimension: int, activation: str) -> tuple[float, float]:
    """Return operations per slot and calls of one step of three slots, the mean of ten steps."""
    layout = Layout((dimension, *hidden, 1), 3)
    engine = Engine(layout, activation, 20, torch.rand(3 * layout.parameters, dtype=DOUBLE))
    optimizer = optimizers.make(name, {})
    state, rates, loss = optimizer.init(engine), torch.full_like(engine.weights, 1e-3), torch.empty(3, dtype=DOUBLE)
    optimizer.step(engine, state, 0, rates, loss)
    inplace = {
        torch.ops.aten.baddbmm_: lambda _, left, right, **__: bmm_flop(left, right)
    }  # not among those that torch counts
    with FlopCounterMode(display=False, custom_mapping=inplace) as flops, Calls() as calls:
        for count in range(1, 11):
            optimizer.step(engine, state, count, rates, loss)
    return flops.get_total_flops() / 30, calls.count / 10


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
@pytest.mark.parametrize(("hidden", "dimension"), SHAPES)
def test_flops_and_launches_are_those_that_torch_counts(hidden: list[int], dimension: int, activation: str) -> None:
    flops, calls = counted("adam", hidden, dimension, activation)
    assert flops == costs.flops_per_step(hidden, dimension, 20)
    assert calls == costs.launches_per_step(hidden, activation)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon", "soap"])
@pytest.mark.parametrize(("hidden", "dimension"), SHAPES[1:])
def test_demands_are_those_that_torch_counts(hidden: list[int], dimension: int, name: str) -> None:
    flops, calls = counted(name, hidden, dimension, "tanh")
    assert flops == pytest.approx(costs.flops_per_step(hidden, dimension, 20, name), rel=0.01)
    assert calls == pytest.approx(costs.launches_per_step(hidden, "tanh", optimizer=name), rel=0.03)


def test_every_optimizer_has_its_demands() -> None:
    assert set(optimizers.NAMES) <= set(demands.NAMES)


@pytest.mark.parametrize("name", [*demands.NAMES, "adam+ssbroyden"])
def test_demands_grow_with_the_shape(name: str) -> None:
    device = costs.Device(
        "cpu",
        "float64",
        1.4e-6,
        costs.Products(8e10, 1.5e-10, 9e-8),
        costs.Products(8e10, 2e-10, 3e-8),
        {"tanh": (4e-9, 5e-9)},
        3.5e-10,
        6e-9,
        1e-8,
    )
    previous = (0.0, 0.0, 0.0)
    for width in (8, 32, 64):
        hidden = [width, width]
        figures = (
            costs.flops_per_step(hidden, 2, 300, name),
            costs.bytes_per_cell(hidden, 2, 300, optimizer=name),
            costs.seconds(hidden, 2, 300, 1000, device, 8, optimizer=name),
        )
        assert all(new > old for new, old in zip(figures, previous, strict=True))
        assert costs.slots(hidden, 2, 300, "float64", "cpu", name) >= 2
        previous = figures


def test_slots_of_second_order_methods() -> None:
    """What was fastest when measured: 16 at 321 parameters for BFGS, one to four for Levenberg-Marquardt."""
    assert 8 <= costs.slots([16, 16], 1, 200, "float64", "cpu", "bfgs") <= 24
    assert costs.slots([32, 32], 1, 200, "float64", "cpu", "ssbroyden") < 4
    assert costs.slots([8, 8], 1, 100, "float64", "cpu", "lbfgs") >= 64
    assert costs.slots([16, 16], 1, 200, "float64", "cpu", "levenberg_marquardt") <= 4
    chained = costs.slots([16, 16], 1, 200, "float64", "cpu", "adam+ssbroyden")
    assert chained == costs.slots([16, 16], 1, 200, "float64", "cpu", "adam")


def test_threads_are_as_many_as_find_enough_to_do() -> None:
    assert costs.threads([8, 8], 2, 100, 60, 8) == 1
    assert costs.threads([256, 256], 2, 1000, 2, 8) == 8
    assert costs.threads([256, 256], 2, 1000, 2, 1) == 1
    few, many = (costs.threads([32, 32], 2, 100, cells, 8) for cells in (16, 48))
    assert 1 < few < many < 8
    assert few == 16 * costs.flops_per_step([32, 32], 2, 100) // 5_000_000


@pytest.mark.parametrize(("hidden", "dimension"), SHAPES)
def test_evaluation_flops_are_those_that_torch_counts(hidden: list[int], dimension: int) -> None:
    model = models.MLP({"hidden": hidden}, dimension, [(-1.0, 1.0)] * dimension)
    with FlopCounterMode(display=False) as flops:
        model.apply(model.init([0], DOUBLE)[0], torch.rand(100, dimension, dtype=DOUBLE))
    biases = 2 * sum((*hidden, 1))  # counted by us: they are added in the same pass
    assert flops.get_total_flops() == 100 * (costs.evaluation_flops(hidden, dimension) - biases)


@pytest.mark.parametrize(
    ("hidden", "dimension", "samples", "batch"),
    [([64, 64], 2, 500, None), ([8], 1, 20_000, None), ([16, 16], 4, 5_000, 100), ([100, 100], 2, 10, None)],
)
def test_bytes_are_those_that_a_pack_holds(hidden: list[int], dimension: int, samples: int, batch: int | None) -> None:
    held = sum(storages(start(hidden, dimension, samples, 6, batch, "tanh"), {}).values()) / 6
    assert costs.bytes_per_cell(hidden, dimension, samples, batch) == pytest.approx(held, rel=0.15)
    half = costs.bytes_per_cell(hidden, dimension, samples, batch, "float32")
    assert 2 * half == costs.bytes_per_cell(hidden, dimension, samples, batch)


@settings(max_examples=100, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 300), max_size=5),
    dimension=st.integers(1, 10),
    samples=st.integers(1, 10_000),
    precision=st.sampled_from(["float64", "float32"]),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_slots_fit_into_the_cache(hidden: list[int], dimension: int, samples: int, precision: str, device: str) -> None:
    slots = costs.slots(hidden, dimension, samples, precision, device)
    cache = {"cpu": 2 << 20, "cuda": 50 << 20}[device]
    size = {"float64": 8, "float32": 4}[precision]
    parameters = models.count_parameters({"hidden": hidden}, dimension)
    least = size * (2 * samples * sum(hidden) + 6 * parameters)
    assert slots == 2 or slots * least <= cache
    assert slots >= 2
    assert slots <= costs.slots(hidden, dimension, max(1, samples // 2), precision, device)


@given(cells=st.integers(1, 500), most=st.integers(2, 64), device=st.sampled_from(["cpu", "cuda"]))
def test_packs_cover_all_cells_once(cells: int, most: int, device: str) -> None:
    ranges = costs.packs(cells, most, device)
    assert [cell for begin, end in ranges for cell in range(begin, end)] == list(range(cells))
    sizes = [end - begin for begin, end in ranges]
    assert max(sizes) <= most and len(sizes) == math.ceil(cells / most)
    if device == "cpu":
        assert max(sizes) - min(sizes) <= 1
    assert all(costs.used_slots(size, most, device) >= max(2, size) for size in sizes)


def test_probe_is_quick_and_plausible() -> None:
    begun = time.perf_counter()
    device = costs.probe()
    assert time.perf_counter() - begun < 3  # 0.15 on a quiet machine
    assert (device.kind, device.precision) == ("cpu", "float64")
    assert 1e-7 < device.launch < 1e-3
    assert 1e8 < device.deep.flops < 1e12 and 1e8 < device.wide.flops < 1e12
    assert device.activations["relu"][0] < device.activations["tanh"][0]
    assert costs.probe(torch.float32).precision == "float32"


@pytest.mark.parametrize(
    ("hidden", "samples", "batch"), [([16, 16], 100, None), ([64, 64], 500, None), ([32] * 6, 400, 50)]
)
def test_seconds_are_those_that_pass(hidden: list[int], samples: int, batch: int | None) -> None:
    """Within a factor of 3: the machine may be busy. On a quiet one the median error is 10 to 15 %."""
    torch.set_num_threads(1)
    step = batch or samples
    cells = costs.slots(hidden, 2, step, "float64", "cpu")
    model = models.MLP({"hidden": hidden}, 2, [(-1.0, 1.0)] * 2)
    data = model.init(range(cells), DOUBLE), torch.rand(cells, samples, 2), torch.rand(cells, samples)
    ratios = []
    for _ in range(3):
        steps = 300
        predicted = costs.seconds(hidden, 2, samples, steps, costs.probe(), cells, batch=batch)
        begun = time.process_time()
        train(model, *data, [Settings(steps=steps, batch=batch)] * cells, range(cells))
        ratios.append(abs(math.log(predicted / (time.process_time() - begun))))
    assert min(ratios) < math.log(3)


@pytest.mark.parametrize("name", ["muon", "soap", "lbfgs", "ssbroyden", "levenberg_marquardt"])
def test_seconds_of_optimizers_are_those_that_pass(name: str) -> None:
    """Within a factor of 3, as above; for the parts of a step that are not Adam's."""
    torch.set_num_threads(1)
    hidden, samples, steps = [16, 16], 100, 40
    cells = costs.slots(hidden, 2, samples, "float64", "cpu", name)
    model = models.MLP({"hidden": hidden}, 2, [(-1.0, 1.0)] * 2)
    points = torch.rand(cells, samples, 2, dtype=DOUBLE)
    data = model.init(range(cells), DOUBLE), points, torch.sin(9 * points.sum(-1))
    ratios = []
    for _ in range(3):
        predicted = costs.seconds(hidden, 2, samples, steps, costs.probe(), cells, optimizer=name)
        begun = time.process_time()
        train(model, *data, [Settings(optimizer=name, steps=steps)] * cells, range(cells))
        ratios.append(abs(math.log(predicted / (time.process_time() - begun))))
    assert min(ratios) < math.log(3)


def test_evaluation_seconds_are_those_that_pass() -> None:
    torch.set_num_threads(1)
    model = models.MLP({"hidden": [32, 32]}, 2, [(-1.0, 1.0)] * 2)
    parameters, points = model.init([0], DOUBLE)[0], torch.rand(4096, 2, dtype=DOUBLE)
    ratios = []
    for _ in range(3):
        predicted = costs.evaluation_seconds([32, 32], 2, 50 * 4096, costs.probe())
        begun = time.process_time()
        for _ in range(50):
            model.apply(parameters, points)
        ratios.append(abs(math.log(predicted / (time.process_time() - begun))))
    assert min(ratios) < math.log(3)


def test_seconds_grow_with_what_is_asked() -> None:
    device = costs.probe()
    base = costs.seconds([16, 16], 2, 100, 1000, device, 16)
    assert costs.seconds([16, 16], 2, 100, 2000, device, 16) == pytest.approx(2 * base, rel=0.1)
    for more in (
        costs.seconds([16, 16, 16], 2, 100, 1000, device, 16),
        costs.seconds([16, 16], 2, 200, 1000, device, 16),
        costs.seconds([16, 16], 2, 100, 1000, device, 20),
        costs.seconds([16, 16], 2, 100, 1000, device, 16, activation="gelu"),
        costs.seconds([16, 16], 2, 1000, 1000, device, 16, batch=100),
    ):
        assert more > base
    # Packed cells share the calls: sixteen cost far less than sixteen times one.
    assert base < 10 * costs.seconds([16, 16], 2, 100, 1000, device, 1)
