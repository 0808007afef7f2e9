"""Compiled loops of proofs: bounds of networks and polynomials on boxes, with all roundings counted."""
