"""What people write in targets, in torch and by its formula in 50 digits: moves, sums, products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import torch
from torch import nn

functional = nn.functional
Real = Callable[..., mp.mpf]
WIDE, POSITIVE, UNIT = ((-2.5, 3.0),) * 2, ((0.0, 2.0),) * 2, ((-0.9, 0.99),) * 2
MATRIX = torch.tensor([[1.5, -0.3], [0.2, 0.7], [-1.1, 0.4]])  # float32, taken exactly
WEIGHT = [[mp.mpf(float(entry)) for entry in row] for row in MATRIX]


def softplus(x: mp.mpf) -> mp.mpf:
    return mp.log1p(mp.exp(x))


def elu(x: mp.mpf, alpha: Any = 1) -> mp.mpf:
    return x if x > 0 else mp.mpf(alpha) * mp.expm1(x)


def clamp(x: mp.mpf, low: Any, high: Any) -> mp.mpf:
    return min(max(x, mp.mpf(low)), mp.mpf(high))


def shares(*values: mp.mpf) -> list[mp.mpf]:
    return [mp.exp(value) / mp.fsum(map(mp.exp, values)) for value in values]


def standardised(*values: mp.mpf, eps: float = 1e-5) -> list[mp.mpf]:
    mean = mp.fsum(values) / len(values)
    variance = mp.fsum((value - mean) ** 2 for value in values) / len(values)
    return [(value - mean) / mp.sqrt(variance + mp.mpf(eps)) for value in values]


def layer(a: mp.mpf, b: mp.mpf) -> list[mp.mpf]:
    return [row[0] * a + row[1] * b for row in WEIGHT]


def summed(x: Any) -> Any:
    total = torch.zeros_like(x[:, 0])
    for axis in range(x.shape[1]):
        total += torch.sin(x[:, axis])
    total *= 2
    return total


def chosen(x: Any) -> Any:
    inside = x[:, 0] > -1
    inside &= x[:, 1] < 1
    return torch.where(inside, x[:, 0], 0.0)


def unpacked(x: Any) -> Any:
    first, second = x.T
    return first * second


# What is only moved about: the function in torch, and of the coordinates a and b
MOVES: dict[str, tuple[Callable[[Any], Any], Real]] = {
    "T": (lambda x: x.T[0] - 2 * x.T[1], lambda a, b: a - 2 * b),
    "iteration": (unpacked, lambda a, b: a * b),
    "unbind": (lambda x: torch.sub(*x.unbind(-1)), lambda a, b: a - b),
    "t, sum over the first axis": (lambda x: (x.t() ** 2).sum(0), lambda a, b: a * a + b * b),
    "transposed constants": (lambda x: (x.T * MATRIX[0][:, None]).sum(axis=0), lambda a, b: layer(a, b)[0]),
    "constants from the left": (lambda x: (MATRIX.double() @ x.T)[1], lambda a, b: layer(a, b)[1]),
    "permute": (lambda x: x.permute(1, 0)[1], lambda a, b: b),
    "mT": (lambda x: x[:, None].mT[:, 1, 0], lambda a, b: b),
    "stack along the first axis": (lambda x: torch.stack([x[:, 0], x[:, 1] * 3])[1], lambda a, b: 3 * b),
    "stack, transposed": (lambda x: torch.stack([x[:, 1], x[:, 0]]).T[:, 1], lambda a, b: a),
    "stack and a constant": (lambda x: torch.stack([x[:, 1], torch.ones(len(x))]).sum(0), lambda a, b: b + 1),
    "a sum of rows": (lambda x: sum(torch.stack([x[:, 0], x[:, 1] ** 2])), lambda a, b: a + b * b),
    "view": (lambda x: x.view(len(x), 2, 1)[:, 1, 0], lambda a, b: b),
    "reshape": (lambda x: torch.reshape(x, (-1, 1, 2))[:, 0, 0], lambda a, b: a),
    "flatten": (lambda x: torch.flatten(x[:, :, None], 1)[:, 1], lambda a, b: b),
    "roll": (lambda x: (x - torch.roll(x, 1, dims=1))[:, 0], lambda a, b: a - b),
    "flip": (lambda x: x.flip(-1)[:, 0], lambda a, b: b),
    "index": (lambda x: x[:, [1, 1, 0]].sum(1), lambda a, b: 2 * b + a),
    "an index with an ellipsis": (lambda x: x[..., 1], lambda a, b: b),
    "split": (lambda x: x.split(1, dim=1)[1][:, 0], lambda a, b: b),
    "column_stack": (lambda x: torch.column_stack([x[:, 1], x[:, 0]])[:, 0], lambda a, b: b),
    "hstack": (lambda x: torch.hstack([x, x])[:, 2], lambda a, b: a),
    "expand": (lambda x: x[:, None].expand(-1, 3, -1).sum((1, 2)), lambda a, b: 3 * (a + b)),
    "a column of constants": (lambda x: (torch.tensor([[1.0], [2.0]]) * x[:, 0]).sum(0), lambda a, b: 3 * a),
    "conditions, transposed": (
        lambda x: torch.where((x.T > 0).all(0), x.T[0], 1.0),
        lambda a, b: a if min(a, b) > 0 else mp.mpf(1),
    ),
    "added in place": (summed, lambda a, b: 2 * (mp.sin(a) + mp.sin(b))),
    "conditions in place": (chosen, lambda a, b: a if a > -1 and b < 1 else mp.mpf(0)),
    "activations in place": (lambda x: functional.relu(x * 2, inplace=True)[:, 0], lambda a, b: max(2 * a, mp.mpf(0))),
    "numbers of NumPy": (lambda x: x[:, 0] * (0.5 * torch.ones(1)).numpy()[0], lambda a, b: a / 2),
}

# Along axes, and products
SUMS: dict[str, tuple[Callable[[Any], Any], Real]] = {
    "cumsum": (lambda x: torch.cumsum(torch.sin(x), 1)[:, 1], lambda a, b: mp.sin(a) + mp.sin(b)),
    "cumprod": (lambda x: x.cumprod(-1)[:, 1], lambda a, b: a * b),
    "diff": (lambda x: torch.diff(x)[:, 0], lambda a, b: b - a),
    "norm": (lambda x: torch.norm(x, dim=1), lambda a, b: mp.hypot(a, b)),
    "norm, method": (lambda x: x.T.norm(dim=0), lambda a, b: mp.hypot(a, b)),
    "norm of order 1": (lambda x: x.norm(1, dim=1), lambda a, b: abs(a) + abs(b)),
    "norm of order infinity": (
        lambda x: torch.linalg.vector_norm(x, torch.inf, dim=1),
        lambda a, b: max(abs(a), abs(b)),
    ),
    "norm of order 3": (
        lambda x: torch.linalg.vector_norm(x, 3, dim=1),
        lambda a, b: mp.cbrt(abs(a) ** 3 + abs(b) ** 3),
    ),
    "normalize": (lambda x: functional.normalize(x + 4)[:, 0], lambda a, b: (a + 4) / mp.hypot(a + 4, b + 4)),
    "cdist": (
        lambda x: torch.cdist(x, MATRIX.double())[:, 1],
        lambda a, b: mp.hypot(a - WEIGHT[1][0], b - WEIGHT[1][1]),
    ),
    "max along an axis": (lambda x: x.max(dim=1).values, max),
    "max along an axis, unpacked": (lambda x: torch.max(x, 1)[0], max),
    "min along an axis": (lambda x: torch.min(x.T, dim=0)[0], min),
    "max of two": (lambda x: torch.max(x[:, 0], x[:, 1]), max),
    "amin": (lambda x: torch.amin(x, 1), min),
    "var": (lambda x: x.var(dim=1), lambda a, b: (a - b) ** 2 / 2),
    "std": (
        lambda x: torch.std(x + MATRIX[0], 1, correction=0),
        lambda a, b: abs(a + WEIGHT[0][0] - b - WEIGHT[0][1]) / 2,
    ),
    "mean, transposed": (lambda x: x.T.mean(0), lambda a, b: (a + b) / 2),
    "logsumexp": (lambda x: torch.logsumexp(x, 1), lambda a, b: mp.log(mp.exp(a) + mp.exp(b))),
    "logaddexp": (lambda x: torch.logaddexp(x[:, 0], x[:, 1]), lambda a, b: mp.log(mp.exp(a) + mp.exp(b))),
    "softmax": (lambda x: torch.softmax(x, dim=1)[:, 0], lambda a, b: shares(a, b)[0]),
    "log_softmax": (lambda x: functional.log_softmax(x, 1)[:, 1], lambda a, b: mp.log(shares(a, b)[1])),
    "einsum with constants": (
        lambda x: torch.einsum("ni,oi->no", x, MATRIX.double())[:, 2],
        lambda a, b: layer(a, b)[2],
    ),
    "einsum, bilinear": (
        lambda x: torch.einsum("ni,ij,nj->n", x, MATRIX[:2].double(), x),
        lambda a, b: a * layer(a, b)[0] + b * layer(a, b)[1],
    ),
    "einsum, transposed": (lambda x: torch.einsum("in,i->n", x.T, MATRIX[2].double()), lambda a, b: layer(a, b)[2]),
    "bmm": (
        lambda x: torch.bmm(x[:, None], torch.sin(x)[:, :, None])[:, 0, 0],
        lambda a, b: a * mp.sin(a) + b * mp.sin(b),
    ),
    "matmul of matrices": (
        lambda x: (MATRIX.double() @ x[:, :, None] @ x[:, None])[:, 2, 1],
        lambda a, b: layer(a, b)[2] * b,
    ),
    "a row times a matrix": (
        lambda x: (x @ MATRIX.T.double() @ MATRIX.double())[:, 0],
        lambda a, b: mp.fsum(row[0] * value for row, value in zip(WEIGHT, layer(a, b), strict=True)),
    ),
    "mv": (lambda x: x.mv(MATRIX[0].double()), lambda a, b: layer(a, b)[0]),
    "addmm": (
        lambda x: torch.addmm(torch.ones(3).double(), x, MATRIX.T.double(), alpha=0.5)[:, 0],
        lambda a, b: 1 + layer(a, b)[0] / 2,
    ),
    "vecdot": (lambda x: torch.linalg.vecdot(x, x + 1), lambda a, b: a * (a + 1) + b * (b + 1)),
    "cross": (lambda x: torch.linalg.cross(x[:, [0, 1, 0]], x[:, [1, 0, 0]])[:, 2], lambda a, b: a * a - b * b),
    "lerp": (lambda x: torch.lerp(x[:, 0], x[:, 1], 0.3), lambda a, b: a + mp.mpf(0.3) * (b - a)),
    "addcmul": (lambda x: torch.addcmul(x[:, 0], x[:, 0], x[:, 1], value=0.1), lambda a, b: a + mp.mpf(0.1) * a * b),
    "hypot": (lambda x: torch.hypot(x[:, 0], x[:, 1]), mp.hypot),
    "atan2": (lambda x: torch.atan2(x[:, 0], x[:, 1]), lambda a, b: mp.atan2(a, b)),
}
