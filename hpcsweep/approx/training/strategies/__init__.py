"""Trainings of several parts, and other lessons than values: stages, layers, equations, direct fits."""
