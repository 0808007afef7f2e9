"""Functions with several outputs, as functions with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcsweep.approx.supnorm.certificate.enclosure import AffineForm, DoubleDouble
from hpcsweep.approx.supnorm.certificate.enclosure.unknown import tolerated
from hpcsweep.errors import PluginError


def common_outputs(target: int, approximant: int) -> int:
    """Return how many outputs target and approximant have. Raises PluginError if not as many."""
    if target != approximant:
        raise PluginError(f"the target has {target} output(s) and the approximant {approximant}; they must be as many.")
    return target


def component_of(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Return one output of a function from points to (points, outputs).

    On boxes, an operation without a rule is refused only where this output depends on it.
    """

    def component(points: Any) -> Any:
        if not isinstance(points, AffineForm | DoubleDouble):
            return function(points)[:, number]
        with tolerated() as missing:
            values = function(points)[:, number]
        if missing and not (isinstance(values, AffineForm | DoubleDouble) and bool(values.radius.isfinite().any())):
            raise missing[0]
        return values

    return component
