"""Signals that ask for an early end: they set a flag, and whoever works looks at it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_asked = threading.Event()
_bells: list[Callable[[], bool]] = []


def listen() -> None:
    """Let the signals set the flag, in this process, from now on. A second interrupt from the keyboard kills."""
    for number in SIGNALS:
        signal.signal(number, _ask)


def _ask(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _asked.set()


def ask() -> None:
    """Ask this process for an early end, as a signal would."""
    _asked.set()


def also_when(rings: Callable[[], bool]) -> None:
    """Let `asked` also look whether somebody else asks: rank 0, by a message."""
    _bells.append(rings)


def asked() -> bool:
    """Whether an early end was asked for; looked at some 40 times a second by those who work."""
    if not _asked.is_set() and any(rings() for rings in _bells):
        _asked.set()
    return _asked.is_set()
