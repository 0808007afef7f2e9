"""Functions of one variable and modules of torch.nn, in torch and by their formulas in 50 digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import torch
from torch import nn

from tests.approx.supnorm.certificate.formulas import Real, clamp, elu, shares, softplus, standardised

# Of one variable, with the interval where they are defined
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Real, tuple[float, float]]] = {
    "sign": (torch.sign, mp.sign, (-1, 1)),
    "floor": (lambda x: torch.floor(3 * x), lambda a: mp.floor(3 * a), (-1, 1)),
    "ceil": (lambda x: torch.ceil(30 * x), lambda a: mp.ceil(30 * a), (-1, 1)),
    "round": (lambda x: torch.round(7 * x), lambda a: mp.nint(7 * a), (-1, 1)),
    "trunc": (lambda x: torch.trunc(9 * x), lambda a: mp.sign(a) * mp.floor(abs(9 * a)), (-1, 1)),
    "frac": (lambda x: torch.frac(9 * x), lambda a: 9 * a - mp.sign(a) * mp.floor(abs(9 * a)), (-1, 1)),
    "remainder": (lambda x: x % 0.375, lambda a: a - mp.floor(a / 0.375) * 0.375, (-1, 1)),
    "fmod": (lambda x: torch.fmod(x, 0.375), lambda a: a - mp.sign(a) * mp.floor(abs(a / 0.375)) * 0.375, (-1, 1)),
    "floor_divide": (lambda x: x // 0.375, lambda a: mp.floor(a / 0.375), (-1, 1)),
    "heaviside": (
        lambda x: torch.heaviside(x, torch.tensor(0.5).double()),
        lambda a: mp.mpf(a > 0) if a else mp.mpf(0.5),
        (-1, 1),
    ),
    "equality": (
        lambda x: torch.where(x == 0, 1.0, torch.sin(x) / x),
        lambda a: mp.sin(a) / a if a else mp.mpf(1),
        (-1, 1),
    ),
    "power 1.5": (lambda x: x**1.5, lambda a: a ** mp.mpf(1.5), (0, 2)),
    "power 1/3": (lambda x: torch.pow(x, 1 / 3), lambda a: a ** mp.mpf(1 / 3), (0, 2)),
    "power -0.7": (lambda x: torch.float_power(x, -0.7), lambda a: a ** mp.mpf(-0.7), (0.1, 2)),
    "power 2.5 of a root": (lambda x: torch.sqrt(x**2.5 + 1), lambda a: mp.sqrt(a ** mp.mpf(2.5) + 1), (0, 3)),
    "power 40.5": (lambda x: x**40.5, lambda a: a ** mp.mpf(40.5), (0, 1.2)),
    "power 1.001": (lambda x: x**1.001, lambda a: a ** mp.mpf(1.001), (0, 1.2)),
    "power 0": (lambda x: x**0 + x, lambda a: 1 + a, (-1, 1)),
    "powers": (
        lambda x: (x[:, None] ** torch.tensor([1.0, 2.0, 3.5])).sum(1),
        lambda a: a + a**2 + a ** mp.mpf(3.5),
        (0, 2),
    ),
    "2 to the power": (lambda x: 2**x, lambda a: 2**a, (-3, 3)),
    "exp2": (lambda x: torch.exp2(x), lambda a: mp.mpf(2) ** a, (-3, 3)),
    "variable powers": (lambda x: x**x, lambda a: a**a, (0.1, 2)),
    "log1p": (torch.log1p, mp.log1p, (-0.9, 4)),
    "log2": (torch.log2, lambda a: mp.log(a, 2), (0.01, 3)),
    "log10": (torch.log10, mp.log10, (0.01, 3)),
    "expm1": (torch.expm1, mp.expm1, (-3, 3)),
    "asinh": (lambda x: torch.asinh(9 * x), lambda a: mp.asinh(9 * a), (-1, 1)),
    "acosh": (torch.acosh, mp.acosh, (1.01, 4)),
    "atanh": (torch.atanh, mp.atanh, (-0.99, 0.9)),
    "logit": (torch.logit, lambda a: mp.log(a / (1 - a)), (0.01, 0.9)),
    "erfc": (torch.erfc, mp.erfc, (-3, 3)),
    "sinc": (lambda x: torch.sinc(4 * x), lambda a: mp.sincpi(4 * a), (-1, 1)),
    "xlogy": (lambda x: torch.xlogy(x, x + 1), lambda a: a * mp.log(a + 1), (-0.5, 2)),
    "xlogy, constant": (lambda x: torch.xlogy(x, torch.tensor(3.0)), lambda a: a * mp.log(3), (-0.5, 2)),
    "deg2rad": (torch.deg2rad, lambda a: a * mp.pi / 180, (-90, 400)),
    "softsign": (nn.Softsign(), lambda a: a / (1 + abs(a)), (-4, 4)),
    "mish": (nn.Mish(), lambda a: a * mp.tanh(softplus(a)), (-5, 4)),
    "selu": (
        nn.SELU(),
        lambda a: mp.mpf("1.0507009873554804934193349852946") * elu(a, "1.6732632423543772848170429916717"),
        (-4, 4),
    ),
    "elu": (nn.ELU(), elu, (-4, 4)),
    "elu 0.3": (nn.ELU(0.3), lambda a: elu(a, 0.3), (-4, 4)),
    "celu": (nn.CELU(0.7), lambda a: mp.mpf(0.7) * elu(a / mp.mpf(0.7)), (-4, 4)),
    "hardswish": (nn.Hardswish(), lambda a: a * clamp(a + 3, 0, 6) / 6, (-5, 5)),
    "hardsigmoid": (nn.Hardsigmoid(), lambda a: clamp(a + 3, 0, 6) / 6, (-5, 5)),
    "softshrink": (nn.Softshrink(), lambda a: a - clamp(a, -0.5, 0.5), (-2, 2)),
    "hardshrink": (nn.Hardshrink(), lambda a: a if abs(a) > 0.5 else mp.mpf(0), (-2, 2)),
    "tanhshrink": (nn.Tanhshrink(), lambda a: a - mp.tanh(a), (-2, 2)),
    "threshold": (nn.Threshold(0.1, 20.0), lambda a: a if a > mp.mpf(0.1) else mp.mpf(20), (-2, 2)),
    "softplus with beta": (nn.Softplus(beta=3), lambda a: softplus(3 * a) / 3 if 3 * a <= 20 else a, (-4, 9)),
    "rrelu": (nn.RReLU().eval(), lambda a: a if a > 0 else a * (mp.mpf(1 / 8) + mp.mpf(1 / 3)) / 2, (-2, 2)),
    "logsigmoid": (nn.LogSigmoid(), lambda a: -softplus(-a), (-4, 4)),
}


def trained(module: nn.Module) -> nn.Module:
    """Return a module in double precision whose constants are not those it begins with."""
    generator = torch.Generator().manual_seed(3)
    for part in (*module.parameters(), *module.buffers()):
        if part.is_floating_point():
            part.data = torch.rand(part.shape, generator=generator) + 0.2
    return module.double().eval()


NORM, LAYER, SLOPES, BOTH = map(trained, (nn.BatchNorm1d(2), nn.LayerNorm(2), nn.PReLU(2), nn.Bilinear(2, 2, 1)))
GROUPS, ROOT = trained(nn.GroupNorm(2, 4)), trained(nn.RMSNorm(2, eps=1e-3))
HEADS = trained(nn.MultiheadAttention(2, 2, batch_first=True))


def of(values: torch.Tensor, *index: int) -> mp.mpf:
    return mp.mpf(float(values.detach()[index]))


def batch_norm(a: mp.mpf, b: mp.mpf) -> mp.mpf:
    root = mp.sqrt(of(NORM.running_var, 1) + mp.mpf(NORM.eps))
    return (b - of(NORM.running_mean, 1)) / root * of(NORM.weight, 1) + of(NORM.bias, 1)


def bilinear(a: mp.mpf, b: mp.mpf) -> mp.mpf:
    left, right = (a, b), (mp.sin(a), mp.sin(b))
    return of(BOTH.bias, 0) + mp.fsum(left[i] * of(BOTH.weight, 0, i, j) * right[j] for i in (0, 1) for j in (0, 1))


def attention_of_heads(a: mp.mpf, b: mp.mpf) -> mp.mpf:
    """Of two tokens (a, a^2), (b, b^2): the second entry of the first one, and the mean weight of the other for it."""
    tokens = (a, a * a), (b, b * b)
    queries, keys, values = (
        [
            [
                of(HEADS.in_proj_bias, 2 * part + row)
                + mp.fsum(of(HEADS.in_proj_weight, 2 * part + row, column) * token[column] for column in (0, 1))
                for row in (0, 1)
            ]
            for token in tokens
        ]
        for part in range(3)
    )
    weights = [shares(*(queries[0][head] * key[head] for key in keys)) for head in (0, 1)]
    joined = [mp.fsum(weights[head][j] * values[j][head] for j in (0, 1)) for head in (0, 1)]
    mapped = mp.fsum(of(HEADS.out_proj.weight, 1, head) * joined[head] for head in (0, 1))
    return mapped + of(HEADS.out_proj.bias, 1) + (weights[0][1] + weights[1][1]) / 2


def attended(x: Any) -> Any:
    tokens = torch.stack([x, x * x], dim=2)
    values, weights = HEADS(tokens, tokens, tokens)
    return values[:, 0, 1] + weights[:, 0, 1]


MODULES: dict[str, tuple[Callable[[Any], Any], Real]] = {
    "batch norm": (lambda x: NORM(x)[:, 1], batch_norm),
    "layer norm": (
        lambda x: LAYER(x)[:, 0],
        lambda a, b: standardised(a, b)[0] * of(LAYER.weight, 0) + of(LAYER.bias, 0),
    ),
    "group norm": (
        lambda x: GROUPS(x[:, [0, 1, 1, 1]])[:, 1],
        lambda a, b: standardised(a, b)[1] * of(GROUPS.weight, 1) + of(GROUPS.bias, 1),
    ),
    "rms norm": (
        lambda x: ROOT(x)[:, 0],
        lambda a, b: a / mp.sqrt((a * a + b * b) / 2 + mp.mpf(1e-3)) * of(ROOT.weight, 0),
    ),
    "prelu": (lambda x: SLOPES(x)[:, 1], lambda a, b: b if b > 0 else of(SLOPES.weight, 1) * b),
    "glu": (lambda x: nn.GLU()(x)[:, 0], lambda a, b: a / (1 + mp.exp(-b))),
    "bilinear": (lambda x: BOTH(x, torch.sin(x))[:, 0], bilinear),
    "softmin": (lambda x: nn.Softmin(dim=1)(x)[:, 0], lambda a, b: shares(-a, -b)[0]),
    "identity, dropout, flatten": (
        lambda x: nn.Sequential(nn.Identity(), nn.Dropout(), nn.Flatten()).eval()(x)[:, 1],
        lambda a, b: b,
    ),
    "attention of two heads": (attended, attention_of_heads),
    "attention": (
        lambda x: nn.functional.scaled_dot_product_attention(x[:, :, None], x[:, :, None], x[:, :, None])[:, 0, 0],
        lambda a, b: a * shares(a * a, a * b)[0] + b * shares(a * a, a * b)[1],
    ),
}
