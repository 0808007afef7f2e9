"""Laws of a store: which cells enter, what is said of them, and the theory beside."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

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
        assert law.law.exponent == pytest.approx(1) and law.law.low == pytest.approx(0.97, abs=0.01)
        assert law.law.at(np.ones(1)) == pytest.approx(1.1 * LEVEL[law.label] / 1000 ** (1 / law.dimension))
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
    ("parameters", 1, 2.0, "relu", 1): "It is shallower than the lower bound of theory for the worst function with "
    "bounded derivatives up to order 2 and ReLU networks of 1 hidden layer, weights^-2.",
    ("parameters", 1, 1.0, "relu", 1): "It is consistent with the lower bound of theory for the worst Lipschitz "
    "function and ReLU networks of 1 hidden layer, weights^-1.",
    ("parameters", 4, 1.0, "relu", 3): "It is steeper than the lower bound of theory for the worst Lipschitz function "
    "and ReLU networks of 3 hidden layers, weights^-0.25.",
    ("parameters", 2, 1.0, "tanh", 1): f"{WEIGHTS} have the activation tanh; the VC dimension of tanh networks gives a "
    "weaker one, weights^-2.",
    ("parameters", 2, 3.0, "silu", 1): "the VC dimension of silu networks gives a weaker one, weights^-6.",
    ("parameters", 2, 1.0, "gelu", 1): "the VC dimension of gelu networks gives a weaker one, weights^-2.",
    ("samples", 2, 1.0, "relu", 1, 0.01): "Not covered by theory: the samples have noise.",
    ("parameters", 1, 1.0, "relu", 1, 0.01): "ReLU networks of 1 hidden layer, weights^-1.",
    ("parameters", 2, 1.0, "sin", 1): f"{WEIGHTS} have the activation sin.",
    ("parameters", 2, math.inf, "tanh", 1): f"{WEIGHTS} have the activation tanh.",
    ("parameters", 2, 1.0, "", 0): f"{WEIGHTS} are other approximants.",
    ("parameters", 2, math.inf, "relu", 2): "It is shallower than the lower bound of theory for every twice "
    "differentiable target that is not affine and ReLU networks of 2 hidden layers, weights^-4.",
    (
        "parameters",
        1,
        3.0,
        "relu",
        1,
    ): "for every twice differentiable target that is not affine and ReLU networks of 1 hidden layer, weights^-2.",
    ("parameters", 2, None, "relu", 1): "is unknown",
    ("parameters", 2, 0.0, "relu", 1): "no rate",
    ("parameters", 2, -1.0, "tanh", 1): "in the sup-norm, no continuous network comes closer than half the jump, "
    "whatever its size.",
    ("samples", 2, 1.0, "tanh", 1): "steeper",
    ("samples", 2, 3.0, "", 0): "It is shallower than the lower bound of theory for the worst function with bounded "
    "derivatives up to order 3, samples^-1.5.",
    ("samples", 2, None, "relu", 1): "Not covered by theory: the smoothness of the target is unknown.",
    ("samples", 2, math.inf, "relu", 1): "any power",
    ("flops", 2, math.inf, "relu", 1): "no bound in terms of this cost",
}


@pytest.mark.parametrize("case", WORDS, ids=str)
def test_theory_in_words(case: tuple[Any, ...], table: series.Table) -> None:
    law = scaling.laws(table)[0].law  # exponent 1
    assert WORDS[case] in theory.verdict(law, theory.Case(*case))


def test_replicates_that_do_not_differ_have_no_interval(make_store: Maker) -> None:
    """Those of a direct approximant on fixed nodes, for instance."""
    table = series.table(read(make_store(SCALING, lambda cell: record(cell, sup_lower=1 / cell.parameters))))
    law = scaling.laws(table, smoothness={"bumps": 1})[0]
    assert law.law.exponent == pytest.approx(1) and math.isnan(law.law.low) and law.standing == ""
    assert "a = 1.00 from 13 to 97 weights (3 replicates, no interval: their slopes do not differ)" in law.sentence
    assert "It cannot be compared with the lower bound of theory for the worst Lipschitz function" in law.sentence


def test_an_interval_around_zero_determines_nothing(table: series.Table) -> None:
    law = scaling.laws(table, "samples", smoothness={"bumps": 1})[0]
    wide = dataclasses.replace(law, law=dataclasses.replace(law.law, low=-0.1, high=2.0))
    assert law.standing == "consistent" and wide.standing == "undetermined"
    words = scaling.sentence(wide.law, "samples", "sup_lower", "")
    assert words == (
        "The exponent of the sup-norm error from 10 to 1,000 samples is not distinguishable from 0 "
        "(3 replicates, 95 % interval -0.10 to 2.00). "
    )
    assert law.sentence.startswith("The sup-norm error falls on average as samples^-a with a = 1.00 from 10 to 1,000 ")
    assert "samples (3 replicates, 95 % interval 0.97 to 1.03). It is consistent with the lower" in law.sentence
    assert "do not determine" in theory.verdict(wide.law, theory.Case("samples", 1, 1, "relu", 1))
    assert scaling.interval(dataclasses.replace(law.law, low=-12.34, high=1.2e5)) == "-12 to 1e+05"
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
    assert bounds == [2.0, 2.0, 1.0, 0.5]
    laws = scaling.laws(series.table(said), smoothness={"bumps": 2})
    assert laws[2].bound == 1.0 and laws[0].bound == 2.0
    assert laws[0].sentence.endswith("up to order 2 and ReLU networks of 1 hidden layer, weights^-2.")


def test_a_floor_is_said(make_store: Maker) -> None:
    def saturated(cell: Cell) -> Record:
        error = max(1 / cell.parameters**2, 1 / 70**2) * (1 + 0.02 * (cell.replicate + cell.parameters % 3))
        return record(cell, sup_lower=error)

    text = SCALING.replace("[4, 8, 16, 32]", "[4, 8, 16, 32, 64, 128]")
    (law, *_) = scaling.laws(series.table(read(make_store(text, saturated))))
    assert law.law.fitted.tolist() == [True, True, True, False, False, False]
    assert (
        " from 13 to 49 weights (" in law.sentence
        and "It saturates near 0.0002" in law.sentence
        and "; 3 sizes were excluded from the fit" in law.sentence
    )


def test_fewer_than_three_sizes_make_no_law(make_store: Maker) -> None:
    dataset = read(make_store(SCALING, lambda cell: known(cell) if cell.samples < 1000 else None))
    laws = scaling.laws(series.table(dataset), "samples")
    words = "The exponent of the sup-norm error is not determined: it takes at least three sizes, and 2 are measured."
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


def test_networks_that_are_not_measured_yet_take_no_law_away(make_store: Maker) -> None:
    """A wider network enters when it has been measured at three sample counts, even if others have four."""
    grid = SCALING[SCALING.index("[[grid]]") :].replace("[4, 8, 16, 32]", "64")
    text = SCALING.replace("[10, 100, 1000]", "[1, 10, 100, 1000]")

    def begun(cell: Cell, most: int) -> Record | None:
        return None if cell.model.hidden == (64,) and cell.samples > most else known(cell)

    for most, width in ((0, 32), (10, 32), (1000, 64)):
        path = make_store(text + grid, partial(begun, most=most), f"{most}.h5")
        table = series.table(read(path))
        laws = scaling.laws(table, "samples")
        assert len(laws) == 8 and all(law.law.determined for law in laws)
        assert set(scaling.chosen(table.cells, "samples")["width"]) == {width}


def test_a_method_with_more_samples_takes_no_law_of_another_away(make_store: Maker) -> None:
    grid = SCALING[SCALING.index("[[grid]]") :].replace('["adam", "sgd"]', '"soap"').replace("[10, 100, 1000]", "9999")
    table = series.table(read(make_store(SCALING + grid, soap)))
    laws = {law.label: law for law in scaling.laws(table)}
    assert set(laws) == {"adam", "sgd", "soap"} and all(law.law.determined for law in laws.values())
    assert scaling.left_out(table, "parameters").endswith(
        "there are cells of the same network and line with more samples."
    )


def soap(cell: Cell) -> Record:
    return record(cell, sup_lower=(1 + cell.replicate) * cell.parameters ** -(1 + 0.1 * cell.replicate))


def test_without_several_sample_counts_the_widest_networks_enter(make_store: Maker) -> None:
    text = SCALING.replace("[10, 100, 1000]", "100")
    table = series.table(read(make_store(text, known)))
    words = "their network is not the widest of those in its line with three sample counts (or the most)."
    assert scaling.left_out(table, "samples") == (
        f"72 of 96 measured cells are left out of this chapter, because {words}"
    )


def test_two_replicates_of_one_size_are_said(make_store: Maker) -> None:
    table = series.table(
        read(make_store(SCALING, lambda c: known(c) if c.replicate < 2 or c.parameters < 90 else None))
    )
    laws = {law.panel: law.sentence for law in scaling.laws(table)}
    words = "A size has two replicates; the interval holds if errors scatter alike at all sizes."
    assert (
        words in laws["wave", 1]
        and words not in scaling.laws(series.table(read(make_store(SCALING, known, "whole.h5"))))[0].sentence
    )


def test_an_unfinished_study_says_what_it_fits(make_store: Maker) -> None:
    def begun(cell: Cell) -> Record | None:
        late = cell.parameters == 97 and cell.dimension == 1
        return None if cell.replicate and (late or cell.optimizer["name"] == "sgd") else known(cell)

    laws = {(*law.panel, law.label): law for law in scaling.laws(series.table(read(make_store(SCALING, begun))))}
    law = laws["wave", 1, "adam"]
    assert law.law.fitted.tolist() == [True] * 3 + [False] and law.law.replicates == (3, 3)
    assert "with a = 1.00 from 13 to 49 weights (3 replicates, 95 % interval" in law.sentence
    assert "). 1 size was left out, which has a single replicate." in law.sentence
    single = laws["wave", 2, "sgd"]
    words = "it takes at least three sizes with at least two replicates each; none of the 4 has them."
    assert single.sentence.endswith(f"not determined: {words}")
    assert single.standing == ""
