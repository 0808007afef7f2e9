"""Power cuts: of what was written since the last sync, any pages reach the disk and any do not."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PAGE = 4096
Event = tuple[str, Path, int, bytes]  # what happened ("write", "sync"), to which file, where, with what


@contextmanager
def recorded(events: list[Event], files: Sequence[Path]) -> Iterator[None]:
    """Record writes to, and syncs of, some files."""
    write, sync = os.pwrite, os.fsync

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        count = write(descriptor, data, offset)
        events.append(("write", _file(descriptor), offset, bytes(data[:count])))
        return count

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        events.append(("sync", _file(descriptor), 0, b""))

    os.pwrite, os.fsync = pwrite, fsync
    try:
        yield
    finally:
        os.pwrite, os.fsync = write, sync
        events[:] = [event for event in events if event[1] in files]


def _file(descriptor: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"))


def images(
    before: dict[Path, bytes], events: list[Event], count: int, seed: int
) -> Iterator[tuple[int, dict[Path, bytes]]]:
    """Yield what may be on the disk after a power cut: after how many events, and the content of every file."""
    chance = random.Random(seed)
    for _ in range(count):
        cut = chance.randrange(len(events) + 1)
        safe, now = dict(before), {path: bytearray(content) for path, content in before.items()}
        for kind, path, offset, data in events[:cut]:
            if kind == "write":
                now[path][offset : offset + len(data)] = data
            else:
                safe[path] = bytes(now[path])
        share = chance.choice((0.1, 0.5, 0.9))
        yield cut, {path: _torn(safe[path], now[path], chance, share) for path in before}


def _torn(old: bytes, new: bytearray, chance: random.Random, share: float) -> bytes:
    """Return a file of which this share of the pages that differ are new."""
    image = bytearray(old)
    for start in range(0, len(new), PAGE):
        page = slice(start, start + PAGE)
        if new[page] != image[page] and chance.random() < share:
            image[page] = new[page]
    return bytes(image)
