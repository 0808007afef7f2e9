"""What a reader of a report should know after one minute: a few numbers, and a sentence for each question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpcsweep import layout
from hpcsweep.findings import answers, series, tables
from hpcsweep.findings.dataset import MEASURED
from hpcsweep.findings.page import Tile
from hpcsweep.findings.scaling import Law
from hpcsweep.findings.theory import NOUNS

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_SENTENCES = 3  # best results that are told in sentences; more stand in a table
MOST_TARGETS = 4  # whose exponents are told one by one


def progress(cells: DataFrame) -> str:
    """Say what became of the cells."""
    counts = {name: int((cells["status"] == code).sum()) for code, name in enumerate(layout.STATUS)}
    parts = [f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count]
    lost = int((cells["status"].isin(MEASURED) & ~cells["measured"]).sum())
    finite = f" The error of {lost:,} cells is not finite at some point." if lost else ""
    return f"{len(cells):,} cells: {', '.join(parts) or 'none'}.{finite}"


def tiles(cells: DataFrame) -> Iterator[Tile]:
    """Yield the numbers that come first: how much there is, how good it is, how sure, how dear."""
    measured = cells[cells["measured"]]
    yield "measured networks", f"{len(measured):,}", f"of {len(cells):,}"
    if len(measured):
        best = measured.loc[measured["sup_lower"].idxmin()]
        where = f"{best['target']}, {best['dimension']}-D, {best['samples']:,} samples"
        yield "smallest sup-norm error", f"{best['sup_lower']:.2g}", where
        closed = int((measured["certificate"] == layout.CERTIFICATES.index("closed")).sum())
        bounded = int(np.isfinite(measured["sup_upper"]).sum())
        yield "proved as tightly as asked", f"{closed:,}", f"{bounded:,} with a proved upper bound"
    seconds = cells[["train_seconds", "eval_seconds"]].sum()
    yield (
        "training time",
        tables.duration(float(seconds["train_seconds"])),
        f"and {tables.duration(float(seconds['eval_seconds']))} of measuring (h:mm:ss, summed)",
    )


Told = Iterator[tuple[str, str]]  # what a sentence is about, and the sentence


def sentences(table: series.Table, laws: Mapping[str, Sequence[Law]]) -> Told:
    """Yield what the cells tell; `laws` are those of the sup-norm error, by what it falls with."""
    cells = table.cells
    yield "Progress.", progress(cells)
    measured = cells[cells["measured"]]
    if not len(measured):
        yield "Accuracy.", "No cell has a measured error."
        return
    yield from _best(cells)
    for against, found in laws.items():
        yield from _falls(against, found)
    yield from _methods(table)
    ratios = measured["ratio"].dropna()
    if len(ratios):
        half, most = (tables.text(value) for value in (ratios.median(), ratios.max()))
        yield (
            "Worst against average.",
            f"In half of the measured cells, the sup-norm error is over {half} times the L2 error (at most {most}).",
        )
    proved = int(np.isfinite(measured["sup_upper"]).sum())
    also = f"; {proved:,} cells have a proved upper bound as well." if proved else ", not proved maxima."
    yield "How sure.", f"Sup-norm errors are lower bounds: the largest errors that were found{also}"


def _best(cells: DataFrame) -> Told:
    best = tables.best_cells(cells)
    if len(best) > MOST_SENTENCES:
        low, high = (tables.text(value) for value in (best["sup_lower"].min(), best["sup_lower"].max()))
        reached = f"The smallest sup-norm errors that were reached are {low} to {high}"
        yield (
            "Accuracy.",
            f"{reached}; those of all {len(best)} pairs of target and dimension are in the table below.",
        )
        return
    for cell in best.itertuples():
        network = series.network(cell.model, cell.depth, cell.width)
        yield (
            "Accuracy.",
            f"For {cell.target} in {cell.dimension}-D, the smallest sup-norm error is {cell.sup_lower:.3g}: "
            f"{network}, trained with {cell.optimizer} on {cell.samples:,} samples.",
        )


def _falls(against: str, laws: Sequence[Law]) -> Told:
    """Say with which exponents the errors fall, and how these stand to theory."""
    if not laws:
        return
    noun, targets = NOUNS[against], list(dict.fromkeys(law.target for law in laws))
    if len({law.line for law in laws}) == 1 and len(targets) <= MOST_TARGETS:
        of_each = "; ".join(f"for {target} {_exponents(laws, target)}" for target in targets)
        told = f"Error ~ {noun}⁻ᵃ, where a is {of_each}."
    else:
        ends = [min(laws, key=lambda law: law.law.exponent), max(laws, key=lambda law: law.law.exponent)]
        low, high = (f"{law.law.exponent:.2f} ({law.target}, {law.dimension}-D, {law.label})" for law in ends)
        told = f"Error ~ {noun}⁻ᵃ with a = {low} to {high}; {len(laws)} power laws fitted to medians over replicates."
    yield f"{noun.capitalize()}.", told + _standings(laws)


def _exponents(laws: Sequence[Law], target: str) -> str:
    """Say the exponents of one target."""
    return ", ".join(f"{law.law.exponent:.2g} in {law.dimension}-D" for law in laws if law.target == target)


def _standings(laws: Sequence[Law]) -> str:
    """Say how many of the laws are steeper than theory's lower bound, and so on; empty where theory has none."""
    counts = Counter(law.standing for law in laws if law.standing)
    if not counts:
        return ""
    told = ", ".join(
        f"{count} {'consistent with it' if word == 'consistent' else word}" for word, count in counts.items()
    )
    return f" Of {counts.total()} with a lower bound of theory (for the worst function) to compare with: {told}."


def _methods(table: series.Table) -> Told:
    """Say how often each training method has the smallest median among those that tried the same."""
    medians = answers.compared(table).medians
    if not len(medians):
        return
    wins = medians.idxmin(axis=1).value_counts()
    told = ", ".join(f"“{name}” in {count:,}" for name, count in wins.head(MOST_TARGETS).items())
    yield "Method.", f"Of {len(medians):,} settings that several methods tried, the smallest median error has {told}."
