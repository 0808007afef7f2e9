"""What flows through the networks of a pack: the signals of all layers, for all samples or for a strip of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import final

from torch import Tensor

_LEAST, _MOST = 168, 1024  # samples of a strip
_SIGNAL = _LEAST * 128  # numbers of the widest signal of a strip


@final
class Signals:
    """Workspaces for some samples of the networks of a pack, layer by layer; ones below what activations give.

    Attributes
    ----------
    augmented : inputs of each layer with a row of ones below, (slots, width + 1, samples)
    transposed : those, (slots, samples, width + 1)
    outputs : the points, then what activations give: `augmented` without the ones
    inputs : of the activations, and last the output, (slots, width, samples); later their gradients
    """

    def __init__(self, augmented: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        self.augmented, self.inputs = list(augmented), list(inputs)
        for signal in augmented:
            signal[:, -1].fill_(1)
        self.transposed = [signal.transpose(1, 2) for signal in augmented]
        self.outputs = [signal[:, :-1] for signal in augmented]

    @staticmethod
    def of(widths: Sequence[int], slots: int, samples: int, like: Tensor) -> Signals:
        """Make room for networks with layers `widths` (inputs, hidden ..., 1), in the dtype and place of `like`."""
        augmented = [like.new_empty((slots, width + 1, samples)) for width in widths[:-1]]
        return Signals(augmented, [like.new_empty((slots, width, samples)) for width in widths[1:]])

    def cut(self, parts: Sequence[slice]) -> list[Signals]:
        """Return the signals of strips of the samples, one after another: their points are views of these.

        Behind the first layer all strips of one length share their room, which so stays in the cache.
        """
        rooms: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        strips = []
        for part in parts:
            first = self.augmented[0][:, :, part]
            if (count := first.shape[2]) not in rooms:
                augmented = [signal.new_empty((*signal.shape[:2], count)) for signal in self.augmented[1:]]
                rooms[count] = augmented, [signal.new_empty((*signal.shape[:2], count)) for signal in self.inputs]
            augmented, inputs = rooms[count]
            strips.append(Signals([first, *augmented], inputs))
        return strips


def strips(widths: Sequence[int], samples: int) -> list[slice]:
    """Cut the samples where passes over a strip at a time are faster; nothing where they are not.

    The signals of a strip stay in the cache of a core between one layer and the next; and MKL multiplies matrices of
    less than 192 columns at 90 instead of 76 Gflop/s where both other sides are 256. A function of the shape only,
    since the bits of a gradient depend on it. Lengths are equal multiples of 8, but for the last.
    """
    longest = max(_LEAST, min(_MOST, _SIGNAL // max(widths[1:-1], default=1)))
    if 2 * samples < 3 * longest:
        return []
    count = -(-samples // longest)
    length = -(-samples // (8 * count)) * 8
    edges = [*range(0, samples, length), samples]
    return [slice(*edge) for edge in pairwise(edges)]
