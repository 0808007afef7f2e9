"""What a procedure of several trainings saves on its way: results of those that are over, the state of the one at work.

Such a procedure depends on the results of its trainings only. Called again, it is given the ones that were kept, makes
of them what it made before, to the same bits, and so comes to where it was stopped.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hpcsweep.approx.training import loop
from hpcsweep.approx.training.settings import Trained

R = TypeVar("R")


@dataclass(frozen=True)
class Checkpoints:
    """How a training saves what it has, as `training.train` takes it; by default not at all."""

    checkpoint: Callable[[dict[str, Any]], None] | None = None
    checkpoint_seconds: float = 60.0
    resume: Mapping[str, Any] | None = None


UNSAVED = Checkpoints()


class Journal:
    """Of the trainings of one procedure, in the order in which they are called; they may have journals of their own.

    Its states are those of `checkpoints`: "done", the results of the trainings that are over, and "inner", the latest
    state of the next one, or None. One that was interrupted is not over; those called after it are not saved.
    """

    def __init__(self, stop: Callable[[], bool], checkpoints: Checkpoints) -> None:
        self._stop, self._checkpoints = stop, checkpoints
        resume = checkpoints.resume or {"done": [], "inner": None}
        self._done, self._inner = list(resume["done"]), resume["inner"]
        self._called, self._open = 0, True
        self._written = time.perf_counter()

    def train(self, *given: Any) -> Trained:
        """Return what `training.train` makes of arguments, all up to `stop`; or what it made of them before."""
        train: Callable[..., Trained] = loop.train
        return self.enter(lambda saved: train(*given, self._stop, **vars(saved)), lambda trained: trained.outcome)

    def enter(self, training: Callable[[Checkpoints], R], outcomes: Callable[[R], Sequence[str]]) -> R:
        """Return the result of the next training, which is the caller's to change; or a copy of the one that was kept.

        Parameters
        ----------
        training : called at most once; is to save, and to go on, as it is told
        outcomes : from a result to the outcomes of its cells
        """
        if not self._open:
            return training(UNSAVED)
        self._called += 1
        if self._called > len(self._done):
            written = self._written
            result = training(self._inward())
            if "interrupted" in outcomes(result):
                self._open = False
                if self._written == written:  # it was stopped before there was anything to save of it
                    self._save(self._inner)
                return result
            self._done.append(result)
            self._inner = None
            if time.perf_counter() - self._written >= self._checkpoints.checkpoint_seconds:
                self._save(None)
        return copy.deepcopy(self._done[self._called - 1])

    def _inward(self) -> Checkpoints:
        """Return how the training at work is to save: into this journal."""
        save = None if self._checkpoints.checkpoint is None else self._save
        return Checkpoints(save, self._checkpoints.checkpoint_seconds, self._inner)

    def _save(self, inner: Mapping[str, Any] | None) -> None:
        self._inner = inner
        if self._checkpoints.checkpoint is not None:
            self._checkpoints.checkpoint({"done": list(self._done), "inner": inner})
            self._written = time.perf_counter()
