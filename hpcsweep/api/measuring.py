"""`hpcsweep.measure`: the sup-norm error of anything callable, with nothing else of the framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hpcsweep.approx.supnorm.approximations import ErrorFunction, InMemory
from hpcsweep.approx.supnorm.functions import adapted, domain_of, places_of, terms_of
from hpcsweep.approx.supnorm.measured import Measured, finalize
from hpcsweep.approx.supnorm.survey import Survey
from hpcsweep.approx.supnorm.tasks import planned
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
    **options: Any,
) -> Measured:
    """Bracket the sup-norm error ||target - approximant|| on a box, from below by search and from above by proof.

    Both functions are evaluated at points (points, dimension) and give (points,) or (points, 1) values in float64. A
    `torch.nn.Module` is copied in float64. A value must depend on its point alone: no random numbers, no dropout. NumPy
    functions can be measured too, but nothing can be proved of them; a proof runs the same torch code on boxes, and
    needs a rule for every operation in it.

    Parameters
    ----------
    approximant, target: callables; the target may be a `hpcsweep.Target`, which knows its domain, and the approximant
        what `hpcsweep.network` returns.
    domain: ``((low, high), ...)``, one pair per axis, or "low,high low,high ...", in the units of the points.
    samples: (samples, dimension), where the approximant was trained: the gaps between them are searched.
    options: the keys of `[sup_norm]` of a study (count, certificate, boxes, central, ...), see docs/meter.md.

    Returns
    -------
    Measured: `lower` and `upper`, in the units of the target's values; `where`, one coordinate per axis, the point at
    which `lower` is reached; `bracket`, all three as a `Bracket`; `proved`, whether `lower` is proved or, for want of a
    rule, evaluated; `certificate` ("closed": upper <= (1 + gap) lower is proved); `l1`, `l2` and more, which
    docs/meter.md describes together with the method and its sources.

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
    made = adapted(approximant, box)
    terms = terms_of(approximant, made, box)
    functions = ErrorFunction(adapted(target, box), made, box, terms, places_of(samples, len(box)))
    resolved = section(SupNormSection, options, "measure").resolved(len(box))
    survey = Survey([approximation := InMemory(functions)], planned(resolved, len(box), functions.width))
    survey.run()
    return finalize(approximation, survey.measurement, survey.states[0])
