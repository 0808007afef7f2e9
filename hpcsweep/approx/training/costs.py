"""What training and evaluation cost, before they are done: operations, bytes, slots, seconds.

A layer with `inputs` and `outputs` and n samples takes 2 n outputs (inputs + 1) operations forward, as many for the
gradient of its weights, and 2 n outputs inputs to hand the gradient down (not in the first layer); beside them stand
the activations and the optimizer's passes over the weights. Seconds follow from rates measured once on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from hpcsweep.approx.training.device import Device, Products, probe

__all__ = [
    "Device",
    "bytes_per_cell",
    "evaluation_flops",
    "evaluation_seconds",
    "flops_per_step",
    "launches_per_step",
    "packs",
    "probe",
    "seconds",
    "slots",
    "used_slots",
]

_CACHE = {"cpu": 3 << 19, "cuda": 48 << 20}  # bytes of a pack's working set: within the L2 of a core, of a GPU
_MOST_SLOTS = 4096
_ITEM = {"float64": 8, "float32": 4}  # bytes of a number
_BUFFERS = 10  # as large as the weights: those, gradient, rates, Adam's moments and scratch; four more in the loop
_TOUCHED = 6  # of them in each step
_LOSS_LAUNCHES = 5
_ADAM_LAUNCHES = 7
_LOOP_LAUNCHES = 3  # the Python of a step takes about as long as so many calls
_PACK_LAUNCHES = 3000  # and to set up a pack and to write its history
_SUSTAINED = 1.25  # a pack's calls find less in the cache than those of a probe, which repeats one call
_BEND_LAUNCHES = {"relu": 2, "tanh": 2, "sin": 3, "gelu": 16, "silu": 12}  # of an activation, both ways


def _layers(hidden: Sequence[int], dimension: int) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of every layer."""
    return list(pairwise((dimension, *hidden, 1)))


def flops_per_step(hidden: Sequence[int], dimension: int, samples: int) -> int:
    """Return the floating-point operations in the matrix products of one step of one cell on `samples` samples."""
    layers = _layers(hidden, dimension)
    twice = sum(4 * outputs * (inputs + 1) for inputs, outputs in layers)
    return samples * (twice + sum(2 * outputs * inputs for inputs, outputs in layers[1:]))


def evaluation_flops(hidden: Sequence[int], dimension: int) -> int:
    """Return the floating-point operations in the matrix products of one network at one point."""
    return sum(2 * outputs * (inputs + 1) for inputs, outputs in _layers(hidden, dimension))


def launches_per_step(hidden: Sequence[int], activation: str, minibatch: bool = False) -> int:
    """Return the calls of compiled code in one step of a pack; each costs time, however small it is."""
    products = 3 * (len(hidden) + 1) - 1
    bends = len(hidden) * _BEND_LAUNCHES[activation]
    return products + bends + _LOSS_LAUNCHES + _ADAM_LAUNCHES + 2 * minibatch


def bytes_per_cell(
    hidden: Sequence[int], dimension: int, samples: int, batch: int | None = None, precision: str = "float64"
) -> int:
    """Return the memory of one slot: activations and their gradients, weights and the optimizer's state, samples.

    `samples` are all samples of the cell; `batch` as in `Settings`.
    """
    step = samples if batch is None else min(batch, samples)
    data = 2 * samples * (dimension + 1)  # as given, and as the loop keeps them
    block = 0 if step == samples else max(step, min(samples, 256))  # where the loss on all samples is summed up
    return _ITEM[precision] * (
        data + _activations(hidden, dimension, step + block) + _BUFFERS * _weights(hidden, dimension)
    )


def _activations(hidden: Sequence[int], dimension: int, samples: int) -> int:
    return samples * (2 * sum(hidden) + len(hidden) + dimension + 4)


def _weights(hidden: Sequence[int], dimension: int) -> int:
    return sum(outputs * (inputs + 1) for inputs, outputs in _layers(hidden, dimension))


def slots(hidden: Sequence[int], dimension: int, samples: int, precision: str, device: str) -> int:
    """Return how many cells train together: a function of shape, precision and kind of device ("cpu" or "cuda") only.

    As many as fit into the cache with what one step touches, at least 2: one slot rounds differently. More would be up
    to twice slower on a CPU. `samples` are those of one step.
    """
    touched = _activations(hidden, dimension, samples) + _TOUCHED * _weights(hidden, dimension)
    return max(2, min(_MOST_SLOTS, _CACHE[device] // (_ITEM[precision] * touched)))


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
) -> float:
    """Predict the seconds of `train` for `cells` cells of one shape, for Adam."""
    step = samples if batch is None else min(batch, samples)
    most = slots(hidden, dimension, step, device.precision, device.kind)
    launches = launches_per_step(hidden, activation, step < samples) + _LOOP_LAUNCHES
    slot = _slot_seconds(hidden, dimension, step, device, activation)
    if step < samples:
        slot += step * (device.draw + 2 * (dimension + 1) * device.element)
    total = 0.0
    for start, stop in packs(cells, most, device.kind):
        calls, work = launches * device.launch, used_slots(stop - start, most, device.kind) * slot
        # A GPU computes while the next calls are prepared.
        step_seconds = calls + work if device.kind == "cpu" else max(calls, work)
        total += steps * step_seconds + _PACK_LAUNCHES * device.launch
    return _SUSTAINED * total


def _slot_seconds(hidden: Sequence[int], dimension: int, samples: int, device: Device, activation: str) -> float:
    layers = _layers(hidden, dimension)
    forward = sum(_product(device.wide, outputs, inputs + 1, samples) for inputs, outputs in layers)
    slopes = sum(_product(device.deep, outputs, samples, inputs + 1) for inputs, outputs in layers)
    down = sum(_product(device.wide, inputs, outputs, samples) for inputs, outputs in layers[1:])
    bent = samples * sum(hidden) * device.activations[activation][1]
    return forward + slopes + down + bent + 4 * samples * device.element + _weights(hidden, dimension) * device.update


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
