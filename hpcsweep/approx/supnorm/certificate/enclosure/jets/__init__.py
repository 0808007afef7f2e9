"""Functions with their derivatives on boxes: Laplacians of torch code."""
