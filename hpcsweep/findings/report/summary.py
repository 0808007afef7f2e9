"""What a reader of a report should know after one minute: a few numbers, and a sentence for each question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpcsweep.findings import scaling, series, tables
from hpcsweep.findings.dataset import MEASURED
from hpcsweep.findings.powerlaw import PowerLaw
from hpcsweep.findings.report import answers, noise
from hpcsweep.findings.report.page import Tile
from hpcsweep.findings.scaling import Law
from hpcsweep.findings.theory import NOUNS
from hpcsweep.store import layout, shards

if TYPE_CHECKING:
    from pandas import DataFrame

Sentences = Iterator[tuple[str, str]]  # subject and sentence
MOST_SENTENCES = 3  # best results in sentences of their own; more are only in a table
MOST_TARGETS = 4  # with exponents of their own in a sentence


def parts(files: Sequence[Path]) -> Sentences:
    """Say how many cells of the study these files lack: those of shards that are not there.

    Older stores do not know how many cells their study has; there the names of shards that are not merged decide.
    """
    count, whole = shards.extent(files)
    present = [shard for file in files if (shard := shards.of(file)) is not None]
    alone = f"{len(present)} of {present[0].count} shards are there; " if len(present) == len(files) else ""
    if whole and count < whole:
        yield "Shards.", f"{alone}{whole - count:,} of {whole:,} cells of the study are missing."
    elif not whole and alone and len(present) < present[0].count:
        yield "Shards.", f"{alone}the cells of the others are missing."


def progress(cells: DataFrame) -> str:
    """Say what became of the cells."""
    counts = {name: int((cells["status"] == code).sum()) for code, name in enumerate(layout.STATUS)}
    parts = [f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count]
    lost = int((cells["status"].isin(MEASURED) & ~cells["measured"]).sum())
    finite = f" In {_cells(lost)}, the error is not finite everywhere." if lost else ""
    return f"{_cells(len(cells))}: {', '.join(parts) or 'none'}.{finite}"


def _cells(count: int) -> str:
    return f"{count:,} cell{'' if count == 1 else 's'}"


def tiles(cells: DataFrame) -> Iterator[Tile]:
    """Yield the numbers that come first: how much there is, how good it is, how sure, how dear."""
    measured = cells[cells["measured"]]
    yield "measured networks", f"{len(measured):,}", f"of {len(cells):,}"
    if len(measured):
        best = measured.loc[measured["sup_lower"].idxmin()]
        where = f"{best['target']}, {best['dimension']}-D, {best['samples']:,} samples"
        name = "smallest maximum over held-out rows" if best["data"] else "smallest sup-norm error"
        yield name, f"{best['sup_lower']:.2g}", where
    if not measured["data"].all():
        closed = int((measured["certificate"] == layout.CERTIFICATES.index("closed")).sum())
        bounded = int(np.isfinite(measured["sup_upper"]).sum())
        yield "proved to the requested gap", f"{closed:,}", f"{bounded:,} with a proved upper bound"
    seconds = cells[["train_seconds", "eval_seconds"]].sum()
    yield (
        "training time",
        tables.duration(float(seconds["train_seconds"])),
        f"plus {tables.duration(float(seconds['eval_seconds']))} of measuring (h:mm:ss, summed over cells)",
    )


def sentences(table: series.Table, laws: Mapping[str, Sequence[Law]]) -> Sentences:
    """Yield what the cells show; `laws` are those of the sup-norm error in weights and in samples."""
    cells = table.cells
    yield "Progress.", progress(cells)
    if names := [f"“{name}”" for name in cells.loc[cells["data"], "target"].unique()]:
        verb = "is" if len(names) == 1 else "are"
        yield (
            "Held-out data.",
            f"{' and '.join(names)} {verb} known only at the rows of a data file. What is called the sup-norm error is "
            "then a maximum over held-out data, the rows from which no network learns. It says nothing about places "
            "between the rows, and no bound of it is proved.",
        )
    measured = cells[cells["measured"]]
    if not len(measured):
        yield "Accuracy.", "No cell has a measured error."
        return
    yield from _best(cells)
    for against, fitted in laws.items():
        yield from _falls(table, against, fitted)
    yield from _methods(table)
    if said := noise.sentence(table):
        yield "Noise.", said
    ratios = measured["ratio"].dropna()
    if len(ratios):
        half, most = (tables.text(value) for value in (ratios.median(), ratios.max()))
        yield (
            "Worst against average.",
            f"The ratio of the sup-norm to the L2 error has a median of {half} and a maximum of {most}.",
        )
    if len(functions := measured[~measured["data"]]):
        yield "How sure.", f"Sup-norm errors are the largest errors found and thus lower bounds{_proved(functions)}"
    yield from _solutions(measured)


def _proved(measured: DataFrame) -> str:
    """Say how many cells have a proved upper bound, and how close that is."""
    proved = measured[np.isfinite(measured["sup_upper"])]
    if not len(proved):
        return "; no upper bound has been proved."
    closed = proved["certificate"] == layout.CERTIFICATES.index("closed")
    have = "has" if len(proved) == 1 else "have"
    bounds = f"; {_cells(len(proved))} also {have} a proved upper bound, {closed.sum():,} of them to the requested gap"
    wide = (proved["sup_upper"] / proved["sup_lower"])[~closed & (proved["sup_lower"] > 0)]
    if not len(wide):
        return f"{bounds}."
    half, most = (tables.text(value) for value in (wide.median(), wide.max()))
    if half != "1":
        return (
            f"{bounds}. The other bounds exceed the lower bound by a factor of {half} (median) and of {most} at most."
        )
    largest = f" in the median, and exceed it by a factor of {most} at most" if most != "1" else ""
    return f"{bounds}. The other bounds are about as large as the lower bound{largest}."


def _solutions(measured: DataFrame) -> Sentences:
    """Say how close the bounds are that equations prove without their solutions, if there are any."""
    bounded = measured[np.isfinite(measured["solution_upper"])]
    if len(bounded):
        ratios = (bounded["solution_upper"] / bounded["sup_lower"])[bounded["sup_lower"] > 0]
        half, most = (tables.text(value) for value in (ratios.median(), ratios.max()))
        yield (
            "Without the solution.",
            f"In {_cells(len(bounded))}, the residual of the equation and the boundary values alone prove a bound of "
            f"the error, {half} times the lower bound (median) and {most} times at most.",
        )


def _best(cells: DataFrame) -> Sentences:
    best = tables.best_cells(cells)
    if len(best) > MOST_SENTENCES:
        low, high = (tables.text(value) for value in (best["sup_lower"].min(), best["sup_lower"].max()))
        pairs = f"the {len(best)} pairs of target and dimension"
        yield "Accuracy.", f"The smallest sup-norm errors for {pairs} range from {low} to {high} (see the table below)."
        return
    for cell in best.itertuples():
        network = series.network(cell.model, cell.depth, cell.width)
        yield (
            "Accuracy.",
            f"For {cell.target} in {cell.dimension}-D, the smallest sup-norm error is {cell.sup_lower:.3g}: "
            f"{network}, trained with {cell.optimizer} on {cell.samples:,} samples.",
        )


def _falls(table: series.Table, against: str, laws: Sequence[Law]) -> Sentences:
    """Say how fast the errors fall, how that compares with theory, and which sizes an error needed."""
    if not laws:
        return
    noun, targets = NOUNS[against], list(dict.fromkeys(law.target for law in laws))
    distinct = [law for law in laws if law.law.distinct]
    if not any(law.law.determined for law in laws):
        reason, count = Counter(law.law.reason for law in laws).most_common(1)[0]
        often = f"in {count} of {len(laws)} cases, " if count < len(laws) else ""
        sentence = f"No exponent is determined: {often}{reason}."
    elif len({law.line for law in laws}) == 1 and len(targets) <= MOST_TARGETS:
        exponents = "; ".join(f"{_exponents(laws, target)} for {target}" for target in targets)
        sentence = f"Error ~ {noun}⁻ᵃ with {exponents}.{_sizes_needed(table, against, targets)}"
    else:
        sentence = f"{_span(distinct, noun)}{_others(laws)}"
    yield f"{noun.capitalize()}.", sentence + _standings(laws)


def _exponents(laws: Sequence[Law], target: str) -> str:
    """List the exponents of one target."""
    return ", ".join(f"a {_exponent(law.law)} in {law.dimension}-D" for law in laws if law.target == target)


def _exponent(law: PowerLaw) -> str:
    if not law.determined:
        return "not determined"
    return f"= {law.exponent:.2g}" if law.distinct else "not distinguishable from 0"


def _span(distinct: Sequence[Law], noun: str) -> str:
    """Say the smallest and the largest of the exponents that are distinguishable from 0."""
    if not distinct:
        return "No exponent is distinguishable from 0."
    ordered = sorted(distinct, key=lambda law: law.law.exponent)
    ends = dict.fromkeys(
        f"{law.law.exponent:.2f} ({law.target}, {law.dimension}-D, {law.label})" for law in (ordered[0], ordered[-1])
    )
    fits = f"{len(distinct)} power law{'' if len(distinct) == 1 else 's'} fitted to medians over replicates"
    return f"Error ~ {noun}⁻ᵃ with a {'from ' if len(ends) > 1 else '= '}{' to '.join(ends)}, according to {fits}."


def _others(laws: Sequence[Law]) -> str:
    """Count the lines without an exponent that is distinguishable from 0."""
    vague = sum(law.law.determined and not law.law.distinct for law in laws)
    missing = sum(not law.law.determined for law in laws)
    counts = [f"{vague} {'is' if vague == 1 else 'are'} not distinguishable from 0"] if len(laws) > vague > 0 else []
    counts += [f"{missing} {'is' if missing == 1 else 'are'} not determined"] if missing else []
    return f" Of {len(laws)} exponents, {' and '.join(counts)}." if counts else ""


def _sizes_needed(table: series.Table, against: str, targets: Sequence[str]) -> str:
    """Say how many weights or samples one error needed, of medium size among those that were reached."""
    levels = scaling.decades(table)
    if not levels:
        return ""
    level = levels[(len(levels) - 1) // 2]
    sizes: dict[str, list[str]] = {target: [] for target in targets}
    for reach in scaling.smallest(table, level, against):
        if reach.target in sizes and reach.varied:
            sizes[reach.target].append(f"{reach.bare} in {reach.dimension}-D")
    parts = "; ".join(f"{', '.join(own)} for {target}" for target, own in sizes.items() if own)
    return f" The {NOUNS[against]} needed for an error of {level:g} are {parts}." if parts else ""


def _standings(laws: Sequence[Law]) -> str:
    """Say how many laws are steeper than the lower bound of theory, and so on; empty where theory has none."""
    counts = Counter(law.standing for law in laws if law.standing)
    if not counts:
        return ""
    words = {"consistent": "consistent with it", "undetermined": "too uncertain to compare"}
    compared = ", ".join(f"{count} {'is' if count == 1 else 'are'} {words.get(w, w)}" for w, count in counts.items())
    bounded = f"for {counts.total()} of {len(laws)} exponents"
    return f" Theory has a lower bound {bounded}, of which {compared}."


def _methods(table: series.Table) -> Sentences:
    """Say how often each training method has the smallest median in the settings tried with several."""
    medians = answers.compared(table).medians
    if not len(medians):
        return
    wins = medians.idxmin(axis=1).value_counts()
    best = ", ".join(f"“{name}” in {count:,}" for name, count in wins.head(MOST_TARGETS).items())
    yield (
        "Method.",
        f"Of {len(medians):,} settings tried with several methods, the smallest median is that of {best}.",
    )
