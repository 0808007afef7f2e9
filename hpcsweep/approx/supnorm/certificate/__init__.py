"""Upper bounds of the error, proved, with all rounding errors counted.

``enclosure``  a target and a network on boxes: affine forms, linear relaxation, Taylor models, their difference
``branching``  one round of branch and bound
``methods``    straight lines or Taylor models: which of them take the least work
``certify``    the search for the box with the largest error, until the gap is closed
"""
