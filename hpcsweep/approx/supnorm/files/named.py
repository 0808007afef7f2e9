"""Networks and targets by name, as on a command line: a file of weights, a function in a file, one of our targets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from hpcsweep.approx import plugins
from hpcsweep.approx.supnorm.approximations import Approximation, ErrorFunction
from hpcsweep.approx.supnorm.dense import Dense
from hpcsweep.approx.supnorm.files import layers as files_layers
from hpcsweep.approx.supnorm.files import programs, weights
from hpcsweep.approx.supnorm.functions import Domain, adapted, domain_of, inputs_of, outputs_of, terms_of
from hpcsweep.approx.supnorm.functions.components import common_outputs
from hpcsweep.approx.targets import Target
from hpcsweep.config import Config, TargetConfig
from hpcsweep.errors import PluginChanged, PluginError


@final
@dataclass(frozen=True)
class Files(Approximation):
    """A network and a target by their names.

    Parameters
    ----------
    network: a file of weights or of a program (see `load_network`), or "path/file.py:name" or "module:name" of a
        callable.
    target: the name of one of ours, or of a callable or `Target` class likewise.
    domain: ((low, high), ...); one pair per axis.
    activation, layers: of a network in a file of weights, see `layers.network`.
    output: which one, where both have several.
    codes: digests of the files of network and target (of plugins, see `plugins.code_of`); empty where there is nothing
        to digest.
    """

    network: str
    target: str
    domain: Domain
    activation: str = "relu"
    codes: tuple[str, str] = ("", "")
    layers: str | None = None
    output: int | None = None

    @property
    def plugins(self) -> tuple[Config, ...]:
        """Network and target, as far as they are executed."""
        named = zip((self.network, self.target), self.codes, strict=True)
        return tuple(TargetConfig(name, code=code) for name, code in named if code and ":" in name)

    @property
    def group(self) -> Hashable:
        """The target and the domain."""
        return self.target, self.domain, self.output

    def error_function(self, folder: Path, device: str) -> ErrorFunction:
        """Load both. Raises PluginChanged if the file of the network is not the one of the beginning."""
        network = load_network(self.network, self.activation, folder, self.layers, self.codes[0])
        target = load_target(self.target, len(self.domain), folder)
        approximant = adapted(network, self.domain, self.output)
        terms = terms_of(network, approximant, self.domain, self.output)
        return ErrorFunction(adapted(target, self.domain, self.output), approximant, self.domain, terms)


def each_output(approximation: Files, folder: Path) -> list[Files]:
    """Return the approximations of all outputs, where there are several. Raises PluginError if not as many in both."""
    code = approximation.codes[0]
    network = load_network(approximation.network, approximation.activation, folder, approximation.layers, code)
    target = load_target(approximation.target, len(approximation.domain), folder)
    count = common_outputs(*(outputs_of(function, approximation.domain) for function in (target, network)))
    return [replace(approximation, output=output) for output in range(count)] if count > 1 else [approximation]


def files(
    network: str,
    target: str,
    domain: str | None,
    dimension: int | None,
    activation: str,
    folder: Path = Path("."),
    layers: str | None = None,
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
    loaded = load_network(network, activation, folder, layers, codes[0])
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
    approximation = Files(network, target, box, activation, codes, layers)
    each_output(approximation, folder)[0].error_function(folder, "cpu")
    return approximation


def _code(name: str, folder: Path) -> str:
    if ":" in name:
        return plugins.code_of(name, folder)
    return _digest(_content(folder / name)) if name.endswith(_FILES) else ""


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PluginError(f"{path} cannot be read as {weights.kind(path)}: {error}.") from error


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
    problem: PluginError | None = None
    for guess in filter(None, dict.fromkeys((inputs_of(network), pairs))):
        try:
            box = ((0.0, 1.0),) * guess
            adapted(network, box, 0 if outputs_of(network, box) > 1 else None)
        except PluginError as error:
            problem = problem or PluginError(f"{error} It was tried with {guess} input(s); --dimension gives others.")
        else:
            return guess
    raise problem or PluginError(
        "the input dimension is not known; give --dimension, or --domain with one pair per axis."
    )


def load_target(name: str, dimension: int, folder: Path) -> Callable[..., Any]:
    """Return a target by its name. Raises PluginError."""
    if ":" not in name:
        return plugins.target({"name": name}, dimension, folder)
    member = plugins.member(name, folder)
    return member(dimension) if isinstance(member, type) and issubclass(member, Target) else _callable(member, name)


def load_network(
    name: str, activation: str, folder: Path, layers: str | None = None, code: str = ""
) -> Callable[..., Any]:
    """Return a network by its name.

    Files of weights (.npz, .safetensors, state dicts in .pt and .pth) have linear layers, with activations as
    `layers.network` takes them; files of programs are TorchScript (.pt, .pth, .ts) and torch.export (.pt2).

    Raises
    ------
    PluginError : for what cannot be had
    PluginChanged : for a file whose digest is not `code`
    """
    path = folder / name
    if ":" in name:
        network = _callable(plugins.member(name, folder), name)
    elif path.suffix not in _FILES:
        raise PluginError(
            f"the network must be a file ({', '.join(_FILES)}), path/file.py:name or module:name, not {name!r}."
        )
    else:
        content = _content(path)
        if code not in ("", _digest(content)):
            raise PluginChanged(f"{path} was changed while it was measured; run the same command again.")
        program = programs.load(path, content)
        if program is None:
            return files_layers.network(path, weights.load(path, content), layers, activation)
        network = program
    if layers is not None:
        raise PluginError(f"--layers {layers!r} is about a file of weights; {name} has layers of its own.")
    return network


_FILES = (".npz", ".pt", ".pth", ".safetensors", ".ts", ".pt2")


def _callable(member: object, name: str) -> Callable[..., Any]:
    if isinstance(member, type):
        raise PluginError(f"{name} is a class; it must be a function of points (points, dimension), or an object.")
    if not callable(member):
        raise PluginError(f"{name} is a {type(member).__name__}; it must be a function of points (points, dimension).")
    return member
