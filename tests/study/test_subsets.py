"""Subsets of grids: cells of the full grid, balanced, the same whatever the order and the company."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsweep.approx.catalogue import Catalogue
from hpcsweep.errors import StudyError
from hpcsweep.study.cells import Cells
from hpcsweep.study.expansion import expand
from hpcsweep.study.parsing import parse
from hpcsweep.study.subsets import SubsetSection, latin_hypercube

GRID = """
[[grid]]
target = ["sine", { name = "logsin", K = 10 }]
dimension = [1]
width = [4, 8, 16]
depth = [1, 2]
samples = [10, 20, { per_parameter = 2 }, 40]
optimizer = ["adam", "adam+ssbroyden"]
learning_rate = [1e-2, 1e-3]
replicate = 5
"""
AXES = (["target"], ["width"], ["depth"], ["samples"], ["optimizer"], ["learning_rate"], ["replicate"])


def cells(*grids: str) -> Cells:
    catalogue = Catalogue()
    return expand(parse("\n".join(['title = "t"', *grids]), catalogue), catalogue)


def keys(*grids: str) -> set[bytes]:
    return set(cells(*grids).columns["key"].tolist())


def with_subset(kind: str, count: int, seed: int = 1, grid: str = GRID) -> str:
    return grid + f"subset = {{ {kind} = {count}, seed = {seed} }}\n"


def is_balanced(rows: np.ndarray, sizes: list[int]) -> bool:
    counts = [np.bincount(column, minlength=size) for column, size in zip(rows.T, sizes, strict=True)]
    return all(count.max() - count.min() <= 1 for count in counts)


@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(-5, 2**70))
def test_a_latin_hypercube_is_balanced_on_every_axis_and_has_no_cell_twice(
    data: st.DataObject, sizes: list[int], seed: int
) -> None:
    count = data.draw(st.integers(1, math.prod(sizes)))
    rows = latin_hypercube(count, sizes, [f"axis{number}" for number in range(len(sizes))], seed)
    assert rows.shape == (count, len(sizes)) and len(np.unique(rows, axis=0)) == count
    assert (rows >= 0).all() and (rows < sizes).all() and is_balanced(rows, sizes)


def test_axes_of_a_latin_hypercube_are_independent() -> None:
    """In a regular order the value on one axis would follow from that on another."""
    rows = latin_hypercube(400, [2] * 12, [f"axis{number}" for number in range(12)], 0)
    correlations = np.corrcoef(rows.T) - np.eye(12)
    assert np.abs(correlations).max() < 0.25


@pytest.mark.parametrize("kind", ["latin_hypercube", "random"])
@pytest.mark.parametrize("count", [1, 24, 200, 481, 959, 960])
def test_a_subset_has_so_many_cells_of_the_full_grid_with_their_keys(kind: str, count: int) -> None:
    chosen = keys(with_subset(kind, count))
    assert len(chosen) == count and chosen <= (whole := keys(GRID))
    assert (count < 960) or chosen == whole


def test_every_value_of_every_axis_of_a_study_appears_equally_often() -> None:
    chosen = cells(with_subset("latin_hypercube", 200))
    columns = {**chosen.columns, "optimizer": np.array([chosen.cell(i).optimizer.name for i in range(len(chosen))])}
    for name, size in (("target_id", 2), ("width", 3), ("depth", 2), ("optimizer", 2), ("replicate", 5)):
        _, counts = np.unique(columns[name], return_counts=True)
        assert len(counts) == size and counts.max() - counts.min() <= 1, name


@pytest.mark.parametrize("kind", ["latin_hypercube", "random"])
def test_the_order_of_axes_and_values_and_other_grids_do_not_matter(kind: str) -> None:
    lines = GRID.strip().splitlines()[1:]
    other = "\n".join(["[[grid]]", *reversed(lines)]).replace("[4, 8, 16]", "[16, 4, 8]") + "\n"
    first = keys(with_subset(kind, 100))
    assert keys(with_subset(kind, 100, grid=other)) == first
    small = '[[grid]]\ntarget = ["sine"]\ndimension = [1]\nsamples = [77]\n'
    assert keys(small, with_subset(kind, 100)) == first | keys(small)
    assert keys(with_subset(kind, 100, seed=2)) != first


def test_a_larger_random_subset_contains_a_smaller_one() -> None:
    subsets = [keys(with_subset("random", count)) for count in (10, 300, 700, 960)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(subsets))


def test_a_subset_of_a_grid_that_is_too_large_to_be_multiplied_out() -> None:
    huge = GRID.replace("replicate = 5", f"replicate = {10**5}")
    chosen = cells(with_subset("latin_hypercube", 30, grid=huge))
    assert len(chosen) == 30 and len(np.unique(chosen.columns["replicate"])) == 30
    with pytest.raises(StudyError, match="cells, more than 10,000,000"):
        cells(huge)


def test_subsets_do_not_change_between_versions() -> None:
    """They are recorded: a study that is run again must mean the same cells."""
    axes = {"width": [4, 8, 16], "replicate": range(10), "target": ["sine", {"name": "logsin"}]}
    latin = SubsetSection(latin_hypercube=6, seed=1).rows(axes, "grid[0]")
    drawn = SubsetSection(random=6, seed=1).rows(axes, "grid[0]")
    assert (latin.tolist(), drawn.tolist()) == RECORDED


RECORDED = ([8, 11, 24, 35, 41, 58], [8, 10, 11, 22, 55, 58])
MISTAKES = {
    "{ latin_hypercube = 961 }": "grid[0].subset: asks for 961 cells of a grid that has 960",
    "{ random = 961, seed = 3 }": "grid[0].subset: asks for 961 cells of a grid that has 960",
    "{ random = 0 }": "grid[0].subset.random",
    "{ seed = 1 }": "either latin_hypercube or random",
    "{ random = 5, latin_hypercube = 5 }": "either latin_hypercube or random",
    "{ latinhypercube = 5 }": "Did you mean 'latin_hypercube'?",
    "200": "must be a table such as { latin_hypercube = 200, seed = 1 }",
}


@pytest.mark.parametrize("subset", MISTAKES)
def test_a_mistake_in_a_subset_is_a_sentence(subset: str) -> None:
    with pytest.raises(StudyError) as caught:
        cells(GRID + f"subset = {subset}\n")
    assert MISTAKES[subset] in str(caught.value)
