"""Values and derivatives of many networks of one shape at once, in torch, and of their losses."""
