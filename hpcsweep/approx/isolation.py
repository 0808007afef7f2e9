"""A user's code leaves this process as it found it, whatever it sets, raises or forks."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import locale
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, NamedTuple, final

import numpy as np
import torch

from hpcsweep.errors import PluginError

_HANDLED = tuple(
    number for number in signal.valid_signals() if number not in (signal.SIGINT, signal.SIGKILL, signal.SIGSTOP)
)
_LEAST = sys.float_info.min  # the smallest normal number: half of it is 0 where the processor flushes
_DIE_WITH_PARENT = 1  # of prctl

_imported: dict[str, dict[str, Any]] = {}  # by module: the settings that it changed when it was imported
_modes: list[object] = []  # kept: torch ends the mode of inference with the object that began it
_here = threading.local()  # of this thread: `depth`, of blocks of a user's code; `seed`, see `reseeded`


class _Setting(NamedTuple):
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


def _attribute(holder: Any, name: str) -> _Setting:
    return _Setting(lambda: getattr(holder, name), lambda value: setattr(holder, name, value))


_SETTINGS: Mapping[str, _Setting] = {
    "default dtype": _Setting(torch.get_default_dtype, torch.set_default_dtype),
    "default device": _Setting(torch.get_default_device, _set_device),
    "threads": _Setting(torch.get_num_threads, torch.set_num_threads),
    "gradients": _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "inference": _Setting(torch.is_inference_mode_enabled, _set_inference),
    "anomalies": _Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "deterministic": _Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "matrix products": _Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    **{f"cuDNN {name}": _attribute(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")},
    "denormal numbers": _Setting(lambda: _LEAST * 0.5 == 0.0, torch.set_flush_denormal),
    "NumPy's errors": _Setting(np.geterr, lambda errors: np.seterr(**errors)),
    "folder": _Setting(_folder, _set_folder),
    "environment": _Setting(lambda: os.environ._data.copy(), _set_environment),  # type: ignore[attr-defined]
    "processors": _Setting(lambda: os.sched_getaffinity(0), lambda cores: os.sched_setaffinity(0, cores)),
    "warnings": _Setting(lambda: list(warnings.filters), _set_filters),
    "recursion": _Setting(sys.getrecursionlimit, sys.setrecursionlimit),
    "garbage": _Setting(gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
    "locale": _Setting(lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    **{name: _attribute(sys, name) for name in ("stdout", "stderr", "excepthook")},
}
_RANDOM: Mapping[str, _Setting] = {  # never compared: that takes as long as to write them
    "torch": _Setting(torch.get_rng_state, torch.set_rng_state),
    "NumPy": _Setting(np.random.get_state, np.random.set_state),
    "Python": _Setting(random.getstate, random.setstate),
}
if torch.cuda.is_available():
    _RANDOM = {**_RANDOM, "CUDA": _Setting(lambda: _cuda_states(), lambda states: _set_cuda_states(states))}


def _cuda_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _set_cuda_states(states: list[torch.Tensor]) -> None:
    if states:
        torch.cuda.set_rng_state_all(states)


_SEEDS: Mapping[str, Callable[[int], object]] = {
    "torch": torch.manual_seed,
    "NumPy": np.random.seed,
    "Python": random.seed,
}


@contextlib.contextmanager
def reseeded(number: int) -> Iterator[None]:
    """Let a user's code find random generators that were seeded like this, unless its import has seeded them."""
    before, _here.seed = getattr(_here, "seed", None), number
    try:
        yield
    finally:
        _here.seed = before


@final
class isolated:
    """A block in which a user's code runs, so that nothing else is affected.

    Afterwards the settings of torch (default device and dtype, threads, modes), NumPy and Python, the states of random
    generators, the working folder, the environment and the handlers of signals are what they were. Inside, they are
    what the `module` of the code made of them when it was imported (`importing`).

    What is raised is raised; but what would end the process, `KeyboardInterrupt`, `SystemExit` and others that are no
    `Exception`, becomes a PluginError, "`problem`: KeyboardInterrupt". An interrupt from the keyboard stays one, even
    where the code suppresses it. A process that the code forks ends where it leaves the block, or with its parent.
    """

    def __init__(self, problem: str, module: str = "", brief: bool = False) -> None:
        """`brief`: leave out random generators and signals, for calls of microseconds that another block encloses."""
        self._problem, self._module, self._brief = problem, module, brief

    def __enter__(self) -> isolated:
        self._process, self._interrupted = os.getpid(), False
        self._settings = {name: setting.read() for name, setting in _SETTINGS.items()}
        self._random: dict[str, Any] = {}
        self._handlers: dict[int, Any] = {}
        self._interrupts: Any = None
        if not self._brief:
            self._watch()
        self._settle(_imported.get(self._module, {}), getattr(_here, "seed", None))
        _here.depth = getattr(_here, "depth", 0) + 1
        return self

    def _watch(self) -> None:
        self._random = {name: setting.read() for name, setting in _RANDOM.items()}
        self._timer = signal.getitimer(signal.ITIMER_REAL)
        if threading.current_thread() is threading.main_thread():  # nobody else may set them
            self._handlers = {number: signal.getsignal(number) for number in _HANDLED}
            self._interrupts = signal.getsignal(signal.SIGINT)
            if callable(self._interrupts):
                signal.signal(signal.SIGINT, self._interrupt)

    def _settle(self, imported: Mapping[str, Any], seed: int | None) -> None:
        _write({**_SETTINGS, **_RANDOM}, imported)
        if seed is not None:
            for name in _SEEDS.keys() - imported.keys():
                _SEEDS[name](seed)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Do what is done where the keyboard interrupts, and note if that raises."""
        signal.signal(signal.SIGINT, self._interrupts)  # it may set another one
        try:
            self._interrupts(number, frame)
        except KeyboardInterrupt:
            self._interrupted = True
            raise
        finally:
            self._interrupts = signal.getsignal(signal.SIGINT)
            signal.signal(signal.SIGINT, self._interrupt)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._process:
            os._exit(0 if error is None else 1)
        _here.depth -= 1
        self._restore()
        if self._interrupted and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        if error is not None and not isinstance(error, Exception) and not self._interrupted:
            raise PluginError(f"{self._problem}: {said(error)}") from error

    def _restore(self) -> None:
        _write(_SETTINGS, self._changed())
        _write(_RANDOM, self._random)
        if not self._brief and self._timer[0] == 0.0:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        if self._handlers:
            for number, handler in {**self._handlers, signal.SIGINT: self._interrupts}.items():
                if handler is not None and signal.getsignal(number) != handler:
                    signal.signal(number, handler)

    def _changed(self) -> dict[str, Any]:
        """Return the former values of the settings that are others now."""
        return {name: value for name, value in self._settings.items() if _SETTINGS[name].read() != value}


@contextlib.contextmanager
def importing(module: str) -> Iterator[None]:
    """Import a user's `module` in this block, within an `isolated` one.

    What it sets, it finds again whenever its code runs, and nobody else does: it may choose a default dtype or seed
    random generators for its own calls.
    """
    readable = {**_SETTINGS, **_RANDOM}
    before = {name: setting.read() for name, setting in readable.items()}
    yield
    after = {name: setting.read() for name, setting in readable.items()}
    _imported[module] = {name: value for name, value in after.items() if not _same(value, before[name])}


def _same(left: Any, right: Any) -> bool:
    """Return whether two settings or states are equal; those of torch are tensors."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    return left is right or str(left) == str(right)


def _write(settings: Mapping[str, _Setting], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        settings[name].write(value)


def said(error: BaseException) -> str:
    """Return the kind of an exception and what it says."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def end_with_parent() -> None:
    """Let this process, which was forked, not outlive the thread that forked it; on Linux only."""
    if _libc is not None:
        _libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
os.register_at_fork(after_in_child=lambda: end_with_parent() if getattr(_here, "depth", 0) else None)
