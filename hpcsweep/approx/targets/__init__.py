"""Target functions: real functions on a box with their known facts, each written once in plain torch.

`REGISTRY` is the one place where a name of a study meets its class. To add a target, write a final class
under `Target` in the file of its family and add a line here; the tests check it by the rules of `check`.
"""

from __future__ import annotations

from hpcsweep.approx.targets.analytic import (
    BernerSine,
    ExpCos,
    ExpCos5,
    Halfspace,
    Indicator,
    LogSin,
    MixedTrigRational,
    Peak,
    SlowerDecayRational,
)
from hpcsweep.approx.targets.base import Target
from hpcsweep.approx.targets.feynman import (
    Dipole,
    Distance,
    DotProduct,
    FieldEnergy,
    Grating,
    Isothermal,
    Product,
)
from hpcsweep.approx.targets.rules import check
from hpcsweep.approx.targets.structured import ProductTree, RandomWaves, SineProduct
from hpcsweep.approx.targets.teachers import BernerTeacher, MichaudTeacher
from hpcsweep.approx.targets.textbook import Absolute, Franke, Runge, Sine, Square

REGISTRY: dict[str, type[Target]] = {
    "absolute": Absolute,
    "berner_sine": BernerSine,
    "berner_teacher": BernerTeacher,
    "dot_product": DotProduct,
    "exp_cos": ExpCos,
    "exp_cos5": ExpCos5,
    "feynman_dipole": Dipole,
    "feynman_distance": Distance,
    "feynman_field_energy": FieldEnergy,
    "feynman_grating": Grating,
    "feynman_isothermal": Isothermal,
    "franke": Franke,
    "halfspace": Halfspace,
    "indicator": Indicator,
    "logsin": LogSin,
    "michaud_teacher": MichaudTeacher,
    "mixed_trig_rational": MixedTrigRational,
    "peak": Peak,
    "product": Product,
    "product_tree": ProductTree,
    "random_waves": RandomWaves,
    "runge": Runge,
    "sine": Sine,
    "sine_product": SineProduct,
    "slower_decay_rational": SlowerDecayRational,
    "square": Square,
}

__all__ = ["REGISTRY", "Target", "check"]
