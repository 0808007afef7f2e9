"""The processors as torch sees them: GPUs, their memory, threads, versions, and whether bits depend on addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hpcsweep import libraries

LAYER = (16, 17, 100)  # outputs, inputs with the bias, and samples of a layer that torch multiplies


def gpus() -> int:
    """Return how many GPUs this process sees (NVIDIA or AMD)."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_memory(number: int) -> int:
    """Return the free bytes of a GPU."""
    return torch.cuda.mem_get_info(number)[0]


def release_memory() -> None:
    """Give back what torch keeps of the memory of GPUs without using it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def gpu_name(number: int) -> str:
    """Return what a GPU calls itself."""
    return torch.cuda.get_device_name(number)


def gpu_uuid(number: int, host: str) -> str:
    """Return what tells a GPU from all others in the world: its UUID, or host and PCI address; or nothing."""
    properties = torch.cuda.get_device_properties(number)
    uuid = str(getattr(properties, "uuid", ""))
    if uuid.strip("0-"):  # some virtual ones have nothing but zeros
        return uuid
    address = [getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
    return "" if None in address else f"{host}/{address[0]:04x}:{address[1]:02x}:{address[2]:02x}"


def use_gpu(number: int) -> None:
    """Let this thread compute on a GPU where no other is named, as graphs and streams do."""
    torch.cuda.set_device(number)


def build() -> str:
    """Return what torch is built for: "cpu", "CUDA 12.8", "ROCm 6.3"."""
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "cpu"


def use_threads(count: int) -> None:
    """Compute on so many processor cores from now on; never TF32, which has 11 bits."""
    torch.set_num_threads(count)
    torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on so many processor cores for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def versions() -> str:
    """Return what the bits of all that torch computes depend on: its version, code path, that of MKL, its threads."""
    capability = torch.backends.cpu.get_cpu_capability()
    path = libraries.mkl_told() if torch.backends.mkl.is_available() else "no MKL"
    return f"torch {torch.__version__}, {capability}, {torch.get_num_threads()} thread(s), {path}"


def moved_products() -> tuple[str, ...]:
    """Return which products change their bits where the same float64 matrices lie elsewhere: none, if all is well.

    "plain" and "batched" ones, on one thread of the processor; each operand, and the result, at all alignments of
    float64 within 64 bytes.
    """
    with threads(1):
        return tuple(kind for kind, slots in (("plain", ()), ("batched", (2,))) if _moved(slots))


def _moved(slots: tuple[int, ...]) -> bool:
    """Whether a product of a layer's forward or backward pass depends on addresses."""
    outputs, inputs, samples = LAYER
    generator = torch.Generator().manual_seed(0)
    weights, signal, slopes = (
        torch.randn((*slots, *shape), generator=generator, dtype=torch.float64)
        for shape in ((outputs, inputs), (inputs, samples), (outputs, samples))
    )
    alignments = {tuple(shift if axis == moved else 0 for axis in range(3)) for moved in range(3) for shift in range(8)}
    pairs = (weights, signal), (weights.mT, slopes), (slopes, signal.mT)
    return any(len({_product(*pair, *shifts) for shifts in alignments}) > 1 for pair in pairs)


def _product(left: Tensor, right: Tensor, *shifts: int) -> bytes:
    """Return the bits of a product whose operands and result lie so many numbers behind a boundary of 64 bytes."""
    result = left.new_empty((*left.shape[:-1], right.shape[-1]))
    left, right, result = (_at(matrix, shift) for matrix, shift in zip((left, right, result), shifts, strict=True))
    torch.matmul(left, right, out=result)
    return result.numpy().tobytes()


def _at(matrix: Tensor, shift: int) -> Tensor:
    """Return a copy of a matrix, of the same strides, so many numbers behind a boundary of 64 bytes."""
    room = matrix.new_empty(matrix.numel() + 15)
    start = -(room.data_ptr() // room.itemsize) % 8 + shift
    return room.as_strided(matrix.shape, matrix.stride(), start).copy_(matrix)
