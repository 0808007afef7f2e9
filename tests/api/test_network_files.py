"""Networks in files: state dicts, safetensors, TorchScript, torch.export; and what is told of files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hpcsweep.approx.supnorm import files
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.errors import UserError
from tests.conftest import Run

TYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.int64: "I64"}


class Sine(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)


def network(activation: type[nn.Module] = nn.Tanh, outputs: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), activation(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, outputs))


def safetensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors as the format describes it, names in alphabetical order."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name in sorted(tensors):
        part = tensors[name].numpy().tobytes()
        place = [len(content), len(content) + len(part)]
        header[name] = {"dtype": TYPES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": place}
        content += part
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def arrays(tensors: dict[str, torch.Tensor], path: Path) -> None:
    np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})


WRITERS: dict[str, Callable[[dict[str, torch.Tensor], Path], object]] = {
    "net.pt": torch.save,
    "net.pth": lambda tensors, path: torch.save({"epoch": 3, "model_state_dict": tensors}, path),
    "net.safetensors": safetensors,
    "net.npz": arrays,
}
POINTS = torch.rand(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", WRITERS)
def test_files_of_weights_are_the_networks_that_were_saved(name: str, tmp_path: Path) -> None:
    for net, options in (
        (network(), {"activation": "tanh"}),
        (network(), {"activation": "relu", "layers": "2 tanh 8 tanh 8 1"}),
        (network(nn.Mish, outputs=3), {"activation": "relu", "layers": "2 mish 8 tanh 8 3"}),
        (network(Sine), {"activation": "relu", "layers": "2 sin 8 tanh 8 1"}),
    ):
        WRITERS[name](net.state_dict(), tmp_path / name)
        loaded = files.load_network(name, folder=tmp_path, **options)
        expected = net.double()(POINTS)
        torch.testing.assert_close(loaded(POINTS).view(7, -1), expected, rtol=1e-14, atol=1e-14)
        assert isinstance(loaded, Dense) == (not {"mish", "sin"} & {*options.get("layers", "").split()})


def test_ten_layers_keep_their_order_in_a_format_without_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(2, 4), *[part for _ in range(10) for part in (nn.Tanh(), nn.Linear(4, 4))])
    net.append(nn.Tanh()).append(nn.Linear(4, 1))
    safetensors(net.state_dict(), tmp_path / "net.safetensors")
    loaded = files.load_network("net.safetensors", "tanh", tmp_path)
    torch.testing.assert_close(loaded(POINTS), net.double()(POINTS)[:, 0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["script", "trace", "export"])
def test_programs_are_measured_and_proved(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.LayerNorm(8), nn.GELU(), nn.Flatten(), nn.Linear(8, 2)).eval()
    if kind == "export":
        count = torch.export.Dim("count")
        program = torch.export.export(net, (torch.randn(5, 2),), dynamic_shapes=({0: count},))
        torch.export.save(program, tmp_path / "net.pt2")
    else:
        scripted = torch.jit.script(net) if kind == "script" else torch.jit.trace(net, torch.randn(5, 2))
        scripted.save(tmp_path / "net.pt")
    (tmp_path / "own.py").write_text("import torch\ndef f(x):\n    return torch.sin(x)\n")
    name = "net.pt2" if kind == "export" else "net.pt"
    first = files.files(name, "own.py:f", "-1,1", None, "relu", tmp_path)
    for number, one in enumerate(files.each_output(first, tmp_path)):
        error = one.error_function(tmp_path, "cpu")
        torch.testing.assert_close(error(POINTS), (torch.sin(POINTS) - net.double()(POINTS))[:, number])
        low, high = error.approximant(files_boxes()).range()
        assert bool((high - low).isfinite().all())


def files_boxes() -> object:
    from hpcsweep.approx.supnorm.certificate.enclosure import boxes

    centers = torch.zeros(3, 2, dtype=torch.float64)
    return boxes(centers, centers + 0.1, [(-1, 1)] * 2)


class Sorted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sort(x, dim=1)[0][:, 0] + torch.from_file("written", shared=True, size=4).sum()


class Written(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0] + torch.from_file("written", shared=True, size=4).sum()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_with_other_operations_is_refused_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.jit.script(Written()).save(tmp_path / "net.pt")
    with pytest.raises(UserError, match="which are not executed: from_file"):
        files.load_network("net.pt", "relu", tmp_path)(POINTS)
    torch.jit.script(Sorted()).save(tmp_path / "net.pt")
    with pytest.raises(UserError, match="without an enclosure rule, which are not executed: sort"):
        files.load_network("net.pt", "relu", tmp_path)(POINTS)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("tensors", "layers", "said"),
    [
        (
            network().state_dict(),
            "2 tanh 8 tanh 9 1",
            r"0\.weight \(8, 2\), .* asks for a weight \(9, 8\) where 2\.weight",
        ),
        (network().state_dict(), "2 tanh 8 1", r"asks for a weight \(1, 8\) where 2\.weight \(8, 8\) is"),
        (network().state_dict(), "2 tanh 8 tanh 8 tanh 8 1", r"asks for a weight \(8, 8\) where 4\.weight \(1, 8\) is"),
        (network().state_dict(), "2 8 tanh 8 tanh 1", "an activation and a width for each hidden layer"),
        (network().state_dict(), "2 tanh relu 8 1", "each activation stands before the width"),
        (network().state_dict(), "2 tahn 8 tanh 8 1", "unknown name 'tahn'. Did you mean 'tanh'"),
        (
            {"a.weight": torch.ones(3, 2), "b.weight": torch.ones(1, 4)},
            None,
            "takes 4 inputs where a.weight has 3",
        ),
        (
            {"a.weight": torch.ones(3, 2), "a.scale": torch.ones(3)},
            None,
            r"no linear layer \(the nearest is a\.weight",
        ),
        ({"a": torch.ones(3)}, None, "there is no linear layer"),
        ({"a.weight": torch.ones(3, 2), "a.bias": torch.ones(2)}, None, r"a\.bias \(2,\) form no linear layer"),
        (network(), None, "other Python objects than tensors, which are not loaded; save model.state_dict"),
        ([1, 2], None, "it holds a list, not tensors by name"),
        (
            {"modle": {"a.weight": torch.ones(1, 2)}, "epoch": 3},
            None,
            r"it holds 'modle' \(dict\), 'epoch' \(int\), not tensors by name\. Did you mean 'model'\? Allowed:",
        ),
        (
            {"a.weight": torch.ones(1, 2, dtype=torch.complex64)},
            None,
            r"holds a\.weight complex64 \(1, 2\): there is no",
        ),
        (nn.RNN(2, 2, bias=False).state_dict(), None, r"weight_hh_l0 \(2, 2\): there is no linear layer"),
        ({"a.weight": torch.ones(1, 1).expand(10**6, 10**6)}, None, "a.weight .* is larger than what the file holds"),
        ({"a.weight": torch.ones(1, 2).to_sparse()}, None, "a.weight is not a dense tensor of numbers"),
        ({"W0": torch.ones(3, 2), "W2": torch.ones(1, 3)}, None, "holds W0, W2, but no W1"),
        (
            {"b.weight": torch.ones(2, 2), "a.weight": torch.ones(2, 2), "c.weight": torch.ones(2, 1)},
            None,
            "follow each other in several orders",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_names_and_shapes(
    tensors: object, layers: str | None, said: str, tmp_path: Path
) -> None:
    torch.save(tensors, tmp_path / "net.pt")
    with pytest.raises(UserError, match=said):
        files.load_network("net.pt", "tanh", tmp_path, layers)


def test_layers_in_any_order_are_put_in_the_one_that_follows(tmp_path: Path) -> None:
    tensors = {"out.weight": torch.ones(1, 3), "in.weight": torch.ones(5, 2), "middle.weight": torch.ones(3, 5)}
    torch.save(tensors, tmp_path / "net.pt")
    loaded = files.load_network("net.pt", "tanh", tmp_path)
    assert isinstance(loaded, Dense) and [tuple(weight.shape) for weight in loaded.weights] == [(5, 2), (3, 5), (1, 3)]


@pytest.mark.parametrize("name", WRITERS)
def test_numbers_tell_the_order_of_layers_that_fit_in_several(name: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh())
    net.append(nn.Linear(2, 1))
    for names in (("0", "2", "4", "6"), ("weightless.in", "hidden1", "hidden2", "a")):
        tensors = {}
        for old, new in zip(("0", "2", "4", "6"), names, strict=True):
            tensors |= {f"{new}.{part}": net.state_dict()[f"{old}.{part}"] for part in ("weight", "bias")}
        WRITERS[name](dict(reversed(tensors.items())) if names[0] == "0" else tensors, tmp_path / name)
        if names[0] != "0" and name.endswith("safetensors"):  # in which hidden1 may come first
            with pytest.raises(UserError, match=r"in several orders, and \.safetensors files keep none"):
                files.load_network(name, "tanh", tmp_path)
        else:
            loaded = files.load_network(name, "tanh", tmp_path)
            torch.testing.assert_close(loaded(POINTS), net.double()(POINTS)[:, 0])
            net.float()


def test_the_list_of_layers_tells_their_order(tmp_path: Path) -> None:
    tensors = {"decoder.weight": torch.ones(1, 2), "encoder.weight": torch.ones(2, 1)}
    safetensors(tensors, tmp_path / "net.safetensors")
    loaded = files.load_network("net.safetensors", "relu", tmp_path, "1 tanh 2 1")
    assert isinstance(loaded, Dense) and loaded.dimension == 1
    with pytest.raises(UserError, match="follow each other in several orders"):
        files.load_network("net.safetensors", "relu", tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_damaged_files_are_refused(name: str, share: float, tmp_path: Path) -> None:
    WRITERS[name](network().state_dict(), path := tmp_path / name)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="cannot be read as"):
        files.load_network(name, "tanh", tmp_path)


def test_layers_of_what_has_its_own_are_refused(tmp_path: Path) -> None:
    torch.jit.script(network()).save(tmp_path / "net.pt")
    with pytest.raises(UserError, match=r"--layers '2 tanh 8 1' is about a file of weights; net\.pt has layers"):
        files.load_network("net.pt", "relu", tmp_path, "2 tanh 8 1")


def test_the_command_decides_and_tells_outputs(hpcsweep: Run, tmp_path: Path) -> None:
    torch.save(network(nn.Mish, outputs=2).state_dict(), tmp_path / "net.pt")
    (tmp_path / "own.py").write_text("import torch\ndef f(x):\n    return torch.stack([x[:, 0], x[:, 1] ** 1.5]).T\n")
    few = ("--points", "500", "--uniform", "100", "--domain", "0,1", "--layers", "2 mish 8 tanh 8 2", "--json")
    command = ("measure", "--network", "net.pt", "--target", "own.py:f", *few)
    found = json.loads(hpcsweep(*command).stdout)
    assert [output["certificate"] for output in found["outputs"]] == ["closed"] * 2
    assert found["sup_lower"] == max(output["sup_lower"] for output in found["outputs"])
    for below, code, verdict in ((9.0, 0, "proved"), (0.01, 1, "refuted")):
        done = hpcsweep(*command, "--below", str(below))
        assert (done.returncode, json.loads(done.stdout)["verdict"]) == (code, verdict), done.stderr
    undecided = hpcsweep(*command, "--below", str(found["sup_lower"] * 1.5), "--certificate", "off")
    assert (undecided.returncode, json.loads(undecided.stdout)["verdict"]) == (3, "undecided")
    for wrong in ("nan", "inf", "-1"):
        refused = hpcsweep(*command, f"--below={wrong}")
        assert refused.returncode == 2 and "must be a finite number of at least 0, not " in refused.stderr
