"""Signals that ask for an early end: they set a flag, and whoever works looks at it."""

from __future__ import annotations

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_asked = threading.Event()


def listen() -> None:
    """Let the signals set the flag, in this process, from now on. A second interrupt from the keyboard kills."""
    for number in SIGNALS:
        signal.signal(number, _ask)


def _ask(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _asked.set()


def asked() -> bool:
    """Whether an early end was asked for."""
    return _asked.is_set()
