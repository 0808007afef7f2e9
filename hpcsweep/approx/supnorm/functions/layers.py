"""The layers of networks, where they are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.networks import Network
from hpcsweep.approx.supnorm import consistency, dense
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.functions.domains import Domain
from hpcsweep.approx.supnorm.screening.screen import Function


def terms_of(
    function: Callable[..., Any], adapted_function: Function, domain: Domain, output: int | None = None
) -> tuple[Dense, ...]:
    """Return the layers of a `Dense`, a `Network`, or a Sequential of Linear layers with one activation; () of others.

    Of several outputs, the layers up to one of them.

    Also () where hooks, parametrizations or a forward of its own do more than the layers, or where the layers differ
    from `adapted_function`, what `adapted` returns for it.
    """
    if isinstance(function, Dense):
        return (function if output is None else function.of_output(output),)
    if isinstance(function, Network) and not _altered(function):
        return dense.of(function.model, function.vector.detach().cpu().double())
    if type(function) is not nn.Sequential or any(_altered(part) for part in function.modules()):
        return ()
    parts = list(function)  # children() would leave out what comes twice
    linear, between = [part for part in parts[::2] if type(part) is nn.Linear], parts[1::2]
    names = {_activation(part) for part in between}
    if len(linear) != len(between) + 1 or len(names) != 1:
        return ()
    [name] = names
    outputs = linear[-1].out_features
    if name is None or (output is None) != (outputs == 1):
        return ()
    weights = tuple(part.weight.detach().cpu().double() for part in linear)
    biases = tuple(
        torch.zeros(len(weight), dtype=torch.float64) if part.bias is None else part.bias.detach().cpu().double()
        for part, weight in zip(linear, weights, strict=True)
    )
    term = Dense(weights, biases, name)
    term = term if output is None else term.of_output(output)
    return (term,) if consistency.agree(term, adapted_function, domain) else ()


def _altered(part: nn.Module) -> bool:
    """Return whether a call of a module is more than its class says."""
    hooked = part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part)
    return bool(hooked) or parametrize.is_parametrized(part)


def _activation(part: nn.Module) -> str | None:
    return next((name for name, one in ACTIVATIONS.items() if one.is_module(part)), None)


def inputs_of(function: Callable[..., Any]) -> int | None:
    """Guess how many inputs a network has, by what it says or by its first linear layer; None if there is none."""
    if isinstance(inputs := getattr(function, "inputs", None), int):
        return inputs
    modules = function.modules() if isinstance(function, nn.Module) else []
    return next((part.in_features for part in modules if isinstance(part, nn.Linear)), None)
