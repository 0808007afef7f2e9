"""Studies: what is accepted, what is refused and how, keys, streams, grids."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.approx.training import optimizers
from hpcsweep.config import canonical, stream
from hpcsweep.study.cells import Cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse

CATALOGUE = Catalogue()
GRID = '[[grid]]\ntarget = ["logsin"]\ndimension = [1]\nsamples = [10]\n'


def cells(text: str) -> Cells:
    return expand(parse(text, CATALOGUE), CATALOGUE)


def study(grid: str = GRID, top: str = "", sections: str = "") -> str:
    return f'title = "t"\n{top}\n{grid}\n{sections}\n'


def test_grids_are_products_united_and_equal_cells_fall_together() -> None:
    both = GRID + "width = [4, 8]\nreplicate = 3\n" + GRID + "width = [8, 16]\nreplicate = [0, 5]\n"
    made = cells(study(both))
    assert len(made) == 6 + 4 - 1  # width 8, replicate 0 stands in both
    assert len(set(made.columns["key"].tolist())) == len(made)
    assert sorted(set(made.columns["width"].tolist())) == [4, 8, 16]


def test_tables_set_several_fields_and_later_layers_win() -> None:
    grid = GRID + 'model = [{ width = 5, depth = 1 }, { hidden = [7, 3], label = "bottle" }]\n'
    made = cells(study(grid, sections='[model]\nwidth = 99\ndepth = 4\nactivation = "relu"'))
    assert [cell.model["hidden"] for cell in made] == [[5], [7, 3]]
    assert {cell.model["activation"] for cell in made} == {"relu"}
    assert [made.configs[i].label for i in made.columns["model_id"]] == ["mlp", "bottle"]
    assert made.columns["width"].tolist() == [5, 7] and made.columns["depth"].tolist() == [1, 2]


def test_a_width_axis_replaces_hidden_widths_of_the_section() -> None:
    made = cells(study(GRID + "width = [6]", sections="[model]\nhidden = [3, 3, 3]"))
    assert made.cell(0).model["hidden"] == [6, 6]


def test_no_hidden_layer_is_an_affine_function() -> None:
    assert cells(study(GRID + "hidden = [[]]")).cell(0).model["hidden"] == []
    assert cells(study(sections="[model]\nhidden = []")).cell(0).parameters == 2


def test_how_errors_are_measured_is_resolved_by_dimension() -> None:
    resolved = parse(study(), CATALOGUE).sup_norm.resolved
    assert [resolved(d)["gap"] for d in (1, 2, 4, 5, 6, 7)] == [1e-6, 0.01, 0.01, 0.1, 0.1, None]
    assert [resolved(d)["count"] for d in (1, 4, 40)] == [2**14, 2**17, 2**23]
    asked = parse(study(sections="[sup_norm]\ncertificate = 0.5\ncount = 1000\nstarts = 0"), CATALOGUE).sup_norm
    assert asked.resolved(9) | {"gap": 0.5, "count": 1000, "starts": 0, "always": True} == asked.resolved(9)
    assert parse(study(sections='[sup_norm]\ncertificate = "off"'), CATALOGUE).sup_norm.resolved(1)["gap"] is None


def test_what_keys_do_not_know_is_whether_proofs_may_be_tried() -> None:
    auto, off = (parse(study(sections=text), CATALOGUE).sup_norm for text in ("", '[sup_norm]\ncertificate = "off"'))
    assert auto.resolved(8) == off.resolved(8)
    assert auto.measured(8) == auto.resolved(8) | {"auto": True} and off.measured(8)["auto"] is False


def test_training_layers() -> None:
    sections = "[training]\nsteps = 10\nlearning_rate = 0.5\n[training.adam]\nlearning_rate = 0.25\n"
    grid = GRID + 'optimizer = ["adam", { name = "adam", learning_rate = 0.125 }]\n'
    rates = [cell.optimizer["learning_rate"] for cell in cells(study(grid, sections=sections))]
    assert rates == [0.25, 0.125]


def methods_of(optimizer: str, more: str = "", sections: str = "") -> list[dict]:
    made = cells(study(GRID + f"optimizer = [{optimizer}]\n{more}", sections=sections))
    return [cell.optimizer for cell in made]


def test_a_method_holds_the_fields_that_it_uses() -> None:
    adam, sgd, bfgs = methods_of('"adam", "sgd", "bfgs"', sections="[training]\nmomentum = 0.5\nlearning_rate = 0.25")
    assert adam["beta2"] == 0.999 and "momentum" not in adam
    assert sgd["momentum"] == 0.5 and sgd["learning_rate"] == 0.25 and "beta1" not in sgd
    assert not {"learning_rate", "schedule", "beta1", "momentum"} & bfgs.keys()
    assert {"steps", "batch", "keep", "loss", "loss_tolerance"} <= bfgs.keys()
    rates = cells(study(GRID + 'optimizer = ["adam", "bfgs"]\nlearning_rate = [0.1, 0.2, 0.3]'))
    assert len(rates) == 3 + 1  # the cells of bfgs are the same
    assert rates.extra == ("learning_rate",)
    assert rates.columns["learning_rate"][:3].tolist() == [0.1, 0.2, 0.3] and np.isnan(
        rates.columns["learning_rate"][3]
    )


def test_parts_of_a_chain() -> None:
    sections = "[training]\nsteps = 40\nlearning_rate = 0.5\n[training.sgd]\nlearning_rate = 0.25\nmomentum = 0.5\n"
    [chain] = methods_of('"adam+sgd"', sections=sections)
    assert chain["name"] == "adam+sgd" and chain["steps"] == 340 and chain["batch"] is None
    assert "learning_rate" not in chain and chain["schedule"] == "constant"  # what the parts have in common
    adam, sgd = chain["parts"]
    assert (adam["name"], adam["steps"], adam["learning_rate"]) == ("adam", 300, 0.5)
    assert (sgd["name"], sgd["steps"], sgd["learning_rate"], sgd["momentum"]) == ("sgd", 40, 0.25, 0.5)
    [chain] = methods_of('"adam+sgd"', "learning_rate = 0.125", sections)
    assert [part["learning_rate"] for part in chain["parts"]] == [0.125, 0.125] and chain["learning_rate"] == 0.125


def test_steps_of_a_warm_up() -> None:
    def steps(optimizer: str, more: str = "", sections: str = "") -> list[list[int]]:
        return [[part["steps"] for part in one["parts"]] for one in methods_of(optimizer, more, sections)]

    assert steps('"adam+bfgs"', "steps = [40, 50]") == [[300, 40], [300, 50]]
    assert steps('"adam+bfgs"', sections="[training.adam]\nsteps = 7") == [[7, 2000]]
    assert steps('{ name = "adam+bfgs", steps = 9 }') == [[300, 9]]
    assert steps('{ name = "adam+bfgs", steps = 9, adam = { steps = 5 } }') == [[5, 9]]
    assert steps('"bfgs+adam"') == [[2000, 2000]]


def test_labels_of_methods() -> None:
    tables = (
        '"adam+sgd", { name = "adam+sgd", steps = 9, adam = { steps = 5, batch = 3 } }, { name = "sgd", label = "x" }'
    )
    made = cells(study(GRID + f"optimizer = [{tables}]"))
    labels = [made.configs[i].label for i in made.columns["optimizer_id"]]
    assert labels == ["adam+sgd", "adam+sgd(steps=9, adam(steps=5, batch=3))", "x"]


def test_keys_of_chains_tell_all_parts() -> None:
    texts = [
        study(GRID + 'optimizer = ["adam+sgd"]', sections=sections)
        for sections in (
            "",
            "[training.adam]\nsteps = 7",
            "[training.adam]\nbeta1 = 0.8",
            "[training.sgd]\nmomentum = 0.1",
        )
    ]
    texts += [study(GRID + f'optimizer = ["{name}"]') for name in ("sgd+adam", "adam+adamw", "adam", "sgd")]
    keys = [cells(text).cell(0).key for text in texts]
    assert len(set(keys)) == len(keys)
    chain = study(GRID + 'optimizer = ["adam", { name = "adam+bfgs", adam = { batch = 5 } }]')
    made = cells(chain)
    assert [part["batch"] for part in made.cell(1).optimizer["parts"]] == [5, None]
    assert made.columns["training_steps"].tolist() == [2000.0, 2300.0]


def test_counts_per_parameter_and_per_sample() -> None:
    grid = (
        GRID.replace("[10]", "[{ per_parameter = 0.5 }, 40]") + "width = [4]\ndepth = 1\nbatch = [{ per_sample = 0.3 }]"
    )
    made = list(cells(study(grid)))
    assert made[0].parameters == 13 and made[0].samples == 7  # 4 * 2 + 5 parameters
    assert [cell.optimizer["batch"] for cell in made] == [3, 12]  # ceil(0.3 * samples)


def test_a_batch_of_all_samples_is_the_full_batch() -> None:
    one, other = (cells(study(GRID + f"batch = [{batch}]")) for batch in ('"full"', "10"))
    assert one.columns["key"].tolist() == other.columns["key"].tolist()


def test_further_axes_become_coordinates() -> None:
    made = cells(study(GRID + 'activation = ["tanh", "relu"]\nlearning_rate = [0.1]'))
    assert set(made.extra) == {"activation", "learning_rate"}
    assert made.columns["activation"].tolist() == [b"tanh", b"relu"]
    assert made.columns["learning_rate"].tolist() == [0.1, 0.1]


def test_a_key_is_the_content() -> None:
    base = cells(study(GRID)).cell(0)
    spelt_out = GRID.replace('["logsin"]', '[{ name = "logsin", K = 1, label = "other label" }]') + "width = [16]\n"
    assert cells(study(spelt_out, top='seed = 0\nprecision = "float64"')).cell(0).key == base.key
    changes = [
        study(GRID, top="seed = 1"),
        study(GRID, top='precision = "float32"'),
        study(GRID + "width = [17]"),
        study(GRID + "steps = [1]"),
        study(GRID + "replicate = [1]"),
        study(GRID.replace("[10]", "[11]")),
        study(GRID, sections="[sup_norm]\ncount = 77"),
    ]
    keys = {cells(text).cell(0).key for text in changes}
    assert len(keys) == len(changes) and base.key not in keys


def test_keys_do_not_change_between_versions() -> None:
    """A key written down: if this fails, every store of every user loses its cells."""
    assert cells(study(GRID)).cell(0).key == KNOWN_KEY


KNOWN_KEY = "944ac6f7de2091323655a7650d90a1d9"


def test_how_it_is_measured_counts_in_keys_but_for_defaults_that_came_later() -> None:
    keys = [
        cells(study(GRID, sections=f"[sup_norm]\n{text}")).cell(0).key
        for text in ('ascent = "lbfgs"', "central = 0.8", "central = 0.5")
    ]
    assert keys[0] == KNOWN_KEY and len(set(keys)) == 3


def test_streams_are_paired() -> None:
    grid = GRID.replace("[10]", "[10, 100]") + "width = [4, 8]\nlearning_rate = [0.1, 0.2]\nreplicate = 2"
    made = list(cells(study(grid)))
    for one in made:
        for other in made:
            same_replicate = one.replicate == other.replicate
            assert (one.data_seed == other.data_seed) == same_replicate
            assert (one.weight_seed == other.weight_seed) == (same_replicate and one.model == other.model)
            assert (one.batch_seed == other.batch_seed) == (one.key == other.key)


@given(
    st.dictionaries(st.text(max_size=3), st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=4)
)
def test_canonical_text_ignores_order_and_loses_nothing(values: dict[str, object]) -> None:
    turned = dict(reversed(values.items()))
    assert canonical(values) == canonical(turned)
    assert json.loads(canonical(values)) == values
    assert stream("a", values) == stream("a", turned) != stream("b", values)


@settings(max_examples=25, deadline=None)
@given(
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True),
    counts=st.lists(st.integers(1, 999), min_size=1, max_size=4, unique=True),
    replicates=st.integers(1, 4),
)
def test_the_number_of_cells_is_the_product(widths: list[int], counts: list[int], replicates: int) -> None:
    grid = GRID.replace("[10]", str(counts)) + f"width = {widths}\nreplicate = {replicates}"
    made = cells(study(grid))
    assert len(made) == len(widths) * len(counts) * replicates
    assert {cell.key for cell in made} == {key.decode() for key in made.columns["key"]}


def test_union_and_take() -> None:
    one, other = (
        cells(study(GRID + "width = [4, 8]")),
        cells(study(GRID + 'width = [8, 16]\nactivation = ["relu", "tanh"]')),
    )
    both = one.union(other)
    assert len(both) == 2 + 4 - 1
    by_key = {cell.key: cell for cell in both}
    for cell in [*one, *other]:
        assert by_key[cell.key] == cell
    assert both.extra == ("activation",)
    assert [cell.key for cell in both.take(np.array([3, 0]))] == [both.cell(3).key, both.cell(0).key]


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_every_method_may_have_a_table_of_its_own_whatever_field_its_name_resembles(name: str) -> None:
    made = parse(study(GRID + f'optimizer = ["{name}"]', sections=f"[training.{name}]\nsteps = 5"), CATALOGUE)
    assert made.per_optimizer == {name: {"steps": 5}}
