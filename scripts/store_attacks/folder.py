"""Folders of small files, kept in memory and put back."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path


def content(folder: Path) -> dict[Path, bytes]:
    """Return every file in a folder and below, by its path there."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def digest(folder: Path) -> bytes:
    """Return a digest of all that a folder holds; of leases and unfinished new files, how many there are."""
    total = hashlib.blake2b(digest_size=16)
    for path, octets in sorted(content(folder).items()):
        name, octets = (path.suffix, b"") if path.suffix == ".new" or ".lease" in path.name else (str(path), octets)
        total.update(f"{name} {len(octets)} ".encode() + octets)
    return total.digest()


def put(folder: Path, files: Mapping[Path, bytes]) -> None:
    """Let a folder hold these files and nothing else; leases of processes that are no more are left out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, octets in files.items():
        if path.suffix != ".lease":
            (folder / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / path).write_bytes(octets)
            (folder / path).chmod(0o600)
