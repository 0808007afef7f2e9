"""Functions of one variable on ranges: how gelu, tanh, exp, ... are enclosed.

``registry``       the names and their rules; the functions `relax` and `image` that all others call
``relu_sigmoids``  relu, tanh, sigmoid, erf, arctan, arcsin
``gelu_silu``      gelu and silu
``sin_cos``        sin and cos
``convex``         exp, log, sqrt, square, abs, cosh, softplus, reciprocal
``relaxation``     what they have in common
"""
