"""A store as one flat table in a file that other programs read."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import xarray

from hpcsweep.errors import StoreError, nearest
from hpcsweep.findings.grids import frame
from hpcsweep.store.rewriting import replacing

if TYPE_CHECKING:
    from pandas import DataFrame


def export(dataset: xarray.Dataset, path: str | Path) -> int:
    """Write one row for each cell to a .csv or .parquet file, which is replaced whole; return the number of rows.

    Raises
    ------
    StoreError: if the ending is another, Parquet's library is not installed, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in WRITERS:
        near = nearest(path.suffix, WRITERS)
        raise StoreError(f"{path}: the name of a table ends in {' or '.join(WRITERS)}, not {path.suffix!r}.{near}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise StoreError(f"{path}: Parquet requires pyarrow (pip install 'hpcsweep[parquet]'); .csv does not.")
    rows = frame(dataset)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            WRITERS[path.suffix](rows, temporary)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error
    return len(rows)


def _csv(rows: DataFrame, path: Path) -> None:
    rows.to_csv(path, index=False)  # floats in the shortest form that is read back to the same bits


def _parquet(rows: DataFrame, path: Path) -> None:
    rows.to_parquet(path, engine="pyarrow", index=False)


WRITERS: dict[str, Callable[[DataFrame, Path], None]] = {".csv": _csv, ".parquet": _parquet}
