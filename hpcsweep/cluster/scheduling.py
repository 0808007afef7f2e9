"""What runs next: the order in which the packs of a study are given to ranks, and what is not tried any more.

Packs that an earlier launch has saved go first, as they were. Then come all others, costliest first (`study.plan`
groups and sorts them), so that small ones even out the end. A cell that was there whenever a process was killed is
suspected of it: it runs alone, last, and has failed after `MOST_KILLS` kills. A free rank takes the first pack of this
order; only the parts of a survey that has begun, and the halves of a pack that raised, go before (`driver.Driver`).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from hpcsweep.cluster.checkpoints import CheckpointDir
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.store.reading import read_runs
from hpcsweep.store.store import Record, Store
from hpcsweep.study import plan

MOST_KILLS = 3  # of processes, while a cell ran and got nowhere; before the last time it runs alone


def packs_in_order(
    store: Store, checkpoints: CheckpointDir, pricer: Pricer, ranks: int, memory: int
) -> list[plan.Pack]:
    """Return the packs of all pending cells in the order in which they are begun; `memory` in bytes of a rank."""
    pending, packs = store.pending(), []
    row_of = dict(zip(store.keys(pending.tolist()), pending.tolist(), strict=True))
    for keys in checkpoints.packs():
        if set(keys) <= row_of.keys():
            packs.append(plan.whole(store.cells, [row_of.pop(key) for key in keys], pricer))
        else:  # some of them are finished, by a merge: the others begin anew
            checkpoints.clear(keys)
    rest = np.array(sorted(row_of.values()), dtype=np.int64)
    suspects = rest[store.kills[rest] >= MOST_KILLS - 1]
    packs += plan.make(store.cells, rest[store.kills[rest] < MOST_KILLS - 1], pricer, ranks, memory)
    alone = [plan.whole(store.cells, [row], pricer) for row in suspects.tolist()]
    return packs + [dataclasses.replace(pack, alone=True) for pack in alone]


def give_up(store: Store) -> None:
    """Let cells fail that were there every time that a process was killed."""
    rows = [row for row in store.pending().tolist() if store.kills[row] >= MOST_KILLS]
    message = (
        f"Its process was killed {MOST_KILLS} times while it ran, or did not end when it was told to stop: it lacked "
        "memory (the log of the machine may say so), or a plugin crashes or hangs."
    )
    store.put(rows, [Record("failed", {"message": message}) for _ in rows])


def saved_since_launch(path: Path, checkpoints: CheckpointDir) -> set[str]:
    """Return the keys of the cells that were saved since the last launch began: these killed nobody."""
    if not path.exists():
        return set()
    launches = read_runs(path)
    return {key for keys in checkpoints.packs(since=launches[-1].started if launches else 0.0) for key in keys}
