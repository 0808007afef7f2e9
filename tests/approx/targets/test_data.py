"""A target that is rows of a file: what it is, what is learned from it, and what it cannot be asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpcsweep.approx import plugins
from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.fitting import fit
from hpcsweep.approx.supnorm.approximations import Network
from hpcsweep.approx.supnorm.measured import Measured, finalize
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.targets import data
from hpcsweep.approx.targets.data import Data
from hpcsweep.approx.training_data import TrainingData, data_of
from hpcsweep.cluster.pricing import Pricer
from hpcsweep.cluster.worker import networks_of
from hpcsweep.config import Cell
from hpcsweep.errors import PluginChanged, UserError
from hpcsweep.study import cells as study_cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse

ROWS = 60
TABLE = '{ name = "data", file = "data.npz", inputs = ["x", "y"], output = "u" }'
GRID = f"[[grid]]\ntarget = [{TABLE}]\ndimension = [2]\nwidth = 4\n"


def write(path: Path, seed: int = 0) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    x, y = chance.uniform(100, 900, ROWS), chance.uniform(-1e-3, 2e-3, ROWS)
    columns = {"x": x, "y": y, "u": np.sin(x / 200) + 300 * y}
    np.savez(path, **columns)  # type: ignore[arg-type]
    return columns


@pytest.fixture
def columns(tmp_path: Path) -> dict[str, np.ndarray]:
    return write(tmp_path / "data.npz")


def expanded(folder: Path, grid: str, sections: str = "") -> study_cells.Cells:
    catalogue = Catalogue(folder)
    return expand(parse(f'title = "t"\n{grid}\n{sections}', catalogue, folder), catalogue)


def target_of(folder: Path, **changes: Any) -> Data:
    given = {"name": "data", "file": "data.npz", "inputs": ["x", "y"], "output": "u", **changes}
    target = plugins.target(given, 2, folder)
    assert isinstance(target, Data)
    return target


def learned(cell: Cell, folder: Path) -> TrainingData:
    data = data_of(cell, None, folder)
    assert isinstance(data, TrainingData), data
    return data


def octets(places: np.ndarray) -> set[bytes]:
    return {place.tobytes() for place in places}


def test_a_target_is_its_rows_on_their_bounding_box(tmp_path: Path, columns: dict[str, np.ndarray]) -> None:
    target = target_of(tmp_path)
    places = np.stack([columns["x"], columns["y"]], 1)
    for dtype in (torch.float64, torch.float32):
        values = target(torch.from_numpy(places)).to(dtype)
        assert torch.equal(values, torch.from_numpy(columns["u"]).to(dtype))
    assert target.domain == tuple((column.min(), column.max()) for column in (columns["x"], columns["y"]))
    assert math.isnan(target.smoothness) and target.lipschitz is None
    low, high = columns["u"].min(), columns["u"].max()
    assert target.about == f"data from {low:.4g} to {high:.4g} in data.npz; 12 of 60 rows held out for the errors"
    with pytest.raises(UserError, match="not between them"):
        target(torch.from_numpy(np.nextafter(places, 0)))


def test_samples_are_nested_training_rows_and_errors_are_those_of_the_others(
    tmp_path: Path, columns: dict[str, np.ndarray]
) -> None:
    target = target_of(tmp_path)
    grid = GRID + "samples = [10, 48]\nreplicate = 3\nmodel = ['mlp', { name = 'mlp', width = 8 }]"
    made = {(cell.samples, cell.replicate, cell.model["hidden"][0]): cell for cell in expanded(tmp_path, grid)}
    training = octets(target.rows.places[target.training])
    for replicate in range(3):
        many = learned(made[48, replicate, 4], tmp_path)
        assert octets(many.places) == training and len(training) == 48  # all of them
        few = learned(made[10, replicate, 4], tmp_path)
        assert np.array_equal(few.places, many.places[:10]) and np.array_equal(few.values, many.values[:10])
        assert np.array_equal(few.places, learned(made[10, replicate, 8], tmp_path).places)
    drawn = [octets(learned(made[10, replicate, 4], tmp_path).places) for replicate in range(3)]
    assert drawn[0] != drawn[1] != drawn[2]


def test_inputs_are_standardised_unless_the_study_says_otherwise(tmp_path: Path, columns: object) -> None:
    both = GRID.replace("[{", '["sine_product", {') + "samples = 10\n"
    assert [cell.model.standardise for cell in expanded(tmp_path, both)] == [False, True]
    assert [cell.model.standardise for cell in expanded(tmp_path, both, "[model]\nstandardise = false")] == [False] * 2
    assert [cell.model.standardise for cell in expanded(tmp_path, both + "standardise = true")] == [True] * 2
    assert "standardise" not in expanded(tmp_path, both).extra  # nobody has chosen it
    models = f"{both}model = ['mlp', {{ standardise = true, label = 'mapped' }}]"
    assert "standardise" in expanded(tmp_path, models).extra
    assert "standardise" in expanded(tmp_path, both + "standardise = [true]").extra


def test_keys_depend_on_numbers_and_the_split_not_on_where_they_are(tmp_path: Path, columns: Any) -> None:
    def key(folder: Path = tmp_path, grid: str = GRID, sections: str = "") -> str:
        [cell] = expanded(folder, grid + "samples = 10\n", sections)
        return cell.key

    known = key()
    (tmp_path / "deep").mkdir()
    np.savez(tmp_path / "deep" / "other.npz", a=columns["x"], b=columns["y"], c=columns["u"])
    moved = GRID.replace("data.npz", "deep/other.npz").replace('"x", "y"', '"a", "b"').replace('"u"', '"c"')
    assert key(grid=moved) == known and key(sections="[sup_norm]\ncount = 1000") == known
    [cell] = expanded(tmp_path, moved + "samples = 10")
    assert cell.target["file"] == "deep/other.npz" and "file" not in cell.target.keyed
    assert cell.data_seed == expanded(tmp_path, GRID + "samples = 10").cell(0).data_seed
    assert key(grid=GRID.replace('"u" }', '"u", held_out = 0.2, seed = 0 }')) == known
    assert (
        len({known, *(key(grid=GRID.replace('"u" }', f'"u", {more} }}')) for more in ("seed = 1", "held_out = 0.3"))})
        == 3
    )
    write(tmp_path / "data.npz", seed=1)
    assert key() != known


def measured(cell: Cell, folder: Path) -> tuple[Network, Measured]:
    [fitted] = fit([cell], folder)
    [network] = networks_of([cell], [fitted])
    study = parse(f'title = "t"\n{GRID}samples = 10', Catalogue(folder), folder)
    survey = Survey([network], Pricer(study).measurement(cell))
    assert survey.run(folder)
    return network, finalize(network, survey.measurement, survey.states[0], (0.5,), folder)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_errors_are_taken_over_all_held_out_rows_and_nothing_is_claimed_beyond(
    tmp_path: Path, columns: object, precision: str
) -> None:
    target = target_of(tmp_path)
    [cell] = expanded(tmp_path, f'precision = "{precision}"\n{GRID}samples = 40\noptimizer = ["adam+bfgs"]')
    network, found = measured(cell, tmp_path)
    error = network.error_function(tmp_path, "cpu")
    rows = torch.from_numpy(target.rows.places[target.held_out])
    errors = error(rows).abs()
    assert found.lower == float(errors.max()) and found.upper == math.inf
    assert found.where == tuple(rows[int(errors.argmax())].tolist())
    assert found.l1 == pytest.approx(float(errors.mean()))
    assert found.l2 == pytest.approx(float(errors.square().mean().sqrt()))
    assert (found.points, found.averaged, found.nonfinite, found.boxes) == (12, 12, 0, 0)
    assert found.certificate == "off" and not found.proved and math.isnan(found.uniform)
    assert found.message == "The error is the maximum over 12 held-out rows of the data, not over the domain."
    samples = torch.from_numpy(target.drawn(cell.data_seed, 40))
    worst = torch.tensor([found.where], dtype=torch.float64)
    assert found.sample_distance == pytest.approx(float(torch.cdist(worst, samples).min()))


@pytest.mark.usefixtures("one_thread")
def test_files_of_one_name_and_the_same_places_are_not_confused(tmp_path: Path, columns: dict[str, np.ndarray]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    np.savez(other / "data.npz", **{**columns, "u": columns["u"] + 1000})  # type: ignore[arg-type]
    for folder in (tmp_path, other, tmp_path):
        [cell] = expanded(folder, GRID + "samples = 40")
        network, found = measured(cell, folder)
        target = target_of(folder)
        rows = torch.from_numpy(target.rows.places[target.held_out])
        values = torch.from_numpy(target.rows.values[target.held_out])
        approximant = network.error_function(folder, "cpu").approximant
        assert found.lower == float((values - approximant(rows)).abs().max())


def test_a_subset_of_data_and_functions_has_cells_of_the_whole_grid(tmp_path: Path, columns: object) -> None:
    both = GRID.replace("[{", '["sine_product", {') + "samples = [10, 20, 40]\nreplicate = 4\n"
    whole = {cell.key: cell for cell in expanded(tmp_path, both)}
    some = list(expanded(tmp_path, both + "subset = { latin_hypercube = 12 }"))
    assert len(some) == 12 and {cell.key for cell in some} < whole.keys()
    assert {(cell.target.name, cell.model.standardise) for cell in some} == {("sine_product", False), ("data", True)}


def test_stages_are_decided_at_training_rows_that_are_no_samples(tmp_path: Path, columns: object) -> None:
    target = target_of(tmp_path)
    [cell] = expanded(tmp_path, GRID + "samples = 40\nstages = 2\nnoise = 0.5")
    data = learned(cell, tmp_path)
    assert data.held_out is not None and len(data.held_out[0]) == 8
    assert octets(data.held_out[0]) | octets(data.places) == octets(target.rows.places[target.training])
    assert not np.isclose(data.held_out[1], target(torch.from_numpy(data.held_out[0])).numpy()).any()


def test_cells_of_other_data_share_no_pack(tmp_path: Path, columns: object) -> None:
    write(tmp_path / "other.npz", seed=5)
    both = GRID.replace("[{", f"['sine_product', {TABLE.replace('data.npz', 'other.npz')}, {{") + "samples = 10"
    study = parse(f'title = "t"\n{both}', Catalogue(tmp_path), tmp_path)
    made, pricer = expanded(tmp_path, both), Pricer(study)
    assert len({pricer(cell).group for cell in made}) == 3
    assert [pricer.measurement(cell).count for cell in made] == [2**15, 12, 12]


MISTAKES = {
    "no file": ("{ name = 'data', inputs = ['x'], output = 'u' }", ["'file' is missing", "measurements.csv"]),
    "name alone": ("'data'", ["'file' is missing"]),
    "misspelt": (TABLE.replace("inputs", "input"), ["target Data", "'input'", "Did you mean 'inputs'?"]),
    "column": (TABLE.replace('"y"', '"z"'), ["columns of 'data.npz'", "'z'", "Allowed: u, x, y"]),
    "inputs": (TABLE.replace('["x", "y"]', "3"), ["inputs must be a list of columns", "3"]),
    "twice": (TABLE.replace('"y"', '"x"'), ["different columns"]),
    "output among inputs": (TABLE.replace('"y"', '"u"'), ["different columns"]),
    "output": (TABLE.replace('"u"', "['u']"), ["output must be a text"]),
    "share": (TABLE.replace(" }", ", held_out = 1.0 }"), ["held_out", "between 0 and 1", "1.0"]),
    "tiny share": (TABLE.replace(" }", ", held_out = 0.001 }"), ["leaves 60 of 60 rows", "0 to measure"]),
    "seed": (TABLE.replace(" }", ", seed = -1 }"), ["seed must be an integer", "-1"]),
    "dimension": (TABLE.replace(', "y"', ""), ["the inputs x make dimension 1, not 2"]),
    "no such file": (TABLE.replace("data.npz", "dta.npz"), ["dta.npz", "No such file", "folder of the study"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str, tmp_path: Path, columns: object) -> None:
    table, words = MISTAKES[name]
    with pytest.raises(UserError) as caught:
        expanded(tmp_path, GRID.replace(TABLE, table) + "samples = 10")
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), str(caught.value)


REFUSED = {
    "samples = [10, 49]": "data.npz has 48 rows to learn from .12 others are held out., not enough for 49 samples",
    "samples = 48\nstages = 2": "not enough for 48 samples and at least one row that decides which stages",
    "samples = { per_parameter = 3.0 }": "not enough for 111 samples",
    "samples = 10\nequation = 'poisson'": "training.equation needs a target that is known everywhere",
    "samples = 9\nsampling = 'grid'": "training.sampling needs a target that is known everywhere",
    "samples = 10\nresample = 1": "training.resample needs a target that is known everywhere",
}


@pytest.mark.parametrize("fields", REFUSED)
def test_what_data_cannot_give_is_refused(fields: str, tmp_path: Path, columns: object) -> None:
    with pytest.raises(UserError, match=REFUSED[fields]):
        expanded(tmp_path, GRID + fields)


@pytest.mark.usefixtures("one_thread")
def test_classical_approximants_fit_rows(tmp_path: Path, columns: object) -> None:
    grid = GRID.replace("width = 4\n", "") + 'samples = 48\nmodel = ["simplex"]\noptimizer = ["direct"]'
    [cell] = expanded(tmp_path, grid)
    _, found = measured(cell, tmp_path)
    assert 0 < found.lower < 2 and found.points == 12


def test_a_cell_of_another_state_of_the_file_is_not_trained(tmp_path: Path) -> None:
    write(tmp_path / "data.npz", seed=11)
    [cell] = expanded(tmp_path, GRID + "samples = 10")
    assert fit([cell], tmp_path)[0].outcome == "done"  # a process that has the rows needs no file
    for cache in (plugins._data, data._index):
        cache.cache_clear()
    write(tmp_path / "data.npz", seed=12)
    expanded(tmp_path, GRID + "samples = 10")
    with pytest.raises(PluginChanged, match=r"the SHA-256 digest of its rows was .*… and is .*… now"):
        fit([cell], tmp_path)
