"""The last layer in closed form: linear least squares on the features of many networks at once.

By QR factorisation without pivoting, as LAPACK's gels, which on smooth features loses no digits: the coefficients of
directions that no sample sees come out small. Pivoting (gelsy, the default of torch on a CPU) loses nine digits,
normal equations six. It is done in its parts because torch.linalg.lstsq raises for the whole pack if the features of
one network are exactly dependent or not finite. On dependent features, as of ReLU, gels explodes: gelsd steps in.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LARGEST = 1.5  # of sqrt(eps) times a coefficient, 1e8 in float64: beyond, rounding has taken half of the digits


def solve(features: Tensor, values: Tensor) -> Tensor:
    """Return the coefficients (slots, width) of the least-squares problems |features^T c - values|, in the 2-norm.

    Of the smallest norm if there are fewer samples than features. NaN where features or values are not finite.

    Parameters
    ----------
    features : (slots, width, samples)
    values : (slots, samples)
    """
    finite = (torch.isfinite(features).all(2) & torch.isfinite(values).all(1, keepdim=True)).all(1)
    width, samples = features.shape[1:]
    coefficients = _overdetermined(features, values) if samples >= width else _underdetermined(features, values)
    residuals = torch.bmm(coefficients.unsqueeze(1), features)[:, 0] - values  # (slots, samples)
    worse = ~(residuals.square().sum(1) <= values.square().sum(1))  # than no network at all
    limit = _LARGEST / math.sqrt(torch.finfo(values.dtype).eps)
    suspect = worse | ~(coefficients.abs().amax(1) <= limit)
    for slot in torch.nonzero(suspect & finite).flatten().tolist():
        coefficients[slot] = _robust(features[slot], values[slot])
    return coefficients.masked_fill(~finite.unsqueeze(1), torch.nan)


def _overdetermined(features: Tensor, values: Tensor) -> Tensor:
    """F^T = Q R, c = R^-1 Q^T y."""
    reflectors, scales = torch.geqrf(features.mT)
    rotated = torch.ormqr(reflectors, scales, values.unsqueeze(2), transpose=True)
    width = features.shape[1]
    return torch.linalg.solve_triangular(reflectors[:, :width], rotated[:, :width], upper=True)[..., 0]


def _underdetermined(features: Tensor, values: Tensor) -> Tensor:
    """F = Q R, c = Q R^-T y."""
    reflectors, scales = torch.geqrf(features)
    slots, width, samples = features.shape
    short = torch.linalg.solve_triangular(reflectors[:, :samples].mT, values.unsqueeze(2), upper=False)
    padded = torch.cat([short, short.new_zeros((slots, width - samples, 1))], dim=1)
    return torch.ormqr(reflectors, scales, padded)[..., 0]


def _robust(features: Tensor, values: Tensor) -> Tensor:
    """Return the solution (width,) of smallest norm of one problem by singular values, NaN if there is none."""
    matrix, right = features.T.cpu(), values.unsqueeze(1).cpu()  # CUDA has no gelsd
    try:
        solution = torch.linalg.lstsq(matrix, right, driver="gelsd").solution[:, 0]
    except torch.linalg.LinAlgError:  # the iteration did not converge
        return features.new_full((len(features),), torch.nan)
    return solution.to(features)


def truncated(features: Tensor, values: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return coefficients (slots, width) by truncated singular values, and the basis (slots, rank, samples) they use.

    Singular values below `tolerance` times the largest count as zero; the rows of the basis are orthonormal, or zero
    where they do not count. Both are zero where the features are not finite. `features` and `values` as in `solve`.
    """
    finite = torch.isfinite(features).all(2).all(1).view(-1, 1, 1)
    left, singular, right = torch.linalg.svd(features.masked_fill(~finite, 0), full_matrices=False)
    kept = singular > tolerance * singular[:, :1]  # (slots, rank)
    inverse = torch.where(kept, 1 / singular, 0)
    basis = right.masked_fill_(~kept.unsqueeze(2), 0)
    rotated = (basis * values.unsqueeze(1)).sum(2)  # (slots, rank)
    coefficients = (left * (inverse * rotated).unsqueeze(1)).sum(2)
    return coefficients, basis
