"""Networks that a file holds as a program: TorchScript and torch.export.

Of a program nothing but operations that have an enclosure rule is executed, and operations on numbers and constants,
one after the other, on points and on boxes alike. Others are refused.
"""

from __future__ import annotations

import io
import operator
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hpcsweep.approx.supnorm.certificate.enclosure.rules import has_rule
from hpcsweep.approx.supnorm.files import archives
from hpcsweep.errors import PluginError

_PROGRAMS = (".pt2", ".ts")
# Of a script: what only hands values on.
_PLAIN: Mapping[str, Callable[[Any, list[Any]], Any]] = {
    "Constant": lambda node, _: node.output().toIValue(),
    "ListConstruct": lambda _, inputs: inputs,
    "ListUnpack": lambda _, inputs: inputs[0],
    "NumToTensor": lambda _, inputs: inputs[0],
    "TupleConstruct": lambda _, inputs: inputs,
    "TupleUnpack": lambda _, inputs: inputs[0],
    "unchecked_cast": lambda _, inputs: inputs[0],
}
_OF_NUMBERS: Mapping[str, Callable[..., Any]] = {
    **{"__is__": operator.is_, "__isnot__": operator.is_not, "__not__": operator.not_, "getitem": operator.getitem},
    **{"len": len, "list": list, "Int": int, "sym_size": lambda values, axis: values.size(axis)},
    "_assert_tensor_metadata": lambda *_, **__: None,
}
_OF_PYTHON = {
    "__getitem__",
    "add",
    "eq",
    "floordiv",
    "ge",
    "gt",
    "le",
    "lt",
    "mul",
    "ne",
    "neg",
    "sub",
}  # as `operator`
_PYTHON = (int, float, str, list, tuple)
_TYPES = {5: torch.float16, 6: torch.float32, 15: torch.bfloat16}  # numbers of types in a script
_CONSTANTS = {"arange", "eye", "full", "lift_fresh_copy", "linspace", "ones", "tensor", "zeros"}


def load(path: Path, content: bytes) -> Callable[[Any], Any] | None:
    """Return the network of a TorchScript or torch.export file in float64; None of any other file.

    Raises
    ------
    PluginError: if it cannot be read, or holds operations without a rule
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        if path.suffix in _PROGRAMS:
            raise PluginError(f"{path} cannot be read as a program: {error}.") from error
        return None
    names = archive.namelist()
    try:
        if any("/code/" in name for name in names):
            return _Scripted(path, torch.jit.load(archives.script(archive), map_location="cpu").double().eval())
        if any(name.endswith(("models/model.json", "serialized_exported_program.json")) for name in names):
            packed = archives.exported(archive)
            with archives.tensors_only():
                program = torch.export.load(packed)
            return _Exported(path, program)
    except PluginError:
        raise
    except pickle.UnpicklingError as error:
        raise PluginError(f"{path} holds other Python objects than tensors, which are not loaded.") from error
    except Exception as error:  # torch raises anything of a damaged file
        raise PluginError(f"{path} cannot be read as a program: {' '.join(str(error).split())[:300]}.") from error
    if path.suffix in _PROGRAMS:
        raise PluginError(
            f"{path} cannot be read as a program: it is neither from torch.jit.save nor torch.export.save."
        )
    return None


def _require(path: Path, operations: set[str]) -> None:
    missing = sorted(name for name in operations - {*_OF_NUMBERS, *_CONSTANTS} if not has_rule(name))
    if missing:
        raise PluginError(
            f"{path} holds operations without an enclosure rule, which are not executed: {', '.join(missing)}. Name "
            "the network as path/file.py:name instead, which is executed as a whole."
        )


def _call(name: str, arguments: Iterable[tuple[torch.Argument, Any]]) -> Any:
    """Call torch's operation of this name, without arguments that are not given or do not matter to values."""
    positional, named = [], {}
    for argument, value in arguments:
        if argument.name == "cudnn_enabled":
            continue
        if argument.name == "dtype" and isinstance(value, int):
            value = _TYPES.get(value, value)
        if not argument.kwarg_only:
            positional.append((argument, value))
        elif not _is_default(argument, value):
            named[argument.name] = value
    while positional and _is_default(*positional[-1]):
        positional.pop()
    values = [value for _, value in positional]
    if name == "batch_norm":  # whose arguments have another order in torch.nn.functional, where the rules take it from
        values[1:5] = *values[3:5], *values[1:3]
        return functional.batch_norm(*values, **named)
    return getattr(torch.ops.aten, name)(*values, **named)


def _is_default(argument: torch.Argument, value: Any) -> bool:
    plain = value is None or isinstance(value, bool | int | float | str)
    return plain and argument.has_default_value() and value == argument.default_value


def _is_value(value: Any) -> bool:
    """Return whether a value is a tensor, a box, a number or a list of such."""
    if isinstance(value, list | tuple):
        return all(map(_is_value, value))
    plain = value is None or isinstance(value, int | float | str | torch.device | torch.dtype)
    return plain or hasattr(type(value), "__torch_function__")


class _Scripted:
    """A TorchScript module, whose operations are looked up and executed one by one."""

    def __init__(self, path: Path, module: torch.jit.ScriptModule) -> None:
        self._path, self._module, self._graph = path, module, module.inlined_graph
        self.__qualname__ = str(path)  # as messages name it
        weights = (value for name, value in module.state_dict().items() if name.endswith("weight") and value.ndim == 2)
        self.inputs = next((int(weight.shape[1]) for weight in weights), None)
        if len(list(self._graph.inputs())) != 2:
            raise PluginError(f"{path}: a network of one input is expected.")

    def __call__(self, points: Any) -> Any:
        """Return the values at points, or on boxes. Raises PluginError for an operation without a rule."""
        own, other = (value.debugName() for value in self._graph.inputs())
        values: dict[str, Any] = {own: self._module, other: points}
        self._run(self._graph, values)
        [output] = self._graph.outputs()
        return values[output.debugName()]

    def _run(self, block: Any, values: dict[str, Any]) -> None:
        for node in block.nodes():
            inputs = [values[value.debugName()] for value in node.inputs()]
            if node.kind() == "prim::GetAttr":
                values[node.output().debugName()] = self._attribute(inputs[0], node.s("name"))
                continue
            if not all(map(_is_value, inputs)):  # whose methods are code of the file
                raise PluginError(f"{self._path} hands other objects than tensors and numbers to {node.kind()}.")
            outputs = [value.debugName() for value in node.outputs()]
            if node.kind() == "prim::If":
                results = self._block(list(node.blocks())[0 if inputs[0] else 1], [], values)
                values.update(zip(outputs, results, strict=True))
            elif node.kind() == "prim::Loop":
                (turns, going, *carried), [block] = inputs, node.blocks()
                for turn in range(turns):
                    if not going:
                        break
                    going, *carried = self._block(block, [turn, *carried], values)
                values.update(zip(outputs, carried, strict=True))
            elif outputs:
                result = self._value(node, inputs)
                several = len(outputs) > 1 or node.kind().endswith("Unpack")
                values.update(zip(outputs, result if several else [result], strict=True))

    def _attribute(self, module: Any, name: str) -> Any:
        if not isinstance(module, torch.jit.ScriptModule) or not module._c.hasattr(name):
            raise PluginError(f"{self._path} takes {name} from another object than a module.")
        return getattr(module, name)

    def _block(self, block: Any, inputs: list[Any], values: dict[str, Any]) -> list[Any]:
        values.update(zip((value.debugName() for value in block.inputs()), inputs, strict=True))
        self._run(block, values)
        return [values[value.debugName()] for value in block.outputs()]

    def _value(self, node: Any, inputs: list[Any]) -> Any:
        kind, _, name = node.kind().partition("::")
        if kind == "prim" and name in _PLAIN:
            return _PLAIN[name](node, inputs)
        if kind == "aten" and name in _OF_PYTHON and all(isinstance(value, _PYTHON) for value in inputs):
            return getattr(operator, name)(*inputs)
        if kind == "aten" and name == "slice" and isinstance(inputs[0], list | tuple):
            return list(inputs[0])[slice(*inputs[1:])]
        _require(self._path, {name if kind == "aten" else node.kind()})
        if name in _OF_NUMBERS:
            return _OF_NUMBERS[name](*inputs)
        return _call(name, zip(torch._C.parse_schema(node.schema()).arguments, inputs, strict=True))


class _Exported:
    """The graph of an exported program, whose inputs are its weights and the points."""

    def __init__(self, path: Path, program: torch.export.ExportedProgram) -> None:
        self._path, signature, self._nodes = path, program.graph_signature, list(program.graph.nodes)
        self.__qualname__ = str(path)  # as messages name it
        _require(path, {_name(node.target) for node in self._nodes if node.op not in ("placeholder", "output")})
        if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1:
            raise PluginError(f"{path}: a network of one input and one output is expected.")
        stored: Mapping[str, Any] = {**program.state_dict, **program.constants}
        places = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        places |= dict(getattr(signature, "inputs_to_lifted_tensor_constants", {}))
        self._constants = {name: _double(stored[place]) for name, place in places.items()}
        [points] = [node for node in self._nodes if node.op == "placeholder" and node.name in signature.user_inputs]
        self._shape = tuple(points.meta["val"].shape)
        self.inputs = self._shape[1] if len(self._shape) == 2 and isinstance(self._shape[1], int) else None

    def __call__(self, points: Any) -> Any:
        """Return the values at points, or on boxes. Raises PluginError where another number of points is exported."""
        try:
            return self._values(points)
        except RuntimeError as error:
            if not isinstance(self._shape[0], int) or len(points) == self._shape[0]:
                raise
            raise PluginError(
                f"{self._path} was exported for {self._shape[0]} points and fails for {len(points)}; export it for any "
                "number of points, with dynamic_shapes=({0: torch.export.Dim.AUTO},)."
            ) from error

    def _values(self, points: Any) -> Any:
        values: dict[Any, Any] = {}
        for node in self._nodes:
            if node.op == "placeholder":
                values[node] = self._constants.get(node.name, points)
                continue
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            if node.op == "output":
                return args[0][0]
            name = _name(node.target)
            if name in _OF_NUMBERS:
                values[node] = _OF_NUMBERS[name](*args, **kwargs)
            elif isinstance(node.target, torch._ops.OpOverload):
                arguments = node.target._schema.arguments
                named = [(argument, kwargs[argument.name]) for argument in arguments if argument.name in kwargs]
                values[node] = _call(name, [*zip(arguments, args, strict=False), *named])
            else:
                values[node] = node.target(*args, **kwargs)
        raise AssertionError("a graph without output")


def _double(value: Any) -> Any:
    return value.detach().double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _name(target: Any) -> str:
    """Return the name of an operation of torch, or of Python on numbers, as rules have it; of others the whole name."""
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return target._schema.name.removeprefix("aten::")
    name = getattr(target, "__name__", "")
    return name if getattr(operator, name, None) is target else str(target)
