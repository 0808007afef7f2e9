"""What theory says of the slopes: lower bounds that no method beats for all functions of a class.

Weights: to reach eps for every function on a d-dimensional box whose derivatives up to order n are at most 1 takes at
least c (1 / eps)^(d / (2 n)) weights of a ReLU network, that is error >= c weights^(-2 n / d) (Yarotsky 2017; Gühring,
Raslan, Kutyniok 2020). Samples: to reach eps for every ReLU network of a fixed shape with bounded weights takes at
least c (1 / eps)^d of them, error >= c samples^(-1 / d) (Berner, Grohs, Voigtlaender 2023). Both hold for the worst
function of the class: a single target may be easier.
"""

from __future__ import annotations

import math

from hpcsweep.findings.powerlaw import PowerLaw

NOUNS = {
    "parameters": "weights",
    "width": "width",
    "samples": "samples",
    "train_seconds": "seconds of training",
    "flops": "flops of training",
}


def rate(against: str, dimension: int, smoothness: float | None) -> float | None:
    """Return the exponent of the lower bound: inf where any power is possible, None where theory says nothing.

    Parameters
    ----------
    against: "parameters", "samples", or a cost, of which theory says nothing.
    smoothness: n where derivatives up to order n are bounded (1: Lipschitz), inf: smooth, 0: continuous, -1:
        discontinuous; None: not known.
    """
    if against == "samples":
        return 1 / dimension
    if against != "parameters" or smoothness is None or smoothness == 0:
        return None
    return math.inf if math.isinf(smoothness) else 0.0 if smoothness < 0 else 2 * smoothness / dimension


def standing(law: PowerLaw, bound: float | None) -> str:
    """Say in a word how an exponent compares with a lower bound that is a power; empty where that is unknown."""
    if bound is None or not 0 < bound < math.inf or math.isnan(law.low):
        return ""
    if law.low <= 0 <= law.high:
        return "undetermined"
    rounding = 1e-9 * bound  # an interval without noise is a point
    return "steeper" if law.low > bound + rounding else "shallower" if law.high < bound - rounding else "consistent"


def verdict(law: PowerLaw, against: str, dimension: int, smoothness: float | None) -> str:
    """Say how an exponent compares with the lower bound."""
    bound = rate(against, dimension, smoothness)
    if bound is None:
        if against != "parameters":
            return "Theory gives no bound in terms of this cost."
        if smoothness is None:
            return "The smoothness of the target is unknown, so that there is no bound to compare with."
        return "The target is only known to be continuous, for which theory gives no rate."
    if math.isinf(bound):
        return "The target is smooth, and theory allows any power for smooth functions."
    if bound == 0:
        return "The target is discontinuous: no continuous network comes closer than half the jump, whatever its size."
    name = f"the lower bound of theory for the worst function of the class, {NOUNS[against]}^-{bound:.3g}"
    return {
        "": f"A single replicate does not determine how it compares with {name}.",
        "undetermined": f"These replicates do not determine how it compares with {name}.",
        "steeper": f"It is steeper than {name}.",
        "shallower": f"It is shallower than {name}, so that something other than the {NOUNS[against]} limits it too.",
        "consistent": f"It is consistent with {name}.",
    }[standing(law, bound)]
