"""What training and evaluation cost, before they are done: operations, bytes, slots, seconds.

A layer with `inputs` and `outputs` and n samples takes 2 n outputs (inputs + 1) operations forward, as many for the
gradient of its weights, and 2 n outputs inputs to hand the gradient down (not in the first layer); beside them stand
the activations and what the optimizer does (see `demands`). Seconds follow from rates measured once on the device.
`optimizer` is everywhere a name, or names joined by plus signs, one after another. `general`: 0 for a closed
form; else how many signals of a point autograd carries, 1 for a model of about as many operations as the perceptron
with those hidden widths (`models.hidden_like`), more for an equation. What autograd and vmap take beyond was measured
on residual networks of width 4 to 64, and holds within a factor of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from hpcsweep.approx.training.demands import Demand, Shape, stages
from hpcsweep.approx.training.device import Device, Products, probe

__all__ = [
    "Device",
    "Products",
    "bytes_per_cell",
    "evaluation_flops",
    "evaluation_seconds",
    "flops_per_step",
    "launches_per_step",
    "packs",
    "probe",
    "seconds",
    "slots",
    "threads",
    "traffic_per_step",
    "used_slots",
]

_CACHE = {"cpu": 2 << 20, "cuda": 48 << 20}  # bytes of a pack's working set: within the L2 of a core, of a GPU
_MOST_SLOTS = 4096
_ITEM = {"float64": 8, "float32": 4}  # bytes of a number
_BUFFERS = 7  # as large as the weights: those, gradient, rates; four more in the loop
_TOUCHED = 3  # of them in each step
_LOSS_LAUNCHES = 5
_LOOP_LAUNCHES = 3  # the Python of a step takes about as long as so many calls
_THREAD = 5_000_000  # operations of a step for each thread: with less they wait for each other
_PACK_LAUNCHES = 3000  # and to set up a pack and to write its history
_SUSTAINED = 1.25  # a pack's calls find less in the cache than those of a probe, which repeats one call
_GENERAL_LAUNCHES, _GENERAL_WORK, _GENERAL_SLOTS = 32, 2, 4  # times those of the closed form: vmap is many calls
_GENERAL_JACOBIAN = 25  # passes over the derivatives of all samples, one by one
_GENERAL_KEPT = 3  # times the activations: autograd keeps what the closed form overwrites
_BEND_LAUNCHES = {"relu": 2, "tanh": 2, "sin": 3, "gelu": 16, "silu": 12}  # of an activation, both ways


def _layers(hidden: Sequence[int], dimension: int) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of every layer."""
    return list(pairwise((dimension, *hidden, 1)))


def _demands(hidden: Sequence[int], dimension: int, samples: int, optimizer: str) -> Sequence[Demand]:
    blocks = tuple((outputs, inputs + 1) for inputs, outputs in _layers(hidden, dimension))
    return stages(optimizer, Shape(blocks, samples))


def flops_per_step(hidden: Sequence[int], dimension: int, samples: int, optimizer: str = "adam") -> int:
    """Return the floating-point operations in the matrix products of one step of one cell on `samples` samples.

    Of a chain those of its costliest part.
    """
    layers = _layers(hidden, dimension)
    forward = samples * sum(2 * outputs * (inputs + 1) for inputs, outputs in layers)
    both = 2 * forward + samples * sum(2 * outputs * inputs for inputs, outputs in layers[1:])
    parts = _demands(hidden, dimension, samples, optimizer)
    return round(max(one.ticks * (one.descents * both + one.forwards * forward + one.flops) for one in parts))


def evaluation_flops(hidden: Sequence[int], dimension: int) -> int:
    """Return the floating-point operations in the matrix products of one network at one point."""
    return sum(2 * outputs * (inputs + 1) for inputs, outputs in _layers(hidden, dimension))


def launches_per_step(
    hidden: Sequence[int], activation: str, minibatch: bool = False, optimizer: str = "adam", dimension: int = 1
) -> int:
    """Return the calls of compiled code in one evaluation of a pack; each costs time, however small it is.

    Of a chain those of its costliest part.
    """
    return round(max(_calls(hidden, activation, minibatch, one) for one in _demands(hidden, dimension, 1, optimizer)))


def _calls(hidden: Sequence[int], activation: str, minibatch: bool, demand: Demand, general: int = 0) -> float:
    bends = len(hidden) * _BEND_LAUNCHES[activation]
    descent = 3 * (len(hidden) + 1) - 1 + bends + _LOSS_LAUNCHES
    forward = len(hidden) + 1 + bends / 2 + 3
    passes = demand.descents * descent + demand.forwards * forward
    if general:
        passes = _GENERAL_LAUNCHES * (passes + demand.jacobians * descent)
    return passes + demand.launches + 2 * minibatch


def bytes_per_cell(
    hidden: Sequence[int],
    dimension: int,
    samples: int,
    batch: int | None = None,
    precision: str = "float64",
    optimizer: str = "adam",
    general: int = 0,
) -> int:
    """Return the memory of one slot: activations and their gradients, weights and the optimizer's state, samples.

    `samples` are all samples of the cell; `batch` as in `Settings`. Of a chain that of its largest part.
    """
    step = samples if batch is None else min(batch, samples)
    data = 2 * samples * (dimension + 1)  # as given, and as the loop keeps them
    block = 0 if step == samples else max(step, min(samples, 256))  # where the loss on all samples is summed up
    demands, weights = _demands(hidden, dimension, step, optimizer), _weights(hidden, dimension)
    kept = _activations(hidden, dimension, step + block)
    held = max(one.held for one in demands)
    if general:
        kept = _GENERAL_KEPT * general * kept + round(3 * step * weights * max(one.jacobians for one in demands))
    return _ITEM[precision] * (data + kept + _BUFFERS * weights + held)


def traffic_per_step(hidden: Sequence[int], dimension: int, samples: int, precision: str = "float64") -> int:
    """Return the bytes that one step of Adam reads and writes for one cell, if the cache keeps nothing between calls.

    Eleven times the activations of the hidden layers, the samples thrice, eighteen times the weights.
    """
    signals = 11 * sum(hidden) + 3 * (dimension + 2)
    return _ITEM[precision] * (samples * signals + 18 * _weights(hidden, dimension))


def _activations(hidden: Sequence[int], dimension: int, samples: int) -> int:
    return samples * (2 * sum(hidden) + len(hidden) + dimension + 4)


def _weights(hidden: Sequence[int], dimension: int) -> int:
    return sum(outputs * (inputs + 1) for inputs, outputs in _layers(hidden, dimension))


def slots(
    hidden: Sequence[int],
    dimension: int,
    samples: int,
    precision: str,
    device: str,
    optimizer: str = "adam",
    general: int = 0,
) -> int:
    """Return how many cells train together: a function of shape, precision, kind of device and optimizer only.

    As many as fit into the cache with what one step touches, at least 2: one slot rounds differently. More would be up
    to twice slower on a CPU. An optimizer of many calls gains more from company and may reach beyond the cache (see
    `demands`). Of a chain the part that wants the fewest decides. `samples` are those of one step; `device` is "cpu"
    or "cuda".
    """
    network = _activations(hidden, dimension, samples) + _TOUCHED * _weights(hidden, dimension)
    further = _GENERAL_SLOTS if general else 1
    fitting = further * min(
        one.reach * _CACHE[device] / (_ITEM[precision] * (network + one.touched))
        for one in _demands(hidden, dimension, samples, optimizer)
    )
    return max(2, min(_MOST_SLOTS, int(fitting)))


def threads(hidden: Sequence[int], dimension: int, samples: int, cells: int, available: int) -> int:
    """Return how many threads a rank that owns `available` cores should train a pack of so many cells with.

    As many as find enough to do in the products of one step of the pack (measured: `scripts/bench_threads.py`), which
    sees `samples` samples of each.
    """
    return max(1, min(available, cells * flops_per_step(hidden, dimension, samples) // _THREAD))


def packs(cells: int, most: int, device: str) -> list[tuple[int, int]]:
    """Cut `cells` into ranges (start, stop) of at most `most`: of nearly equal lengths on a CPU, full ones on a GPU."""
    count = -(-cells // most)
    bounds = [cells * pack // count if device == "cpu" else pack * most for pack in range(count)] + [cells]
    return list(pairwise(bounds))


def used_slots(cells: int, most: int, device: str) -> int:
    """Return the slots of a pack of `cells`: on a GPU always `most`, since kernels, and so bits, may depend on it."""
    return max(2, cells) if device == "cpu" else most


def seconds(
    hidden: Sequence[int],
    dimension: int,
    samples: int,
    steps: int,
    device: Device,
    cells: int = 1,
    activation: str = "tanh",
    batch: int | None = None,
    optimizer: str = "adam",
    general: int = 0,
) -> float:
    """Predict the seconds of `train` for `cells` cells of one shape.

    A chain counts as if each part did `steps` steps, in proportion: the mean of its parts.
    """
    step = samples if batch is None else min(batch, samples)
    most = slots(hidden, dimension, step, device.precision, device.kind, optimizer, general)
    parts = _demands(hidden, dimension, step, optimizer)
    total = 0.0
    for start, stop in packs(cells, most, device.kind):
        used = used_slots(stop - start, most, device.kind)
        for one in parts:
            calls = _calls(hidden, activation, step < samples, one, general) + one.around + _LOOP_LAUNCHES
            slot = _slot_seconds(hidden, dimension, step, device, activation, one, general)
            if step < samples:
                slot += step * (device.draw + 2 * (dimension + 1) * device.element)
            # A GPU computes while the next calls are prepared.
            calling, work = calls * device.launch, used * slot
            pack = calling + work if device.kind == "cpu" else max(calling, work)
            total += min(steps, one.most_steps) * one.ticks / len(parts) * pack
        total += _PACK_LAUNCHES * device.launch
    return _SUSTAINED * total


def _slot_seconds(
    hidden: Sequence[int], dimension: int, samples: int, device: Device, activation: str, demand: Demand, general: int
) -> float:
    layers, values = _layers(hidden, dimension), samples * sum(hidden)
    value, both = device.activations[activation]
    forward = sum(_product(device.wide, outputs, inputs + 1, samples) for inputs, outputs in layers)
    slopes = sum(_product(device.deep, outputs, samples, inputs + 1) for inputs, outputs in layers)
    down = sum(_product(device.wide, inputs, outputs, samples) for inputs, outputs in layers[1:])
    descent = forward + slopes + down + values * both + 4 * samples * device.element
    evaluation = forward + values * value + 2 * samples * device.element
    passes = demand.descents * descent + demand.forwards * evaluation
    if general:
        numbers = demand.jacobians * samples * _weights(hidden, dimension)
        passes = _GENERAL_WORK * general * passes + _GENERAL_JACOBIAN * numbers * device.element
    return (
        passes
        + demand.updates * device.update
        + demand.passes * device.element
        + demand.cubes / device.wide.flops
        + sum(count * _product(device.wide, *sides) for *sides, count in demand.products)
    )


def _product(rates: Products, rows: int, inner: int, columns: int) -> float:
    """Return the seconds of one product (rows, inner) x (inner, columns), between the arithmetic and the traffic."""
    arithmetic = 2 * rows * inner * columns / rates.flops
    traffic = (rows * inner + inner * columns + rows * columns) * rates.element
    return rates.item + math.hypot(arithmetic, traffic)


def evaluation_seconds(
    hidden: Sequence[int], dimension: int, points: int, device: Device, activation: str = "tanh", tile: int = 4096
) -> float:
    """Predict the seconds of `Model.apply` for one network at `points` points, `tile` at a time."""
    layers = _layers(hidden, dimension)
    tiles = -(-points // tile)
    product = sum(_product(device.wide, outputs, inputs + 1, tile) for inputs, outputs in layers)
    copies = sum(outputs for _, outputs in layers) * tile * device.element  # of the biases
    bent = tile * sum(hidden) * device.activations[activation][0]
    return _SUSTAINED * tiles * (product + copies + bent + (2 * len(layers) + 1) * device.launch)
