"""Numbers with twice the digits of float64, each with a bound of its error: the second arithmetic behind the rules.

``error_free``  sums and products whose rounding errors are known, on tensors
``number``  `DoubleDouble`, which a user's own torch code runs on
``arithmetic``  what it does in place of the rules of affine forms; ``products`` of matrices;
``exp_log``, ``circular``, ``sigmoids``, ``steps``  elementary functions, activations, functions that jump
``constants``  tables and constants, by decimal arithmetic
"""
