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
from hpcsweep.findings.report import answers, chapters, page, summary
from hpcsweep.findings.report.report_figures import Source, report_figures
from hpcsweep.findings.scaling import Smoothness
from hpcsweep.store.links import followed
from hpcsweep.store.rewriting import replacing

MOST_CORES = 4  # of a login node, which others use too
DOTS = 160  # per inch, of the PNG files


def write(path: str | Path, folder: str | Path, smoothness: Smoothness | None = None) -> list[Path]:
    """Write the report of the store `path` and the shards beside it: `folder`/index.html, every figure as PNG and PDF.

    A run may be writing the store. `smoothness` gives, by target, the order n up to which derivatives are bounded, for
    the comparison with theory. Files are replaced whole, so that nobody reads a page that is half written.

    Returns
    -------
    The files, the page first.

    Raises
    ------
    StoreError: if `path` is not a store, or `folder` cannot be written or contains a page that is not a report.
    """
    sources, folder = files(path), Path(folder)
    index = folder / "index.html"  # it is written first: by it a folder is known to be that of a report
    _refuse_foreign(index)
    dataset = read(sources)
    table = series.table(dataset)
    known = {**table.smoothness, **(smoothness or {})}
    source = Source(dataset, table, sources, known, answers.laws(table, known))
    contents: dict[Path, bytes] = {}
    images: dict[str, dict[str, page.Image]] = {}
    drawn = list(report_figures(source))
    for drawing, (png, pdf) in zip(drawn, _all_rendered([drawing.figure for drawing in drawn]), strict=True):
        contents |= {folder / f"{drawing.name}.png": png, folder / f"{drawing.name}.pdf": pdf}
        images.setdefault(drawing.chapter, {})[drawing.name] = page.Image(drawing.caption, png)
    if not index.exists() and (others := [name for name in contents if name.exists()]):
        raise StoreError(f"{others[0]} is there already, and not as part of a report; choose another folder with -o.")
    contents = {index: _page(source, Path(path), sources, images).encode(), **contents}
    return [_put(name, content) for name, content in contents.items()]


def _refuse_foreign(index: Path) -> None:
    """Raise `StoreError` if the page of a folder is not a report of ours."""
    try:
        ours = b"hpcsweep" in index.read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # whoever writes there says more
        return
    except OSError as error:
        raise StoreError(f"{index} cannot be read: {error.strerror}.") from error
    if not ours:
        raise StoreError(f"{index} was not written by hpcsweep; choose another folder with -o.")


def _put(path: Path, content: bytes) -> Path:
    """Write a file whole, in a folder that is made if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(followed(path)) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise StoreError(f"The report cannot be written to {path.parent}: {error.strerror or error}.") from error
    return path


def _all_rendered(figures: Sequence[Figure]) -> list[tuple[bytes, bytes]]:
    """Return all figures as PNG and PDF, rendered on several cores by children that inherit the figures."""
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


def _page(source: Source, path: Path, sources: list[Path], images: chapters.Images) -> str:
    """Return the HTML of the report."""
    dataset, table = source.dataset, source.table
    laws = {against: by_error["sup_lower"] for against, by_error in source.laws.items()}
    return page.render(
        title=str(dataset.attrs["title"]),
        tiles=list(summary.tiles(table.cells)),
        sentences=[*summary.parts(sources), *summary.sentences(table, laws)],
        sections=list(chapters.sections(source, images)),
        store={
            **{name: dataset.attrs[name] for name in ("format", "precision", "seed", "study")},
            "name": path.name,
            "written": tables.moment(time.time()),
            "training": _total(dataset["train_seconds"]),
            "measuring": _total(dataset["eval_seconds"]),
            "prediction": list(_prediction(dataset)),
            "launches": tables.launches(dataset),
        },
    )


def _prediction(dataset: xarray.Dataset) -> Iterator[str]:
    """Say how well the cost of the cells was predicted, where it was."""
    ratio = (dataset["train_seconds"] + dataset["eval_seconds"]) / dataset["predicted_seconds"]
    ratio = ratio.values[np.isfinite(ratio.values)]
    if len(ratio):
        low, median, high = np.quantile(ratio, [0.05, 0.5, 0.95])
        yield (
            f"The ratio of measured to predicted time has a median of {median:.2g} over the cells and lies between "
            f"{low:.2g} and {high:.2g} for 90 % of them; the median relative error of the prediction is "
            f"{np.median(np.abs(ratio - 1)):.0%}."
        )


def _total(seconds: xarray.DataArray) -> str:
    return tables.duration(float(seconds.sum()))
