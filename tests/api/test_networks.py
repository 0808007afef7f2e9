"""`hpcsweep.network`: every kind of stored network as a torch module, with the bits of its model."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import hpcsweep
from hpcsweep.approx import models
from hpcsweep.store import integrity, weights
from tests.approx.models.test_own_models import GOOD

TARGET = """

class Tilted(hpcsweep.Target):
    smoothness = 2
    side = (0.0, 3.0)

    def __call__(self, points):
        return torch.sin(points[:, 0]) + points[:, -1] / 3
"""
KINDS = ["mlp", "residual", "mlp stages", "residual stages", "own", "own stages", "simplex", "legendre", "spline"]


def grid(*models: object, **more: object) -> dict[str, object]:
    return {"target": ["mine.py:Tilted"], "dimension": [1], "samples": [40], "model": list(models), **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a target and a model, and a finished store of networks of every kind, labelled by kind."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "mine.py").write_text(GOOD + "import hpcsweep\n" + TARGET)
    kinds = [("mlp", "mlp"), ("residual", "residual"), ("own", "mine.py:Fourier")]
    plain = [{"name": name, "label": kind, "standardise": True} for kind, name in kinds]
    staged = [{**one, "label": f"{one['label']} stages", "stages": 2} for one in plain]
    fits = ["simplex", {"name": "legendre", "order": 6, "label": "legendre"}, {"name": "spline", "degree": 3}]
    tables = {
        "title": "Networks of every kind",
        "grid": [
            grid(*plain, *staged, width=[8], depth=[2]),
            grid(*fits, optimizer=["direct"]),
            {**grid("simplex", optimizer=["direct"]), "dimension": [2]},
        ],
        "training": {"steps": 60, "learning_rate": 0.01},
        "sup_norm": {"count": 2048, "uniform": 512, "certificate": "off"},
    }
    summary = hpcsweep.run(hpcsweep.Study.from_dict(tables, folder), folder / "s.h5")
    assert summary.done == summary.cells == 10
    return folder


def cells(folder: Path) -> dict[tuple[str, int], str]:
    """Return the keys of the cells by label and dimension."""
    found = hpcsweep.read(folder / "s.h5")
    labels = [str(label).partition("(")[0] for label in found["model"].values]
    names = ["spline" if "spline" in label else label for label in labels]
    return dict(zip(zip(names, found["dimension"].values.tolist(), strict=True), found["key"].values, strict=True))


def places(network: torch.nn.Module, count: int = 200) -> torch.Tensor:
    low, high = torch.tensor(network.domain, dtype=torch.float64).T
    generator = torch.Generator().manual_seed(5)
    return low + (high - low) * torch.rand(count, len(low), dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_has_the_bits_of_its_model_and_its_stored_parameters(folder: Path, kind: str) -> None:
    key = cells(folder)[kind, 1]
    network = hpcsweep.network(folder / "s.h5", key[:12], folder, trust_plugins=True)
    assert isinstance(network, torch.nn.Module) and not network.training
    assert network.key == key and network.domain == ((0.0, 3.0),) == network.target.domain
    [stored] = weights.parameters(folder / "s.h5", [key])
    assert stored is not None and network.vector.detach().numpy().tobytes() == stored.tobytes()
    points = places(network)
    choice = network.model.config
    again = models.make(choice, 1, network.domain, folder).apply(torch.from_numpy(stored), points)
    values = network(points)
    assert values.shape == (200,) and values.dtype == torch.float64 and not values.requires_grad
    assert torch.equal(values, again)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_errs_at_the_worst_point_as_the_store_says(folder: Path, kind: str) -> None:
    """Domain, standardisation, stages and parameters would all show here if they were not those of the training."""
    found = hpcsweep.read(folder / "s.h5")
    row = list(found["key"].values).index(key := cells(folder)[kind, 1])
    network = hpcsweep.network(folder / "s.h5", key, folder, trust_plugins=True)
    where = torch.tensor(found["sup_where"].values[row][:1])[None]
    error = float((network.target(where) - network(where)).abs())
    lower = float(found["sup_lower"][row])
    assert error == pytest.approx(lower, rel=1e-9)
    points = places(network)
    assert float((network.target(points) - network(points)).abs().max()) <= lower


def test_a_direct_fit_in_two_dimensions_passes_through_its_samples(folder: Path) -> None:
    network = hpcsweep.network(folder / "s.h5", cells(folder)["simplex", 2], folder, trust_plugins=True)
    nodes = network.vector.detach()[:80].view(40, 2)
    assert torch.allclose(network(nodes), network.target(nodes), atol=1e-9)


def test_a_module_behaves_as_modules_do(folder: Path) -> None:
    network = hpcsweep.network(folder / "s.h5", cells(folder)["mlp", 1], folder, trust_plugins=True)
    points = places(network).requires_grad_()
    [slopes] = torch.autograd.grad(network(points).sum(), points)
    step = 1e-6
    assert torch.allclose(slopes[:, 0], (network(points + step) - network(points - step)) / (2 * step), atol=1e-6)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copied(points), network(points)) and copied.key == network.key
    assert network.requires_grad_()(points.detach()).requires_grad
    assert network.float()(points.detach().float()).dtype == torch.float32
    assert network.key[:8] in repr(network) and "Tilted" in repr(network)
    with pytest.raises(ValueError, match=r"the points must have the shape \(points, 1\), not \(4,\)"):
        network(torch.zeros(4))


@pytest.mark.parametrize("kind", ["mlp", "mlp stages", "residual"])
def test_a_network_is_measured_by_its_layers(folder: Path, kind: str) -> None:
    network = hpcsweep.network(folder / "s.h5", cells(folder)[kind, 1], folder, trust_plugins=True)
    found = hpcsweep.measure(network, network.target, count=2048, uniform=0, certificate=0.01)
    stored = hpcsweep.read(folder / "s.h5").set_index(cell="key").sel(cell=network.key)
    assert found.certificate == "closed"
    assert found.lower == pytest.approx(float(stored["sup_lower"]), rel=1e-6)
    from hpcsweep.approx.supnorm.functions import adapted, terms_of

    made = adapted(network, network.domain)
    assert len(terms_of(network, made, network.domain)) == {"mlp": 1, "mlp stages": 2, "residual": 0}[kind]
    network.register_forward_hook(lambda module, given, values: values + 1)
    assert terms_of(network, made, network.domain) == ()


def test_a_beginning_of_a_key_that_no_cell_or_several_have_names_the_candidates(folder: Path) -> None:
    changed = folder / "alike.h5"
    shutil.copy(folder / "s.h5", changed)
    with h5py.File(changed, "r+") as file:
        file["key"][:2] = [b"zz" + b"0" * 30, b"zz" + b"1" * 30]
        keys = [key.decode() for key in file["key"][:]]
    integrity.seal(changed, integrity.CHANGING)
    with pytest.raises(hpcsweep.UserError) as caught:
        hpcsweep.network(changed, "zz", folder, trust_plugins=True)
    assert all(key in str(caught.value) for key in keys[:2]) and keys[2] not in str(caught.value)
    for nothing in ("", "nothing"):
        with pytest.raises(hpcsweep.UserError, match=rf"no cell '{nothing}'; its keys are {keys[0]}, .* and 5 more"):
            hpcsweep.network(changed, nothing, folder, trust_plugins=True)


def test_why_there_is_no_network_is_told(folder: Path, tmp_path: Path) -> None:
    key = cells(folder)["mlp", 1]
    with pytest.raises(hpcsweep.UserError, match=r"There is no file .*mine.py"):
        hpcsweep.network(folder / "s.h5", key, tmp_path, trust_plugins=True)
    alone = Path(shutil.copy(folder / "s.h5", tmp_path / "alone.h5"))
    with pytest.raises(hpcsweep.UserError, match=rf"alone.weights.h5 has no parameters of the cell {key}"):
        hpcsweep.network(alone, key, folder, trust_plugins=True)
    with h5py.File(alone, "r+") as file:
        file["status"][np.flatnonzero(file["key"][:] == key.encode())] = 0
    with pytest.raises(hpcsweep.UserError, match=rf"The cell {key} of .* has no network: it is pending"):
        hpcsweep.network(alone, key, folder, trust_plugins=True)
    with pytest.raises(hpcsweep.UserError, match="missing"):
        hpcsweep.network(tmp_path / "missing.h5", key)
