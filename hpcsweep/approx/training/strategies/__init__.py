"""Trainings of several parts, and other objectives than values: stages, layers, equations, direct fits."""
