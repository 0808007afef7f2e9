"""What each training method does with a gradient or a Jacobian: directions, line searches, steps."""
