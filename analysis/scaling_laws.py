#!/usr/bin/env python
"""Print how errors fall with weights, samples or training time, with 95 % intervals beside theory. For login nodes."""

from __future__ import annotations

import argparse
import textwrap

from hpcsweep.findings import dataset, scaling, series


def smoothness(text: str) -> tuple[str, float]:
    """Return target and n of TARGET=N."""
    target, _, order = text.rpartition("=")
    return target, float(order)


def main() -> None:
    """Read a store and its shards, fit, print a paragraph for each law; with --epsilon, what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="results.h5")
    parser.add_argument("--against", choices=scaling.AGAINST, default="parameters", help="default: parameters")
    parser.add_argument("--error", choices=scaling.ERRORS, default="sup_lower", help="default: sup_lower")
    told = "n of C^n of a target, inf: smooth; may be repeated"
    parser.add_argument("--smoothness", type=smoothness, action="append", default=[], metavar="TARGET=N", help=told)
    told = "print the smallest width, weights and samples that reached this error instead"
    parser.add_argument("--epsilon", type=float, help=told)
    arguments = parser.parse_args()
    table = series.table(dataset.read(dataset.files(arguments.store)))
    if arguments.epsilon is not None:
        for against in scaling.INVERSE:
            for reach in scaling.smallest(table, arguments.epsilon, against, arguments.error):
                print(f"{reach.target}, {reach.dimension}-D, {reach.label}: {against} {reach}")
        return
    laws = scaling.laws(table, arguments.against, arguments.error, dict(arguments.smoothness))
    for law in laws:
        print(f"{law.target}, {law.dimension}-D, {law.label}")
        print(textwrap.indent(textwrap.fill(law.sentence, 100), "  "))
    if not laws:
        print(f"No line of cells is measured at two or more values of {arguments.against}.")


if __name__ == "__main__":
    main()
