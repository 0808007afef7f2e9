"""What the libraries inside torch are told in the environment, before torch is imported; the user's own values stay.

MKL chooses a code path by the processor and, unless told otherwise, by the addresses of its operands modulo 64 bytes.
On some processors, AMD's for one, these paths round differently: the bits of what torch multiplies (models given as
torch code, targets that are networks, proofs) then depend on where it lies in memory, and so on the work before it.
STRICT makes MKL take one path at all addresses. It reads the variable once, at its first product: setting it before
torch is imported, as importing this package does, is in time for certain.

OpenMP's threads wait for each other in a loop that uses up their cores, for as long as milliseconds. Where another
process computes on one of these cores, all wait for the thread that has none, in turn. PASSIVE gives the core back.
"""

from __future__ import annotations

import os
import sys

NAME, VALUE = "MKL_CBWR", "AUTO,STRICT"
SHELL = f'{NAME}="${{{NAME}-{VALUE}}}"'  # the same as an assignment in a shell

# Torch may have multiplied already, and then MKL is not to be changed in this process. It is set for its children.
LATE = NAME not in os.environ and "torch" in sys.modules
CHOSEN = os.environ.setdefault(NAME, VALUE)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def told() -> str:
    """Return what this process began with, as it is recorded with every launch."""
    return f"{NAME}={CHOSEN}" + (" set after torch was imported" if LATE else "")
