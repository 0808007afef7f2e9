"""Bounds of ReLU networks by compiled loops, where `layers`, their specification, has torch code for any activation.

The formulas are the same, and the count of roundings holds for both, see `hpcsweep.approx.kernels.relu_networks`; the
bounds differ by roundings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpcsweep.approx.kernels.relu_networks import ReluNetwork
from hpcsweep.approx.supnorm.certificate.enclosure.layers import InputBoxes, Layers
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma


@dataclass(frozen=True, eq=False)
class Value:
    """What a network adds to an upper bound, in the unit coordinates of boxes.

    Attributes
    ----------
    value: (boxes,), roundings not included
    mass: (boxes,), what roundings are relative to
    slopes: (boxes, dimension)
    """

    value: Tensor
    mass: Tensor
    slopes: Tensor


def compiled(layers: Layers, full: bool) -> ReluNetwork | None:
    """Return the compiled network; None where torch code bounds it: no ReLU, no hidden layer, not on the CPU."""
    if layers.dense.activation != "relu" or not layers.hidden or layers.output.device.type != "cpu":
        return None
    weights, biases = zip(*([part.detach().numpy() for part in layer] for layer in layers.hidden), strict=True)
    return ReluNetwork(weights, biases, layers.output[0].detach().numpy(), float(layers.offset), full)


def values(network: ReluNetwork, layers: Layers, inputs: InputBoxes, sides: tuple[slice, slice]) -> list[Value]:
    """Return what bounds -network on the boxes of the first side, and the network on those of the second."""
    boxes = torch.stack([inputs.center, inputs.reach, inputs.radius]).numpy()
    rows = network.bounds(boxes, sides, (gamma(layers.roundings), gamma(4), TINY))
    return [Value(side[:, 0], side[:, 1], side[:, 2:]) for side in map(torch.from_numpy, rows)]
