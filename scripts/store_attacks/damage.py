"""Flipped bits and zeroed pages, in a store and in its weights: noticed, provably harmless, or silent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hpcsweep.errors import UserError
from hpcsweep.findings import dataset
from hpcsweep.store import verifying, weights


def spoiled(content: bytes, kind: str, chance: random.Random) -> bytes:
    """Return a file with a flipped bit ("flip"), a page of zeros ("page"), or cut short ("cut")."""
    damaged = bytearray(content)
    place = chance.randrange(len(damaged))
    if kind == "flip":
        damaged[place] ^= 1 << chance.randrange(8)
    elif kind == "page":
        start = place // 4096 * 4096
        damaged[start : start + 4096] = bytes(len(damaged[start : start + 4096]))
    else:
        del damaged[place:]
    return bytes(damaged)


def verdict(path: Path, keys: list[str], good: tuple[object, ...]) -> str:
    """Return what becomes of a damaged store: "noticed", "harmless", or "silent".

    Noticed: `status --verify` names something, or says that the file cannot be read. Harmless: all that can be read is
    the same as before.
    """
    try:
        if verifying.verify(path):
            return "noticed"
    except UserError:
        return "noticed"
    return "harmless" if everything(path, keys) == good else "silent"


def everything(path: Path, keys: list[str]) -> tuple[object, ...]:
    """Return all that can be read of a store, and of its weights, in a form that compares."""
    read = dataset.read(path, history=True)
    names = sorted(map(str, read.variables))
    values = {name: read[name].values.tobytes() for name in names if read[name].dtype != object}
    texts = {name: read[name].values.tolist() for name in names if read[name].dtype == object}
    kept = [None if array is None else array.tobytes() for array in weights.parameters(path, keys)]
    pictures = [
        [None if array is None else np.asarray(array).tobytes() for array in vars(weights.pictures(path, key)).values()]
        for key in keys
    ]
    return str(read.attrs), values, texts, kept, pictures


def attacks(content: dict[Path, bytes], kind: str, count: int, seed: int) -> Iterator[dict[Path, bytes]]:
    """Yield contents of a store and its weights with one damage each."""
    chance, paths = random.Random(seed), list(content)
    for number in range(count):
        path = paths[number % len(paths)]
        damaged = spoiled(content[path], kind, chance)
        if damaged != content[path]:
            yield {**content, path: damaged}
