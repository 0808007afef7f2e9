"""A trained network as a torch module: a model together with one vector of parameters."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from hpcsweep.approx.models import Model
from hpcsweep.approx.targets import Target


@final
class Network(nn.Module):
    """A trained network in float64: called with points (points, dimension), it returns values (points,).

    Points must have the dtype of the parameters, float64 unless the module is converted. Values have the bits of the
    model's `apply` for these points. The module is in evaluation mode, and its parameters require no gradient until
    `requires_grad_()` says so; derivatives with respect to the points are available at any time.

    Attributes
    ----------
    key : of the cell
    target : the function that the network approximates; it is called in the same way
    domain : ((low, high), ...), one pair per axis
    model : the family and size of the network
    vector : the parameters (parameters,), as docs/store.md describes them
    """

    def __init__(self, key: str, target: Target, model: Model, vector: np.ndarray) -> None:
        """`vector`: (parameters,), which are copied."""
        super().__init__()
        self.key, self.target, self.model = key, target, model
        self.domain = target.domain
        self.vector = nn.Parameter(torch.tensor(vector, dtype=torch.float64), requires_grad=False)
        self.eval()

    def forward(self, points: Tensor) -> Tensor:
        """Return the values (points,) at points (points, dimension). Raises ValueError for points of another shape."""
        if isinstance(points, Tensor) and (points.ndim != 2 or points.shape[1] != self.model.dimension):
            expected = f"(points, {self.model.dimension})"
            raise ValueError(f"the points must have the shape {expected}, not {tuple(points.shape)}")
        return self.model.apply(self.vector, points)

    def extra_repr(self) -> str:
        """Say what it is."""
        return f"{self.key[:8]}, target={self.target!r}, parameters={len(self.vector)}"
