"""Figures of laws, races, norms, brackets and places: they draw the numbers of the store, or say why they do not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import xarray
from matplotlib.axes import Axes

from hpcsweep.config import Cell
from hpcsweep.findings import figures, scaling, series
from hpcsweep.findings.dataset import read
from hpcsweep.findings.figures.worst_points import kinds
from hpcsweep.store.store import Record
from tests.findings.stores import Maker, cells_of, error, make, record
from tests.findings.test_figures import panels, words

STUDY = """
title = "Further"
[[grid]]
target = "wave"
dimension = [1, 2]
width = [4, 8, 16]
depth = 1
samples = [10, 100]
activation = "relu"
optimizer = ["adam", "sgd"]
replicate = 3
"""


def rich(cell: Cell) -> Record:
    """A cell with everything that the meter says: proved in 1-D, worst on the boundary for adam, in a gap for sgd."""
    adam, proved = cell.optimizer["name"] == "adam", cell.dimension == 1
    sup = error(cell)
    where = [(-1.0 if cell.replicate else 1.0) if adam else 0.25 * cell.replicate] * cell.dimension
    proof = {"sup_upper": 1.01 * sup, "certificate": 1} if proved else {"certificate": 4}
    uniform = {"sup_uniform": (0.9 if proved else 0.5) * sup, "eval_seconds": 1.0}
    worst = {"boundary": int(adam), "sample_distance": 1.0 if cell.samples == 100 else 0.01, "sup_where": where}
    return record(cell, train_seconds=1e-3 * cell.parameters, **{**proof, **uniform, **worst})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> xarray.Dataset:
    return read(make(tmp_path_factory.mktemp("rich") / "results.h5", STUDY, rich))


@pytest.mark.parametrize(
    "draw",
    [figures.brackets, figures.uniform_points, figures.worst_points, figures.costs],
    ids=lambda draw: draw.__name__,
)
def test_what_was_not_measured_is_not_drawn(
    draw: Callable[[xarray.Dataset], object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert draw(read(make(tmp_path_factory.mktemp("plain") / "results.h5", STUDY))) is None


def dots(axes: Axes) -> list[tuple[float, float]]:
    """Return the single cells that a panel shows."""
    marks = [line for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() not in ("", "None")]
    return sorted(point for line in marks for point in zip(*map(np.asarray, line.get_data()), strict=True))


def cells(dimension: int) -> list[Cell]:
    return [cell for cell in cells_of(STUDY)[1] if cell.dimension == dimension]


def test_laws_are_drawn_through_their_medians(data: xarray.Dataset) -> None:
    figure = figures.scaling_laws(data, smoothness={"wave": 1})
    axes = panels(figure)["wave, 2-D"]
    chosen = [c for c in cells(2) if c.samples == 100 and c.replicate == 1]
    assert dots(axes) == [pytest.approx(point) for point in sorted((c.parameters, error(c)) for c in chosen)]
    written = [text.get_text() for text in axes.texts]
    assert "theory: 0.5" in written and written.count("exponent 1.00") == 2  # replicates fall alike: no interval
    fitted = [line for line in axes.lines if len(line.get_xdata()) > 100]
    for line in fitted:
        x, y = line.get_data()
        assert np.diff(np.log(y)) / np.diff(np.log(x)) == pytest.approx(-1)
    (bound,) = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_color() == "#000000"]
    x, y = bound.get_data()
    assert np.log(y[1] / y[0]) / np.log(x[1] / x[0]) == pytest.approx(-0.5)


def test_the_other_error_stands_beside_a_single_line(data: xarray.Dataset) -> None:
    assert "L2" not in words(figures.scaling_laws(data, beside="l2_error"))  # two methods: there is no room
    single = data.isel(cell=np.flatnonzero(data["optimizer"].values == "adam"))
    figure = figures.scaling_laws(single, beside="l2_error")
    axes = panels(figure)["wave, 2-D"]
    chosen = [c for c in cells(2) if (c.samples, c.optimizer["name"]) == (100, "adam")]
    medians = [(c.parameters, error(c)) for c in chosen if c.replicate == 1]
    assert dots(axes) == [pytest.approx(p) for p in sorted(medians + [(x, y / 5) for x, y in medians])]
    written = [text.get_text().partition(" [")[0] for text in axes.texts]
    assert {"sup-norm 1.00", "L2 1.00"} <= set(written)
    whiskers = [lines for lines in axes.collections if hasattr(lines, "get_segments")]
    drawn = sorted(tuple(segment[:, 1]) for lines in whiskers for segment in lines.get_segments() if len(segment) == 2)
    expected = []
    for size in {c.parameters for c in chosen}:
        errors = [error(c) for c in chosen if c.parameters == size]
        expected += [(min(errors), max(errors)), (min(errors) / 5, max(errors) / 5)]
    assert drawn == [pytest.approx(ends) for ends in sorted(expected)]


def test_the_other_error_of_a_line_without_a_law_is_left_out(make_store: Maker) -> None:
    def uneven(cell: Cell) -> Record:  # of sgd, sup-norm errors fall but once with time, L2 errors at every size
        number = (4, 8, 16).index((cell.parameters - 1) // (cell.dimension + 2))
        grown = {"sup_lower": (100.0, 110.0, 50.0)[number]} if cell.optimizer["name"] == "sgd" else {}
        return record(cell, train_seconds=1e-3 * cell.parameters * cell.samples, **grown)

    dataset = read(make_store(STUDY, uneven))
    laws = {
        error: {law.line for law in scaling.laws(series.table(dataset), "train_seconds", error) if law.law.determined}
        for error in ("sup_lower", "l2_error")
    }
    assert laws == {"sup_lower": {0}, "l2_error": {0, 1}}
    assert "L2" in words(figures.scaling_laws(dataset, "train_seconds", beside="l2_error"))


def test_many_brackets_stand_in_rows(make_store: Maker) -> None:
    text = STUDY.replace("dimension = [1, 2]", "dimension = [1, 2, 3, 4, 5]")
    figure = figures.brackets(
        read(make_store(text, lambda cell: record(cell, sup_upper=1.01 * error(cell), certificate=1)))
    )
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [f"wave, {dimension}-D" for dimension in range(1, 6)] and len(figure.axes) == 10


def test_any_power_is_said_and_not_drawn(make_store: Maker) -> None:
    data = read(make_store(STUDY.replace("[10, 100]", "[10, 100, 1000]")))
    figure = figures.scaling_laws(data, "samples", smoothness={"wave": math.inf})
    axes = panels(figure)["wave, 1-D"]
    assert "theory: any power" in [text.get_text() for text in axes.texts]
    assert not [line for line in axes.lines if line.get_color() == "#000000"]
    assert "dotted" not in words(figure)


def test_an_exponent_that_may_be_0_is_an_interval(make_store: Maker) -> None:
    def noisy(cell: Cell) -> Record:
        return record(cell, sup_lower=float(cell.parameters) ** (0, -1, 1)[cell.replicate])

    axes = panels(figures.scaling_laws(read(make_store(STUDY, noisy))))["wave, 1-D"]
    assert all(text.get_text().startswith("exponent in [−") for text in axes.texts)


def test_only_networks_that_a_theorem_is_about_stand_beside_it(make_store: Maker) -> None:
    text = STUDY.replace('"relu"\noptimizer = ["adam", "sgd"]', '["relu", "tanh"]\noptimizer = "adam"')
    figure = figures.scaling_laws(read(make_store(text)), smoothness={"wave": 1})
    assert "theory (only ReLU): 0.5" in [text.get_text() for text in panels(figure)["wave, 2-D"].texts]
    assert "Activation: relu or tanh." in words(figure)
    figure = figures.scaling_laws(read(make_store(text.replace('"relu", ', ""))), smoothness={"wave": 1})
    assert not [text for text in panels(figure)["wave, 2-D"].texts if "theory" in text.get_text()]
    assert "Activation: tanh." in words(figure) and "dotted" not in words(figure)


def test_each_depth_has_its_bound_of_smooth_targets(make_store: Maker) -> None:
    figure = figures.scaling_laws(
        read(make_store(STUDY.replace("depth = 1", "depth = [1, 2]"))), smoothness={"wave": np.inf}
    )
    axes = panels(figure)["wave, 2-D"]
    assert "theory: 2 or 4" in [text.get_text() for text in axes.texts]
    dotted = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_color() == "#000000"]
    slopes = [np.diff(np.log(line.get_ydata())) / np.diff(np.log(line.get_xdata())) for line in dotted]
    assert np.ravel(slopes) == pytest.approx([-2, -4])


def test_a_race_steps_down_the_best_medians(data: xarray.Dataset) -> None:
    figure = figures.optimizer_race(data)
    axes = panels(figure)["wave, 1-D"]
    assert dots(axes) == [pytest.approx(p) for p in sorted((1e-3 * c.parameters, error(c)) for c in cells(1))]
    steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert len(steps) == 2
    for line in steps:
        assert (np.diff(line.get_ydata()) <= 0).all()
    # The largest network with the most samples is the best of each: its middle replicate is the last step.
    largest = [error(c) for c in cells(1) if (c.parameters, c.samples, c.replicate) == (49, 100, 1)]
    assert sorted(line.get_ydata()[-1] for line in steps) == pytest.approx(sorted(largest))


def test_every_cell_stands_against_its_average(data: xarray.Dataset) -> None:
    figure = figures.sup_against_l2(data)
    axes = panels(figure)["wave, 2-D"]
    assert dots(axes) == [pytest.approx(point) for point in sorted((error(c) / 5, error(c)) for c in cells(2))]
    assert {"1×", "10×"} == {text.get_text() for text in axes.texts}


def test_brackets_reach_from_lower_to_upper(data: xarray.Dataset) -> None:
    figure = figures.brackets(data)
    above, below = figure.axes
    assert "36 of 72" in words(figure) and above.get_title(loc="left") == "wave, 1-D"
    (bars,) = above.collections
    ends = sorted(tuple(segment[:, 1]) for segment in bars.get_segments())
    assert ends == [pytest.approx((error(c), 1.01 * error(c))) for c in sorted(cells(1), key=error)]
    gaps = np.concatenate([line.get_ydata() for line in below.lines])
    assert len(gaps) == 36 and gaps == pytest.approx(0.01)


def test_uniform_points_are_a_share_of_the_bracket(data: xarray.Dataset) -> None:
    figure = figures.uniform_points(data)
    (axes,) = figure.axes
    shares = [line.get_ydata() for line in axes.lines if line.get_marker() == "o"]
    assert [len(share) for share in shares] == [36, 36]
    assert shares[0] == pytest.approx(0.9) and shares[1] == pytest.approx(0.5)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["wave\n1-D", "wave\n2-D"]


def test_places_are_counted(data: xarray.Dataset) -> None:
    figure = figures.worst_points(data)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([0.5, 0.25, 0.25] * 2)  # adam; sgd with 100 samples; sgd with 10
    table = series.table(data).cells
    own = table[table["dimension"] == 2]
    numbers = kinds(own, data["sup_where"].values[own.index])
    assert (numbers == np.where(own["optimizer"] == "adam", 0, np.where(own["samples"] == 100, 1, 2))).all()


def test_replicates_are_spread_about_their_median(data: xarray.Dataset, make_store: Maker) -> None:
    figure = figures.replicates(data)
    for axes in figure.axes:
        steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
        for line in steps:  # errors go as 1, 4, 9
            assert np.unique(line.get_xdata().round(9)) == pytest.approx([0.25, 1, 2.25])
            assert line.get_ydata()[-1] == 1
    single = STUDY.replace("replicate = 3", "replicate = 1")
    assert figures.replicates(read(make_store(single, rich, "single.h5"))) is None


def test_costs_compare_what_was_predicted(data: xarray.Dataset) -> None:
    figure = figures.costs(data.assign(predicted_seconds=("cell", np.full(data.sizes["cell"], 1.5))))
    assert dots(figure.axes[0]) == [
        pytest.approx(p) for p in sorted((1.5, 1 + 1e-3 * c.parameters) for c in cells_of(STUDY)[1])
    ]


def test_nothing_measured(make_store: Maker) -> None:
    dataset = read(make_store(STUDY, lambda cell: Record("diverged", {})))
    assert figures.scaling_laws(dataset) is figures.sup_against_l2(dataset) is figures.brackets(dataset) is None
    assert figures.uniform_points(dataset) is figures.worst_points(dataset) is figures.replicates(dataset) is None
    assert "nothing measured" in figures.optimizer_race(dataset).axes[0].texts[0].get_text()
