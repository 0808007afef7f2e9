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
    for law in scaling.laws(table, "samples"):
        assert law.law.exponent == pytest.approx(1 / law.dimension)
        assert law.law.sizes.round().tolist() == [10, 100, 1000]
        assert law.bound == 1 / law.dimension and "consistent with" in law.sentence


def test_compute_takes_the_settings_that_no_cheaper_one_beats(table: series.Table) -> None:
    for law in scaling.laws(table, "train_seconds"):
        assert law.law.exponent == pytest.approx(1) and len(law.law.sizes) == 4  # of each time, the most samples
        assert law.law.medians == pytest.approx(
            1.1 * LEVEL[law.label] / (law.law.sizes * 1e3 * 1000 ** (1 / law.dimension))
        )
    flops = table.cells["flops"]
    assert flops.iloc[0] == 6 * table.cells["parameters"].iloc[0] * 10 * 100


WORDS = {
    ("parameters", 1, 1.0): "shallower",
    ("parameters", 2, 1.0): "consistent with",
    ("parameters", 4, 1.0): "steeper",
    ("parameters", 2, math.inf): "any power",
    ("parameters", 2, None): "is unknown",
    ("parameters", 2, 0.0): "no rate",
    ("parameters", 2, -1.0): "discontinuous",
    ("samples", 2, None): "steeper",
    ("flops", 2, math.inf): "no bound in terms of this cost",
}


@pytest.mark.parametrize("case", WORDS, ids=str)
def test_theory_in_words(case: tuple[str, int, float | None], table: series.Table) -> None:
    against, dimension, smoothness = case
    law = scaling.laws(table)[0].law  # exponent 1
    assert WORDS[case] in theory.verdict(law, against, dimension, smoothness)


def test_rates() -> None:
    assert theory.rate("parameters", 4, 3) == 1.5 and theory.rate("samples", 4, None) == 0.25
    assert theory.rate("parameters", 4, math.inf) == math.inf and theory.rate("train_seconds", 1, 2) is None


def test_an_interval_around_zero_determines_nothing(table: series.Table) -> None:
    law = scaling.laws(table, "samples")[0]
    wide = dataclasses.replace(law, law=dataclasses.replace(law.law, low=-0.1, high=2.0))
    assert law.standing == "consistent" and wide.standing == "undetermined"
    words = scaling.sentence(wide.law, "samples", "sup_lower", "")
    assert words.startswith("No fall of the sup-norm error is established") and "exponent -2.00 to 0.10," in words
    assert "falls as samples^-1.00 (95 % interval of the exponent -1.00 to -1.00, " in law.sentence
    assert "do not determine" in theory.verdict(wide.law, "samples", 1, None)
    sentence = dict(summary.sentences(table, {"samples": [wide]}))["Samples."]
    assert "with a undetermined in 1-D for bumps." in sentence and "of which 1 is too uncertain to compare." in sentence


def test_smoothness_is_taken_from_the_store_or_laws(make_store: Maker) -> None:
    dataset = read(make_store(SCALING, known))
    assert series.table(dataset).smoothness == {}  # these targets do not say it
    said = dataset.assign_coords(smoothness=("cell", np.where(dataset["target"] == "wave", 1.0, np.inf)))
    bounds = [law.bound for law in scaling.laws(series.table(said))[::2]]
    assert bounds == [math.inf, math.inf, 2.0, 1.0]
    laws = scaling.laws(series.table(said), smoothness={"bumps": 2})
    assert laws[0].bound == 4.0 and "It is shallower than the lower bound of theory" in laws[0].sentence
    assert "for the worst function of the class, weights^-4, so that" in laws[0].sentence


def test_a_floor_is_said(make_store: Maker) -> None:
    def saturated(cell: Cell) -> Record:
        error = max(1 / cell.parameters**2, 1 / 25**2) * (1 + 0.02 * (cell.replicate + cell.parameters % 3))
        return record(cell, sup_lower=error)

    (law, *_) = scaling.laws(series.table(read(make_store(SCALING, saturated))))
    assert law.law.fitted.tolist() == [True, True, False, False]
    assert "it saturates near 0.0017; 2 sizes were excluded" in law.sentence and "fitted from 13 to 25" in law.sentence


def test_fewer_than_three_sizes_make_no_law(make_store: Maker) -> None:
    dataset = read(make_store(SCALING, lambda cell: known(cell) if cell.samples < 1000 else None))
    assert scaling.laws(series.table(dataset), "samples") == []
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
