"""What is learned, in a study: left out where it is the default, refused where it cannot be."""

from __future__ import annotations

import pytest

from hpcsweep.errors import StudyError
from tests.study.test_study import GRID, cells, study
from tests.study.test_study_mistakes import check_mistake

SQUARE = '[[grid]]\ntarget = ["sine_product"]\ndimension = [2]\nsamples = [9]\nhidden = [[4, 3]]\n'


def test_defaults_are_left_out_so_that_keys_stay() -> None:
    [plain] = cells(study()).columns["key"].tolist()
    said = '[training]\nequation = "none"\nsampling = "uniform"\nlayerwise = 0\nboundary = 7\nboundary_weight = 3.0'
    [explicit] = cells(study(sections=f"{said}\nnoise = 0")).columns["key"].tolist()
    assert explicit == plain
    [other] = cells(study(sections="[training]\nlayerwise = 5")).columns["key"].tolist()
    assert other != plain


def test_an_equation_is_an_axis_and_keeps_its_own_fields() -> None:
    made = cells(study(SQUARE + 'equation = ["none", "poisson"]\nsampling = ["uniform", "grid"]\nboundary = 12'))
    assert made.columns["equation"].tolist() == [b"none", b"none", b"poisson", b"poisson"]
    assert made.columns["sampling"].tolist() == [b"uniform", b"grid"] * 2
    first, *_, last = [cell.optimizer for cell in made]
    assert "boundary" not in first and "equation" not in first and last["boundary"] == 12
    assert last["boundary_weight"] == 1.0
    assert len({cell.data_seed for cell in made}) == len({cell.weight_seed for cell in made}) == 1


def test_noise_is_an_axis_whose_levels_share_samples_and_weights() -> None:
    made = cells(study(SQUARE + 'noise = [0, 1, 0.5]\noptimizer = ["adam+bfgs"]'))
    assert made.columns["noise"].tolist() == [0.0, 1.0, 0.5] and len({cell.key for cell in made}) == 3
    assert [cell.optimizer.get("noise") for cell in made] == [None, 1.0, 0.5]
    assert len({cell.data_seed for cell in made}) == len({cell.weight_seed for cell in made}) == 1
    [key] = [cell.key for cell in cells(study(SQUARE + 'optimizer = ["adam+bfgs"]'))]
    assert key == made.cell(0).key
    [direct] = cells(study(GRID + 'model = ["simplex"]\noptimizer = ["direct"]\nnoise = 2'))
    assert direct.optimizer["noise"] == 2.0


def test_a_chain_learns_one_thing() -> None:
    table = '{ name = "adam+ssbroyden", equation = "poisson", adam = { steps = 5 } }'
    [cell] = cells(study(SQUARE + f"optimizer = [{table}]"))
    assert cell.optimizer["equation"] == "poisson" and all("equation" not in part for part in cell.optimizer["parts"])
    with pytest.raises(StudyError, match=r"grid\[0\].optimizer.adam: 'equation' belongs to the whole chain"):
        cells(study(SQUARE + 'optimizer = [{ name = "adam+sgd", adam = { equation = "poisson" } }]'))


POISSON = '[training]\nequation = "poisson"\n'
MISTAKES = {
    "equation": (study(sections='[training]\nequation = "poison"'), ["equation", "Did you mean 'poisson'?"]),
    "relu": (study(SQUARE, sections=POISSON + '[model]\nactivation = "relu"'), ["'relu'", "zero", "tanh"]),
    "affine": (study(SQUARE.replace("[[4, 3]]", "[[]]"), sections=POISSON), ["affine functions"]),
    "rough target": (study(SQUARE.replace("sine_product", "halfspace"), sections=POISSON), ["Halfspace", "has 0"]),
    "residual": (study(SQUARE.replace("4, 3", "4, 4"), sections=POISSON + '[model]\nname = "residual"'), ['"mlp"']),
    "stages": (study(SQUARE, sections=POISSON + "[model]\nstages = 2"), ["stages = 1"]),
    "features": (study(SQUARE + 'optimizer = ["least_squares"]', sections=POISSON), ["least_squares", "linear"]),
    "negative noise": (study(SQUARE + "noise = [-0.1]"), ["grid[0].noise", "-0.1"]),
    "noise of an equation": (study(SQUARE + "noise = [0.1]", sections=POISSON), ["training.noise exclude each other"]),
    "noise and added samples": (study(SQUARE + "noise = 0.1\nresample = 2"), ["training.noise exclude each other"]),
    "both": (study(SQUARE, sections=POISSON + "layerwise = 5"), ["exclude each other"]),
    "grid": (
        study(SQUARE.replace("[9]", "[10]"), sections='[training]\nsampling = "grid"'),
        ["training.sampling", "a square", "10", "9 or 16"],
    ),
    "faces": (
        study(SQUARE, sections=POISSON + 'sampling = "grid"\nboundary = 10'),
        ["training.boundary", "4 faces", "8 or 12"],
    ),
    "layers of a residual": (
        study(SQUARE.replace("4, 3", "4, 4"), sections='[training]\nlayerwise = 5\n[model]\nname = "residual"'),
        ["layerwise", '"mlp"'],
    ),
    "layers of a chain": (
        study(SQUARE + 'optimizer = ["adam+bfgs"]', sections="[training]\nlayerwise = 5"),
        ["one optimizer", "adam+bfgs"],
    ),
    "nothing left": (
        study(SQUARE, sections="[training]\nlayerwise = 50\nsteps = 100"),
        ["takes 100 steps", "2 hidden layers", "training.steps = 100"],
    ),
    "own table": (study(GRID, sections='[training.adam]\nequation = "poisson"'), ["training.adam", "'equation'"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str) -> None:
    check_mistake(*MISTAKES[name])
