"""What training and evaluation cost, before they are done: operations, bytes, seconds.

On a processor networks that the kernels know train alone: a step takes its evaluations (multiply-adds of the products
both ways, activations, a little for each parameter and block of samples) and what the method does, which it says itself
(`Method.cost`). Others train as batched programs of torch: that takes its calls, however many networks, and the
arithmetic of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hpcsweep.approx.training.costs.device import Device, probe
from hpcsweep.approx.training.optimizers.cost_units import StepCost
from hpcsweep.approx.training.settings import method_of
from hpcsweep.config import OptimizerConfig

__all__ = ["Device", "Perceptron", "packs", "probe", "slots", "used_slots"]

_ITEM = {"float64": 8, "float32": 4}  # bytes of a number
_BLOCK, _LANES = 128, 8  # samples that are in the work together; numbers of a vector
_FIXED_NETWORK = 600e-6  # seconds: to lay out the samples of a network, to write its history
_SUSTAINED = 1.12  # training finds less in the cache than a probe that repeats one call
_DRAWN, _POWER = 140.0, 620.0  # multiply-adds: of a sample drawn; of its term, and slope, in a loss of another power
_DERIVED = 0.9  # share of the cost of a value that a derivative carried beside it costs
_ROOM = {"cpu": 8 << 20, "cuda": 8 << 30}  # bytes of a batched pack
_MOST_SLOTS = 4096
_GENERAL_CALLS, _GENERAL_WORK = 32, 4  # times the calls and the memory of a closed form: vmap and autograd


@dataclass(frozen=True)
class Perceptron:
    """A perceptron that costs as much as a model.

    Attributes
    ----------
    widths : (inputs, hidden ..., 1)
    activation : its name
    channels : signals of a neuron at a point: 1, more for an equation
    general : whether the model is known as torch code only
    """

    widths: tuple[int, ...]
    activation: str = "tanh"
    channels: int = 1
    general: bool = False

    @property
    def parameters(self) -> int:
        """Number of parameters; as many multiply-adds evaluate it at a point."""
        return sum(outputs * (inputs + 1) for inputs, outputs in pairwise(self.widths))

    @property
    def neurons(self) -> int:
        """Hidden neurons."""
        return sum(self.widths[1:-1])

    @property
    def both_ways(self) -> int:
        """Multiply-adds of a sample, with the gradient; signals are not handed down into the first layer."""
        return 2 * self.parameters + sum(inputs * outputs for inputs, outputs in pairwise(self.widths[1:]))

    def _step_cost(self, settings: OptimizerConfig, samples: int) -> StepCost:
        """Return what one part of a chain asks for in a step that sees so many samples."""
        return method_of(settings).cost(self.widths, samples, settings.steps)

    def flops(self, samples: int, settings: OptimizerConfig | None = None) -> int:
        """Return the floating-point operations in the products of one step of a part of a chain, Adam by default."""
        cost = self._step_cost(settings or OptimizerConfig(), samples)
        passes = samples * (cost.evaluations * self.both_ways + cost.forwards * self.parameters)
        return round(2 * (self.channels * passes + cost.products))

    def evaluation_seconds(self, points: int, device: Device, slopes: bool = False) -> float:
        """Predict the seconds of an evaluation at some points, the gradient of the loss included or not."""
        products = self.both_ways if slopes else self.parameters
        bent = self.neurons * device.activations[self.activation][slopes]
        signals = 1 if self.channels == 1 else _DERIVED * self.channels
        blocks = -(-points // _BLOCK) if slopes else 0
        fixed = device.evaluation + blocks * self.parameters * device.parameter
        return fixed + -(-points // _LANES) * _LANES * signals * (products * device.fma + bent)

    def seconds(self, samples: int, settings: OptimizerConfig, device: Device) -> float:
        """Predict the seconds in which a network on a processor goes alone through one part of its chain."""
        step = settings.minibatch(samples) or samples
        cost = self._step_cost(settings, step)
        others = cost.products + cost.others + (_DRAWN * step if step < samples else 0)
        forwards = cost.forwards
        if settings.power != 2:
            others, forwards = others + _POWER * step, forwards + (step > _BLOCK)
        each = cost.evaluations * self.evaluation_seconds(step, device, slopes=True) + device.fma * others
        if forwards:
            each += forwards * self.evaluation_seconds(step, device)
        each += cost.calls_alone * device.launch
        return _FIXED_NETWORK + _SUSTAINED * min(settings.steps, cost.most_steps) * each

    def batched_seconds(self, samples: int, settings: OptimizerConfig, device: Device) -> tuple[float, float]:
        """Predict the seconds of one part of a chain as a batched program: of its calls, and of each network."""
        step = settings.minibatch(samples) or samples
        cost, work = self._step_cost(settings, step), 2 if self.general else 1
        calls = cost.evaluations * 9 * len(self.widths) * (_GENERAL_CALLS if self.general else 1) + cost.calls
        arithmetic = work * self.flops(step, settings) / 2 + cost.others
        steps = min(settings.steps, cost.most_steps)
        return steps * calls * device.launch, steps * arithmetic * device.fma

    def data_bytes(self, samples: int, precision: str) -> int:
        """Return the memory that a network takes as long as its pack is there: samples, parameters."""
        columns = self.widths[0] + 2 + (self.widths[0] + 1) * (self.channels > 1)
        return _ITEM[precision] * (2 * samples * columns + 4 * self.parameters)

    def work_bytes(self, samples: int, settings: OptimizerConfig, precision: str) -> int:
        """Return the memory that a network takes besides while it trains alone: its signals, what a method keeps."""
        step = settings.minibatch(samples) or samples
        cost = self._step_cost(settings, step)
        layers, widest = len(self.widths) - 1, max(self.widths)
        block = method_of(settings).block(self.parameters, step) or min(step, _BLOCK)
        room = (2 * layers + 2) * (widest + 1) * self.channels * block + 2 * step
        copies = samples * (self.widths[0] + 2)
        return _ITEM[precision] * (room + copies + cost.held + 6 * self.parameters)

    def slot_bytes(self, samples: int, settings: OptimizerConfig, precision: str) -> int:
        """Return the memory that each network of a batched program takes."""
        step = settings.minibatch(samples) or samples
        cost = self._step_cost(settings, step)
        signals = self.channels * step * (2 * self.neurons + len(self.widths) + self.widths[0] + 4)
        held = (_GENERAL_WORK if self.general else 1) * signals + cost.held + 8 * self.parameters
        return self.data_bytes(samples, precision) + _ITEM[precision] * held


def slots(slot_bytes: int, device: str) -> int:
    """Return how many networks make a batched program: no more than its room holds; `device` is "cpu" or "cuda".

    At least 2: one slot rounds differently.
    """
    return max(2, min(_MOST_SLOTS, _ROOM[device] // max(slot_bytes, 1)))


def packs(cells: int, most: int, device: str) -> list[tuple[int, int]]:
    """Cut `cells` into ranges (start, stop) of at most `most`: of nearly equal lengths on a CPU, full ones on a GPU."""
    count = -(-cells // most)
    bounds = [cells * pack // count if device == "cpu" else pack * most for pack in range(count)] + [cells]
    return list(pairwise(bounds))


def used_slots(cells: int, most: int, device: str) -> int:
    """Return the slots of a pack of `cells`: on a GPU always `most`, since kernels, and so bits, may depend on it."""
    return max(2, cells) if device == "cpu" else most
