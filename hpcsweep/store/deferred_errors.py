"""HDF5 files whose errors of writing are kept until HDF5 has closed them.

HDF5 does not survive a write that fails: with a full disk, or a limit on the size of files, it cannot close the file
any more, says so in forty lines, and often ends the process (segmentation fault) when this or a later file is closed.
So it writes through a file object that never fails: the first error is kept, nothing is written after it, and it is
raised once the file is closed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import h5py

REMEDIES = {
    errno.ENOSPC: "free space on the disk, or choose a file elsewhere with -o",
    errno.EDQUOT: "free space in your quota, or choose a file elsewhere with -o",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f), or choose a file elsewhere with -o",
}


class _Patient(io.RawIOBase):
    """A file for HDF5. After the first error, kept in `error`, it takes everything and is empty to read."""

    def __init__(self, path: Path, mode: Literal["w", "r+"]) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if mode == "w" else 0)
        self._descriptor = os.open(path, flags, 0o666)
        self._at, self._end = 0, os.fstat(self._descriptor).st_size
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = 0
        if self.error is None:
            with self._keeping():
                while count < len(view) and (got := os.preadv(self._descriptor, [view[count:]], self._at + count)):
                    count += got
        view[count:] = bytes(len(view) - count)  # beyond the end, where HDF5 has written nothing yet
        self._at += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        left, where = memoryview(data).cast("B"), self._at
        self._at += len(left)
        self._end, taken = max(self._end, self._at), len(left)
        with self._keeping():
            while left and self.error is None:
                written = os.pwrite(self._descriptor, left, where)
                left, where = left[written:], where + written
        return taken

    def truncate(self, size: int | None = None) -> int:
        self._end = self._at if size is None else size
        if self.error is None:
            with self._keeping():
                os.ftruncate(self._descriptor, self._end)
        return self._end

    def close(self) -> None:
        if not self.closed:
            with self._keeping():
                os.close(self._descriptor)
        io.RawIOBase.close(self)

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error


@contextlib.contextmanager
def written(path: Path, mode: Literal["w", "r+"]) -> Iterator[h5py.File]:
    """Open an HDF5 file for writing, new ("w") or as it is ("r+").

    Raises `OSError` at the end if something of it could not be written, whatever HDF5 made of that.
    """
    with contextlib.closing(_Patient(path, mode)) as raw:
        try:
            with h5py.File(raw, mode) as file:
                yield file
        except Exception:
            if raw.error is None:
                raise
    if raw.error is not None:
        raise raw.error


def reason(error: Exception) -> str:
    """Say why something could not be written, and what to do."""
    if isinstance(error, KeyError):  # of a file that lacks something
        return str(error)
    if not isinstance(error, OSError) or error.errno is None:
        return f"{error}; remove the cause and run again"
    remedy = REMEDIES.get(error.errno, "remove the cause and run again, or choose a file elsewhere with -o")
    return f"{os.strerror(error.errno)}; {remedy}"
