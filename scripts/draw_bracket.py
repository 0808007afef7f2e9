#!/usr/bin/env python
"""Draw a network, its error, and the bracket of its sup-norm error that closes: docs/figures/bracket.png.

Trains one network of two variables by a study in a temporary folder, then proves ever better upper bounds with ever
more boxes: by straight lines alone, and by Taylor models. Prints JSON lines of the numbers in the picture; --quick
trains less.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import hpcsweep  # before torch: the code path of MKL

# isort: split

import matplotlib.pyplot as pyplot
import numpy as np
import torch
from bench_taylor import LinesAlone
from json_lines import show
from matplotlib.axes import Axes
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.certify import Pool, advance, start
from hpcsweep.approx.supnorm.certificate.enclosure.difference import Difference
from hpcsweep.approx.supnorm.certificate.methods import Methods
from hpcsweep.approx.supnorm.functions import terms_of

GAP, BOXES, RASTER = 1e-6, 200_000, 400
STUDY = {
    "title": "one network",
    "grid": [{"target": "runge", "dimension": 2, "width": 16, "samples": 400, "optimizer": "adam+ssbroyden"}],
    "training": {"adam": {"steps": 1000}, "ssbroyden": {"steps": 600}},
}


def trained(quick: bool) -> torch.nn.Module:
    """Return the network, with its target and domain."""
    study = hpcsweep.Study.from_dict(STUDY)
    if quick:
        study = study.with_changes({"training.adam.steps": 100, "training.ssbroyden.steps": 50})
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "one.h5"
        hpcsweep.run(study, store)
        return hpcsweep.network(store, study.cells()[0].key)


def closing(difference: Difference, pool: Pool, methods: Methods, most: int) -> tuple[list[int], list[float]]:
    """Return how many boxes were bounded, and the upper end that was proved by these, round by round."""
    boxes, uppers = [], []
    while pool.done < most and pool.status != "closed":
        pool = advance(difference, pool, GAP, max(64, pool.done // 8), methods=methods)
        boxes.append(pool.done)
        uppers.append(pool.bracket.upper)
    return boxes, uppers


def draw(axes: np.ndarray, network: torch.nn.Module, where: tuple[float, ...]) -> None:
    """Draw the network and its error as images; a circle is where the lower end is reached."""
    lines = [torch.linspace(low, high, RASTER, dtype=torch.float64) for low, high in network.domain]
    points = torch.cartesian_prod(*lines)
    with torch.no_grad():
        values = network(points).reshape(RASTER, RASTER).T
        error = values - network.target(points).reshape(RASTER, RASTER).T
    _image(axes[0], values, network, "viridis", "network")
    reach = float(error.abs().max())
    _image(axes[1], error, network, "RdBu_r", "network − target", reach)
    axes[1].plot(*where, "o", color="black", fillstyle="none", markersize=11)


def _image(axes: Axes, values: Tensor, network: torch.nn.Module, colours: str, title: str, reach: float = 0.0) -> None:
    extent = [edge for side in network.domain for edge in side]
    limits = {"vmin": -reach, "vmax": reach} if reach else {}
    image = axes.imshow(values, origin="lower", extent=extent, cmap=colours, **limits)
    axes.figure.colorbar(image, ax=axes, shrink=0.8)
    axes.set(title=title, xlabel="$x_1$", ylabel="$x_2$")


def main() -> None:
    """Train, prove and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="train less; under 50 s")
    parser.add_argument("-o", "--output", type=Path, default=Path("bracket.png"), metavar="FILE")
    options = parser.parse_args()
    network = trained(options.quick)
    found = hpcsweep.measure(network, network.target)
    show("lower end", found.lower, "1")
    terms = terms_of(network, network, network.domain, None)
    difference = Difference(network.target, network, network.domain, terms)
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.2), layout="constrained", width_ratios=(1, 1, 1.15))
    draw(axes, network, found.where)
    ways = {"straight lines": (LinesAlone(difference), (6, 4), "left")}
    ways["Taylor models"] = (Methods(difference), (-6, -8), "right")
    for name, (methods, offset, side) in ways.items():
        begun = start(len(network.domain), found.lower, found.where)
        boxes, uppers = closing(difference, begun, methods, BOXES // (20 if options.quick else 1))
        show(f"upper end by {name}", uppers[-1], "1")
        show(f"boxes by {name}", boxes[-1], "boxes")
        [line] = axes[2].loglog(boxes, uppers, ".-", markersize=4)
        beside = {"textcoords": "offset points", "fontsize": "small"}
        middle = int(np.argmin(np.abs(np.log(uppers) - np.log(uppers[0] * found.lower) / 2)))
        axes[2].annotate(name, (boxes[middle], uppers[middle]), offset, color=line.get_color(), ha=side, **beside)
    axes[2].axhline(found.lower, color="black", linewidth=1)
    axes[2].annotate("lower end", (64, found.lower), (0, 4), **beside)
    axes[2].set(title="bracket of the sup-norm error", xlabel="boxes bounded")
    figure.savefig(options.output, dpi=150)


if __name__ == "__main__":
    main()
