"""Networks and targets by name, as on a command line: a file of weights, a function in a file, one of our targets."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from hpcsweep.approx import plugins
from hpcsweep.approx.models import ACTIVATIONS
from hpcsweep.approx.supnorm.approximations import Approximation, ErrorFunction
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.functions import Domain, adapted, domain_of, inputs_of, terms_of
from hpcsweep.approx.targets import Target
from hpcsweep.config import Config, TargetConfig
from hpcsweep.errors import PluginChanged, PluginError, unknown


@final
@dataclass(frozen=True)
class Files(Approximation):
    """A network and a target by their names.

    Parameters
    ----------
    network: "weights.npz" (see `network_file`), or "path/file.py:name" or "module:name" of a callable.
    target: the name of one of ours, or of a callable or `Target` class likewise.
    domain: ((low, high), ...); one pair per axis.
    activation: of a network in an .npz file.
    codes: digests of the files of network and target (of plugins, see `plugins.code_of`); empty where there is nothing
        to digest.
    """

    network: str
    target: str
    domain: Domain
    activation: str = "relu"
    codes: tuple[str, str] = ("", "")

    @property
    def plugins(self) -> tuple[Config, ...]:
        """Network and target, as far as they are executed."""
        named = zip((self.network, self.target), self.codes, strict=True)
        return tuple(TargetConfig(name, code=code) for name, code in named if code and ":" in name)

    @property
    def group(self) -> Hashable:
        """The target and the domain."""
        return self.target, self.domain

    def error_function(self, folder: Path, device: str) -> ErrorFunction:
        """Load both. Raises PluginChanged if the file of the network is not the one of the beginning."""
        network = load_network(self.network, self.activation, folder, self.codes[0])
        target = load_target(self.target, len(self.domain), folder)
        approximant = adapted(network, self.domain)
        terms = terms_of(network, approximant, self.domain)
        return ErrorFunction(adapted(target, self.domain), approximant, self.domain, terms)


def files(
    network: str, target: str, domain: str | None, dimension: int | None, activation: str, folder: Path = Path(".")
) -> Files:
    """Return the approximation of what a command line names, loaded once, so that every mistake shows at once.

    The dimension is the one that is given, or the number of pairs in the domain where there are several, or that of the
    network where its layers tell; a domain may be left out where the target knows its own.

    Raises
    ------
    PluginError : for what cannot be had, or does not fit together
    """
    pairs = len(domain_of(domain)) if domain is not None else 0
    codes = _code(network, folder), _code(target, folder)
    loaded = load_network(network, activation, folder, codes[0])
    inputs = dimension or (pairs if pairs > 1 else _inputs(loaded, pairs))
    if isinstance(loaded, Dense) and inputs != loaded.dimension:
        raise PluginError(f"{network} has {loaded.dimension} inputs, not {inputs}; correct --dimension or --domain.")
    known = load_target(target, inputs, folder)
    if domain is not None:
        box = domain_of(domain, inputs)
    elif isinstance(known, Target):
        box = domain_of(known.domain)
    else:
        raise PluginError(f'the target {target!r} has no domain of its own; give --domain, such as "-1,1".')
    approximation = Files(network, target, box, activation, codes)
    approximation.error_function(folder, "cpu")
    return approximation


def _code(name: str, folder: Path) -> str:
    if name.endswith(".npz"):
        return _digest(_content(folder / name))
    return plugins.code_of(name, folder) if ":" in name else ""


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PluginError(f"{path} cannot be read as an .npz file of weights: {error}.") from error


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _inputs(network: Callable[..., Any], pairs: int) -> int:
    """Return how many inputs a network takes where nobody says it: what its first layer has, or one for the one pair.

    Raises
    ------
    PluginError : if it takes neither
    """
    if isinstance(network, Dense):
        return network.dimension
    tried = ""
    for guess in (inputs_of(network), pairs):
        if guess:
            try:
                adapted(network, ((0.0, 1.0),) * guess)
            except PluginError as error:
                tried = f" With {guess}: {error}"
            else:
                return guess
    raise PluginError(f"the input dimension is not known; give --dimension, or --domain with one pair per axis.{tried}")


def load_target(name: str, dimension: int, folder: Path) -> Callable[..., Any]:
    """Return a target by its name. Raises PluginError."""
    if ":" not in name:
        return plugins.target({"name": name}, dimension, folder)
    member = plugins.member(name, folder)
    return member(dimension) if isinstance(member, type) and issubclass(member, Target) else _callable(member, name)


def load_network(name: str, activation: str, folder: Path, code: str = "") -> Callable[..., Any]:
    """Return a network by its name. Raises PluginError, and PluginChanged for an .npz file of another digest `code`."""
    if name.endswith(".npz"):
        return network_file(folder / name, activation, code)
    if ":" not in name:
        raise PluginError(f"the network must be weights.npz, path/file.py:name or module:name, not {name!r}.")
    return _callable(plugins.member(name, folder), name)


def _callable(member: object, name: str) -> Callable[..., Any]:
    if isinstance(member, type):
        raise PluginError(f"{name} is a class; it must be a function of points (points, dimension), or an object.")
    if not callable(member):
        raise PluginError(f"{name} is a {type(member).__name__}; it must be a function of points (points, dimension).")
    return member


def network_file(path: Path, activation: str, code: str = "") -> Dense:
    """Return the network of an .npz file: W0, b0, W1, b1, ..., each W (outputs, inputs), b (outputs,) or missing.

    Raises
    ------
    PluginError : if the file is no such file, or its shapes do not follow each other
    PluginChanged : if its digest is not `code`
    """
    if activation not in ACTIVATIONS:
        raise PluginError(unknown("activation", activation, ACTIVATIONS))
    content = _content(path)
    if code not in ("", _digest(content)):
        raise PluginChanged(f"{path} was changed while it was measured; run the same command again.")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name].astype(np.float64, casting="same_kind")) for name in file.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise PluginError(f"{path} cannot be read as an .npz file of weights: {error}.") from error
    layers = sum(name.startswith("W") for name in arrays)
    expected = [f"{letter}{layer}" for layer in range(layers) for letter in "Wb"]
    if not layers or not {name for name in expected if name[0] == "W"} <= arrays.keys() <= set(expected):
        raise PluginError(f"{path} holds {', '.join(sorted(arrays))}; it must hold W0, b0, W1, b1, ... of all layers.")
    weights = tuple(arrays[f"W{layer}"] for layer in range(layers))
    biases = tuple(arrays.get(f"b{i}", weight.new_zeros(weight.shape[:1])) for i, weight in enumerate(weights))
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        after = len(weights[layer - 1]) if layer else math.prod(weight.shape[1:])
        if weight.ndim != 2 or not weight.numel() or weight.shape[1] != after or bias.shape != weight.shape[:1]:
            shapes = f"W{layer} {tuple(weight.shape)} and b{layer} {tuple(bias.shape)}"
            raise PluginError(f"{path}: {shapes} do not follow {after} inputs; each W is (outputs, inputs).")
    if len(weights[-1]) != 1:
        raise PluginError(f"{path}: the last layer has {len(weights[-1])} outputs; it must have one.")
    return Dense(weights, biases, activation)
