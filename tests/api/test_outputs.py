"""`hpcsweep.measure` of several outputs, of code in float32, below a threshold; and what it says before it measures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import hpcsweep
from hpcsweep.approx.supnorm.functions import adapted, outputs_of, terms_of
from hpcsweep.errors import UserError

FEW = {"count": 2000, "uniform": 1000, "starts": 32, "kinks": 64}
SQUARE = [(-1.0, 1.0)] * 2


@pytest.fixture(autouse=True)
def _no_surprising_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def network(outputs: int, *between: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), *between, nn.Tanh(), nn.Linear(8, outputs))


def dynamics(x: Any) -> Any:
    a, b = x.T
    return torch.stack([torch.sin(a), a * b, torch.exp(b)]).T


def zero(x: Any) -> Any:
    return 0 * x[:, 0]


# Several outputs


def test_each_output_is_measured_as_if_it_were_alone() -> None:
    net = network(3)
    several = hpcsweep.measure(net, dynamics, SQUARE, **FEW)
    double = network(3).double()
    for number, output in enumerate(several.outputs):
        alone = hpcsweep.measure(
            lambda x: double(x)[:, number],  # noqa: B023
            lambda x: dynamics(x)[:, number],  # noqa: B023
            SQUARE,
            **FEW | {"certificate": "off"},
        )
        assert output.lower == pytest.approx(alone.lower, rel=1e-12) and output.certificate == "closed"
    worst = max(several.outputs, key=lambda output: output.lower)
    assert several.outputs[several.worst] is worst
    assert (several.lower, several.where, several.certificate) == (worst.lower, worst.where, "closed")
    assert several.lower <= several.upper == max(output.upper for output in several.outputs)


def test_the_layers_of_every_output_are_known() -> None:
    net = network(3)
    assert outputs_of(net, SQUARE) == 3 and outputs_of(dynamics, SQUARE) == 3 and outputs_of(zero, SQUARE) == 1
    points = torch.rand(5, 2, dtype=torch.float64)
    for number in range(3):
        (term,) = terms_of(net, adapted(net, SQUARE, number), SQUARE, number)
        torch.testing.assert_close(term(points), network(3).double()(points)[:, number])


@pytest.mark.filterwarnings("default::UserWarning")
def test_an_output_without_a_rule_blocks_no_other() -> None:
    def target(x: Any) -> Any:
        strange = torch.special.bessel_j0(x[:, 0])
        return torch.stack([torch.sin(x[:, 0]), strange * 2, torch.where(x[:, 1] > 0, x[:, 1], 0.1)], dim=1)

    with pytest.warns(UserWarning, match=r"proved of output 1: no enclosure rule for special_bessel_j0 \(test_outputs"):
        found = hpcsweep.measure(network(3), target, SQUARE, **FEW)
    assert [output.certificate for output in found.outputs] == ["closed", "no rule", "closed"]
    assert math.isinf(found.upper) and found.certificate == "no rule"
    assert found.message.startswith("Output 1: No certificate: no enclosure rule for special_bessel_j0")


@pytest.mark.filterwarnings("default::UserWarning")
def test_an_output_that_depends_on_an_unknown_value_is_not_bounded() -> None:
    """Whatever is made of it: cut off, compared, multiplied by nothing."""

    def target(x: Any) -> Any:
        strange = torch.special.bessel_j0(x[:, 0])
        chosen = torch.where(strange > 0.5, 1.0, 0.0)
        return torch.stack(
            [0 * strange, torch.digamma(strange) + x[:, 0], torch.sign(strange) * 3, chosen, x[:, 1]], dim=1
        )

    with pytest.warns(UserWarning):
        found = hpcsweep.measure(lambda x: torch.zeros(len(x), 5).double(), target, SQUARE, **FEW)
    for output in found.outputs[:3]:
        assert output.certificate == "no rule" and math.isinf(output.upper)
    assert found.outputs[3].upper <= 1.0101 and found.outputs[4].certificate == "closed"


def test_targets_and_networks_have_as_many_outputs() -> None:
    with pytest.raises(UserError, match=r"the target has 3 output\(s\) and the approximant 2"):
        hpcsweep.measure(network(2), dynamics, SQUARE, **FEW)


# float32, and modules that are being trained


NARROW = network(1)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: NARROW(x)[:, 0],
        lambda x: NARROW(x.float())[:, 0],
        lambda x: NARROW(x.to(torch.float32)).squeeze(1).double(),
        lambda x: torch.zeros(len(x)).add_(NARROW(x)[:, 0]).double(),
        lambda x: torch.tanh(x @ NARROW[0].weight.T + NARROW[0].bias) @ NARROW[2].weight[0] + NARROW[2].bias,
    ],
)
def test_code_in_float32_is_measured_in_float64_and_proved(function: Callable[..., Any]) -> None:
    found = hpcsweep.measure(function, zero, SQUARE, **FEW)
    truth = network(1).double()(torch.tensor([found.where], dtype=torch.float64)).item()
    assert found.lower == pytest.approx(abs(truth), rel=1e-13) and found.certificate == "closed"
    assert "computes in float32; it is measured in float64" in found.message
    assert NARROW[0].weight.dtype == torch.float32


def test_constants_in_float32_are_taken_as_they_are() -> None:
    found = hpcsweep.measure(lambda x: (x @ torch.tensor([[0.1], [0.0]]))[:, 0], zero, SQUARE, **FEW)
    assert found.lower == pytest.approx(float(torch.tensor(0.1)), rel=1e-15)


def test_a_module_in_training_mode_is_measured_as_after_it_and_this_is_said() -> None:
    training = network(1, nn.BatchNorm1d(8), nn.Dropout())
    found = hpcsweep.measure(training, zero, SQUARE, **FEW)
    assert found.certificate == "closed" and "training mode; it is measured in evaluation mode" in found.message
    assert training.training and training[1].num_batches_tracked == 0
    assert hpcsweep.measure(training.eval(), zero, SQUARE, **FEW).message == ""
    assert hpcsweep.measure(network(1), zero, SQUARE, **FEW).message == ""


def test_rounding_that_depends_on_the_batch_is_no_randomness() -> None:
    def shifted(x: Any) -> Any:
        return (x[:, 0] + 1e6 * len(x)) - 1e6 * len(x)

    assert hpcsweep.measure(shifted, zero, SQUARE, **FEW | {"certificate": "off"}).lower == pytest.approx(1)
    with pytest.raises(UserError, match="changes with the call or the other points"):
        hpcsweep.measure(lambda x: x[:, 0] + 1e-6 * len(x), zero, SQUARE, **FEW)


# Thresholds

HILL = 0.8  # the largest value of the function below, at zero


def hill(x: Any) -> Any:
    return HILL * torch.exp(-(x**2).sum(1))


@pytest.mark.parametrize(
    ("below", "verdict"),
    [(1e-3, "refuted"), (0.79999, "refuted"), (0.800001, "proved"), (0.9, "proved"), (100.0, "proved")],
)
def test_a_threshold_is_proved_or_refuted(below: float, verdict: str) -> None:
    decision = hpcsweep.measure(zero, hill, SQUARE, below=below, **FEW)
    assert (decision.verdict, decision.proved, decision.refuted) == (verdict, verdict == "proved", verdict == "refuted")
    if verdict == "refuted":
        at = torch.tensor([decision.where], dtype=torch.float64)
        assert hill(at).item() > below and decision.measured.boxes == 0  # no proof from above was begun
        assert decision.measured.proved
    else:
        assert HILL <= decision.measured.upper <= below


def test_a_decision_searches_less_unless_it_is_asked_for() -> None:
    without = hpcsweep.measure(zero, hill, SQUARE, below=0.9).measured
    assert math.isnan(without.uniform) and without.points < 2**17
    assert hpcsweep.measure(zero, hill, SQUARE, below=0.9, **FEW | {"uniform": 100}).measured.uniform > 0.5
    unproved = hpcsweep.measure(zero, hill, SQUARE, below=0.9, certificate="off").measured
    assert unproved.uniform > 0.79  # only points might refute
    six = [(-1.0, 1.0)] * 6
    assert hpcsweep.measure(zero, hill, six, below=0.9, starts=4, kinks=0).measured.averaged == 2**15
    assert hpcsweep.measure(zero, hill, six, below=0.9, starts=4, kinks=0, count=2**16).measured.averaged == 2**16


def test_rounding_errors_of_evaluations_refute_nothing() -> None:
    def other(x: torch.Tensor) -> torch.Tensor:
        return (x[:, 0] + 1e13) - 1e13 - x[:, 0] + 1e-7

    decision = hpcsweep.measure(zero, other, SQUARE, below=1e-5, **FEW)
    assert decision.measured.screened > 1e-5 > decision.measured.lower and decision.verdict == "proved"
    assert decision.measured.upper >= 1e-7


def test_an_overflow_refutes_nothing() -> None:
    large = hpcsweep.measure(zero, lambda x: torch.log(torch.exp(x[:, 0])), [(0.0, 800.0)], below=1000.0, **FEW)
    assert math.isinf(large.measured.lower) and large.verdict == "undecided"


def test_an_evaluation_that_contradicts_the_proof_is_not_proved() -> None:
    """Code that is another function on boxes, at one point that only the proof looks at."""

    def peaked(x: Any) -> Any:
        values = 1.0 - (x[:, 0] - 0.3359375).abs() / 2
        return torch.where(x[:, 0] == 0.3359375, 5.0, values) if isinstance(x, torch.Tensor) else values

    decision = hpcsweep.measure(zero, peaked, [(0, 1)], below=2.0, **FEW | {"starts": 0, "kinks": 0})
    assert decision.measured.lower == 5.0 and not decision.measured.proved and not decision.proved


def test_float32_without_gradients_is_measured_in_float64() -> None:
    step = lambda x: torch.heaviside(x[:, 0].float(), torch.zeros(1)) * (1 + x[:, 0].float() / 3)  # noqa: E731
    found = hpcsweep.measure(zero, step, [(0.1, 0.7)], **FEW)
    assert found.lower == pytest.approx(1 + 0.7 / 3, rel=1e-12) and "computes in float32" in found.message


def test_a_proof_that_finds_larger_errors_keeps_to_the_threshold() -> None:
    """Without a search, the largest error is only found by the proof itself."""
    alone = {"count": 4, "points": ["grid"], "uniform": 0, "starts": 0, "kinks": 0}
    for below in (0.81, 0.8001, 0.7999):
        decision = hpcsweep.measure(zero, hill, SQUARE, below=below, **alone)
        assert decision.verdict == ("proved" if below > HILL else "refuted")


def test_what_can_be_neither_proved_nor_refuted_is_undecided() -> None:
    near = HILL * (1 + 1e-9)
    assert hpcsweep.measure(zero, hill, SQUARE, below=near, **FEW | {"boxes": 64}).verdict == "undecided"
    assert hpcsweep.measure(zero, hill, SQUARE, below=0.9, certificate="off", **FEW).verdict == "undecided"
    six = [(-1.0, 1.0)] * 7  # where no proof is tried unless it is asked for
    assert hpcsweep.measure(zero, lambda x: 0.1 * x.sum(1), six, below=0.9, **FEW).verdict == "proved"


@pytest.mark.parametrize("below", [math.nan, math.inf, -1.0, "0.1 m", [1.0]])
def test_a_threshold_is_a_finite_number(below: Any) -> None:
    with pytest.raises(UserError, match="below, the threshold, must be a finite number of at least 0, not "):
        hpcsweep.measure(zero, hill, SQUARE, below=below, **FEW)


def test_an_output_that_is_not_a_number_somewhere_is_the_worst() -> None:
    for order in ([0, 1], [1, 0]):
        found = hpcsweep.measure(
            lambda x: torch.zeros(len(x), 2).double(),
            lambda x: torch.stack([x[:, 0], torch.sqrt(x[:, 1])], dim=1)[:, order],  # noqa: B023
            SQUARE,
            **FEW | {"certificate": "off"},
        )
        assert found.worst == order.index(1) and math.isnan(found.lower) and found.where[1] < 0


def test_all_outputs_are_below_a_threshold_or_the_first_that_is_not_ends_it() -> None:
    nothing = lambda x: torch.zeros(len(x), 3).double()  # noqa: E731
    assert hpcsweep.measure(nothing, dynamics, SQUARE, below=2.8, **FEW).verdict == "proved"
    refuted = hpcsweep.measure(nothing, dynamics, SQUARE, below=0.99, **FEW)
    assert refuted.verdict == "refuted" and len(refuted.measured.outputs) == 2 and refuted.measured.lower == 1.0


# What is said


@pytest.mark.filterwarnings("default::UserWarning")
def test_what_has_no_rule_is_named_with_its_line_before_anything_is_measured() -> None:
    measured = []

    def strange(x: Any) -> Any:
        measured.append(len(x))
        return torch.special.bessel_j0(x[:, 0])

    line = strange.__code__.co_firstlineno + 2
    with pytest.warns(UserWarning) as warned:
        hpcsweep.measure(zero, strange, SQUARE, **FEW)
    (warning,) = warned
    assert f"special_bessel_j0 (test_outputs.py, line {line}); the nearest that have one: " in str(warning.message)
    hpcsweep.measure(zero, strange, SQUARE, **FEW | {"certificate": "off"})  # without a word


def test_an_unbounded_error_is_explained() -> None:
    found = hpcsweep.measure(zero, lambda x: 1 / (x[:, 0] - 0.3), [(-1, 1)], **FEW)
    assert math.isinf(found.upper) and found.message.startswith("No upper bound: ")


def test_a_domain_wider_than_any_number_is_refused() -> None:
    with pytest.raises(UserError, match="wider than the largest float64 number"):
        hpcsweep.measure(zero, lambda x: x[:, 0], [(-1.7e308, 1.7e308)], **FEW)
