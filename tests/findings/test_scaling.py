"""Laws of a store: which cells enter, what is said of them, and the theory beside."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from hpcsweep.config import Cell
from hpcsweep.errors import StoreError
from hpcsweep.findings import figures, scaling, series, theory
from hpcsweep.findings.dataset import read
from hpcsweep.findings.report import summary
from hpcsweep.store.store import Record
from tests.findings.stores import LEVEL, SCALING, Maker, known, record


def test_exponents_of_every_line(table: series.Table) -> None:
    laws = scaling.laws(table)
    assert [(law.target, law.dimension, law.label) for law in laws] == [
        (target, dimension, optimizer) for target in ("bumps", "wave") for dimension in (1, 2) for optimizer in LEVEL
    ]
    for law in laws:
        assert law.law.exponent == pytest.approx(1) and law.law.low == pytest.approx(1)
        assert law.law.factor == pytest.approx(1.1 * LEVEL[law.label] / 1000 ** (1 / law.dimension))
        assert law.law.sizes.round().tolist() == [(law.dimension + 2) * width + 1 for width in (4, 8, 16, 32)]
    assert all(law.law.exponent == pytest.approx(0.5) for law in scaling.laws(table, error="l2_error"))
    for law in scaling.laws(table, "samples", smoothness={"bumps": 1, "wave": 1}):
        assert law.law.exponent == pytest.approx(1 / law.dimension)
        assert law.law.sizes.round().tolist() == [10, 100, 1000]
        assert law.bound == 1 / law.dimension and "consistent with the lower bound" in law.sentence
        assert "for the worst Lipschitz function, samples^-" in law.sentence


def test_compute_takes_the_settings_that_no_cheaper_one_beats(table: series.Table) -> None:
    for law in scaling.laws(table, "train_seconds"):
        assert law.law.exponent == pytest.approx(1) and len(law.law.sizes) == 4  # of each time, the most samples
        assert law.law.medians == pytest.approx(
            1.1 * LEVEL[law.label] / (law.law.sizes * 1e3 * 1000 ** (1 / law.dimension))
        )
    flops = table.cells["flops"]
    assert flops.iloc[0] == 6 * table.cells["parameters"].iloc[0] * 10 * 100


WEIGHTS = "Not covered by theory: the lower bound in weights is about ReLU networks, and these"
WORDS = {
    ("parameters", 1, 1.0, "relu"): "shallower",
    ("parameters", 2, 1.0, "relu"): "consistent with",
    ("parameters", 4, 1.0, "relu"): "steeper",
    ("parameters", 2, 1.0, "tanh"): f"{WEIGHTS} have the activation tanh; the VC dimension of tanh networks gives a "
    "weaker one, weights^-2.",
    ("parameters", 2, 1.0, "sin"): f"{WEIGHTS} have the activation sin.",
    ("parameters", 2, math.inf, "tanh"): f"{WEIGHTS} have the activation tanh.",
    ("parameters", 2, 1.0, ""): f"{WEIGHTS} are other approximants.",
    ("parameters", 2, math.inf, "relu"): "any power",
    ("parameters", 2, None, "relu"): "is unknown",
    ("parameters", 2, 0.0, "relu"): "no rate",
    ("parameters", 2, -1.0, "tanh"): "half the jump, whatever its size",
    ("samples", 2, 1.0, "tanh"): "steeper",
    ("samples", 2, 3.0, ""): "shallower than the lower bound of theory for the worst function with bounded derivatives "
    "up to order 3, samples^-1.5, so",
    ("samples", 2, None, "relu"): "Not covered by theory: the smoothness of the target is unknown.",
    ("samples", 2, math.inf, "relu"): "any power",
    ("flops", 2, math.inf, "relu"): "no bound in terms of this cost",
}


@pytest.mark.parametrize("case", WORDS, ids=str)
def test_theory_in_words(case: tuple[str, int, float | None, str], table: series.Table) -> None:
    law = scaling.laws(table)[0].law  # exponent 1
    assert WORDS[case] in theory.verdict(law, *case)


def test_rates() -> None:
    assert theory.rate("parameters", 4, 3, "relu") == 1.5 and theory.rate("samples", 4, 3, "tanh") == 0.75
    assert theory.rate("parameters", 4, 3, "tanh") is None and theory.rate("samples", 4, None, "relu") is None
    assert theory.rate("parameters", 4, math.inf, "relu") == math.inf
    assert theory.rate("train_seconds", 1, 2, "relu") is None


def test_an_interval_around_zero_determines_nothing(table: series.Table) -> None:
    law = scaling.laws(table, "samples", smoothness={"bumps": 1})[0]
    wide = dataclasses.replace(law, law=dataclasses.replace(law.law, low=-0.1, high=2.0))
    assert law.standing == "consistent" and wide.standing == "undetermined"
    words = scaling.sentence(wide.law, "samples", "sup_lower", "")
    assert words.startswith(
        "The exponent of the sup-norm error is not distinguishable from 0 (95 % interval -0.10 to 2.00"
    )
    assert "falls as samples^-1.00 (95 % interval of the exponent -1.00 to -1.00, " in law.sentence
    assert "do not determine" in theory.verdict(wide.law, "samples", 1, 1, "relu")
    sentence = dict(summary.sentences(table, {"samples": [wide]}))["Samples."]
    assert (
        "with a not distinguishable from 0 in 1-D for bumps." in sentence
        and "of which 1 is too uncertain to compare." in sentence
    )


def test_smoothness_is_taken_from_the_store_or_laws(make_store: Maker) -> None:
    dataset = read(make_store(SCALING, known))
    assert series.table(dataset).smoothness == {}  # these targets do not say it
    said = dataset.assign_coords(smoothness=("cell", np.where(dataset["target"] == "wave", 1.0, np.inf)))
    bounds = [law.bound for law in scaling.laws(series.table(said))[::2]]
    assert bounds == [math.inf, math.inf, 2.0, 1.0]
    laws = scaling.laws(series.table(said), smoothness={"bumps": 2})
    assert laws[0].bound == 4.0 and "It is shallower than the lower bound of theory" in laws[0].sentence
    assert "for the worst function with bounded derivatives up to order 2, weights^-4, so that" in laws[0].sentence


def test_a_floor_is_said(make_store: Maker) -> None:
    def saturated(cell: Cell) -> Record:
        error = max(1 / cell.parameters**2, 1 / 70**2) * (1 + 0.02 * (cell.replicate + cell.parameters % 3))
        return record(cell, sup_lower=error)

    text = SCALING.replace("[4, 8, 16, 32]", "[4, 8, 16, 32, 64, 128]")
    (law, *_) = scaling.laws(series.table(read(make_store(text, saturated))))
    assert law.law.fitted.tolist() == [True, True, True, False, False, False]
    assert (
        "fitted from 13 to 49. It saturates near 0.0002" in law.sentence
        and "; 3 sizes were excluded from the fit" in law.sentence
    )


def test_fewer_than_three_sizes_make_no_law(make_store: Maker) -> None:
    dataset = read(make_store(SCALING, lambda cell: known(cell) if cell.samples < 1000 else None))
    laws = scaling.laws(series.table(dataset), "samples")
    words = "The exponent of the sup-norm error is not determined: it takes 3 sizes, and 2 are measured."
    assert len(laws) == 8 and {law.sentence for law in laws} == {words}
    assert figures.scaling_laws(dataset, "samples") is None
    assert scaling.laws(series.table(dataset)) == []  # the most samples are pending: nothing alike to compare


def test_what_it_took(table: series.Table) -> None:
    reaches = {
        (reach.target, reach.dimension, reach.label): reach
        for reach in scaling.smallest(table, 1.1 / (25 * 1000) * (1 + 1e-9), "width")
    }
    reach = reaches["wave", 1, "adam"]
    assert (reach.size, reach.low, reach.high, reach.smallest, reach.largest) == (8, 8, 16, 4, 32)
    assert str(reach) == "8 (8 to 16)"
    assert str(reaches["wave", 1, "sgd"]) == "> 32" and math.isnan(reaches["wave", 1, "sgd"].size)
    easy = scaling.smallest(table, 1.0, "samples")
    assert {str(reach) for reach in easy} == {"≤ 10"}


def test_unknown_choices_are_refused(table: series.Table) -> None:
    with pytest.raises(StoreError, match=r"against: unknown name 'weight'.*samples"):
        scaling.laws(table, "weight")
    with pytest.raises(StoreError, match="error: unknown name"):
        scaling.smallest(table, 0.1, "width", "max")


def test_a_wider_network_elsewhere_takes_no_law_away(make_store: Maker) -> None:
    """A grid of one method with a wider network and one sample count once hid that method's laws in samples."""
    wider = """
[[grid]]
target = "wave"
dimension = [1, 2]
width = 64
depth = 1
samples = 1000
activation = "relu"
optimizer = "adam"
replicate = 3
"""
    before = series.table(read(make_store(SCALING, known)))
    after = series.table(read(make_store(SCALING + wider, known)))
    laws = [
        [(law.panel, law.label, law.law.exponent, law.law.sizes.tolist()) for law in scaling.laws(table, "samples")]
        for table in (before, after)
    ]
    assert len(laws[0]) == 8 and laws[0] == laws[1]
    chosen = scaling.chosen(after.cells, "samples")
    assert set(chosen["width"]) == {32} and chosen["samples"].nunique() == 3
    assert scaling.left_out(before, "samples").startswith("216 of 288 measured cells are left out of this chapter, ")
    assert scaling.left_out(after, "samples").startswith("222 of 294 measured cells are left out of this chapter, ")
    assert "more samples" in scaling.left_out(after, "parameters")


def test_networks_with_three_sample_counts_come_before_wider_ones_with_two(make_store: Maker) -> None:
    grid = SCALING[SCALING.index("[[grid]]") :].replace("[4, 8, 16, 32]", "64").replace("[10, 100, 1000]", "[10, 100]")
    table = series.table(read(make_store(SCALING + grid, known)))
    assert set(scaling.chosen(table.cells, "samples")["width"]) == {32}
    assert scaling.left_out(series.table(read(make_store(f'title = "Alone"\n{grid}', known))), "samples") == ""


def test_an_unfinished_study_says_what_it_fits(make_store: Maker) -> None:
    def begun(cell: Cell) -> Record | None:
        late = cell.parameters == 97 and cell.dimension == 1
        return None if cell.replicate and (late or cell.optimizer["name"] == "sgd") else known(cell)

    laws = {(*law.panel, law.label): law for law in scaling.laws(series.table(read(make_store(SCALING, begun))))}
    law = laws["wave", 1, "adam"]
    assert law.law.fitted.tolist() == [True] * 3 + [False] and law.law.replicates == (3, 3)
    assert "3 replicates), fitted from 13 to 49. 1 size was left out, which has a single replicate." in law.sentence
    single = laws["wave", 2, "sgd"]
    assert single.sentence.endswith("not determined: it takes 3 sizes with 2 replicates each, and none of 4 have them.")
    assert single.standing == ""
