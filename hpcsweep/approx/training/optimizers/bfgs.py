"""Quasi-Newton methods with a dense inverse Hessian: BFGS, self-scaled BFGS, self-scaled Broyden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hpcsweep.approx.training.engine import Engine
from hpcsweep.approx.training.optimizers.line_search import Move, Walk
from hpcsweep.approx.training.optimizers.optimizer import Optimizer

_RANGE = 1e60


@dataclass
class Inverse:
    """scale * matrix approximates the inverse Hessian.

    matrix : (slots, parameters, parameters)
    scale : (slots,)
    blank : (slots,) bool
    """

    walk: Walk
    matrix: Tensor
    scale: Tensor
    blank: Tensor


class _Q(Optimizer):
    mode = "bfgs"

    def init(self, engine):
        walk = Walk.begin(engine)
        slots, parameters = walk.weights.shape
        matrix = torch.eye(parameters, dtype=walk.weights.dtype, device=walk.weights.device).repeat(slots, 1, 1)
        return Inverse(walk, matrix, torch.ones_like(walk.loss), torch.ones_like(walk.loss, dtype=torch.bool))

    def step(self, engine, state, count, rates, loss):
        walk = state.walk
        move = walk.observe(engine, loss)
        _reset(state, walk.worn() & move.ready)
        direction = self._update(state, move)
        slope = (direction * walk.gradient).sum(1)
        lost = move.ready & ~(slope < 0)
        _reset(state, lost)
        direction = torch.where(state.blank.unsqueeze(1), -walk.gradient, direction)
        step = torch.where(state.blank, (1 / walk.gradient.abs().sum(1)).clamp_max(1), 1)
        walk.launch(engine, move.ready, direction, step)
        return move.accepted

    def _update(self, state, move):
        walk = state.walk
        s, y, g = move.step, move.change, walk.gradient
        sy = (s * y).sum(1)
        good = move.accepted & (sy > 1e-14 * (s.square().sum(1) * y.square().sum(1)).sqrt())
        first = good & state.blank
        state.scale = torch.where(first, sy / y.square().sum(1), state.scale)
        state.blank = state.blank & ~good
        Hy, Hg = (torch.bmm(torch.stack([y, g], 1), state.matrix) * state.scale[:, None, None]).unbind(1)
        yHy = (y * Hy).sum(1)
        if self.mode == "bfgs":
            tau = phi = torch.ones_like(sy)
        else:
            P = s.shape[1]
            b = -walk.search.step * (s * (g - y)).sum(1) / sy
            h = yHy / sy
            aa = (h * b - 1).clamp_min(1e-300)
            if self.mode == "ssbfgs":
                tau, phi = (1 / b).clamp_max(1), torch.ones_like(b)
            else:
                c = (aa / (1 + aa)).sqrt()
                rm = (h * (1 - c)).clamp_max(1)
                thm = (rm - 1) / aa
                t = torch.maximum(thm, torch.minimum(1 / rm, (1 - b) / b))
                sg = 1 + aa * t
                r1 = (1 / b).clamp_max(1)
                sn = torch.exp(torch.log(sg.abs()) * (1 / (1 - P)))
                tau = torch.where(t <= 0, torch.minimum(r1 * sn, sg), r1 * torch.minimum(sn, 1 / t))
                phi = (1 - t) / (1 + aa * t)
            okk = torch.isfinite(tau) & (tau > 0) & torch.isfinite(phi)
            tau, phi = torch.where(okk, tau, 1), torch.where(okk, phi, 1)
        v = s / sy[:, None] - Hy / yHy[:, None]
        U = torch.stack([Hy, v, s], 1)
        C = torch.stack([-1 / (yHy * tau), phi * yHy / tau, 1 / sy], 1)
        U = torch.where(good[:, None, None], U, 0)
        C = torch.where(good[:, None], C, 0)
        tau = torch.where(good, tau, 1)
        Hg = Hg / tau[:, None] + torch.bmm((torch.bmm(g.unsqueeze(1), U.transpose(1, 2)) * C.unsqueeze(1)), U)[:, 0]
        state.scale = state.scale / tau
        state.matrix.baddbmm_((U * (C / state.scale[:, None])[:, :, None]).transpose(1, 2), U)
        far = ~((state.scale < _RANGE) & (state.scale > 1 / _RANGE))
        if far.any():
            state.matrix.mul_(torch.where(far, state.scale, 1)[:, None, None])
            state.scale = torch.where(far, 1, state.scale)
        return -Hg

    def forget(self, engine, state, slot):
        state.walk.forget(engine, slot)
        where = torch.zeros_like(state.blank)
        where[slot] = True
        _reset(state, where)

    def iterate(self, engine, state):
        engine.layout.fill(out := torch.empty_like(engine.weights), state.walk.weights)
        return out

    def settled(self, engine, state):
        return state.walk.settled


def _reset(state, where):
    if where.any():
        eye = torch.eye(state.matrix.shape[1], dtype=state.matrix.dtype, device=state.matrix.device)
        for slot in where.nonzero()[:, 0].tolist():
            state.matrix[slot] = eye
        state.scale = state.scale.masked_fill(where, 1)
        state.blank = state.blank | where


class BFGS(_Q):
    mode = "bfgs"


class SSBFGS(_Q):
    mode = "ssbfgs"


class SSBroyden(_Q):
    mode = "ssbroyden"
