"""Proofs by Taylor models in double-double hold to 50 digits, prove nothing false, and close where float64 ends."""

from __future__ import annotations

import math
from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.certify import Pool, advance, begin, join, split, start
from hpcsweep.approx.supnorm.certificate.enclosure import rounding
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.enclosure.jets.jets import laplacian
from hpcsweep.approx.supnorm.certificate.enclosure.precise import difference as switching
from hpcsweep.approx.supnorm.certificate.enclosure.precise.difference import PreciseDifference
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.difference import TaylorDifference
from hpcsweep.approx.supnorm.certificate.lower import lower_end
from hpcsweep.approx.supnorm.certificate.methods import Methods
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.verification import proving
from hpcsweep.bracket import Bracket
from tests.approx.supnorm.certificate.errors import line
from tests.approx.supnorm.certificate.exact import corners_and_others, exactly, place
from tests.approx.supnorm.certificate.test_taylor_soundness import (
    DOMAINS,
    SMOOTH,
    exact_target,
    exceeded,
    fitted,
    network,
    target,
)

# Bounds on boxes


def bounds_exceeded(seeds: range, activation: str) -> tuple[int, float]:
    """Count points of random boxes at which a bound is exceeded; and say which share of the bounds is finite."""
    count, finite = 0, []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        dimension = int(generator.integers(1, 4))
        terms = tuple(network(generator, activation, dimension) for _ in range(generator.integers(1, 3)))
        domain = tuple(DOMAINS[generator.choice(3, p=[0.6, 0.2, 0.2])][:dimension])
        radius = 10.0 ** -generator.choice([0.0, generator.uniform(0, 3), generator.uniform(0, 15)])
        centers = generator.uniform(-1, 1, (3, dimension)) * max(0.0, 1 - radius)
        radii, everything = np.full_like(centers, radius), slice(0, 3)
        plain, order = TaylorDifference(Difference(target, target, domain, terms), 3), int(generator.integers(1, 5))
        difference = PreciseDifference(plain, order)
        bounds = difference.upper_bounds(torch.from_numpy(centers), torch.from_numpy(radii), everything, everything)
        finite += bounds[0].center.isfinite().tolist()
        for box in range(3):
            for inside in corners_and_others(generator, dimension):
                unit = [
                    mp.mpf(c) + mp.mpf(r) * mp.mpf(e) for c, r, e in zip(centers[box], radii[box], inside, strict=True)
                ]
                x = place(unit, domain)
                error = exact_target(x) - mp.fsum(exactly(term, x) for term in terms)
                count += exceeded(bounds[0], box, inside, error) + exceeded(bounds[1], box, inside, -error)
    return count, float(np.mean(finite))


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("everywhere", [True, False])
def test_bounds_of_networks_hold_to_fifty_digits(
    everywhere: bool, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double-double everywhere, and where roundings count."""
    if everywhere:
        monkeypatch.setattr(switching, "_DOUBTFUL", -1.0)
    count, finite = bounds_exceeded(range(25), activation)
    assert count == 0 and finite > 0.6


# Proofs of what is false


class Blind(PreciseDifference):
    """A difference that is not seen to exceed anything."""

    def signed(self, centers: Tensor) -> Tensor:
        return torch.zeros_like(centers[:, 0])


def cancelling(dimension: int, features: int, seed: int, factor: float) -> tuple[Dense, ...]:
    """A fitted network, and pairs of neurons whose output weights of the size of `factor` cancel."""
    [net] = fitted(dimension, features, seed)
    generator = np.random.default_rng(seed)
    moved = net.biases[0] + torch.from_numpy(generator.normal(size=features) * 1e-13 / factor)
    beside = net.weights[1] + factor
    weights = torch.cat([net.weights[0], net.weights[0]]), torch.cat([beside, net.weights[1] - beside], 1)
    return (Dense(weights, (torch.cat([net.biases[0], moved]), net.biases[1]), "tanh"),)


def truth_of(terms: tuple[Dense, ...], difference: Difference, dimension: int) -> tuple[float, tuple[float, ...]]:
    """Return (1 - 1e-9) times an error that is really there, to 50 digits, and where."""
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4000, dimension)))
    worst = points[int(difference.at(points).leading.abs().argmax())].tolist()
    x = [mp.mpf(value) for value in worst]
    error = abs(exact_target(x) - mp.fsum(exactly(term, x) for term in terms))
    return float(error * (1 - mp.mpf("1e-9"))), tuple(worst)


@pytest.mark.parametrize("factor", [0.0, 1e5, 1e10])
@pytest.mark.parametrize(("dimension", "features", "order"), [(1, 12, 6), (1, 24, 9), (2, 30, 5)])
def test_no_proof_of_less_than_the_truth(dimension: int, features: int, order: int, factor: float) -> None:
    for seed in range(2):
        terms = cancelling(dimension, features, seed, factor) if factor else fitted(dimension, features, seed)
        difference = Difference(target, terms[0], line(dimension), terms)
        truth, where = truth_of(terms, difference, dimension)
        methods = Methods(difference)
        methods.precise = (order,)
        methods._models[order, True] = Blind(TaylorDifference(difference, order), order)
        pool = advance(
            difference, replace(start(dimension, truth, where), precise=True, order=order), 0.0, 500, methods=methods
        )
        assert pool.status != "closed" and pool.bracket.upper > truth


def test_there_float64_without_its_rounding_terms_proves_what_is_false() -> None:
    false = 0
    for seed in range(4):
        terms = cancelling(1, 12, seed, 1e10)
        difference = Difference(target, terms[0], line(1), terms)
        truth, where = truth_of(terms, difference, 1)
        centers = torch.tensor([where], dtype=torch.float64)
        with rounding.ignored():
            false += float(TaylorDifference(difference, 6).bounds(centers, torch.full_like(centers, 1e-12))) < truth
    assert false > 0


# Proofs that close


def proof(difference: Difference, dimension: int, gap: float = 0.01, boxes: int = 1 << 14) -> Pool:
    """Return a proof as a measurement makes it, from the best of many points."""
    points = difference.places(torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4000, dimension))))
    best = points[difference.evaluated(points).abs().argsort(descending=True)[:16]]
    bracket: Bracket = lower_end(difference, best, lambda: points, line(dimension)).bracket
    pool = start(dimension, bracket.lower, bracket.where)
    return begin(Methods(difference), pool, gap, boxes, boxes)


def gate() -> tuple[Dense, float]:
    """Four tanh neurons that multiply, with output weights of 5e9 that cancel, and the true supremum of the error."""
    rate, bias = 1e-5, 0.7
    with mp.workdps(50):
        c = float(1 / (4 * mp.mpf(rate) ** 2 * mp.diff(mp.tanh, mp.mpf(bias), 2)))
    signs = [[rate, rate], [-rate, -rate], [rate, -rate], [-rate, rate]]
    weights = torch.tensor(signs, dtype=torch.float64), torch.tensor([[c, c, -c, -c]], dtype=torch.float64)
    net = Dense(weights, (torch.full((4,), bias, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)), "tanh")
    return net, float(abs(1 - exactly(net, [mp.mpf(1), mp.mpf(1)])))


@pytest.mark.parametrize("by_layers", [True, False])
def test_a_gate_of_cancelling_weights_closes(by_layers: bool) -> None:
    net, corner = gate()
    difference = Difference(lambda x: x[:, 0] * x[:, 1], net, line(2), [net] if by_layers else [])
    code = Difference(
        lambda x: x[:, 0] * x[:, 1], lambda x: torch.tanh(x @ net.weights[0].T + 0.7) @ net.weights[1][0], line(2)
    )
    pool = proof(difference if by_layers else code, 2)
    assert pool.status == "closed" and pool.precise and pool.bracket.lower > 1e-10
    assert corner <= pool.bracket.upper <= 1.01 * pool.bracket.lower


def gentle(x: Tensor) -> Tensor:
    return torch.sin(x.sum(1) * 0.5)


def least_squares(dimension: int, features: int) -> tuple[Difference, tuple[Dense, ...]]:
    terms = fitted(dimension, features, 0, gentle)
    return Difference(gentle, terms[0], line(dimension), terms), terms


@pytest.mark.parametrize(("dimension", "features", "most"), [(1, 24, 1e-12), (1, 200, 3e-13)])
def test_least_squares_close_at_what_their_weights_give(dimension: int, features: int, most: float) -> None:
    pool = proof(least_squares(dimension, features)[0], dimension)
    assert pool.status == "closed" and pool.precise and pool.bracket.lower < most


def test_output_weights_of_1e10_that_cancel_close() -> None:
    terms = cancelling(1, 24, 0, 1e10)
    difference = Difference(target, terms[0], line(1), terms)
    pool, methods = proof(difference, 1), Methods(difference)
    methods.precise = ()
    plain = begin(methods, start(1, pool.bracket.lower, pool.bracket.where), 0.01, 1 << 14, 1 << 14)
    assert pool.status == "closed" and pool.precise and plain.status == "floor"
    assert pool.bracket.upper <= 1.01 * pool.bracket.lower and plain.bracket.upper > 1.01 * pool.bracket.upper


def test_balls_confirm_an_upper_end() -> None:
    difference, [net] = least_squares(1, 24)
    bracket = proof(difference, 1).bracket

    def error(x: Tensor) -> Tensor:
        return gentle(x) - (torch.tanh(x @ net.weights[0].T + net.biases[0]) @ net.weights[1].T)[:, 0]

    assert bracket.upper < 1e-12
    assert proving.upper_end(error, line(1), bracket.upper, 5000, 60.0).verdict == proving.CONFIRMED
    below = proving.upper_end(error, line(1), 0.99 * bracket.lower, 5000, 60.0, where=bracket.where)
    assert below.verdict == proving.REFUTED


# The switch


def test_parts_of_a_pool_go_on_in_double_double() -> None:
    net, corner = gate()
    difference = Difference(lambda x: x[:, 0] * x[:, 1], net, line(2), [net])
    begun = advance(difference, start(2, 1e-11, (0.5, 0.5)), 0.01, 70)
    parts = split(begun, 4)
    assert begun.precise and len(begun.boxes) > 40 and all(part.precise for part in parts) and join(parts).precise
    ended = join([advance(difference, part, 0.01, 2000) for part in parts])
    assert ended.status == "closed" and corner <= ended.bracket.upper <= 1.01 * ended.bracket.lower


def test_a_smaller_gap_than_asked_for_ends_in_float64() -> None:
    """What is closed at the gap that was asked for takes no work in double-double."""
    terms = fitted(2, 40, 0)
    pool = proof(Difference(target, terms[0], line(2), terms), 2)
    assert pool.status == "closed" and not pool.precise


def test_code_without_a_series_stays_in_float64() -> None:
    step = Difference(lambda x: torch.where(x[:, 0] > 0.3, 1.0, 0.0), lambda x: 0.0 * x[:, 0], line(2))
    assert Methods(step).orders and Methods(step).precise == ()
    net, _ = gate()
    kinked = Difference(lambda x: x[:, 0] * x[:, 1] + 1e-13 * torch.abs(x[:, 0] + 2.0), net, line(2), [net])
    assert Methods(kinked).precise == () and proof(kinked, 2).status == "floor"


def test_where_nothing_is_known_in_double_double_nothing_is_seen_to_fail() -> None:
    """exp beyond 690 has no double-double; float64 has it."""
    difference = Difference(lambda x: torch.exp(x[:, 0] * 700.0) * 1e-300, lambda x: 0.0 * x[:, 0], line(1))
    models = PreciseDifference(TaylorDifference(difference, 4), 4)
    centers = torch.tensor([[0.5], [0.999]], dtype=torch.float64)
    assert models.signed(centers).tolist() == pytest.approx(difference.signed(centers).tolist(), rel=1e-9)
    assert math.isnan(float(difference.at(centers).leading[1]))


def test_laplacians_have_models_in_double_double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switching, "_DOUBTFUL", -1.0)
    net, _ = gate()
    code = laplacian(lambda x: torch.tanh(x @ net.weights[0].T + 0.7) @ net.weights[1][0])
    plain = TaylorDifference(Difference(lambda x: 0.0 * x[:, 0], code, line(2)), 4)
    models = PreciseDifference(plain, 4)
    centers = torch.from_numpy(np.random.default_rng(0).uniform(-0.9, 0.9, (5, 2)))
    errors, narrow = models.errors(centers), torch.full_like(centers, 1e-9)
    assert (errors < models.bounds(centers, torch.full_like(centers, 0.1))).all()
    assert models.bounds(centers, narrow).tolist() == pytest.approx(errors.tolist(), rel=1e-6)


@pytest.mark.parametrize("dimension", [1, 2])
def test_an_error_of_zero_stays_in_float64(dimension: int) -> None:
    """No gap above zero can close, whatever the arithmetic."""

    def other(x: Tensor) -> Tensor:
        half = x.flip(1).sum(1) * 0.5
        return 2 * torch.sin(half) * torch.cos(half)

    difference = Difference(lambda x: torch.sin(x.sum(1)), other, line(dimension))
    pool = advance(difference, start(dimension, 0.0, (0.0,) * dimension), 0.01, 1 << 14)
    assert not pool.precise and pool.bracket.lower == 0.0 < pool.bracket.upper < 1e-12


def test_all_boxes_are_bounded_in_float64_before_any_are_in_double_double() -> None:
    """However few boxes there may be in double-double, the domain is covered."""
    terms = cancelling(1, 24, 0, 1e10)
    pool = advance(Difference(target, terms[0], line(1), terms), start(1, 1e-14, (0.0,)), 0.01, 100)
    assert pool.precise and pool.done == 100 and pool.bracket.upper < math.inf
