"""`hpcsweep.measure` on sup-norms that are known, of functions of every kind; and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hpcsweep
from hpcsweep.approx.supnorm import files
from hpcsweep.approx.targets import REGISTRY
from hpcsweep.errors import PluginChanged, UserError

FEW = {"count": 2000, "uniform": 1000, "starts": 32, "kinks": 64}


def first(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def sine(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x[:, 0])


def test_a_known_maximum_at_a_corner_is_bracketed() -> None:
    found = hpcsweep.measure(first, sine, [(-1, 1)], **FEW)
    assert found.certificate == "closed"
    assert found.lower <= 1 - math.sin(1) <= found.upper <= found.lower * (1 + 1e-5)
    assert abs(found.where[0]) == 1.0 and found.boundary
    assert found.uniform < found.lower  # independent points do not meet the end of an interval
    assert found.volume == pytest.approx(1 - 0.05 ** (1 / 1000))


def test_quantiles_and_means_are_those_of_the_domain() -> None:
    found = hpcsweep.measure(lambda x: 0 * x[:, 0], first, [(0, 1)], **FEW | {"count": 2**14})
    assert found.l1 == pytest.approx(0.5, abs=1e-3) and found.l2 == pytest.approx(math.sqrt(1 / 3), abs=1e-3)
    assert found.lower == 1.0


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.SiLU(), nn.GELU(), nn.Softplus()])
def test_a_module_in_float32_is_measured_in_float64_and_proved(activation: nn.Module) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(2, 8), activation, nn.Linear(8, 8), activation, nn.Linear(8, 1))
    points = torch.rand(20_000, 2, dtype=torch.float64) * 2 - 1
    found = hpcsweep.measure(network, REGISTRY["exp_cos"](2), **FEW)
    exact = (REGISTRY["exp_cos"](2)(points) - network.double()(points)[:, 0]).abs().max().item()
    assert found.certificate == "closed" and exact <= found.upper <= found.lower * (1 + 0.0101)


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_numpy_warns_of_nothing() -> None:
    hpcsweep.measure(lambda x: np.sin(x[:, 0]), lambda x: 0 * x[:, 0], [(0, 1)], **FEW | {"count": 256})


def test_a_numpy_function_is_measured_and_not_proved() -> None:
    def hill(x: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + 100 * (x[:, 0] - 0.3) ** 2 + 50 * (x[:, 1] - 0.6) ** 2))

    found = hpcsweep.measure(hill, lambda x: 0 * x[:, 0], [(0, 1), (0, 1)], **FEW | {"count": 256})
    assert found.screened < 1 - 1e-4 and found.lower == pytest.approx(1, abs=1e-9)  # climbs find the top
    assert math.isinf(found.upper) and found.certificate == "no rule" and "NumPy" in found.message


def test_an_operation_without_a_rule_is_named() -> None:
    found = hpcsweep.measure(first, lambda x: torch.special.bessel_j0(x[:, 0]), [(0, 1)], **FEW)
    assert found.certificate == "no rule" and "bessel_j0" in found.message and found.lower == pytest.approx(1.0)


def test_an_error_that_is_not_a_number_has_no_norm() -> None:
    found = hpcsweep.measure(lambda x: torch.log(x[:, 0] - 0.5), sine, [(0, 1)], **FEW)
    assert math.isnan(found.lower) and math.isinf(found.upper) and found.certificate == "off" and found.nonfinite > 500
    assert "NaN" in found.message


def test_the_gaps_between_samples_are_searched() -> None:
    """A spike of width 1e-6 between two samples: only a search that knows the samples can see it."""
    samples = torch.tensor([[0.3], [0.3 + 1e-4], [0.9], [0.1], [0.7], [0.5]])
    middle = float(samples[0, 0].double() + samples[1, 0].double()) / 2

    def spike(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(1 - torch.abs(x[:, 0] - middle) * 1e6)

    options = FEW | {"certificate": "off", "count": 256, "uniform": 0}
    assert hpcsweep.measure(lambda x: 0 * x[:, 0], spike, [(0, 1)], **options).lower == 0.0
    assert hpcsweep.measure(lambda x: 0 * x[:, 0], spike, [(0, 1)], samples=samples.double(), **options).lower > 0.9


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((first, sine), {}, "the domain is missing"),
        ((first, sine, [(1, -1)]), {}, r"low < high, not \(1.0, -1.0\)"),
        ((first, sine, "0;1"), {}, '"-1,1 0,2"'),
        ((first, sine, [(0, 1)]), {"pionts": 3}, "measure: unknown name 'pionts'. Did you mean 'points'"),
        ((first, sine, [(0, 1)]), {"certificate": "sure"}, 'certificate: must be "auto", "off", or the gap'),
        ((lambda x: x, sine, [(0, 1), (0, 1)]), {}, r"the target has 1 output\(s\) and the approximant 2"),
        (
            (lambda x: x[:, :, None], sine, [(0, 1)]),
            {},
            r"one value per point, \(points,\); for 2 points it gave \(2, 1, 1\)",
        ),
        ((lambda x: x[:, 0].int(), sine, [(0, 1)]), {}, "computes in torch.int32"),
        ((lambda x: 1 / 0, sine, [(0, 1)]), {}, "ZeroDivisionError"),
    ],
)
def test_mistakes_are_told_in_one_sentence(arguments: tuple, options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        hpcsweep.measure(*arguments, **options)


def test_a_file_of_weights_is_the_network_that_it_says(tmp_path: Path) -> None:
    """|x| as a network of two ReLU neurons: against the target |x| the error is nil, against 0 it is 1."""
    np.savez(tmp_path / "abs.npz", W0=np.array([[1.0], [-1.0]]), W1=np.array([[1.0, 1.0]]), b1=np.array([0.25]))
    (tmp_path / "own.py").write_text("import torch\ndef zero(x):\n    return 0 * x[:, 0]\n")
    approximation = files.files("abs.npz", "own.py:zero", "-1,1", None, "relu", tmp_path)
    error = approximation.error_function(tmp_path, "cpu")(torch.tensor([[-1.0], [0.5]], dtype=torch.float64))
    assert error.tolist() == [-1.25, -0.75]
    np.savez(tmp_path / "abs.npz", W0=np.array([[1.0], [-1.0]]), W1=np.array([[1.0, 1.0]]), b1=np.array([0.5]))
    with pytest.raises(PluginChanged, match=r"abs\.npz was changed while it was measured"):
        approximation.error_function(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"W0": np.ones((3, 2)), "W1": np.ones((1, 4))}, "W1 takes 4 inputs where W0 has 3 outputs"),
        ({"W0": np.ones((1, 2)), "c": np.ones(2)}, r"c \(2,\): c belong to no linear layer"),
        ({"W0": np.ones((1, 2)), "b0": np.ones(3)}, r"W0 \(1, 2\) and b0 \(3,\) form no linear layer"),
        ({"W0": np.float64(1.0)}, r"holds W0 \(\): there is no linear layer"),
        ({"W0": np.ones((0, 1)), "W1": np.ones((1, 0))}, "there is no linear layer"),
        ({"W0": np.array([[1j]])}, "cannot be read as an .npz file of weights"),
    ],
)
def test_a_file_of_other_shapes_is_refused(tmp_path: Path, arrays: dict, said: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=said):
        files.load_network("bad.npz", "relu", tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, None])
def test_a_damaged_file_of_weights_and_a_single_array_are_refused(tmp_path: Path, share: float | None) -> None:
    path = tmp_path / "net.npz"
    if share is None:
        np.save(path.open("wb"), np.ones((1, 2)))
    else:
        np.savez(path, W0=np.ones((1, 2)))
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"cannot be read as an \.npz file"):
        files.load_network("net.npz", "relu", tmp_path)


def test_why_a_network_cannot_be_tried_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def single(x):\n    return x[:, 0].int()\n")
    with pytest.raises(UserError, match=r"computes in torch\.int32"):
        files.files("own.py:single", "exp_cos", "0,1", None, "relu", tmp_path)
