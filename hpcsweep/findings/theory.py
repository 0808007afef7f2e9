"""What theory says of the slopes: lower bounds that no method beats for all functions of a class.

Weights: to reach eps for every function on a d-dimensional box whose derivatives up to order n are at most 1 takes at
least c (1 / eps)^(d / (2 n)) weights of a ReLU network, that is error >= c weights^(-2 n / d) (Yarotsky 2017; Gühring,
Raslan, Kutyniok 2020). The proof counts the patterns of signs that the networks can take (their VC dimension). Networks
of tanh with W weights take more, of dimension at most c W^4 (Karpinski, Macintyre 1997), which leaves error >= c
weights^(-4 n / d). Other activations have no such bound here.

Samples: whatever the approximant and the method, to reach eps for all these functions takes at least c (1 / eps)^(d /
n) samples, error >= c samples^(-n / d) (Novak 1988). Even for the ReLU networks of a fixed shape with bounded weights
alone, which are Lipschitz, it takes c (1 / eps)^d (Berner, Grohs, Voigtlaender 2023).

All hold for the worst function of the class: a single target may be easier.
"""

from __future__ import annotations

import math

from hpcsweep.findings.powerlaw import PowerLaw

WHATEVER = {"parameters": "whatever its size", "samples": "however many samples it is trained on"}

NOUNS = {
    "parameters": "weights",
    "width": "width",
    "samples": "samples",
    "train_seconds": "seconds of training",
    "flops": "flops of training",
}


def rate(against: str, dimension: int, smoothness: float | None, activation: str, noise: float = 0.0) -> float | None:
    """Return the exponent of the lower bound: inf where any power is possible, None where no theorem covers the case.

    Parameters
    ----------
    against: "parameters", "samples", or a cost, of which theory says nothing.
    smoothness: n where derivatives up to order n are bounded (1: Lipschitz), inf: smooth, 0: continuous, -1:
        discontinuous; None: not known.
    activation: of all hidden layers; "" for other approximants.
    noise: standard deviation of the noise in the samples; the bounds in samples are about exact values.
    """
    if against == "samples" and noise:
        return None
    if against not in ("parameters", "samples") or smoothness is None or smoothness == 0:
        return None
    if smoothness < 0:
        return 0.0
    if against == "samples":
        return smoothness / dimension
    return 2 * smoothness / dimension if activation == "relu" else None


def standing(law: PowerLaw, bound: float | None) -> str:
    """Say in a word how an exponent compares with a lower bound that is a power; empty where that is unknown."""
    if bound is None or not 0 < bound < math.inf or not law.determined:
        return ""
    if not law.distinct:
        return "undetermined"
    rounding = 1e-9 * bound  # an interval without noise is a point
    return "steeper" if law.low > bound + rounding else "shallower" if law.high < bound - rounding else "consistent"


def verdict(
    law: PowerLaw, against: str, dimension: int, smoothness: float | None, activation: str, noise: float = 0.0
) -> str:
    """Say how an exponent compares with the lower bound, or why no theorem covers the case; see `rate`."""
    bound = rate(against, dimension, smoothness, activation, noise)
    if against == "samples" and noise:
        return "Not covered by theory: the samples have noise."
    if bound is None:
        return f"Not covered by theory: {_uncovered(against, dimension, smoothness, activation)}."
    if math.isinf(bound):
        return "The target is smooth, and theory allows any power for smooth functions."
    if bound == 0:
        return (
            f"The target is discontinuous: no continuous network comes closer than half the jump, {WHATEVER[against]}."
        )
    name = f"the lower bound of theory for the worst {_class(smoothness)}, {NOUNS[against]}^-{bound:.3g}"
    return {
        "": f"It cannot be compared with {name}.",
        "undetermined": f"These replicates do not determine how it compares with {name}.",
        "steeper": f"It is steeper than {name}.",
        "shallower": f"It is shallower than {name}, so that something other than the {NOUNS[against]} limits it too.",
        "consistent": f"It is consistent with {name}.",
    }[standing(law, bound)]


def _class(smoothness: float | None) -> str:
    return "Lipschitz function" if smoothness == 1 else f"function with bounded derivatives up to order {smoothness:g}"


def _uncovered(against: str, dimension: int, smoothness: float | None, activation: str) -> str:
    """Say why no theorem covers a case, and which weaker bound there is."""
    if against not in ("parameters", "samples"):
        return "it gives no bound in terms of this cost"
    if smoothness is None:
        return "the smoothness of the target is unknown"
    if smoothness == 0:
        return "the target is only known to be continuous, for which there is no rate"
    who = f"these have the activation {activation}" if activation else "these are other approximants"
    weaker = ""
    if activation == "tanh" and smoothness < math.inf:
        weaker = f"; the VC dimension of tanh networks gives a weaker one, weights^-{4 * smoothness / dimension:.3g}"
    return f"the lower bound in weights is about ReLU networks, and {who}{weaker}"
