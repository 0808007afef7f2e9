"""What `measure` writes into a store: tighter brackets, and pictures through the new worst points.

Each group of networks costs the same whatever the size of the store: rows are found by their keys in one sorted list.
What a group is to change is saved before it is written, with what was there before, so that a kill adds nothing up
twice. A measurement that finds what another one, with other choices, has saved and not written, writes it first; the
other one, when it goes on, sees that its cells are not as they were, and draws the pictures that are left to draw.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.bracket import Bracket
from hpcsweep.cluster.checkpoints import Saver
from hpcsweep.cluster.redraw import Redrawing
from hpcsweep.store import remeasured, write_errors
from hpcsweep.store.keyed_rows import KeyedRows
from hpcsweep.store.lease import Lease

ENDS = ("sup_lower", "sup_upper")


class Tightening:
    """A store open for what is measured of its networks, by the holder of its lease."""

    def __init__(self, path: Path, lease: Lease, name: str, folder: Path) -> None:
        """`name`: of this measurement, by which it is known again. `folder`: of plugin files."""
        self._path, self._lease, self._folder = path, lease, folder
        with write_errors.explained(f"The store {path} cannot be written", KeyError):
            self._rows = KeyedRows(path)
            self._rows.claim(lease)
        self._pictures = Redrawing(path, self._rows)
        self._name, self._prefix = name, f".{path.name}.measure-"
        self._complete()

    def saver(self, group: int | None = None) -> Saver:
        """Return where the measurement, or the changes of one of its groups, are saved."""
        part = "" if group is None else f"-{group}"
        return Saver(self._path.with_name(f"{self._prefix}{self._name}{part}"), (self._name,))

    def write(
        self, group: int, networks: Mapping[str, Network], measured: Callable[[], Mapping[str, Mapping[str, Any]]]
    ) -> None:
        """Write what was `measured` of a group (key -> column -> value), and draw its pictures; once, if repeated.

        What was saved of it is left to be removed when the caller has saved that it is done (`forget`). Raises
        `StoreError`, before anything is written, if it cannot be saved.
        """
        saver = self.saver(group)
        state = saver.load()
        if state is None:
            values = remeasured.combined(self._rows, measured())
            state = {"plan": remeasured.planned(self._rows, values), "moved": self._pictures.moved(values)}
            with write_errors.explained(f"{saver.path}, without which nothing is written, cannot be saved"):
                saver.keep(state)
        remeasured.write_once(self._path, state["plan"], self._lease, self._rows)
        self._rows.check(self._lease)
        self._pictures.draw(networks, state["moved"], self._folder)

    def brackets(self, keys: Iterable[str]) -> dict[str, Bracket]:
        """Return the brackets that the store has of some cells."""
        ends = {
            key: [self._rows.row(name, place)[0] for name in ENDS] for key, place in self._rows.places(keys).items()
        }
        return {key: Bracket(float(lower), float(upper)) for key, (lower, upper) in ends.items()}

    def forget(self, group: int | None = None) -> None:
        """Remove what was saved of a group, or of the measurement and of all groups that a kill has left."""
        saved = self.saver(group).path
        for path in [saved] if group is not None else [saved, *saved.parent.glob(f"{glob.escape(saved.name)}-*")]:
            path.unlink(missing_ok=True)

    def _complete(self) -> None:
        """Write what other measurements have saved and not written, while their cells are as they were."""
        for path in sorted(self._path.parent.glob(f"{glob.escape(self._prefix)}*-*")):
            name = path.name.removeprefix(self._prefix).rpartition("-")[0]
            if name and (state := Saver(path, (name,)).load()) is not None:
                remeasured.write_once(self._path, state["plan"], self._lease, self._rows)

    def close(self) -> None:
        """Close store and weights. Raises `StoreError` if what was written cannot reach the disk."""
        with write_errors.explained(f"{self._path} cannot be closed"), contextlib.closing(self._rows):
            self._pictures.close()
