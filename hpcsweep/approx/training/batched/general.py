"""Models without a closed form: any function of a flat vector and of points, differentiated by autograd, all slots at
once; and the choice between the two ways.

`torch.func.vmap` runs the model once for all slots. The gradient is one backward pass through that, from the derivative
of the loss by each residual: faster than `vmap` of a gradient, with the same bits. The Jacobian is the gradient at one
point, mapped over samples and slots.

On a CPU with one thread the bits of a slot depend neither on the number of slots (from two on) nor on its position nor
on the other slots, finite or not, if that holds for every operation of the model under `vmap`: for matrix products, and
for functions whose vector body and scalar tail agree (tanh, exp, log, sin, cos, sqrt, erf; not sigmoid, silu, gelu,
softplus, powers that are not whole).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor
from torch.func import grad, vmap

from hpcsweep.approx.models import MLP, Model, classical
from hpcsweep.approx.models.classical import Direct
from hpcsweep.approx.training import optimizers
from hpcsweep.approx.training.operations.engine import Engine
from hpcsweep.approx.training.operations.losses import Loss, MeanSquare
from hpcsweep.approx.training.operations.parameter_layout import Layout
from hpcsweep.approx.training.operations.passes import Passes
from hpcsweep.errors import StudyError


@final
class General(Passes):
    """The networks of a pack, of a model that is known by its values only."""

    def __init__(self, layout: Layout, model: Model, samples: int, weights: Tensor, loss: Loss | None = None) -> None:
        self.layout, self.samples, self.weights = layout, samples, weights
        self.minimised = loss or MeanSquare()
        self.gradient = torch.zeros_like(weights)
        self._points = weights.new_empty((layout.slots, samples, model.dimension))
        self.points = self._points.mT
        self.values = weights.new_zeros((layout.slots, 1, samples))
        self._residuals = torch.empty_like(self.values)
        self._values = vmap(model.evaluate)  # of (slots, parameters) at (slots, samples, dimension)
        self._slopes = vmap(vmap(grad(_at_one_point(model)), in_dims=(None, 0)))

    def forward(self) -> Tensor:
        """Return the residuals, network minus value, as a view (slots, 1, samples) of the workspace."""
        return self._difference(self._values(self.layout.rows(self.weights), self._points))

    def _difference(self, values: Tensor) -> Tensor:
        return torch.sub(values.unsqueeze(1), self.values, out=self._residuals)

    def descend(self, out: Tensor) -> None:
        """Write the loss of each slot into `out` (slots,), and its gradient into `gradient`."""
        rows = self.layout.rows(self.weights).requires_grad_()  # (slots, parameters), a copy
        with torch.enable_grad():
            values = self._values(rows, self._points)  # (slots, samples)
        delta = self._difference(values.detach())
        self.judge(delta, out)
        self.minimised.pull(delta)
        [gradient] = torch.autograd.grad(values, rows, delta[:, 0], allow_unused=True, materialize_grads=True)
        self.layout.fill(self.gradient, gradient)

    def jacobian(self, out: Tensor, gram: Tensor | None = None) -> Tensor:
        """Write the derivatives of the residuals into `out`, transposed; return the residuals (slots, 1, samples)."""
        slopes = self._slopes(self.layout.rows(self.weights), self._points)  # (slots, samples, parameters)
        out.copy_(slopes.mT)
        if gram is not None:
            torch.bmm(slopes, slopes.mT, out=gram)
        return self.forward()


def _at_one_point(model: Model) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the value () of a network (parameters,) at one point (dimension,)."""

    def value(parameters: Tensor, point: Tensor) -> Tensor:
        return model.evaluate(parameters, point.unsqueeze(0))[0]

    return value


def layout_of(model: Model, slots: int) -> Layout:
    """Return how networks of a model lie in a flat buffer; one without layers is a single row, as of one layer."""
    return Layout(model.widths or (model.parameters - 1, 1), slots)


def passes_of(model: Model, layout: Layout, samples: int, weights: Tensor, loss: Loss) -> Passes:
    """Return the workspace of a model: in closed form where there is one."""
    if isinstance(model, MLP):
        return Engine(layout, model.activation, samples, weights, loss)
    return General(layout, model, samples, weights, loss)


def check_compatible(model: Model, optimizer: str) -> None:
    """Raise StudyError where an optimizer, or one of a chain, asks for what a model cannot give."""
    parts = optimizer.split("+")
    at_once = optimizers.DIRECT in parts
    if at_once != isinstance(model, Direct) or (at_once and len(parts) > 1):
        raise StudyError(_unlike(model, optimizer))
    if isinstance(model, MLP | Direct):
        return
    working = [name for name in optimizers.NAMES if not optimizers.needs(name).unmet(model.widths)]
    for name in parts:
        if name not in working:
            asked = optimizers.needs(name).unmet(model.widths)
            called = model.config.name or type(model).__name__
            raise StudyError(
                f"optimizer: {name!r} needs {asked}, which model {called!r} does not provide. "
                f"These work with it: {', '.join(sorted(working))}."
            )


def _unlike(model: Model, optimizer: str) -> str:
    """Say why a model is not to be had by an optimizer, where one of them needs no steps and the other does."""
    called = model.config.name or type(model).__name__
    if isinstance(model, Direct):
        return (
            f"optimizer: model {called!r} is fitted directly, not by {optimizer!r}. "
            f'Put it into a grid of its own, with optimizer = ["{optimizers.DIRECT}"].'
        )
    return (
        f"optimizer: {optimizers.DIRECT!r} fits {', '.join(classical.FAMILIES)} and stands alone; "
        f"model {called!r} is trained by: {', '.join(sorted(optimizers.NAMES))}."
    )
