#!/usr/bin/env python
"""How well costs were predicted: what the cells of a store took beside what had been predicted of them.

The median over cells of |predicted - taken| / taken, training and measuring together, and the sums of both. Prints one
JSON line per figure, where `floor` is the most that is demanded of an idle machine. `run` makes a store; or --run STUDY
does, here, on one rank, by the processor time of this process, so that other work counts little.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from json_lines import show

from hpcsweep.cluster import launch
from hpcsweep.store.reading import opened

DEMANDED = 0.25


def main() -> None:
    """Read a store and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="a store that `run` has filled")
    parser.add_argument("--run", metavar="STUDY", type=Path, help="a study to run first, into this store")
    arguments = parser.parse_args()
    if arguments.run:
        time.perf_counter = time.process_time
        launch.run(arguments.run, arguments.store, "none")
    with opened(arguments.store) as file:
        columns = (file[name][:] for name in ("train_seconds", "eval_seconds", "predicted_seconds"))
        training, measuring, predicted = np.stack(list(columns))[:, file["eval_seconds"][:] > 0]
    taken = training + measuring
    show("costs_median_error", np.median(abs(predicted - taken) / taken), "of what was taken", DEMANDED)
    show("costs_median_ratio", np.median(taken / predicted), "times the prediction")
    for share in (5, 95):
        show(f"costs_ratio_{share}", np.percentile(taken / predicted, share), "times the prediction")
    for name, seconds in (("predicted", predicted), ("training", training), ("measuring", measuring)):
        show(f"costs_{name}", seconds.sum(), "s")


if __name__ == "__main__":
    main()
