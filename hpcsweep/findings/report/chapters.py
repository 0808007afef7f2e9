"""The page of a report, question by question: what is said, drawn and tabulated under each heading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hpcsweep.findings import tables
from hpcsweep.findings.report import answers, page, setup
from hpcsweep.findings.report.plates import AVERAGE, CHANCE, METHODS, PLACES, PROOFS, SAMPLES, WEIGHTS, Source

LEADS = {  # formulas between dollars, what follows a ^ in braces is raised
    WEIGHTS: "To come within ε of every function on a d-dimensional box whose derivatives up to order n are at most 1 "
    "takes a ReLU network at least $c (1/ε)^{d/(2n)}$ weights (Yarotsky 2017): for the worst of these functions, "
    "errors fall no faster than $weights^{−2n/d}$. A single target may be easier, and networks with another activation "
    "have other bounds, so that this slope is there for orientation. Here networks of different sizes see the most "
    "samples of the study.",
    SAMPLES: "To come within ε of every ReLU network of a fixed shape with bounded weights takes any method at least "
    "$c (1/ε)^{d}$ samples (Berner, Grohs, Voigtlaender 2023): for the worst of them, errors fall no faster than "
    "$samples^{−1/d}$. A single target may be easier, and smooth ones are: this slope is there for orientation. Here "
    "the largest networks see different numbers of samples.",
    METHODS: "Errors by what training cost and, where the study has several methods, at equal networks and samples, "
    "each method with the steps that the study gives it (see what was trained).",
    AVERAGE: "Training lowers an average; what counts here is the largest error anywhere. The more dimensions, the "
    "more of it a test at random points can miss.",
    PROOFS: "The largest error that was found is a lower bound of the sup-norm error. Where branch and bound has "
    "proved an upper one, the truth is between the two.",
    PLACES: "Networks beside their targets where the error is largest, and where in the domain that is.",
    CHANCE: "Replicates draw initial weights and samples anew; costs are those of the machine that ran them.",
}
AGAINST = dict(zip((WEIGHTS, SAMPLES), answers.QUESTIONS, strict=True))
Shown = Mapping[str, Mapping[str, str]]  # the HTML of the figures, by chapter and name


def chapters(source: Source, shown: Shown) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the parts, as HTML, of each chapter that has something to show."""
    table = source.table
    yield "The targets", [page.table(answers.targets(source.dataset, source.smoothness))]
    yield "What was trained", [page.table(setup.setup(source.dataset))]
    yield "The smallest errors", [page.table(tables.best(table))]
    for title, lead in LEADS.items():
        drawn, told = list(shown.get(title, {}).values()), list(_tables(source, title))
        missing = [page.paragraph(words, "note") for words in _absent(source, shown, title)]
        if drawn or told:
            yield title, [page.lead(lead), *drawn[:1], *told, *drawn[1:], *missing]
        elif missing:
            yield title, missing
    yield "All medians over replicates", [page.table(tables.medians(table))]


def _tables(source: Source, title: str) -> Iterator[str]:
    """Yield the tables of a chapter."""
    if title in AGAINST:
        found = source.laws[AGAINST[title]]
        if found["sup_lower"]:
            yield page.table(answers.exponents(found))
            yield page.details("The same in words", page.sentences(answers.sentences(found["sup_lower"])))
        needed = answers.needed(source.table, AGAINST[title])
        if needed.rows:
            yield page.table(needed)
    if title == METHODS and (compared := answers.methods(source.table)).rows:
        yield page.table(compared)


def _absent(source: Source, shown: Shown, title: str) -> Iterator[str]:
    """Say why a figure is not there."""
    cells = source.table.cells
    if title == SAMPLES and title not in shown:
        yield "There is no figure against samples, as none of the largest networks is measured at two sample counts."
    if title == PLACES and "picture_1" not in shown.get(title, {}):
        curves = cells[cells["dimension"] == 1]
        if not len(curves):
            reason = "the study has no one-dimensional cell"
        elif not curves["measured"].any():
            reason = "no one-dimensional cell has been measured"
        else:
            reason = "no slices were kept beside the store ([store] weights)"
        yield f"There is no picture of a network of one variable, as {reason}."
