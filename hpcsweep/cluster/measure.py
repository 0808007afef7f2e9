"""The command `measure` with --network: anything that can be called, measured on every rank of this launch."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsweep.approx.supnorm import files
from hpcsweep.approx.supnorm.measured import Measured, finalize
from hpcsweep.approx.supnorm.measurement import planned
from hpcsweep.approx.supnorm.obstacles import obstacle
from hpcsweep.approx.supnorm.outputs import Decision, MeasuredOutputs, refutes, with_remarks
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.threshold import Below, proving, threshold_of
from hpcsweep.cluster import slurm
from hpcsweep.cluster.checkpoints import Saver
from hpcsweep.cluster.measurements import Measurements, digest
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.progress import Style, display
from hpcsweep.cluster.stopping import AGAIN
from hpcsweep.cluster.workforce import assemble
from hpcsweep.study.schema import SupNormSection
from hpcsweep.texts import visible

CENTRAL = ("central_share", "central_l2_error", "central_sup_lower")  # what is told of the central part
_VERDICTS = {"proved": 0, "refuted": 1, "undecided": 3}  # exit codes


def named(
    names: Mapping[str, Any],
    chosen: SupNormSection,
    style: Style,
    folder: Path,
    options: RunOptions,
    below: float | None = None,
) -> tuple[int, dict | None]:
    """Measure a network and a target by their names (see `files.files`), each of their outputs by itself.

    Parameters
    ----------
    below: a threshold: the measurement ends as soon as the error is proved to be at most this, or a larger one is
        found.

    Returns the exit code and, on rank 0, what was found: sup_lower, sup_upper, where, certificate, points, seconds.
    """
    start = time.perf_counter()
    if below is not None:
        below = threshold_of(below)
    with assemble(options) as workforce:
        if workforce is None:
            return 0, None
        workforce.stop.before(slurm.walltime())
        first = files.files(**names, folder=folder)  # plugins run where their mistakes end all ranks
        approximations = files.each_output(first, folder)
        surveys = [_named_survey(approximation, chosen, folder, below) for approximation in approximations]
        name = digest([names, first.codes, below, *(survey.measurement for survey in surveys)])
        saver = Saver(folder / f".hpcsweep.measure-{name}", (name,))
        job = Measurements(list(surveys), folder, saver)
        job.resume()
        measured: list[Measured] = []
        with contextlib.closing(display(style, sys.stderr, "parts")) as shown:
            for number, approximation in enumerate(approximations):
                if not job.run(number, workforce, shown):
                    return AGAIN, None
                survey = surveys[number]
                result = finalize(approximation, survey.measurement, survey.states[0], folder=folder)
                remarks = approximation.error_function(folder, "cpu").remarks
                measured.append(with_remarks(result, remarks))
                if below is not None and refutes(measured[-1].lower, below):
                    break
        saver.path.unlink(missing_ok=True)
    error: Measured | MeasuredOutputs = measured[0]
    if len(approximations) > 1:
        error = MeasuredOutputs(tuple(measured), surveys[0].measurement.gap)
    return _results(error, chosen, below, time.perf_counter() - start)


def _named_survey(approximation: files.Files, chosen: SupNormSection, folder: Path, below: float | None) -> Survey:
    """Return the survey of one output, and say what prevents its proof before anything is measured."""
    dimension, functions = len(approximation.domain), approximation.error_function(folder, "cpu")
    measurement = planned(chosen.measured(dimension), dimension, functions.width)
    if below is not None and chosen.certificate != "off":
        measurement = proving(measurement, chosen.model_fields_set)
    if measurement.gap is not None and (problem := obstacle(functions)):
        output = "" if approximation.output is None else f" of output {approximation.output}"
        print(visible(f"Nothing can be proved{output}: {problem}."), file=sys.stderr, flush=True)
    return Survey([approximation], measurement) if below is None else Below(approximation, measurement, below)


def _results(
    error: Measured | MeasuredOutputs,
    chosen: SupNormSection,
    below: float | None,
    seconds: float,
) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the results as the command prints them."""
    if isinstance(error, MeasuredOutputs):
        results = {"sup_lower": error.lower, "sup_upper": error.upper, "where": list(error.where)}
        results |= {"certificate": error.certificate, "worst_output": error.worst}
        results["outputs"] = [_of_one(output, chosen) for output in error.outputs]
    else:
        results = _of_one(error, chosen)
    code = 0
    if below is not None:
        verdict = Decision(below, error).verdict
        code, results = _VERDICTS[verdict], {"verdict": verdict, "below": below, **results}
    return code, {**results, "message": error.message, "seconds": seconds}


def _of_one(measured: Measured, chosen: SupNormSection) -> dict[str, Any]:
    central = measured.central_share, measured.central_l2, measured.central_lower
    return {
        "sup_lower": measured.lower,
        "sup_upper": measured.upper,
        "where": list(measured.where),
        "certificate": measured.certificate,
        "points": measured.points,
        "boxes": measured.boxes,
        "sup_uniform": measured.uniform,
        "l2_error": measured.l2,
        **({} if chosen.central is None else dict(zip(CENTRAL, central, strict=True))),
    }
