"""Exponents of power laws, error ~ size^(-exponent), with intervals, without the sizes where errors stop falling.

The exponent is the average rate at which errors fall over the sizes fitted: minus the slope of the least-squares line
through the logarithms of the true medians there. It is defined for all errors, whether they follow a power law or not,
and says nothing of larger sizes, where errors may level off. Medians shut out single replicates that went astray; a
median over the sizes as well (Theil-Sen) would choose among a handful of slopes, since studies have three to eight
sizes, and its intervals would jump between them.

An exponent is determined if three sizes have two replicates each and lie above the floor; no other size is fitted. Its
interval is Student's, with a variance that adds up over whole replicates, because the errors of one replicate share
data and initial weights. The deviations at a size with n replicates are scaled by (n / (n - 1))^(1/2), which makes the
variance unbiased for independent errors, whichever replicates are missing, and for complete replicates that fall at
different rates (the correction CR2 of Bell and McCaffrey 2002). Where replicates differ alike at all sizes, medians are
those of the same few replicates, which that variance does not know; it is never less than that of a bootstrap over
whole replicates. The degrees of freedom are theirs, by Satterthwaite's
formula: replicates - 1 where none is missing. What share of intervals contains the exponent is measured in
tests/findings/test_coverage.py and written down in docs/findings.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit, stdtrit

DRAWS = 999  # of a bootstrap
PAIRED = 199  # draws of whole replicates for the variance of a slope
CONFIDENCE = 0.95
FEW = 3  # sizes that a law needs: any two lie on a line
REPEATED = 2  # replicates that a fitted size needs
SIGNIFICANT = 10.8  # of chi^2 with one degree of freedom: 0.1 %
QUIET = 0.01  # medians are not taken to be better known than to 1 %
FLAT = 0.25  # a floor: errors fall on with less than this share of the exponent before it
CLEAR = 2.0  # sizes before it whose median is below so many floors are not fitted
ROUNDING = 1e-12  # of logarithms: replicates whose slopes differ by less are the same


@dataclass(frozen=True)
class PowerLaw:
    """The line fitted, and what it was fitted to.

    Where `reason` says why the exponent is not determined, it is NaN and no size is fitted. `low` and `high` are the
    ends of the 95 % interval, NaN where the slopes of the replicates do not differ. `floor` is the error at which
    larger sizes saturate, NaN where no floor was found. `scatter` is the root mean square of the fit's residuals, in
    decades.
    """

    sizes: np.ndarray  # (sizes,) all, ascending
    medians: np.ndarray  # (sizes,) over replicates
    ends: np.ndarray  # (2, sizes) the smallest and the largest of the replicates
    counts: np.ndarray  # (sizes,) of replicates
    fitted: np.ndarray  # (sizes,) bool
    floor: float = math.nan
    exponent: float = math.nan
    low: float = math.nan
    high: float = math.nan
    scatter: float = math.nan
    reason: str = ""

    @property
    def determined(self) -> bool:
        """Whether there is an exponent."""
        return not self.reason

    @property
    def distinct(self) -> bool:
        """Whether the exponent is distinguishable from 0; without an interval it is."""
        return self.determined and not self.low <= 0 <= self.high

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest size fitted."""
        inside = self.sizes[self.fitted]
        return float(inside[0]), float(inside[-1])

    @property
    def replicates(self) -> tuple[int, int]:
        """The smallest and the largest number of replicates of the sizes fitted."""
        inside = self.counts[self.fitted]
        return int(inside.min()), int(inside.max())

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """Return the errors of the law: those of the line, which passes through the mean of the logarithms."""
        x, y = np.log(self.sizes[self.fitted]), np.log(self.medians[self.fitted])
        return np.exp(y.mean() - self.exponent * (np.log(sizes) - x.mean()))


def fit(sizes: np.ndarray, errors: np.ndarray) -> PowerLaw | None:
    """Fit a power law.

    Parameters
    ----------
    sizes: (sizes,) positive and different; weights, samples or compute.
    errors: (replicates, sizes), NaN where missing; those that are not positive and finite count as missing.

    Returns
    -------
    None where fewer than two sizes have an error.
    """
    logs, order = _logs(np.asarray(errors, dtype=np.float64)), np.argsort(sizes)
    order = order[np.isfinite(logs).any(axis=0)[order]]
    sizes, logs = np.asarray(sizes, dtype=np.float64)[order], logs[:, order]
    x = np.log(sizes)
    if len(x) < 2:
        return None
    middle, counts = medians(logs), np.isfinite(logs).sum(axis=0)
    repeated = counts >= REPEATED
    level, above = _floor(x[repeated], middle[repeated], logs[:, repeated])
    fitted = repeated.copy()
    fitted[repeated] = above
    ends = np.stack([np.nanmin(logs, axis=0), np.nanmax(logs, axis=0)])
    seen = (sizes, np.exp(middle), np.exp(ends), counts)
    if fitted.sum() < FEW:
        reason = _reason(len(x), int(repeated.sum()), int(fitted.sum()))
        return PowerLaw(*seen, np.zeros_like(fitted), math.exp(level), reason=reason)
    slope, start = _line(x[fitted], middle[fitted])
    half = _half_width(_gain(x[fitted]), logs[:, fitted])
    scatter = np.sqrt(np.mean((start + slope * x[fitted] - middle[fitted]) ** 2)) / math.log(10)
    return PowerLaw(*seen, fitted, math.exp(level), -slope, -slope - half, -slope + half, float(scatter))


def _reason(sizes: int, repeated: int, above: int) -> str:
    """Say why an exponent is not determined, from the numbers of sizes measured, repeated, and above the floor."""
    if sizes < FEW:
        return f"it takes at least three sizes, and {sizes} are measured"
    if repeated < FEW:
        them = f"at least three sizes with at least two replicates each; {_of(repeated, sizes, 'has', 'have')} them"
    else:
        them = f"at least three sizes clearly above the floor; {_of(above, sizes, 'is', 'are')}"
    return f"it takes {them}"


def _of(count: int, total: int, singular: str, plural: str) -> str:
    """Say how many of the sizes have or are something."""
    return f"{count or 'none'} of the {total} {singular if count < 2 else plural}"


def resample(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Return medians (draws, sizes) of values (replicates, sizes), replicates drawn whole; NaN where none is left."""
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, len(values), (draws, len(values)))
    return medians(values[rows])


def medians(values: np.ndarray) -> np.ndarray:
    """Return the medians over the last axis but one, without NaN; NaN where there is nothing else.

    As `np.nanmedian`, in a seventh of its time.
    """
    ordered = np.sort(values, axis=-2)  # NaN last
    counts = np.isfinite(ordered).sum(axis=-2, keepdims=True)
    middle = [np.take_along_axis(ordered, np.maximum(i, 0), axis=-2) for i in ((counts - 1) // 2, counts // 2)]
    return ((middle[0] + middle[1]) / 2)[..., 0, :]


def _logs(errors: np.ndarray) -> np.ndarray:
    """Return the logarithms of what is positive and finite, and NaN for the rest."""
    good = np.isfinite(errors) & (errors > 0)
    return np.where(good, np.log(np.where(good, errors, 1.0)), np.nan)


def _gain(x: np.ndarray) -> np.ndarray:
    """Return the derivatives (sizes,) of the slope of the least-squares line with respect to its points."""
    centred = x - x.mean()
    return centred / (centred @ centred)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and start of the least-squares line."""
    slope = float(_gain(x) @ y)
    return slope, float(y.mean() - slope * x.mean())


def _half_width(slopes: np.ndarray, logs: np.ndarray) -> float:
    """Return half of the interval of slopes @ medians of logs (replicates, sizes), two at each size; NaN: none."""
    there = np.isfinite(logs)
    counts = there.sum(axis=0)
    gain = slopes * np.sqrt(_excess(counts) / (counts * (counts - 1)))
    shifts = np.where(there, logs - np.nanmean(logs, axis=0), 0.0) @ gain  # (replicates,) of the slope
    overlap = there.T.astype(np.float64) @ there
    products = overlap * (1 - 1 / counts - 1 / counts[:, None]) + overlap**2 / (counts * counts[:, None])
    freedom = (gain**2 @ (counts - 1)) ** 2 / (gain**2 @ products @ gain**2)
    drawn = resample(logs, PAIRED, 0)
    drawn = drawn[np.isfinite(drawn).all(axis=1)] @ slopes
    deviation = max(math.sqrt(shifts @ shifts), float(drawn.std(ddof=1)) if len(drawn) > 1 else 0.0)
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * deviation if deviation > ROUNDING else math.nan


def _excess(counts: np.ndarray) -> np.ndarray:
    """Return by how much the variance of a median of normal errors exceeds that of their mean; pi / 2 for many."""
    odd = counts - (counts % 2 == 0)
    return math.pi * odd / (2 * odd + math.pi - 2)


def _floor(x: np.ndarray, y: np.ndarray, logs: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the logarithm of the floor of the medians y, or NaN, and which sizes are above it, (sizes,) bool.

    The largest sizes make a floor if a line that ends in a constant, or a power law plus a constant, fits the medians
    significantly better than one line does (their own noise is the measure); and if errors hardly fall on: along the
    constant of the one, at the largest size in the other.
    """
    if len(x) < 4:
        return math.nan, np.ones(len(x), dtype=bool)
    counts = np.isfinite(logs).sum(axis=0)
    noise = max(QUIET**2, float(np.mean(np.nanvar(logs, axis=0, ddof=1) / counts)))
    significant = _misfit(x, y, len(x)) - SIGNIFICANT * noise
    best, first = min((_misfit(x, y, first), first) for first in range(2, len(x) - 1))
    before, along = _line(x[:first], y[:first])[0], _line(x[first:], y[first:])[0]
    ends = best < significant and before < 0 and along > FLAT * before
    added, level = _added(x, y)
    if added >= min(significant, best if ends else math.inf):
        level = float(y[first:].mean()) if ends else math.nan
    return level, ~(y <= level + math.log(CLEAR))


def _added(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Fit a power law plus a constant; return the squared residuals and the logarithm of the constant.

    The residuals are infinite if the power law grows, or is `FLAT` of the sum or more at the largest size.
    """
    slope, start = _line(x, y)

    def residuals(unknown: np.ndarray) -> np.ndarray:
        return np.logaddexp(unknown[0] + unknown[1] * x, unknown[2]) - y

    solution = least_squares(residuals, [start, min(slope, -0.01), float(y.min())], method="lm")
    start, slope, level = solution.x.tolist()
    flat = slope < 0 and expit(start + slope * x[-1] - level) < FLAT
    return 2 * float(solution.cost) if flat else math.inf, level


def _misfit(x: np.ndarray, y: np.ndarray, first: int) -> float:
    """Return the squared residuals of a line through the first sizes and a constant through the others."""
    slope, start = _line(x[:first], y[:first])
    rest = y[first:] - y[first:].mean() if first < len(y) else np.zeros(0)
    return float(np.sum((start + slope * x[:first] - y[:first]) ** 2) + np.sum(rest**2))
