"""Flipped bits, zeroed pages and cuts in everything that lies beside a store: noticed, provably harmless, or silent."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.errors import UserError
from hpcsweep.findings import dataset
from hpcsweep.store import journal, verifying, weights
from hpcsweep.store.lease import Lease
from scripts.store_attacks import folder, model
from scripts.store_attacks.actions import STORE
from scripts.store_attacks.power import Files

KEPT = ("0" * 32, "1" * 32)  # cells that have a checkpoint


def sound(place: Path) -> tuple[Files, Files]:
    """Return a finished store with its weights and two checkpoints; and the same with a journal of a measurement."""
    study, cells = model.study_of(replicates=2)
    path = place / STORE
    folder.put(place, {})
    model.work(path, study, cells)
    for key in KEPT:
        CheckpointDir.beside(path).saver((key,)).save(model.state((key,), 1))
    whole = folder.content(place)
    keys = cells.columns["key"][:4].tolist()
    write, journal._write = journal._write, _cut_off
    with contextlib.suppress(KeyboardInterrupt):
        journal.change(path, {key.decode(): {"points": 7} for key in keys})
    journal._write = write
    return whole, folder.content(place)


def _cut_off(data: object, place: int, row: object) -> None:
    raise KeyboardInterrupt


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


def attacks(whole: Files, cut_off: Files, kind: str, count: int) -> Iterator[Files]:
    """Yield the files of a store of which one is damaged: each kind of file in its turn."""
    chance, paths = random.Random(kind), sorted(cut_off)
    for number in range(count):
        path = paths[number % len(paths)]
        while (damaged := spoiled(cut_off[path], kind, chance)) == cut_off[path]:
            pass  # a page of zeros already
        yield {**(whole if path in whole else cut_off), path: damaged}


def verdict(path: Path, good: tuple[str, ...]) -> str:
    """Return what becomes of a store of which something is damaged: "noticed", "harmless", or "! silent".

    Noticed: `status --verify` names something, or it is a sentence that the file cannot be read, or the work of a
    checkpoint begins anew. Harmless: all that can be read is one of the contents in `good`.
    """
    try:
        found = completed(path)
        if verifying.verify(path):
            return "noticed"
        if found not in good:
            return "! silent"
    except UserError:
        return "noticed"
    saved = [CheckpointDir.beside(path).saver((key,)).load() for key in KEPT]
    if not all(model.is_state((key,), state) for key, state in zip(KEPT, saved, strict=True)):
        return "! silent"
    return "harmless" if all(state is not None for state in saved) else "noticed"


def completed(path: Path) -> str:
    """Make the changes of a journal, as the next launch does; return a digest of all that can be read afterwards."""
    if journal.path_of(path).exists():
        with Lease(path):
            journal.replay(path)
    read = dataset.read(path, history=True)
    names = sorted(map(str, read.variables))
    values = {name: read[name].values.tobytes() for name in names if read[name].dtype != object}
    texts = {name: read[name].values.tolist() for name in names if read[name].dtype == object}
    keys = read["key"].values.tolist()
    kept = [None if array is None else array.tobytes() for array in weights.parameters(path, keys)]
    pictures = [
        [None if array is None else np.asarray(array).tobytes() for array in vars(weights.pictures(path, key)).values()]
        for key in keys
    ]
    return hashlib.blake2b(repr((str(read.attrs), values, texts, kept, pictures)).encode()).hexdigest()
