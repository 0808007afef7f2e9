"""Mistakes in a study: each is one sentence that names the key, the allowed names and the nearest match."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcsweep.errors import StudyError, UserError
from hpcsweep.study.parsing import load
from tests.study.test_study import CATALOGUE, GRID, cells, study

MISTAKES = {
    "misspelt top key": (study(top="sed = 1"), ["study", "'sed'", "Did you mean 'seed'?", "precision"]),
    "misspelt axis": (study(GRID + "wdith = [3]"), ["grid[0]", "'wdith'", "Did you mean 'width'?"]),
    "second grid": (study(GRID + GRID + "wdith = [3]"), ["grid[1]", "'wdith'"]),
    "missing axis": (study('[[grid]]\ntarget = ["logsin"]\nsamples = [3]'), ["grid[0]", "'dimension'"]),
    "no grid": ('title = "t"', ["grid", "missing"]),
    "unknown target": (study(GRID.replace("logsin", "logsine")), ["'logsine'", "Did you mean 'logsin'?", "exp_cos"]),
    "target parameter": (
        study(GRID.replace('["logsin"]', '[{ name = "logsin", k = 3 }]')),
        ["LogSin", "'k'", "Allowed: K"],
    ),
    "dimension": (study(GRID.replace("dimension = [1]", "dimension = [3]")), ["LogSin", "dimension 1", "3"]),
    "zero dimension": (study(GRID.replace("dimension = [1]", "dimension = [0]")), ["grid[0].dimension", "at least 1"]),
    "negative width": (study(GRID + "width = [-4]"), ["grid[0].width", "greater than 0", "-4"]),
    "width as text": (study(GRID + 'width = ["4"]'), ["grid[0].width", "integer", "'4'"]),
    "negative samples": (study(GRID.replace("[10]", "[-10]")), ["grid[0].samples", "-10"]),
    "samples table": (study(GRID.replace("[10]", "[{ per_weight = 2 }]")), ["grid[0].samples", "per_parameter"]),
    "no replicate": (study(GRID + "replicate = 0"), ["grid[0].replicate", "at least 1"]),
    "huge replicate": (study(GRID + f"replicate = {10**20}"), ["grid[0].replicate", "2^53"]),
    "huge samples": (study(GRID.replace("[10]", f"[{10**20}]")), ["grid[0].samples", "2^53"]),
    "huge share": (study(GRID.replace("[10]", "[{ per_parameter = 1e308 }]")), ["grid[0].samples", "per_parameter"]),
    "true share": (study(GRID.replace("[10]", "[{ per_parameter = true }]")), ["grid[0].samples", "per_parameter"]),
    "huge width": (study(GRID + f"width = [{10**20}]"), ["grid[0].width", "9007199254740992"]),
    "huge network": (study(GRID + "width = [8000000000]"), ["grid[0]: the number of parameters", "2^53", "not 6400"]),
    "huge depth": (study(GRID + "depth = [8000000000]"), ["grid[0].depth", "65536"]),
    "huge stages": (study(GRID + "stages = [8000000000]"), ["grid[0].stages", "65536"]),
    "huge dimension": (study(GRID.replace("dimension = [1]", "dimension = [65537]")), ["grid[0].dimension", "2^16"]),
    "no hidden widths": (study(GRID + "hidden = []"), ["grid[0].hidden", "empty"]),
    "hidden and width": (study(GRID + "hidden = [[3]]\nwidth = [4]"), ["grid[0]", "'hidden'", "left out"]),
    "huge parameter": (
        study(GRID.replace('["logsin"]', f'[{{ name = "logsin", K = {10**400} }}]')),
        ["K", "finite float"],
    ),
    "title": (study().replace('"t"', '"a\\u0000b"', 1), ["title", "hidden character U+0000"]),
    "nested too deep": ("x = " + "[" * 3000 + "]" * 3000, ["not valid TOML"]),
    "too many": (study(GRID + "replicate = 1000000000"), ["grid[0]", "1,000,000,000 cells", "several studies"]),
    "empty axis": (study(GRID + "width = []"), ["grid[0].width", "empty"]),
    "unknown optimizer": (study(GRID + 'optimizer = ["adma"]'), ["'adma'", "Did you mean 'adam'?"]),
    "optimizer field": (
        study(GRID + 'optimizer = [{ name = "adam", learning_rat = 1 }]'),
        ["grid[0].optimizer", "'learning_rat'", "Did you mean 'learning_rate'?"],
    ),
    "unknown activation": (study(GRID + 'activation = ["tahn"]'), ["'tahn'", "Did you mean 'tanh'?"]),
    "training key": (study(sections="[training]\nstepps = 3"), ["training", "'stepps'", "Did you mean 'steps'?"]),
    "training value": (study(sections="[training]\nsteps = 0.5"), ["training.steps", "integer", "0.5"]),
    "training table": (study(sections="[training.adma]\nsteps = 3"), ["'adma'", "Did you mean 'adam'?"]),
    "nested key": (study(sections="[training.adam]\nstep = 3"), ["training.adam", "'step'", "Did you mean 'steps'?"]),
    "unused field": (
        study(GRID + 'optimizer = [{ name = "adam", momentum = 0.5 }]'),
        ["grid[0].optimizer: adam", "'momentum'", "beta1"],
    ),
    "unused in a table": (study(sections="[training.adam]\nmemory = 5"), ["training.adam", "'memory'", "beta1"]),
    "a part of a chain": (study(GRID + 'optimizer = ["adam+sdg"]'), ["'sdg'", "Did you mean 'sgd'?"]),
    "a field of a part": (
        study(GRID + 'optimizer = [{ name = "adam+sgd", sgd = { stps = 3 } }]'),
        ["grid[0].optimizer.sgd", "'stps'", "Did you mean 'steps'?"],
    ),
    "another part": (study(GRID + 'optimizer = [{ name = "adam+sgd", bfgs = { steps = 3 } }]'), ["'bfgs'"]),
    "a table of a chain": (
        study(sections='[training."adam+sgd"]\nsteps = 3'),
        ['"adam+sgd"', "[training.adam] and [training.sgd]"],
    ),
    "minibatches for a line search": (study(GRID + 'optimizer = ["bfgs"]\nbatch = 5'), ["bfgs", 'batch = "full"']),
    "least squares of a power": (
        study(GRID + 'optimizer = ["levenberg_marquardt"]', sections="[training]\nloss = { p = 8 }"),
        ["levenberg_marquardt", 'training.loss = "mse"'],
    ),
    "odd power": (study(sections="[training]\nloss = { p = 3 }"), ["training.loss", "even"]),
    "keep": (study(sections='[training]\nkeep = "bst"'), ["training.keep", "Did you mean 'best'?"]),
    "rate of a schedule": (study(sections='[training]\nschedule = "exponential"'), ["final_learning_rate"]),
    "batch": (study(sections='[training]\nbatch = "ful"'), ["training.batch", "full", "per_sample", "'ful'"]),
    "point kind": (study(sections='[sup_norm]\npoints = ["sobo"]'), ["sup_norm.points.0", "Did you mean 'sobol'?"]),
    "ascent": (study(sections='[sup_norm]\nascent = "lbfg"'), ["sup_norm.ascent", "Did you mean 'lbfgs'?"]),
    "Newton": (study(sections='[sup_norm]\nascent = "newton"'), ["sup_norm.ascent", "removed", 'or write "lbfgs"']),
    "lattice": (study(sections='[sup_norm]\npoints = ["sobol", "lattice"]'), ["points.1", "removed", 'write "sobol"']),
    "kronecker": (study(sections='[sup_norm]\npoints = ["kronecker"]'), ["points.0", "removed", 'write "sobol"']),
    "central": (study(sections="[sup_norm]\ncentral = 1.0"), ["sup_norm.central", "less than 1", "1.0"]),
    "points twice": (study(sections='[sup_norm]\npoints = ["grid", "grid"]'), ["sup_norm", "once"]),
    "precision": (study(top='precision = "float46"'), ["precision", "Did you mean 'float64'?"]),
    "not TOML": ('title = "t"\nseed = = 1', ["not valid TOML", "line 2"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_that_names_key_and_remedy(name: str) -> None:
    check_mistake(*MISTAKES[name])


def check_mistake(text: str, expected: list[str]) -> None:
    """Check that a study is refused in one sentence with all these parts."""
    with pytest.raises(UserError) as caught:
        cells(text)
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message, message


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be read"):
        load(tmp_path / "none.toml", CATALOGUE)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="UTF-8"):
        load(tmp_path / "binary.toml", CATALOGUE)
