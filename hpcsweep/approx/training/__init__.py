"""A pack of equally shaped networks in, trained parameters and outcomes out; within a budget of time."""

from hpcsweep.approx.training.loop import train
from hpcsweep.approx.training.settings import Trained, pack_key

__all__ = ["Trained", "pack_key", "train"]
