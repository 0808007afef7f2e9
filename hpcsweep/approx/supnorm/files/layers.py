"""Networks from weights by name and a list of layers: "2 tanh 64 tanh 64 1"."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.files.weights import Tensors
from hpcsweep.errors import PluginError, unknown

MODULES: Mapping[str, Callable[[], nn.Module]] = {
    **{"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "sigmoid": nn.Sigmoid, "mish": nn.Mish},
    **{"softplus": nn.Softplus, "elu": nn.ELU, "selu": nn.SELU, "celu": nn.CELU, "leaky_relu": nn.LeakyReLU},
    **{"hardtanh": nn.Hardtanh, "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid, "relu6": nn.ReLU6},
    **{"softsign": nn.Softsign, "logsigmoid": nn.LogSigmoid, "tanhshrink": nn.Tanhshrink, "identity": nn.Identity},
}
_MOST_ORDERED = 7  # layers of which all orders are tried


class Linear(NamedTuple):
    """A linear layer of a file: its name there, weight (outputs, inputs) and bias (outputs,)."""

    name: str
    weight: Tensor
    bias: Tensor

    def about(self) -> str:
        """Return name and shapes."""
        return f"{self.name} {tuple(self.weight.shape)}"


def network(path: Path, tensors: Tensors, layers: str | None, activation: str) -> Callable[..., Any]:
    """Return the network of the linear layers of a file.

    Parameters
    ----------
    layers: the number of inputs, then for each layer its activation and its width, the output without an activation;
        None for one activation, `activation`, after all layers but the last.

    Raises
    ------
    PluginError: if the weights are not those of such layers
    """
    linear = _ordered(path, _linear(path, tensors))
    names = [activation] * (len(linear) - 1) if layers is None else _activations(path, layers, linear)
    known = {*ACTIVATIONS, *MODULES}
    for name in names:
        if name not in known:
            raise PluginError(unknown("activation", name, sorted(known)))
    if len({*names}) <= 1 and all(name in ACTIVATIONS for name in names):
        weights, biases = (
            tuple(part.double() for part in parts) for parts in zip(*(layer[1:] for layer in linear), strict=True)
        )
        return Dense(weights, biases, names[0] if names else "relu")
    parts: list[nn.Module] = []
    for layer, name in itertools.zip_longest(linear, names):
        module = nn.Linear(layer.weight.shape[1], len(layer.weight), dtype=torch.float64)
        module.load_state_dict({"weight": layer.weight.double(), "bias": layer.bias.double()})
        parts += [module] if name is None else [module, _module(name)]
    return nn.Sequential(*parts).eval()


def _module(name: str) -> nn.Module:
    if name not in MODULES:
        raise PluginError(f"the activation {name} can only be used in all layers alike.")
    return MODULES[name]()


def _linear(path: Path, tensors: Tensors) -> list[Linear]:
    """Return what is a matrix with a bias or none. Raises PluginError for anything else."""
    linear, used = [], set()
    for name, weight in tensors.items():
        if weight.ndim == 2 and weight.numel() and weight.is_floating_point():
            bias_name = _bias_name(name)
            bias = tensors.get(bias_name, weight.new_zeros(len(weight)))
            if bias.shape != weight.shape[:1]:
                raise PluginError(
                    f"{path}: {name} {tuple(weight.shape)} and {bias_name} {tuple(bias.shape)} are no linear layer; "
                    "a weight is (outputs, inputs) and its bias (outputs,)."
                )
            linear.append(Linear(name, weight, bias))
            used |= {name, bias_name}
    others = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in used}
    if not linear or others:
        held = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        problem = f"{', '.join(others)} belong to no linear layer" if linear else "there is no linear layer"
        near = difflib.get_close_matches(next(iter(others), ""), [layer.name for layer in linear], n=1, cutoff=0.3)
        nearest = f" (the nearest is {near[0]})" if near else ""
        raise PluginError(
            f"{path} holds {held}: {problem}{nearest}. Networks of other layers are named as path/file.py:name, or "
            "saved with torch.export.save."
        )
    return linear


def _bias_name(weight: str) -> str:
    """Return the name of the bias: 0.weight -> 0.bias, W0 -> b0."""
    for mine, other in (("weight", "bias"), ("W", "b")):
        if mine in weight:
            return weight.replace(mine, other)
    return f"{weight}.bias"


def _ordered(path: Path, linear: Sequence[Linear]) -> list[Linear]:
    """Return the layers in the order of the file or, where they do not follow each other, in the only one that does."""
    if _follows(linear):
        return list(linear)
    orders = itertools.permutations(linear) if len(linear) <= _MOST_ORDERED else iter(())
    chains = [order for order in orders if _follows(order)]
    if len(chains) != 1:
        named = ", ".join(layer.about() for layer in linear)
        before, after = next(pair for pair in itertools.pairwise(linear) if not _follows(pair))
        raise PluginError(
            f"{path}: the layers {named} do not follow each other: {after.name} takes {after.weight.shape[1]} inputs "
            f"where {before.name} has {len(before.weight)} outputs."
        )
    return list(chains[0])


def _follows(layers: Sequence[Linear]) -> bool:
    return all(len(before.weight) == after.weight.shape[1] for before, after in itertools.pairwise(layers))


def _activations(path: Path, layers: str, linear: Sequence[Linear]) -> list[str]:
    """Return the activation of each layer but the last, from a list of layers that must have the shapes of the file."""
    words = layers.replace(",", " ").replace("->", " ").split()
    widths, names, pending = [], [], ""
    for word in words:
        if word.isdigit():
            widths.append(int(word))
            names.append(pending)
            pending = ""
        elif pending:
            raise PluginError(
                f"--layers {layers!r}: {pending} {word}: each activation stands before the width of its layer."
            )
        else:
            pending = word.lower()
    hidden, output = names[1:-1], names[-1:]
    if len(widths) < 2 or pending or names[0] or output != [""] or not all(hidden):
        raise PluginError(
            f"--layers {layers!r} must be the number of inputs, an activation and a width for each hidden layer "
            '(identity for none), and the number of outputs: "2 tanh 64 tanh 64 1".'
        )
    shapes = list(itertools.pairwise(widths))
    for (inputs, outputs), layer in itertools.zip_longest(shapes, linear, fillvalue=(None, None)):
        shape = tuple(layer.weight.shape) if isinstance(layer, Linear) else None
        if shape != (outputs, inputs):
            held = ", ".join(part.about() for part in linear)
            expected = f"a weight ({outputs}, {inputs})" if outputs else "no more layers"
            raise PluginError(f"{path} holds {held}; --layers {layers!r} asks for {expected} where {_what(layer)} is.")
    return hidden


def _what(layer: Any) -> str:
    return layer.about() if isinstance(layer, Linear) else "nothing"
