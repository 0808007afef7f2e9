"""Attacks on a store: power cuts, flipped bits, and a fault at every system call of everything that writes one."""
