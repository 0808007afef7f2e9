"""The worst points and exact sums of a point set of any size, streamed tile by tile.

``screen``     points, target and networks -> what is known of their errors
``accumulator``      what is kept while tiles stream by; ``error_keys`` their order, ``histogram`` their quantiles
``evaluator``  frozen networks as functions of points, compiled or by matrix products
"""
