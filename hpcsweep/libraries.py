"""What the libraries inside torch are told in the environment, before torch is imported; the user's own values stay.

MKL chooses a code path by the processor and, unless told otherwise, by the addresses of its operands modulo 64 bytes.
On some processors, AMD's for one, these paths round differently: the bits of what torch multiplies (models given as
torch code, targets that are networks, proofs) then depend on where it lies in memory, and so on the work before it.
STRICT makes MKL take one path at all addresses.

OpenMP's threads wait for each other in a loop that uses up their cores, for as long as milliseconds. Where another
process computes on one of these cores, all wait for the thread that has none, in turn. PASSIVE gives the core back.

MKL reads its variable once, at its first product, OpenMP when torch is imported: importing this package before torch is
in time for both. In a script that imports torch first, export them.
"""

from __future__ import annotations

import os
import sys

MKL_NAME, MKL_VALUE = "MKL_CBWR", "AUTO,STRICT"
MKL_SHELL = f'{MKL_NAME}="${{{MKL_NAME}-{MKL_VALUE}}}"'  # the same as an assignment in a shell

# Torch may have multiplied already, and then MKL is not to be changed in this process. It is set for its children.
MKL_LATE = MKL_NAME not in os.environ and "torch" in sys.modules
MKL_CHOSEN = os.environ.setdefault(MKL_NAME, MKL_VALUE)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def mkl_told() -> str:
    """Return what MKL was told in this process, as it is recorded with every launch."""
    return f"{MKL_NAME}={MKL_CHOSEN}" + (" set after torch was imported" if MKL_LATE else "")
