"""A report of a store: a page that carries its figures within itself, and the figures as files beside it."""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import xarray
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from hpcsweep.errors import StoreError
from hpcsweep.findings import series, tables
from hpcsweep.findings.dataset import files, read
from hpcsweep.findings.report import answers, chapters, page, plates, summary
from hpcsweep.findings.scaling import Smoothness
from hpcsweep.store.files import replacing

MOST_CORES = 4  # of a login node, which others use too
DOTS = 160  # per inch, of the PNG files


def write(path: str | Path, folder: str | Path, smoothness: Smoothness | None = None) -> list[Path]:
    """Write the report of the store `path` and the shards beside it: `folder`/index.html, every figure as PNG and PDF.

    A run may be writing the store. `smoothness` is n of bounded derivatives by target, for the theory beside. Files are
    replaced whole, so that a page that someone reads is never half written.

    Returns
    -------
    The files, the page first.

    Raises
    ------
    StoreError: if `path` is no store or `folder` cannot be written.
    """
    sources, folder = files(path), Path(folder)
    dataset = read(sources)
    table = series.table(dataset)
    known = {**table.smoothness, **(smoothness or {})}
    source = plates.Source(dataset, table, sources, known, answers.laws(table, known))
    written: list[Path] = []
    shown: dict[str, dict[str, str]] = {}
    drawn = list(plates.plates(source))
    for plate, (png, pdf) in zip(drawn, _all_rendered([plate.figure for plate in drawn]), strict=True):
        written += [_put(folder / f"{plate.name}.png", png), _put(folder / f"{plate.name}.pdf", pdf)]
        shown.setdefault(plate.chapter, {})[plate.name] = page.figure(png, plate.caption)
    return [_put(folder / "index.html", _page(source, Path(path), shown).encode()), *written]


def _put(path: Path, content: bytes) -> Path:
    """Write a file whole, in a folder that is made if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise StoreError(f"The report cannot be written to {path.parent}: {error.strerror or error}.") from error
    return path


def _all_rendered(figures: Sequence[Figure]) -> list[tuple[bytes, bytes]]:
    """Return all figures as PNG and as PDF: on all cores of this process, by children that have the figures already."""
    cores = min(len(os.sched_getaffinity(0)), MOST_CORES, len(figures))
    if cores < 2:
        return [_rendered(figure) for figure in figures]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(cores, context, initializer=_inherited.extend, initargs=(figures,)) as pool:
        return list(pool.map(_rendered_inherited, range(len(figures))))


_inherited: list[Figure] = []  # in a child


def _rendered_inherited(number: int) -> tuple[bytes, bytes]:
    return _rendered(_inherited[number])


def _rendered(figure: Figure) -> tuple[bytes, bytes]:
    """Return a figure as PNG and as PDF, its text in the PDF as text."""
    png, pdf = io.BytesIO(), io.BytesIO()
    figure.set_dpi(DOTS)
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # its panels are arranged now; `savefig` would arrange them before each drawing
    FigureCanvasAgg(figure).print_png(png)
    with rc_context({"pdf.fonttype": 42}):
        FigureCanvasPdf(figure).print_pdf(pdf)
    return png.getvalue(), pdf.getvalue()


def _page(source: plates.Source, path: Path, shown: chapters.Shown) -> str:
    """Return the HTML of the report; `shown` is that of its figures."""
    dataset, table = source.dataset, source.table
    parts: dict[str, list[str]] = {}  # of the page, by title
    if table.cells["measured"].any():
        parts |= chapters.chapters(source, shown)
    told = tables.messages(table)
    if told.rows:
        parts["Failures and messages"] = [page.table(told)]
    parts["Where this comes from"] = _provenance(dataset, path)
    laws = {against: found["sup_lower"] for against, found in source.laws.items()}
    return page.page(
        str(dataset.attrs["title"]),
        page.tiles(summary.tiles(table.cells)),
        page.sentences(summary.sentences(table, laws)),
        page.contents(parts),
        *(page.section(title, *body) for title, body in parts.items()),
    )


def _provenance(dataset: xarray.Dataset, path: Path) -> list[str]:
    """Return what says where all this comes from."""
    facts = [
        f"Store {path.name}: format {dataset.attrs['format']}, precision {dataset.attrs['precision']}, seed "
        f"{dataset.attrs['seed']}. Page written {tables.moment(time.time())}.",
        f"In all, training took {_total(dataset['train_seconds'])} and measuring {_total(dataset['eval_seconds'])} "
        "(h:mm:ss, summed over cells).",
        *_prediction(dataset),
    ]
    return [
        *(page.paragraph(fact) for fact in facts),
        page.table(tables.launches(dataset)),
        page.paragraph("The study:"),
        page.preformatted(str(dataset.attrs["study"])),
    ]


def _prediction(dataset: xarray.Dataset) -> Iterator[str]:
    """Say how well the cost of the cells was predicted."""
    ratio = (dataset["train_seconds"] + dataset["eval_seconds"]) / dataset["predicted_seconds"]
    ratio = ratio.values[np.isfinite(ratio.values)]
    if len(ratio):
        error = np.median(np.abs(ratio - 1))
        yield (
            f"Cells took {np.median(ratio):.2g} times the time predicted (median), nine in ten "
            f"{np.quantile(ratio, 0.05):.2g} to {np.quantile(ratio, 0.95):.2g} times; the median error of the "
            f"prediction is {error:.0%}."
        )


def _total(seconds: xarray.DataArray) -> str:
    return tables.duration(float(seconds.sum()))
