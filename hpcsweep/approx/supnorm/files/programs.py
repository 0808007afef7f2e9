"""Networks that a file holds as a program: TorchScript and torch.export.

Of a program nothing but operations that have an enclosure rule is executed, one after the other, on points and on
boxes alike: a file that holds others is refused before any of them runs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.rules import has_rule
from hpcsweep.errors import PluginError

# Of a script: what only hands values on, and operations of numbers.
_PLAIN: Mapping[str, Callable[[Any, list[Any]], Any]] = {
    "Constant": lambda node, _: node.output().toIValue(),
    "GetAttr": lambda node, inputs: getattr(inputs[0], node.s("name")),
    "ListConstruct": lambda _, inputs: inputs,
    "unchecked_cast": lambda _, inputs: inputs[0],
}
_OF_NUMBERS = {"__is__", "__isnot__", "__not__", "len"}


def load(path: Path, content: bytes) -> Callable[[Any], Any] | None:
    """Return the network of a TorchScript or torch.export file in float64; None of any other file.

    Raises
    ------
    PluginError: if it cannot be read, or holds operations without a rule
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        if path.suffix in (".pt2", ".ts"):
            raise PluginError(f"{path} cannot be read as a program: {error}.") from error
        return None
    try:
        if any("/code/" in name for name in names):
            return _Scripted(path, torch.jit.load(io.BytesIO(content), map_location="cpu").double().eval())
        if any(name.endswith("models/model.json") or name == "serialized_exported_program.json" for name in names):
            return _Exported(path, torch.export.load(io.BytesIO(content)))
    except RuntimeError as error:
        raise PluginError(f"{path} cannot be read as a program: {' '.join(str(error).split())[:300]}.") from error
    return None


def _require(path: Path, operations: set[str]) -> None:
    missing = sorted(name for name in operations if not has_rule(name))
    if missing:
        raise PluginError(
            f"{path} holds operations without an enclosure rule, which are not executed: {', '.join(missing)}. Name "
            "the network as path/file.py:name instead, which is executed as a whole."
        )


class _Scripted:
    """A TorchScript module, whose operations are looked up and executed one by one."""

    def __init__(self, path: Path, module: torch.jit.ScriptModule) -> None:
        self._path, self._module, self._graph = path, module, module.inlined_graph
        weights = (value for name, value in module.state_dict().items() if name.endswith("weight") and value.ndim == 2)
        self.inputs = next((int(weight.shape[1]) for weight in weights), None)

    def __call__(self, points: Any) -> Any:
        """Return the values at points, or on boxes. Raises PluginError for an operation without a rule."""
        own, *others = (value.debugName() for value in self._graph.inputs())
        if len(others) != 1:
            raise PluginError(f"{self._path}: a network of one input is expected.")
        values: dict[str, Any] = {own: self._module, others[0]: points}
        self._run(self._graph, values)
        [output] = self._graph.outputs()
        return values[output.debugName()]

    def _run(self, block: Any, values: dict[str, Any]) -> None:
        for node in block.nodes():
            inputs = [values[value.debugName()] for value in node.inputs()]
            outputs = [value.debugName() for value in node.outputs()]
            if node.kind() == "prim::If":
                branch = list(node.blocks())[0 if inputs[0] else 1]
                self._run(branch, values)
                values.update(zip(outputs, (values[value.debugName()] for value in branch.outputs()), strict=True))
            elif outputs:
                values[outputs[0]] = self._value(node, inputs)

    def _value(self, node: Any, inputs: list[Any]) -> Any:
        kind, _, name = node.kind().partition("::")
        if kind == "prim" and name in _PLAIN:
            return _PLAIN[name](node, inputs)
        _require(self._path, set() if kind == "aten" and name in _OF_NUMBERS else {name})
        arguments = torch._C.parse_schema(node.schema()).arguments
        positional = [value for value, argument in zip(inputs, arguments, strict=True) if not argument.kwarg_only]
        named = {argument.name: value for value, argument in zip(inputs, arguments, strict=True) if argument.kwarg_only}
        return getattr(torch.ops.aten, name)(*positional, **named)


class _Exported:
    """The graph of an exported program, whose inputs are its weights and the points."""

    def __init__(self, path: Path, program: torch.export.ExportedProgram) -> None:
        signature, self._nodes = program.graph_signature, list(program.graph.nodes)
        calls = [node.target for node in self._nodes if node.op == "call_function"]
        _require(path, {_name(target) for target in calls})
        if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1:
            raise PluginError(f"{path}: a network of one input and one output is expected.")
        stored: Mapping[str, Any] = {**program.state_dict, **program.constants}
        places = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        places |= dict(getattr(signature, "inputs_to_lifted_tensor_constants", {}))
        self._constants = {name: _double(stored[place]) for name, place in places.items()}
        [points] = [node for node in self._nodes if node.op == "placeholder" and node.name in signature.user_inputs]
        self.inputs = int(points.meta["val"].shape[-1])

    def __call__(self, points: Any) -> Any:
        """Return the values at points, or on boxes."""
        values: dict[Any, Any] = {}
        for node in self._nodes:
            if node.op == "placeholder":
                values[node] = self._constants.get(node.name, points)
                continue
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            if node.op == "output":
                return args[0][0]
            values[node] = node.target(*args, **kwargs)
        raise AssertionError("a graph without output")


def _double(value: Any) -> Any:
    return value.detach().double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _name(target: Any) -> str:
    return str(getattr(target, "__name__", target)).partition(".")[0]
