"""What double-doubles do, rule by rule: functions of one and of two, tensors, conditions, what is unknown."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from torch.nn import functional

from hpcsweep.approx.supnorm.certificate.enclosure import DoubleDouble, NoEnclosure, exact
from hpcsweep.approx.supnorm.certificate.enclosure.affine import RULES, apply
from hpcsweep.approx.supnorm.certificate.enclosure.axes import seen
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.arithmetic import lower_ends
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import widening
from tests.approx.supnorm.certificate.exact import BINARY, UNARY
from tests.approx.supnorm.certificate.test_double_double import DIGITS, doubles, outside, truth

WITHOUT: set[str] = set()  # rules that double-doubles have not: such functions are enclosed by affine forms


# Functions one by one

RANGES = {
    **dict.fromkeys(("exp", "expm1", "sinh", "cosh"), (-680.0, 680.0)),
    **dict.fromkeys(("sin", "cos"), (-1e9, 1e9)),
    **dict.fromkeys(("arcsin", "arccos"), (-1.0, 1.0)),
    **dict.fromkeys(("log", "log1p", "sqrt", "rsqrt"), (0.0, 1e6)),
    "tan": (-1.5, 1.5),
}
OPTIONS = {"leaky_relu": {"negative_slope": 0.01}, "elu": {"alpha": 1.7}, "softplus": {}}


def arguments(name: str, generator: random.Random, count: int) -> torch.Tensor:
    """Arguments within the domain of a function, of all sizes."""
    low, high = RANGES.get(name, (-50.0, 50.0))
    positive = low >= 0.0
    kinds = (
        lambda: generator.uniform(low, high),
        lambda: generator.uniform(0.0 if positive else -1.0, 1.0),
        lambda: (1.0 if positive else generator.choice((-1.0, 1.0))) * 10.0 ** generator.uniform(-280, 0),
        lambda: generator.choice((0.0, 1.0, 0.5, high, low if positive else -high)),
    )
    return doubles([generator.choice(kinds)() for _ in range(count)])


def apart(name: str, numbers: DoubleDouble, shares: Sequence[float]) -> list[str]:
    """What is wrong with a function of numbers whose errors are these shares of their radii."""
    options = OPTIONS.get(name, {})
    with mp.workdps(DIGITS):
        places = truth(numbers.leading) + truth(numbers.trailing) + truth(numbers.radius) * truth(doubles(shares))
        values = [UNARY[name](place, **options) if _defined(name, place) else mp.nan for place in places]
        function = getattr(torch, name, None) or getattr(functional, name)
        return list(outside(function(numbers, **options) if options else function(numbers), np.array(values)))


def _defined(name: str, x: mp.mpf) -> bool:
    if name in ("log", "log1p", "rsqrt", "reciprocal"):
        return x > (-1 if name == "log1p" else 0) or (name == "reciprocal" and x != 0)
    return not (name == "sqrt" and x < 0) and not (name in ("arcsin", "arccos") and abs(x) > 1)


@pytest.mark.parametrize("name", sorted(UNARY.keys() - {"neg", "log_sigmoid"}))
def test_each_function(name: str) -> None:
    generator = random.Random(name)
    numbers = exact(arguments(name, generator, 150))
    assert apart(name, numbers, [0.0] * 150) == []
    numbers.trailing.copy_(numbers.leading * doubles([generator.uniform(-1, 1) * 2.0**-54 for _ in range(150)]))
    assert apart(name, numbers, [0.0] * 150) == []


@pytest.mark.parametrize("name", sorted(UNARY.keys() - {"neg", "log_sigmoid"}))
def test_errors_of_arguments_are_carried(name: str) -> None:
    generator = random.Random(name)
    numbers = exact(
        arguments(name, generator, 200).clamp(-20.0, 20.0) if name not in ("sin", "cos") else doubles([3.0] * 200)
    )
    numbers.radius.copy_(doubles([10.0 ** -generator.uniform(0, 24) for _ in range(200)]))
    assert apart(name, numbers, [generator.choice((-1.0, 1.0, 0.7)) for _ in range(200)]) == []


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum"])
@pytest.mark.parametrize("carried", [False, True])
def test_each_function_of_two(name: str, carried: bool) -> None:
    generator = random.Random(name)
    sizes = [[generator.choice((-1, 1)) * 10.0 ** generator.uniform(-9, 9) for _ in range(300)] for _ in range(2)]
    sizes[1][:100] = [x * (1 + 1e-15 * generator.uniform(-3, 3)) for x in sizes[0][:100]]  # what cancels
    pair = [exact(doubles(numbers)) for numbers in sizes]
    for one in pair:
        one.trailing.copy_(one.leading * doubles([generator.uniform(-1, 1) * 2.0**-54 for _ in range(300)]))
        one.radius.copy_(one.leading.abs() * 1e-9 * carried)
    with mp.workdps(DIGITS):
        shares = [truth(doubles([generator.choice((-1.0, 1.0)) for _ in range(300)])) for _ in range(2)]
        places = [
            truth(x.leading) + truth(x.trailing) + truth(x.radius) * share
            for x, share in zip(pair, shares, strict=True)
        ]
        assert list(outside(getattr(torch, name)(*pair), BINARY[name](*places))) == []


def test_products_of_matrices() -> None:
    """Numbers of all bits and sizes, their errors included."""
    generator = np.random.default_rng(5)
    for inputs, carried in ((1, 0.0), (7, 0.0), (40, 0.0), (40, 1e-20), (40, 1.0)):
        sizes = [
            10.0 ** generator.uniform(-3, 3, size=(4, inputs)) * generator.normal(size=(4, inputs)) for _ in range(2)
        ]
        x, weight = exact(torch.from_numpy(sizes[0])), torch.from_numpy(sizes[1])
        x.trailing.copy_(x.leading * torch.from_numpy(generator.uniform(-1, 1, (4, inputs))) * 2.0**-54)
        x.radius.copy_(x.leading.abs() * carried)
        with mp.workdps(DIGITS):
            signs = truth(torch.from_numpy(generator.choice((-1.0, 1.0), size=(4, inputs))))
            places = truth(x.leading) + truth(x.trailing) + truth(x.radius) * signs
            numbers = functional.linear(x, weight)
            assert list(outside(numbers, places @ truth(weight).T)) == []
        assert carried or float((numbers.radius / (x.leading.abs() @ weight.abs().T)).max()) < 1e-30


def test_what_is_far_below_the_largest_of_a_row_is_counted() -> None:
    numbers = functional.linear(exact(doubles([[0.0, 1.0]])), doubles([[1.0, 1.3 * 2.0**-150]]))
    with mp.workdps(DIGITS):
        assert list(outside(numbers, np.array([mp.mpf(1.3 * 2.0**-150)]))) == []


def test_the_larger_of_two_that_a_sum_cannot_tell_apart() -> None:
    x = DoubleDouble(doubles([1 + 2.0**-52]), doubles([-(2.0**-53) - 2.0**-105]), doubles([0.0]))
    y = DoubleDouble(doubles([1.0]), doubles([2.0**-53]), doubles([0.0]))
    with mp.workdps(DIGITS):
        larger = np.array([1 + mp.mpf(2) ** -53])  # y, by 2^-105
        assert list(outside(torch.maximum(x, y), larger)) == list(outside(torch.maximum(y, x), larger)) == []


def test_underflow_is_counted() -> None:
    """Products of numbers whose parts underflow, times numbers that make that large again."""
    small, large = (exact(doubles(sizes)) for sizes in ([1.1e-160, 3.3e-300, 1.7e-310], [1e200, 1e290, 1e160]))
    with mp.workdps(DIGITS):
        for factor in (1.3e-155, 1.0 / 3.0, 7e-10):
            values = truth(small.leading) * mp.mpf(factor) * truth(large.leading)
            assert list(outside(small * factor * large, values)) == []


def test_guesses_of_any_quality_are_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or refused: nothing is assumed of the accuracy of float64's log, sqrt and arctan."""
    for name, least, most in (("log", 1.0, 9.0), ("sqrt", 1.0, 9.0), ("arctan", -0.9, 0.9)):
        numbers = exact(torch.linspace(least, most, 50, dtype=torch.float64))
        guess = getattr(torch, name)
        for off in (1e-15, 1e-9, 4e-7, 0.3):
            with monkeypatch.context() as patch, mp.workdps(DIGITS):
                patch.setattr(
                    torch,
                    name,
                    lambda x, guess=guess, off=off: guess(x) + off if isinstance(x, torch.Tensor) else guess(x),
                )
                result = getattr(numbers, name)()
            with mp.workdps(DIGITS):
                values = np.array([UNARY[name](place) for place in truth(numbers.leading)])
                assert list(outside(result, values)) == []
            assert off > 0.1 or bool((result.radius < 1e-11).all())


# As tensors


def test_every_rule_has_a_version_for_points() -> None:
    x, ones = exact(doubles([[0.25, 0.5], [0.75, 0.125]])), doubles([1.0, 1.0])
    matrix, index, mask = torch.outer(ones, ones), torch.zeros(2, 1, dtype=torch.int64), x > 0.3
    deep, wide = x[:, None] * x[..., None], x[:, [0, 1, 0]]
    some: list[tuple] = [(x,), (x, 1), (x, x), (x, matrix), ([x, x],), ([x, x], 1), (mask,), (mask, 1), (mask, mask)]
    some += [(mask, x, x), (matrix, x, matrix), (x, slice(None)), (x, 0, 1), (x, 2, 1), (x, 1, 1), (x, 1, 0, 1)]
    some += [(x, 2, 2), (x, (2,), 1.0), ("add", (x, x), {}), (x, ones, ones), (x, x, matrix[None]), (x, [2])]
    some += [(x, x, 0.5), (x, x, x), ("ni,ij->nj", x, matrix), (wide, wide), (deep, deep, deep), (x, 0.5, False)]
    some += [(x[:, 0],), (deep, 1), (wide, wide, 1), (x, torch.float64)]
    some += [(x, 1, (2, 1)), (x.T,), ([x.T, x.T],), (deep, 1, (1, 2)), (x, 1, index[0]), (x, (2, 2)), (x, 1, index)]
    some += [(x, index, 1), (deep, 0, 1, 2), (x, 1, 1, 1)]
    weights = torch.cat([matrix] * 3), None, None, None, False, 0.0, matrix, None, False  # of attention
    some += [(*(deep.transpose(0, 1),) * 3, 2, 1, *weights)]

    def works(name: str, given: tuple) -> bool:
        try:
            apply(name, *given)
        except Exception:  # of arguments of another operation
            return False
        return True

    with widening():
        assert {name for name in RULES if not any(works(name, given) for given in some)} == WITHOUT


def test_axes_and_places_are_those_of_torch() -> None:
    values = torch.rand(3, 2, dtype=torch.float64)
    uses: tuple[Callable[[Any], Any], ...] = (
        lambda x: x.T,
        lambda x: x[:, 1:, None],
        lambda x: torch.stack([*x.T], 1).reshape(-1, 1, 2),
        lambda x: x.unbind(1)[1],
        lambda x: torch.cat([x, 2 * x], 1).flip(1),
        lambda x: torch.stack([x, x.roll(1, 1)]).sum(0),
        lambda x: torch.full_like(x, 2.0) * x,
        lambda x: x.T.sum(0),
        lambda x: x.amax(1, keepdim=True),
        lambda x: matrix[:, :2] @ x.T,
        lambda x: x @ matrix.T[:2],
        lambda x: torch.addmm(matrix[0], x, matrix[:2]),
        lambda x: matrix[0, :2] @ x.T,
        lambda x: x @ matrix[0, :2],
    )
    matrix = torch.rand(3, 3, dtype=torch.float64)
    for use in uses:
        result, at = seen(use(exact(values)))
        torch.testing.assert_close(result.leading.movedim(0, at), use(values), rtol=1e-15, atol=0)


def test_operations_in_place_do_what_they_do_in_torch() -> None:
    def changed(x: Any) -> Any:
        y = x * 1.0
        y.tanh_().mul_(3.0)
        negative = -y
        negative -= 2.0
        return x + y + negative * torch.relu_(y.clone() - 0.5)

    values = torch.rand(4, 2, dtype=torch.float64)
    points = exact(values)
    torch.testing.assert_close(changed(points).leading, changed(values.clone()))
    assert float(points.radius.max()) == 0.0  # of numbers that nothing has changed


@pytest.mark.parametrize("use", [bool, float, torch.digamma, lambda x: x.item(), lambda x: x.__setitem__(0, 1.0)])
def test_what_has_no_rule_is_refused(use: Callable[[Any], Any]) -> None:
    with pytest.raises(NoEnclosure):
        use(exact(doubles([0.5])))


def test_what_is_no_number_stays_unknown() -> None:
    for bad in (math.nan, math.inf, -math.inf, 1.7e308):
        x = exact(doubles([bad, 1.7e308])) + exact(doubles([bad, 1.7e308]))
        uses = (
            torch.relu,
            torch.sign,
            torch.floor,
            torch.sinc,
            torch.tanh,
            torch.abs,
            torch.exp,
            torch.erf,
            torch.sigmoid,
            torch.reciprocal,
            torch.sqrt,
        )
        for result in [use(x) for use in uses] + [torch.maximum(x, 0 * x), x * 0.0, torch.where(x > 0, 1.0, 2.0) * x]:
            assert not bool((result.radius < math.inf).any()) and lower_ends(result).tolist() == [0.0, 0.0]
        assert not bool((functional.linear(x[:, None], doubles([[0.0]])).radius < math.inf).any())


def test_undecided_conditions_reach_both_branches() -> None:
    x = exact(doubles([0.5, -0.5, 0.0, 0.0]))
    x.radius.copy_(doubles([0.1, 0.1, 0.1, 0.0]))
    for chosen in (
        torch.where(x >= 0.0, torch.full_like(x, 3.0), torch.zeros_like(x)),
        torch.where(x >= 0, 3 + 0 * x, 0),
    ):
        ends = zip((chosen.leading - chosen.radius).tolist(), (chosen.leading + chosen.radius).tolist(), strict=True)
        low, high = zip(*ends, strict=True)
        assert low[2] <= 0.0 and high[2] >= 3.0
        assert [low[at] for at in (0, 1, 3)] == pytest.approx([3.0, 0.0, 3.0])


def test_lower_ends_are_below_the_truth() -> None:
    generator = random.Random(3)
    numbers = exact(doubles([generator.choice((-1, 1)) * 10.0 ** generator.uniform(-9, 9) for _ in range(300)]))
    numbers.trailing.copy_(numbers.leading * doubles([generator.uniform(-1, 1) * 2.0**-54 for _ in range(300)]))
    numbers.radius.copy_(numbers.leading.abs() * doubles([10.0 ** generator.uniform(-40, 1) for _ in range(300)]))
    with mp.workdps(DIGITS):
        sizes = abs(truth(numbers.leading) + truth(numbers.trailing)) - truth(numbers.radius)
        triples = zip(lower_ends(numbers).tolist(), sizes, numbers.leading.abs().tolist(), strict=True)
        assert all(e <= max(size, 0) and e >= size - mp.mpf(2) ** -50 * x for e, size, x in triples)
