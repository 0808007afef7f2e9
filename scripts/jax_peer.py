"""What a user of JAX would write instead of training small networks one by one: Adam, in two forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Weights = list[tuple[jax.Array, jax.Array]]


def loss(weights: Weights, points: jax.Array, values: jax.Array) -> jax.Array:
    """Return the mean square of the residuals of one network."""
    signal = points
    for weight, bias in weights[:-1]:
        signal = jnp.tanh(signal @ weight.T + bias)
    weight, bias = weights[-1]
    return jnp.mean(((signal @ weight.T + bias)[:, 0] - values) ** 2)


def step(state: Any, count: Any, points: jax.Array, values: jax.Array) -> Any:
    """Do one step of Adam on one network."""
    weights, first, second = state
    slope = jax.grad(loss)(weights, points, values)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, slope)
    a, b = 1 - 0.9**count, 1 - 0.999**count
    weights = jax.tree.map(lambda w, m, v: w - 1e-3 * (m / a) / (jnp.sqrt(v / b) + 1e-8), weights, first, second)
    return weights, first, second


def programs(points: jax.Array, values: jax.Array) -> list[Callable[[Weights, int], Weights]]:
    """Return both forms, (weights of all networks, steps) -> weights: side by side, and one after another."""

    def side_by_side(weights: Weights, steps: int) -> Weights:
        zero = jax.tree.map(jnp.zeros_like, weights)
        every = jax.vmap(step, in_axes=(0, None, 0, 0))
        return jax.lax.fori_loop(0, steps, lambda i, s: every(s, i + 1.0, points, values), (weights, zero, zero))[0]

    def in_turn(weights: Weights, steps: int) -> Weights:
        def one(given: Any) -> Weights:
            own, where, what = given
            zero = jax.tree.map(jnp.zeros_like, own)
            return jax.lax.fori_loop(0, steps, lambda i, s: step(s, i + 1.0, where, what), (own, zero, zero))[0]

        return jax.lax.map(one, (weights, points, values))

    return [jax.jit(side_by_side), jax.jit(in_turn)]
