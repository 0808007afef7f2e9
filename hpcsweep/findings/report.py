"""A report of a store: a page that carries its figures within itself, and the figures as files beside it."""

from __future__ import annotations

import io
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray
from matplotlib import rc_context
from matplotlib.figure import Figure

from hpcsweep import layout
from hpcsweep.errors import StoreError
from hpcsweep.findings import page, plates, series, tables
from hpcsweep.findings.dataset import MEASURED, files, read
from hpcsweep.findings.scaling import Smoothness
from hpcsweep.rewrite import replacing

if TYPE_CHECKING:
    from pandas import DataFrame

DOTS = 160  # per inch, of the PNG files
MOST_SENTENCES = 3  # best results that are told in the first paragraph


def write(path: str | Path, folder: str | Path, smoothness: Smoothness | None = None) -> list[Path]:
    """Write the report of the store `path` and the shards beside it: `folder`/index.html, every figure as PNG and PDF.

    A run may be writing the store. `smoothness` is n of C^n by target, for the theory beside. Files are
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
    written, shown = [], {}
    for plate in plates.plates(dataset, table, sources, smoothness):
        png, pdf = _rendered(plate.figure)
        written += [_put(folder / f"{plate.name}.png", png), _put(folder / f"{plate.name}.pdf", pdf)]
        shown[plate.name] = page.figure(png, plate.caption)
    html = _page(dataset, table, Path(path), shown, smoothness)
    return [_put(folder / "index.html", html.encode()), *written]


def _put(path: Path, content: bytes) -> Path:
    """Write a file whole, in a folder that is made if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise StoreError(f"The report cannot be written to {path.parent}: {error.strerror or error}.") from error
    return path


def _rendered(figure: Figure) -> tuple[bytes, bytes]:
    """Return a figure as PNG and as PDF, its text in the PDF as text."""
    png, pdf = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=DOTS)
    figure.set_layout_engine("none")  # its panels are arranged now
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(pdf, format="pdf")
    return png.getvalue(), pdf.getvalue()


def _page(
    dataset: xarray.Dataset, table: series.Table, path: Path, shown: dict[str, str], smoothness: Smoothness | None
) -> str:
    """Return the HTML of the report; `shown` is that of its figures, by name."""
    sections = [page.paragraph(" ".join([_progress(table.cells), *_findings(table.cells)]))]
    if table.cells["measured"].any():
        absent = [page.paragraph(reason, "note") for reason in _absent(table.cells, shown)]
        sections += [
            page.section("Figures", *shown.values(), *absent),
            page.section("The smallest errors", page.table(tables.best(table))),
            *_scaling(table, smoothness),
            page.section("Medians over replicates", page.table(tables.medians(table))),
        ]
    told = tables.messages(table)
    if told.rows:
        sections.append(page.section("Failures and messages", page.table(told)))
    return page.page(str(dataset.attrs["title"]), *sections, _provenance(dataset, path))


def _scaling(table: series.Table, smoothness: Smoothness | None) -> Iterator[str]:
    """Yield the sections of exponents and of the sizes that it took, as far as there are any."""
    exponents = tables.exponents(table, smoothness)
    if exponents.rows:
        yield page.section("How errors fall: exponents", page.table(exponents))
    needed = tables.needed(table)
    if needed.rows:
        yield page.section("How large, how many samples: what it took", page.table(needed))


def _progress(cells: DataFrame) -> str:
    """Say what became of the cells."""
    counts = {name: int((cells["status"] == code).sum()) for code, name in enumerate(layout.STATUS)}
    parts = [f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count]
    lost = int((cells["status"].isin(MEASURED) & ~cells["measured"]).sum())
    finite = f" The error of {lost:,} cells is not finite at some point." if lost else ""
    return f"{len(cells):,} cells: {', '.join(parts)}.{finite}"


def _findings(cells: DataFrame) -> Iterator[str]:
    """Say, in a sentence each, what the measured cells tell."""
    measured = cells[cells["measured"]]
    if not len(measured):
        yield "No cell has a measured error."
        return
    ratios = measured["ratio"].dropna()
    if len(ratios):
        half, most = (tables.text(value) for value in (ratios.median(), ratios.max()))
        yield f"In half of the measured cells, the sup-norm error is over {half} times the L2 error (at most {most})."
    best = tables.best_cells(cells)
    if len(best) > MOST_SENTENCES:
        yield f"The smallest errors for all {len(best)} pairs of target and dimension stand in a table below."
        best = best.head(0)
    for cell in best.itertuples():
        network = series.network(cell.model, cell.depth, cell.width)
        yield (
            f"For {cell.target} in {cell.dimension}-D, the smallest sup-norm error is {cell.sup_lower:.3g}: "
            f"{network}, trained with {cell.optimizer} on {cell.samples:,} samples."
        )
    proved = int(np.isfinite(measured["sup_upper"]).sum())
    yield "Sup-norm errors are lower bounds: the largest errors that were found" + (
        f"; {proved:,} cells have a proved upper bound as well." if proved else ", not proved maxima."
    )


def _absent(cells: DataFrame, shown: Container[str]) -> Iterator[str]:
    """Say why a figure is not there."""
    if "sup_against_samples" not in shown:
        yield "There is no figure against samples, as none of the largest networks is measured at two sample counts."
    if "picture_1" not in shown:
        curves = cells[cells["dimension"] == 1]
        if not len(curves):
            reason = "the study has no one-dimensional cell"
        elif not curves["measured"].any():
            reason = "no one-dimensional cell has been measured"
        else:
            reason = "no slices were kept beside the store ([store] weights)"
        yield f"There is no picture of a network, as {reason}."


def _provenance(dataset: xarray.Dataset, path: Path) -> str:
    """Return the section that says where all this comes from."""
    facts = [
        f"Store {path.name}: format {dataset.attrs['format']}, precision {dataset.attrs['precision']}, seed "
        f"{dataset.attrs['seed']}. Page written {tables.moment(time.time())}.",
        f"In all, training took {_total(dataset['train_seconds'])} and measuring {_total(dataset['eval_seconds'])} "
        "(h:mm:ss, summed over cells).",
        *_prediction(dataset),
    ]
    return page.section(
        "Where this comes from",
        *(page.paragraph(fact) for fact in facts),
        page.table(tables.launches(dataset)),
        page.paragraph("The study:"),
        page.preformatted(str(dataset.attrs["study"])),
    )


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
