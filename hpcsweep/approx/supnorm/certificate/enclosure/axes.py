"""Values on boxes whose axis of boxes is not the first one, as after `x.T`, and what operations do to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import (
    RULES,
    AffineForm,
    Elsewhere,
    NoEnclosure,
    apply,
    rule,
)
from hpcsweep.approx.supnorm.certificate.enclosure.conditions import Mask
from hpcsweep.approx.supnorm.certificate.enclosure.double_double.number import DoubleDouble
from hpcsweep.approx.supnorm.certificate.enclosure.numbers import Numbers
from hpcsweep.approx.supnorm.certificate.enclosure.rules import BROADCAST, refusal

Inner = AffineForm | DoubleDouble | Mask  # with the boxes, or points, first

# The position of the argument `dim`, or of the axes, of operations along axes; the values come first.
ALONG = {
    **dict.fromkeys(("sum", "mean", "prod", "amax", "amin", "max", "min", "cumsum", "cumprod", "logcumsumexp"), 1),
    **dict.fromkeys(("softmax", "log_softmax", "softmin", "logsumexp", "special_logsumexp", "var", "std", "all"), 1),
    **dict.fromkeys(("any", "glu", "nansum", "nanmean", "special_softmax", "special_log_softmax"), 1),
    **dict.fromkeys(("norm", "linalg_norm", "linalg_vector_norm", "diff"), 2),
}
# Operations that treat every entry alike, and broadcast as torch does.
ELEMENTWISE = {
    *("add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "neg", "negative"),
    *("pow", "float_power", "square", "sqrt", "rsqrt", "reciprocal", "abs", "absolute", "sign", "sgn", "positive"),
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin"),
    *("acos", "atan", "arcsin", "arccos", "arctan", "atan2", "arctan2", "asinh", "acosh", "atanh", "arcsinh"),
    *("arccosh", "arctanh", "erf", "erfc", "special_erf", "special_erfc", "sinc", "special_sinc", "hypot", "xlogy"),
    *("special_xlogy", "special_expit", "expit", "special_exp2", "special_expm1", "special_log1p", "logaddexp"),
    *("logaddexp2", "sigmoid", "relu", "relu6", "gelu", "silu", "softplus", "logsigmoid", "elu", "selu", "celu"),
    *("mish", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu", "softsign", "softshrink", "hardshrink"),
    *("tanhshrink", "threshold", "dropout", "logit", "special_logit", "floor", "ceil", "round", "trunc", "fix"),
    *("frac", "remainder", "fmod", "floor_divide", "heaviside", "maximum", "minimum", "fmax", "fmin", "clamp"),
    *("clip", "where", "lerp", "addcmul", "addcdiv", "ge", "gt", "le", "lt", "eq", "ne", "greater", "greater_equal"),
    *("logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not"),
    *("less", "less_equal", "not_equal", "nan_to_num", "deg2rad", "rad2deg", "__radd__", "__rmul__", "__rsub__"),
    *("__rtruediv__", "__rdiv__", "double", "contiguous", "clone", "detach", "to", "and", "or", "xor", "invert"),
    *("clamp_min", "clamp_max"),
}
MOVES = (
    *("T", "mT", "t", "adjoint", "transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis", "view"),
    *("reshape", "ravel", "flatten", "unflatten", "squeeze", "unbind", "chunk", "split", "tensor_split", "hsplit"),
    *("vsplit", "dsplit", "flip", "fliplr", "flipud", "roll", "rot90", "index_select", "expand", "broadcast_to"),
    *("repeat", "tile", "repeat_interleave", "diagonal", "hstack", "vstack", "row_stack", "column_stack", "dstack"),
    *("atleast_1d", "atleast_2d", "atleast_3d", "view_as", "reshape_as", "expand_as", "take_along_dim", "gather"),
    *("unfold", "broadcast_tensors"),
)
# Moves that are done faster where the boxes come first.
QUICK = ("__getitem__", "select", "narrow", "unsqueeze", "stack", "cat", "concat", "concatenate")
# Rules that take the boxes along any axis.
_OWN = frozenset((*MOVES, *QUICK, "einsum", "matmul", "mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "slice"))


@final
class Turned(Numbers, Elsewhere):
    """Values on boxes as code sees them after `x.T`: the axis of the boxes is not the first.

    Parameters
    ----------
    inner: the values with the boxes first.
    at: the axis of the boxes as the code sees it, at least 1.
    """

    def __init__(self, inner: Inner, at: int) -> None:
        self.inner, self.at = inner, at

    @property
    def _values(self) -> Inner:
        return self.inner

    @property
    def shape(self) -> torch.Size:
        """The lengths of all axes as the code sees them."""
        boxes, *features = self.inner.shape
        return torch.Size([*features[: self.at], boxes, *features[self.at :]])

    @property
    def dtype(self) -> torch.dtype:
        """Always float64, or bool of conditions."""
        return torch.bool if isinstance(self.inner, Mask) else self.inner.dtype

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.inner.always.device if isinstance(self.inner, Mask) else self.inner.device

    def __len__(self) -> int:
        return self.shape[0]

    def become(self, result: Any) -> bool:
        """Take the values of others in place at points; on boxes, other names may share them."""
        alike = isinstance(result, Turned) and result.at == self.at
        return alike and isinstance(self.inner, DoubleDouble) and self.inner.become(result.inner)

    def apply(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Apply a rule that knows boxes only as the first axis, where that can be told from its arguments."""
        if name in _OWN:
            return RULES[name](*args, **kwargs)
        if name in ALONG:
            return _along(name, *args, **kwargs)
        if name in ELEMENTWISE:
            return elementwise(name, args, kwargs)
        raise NoEnclosure(f"{name} of values whose first axis is not that of the points")


for _name in ("and", "or", "xor"):
    setattr(Turned, f"__{_name}__", lambda left, right, name=_name: elementwise(name, (left, right), {}))
    setattr(Turned, f"__i{_name}__", refusal(f"{_name}_"))
setattr(Turned, "__invert__", lambda condition: elementwise("invert", (condition,), {}))  # noqa: B010


def seen(value: Any) -> tuple[Inner, int]:
    """Return values with the boxes first, and the axis of the boxes as the code sees it."""
    return (value.inner, value.at) if isinstance(value, Turned) else (value, 0)


def shown(inner: Any, at: int) -> Any:
    """Return values with the boxes first as code sees them."""
    return Turned(inner, at) if at else inner


KINDS: list[type] = [AffineForm, DoubleDouble, Mask, Turned]  # of values on boxes


def is_seen(value: Any) -> bool:
    """Return whether these are values on boxes."""
    return type(value) in KINDS


@rule(BROADCAST)
def elementwise(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Apply a rule to values that broadcast, their boxes along any one axis that is the same for all."""
    if name not in ELEMENTWISE:
        raise NoEnclosure(f"{name} with these shapes")
    operands = [*args, *kwargs.values()]
    ndim = max(part.ndim for part in operands if isinstance(part, Tensor) or is_seen(part))
    axes = {at + ndim - inner.ndim for inner, at in map(seen, filter(is_seen, operands))}
    if len(axes) != 1:
        raise NoEnclosure(f"{name} of values with the points along different axes")
    [at] = axes
    aligned = {key: _first(part, ndim, at) for key, part in kwargs.items()}
    return shown(apply(name, *(_first(part, ndim, at) for part in args), **aligned), at)


def _first(value: Any, ndim: int, at: int) -> Any:
    """Return an operand with `ndim` axes, the one of the boxes from `at` to the front; numbers stay."""
    if is_seen(value):
        inner, _ = seen(value)
        missing = ndim - inner.ndim
        return inner[(slice(None), *[None] * missing)] if missing else inner
    if isinstance(value, Tensor) and value.ndim > ndim - 1 - at:
        return value[(None,) * (ndim - value.ndim)].movedim(at, 0)
    return value


def inner_axis(axis: int, ndim: int, at: int) -> int:
    """Return a seen axis as one of values with the boxes first. Raises NoEnclosure for that of the boxes."""
    axis = axis + ndim if axis < 0 else axis
    if axis == at:
        raise NoEnclosure("an operation across the points of a batch")
    return axis + 1 if axis < at else axis


def _along(name: str, value: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply a rule along axes; those that it takes away may stand before the axis of the boxes."""
    if args and not isinstance(args[0], int | float | Sequence | None):  # the larger of two
        return elementwise(name, (value, *args), kwargs)
    (inner, at), position = seen(value), ALONG[name] - 1
    axes = kwargs["dim"] if "dim" in kwargs else args[position] if len(args) > position else None
    if axes is None:
        raise NoEnclosure(f"{name} across the points of a batch")
    own = [inner_axis(axis, inner.ndim, at) for axis in ([axes] if isinstance(axes, int) else axes)]
    dim = own[0] if isinstance(axes, int) else own
    if "dim" in kwargs:
        kwargs["dim"] = dim
    else:
        args = (*args[:position], dim, *args[position + 1 :])
    result = apply(name, inner, *args, **kwargs)
    parts = result if isinstance(result, tuple) else (result,)
    gone = sum(axis <= at for axis in own) * (parts[0].ndim < inner.ndim)
    turned = [shown(part, at - gone) if is_seen(part) else part for part in parts]
    return type(result)(*turned) if isinstance(result, tuple) else turned[0]
