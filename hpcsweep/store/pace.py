"""How long what is left of a launch will take: one estimate, which `run` and `status` show alike."""

from __future__ import annotations

import numpy as np

from hpcsweep.store import layout

HALF = 0.5  # of a cell that is running is done, on average


def seconds_ahead(status: np.ndarray, predicted: np.ndarray, done: float, elapsed: float, ranks: int) -> float | None:
    """Return the seconds until all cells are finished; None if nothing was predicted.

    At the pace of this launch, measured in predicted seconds; as predicted until a cell is finished.

    Parameters
    ----------
    status, predicted : (cells,) codes of `layout.STATUS` and predicted seconds, NaN of cells that nobody has planned
    done : predicted seconds of the cells that this launch has finished
    elapsed : seconds since it began
    ranks : that it has
    """
    running = float(np.nansum(predicted[status == layout.RUNNING]))
    left = float(np.nansum(predicted[~np.isin(status, layout.FINISHED)]))
    if done > 0:
        return elapsed * (left - HALF * running) / (done + HALF * running)
    return left / ranks if left > 0 else None
