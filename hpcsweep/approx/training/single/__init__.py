"""Networks that train alone, in compiled loops: on processor cores."""
