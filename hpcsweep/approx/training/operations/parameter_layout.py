"""Where the parameters of the networks of a pack lie."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How the parameters of `slots` networks with layers `widths` (inputs, hidden ..., 1) lie in a flat buffer."""

    widths: tuple[int, ...]
    slots: int

    @property
    def parameters(self) -> int:
        """Number of parameters of one network."""
        return sum(outputs * (inputs + 1) for inputs, outputs in pairwise(self.widths))

    @property
    def sizes(self) -> list[int]:
        """How many numbers of a flat buffer belong to each layer."""
        return [self.slots * outputs * (inputs + 1) for inputs, outputs in pairwise(self.widths)]

    def blocks(self, buffer: Tensor) -> list[Tensor]:
        """Return the views (slots, outputs, inputs + 1) of a flat buffer (slots * parameters,), one per layer."""
        shapes = [(self.slots, outputs, inputs + 1) for inputs, outputs in pairwise(self.widths)]
        return [part.view(shape) for part, shape in zip(buffer.split(self.sizes), shapes, strict=True)]

    def rows(self, buffer: Tensor) -> Tensor:
        """Return a copy (slots, parameters) of a flat buffer: one network per row, in the order of the store."""
        return torch.cat([block.flatten(1) for block in self.blocks(buffer)], dim=1)

    def fill(self, buffer: Tensor, rows: Tensor) -> None:
        """Write `rows` (slots, parameters) into a flat buffer."""
        blocks = self.blocks(buffer)
        parts = rows.split([block[0].numel() for block in blocks], dim=1)
        for block, part in zip(blocks, parts, strict=True):
            block.copy_(part.reshape(block.shape))
