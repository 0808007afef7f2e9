"""The processors as torch sees them: GPUs, their memory, threads, versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def gpus() -> int:
    """Return how many GPUs this process sees (NVIDIA or AMD)."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_memory(number: int) -> int:
    """Return the free bytes of a GPU."""
    return torch.cuda.mem_get_info(number)[0]


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
    """Return what the bits of a result depend on: torch, its processor code path and its threads."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {capability}, {torch.get_num_threads()} thread(s)"
