"""`hpcsweep.measure` of functions that are not what they seem: random, stateful, hooked, different on boxes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import hpcsweep
from hpcsweep.approx.supnorm import files
from hpcsweep.approx.supnorm.certificate.enclosure import NoEnclosure, boxes
from hpcsweep.approx.supnorm.functions import adapted, terms_of
from hpcsweep.errors import UserError

FEW = {"count": 1000, "uniform": 500, "starts": 32, "kinks": 32}
LINE, PLANE = [(-1.0, 1.0)], [(-1.0, 1.0)] * 2
CALLS = itertools.count()


def zero(x: Tensor) -> Tensor:
    return 0 * x[:, 0]


def network(*between: nn.Module, dimension: int = 1) -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(dimension, 4), *between, nn.Linear(4, 1)).double()


DROPOUT, NORM = network(nn.Dropout(0.5)), network(nn.BatchNorm1d(4))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, 0] + 0.5 * torch.rand(len(x), dtype=torch.float64),
        lambda x: x[:, 0] + torch.rand(1, dtype=torch.float64),
        lambda x: x[:, 0] + 1e-6 * next(CALLS),
        lambda x: x[:, 0] + torch.arange(len(x)),
        lambda x: x[:, 0] - x[:, 0].mean(),
        lambda x: x[:, 0] + 1e-3 * len(x),
        lambda x: torch.cumsum(x[:, 0], 0),
        lambda x: DROPOUT(x),
        lambda x: NORM(x),
        lambda x: np.asarray(x)[:, 0] + np.random.default_rng().random(len(x)),
    ],
)
def test_a_value_that_depends_on_more_than_its_point_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="changes with the call or the other points of its batch"):
        hpcsweep.measure(function, zero, LINE, **FEW)
    with pytest.raises(UserError, match="dropout or batch norm in training mode"):
        hpcsweep.measure(zero, function, LINE, **FEW)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, own: x[:, 0] + own,
        lambda x, own: own - x[:, 0],
        lambda x, own: x[:, 0] * own,
        lambda x, own: x[:, 0] / own,
        lambda x, own: x * own[:, None],
        lambda x, own: torch.where(x[:, 0] > 0, own, x[:, 0]),
        lambda x, own: torch.where(x[:, 0] > 0, own, 0.0),
        lambda x, own: torch.where(own > 2, x[:, 0], 0.0),
        lambda x, own: torch.where((x[:, 0] > 0) & (own > 2), x[:, 0], 0.0),
        lambda x, own: torch.where(x[:, 0] > own, x[:, 0], 0.0),
        lambda x, own: torch.cat([x, own[:, None]], dim=1),
        lambda x, own: torch.stack([x[:, 0], own], dim=1),
        lambda x, own: torch.maximum(x[:, 0], own),
    ],
)
def test_constants_made_for_the_points_of_a_batch_have_no_place_on_boxes(function: Callable[..., Any]) -> None:
    some = torch.linspace(-0.5, 0.5, 8, dtype=torch.float64).reshape(4, 2)
    form = boxes(some, torch.full_like(some, 0.1), PLANE)
    function(form, torch.full((len(form),), 3.0, dtype=torch.float64))  # one value for all is a constant
    with pytest.raises(NoEnclosure, match="for each point of a batch"):
        function(form, torch.arange(1.0, 1 + len(form), dtype=torch.float64))


def test_a_constant_function_made_for_a_batch_is_proved() -> None:
    found = hpcsweep.measure(lambda x: torch.full((len(x),), 0.25, dtype=torch.float64), lambda x: x[:, 0], LINE, **FEW)
    assert found.certificate == "closed" and found.lower == 1.25


def test_a_hook_that_adds_a_spike_is_part_of_the_network() -> None:
    hooked, seen, place = network(nn.Tanh(), dimension=2), {}, torch.tensor([0.1234567, -0.4567891]).double()
    hooked[0].register_forward_pre_hook(lambda _, given: seen.update(x=given[0]))
    hooked[2].register_forward_hook(
        lambda _, __, out: out + 10 * torch.relu(1 - 1e3 * (seen["x"] - place).abs().sum(1, keepdim=True))
    )
    found = hpcsweep.measure(hooked, lambda x: 0 * x[:, 0], PLANE, **FEW | {"boxes": 4096})
    assert hooked(place[None]).item() > 9 and found.upper >= hooked(place[None]).item()


def test_layers_are_known_only_where_they_are_the_whole_function() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    plain, twice, patched, bound = (network(nn.Tanh()) for _ in range(4))
    shared = nn.Linear(4, 4).double()
    repeated = nn.Sequential(plain[0], plain[1], shared, shared, plain[1], plain[2])
    patched.forward = lambda x: 2 * plain(x)
    parametrize.register_parametrization(bound[0], "weight", Doubled())
    twice[1].register_forward_hook(lambda _, __, out: 2 * out)
    for function, known in ((plain, 1), (twice, 0), (patched, 0), (bound, 0), (repeated, 0)):
        assert len(terms_of(function, adapted(function, LINE), LINE)) == known
    assert terms_of(plain, lambda x: plain(x)[:, 0] + 1e-8, LINE) == ()
    alternating = nn.Sequential(plain[0], plain[1], shared, plain[1], plain[2])  # one activation, twice
    (term,) = terms_of(alternating, adapted(alternating, LINE), LINE)
    assert len(term.weights) == 3


@pytest.mark.parametrize(
    ("seen", "options"),
    [
        (lambda x: 2 + 0 * x, {}),  # everywhere
        (lambda x: torch.where(x == 1.0, 5.0, 0.0), {}),  # only at the place of the lower bound
        (lambda x: torch.where(x == 0.53125, 5.0, 0.0), {"starts": 0, "kinks": 0, "count": 3, "uniform": 0}),
    ],
)
def test_a_proof_that_an_evaluation_contradicts_proves_nothing(seen: Callable, options: dict) -> None:
    """A function that shows tensors more than it shows boxes; the third is found by the proof itself, at a kink."""

    def two_faced(x: Any) -> Any:
        tent = 1 - torch.abs(x[:, 0] - 0.53125)
        return tent + seen(x[:, 0]) if isinstance(x, Tensor) else tent

    found = hpcsweep.measure(zero, two_faced, LINE, **FEW | options)
    assert found.lower >= 2 and math.isinf(found.upper) and found.certificate == "no rule"
    assert "the proof contradicts an evaluation" in found.message


def asserting(x: Any) -> Any:
    assert isinstance(x, Tensor)
    return torch.sin(x[:, 0])


def choosy(x: Any) -> Any:
    if not isinstance(x, Tensor):
        raise ValueError("only\ntensors")
    return torch.sin(x[:, 0])


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: torch.func.vmap(lambda point: torch.sin(point[0]))(x), "ValueError: vmap"),
        (asserting, "it raises AssertionError"),
        (choosy, "it raises ValueError: only tensors"),
    ],
)
def test_what_cannot_run_on_boxes_is_measured_and_not_proved(function: Callable[..., Any], said: str) -> None:
    found = hpcsweep.measure(function, zero, LINE, **FEW)
    assert found.lower == math.sin(1) and math.isinf(found.upper) and found.certificate == "no rule"
    assert found.message.startswith("No certificate: ") and said in found.message


def test_an_interrupt_is_no_missing_rule() -> None:
    def interrupted(x: Any) -> Any:
        if not isinstance(x, Tensor):
            raise KeyboardInterrupt
        return x[:, 0]

    with pytest.raises(KeyboardInterrupt):
        hpcsweep.measure(interrupted, zero, LINE, **FEW)


def doubling(x: Any) -> Any:
    if isinstance(x, Tensor):
        raise TypeError("arrays only")
    x *= 2
    return np.array(x[:, 0])


def doubling_tensors(x: Tensor) -> Tensor:
    x *= 2
    return x[:, 0].clone()


def clipping(x: Any) -> Any:
    """Leave the points at a quarter and at three quarters of [-1, 1] as they are."""
    inside = np.asarray(x)
    np.clip(inside, -0.5, 0.5, out=inside)
    return inside[:, 0].copy()


def clipping_tensors(x: Tensor) -> Tensor:
    return x.clamp_(-0.5, 0.5)[:, 0].clone()


def single_later(x: Tensor) -> Tensor:
    return x[:, 0].float() if len(x) > 5000 else x[:, 0]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (doubling, "changes the points that it is given"),
        (doubling_tensors, "changes the points that it is given"),
        (clipping, "changes the points that it is given"),
        (clipping_tensors, "changes the points that it is given"),
        (single_later, r"^single_later returned torch\.float32"),
    ],
)
def test_a_function_that_changes_its_points_or_its_type_is_refused(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        hpcsweep.measure(lambda x: torch.exp(x[:, 0]), function, LINE, **FEW)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.cos(x[:, 0] - 0.3),
        lambda x: torch.from_numpy(np.cos(x.numpy() - 0.3))[:, 0],
        lambda x: torch.cos(torch.tensor([float(point[0]) - 0.3 for point in x.numpy()], dtype=torch.float64)),
    ],
)
def test_functions_without_gradients_are_climbed_by_differences(function: Callable[..., Any]) -> None:
    found = hpcsweep.measure(function, zero, LINE, **FEW | {"count": 64, "uniform": 0})
    assert found.lower == pytest.approx(1.0, abs=1e-12) and found.screened < 1 - 1e-8


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
def test_a_scripted_module_is_measured_and_left_as_it_is() -> None:
    scripted = torch.jit.script(network(nn.Tanh()).float())
    found = hpcsweep.measure(scripted, zero, LINE, **FEW)
    assert found.lower > 0.1 and found.certificate == "no rule" and "no enclosure rule for Script" in found.message
    assert all(part.dtype == torch.float32 and part.requires_grad for part in scripted.parameters())


DOMAINS = (5, (-1.0, 1.0), [(-1, 1), 3], [None], {0: (0, 1)}, "\u22121,1", [(0, 1, 2)])
SAMPLES = ("abc", object(), [[1.0], [1.0, 2.0]], [[1j]], [0.1, 0.2], [[0.1, math.nan]], [[math.inf, 0.0]], [[[0.0]]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *(({"domain": domain}, 'the domain must be "low,high" for each axis') for domain in DOMAINS),
        *(({"samples": places}, r"the samples must be \(samples, 2\), finite real numbers") for places in SAMPLES),
    ],
)
def test_what_is_no_domain_and_what_are_no_samples_is_refused(options: dict[str, Any], said: str) -> None:
    """Places beside samples that are no numbers would be NaN, and so would the error there."""
    with pytest.raises(UserError, match=said):
        hpcsweep.measure(zero, lambda x: x[:, 0] + x[:, 1], **{"domain": PLANE, **options}, **FEW)


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_samples_keep_their_digits(make: Callable[[Any], Any]) -> None:
    found = hpcsweep.measure(zero, lambda x: x[:, 0], LINE, samples=make([[0.1], [-0.3]]), **FEW)
    seen = -0.3 if make is not torch.tensor else float(torch.tensor(-0.3))
    assert found.where == (-1.0,) and found.sample_distance == pytest.approx(1 + seen, rel=1e-15)


FOURIER = """
import torch
from torch import nn
class Fourier(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.frequencies, self.layer = torch.arange(8 * inputs).reshape(inputs, 8) / 8.0, nn.Linear(16, 1)
    def forward(self, x):
        angles = x @ self.frequencies.to(x.dtype)
        return self.layer(torch.cat([torch.sin(angles), torch.cos(angles)], 1))
one, two, plain = Fourier(1), Fourier(2), nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
def zero(x):
    return 0 * x[:, 0]
"""


def test_the_dimension_that_is_given_goes_before_a_guess_and_is_asked_for_where_nobody_tells(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FOURIER)
    for name, domain, dimension, inputs in (
        ("two", "0,1 0,1", None, 2),
        ("two", "0,1", 2, 2),
        ("one", "0,1", None, 1),
        ("plain", "0,1", None, 3),
        ("plain", "0,1 0,1 0,1", 3, 3),
    ):
        approximation = files.files(f"own.py:{name}", "own.py:zero", domain, dimension, "relu", tmp_path)
        assert len(approximation.domain) == inputs
    np.savez(tmp_path / "net.npz", W0=np.ones((1, 2)))
    with pytest.raises(UserError, match=r"own.py:Fourier is a class; it must be a function"):
        files.files("own.py:Fourier", "exp_cos", "0,1", None, "relu", tmp_path)
    with pytest.raises(UserError, match=r"It was tried with 16 input\(s\); --dimension gives others"):
        files.files("own.py:two", "own.py:zero", "0,1", None, "relu", tmp_path)
    with pytest.raises(UserError, match=r"net.npz has 2 inputs, not 3; correct --dimension or --domain"):
        files.files("net.npz", "own.py:zero", "0,1", 3, "relu", tmp_path)
