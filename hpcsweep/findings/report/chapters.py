"""The sections of a report's page: what is drawn, tabulated and noted under each heading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hpcsweep.findings import powerlaw, scaling, tables
from hpcsweep.findings.report import answers, noise, setup
from hpcsweep.findings.report.page import Image, Section
from hpcsweep.findings.report.report_figures import Chapter, Source
from hpcsweep.findings.tables import Rows

AGAINST = dict(zip((Chapter.WEIGHTS, Chapter.SAMPLES), answers.QUESTIONS, strict=True))
Images = Mapping[str, Mapping[str, Image]]  # by chapter, and by the name of the figure


def sections(source: Source, images: Images) -> Iterator[Section]:
    """Yield the sections that have something to show, in the order of the page."""
    table = source.table
    if table.cells["measured"].any():
        yield Section("The targets", tables=[answers.targets(source.dataset, source.smoothness)])
        yield Section("What was trained", tables=[setup.setup(source.dataset)])
        yield Section("The smallest errors", tables=[tables.best(table)])
        for chapter in Chapter:
            yield from _chapter(source, chapter, images.get(chapter, {}))
        yield Section("All medians over replicates", tables=[tables.medians(table)])
    messages = tables.messages(table)
    if messages.rows:
        yield Section("Failures and messages", tables=[messages])


def _chapter(source: Source, chapter: Chapter, images: Mapping[str, Image]) -> Iterator[Section]:
    """Yield the section of a chapter; nothing where it is empty, and no lead where it only says what is missing."""
    results, notes = list(_tables(source, chapter)), list(_missing(source, chapter, images))
    laws = source.laws[AGAINST[chapter]]["sup_lower"] if chapter in AGAINST else []
    if images or results:
        words = list(answers.sentences(laws))
        notes = [*_left_out(source, chapter), *notes]
        yield Section(chapter, chapter.name.lower(), list(images.values()), results, words, notes)
    elif notes:
        yield Section(chapter, notes=notes)


def _tables(source: Source, chapter: Chapter) -> Iterator[Rows]:
    if chapter in AGAINST:
        laws = source.laws[AGAINST[chapter]]
        if any(len(law.law.sizes) >= powerlaw.FEW for law in laws["sup_lower"]):
            yield answers.exponents(laws)
        needed = answers.needed(source.table, AGAINST[chapter])
        if needed.rows:
            yield needed
    if chapter == Chapter.SAMPLES and (levels := noise.levels(source.table)) is not None:
        yield levels
    if chapter == Chapter.METHODS and (compared := answers.methods(source.table)).rows:
        yield compared


def _left_out(source: Source, chapter: Chapter) -> Iterator[str]:
    """Say which cells do not enter a chapter."""
    if chapter in AGAINST and (words := scaling.left_out(source.table, AGAINST[chapter])):
        yield words


def _missing(source: Source, chapter: Chapter, images: Mapping[str, Image]) -> Iterator[str]:
    """Say why a figure is missing."""
    cells = source.table.cells
    if chapter == Chapter.SAMPLES and not images:
        yield "Errors are not drawn against samples because no network has two sample counts."
    if chapter == Chapter.PLACES and "picture_1" not in images:
        curves = cells[cells["dimension"] == 1]
        if not len(curves):
            reason = "the study has no one-dimensional cells"
        elif not curves["measured"].any():
            reason = "no one-dimensional cell has been measured"
        elif curves["data"].all():
            reason = "data are known at their rows only"
        else:
            reason = "no slices were stored with the results ([store] weights)"
        yield f"No network of one variable is pictured because {reason}."
