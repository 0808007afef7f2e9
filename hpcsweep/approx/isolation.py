"""A user's code leaves this process as it found it, whatever it sets, raises or forks."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, final

import numpy as np
import torch

from hpcsweep.approx.process_settings import SETTINGS, SLOW, Setting
from hpcsweep.errors import PluginError

_HANDLED = tuple(
    number for number in signal.valid_signals() if number not in (signal.SIGINT, signal.SIGKILL, signal.SIGSTOP)
)
_DIE_WITH_PARENT = 1  # of prctl

_imported: dict[str, dict[str, Any]] = {}  # by module: the settings that it changed when it was imported
_here = threading.local()  # of this thread: `depth`, of blocks of a user's code; `seed`, see `reseeded`
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

    Afterwards the settings of torch (default device and dtype, autocast, threads, modes), NumPy and Python, the states
    of random generators, the working folder, the environment, limits and the handlers of signals are what they were
    (`process_settings` lists them). Inside, they are what the `module` of the code made of them when it was imported
    (`importing`).

    What is raised is raised; but what would end the process, `KeyboardInterrupt`, `SystemExit` and others that are no
    `Exception`, becomes a PluginError, "`problem`: KeyboardInterrupt". An interrupt from the keyboard stays one, even
    where the code suppresses it. A process that the code forks ends where it leaves the block, or with its parent.
    """

    def __init__(self, problem: str, module: str = "", brief: bool = False) -> None:
        """`brief`: leave out signals and what is `SLOW`, for calls of microseconds that another block encloses."""
        self._problem, self._module, self._brief = problem, module, brief

    def __enter__(self) -> isolated:
        self._process, self._interrupted = os.getpid(), False
        self._settings = {name: setting.read() for name, setting in SETTINGS.items()}
        self._random: dict[str, Any] = {}
        self._handlers: dict[int, Any] = {}
        self._interrupts: Any = None
        if not self._brief:
            self._watch()
        self._settle(_imported.get(self._module, {}), getattr(_here, "seed", None))
        _here.depth = getattr(_here, "depth", 0) + 1
        return self

    def _watch(self) -> None:
        self._random = {name: setting.read() for name, setting in SLOW.items()}
        self._timer = signal.getitimer(signal.ITIMER_REAL)
        if threading.current_thread() is threading.main_thread():  # nobody else may set them
            self._handlers = {number: signal.getsignal(number) for number in _HANDLED}
            self._interrupts = signal.getsignal(signal.SIGINT)
            if callable(self._interrupts):
                signal.signal(signal.SIGINT, self._interrupt)

    def _settle(self, imported: Mapping[str, Any], seed: int | None) -> None:
        _write({**SETTINGS, **SLOW}, imported)
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
        for name, value in self._settings.items():
            if SETTINGS[name].read() != value:
                SETTINGS[name].write(value)
        _write(SLOW, self._random)
        if not self._brief and self._timer[0] == 0.0:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        if self._handlers:
            for number, handler in {**self._handlers, signal.SIGINT: self._interrupts}.items():
                if handler is not None and signal.getsignal(number) != handler:
                    signal.signal(number, handler)


@contextlib.contextmanager
def importing(module: str) -> Iterator[None]:
    """Import a user's `module` in this block, within an `isolated` one.

    What it sets, it finds again whenever its code runs, and nobody else does: it may choose a default dtype or seed
    random generators for its own calls.
    """
    readable = {**SETTINGS, **SLOW}
    before = {name: setting.read() for name, setting in readable.items()}
    yield
    after = {name: setting.read() for name, setting in readable.items()}
    _imported[module] = {name: value for name, value in after.items() if not _same(value, before[name])}


def _same(left: Any, right: Any) -> bool:
    """Return whether two settings or states are equal; those of torch are tensors."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    return left is right or str(left) == str(right)


def _write(settings: Mapping[str, Setting], values: Mapping[str, Any]) -> None:
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
