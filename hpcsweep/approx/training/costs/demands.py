"""What each method asks of a processor core in one step of one network, beside evaluations; nothing is measured here.

The unit is the multiply-add: `products` are those of matrix products, `others` what takes as long as so many (passes
over vectors, decompositions, square roots). The factors were measured once, in float64 on one core (AMD EPYC, Zen 4),
at widths 8 to 64 with 100 and 800 samples; there the counts hold within a fifth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from hpcsweep.approx.kernels import line_search, muon, quasi_newton, residuals, soap
from hpcsweep.approx.training.settings import Settings

_CACHE = 32 << 20  # bytes of a triangle beyond which a pass over it waits for memory
_SEARCH = 1.12  # evaluations of a line search
_LANES = 16  # the most that a vector has, in float32
_MEMORY, _REFRESH = 50, 10  # where the settings do not say: of L-BFGS and SOAP


@dataclass(frozen=True)
class Demand:
    """What one step of one network takes.

    Attributes
    ----------
    evaluations, forwards : of the loss with its gradient, and without
    products, others : multiply-adds, see above
    held : numbers of the method's state and of its room to work
    calls : of torch, where steps are made of them, on a device
    calls_alone : of torch or Python, where the network trains alone
    most_steps : after which it is over
    in_one_block : whether all samples must be in the work at once
    """

    evaluations: float = 1.0
    forwards: float = 0.0
    products: float = 0.0
    others: float = 0.0
    held: int = 0
    calls: float = 10.0
    calls_alone: float = 0.0
    most_steps: float = float("inf")
    in_one_block: bool = False


_Widths = tuple[int, ...]
_Table = Mapping[str, Callable[[_Widths, int, Settings], Demand]]


def _blocks(widths: _Widths) -> list[tuple[int, int]]:
    return [(outputs, inputs + 1) for inputs, outputs in pairwise(widths)]


def _size(widths: _Widths) -> int:
    return sum(outputs * columns for outputs, columns in _blocks(widths))


def _first_order(vectors: int, each: float) -> Callable[[_Widths, int, Settings], Demand]:
    """Return the demand of a method that keeps some vectors, and takes so long for each parameter."""
    return lambda widths, _samples, _settings: Demand(others=each * _size(widths), held=vectors * _size(widths))


def _muon(widths: _Widths, _samples: int, _settings: Settings) -> Demand:
    size, inner = _size(widths), [sorted(block) for block in _blocks(widths)[1:-1]]
    products = sum(5 * short * short * (2 * long + short) for short, long in inner)
    held = muon.VECTORS * size + muon.room(widths, _LANES)
    return Demand(products=products, others=350.0 * size, held=held, calls=100)


def _soap(widths: _Widths, _samples: int, settings: Settings) -> Demand:
    blocks, refresh = _blocks(widths), settings.refresh or _REFRESH
    products = 3.0 * sum(rows * columns * (rows + columns) for rows, columns in blocks)
    turned = sum(rows**3 + columns**3 for rows, columns in blocks) / refresh
    others = 8 * turned + 400 * _size(widths)
    return Demand(products=products + 2 * turned, others=others, held=soap.size(widths, _LANES), calls=150)


def _lbfgs(widths: _Widths, _samples: int, settings: Settings) -> Demand:
    size, memory = _size(widths), settings.memory or _MEMORY
    steps = max(settings.steps, 1)
    kept = memory * (1 - memory / (2 * steps)) if steps > memory else steps / 2  # on average
    held = (line_search.VECTORS + 2 * memory) * size
    return Demand(_SEARCH, products=4 * kept * size, others=(10 * kept + 50) * size, held=held, calls=550)


def _dense(widths: _Widths, _samples: int, _settings: Settings) -> Demand:
    """Return the demand of a quasi-Newton method: a pass over the lower triangle of the inverse Hessian an iterate."""
    size = _size(widths)
    entry = 7.7 if 4 * size**2 <= _CACHE else 16.0
    held = size**2 + quasi_newton.DENSE * size
    return Demand(_SEARCH, products=size**2, others=(entry / 2 - 1) * size**2 + 90 * size, held=held, calls=550)


def _marquardt(widths: _Widths, samples: int, _settings: Settings) -> Demand:
    """Return the demand of Levenberg-Marquardt: a Gram matrix, two Cholesky decompositions, six forwards."""
    size, dual = _size(widths), _size(widths) > samples
    side = min(size, samples)
    gram = samples**2 * sum(widths) if dual else size**2 * samples / 2
    return Demand(
        forwards=6,
        products=gram + side**3 / 3,
        others=130.0 * side**2 + 30 * size * samples,
        held=int(residuals.places(size, samples, _LANES)[-1]),
        calls=370,
        calls_alone=25,
        in_one_block=dual,
    )


def _projection(widths: _Widths, samples: int, _settings: Settings) -> Demand:
    """Return the demand of variable projection: three singular value decompositions, two solutions of all else."""
    width = widths[-2] + 1
    size = _size(widths) - width
    return Demand(
        forwards=4,
        products=size**2 * samples + 2 * size * samples * width,
        others=2.4 * size**3 + 216 * width**2 * samples,
        held=int(residuals.places(size + width, samples, _LANES)[-1]) + 3 * size * samples + 2 * size**2,
        calls=600,
        calls_alone=600,
        in_one_block=True,
    )


def _least_squares(widths: _Widths, samples: int, _settings: Settings) -> Demand:
    width = widths[-2] + 1
    others, held = 150.0 * width**2 * samples, 3 * samples * width + _size(widths)
    return Demand(0, 3, 0, others, held, calls=300, calls_alone=300, most_steps=1, in_one_block=True)


_TABLE: _Table = {
    "sgd": _first_order(1, 8.0),
    "adam": _first_order(2, 24.0),
    "adamw": _first_order(2, 26.0),
    "muon": _muon,
    "soap": _soap,
    "lbfgs": _lbfgs,
    **dict.fromkeys(("bfgs", "ssbfgs", "ssbroyden"), _dense),
    "levenberg_marquardt": _marquardt,
    "variable_projection": _projection,
    "least_squares": _least_squares,
}
NAMES: tuple[str, ...] = tuple(_TABLE)


def demand(settings: Settings, widths: _Widths, samples: int) -> Demand:
    """Return what one part of a chain asks for in a step that sees so many samples; foreign methods count as Adam."""
    return _TABLE.get(settings.optimizer, _TABLE["adam"])(widths, samples, settings)
