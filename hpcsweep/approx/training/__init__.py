"""A pack of equally shaped networks in, trained parameters and outcomes out; within a budget of time."""

from hpcsweep.approx.training.loop import train
from hpcsweep.approx.training.settings import Settings, Trained, pack_key
from hpcsweep.approx.training.strategies.objectives import Objective, objective_from

__all__ = ["Objective", "Settings", "Trained", "objective_from", "pack_key", "train"]
