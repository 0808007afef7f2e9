"""A store as one flat table in a file that other programs read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas

from hpcsweep.errors import StoreError, nearest
from hpcsweep.findings import dataset
from hpcsweep.findings.grids import frame
from hpcsweep.store import layout, shards
from hpcsweep.store.links import followed
from hpcsweep.store.rewriting import replacing

BLOCK = 2**14  # cells that are in memory at a time
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # with which a formula may begin in a spreadsheet
ESCAPE = "'"  # before such a text, and before one that begins with this
WORDS = {"certificate": layout.CERTIFICATES, "boundary": ("no", "yes")}  # of columns that hold numbers of these


def export(files: dataset.Files, path: str | Path) -> int:
    """Write one row for each cell of a store, or of several, to a .csv or .parquet file; return the number of rows.

    The cells are those of `dataset.read`, in its order; some thousands are in memory at a time. The file is replaced
    whole. In a .csv file, a text that a spreadsheet may take for a formula begins with an apostrophe.

    Raises
    ------
    StoreError: if the ending is another, Parquet's library is not installed, a store cannot be read, or the file
        cannot be written.
    """
    path = Path(path)
    if path.suffix not in WRITERS:
        near = nearest(path.suffix, WRITERS)
        raise StoreError(f"{path}: the name of a table ends in {' or '.join(WRITERS)}, not {path.suffix!r}.{near}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise StoreError(f"{path}: Parquet requires pyarrow (pip install 'hpcsweep[parquet]'); .csv does not.")
    stores = [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(_tables(stores)) as tables, replacing(followed(path)) as temporary:
            return WRITERS[path.suffix](tables, temporary)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error


def _tables(files: Sequence[Path]) -> Generator[pandas.DataFrame]:
    """Yield the table in parts, all with the same columns; the first is empty."""
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(dataset.reading(file)) for file in files]
        empty = frame(dataset.joined([store.part(slice(0)) for store in stores], [str(file) for file in files]))
        yield readable(empty)
        keys = np.concatenate([store.keys for store in stores])
        status = np.concatenate([store.status.values for store in stores])
        starts = np.cumsum([0, *(len(store.keys) for store in stores)])
        rows = shards.counting(keys, status) if len(stores) > 1 else np.arange(len(keys))
        for start in range(0, len(rows), BLOCK):
            yield readable(_table(stores, starts, rows[start : start + BLOCK], empty))


def readable(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return a table with words for codes, and with counts as integers, which are missing where there is no result."""
    words = {
        name: table[name].map(dict(enumerate(known))).astype(object).fillna("")
        for name, known in WORDS.items()
        if name in table
    }
    whole = [name for name in layout.RESULTS if layout.RESULTS[name].dtype == "i8" and name in table]
    return table.astype(dict.fromkeys(whole, "Int64")).assign(**words)


def _table(
    stores: Sequence[dataset.Reading], starts: np.ndarray, rows: np.ndarray, empty: pandas.DataFrame
) -> pandas.DataFrame:
    """Return some rows of all stores, of which store k begins with row `starts[k]`."""
    owners, parts = np.searchsorted(starts, rows, "right") - 1, []
    for number in np.unique(owners).tolist():
        places = np.flatnonzero(owners == number)
        own = rows[places] - starts[number]
        table = frame(stores[number].part(slice(own.min(), own.max() + 1))).iloc[own - own.min()].set_index(places)
        for name in (name for name in _texts(empty) if name not in table):
            table[name] = ""
        parts.append(table.reindex(columns=empty.columns))
    return pandas.concat(parts).sort_index()


def _csv(tables: Iterator[pandas.DataFrame], path: Path) -> int:
    """Write a table whose floats are in the shortest form that is read back to the same bits."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, table in enumerate(tables):
            escaped = table.assign(**{name: table[name].map(_escaped) for name in _texts(table)})
            escaped.rename(columns=_escaped).to_csv(file, index=False, header=number == 0)
            count += len(table)
    return count


def _texts(table: pandas.DataFrame) -> list[str]:
    """Return the names of the columns that hold texts, whatever pandas stores them in."""
    return [name for name in table if table[name].dtype.kind == "O"]


def _escaped(text: object) -> object:
    """Return a text that no spreadsheet takes for a formula."""
    return ESCAPE + text if isinstance(text, str) and text.startswith((*FORMULAS, ESCAPE)) else text


def _parquet(tables: Iterator[pandas.DataFrame], path: Path) -> int:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    empty, count = next(tables), 0
    kinds = [
        pyarrow.string() if kind.kind == "O" else pyarrow.from_numpy_dtype(getattr(kind, "numpy_dtype", kind))
        for kind in empty.dtypes
    ]
    schema = pyarrow.schema(list(zip(empty.columns, kinds, strict=True)))
    with ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(pyarrow.Table.from_pandas(table, schema, preserve_index=False))
            count += len(table)
    return count


WRITERS: dict[str, Callable[[Iterator[pandas.DataFrame], Path], int]] = {".csv": _csv, ".parquet": _parquet}
