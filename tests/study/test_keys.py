"""Finding rows by their keys, and uniting many sets of cells, against dictionaries and one union after the other."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.study import keys
from hpcsweep.study.cells import Cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.keys import KeyIndex
from hpcsweep.study.parsing import parse
from tests.conftest import TINY

TEXTS = st.lists(st.binary(min_size=1, max_size=12).filter(lambda text: text[-1] != 0), max_size=30)


def as_keys(texts: list[bytes], width: int = 12) -> np.ndarray:
    return np.array(texts, dtype=f"S{width}")


@pytest.mark.parametrize("alike", [False, True])
@given(TEXTS, TEXTS)
def test_rows_are_those_of_a_dictionary(alike: bool, stored: list[bytes], wanted: list[bytes]) -> None:
    stored = list(dict.fromkeys(stored))
    with pytest.MonkeyPatch.context() as patch:
        if alike:  # all keys have the same number
            patch.setattr(keys, "_numbers", lambda given: np.zeros(len(given), np.uint64))
        row_of = {key: row for row, key in enumerate(stored)}
        index = KeyIndex(as_keys(stored))
        for asked in (wanted, stored, stored[::-1], wanted + stored):
            rows = [row_of.get(key, -1) for key in asked]
            assert index.rows(as_keys(asked)).tolist() == rows
            assert index.holds(as_keys(asked)).tolist() == [row >= 0 for row in rows]
        repeated = stored + wanted + stored
        first = [repeated.index(key) for key in repeated]
        assert KeyIndex(as_keys(repeated)).first().tolist() == first


@given(st.lists(st.lists(st.integers(0, 17), max_size=18, unique=True), min_size=1, max_size=4))
def test_a_union_of_many_is_one_union_after_the_other(chosen: list[list[int]]) -> None:
    wide = expand(parse(TINY, Catalogue()), Catalogue())
    parts = [wide.take(np.array(rows, dtype=np.int64)) for rows in chosen]
    whole, one_by_one = parts[0].union(*parts[1:]), functools.reduce(Cells.union, parts)
    assert len(whole) == len({row for rows in chosen for row in rows})
    assert whole.extra == one_by_one.extra and list(whole.configs) == list(one_by_one.configs)
    assert whole.facts == one_by_one.facts and whole.columns.keys() == one_by_one.columns.keys()
    for name, values in whole.columns.items():
        assert values.tobytes() == one_by_one.columns[name].tobytes(), name
