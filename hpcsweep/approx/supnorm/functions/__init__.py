"""Anything callable as functions that the meter can evaluate.

``adapting``    torch modules, functions of tensors, of NumPy arrays; checked
``promotion``   float32 code, run in float64
``components``  functions with several outputs, one after the other
``layers``      what is known of a network
``domains``     domains and samples
"""

from hpcsweep.approx.supnorm.functions.adapting import adapted, outputs_of
from hpcsweep.approx.supnorm.functions.domains import Domain, domain_of, places_of
from hpcsweep.approx.supnorm.functions.layers import inputs_of, terms_of

__all__ = ["Domain", "adapted", "domain_of", "inputs_of", "outputs_of", "places_of", "terms_of"]
