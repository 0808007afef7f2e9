"""What a cell is: its configurations, with the only defaults that there are. JSON becomes one here, and it JSON."""

from __future__ import annotations

from hpcsweep.config.base import IMPLIED, Config, canonical, stream
from hpcsweep.config.cell import DATA, WHERE, Cell, ModelConfig, TargetConfig, data_seed
from hpcsweep.config.methods import COMMON, DIRECT, OBJECTIVE, RATES, Objective, OptimizerConfig

__all__ = [
    "COMMON",
    "DATA",
    "DIRECT",
    "IMPLIED",
    "OBJECTIVE",
    "RATES",
    "WHERE",
    "Cell",
    "Config",
    "ModelConfig",
    "Objective",
    "OptimizerConfig",
    "TargetConfig",
    "canonical",
    "data_seed",
    "stream",
]
