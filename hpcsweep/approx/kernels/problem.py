"""What a network is to learn, laid out for the kernels: a description in integers, samples, and room to work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from hpcsweep.approx.kernels.vectors import BYTES

# Places in the description of a problem.
SAMPLES: Final = 0  # of a step
BLOCK: Final = 1  # of them together, a multiple of the lanes
LANES: Final = 2
CHANNELS: Final = 3  # signals of a neuron and sample: 1, or d + 2 for an equation
LAYERS: Final = 4
SKIP: Final = 5  # 1 for residual networks
ACTIVATION: Final = 6  # its place in ACTIVATIONS
POWER: Final = 7  # of the residuals in the loss
TABLE: Final = 8  # samples from which each step draws some, 0 where it sees them all
KEY: Final = 9  # of the stream of these draws
LONGEST: Final = 10  # neurons of the widest layer, inputs and output included
PARAMETERS: Final = 11  # of the network
ZERO: Final = 12  # where the work has a zero: the bias of products without one
WIDTHS: Final = 13  # the first of the widths (inputs, ..., 1), and the end of the description

_BLOCK = 128  # samples: their signals stay in the cache between one layer and the next


def lanes(dtype: np.dtype) -> int:
    """Return how many numbers make a vector."""
    return BYTES // dtype.itemsize


def padded(count: int, dtype: np.dtype) -> int:
    """Return the least multiple of the lanes that is not less."""
    return -(-count // lanes(dtype)) * lanes(dtype)


def aligned(count: int, dtype: np.dtype, make: Callable[..., np.ndarray] = np.zeros) -> np.ndarray:
    """Return zeros (count,) that begin where a vector may; `make=np.empty`: any numbers."""
    raw = make(count + lanes(dtype), dtype=dtype)
    # `ctypes` would take as long as a small network.
    start = -raw.__array_interface__["data"][0] % BYTES // dtype.itemsize
    return raw[start : start + count]


def block_of(samples: int, dtype: np.dtype) -> int:
    """Return the samples of a block: a function of their number alone, since sums are cut where blocks are.

    Not a multiple of 64: rows whose distance is a power of two would meet in the same lines of the cache.
    """
    width, blocks = lanes(dtype), -(-samples // _BLOCK)
    length = padded(-(-samples // blocks), dtype)
    return length + width if length % 64 == 0 and blocks > 1 else length


@dataclass(frozen=True)
class Shape:
    """The shape of a network.

    Attributes
    ----------
    widths : (inputs, hidden ..., 1)
    activation : its place in `activations.ACTIVATIONS`
    skip : whether it is residual
    equation : whether its samples say an operator, see `hpcsweep.approx.models.operators`
    """

    widths: tuple[int, ...]
    activation: int
    skip: bool = False
    equation: bool = False

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(outputs * (inputs + 1) for inputs, outputs in pairwise(self.widths))

    @property
    def channels(self) -> int:
        """Signals of a neuron and a sample."""
        return self.widths[0] + 2 if self.equation else 1

    @property
    def columns(self) -> int:
        """Numbers of a sample, without its value."""
        return 2 * self.widths[0] + 1 if self.equation else self.widths[0]


@dataclass(frozen=True)
class Problem:
    """A network and its samples; not to be shared by threads, as it has their room to work in.

    Attributes
    ----------
    shape : (WIDTHS + layers + 1,) int64, the description
    source : samples, row by row of their numbers; or sample by sample, to draw from
    work : signals and whatever else is overwritten
    """

    shape: np.ndarray
    source: np.ndarray
    work: np.ndarray

    @staticmethod
    def of(
        network: Shape,
        inputs: np.ndarray,
        values: np.ndarray,
        power: int = 2,
        batch: int | None = None,
        key: int = 0,
        block: int | None = None,
    ) -> Problem:
        """Lay out a problem in the dtype of the values.

        Parameters
        ----------
        inputs : (samples, network.columns)
        values : (samples,)
        power : even, of the residuals in the loss; see `objective`
        batch : samples that each step draws; None takes them all
        key : of the stream of draws, 64 bits as a signed integer
        block : samples that are together in the work, by default as many as stay in the cache
        """
        dtype, count = values.dtype, len(values)
        numbers = np.column_stack([inputs, values]).astype(dtype)
        source = aligned(numbers.size, dtype)
        source[:] = (numbers if batch else numbers.T).ravel()
        samples = batch or count
        block = padded(block, dtype) if block else block_of(samples, dtype)
        work = _room(network, block, samples, dtype)
        shape = np.zeros(WIDTHS + len(network.widths), dtype=np.int64)
        shape[:WIDTHS] = (
            *(samples, block, lanes(dtype), network.channels, len(network.widths) - 1, network.skip),
            *(network.activation, power, count if batch else 0, key, max(network.widths)),
            *(network.parameters, len(work) - 1),
        )
        shape[WIDTHS:] = network.widths
        return Problem(shape, source, work)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What compiled functions take."""
        return self.shape, self.source, self.work

    @property
    def samples(self) -> int:
        """Samples of a step."""
        return int(self.shape[SAMPLES])

    def _rows(self) -> np.ndarray:
        """Return the samples, one column each: of a problem that sees them all in each step."""
        return self.source.reshape(-1, self.samples)

    @property
    def values(self) -> np.ndarray:
        """The values (samples,)."""
        return self._rows()[-1]

    @property
    def mean_square_value(self) -> float:
        """The mean square of the values."""
        return float(np.square(self.values, dtype=np.float64).mean())

    def signals(self, layer: int, rows: int) -> np.ndarray:
        """Return the inputs of a layer (rows, samples) in the work, where all samples are one block."""
        stride = int(self.shape[CHANNELS] * self.shape[BLOCK])
        start = layer * (int(self.shape[LONGEST]) + 1) * stride
        return self.work[start : start + rows * stride].reshape(rows, stride)[:, : self.samples]


def _room(network: Shape, block: int, samples: int, dtype: np.dtype) -> np.ndarray:
    """Return room for signals, with the ones that meet the biases; see `network` for what lies where.

    The last two numbers say whether the samples are there for good, and are the bias of products without one.
    """
    layers, stride, widest = len(network.widths) - 1, network.channels * block, max(network.widths)
    room = (widest + 1) * stride
    further = (network.columns - network.widths[0] + 1) * block
    work = aligned((2 * layers + 2) * room + further + padded(samples, dtype) + 2, dtype)
    for layer, inputs in enumerate(network.widths[:-1]):
        ones = layer * room + inputs * stride
        work[ones : ones + block] = 1
    return work
