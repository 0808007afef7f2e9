"""The figures draw the numbers that the store holds, and say what they leave out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcsweep.config import Cell
from hpcsweep.errors import StoreError
from hpcsweep.findings import figures
from hpcsweep.findings.dataset import read
from hpcsweep.store.store import Record
from tests.findings.stores import STUDY, Maker, Records, cells_of, error, make, record

CURVES = """
title = "Curves"
[[grid]]
target = "wave"
dimension = 1
width = [4, 8]
depth = 1
samples = [10, 100]
optimizer = ["adam", "sgd"]
replicate = 3
"""


PLANE = CURVES.replace("dimension = 1", "dimension = 2")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> xarray.Dataset:
    return read(make(tmp_path_factory.mktemp("curves") / "results.h5", CURVES))


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each line, by label."""
    return {str(line.get_label()): list(zip(*line.get_data(), strict=True)) for line in axes.lines}


def words(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def medians(text: str, target: str, dimension: int, optimizer: str, x: str, **fixed: int) -> list[tuple[float, float]]:
    """Return (x, median error) of one line, the slow way."""
    chosen: dict[int, list[float]] = {}
    for cell in cells_of(text)[1]:
        width = cell.model["hidden"][0]
        named = (cell.target["name"], cell.dimension, cell.optimizer["name"])
        held = {"samples": cell.samples, "width": width}
        if named == (target, dimension, optimizer) and all(held[name] == value for name, value in fixed.items()):
            chosen.setdefault(getattr(cell, x), []).append(error(cell))
    return [(position, float(np.median(errors))) for position, errors in sorted(chosen.items())]


def test_lines_against_weights_are_medians_at_the_most_samples(full: Path) -> None:
    figure = figures.sup_against_weights(read(full))
    assert list(panels(figure)) == ["bumps, 1-D", "bumps, 2-D", "wave, 1-D", "wave, 2-D"]
    for title, axes in panels(figure).items():
        assert axes.get_xscale() == axes.get_yscale() == "log"
        assert list(lines(axes)) == ["adam", "sgd"]
        for optimizer, points in lines(axes).items():
            expected = medians(STUDY, title[:-5], int(title[-3]), optimizer, "parameters", samples=100)
            np.testing.assert_allclose(points, expected, rtol=1e-12)
    assert "at 100 samples" in words(figure) and "over 3 replicates" in words(figure)
    assert "left out" not in words(figure)


def test_lines_against_samples_are_medians_at_the_largest_width(full: Path) -> None:
    figure = figures.sup_against_samples(read(full))
    drawn = lines(panels(figure)["wave, 2-D"])
    for optimizer in ("adam", "sgd"):
        expected = medians(STUDY, "wave", 2, optimizer, "samples", width=16)
        assert len(expected) == 2
        np.testing.assert_allclose(drawn[optimizer], expected, rtol=1e-12)
    assert "at width 16" in words(figure)


def test_bands_and_whiskers_are_the_whole_range(few: xarray.Dataset) -> None:
    axes = figures.sup_against_weights(few).axes[0]
    cells = [c for c in cells_of(CURVES)[1] if c.samples == 100 and c.optimizer["name"] == "adam"]
    smallest = [c for c in cells if c.model["hidden"] == [4]]
    ends = [min(map(error, smallest)), max(map(error, smallest))]
    band, whiskers = axes.collections[0], axes.collections[1]
    assert sorted(whiskers.get_segments()[0][:, 1]) == pytest.approx(ends)
    heights = band.get_paths()[0].vertices
    at = heights[heights[:, 0] == smallest[0].parameters, 1]
    assert [at.min(), at.max()] == pytest.approx(ends)


def test_axes_are_labelled_and_say_that_it_is_a_lower_bound(few: xarray.Dataset, make_store: Maker) -> None:
    axes = figures.sup_against_weights(few).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trainable parameters", "sup-norm error (lower bound)")
    proved = make_store(CURVES, lambda cell: record(cell, sup_upper=2 * error(cell)))
    figure = figures.sup_against_samples(read(proved))
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("training samples", "sup-norm error")
    assert "units of the target" in words(figure)


def test_what_did_not_end_well_is_left_out_and_counted(make_store: Maker) -> None:
    def some(cell: Cell) -> Record | None:
        if cell.replicate == 0:
            return {"adam": None, "sgd": Record("diverged", {})}[cell.optimizer["name"]]
        if cell.replicate == 1 and cell.optimizer["name"] == "adam":
            return record(cell, sup_lower=np.nan)
        return record(cell, status="out of budget")

    figure = figures.sup_against_weights(read(make_store(CURVES, some)))
    drawn = lines(figure.axes[0])
    cells = [c for c in cells_of(CURVES)[1] if c.samples == 100 and c.optimizer["name"] == "adam" and c.replicate == 2]
    np.testing.assert_allclose(drawn["adam"], [(c.parameters, error(c)) for c in cells], rtol=1e-12)
    parts = ("6 of 12 cells left out", "2 diverged", "2 not finite", "2 pending", "over 1 to 2 replicates")
    assert all(part in words(figure) for part in parts)


def test_unlike_sample_counts_are_not_compared(make_store: Maker) -> None:
    """Where the most samples are still pending for a network, it has no point: fewer samples would mislead."""
    figure = figures.sup_against_weights(
        read(make_store(CURVES, lambda c: None if c.samples == 100 and c.model["hidden"] == [8] else record(c)))
    )
    drawn = lines(figure.axes[0])
    assert [x for x, _ in drawn["adam"]] == [13]
    nothing = figures.sup_against_weights(read(make_store(CURVES, lambda cell: None)))
    assert "nothing measured" in nothing.axes[0].texts[0].get_text() and not nothing.axes[0].lines


def test_samples_per_parameter_make_one_line(make_store: Maker) -> None:
    text = CURVES.replace("[10, 100]", "[{ per_parameter = 2.0 }]")
    figure = figures.sup_against_weights(read(make_store(text)))
    assert [x for x, _ in lines(figure.axes[0])["sgd"]] == [13, 25]
    assert "at 26 to 50 samples" in words(figure)


def test_panels_that_hold_different_samples_say_so(make_store: Maker) -> None:
    second = CURVES.split("[[grid]]")[1].replace('"wave"', '"bumps"').replace("[10, 100]", "30")
    figure = figures.sup_against_weights(read(make_store(f"{CURVES}[[grid]]{second}")))
    assert list(panels(figure)) == ["wave, 1-D, samples 100", "bumps, 1-D, samples 30"]


FACTORS = {
    "depth = 1": ("depth = [1, 2]", ["adam, 1 hidden layer", "sgd, 1 hidden layer"]),
    "replicate = 3": ('activation = ["relu", "tanh"]', ["adam, relu", "adam, tanh"]),
    'optimizer = ["adam", "sgd"]': ("learning_rate = [0.5, 0.25]", ["learning rate 0.5", "learning rate 0.25"]),
    "width = [4, 8]\ndepth = 1": ("model = [{ hidden = [4, 3] }, { hidden = [8, 5] }]", ["adam", "sgd"]),
}


@pytest.mark.parametrize("replaced", FACTORS)
def test_a_line_for_each_factor(replaced: str, make_store: Maker) -> None:
    replacement, expected = FACTORS[replaced]
    figure = figures.sup_against_weights(read(make_store(CURVES.replace(replaced, replacement))))
    assert set(expected) <= set(labels(figure))
    assert all(len(points) == 2 for points in lines(figure.axes[0]).values())


def test_what_a_factor_determines_makes_no_label(make_store: Maker) -> None:
    own = "[training.sgd]\nlearning_rate = 0.5\n"
    assert labels(figures.sup_against_weights(read(make_store(CURVES + own)))) == ["adam", "sgd"]
    alone = CURVES.replace('["adam", "sgd"]', '"adam"')
    assert labels(figures.sup_against_weights(read(make_store(alone)))) == ["mlp, adam"]


def test_batches_that_are_shares_of_the_samples_make_two_lines(make_store: Maker) -> None:
    text = CURVES.replace("[10, 100]", "[50, 110, 490]") + "batch = [{ per_sample = 0.2 }, { per_sample = 0.02 }]\n"
    figure = figures.sup_against_samples(read(make_store(text)))
    assert labels(figure) == [f"{name}, batch {share} n" for name in ("adam", "sgd") for share in (0.2, 0.02)]
    assert all(len(points) == 3 for points in lines(figure.axes[0]).values())


def test_all_lines_differ_in_print(make_store: Maker) -> None:
    text = CURVES.replace("replicate = 3", 'activation = ["a", "b", "c", "d"]').replace("depth = 1", "depth = [1, 2]")
    axes = figures.sup_against_weights(read(make_store(text))).axes[0]
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(axes.lines) == len(looks) == 16
    assert len({line.get_color() for line in axes.lines}) == 2  # adam and sgd
    assert len({str(line.get_linestyle()) for line in axes.lines}) > 3  # in depth and activation


def test_names_with_dollars_are_no_formulas(make_store: Maker) -> None:
    text = CURVES.replace('"wave"', '{ name = "wave", label = "$\\\\frac$" }').replace(
        '"sgd"', '{ name = "sgd", label = "a$^$" }'
    )
    figure = figures.sup_against_weights(read(make_store(text)))
    figure.savefig(io.BytesIO(), format="png")  # a formula that is none would raise
    assert labels(figure) == ["adam", r"a\$^\$"]


def test_panels_are_a_matrix_and_share_the_error_axis(full: Path) -> None:
    figure = figures.sup_against_weights(read(full))
    axes = panels(figure)
    assert axes["wave, 1-D"].get_ylim() == axes["wave, 2-D"].get_ylim() != axes["bumps, 1-D"].get_ylim()
    cells = [axes.get_subplotspec() for axes in figure.axes]
    assert [(cell.rowspan.start, cell.colspan.start) for cell in cells] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_figure_has_only_so_many_panels(make_store: Maker) -> None:
    names = [f"target_{i:02}" for i in range(21)]
    text = CURVES.replace('"wave"', str(names).replace("'", '"')).replace("replicate = 3", "")
    figure = figures.sup_against_weights(read(make_store(text, lambda cell: Record("done", {"sup_lower": 1.0}))))
    assert len(figure.axes) == 18 and "3 further panels are not drawn" in words(figure)


def peaked(cell: Cell) -> Record:
    """Ratios of sup-norm to L2 error that grow with the replicate, most of all for sgd with 100 samples."""
    ratio = 2.0 + cell.replicate + 10 * (cell.optimizer["name"] == "sgd") + 5 * (cell.samples == 100)
    return record(cell, l2_error=error(cell) / ratio)


def mark(figure: Figure) -> tuple[float, float]:
    """Return where the maximum is marked."""
    (marked,) = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    return float(marked.get_xdata()[0]), float(marked.get_ydata()[0])


def test_a_picture_shows_the_slice_and_marks_the_maximum(make_store: Maker) -> None:
    path = make_store(CURVES, peaked)
    figure = figures.picture(read(path), path)
    assert figure is not None
    worst = next(c for c in cells_of(CURVES)[1] if (c.samples, c.optimizer["name"], c.replicate) == (100, "sgd", 2))
    positions, target, network = record(worst).slice
    above, below = figure.axes
    np.testing.assert_array_equal(above.lines[0].get_data(), (positions, target))
    np.testing.assert_array_equal(above.lines[1].get_data(), (positions, network))
    np.testing.assert_array_equal(below.lines[0].get_ydata(), np.abs(target - network))
    assert mark(figure) == (0.3, error(worst))
    assert below.get_ylim()[0] == 0 and below.get_ylim()[1] > error(worst)
    for part in ("wave, 1-D", "mlp, depth 1, width 4 (13 parameters)", "100 samples", "sgd", "replicate 2", worst.key):
        assert part in words(figure)
    assert "19 × the L2 error" in below.texts[0].get_text()


def test_pictures_are_of_the_worst_settings_and_the_best_cell(make_store: Maker) -> None:
    path = make_store(CURVES, peaked)
    shown = [words(figure) for figure in figures.pictures(read(path), path, most=3)]
    assert len(shown) == 4
    assert all("sgd" in about and "replicate 2" in about for about in shown[:3])
    assert [("100 samples" in about) for about in shown[:3]] == [True, True, False]
    assert all(part in shown[3] for part in ("adam", "width 8", "100 samples", "replicate 0"))
    assert len(figures.pictures(read(path), path, most=1)) == 1


@pytest.mark.parametrize(
    ("text", "records"),
    [
        (CURVES, lambda cell: Record("done", record(cell).values)),
        (CURVES + "[store]\nweights = false\n", record),
        (PLANE, record),
        (CURVES, lambda cell: None),
    ],
    ids=["no slices", "no weights", "two dimensions", "unfinished"],
)
def test_no_picture_without_a_slice(text: str, records: Records, make_store: Maker) -> None:
    path = make_store(text, records)
    dataset = read(path)
    assert figures.picture(dataset, path) is None and figures.pictures(dataset, path) == []


def test_a_picture_of_a_chosen_cell(make_store: Maker) -> None:
    path = make_store(PLANE)
    cell = cells_of(PLANE)[1].cell(5)
    figure = figures.picture(read(path), path, cell.key)
    assert figure is not None and mark(figure) == (0.3, error(cell))
    assert "first coordinate" in figure.axes[1].get_xlabel()
    with pytest.raises(StoreError, match="no cell 'abc'"):
        figures.picture(read(path), path, "abc")
