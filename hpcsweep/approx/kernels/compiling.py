"""From functions in the vector language and in Python to compiled code."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, final

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from hpcsweep.approx.kernels import cache
from hpcsweep.approx.kernels.builder import Code
from hpcsweep.approx.kernels.vectors import DOUBLE, INT, SINGLE, Array, Index, Integers, Matrix, Number, Precision

F = TypeVar("F", bound=Callable[..., Any])
R_co = TypeVar("R_co", bound=Number | Index | None, covariant=True)

_PRECISION = {types.float64: DOUBLE, types.float32: SINGLE}
_KINDS: dict[str, Callable[..., Any]] = {"Array": Array, "Integers": Integers, "Index": Index, "Number": Number}

# A function that compiled code calls and that becomes part of it. Division by zero gives infinity: else each division
# would be a branch.
part = numba.njit(nogil=True, error_model="numpy")
# One that is written out where it is called: else everything that it calls is optimised again for each caller.
inlined = numba.njit(nogil=True, error_model="numpy", inline="always")


class Kernel(Protocol[R_co]):
    """A function in the vector language, as `kernel` returns it."""

    def __call__(self, *given: Any) -> Any:
        """Call it from compiled code, with arrays and numbers; what types these have is numba's affair."""

    def write(self, code: Code, *given: Array | Integers | Index | Number | float) -> R_co:
        """Write a call of it into another kernel."""


def is_wide() -> bool:
    """Return whether the processor compiled for has 32 registers of 64 bytes: for the shape of tiles, not for bits."""
    if cache.config.CPU_FEATURES is not None:
        return "+avx512f" in cache.config.CPU_FEATURES
    return cache.config.CPU_NAME in (None, "host") and binding.get_host_cpu_features().get("avx512f", False)


def kernel(function: Callable[..., R_co]) -> Kernel[R_co]:
    """Make of a function (code, ...) one that compiled code can call; its annotations say what it takes and gives.

    Of arrays the first decides on the precision; without any it is float64. Another kernel calls it by `write`.
    """
    kinds = {name: str(one.annotation) for name, one in list(inspect.signature(function).parameters.items())[1:]}
    flat = _flat(kinds)
    returned = {"Number": types.float64, "Index": types.int64}.get(
        str(inspect.signature(function).return_annotation), types.void
    )

    def typed(context: Any, *given: Any) -> Any:
        floats = [one.dtype for one in given if isinstance(one, types.Array) and one.dtype in _PRECISION]
        dtype = floats[0] if floats else types.float64
        asked: dict[str, Any] = {"Array": types.Array(dtype, 1, "C"), "Integers": types.int64[::1]}
        asked |= {"Index": types.int64, "Number": types.float64}
        signature = returned(*(asked[kind] for kind in flat.values()))

        def write(target: Any, builder: Any, signature: Any, values: Sequence[Any]) -> Any:
            called = _function(builder.module, function, kinds, _PRECISION[dtype], returned)
            plain = [
                make_array(kind)(target, builder, value).data if isinstance(kind, types.Array) else value
                for kind, value in zip(signature.args, values, strict=True)
            ]
            out = builder.call(called, plain)
            return target.get_dummy_value() if returned is types.void else out

        return signature, write

    parameter = inspect.Parameter
    typed.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter(name, parameter.POSITIONAL_OR_KEYWORD) for name in ("context", *flat)]
    )
    made: Any = intrinsic(typed)
    made.write = functools.partial(_call, function, kinds, returned)
    return made


def _flat(kinds: Mapping[str, str]) -> dict[str, str]:
    """Return names and kinds of arguments as callers give them: of a matrix an array, a place in it, and a distance."""
    flat: dict[str, str] = {}
    for name, kind in kinds.items():
        parts = {name: "Array", f"{name}_at": "Index", f"{name}_row": "Index"}
        flat |= parts if kind == "Matrix" else {name: kind}
    return flat


def _call(function: Callable[..., Any], kinds: Mapping[str, str], returned: Any, code: Code, *given: Any) -> Any:
    """Write a call of a kernel into another one of the same precision."""
    called = _function(code.builder.module, function, kinds, code.precision, returned)
    values = []
    for kind, value in zip(_flat(kinds).values(), given, strict=True):
        if kind == "Index":
            values.append(code.integer(value))
        elif kind == "Number":
            values.append(_as_double(code, value) if isinstance(value, Number) else ir.Constant(ir.DoubleType(), value))
        else:
            values.append(value.pointer)
    out = code.builder.call(called, values)
    return {types.float64: Number(code.double, out), types.int64: Index(code, out)}.get(returned)


def _function(
    module: Any, function: Callable[..., Any], kinds: Mapping[str, str], precision: Precision, returned: Any
) -> Any:
    """Return the LLVM function of a kernel, written into a module at its first call there.

    Internal, or the linker would take the first function of that name in the process for all of them; and never
    inlined, or numba, which optimises every callee anew in every caller, would copy unrolled tiles everywhere.
    """
    of_kind = {"Array": precision.real.as_pointer(), "Integers": INT.as_pointer(), "Index": INT}
    of_kind |= {"Number": ir.DoubleType()}
    gives = {types.float64: ir.DoubleType(), types.int64: INT, types.void: ir.VoidType()}[returned]
    flat = _flat(kinds).values()
    signature = ir.FunctionType(gives, [of_kind[kind] for kind in flat])
    label = f"hpcsweep.{function.__module__}.{function.__qualname__}.{precision.suffix}"
    compiled = cgutils.get_or_insert_function(module, signature, label)
    if not compiled.is_declaration:
        return compiled
    compiled.linkage = "internal"
    for attribute in ("noinline", "nounwind"):
        compiled.attributes.add(attribute)
    # Else LLVM halves vectors for some of Intel's processors, though these are faster with whole ones.
    for attribute in ('"prefer-vector-width"="512"', '"min-legal-vector-width"="512"'):
        set.add(compiled.attributes, attribute)
    code = Code(ir.IRBuilder(compiled.append_basic_block("entry")), precision)
    values = (_argument(code, kind, value) for kind, value in zip(flat, compiled.args, strict=True))
    arguments = (Matrix(*islice(values, 3)) if kind == "Matrix" else next(values) for kind in kinds.values())
    out = function(code, *arguments)
    if returned is types.void:
        code.builder.ret_void()
    else:
        code.builder.ret(out.value if returned is types.int64 else _as_double(code, out))
    return compiled


def _argument(code: Code, kind: str, value: Any) -> Any:
    if kind == "Number" and code.precision is SINGLE:
        value = code.builder.fptrunc(value, code.precision.real)
    return _KINDS[kind](code, value)


def _as_double(code: Code, out: Number) -> Any:
    return code.builder.fpext(out.value, ir.DoubleType()) if out.code.precision is SINGLE else out.value


# What functions take and give, in the precision of a network: `VECTOR` is an array of its numbers.
VECTOR, INTEGERS, NUMBERS = "vector", types.int64[::1], types.float64[::1]
INTEGER, NUMBER, NOTHING = types.int64, types.float64, types.void


def function_type(returned: Any, *arguments: Any) -> Callable[[Any], Any]:
    """Return the type of a compiled function that is an argument of another, by the numba type of a number."""
    return lambda number: types.FunctionType(_signature(number, returned, arguments))


def _signature(number: Any, returned: Any, arguments: Sequence[Any]) -> Any:
    kinds = [
        types.Array(number, 1, "C") if kind is VECTOR else kind if isinstance(kind, types.Type) else kind(number)
        for kind in arguments
    ]
    return returned(*kinds)


@final
class Entry(Generic[F]):
    """A compiled function that Python calls: compiled when a precision is first asked for, or found in the cache.

    And never otherwise: else numba, called with functions as arguments, would compile anew for each of them, in every
    process, instead of taking their addresses.
    """

    def __init__(self, function: F, returned: Any, arguments: Sequence[Any]) -> None:
        self._function, self._returned, self._arguments = function, returned, arguments
        self._ready: set[Any] = set()

    @functools.cached_property
    def _compiled(self) -> Any:
        return cache.kept(lambda: numba.njit(nogil=True, cache=True, error_model="numpy")(self._function))

    def __getitem__(self, dtype: Any) -> F:
        """Return the function for networks of a NumPy dtype."""
        number = numba.from_dtype(np.dtype(dtype))
        if number not in self._ready:
            written = os.stat(self._function.__code__.co_filename).st_mtime_ns  # numba looks at that, too
            with cache.locked(f"{self._function.__module__}.{self._function.__qualname__}-{number}-{written}"):
                self._compile(_signature(number, self._returned, self._arguments))
            self._ready.add(number)
        return self._compiled

    def _compile(self, signature: Any) -> None:
        self._compiled.disable_compile(False)
        with contextlib.suppress(OSError):  # of a full disk, which is no reason not to compute
            self._compiled.compile(signature)
        if signature.args not in self._compiled.overloads:
            self._compiled.compile(signature)
        self._compiled.disable_compile()


def entry(returned: Any, *arguments: Any) -> Callable[[F], Entry[F]]:
    """Make an `Entry` of a function that takes and gives these."""
    return lambda function: Entry(function, returned, arguments)
