"""One cell of a store, trained and measured again: what is stored and what comes out now, side by side.

A cell has the bits that it has alone, whatever travelled with it, on any number of ranks and cores. So equal bits are
expected here, and a difference says that the code, the versions, the kind of device or, where torch or LAPACK computes
(docs/guarantees.md), the type of processor are others than then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.cluster import devices, worker
from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.progress import Display
from hpcsweep.cluster.sweep import Raised, Sweep
from hpcsweep.cluster.trust import Trust
from hpcsweep.cluster.workforce import Workforce
from hpcsweep.errors import LaunchError
from hpcsweep.store import layout, verifying, weights
from hpcsweep.store.reading import opened, read_cells, row_of
from hpcsweep.store.store import Record
from hpcsweep.study import parsing
from hpcsweep.study.cells import Cells
from hpcsweep.study.plan import Pack

COMPARED = ("status", "steps", "train_rmse", "sup_lower", "sup_upper", "sup_where", "l2_error", "l1_error", "boxes")
OF_EQUATIONS = "solution_upper"  # compared too where it is not NaN


@dataclass(frozen=True)
class Quantity:
    """One result of a cell, stored and replayed."""

    name: str
    stored: Any
    replayed: Any

    @property
    def same(self) -> bool:
        """Whether both are equal to the bit; two NaN are."""
        return bool(np.array_equal(np.atleast_1d(self.stored), np.atleast_1d(self.replayed), equal_nan=True))


@dataclass(frozen=True)
class Replayed:
    """A cell, what there is of it now and then, its message now, and with what it was computed then."""

    key: str
    told: str  # the cell in words
    quantities: list[Quantity]
    message: str
    versions: tuple[str, ...]  # of the runs that the store knows
    parameters: np.ndarray | None  # (parameters,), of now


def replay(
    path: Path, key: str, folder: Path | None = None, options: RunOptions | None = None, trust: Trust | None = None
) -> Replayed:
    """Train and measure the cell whose key begins with `key` again, by the study text in the store.

    `folder`: what the paths of plugins are relative to, by default that of the study in `trust`, which says whether
    they may be executed. Uses as many cores as the store says; nothing is written.

    Raises
    ------
    PluginError : if the cell has a plugin that may not be executed
    StoreError : if the store is damaged outside its rows, no cell has such a key, or several have
    LaunchError : if the training itself raises
    """
    verifying.require_cells(path)
    cells = read_cells(path)
    row = row_of(cells.columns["key"], key, path)
    cell, trust = cells.cell(row), trust or Trust()
    folder = trust.folder(folder)
    trust.require(path, worker.plugins_of([cell]), folder)
    with opened(path) as file:
        text, threads = str(file.attrs["study"]), int(file["threads"][row])
        versions = tuple(dict.fromkeys(version.decode() for version in file["run_versions"][:]))
        stored = {name: file[name][row] for name in COMPARED}
        if OF_EQUATIONS in file and not np.isnan(file[OF_EQUATIONS][row]):
            stored[OF_EQUATIONS] = file[OF_EQUATIONS][row]
    device = devices.alone(dataclasses.replace(options or RunOptions.read(), threads=max(threads, 1)))
    pricer, workforce = Pricer(parsing.parse(text, Catalogue(folder), folder)), Workforce(None, [(device.about, "")])
    records: list[Record] = []
    kept: Any = _OneCell(cells.take(np.array([row])), records)
    with tempfile.TemporaryDirectory() as temporary, contextlib.closing(workforce):
        Sweep(pricer, kept, workforce, Display(), CheckpointDir(Path(temporary)), math.inf).run(
            [Pack((0,), 0.0, 0, 0.0)]
        )
    [record] = records
    if isinstance(record, Raised):
        raise LaunchError(f"The cell raised {record.values['message']}")
    told = f"{cell.target.name}, {cell.dimension}-D, {cell.parameters} parameters, {cell.samples} samples"
    told = f"{told}, {cell.optimizer.name}, replicate {cell.replicate}"
    quantities = [Quantity(name, stored[name], now) for name, now in _now(record, stored).items()]
    [trained] = weights.parameters(path, [cell.key])
    if trained is not None and record.parameters is not None:
        quantities.append(Quantity("parameters", trained, record.parameters))
    return Replayed(cell.key, told, quantities, str(record.values.get("message", "")), versions, record.parameters)


class _OneCell:
    """What `Sweep` takes for a store of one cell; its records go into a list and are written nowhere."""

    planned = 1

    def __init__(self, cells: Cells, records: list[Record]) -> None:
        self.cells, self._records, self.status = cells, records, np.zeros(1)

    def keys(self, rows: Sequence[int]) -> tuple[str, ...]:
        return (self.cells.cell(0).key,)

    def start(self, rows: Sequence[int]) -> None: ...

    def seconds_ahead(self) -> None: ...

    def release(self, rows: Sequence[int]) -> None: ...

    def settle(self, now: bool = True) -> None: ...

    def put(self, rows: Sequence[int], records: Sequence[Record], afterwards: object = None) -> None:
        self._records.extend(records)

    def pending(self) -> tuple[int, ...]:
        return ()


def _now(record: Record, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the replayed values as they would be stored: missing ones by the fill value of their column."""
    now: dict[str, Any] = {"status": layout.OUTCOMES[record.status]}
    for name in [*stored][1:]:
        fill = layout.RESULTS[name].fill
        value = np.full(np.shape(stored[name]), fill)
        given = np.asarray(record.values.get(name, fill))
        value[tuple(slice(size) for size in given.shape)] = given  # sup_where has entries for the largest dimension
        now[name] = value if value.ndim else value[()]
    return now
