"""Power laws on errors whose exponent is known: intervals that cover it, floors that are found, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsweep.findings import powerlaw
from hpcsweep.findings.scaling import reached

EXPONENT = 0.75
DRAWS = 200  # synthetic studies


def sizes(count: int) -> np.ndarray:
    """Return sizes from 10 on, each twice the one before."""
    return 10.0 * 2.0 ** np.arange(count)


def errors(x: np.ndarray, replicates: int, noise: float, seed: int) -> np.ndarray:
    """Return errors (replicates, sizes) with logarithmic noise."""
    generator = np.random.default_rng(seed)
    return 3 * x**-EXPONENT * np.exp(noise * generator.standard_normal((replicates, len(x))))


def test_without_noise_the_law_is_exact() -> None:
    x = sizes(5)
    law = powerlaw.fit(x[::-1], np.tile(7 * x[::-1] ** -1.5, (3, 1)))
    assert law.exponent == pytest.approx(1.5) and law.distinct and np.isnan([law.low, law.high]).all()
    assert law.scatter < 1e-12 and law.replicates == (3, 3) and law.range == pytest.approx((10, 160))
    assert law.fitted.all() and np.isnan(law.floor)
    np.testing.assert_allclose(law.at(x), law.medians, rtol=1e-12)


@pytest.mark.parametrize("soft", [False, True], ids=["kinked", "added"])
def test_a_planted_floor_is_found_and_left_out(soft: bool) -> None:
    x, found, exponents = sizes(8), 0, []
    for seed in range(50):
        falling = errors(x, 20, 0.25, seed)
        floor = 3 * x[4] ** -EXPONENT * np.exp(0.25 * np.random.default_rng(seed + DRAWS).standard_normal((20, 8)))
        law = powerlaw.fit(x, falling + floor if soft else np.maximum(falling, floor))
        found += bool(np.isfinite(law.floor))
        exponents.append(law.exponent)
        if np.isfinite(law.floor):
            assert not law.fitted[-2:].any() and law.fitted[:2].all()
            assert law.floor == pytest.approx(3 * x[4] ** -EXPONENT, rel=0.4)
    assert found >= 45
    assert np.median(exponents) == pytest.approx(0.55 if soft else EXPONENT, abs=0.1)  # 0.58 on average over 4 sizes


WIGGLE = np.array([[0.999], [1.0], [1.001]])


@pytest.mark.parametrize("soft", [False, True], ids=["kinked", "added"])
def test_the_floor_is_where_it_was_planted(soft: bool) -> None:
    x = sizes(8)
    law = powerlaw.fit(x, WIGGLE * (np.add if soft else np.maximum)(x**-EXPONENT, x[4] ** -EXPONENT))
    assert law.floor == pytest.approx(x[4] ** -EXPONENT, rel=0.01)
    assert law.fitted.tolist() == [True] * (3 + soft) + [False] * (5 - soft)  # less than twice the floor, or more


FLOORLESS = {
    "slower": 2.0 ** -np.array([0, 1, 2, 3, 4, 5, 5.4, 5.8]),
    "growing ever more slowly": [1, 2, 4, 8, 9, 9.5, 9.7],
    "growing in the end": [1, 1, 1, 1.1, 1.35, 1.8],
    "growing a little": [1, 1, 1.01, 1.04, 1.1, 1.25],
    "level within a per cent": [1, 0.995, 0.99, 0.99, 0.99],
    "faint": 10.0 ** -np.arange(6) + 1e-5 / 2,
}


@pytest.mark.parametrize("name", FLOORLESS)
def test_what_is_no_floor(name: str) -> None:
    medians = np.asarray(FLOORLESS[name])
    law = powerlaw.fit(sizes(len(medians)), medians * (1 + (WIGGLE - 1) / 10))
    assert np.isnan(law.floor) and law.fitted.all()


def test_floors_are_rarely_seen_where_none_is() -> None:
    laws = [powerlaw.fit(sizes(6), errors(sizes(6), 3, 0.3, seed)) for seed in range(DRAWS)]
    assert sum(np.isfinite(law.floor) for law in laws) <= 0.05 * DRAWS


def test_one_astray_replicate_moves_nothing() -> None:
    x = sizes(5)
    good = errors(x, 5, 0.05, 1)
    bad = good.copy()
    bad[2] *= 1000
    assert powerlaw.fit(x, bad).exponent == pytest.approx(powerlaw.fit(x, good).exponent, abs=0.1)


def test_what_does_not_determine_an_exponent() -> None:
    x, drawn = sizes(4), errors(sizes(4), 3, 0.1, 3)
    reasons = {
        "it takes at least three sizes with at least two replicates each; none of the 4 has them": powerlaw.fit(
            x, drawn[:1]
        ),
        "it takes at least three sizes, and 2 are measured": powerlaw.fit(x[:2], drawn[:, :2]),
        "it takes at least three sizes clearly above the floor; 2 of the 5 are": powerlaw.fit(
            sizes(5), np.tile([1, 0.1, 0.01, 0.0101, 0.0099], (2, 1))
        ),
    }
    for reason, law in reasons.items():
        assert law.reason == reason and not law.determined and np.isnan(law.exponent) and not law.fitted.any()


def test_a_size_with_one_replicate_is_not_fitted() -> None:
    x, drawn = sizes(5), errors(sizes(5), 3, 0.1, 3)
    without = powerlaw.fit(x[:4], drawn[:, :4])
    drawn[1:, 4], drawn[0, 4] = np.nan, 100.0
    law = powerlaw.fit(x, drawn)
    assert law.fitted.tolist() == [True] * 4 + [False] and law.counts.tolist() == [3, 3, 3, 3, 1]
    assert (law.exponent, law.low, law.high) == (without.exponent, without.low, without.high)


@pytest.mark.parametrize("name", ["seconds", "flops"])
def test_sizes_that_are_close_have_a_steep_law(name: str) -> None:
    x, drawn = {
        "seconds": ([200, 201, 203], [[1, 0.1, 0.01], [1.1, 0.12, 0.011]]),
        "flops": ([1e12, 1.001e12, 1.003e12], [[1, 0.9, 0.8], [1.1, 0.8, 0.85]]),
    }[name]
    law = powerlaw.fit(np.array(x), np.array(drawn))
    assert law.determined and law.exponent > 50 and law.at(law.sizes) == pytest.approx(law.medians, rel=0.7)


def test_an_excluded_size_moves_nothing() -> None:
    x = sizes(8)
    drawn = errors(x, 5, 0.1, 0) + 3 * x[4] ** -EXPONENT
    moved = drawn * (1 + 0.05 * (np.arange(8) == 7))
    laws = [powerlaw.fit(x, values) for values in (drawn, moved)]
    assert laws[0].fitted.tolist() == laws[1].fitted.tolist() and not laws[0].fitted[-1]
    assert (laws[0].exponent, laws[0].low, laws[0].high) == (laws[1].exponent, laws[1].low, laws[1].high)


def test_what_is_missing_is_left_out() -> None:
    x = sizes(5)
    drawn = errors(x, 4, 0.2, 5)
    drawn[0, 1], drawn[:, 3], drawn[2, 2], drawn[1, 0] = np.nan, np.nan, 0.0, np.inf
    law = powerlaw.fit(x, drawn)
    np.testing.assert_array_equal(law.sizes.round(), x[[0, 1, 2, 4]])
    expected = [np.median(column[np.isfinite(column) & (column > 0)]) for column in drawn.T[[0, 1, 2, 4]]]
    assert np.log(law.medians) == pytest.approx(np.log(expected), abs=0.05)  # of logarithms
    assert np.isfinite(law.low) and law.low < EXPONENT < law.high
    assert powerlaw.fit(x, np.full((3, 5), np.nan)) is None
    assert powerlaw.fit(x[:1], drawn[:, :1]) is None


def test_medians_are_those_of_numpy() -> None:
    generator = np.random.default_rng(0)
    values = np.where(generator.random((6, 5, 40)) < 0.3, np.nan, generator.standard_normal((6, 5, 40)))
    values[0, :, 0] = np.nan
    expected = [[np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in rows.T] for rows in values]
    np.testing.assert_allclose(powerlaw.medians(values), expected, rtol=1e-15)


def test_the_smallest_size_that_reached_an_error() -> None:
    x = sizes(4)  # 10 20 40 80
    drawn = np.array([[1.0, 0.5, 0.1, 0.05], [1.1, 0.4, 0.2, 0.04], [0.9, 0.06, 0.15, 0.06]])
    assert reached(x, drawn, 0.2) == (40, 20, 40)  # the third replicate alone has it at 20
    assert reached(x, drawn, 2.0) == (10, 10, 10)
    size, low, high = reached(x, drawn, 0.01)
    assert np.isnan(size) and low == high == np.inf
    size, low, high = reached(x, drawn, 0.05)
    assert size == 80 and low <= 80 and high == np.inf  # some draws never reach it


def test_a_size_with_one_replicate_leaves_no_interval() -> None:
    drawn = np.array([[1.0, 0.5, 0.1], [1.1, 0.05, np.nan], [0.9, 0.6, np.nan]])
    assert reached(sizes(3), drawn, 0.2) == (40, 40, 40)


def test_a_size_of_which_no_replicate_is_drawn_keeps_its_median() -> None:
    drawn = np.array([[1, 0.5, 0.1], [1, 0.5, 0.1], *[[1, 0.5, np.nan]] * 3])
    assert reached(sizes(3), drawn, 0.2) == (40, 40, 40)
