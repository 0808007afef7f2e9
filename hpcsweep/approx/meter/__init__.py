"""Parameters -> bracket: how large the error of a network becomes, and where.

``points``      index -> coordinates, on the device (``directions``, ``korobov``, ``counter`` behind it)
``screen``      the worst point of every tile and the exact sums for the means, streamed
``slice``       target and network along a line through a point, for pictures

What is measured here comes from below: a supremum over finitely many points is an estimate and never a bound
from above.
"""
