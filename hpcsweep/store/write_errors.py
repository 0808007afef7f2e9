"""Errors of writing: the sentence for a full disk, a quota or a limit on file sizes, and HDF5 files that survive them.

HDF5 does not survive a write that fails: with a full disk, or a limit on the size of files, it cannot close the file
any more, prints forty lines about it, and often ends the process (segmentation fault) when this or a later file is
closed. It therefore writes through a file object that never fails: the first error is kept, nothing is written after
it, and it is raised once HDF5 has closed the file.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from hpcsweep.errors import StoreError

REMEDIES = {
    errno.ENOSPC: "free space on the disk, or choose a file elsewhere with -o",
    errno.EDQUOT: "free space in your quota, or choose a file elsewhere with -o",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f), or choose a file elsewhere with -o",
}


@contextlib.contextmanager
def explained(failure: str, *further: type[Exception]) -> Iterator[None]:
    """Raise errors of writing in the block, and `further` ones, as `StoreError`: `failure`, the reason and the remedy.

    `failure` is the beginning of the sentence, such as "The store s.h5 cannot be written".
    """
    kinds: tuple[type[Exception], ...] = (OSError, RuntimeError, *further)  # h5py raises either
    try:
        yield
    except kinds as error:
        raise StoreError(f"{failure}: {reason(error)}.") from error


def reason(error: Exception) -> str:
    """Say why something could not be written, and what to do."""
    if isinstance(error, KeyError):  # of a file that lacks a dataset
        return str(error)
    if not isinstance(error, OSError) or error.errno is None:
        return f"{error}; fix the cause and run again"
    remedy = REMEDIES.get(error.errno, "fix the cause and run again, or choose a file elsewhere with -o")
    return f"{os.strerror(error.errno)}; {remedy}"


def require_space(folder: Path, size: int) -> None:
    """Raise `StoreError` if the disk of a folder has fewer than `size` bytes free."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StoreError(
            f"{folder} has {free / 2**20:.3g} MiB free and the store cannot be written in less than "
            f"{size / 2**20:.3g} MiB; free some space, or choose a file elsewhere with -o."
        )


@contextlib.contextmanager
def deferred(path: Path) -> Iterator[h5py.File]:
    """Open a new HDF5 file for writing.

    Raises `OSError` at the end if something of it could not be written, whatever HDF5 made of that.
    """
    with contextlib.closing(_DeferringFile(path)) as raw:
        try:
            with h5py.File(raw, "w") as file:
                yield file
        except Exception:
            if raw.error is None:
                raise
    if raw.error is not None:
        raise raw.error


class _DeferringFile(io.RawIOBase):
    """A file for HDF5. After the first error, kept in `error`, it ignores what is written and reads as zeros."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o666)
        self._position, self._end = 0, 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view, count = memoryview(buffer).cast("B"), 0
        with self._keeping():
            while self.error is None and count < len(view):
                if not (got := os.preadv(self._descriptor, [view[count:]], self._position + count)):
                    break
                count += got
        view[count:] = bytes(len(view) - count)  # beyond the end, where HDF5 has written nothing yet
        self._position += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        left, position, size = memoryview(data).cast("B"), self._position, memoryview(data).nbytes
        self._position += size
        self._end = max(self._end, self._position)
        with self._keeping():
            while left and self.error is None:
                written = os.pwrite(self._descriptor, left, position)
                left, position = left[written:], position + written
        return size

    def truncate(self, size: int | None = None) -> int:
        self._end = self._position if size is None else size
        with self._keeping():
            if self.error is None:
                os.ftruncate(self._descriptor, self._end)
        return self._end

    def close(self) -> None:
        if not self.closed:
            with self._keeping():
                os.close(self._descriptor)
        io.RawIOBase.close(self)

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        """Keep the first error of the system calls inside."""
        try:
            yield
        except OSError as error:
            self.error = self.error or error
