"""Power cuts: what may be on the disk at any moment, of everything in a folder.

Of every file the disk holds what it held at its last sync, and any of the pages that were written since. Names appear,
change and vanish in the order of the calls, as a file system with a journal keeps it, up to any moment since the last
sync of a folder.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = 4096
NAMES = ("pwrite", "fsync", "replace", "rename", "link", "unlink", "open", "mkdir", "rmdir")
Files = dict[Path, bytes]  # by their paths in a folder


@dataclass(frozen=True)
class Moment:
    """What a folder holds between two calls."""

    names: dict[Path, int]  # the number of the file with this path
    written: dict[int, bytes]  # what a reader sees
    synced: dict[int, bytes]  # what is on the disk for certain
    settled: int  # the first moment whose names may be those on the disk


class Recorder:
    """Sees what calls make of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.moments = folder, list[Moment]()
        self._held: dict[int, int] = {}  # descriptors, so that no number of a file is used again
        self._written: dict[int, bytes] = {}
        self._synced: dict[int, bytes] = {}
        self._settled = 0
        self.look()
        self._synced = dict(self._written)  # what was there before is on the disk
        self.moments.clear()
        self.look()

    def look(self, synced: os.stat_result | None = None) -> None:
        """Note a moment, just after a call; `synced`: the file or folder that it forced onto the disk."""
        names = {}
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            number = path.stat().st_ino
            if number not in self._held:
                self._held[number] = os.open(path, os.O_RDONLY)
            content = path.read_bytes()
            if content != self._written.get(number):
                self._written[number] = content
            names[path.relative_to(self.folder)] = number
        if synced is not None and stat.S_ISDIR(synced.st_mode):
            self._settled = len(self.moments)
        elif synced is not None and synced.st_ino in self._written:
            self._synced[synced.st_ino] = self._written[synced.st_ino]
        self.moments.append(Moment(names, dict(self._written), dict(self._synced), self._settled))

    def close(self) -> None:
        """Let go of all files."""
        for descriptor in self._held.values():
            os.close(descriptor)


@contextmanager
def recorded(folder: Path) -> Iterator[list[Moment]]:
    """Give the moments of a folder, between any two calls that write to it in the block."""
    real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in NAMES}
    recorder = Recorder(folder)

    def watching(name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            result = real[name](*given, **named)
            if name != "open" or given[1] & os.O_CREAT:
                with _restored(real):
                    recorder.look(os.fstat(given[0]) if name == "fsync" else None)
            return result

        return call

    watched = {name: watching(name) for name in NAMES}
    with _restored(watched):
        yield recorder.moments
    recorder.close()


@contextmanager
def _restored(functions: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Let `os` have these functions in the block."""
    before = {name: getattr(os, name) for name in functions}
    vars(os).update(functions)
    try:
        yield
    finally:
        vars(os).update(before)


def images(moments: list[Moment], count: int, seed: int) -> Iterator[Files]:
    """Yield what may be on the disk after a power cut at any moment.

    Of four, three are while a store or weights are not on the disk, and two of these just before they are forced there,
    when most is at stake.
    """
    chance = random.Random(seed)
    everything = range(len(moments))
    written = [cut for cut in everything if _differ(moments[cut], moments[cut].written, moments[cut].synced)]
    later = [moment.synced for moment in moments[1:]] + [{}]
    syncs = [cut for cut in written if _differ(moments[cut], moments[cut].synced, later[cut])]
    for number in range(count):
        cut = chance.choice((everything, written or everything, syncs or everything)[min((seed + number) % 4, 2)])
        moment = moments[cut]
        names, share = moments[chance.randint(moment.settled, cut)].names, chance.choice((0.1, 0.5, 0.9))
        yield {
            path: _torn(moment.synced.get(number, b""), moment.written[number], chance, share)
            for path, number in names.items()
        }


def _differ(moment: Moment, one: dict[int, bytes], other: dict[int, bytes]) -> bool:
    """Return whether the contents of a store, or of weights, differ."""
    return any(one.get(number) != other.get(number) for path, number in moment.names.items() if path.suffix == ".h5")


def _torn(old: bytes, new: bytes, chance: random.Random, share: float) -> bytes:
    """Return a file of which this share of the pages that differ are new; its length is the old one or the new one."""
    size = len(chance.choice((old, new)))
    image = bytearray(old[:size].ljust(size, b"\0"))
    for start in range(0, size, PAGE):
        page = slice(start, min(start + PAGE, size))
        if new[page] != image[page] and chance.random() < share:
            image[page] = new[page].ljust(page.stop - page.start, b"\0")
    return bytes(image)
