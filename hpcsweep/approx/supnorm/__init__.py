"""Parameters -> bracket: how large the error of a network becomes, and where; found from below, proved from above.

``points``     index -> coordinates
``screening``  the worst points of all, streamed
``search``     from there to local maxima
``certificate``  upper bounds

``approximations`` says what is measured, ``measurement`` how; ``tasks`` do it, ``survey`` says what is to be done next,
``measured`` the result; ``dense`` are networks known by their layers, ``functions`` and ``files`` anything else that
can be called.
"""
