"""Brackets of a store checked by ball arithmetic, which shares no rule of enclosure with what proved them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep.cluster import worker
from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.trust import Trust
from hpcsweep.config import DATA, Cell
from hpcsweep.errors import LaunchError, StoreError
from hpcsweep.store import layout, verifying, weights
from hpcsweep.store.reading import opened, read_cells, row_of

CONFIRMED, REFUTED, UNDECIDED = 0, 1, 3  # exit codes
OF_DATA = "its target is data, a maximum over held-out rows: there is no function to prove anything against"
EVALUATED = "lower: evaluated"  # in the message of a cell whose lower end is not proved


@dataclass(frozen=True)
class Verified:
    """A cell, its stored bracket, and what became of both ends of it.

    Attributes
    ----------
    lower, upper : a word each: confirmed, refuted, not confirmed, nothing claimed
    remarks : sentences about what is not confirmed
    where : a point that refutes the upper end
    """

    key: str
    target: str
    dimension: int
    model: str
    sup_lower: float
    sup_upper: float
    lower: str
    upper: str
    boxes: int = 0
    where: tuple[float, ...] = ()
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """`CONFIRMED` if all that is claimed is confirmed, or `REFUTED`, or `UNDECIDED`."""
        if "refuted" in (self.lower, self.upper):
            return REFUTED
        return UNDECIDED if "not confirmed" in (self.lower, self.upper) else CONFIRMED


@dataclass(frozen=True)
class Effort:
    """What is spent on a cell: so many boxes and seconds at most; the seed of the sample, and of points."""

    boxes: int
    seconds: float
    seed: int = 0


def verify(
    path: Path, keys: Sequence[str], sample: int, effort: Effort, folder: Path | None, trust: Trust, shown: Display
) -> tuple[list[Verified], int]:
    """Check cells of a store; nothing is written.

    Parameters
    ----------
    keys: beginnings of the keys of the cells; without any, `sample` of those that have a bracket.
    folder, trust: where plugins lie, and whether they may be executed; see `replay`.

    Returns
    -------
    The cells, and how many there were to choose from.

    Raises
    ------
    LaunchError: without python-flint.
    PluginError: if a cell has a plugin that may not be executed.
    StoreError: if the store is damaged, or there is nothing to check.
    """
    if find_spec("flint") is None:
        raise LaunchError("`verify` requires python-flint (pip install 'hpcsweep[verify]').")
    verifying.require(path)
    cells = read_cells(path)
    known = cells.columns["key"]
    with opened(path) as file:
        stored = {name: file[name][:] for name in ("status", "sup_lower", "sup_upper", "sup_where", "message")}
    measured = np.flatnonzero(np.isfinite(stored["sup_lower"]))
    if keys:
        rows = list(dict.fromkeys(row_of(known, key, path) for key in keys))
    else:
        generator = np.random.Generator(np.random.Philox(key=effort.seed))
        rows = sorted(generator.choice(measured, min(sample, len(measured)), replace=False).tolist())
    if not rows:
        raise StoreError(f"{path} has no cell with a bracket to verify; `status` shows what became of its cells.")
    vectors = weights.parameters(path, [known[row].decode() for row in rows])
    folder, chosen = trust.folder(folder), [cells.cell(row) for row in rows]
    trust.require(path, worker.plugins_of(chosen), folder)
    verified: list[Verified] = []
    for cell, row, vector in zip(chosen, rows, vectors, strict=True):
        shown.show(len(verified), len(rows), None, cell.key[:8])
        of_row = {name: values[row] for name, values in stored.items()}
        verified.append(_verified(cell, of_row, vector, effort, folder))
    shown.show(len(verified), len(rows), None, "")
    return verified, len(measured)


def _verified(cell: Cell, stored: dict[str, Any], vector: np.ndarray | None, effort: Effort, folder: Path) -> Verified:
    lower, upper = float(stored["sup_lower"]), float(stored["sup_upper"])
    about = (cell.key, cell.target.label or cell.target.name, cell.dimension, cell.model.label or cell.model.name)
    missing = "" if vector is not None else "its parameters are not stored"
    if not math.isfinite(lower):
        missing = f"it has no bracket (it is {layout.STATUS[stored['status']]})"
    if cell.target.name == DATA and not missing:
        return Verified(*about, lower, upper, "nothing claimed", "nothing claimed", remarks=(OF_DATA,))
    if missing or vector is None:
        return Verified(*about, lower, upper, "not confirmed", "not confirmed", remarks=(missing,))
    from hpcsweep.approx.supnorm.verification import networks, proving

    start, where = time.perf_counter(), tuple(stored["sup_where"][: cell.dimension].tolist())
    error, domain = networks.error_function(cell.target, cell.dimension, cell.model, vector, folder)
    low, high = proving.ends(error, domain, where, (lower, upper), effort.boxes, effort.seconds, effort.seed)
    if low.verdict == proving.REFUTED and EVALUATED in stored["message"].decode():
        low = proving.Verdict(proving.OPEN, f"{low.reason}, which was evaluated, not proved")
    remarks = tuple(f"{end}: {of.reason}" for end, of in (("lower", low), ("upper", high)) if of.reason)
    seconds = time.perf_counter() - start
    return Verified(*about, lower, upper, low.verdict, high.verdict, high.boxes, high.where, seconds, remarks)
