"""Networks of one shape as one program, with shared operations: on GPUs, and for models given as torch code."""
