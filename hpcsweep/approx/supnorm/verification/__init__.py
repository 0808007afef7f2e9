"""Brackets checked by another arithmetic: balls of FLINT (Johansson, "Arb", IEEE Trans. Comput. 66, 2017).

Nothing here knows the rules by which `certificate` proves: only targets, and models other than networks of layers, are
the same code. The only room that imports flint, which the command `verify` alone needs.
"""
