"""exp, log, tanh, sin, cos and the activations against 50 digits, in both precisions, lane by lane."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from hpcsweep.approx.kernels import elementary_functions
from hpcsweep.approx.kernels.activations import ACTIVATIONS
from hpcsweep.approx.kernels.vectors import Number
from tests.approx.kernels.cases import by_lanes_and_by_numbers, is_compiled_for_avx512
from tests.approx.supnorm.certificate.exact import UNARY
from tests.forks import without_avx512

Floats = np.ndarray[Any, Any]
PRECISIONS = (np.float64, np.float32)
FUNCTIONS: dict[str, Callable[[Number], Number]] = {
    name: getattr(elementary_functions, name) for name in ("exp", "log", "tanh", "sin", "cos")
}
SMOOTH = {name: one for name, one in ACTIVATIONS.items() if one.derivatives is not None}
COLUMNS = [
    *FUNCTIONS,
    *(f"{name} {what}" for name in ACTIVATIONS for what in ("value", "value again", "slope")),
    *(f"{name} {order}" for name in SMOOTH for order in range(4)),
]


def _all(x: Number, *_: Number) -> list[Number]:
    """Return what COLUMNS names."""
    found = [function(x) for function in FUNCTIONS.values()]
    for one in ACTIVATIONS.values():
        found += [one.value(x), *one.value_and_slope(x)]
    for one in SMOOTH.values():
        assert one.derivatives is not None
        found += one.derivatives(x)
    return found


_by_lanes, _by_numbers = by_lanes_and_by_numbers(_all)


def values(x: Floats, call: Callable[..., None] = _by_lanes) -> dict[str, Floats]:
    """Return every function of these numbers, by its name in COLUMNS."""
    padded = np.concatenate([x, np.zeros(-len(x) % 16, x.dtype)])
    out = np.empty((len(COLUMNS), len(padded)), x.dtype)
    call(padded, padded, padded, out.reshape(-1))
    return {name: row[: len(x)] for name, row in zip(COLUMNS, out, strict=True)}


def _exact(name: str) -> Callable[[Any], Any]:
    """Return what a column approximates: a function, or the derivative of an activation of some order."""
    function, _, what = name.partition(" ")
    order = {"": 0, "value": 0, "slope": 1}.get(what) if not what.isdecimal() else int(what)
    return lambda z: mpmath.diff(UNARY[function], z, order)


def _ulps(name: str, x: Floats, least: float = 0.0) -> float:
    """Return the worst error in units in the last place of the result, or of `least` where the result is smaller."""
    kind = np.finfo(x.dtype)
    worst, function = 0.0, _exact(name)
    with mpmath.workdps(50):
        for at, found in zip(x.tolist(), values(x)[name].tolist(), strict=True):
            exact = function(mpmath.mpf(at))
            exponent = mpmath.frexp(max(abs(exact), mpmath.mpf(least), mpmath.mpf(float(kind.tiny))))[1]
            error = float(abs(mpmath.mpf(found) - exact) * mpmath.mpf(2) ** (kind.nmant + 1 - exponent))
            assert error == error, f"{name}({at}) is {found}"
            worst = max(worst, error)
    return worst


def _around(places: Floats, kind: Any) -> Floats:
    """Return these numbers and their neighbours, with both signs."""
    near = places.astype(kind)
    near = np.concatenate([near, np.nextafter(near, kind(np.inf)), np.nextafter(near, kind(-np.inf))])
    return np.concatenate([near, -near])


def _places(name: str, kind: Any) -> Floats:
    """Return random numbers, dense where the function varies, and the ends of its pieces."""
    rng, half = np.random.default_rng(7), np.log(2) / 2
    narrow = rng.normal(size=3000) * np.exp(rng.normal(size=3000))
    tiny = np.array([1e-300, 1e-310, 5e-324, 1e-40, 1e-45, 1e-10, 1e-5])
    steps = np.arange(1, 60) * half
    low, high = (-745.0, 709.7) if kind is np.float64 else (-103.0, 88.7)
    wide, special = {
        "exp": (rng.uniform(low, high, 3000), np.concatenate([steps, [high, -low - 40.0 * (kind is np.float64)]])),
        "log": (
            np.exp(rng.uniform(low if kind is np.float64 else -87.0, high, 3000)),
            np.sqrt(2.0) ** np.arange(-9, 9),
        ),
        "tanh": (
            rng.uniform(-20, 20, 3000),
            np.concatenate([steps / 2, [18.02, 18.19, 18.37, 19.06, 19.1, 9.05, 300.0]]),
        ),
        "sin": (rng.uniform(-1e5, 1e5, 3000), np.append(np.arange(1, 400) * np.pi / 4, [1e5, 63661.0 * np.pi / 2])),
    }[{"cos": "sin"}.get(name, name)]
    found = np.concatenate([narrow.astype(kind), wide.astype(kind), _around(special, kind), _around(tiny, kind)])
    return found[found > 0] if name == "log" else found


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_stay_below_one_and_a_half_ulp(name: str, kind: Any) -> None:
    x = _places(name, kind)
    if name == "exp":
        x = x[(x < 709.78) if kind is np.float64 else (x < 88.72)]
    assert len(x) > 4000
    assert _ulps(name, x) <= 1.5


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("name", [f"{name} {what}" for name in SMOOTH for what in ("value", "slope")])
def test_activations(name: str, kind: Any) -> None:
    rng = np.random.default_rng(3)
    ends = (-37.0, 10.0) if kind is np.float64 else (-12.0, 5.0)
    x = np.concatenate([rng.normal(size=700), rng.uniform(*ends, 700), _around(np.array([0.75, 0.0, 1e-300]), kind)])
    least = 0.0 if name.endswith("value") else 1.0
    assert _ulps(name, x.astype(kind), least) <= 2.5


@pytest.mark.parametrize("name", [f"{name} {order}" for name in SMOOTH for order in (2, 3)])
def test_higher_derivatives(name: str) -> None:
    x = np.random.default_rng(4).normal(size=400) * 3
    assert _ulps(name, x, 1.0) <= 6


@pytest.mark.parametrize("kind", PRECISIONS)
def test_a_value_is_one_value(kind: Any) -> None:
    found = values(_places("tanh", kind))
    for name in ACTIVATIONS:
        assert found[f"{name} value"].tobytes() == found[f"{name} value again"].tobytes()
    for name in SMOOTH:
        assert found[f"{name} value"].tobytes() == found[f"{name} 0"].tobytes()
        assert np.allclose(found[f"{name} slope"], found[f"{name} 1"], rtol=0, atol=4 * np.finfo(kind).eps)
    for name in ("tanh", "sin"):
        assert found[f"{name} value"].tobytes() == found[name].tobytes()


@pytest.mark.parametrize("kind", PRECISIONS)
def test_symmetry_to_the_bit(kind: Any) -> None:
    x = np.concatenate([_places("tanh", kind), _places("sin", kind)])
    found, other = values(x), values(-x)
    for name in ("tanh", "sin"):
        assert found[name].tobytes() == (-other[name]).tobytes(), name
    assert found["cos"].tobytes() == other["cos"].tobytes()


@pytest.mark.parametrize("kind", PRECISIONS)
def test_numbers_and_every_lane_agree_to_the_bit(kind: Any) -> None:
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30], kind)
    x = np.concatenate([special, _places("exp", kind)[::9], _places("sin", kind)[::9]])
    alone, together = values(x, _by_numbers), values(x)
    shifted = [values(np.concatenate([x[:shift], x])) for shift in range(1, 16)]
    for name in COLUMNS:
        np.testing.assert_array_equal(alone[name], together[name], err_msg=name)
        assert (np.signbit(alone[name]) == np.signbit(together[name]))[~np.isnan(alone[name])].all(), name
        for shift, one in enumerate(shifted, start=1):
            np.testing.assert_array_equal(one[name][shift:], together[name], err_msg=name)


@pytest.mark.parametrize("kind", PRECISIONS)
def test_special_values(kind: Any) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], kind)
    nan, inf = np.nan, np.inf
    expected = {
        "exp": [1, 1, inf, 0, nan],
        "log": [-inf, -inf, inf, nan, nan],
        "tanh": [0.0, -0.0, 1, -1, nan],
        "sin": [0.0, -0.0, nan, nan, nan],
        "cos": [1, 1, nan, nan, nan],
        "relu value": [0, 0, inf, 0, nan],
        "relu slope": [0, 0, 1, 0, nan],
        "tanh slope": [1, 1, 0, 0, nan],
        "gelu value": [0.0, -0.0, inf, -0.0, nan],
        "gelu slope": [0.5, 0.5, 1, 0, nan],
        "gelu 3": [0, 0, 0, 0, nan],
        "silu value": [0.0, -0.0, inf, -0.0, nan],
        "silu slope": [0.5, 0.5, 1, 0, nan],
        "silu 3": [0, 0, 0, 0, nan],
    }
    found = values(x)
    for name, answers in expected.items():
        np.testing.assert_array_equal(found[name], np.array(answers, kind), err_msg=name)
        if name in ("tanh", "sin", "gelu value", "silu value"):
            assert np.signbit(found[name])[:2].tolist() == [False, True], name


def test_ends_of_exp_and_log() -> None:
    x = np.array([709.782712893384, 709.782712893385, 800.0, -745.13, -745.14, -800.0, -708.5])
    assert values(x)["exp"].tolist() == [1.7976931348622732e308, np.inf, np.inf, 5e-324, 0, 0, np.exp(-708.5)]
    assert np.isnan(values(np.array([-1.0, -5e-324, -1e300]))["log"]).all()
    single = values(np.array([88.7, 89.0, -103.2, -104.5], np.float32))["exp"]
    assert np.isfinite(single[0]) and single[1] == np.inf and single[2] == np.float32(1e-45) and single[3] == 0


@pytest.mark.parametrize(("kind", "end"), [(np.float64, 2.0**49), (np.float32, 2.0**20)])
def test_sines_of_large_numbers(kind: Any, end: float) -> None:
    """To 2^49 (2^20 in float32) to 3 ulp of 1; beyond, where an argument hardly tells its sine, sin 0 and cos 1."""
    x = (np.random.default_rng(5).uniform(-1, 1, 600) * end).astype(kind)
    for name in ("sin", "cos"):
        assert _ulps(name, x, 1.0) <= 3
    found = values(np.array([4 * end, -1e4 * end, np.finfo(kind).max], kind))
    assert not found["sin"].any() and (found["cos"] == 1).all()


def digest() -> str:
    """Return a hash of the bits of all functions at many places, and whether instructions of AVX-512 made them."""
    known = hashlib.sha256()
    for kind in PRECISIONS:
        for name, row in values(np.concatenate([_places(name, kind) for name in FUNCTIONS])).items():
            known.update(name.encode() + np.where(np.isnan(row), kind(0), row).tobytes())
    return f"{known.hexdigest()} {'zmm' if is_compiled_for_avx512(_by_lanes) else 'ymm'}"


def test_the_bits_are_those_of_a_processor_without_avx512() -> None:
    assert without_avx512(__file__) == f"{digest().split()[0]} ymm"
