"""Taylor models contain the truth, to 50 digits: random functions, targets and networks; and prove nothing false."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from torch import Tensor

from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.supnorm.certificate.certify import advance, start
from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, boxes, rounding
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference, UpperBound
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.difference import TaylorDifference, is_smooth
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.monomials import Monomials, of_order
from hpcsweep.approx.supnorm.certificate.enclosure.taylor.series import expansion
from hpcsweep.approx.supnorm.certificate.methods import Methods
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.targets import REGISTRY
from tests.approx.supnorm.certificate.exact import UNARY as UNARY_EXACT
from tests.approx.supnorm.certificate.exact import corners_and_others, exactly, place, random_network
from tests.approx.supnorm.certificate.expressions import BINARY, UNARY, fuzz
from tests.approx.supnorm.certificate.test_soundness import FUZZED, Domain, places, random_boxes, truths

SMOOTH = [name for name in ACTIVATIONS if name != "relu"]
Function = Callable[[Any], Any]
LEAST = 0.8  # of the boxes of a function have finite models; all have, but where a pole is in the largest ones

# Functions


def outside(table: Monomials, form: AffineForm, e: np.ndarray, values: np.ndarray) -> Iterator[str]:
    """One line for each box whose model, or range, does not contain the value at e."""
    low, high = form.range()
    for box, value in enumerate(values):
        if isinstance(value, mp.mpc) or not mp.isfinite(value):
            continue
        if not float(low[box]) <= value <= float(high[box]):
            yield f"{value} is not in {float(low[box])!r}, {float(high[box])!r}"
        terms, radius = form.terms[:, box].tolist(), form.radius[box].item()
        if np.isfinite([*terms, radius]).all():
            exponents = table.exponents[: len(terms)].tolist()
            powers = [mp.fprod(at**power for at, power in zip(e[box], a, strict=True)) for a in exponents]
            model = mp.fsum(mp.mpf(term) * power for term, power in zip(terms, powers, strict=True))
            if abs(value - model) > radius:
                yield f"{value} is further than {radius} from {model}"


def are_finite(form: AffineForm) -> list[bool]:
    """Whether model and range of each box are finite: of others, nothing can be false."""
    parts = torch.cat([form.terms, form.radius[None], torch.stack(form.range())])
    return torch.isfinite(parts).all(dim=0).tolist()


def violations(
    generator: random.Random, function: Function, domain: Domain, finite: list[bool] | None = None
) -> list[str]:
    """One line for each false model or range of random boxes; `finite` is told which boxes have finite ones."""
    centers, radii = random_boxes(generator, len(domain))
    order, found = generator.choice((1, 2, 3, 4, 5, 8) if len(domain) < 3 else (1, 2, 3, 4)), []
    with of_order(len(domain), order) as table:
        form = function(boxes(centers, radii, domain))
    if finite is not None:
        finite += are_finite(form)
    for _ in range(6):
        e = places(generator, len(domain))
        values = truths(function, centers, radii, domain, e)
        found += [f"order {order}, radius {float(radii[0, 0]):.1e}: {line}" for line in outside(table, form, e, values)]
    return found


SHIFTED: tuple[Domain, ...] = (*FUZZED, ((1e4, 1e4 + 1),))


def test_random_functions() -> None:
    assert fuzz(violations, 250, 14, SHIFTED) == []


def test_without_rounding_terms_the_same_test_fails() -> None:
    with rounding.ignored():
        assert len(fuzz(violations, 40, 14, SHIFTED)) > 20


@pytest.mark.parametrize("rule", range(len(UNARY)))
def test_each_function(rule: int) -> None:
    generator, found, finite = random.Random(rule), [], []
    for scale in (1.0, 0.05, 5.0):
        for _ in range(6):
            found += violations(generator, lambda x: UNARY[rule](scale * x[:, 0]), ((-1.3, 1.0),), finite)  # noqa: B023
    assert found == [] and np.mean(finite) > LEAST


@pytest.mark.parametrize("rule", range(len(BINARY)))
def test_each_function_of_two(rule: int) -> None:
    generator, domain, finite = random.Random(rule), ((-1.0, 2.0), (0.3, 0.9)), []
    for _ in range(12):
        assert violations(generator, lambda x: BINARY[rule](x[:, 0], x[:, 1]), domain, finite) == []
    assert np.mean(finite) > LEAST


@pytest.mark.parametrize("name", [name for name in REGISTRY if "berner_teacher" not in name])
def test_targets(name: str) -> None:
    kind, generator, finite = REGISTRY[name], random.Random(name), []
    for dimension in kind.dimensions or (1, 3):
        target = kind(dimension)
        for _ in range(4):
            assert violations(generator, target, target.domain, finite) == []
    assert np.mean(finite) > LEAST


# Networks

DOMAINS = [
    [(-1.0, 1.0), (0.1, 2.3), (-7.0, -3.0)],
    [(1e8, 1e8 + 1.0)] * 3,
    [(0.3, 0.3 + 1e-9), (-1.0, 1.0), (1e-300, 2e-300)],
]


def target(x: Tensor) -> Tensor:
    return torch.cos(x.sum(1) * 3.0) * torch.exp(x.square().sum(1) * -0.125)


def exact_target(x: list[mp.mpf]) -> mp.mpf:
    return mp.cos(3 * mp.fsum(x)) * mp.exp(-mp.fsum(value * value for value in x) / 8)


def network(generator: np.random.Generator, activation: str, dimension: int) -> Dense:
    """A network of any depth to 4, with weights of 1e-300 to 1e6, or with output weights that cancel."""
    hidden = generator.integers(1, 9, size=generator.integers(0, 5)).tolist()
    scale = 10.0 ** float(generator.choice([0.0, 0.0, 0.0, 0.5, 1.0, 6.0, -3.0, -300.0]))
    standardised, amplitude = bool(generator.integers(2)), float(generator.choice([1.0, 1 / 3, 1e-9]))
    made = random_network(generator, dimension, hidden, activation, scale, amplitude, standardised)
    if len(hidden) > 0 and generator.random() < 0.4:  # neurons in pairs that nearly cancel, times 1e6
        last, inner, bias = made.weights[-1], made.weights[-2], made.biases[-2]
        last[:, : len(bias) // 2 * 2 : 2] = -1e6 * last[:, 1::2]
        last[:, 1::2] *= 1e6
        inner[: len(bias) // 2 * 2 : 2], bias[: len(bias) // 2 * 2 : 2] = inner[1::2] * (1 + 1e-9), bias[1::2]
    return made


def exceeded(bound: UpperBound, box: int, inside: np.ndarray, error: mp.mpf) -> bool:
    slopes = [mp.mpf(slope) * mp.mpf(e) for slope, e in zip(bound.slopes[box].tolist(), inside.tolist(), strict=True)]
    center = float(bound.center[box])
    return bool(np.isfinite(center)) and error > mp.mpf(center) + mp.fsum(slopes)


def bounds_exceeded(seeds: range, activation: str) -> int:
    """Count points of random boxes at which a bound is exceeded; 12 points for each seed."""
    count = 0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        dimension = int(generator.integers(1, 4))
        terms = tuple(network(generator, activation, dimension) for _ in range(generator.integers(1, 3)))
        domain = tuple(DOMAINS[generator.choice(3, p=[0.6, 0.2, 0.2])][:dimension])
        radius = 10.0 ** -generator.choice([0.0, generator.uniform(0, 3), generator.uniform(0, 15)])
        centers = generator.uniform(-1, 1, (4, dimension)) * max(0.0, 1 - radius)
        radii, everything = np.full_like(centers, radius), slice(0, 4)
        difference = TaylorDifference(Difference(target, target, domain, terms), int(generator.integers(1, 6)))
        bounds = difference.upper_bounds(torch.from_numpy(centers), torch.from_numpy(radii), everything, everything)
        for box in range(4):
            for inside in corners_and_others(generator, dimension):
                unit = [
                    mp.mpf(c) + mp.mpf(r) * mp.mpf(e) for c, r, e in zip(centers[box], radii[box], inside, strict=True)
                ]
                x = place(unit, domain)
                error = exact_target(x) - mp.fsum(exactly(term, x) for term in terms)
                count += exceeded(bounds[0], box, inside, error) + exceeded(bounds[1], box, inside, -error)
    return count


@pytest.mark.parametrize("activation", SMOOTH)
def test_bounds_of_networks_hold_to_fifty_digits(activation: str) -> None:
    assert bounds_exceeded(range(100), activation) == 0


def test_bounds_of_networks_need_their_rounding_terms() -> None:
    with rounding.ignored():
        assert all(bounds_exceeded(range(40), activation) > 0 for activation in SMOOTH)


def test_relu_stays_with_lines() -> None:
    generator = np.random.default_rng(0)
    for activation in ACTIVATIONS:
        terms = [random_network(generator, 1, [3], activation)]
        assert is_smooth(Difference(target, target, ((-1.0, 1.0),), terms)) == (activation != "relu")


# Proofs of what is false


class Blind(TaylorDifference):
    """A difference that is not seen to exceed anything."""

    def errors(self, centers: Tensor) -> Tensor:
        return torch.zeros_like(centers[:, 0])


def fitted(dimension: int, features: int, seed: int, function: Function = target) -> tuple[Dense, ...]:
    """A network of random tanh features, fitted to a function by least squares: a small error, of large weights."""
    generator = np.random.default_rng(seed)
    weights = generator.uniform(-2, 2, (features, dimension))
    biases = generator.uniform(-2, 2, features)
    points = generator.uniform(-1, 1, (20 * features, dimension))
    values = function(torch.from_numpy(points)).numpy()
    last = np.linalg.lstsq(np.tanh(points @ weights.T + biases), values, rcond=1e-13)[0]
    parts = [torch.from_numpy(part) for part in (weights, last[None], biases, np.zeros(1))]
    return (Dense((parts[0], parts[1]), (parts[2], parts[3]), "tanh"),)


@pytest.mark.parametrize(("dimension", "features", "order"), [(1, 12, 6), (1, 24, 8), (2, 40, 5), (3, 40, 4)])
def test_no_proof_of_less_than_the_truth(dimension: int, features: int, order: int) -> None:
    """(1 - 1e-9) times an error that is really there, to 50 digits, is never proved to be an upper bound."""
    domain, closed = ((-1.0, 1.0),) * dimension, []
    for seed in range(3):
        terms = fitted(dimension, features, seed)
        difference = Blind(Difference(target, terms[0], domain, terms), order)
        points = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (20_000, dimension)))
        worst = points[int((target(points) - terms[0](points)).abs().argmax())].tolist()
        x = [mp.mpf(value) for value in worst]
        truth = float(abs(exact_target(x) - exactly(terms[0], x)) * (1 - mp.mpf("1e-9")))
        methods = Methods(difference)
        methods.precise = ()  # of double-double, `test_precise_proofs`
        pool = advance(difference, start(dimension, truth, tuple(worst)), 0.0, 3000, methods=methods)
        closed.append(pool.status == "closed")
        assert pool.bracket.upper > truth
    assert not any(closed)


@pytest.mark.parametrize("name", ["reciprocal", "log", "sqrt", "square", "tanh", "exp", "erf", "arctan"])
def test_sizes_of_any_magnitude(name: str) -> None:
    """Where powers of large and small numbers underflow, nothing is forgotten."""
    generator, found, finite = random.Random(name), [], []
    for exponent in range(-150, 150, 7):
        scale, share = 10.0**exponent, generator.choice((0.4, 0.04, 1e-6))
        if name == "exp" and exponent > 2:
            continue
        for order in (1, 3, 7):
            with of_order(1, order) as table:
                terms = torch.tensor([[scale], [share * scale]], dtype=torch.float64)
                form = getattr(torch, name)(AffineForm(terms, torch.zeros(1, dtype=torch.float64)))
            finite += are_finite(form)
            for e in (mp.mpf(-1), mp.mpf(1), mp.mpf(generator.uniform(-1, 1))):
                true = UNARY_EXACT[name](mp.mpf(scale) + mp.mpf(share * scale) * e)
                lines = outside(table, form, np.array([[e]]), [true])
                found += [f"1e{exponent}, order {order}: {line}" for line in lines]
    assert found == [] and np.mean(finite) > LEAST


def test_distances_from_zero_are_bounds() -> None:
    """Of radii that are known to one rounding."""
    generator = np.random.default_rng(2)
    places, radii = generator.normal(size=500), np.abs(generator.normal(size=500)) / 3
    ends = [
        part(torch.from_numpy(places), torch.from_numpy(radii)).tolist() for part in (expansion.near, expansion.far)
    ]
    for x, r, near, far in zip(places.tolist(), radii.tolist(), *ends, strict=True):
        wide = Fraction(r) * (1 + Fraction(2) ** -53)
        assert near <= max(abs(Fraction(x)) - wide, 0) and abs(Fraction(x)) + wide <= far
