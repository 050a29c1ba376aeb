"""Real-time chunking: a new chunk that continues the old one, by guidance while it is sampled.

After "Real-Time Execution of Action Chunking Flow Policies" (arXiv 2506.07339), in openpi's time (1 noise, 0
actions). At every step the chunk that the flow is heading for is compared with what is left of the old chunk; the
weighted difference, pulled back through the model, bends the flow. The steps that will be executed before the answer
arrives weigh 1, the later ones ever less, those that the old chunk does not reach nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from policy_server.continuation import soft_mask
from policy_server.model.fast import Plan, embed, flow, velocity
from policy_server.model.fused import Step, Weights
from policy_server.model.pi0 import Inputs

MAX_GUIDANCE = 5.0
"""Bound on the guidance's weight; more of it makes the chunk shake (the paper's β)."""


def sample_guided(
    weights: Weights, inputs: Inputs, noise: Array, target: Array, importance: Array, plan: Plan
) -> Array:
    """Actions as of `fast.sample`, drawn towards `target` where `importance` (0..1) says so.

    Both have the shape of the actions, (b, horizon, action_dim), normalised. Where all of `importance` is 0 this is
    plain sampling.
    """
    context = embed(weights, inputs, plan)
    dt = jnp.float32(1 / plan.num_steps)

    def advance(x: Array, step: Step) -> Array:
        return x - dt * bent(lambda x: velocity(weights, context, x, step, plan), x, step.t, target, importance)

    return flow(weights.steps, noise, plan, advance)


def bent(direction: Callable[[Array], Array], x: Array, t: Array, target: Array, importance: Array) -> Array:
    """The flow's `direction` at x and time t, bent so that the flow ends nearer to `target`. All of one shape."""

    def destination(x: Array) -> tuple[Array, Array]:
        v = direction(x)
        return x - t * v, v

    actions, pull_back, v = jax.vjp(destination, x, has_aux=True)
    (correction,) = pull_back((target - actions) * importance)
    return v - guidance(t) * correction


def guidance(t: Array) -> Array:
    """The weight of the correction at time t: (t² + (1 - t)²) / (t · (1 - t)), at most `MAX_GUIDANCE`."""
    done = jnp.maximum(1 - t, 1e-6)  # at t = 1 the bound holds
    return jnp.minimum((t**2 + done**2) / (t * done), MAX_GUIDANCE)


def target_of(
    left: NDArray[np.float32], delay_steps: int, horizon: int, action_dim: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`target` and `importance` for one batch of one, (1, horizon, action_dim), of the old chunk's rest (k, dims).

    Dimensions that the rest does not have (the model's padding) are not guided.
    """
    num_left, used = min(len(left), horizon), left.shape[1]
    target, importance = np.zeros((2, 1, horizon, action_dim), np.float32)
    target[0, :num_left, :used] = left[:num_left]
    importance[0, :, :used] = soft_mask(horizon, num_left, delay_steps)[:, None]
    return target, importance
