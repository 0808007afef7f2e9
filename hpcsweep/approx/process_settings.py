"""Settings of torch, NumPy, Python and the process that any code may change: how each is read and written."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import locale
import logging
import os
import random
import resource
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

_LEAST = sys.float_info.min  # the smallest normal number: half of it is 0 where the processor flushes
_modes: list[object] = []  # kept: torch ends the mode of inference with the object that began it


class Setting(NamedTuple):
    """Something that belongs to the process, or to this thread, and that any code may change."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device == torch.device("cpu") else device)


def _set_inference(mode: bool) -> None:
    _modes.append(torch.inference_mode(mode))
    _modes[-1].__enter__()  # type: ignore[attr-defined]


def _set_environment(variables: dict[Any, Any]) -> None:
    for name in os.environ._data.keys() - variables.keys():  # type: ignore[attr-defined]
        del os.environ[os.fsdecode(name)]
    os.environb.update(variables)


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _folder() -> str:
    with contextlib.suppress(OSError):  # it may be gone
        return os.getcwd()
    return ""


def _set_folder(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.chdir(folder)


def _attribute(holder: Any, name: str) -> Setting:
    return Setting(lambda: getattr(holder, name), lambda value: setattr(holder, name, value))


def _set_autocast(kind: str, enabled: bool) -> None:
    torch.set_autocast_enabled(kind, enabled)
    torch.clear_autocast_cache()


def _precisions() -> list[Any]:
    """Return the precision of float32 products: as torch says it, unless its parts differ, and part by part."""
    whole = None
    with contextlib.suppress(RuntimeError):
        whole = torch.get_float32_matmul_precision()
    return [whole, *(torch._C._get_fp32_precision_getter(*part) for part in _PRODUCTS)]


def _set_precisions(precisions: list[Any]) -> None:
    if precisions[0] is not None:
        torch.set_float32_matmul_precision(precisions[0])
    for part, precision in zip(_PRODUCTS, precisions[1:], strict=True):
        torch._C._set_fp32_precision_setter(*part, precision)


def _set_function_modes(modes: list[Any]) -> None:
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    for mode in modes:
        torch._C._push_on_torch_function_stack(mode)


def _set_dispatch_modes(modes: list[Any]) -> None:
    while len(_get_current_dispatch_mode_stack()):
        torch._C._pop_torch_dispatch_stack(None)
    for mode in modes:
        torch._C._push_on_torch_dispatch_stack(mode)


def _limits() -> dict[int, tuple[int, int]]:
    return {number: resource.getrlimit(number) for number in _LIMITS}


def _set_limits(limits: dict[int, tuple[int, int]]) -> None:
    for number, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # the hard one was lowered
            resource.setrlimit(number, limit)


def _mask() -> int:
    """Return the mask of permissions; to read it by setting it would change it for the other threads."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        return next(int(line.split()[1], 8) for line in file if line.startswith("Umask:"))
    os.umask(mask := os.umask(0o077))
    return mask


def _cuda_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _set_cuda_states(states: list[torch.Tensor]) -> None:
    if states:
        torch.cuda.set_rng_state_all(states)


_PRODUCTS = [("generic", "all"), *itertools.product(("cuda", "mkldnn"), ("all", "matmul", "conv", "rnn"))]
if not hasattr(torch._C, "_get_fp32_precision_getter"):  # an older torch
    _PRODUCTS = []
_LIMITS = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
SETTINGS: Mapping[str, Setting] = {  # in the order in which they are restored: modes may prevent reading others
    "function modes": Setting(_get_current_function_mode_stack, _set_function_modes),
    "dispatch modes": Setting(_get_current_dispatch_mode_stack, _set_dispatch_modes),
    "functions of tensors": Setting(*(getattr(torch._C, f"_{verb}_torch_function_state") for verb in ("get", "set"))),
    "default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
    "default device": Setting(torch.get_default_device, _set_device),
    "threads": Setting(torch.get_num_threads, torch.set_num_threads),
    "gradients": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "inference": Setting(torch.is_inference_mode_enabled, _set_inference),
    "anomalies": Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "deterministic": Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "float32 products": Setting(_precisions, _set_precisions),
    **{
        f"autocast {kind} {name}": Setting(functools.partial(read, kind), functools.partial(write, kind))
        for kind in ("cpu", "cuda")
        for name, read, write in (
            ("enabled", torch.is_autocast_enabled, _set_autocast),
            ("dtype", torch.get_autocast_dtype, torch.set_autocast_dtype),
        )
    },
    "autocast cache": Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    "oneDNN": _attribute(torch.backends.mkldnn, "enabled"),
    "contractions": _attribute(torch.backends.opt_einsum, "enabled"),
    **{f"cuDNN {name}": _attribute(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")},
    "denormal numbers": Setting(lambda: _LEAST * 0.5 == 0.0, torch.set_flush_denormal),
    "NumPy's errors": Setting(np.geterr, lambda errors: np.seterr(**errors)),
    "folder": Setting(_folder, _set_folder),
    "environment": Setting(lambda: os.environ._data.copy(), _set_environment),  # type: ignore[attr-defined]
    "processors": Setting(lambda: os.sched_getaffinity(0), lambda cores: os.sched_setaffinity(0, cores)),
    "warnings": Setting(lambda: list(warnings.filters), _set_filters),
    "recursion": Setting(sys.getrecursionlimit, sys.setrecursionlimit),
    "garbage": Setting(gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
    "garbage thresholds": Setting(gc.get_threshold, lambda thresholds: gc.set_threshold(*thresholds)),
    "threads' turns": Setting(sys.getswitchinterval, sys.setswitchinterval),
    "tracing": Setting(sys.gettrace, sys.settrace),
    "profiling": Setting(sys.getprofile, sys.setprofile),
    "log level": Setting(lambda: logging.root.level, logging.root.setLevel),
    "logging": Setting(lambda: logging.root.manager.disable, logging.disable),
    "import path": Setting(lambda: list(sys.path), lambda path: setattr(sys, "path", list(path))),
    "exceptions of threads": _attribute(threading, "excepthook"),
    "shown warnings": _attribute(warnings, "showwarning"),
    "locale": Setting(lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    **{name: _attribute(sys, name) for name in ("stdout", "stderr", "excepthook")},
}
SLOW: Mapping[str, Setting] = {  # never compared: that takes as long as to write them; left out of brief blocks
    "torch": Setting(torch.get_rng_state, torch.set_rng_state),
    "NumPy": Setting(np.random.get_state, np.random.set_state),
    "Python": Setting(random.getstate, random.setstate),
    "mask": Setting(_mask, os.umask),
    "limits": Setting(_limits, _set_limits),
}
if torch.cuda.is_available():
    SLOW = {**SLOW, "CUDA": Setting(_cuda_states, _set_cuda_states)}
