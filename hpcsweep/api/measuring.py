"""`hpcsweep.measure`: the sup-norm error of anything callable, with nothing else of the framework."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from hpcsweep.approx.supnorm.approximations import ErrorFunction, InMemory
from hpcsweep.approx.supnorm.functions import adapted, domain_of, outputs_of, places_of, terms_of
from hpcsweep.approx.supnorm.functions.components import common_outputs
from hpcsweep.approx.supnorm.measured import Measured, finalize
from hpcsweep.approx.supnorm.measurement import Measurement, planned
from hpcsweep.approx.supnorm.obstacles import obstacle
from hpcsweep.approx.supnorm.outputs import Decision, MeasuredOutputs, refutes, with_remarks
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.threshold import Below, proving, threshold_of
from hpcsweep.approx.targets import Target
from hpcsweep.errors import PluginError
from hpcsweep.study.parsing import section
from hpcsweep.study.schema import SupNormSection


def measure(
    approximant: Callable[..., Any],
    target: Callable[..., Any],
    domain: str | Sequence[Sequence[float]] | None = None,
    *,
    samples: Any = None,
    below: float | None = None,
    **options: Any,
) -> Measured | MeasuredOutputs | Decision:
    """Bracket the sup-norm error ||target - approximant|| on a box, from below by search and from above by proof.

    Both functions are evaluated at points (points, dimension) and give (points,) or (points, 1) values in float64, or
    (points, outputs) with as many outputs each, which are measured one after the other. A `torch.nn.Module` is copied
    in float64 and evaluation mode; other code in float32 runs in float64 likewise, with the weights that it has. A
    value must depend on its point alone: no random numbers, no dropout. NumPy functions can be measured too, but
    nothing can be proved of them; a proof runs the same torch code on boxes, and needs a rule for every operation in
    it. Where one is missing, a warning names it, and its line, before anything is measured.

    Parameters
    ----------
    approximant, target: callables; the target may be a `hpcsweep.Target`, which knows its domain, and the approximant
        what `hpcsweep.network` returns.
    domain: ``((low, high), ...)``, one pair per axis, or "low,high low,high ...", in the units of the points.
    samples: (samples, dimension), where the approximant was trained: the gaps between them are searched.
    below: a threshold. The measurement then ends as soon as the error is proved to be at most this everywhere, or a
        point with a larger error is found. The search is shorter (docs/network.md).
    options: the keys of `[sup_norm]` of a study (count, certificate, boxes, central, ...), see docs/meter.md.

    Returns
    -------
    Measured: `lower` and `upper`, in the units of the target's values; `where`, one coordinate per axis, the point at
    which `lower` is reached; `bracket`, all three as a `Bracket`; `proved`, whether `lower` is proved or, for want of a
    rule, evaluated; `certificate` ("closed": upper <= (1 + gap) lower is proved); `l1`, `l2` and more, which
    docs/meter.md describes together with the method and its sources. Of several outputs a `MeasuredOutputs`, with the
    same attributes of the largest error, and `outputs`, a `Measured` for each. With `below` a `Decision`: `verdict`
    ("proved", "refuted" or "undecided"), `where`, and `measured`.

    Raises
    ------
    UserError: for a function, domain or option that cannot be; for an option it names the allowed ones.

    Examples
    --------
    >>> import torch, hpcsweep
    >>> found = hpcsweep.measure(lambda x: x[:, 0], lambda x: torch.sin(x[:, 0]), [(-1, 1)])
    >>> found.lower <= 1 - 0.8414709848078965 <= found.upper
    True
    """
    if domain is None:
        if not isinstance(target, Target):
            raise PluginError("measure: the domain is missing; only a hpcsweep.Target has a domain of its own.")
        domain = target.domain
    box = domain_of(domain)
    if below is not None:
        below = threshold_of(below)
    count = common_outputs(outputs_of(target, box), outputs_of(approximant, box))
    chosen = section(SupNormSection, options, "measure").measured(len(box))
    places, results, gap = places_of(samples, len(box)), [], None
    for output in range(count) if count > 1 else (None,):
        evaluated = adapted(approximant, box, output)
        terms = terms_of(approximant, evaluated, box, output)
        functions = ErrorFunction(adapted(target, box, output), evaluated, box, terms, places)
        measurement = planned(chosen, len(box), functions.width)
        if below is not None and options.get("certificate") != "off":
            measurement = proving(measurement, options)
        gap = measurement.gap
        if gap is not None and (problem := obstacle(functions)):
            warnings.warn(f"Nothing can be proved{_of(output)}: {problem}.", stacklevel=2)
        results.append(_measured(functions, measurement, below))
        if below is not None and refutes(results[-1].lower, below):
            break
    measured = results[0] if count == 1 else MeasuredOutputs(tuple(results), gap)
    return measured if below is None else Decision(below, measured)


def _measured(functions: ErrorFunction, measurement: Measurement, below: float | None) -> Measured:
    approximation = InMemory(functions)
    survey = Survey([approximation], measurement) if below is None else Below(approximation, measurement, below)
    survey.run()
    measured = finalize(approximation, survey.measurement, survey.states[0])
    return with_remarks(measured, functions.remarks)


def _of(output: int | None) -> str:
    return "" if output is None else f" of output {output}"
