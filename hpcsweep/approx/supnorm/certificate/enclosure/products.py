"""Products along axes: einsum, matrix products of forms with constants and each other, bilinear layers, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hpcsweep.approx.supnorm.certificate.enclosure.affine import AffineForm, NoEnclosure, apply, constant, rule
from hpcsweep.approx.supnorm.certificate.enclosure.arithmetic import add, doubted, linear, multiply, subtract, total
from hpcsweep.approx.supnorm.certificate.enclosure.axes import is_seen, seen, shown
from hpcsweep.approx.supnorm.certificate.enclosure.shapes import feature_axes, moved, refuse_rows, select, unsqueeze

Operand = tuple[Any, list[str]]  # a value and the letters of its axes, those of a form without that of the boxes


@rule("einsum")
def einsum(equation: str, *operands: Any) -> Any:
    """torch.einsum with an equation; every letter once in each operand."""
    values = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], Sequence) else list(operands)
    if not isinstance(equation, str) or "." in equation:
        raise NoEnclosure("einsum with ... or lists of axes")
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    letters = inputs.split(",")
    if not arrow:
        output = "".join(sorted(letter for letter in set(inputs) - {","} if inputs.count(letter) == 1))
    return contract(list(zip(values, map(list, letters), strict=True)), list(output))


@rule("matmul", "mm", "bmm", "mv")
def matmul(left: Any, right: Any) -> Any:
    """Forms and constants in any order, with whatever axes stand before those of the matrices."""
    if is_seen(left) and not seen(left)[1] and isinstance(right, Tensor) and right.ndim <= 2 and left.ndim >= 2:
        return linear(left, right[None])[..., 0] if right.ndim == 1 else linear(left, right.T)
    row = [] if left.ndim == 1 else ["row"]
    column = [] if right.ndim == 1 else ["column"]
    before = [f"batch {axis}" for axis in reversed(range(max(left.ndim, right.ndim, 2) - 2))]
    own = [before[len(before) - max(part.ndim - 2, 0) :] for part in (left, right)]
    operands = [(left, [*own[0], *row, "inner"]), (right, [*own[1], "inner", *column])]
    return contract(operands, [*before, *row, *column])


def contract(operands: Sequence[Operand], output: Sequence[str]) -> Any:
    """Multiply values whose axes have letters, and sum over the letters that are not in `output`."""
    if any(len(set(letters)) != len(letters) for _, letters in operands):
        raise NoEnclosure("einsum along diagonals")
    points = {letters[seen(value)[1]] for value, letters in operands if is_seen(value)}
    if len(points) != 1 or not points <= set(output):
        raise NoEnclosure("a product across the points of a batch")
    [point] = points
    like = next(seen(value)[0] for value, _ in operands if is_seen(value))
    stripped = [_stripped(value, letters, point, like) for value, letters in operands]
    letters_out = [letter for letter in output if letter != point]
    constants = [part for part in stripped if isinstance(part[0], Tensor)]
    forms = [part for part in stripped if not isinstance(part[0], Tensor)]
    result = _linear(forms[0], constants[0], letters_out) if len(forms) == len(constants) == 1 else None
    if result is None:
        result = _general(stripped, letters_out)
    return shown(result, list(output).index(point))


def _stripped(value: Any, letters: Sequence[str], point: str, like: Any) -> Operand:
    """Return a value without the letter of the points."""
    rest = [letter for letter in letters if letter != point]
    if is_seen(value):
        return seen(value)[0], rest
    values = constant(value, like)
    if point in letters:
        values = values.movedim(list(letters).index(point), 0)
        refuse_rows(values)
        values = values[0]
    return values, rest


def _linear(form: Operand, matrix: Operand, letters_out: Sequence[str]) -> AffineForm | None:
    """Return the product with a constant as a linear layer; None where it is none."""
    (values, own), (numbers, letters) = form, matrix
    inner = [letter for letter in own if letter in letters]
    outer = [letter for letter in letters if letter not in inner]
    rest = [letter for letter in own if letter not in inner]
    sizes = [values.shape[1 + own.index(letter)] for letter in inner]
    if not inner or set(inner) & set(letters_out) or {*rest, *outer} != set(letters_out):
        return None
    if sizes != [numbers.shape[letters.index(letter)] for letter in inner]:
        return None
    ordered = _arranged(values, own, [*rest, *inner])
    flat = moved(ordered, lambda part, at: part.reshape(*part.shape[: at + 1 + len(rest)], math.prod(sizes)))
    numbers = numbers.permute([letters.index(letter) for letter in (*outer, *inner)])
    shape = numbers.shape[: len(outer)]
    product = flat.linear(numbers.reshape(-1, math.prod(sizes)), None)
    parted = moved(product, lambda part, at: part.unflatten(-1, shape) if outer else part[..., 0])
    return _arranged(parted, [*rest, *outer], letters_out)


def _general(operands: Sequence[Operand], letters_out: Sequence[str]) -> AffineForm:
    """Multiply everything entry by entry, then sum."""
    summed = sorted({letter for _, letters in operands for letter in letters} - set(letters_out))
    everything = [*letters_out, *summed]
    product: Any = None
    for value, letters in operands:
        part = _arranged(value, letters, everything)
        product = part if product is None else multiply(product, part)
    if isinstance(product, Tensor):
        raise NoEnclosure("a product of constants")
    axes = list(range(1 + len(letters_out), 1 + len(everything)))
    return total(product, axes) if axes else product


def _arranged(value: Any, letters: Sequence[str], letters_out: Sequence[str]) -> Any:
    """Return a value with its axes in the order that is letters_out, and new ones of length 1."""
    order = [list(letters).index(letter) for letter in letters_out if letter in letters]
    index = [slice(None) if letter in letters else None for letter in letters_out]

    def arrange(part: Tensor, fixed: int) -> Tensor:
        return part.permute(*range(fixed), *(fixed + axis for axis in order))[(*[slice(None)] * fixed, *index)]

    return arrange(value, 0) if isinstance(value, Tensor) else moved(value, lambda part, at: arrange(part, at + 1))


@rule("addmm", "addmv", "baddbmm")
def addmm(bias: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """Return beta * bias + alpha * (left @ right)."""
    product = apply("matmul", left, right)
    scaled = product if alpha == 1 else apply("mul", product, alpha)
    if beta != 1 and not is_seen(bias):
        raise NoEnclosure("addmm with beta")
    return apply("add", scaled, bias if beta == 1 else apply("mul", bias, beta))


@rule("linalg_vecdot", "vecdot")
def vecdot(left: Any, right: Any, *, dim: int = -1) -> AffineForm:
    """Return the sum of products along an axis."""
    return total(multiply(left, right), dim)


@rule("linalg_cross")
def cross(left: Any, right: Any, dim: int = -1) -> AffineForm:
    """Return the vector product along an axis of length 3."""
    like = right if isinstance(left, Tensor) else left
    (axis,) = feature_axes(like, dim)
    a, b = (
        [part.select(axis - like.ndim, k) if isinstance(part, Tensor) else select(part, axis, k) for k in range(3)]
        for part in (left, right)
    )
    rows = [subtract(multiply(a[i], b[j]), multiply(a[j], b[i])) for i, j in ((1, 2), (2, 0), (0, 1))]
    return apply("stack", rows, axis)


rule("cross")(lambda left, right, dim: cross(left, right, dim))  # torch looks for a dim if it is given none


@rule("bilinear")
def bilinear(left: AffineForm, right: AffineForm, weight: Tensor, bias: Tensor | None = None) -> AffineForm:
    """Return left W right for each output."""
    outputs, inputs, others = weight.shape
    inner = linear(right, weight.reshape(outputs * inputs, others))
    inner = moved(inner, lambda part, at: part.unflatten(-1, (outputs, inputs)))
    result = total(multiply(inner, unsqueeze(left, -2)), -1)
    return result if bias is None else add(result, bias)


@rule("scaled_dot_product_attention")
def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    """softmax(query key^T scale) value; without masks."""
    if attn_mask is not None or dropout_p or is_causal:
        raise NoEnclosure("attention with masks or dropout")
    return apply("matmul", _shares(query, key, scale), value)


def _shares(query: Any, key: Any, scale: float | None = None) -> Any:
    """Return softmax(query key^T scale), the scale 1 / sqrt(length of a query) unless it is given."""
    factor = scale if scale is not None else 1.0 / math.sqrt(query.shape[-1])
    scores = apply("mul", apply("matmul", query, key.transpose(-2, -1)), torch.tensor(factor, dtype=torch.float64))
    if scale is None and math.frexp(factor)[0] != 0.5:  # a root and a quotient, rounded, but for powers of two
        scores = doubted(scores, 4)
    return apply("softmax", scores, -1)


@rule("multi_head_attention_forward")
def multi_head_attention(
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    **others: Any,
) -> tuple[Any, Any]:
    """Of values (length, points, features), as `torch.nn.MultiheadAttention` after training; without masks."""
    if in_proj_weight is None or any(part is not None and part is not False for part in (*others.values(), bias_k)):
        raise NoEnclosure("attention with masks, causal, or with further weights")
    if add_zero_attn or (training and dropout_p) or any(seen(part)[1] != 1 for part in (query, key, value)):
        raise NoEnclosure("attention with zeros or dropout, or across the points of a batch")
    biases = [None] * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    heads = [
        linear(part.transpose(0, 1), weight, bias).unflatten(-1, (num_heads, -1)).transpose(1, 2)
        for part, weight, bias in zip((query, key, value), in_proj_weight.chunk(3), biases, strict=True)
    ]
    shares = _shares(heads[0], heads[1])  # (points, heads, length, length)
    joined = apply("matmul", shares, heads[2]).transpose(1, 2).flatten(2)
    weights = (apply("mean", shares, 1) if average_attn_weights else shares) if need_weights else None
    return linear(joined, out_proj_weight, out_proj_bias).transpose(0, 1), weights
