"""What packs on their way have saved, in FILE.checkpoints beside the store: one file for each pack, named by its cells.

A file is first the keys of the cells, then a digest of our source, then what was saved: pickled, renamed into place.
What another version has saved is not taken up. Files are as much to be trusted as plugins: whoever can write beside the
store can run code.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hpcsweep
from hpcsweep.cluster.options import CHECKPOINT_SECONDS
from hpcsweep.store import layout
from hpcsweep.store.rewriting import replacing


@functools.cache
def code() -> str:
    """Return a digest of the source of this package: what one version saves, another need not understand."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(hpcsweep.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class CheckpointDir:
    """The folder of the checkpoints of one store; each pack saves `every` so many seconds."""

    folder: Path
    every: float = CHECKPOINT_SECONDS

    @staticmethod
    def beside(store: Path, every: float = CHECKPOINT_SECONDS) -> CheckpointDir:
        """Return the checkpoints of a store."""
        return CheckpointDir(store.with_name(store.name + layout.SAVED), every)

    def path(self, keys: Sequence[str]) -> Path:
        """Return where a pack of these cells saves."""
        return self.folder / hashlib.blake2b("\n".join(keys).encode(), digest_size=16).hexdigest()

    def saver(self, keys: Sequence[str]) -> Saver:
        """Return what saves a pack of these cells."""
        return Saver(self.path(keys), tuple(keys), self.every)

    def packs(self, since: float = 0.0) -> list[tuple[str, ...]]:
        """Return the cells of every pack with a checkpoint written after `since` (Unix time), in a fixed order."""
        packs = []
        for path in sorted(self.folder.glob("*")) if self.folder.is_dir() else []:
            with contextlib.suppress(Exception), path.open("rb") as file:  # pickle raises anything for nonsense
                keys = pickle.load(file)
                if path == self.path(keys) and path.stat().st_mtime >= since:
                    packs.append(tuple(keys))
        return packs

    def sweep(self) -> None:
        """Remove what killed runs left of unfinished files; only for the holder of the store's lease."""
        for left in self.folder.glob(".*.new"):
            left.unlink(missing_ok=True)

    def clear(self, keys: Sequence[str]) -> None:
        """Remove a checkpoint: its cells are finished, or are to begin anew."""
        self.path(keys).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or others are in it
            self.folder.rmdir()


@dataclass
class Saver:
    """Where one pack saves what it has."""

    path: Path
    keys: tuple[str, ...]
    every: float = CHECKPOINT_SECONDS
    slowest: float = 0.0  # seconds that a checkpoint took

    def save(self, state: Any) -> None:
        """Put a checkpoint in place of the last one."""
        begun = time.perf_counter()
        with contextlib.suppress(OSError):  # a full disk costs the checkpoint, not the pack
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as temporary, temporary.open("wb") as file:
                pickle.dump(self.keys, file)
                pickle.dump(code(), file)
                pickle.dump(state, file, protocol=pickle.HIGHEST_PROTOCOL)
        self.slowest = max(self.slowest, time.perf_counter() - begun)

    def load(self) -> Any:
        """Return what was saved last; None if there is nothing, or nothing that can be read."""
        try:
            with self.path.open("rb") as file:
                known = tuple(pickle.load(file)), pickle.load(file)
                return pickle.load(file) if known == (self.keys, code()) else None
        except FileNotFoundError:
            return None
        except Exception:  # of another version, or of another kind of device: the pack begins anew
            return None
