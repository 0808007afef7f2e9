"""What all values have in common that a user's torch code runs on as it runs on tensors: operators are rules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from hpcsweep.approx.supnorm.certificate.enclosure.rules import apply, method, refusal


def _operator(name: str) -> Callable[..., Any]:
    return lambda *operands: apply(name, *operands)


def _reflected(name: str) -> Callable[..., Any]:
    return lambda number, other: apply(name, other, number)


class Numbers:
    """Values of one shape, the boxes or points along one axis. Only `+=` and its like change them, as with a tensor.

    Attributes
    ----------
    viewed: whether another name may stand for the same numbers, as a view of a tensor does.
    """

    __slots__ = ()
    __array_ufunc__ = None  # a numpy number on the left leaves the operation to us
    __hash__ = object.__hash__
    viewed: bool

    @property
    @abstractmethod
    def _values(self) -> Any:
        """Whatever has the shape, type and device of these."""

    @property
    def shape(self) -> torch.Size:
        """That of a tensor of values."""
        return self._values.shape

    @property
    def ndim(self) -> int:
        """The number of axes of `shape`."""
        return self._values.ndim

    @property
    def dtype(self) -> torch.dtype:
        """Always float64."""
        return self._values.dtype

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self._values.device

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return iter(apply("unbind", self))

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping | None = None,
    ) -> Any:
        """Apply the rule of a torch function one of whose arguments are these."""
        return apply(getattr(function, "__name__", type(function).__name__).partition(".")[0], *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the rule of a method of tensors."""
        return method(name, self)

    def become(self, result: Any) -> bool:
        """Take the values of others in place, unless their shape is another or other names may share these."""
        if self.viewed or type(result) is not type(self) or result.shape != self.shape:
            return False
        slots: Sequence[str] = self.__slots__
        for name in slots:
            if name != "viewed":
                setattr(self, name, getattr(result, name))
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
    __eq__, __ne__ = _operator("eq"), _operator("ne")  # Python's own would compare the objects
    __iadd__, __isub__, __imul__, __itruediv__, __ipow__ = map(_operator, ("add_", "sub_", "mul_", "div_", "pow_"))
    __ifloordiv__, __imod__ = _operator("floor_divide_"), _operator("remainder_")


# What Python would otherwise answer by itself: a value is asked for, or these would be taken for a sequence.
for _name in ("bool", "float", "int", "index", "complex", "contains", "setitem", "array", "reversed"):
    setattr(Numbers, f"__{_name}__", refusal(_name))
