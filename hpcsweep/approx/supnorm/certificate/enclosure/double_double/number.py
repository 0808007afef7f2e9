"""`DoubleDouble`: values at points that a user's torch code runs on as it runs on tensors and on affine forms.

Points are float64 numbers, exactly, and so are constants. What the code makes of them in REAL arithmetic lies within
`radius` of leading + trailing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import (
    ARITHMETICS,
    RULES,
    NoEnclosure,
    Rule,
    apply,
    refusal,
)
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.error_free import Pair

_Rule = TypeVar("_Rule", bound=Rule)
OWN: dict[str, Rule] = {}  # in place of rules, by the first name of each


def own(*names: str) -> Callable[[_Rule], _Rule]:
    """Make the decorated function what double-doubles do in place of the rules `names`."""

    def register(function: _Rule) -> _Rule:
        OWN.update(dict.fromkeys(names, function))
        return function

    return register


def _operator(name: str) -> Callable[..., Any]:
    return lambda *operands: _apply(name, *operands)


def _reflected(name: str) -> Callable[..., Any]:
    return lambda number, other: _apply(name, other, number)


@final
class DoubleDouble:
    """Numbers leading + trailing +- radius. Views share memory, and operations in place write into it, as torch's do.

    Parameters
    ----------
    leading, trailing: float64 tensors of one shape; |trailing| <= 2^-53 |leading|.
    radius: likewise, >= 0: a bound of the distance to the real number that is meant. Infinite or NaN where nothing is
        known, and wherever the numbers are not finite.
    """

    __slots__ = ("leading", "radius", "trailing")
    __array_ufunc__ = None  # a numpy number on the left leaves the operation to us
    __hash__ = object.__hash__

    def __init__(self, leading: Tensor, trailing: Tensor, radius: Tensor) -> None:
        self.leading, self.trailing, self.radius = leading, trailing, radius

    @property
    def pair(self) -> Pair:
        """Leading and trailing part."""
        return self.leading, self.trailing

    @property
    def shape(self) -> torch.Size:
        """That of a tensor of values."""
        return self.leading.shape

    @property
    def ndim(self) -> int:
        """The number of axes of `shape`."""
        return self.leading.ndim

    @property
    def dtype(self) -> torch.dtype:
        """Always float64."""
        return self.leading.dtype

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.leading.device

    def __len__(self) -> int:
        return len(self.leading)

    def __iter__(self) -> Iterator[DoubleDouble]:
        return (self[index] for index in range(len(self)))

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping | None = None,
    ) -> Any:
        """Do what a torch function does, one of whose arguments is a double-double."""
        return _apply(getattr(function, "__name__", type(function).__name__), *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of tensors."""
        if name.startswith("__"):
            raise AttributeError(name)
        if (bare := name.removesuffix("_")) not in OWN and bare not in RULES:
            raise NoEnclosure(name)
        return lambda *args, **kwargs: _apply(name, self, *args, **kwargs)

    __getitem__, __neg__, __abs__ = _operator("__getitem__"), _operator("neg"), _operator("abs")
    T, mT = property(_operator("T")), property(_operator("mT"))
    __add__ = __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("sub"), _reflected("sub")
    __mul__ = __rmul__ = _operator("mul")
    __truediv__, __rtruediv__ = _operator("div"), _reflected("div")
    __pow__, __rpow__ = _operator("pow"), _reflected("pow")
    __matmul__, __rmatmul__ = _operator("matmul"), _reflected("matmul")
    __floordiv__, __rfloordiv__ = _operator("floor_divide"), _reflected("floor_divide")
    __mod__, __rmod__ = _operator("remainder"), _reflected("remainder")
    __lt__, __le__, __gt__, __ge__ = (_operator(name) for name in ("lt", "le", "gt", "ge"))
    __iadd__, __isub__, __imul__ = (_operator(name) for name in ("add_", "sub_", "mul_"))
    __itruediv__, __ipow__ = _operator("div_"), _operator("pow_")
    __eq__, __ne__ = _operator("eq"), _operator("ne")  # Python's own compare objects


# What Python would otherwise answer by itself.
for _name in (
    *("bool", "float", "int", "index", "complex", "contains", "setitem", "array", "reversed"),
    *("imatmul", "ifloordiv", "imod"),
):
    setattr(DoubleDouble, f"__{_name}__", refusal(_name))

ARITHMETICS[DoubleDouble] = OWN


def _apply(name: str, *args: Any, **kwargs: Any) -> Any:
    """Do the operation `name` as double-doubles do it, else by its rule. Raises NoEnclosure where it has none."""
    if name.endswith("_") and not name.endswith("__"):
        return _in_place(name, *args, **kwargs)
    if name not in OWN:
        return apply(name, *args, **kwargs)
    try:
        return OWN[name](*args, **kwargs)
    except TypeError as error:
        raise NoEnclosure(f"{name} with these arguments ({error})") from error


def _in_place(name: str, changed: Any, *args: Any, **kwargs: Any) -> DoubleDouble:
    """Change numbers where they are, and so what is a view of them, as torch does."""
    values = _apply(name[:-1], changed, *args, **kwargs)
    if not isinstance(changed, DoubleDouble) or values.shape != changed.shape:
        raise NoEnclosure(f"{name} with these arguments")
    for part in ("leading", "trailing", "radius"):
        getattr(changed, part).copy_(getattr(values, part))
    return changed


def exact(values: Tensor) -> DoubleDouble:
    """Return float64 numbers as what they are, in memory of their own."""
    return DoubleDouble(values.clone(), torch.zeros_like(values), torch.zeros_like(values))
