"""What packs on their way have saved, in FILE.checkpoints beside the store: one file for each pack, named by its cells.

A file is data without any code (`approx.states`), beside it the keys of the cells and a digest of our source; it is
renamed into place. What another version has saved is not taken up, nor what somebody else may have written: files and
folder must belong to this user, and be writable for nobody else.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import stat
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep.approx import states
from hpcsweep.approx.fitting import Fitted
from hpcsweep.approx.supnorm.certificate.branching import Boxes
from hpcsweep.approx.supnorm.certificate.certify import Pool
from hpcsweep.approx.supnorm.certificate.lower import LowerEnd
from hpcsweep.approx.supnorm.screening.screen import Screen
from hpcsweep.approx.supnorm.search.refine import Refined
from hpcsweep.approx.supnorm.survey import State
from hpcsweep.approx.training.settings import Trained
from hpcsweep.bracket import Bracket
from hpcsweep.cluster.options import CHECKPOINT_SECONDS
from hpcsweep.errors import StateError
from hpcsweep.store import layout
from hpcsweep.store.rewriting import replacing
from hpcsweep.study.keys import KeyIndex

SAVED = (
    Boxes,
    Bracket,
    Fitted,
    LowerEnd,
    Pool,
    Refined,
    Screen,
    State,
    Trained,
)  # the classes of which there may be objects


@functools.cache
def code() -> str:
    """Return a digest of the source of this package: what one version saves, another need not understand."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class CheckpointDir:
    """The folder of the checkpoints of one store; each pack saves `every` so many seconds."""

    folder: Path
    every: float = CHECKPOINT_SECONDS
    _read: dict[Path, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)  # keys, see `packs`

    @staticmethod
    def beside(store: Path, every: float = CHECKPOINT_SECONDS) -> CheckpointDir:
        """Return the checkpoints of a store."""
        return CheckpointDir(store.with_name(store.name + layout.SAVED), every)

    def path(self, keys: Sequence[str]) -> Path:
        """Return where a pack of these cells saves: in one of 256 folders, since there may be very many packs."""
        name = hashlib.blake2b("\n".join(keys).encode(), digest_size=16).hexdigest()
        return self.folder / name[:2] / name

    def saver(self, keys: Sequence[str]) -> Saver:
        """Return what saves a pack of these cells."""
        path = self.path(keys)
        return Saver(path, tuple(keys), self.every, folders=(self.folder, path.parent))

    def packs(self, since: float = 0.0) -> list[tuple[str, ...]]:
        """Return the cells of every pack with a checkpoint written after `since` (Unix time), in a fixed order.

        Each file is opened once, however often this is called: its name, a digest of its keys, stands for these.
        """
        packs = []
        for path in sorted(self.folder.glob("*/[!.]*")) if is_ours(self.folder) else []:
            with contextlib.suppress(StateError, OSError, KeyError, TypeError):
                keys = self._read[path] if path in self._read else tuple(states.about(path)["keys"])
                if is_ours(path) and path == self.path(keys):
                    self._read[path] = keys
                    packs += [keys] * (path.stat().st_mtime >= since)
        return packs

    def sweep(self, finished: np.ndarray) -> None:
        """Remove what killed runs left: unfinished files, checkpoints of `finished` cells (keys), and empty folders.

        Only for the holder of the store's lease.
        """
        if not is_ours(self.folder):
            return
        for left in self.folder.glob("*/.*.new"):
            left.unlink(missing_ok=True)
        index = KeyIndex(finished)
        for keys in self.packs():
            if index.holds(np.array(keys, "S32")).all():
                self.clear(keys)
        self._leave(*self.folder.glob("[!.]*"))

    def clear(self, keys: Sequence[str]) -> None:
        """Remove a checkpoint: its cells are finished, or are to begin anew."""
        path = self.path(keys)
        path.unlink(missing_ok=True)
        self._leave(path.parent)

    def _leave(self, *folders: Path) -> None:
        """Remove those of these folders that are empty, and the whole one if it is then."""
        for folder in (*folders, self.folder):
            with contextlib.suppress(OSError):  # not there, or others are in it
                folder.rmdir()


def is_ours(path: Path) -> bool:
    """Return whether a file or folder (no link) is there and this user's, and nobody else may write it.

    Says so, once, if it is somebody else's.
    """
    try:
        status = path.lstat()
    except OSError:
        return False
    if status.st_uid == os.getuid() and not status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode):
        return True
    _warn(path)
    return False


def _require_ours(path: Path) -> None:
    if not is_ours(path):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))


@functools.cache
def _warn(path: Path) -> None:
    print(f"hpcsweep: {path} is not used: others than this user may have written it.", file=sys.stderr, flush=True)


@dataclass
class Saver:
    """Where one pack saves what it has."""

    path: Path
    keys: tuple[str, ...]
    every: float = CHECKPOINT_SECONDS
    slowest: float = 0.0  # seconds that a checkpoint took
    folders: tuple[Path, ...] = ()  # made for it alone, the outer one first

    def save(self, state: Any) -> None:
        """Put a checkpoint in place of the last one, if that is possible: a full disk costs no pack."""
        begun = time.perf_counter()
        with contextlib.suppress(OSError):
            self.keep(state)
        self.slowest = max(self.slowest, time.perf_counter() - begun)

    def keep(self, state: Any) -> None:
        """Put a checkpoint in place of the last one. Raises `OSError` if `load` would not find it."""
        for folder in self.folders:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not folder.is_symlink():
                folder.chmod(0o700)  # an earlier version let a group write
            _require_ours(folder)  # a link may lead to anything
        with replacing(self.path) as temporary:
            temporary.chmod(0o600)
            states.write(temporary, state, SAVED, {"keys": list(self.keys), "code": code()})
        _require_ours(self.path)

    def load(self) -> Any:
        """Return what was saved last; None if there is nothing, or nothing of this version that can be trusted."""
        if not all(is_ours(path) for path in (*self.folders, self.path)):
            return None
        try:
            same = states.about(self.path) == {"keys": list(self.keys), "code": code()}
            return states.read(self.path, SAVED) if same else None
        except StateError as error:
            print(f"hpcsweep: {error} Its work begins anew.", file=sys.stderr)
            return None
