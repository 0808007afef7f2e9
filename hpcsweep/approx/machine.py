"""The processors as torch sees them: GPUs, their memory, threads, versions."""

from __future__ import annotations

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


def use_threads(count: int) -> None:
    """Compute on so many processor cores from now on; never TF32, which has 11 bits."""
    torch.set_num_threads(count)
    torch.backends.cuda.matmul.allow_tf32 = False


def versions() -> str:
    """Return what the bits of a result depend on: torch, its processor code path and its threads."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {capability}, {torch.get_num_threads()} thread(s)"
