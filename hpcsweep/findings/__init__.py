"""What came out: reading stores, figures and reports. The only place that imports scipy, xarray, matplotlib and jinja2.

Nothing here needs torch or MPI, so that results are read on any login node or laptop. The order of imports is
dataset < series < scaling < figures < page < report.
"""
