"""What theory says of the slopes: lower bounds that no method beats, for a class of functions or for single targets.

Weights, ReLU networks with a fixed number h of hidden layers, as all networks of a line have:

- To come within eps of every function on a d-dimensional box whose derivatives up to order n are at most 1, they need
  at least c (1 / eps)^(d / n) weights up to powers of log(1 / eps), that is error >= c weights^(-n / d) up to
  logarithms (sup-norm: Yarotsky 2017; L2: Achour, Foucault, Gerchinovitz, Malgouyres 2022). The proofs count what the
  networks can take apart: their VC dimension grows as weights times their logarithm (Bartlett, Harvey, Liaw, Mehrabian
  2019). Weights may depend on the function in any way. Networks whose depth grows with their weights can reach
  weights^(-2 n / d) (Yarotsky 2018).
- Each single twice continuously differentiable target that is not affine has error >= c weights^(-2 h), because
  networks are made of linear pieces (sup-norm: Yarotsky 2017; L2: Safran and Shamir 2017). This alone bounds smooth
  targets, and targets of finite smoothness where it is the stronger one.

Other activations have no such bound here. Networks of tanh, silu or gelu (Pfaffian functions) with W weights have a VC
dimension of at most c W^4 (Karpinski and Macintyre 1997), which leaves error >= c weights^(-4 n / d) for the class.

Samples: whatever the approximant and the method, to come within eps of all functions of the class takes at least c (1 /
eps)^(d / n) values, error >= c samples^(-n / d), in the sup-norm and in L2 (Novak 1988). In the sup-norm, even the ReLU
networks of a fixed shape with bounded weights alone, which are Lipschitz, take c (1 / eps)^d (Berner, Grohs,
Voigtlaender 2023).

All but the second hold for the worst function of the class: a single target may be easier. All are about small errors:
over a few sizes, errors may fall faster or slower than a bound, and what limits them does not follow from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpcsweep.findings.powerlaw import PowerLaw

PFAFFIAN = ("tanh", "silu", "gelu")
WHATEVER = {"parameters": "whatever its size", "samples": "however many samples it is trained on"}

NOUNS = {
    "parameters": "weights",
    "width": "width",
    "samples": "samples",
    "train_seconds": "seconds of training",
    "flops": "flops of training",
}


@dataclass(frozen=True)
class Case:
    """What a theorem asks for.

    Attributes
    ----------
    against: "parameters", "samples", or a cost, of which theory says nothing.
    dimension: of the domain.
    smoothness: n where derivatives up to order n are bounded (1: Lipschitz), inf: smooth, 0: continuous, -1:
        discontinuous; None: not known.
    activation: of all hidden layers; "" for other approximants.
    depth: the number of hidden layers.
    noise: standard deviation of the noise in the samples; the bounds in samples are about exact values.
    """

    against: str
    dimension: int
    smoothness: float | None
    activation: str
    depth: int
    noise: float = 0.0

    @property
    def rate(self) -> float | None:
        """The exponent of the lower bound: inf where any power is possible, None where no theorem covers the case."""
        n = self.smoothness
        noisy = self.against == "samples" and self.noise
        if self.against not in ("parameters", "samples") or noisy or n is None or n == 0:
            return None
        if n < 0:
            return 0.0
        if self.against == "samples":
            return n / self.dimension
        return min(n / self.dimension, 2.0 * self.depth) if self.activation == "relu" else None


def standing(law: PowerLaw, bound: float | None) -> str:
    """Say in a word how an exponent compares with a lower bound that is a power; empty where that is unknown."""
    if bound is None or not 0 < bound < math.inf or math.isnan(law.low):
        return ""
    if not law.distinct:
        return "undetermined"
    return "steeper" if law.low > bound else "shallower" if law.high < bound else "consistent"


def verdict(law: PowerLaw, case: Case) -> str:
    """Say how an exponent compares with the lower bound, or why no theorem covers the case."""
    bound = case.rate
    if bound is None:
        return f"Not covered by theory: {_uncovered(case)}."
    if math.isinf(bound):
        return "The target is smooth, and theory allows any power for smooth functions."
    if bound == 0:
        jump = "no continuous network comes closer than half the jump"
        return f"The target is discontinuous: in the sup-norm, {jump}, {WHATEVER[case.against]}."
    name = f"the lower bound of theory for {_whom(case)}, {NOUNS[case.against]}^-{bound:.3g}"
    return {
        "": f"It cannot be compared with {name}.",
        "undetermined": f"These replicates do not determine how it compares with {name}.",
        "steeper": f"It is steeper than {name}.",
        "shallower": f"It is shallower than {name}.",
        "consistent": f"It is consistent with {name}.",
    }[standing(law, bound)]


def _whom(case: Case) -> str:
    """Say which functions, and of which approximants, the bound of a case is about."""
    n, layers = case.smoothness, f"{case.depth} hidden layer{'' if case.depth == 1 else 's'}"
    worst = f"the worst {'Lipschitz function' if n == 1 else f'function with bounded derivatives up to order {n:g}'}"
    if case.against == "samples":
        return worst
    smooth = case.rate != n / case.dimension  # type: ignore[operator]
    return (
        f"{'every twice differentiable target that is not affine' if smooth else worst} and ReLU networks of {layers}"
    )


def _uncovered(case: Case) -> str:
    """Say why no theorem covers a case, and which weaker bound there is."""
    n, activation = case.smoothness, case.activation
    if case.against not in ("parameters", "samples"):
        return "it gives no bound in terms of this cost"
    if case.against == "samples" and case.noise:
        return "the samples have noise"
    if n is None:
        return "the smoothness of the target is unknown"
    if n == 0:
        return "the target is only known to be continuous, for which there is no rate"
    who = f"these have the activation {activation}" if activation else "these are other approximants"
    weaker = ""
    if activation in PFAFFIAN and n < math.inf:
        weaker = (
            f"; the VC dimension of {activation} networks gives a weaker one, weights^-{4 * n / case.dimension:.3g}"
        )
    return f"the lower bound in weights is about ReLU networks, and {who}{weaker}"
