"""Who sits in the slots of a pack, and how far each has come; plain numpy, the bookkeeping of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

FREE = -1  # in place of a cell


@dataclass
class Seats:
    """One entry per slot.

    Attributes
    ----------
    cells : which cell, or FREE
    before : steps that the cell has done in earlier parts of its chain
    steps : steps that it has done in this part
    born : the tick of the pack at which it came
    due : the step of this part at which it must be looked at
    slope : the largest component of its gradient at the start of this part, NaN if nobody asked
    settled : it will get no further
    """

    cells: np.ndarray
    before: np.ndarray
    steps: np.ndarray
    born: np.ndarray
    due: np.ndarray
    slope: np.ndarray
    settled: np.ndarray

    def __post_init__(self) -> None:
        self._occupied: np.ndarray | None = None  # asked for at every look, changed now and then

    @staticmethod
    def free(slots: int) -> Seats:
        """Return free slots."""
        zeros = [np.zeros(slots, dtype=np.int64) for _ in range(4)]
        return Seats(np.full(slots, FREE), *zeros, np.full(slots, np.nan), np.zeros(slots, dtype=bool))

    def put(self, slot: int, cell: int, before: int, tick: int) -> None:
        """Let a cell sit down."""
        self.cells[slot], self.before[slot], self.born[slot] = cell, before, tick
        self.steps[slot] = self.due[slot] = 0
        self.slope[slot], self.settled[slot] = np.nan, False
        self._occupied = None

    def leave(self, slot: int) -> None:
        """Let a cell get up."""
        self.cells[slot], self.settled[slot] = FREE, False
        self._occupied = None

    @property
    def occupied(self) -> np.ndarray:
        """The slots in use, in order."""
        if self._occupied is None:
            self._occupied = np.flatnonzero(self.cells != FREE)
        return self._occupied

    def wait(self, tick: int, patience: int) -> int:
        """Return for how many ticks no slot can be due: a tick completes one step at most, a cell has its patience."""
        here = self.occupied
        if not len(here):
            return 0
        steps = (self.due - self.steps)[here].min()
        return int(max(0, min(steps, self.born[here].min() + patience - tick)))

    def taken(self, slots: np.ndarray) -> Seats:
        """Return a copy of some slots."""
        return Seats(*(getattr(self, field.name)[slots] for field in fields(self)))

    def state(self) -> dict[str, np.ndarray]:
        """Return a copy of everything."""
        return {field.name: getattr(self, field.name).copy() for field in fields(self)}

    @staticmethod
    def restored(state: Mapping[str, np.ndarray]) -> Seats:
        """Return the seats that `state` was taken from."""
        return Seats(**{name: values.copy() for name, values in state.items()})
