"""Distributed sweeps that measure how accurately neural networks approximate functions, in the sup-norm."""

__version__ = "0.1.0"
