"""Taylor models: forms with the terms of higher degrees, for functions that are smooth.

``monomials``  which monomials a form has, and of what order forms are at present
``series``  Taylor series of functions of one variable, with bounds of remainders and roundings
``compositions``  products of models, functions of them, and the proof that their remainders are bounds
``difference``  a target and an approximant together: upper bounds on boxes
"""
