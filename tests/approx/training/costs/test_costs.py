"""Costs: operations as torch counts them, bytes as they lie in memory, seconds as they pass."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hpcsweep.approx.kernels.problem import Shape
from hpcsweep.approx.models import ACTIVATIONS, MLP
from hpcsweep.approx.training import optimizers, train
from hpcsweep.approx.training.batched.samples import TrainingSet
from hpcsweep.approx.training.costs import costs
from hpcsweep.approx.training.single import network_training
from hpcsweep.approx.training.single.supervisor import Supervisor
from hpcsweep.config import OptimizerConfig

DOUBLE = torch.float64


@pytest.fixture(scope="module")
def device() -> costs.Device:
    return costs.probe()


def data(width: int, samples: int) -> tuple[MLP, torch.Tensor, torch.Tensor, torch.Tensor]:
    model = MLP({"hidden": [width, width]}, 2, [(-1.0, 1.0)] * 2)
    points = torch.rand(1, samples, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    return model, model.init([0], DOUBLE), points, torch.sin(9 * points.sum(-1))


@pytest.mark.parametrize("widths", [(2, 1), (1, 8, 1), (2, 16, 16, 1), (3, 5, 9, 4, 1)])
def test_flops_are_those_that_torch_counts(widths: tuple[int, ...]) -> None:
    model = MLP({"hidden": list(widths[1:-1])}, widths[0], [(-1.0, 1.0)] * widths[0])
    alike, parameters = costs.Perceptron(widths), model.init([0], DOUBLE)[0]
    with FlopCounterMode(display=False) as flops:
        model.apply(parameters, torch.rand(100, widths[0], dtype=DOUBLE))
    biases = sum(widths[1:])  # counted by us: they are added in the same pass
    assert alike.parameters == model.parameters
    assert flops.get_total_flops() == 200 * (alike.parameters - biases)
    down = sum(inputs * outputs for inputs, outputs in itertools.pairwise(widths[1:]))
    assert alike.flops(100) == 200 * (2 * alike.parameters + down)


def test_probe_is_quick_and_plausible(device: costs.Device) -> None:
    costs.probe(torch.float32)  # compiles
    begun = time.thread_time()
    assert costs.probe(torch.float32).precision == "float32"
    assert time.thread_time() - begun < 1  # 0.2
    assert (device.kind, device.precision) == ("cpu", "float64") and set(device.activations) == set(ACTIVATIONS)
    assert 1e-12 < device.fma < 1e-9 and 1e-7 < device.launch < 1e-4
    assert 0 < device.activations["relu"][1] < device.activations["tanh"][1] < 1e-7


def ratio(device: costs.Device, name: str, width: int, samples: int, batch: int | None, steps: int) -> float:
    """Return the best of three quotients of predicted and taken processor time: the machine may be busy."""
    model, *given = data(width, samples)
    settings, taken = OptimizerConfig(name, steps=steps, batch=batch), []
    for _ in range(3):
        begun = time.thread_time()
        train(model, *given, [settings], [0])
        taken.append(time.thread_time() - begun)
    return costs.Perceptron(model.widths).seconds(samples, settings, device) / min(taken)


@pytest.mark.parametrize(
    ("name", "width", "samples", "batch"),
    [
        *(("adam", 8, 100, None), ("adam", 64, 500, None), ("adam", 16, 400, 50), ("muon", 32, 100, None)),
        *(("soap", 32, 100, None), ("lbfgs", 32, 100, None), ("ssbroyden", 32, 100, None)),
        *(("levenberg_marquardt", 16, 100, None), ("levenberg_marquardt", 16, 400, None)),
    ],
)
def test_seconds_are_those_that_pass(
    device: costs.Device, name: str, width: int, samples: int, batch: int | None
) -> None:
    """Within a factor of 1.7; on a quiet machine within a fifth."""
    steps = 3000 if width < 32 and name == "adam" else 50 if "mar" in name else 300
    assert abs(math.log(ratio(device, name, width, samples, batch, steps))) < math.log(1.7)


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_bytes_are_those_that_a_network_holds(name: str) -> None:
    model, parameters, points, values = data(24, 200)
    settings = OptimizerConfig(name, steps=2)
    cells = TrainingSet(parameters, points, values, [settings], [0])
    shape = Shape(model.widths, ACTIVATIONS.index("tanh"))
    network = network_training.NetworkTraining(shape, cells, 0, Supervisor(1, lambda: False, None, None, 60))
    network._begin(settings)
    arrays = [*vars(network._problem).values(), *vars(network.state).values(), *vars(network._method).values()]
    held = sum({id(one): one.nbytes for one in arrays if isinstance(one, np.ndarray)}.values())
    predicted = costs.Perceptron(model.widths).work_bytes(200, settings, "float64")
    assert 0.8 * held < predicted and (predicted < 1.4 * held or name in ("variable_projection", "least_squares"))
    network.run()
    assert network._method is None and network._problem is None, "its memory is for the next one"


def settings_of(name: str, **chosen: int) -> OptimizerConfig:
    return OptimizerConfig(name, steps=5000, options=chosen)


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_costs_grow_with_the_network_its_samples_and_its_steps(device: costs.Device, name: str) -> None:
    def of(width: int = 16, samples: int = 500, steps: int = 5000, **changed: object) -> Iterator[float]:
        alike = dataclasses.replace(costs.Perceptron((2, width, width, 1)), **changed)
        settings = OptimizerConfig(name, steps=steps)
        yield alike.seconds(samples, settings, device)
        yield sum(alike.batched_seconds(samples, settings, device))
        yield alike.work_bytes(samples, settings, "float64") + alike.data_bytes(samples, "float64")
        yield alike.slot_bytes(samples, settings, "float64")

    for more in (of(width=40), of(samples=2000), of(channels=4)):
        assert all(larger > less for larger, less in zip(more, of(), strict=True))
    if name != "least_squares":
        assert next(of(steps=10_000)) == pytest.approx(2 * next(of()), rel=0.1)


def test_settings_of_a_method_belong_into_its_price(device: costs.Device) -> None:
    alike = costs.Perceptron((2, 16, 16, 1))
    few, many = (alike.seconds(50, settings_of("lbfgs", memory=memory), device) for memory in (10, 1000))
    assert many > 10 * few
    often, seldom = (alike.seconds(50, settings_of("soap", refresh=steps), device) for steps in (1, 100))
    assert often > 1.5 * seldom
    assert alike.seconds(50, OptimizerConfig(steps=9, loss={"p": 8}), device) > alike.seconds(
        50, OptimizerConfig(steps=9), device
    )


@pytest.mark.parametrize(("cells", "most"), [(1, 2), (7, 3), (64, 64), (65, 64), (500, 7)])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_batched_packs_cover_all_cells_once(cells: int, most: int, kind: str) -> None:
    ranges = costs.packs(cells, most, kind)
    assert [cell for begin, end in ranges for cell in range(begin, end)] == list(range(cells))
    sizes = [end - begin for begin, end in ranges]
    assert max(sizes) <= most and len(sizes) == math.ceil(cells / most)
    assert kind == "cuda" or max(sizes) - min(sizes) < 2
    assert all(costs.used_slots(size, most, kind) >= max(2, size) for size in sizes)
    assert costs.slots(1 << 30, kind) in (2, 8) and costs.slots(1, kind) == 4096
