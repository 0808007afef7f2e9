"""How far a store is, read from the file alone: no torch, no MPI, also while it is written."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcsweep.errors import StoreError
from hpcsweep.store import copying, layout, lease, pace, shards
from hpcsweep.store.reading import MOST, launches, opened
from hpcsweep.texts import visible

SHORTEST = 8  # letters of a key that are shown, at least


def duration(seconds: float) -> str:
    """Return seconds as people say them: 42 s, 3 min 05 s, 2 h 10 min, 4 d 03 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def summary(path: str | Path) -> dict[str, Any]:
    """Return counts by status, rate, ETA, failures, the last launch, and the first keys of a store.

    ``cells_per_second`` counts the present (or last) launch; ``eta_seconds`` is None unless a run is live;
    ``checkpoints`` tells how many packs have saved what they have, and how old the newest of these is, in ``seconds``.
    Raises `StoreError` if the file is no store.
    """
    return _read(path)[0]


def _read(path: str | Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray, int]:
    """Return the summary of a store, the keys of its cells, their status, and how many cells its study has.

    Nothing runs that nobody holds. Of older stores the number of cells is 0: it is not known.
    """
    with opened(path) as file:
        status, finished = file["status"][:], file["finished"][:]
        counts = {name: int((status == code).sum()) for code, name in enumerate(layout.STATUS)}
        live = lease.holder(Path(path))
        if live is None:  # nobody is running them any more
            counts["pending"] += counts.pop("running")
            counts = {"pending": counts["pending"], "running": 0, **counts}
            status[status == layout.RUNNING] = layout.PENDING
        rate, eta = _pace(file, status, finished, live is not None)
        keys = file["key"][:]
        progress = {
            "file": str(path),
            "title": str(file.attrs["title"]),
            "cells": len(status),
            **counts,
            "live": live,
            "checkpoints": _checkpoints(Path(path)),
            "cells_per_second": rate,
            "eta_seconds": eta,
            "failures": _failures(file, status),
            "launch": _launch(file),
            "keys": [key.decode() for key in keys[:MOST].tolist()],
        }
        return progress, keys, status, int(file.attrs.get("cells", 0))


def _launch(file: h5py.File) -> dict[str, Any]:
    """Return what a store says of its last launch; nothing if it knows none."""
    last = launches(file["run_started"][:]) - 1
    names = [name for name in layout.RUNS if name in file and name != "run_checksum"]
    return {name[4:]: _plain(file[name][last]) for name in names} if last >= 0 else {}


def everything(path: str | Path) -> dict[str, Any]:
    """Return the summary of a store and, as "shards", those of the shards beside it.

    With shards, "together" counts every cell once, by the best that a file says of it. "missing" are sentences about
    cells of the study that no file has; none of a shard, whose cells are those of its element. Raises `StoreError` if
    there is neither.
    """
    path = Path(path)
    parts = shards.beside(path)
    if not path.exists() and not parts:
        raise StoreError(f"There is no store {path}, and no shard of it.")
    stores = [_read(part) for part in ([path] if path.exists() else []) + parts]
    main: dict[str, Any] = {"file": str(path), "live": None}
    summaries = [store[0] for store in stores]
    if path.exists():
        main, *summaries = summaries
    keys, status = (np.concatenate([store[number] for store in stores]) for number in (1, 2))
    rows, whole = shards.counting(keys, status), max(store[3] for store in stores)
    if shards.of(path) is not None:
        main["missing"] = []
    elif whole:
        main["missing"] = [f"{whole - len(rows)} of {whole} cells of the study are missing"] * (len(rows) < whole)
    else:
        main["missing"] = shards.absent(parts)
    if not parts:
        return {**main, "shards": []}
    counts = np.bincount(status[rows], minlength=len(layout.STATUS)).tolist()
    together = {"cells": len(rows), **dict(zip(layout.STATUS, counts, strict=True))}
    return {**main, "shards": summaries, "together": together}


def is_live(progress: dict[str, Any]) -> bool:
    """Whether a run holds the store or one of its shards."""
    return any(store["live"] for store in (progress, *progress["shards"]))


def _pace(file: h5py.File, status: np.ndarray, finished: np.ndarray, live: bool) -> tuple[float | None, float | None]:
    """Return cells per second of the last launch, and the seconds that what is left will take, as `run` shows them."""
    starts = file["run_started"][:]
    started = float(starts[launches(starts) - 1]) if launches(starts) else np.inf
    ours = finished >= started  # (cells,): finished by this launch
    if not np.isfinite(started):
        return None, None
    elapsed = max((time.time() if live else float(finished[ours].max(initial=started))) - started, 1e-9)
    rate = float(ours.sum() / elapsed) if ours.any() else None
    if not live:
        return rate, None
    predicted, ranks = file["predicted_seconds"][:], int(file["run_ranks"][launches(starts) - 1])
    return rate, pace.seconds_ahead(status, predicted, float(np.nansum(predicted[ours])), elapsed, ranks)


def _checkpoints(path: Path) -> dict[str, Any]:
    """Return how many packs have saved what they have, and the age of the newest of these in seconds, or None."""
    times = []
    for saved in path.with_name(path.name + layout.SAVED).glob("*/[!.]*"):
        with contextlib.suppress(OSError):  # its pack has just come to its end
            times.append(saved.stat().st_mtime)
    return {"packs": len(times), "seconds": max(0.0, time.time() - max(times)) if times else None}


def _failures(file: h5py.File, status: np.ndarray) -> list[dict[str, str]]:
    """Return key and message of every failed cell."""
    rows = np.flatnonzero(status == layout.FAILED)
    columns = (copying.gathered(file[name], rows).tolist() for name in ("key", "message"))
    return [
        {"key": key.decode(), "message": message.decode(errors="replace")}
        for key, message in zip(*columns, strict=True)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    number = value.item()
    return None if isinstance(number, float) and np.isnan(number) else number


def _counts(progress: dict[str, Any]) -> str:
    counts = ", ".join(f"{progress[name]} {name}" for name in layout.STATUS if progress[name])
    return f"{progress['cells']} cells: {counts}" if counts else "no cells"


def _saved(progress: dict[str, Any]) -> str:
    packs, seconds = progress["checkpoints"].values()
    return f"{packs} unfinished pack(s) have checkpoints, the newest {duration(seconds)} old"


def _shard_line(progress: dict[str, Any]) -> str:
    state = f"running now ({progress['live']})" if progress["live"] else "not running"
    ahead = f", about {duration(progress['eta_seconds'])} to go" if progress["eta_seconds"] is not None else ""
    saved = f"; {_saved(progress)}" if progress["checkpoints"]["packs"] else ""
    return f"{Path(progress['file']).name}: {_counts(progress)}; {state}{ahead}{saved}"


def lines(progress: dict[str, Any], most: int = 10) -> list[str]:
    """Return a summary for people."""
    return [visible(line) for line in [*_lines(progress, most), *progress.get("missing", [])]]


def _lines(progress: dict[str, Any], most: int) -> list[str]:
    if parts := progress.get("shards"):
        alone = {**progress, "shards": []}
        text = (
            _lines(alone, most) if "title" in progress else [parts[0]["title"], f"{progress['file']}: not merged yet"]
        )
        return [*text, *(_shard_line(part) for part in parts), f"together: {_counts(progress['together'])}"]
    text = [f"{progress['title']}", f"{progress['file']}: {_counts(progress)}"]
    launch = progress["launch"]
    state = f"running now ({progress['live']})" if progress["live"] else "not running"
    last = "on {host} with {ranks} rank(s), {devices}".format(**launch) if launch else "unknown"
    text.append(f"{state}; last launch {last}")
    if progress["checkpoints"]["packs"]:
        text.append(f"{_saved(progress)}; the same command, of the same version, continues from there")
    if progress["cells_per_second"]:
        text.append(f"{progress['cells_per_second']:.3g} cells per second")
    if progress["eta_seconds"] is not None:
        text.append(f"about {duration(progress['eta_seconds'])} to go")
    if progress["keys"]:
        more = ", ..., of which --keys lists all" if progress["cells"] > MOST else ""
        text.append(f"keys: {', '.join(key[:SHORTEST] for key in progress['keys'])}{more}")
    text += [f"failed: {cell['key']}  {cell['message']}" for cell in progress["failures"][:most]]
    if len(progress["failures"]) > most:
        text.append(f"... and {len(progress['failures']) - most} more failures (--json lists all)")
    return text
