"""The matrix of faults: what `scripts/faults` does to runs, and what is left of them afterwards."""
