"""Models of a user: ``module:Class`` or ``path/file.py:Class``, checked by the rules that ours keep."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from hpcsweep.approx import plugins
from hpcsweep.approx.isolation import isolated
from hpcsweep.approx.models.checks import FIELDS as OF_NETWORKS
from hpcsweep.approx.models.checks import validated
from hpcsweep.approx.models.layers import count
from hpcsweep.approx.models.model import FIELDS, Domain, Model, Standardising
from hpcsweep.config import ModelConfig
from hpcsweep.errors import PluginError, unknown

_SEEDS = (1, 2**64 - 1, 2**65)  # those of later stages are beyond 64 bits
_POINTS = 33


@final
class Own(Standardising):
    """A user's model on a domain: its class sees the points, or their standardised image."""

    def __init__(self, config: ModelConfig, domain: Domain, network: Model) -> None:
        """`network`: made by `network_of`."""
        super().__init__(config, domain)
        self._network = network
        self.dimension, self.parameters, self.widths = network.dimension, network.parameters, network.widths

    def init(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return initial parameters (cells, parameters)."""
        with self._isolated("make initial parameters"):
            return self._network.init(seeds, dtype)

    def evaluate(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the values (points,) for what the user's class sees (points, dimension)."""
        with self._isolated("be evaluated", brief=True):
            return self._network.apply(parameters, inputs)

    def frequency_layer(self, parameters: Tensor) -> Tensor | None:
        """Return what the user's class says."""
        with self._isolated("say which layer has its frequencies"):
            return self._network.frequency_layer(parameters)

    def _isolated(self, action: str, brief: bool = False) -> isolated:
        return isolated(f"model {self.config.name!r} cannot {action}", type(self._network).__module__, brief)


def resolve_own(given: Mapping[str, Any], folder: str | Path) -> ModelConfig:
    """Return the configuration of a user's model: the fields that its class reads, and the digest of its source.

    Raises PluginError for what cannot be, also if what is `given` has the code of another state of the file.
    """
    name = given["name"]
    kind, code = plugins.identified(name, folder, Model, given.get("code"))
    for field in kind.fields:
        if field not in FIELDS:
            raise PluginError(unknown(f"{name}: fields", field, FIELDS))
    for field in given:
        if field not in (*OF_NETWORKS, "code"):
            raise PluginError(unknown("model", field, OF_NETWORKS))
    return validated(given, code, tuple(field for field in FIELDS if field not in kind.fields))


def network_of(config: ModelConfig, dimension: int, folder: str | Path) -> Model:
    """Make and check the user's model."""
    return _network(config.network, dimension, str(Path(folder).resolve()))


@functools.cache
def _network(config: ModelConfig, dimension: int, folder: str) -> Model:
    """Once for each configuration: it holds the digest of the source, and all cells of a shape share one network."""
    kind, _ = plugins.identified(config.name, folder, Model, config.code or None)
    subject = f"model {config.name!r} in dimension {dimension}"
    chosen = copy.deepcopy(config.plain)
    network = plugins.guarded(f"{subject} cannot be made", lambda: kind(chosen, dimension), kind.__module__)  # type: ignore[call-arg]
    for rule in (_size, _initial, _values, _derivatives):
        breaches = functools.partial(rule, network, dimension)
        broken = plugins.guarded(f"{subject} cannot be evaluated", lambda: list(breaches()), kind.__module__)  # noqa: B023
        if broken:  # the later rules lean on the earlier ones
            raise PluginError(f"{subject} breaks the rules: {'; '.join(broken)}.")
    return network


def _size(network: Model, dimension: int) -> Iterator[str]:
    size, widths = getattr(network, "parameters", None), network.widths
    if type(size) is not int or size < 1:
        yield f"`parameters` must be the number of parameters of one network, 1 or more, not {size!r}"
    if getattr(network, "dimension", None) != dimension:
        yield f"`dimension` must be {dimension}"
    if widths and (count(widths) != size or widths[-1] != 1):
        yield f"`widths` {tuple(widths)} is not that of layers with {size!r} parameters and one output"


def _initial(network: Model, dimension: int) -> Iterator[str]:
    rows = network.init(_SEEDS, torch.float64)
    shape = (len(_SEEDS), network.parameters)
    if not isinstance(rows, Tensor) or rows.shape != shape or rows.dtype != torch.float64:
        yield f"init must return a tensor {shape} of the dtype it is asked for"
        return
    if not torch.isfinite(rows).all():
        yield "init must return finite numbers"
    if any(
        not torch.equal(network.init([seed], torch.float64)[0], row) for seed, row in zip(_SEEDS, rows, strict=True)
    ):
        yield "row i of init must depend on seeds[i] and on nothing else"
    if network.init(_SEEDS, torch.float32).dtype != torch.float32:
        yield "init must return a tensor of the dtype it is asked for"


def _sample(dimension: int) -> Tensor:
    """Return repeatable points (points, dimension) of [-1, 1]^d."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(_POINTS, dimension, dtype=torch.float64, generator=generator) * 2 - 1


def _values(network: Model, dimension: int) -> Iterator[str]:
    points = _sample(dimension)
    for dtype in (torch.float32, torch.float64):
        parameters, places = network.init(_SEEDS[:1], dtype)[0], points.to(dtype)
        kept = parameters.clone(), places.clone()
        values = network.apply(parameters, places)
        if not isinstance(values, Tensor) or values.shape != (_POINTS,) or values.dtype != dtype:
            yield f"apply must return a tensor ({_POINTS},) of {dtype} for points ({_POINTS}, {dimension}) of {dtype}"
            return
        if not torch.isfinite(values).all():
            yield "apply must be finite on [-1, 1]^d for initial parameters"
            return
        if not (torch.equal(kept[0], parameters) and torch.equal(kept[1], places)):
            yield "apply must leave its arguments unchanged"
    alone = torch.cat([network.apply(parameters, place[None]) for place in places])
    if not torch.allclose(alone, values, rtol=1e-9, atol=1e-9 * float(values.abs().max())):
        yield "the value of apply at a point depends on the other points"


def _derivatives(network: Model, dimension: int) -> Iterator[str]:
    rows, points = network.init(_SEEDS, torch.float64), _sample(dimension)
    together = torch.func.vmap(network.apply, in_dims=(0, None))(rows, points)  # (networks, points)
    alone = torch.stack([network.apply(row, points) for row in rows])
    if not torch.allclose(together, alone, rtol=1e-9, atol=1e-9 * float(alone.abs().max())):
        yield "apply gives other values under torch.func.vmap"
    gradient = torch.func.grad(lambda row: network.apply(row, points).square().mean())(rows[0])
    if not torch.isfinite(gradient).all():
        yield "the gradient of apply by the parameters is not finite"
