"""`--set`: values of a study by the path of their key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.errors import StudyError
from hpcsweep.study.changing import Changed, parsed
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import Study, parse
from tests.conftest import TINY

PARSED: dict[str, Any] = {
    "training.steps=100": (("training", "steps"), 100),
    "training.learning_rate = 1e-2": (("training", "learning_rate"), 0.01),
    "grid[0].width=[8, 16]": (("grid", "0", "width"), [8, 16]),
    "grid.0.samples=[{ per_parameter = 2 }]": (("grid", "0", "samples"), [{"per_parameter": 2}]),
    "model.activation=relu": (("model", "activation"), "relu"),
    'model.activation="relu"': (("model", "activation"), "relu"),
    "grid.0.optimizer=adam+ssbroyden": (("grid", "0", "optimizer"), "adam+ssbroyden"),
    'title="a = b"': (("title",), "a = b"),
    "store.weights=false": (("store", "weights"), False),
}
MISTAKES = {
    "training.stepz=100": ["training: unknown name 'stepz'. Did you mean 'steps'?", "Allowed: ", "learning_rate"],
    "trainig.steps=100": ["unknown name 'trainig", "Did you mean 'training'?", "Allowed: grid, model"],
    "steps=100": ["unknown name 'steps'. Did you mean 'training.steps'?", "Allowed: grid, model"],
    "learningrate=100": ["Did you mean 'training.learning_rate'?"],
    "certificate=off": ["Did you mean 'sup_norm.certificate'?"],
    "grid.0.wdith=[4]": ["grid[0]: unknown name 'wdith'. Did you mean 'width'?"],
    "grid.5.width=[4]": ["'5' is not an entry of a list of 2; allowed: 0 to 1"],
    "training.steps.most=3": ["training.steps is 40, which has no entries"],
    "training.steps=1OO": ["is not a TOML value"],
    "training.steps=many": ["training.steps: must be a valid integer, not 'many'"],
    "training.steps": ["write KEY=VALUE, such as training.steps=100"],
    "=3": ["write KEY=VALUE"],
    "a b=3": ["'a b' is not a dotted key"],
    "training.steps=3\nseed=4": ["gives several values"],
    "model.width=8": ["model.width: has no effect, since 'width' is an axis; set grid.0.width, grid.1.width"],
}


def changed(tmp_path: Path, *changes: str) -> Study:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return parse(Changed(path, tuple(map(parsed, changes))).text(), Catalogue(tmp_path), tmp_path)


@pytest.mark.parametrize("text", PARSED)
def test_a_change_is_a_dotted_key_and_a_value_of_toml(text: str) -> None:
    assert parsed(text) == PARSED[text]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_sentence_with_the_key_and_what_is_allowed(tmp_path: Path, text: str) -> None:
    with pytest.raises(StudyError) as caught:
        changed(tmp_path, text)
    assert all(part in str(caught.value) for part in MISTAKES[text]), caught.value


def test_changes_are_made_in_order_and_without_any_the_text_is_that_of_the_file(tmp_path: Path) -> None:
    assert changed(tmp_path).text == TINY
    study = changed(
        tmp_path, "training.steps=5", "training.steps=6", "grid[1].subset={ random = 1 }", "model.activation=sin"
    )
    cells = expand(study, Catalogue(tmp_path))
    assert {cell.optimizer["steps"] for cell in cells} == {6} and len(cells) == 17
