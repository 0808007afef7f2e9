"""Symbolic links of this user or of root are followed, wherever a file is written; those of anybody else are not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hpcsweep.errors import StoreError

_MOST = 40  # links one after the other, as for Linux


def followed(path: Path) -> Path:
    """Return the file to which a link leads, its folder resolved.

    At a link that neither this user nor root has made, it is that link; after `_MOST` links, the last of them.
    """
    for _ in range(_MOST):
        path = Path(os.path.realpath(path.parent), path.name)
        try:
            status = path.lstat()
        except OSError:  # nothing is there, or nobody may look
            return path
        if not stat.S_ISLNK(status.st_mode) or status.st_uid not in (0, os.getuid()):
            return path
        path = path.parent / os.readlink(path)
    return path


def own(path: Path) -> Path:
    """Return the file to which a link leads, to be written. Raises `StoreError` at a link that is not followed."""
    file = followed(path)
    if os.path.islink(file):
        raise StoreError(f"{file} is a link of another user, or one of a circle of links; choose another file.")
    return file
