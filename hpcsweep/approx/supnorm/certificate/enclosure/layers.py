"""A network by its layers on boxes: affine forms forwards, then linear relaxation backwards from the output.

Forwards, each layer's values become linear functions of the place in the box, with a remainder; that bounds what
enters each activation. Backwards, straight lines about the activations replace them, from the output to the inputs,
and what cancels between neurons cancels (CROWN: Zhang et al., NeurIPS 2018, section 3). Full relaxation bounds the
hidden layers by such a pass too, and not forwards alone.

Rounding is bounded a priori for any order of summation. A sum of n products errs by gamma(n) times the sum of the
absolute values; those of inputs are replaced by the largest of the box, `size`, so that a product with the row sums of
|W| bounds them all. `_ROUNDINGS` more than the n of the widest layer cover what neighbours of a product add: centers,
slopes and radii through an activation (8), ranges (dimension + 4), substitution (16), the sums of all layers (4 each).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpcsweep.approx.kernels.bounds.relu_networks import ReluNetwork
from hpcsweep.approx.supnorm.certificate.enclosure.activation_lines import Lines, largest, lines_about
from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm
from hpcsweep.approx.supnorm.certificate.enclosure.rounding import TINY, gamma
from hpcsweep.approx.supnorm.dense import Dense

_ROUNDINGS = 64
_BLOCK = 1 << 14  # numbers of one activation of all boxes of a block: a dozen such arrays stay in an L2 cache
_PASS, _COMPILED_PASS = 12.0, 1.5  # multiplications in a matrix product that a pass over memory takes, measured


@dataclass(frozen=True, eq=False)
class InputBoxes:
    """Boxes as a network sees them: center + reach * e +- radius on each axis, (boxes, dimension) each."""

    center: Tensor
    reach: Tensor
    radius: Tensor

    def __getitem__(self, boxes: slice) -> InputBoxes:
        return InputBoxes(self.center[boxes], self.reach[boxes], self.radius[boxes])

    def __len__(self) -> int:
        return len(self.center)

    def mass(self) -> Tensor:
        """Return a bound of the coordinates, (boxes, dimension)."""
        return (self.center.abs() + self.reach.abs() + self.radius).mul_(1 + gamma(4))


@dataclass(frozen=True, eq=False)
class Bound:
    """For all points of a box, a function <= constant + sum_i row_i * coordinate_i + noise.

    Attributes
    ----------
    row: (rows, boxes, dimension), of the coordinates that a network sees
    constant: (rows, boxes)
    noise: (rows, boxes), roundings, not yet in the constant
    """

    row: Tensor
    constant: Tensor
    noise: Tensor


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

    @classmethod
    def room(cls, like: Tensor) -> Value:
        """Return room for what is added on boxes (boxes, dimension)."""
        return cls(like.new_empty(len(like)), like.new_empty(len(like)), torch.empty_like(like))

    def put(self, own: slice, part: Value) -> None:
        """Write what is added on some of the boxes."""
        self.value[own], self.mass[own], self.slopes[own] = part.value, part.mass, part.slopes


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """What a forward pass leaves: lines about each hidden layer's activations, and what sizes its inputs have."""

    lines: list[Lines]
    sizes: list[Tensor]  # (boxes,) for each layer, the output included

    def cut(self, boxes: slice) -> ForwardPass:
        """Return the part of some of the boxes."""
        return ForwardPass([lines.cut(boxes) for lines in self.lines], [size[boxes] for size in self.sizes])


class Layers:
    """A dense network, prepared for being enclosed.

    Attributes
    ----------
    dense: the network
    loops: the network in compiled loops, of which the torch code is the specification: same formulas, same count of
        roundings. None where there are none: for other activations than ReLU, no hidden layer, not on the CPU.
    """

    def __init__(self, dense: Dense) -> None:
        self.dense = dense
        *self._weights, output = dense.weights
        *self._biases, offset = dense.biases
        self._magnitudes = [weight.abs() for weight in self._weights]
        self._masses = [
            torch.stack([magnitude.sum(1), bias.abs()], 1)  # (width, 2)
            for magnitude, bias in zip(self._magnitudes, self._biases, strict=True)
        ]
        self._output, self._offset = dense.amplitude * output, dense.amplitude * offset  # (1, width), (1,)
        depth, widest = len(self._weights), max(weight.shape[1] for weight in dense.weights)
        # Twice, so that roundings of the bounds themselves, and those of their factors, are nowhere to be counted.
        self.roundings = 2 * (widest + 2 * dense.dimension + 4 * depth + _ROUNDINGS)

        known = dense.activation == "relu" and self._weights and self._output.device.type == "cpu"
        self.loops = self._compiled() if known else None

    def _compiled(self) -> ReluNetwork:
        weights, biases = ([part.detach().numpy() for part in parts] for parts in (self._weights, self._biases))
        return ReluNetwork(weights, biases, self._output[0].detach().numpy(), float(self._offset))

    def compiled_values(self, inputs: InputBoxes, sides: tuple[slice, slice], full: bool) -> list[Value]:
        """Return what `values` does, up to roundings; not without `loops`."""
        assert self.loops is not None
        boxes = torch.stack([inputs.center, inputs.reach, inputs.radius]).numpy()
        rows = self.loops.bounds(boxes, sides, (gamma(self.roundings), gamma(4), TINY), full)
        return [Value(side[:, 0], side[:, 1], side[:, 2:]) for side in map(torch.from_numpy, rows)]

    def values(self, inputs: InputBoxes, sides: tuple[slice, slice], full: bool) -> list[Value]:
        """Bound -network on the boxes of the first side, and the network on those of the second, block by block."""
        out = [Value.room(inputs.center[side]) for side in sides]
        size = max(16, min(1024, _BLOCK // (self.dense.width * (2 * self.dense.width if full else 1))))
        for start in range(0, len(inputs), size):
            block = inputs[start : start + size]
            forward_pass = self.forward(block, full)
            for whole, side, sign in zip(out, sides, (-1.0, 1.0), strict=True):
                first, last = max(start, side.start), min(start + len(block), side.stop)
                if first < last:
                    own = slice(first - start, last - start)
                    value = _value(self.above(forward_pass.cut(own), sign), block[own])
                    whole.put(slice(first - side.start, last - side.start), value)
        return out

    def input_boxes(self, places: AffineForm) -> InputBoxes:
        """Return boxes, given as the form of their points (boxes, dimension), as the first layer sees them."""
        inputs = InputBoxes(places.center, places.slopes.diagonal(dim1=0, dim2=2), places.radius)
        if self.dense.shift is None or self.dense.factor is None:
            return inputs
        moved = InputBoxes(
            (inputs.center - self.dense.shift) * self.dense.factor,
            inputs.reach * self.dense.factor,
            inputs.radius * self.dense.factor.abs(),
        )
        return InputBoxes(moved.center, moved.reach, torch.add(moved.radius, moved.mass(), alpha=gamma(6)).add_(TINY))

    def forward(self, inputs: InputBoxes, full: bool = False) -> ForwardPass:
        """Return what bounds all activations on boxes, hidden layers by a backward pass each if `full`."""
        forward_pass = ForwardPass([], [inputs.mass().amax(1)])
        if not self._weights:
            return forward_pass
        deep = len(self._weights) > 1
        terms, radius, spread = self._first(inputs, deep)
        for layer in range(len(self._weights)):
            if layer:
                terms, radius, spread = self._next(layer, terms, radius, forward_pass.sizes[-1])
            low, high = terms[0] - spread, spread.add_(terms[0])
            mass = None
            if full and layer:
                mass = largest(low, high)
                low, high = self._narrow(layer, inputs, forward_pass, low, high)
            forward_pass.lines.append(lines_about(self.dense.activation, low, high, mass))
            forward_pass.sizes.append(forward_pass.lines[-1].size)
            if layer + 1 < len(self._weights):
                forward_pass.lines[-1].advance(terms, radius)
        return forward_pass

    def _first(self, inputs: InputBoxes, deep: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return terms, radius and spread of the first layer; of terms the center alone unless `deep`."""
        weight, magnitude, bias = self._weights[0], self._magnitudes[0], self._biases[0]
        count, (width, dimension) = len(inputs), weight.shape
        terms = weight.new_empty(1 + (dimension if deep else 0), count, width)
        torch.addmm(bias, inputs.center, weight.T, out=terms[0])
        for axis in range(dimension if deep else 0):
            torch.mul(inputs.reach[:, axis, None], weight[:, axis], out=terms[1 + axis])
        error = gamma(self.roundings)
        doubt = torch.add(inputs.radius, inputs.mass(), alpha=error)
        radius = torch.addmm(bias.abs().mul_(error).add_(TINY), doubt, magnitude.T)  # (boxes, width)
        return terms, radius, torch.addmm(radius, inputs.reach.abs(), magnitude.T)

    def _next(self, layer: int, terms: Tensor, radius: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return terms, radius and spread of a layer from those of the activations before it; radius is overwritten."""
        weight, bias = self._weights[layer], self._biases[layer]
        width, columns = weight.shape
        moved = (terms.view(-1, columns) @ weight.T).view(*terms.shape[:-1], width)
        moved[0].add_(bias)
        error = gamma(self.roundings)
        radius.add_(size.mul(error)[:, None])
        radius = torch.addmm(bias.abs().mul_(error).add_(TINY), radius, self._magnitudes[layer].T)
        slopes = moved[1:].abs()  # in the sum below: a norm along the first axis would cost a hundred times as much
        return moved, radius, slopes.sum(0).add_(radius)

    def _narrow(
        self, layer: int, inputs: InputBoxes, forward_pass: ForwardPass, low: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cut ranges (boxes, width) of a hidden layer by those that a backward pass from it proves."""
        weight, bias = self._weights[layer], self._biases[layer]
        rows = torch.cat([weight, -weight])[:, None]  # (2 * width, 1, inputs)
        offsets = torch.cat([bias, -bias])[:, None]
        bound = self._backward(forward_pass, layer, rows, offsets)
        above, below = self.peak(bound, inputs).view(2, len(bias), -1).mT  # (boxes, width) each
        return torch.maximum(low, below.neg()), torch.minimum(high, above)

    def peak(self, bound: Bound, inputs: InputBoxes) -> Tensor:
        """Return an upper bound on each box, (rows, boxes)."""
        size = bound.row.abs()
        noise = (size * inputs.mass()).sum(-1).add_(bound.noise).add_(bound.constant.abs())
        value = (bound.row * inputs.center).sum(-1).add_(bound.constant)
        value.add_((size * (inputs.reach.abs() + inputs.radius)).sum(-1))
        return value.add_(noise, alpha=gamma(self.roundings)).add_(TINY)

    def above(self, forward_pass: ForwardPass, sign: float) -> Bound:
        """Bound sign * network from above, by one backward pass."""
        row, offset = sign * self._output, sign * self._offset
        bound = self._backward(forward_pass, len(self._weights), row[:, None], offset[:, None])
        # the product with the amplitude was rounded
        noise = bound.noise + row.abs().sum() * forward_pass.sizes[-1]
        return Bound(bound.row, bound.constant, noise)

    def _backward(self, forward_pass: ForwardPass, start: int, row: Tensor, constant: Tensor) -> Bound:
        """Bound rows of activations before layer `start`, (rows, 1, width), plus a constant (rows, 1)."""
        noise = constant.abs()
        for layer in reversed(range(start)):
            row, offset, magnitude = forward_pass.lines[layer].substitute(row)
            sums = row.abs() @ self._masses[layer]  # (rows, boxes, 2)
            size = forward_pass.sizes[layer]
            noise = noise + magnitude + sums[..., 0] * size + sums[..., 1] + TINY * size
            constant = constant + offset + row @ self._biases[layer]
            row = row @ self._weights[layer]
        boxes = len(forward_pass.sizes[0])
        shape = len(row), boxes
        return Bound(row.expand(*shape, -1), constant.expand(shape), noise.expand(shape))

    def flops(self, dimension: int, full: bool) -> float:
        """Return the multiplications for one box: of the forward pass, and two backward passes from the output.

        Elementwise operations count as so many multiplications as a pass over memory takes, measured; full relaxation
        has two rows for each hidden neuron.
        """
        shapes, each = [weight.shape for weight in self._weights], _PASS if self.loops is None else _COMPILED_PASS
        total = 0.0
        for layer, (width, inputs) in enumerate(shapes):
            total += width * (inputs * (dimension + 2) + each * (3 * dimension + 12))
            rows = 2 + (2 * sum(later for later, _ in shapes[layer + 1 :]) if full else 0)
            total += rows * width * (inputs + 8 * each)
        return total


def _value(bound: Bound, inputs: InputBoxes) -> Value:
    """Return what a bound of one row adds on some boxes."""
    row = bound.row[0]  # (boxes, dimension)
    size = row.abs()
    value = (row * inputs.center).sum(1).add_(bound.constant[0]).add_((size * inputs.radius).sum(1))
    mass = (size * inputs.mass()).sum(1).add_(bound.noise[0]).add_(bound.constant[0].abs())
    return Value(value, mass, row * inputs.reach)
