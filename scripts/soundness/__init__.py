"""What `scripts/check_soundness.py` is made of: random functions with their values in 50 digits, and proofs of them."""
