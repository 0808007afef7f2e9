"""What a reader of a report should know after one minute: a few numbers, and a sentence for each question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpcsweep.findings import scaling, series, tables
from hpcsweep.findings.dataset import MEASURED
from hpcsweep.findings.report import answers
from hpcsweep.findings.report.page import Tile
from hpcsweep.findings.scaling import Law
from hpcsweep.findings.theory import NOUNS
from hpcsweep.store import layout

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
        yield from _falls(table, against, found)
    yield from _methods(table)
    ratios = measured["ratio"].dropna()
    if len(ratios):
        half, most = (tables.text(value) for value in (ratios.median(), ratios.max()))
        yield (
            "Worst against average.",
            f"In half of the measured cells, the sup-norm error is over {half} times the L2 error (at most {most}).",
        )
    yield "How sure.", f"Sup-norm errors are lower bounds: the largest errors that were found{_proved(measured)}"


def _proved(measured: DataFrame) -> str:
    """Say how many cells have a proved upper bound, and how close that is."""
    proved = measured[np.isfinite(measured["sup_upper"])]
    if not len(proved):
        return ", not proved maxima."
    closed = proved["certificate"] == layout.CERTIFICATES.index("closed")
    told = f"; {len(proved):,} cells have a proved upper bound as well, {closed.sum():,} of them as close as was asked"
    wide = (proved["sup_upper"] / proved["sup_lower"])[~closed & (proved["sup_lower"] > 0)]
    if not len(wide):
        return f"{told}."
    half, most = (tables.text(value) for value in (wide.median(), wide.max()))
    return f"{told}; the other {len(wide):,} bounds are {half} times what was found (median; at most {most} times)."


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


def _falls(table: series.Table, against: str, laws: Sequence[Law]) -> Told:
    """Say with which exponents the errors fall, how these stand to theory, and what an error took."""
    if not laws:
        return
    noun, targets = NOUNS[against], list(dict.fromkeys(law.target for law in laws))
    if len({law.line for law in laws}) == 1 and len(targets) <= MOST_TARGETS:
        of_each = "; ".join(f"for {target} {_exponents(laws, target)}" for target in targets)
        told = f"Error ~ {noun}⁻ᵃ, where a is {of_each}.{_took(table, against, targets)}"
    else:
        ends = [min(laws, key=lambda law: law.law.exponent), max(laws, key=lambda law: law.law.exponent)]
        low, high = (f"{law.law.exponent:.2f} ({law.target}, {law.dimension}-D, {law.label})" for law in ends)
        told = f"Error ~ {noun}⁻ᵃ with a = {low} to {high}; {len(laws)} power laws fitted to medians over replicates."
    yield f"{noun.capitalize()}.", told + _standings(laws)


def _exponents(laws: Sequence[Law], target: str) -> str:
    """Say the exponents of one target, those that may be 0 as undetermined."""
    own = [(law.law, law.dimension) for law in laws if law.target == target]
    return ", ".join(
        f"{'undetermined' if law.low <= 0 <= law.high else format(law.exponent, '.2g')} in {dimension}-D"
        for law, dimension in own
    )


def _took(table: series.Table, against: str, targets: Sequence[str]) -> str:
    """Say how many weights or samples took one error, in the middle of those that were reached."""
    levels = scaling.decades(table)
    if not levels:
        return ""
    level = levels[(len(levels) - 1) // 2]
    reaches = scaling.smallest(table, level, against)
    told = []
    for target in targets:
        own = [reach for reach in reaches if reach.target == target and reach.smallest < reach.largest]
        told += [f"{target} {', '.join(f'{reach.bare} in {reach.dimension}-D' for reach in own)}"] if own else []
    return f" An error of {level:g} took, in {NOUNS[against]}: {'; '.join(told)}." if told else ""


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
