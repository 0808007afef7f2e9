"""`DoubleDouble`: values at points that a user's torch code runs on as it runs on tensors and on affine forms.

Points are float64 numbers, exactly, and so are constants. What the code makes of them in REAL arithmetic lies within
`radius` of leading + trailing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.double_double.error_free import Pair
from hpcsweep.approx.supnorm.certificate.enclosure.rules import (
    ARITHMETICS,
    Misaligned,
    NoEnclosure,
    Rule,
    apply,
    method,
    refusal,
)
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import shared

_Rule = TypeVar("_Rule", bound=Rule)
OWN: dict[str, Rule] = {}  # in place of rules, by the first name of each


def own(*names: str) -> Callable[[_Rule], _Rule]:
    """Make the decorated function what double-doubles do in place of the rules `names`."""

    def register(function: _Rule) -> _Rule:
        OWN.update(dict.fromkeys(names, function))
        return function

    return register


def own_of_two(*names: str) -> Callable[[_Rule], _Rule]:
    """Do the same for an operation of two values, which must have the points along the same axis, the first."""

    def register(function: _Rule) -> _Rule:
        def checked(left: Any, right: Any, **options: Any) -> Any:
            return function(*meeting(left, right), **options)

        own(*names)(checked)
        return function

    return register


def meeting(*values: Any) -> tuple[Any, ...]:
    """Return double-doubles, which have the points along the first axis, and constants that are alike at all points.

    Raises
    ------
    NoEnclosure: of others, or of values with different numbers of axes
    """
    like = next(value for value in values if isinstance(value, DoubleDouble))
    for value in values:
        if isinstance(value, DoubleDouble) and value.ndim != like.ndim:
            raise NoEnclosure(f"values of shapes {tuple(like.shape)} and {tuple(value.shape)} together")
        if isinstance(value, Tensor) and value.ndim > like.ndim:
            raise Misaligned(f"shapes {tuple(like.shape)} and {tuple(value.shape)} together")
    return tuple(value if isinstance(value, DoubleDouble) else shared(value, like) for value in values)


def _operator(name: str) -> Callable[..., Any]:
    return lambda *operands: apply(name, *operands)


def _reflected(name: str) -> Callable[..., Any]:
    return lambda number, other: apply(name, other, number)


@final
class DoubleDouble:
    """Numbers leading + trailing +- radius. Only `+=` and its like change them, as they change a tensor.

    Parameters
    ----------
    leading, trailing: float64 tensors of one shape; |trailing| <= 2^-53 |leading|.
    radius: likewise, >= 0: a bound of the distance to the real number that is meant. Infinite or NaN where nothing is
        known, and wherever the numbers are not finite.

    Attributes
    ----------
    viewed: whether another name may stand for the same numbers, as a view of a tensor does.
    """

    __slots__ = ("leading", "radius", "trailing", "viewed")
    __array_ufunc__ = None  # a numpy number on the left leaves the operation to us
    __hash__ = object.__hash__

    def __init__(self, leading: Tensor, trailing: Tensor, radius: Tensor) -> None:
        self.leading, self.trailing, self.radius = leading, trailing, radius
        self.viewed = False

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
        return iter(apply("unbind", self))

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping | None = None,
    ) -> Any:
        """Do what a torch function does, one of whose arguments is a double-double."""
        return apply(getattr(function, "__name__", type(function).__name__).partition(".")[0], *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of tensors."""
        return method(name, self)

    def become(self, result: Any) -> bool:
        """Take the values of others in place, unless their shape is another or other names may share these."""
        if self.viewed or not isinstance(result, DoubleDouble) or result.shape != self.shape:
            return False
        self.leading, self.trailing, self.radius = result.leading, result.trailing, result.radius
        return True

    __getitem__, __neg__, __abs__, __pos__ = (_operator(name) for name in ("__getitem__", "neg", "abs", "positive"))
    T, mT, H, mH = (property(_operator(name)) for name in ("T", "mT", "T", "mT"))
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
    __ifloordiv__, __imod__ = _operator("floor_divide_"), _operator("remainder_")
    __eq__, __ne__ = _operator("eq"), _operator("ne")  # Python's own compare objects


# What Python would otherwise answer by itself.
for _name in ("bool", "float", "int", "index", "complex", "contains", "setitem", "array", "reversed"):
    setattr(DoubleDouble, f"__{_name}__", refusal(_name))

ARITHMETICS[DoubleDouble] = OWN


def exact(values: Tensor) -> DoubleDouble:
    """Return float64 numbers as what they are, in memory of their own."""
    return DoubleDouble(values.clone(), torch.zeros_like(values), torch.zeros_like(values))
