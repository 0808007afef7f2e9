"""Power laws error = C size^(-exponent): the exponent with an interval, without the sizes where errors stop falling.

The line is fitted by least squares to the logarithms of the medians over replicates. The medians already shut out
single replicates that went astray; a median over the sizes as well (Theil-Sen) would choose among a handful of slopes,
since studies have three to eight sizes, and its bootstrap would jump between them.

Intervals come from a bootstrap over replicates. A replicate is drawn whole, with its errors at all sizes, because these
share data and initial weights. With three replicates the spread of a bootstrap is too small and its quantiles cover the
truth in 72 to 81 % of cases; the standard error of the bootstrap times Student's t with (replicates - 1) degrees of
freedom covers it in 93 to 99 %, for 2 to 10 replicates, independent or paired.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import stdtrit

DRAWS = 999
CONFIDENCE = 0.95
SIGNIFICANT = 10.8  # of chi^2 with one degree of freedom: 0.1 %
QUIET = 0.01  # medians are not taken to be better known than to 1 %
FLAT = 0.25  # a floor: errors fall on with less than this share of the exponent before it
CLEAR = 3.0  # sizes before it whose median is below so many floors are not fitted, if two others are left


@dataclass(frozen=True)
class PowerLaw:
    """error = factor * size^(-exponent) over the fitted sizes.

    `low` and `high` are the ends of the 95 % interval, NaN for a single replicate. `floor` is the error at which larger
    sizes saturate, NaN where no floor was found. `scatter` is the root mean square of the fit's residuals, in decades.
    """

    exponent: float
    low: float
    high: float
    factor: float
    sizes: np.ndarray  # (sizes,) all, ascending
    medians: np.ndarray  # (sizes,) over replicates
    ends: np.ndarray  # (2, sizes) the smallest and the largest of the replicates
    fitted: np.ndarray  # (sizes,) bool
    floor: float
    scatter: float
    replicates: int

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest size fitted."""
        inside = self.sizes[self.fitted]
        return float(inside[0]), float(inside[-1])

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """Return the errors of the law."""
        return self.factor * sizes ** (-self.exponent)


def fit(sizes: np.ndarray, errors: np.ndarray, draws: int = DRAWS, seed: int = 0) -> PowerLaw | None:
    """Fit a power law.

    Parameters
    ----------
    sizes: (sizes,) positive and different; weights, samples or compute.
    errors: (replicates, sizes), NaN where missing; those that are not positive and finite count as missing.
    draws: of the bootstrap. The result depends on `seed` and nothing else.

    Returns
    -------
    None where fewer than two sizes have an error.
    """
    order = np.argsort(sizes)
    logs = _logs(np.asarray(errors, dtype=np.float64)[:, order])
    known = np.isfinite(logs).any(axis=0)
    x, logs = np.log(np.asarray(sizes, dtype=np.float64)[order][known]), logs[:, known]
    if len(x) < 2:
        return None
    resampled = resample(logs, draws, seed)  # (draws, sizes)
    replicates = int(np.isfinite(logs).any(axis=1).sum())
    middle = medians(logs)
    floor, first = _floor(x, middle, resampled, replicates)
    before = np.arange(len(x)) < first
    clear = before & ~(middle < floor + math.log(CLEAR))
    fitted = clear if clear.sum() >= 2 else before
    slope, start = _line(x[fitted], middle[fitted])
    spread = _half_width(x[fitted], resampled[:, fitted], replicates)
    ends = np.stack([np.nanmin(logs, axis=0), np.nanmax(logs, axis=0)])
    scatter = np.sqrt(np.mean((start + slope * x[fitted] - middle[fitted]) ** 2)) / math.log(10)
    return PowerLaw(
        -slope, -slope - spread, -slope + spread, math.exp(start), np.exp(x), np.exp(middle), np.exp(ends), fitted,
        math.exp(floor), float(scatter), replicates,
    )  # fmt: skip


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


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and start of the least-squares line."""
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    return slope, float(y.mean() - slope * x.mean())


def _half_width(x: np.ndarray, resampled: np.ndarray, replicates: int) -> float:
    """Return half of the interval of the slope; NaN for a single replicate."""
    whole = resampled[np.isfinite(resampled).all(axis=1)]
    if replicates < 2 or len(whole) < 2:
        return math.nan
    centred = x - x.mean()
    slopes = whole @ centred / (centred @ centred)
    return float(stdtrit(replicates - 1, (1 + CONFIDENCE) / 2) * slopes.std(ddof=1))


def _floor(x: np.ndarray, y: np.ndarray, resampled: np.ndarray, replicates: int) -> tuple[float, int]:
    """Return the logarithm of the error at which the largest sizes saturate, or NaN, and how many sizes come before.

    The largest sizes make a floor if a line that ends in a constant, or a power law plus a constant, fits the medians
    significantly better than one line does (their own noise, from the bootstrap, is the measure); and if errors hardly
    fall along the constant, or it is more than the power law at the largest size and less at the second smallest.
    """
    if len(x) < 4 or replicates < 2:
        return math.nan, len(x)
    noise = max(QUIET**2, float(np.nanmean(np.nanvar(resampled, axis=0))))
    straight = _misfit(x, y, len(x))
    best, first = min((_misfit(x, y, first), first) for first in range(2, len(x) - 1))
    added, sinking, level = _added(x, y)
    if sinking and added < min(best, straight - SIGNIFICANT * noise):
        return level, max(2, int(np.argmin(y > level + math.log(CLEAR))))
    before, along = _line(x[:first], y[:first])[0], _line(x[first:], y[first:])[0]
    saturates = straight - best > SIGNIFICANT * noise and before < 0 and along > FLAT * before
    return (float(y[first:].mean()), first) if saturates else (math.nan, len(x))


def _added(x: np.ndarray, y: np.ndarray) -> tuple[float, bool, float]:
    """Fit power law + constant; return its squared residuals, whether the largest size is in the constant, its log."""
    slope, start = _line(x[: len(x) // 2 + 1], y[: len(x) // 2 + 1])

    def residuals(unknown: np.ndarray) -> np.ndarray:
        return np.logaddexp(unknown[0] + unknown[1] * x, unknown[2]) - y

    solution = least_squares(residuals, [start, min(slope, -0.01), float(y.min())])
    start, slope, level = solution.x.tolist()
    sinking = slope < 0 and start + slope * x[-1] < level < start + slope * x[1]
    return 2 * float(solution.cost), sinking, level


def _misfit(x: np.ndarray, y: np.ndarray, first: int) -> float:
    """Return the squared residuals of a line through the first sizes and a constant through the others."""
    slope, start = _line(x[:first], y[:first])
    rest = y[first:] - y[first:].mean() if first < len(y) else np.zeros(0)
    return float(np.sum((start + slope * x[:first] - y[:first]) ** 2) + np.sum(rest**2))
