"""The tables of the reference, as Markdown, each from the code that it describes."""

from reference.names import activations, columns, families, targets
from reference.optimizers import methods
from reference.program import commands, exit_codes, interface
from reference.study import by_dimension, grid, keys, options

__all__ = [
    "activations",
    "by_dimension",
    "columns",
    "commands",
    "exit_codes",
    "families",
    "grid",
    "interface",
    "keys",
    "methods",
    "options",
    "targets",
]
