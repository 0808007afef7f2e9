"""Random networks, also such as no training would make, in torch and by their formulas in mpmath."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np
import torch

from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.supnorm.dense import Dense
from scripts.soundness.subject import Real
from scripts.soundness.trees import Function
from tests.approx.supnorm.certificate.exact import UNARY, exactly
from tests.approx.supnorm.certificate.formulas_of_modules import FUNCTIONS

SCALES = (1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 1e3, 1e6, 1e-3, 1e-300)
AMPLITUDES = (1.0, 1.0, 1 / 3, 1e-9, 1e10)
OTHERS = ("softsign", "mish", "selu", "elu", "celu", "hardswish", "hardsigmoid", "softshrink", "tanhshrink")
_MODULES: dict[str, tuple[Callable[[Any], Any], Real]] = {
    **{name: FUNCTIONS[name][:2] for name in (*OTHERS, "logsigmoid", "softplus with beta")},
    "sigmoid": (torch.sigmoid, UNARY["sigmoid"]),
    "softplus": (torch.nn.functional.softplus, UNARY["softplus"]),
    "arctan": (torch.arctan, mp.atan),
    "exp": (lambda x: torch.exp(-torch.square(x)), lambda a: mp.exp(-a * a)),
}


def widths_of(generator: random.Random) -> list[int]:
    """Return hidden widths of 0 to 12 layers."""
    depth = generator.choice((0, 1, 1, 1, 2, 2, 2, 3, 4, 6, 12))
    return [generator.randint(1, 10 if depth < 4 else 4) for _ in range(depth)]


def dense(generator: random.Random, dimension: int) -> Dense:
    """Return a network whose layers are known; of some the output weights cancel, up to 1e10 in size."""
    numbers = np.random.default_rng(generator.randrange(2**32))
    scale, widths = generator.choice(SCALES), [dimension, *widths_of(generator), 1]
    weights = [numbers.normal(size=(o, i)) * scale / np.sqrt(i) for i, o in pairwise(widths)]
    biases = [numbers.normal(size=o) * scale / 2 for o in widths[1:]]
    if len(weights) > 1 and generator.random() < 0.4:  # neurons in pairs that nearly cancel
        pairs, factor = widths[-2] // 2 * 2, generator.choice((1.0, 1e6, 1e10)) / max(scale, 1e-3)
        weights[-1][:, 1:pairs:2] *= factor
        weights[-1][:, :pairs:2] = -weights[-1][:, 1:pairs:2]
        weights[-2][:pairs:2] = weights[-2][1:pairs:2] * (1 + generator.choice((1e-3, 1e-9, 0.0)))
        biases[-2][:pairs:2] = biases[-2][1:pairs:2]
    constants = numbers.normal(size=(2, dimension)) if generator.random() < 0.3 else None
    shift, factors = (None, None) if constants is None else map(torch.from_numpy, constants)
    tensors = [tuple(map(torch.from_numpy, part)) for part in (weights, biases)]
    return Dense(*tensors, generator.choice(list(ACTIVATIONS)), shift, factors, generator.choice(AMPLITUDES))


def of_terms(terms: Sequence[Dense]) -> Function:
    """Return the sum of networks."""
    return Function(
        lambda x: sum(term(x) for term in terms), lambda *point: mp.fsum(exactly(term, point) for term in terms)
    )


def code(generator: random.Random, dimension: int) -> Function:
    """Return a network in torch code, perceptron or residual, the points along the last axis or the first."""
    numbers = np.random.default_rng(generator.randrange(2**32))
    known = {
        name: (getattr(torch.nn.functional, name, None) or getattr(torch, name), UNARY[name]) for name in ACTIVATIONS
    }
    activate, formula = generator.choice(list((known | _MODULES).values()))
    residual, turned = generator.random() < 0.5, generator.random() < 0.5
    hidden = widths_of(generator) or [3]
    widths = [dimension, hidden[0], *(hidden[:1] * len(hidden) if residual else hidden), 1]
    scale = generator.choice((1.0, 1.0, 2.0, 1e-3, 1e3))
    layers = [
        (numbers.normal(size=(o, i)) * scale / np.sqrt(i), numbers.normal(size=(o, 1)) * scale / 2)
        for i, o in pairwise(widths)
    ]
    tensors = [(torch.from_numpy(weight), torch.from_numpy(bias)) for weight, bias in layers]

    def run(x: Any) -> Any:
        signal = x.T if turned else x
        for number, (weight, bias) in enumerate(tensors):
            if turned:
                entering = torch.addmm(bias, weight, signal)
            else:
                entering = torch.nn.functional.linear(signal, weight, bias[:, 0])
            bent = activate(entering) if 0 < number < len(tensors) - 1 else entering
            signal = signal + bent if residual and 0 < number < len(tensors) - 1 else bent
        return signal[0] if turned else signal[:, 0]

    exact = [(_exact(weight), _exact(bias[:, 0])) for weight, bias in layers]

    def real(*point: mp.mpf) -> mp.mpf:
        signal = np.array(point, dtype=object)
        for number, (weight, bias) in enumerate(exact):
            entering = weight @ signal + bias
            inside = 0 < number < len(exact) - 1
            bent = np.array([formula(value) for value in entering], dtype=object) if inside else entering
            signal = signal + bent if residual and inside else bent
        return signal[0]

    return Function(run, real)


def _exact(values: np.ndarray) -> np.ndarray:
    return np.vectorize(mp.mpf, otypes=[object])(values)
