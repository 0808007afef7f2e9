"""What noise in the samples costs: errors at several levels, in settings that are otherwise equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcsweep.findings import series, tables
from hpcsweep.findings.tables import Rows, slim, text

if TYPE_CHECKING:
    from pandas import DataFrame

NOISE = "noise"  # the axis of a study: the standard deviation
MOST = 60  # settings in the table


def medians(table: series.Table) -> DataFrame | None:
    """Return median sup-norm errors over replicates, (settings, levels), NaN where a level was not tried.

    Of the settings with two or more levels; None where there are none.
    """
    cells = table.cells[table.cells["measured"]]
    others = [name for name in series.telling(cells, table.further) if name != NOISE]
    grouped = cells.groupby([*tables.SETTING, *others, NOISE], sort=False, dropna=False)
    found = grouped["sup_lower"].median().unstack(NOISE).sort_index(axis=1)
    found = found[found.notna().sum(axis=1) > 1]
    return found if len(found) else None


def levels(table: series.Table) -> Rows | None:
    """Return `medians` as texts."""
    found = medians(table)
    if found is None:
        return None
    further = [str(name).replace("_", " ") for name in found.index.names[len(tables.SETTING) :]]
    rows = []
    for setting, errors in found.head(MOST).iterrows():
        at = dict(zip(found.index.names, setting, strict=True))
        network = series.network(at["model"], at["depth"], at["width"])
        named = [at["target"], at["dimension"], network, at["samples"], at["optimizer"]]
        rows.append([text(value) for value in [*named, *setting[len(tables.SETTING) :], *errors]])
    header = ["target", "dimension", "network", "samples", "optimizer", *further]
    note = (
        "Median sup-norm error over replicates for each standard deviation of the Gaussian noise in the values at the "
        "samples, measured against the target without noise."
    )
    if len(found) > MOST:
        note += f" The first {MOST} of {len(found):,} settings are shown."
    names = [f"noise {level:g}" if level else "no noise" for level in found.columns]
    return slim(Rows([*header, *names], rows, note), "network", "samples", "optimizer", *further)


def sentence(table: series.Table) -> str:
    """Say how much larger errors are at the highest level than at the lowest; empty where there are not two."""
    found = medians(table)
    if found is None:
        return ""
    low, *_, high = found.columns
    both = found[[low, high]].dropna()
    ratios = (both[high] / both[low])[both[low] > 0]
    if not len(ratios):
        return ""
    before = f"with noise of standard deviation {low:g}" if low else "without noise"
    count = "one setting" if len(ratios) == 1 else f"{len(ratios):,} settings"
    return (
        f"With noise of standard deviation {high:g} in the samples, the median sup-norm error is "
        f"{text(ratios.median())} times that {before} (median of {count}). Errors are measured against the target "
        "without noise."
    )
