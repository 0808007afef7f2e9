"""Networks from weights by name and a list of layers: "2 tanh 64 tanh 64 1"."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.files.weights import Tensors
from hpcsweep.errors import PluginError, unknown


class _Sine(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sin(inputs)


MODULES: Mapping[str, Callable[[], nn.Module]] = {
    **{
        "tanh": nn.Tanh,
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "sigmoid": nn.Sigmoid,
        "mish": nn.Mish,
        "sin": _Sine,
    },
    **{"softplus": nn.Softplus, "elu": nn.ELU, "selu": nn.SELU, "celu": nn.CELU, "leaky_relu": nn.LeakyReLU},
    **{"hardtanh": nn.Hardtanh, "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid, "relu6": nn.ReLU6},
    **{"softsign": nn.Softsign, "logsigmoid": nn.LogSigmoid, "tanhshrink": nn.Tanhshrink, "identity": nn.Identity},
}
_MOST_MERGED = 7  # layers, or groups of numbered layers, of which all orders are tried
_WEIGHT = re.compile(r"(.*[._/])?(weight[_\d]*|W\w*)")
Shapes = Sequence[tuple[int, int]]  # of the weights of all layers, (outputs, inputs)


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
    linear, in_file = _linear(path, tensors), path.suffix != ".safetensors"
    if layers is None:
        linear = _ordered(path, linear, in_file)
        names = [activation] * (len(linear) - 1)
    else:
        names, shapes = _parsed(layers)
        linear = _of_shapes(path, linear, in_file, layers, shapes)
    for name in names:
        if name not in MODULES:
            raise PluginError(unknown("activation", name, MODULES))
    if len({*names}) <= 1 and all(name in ACTIVATIONS for name in names):
        weights, biases = (
            tuple(part.double() for part in parts) for parts in zip(*(layer[1:] for layer in linear), strict=True)
        )
        return Dense(weights, biases, names[0] if names else "relu")
    parts: list[nn.Module] = []
    for layer, name in itertools.zip_longest(linear, names):
        module = nn.Linear(layer.weight.shape[1], len(layer.weight), dtype=torch.float64)
        module.load_state_dict({"weight": layer.weight.double(), "bias": layer.bias.double()})
        parts += [module] if name is None else [module, MODULES[name]()]
    return nn.Sequential(*parts).eval()


def _linear(path: Path, tensors: Tensors) -> list[Linear]:
    """Return what is a matrix with a bias or none. Raises PluginError for anything else."""
    linear, used = [], set()
    numbers = {int(name[1:]) for name in tensors if re.fullmatch(r"W\d+", name)}
    if missing := {*range(min(numbers, default=0), max(numbers, default=0))} - numbers:
        raise PluginError(f"{path} holds {', '.join(tensors)}, but no W{min(missing)}.")
    for name, weight in tensors.items():
        if _WEIGHT.fullmatch(name) and weight.ndim == 2 and weight.numel() and weight.is_floating_point():
            bias_name = _bias_name(name)
            bias = tensors.get(bias_name, weight.new_zeros(len(weight)))
            if bias.shape != weight.shape[:1]:
                raise PluginError(
                    f"{path}: {name} {tuple(weight.shape)} and {bias_name} {tuple(bias.shape)} form no linear layer; "
                    "a weight is (outputs, inputs) and its bias (outputs,)."
                )
            linear.append(Linear(name, weight, bias))
            used |= {name, bias_name}
    others = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in used}
    if not linear or others:
        held = (
            ", ".join(f"{name} {_type(tensor)}{tuple(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
        )
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
    own, other = ("weight", "bias") if "weight" in weight else ("W", "b")
    before, _, after = weight.rpartition(own)
    return f"{before}{other}{after}"


def _type(tensor: Tensor) -> str:
    return "" if tensor.is_floating_point() else f"{tensor.dtype} ".removeprefix("torch.")


def _ordered(path: Path, linear: Sequence[Linear], in_file: bool) -> list[Linear]:
    """Return the layers in an order in which they follow each other (see `_orders`). Raises PluginError."""
    orders = _orders(linear, in_file)
    if len(orders) == 1:
        return orders[0]
    named = ", ".join(layer.about() for layer in linear)
    if orders:
        raise PluginError(
            f"{path}: the layers {named} follow each other in several orders, and {path.suffix} files keep none; give "
            "--layers, or number their names."
        )
    before, after = next(pair for pair in itertools.pairwise(linear) if not _follows(*pair))
    raise PluginError(
        f"{path}: the layers {named} do not follow each other: {after.name} takes {after.weight.shape[1]} inputs "
        f"where {before.name} has {len(before.weight)} outputs."
    )


def _of_shapes(path: Path, linear: Sequence[Linear], in_file: bool, layers: str, shapes: Shapes) -> list[Linear]:
    """Return the layers in an order in which they have these shapes (see `_orders`). Raises PluginError."""
    orders = _orders(linear, in_file, shapes)
    if len(orders) == 1:
        return orders[0]
    held = ", ".join(layer.about() for layer in linear)
    if orders:
        raise PluginError(
            f"{path}: the layers {held} have the shapes of --layers in several orders; number their names."
        )
    nearest = next(iter(_orders(linear, in_file)), linear)
    pairs = itertools.zip_longest(shapes, nearest)
    shape, layer = next((shape, layer) for shape, layer in pairs if not (layer and shape) or not _has(layer, shape))
    expected = f"a weight {shape}" if shape else "no more layers"
    there = layer.about() if layer else "nothing"
    raise PluginError(f"{path} holds {held}; --layers {layers!r} asks for {expected} where {there} is.")


def _orders(linear: Sequence[Linear], in_file: bool, shapes: Shapes | None = None) -> list[list[Linear]]:
    """Return the order of the layers: none if they do not fit together, two if nothing tells which one is meant.

    Layers whose names differ in numbers alone are in the order of these, if that fits. Otherwise the order is that of
    the file, if its format has one (`in_file`), or the only one that fits.

    Parameters
    ----------
    shapes: that the weights must have; None if it is enough that they follow each other.
    """
    groups: dict[str, list[Linear]] = {}
    for layer in sorted(linear, key=_numbers):
        groups.setdefault(re.sub(r"\d+", "0", layer.name), []).append(layer)
    for parts in (list(groups.values()), [[layer] for layer in linear]):
        numbered = all([layer for layer in linear if layer in part] == part for part in parts)
        if in_file and numbered and _fit(linear, shapes):
            return [list(linear)]
        merged = _merged(parts, [], shapes) if len(parts) <= _MOST_MERGED else iter(())
        if orders := list(itertools.islice(merged, 2)):
            return orders
    return []


def _numbers(layer: Linear) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", layer.name)]


def _merged(parts: Sequence[list[Linear]], before: list[Linear], shapes: Shapes | None) -> Iterator[list[Linear]]:
    """Yield the orders that fit and in which each part keeps its own."""
    if not any(parts) and (shapes is None or len(before) == len(shapes)):
        yield before
    for number, part in enumerate(parts):
        if part and _fit([*before, part[0]], shapes, whole=False):
            yield from _merged([*parts[:number], part[1:], *parts[number + 1 :]], [*before, part[0]], shapes)


def _fit(layers: Sequence[Linear], shapes: Shapes | None, whole: bool = True) -> bool:
    """Return whether layers follow each other, or have these shapes: all of them, or the first ones unless `whole`."""
    if shapes is None:
        return all(itertools.starmap(_follows, itertools.pairwise(layers)))
    enough = len(layers) == len(shapes) if whole else len(layers) <= len(shapes)
    return enough and all(itertools.starmap(_has, zip(layers, shapes, strict=False)))


def _follows(before: Linear, after: Linear) -> bool:
    return len(before.weight) == after.weight.shape[1]


def _has(layer: Linear, shape: tuple[int, int]) -> bool:
    return tuple(layer.weight.shape) == shape


def _parsed(layers: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the activations of all layers but the last, and the shapes of the weights."""
    words = layers.replace(",", " ").replace("->", " ").split()
    widths, names, pending = [], [], ""
    for word in words:
        if word.isdecimal():
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
    return hidden, [(outputs, inputs) for inputs, outputs in itertools.pairwise(widths)]
