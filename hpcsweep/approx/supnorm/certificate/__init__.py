"""Upper bounds of the error, proved, with all rounding errors counted.

``enclosure``  a target and a network on boxes: affine forms, linear relaxation, their difference
``branching``  one round of branch and bound
``certify``    the search for the box with the largest error, until the gap is closed; which relaxation pays
"""
