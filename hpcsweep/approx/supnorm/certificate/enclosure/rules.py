"""The table of rules: how operations under torch's names act on values that are no tensors."""

from __future__ import annotations

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

_HERE, _TORCH = Path(__file__).parent, Path(torch.__file__).parent
_HPCSWEEP = next(folder for folder in _HERE.parents if folder.name == "hpcsweep")


class NoEnclosure(Exception):
    """An operation has no rule on affine forms, so that nothing can be proved of the function that uses it."""

    def __init__(self, operation: str) -> None:
        super().__init__(f"no enclosure rule for {operation}{_line()}")
        self.operation = operation


def _line() -> str:
    """Return where the code of a user is that is running, outside of torch and of this package; nothing without one."""
    frame = inspect.currentframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if _HERE not in path.parents and _TORCH not in path.parents:
            inside = _HPCSWEEP in path.parents or path.name.startswith("<frozen")
            return "" if inside else f" ({path.name}, line {frame.f_lineno})"
        frame = frame.f_back
    return ""


Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}  # by torch's name of the operation, as function and as method
# Other numbers than affine forms, by their type, and what they do otherwise than the rules, by the rules' first names.
ARITHMETICS: dict[type, Mapping[str, Rule]] = {}
Substitute = Callable[[NoEnclosure, str, Sequence[Any], Mapping[str, Any]], Any]
_substitutes: list[Substitute | None] = []  # changed by `substituted` alone
BROADCAST = "broadcast"  # the rule of operations whose operands broadcast beyond the axis of the boxes
_ALIASES = {"axis": "dim", "keepdims": "keepdim"}  # torch takes NumPy's names too
_IDLE = {"out", "dtype"}  # keywords that torch hands on where they are None
_USES = 2  # of a storage by one tensor: itself, and the object that is asked


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Make the decorated function the rule of the operations `names`."""

    def register(function: Rule) -> Rule:
        generic = of_any_arithmetic(names[0])(function)
        RULES.update(dict.fromkeys(names, generic))
        return generic

    return register


def of_any_arithmetic(name: str) -> Callable[[Rule], Rule]:
    """Let another arithmetic do itself, under this name, what the decorated function does with affine forms.

    What it does not do itself, the function does with its numbers as they are. Rules that only call other rules
    therefore hold in every arithmetic.
    """

    def register(function: Rule) -> Rule:
        @functools.wraps(function)
        def generic(*args: Any, **kwargs: Any) -> Any:
            for part in args:
                kind = type(part)
                own = ARITHMETICS.get(kind)
                if own is None and kind in (list, tuple):  # of stack and cat
                    own = next((ARITHMETICS[type(one)] for one in part if type(one) in ARITHMETICS), None)
                if own is not None:
                    return own.get(name, function)(*args, **kwargs)
            return function(*args, **kwargs)

        return generic

    return register


@contextmanager
def substituted(substitute: Substitute | None) -> Iterator[None]:
    """Ask for another result where an operation has no rule; None: raise NoEnclosure after all."""
    _substitutes.append(substitute)
    try:
        yield
    finally:
        _substitutes.pop()


class Elsewhere(ABC):
    """Values on boxes that are not an `AffineForm` with the boxes first, and say themselves how a rule acts on them."""

    @abstractmethod
    def apply(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Apply the rule of the operation `name` to arguments among which this is."""


class Misaligned(NoEnclosure):
    """A constant has more axes than a form with the boxes first can broadcast with."""


def has_rule(name: str) -> bool:
    """Return whether an operation has a rule; `add_` has that of `add`."""
    return name in RULES or (name.endswith("_") and name[:-1] in RULES)


def method(name: str, values: Any) -> Callable[..., Any]:
    """Return the rule of a method of tensors, for `__getattr__`. Raises NoEnclosure, AttributeError."""
    if name.startswith("__"):
        raise AttributeError(name)
    if not has_rule(name) and not (_substitutes and callable(getattr(Tensor, name, None))):
        raise NoEnclosure(name)
    return lambda *args, **kwargs: apply(name, values, *args, **kwargs)


def apply(name: str, *args: Any, **kwargs: Any) -> Any:
    """Apply the rule of the operation `name`. Raises NoEnclosure where there is none, or not for these arguments."""
    try:
        return _applied(name, args, kwargs)
    except NoEnclosure as missing:
        if not _substitutes or _substitutes[-1] is None:
            raise
        return _substitutes[-1](missing, name, args, kwargs)


def _applied(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    if not has_rule(name):
        raise NoEnclosure(name)
    kwargs = {_ALIASES.get(key, key): value for key, value in kwargs.items() if value is not None or key not in _IDLE}
    if "out" in kwargs:
        raise NoEnclosure(f"{name} with out=")
    args = [part.item() if isinstance(part, np.generic) else part for part in args]
    in_place = bool(kwargs.pop("inplace", False)) or name not in RULES
    name = name if name in RULES else name[:-1]
    try:
        elsewhere = next((part for part in args if isinstance(part, Elsewhere)), None)
        result = RULES[name](*args, **kwargs) if elsewhere is None else elsewhere.apply(name, args, kwargs)
    except Misaligned:
        result = RULES[BROADCAST](name, args, kwargs)
    except TypeError as error:  # a keyword such as out= that the rule does not know
        raise NoEnclosure(f"{name} with these arguments ({error})") from error
    return _replaced(name, args[0], result) if in_place else result


def _replaced(name: str, values: Any, result: Any) -> Any:
    """Put the result of an operation in the place of its first argument, for all names that this has."""
    become = getattr(type(values), "become", None)
    if result is values or (become is not None and become(values, result)):
        return values
    if type(values) is Tensor and values.dtype == torch.float64 and values.shape == result.shape and _alone(values):
        values.fill_(math.nan)
        values.__class__ = _Overwritten  # whatever still has a name of the constant that was here is refused
        return result
    raise NoEnclosure(f"{name}_, on values that other names may share")


def _alone(values: Tensor) -> bool:
    """Return whether no other tensor or array has the memory of this one."""
    storage, uses = values.untyped_storage(), getattr(torch._C, "_storage_Use_Count", None)
    return uses is not None and storage.resizable() and uses(storage._cdata) <= _USES


class _Overwritten(Tensor):
    """A constant whose place values on boxes have taken."""

    @classmethod
    def __torch_function__(cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse: not even a comparison may see what was here."""
        raise NoEnclosure(f"{getattr(function, '__name__', 'an operation')} of a tensor that was changed in place")


def refusal(name: str) -> Callable[..., NoReturn]:
    """Return a method that numbers of no arithmetic have; it raises `NoEnclosure`."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise NoEnclosure(name)

    return refuse
