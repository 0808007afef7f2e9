"""How fast a device is at what training consists of: measured in a fraction of a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcsweep.approx.training import streams
from hpcsweep.approx.training.activations import ACTIVATIONS
from hpcsweep.approx.training.engine import Layout
from hpcsweep.approx.training.optimizers.adam import Adam

_SIZE = 1 << 16  # elements of a buffer: some of them fill the cache of a CPU core, as packs do
_WORK = 0.002  # seconds of a measurement, about
_ROUNDS = 3  # the fastest counts


@dataclass(frozen=True)
class Products:
    """Rates of batched matrix products of one kind.

    Attributes
    ----------
    flops : operations per second of large products
    element : seconds per element read or written
    item : seconds per product of a batch
    """

    flops: float
    element: float
    item: float


@dataclass(frozen=True)
class Device:
    """Measured rates of one device in one precision; plain numbers.

    Attributes
    ----------
    kind : "cpu" or "cuda"
    precision : "float64" or "float32"
    launch : seconds of a call that does nothing much
    wide : products whose columns are samples
    deep : products whose inner size is the number of samples
    activations : per name, seconds per element of the value alone, and of value and derivative
    element : seconds per element of a simple operation in the cache
    update : seconds per parameter of a step of Adam
    draw : seconds per sample drawn for a minibatch
    """

    kind: str
    precision: str
    launch: float
    wide: Products
    deep: Products
    activations: Mapping[str, tuple[float, float]]
    element: float
    update: float
    draw: float


def probe(dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Device:
    """Measure a device, with the threads that torch has now, in about 0.2 seconds."""
    bench = _Bench(dtype, torch.device(device))
    return Device(
        kind=bench.device.type,
        precision=str(dtype).removeprefix("torch."),
        launch=bench.launch,
        wide=bench.products(deep=False),
        deep=bench.products(deep=True),
        activations={name: bench.activation(name) for name in ACTIVATIONS},
        element=bench.element(),
        update=bench.update(),
        draw=bench.draw(),
    )


class _Bench:
    """Times calls on one device; sizes are those of packs: they fit into the cache of a CPU core."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self._generator = torch.Generator(device).manual_seed(0)
        tiny, matrix = self._rand(4), self._rand(2, 2, 2)
        small = self._seconds(lambda: tiny.mul_(1.0)), self._seconds(lambda: torch.bmm(matrix, matrix, out=matrix))
        self.launch = sum(small) / 2

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator, dtype=self.dtype, device=self.device)

    def _seconds(self, call: Callable[[], object]) -> float:
        """Return the seconds of one call: the fastest of a few rounds of about 2 ms."""
        call()
        once = self._elapsed(call, 3) / 3
        repeats = max(1, min(1000, int(_WORK / once)))
        return min(self._elapsed(call, repeats) for _ in range(_ROUNDS)) / repeats

    def _elapsed(self, call: Callable[[], object], repeats: int) -> float:
        self._wait()
        begun = time.perf_counter()
        for _ in range(repeats):
            call()
        self._wait()
        return time.perf_counter() - begun

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _per(self, count: int, call: Callable[[], object], launches: int) -> float:
        return max(self._seconds(call) - launches * self.launch, 1e-13) / count

    def _product(self, batch: int, rows: int, inner: int, columns: int) -> float:
        """Return the seconds per product (rows, inner) x (inner, columns) in a batch."""
        left, right = self._rand(batch, rows, inner), self._rand(batch, columns, inner).transpose(1, 2)
        if inner < columns:
            right = right.contiguous()
        out = self._rand(batch, rows, columns)
        return self._per(batch, lambda: torch.bmm(left, right, out=out), 1)

    def products(self, deep: bool) -> Products:
        """Fit the rates to three products: the smallest, a narrow and a wide one."""
        sizes = [(256, 2, 8), (32, 16, 100), (4, 96, 200)]  # batch, width, samples
        tiny, narrow, wide = (
            self._product(batch, width, samples, width) if deep else self._product(batch, width, width, samples)
            for batch, width, samples in sizes
        )
        flops = 2 * 96 * 96 * 200 / wide
        elements, arithmetic = 16 * (16 + 200), 2 * 16 * 16 * 100 / flops
        return Products(flops, max(narrow**2 - arithmetic**2, 0.0) ** 0.5 / elements, tiny)

    def activation(self, name: str) -> tuple[float, float]:
        """Return the seconds per element of the value, and of value and derivative."""
        function = ACTIVATIONS[name]
        inputs, outputs, gradient = (self._rand(_SIZE) for _ in range(3))

        def both() -> None:
            function.value(inputs, outputs)
            function.prepare(inputs, outputs)
            function.pull(gradient, outputs)

        return self._per(_SIZE, lambda: function.value(inputs, outputs), 1), self._per(_SIZE, both, 2)

    def element(self) -> float:
        """Return the seconds per element of a product of two tensors."""
        left, right, out = (self._rand(_SIZE) for _ in range(3))
        return self._per(_SIZE, lambda: torch.mul(left, right, out=out), 1)

    def update(self) -> float:
        """Return the seconds per parameter of a step of Adam, without the gradient."""
        layout = Layout((127, 1), _SIZE // 256)
        size = layout.slots * layout.parameters
        weights, gradient, rates = (self._rand(size) for _ in range(3))
        adam = Adam()
        state, numbers = adam.moments(weights), adam.numbers(1)
        state.second.fill_(1)
        return self._per(size, lambda: adam.move(weights, gradient, state, numbers, rates), 7)

    def draw(self) -> float:
        """Return the seconds per sample that a minibatch draws, from a table larger than the cache."""
        size = _SIZE // 4
        keys = streams.keys(range(16), self.device)
        table = self._rand(2 * _SIZE, 3)

        def gather() -> Tensor:
            return table.index_select(0, streams.integers(keys, 0, size // 16, len(table)).view(-1))

        return self._per(size, gather, 0)
