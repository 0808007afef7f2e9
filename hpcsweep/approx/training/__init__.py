"""A pack of equally shaped networks in, trained parameters and outcomes out; within a budget of time."""

from hpcsweep.approx.training.loop import train
from hpcsweep.approx.training.settings import Settings, Trained, pack_key
from hpcsweep.approx.training.strategies.lessons import Lesson, lesson_from

__all__ = ["Lesson", "Settings", "Trained", "lesson_from", "pack_key", "train"]
